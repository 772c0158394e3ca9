"""YAML of the repository, read by libyaml where it is there: ten times as fast as in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse(text: str) -> Any:
    """Return what a YAML text holds: plain types only.

    Raises
    ------
    yaml.YAMLError
    """
    return yaml.load(text, Loader=LOADER)


def read(path: Path) -> Any:
    """Return what a YAML file holds, as `parse` does."""
    return parse(path.read_text(encoding="utf8"))

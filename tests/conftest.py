"""Fixtures shared by all tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings

from ballbook import warm

# Machines are shared: how long one example takes says nothing about the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"


def shared_folder() -> Path | None:
    """Return the data mirror that `BALLBOOK_DATA` names, or None."""
    given = os.environ.get("BALLBOOK_DATA")
    path = Path(given) if given else None
    if path is not None and not path.is_absolute():
        path = (ROOT / path).resolve()
    return path if path and path.is_dir() else None


@pytest.fixture(scope="session", autouse=True)
def warm_kernels() -> Iterator[None]:
    """Kernels of all tests come from one server, which ends with the tests."""
    with warm.server(wait=False):
        yield


@pytest.fixture
def shared_data() -> Path:
    """The data mirror; the test is skipped where there is none."""
    path = shared_folder()
    if path is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    return path


@pytest.fixture
def golden() -> Any:
    """Return a reader of the R results in tests/golden."""

    def read(topic: str) -> Any:
        return json.loads((GOLDEN / f"{topic}.json").read_text(encoding="utf8"))

    return read


@pytest.fixture(scope="session")
def built_book() -> Path:
    """The folder of the rendered book: `BALLBOOK_BOOK`, else built with the data at hand."""
    if given := os.environ.get("BALLBOOK_BOOK"):
        return Path(given).resolve()
    # Workers share the checkout: one builds, the others then find nothing to do.
    (ROOT / "build").mkdir(exist_ok=True)
    with FileLock(ROOT / "build" / ".lock"):
        done = subprocess.run(
            [sys.executable, "-m", "ballbook.cli", "build"],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return ROOT / "build" / "html"

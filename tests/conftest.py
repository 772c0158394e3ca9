"""Fixtures shared by all tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
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
# Repetitions that a page needs for its numbers and not for what is tested of a reader's cohort.
FAST = {"expression-map": {"map_seeds": 1},
        "mrd-decision-tree": {"permutations": 2, "bootstraps": 2, "simulations": 20, "repeats": 1},
        "lineage-switch-survival": {"n_sim": 20},
        "clone-phylogeny": {"n_tumours": 2, "shown_tumour": 1},
        "rag-breakpoints": {"n_windows": 200, "n_shuffles": 19, "n_shuffled": 20},
        "copy-number-profile": {"n_pairs": 10},
        "mutational-signatures": {"n_sim": 50, "n_boot": 50},
        "drug-response": {"resamples": 2, "imputations": 2},
        "state-deconvolution": {"mixtures": 10, "n_cells": 100}}  # fmt: skip


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


def _built(arguments: str, mark: str) -> None:
    """Build the book or a page of it, once for all workers of a test run."""
    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    done = folder / f".tested-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}-{mark}"
    with FileLock(folder / ".lock"):
        if done.exists():
            return
        for old in folder.glob(f".tested-*-{mark}"):
            old.unlink()
        made = subprocess.run(
            [
                sys.executable, "-c",
                f"from ballbook.build import build; build({arguments})",
            ],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout[-4000:] + made.stderr[-4000:]
        done.touch()


@pytest.fixture(scope="session")
def run_of() -> Callable[[str], Path]:
    """Return the folder of a page's run with its defaults: the one that the book shows."""

    def folder(slug: str) -> Path:
        _built(f"only=[{slug!r}]", slug)
        return ROOT / "build" / "runs" / slug

    return folder


@pytest.fixture(scope="session")
def results_of(run_of: Callable[[str], Path]) -> Callable[[str], dict[str, Any]]:
    """Return the results of a page's run with its defaults, and the folder of the run as `out`.

    The test is skipped where there are no open data.
    """

    def read(slug: str) -> dict[str, Any]:
        if shared_folder() is None:
            pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
        out = run_of(slug)
        found: dict[str, Any] = json.loads((out / "results.json").read_text("utf8"))
        return found | {"out": out, "by_id": {e["id"]: e for e in found["estimates"]}}

    return read


@pytest.fixture(scope="session")
def built_book() -> Path:
    """The folder of the rendered book: `BALLBOOK_BOOK`, else built with the data at hand."""
    if given := os.environ.get("BALLBOOK_BOOK"):
        return Path(given).resolve()
    _built("", "book")
    return ROOT / "build" / "html"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with files that run notebooks: of several workers none should have them last."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    long |= {item.path for item in items if "built_book" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in long)

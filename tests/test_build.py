"""The whole book: with the open data, without them, and strict about what must not be in it."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ballbook import analyses, catalog, recorded

ROOT = Path(__file__).resolve().parents[1]
SLUGS = analyses.slugs()
# Pages whose data the repository does not hold.
FETCHED = [
    s for s in SLUGS if not all(catalog.entry(i).held for i in analyses.find(s).meta["data"])
]


def checkout(target: Path) -> Path:
    """Copy the files of this checkout that belong to the project."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.decode().split("\0")):
        source = ROOT / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    return target


def ballbook(home: Path, *args: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a checkout that has neither data mirror, cache nor network."""
    env = {k: v for k, v in os.environ.items() if k != "BALLBOOK_DATA"}
    env |= {
        "BALLBOOK_HOME": str(home),
        "BALLBOOK_OFFLINE": "1",
        "BALLBOOK_CACHE": str(home / "no-cache"),
    }
    return subprocess.run(
        [sys.executable, "-m", "ballbook.cli", *args],
        env=env | extra, cwd=home, capture_output=True, text=True, timeout=900,
    )  # fmt: skip


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout whose book was built without any open data."""
    home = checkout(tmp_path_factory.mktemp("bare"))
    done = ballbook(home, "build")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    yield home


def numbers(results: dict[str, Any]) -> dict[str, float]:
    """Return every number of the estimates of a run, by id and field."""
    return {
        f"{e['id']}.{field}": e[field]
        for e in results["estimates"]
        for field in ("value", "ci_low", "ci_high", "p_value", "n", "n_events")
        if e[field] is not None
    }


@pytest.mark.book
@pytest.mark.parametrize("slug", SLUGS)
def test_with_the_data_a_page_runs_and_agrees_with_its_record(
    built_book: Path, shared_data: Path, slug: str
) -> None:
    page = built_book / analyses.find(slug).chapter / f"{slug}.html"
    assert "bb-recorded" not in page.read_text(encoding="utf8")
    results = json.loads((built_book / "runs" / slug / "results.json").read_text(encoding="utf8"))
    kept = recorded.results(slug)
    assert kept is not None, "make record"
    ours, theirs = numbers(results), numbers(kept)
    assert ours.keys() == theirs.keys(), "the page changed: make record"
    for name, value in ours.items():
        assert math.isclose(value, theirs[name], rel_tol=1e-6, abs_tol=1e-9), name
    verdicts = [(v["claim"], v["verdict"]) for v in results["verdicts"]]
    assert verdicts == [(v["claim"], v["verdict"]) for v in kept["verdicts"]]


@pytest.mark.book
@pytest.mark.parametrize("slug", FETCHED)
def test_without_the_data_a_page_shows_its_recorded_run(bare: Path, slug: str) -> None:
    html = bare / "build" / "html"
    page = (html / analyses.find(slug).chapter / f"{slug}.html").read_text(encoding="utf8")
    assert 'class="bb-recorded"' in page
    kept = recorded.results(slug)
    assert kept is not None
    assert kept["provenance"]["started"][:10] in page
    assert kept["provenance"]["library_sha256"][:12] in page
    assert (html / "runs" / slug / "results.json").is_file()


@pytest.mark.book
@pytest.mark.parametrize("slug", [s for s in SLUGS if s not in FETCHED])
def test_without_the_data_a_page_that_needs_none_runs(bare: Path, slug: str) -> None:
    page = bare / "build" / "html" / analyses.find(slug).chapter / f"{slug}.html"
    assert 'class="bb-recorded"' not in page.read_text(encoding="utf8")


@pytest.mark.book
def test_the_landing_page_lists_every_finding(bare: Path) -> None:
    text = (bare / "build" / "html" / "index.html").read_text(encoding="utf8")
    for slug in SLUGS:
        assert f"{slug}.html" in text
    assert "not a medical device" in text


@pytest.mark.book
def test_nothing_runs_again_when_nothing_changed(bare: Path) -> None:
    page = bare / "build" / "html" / "index.html"
    before = page.stat().st_mtime_ns
    assert ballbook(bare, "build").returncode == 0
    assert page.stat().st_mtime_ns == before


@pytest.mark.book
def test_a_dead_link_fails_the_build(bare: Path) -> None:
    prose = bare / "book" / "primer.md"
    kept = prose.read_text(encoding="utf8")
    prose.write_text(kept + "\n[nowhere](no-such-page.md)\n", encoding="utf8")
    try:
        done = ballbook(bare, "render")
    finally:
        prose.write_text(kept, encoding="utf8")
    assert done.returncode == 1
    assert "no-such-page" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.book
def test_a_traceback_in_a_page_fails_the_build(bare: Path) -> None:
    file = bare / "build" / "runs" / SLUGS[0] / "notebook.ipynb"
    kept = file.read_text(encoding="utf8")
    notebook = json.loads(kept)
    cell = next(c for c in notebook["cells"] if c["cell_type"] == "code")
    cell["outputs"] = [
        {"output_type": "error", "ename": "ValueError", "evalue": "x", "traceback": ["x"]}
    ]
    file.write_text(json.dumps(notebook), encoding="utf8")
    try:
        done = ballbook(bare, "render")
    finally:
        file.write_text(kept, encoding="utf8")
    assert done.returncode == 1
    assert f"{SLUGS[0]} holds a traceback: ValueError" in done.stderr


@pytest.mark.book
def test_no_run_is_taken_for_the_record_that_is_not_open(bare: Path) -> None:
    done = ballbook(bare, "record", FETCHED[0])
    assert done.returncode != 0
    assert (bare / "data" / "recorded" / FETCHED[0] / "results.json").is_file()

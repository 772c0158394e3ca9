"""The rendered book: what was rendered in steps is what is rendered at once, and strict."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ballbook import html_book, small_book

INDEX_OF_SEARCH = 'Search.setIndex({"terms": {"old": [], "new": [0]}, "titleterms": {}})'


def ballbook(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ballbook.cli", *args],
        env={**os.environ, "BALLBOOK_HOME": str(home)}, cwd=home,
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small book, built."""
    folder = tmp_path_factory.mktemp("book")
    small_book.write(folder, 3)
    done = ballbook(folder, "build")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def content(home: Path) -> dict[str, bytes]:
    html = home / "build" / "html"
    found = {str(p.relative_to(html)): p.read_bytes() for p in html.rglob("*") if p.is_file()}
    return found | {"searchindex.js": repr(words(found["searchindex.js"])).encode()}


def words(index: bytes) -> list[tuple[str, list[str]]]:
    """Return the words of the search with the pages that have them; the order is Sphinx's own."""
    read = json.loads(index.decode().removeprefix("Search.setIndex(").removesuffix(")"))
    pages = read["docnames"]

    def names(found: int | list[int]) -> list[str]:
        return sorted(pages[i] for i in ([found] if isinstance(found, int) else found))

    return sorted((word, names(found)) for word, found in read["terms"].items())


def times(home: Path) -> dict[str, int]:
    """Return when each page was written by Sphinx."""
    html = home / "build" / "jupyter-book" / "_build" / "html"
    return {p.stem: p.stat().st_mtime_ns for p in html.rglob("*.html")}


def rendered(home: Path, before: dict[str, int]) -> set[str]:
    """Return the pages that were written since."""
    return {name for name, time in times(home).items() if before.get(name) != time}


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf8")


def at_once(home: Path) -> dict[str, bytes]:
    """Render everything from nothing and return it."""
    for name in ("jupyter-book", "parts", "source"):
        shutil.rmtree(home / "build" / name)
    done = ballbook(home, "render")
    assert done.returncode == 0, done.stderr
    return content(home)


def test_a_page_that_changed_is_rendered_alone_and_as_in_a_whole_render(home: Path) -> None:
    source = small_book.source_of(home, "cohort-002")
    edit(source, "page.close(", "# A remark.\npage.close(")
    before = times(home)
    done = ballbook(home, "build")
    assert done.returncode == 0, done.stderr
    assert "cohort-002: run" in done.stdout and "cohort-001" not in done.stdout
    # The board and the ledger show results, of which this edit changed none.
    assert "cohort-002" in rendered(home, before)
    assert not {"cohort-001", "cohort-003"} & rendered(home, before)
    step_by_step, whole = content(home), at_once(home)
    assert step_by_step.keys() == whole.keys()
    assert [name for name in whole if step_by_step[name] != whole[name]] == []


def test_a_title_shows_on_other_pages_and_renders_them_all(home: Path) -> None:
    source = small_book.source_of(home, "cohort-003")
    heading = re.search(r"^# .*$", source.read_text(encoding="utf8"), re.M)
    assert heading
    edit(source, heading[0], "# Another title")
    before = times(home)
    assert ballbook(home, "build").returncode == 0
    assert {"cohort-001", "cohort-002", "cohort-003", "index"} <= rendered(home, before)
    page = home / "build" / "html" / "small" / "cohort-001.html"
    assert "Another title" in page.read_text(encoding="utf8")
    step_by_step, whole = content(home), at_once(home)
    assert [name for name in whole if step_by_step[name] != whole[name]] == []


def test_a_warning_fails_again_and_leaves_the_last_good_book(home: Path) -> None:
    prose = home / "book" / "index.md"
    good = prose.read_text(encoding="utf8")
    before = content(home)
    prose.write_text(good + "\n[nowhere](no-such-page.md)\n", encoding="utf8")
    try:
        for _ in range(2):
            done = ballbook(home, "build")
            assert done.returncode == 1
            assert "no-such-page" in done.stderr and "Traceback" not in done.stderr
            assert content(home) == before
    finally:
        prose.write_text(good, encoding="utf8")
    assert ballbook(home, "build").returncode == 0
    assert content(home).keys() == before.keys()


def test_nothing_is_started_when_nothing_changed(home: Path) -> None:
    assert ballbook(home, "build").returncode == 0
    traced = subprocess.run(
        [
            sys.executable, "-c",
            "import sys\n"
            "from ballbook import build, pool, warm\n"
            "def never(*args, **kwargs): raise AssertionError('started')\n"
            "pool.run = warm.server = warm.reach = never\n"
            "build.build()\n"
            "heavy = {'numpy', 'pandas', 'papermill', 'jupytext', 'sphinx', 'snakemake'}\n"
            "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n",
        ],
        env={**os.environ, "BALLBOOK_HOME": str(home)}, capture_output=True, text=True,
    )  # fmt: skip
    assert traced.returncode == 0, traced.stderr


def test_published_files_are_shared_where_nothing_changed_and_never_written(tmp_path: Path) -> None:
    root, before, work = (tmp_path / name for name in ("root", "before", "work"))
    for name, text in (("a.html", "a"), ("static/b.js", "b"), ("searchindex.js", INDEX_OF_SEARCH)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf8")
    (root / "objects.inv").write_text("not for readers", encoding="utf8")
    for target, old in ((before, tmp_path / "none"), (work, before)):
        target.mkdir()
        if old.exists():
            (root / "a.html").write_text("c", encoding="utf8")
        html_book.publish(root, target, old)
    assert sorted(p.name for p in work.rglob("*") if p.is_file()) == [
        "a.html", "b.js", "searchindex.js",
    ]  # fmt: skip
    assert (before / "static" / "b.js").samefile(work / "static" / "b.js")
    assert [(f / "a.html").read_text("utf8") for f in (before, work)] == ["a", "c"]
    # The index of the search is written once more: the book that stands keeps its own.
    assert (before / "searchindex.js").samefile(work / "searchindex.js")
    html_book.tidy_index(work / "searchindex.js")
    assert (before / "searchindex.js").read_text("utf8") == INDEX_OF_SEARCH
    assert (work / "searchindex.js").read_text("utf8") != INDEX_OF_SEARCH

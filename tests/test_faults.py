"""Builds that are killed, hung or tampered with: the next one is whole (`ballbook.faults`)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from ballbook import faults, freshness, html_book, methods, paths, pool, run, strays

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="faults are provoked on Linux")


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[faults.Book]:
    """A book of two pages with its undisturbed builds."""
    made = faults.Book(tmp_path_factory.mktemp("faults") / "book", 2)
    try:
        made.undisturbed()
        yield made
    finally:
        made.close()


def test_a_driver_killed_while_it_runs_pages_costs_nothing_but_time(book: faults.Book) -> None:
    row = faults.kill(book, faults.PAGES, faults.DRIVER, 0.5, faults.NOTHING)
    assert row.sound, row
    assert row.code == -9 and row.reads


def test_a_page_that_hangs_is_ended_with_all_it_started_and_named(
    book: faults.Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "PAGE_TIMEOUT", 20)
    name = "started a process in a session of its own"
    hang = {name: (faults.HANGS[name], "stopped after 20 s")}
    (row,) = faults.misbehaving(book, "a page hangs", hang, cold=True)
    assert row.sound, row
    assert row.code == 1 and row.said == "yes"


def test_damaged_results_are_run_again(book: faults.Book) -> None:
    row = faults.damage(book, "runs/{slug}/results.json", faults.garbled)
    assert row.sound, row


# Parts, without a build.


def stamped(folder: Path) -> freshness.Fingerprint:
    """Write a run of two files with its stamp."""
    folder.mkdir()
    (folder / "results.json").write_text("{}", encoding="utf8")
    (folder / "figure.svg").write_text("<svg/>", encoding="utf8")
    found = freshness.Fingerprint({"source": "a"})
    found.stamp(folder)
    return found


def test_a_stamp_holds_only_for_the_files_it_lists(tmp_path: Path) -> None:
    now = stamped(tmp_path / "run")
    assert now.reasons(tmp_path / "run") == []
    (tmp_path / "run" / "figure.svg").write_text("<gvs/>", encoding="utf8")
    assert now.reasons(tmp_path / "run") == ["figure.svg is damaged"]
    (tmp_path / "run" / "figure.svg").unlink()
    assert now.reasons(tmp_path / "run") == ["figure.svg is damaged"]


def test_a_run_that_was_copied_is_fresh(tmp_path: Path) -> None:
    now = stamped(tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    for file in (tmp_path / "copy").iterdir():
        os.utime(file)
    assert now.reasons(tmp_path / "copy") == []


@pytest.mark.parametrize("text", ["", '{"source":', "[]", '{"source": "a"}', '{"made": {}}'])
def test_a_damaged_stamp_is_no_stamp(tmp_path: Path, text: str) -> None:
    now = stamped(tmp_path / "run")
    (tmp_path / "run" / now.name).write_text(text, encoding="utf8")
    assert now.reasons(tmp_path / "run")


def test_a_part_that_was_damaged_is_made_again(tmp_path: Path) -> None:
    made = []

    def write(source: Path, extra: Path) -> None:
        made.append(source)
        (source / "a.md").write_text("whole", encoding="utf8")

    part = html_book.Part("part", write)
    for _ in range(2):
        html_book.make(part, part.key(), tmp_path / "part")
    assert len(made) == 1
    (tmp_path / "part" / "source" / "a.md").write_text("wh", encoding="utf8")
    html_book.make(part, part.key(), tmp_path / "part")
    assert (tmp_path / "part" / "source" / "a.md").read_text(encoding="utf8") == "whole"


def test_what_sphinx_kept_is_used_only_while_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def rendered(source: Path, work: Path) -> tuple[list[str], int]:
        html = work / "_build" / "html"
        calls.append("further" if html.is_dir() else "whole")
        if (work / "broken").exists():
            return ["ERROR: cannot read what was kept"], 1
        html.mkdir(parents=True, exist_ok=True)
        for name in ("index.html", "objects.inv"):
            (html / name).write_text(name, encoding="utf8")
        return [], 0

    monkeypatch.setattr(html_book, "jupyter_book", rendered)
    monkeypatch.setattr(paths, "build", lambda: tmp_path / "build")
    source = tmp_path / "source"
    source.mkdir()
    (source / "index.md").write_text("# Book", encoding="utf8")
    html = html_book.sphinx(source)
    html_book.sphinx(source)
    assert calls == ["whole", "further"]
    (html / "index.html").write_text("ind", encoding="utf8")
    html_book.sphinx(source)
    assert calls[2:] == ["whole"]
    (html.parents[1] / "broken").touch()
    html_book.sphinx(source)
    assert calls[3:] == ["further", "whole"]


def test_what_a_job_left_is_found_by_its_mark() -> None:
    def sleeper() -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "1000"], start_new_session=True)

    with strays.marked(strays.new_mark()):
        other = sleeper()
    with strays.marked(mark := strays.new_mark()):
        left = sleeper()
    try:
        strays.end(mark)
        assert left.wait(10) == -9
        strays.sweep()
        assert other.poll() is None, "its driver lives"
    finally:
        other.kill()
        other.wait()


def test_what_a_dead_driver_left_is_swept() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    with strays.marked(f"{strays.namespace()}-{gone.pid}-0"):
        left = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        strays.sweep()
        assert left.wait(10) == -9
    finally:
        left.kill()


def test_a_full_disk_is_named_where_a_job_could_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "ROOM", 2**62)
    job = pool.Job("silent", os._exit, (1,))  # type: ignore[arg-type]
    (outcome,) = pool.run([job], cores=1, log=tmp_path)
    assert outcome.failed and "No space left on device" in outcome.said


def test_a_cell_that_writes_more_than_a_browser_shows_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = new_code_cell("1", outputs=[new_output("stream", name="stdout", text="x" * 900)])
    executed = new_notebook(cells=[new_markdown_cell("y" * 5000), new_code_cell("2"), code])
    run.check_size("page", executed)
    monkeypatch.setattr(run, "MOST_OUTPUT", 900)
    with pytest.raises(run.RunFailed, match="page: cell 2 wrote"):
        run.check_size("page", executed)


def test_a_reader_meets_no_page_without_its_end(tmp_path: Path) -> None:
    run = tmp_path / "build" / "runs" / "a"
    page = tmp_path / "build" / "html" / "index.html"
    run.mkdir(parents=True)
    page.parent.mkdir()
    book = type("Book", (), {"home": tmp_path, "slugs": ["a"]})
    watcher = faults.Watcher(book)  # type: ignore[arg-type]
    watcher.pages = ["index.html"]
    (run / "results.json").write_text('{"summary": ""}', encoding="utf8")
    page.write_text("<html></html>\n", encoding="utf8")
    watcher.look()
    assert (watcher.reads, watcher.torn) == (2, [])
    (run / "results.json").write_text('{"summ', encoding="utf8")
    page.write_text("<html>", encoding="utf8")
    watcher.look()
    assert watcher.torn == ["index.html", "a/results.json"]


def test_bytes_are_compared_without_the_clock_and_nothing_else(tmp_path: Path) -> None:
    def written(name: str, started: str, seconds: float, value: int) -> dict[str, str]:
        run = tmp_path / name / "runs" / "a"
        html = tmp_path / name / "html"
        run.mkdir(parents=True)
        html.mkdir()
        results = {"provenance": {"started": started, "seconds": seconds}, "estimates": value}
        (run / "results.json").write_text(json.dumps(results), encoding="utf8")
        (html / "a.html").write_text(f"<p>{started}, {seconds} s: {value}", encoding="utf8")
        terms = {started[-3:].lower(): 1, "cox": value}
        index = f"Search.setIndex({json.dumps({'terms': terms})})"
        (html / "searchindex.js").write_text(index, encoding="utf8")
        return faults.content(tmp_path / name)

    one = written("one", "2026-01-01T10:00:01Z", 1.5, 3)
    assert one == written("later", "2026-01-02T11:10:02Z", 2.5, 3)
    other = written("other", "2026-01-01T10:00:01Z", 1.5, 4)
    assert all(one[name] != other[name] for name in one) and len(one) == 3


def test_the_log_is_counted_for_the_book(tmp_path: Path) -> None:
    good = faults.Row("kill -9", "kernel", "pages", said="yes", reads=10, whole=True, same=True)
    bad = faults.Row("kill -9", "kernel", "pages", said="no", reads=5, torn=1, whole=True)
    full = faults.Row("disk full", "10%", whole=True, same=True, said="yes")
    skipped = faults.Row("disk full", "40%", note="not tried: mount: permission denied")
    faults.write([good, bad, full, skipped], tmp_path / "faults.csv")
    about = {"date": "2026-01-01", "cores": 2, "pages": 4, "seed": 1}
    (tmp_path / "about.json").write_text(json.dumps(about), encoding="utf8")
    frame = pd.read_csv(tmp_path / "faults.csv", keep_default_na=False)
    assert list(faults.sound(frame)) == [good.sound, bad.sound, full.sound, skipped.sound]
    (row,) = faults.counts(frame[:2]).to_dict("records")
    assert (row["Builds"], row["Next build whole"], row["Same bytes"]) == (2, 2, 1)
    assert (row["Summary right"], row["Not whole to a reader"]) == ("1 of 2", 1)
    html = methods.faults_part(tmp_path)
    assert "2 of 3 faults" in html and "1 could not be tried" in html and "read 15 pages" in html

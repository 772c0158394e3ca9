"""The benchmark of the engine: small books, arithmetic, a quick run, what the book shows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jupytext
import pandas as pd
import pytest
import yaml

from ballbook import bench, methods, small_book
from ballbook.parameters import of_notebook

ROOT = Path(__file__).resolve().parents[1]


def row(task: str, engine: str, seconds: float, repeat: int = 0, **more: Any) -> dict[str, Any]:
    """One measured process; a book of 12 notebooks on two cores when not told."""
    given = {"cores": 2, "pages": 12, "patients": 300, "sets": None, "cpu": 1.0, "load": 0.1}
    found = {"task": task, "engine": engine, "repeat": repeat, "seconds": seconds, **given, **more}
    return {name: found[name] for name in bench.COLUMNS}


def measured() -> pd.DataFrame:
    """Three repeats of all tasks: round numbers."""
    rows = []
    for r, slow in enumerate((1.0, 1.1, 0.9)):
        rows += [
            row("cold", bench.BOOK, 40 * slow, r, cores=1),
            row("cold", bench.PAPERMILL, 48.0, r, cores=1),
            row("cold", bench.OURS, 8.0, r),
            row("cold", bench.OURS, 12.0, r, cores=1),
            row("cold", bench.OURS, 3.0, r, cores=1, pages=1),
            row("cold", bench.OURS, 5.0, r, cores=1, pages=1, patients=1_000_000),
            row("touched, no server", bench.OURS, 2.0, r),
            row("touched", bench.OURS, 0.8, r),
            row("unchanged", bench.OURS, 0.2 + 0.1 * r, r),
            row("sweep", bench.OURS, 10.0, r, sets=100, pages=1),
            row("sweep with reports", bench.OURS, 9.9, r, sets=33, pages=1),
            row("sweep", bench.PAPERMILL, 66.0, r, sets=33, pages=1, cores=1),
        ]
    return pd.DataFrame(rows)


def test_targets_are_ratios_of_medians_with_the_range_of_the_repeats() -> None:
    found = {t.task: t for t in bench.targets(measured()) if "papermill, " not in t.against}
    cold = found["Cold build of 12 notebooks, two cores"]
    assert cold.ratio == pytest.approx(8 / 40) and cold.met
    assert (cold.low, cold.high) == pytest.approx((8 / 44, 8 / 36))
    assert not found["Cold build of 12 notebooks, one core"].met
    first = found["One notebook of 12 touched, no server left"]
    assert first.ratio == pytest.approx(2 / 8) and not first.met
    again = found["One notebook of 12 touched"]
    assert again.ratio == pytest.approx(0.8 / 8) and again.met
    unchanged = found["Nothing changed in 12"]
    assert unchanged.ratio == pytest.approx(0.3 / 8) and unchanged.met
    assert (unchanged.low, unchanged.high) == pytest.approx((0.2 / 8, 0.4 / 8))
    # 100 sets in 10 s against 33 in 66 s: seconds a set are compared.
    sweep = found["100 parameter sets, numbers and one comparison"]
    assert sweep.ratio == pytest.approx(0.1 / 2) and sweep.met
    reports = found["A parameter set with its figures and report"]
    assert reports.ratio == pytest.approx(0.3 / 2) and not reports.met


def test_the_part_says_which_targets_are_not_met(tmp_path: Path) -> None:
    frame = measured()
    frame.to_csv(tmp_path / "bench.csv", index=False)
    about = {"date": "2026-01-01", "cores": 2, "repeats": 3, "versions": {"Python": "3.12"}}
    (tmp_path / "about.json").write_text(json.dumps(about), encoding="utf8")
    for name, figure in bench.draw(frame).items():
        figure.savefig(tmp_path / f"bench-{name}.svg")
    html = methods.bench_part(tmp_path)
    missed = sum(not t.met for t in bench.targets(frame))
    assert missed == 3 and "3 of 9 targets are not met" in html
    assert html.count(">not met<") == missed
    assert "0.200" in html and "0.182 to 0.222" in html and "1/4 (0.250)" in html
    assert html.count("<figure") == 2 and "1,000,000" in html


def test_curves_hold_the_medians_of_cold_builds() -> None:
    curves = bench.curves(measured())
    assert curves["ballbook, one core"] == {1: 3.0, 12: 12.0}
    assert curves["ballbook, two cores"] == {12: 8.0}
    assert curves["Jupyter Book's executor"] == {12: 40.0}
    assert bench.by_patients(measured()) == {300: 3.0, 1_000_000: 5.0}


def test_a_process_that_fails_stops_the_benchmark(tmp_path: Path) -> None:
    ran = bench.Bench(tmp_path)
    given = {"task": "cold", "engine": bench.OURS, "pages": 1, "repeat": 0}
    ran.timed([sys.executable, "-c", "pass"], tmp_path, **given)
    assert len(ran.rows) == 1 and 0 < ran.rows[0]["seconds"] < 30
    with pytest.raises(bench.Disagreement, match="ZeroDivisionError"):
        ran.timed([sys.executable, "-c", "1 / 0"], tmp_path, **given)
    assert len(ran.rows) == 1


def test_other_numbers_and_missing_pages_stop_the_benchmark(tmp_path: Path) -> None:
    ran = bench.Bench(tmp_path)
    for folder, value in (("a", 1.0), ("b", 1.0), ("c", 1.0000001)):
        run = tmp_path / folder / small_book.slug_of(1)
        run.mkdir(parents=True)
        results = {"estimates": [{"id": "cox", "value": value}]}
        (run / "results.json").write_text(json.dumps(results), encoding="utf8")
    ran.agree((1, 300), tmp_path / "a", 1)
    ran.agree((1, 300), tmp_path / "b", 1)
    with pytest.raises(bench.Disagreement, match="other estimates"):
        ran.agree((1, 300), tmp_path / "c", 1)
    page = tmp_path / small_book.CHAPTER / f"{small_book.slug_of(1)}.html"
    page.parent.mkdir()
    page.write_text('<figure class="bb-figure">', encoding="utf8")
    bench.rendered(tmp_path, 1)
    with pytest.raises(bench.Disagreement, match="002"):
        bench.rendered(tmp_path, 2)


def test_a_small_book_is_whole(tmp_path: Path) -> None:
    home = tmp_path / "small"
    slugs = small_book.write(home, 3, patients=50)
    assert len(set(slugs)) == 3
    contents = (home / "book" / "_toc.yml").read_text(encoding="utf8")
    claims = yaml.safe_load((home / "data/claims/small-book.yml").read_text(encoding="utf8"))
    ledger = pd.read_csv(home / "data/recorded/ledger.csv")
    assert [c["analysis"] for c in claims["claims"]] == slugs == list(ledger["analysis"])
    assert [c["id"] for c in claims["claims"]] == list(ledger["id"])
    seeds = set()
    for slug in slugs:
        notebook = jupytext.read(small_book.source_of(home, slug))
        meta = notebook.metadata["ballbook"]
        assert meta["slug"] == slug and f"small/{slug}" in contents
        assert meta["headline"] == [f"{slug}-treated"]
        values = {p.name: p.default for p in of_notebook(notebook.cells)}
        assert values["patients"] == 50
        seeds.add(values["seed"])
    assert len(seeds) == 3
    with pytest.raises(ValueError, match="not empty"):
        small_book.write(home, 1)


@pytest.mark.slow
def test_a_quick_run_records_what_the_page_shows(tmp_path: Path) -> None:
    bench.main(["--out", str(tmp_path), "--quick"])
    frame = pd.read_csv(tmp_path / "bench.csv")
    assert set(frame["task"]) == {
        *("cold", "touched", "touched, no server", "unchanged", "sweep", "sweep with reports")
    }
    assert (frame["seconds"] > 0).all() and (frame["cpu"] > 0).all()
    assert set(frame["engine"]) == {bench.BOOK, bench.PAPERMILL, bench.OURS}
    assert set(frame["repeat"]) == {0}
    once = frame.set_index(["task", "engine", "cores"])["seconds"]
    assert once["unchanged", bench.OURS, 2] < once["cold", bench.OURS, 2]
    html = methods.bench_part(tmp_path)
    assert "One notebook of 1 touched, no server left" in html and "<figure" in html

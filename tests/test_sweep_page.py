"""The page that compares runs: its numbers come from the tables, and from nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ballbook import analyses, freshness, sweep, sweep_grid, sweep_page
from ballbook.parameters import resolve
from ballbook.results import Estimate, Verdict, as_json

SLUG = "mrd-consolidation"


def made(
    folder: Path, axes: tuple[str, ...], points: list[tuple[Any, ...]], value: Any, **more: Any
) -> sweep.Sweep:
    """Return a sweep whose runs are written without running anything."""
    declared = analyses.find(SLUG).parameters
    at = [dict(zip(axes, p, strict=True)) for p in points]
    rows = [sweep_grid.Point(a, resolve(declared, {**a, **more})) for a in at]
    prints = [freshness.Fingerprint({"x": p.key}) for p in rows]
    runs = [sweep.Run(i, p, f) for i, (p, f) in enumerate(zip(rows, prints, strict=True))]
    made = sweep.Sweep(SLUG, sweep_grid.Grid(axes, tuple(rows)), folder, runs=runs)
    for run in runs:
        out = folder / f"{run.number:03d}"
        out.mkdir()
        estimate, verdict = value(run.point)
        record = {
            "started": "2026-01-01T00:00:00Z", "seconds": 1.0, "version": "0", "data": {},
            "library_sha256": "0" * 64, "notebook_sha256": "0" * 64, "lock_sha256": "0" * 64,
            "python": "3", "packages": {},
        }  # fmt: skip
        results = {
            "analysis": SLUG, "cohort": {"tier": "open"},
            "parameters": {**run.point.values, "cohort": "(yours)"},
            "estimates": [as_json(estimate)], "verdicts": [as_json(verdict)], "provenance": record,
        }  # fmt: skip
        (out / "results.json").write_text(json.dumps(results), encoding="utf8")
        (out / "provenance.json").write_text(json.dumps(record), encoding="utf8")
        run.fingerprint.stamp(out)
    return made


def ratio(value: float, **more: Any) -> Estimate:
    return Estimate(
        "hazard-ratio", value, value / 1.5, value * 1.5, label="A ratio", id="ratio",
        tier="open", **more,
    )  # fmt: skip


def verdict(word: Any) -> Verdict:
    return Verdict("stu-dfs-highmrd-myeloid", word, "46%", "40%", "open")


def text(folder: Path) -> str:
    return re.sub(r"\s+", " ", (folder / "comparison.html").read_text(encoding="utf8"))


def test_what_changes_is_counted(tmp_path: Path) -> None:
    def value(point: Any) -> Any:
        looks = point.at["looks"]
        return ratio(1 + looks / 10), verdict("differs" if looks > 8 else "consistent")

    points = [(looks, sd) for looks in (2, 6, 9) for sd in (0.2, 0.35)]
    found = made(tmp_path, ("looks", "prior_sd"), points, value)
    found.collect()
    page = text(tmp_path)
    assert "6 of 6 runs done; 1 of 1 estimates change between them, and 0 of 1 claims" in page
    assert "1 of 1 claim has more than one verdict." in page
    assert re.search(r"consistent</span> 4 .*?differs</span> 2<", page)
    assert (
        "A ratio: from 1.20 to 1.90 in 6 runs; the interval leaves out no effect in 4 of 6." in page
    )
    assert "prior_sd changes nothing here." in page and "looks (100%)" in page
    assert "Orange: the defaults." in page
    for outside in ("src=", "@import", "url(http"):
        assert outside not in page


def test_seeds_tell_their_spread(tmp_path: Path) -> None:
    values = {1: 1.0, 2: 1.2, 3: 1.7}

    def value(point: Any) -> Any:
        return ratio(values[point.at["seed"]]), verdict("consistent")

    found = made(tmp_path, ("seed",), [(1,), (2,), (3,)], value)
    found.collect()
    page, deviation = text(tmp_path), np.std(list(values.values()), ddof=1)
    assert f"standard deviation between seeds {deviation:.3f}" in page
    assert "1 of 1 claims keep one verdict" in page and "with one verdict in all runs" in page


def test_runs_that_failed_and_runs_that_left_are_told(tmp_path: Path) -> None:
    found = made(tmp_path, ("looks",), [(2,), (3,)], lambda p: (ratio(2.0), verdict("consistent")))
    (tmp_path / "001/results.json").unlink()
    (tmp_path / "failed").mkdir()
    kept = {"fingerprint": found.runs[1].fingerprint.id, "seconds": 2.0}
    kept["said"] = "cell 3 <b>raised</b>\nsecond line"
    (tmp_path / "failed/001.json").write_text(json.dumps(kept), encoding="utf8")
    found.removed = [{"run": 7, "at": {"looks": 9}}]
    found.collect()
    page = text(tmp_path)
    assert "1 of 2 runs done, 1 failed; 0 of 1 estimates change" in page
    assert "cell 3 &lt;b&gt;raised&lt;/b&gt;" in page and "second line" not in page
    assert "no longer in the grid and not on this page: 007" in page


def test_a_sweep_with_nothing_done_has_a_page(tmp_path: Path) -> None:
    found = made(tmp_path, ("looks",), [(2,)], lambda p: (ratio(2.0), verdict("consistent")))
    (tmp_path / "000/results.json").unlink()
    found.collect()
    assert "0 of 1 runs done, 1 waiting." in text(tmp_path)


def test_own_patients_are_warned_of_and_their_close_counts_withheld(tmp_path: Path) -> None:
    def value(point: Any) -> Any:
        n = {2: 60, 3: 58, 4: 60}[point.at["looks"]]
        share = Estimate("proportion", 0.5, 0.4, 0.6, n=n, label="Share", id="own-s", tier="yours")
        return share, verdict("consistent")

    found = made(tmp_path, ("looks",), [(2,), (3,), (4,)], value, cohort="/home/me/ours.csv")
    found.collect()
    rows = pd.read_csv(tmp_path / "estimates.csv")
    assert rows["n"].dropna().tolist() == [60, 60] and rows["value"].notna().tolist() == [
        True, False, True,
    ]  # fmt: skip
    page = text(tmp_path)
    assert "can be subtracted from one another" in page
    assert "58" not in re.sub(r"<svg.*?</svg>|<style.*?</style>|<script.*?</script>", "", page)
    assert "/home/me" not in page


def frame(**columns: Any) -> pd.DataFrame:
    table = pd.DataFrame(columns)
    ends = {"ci_low": table["value"] - 1, "ci_high": table["value"] + 1, "chosen": False}
    return table.assign(**{k: v for k, v in ends.items() if k not in table})


def test_axes_that_change_nothing_are_left_out() -> None:
    full = frame(a=[1, 1, 2, 2], b=[1, 2, 1, 2], value=[1.0, 1.0, 3.0, 3.0])
    full["chosen"] = [False, True, False, False]
    left, axes, inert = sweep_page.essential(full, ["a", "b"])
    assert (axes, inert) == (["a"], ["b"])
    assert left["value"].tolist() == [1.0, 3.0] and left["chosen"].tolist() == [True, False]
    # Two axes that go side by side cannot be told apart, so both stay.
    zipped = frame(a=[1, 2, 3], b=[4, 5, 6], value=[1.0, 2.0, 3.0])
    assert sweep_page.essential(zipped, ["a", "b"])[1:] == (["a", "b"], [])
    # A change of the interval alone is a change.
    wider = full.assign(ci_high=[2, 9, 4, 9])
    assert sweep_page.essential(wider, ["a", "b"])[1:] == (["a", "b"], [])


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"a": [1, 2, 3, 4]}, "One run for each value of a."),
        ({"seed": [1, 2, 3, 4]}, "only the seed differs"),
        ({"word": ["x", "x", "y", "y"], "seed": [1, 2, 1, 2]}, "diamonds their median"),
        ({"a": [1, 1, 2, 2], "b": [True, False, True, False]}, "Each column is a run"),
    ],
)
def test_the_figure_fits_the_grid(axes: dict[str, list[Any]], said: str) -> None:
    table = frame(**axes, value=[1.0, 1.5, 2.5, 3.0])
    for log in (True, False):
        figure, how = sweep_page.draw(table, list(axes), ylabel="Ratio", null=1.0, log=log)
        assert said in how
        figure.canvas.draw()


def test_what_moves_an_estimate_most_is_the_axis_that_does() -> None:
    page = SimpleNamespace(axes=["a", "b"])
    table = frame(value=[1.0, 1.1, 5.0, 5.1])
    table[["at:a", "at:b"]] = [[1, 1], [1, 2], [2, 1], [2, 2]]
    total = table["value"].var(ddof=0) * 4
    share = 4 * 2.0**2 / total
    assert sweep_page._Page._moved_by(page, table) == f"a ({share:.0%})"  # type: ignore[arg-type]

"""The notebook on copy number at two times, run from beginning to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ballbook import copy_number as cn
from ballbook import dummy
from ballbook.cohort import InvalidCohort
from ballbook.parameters import InvalidParameters
from ballbook.run import run

SLUG = "copy-number-profile"
QUICK = {"n_pairs": 10}
pytestmark = pytest.mark.slow


def results_of(out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    results = json.loads((out / "results.json").read_text(encoding="utf8"))
    return results, {e["id"]: e for e in results["estimates"]}


@pytest.fixture(scope="module")
def page(run_of: Callable[[str], Path]) -> Path:
    return run_of(SLUG)


def test_the_invented_pair_is_counted_as_drawn(page: Path) -> None:
    _, e = results_of(page)
    data = pd.read_csv(page / "figures" / "invented-pair.csv")
    for name in ("first", "second"):
        s = data[data["sample"] == f"{name} sample"]
        size = s["end"] - s["start"]
        altered = size[s["value"].round() != round((size * s["value"]).sum() / size.sum())].sum()
        assert e[f"drawn-{name}-altered"]["value"] == pytest.approx(altered / size.sum())
        assert e[f"drawn-{name}-ploidy"]["value"] == pytest.approx(
            (size * s["value"]).sum() / size.sum()
        )
    assert e["drawn-first-score"]["value"] <= 1
    assert e["drawn-second-score"]["value"] == pytest.approx(20, abs=2)
    difference = e["drawn-second-altered"]["value"] - e["drawn-first-altered"]["value"]
    assert e["drawn-difference"]["value"] == pytest.approx(difference)


def test_a_change_is_called_where_there_is_one(page: Path) -> None:
    results, e = results_of(page)
    assert e["called-aneuploid-50"]["value"] > 0.9 and e["called-unchanged-50"]["value"] < 0.1
    assert e["called-aneuploid-20"]["value"] < 0.5  # low purity hides it from the score
    assert abs(e["error-aneuploid-90"]["value"]) < 0.5
    (verdict,) = results["verdicts"]
    assert (verdict["claim"], verdict["verdict"]) == ("coo-aneuploidy", "method-check")
    table = pd.read_csv(page / "tables" / "arms.csv")
    # With six new arms and none lost the exact test first falls below 0.05.
    assert stats.binomtest(0, 6).pvalue < 0.05 < stats.binomtest(0, 5).pvalue
    assert table["number"].iloc[-1] == 6 or str(table["number"].iloc[-1]) == "6"


def ascat(folder: Path, n: int, arms: int = 20) -> Path:
    """Write a table of `n` patients with two samples: unaltered, then `arms` arms gained."""
    table = cn.arms("GRCh38")
    folder.mkdir()
    parts = []
    for i in range(n):
        for day in (0, 90):
            gained = (np.arange(39) < arms) & (day == 90)
            parts.append(
                table[["chrom"]].assign(
                    sample=f"secret{i}-{day}", patient=f"secret{i}", day=day,
                    startpos=table["start"] + 1, endpos=table["end"],
                    nMajor=1 + gained.astype(int), nMinor=1,
                )
            )  # fmt: skip
    pd.concat(parts).to_csv(folder / "segments.csv", index=False)
    return folder


def test_segments_of_ones_own_are_profiled(tmp_path: Path) -> None:
    given: dict[str, Any] = {"cohort": str(ascat(tmp_path / "mine", 8)), **QUICK}
    out = run(SLUG, parameters=given, out=tmp_path / "out")
    results, e = results_of(out)
    sizes = cn.arms("GRCh38").eval("end - start")
    share = sizes.iloc[:20].sum() / sizes.sum()
    # More than half of the genome gained: ploidy rounds to 3, and the rest counts as lost.
    assert share > 0.5
    assert e["own-difference"]["value"] == pytest.approx(1 - share, abs=0.001)
    assert e["own-score"]["value"] == 0 and e["own-ploidy"]["value"] == 2
    assert e["own-loh"]["value"] == 0 and e["own-difference"]["n"] == 8
    assert "In your cohort the fraction altered changes by" in results["summary"]
    assert "secret" not in (out / "report.html").read_text("utf8")
    assert not (out / "figures" / "pair-own.svg").exists()


def test_one_patient_is_drawn_only_where_all_is_shown(tmp_path: Path) -> None:
    folder = ascat(tmp_path / "mine", 1, arms=7)
    _, e = results_of(run(SLUG, parameters={"cohort": str(folder), **QUICK}, out=tmp_path / "shy"))
    for id in ("own-score", "own-difference", "own-rise"):
        assert e[id]["value"] is None, id
    given: dict[str, Any] = {"cohort": str(folder), "min_count": 0, **QUICK}
    out = run(SLUG, parameters=given, out=tmp_path / "open")
    _, e = results_of(out)
    assert (out / "figures" / "pair-own.svg").is_file()
    assert (e["own-rise"]["value"], e["own-rise"]["n"]) == (1, 1)
    assert e["own-difference"]["reason"] == "fewer than 3 patients"
    assert "secret" not in (out / "report.html").read_text("utf8")


def test_ratios_have_no_ploidy(tmp_path: Path) -> None:
    rows = ["ID\tchrom\tloc.start\tloc.end\tnum.mark\tseg.mean"]
    for i in range(6):
        for arm in cn.arms("GRCh38").itertuples():
            rows.append(
                f"S{i}\t{arm.chrom}\t{arm.start + 1}\t{arm.end}\t9\t{0.5 * (arm.Index < i)}"
            )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "study.seg").write_text("\n".join(rows) + "\n")
    given: dict[str, Any] = {"cohort": str(tmp_path / "mine"), **QUICK}
    _, e = results_of(run(SLUG, parameters=given, out=tmp_path / "out"))
    assert e["own-score"]["value"] == 2.5 and e["own-ploidy"]["value"] is None
    assert "own-difference" not in e


def test_two_of_three_dummies_turn_aneuploid(tmp_path: Path) -> None:
    dummy.write(SLUG, tmp_path / "d", n=30)
    given: dict[str, Any] = {"cohort": str(tmp_path / "d"), **QUICK}
    _, e = results_of(run(SLUG, parameters=given, out=tmp_path / "out"))
    assert e["own-rise"]["value"] == pytest.approx(2 / 3, abs=0.01)
    assert e["own-rise"]["tier"] == "simulated"


@pytest.mark.parametrize(
    "wrong", [{"purity": 0}, {"arms_altered": 40}, {"whole_arm": 0.5}, {"gain_log2": -1}]
)
def test_a_parameter_out_of_range_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameters, match=next(iter(wrong))):
        run(SLUG, parameters=wrong, out=tmp_path / "out")


def test_a_cohort_without_segments_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("patient_id,age_years\na,3\n")
    with pytest.raises(InvalidCohort, match="a table segments"):
        run(SLUG, parameters={"cohort": str(path)}, out=tmp_path / "out")

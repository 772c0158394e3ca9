"""The page on trials of infant leukaemia, run from beginning to end; it needs no open data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ballbook import claims, contradictions
from ballbook.cohort import InvalidCohort
from ballbook.parameters import InvalidParameters
from ballbook.run import run
from ballbook.survival import kaplan_meier

SLUG = "infant-trials"
pytestmark = pytest.mark.slow


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    results = json.loads((folder / "results.json").read_text(encoding="utf8"))
    verdicts = {v["claim"]: v["verdict"] for v in results["verdicts"]}
    return results, {e["id"]: e for e in results["estimates"]}, verdicts


def write_cohort(folder: Path, n: int) -> Path:
    rng = np.random.default_rng(4)
    death, end = rng.exponential(70, n), rng.uniform(30, 110, n)
    path = folder / f"infants{n}.csv"
    pd.DataFrame(
        {
            "patient_id": [f"secret-{i}" for i in range(n)],
            "age_years": np.where(np.arange(n) % 10 == 0, 3.0, 0.5),
            "kmt2a_r": 1,
            "efs_months": np.minimum(death, end),
            "efs_event": (death <= end).astype(int),
        }
    ).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def page(run_of: Callable[[str], Path]) -> Path:
    return run_of(SLUG)


def test_numbers_are_those_of_r(page: Path) -> None:
    _, ours, _ = read(page)
    file = Path(__file__).parent / "golden" / "infant.json"
    r = {c["data"]: c["expected"] for c in json.loads(file.read_text(encoding="utf8"))["cases"]}
    for data, id in (
        ("EFS at 5", "pool-efs-5"),
        ("EFS at 6", "pool-efs-6"),
        ("OS at 5", "pool-os-5"),
    ):
        for key in ("value", "ci_low", "ci_high"):
            assert ours[id][key] == pytest.approx(r[data][key], rel=1e-5)
    pilot = r["blinatumomab pilot, DFS at 4 years"]
    assert ours["hr-dfs-4"]["ci_high"] == pytest.approx(pilot["ci_high"], rel=1e-6)
    assert ours["pilot-p"]["value"] == pytest.approx(pilot["exact_p"], rel=1e-6)
    assert ours["selection-needed"]["value"] == pytest.approx(pilot["needed"], rel=1e-6)
    slope = next(
        c["expected"]
        for c in json.loads(file.read_text(encoding="utf8"))["cases"]
        if c["data"].startswith("infant trials") and c["input"]["knapp_hartung"]
    )
    assert np.log(ours["slope-os-5"]["value"]) == pytest.approx(slope["coef"], rel=1e-5)
    assert ours["slope-os-5"]["p_value"] == pytest.approx(slope["p"], rel=1e-5)


def test_the_pilot_is_compared_by_its_printed_intervals(page: Path) -> None:
    _, ours, _ = read(page)
    file = Path(__file__).parent / "golden" / "infant.json"
    r = {c["data"]: c["expected"] for c in json.loads(file.read_text(encoding="utf8"))["cases"]}
    for data, id in (
        ("DFS at 2 years", "hr-dfs-2"),
        ("OS at 2 years", "hr-os-2"),
        ("OS at 4 years", "hr-os-4"),
    ):
        for key in ("value", "ci_low", "ci_high", "p_value"):
            assert ours[id][key] == pytest.approx(r[f"blinatumomab pilot, {data}"][key], rel=1e-6)
    relapse, incidence = ours["pilot-relapse-4"], r["blinatumomab pilot, incidence of relapse"]
    for key in ("value", "ci_low", "ci_high"):
        assert relapse[key] == pytest.approx(incidence[key], rel=1e-6)
    # As the report of 2026 prints it.
    assert [round(100 * relapse[k], 1) for k in ("value", "ci_low", "ci_high")] == [13.3, 4.1, 28.1]
    assert ours["controls-effective-n"]["value"] == round(incidence["controls"])


def test_no_pool_mixes_endpoints_or_times(page: Path) -> None:
    _, ours, _ = read(page)
    pools = [e for i, e in ours.items() if i.startswith("pool-")]
    assert {(e["label"].split(", ")[1], e["unit"]) for e in pools} == {
        ("EFS at 5 years", "at 5 years"), ("EFS at 6 years", "at 6 years"),
        ("OS at 5 years", "at 5 years"),
    }  # fmt: skip
    assert not [i for i in ours if i.startswith("pool-dfs")]


def test_verdicts_are_those_of_print(page: Path) -> None:
    results, _, verdicts = read(page)
    wanted = {c.id for c in claims.of_analysis(SLUG) if c.kind not in claims.WITHOUT_VERDICT}
    assert set(verdicts) == wanted
    assert len(results["verdicts"]) == len(wanted)
    slips = {i for f in contradictions.run() for i in f.slip} & wanted
    assert {c for c, w in verdicts.items() if w == "misprint"} == slips
    assert {"stu-t1-efs-mll10", "stu-t1-os-mll03", "stu-t1-efs-blinapilot"} <= slips
    assert verdicts["stu-blina-improves"] == "consistent"
    assert verdicts["stu-text-efs50"] == "reproduced"
    assert verdicts["ext-blina-cir4"] == "reproduced"
    # Of other infants, another time or a mean that need not be the whole's: no contradiction.
    for claim in ("stu-intro-efs", "stu-relapse-n", "stu-t1-n-tini1", "stu-t1-efs-interfant06"):
        assert verdicts[claim] == "not-testable"
    differ = {c for c, w in verdicts.items() if w == "differs"}
    assert differ == {"stu-relapse-two-thirds", "stu-t1-west-difference"}
    why = {v["claim"]: v["reason"] for v in results["verdicts"]}
    assert "36.94" in why["stu-t1-efs-interfant06"]
    assert "231" in why["stu-relapse-n"]
    assert verdicts["stu-t1-efs-mll03"] == "reproduced"
    assert verdicts["stu-t1-efs-p9407"] == "not-testable"


def test_the_answer_names_the_limits(page: Path) -> None:
    results, ours, _ = read(page)
    assert len(results["summary"].split()) <= 45
    assert len(results["certainty"].split()) <= 30
    assert "not randomised" in results["certainty"]
    assert ours["e-value-bound"]["value"] < ours["e-value"]["value"]
    failed = {g["name"] for g in results["gates"] if g["status"] == "failed"}
    assert "Randomised comparison of blinatumomab" in failed
    table = pd.read_csv(page / "tables" / "trials.csv")
    assert (
        table["registry"]
        .dropna()
        .str.fullmatch(r"NCT\d{8}|UMIN\d{9}|EudraCT \d{4}-\d{6}-\d{2}")
        .all()
    )
    assert table.loc[table["registry"].notna(), "registry_source"].notna().all()


def test_central_nervous_system_counts(page: Path) -> None:
    _, ours, _ = read(page)
    assert ours["count-interfant06-cns"]["n_events"] == 50
    assert ours["count-pilot-cns"]["ci_low"] == pytest.approx(0.0376, abs=1e-4)
    assert ours["or-cns"]["ci_low"] < 1 < ours["or-cns"]["ci_high"]
    assert ours["or-other-relapse"]["p_value"] < 1e-4


def test_reading_overall_survival_at_the_marked_time_changes_its_pools(tmp_path: Path) -> None:
    _, ours, _ = read(run(SLUG, parameters={"os_as_efs": True}, out=tmp_path / "o"))
    assert "pool-os-6" in ours
    assert "pool-os-5" not in ours
    assert not [i for i in ours if i.startswith("slope-")]


def test_a_cohort_stands_beside_the_trials(tmp_path: Path) -> None:
    path = write_cohort(tmp_path, 200)
    folder = run(SLUG, parameters={"cohort": str(path)}, out=tmp_path / "o")
    results, ours, _ = read(folder)
    t = pd.read_csv(path)
    t = t[t["age_years"] < 1]
    expected = kaplan_meier(t["efs_months"], t["efs_event"]).at(60).value
    assert ours["own-efs-5"]["value"] == pytest.approx(expected, abs=0.02)
    assert ours["own-efs-5"]["n"] == len(t)
    assert "own-efs-5-difference" in ours
    assert "In your cohort EFS is" in results["summary"]
    assert "secret-" not in (folder / "report.html").read_text(encoding="utf8")


def test_a_small_cohort_is_withheld(tmp_path: Path) -> None:
    path = write_cohort(tmp_path, 4)
    results, ours, _ = read(run(SLUG, parameters={"cohort": str(path)}, out=tmp_path / "o"))
    assert all(e["value"] is None for i, e in ours.items() if i.startswith("own-"))
    assert "withheld" in results["summary"]


def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameters, match="followed"):
        run(SLUG, parameters={"followed": 1.5}, out=tmp_path / "o")
    path = tmp_path / "mine.csv"
    path.write_text("patient_id,age_years\na,0.5\nb,0.2\n")
    with pytest.raises(InvalidCohort, match="EFS"):
        run(SLUG, parameters={"cohort": str(path)}, out=tmp_path / "o")

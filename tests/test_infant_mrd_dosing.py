"""The page on dose by age and MRD remission, run from beginning to end; it needs no open data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ballbook import claims
from ballbook.cohort import InvalidCohort
from ballbook.parameters import InvalidParameters
from ballbook.run import run

SLUG = "infant-mrd-dosing"
pytestmark = pytest.mark.slow


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[Any, str]]:
    results = json.loads((folder / "results.json").read_text(encoding="utf8"))
    verdicts = {(v["claim"], v["tier"] == "yours"): v["verdict"] for v in results["verdicts"]}
    return results, {e["id"]: e for e in results["estimates"]}, verdicts


def write_cohort(folder: Path, n: int) -> Path:
    rng = np.random.default_rng(2)
    path = folder / f"infants{n}.csv"
    pd.DataFrame(
        {
            "patient_id": [f"secret-{i}" for i in range(n)],
            "age_years": rng.uniform(0, 0.99, n).round(3),
            "kmt2a_r": 1,
            "mrd_eoi": np.where(np.arange(n) % 2 == 0, 0.001, 0.00005),
        }
    ).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def page(run_of: Callable[[str], Path]) -> Path:
    return run_of(SLUG)


def test_numbers_are_those_of_r(page: Path) -> None:
    _, ours, _ = read(page)
    file = Path(__file__).parent / "golden" / "audit.json"
    cases = json.loads(file.read_text(encoding="utf8"))["cases"]
    r = {(c["estimator"], c["data"]): c["expected"] for c in cases}
    mh = r["stratified", "Stutterheim table 3"]
    assert ours["or-stratified"]["value"] == pytest.approx(mh["value"], rel=1e-9)
    assert ours["or-stratified"]["ci_high"] == pytest.approx(mh["ci_high"], rel=1e-9)
    assert ours["cmh"]["value"] == pytest.approx(mh["p"], rel=1e-9)
    # The values that were worked out in R when the review was first read.
    assert ours["or-stratified"]["value"] == pytest.approx(2.05, abs=0.005)
    assert ours["or-stratified"]["ci_low"] == pytest.approx(1.16, abs=0.005)
    assert ours["or-stratified"]["ci_high"] == pytest.approx(3.64, abs=0.005)
    assert ours["cmh"]["value"] == pytest.approx(0.014, abs=0.0005)
    assert ours["cmh-corrected"]["value"] == pytest.approx(0.021, abs=0.0005)
    assert ours["breslow-day"]["value"] == pytest.approx(0.21, abs=0.005)
    assert ours["trend-mll10"]["value"] == pytest.approx(0.0028, abs=5e-5)
    assert ours["trend-interfant06"]["value"] == pytest.approx(0.0998, abs=5e-5)
    golden = {
        c["data"]: c["expected"]
        for c in json.loads((file.parent / "infant.json").read_text(encoding="utf8"))["cases"]
    }
    assert ours["posterior-as-set"]["value"] == pytest.approx(
        golden["Table 3, prior SD 1"]["value"], rel=1e-6
    )


def test_every_claim_has_one_verdict_and_the_control_stays_open(page: Path) -> None:
    results, _, verdicts = read(page)
    wanted = {c.id for c in claims.of_analysis(SLUG) if c.kind not in claims.WITHOUT_VERDICT}
    assert {c for c, _ in verdicts} == wanted
    assert len(results["verdicts"]) == len(wanted)
    assert verdicts["stu-t3-stratified", False] == "consistent"
    assert verdicts["stu-t3-compare-0-2mo", False] == "underpowered"
    # Another cut-off bounds the share from below and cannot contradict it.
    assert verdicts["stu-eoi-mrd-positive", False] == "not-testable"
    (why,) = [v["reason"] for v in results["verdicts"] if v["claim"] == "stu-eoi-mrd-positive"]
    assert "111 of 217" in why
    counts = [w for (c, _), w in verdicts.items() if c.startswith(("stu-t3-mll10", "stu-t3-inter"))]
    assert set(counts) == {"reproduced"}
    assert len(counts) == 8


def test_the_answer_is_short_and_names_what_the_difference_rests_on(page: Path) -> None:
    results, ours, _ = read(page)
    assert len(results["summary"].split()) <= 45
    assert len(results["certainty"].split()) <= 30
    assert "without the oldest group" in results["summary"]
    for id in ("or-stratified", "or-0-2mo"):
        assert f"{ours[id]['value']:.1f} (" in results["summary"]
    failed = {g["name"] for g in results["gates"] if g["status"] == "failed"}
    assert "Randomised comparison" in failed
    report = (page / "report.html").read_text(encoding="utf8")
    assert report.count('role="img"') == 4


def test_a_bias_that_is_thought_possible_takes_from_the_effect(tmp_path: Path) -> None:
    found = [
        read(run(SLUG, parameters={"bias_sd": s}, out=tmp_path / str(s)))[1]["probability-dose"]
        for s in (0.0, 2.0)
    ]
    assert found[0]["value"] > 0.99 > found[1]["value"] > 0.5


def test_a_cohort_stands_beside_both_trials(tmp_path: Path) -> None:
    folder = run(SLUG, parameters={"cohort": str(write_cohort(tmp_path, 300))}, out=tmp_path / "o")
    results, ours, _ = read(folder)
    assert ours["own-total"]["value"] == pytest.approx(0.5)
    assert ours["own-total"]["tier"] == "yours"
    known = json.loads((folder / "results.json").read_text(encoding="utf8"))["estimates"]
    frame = pd.DataFrame(known).set_index("id")
    table = pd.read_csv(write_cohort(tmp_path, 300))
    old = table["age_years"] >= 0.5
    share = 1 - (table.loc[old, "mrd_eoi"] >= 1e-4).mean()
    assert frame.loc["own-6-12mo", "value"] == pytest.approx(share, rel=5e-3)
    assert {"own-v-mll10", "own-v-interfant06"} <= set(ours)
    assert "own-6-12mo-difference" in ours
    assert "In your cohort 50%" in results["summary"]
    text = (folder / "report.html").read_text(encoding="utf8")
    assert "secret-" not in text
    assert (folder / "methods.txt").is_file()


def test_a_small_cohort_shows_no_age_group(tmp_path: Path) -> None:
    folder = run(SLUG, parameters={"cohort": str(write_cohort(tmp_path, 9))}, out=tmp_path / "o")
    _, ours, _ = read(folder)
    assert all(e["value"] is None for i, e in ours.items() if i.startswith("own-"))


def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameters, match="prior_sd"):
        run(SLUG, parameters={"prior_sd": 0.0}, out=tmp_path / "o")
    path = tmp_path / "no_mrd.csv"
    path.write_text("patient_id,age_years\na,0.5\nb,0.2\n")
    with pytest.raises(InvalidCohort, match="MRD"):
        run(SLUG, parameters={"cohort": str(path)}, out=tmp_path / "o")

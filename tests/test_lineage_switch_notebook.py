"""The lineage-switch notebook, run from beginning to end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ballbook.run import run

SLUG = "lineage-switch-survival"
pytestmark = pytest.mark.slow


def results_of(out: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the results, and estimates and verdicts by name."""
    results = json.loads((out / "results.json").read_text(encoding="utf8"))
    estimates = {e["id"]: e for e in results["estimates"]}
    verdicts = {(v["claim"], v["tier"] == "yours"): v for v in results["verdicts"]}
    return results, estimates, verdicts


def a_cohort(n: int, folder: Path) -> Path:
    """Write `n` made-up switch cases with a true median of 4.8 months."""
    rng = np.random.default_rng(21)
    death, end = rng.exponential(4.8 / np.log(2), n), rng.uniform(6, 40, n)
    path = folder / f"cases{n}.csv"
    pd.DataFrame(
        {
            "patient_id": [f"secret-{i}" for i in range(n)],
            "subtype": np.where(np.arange(n) % 3 > 0, "KMT2A-r", "other"),
            "os_after_switch_months": np.minimum(death, end),
            "os_after_switch_event": (death <= end).astype(int),
        }
    ).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    from conftest import shared_folder

    if shared_folder() is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    return run(SLUG, out=tmp_path_factory.mktemp("switch") / "out")


def test_headline_numbers_are_those_of_r(page: Path, golden: Any) -> None:
    results, estimates, _ = results_of(page)
    r = golden("lineage_switch")
    for id, expected in {
        "relapse-all-median": r["all"],
        "relapse-early-median": r["by_time"]["under 18 months"],
        "relapse-late-median": r["by_time"]["36 months or later"],
        "relapse-kmt2a-median": r["by_kmt2a"]["Positive"],
        "relapse-aall0331-median": r["by_protocol"]["AALL0331"],
        "relapse-set-other-median": r["without_discovery"],
    }.items():
        e = estimates[id]
        assert (e["n"], e["n_events"], e["tier"]) == (expected["n"], expected["events"], "open")
        for got, key in [("value", "median"), ("ci_low", "low"), ("ci_high", "high")]:
            want = None if expected[key] is None else pytest.approx(expected[key], rel=1e-9)
            assert e[got] == want, (id, got)
    time = estimates["logrank-time"]
    assert time["p_value"] == pytest.approx(r["logrank_time_stratified"]["p"], rel=1e-6)
    later = estimates["mean-early-minus-later"]["value"]
    assert later == pytest.approx(r["early_minus_later_24"], rel=1e-9)
    needed = [estimates[f"deaths-to-see-{m}"]["value"] for m in ("7-2", "9-6", "14-4")]
    assert needed == r["deaths_needed"]
    gates = {g["name"]: g for g in results["gates"]}
    assert gates["proportional hazards"]["statistic"] == pytest.approx(r["zph_time"], rel=1e-6)
    assert estimates["patients-for-median-within-1"]["value"] == r["patients"][0]["n"]


def test_verdicts_follow_from_what_is_printed(page: Path) -> None:
    _, _, verdicts = results_of(page)
    words = {claim: v["verdict"] for (claim, _), v in verdicts.items()}
    counted = ["n", "aml", "mpal", "rare", "kmt2a", "6mo"]
    assert {words[f"ext-silbert-{c}"] for c in counted} == {"reproduced"}
    assert words["iac-silbert-kmt2a"] == words["iac-silbert-other"] == "misprint"
    unknown = ["os", "remission", "time", "drift", "bcrabl1"]
    assert {words[f"ext-silbert-{c}"] for c in unknown} == {"not-testable"}


def test_simulated_numbers_give_no_verdict(page: Path) -> None:
    results, estimates, _ = results_of(page)
    assert not [v for v in results["verdicts"] if v["tier"] == "simulated"]
    families = [e for id, e in estimates.items() if id.startswith(("median-allowed", "ratio-"))]
    assert {e["tier"] for e in families} == {"simulated"}


def test_the_answer_stands_at_the_top_and_names_the_doubt(page: Path) -> None:
    results, estimates, _ = results_of(page)
    for id in ("relapse-all-median", "relapse-early-median"):
        assert f"{estimates[id]['value']:.1f} months" in results["summary"]
    assert "no public case-level data" in results["certainty"]
    report = (page / "report.html").read_text(encoding="utf8")
    assert report.index("bb-answer") < report.index("What can be known")


def test_every_figure_has_its_files_and_its_numbers(page: Path) -> None:
    for name in ("curves-of-one-median", "survival-after-relapse", "survival-by-kmt2a", "medians"):
        for ending in ("svg", "png", "csv"):
            assert (page / "figures" / f"{name}.{ending}").stat().st_size > 200
    curves = pd.read_csv(page / "figures" / "curves-of-one-median.csv")
    at_the_median = curves[np.isclose(curves["months"], 4.8)].drop(columns="months")
    assert at_the_median.to_numpy().ravel() == pytest.approx([0.5] * 4)


def test_no_row_of_a_patient_leaves_target(page: Path) -> None:
    for file in page.rglob("*.*"):
        if file.suffix in {".html", ".csv", ".json", ".ipynb"}:
            assert not re.search(r"TARGET-10-[A-Z]{6}", file.read_text(encoding="utf8")), file.name


def test_two_runs_agree(page: Path, tmp_path: Path) -> None:
    first, _, _ = results_of(page)
    second, _, _ = results_of(run(SLUG, out=tmp_path / "again"))
    for results in (first, second):
        del results["provenance"]  # date, run time, and hashes of the whole library
    assert first == second


def test_your_cases_are_judged_and_stay_yours(shared_data: Path, tmp_path: Path) -> None:
    cases = a_cohort(120, tmp_path)
    out = run(SLUG, parameters={"cohort": str(cases), "n_sim": 50}, out=tmp_path / "out")
    results, estimates, verdicts = results_of(out)
    own = estimates["own-median"]
    assert own["tier"] == "yours"
    assert own["ci_low"] < 4.8 < own["ci_high"]
    assert verdicts["ext-silbert-os", True]["verdict"] == "consistent"
    assert verdicts["ext-silbert-kmt2a", True]["verdict"] == "consistent"
    assert verdicts["ext-silbert-os", False]["verdict"] == "not-testable"
    assert "In your cohort the median is" in results["summary"]
    for file in out.rglob("*.*"):
        if file.suffix in {".html", ".csv", ".json", ".ipynb", ".svg"}:
            assert "secret-" not in file.read_text(encoding="utf8"), file.name
    drawn = pd.read_csv(out / "figures" / "survival-after-relapse.csv")
    mine = drawn[drawn["group"] == "your cohort"]
    assert len(mine) > 5
    assert mine["at_risk"].isna().all()


def test_a_handful_of_cases_is_not_shown(shared_data: Path, tmp_path: Path) -> None:
    cases = a_cohort(4, tmp_path)
    out = run(SLUG, parameters={"cohort": str(cases), "n_sim": 50}, out=tmp_path / "out")
    results, estimates, verdicts = results_of(out)
    assert not [id for id in estimates if id.startswith("own-")]
    assert ("ext-silbert-os", True) not in verdicts
    assert [g["status"] for g in results["gates"]].count("failed") >= 1
    drawn = pd.read_csv(out / "figures" / "survival-after-relapse.csv")
    assert "your cohort" not in set(drawn["group"])


@pytest.mark.parametrize(
    "choice", [{"include_discovery": False}, {"early_months": 12.0}, {"horizon_months": 60.0}]
)
def test_other_choices_run_through(
    shared_data: Path, tmp_path: Path, choice: dict[str, Any]
) -> None:
    results, estimates, _ = results_of(
        run(SLUG, parameters={**choice, "n_sim": 50}, out=tmp_path / "out")
    )
    assert results["parameters"][next(iter(choice))] == next(iter(choice.values()))
    assert estimates["relapse-early-median"]["n"] > 0

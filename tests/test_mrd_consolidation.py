"""The page on consolidation by MRD, run from beginning to end; it needs no open data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ballbook import claims, power
from ballbook.cohort import InvalidCohort
from ballbook.cox import cox
from ballbook.parameters import InvalidParameters
from ballbook.run import run

SLUG = "mrd-consolidation"


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[Any, str]]:
    results = json.loads((folder / "results.json").read_text(encoding="utf8"))
    verdicts = {(v["claim"], v["tier"] == "yours"): v["verdict"] for v in results["verdicts"]}
    return results, {e["id"]: e for e in results["estimates"]}, verdicts


def made_up(n: int, psi: float, rng: np.random.Generator) -> pd.DataFrame:
    """Return times of `n` infants in whom the two hazard ratios differ by a factor `psi`."""
    arm, high = rng.integers(0, 2, n), rng.integers(0, 2, n)
    rate = np.exp(-5 + np.log(2) * arm + np.log(psi) * arm * high + 0.8 * high)
    death, end = rng.exponential(1 / rate), rng.uniform(36, 108, n)
    return pd.DataFrame(
        {"arm": arm, "high": high, "months": np.minimum(death, end), "event": death <= end}
    )


def write_cohort(folder: Path, n: int) -> Path:
    t = made_up(n, 0.15, np.random.default_rng(8))
    path = folder / f"infants{n}.csv"
    pd.DataFrame(
        {
            "patient_id": [f"secret-{i}" for i in range(n)],
            "age_years": 0.4,
            "treatment": np.where(t["arm"] == 1, "Myeloid", "lymphoid"),
            "mrd_eoi": np.where(t["high"] == 1, 0.01, 0.0),
            "dfs_months": t["months"],
            "dfs_event": t["event"].astype(int),
        }
    ).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def page(run_of: Callable[[str], Path]) -> Path:
    return run_of(SLUG)


@pytest.mark.slow
def test_the_interaction_follows_from_four_percentages(page: Path) -> None:
    _, ours, _ = read(page)
    high, negative = math.log(0.46) / math.log(0.23), math.log(0.45) / math.log(0.78)
    assert ours["hr-high"]["value"] == pytest.approx(high)
    assert ours["hr-negative"]["value"] == pytest.approx(negative)
    assert ours["interaction"]["value"] == pytest.approx(high / negative)
    assert ours["least-arm"]["value"] == 12
    low, top = (ours["interaction-rounding"][k] for k in ("ci_low", "ci_high"))
    assert low < high / negative < top
    assert ours["p-corrected"]["value"] == pytest.approx(6 * ours["interaction"]["p_value"])


@pytest.mark.slow
def test_nothing_is_judged_without_numbers_of_patients(page: Path) -> None:
    results, _, verdicts = read(page)
    wanted = {c.id for c in claims.of_analysis(SLUG) if c.kind not in claims.WITHOUT_VERDICT}
    assert {c for c, _ in verdicts} == wanted
    assert set(verdicts.values()) == {"not-testable"}
    assert all("Needed" in v["reason"] for v in results["verdicts"])
    assert len(results["summary"].split()) <= 45
    assert len(results["certainty"].split()) <= 30
    text = (page / "report.html").read_text(encoding="utf8")
    assert "This is a finding made afterwards" in text


@pytest.mark.slow
def test_more_looks_leave_less(tmp_path: Path) -> None:
    _, ours, _ = read(run(SLUG, parameters={"looks": 50}, out=tmp_path / "o"))
    assert ours["p-corrected"]["value"] > 0.05


@pytest.mark.slow
def test_a_cohort_gets_its_interaction_from_a_cox_model(tmp_path: Path) -> None:
    path = write_cohort(tmp_path, 300)
    results, ours, verdicts = read(run(SLUG, parameters={"cohort": str(path)}, out=tmp_path / "o"))
    t = made_up(300, 0.15, np.random.default_rng(8))
    x = t[["arm", "high"]].astype(float).assign(product=(t["arm"] * t["high"]).astype(float))
    expected = cox(t["months"], t["event"], x).hazard_ratio("product")
    assert ours["own-ratio"]["value"] == pytest.approx(expected.value, rel=5e-3)
    assert ours["own-ratio"]["ci_high"] == pytest.approx(expected.ci_high, rel=5e-3)
    assert verdicts["stu-consolidation-interaction", True] == "consistent"
    assert "own-ratio-power" in ours
    assert "In your cohort the ratio is" in results["summary"]
    assert "secret-" not in (tmp_path / "o" / "report.html").read_text(encoding="utf8")


@pytest.mark.slow
def test_a_small_cohort_is_withheld(tmp_path: Path) -> None:
    path = write_cohort(tmp_path, 24)
    _, ours, verdicts = read(run(SLUG, parameters={"cohort": str(path)}, out=tmp_path / "o"))
    assert ours["own-ratio"]["value"] is None
    assert "withheld" in ours["own-ratio"]["reason"]
    assert verdicts["stu-consolidation-interaction", True] == "not-testable"


@pytest.mark.slow
def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameters, match="negative_below"):
        run(SLUG, parameters={"negative_below": 0.01}, out=tmp_path / "o")
    path = tmp_path / "mine.csv"
    path.write_text("patient_id,dfs_months,dfs_event,mrd_eoi\na,12,1,0.1\nb,30,0,0\n")
    with pytest.raises(InvalidCohort, match="treatment"):
        run(SLUG, parameters={"cohort": str(path)}, out=tmp_path / "o")


# ------------------------------------------------------------------- the size of a trial, simulated


def test_the_power_of_an_interaction_is_that_of_simulated_trials() -> None:
    rng = np.random.default_rng(20260219)
    n, psi, runs = 300, 0.35, 200
    found, events = 0, np.zeros(4)
    for _ in range(runs):
        t = made_up(n, psi, rng)
        x = t[["arm", "high"]].astype(float).assign(product=(t["arm"] * t["high"]).astype(float))
        p = cox(t["months"], t["event"], x).hazard_ratio("product").p_value
        found += p is not None and p < 0.05
        cells = t.groupby(["high", "arm"])["event"].mean()
        events += [cells[1, 1], cells[1, 0], cells[0, 1], cells[0, 0]]
    fractions = tuple(float(v) for v in events / runs)
    formula = power.interaction_power(psi, n, fractions, prevalence=0.5).value
    assert formula is not None
    # Four standard errors of a simulated share, and what the formula leaves out.
    assert found / runs == pytest.approx(formula, abs=0.1)
    assert 0.5 < formula < 0.98


def test_number_and_power_are_each_others_inverse() -> None:
    fractions = (0.54, 0.77, 0.55, 0.22)
    n = power.interaction_patients(0.4, fractions, prevalence=0.6)
    assert power.interaction_power(
        0.4, n.statistic, fractions, prevalence=0.6
    ).value == pytest.approx(0.8, abs=1e-4)
    assert power.interaction_power(1, 100, fractions, prevalence=0.6).value == pytest.approx(0.05)


def test_an_interaction_needs_four_times_the_events_of_a_main_effect() -> None:
    main = power.logrank_events(0.5).statistic
    both = power.interaction_events(0.5, prevalence=0.5)
    assert both.statistic == pytest.approx(4 * main)
    assert power.interaction_events(0.5, prevalence=0.2).value > both.value
    uneven = power.interaction_events(0.5, prevalence=0.2, relative_rate=4)
    assert uneven.statistic == pytest.approx(both.statistic)
    equal = power.interaction_patients(0.5, (1, 1, 1, 1), prevalence=0.5)
    assert equal.statistic == pytest.approx(both.statistic)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ratio": 1, "event_fractions": (0.5,) * 4, "prevalence": 0.5}, "no number of patients"),
        ({"ratio": 0.5, "event_fractions": (0.5,) * 3, "prevalence": 0.5}, "expected four"),
        (
            {"ratio": 0.5, "event_fractions": (0.5, 0.5, 0.5, 0), "prevalence": 0.5},
            "event fraction",
        ),
        ({"ratio": 0.5, "event_fractions": (0.5,) * 4, "prevalence": 1}, "prevalence"),
    ],
)
def test_impossible_trials_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        power.interaction_patients(**given)

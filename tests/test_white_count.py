"""Relapse by the white count: first events, estimates against R's cmprsk, and what is withheld."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ballbook import white_count as w
from ballbook.cohort import Cohort

KIND = {0: "none", 1: "relapse", 2: "death"}


def made(golden: Any, endpoint: str = "EFS", **changes: Any) -> Cohort:
    """Return the cohort of the golden file as a reader's own."""
    c = golden("immunotherapy")["cohort"]
    ids = [f"P{i:03d}" for i in range(len(c["wbc"]))]
    patients = pd.DataFrame(
        {"patient_id": ids, "wbc_10e9_per_l": c["wbc"], "age_years": c["age"],
         "cns": np.where(np.array(c["cns"]) == 1, "CNS2", "CNS1")}
    )  # fmt: skip
    cause = np.array(c["cause"])
    outcomes = pd.DataFrame(
        {"patient_id": ids, "endpoint": endpoint, "time_months": c["time"],
         "event": (cause > 0).astype(float), "event_type": [KIND[k] for k in cause],
         "entry_months": np.nan}
    )  # fmt: skip
    given: dict[str, Any] = {"patients": patients, "outcomes": outcomes} | changes
    return Cohort("own-cohort", "Your cohort", "yours", **given)


def three(e: Any) -> list[float]:
    return [e.value, e.ci_low, e.ci_high]


def test_every_estimate_equals_r(golden: Any) -> None:
    r = golden("immunotherapy")["cohort"]
    found = w.own_relapse(made(golden), "EFS", 70, 36)
    for name in ("cir-high", "cir-low", "shr", "chr", "shr-doubling", "chr-doubling"):
        expected = [r[name][k] for k in ("value", "low", "high")]
        assert three(found.estimates[name]) == pytest.approx(expected, rel=2e-5), name
    adjusted = found.estimates["shr-adjusted"]
    assert three(adjusted) == pytest.approx(list(r["shr-adjusted"].values()), rel=2e-5)
    assert found.estimates["gray"].value == pytest.approx(r["gray"], rel=1e-6)
    hazards = next(g for g in found.gates if "proportional" in g.name)
    assert hazards.statistic == pytest.approx(r["zph"], rel=1e-4)
    share = found.estimates["share"]
    assert share.value == np.mean(np.array(r["wbc"]) >= 70)
    assert found.note == "Adjusted for age and CNS status."
    assert set(found.curves) == {w.HIGH, w.LOW}


def test_a_count_at_the_cut_off_is_high(golden: Any) -> None:
    cohort = made(golden)
    cohort.patients.loc[:, "wbc_10e9_per_l"] = [70.0, 69.9] * (cohort.n // 2)
    assert w.own_relapse(cohort, "EFS", 70, 36).estimates["share"].value == 0.5


def outcomes(rows: list[tuple[str, str, float, float, Any]]) -> pd.DataFrame:
    columns = ["patient_id", "endpoint", "time_months", "event", "event_type"]
    return pd.DataFrame(rows, columns=columns).assign(entry_months=np.nan)


def small(rows: list[tuple[str, str, float, float, Any]]) -> Cohort:
    ids = sorted({r[0] for r in rows})
    patients = pd.DataFrame({"patient_id": ids, "wbc_10e9_per_l": 10.0})
    return Cohort("own-cohort", "Your cohort", "yours", patients, outcomes(rows))


def test_kinds_of_events_are_told_by_their_type_or_by_survival() -> None:
    nan = np.nan
    cohort = small(
        [
            ("a", "EFS", 10, 1, "relapse"), ("b", "EFS", 10, 1, "death"),
            ("c", "EFS", 10, 1, "second-malignancy"), ("d", "EFS", 10, 1, nan),
            ("d", "OS", 10.2, 1, nan), ("e", "EFS", 10, 1, nan), ("e", "OS", 30, 1, nan),
            ("f", "EFS", 10, 1, nan), ("g", "EFS", 10, 0, "none"), ("g", "OS", 30, 0, nan),
            ("h", "EFS", 10, 1, "relapse"), ("h", "OS", 4, 1, nan),
            ("i", "EFS", 10, 1, "progression"), ("j", "EFS", 10, 1, nan), ("j", "OS", 40, 0, nan),
        ]
    )  # fmt: skip
    found, known = w.first_events(cohort, "EFS")
    cause = found.set_index("patient_id")["cause"]
    expected = {"a": 1, "b": 2, "c": 2, "d": 2, "e": 1, "g": 0, "i": 1, "j": 1}
    assert cause.drop(["f", "h"]).to_dict() == expected
    assert cause[["f", "h"]].isna().all()
    assert known


def test_deaths_compete_with_an_incidence_of_relapse() -> None:
    nan = np.nan
    cohort = small(
        [
            ("a", "CIR", 10, 1, nan), ("a", "OS", 20, 1, nan), ("b", "CIR", 10, 0, nan),
            ("b", "OS", 10.3, 1, nan), ("c", "CIR", 30, 0, nan), ("c", "OS", 12, 1, nan),
            ("d", "CIR", 10, 0, nan), ("d", "OS", 20, 1, nan),
        ]
    )  # fmt: skip
    found, known = w.first_events(cohort, "CIR")
    rows = found.set_index("patient_id")
    assert rows["cause"].to_dict() == {"a": 1, "b": 2, "c": 2, "d": 0}
    assert rows["time"].to_dict() == {"a": 10, "b": 10, "c": 12, "d": 10}
    assert known
    alone, known = w.first_events(small([("a", "CIR", 10, 1, nan)]), "CIR")
    assert alone["cause"].tolist() == [1] and not known


def test_what_is_not_given_is_said(golden: Any) -> None:
    cohort = made(golden)
    assert "not given: CIR; the file has EFS" in str(
        w.own_relapse(cohort, "CIR", 70, 36).estimates["shr"].reason
    )
    bare = made(golden, patients=cohort.patients.drop(columns="wbc_10e9_per_l"))
    assert "column wbc" in str(w.own_relapse(bare, "EFS", 70, 36).estimates["shr"].reason)
    os = made(golden, endpoint="OS")
    assert "holds no relapse" in str(w.own_relapse(os, "OS", 70, 36).estimates["shr"].reason)
    few = made(golden, patients=cohort.patients[["patient_id", "wbc_10e9_per_l"]])
    found = w.own_relapse(few, "EFS", 70, 36)
    assert found.estimates["shr"].value and found.estimates["shr-adjusted"].value is None


def test_small_groups_are_withheld(golden: Any) -> None:
    found = w.own_relapse(made(golden), "EFS", 400, 36, min_count=5)
    for name in ("share", "cir-high", "shr", "chr", "gray", "shr-adjusted"):
        assert found.estimates[name].value is None, name
        assert "withheld: fewer than 5" in str(found.estimates[name].reason)
    assert found.estimates["shr-doubling"].value and not found.curves
    everybody = w.own_relapse(made(golden), "EFS", 0.001, 36)
    assert "one side" in str(everybody.estimates["shr"].reason)


def test_late_entry_keeps_cause_specific_ratios_only(golden: Any) -> None:
    cohort = made(golden)
    assert cohort.outcomes is not None
    cohort.outcomes["entry_months"] = 0.0005
    found = w.own_relapse(cohort, "EFS", 70, 36)
    assert found.estimates["chr"].value and found.estimates["shr"].value is None
    assert "late entry" in str(found.estimates["gray"].reason)


@pytest.mark.parametrize("least", [5, 10])
def test_shown_points_lie_relapses_apart(golden: Any, least: int) -> None:
    curve = w.own_relapse(made(golden), "EFS", 70, 36).curves[w.LOW]
    points = w.incidence_points(curve, least)
    seen = [
        int(curve.table.loc[curve.table["time"] <= t, "n_event"].sum()) for t in points["months"]
    ]
    assert seen[0] == 0 and len(points) > 2
    assert min(np.diff(seen)) >= least
    assert (points["months"] == points["months"].round()).all()
    assert len(w.incidence_points(curve, 0)) > len(points)


def test_cut_offs_that_move_few_patients_are_not_shown(golden: Any) -> None:
    table = w.own_relapse(made(golden), "EFS", 70, 36).table
    found = w.profile(table, [69.0, 15.0, 30.0, 900.0], 70, 5)
    assert list(found["cutoff"]) == [15, 30, 70] and found["chosen"].sum() == 1
    wbc, relapse = table["wbc_10e9_per_l"], table["cause"] == 1
    for what in (wbc > 0, relapse):
        counts = [int((what & (wbc >= c)).sum()) for c in found["cutoff"]]
        assert min(abs(np.diff(counts))) >= 5
    assert w.profile(table.iloc[:0], w.CUTOFFS, 70, 5).empty


def test_models_at_one_cut_off_are_those_of_the_analysis(golden: Any) -> None:
    found = w.own_relapse(made(golden), "EFS", 70, 36)
    table = found.table.assign(sample=["a", "b"] * (len(found.table) // 2))
    models = w.at_cutoff(table, 70, strata="sample")
    for name, key in (
        ("Fine-Gray", "shr"), ("cause-specific", "chr"), ("Fine-Gray, adjusted", "shr-adjusted"),
    ):  # fmt: skip
        assert models[name].value == found.estimates[key].value
    stratified = models["cause-specific, by sample"]
    plain = w.at_cutoff(table.assign(sample="a"), 70, strata="sample")["cause-specific, by sample"]
    assert plain.value == pytest.approx(models["cause-specific"].value)
    assert stratified.value != plain.value
    assert w.at_cutoff(table, 1e6) == {}


def test_survival_by_the_same_cut_off(golden: Any) -> None:
    cohort = made(golden)
    found = w.survival_ratio(cohort, "EFS", 70, 5)
    assert found["high"].value and found["doubling"].value
    assert w.survival_ratio(cohort, "OS", 70)["high"].value is None
    assert "fewer than 5" in str(w.survival_ratio(cohort, "EFS", 400, 5)["high"].reason)

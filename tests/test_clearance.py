"""MRD levels as bounds, classes by a stated rule, and the models of clearance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ballbook import clearance
from ballbook.clearance import Rule
from ballbook.trees import CLEARANCE

INF = float("inf")


def rows(*values: tuple[Any, Any, Any]) -> pd.DataFrame:
    """Return rows of one time point from (level, limit, category)."""
    table = pd.DataFrame(values, columns=["level", "limit_of_detection", "category"])
    table.index = pd.Index([f"p{i}" for i in range(len(values))], name="patient_id")
    return table


def long(**points: list[Any]) -> pd.DataFrame:
    """Return a long MRD table from levels by time point, None where not measured."""
    return pd.DataFrame(
        [
            {"patient_id": f"p{i}", "timepoint": t.replace("_", " "), "level": v}
            for t, values in points.items()
            for i, v in enumerate(values)
            if v is not None
        ]
    ).assign(limit_of_detection=1e-5, category=None)


@pytest.mark.parametrize(
    ("level", "limit", "category", "low", "high", "detected"),
    [
        (1e-3, 1e-4, None, -3, -3, True),
        (1e-4, 1e-4, None, -4, -4, True),
        (0.0, 1e-4, None, -INF, -4, False),
        (0.0, np.nan, None, -INF, -5, False),
        (0.0, 0.0, None, -INF, -5, False),
        (5e-5, 1e-4, None, -INF, -4, False),
        (5e-6, np.nan, None, np.log10(5e-6), np.log10(5e-6), True),
        (np.nan, 1e-3, "negative", -INF, -3, False),
        (np.nan, 1e-3, "positive", -3, 0, True),
        (1.0, 1e-4, None, 0, 0, True),
    ],
)
def test_a_level_becomes_bounds(
    level: float, limit: float, category: Any, low: float, high: float, detected: bool
) -> None:
    found = clearance.bounds(rows((level, limit, category)), assumed_limit=1e-5).iloc[0]
    assert found["low"] == pytest.approx(low)
    assert found["high"] == pytest.approx(high)
    assert bool(found["detected"]) is detected


def test_classes_without_a_cut_off_give_no_bounds() -> None:
    found = clearance.bounds(
        rows((np.nan, np.nan, "low"), (np.nan, np.nan, None), (0.1, 1e-4, None))
    )
    assert list(found.index) == ["p2"]


def test_percent_and_impossible_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="percent"):
        clearance.bounds(rows((3.0, 1e-4, None)))
    with pytest.raises(ValueError, match="assumed_limit"):
        clearance.bounds(rows((0.1, 1e-4, None)), assumed_limit=0)


def test_a_fall_is_known_exactly_or_by_one_bound_or_not_at_all() -> None:
    one = clearance.bounds(
        rows((1e-2, 1e-4, None), (1e-2, 1e-4, None), (0, 1e-4, None), (0, 1e-4, None))
    )
    two = clearance.bounds(
        rows((1e-3, 1e-4, None), (0, 1e-4, None), (1e-3, 1e-4, None), (0, 1e-4, None))
    )
    found = clearance.fall(one, two)
    assert list(found.index) == ["p0", "p1", "p2"]
    assert found.loc["p0"].tolist() == pytest.approx([1, 1])
    assert found.loc["p1"].tolist() == pytest.approx([2, INF])
    assert found.loc["p2"].tolist() == pytest.approx([-INF, -1])


def test_classes_of_one_time_point() -> None:
    levels = long(day_29=[0.0, 9e-5, 1e-4, 9e-4, 1e-3, 0.5])
    found = clearance.classes(levels, Rule("Day 29", cut=1e-4, slow_from=1e-3))
    assert found.tolist() == ["fast", "fast", "intermediate", "intermediate", "slow", "slow"]
    assert found.cat.ordered and list(found.cat.categories) == list(CLEARANCE)


def test_a_limit_above_a_cut_off_leaves_the_class_open() -> None:
    levels = long(day_29=[0.0, 0.0, 0.0]).assign(limit_of_detection=[1e-4, 5e-4, 5e-3])
    found = clearance.classes(levels, Rule("day 29", cut=1e-4, slow_from=1e-3))
    assert found.iloc[0] == "fast" and found.iloc[1:].isna().all()


def test_classes_of_two_time_points() -> None:
    early = [0.0, 0.0, 0.01, 0.01, 0.01, None, None]
    late = [None, 0.0, 0.0, 0.01, None, 0.01, 0.0]
    levels = long(TP1=early, TP2=late)
    found = clearance.classes(levels, Rule("TP2", early="TP1"))
    expected = ["fast", "fast", "intermediate", "slow", None, None, None]
    assert [None if pd.isna(v) else v for v in found.sort_index()] == expected
    again = clearance.classes(long(TP1=[0.0], TP2=[0.01]), Rule("TP2", early="TP1"))
    assert again.tolist() == ["slow"]


def test_rules_that_cannot_be_applied_are_refused() -> None:
    levels = long(day_29=[0.1])
    with pytest.raises(ValueError, match="above cut"):
        clearance.classes(levels, Rule("day 29", cut=1e-3, slow_from=1e-3))
    with pytest.raises(ValueError, match=r"no MRD at 'day 8'; there is day 29"):
        clearance.classes(levels, Rule("day 29", early="day 8"))
    assert Rule("day 29", early="day 8").words == "day 8 and day 29, 0.0001"


def test_covariates_are_numbers_with_gaps_kept() -> None:
    patients = pd.DataFrame(
        {
            "patient_id": ["a", "b", "c"],
            "age_years": [0.5, 25, np.nan],
            "wbc_10e9_per_l": [100, 0, np.nan],
            "sex": ["M", "F", None],
            "fusion_partner": ["KMT2A::AFF1", "ENL", None],
            "maturity": [-0.3, np.nan, 0.1],
        }
    )
    found = clearance.covariates(patients)
    assert found.loc["a"].tolist() == pytest.approx([0.05, 2, 1, 1, 0, 0, 1, 0, -3])
    assert found.loc["b", ["aff1", "mllt1", "adult", "male"]].tolist() == [0, 1, 1, 0]
    assert found.loc["c", ["age", "white_cells", "male", "infant"]].isna().all()
    bare = clearance.covariates(patients[["patient_id"]])
    assert bare["age"].isna().all() and (bare["aff1"] == 0).all()


def test_what_cannot_be_compared_says_why() -> None:
    X = pd.DataFrame({"age": np.arange(20.0), "aff1": [1.0] * 3 + [0.0] * 17, "gone": np.nan})
    assert clearance.usable(X, "gone", minimum=5)[1] == "gone is not known"
    assert "3" not in clearance.usable(X, "aff1", minimum=5)[1]
    assert clearance.usable(X, "aff1", minimum=5)[1] == "fewer than 5 patients on one side"
    whole, why = clearance.usable(X.assign(same=1.0), "age", minimum=5)
    assert why == "" and list(whole.columns) == ["age", "aff1"]
    assert clearance.usable(X.head(6)[["age"]], "age", minimum=5)[1] == "too few patients"


def cohort(n: int = 300, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return levels with limits, and covariates of which age moves them."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"age": rng.uniform(0, 4, n), "male": np.arange(n) % 2.0})
    y = -5.3 + 0.7 * X["age"].to_numpy() + rng.normal(0, 1.3, n)
    limit = np.where(rng.random(n) < 0.5, 1e-4, 1e-5)
    level = np.where(y < np.log10(limit), 0.0, 10 ** np.minimum(y, 0))
    table = pd.DataFrame({"level": level, "limit_of_detection": limit, "category": None})
    return table, X


def test_levels_find_the_effect_that_substitution_shrinks() -> None:
    table, X = cohort()
    b = clearance.bounds(table)
    e, fit = clearance.level_effect(b, X, "age")
    assert e.ci_low is not None and e.ci_high is not None and e.ci_low < 0.7 < e.ci_high
    assert fit is not None and fit.counts["left"] == int((table["level"] == 0).sum())
    naive = clearance.naive_effects(b, X, "age")
    assert set(naive) == {"half the limit", "the limit", "1e-06", "left out"}
    assert (naive["half the limit"].ci_high or 1) < 0.7
    assert (e.value or 0) > (naive["half the limit"].value or 0) > 0
    lost, none = clearance.level_effect(b.head(4), X.head(4), "age")
    assert lost.value is None and none is None and lost.unit == "log10"


def test_the_simulation_tells_the_methods_apart_and_repeats() -> None:
    table, X = cohort(120)
    b = clearance.bounds(table)
    _, fit = clearance.level_effect(b, X, "age")
    assert fit is not None
    first, second = (
        clearance.coverage_by_method(fit, b["limit"], X, ["age"], n_sim=40, seed=5) for _ in "ab"
    )
    pd.testing.assert_frame_equal(first, second)
    shares = first.set_index("method")["coverage"]
    assert shares["interval regression"] >= 0.85 > shares["the limit"]


def test_classes_and_cuts_give_the_odds_of_slower_clearance() -> None:
    table, X = cohort()
    levels = table.assign(patient_id=table.index, timepoint="day 29")
    c = clearance.classes(levels, Rule("day 29"))
    found = clearance.class_effect(c, X, "age")
    assert found.fit is not None and (found.estimate.ci_low or 0) > 1
    assert found.gate.name == "parallel odds" and found.gate.status != "not-applicable"
    e, checks = clearance.binary_effect((c == "slow").astype(float), X, "age")
    assert {g.name for g in checks} == {"events per variable", "separation"}
    assert (e.ci_low or 0) > 1 and "penalised" not in e.method
    wald = clearance.class_effect(c, X, "age", profile=False).estimate
    assert wald.value == found.estimate.value and wald.ci_low != found.estimate.ci_low


def test_separated_classes_fall_back_on_firth() -> None:
    X = pd.DataFrame({"aff1": [0.0] * 10 + [1.0] * 10})
    c = pd.Series(["fast"] * 10 + ["slow"] * 6 + ["intermediate"] * 4)
    c = c.astype(pd.CategoricalDtype(list(CLEARANCE), ordered=True))
    found = clearance.class_effect(c, X, "aff1")
    assert found.fit is None and "Firth" in found.estimate.method
    assert (found.estimate.value or 0) > 10
    e, checks = clearance.binary_effect((c == "slow").astype(float), X, "aff1")
    assert [g.status for g in checks] == ["failed", "failed"] and "Firth" in e.method
    same, _ = clearance.binary_effect(pd.Series(1.0, X.index), X, "aff1")
    assert same.reason == "all patients have the same outcome"
    one = clearance.class_effect(c.iloc[:10], X.head(10), "aff1")
    assert one.estimate.value is None


def test_few_outside_the_largest_class_are_not_compared() -> None:
    X = pd.DataFrame({"age": np.arange(30.0)})
    c = pd.Series(["fast"] * 26 + ["slow"] * 4).astype(
        pd.CategoricalDtype(list(CLEARANCE), ordered=True)
    )
    found = clearance.class_effect(c, X, "age")
    assert found.estimate.reason == "fewer than 5 patients outside the largest class"
    e, checks = clearance.binary_effect((c == "slow").astype(float), X, "age")
    assert e.reason == "fewer than 5 patients with or without the outcome" and checks == ()
    assert clearance.class_effect(c, X, "age", minimum=4).estimate.value is not None

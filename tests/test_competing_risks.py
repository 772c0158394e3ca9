"""Competing risks: against R's cmprsk, against identities, against bad input."""

from __future__ import annotations

from typing import Any

import golden_cases
import numpy as np
import pandas as pd
import pytest
import survival_sets
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from ballbook.competing_risks import (
    cause_specific_cox,
    cumulative_incidence,
    cumulative_incidence_by,
    fine_gray,
    gray_test,
)
from ballbook.cox import HazardModel, cox
from ballbook.survival import kaplan_meier, logrank

# --- R ----------------------------------------------------------------------------------------


def incidence(set: str, cause: int, t: float) -> golden_cases.Flat:
    d = survival_sets.load(set)
    curve = cumulative_incidence(d["time"], d["cause"])[cause]
    row = np.flatnonzero(curve.table["time"] <= t)
    error = float(curve.table["std_error"].iloc[row[-1]]) if len(row) else 0.0
    return {**golden_cases.flat(curve.at(t)), "std_error": error}


def gray(set: str, group: str, of: int) -> golden_cases.Flat:
    d = survival_sets.load(set)
    return golden_cases.flat(gray_test(d["time"], d["cause"], d[group], of))


def read(found: HazardModel) -> golden_cases.Flat:
    return {
        f"{name}.{row['term']}": row[name]
        for _, row in found.table.iterrows()
        for name in ("coef", "se", "ci_low", "ci_high", "p")
    } | {
        "log_likelihood": found.log_likelihood,
        "log_likelihood_null": found.log_likelihood_null,
    }


def regression(model: Any) -> Any:
    def numbers(set: str, terms: list[str], of: int) -> golden_cases.Flat:
        d = survival_sets.load(set)
        return read(model(d["time"], d["cause"], d[terms], of))

    return numbers


ESTIMATORS = {
    "incidence": incidence,
    "gray": gray,
    "fine_gray": regression(fine_gray),
    "cause_specific": regression(cause_specific_cox),
}


@pytest.mark.parametrize("case", golden_cases.read("competing_risks"))
def test_agrees_with_r(case: dict[str, Any]) -> None:
    assert case["expected"]
    golden_cases.check(case, ESTIMATORS)


# --- properties -------------------------------------------------------------------------------

patients = st.lists(
    st.tuples(st.integers(1, 20), st.integers(0, 3), st.sampled_from("abc")),
    min_size=4,
    max_size=60,
)


def columns(rows: list[tuple[int, int, str]]) -> tuple[Any, Any, Any]:
    time, cause, group = (np.array(column) for column in zip(*rows, strict=True))
    return time.astype(float), cause, group


@given(patients)
@settings(max_examples=60, deadline=None)
def test_causes_and_survival_add_up_to_one(rows: list[tuple[int, int, str]]) -> None:
    time, cause, _ = columns(rows)
    curves = cumulative_incidence(time, cause, causes=[1, 2, 3])
    total = sum(c.table["cumulative_incidence"] for c in curves.values())
    assert_allclose(total + kaplan_meier(time, cause > 0).table["survival"], 1)
    for c in curves.values():
        t = c.table
        assert (np.diff(t["cumulative_incidence"]) >= -1e-12).all()
        known = t["ci_low"].notna()
        assert (t["ci_low"] <= t["cumulative_incidence"] + 1e-12)[known].all()
        assert (t["ci_high"] >= t["cumulative_incidence"] - 1e-12)[known].all()


@given(patients)
@settings(max_examples=40, deadline=None)
def test_one_cause_is_kaplan_meier(rows: list[tuple[int, int, str]]) -> None:
    time, cause, _ = columns(rows)
    died = (cause > 0).astype(int)
    table = cumulative_incidence(time, died, causes=[1])[1].table
    curve = kaplan_meier(time, died).table
    assert_allclose(table["cumulative_incidence"], 1 - curve["survival"], atol=1e-12)


@given(patients, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_order_and_units_do_not_matter(rows: list[tuple[int, int, str]], random: Any) -> None:
    time, cause, group = columns(rows)
    order = np.array(random.sample(range(len(rows)), len(rows)))
    causes = {1: "relapse", 2: "death", 3: "other"}
    whole = cumulative_incidence(time, cause, causes=causes)[2]
    moved = cumulative_incidence(3.5 * time[order], cause[order], causes=causes)[2]
    columns_compared = ["cumulative_incidence", "std_error", "ci_low", "ci_high"]
    assert_allclose(moved.table[columns_compared], whole.table[columns_compared], atol=1e-12)
    assert whole.label == "death"
    test = gray_test(time, cause, group)
    other = gray_test(3.5 * time[order], cause[order], group[order])
    assert (test.value is None) == (other.value is None)
    if test.value is not None:
        assert other.value == pytest.approx(test.value, rel=1e-6)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_without_competing_events_fine_gray_is_cox(seed: int) -> None:
    random = np.random.default_rng(seed)
    x = pd.DataFrame({"x": np.arange(40) % 2, "w": random.normal(size=40)})
    time, cause = random.random(40), (random.random(40) < 0.6).astype(int)
    ours, plain = fine_gray(time, cause, x), cox(time, cause, x, robust=True)
    assert_allclose(ours.coef, plain.coef, rtol=1e-6, atol=1e-9)
    assert_allclose(ours.table["se"], plain.table["se"], rtol=1e-6)
    assert ours.log_likelihood == pytest.approx(plain.log_likelihood)


def test_without_competing_events_gray_is_close_to_log_rank() -> None:
    d = survival_sets.load("6-MP")
    gray_p = gray_test(d["time"], d["event"], d["group"])
    logrank_p = logrank(d["time"], d["event"], d["group"])
    assert gray_p.statistic == pytest.approx(logrank_p.statistic, rel=0.1)


# --- reading, limits, input -------------------------------------------------------------------


def test_beyond_follow_up_is_not_estimable() -> None:
    curves = cumulative_incidence([1, 2, 3, 4], [1, 2, 0, 0])
    assert curves[1].at(4).value == 0.25
    assert curves[1].at(5).value is None
    assert "the curve ends at 4" in str(curves[1].at(5).reason)
    assert curves[2].at(1.5).ci_low is None
    assert cumulative_incidence([1, 2], [1, 2])[1].at(9).value == 0.5


def test_groups_without_the_cause_keep_a_curve() -> None:
    found = cumulative_incidence_by([1, 2, 3, 4], [1, 0, 2, 2], list("aabb"))
    assert found["b"][1].at(4).value == 0
    assert found["b"][1].group == "b"


def test_late_entry_counts_those_observed() -> None:
    late = cumulative_incidence([3, 5, 8], [1, 2, 1], entry=[0, 4, 2])
    assert late[1].table["n_risk"].tolist() == [2, 2, 1]


def test_limits_have_reasons() -> None:
    assert "one group" in str(gray_test([1, 2], [1, 2], ["a", "a"]).reason)
    assert "no events of cause 3" in str(gray_test([1, 2], [1, 2], ["a", "b"], of=3).reason)
    x = pd.DataFrame({"x": [0, 1, 0, 1]})
    empty = fine_gray([1, 2, 3, 4], [2, 0, 2, 2], x)
    assert empty.hazard_ratio("x").reason == "no events of cause 1"
    separated = fine_gray([1, 2, 3, 4], [1, 2, 1, 2], x).hazard_ratio("x")
    assert separated.value is None
    assert "no maximum" in str(separated.reason)


@pytest.mark.parametrize(
    ("time", "cause", "message"),
    [
        ([1, 2], [1, 1.5], "cause at position 1 is 1.5, expected 0"),
        ([1, 2], [1, -1], "cause at position 1 is -1.0"),
        ([1, 2], [1, np.nan], "cause at position 1 is nan"),
        ([1, 2], ["relapse", "death"], "cause: expected numbers, got 'relapse'"),
        ([1, -1], [1, 0], "time at position 1 is -1.0"),
        ([1, 2, 3], [1, 0], "event has 2 values, expected 3"),
    ],
)
def test_malformed_input_is_named(time: Any, cause: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cumulative_incidence(time, cause)


def test_unknown_causes_are_named() -> None:
    with pytest.raises(ValueError, match=r"cause at position 1 is 4, expected one of \[0, 1, 2\]"):
        cumulative_incidence([1, 2], [1, 4], causes={1: "relapse", 2: "death"})


def test_many_rows() -> None:
    random = np.random.default_rng(2)
    time, cause = random.exponential(size=200_000), random.integers(0, 3, 200_000)
    by_one = cumulative_incidence(time, cause)[1].at(1).value
    assert by_one == pytest.approx((1 - np.exp(-2 / 3)) / 2, abs=0.01)
    p = gray_test(time, cause, random.random(200_000) < 0.5).value
    assert p is not None
    assert p > 1e-4
    x = pd.DataFrame({"x": random.normal(size=200_000)})
    assert abs(fine_gray(time, cause, x).coef[0]) < 0.02

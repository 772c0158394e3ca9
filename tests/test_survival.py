"""Kaplan-Meier, log-rank, restricted means: against R, against identities, against bad input."""

from __future__ import annotations

from typing import Any

import golden_cases
import numpy as np
import pandas as pd
import pytest
import survival_sets
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from ballbook.survival import (
    kaplan_meier,
    kaplan_meier_by,
    landmark,
    logrank,
    median_follow_up,
    restricted_mean_difference,
    tally,
)

# --- R ----------------------------------------------------------------------------------------


def curve_of(name: str) -> Any:
    d = survival_sets.load(name)
    return kaplan_meier(d["time"], d["event"], entry=d.get("entry"))


def at(set: str, t: float) -> golden_cases.Flat:
    curve = curve_of(set)
    row = np.flatnonzero(curve.table["time"] <= t)
    error = curve.table["std_error"].iloc[row[-1]] if len(row) else 0.0
    return {
        **golden_cases.flat(curve.at(t)),
        "std_error": float(error) if np.isfinite(error) else None,
        "n_risk": int(curve.number_at_risk([t])[0]),
    }


def logrank_of(set: str, stratified: bool = False) -> golden_cases.Flat:
    d = survival_sets.load(set)
    strata = d["stratum"] if stratified else None
    return golden_cases.flat(
        logrank(d["time"], d["event"], d["group"], strata=strata, entry=d.get("entry"))
    )


def difference(set: str, tau: float, group: str = "group") -> golden_cases.Flat:
    d = survival_sets.load(set)
    return golden_cases.flat(restricted_mean_difference(d["time"], d["event"], d[group], tau))


def follow_up(set: str) -> golden_cases.Flat:
    d = survival_sets.load(set)
    return golden_cases.flat(median_follow_up(d["time"], d["event"]))


ESTIMATORS = {
    "at": at,
    "quantile": lambda set, q: golden_cases.flat(curve_of(set).quantile(q)),
    "restricted_mean": lambda set, tau: golden_cases.flat(curve_of(set).restricted_mean(tau)),
    "logrank": logrank_of,
    "median_follow_up": follow_up,
    "restricted_mean_difference": difference,
}


@pytest.mark.parametrize("case", golden_cases.read("survival"))
def test_agrees_with_r(case: dict[str, Any]) -> None:
    assert case["expected"]
    golden_cases.check(case, ESTIMATORS)


@pytest.mark.parametrize("set", ["6-MP", "KMsurv bmt", "Kersey", "bmtcrr", "Rossi"])
def test_agrees_with_lifelines(set: str) -> None:
    from lifelines import KaplanMeierFitter
    from lifelines.statistics import multivariate_logrank_test

    d = survival_sets.load(set)
    fitted = KaplanMeierFitter().fit(d["time"], d["event"])
    table = kaplan_meier(d["time"], d["event"]).table.set_index("time")
    assert_allclose(fitted.survival_function_at_times(table.index), table["survival"], atol=1e-12)
    inside = table[(table["survival"] < 1) & (table["survival"] > 0)]
    band = fitted.confidence_interval_.loc[inside.index]
    assert_allclose(band, inside[["ci_low", "ci_high"]], rtol=1e-6)
    theirs = multivariate_logrank_test(d["time"], d["group"], d["event"])
    ours = logrank(d["time"], d["event"], d["group"])
    assert ours.statistic == pytest.approx(theirs.test_statistic, rel=1e-9)
    assert ours.p_value == pytest.approx(theirs.p_value, rel=1e-6)


# --- properties -------------------------------------------------------------------------------

patients = st.lists(
    st.tuples(st.integers(1, 30), st.booleans(), st.sampled_from("ab")), min_size=2, max_size=60
)


def columns(rows: list[tuple[int, bool, str]]) -> tuple[Any, Any, Any]:
    time, event, group = (np.array(column) for column in zip(*rows, strict=True))
    return time.astype(float), event, group


@given(patients)
@settings(max_examples=60, deadline=None)
def test_curve_falls_within_its_band(rows: list[tuple[int, bool, str]]) -> None:
    time, event, _ = columns(rows)
    t = kaplan_meier(time, event).table
    assert (np.diff(t["survival"]) <= 1e-12).all()
    assert t["survival"].between(0, 1).all()
    known = t["ci_low"].notna()
    assert (t["ci_low"] <= t["survival"] + 1e-12)[known].all()
    assert (t["ci_high"] >= t["survival"] - 1e-12)[known].all()
    assert t[["n_event", "n_censored"]].to_numpy().sum() == len(rows)


@given(patients, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_order_scale_and_entry_at_zero_do_not_matter(
    rows: list[tuple[int, bool, str]], random: Any
) -> None:
    time, event, group = columns(rows)
    order = np.array(random.sample(range(len(rows)), len(rows)))
    whole = kaplan_meier(time, event).table
    pd.testing.assert_frame_equal(whole, kaplan_meier(time[order], event[order]).table)
    pd.testing.assert_frame_equal(whole, kaplan_meier(time, event, entry=0 * time).table)
    scaled = kaplan_meier(7.25 * time, event).table
    assert_allclose(scaled["time"], 7.25 * whole["time"])
    assert_allclose(scaled["survival"], whole["survival"])
    test = logrank(time, event, group)
    for other in (
        logrank(time[order], event[order], group[order]),
        logrank(7.25 * time, event, group),
        logrank(time, event, np.where(group == "a", "z", "y")),
        logrank(time, event, group, entry=0 * time),
    ):
        assert (other.value is None) == (test.value is None)
        if test.value is not None:
            assert other.value == pytest.approx(test.value, rel=1e-8)


@given(patients)
@settings(max_examples=40, deadline=None)
def test_without_censoring_it_is_the_fraction_alive(rows: list[tuple[int, bool, str]]) -> None:
    time, _, _ = columns(rows)
    curve = kaplan_meier(time, np.ones(len(time)))
    for t in (1, 5, 12, 30):
        assert curve.at(t).value == pytest.approx(np.mean(time > t), abs=1e-12)
    area = curve.restricted_mean(10).value
    assert area == pytest.approx(np.minimum(time, 10).mean())


@given(patients)
@settings(max_examples=40, deadline=None)
def test_splitting_a_patient_at_an_entry_changes_nothing(
    rows: list[tuple[int, bool, str]],
) -> None:
    time, event, _ = columns(rows)
    early = time / 2
    both = kaplan_meier(
        np.concatenate([early, time]),
        np.concatenate([0 * event, event]),
        entry=np.concatenate([0 * time, early]),
    ).table
    whole = kaplan_meier(time, event).table
    deaths = both[both["n_event"] > 0]
    assert_allclose(deaths["survival"], whole.loc[whole["n_event"] > 0, "survival"])


# --- reading a curve --------------------------------------------------------------------------


def test_beyond_follow_up_is_not_estimable() -> None:
    curve = kaplan_meier([2, 4, 6], [1, 0, 0])
    assert curve.at(6).value == pytest.approx(2 / 3)
    late = curve.at(6.5)
    assert late.value is None
    assert "the curve ends at 6" in str(late.reason)
    assert curve.restricted_mean(7).value is None
    assert kaplan_meier([2, 4, 6], [1, 1, 1]).at(9).value == 0


def test_median_not_reached_says_so() -> None:
    median = kaplan_meier([2, 4, 6, 8], [1, 0, 0, 0]).median()
    assert median.value is None
    assert "not reached" in str(median.reason)


def test_flat_at_a_half_takes_the_middle() -> None:
    assert kaplan_meier([1, 2, 3, 4], [1, 1, 1, 1]).median().value == 2.5


def test_numbers_at_risk_count_late_entries() -> None:
    curve = kaplan_meier([3, 5, 8], [1, 1, 1], entry=[0, 4, 2])
    assert curve.number_at_risk([1, 3, 4.5, 8, 9]).tolist() == [1, 2, 2, 1, 0]


def test_landmark_keeps_those_still_observed() -> None:
    mask, time, event = landmark([1, 3, 3.5, 9], [1, 1, 0, 1], at=3)
    assert mask.tolist() == [False, False, True, True]
    assert time.tolist() == [0.5, 6]
    assert event.tolist() == [False, True]


def test_one_group_or_no_events_have_no_p_value() -> None:
    assert "one group" in str(logrank([1, 2], [1, 1], ["a", "a"]).reason)
    assert "no events" in str(logrank([1, 2], [0, 0], ["a", "b"]).reason)
    alone = logrank([1, 2, 3, 4], [1, 1, 1, 1], ["a", "a", "b", "b"], entry=[0, 0, 2.5, 2.5])
    assert alone.value is None


def test_groups_keep_their_order() -> None:
    group = pd.Categorical(["low", "high", "low"], categories=["low", "high"])
    assert list(kaplan_meier_by([1, 2, 3], [1, 1, 0], group)) == ["low", "high"]
    assert list(kaplan_meier_by([1, 2, 3], [1, 1, 0], ["b", "a", "b"])) == ["a", "b"]


# --- input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "event", "entry", "message"),
    [
        ([1, np.nan], [1, 0], None, "time at position 1 is nan, expected a finite number"),
        ([1, np.inf], [1, 0], None, "time at position 1 is inf"),
        ([1, -2], [1, 0], None, "time at position 1 is -2.0, expected a time of 0 or later"),
        ([1, 2], [1, 2], None, r"event at position 1 is 2.0, expected 0 \(censored\) or 1"),
        ([1, 2], [1, np.nan], None, "event at position 1 is nan"),
        ([1, 2], [1], None, "event has 1 values, expected 2"),
        ([], [], None, "time: expected at least 1"),
        ([1, "x"], [1, 0], None, "time: expected numbers, got 'x'"),
        ([[1, 2]], [1, 0], None, "time: expected one dimension"),
        ([1, 2], [1, 0], [0, 2], "entry at position 1 is 2.0, expected a time before"),
        ([1, 2], [1, 0], [0, -1], "entry at position 1 is -1.0"),
    ],
)
def test_malformed_input_is_named(time: Any, event: Any, entry: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kaplan_meier(time, event, entry=entry)


def test_bad_groups_are_named() -> None:
    with pytest.raises(ValueError, match="group at position 1 is None, expected a group"):
        logrank([1, 2], [1, 1], ["a", None])
    empty = pd.Categorical(["a", "a"], categories=["a", "b"])
    with pytest.raises(ValueError, match="group 'b' is empty"):
        kaplan_meier_by([1, 2], [1, 1], empty)
    with pytest.raises(ValueError, match="3 groups, expected 2"):
        restricted_mean_difference([1, 2, 3], [1, 1, 1], ["a", "b", "c"], 1)


@pytest.mark.parametrize("unit", [1.0, 30.4375, 0.0, 1e-3], ids=["days", "months", "none", "fine"])
@pytest.mark.parametrize("n", [1, 500, 40_000])
def test_counting_times_in_bins_or_by_sorting(unit: float, n: int) -> None:
    random = np.random.default_rng(n)
    time, event = random.exponential(900, n), random.random(n) < 0.4
    if unit:
        time = np.ceil(time * (1 if unit >= 1 else 1 / unit)) / (unit if unit >= 1 else 1 / unit)
    distinct, counts = np.unique(time, return_counts=True)
    found = tally(time, event)
    assert_array_equal(found[0], distinct)
    assert_array_equal(found[1], counts)
    assert_array_equal(found[2], np.bincount(np.searchsorted(distinct, time), weights=event))


def test_near_ties_are_one_time_however_many_rows() -> None:
    time = np.repeat([1.0, 2.0, 3.0], 10_000)
    blurred = time + np.tile([0, 4e-9], 15_000)
    event = np.arange(30_000) % 3 == 0
    clean, merged = kaplan_meier(time, event).table, kaplan_meier(blurred, event).table
    assert len(merged) == 3
    assert_array_equal(merged, clean)


def test_a_million_rows() -> None:
    random = np.random.default_rng(1)
    time, event = random.exponential(size=1_000_000), random.random(1_000_000) < 0.5
    curve = kaplan_meier(time, event)
    assert curve.at(0.5).value == pytest.approx(np.exp(-0.25), abs=2e-3)
    p = logrank(time, event, random.random(1_000_000) < 0.3).value
    assert p is not None
    assert p > 1e-4

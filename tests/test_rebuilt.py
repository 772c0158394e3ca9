"""What printed numbers leave open: rounding of ratios, and where the events fell."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ballbook import rebuilt
from ballbook.competing_risks import cumulative_incidence


def test_intervals_and_p_values_equal_r(golden: Any) -> None:
    for case in golden("immunotherapy")["wald"]:
        found = rebuilt.wald(*case["printed"])
        assert found.std_error == pytest.approx(case["se"], rel=1e-9)
        assert found.p_value == pytest.approx(case["p"], rel=1e-9)
        assert found.middle == pytest.approx(case["middle"], rel=1e-9)
        assert found.p_low < found.p_value < found.p_high
        assert found.middle_low < found.middle < found.middle_high
        assert found.agrees


def test_a_ratio_that_is_not_the_middle_is_seen() -> None:
    assert not rebuilt.wald("9.20", "2.33", "33.70").agrees
    assert rebuilt.wald("9", "2.3", "34").agrees
    assert rebuilt.wald("9.20", "2.33", "33.70").nearest < 8.88
    # Middle of the bounds as printed 4.068, but 4.06 lies within their rounding.
    assert rebuilt.wald("4.06", "1.05", "15.76").nearest == 4.06


@pytest.mark.parametrize("printed", [("2", "3", "4"), ("2", "0", "4"), ("2", "1", "1.5")])
def test_disordered_numbers_are_refused(printed: tuple[str, str, str]) -> None:
    with pytest.raises(ValueError, match="expected 0 <"):
        rebuilt.wald(*printed)


def test_the_bound_that_is_cut_off_follows_from_the_others() -> None:
    low, high = rebuilt.missing_bound("16.29", "2.35")
    assert low < 16.29**2 / 2.35 < high
    assert rebuilt.wald("8.86", "2.33", "33.70").middle == pytest.approx(8.86, abs=0.011)
    low, high = rebuilt.missing_bound("8.86", "2.33")
    assert low < 33.70 < high
    with pytest.raises(ValueError):
        rebuilt.missing_bound("2", "3")


def test_splits_by_hand() -> None:
    table = rebuilt.splits((17, 59), 10, ("53", "6"), 0.6815).set_index("first")
    assert list(table.index) == list(range(11))
    assert list(table.index[table["allowed"]]) == [7, 8, 9]
    assert list(table.index[table["nearest"]]) == [7]
    row = table.loc[7]
    assert row["ratio"] == pytest.approx(math.log(10 / 17) / math.log(56 / 59))
    assert row["std_error"] == pytest.approx(math.sqrt(1 / 7 + 1 / 3))
    assert np.isnan(table.loc[10, "ratio"]) and np.isnan(table.loc[0, "std_error"])


def test_splits_that_no_print_allows_have_no_nearest_one() -> None:
    table = rebuilt.splits((17, 59), 30, ("53", "6"), 0.68)
    assert not table["allowed"].any() and not table["nearest"].any()
    with pytest.raises(ValueError, match="events is 99"):
        rebuilt.splits((17, 59), 99, ("53", "6"), 0.68)
    with pytest.raises(ValueError, match="percentages"):
        rebuilt.splits((17, 59), 10, ("153", "6"), 0.68)


def test_incidences_of_many_rows_equal_the_estimator() -> None:
    rng = np.random.default_rng(3)
    time, cause = rng.uniform(1, 50, (20, 31)), rng.integers(0, 3, (20, 31))
    found = rebuilt.incidence_of(time, cause)
    for t, c, value in zip(time, cause, found, strict=True):
        table = cumulative_incidence(t, c, causes=[1, 2])[1].table
        assert value == pytest.approx(table["cumulative_incidence"].iloc[-1])
        # The bound on which `splits` rests.
        assert value >= (c == 1).mean() - 1e-12


def test_histories_print_what_was_asked_for() -> None:
    given: dict[str, Any] = dict(
        events=10, times=(8, 18, 24), follow_up=29, incidences=("53", "6"), deaths=5, sets=4000
    )
    found = rebuilt.histories((17, 59), [7, 9], fits=20, seed=1, **given)
    assert set(found["first"]) <= {7, 9} and (found["first"] == 7).sum() == 20
    assert (found["std_error"] > 0.5).all() and found["kept"].between(0, 1).all()
    again = rebuilt.histories((17, 59), [7, 9], fits=20, seed=1, **given)
    assert found.equals(again)
    none = rebuilt.histories((17, 59), [3], fits=20, seed=1, **given)
    assert none.empty


def test_event_times_keep_first_median_and_last() -> None:
    t = rebuilt._event_times(np.random.default_rng(1), 200, 10, 8, 18, 24)
    assert t.shape == (200, 10)
    assert (t.min(axis=1) == 8).all() and (t.max(axis=1) == 24).all()
    assert np.median(t, axis=1) == pytest.approx(18)


def test_the_dead_are_censored_patients_at_most_as_many_as_allowed() -> None:
    rng = np.random.default_rng(1)
    parts = []
    for size, events in ((17, 7), (59, 3)):
        cause = np.zeros((300, size), dtype=np.int64)
        cause[:, :events] = 1
        parts.append((np.zeros((300, size)), cause))
    rebuilt._let_die(rng, parts, 7, 10, 4)
    dead = sum((c == 2).sum(axis=1) for _, c in parts)
    assert set(dead) == {0, 1, 2, 3, 4}
    assert (parts[0][1][:, :7] == 1).all() and (parts[1][1][:, :3] == 1).all()


@pytest.mark.parametrize(
    "changed", [{"events": 9}, {"events": 2}, {"times": (9, 8, 24)}, {"follow_up": 0}]
)
def test_impossible_histories_are_refused(changed: dict[str, Any]) -> None:
    given: dict[str, Any] = dict(
        events=10, times=(8, 18, 24), follow_up=29, incidences=("53", "6"), deaths=5, sets=10
    )
    with pytest.raises(ValueError):
        rebuilt.histories((17, 59), [7], fits=2, seed=1, **(given | changed))

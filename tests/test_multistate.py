"""States over time: against R's survfit, against identities, against bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballbook.competing_risks import cumulative_incidence
from ballbook.multistate import StateOccupation, intervals, state_occupation
from ballbook.survival import kaplan_meier

STATES = ["remission", "relapse", "switch", "dead"]
EBMT = ["transplant", "recovery", "adverse", "both", "relapse", "dead"]


def agrees(found: StateOccupation, r: Any) -> None:
    """Compare probabilities, errors, intervals and mean times with those of R."""
    shape = (len(r["times"]), len(r["states"]))
    assert list(found.states) == r["states"]
    p, se = np.reshape(r["p"], shape, "C"), np.reshape(r["se"], shape, "C")
    low = np.reshape(np.array(r["low"], dtype=float), shape)
    high = np.reshape(np.array(r["high"], dtype=float), shape)
    for i, t in enumerate(r["times"]):
        row = found.table[found.table["time"] <= t].groupby("state", sort=False).last()
        for j, (name, e) in enumerate(found.at(t).items()):
            assert e.value == pytest.approx(p[i, j], abs=1e-12), (t, name)
            assert row.loc[name, "std_error"] == pytest.approx(se[i, j], abs=1e-12), (t, name)
            if e.ci_low is not None:
                assert (e.ci_low, e.ci_high) == pytest.approx((low[i, j], high[i, j]), abs=1e-10)
    for j, (name, e) in enumerate(found.mean_time(r["tau"]).items()):
        assert e.value == pytest.approx(r["mean"][j], rel=1e-10), name
        assert e.ci_high is not None
        error = (e.ci_high - e.value) / 1.959963984540054
        assert error == pytest.approx(r["mean_se"][j], rel=1e-9, abs=1e-12), name


def test_made_up_courses_with_ties_and_returns_are_as_in_r(golden: Any) -> None:
    r = golden("multistate")
    found = state_occupation(pd.DataFrame(r["stays"]), STATES)
    agrees(found, r["made_up"])
    assert found.n == 60


def test_the_ebmt_transplants_are_as_in_r(golden: Any, shared_data: Path) -> None:
    r = golden("multistate")
    d = pd.read_csv(shared_data / "clinical" / "ebmt-mstate" / "ebmt4.csv")
    end = d[["rel", "srv"]].min(axis=1)
    recovery, adverse = d["rec"].where(d["rec.s"] == 1), d["ae"].where(d["ae.s"] == 1)
    both = pd.concat([recovery, adverse], axis=1).max(axis=1, skipna=False)
    relapsed = (d["rel.s"] == 1) & (d["rel"] <= d["srv"])
    entered = pd.DataFrame(
        {"recovery": recovery, "adverse": adverse, "both": both},
    ).where(lambda x: x.lt(end, axis=0))
    entered["relapse"] = d["rel"].where(relapsed)
    entered["dead"] = d["srv"].where((d["srv.s"] == 1) & ~relapsed)
    found = state_occupation(intervals(d["id"], entered, end, initial="transplant"), EBMT)
    agrees(found, r["ebmt"])
    moves = pd.DataFrame(r["ebmt_moves"]).set_index(["state", "to"])["n"].to_dict()
    assert found.transitions.set_index(["state", "to"])["n"].to_dict() == moves


courses = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 20), min_size=n, max_size=n),
        st.lists(st.integers(0, 2), min_size=n, max_size=n),
    )
)


@given(courses)
@settings(max_examples=60, deadline=None)
def test_one_step_is_a_cumulative_incidence(drawn: tuple[list[int], list[int]]) -> None:
    time, cause = np.array(drawn[0], dtype=float), np.array(drawn[1])
    entered = pd.DataFrame({k: np.where(cause == k, time, np.nan) for k in (1, 2)})
    entered.columns = ["one", "two"]
    stays = intervals(range(len(time)), entered, time, initial="none")
    found = state_occupation(stays, ["none", "one", "two"]).table
    assert np.allclose(found.groupby("time")["probability"].sum(), 1)
    for k, curve in cumulative_incidence(time, cause, causes=[1, 2]).items():
        mine = found[found["state"] == ["one", "two"][k - 1]]
        assert mine["probability"].to_numpy() == pytest.approx(
            curve.table["cumulative_incidence"].to_numpy()
        )


def test_one_arrow_is_survival_and_its_mean() -> None:
    rng = np.random.default_rng(4)
    time, event = rng.integers(0, 30, 80).astype(float), rng.integers(0, 2, 80)
    entry = np.where(rng.random(80) < 0.4, np.floor(time / 3), 0.0)
    entered = pd.DataFrame({"dead": np.where(event == 1, time, np.nan)})
    stays = intervals(range(80), entered, time, initial="alive", entry=entry)
    found = state_occupation(stays, ["alive", "dead"])
    curve = kaplan_meier(time, event, entry=entry)
    for t in (0, 5, 12, 25):
        assert found.at(t)["alive"].value == pytest.approx(curve.at(t).value)
    mean = found.mean_time(20)
    assert mean["alive"].value == pytest.approx(curve.restricted_mean(20).value)
    assert sum(e.value or 0 for e in mean.values()) == pytest.approx(20)


def test_without_censoring_probabilities_and_errors_are_those_of_counts() -> None:
    rng = np.random.default_rng(9)
    relapse = rng.integers(1, 20, 50).astype(float)
    relapse[:15] = np.nan
    death = np.where(np.isnan(relapse), 10.0, relapse) + rng.integers(1, 20, 50)
    stays = intervals(
        range(50), pd.DataFrame({"relapse": relapse, "dead": death}), death, initial="well"
    )
    found = state_occupation(stays, ["well", "relapse", "dead"])
    for t in (3, 9, 17):
        at = found.at(t)
        share = np.mean((relapse <= t) & (death > t))
        assert at["relapse"].value == pytest.approx(share)
        row = found.table[(found.table["time"] <= t) & (found.table["state"] == "relapse")]
        assert row["std_error"].iloc[-1] == pytest.approx(np.sqrt(share * (1 - share) / 50))
        assert at["dead"].n_events == (death <= t).sum()
    assert found.at(500)["dead"].value == pytest.approx(1)


def test_the_jackknife_error_covers_where_moves_depend_on_the_past() -> None:
    """Death after an early relapse is faster, so the process is not Markov."""
    rng = np.random.default_rng(12)
    n, inside, repeats = 120, 0, 200
    truth = None
    for size in [200_000, *[n] * repeats]:
        relapse = rng.exponential(20, size)
        death = relapse + rng.exponential(np.where(relapse < 15, 4, 30), size)
        if truth is None:
            truth = np.mean((relapse <= 24) & (death > 24))
            continue
        end = rng.uniform(10, 60, size)
        entered = pd.DataFrame(
            {"relapse": np.where(relapse <= end, relapse, np.nan),
             "dead": np.where(death <= end, death, np.nan)}
        )  # fmt: skip
        last = np.minimum(end, death)
        stays = intervals(range(size), entered, last, initial="well")
        e = state_occupation(stays, ["well", "relapse", "dead"]).at(24)["relapse"]
        inside += e.ci_low is not None and e.ci_low <= truth <= (e.ci_high or 0)
    assert 0.90 <= inside / repeats <= 0.99


def test_states_of_one_day_are_passed_over() -> None:
    entered = pd.DataFrame({"relapse": [5.0, 5.0, np.nan], "dead": [5.0, np.nan, np.nan]})
    stays = intervals(["a", "b", "c"], entered, [5, 5, 0], initial="well")
    assert stays[["patient_id", "state", "to"]].to_numpy().tolist() == [
        ["a", "well", "dead"], ["b", "well", "relapse"], ["c", "well", None],
    ]  # fmt: skip
    found = state_occupation(stays, ["well", "relapse", "dead"])
    assert found.transitions["n"].tolist() == [1, 1]
    assert found.entered("dead") == 1


def test_late_entry_begins_in_the_state_reached_by_then() -> None:
    entered = pd.DataFrame({"relapse": [5.0, 5.0], "dead": [9.0, np.nan]})
    stays = intervals(["a", "b"], entered, [9, 12], initial="well", entry=[7, 0])
    assert stays.loc[stays["patient_id"] == "a", "state"].tolist() == ["relapse"]
    assert stays.loc[stays["patient_id"] == "a", "start"].tolist() == [7]


def test_beyond_follow_up_nothing_is_told() -> None:
    entered = pd.DataFrame({"dead": [3.0, np.nan]})
    found = state_occupation(intervals([1, 2], entered, [3, 8], initial="well"), ["well", "dead"])
    assert found.at(8)["dead"].value == pytest.approx(0.5)
    assert found.at(9)["dead"].value is None
    assert found.mean_time(9)["well"].value is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"to": ["relapse", "lost"]}, "unknown state"),
        ({"state": ["well", "well"]}, "last ended"),
        ({"start": [0.0, 6.0]}, "last ended"),
        ({"stop": [5.0, 5.0]}, "after it begins"),
        ({"start": [-1.0, 5.0]}, "0 or later"),
        ({"to": ["well", None]}, "another state"),
    ],
)
def test_impossible_stays_are_refused(change: dict[str, list[Any]], told: str) -> None:
    stays = pd.DataFrame(
        {"patient_id": ["a", "a"], "start": [0.0, 5.0], "stop": [5.0, 7.0],
         "state": ["well", "relapse"], "to": ["relapse", None]} | change
    )  # fmt: skip
    with pytest.raises(ValueError, match=told):
        state_occupation(stays, ["well", "relapse", "dead"])


@pytest.mark.parametrize(
    ("entered", "end", "entry"), [(-1.0, 5.0, 0.0), (6.0, 5.0, 0.0), (3.0, 5.0, 5.0)]
)
def test_impossible_times_are_refused(entered: float, end: float, entry: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        intervals(["a"], pd.DataFrame({"dead": [entered]}), [end], initial="well", entry=[entry])

"""Effects of a marker in a reader's cohort, and small-study effects, against R and by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ballbook import own_effects, small_studies
from ballbook.competing_risks import cumulative_incidence
from ballbook.results import Estimate

NAMES = {0.0: "without", 1.0: "with"}


@pytest.fixture
def r(golden: Any) -> Any:
    return golden("own_effects")


@pytest.fixture
def table(r: Any) -> pd.DataFrame:
    frame = pd.DataFrame(
        {k: [np.nan if v is None else v for v in c] for k, c in r["cohort"].items()}
    )
    words = frame["cause"].map({0: np.nan, 1: "relapse", 2: "death"})
    return frame.rename(columns={"time": "time_months"}).assign(
        event=(frame["cause"] > 0).astype(int), event_type=words
    )


def same(found: Estimate, expected: dict[str, float], rel: float = 1e-6) -> None:
    got = (found.value, found.ci_low, found.ci_high)
    assert got == pytest.approx([expected[k] for k in ("value", "low", "high")], rel=rel)
    if "n" in expected:
        assert (found.n, found.n_events) == (expected["n"], expected["events"])


# ------------------------------------------------------------------------------ adjusted


def test_the_adjusted_effect_is_that_of_r_in_the_same_patients(table: pd.DataFrame, r: Any) -> None:
    found = own_effects.adjusted(table, "marker", ["age", "wbc"])
    same(found.crude, r["adjusted"]["crude"])
    same(found.adjusted, r["adjusted"]["adjusted"])
    assert found.crude.n == found.adjusted.n < len(table)
    assert "left out" in found.note
    assert found.gates[1].statistic == pytest.approx(r["adjusted"]["zph"], rel=1e-5)
    assert list(found.terms["term"]) == ["marker", "age", "wbc"]


def test_with_mrd_patients_are_at_risk_from_its_day_on(table: pd.DataFrame, r: Any) -> None:
    day = 29 / (365.25 / 12)
    found = own_effects.adjusted(table, "marker", ["age", "wbc", "mrd"], from_month=day)
    same(found.crude, r["adjusted"]["crude_mrd"])
    same(found.adjusted, r["adjusted"]["adjusted_mrd"])
    assert (table["time_months"] <= day).any()
    assert found.crude.n == int((table["wbc"].notna() & (table["time_months"] > day)).sum())


def test_too_little_for_an_adjusted_effect_is_said(table: pd.DataFrame) -> None:
    few = table[table["marker"].eq(0) | (table.index < 12)]
    assert few["marker"].sum() < 5
    assert "fewer than 5 patients" in str(own_effects.adjusted(few, "marker", ["age"], 5).note)
    small = table.iloc[:24]
    many = own_effects.adjusted(small, "marker", ["age", "wbc", "mrd", "ph"])
    assert many.adjusted.reason == "withheld: fewer than 5 events per term"
    assert own_effects.adjusted(table, "marker", []).adjusted.reason == "not given: covariates"


def test_no_number_of_events_is_told_of_own_patients(table: pd.DataFrame) -> None:
    found = own_effects.adjusted(table, "marker", ["age"], 5)
    causes = own_effects.by_cause(table, "marker", NAMES, 60, 5)
    split = own_effects.interaction(table, "marker", table["ph"], 5)
    told = [found.crude, found.adjusted, causes.relapse, causes.other, causes.subdistribution]
    told += [causes.gray, *causes.incidence.values(), split.inside, split.outside]
    assert all(e.value is not None for e in told) and all(e.n_events is None for e in told)


# ------------------------------------------------------------------------------ subgroups


def test_the_interaction_is_that_of_one_stratified_model(table: pd.DataFrame, r: Any) -> None:
    found = own_effects.interaction(table, "marker", table["ph"])
    for name in ("inside", "outside", "ratio"):
        same(getattr(found, name), r["interaction"][name])
    assert found.ratio.p_value == pytest.approx(r["interaction"]["ratio"]["p"], rel=1e-5)
    assert found.detectable.value == pytest.approx(r["interaction"]["detectable"], rel=1e-5)


def test_a_subgroup_without_events_gives_no_ratio(table: pd.DataFrame) -> None:
    inside = pd.Series(np.where(table["event"] == 0, 1.0, 0.0))
    found = own_effects.interaction(table, "marker", inside)
    assert found.inside.reason == "no events in a group"
    assert found.outside.value is not None and found.ratio.value is None
    nobody = own_effects.interaction(table, "marker", pd.Series(np.nan, table.index))
    assert nobody.ratio.reason == "nobody is known to be in the subgroup"


def test_sizes_of_subgroups_do_not_give_away_who_is_in_neither(table: pd.DataFrame) -> None:
    flag = table["ph"].fillna(0.0)
    assert own_effects.interaction(table, "marker", flag, 5).inside.n == int(flag.sum())
    flag.iloc[[3, 4]] = np.nan
    found = own_effects.interaction(table, "marker", flag, 5)
    assert found.inside.value is not None and found.inside.n is None and found.outside.n is None


# ------------------------------------------------------------------------------ causes


def test_relapse_and_competing_events_are_those_of_r(table: pd.DataFrame, r: Any) -> None:
    found = own_effects.by_cause(table, "marker", NAMES, 60)
    levels = [found.incidence[g].value for g in NAMES.values()]
    assert levels == pytest.approx(r["causes"]["incidence"], rel=1e-8)
    assert found.gray.value == pytest.approx(r["causes"]["gray"], rel=1e-5)
    same(found.subdistribution, r["causes"]["subdistribution"], rel=1e-4)
    for name in ("relapse", "other"):
        same(getattr(found, name), r["causes"][name])
    assert found.gates[0].status == "failed"


def test_causes_are_read_from_words() -> None:
    rows = pd.DataFrame(
        {"event": [1, 1, 1, 1, 0, 0],
         "event_type": ["relapse", "progression", "death", None, "none", None]}
    )  # fmt: skip
    found = own_effects.causes(rows)
    assert found.tolist()[:3] == [1, 1, 2] and np.isnan(found[3]) and found.tolist()[4:] == [0, 0]
    assert own_effects.causes(rows[["event"]]).isna().tolist() == [True] * 4 + [False] * 2


def test_a_few_events_of_unknown_cause_compete_and_many_forbid(table: pd.DataFrame) -> None:
    events = table.index[table["event"] == 1]
    few, many = table.copy(), table.copy()
    few.loc[events[:3], "event_type"] = None
    many.loc[events[: len(events) // 2], "event_type"] = None
    assert "without a stated cause" in own_effects.by_cause(few, "marker", NAMES, 60).note
    found = own_effects.by_cause(many, "marker", NAMES, 60)
    assert found.relapse.reason == "not given: what the events were (event_type)"
    late = own_effects.by_cause(table.assign(entry_months=0.1), "marker", NAMES, 60)
    assert late.gray.value is None and "late" in str(late.gray.reason)


def test_few_other_events_are_not_told(table: pd.DataFrame) -> None:
    deaths = table.index[table["event_type"] == "death"]
    rare = table.drop(index=deaths[4:])
    found = own_effects.by_cause(rare, "marker", NAMES, 60, 5)
    assert found.relapse.reason == "withheld: fewer than 5 other events" and not found.curves
    assert own_effects.by_cause(rare, "marker", NAMES, 60).relapse.value is not None


@pytest.mark.parametrize("least", [3, 5, 12])
def test_between_two_shown_months_lie_enough_events_of_each_kind(
    table: pd.DataFrame, least: int
) -> None:
    curve = cumulative_incidence(table["time_months"], table["cause"].astype(int))[1]
    months = own_effects.shown_months(curve, least)
    assert months[0] == 0 and len(months) > 1
    for kind in (1, 2):
        by = [int(((table["cause"] == kind) & (table["time_months"] <= m)).sum()) for m in months]
        assert min(np.diff(by)) >= least
    assert (table["time_months"] > months[-1]).sum() >= least
    told = own_effects.shown_incidence(curve, least)
    assert told is not None and told["months"].tolist() == months
    assert all(v == float(f"{v:.3g}") for v in told["incidence"])


# ------------------------------------------------------------------------------ small studies


def test_eggers_test_is_that_of_metafor_and_lm(r: Any) -> None:
    e = r["egger"]
    found = small_studies.egger(e["y"], e["se"])
    reach = stats.t.isf(0.025, len(e["y"]) - 2) * e["slope_se"]
    assert found.slope.value == pytest.approx(e["slope"], rel=1e-8)
    assert found.slope.ci_high == pytest.approx(e["slope"] + reach, rel=1e-8)
    assert (found.slope.statistic, found.slope.p_value) == pytest.approx((e["t"], e["p"]), rel=1e-8)
    assert found.limit.value == pytest.approx(e["limit"], rel=1e-8)
    assert found.power.value == pytest.approx(e["power"], rel=1e-6)
    assert found.detectable.value == pytest.approx(e["detectable"], rel=1e-6)


def test_the_power_of_eggers_test_is_that_of_simulation() -> None:
    rng, se, b = np.random.default_rng(5), np.array([0.15, 0.2, 0.3, 0.4, 0.5, 0.7]), 2.5
    hits = 0
    for _ in range(1500):
        y = 0.3 + b * se + rng.normal(0, se)
        hits += small_studies.egger(y, se).slope.p_value < 0.05  # type: ignore[operator]
    shift = b / math.sqrt(
        np.linalg.inv(np.array([[6, (1 / se).sum()], [(1 / se).sum(), (se**-2).sum()]]))[0, 0]
    )
    assert hits / 1500 == pytest.approx(small_studies._power(shift, 4), abs=0.04)


@pytest.mark.parametrize(
    ("y", "se", "message"),
    [
        ([0.1, 0.2], [0.1, 0.2], "at least 3"),
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.0], "positive"),
        ([0.1, 0.2, 0.3], [0.1, 0.1, 0.1], "same"),
        ([0.1, 0.2, 0.3], [0.1, 0.1], "length"),
    ],
)
def test_eggers_test_refuses_what_it_cannot_use(
    y: list[float], se: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        small_studies.egger(y, se)

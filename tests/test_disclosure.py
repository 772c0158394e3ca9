"""What of a reader's own patients may be shown: nothing from which few can be worked out."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from ballbook import disclosure, figures
from ballbook.contingency import proportion
from ballbook.results import Estimate
from ballbook.survival import SurvivalCurve, kaplan_meier


def curve(n: int, deaths: int, seed: int = 3) -> SurvivalCurve:
    """Return a curve of `n` patients with exactly `deaths` deaths, spread over 40 months."""
    rng = np.random.default_rng(seed)
    return kaplan_meier(rng.uniform(0.1, 40, n), np.arange(n) < deaths)


# 80 patients with 3 deaths, a handful, a single death, none, and cohorts large enough to draw.
COHORTS = [(80, 3), (7, 7), (7, 6), (40, 1), (40, 0), (12, 5), (60, 30), (200, 150), (90, 90)]


@pytest.mark.parametrize(("n", "deaths"), COHORTS)
@pytest.mark.parametrize("min_count", [5, 10])
def test_no_two_shown_points_of_a_curve_are_few_deaths_apart(
    n: int, deaths: int, min_count: int
) -> None:
    whole = curve(n, deaths)
    shown = disclosure.displayable(whole, min_count)
    if deaths < min_count:
        assert shown is None
    if shown is None:
        return
    assert "at_risk" not in shown
    assert (shown["months"] % 1 == 0).all()
    by = np.array([disclosure.events_by(whole, t) for t in shown["months"]])
    assert (np.diff(by) >= min_count).all()
    left = np.array([disclosure.fewest(whole, t) for t in shown["months"]])
    assert (left >= min_count).all()
    for month, survival in zip(shown["months"][1:], shown["survival"][1:], strict=True):
        assert survival == disclosure.three(whole.at(month).value)


def test_three_deaths_among_eighty_show_nothing() -> None:
    few = curve(80, 3)
    assert disclosure.displayable(few, 5) is None
    assert disclosure.median(few, 5).value is None
    assert [e.value for e in disclosure.survival_at(few, [6, 12], 5)] == [None, None]


def test_a_survival_of_one_patient_in_seven_is_withheld() -> None:
    seven = kaplan_meier([1.0, 2, 3, 4, 5, 5.5, 9], np.ones(7))
    assert seven.at(6).value == pytest.approx(1 / 7)
    (e,) = disclosure.survival_at(seven, [6], 5)
    assert (e.value, e.n, e.n_events, e.ci_low) == (None, None, None, None)
    assert "fewer than 5" in str(e.reason)


def test_the_longest_follow_up_is_not_told() -> None:
    short = kaplan_meier(np.linspace(1, 11.37, 60), np.arange(60) % 2 == 0)
    (e,) = disclosure.survival_at(short, [12], 5)
    assert "11.37" in str(short.at(12).reason)
    assert "11" not in str(e.reason)


@pytest.mark.parametrize(("n", "deaths"), COHORTS)
def test_times_shown_are_apart_by_enough_deaths(n: int, deaths: int) -> None:
    whole = curve(n, deaths)
    times = list(range(1, 40))
    found = disclosure.survival_at(whole, times, 5)
    kept = [t for t, e in zip(times, found, strict=True) if e.value is not None]
    by = [0, *(disclosure.events_by(whole, t) for t in kept)]
    assert all(b - a >= 5 for a, b in pairwise(by))
    assert all(e.n_events is None for e in found)
    assert all(disclosure.fewest(whole, t) >= 5 for t in kept)


def test_late_entry_counts_those_under_observation_only() -> None:
    rng = np.random.default_rng(8)
    entry = np.r_[np.zeros(20), rng.uniform(0, 12, 60)]
    late = kaplan_meier(entry + 0.5 + rng.exponential(9, 80), np.ones(80), entry=entry)
    shown = disclosure.displayable(late, 5)
    assert shown is not None
    for t in shown["months"].iloc[1:]:
        assert late.number_at_risk([t + 1e-9])[0] >= 5


def test_two_early_patients_do_not_decide_a_curve_that_is_shown() -> None:
    entry = np.r_[np.zeros(2), np.linspace(1, 2, 60)]
    late = kaplan_meier(np.r_[0.5, 0.9, np.linspace(3, 30, 60)], np.ones(62), entry=entry)
    assert late.at(12).value == 0
    assert disclosure.displayable(late, 5) is None
    assert disclosure.median(late, 5).value is None
    assert disclosure.survival_at(late, [12], 5)[0].value is None


def test_a_median_is_no_single_patients_time() -> None:
    whole = curve(90, 90)
    exact, told = whole.median(), disclosure.median(whole, 5)
    assert told.value == round(float(exact.value or 0), 1) != exact.value
    assert (told.ci_low or 0) <= (exact.ci_low or 0)
    assert (told.ci_high or 0) >= (exact.ci_high or 0)
    assert told.n_events is None
    unreached = disclosure.median(curve(200, 10), 5)
    assert (unreached.value, unreached.reason) == (None, "not reached")


@pytest.mark.parametrize(
    "changes",
    [{"n": 4}, {"n": 30, "n_events": 4}, {"n": 30, "n_events": 0}, {"n": 30, "n_events": 27}],
)
def test_a_withheld_estimate_tells_no_number(changes: dict[str, Any]) -> None:
    e = Estimate(
        "proportion", 0.137, 0.1, 0.2, p_value=0.03, statistic=4.1, df=1, unit="%", id="own-x",
        label="Own", group="g", tier="yours", method="exact", **changes,
    )  # fmt: skip
    told = disclosure.withhold(e, 5)
    numbers = (told.value, told.ci_low, told.ci_high, told.p_value, told.statistic, told.df)
    assert {*numbers, told.n, told.n_events} == {None}
    assert (told.id, told.label, told.tier, told.kind) == ("own-x", "Own", "yours", "proportion")
    assert disclosure.withhold(e, 0) is e


def test_what_is_large_enough_is_left_alone() -> None:
    e = proportion(5, 10)
    assert disclosure.withhold(e, 5) is e
    assert disclosure.withhold(proportion(5, 9), 5).value is None
    assert disclosure.withhold(e, 5, left=4).value is None


@pytest.mark.parametrize(
    ("count", "of", "expected"),
    [(5, 20, 5), (4, 20, None), (0, 20, None), (16, 20, None), (15, 20, 15), (None, 20, None)],
)
def test_a_count_and_its_complement_are_large_enough(
    count: int | None, of: int, expected: int | None
) -> None:
    assert disclosure.shown_count(count, of, 5) == expected
    assert disclosure.shown_count(count, of, 0) == count


def test_without_a_smallest_count_a_curve_is_shown_month_by_month() -> None:
    whole = curve(7, 6)
    shown = disclosure.displayable(whole, 0)
    assert shown is not None
    assert shown["months"].tolist() == list(range(int(whole.last_time) + 1))
    assert shown["at_risk"].tolist() == whole.number_at_risk(shown["months"]).tolist()
    assert disclosure.survival_at(whole, [6], 0) == [whole.at(6)]
    assert disclosure.median(whole, 0) == whole.median()
    assert len(disclosure.displayable(whole, 0, horizon=3.5)) == 4  # type: ignore[arg-type]


def test_numbers_at_risk_do_not_give_the_difference() -> None:
    told = [disclosure.rounded_at_risk(n, 5) for n in (23, 21, 20, 19, 5, 4, 0)]
    assert told == ["20", "20", "20", "15", "5", "<5", "<5"]
    assert disclosure.rounded_at_risk(23, 0) == "23"


@pytest.mark.parametrize("least", [5, {"own": 5}])
def test_a_figure_of_own_patients_holds_whole_months_only(least: int | dict[str, int]) -> None:
    figures.use_style()
    fig, ax = figures.panels()
    whole = curve(60, 30)
    curves = {"own": whole, "few": curve(80, 3)}
    figures.survival(ax, curves, min_count=least, horizon=36)
    drawn = {str(line.get_label()): np.asarray(line.get_xdata()) for line in ax.get_lines()}
    told = disclosure.displayable(whole, 5, horizon=36)
    assert told is not None
    assert drawn["own"].tolist() == told["months"].tolist()
    if isinstance(least, int):
        assert len(drawn["few: too few to draw"]) == 0
        assert not any(line.get_marker() == "|" for line in ax.get_lines())
        assert any("multiples of 5" in t.get_text() for t in ax.texts)
    else:  # open data beside own patients keep their exact times
        assert (drawn["few"] % 1 != 0).any()
    band = np.concatenate([c.get_paths()[0].vertices[:, 0] for c in ax.collections[:1]])
    assert (band % 1 == 0).all()
    for n in (int(t.get_text()) for t in ax.texts if t.get_text().isdigit()):
        assert n % 5 == 0 or not isinstance(least, int)
    plt.close(fig)

"""What of a reader's own patients may be shown: nothing from which few can be worked out."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballbook import disclosure, figures
from ballbook.contingency import proportion
from ballbook.results import Estimate, Gate
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


# ---------------------------------------------------------------------------- tables of counts


def possible(shown: pd.DataFrame, sums: list[int], total: bool) -> list[np.ndarray]:
    """Return every table of counts that fits what is shown and the column sums, by search."""
    known = shown.to_numpy(dtype=float, na_value=np.nan)
    found: list[np.ndarray] = []
    free = [tuple(c) for c in np.argwhere(np.isnan(known))]

    def fill(table: np.ndarray, left: list[tuple[int, int]]) -> None:
        if not left:
            rows = not total or (table[:, :-1].sum(axis=1) == table[:, -1]).all()
            if rows and (table.sum(axis=0) == sums).all():
                found.append(table.copy())
            return
        i, j = left[0]
        column = table[:, j]
        room = int(sums[j] - np.nansum(column))
        last = np.isnan(column).sum() == 1
        for v in [room] if last else range(room + 1):
            if v >= 0:
                table[i, j] = v
                fill(table, left[1:])
                table[i, j] = np.nan

    fill(known.copy(), free)
    return found


def spans(table: pd.DataFrame, told: pd.DataFrame, total: bool) -> dict[tuple[int, int], tuple]:
    """Return the range of every withheld cell over all tables that fit."""
    fits = np.array(possible(told, table.sum().tolist(), total))
    hidden = np.argwhere(told.isna().to_numpy())
    return {(i, j): (fits[:, i, j].min(), fits[:, i, j].max()) for i, j in hidden}


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=2), min_size=1, max_size=3),
    st.integers(1, 4),
    st.booleans(),
)
@settings(max_examples=120)
def test_no_small_cell_can_be_worked_out(
    rows: list[list[int]], min_count: int, total: bool
) -> None:
    table = pd.DataFrame(rows, columns=["a", "b"])
    if total:
        table["all"] = table["a"] + table["b"]
    told = disclosure.suppress(table, ["a", "b"], min_count, total="all" if total else None)
    assert not (told < min_count).any(axis=None)
    if told.isna().to_numpy().sum() > 6:
        return  # too many to list
    for (i, j), (low, high) in spans(table, told, total).items():
        if table.iloc[i, j] < min_count:
            everything = told.isna().all(axis=None) or told.iloc[:, j].isna().all()
            assert low < min_count and (high >= min_count or everything), (told, low, high)


def test_the_smallest_other_cell_is_withheld_too() -> None:
    table = pd.DataFrame({"group": list("wxyz"), "size": [3, 40, 9, 12]})
    told = disclosure.suppress(table, ["size"], 5)
    assert told["size"].isna().tolist() == [True, False, True, False]
    # 1 and 2 are both small: that they add to 3 would tell so, hence a third.
    told = disclosure.suppress(table.assign(size=[1, 2, 9, 12]), ["size"], 5)
    assert told["size"].isna().tolist() == [True, True, True, False]
    assert disclosure.suppress(table, ["size"], 0).equals(table)
    large = disclosure.suppress(table.assign(size=[5, 40, 9, 12]), ["size"], 5)
    assert large["size"].tolist() == [5, 40, 9, 12]


def test_row_totals_do_not_give_a_cell_back() -> None:
    table = pd.DataFrame({"no": [3, 30, 12], "yes": [20, 10, 14], "all": [23, 40, 26]})
    told = disclosure.suppress(table, ["no", "yes"], 5, total="all")
    low, high = spans(table, told, True)[0, 0]
    assert low < 5 <= high
    with pytest.raises(ValueError, match="not the sum"):
        disclosure.suppress(table.assign(all=1), ["no", "yes"], 5, total="all")


def test_a_cell_near_a_count_shown_elsewhere_is_withheld() -> None:
    table = pd.DataFrame({"size": [12, 40, 9, 30]})
    told = disclosure.suppress(table, ["size"], 5, close_to=[10])
    assert told["size"].isna().tolist() == [True, False, True, False]


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=6).map(lambda v: sorted(v, reverse=True)),
    st.integers(0, 9),
    st.lists(st.integers(5, 60), max_size=2),
)
def test_a_flow_leaves_no_small_number_and_no_small_difference(
    counts: list[int], minimum: int, shown: list[int]
) -> None:
    steps = [(f"step {i}", c, f"why {i}") for i, c in enumerate(counts)]
    told = disclosure.flow(steps, minimum, shown)
    if not minimum:
        assert told == steps
    elif told:
        numbers = [s[1] for s in told]
        assert min(numbers) >= minimum
        pairs = [*combinations(numbers, 2), *((a, b) for a in numbers for b in shown)]
        assert all(a == b or abs(a - b) >= minimum for a, b in pairs)
        assert set(numbers) <= set(counts)


def test_a_merged_step_keeps_its_reason() -> None:
    steps = [("file", 100), ("timed", 62, "no time"), ("tested", 60, "not tested")]
    assert disclosure.flow(steps, 5) == [("file", 100, ""), ("tested", 60, "no time; not tested")]


# ----------------------------------------------------------------------------- what a page keeps


def own(kind: str = "hazard-ratio", **changes: Any) -> Estimate:
    return Estimate(kind, 1.234567, 1.012345, 1.512345, tier="yours", id="own-x", **changes)


def test_a_count_too_near_another_goes_and_takes_what_gives_it_back() -> None:
    assert disclosure.release(own(n=60), 5, nested=[60, 65]).n == 60
    ratio = disclosure.release(own(n=60, n_events=30), 5, nested=[62])
    assert (ratio.n, ratio.n_events, ratio.value) == (None, None, 1.23)
    share = disclosure.release(replace(proportion(30, 60), tier="yours"), 5, nested=[62])
    assert (share.n, share.value, share.ci_low) == (None, None, None)
    count = disclosure.release(Estimate("count", 60, n=60, tier="yours"), 5, nested=[62])
    assert count.value is None
    assert disclosure.release(own(n=60), 5, cells=[58]).n is None


def test_those_without_the_event_are_counted_too() -> None:
    kept = disclosure.release(own(n=60, n_events=57), 5)
    assert (kept.n, kept.n_events) == (60, None)
    assert disclosure.release(own(n=60, n_events=55), 5).n_events == 55
    assert disclosure.release(own(n_events=55), 5).n_events is None


def test_full_precision_does_not_leave() -> None:
    """A survival of 22/23 x 18/19 at full precision gives the risk sets, and who left between."""
    e = own("survival", p_value=0.0123456, statistic=2.345678, df=17.345678)
    told = disclosure.release(e, 5)
    assert [told.value, told.ci_low, told.ci_high] == [1.23, 1.01, 1.51]
    assert [told.p_value, told.statistic, told.df] == [0.0123, 2.35, 17.3]
    assert disclosure.release(e, 0) is e


def test_reasons_and_gates_tell_no_number() -> None:
    reason = "nobody was followed to 12 months; the curve ends at 11.37, 3 of 1,204 left"
    told = disclosure.release(Estimate("survival", reason=reason), 5)
    assert not any(number in str(told.reason) for number in ("11.37", "3 of", "1,204"))
    for kept in ("fewer than 10 patients with an age", "MRD at day 29", "KMT2A-r", "under 5"):
        assert disclosure.without_numbers(kept) == kept
    few = Gate("Your cohort: minimum group size", "failed", 3, 5, "3 patients in the smallest")
    assert disclosure.gate(few, 5).statistic is None
    assert "3" not in disclosure.gate(few, 5).action
    hazards = Gate("Your cohort: proportional hazards", "passed", 0.123456, 0.05)
    assert disclosure.gate(hazards, 5).statistic == 0.123
    assert disclosure.gate(few, 0) is few


@pytest.mark.parametrize("name", ["patient_id", "Sample", "donor", "id", "case number", "USI"])
def test_a_table_that_names_patients_is_refused(name: str) -> None:
    with pytest.raises(disclosure.RowLevel, match="column"):
        disclosure.refuse_rows(pd.DataFrame({name: ["a"], "n": [9]}), [], 60)


def test_a_table_with_a_row_for_each_patient_is_refused() -> None:
    rows = pd.DataFrame({"age": range(60)})
    with pytest.raises(disclosure.RowLevel, match="as many as patients"):
        disclosure.refuse_rows(rows, [], 60)
    disclosure.refuse_rows(rows.head(20), [], 60)
    disclosure.refuse_rows(pd.DataFrame({"patients": [9], "group": "KMT2A-r"}), ["P1"], 60)
    with pytest.raises(disclosure.RowLevel, match="holds a patient's id"):
        disclosure.refuse_rows(pd.DataFrame({"label": ["P1"], "n": [9]}), ["P1"], 60)


def test_points_read_off_and_points_drawn_are_the_same_set() -> None:
    """Survival at 6 months beside a curve drawn at 5 would give the deaths between."""
    for seed in range(12):
        whole = curve(120, 70, seed)
        drawn = disclosure.displayable(whole, 5)
        assert drawn is not None
        times = [3.3, 6, 12, 24.5, 30]
        at = [t for t, e in zip(times, disclosure.survival_at(whole, times, 5), strict=True)
              if e.value is not None]  # fmt: skip
        by = sorted(disclosure.events_by(whole, t) for t in {*at, *drawn["months"]})
        assert all(b - a >= 5 for a, b in pairwise(by))


def test_a_drawing_is_the_same_whenever_within_a_month_patients_died() -> None:
    """So no coordinate of it can tell the day of a death or of a last visit."""
    rng = np.random.default_rng(5)
    month, died = rng.integers(0, 60, 150), rng.random(150) < 0.6
    part = np.sort(rng.uniform(0.05, 0.95, (2, 150)), axis=1)
    order = np.lexsort((np.arange(150), month))
    drawings = []
    for shift in part:
        figures.use_style()
        fig, ax = figures.panels()
        time = np.empty(150)
        time[order] = month[order] + shift
        figures.survival(ax, {"own": kaplan_meier(time, died)}, min_count=5, ticks=[0, 12, 24, 36])
        drawings.append(figures.svg(fig, "own"))
        plt.close(fig)
    assert drawings[0] == drawings[1]
    assert drawings[0].count("<use") < 200


def test_a_bound_of_a_median_that_rests_on_few_is_left_open() -> None:
    short = kaplan_meier(np.linspace(1.13, 12.37, 12), np.ones(12))
    exact, told = short.median(), disclosure.median(short, 5)
    assert (exact.ci_low or 0) > 0 and told.ci_low == 0.0
    assert exact.ci_high is not None and told.ci_high is None

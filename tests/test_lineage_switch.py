"""The lineage-switch page: printed counts, what a median allows, and the TARGET comparator."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ballbook import claims, paths
from ballbook.contingency import proportion
from ballbook.parametric_survival import (
    Weibull,
    fit_weibull,
    median_before_selection,
    median_ranks,
    patients_for_median,
    ratio_of_medians,
    sample_median_quantile,
    shape_from_survival,
    simulate_medians,
    true_median,
)
from ballbook.printed_counts import counts_below, counts_that_print_as, denominators
from ballbook.survival import kaplan_meier, kaplan_meier_by, logrank

PUBLISHED = paths.data() / "published"
SLUG = "lineage-switch-survival"


@pytest.fixture
def r(golden: Any) -> Any:
    return golden("lineage_switch")


# --- printed percentages ------------------------------------------------------------------------


def test_only_seventy_patients_allow_the_three_printed_percentages() -> None:
    table = denominators(["64.3", "5.7", "81.4"], 139)
    assert table.loc[table["all"], "n"].tolist() == [70]
    (row,) = table[table["all"]].to_dict("records")
    assert (row["64.3"], row["5.7"], row["81.4"]) == ("45", "4", "57")


@pytest.mark.parametrize("printed", ["64.3", "5.7"])
def test_no_count_of_75_prints_as_the_slide_does(printed: str) -> None:
    assert counts_that_print_as(printed, 75) == []


@pytest.mark.parametrize("n", [7, 8, 70, 75, 133])
@pytest.mark.parametrize("decimals", [0, 1, 2])
def test_every_count_is_found_again_from_its_own_percentage(n: int, decimals: int) -> None:
    for k in range(n + 1):
        assert k in counts_that_print_as(f"{100 * k / n:.{decimals}f}", n)


def test_both_roundings_of_a_half_are_allowed() -> None:
    assert counts_that_print_as("12", 8) == [1]
    assert counts_that_print_as("13", 8) == [1]
    assert counts_that_print_as("12.5", 8) == [1]


def test_counts_below_a_bound_leave_the_bound_out() -> None:
    assert counts_below("40", 70)[-1] == 27
    assert counts_below("40", 75)[-1] == 29
    assert counts_below("0", 5) == []


@pytest.mark.parametrize(
    ("printed", "n"), [("many", 5), ("101", 5), ("-1", 5), ("40", 0), ("nan", 5)]
)
def test_an_impossible_percentage_is_refused(printed: str, n: int) -> None:
    with pytest.raises(ValueError, match=r"percentage|between|at least"):
        counts_that_print_as(printed, n)


def test_exact_intervals_of_the_printed_counts_are_those_of_r(r: Any) -> None:
    for row in r["counts"]:
        e = proportion(row["k"], row["n"])
        assert (e.ci_low, e.ci_high) == pytest.approx((row["low"], row["high"]), abs=1e-9)


# --- the family ---------------------------------------------------------------------------------

CURVES = [
    Weibull(m, k, c)
    for m, k, c in itertools.product([0.3, 4.8, 22.0], [0.4, 1.0, 2.5], [0.0, 0.2, 0.45])
]


@pytest.mark.parametrize("curve", CURVES, ids=str)
def test_a_curve_has_its_median_and_inverts_its_quantiles(curve: Weibull) -> None:
    assert float(curve.survival(curve.median)) == pytest.approx(0.5)
    q = np.linspace(0.01, 0.99 * (1 - curve.cured), 7)
    assert curve.survival(curve.quantile(q)) == pytest.approx(1 - q)
    assert float(curve.survival(1e9)) == pytest.approx(curve.cured)
    assert float(curve.survival(0)) == 1


def test_the_cured_never_die() -> None:
    curve = Weibull(4.8, 1.0, 0.3)
    assert np.isinf(curve.quantile(0.71))
    assert np.isinf(curve.draw(4000, np.random.default_rng(1))).mean() == pytest.approx(
        0.3, abs=0.03
    )


@pytest.mark.parametrize("bad", [(0, 1, 0), (1, 0, 0), (1, 1, 0.5), (float("nan"), 1, 0)])
def test_an_impossible_curve_is_refused(bad: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Weibull(*bad)


def test_the_shape_of_the_printed_timing_gives_the_printed_share_back() -> None:
    shape = shape_from_survival(1.5, 6, 13 / 70)
    assert float(Weibull(1.5, shape).survival(6)) == pytest.approx(13 / 70)
    with pytest.raises(ValueError, match="no survival curve"):
        shape_from_survival(1.5, 6, 0.6)


# --- the median of a sample ---------------------------------------------------------------------


@pytest.mark.parametrize("n", [6, 10, 39, 70, 75, 201])
def test_median_ranks_are_the_widest_that_keep_the_level(n: int) -> None:
    found = median_ranks(n)
    inside = sum(stats.binom.pmf(i, n, 0.5) for i in range(found.low, found.high))
    assert found.coverage == pytest.approx(inside)
    narrower = 1 - 2 * stats.binom.cdf(found.low, n, 0.5)
    assert narrower < 0.95 <= found.coverage


def test_five_patients_are_too_few_for_an_interval() -> None:
    with pytest.raises(ValueError, match="too few"):
        median_ranks(5)


def test_intervals_of_the_true_median_are_those_of_r(r: Any) -> None:
    for row in r["intervals"]:
        e = true_median(4.8, row["n"], shape=row["shape"])
        assert (e.ci_low, e.ci_high) == pytest.approx((row["low"], row["high"]), rel=1e-6)


@pytest.mark.parametrize(("n", "shape", "cured"), [(9, 1.0, 0.0), (10, 0.6, 0.0), (70, 1.0, 0.2)])
def test_quantiles_of_a_sample_median_agree_with_drawn_samples(
    n: int, shape: float, cured: float
) -> None:
    curve = Weibull(1.0, shape, cured)
    draws = curve.draw(20_000 * n, np.random.default_rng(5)).reshape(-1, n)
    middle = np.sort(draws, axis=1)[:, [(n - 1) // 2, n // 2]].mean(axis=1)
    for p in (0.025, 0.5, 0.975):
        x = sample_median_quantile(curve, n, p)
        assert np.mean(middle <= x) == pytest.approx(p, abs=0.006)


def test_exact_and_simulated_intervals_agree_and_cover() -> None:
    truth = Weibull(4.8)
    found = simulate_medians(truth, 70, n_sim=1500, seed=11)
    exact, drawn = true_median(4.8, 70), found.true_median(4.8)
    assert (drawn.ci_low, drawn.ci_high) == pytest.approx((exact.ci_low, exact.ci_high), rel=0.04)
    assert 0.93 <= found.coverage <= 0.965
    assert found.events == 70


def test_simulated_censoring_is_what_was_asked_for() -> None:
    found = simulate_medians(Weibull(4.8, 0.7, 0.1), 70, censored=0.35, n_sim=300, seed=2)
    assert found.events / 70 == pytest.approx(0.65, abs=0.015)
    assert found.coverage > 0.9
    again = simulate_medians(Weibull(4.8, 0.7, 0.1), 70, censored=0.35, n_sim=300, seed=2)
    assert np.array_equal(found.median, again.median, equal_nan=True)


def test_censoring_below_the_cured_fraction_is_refused() -> None:
    with pytest.raises(ValueError, match="censored"):
        simulate_medians(Weibull(4.8, 1.0, 0.3), 70, censored=0.2, n_sim=2, seed=1)


def test_delayed_reporting_inflates_the_median_by_the_delay_when_hazard_is_constant() -> None:
    assert median_before_selection(4.8, 1.0) == pytest.approx(3.8)
    for shape in (0.6, 1.0, 1.7):
        truth = Weibull(median_before_selection(4.8, 1.0, shape), shape)
        assert float(truth.survival(4.8)) == pytest.approx(float(truth.survival(1.0)) / 2)
    with pytest.raises(ValueError, match="delay"):
        median_before_selection(4.8, 5)


def test_patients_needed_are_those_of_r_and_no_fewer_will_do(r: Any) -> None:
    for row in r["patients"]:
        assert patients_for_median(row["within"], 4.8, shape=row["shape"]).value == row["n"]
    hopeless = patients_for_median(0.001, 4.8)
    assert hopeless.value is None
    assert "more than" in str(hopeless.reason)


def test_weibull_fits_are_centred_on_the_truth_and_cover_it() -> None:
    truth, fits, covered = Weibull(6.0, 1.4), [], 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        death, end = truth.draw(80, rng), rng.uniform(0, 20, 80)
        fit = fit_weibull(np.minimum(death, end), death <= end)
        fits.append((fit.curve.median, fit.curve.shape))
        covered += fit.shape.ci_low <= 1.4 <= fit.shape.ci_high  # type: ignore[operator]
    assert np.mean(fits, axis=0) == pytest.approx([6.0, 1.4], rel=0.03)
    assert 0.9 <= covered / 200 <= 0.99


def test_a_ratio_of_medians_covers_the_truth_in_drawn_samples() -> None:
    covered = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        medians = [
            kaplan_meier(Weibull(m, 0.8).draw(80, rng), np.ones(80)).median() for m in (9.0, 4.5)
        ]
        ratio = ratio_of_medians(*medians)
        covered += ratio.ci_low <= 2.0 <= ratio.ci_high  # type: ignore[operator]
    assert 0.92 <= covered / 300 <= 0.98


def test_a_ratio_of_medians_needs_both_bounds() -> None:
    reached = kaplan_meier(np.arange(1.0, 41), np.ones(40)).median()
    open_ended = kaplan_meier([1.0, 2, 3, 4], [1, 1, 1, 0]).median()
    assert open_ended.ci_high is None
    assert ratio_of_medians(reached, open_ended).value is None
    with pytest.raises(ValueError, match="level"):
        ratio_of_medians(reached, kaplan_meier([1.0, 2, 3], [1, 1, 1], ci_level=0.9).median())


@pytest.mark.parametrize(
    ("time", "event", "words"),
    [
        ([1.0, 2.0], [1, 0], "fewer than two deaths"),
        ([0.0, 2.0, 3.0], [1, 1, 1], "death at time 0"),
    ],
)
def test_a_fit_without_an_answer_says_why(time: Any, event: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit_weibull(time, event)


# --- TARGET, against R --------------------------------------------------------------------------


@pytest.fixture
def relapsed(shared_data: Path) -> pd.DataFrame:
    from ballbook import datasets

    rows = datasets.load("target-all-p2").endpoint("OS after relapse")
    rows = rows[rows["lineage"] == "B"].copy()
    rows["discovery"] = rows["analysis_cohort"].str.contains("DISCOVERY")
    rows["stratum"] = (
        rows["protocol"] + " " + rows["discovery"].map({True: "discovery", False: "other"})
    )
    edges = [0, 18, 36, np.inf]
    names = ["under 18 months", "18 to 36 months", "36 months or later"]
    rows["when"] = pd.cut(rows["months_to_relapse"], edges, right=False, labels=names)
    return rows


MEDIAN = ("median", "low", "high")


def same_curve(rows: pd.DataFrame, expected: Any) -> None:
    curve = kaplan_meier(rows["time_months"], rows["event"])
    assert (curve.n, curve.n_events) == (expected["n"], expected["events"])
    median = curve.median()
    for got, key in zip((median.value, median.ci_low, median.ci_high), MEDIAN, strict=True):
        # R prints NA for a bound that the curve does not reach.
        assert (got is None) == (expected[key] is None), key
        assert got is None or got == pytest.approx(expected[key], rel=1e-9), key
    for t, s, low, high, n in zip(
        (4.8, 12, 24),
        expected["at"],
        expected["at_low"],
        expected["at_high"],
        expected["at_risk"],
        strict=True,
    ):
        if n == 0:  # beyond the last patient the book gives no value
            continue
        e = curve.at(t)
        assert (e.value, e.ci_low, e.ci_high) == pytest.approx((s, low, high), rel=1e-9)
        assert curve.number_at_risk([t]).tolist() == [n]
    if expected["at_risk"][-1]:
        mean = curve.restricted_mean(24)
        assert mean.value == pytest.approx(expected["rmean24"], rel=1e-9)


def test_survival_after_relapse_in_target_is_that_of_r(relapsed: pd.DataFrame, r: Any) -> None:
    same_curve(relapsed, r["all"])
    same_curve(relapsed[~relapsed["discovery"]], r["without_discovery"])
    same_curve(relapsed[relapsed["relapse_marrow"] == 1], r["marrow"])
    assert r["all"]["n"] == 305


@pytest.mark.parametrize(
    ("column", "key"), [("when", "by_time"), ("protocol", "by_protocol"), ("kmt2a_r", "by_kmt2a")]
)
def test_groups_of_target_are_those_of_r(
    relapsed: pd.DataFrame, r: Any, column: str, key: str
) -> None:
    names = {1.0: "Positive", 0.0: "Negative"}
    groups = {str(names.get(g, g)): rows for g, rows in relapsed.groupby(column, observed=True)}
    assert set(groups) == set(r[key])
    for name, rows in groups.items():
        same_curve(rows, r[key][name])


def test_early_relapse_by_protocol_and_set_is_that_of_r(relapsed: pd.DataFrame, r: Any) -> None:
    early = relapsed[relapsed["when"] == "under 18 months"]
    curves = kaplan_meier_by(early["time_months"], early["event"], early["stratum"])
    expected = r["early_by_stratum"]
    assert set(curves) == set(expected)
    for name, curve in curves.items():
        assert (curve.n, curve.n_events) == (expected[name]["n"], expected[name]["events"])
        assert curve.median().value == pytest.approx(expected[name]["median"])


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize(("column", "key"), [("when", "time"), ("kmt2a_r", "kmt2a")])
def test_logrank_tests_on_target_are_those_of_r(
    relapsed: pd.DataFrame, r: Any, column: str, key: str, stratified: bool
) -> None:
    rows = relapsed.dropna(subset=[column])
    strata = rows["stratum"] if stratified else None
    e = logrank(rows["time_months"], rows["event"], rows[column], strata=strata)
    expected = r[f"logrank_{key}{'_stratified' if stratified else ''}"]
    assert (e.statistic, e.p_value) == pytest.approx((expected["chisq"], expected["p"]), rel=1e-7)


def test_weibull_fits_to_target_are_those_of_r(relapsed: pd.DataFrame, r: Any) -> None:
    early = relapsed[relapsed["when"] == "under 18 months"]
    for rows, key in [(relapsed, "all"), (early, "early")]:
        fit, expected = fit_weibull(rows["time_months"], rows["event"]), r["weibull"][key]
        assert fit.median.value == pytest.approx(expected["median"], rel=1e-5)
        got = (fit.shape.value, fit.shape.ci_low, fit.shape.ci_high)
        want = (expected["shape"], expected["shape_low"], expected["shape_high"])
        assert got == pytest.approx(want, rel=1e-4)


# --- typed tables and claims --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["evolve", "comparators", "cases", "incidence"])
def test_every_typed_row_has_its_source_and_place(name: str) -> None:
    table = pd.read_csv(PUBLISHED / f"lineage_switch_{name}.csv")
    assert len(table) > 0
    assert table[["source", "locator"]].notna().all().all()
    assert not table.duplicated().any()


def test_printed_counts_add_up() -> None:
    table = pd.read_csv(PUBLISHED / "lineage_switch_evolve.csv")
    kinds = table[table["quantity"] == "switch type"]
    assert kinds["count"].sum() == table.loc[table["quantity"] == "cases", "count"].item() == 75
    b_lineage = kinds[kinds["group"].str.startswith("B-ALL")]["count"].sum()
    assert b_lineage == table.loc[table["quantity"] == "analysed", "count"].item() == 70


CASES = PUBLISHED / "lineage_switch_cases.csv"


def test_the_catalogue_holds_59_patients_and_one_survival_time() -> None:
    table = pd.read_csv(CASES)
    assert len(table) == table["case"].nunique() == 59
    assert table["source"].nunique() == 34
    assert table["months_survived"].notna().sum() == 1
    assert table["remission"].value_counts().to_dict() == {"yes": 4, "no": 1}
    assert table["status"].value_counts().to_dict() == {"dead": 11, "alive": 2}
    words = {
        "age_group": {"infant", "paediatric", "adult"}, "kmt2a_r": {"yes", "no"},
        "therapy": {"blinatumomab", "CAR T cells", "CD19-directed", "chemotherapy"},
        "phenotype": {"AML", "MPAL", "other"}, "individual": {"yes", "no"},
    }  # fmt: skip
    for column, allowed in words.items():
        assert set(table[column].dropna()) == allowed, column
    named = table["genetics"].fillna("")
    assert (table.loc[named.str.startswith("KMT2A::"), "kmt2a_r"] == "yes").all()


def test_the_catalogue_is_that_of_the_literature_table(shared_data: Path) -> None:
    folder = shared_data / "clinical" / "lineage-switch-literature"
    theirs = pd.read_csv(folder / "cases.csv", dtype=str, keep_default_na=False)
    mine = pd.read_csv(CASES, dtype=str, keep_default_na=False)
    assert mine["case"].tolist() == theirs["case_id"].tolist()
    for column, given in {
        "age_years": "age_years", "sex": "sex", "kmt2a_r": "kmt2a_r", "status": "vital_status",
        "months_from_all": "months_all_dx_to_switch", "remission": "remission_after_switch",
        "months_from_immunotherapy": "months_immunotherapy_to_switch",
        "phenotype": "phenotype_at_switch", "individual": "individually_described",
        "months_survived": "survival_months_after_switch",
    }.items():  # fmt: skip
        assert mine[column].tolist() == theirs[given].replace("unknown", "").tolist(), column


def test_claims_of_the_page_are_complete() -> None:
    mine = {c.id: c for c in claims.of_analysis(SLUG)}
    assert len(mine) == 16
    for claim in mine.values():
        if claim.kind == "proportion" and claim.source == "silbert2025" and claim.id[-3:] != "ion":
            assert counts_that_print_as(str(claim.printed), int(claim.n or 0)), claim.id
    assert mine["ext-silbert-os"].value == 4.8

"""MRD levels to positive or negative, and cohorts simulated from printed margins."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, f_oneway

from ballbook import datasets, mrd, trees

MARGINS = datasets.published("hartmann_margins")
MODEL = mrd.clearance_model(MARGINS)


def test_a_level_at_the_cut_off_is_positive() -> None:
    got = mrd.positivity([0.0, 9.99e-5, 1e-4, 0.5, np.nan])
    assert got.tolist()[:4] == [0, 0, 1, 1]
    assert np.isnan(got[4])


def test_an_assay_that_cannot_see_the_cut_off_decides_nothing_when_it_sees_nothing() -> None:
    got = mrd.positivity([0, 0, 0, 2e-3], limit_of_detection=[1e-5, 1e-4, 1e-3, 1e-3])
    assert got.isna().tolist() == [False, False, True, False]
    assert got[3] == 1


def test_classes_count_only_where_there_is_no_level() -> None:
    got = mrd.positivity([np.nan, np.nan, 1e-6], category=["high", None, "high"])
    assert got[0] == 1 and np.isnan(got[1]) and got[2] == 0


def test_percent_are_refused() -> None:
    with pytest.raises(ValueError, match="percent"):
        mrd.positivity([0.01, 12.0])
    with pytest.raises(ValueError, match="cut-off"):
        mrd.positivity([0.01], cut=0)


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(1e-6, 0.5), st.floats(1e-6, 0.5))
def test_a_higher_cut_off_never_makes_more_patients_positive(
    levels: list[float], one: float, two: float
) -> None:
    low, high = (mrd.positivity(levels, c).sum() for c in sorted((one, two)))
    assert high <= low


def test_margins_are_what_the_paper_prints() -> None:
    cell = MARGINS.set_index(["quantity", "group"])
    with_score = cell.loc["clearance with maturity score", "n"]
    assert with_score.to_dict() == {"fast": 30, "intermediate": 29, "slow": 38}
    ages = cell.loc["clearance with age"]
    assert ages["n"].to_dict() == {"fast": 39, "intermediate": 53, "slow": 122}
    assert ages["value"].to_dict() == {"fast": 9.4, "intermediate": 32, "slow": 37}
    assert cell.loc["age group", "n"].tolist() == [63, 96, 207, 79]
    assert cell.loc["age group", "n"].sum() == 445
    assert cell.loc["fusion partner", "n"].to_dict() == {
        "AFF1": 221,
        "MLLT1": 43,
        "MLLT10": 14,
        "MLLT3": 28,
    }
    assert cell.loc["anova", "value"].tolist() == [0.00021, 0.0013]
    assert cell.loc[("association", "AFF1 and clearance"), "value"] == 0.0007
    tree = trees.PublishedTree()
    assert cell.loc["tree cut-off", "value"].tolist() == [tree.cut_high, tree.cut_low]


@pytest.mark.parametrize("pattern", [(1, 0, -1), (1, 0, 0)])
def test_an_exact_cohort_returns_the_printed_anova(pattern: tuple[float, ...]) -> None:
    model = mrd.clearance_model(MARGINS, pattern=pattern)
    X, y = model.draw(np.random.default_rng(4), exact=True)
    assert np.bincount(y).tolist() == [30, 29, 38]
    parts = [X[y == c, 0].astype(float) for c in range(3)]
    assert f_oneway(*parts).pvalue == pytest.approx(0.0013, rel=1e-4)
    assert parts[0].mean() > parts[2].mean()


def test_median_ages_are_the_printed_ones() -> None:
    for cdf, printed in zip(MODEL.age_cdf, (9.4, 32, 37), strict=True):
        assert np.interp(printed, MODEL.age_grid, cdf) == pytest.approx(0.5, abs=1e-9)
        assert (np.diff(cdf) >= 0).all() and cdf[-1] == pytest.approx(1)


def test_partner_shares_give_the_printed_p_and_the_printed_overall_share() -> None:
    n = np.array([39, 53, 122])
    aff1 = MODEL.partner_shares[:, 0]
    assert n @ aff1 / n.sum() == pytest.approx(221 / 325, abs=1e-9)
    table = np.column_stack([n * aff1, n * (1 - aff1)])
    assert chi2_contingency(table, correction=False).pvalue == pytest.approx(0.0007, rel=1e-6)
    assert np.allclose(MODEL.partner_shares.sum(axis=1), 1)
    assert np.allclose(MODEL.partner_shares[:, 1] / MODEL.partner_shares[:, 3], 43 / 28)


def test_unrelated_models_have_no_differences_between_classes() -> None:
    null = MODEL.without(maturity=True, others=True)
    assert not null.means.any()
    assert (
        np.ptp(null.age_cdf, axis=0).max() == 0 and np.ptp(null.partner_shares, axis=0).max() == 0
    )
    only = MODEL.without(others=True)
    assert np.array_equal(only.means, MODEL.means)
    p = [
        f_oneway(*[X[y == c, 0] for c in range(3)]).pvalue
        for X, y in (null.draw(np.random.default_rng(s)) for s in range(300))
    ]
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.09


def test_shape_of_recognises_the_published_tree() -> None:
    # Four noiseless groups that follow the published rules exactly.
    rng = np.random.default_rng(0)
    score = rng.uniform(-0.6, 0.3, 400)
    gene = rng.choice(list(MODEL.partners), 400)
    said = trees.PublishedTree().predict(score, gene).cat.codes.to_numpy()
    one_hot = gene[:, None] == np.array(MODEL.partners)
    X = np.column_stack([score, rng.uniform(0, 60, 400), one_hot]).astype(np.float32)
    grown = trees.grow(X, said.astype(np.int64), trees.Settings(4, 5), 0)
    shape = mrd.shape_of(grown, MODEL.columns)
    assert shape.maturity_first and shape.three_classes and shape.published_shape
    assert shape.with_mllt1 and shape.no_age
    assert shape.cut == pytest.approx(np.mean(score <= -0.04), abs=0.01)
    by_age = trees.grow(X[:, [1, 0, 2, 3, 4, 5, 6]], said.astype(np.int64), trees.Settings(4, 5), 0)
    other = mrd.shape_of(by_age, MODEL.columns)
    assert not other.maturity_first and not other.no_age and np.isnan(other.cut)


def test_a_chance_study_is_reproducible_and_orders_its_scenarios() -> None:
    settings = trees.Settings(4, 5)
    null = MODEL.without(maturity=True, others=True)
    one, two = (mrd.chance_study(null, settings, n_cohorts=60, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(one.shapes, two.shapes)
    real = mrd.chance_study(MODEL, settings, n_cohorts=60, exact=True, seed=3)
    assert real.shapes["new"].mean() > one.shapes["new"].mean() + 0.05
    assert (one.shapes["apparent"] > one.shapes["new"]).mean() > 0.95
    # Nobody does better on new patients than always saying the largest class, when nothing helps.
    assert one.shapes["new"].mean() < 38 / 97
    assert one.at_least(0.0).value == 1 and one.at_least(1.01).value == 0
    assert real.share("maturity_first").n == 60


def cases(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    score = np.where(np.arange(n) % 2 == 0, -0.5, 0.1)
    return pd.DataFrame(
        {
            "patient_id": [f"p{i}" for i in range(n)],
            "subtype": "KMT2A-r",
            "fusion_partner": "AFF1",
            "maturity": score,
            "mrd_positive": (rng.random(n) < np.where(score < 0, 0.75, 0.3)).astype(float),
            "clearance": np.where(score < 0, "Slow", "fast"),
        }
    )


def test_the_tree_applied_counts_by_prediction_and_outcome() -> None:
    frame = cases()
    frame.loc[0, "subtype"] = "other"
    frame.loc[0, "fusion_partner"] = np.nan
    frame.loc[2, "fusion_partner"] = np.nan
    frame.loc[1, "fusion_partner"] = np.nan
    frame.loc[3, "mrd_positive"] = np.nan
    done = mrd.apply_tree(frame, trees.PublishedTree())
    # Without a partner a low score is undecided, a high one is fast.
    assert [s[1] for s in done.steps] == [40, 39, 38, 37]
    assert done.table is not None
    table = done.table.set_index("predicted")
    used = frame.drop(index=[0, 2, 3])
    for name, slow in (("slow", True), ("fast", False)):
        rows = used[(used["maturity"] < 0) == slow]
        assert table.loc[name, "positive"] == rows["mrd_positive"].sum()
        assert table.loc[name].sum() == len(rows)
    assert done.slow_odds.value is not None and done.slow_odds.value > 1
    assert done.auc.value is not None and done.auc.value > 0.5
    assert done.accuracy.value == 1 and done.accuracy.n == 38


def test_small_counts_of_a_readers_cohort_are_not_shown() -> None:
    frame = cases()
    frame["mrd_positive"] = [1.0] * 3 + [0.0] * 37
    done = mrd.apply_tree(frame, trees.PublishedTree(), min_count=5)
    assert done.table is None
    assert done.slow_odds.value is None and done.slow_odds.n is None
    # Nobody positive among those called fast tells of every one of them: zero counts as small.
    sure = cases().assign(mrd_positive=(cases()["maturity"] < 0).astype(float))
    hidden = mrd.apply_tree(sure, trees.PublishedTree(), min_count=5)
    assert hidden.table is None and hidden.slow_odds.value is None
    assert mrd.apply_tree(sure, trees.PublishedTree()).table is not None
    assert done.auc.value is None
    frame["clearance"] = "fast"
    frame.loc[:37, "clearance"] = np.where(frame.loc[:37, "maturity"] < 0, "slow", "fast")
    # 39 right and one wrong: the one could be told from 40 less 39.
    assert mrd.apply_tree(frame, trees.PublishedTree(), min_count=5).accuracy.value is None


def test_an_empty_or_unrelated_cohort_is_not_estimable() -> None:
    frame = cases().assign(subtype="hyperdiploid", fusion_partner=np.nan)
    done = mrd.apply_tree(frame, trees.PublishedTree(), min_count=5)
    assert done.slow_odds.value is None and done.accuracy.value is None
    assert [s[1] for s in done.steps] == [len(frame)]


def test_kmt2a_cases_are_b_lineage_and_known_by_any_of_three_columns() -> None:
    frame = pd.DataFrame(
        {
            "subtype": ["KMT2A-r", "other", "other", "KMT2A-r", "other"],
            "kmt2a_r": [np.nan, 1.0, 0.0, np.nan, np.nan],
            "fusion_partner": [np.nan, np.nan, np.nan, "AFF1", "AFF1"],
            "lineage": ["B", "B", "B", "T", "B"],
        }
    )
    assert mrd.kmt2a_rearranged(frame).tolist() == [True, True, False, False, True]
    assert mrd.kmt2a_rearranged(frame[["kmt2a_r"]]).tolist() == [False, True, False, False, False]


def test_at_timepoint_takes_the_fullest_and_names_those_there_are() -> None:
    levels = pd.DataFrame(
        {
            "patient_id": ["a", "b", "a"],
            "timepoint": ["day 29", "day 29", "day 8"],
            "level": [0.0, 2e-3, 0.4],
            "limit_of_detection": [1e-3, 1e-3, np.nan],
            "category": [np.nan] * 3,
        }
    )
    name, positive = mrd.at_timepoint(levels)
    assert name == "day 29" and positive["b"] == 1 and np.isnan(positive["a"])
    assert mrd.at_timepoint(levels, "day 8")[1].to_dict() == {"a": 1.0}
    assert mrd.at_timepoint(levels, "Day_8")[0] == "day 8"
    assert mrd.at_timepoint(levels, " * ")[0] == mrd.at_timepoint(levels, " ")[0] == "day 29"
    with pytest.raises(ValueError, match="day 29, day 8"):
        mrd.at_timepoint(levels, "day 43")
    bare = mrd.at_timepoint(levels[["patient_id", "timepoint", "level"]])[1]
    assert bare.to_dict() == {"a": 0.0, "b": 1.0}

"""The signature: its recipe, its score, and what cross-validation and shuffling say of it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballbook import signature
from ballbook.gene_screen import score_screen
from ballbook.genesets import singscore
from ballbook.ordinal import proportional_odds
from ballbook.signature import Discovery, Recipe
from ballbook.trees import area_under_curve

SMALL = Recipe(n_genes=20)
ODDS = Recipe(n_genes=20, direction="odds")


def expression(y: np.ndarray, *, effect: float, genes: int = 300, seed: int = 1) -> pd.DataFrame:
    """Return genes x patients of whom the first thirty go with the class."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(size=(genes, y.size)), index=[f"g{i}" for i in range(genes)])
    table.columns = [f"p{i}" for i in range(y.size)]
    table.iloc[:15] += effect * y
    table.iloc[15:30] -= effect * y
    return table


@pytest.fixture(scope="module")
def classes() -> np.ndarray:
    return np.random.default_rng(2).permutation(np.repeat([0, 1, 2], [50, 30, 20]))


def test_a_real_signature_is_found_and_holds(classes: np.ndarray) -> None:
    data = Discovery(expression(classes, effect=0.8), classes)
    for recipe in (SMALL, ODDS):
        found = data.learn(recipe)
        ups, downs = {f"g{i}" for i in range(15)}, {f"g{i}" for i in range(15, 30)}
        assert len(set(found.up) & ups) >= 8 and len(set(found.down) & downs) >= 8
        assert not set(found.up) & downs and not set(found.down) & ups
        held = data.cross_validate(recipe, repeats=2).concordance()
        assert held.value is not None and held.value > 0.9
    clusters = data.learn(SMALL).clusters
    assert clusters is not None
    means = pd.Series(classes, index=clusters.index).groupby(clusters).mean()
    assert means.is_monotonic_increasing and len(means) == 3


def test_the_genes_are_those_of_the_screen(classes: np.ndarray) -> None:
    table = expression(classes, effect=0.3)
    found = Discovery(table, classes).learn(ODDS)
    z = score_screen(classes, table)["z"]
    assert found.z.to_numpy() == pytest.approx(z.to_numpy(), rel=1e-9)
    strongest = z.abs().sort_values(ascending=False).index[:20]
    assert set(found.up) | set(found.down) == set(strongest)
    assert all(z[g] > 0 for g in found.up) and all(z[g] < 0 for g in found.down)
    assert found.genes["gene"].tolist()[0] == strongest[0]


def test_the_score_is_singscore_with_or_without_the_signature_at_hand(classes: np.ndarray) -> None:
    table = expression(classes, effect=0.5)
    data = Discovery(table, classes)
    found = data.learn(SMALL)
    expected = singscore(table, found.up, found.down)
    assert data.apparent(SMALL) == pytest.approx(expected.to_numpy(), rel=1e-12)
    assert found.score(table).to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-12)
    # Genes beyond those that were screened do not change a score.
    extra = pd.DataFrame(9.0, index=["other"], columns=table.columns)
    assert found.score(pd.concat([table, extra])).equals(found.score(table))
    few = table.drop(index=list(found.up))
    assert found.measured(few)["up"] == 0
    with pytest.raises(ValueError, match="no up gene"):
        found.score(few)


def test_nothing_related_looks_good_on_its_own_patients_and_not_on_others() -> None:
    """The circularity itself: 300 genes of noise."""
    y = np.repeat([0, 1, 2], [40, 20, 15])
    data = Discovery(expression(y, effect=0.0, seed=5), y)
    shuffled = data.permute(SMALL, n_permutations=30, repeats=1, seed=3)
    assert shuffled["apparent"].median() > 0.75
    assert shuffled["cross_validated"].mean() == pytest.approx(0.5, abs=0.06)
    assert (shuffled["cluster_p"] < 0.05).mean() > 0.6
    assert shuffled["log_odds"].mean() == pytest.approx(0, abs=0.25)
    drawn = data.by_chance([25, 15, 10], SMALL, n_draws=30, seed=4)
    assert (drawn["cluster_p"] < 0.05).mean() > 0.6
    assert (drawn["apparent"] > 0.6).all()


def test_screening_before_the_folds_would_be_seen(classes: np.ndarray) -> None:
    """The same folds with genes chosen by all patients: the error that the module avoids."""
    y = np.repeat([0, 1, 2], [40, 20, 15])
    data = Discovery(expression(y, effect=0.0, seed=8), y)
    right = data.cross_validate(ODDS, repeats=3, seed=1)
    signs = data.learn(ODDS)
    wrong = signature.concordance(signs.score(expression(y, effect=0.0, seed=8)), y)
    assert right.concordance().value is not None and wrong.value is not None
    assert right.concordance().value < 0.65 < 0.75 < wrong.value


def test_within_groups_a_subtype_is_no_finding() -> None:
    """Genes that mark a subtype which clears slowly: found over all, not within."""
    rng = np.random.default_rng(4)
    group = np.repeat(["a", "b"], 60)
    y = np.where(
        group == "a", rng.choice(3, 120, p=[0.8, 0.15, 0.05]), rng.choice(3, 120, p=[0.2, 0.4, 0.4])
    )
    table = pd.DataFrame(rng.normal(size=(200, 120)))
    table.iloc[:30] += 1.5 * (group == "b")
    everyone = Discovery(table, y).cross_validate(SMALL, repeats=2)
    inside = Discovery(table, y, group, pd.DataFrame({"age": rng.gamma(2, 4, 120)}))
    held = inside.cross_validate(ODDS, repeats=2).concordance(inside.group)
    over, same = everyone.concordance(), everyone.concordance(inside.group)
    assert over.value is not None and over.value > 0.68
    assert same.value is not None and same.value == pytest.approx(0.5, abs=0.12)
    assert held.value is not None and held.value == pytest.approx(0.5, abs=0.15)


def test_two_runs_are_one(classes: np.ndarray) -> None:
    data = Discovery(expression(classes, effect=0.2), classes)
    one, two = (data.cross_validate(SMALL, repeats=2, seed=9) for _ in range(2))
    assert np.array_equal(one.scores, two.scores)
    a, b = (data.permute(SMALL, n_permutations=3, repeats=1, seed=9) for _ in range(2))
    pd.testing.assert_frame_equal(a, b)
    other = data.cross_validate(SMALL, repeats=2, seed=10)
    assert not np.array_equal(one.parts, other.parts)


def test_folds_hold_every_class_evenly(classes: np.ndarray) -> None:
    data = Discovery(expression(classes, effect=0.2), classes)
    found = data.cross_validate(SMALL, k=5, repeats=2)
    for r in range(2):
        counts = pd.crosstab(found.parts[:, r], classes)
        assert (counts.max() - counts.min()).max() <= 1
    assert np.isfinite(found.scores).all()
    assert found.score.mean() == pytest.approx(0, abs=1e-12)


# --------------------------------------------------------------------------------- concordance


def test_concordance_of_two_classes_is_the_area_under_the_curve() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [40, 25])
    s = rng.normal(size=65) + 0.7 * y
    ours, theirs = signature.concordance(s, y), area_under_curve(s, y == 1)
    assert ours.value == pytest.approx(theirs.value, abs=1e-12)
    assert [ours.ci_low, ours.ci_high] == pytest.approx([theirs.ci_low, theirs.ci_high], abs=1e-9)


@given(st.integers(0, 10_000))
def test_concordance_counts_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, s = rng.integers(0, 3, 14), rng.integers(0, 5, 14).astype(float)
    part, group = rng.integers(0, 2, 14), rng.integers(0, 2, 14)
    won = pairs = 0.0
    for i in range(14):
        for j in range(14):
            if y[i] > y[j] and part[i] == part[j] and group[i] == group[j]:
                pairs += 1
                won += 1.0 if s[i] > s[j] else 0.5 if s[i] == s[j] else 0.0
    found = signature.concordance(s, y, parts=part, within=group)
    if not pairs:
        assert found.value is None and found.reason
    else:
        assert found.value == pytest.approx(won / pairs)


def test_interval_of_the_concordance_covers() -> None:
    rng = np.random.default_rng(6)
    y = np.repeat([0, 1, 2], [40, 20, 15])
    truth = np.mean(
        [signature.concordance(rng.normal(size=75) + 0.5 * y, y).value for _ in range(400)]  # type: ignore[list-item]
    )
    hit = 0
    for _ in range(400):
        e = signature.concordance(rng.normal(size=75) + 0.5 * y, y)
        assert e.ci_low is not None and e.ci_high is not None
        hit += e.ci_low <= truth <= e.ci_high
    assert hit / 400 == pytest.approx(0.945, abs=0.03)


def test_somers_d_and_widening() -> None:
    y = np.repeat([0, 1], 20)
    e = signature.concordance(np.arange(40.0) % 27, y)
    d = signature.somers_d(e)
    assert e.value is not None and d.value == pytest.approx(2 * e.value - 1)
    assert d.kind == "correlation"
    wide = signature.widened(e, np.random.default_rng(0).normal(0.5, 0.3, 99))
    assert wide.ci_low is not None and e.ci_low is not None and wide.ci_low < e.ci_low
    assert signature.widened(e, np.full(99, 0.5)) is e


def test_odds_ratio_takes_the_larger_error() -> None:
    rng = np.random.default_rng(1)
    null = rng.normal(0, 0.5, 199)
    wide = signature.calibrated_odds_ratio((0.8, 0.2), null, n=100)
    spread = math.sqrt(np.mean(null**2))
    assert wide.value == pytest.approx(math.exp(0.8))
    assert wide.ci_low == pytest.approx(math.exp(0.8 - 1.959964 * spread), rel=1e-5)
    assert wide.p_value == pytest.approx((np.sum(np.abs(null) >= 0.8) + 1) / 200)
    narrow = signature.calibrated_odds_ratio((0.8, 0.7), null)
    assert narrow.ci_low == pytest.approx(math.exp(0.8 - 1.959964 * 0.7), rel=1e-5)
    assert signature.calibrated_odds_ratio((math.nan, math.nan), null).value is None


def test_log_odds_are_those_of_the_model(classes: np.ndarray) -> None:
    data = Discovery(expression(classes, effect=0.2), classes)
    found = data.cross_validate(SMALL, repeats=2)
    fitted = proportional_odds(classes, pd.DataFrame({"score": found.score})).table.iloc[0]
    assert data.log_odds(found) == pytest.approx((fitted["coef"], fitted["se"]), rel=1e-7)


# ------------------------------------------------------------------------------ other patients


def test_applying_learns_nothing_and_withholds_small_classes(classes: np.ndarray) -> None:
    rng = np.random.default_rng(9)
    ids = [f"n{i}" for i in range(100)]
    score = pd.Series(rng.normal(size=100) + 0.6 * classes, index=ids)
    y = pd.Series(classes.astype(float), index=ids)
    group = pd.Series(["a", "b", "c", "d"] * 25, index=ids)
    found = signature.apply(score, y, group, minimum=5)
    per_sd = ((score - score.mean()) / score.std(ddof=0)).to_numpy()
    model = proportional_odds(classes, pd.DataFrame({"s": per_sd}))
    assert found.odds_ratio.value == pytest.approx(model.odds_ratio("s").value, rel=1e-9)
    assert (found.odds_ratio.n, found.odds_ratio.n_events) == (100, 50)
    dummies = pd.get_dummies(group).astype(float).drop(columns="a").reset_index(drop=True)
    within = proportional_odds(classes, dummies.assign(s=per_sd)).odds_ratio("s")
    assert found.adjusted.value == pytest.approx(within.value, rel=1e-6)
    assert found.parallel is not None and 0 <= found.parallel <= 1
    y[y > 0] = np.nan
    y.iloc[:3] = 1.0
    few = signature.apply(score, y, group, minimum=5)
    assert few.odds_ratio.value is None and few.odds_ratio.n is None
    assert "fewer than 5" in str(few.odds_ratio.reason)
    nobody = signature.apply(score * np.nan, y, None)
    assert nobody.concordance.value is None
    same = signature.apply(score * 0, pd.Series(classes, index=ids, dtype=float), None)
    assert "same score" in str(same.odds_ratio.reason)


@pytest.mark.parametrize(
    ("codes", "said"),
    [([0, 0, 0, 0], "same class"), ([0, 2, 2, 0], "without gaps"), ([0, 1], "2 classes for 4")],
)
def test_wrong_classes_are_refused(codes: list[int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Discovery(pd.DataFrame(np.eye(4)), codes)


def test_more_patients_than_there_are_cannot_be_drawn() -> None:
    y = np.array([0, 0, 1, 1])
    with pytest.raises(ValueError, match="cannot be drawn"):
        Discovery(pd.DataFrame(np.eye(4)), y).by_chance([4, 3])

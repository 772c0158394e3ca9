"""Proportional odds on many genes, and sets of genes: against R, and against one gene at a time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from golden_cases import Flat, check, read
from scipy import stats

from ballbook import enrichment, gene_screen, ordinal

Cohort = tuple[np.ndarray, pd.DataFrame, pd.DataFrame]


def _one_gene(gene: str, values: list[float], covariates: Any) -> tuple[pd.DataFrame, Any]:
    table = pd.DataFrame([values], index=[gene])
    return table, None if not covariates else pd.DataFrame(covariates).astype(float)


def fit(gene: str, y: list[int], values: list[float], covariates: Any = None) -> Flat:
    table, z = _one_gene(gene, values, covariates)
    return dict(gene_screen.fit_screen(y, table, z).loc[gene])


def score(gene: str, y: list[int], values: list[float], covariates: Any = None) -> Flat:
    table, z = _one_gene(gene, values, covariates)
    return dict(gene_screen.score_screen(y, table, z).loc[gene])


def correlation(residuals: list[list[float]]) -> Flat:
    return {"value": enrichment.gene_correlation(np.array(residuals))}


def camera(z: list[float], members: list[int], correlation: float) -> Flat:
    """Feed camera residuals whose mean correlation is the wanted one."""
    inside = np.zeros(len(z), dtype=bool)
    inside[members] = True
    member = pd.DataFrame({"set": inside})
    residuals = None
    if correlation:
        # Rows that share one factor: u' u / n = rho for all pairs.
        m = len(members)
        target = np.full((m, m), correlation) + (1 - correlation) * np.eye(m)
        shared = np.zeros((len(z), m))
        shared[members] = np.linalg.cholesky(target)
        residuals = shared
    return dict(enrichment.camera(pd.Series(z), member, residuals).loc["set"])


ESTIMATORS: dict[str, Callable[..., Flat]] = {
    "fit": fit,
    "score": score,
    "correlation": correlation,
    "camera": camera,
}


@pytest.mark.parametrize("case", read("gene_screen"))
def test_agrees_with_r(case: dict[str, Any]) -> None:
    check(case, ESTIMATORS)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    rng = np.random.default_rng(7)
    y = np.repeat([0, 1, 2], [60, 25, 15])
    table = pd.DataFrame(rng.normal(size=(40, 100)), index=[f"g{i}" for i in range(40)])
    table.iloc[:5] += 0.9 * y
    z = pd.DataFrame({"age": rng.gamma(2, 4, 100), "male": rng.integers(0, 2, 100).astype(float)})
    return y, table, z


@pytest.mark.parametrize("adjusted", [False, True])
def test_every_gene_is_fitted_as_if_alone(cohort: Cohort, adjusted: bool) -> None:
    y, table, z = cohort
    found = gene_screen.fit_screen(y, table, z if adjusted else None)
    for gene in table.index[[0, 3, 17, 39]]:
        values = table.loc[gene].to_numpy()
        x = (values - values.mean()) / values.std()
        design = z.assign(x=x) if adjusted else pd.DataFrame({"x": x})
        alone = ordinal.proportional_odds(y, design).odds_ratio("x", profile=True)
        wald = ordinal.proportional_odds(y, design).odds_ratio("x")
        row = found.loc[gene]
        assert row["odds_ratio"] == pytest.approx(alone.value, rel=1e-9)
        assert row["statistic"] == pytest.approx(alone.statistic, rel=1e-8, abs=1e-9)
        assert [row["ci_low"], row["ci_high"]] == pytest.approx(
            [wald.ci_low, wald.ci_high], rel=1e-8
        )
    assert found["finite"].all()
    assert (found["q_value"] >= found["p_value"]).all()


def test_score_test_of_two_classes_without_covariates_is_the_trend_test(cohort: Cohort) -> None:
    """With two classes the score test of logistic regression is n r² (Cochran-Armitage)."""
    y, table, _ = cohort
    two = (y > 0).astype(int)
    z = gene_screen.score_screen(two, table)["z"]
    r = table.apply(lambda row: np.corrcoef(row, two)[0, 1], axis=1)
    assert z.to_numpy() == pytest.approx(np.sqrt(len(y)) * r.to_numpy(), rel=1e-10)


def test_score_and_likelihood_ratio_agree_where_effects_are_small(cohort: Cohort) -> None:
    y, table, z = cohort
    scored, fitted = gene_screen.score_screen(y, table, z), gene_screen.fit_screen(y, table, z)
    weak = scored["z"].abs() < 1.5
    assert weak.sum() > 20
    drop = fitted.loc[weak, "statistic"]
    assert np.abs(scored.loc[weak, "z"] ** 2 - drop).max() < 0.12
    assert (np.sign(scored["z"]) == np.sign(fitted["coef"])).all()


def test_scale_shift_and_order_of_patients_do_not_matter(cohort: Cohort) -> None:
    y, table, z = cohort
    order = np.random.default_rng(1).permutation(100)
    again = gene_screen.fit_screen(y[order], table.iloc[:, order] * 7 - 3, z.iloc[order])
    first = gene_screen.fit_screen(y, table, z)
    assert again["coef"].to_numpy() == pytest.approx(first["coef"].to_numpy(), rel=1e-8)


def test_hard_genes(cohort: Cohort) -> None:
    y, table, z = cohort
    hard = table.iloc[:3].copy()
    hard.loc["constant"] = 4.2
    hard.loc["separates"] = y.astype(float)
    hard.loc["a covariate"] = z["male"].to_numpy() * 2
    found = gene_screen.fit_screen(y, hard)
    assert not found.loc["separates", "finite"]
    assert np.isnan(found.loc["separates", "odds_ratio"])
    shares = np.bincount(y) / 100
    assert found.loc["separates", "statistic"] == pytest.approx(
        -200 * (shares * np.log(shares)).sum(), rel=1e-6
    )
    assert found.loc["constant", ["coef", "p_value", "q_value"]].isna().all()
    assert found.loc["g0", "q_value"] > found.loc["g0", "p_value"]
    scored = gene_screen.score_screen(y, hard, z)
    assert np.isnan(scored.loc["constant", "z"]) and np.isnan(scored.loc["a covariate", "z"])


def test_groups_in_one_end_class_add_nothing() -> None:
    rng = np.random.default_rng(3)
    y = np.concatenate([rng.integers(0, 3, 80), np.zeros(9, int), np.full(4, 2), np.full(4, 1)])
    group = np.array(["a", "b"] * 40 + ["low"] * 9 + ["high"] * 4 + ["middle"] * 4)
    out = gene_screen.determined(y, group)
    assert out.sum() == 13 and set(group[out]) == {"low", "high"}
    table = pd.DataFrame(rng.normal(size=(6, 97)))
    dummies = pd.get_dummies(pd.Series(group)).astype(float).drop(columns="a")
    kept = gene_screen.fit_screen(
        y[~out], table.loc[:, ~out], dummies.loc[~out, ["b", "middle"]].reset_index(drop=True)
    )
    assert kept["finite"].all()
    # With both groups at coefficients of 30 the gene's odds are those without these patients.
    for gene in table.index:
        x = (table.loc[gene] - table.loc[gene, ~out].mean()) / table.loc[gene, ~out].std(ddof=0)
        far = 30.0 * (group == "high") - 30.0 * (group == "low")
        cut = kept.loc[gene, "coef"] * x.to_numpy() + far
        likely = np.where(group == "high", stats.logistic.sf(-cut), stats.logistic.sf(cut))
        assert (1 - likely[out]).max() < 1e-9
    with pytest.raises(ValueError, match="separate"):
        gene_screen.fit_screen(y, table, dummies)


@pytest.mark.parametrize(
    ("y", "values", "said"),
    [
        ([0, 0, 0], [[1.0, 2.0, 3.0]], "same level"),
        ([0, 1, 2], [[1.0, np.nan, 3.0]], "no finite number"),
        ([0, 1, 2], [["a", "b", "c"]], "text"),
        ([0, 1], [[1.0, 2.0, 3.0]], "y"),
        ([0], [[1.0]], "two patients|same level"),
    ],
)
def test_wrong_input_is_refused(y: list[int], values: list[Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        gene_screen.fit_screen(y, pd.DataFrame(values))


def test_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="not among the levels"):
        gene_screen.score_screen(
            ["fast", "slow", "odd"], pd.DataFrame([[1.0, 2, 3]]), levels=["fast", "slow"]
        )


def test_twenty_thousand_genes_take_seconds() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(20_000, 124)))
    y = np.repeat([0, 1, 2], [88, 27, 9])
    start = time.process_time()
    scored = gene_screen.score_screen(y, table)
    fitted = gene_screen.fit_screen(y, table)
    assert time.process_time() - start < 20
    # Nothing is related: P values are uniform, for the screen as for the fit.
    for p in (scored["p_value"], fitted["p_value"]):
        assert stats.kstest(p, "uniform").pvalue > 1e-4
        assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.012)


# -------------------------------------------------------------------------------- sets of genes


def test_membership_leaves_out_sets_of_unfit_size() -> None:
    genes = pd.Index([f"g{i}" for i in range(30)])
    sets = {"small": genes[:3], "fit": [*genes[:12], "absent"], "large": genes[:25]}
    member = enrichment.membership(genes, sets, smallest=5, largest=20)
    assert list(member) == ["fit"] and member["fit"].sum() == 12


def test_permutation_equals_a_slow_one(cohort: Cohort) -> None:
    y, table, _ = cohort
    member = pd.DataFrame({"five": [i < 5 for i in range(40)], "rest": [i > 20 for i in range(40)]})
    member.index = table.index
    found = enrichment.permutation_enrichment(table, y, member, n_permutations=60, seed=5)

    def differences(labels: np.ndarray) -> pd.DataFrame:
        z = gene_screen.score_screen(labels, table)["z"]
        parts = {}
        for name in member:
            inside = member[name]
            parts[name] = [
                z[inside].mean() - z[~inside].mean(),
                z[inside].abs().mean() - z[~inside].abs().mean(),
            ]
        return pd.DataFrame(parts, index=["direction", "strength"])

    streams = np.random.default_rng(5).spawn(60)
    null = [differences(s.permutation(y)) for s in streams]
    mean = sum(null[1:], null[0]) / 60
    seen = differences(y)
    for name, measure in itertools.product(member, ("direction", "strength")):
        effect = seen.loc[measure, name] - mean.loc[measure, name]
        assert found.loc[name, measure] == pytest.approx(effect, abs=1e-9)
        centred = np.array([n.loc[measure, name] for n in null]) - mean.loc[measure, name]
        beyond = np.abs(centred) >= abs(effect) if measure == "direction" else centred >= effect
        assert found.loc[name, f"{measure}_p"] == pytest.approx((beyond.sum() + 1) / 61)
        assert found.loc[name, f"{measure}_high"] == pytest.approx(
            effect - np.quantile(centred, 0.025), abs=1e-9
        )
    assert found.loc["five", "direction"] > 1 and found.loc["five", "direction_low"] > 0
    assert found.loc["five", "strength_p"] == pytest.approx(1 / 61)


def test_correlated_genes_do_not_pass_for_many() -> None:
    """A set of 40 copies of one gene has the evidence of one gene."""
    rng = np.random.default_rng(11)
    p_shuffle, p_independent = [], []
    for _ in range(30):
        one = rng.normal(size=60)
        values = np.vstack([one + 0.15 * rng.normal(size=(40, 60)), rng.normal(size=(160, 60))])
        table = pd.DataFrame(values)
        y = rng.permutation(np.repeat([0, 1], 30))
        member = pd.DataFrame({"copies": np.arange(200) < 40})
        found = enrichment.permutation_enrichment(table, y, member, n_permutations=99, seed=1)
        p_shuffle.append(found.loc["copies", "direction_p"])
        z = gene_screen.score_screen(y, table)["z"]
        p_independent.append(enrichment.camera(z, member).loc["copies", "p_value"])
    assert np.mean(np.array(p_shuffle) < 0.05) < 0.2
    assert np.mean(np.array(p_independent) < 0.05) > 0.4


def test_camera_refuses_a_gene_without_a_statistic() -> None:
    member = pd.DataFrame({"set": [True, True, False, False]})
    with pytest.raises(ValueError, match="every gene needs a statistic"):
        enrichment.camera(pd.Series([0.1, np.nan, 1.0, 2.0]), member)

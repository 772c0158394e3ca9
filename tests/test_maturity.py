"""Stage scores and the maturity slope: against R on real cohorts, and by their properties."""

from __future__ import annotations

import bisect
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from ballbook import datasets, genesets, maturity
from ballbook.genesets import GeneSet
from ballbook.meta_analysis import random_effects
from ballbook.results import Estimate

BOUND = math.sqrt(60) / 10


@pytest.fixture
def reference(shared_data: Path) -> maturity.StageReference:
    folder = shared_data / "omics/allcatchr"
    return maturity.StageReference(
        sets=genesets.parse_gmt((folder / "bstage_gene_sets.gmt").read_text("utf8")),
        background=tuple((folder / "bstage_background_genes.txt").read_text("utf8").split()),
        cds_length=pd.read_csv(folder / "cds_length.csv.gz", index_col="gene")["cds_length"],
    )


@pytest.fixture
def toy() -> tuple[pd.DataFrame, maturity.StageReference]:
    """20 samples of 200 genes and seven stages with ten up and five down genes each."""
    rng = np.random.default_rng(5)
    genes = [f"g{i}" for i in range(200)]
    counts = pd.DataFrame(
        rng.negative_binomial(2, 0.02, (200, 20)), index=genes, columns=[f"s{i}" for i in range(20)]
    )
    sets = {
        stage: GeneSet(tuple(genes[15 * i : 15 * i + 10]), tuple(genes[15 * i + 10 : 15 * i + 15]))
        for i, stage in enumerate(maturity.STAGES)
    }
    lengths = pd.Series(rng.integers(300, 5000, 200), index=genes)
    return counts, maturity.StageReference(sets, tuple(genes), lengths)


def test_chiaretti_stage_scores_and_slopes_equal_r(
    shared_data: Path, reference: maturity.StageReference, golden: Any
) -> None:
    folder = shared_data / "omics/chiaretti-all"
    arrays_ = pd.read_csv(folder / "rma_log2_12625x128.csv.gz", index_col=0)
    symbols = pd.read_csv(folder / "hgu95av2_probe_symbol.csv", index_col="probe")["current_symbol"]
    genes = maturity.one_probe_per_gene(arrays_, symbols)
    r = golden("genesets")["chiaretti"]
    raw = maturity.maturity(genes, "log2", reference, scaling="none")
    assert len(maturity.comparable(genes, "log2", reference)) == r["n_genes"]
    expected = pd.DataFrame(r["raw"], index=r["samples"])[list(maturity.STAGES)]
    np.testing.assert_allclose(raw[list(maturity.STAGES)], expected, rtol=1e-9, atol=1e-12)
    slope = maturity.maturity(genes, "log2", reference)["maturity"]
    np.testing.assert_allclose(slope, r["slope"], rtol=1e-9, atol=1e-12)


def test_counts_become_the_slopes_of_r(
    shared_data: Path, reference: maturity.StageReference, golden: Any
) -> None:
    counts = pd.read_csv(shared_data / "omics/geo-gse133499/counts_42.csv.gz", index_col="symbol")
    r = golden("genesets")["gse133499"]
    found = maturity.maturity(counts[r["samples"]], "counts", reference)["maturity"]
    np.testing.assert_allclose(found, r["slope"], rtol=1e-9, atol=1e-12)


@given(arrays(float, (4, 7), elements=st.floats(-1, 1, allow_subnormal=False)))
@settings(max_examples=200, deadline=None)
def test_slope_stays_within_its_bound(values: np.ndarray) -> None:
    scores = pd.DataFrame(values, columns=list(maturity.STAGES))
    slope = maturity.maturity_slope(maturity.scaled(scores)).dropna()
    assert (slope.abs() <= BOUND + 1e-9).all()
    five = maturity.maturity_slope(maturity.scaled(scores, "within-sample-5")).dropna()
    assert (five.abs() <= maturity.slope_bound(5) + 1e-9).all()


def test_bound_is_reached_by_a_straight_line() -> None:
    assert maturity.slope_bound() == pytest.approx(BOUND)
    assert maturity.slope_bound(5) == pytest.approx(math.sqrt(40) / 10)
    line = pd.DataFrame([[0, -2, -1, 0, 1, 2, 0]], columns=list(maturity.STAGES), dtype=float)
    assert maturity.maturity_slope(maturity.scaled(line))[0] == pytest.approx(BOUND)


@given(
    arrays(float, (3, 5), elements=st.floats(-5, 5)),
    st.lists(st.floats(-3, 3), min_size=5, max_size=5, unique=True),
)
@settings(max_examples=100, deadline=None)
def test_slope_is_the_least_squares_slope(values: np.ndarray, positions: list[float]) -> None:
    if np.ptp(positions) < 1e-3:
        return
    scores = pd.DataFrame(values, columns=list(maturity.B_STAGES))
    found = maturity.maturity_slope(scores, positions=positions)
    for i in scores.index:
        assert found[i] == pytest.approx(np.polyfit(positions, values[i], 1)[0], rel=1e-6, abs=1e-6)


def test_slope_ignores_the_origin_and_follows_the_unit_of_the_positions() -> None:
    scores = pd.DataFrame(np.random.default_rng(0).normal(size=(6, 5)), columns=maturity.B_STAGES)
    base = maturity.maturity_slope(scores)
    np.testing.assert_allclose(maturity.maturity_slope(scores, positions=range(1, 6)), base)
    np.testing.assert_allclose(
        maturity.maturity_slope(scores, positions=[0, 0.25, 0.5, 0.75, 1]), 4 * base
    )
    with pytest.raises(ValueError, match="place"):
        maturity.maturity_slope(scores, positions=[1, 1, 1, 1, 1])


def test_reversed_stages_change_the_sign() -> None:
    scores = pd.DataFrame(np.random.default_rng(0).normal(size=(6, 7)), columns=maturity.STAGES)
    forward = maturity.maturity_slope(scores)
    np.testing.assert_allclose(maturity.maturity_slope(scores, maturity.B_STAGES[::-1]), -forward)


def test_maturity_of_counts_ignores_depth_and_equals_that_of_their_tpm(
    toy: tuple[pd.DataFrame, maturity.StageReference],
) -> None:
    counts, reference = toy
    slope = maturity.maturity(counts, "counts", reference)["maturity"]
    np.testing.assert_allclose(
        maturity.maturity(counts * 17, "counts", reference)["maturity"], slope
    )
    as_tpm = maturity.tpm(counts, reference.cds_length)
    for values, kind in ((as_tpm, "tpm"), (np.log2(as_tpm + 1), "log2")):
        np.testing.assert_allclose(maturity.maturity(values, kind, reference)["maturity"], slope)
    assert not np.allclose(maturity.maturity(counts, "log2", reference)["maturity"], slope)


def test_tpm_adds_to_a_million_and_refuses_what_is_no_count(
    toy: tuple[pd.DataFrame, maturity.StageReference],
) -> None:
    counts, reference = toy
    np.testing.assert_allclose(maturity.tpm(counts, reference.cds_length).sum(), 1e6)
    assert len(maturity.tpm(counts, reference.cds_length.iloc[:50])) == 50
    with pytest.raises(ValueError, match="negative"):
        maturity.tpm(counts - 50, reference.cds_length)
    with pytest.raises(ValueError, match="positive"):
        maturity.tpm(counts, reference.cds_length * 0)
    with pytest.raises(ValueError, match=r"no reads.*'s3'"):
        maturity.tpm(counts.assign(s3=0), reference.cds_length)


@pytest.mark.parametrize("scaling", get_args(maturity.Scaling))
@pytest.mark.parametrize("scorer", get_args(maturity.Scorer))
@pytest.mark.parametrize("centre_genes", [False, True])
def test_every_scaling_and_scorer_finds_a_sample_made_mature(
    toy: tuple[pd.DataFrame, maturity.StageReference], scaling: Any, scorer: Any, centre_genes: bool
) -> None:
    counts, reference = toy
    counts = counts.copy()
    counts.loc[list(reference.sets["Immature"].up), "s0"] *= 40
    counts.loc[list(reference.sets["Pro.B"].up), "s1"] *= 40
    slope = maturity.maturity(
        counts, "counts", reference, scaling=scaling, scorer=scorer, centre_genes=centre_genes
    )["maturity"]
    assert slope["s0"] > slope.drop(["s0", "s1"]).median() > slope["s1"]


def test_a_stage_with_too_few_genes_is_not_scored(
    toy: tuple[pd.DataFrame, maturity.StageReference],
) -> None:
    counts, reference = toy
    short = counts.drop(index=list(reference.sets["Immature"].up[:7]))
    found = maturity.maturity(short, "counts", reference)
    assert found["Immature"].isna().all()
    assert found["maturity"].isna().all()
    assert maturity.maturity(short, "counts", reference, min_genes=3)["maturity"].notna().all()


def test_unknown_gene_names_are_refused(toy: tuple[pd.DataFrame, maturity.StageReference]) -> None:
    counts, reference = toy
    with pytest.raises(ValueError, match="symbols"):
        maturity.maturity(counts.rename(index="ENSG{}".format), "counts", reference)


def test_probe_rules_choose_as_named() -> None:
    table = pd.DataFrame(
        {"s": [1.0, 9.0, 5.0, 2.0], "t": [2.0, 9.1, 1.0, 2.0]}, index=["p1", "p2", "p3", "p4"]
    )
    symbols = pd.Series({"p1": "A", "p2": "A", "p3": "A", "p4": None})
    rules = {"most-expressed": 9.0, "most-variable": 5.0, "median": 5.0}
    for rule, expected in rules.items():
        found = maturity.one_probe_per_gene(table, symbols, rule)  # type: ignore[arg-type]
        assert list(found.index) == ["A"]
        assert found.loc["A", "s"] == expected


def test_age_groups_are_those_of_the_paper() -> None:
    ages = pd.Series([0.0, 0.99, 1.0, 17.9, 18.0, 54.9, 55.0, 89.0, np.nan])
    expected = ["under 1"] * 2 + ["1 to 17"] * 2 + ["18 to 54"] * 2 + ["55 and over"] * 2
    assert list(maturity.age_group(ages).dropna()) == expected


def chiaretti_slopes(golden: Any, shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    r = golden("genesets")["chiaretti"]
    pheno = pd.read_csv(shared_data / "omics/chiaretti-all/pheno_128.csv", dtype=str)
    pheno = pheno.set_index("sample").loc[r["samples"]]
    slope, b = np.array(r["slope"]), pheno["BT"].str.startswith("B").to_numpy()
    aff1 = (pheno["mol.biol"] == "ALL1/AF4").to_numpy()
    return slope[b & aff1], slope[b & ~aff1]


def test_group_contrast_equals_r(golden: Any, shared_data: Path) -> None:
    aff1, others = chiaretti_slopes(golden, shared_data)
    r = golden("genesets")
    found = maturity.mean_difference(aff1, others)
    welch = r["chiaretti"]["kmt2a"]
    assert found.value == pytest.approx(welch["welch_difference"], rel=1e-9)
    assert [found.ci_low, found.ci_high] == pytest.approx(welch["welch_ci"], rel=1e-9)
    assert found.p_value == pytest.approx(welch["welch_p"], rel=1e-9)
    chance, expected = maturity.chance_lower(aff1, others), r["statistics"]["chance_lower"]
    assert [chance.value, chance.ci_low, chance.ci_high] == pytest.approx(
        [expected["value"], expected["low"], expected["high"]], rel=1e-8
    )


@pytest.mark.parametrize(
    ("x", "y", "key"),
    [([1, 2, 2, 3], [2, 2, 4, 5, 6], "ties"), ([1, 2, 3], [4, 5, 6, 7], "perfect")],
)
def test_chance_lower_in_hard_cases_equals_r(
    x: list[float], y: list[float], key: str, golden: Any
) -> None:
    expected = golden("genesets")["statistics"][f"chance_lower_{key}"]
    found = maturity.chance_lower(x, y)
    assert [found.value, found.ci_low, found.ci_high] == pytest.approx(
        [expected["value"], expected["low"], expected["high"]], rel=1e-6
    )


@given(
    st.lists(st.integers(-5, 5), min_size=2, max_size=12),
    st.lists(st.integers(-5, 5), min_size=2, max_size=12),
)
@settings(max_examples=100, deadline=None)
def test_chance_lower_is_the_share_of_pairs_and_mirrors(x: list[int], y: list[int]) -> None:
    found, mirrored = maturity.chance_lower(x, y), maturity.chance_lower(y, x)
    pairs = [(a < b) + 0.5 * (a == b) for a in x for b in y]
    assert found.value == pytest.approx(float(np.mean(pairs)))
    assert found.value is not None and found.ci_low is not None and found.ci_high is not None
    assert 0 <= found.ci_low <= found.value <= found.ci_high <= 1
    assert mirrored.ci_low == pytest.approx(1 - found.ci_high, abs=1e-6)


def test_contrast_of_one_patient_or_no_spread_is_not_estimable() -> None:
    assert maturity.mean_difference([1.0], [1.0, 2.0]).value is None
    assert maturity.mean_difference([1.0, 1.0], [2.0, 2.0]).reason == "the values do not vary"


def test_variance_explained_inverts_the_anova(golden: Any) -> None:
    found = [
        maturity.variance_explained(2.6e-5, 221, 4),
        maturity.variance_explained(0.0035, 43, 4),
    ]
    assert found == pytest.approx(golden("genesets")["statistics"]["eta_squared"], rel=1e-9)
    for bad in ((0.0, 20, 3), (0.5, 3, 3), (0.5, 20, 1)):
        with pytest.raises(ValueError, match="more values than groups"):
            maturity.variance_explained(*bad)


def test_correlation_power_agrees_with_a_simulation() -> None:
    from scipy import stats

    rng = np.random.default_rng(20260219)
    n, r = 40, 0.4
    x = rng.normal(size=(2000, n))
    y = 2 * np.sin(np.pi / 6 * r) * x
    y += np.sqrt(1 - (2 * np.sin(np.pi / 6 * r)) ** 2) * rng.normal(size=(2000, n))
    seen = np.mean([stats.spearmanr(a, b).pvalue < 0.05 for a, b in zip(x, y, strict=True)])
    assert maturity.correlation_power(r, n) == pytest.approx(float(seen), abs=0.04)
    assert maturity.correlation_power(0.0, 50) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="four patients"):
        maturity.correlation_power(0.5, 3)


def test_pooled_correlation_is_metafors_mean_with_the_wider_interval() -> None:
    """R: metafor 3.8-1, rma(atanh(r), sei = sqrt((1 + r^2/2)/(n - 3)), method = "REML")."""
    found = maturity.pooled_correlation(
        [
            Estimate(kind="correlation", value=r, n=n)
            for r, n in ((-0.33, 36), (-0.05, 10), (-0.5, 31))
        ]
    )
    assert found.value == pytest.approx(-0.3728866297, rel=1e-4)
    # The normal interval, -0.564 to -0.144, is the narrower one.
    assert found.ci_low is not None and found.ci_high is not None
    assert found.ci_low < -0.5637816087 and found.ci_high > -0.1441723121
    assert "Hartung-Knapp" in found.method
    assert found.n == 77
    with pytest.raises(ValueError, match="four patients"):
        maturity.pooled_correlation([Estimate(kind="correlation", value=0.2, n=3)])


def test_average_difference_recovers_the_errors_and_takes_the_wider_interval() -> None:
    rng = np.random.default_rng(2)
    parts = [
        maturity.mean_difference(rng.normal(m, 1, 12), rng.normal(0, 1, 20)) for m in (0.2, 0.5, 1)
    ]
    fit = maturity.average_difference(parts)
    assert fit.pooled.n == 96
    errors = fit.weights["std_error"].to_numpy()
    for e, se in zip(parts, errors, strict=True):
        assert e.value is not None
        half = stats.t.isf(0.025, e.df) * se
        assert [e.value - half, e.value + half] == pytest.approx([e.ci_low, e.ci_high])
    normal = random_effects(
        [e.value for e in parts], errors, knapp_hartung=False, kind="difference"
    ).pooled
    assert fit.pooled.value == pytest.approx(normal.value)
    wide, narrow = (np.array([e.ci_low, e.ci_high], float) for e in (fit.pooled, normal))
    assert wide[0] <= narrow[0] and wide[1] >= narrow[1]
    with pytest.raises(ValueError, match="standard error"):
        maturity.average_difference([replace(parts[0], value=0.0, statistic=0.0), parts[1]])


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=60), st.integers(0, 8))
def test_joined_groups_are_never_smaller_than_the_minimum(labels: list[str], minimum: int) -> None:
    joined = maturity.join_small(pd.Series(labels), minimum)
    sizes = joined.value_counts()
    assert sizes.sum() == len(labels)
    assert len(sizes) == 1 or sizes.min() >= minimum
    before = pd.Series(labels).value_counts()
    if before.min() >= minimum:
        assert joined.tolist() == labels


def rederived_slopes(expression: pd.DataFrame, kind: str, genes: Any) -> pd.DataFrame:
    """Return stage scores and slope gene by gene, from the formulae of singscore and ALLCatchR.

    Ranks by counting smaller values (R's ``ties.method = "min"``); mean rank of a set between its
    smallest and largest possible mean, centred; down sets on reversed ranks; z over seven stages;
    slope of a straight line by the normal equations. Shares no code with the library.
    """
    wanted = set(genes.background)
    rows = [g for g in expression.index if g in wanted]
    found = {}
    for sample in expression.columns:
        values = {g: float(expression.at[g, sample]) for g in rows}
        if kind == "counts":
            length = {g: float(genes.cds_length[g]) for g in rows}
            rate = {g: values[g] / length[g] for g in rows}
            values = {g: 1e6 * rate[g] / sum(rate.values()) for g in rows}
        ordered = sorted(values.values())
        n = len(ordered)
        rank = {g: bisect.bisect_left(ordered, v) + 1 for g, v in values.items()}
        totals = []
        for stage in (
            "HSC",
            "Pro.B",
            "Pre.B.I",
            "Pre.B.II.Large",
            "Pre.B.II.Small",
            "Immature",
            "Most",
        ):
            up, down = (set(part) & set(rows) for part in genes.sets[stage])
            total = 0.0
            for members, reverse in ((up, False), (down, True)):
                if not members:
                    continue
                k = len(members)
                mean = sum(n - rank[g] + 1 if reverse else rank[g] for g in members) / k
                low, high = (k + 1) / 2, (2 * n - k + 1) / 2
                total += (mean - low) / (high - low) - 0.5
            totals.append(total)
        centre = sum(totals) / 7
        spread = math.sqrt(sum((t - centre) ** 2 for t in totals) / 6)
        z = [(t - centre) / spread for t in totals]
        found[sample] = [*z, sum((i - 2) * v for i, v in enumerate(z[1:6])) / 10]
    return pd.DataFrame(found, index=[*maturity.STAGES, "maturity"]).T


@pytest.mark.parametrize("id", ["chiaretti-2004", "dfci-gse181157", "krali-2023", "gse133499"])
def test_stage_scores_agree_with_formulae_written_out_here(id: str, shared_data: Path) -> None:
    cohort, genes = datasets.load(id), datasets.load("allcatchr-stages")
    assert cohort.expression is not None and cohort.expression_kind is not None
    samples = list(cohort.expression.columns)[:: max(1, cohort.expression.shape[1] // 12)]
    table = datasets.with_symbols(cohort.expression, genes)[samples]
    reference = maturity.StageReference(
        {name: GeneSet(*parts) for name, parts in genes.sets.items()},
        genes.background,
        genes.cds_length,
    )
    ours = maturity.maturity(table, cohort.expression_kind, reference)
    theirs = rederived_slopes(table, cohort.expression_kind, genes)
    assert len(ours) >= 12 and ours["maturity"].std() > 0.01
    np.testing.assert_allclose(ours[theirs.columns], theirs.loc[ours.index], rtol=1e-9, atol=1e-12)

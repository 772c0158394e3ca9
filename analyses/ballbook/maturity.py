r"""The maturity of a B-cell precursor leukaemia, read from its gene expression.

Each sample is scored for its proximity to the stages of normal B lymphopoiesis with the gene
sets of ALLCatchR (Beder et al., HemaSphere 2023;7:e939): seven sets, ordered HSC, pro-B, pre-B I,
large pre-B II, small pre-B II, immature B and a last, most mature one. Raw counts become
transcripts per million,

.. math:: \mathrm{TPM}_g = 10^6\, \frac{c_g/L_g}{\sum_h c_h/L_h},

with counts *c* and coding lengths *L*; genes are ranked within the sample over a fixed
background, and each stage gets its singscore total (`ballbook.genesets`). The seven totals
:math:`y_s` are standardised within the sample, :math:`z_s = (y_s - \bar y)/\mathrm{sd}(y)`.

The *maturity score* (Hartmann et al., HemaSphere 2026;10:e70324) is the least-squares slope of
the five B-precursor stages on their order; with :math:`x = (-2, -1, 0, 1, 2)`,

.. math:: b = \frac{\sum_s x_s z_s}{\sum_s x_s^2} = \frac{1}{10}\sum_s x_s z_s .

Low means close to pro-B, high close to immature B. Because :math:`\sum z^2 = 6` over seven
stages, Cauchy-Schwarz bounds the slope by :math:`\sqrt{10\cdot 6}/10 = 0.775`.

ALLCatchR stops at the z-scores, and the paper's legend does not say how the stage scores were
scaled before the line was fitted. The scalings are therefore a choice here, not a given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from ballbook.genesets import GeneSet, coverage, singscores, ssgsea
from ballbook.inputs import as_level, as_vector
from ballbook.rank_tests import chance_interval
from ballbook.results import Estimate, not_estimable

if TYPE_CHECKING:
    from ballbook.meta_analysis import MetaAnalysis

STAGES = (
    "HSC",
    "Pro.B",
    "Pre.B.I",
    "Pre.B.II.Large",
    "Pre.B.II.Small",
    "Immature",
    "Most",
)
B_STAGES = STAGES[1:6]
STAGE_NAMES = {
    "HSC": "stem cell",
    "Pro.B": "pro-B",
    "Pre.B.I": "pre-B I",
    "Pre.B.II.Large": "large pre-B II",
    "Pre.B.II.Small": "small pre-B II",
    "Immature": "immature B",
    "Most": "most mature",
}

ExpressionKind = Literal["counts", "tpm", "log2", "logcpm"]
Scaling = Literal["within-sample-7", "within-sample-5", "min-max", "none", "across-samples"]
Scorer = Literal["singscore", "singscore-up", "ssgsea", "score-genes"]
ProbeRule = Literal["most-expressed", "most-variable", "median"]


@dataclass(frozen=True, slots=True)
class StageReference:
    """What ALLCatchR ships for the stage scores.

    Parameters
    ----------
    sets : mapping of stage name (`STAGES`) to GeneSet
    background : tuple of str
        The genes that are ranked.
    cds_length : Series
        Coding length of each gene, for TPM; index gene.
    """

    sets: Mapping[str, GeneSet]
    background: tuple[str, ...]
    cds_length: pd.Series


def tpm(counts: pd.DataFrame, length: pd.Series) -> pd.DataFrame:
    """Return transcripts per million.

    Parameters
    ----------
    counts : DataFrame, genes x samples
        Raw read counts.
    length : Series
        Coding length of each gene (bases); genes without one are left out.

    Raises
    ------
    ValueError
        For negative counts, lengths that are not positive, or a sample without any read.
    """
    genes = counts.index[counts.index.isin(length.dropna().index)]
    lengths = length.loc[genes].to_numpy(dtype=float)
    reads = counts.loc[genes].to_numpy(dtype=float)
    if (reads < 0).any():
        raise ValueError("read counts cannot be negative: are these logarithms?")
    if (lengths <= 0).any():
        raise ValueError("gene lengths must be positive")
    rate = reads / lengths[:, None]
    total = rate.sum(axis=0)
    if (total == 0).any():
        empty = counts.columns[total == 0]
        raise ValueError(
            f"{len(empty)} samples have no reads in the scored genes, first {empty[0]!r}"
        )
    return pd.DataFrame(1e6 * rate / total, index=genes, columns=counts.columns)


def one_probe_per_gene(
    expression: pd.DataFrame, symbols: pd.Series, rule: ProbeRule = "most-expressed"
) -> pd.DataFrame:
    """Return one row for each gene from an array with several probe sets for a gene.

    Parameters
    ----------
    expression : DataFrame, probe sets x samples
    symbols : Series
        Gene symbol of each probe set; missing where unknown.
    rule : {"most-expressed", "most-variable", "median"}
        Keep the probe set with the highest mean or the highest standard deviation over the
        samples, or take the median of all. Ties go to the probe set that comes first.
    """
    gene = symbols.reindex(expression.index)
    known = gene.notna() & (gene != "")
    values, gene = expression[known], gene[known]
    if rule == "median":
        return values.groupby(gene.to_numpy()).median().rename_axis("gene")
    key = values.mean(axis=1) if rule == "most-expressed" else values.std(axis=1, ddof=1)
    order = key.sort_values(ascending=False, kind="stable").index
    best = gene.loc[order].drop_duplicates()
    kept = values.loc[best.index]
    kept.index = pd.Index(best.to_numpy(), name="gene")
    return kept.sort_index()


def comparable(
    expression: pd.DataFrame, kind: ExpressionKind, reference: StageReference
) -> pd.DataFrame:
    """Return the background genes of `expression` on a scale that can be ranked within a sample.

    Counts are divided by coding length (TPM). Everything else is taken as it is: between TPM, its
    logarithm and an array's log2 intensity only the order of the genes matters.

    Raises
    ------
    ValueError
        If no background gene is present.
    """
    background = pd.Index(reference.background)
    kept = expression.loc[expression.index.isin(background)]
    if kept.empty:
        raise ValueError("none of the stage genes is in the expression table: are these symbols?")
    return tpm(kept, reference.cds_length) if kind == "counts" else kept


def gene_centred(expression: pd.DataFrame) -> pd.DataFrame:
    """Return `expression` with each gene's mean over the samples taken away.

    It removes the gene's own level, and with it the position of the gene in a typical sample; the
    score then depends on who else is in the cohort.
    """
    return expression.sub(expression.mean(axis=1), axis=0)


def stage_scores(
    expression: pd.DataFrame,
    sets: Mapping[str, GeneSet],
    *,
    scorer: Scorer = "singscore",
    min_genes: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the score of every stage in every sample.

    Parameters
    ----------
    expression : DataFrame, genes x samples
        As returned by `comparable`.
    sets : mapping of stage to GeneSet
    scorer : {"singscore", "singscore-up", "ssgsea", "score-genes"}
        singscore with both parts, with the up part alone, ssGSEA (up minus down), or scanpy's
        ``score_genes`` (mean of the set minus mean of control genes of like expression; it draws
        the controls at random).
    min_genes : int
        A stage with fewer up genes measured is not scored (NaN), rather than scored badly.
    seed : int
        For score-genes only.

    Returns
    -------
    DataFrame, samples x stages in their order of development
    """
    ordered = {name: sets[name] for name in STAGES if name in sets}
    if scorer == "singscore":
        scores = singscores(expression, ordered)
    elif scorer == "singscore-up":
        scores = singscores(expression, {n: GeneSet(s.up) for n, s in ordered.items()})
    elif scorer == "ssgsea":
        scores = ssgsea(expression, ordered)
    else:
        scores = _score_genes(expression, ordered, seed)
    measured = coverage(expression.index, ordered)["up_present"]
    scores.loc[:, measured.index[measured < min_genes]] = np.nan
    return scores


def scaled(scores: pd.DataFrame, scaling: Scaling = "within-sample-7") -> pd.DataFrame:
    """Return stage scores on one of the scales on which a slope can be fitted.

    Parameters
    ----------
    scores : DataFrame, samples x stages
    scaling : str
        ``within-sample-7``: z over all stages of the sample (ALLCatchR); ``within-sample-5``: z
        over the five B stages; ``min-max``: 0 to 1 over all stages of the sample; ``none``: as
        scored; ``across-samples``: each stage standardised over the cohort.
    """
    if scaling == "none":
        return scores
    if scaling == "across-samples":
        return (scores - scores.mean()) / scores.std(ddof=1).replace(0, np.nan)
    base = scores[list(B_STAGES)] if scaling == "within-sample-5" else scores
    if scaling == "min-max":
        low, spread = base.min(axis=1), base.max(axis=1) - base.min(axis=1)
    else:
        low, spread = base.mean(axis=1), base.std(axis=1, ddof=1)
    return base.sub(low, axis=0).div(spread.replace(0, np.nan), axis=0)


def maturity_slope(
    scores: pd.DataFrame,
    stages: Sequence[str] = B_STAGES,
    positions: Sequence[float] | None = None,
) -> pd.Series:
    """Return the least-squares slope of stage scores on the position of the stages.

    Parameters
    ----------
    scores : DataFrame, samples x stages
    stages : sequence of str
        Stages to use, in order of development.
    positions : sequence of float, optional
        Their positions on the axis; 1, 2, 3 ... by default (the origin does not matter).

    Returns
    -------
    Series
        Slope for each sample; NaN where a stage has no score.
    """
    x = np.arange(len(stages), dtype=float) if positions is None else np.asarray(positions, float)
    if len(x) != len(stages) or np.ptp(x) == 0:
        raise ValueError("positions must give every stage a place, and not all the same one")
    x = x - x.mean()
    values = scores[list(stages)].to_numpy(dtype=float) @ x / (x @ x)
    return pd.Series(values, index=scores.index, name="maturity")


def slope_bound(
    n_scored: int = 7, stages: int = 5, positions: Sequence[float] | None = None
) -> float:
    r"""Return the largest slope that z-scored stages can have.

    :math:`\sum z^2 = m-1` over the *m* stages that were standardised together, so by
    Cauchy-Schwarz :math:`|b| \le \sqrt{(m-1)\sum x^2}/\sum x^2`, with the positions *x* centred.
    """
    x = np.arange(stages, dtype=float) if positions is None else np.asarray(positions, float)
    x = x - x.mean()
    return float(np.sqrt((n_scored - 1) / (x @ x)))


def maturity(
    expression: pd.DataFrame,
    kind: ExpressionKind,
    reference: StageReference,
    *,
    scaling: Scaling = "within-sample-7",
    scorer: Scorer = "singscore",
    centre_genes: bool = False,
    min_genes: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Return stage scores and maturity of every sample, from counts or an array.

    Parameters
    ----------
    expression : DataFrame, gene symbols x samples
    kind : {"counts", "tpm", "log2", "logcpm"}
    reference : StageReference
    scaling, scorer, min_genes, seed
        See `scaled` and `stage_scores`.
    centre_genes : bool
        Centre each gene over the cohort before ranking; counts are logged first.

    Returns
    -------
    DataFrame, samples x (scored stages on the chosen scale, then ``maturity``)

    Raises
    ------
    ValueError
        For an expression table that cannot be ranked; see `ballbook.genesets.singscore`.
    """
    values = comparable(expression, kind, reference)
    if kind in ("counts", "tpm") and (centre_genes or scorer == "score-genes"):
        values = values.apply(lambda sample: np.log2(sample + 1))
    if centre_genes:
        values = gene_centred(values)
    raw = stage_scores(values, reference.sets, scorer=scorer, min_genes=min_genes, seed=seed)
    scores = scaled(raw, scaling)
    return scores.assign(maturity=maturity_slope(scores))


def age_group(age_years: pd.Series) -> pd.Series:
    """Return the paper's age groups: under 1, 1 to 17, 18 to 54, 55 and over."""
    labels = ["under 1", "1 to 17", "18 to 54", "55 and over"]
    groups: pd.Series = pd.cut(age_years, [-np.inf, 1, 18, 55, np.inf], right=False, labels=labels)
    return groups


def mean_difference(x: ArrayLike, y: ArrayLike, *, ci_level: float = 0.95) -> Estimate:
    r"""Return the difference of two mean scores without assuming equal spread (Welch).

    :math:`t = (\bar x - \bar y)/\sqrt{s_x^2/n_x + s_y^2/n_y}` on Satterthwaite's degrees of
    freedom.

    Raises
    ------
    ValueError
        For missing or non-numeric values.

    Notes
    -----
    R: ``t.test(x, y)``.
    """
    a, b = as_vector(x, "x"), as_vector(y, "y")
    if min(len(a), len(b)) < 2:
        return not_estimable("difference", "a group has fewer than two values", n=len(a) + len(b))
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return not_estimable("difference", "the values do not vary", n=len(a) + len(b))
    found = stats.ttest_ind(a, b, equal_var=False)
    interval = found.confidence_interval(as_level(ci_level))
    return Estimate(
        kind="difference",
        value=float(a.mean() - b.mean()),
        ci_low=float(interval.low),
        ci_high=float(interval.high),
        ci_level=ci_level,
        p_value=float(found.pvalue),
        n=len(a) + len(b),
        statistic=float(found.statistic),
        df=float(found.df),
        method="difference of means, Welch's t interval and test",
    )


def chance_lower(x: ArrayLike, y: ArrayLike, *, ci_level: float = 0.95) -> Estimate:
    r"""Return the chance that a random value of x lies below a random value of y.

    :math:`\theta = \#\{x_i < y_j\}/mn`, ties counting a half; 0.5 is no difference. It has no
    unit, so scores on different scales can be compared. The interval is
    `rank_tests.chance_interval`.

    Raises
    ------
    ValueError
        For missing or non-numeric values, or an empty group.
    """
    a, b = as_vector(x, "x"), as_vector(y, "y")
    m, n = len(a), len(b)
    ranks = stats.rankdata(np.concatenate([a, b]))
    above = (ranks[:m].sum() - m * (m + 1) / 2) / (m * n)
    theta = float(1 - above)
    low, high = chance_interval(theta, m, n, ci_level=ci_level)
    return Estimate(
        kind="proportion",
        value=theta,
        ci_low=low,
        ci_high=high,
        ci_level=ci_level,
        n=m + n,
        method="Mann-Whitney probability, Newcombe's interval (method 5)",
    )


def pooled_correlation(correlations: Sequence[Estimate]) -> Estimate:
    r"""Return the average of Spearman correlations from separate groups of patients.

    Random effects on Fisher's scale, :math:`\operatorname{artanh} r`, with standard errors
    :math:`\sqrt{(1+r^2/2)/(n-3)}` and the interval of `meta_analysis.pooled_for_verdict`.
    Correlating within groups and then averaging keeps differences between the groups out of the
    answer.

    Raises
    ------
    ValueError
        If a correlation has no value, or fewer than four patients.

    Notes
    -----
    R: ``metafor::rma(atanh(r), sei = sqrt((1 + r^2 / 2) / (n - 3)), method = "REML")``, with
    ``test = "z"`` and ``test = "knha"``, of which the wider.
    """
    from ballbook.meta_analysis import pooled_for_verdict

    r = as_vector(np.array([e.value for e in correlations], dtype=float), "correlations")
    n = as_vector(np.array([e.n for e in correlations], dtype=float), "patients")
    if (n < 4).any() or (np.abs(r) >= 1).any():
        raise ValueError("every correlation needs four patients and a value within -1 and 1")
    errors = np.sqrt((1 + r**2 / 2) / (n - 3))
    pooled = pooled_for_verdict(np.arctanh(r), errors, kind="correlation").pooled
    assert pooled.value is not None and pooled.ci_low is not None and pooled.ci_high is not None
    return replace(
        pooled,
        value=float(np.tanh(pooled.value)),
        ci_low=float(np.tanh(pooled.ci_low)),
        ci_high=float(np.tanh(pooled.ci_high)),
        n=int(n.sum()),
        method=f"{len(r)} groups on Fisher's scale: {pooled.method}",
    )


def average_difference(differences: Sequence[Estimate]) -> MetaAnalysis:
    r"""Return the random-effects mean of differences from separate cohorts.

    The standard error of each is :math:`|d/t|`, with its *t* statistic; the interval is that of
    `meta_analysis.pooled_for_verdict`.

    Parameters
    ----------
    differences : sequence of Estimate
        As `mean_difference` returns them.

    Raises
    ------
    ValueError
        If a difference is exactly 0 or has no value, statistic or number of patients.
    """
    from ballbook.meta_analysis import pooled_for_verdict

    d = as_vector(np.array([e.value for e in differences], dtype=float), "differences")
    t = as_vector(np.array([e.statistic for e in differences], dtype=float), "statistics")
    n = as_vector(np.array([e.n for e in differences], dtype=float), "patients")
    if (t == 0).any():
        raise ValueError("a difference of exactly 0 does not tell its standard error")
    return pooled_for_verdict(d, np.abs(d / t), kind="difference", n=int(n.sum()))


def join_small(labels: pd.Series, minimum: int, name: str = "smaller groups together") -> pd.Series:
    """Return group labels with groups under `minimum` joined into one called `name`.

    Where the joined ones are too few themselves, the next larger group joins them, so that no
    group that is left has fewer members than `minimum` unless all together have.
    """
    order = labels.value_counts()
    small = list(order.index[order < minimum])
    rest = [g for g in order.index[::-1] if g not in small]
    while small and order[small].sum() < minimum and rest:
        small.append(rest.pop(0))
    return labels.where(~labels.isin(small), name)


def variance_explained(p: float, n: int, groups: int) -> float:
    r"""Return the share of variance between groups that a printed ANOVA P value implies.

    With :math:`F` the upper *P* quantile on :math:`g-1` and :math:`n-g` degrees of freedom,
    :math:`\eta^2 = \frac{(g-1)F}{(g-1)F + n - g}`. It is the share in the sample and so errs on
    the large side.

    Raises
    ------
    ValueError
        If *P* is not between 0 and 1, or there are not more values than groups.
    """
    if not 0 < p < 1 or groups < 2 or n <= groups:
        raise ValueError("expected 0 < P < 1 and more values than groups, two at least")
    f = (groups - 1) * float(stats.f.isf(p, groups - 1, n - groups))
    return f / (f + n - groups)


def correlation_power(r: float, n: int, *, alpha: float = 0.05) -> float:
    r"""Return the power to find a rank correlation *r* in *n* patients, two-sided.

    Normal approximation on Fisher's scale with the standard error of Spearman's coefficient,
    :math:`\sqrt{(1+r^2/2)/(n-3)}` (Bonett and Wright, Psychometrika 2000;65:23).

    Raises
    ------
    ValueError
        For fewer than four patients or *r* outside -1..1.
    """
    if n < 4 or not -1 < r < 1:
        raise ValueError("expected at least four patients and a correlation within -1 and 1")
    shift = abs(np.arctanh(r)) * np.sqrt(n - 3)
    z = stats.norm.isf(alpha / 2)
    spread = np.sqrt(1 + r * r / 2)
    return float(stats.norm.sf((z - shift) / spread) + stats.norm.sf((z + shift) / spread))


def _score_genes(expression: pd.DataFrame, sets: Mapping[str, GeneSet], seed: int) -> pd.DataFrame:
    import anndata
    import scanpy

    cells = anndata.AnnData(expression.T.astype(float))
    total = pd.DataFrame(0.0, index=expression.columns, columns=list(sets))
    for name, genes in sets.items():
        for sign, part in ((1, genes.up), (-1, genes.down)):
            measured = sorted(set(expression.index).intersection(part))
            if measured:
                scanpy.tl.score_genes(cells, measured, score_name="score", random_state=seed)
                total[name] += sign * cells.obs["score"].to_numpy(dtype=float)
    return total

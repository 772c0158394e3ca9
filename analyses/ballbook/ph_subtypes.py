r"""Whether a *BCR::ABL1* leukaemia is of the multilineage or the lymphoid expression class.

Bastian et al. (Blood 2024;143:1391) found two classes of *BCR::ABL1*-positive ALL by expression,
and published logistic models that tell them apart (elastic nets; Zou and Hastie, J R Stat Soc B
2005;67:301). A sample is scaled by itself: with counts *c*,

.. math:: x_g = \frac{u_g-\min_h u_h}{\max_h u_h-\min_h u_h},\qquad u_g=\log_{10}(c_g+1),

over a fixed list of genes *h*. (The source first standardises *u* within the sample; that changes
nothing, as a shift and a scale cancel.) The *index* is the linear predictor and its logistic the
probability of the second class,

.. math:: \eta = \beta_0+\sum_g\beta_g x_g,\qquad p=\frac{1}{1+e^{-\eta}} .

A gene that was not measured enters as its mean in the source's reference, the same for every
sample: it shifts all samples of a cohort alike and takes away what the gene would have told. Where
much of the weight :math:`\sum|\beta_g|` is missing, or the values are not counts, the index orders
the samples of one cohort, and its level, and so the class, means nothing. `readable` says which.

*Is a correlation due to the coefficients?* `shuffled_weights` hands the coefficients to the same
genes in random order, `random_genes` gives them to genes drawn at random, and each asks how often
the correlation with another score is then as large (Phipson and Smyth, Stat Appl Genet Mol Biol
2010;9:39): :math:`P=(1+\#\{|r^*|\ge|r|\})/(1+m)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from ballbook import gates
from ballbook.cox import cox
from ballbook.inputs import Floats, as_vector
from ballbook.results import Estimate, Gate, not_estimable

INTERCEPT = "intercept"
MULTILINEAGE, LYMPHOID, UNCLEAR = "multilineage", "lymphoid", "unclear"
# Of the weight of a model, at least this share must be measured for its probability to be read.
LEAST_WEIGHT = 0.9
# The source calls a class above this probability, and none between it and its complement.
THRESHOLD = 0.55


@dataclass(frozen=True, slots=True)
class ClassModel:
    """A logistic model of one class against another.

    Parameters
    ----------
    intercept : float
    coefficients : Series
        By gene symbol; positive speaks for `second`.
    first, second : str
    """

    intercept: float
    coefficients: pd.Series
    first: str
    second: str

    def without(self, genes: Iterable[str]) -> ClassModel:
        """Return the model with the coefficients of `genes` taken out."""
        kept = self.coefficients[~self.coefficients.index.isin(list(genes))]
        return ClassModel(self.intercept, kept, self.first, self.second)


@dataclass(frozen=True, slots=True)
class Measured:
    """How much of a model was measured: genes of all, and the share of the weight they carry."""

    genes: int
    of: int
    weight: float


def model(coefficients: pd.Series, levels: tuple[str, str]) -> ClassModel:
    """Return a model from a table of coefficients that holds its intercept.

    Raises
    ------
    ValueError
        If the intercept is missing, a gene stands twice or a coefficient is no number.
    """
    if INTERCEPT not in coefficients.index:
        raise ValueError("the coefficients hold no intercept")
    if coefficients.index.has_duplicates or not np.isfinite(coefficients.to_numpy(float)).all():
        raise ValueError("every gene needs one coefficient, a number")
    genes = coefficients.drop(INTERCEPT).astype(float)
    return ClassModel(float(coefficients[INTERCEPT]), genes, *levels)


def measured(genes: Iterable[str], of: ClassModel) -> Measured:
    """Return how many of the model's genes are among `genes`, and their share of its weight."""
    weight = of.coefficients.abs()
    have = weight.index.isin(list(genes))
    total = float(weight.sum())
    return Measured(int(have.sum()), len(weight), float(weight[have].sum() / total))


def readable(kind: str, found: Measured) -> bool:
    """Tell whether the probability may be read: from counts, with nearly all weight measured."""
    return kind == "counts" and found.weight >= LEAST_WEIGHT


def scaled(expression: pd.DataFrame, kind: str, reference: pd.Series) -> pd.DataFrame:
    """Return expression scaled to 0..1 within each sample, over the genes of `reference`.

    Parameters
    ----------
    expression : DataFrame, genes (symbols) x samples
    kind : {"counts", "tpm", "log2", "logcpm"}
        Counts and TPM are logged as counts are by the source; logarithms are taken as they are.
    reference : Series
        Mean scaled value by gene.

    Raises
    ------
    ValueError
        If no gene of `reference` is present, a value is no finite number, counts are negative, or
        all genes of a sample are equal.
    """
    kept = expression[expression.index.isin(reference.index)]
    if kept.empty:
        raise ValueError("none of the scored genes is in the expression table: are these symbols?")
    values = kept.to_numpy(dtype=float)
    if not np.isfinite(values).all():
        raise ValueError("the expression table holds a value that is no finite number")
    if kind in {"counts", "tpm"}:
        if (values < 0).any():
            raise ValueError("read counts cannot be negative: are these logarithms?")
        values = np.log10(values + 1)
    low, spread = values.min(axis=0), np.ptp(values, axis=0)
    if (spread == 0).any():
        raise ValueError("all genes of a sample are equal")
    return pd.DataFrame((values - low) / spread, index=kept.index, columns=kept.columns)


def index(scaled_values: pd.DataFrame, of: ClassModel, reference: pd.Series) -> pd.Series:
    r"""Return the linear predictor :math:`\eta` of every sample; high speaks for the second class.

    Parameters
    ----------
    scaled_values : DataFrame, genes x samples
        As `scaled` returns.
    of : ClassModel
    reference : Series
        What stands for a gene that was not measured.

    Raises
    ------
    ValueError
        If a missing gene has no reference, or none of the model's genes was measured.
    """
    beta = of.coefficients
    have = beta.index.isin(scaled_values.index)
    if not have.any():
        raise ValueError("none of the model's genes was measured")
    absent = beta[~have]
    if not absent.index.isin(reference.index).all():
        raise ValueError("a gene that was not measured has no reference value")
    base = of.intercept + float((absent * reference.reindex(absent.index)).sum())
    sums = scaled_values.loc[beta.index[have]].to_numpy().T @ beta[have].to_numpy()
    return pd.Series(base + sums, index=scaled_values.columns, name="index")


def probability(linear: pd.Series) -> pd.Series:
    """Return the logistic of the index: the probability of the second class."""
    return pd.Series(1 / (1 + np.exp(-linear.to_numpy(float))), linear.index, name="probability")


def classes(of_second: pd.Series, by: ClassModel, threshold: float = THRESHOLD) -> pd.Series:
    """Return the class of each sample, `UNCLEAR` where neither probability passes `threshold`.

    Raises
    ------
    ValueError
        For a threshold below a half or not below 1.
    """
    if not 0.5 <= threshold < 1:
        raise ValueError(f"threshold: expected at least 0.5 and below 1, got {threshold:g}")
    p = of_second.to_numpy(float)
    found = np.where(p > threshold, by.second, np.where(1 - p > threshold, by.first, UNCLEAR))
    return pd.Series(found, index=of_second.index, name="class")


# ------------------------------------------------------------------------------- what it rests on


def _correlations(scores: Floats, other: Floats) -> Floats:
    """Return Spearman's correlation of each column of `scores` with `other`."""
    r = stats.rankdata(scores, axis=0)
    s = stats.rankdata(other)
    r, s = r - r.mean(axis=0), s - s.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        found = r.T @ s / np.sqrt((r**2).sum(axis=0) * (s @ s))
    return np.asarray(found)


def _against(observed: float, chance: Floats, n: int, method: str) -> Estimate:
    found = chance[np.isfinite(chance)]
    # Ties of the arrangement that was observed must count, whatever the last bit of rounding.
    p = float((1 + (np.abs(found) >= abs(observed) - 1e-12).sum()) / (1 + len(found)))
    low, high = np.quantile(found, [0.025, 0.975])
    return Estimate(
        "correlation", float(np.median(found)), float(low), float(high), p_value=p, n=n,
        statistic=observed, method=f"{method}, {len(found)} draws: median and middle 95%",
    )  # fmt: skip


def shuffled_weights(
    scaled_values: pd.DataFrame, of: ClassModel, other: ArrayLike, *, draws: int, seed: int
) -> Estimate:
    """Return the correlations with `other` when the model's weights change places among its genes.

    Parameters
    ----------
    scaled_values : DataFrame, genes x samples
    other : array_like, one value a sample
    draws : int
    seed : int

    Returns
    -------
    Estimate
        Median and middle 95% of the correlations, the observed one as `statistic`, and P. Not
        estimable with fewer than four samples or two measured genes.
    """
    y = as_vector(other, "other")
    have = of.coefficients.index[of.coefficients.index.isin(scaled_values.index)]
    if len(y) < 4 or len(have) < 2:
        return not_estimable("correlation", "fewer than four samples or two genes", n=len(y))
    x, w = scaled_values.loc[have].to_numpy().T, of.coefficients[have].to_numpy()
    rng = np.random.default_rng(seed)
    places = rng.permuted(np.tile(np.arange(len(w)), (draws, 1)), axis=1)
    chance = _correlations(x @ w[places].T, y)
    return _against(float(_correlations(x @ w[:, None], y)[0]), chance, len(y), "weights shuffled")


def random_genes(
    scaled_values: pd.DataFrame, of: ClassModel, other: ArrayLike, *, draws: int, seed: int
) -> Estimate:
    """Return the correlations with `other` when other measured genes carry the model's weights.

    Parameters and result as `shuffled_weights`.
    """
    y = as_vector(other, "other")
    inside = scaled_values.index.isin(of.coefficients.index)
    have = of.coefficients.index[of.coefficients.index.isin(scaled_values.index)]
    pool = scaled_values.to_numpy()[~inside]
    if len(y) < 4 or len(have) < 2 or len(pool) < len(have):
        return not_estimable("correlation", "fewer than four samples, or too few genes", n=len(y))
    w = of.coefficients[have].to_numpy()
    rng = np.random.default_rng(seed)
    sums = [w @ pool[rng.choice(len(pool), len(w), replace=False)] for _ in range(draws)]
    observed = _correlations(scaled_values.loc[have].to_numpy().T @ w[:, None], y)[0]
    return _against(float(observed), _correlations(np.array(sums).T, y), len(y), "random genes")


def overlap(of: ClassModel, genes: Iterable[str]) -> Measured:
    """Return how many of the model's genes another score uses too, and their share of weight."""
    return measured(genes, of)


def panel_agreement(
    scaled_values: pd.DataFrame, of: ClassModel, reference: pd.Series, panel: Iterable[str]
) -> pd.DataFrame:
    """Return the index with all genes and with those of a smaller `panel` alone, by sample.

    The panel is scaled anew, as a sample measured on it would be. Columns ``full``, ``panel``.
    """
    cut = scaled_values[scaled_values.index.isin(list(panel))]
    low, high = cut.min(), cut.max()
    return pd.DataFrame(
        {
            "full": index(scaled_values, of, reference),
            "panel": index((cut - low) / (high - low), of, reference),
        }
    )


def sub_indices(
    scaled_values: pd.DataFrame, models: Mapping[str, ClassModel], reference: pd.Series
) -> pd.DataFrame:
    """Return the probability of the first class of each model (the lesion), samples x models."""
    return pd.DataFrame(
        {n: 1 - probability(index(scaled_values, m, reference)) for n, m in models.items()}
    )


# ------------------------------------------------------------------------------- a reader's cohort


def bcr_abl1_positive(patients: pd.DataFrame) -> pd.Series:
    """Return which patients have *BCR::ABL1*, by ``subtype`` or the flag ``bcr_abl1``."""
    no = pd.Series(False, index=patients.index)
    by_subtype = patients["subtype"] == "BCR::ABL1" if "subtype" in patients else no
    flag = pd.to_numeric(patients["bcr_abl1"], errors="coerce") if "bcr_abl1" in patients else no
    return by_subtype | (flag == 1)


def outcome_by_class(
    table: pd.DataFrame, multilineage: pd.Series, min_count: int = 0
) -> tuple[Estimate, list[Gate]]:
    """Return the hazard ratio of the multilineage class against the lymphoid, and its gates.

    Parameters
    ----------
    table : DataFrame
        ``time_months``, ``event`` and optionally ``entry_months``, one row a patient.
    multilineage : Series of bool, aligned with `table`
    min_count : int
        Nothing is told where a class has fewer patients or events.
    """
    what = "hazard-ratio"
    exposed = multilineage.astype(float).to_frame("multilineage").reset_index(drop=True)
    counted = table["event"].astype(int).to_numpy()
    least = max(min_count, 1)
    for words, weight in (("patients", np.ones(len(counted))), ("events", counted)):
        by_class = [weight[exposed["multilineage"] == c].sum() for c in (0.0, 1.0)]
        if min(by_class) < least:
            few = f"withheld: fewer than {least}" if least > 1 else "no"
            return not_estimable(what, f"{few} {words} in a class"), []
    entry = table["entry_months"].fillna(0.0) if "entry_months" in table else None
    late = entry.to_numpy() if entry is not None and entry.gt(0).any() else None
    fit = cox(table["time_months"].to_numpy(), counted, exposed, entry=late)
    ratio = fit.hazard_ratio("multilineage")
    found = [gates.events_per_variable(int(counted.sum()), 1)]
    if ratio.value is not None:
        found.append(gates.proportional_hazards(fit))
    return ratio, [replace(g, name=f"Your cohort: {g.name[0].lower()}{g.name[1:]}") for g in found]

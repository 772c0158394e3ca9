r"""How much of each known state a bulk sample holds.

With a sample's expression :math:`b_g` on a linear scale and the profile :math:`P_{gs}` of each
state (`ballbook.pseudo_bulk`), :math:`b \approx P f`, where :math:`f_s` is the state's share of
RNA. A logarithm would break the sum: the log of a mixture is not the mixture of logs.

Non-negative least squares
    :math:`\min_{f\ge0}\sum_g w_g^2 (b_g - (Pf)_g)^2` (Lawson, Hanson, Solving Least Squares
    Problems, 1974, chapter 23; `scipy.optimize.nnls`), then :math:`f / \sum f`.
Support vectors
    :math:`\nu`-support vector regression with a linear kernel (Schölkopf et al., Neural Comput
    2000;12:1207; scikit-learn) in the way of CIBERSORT (Newman et al., Nat Methods 2015;12:453):
    sample and profiles are standardised, :math:`\nu\in\{0.25, 0.5, 0.75\}` with the smallest
    residual is kept, negative coefficients become 0 and the rest is brought to a sum of 1.
Weights
    Unweighted, the few genes with most RNA decide. *relative* takes :math:`w_g = 1/(\bar P_g +
    \epsilon)`, so that a gene counts by what it is compared with its mean over states; *root* takes
    the square root of that, which is the weight of Poisson counts. :math:`\epsilon` is the lower
    decile of :math:`\bar P_g`.
Levels of genes
    Another platform shows gene *g* times a factor :math:`\lambda_g`, the same in all samples.
    `matched` divides it out: :math:`\hat\lambda_g = \bar b_g / (P\bar f)_g`, with the mean
    :math:`\bar f` over the cohort of a first fit. Afterwards the cohort's mean fits for *any*
    :math:`\bar f`: matching mends differences between the samples and says nothing of their level.

What a set of genes can tell is read from the condition number of the weighted profiles, columns
brought to length 1, and from pure samples of donors that the profiles do not know (`confusion`).
The limits of blank and detection follow Armbruster and Pry (Clin Biochem Rev 2008;29 Suppl 1:S49):
the 95% point of estimates where the state is absent, and the least share of which 95% exceed it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats

Method = Literal["nnls", "nu-svr"]
Weights = Literal["relative", "root", "none"]
Floats = NDArray[np.float64]
NU = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Deconvolution:
    """Shares of states in bulk samples.

    Attributes
    ----------
    shares : DataFrame, samples x states
        Shares of RNA; rows add to 1, or are missing where nothing fits.
    explained : Series
        Of each sample, 1 minus the share of the weighted sum of squares that the fit leaves.
    genes : Index
        Genes that were used.
    """

    shares: pd.DataFrame
    explained: pd.Series
    genes: pd.Index


def linear(
    expression: pd.DataFrame, *, base: float | None = None, offset: float = 0.0
) -> pd.DataFrame:
    """Return expression on a linear scale: ``base ** x - offset``, not below 0.

    Parameters
    ----------
    expression : DataFrame, genes x samples
    base : float, optional
        Of the logarithm; None where the values are linear already.
    offset : float
        What was added before the logarithm.

    Raises
    ------
    ValueError
        For linear values below 0, missing or infinite ones, or a base not above 1.
    """
    values = expression.to_numpy(dtype=float)
    if not np.isfinite(values).all():
        raise ValueError("expression: expected numbers, none missing")
    if base is None:
        if (values < 0).any():
            raise ValueError("expression: values below 0 are no linear scale: are they logarithms?")
        return expression.astype(float)
    if base <= 1:
        raise ValueError("base: expected a number above 1")
    with np.errstate(over="ignore"):
        raised = np.exp(values * np.log(base)) - offset
    if not np.isfinite(raised).all():
        raise ValueError(f"expression: too large for logarithms to base {base:g}")
    return pd.DataFrame(np.maximum(raised, 0.0), expression.index, expression.columns)


def gene_weights(signature: pd.DataFrame, how: Weights = "relative") -> Floats:
    """Return the weight of each gene."""
    if how == "none":
        return np.ones(len(signature))
    mean = signature.mean(axis=1).to_numpy(dtype=float)
    if not (mean > 0).any():
        raise ValueError("signature: no gene is expressed in any state")
    weight = 1 / (mean + np.quantile(mean[mean > 0], 0.1))
    return np.asarray(np.sqrt(weight) if how == "root" else weight)


def deconvolve(
    bulk: pd.DataFrame,
    signature: pd.DataFrame,
    *,
    method: Method = "nnls",
    weights: Weights = "relative",
) -> Deconvolution:
    """Return the shares of states in every sample.

    Parameters
    ----------
    bulk : DataFrame, genes x samples
        On a linear scale; the unit of a sample does not matter.
    signature : DataFrame, genes x states
        Profiles; over the shared genes each is brought to a sum of 1.
    method : {"nnls", "nu-svr"}
    weights : {"relative", "root", "none"}

    Raises
    ------
    ValueError
        For negative or missing values, repeated genes, or fewer shared genes than states.
    """
    b, a, genes = _shared(bulk, signature)
    w = gene_weights(a, weights)
    left = a.to_numpy() * w[:, None]
    right = b.to_numpy() * w[:, None]
    found = np.full((right.shape[1], left.shape[1]), np.nan)
    explained = np.full(right.shape[1], np.nan)
    for i, y in enumerate(right.T):
        if not y.any():
            continue
        x = optimize.nnls(left, y)[0] if method == "nnls" else _support_vectors(left, y)
        if x.sum() <= 0:
            continue
        found[i] = x / x.sum()
        fitted = left @ found[i]
        scale = float(fitted @ y) / float(fitted @ fitted)
        explained[i] = 1 - float(((y - scale * fitted) ** 2).sum()) / float(y @ y)
    return Deconvolution(
        pd.DataFrame(found, index=bulk.columns, columns=signature.columns),
        pd.Series(explained, index=bulk.columns, name="explained"),
        genes,
    )


def matched(
    bulk: pd.DataFrame,
    signature: pd.DataFrame,
    *,
    weights: Weights = "relative",
    start: Sequence[float] | pd.Series | None = None,
) -> pd.Series:
    r"""Return the factor by which each gene of a cohort is to be divided, :math:`\hat\lambda_g`.

    Parameters
    ----------
    bulk : DataFrame, genes x samples
        Linear; the samples of which the mean is taken.
    signature : DataFrame, genes x states
    weights : {"relative", "root", "none"}
        Of the first fit.
    start : sequence of float, optional
        Mean shares :math:`\bar f` to match to; by default those of a first fit by least squares.
    """
    b, a, genes = _shared(bulk, signature)
    if start is None:
        first = deconvolve(bulk, signature, weights=weights).shares.mean()
    else:
        first = pd.Series(np.asarray(start, dtype=float), index=signature.columns)
        first = first / first.sum()
    mean = a.mean(axis=1)
    floor = float(np.quantile(mean[mean > 0], 0.1))
    expected = a.to_numpy() @ first.to_numpy()
    return pd.Series((b.mean(axis=1).to_numpy() + floor) / (expected + floor), index=genes)


def condition_number(signature: pd.DataFrame, weights: Weights = "relative") -> float:
    """Return the condition number of the weighted profiles, each of length 1."""
    a = (signature / signature.sum()).to_numpy() * gene_weights(signature, weights)[:, None]
    return float(np.linalg.cond(a / np.linalg.norm(a, axis=0)))


def mean_confusion(found: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the mean over donors of what pure samples were taken for.

    Parameters
    ----------
    found : mapping of donor to DataFrame, states x states
        Row: the state that the sample holds; column: the share found. Missing rows are states that
        the donor lacks.
    """
    tables = list(found.values())
    stack = np.stack([t.reindex_like(tables[0]).to_numpy(dtype=float) for t in tables])
    known = ~np.isnan(stack)
    total = np.where(known, stack, 0.0).sum(axis=0)
    number = known.sum(axis=0)
    mean = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    return pd.DataFrame(mean, tables[0].index, tables[0].columns)


def merged(confusion: pd.DataFrame, least: float = 0.5) -> list[tuple[str, ...]]:
    """Return the groups of states that can be told apart.

    While some group keeps less than `least` of its own pure samples, the one that keeps least is
    joined to the group that takes most of it.

    Parameters
    ----------
    confusion : DataFrame, states x states
        As `mean_confusion` returns it.
    least : float
        Share of a pure sample that must be found in its own group.
    """
    groups: list[tuple[str, ...]] = [(str(s),) for s in confusion.columns]
    while len(groups) > 1:
        table = np.array(
            [[confusion.loc[list(g), list(h)].sum(axis=1).mean() for h in groups] for g in groups]
        )
        own = np.diag(table)
        worst = int(np.nanargmin(own))
        if own[worst] >= least:
            break
        table[worst, worst] = -1
        other = int(np.nanargmax(table[worst]))
        low, high = sorted((worst, other))
        groups[low] = (*groups[low], *groups.pop(high))
    order = list(confusion.columns)
    return [tuple(sorted(g, key=order.index)) for g in groups]


def recovery(truth: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Return how well the shares of each state were recovered.

    Parameters
    ----------
    truth, found : DataFrame, mixtures x states

    Returns
    -------
    DataFrame
        By state: ``correlation`` (Pearson's; missing where the truth does not vary), ``slope`` of
        found on true, ``bias`` (mean of found minus true), ``rmse`` and ``n``.
    """
    rows = {}
    for s in truth.columns:
        x, y = truth[s].to_numpy(dtype=float), found[s].to_numpy(dtype=float)
        kept = np.isfinite(x) & np.isfinite(y)
        x, y = x[kept], y[kept]
        varies = len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0
        rows[s] = {
            "correlation": float(np.corrcoef(x, y)[0, 1]) if varies else np.nan,
            "slope": float(stats.linregress(x, y).slope) if varies else np.nan,
            "bias": float((y - x).mean()) if len(x) else np.nan,
            "rmse": float(np.sqrt(((y - x) ** 2).mean())) if len(x) else np.nan,
            "n": len(x),
        }
    return pd.DataFrame(rows).T.rename_axis("state").astype({"n": int})


def limit_of_detection(
    blank: Floats, spiked: Mapping[float, Floats], *, level: float = 0.95
) -> tuple[float, float]:
    """Return the limit of blank, and the least share that is told from it.

    Parameters
    ----------
    blank : array
        Estimates in mixtures without the state.
    spiked : mapping of true share to array
        Estimates in mixtures with it.
    level : float
        Share of blanks at or below the limit, and of spiked mixtures above it.

    Returns
    -------
    (float, float)
        The second is infinite where no share reaches the level at and above itself.
    """
    limit = float(np.quantile(np.asarray(blank, dtype=float), level))
    least = float("inf")
    for share in sorted(spiked, reverse=True):
        if float((np.asarray(spiked[share]) > limit).mean()) < level:
            break
        least = float(share)
    return limit, least


def split_halves(
    bulk: pd.DataFrame,
    signature: pd.DataFrame,
    score: Mapping[str, Sequence[str]],
    *,
    splits: int = 20,
    seed: int,
    weights: Weights = "relative",
) -> pd.DataFrame:
    r"""Return how well two random halves of the genes agree on each score.

    A score is the summed share of some states. With Spearman's correlation *r* between halves, the
    reliability of all genes together is :math:`2r/(1+r)` (Spearman-Brown).

    Parameters
    ----------
    bulk, signature : DataFrame
        As for `deconvolve`.
    score : mapping of name to states
    splits : int
    seed : int

    Returns
    -------
    DataFrame
        By score: ``half`` (mean correlation of halves) and ``reliability`` (0 where halves do not
        agree at all).
    """
    _, _, genes = _shared(bulk, signature)
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in score}
    for _ in range(splits):
        order = rng.permutation(len(genes))
        parts = []
        for half in (order[: len(order) // 2], order[len(order) // 2 :]):
            kept = genes[np.sort(half)]
            parts.append(deconvolve(bulk.loc[kept], signature.loc[kept], weights=weights).shares)
        for name, states in score.items():
            x, y = (p[list(states)].sum(axis=1) for p in parts)
            if np.ptp(x) > 0 and np.ptp(y) > 0:
                found[name].append(float(stats.spearmanr(x, y).statistic))
    half_mean = pd.Series({k: float(np.mean(v)) if v else np.nan for k, v in found.items()})
    kept_r = half_mean.clip(lower=0)
    return pd.DataFrame({"half": half_mean, "reliability": 2 * kept_r / (1 + kept_r)})


def _shared(
    bulk: pd.DataFrame, signature: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.Index]:
    """Return sample and profiles over their shared genes, each column adding to 1; checked."""
    if bulk.index.has_duplicates or signature.index.has_duplicates:
        raise ValueError("a gene stands twice in the bulk table or the signature")
    genes = signature.index[signature.index.isin(bulk.index)]
    if len(genes) < signature.shape[1]:
        raise ValueError(
            f"{len(genes)} genes are shared, expected at least {signature.shape[1]}, one a state"
        )
    b, a = bulk.loc[genes].astype(float), signature.loc[genes].astype(float)
    for name, table in (("bulk", b), ("signature", a)):
        values = table.to_numpy()
        if not np.isfinite(values).all() or (values < 0).any():
            raise ValueError(f"{name}: expected numbers that are not negative, none missing")
    if (a.sum() == 0).any():
        raise ValueError("signature: a state expresses none of the shared genes")
    return b / b.sum().replace(0, 1.0), a / a.sum(), genes


def _support_vectors(left: Floats, y: Floats) -> Floats:
    """Return CIBERSORT's coefficients, those below 0 set to 0."""
    from sklearn.svm import NuSVR

    x = (left - left.mean()) / left.std()
    target = (y - y.mean()) / (y.std() or 1.0)
    best, least = np.zeros(left.shape[1]), np.inf
    for nu in NU:
        raw = NuSVR(kernel="linear", nu=nu, C=1.0).fit(x, target).coef_.ravel()
        kept = np.maximum(raw, 0.0)
        if kept.sum() <= 0:
            continue
        error = float(((x @ (kept / kept.sum()) - target) ** 2).mean())
        if error < least:
            best, least = kept, error
    return np.asarray(best)

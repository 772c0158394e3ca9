r"""Copy-number losses: reading of calls, frequencies, and which losses go together.

A call is ``del``, ``wt`` or missing. A gene that was not tested is missing, never ``wt``, and a
patient counts in the denominator of a gene only if it was tested.

**Pairs.** Of patients tested for both genes, a have both losses. Within a stratum (a cohort, or a
group by which patients were chosen) and with all margins fixed, a follows Fisher's non-central
hypergeometric distribution with odds ratio :math:`\psi`; over strata the sum
:math:`A=\sum_s a_s` has the convolution

.. math:: P(A=t\mid\psi)\propto \psi^t \sum_{\sum t_s=t}\ \prod_s
    \binom{r_s}{t_s}\binom{n_s-r_s}{c_s-t_s},

:math:`r_s` and :math:`c_s` the patients with one and with the other loss. The estimate is where the
mean equals the observed A, the interval inverts two one-sided exact tests, and the two-sided P
value at :math:`\psi=1` adds the values of A that are no more likely than the observed one. Pooling
patients of different strata in one table would show losses as going together that are merely
commoner in the same cohort.

**Least P.** With few losses a pair may be unable to reach a small P whatever is seen. The least
attainable P tells a negative finding from an impossible one (Tarone, Biometrics 1990;46:515).

R: ``mantelhaen.test(x, exact = TRUE)``. Gart, Biometrika 1970;57:471.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from ballbook.contingency import proportion
from ballbook.meta_analysis import RareCounts, pooled_for_verdict, rare_counts_glmm
from ballbook.multiplicity import benjamini_hochberg, holm
from ballbook.results import Estimate, not_estimable

Floats = NDArray[np.float64]
Homozygous = Literal["hom", "unknown"]
TIE = 1 + 1e-7


def mlpa_call(
    word: object, *, hdel: Homozygous = "hom", gain_is_kept: bool = True
) -> tuple[str | float, str | float]:
    """Return status and zygosity of one MLPA call such as ``del ex1-10``, ``hdel ex2`` or ``WT``.

    Parameters
    ----------
    word : object
        Anything but text is a missing call.
    hdel : {"hom", "unknown"}
        How many copies ``hdel`` means lost. ``del`` without the letter leaves the zygosity unknown.
    gain_is_kept : bool
        A gene that is gained is not lost (``wt`` here); otherwise its call is missing.

    Returns
    -------
    tuple
        ``del``, ``wt`` or NaN; ``hom`` or NaN.
    """
    if not isinstance(word, str) or not word.strip():
        return math.nan, math.nan
    text = word.strip().lower()
    if text == "wt":
        return "wt", math.nan
    if "del" in text:
        return "del", "hom" if text.startswith("hdel") and hdel == "hom" else math.nan
    return ("wt" if gain_is_kept and "gain" in text else math.nan), math.nan


def mlpa_calls(
    published: pd.DataFrame, *, hdel: Homozygous = "hom", gain_is_kept: bool = True
) -> pd.DataFrame:
    """Return a column of calls and one of zygosity for each column of MLPA words."""
    found = {}
    for gene in published:
        read = [mlpa_call(w, hdel=hdel, gain_is_kept=gain_is_kept) for w in published[gene]]
        found[gene] = [status for status, _ in read]
        found[f"{gene}_zygosity"] = [zygosity for _, zygosity in read]
    return pd.DataFrame(found, index=published.index, dtype=object)


def either(calls: pd.DataFrame, a: str, b: str, name: str) -> dict[str, pd.Series]:
    """Return two neighbours as one call: lost if either is lost, kept if both are kept."""
    lost = (calls[a] == "del") | (calls[b] == "del")
    kept = (calls[a] == "wt") & (calls[b] == "wt")
    found = np.select([lost, kept], ["del", "wt"], "")
    return {name: pd.Series(found, index=calls.index, dtype=object).replace("", np.nan)}


def frequencies(calls: pd.DataFrame, genes: Sequence[str], by: Any = None) -> pd.DataFrame:
    """Return how often each gene is lost, with exact (Clopper-Pearson) intervals.

    Parameters
    ----------
    calls : DataFrame
        ``del``, ``wt`` or missing; a gene that is no column was not tested.
    genes : sequence of str
    by : Series, optional
        Group of each patient, such as the subtype; missing groups are left out.

    Returns
    -------
    DataFrame
        ``group, gene, k, n, untested, value, ci_low, ci_high``; ``value`` missing where nobody was
        tested.
    """
    groups: Any = [("all", calls)] if by is None else calls.groupby(by, sort=False)
    rows = []
    for group, table in groups:
        for gene in genes:
            column = table[gene] if gene in table else pd.Series(np.nan, table.index)
            k, n = int((column == "del").sum()), int(column.isin(["del", "wt"]).sum())
            e = proportion(k, n) if n else not_estimable("proportion", "nobody was tested")
            rows.append((group, gene, k, n, len(table) - n, e.value, e.ci_low, e.ci_high))
    names = ["group", "gene", "k", "n", "untested", "value", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=names)


@dataclass(frozen=True, slots=True)
class PooledShare:
    """The share of several cohorts.

    Attributes
    ----------
    model : RareCounts
        The random-intercept logistic model.
    by_logit : Estimate
        Random-effects mean of the observed logits (REML), with the wider of its normal and its
        Hartung-Knapp interval.
    for_verdict : Estimate
        The share of the model with the wider of the two intervals on the logit scale.
    """

    model: RareCounts
    by_logit: Estimate
    for_verdict: Estimate


def pooled_share(k: ArrayLike, n: ArrayLike, labels: Sequence[str]) -> PooledShare:
    r"""Pool shares of cohorts.

    The logistic model takes :math:`\tau` for known when it makes its interval, which is too narrow
    for few cohorts. A claim is therefore judged by the wider of that interval and that of the mean
    of the logits, of variance :math:`1/k+1/(n-k)` (0.5 added to all where a cohort has none or
    only losses).

    Parameters
    ----------
    k, n : array_like of int
        Losses and patients, one a cohort.
    labels : sequence of str
    """
    lost, of = np.asarray(k, dtype=float), np.asarray(n, dtype=float)
    model = rare_counts_glmm(np.asarray(k, dtype=int), np.asarray(n, dtype=int))
    add = 0.5 if ((lost == 0) | (lost == of)).any() else 0.0
    a, b = lost + add, of - lost + add
    odds = pooled_for_verdict(np.log(a / b), np.sqrt(1 / a + 1 / b), list(labels)).pooled

    def share(v: float | None) -> float | None:
        return None if v is None else v / (1 + v)

    by_logit = replace(
        odds, kind="proportion", value=share(odds.value), ci_low=share(odds.ci_low),
        ci_high=share(odds.ci_high), p_value=None, statistic=None, df=None,
        n=int(of.sum()), n_events=int(lost.sum()),
    )  # fmt: skip

    def width(e: Estimate) -> float:
        if e.ci_low is None or e.ci_high is None:
            return 0.0
        return float(special.logit(e.ci_high) - special.logit(e.ci_low))

    found = model.pooled
    if found.value is not None and width(by_logit) > width(found):
        found = replace(
            found, ci_low=by_logit.ci_low, ci_high=by_logit.ci_high,
            method=f"{found.method}; the interval is the wider one, of the mean of logits",
        )  # fmt: skip
    return PooledShare(model, by_logit, found)


def two_by_two(calls: pd.DataFrame, a: str, b: str) -> list[int]:
    """Return the patients with both losses, only the first, only the second, and neither."""
    known = calls[calls[a].isin(["del", "wt"]) & calls[b].isin(["del", "wt"])]
    first, second = known[a] == "del", known[b] == "del"
    cells = (first & second, first & ~second, ~first & second, ~first & ~second)
    return [int(c.sum()) for c in cells]


def stratified_exact(tables: Iterable[Sequence[int]], *, ci_level: float = 0.95) -> Estimate:
    """Return the common odds ratio of 2x2 tables, exact given the margins of every table.

    Parameters
    ----------
    tables : iterable of (both, only first, only second, neither)

    Returns
    -------
    Estimate
        Kind ``odds-ratio``. Without a value where the margins allow one outcome only; with a
        missing value and one bound where the observed outcome is the largest possible.
        ``statistic`` is the least P that the margins allow.

    Raises
    ------
    ValueError
        If a count is negative.
    """
    cells = [tuple(int(v) for v in t) for t in tables]
    if any(v < 0 for t in cells for v in t):
        raise ValueError("tables: counts below zero")
    n, seen = sum(map(sum, cells)), sum(t[0] for t in cells)
    low, weight = 0, np.zeros(1)
    for both, first, second, neither in cells:
        row, col, all_ = both + first, both + second, both + first + second + neither
        start, end = max(0, row + col - all_), min(row, col)
        part = stats.hypergeom.logpmf(np.arange(start, end + 1), all_, row, col) if all_ else [0.0]
        low += start if all_ else 0
        weight = _log_convolve(weight, np.asarray(part, dtype=float))
    support = low + np.arange(len(weight))
    if len(support) == 1:
        return not_estimable("odds-ratio", "the margins allow no other table", n=n)
    null = np.exp(weight - weight.max())
    null /= null.sum()
    p = min(1.0, float(null[null <= null[seen - low] * TIE].sum()))
    # The least P belongs to one of the two ends, since the distribution has one peak.
    least = min(float(null[null <= null[i] * TIE].sum()) for i in (0, -1))
    alpha = 1 - ci_level

    def tilted(log_psi: float) -> Floats:
        q = weight + support * log_psi
        q = np.exp(q - q.max())
        return np.asarray(q / q.sum())

    def solve(f: Any) -> float:
        reach = 1.0
        while f(-reach) * f(reach) > 0:
            reach *= 2
        return math.exp(optimize.brentq(f, -reach, reach, xtol=1e-12))

    at_low, at_high = seen == support[0], seen == support[-1]
    value = 0.0 if at_low else None if at_high else solve(
        lambda t: float(tilted(t) @ support) - seen
    )  # fmt: skip
    bounds = (
        0.0 if at_low else solve(lambda t: float(tilted(t)[support >= seen].sum()) - alpha / 2),
        None if at_high else solve(lambda t: float(tilted(t)[support <= seen].sum()) - alpha / 2),
    )
    return Estimate(
        "odds-ratio", value, *bounds, ci_level=ci_level, p_value=p, n=n, n_events=seen,
        statistic=least, method=f"exact, conditional on the margins of {len(cells)} strata",
        reason="infinite: no patient speaks against it" if at_high else None,
    )  # fmt: skip


def _log_convolve(a: Floats, b: Floats) -> Floats:
    """Convolve two vectors of log weights, the result scaled to a largest weight of one."""
    with np.errstate(divide="ignore"):
        found = np.log(np.convolve(np.exp(a - a.max()), np.exp(b - b.max())))
    return np.asarray(found - found.max())


def pairs(calls: pd.DataFrame, genes: Sequence[str], strata: pd.Series) -> pd.DataFrame:
    """Return for every two genes whether their losses go together or exclude each other.

    Parameters
    ----------
    calls : DataFrame
    genes : sequence of str
    strata : Series
        Stratum of each patient; missing leaves the patient out.

    Returns
    -------
    DataFrame
        ``first, second, both, only_first, only_second, neither, n, value, ci_low, ci_high,
        p_value, least_p, p_bh, p_holm``, sorted by P. Pairs of which the margins allow one table
        only have no P and are not counted in the corrections: they could not have been found.
    """
    rows = []
    for a, b in itertools.combinations(genes, 2):
        tables = [two_by_two(t, a, b) for _, t in calls.groupby(strata, sort=False)]
        e = stratified_exact(tables)
        both, first, second, neither = (sum(t[i] for t in tables) for i in range(4))
        rows.append((a, b, both, first, second, neither, e.n, e.value, e.ci_low, e.ci_high,
                     e.p_value, e.statistic))  # fmt: skip
    names = ["first", "second", "both", "only_first", "only_second", "neither", "n", "value",
             "ci_low", "ci_high", "p_value", "least_p"]  # fmt: skip
    found = pd.DataFrame(rows, columns=names).astype(
        {c: float for c in ("value", "ci_low", "ci_high", "p_value", "least_p")}
    )
    tested = found["p_value"].notna()
    for name, correct in (("p_bh", benjamini_hochberg), ("p_holm", holm)):
        found[name] = np.nan
        if tested.any():
            found.loc[tested, name] = correct(found.loc[tested, "p_value"].to_numpy())
    return found.sort_values("p_value", kind="stable", ignore_index=True)


def waterfall(calls: pd.DataFrame, genes: Sequence[str]) -> list[Any]:
    """Return the patients in the order of an oncoprint: by the first gene, then the next, ...

    Lost comes before not lost, and that before not tested.
    """
    rank = {"del": 0, "wt": 1}
    keys = pd.DataFrame({g: [rank.get(c, 2) for c in calls[g]] for g in genes}, index=calls.index)
    return list(keys.sort_values(list(genes), kind="stable").index)

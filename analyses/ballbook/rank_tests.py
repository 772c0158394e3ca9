r"""Rank tests, exact where the samples are small, ties included.

Under the null hypothesis every arrangement of the observed (mid)ranks is equally likely; for small
samples that distribution is counted, not approximated. R's own tests fall back to the normal
approximation as soon as there are ties; the exact values with ties are those of the package coin.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import permutations
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from ballbook.inputs import Floats, as_labels, as_level, as_vector, levels_of, same_length
from ballbook.results import Estimate, not_estimable

Exact = bool | Literal["auto"]

# Group sizes below which "auto" is exact; R's limit for wilcox.test.
SMALL = 50
# Arrangements up to which the Kruskal-Wallis distribution is counted.
MAX_ARRANGEMENTS = 200_000


def mann_whitney(
    x: ArrayLike, y: ArrayLike, exact: Exact = "auto", *, ci_level: float = 0.95
) -> Estimate:
    r"""Return the Hodges-Lehmann shift of x against y with the Wilcoxon rank-sum test.

    `statistic` is :math:`W=\#\{x_i>y_j\}+\tfrac12\#\{x_i=y_j\}`, as in R; W divided by the number
    of pairs estimates :math:`P(X>Y)`. `value` is the median of all :math:`x_i-y_j`.

    * Exact: the distribution of the rank sum over all choices of patients, midranks for ties;
      P is the probability of a sum at least as far from its mean as the observed.
    * Normal: :math:`z=(W-n_1n_2/2\mp\tfrac12)/\sigma` with
      :math:`\sigma^2=\frac{n_1n_2}{12}\left(N+1-\frac{\sum(t^3-t)}{N(N-1)}\right)`.
    * Interval: order statistics of the pairwise differences, from the exact distribution without
      ties (Bauer, JASA 1972;67:687); otherwise the shifts that the normal test does not reject.

    Parameters
    ----------
    x, y : array_like of float
        The group of interest and the reference, in the same unit.
    exact : bool or "auto"
        "auto" is exact when both groups have fewer than 50 values.

    Raises
    ------
    ValueError
        For missing, non-finite or non-numeric values, or an empty group.

    Notes
    -----
    R: ``wilcox.test(x, y, conf.int = TRUE)``; with ties ``coin::wilcox_test(distribution =
    "exact")``.
    """
    a, b = as_vector(x, "x"), as_vector(y, "y")
    as_level(ci_level)
    n1, n2 = len(a), len(b)
    both = np.concatenate([a, b])
    if np.ptp(both) == 0:
        return not_estimable("difference", "all values are equal", n=n1 + n2)
    ranks = stats.rankdata(both)
    w = float(ranks[:n1].sum() - n1 * (n1 + 1) / 2)
    ties = len(np.unique(both)) < len(both)
    use_exact = max(n1, n2) < SMALL if exact == "auto" else bool(exact)
    differences = np.sort(np.subtract.outer(a, b).ravel())
    shift = float(np.median(differences))
    low: float | None
    high: float | None
    if use_exact:
        p = _rank_sum_p(ranks, n1)
        how = "exact Wilcoxon rank-sum test"
    else:
        p = _rank_sum_normal_p(ranks, n1, n2, w)
        how = "Wilcoxon rank-sum test, normal approximation with continuity correction"
    if use_exact and not ties:
        low, high = _exact_shift_interval(differences, n1, n2, ci_level)
        told = "exact interval"
    else:
        low, high = _normal_shift_interval(a, b, differences, ci_level)
        told = "interval by inverting the normal test"
    return Estimate(
        kind="difference",
        value=shift,
        ci_low=low,
        ci_high=high,
        ci_level=ci_level,
        p_value=p,
        n=n1 + n2,
        statistic=w,
        method=f"Hodges-Lehmann shift, {told}; {how}",
        reason="too few values for an interval at this level" if low is None else None,
    )


def kruskal_wallis(values: ArrayLike, groups: Any, exact: Exact = "auto") -> Estimate:
    r"""Return the Kruskal-Wallis test that all groups have the same distribution.

    :math:`H=\frac{12}{N(N+1)}\sum_g R_g^2/n_g-3(N+1)`, divided by
    :math:`1-\sum(t^3-t)/(N^3-N)`; chi-squared on (groups - 1) df, or, when at most 200,000
    arrangements exist, the exact share of arrangements with H at least the observed.

    Parameters
    ----------
    values : array_like of float, shape (n,)
    groups : sequence of labels, shape (n,)

    Raises
    ------
    ValueError
        For missing values or labels, or unequal lengths.

    Notes
    -----
    R: ``kruskal.test(values, groups)`` (always chi-squared).
    """
    v = as_vector(values, "values")
    g = as_labels(groups, "groups", len(v))
    levels = [level for level in levels_of(groups) if (g == level).any()]
    if len(levels) < 2:
        return not_estimable("p-value", "only one group", n=len(v))
    if np.ptp(v) == 0:
        return not_estimable("p-value", "all values are equal", n=len(v))
    ranks = stats.rankdata(v)
    n = len(v)
    member = [g == level for level in levels]
    sizes = [int(m.sum()) for m in member]
    _, ties = np.unique(v, return_counts=True)
    correction = 1 - float((ties.astype(float) ** 3 - ties).sum()) / (n**3 - n)

    def h_of(sums: Any) -> Any:
        total = sum(s**2 / size for s, size in zip(sums, sizes, strict=True))
        return (12 / (n * (n + 1)) * total - 3 * (n + 1)) / correction

    h = float(h_of([float(ranks[m].sum()) for m in member]))
    arrangements = math.factorial(n) if n < 30 else math.inf
    for size in sizes:
        arrangements /= math.factorial(size) if n < 30 else 1
    use_exact = arrangements <= MAX_ARRANGEMENTS if exact == "auto" else bool(exact)
    if use_exact and arrangements > 50 * MAX_ARRANGEMENTS:
        raise ValueError("exact: too many arrangements to count; use exact='auto'")
    if use_exact:
        p, how = _kruskal_exact(ranks, sizes, h_of, h), "exact"
    else:
        p, how = float(stats.chi2.sf(h, len(levels) - 1)), "chi-squared"
    return Estimate(
        kind="p-value",
        value=p,
        p_value=p,
        n=n,
        statistic=h,
        df=len(levels) - 1,
        method=f"Kruskal-Wallis test, {how}",
    )


def spearman(x: ArrayLike, y: ArrayLike, *, ci_level: float = 0.95) -> Estimate:
    r"""Return Spearman's rank correlation with interval and test.

    Interval: :math:`\tanh(\operatorname{artanh} r \pm z\sqrt{(1+r^2/2)/(n-3)})` (Bonett and
    Wright, Psychometrika 2000;65:23). P, two-sided: all n! orders for n <= 9, ties included;
    without ties the Edgeworth series of Best and Roberts (Appl Stat 1975;24:377) up to n = 1,289,
    as in R; otherwise Student's t on n-2 df.

    The series corrects a normal tail and breaks down far out in it (for n = 38 beyond
    :math:`|r|=0.65`): R then gives 0, or P values that rise with r. Where it would take away more
    than four fifths of the normal tail, or has done so nearer the centre, Student's t is used
    (R's ``exact = FALSE``). No P is below :math:`2/n!`, that of the most extreme order.

    Parameters
    ----------
    x, y : array_like of float, shape (n,)
    ci_level : float
        Level of the interval.

    Returns
    -------
    Estimate
        ``kind="correlation"``; without a value, with the reason, for fewer than three pairs or
        when one of the two is constant.

    Raises
    ------
    ValueError
        For missing values or unequal lengths.

    Notes
    -----
    R: ``cor.test(x, y, method = "spearman")``; with ties R uses t at every n.
    """
    a, b = as_vector(x, "x"), as_vector(y, "y")
    n = same_length(x=a, y=b)
    z = float(stats.norm.isf((1 - as_level(ci_level)) / 2))
    nothing = _no_correlation(a, b)
    if nothing is not None:
        return nothing
    rx, ry = stats.rankdata(a), stats.rankdata(b)
    r = _pearson(rx, ry)
    ties = len(np.unique(a)) < n or len(np.unique(b)) < n
    if n <= 9:
        p, how = _spearman_exact_p(rx, ry), "exact test"
    else:
        series = None
        if not ties and n < 1290:
            series = _spearman_edgeworth_p(float(((rx - ry) ** 2).sum()), n)
        if series is not None:
            p, how = series, "Edgeworth series"
        else:
            t = abs(r) * math.sqrt((n - 2) / max(1 - r * r, 1e-300))
            p, how = max(float(2 * stats.t.sf(t, n - 2)), _least_p(n)), "t approximation"
    low: float | None = None
    high: float | None = None
    note = None
    if n < 4:
        note = "fewer than four pairs: no interval"
    elif abs(r) >= 1 - 1e-12:
        note = "the ranks agree perfectly: no interval"
    else:
        half = z * math.sqrt((1 + r * r / 2) / (n - 3))
        low, high = math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
    return Estimate(
        kind="correlation",
        value=r,
        ci_low=low,
        ci_high=high,
        ci_level=ci_level,
        p_value=p,
        n=n,
        statistic=r,
        method=f"Spearman's rho, Bonett-Wright interval, {how}",
        reason=note,
    )


def kendall(x: ArrayLike, y: ArrayLike, *, ci_level: float = 0.95) -> Estimate:
    r"""Return Kendall's tau-b with interval and test.

    Test: exact for n < 50 without ties, else normal with tie-corrected variance, as R.
    Interval: :math:`\tanh(\operatorname{artanh}\tau\pm z\sqrt{0.437/(n-4)})` (Fieller, Hartley,
    Pearson, Biometrika 1957;44:470), meant for \|tau\| < 0.8.

    Raises
    ------
    ValueError
        For missing values or unequal lengths.

    Notes
    -----
    R: ``cor.test(x, y, method = "kendall")``.
    """
    a, b = as_vector(x, "x"), as_vector(y, "y")
    n = same_length(x=a, y=b)
    z = float(stats.norm.isf((1 - as_level(ci_level)) / 2))
    nothing = _no_correlation(a, b)
    if nothing is not None:
        return nothing
    ties = len(np.unique(a)) < n or len(np.unique(b)) < n
    exact = not ties and n < SMALL
    found = stats.kendalltau(a, b, method="exact" if exact else "asymptotic")
    tau, p = float(found.statistic), float(found.pvalue)
    low: float | None = None
    high: float | None = None
    note = None
    if n < 5 or abs(tau) >= 1 - 1e-12:
        note = "fewer than five pairs: no interval" if n < 5 else "perfect agreement: no interval"
    else:
        half = z * math.sqrt(0.437 / (n - 4))
        low, high = math.tanh(math.atanh(tau) - half), math.tanh(math.atanh(tau) + half)
    return Estimate(
        kind="correlation",
        value=tau,
        ci_low=low,
        ci_high=high,
        ci_level=ci_level,
        p_value=p,
        n=n,
        statistic=tau,
        method=f"Kendall's tau-b, {'exact' if exact else 'normal'} test",
        reason=note,
    )


def chance_interval(
    chance: float, n1: int, n2: int, *, ci_level: float = 0.95
) -> tuple[float, float]:
    r"""Return the interval of a Mann-Whitney probability of groups of `n1` and `n2`.

    It inverts

    .. math:: \operatorname{var}\theta = \frac{\theta(1-\theta)}{n_1 n_2}
        \left(1 + N^*\frac{1-\theta}{2-\theta} + N^*\frac{\theta}{1+\theta}\right),
        \qquad N^* = \frac{n_1+n_2}{2}-1

    (Newcombe, Stat Med 2006;25:559, method 5), and so stays within 0 and 1 in small groups.
    """
    z = float(stats.norm.isf((1 - as_level(ci_level)) / 2))
    centre = (n1 + n2) / 2 - 1

    def excess(t: float) -> float:
        inflation = 1 + centre * ((1 - t) / (2 - t) + t / (1 + t))
        return float(abs(chance - t) - z * math.sqrt(t * (1 - t) / (n1 * n2) * inflation))

    # The excess is positive at either end of the scale and negative beside the estimate.
    low = optimize.brentq(excess, 0.0, min(chance, 1 - 1e-9), xtol=1e-12) if chance > 0 else 0.0
    high = optimize.brentq(excess, max(chance, 1e-9), 1.0, xtol=1e-12) if chance < 1 else 1.0
    return float(low), float(high)


# ---------------------------------------------------------------------------- inner workings


def _no_correlation(x: Floats, y: Floats) -> Estimate | None:
    """Return why two vectors have no correlation, if that is so."""
    if len(x) < 3:
        return not_estimable("correlation", "fewer than three pairs", n=len(x))
    for name, v in (("x", x), ("y", y)):
        if np.ptp(v) == 0:
            return not_estimable("correlation", f"{name} is constant", n=len(x))
    return None


def _rank_sum_p(ranks: Floats, n1: int) -> float:
    """Share of all choices of n1 ranks whose sum is as far from its mean as the first n1."""
    doubled = np.rint(2 * ranks).astype(int)
    n = len(doubled)
    # Choosing the smaller group gives the same distance from the mean with less counting.
    m = min(n1, n - n1)
    top = int(np.sort(doubled)[-m:].sum())
    ways = np.zeros((m + 1, top + 1))
    ways[0, 0] = 1
    for r in doubled:
        ways[1:, r:] += ways[:-1, : top + 1 - r].copy()
    share = ways[m] / ways[m].sum()
    centre = m * doubled.sum() / n
    first = doubled[:n1].sum() if m == n1 else doubled[n1:].sum()
    far = np.abs(np.arange(top + 1) - centre) >= abs(first - centre) - 1e-9
    return min(1.0, float(share[far].sum()))


def _rank_sum_sigma(ranks: Floats, n1: int, n2: int) -> float:
    n = n1 + n2
    _, ties = np.unique(ranks, return_counts=True)
    tied = float((ties.astype(float) ** 3 - ties).sum())
    return math.sqrt(n1 * n2 / 12 * ((n + 1) - tied / (n * (n - 1))))


def _rank_sum_normal_p(ranks: Floats, n1: int, n2: int, w: float) -> float:
    gap = w - n1 * n2 / 2
    z = (abs(gap) - 0.5 * (gap != 0)) / _rank_sum_sigma(ranks, n1, n2)
    return min(1.0, float(2 * stats.norm.sf(z)))


def _rank_sum_counts(n1: int, n2: int) -> Floats:
    """Probabilities of W = 0 .. n1 n2 without ties."""
    m = min(n1, n2)
    top = n1 * n2
    ways = np.zeros((m + 1, top + 1))
    ways[0, 0] = 1
    for i in range(n1 + n2):
        for j in range(min(m, i + 1), 0, -1):
            shift = i - j + 1
            if shift <= top:
                ways[j, shift:] += ways[j - 1, : top + 1 - shift]
    return np.asarray(ways[m] / ways[m].sum())


def _exact_shift_interval(
    differences: Floats, n1: int, n2: int, ci_level: float
) -> tuple[float | None, float | None]:
    cumulative = np.cumsum(_rank_sum_counts(n1, n2))
    quantile = int(np.searchsorted(cumulative, (1 - ci_level) / 2 * (1 - 1e-12)))
    if quantile == 0:
        return None, None
    return float(differences[quantile - 1]), float(differences[n1 * n2 - quantile])


def _normal_shift_interval(
    a: Floats, b: Floats, differences: Floats, ci_level: float
) -> tuple[float | None, float | None]:
    """Outermost shifts at which the continuity-corrected normal test still rejects."""
    z = float(stats.norm.isf((1 - ci_level) / 2))
    n1, n2 = len(a), len(b)
    steps = np.unique(differences)

    def corrected(shift: float, side: int) -> float:
        ranks = stats.rankdata(np.concatenate([a - shift, b]))
        w = ranks[:n1].sum() - n1 * (n1 + 1) / 2 - n1 * n2 / 2
        sigma = _rank_sum_sigma(ranks, n1, n2)
        return float((w - side * 0.5) / sigma) if sigma > 0 else 0.0

    def crossing(target: float, side: int) -> float | None:
        # The statistic falls with the shift and jumps only at pairwise differences.
        margin = max(1.0, abs(float(steps[0])), abs(float(steps[-1])))
        edges = np.concatenate(
            [[steps[0] - margin], (steps[1:] + steps[:-1]) / 2, [steps[-1] + margin]]
        )
        if corrected(edges[0], side) < target or corrected(edges[-1], side) > target:
            return None
        low, high = 0, len(edges) - 1
        while high - low > 1:
            middle = (low + high) // 2
            if corrected(edges[middle], side) >= target:
                low = middle
            else:
                high = middle
        return float(steps[low])

    return crossing(z, 1), crossing(-z, -1)


def _kruskal_exact(ranks: Floats, sizes: list[int], h_of: Any, h: float) -> float:
    """Deal the ranks out one by one, merging deals with equal counts and rank sums."""
    doubled = np.rint(2 * ranks).astype(int)
    start = (tuple([0] * len(sizes)), tuple([0] * len(sizes)))
    deals: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {start: 1.0}
    for r in doubled.tolist():
        following: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}
        for (used, sums), ways in deals.items():
            for j, size in enumerate(sizes):
                if used[j] < size:
                    key = (
                        (*used[:j], used[j] + 1, *used[j + 1 :]),
                        (*sums[:j], sums[j] + r, *sums[j + 1 :]),
                    )
                    following[key] = following.get(key, 0.0) + ways
        deals = following
    total = sum(deals.values())
    far = sum(w for (_, sums), w in deals.items() if h_of([s / 2 for s in sums]) >= h - 1e-9)
    return min(1.0, far / total)


def _pearson(x: Floats, y: Floats) -> float:
    dx, dy = x - x.mean(), y - y.mean()
    r = float((dx * dy).sum() / math.sqrt((dx**2).sum() * (dy**2).sum()))
    return max(-1.0, min(1.0, r))


@cache
def _orders(n: int) -> NDArray[np.int8]:
    return np.array(list(permutations(range(n))), dtype=np.int8)


def _spearman_exact_p(rx: Floats, ry: Floats) -> float:
    """Two-sided: twice the smaller tail over all orders, as R counts it."""
    products = ry[_orders(len(rx))] @ rx
    seen = float(ry @ rx)
    upper = float((products >= seen - 1e-9).mean())
    lower = float((products <= seen + 1e-9).mean())
    return min(1.0, 2 * min(upper, lower))


def _spearman_edgeworth_p(s: float, n: int) -> float | None:
    """Two-sided P of S = sum of squared rank differences; None where the series breaks down."""
    b = 1 / n
    # S is even; R asks for the lower tail at S + 2.
    s = round(s)
    upper = s > (n**3 - n) / 6
    end = (6 * ((s if upper else s + 2) - 1) * b / (n * n - 1.0) - 1) * math.sqrt(n - 1)

    # How the series went on the way from the centre to S.
    x = np.linspace(0, end, 50)
    y = x * x
    inner = 0.0151 * b - y * (0.0072 - 0.0831 * b + y * b * (0.0131 - 0.00046 * y))
    inner = -0.0758 + b * (0.1033 + 0.3932 * b) - y * b * (0.0879 + inner)
    u = x * b * (0.2274 + b * (0.2531 + 0.1745 * b) + y * inner) / np.exp(y / 2)
    tail = stats.norm.sf(x) if upper else stats.norm.cdf(x)
    correction = u if upper else -u
    if (np.abs(correction) > 0.8 * tail).any():
        return None
    return min(1.0, 2 * float(tail[-1] + correction[-1]))


def _least_p(n: int) -> float:
    """Two-sided P of the most extreme of n! orders, or the smallest number that can be held."""
    return max(2 * math.exp(-math.lgamma(n + 1)), float(np.finfo(float).tiny))

r"""Proportions and contingency tables, exact by default.

Every function takes counts and returns an `Estimate`. Tests that have no natural effect size
return ``kind="p-value"``. The R calls that give the same numbers stand in the docstrings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from ballbook.inputs import as_count, as_counts, as_level, as_vector, same_length
from ballbook.results import Estimate, not_estimable

# As R: two tables are equally likely when their probabilities agree to seven digits.
TIE = 1 + 1e-7

# A table with more partial tables than this is sampled instead of enumerated.
MAX_NODES = 2_000_000


# ---------------------------------------------------------------------------- proportions


def proportion(
    k: int,
    n: int,
    method: Literal["exact", "mid-p", "wilson"] = "exact",
    *,
    null: float | None = None,
    ci_level: float = 0.95,
) -> Estimate:
    r"""Return k/n with an interval.

    * ``exact``, Clopper-Pearson: the bounds solve :math:`P(X \ge k \mid p_L) = \alpha/2` and
      :math:`P(X \le k \mid p_U) = \alpha/2`, so coverage is never below the level.
    * ``mid-p``: the probability of the observed count is halved in both equations; coverage is
      near the level on average and may fall slightly below it.
    * ``wilson``: the score interval :math:`|p - \hat p| \le z\sqrt{p(1-p)/n}` solved for p.

    Parameters
    ----------
    k, n : int
        Events and patients.
    null : float, optional
        A fraction to test against; the P value is two-sided, exact (mid-p for ``mid-p``, score for
        ``wilson``).

    Raises
    ------
    ValueError
        If the counts are not integers with 0 <= k <= n, or `null` is not within 0..1.

    Notes
    -----
    R: ``binom.test(k, n, null)``; ``prop.test(k, n, null, correct = FALSE)`` for Wilson.
    Clopper and Pearson, Biometrika 1934;26:404. Wilson, JASA 1927;22:209.
    """
    k, n = as_count(k, "k"), as_count(n, "n")
    alpha = 1 - as_level(ci_level)
    if k > n:
        raise ValueError(f"k: {k} events among only {n} patients")
    if null is not None and not 0 <= null <= 1:
        raise ValueError(f"null: expected a fraction, got {null}")
    if n == 0:
        return not_estimable("proportion", "no patients in the denominator", n=0, n_events=0)
    p_value: float | None = None
    if method == "exact":
        low = 0.0 if k == 0 else float(stats.beta.ppf(alpha / 2, k, n - k + 1))
        high = 1.0 if k == n else float(stats.beta.ppf(1 - alpha / 2, k + 1, n - k))
        if null is not None:
            p_value = _binomial_p(k, n, null)
        how = "Clopper-Pearson exact interval"
    elif method == "mid-p":

        def upper_tail(p: float) -> float:
            return float(stats.binom.sf(k, n, p) + 0.5 * stats.binom.pmf(k, n, p))

        low = 0.0 if k == 0 else _root(lambda p: upper_tail(p) - alpha / 2, 0.0, 1.0)
        high = 1.0 if k == n else _root(lambda p: upper_tail(p) - (1 - alpha / 2), 0.0, 1.0)
        if null is not None:
            p_value = min(1.0, 2 * min(upper_tail(null), 1 - upper_tail(null)))
        how = "mid-p interval"
    elif method == "wilson":
        low, high = _wilson(k, n, alpha)
        if null is not None and 0 < null < 1:
            z = (k / n - null) / math.sqrt(null * (1 - null) / n)
            p_value = float(2 * stats.norm.sf(abs(z)))
        how = "Wilson score interval"
    else:
        raise ValueError(f"method: expected exact, mid-p or wilson, got {method!r}")
    return Estimate(
        kind="proportion",
        value=k / n,
        ci_low=low,
        ci_high=high,
        ci_level=ci_level,
        p_value=p_value,
        n=n,
        n_events=k,
        method=how if null is None else f"{how}, two-sided test against {null:g}",
    )


def risk_difference(
    k1: int,
    n1: int,
    k2: int,
    n2: int,
    method: Literal["newcombe", "miettinen-nurminen", "exact", "mid-p"] = "newcombe",
    *,
    ci_level: float = 0.95,
) -> Estimate:
    r"""Return :math:`\hat p_1 - \hat p_2` with an interval.

    * ``newcombe``: hybrid score, method 10 of Newcombe (Stat Med 1998;17:873),
      :math:`d - \sqrt{(\hat p_1-l_1)^2 + (u_2-\hat p_2)^2}` to
      :math:`d + \sqrt{(u_1-\hat p_1)^2 + (\hat p_2-l_2)^2}` with Wilson bounds l and u.
      The P value is Pearson's chi-squared, uncorrected.
    * ``miettinen-nurminen``: score interval (Stat Med 1985;4:213): the differences :math:`\delta`
      not rejected by :math:`(d-\delta)^2 / \tilde V_\delta`, where :math:`\tilde V_\delta` holds
      the proportions of highest likelihood under :math:`\delta` and the factor N/(N-1).
    * ``exact``: unconditional, two one-sided tests ordered by the score statistic, the nuisance
      proportion maximised out (Chan and Zhang, Biometrics 1999;55:1202).
    * ``mid-p``: as ``exact`` with the probability of tables that tie with the observed halved.

    Parameters
    ----------
    k1, n1, k2, n2 : int
        Events and patients in the group of interest and in the reference.

    Raises
    ------
    ValueError
        If the counts are not integers with 0 <= k <= n.
    """
    k1, n1, k2, n2 = (as_count(v, s) for v, s in ((k1, "k1"), (n1, "n1"), (k2, "k2"), (n2, "n2")))
    alpha = 1 - as_level(ci_level)
    for k, n, s in ((k1, n1, "1"), (k2, n2, "2")):
        if k > n:
            raise ValueError(f"k{s}: {k} events among only {n} patients")
    if n1 == 0 or n2 == 0:
        empty = "first" if n1 == 0 else "second"
        return not_estimable("risk-difference", f"no patients in the {empty} group", n=n1 + n2)
    d = k1 / n1 - k2 / n2
    if method == "newcombe":
        l1, u1 = _wilson(k1, n1, alpha)
        l2, u2 = _wilson(k2, n2, alpha)
        low = d - math.hypot(k1 / n1 - l1, u2 - k2 / n2)
        high = d + math.hypot(u1 - k1 / n1, k2 / n2 - l2)
        z = _score_z(k1, n1, k2, n2, 0.0, variance_factor=False)
        p_value = float(2 * stats.norm.sf(abs(z)))
        how = "Newcombe hybrid score interval, Pearson chi-squared test"
    elif method == "miettinen-nurminen":
        z_crit = float(stats.norm.isf(alpha / 2))

        def z_at(delta: float) -> float:
            return _score_z(k1, n1, k2, n2, delta)

        edge = 1 - 1e-12
        low = -1.0 if z_at(-edge) <= z_crit else _root(lambda x: z_at(x) - z_crit, -edge, d)
        high = 1.0 if z_at(edge) >= -z_crit else _root(lambda x: z_at(x) + z_crit, d, edge)
        p_value = float(2 * stats.norm.sf(abs(z_at(0.0))))
        how = "Miettinen-Nurminen score interval and test"
    elif method in ("exact", "mid-p"):
        low, high, p_value = _unconditional(k1, n1, k2, n2, alpha, mid=method == "mid-p")
        how = f"unconditional {method} interval and test (score ordering)"
    else:
        raise ValueError(
            f"method: expected newcombe, miettinen-nurminen, exact or mid-p, got {method!r}"
        )
    return Estimate(
        kind="risk-difference",
        value=d,
        ci_low=low,
        ci_high=high,
        ci_level=ci_level,
        p_value=p_value,
        n=n1 + n2,
        n_events=k1 + k2,
        method=how,
    )


# ---------------------------------------------------------------------------- one table


def odds_ratio(
    a: int,
    b: int,
    c: int,
    d: int,
    method: Literal["exact", "wald"] = "exact",
    *,
    ci_level: float = 0.95,
) -> Estimate:
    r"""Return the odds ratio of the table [[a, b], [c, d]].

    * ``exact``: given all margins, a follows Fisher's non-central hypergeometric distribution,
      :math:`P(a) \propto \binom{a+b}{a}\binom{c+d}{m-a}\psi^a`. The estimate is the conditional
      maximum likelihood :math:`\hat\psi`, where the mean equals the observed a; the interval
      inverts two one-sided exact tests; the two-sided P value at :math:`\psi=1` adds the tables
      that are no more likely than the observed one (to a relative 1e-7, as R does).
    * ``wald``: ad/(bc) with :math:`\exp(\ln\hat\psi \pm z\sqrt{1/a+1/b+1/c+1/d})`; with a zero
      cell, 0.5 is added to all four (Haldane-Anscombe) and `reason` says so.

    Raises
    ------
    ValueError
        If a cell is not a non-negative integer.

    Notes
    -----
    R: ``fisher.test(matrix(c(a, c, b, d), 2))``. R finds its roots to about 1e-4; here they are
    found to machine precision.
    """
    a, b, c, d = (as_count(v, s) for v, s in ((a, "a"), (b, "b"), (c, "c"), (d, "d")))
    alpha = 1 - as_level(ci_level)
    n = a + b + c + d
    for total, what in (
        (a + b, "first row"),
        (c + d, "second row"),
        (a + c, "first column"),
        (b + d, "second column"),
    ):
        if total == 0:
            return not_estimable("odds-ratio", f"the {what} of the table is empty", n=n)
    if method == "wald":
        add = 0.5 if 0 in (a, b, c, d) else 0.0
        w, x, y, z = (v + add for v in (a, b, c, d))
        log_or = math.log(w * z / (x * y))
        se = math.sqrt(1 / w + 1 / x + 1 / y + 1 / z)
        half = float(stats.norm.isf(alpha / 2)) * se
        return Estimate(
            kind="odds-ratio",
            value=math.exp(log_or),
            ci_low=math.exp(log_or - half),
            ci_high=math.exp(log_or + half),
            ci_level=ci_level,
            p_value=float(2 * stats.norm.sf(abs(log_or) / se)),
            n=n,
            n_events=a + c,
            statistic=log_or / se,
            method="odds ratio, Wald interval",
            reason="0.5 added to each cell because one is zero" if add else None,
        )
    if method != "exact":
        raise ValueError(f"method: expected exact or wald, got {method!r}")
    support, log_weight = _hypergeometric(a + b, c + d, a + c)
    lo, hi = int(support[0]), int(support[-1])
    p_value = _fisher_p(a, support, log_weight)
    psi = _conditional_mle(a, support, log_weight)
    low = 0.0 if a == lo else _tilt_root(support, log_weight, a, "upper", alpha / 2)
    high = None if a == hi else _tilt_root(support, log_weight, a, "lower", alpha / 2)
    note = None
    if psi is None:
        note = "the estimate is infinite: no finite odds ratio fits a table with this zero cell"
    return Estimate(
        kind="odds-ratio",
        value=psi,
        ci_low=low,
        ci_high=high,
        ci_level=ci_level,
        p_value=p_value,
        n=n,
        n_events=a + c,
        method="conditional maximum likelihood, Fisher's exact interval and test",
        reason=note,
    )


def fisher_exact(table: ArrayLike, *, seed: int = 20260219, n_samples: int = 200_000) -> Estimate:
    r"""Return the exact test of independence in an r x c table (Fisher, Freeman, Halton).

    Given the margins a table has probability :math:`\prod r_i! \prod c_j! / (N! \prod x_{ij}!)`;
    the P value adds all tables no more likely than the observed one. Tables are built column by
    column, and partial tables with equal remaining row totals and equal probability so far are
    merged, as in the network algorithm (Mehta and Patel, JASA 1983;78:427). When that is still too
    much work the P value is a seeded Monte Carlo one, :math:`(1 + \#)/(1 + B)`, and `method` and
    `reason` say so.

    Parameters
    ----------
    table : array_like of int, shape (r, c)
    seed, n_samples : int
        Used only when the table is too large to enumerate.

    Raises
    ------
    ValueError
        If the table is not a table of non-negative integers.

    Notes
    -----
    R: ``fisher.test(table)``.
    """
    counts = _table(table)
    trimmed = _without_empty(counts)
    n = int(counts.sum())
    if min(trimmed.shape) < 2:
        return not_estimable("p-value", "the table has fewer than two rows or columns in use", n=n)
    if trimmed.shape == (2, 2):
        a, b, c, d = (int(v) for v in trimmed.ravel())
        support, log_weight = _hypergeometric(a + b, c + d, a + c)
        p = _fisher_p(a, support, log_weight)
    else:
        exact = _freeman_halton(trimmed)
        if exact is None:
            p, error = _monte_carlo(trimmed, seed, n_samples)
            return Estimate(
                kind="p-value",
                value=p,
                p_value=p,
                n=n,
                method=f"Fisher's exact test, {n_samples:,} Monte Carlo tables",
                reason=f"too many tables to enumerate; Monte Carlo standard error {error:.1e}",
            )
        p = exact
    return Estimate(kind="p-value", value=p, p_value=p, n=n, method="Fisher's exact test")


def chi_squared(table: ArrayLike, *, correction: bool = False) -> Estimate:
    r"""Return Pearson's chi-squared test, :math:`\sum (O-E)^2/E` on (r-1)(c-1) df.

    Parameters
    ----------
    table : array_like of int, shape (r, c)
    correction : bool
        Yates's continuity correction, for 2 x 2 tables only, as R applies it.

    Raises
    ------
    ValueError
        If the table is not a table of non-negative integers.

    Notes
    -----
    R: ``chisq.test(table, correct = FALSE)``. See `ballbook.gates.expected_counts` for when to
    prefer `fisher_exact`.
    """
    counts = _table(table)
    n = int(counts.sum())
    empty = [f"row {i + 1}" for i in np.flatnonzero(counts.sum(axis=1) == 0)]
    empty += [f"column {j + 1}" for j in np.flatnonzero(counts.sum(axis=0) == 0)]
    if empty:
        return not_estimable("p-value", f"{' and '.join(empty)} of the table is empty", n=n)
    if min(counts.shape) < 2:
        return not_estimable("p-value", "the table has fewer than two rows or columns", n=n)
    fitted = expected_counts(counts)
    gap = np.abs(counts - fitted)
    if correction and counts.shape == (2, 2):
        gap = gap - min(0.5, float(gap.min()))
    statistic = float((gap**2 / fitted).sum())
    df = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    p = float(stats.chi2.sf(statistic, df))
    corrected = ", continuity-corrected" if correction and counts.shape == (2, 2) else ""
    return Estimate(
        kind="p-value",
        value=p,
        p_value=p,
        n=n,
        statistic=statistic,
        df=df,
        method=f"Pearson chi-squared test{corrected}",
    )


def expected_counts(table: ArrayLike) -> NDArray[np.float64]:
    """Return the cell counts expected under independence, row total x column total / N.

    Raises
    ------
    ValueError
        If the table is empty or not a table of non-negative integers.
    """
    counts = _table(table)
    total = counts.sum()
    if total == 0:
        raise ValueError("table: all counts are zero")
    return np.outer(counts.sum(axis=1), counts.sum(axis=0)) / total


def cochran_armitage(k: ArrayLike, n: ArrayLike, scores: ArrayLike | None = None) -> Estimate:
    r"""Return the Cochran-Armitage test for a linear trend in proportions.

    With scores x and the pooled proportion :math:`\bar p`,
    :math:`T = \sum x_i (k_i - n_i\bar p)` and
    :math:`V = \bar p(1-\bar p)\left[\sum n_i x_i^2 - (\sum n_i x_i)^2/N\right]`;
    :math:`T^2/V` is chi-squared on 1 df. `statistic` is the signed :math:`T/\sqrt V`: positive when
    the proportion rises with the score.

    Parameters
    ----------
    k, n : array_like of int, shape (groups,)
        Events and patients in each ordered group.
    scores : array_like of float, optional
        Default 0, 1, 2, ...

    Raises
    ------
    ValueError
        For unequal lengths, k > n, or bad counts.

    Notes
    -----
    R: ``prop.trend.test(k, n, scores)``. Armitage, Biometrics 1955;11:375.
    """
    events, totals = as_counts(k, "k"), as_counts(n, "n")
    x = np.arange(len(events), dtype=float) if scores is None else as_vector(scores, "scores")
    same_length(k=events, n=totals, scores=x)
    if (events > totals).any():
        i = int(np.flatnonzero(events > totals)[0])
        raise ValueError(f"k: {events[i]} events among only {totals[i]} patients in group {i + 1}")
    patients, cases = int(totals.sum()), int(events.sum())
    fields: dict[str, Any] = {"n": patients, "n_events": cases}
    if cases in (0, patients):
        told = "no patient" if cases == 0 else "every patient"
        return not_estimable("p-value", f"{told} had the event", **fields)
    pooled = cases / patients
    spread = float((totals * x**2).sum() - (totals * x).sum() ** 2 / patients)
    if spread <= 0 or np.ptp(x[totals > 0]) == 0:
        return not_estimable("p-value", "all patients have the same score", **fields)
    z = float((x * (events - totals * pooled)).sum() / math.sqrt(pooled * (1 - pooled) * spread))
    p = float(stats.chi2.sf(z * z, 1))
    return Estimate(
        kind="p-value",
        value=p,
        p_value=p,
        n=patients,
        n_events=cases,
        statistic=z,
        df=1,
        method="Cochran-Armitage trend test",
    )


def mcnemar(
    b: int,
    c: int,
    method: Literal["exact", "mid-p", "chi-squared"] = "exact",
    *,
    ci_level: float = 0.95,
) -> Estimate:
    r"""Return the odds ratio b/c of discordant pairs and McNemar's test.

    Given b + c discordant pairs, b is binomial with probability :math:`\psi/(1+\psi)`. The
    interval is Clopper-Pearson (mid-p for ``mid-p``, Wilson for ``chi-squared``) carried to the
    odds. P: two-sided exact binomial, its mid-p version
    (exact P less the probability of the observed split; Fagerland, BMC Med Res Methodol
    2013;13:91), or :math:`(b-c)^2/(b+c)` on 1 df.

    Parameters
    ----------
    b, c : int
        Pairs positive only in the first and only in the second condition.

    Raises
    ------
    ValueError
        If a count is not a non-negative integer.

    Notes
    -----
    R: ``binom.test(b, b + c)``; ``mcnemar.test(table, correct = FALSE)``.
    """
    b, c = as_count(b, "b"), as_count(c, "c")
    m = b + c
    if m == 0:
        return not_estimable("odds-ratio", "no discordant pairs", n=0)
    if method not in ("exact", "mid-p", "chi-squared"):
        raise ValueError(f"method: expected exact, mid-p or chi-squared, got {method!r}")
    exact_p = min(1.0, 2 * float(stats.binom.cdf(min(b, c), m, 0.5)))
    statistic: float | None = None
    if method == "exact":
        share = proportion(b, m, "exact", ci_level=ci_level)
        p, how = exact_p, "exact binomial"
    elif method == "mid-p":
        share = proportion(b, m, "mid-p", ci_level=ci_level)
        half = float(stats.binom.cdf(min(b, c), m, 0.5) - 0.5 * stats.binom.pmf(b, m, 0.5))
        p, how = min(1.0, 2 * half), "mid-p"
    else:
        share = proportion(b, m, "wilson", ci_level=ci_level)
        statistic = (b - c) ** 2 / m
        p, how = float(stats.chi2.sf(statistic, 1)), "chi-squared, uncorrected"

    def odds(q: float | None) -> float | None:
        return None if q is None or q >= 1 else q / (1 - q)

    return Estimate(
        kind="odds-ratio",
        value=odds(b / m),
        ci_low=odds(share.ci_low),
        ci_high=odds(share.ci_high),
        ci_level=ci_level,
        p_value=p,
        n=m,
        n_events=b,
        statistic=statistic,
        df=None if statistic is None else 1,
        method=f"McNemar test of discordant pairs, {how}",
        reason="no pair is discordant the other way" if c == 0 else None,
    )


# ---------------------------------------------------------------------------- strata


@dataclass(frozen=True, slots=True)
class MantelHaenszel:
    """A stratified analysis of 2 x 2 tables.

    Attributes
    ----------
    odds_ratio : Estimate
        Mantel-Haenszel odds ratio; its P value is that of `cmh`.
    cmh, cmh_corrected : Estimate
        Cochran-Mantel-Haenszel test without and with continuity correction.
    breslow_day : Estimate
        Test of equal odds ratios with Tarone's correction.
    breslow_day_uncorrected : Estimate
        The same without it.
    """

    odds_ratio: Estimate
    cmh: Estimate
    cmh_corrected: Estimate
    breslow_day: Estimate
    breslow_day_uncorrected: Estimate


def mantel_haenszel(tables: ArrayLike, *, ci_level: float = 0.95) -> MantelHaenszel:
    r"""Combine 2 x 2 tables [[a, b], [c, d]] over strata.

    With :math:`R_i=a_id_i/n_i`, :math:`S_i=b_ic_i/n_i`, :math:`P_i=(a_i+d_i)/n_i`,
    :math:`Q_i=(b_i+c_i)/n_i`: :math:`\hat\psi=\sum R/\sum S`, and (Robins, Breslow, Greenland,
    Biometrics 1986;42:311)

    .. math:: \operatorname{var}(\ln\hat\psi) = \frac{\sum PR}{2(\sum R)^2}
        + \frac{\sum (PS+QR)}{2\sum R\sum S} + \frac{\sum QS}{2(\sum S)^2}.

    CMH: :math:`(|\sum (a-E)|-c)^2/\sum V` with hypergeometric E and V, c = 0 or 1/2.
    Breslow-Day: in each stratum the cell A that gives :math:`\hat\psi` with the observed margins
    solves a quadratic; :math:`X^2=\sum (a-A)^2/v` with
    :math:`1/v=1/A+1/B+1/C+1/D`, on (strata - 1) df. Tarone (Biometrika 1985;72:91) subtracts
    :math:`(\sum(a-A))^2/\sum v`, because :math:`\hat\psi` is not the maximum likelihood estimate.

    Parameters
    ----------
    tables : array_like of int, shape (strata, 2, 2)
        Strata whose table has an empty margin carry no information; they stay in n and `reason`
        counts them.

    Raises
    ------
    ValueError
        If the shape is wrong or a cell is not a non-negative integer.

    Notes
    -----
    R: ``mantelhaen.test(aperm(tables, c(2, 3, 1)), correct = FALSE)``;
    ``metafor::rma.mh(measure = "OR")`` for Tarone's test.
    """
    counts = as_counts(tables, "tables", ndim=3)
    if counts.shape[1:] != (2, 2):
        raise ValueError(f"tables: expected shape (strata, 2, 2), got {counts.shape}")
    alpha = 1 - as_level(ci_level)
    patients = int(counts.sum())
    a, b, c, d = (counts[:, i, j].astype(float) for i in (0, 1) for j in (0, 1))
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    used = margins > 0
    silent = int((~used).sum())
    note = (
        f"{silent} of {len(counts)} strata have an empty margin and add nothing" if silent else ""
    )
    fields: dict[str, Any] = {"n": patients, "n_events": int((a + c).sum())}
    if not used.any():
        gone = "every stratum has an empty margin"
        return MantelHaenszel(
            not_estimable("odds-ratio", gone, **fields),
            *(not_estimable("p-value", gone, **fields) for _ in range(4)),
        )
    a, b, c, d = a[used], b[used], c[used], d[used]
    n = a + b + c + d
    row, col = a + b, a + c
    deviation = float((a - row * col / n).sum())
    variance = float((row * (c + d) * col * (b + d) / (n**2 * (n - 1))).sum())

    def cmh(continuity: float) -> Estimate:
        # As R: no correction where it would exceed the deviation.
        gap = abs(deviation) - (continuity if abs(deviation) >= continuity else 0.0)
        x = gap**2 / variance
        p = float(stats.chi2.sf(x, 1))
        told = ", continuity-corrected" if continuity else ""
        return Estimate(
            kind="p-value",
            value=p,
            p_value=p,
            statistic=x,
            df=1,
            method=f"Cochran-Mantel-Haenszel test{told}",
            reason=note or None,
            **fields,
        )

    plain, corrected = cmh(0.0), cmh(0.5)
    r, s = a * d / n, b * c / n
    if r.sum() == 0 or s.sum() == 0:
        infinite = s.sum() == 0
        return MantelHaenszel(
            Estimate(
                kind="odds-ratio",
                value=None if infinite else 0.0,
                p_value=plain.p_value,
                method="Mantel-Haenszel odds ratio",
                reason="a cell is zero in every stratum: the estimate is "
                + ("infinite" if infinite else "zero")
                + " and has no interval",
                **fields,
            ),
            plain,
            corrected,
            *(
                not_estimable("p-value", "the common odds ratio is zero or infinite", **fields)
                for _ in range(2)
            ),
        )
    psi = float(r.sum() / s.sum())
    share, rest = (a + d) / n, (b + c) / n
    var_log = float(
        (share * r).sum() / (2 * r.sum() ** 2)
        + (share * s + rest * r).sum() / (2 * r.sum() * s.sum())
        + (rest * s).sum() / (2 * s.sum() ** 2)
    )
    half = float(stats.norm.isf(alpha / 2)) * math.sqrt(var_log)
    pooled = Estimate(
        kind="odds-ratio",
        value=psi,
        ci_low=math.exp(math.log(psi) - half),
        ci_high=math.exp(math.log(psi) + half),
        ci_level=ci_level,
        p_value=plain.p_value,
        statistic=plain.statistic,
        df=1,
        method="Mantel-Haenszel odds ratio, Robins-Breslow-Greenland interval, CMH test",
        reason=note or None,
        **fields,
    )
    strata = len(a)
    if strata < 2:
        one = not_estimable("p-value", "only one stratum with information", **fields)
        return MantelHaenszel(pooled, plain, corrected, one, one)
    fit = _cell_given_odds(row, col, n, psi)
    v = 1 / (1 / fit + 1 / (row - fit) + 1 / (col - fit) + 1 / (n - row - col + fit))
    breslow_day = float(((a - fit) ** 2 / v).sum())
    tarone = breslow_day - float((a - fit).sum() ** 2 / v.sum())

    def homogeneity(x: float, told: str) -> Estimate:
        p = float(stats.chi2.sf(x, strata - 1))
        return Estimate(
            kind="p-value",
            value=p,
            p_value=p,
            statistic=x,
            df=strata - 1,
            method=f"Breslow-Day test of equal odds ratios, {told}",
            reason=note or None,
            **fields,
        )

    return MantelHaenszel(
        pooled,
        plain,
        corrected,
        homogeneity(tarone, "Tarone's correction"),
        homogeneity(breslow_day, "uncorrected"),
    )


# ---------------------------------------------------------------------------- inner workings


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    return float(optimize.brentq(f, low, high, xtol=1e-15, rtol=8.9e-16, maxiter=500))


def _binomial_p(k: int, n: int, p: float) -> float:
    """Two-sided exact binomial P: all counts no more likely than k (R's rule)."""
    if p in (0.0, 1.0):
        return float(k == round(n * p))
    probs = stats.binom.pmf(np.arange(n + 1), n, p)
    return min(1.0, float(probs[probs <= probs[k] * TIE].sum()))


def _wilson(k: int, n: int, alpha: float) -> tuple[float, float]:
    z2 = float(stats.norm.isf(alpha / 2)) ** 2
    centre = (k + z2 / 2) / (n + z2)
    half = math.sqrt(z2) / (n + z2) * math.sqrt(k * (n - k) / n + z2 / 4)
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)


def _score_z(
    k1: int, n1: int, k2: int, n2: int, delta: float, *, variance_factor: bool = True
) -> float:
    """Score statistic of Miettinen and Nurminen for a difference `delta`."""
    values = _score_z_all(np.array([k1]), n1, np.array([k2]), n2, delta, variance_factor)
    return float(values[0])


def _score_z_all(
    k1: NDArray[np.int64],
    n1: int,
    k2: NDArray[np.int64],
    n2: int,
    delta: float,
    variance_factor: bool = True,
) -> NDArray[np.float64]:
    """The statistic for many tables; the restricted proportions solve a cubic in closed form."""
    n = n1 + n2
    l3 = float(n)
    l2 = (n1 + 2 * n2) * delta - n - (k1 + k2)
    l1 = (n2 * delta - n - 2 * k2) * delta + k1 + k2
    l0 = k2 * delta * (1 - delta)
    q = l2**3 / (3 * l3) ** 3 - l1 * l2 / (6 * l3**2) + l0 / (2 * l3)
    p = np.where(q < 0, -1, 1) * np.sqrt(np.maximum(l2**2 / (3 * l3) ** 2 - l1 / (3 * l3), 0))
    # p = 0 is a triple root; the cosine below is then multiplied by zero.
    ratio = np.divide(q, p**3, out=np.zeros_like(p), where=np.abs(p) > 1e-100)
    angle = (math.pi + np.arccos(np.clip(ratio, -1, 1))) / 3
    second = np.clip(2 * p * np.cos(angle) - l2 / (3 * l3), max(0.0, -delta), min(1.0, 1 - delta))
    first = np.clip(second + delta, 0.0, 1.0)
    variance = first * (1 - first) / n1 + second * (1 - second) / n2
    if variance_factor:
        variance = variance * n / (n - 1)
    gap = k1 / n1 - k2 / n2 - delta
    with np.errstate(divide="ignore", invalid="ignore"):
        z = gap / np.sqrt(variance)
    return np.where(np.abs(gap) < 1e-12, 0.0, z)


def _unconditional(
    k1: int, n1: int, k2: int, n2: int, alpha: float, *, mid: bool
) -> tuple[float, float, float]:
    """Bounds and two-sided P of the exact unconditional test ordered by the score statistic."""
    x1, x2 = (g.ravel() for g in np.meshgrid(np.arange(n1 + 1), np.arange(n2 + 1), indexing="ij"))
    log_choose = (
        special.gammaln(n1 + 1) - special.gammaln(x1 + 1) - special.gammaln(n1 - x1 + 1)
    ) + (special.gammaln(n2 + 1) - special.gammaln(x2 + 1) - special.gammaln(n2 - x2 + 1))
    here = k1 * (n2 + 1) + k2

    def tail(delta: float, side: int) -> float:
        """Largest probability, over the nuisance, of a statistic as extreme as the observed."""
        z = side * _score_z_all(x1, n1, x2, n2, delta)
        beyond = z > z[here] + 1e-9
        tied = np.abs(z - z[here]) <= 1e-9
        weight = np.where(tied, 0.5 if mid else 1.0, 0.0) + beyond
        inside = weight > 0
        y1, y2, w, lc = x1[inside], x2[inside], weight[inside], log_choose[inside]
        floor, ceiling = max(0.0, -delta), min(1.0, 1 - delta)

        def probability(p2: NDArray[np.float64]) -> NDArray[np.float64]:
            p1 = np.clip(p2 + delta, 0, 1)
            log_p = (
                lc
                + special.xlogy(y1, p1[:, None])
                + special.xlog1py(n1 - y1, -p1[:, None])
                + special.xlogy(y2, p2[:, None])
                + special.xlog1py(n2 - y2, -p2[:, None])
            )
            return (w * np.exp(log_p)).sum(axis=1)

        grid = np.linspace(floor, ceiling, 101)
        for _ in range(5):
            values = probability(grid)
            best = int(values.argmax())
            grid = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)], 21)
        return float(values.max())

    d = k1 / n1 - k2 / n2

    def bound(side: int) -> float:
        # Tail probabilities step where tables change order, so bisect rather than interpolate.
        inner, outer = d, (-1.0 if side > 0 else 1.0)
        if abs(inner - outer) < 1e-12 or tail(outer * (1 - 1e-9), side) > alpha / 2:
            return outer
        for _ in range(44):
            middle = (inner + outer) / 2
            if tail(middle, side) > alpha / 2:
                inner = middle
            else:
                outer = middle
        return (inner + outer) / 2

    p = min(1.0, 2 * min(tail(0.0, 1), tail(0.0, -1)))
    return bound(1), bound(-1), p


def _hypergeometric(
    row1: int, row2: int, col1: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Support of the top-left cell and its log probabilities under no association."""
    support = np.arange(max(0, col1 - row2), min(row1, col1) + 1)
    return support, stats.hypergeom.logpmf(support, row1 + row2, row1, col1)


def _fisher_p(a: int, support: NDArray[np.int64], log_weight: NDArray[np.float64]) -> float:
    seen = log_weight[a - support[0]]
    return min(1.0, float(np.exp(log_weight[log_weight <= seen + math.log(TIE)]).sum()))


def _tilted(
    support: NDArray[np.int64], log_weight: NDArray[np.float64], log_psi: float
) -> NDArray[np.float64]:
    log_p = log_weight + support * log_psi
    p = np.exp(log_p - log_p.max())
    return np.asarray(p / p.sum())


def _solve_log(f: Callable[[float], float]) -> float:
    """Root of a monotone function of the log odds ratio, exponentiated."""
    low, high = -1.0, 1.0
    while f(low) * f(high) > 0:
        low, high = 2 * low, 2 * high
        if high > 700:
            raise ValueError("odds ratio: no root within the range of floating-point numbers")
    return math.exp(_root(f, low, high))


def _conditional_mle(
    a: int, support: NDArray[np.int64], log_weight: NDArray[np.float64]
) -> float | None:
    if a == support[0]:
        return 0.0
    if a == support[-1]:
        return None
    return _solve_log(lambda t: float((_tilted(support, log_weight, t) * support).sum()) - a)


def _tilt_root(
    support: NDArray[np.int64],
    log_weight: NDArray[np.float64],
    a: int,
    tail: Literal["upper", "lower"],
    target: float,
) -> float:
    inside = support >= a if tail == "upper" else support <= a
    return _solve_log(lambda t: float(_tilted(support, log_weight, t)[inside].sum()) - target)


def _cell_given_odds(
    row: NDArray[np.float64], col: NDArray[np.float64], n: NDArray[np.float64], psi: float
) -> NDArray[np.float64]:
    """Top-left cell that has odds ratio `psi` with the given margins."""
    if abs(psi - 1) < 1e-12:
        return row * col / n
    # (1 - psi) A^2 + (n - row - col + psi (row + col)) A - psi row col = 0, in the stable form.
    qa, qc = 1 - psi, -psi * row * col
    qb = n - row - col + psi * (row + col)
    return -2 * qc / (qb + np.sqrt(qb**2 - 4 * qa * qc))


def _table(table: ArrayLike) -> NDArray[np.int64]:
    return as_counts(table, "table", ndim=2)


def _without_empty(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]


def _fillings(total: int, limits: NDArray[np.int64]) -> NDArray[np.int64]:
    """All ways to share `total` among rows with the given limits, one a line."""
    done = np.zeros((1, 0), dtype=np.int64)
    left = np.array([total])
    for i, limit in enumerate(limits):
        low = np.maximum(0, left - int(limits[i + 1 :].sum()))
        ways = np.maximum(np.minimum(left, limit) - low + 1, 0)
        source = np.repeat(np.arange(len(left)), ways)
        step = np.arange(len(source)) - np.repeat(np.cumsum(ways) - ways, ways)
        x = low[source] + step
        done = np.column_stack([done[source], x])
        left = left[source] - x
    return done


def _number_of_fillings(total: int, limits: NDArray[np.int64]) -> float:
    ways = np.array([1.0])
    for limit in limits:
        ways = np.convolve(ways, np.ones(int(limit) + 1))[: total + 1]
    return float(ways[total]) if total < len(ways) else 0.0


def _freeman_halton(counts: NDArray[np.int64]) -> float | None:
    """Exact P of an r x c table, or None when it would need too many partial tables."""
    if counts.shape[0] > counts.shape[1]:
        counts = counts.T
    # The small columns first: they leave few distinct remainders for the large ones.
    columns = np.sort(counts.sum(axis=0))
    rows = np.sort(counts.sum(axis=1))
    log_fact = special.gammaln(np.arange(int(counts.sum()) + 2) + 1.0)
    total = float(log_fact[counts.sum()] - log_fact[rows].sum() - log_fact[columns].sum())
    observed = -float(log_fact[counts].sum()) + math.log(TIE)
    radix = (int(rows.max()) + 1) ** np.arange(len(rows))
    if (int(rows.max()) + 1.0) ** len(rows) > 2.0**62:
        return None
    # Partial tables: remaining row totals (rows are exchangeable, so sorted), the log of the
    # product of 1/x! so far, and in how many ways.
    states, logs, ways = rows[None, :], np.zeros(1), np.ones(1)
    starts = np.array([0])
    for column in columns[:-2]:
        found = []
        work = 0.0
        ends = np.append(starts[1:], len(logs))
        for start, end in zip(starts, ends, strict=True):
            work += _number_of_fillings(int(column), states[start]) * (end - start)
            if work > MAX_NODES:
                return None
            moves = _fillings(int(column), states[start])
            rest = np.sort(states[start] - moves, axis=1)
            gain = -log_fact[moves].sum(axis=1)
            found.append(
                (
                    np.tile(rest, (end - start, 1)),
                    np.add.outer(logs[start:end], gain).ravel(),
                    np.repeat(ways[start:end], len(moves)),
                )
            )
        states, logs, ways = (np.concatenate(part) for part in zip(*found, strict=True))
        logs = np.round(logs, 11)
        keys = states @ radix
        order = np.lexsort((logs, keys))
        states, logs, ways, keys = states[order], logs[order], ways[order], keys[order]
        new_state = np.append(True, np.diff(keys) != 0)
        first = np.flatnonzero(new_state | np.append(True, np.diff(logs) != 0))
        ways = np.add.reduceat(ways, first)
        states, logs, new_state = states[first], logs[first], new_state[first]
        starts = np.flatnonzero(new_state)
    # The last two columns together: one filling fixes both.
    column = int(columns[-2])
    if sum(_number_of_fillings(column, states[i]) for i in starts) > 20 * MAX_NODES:
        return None
    p = 0.0
    for start, end in zip(starts, np.append(starts[1:], len(logs)), strict=True):
        moves = _fillings(column, states[start])
        tail = np.sort(-log_fact[moves].sum(axis=1) - log_fact[states[start] - moves].sum(axis=1))
        below = np.append(0.0, np.cumsum(np.exp(tail - tail[-1])))
        reach = np.searchsorted(tail, observed - logs[start:end], side="right")
        scale = np.exp(logs[start:end] + tail[-1] - total)
        p += float((ways[start:end] * scale * below[reach]).sum())
    return min(1.0, p)


def _monte_carlo(counts: NDArray[np.int64], seed: int, n_samples: int) -> tuple[float, float]:
    sampler = stats.random_table(counts.sum(axis=1), counts.sum(axis=0), seed=seed)
    log_fact = special.gammaln(np.arange(int(counts.sum()) + 2) + 1.0)
    observed = -float(log_fact[counts].sum()) + math.log(TIE)
    hits, left = 0, n_samples
    while left > 0:
        size = min(left, 20_000)
        drawn = sampler.rvs(size).astype(np.int64)
        hits += int((-log_fact[drawn].sum(axis=(1, 2)) <= observed).sum())
        left -= size
    p = (hits + 1) / (n_samples + 1)
    return p, math.sqrt(p * (1 - p) / n_samples)

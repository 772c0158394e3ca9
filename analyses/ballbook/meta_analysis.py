r"""Meta-analysis, and the effects it needs read from what papers print.

Model: :math:`y_i = \mu + u_i + e_i`, :math:`e_i \sim N(0, s_i^2)` with known :math:`s_i`,
:math:`u_i \sim N(0, \tau^2)`. Ratios are pooled as logarithms.

The R calls with the same numbers are ``metafor::rma(yi, sei = s, method = "REML", test = "knha")``
and, for rare counts, ``lme4::glmer(cbind(k, n - k) ~ 1 + (1 | study), binomial, nAGQ = 21)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from ballbook.inputs import (
    Floats,
    as_binary,
    as_count,
    as_counts,
    as_labels,
    as_level,
    as_vector,
    levels_of,
    same_length,
)
from ballbook.results import Estimate, not_estimable

Method = Literal["REML", "DL"]
RATIOS = frozenset({"hazard-ratio", "odds-ratio", "risk-ratio", "rate-ratio"})


# ------------------------------------------------------------------- effects from print


class Effect(NamedTuple):
    """An effect on the scale on which it is pooled (a log for ratios), with its standard error."""

    value: float
    std_error: float


def se_from_ci(
    low: float,
    high: float,
    *,
    level: float = 0.95,
    scale: Literal["identity", "log", "log-log"] = "identity",
) -> float:
    r"""Return the standard error behind a symmetric interval, :math:`(g(U)-g(L))/(2z)`.

    Parameters
    ----------
    low, high : float
        Printed bounds.
    scale : str
        Scale on which the interval is symmetric and the error is wanted: ``log`` for ratios,
        ``log-log`` for a survival fraction, :math:`g(S)=\ln(-\ln S)`.

    Raises
    ------
    ValueError
        If the bounds are not finite, not in order, or outside the scale.
    """
    lo, hi = as_vector([low, high], "interval")
    if not lo < hi:
        raise ValueError(f"interval: the lower bound {lo:g} is not below the upper bound {hi:g}")
    if scale == "log":
        if lo <= 0:
            raise ValueError(f"interval: a ratio's lower bound must be positive, got {lo:g}")
        width = math.log(hi) - math.log(lo)
    elif scale == "log-log":
        if lo <= 0 or hi >= 1:
            raise ValueError(f"interval: expected fractions within 0..1, got {lo:g} to {hi:g}")
        width = math.log(-math.log(lo)) - math.log(-math.log(hi))
    elif scale == "identity":
        width = hi - lo
    else:
        raise ValueError(f"scale: expected identity, log or log-log, got {scale!r}")
    return float(width / (2 * _z(level)))


def log_hr_from_ci(hr: float, low: float, high: float, *, level: float = 0.95) -> Effect:
    r"""Return :math:`\ln HR` and :math:`(\ln U - \ln L)/(2z)`; unpacks as ``y, se``.

    Works for any ratio with a Wald interval.

    Raises
    ------
    ValueError
        If a value is not positive, or the ratio lies outside its interval.
    """
    ratio = _positive(hr, "hr")
    se = se_from_ci(low, high, level=level, scale="log")
    if not low <= ratio <= high:
        raise ValueError(f"hr: {ratio:g} lies outside its interval {low:g} to {high:g}")
    return Effect(math.log(ratio), se)


def log_hr_from_p(
    p: float,
    *,
    hr: float | None = None,
    n_events: int | None = None,
    n_exposed: int | None = None,
    n_reference: int | None = None,
    worse: bool = True,
) -> Effect:
    r"""Return :math:`\ln HR` and its standard error from a two-sided P value.

    With the hazard ratio printed, :math:`s = |\ln HR|/z_{p/2}`. Without it, from the number of
    events and the sizes of the arms (Parmar, Stat Med 1998;17:2815):
    :math:`V = E\,n_1 n_0/(n_1+n_0)^2`, :math:`\ln HR = \pm z_{p/2}/\sqrt V`,
    :math:`s = 1/\sqrt V`.

    Parameters
    ----------
    p : float
        Two-sided, strictly between 0 and 1. A P value printed as a bound ("< .001") gives only a
        bound on the error; pass the bound and say so.
    n_events, n_exposed, n_reference : int
        Events in both arms, patients in each.
    worse : bool
        Whether the exposed did worse (HR > 1); a P value does not tell.

    Raises
    ------
    ValueError
        If P is not inside 0..1, or neither `hr` nor all three counts are given.
    """
    value = float(as_vector([p], "p")[0])
    if not 0 < value < 1:
        raise ValueError(f"p: expected a value between 0 and 1, got {p}")
    z = float(stats.norm.isf(value / 2))
    if hr is not None:
        log_hr = math.log(_positive(hr, "hr"))
        if log_hr == 0:
            raise ValueError("hr: a ratio of exactly 1 has no standard error that P can tell")
        return Effect(log_hr, abs(log_hr) / z)
    if n_events is None or n_exposed is None or n_reference is None:
        raise ValueError("give hr, or n_events with n_exposed and n_reference")
    events = as_count(n_events, "n_events")
    n1, n0 = as_count(n_exposed, "n_exposed"), as_count(n_reference, "n_reference")
    if min(events, n1, n0) == 0 or events > n1 + n0:
        raise ValueError(f"n_events: {events} events among {n1} and {n0} patients")
    v = events * n1 * n0 / (n1 + n0) ** 2
    return Effect((1 if worse else -1) * z / math.sqrt(v), 1 / math.sqrt(v))


def log_hr_from_survival_at(
    exposed: float,
    reference: float,
    *,
    se: tuple[float, float] | None = None,
    ci: tuple[tuple[float, float], tuple[float, float]] | None = None,
    n: tuple[int, int] | None = None,
    p: float | None = None,
    level: float = 0.95,
) -> Effect:
    r"""Return :math:`\ln HR` from the survival of two arms at one time, and its standard error.

    Under proportional hazards :math:`HR = \ln S_1/\ln S_0`, so
    :math:`\ln HR = g(S_1)-g(S_0)` with :math:`g(S)=\ln(-\ln S)`, and the variances of the two
    arms add. Exactly one source of uncertainty is used:

    * ``se``: standard errors of the survival fractions, by the delta method
      :math:`s_g = s/(S\,|\ln S|)`;
    * ``ci``: intervals of the survival fractions, taken as symmetric on the log(-log) scale;
    * ``n``: patients per arm, with :math:`s = \sqrt{S(1-S)/n}`. This ignores censoring before the
      time point and is therefore too small;
    * ``p``: a two-sided P value of the comparison, as in `log_hr_from_p`.

    Parameters
    ----------
    exposed, reference : float
        Survival fractions (0..1, both ends excluded), the group of interest first.

    Raises
    ------
    ValueError
        If a fraction is 0, 1 or outside, or not exactly one of se, ci, n, p is given.
    """
    fractions = [float(v) for v in as_vector([exposed, reference], "survival")]
    for s in fractions:
        if not 0 < s < 1:
            raise ValueError(f"survival: expected a fraction strictly between 0 and 1, got {s:g}")
    if sum(v is not None for v in (se, ci, n, p)) != 1:
        raise ValueError("give exactly one of se, ci, n, p")
    g = [math.log(-math.log(s)) for s in fractions]
    log_hr = g[0] - g[1]
    if p is not None:
        return log_hr_from_p(p, hr=math.exp(log_hr))
    if ci is not None:
        errors = [se_from_ci(lo, hi, level=level, scale="log-log") for lo, hi in ci]
    else:
        if se is not None:
            plain = [_positive(v, "se") for v in se]
        else:
            assert n is not None
            sizes = [as_count(v, "n") for v in n]
            if min(sizes) == 0:
                raise ValueError("n: an arm has no patients")
            plain = [
                math.sqrt(s * (1 - s) / size) for s, size in zip(fractions, sizes, strict=True)
            ]
        errors = [e / (s * -math.log(s)) for e, s in zip(plain, fractions, strict=True)]
    return Effect(log_hr, math.hypot(*errors))


# ------------------------------------------------------------------- random effects


@dataclass(frozen=True, slots=True)
class MetaAnalysis:
    """A random-effects meta-analysis and the fixed-effect one beside it.

    Attributes
    ----------
    pooled, fixed : Estimate
        Random-effects mean and inverse-variance fixed-effect mean.
    tau2 : Estimate
        Between-study variance (on the log scale for ratios) with its Q-profile interval.
    i2 : Estimate
        Fraction of the total variance that lies between studies, with interval.
    q : Estimate
        Cochran's test of heterogeneity.
    prediction_interval : Estimate
        Where the effect of a new study is expected; `value` is the pooled effect.
    weights : pandas.DataFrame
        One row a study: label, effect, ci_low, ci_high (ratios on their own scale), std_error
        (pooling scale), weight_fixed, weight_random (fractions).
    """

    pooled: Estimate
    fixed: Estimate
    tau2: Estimate
    i2: Estimate
    q: Estimate
    prediction_interval: Estimate
    weights: pd.DataFrame
    method: str
    log_pooled: float = field(repr=False)
    log_std_error: float = field(repr=False)


def random_effects(
    effects: ArrayLike,
    std_errors: ArrayLike,
    labels: Any = None,
    *,
    method: Method = "REML",
    knapp_hartung: bool = True,
    kind: str = "hazard-ratio",
    n: int | None = None,
    n_events: int | None = None,
    ci_level: float = 0.95,
) -> MetaAnalysis:
    r"""Pool study effects.

    * Weights :math:`w_i=1/(s_i^2+\tau^2)`, :math:`\hat\mu=\sum w_iy_i/\sum w_i`.
    * :math:`\tau^2` by REML (maximum of the restricted likelihood over :math:`\tau^2\ge0`) or by
      DerSimonian-Laird, :math:`\max\{0,(Q-(k-1))/(\sum a-\sum a^2/\sum a)\}`, :math:`a=1/s^2`.
    * Hartung-Knapp: variance :math:`\sum w(y-\hat\mu)^2/[(k-1)\sum w]` and t on k-1 df, untruncated
      as in metafor; otherwise :math:`1/\sum w` and the normal. With one study the interval is that
      of the study.
    * Interval of :math:`\tau^2`: Q-profile (Viechtbauer, Stat Med 2007;26:37);
      :math:`I^2=\tau^2/(\tau^2+\tilde s^2)` with the typical variance
      :math:`\tilde s^2=(k-1)\sum a/[(\sum a)^2-\sum a^2]` (Higgins and Thompson, Stat Med
      2002;21:1539), its bounds from those of :math:`\tau^2`.
    * Prediction interval :math:`\hat\mu\pm t\sqrt{\tau^2+\widehat{var}(\hat\mu)}` with the same t
      (k-1 df) or normal quantile as the pooled interval, as metafor does.

    Parameters
    ----------
    effects, std_errors : array_like of float, shape (studies,)
        On the pooling scale: logs for a ratio.
    labels : sequence of str, optional
    kind : str
        What the effects are. For ``hazard-ratio``, ``odds-ratio``, ``risk-ratio`` and
        ``rate-ratio`` the results are exponentiated; any other kind is reported as it is.
    n, n_events : int, optional
        Patients and events behind all studies, passed to the estimates.

    Raises
    ------
    ValueError
        For no studies, unequal lengths, non-finite effects, or standard errors not above zero.

    Notes
    -----
    R: ``metafor::rma(y, sei = s, method, test = "knha")``; ``predict()``, ``confint()``.
    """
    y, s = _studies(effects, std_errors)
    k = len(y)
    names = [f"study {i + 1}" for i in range(k)] if labels is None else None
    names = names or [str(v) for v in as_labels(labels, "labels", k)]
    if method not in ("REML", "DL"):
        raise ValueError(f"method: expected REML or DL, got {method!r}")
    z = _z(ci_level)
    show: Callable[[float], float] = math.exp if kind in RATIOS else float
    a = 1 / s**2
    fixed_mean = float((a * y).sum() / a.sum())
    q = float((a * (y - fixed_mean) ** 2).sum())
    tau2 = 0.0 if k == 1 else (_tau2_reml(y, s) if method == "REML" else _tau2_dl(y, s))
    w = 1 / (s**2 + tau2)
    mean = float((w * y).sum() / w.sum())
    use_t = knapp_hartung and k > 1
    if use_t:
        variance = float((w * (y - mean) ** 2).sum() / ((k - 1) * w.sum()))
        crit = float(stats.t.isf((1 - ci_level) / 2, k - 1))
    else:
        variance = float(1 / w.sum())
        crit = z
    se = math.sqrt(variance)
    test = mean / se if se > 0 else math.copysign(math.inf, mean)
    p = float(2 * (stats.t.sf(abs(test), k - 1) if use_t else stats.norm.sf(abs(test))))
    told = f"{method} random effects, " + (
        "Hartung-Knapp t interval" if use_t else "normal interval" if k > 1 else "a single study"
    )
    notes = []
    if k == 1:
        notes.append("one study: nothing is pooled and heterogeneity is unknown")
    elif use_t and crit * se < z / math.sqrt(float(w.sum())):
        notes.append(
            "the effects agree better than their errors allow, so this interval is narrower "
            "than the normal one"
        )
    counts: dict[str, Any] = {"n": n, "n_events": n_events}
    pooled = Estimate(
        kind=kind,
        value=show(mean),
        ci_low=show(mean - crit * se),
        ci_high=show(mean + crit * se),
        ci_level=ci_level,
        p_value=p,
        statistic=test if math.isfinite(test) else None,
        df=k - 1 if use_t else None,
        method=told,
        reason="; ".join(notes) or None,
        **counts,
    )
    fixed_se = float(1 / math.sqrt(a.sum()))
    fixed = Estimate(
        kind=kind,
        value=show(fixed_mean),
        ci_low=show(fixed_mean - z * fixed_se),
        ci_high=show(fixed_mean + z * fixed_se),
        ci_level=ci_level,
        p_value=float(2 * stats.norm.sf(abs(fixed_mean) / fixed_se)),
        statistic=fixed_mean / fixed_se,
        method="inverse-variance fixed effect, normal interval",
        **counts,
    )
    if k == 1:
        only = "one study"
        tau2_estimate = not_estimable("variance", only)
        i2 = not_estimable("i2", only)
        q_test = not_estimable("p-value", only)
        prediction = not_estimable(kind, only)
    else:
        low, high = _q_profile(y, s, ci_level)
        tau2_estimate = Estimate(
            kind="variance",
            value=tau2,
            ci_low=low,
            ci_high=high,
            ci_level=ci_level,
            method=f"{method}, Q-profile interval",
        )
        typical = float((k - 1) * a.sum() / (a.sum() ** 2 - (a**2).sum()))
        i2 = Estimate(
            kind="i2",
            value=tau2 / (tau2 + typical),
            ci_low=low / (low + typical),
            ci_high=None if high is None else high / (high + typical),
            ci_level=ci_level,
            method=f"from tau2 ({method}) and the typical within-study variance",
        )
        q_p = float(stats.chi2.sf(q, k - 1))
        q_test = Estimate(
            kind="p-value",
            value=q_p,
            p_value=q_p,
            statistic=q,
            df=k - 1,
            method="Cochran's Q test of heterogeneity",
        )
        reach = crit * math.sqrt(tau2 + variance)
        prediction = Estimate(
            kind=kind,
            value=show(mean),
            ci_low=show(mean - reach),
            ci_high=show(mean + reach),
            ci_level=ci_level,
            method=f"prediction interval for a new study, {told}",
        )
    table = pd.DataFrame(
        {
            "label": names,
            "effect": [show(v) for v in y],
            "ci_low": [show(v) for v in y - z * s],
            "ci_high": [show(v) for v in y + z * s],
            "std_error": s,
            "weight_fixed": a / a.sum(),
            "weight_random": w / w.sum(),
        }
    )
    return MetaAnalysis(pooled, fixed, tau2_estimate, i2, q_test, prediction, table, told, mean, se)


def pooled_for_verdict(
    effects: ArrayLike,
    std_errors: ArrayLike,
    labels: Any = None,
    *,
    method: Method = "REML",
    kind: str = "hazard-ratio",
    n: int | None = None,
    n_events: int | None = None,
    ci_level: float = 0.95,
) -> MetaAnalysis:
    r"""Pool study effects with the one interval by which every page judges a claim.

    The wider of the normal and the Hartung-Knapp interval, for any number of studies from two on
    (hybrid method 2 of Jackson, Law, Ruecker, Schwarzer, Stat Med 2017;36:3923). The normal
    interval takes :math:`\tau^2` for known, which few studies cannot tell; the Hartung-Knapp one
    collapses where studies happen to agree. With two studies the t quantile on one degree of
    freedom (12.7) makes nearly every answer "too few to tell", which two studies are.

    The prediction interval is :math:`\hat\mu\pm t_{k-2}\sqrt{\tau^2+v}`, :math:`v` the larger of
    the two variances (Higgins, Thompson, Spiegelhalter, J R Stat Soc A 2009;172:137), and needs
    three studies: a :math:`\tau^2` estimated as 0 must not make a new study as sure as the mean.

    Parameters and errors are those of `random_effects`. One study keeps its own interval.

    Notes
    -----
    R: ``metafor::rma`` with ``test = "z"`` and with ``test = "knha"``, of which the wider;
    ``meta::metagen`` offers it as ``adhoc.hakn.ci = "ci"``.
    """
    same: dict[str, Any] = {
        "method": method, "kind": kind, "n": n, "n_events": n_events, "ci_level": ci_level,
    }  # fmt: skip
    normal = random_effects(effects, std_errors, labels, knapp_hartung=False, **same)
    k = len(normal.weights)
    if k == 1:
        return normal
    adjusted = random_effects(effects, std_errors, labels, **same)
    tail = (1 - ci_level) / 2
    t_reach = float(stats.t.isf(tail, k - 1)) * adjusted.log_std_error
    wider = adjusted if t_reach >= _z(ci_level) * normal.log_std_error else normal
    note = "the wider of the normal and the Hartung-Knapp interval"
    if k < 3:
        prediction = not_estimable(kind, "two studies do not tell how far a third may lie", n=n)
    else:
        show: Callable[[float], float] = math.exp if kind in RATIOS else float
        assert normal.tau2.value is not None
        unseen = "no variation between studies was seen, which few studies cannot exclude"
        error = max(adjusted.log_std_error, normal.log_std_error)
        reach = float(stats.t.isf(tail, k - 2)) * math.sqrt(normal.tau2.value + error**2)
        prediction = replace(
            normal.prediction_interval,
            ci_low=show(normal.log_pooled - reach),
            ci_high=show(normal.log_pooled + reach),
            method=f"prediction interval for a new study, {method}, t on k - 2 df",
            reason=None if normal.tau2.value > 0 else unseen,
        )
    return replace(
        wider,
        pooled=replace(wider.pooled, method=f"{wider.method}: {note}", reason=None),
        prediction_interval=prediction,
        method=f"{wider.method}: {note}",
    )


@dataclass(frozen=True, slots=True)
class SubgroupTest:
    """Meta-analyses of subgroups and the test that their means are equal."""

    test: Estimate
    groups: dict[str, MetaAnalysis]


def subgroup_test(
    effects: ArrayLike,
    std_errors: ArrayLike,
    groups: Any,
    *,
    labels: Any = None,
    method: Method = "REML",
    knapp_hartung: bool = True,
    kind: str = "hazard-ratio",
    ci_level: float = 0.95,
) -> SubgroupTest:
    r"""Pool within subgroups (each with its own :math:`\tau^2`) and test that the means agree.

    :math:`Q_b=\sum_g v_g^{-1}(\hat\mu_g-\bar\mu)^2` with :math:`v_g` the variance of the pooled
    mean of group g and :math:`\bar\mu` their inverse-variance mean; chi-squared on (groups - 1) df
    (Borenstein, Res Synth Methods 2010;1:97). With Hartung-Knapp, :math:`v_g` is its variance.

    Raises
    ------
    ValueError
        As `random_effects`, or for a missing group label.

    Notes
    -----
    R: fit ``metafor::rma`` in each subgroup, then ``rma(means, sei = ses, method = "FE")$QM``'s
    companion ``$QE``.
    """
    y, s = _studies(effects, std_errors)
    given = as_labels(groups, "groups", len(y))
    names = None if labels is None else as_labels(labels, "labels", len(y))
    fits: dict[str, MetaAnalysis] = {}
    for level in levels_of(groups):
        inside = given == level
        if inside.any():
            fits[str(level)] = random_effects(
                y[inside],
                s[inside],
                None if names is None else names[inside],
                method=method,
                knapp_hartung=knapp_hartung,
                kind=kind,
                ci_level=ci_level,
            )
    if len(fits) < 2:
        return SubgroupTest(not_estimable("p-value", "only one subgroup"), fits)
    mean = np.array([f.log_pooled for f in fits.values()])
    weight = np.array([f.log_std_error for f in fits.values()])
    if (weight == 0).any():
        return SubgroupTest(
            not_estimable("p-value", "a subgroup holds only identical effects"), fits
        )
    weight = 1 / weight**2
    centre = (weight * mean).sum() / weight.sum()
    q = float((weight * (mean - centre) ** 2).sum())
    p = float(stats.chi2.sf(q, len(fits) - 1))
    test = Estimate(
        kind="p-value",
        value=p,
        p_value=p,
        statistic=q,
        df=len(fits) - 1,
        method="test of subgroup differences, separate tau2",
    )
    return SubgroupTest(test, fits)


# ------------------------------------------------------------------- rare counts


@dataclass(frozen=True, slots=True)
class RareCounts:
    """A one-stage random-intercept logistic model of counts.

    Attributes
    ----------
    pooled : Estimate
        Without `exposed`: the proportion of the median study. With it: the odds ratio.
    baseline : Estimate
        The proportion of the median study (in the unexposed).
    tau2 : Estimate
        Variance of the study intercepts on the logit scale.
    prediction_interval : Estimate
        Proportion expected in a new study (unexposed).
    heterogeneity : Estimate
        Likelihood ratio test of tau2 = 0 (half chi-squared 1, half zero).
    log_likelihood : float
        Marginal, binomial coefficients included.
    """

    pooled: Estimate
    baseline: Estimate
    tau2: Estimate
    prediction_interval: Estimate
    heterogeneity: Estimate
    log_likelihood: float


def rare_counts_glmm(
    events: ArrayLike,
    totals: ArrayLike,
    studies: Any = None,
    *,
    exposed: ArrayLike | None = None,
    quadrature: int = 21,
    ci_level: float = 0.95,
) -> RareCounts:
    r"""Pool rare counts without continuity corrections.

    :math:`k_{ij}\sim\mathrm{Bin}(n_{ij},\pi_{ij})`,
    :math:`\operatorname{logit}\pi_{ij}=\beta_0+\beta_1x_{ij}+u_i`,
    :math:`u_i\sim N(0,\tau^2)`. The likelihood integrates :math:`u_i` out by adaptive
    Gauss-Hermite quadrature, centred and scaled at each study's mode; studies without events
    count in full. Wald intervals use the observed information of :math:`(\beta,\tau)` jointly;
    where the maximum lies at :math:`\tau=0` they use that of the ordinary logistic model.

    Parameters
    ----------
    events, totals : array_like of int, shape (rows,)
        One row a study, or a study arm.
    studies : sequence, optional
        The study of each row; by default each row is its own.
    exposed : array_like of 0/1, optional
        Arm; gives an odds ratio.
    quadrature : int
        Number of nodes.

    Raises
    ------
    ValueError
        For unequal lengths, events > totals, or bad counts.

    Notes
    -----
    R: ``lme4::glmer(cbind(k, n - k) ~ exposed + (1 | study), binomial, nAGQ = 21)``.
    Stijnen, Hamza, Ozdemir, Stat Med 2010;29:3046.
    """
    k, n = as_counts(events, "events"), as_counts(totals, "totals")
    rows = same_length(events=k, totals=n)
    study = as_labels(range(rows) if studies is None else studies, "studies", rows)
    arm = None if exposed is None else as_binary(exposed, "exposed")
    if arm is not None:
        same_length(events=k, exposed=arm)
    if (k > n).any():
        i = int(np.flatnonzero(k > n)[0])
        raise ValueError(f"events: {k[i]} events among only {n[i]} patients in row {i + 1}")
    as_level(ci_level)
    kind = "proportion" if arm is None else "odds-ratio"
    counts: dict[str, Any] = {"n": int(n.sum()), "n_events": int(k.sum())}

    def nothing(reason: str) -> RareCounts:
        none = not_estimable(kind, reason, **counts)
        base = not_estimable("proportion", reason, **counts)
        return RareCounts(
            none,
            base,
            not_estimable("variance", reason),
            base,
            not_estimable("p-value", reason),
            math.nan,
        )

    if k.sum() in (0, n.sum()):
        return nothing("no events" if k.sum() == 0 else "every patient had the event")
    x = np.ones((rows, 1)) if arm is None else np.column_stack([np.ones(rows), arm])
    if arm is not None:
        for value, told in ((1, "exposed"), (0, "unexposed")):
            inside = arm == value
            if k[inside].sum() in (0, n[inside].sum()):
                what = "no events" if k[inside].sum() == 0 else "no event-free patient"
                return nothing(f"{what} among the {told}")
    index = np.unique([str(v) for v in study], return_inverse=True)[1]
    model = _RandomIntercept(k.astype(float), n.astype(float), x, index, quadrature)
    beta, tau, log_lik = model.fit()
    flat_beta, flat_log_lik = model.fit_without()
    z = _z(ci_level)
    at_zero = tau < 1e-4 or log_lik <= flat_log_lik
    if at_zero:
        beta, tau, log_lik = flat_beta, 0.0, flat_log_lik
    covariance = model.covariance(beta, tau)
    if not (np.isfinite(covariance).all() and (np.diag(covariance) > 0).all()):
        return nothing("the studies differ so much that the likelihood is flat")
    how = f"random-intercept logistic model, {quadrature}-point adaptive Gauss-Hermite"
    note = "no variation between studies beyond chance was found" if at_zero else None
    finer = _RandomIntercept(k.astype(float), n.astype(float), x, index, 3 * quadrature)
    if not at_zero and abs(finer.log_likelihood(beta, tau) - log_lik) > 0.01:
        note = "the studies differ so much that the quadrature is not exact: read with care"

    def wald(j: int, as_kind: str, transform: Callable[[float], float]) -> Estimate:
        se = math.sqrt(covariance[j, j])
        return Estimate(
            kind=as_kind,
            value=transform(beta[j]),
            ci_low=transform(beta[j] - z * se),
            ci_high=transform(beta[j] + z * se),
            ci_level=ci_level,
            p_value=float(2 * stats.norm.sf(abs(beta[j]) / se)) if j else None,
            statistic=beta[j] / se if j else None,
            method=f"{how}, Wald interval",
            reason=note,
            **counts,
        )

    expit: Callable[[float], float] = lambda v: float(special.expit(v))  # noqa: E731
    baseline = wald(0, "proportion", expit)
    pooled = baseline if arm is None else wald(1, kind, math.exp)
    reach = z * math.sqrt(tau**2 + covariance[0, 0])
    prediction = Estimate(
        kind="proportion",
        value=expit(beta[0]),
        ci_low=expit(beta[0] - reach),
        ci_high=expit(beta[0] + reach),
        ci_level=ci_level,
        method=f"prediction interval for a new study, {how}",
        reason=note,
        **counts,
    )
    lr = max(0.0, 2 * (log_lik - flat_log_lik))
    p = 0.5 * float(stats.chi2.sf(lr, 1)) if lr > 0 else 1.0
    heterogeneity = Estimate(
        kind="p-value",
        value=p,
        p_value=p,
        statistic=lr,
        df=1,
        method="likelihood ratio test of tau2 = 0, half-chi-squared reference",
    )
    if int(index.max()) == 0:
        only = "one study"
        return RareCounts(
            pooled,
            baseline,
            not_estimable("variance", only),
            not_estimable("proportion", only),
            not_estimable("p-value", only),
            log_lik,
        )
    variance = Estimate(kind="variance", value=tau**2, method=how, ci_level=None, reason=note)
    return RareCounts(pooled, baseline, variance, prediction, heterogeneity, log_lik)


# ------------------------------------------------------------------- inner workings


class _RandomIntercept:
    """Marginal likelihood of the random-intercept logistic model."""

    def __init__(self, k: Floats, n: Floats, x: Floats, index: Any, quadrature: int) -> None:
        self.k, self.n, self.x, self.index = k, n, x, index
        self.groups = int(index.max()) + 1
        # The modes of the last call: the next one is close, and starts there.
        self.modes = np.zeros(self.groups)
        self.nodes, weights = np.polynomial.hermite.hermgauss(quadrature)
        self.log_weights = np.log(weights) + self.nodes**2
        self.constant = float(
            (special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)).sum()
        )

    def _sum(self, rows: Floats) -> Floats:
        out = np.zeros((self.groups, *rows.shape[1:]))
        np.add.at(out, self.index, rows)
        return out

    def log_likelihood(self, beta: Floats, tau: float) -> float:
        """With u = tau v and v standard normal, so that tau = 0 is an ordinary value."""
        eta = self.x @ beta
        v = self.modes
        for _ in range(100):
            pi = special.expit(eta + tau * v[self.index])
            gradient = tau * self._sum(self.k - self.n * pi) - v
            information = tau**2 * self._sum(self.n * pi * (1 - pi)) + 1
            step = gradient / information
            # Away from the mode the logistic curve is flat and a full step overshoots.
            v = v + np.clip(step, -2, 2)
            if np.abs(step).max() < 1e-12:
                break
        self.modes = v
        pi = special.expit(eta + tau * v[self.index])
        scale = 1 / np.sqrt(tau**2 * self._sum(self.n * pi * (1 - pi)) + 1)
        at = v[:, None] + math.sqrt(2) * scale[:, None] * self.nodes
        lin = eta[:, None] + tau * at[self.index]
        rows = self.k[:, None] * lin - self.n[:, None] * np.logaddexp(0, lin)
        log_f = self._sum(rows) - at**2 / 2 - 0.5 * math.log(2 * math.pi)
        per_study = special.logsumexp(log_f + self.log_weights, axis=1)
        per_study = per_study + np.log(math.sqrt(2) * scale)
        return float(per_study.sum()) + self.constant

    def fit_without(self) -> tuple[Floats, float]:
        beta = np.zeros(self.x.shape[1])
        beta[0] = special.logit(self.k.sum() / self.n.sum())
        for _ in range(100):
            pi = special.expit(self.x @ beta)
            information = self.x.T @ (self.x * (self.n * pi * (1 - pi))[:, None])
            step = np.linalg.solve(information, self.x.T @ (self.k - self.n * pi))
            beta = beta + step
            if np.abs(step).max() < 1e-13:
                break
        return beta, self.log_likelihood(beta, 0.0)

    def fit(self) -> tuple[Floats, float, float]:
        flat, _ = self.fit_without()

        def f(q: Floats) -> float:
            return -self.log_likelihood(q[:-1], abs(float(q[-1])))

        # The likelihood can have a second, lower top at tau = 0: start from the best of a scan.
        start = min((np.append(flat, t) for t in (0.1, 0.3, 1.0, 2.0, 4.0)), key=f)
        found = optimize.minimize(f, start, method="BFGS", options={"gtol": 1e-5})
        corners = np.vstack([found.x, found.x + 1e-3 * np.eye(len(start))])
        best = optimize.minimize(
            f,
            found.x,
            method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 500, "initial_simplex": corners},
        )
        return np.asarray(best.x[:-1]), abs(float(best.x[-1])), -float(best.fun)

    def covariance(self, beta: Floats, tau: float) -> Floats:
        """Inverse observed information of beta, tau included unless it is zero."""
        at = beta if tau == 0 else np.append(beta, tau)

        def f(q: Floats) -> float:
            return -(
                self.log_likelihood(q, 0.0)
                if tau == 0
                else self.log_likelihood(q[:-1], float(q[-1]))
            )

        size = len(at)
        h = 1e-4 * np.maximum(np.abs(at), 0.1)
        hessian = np.empty((size, size))
        for i in range(size):
            for j in range(i, size):
                ei, ej = np.eye(size)[i] * h, np.eye(size)[j] * h
                hessian[i, j] = hessian[j, i] = (
                    f(at + ei + ej) - f(at + ei - ej) - f(at - ei + ej) + f(at - ei - ej)
                ) / (4 * h[i] * h[j])
        return np.asarray(np.linalg.inv(hessian), dtype=float)


def _z(level: float) -> float:
    return float(stats.norm.isf((1 - as_level(level)) / 2))


def _positive(value: float, name: str) -> float:
    number = float(as_vector([value], name)[0])
    if number <= 0:
        raise ValueError(f"{name}: expected a positive number, got {number:g}")
    return number


def _studies(effects: ArrayLike, std_errors: ArrayLike) -> tuple[Floats, Floats]:
    y, s = as_vector(effects, "effects"), as_vector(std_errors, "std_errors")
    same_length(effects=y, std_errors=s)
    if (s <= 0).any():
        i = int(np.flatnonzero(s <= 0)[0])
        raise ValueError(f"std_errors: expected positive values, got {s[i]:g} at position {i}")
    return y, s


def _tau2_dl(y: Floats, s: Floats) -> float:
    a = 1 / s**2
    q = (a * (y - (a * y).sum() / a.sum()) ** 2).sum()
    return max(0.0, float((q - (len(y) - 1)) / (a.sum() - (a**2).sum() / a.sum())))


def _restricted_log_likelihood(tau2: float, y: Floats, s: Floats) -> float:
    v = s**2 + tau2
    w = 1 / v
    mean = (w * y).sum() / w.sum()
    return float(-0.5 * (np.log(v).sum() + math.log(w.sum()) + (w * (y - mean) ** 2).sum()))


def _restricted_score(tau2: float, y: Floats, s: Floats) -> float:
    w = 1 / (s**2 + tau2)
    mean = (w * y).sum() / w.sum()
    return float(0.5 * ((w**2 * (y - mean) ** 2).sum() - w.sum() + (w**2).sum() / w.sum()))


def _tau2_reml(y: Floats, s: Floats) -> float:
    """Global maximum of the restricted likelihood: scan, then solve the score in the bracket."""
    top = max(float(np.var(y)), float((s**2).max())) * 100
    grid = np.concatenate([[0.0], np.geomspace(float((s**2).min()) * 1e-6, top, 400)])
    values = [_restricted_log_likelihood(t, y, s) for t in grid]
    i = int(np.argmax(values))
    low, high = grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)]
    if _restricted_score(low, y, s) <= 0:
        return float(low)
    return float(optimize.brentq(_restricted_score, low, high, args=(y, s), xtol=1e-16, rtol=1e-14))


def _q_profile(y: Floats, s: Floats, ci_level: float) -> tuple[float, float | None]:
    """Interval of tau2: the values at which the generalised Q meets its chi-squared quantiles."""

    def generalised_q(tau2: float) -> float:
        w = 1 / (s**2 + tau2)
        return float((w * (y - (w * y).sum() / w.sum()) ** 2).sum())

    def solve(quantile: float) -> float:
        if generalised_q(0.0) <= quantile:
            return 0.0
        high = max(1.0, float(np.var(y)))
        while generalised_q(high) > quantile:
            high *= 2
        return float(
            optimize.brentq(
                lambda t: generalised_q(t) - quantile, 0.0, high, xtol=1e-15, rtol=1e-13
            )
        )

    df, tail = len(y) - 1, (1 - ci_level) / 2
    return solve(float(stats.chi2.isf(tail, df))), solve(float(stats.chi2.ppf(tail, df)))

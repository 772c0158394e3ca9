r"""Power, numbers needed and precision: could a cohort of this size have seen that effect?

Power is two-sided and counts rejections in either direction, so that it falls to `alpha` where
there is no effect; numbers needed use the usual one-tailed approximation of the two-sided test.
Events decide, not patients: a hazard ratio is seen through the number of events.

Every function returns an `Estimate`: ``kind="power"`` (a fraction) or ``kind="count"`` (rounded up;
`statistic` holds the number before rounding).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from scipy import stats

from ballbook.inputs import as_number
from ballbook.results import Estimate, not_estimable

# --- pieces -----------------------------------------------------------------------------------


def _between(name: str, value: float, low: float, high: float) -> float:
    """Return `value` if strictly between `low` and `high`, else raise `ValueError`."""
    if not low < as_number(value, name) < high:
        limits = f"above {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
        raise ValueError(f"{name} is {value}, expected a number {limits}")
    return float(value)


def _z(alpha: float) -> float:
    return float(stats.norm.ppf(1 - _between("alpha", alpha, 0, 1) / 2))


def _two_sided_power(shift: float, alpha: float) -> float:
    """Return P(|Z + shift| > z) for a standard normal Z."""
    z = _z(alpha)
    return float(stats.norm.cdf(shift - z) + stats.norm.cdf(-shift - z))


def _power(value: float, method: str, **fields: Any) -> Estimate:
    return Estimate("power", value, ci_level=None, method=method, **fields)


def _count(value: float, method: str, **fields: Any) -> Estimate:
    # A hair below the next whole number is that number but for rounding.
    whole = float(math.ceil(value - 1e-9))
    return Estimate("count", whole, ci_level=None, statistic=value, method=method, **fields)


def _log_ratio(name: str, ratio: float) -> float:
    _between(name, ratio, 0, math.inf)
    if ratio == 1:
        raise ValueError(f"{name} is 1: no number of patients shows that there is no effect")
    return math.log(ratio)


# --- survival ---------------------------------------------------------------------------------


def logrank_events(
    hr: float,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
    allocation: float = 0.5,
    method: Literal["schoenfeld", "freedman"] = "schoenfeld",
) -> Estimate:
    r"""Return the events a log-rank test needs to see a hazard ratio.

    Schoenfeld: :math:`(z_{\alpha/2} + z_\beta)^2 / \{\pi (1 - \pi) \log^2 \theta\}`. Freedman, with
    :math:`\varphi = \pi / (1 - \pi)`:
    :math:`(z_{\alpha/2} + z_\beta)^2 (1 + \varphi\theta)^2 / \{\varphi (1 - \theta)^2\}`.

    Parameters
    ----------
    hr : float
        Hazard ratio :math:`\theta`, second group against first.
    allocation : float
        Fraction :math:`\pi` of patients in the second group.

    References
    ----------
    Schoenfeld (1981), Biometrika 68:316; Freedman (1982), Stat Med 1:121.
    """
    log_hr = _log_ratio("hr", hr)
    share = _between("allocation", allocation, 0, 1)
    reach = (_z(alpha) + float(stats.norm.ppf(_between("power", power, 0, 1)))) ** 2
    if method == "schoenfeld":
        return _count(reach / (share * (1 - share) * log_hr**2), "log-rank events (Schoenfeld)")
    if method == "freedman":
        odds = share / (1 - share)
        events = reach * (1 + odds * hr) ** 2 / (odds * (1 - hr) ** 2)
        return _count(events, "log-rank events (Freedman)")
    raise ValueError(f"method is {method!r}, expected 'schoenfeld' or 'freedman'")


def logrank_power(
    hr: float,
    events: float,
    *,
    alpha: float = 0.05,
    allocation: float = 0.5,
    method: Literal["schoenfeld", "freedman"] = "schoenfeld",
) -> Estimate:
    """Return the power of a log-rank test with this many events; see `logrank_events`."""
    _between("hr", hr, 0, math.inf)
    _between("events", events, 0, math.inf)
    share = _between("allocation", allocation, 0, 1)
    if method == "schoenfeld":
        shift = abs(math.log(hr)) * math.sqrt(share * (1 - share) * events)
    elif method == "freedman":
        odds = share / (1 - share)
        shift = math.sqrt(odds * events) * abs(1 - hr) / (1 + odds * hr)
    else:
        raise ValueError(f"method is {method!r}, expected 'schoenfeld' or 'freedman'")
    return _power(
        _two_sided_power(shift, alpha),
        f"log-rank power ({method.capitalize()})",
        n_events=round(events),
    )


def cox_events(
    hr: float,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
    prevalence: float | None = None,
    sd: float | None = None,
    r_squared: float = 0.0,
) -> Estimate:
    r"""Return the events a Cox model needs to see the hazard ratio of one covariate.

    :math:`(z_{\alpha/2} + z_\beta)^2 / \{\sigma^2 (1 - R^2) \log^2 \theta\}`, with :math:`\sigma^2`
    the variance of the covariate and :math:`R^2` how much of it the other covariates explain.

    Parameters
    ----------
    hr : float
        Hazard ratio per unit of the covariate.
    prevalence, sd : float
        One of them: the fraction with the covariate if it is binary, else its standard deviation.
    r_squared : float
        Squared multiple correlation of the covariate with the others in the model.

    References
    ----------
    Hsieh & Lavori (2000), Control Clin Trials 21:552; Schoenfeld (1983), Biometrics 39:499.
    """
    log_hr = _log_ratio("hr", hr)
    reach = (_z(alpha) + float(stats.norm.ppf(_between("power", power, 0, 1)))) ** 2
    information = _covariate_variance(prevalence, sd, r_squared) * log_hr**2
    return _count(reach / information, "Cox events (Hsieh-Lavori)")


def cox_power(
    hr: float,
    events: float,
    *,
    alpha: float = 0.05,
    prevalence: float | None = None,
    sd: float | None = None,
    r_squared: float = 0.0,
) -> Estimate:
    """Return the power of a Cox model to see one covariate's hazard ratio; see `cox_events`."""
    _between("hr", hr, 0, math.inf)
    _between("events", events, 0, math.inf)
    variance = _covariate_variance(prevalence, sd, r_squared)
    shift = abs(math.log(hr)) * math.sqrt(variance * events)
    method = "Cox power (Hsieh-Lavori)"
    return _power(_two_sided_power(shift, alpha), method, n_events=round(events))


def _covariate_variance(prevalence: float | None, sd: float | None, r_squared: float) -> float:
    if (prevalence is None) == (sd is None):
        raise ValueError("give either prevalence (binary covariate) or sd, and not both")
    if not 0 <= r_squared < 1:
        raise ValueError(f"r_squared is {r_squared}, expected 0 or more and below 1")
    if prevalence is not None:
        share = _between("prevalence", prevalence, 0, 1)
        return share * (1 - share) * (1 - r_squared)
    return _between("sd", float(sd or 0), 0, math.inf) ** 2 * (1 - r_squared)


def detectable_hazard_ratio(
    events: float, *, power: float = 0.8, alpha: float = 0.05, allocation: float = 0.5
) -> Estimate:
    """Return the smallest hazard ratio above 1 that this many events show (Schoenfeld).

    Its inverse is the largest below 1.
    """
    _between("events", events, 0, math.inf)
    share = _between("allocation", allocation, 0, 1)
    reach = _z(alpha) + float(stats.norm.ppf(_between("power", power, 0, 1)))
    return Estimate(
        "hazard-ratio",
        math.exp(reach / math.sqrt(share * (1 - share) * events)),
        ci_level=None,
        n_events=round(events),
        method=f"hazard ratio seen with {100 * power:g}% power (Schoenfeld)",
    )


def interaction_events(
    ratio: float,
    *,
    prevalence: float,
    relative_rate: float = 1.0,
    power: float = 0.8,
    alpha: float = 0.05,
    allocation: float = 0.5,
) -> Estimate:
    r"""Return the events a randomised trial needs to see a treatment effect differ by a marker.

    `ratio` is the ratio :math:`\psi` of the two hazard ratios. With a fraction :math:`\pi` of the
    patients in the second arm and a fraction *q* of the **events** in those with the marker, events
    being spread over the arms as the patients are, :math:`\ln\hat\psi` has variance
    :math:`1/\{\pi(1-\pi)\,q(1-q)\,D\}`, hence

    .. math:: D = \frac{(z_{\alpha/2}+z_\beta)^2}{\pi(1-\pi)\,q(1-q)\,\ln^2\psi}.

    With `prevalence` *p* and `relative_rate` *r* (events per patient with the marker over those
    without), :math:`q = pr/(pr+1-p)`. An interaction as large as a main effect needs
    :math:`1/\{q(1-q)\}\ge4` times its events.

    Notes
    -----
    Peterson and George, Control Clin Trials 1993;14:511; Schmoor, Sauerbrei, Schumacher, Stat Med
    2000;19:441. Where effects are strong, the arms differ in events; see `interaction_patients`.
    """
    log_ratio = _log_ratio("ratio", ratio)
    share = _between("allocation", allocation, 0, 1)
    p = _between("prevalence", prevalence, 0, 1)
    rate = _between("relative_rate", relative_rate, 0, math.inf)
    q = p * rate / (p * rate + 1 - p)
    reach = (_z(alpha) + float(stats.norm.ppf(_between("power", power, 0, 1)))) ** 2
    events = reach / (share * (1 - share) * q * (1 - q) * log_ratio**2)
    return _count(events, "events for an interaction of treatment and marker (Schmoor)")


def interaction_patients(
    ratio: float,
    event_fractions: tuple[float, float, float, float],
    *,
    prevalence: float,
    power: float = 0.8,
    alpha: float = 0.05,
) -> Estimate:
    r"""Return the patients a trial needs to see an interaction, from the events in its four cells.

    :math:`N=(z_{\alpha/2}+z_\beta)^2\sum_j 1/(f_jP_j)\,/\ln^2\psi`, with :math:`f_j` the
    fraction of patients in a cell (half of those with, half of those without the marker).

    Parameters
    ----------
    ratio : float
        Ratio of the hazard ratios with and without the marker.
    event_fractions : tuple of four floats
        Fraction with an event: marker and first arm, marker and second arm, then without the
        marker.
    prevalence : float
        Fraction of patients with the marker.

    References
    ----------
    Peterson and George (1993), Control Clin Trials 14:511.
    """
    log_ratio = _log_ratio("ratio", ratio)
    reach = (_z(alpha) + float(stats.norm.ppf(_between("power", power, 0, 1)))) ** 2
    spread = _interaction_spread(event_fractions, prevalence)
    return _count(reach * spread / log_ratio**2, "patients for an interaction (Peterson-George)")


def interaction_power(
    ratio: float,
    n: float,
    event_fractions: tuple[float, float, float, float],
    *,
    prevalence: float,
    alpha: float = 0.05,
) -> Estimate:
    """Return the power to see an interaction with `n` patients; see `interaction_patients`."""
    _between("ratio", ratio, 0, math.inf)
    _between("n", n, 0, math.inf)
    shift = abs(math.log(ratio)) * math.sqrt(n / _interaction_spread(event_fractions, prevalence))
    return _power(_two_sided_power(shift, alpha), "interaction (Peterson-George)", n=round(n))


def _interaction_spread(event_fractions: tuple[float, ...], prevalence: float) -> float:
    p = _between("prevalence", prevalence, 0, 1)
    if len(event_fractions) != 4:
        raise ValueError(f"event_fractions: expected four, got {len(event_fractions)}")
    cells = (p / 2, p / 2, (1 - p) / 2, (1 - p) / 2)
    found = zip(cells, event_fractions, strict=True)
    return sum(1 / (f * _event_fraction(v)) for f, v in found)


def _event_fraction(value: float) -> float:
    if not 0 < as_number(value, "event fraction") <= 1:
        raise ValueError(f"event fraction is {value}, expected above 0 and up to 1")
    return float(value)


def event_probability(median: float, accrual: float, follow_up: float) -> float:
    r"""Return the probability that a patient's event is seen, survival being exponential.

    Patients enter uniformly over `accrual` and are followed for `follow_up` after it ends:
    :math:`1 - \{e^{-\lambda F} - e^{-\lambda (F + A)}\} / (\lambda A)`, with
    :math:`\lambda = \log 2 / \mathrm{median}`. All in the same unit of time.
    """
    rate = math.log(2) / _between("median", median, 0, math.inf)
    longest = as_number(accrual, "accrual") + as_number(follow_up, "follow_up")
    if accrual < 0 or follow_up < 0 or longest == 0:
        raise ValueError("accrual and follow_up must not be negative, nor both 0")
    if accrual == 0:
        return -math.expm1(-rate * follow_up)
    return 1 + math.exp(-rate * follow_up) * math.expm1(-rate * accrual) / (rate * accrual)


def medians_power(
    median1: float,
    median0: float,
    n1: int,
    n0: int,
    *,
    accrual: float,
    follow_up: float,
    alpha: float = 0.05,
) -> Estimate:
    r"""Return the power to tell two median survival times apart, survival being exponential.

    With the expected events :math:`d_j = n_j\,P(\mathrm{event})`, the log hazard ratio
    :math:`\log(m_0 / m_1)` has variance :math:`1/d_1 + 1/d_0`. R: ``Hmisc::cpower``.
    """
    _between("n1", n1, 0, math.inf)
    _between("n0", n0, 0, math.inf)
    d1 = n1 * event_probability(median1, accrual, follow_up)
    d0 = n0 * event_probability(median0, accrual, follow_up)
    shift = abs(math.log(median0 / median1)) / math.sqrt(1 / d1 + 1 / d0)
    return _power(
        _two_sided_power(shift, alpha),
        "two exponential medians",
        n=n1 + n0,
        n_events=round(d1 + d0),
    )


def median_n_for_width(
    median: float,
    width: float,
    *,
    event_fraction: float = 1.0,
    ci_level: float = 0.95,
    method: Literal["kaplan-meier", "exponential"] = "kaplan-meier",
) -> Estimate:
    r"""Return the patients needed for a median's interval to be `width` wide.

    On the log scale the median of exponential survival has the variance :math:`1/d` if the curve is
    assumed exponential, and :math:`1 / (d \log^2 2)` read from a Kaplan-Meier curve: twice the
    events. An interval of :math:`m e^{\pm z\,\mathrm{se}}` is `width` wide when
    :math:`\mathrm{se} = \mathrm{arsinh}\{w / (2m)\} / z`.

    Parameters
    ----------
    median, width : float
        In the same unit of time.
    event_fraction : float
        Fraction of patients whose event will be seen; the patients are events / fraction.

    References
    ----------
    Brookmeyer & Crowley (1982), Biometrics 38:29 (the variance of a Kaplan-Meier median); Collett
    (2015), chapter 15.
    """
    _between("median", median, 0, math.inf)
    _between("width", width, 0, math.inf)
    if not 0 < event_fraction <= 1:
        raise ValueError(f"event_fraction is {event_fraction}, expected above 0 and up to 1")
    se = math.asinh(width / (2 * median)) / _z(1 - _between("ci_level", ci_level, 0, 1))
    events = _median_information(method) / se**2
    return _count(events / event_fraction, f"patients for the interval of a median ({method})")


def median_interval(
    median: float,
    events: float,
    *,
    ci_level: float = 0.95,
    method: Literal["kaplan-meier", "exponential"] = "kaplan-meier",
    unit: str = "months",
) -> Estimate:
    """Return the interval to expect around a median with this many events.

    See `median_n_for_width`.
    """
    _between("median", median, 0, math.inf)
    _between("events", events, 0, math.inf)
    se = math.sqrt(_median_information(method) / events)
    margin = _z(1 - _between("ci_level", ci_level, 0, 1)) * se
    return Estimate(
        "median",
        float(median),
        median * math.exp(-margin),
        median * math.exp(margin),
        ci_level,
        unit=unit,
        n_events=round(events),
        method=f"interval to expect, exponential survival ({method})",
    )


def _median_information(method: str) -> float:
    if method not in ("kaplan-meier", "exponential"):
        raise ValueError(f"method is {method!r}, expected 'kaplan-meier' or 'exponential'")
    return 1.0 if method == "exponential" else 1 / math.log(2) ** 2


# --- proportions ------------------------------------------------------------------------------


def two_proportions_power(
    p1: float,
    p2: float,
    n1: int,
    n2: int,
    *,
    alpha: float = 0.05,
    method: Literal["normal", "exact"] = "normal",
) -> Estimate:
    r"""Return the power to tell two proportions apart.

    Normal: pooled variance under the null, separate variances under the alternative; with equal
    groups this is R's ``power.prop.test(..., strict = TRUE)``. Exact: the probability of tables
    whose two-sided Fisher test has P <= alpha, which suits the small groups of this book.

    References
    ----------
    Fleiss, Levin & Paik (2003), chapter 4.
    """
    _between("p1", p1, 0, 1)
    _between("p2", p2, 0, 1)
    for name, size in (("n1", n1), ("n2", n2)):
        if as_number(size, name) < 1 or size != int(size):
            raise ValueError(f"{name} is {size}, expected a whole number of 1 or more")
    n = int(n1 + n2)
    if method == "exact":
        value = _fisher_power(p1, p2, int(n1), int(n2), alpha)
        return _power(value, "Fisher's exact test", n=n)
    if method != "normal":
        raise ValueError(f"method is {method!r}, expected 'normal' or 'exact'")
    pooled = (n1 * p1 + n2 * p2) / n
    null = math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    alternative = math.sqrt(p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2)
    z, d = _z(alpha), abs(p1 - p2)
    value = stats.norm.cdf((d - z * null) / alternative)
    value += stats.norm.cdf((-d - z * null) / alternative)
    return _power(float(value), "two proportions, normal approximation", n=n)


def _fisher_power(p1: float, p2: float, n1: int, n2: int, alpha: float) -> float:
    """Return the probability of tables with a two-sided Fisher P of at most alpha."""
    _between("alpha", alpha, 0, 1)
    power = 0.0
    first = stats.binom.pmf(np.arange(n1 + 1), n1, p1)
    second = stats.binom.pmf(np.arange(n2 + 1), n2, p2)
    for total in range(n1 + n2 + 1):
        a = np.arange(max(0, total - n2), min(n1, total) + 1)
        chance = stats.hypergeom.pmf(a, n1 + n2, n1, total)
        # R's rule: tables as probable as the one seen, within a relative 1e-7, count as extreme.
        ranked = np.sort(chance)
        reached = np.searchsorted(ranked, chance * (1 + 1e-7), side="right")
        p_value = np.concatenate([[0.0], np.cumsum(ranked)])[reached]
        power += float(np.sum((first[a] * second[total - a])[p_value <= alpha]))
    return power


def two_proportions_n(
    p1: float, p2: float, *, power: float = 0.8, alpha: float = 0.05, ratio: float = 1.0
) -> Estimate:
    r"""Return the size of the first group needed to tell two proportions apart.

    The second group is `ratio` times as large. With equal groups R's ``power.prop.test``.
    """
    _between("p1", p1, 0, 1)
    _between("p2", p2, 0, 1)
    _between("ratio", ratio, 0, math.inf)
    if p1 == p2:
        raise ValueError("p1 and p2 are equal: no number of patients tells them apart")
    z_power = float(stats.norm.ppf(_between("power", power, 0, 1)))
    pooled = (p1 + ratio * p2) / (1 + ratio)
    null = math.sqrt(pooled * (1 - pooled) * (1 + 1 / ratio))
    alternative = math.sqrt(p1 * (1 - p1) + p2 * (1 - p2) / ratio)
    n = ((_z(alpha) * null + z_power * alternative) / (p1 - p2)) ** 2
    return _count(n, "patients in the first group, two proportions")


# --- published effects ------------------------------------------------------------------------


def power_to_see(
    published: Estimate,
    *,
    n_events: float | None = None,
    allocation: float = 0.5,
    n1: int | None = None,
    n0: int | None = None,
    p0: float | None = None,
    alpha: float = 0.05,
) -> Estimate:
    """Return a cohort's power to have seen a published effect, were it exactly true.

    Parameters
    ----------
    published : Estimate
        A ``hazard-ratio`` (give `n_events` and `allocation`, the fraction in the group of
        interest) or an ``odds-ratio`` (give `n1` and `n0`, the sizes of the two groups, and `p0`,
        the fraction with the outcome in the reference group; exact up to 400 patients). For two
        medians see `medians_power`.

    Raises
    ------
    ValueError
        Another kind of effect, or a size that is missing.
    """
    if published.kind not in ("hazard-ratio", "odds-ratio"):
        raise ValueError(
            f"published is a {published.kind}, expected a hazard-ratio or an odds-ratio"
        )
    if published.value is None:
        return not_estimable("power", "the paper gives no value for this effect")
    if published.kind == "hazard-ratio":
        if n_events is None:
            raise ValueError("a hazard ratio needs n_events, the events in the cohort")
        if n_events == 0:
            return not_estimable("power", "no events in the cohort", n_events=0)
        found = logrank_power(published.value, n_events, alpha=alpha, allocation=allocation)
    else:
        if n1 is None or n0 is None or p0 is None:
            raise ValueError("an odds ratio needs n1, n0 (group sizes) and p0 (reference risk)")
        odds = published.value * p0 / (1 - _between("p0", p0, 0, 1))
        method: Literal["exact", "normal"] = "exact" if n1 + n0 <= 400 else "normal"
        found = two_proportions_power(odds / (1 + odds), p0, n1, n0, alpha=alpha, method=method)
    effect = published.kind.replace("-", " ")
    return found.named("", f"power to see {effect} {published.value:g}")

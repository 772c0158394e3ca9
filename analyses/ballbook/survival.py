"""Kaplan-Meier curves, log-rank tests, restricted means, landmarks and follow-up.

The estimators follow R's ``survival`` package: the same handling of ties and of left truncation,
the same log(-log) intervals, the same rule for a median on a flat part of the curve.

Conventions shared with `ballbook.cox` and `ballbook.competing_risks`:

* A patient is at risk at ``t`` when ``entry < t <= time``. An event and a censoring at the same
  time: the event comes first, so the censored patient was still at risk.
* Time 0 is allowed, as in R: an event at 0 lowers the curve at 0.
* An entry of 0 means "observed from the start" and is the same as giving no entry.
* Times that differ by rounding only (relative 1.5e-8) are one time, as in R (``timefix``).
* Malformed input (a missing time, an unknown event code) raises `ValueError` naming the position,
  the value and what was expected. Well-formed input that has no answer (no events, one group)
  gives an `Estimate` without a value and with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from ballbook.inputs import as_level, as_number, as_vector, group_codes, refuse
from ballbook.results import Estimate, not_estimable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# R's tolerance for calling two times, or two survival probabilities, equal.
TOLERANCE = float(np.sqrt(np.finfo(float).eps))


# --- input ------------------------------------------------------------------------------------


def survival_data(time: Any, event: Any, entry: Any = None) -> tuple[Floats, Bools, Floats | None]:
    """Check follow-up data and return them as arrays.

    Parameters
    ----------
    time : (n,) array-like
        Time of event or censoring, finite and not negative.
    event : (n,) array-like
        1 or True for an event, 0 or False for censoring.
    entry : (n,) array-like, optional
        Time from which the patient was observed (left truncation); 0 for "from the start".

    Returns
    -------
    time, event, entry
        Float, bool and float arrays. Entries of 0 become minus infinity; when nobody entered
        late, `entry` is None.

    Raises
    ------
    ValueError
        Empty or unequal vectors, non-finite or negative times, event codes other than 0 and 1,
        an entry at or after the patient's own time.
    """
    t, died = _time_and_event(time, event)
    e = None
    if entry is not None:
        e = as_vector(entry, "entry", n=len(t))
        refuse("entry", e, e < 0, "an entry time of 0 or later")
        e = np.where(e == 0, -np.inf, e)
    t, e = merge_near_ties(t, e)
    if e is not None:
        refuse("entry", e, e >= t, "a time before the patient's event or censoring")
        if np.isneginf(e).all():
            e = None
    return t, died, e


def _time_and_event(time: Any, event: Any) -> tuple[Floats, Bools]:
    t = as_vector(time, "time")
    refuse("time", t, t < 0, "a time of 0 or later")
    event = np.asarray(event)
    if event.dtype == np.bool_ and event.shape == t.shape:
        return t, event
    code = as_vector(event, "event", n=len(t))
    refuse("event", code, (code != 0) & (code != 1), "0 (censored) or 1 (event)")
    return t, code == 1


def merge_near_ties(time: Floats, entry: Floats | None) -> tuple[Floats, Floats | None]:
    """Give times that differ by rounding only the same value, as R's ``aeqSurv`` does.

    Two neighbouring distinct times are one when they differ by at most 1.5e-8, in their own unit
    or as a fraction of the mean distinct time.
    """
    pool = time if entry is None else np.concatenate([time, entry[np.isfinite(entry)]])
    distinct = tally(pool, np.zeros(len(pool), dtype=bool))[0]
    first = _far_from_previous(distinct)
    if first.all():
        return time, entry
    merged = distinct[np.maximum.accumulate(np.where(first, np.arange(len(distinct)), 0))]

    def settle(x: Floats) -> Floats:
        known = np.isfinite(x)
        out = x.copy()
        out[known] = merged[np.searchsorted(distinct, x[known])]
        return out

    return settle(time), None if entry is None else settle(entry)


def _far_from_previous(distinct: Floats) -> Bools:
    gap = np.diff(distinct)
    far = (gap > TOLERANCE) & (gap > TOLERANCE * np.abs(distinct).mean())
    return np.concatenate([[True], far])


# Bins of `tally`: 45 years of days.
BINS = 1 << 14


def tally(time: Floats, event: Bools) -> tuple[Floats, Ints, Ints]:
    """Return the distinct times in order, how many times equal each, and events among those.

    Follow-up is mostly counted in days or months, so most cohorts put one distinct time in each of
    16,384 equal bins: then counting in bins is all, and nothing is sorted. Otherwise the bins give
    a first order, cheaply, and only that is sorted.
    """
    longest = max(float(time.max()), float(np.finfo(float).tiny))
    place = time / longest
    if len(time) >= BINS:
        counted = _count_in_bins(time, event, place)
        if counted is not None:
            return counted
    # Times are not negative, so their bits sort as they do; the lowest bit carries the event, and
    # one sort does for both.
    bits = time.view(np.uint64) << np.uint64(1)
    bits |= event
    place *= np.iinfo(np.uint16).max  # 16-bit numbers sort fastest
    bits = bits[np.argsort(place.astype(np.uint16), kind="stable")]
    bits.sort(kind="stable")
    events = (bits & np.uint64(1)).view(np.int64)
    bits >>= np.uint64(1)
    sorted_time = bits.view(np.float64)
    start = tie_starts(sorted_time)
    if len(start) == len(time):
        return sorted_time, np.ones(len(time), dtype=np.int64), events
    return sorted_time[start], np.diff(start, append=len(time)), np.add.reduceat(events, start)


def _count_in_bins(time: Floats, event: Bools, place: Floats) -> tuple[Floats, Ints, Ints] | None:
    """Return what `tally` does, or None when a bin holds two distinct times."""
    slot = (place * (BINS - 1)).astype(np.int64)
    slot += BINS * event  # the censored of all bins, then the events
    shown = np.zeros(2 * BINS)
    for rows in (slice(1000), slice(None)):  # a few already tell that times are continuous
        shown[slot[rows]] = time[rows]
        if (shown.take(slot[rows]) != time[rows]).any():
            return None
    counts = np.bincount(slot, minlength=2 * BINS)
    events, leaving = counts[BINS:], counts[:BINS] + counts[BINS:]
    distinct = np.maximum(shown[:BINS], shown[BINS:])
    if ((counts[:BINS] > 0) & (shown[:BINS] != distinct)).any():
        return None
    if ((events > 0) & (shown[BINS:] != distinct)).any():
        return None
    used = np.flatnonzero(leaving)
    return distinct[used], leaving[used], events[used]


def normal_quantile(ci_level: float) -> float:
    """Return z with P(-z < Z < z) = `ci_level` for a standard normal Z."""
    return float(stats.norm.ppf(0.5 + as_level(ci_level) / 2))


# --- Kaplan-Meier -----------------------------------------------------------------------------


@dataclass(frozen=True)
class SurvivalCurve:
    r"""A Kaplan-Meier curve and what is read from it.

    Attributes
    ----------
    table : DataFrame
        One row per distinct time: ``time, n_risk, n_event, n_censored, survival, std_error,
        ci_low, ci_high``. `std_error` is Greenwood's, of the survival probability. Where survival
        is 1 the interval is degenerate (R prints 1 to 1); where it is 0 there is none (NaN).
    n, n_events : int
        Patients and events.
    label : str or None
        Name of the group.
    ci_level : float
        Level of the pointwise intervals.
    """

    table: pd.DataFrame
    n: int
    n_events: int
    label: str | None
    ci_level: float
    _entry: Floats | None = field(repr=False)  # sorted

    @cached_property
    def last_time(self) -> float:
        """Longest observed time."""
        return float(self._column("time")[-1])

    def number_at_risk(self, times: Any) -> Ints:
        """Return how many patients were at risk (``entry < t <= time``) just before each time."""
        t = as_vector(np.atleast_1d(times), "times")
        leaving = self.table["n_event"].to_numpy() + self.table["n_censored"].to_numpy()
        left = np.concatenate([[0], np.cumsum(leaving)])
        gone: Ints = left[np.searchsorted(self._column("time"), t, side="left")]
        if self._entry is None:
            return self.n - gone
        return np.searchsorted(self._entry, t, side="left") - gone

    def at(self, t: float, unit: str = "months") -> Estimate:
        """Return the survival probability at `t` with its log(-log) interval.

        `n_events` counts the events up to `t`. Beyond the longest follow-up the value is not
        estimable unless the curve has reached 0. While nobody has had an event the value is 1 and
        the interval is undefined, which `reason` says.
        """
        t = as_number(t, "t")
        refuse("t", [t], np.array([t < 0]), "a time of 0 or later")
        label = f"survival at {t:g} {unit}"
        times, survival = self._column("time"), self._column("survival")
        row = int(np.searchsorted(times, t, side="right")) - 1
        if t > self.last_time and survival[-1] > 0:
            reason = f"nobody was followed to {t:g} {unit}; the curve ends at {self.last_time:g}"
            return not_estimable("survival", reason, n=self.n, method=KM_METHOD, label=label)
        value = float(survival[row]) if row >= 0 else 1.0
        events = int(self._column("n_event")[: row + 1].sum())
        low, high, reason_given = None, None, None
        if 0 < value < 1:
            low, high = float(self._column("ci_low")[row]), float(self._column("ci_high")[row])
        elif value == 1:
            reason_given = "no event yet: the interval is undefined"
        else:
            reason_given = "the curve has reached 0: the interval is undefined"
            if self.n_events > events or t < self.last_time:
                reason_given = "nobody was left at risk, so the curve stays at 0 (left truncation)"
        return Estimate(
            kind="survival",
            value=value,
            ci_low=low,
            ci_high=high,
            ci_level=self.ci_level,
            n=self.n,
            n_events=events,
            method=KM_METHOD,
            reason=reason_given,
            label=label,
            group=self.label,
        )

    def quantile(self, q: float, unit: str = "months") -> Estimate:
        r"""Return the time by which a fraction `q` of patients had the event.

        The smallest :math:`t` with :math:`S(t) \le 1-q`. Where the curve is flat at exactly
        :math:`1-q`, the middle of the flat part, as R. The interval inverts the pointwise log(-log)
        band (Brookmeyer & Crowley 1982); a bound that the band does not reach is None.
        """
        if not 0 < q < 1:
            raise ValueError(f"q is {q}, expected a fraction between 0 and 1")
        kind = "median" if q == 0.5 else "quantile"
        label = "median" if q == 0.5 else f"time by which {100 * q:g}% had the event"
        times = self._column("time")

        def crossing(curve: str) -> float | None:
            return _first_crossing(times, self._column(curve), 1 - q)

        value, low, high = crossing("survival"), crossing("ci_low"), crossing("ci_high")
        lowest = float(self._column("survival")[-1])
        reason = f"not reached: survival stays above {1 - q:g} (lowest {lowest:.3g})"
        return Estimate(
            kind=kind,
            value=value,
            ci_low=low,
            ci_high=high,
            ci_level=self.ci_level,
            unit=unit,
            n=self.n,
            n_events=self.n_events,
            method="Kaplan-Meier, interval from the log(-log) band",
            reason=reason if value is None else None,
            label=label,
            group=self.label,
        )

    def median(self, unit: str = "months") -> Estimate:
        """Return the median survival time; see `quantile`."""
        return self.quantile(0.5, unit)

    def restricted_mean(self, tau: float, unit: str = "months") -> Estimate:
        r"""Return the mean survival time up to `tau`: the area under the curve to `tau`.

        .. math:: \hat\mu = \int_0^\tau \hat S(t)\,dt, \qquad
            \widehat{\mathrm{var}} = \sum_{t_i \le \tau}
            \Big(\int_{t_i}^{\tau} \hat S(t)\,dt\Big)^2 \frac{d_i}{n_i (n_i - d_i)}

        Wald interval. Not estimable when `tau` lies beyond the longest follow-up of a curve that
        has not reached 0. Reference: Klein & Moeschberger (2003), section 4.5; R
        ``print(survfit(...), rmean = tau)``.
        """
        tau = as_number(tau, "tau")
        if tau <= 0:
            raise ValueError(f"tau is {tau:g}, expected a time after 0")
        label = f"mean within {tau:g} {unit}"
        method = "restricted mean under Kaplan-Meier, Wald interval"
        if tau > self.last_time and self._column("survival")[-1] > 0:
            reason = f"nobody was followed to {tau:g} {unit}; the curve ends at {self.last_time:g}"
            return not_estimable("restricted-mean", reason, n=self.n, method=method, label=label)
        mean, variance = self._area(tau)
        margin = normal_quantile(self.ci_level) * np.sqrt(variance)
        events = int(self._column("n_event")[self._column("time") <= tau].sum())
        return Estimate(
            kind="restricted-mean",
            value=mean,
            ci_low=mean - margin if events else None,
            ci_high=mean + margin if events else None,
            ci_level=self.ci_level,
            unit=unit,
            n=self.n,
            n_events=events,
            method=method,
            reason=None if events else "no event within tau: the interval is undefined",
            label=label,
            group=self.label,
        )

    def _area(self, tau: float) -> tuple[float, float]:
        """Return the area under the curve to `tau` and its variance."""
        keep = self._column("time") <= tau
        times = self._column("time")[keep]
        survival = self._column("survival")[keep]
        edges = np.concatenate([[0.0], times, [tau]])
        pieces = np.diff(edges) * np.concatenate([[1.0], survival])
        after = np.cumsum(pieces[::-1])[::-1][1:]  # area from each time to tau
        d, n = self._column("n_event")[keep], self._column("n_risk")[keep]
        left = n - d
        hazard_variance = np.divide(d, n * left, out=np.zeros(len(d)), where=left > 0)
        return float(pieces.sum()), float(np.sum(after**2 * hazard_variance))

    def _column(self, name: str) -> Floats:
        return self.table[name].to_numpy(dtype=np.float64)


KM_METHOD = "Kaplan-Meier, log(-log) interval"


def kaplan_meier(
    time: Any,
    event: Any,
    *,
    entry: Any = None,
    ci_level: float = 0.95,
    label: str | None = None,
) -> SurvivalCurve:
    r"""Estimate a survival curve.

    .. math:: \hat S(t) = \prod_{t_i \le t} \Big(1 - \frac{d_i}{n_i}\Big), \qquad
        \widehat{\mathrm{var}}\{\log \hat S(t)\} = \sum_{t_i \le t} \frac{d_i}{n_i (n_i - d_i)}

    with the log(-log) interval
    :math:`\hat S^{\exp(\pm z\,\mathrm{se}/\log \hat S)}`, which stays within 0 and 1.

    Parameters
    ----------
    time, event, entry
        See `survival_data`.
    ci_level : float
        Level of the pointwise intervals.
    label : str, optional
        Name of the group.

    Raises
    ------
    ValueError
        See `survival_data`.

    References
    ----------
    Kaplan & Meier (1958); Kalbfleisch & Prentice (2002), section 1.4. R:
    ``survfit(Surv(time, event) ~ 1, conf.type = "log-log")``. lifelines, the same numbers:
    ``KaplanMeierFitter().fit(time, event)``.
    """
    z = normal_quantile(ci_level)
    if entry is not None:
        t, died, late = survival_data(time, event, entry)
        return _curve(tally(t, died), late, z, ci_level, label)
    distinct, leaving, events = tally(*_time_and_event(time, event))
    first = np.flatnonzero(_far_from_previous(distinct))
    if len(first) < len(distinct):
        distinct = distinct[first]
        leaving, events = (np.add.reduceat(counts, first) for counts in (leaving, events))
    return _curve((distinct, leaving, events), None, z, ci_level, label)


def kaplan_meier_by(
    time: Any, event: Any, group: Any, *, entry: Any = None, ci_level: float = 0.95
) -> dict[str, SurvivalCurve]:
    """Estimate one survival curve per group.

    Parameters
    ----------
    time, event, entry
        See `survival_data`.
    group : (n,) array-like
        Group of each patient.
    ci_level : float
        Level of the pointwise intervals.

    Returns
    -------
    dict of str to SurvivalCurve
        In the order of the categories, else sorted; see `kaplan_meier`.

    Raises
    ------
    ValueError
        See `survival_data`; a missing or an empty group.
    """
    z = normal_quantile(ci_level)
    t, died, late = survival_data(time, event, entry)
    codes, labels = group_codes("group", group, n=len(t))
    curves = {}
    for code, name in enumerate(labels):
        mine = codes == code
        late_here = None if late is None else late[mine]
        curves[name] = _curve(tally(t[mine], died[mine]), late_here, z, ci_level, name)
    return curves


def _curve(
    counted: tuple[Floats, Ints, Ints],
    entry: Floats | None,
    z: float,
    ci_level: float,
    label: str | None,
) -> SurvivalCurve:
    """Return the curve of times as counted by `tally`."""
    distinct, leaving, d = counted
    n = int(leaving.sum())
    sorted_entry = None if entry is None else np.sort(entry)
    entered = n if sorted_entry is None else np.searchsorted(sorted_entry, distinct, "left")
    n_risk = leaving - np.cumsum(leaving)
    n_risk += entered

    # In place: with a million times, fresh memory costs more than the arithmetic.
    with np.errstate(divide="ignore", invalid="ignore"):
        hazard = d / n_risk
        survival = 1 - hazard
        np.cumprod(survival, out=survival)
        hazard /= n_risk - d
        se_log = np.sqrt(np.cumsum(hazard, out=hazard), out=hazard)
        std_error = survival * se_log
        log_survival = np.log(survival)
        se_log *= z
        factor = np.exp(np.divide(se_log, log_survival, out=se_log), out=se_log)
        low = log_survival / factor
        high = np.multiply(log_survival, factor, out=log_survival)
        np.exp(low, out=low)
        np.exp(high, out=high)
    unmoved, ended = survival == 1, survival == 0
    low[unmoved] = high[unmoved] = 1.0
    low[ended] = high[ended] = std_error[ended] = np.nan
    columns = {
        "time": distinct,
        "n_risk": n_risk,
        "n_event": d,
        "n_censored": leaving - d,
        "survival": survival,
        "std_error": std_error,
        "ci_low": low,
        "ci_high": high,
    }
    table = pd.DataFrame(columns, copy=False)
    return SurvivalCurve(table, n, int(d.sum()), label, ci_level, sorted_entry)


def tie_starts(sorted_values: npt.NDArray[Any]) -> Ints:
    """Return where each run of equal values begins in a sorted vector."""
    changed = sorted_values[1:] != sorted_values[:-1]
    return np.concatenate([[0], np.flatnonzero(changed) + 1]).astype(np.int64)


def _first_crossing(times: Floats, curve: Floats, level: float) -> float | None:
    """Return when a falling step curve reaches `level`; the middle of a flat part at `level`."""
    known = np.isfinite(curve)
    times, curve = times[known], curve[known]
    reached = np.flatnonzero(curve <= level + TOLERANCE)
    if len(reached) == 0:
        return None
    begin = float(times[reached[0]])
    below = np.flatnonzero(curve < level - TOLERANCE)
    end = float(times[below[0]] if len(below) else times[-1])
    return (begin + end) / 2


# --- comparing groups -------------------------------------------------------------------------


def logrank(
    time: Any, event: Any, group: Any, *, strata: Any = None, entry: Any = None
) -> Estimate:
    r"""Compare the hazards of two or more groups with the log-rank test.

    At each event time the events expected in group :math:`g` are :math:`d_i n_{ig} / n_i`. With
    :math:`u = O - E` summed over times and strata and :math:`V` its hypergeometric covariance,
    :math:`u^\top V^{-1} u` is compared with :math:`\chi^2` on (groups - 1) degrees of freedom.

    Parameters
    ----------
    time, event, entry
        See `survival_data`.
    group : (n,) array-like
        Group of each patient; any number of groups.
    strata : (n,) array-like, optional
        Compare within these strata only.

    Returns
    -------
    Estimate
        ``kind="p-value"``. Without a value, with the reason, when there is one group or no event
        at a time when more than one group is at risk.

    Raises
    ------
    ValueError
        See `survival_data`; a missing or an empty group or stratum.

    References
    ----------
    Mantel (1966); Kalbfleisch & Prentice (2002), section 1.5. R:
    ``survdiff(Surv(time, event) ~ group + strata(strata))``. lifelines, the same numbers without
    strata: ``lifelines.statistics.multivariate_logrank_test(time, group, event)``.
    """
    t, died, late = survival_data(time, event, entry)
    codes, labels = group_codes("group", group, n=len(t))
    method = "log-rank"
    layers = np.zeros(len(t), dtype=np.int64)
    if strata is not None:
        layers, _ = group_codes("strata", strata, n=len(t))
        method = "stratified log-rank"
    counts: dict[str, Any] = {"n": len(t), "n_events": int(died.sum()), "method": method}
    if len(labels) < 2:
        return not_estimable("p-value", f"one group only ({labels[0]})", **counts)
    if not died.any():
        return not_estimable("p-value", "no events", **counts)

    k = len(labels)
    difference, variance = np.zeros(k), np.zeros((k, k))
    for layer in range(int(layers.max()) + 1):
        inside = layers == layer
        part = observed_minus_expected(
            t[inside], died[inside], codes[inside], k, None if late is None else late[inside]
        )
        difference += part[0]
        variance += part[1]
    statistic, df = quadratic_form(difference, variance)
    if df == 0:
        reason = "no event happened while more than one group was at risk"
        return not_estimable("p-value", reason, **counts)
    p = float(stats.chi2.sf(statistic, df))
    return Estimate(
        kind="p-value",
        value=p,
        p_value=p,
        ci_level=None,
        statistic=statistic,
        df=df,
        reason=None if df == k - 1 else "some groups were never at risk together with another",
        **counts,
    )


def observed_minus_expected(
    time: Floats, event: Bools, codes: Ints, k: int, entry: Floats | None
) -> tuple[Floats, Floats]:
    """Return observed minus expected events (k,) and their covariance (k, k)."""
    distinct = np.unique(time[event])
    if len(distinct) == 0:
        return np.zeros(k), np.zeros((k, k))
    at_risk = np.empty((len(distinct), k))
    events = np.empty((len(distinct), k))
    for g in range(k):
        mine = codes == g
        gone = np.searchsorted(np.sort(time[mine]), distinct, side="left")
        come: Any = mine.sum()
        if entry is not None:
            come = np.searchsorted(np.sort(entry[mine]), distinct, side="left")
        at_risk[:, g] = come - gone
        where = np.searchsorted(distinct, time[mine & event])
        events[:, g] = np.bincount(where, minlength=len(distinct))
    n, d = at_risk.sum(axis=1), events.sum(axis=1)
    share = at_risk / n[:, None]
    difference = events.sum(axis=0) - (d[:, None] * share).sum(axis=0)
    scale = np.divide(d * (n - d), n - 1, out=np.zeros(len(n)), where=n > 1)
    variance = np.diag(scale @ share) - (share * scale[:, None]).T @ share
    return difference, variance


def quadratic_form(u: Floats, v: Floats) -> tuple[float, int]:
    """Return u' V^- u and the rank of V, for a covariance that may be singular."""
    values, vectors = np.linalg.eigh(v)
    keep = values > 1e-10 * max(float(values.max(initial=0.0)), 1e-300)
    along = vectors[:, keep].T @ u
    return float(np.sum(along**2 / values[keep])), int(keep.sum())


def restricted_mean_difference(
    time: Any,
    event: Any,
    group: Any,
    tau: float,
    *,
    entry: Any = None,
    unit: str = "months",
    ci_level: float = 0.95,
) -> Estimate:
    r"""Return the difference in mean survival time up to `tau`, second group minus first.

    Independent groups: the variances of the two restricted means add; Wald interval and test.
    Reference: Royston & Parmar (2013); R ``survRM2::rmst2``.

    Raises
    ------
    ValueError
        Other than two groups, or see `survival_data`.
    """
    curves = list(kaplan_meier_by(time, event, group, entry=entry, ci_level=ci_level).values())
    if len(curves) != 2:
        raise ValueError(f"group has {len(curves)} groups, expected 2")
    first, second = curves
    tau = as_number(tau, "tau")
    label = f"mean within {tau:g} {unit}, {second.label} minus {first.label}"
    counts: dict[str, Any] = {
        "n": first.n + second.n,
        "method": "difference of restricted means, Wald interval",
        "label": label,
        "unit": unit,
    }
    for curve in curves:
        alone = curve.restricted_mean(tau, unit)
        if alone.value is None:
            return not_estimable("difference", f"{curve.label}: {alone.reason}", **counts)
    (mean0, var0), (mean1, var1) = first._area(tau), second._area(tau)
    difference, se = mean1 - mean0, float(np.sqrt(var0 + var1))
    events = sum(int(c.table.loc[c.table["time"] <= tau, "n_event"].sum()) for c in curves)
    if se == 0:
        reason = "no event leaves any uncertainty within tau: no interval"
        return Estimate("difference", difference, n_events=events, reason=reason, **counts)
    z = difference / se
    margin = normal_quantile(ci_level) * se
    return Estimate(
        kind="difference",
        value=difference,
        ci_low=difference - margin,
        ci_high=difference + margin,
        ci_level=ci_level,
        p_value=float(2 * stats.norm.sf(abs(z))),
        statistic=z,
        n_events=events,
        **counts,
    )


# --- time origins and follow-up ---------------------------------------------------------------


def landmark(time: Any, event: Any, at: float) -> tuple[Bools, Floats, Bools]:
    """Move the time origin to a landmark, keeping patients still under observation there.

    What happened by the landmark (a response, a transplant) may then define groups without
    immortal time. Patients whose time is at or before `at` are left out.

    Parameters
    ----------
    time, event
        See `survival_data`.
    at : float
        The landmark, in the unit of `time`.

    Raises
    ------
    ValueError
        See `survival_data`; a landmark that is negative or not finite.

    Returns
    -------
    mask : (n,) bool
        Who is kept.
    shifted_time, event : (mask.sum(),)
        Time since the landmark and the event of those kept.

    References
    ----------
    Anderson, Cain & Gelber (1983), J Clin Oncol 1:710.
    """
    t, died, _ = survival_data(time, event)
    origin = as_number(at, "at")
    if origin < 0:
        raise ValueError(f"at is {origin:g}, expected a time of 0 or later")
    mask = t > origin
    return mask, t[mask] - origin, died[mask]


def median_follow_up(
    time: Any, event: Any, *, entry: Any = None, unit: str = "months", ci_level: float = 0.95
) -> Estimate:
    """Return the median follow-up by the reverse Kaplan-Meier method.

    Censoring is the event and events censor: how long patients would have been followed had none
    had the event.

    Parameters
    ----------
    time, event, entry
        See `survival_data`.
    unit : str
        Unit of `time`, for display.

    Returns
    -------
    Estimate
        ``kind="median"``; without a value, with the reason, when too few are censored.

    Raises
    ------
    ValueError
        See `survival_data`.

    References
    ----------
    Schemper & Smith (1996), Control Clin Trials 17:343. R: ``survfit(Surv(time, 1 - event) ~ 1)``.
    """
    _, died, _ = survival_data(time, event, entry)
    found = kaplan_meier(time, ~died, entry=entry, ci_level=ci_level).median(unit)
    return replace(
        found,
        label="median follow-up",
        n_events=int(died.sum()),
        method="reverse Kaplan-Meier",
        reason=None if found.value is not None else "not reached: too few censored patients",
    )

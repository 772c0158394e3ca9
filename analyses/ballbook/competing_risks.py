"""Competing risks: cumulative incidence, Gray's test, Fine-Gray and cause-specific regression.

A patient can have one of several events first: relapse, or death without relapse. The cumulative
incidence of a cause is the probability of having had it by ``t``; 1 minus a Kaplan-Meier curve
that censors the other causes overstates it.

`cause` is 0 for censored and a positive whole number for each cause. Other conventions (time 0,
ties, malformed input) are those of `ballbook.survival`. Ties are never broken at random. The judge
is R's ``cmprsk``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ballbook.cox import CoxFit, HazardModel, Ties, coefficient_table, cox, design_matrix
from ballbook.inputs import as_number, as_vector, group_codes, refuse
from ballbook.results import Estimate, not_estimable
from ballbook.survival import (
    Bools,
    Floats,
    Ints,
    normal_quantile,
    quadratic_form,
    survival_data,
    tie_starts,
)


def competing_data(
    time: Any, cause: Any, entry: Any = None, *, known: Iterable[int] | None = None
) -> tuple[Floats, Ints, Floats | None]:
    """Check competing risks data and return time, cause codes and entry as arrays.

    Raises
    ------
    ValueError
        As `survival_data`; or a cause that is not a whole number of 0 or more, or not 0 and not
        among the `known` ones.
    """
    code = as_vector(cause, "cause")
    wrong = (code < 0) | (code != np.round(code)) | (code > 2**31)
    refuse("cause", code, wrong, "0 (censored), 1, 2, ...")
    causes = code.astype(np.int64)
    if known is not None:
        allowed = [0, *known]
        refuse("cause", causes, ~np.isin(causes, allowed), f"one of {allowed}")
    t, _, late = survival_data(time, causes > 0, entry)
    return t, causes, late


# --- cumulative incidence ---------------------------------------------------------------------

AJ_METHOD = "Aalen-Johansen, log(-log) interval"


@dataclass(frozen=True)
class CumulativeIncidence:
    """The cumulative incidence of one cause.

    Attributes
    ----------
    table : DataFrame
        One row per distinct time: ``time, n_risk, n_event`` (of this cause), ``n_other`` (of other
        causes), ``n_censored, cumulative_incidence, std_error, ci_low, ci_high``. Before the first
        event of the cause there is no interval (NaN).
    cause : int
        Code of the cause.
    n, n_events : int
        Patients, and events of this cause.
    label : str
        Name of the cause.
    group : str or None
        Name of the group of patients.
    ci_level : float
        Level of the pointwise intervals.
    """

    table: pd.DataFrame
    cause: int
    n: int
    n_events: int
    label: str
    group: str | None
    ci_level: float
    _event_free: float = field(repr=False)  # at the last time

    def at(self, t: float, unit: str = "months") -> Estimate:
        """Return the cumulative incidence at `t` with its log(-log) interval.

        Beyond the longest follow-up it is not estimable unless everybody has had an event.
        """
        t = as_number(t, "t")
        refuse("t", [t], np.array([t < 0]), "a time of 0 or later")
        label = f"{self.label} by {t:g} {unit}"
        kind = "cumulative-incidence"
        times = self.table["time"].to_numpy()
        if t > times[-1] and self._event_free > 0:
            reason = f"nobody was followed to {t:g} {unit}; the curve ends at {times[-1]:g}"
            return not_estimable(
                kind, reason, n=self.n, method=AJ_METHOD, label=label, group=self.group
            )
        row = int(np.searchsorted(times, t, side="right")) - 1
        value, low, high = 0.0, np.nan, np.nan
        if row >= 0:
            columns = ["cumulative_incidence", "ci_low", "ci_high"]
            value, low, high = (float(self.table[name].iloc[row]) for name in columns)
        defined = bool(np.isfinite(low))
        return Estimate(
            kind=kind,
            value=value,
            ci_low=low if defined else None,
            ci_high=high if defined else None,
            ci_level=self.ci_level,
            n=self.n,
            n_events=int(self.table["n_event"].iloc[: row + 1].sum()),
            method=AJ_METHOD,
            reason=None
            if defined
            else "no event of this cause yet, or nothing left to happen: the interval is undefined",
            label=label,
            group=self.group,
        )


def cumulative_incidence(
    time: Any,
    cause: Any,
    *,
    causes: Mapping[int, str] | Iterable[int] | None = None,
    entry: Any = None,
    ci_level: float = 0.95,
    group: str | None = None,
) -> dict[int, CumulativeIncidence]:
    r"""Estimate the cumulative incidence of each cause (Aalen-Johansen).

    .. math:: \hat F_k(t) = \sum_{t_i \le t} \hat S(t_i-) \frac{d_{ki}}{n_i}

    with :math:`\hat S` the Kaplan-Meier curve of any event. Variance by the delta method: with
    :math:`f_i = \{\hat F_k(t) - \hat F_k(t_i)\} / \hat S(t_i)`,

    .. math:: \sum_{t_i \le t} \frac{\hat S(t_i-)^2}{n_i^2} \Big[
        d_{ki} h_{ki} (1 - f_i)^2 + d_{\bar k i} h_{\bar k i} f_i^2 \Big], \qquad
        h = 1 - \frac{d - 1}{n_i - 1}

    where :math:`d_{\bar k i}` counts other causes. The interval is log(-log):
    :math:`\hat F^{\exp(\pm z\,\mathrm{se} / (\hat F \log \hat F))}`.

    Parameters
    ----------
    time, cause, entry
        See `competing_data`.
    causes : mapping of int to str, or ints, optional
        The causes to expect, with their names; any other code raises. By default the codes seen.

    Returns
    -------
    dict
        One `CumulativeIncidence` per cause, by its code.

    References
    ----------
    Aalen & Johansen (1978), Scand J Stat 5:141; Kalbfleisch & Prentice (2002), section 8.2. R:
    ``cmprsk::cuminc`` (estimate and variance). R's ``survfit`` for several states has the same
    estimate with an infinitesimal jackknife variance, which differs slightly.
    """
    z = normal_quantile(ci_level)
    names = dict(causes) if isinstance(causes, Mapping) else None
    known = None if causes is None else list(causes)
    t, codes, late = competing_data(time, cause, entry, known=known)
    wanted = known if known is not None else [int(k) for k in np.unique(codes[codes > 0])]
    return {
        k: _incidence(t, codes, late, k, (names or {}).get(k, f"cause {k}"), z, ci_level, group)
        for k in wanted
    }


def cumulative_incidence_by(
    time: Any,
    cause: Any,
    group: Any,
    *,
    causes: Mapping[int, str] | Iterable[int] | None = None,
    entry: Any = None,
    ci_level: float = 0.95,
) -> dict[str, dict[int, CumulativeIncidence]]:
    """Estimate cumulative incidences per group: group label, then cause."""
    if causes is not None and not isinstance(causes, Mapping):
        causes = list(causes)
    known = None if causes is None else list(causes)
    t, codes, late = competing_data(time, cause, entry, known=known)
    members, labels = group_codes("group", group, n=len(t))
    seen = causes if causes is not None else [int(k) for k in np.unique(codes[codes > 0])]
    result = {}
    for g, name in enumerate(labels):
        mine = members == g
        result[name] = cumulative_incidence(
            t[mine],
            codes[mine],
            causes=seen,
            entry=None if late is None else np.maximum(late[mine], 0),
            ci_level=ci_level,
            group=name,
        )
    return result


def _incidence(
    time: Floats,
    codes: Ints,
    entry: Floats | None,
    cause: int,
    label: str,
    z: float,
    ci_level: float,
    group: str | None,
) -> CumulativeIncidence:
    order = np.argsort(time, kind="stable")
    ordered, seen = time[order], codes[order]
    start = tie_starts(ordered)
    distinct = ordered[start]
    d = np.add.reduceat((seen == cause).astype(np.int64), start)
    other = np.add.reduceat(((seen != cause) & (seen > 0)).astype(np.int64), start)
    leaving = np.diff(np.append(start, len(time)))
    entered = len(time) if entry is None else np.searchsorted(np.sort(entry), distinct, "left")
    n = entered - start

    after = np.cumprod(1 - (d + other) / n)
    before = np.concatenate([[1.0], after[:-1]])
    incidence = np.cumsum(before * d / n)

    # var F(t) = sum_i u_i {a_i - b_i F(t)}^2, expanded so that cumulative sums give every t.
    b = np.divide(1.0, after, out=np.zeros(len(n)), where=after > 0)
    v1, v2, v3 = np.zeros(len(n)), np.zeros(len(n)), np.zeros(len(n))
    for events, a in ((d, 1 + b * incidence), (other, b * incidence)):
        ties = 1 - (events - 1) / np.maximum(n - 1, 1)
        u = np.where(events > 0, (before / n) ** 2 * events * ties, 0.0)
        v1, v2, v3 = v1 + u * a * a, v2 + u * a * b, v3 + u * b * b
    variance = np.cumsum(v1) - 2 * incidence * np.cumsum(v2) + incidence**2 * np.cumsum(v3)
    std_error = np.sqrt(np.maximum(variance, 0.0))

    low, high = np.full(len(n), np.nan), np.full(len(n), np.nan)
    inside = (incidence > 0) & (incidence < 1 - 1e-12)  # 1 within rounding has no interval
    f = incidence[inside]
    spread = z * std_error[inside] / (f * np.log(f))
    low[inside], high[inside] = f ** np.exp(-spread), f ** np.exp(spread)
    table = pd.DataFrame(
        {
            "time": distinct,
            "n_risk": n,
            "n_event": d,
            "n_other": other,
            "n_censored": leaving - d - other,
            "cumulative_incidence": incidence,
            "std_error": std_error,
            "ci_low": low,
            "ci_high": high,
        }
    )
    return CumulativeIncidence(
        table, cause, len(time), int(d.sum()), label, group, ci_level, float(after[-1])
    )


# --- Gray's test ------------------------------------------------------------------------------


def gray_test(time: Any, cause: Any, group: Any, of: int = 1) -> Estimate:
    r"""Compare the cumulative incidence of one cause between groups.

    With :math:`r_j` at risk in group :math:`j`, :math:`S_j` its Kaplan-Meier curve of any event and
    :math:`F_j` its cumulative incidence, the adjusted risk set is
    :math:`R_j = r_j \{1 - F_j(t-)\} / S_j(t-)`, and the score of the group
    :math:`\sum (d_j - R_j d / \sum_l R_l)` as in a log-rank test. Its variance is that of the
    martingales it is built from: those of this cause, through the score and through
    :math:`F_j` and :math:`S_j`, and those of other causes through :math:`S_j`.

    Parameters
    ----------
    time, cause
        See `competing_data`.
    group : (n,) array-like
        Group of each patient; any number of groups.
    of : int
        The cause compared.

    Returns
    -------
    Estimate
        ``kind="p-value"``; without a value when there is one group or no event of the cause.

    References
    ----------
    Gray (1988), Ann Stat 16:1141, with weight exponent 0. R: ``cmprsk::cuminc(...)$Tests``.
    """
    t, codes, _ = competing_data(time, cause)
    members, labels = group_codes("group", group, n=len(t))
    counts: dict[str, Any] = {
        "n": len(t),
        "n_events": int((codes == of).sum()),
        "method": "Gray's test",
    }
    if len(labels) < 2:
        return not_estimable("p-value", f"one group only ({labels[0]})", **counts)
    if counts["n_events"] == 0:
        return not_estimable("p-value", f"no events of cause {of}", **counts)
    score, variance = _gray_score(t, codes == of, (codes > 0) & (codes != of), members, len(labels))
    statistic, df = quadratic_form(score, variance)
    if df == 0:
        reason = "no event happened while more than one group was at risk"
        return not_estimable("p-value", reason, **counts)
    p = float(stats.chi2.sf(statistic, df))
    return Estimate("p-value", p, p_value=p, ci_level=None, statistic=statistic, df=df, **counts)


def _gray_score(
    time: Floats, event: Bools, other: Bools, members: Ints, k: int
) -> tuple[Floats, Floats]:
    """Return Gray's score (k,) and its covariance (k, k)."""
    distinct = np.unique(time[event | other])
    shape = (len(distinct), k)
    risk, d1, d2 = np.empty(shape), np.empty(shape), np.empty(shape)
    for g in range(k):
        mine = members == g
        gone = np.searchsorted(np.sort(time[mine]), distinct, side="left")
        risk[:, g] = mine.sum() - gone
        for counts, which in ((d1, event), (d2, other)):
            where = np.searchsorted(distinct, time[mine & which])
            counts[:, g] = np.bincount(where, minlength=len(distinct))
    here = risk > 0
    safe = np.where(here, risk, 1.0)
    survival = np.cumprod(1 - (d1 + d2) / safe, axis=0)
    survival_before = np.vstack([np.ones(k), survival[:-1]])
    incidence = np.cumsum(survival_before * d1 / safe, axis=0)
    incidence_before = np.vstack([np.zeros(k), incidence[:-1]])

    # Patients who would be at risk had no other event removed them; under the null every group
    # has the pooled incidence, so it drops out of their shares.
    potential = np.divide(risk, survival_before, out=np.zeros(shape), where=here)
    adjusted = potential * (1 - incidence_before)
    events = d1.sum(axis=1)
    score = (d1 - events[:, None] * adjusted / adjusted.sum(axis=1, keepdims=True)).sum(axis=0)
    total = potential.sum(axis=1)
    pooled = np.cumsum(events / total)
    pooled_before = np.concatenate([[0.0], pooled[:-1]])

    # a: effect of a cause event in group j on the score of group i, and c: the sum of a over
    # the events to come, through which earlier events act on S_j and F_j.
    a = potential[:, :, None] * (np.eye(k) - potential[:, None, :] / total[:, None, None])
    c = np.cumsum(a * (events / (total * (1 - pooled_before)))[:, None, None], axis=0)
    to_come = c[-1] - c
    ratio = np.divide(
        1 - pooled[:, None], survival, out=np.zeros(shape), where=survival > 0
    )  # (1 - F) / S

    pace = (total[:, None] * survival_before) - 1
    ties = np.ones(shape)
    several = here & (events[:, None] > 1)
    ties[several] -= ((events[:, None] - 1) / np.where(several, pace, 1.0))[several]
    size = np.where(here, ties * survival_before * events[:, None] / (total[:, None] * safe), 0.0)
    own = a + (1 - ratio)[:, None, :] * to_come
    variance = np.einsum("tij,tlj,tj->il", own, own, size, optimize=True)

    ties = 1 - np.maximum(d2 - 1, 0) / np.maximum(risk - 1, 1)
    size = np.where(survival > 0, ties * survival_before**2 * d2 / safe**2, 0.0)
    through = ratio[:, None, :] * to_come
    variance += np.einsum("tij,tlj,tj->il", through, through, size, optimize=True)
    return score, variance


# --- regression -------------------------------------------------------------------------------


@dataclass(frozen=True)
class FineGrayFit(HazardModel):
    """A fitted Fine-Gray model; see `HazardModel` for its attributes.

    The hazard ratios are of the subdistribution: above 1 means a higher cumulative incidence.
    """


def fine_gray(
    time: Any, cause: Any, covariates: pd.DataFrame, of: int = 1, *, ci_level: float = 0.95
) -> FineGrayFit:
    r"""Regress the cumulative incidence of one cause on covariates.

    A proportional hazards model of the subdistribution: patients with another event stay in the
    risk set with the weight :math:`w_i(t) = \hat G(t-) / \hat G(T_i-)`, the probability of not
    being censored in between. Breslow ties. The sandwich variance sums, per patient, the weighted
    score residual and the effect of having estimated :math:`\hat G`.

    Parameters
    ----------
    time, cause
        See `competing_data`.
    covariates : DataFrame
        As for `ballbook.cox.cox`.
    of : int
        The cause modelled.

    References
    ----------
    Fine & Gray (1999), J Am Stat Assoc 94:496. R: ``cmprsk::crr``.
    """
    normal_quantile(ci_level)
    t, codes, _ = competing_data(time, cause)
    x, names = design_matrix(covariates, len(t))
    n, p = x.shape
    method = "Fine-Gray subdistribution hazard, robust Wald interval"
    n_events = int((codes == of).sum())
    if n_events == 0:
        reasons = dict.fromkeys(names, f"no events of cause {of}")
        blank = np.full((p, p), np.nan)
        table = coefficient_table(names, blank[0], blank, ci_level, reasons)
        return FineGrayFit(table, np.nan, np.nan, blank, n, 0, method, ci_level, reasons)
    order = np.argsort(t, kind="stable")
    model = _Subdistribution(t[order], codes[order], of)
    centre, scale = x.mean(axis=0), x.std(axis=0)
    x = (x[order] - centre) / scale

    beta = np.zeros(p)
    value, score, information = model.moments(x, beta)[:3]
    null = value
    step, settled = np.full(p, np.inf), 0
    for _ in range(60):
        step = np.linalg.lstsq(information, score, rcond=None)[0]
        if np.abs(step).max() < 1e-10 or settled == 3:
            break
        shrink = 1.0
        new = model.moments(x, beta + step)
        while not new[0] >= value - 1e-9 and shrink > 1e-4:
            shrink /= 2
            new = model.moments(x, beta + shrink * step)
        settled = settled + 1 if abs(new[0] - value) <= 1e-10 * (abs(value) + 0.1) else 0
        beta = beta + shrink * step
        value, score, information = new[:3]
    reasons = {
        names[j]: f"the likelihood has no maximum (no events of cause {of} in a group?)"
        for j in np.flatnonzero(~(np.abs(step) < 1e-4))
    }
    inverse = np.linalg.pinv(information, hermitian=True)
    residuals = model.residuals(x, beta) @ inverse / scale
    covariance = residuals.T @ residuals
    table = coefficient_table(names, beta / scale, covariance, ci_level, reasons)
    return FineGrayFit(table, value, null, covariance, n, n_events, method, ci_level, reasons)


class _Subdistribution:
    """Weighted risk sets of the Fine-Gray model; rows in order of time."""

    def __init__(self, time: Floats, codes: Ints, of: int) -> None:
        self.event: Bools = codes == of
        self.competing: Bools = (codes > 0) & (codes != of)
        self.censored: Bools = codes == 0
        self.start: Ints = tie_starts(time)
        self.run: Ints = np.repeat(np.arange(len(self.start)), np.diff([*self.start, len(time)]))
        self.deaths: Floats = self.count(self.event)
        self.at_risk: Floats = len(time) - self.start.astype(np.float64)
        self.censorings: Floats = self.count(self.censored)
        stay = np.cumprod(1 - self.censorings / self.at_risk)
        self.g: Floats = np.concatenate([[1.0], stay[:-1]])  # G(t-) at each distinct time
        self.inverse_g: Floats = np.where(self.competing, 1 / self.g[self.run], 0.0)

    def count(self, which: Bools) -> Floats:
        return np.add.reduceat(which.astype(np.float64), self.start)

    def risk_sum(self, values: Floats) -> Floats:
        """Return the weighted sum of `values` (n, ...) over the risk set of each distinct time."""
        wide = (-1, *([1] * (values.ndim - 1)))
        by_run = np.add.reduceat(values, self.start, axis=0)
        present = np.cumsum(by_run[::-1], axis=0)[::-1]
        held = np.add.reduceat(values * self.inverse_g.reshape(wide), self.start, axis=0)
        held = np.cumsum(held, axis=0) - held
        return present + self.g.reshape(wide) * held

    def while_at_risk(self, per_run: Floats) -> Floats:
        """Return, for each row, the sum of `per_run` (runs, ...) weighted by its w(t)."""
        wide = (-1, *([1] * (per_run.ndim - 1)))
        own = np.cumsum(per_run, axis=0)[self.run]
        later = per_run * self.g.reshape(wide)
        later = np.cumsum(later[::-1], axis=0)[::-1] - later
        return own + self.inverse_g.reshape(wide) * later[self.run]

    def moments(self, x: Floats, beta: Floats) -> tuple[float, Floats, Floats, Floats, Floats]:
        """Return log likelihood, score, information, weights and mean covariates per time."""
        predictor = x @ beta
        predictor = predictor - predictor.max()
        weight = np.exp(predictor)
        total = np.maximum(self.risk_sum(weight), 1e-300)
        mean = self.risk_sum(x * weight[:, None]) / total[:, None]
        exposure = weight * self.while_at_risk(self.deaths / total)
        value = float(predictor[self.event].sum() - self.deaths @ np.log(total))
        information = (x * exposure[:, None]).T @ x - (mean * self.deaths[:, None]).T @ mean
        return value, x.T @ (self.event - exposure), information, weight, mean

    def residuals(self, x: Floats, beta: Floats) -> Floats:
        r"""Return each row's :math:`\eta_i + \psi_i` (n, p) of Fine & Gray (1999), section 3."""
        *_, weight, mean = self.moments(x, beta)
        hazard = self.deaths / np.maximum(self.risk_sum(weight), 1e-300)
        mean_sum = self.while_at_risk(mean * hazard[:, None])
        eta = -weight[:, None] * (x * self.while_at_risk(hazard)[:, None] - mean_sum)
        eta[self.event] += x[self.event] - mean[self.run][self.event]

        # q(u) / n(u): how far the score depends on the censoring at u, through those held back
        # since before u and the times from u on (cmprsk's convention at ties).
        held = np.column_stack([np.ones(len(x)), x]) * (weight * self.inverse_g)[:, None]
        held = np.add.reduceat(held, self.start, axis=0)
        held = np.cumsum(held, axis=0) - held
        coming = np.column_stack([np.ones(len(mean)), mean]) * (hazard * self.g)[:, None]
        coming = np.cumsum(coming[::-1], axis=0)[::-1]
        q = (held[:, 1:] * coming[:, :1] - held[:, :1] * coming[:, 1:]) / self.at_risk[:, None]
        compensator = np.cumsum(q * (self.censorings / self.at_risk)[:, None], axis=0)
        psi = -compensator[self.run]
        psi[self.censored] += q[self.run][self.censored]
        return eta + psi


def cause_specific_cox(
    time: Any,
    cause: Any,
    covariates: pd.DataFrame,
    of: int = 1,
    *,
    strata: Any = None,
    entry: Any = None,
    robust: bool = False,
    cluster: Any = None,
    ties: Ties = "efron",
    ci_level: float = 0.95,
) -> CoxFit:
    """Fit a Cox model to the hazard of one cause, other causes censoring; see `cox`.

    Answers who gets the event faster among those still free of every event, not who gets it more
    often by some time (`fine_gray`).
    """
    _, codes, _ = competing_data(time, cause, entry)
    return cox(
        time,
        codes == of,
        covariates,
        strata=strata,
        entry=entry,
        robust=robust,
        cluster=cluster,
        ties=ties,
        ci_level=ci_level,
    )

r"""The ROC curve of a marker for an event by a time, with intervals that know of the censoring.

Cases had their event by :math:`t`, controls were followed beyond (cumulative cases, dynamic
controls). Who was censored before is neither; with :math:`G` the Kaplan-Meier curve of the
censoring times, each case stands for :math:`a_i=1/G(T_i-)` patients. All controls have the one
weight :math:`1/G(t)`, which cancels:

.. math:: \mathrm{Se}(c)=\frac{\sum_i a_i\,1(m_i>c)}{\sum_i a_i},\qquad
    \mathrm{Sp}(c)=\frac{\#\{j: m_j\le c\}}{n_1},\qquad
    \mathrm{AUC}=\frac{\sum_i\sum_j a_i\{1(m_i>m_j)+\frac12 1(m_i=m_j)\}}{n_1\sum_i a_i},

with :math:`i` over cases and :math:`j` over the :math:`n_1` controls.

**Standard error** by the infinitesimal jackknife: let patient :math:`k` count :math:`w_k` times
everywhere, in :math:`G` too. The influence of a patient is the derivative
:math:`U_k=\partial\,\mathrm{AUC}/\partial w_k` at :math:`w=1`, and the variance
:math:`\sum_k U_k^2`. For the censoring curve, with :math:`c_u` of :math:`R_u` patients censored at
:math:`u` (events at :math:`u` come first and are not in :math:`R_u`),

.. math:: \frac{\partial\ln G(s)}{\partial w_k}=-\sum_{u<s}\frac{1}{R_u-c_u}
    \Bigl\{1(T_k=u,\delta_k=0)-\frac{c_u}{R_u}\,1(k\in R_u)\Bigr\},

so patients who are censored count as well. Two markers of the same patients are compared by
:math:`\sum_k(U_k-V_k)^2`. Intervals of one AUC are made on the scale of its logit and stay within 0
and 1; where all pairs agree there is no interval, for nothing varies.

Assumes that who is censored, and when, has nothing to do with the marker or the outlook.

References: Heagerty, Lumley, Pepe, Biometrics 2000;56:337. Uno, Cai, Tian, Wei, J Am Stat Assoc
2007;102:527. Blanche, Dartigues, Jacqmin-Gadda, Stat Med 2013;32:5381. Efron, The Jackknife, the
Bootstrap and Other Resampling Plans, 1982, chapter 6. R: ``riskRegression::Score(metrics = "auc",
cens.model = "km")``, whose standard errors come from the influence function of large samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import beta, norm

from ballbook.inputs import as_level, as_number, as_vector
from ballbook.results import Estimate, not_estimable
from ballbook.survival import Bools, Floats, survival_data

# Equal covariates can differ in the last bit of a linear predictor.
DIGITS = 10


@dataclass(frozen=True)
class TimeDependentRoc:
    """A marker's ROC curve at one time.

    Attributes
    ----------
    at : float
        In the unit of the times.
    table : DataFrame
        ``threshold`` (positive is above it), ``sensitivity``, ``specificity``; the first row calls
        everybody positive.
    auc : Estimate
    std_error : float
        Of the AUC, by the infinitesimal jackknife; NaN where there is none.
    influence : (n,) array
        Derivative of the AUC by each patient's weight; their sum is 0.
    n_cases, n_controls : int
    """

    at: float
    table: pd.DataFrame
    auc: Estimate
    std_error: float
    influence: Floats
    n_cases: int
    n_controls: int


@dataclass(frozen=True)
class _Weights:
    """Cases with their weights, controls, and how each weight moves with each patient's."""

    case: Bools
    control: Bools
    weight: Floats
    _t: Floats
    _died: Bools
    _hazard: Floats
    _left: Floats
    _times: Floats

    def through_censoring(self, load: Floats) -> Floats:
        r"""Return :math:`\sum_i x_i\,\partial a_i/\partial w_k` over cases, for each patient k.

        `load` holds :math:`x_i a_i` for each case; :math:`\partial a=-a\,\partial\ln G`.
        """
        order = np.argsort(self._t[self.case], kind="stable")
        s, x = self._t[self.case][order], load[order]
        # Sum of the hazard increments before a case's own time, that is what log G(s-) is made of.
        own = np.concatenate([[0.0], np.cumsum(self._hazard)])[np.searchsorted(self._times, s)]
        below = np.concatenate([[0.0], np.cumsum(x * own)])
        total = np.concatenate([[0.0], np.cumsum(x)])
        # A patient is at risk at all censoring times before his own, and at his own if censored.
        until = np.searchsorted(self._times, self._t)
        mine = np.concatenate([[0.0], np.cumsum(self._hazard)])[until]
        first = np.searchsorted(s, self._t, side="right")
        later = total[-1] - total[first]
        found = below[first] + later * mine
        lost = ~self._died
        place = until[lost]
        found[lost] += later[lost] * (self._hazard[place] - 1 / self._left[place])
        return np.asarray(-found)


def _weights(t: Floats, died: Bools, at: float) -> _Weights:
    times, lost = np.unique(t[~died], return_counts=True)
    # At risk of being censored: those later, and those censored then; events come first.
    ordered = np.sort(t)
    beyond = len(t) - np.searchsorted(ordered, times, side="right")
    at_risk = (beyond + lost).astype(float)
    left = beyond.astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        curve = np.concatenate([[1.0], np.cumprod(left / at_risk)])
        hazard = np.where(left > 0, lost / (at_risk * np.maximum(left, 1)), 0.0)
    case, control = died & (t <= at), t > at
    weight = 1 / curve[np.searchsorted(times, t[case], side="left")]
    return _Weights(case, control, weight, t, died, hazard, np.maximum(left, 1), times)


def _logit_interval(value: float, se: float, ci_level: float) -> tuple[float, float]:
    width = float(norm.isf((1 - ci_level) / 2)) * se / (value * (1 - value))
    middle = math.log(value / (1 - value))
    return 1 / (1 + math.exp(width - middle)), 1 / (1 + math.exp(-width - middle))


def _prepared(time: Any, event: Any, marker: Any, at: float) -> tuple[Floats, Bools, Floats]:
    t, died, _ = survival_data(time, event)
    m = np.round(as_vector(marker, "marker", n=len(t)), DIGITS)
    if not as_number(at, "at") > 0:
        raise ValueError(f"at is {at}, expected more than 0")
    return t, died, m


def roc(
    time: Any, event: Any, marker: Any, at: float, *, ci_level: float = 0.95
) -> TimeDependentRoc:
    """Return the ROC curve of a marker for an event by a time.

    Parameters
    ----------
    time, event : array_like, shape (n,)
    marker : array_like of float, shape (n,)
        Higher means an earlier event.
    at : float
        In the unit of `time`.

    Raises
    ------
    ValueError
        See `ballbook.survival.survival_data`; missing or unequal numbers of values, a time that is
        not positive.

    Notes
    -----
    R: ``riskRegression::Score(list(marker), Surv(time, event) ~ 1, times = at, metrics = "auc",
    cens.model = "km")``.
    """
    t, died, m = _prepared(time, event, marker, at)
    level = as_level(ci_level)
    w = _weights(t, died, at)
    cases, controls = int(w.case.sum()), int(w.control.sum())
    fields: dict[str, Any] = {
        "n": len(t), "n_events": cases,
        "method": f"AUC of cases by {at:g} v controls beyond, weighted for censoring, "
        "infinitesimal jackknife on the logit",
    }  # fmt: skip
    nobody = np.full(len(t), np.nan)
    empty = pd.DataFrame(columns=["threshold", "sensitivity", "specificity"], dtype=float)
    if not cases or not controls:
        none = not_estimable(
            "auc", f"no {'case' if not cases else 'control'} at that time", **fields
        )
        return TimeDependentRoc(at, empty, none, math.nan, nobody, cases, controls)
    a, high, low = w.weight, m[w.case], m[w.control]

    def halves(ordered: Floats, of: Floats) -> tuple[Any, Any]:
        return np.searchsorted(ordered, of, "left"), np.searchsorted(ordered, of, "right")

    below, through = halves(np.sort(low), high)
    wins = (below + through) / 2  # controls that a case is above, ties a half
    order = np.argsort(high, kind="stable")
    summed = np.concatenate([[0.0], np.cumsum(a[order])])
    left, right = halves(high[order], low)
    beaten = summed[-1] - (summed[left] + summed[right]) / 2  # weight of cases above a control
    agree, weight = float(a @ wins), float(a.sum())
    value = agree / (weight * controls)

    d_agree, d_weight = w.through_censoring(a * wins), w.through_censoring(a)
    d_agree[w.case] += a * wins
    d_agree[w.control] += beaten
    d_weight[w.case] += a
    influence = d_agree / (weight * controls) - value * d_weight / weight
    influence[w.control] -= value / controls
    se = float(np.sqrt(np.sum(influence**2)))

    cuts = np.unique(m[w.case | w.control])
    caught = summed[-1] - summed[np.searchsorted(high[order], cuts, "right")]
    sp = np.concatenate([[0.0], np.searchsorted(np.sort(low), cuts, "right") / controls])
    table = pd.DataFrame(
        {
            "threshold": np.concatenate([[-np.inf], cuts]),
            "sensitivity": np.concatenate([[1.0], caught / weight]), "specificity": sp,
        }
    )  # fmt: skip
    if not 0 < value < 1 or se == 0:
        fields["method"] += "; no interval, as all pairs agree"
        found = Estimate("auc", value, ci_level=None, **fields)
        return TimeDependentRoc(at, table, found, math.nan, influence, cases, controls)
    ci_low, ci_high = _logit_interval(value, se, level)
    found = Estimate("auc", value, ci_low, ci_high, level, **fields)
    return TimeDependentRoc(at, table, found, se, influence, cases, controls)


def auc_difference(
    time: Any, event: Any, marker: Any, other: Any, at: float, *, ci_level: float = 0.95
) -> Estimate:
    """Return the AUC of one marker less that of another in the same patients.

    Parameters
    ----------
    time, event, at
        As for `roc`.
    marker, other : array_like of float, shape (n,)

    Raises
    ------
    ValueError
        As for `roc`.

    Notes
    -----
    R: ``riskRegression::Score(list(marker, other), ...)$AUC$contrasts``. A test on patients that
    one of the markers was fitted to favours that marker.
    """
    one, two = roc(time, event, marker, at), roc(time, event, other, at)
    fields: dict[str, Any] = {
        "n": one.auc.n, "n_events": one.auc.n_events,
        "method": f"difference of two AUC at {at:g}, infinitesimal jackknife",
    }  # fmt: skip
    if one.auc.value is None or two.auc.value is None:
        return not_estimable("difference", one.auc.reason or "no case or no control", **fields)
    gap = one.auc.value - two.auc.value
    se = float(np.sqrt(np.sum((one.influence - two.influence) ** 2)))
    if se < 1e-12:
        return not_estimable("difference", "the two markers order patients alike", **fields)
    half = float(norm.isf((1 - as_level(ci_level)) / 2)) * se
    p = float(2 * norm.sf(abs(gap) / se))
    return Estimate(
        "difference", gap, gap - half, gap + half, ci_level, p, statistic=gap / se, **fields
    )


def over_time(
    time: Any, event: Any, marker: Any, times: Iterable[float], *, ci_level: float = 0.95
) -> pd.DataFrame:
    """Return the AUC at several times: ``at, auc, ci_low, ci_high, cases, controls``."""
    rows = []
    for at in times:
        found = roc(time, event, marker, at, ci_level=ci_level)
        rows.append(
            {
                "at": float(at), "auc": found.auc.value, "ci_low": found.auc.ci_low,
                "ci_high": found.auc.ci_high, "cases": found.n_cases,
                "controls": found.n_controls,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def accuracy(
    time: Any, event: Any, positive: Any, at: float, *, ci_level: float = 0.95
) -> dict[str, Estimate]:
    r"""Return the sensitivity and specificity of a yes/no marker for an event by a time.

    The interval is that of Clopper and Pearson for :math:`n_e` patients,
    :math:`n_e=(\sum a_i)^2/\sum a_i^2` for the cases (Kish) and the number of controls, so that it
    is honest where nobody is missed; it takes the censoring curve as known.

    Parameters
    ----------
    positive : array_like of 0 and 1, shape (n,)

    Returns
    -------
    dict
        ``sensitivity`` and ``specificity``, of kind ``proportion``.

    Raises
    ------
    ValueError
        As for `roc`, or for values other than 0 and 1.
    """
    t, died, m = _prepared(time, event, positive, at)
    if not np.isin(m, (0, 1)).all():
        raise ValueError("positive: expected 0 and 1 only")
    w = _weights(t, died, at)
    level = as_level(ci_level)
    called = m == 1
    out = {}
    for name, members, share in (
        ("sensitivity", w.case, w.weight), ("specificity", w.control, np.ones(w.control.sum())),
    ):  # fmt: skip
        right = called[members] if name == "sensitivity" else ~called[members]
        told = f"{name} at {at:g}, weighted for censoring, Clopper-Pearson interval of the "
        told += "effective number of patients"
        if not members.any():
            reason = f"no {'case' if name == 'sensitivity' else 'control'} at that time"
            out[name] = not_estimable("proportion", reason, n=0)
            continue
        value, size = float(share @ right / share.sum()), float(share.sum() ** 2 / (share @ share))
        k, tail = value * size, (1 - level) / 2
        low = 0.0 if k <= 0 else float(beta.ppf(tail, k, size - k + 1))
        high = 1.0 if k >= size else float(beta.isf(tail, k + 1, size - k))
        out[name] = Estimate(
            "proportion", value, low, high, level, n=int(members.sum()), method=told
        )
    return out

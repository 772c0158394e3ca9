r"""The scale on which estimates of one kind are compared and pooled.

==============================  ==========================================
kind                            scale
==============================  ==========================================
ratios, medians                 :math:`\ln x`
proportion                      :math:`\ln\{x/(1-x)\}`
survival                        :math:`\ln(-\ln x)`
cumulative incidence            :math:`\ln(-\ln(1-x))`
correlation                     :math:`\operatorname{artanh} x`
differences, slopes, means      :math:`x`
==============================  ==========================================

On its scale an estimate is taken as normal, with the standard error that its interval implies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.special import expit, logit
from scipy.stats import norm

from ballbook.meta_analysis import RATIOS, Effect
from ballbook.results import Estimate


@dataclass(frozen=True, slots=True)
class Scale:
    """A monotone scale: `there` leads to it, `back` from it; `null` is no effect, if there is one.

    `low` and `high` are the ends of the values that lie strictly inside it.
    """

    name: str
    there: Callable[[float], float]
    back: Callable[[float], float]
    low: float = -math.inf
    high: float = math.inf
    null: float | None = None


RATIO = Scale("log", math.log, math.exp, 0, math.inf, 1)
TIME = Scale("log", math.log, math.exp, 0, math.inf)
FRACTION = Scale("logit", lambda x: float(logit(x)), lambda y: float(expit(y)), 0, 1)
SURVIVAL = Scale(
    "log-log", lambda x: math.log(-math.log(x)), lambda y: math.exp(-math.exp(y)), 0, 1
)
INCIDENCE = Scale(
    "complementary log-log",
    lambda x: math.log(-math.log1p(-x)),
    lambda y: -math.expm1(-math.exp(y)),
    0,
    1,
)
FISHER = Scale("Fisher's z", math.atanh, math.tanh, -1, 1, 0)
PLAIN = Scale("identity", float, float, null=0)
LEVEL = Scale("identity", float, float)
AREA = Scale("identity", float, float, null=0.5)

SCALES: dict[str, Scale] = {
    **dict.fromkeys(RATIOS, RATIO),
    "median": TIME,
    "proportion": FRACTION,
    "survival": SURVIVAL,
    "cumulative-incidence": INCIDENCE,
    "correlation": FISHER,
    "difference": PLAIN,
    "risk-difference": PLAIN,
    "slope": PLAIN,
    "restricted-mean": LEVEL,
    "mean": LEVEL,
    "auc": AREA,
}


def on_scale(estimate: Estimate) -> Effect | str:
    """Return an estimate on the scale of its kind with its standard error, or why it has none.

    The error is the width of the interval over twice the normal quantile. Where one bound is open
    or lies at the end of the scale, the other side counts alone.

    Returns
    -------
    Effect or str
        Value and standard error; a reason in words where there are none.
    """
    scale = SCALES.get(estimate.kind)
    if scale is None:
        return f"a {estimate.kind.replace('-', ' ')} is not compared"
    if estimate.value is None:
        return estimate.reason or "not estimable"

    def inside(v: float | None) -> float | None:
        return None if v is None or not scale.low < v < scale.high else scale.there(v)

    value = inside(estimate.value)
    if value is None:
        return f"{estimate.value:g} lies at the end of the scale"
    bounds = [b for b in (inside(estimate.ci_low), inside(estimate.ci_high)) if b is not None]
    if not bounds:
        return "no interval"
    reach = sum(abs(b - value) for b in bounds) / len(bounds)
    if reach == 0:
        return "no width in its interval"
    return Effect(value, reach / float(norm.isf((1 - (estimate.ci_level or 0.95)) / 2)))

r"""Small-study effects of a meta-analysis: Egger's test with its power, and contours of a funnel.

With effects :math:`y_i` and standard errors :math:`s_i`, Egger's test is the least-squares fit of

.. math:: \frac{y_i}{s_i} = b + \mu\,\frac1{s_i} + \varepsilon_i,

that is, :math:`y_i=\mu+b\,s_i` with weights :math:`s_i^{-2}` and a dispersion of its own; *t* on
:math:`k-2` degrees of freedom tests :math:`b=0`. A slope *b* of 1 means that each study is moved by
one of its own standard errors.

**Power.** With :math:`\varepsilon_i\sim N(0,1)` (no variation between studies beyond chance),
:math:`\operatorname{var}\hat b=v=[(X^\top X)^{-1}]_{bb}` with the columns 1 and :math:`1/s_i` of X,
and the statistic follows a non-central *t* with :math:`b/\sqrt v`. Variation between studies lowers
it further. For log hazard ratios from printed survival the standard error depends on the effect
itself, so that a slope may appear without any bias; a finding is a reason to look, not a proof.

Egger et al, BMJ 1997;315:629. Sterne et al, BMJ 2011;343:d4002, who advise against the test below
ten studies. R: ``metafor::regtest(..., model = "lm")``. Contours: Peters et al, J Clin Epidemiol
2008;61:991.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from ballbook.inputs import as_level, as_vector, same_length
from ballbook.results import Estimate


@dataclass(frozen=True, slots=True)
class SmallStudies:
    """Egger's test and what it could have seen.

    Attributes
    ----------
    slope : Estimate
        Kind ``slope``: shift of the effect per standard error, with the P value of the test.
    limit : Estimate
        Kind ``difference``: the fitted effect of a study without error, on the scale of y.
    power : Estimate
        Power to see a slope of 1.
    detectable : Estimate
        Kind ``slope``: the slope seen with 80% power.
    """

    slope: Estimate
    limit: Estimate
    power: Estimate
    detectable: Estimate


def egger(effects: ArrayLike, std_errors: ArrayLike, *, ci_level: float = 0.95) -> SmallStudies:
    """Test whether less precise studies show larger effects.

    Parameters
    ----------
    effects, std_errors : array_like of float, shape (studies,)
        On the pooling scale.

    Raises
    ------
    ValueError
        For unequal lengths, errors not above zero, fewer than three studies, or studies of one
        precision.
    """
    y, s = as_vector(effects, "effects"), as_vector(std_errors, "std_errors")
    same_length(effects=y, std_errors=s)
    level = as_level(ci_level)
    if (s <= 0).any():
        raise ValueError("std_errors: expected positive values")
    k = len(y)
    if k < 3:
        raise ValueError(f"{k} studies: at least 3 are needed")
    if np.ptp(s) <= 1e-12 * s.max():
        raise ValueError("std_errors: all studies have the same")
    x = np.column_stack([np.ones(k), 1 / s])
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ (x.T @ (y / s))
    residual = float(((y / s - x @ beta) ** 2).sum()) / (k - 2)
    reference = stats.t(k - 2)
    reach = float(reference.isf((1 - level) / 2))
    found = []
    for j, kind in ((0, "slope"), (1, "difference")):
        se = math.sqrt(residual * inverse[j, j])
        statistic = float(beta[j]) / se if se > 0 else math.copysign(math.inf, beta[j])
        value, p = float(beta[j]), float(2 * reference.sf(abs(statistic)))
        found.append(
            Estimate(
                kind,
                value,
                value - reach * se,
                value + reach * se,
                level,
                p,
                statistic=statistic,
                df=k - 2,
                method=f"Egger's regression, {k} studies",
            )
        )
    error = math.sqrt(inverse[0, 0])
    reached = 1.0
    while _power(reached, k - 2) < 0.8:
        reached *= 1.5
    shift = optimize.brentq(lambda v: _power(v, k - 2) - 0.8, 0, reached)
    detectable = error * float(shift)
    method = "Egger's test, a shift by one standard error, no other variation"
    power = Estimate("power", _power(1 / error, k - 2), ci_level=None, method=method)
    seen = Estimate("slope", detectable, ci_level=None, method="shift seen with 80% power")
    return SmallStudies(found[0], found[1], power, seen)


def _power(shift: float, df: int) -> float:
    """Return the power of a two-sided 5% t test with this non-centrality."""
    edge = float(stats.t.isf(0.025, df))
    return float(stats.nct.sf(edge, df, shift) + stats.nct.cdf(-edge, df, shift))

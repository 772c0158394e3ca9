r"""What an unmeasured difference between two groups would have to be to explain an association.

Let exposed and unexposed differ in a confounder U, with :math:`RR_{EU}` the largest ratio of its
prevalence between them and :math:`RR_{UD}` the largest ratio of risk between its levels. U can
make an observed risk ratio at most

.. math:: B = \frac{RR_{EU}\,RR_{UD}}{RR_{EU}+RR_{UD}-1}

times what it would be without U (Ding and VanderWeele, Epidemiology 2016;27:368). The **E-value**
is the smallest strength that both have if U alone explains a risk ratio :math:`R>1`,

.. math:: E = R+\sqrt{R(R-1)},

(VanderWeele and Ding, Ann Intern Med 2017;167:268); a ratio below 1 is inverted first. For the
interval the bound nearer 1 is used, and E is 1 where the interval holds 1. Outcomes commoner than
about 15% need a risk ratio first: :math:`\sqrt{OR}` for odds ratios, and
:math:`(1-0.5^{\sqrt{HR}})/(1-0.5^{\sqrt{1/HR}})` for hazard ratios (VanderWeele, Biometrics
2020;76:746).

A large E-value does not show that there is no such U; it says how large it must be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import optimize

from ballbook.inputs import as_number
from ballbook.results import Estimate, not_estimable

TRANSFORMED = {
    "risk-ratio": "as it is",
    "odds-ratio": "square root of the odds ratio, for a common outcome",
    "hazard-ratio": "risk ratio from the hazard ratio, for a common outcome",
}


@dataclass(frozen=True, slots=True)
class EValue:
    """E-values of an estimate.

    Attributes
    ----------
    point, bound : Estimate
        Of the estimate and of the bound of its interval that lies nearer 1; kind ``risk-ratio``.
    risk_ratio : Estimate
        The risk ratio that was used, with its interval.
    """

    point: Estimate
    bound: Estimate
    risk_ratio: Estimate


def e_value_of_ratio(ratio: float) -> float:
    """Return the E-value of a risk ratio.

    Raises
    ------
    ValueError
        If the ratio is not above 0.
    """
    r = _ratio("ratio", ratio)
    r = max(r, 1 / r)
    return r + math.sqrt(r * (r - 1))


def as_risk_ratio(ratio: float, kind: str, *, rare: bool = False) -> float:
    """Return a risk ratio that stands for a ratio of `kind`.

    Parameters
    ----------
    kind : {"risk-ratio", "odds-ratio", "hazard-ratio"}
    rare : bool
        Fewer than about 15% have the outcome by the end: any ratio is then near the risk ratio.

    Raises
    ------
    ValueError
        For another kind, or a ratio that is not above 0.
    """
    r = _ratio("ratio", ratio)
    if kind not in TRANSFORMED:
        raise ValueError(f"kind is {kind!r}, expected {', '.join(TRANSFORMED)}")
    if rare or kind == "risk-ratio":
        return r
    if kind == "odds-ratio":
        return math.sqrt(r)
    return -math.expm1(-math.log(2) * math.sqrt(r)) / -math.expm1(-math.log(2) / math.sqrt(r))


def e_value(estimate: Estimate, *, rare: bool = False) -> EValue:
    """Return the E-values of a ratio with its interval.

    Notes
    -----
    R: ``EValue::evalues.RR``, ``evalues.OR(rare = FALSE)``, ``evalues.HR(rare = FALSE)``.
    """
    e = estimate
    if e.value is None:
        none = not_estimable("risk-ratio", e.reason or "no estimate")
        return EValue(none, none, none)
    bounds = [b if b is None else as_risk_ratio(b, e.kind, rare=rare) if b > 0 else 0.0
              for b in (e.ci_low, e.ci_high)]  # fmt: skip
    low, high = bounds
    how = "as it is" if rare else TRANSFORMED[e.kind]
    risk = Estimate(
        "risk-ratio", as_risk_ratio(e.value, e.kind, rare=rare), low, high, e.ci_level,
        n=e.n, n_events=e.n_events, method=f"{e.kind.replace('-', ' ')} taken as risk ratio: {how}",
    )  # fmt: skip
    assert risk.value is not None
    method = f"E-value; {how}"
    point = Estimate("risk-ratio", e_value_of_ratio(risk.value), ci_level=None, method=method)
    nearer = low if risk.value > 1 else high
    if nearer is None:
        bound = not_estimable("risk-ratio", "the interval has no bound on the side of 1")
    else:
        holds = nearer <= 1 if risk.value > 1 else nearer >= 1
        bound = Estimate(
            "risk-ratio", 1.0 if holds else e_value_of_ratio(nearer), ci_level=None,
            method=f"{method}, of the interval's bound nearer 1",
            reason="the interval holds 1, which needs no confounder" if holds else None,
        )  # fmt: skip
    return EValue(point, bound, risk)


def bounding_factor(rr_ud: float, rr_eu: float) -> float:
    """Return the most that a confounder of these strengths can multiply a risk ratio by.

    Raises
    ------
    ValueError
        If a strength is below 1.
    """
    for name, value in (("rr_ud", rr_ud), ("rr_eu", rr_eu)):
        if as_number(value, name) < 1:
            raise ValueError(f"{name} is {value}, expected at least 1")
    return rr_ud * rr_eu / (rr_ud + rr_eu - 1)


def strength_needed(ratio: float, rr_eu: float) -> float | None:
    r"""Return :math:`RR_{UD}` that explains a risk ratio, given the imbalance :math:`RR_{EU}`.

    None where no strength does: :math:`B<RR_{EU}` always.
    """
    r = _ratio("ratio", ratio)
    r = max(r, 1 / r)
    bounding_factor(1, rr_eu)
    if r == 1:
        return 1.0
    return r * (rr_eu - 1) / (rr_eu - r) if rr_eu > r else None


def bias_of_confounder(effect: float, prevalence_1: float, prevalence_0: float) -> float:
    r"""Return the factor by which a binary confounder multiplies a risk ratio.

    :math:`\{1+(\gamma-1)\pi_1\}/\{1+(\gamma-1)\pi_0\}` for a confounder of effect :math:`\gamma`
    and prevalences :math:`\pi_1,\pi_0` in the two groups (Bross, J Chronic Dis 1966;19:637).
    """
    g = _ratio("effect", effect)
    for name, value in (("prevalence_1", prevalence_1), ("prevalence_0", prevalence_0)):
        if not 0 <= as_number(value, name) <= 1:
            raise ValueError(f"{name} is {value}, expected a fraction between 0 and 1")
    return (1 + (g - 1) * prevalence_1) / (1 + (g - 1) * prevalence_0)


def effect_needed(ratio: float, prevalence_1: float, prevalence_0: float) -> float | None:
    """Return the effect of a binary confounder that alone explains a risk ratio above 1.

    None where none does, as its bias stays below the ratio of the prevalences.
    """
    r = _ratio("ratio", ratio)
    if r <= 1:
        raise ValueError(f"ratio is {ratio}, expected above 1; swap the groups")
    far = 1e9
    if bias_of_confounder(far, prevalence_1, prevalence_0) < r:
        return None
    return float(
        optimize.brentq(
            lambda g: bias_of_confounder(g, prevalence_1, prevalence_0) - r, 1.0, far, rtol=1e-14
        )
    )


def _ratio(name: str, value: float) -> float:
    if not as_number(value, name) > 0:
        raise ValueError(f"{name} is {value}, expected a number above 0")
    return float(value)

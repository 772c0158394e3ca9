r"""What two printed survival fractions say when only the sum of the two arms is printed.

With fractions :math:`S_1, S_0` at one time and *n* patients in all, proportional hazards give
:math:`HR=\ln S_1/\ln S_0` whatever the arms. Its error depends on the split *k* of *n*, and on how
many were followed to that time. With everybody followed the variance of :math:`\ln(-\ln S)` in an
arm of *m* is :math:`(1-S)/(m S \ln^2 S)`, the smallest it can be: censoring before that time only
adds to it. So over all splits

.. math:: P_{\min} = 2\Phi\left(-\max_k\frac{|\ln HR|}{s_k}\right)

is a bound below which no normal test of this difference *at this time* on this scale can come; the
test of the plain difference, with variances :math:`S(1-S)/m`, is taken too, and the smaller of the
two bounds counts. (A log-rank test weighs the whole curve and is not bound by it, though both look
at one hazard ratio.) A printed *P*, were it of this difference, tells in turn how much information
there was: :math:`f=(z_P/z_{\min})^2` of what the best split with everybody followed would hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
from scipy.stats import norm

from ballbook.inputs import as_level, as_number
from ballbook.meta_analysis import log_hr_from_survival_at
from ballbook.power import logrank_power
from ballbook.results import Estimate


@dataclass(frozen=True, slots=True)
class Splits:
    """All ways to split *n* patients over two arms.

    Parameters
    ----------
    table : DataFrame
        One row a split: ``first`` and ``second`` (patients), ``std_error`` of the log hazard
        ratio, ``hazard_ratio``, ``ci_low``, ``ci_high``, ``p_value``, ``p_difference`` (of the
        plain difference) and ``power``.
    smallest_p : Estimate
        The smaller P of the split that could show most, everybody followed.
    hazard_ratio : Estimate
        With the interval of the split that could show most.
    power : Estimate
        Power of a log-rank test at that hazard ratio in the most favourable split.
    """

    table: pd.DataFrame
    smallest_p: Estimate
    hazard_ratio: Estimate
    power: Estimate


def splits(
    first: float, second: float, n: int, *, smallest_arm: int = 5, ci_level: float = 0.95
) -> Splits:
    """Return every split of `n` patients with its hazard ratio, interval, P and power.

    Parameters
    ----------
    first, second : float
        Survival fractions of the two arms at one time; the hazard ratio is of the first.
    n : int
        Patients in both arms together.
    smallest_arm : int
        Splits with fewer in an arm are left out.

    Raises
    ------
    ValueError
        For fractions that are not strictly between 0 and 1 or are equal, or too few patients.
    """
    if n < 2 * smallest_arm or smallest_arm < 1:
        raise ValueError(f"expected at least {2 * max(smallest_arm, 1)} patients, got {n}")
    if first == second:
        raise ValueError("the two survival fractions are equal: there is no effect to see")
    z = float(norm.isf((1 - as_level(ci_level)) / 2))
    rows = []
    for k in range(smallest_arm, n - smallest_arm + 1):
        effect = log_hr_from_survival_at(first, second, n=(k, n - k))
        y, se = effect.value, effect.std_error
        events = k * (1 - first) + (n - k) * (1 - second)
        plain = math.sqrt(first * (1 - first) / k + second * (1 - second) / (n - k))
        rows.append(
            {"first": k, "second": n - k, "std_error": se, "hazard_ratio": math.exp(y),
             "ci_low": math.exp(y - z * se), "ci_high": math.exp(y + z * se),
             "p_value": float(2 * norm.sf(abs(y) / se)), "events": events,
             "p_difference": float(2 * norm.sf(abs(first - second) / plain)),
             "power": logrank_power(math.exp(y), events, allocation=k / n).value}
        )  # fmt: skip
    table = pd.DataFrame(rows)
    best = table.iloc[int(table["p_value"].to_numpy().argmin())]
    least = float(table[["p_value", "p_difference"]].to_numpy().min())
    strongest = table.iloc[int(table["power"].to_numpy().argmax())]
    return Splits(
        table,
        Estimate(
            "p-value", least, p_value=least, ci_level=None, n=n,
            method="smallest P over all splits and two scales, everybody followed to that time",
        ),
        Estimate(
            "hazard-ratio", float(best["hazard_ratio"]), float(best["ci_low"]),
            float(best["ci_high"]), ci_level=ci_level, p_value=float(best["p_value"]), n=n,
            method="ratio of log survival; the narrowest interval over all splits, full follow-up",
        ),
        Estimate(
            "power", float(strongest["power"]), ci_level=None, n=n,
            n_events=round(float(strongest["events"])),
            method="log-rank power (Schoenfeld), the split that can show most",
        ),
    )  # fmt: skip


def information(printed_p: float, of: Splits) -> Estimate:
    """Return the information behind a printed P as a share of the most that there could be.

    Raises
    ------
    ValueError
        For a P that is not strictly between 0 and 1.
    """
    p = as_number(printed_p, "printed_p")
    if not 0 < p < 1:
        raise ValueError(f"printed_p: expected a number strictly between 0 and 1, got {p:g}")
    least = of.smallest_p.value
    assert least is not None
    share = (norm.isf(p / 2) / norm.isf(least / 2)) ** 2
    return Estimate(
        "proportion", float(share), ci_level=None, n=of.smallest_p.n,
        method="(z of the printed P / z of the smallest possible P)²",
    )  # fmt: skip

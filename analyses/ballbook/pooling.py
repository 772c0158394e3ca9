r"""One quantity of several cohorts, pooled.

Each cohort gives an estimate :math:`x_i` with an interval. On the scale :math:`g` of its kind
(`ballbook.scales`) it becomes :math:`y_i=g(x_i)` with the standard error that the interval implies,
:math:`s_i=\{g(U_i)-g(L_i)\}/(2z)`; of an interval with one open bound the other side counts alone.
The pool is the random-effects mean of `ballbook.meta_analysis.pooled_for_verdict` (REML, the wider
of the normal and the Hartung-Knapp interval), taken back by :math:`g^{-1}`.

Proportions whose counts all cohorts give are pooled by their counts instead, in the random-
intercept logistic model of `ballbook.meta_analysis.rare_counts_glmm`, which needs no normal
approximation within a cohort.

Viechtbauer, J Stat Softw 2010;36(3). R: ``metafor::rma(y, sei = s, test = "knha")`` and
``lme4::glmer(cbind(k, n - k) ~ 1 + (1 | cohort), binomial, nAGQ = 21)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ballbook.meta_analysis import (
    Effect,
    pooled_for_verdict,
    random_effects,
    rare_counts_glmm,
)
from ballbook.results import Estimate, Tier, not_estimable
from ballbook.scales import SCALES, Scale, on_scale

# Beyond these a number is a slip, and arithmetic on it would overflow.
LARGEST, SMALLEST_ERROR = 1e9, 1e-9
NOT_A_SIZE = {
    "p-value": "a P value is no size and cannot be pooled",
    "count": "a count is not pooled",
    "power": "power belongs to one cohort",
}


@dataclass(frozen=True, slots=True)
class Pool:
    """One quantity over several cohorts.

    Attributes
    ----------
    inside : tuple of str
        Cohorts in the pool.
    outside : dict
        Other cohorts, with the reason why each is left out.
    pooled : Estimate
        By the interval that judges claims; without a value where fewer than two cohorts remain.
    intervals : dict
        The same mean with other intervals, and the common-effect mean, by name.
    q, tau2, i2, prediction : Estimate
        Heterogeneity: test, variance on the scale of the kind, share, where a new cohort may lie.
    weights : dict
        Share of each cohort in the mean; empty for pooled counts, which have none.
    one_sided : tuple of str
        Cohorts with one open bound, whose error comes from the other.
    """

    kind: str
    inside: tuple[str, ...]
    outside: dict[str, str]
    pooled: Estimate
    intervals: dict[str, Estimate]
    q: Estimate
    tau2: Estimate
    i2: Estimate
    prediction: Estimate
    weights: dict[str, float]
    one_sided: tuple[str, ...] = ()


def pool(estimates: Mapping[str, Estimate]) -> Pool:
    """Pool the estimates of one quantity, given by cohort.

    Parameters
    ----------
    estimates : mapping
        Cohort to its estimate, all of one kind and unit. Those without a value or without a usable
        interval are left out and named with the reason.

    Returns
    -------
    Pool
        Of the tier of the estimates. Patients and events are those of all pooled cohorts together,
        and given only where every one of them gives its own.

    Raises
    ------
    ValueError
        If the kinds, units or tiers differ, or there is nothing.
    """
    kinds = sorted({e.kind for e in estimates.values()})
    if len(kinds) != 1:
        raise ValueError(f"expected one kind, got {', '.join(kinds) or 'nothing'}")
    if len(units := {e.unit for e in estimates.values()}) != 1:
        raise ValueError(f"expected one unit, got {', '.join(sorted(map(str, units)))}")
    if len({e.tier for e in estimates.values()}) != 1:
        raise ValueError("expected one tier: invented patients and real ones are never pooled")
    (kind,) = kinds
    tier = next(iter(estimates.values())).tier
    effects: dict[str, Effect] = {}
    outside: dict[str, str] = {}
    for name, estimate in estimates.items():
        found = effect(estimate)
        if isinstance(found, str):
            outside[name] = found
        else:
            effects[name] = found
    if kind == "proportion" and (counted := _counted(estimates)):
        # Counts need no interval: a cohort in which nobody had the event counts in full.
        return _by_counts(counted, {k: v for k, v in outside.items() if k not in counted})
    if len(effects) < 2:
        return _nothing(kind, tier, tuple(effects), outside, "fewer than two cohorts give it")
    return _by_effects({name: estimates[name] for name in effects}, effects, outside)


def effect(estimate: Estimate) -> Effect | str:
    """Return an estimate on its scale with its standard error, or why it cannot be pooled."""
    if estimate.value is None:
        return estimate.reason or "not estimable"
    if reason := NOT_A_SIZE.get(estimate.kind):
        return reason
    if estimate.kind not in SCALES:
        return f"a {estimate.kind.replace('-', ' ')} is not pooled"
    low, high = estimate.ci_low, estimate.ci_high
    low, high = (-math.inf if low is None else low), (math.inf if high is None else high)
    room = 1e-9 * abs(estimate.value)
    if not low - room <= estimate.value <= high + room:
        return "its value lies outside its interval"
    found = on_scale(estimate)
    if isinstance(found, str):
        return found
    if not (abs(found.value) < LARGEST and SMALLEST_ERROR < found.std_error < LARGEST):
        return "its numbers are too extreme to be pooled"
    return found


def leave_one_out(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Return the pooled estimate without each pooled cohort in turn; needs three of them."""
    inside = pool(estimates).inside
    if len(inside) < 3:
        return {}
    return {
        gone: pool({name: estimates[name] for name in inside if name != gone}).pooled
        for gone in inside
    }


def _counted(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Return the estimates with a value if there are two or more and all give their counts."""
    given = {name: e for name, e in estimates.items() if e.value is not None}
    known = all(
        e.n is not None
        and e.n_events is not None
        and 0 <= e.n_events <= e.n > 0
        and abs((e.value or 0) - e.n_events / e.n) < 1e-6
        for e in given.values()
    )
    return given if known and len(given) > 1 else {}


def _by_counts(given: Mapping[str, Estimate], outside: dict[str, str]) -> Pool:
    tier = next(iter(given.values())).tier
    fit = rare_counts_glmm(
        [e.n_events or 0 for e in given.values()], [e.n or 0 for e in given.values()], list(given)
    )
    if fit.pooled.value is None:
        return _nothing("proportion", tier, tuple(given), outside, str(fit.pooled.reason))
    few = "two cohorts do not tell how far a third may lie"
    prediction = fit.prediction_interval
    if len(given) < 3:
        prediction = not_estimable("proportion", few)
    elif not fit.tau2.value:
        # A new cohort is never as sure as the mean of those seen.
        unseen = "no variation between cohorts was seen, which few cohorts cannot exclude"
        prediction = not_estimable("proportion", unseen)
    return Pool(
        "proportion", tuple(given), outside, replace(fit.pooled, tier=tier), {},
        replace(fit.heterogeneity, tier=tier), replace(fit.tau2, tier=tier),
        not_estimable("i2", "not defined for a model of counts", tier=tier),
        replace(prediction, tier=tier, n=None, n_events=None), {},
    )  # fmt: skip


def _by_effects(
    given: Mapping[str, Estimate], effects: Mapping[str, Effect], outside: dict[str, str]
) -> Pool:
    first = next(iter(given.values()))
    scale, kind, unit, tier = SCALES[first.kind], first.kind, first.unit, first.tier
    shift = 0.0 if scale.null is None else scale.there(scale.null)
    y = [e.value - shift for e in effects.values()]
    s = [e.std_error for e in effects.values()]
    names = list(given)
    # A kind that is no ratio keeps the numbers on the scale on which they are pooled.
    judged = pooled_for_verdict(y, s, names, kind="difference")
    normal = random_effects(y, s, names, kind="difference", knapp_hartung=False)
    adjusted = random_effects(y, s, names, kind="difference")
    n, n_events = _total(given, "n"), _total(given, "n_events")

    def back(e: Estimate, **changes: Any) -> Estimate:
        found = _back(e, scale, shift, tested=scale.null is not None)
        return replace(found, kind=kind, unit=unit, tier=tier, **changes)

    half = tuple(
        name
        for name, e in given.items()
        if not (_inside(e.ci_low, scale) and _inside(e.ci_high, scale))
    )
    note = None
    if half:
        note = (
            f"{len(half)} of {len(names)} cohorts have an interval open on one side; their error "
            "comes from the other"
        )
    told = f"{judged.method} (on the {scale.name} scale)"
    weights = judged.weights["weight_random"]
    return Pool(
        kind, tuple(names), outside,
        back(judged.pooled, n=n, n_events=n_events, method=told, reason=note),
        {
            "normal": back(normal.pooled), "Hartung-Knapp": back(adjusted.pooled, reason=None),
            "common effect": back(judged.fixed),
        },
        replace(judged.q, tier=tier), replace(judged.tau2, tier=tier),
        replace(judged.i2, tier=tier),
        back(judged.prediction_interval, p_value=None, statistic=None, df=None),
        dict(zip(names, map(float, weights), strict=True)), half,
    )  # fmt: skip


def _inside(bound: float | None, scale: Scale) -> bool:
    return bound is not None and scale.low < bound < scale.high


def _total(given: Mapping[str, Estimate], field: str) -> int | None:
    """Return the sum over cohorts, or None where one of them keeps its number to itself."""
    counts = [getattr(e, field) for e in given.values()]
    return None if None in counts else sum(counts)


def _back(e: Estimate, scale: Scale, shift: float, *, tested: bool) -> Estimate:
    """Return an estimate taken back from its scale; a bound without end becomes open."""

    def there(v: float | None) -> float | None:
        if v is None:
            return None
        try:
            found = scale.back(v + shift)
        except OverflowError:
            found = scale.low if scale.name == "log-log" else scale.high
        return found if math.isfinite(found) else None

    ends = there(e.ci_low), there(e.ci_high)
    # ln(-ln S) falls where S rises.
    low, high = ends[::-1] if scale.name == "log-log" else ends
    moved = replace(e, value=there(e.value), ci_low=low, ci_high=high)
    return moved if tested else replace(moved, p_value=None, statistic=None, df=None)


def _nothing(
    kind: str, tier: Tier | None, inside: tuple[str, ...], outside: dict[str, str], why: str
) -> Pool:
    def none(what: str) -> Estimate:
        return not_estimable(what, why, tier=tier)

    return Pool(
        kind, inside, outside, none(kind), {}, none("p-value"), none("variance"), none("i2"),
        none(kind), {},
    )  # fmt: skip


def frame(pools: Iterable[tuple[str, Pool]]) -> pd.DataFrame:
    """Return one row a pool with its three intervals and its heterogeneity, for reading."""
    rows = []
    for label, p in pools:
        if p.pooled.value is None:
            continue
        plain = {k: str(_bare(v)) for k, v in p.intervals.items()}
        rows.append(
            {
                "quantity": label, "cohorts": len(p.inside), "pooled": str(_bare(p.pooled)),
                "normal": plain.get("normal"), "hartung_knapp": plain.get("Hartung-Knapp"),
                "common_effect": plain.get("common effect"), "q": p.q.statistic, "q_df": p.q.df,
                "q_p": p.q.value, "tau2": p.tau2.value,
                "i2": None if p.i2.value is None else str(_bare(p.i2)),
                "prediction": None if p.prediction.ci_low is None else _span(p.prediction),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _bare(e: Estimate) -> Estimate:
    return replace(e, p_value=None, n=None, n_events=None)


def _span(e: Estimate) -> str:
    text = str(_bare(e))
    return text[text.index("(") + 1 : -1] if "(" in text else text

"""What may be shown of a reader's own patients: no small count, printed or worked out.

One rule, ``min_count``, in three forms. A number is withheld when fewer than ``min_count``
patients, events or, for a proportion, patients without the event stand behind it (`withhold`). A
survival probability also needs that many under observation, up to its time and after it
(`survival_at`). A curve is shown at whole months only, and only at those by which at least
``min_count`` further events have gathered, so that no single death lies between two shown points
(`displayable`); the last few patients are never drawn. Zero counts as small: "nobody" tells
something of everybody. A ``min_count`` of 0 withholds nothing.

The rules for curves follow those that trusted research environments apply to Kaplan-Meier output
(Griffiths et al 2019, Handbook on Statistical Disclosure Control for Outputs).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ballbook.results import Estimate

if TYPE_CHECKING:
    from ballbook.survival import SurvivalCurve


def shown_count(count: int | None, of: int, min_count: int) -> int | None:
    """Return `count`, or None where it or its complement in `of` is below `min_count`."""
    if count is None or (min_count > 0 and min(count, of - count) < min_count):
        return None
    return count


def withhold(estimate: Estimate, min_count: int, *, left: int | None = None) -> Estimate:
    """Return an estimate as it may be shown: unchanged, or without a value and with the reason.

    Parameters
    ----------
    estimate : Estimate
        Of the reader's patients. Withheld when its ``n`` or ``n_events`` is below `min_count`, or
        ``n - n_events`` where it is a proportion.
    min_count : int
        Smallest count that may be shown; 0 withholds nothing.
    left : int, optional
        Fewest patients under observation on whom the estimate rests.

    Returns
    -------
    Estimate
        When withheld: same kind, unit, id, label, group, tier and method; no value, interval, P
        value, statistic or count, and a reason that tells no number but `min_count`.
    """
    e = estimate
    behind = {"patients": e.n, "events": e.n_events, "patients under observation": left}
    if e.kind == "proportion" and e.n is not None and e.n_events is not None:
        behind["patients without it"] = e.n - e.n_events
    few = [what for what, count in behind.items() if count is not None and count < min_count]
    if not few:
        return e
    return replace(
        e, value=None, ci_low=None, ci_high=None, p_value=None, statistic=None, df=None, n=None,
        n_events=None, reason=f"withheld: fewer than {min_count} {few[0]}",
    )  # fmt: skip


def displayable(
    curve: SurvivalCurve, min_count: int, *, horizon: float | None = None
) -> pd.DataFrame | None:
    """Return the points of a Kaplan-Meier curve that may be shown, at whole months.

    Parameters
    ----------
    curve : SurvivalCurve
        Times in months.
    min_count : int
        Two neighbouring points are at least this many events apart, and each rests on at least
        this many patients (see `fewest`). With 0, every whole month while somebody is at
        risk.
    horizon : float, optional
        Last month shown; the longest follow-up when not given.

    Returns
    -------
    DataFrame or None
        Columns ``months, survival, ci_low, ci_high`` and, with a `min_count` of 0, ``at_risk``. The
        first row is month 0 with survival 1. None when nothing but that row may be shown.
    """
    last = curve.last_time if horizon is None else min(horizon, curve.last_time)
    months = np.arange(math.floor(last) + 1)
    if min_count <= 0:
        at_risk = curve.number_at_risk(months)
        keep = months[: int(np.argmin(at_risk > 0)) if (at_risk == 0).any() else len(months)]
        points = [_point(curve, t) | {"at_risk": int(curve.number_at_risk([t])[0])} for t in keep]
        return pd.DataFrame(points).astype(float) if points else None
    shown: list[dict[str, float | int | None]] = [
        {"months": 0, "survival": 1.0, "ci_low": None, "ci_high": None}
    ]
    counted = 0
    for t in months[1:]:
        events = events_by(curve, t)
        if events - counted >= min_count and fewest(curve, t) >= min_count:
            shown.append(_point(curve, t))
            counted = events
    return pd.DataFrame(shown).astype(float) if len(shown) > 1 else None


def survival_at(
    curve: SurvivalCurve, times: Sequence[float], min_count: int, unit: str = "months"
) -> list[Estimate]:
    """Return survival at each of `times`, withheld where it would tell of too few.

    A time is withheld when fewer than `min_count` events precede it, or lie between it and the
    last time shown, or when it rests on fewer than `min_count` patients (see `fewest`). The
    numbers of events are never given, since their differences are counts too.
    """
    found, counted = [], 0
    for t in sorted(times):
        events = events_by(curve, t)
        e = replace(curve.at(t, unit), n_events=events - counted)
        e = withhold(e, min_count, left=fewest(curve, t))
        if e.value is not None:
            counted = events
        found.append(replace(e, n_events=None) if min_count > 0 else curve.at(t, unit))
    return found


def median(curve: SurvivalCurve, min_count: int, unit: str = "months") -> Estimate:
    """Return the median survival time as it may be shown.

    A median and the bounds of its interval are single patients' times, so they are rounded to one
    decimal, the interval outwards. Withheld when fewer than `min_count` events make the curve, or
    when it rests on fewer patients than that (see `fewest`).
    """
    e = curve.median(unit)
    if min_count <= 0:
        return e
    left = None if e.value is None else fewest(curve, e.value)
    e = withhold(e, min_count, left=left)
    if e.n is None:
        return e

    def tenth(value: float | None, rounded: Callable[[float], int]) -> float | None:
        return None if value is None else rounded(10 * value) / 10

    return replace(
        e, value=tenth(e.value, round), ci_low=tenth(e.ci_low, math.floor),
        ci_high=tenth(e.ci_high, math.ceil), n_events=None,
        reason=None if e.value is not None else "not reached",
    )  # fmt: skip


def rounded_at_risk(n: int, min_count: int) -> str:
    """Return a number at risk as it may be printed: down to a multiple of `min_count`.

    Numbers at risk at two times give the number who left in between, hence the rounding.
    """
    if min_count <= 0:
        return str(n)
    return f"<{min_count}" if n < min_count else str(n - n % min_count)


def events_by(curve: SurvivalCurve, t: float) -> int:
    """Return the number of events up to and at `t`."""
    return int(curve.table.loc[curve.table["time"] <= t, "n_event"].sum())


def fewest(curve: SurvivalCurve, t: float) -> int:
    """Return the fewest patients on whom survival at `t` rests.

    The smallest of the numbers at risk at each event up to `t` and just after `t`. Where patients
    enter late the first risk sets can be the smallest.
    """
    past = curve.table[(curve.table["time"] <= t) & (curve.table["n_event"] > 0)]
    left = int(curve.number_at_risk([np.nextafter(t, np.inf)])[0])
    return min([left, *past["n_risk"].astype(int)])


def _point(curve: SurvivalCurve, t: float) -> dict[str, float | int | None]:
    e = curve.at(float(t))
    return {"months": int(t), "survival": e.value, "ci_low": e.ci_low, "ci_high": e.ci_high}

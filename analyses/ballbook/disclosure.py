"""What may be shown of a reader's own patients: no small count, printed or worked out.

One rule, ``min_count`` (called m below), for a reader who holds every file of one run:

- **counts**: a count of patients or events below m is withheld, and a value that rests on it with
  it. Zero counts as small: "nobody" tells something of everybody. For a proportion the complement
  counts too (`withhold`).
- **subtraction**: two counts of nested groups that lie 1 to m - 1 apart are never both shown
  (`release`, `flow`). In a table of counts further cells are withheld until no small one can be
  worked out from the rest and the sums (`suppress`).
- **curves**: shown at whole months only, each at least m events from every other and resting on
  at least m patients, so that no single death lies between two points (`displayable`,
  `survival_at`; both choose the same months). Numbers at risk are multiples of m.
- **extremes**: minimum, maximum, range and longest follow-up are never shown. A median survival
  needs m events before it and m patients after it; it is given to a tenth of a month, and a bound
  of its interval that rests on fewer is left open (`median`).
- **digits**: numbers are rounded to three significant figures (`coarse`): a product such as a
  Kaplan-Meier estimate at full precision can be factored into the counts behind it.
- **words**: numbers in the reasons and gates of own data are struck out, thresholds excepted
  (`without_numbers`).
- **rows**: a table of own patients may name no patient and hold no row for each (`refuse_rows`).

An m of 0 withholds nothing; below `UNSAFE` the report carries a warning. What the rules cannot do:
two runs of the same patients under different parameters, or with one patient more, can be
subtracted from one another. One run of a cohort, or runs with one m and one set of patients,
should leave the group.

Cell suppression: Fischetti, Salazar, J Am Stat Assoc 2000;95:916; Hundepool et al 2012,
Statistical Disclosure Control, chapter 4. Curves: Griffiths et al 2019, Handbook on Statistical
Disclosure Control for Outputs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ballbook.results import Estimate, Gate

if TYPE_CHECKING:
    from ballbook.survival import SurvivalCurve

# Below this a run carries a warning: a count of 1 or 2 is a person, not a group.
UNSAFE = 3
# Months that a paper would print come first when the points of a curve are chosen.
LANDMARKS = (12, 60, 24, 36, 6, 120)
# Integers lie behind these, so that a value with n told approximately gives n exactly.
FROM_COUNTS = frozenset({"count", "proportion", "risk-difference", "risk-ratio", "odds-ratio"})
# P values and their like; the statistic of any other gate is a count or a share of one.
SAFE_GATES = ("proportional hazards", "parallel")
IDENTIFIER = re.compile(
    r"(?:patient|sample|donor|case|subject|specimen|person|individual|participant)"
    r"(?:[ _-]?(?:id|no|nr|number|code|name))?|id|mrn|usi|barcode|initials|surname|.*[ _-]id",
    re.I,
)
# Columns that a table of results has and a table of patients has not.
SUMMARY = frozenset({"n", "size", "value", "ci_low", "mean", "p_value", "survival"})
NUMBER = re.compile(
    r"(?P<before>\b(?:fewer than|below|under|at least|at most|over|above|least|day|week|month|year"
    r"|minimum count of)\s+(?:two\s+)?)?(?<![\w.:])(?P<number>\d[\d,]*(?:\.\d+)?%?)(?![\w:])",
    re.I,
)


class RowLevel(ValueError):
    """A table of own patients names patients, or holds a row for each."""


def shown_count(count: int | None, of: int, min_count: int) -> int | None:
    """Return `count`, or None where it or its complement in `of` is below `min_count`."""
    if count is None or (min_count > 0 and min(count, of - count) < min_count):
        return None
    return count


def apart(a: int, b: int, min_count: int) -> bool:
    """Tell whether two nested counts may both be shown: equal, or at least `min_count` apart."""
    return a == b or abs(a - b) >= min_count


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
    return bare(e, f"withheld: fewer than {min_count} {few[0]}") if few else e


def bare(estimate: Estimate, reason: str) -> Estimate:
    """Return an estimate without any number, and with the reason."""
    return replace(
        estimate, value=None, ci_low=None, ci_high=None, p_value=None, statistic=None, df=None,
        n=None, n_events=None, reason=reason,
    )  # fmt: skip


def release(
    estimate: Estimate, min_count: int, nested: Iterable[int] = (), cells: Iterable[int] = ()
) -> Estimate:
    """Return an estimate of own patients as a page may keep it.

    Parameters
    ----------
    estimate : Estimate
    min_count : int
    nested : iterable of int
        Counts of own patients that the page shows of groups which may hold one another.
    cells : iterable of int
        Counts that it shows in tables.

    Returns
    -------
    Estimate
        As `withhold` leaves it, to three figures and with numbers struck from its reason. ``n`` is
        left out when it lies too close to a shown count, and a value that would give it back with
        it; ``n_events`` too when fewer than `min_count` are without the event.
    """
    if min_count <= 0:
        return estimate
    e = coarse(withhold(estimate, min_count))
    if e.value is None and e.reason and not e.reason.startswith("withheld: "):
        e = replace(e, reason=without_numbers(e.reason))
    if e.n is None:
        return replace(e, n_events=None)
    if not all(apart(e.n, n, min_count) for n in nested):
        if e.kind in FROM_COUNTS:
            return bare(e, f"withheld: its number of patients lies within {min_count} of another's")
        return replace(e, n=None, n_events=None)
    if not all(apart(e.n, n, min_count) for n in cells):
        return replace(e, n=None, n_events=None)
    if e.n_events is not None and e.n - e.n_events < min_count:
        return replace(e, n_events=None)
    return e


def coarse(estimate: Estimate) -> Estimate:
    """Return an estimate with its numbers to three significant figures, counts excepted."""
    e = estimate
    if e.kind == "count":
        return e
    return replace(
        e, value=three(e.value), ci_low=three(e.ci_low), ci_high=three(e.ci_high),
        p_value=three(e.p_value), statistic=three(e.statistic), df=three(e.df),
    )  # fmt: skip


def three(value: Any) -> Any:
    """Return a number to three significant figures; anything else as it is."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (float, np.floating)):
        return value
    return float(f"{value:.3g}") if math.isfinite(value) else value


def without_numbers(text: str) -> str:
    """Return a sentence with its numbers struck out, but for thresholds and days or months."""
    return NUMBER.sub(lambda m: m[0] if m["before"] else "(withheld)", text)


def gate(found: Gate, min_count: int) -> Gate:
    """Return a gate on own data: P values to three figures, no other statistic, no counts."""
    if min_count <= 0:
        return found
    kept = found.statistic if any(s in found.name.lower() for s in SAFE_GATES) else None
    return replace(found, statistic=three(kept), action=without_numbers(found.action))


# Flows and tables ---------------------------------------------------------------------------------


def flow(
    steps: Sequence[Sequence[Any]], min_count: int, shown: Iterable[int] = ()
) -> list[tuple[Any, ...]]:
    """Return the steps of a flow that may be shown, small ones merged into the next.

    Parameters
    ----------
    steps : sequence of (label, n) or (label, n, why)
        Patients who remain after each step, so each number holds the next.
    min_count : int
    shown : iterable of int
        Counts that the page shows already.

    Returns
    -------
    list of (label, n, why)
        A step goes when it has fewer than `min_count` patients, or a number within `min_count` of
        a later step's or of one in `shown`. Its reason goes to the step that now tells of those
        who left.
    """
    if min_count <= 0:
        return [tuple(s) for s in steps]
    kept: list[tuple[Any, ...]] = []
    fixed = list(shown)
    for step in reversed(steps):
        label, n, why = str(step[0]), int(step[1]), str(step[2] or "") if len(step) > 2 else ""
        if n >= min_count and all(apart(n, m, min_count) for m in [*fixed, *(k[1] for k in kept)]):
            kept.insert(0, (label, n, why))
        elif kept and why:
            first = kept[0]
            kept[0] = (first[0], first[1], "; ".join(w for w in (why, first[2]) if w))
    return kept


def suppress(
    table: pd.DataFrame,
    counts: Sequence[str],
    min_count: int,
    *,
    total: str | None = None,
    close_to: Iterable[int] = (),
) -> pd.DataFrame:
    r"""Return a table of counts with small cells, and what would give them away, left out.

    Rows and the columns `counts` are disjoint groups; the sum of each column is taken as known to
    the reader. A cell below `min_count` is withheld. Then, as long as the largest value that a
    withheld small cell can take,

    .. math:: \max x_c \quad\text{subject to}\quad Ax = b,\; x \ge 0,

    is below `min_count` (:math:`A` the sums, :math:`x` the withheld cells), the smallest shown cell
    that shares a sum with it is withheld too.

    **Guarantee.** From the shown cells and the sums each withheld small count can be anything
    between a value below `min_count` and a value of at least `min_count`. Cells withheld for
    `close_to` can take values at least `min_count` apart. It fails only where everything is
    withheld and a known sum is itself below `min_count`.

    Parameters
    ----------
    table : DataFrame
    counts : sequence of str
        Columns with counts, without missing values.
    min_count : int
        0 returns the table as it is.
    total : str, optional
        Column with the sum of `counts` in each row, which is then a count like the others.
    close_to : iterable of int
        Counts shown elsewhere; a cell that lies 1 to `min_count` - 1 from one is withheld.

    Returns
    -------
    DataFrame
        A copy; the count columns are ``Int64`` with missing values.

    Raises
    ------
    ValueError
        If `total` is not the sum of `counts`.
    """
    columns = [*counts, *([total] if total else [])]
    x = table[columns].to_numpy(dtype=np.int64)
    if total and (x[:, :-1].sum(axis=1) != x[:, -1]).any():
        raise ValueError(f"{total} is not the sum of {', '.join(counts)}")
    found = table.copy()
    if min_count > 0 and x.size:
        hidden = _hidden(x, min_count, bool(total), list(close_to))
        for j, column in enumerate(columns):
            found[column] = pd.array(np.where(hidden[:, j], 0, x[:, j]), dtype="Int64")
            found.loc[hidden[:, j], column] = pd.NA
    return found


def _hidden(x: Any, min_count: int, total: bool, close_to: Sequence[int]) -> Any:
    """Return which cells of a table to withhold; the last column holds row sums if `total`."""
    rows, columns = x.shape
    value, cell = x.ravel(), np.arange(x.size).reshape(x.shape)
    sums = []
    for j in range(columns):
        sums.append(np.isin(np.arange(x.size), cell[:, j]).astype(float))
    for i in range(rows if total else 0):
        line = np.isin(np.arange(x.size), cell[i, :-1]).astype(float)
        line[cell[i, -1]] = -1
        sums.append(line)
    matrix = np.array(sums)
    small = value < min_count
    near = np.array([any(not apart(int(v), n, min_count) for n in close_to) for v in value])
    hidden = small | near

    def told(c: int) -> bool:
        low, high = _interval(matrix, value, hidden, c)
        return high < min_count if small[c] else high - low < min_count

    while given := [c for c in map(int, np.flatnonzero(small | near)) if told(c)]:
        shared = (matrix[matrix[:, given[0]] != 0] != 0).any(axis=0) & ~hidden
        candidates = np.flatnonzero(shared if shared.any() else ~hidden)
        if not len(candidates):
            break
        hidden[candidates[np.argmin(value[candidates])]] = True
    return hidden.reshape(x.shape)


def _interval(matrix: Any, value: Any, hidden: Any, c: int) -> tuple[float, float]:
    """Return the smallest and largest value that the withheld cell `c` can take."""
    from scipy.optimize import linprog

    free = np.flatnonzero(hidden)
    b = matrix[:, free] @ value[free]
    aim = (free == c).astype(float)
    ends = []
    for sign in (1, -1):
        done = linprog(sign * aim, A_eq=matrix[:, free], b_eq=b, bounds=(0, None), method="highs")
        ends.append(sign * done.fun if done.status == 0 else -sign * math.inf)
    return round(ends[0], 6), round(ends[1], 6)


def refuse_rows(table: pd.DataFrame, ids: Iterable[Any], patients: int) -> None:
    """Refuse a table of own patients that is no summary.

    Parameters
    ----------
    table : DataFrame
    ids : iterable
        Ids of the reader's patients.
    patients : int
        Their number.

    Raises
    ------
    RowLevel
        If a column is named like an identifier, a cell is a patient's id, or there are as many
        rows as patients and no column that results have.
    """
    for column in map(str, table.columns):
        if IDENTIFIER.fullmatch(column.strip()):
            raise RowLevel(f"a table of own patients has a column {column!r}")
    known = {str(i) for i in ids}
    for column in table.columns:
        if table[column].dtype.kind not in "biuf" and known & set(map(str, table[column])):
            raise RowLevel(f"column {column!r} of a table of own patients holds a patient's id")
    if 0 < patients <= len(table) and not SUMMARY & set(map(str, table.columns)):
        raise RowLevel(f"a table of own patients has {len(table)} rows, as many as patients")


# Curves -------------------------------------------------------------------------------------------


def shown_months(curve: SurvivalCurve, min_count: int) -> list[int]:
    """Return the whole months at which a curve may be shown, 0 first.

    `LANDMARKS` are taken where they can be, then other months from early to late: each rests on at
    least `min_count` patients (see `fewest`) and is that many events from all the others.
    """
    last = math.floor(curve.last_time)
    events = {t: events_by(curve, t) for t in range(last + 1)}
    chosen = [0]
    for t in [*(t for t in LANDMARKS if t <= last), *range(1, last + 1)]:
        far = all(abs(events[t] - events[c]) >= min_count for c in chosen)
        if far and fewest(curve, t) >= min_count:
            chosen.append(t)
    return sorted(chosen)


def displayable(
    curve: SurvivalCurve, min_count: int, *, horizon: float | None = None
) -> pd.DataFrame | None:
    """Return the points of a Kaplan-Meier curve that may be shown, at whole months.

    Parameters
    ----------
    curve : SurvivalCurve
        Times in months.
    min_count : int
        The months are those of `shown_months`. With 0, every whole month while somebody is at
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
    if min_count <= 0:
        months = np.arange(math.floor(last) + 1)
        at_risk = curve.number_at_risk(months)
        keep = months[: int(np.argmin(at_risk > 0)) if (at_risk == 0).any() else len(months)]
        points = [_point(curve, t) | {"at_risk": int(curve.number_at_risk([t])[0])} for t in keep]
        return pd.DataFrame(points).astype(float) if points else None
    shown: list[dict[str, float | int | None]] = [
        {"months": 0, "survival": 1.0, "ci_low": None, "ci_high": None}
    ]
    for t in shown_months(curve, min_count)[1:]:
        if t <= last:
            shown.append({k: three(v) for k, v in _point(curve, t).items()})
    return pd.DataFrame(shown).astype(float) if len(shown) > 1 else None


def survival_at(
    curve: SurvivalCurve, times: Sequence[float], min_count: int, unit: str = "months"
) -> list[Estimate]:
    """Return survival at each of `times`, withheld where it would tell of too few.

    Shown are the months that `displayable` shows, and other times that lie at least `min_count`
    events from these and from one another and rest on as many patients (see `fewest`). The
    numbers of events are never given, since their differences are counts too.
    """
    if min_count <= 0:
        return [curve.at(t, unit) for t in sorted(times)]
    months = shown_months(curve, min_count)
    counted = [events_by(curve, t) for t in months]
    found = []
    for t in sorted(times):
        e = coarse(replace(curve.at(t, unit), n_events=None))
        if t not in months:
            events = events_by(curve, t)
            nearest = min(abs(events - c) for c in counted)
            e = withhold(replace(e, n_events=nearest), min_count, left=fewest(curve, t))
            e = replace(e, n_events=None)
            if e.value is not None:
                counted.append(events)
        found.append(e)
    return found


def median(curve: SurvivalCurve, min_count: int, unit: str = "months") -> Estimate:
    """Return the median survival time as it may be shown.

    A median and the bounds of its interval are single patients' times, so they are rounded to one
    decimal, the interval outwards. Withheld when fewer than `min_count` events make the curve or
    precede the median, or when it rests on fewer patients than that (see `fewest`). A lower bound
    that fewer events precede becomes 0, an upper one beyond which fewer patients are left is not
    given.
    """
    e = curve.median(unit)
    if min_count <= 0:
        return e
    if e.value is not None:
        e = withhold(replace(e, n_events=events_by(curve, e.value)), min_count,
                     left=fewest(curve, e.value))  # fmt: skip
    else:
        e = withhold(e, min_count)
    if e.n is None:
        return e

    def tenth(value: float | None, rounded: Callable[[float], int]) -> float | None:
        return None if value is None else rounded(10 * value) / 10

    low, high = e.ci_low, e.ci_high
    if low is not None and events_by(curve, low) < min_count:
        low = 0.0
    if high is not None and fewest(curve, high) < min_count:
        high = None
    return replace(
        e, value=tenth(e.value, round), ci_low=tenth(low, math.floor),
        ci_high=tenth(high, math.ceil), n_events=None,
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

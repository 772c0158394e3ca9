r"""What few printed numbers of a small study leave open: rounding, and where its events fell.

**Rounding.** A ratio :math:`\theta` with a Wald interval :math:`L` to :math:`U` is the geometric
mean of its bounds, and :math:`z=\ln\theta/s` with :math:`s=(\ln U-\ln L)/(2\cdot1.96)`. Each
printed number stands for all that round to it, so both hold within a range (`wald`).

**Events.** Of :math:`d` events among :math:`n_1+n_0` patients :math:`k` fell in the first group.
Without censoring the cumulative incidence at the end is :math:`k/n_1`, competing events or not;
censoring moves the weight of those who leave to those who stay, so it is never less: printed
incidences bound :math:`k`. The standard error of the log ratio is about
:math:`\sqrt{1/k+1/(d-k)}` and narrows it further (`splits`).

**Histories.** `histories` draws follow-up that agrees with the printed numbers of patients and
events and the printed times, keeps what prints both incidences (read at the end of the curves), and
fits the Fine-Gray model to it.
It shows which splits can print all numbers at once. It invents patients, so it tells of the print
and nothing of the disease.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from ballbook.competing_risks import fine_gray
from ballbook.inputs import as_count, as_number

Floats = NDArray[np.float64]
Z = float(norm.isf(0.025))


@dataclass(frozen=True, slots=True)
class Wald:
    """A printed ratio and its interval, checked against each other.

    Attributes
    ----------
    middle : float
        Geometric mean of the bounds; `middle_low` and `middle_high` by the rounding of the bounds.
    std_error : float
        Of the log ratio.
    p_value : float
        Two-sided; `p_low` and `p_high` by the rounding of all three numbers.
    agrees : bool
        The printed ratio, as all that round to it, meets the range of the middle.
    nearest : float
        Middle that lies nearest to the printed ratio within the rounding of the bounds.
    """

    middle: float
    middle_low: float
    middle_high: float
    std_error: float
    p_value: float
    p_low: float
    p_high: float
    agrees: bool
    nearest: float


def half_unit(printed: str) -> float:
    """Return half a unit of the last printed digit, ``0.005`` for ``"2.33"``."""
    return 0.5 * 10.0 ** -len(printed.partition(".")[2])


def wald(ratio: str, low: str, high: str) -> Wald:
    """Check a printed ratio with its 95% interval.

    Parameters
    ----------
    ratio, low, high : str
        As printed: their decimals decide the rounding.

    Raises
    ------
    ValueError
        If they are no positive numbers in order.
    """
    value, lo, hi = (as_number(float(t), "printed") for t in (ratio, low, high))
    if not 0 < lo < value < hi:
        raise ValueError(f"expected 0 < {low} < {ratio} < {high}")
    dv, dl, dh = half_unit(ratio), half_unit(low), half_unit(high)
    corners = [
        (v, a, b)
        for v in (value - dv, value + dv)
        for a in (max(lo - dl, 1e-12), lo + dl)
        for b in (hi - dh, hi + dh)
    ]

    def p(v: float, a: float, b: float) -> float:
        return float(2 * norm.sf(abs(math.log(v)) * 2 * Z / math.log(b / a)))

    middles = [math.sqrt(a * b) for _, a, b in corners]
    ps = [p(*c) for c in corners]
    return Wald(
        middle=math.sqrt(lo * hi),
        middle_low=min(middles),
        middle_high=max(middles),
        std_error=math.log(hi / lo) / (2 * Z),
        p_value=p(value, lo, hi),
        p_low=min(ps),
        p_high=max(ps),
        agrees=value - dv <= max(middles) and value + dv >= min(middles),
        nearest=min(max(value, min(middles)), max(middles)),
    )


def missing_bound(ratio: str, low: str) -> tuple[float, float]:
    r"""Return the range of the upper bound :math:`\theta^2/L` that a ratio and its lower one imply.

    Raises
    ------
    ValueError
        If they are no positive numbers in order.
    """
    value, lo = as_number(float(ratio), "ratio"), as_number(float(low), "low")
    if not 0 < lo < value:
        raise ValueError(f"expected 0 < {low} < {ratio}")
    dv, dl = half_unit(ratio), half_unit(low)
    return (value - dv) ** 2 / (lo + dl), (value + dv) ** 2 / (lo - dl)


def splits(
    sizes: tuple[int, int], events: int, incidences: tuple[str, str], std_error: float
) -> pd.DataFrame:
    """Return how the events may have fallen on two groups.

    Parameters
    ----------
    sizes : (int, int)
        Patients of the first and of the second group.
    events : int
        Events of both.
    incidences : (str, str)
        Printed cumulative incidences, in percent.
    std_error : float
        Printed standard error of the log ratio.

    Returns
    -------
    DataFrame
        A row for each number ``first`` of events in the first group: ``second``, crude fractions
        ``crude_first`` and ``crude_second``, ``ratio`` of their cumulative hazards, ``std_error``
        expected, ``allowed`` (neither crude fraction above its printed incidence), ``nearest``
        (of the allowed ones, by the standard error).

    Raises
    ------
    ValueError
        If there are more events than patients, or an incidence is no percentage.
    """
    n1, n0 = (as_count(n, "sizes") for n in sizes)
    d = as_count(events, "events")
    if not 0 < d <= n1 + n0:
        raise ValueError(f"events is {d} of {n1 + n0} patients")
    most = [(float(p) + half_unit(p)) / 100 for p in incidences]
    if not all(0 < m < 1 for m in most):
        raise ValueError(f"incidences are {incidences}, expected percentages")
    rows = []
    for k in range(max(0, d - n0), min(d, n1) + 1):
        a, b = k / n1, (d - k) / n0
        both = 0 < k < d and a < 1 and b < 1
        rows.append(
            {
                "first": k,
                "second": d - k,
                "crude_first": a,
                "crude_second": b,
                "ratio": math.log1p(-a) / math.log1p(-b) if both else math.nan,
                "std_error": math.sqrt(1 / k + 1 / (d - k)) if 0 < k < d else math.nan,
                "allowed": a <= most[0] + 1e-12 and b <= most[1] + 1e-12,
            }
        )
    table = pd.DataFrame(rows)
    off = (table["std_error"] - std_error).abs().where(table["allowed"])
    table["nearest"] = table.index == (off.idxmin() if off.notna().any() else -1)
    return table


def incidence_of(time: Floats, cause: NDArray[np.int64]) -> Floats:
    """Return the cumulative incidence of cause 1 at the end, for each row (Aalen-Johansen).

    Times within a row must differ; see `ballbook.competing_risks.cumulative_incidence`.
    """
    order = np.argsort(time, axis=1)
    sorted_cause = np.take_along_axis(cause, order, axis=1)
    at_risk = time.shape[1] - np.arange(time.shape[1])
    free = np.cumprod(1 - (sorted_cause > 0) / at_risk, axis=1)
    before = np.concatenate([np.ones((len(time), 1)), free[:, :-1]], axis=1)
    return np.asarray((before * (sorted_cause == 1) / at_risk).sum(axis=1))


def histories(
    sizes: tuple[int, int],
    firsts: Sequence[int],
    *,
    events: int,
    times: tuple[float, float, float],
    follow_up: float,
    incidences: tuple[str, str],
    deaths: int,
    sets: int,
    fits: int,
    seed: int,
) -> pd.DataFrame:
    r"""Draw histories of two groups, keep those that print both incidences, and fit them.

    The first and last event lie at the printed ends, the two middle ones at equal distance from the
    printed median, the others uniformly between. Follow-up of those without an event is uniform on
    :math:`(a, 2m-a)` about the median follow-up :math:`m`, with :math:`a` drawn for each group of
    each set on :math:`(0, m)`; up to `deaths` of them die instead of being censored.

    Parameters
    ----------
    sizes : (int, int)
    firsts : sequence of int
        Numbers of events in the first group that are tried.
    events : int
        Even, and 4 at least.
    times : (float, float, float)
        First, median and last event, in months.
    follow_up : float
        Median, in months.
    incidences : (str, str)
        Printed, in percent.
    deaths : int
        Most deaths without an event; each number is equally likely.
    sets, fits : int
        Histories drawn for each of `firsts`, and the most that are fitted.
    seed : int

    Returns
    -------
    DataFrame
        A row for each history kept and fitted: ``first``, ``log_ratio``, ``std_error`` of the
        Fine-Gray model, ``kept`` (fraction of the histories of that split which print both).

    Raises
    ------
    ValueError
        If `events` is odd or below 4, or the times are not in order.
    """
    d, (early, middle, late) = as_count(events, "events"), times
    if d < 4 or d % 2:
        raise ValueError(f"events is {d}, expected an even number of 4 at least")
    if not 0 < early < middle < late or follow_up <= 0:
        raise ValueError("expected 0 < first < median < last event, and a positive follow-up")
    n1, n0 = sizes
    rng = np.random.default_rng(seed)
    wanted = [(float(p) / 100, half_unit(p) / 100) for p in incidences]
    rows: list[dict[str, float]] = []
    for k in firsts:
        when = _event_times(rng, sets, d, early, middle, late)
        when = rng.permuted(when, axis=1)
        parts = []
        for size, own in ((n1, when[:, :k]), (n0, when[:, k:])):
            a = rng.uniform(0, follow_up, (sets, 1))
            end = rng.uniform(a, 2 * follow_up - a, (sets, size - own.shape[1]))
            time = np.concatenate([own, end], axis=1)
            cause = np.zeros((sets, size), dtype=np.int64)
            cause[:, : own.shape[1]] = 1
            parts.append((time, cause))
        _let_die(rng, parts, k, d, deaths)
        keep = np.ones(sets, dtype=bool)
        for (time, cause), (value, room) in zip(parts, wanted, strict=True):
            keep &= np.abs(incidence_of(time, cause) - value) <= room
        kept = float(keep.mean())
        x = pd.DataFrame({"first": np.repeat([1.0, 0.0], [n1, n0])})
        for i in np.flatnonzero(keep)[:fits]:
            t = np.concatenate([parts[0][0][i], parts[1][0][i]])
            c = np.concatenate([parts[0][1][i], parts[1][1][i]])
            fit = fine_gray(t, c, x).table.iloc[0]
            rows.append(
                {"first": k, "log_ratio": float(fit["coef"]), "std_error": float(fit["se"]),
                 "kept": kept}
            )  # fmt: skip
    return pd.DataFrame(rows, columns=["first", "log_ratio", "std_error", "kept"])


def _event_times(
    rng: np.random.Generator, sets: int, d: int, early: float, middle: float, late: float
) -> Floats:
    """Return event times (sets, d) with the given first, median and last one."""
    reach = min(middle - early, late - middle)
    gap = rng.uniform(0, reach, (sets, 1))
    inside = d // 2 - 2
    below = rng.uniform(early, middle - gap, (sets, inside))
    above = rng.uniform(middle + gap, late, (sets, inside))
    # A hair apart, so that no two events are tied.
    ends = np.broadcast_to([early, late], (sets, 2))
    return np.concatenate([ends, middle - gap, middle + gap, below, above], axis=1)


def _let_die(
    rng: np.random.Generator,
    parts: list[tuple[Floats, NDArray[np.int64]]],
    k: int,
    d: int,
    deaths: int,
) -> None:
    """Turn up to `deaths` censored patients of each set into deaths, in place."""
    free = [parts[0][0].shape[1] - k, parts[1][0].shape[1] - (d - k)]
    sets = len(parts[0][0])
    number = rng.integers(0, deaths + 1, sets)
    rank = rng.permuted(np.broadcast_to(np.arange(sum(free)), (sets, sum(free))), axis=1)
    dies = rank < number[:, None]
    parts[0][1][:, k:][dies[:, : free[0]]] = 2
    parts[1][1][:, d - k :][dies[:, free[0] :]] = 2

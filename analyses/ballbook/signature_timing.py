r"""When two lineages parted, from the marks that an exposure left on the branches between them.

A branch of a phylogeny holds the mutations gained between two branchings. If they include those of
a signature that only one exposure leaves, the branch was lived through, in part at least, while
that exposure lasted. With :math:`t_b` the time at which branch :math:`b` ends (the branching below
it, or the sample) and :math:`t_{p(b)}` that of its parent,

.. math:: b\text{ carries the marks} \iff \exists k:\; t_{p(b)}<\text{end}_k,\ t_b>\text{start}_k

over the courses :math:`k` of the exposure. Together with :math:`t_{p(b)}\le t_b` and the days of
sampling these bound every branching (`bounds`). With several courses each carrying branch may have
met any of them: all assignments are tried, and those that contradict themselves drop out.

Assumptions. (1) The exposure alone leaves the signature. (2) Each mutation lies on its branch: no
branch holds those of another. (3) Its mutations arose in cells of this lineage while these divided.
(4) Only if ``absence_counts``: a lineage that lives through a whole course carries the marks.

That marks are on a shared *and* on a private branch is one statement, whose null hypothesis is
that one of the two lacks them: both tests must reject, and the P value is the larger (`both`;
Berger, Technometrics 1982;24:295). Where the rate of marks was constant while the exposure lasted,
the share of them that lies on the common branch says how far into it the branching was
(`fraction_before`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ballbook.results import Estimate, not_estimable

MAX_ASSIGNMENTS = 100_000


class Contradiction(ValueError):
    """No course of events fits what is said of the branches."""


@dataclass(frozen=True, slots=True)
class Course:
    """One course of the exposure, from `start` to `end` (days)."""

    name: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch of the tree.

    Attributes
    ----------
    name : str
    parent : str or None
        Branch above it; None at the root, which begins at birth or conception (`bounds`).
    carries : bool or None
        Whether it carries the marks; None where that is not known.
    sampled : float or None
        Day of the first sample in which mutations of the branch were seen: it began before that.
        Where `ends` is true the branch ends there.
    ends : bool
        The branch leads to a sample and not to a branching.
    """

    name: str
    parent: str | None
    carries: bool | None = None
    sampled: float | None = None
    ends: bool = False


def bounds(
    branches: Sequence[Branch],
    courses: Sequence[Course],
    *,
    birth: float = -math.inf,
    absence_counts: bool = False,
) -> pd.DataFrame:
    """Return the earliest and latest time at which each branch may end.

    Parameters
    ----------
    branches : sequence of Branch
        A tree, in any order.
    courses : sequence of Course
        Of the exposure.
    birth : float
        Before this nothing happened.
    absence_counts : bool
        Take a branch without marks as one that did not live through a whole course.

    Returns
    -------
    DataFrame
        ``branch, earliest, latest, places``: where the end may lie among the courses, in words.

    Raises
    ------
    ValueError
        For branches that make no tree, or a course that ends before it starts.
    Contradiction
        If nothing fits.
    """
    order = _ordered(branches)
    if any(c.end <= c.start for c in courses):
        raise ValueError("a course must end after it starts")
    choices: list[list[tuple[str, float, str, float]]] = []
    # Each choice: (lower bound of t_b) and (upper bound of t_parent), or for an absence one of two.
    for b in order:
        if b.carries:
            if not courses:
                raise Contradiction(f"{b.name} carries marks of an exposure that never was")
            choices.append([(b.name, c.start, "marks", c.end) for c in courses])
        elif b.carries is False and absence_counts:
            for c in courses:
                choices.append(
                    [(b.name, c.end, "ended", math.nan), (b.name, c.start, "began", math.nan)]
                )
    if math.prod(len(c) for c in choices) > MAX_ASSIGNMENTS:
        raise ValueError("too many branches and courses to try all assignments")
    fitting: list[dict[str, tuple[float, float]]] = []
    for chosen in itertools.product(*choices):
        if (found := _feasible(order, chosen, birth)) is not None:
            fitting.append(found)
    if not fitting:
        raise Contradiction("no course of events fits the marks, the tree and the samples")
    rows = []
    for b in order:
        spans = [f[b.name] for f in fitting]
        rows.append(
            {
                "branch": b.name,
                "earliest": min(s[0] for s in spans),
                "latest": max(s[1] for s in spans),
                "places": ", ".join(_places(spans, courses)),
            }
        )
    return pd.DataFrame(rows)


def _ordered(branches: Sequence[Branch]) -> list[Branch]:
    """Return branches from the root down."""
    by_name = {b.name: b for b in branches}
    if len(by_name) < len(branches):
        raise ValueError("a branch stands twice")
    if unknown := {b.parent for b in branches if b.parent is not None} - set(by_name):
        raise ValueError(f"no branch {', '.join(sorted(map(str, unknown)))}")
    if sum(b.parent is None for b in branches) != 1:
        raise ValueError("a tree has one root")
    order: list[Branch] = []
    wanted = [b for b in branches if b.parent is None]
    while wanted:
        order += wanted
        names = {b.name for b in wanted}
        wanted = [b for b in branches if b.parent in names]
    if len(order) < len(branches):
        raise ValueError("branches go round in a circle")
    return order


def _feasible(
    order: Sequence[Branch], chosen: Sequence[tuple[str, float, str, float]], birth: float
) -> dict[str, tuple[float, float]] | None:
    """Return the bounds of each branch's end under one assignment, or None."""
    low = {b.name: birth for b in order}
    high = {b.name: b.sampled if b.ends and b.sampled is not None else math.inf for b in order}
    start_low, start_high = dict.fromkeys(low, birth), dict.fromkeys(low, math.inf)
    for b in order:
        if b.ends and b.sampled is not None:
            low[b.name] = b.sampled
        if b.sampled is not None:
            start_high[b.name] = b.sampled
    for name, bound, kind, last in chosen:
        if kind == "marks":
            low[name] = max(low[name], bound)
            start_high[name] = min(start_high[name], last)
        elif kind == "ended":
            high[name] = min(high[name], bound)
        else:
            start_low[name] = max(start_low[name], bound)
    # The start of a branch is the end of its parent.
    for b in reversed(order):
        start_high[b.name] = min(start_high[b.name], high[b.name])
        if b.parent is not None:
            high[b.parent] = min(high[b.parent], start_high[b.name])
            low[b.parent] = max(low[b.parent], start_low[b.name])
    for b in order:
        if b.parent is not None:
            low[b.name] = max(low[b.name], low[b.parent])
    root = order[0].name
    if not start_low[root] <= birth <= start_high[root]:
        return None
    if any(low[n] > high[n] for n in low):
        return None
    # A branch that only touches a course did not live through any of it.
    parents = {b.name: b.parent for b in order}
    for name, bound, kind, last in chosen:
        began = parents[name]
        earliest = birth if began is None else low[began]
        if kind == "marks" and (high[name] <= bound or earliest >= last):
            return None
    return {n: (low[n], high[n]) for n in low}


def _places(spans: Sequence[tuple[float, float]], courses: Sequence[Course]) -> list[str]:
    """Return where times may lie among the courses, in words, from early to late."""
    ordered = sorted(courses, key=lambda c: c.start)
    found: list[str] = []
    edge = -math.inf
    stretches: list[tuple[str, float, float]] = []
    for c in ordered:
        if c.start > edge:
            before = "before" if edge == -math.inf else "between courses, before"
            stretches.append((f"{before} {c.name}", edge, c.start))
        stretches.append((f"during {c.name}", c.start, c.end))
        edge = max(edge, c.end)
    stretches.append((f"after {ordered[-1].name}" if ordered else "any time", edge, math.inf))
    for words, first, last in stretches:
        # A bound that only touches a stretch is not in it, unless it is a single day.
        if any((a < last and b > first) or (a == b and first <= a <= last) for a, b in spans):
            found.append(words)
    return found


def both(shared: Estimate, private: Estimate) -> Estimate:
    """Return the P value of marks on both branches: the larger of the two."""
    p = [shared.p_value, private.p_value]
    if p[0] is None or p[1] is None:
        return not_estimable("p-value", "one of the two branches has no test")
    larger = max(p[0], p[1])
    return Estimate(
        "p-value", larger, ci_level=None, p_value=larger,
        n=None if shared.n is None or private.n is None else shared.n + private.n,
        method="intersection-union test: the larger of the two P values",
    )  # fmt: skip


def reading(shared: float, private: float, *, alpha: float, power: Mapping[str, float]) -> str:
    """Return what tests on the branch shared by two lineages and on one private branch say.

    Parameters
    ----------
    shared, private : float
        P values of the presence of marks.
    alpha : float
    power : mapping
        ``shared`` and ``private``: power of these tests against the least share of marks that
        matters. Absence is read only where it is at least 0.8.

    Returns
    -------
    str
        ``during`` (parted while the exposure lasted), ``not before its end`` (marks are shared
        only), ``before its end`` (marks are private only), ``no marks``, or ``undecided``.
    """
    there = {"shared": shared < alpha, "private": private < alpha}
    if all(there.values()):
        return "during"
    lacking = [k for k, v in there.items() if not v]
    if any(power[k] < 0.8 for k in lacking):
        return "undecided"
    if lacking == ["private"]:
        return "not before its end"
    return "before its end" if lacking == ["shared"] else "no marks"


def fraction_before(
    shared: float, private: float, shared_draws: pd.Series, private_draws: pd.Series
) -> Estimate:
    """Return the share of all marks of one lineage that lie on the branch it shares.

    Under a constant rate of marks it is the part of the exposure that had passed when lineages
    parted. Draws are bootstrap exposures of the two branches, which are independent.
    """
    if shared + private <= 0:
        return not_estimable("proportion", "no marks on either branch")
    n = min(len(shared_draws), len(private_draws))
    a = shared_draws.to_numpy(float)[:n]
    b = private_draws.to_numpy(float)[:n]
    total = a + b
    drawn = pd.Series(a[total > 0] / total[total > 0])
    low, high = drawn.quantile([0.025, 0.975])
    return Estimate(
        "proportion", shared / (shared + private), float(low), float(high),
        method=f"share of marks on the shared branch, bootstrap, {n:,} draws",
    )  # fmt: skip

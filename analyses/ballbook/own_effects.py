r"""The effect of one binary marker on an endpoint of a cohort: adjusted, by subgroup, by cause.

**Adjusted.** Cox regression of the marker with covariates, and of the marker alone in the *same*
patients, so that the difference of the two is due to the covariates and not to who has them all. A
covariate that is taken after time zero, such as MRD, counts from its day on: patients are at risk
from then, which removes the time in which they could not have died (immortal time).

**Subgroups.** The hazard ratio in two halves of the cohort, each with a baseline hazard of its own,
and their ratio :math:`\psi=HR_1/HR_0` with
:math:`\operatorname{var}\ln\hat\psi=s_1^2+s_0^2`. This is the Cox model stratified by the subgroup
with a product term. An effect that is "significant" in one subgroup only is no interaction;
:math:`\psi` is the test. The cohort would have seen a ratio beyond
:math:`\exp\{(z_{.975}+z_{.8})\sqrt{s_1^2+s_0^2}\}` with 80% power.

**Causes.** Relapse with every other first event competing: cumulative incidence by Aalen and
Johansen, Gray's test, the subdistribution hazard ratio of Fine and Gray (how many will relapse),
and cause-specific hazard ratios of relapse and of the rest (how fast those still free of events
do). A marker may raise the incidence of relapse only because it lowers the other events, so both
cause-specific ratios belong beside the subdistribution ratio.

With a `min_count` no result rests on fewer patients or events than that in any group that it
compares (see `ballbook.disclosure`), and numbers of events are not given: those of relapse and of
all events differ by the other events.

Anderson, Cain, Gelber, J Clin Oncol 1983;1:710 (landmarks). Altman, Bland, BMJ 2003;326:219
(interaction). Latouche et al, J Clin Epidemiol 2013;66:648 (which hazards to report).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from ballbook import disclosure, gates
from ballbook.competing_risks import (
    CumulativeIncidence,
    cause_specific_cox,
    cumulative_incidence_by,
    fine_gray,
    gray_test,
)
from ballbook.cox import CoxFit, cox
from ballbook.results import Estimate, Gate, not_estimable

RELAPSE = ("relapse", "progression")
# With more events of unknown cause than this no incidence of relapse is given.
UNKNOWN_CAUSES = 0.05
EVENTS_PER_TERM = 5
# Months that a paper would print come first when the points of an incidence are chosen.
LANDMARKS = (60, 36, 24, 12, 120)
REACH = float(stats.norm.isf(0.025) + stats.norm.isf(0.2))
Z = float(stats.norm.isf(0.025))


def late_entry(table: pd.DataFrame) -> pd.Series | None:
    """Return the months at which patients came under observation, None where all did at zero."""
    if "entry_months" not in table:
        return None
    entry = table["entry_months"].fillna(0.0).astype(float)
    return entry if entry.gt(0).any() else None


def too_few(table: pd.DataFrame, marker: str, min_count: int, event: str = "event") -> str | None:
    """Return why a marker's groups may not or cannot be compared, None where they can."""
    groups = table.groupby(marker)[event].agg(["size", "sum"])
    groups = groups.reindex([0.0, 1.0], fill_value=0)
    least = max(min_count, 1)
    for column, what in (("size", "patients"), ("sum", "events")):
        if groups[column].min() < least:
            few = f"withheld: fewer than {least}" if least > 1 else "no"
            return f"{few} {what} in a group"
    return None


def averaged(gate: Gate) -> Gate:
    """Return a gate on proportional hazards with what follows here from its failing."""
    if gate.status != "failed":
        return gate
    action = "an effect changes with time, so its ratio is an average over follow-up"
    return replace(gate, action=action)


def _no_events(e: Estimate, min_count: int) -> Estimate:
    return replace(e, n_events=None) if min_count > 0 else e


# ----------------------------------------------------------------------- adjusted


@dataclass(frozen=True)
class Adjusted:
    """A marker's hazard ratio with and without covariates, in the same patients.

    Attributes
    ----------
    crude, adjusted : Estimate
    terms : DataFrame
        ``term, hr, ci_low, ci_high, p`` of the adjusted model; empty where it was not fitted.
    note : str
        Who is counted, in words without numbers of patients.
    gates : tuple of Gate
    """

    crude: Estimate
    adjusted: Estimate
    terms: pd.DataFrame
    note: str
    gates: tuple[Gate, ...] = ()


def adjusted(
    table: pd.DataFrame,
    marker: str,
    covariates: Sequence[str],
    min_count: int = 0,
    *,
    strata: str | None = None,
    from_month: float = 0.0,
) -> Adjusted:
    """Fit the Cox model of a marker with covariates.

    Parameters
    ----------
    table : DataFrame
        ``time_months``, ``event``, ``entry_months`` where known, the marker (0 or 1) and the
        covariates as numbers; missing leaves the patient out.
    covariates : sequence of str
    min_count : int
        Patients and events needed in each group of the marker.
    strata : str, optional
    from_month : float
        Patients are at risk from here on; those whose time ends before are left out.
    """

    def nothing(reason: str) -> Adjusted:
        none = not_estimable("hazard-ratio", reason)
        columns = ["term", "hr", "ci_low", "ci_high", "p"]
        return Adjusted(none, none, pd.DataFrame(columns=columns), f"{reason}.")

    if not len(covariates):
        return nothing("not given: covariates")
    wanted = [*covariates, *([strata] if strata else [])]
    rows = table[table["time_months"] > from_month] if from_month > 0 else table
    rows, said = rows.reset_index(drop=True), []
    if from_month > 0:
        entry = rows["entry_months"].fillna(0.0) if "entry_months" in rows else 0.0
        rows = rows.assign(entry_months=np.maximum(entry, from_month))
        said.append("Patients are at risk from the day of MRD on.")
    lacking = rows[wanted].isna().any(axis=1)
    if lacking.any():
        rows = rows[~lacking].reset_index(drop=True)
        said.append("Patients who lack a covariate are left out.")
    if why := too_few(rows, marker, min_count):
        return nothing(why)
    varying = [c for c in covariates if rows[c].nunique() > 1]
    events = int(rows["event"].sum())
    if events < EVENTS_PER_TERM * (1 + len(varying)):
        return nothing(f"withheld: fewer than {EVENTS_PER_TERM} events per term")
    by = None if strata is None else rows[strata].astype(str)
    data = rows["time_months"], rows["event"]
    given = rows[[marker, *varying]].astype(float)
    entry_months = late_entry(rows)
    crude = cox(*data, given[[marker]], strata=by, entry=entry_months)
    full = cox(*data, given, strata=by, entry=entry_months)
    shown = full.table[["term", "hr", "ci_low", "ci_high", "p"]]
    checked = (
        gates.events_per_variable(events, given.shape[1]),
        averaged(gates.proportional_hazards(full)),
    )
    first, second = (_no_events(f.hazard_ratio(marker), min_count) for f in (crude, full))
    return Adjusted(first, second, shown, " ".join(said), checked)


# ----------------------------------------------------------------------- subgroups


@dataclass(frozen=True)
class Interaction:
    """A marker's effect in two subgroups.

    Attributes
    ----------
    inside, outside : Estimate
        Hazard ratio in the subgroup and in the rest.
    ratio : Estimate
        The first over the second, with the P value of the interaction.
    detectable : Estimate
        Ratio that would have been seen with 80% power; below 1, its inverse.
    """

    inside: Estimate
    outside: Estimate
    ratio: Estimate
    detectable: Estimate


def interaction(
    table: pd.DataFrame, marker: str, subgroup: pd.Series, min_count: int = 0
) -> Interaction:
    """Compare a marker's hazard ratio between a subgroup and the rest.

    Parameters
    ----------
    table : DataFrame
        As for `adjusted`.
    subgroup : Series
        1, 0 or missing, aligned with `table`.
    min_count : int
        Patients and events needed in each of the four groups.
    """
    subgroup = subgroup.astype(float)
    known = int(subgroup.notna().sum())
    found: list[Estimate] = []
    for value in (1.0, 0.0):
        rows = table[subgroup == value].reset_index(drop=True)
        why = "nobody is known to be in the subgroup" if rows.empty else too_few(
            rows, marker, min_count
        )  # fmt: skip
        if why:
            found.append(not_estimable("hazard-ratio", why))
            continue
        fit = cox(
            rows["time_months"], rows["event"], rows[[marker]].astype(float),
            entry=late_entry(rows),
        )  # fmt: skip
        e = fit.hazard_ratio(marker)
        if min_count > 0:
            # Two subgroups with their sizes would give the number of those in neither.
            n = e.n if disclosure.apart(len(table), known, min_count) else None
            e = replace(e, n=n, n_events=None)
        found.append(e)
    inside, outside = found
    if inside.value is None or outside.value is None:
        missing = inside if inside.value is None else outside
        none = not_estimable("hazard-ratio", missing.reason or "no estimate in a subgroup")
        return Interaction(inside, outside, none, none)
    (y1, s1), (y0, s0) = (_log(e) for e in (inside, outside))
    gap, se = y1 - y0, math.hypot(s1, s0)
    p = float(2 * stats.norm.sf(abs(gap) / se))
    ratio = Estimate(
        "hazard-ratio", math.exp(gap), math.exp(gap - Z * se), math.exp(gap + Z * se), p_value=p,
        statistic=gap / se, method="ratio of the hazard ratios of two subgroups, normal test",
    )  # fmt: skip
    detectable = Estimate(
        "hazard-ratio", math.exp(REACH * se), ci_level=None,
        method="ratio of hazard ratios seen with 80% power, from the two standard errors",
    )  # fmt: skip
    return Interaction(inside, outside, ratio, detectable)


def _log(e: Estimate) -> tuple[float, float]:
    """Return the logarithm of a Wald hazard ratio and its standard error."""
    assert e.value is not None and e.ci_low is not None and e.ci_high is not None
    return math.log(e.value), math.log(e.ci_high / e.ci_low) / (2 * Z)


# ----------------------------------------------------------------------- causes


@dataclass(frozen=True)
class Causes:
    """Relapse and the events that compete with it, by a marker.

    Attributes
    ----------
    incidence : dict
        Group name to the cumulative incidence of relapse at the horizon.
    gray : Estimate
        P value of Gray's test.
    subdistribution, relapse, other : Estimate
        Hazard ratios: of Fine and Gray, and cause-specific of relapse and of other events.
    curves : dict
        Group name to cause (1 relapse, 2 other) to curve; empty where they may not be shown.
    note : str
    gates : tuple of Gate
    """

    incidence: dict[str, Estimate]
    gray: Estimate
    subdistribution: Estimate
    relapse: Estimate
    other: Estimate
    curves: dict[str, dict[int, CumulativeIncidence]]
    note: str
    gates: tuple[Gate, ...] = ()


def causes(table: pd.DataFrame) -> pd.Series:
    """Return 0 censored, 1 relapse or progression, 2 any other event, missing where not stated."""
    if "event_type" not in table:
        return pd.Series(np.where(table["event"] == 1, np.nan, 0.0), table.index)
    kind = table["event_type"].astype(object)
    known = np.select([kind.isin(RELAPSE), kind.notna() & (kind != "none")], [1.0, 2.0], np.nan)
    return pd.Series(np.where(table["event"] == 1, known, 0.0), table.index)


def by_cause(
    table: pd.DataFrame,
    marker: str,
    names: Mapping[float, str],
    horizon_months: float,
    min_count: int = 0,
) -> Causes:
    """Compare relapse, with other first events competing, between the groups of a marker.

    Parameters
    ----------
    table : DataFrame
        As for `adjusted`, with ``event_type``. Events without a type count as other than relapse
        where they are at most `UNKNOWN_CAUSES` of all; beyond that nothing is estimated.
    names : mapping
        Marker value (0, 1) to the name of the group.
    horizon_months : float
        When the incidence is read.
    min_count : int
        Relapses needed in each group, other events in both together; the incidence of a group is
        given where both kinds are as many in it by then.
    """

    def nothing(reason: str) -> Causes:
        none = not_estimable("hazard-ratio", reason)
        levels = {g: not_estimable("cumulative-incidence", reason) for g in names.values()}
        p = not_estimable("p-value", reason)
        return Causes(levels, p, none, none, none, {}, f"{reason}.")

    if table.empty:
        return nothing("not given: patients with this endpoint")
    cause = causes(table)
    unknown = cause.isna()
    if unknown.sum() > UNKNOWN_CAUSES * max(int(table["event"].sum()), 1):
        return nothing("not given: what the events were (event_type)")
    if late_entry(table) is not None:
        return nothing("patients entered late, which Gray's test and Fine-Gray do not allow for")
    rows = table.assign(cause=cause.fillna(2.0).astype(int)).reset_index(drop=True)
    rows = rows.assign(relapsed=(rows["cause"] == 1).astype(int))
    if why := too_few(rows, marker, min_count, "relapsed"):
        return nothing(why.replace("events", "relapses"))
    if int((rows["cause"] == 2).sum()) < min_count:
        return nothing(f"withheld: fewer than {min_count} other events")
    group = rows[marker].map(dict(names))
    data = rows["time_months"], rows["cause"]
    x = rows[[marker]].astype(float)
    curves = cumulative_incidence_by(*data, group, causes={1: "relapse", 2: "other"})
    levels = {g: _level(curves[g], horizon_months, min_count) for g in names.values()}
    relapse = cause_specific_cox(*data, x, of=1)
    other: Estimate = not_estimable("hazard-ratio", "withheld: few other events in a group")
    rows = rows.assign(otherwise=(rows["cause"] == 2).astype(int))
    if too_few(rows, marker, min_count, "otherwise") is None:
        other = cause_specific_cox(*data, x, of=2).hazard_ratio(marker)
    ratios = fine_gray(*data, x, of=1).hazard_ratio(marker), relapse.hazard_ratio(marker), other
    subdistribution, specific, rest = (_no_events(e, min_count) for e in ratios)
    note = "Every first event other than relapse or progression competes."
    if unknown.any():
        note += " A few events without a stated cause count as competing."
    return Causes(
        levels, _no_events(gray_test(*data, group), min_count), subdistribution, specific, rest,
        curves, note, (_competing(rows["cause"]), _hazards(relapse)),
    )  # fmt: skip


def _competing(cause: pd.Series) -> Gate:
    found = gates.competing_events(cause)
    if found.status != "failed":
        return found
    said = "other first events prevent relapse: Aalen-Johansen, Gray and Fine-Gray are used"
    return replace(found, action=said)


def _hazards(fit: CoxFit) -> Gate:
    found = averaged(gates.proportional_hazards(fit))
    return replace(found, name=f"{found.name}, relapse")


def _level(curves: Mapping[int, CumulativeIncidence], at: float, min_count: int) -> Estimate:
    found = curves[1].at(at)
    if min_count <= 0 or found.value is None:
        return (
            found if min_count <= 0 else replace(found, n=None, n_events=None, reason="not reached")
        )
    if at not in shown_months(curves[1], min_count, at):
        reason = f"withheld: fewer than {min_count} patients or events"
        return not_estimable("cumulative-incidence", reason)
    return replace(found, n_events=None)


def shown_months(curve: CumulativeIncidence, min_count: int, first: float = 60) -> list[float]:
    """Return the months at which a cumulative incidence may be shown, 0 first.

    Both relapses and other events between any two of them, and before the first, are at least
    `min_count`, and as many patients are under observation: the incidence of one cause depends on
    the events of all. `first` and then `LANDMARKS` are taken where they can be.

    Parameters
    ----------
    curve : CumulativeIncidence
        Without late entry.
    """
    t = curve.table
    last = math.floor(float(t["time"].iloc[-1]))
    if min_count <= 0:
        return [float(m) for m in range(last + 1)]

    def counted(month: float) -> tuple[int, int]:
        past = t[t["time"] <= month]
        return int(past["n_event"].sum()), int(past["n_other"].sum())

    def left(month: float) -> int:
        after = t[t["time"] > month]
        return int(after["n_risk"].iloc[0]) if len(after) else 0

    chosen: dict[float, tuple[int, int]] = {0.0: (0, 0)}
    for month in [m for m in (first, *LANDMARKS, *range(1, last + 1)) if m <= last]:
        events = counted(month)
        gaps = [abs(a - b) for e in chosen.values() for a, b in zip(events, e, strict=True)]
        if min(gaps) >= min_count and left(month) >= min_count:
            chosen[float(month)] = events
    return sorted(chosen)


def shown_incidence(
    curve: CumulativeIncidence, min_count: int, first: float = 60
) -> pd.DataFrame | None:
    """Return ``months, incidence, ci_low, ci_high`` at `shown_months`, None where only zero is."""
    rows = []
    for month in shown_months(curve, min_count, first)[1:]:
        e = disclosure.coarse(curve.at(month)) if min_count > 0 else curve.at(month)
        rows.append((month, e.value, e.ci_low, e.ci_high))
    if not rows:
        return None
    columns = ["months", "incidence", "ci_low", "ci_high"]
    return pd.DataFrame([(0.0, 0.0, None, None), *rows], columns=columns).astype(float)

r"""Lineage switches as events: how often they come, in print and in a reader's cohort.

A number of switches needs the patients among whom they were looked for: all diagnosed, all treated,
all who relapsed. The three answer different questions and are never pooled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ballbook import disclosure
from ballbook.cohort import Cohort
from ballbook.competing_risks import cumulative_incidence
from ballbook.contingency import odds_ratio, proportion
from ballbook.inputs import as_count, as_number
from ballbook.meta_analysis import rare_counts_glmm
from ballbook.mrd import kmt2a_rearranged
from ballbook.multistate import StateOccupation, intervals, state_occupation
from ballbook.results import Estimate, not_estimable
from ballbook.survival import normal_quantile
from ballbook.white_count import SAME_MONTHS

SWITCH = "lineage-switch"
KINDS = {SWITCH: 1, "relapse": 2, "progression": 2}
AFTER = ("relapsed", "switched", "other event")
FREE, DEAD = "event-free", "dead"


# ------------------------------------------------------------------------------------- print


def risk_in_group(
    switched: tuple[int, int],
    of_group: tuple[int, int],
    fraction: float,
    *,
    ci_level: float = 0.95,
) -> Estimate:
    r"""Return the risk in a group from the risk of all and the group's share of the cases.

    By Bayes' rule, with :math:`r = k/n` the risk of all, :math:`s = m/j` the share of the group
    among those who switched, and :math:`q` its share among all,

    .. math:: r_g = \frac{r s}{q}, \qquad
        \operatorname{var}(\ln r_g) = \frac{1 - r}{k} + \frac{1 - s}{m}

    with :math:`q` taken as known. The interval is on the log scale, cut off at 1.

    Parameters
    ----------
    switched : (int, int)
        Switches and patients.
    of_group : (int, int)
        Switches in the group and switches whose group is known.
    fraction : float
        :math:`q`, a fraction above 0 and up to 1.

    Returns
    -------
    Estimate
        ``kind="proportion"``; without a value where there are no such switches, or where the three
        numbers cannot all hold for one population (risk above 1).
    """
    k, n = (as_count(v, "switched") for v in switched)
    m, j = (as_count(v, "of_group") for v in of_group)
    if k > n or m > j or not n or not j:
        raise ValueError(f"{k} of {n} and {m} of {j} are not counts of patients")
    if not 0 < as_number(fraction, "fraction") <= 1:
        raise ValueError(f"fraction is {fraction}, expected above 0 and up to 1")
    method = "Bayes' rule, log-scale interval"
    if k == 0 or m == 0:
        return not_estimable("proportion", "no switches in the group", method=method)
    r, s = k / n, m / j
    risk = r * s / fraction
    if risk > 1:
        return not_estimable(
            "proportion", f"a share of {fraction:g} is too small for {k} of {n} and {m} of {j}",
            method=method,
        )  # fmt: skip
    se = math.sqrt((1 - r) / k + (1 - s) / m)
    spread = math.exp(normal_quantile(ci_level) * se)
    return Estimate(
        "proportion", risk, risk / spread, min(1.0, risk * spread), ci_level=ci_level, method=method
    )


def patients_to_see_one(risk: float, confidence: float = 0.95) -> int:
    r"""Return how many patients make one switch or more as probable as `confidence`.

    :math:`\lceil \ln(1-c) / \ln(1-r) \rceil`: the smallest series that could have told a risk of
    :math:`r` from none.
    """
    if not (0 < as_number(risk, "risk") < 1 and 0 < as_number(confidence, "confidence") < 1):
        raise ValueError(f"risk {risk} and confidence {confidence} should lie between 0 and 1")
    return math.ceil(math.log1p(-confidence) / math.log1p(-risk) - 1e-12)


def with_silent_cohorts(
    switches: Sequence[int], patients: Sequence[int], silent: Sequence[int]
) -> pd.DataFrame:
    """Return the risk when cohorts that saw no switch are added, one after another.

    Parameters
    ----------
    switches, patients : sequences of int
        The cohorts that were reported.
    silent : sequence of int
        Patients of each cohort without a switch that was not.

    Returns
    -------
    DataFrame
        One row per number of silent cohorts from 0: ``cohorts, patients, crude, crude_low,
        crude_high`` (exact, as if all were one cohort), ``glmm, glmm_low, glmm_high`` (the median
        cohort of `rare_counts_glmm`).
    """
    rows = []
    for extra in range(len(silent) + 1):
        k, n = [*switches, *[0] * extra], [*patients, *silent[:extra]]
        crude, model = proportion(sum(k), sum(n)), rare_counts_glmm(k, n).pooled
        rows.append(
            {
                "cohorts": extra, "patients": sum(silent[:extra]), "crude": crude.value,
                "crude_low": crude.ci_low, "crude_high": crude.ci_high, "glmm": model.value,
                "glmm_low": model.ci_low, "glmm_high": model.ci_high,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


# ------------------------------------------------------------------------------------ cohorts


def first_events(cohort: Cohort, endpoint: str) -> pd.DataFrame:
    """Return the first event of each patient: a switch, another relapse, or anything else.

    Returns
    -------
    DataFrame
        Columns of ``patients``, ``time`` (months), ``cause`` (0 censored, 1 lineage switch, 2
        relapse or progression, 3 another event), ``entry``, and ``kmt2a`` (1, 0 or missing). Events
        whose kind is not told have a missing cause.

    Raises
    ------
    KeyError
        If the cohort has no such endpoint.
    """
    rows = cohort.endpoint(endpoint).drop_duplicates("patient_id").reset_index(drop=True)
    kind = rows["event_type"] if "event_type" in rows else pd.Series(np.nan, rows.index)
    kind = kind.where(kind != "none")
    told = pd.Series(False, rows.index)
    for column in ("subtype", "kmt2a_r", "fusion_partner"):
        if column in rows:
            told |= rows[column].notna()
    cause = kind.map(lambda v: KINDS.get(v, 3), na_action="ignore").astype(float)
    return rows.assign(
        time=rows["time_months"].astype(float),
        cause=cause.where(rows["event"] == 1, 0.0),
        entry=rows["entry_months"].fillna(0.0) if "entry_months" in rows else 0.0,
        kmt2a=kmt2a_rearranged(rows).astype(float).where(told),
    )


@dataclass(frozen=True)
class OwnSwitches:
    """Switches of a cohort.

    Attributes
    ----------
    steps : list of (label, n, why)
    estimates : dict
        ``of-relapses`` (switches among relapses of either kind), ``of-patients``,
        ``incidence`` (cumulative, at the horizon), ``odds-kmt2a`` (odds that a relapse is a switch,
        with the rearrangement v without); without a value where small counts forbid one.
    gone : int
        Events whose kind is not told.
    """

    steps: list[tuple[str, int, str]]
    estimates: dict[str, Estimate]
    gone: int


def own_switches(cohort: Cohort, endpoint: str, horizon: float, min_count: int) -> OwnSwitches:
    """Count the lineage switches of a reader's cohort against each denominator it has.

    Late entry is respected in the incidence; the two shares count first events as they are.
    """
    rows = first_events(cohort, endpoint)
    known = rows[rows["cause"].notna()]
    switch, relapse = known["cause"] == 1, known["cause"].isin([1, 2])
    steps = [
        ("patients in the file", cohort.n, ""),
        (f"with {endpoint}", len(rows), "no time or no event"),
        ("whose event, if any, is named", len(known), "an event of unknown kind"),
    ]
    empty = not_estimable("proportion", "no patients")
    found = {
        "of-relapses": proportion(int(switch.sum()), int(relapse.sum()))
        if relapse.any()
        else empty,
        "of-patients": proportion(int(switch.sum()), len(known)) if len(known) else empty,
        "incidence": not_estimable("cumulative-incidence", "no lineage switch"),
        "odds-kmt2a": not_estimable("odds-ratio", "KMT2A is not known of both kinds of relapse"),
    }
    if switch.any():
        curve = cumulative_incidence(
            known["time"], known["cause"].astype(int), causes={1: "lineage switch", 2: "", 3: ""},
            entry=known["entry"],
        )[1]  # fmt: skip
        at = curve.at(horizon)
        found["incidence"] = disclosure.withhold(
            at, min_count, left=int((known["time"] >= horizon).sum())
        )
    told = known[relapse & known["kmt2a"].notna()]
    a, b, c, d = (
        int(((told["kmt2a"] == g) & ((told["cause"] == 1) == s)).sum())
        for g in (1, 0)
        for s in (True, False)
    )
    if a + b and c + d and a + c:
        e = odds_ratio(a, b, c, d)
        few = min_count > 0 and min(a, b, c, d) < min_count
        found["odds-kmt2a"] = (
            disclosure.bare(e, f"withheld: a cell below {min_count}") if few else e
        )
    return OwnSwitches(steps, found, len(rows) - len(known))


def course(cohort: Cohort, endpoint: str) -> pd.DataFrame:
    """Return when each patient entered each state, from the kinds of events and overall survival.

    A switch that follows a relapse stands where overall survival less survival after the switch
    puts it. Left out are patients without overall survival and those whose event is of no told
    kind. Overall survival up to `SAME_MONTHS` shorter than the time of the event counts as
    rounding, and is lengthened to it; an event later than that is not counted.

    Returns
    -------
    DataFrame
        ``patient_id, entry, end`` and the time of entering ``relapsed``, ``switched``, ``other
        event`` and ``dead`` (missing: never); columns of ``patients``.

    Raises
    ------
    KeyError
        If the cohort lacks `endpoint` or overall survival.
    """
    rows = first_events(cohort, endpoint)
    os = cohort.endpoint("OS").drop_duplicates("patient_id").set_index("patient_id")
    rows = rows[rows["cause"].notna() & rows["patient_id"].isin(os.index)].reset_index(drop=True)
    end, died = (rows["patient_id"].map(os[c]).astype(float) for c in ("time_months", "event"))
    end = end.where(~end.between(rows["time"] - SAME_MONTHS, rows["time"]), rows["time"])
    kind = rows["event_type"] if "event_type" in rows else pd.Series(np.nan, rows.index)
    entered = pd.DataFrame(
        {
            "relapsed": rows["time"].where(rows["cause"] == 2),
            "switched": rows["time"].where(rows["cause"] == 1),
            "other event": rows["time"].where((rows["cause"] == 3) & (kind != "death")),
        }
    )
    assert cohort.outcomes is not None
    if "OS after switch" in set(cohort.outcomes["endpoint"]):
        after = cohort.endpoint("OS after switch").drop_duplicates("patient_id")
        later = end - rows["patient_id"].map(after.set_index("patient_id")["time_months"])
        later = later.where((rows["cause"] == 2) & (later > rows["time"]))
        entered["switched"] = entered["switched"].fillna(later)
    entered = entered.where(entered.le(end, axis=0))
    entered[DEAD] = end.where(died == 1)
    entry = rows["entry"].where(rows["entry"] < end, 0.0)
    kept = rows[cohort.patients.columns.intersection(rows.columns)]
    return pd.concat([kept, pd.DataFrame({"entry": entry, "end": end}), entered], axis=1)


def groups_of_states(by_then: pd.Series, min_count: int) -> dict[str, str] | None:
    """Return under which name each state after an event may be shown of a reader's patients.

    Parameters
    ----------
    by_then : Series of int
        Patients who entered each state (`AFTER` and `DEAD`).
    min_count : int
        States with fewer are merged; if those are too few together, with ``relapsed`` before
        ``switched``, which is shown by itself where it can be.

    Returns
    -------
    dict or None
        None where even all together, or the deaths, are too few.
    """
    small = [name for name in AFTER if by_then[name] < min_count]
    for name in ("relapsed", "other event", "switched"):
        if small and by_then[small].sum() < min_count and name not in small:
            small.append(name)
    if by_then[DEAD] < min_count or (small and by_then[small].sum() < min_count):
        return None
    merged = "after relapse or other event" if "relapsed" in small else "after another event"
    return {name: merged if name in small else name for name in AFTER}


def states_of(
    courses: pd.DataFrame, groups: dict[str, str] | None = None, *, label: str | None = None
) -> StateOccupation:
    """Return the probabilities of the states of `course`; `groups` merges those after an event.

    Raises
    ------
    ValueError
        If `courses` has no row.
    """
    names = groups or {name: name for name in AFTER}
    entered = pd.DataFrame(
        {
            new: courses[[old for old in AFTER if names[old] == new]].min(axis=1)
            for new in dict.fromkeys(names.values())
        }
    )
    entered[DEAD] = courses[DEAD]
    stays = intervals(
        courses["patient_id"], entered, courses["end"], initial=FREE, entry=courses["entry"]
    )
    return state_occupation(stays, [FREE, *entered.columns], label=label)

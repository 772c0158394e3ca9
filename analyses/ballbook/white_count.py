"""Relapse by the white count at diagnosis, with death before relapse as a competing event.

For one cohort: cumulative incidence on both sides of a cut-off (Aalen-Johansen) with Gray's test,
Fine-Gray and cause-specific Cox regression on the cut-off and on the logarithm of the count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ballbook import disclosure, gates
from ballbook.cohort import Cohort
from ballbook.competing_risks import (
    CumulativeIncidence,
    cause_specific_cox,
    cumulative_incidence_by,
    fine_gray,
    gray_test,
)
from ballbook.contingency import proportion
from ballbook.cox import cox, firth_cox
from ballbook.results import Estimate, Gate, not_estimable

RELAPSE = ("relapse", "progression", "lineage-switch")
# Two dates of one event may differ by a clinic visit.
SAME_MONTHS = 0.5
HIGH, LOW = "at or above", "below"
CUTOFFS = (15.0, 30.0, 50.0, 70.0, 100.0)
KINDS = {
    "share": "proportion", "cir-high": "cumulative-incidence", "cir-low": "cumulative-incidence",
    "gray": "p-value", "shr": "hazard-ratio", "chr": "hazard-ratio",
    "shr-doubling": "hazard-ratio", "chr-doubling": "hazard-ratio",
    "shr-adjusted": "hazard-ratio",
}  # fmt: skip


def first_events(cohort: Cohort, endpoint: str) -> tuple[pd.DataFrame, bool]:
    """Return the first event of each patient who has `endpoint`, and whether deaths are known.

    The type of an event tells whether it is a relapse (`RELAPSE`) or another. Without a type it is
    a relapse where the endpoint is CIR; elsewhere overall survival tells: a death within
    `SAME_MONTHS` of the event makes it a death, anything else a relapse. A patient censored for CIR
    who died by then (within `SAME_MONTHS`) has died without relapse.

    Returns
    -------
    DataFrame
        Columns of ``patients``, ``time`` (months), ``cause`` (0 censored, 1 relapse, 2 another
        event first), ``entry``; cause is missing where the kind of an event is not known, or a
        relapse follows a death.
    bool
        Types or overall survival are given, so that deaths without relapse can be counted.

    Raises
    ------
    KeyError
        If the cohort has no such endpoint.
    """
    rows = cohort.endpoint(endpoint).drop_duplicates("patient_id").reset_index(drop=True)
    happened = rows["event"] == 1
    kind = rows["event_type"] if "event_type" in rows else pd.Series(np.nan, rows.index)
    kind = kind.where(kind != "none")
    time, cause = rows["time_months"].astype(float), happened.astype(float)
    typed = happened & kind.notna()
    cause[typed] = np.where(kind[typed].isin(RELAPSE), 1.0, 2.0)
    untyped = happened & kind.isna()
    given = set() if cohort.outcomes is None else set(cohort.outcomes["endpoint"])
    if "OS" in given:
        os = cohort.endpoint("OS").drop_duplicates("patient_id").set_index("patient_id")
        died = rows["patient_id"].map(os["event"]).astype(float)
        until = rows["patient_id"].map(os["time_months"]).astype(float)
        dead_by_then = (died == 1) & (until <= time + SAME_MONTHS)
        if endpoint != "CIR":
            here = dead_by_then & (until >= time - SAME_MONTHS)
            cause[untyped] = np.where(died[untyped].isna(), np.nan, np.where(here[untyped], 2, 1))
        silent = (cause == 0) & dead_by_then
        cause[silent] = 2.0
        time = time.where(~silent, time.combine(until, min))
        cause[(cause == 1) & (died == 1) & (until < time - SAME_MONTHS)] = np.nan
    elif endpoint != "CIR":
        cause[untyped] = np.nan
    entry = rows["entry_months"].fillna(0.0) if "entry_months" in rows else 0.0
    found = rows.assign(time=time, cause=cause, entry=entry)
    return found, bool("OS" in given or typed.any())


@dataclass(frozen=True)
class OwnRelapse:
    """Relapse of a cohort by the white count.

    Attributes
    ----------
    steps : list of (label, n, why)
        Who is counted, small steps merged (`ballbook.disclosure.flow`).
    estimates : dict
        By the names of `KINDS`: ``share`` at or above the cut-off, ``cir-high`` and ``cir-low`` at
        the horizon, ``gray``, ``shr`` and ``chr`` by the cut-off, both per doubling of the count,
        and ``shr-adjusted`` for the covariates; without a value where small counts or missing
        data forbid one.
    curves : dict
        Group to cumulative incidence of relapse; empty where a group is too small to be shown.
    gates : tuple of Gate
    note : str
    table : DataFrame
        The patients counted. Never shown.
    """

    steps: list[tuple[Any, ...]]
    estimates: dict[str, Estimate]
    curves: dict[str, CumulativeIncidence]
    gates: tuple[Gate, ...]
    note: str
    table: pd.DataFrame = field(default_factory=pd.DataFrame)


def own_relapse(
    cohort: Cohort,
    endpoint: str,
    cutoff: float,
    horizon: float,
    min_count: int = 0,
    covariates: Sequence[str] = ("age_years", "cns"),
) -> OwnRelapse:
    """Analyse relapse by the white count, at a cut-off and as a continuous number.

    Parameters
    ----------
    cohort : Cohort
        ``patients`` with ``wbc_10e9_per_l``, and outcomes.
    endpoint : str
        As `first_events`.
    cutoff : float
        In 10^9/L; a count equal to it is high.
    horizon : float
        Months at which the incidences are read.
    min_count : int
        No group, and no number of relapses in a group, below this is shown or can be worked out.
    covariates : sequence of str
        Of those the cohort has: age in decades, and CNS2 or CNS3 against CNS1.
    """

    def nothing(reason: str, steps: list[tuple[Any, ...]]) -> OwnRelapse:
        found = {name: not_estimable(kind, reason) for name, kind in KINDS.items()}
        return OwnRelapse(steps, found, {}, (), f"{reason[0].upper()}{reason[1:]}.")

    whole: list[tuple[Any, ...]] = [("patients in the file", cohort.n)]
    if "wbc_10e9_per_l" not in cohort.patients:
        return nothing("not given: white count (column wbc_10e9_per_l)", whole)
    if lacking := cohort.lacks(endpoint):
        return nothing(lacking, whole)
    if endpoint.startswith("OS"):
        return nothing(f"{endpoint} holds no relapse: name CIR, EFS, DFS or RFS", whole)
    timed, deaths_known = first_events(cohort, endpoint)
    known = timed.dropna(subset=["cause"])
    table = known[known["wbc_10e9_per_l"] > 0].reset_index(drop=True)
    steps = disclosure.flow(
        [*whole, (f"with {endpoint}", len(timed), f"no time or no event for {endpoint}"),
         ("whose first event is known", len(known), "kind not known, or dead before relapse"),
         ("with a white count", len(table), "white count not known")],
        min_count,
    )  # fmt: skip
    time, cause = table["time"], table["cause"].astype(int)
    high = table["wbc_10e9_per_l"] >= cutoff
    group = pd.Series(np.where(high, HIGH, LOW), table.index)
    late = table["entry"] if table["entry"].gt(0).any() else None
    relapses = int((cause == 1).sum())
    reason = _too_few(high, cause, min_count)
    if relapses == 0:
        return nothing("nobody relapsed" if min_count <= 0 else reason or "too few", steps)
    log2 = np.log2(table["wbc_10e9_per_l"]).rename("doubling").to_frame()
    found = {name: not_estimable(kind, reason or "") for name, kind in KINDS.items()}
    found |= {"shr-doubling": _subdistribution(time, cause, log2, "doubling", late),
              "chr-doubling": _cause_specific(time, cause, log2, "doubling", late)}  # fmt: skip
    curves: dict[str, CumulativeIncidence] = {}
    competing = gates.competing_events(cause)
    if competing.status == "failed":
        how = "others had another event first: Aalen-Johansen, Gray and Fine-Gray are reported"
        competing = replace(competing, action=how)
    checked = [competing, gates.left_truncation(table["entry"])]
    note = "" if deaths_known else "Deaths without relapse are not known and count as censored. "
    if reason is None:
        x = high.astype(float).rename("high").to_frame()
        both = cumulative_incidence_by(
            time, cause, group, causes={1: "relapse", 2: "other"}, entry=late
        )
        curves = {g: both[g][1] for g in (HIGH, LOW)}
        found["share"] = proportion(int(high.sum()), len(table))
        found["cir-high"] = incidence_at(curves[HIGH], horizon, min_count)
        found["cir-low"] = incidence_at(curves[LOW], horizon, min_count)
        found["gray"] = (
            gray_test(time, cause, group)
            if late is None
            else not_estimable("p-value", "Gray's test takes no late entry")
        )
        found["shr"] = _subdistribution(time, cause, x, "high", late)
        found["chr"] = _cause_specific(time, cause, x, "high", late)
        terms = _covariates(table, covariates)
        complete = terms.notna().all(axis=1)
        found["shr-adjusted"] = not_estimable("hazard-ratio", "not given: age or CNS status")
        if terms.shape[1] and complete.any():
            why = _too_few(high[complete], cause[complete], min_count)
            adjusted = pd.concat([x, terms], axis=1)[complete]
            found["shr-adjusted"] = (
                not_estimable("hazard-ratio", why)
                if why
                else _subdistribution(
                    time[complete], cause[complete], adjusted, "high",
                    None if late is None else late[complete],
                )
            )  # fmt: skip
            note += f"Adjusted for {' and '.join(WORDS[str(c)] for c in terms)}. "
            enough = gates.events_per_variable(relapses, 1 + terms.shape[1])
            few = "too few relapses for the adjusted model: its ratio is likely to be exaggerated"
            many = "enough relapses for the adjusted model"
            checked.append(replace(enough, action=few if enough.status == "failed" else many))
        fit = cause_specific_cox(time, cause, x, entry=late)
        if not fit.reasons:
            checked.append(gates.proportional_hazards(fit))
        checked.append(gates.minimum_group_size(group, minimum=10))
    told = tuple(replace(g, name=f"Your cohort: {g.name[0].lower()}{g.name[1:]}") for g in checked)
    return OwnRelapse(steps, found, curves, told, note.strip(), table)


WORDS = {"age": "age", "cns": "CNS status"}


def _too_few(high: pd.Series, cause: pd.Series, min_count: int) -> str | None:
    """Return why two groups may not be compared, or None."""
    for what, counted in (("patients", high.notna()), ("relapses", cause == 1)):
        first, both = int((counted & high).sum()), int(counted.sum())
        if disclosure.shown_count(first, both, min_count) is None:
            return f"withheld: fewer than {min_count} {what} in a group"
        if what == "patients" and first in (0, both):
            return "all patients are on one side of the cut-off"
    return None


def _covariates(table: pd.DataFrame, wanted: Sequence[str]) -> pd.DataFrame:
    """Return the covariates that half the patients have and that vary among these."""
    found = pd.DataFrame(index=table.index)
    if "age_years" in wanted and "age_years" in table:
        found["age"] = table["age_years"].astype(float) / 10
    if "cns" in wanted and "cns" in table:
        cns = table["cns"]
        found["cns"] = cns.isin(["CNS2", "CNS3"]).astype(float).where(cns.notna())
    usable = [c for c in found if found[c].notna().mean() >= 0.5 and found[c].nunique() > 1]
    return found[usable]


def _subdistribution(
    time: pd.Series, cause: pd.Series, x: pd.DataFrame, term: str, entry: pd.Series | None
) -> Estimate:
    if entry is not None:
        return not_estimable("hazard-ratio", "the Fine-Gray model takes no late entry")
    try:
        return fine_gray(time, cause, x).hazard_ratio(term)
    except ValueError as refused:
        return not_estimable("hazard-ratio", str(refused).split("\n")[0])


def _cause_specific(
    time: pd.Series, cause: pd.Series, x: pd.DataFrame, term: str, entry: pd.Series | None
) -> Estimate:
    """Return a cause-specific ratio, with Firth's penalty where there is no maximum."""
    try:
        e = cause_specific_cox(time, cause, x, entry=entry).hazard_ratio(term)
        return (
            e
            if e.value is not None
            else firth_cox(time, cause == 1, x, entry=entry).hazard_ratio(term)
        )
    except ValueError as refused:
        return not_estimable("hazard-ratio", str(refused).split("\n")[0])


def incidence_at(curve: CumulativeIncidence, t: float, min_count: int) -> Estimate:
    """Return an incidence at `t`, withheld where it rests on too few relapses or patients."""
    e = curve.at(t)
    return disclosure.withhold(e, min_count, left=_left(curve, t)) if min_count > 0 else e


def _left(curve: CumulativeIncidence, t: float) -> int:
    """Return the fewest patients at risk at a relapse up to `t`, and just after `t`."""
    rows = curve.table
    past = rows[(rows["time"] <= t) & (rows["n_event"] > 0)]["n_risk"]
    after = rows[rows["time"] > t]["n_risk"]
    return int(min([*past, after.iloc[0] if len(after) else 0]))


def incidence_points(curve: CumulativeIncidence, min_count: int) -> pd.DataFrame:
    """Return the points of a curve that may be shown, at whole months, month 0 first.

    Each rests on `min_count` patients and lies as many relapses from every other; 0 shows all.

    Returns
    -------
    DataFrame
        ``months, incidence, ci_low, ci_high``.
    """
    last = int(np.floor(curve.table["time"].iloc[-1]))
    times = curve.table["time"].to_numpy()
    relapses = np.concatenate([[0], np.cumsum(curve.table["n_event"])]).astype(int)
    seen = {t: int(relapses[np.searchsorted(times, t, side="right")]) for t in range(last + 1)}
    chosen = [0]
    for t in [*(t for t in disclosure.LANDMARKS if t <= last), *range(1, last + 1)]:
        apart = all(abs(seen[t] - seen[c]) >= min_count for c in chosen)
        if t not in chosen and apart and (min_count <= 0 or _left(curve, t) >= min_count):
            chosen.append(t)
    rows = []
    for t in sorted(chosen):
        e = curve.at(t)
        three = (lambda v: v) if min_count <= 0 else disclosure.three
        rows.append({"months": t, "incidence": three(e.value), "ci_low": three(e.ci_low),
                     "ci_high": three(e.ci_high)})  # fmt: skip
    return pd.DataFrame(rows).astype(float)


def profile(
    table: pd.DataFrame, cutoffs: Sequence[float], chosen: float, min_count: int
) -> pd.DataFrame:
    """Return the Fine-Gray ratio of relapse at each of several cut-offs.

    Parameters
    ----------
    table : DataFrame
        Of `OwnRelapse`.
    cutoffs : sequence of float
    chosen : float
        Always taken first; another cut-off stays away where a group or its relapses would be fewer
        than `min_count`, or differ by fewer from those at a cut-off that is shown.

    Returns
    -------
    DataFrame
        ``cutoff, value, ci_low, ci_high, chosen``, in order of the cut-off.
    """
    columns = ["cutoff", "value", "ci_low", "ci_high", "chosen"]
    if table.empty or table["entry"].gt(0).any():
        return pd.DataFrame(columns=columns)
    cause, wbc = table["cause"].astype(int), table["wbc_10e9_per_l"]
    rows: list[list[float | bool | None]] = []
    shown: list[tuple[int, int]] = []
    for c in [chosen, *(c for c in cutoffs if c != chosen)]:
        high = wbc >= c
        n, d = int(high.sum()), int((high & (cause == 1)).sum())
        near = any(
            not disclosure.apart(n, m, min_count) or not disclosure.apart(d, e, min_count)
            for m, e in shown
        )
        if near or (n, d) in shown or _too_few(high, cause, max(min_count, 1)):
            continue
        e = _subdistribution(
            table["time"], cause, high.astype(float).to_frame("high"), "high", None
        )
        if e.value is not None:
            shown.append((n, d))
            rows.append([c, e.value, e.ci_low, e.ci_high, c == chosen])
    return pd.DataFrame(rows, columns=columns).sort_values("cutoff", ignore_index=True)


def at_cutoff(table: pd.DataFrame, cutoff: float, strata: str = "") -> dict[str, Estimate]:
    """Return the ratios of relapse at one cut-off by several models, for open data.

    Parameters
    ----------
    table : DataFrame
        Of `OwnRelapse`.
    strata : str
        Column of samples that get a baseline hazard each.

    Returns
    -------
    dict
        ``Fine-Gray``, ``Fine-Gray, adjusted``, ``cause-specific`` and, with `strata`,
        ``cause-specific, by sample``; those without a value are
        left out, and all where one side of the cut-off has no patient.
    """
    high = table["wbc_10e9_per_l"] >= cutoff
    cause = table["cause"].astype(int)
    if _too_few(high, cause, 1):
        return {}
    x = high.astype(float).to_frame("high")
    terms = _covariates(table, ("age_years", "cns"))
    complete = terms.notna().all(axis=1)
    both = pd.concat([x, terms], axis=1)[complete]
    found = {
        "Fine-Gray": _subdistribution(table["time"], cause, x, "high", None),
        "cause-specific": _cause_specific(table["time"], cause, x, "high", None),
    }
    if strata:
        by = table[strata].fillna("")
        stratified = cause_specific_cox(table["time"], cause, x, strata=by)
        found["cause-specific, by sample"] = stratified.hazard_ratio("high")
    if terms.shape[1]:
        found["Fine-Gray, adjusted"] = _subdistribution(
            table["time"][complete], cause[complete], both, "high", None
        )
    return {k: e for k, e in found.items() if e.value is not None}


def survival_ratio(
    cohort: Cohort, endpoint: str, cutoff: float, min_count: int = 0
) -> dict[str, Estimate]:
    """Return Cox hazard ratios of an endpoint by the cut-off (``high``) and per ``doubling``."""

    def nothing(reason: str) -> dict[str, Estimate]:
        return {k: not_estimable("hazard-ratio", reason) for k in ("high", "doubling")}

    if endpoint not in cohort.endpoints or "wbc_10e9_per_l" not in cohort.patients:
        return nothing(f"not given: {endpoint}, or the white count")
    rows = cohort.endpoint(endpoint)
    rows = rows[rows["wbc_10e9_per_l"] > 0].reset_index(drop=True)
    high, event = rows["wbc_10e9_per_l"] >= cutoff, rows["event"]
    if rows.empty or not event.any():
        return nothing(
            "no events" if min_count <= 0 else f"withheld: fewer than {min_count} events"
        )
    entry = rows["entry_months"].fillna(0.0) if "entry_months" in rows else None
    late = entry if entry is not None and entry.gt(0).any() else None
    found = {}
    x = {"high": high.astype(float), "doubling": np.log2(rows["wbc_10e9_per_l"])}
    for name, values in x.items():
        why = _too_few(high, event, min_count) if name == "high" else None
        try:
            fit = (
                None if why else cox(rows["time_months"], event, values.to_frame(name), entry=late)
            )
        except ValueError as refused:
            fit, why = None, str(refused).split("\n")[0]
        found[name] = not_estimable("hazard-ratio", (why or "").replace("relapses", "events"))
        if fit is not None:
            found[name] = fit.hazard_ratio(name)
    return found

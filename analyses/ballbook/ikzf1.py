r"""*IKZF1* deletion and outcome: effects from printed arms, and its band in a karyotype.

Effects. A paper that prints survival in patients with and without a deletion gives, under
proportional hazards, :math:`HR=\ln S_1(t)/\ln S_0(t)` at whatever time :math:`t` it reads the
curves; the standard error comes from what it prints beside them (see
`ballbook.meta_analysis.log_hr_from_survival_at`). A cumulative incidence of relapse *I* is used in
the same way with :math:`S=1-I`, which makes the ratio one of subdistribution hazards.

Karyotypes. *IKZF1* lies in band 7p12.2. A karyotype shows its loss only where the whole band goes:
monosomy 7, an isochromosome 7q in place of a 7, or a deletion, dicentric or added segment whose
breakpoint lies at 7p12 or nearer to the centromere. Most deletions are focal and cannot be seen, so
this is a surrogate of the gene's status and never the status itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from ballbook import disclosure, gates
from ballbook.cohort import Cohort
from ballbook.cox import cox, firth_cox
from ballbook.meta_analysis import (
    Effect,
    MetaAnalysis,
    log_hr_from_ci,
    log_hr_from_p,
    log_hr_from_survival_at,
    pooled_for_verdict,
    random_effects,
)
from ballbook.own_effects import averaged
from ballbook.results import Estimate, Gate, not_estimable
from ballbook.survival import SurvivalCurve, kaplan_meier_by

Precision = Literal["printed", "counts", "half counts"]

ARM_COLUMNS = (
    "study",
    "label",
    "source",
    "locator",
    "endpoint",
    "arm",
    "n",
    "estimate_pct",
    "se_pct",
    "ci_low_pct",
    "ci_high_pct",
    "p_printed",
    "role",
)
DELETED_ARMS = frozenset({"del", "del-only", "plus"})
BASIS = {
    "se": "standard errors printed",
    "ci": "intervals printed",
    "p": "P value printed",
    "n": "numbers of patients",
    "median": "median times and P value printed",
    "hr": "hazard ratio printed",
}


# ----------------------------------------------------------------------- effects from print


def study_effects(
    arms: pd.DataFrame, endpoint: str, *, precision: Precision = "printed"
) -> pd.DataFrame:
    """Return one effect a study from the printed arms of one endpoint.

    Two deleted arms of a study (deletion alone, and *IKZF1*plus) are merged by their numbers of
    patients, because the contrast here is any deletion against none. The merged percentage is a
    weighted mean of Kaplan-Meier estimates, which is exact only without censoring.

    Parameters
    ----------
    arms : DataFrame
        Columns `ARM_COLUMNS`; percentages 0..100; one row an arm.
    endpoint : str
        ``EFS``, ``DFS``, ``OS`` or ``CIR``; endpoints are never mixed.
    precision : {"printed", "counts", "half counts"}
        Where the standard error comes from: what is printed (standard errors, else intervals,
        else an exact P value, else numbers of patients); or numbers of patients wherever both arms
        have them, as they are or halved, to see how much hangs on that choice.

    Returns
    -------
    DataFrame
        ``study, label, source, population, age_group, ph, endpoint, horizon_years, n_deleted,
        n_wild_type, deleted_pct, wild_type_pct, log_hr, std_error, value, ci_low, ci_high, basis,
        role, why``, in the order of `arms`. Studies whose arms allow no standard error are left
        out: they have role ``no-precision``.

    Raises
    ------
    ValueError
        If a column is missing, or a study does not have one wild-type and at least one deleted
        arm.
    """
    if missing := [c for c in ARM_COLUMNS if c not in arms]:
        raise ValueError(f"arms: columns {missing} are missing")
    rows = []
    for study, table in arms[arms["endpoint"] == endpoint].groupby("study", sort=False):
        wild = table[table["arm"] == "wt"]
        deleted = table[table["arm"].isin(DELETED_ARMS)]
        if len(wild) != 1 or deleted.empty or len(wild) + len(deleted) != len(table):
            raise ValueError(
                f"study {study}, {endpoint}: expected one wild-type and one or more deleted arms, "
                f"got {', '.join(table['arm'])}"
            )
        if table["role"].eq("no-precision").any():
            continue
        exposed, reference = _merged(deleted), _merged(wild)
        effect, basis = _effect(
            exposed, reference, _exact_p(wild["p_printed"].iloc[0]), endpoint, precision
        )
        if effect is None:
            continue
        first = table.iloc[0]
        rows.append(
            {
                **{c: first.get(c) for c in _CARRIED},
                "n_deleted": exposed["n"],
                "n_wild_type": reference["n"],
                "deleted_pct": exposed["estimate_pct"],
                "wild_type_pct": reference["estimate_pct"],
                **_as_ratio(effect),
                "basis": BASIS[basis],
                "role": first["role"],
                "why": first.get("why"),
            }
        )
    return pd.DataFrame(rows)


_CARRIED = (
    "study", "label", "source", "population", "age_group", "ph", "endpoint", "horizon_years",
)  # fmt: skip


def printed_effect(row: Any, *, endpoint: str | None = None) -> dict[str, Any]:
    """Return a printed ratio as a row beside those of `study_effects`.

    Parameters
    ----------
    row : mapping
        ``effect`` with ``ci_low`` and ``ci_high``, or with an exact ``p_printed``, and the
        descriptive columns of the effects table.

    Raises
    ------
    ValueError
        If the ratio has neither an interval nor an exact P value.
    """
    if pd.notna(row["ci_low"]) and pd.notna(row["ci_high"]):
        effect, basis = log_hr_from_ci(row["effect"], row["ci_low"], row["ci_high"]), "hr"
    elif (p := _exact_p(row["p_printed"])) is not None:
        effect = log_hr_from_p(p, hr=row["effect"])
        basis = "median" if "median" in str(row["model"]) else "p"
    else:
        raise ValueError(f"{row['report']}: a ratio needs an interval or an exact P value")
    n, deleted = row.get("n"), row.get("n_deleted")
    return {
        "study": row["report"],
        **{c: row.get(c) for c in ("label", "source", "population", "age_group", "ph")},
        "endpoint": endpoint or row["endpoint"],
        "horizon_years": np.nan,
        "n_deleted": deleted,
        "n_wild_type": n - deleted if pd.notna(n) and pd.notna(deleted) else np.nan,
        "deleted_pct": np.nan,
        "wild_type_pct": np.nan,
        **_as_ratio(effect),
        "basis": BASIS[basis],
        "role": row["role"],
        "why": row["why"],
    }


def sharpest_null(n_deleted: int, n_wild_type: int) -> Effect:
    r"""Return "no effect" with the greatest precision that two groups of this size allow.

    With *d* events in a group, :math:`\operatorname{var}(\ln HR)\approx 1/d_1+1/d_0`, and no group
    can have more events than patients. A report of "no impact" without a number, entered like
    this, weighs at least as much against an effect as the real one can.

    Raises
    ------
    ValueError
        If a group is empty.
    """
    if min(n_deleted, n_wild_type) < 1:
        raise ValueError(f"groups of {n_deleted} and {n_wild_type}: both need patients")
    return Effect(0.0, math.sqrt(1 / n_deleted + 1 / n_wild_type))


def pool(
    effects: pd.DataFrame,
    *,
    method: Literal["REML", "DL"] = "REML",
    knapp_hartung: bool = True,
) -> MetaAnalysis:
    """Return the random-effects meta-analysis of rows of `study_effects`.

    Parameters
    ----------
    effects : DataFrame
        ``log_hr``, ``std_error``, ``label``; the number of patients is the sum of the groups where
        both are known for every study.
    """
    return random_effects(**_inputs(effects), method=method, knapp_hartung=knapp_hartung)


def _inputs(effects: pd.DataFrame) -> dict[str, Any]:
    sizes = effects[["n_deleted", "n_wild_type"]].to_numpy(dtype=float)
    return {
        "effects": effects["log_hr"].to_numpy(float),
        "std_errors": effects["std_error"].to_numpy(float),
        "labels": list(effects["label"]),
        "n": int(sizes.sum()) if np.isfinite(sizes).all() else None,
    }


def pool_for_verdict(effects: pd.DataFrame) -> MetaAnalysis:
    """Return the pool of rows of `study_effects` with the interval that judges claims."""
    return pooled_for_verdict(**_inputs(effects))


def both_intervals(sets: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return each pool with its normal and its Hartung-Knapp interval, and which is the wider.

    Returns
    -------
    DataFrame
        ``pool, cohorts, value, normal_low, normal_high, hartung_knapp_low, hartung_knapp_high,
        judged_by``, in the order of `sets`.
    """
    rows = []
    for name, effects in sets.items():
        normal = pool(effects, knapp_hartung=False).pooled
        adjusted = pool(effects).pooled
        judged = pool_for_verdict(effects).pooled
        rows.append(
            {
                "pool": name,
                "cohorts": len(effects),
                "value": normal.value,
                "normal_low": normal.ci_low,
                "normal_high": normal.ci_high,
                "hartung_knapp_low": adjusted.ci_low,
                "hartung_knapp_high": adjusted.ci_high,
                "judged_by": "normal" if judged.ci_low == normal.ci_low else "Hartung-Knapp",
            }
        )
    return pd.DataFrame(rows)


def leave_one_out(effects: pd.DataFrame) -> pd.DataFrame:
    """Return the pooled effect without each study in turn: ``without, value, ci_low, ci_high``."""
    rows = []
    for i in range(len(effects)):
        pooled = pool_for_verdict(effects.drop(index=effects.index[i])).pooled
        rows.append((effects["label"].iloc[i], pooled.value, pooled.ci_low, pooled.ci_high))
    return pd.DataFrame(rows, columns=["without", "value", "ci_low", "ci_high"])


def _merged(arms: pd.DataFrame) -> dict[str, Any]:
    """Return one arm, or several merged by their numbers of patients."""
    if len(arms) == 1:
        return dict(arms.iloc[0])
    n = arms["n"].to_numpy(dtype=float)
    share = n / n.sum()
    error = arms["se_pct"].to_numpy(dtype=float)
    return {
        **dict(arms.iloc[0]),
        "n": n.sum(),
        "estimate_pct": float(share @ arms["estimate_pct"].to_numpy(dtype=float)),
        "se_pct": float(math.sqrt(((share * error) ** 2).sum())),
        "ci_low_pct": np.nan,
        "ci_high_pct": np.nan,
    }


def _effect(
    exposed: dict[str, Any],
    reference: dict[str, Any],
    p: float | None,
    endpoint: str,
    precision: Precision,
) -> tuple[Effect | None, str]:
    arms = (exposed, reference)
    level = [a["estimate_pct"] / 100 for a in arms]
    if endpoint == "CIR":
        level = [1 - v for v in level]
    counted = all(pd.notna(a["n"]) for a in arms)
    n = tuple(int(a["n"]) for a in arms) if counted else None
    if counted and precision != "printed":
        assert n is not None
        halves = tuple(max(1, v // 2) for v in n)
        use = halves if precision == "half counts" else n
        return log_hr_from_survival_at(*level, n=(use[0], use[1])), "n"
    if all(pd.notna(a["se_pct"]) for a in arms):
        se = tuple(a["se_pct"] / 100 for a in arms)
        return log_hr_from_survival_at(*level, se=(se[0], se[1])), "se"
    if all(pd.notna(a["ci_low_pct"]) for a in arms):
        ci = [(a["ci_low_pct"] / 100, a["ci_high_pct"] / 100) for a in arms]
        if endpoint == "CIR":
            ci = [(1 - high, 1 - low) for low, high in ci]
        return log_hr_from_survival_at(*level, ci=(ci[0], ci[1])), "ci"
    # A P value over more than two arms is no P value of the merged contrast.
    if p is not None and exposed["arm"] == "del":
        return log_hr_from_survival_at(*level, p=p), "p"
    if n is not None:
        return log_hr_from_survival_at(*level, n=(n[0], n[1])), "n"
    return None, "n"


def _exact_p(printed: Any) -> float | None:
    """Return a printed P value, or None where it is missing or only a bound."""
    if printed is None or (isinstance(printed, float) and math.isnan(printed)):
        return None
    text = str(printed).strip()
    return float(text) if re.fullmatch(r"0?\.\d+", text) else None


def _as_ratio(effect: Effect) -> dict[str, float]:
    half = float(stats.norm.isf(0.025)) * effect.std_error
    return {
        "log_hr": effect.value,
        "std_error": effect.std_error,
        "value": math.exp(effect.value),
        "ci_low": math.exp(effect.value - half),
        "ci_high": math.exp(effect.value + half),
    }


def printed_table(arms: pd.DataFrame) -> pd.DataFrame:
    """Return the printed arms for reading: one row a study and endpoint, percentages as printed.

    Columns: ``label, endpoint, horizon_years, deleted, wild_type, p_printed, source, locator, role,
    why``.
    """
    rows = []
    for (_, endpoint), table in arms.groupby(["study", "endpoint"], sort=False):
        first = table.iloc[0]
        rows.append(
            {
                "label": first["label"],
                "endpoint": endpoint,
                "horizon_years": first["horizon_years"],
                "deleted": "; ".join(map(_as_printed, _records(table[table["arm"] != "wt"]))),
                "wild_type": "; ".join(map(_as_printed, _records(table[table["arm"] == "wt"]))),
                **{c: first[c] for c in ("p_printed", "source", "locator", "role", "why")},
            }
        )
    return pd.DataFrame(rows)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(row) for _, row in table.iterrows()]


def _as_printed(arm: dict[str, Any]) -> str:
    text = f"{arm['estimate_pct']:g}%"
    if pd.notna(arm["se_pct"]):
        text += f" (SE {arm['se_pct']:g})"
    elif pd.notna(arm["ci_low_pct"]):
        text += f" ({arm['ci_low_pct']:g} to {arm['ci_high_pct']:g})"
    named = {"plus": " IKZF1plus", "del-only": " others"}.get(arm["arm"], "")
    return text + named + (f" of {arm['n']:g}" if pd.notna(arm["n"]) else "")


def forest_rows(
    effects: pd.DataFrame,
    fit: MetaAnalysis | None = None,
    *,
    heading: str = "",
    kind: str = "study",
) -> pd.DataFrame:
    """Return rows for `ballbook.figures.forest`: a heading, the studies, their pool.

    Parameters
    ----------
    effects : DataFrame
        ``label, value, ci_low, ci_high`` and, where known, ``n_deleted`` and ``n_wild_type``.
    fit : MetaAnalysis, optional
        Adds weights, the pooled effect and its prediction interval.
    """
    rows = effects[["label", "value", "ci_low", "ci_high"]].assign(kind=kind)
    if {"n_deleted", "n_wild_type"} <= set(effects):
        pairs = effects[["n_deleted", "n_wild_type"]].itertuples(index=False)
        rows["note"] = [" v ".join("?" if pd.isna(v) else f"{v:g}" for v in pair) for pair in pairs]
    parts = [pd.DataFrame([{"label": heading, "kind": "heading"}])] if heading else []
    parts.append(rows)
    if fit is not None:
        rows["weight"] = fit.weights["weight_random"].to_numpy()
        for label, what, e in (
            (f"Pooled, {len(rows)} cohorts", "pooled", fit.pooled),
            ("Expected in a new cohort", "prediction", fit.prediction_interval),
        ):
            if e.value is None:
                continue
            row = {"value": e.value, "ci_low": e.ci_low, "ci_high": e.ci_high}
            parts.append(pd.DataFrame([{"label": label, "kind": what, **row}]))
    return pd.concat(parts, ignore_index=True)


# ----------------------------------------------------------------------- a reader's own cohort


@dataclass(frozen=True)
class OutcomeByDeletion:
    """One endpoint of a cohort by *IKZF1* deletion.

    Attributes
    ----------
    steps : list of (label, n, why)
        Who is counted, small steps merged (`ballbook.disclosure.flow`).
    curves : dict
        Kaplan-Meier curves; empty where a group is too small to be shown.
    hazard_ratio : Estimate
        Deleted against not deleted; without a value, and with the reason, where the cohort lacks
        what is needed, or a group or its number of events is below the smallest count that may be
        shown.
    note : str
        What a reader should know of the numbers.
    gates : tuple of Gate
        Assumptions checked on these patients.
    """

    steps: list[tuple[Any, ...]]
    curves: dict[str, SurvivalCurve]
    hazard_ratio: Estimate
    note: str
    gates: tuple[Gate, ...] = ()


def outcome_by_deletion(cohort: Cohort, endpoint: str, min_count: int = 0) -> OutcomeByDeletion:
    """Compare one endpoint of a cohort between patients with and without a deletion.

    Cox regression with the deletion alone; Firth's penalty where a group has no events or so few
    that the likelihood has no maximum.

    Parameters
    ----------
    cohort : Cohort
        ``patients`` with ``ikzf1`` (``del`` or ``wt``), and outcomes.
    endpoint : str
    min_count : int
        No group, and no number of events in a group, below this is shown or can be worked out
        (see `ballbook.disclosure`).

    Notes
    -----
    A cohort without ``ikzf1`` or without the endpoint is answered with "not given".
    """

    def nothing(reason: str, steps: list[tuple[Any, ...]]) -> OutcomeByDeletion:
        return OutcomeByDeletion(steps, {}, not_estimable("hazard-ratio", reason), f"{reason}.")

    whole: list[tuple[Any, ...]] = [("patients in the file", cohort.n)]
    if "ikzf1" not in cohort.patients:
        return nothing("not given: IKZF1 status (column ikzf1)", whole)
    if reason := cohort.lacks(endpoint):
        return nothing(reason, whole)
    timed = cohort.endpoint(endpoint)
    table = timed[timed["ikzf1"].isin(["del", "wt"])].reset_index(drop=True)
    steps: list[tuple[Any, ...]] = [
        ("patients in the file", cohort.n),
        (f"with {endpoint}", len(timed), f"no time or no event for {endpoint}"),
        ("with IKZF1 status", len(table), "IKZF1 not known"),
    ]
    steps = disclosure.flow(steps, min_count)
    names = ["not deleted", "IKZF1 deleted"]
    group = table["ikzf1"].map(dict(zip(("wt", "del"), names, strict=True)))
    sizes = group.value_counts().reindex(names, fill_value=0)
    events = table.groupby(group)["event"].sum().reindex(names, fill_value=0)
    for what, counts in (("patients", sizes), ("events", events)):
        # Of two groups, the count of one is the complement of the other's.
        first, both = int(counts.iloc[0]), int(counts.sum())
        if disclosure.shown_count(first, both, min_count) is None:
            return nothing(f"withheld: fewer than {min_count} {what} in a group", steps)
        if what == "patients" and counts.min() == 0:
            return nothing("one of the two groups has no patients", steps)
    entry = table["entry_months"].fillna(0.0) if "entry_months" in table else None
    late = entry if entry is not None and entry.gt(0).any() else None
    curves = kaplan_meier_by(table["time_months"], table["event"], group, entry=late)
    curves = {g: curves[g] for g in names}
    exposed = (table["ikzf1"] == "del").astype(float).to_frame("ikzf1")
    fit = cox(table["time_months"], table["event"], exposed, entry=late)
    ratio, checked = fit.hazard_ratio("ikzf1"), [gates.events_per_variable(int(events.sum()), 1)]
    note = "Unadjusted."
    if ratio.value is not None:
        checked.append(averaged(gates.proportional_hazards(fit)))
    elif events.sum() > 0:
        penalised = firth_cox(table["time_months"], table["event"], exposed, entry=late)
        ratio = penalised.hazard_ratio("ikzf1")
        note = "Unadjusted; Firth's penalty, because a group has no events."
    checked.append(
        Gate("Late entry", "passed", action="Nobody entered after time zero.")
        if late is None
        else Gate("Late entry", "failed", action="Risk sets count patients from their entry on.")
    )
    own = tuple(replace(g, name=f"Your cohort: {g.name[0].lower()}{g.name[1:]}") for g in checked)
    return OutcomeByDeletion(steps, curves, ratio, note, own)


def specifications(cohort: Cohort, endpoint: str, min_count: int = 0) -> pd.DataFrame:
    """Return a cohort's hazard ratio of a deletion under defensible choices.

    Endpoints (all that the cohort has), patients (all; under 18 and from 18 years on; with and
    without *BCR::ABL1*), covariates (none; age and the logarithm of the white count), strata
    (none; protocol). A choice is left out where the cohort lacks a column, or where a group would
    have fewer than `min_count` patients or events, or none.

    Returns
    -------
    DataFrame
        ``value, ci_low, ci_high, p_value``, ``chosen`` (true for `endpoint` of all patients,
        unadjusted), and one column a choice: ``endpoint, patients, adjusted, strata``.
    """
    columns = ["value", "ci_low", "ci_high", "p_value", "chosen", *CHOICES]
    rows = []
    for name in cohort.endpoints if "ikzf1" in cohort.patients else []:
        timed = cohort.endpoint(name)
        timed = timed[timed["ikzf1"].isin(["del", "wt"])].reset_index(drop=True)
        for who, keep in _subgroups(timed, min_count).items():
            for covariates in ((), ("age_years", "log_wbc")):
                for stratum in (None, "protocol"):
                    ratio = _one_ratio(timed[keep], covariates, stratum, min_count)
                    if ratio is None or ratio.value is None:
                        continue
                    plain = who == "all" and not covariates and stratum is None
                    rows.append(
                        [ratio.value, ratio.ci_low, ratio.ci_high, ratio.p_value,
                         plain and name == endpoint, name, who,
                         "age, white count" if covariates else "none", stratum or "none"]
                    )  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


CHOICES = ("endpoint", "patients", "adjusted", "strata")


def _subgroups(timed: pd.DataFrame, min_count: int) -> dict[str, pd.Series]:
    found = {"all": pd.Series(True, timed.index)}
    if "age_years" in timed:
        found["under 18 years"] = timed["age_years"] < 18
        found["18 years and over"] = timed["age_years"] >= 18
    if "subtype" in timed:
        ph = timed["subtype"] == "BCR::ABL1"
        found["BCR::ABL1"] = ph
        found["not BCR::ABL1"] = timed["subtype"].notna() & ~ph
    # A group that is nearly all patients would tell of the few who are missing.
    enough = max(min_count, 1)
    return {
        who: keep for who, keep in found.items() if who == "all" or int((~keep).sum()) >= enough
    }


def _one_ratio(
    table: pd.DataFrame, covariates: Sequence[str], stratum: str | None, min_count: int
) -> Estimate | None:
    """Return the adjusted hazard ratio of a deletion, None where it may not or cannot be had."""
    needed = {"log_wbc": "wbc_10e9_per_l"}
    columns = [needed.get(c, c) for c in covariates] + ([stratum] if stratum else [])
    if not set(columns) <= set(table.columns):
        return None
    if "log_wbc" in covariates:
        table = table.assign(log_wbc=np.log(table["wbc_10e9_per_l"].where(lambda w: w > 0)))
    whole = len(table)
    table = table.dropna(subset=[*covariates, *([stratum] if stratum else [])])
    if not disclosure.apart(whole, len(table), min_count):
        return None
    if stratum and table[stratum].nunique() < 2:
        return None
    few = table.groupby("ikzf1")["event"].agg(["size", "sum"]).reindex(["del", "wt"], fill_value=0)
    smallest = int(few.to_numpy().min())
    if smallest < max(min_count, 1) or few["sum"].sum() < 5 * (1 + len(covariates)):
        return None
    entry = table["entry_months"].fillna(0.0) if "entry_months" in table else None
    X = table[list(covariates)].assign(ikzf1=(table["ikzf1"] == "del").astype(float))
    if (X.nunique() < 2).any():
        return None
    fit = cox(
        table["time_months"], table["event"], X,
        strata=None if stratum is None else table[stratum],
        entry=entry if entry is not None and entry.gt(0).any() else None,
    )  # fmt: skip
    return fit.hazard_ratio("ikzf1")


def ph_positive(patients: pd.DataFrame) -> pd.Series:
    """Return 1.0 with *BCR::ABL1*, 0.0 without, missing where it is not known.

    ``bcr_abl1`` where it is given, else the ``subtype``.
    """
    found = pd.Series(np.nan, index=patients.index)
    if "subtype" in patients:
        known = patients["subtype"].notna()
        found = (patients["subtype"] == "BCR::ABL1").astype(float).where(known)
    if "bcr_abl1" in patients:
        flag = pd.to_numeric(patients["bcr_abl1"], errors="coerce")
        found = flag.astype(float).fillna(found)
    return found.rename("ph")


def with_covariates(cohort: Cohort, endpoint: str) -> pd.DataFrame:
    """Return the patients with an endpoint and a known *IKZF1* status, and their covariates.

    Returns
    -------
    DataFrame
        As `Cohort.endpoint`, with ``deleted`` (0 or 1), ``age_years``, ``age_decades``, ``log_wbc``
        (common logarithm) and ``ph``, missing where not known. No rows where the cohort lacks the
        status or the endpoint.
    """
    given = set() if cohort.outcomes is None else set(cohort.outcomes["endpoint"])
    if "ikzf1" not in cohort.patients or endpoint not in given:
        columns = ["patient_id", "time_months", "event", "ikzf1"]
        timed = pd.DataFrame(columns=columns).astype({"time_months": float, "event": int})
    else:
        timed = cohort.endpoint(endpoint)
    timed = timed[timed["ikzf1"].isin(["del", "wt"])].reset_index(drop=True)
    nothing = pd.Series(np.nan, index=timed.index)
    age = timed.get("age_years", nothing).astype(float)
    count = timed.get("wbc_10e9_per_l", nothing).astype(float)
    return timed.assign(
        deleted=(timed["ikzf1"] == "del").astype(float),
        age_years=age,
        age_decades=age / 10,
        log_wbc=np.log10(count.where(count > 0)),
        ph=ph_positive(timed),
    )


def day_of(timepoint: str) -> float:
    """Return the day that a time point such as ``day 29`` names, 0 where it names none."""
    found = re.search(r"\bday\s*(\d+)|\bd(\d+)\b", timepoint.lower())
    return float(found[1] or found[2]) if found else 0.0


# ----------------------------------------------------------------------- the surrogate


def undiluted(ratio: Estimate, visible: float, deleted: float) -> Estimate:
    r"""Return the hazard ratio of a deletion if a surrogate sees only some of the deletions.

    Of all patients a fraction `deleted` has the deletion and a fraction `visible` shows it; nobody
    shows it without having it. Then of those who show nothing a fraction
    :math:`f=(d-v)/(1-v)` is deleted too. If the deletion multiplies the hazard by :math:`\theta`,
    seen or not, the surrogate's ratio is at first :math:`HR=\theta/\{1+f(\theta-1)\}`, so

    .. math:: \theta = HR\,\frac{1-f}{1-HR\,f}.

    Later the deleted who show nothing have died more often, and the dilution fades.

    Raises
    ------
    ValueError
        If not 0 < visible <= deleted < 1.
    """
    if not 0 < visible <= deleted < 1:
        raise ValueError(f"expected 0 < visible <= deleted < 1, got {visible:g} and {deleted:g}")
    hidden = (deleted - visible) / (1 - visible)

    def true(v: float | None) -> float | None:
        return None if v is None or v * hidden >= 1 else v * (1 - hidden) / (1 - v * hidden)

    if ratio.value is None or true(ratio.value) is None:
        return not_estimable("hazard-ratio", ratio.reason or "no hazard ratio gives this dilution")
    return Estimate(
        "hazard-ratio", true(ratio.value), true(ratio.ci_low), true(ratio.ci_high), n=ratio.n,
        method=f"freed of dilution, {100 * hidden:.0f}% deleted among those who show nothing",
    )  # fmt: skip


# ----------------------------------------------------------------------- the band in a karyotype

_MONOSOMY = re.compile(r"(?:^|[,/\[\]\s])-7(?=[,/\[\]\s]|$)")
_ISOCHROMOSOME = re.compile(r"(\+?)i\(7\)\(q10\)")
_ISODICENTRIC = re.compile(r"(\+?)idic\(7\)\(p([\d.]+)")
_DELETION = re.compile(r"del\(7\)\(p([\d.]+)(?:p([\d.]+))?\)")
_DICENTRIC = re.compile(r"dic\((?:7;[\dXY]+\)\(p([\d.]+)|[\dXY]+;7\)\([pq][\d.]*;p([\d.]+))")
_ADDED = re.compile(r"add\(7\)\(p([\d.]+)")
_NORMAL = re.compile(r"46,X[XY]\[\d+\]")


def band_lost(karyotype: pd.Series) -> pd.Series:
    """Return 1.0 where a karyotype shows that one copy of band 7p12 is lost, by its breakpoints.

    Stricter than a search for words: an isochromosome 7q that is gained beside two normal
    chromosomes 7 (``+i(7)(q10)``) loses nothing, and ``del(7)(p13p22)`` ends above the band.
    Wider in one way: material added at 7p11 or 7p12 replaces what lay beyond. A clone in any cell
    counts; breakpoints within 7p12 itself count as lost, since the text cannot tell.

    Parameters
    ----------
    karyotype : Series of str
        ISCN texts; missing where none was made.

    Returns
    -------
    Series of float
        1.0, 0.0 or NaN (no karyotype).
    """
    found = [float(_band_lost(t)) if isinstance(t, str) else np.nan for t in karyotype]
    return pd.Series(found, index=karyotype.index, name="band_7p12_lost")


def _band_lost(text: str) -> bool:
    if _MONOSOMY.search(text):
        return True
    if any(m[1] == "" for m in _ISOCHROMOSOME.finditer(text)):
        return True
    terminal: Iterable[str] = [
        *(m[2] for m in _ISODICENTRIC.finditer(text) if m[1] == ""),
        *(m[1] or m[2] for m in _DICENTRIC.finditer(text)),
        *(m[1] for m in _ADDED.finditer(text)),
        *(m[1] for m in _DELETION.finditer(text) if m[2] is None),
    ]
    if any(_band(b) <= 12 for b in terminal):
        return True
    inside = [(_band(m[1]), _band(m[2])) for m in _DELETION.finditer(text) if m[2]]
    return any(min(pair) <= 12 <= max(pair) for pair in inside)


def _band(breakpoint: str) -> int:
    """Return the band of a breakpoint such as ``11.2`` as the number 11."""
    return int(breakpoint.split(".")[0])


def normal_karyotype(karyotype: pd.Series) -> pd.Series:
    """Return 1.0 where all cells were normal (``46,XX[20]``), 0.0 otherwise, NaN without one.

    A normal karyotype in leukaemia often means that the leukaemic cells did not divide, so it says
    little about their chromosomes.
    """
    text = karyotype.str.replace(" ", "")
    normal = text.str.fullmatch(_NORMAL).astype(float)
    return normal.where(karyotype.notna())

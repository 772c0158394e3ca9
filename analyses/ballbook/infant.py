r"""Infant leukaemia: survival of trials as printed, two trials by age and dose, four arms by MRD.

Survival at one time is compared on the scale :math:`g(S)=\ln(-\ln S)`, on which a difference is
the logarithm of a ratio of cumulative hazards. Where a paper prints neither interval nor standard
error, the error is that of *n* patients all followed to the time,

.. math:: \operatorname{se}\{g(S)\} = \sqrt{\frac{1-S}{n S}}\Big/\lvert\ln S\rvert ,

which is the smallest it can be; `followed` below 1 counts only that share of *n*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, stats

from ballbook import datasets, disclosure, gates
from ballbook.cohort import Cohort
from ballbook.contingency import cochran_armitage, mantel_haenszel, proportion
from ballbook.cox import cox
from ballbook.inputs import as_count, as_number
from ballbook.meta_analysis import Effect, MetaAnalysis, pooled_for_verdict, se_from_ci
from ballbook.mrd import kmt2a_rearranged
from ballbook.results import Estimate, Gate, not_estimable
from ballbook.survival import SurvivalCurve, kaplan_meier

Z = float(stats.norm.isf(0.025))
CELLS = (
    ("high", "myeloid"),
    ("high", "lymphoid"),
    ("negative", "myeloid"),
    ("negative", "lymphoid"),
)
TRIALS = ("MLL-10", "Interfant-06")
STRATA = {
    "0-2mo": (0.0, 2.0), "2-4mo": (2.0, 4.0), "4-6mo": (4.0, 6.0), "6-12mo": (6.0, 12.0),
}  # fmt: skip
STRATUM_WORDS = {
    "0-2mo": "0 to 2 months", "2-4mo": "2 to 4 months", "4-6mo": "4 to 6 months",
    "6-12mo": "6 to 12 months",
}  # fmt: skip


# ------------------------------------------------------------------------ survival as printed


def log_log(survival: float) -> float:
    """Return :math:`g(S)`; the fraction must lie inside 0..1."""
    if not 0 < as_number(survival, "survival") < 1:
        raise ValueError(f"survival is {survival}, expected a fraction strictly between 0 and 1")
    return math.log(-math.log(survival))


def back(g: float) -> float:
    """Return the survival fraction of :math:`g(S)`."""
    return math.exp(-math.exp(g))


def error_of_n(survival: float, n: float) -> float:
    """Return the standard error of :math:`g(S)` when `n` patients were all followed."""
    if not as_number(n, "n") > 0:
        raise ValueError(f"n is {n}, expected above 0")
    log_log(survival)
    return math.sqrt((1 - survival) / (n * survival)) / -math.log(survival)


def effective_n(survival: float, low: float, high: float) -> float:
    """Return how many fully followed patients would give a printed log(-log) interval."""
    se = se_from_ci(low, high, scale="log-log")
    return (1 - survival) / (survival * (math.log(survival) * se) ** 2)


def effective_n_of_se(survival: float, se: float) -> float:
    """Return how many fully followed patients would give a printed standard error of *S*."""
    return survival * (1 - survival) / as_number(se, "se") ** 2


def followed_share(start: int, end: int, published: int, years: float) -> float:
    """Return the share of an even recruitment that could have been followed for `years`.

    Those recruited by `published` minus `years`, from the beginning of `start` to the end of
    `end`, up to the end of `published`.
    """
    if end < start:
        raise ValueError(f"recruitment ends in {end}, before it starts in {start}")
    reach = (published + 1 - years - start) / (end + 1 - start)
    return min(1.0, max(0.0, reach))


def with_intervals(trials: pd.DataFrame, *, followed: float = 1.0) -> pd.DataFrame:
    """Return printed survival with intervals, rebuilt from n where none is printed.

    Parameters
    ----------
    trials : DataFrame
        ``survival_pct``, ``n``, and ``se_pct``, ``ci_low_pct``, ``ci_high_pct`` where printed.
    followed : float
        Share of n that is counted where the interval is rebuilt.

    Returns
    -------
    DataFrame
        With ``value, ci_low, ci_high`` (fractions), ``g, std_error`` (log(-log) scale), and
        ``basis``: ``interval printed``, ``standard error printed``, ``rebuilt from n`` or
        ``no interval``. Rebuilt intervals are Wilson's.
    """
    if not 0 < as_number(followed, "followed") <= 1:
        raise ValueError(f"followed is {followed}, expected above 0 and up to 1")
    rows = []
    for _, r in trials.iterrows():
        s = float(r["survival_pct"]) / 100
        low, high, se, basis = math.nan, math.nan, math.nan, "no interval"
        if pd.notna(r["ci_low_pct"]):
            low, high, basis = r["ci_low_pct"] / 100, r["ci_high_pct"] / 100, "interval printed"
            se = se_from_ci(low, high, scale="log-log")
        elif pd.notna(r["se_pct"]):
            basis, se = "standard error printed", r["se_pct"] / 100 / (s * -math.log(s))
            low, high = back(log_log(s) + Z * se), back(log_log(s) - Z * se)
        elif pd.notna(r["n"]):
            basis, se = "rebuilt from n", error_of_n(s, followed * r["n"])
            low, high = wilson(s, followed * r["n"])
        rows.append(
            {"value": s, "ci_low": low, "ci_high": high, "g": log_log(s), "std_error": se,
             "basis": basis}
        )  # fmt: skip
    return pd.concat([trials.reset_index(drop=True), pd.DataFrame(rows)], axis=1)


def wilson(p: float, n: float) -> tuple[float, float]:
    """Return Wilson's interval of a fraction printed without its count."""
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return centre - half, centre + half


def trials(*, os_as_efs: bool = False, followed: float = 1.0) -> pd.DataFrame:
    """Return the printed trials with intervals (see `with_intervals`).

    Parameters
    ----------
    os_as_efs : bool
        Read overall survival at the time that is marked beside event-free survival of the same
        trial, instead of at the time of its column.
    """
    table = datasets.published("infant_trials")
    if os_as_efs:
        marked = table[table["endpoint"] == "EFS"].set_index("trial")["years"]
        moved = (table["endpoint"] == "OS") & (table["years_basis"] == "column")
        moved &= table["trial"].isin(marked.index)
        table.loc[moved, "years"] = table.loc[moved, "trial"].map(marked)
    return with_intervals(table, followed=followed)


def ceilings(trials: pd.DataFrame, years: float) -> pd.Series:
    """Return by trial the highest that event-free survival at `years` can be by what is printed.

    Event-free survival never rises and never exceeds overall survival, so both, printed at that
    time or before, are upper bounds. NaN for a trial that prints neither so early.

    Parameters
    ----------
    trials : DataFrame
        As `trials` returns; rows that were read ``in``.
    years : float
    """
    rows = trials[trials["role"] == "in"]
    early = rows[rows["endpoint"].isin(["EFS", "OS"]) & (rows["years"] <= years)]
    lowest = early.groupby("trial")["value"].min()
    return lowest.reindex(list(dict.fromkeys(rows["trial"]))).rename("ceiling")


def pool(rows: pd.DataFrame) -> tuple[Estimate, Estimate, MetaAnalysis]:
    """Return pooled survival of one endpoint and time, what a new trial may find, and the fit.

    Random effects on the log(-log) scale, with the interval by which all pages judge.

    Raises
    ------
    ValueError
        If endpoints or times are mixed.
    """
    kinds = set(zip(rows["endpoint"], rows["years"], strict=True))
    if len(kinds) != 1:
        raise ValueError(f"one endpoint at one time is pooled, got {sorted(kinds)}")
    fit = pooled_for_verdict(
        rows["g"], rows["std_error"], list(rows["label"]), kind="log-log", n=int(rows["n"].sum())
    )
    (_, years) = kinds.pop()

    def survival(e: Estimate, how: str) -> Estimate:
        if e.value is None or e.ci_low is None or e.ci_high is None:
            return not_estimable("survival", e.reason or "no interval")
        return Estimate(
            "survival", back(e.value), back(e.ci_high), back(e.ci_low), e.ci_level,
            unit=f"at {years:g} years", n=e.n, method=how,
        )  # fmt: skip

    mean = survival(fit.pooled, f"{fit.method}, on the log(-log) scale")
    return mean, survival(fit.prediction_interval, "prediction interval for a new trial"), fit


def cumulative_hazard_ratio(exposed: Effect, reference: Effect, **fields: Any) -> Estimate:
    r"""Return :math:`\ln S_1/\ln S_0`, a hazard ratio where hazards are proportional.

    Parameters
    ----------
    exposed, reference : Effect
        :math:`g(S)` and its standard error.
    """
    y, se = exposed.value - reference.value, math.hypot(exposed.std_error, reference.std_error)
    p = float(2 * stats.norm.sf(abs(y) / se))
    return Estimate(
        "hazard-ratio", math.exp(y), math.exp(y - Z * se), math.exp(y + Z * se), 0.95, p,
        statistic=y / se, method="ratio of cumulative hazards, from survival at one time", **fields,
    )  # fmt: skip


# ----------------------------------------------------------------- a small arm and its history


def fewer_events_p(k: int, n: int, expected: float) -> float:
    """Return the exact one-sided chance of `k` or fewer events among `n` at an expected share."""
    k, n = as_count(k, "k"), as_count(n, "n")
    return float(stats.binom.cdf(k, n, as_number(expected, "expected")))


def selection_needed(
    k: int, n: int, usual: float, best: float, *, alpha: float = 0.05
) -> float | None:
    """Return how many of an arm would have to be patients of the best prognosis.

    With a share q of the best and the rest as usual, the chance of `k` or fewer events reaches
    `alpha` at the share returned.

    Parameters
    ----------
    usual, best : float
        Share with an event among all, and among those of the best prognosis.

    Returns
    -------
    float or None
        Between 0 and 1; None where not even an arm of the best alone reaches `alpha`.
    """
    if not best < usual:
        raise ValueError(f"best is {best}, expected below usual, {usual}")

    def chance(q: float) -> float:
        return fewer_events_p(k, n, usual + q * (best - usual)) - alpha

    if chance(0) >= 0:
        return 0.0
    if chance(1) < 0:
        return None
    return float(optimize.brentq(chance, 0, 1, xtol=1e-12))


# --------------------------------------------------------------------- two trials by age and dose


def dosing_tables(table: pd.DataFrame) -> dict[str, list[list[int]]]:
    """Return the 2 x 2 tables of Table 3, by age: MLL-10 first, remission first."""
    found = {}
    for stratum, rows in table.groupby("stratum", sort=False):
        cells = []
        for trial in TRIALS:
            k, n = rows.loc[rows["trial"] == trial, ["remission", "n"]].to_numpy(int)[0].tolist()
            cells.append([k, n - k])
        found[str(stratum)] = cells
    return found


def one_row_each(table: pd.DataFrame) -> pd.DataFrame:
    """Return the counts of Table 3 as one row an infant.

    Columns: ``remission`` and ``mll10`` (0/1), ``dose`` (fraction of the full dose), ``age`` (0 to
    3, the order of the strata) and ``stratum``.
    """
    order = {s: i for i, s in enumerate(dict.fromkeys(table["stratum"]))}
    rows = []
    for _, r in table.iterrows():
        k, n = int(r["remission"]), int(r["n"])
        row = {
            "mll10": int(r["trial"] == TRIALS[0]), "dose": float(r["dose_fraction"]),
            "age": order[r["stratum"]], "stratum": str(r["stratum"]),
        }  # fmt: skip
        rows += [row | {"remission": 1}] * k + [row | {"remission": 0}] * (n - k)
    return pd.DataFrame(rows)


# ------------------------------------------------------------------------ four arms by MRD


def interaction(arms: Mapping[tuple[str, str], tuple[float, float]]) -> dict[str, Estimate]:
    """Return the effect of myeloid consolidation by MRD and the ratio of the two effects.

    Parameters
    ----------
    arms : mapping
        ``(mrd, consolidation)`` to survival and number of patients, for all of `CELLS`.

    Returns
    -------
    dict
        ``high`` and ``negative``: hazard ratio, myeloid v lymphoid; ``ratio``: high over negative.
    """
    if missing := [c for c in CELLS if c not in arms]:
        raise ValueError(f"arms: missing {missing}")
    g = {c: Effect(log_log(arms[c][0]), error_of_n(*arms[c])) for c in CELLS}
    found = {}
    for mrd in ("high", "negative"):
        n = round(arms[mrd, "myeloid"][1] + arms[mrd, "lymphoid"][1])
        found[mrd] = cumulative_hazard_ratio(g[mrd, "myeloid"], g[mrd, "lymphoid"], n=n)
    effects = [
        Effect(g[m, "myeloid"].value - g[m, "lymphoid"].value,
               math.hypot(g[m, "myeloid"].std_error, g[m, "lymphoid"].std_error))
        for m in ("high", "negative")
    ]  # fmt: skip
    ratio = cumulative_hazard_ratio(effects[0], effects[1], n=round(sum(arms[c][1] for c in CELLS)))
    found["ratio"] = replace(ratio, method=f"ratio of two hazard ratios; {ratio.method}")
    return found


def smallest_arm(survival: Sequence[float], *, alpha: float = 0.05) -> int:
    """Return the fewest patients in each of the four arms at which the interaction has P < alpha.

    Parameters
    ----------
    survival : sequence of float
        Survival in the arms, in the order of `CELLS`.
    """
    values = dict(zip(CELLS, survival, strict=True))
    for n in range(2, 100_000):
        p = interaction({c: (s, n) for c, s in values.items()})["ratio"].p_value
        if p is not None and p < alpha:
            return n
    raise ValueError("the effects are equal: no number of patients tells them apart")


def shrunk(estimate: Estimate, prior_sd: float) -> Estimate:
    r"""Return a ratio after a sceptical normal prior on its logarithm, mean 0.

    The posterior precision is :math:`1/s^2+1/\sigma^2`, the posterior mean the estimate times
    :math:`\sigma^2/(\sigma^2+s^2)`.
    """
    e = estimate
    if e.value is None or e.ci_low is None or e.ci_high is None:
        return e
    se = se_from_ci(e.ci_low, e.ci_high, scale="log")
    keep = prior_sd**2 / (prior_sd**2 + se**2)
    mean, sd = keep * math.log(e.value), math.sqrt(keep) * se
    return Estimate(
        e.kind, math.exp(mean), math.exp(mean - Z * sd), math.exp(mean + Z * sd), 0.95, n=e.n,
        method=f"posterior of a normal prior on the logarithm, SD {prior_sd:g}, 95% credible",
    )  # fmt: skip


# ------------------------------------------------------------------------ a reader's own cohort


def infants(cohort: Cohort) -> tuple[Cohort, list[tuple[Any, ...]]]:
    """Return the infants of a cohort with KMT2A rearrangement, as far as it says, and the steps.

    Those of 1 year and older leave where ages are given; those known to be germline leave where
    the rearrangement is given.
    """
    steps: list[tuple[Any, ...]] = [("patients in the file", cohort.n)]
    kept = cohort
    if "age_years" in kept.patients and kept.patients["age_years"].notna().any():
        kept = kept.where(kept.patients["age_years"] < 1)
        steps.append(("younger than 1 year", kept.n, "1 year or older, or age not known"))
    told = {"subtype", "kmt2a_r", "fusion_partner"} & set(kept.patients)
    if any(kept.patients[c].notna().any() for c in told):
        kept = kept.where(kmt2a_rearranged(kept.patients))
        steps.append(("with KMT2A rearrangement", kept.n, "germline, T lineage, or not known"))
    return kept, steps


@dataclass(frozen=True)
class OwnSurvival:
    """One endpoint of a reader's infants.

    Attributes
    ----------
    steps : list
    curve : SurvivalCurve or None
    at : dict
        Years to survival, withheld where too few stand behind it.
    note : str
    """

    steps: list[tuple[Any, ...]]
    curve: SurvivalCurve | None
    at: dict[float, Estimate]
    note: str


def own_survival(
    cohort: Cohort, endpoint: str, years: Sequence[float], min_count: int = 0
) -> OwnSurvival:
    """Return survival of a reader's infants at the times at which trials print theirs."""
    kept, steps = infants(cohort)
    timed = kept.endpoint(endpoint)
    steps.append((f"with {endpoint}", len(timed), f"no time or no event for {endpoint}"))
    if len(timed) < max(min_count, 1):
        reason = f"withheld: fewer than {max(min_count, 1)} patients"
        return OwnSurvival([], None, {t: not_estimable("survival", reason) for t in years}, reason)
    entry = timed["entry_months"].fillna(0.0) if "entry_months" in timed else None
    late = entry if entry is not None and entry.gt(0).any() else None
    curve = kaplan_meier(timed["time_months"], timed["event"], entry=late, label="Your cohort")
    months = [12.0 * t for t in years]
    found = disclosure.survival_at(curve, months, min_count)
    at = {
        t: replace(e, unit=f"at {t:g} years", n=len(timed) if e.value is not None else None)
        for t, e in zip(sorted(years), found, strict=True)
    }
    late_note = "Risk sets count patients from their entry on." if late is not None else ""
    return OwnSurvival(steps, curve, at, late_note)


@dataclass(frozen=True)
class OwnRemission:
    """MRD remission of a reader's infants by age.

    Attributes
    ----------
    steps : list
    by_age : dict
        Stratum to proportion, withheld where too few stand behind it.
    total : Estimate
    against : dict
        Trial to the Mantel-Haenszel odds ratio of the reader's infants v that trial's, by age.
    trend : Estimate or None
    """

    steps: list[tuple[Any, ...]]
    by_age: dict[str, Estimate]
    total: Estimate
    against: dict[str, Estimate]
    trend: Estimate


def own_remission(
    cohort: Cohort, positive: pd.Series, table: pd.DataFrame, min_count: int = 0
) -> OwnRemission:
    """Return MRD remission of a reader's infants by the age groups of Table 3.

    Parameters
    ----------
    positive : Series
        By patient id: MRD at or above the cut-off (1), below (0), or missing.
    table : DataFrame
        Printed counts, as ``infant_mrd_dosing``.
    """
    kept, steps = infants(cohort)
    p = kept.patients.assign(positive=kept.patients["patient_id"].map(positive))
    known = p.dropna(subset=["positive", "age_years"])
    steps.append(("with MRD and age", len(known), "MRD or age not known"))
    months = known["age_years"].to_numpy(float) * 12
    counts = {}
    for stratum, (low, high) in STRATA.items():
        inside = (months >= low) & (months < high)
        counts[stratum] = (int((known["positive"][inside] == 0).sum()), int(inside.sum()))
    k, n = (sum(c[i] for c in counts.values()) for i in (0, 1))
    total = (
        disclosure.withhold(proportion(k, n), min_count)
        if n
        else not_estimable("proportion", "no patients")
    )
    cells = pd.DataFrame([{"stratum": s, "k": a, "rest": m - a} for s, (a, m) in counts.items()])
    kept_cells = disclosure.suppress(cells, ["k", "rest"], min_count).set_index("stratum")
    by_age = {}
    for s, (a, m) in counts.items():
        if m == 0:
            by_age[s] = not_estimable("proportion", "no patients")
        elif kept_cells.loc[s].isna().any():
            why = f"withheld: fewer than {min_count} patients, or another group would show"
            by_age[s] = not_estimable("proportion", why)
        else:
            # The cells are safe together; as nested counts they would be withheld once more.
            by_age[s] = replace(proportion(a, m), n=m if min_count <= 0 else None, n_events=None)
    against, trend = {}, not_estimable("p-value", "withheld: too few")
    if total.value is not None:
        trend = cochran_armitage([a for a, _ in counts.values()], [m for _, m in counts.values()])
        theirs = dosing_tables(table)
        for i, trial in enumerate(TRIALS):
            tables = [[[a, m - a], theirs[s][i]] for s, (a, m) in counts.items()]
            odds = mantel_haenszel(tables).odds_ratio
            against[trial] = replace(odds, n=n, n_events=None)
        trend = replace(trend, n=n, n_events=None)
    return OwnRemission(steps, by_age, total, against, trend)


@dataclass(frozen=True)
class OwnInteraction:
    """The effect of consolidation by MRD in a reader's cohort.

    Attributes
    ----------
    steps : list
    hazard_ratios : dict
        ``high``, ``negative`` and ``ratio``, as `interaction` gives them.
    curves : dict
        Kaplan-Meier curves by MRD and arm; empty where a group is too small.
    gates : tuple of Gate
    """

    steps: list[tuple[Any, ...]]
    hazard_ratios: dict[str, Estimate]
    curves: dict[str, SurvivalCurve]
    gates: tuple[Gate, ...] = ()


def own_interaction(
    cohort: Cohort,
    levels: pd.Series,
    endpoint: str,
    *,
    myeloid: str,
    lymphoid: str,
    high_from: float,
    negative_below: float,
    min_count: int = 0,
) -> OwnInteraction:
    """Fit Cox models of consolidation, MRD and their product.

    Parameters
    ----------
    levels : Series
        MRD by patient id, as fractions; a class ``negative`` as 0, ``high`` as 1.
    myeloid, lymphoid : str
        Words of the column ``treatment``; case does not matter.
    high_from, negative_below : float
        MRD at or above the first is high, below the second negative; between, left out.
    """
    kept, steps = infants(cohort)
    t = kept.endpoint(endpoint)
    steps.append((f"with {endpoint}", len(t), f"no time or no event for {endpoint}"))
    arm = t["treatment"].astype(str).str.strip().str.lower()
    t = t.assign(myeloid=arm.map({myeloid.lower(): 1.0, lymphoid.lower(): 0.0}))
    t = t.dropna(subset=["myeloid"])
    steps.append((f"on {myeloid} or {lymphoid}", len(t), "another treatment, or not known"))
    level = t["patient_id"].map(levels).to_numpy(float)
    mrd = np.where(level >= high_from, 1.0, np.where(level < negative_below, 0.0, np.nan))
    t = t.assign(high=mrd).dropna(subset=["high"]).reset_index(drop=True)
    steps.append(("with negative or high MRD", len(t), "MRD between, or not known"))
    names = {(1.0, 1.0): "high MRD, myeloid", (1.0, 0.0): "high MRD, lymphoid",
             (0.0, 1.0): "negative MRD, myeloid", (0.0, 0.0): "negative MRD, lymphoid"}  # fmt: skip
    groups = {
        name: t[(t["high"] == high) & (t["myeloid"] == arm)] for (high, arm), name in names.items()
    }
    entry = t["entry_months"].fillna(0.0) if "entry_months" in t else None
    late = entry if entry is not None and entry.gt(0).any() else None
    small = {name: _too_few(g, min_count) for name, g in groups.items()}
    if any(small.values()):
        # What one class of MRD can tell alone is told; the ratio needs both.
        alone = {}
        for key, high in (("high", 1.0), ("negative", 0.0)):
            why = next((small[names[high, a]] for a in (1.0, 0.0) if small[names[high, a]]), None)
            some = t[t["high"] == high]
            alone[key] = not_estimable("hazard-ratio", str(why)) if why else cox(
                some["time_months"], some["event"], some[["myeloid"]],
                entry=None if late is None else late[some.index],
            ).hazard_ratio("myeloid")  # fmt: skip
        why = next(w for w in small.values() if w)
        return OwnInteraction(steps, alone | {"ratio": not_estimable("hazard-ratio", why)}, {})
    x = pd.DataFrame({"myeloid": t["myeloid"], "high": t["high"]})
    x["product"] = x["myeloid"] * x["high"]
    full = cox(t["time_months"], t["event"], x, entry=late)
    # With the marker turned round, the coefficient of the arm is its effect at high MRD.
    turned = x.assign(high=1 - x["high"])
    turned["product"] = turned["myeloid"] * turned["high"]
    at_high = cox(t["time_months"], t["event"], turned, entry=late)
    found = {
        "high": at_high.hazard_ratio("myeloid"), "negative": full.hazard_ratio("myeloid"),
        "ratio": full.hazard_ratio("product"),
    }  # fmt: skip
    curves = {
        name: kaplan_meier(g["time_months"], g["event"], label=name) for name, g in groups.items()
    } if late is None else {}  # fmt: skip
    checked = [
        gates.events_per_variable(int(t["event"].sum()), 3),
        gates.proportional_hazards(full),
    ]
    own = tuple(replace(g, name=f"Your cohort: {g.name[0].lower()}{g.name[1:]}") for g in checked)
    return OwnInteraction(steps, found, curves, own)


def _too_few(group: pd.DataFrame, min_count: int) -> str | None:
    """Return why a group of the reader's patients is too small to tell of, or None."""
    least = max(min_count, 1)
    for what, count in (("patients", len(group)), ("events", int(group["event"].sum()))):
        if count < least:
            return f"withheld: fewer than {least} {what} in one of the groups"
    return None

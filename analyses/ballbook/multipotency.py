r"""Developmental state as a marker of outcome: a published risk, and the published design.

**A published risk.** A table of samples becomes one of patients (`patients_of`): a second sample of
a patient is no second patient. Who trained a risk and who validated it is kept apart, for on the
former any measure of it is apparent. With few patients the log-rank statistic

.. math:: U=\sum_{i:\,\delta_i=1}\Bigl(g_i-\frac{\sum_{j\in R_i}g_j}{|R_i|}\Bigr)

is set against its values under *all* ways to give out the same number of labels :math:`g`
(`exact_logrank`); that is valid with any number of events where censoring does not depend on the
label.

**The published design.** Cox regression of a score, in standard deviations of the cohort, with
age, sex, white count, clinical risk group and genomic subtype (`design`, `adjusted`):

.. math:: h(t\mid x)=h_0(t)\exp(\beta z+\gamma^{\mathsf T}c),\qquad z=\frac{x-\bar x}{s_x}.

Subtypes with few patients are joined. A model needs five events for each coefficient and is
withheld below; between five and ten the penalised likelihood of Firth stands in.

**What a cohort can see.** With :math:`D` events and a share :math:`R^2` of the score's variance
explained by the covariates, :math:`HR` per standard deviation is seen with 80% power where

.. math:: |\ln HR|\ge\frac{z_{.975}+z_{.8}}{\sqrt{D\,(1-R^2)}}

(Hsieh, Lavori, Control Clin Trials 2000;21:552).

References: Good et al., Nat Med 2018;24:474. Iacobucci et al., Nat Cancer 2025;6:1242. Heimann,
Neuhaus, Biometrics 1998;54:168 (permuting labels under censoring).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import chi2, norm

from ballbook import gates, splines
from ballbook.cox import CoxFit, cox, firth_cox
from ballbook.inputs import as_number
from ballbook.maturity import join_small
from ballbook.results import Estimate, Gate, not_estimable
from ballbook.survival import survival_data

DAYS_PER_MONTH = 365.25 / 12
MRD_RISK = {"Standard": 0.0, "Intermediate": 1.0, "High": 2.0}
HIGH_LOW = {"High": 1.0, "Low": 0.0, "Standard": 0.0}
# Samples taken at relapse, and samples of blood, are named by what follows the patient's name.
OTHER_SAMPLE = r"-(?:Rx|PB)$"
MOST_ARRANGEMENTS = 500_000
EVENTS_PER_TERM = 5
TERMS_IN_WORDS = {
    "score": "score, per SD", "age_decades": "age, per 10 years", "male": "male sex",
    "log_wbc": "white count, per tenfold",
}  # fmt: skip


# --- a published risk -------------------------------------------------------------------------


def patients_of(samples: pd.DataFrame) -> pd.DataFrame:
    """Return one row a patient from the clinical table of Good 2018, which has one a sample.

    Parameters
    ----------
    samples : DataFrame
        As published: ``patient_id`` of the sample, ``relapse_status``, ``time_to_relapse`` and
        ``ccr`` (days), ``cohort``, ``ddpr_risk``, ``mrd_risk``, ``nci_rome_risk``, and age (years),
        white count (per microlitre) and gender.

    Returns
    -------
    DataFrame
        ``patient_id``, ``samples`` (their number), ``diagnostic`` (a marrow sample of diagnosis is
        among them), ``time_months`` and ``event`` (missing where neither relapse nor remission is
        told), ``training`` (1, 0 or missing), ``ddpr``, ``nci_high`` (1 is high), ``mrd`` (0
        standard, 1 intermediate, 2 high), ``age_years``, ``wbc_10e9_per_l``, ``male``.

    Raises
    ------
    ValueError
        If samples of one patient tell different things of the patient.
    """
    names = samples["patient_id"].astype(str)
    patient = names.str.replace(OTHER_SAMPLE, "", regex=True)
    relapsed = samples["relapse_status"].map({"Yes": 1.0, "No": 0.0}).astype(float)
    days = samples["time_to_relapse"].where(relapsed == 1, samples["ccr"].where(relapsed == 0))
    table = pd.DataFrame(
        {
            "patient_id": patient,
            "time_months": days.astype(float) / DAYS_PER_MONTH,
            "event": relapsed,
            "training": samples["cohort"].map({"Training": 1.0, "Validation": 0.0}).astype(float),
            "ddpr": samples["ddpr_risk"].map(HIGH_LOW).astype(float),
            "nci_high": samples["nci_rome_risk"].map(HIGH_LOW).astype(float),
            "mrd": samples["mrd_risk"].map(MRD_RISK).astype(float),
            "age_years": samples["age_at_diagnosis"].astype(float),
            "wbc_10e9_per_l": samples["wbc_count"].astype(float) / 1000,
            "male": samples["gender"].map({"Male": 1.0, "Female": 0.0}).astype(float),
        }
    )
    by = table.groupby("patient_id", sort=False)
    told = by.nunique()
    if (told > 1).any(axis=None):
        who = told.index[(told > 1).any(axis=1)][0]
        raise ValueError(f"samples of {who} tell different things of the patient")
    found = by.first()
    found.insert(0, "samples", by.size())
    found.insert(1, "diagnostic", (names == patient).groupby(patient).any())
    return found.reset_index()


def exact_logrank(time: ArrayLike, event: ArrayLike, group: ArrayLike) -> Estimate:
    """Test two small groups by all ways to give out their labels, two-sided.

    Parameters
    ----------
    group : array_like of 0 and 1, shape (n,)

    Raises
    ------
    ValueError
        For labels other than 0 and 1, or more arrangements than can be counted.

    Notes
    -----
    R: ``coin::logrank_test(Surv(time, event) ~ factor(group), distribution = "exact")``, whose
    scores are the same without ties. The P value is the fraction of arrangements at least as far
    from 0 as the one seen.
    """
    t, died, _ = survival_data(time, event)
    labels = np.asarray(group, dtype=float)
    if labels.shape != t.shape or not np.isin(labels, (0, 1)).all():
        raise ValueError("group: expected 0 and 1, one a patient")
    n, k = len(t), int(labels.sum())
    if math.comb(n, k) > MOST_ARRANGEMENTS:
        raise ValueError(f"{math.comb(n, k):,} arrangements are too many to count")
    # U is a sum of one score a patient: his event less the hazard he has lived through.
    scores = died.astype(float)
    for when in np.unique(t[died]):
        at_risk = t >= when
        scores[at_risk] -= (died & (t == when)).sum() / at_risk.sum()
    seen = float(scores[labels == 1].sum())
    fields = {"n": n, "n_events": int(died.sum())}
    if not died.any() or k in (0, n):
        return not_estimable("p-value", "no events, or one group", **fields)
    sums = np.array([scores[list(c)].sum() for c in itertools.combinations(range(n), k)])
    p = float((np.abs(sums) >= abs(seen) - 1e-9).mean())
    return Estimate(
        "p-value", p, p_value=p, statistic=seen, n=n, n_events=int(died.sum()),
        method=f"log-rank, all {len(sums):,} arrangements of labels",
    )  # fmt: skip


def added(base: CoxFit, full: CoxFit) -> Estimate:
    """Return the likelihood-ratio test of what a model adds to one nested in it."""
    fields = {"n": full.n, "n_events": full.n_events}
    if full.n != base.n or full.reasons or base.reasons:
        why = next(iter({**full.reasons, **base.reasons}.values()), "not the same patients")
        return not_estimable("p-value", why, **fields)
    df = len(full.terms) - len(base.terms)
    gain = max(2 * (full.log_likelihood - base.log_likelihood), 0.0)
    p = float(chi2.sf(gain, df))
    return Estimate(
        "p-value", p, p_value=p, statistic=gain, df=df, method="likelihood ratio of nested models",
        n=full.n, n_events=full.n_events,
    )  # fmt: skip


# --- the published design ---------------------------------------------------------------------


@dataclass(frozen=True)
class Design:
    """The covariates of the published model, as a cohort has them.

    Attributes
    ----------
    table : DataFrame
        Index patient id; ``score`` (in SD) and one column a covariate; missing where not known.
    factors : dict
        Factor (``risk group``, ``subtype``) to its 0/1 columns.
    words : dict
        Column to words.
    absent : tuple of str
        Covariates of the published model that the cohort does not have, in words.
    """

    table: pd.DataFrame
    factors: dict[str, list[str]]
    words: dict[str, str]
    absent: tuple[str, ...]

    @property
    def covariates(self) -> list[str]:
        """Return the columns beside the score."""
        return [str(c) for c in self.table if c != "score"]


def design(patients: pd.DataFrame, score: pd.Series, *, least: int = 10) -> Design:
    """Return the score and the published covariates of a cohort.

    Parameters
    ----------
    patients : DataFrame
        ``patient_id`` and, where known, ``age_years``, ``sex``, ``wbc_10e9_per_l``,
        ``risk_group`` and ``subtype``.
    score : Series
        By patient id; higher is more multipotent. Its mean becomes 0 and its SD 1.
    least : int
        Risk groups and subtypes with fewer patients are joined.

    Raises
    ------
    ValueError
        If the score does not vary.
    """
    p = patients.set_index("patient_id")
    x = score.reindex(p.index).astype(float)
    spread = float(x.std(ddof=1))
    if not spread > 0:
        raise ValueError("the score does not vary")
    table = pd.DataFrame({"score": (x - x.mean()) / spread})
    words, absent = dict(TERMS_IN_WORDS), []
    factors: dict[str, list[str]] = {}
    columns = {
        "age": ("age_years", "age_decades", lambda v: v.astype(float) / 10),
        "sex": ("sex", "male", lambda v: v.map({"M": 1.0, "F": 0.0}).astype(float)),
        "white count": (
            "wbc_10e9_per_l", "log_wbc",
            lambda v: np.log10(v.astype(float).where(v.astype(float) > 0)),
        ),
    }  # fmt: skip
    for name, (source, column, made) in columns.items():
        found = made(p[source]) if source in p else pd.Series(np.nan, p.index)
        if found.notna().any() and found.nunique() > 1:
            table[column] = found
        else:
            absent.append(name)
    for name, source in (("risk group", "risk_group"), ("subtype", "subtype")):
        given = p[source].astype(object) if source in p else pd.Series(None, p.index, dtype=object)
        given = given.where(given.notna() & (given != ""))
        if given.dropna().nunique() < 2:
            absent.append(name)
            continue
        labels = join_small(given.dropna(), least, f"other {name}s").reindex(p.index)
        order = labels.value_counts().sort_index().sort_values(ascending=False, kind="stable")
        if len(order) < 2:
            absent.append(name)
            continue
        factors[name] = []
        for level in order.index[1:]:
            column = f"{name}: {level}"
            table[column] = (labels == level).astype(float).where(labels.notna())
            words[column] = f"{level} v {order.index[0]}"
            factors[name].append(column)
    return Design(table, factors, words, tuple(absent))


@dataclass(frozen=True)
class Outcome:
    """The score and one endpoint.

    Attributes
    ----------
    alone, adjusted : Estimate
        Hazard ratio of one SD, in the same patients.
    straight : Estimate
        P value of a curved effect.
    gain : Estimate
        What the score adds to the covariates, likelihood ratio.
    terms : DataFrame
        ``term, hr, ci_low, ci_high, p`` of the adjusted model; empty where it was not fitted.
    used : DataFrame
        Complete cases: ``time_months``, ``event`` and the columns of the design that vary.
    gates : tuple of Gate
    note : str
    """

    alone: Estimate
    adjusted: Estimate
    straight: Estimate
    gain: Estimate
    terms: pd.DataFrame
    used: pd.DataFrame
    note: str
    gates: tuple[Gate, ...] = field(default_factory=tuple)


def adjusted(times: pd.DataFrame, made: Design, *, min_count: int = 0) -> Outcome:
    """Fit the published model to one endpoint.

    Parameters
    ----------
    times : DataFrame
        Index patient id; ``time_months``, ``event``; late entry in ``entry_months`` is refused.
    made : Design
    min_count : int
        Events needed beside five for each coefficient, and patients on either side of a factor.
    """
    nobody = pd.DataFrame(columns=["term", "hr", "ci_low", "ci_high", "p"])
    late = times["entry_months"].fillna(0).gt(0).any() if "entry_months" in times else False
    table = times[["time_months", "event"]].join(made.table, how="inner")
    known = table.dropna()

    def nothing(reason: str) -> Outcome:
        ratio, p = not_estimable("hazard-ratio", reason), not_estimable("p-value", reason)
        return Outcome(ratio, ratio, p, p, nobody, known.iloc[:0], f"{reason}.")

    if late:
        return nothing("patients enter late, which this analysis does not model")
    kept = [c for c in made.covariates if _varies(known[c], max(min_count, 1))]
    events = int(known["event"].sum())
    if events < max(min_count, 2 * EVENTS_PER_TERM):
        return nothing("withheld: too few events among patients with all covariates")
    y = known["time_months"], known["event"]
    alone = cox(*y, known[["score"]])
    straight = splines.nonlinearity(*y, known[["score", *kept]], "score")
    first = alone.hazard_ratio("score")
    used = known[["time_months", "event", "score", *kept]]
    if events < EVENTS_PER_TERM * (1 + len(kept)):
        few = f"withheld: fewer than {EVENTS_PER_TERM} events for each coefficient"
        none, p = not_estimable("hazard-ratio", few), not_estimable("p-value", few)
        return Outcome(first, none, p, p, nobody, used, f"{few}.")
    try:
        base = cox(*y, known[kept]) if kept else None
        full = cox(*y, known[["score", *kept]])
    except ValueError as refused:
        return nothing(str(refused).split("\n")[0])
    gate = gates.events_per_variable(events, 1 + len(kept))
    shown, note = full, "Patients who lack a covariate are left out."
    if gate.status == "failed" or full.reasons:
        shown = firth_cox(*y, known[["score", *kept]])
        note += " Firth's penalty stands in for plain likelihood."
    gain = added(base, full) if base is not None else full.likelihood_ratio()
    factors = {n: [c for c in cs if c in kept] for n, cs in made.factors.items()}
    many = {n: cs for n, cs in factors.items() if len(cs) > 1}
    checked = (gate, gates.proportional_hazards(full, factors=many or None))
    terms = shown.table[["term", "hr", "ci_low", "ci_high", "p"]]
    terms = terms.assign(term=terms["term"].map(lambda c: made.words.get(c, c)))
    second = shown.hazard_ratio("score")
    if min_count > 0:
        first, second = replace(first, n_events=None), replace(second, n_events=None)
        straight, gain = replace(straight, n_events=None), replace(gain, n_events=None)
    return Outcome(first, second, straight, gain, terms, used, note, checked)


def _varies(values: pd.Series, least: int) -> bool:
    if set(values.unique()) <= {0.0, 1.0}:
        return bool(min((values == 0).sum(), (values == 1).sum()) >= least)
    return bool(values.nunique() > 2)


def detectable(events: float, *, r_squared: float = 0.0, power: float = 0.8) -> Estimate:
    """Return the hazard ratio per SD, above 1, that so many events show with this power.

    Raises
    ------
    ValueError
        If `events` is not positive, `r_squared` not within 0 and 1, or `power` not between.
    """
    d, r2 = as_number(events, "events"), as_number(r_squared, "r_squared")
    if d <= 0 or not 0 <= r2 < 1 or not 0 < power < 1:
        raise ValueError("expected events above 0, r_squared below 1 and power between 0 and 1")
    reach = float(norm.isf(0.025) + norm.ppf(power))
    return Estimate(
        "hazard-ratio", math.exp(reach / math.sqrt(d * (1 - r2))), ci_level=None,
        n_events=round(d), method=f"hazard ratio per SD seen with {100 * power:g}% power",
    )  # fmt: skip


def detectable_like(estimate: Estimate, *, power: float = 0.8) -> Estimate:
    """Return the hazard ratio above 1 that a cohort as exact as this one shows with this power.

    The standard error is read from the interval, so that it tells nothing beyond it.
    """
    e = estimate
    if e.value is None or e.ci_low is None or e.ci_high is None or not e.ci_level:
        return not_estimable("hazard-ratio", e.reason or "no interval")
    error = math.log(e.ci_high / e.ci_low) / (2 * float(norm.isf((1 - e.ci_level) / 2)))
    reach = float(norm.isf(0.025) + norm.ppf(power))
    return Estimate(
        "hazard-ratio", math.exp(reach * error), ci_level=None,
        method=f"hazard ratio per SD seen with {100 * power:g}% power, from the interval's width",
    )  # fmt: skip


def powers(
    n: int, ratios: Sequence[float], event_fractions: Sequence[float], *, r_squared: float
) -> pd.DataFrame:
    """Return the power of the adjusted model: a row a share of events, a column a hazard ratio."""
    from ballbook.power import cox_power

    rows = []
    for share in event_fractions:
        row: dict[str, float] = {"share": share, "events": round(n * share)}
        for hr in ratios:
            found = cox_power(hr, n * share, sd=1.0, r_squared=r_squared).value
            row[f"{hr:g}"] = float("nan") if found is None else found
        row["detectable"] = float(detectable(n * share, r_squared=r_squared).value or math.nan)
        rows.append(row)
    return pd.DataFrame(rows)

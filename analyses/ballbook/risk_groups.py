"""Factors known at diagnosis and after induction, and a transparent model of them.

Each factor is one column that another cohort can fill: age of ten years or more, the decimal
logarithm of the white count, disease in the nervous system, favourable genetics, *KMT2A*
rearrangement, *BCR::ABL1*, and MRD as powers of ten above a floor. What is not known stays missing:
an untested patient is never counted as without the change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import chi2

from ballbook import clearance
from ballbook.cohort import Cohort
from ballbook.cox import CoxFit, cox
from ballbook.imputation import chained_equations, rubin
from ballbook.results import Estimate, not_estimable
from ballbook.survival import kaplan_meier

WORDS = {
    "age_10": "age 10 years or more",
    "log_wbc": "white count, per tenfold",
    "cns": "CNS2 or CNS3 v CNS1",
    "favourable": "ETV6::RUNX1 or hyperdiploid",
    "kmt2a": "KMT2A rearranged",
    "ph": "BCR::ABL1",
    "mrd": "MRD, per tenfold above the floor",
}
AT_DIAGNOSIS = ("age_10", "log_wbc", "cns", "favourable", "kmt2a", "ph")
AFTER_INDUCTION = (*AT_DIAGNOSIS, "mrd")
FAVOURABLE = ("ETV6::RUNX1", "hyperdiploid")
ADVERSE = ("KMT2A-r", "hypodiploid", "iAMP21")
AGE_LIMIT, WHITE_LIMIT = 10.0, 50.0
DAYS_PER_MONTH = 365.25 / 12


def _flag(patients: pd.DataFrame, name: str) -> pd.Series:
    if name not in patients:
        return pd.Series(np.nan, patients.index)
    return pd.to_numeric(patients[name], errors="coerce")


def _any(subtype: pd.Series, words: Sequence[str], flags: Sequence[pd.Series]) -> pd.Series:
    """Return 1 where a subtype or flag says so, 0 where the subtype or all flags deny it."""
    known = subtype.notna()
    out = pd.Series(np.nan, subtype.index)
    if flags:
        denied = pd.concat([f == 0 for f in flags], axis=1).all(axis=1)
        out[denied] = 0.0
    out[known] = subtype[known].isin(words).astype(float)
    for flag in flags:
        out[flag == 1] = 1.0
    return out


def factors(cohort: Cohort, *, timepoint: str = "", floor: float = 1e-4) -> pd.DataFrame:
    """Return the factors of B-lineage patients, missing where not known.

    Parameters
    ----------
    cohort : Cohort
        ``patients`` with any of ``age_years``, ``wbc_10e9_per_l``, ``cns``, ``subtype``,
        ``kmt2a_r``, ``bcr_abl1``, ``etv6_runx1``, ``trisomy_4_10``; MRD if there is any.
    timepoint : str
        Time point of MRD; none gives no MRD.
    floor : float
        MRD below this fraction counts as this fraction.

    Returns
    -------
    DataFrame, index patient
        `AFTER_INDUCTION`, and ``adverse`` (*KMT2A*, hypodiploid or iAMP21: known with the subtype
        alone), ``nci_high`` (age of 10 years or white count of 50 x 10^9/L, or more),
        ``mrd_positive`` (at the floor or above), ``mrd_level`` (fraction), ``age_years``, ``wbc``,
        ``cns3``, ``genetics``.

    Raises
    ------
    ValueError
        A floor that is no fraction; a time point that the cohort has not.
    """
    if not 0 < floor < 1:
        raise ValueError(f"floor is {floor:g}, expected between 0 and 1")
    p = cohort.patients
    if "lineage" in p:
        p = p[p["lineage"].fillna("") == "B"] if cohort.tier == "open" else p[p["lineage"] != "T"]
    p = p.set_index("patient_id")
    age, wbc = _flag(p, "age_years"), _flag(p, "wbc_10e9_per_l")
    subtype = p["subtype"] if "subtype" in p else pd.Series(np.nan, p.index, dtype=object)
    cns = p["cns"] if "cns" in p else pd.Series(np.nan, p.index, dtype=object)
    kmt2a, ph = _flag(p, "kmt2a_r"), _flag(p, "bcr_abl1")
    old, white = _at_least(age, AGE_LIMIT), _at_least(wbc, WHITE_LIMIT)
    found = pd.DataFrame(
        {
            "age_10": old,
            "log_wbc": np.log10(wbc.where(wbc > 0)),
            "cns": cns.isin(["CNS2", "CNS3"]).astype(float).where(cns.notna()),
            "favourable": _any(subtype, FAVOURABLE, _given(p, "etv6_runx1", "trisomy_4_10")),
            "kmt2a": _any(subtype, ["KMT2A-r"], [kmt2a] if kmt2a.notna().any() else []),
            "ph": _any(subtype, ["BCR::ABL1"], [ph] if ph.notna().any() else []),
            "adverse": subtype.isin(ADVERSE).astype(float).where(subtype.notna()),
            # One of the two at its limit decides, whatever the other is.
            "nci_high": pd.concat([old, white], axis=1).max(axis=1).where(
                (old == 1) | (white == 1) | (old.notna() & white.notna())
            ),
            "cns3": (cns == "CNS3").astype(float).where(cns.notna()),
            "age_years": age,
            "wbc": wbc,
        },
        index=p.index,
    )  # fmt: skip
    level = pd.Series(np.nan, p.index)
    if timepoint and cohort.mrd is not None:
        seen = clearance.bounds(clearance.at(cohort.mrd, timepoint))
        # "Positive" without a level says which side of the floor, not how far; a limit of detection
        # above the floor leaves both open where nothing was detected.
        near = 1e-9 * floor
        low = ~seen["detected"] & (seen["limit"] <= floor + near)
        exact = seen["detected"] & (seen["low"] == seen["high"])
        level = (10 ** seen["high"]).where(exact | low).reindex(p.index)
        side = (level.reindex(seen.index) >= floor - near).astype(float).where(exact, 1.0)
        side = side.where(seen["detected"], 0.0).where(seen["detected"] | low)
        found["mrd_positive"] = side.reindex(p.index)
    else:
        found["mrd_positive"] = np.nan
    found["mrd_level"] = level
    found["mrd"] = np.log10(level.clip(lower=floor) / floor)
    bad = (found["adverse"] == 1) | (found["kmt2a"] == 1)
    told = subtype.notna() | (found[["favourable", "ph", "kmt2a"]] == 0).all(axis=1)
    found["genetics"] = np.select(
        [found["favourable"] == 1, found["ph"] == 1, bad, told],
        ["favourable", "BCR::ABL1", "adverse", "neither"],
        default="",
    )
    found["genetics"] = found["genetics"].replace("", np.nan)
    return found


def _at_least(values: pd.Series, limit: float) -> pd.Series:
    return (values >= limit).astype(float).where(values.notna())


def _given(p: pd.DataFrame, *names: str) -> list[pd.Series]:
    """Return flags, all of them, or none: some alone cannot deny the others."""
    flags = [_flag(p, n) for n in names]
    return flags if all(f.notna().any() for f in flags) else []


def timed(cohort: Cohort, endpoint: str, table: pd.DataFrame) -> pd.DataFrame:
    """Return `table` of `factors` of the patients who have an endpoint, timed: ``time``, ``event``.

    ``kind`` names the event and ``protocol`` the protocol, where known.
    """
    rows = cohort.endpoint(endpoint).drop_duplicates("patient_id").set_index("patient_id")
    rows = rows.loc[rows.index.intersection(table.index)]
    found = table.loc[rows.index].assign(time=rows["time_months"], event=rows["event"])
    found["kind"] = rows.get("event_type", np.nan)
    found["protocol"] = rows.get("protocol", np.nan)
    return found


def fit(table: pd.DataFrame, terms: Sequence[str], *, strata: str | None = "set") -> CoxFit:
    """Return a Cox model of `terms` on complete cases, with a baseline for each of `strata`."""
    used = table.dropna(subset=list(terms))
    by = None if strata is None else used[strata]
    return cox(used["time"], used["event"], used[list(terms)].astype(float), strata=by)


def ratio(
    table: pd.DataFrame, terms: Sequence[str], term: str, *, strata: str | None = "set"
) -> Estimate:
    """Return one hazard ratio of `fit`, not estimable where the data do not hold it."""
    used = table.dropna(subset=list(terms))
    by = used.groupby(strata)[term] if strata else [("", used[term])]
    if not any(v.nunique() > 1 and used.loc[v.index, "event"].any() for _, v in by):
        reason = "does not vary within a stratum with events"
        return not_estimable("hazard-ratio", reason, n=len(used))
    flat = [t for t in terms if used[t].nunique() < 2]
    if flat:
        told = ", ".join(WORDS.get(t, t) for t in flat)
        return not_estimable("hazard-ratio", f"all are alike in: {told}", n=len(used))
    try:
        return fit(used, terms, strata=strata).hazard_ratio(term)
    except ValueError as refused:
        return not_estimable("hazard-ratio", str(refused).split("\n")[0], n=len(used))


def by_stratum(
    table: pd.DataFrame,
    terms: Sequence[str],
    term: str,
    *,
    strata: str = "set",
    least: int = 5,
) -> tuple[dict[str, Estimate], Estimate]:
    r"""Return the hazard ratio of a term in each stratum, and whether the ratios differ.

    One Cox model with a baseline for each of :math:`K` strata holds the term once for each
    stratum, :math:`\beta_1,\dots,\beta_K`, and the other terms once; twice what its log
    likelihood gains over one :math:`\beta` is chi-square with :math:`K-1` degrees of freedom.

    Parameters
    ----------
    terms : sequence of str
        Of the model; `term` is added where it is not among them.
    least : int
        Patients with and without a 0/1 term that a stratum needs, beside an event.

    Returns
    -------
    ratios : dict
        By stratum, not estimable where the term does not vary enough.
    differ : Estimate
        Kind ``p-value``.
    """
    terms = list(dict.fromkeys([*terms, term]))
    used = table.dropna(subset=terms)
    found: dict[str, Estimate] = {}
    held = []
    for name, inside in used.groupby(strata):
        v = inside[term]
        binary = set(v.unique()) <= {0.0, 1.0}
        few = v.nunique() < 2 or (binary and v.value_counts().min() < least)
        if few or not inside["event"].any():
            reason = f"fewer than {least} patients on one side, or no event"
            found[str(name)] = not_estimable("hazard-ratio", reason, n=len(inside))
        else:
            held.append(str(name))
    used = used[used[strata].isin(held)]
    if not held:
        return found, not_estimable("p-value", "no stratum in which the term varies")
    split = {f"{term} in {name}": used[term].where(used[strata] == name, 0.0) for name in held}
    others = [t for t in terms if t != term and used[t].nunique() > 1]
    try:
        apart = fit(used.assign(**split), [*others, *split], strata=strata)
        one = fit(used, [*others, term], strata=strata)
    except ValueError as refused:
        reason = str(refused).split("\n")[0]
        none = not_estimable("hazard-ratio", reason, n=len(used))
        return found | dict.fromkeys(held, none), not_estimable("p-value", reason, n=len(used))
    for name, column in zip(held, split, strict=True):
        inside = used[used[strata] == name]
        found[name] = replace(
            apart.hazard_ratio(column), n=len(inside), n_events=int(inside["event"].sum())
        )
    if len(held) < 2:
        return found, not_estimable("p-value", "the term varies in one stratum", n=len(used))
    gain = max(2 * (apart.log_likelihood - one.log_likelihood), 0.0)
    p = float(chi2.sf(gain, len(held) - 1))
    return found, Estimate(
        "p-value", p, p_value=p, statistic=gain, df=len(held) - 1, n=len(used),
        n_events=int(used["event"].sum()), method="likelihood ratio, term by stratum",
    )  # fmt: skip


def left_out(
    table: pd.DataFrame, terms: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Tell what a stratified model loses without each group of terms.

    Returns
    -------
    DataFrame
        ``factor``, ``df`` (terms in it), ``chi2`` (likelihood ratio), ``p``, ``chi2_per_df``,
        ``c_lost`` (apparent concordance), largest ``chi2_per_df`` first.
    """
    full = fit(table, terms)
    whole = full.concordance().value
    used = table.dropna(subset=list(terms))
    rows = []
    for name, out in groups.items():
        less = fit(used, [t for t in terms if t not in out])
        c = less.concordance().value
        gain = 2 * (full.log_likelihood - less.log_likelihood)
        rows.append(
            {
                "factor": name, "df": len(out), "chi2": gain, "p": float(chi2.sf(gain, len(out))),
                "chi2_per_df": gain / len(out),
                "c_lost": None if whole is None or c is None else whole - c,
            }
        )  # fmt: skip
    return pd.DataFrame(rows).sort_values("chi2_per_df", ascending=False, ignore_index=True)


def imputed_ratios(
    table: pd.DataFrame, terms: Sequence[str], *, m: int, seed: int, strata: str = "set"
) -> dict[str, Estimate]:
    r"""Return hazard ratios after multiple imputation of missing factors.

    The imputation model holds all terms, the strata, the event and the Nelson-Aalen estimate of the
    cumulative hazard at the patient's time (White and Royston, Stat Med 2009;28:1982); coefficients
    are combined by Rubin's rules with :math:`D-p` complete degrees of freedom for :math:`D` events.

    Raises
    ------
    ValueError
        As for `chained_equations`.
    """
    hazard = _nelson_aalen(table["time"], table["event"])
    data = table[list(terms)].astype(float).assign(
        event=table["event"].astype(float), hazard=hazard
    )  # fmt: skip
    groups = pd.get_dummies(table[strata], dtype=float).iloc[:, 1:]
    data = pd.concat([data, groups.add_prefix("in ")], axis=1)
    coefs, variances = [], []
    for done in chained_equations(data, m, seed=seed):
        model = cox(table["time"], table["event"], done[list(terms)], strata=table[strata])
        coefs.append(model.coef)
        variances.append(np.diag(model.covariance))
    events = int(table["event"].sum())
    found = {}
    for j, term in enumerate(terms):
        pooled = rubin(
            [c[j] for c in coefs], [v[j] for v in variances],
            df_complete=max(events - len(terms), 1),
        )  # fmt: skip
        low, high = pooled.interval()
        found[term] = Estimate(
            "hazard-ratio", float(np.exp(pooled.estimate)), float(np.exp(low)),
            float(np.exp(high)), p_value=pooled.p_value(), n=len(table), n_events=events,
            df=pooled.df, method=f"stratified Cox, {m} imputations by Rubin's rules",
        )  # fmt: skip
    return found


def _nelson_aalen(time: pd.Series, event: pd.Series) -> np.ndarray:
    table = kaplan_meier(time, event).table
    steps = np.cumsum(table["n_event"].to_numpy(float) / table["n_risk"].to_numpy(float))
    place = np.searchsorted(table["time"].to_numpy(float), time.to_numpy(float), side="right")
    return np.asarray(np.concatenate([[0.0], steps])[place])


def levels(table: pd.DataFrame) -> dict[str, dict[str, pd.Series]]:
    """Return, for each factor in words, its levels and who is in them (missing: in none)."""
    age, both, genetics = table["age_years"], table["mrd_positive"], table["genetics"]
    mrd = table["mrd_level"] * (1 + 1e-9)
    return {
        "NCI risk": {
            "standard": table["nci_high"] == 0, "high": table["nci_high"] == 1,
        },
        "Age, years": {
            "1 to 9": (age >= 1) & (age < 10), "10 to 15": (age >= 10) & (age < 16),
            "16 and over": age >= 16,
        },
        "White count": {
            "under 50": table["wbc"] < 50, "50 to 99": (table["wbc"] >= 50) & (table["wbc"] < 100),
            "100 and over": table["wbc"] >= 100,
        },
        "CNS": {"CNS1": table["cns"] == 0, "CNS2 or CNS3": table["cns"] == 1},
        "Genetics": {
            "favourable": genetics == "favourable", "neither": genetics == "neither",
            "adverse": genetics == "adverse", "BCR::ABL1": genetics == "BCR::ABL1",
        },
        "MRD": {
            "below the floor": both == 0,
            "floor to 0.1%": (both == 1) & (mrd < 1e-3), "0.1 to 1%": (mrd >= 1e-3) & (mrd < 1e-2),
            "1% and over": mrd >= 1e-2,
        },
        "Genetics and MRD": {
            f"{g}, MRD {w}": (genetics == g) & (both == v)
            for g in ("favourable", "neither", "adverse")
            for w, v in (("negative", 0), ("positive", 1))
        },
    }  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A fitted model that can be applied to other patients.

    Attributes
    ----------
    terms : tuple of str
    coef : dict
        Log hazard ratio of each term.
    hazard : dict
        Cumulative baseline hazard at `at` for NCI ``standard`` and ``high`` risk.
    at : float
        In months.
    """

    terms: tuple[str, ...]
    coef: Mapping[str, float]
    hazard: Mapping[str, float]
    at: float

    def predictor(self, table: pd.DataFrame) -> pd.Series:
        """Return the linear predictor of patients who have every term."""
        return sum((table[t] * self.coef[t] for t in self.terms), pd.Series(0.0, table.index))

    def survival(self, table: pd.DataFrame) -> pd.Series:
        """Return predicted survival, by the baseline of the patient's NCI risk."""
        hazard = table["nci_high"].map({0.0: self.hazard["standard"], 1.0: self.hazard["high"]})
        return np.exp(-hazard * np.exp(self.predictor(table)))


def usable_terms(table: pd.DataFrame, terms: Sequence[str], least: int) -> list[str]:
    """Return the terms that are known of half the patients and vary enough among them.

    A 0/1 term needs `least` patients (and one at least) on either side.
    """
    found = []
    for t in terms:
        v = table[t].dropna()
        if len(v) < max(len(table) / 2, 1):
            continue
        if set(v.unique()) <= {0.0, 1.0}:
            if min((v == 0).sum(), (v == 1).sum()) >= max(least, 1):
                found.append(t)
        elif v.nunique() > 2:
            found.append(t)
    return found

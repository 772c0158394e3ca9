r"""MRD clearance: levels as bounds, ordered classes by a stated rule, and what they go with.

*Levels.* A level on the scale :math:`\log_{10}` is known exactly where a detected value reaches the
limit of detection :math:`L`, and lies below :math:`\log_{10} L` otherwise. The fall between two
time points is then known exactly, at least (later value below its limit), at most (earlier one
below), or not at all (both).

*Classes.* The paper that speaks of fast, intermediate and slow clearance prints no cut-offs, so a
rule is stated here. At one time point, fast is below one cut-off and slow at or above another. At
two, fast is negative at the earlier one and not positive later, intermediate turns negative between
them, and slow is positive at the later one. A class that a limit of detection leaves open is
missing.

*What they go with.* Levels by interval regression (`ballbook.censored_regression`), classes by
proportional odds, two classes by logistic regression; Firth's penalised likelihood where events are
few or a covariate separates the outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ballbook import gates, trees
from ballbook.censored_regression import CensoredFit, Distribution, interval_regression
from ballbook.dictionaries import plain
from ballbook.linear import linear_model
from ballbook.logistic import firth_logistic, logistic
from ballbook.mrd import positivity
from ballbook.ordinal import OrdinalFit, proportional_odds
from ballbook.results import Estimate, Gate, not_estimable

# What is done with a value that was not detected, by words for a reader.
SUBSTITUTES = {"half the limit": 0.5, "the limit": 1.0}
FLOOR = 1e-6


def at(levels: pd.DataFrame, timepoint: str) -> pd.DataFrame:
    """Return the rows of one time point by patient; case does not matter.

    Raises
    ------
    ValueError
        Where there is no such time point, naming those there are.
    """
    there = {plain(str(t)): t for t in reversed(list(dict.fromkeys(levels["timepoint"])))}
    if plain(timepoint) not in there:
        known = ", ".join(str(t) for t in reversed(list(there.values()))) or "none"
        raise ValueError(f"no MRD at {timepoint!r}; there is {known}")
    rows = levels[levels["timepoint"] == there[plain(timepoint)]]
    wanted = ["level", "limit_of_detection", "category"]
    return rows.drop_duplicates("patient_id").set_index("patient_id").reindex(columns=wanted)


def bounds(rows: pd.DataFrame, *, assumed_limit: float = 1e-4) -> pd.DataFrame:
    """Return levels as bounds of their decimal logarithm.

    Parameters
    ----------
    rows : DataFrame, index patient
        ``level`` (fraction), ``limit_of_detection``, ``category``, as `at` returns them.
    assumed_limit : float
        Limit of detection of values that were not detected, where none (or zero) is stated.

    Returns
    -------
    DataFrame, index patient
        ``low``, ``high`` (log10; equal where known, ``-inf`` where not detected), ``limit``
        (fraction) and ``detected``. Classes without a level count where they say whether anything
        was detected: ``negative`` and ``positive``; ``low`` and ``high`` have no cut-off and are
        left out.

    Raises
    ------
    ValueError
        If a level is not a fraction, or the assumed limit not between 0 and 1.
    """
    if not 0 < assumed_limit < 1:
        raise ValueError(f"assumed_limit is {assumed_limit:g}, expected between 0 and 1")
    level = rows["level"].to_numpy(dtype=float)
    if np.nanmax(level, initial=0) > 1 or np.nanmin(level, initial=0) < 0:
        raise ValueError("levels should be fractions between 0 and 1; are these percent?")
    stated = rows["limit_of_detection"].to_numpy(dtype=float)
    given = np.isfinite(stated) & (stated > 0)
    limit = np.where(given, stated, assumed_limit)
    said = rows["category"].astype(object).map(lambda c: str(c).strip().lower()).to_numpy()
    seen = np.where(np.isnan(level), said == "positive", level > 0)
    # A stated limit says what may be read; an assumed one cannot overrule a printed value.
    seen &= ~(given & (level < limit))
    known = ~np.isnan(level) | np.isin(said, ["negative", "positive"])
    with np.errstate(divide="ignore"):
        exact, edge = np.log10(level), np.log10(limit)
    classed = seen & np.isnan(level)
    low = np.where(classed, edge, np.where(seen, exact, -np.inf))
    high = np.where(classed, 0.0, np.where(seen, exact, edge))
    found = pd.DataFrame(
        {"low": low, "high": high, "limit": limit, "detected": seen}, index=rows.index
    )
    return found[known]


def fall(earlier: pd.DataFrame, later: pd.DataFrame) -> pd.DataFrame:
    """Return bounds of the fall in log10 between two time points, where any is known.

    Parameters
    ----------
    earlier, later : DataFrame
        As `bounds` returns them.
    """
    both = earlier.join(later, how="inner", lsuffix="_1", rsuffix="_2")
    low, high = both["low_1"] - both["high_2"], both["high_1"] - both["low_2"]
    found = pd.DataFrame({"low": low, "high": high})
    return found[np.isfinite(low) | np.isfinite(high)]


@dataclass(frozen=True, slots=True)
class Rule:
    """How MRD makes a class of clearance.

    Parameters
    ----------
    late : str
        Time point; with `early` empty the only one.
    early : str
        Earlier time point of a rule of two.
    cut : float
        Positive at or above it.
    slow_from : float, optional
        Slow at or above it, for a rule of one time point.
    """

    late: str
    early: str = ""
    cut: float = 1e-4
    slow_from: float = 1e-3

    @property
    def words(self) -> str:
        """The rule for a reader."""
        if self.early:
            return f"{self.early} and {self.late}, {self.cut:g}"
        return f"{self.late}, {self.cut:g} and {self.slow_from:g}"


def classes(levels: pd.DataFrame, rule: Rule) -> pd.Series:
    """Return the class of clearance of each patient, an ordered categorical; NaN where open.

    Raises
    ------
    ValueError
        For an unknown time point, or a slow cut-off that is not above the other.
    """

    def positive(timepoint: str, cut: float) -> pd.Series:
        rows = at(levels, timepoint)
        return positivity(
            rows["level"],
            cut,
            limit_of_detection=rows["limit_of_detection"],
            category=rows["category"],
        )

    if rule.early:
        first, last = positive(rule.early, rule.cut), positive(rule.late, rule.cut)
        patients = first.index.union(last.index)
        first, last = first.reindex(patients), last.reindex(patients)
    elif rule.slow_from <= rule.cut:
        raise ValueError(f"slow_from is {rule.slow_from:g}, expected above cut, {rule.cut:g}")
    else:
        first, last = positive(rule.late, rule.cut), positive(rule.late, rule.slow_from)
    # An unknown earlier value leaves the class open: otherwise slow alone would be seen there.
    slow, turned = first.notna() & (last == 1), (first == 1) & (last == 0)
    found = np.select([slow, turned, first == 0], [*trees.CLEARANCE[::-1]], default="")
    kind = pd.CategoricalDtype(list(trees.CLEARANCE), ordered=True)
    return pd.Series(found, index=first.index, name="clearance").replace("", np.nan).astype(kind)


def covariates(patients: pd.DataFrame) -> pd.DataFrame:
    """Return what clearance may go with, by patient: numbers, 0/1, NaN where not known.

    Age per 10 years, log10 of the white count, sex, the partners AFF1, MLLT1 and MLLT3 (0 for a
    named other or none named), the paper's age groups, and maturity per 0.1.
    """
    blank = pd.Series(np.nan, index=patients.index)
    age = patients.get("age_years", blank).astype(float)
    white = patients.get("wbc_10e9_per_l", blank).astype(float)
    partner = patients.get("fusion_partner", blank).map(trees.partner_of)
    found = pd.DataFrame(
        {
            "age": age / 10,
            "white_cells": np.log10(white.where(white > 0)),
            "male": patients.get("sex", blank).map({"M": 1.0, "F": 0.0}),
            **{g.lower(): (partner == g).astype(float) for g in ("AFF1", "MLLT1", "MLLT3")},
            "infant": (age < 1).astype(float).where(age.notna()),
            "adult": (age >= 18).astype(float).where(age.notna()),
            "maturity": patients.get("maturity", blank).astype(float) / 0.1,
        }
    )
    found.index = pd.Index(patients["patient_id"])
    return found


def dummies(labels: pd.Series, name: str) -> pd.DataFrame:
    """Return 0/1 columns of all labels but the most frequent; none for a single label.

    Parameters
    ----------
    name : str
        What the labels are, in words: columns are called ``name: label``.
    """
    order = labels.value_counts().index
    return pd.DataFrame(
        {f"{name}: {v}": (labels == v).astype(float) for v in order[1:]}, labels.index
    )


def usable(X: pd.DataFrame, name: str, *, minimum: int) -> tuple[pd.DataFrame, str]:
    """Return the complete rows of a design without its constant columns, or why `name` is lost.

    Parameters
    ----------
    minimum : int
        Fewest patients on either side of a 0/1 covariate, and beyond the number of terms.
    """
    if X[name].isna().all():
        return X.iloc[:0], f"{name.replace('_', ' ')} is not known"
    whole = X.dropna(axis=1, how="all").dropna()
    binary = set(whole[name].unique()) <= {0.0, 1.0}
    if binary and min((whole[name] == v).sum() for v in (0.0, 1.0)) < minimum:
        return whole, f"fewer than {minimum} patients on one side"
    whole = whole.loc[:, whole.nunique() > 1]
    if name not in whole or len(whole) < whole.shape[1] + 1 + minimum:
        return whole, "too few patients"
    return whole, ""


def level_effect(
    levels: pd.DataFrame,
    X: pd.DataFrame,
    name: str,
    *,
    distribution: Distribution = "gaussian",
    minimum: int = 5,
) -> tuple[Estimate, CensoredFit | None]:
    """Return how much log10 MRD changes per unit of a covariate, by interval regression.

    Parameters
    ----------
    levels : DataFrame, index patient
        ``low`` and ``high`` as `bounds` or `fall` return them.
    X : DataFrame, index patient
        The covariate `name` and those it is adjusted for; patients with a missing one are left out.
    minimum : int
        See `usable`.
    """
    shared = levels.index.intersection(X.index)
    whole, why = usable(X.loc[shared], name, minimum=minimum)
    if why:
        return not_estimable("difference", why, unit="log10"), None
    rows = levels.loc[whole.index]
    try:
        fit = interval_regression(rows["low"], rows["high"], whole, distribution=distribution)
    except ValueError as error:
        return not_estimable("difference", str(error).split(": ")[-1], unit="log10"), None
    return fit.coefficient(name, unit="log10"), fit


def naive_effects(levels: pd.DataFrame, X: pd.DataFrame, name: str) -> dict[str, Estimate]:
    """Return the same change by least squares, with undetected values replaced or left out.

    Parameters
    ----------
    levels : DataFrame
        As `bounds` returns them.
    """
    shared = levels.index.intersection(X.dropna().index)
    rows, design = levels.loc[shared], X.loc[shared]
    seen = rows["detected"].to_numpy(dtype=bool)
    value = rows["low"].to_numpy(dtype=float)
    limit = rows["limit"].to_numpy(dtype=float)
    found = {
        words: linear_model(np.where(seen, value, np.log10(part * limit)), design)
        for words, part in SUBSTITUTES.items()
    }
    found[f"{FLOOR:g}"] = linear_model(np.where(seen, value, np.log10(FLOOR)), design)
    kept = design[seen].loc[:, design[seen].nunique() > 1]
    if name in kept and seen.sum() > kept.shape[1] + 1:
        found["left out"] = linear_model(value[seen], kept)
    return {words: fit.coefficient(name, unit="log10") for words, fit in found.items()}


@dataclass(frozen=True, slots=True)
class ClassEffect:
    """What a covariate does to the odds of slower clearance.

    Attributes
    ----------
    estimate : Estimate
        Odds ratio of a slower class; of any but fast where the levels are separated.
    fit : OrdinalFit or None
    gate : Gate
        Whether this odds ratio serves both cuts; of what it is adjusted for nothing is asked.
    """

    estimate: Estimate
    fit: OrdinalFit | None
    gate: Gate


def class_effect(
    clearance: pd.Series, X: pd.DataFrame, name: str, *, minimum: int = 5, profile: bool = True
) -> ClassEffect:
    """Return the odds ratio of a slower class per unit of a covariate, by proportional odds.

    Parameters
    ----------
    clearance : Series, index patient
        As `classes` returns it.
    X : DataFrame, index patient
        As in `level_effect`.
    minimum : int
        See `usable`; also fewest patients outside the largest class.
    profile : bool
        See `ballbook.ordinal.OrdinalFit.odds_ratio`.
    """
    open_gate = Gate("parallel odds", "not-applicable", None, 0.05, "no ordinal model")
    known = clearance.dropna()
    shared = known.index.intersection(X.index)
    whole, why = usable(X.loc[shared], name, minimum=minimum)
    outcome = known.loc[whole.index]
    if not why and outcome.nunique() < 2:
        why = "all patients are in one class"
    elif not why and len(outcome) - outcome.value_counts().max() < minimum:
        why = f"fewer than {minimum} patients outside the largest class"
    if why:
        return ClassEffect(not_estimable("odds-ratio", why), None, open_gate)
    fit = proportional_odds(outcome.to_numpy(), whole, levels=list(trees.CLEARANCE))
    if fit.separated:
        estimate, _ = binary_effect((outcome != "fast").astype(float), whole, name, minimum=minimum)
        return ClassEffect(estimate, None, replace(open_gate, action="the classes are separated"))
    gate = gates.parallel_odds(fit, terms=[name])
    return ClassEffect(fit.odds_ratio(name, profile=profile), fit, gate)


def binary_effect(
    outcome: pd.Series, X: pd.DataFrame, name: str, *, minimum: int = 5
) -> tuple[Estimate, tuple[Gate, ...]]:
    """Return the odds ratio of an outcome per unit of a covariate, and the gates that chose how.

    Firth's penalised likelihood where a covariate separates the outcome or a coefficient has fewer
    than ten events; maximum likelihood otherwise. Intervals are profiles of the likelihood.

    Parameters
    ----------
    outcome : Series of 0/1 or missing, index patient
    X : DataFrame, index patient
        As in `level_effect`.
    minimum : int
        See `usable`; also fewest patients with and without the outcome.
    """
    known = outcome.dropna()
    whole, why = usable(X.loc[known.index.intersection(X.index)], name, minimum=minimum)
    y = known.loc[whole.index].to_numpy(dtype=float)
    if not why and np.ptp(y) == 0:
        why = "all patients have the same outcome"
    elif not why and min(y.sum(), len(y) - y.sum()) < minimum:
        why = f"fewer than {minimum} patients with or without the outcome"
    if why:
        return not_estimable("odds-ratio", why), ()
    checks = (
        gates.events_per_variable(int(y.sum()), whole.shape[1], n=len(y)),
        gates.separation(y, whole),
    )
    penalised = any(g.status == "failed" for g in checks)
    fit = (firth_logistic if penalised else logistic)(y, whole)
    return fit.odds_ratio(name), checks


def coverage_by_method(
    fit: CensoredFit,
    limits: pd.Series,
    X: pd.DataFrame,
    names: Sequence[str],
    *,
    n_sim: int,
    seed: int,
) -> pd.DataFrame:
    """Draw levels from a fitted model, hide those under the limits, and analyse them in each way.

    Parameters
    ----------
    fit : CensoredFit
        The truth: coefficients, scale, design.
    limits : Series
        Limit of detection of each row (fraction).
    X : DataFrame
        Covariates of each row, those of `fit`.
    names : sequence of str
        Covariates whose coefficients are followed.

    Returns
    -------
    DataFrame
        term, method, truth, mean, coverage (share of 95% intervals that hold the truth), width
        (median), n_sim.
    """
    truth = fit.table.set_index("term")["coef"]
    edge = np.log10(limits.to_numpy(dtype=float))
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for rng in np.random.default_rng(seed).spawn(n_sim):
        y = fit.draw(rng)
        seen = y >= edge
        rows = pd.DataFrame(
            {
                "low": np.where(seen, y, -np.inf),
                "high": np.where(seen, y, edge),
                "limit": 10**edge,
                "detected": seen,
            },
            index=X.index,
        )
        again = interval_regression(rows["low"], rows["high"], X)
        for name in names:
            ways = {"interval regression": again.coefficient(name, profile=False)}
            ways |= naive_effects(rows, X, name)
            for method, e in ways.items():
                if e.value is not None and e.ci_low is not None and e.ci_high is not None:
                    found.setdefault((name, method), []).append((e.value, e.ci_low, e.ci_high))
    summary = []
    for (name, method), draws in found.items():
        value, low, high = np.array(draws).T
        target = float(truth[name])
        summary.append(
            {
                "term": name,
                "method": method,
                "truth": target,
                "mean": float(value.mean()),
                "coverage": float(((low <= target) & (target <= high)).mean()),
                "width": float(np.median(high - low)),
                "n_sim": len(value),
            }
        )
    return pd.DataFrame(summary)

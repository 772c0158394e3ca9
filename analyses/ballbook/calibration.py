r"""Calibration: do 95% intervals cover 95%, and do 5% tests reject 5%, at this book's sizes?

Each *study* draws data from a known truth many times, calls the estimators as a page calls them,
and counts. Small discrete problems are enumerated instead, so that they carry no Monte Carlo error.
The expected bands are 93.5 to 96.5% and 4 to 6%. An estimator outside its band stays in the table
with the reason; nothing is adjusted to bring it inside.

``python -m ballbook.calibration --out data/recorded/calibration`` takes some minutes on one core.
Every study has its own stream of random numbers, from the seed and its name, so a study can be
changed without changing the others.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import special, stats

from ballbook import (
    competing_risks,
    contingency,
    cox,
    gates,
    linear,
    logistic,
    meta_analysis,
    multiplicity,
    ordinal,
    rank_tests,
    survival,
)
from ballbook.results import Estimate
from ballbook.survival import Bools, Floats

Measure = Literal["coverage", "size", "error rate"]
Outcome = Mapping[str, "bool | float | None"]

SEED = 20260219
BANDS: dict[Measure, tuple[float, float]] = {
    "coverage": (0.935, 0.965),
    "size": (0.04, 0.06),
    "error rate": (0.0, 0.05),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: an estimator, what is counted, and why it may leave its band.

    `preferred` is false for estimators that are here for comparison only. A study's own `why`,
    by key, says more about that setting.
    """

    estimator: str
    measure: Measure
    why: str = ""
    preferred: bool = True


@dataclass(frozen=True, slots=True)
class Study:
    """A simulated setting.

    `simulate` draws one data set and says, for each key of `rows`, whether the interval covered or
    the test rejected (or the share of false discoveries); None where nothing was estimable.
    """

    name: str
    setting: str
    replicates: int
    simulate: Callable[[np.random.Generator], Outcome]
    rows: Mapping[str, Row] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Enumeration:
    """A setting whose outcomes can all be listed; `rates` returns the exact rates and notes."""

    name: str
    setting: str
    rates: Callable[[], Mapping[str, tuple[float, str]]]
    rows: Mapping[str, Row] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)


def covers(estimate: Estimate, truth: float) -> bool | None:
    """Return whether the interval holds `truth`; a missing bound is unbounded."""
    if estimate.value is None or (estimate.ci_low is None and estimate.ci_high is None):
        return None
    low = -math.inf if estimate.ci_low is None else estimate.ci_low
    high = math.inf if estimate.ci_high is None else estimate.ci_high
    return low <= truth <= high


def rejects(estimate: Estimate) -> bool | None:
    """Return whether P is below 0.05; None without a P value."""
    return None if estimate.p_value is None else estimate.p_value < 0.05


# --- survival ---------------------------------------------------------------------------------


def followed(
    rng: np.random.Generator, rate: Floats, first: float, last: float
) -> tuple[Floats, Bools]:
    """Return exponential times censored uniformly between `first` and `last` months."""
    event = rng.exponential(1 / rate)
    end = rng.uniform(first, last, len(rate))
    return np.minimum(event, end), event <= end


def two_groups(
    n1: int, n0: int, rate: float, ratio: float, window: tuple[float, float], tau: float
) -> Callable[[np.random.Generator], Outcome]:
    """Return a study of two exponential groups; the first has `ratio` times the hazard."""
    group = np.repeat([1.0, 0.0], [n1, n0])
    hazard = rate * np.where(group == 1, ratio, 1.0)
    x = pd.DataFrame({"group": group})
    mean1, mean0 = ((1 - math.exp(-r * tau)) / r for r in (rate * ratio, rate))

    def simulate(rng: np.random.Generator) -> Outcome:
        time, event = followed(rng, hazard, *window)
        fit = cox.cox(time, event, x)
        test = float(fit.proportional_hazards()["p"].iloc[0])
        curve = survival.kaplan_meier(time[group == 1], event[group == 1])
        mean = survival.restricted_mean_difference(time, event, group, tau)
        return {
            "logrank": rejects(survival.logrank(time, event, group)),
            "cox": covers(fit.hazard_ratio("group"), ratio),
            "cox-test": rejects(fit.hazard_ratio("group")),
            "zph": test < 0.05 if math.isfinite(test) else None,
            "rmst": covers(mean, mean1 - mean0),
            "rmst-test": rejects(mean),
            "km": covers(curve.at(tau), math.exp(-rate * ratio * tau)),
        }

    return simulate


def one_curve(n: int, rate: float, window: tuple[float, float], t: float) -> Any:
    """Return a study of one Kaplan-Meier curve: survival at `t` and the median."""

    def simulate(rng: np.random.Generator) -> Outcome:
        curve = survival.kaplan_meier(*followed(rng, np.full(n, rate), *window))
        return {
            "km": covers(curve.at(t), math.exp(-rate * t)),
            "median": covers(curve.median(), math.log(2) / rate),
        }

    return simulate


def late_entry(n: int, rate: float, ratio: float) -> Any:
    """Return a study of patients who enter late and are seen only if still event-free."""

    def simulate(rng: np.random.Generator) -> Outcome:
        group = rng.integers(0, 2, 6 * n).astype(float)
        event = rng.exponential(1 / (rate * np.where(group == 1, ratio, 1.0)))
        entry = rng.uniform(0, 24, 6 * n) * rng.integers(0, 2, 6 * n)
        seen = np.flatnonzero(event > entry)[:n]
        end = entry + rng.uniform(12, 60, 6 * n)
        time, died = np.minimum(event, end)[seen], (event <= end)[seen]
        x = pd.DataFrame({"group": group[seen]})
        fit = cox.cox(time, died, x, entry=entry[seen])
        late = survival.logrank(time, died, group[seen], entry=entry[seen])
        return {
            "cox": covers(fit.hazard_ratio("group"), ratio),
            "logrank": rejects(late) if ratio == 1 else None,
        }

    return simulate


def by_protocol(sizes: list[tuple[int, int]], rates: list[float]) -> Any:
    """Return a study of a stratified log-rank test and Cox model without an effect."""
    group = np.concatenate([np.repeat([1.0, 0.0], s) for s in sizes])
    strata = np.repeat(np.arange(len(sizes)), [sum(s) for s in sizes])
    hazard = np.array(rates)[strata]
    x = pd.DataFrame({"group": group})

    def simulate(rng: np.random.Generator) -> Outcome:
        time, event = followed(rng, hazard, 36, 96)
        return {
            "logrank": rejects(survival.logrank(time, event, group, strata=strata)),
            "cox": covers(cox.cox(time, event, x, strata=strata).hazard_ratio("group"), 1.0),
        }

    return simulate


def few_events(n: int, rate: float, ratio: float) -> Any:
    """Return a study of Cox and Firth's Cox with about ten events and a covariate in a quarter."""
    group = (np.arange(n) % 4 == 0).astype(float)
    hazard = rate * np.where(group == 1, ratio, 1.0)
    x = pd.DataFrame({"group": group})

    def simulate(rng: np.random.Generator) -> Outcome:
        time, event = followed(rng, hazard, 24, 60)
        if not event.any():
            return {"wald": None, "firth": None}
        return {
            "wald": covers(cox.cox(time, event, x).hazard_ratio("group"), ratio),
            "firth": covers(cox.firth_cox(time, event, x).hazard_ratio("group"), ratio),
        }

    return simulate


def adjusted_cox(n: int, rate: float) -> Any:
    """Return a study of a Cox model with three covariates."""
    truth = np.log([1.8, 1.0, 1.3])

    def simulate(rng: np.random.Generator) -> Outcome:
        x = pd.DataFrame(
            {
                "high": rng.binomial(1, 0.3, n),
                "sex": rng.binomial(1, 0.5, n),
                "score": rng.normal(size=n),
            }
        )
        time, event = followed(rng, rate * np.exp(x.to_numpy() @ truth), 12, 60)
        fit = cox.cox(time, event, x)
        return {
            "high": covers(fit.hazard_ratio("high"), 1.8),
            "score": covers(fit.hazard_ratio("score"), 1.3),
            "null": rejects(fit.hazard_ratio("sex")),
            "zph": _global_zph(fit),
            "gate": gates.proportional_hazards(fit).status == "failed",
        }

    return simulate


def _global_zph(fit: cox.CoxFit) -> bool | None:
    p = float(fit.proportional_hazards()["p"].iloc[-1])
    return p < 0.05 if math.isfinite(p) else None


def competing(n1: int, n0: int, rates: tuple[float, float], t: float) -> Any:
    """Return a study of cumulative incidence and Gray's test, the groups being alike."""
    group = np.repeat([1.0, 0.0], [n1, n0])
    total = sum(rates)
    truth = rates[0] / total * (1 - math.exp(-total * t))

    def simulate(rng: np.random.Generator) -> Outcome:
        time, event = followed(rng, np.full(n1 + n0, total), 24, 96)
        first = rng.random(n1 + n0) < rates[0] / total
        cause = np.where(event, np.where(first, 1, 2), 0)
        mine = group == 1
        curve = competing_risks.cumulative_incidence(time[mine], cause[mine], causes=[1, 2])[1]
        return {
            "aalen-johansen": covers(curve.at(t), truth),
            "gray": rejects(competing_risks.gray_test(time, cause, group)),
        }

    return simulate


def subdistribution(n1: int, n0: int, share: float, ratio: float) -> Any:
    """Return a study drawn from a Fine-Gray model (section 4 of Fine and Gray 1999)."""
    group = np.repeat([1.0, 0.0], [n1, n0])
    theta = np.where(group == 1, ratio, 1.0)
    x = pd.DataFrame({"group": group})

    def simulate(rng: np.random.Generator) -> Outcome:
        n = n1 + n0
        ever = 1 - (1 - share) ** theta
        first = rng.random(n) < ever
        # F1(t) = 1 - {1 - share (1 - exp(-t / 24))}^theta, inverted at a fraction of `ever`.
        u = rng.random(n) * ever
        time1 = -24 * np.log(1 - (1 - (1 - u) ** (1 / theta)) / share)
        event = np.where(first, time1, rng.exponential(24, n))
        end = rng.uniform(12, 96, n)
        cause = np.where(event <= end, np.where(first, 1, 2), 0)
        fit = competing_risks.fine_gray(np.minimum(event, end), cause, x)
        return {"fine-gray": covers(fit.hazard_ratio("group"), ratio)}

    return simulate


# --- tables -----------------------------------------------------------------------------------


def proportions(n: int) -> Callable[[], Mapping[str, tuple[float, str]]]:
    """Return the mean coverage over true proportions of 5 to 95%, by enumeration."""

    def rates() -> Mapping[str, tuple[float, str]]:
        truth = np.arange(0.05, 0.951, 0.005)
        weight = stats.binom.pmf(np.arange(n + 1)[:, None], n, truth)
        out = {}
        for method in ("exact", "mid-p", "wilson"):
            found = [contingency.proportion(k, n, method) for k in range(n + 1)]
            inside = np.array([[covers(e, p) for p in truth] for e in found], dtype=float)
            coverage = (weight * inside).sum(axis=0)
            worst = int(coverage.argmin())
            note = f"lowest {100 * coverage[worst]:.1f}% at a proportion of {truth[worst]:.3g}"
            out[method] = (float(coverage.mean()), note)
        return out

    return rates


def tables(n1: int, n0: int, p0: float, ratio: float) -> Any:
    """Return sizes and coverages over every 2 x 2 table with these group sizes."""

    def rates() -> Mapping[str, tuple[float, str]]:
        odds = ratio * p0 / (1 - p0)
        p1 = odds / (1 + odds)
        first, second = (stats.binom.pmf(np.arange(n + 1), n, p) for n, p in ((n1, p1), (n0, p0)))
        counted: dict[str, list[float]] = {}
        for a in range(n1 + 1):
            for c in range(n0 + 1):
                weight = float(first[a] * second[c])
                if weight < 1e-12:
                    continue
                fisher = contingency.odds_ratio(a, n1 - a, c, n0 - c)
                wald = contingency.odds_ratio(a, n1 - a, c, n0 - c, "wald")
                difference = contingency.risk_difference(a, n1, c, n0)
                score = contingency.risk_difference(a, n1, c, n0, "miettinen-nurminen")
                chi = contingency.chi_squared([[a, n1 - a], [c, n0 - c]])
                for key, hit in (
                    ("fisher", _covers_odds(fisher, ratio)),
                    ("wald", covers(wald, ratio)),
                    ("newcombe", covers(difference, p1 - p0)),
                    ("miettinen-nurminen", covers(score, p1 - p0)),
                    ("fisher-test", rejects(fisher)),
                    ("chi-squared", rejects(chi)),
                ):
                    total = counted.setdefault(key, [0.0, 0.0])
                    if hit is not None:
                        total[0] += weight * hit
                        total[1] += weight
        return {key: (hit / total, "") for key, (hit, total) in counted.items()}

    return rates


def _covers_odds(estimate: Estimate, truth: float) -> bool | None:
    """As `covers`, but an exact interval without an upper bound is an interval."""
    if estimate.ci_low is None and estimate.ci_high is None:
        return None
    return (estimate.ci_low or 0.0) <= truth <= (estimate.ci_high or math.inf)


def strata(sizes: list[tuple[int, int]], baseline: list[float], ratio: float) -> Any:
    """Return a study of four 2 x 2 tables with a common odds ratio."""
    odds = ratio * np.array(baseline) / (1 - np.array(baseline))
    exposed = odds / (1 + odds)

    def simulate(rng: np.random.Generator) -> Outcome:
        counts = [
            [[a := rng.binomial(n1, p1), n1 - a], [c := rng.binomial(n0, p0), n0 - c]]
            for (n1, n0), p1, p0 in zip(sizes, exposed, baseline, strict=True)
        ]
        m = contingency.mantel_haenszel(counts)
        null = ratio == 1
        return {
            "mh": covers(m.odds_ratio, ratio),
            "cmh": rejects(m.cmh) if null else None,
            "corrected": rejects(m.cmh_corrected) if null else None,
            "breslow-day": rejects(m.breslow_day),
        }

    return simulate


def trend(sizes: list[int], p: float) -> Any:
    """Return a study of the Cochran-Armitage test without a trend."""

    def simulate(rng: np.random.Generator) -> Outcome:
        return {"trend": rejects(contingency.cochran_armitage(rng.binomial(sizes, p), sizes))}

    return simulate


# --- regression -------------------------------------------------------------------------------


def binary_outcome(n: int, intercept: float, odds: float, carriers: float) -> Any:
    """Return a study of logistic models with a marker, a score and an idle covariate."""
    truth = np.log([odds, 1.5, 1.0])

    def simulate(rng: np.random.Generator) -> Outcome:
        x = pd.DataFrame(
            {
                "marker": rng.binomial(1, carriers, n),
                "score": rng.normal(size=n),
                "idle": rng.binomial(1, 0.5, n),
            }
        )
        y = rng.random(n) < special.expit(intercept + x.to_numpy() @ truth)
        if not 0 < y.sum() < n or x.nunique().min() < 2:
            return dict.fromkeys(("wald", "profile", "lr", "wald-test", "firth", "firth-test"))
        fit, firth = logistic.logistic(y, x), logistic.firth_logistic(y, x)
        wald = fit.odds_ratio("marker", profile=False)
        return {
            "wald": covers(wald, odds),
            "profile": covers(fit.odds_ratio("marker"), odds),
            "lr": rejects(fit.odds_ratio("idle")),
            "wald-test": rejects(fit.odds_ratio("idle", profile=False)),
            "firth": covers(firth.odds_ratio("marker"), odds),
            "firth-test": rejects(firth.odds_ratio("idle")),
        }

    return simulate


def ordered_outcome(n: int, odds: float) -> Any:
    """Return a study of a proportional odds model for three levels."""

    def simulate(rng: np.random.Generator) -> Outcome:
        x = pd.DataFrame({"marker": rng.binomial(1, 0.4, n), "score": rng.normal(size=n)})
        latent = x.to_numpy() @ np.log([odds, 1.0]) + rng.logistic(size=n)
        y = np.digitize(latent, [-0.5, 1.0])
        if len(set(y)) < 3 or x["marker"].nunique() < 2:
            return dict.fromkeys(("wald", "test", "brant", "lr"))
        fit = ordinal.proportional_odds(y, x)
        return {
            "wald": covers(fit.odds_ratio("marker"), odds),
            "test": rejects(fit.odds_ratio("score")),
            "brant": rejects(fit.parallelism()),
            "lr": rejects(fit.parallelism("lr")),
        }

    return simulate


def group_means(sizes: list[int]) -> Any:
    """Return a study of the analysis of variance of equal normal groups."""
    groups = np.repeat(np.arange(len(sizes)), sizes)

    def simulate(rng: np.random.Generator) -> Outcome:
        values = rng.normal(size=len(groups))
        return {
            "anova": rejects(linear.anova(values, groups)),
            "welch": rejects(linear.anova(values, groups, equal_variances=False)),
            "kruskal": rejects(rank_tests.kruskal_wallis(values, groups)),
        }

    return simulate


def all_pairs(sizes: list[int]) -> Any:
    """Return a study of Tukey's intervals: do all pairs cover at once?"""
    groups = np.repeat(np.arange(len(sizes)), sizes)

    def simulate(rng: np.random.Generator) -> Outcome:
        rows = linear.tukey(rng.normal(size=len(groups)), groups)
        return {"tukey": bool(((rows["ci_low"] <= 0) & (rows["ci_high"] >= 0)).all())}

    return simulate


def least_squares(n: int) -> Any:
    """Return a study of a linear model with normal errors."""

    def simulate(rng: np.random.Generator) -> Outcome:
        x = pd.DataFrame({"age": rng.gamma(2, 4, n), "marker": rng.binomial(1, 0.3, n)})
        y = 0.02 * x["age"] - 0.3 * x["marker"] + rng.normal(size=n)
        return {"t": covers(linear.linear_model(y, x).coefficient("marker"), -0.3)}

    return simulate


# --- ranks, many tests ------------------------------------------------------------------------


def shift(n1: int, n2: int, by: float, digits: int | None = None) -> Any:
    """Return a study of the rank-sum test and the Hodges-Lehmann shift of a skewed variable."""

    def simulate(rng: np.random.Generator) -> Outcome:
        x, y = by + rng.gumbel(size=n1), rng.gumbel(size=n2)
        if digits is not None:
            x, y = np.round(x, digits), np.round(y, digits)
        found = rank_tests.mann_whitney(x, y)
        return {"test": rejects(found) if by == 0 else None, "shift": covers(found, by)}

    return simulate


def correlation(n: int, r: float) -> Any:
    """Return a study of rank correlations of a bivariate normal sample."""
    rho, tau = 6 / math.pi * math.asin(r / 2), 2 / math.pi * math.asin(r)

    def simulate(rng: np.random.Generator) -> Outcome:
        x = rng.normal(size=n)
        y = r * x + math.sqrt(1 - r * r) * rng.normal(size=n)
        spearman, kendall = rank_tests.spearman(x, y), rank_tests.kendall(x, y)
        return {
            "spearman": covers(spearman, rho),
            "kendall": covers(kendall, tau),
            "spearman-test": rejects(spearman) if r == 0 else None,
            "kendall-test": rejects(kendall) if r == 0 else None,
        }

    return simulate


def many_tests(null: int, real: int, effect: float) -> Any:
    """Return a study of adjusted P values: false discoveries and families with a false one."""

    def simulate(rng: np.random.Generator) -> Outcome:
        z = rng.normal(size=null + real) + np.repeat([0.0, effect], [null, real])
        p = 2 * stats.norm.sf(np.abs(z))
        found = multiplicity.benjamini_hochberg(p) <= 0.05
        family = multiplicity.holm(p) <= 0.05
        return {
            "bh": float(found[:null].sum() / max(found.sum(), 1)),
            "holm": bool(family[:null].any()),
        }

    return simulate


# --- meta-analysis ----------------------------------------------------------------------------


def pooled(k: int, tau2: float) -> Any:
    """Return a study of `k` studies of unequal size around a log ratio of 0.5."""
    errors = np.linspace(0.15, 0.5, k)

    def simulate(rng: np.random.Generator) -> Outcome:
        own, new = rng.normal(0.5, math.sqrt(tau2), (2, k))
        y = rng.normal(own, errors)
        found = meta_analysis.random_effects(y, errors)
        plain = meta_analysis.random_effects(y, errors, method="DL", knapp_hartung=False)
        return {
            "hartung-knapp": covers(found.pooled, math.exp(0.5)),
            "normal": covers(plain.pooled, math.exp(0.5)),
            "fixed": covers(found.fixed, math.exp(0.5)),
            "prediction": covers(found.prediction_interval, math.exp(new[0])),
            "q": rejects(found.q) if tau2 == 0 else None,
        }

    return simulate


def rare_counts(totals: list[int], share: float, tau: float) -> Any:
    """Return a study of the one-stage model of rare counts."""
    truth = special.logit(share)

    def simulate(rng: np.random.Generator) -> Outcome:
        events = rng.binomial(totals, special.expit(truth + tau * rng.normal(size=len(totals))))
        return {"glmm": covers(meta_analysis.rare_counts_glmm(events, totals).pooled, share)}

    return simulate


# --- the list ---------------------------------------------------------------------------------

SMALL_STEPS = "few distinct tables: the P value moves in steps and stays below the level"
NEVER_BELOW = "exact: never below its level, so above it on average"

FEW_MEAN = (
    "only {} or so events in the smaller group within the horizon: its restricted mean is skewed "
    "and its variance, itself a sum over those events, is often far too small"
)
FLAT = "few events in the group: the log(-log) interval is wide and moves in steps"
PAIRS = "a chi-squared approximation to few patients a level: rejects too often in small cohorts"
PREDICT = (
    "takes the estimated variance between studies as known; with so few studies it is often "
    "estimated as 0, and then the interval has no room for a new study"
)
BETWEEN = "ignores that the variance between studies is itself estimated from few studies"

TWO_GROUPS = {
    "logrank": Row("Log-rank test", "size"),
    "cox": Row("Cox, Wald interval", "coverage"),
    "cox-test": Row("Cox, Wald test", "size"),
    "zph": Row("Proportional hazards test", "size"),
    "rmst": Row("Restricted mean difference", "coverage"),
    "rmst-test": Row("Restricted mean difference, test", "size"),
    "km": Row("Kaplan-Meier at a time, smaller group", "coverage"),
}
EFFECT = {k: v for k, v in TWO_GROUPS.items() if v.measure == "coverage" or k == "zph"}
CURVE = {
    "km": Row("Kaplan-Meier at a time", "coverage"),
    "median": Row("Median survival", "coverage"),
}
LOGISTIC = {
    "wald": Row("Logistic, Wald interval", "coverage", preferred=False),
    "profile": Row("Logistic, profile interval", "coverage"),
    "wald-test": Row("Logistic, Wald test", "size", preferred=False),
    "lr": Row("Logistic, likelihood ratio test", "size"),
    "firth": Row("Firth logistic, profile interval", "coverage"),
    "firth-test": Row("Firth logistic, likelihood ratio test", "size"),
}
ORDINAL = {
    "wald": Row("Proportional odds, Wald interval", "coverage"),
    "test": Row("Proportional odds, Wald test", "size"),
    "brant": Row("Parallel odds, Brant's test", "size"),
    "lr": Row("Parallel odds, likelihood ratio test", "size"),
}
POOLED = {
    "hartung-knapp": Row("Random effects, Hartung-Knapp", "coverage"),
    "normal": Row("Random effects, normal interval", "coverage", preferred=False),
    "fixed": Row("Fixed effect", "coverage", preferred=False),
    "prediction": Row("Prediction interval", "coverage"),
    "q": Row("Cochran's Q", "size"),
}
PROPORTION = {
    "exact": Row("Proportion, exact", "coverage", NEVER_BELOW),
    "mid-p": Row("Proportion, mid-p", "coverage"),
    "wilson": Row("Proportion, Wilson", "coverage"),
}
TABLE = {
    "fisher": Row("Odds ratio, exact interval", "coverage", NEVER_BELOW),
    "wald": Row("Odds ratio, Wald interval", "coverage", preferred=False),
    "newcombe": Row("Risk difference, Newcombe", "coverage"),
    "miettinen-nurminen": Row("Risk difference, Miettinen-Nurminen", "coverage"),
    "fisher-test": Row("Fisher's exact test", "size", SMALL_STEPS),
    "chi-squared": Row("Chi-squared test", "size", preferred=False),
}
TABLE_EFFECT = {k: v for k, v in TABLE.items() if v.measure == "coverage"}
STRATA = {
    "mh": Row("Mantel-Haenszel odds ratio", "coverage"),
    "cmh": Row("Cochran-Mantel-Haenszel test", "size"),
    "corrected": Row(
        "The same, continuity-corrected", "size", "the correction is meant to be cautious", False
    ),
    "breslow-day": Row("Breslow-Day test, Tarone", "size"),
}
RANK = {
    "test": Row("Wilcoxon rank-sum test", "size"),
    "shift": Row("Hodges-Lehmann shift", "coverage"),
}
RANK_CORRELATION = {
    "spearman": Row("Spearman's rho", "coverage"),
    "spearman-test": Row("Spearman's rho, test", "size"),
    "kendall": Row("Kendall's tau", "coverage"),
    "kendall-test": Row("Kendall's tau, test", "size"),
}
AGES = [(11, 25), (19, 51), (27, 44), (18, 97)]

STUDIES: list[Study | Enumeration] = [
    Study("loss-null", "28 v 560 patients, 150 events, no effect", 3000,
          two_groups(28, 560, 0.0045, 1.0, (36, 96), 36), TWO_GROUPS,
          why={"rmst": FEW_MEAN.format("four"), "rmst-test": FEW_MEAN.format("four")}),
    Study("loss-double", "28 v 560 patients, 155 events, hazard ratio 2", 3000,
          two_groups(28, 560, 0.0045, 2.0, (36, 96), 36), EFFECT,
          why={"rmst": FEW_MEAN.format("eight")}),
    Study("relapse-null", "44 v 44 patients, 70 events, no effect", 3000,
          two_groups(44, 44, 0.05, 1.0, (12, 60), 12), TWO_GROUPS),
    Study("relapse-half", "44 v 44 patients, 74 events, hazard ratio 1.5", 3000,
          two_groups(44, 44, 0.05, 1.5, (12, 60), 12), EFFECT),
    Study("relapse-few", "10 v 78 patients, 70 events, no effect", 3000,
          two_groups(10, 78, 0.05, 1.0, (12, 60), 12), TWO_GROUPS,
          why={"rmst": FEW_MEAN.format("five"), "rmst-test": FEW_MEAN.format("five"), "km": FLAT,
               "zph": "ten patients in a group carry the whole test"}),
    Study("protocols", "three protocols, 28 v 560 patients, no effect", 3000,
          by_protocol([(6, 150), (14, 280), (8, 130)], [0.003, 0.005, 0.007]),
          {"logrank": Row("Stratified log-rank test", "size"),
           "cox": Row("Stratified Cox, Wald interval", "coverage")}),
    Study("late-entry", "88 patients, half enter late, hazard ratio 1.5", 3000,
          late_entry(88, 0.04, 1.5),
          {"cox": Row("Cox with late entry, Wald interval", "coverage")}),
    Study("late-entry-null", "88 patients, half enter late, no effect", 3000,
          late_entry(88, 0.04, 1.0), {"logrank": Row("Log-rank test with late entry", "size")}),
    Study("adjusted", "126 patients, 80 events, three covariates", 3000, adjusted_cox(126, 0.025),
          {"high": Row("Cox, Wald interval, marker", "coverage"),
           "score": Row("Cox, Wald interval, score", "coverage"),
           "null": Row("Cox, Wald test, idle covariate", "size"),
           "zph": Row("Proportional hazards test, global", "size"),
           "gate": Row("Proportional hazards gate", "size",
                       "the smallest P of three terms and GLOBAL decides")}),
    Study("few-events", "48 patients, 10 events, covariate in a quarter, hazard ratio 2", 2000,
          few_events(48, 0.0048, 2.0),
          {"wald": Row("Cox, Wald interval", "coverage", preferred=False),
           "firth": Row("Firth Cox, profile interval", "coverage")},
          why={"wald": "too wide where a group has one or two events"}),
    Study("curve-10", "10 patients, 8 events", 4000, one_curve(10, 0.1, (6, 36), 6), CURVE,
          why={"km": FLAT}),
    Study("curve-30", "30 patients, 25 events", 4000, one_curve(30, 0.1, (6, 36), 6), CURVE),
    Study("curve-88", "88 patients, 73 events", 4000, one_curve(88, 0.1, (6, 36), 6), CURVE),
    Study("competing-28", "28 v 560 patients, two causes", 3000,
          competing(28, 560, (0.004, 0.003), 36),
          {"aalen-johansen": Row("Aalen-Johansen at a time, smaller group", "coverage"),
           "gray": Row("Gray's test", "size")},
          why={"aalen-johansen": FLAT}),
    Study("competing-44", "44 v 44 patients, two causes", 3000,
          competing(44, 44, (0.02, 0.02), 24),
          {"aalen-johansen": Row("Aalen-Johansen at a time", "coverage"),
           "gray": Row("Gray's test", "size")},
          why={"aalen-johansen": "44 patients: the interval moves in steps"}),
    Study("subdistribution-28", "28 v 560 patients, subdistribution ratio 2", 3000,
          subdistribution(28, 560, 0.25, 2.0), {"fine-gray": Row("Fine-Gray", "coverage")}),
    Study("subdistribution-44", "44 v 44 patients, subdistribution ratio 1.5", 3000,
          subdistribution(44, 44, 0.5, 1.5), {"fine-gray": Row("Fine-Gray", "coverage")}),
    Enumeration("proportion-22", "22 patients, mean over proportions of 5 to 95%",
                proportions(22), PROPORTION),
    Enumeration("proportion-88", "88 patients, mean over proportions of 5 to 95%",
                proportions(88), PROPORTION),
    Enumeration("table-null", "22 v 30 patients, 30% in both", tables(22, 30, 0.3, 1.0), TABLE),
    Enumeration("table-effect", "22 v 30 patients, 20% in the reference, odds ratio 3",
                tables(22, 30, 0.2, 3.0), TABLE_EFFECT),
    Study("strata-null", "four age groups, 75 v 217 patients, no effect", 4000,
          strata(AGES, [0.3, 0.5, 0.45, 0.55], 1.0), STRATA),
    Study("strata-effect", "four age groups, 75 v 217 patients, odds ratio 2", 4000,
          strata(AGES, [0.3, 0.5, 0.45, 0.55], 2.0), {"mh": STRATA["mh"]}),
    Study("trend", "11, 19, 27 and 18 patients, no trend", 4000, trend([11, 19, 27, 18], 0.6),
          {"trend": Row("Cochran-Armitage test", "size")}),
    Study("logistic-97", "97 patients, 40 outcomes, three covariates", 1500,
          binary_outcome(97, -0.6, 2.0, 0.3), LOGISTIC),
    Study("logistic-rare", "97 patients, 9 outcomes, marker in 15%", 1500,
          binary_outcome(97, -2.6, 3.0, 0.15), LOGISTIC,
          why={"wald": "sparse data: standard errors are too large where the odds ratio is extreme",
               "wald-test": "sparse data: standard errors are too large"}),
    Study("ordinal-97", "97 patients, three levels, odds ratio 2", 2000,
          ordered_outcome(97, 2.0), ORDINAL,
          why={"brant": PAIRS, "lr": PAIRS}),
    Study("ordinal-46", "46 patients, three levels, odds ratio 2", 2000,
          ordered_outcome(46, 2.0), ORDINAL,
          why={"brant": PAIRS, "lr": PAIRS}),
    Study("anova-97", "five groups, 97 patients, normal", 4000, group_means([30, 25, 20, 14, 8]),
          {"anova": Row("Analysis of variance", "size"),
           "welch": Row("Welch's analysis of variance", "size"),
           "kruskal": Row("Kruskal-Wallis test", "size")}),
    Study("tukey", "three groups, 97 patients, normal", 400, all_pairs([48, 31, 18]),
          {"tukey": Row("Tukey, all pairs together", "coverage")}),
    Study("linear-126", "126 patients, two covariates", 4000, least_squares(126),
          {"t": Row("Linear model, t interval", "coverage")}),
    Study("ranks-null", "22 v 30 values, no shift", 3000, shift(22, 30, 0.0), RANK),
    Study("ranks-shift", "22 v 30 values, shifted", 3000, shift(22, 30, 0.8),
          {"shift": RANK["shift"]}),
    Study("ranks-ties", "37 v 89 values with ties, no shift", 3000, shift(37, 89, 0.0, 1), RANK,
          why={"shift": "values are rounded to tenths, so the interval moves in steps"}),
    Study("correlation-97", "97 pairs, correlation 0", 4000, correlation(97, 0.0),
          RANK_CORRELATION),
    Study("correlation-strong", "126 pairs, correlation 0.5", 4000, correlation(126, 0.5),
          {"spearman": RANK_CORRELATION["spearman"], "kendall": RANK_CORRELATION["kendall"]}),
    Study("many-tests", "14 tests, 10 of them null", 8000, many_tests(10, 4, 3.0),
          {"bh": Row("Benjamini-Hochberg, false discoveries", "error rate"),
           "holm": Row("Holm, families with a false one", "error rate")}),
    Study("pooled-5-same", "5 studies, one effect", 2000, pooled(5, 0.0), POOLED),
    Study("pooled-5-mixed", "5 studies, half the variance between them", 2000, pooled(5, 0.1),
          {k: v for k, v in POOLED.items() if k != "q"},
          why={"hartung-knapp": "studies of very unequal size, whose weights are estimated too",
               "normal": BETWEEN, "fixed": "its model leaves out what differs between studies",
               "prediction": PREDICT}),
    Study("pooled-8-same", "8 studies, one effect", 2000, pooled(8, 0.0), POOLED),
    Study("pooled-8-mixed", "8 studies, half the variance between them", 2000, pooled(8, 0.1),
          {k: v for k, v in POOLED.items() if k != "q"},
          why={"hartung-knapp": "studies of very unequal size, whose weights are estimated too",
               "normal": BETWEEN, "fixed": "its model leaves out what differs between studies",
               "prediction": PREDICT}),
    Study("rare-counts", "5 studies of 166 to 1,482 patients, 2% events", 600,
          rare_counts([166, 1482, 698, 300, 500], 0.02, 0.5),
          {"glmm": Row("Rare counts, one-stage model", "coverage")},
          why={"glmm": BETWEEN}),
]  # fmt: skip


# --- running ----------------------------------------------------------------------------------


def run(*, seed: int = SEED, scale: float = 1.0) -> pd.DataFrame:
    """Run all studies and return one row an estimator and setting.

    Parameters
    ----------
    seed : int
        Seed of all random numbers.
    scale : float
        Fraction of the replicates to run, for a quick look.

    Returns
    -------
    DataFrame
        ``id, estimator, setting, measure, value, mc_error, low, high`` (the band), ``result``
        (within, above, below), ``replicates, not_estimable, preferred, why``. An enumerated row
        has a Monte Carlo error of 0.
    """
    rows = []
    for study in STUDIES:
        if isinstance(study, Enumeration):
            found = study.rates()
            for key, row in study.rows.items():
                value, note = found[key]
                rows.append(_line(study, key, row, value, 0.0, 0, 0, note))
            continue
        replicates = max(2, round(study.replicates * scale))
        rng = np.random.default_rng([seed, zlib.crc32(study.name.encode())])
        outcomes = [study.simulate(rng) for _ in range(replicates)]
        for key, row in study.rows.items():
            hits = np.array([o[key] for o in outcomes if o[key] is not None], dtype=float)
            n = len(hits)
            value = float(hits.mean()) if n else math.nan
            error = float(hits.std()) / math.sqrt(n) if n else math.nan
            rows.append(_line(study, key, row, value, error, replicates, replicates - n, ""))
    return pd.DataFrame(rows)


def _line(
    study: Study | Enumeration,
    key: str,
    row: Row,
    value: float,
    error: float,
    replicates: int,
    missing: int,
    note: str,
) -> dict[str, Any]:
    low, high = BANDS[row.measure]
    result = "above" if value > high else "below" if value < low else "within"
    why = [note] if note else []
    if result != "within":
        why += filter(None, [study.why.get(key, row.why)])
        if 0 < min(abs(value - low), abs(value - high)) < 2 * error:
            why.append("within two Monte Carlo errors of the band")
    return {
        "id": f"{study.name}-{key}",
        "estimator": row.estimator,
        "setting": study.setting,
        "measure": row.measure,
        "value": value,
        "mc_error": error,
        "low": low,
        "high": high,
        "result": result,
        "replicates": replicates,
        "not_estimable": missing,
        "preferred": row.preferred,
        "why": "; ".join(why),
    }


def draw(frame: pd.DataFrame, measure: Measure) -> Any:
    """Draw one measure as dots with two Monte Carlo errors on the expected band."""
    from ballbook import figures

    rows = frame[frame["measure"] == measure].to_dict("records")
    low, high = BANDS[measure]
    left, right = (0.8, 1.0) if measure == "coverage" else (0.0, 0.2)
    with figures.style():
        figure, ax = figures.panels(size=(6.6, 0.9 + 0.225 * len(rows)))
        ax.axvspan(low, high, color=figures.C.grid, alpha=0.6, linewidth=0)
        for i, row in enumerate(rows):
            colour = figures.C.blue if row["result"] == "within" else figures.C.orange
            value, reach = row["value"], 2 * row["mc_error"]
            if value < left:
                ax.text(left + 0.003, -i, f"\u25c2 {100 * value:.0f}%", color=colour, va="center")
                continue
            ax.plot([value - reach, value + reach], [-i, -i], color=colour, linewidth=1)
            ax.plot(
                value, -i, marker="o", markersize=5, color=colour, markeredgewidth=1.2,
                markerfacecolor=colour if row["preferred"] else figures.C.paper,
            )  # fmt: skip
        # Labels stand at the right, so that a phone shows the dots first.
        ax.yaxis.tick_right()
        labels = [f"{row['estimator']}: {row['setting']}" for row in rows]
        ax.set_yticks([-i for i in range(len(rows))], labels, fontsize=8.5)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.set_xlim(left, right)
        ax.set_ylim(-len(rows) + 0.3, 0.7)
        ax.xaxis.set_major_formatter(lambda v, _: f"{100 * v:.0f}%")
        ax.set_xlabel({"coverage": "Coverage", "size": "Rejections"}.get(measure, "Rate"))
        ax.grid(axis="x")
        return figure


def record(out: Path, *, seed: int = SEED, scale: float = 1.0) -> pd.DataFrame:
    """Run all studies and write table, figures and what they were made with to `out`."""
    import matplotlib as mpl

    from ballbook import figures

    mpl.use("agg")
    started = time.perf_counter()
    frame = run(seed=seed, scale=scale)
    out.mkdir(parents=True, exist_ok=True)
    frame.to_csv(out / "calibration.csv", index=False, float_format="%.6g")
    for measure in ("coverage", "size"):
        name = f"calibration-{measure}"
        drawing = figures.svg(draw(frame, measure), name)
        (out / f"{name}.svg").write_text(drawing, encoding="utf8")
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "seed": seed,
        "scale": scale,
        "seconds": round(time.perf_counter() - started),
        "versions": {
            "Python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy", "pandas")},
        },
    }
    (out / "about.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf8")
    return frame


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0].lstrip("r"))
    parser.add_argument("--out", type=Path, required=True, help="folder of the record")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the random numbers")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the replicates")
    given = parser.parse_args()
    frame = record(given.out, seed=given.seed, scale=given.scale)
    outside = frame[frame["result"] != "within"]
    print(f"{len(frame)} rows, {len(outside)} outside their band")


if __name__ == "__main__":
    main()

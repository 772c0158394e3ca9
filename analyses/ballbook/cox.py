r"""Cox regression: Efron ties, strata, late entry, robust variance, tests, Firth, bootstrap.

The partial likelihood with Efron's treatment of ties is a sum over *steps*, one per event. At a
time with :math:`d` tied events, step :math:`l = 0, \dots, d-1` has the denominator

.. math:: S_0 - \tfrac{l}{d} D_0, \qquad
    S_0 = \sum_{i \in R} w_i,\; D_0 = \sum_{i \in D} w_i,\; w_i = \exp(x_i^\top \beta)

over the risk set :math:`R` and the tied events :math:`D`. Writing :math:`\Lambda_i` for the sum,
over the steps patient :math:`i` was at risk in, of (1 or, if among the tied events,
:math:`1 - l/d`) / denominator, the score is :math:`X^\top(\delta - w\Lambda)` and the information

.. math:: X^\top \mathrm{diag}(w\Lambda) X - \sum_{\mathrm{steps}} \bar x \bar x^\top

so that one pass costs a few cumulative sums and one matrix product, whatever the number of ties,
strata or late entries. `RiskSets` holds that bookkeeping; everything else is algebra on top.

References: Efron (1977), J Am Stat Assoc 72:557; Kalbfleisch & Prentice (2002), chapter 4;
Therneau & Grambsch (2000). The judge is R's ``survival::coxph``.

Conventions (time 0, ties, late entry, malformed input) are those of `ballbook.survival`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from ballbook.results import Estimate, not_estimable
from ballbook.survival import (
    Bools,
    Floats,
    Ints,
    group_codes,
    normal_quantile,
    refuse,
    survival_data,
    tie_starts,
)

Ties = Literal["efron", "breslow"]


# --- input ------------------------------------------------------------------------------------


def design_matrix(covariates: pd.DataFrame | pd.Series, n: int) -> tuple[Floats, list[str]]:
    """Return covariates as an (n, p) float matrix with their names.

    Raises
    ------
    ValueError
        Wrong length, duplicate names, text, missing or infinite values, a constant column, or a
        column that is a linear combination of the columns before it.
    """
    frame = covariates.to_frame() if isinstance(covariates, pd.Series) else covariates
    if not isinstance(frame, pd.DataFrame):
        raise ValueError("covariates must be a DataFrame with one named column per term")
    if len(frame) != n:
        raise ValueError(f"covariates have {len(frame)} rows, expected {n}")
    names = [str(name) for name in frame.columns]
    if not names:
        raise ValueError("covariates have no columns, expected at least one")
    if len(set(names)) < len(names):
        raise ValueError(f"covariates have duplicate names: {names}")
    columns = []
    for position, name in enumerate(names):
        column = frame.iloc[:, position]
        if not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)):
            raise ValueError(
                f"covariate {name!r} holds {column.dtype}, expected numbers:"
                " code groups as 0/1 indicator columns"
            )
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        refuse(f"covariate {name!r}", values, ~np.isfinite(values), "a finite number")
        if values.min() == values.max():
            raise ValueError(f"covariate {name!r} is constant ({values[0]:g})")
        columns.append(values)
    x = np.column_stack(columns)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    independent = np.abs(np.diag(np.linalg.qr(scaled, mode="r"))) / np.sqrt(n)
    aliased = [name for name, part in zip(names, independent, strict=False) if part < 1e-7]
    aliased += names[len(independent) :]
    if aliased:
        raise ValueError(
            f"covariates {aliased} are linear combinations of those before them; leave them out"
        )
    return x, names


# --- risk sets --------------------------------------------------------------------------------


@dataclass
class Moments:
    """Step-wise sums at one value of the coefficients; see `RiskSets.moments`."""

    log_likelihood: float
    score: Floats  # (p,)
    information: Floats  # (p, p)
    weight: Floats  # (n,) exp(linear predictor), up to a common factor
    denominator: Floats  # (steps,)
    mean: Floats  # (steps, p) weighted mean of the covariates in the risk set


class RiskSets:
    """Who is at risk when: rows sorted by stratum and time, and one step per event.

    Parameters
    ----------
    time, event, entry : (n,) arrays
        As returned by `survival_data`.
    strata : (n,) int array
        Stratum codes.
    ties : {"efron", "breslow"}
        Breslow puts the whole risk set in every denominator.
    """

    def __init__(
        self, time: Floats, event: Bools, entry: Floats | None, strata: Ints, ties: Ties
    ) -> None:
        if ties not in ("efron", "breslow"):
            raise ValueError(f"ties is {ties!r}, expected 'efron' or 'breslow'")
        distinct, rank = np.unique(time, return_inverse=True)
        width = len(distinct) + 1
        key = strata * width + rank + 1
        self.order: Ints = np.lexsort((rank, strata))
        self.event: Bools = event[self.order]
        self.time: Floats = time[self.order]
        self.strata: Ints = strata[self.order]
        key = key[self.order]

        run = tie_starts(key)
        deaths = np.add.reduceat(self.event.astype(np.int64), run)
        with_events = deaths > 0
        self.death_count: Ints = deaths[with_events]
        self.run_start: Ints = run[with_events]  # first row of each time with events
        self.run_time: Floats = self.time[self.run_start]
        run_key = key[self.run_start]

        # One step per event row, in row order; steps of one time are neighbours.
        self.step_row: Ints = np.flatnonzero(self.event)
        self.step_run: Ints = np.repeat(np.arange(len(self.run_start)), self.death_count)
        first_step = np.cumsum(self.death_count) - self.death_count
        self.first_step: Ints = first_step
        rank_in_tie = np.arange(len(self.step_row)) - first_step[self.step_run]
        self.fraction: Floats = rank_in_tie / self.death_count[self.step_run]
        if ties == "breslow":
            self.fraction = np.zeros(len(self.step_row))

        # Risk set of a run: rows from run_start to the end of the stratum, less those not yet in.
        ends = np.append(tie_starts(self.strata)[1:], len(time))
        self.run_end: Ints = ends[np.searchsorted(ends, self.run_start, side="right")]
        # Row i is at risk in runs from_run[i] .. to_run[i] - 1.
        self.to_run: Ints = np.searchsorted(run_key, key, side="right")
        stratum_key = self.strata * width
        self.entry_order: Ints | None = None
        if entry is None:
            self.from_run: Ints = np.searchsorted(run_key, stratum_key, side="right")
        else:
            late_key = stratum_key + np.searchsorted(distinct, entry[self.order], side="right")
            self.from_run = np.searchsorted(run_key, late_key, side="right")
            self.entry_order = np.argsort(late_key, kind="stable")
            self.not_yet: Ints = np.searchsorted(late_key[self.entry_order], run_key, side="left")

    def risk_sum(self, values: Floats) -> Floats:
        """Return the sum of `values` (n, ...) over the risk set of each run."""
        total = _tail_sums(values)
        out = total[self.run_start] - total[self.run_end]
        if self.entry_order is not None:
            # Strata occupy the same row ranges in entry order.
            waiting = _tail_sums(values[self.entry_order])
            out -= waiting[self.not_yet] - waiting[self.run_end]
        return out

    def death_sum(self, values: Floats) -> Floats:
        """Return the sum of `values` (n, ...) over the tied events of each run."""
        if len(self.first_step) == 0:
            return np.zeros((0, *values.shape[1:]))
        return np.add.reduceat(values[self.step_row], self.first_step, axis=0)

    def step_mean(self, values: Floats, weight: Floats, denominator: Floats) -> Floats:
        """Return the weighted mean of `values` (n, p) in each step's risk set: (steps, p)."""
        weighted = values * weight[:, None]
        at_risk, tied = self.risk_sum(weighted), self.death_sum(weighted)
        top = at_risk[self.step_run] - self.fraction[:, None] * tied[self.step_run]
        return top / denominator[:, None]

    def while_at_risk(self, per_step: Floats) -> Floats:
        """Return, for each row, the sum of `per_step` (steps, ...) over the steps it was at risk.

        A tied event counts in step l with 1 - l/d.
        """
        shape = per_step.shape[1:]
        by_run = np.zeros((len(self.run_start) + 1, *shape))
        if len(self.first_step):
            by_run[1:] = np.cumsum(np.add.reduceat(per_step, self.first_step, axis=0), axis=0)
        out = by_run[self.to_run] - by_run[self.from_run]
        if self.fraction.any():
            fraction = self.fraction.reshape(-1, *([1] * len(shape)))
            partial = np.add.reduceat(per_step * fraction, self.first_step, axis=0)
            out[self.step_row] -= partial[self.step_run]
        return out

    def moments(self, x: Floats, beta: Floats) -> Moments:
        """Return log partial likelihood, score, information and step means at `beta`.

        `x` is (n, p), in the row order of this object.
        """
        predictor = x @ beta
        predictor = predictor - predictor.max()  # the likelihood does not change; exp stays finite
        weight = np.exp(predictor)
        at_risk, tied = self.risk_sum(weight), self.death_sum(weight)
        denominator = at_risk[self.step_run] - self.fraction * tied[self.step_run]
        denominator = np.maximum(denominator, 1e-300)
        exposure = weight * self.while_at_risk(1 / denominator)
        mean = self.step_mean(x, weight, denominator)
        return Moments(
            float(predictor[self.step_row].sum() - np.log(denominator).sum()),
            x.T @ (self.event - exposure),
            (x * exposure[:, None]).T @ x - mean.T @ mean,
            weight,
            denominator,
            mean,
        )


def _tail_sums(values: Floats) -> Floats:
    """Return sums from each row to the end, with a final 0."""
    out = np.zeros((len(values) + 1, *values.shape[1:]))
    out[:-1] = np.cumsum(values[::-1], axis=0)[::-1]
    return out


@dataclass
class Maximum:
    """Where the partial likelihood was maximised, on the scaled covariates."""

    beta: Floats
    moments: Moments
    null: Moments
    diverging: Bools  # (p,) terms whose estimate runs to infinity


def maximise(sets: RiskSets, x: Floats, *, max_iterations: int = 60) -> Maximum:
    """Newton-Raphson with step halving, from zero, on centred and scaled covariates.

    A term diverges (monotone likelihood) when the likelihood has settled while Newton still wants
    to move its coefficient by more than 1e-4 standard deviations.
    """
    p = x.shape[1]
    beta = np.zeros(p)
    now = null = sets.moments(x, beta)
    settled = 0
    step = np.full(p, np.inf)
    for _ in range(max_iterations):
        try:
            step = np.linalg.solve(now.information, now.score)
        except np.linalg.LinAlgError:
            break
        if not np.isfinite(step).all() or np.abs(step).max() < 1e-10:
            break
        shrink = 1.0
        new = sets.moments(x, beta + step)
        while not new.log_likelihood >= now.log_likelihood - 1e-9 and shrink > 1e-4:
            shrink /= 2
            new = sets.moments(x, beta + shrink * step)
        gain = new.log_likelihood - now.log_likelihood
        beta, now = beta + shrink * step, new
        settled = settled + 1 if abs(gain) <= 1e-10 * (abs(now.log_likelihood) + 0.1) else 0
        if settled == 3:
            break
    return Maximum(beta, now, null, ~(np.abs(step) < 1e-4))


# --- the fit ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class CoxFit:
    """A fitted Cox model.

    Attributes
    ----------
    table : DataFrame
        One row per term: ``term, coef, se, hr, ci_low, ci_high, z, p``. Terms whose estimate is
        infinite (no events in a group) hold NaN.
    log_likelihood, log_likelihood_null : float
        Log partial likelihood at the estimate and at zero (penalised for `firth_cox`).
    covariance : (p, p) array
        Of the coefficients; the robust one when that was asked for.
    n, n_events : int
        Patients (rows) and events.
    method : str
        Estimator and interval in words.
    """

    table: pd.DataFrame
    log_likelihood: float
    log_likelihood_null: float
    covariance: Floats
    n: int
    n_events: int
    method: str
    ci_level: float
    reasons: dict[str, str]
    _score_statistic: float = field(repr=False)
    _model_covariance: Floats = field(repr=False)
    _sets: RiskSets = field(repr=False)
    _x: Floats = field(repr=False)  # centred, in the row order of _sets
    _caution: str | None = field(repr=False, default=None)

    @property
    def terms(self) -> list[str]:
        """Names of the covariates."""
        return [str(term) for term in self.table["term"]]

    @property
    def coef(self) -> Floats:
        """Log hazard ratios, in the order of `terms`."""
        return self.table["coef"].to_numpy(dtype=np.float64)

    def hazard_ratio(self, name: str, *, per: float = 1.0) -> Estimate:
        """Return the hazard ratio of a term for a difference of `per` units."""
        if name not in self.terms:
            raise ValueError(f"no term {name!r} in the model, expected one of {self.terms}")
        counts: dict[str, Any] = {
            "n": self.n,
            "n_events": self.n_events,
            "method": self.method,
            "label": name if per == 1 else f"{name}, per {per:g}",
        }
        if name in self.reasons:
            return not_estimable("hazard-ratio", self.reasons[name], **counts)
        row = self.table.loc[self.table["term"] == name].iloc[0]
        low, high = sorted([float(row["ci_low"]) ** per, float(row["ci_high"]) ** per])
        return Estimate(
            kind="hazard-ratio",
            value=float(np.exp(row["coef"] * per)),
            ci_low=low if np.isfinite(low) and low > 0 else None,
            ci_high=high if np.isfinite(high) else None,
            ci_level=self.ci_level,
            p_value=float(row["p"]),
            statistic=float(row["z"]),
            df=1,
            reason=self._caution,
            **counts,
        )

    def _test(self, statistic: float, method: str) -> Estimate:
        df = len(self.terms)
        counts: dict[str, Any] = {"n": self.n, "n_events": self.n_events, "method": method}
        if self.n_events == 0:
            return not_estimable("p-value", "no events", **counts)
        p = float(stats.chi2.sf(statistic, df))
        return Estimate(
            "p-value", p, p_value=p, ci_level=None, statistic=statistic, df=df, **counts
        )

    def likelihood_ratio(self) -> Estimate:
        """Return the likelihood ratio test that all coefficients are zero."""
        return self._test(
            2 * (self.log_likelihood - self.log_likelihood_null), "likelihood ratio test"
        )

    def wald(self) -> Estimate:
        """Return the Wald test that all coefficients are zero (robust if the fit is)."""
        if self.reasons:
            reason = "; ".join(self.reasons.values())
            return not_estimable("p-value", reason, n=self.n, n_events=self.n_events, method="Wald")
        beta = self.coef
        return self._test(float(beta @ np.linalg.solve(self.covariance, beta)), "Wald test")

    def score(self) -> Estimate:
        """Return the score test that all coefficients are zero; the log-rank test for groups."""
        return self._test(self._score_statistic, "score test")


def cox(
    time: Any,
    event: Any,
    covariates: pd.DataFrame,
    *,
    strata: Any = None,
    entry: Any = None,
    robust: bool = False,
    cluster: Any = None,
    ties: Ties = "efron",
    ci_level: float = 0.95,
) -> CoxFit:
    """Fit a Cox proportional hazards model.

    Parameters
    ----------
    time, event, entry
        See `ballbook.survival.survival_data`.
    covariates : DataFrame
        (n, p) numbers, one column per term; code groups as 0/1 indicators.
    strata : (n,) array-like, optional
        Groups with a baseline hazard each.
    robust : bool
        Use the sandwich variance (Lin & Wei 1989).
    cluster : (n,) array-like, optional
        Rows of the same cluster (pair, family, patient) are dependent; implies `robust`.
    ties : {"efron", "breslow"}
        Treatment of tied event times.
    ci_level : float
        Level of the Wald intervals.

    Raises
    ------
    ValueError
        See `survival_data` and `design_matrix`.

    Notes
    -----
    R: ``coxph(Surv(time, event) ~ ..., ties = "efron")``. Where R warns that a coefficient may be
    infinite the hazard ratio here is not estimable, with the reason; see `firth_cox`.
    """
    normal_quantile(ci_level)
    t, died, late = survival_data(time, event, entry)
    x, names = design_matrix(covariates, len(t))
    codes = np.zeros(len(t), dtype=np.int64)
    if strata is not None:
        codes, _ = group_codes("strata", strata, n=len(t))
    sets = RiskSets(t, died, late, codes, ties)
    x = x[sets.order]
    centre, scale = x.mean(axis=0), x.std(axis=0)
    scaled = (x - centre) / scale
    method = f"Cox, {ties.capitalize()} ties, Wald interval"
    if strata is not None:
        method = "stratified " + method

    if not died.any():
        reasons = dict.fromkeys(names, "no events")
        nothing = np.full(len(names), np.nan)
        blank = np.full((len(names), len(names)), np.nan)
        table = _coefficient_table(names, nothing, blank, ci_level, reasons)
        return CoxFit(
            table, np.nan, np.nan, blank, len(t), 0, method, ci_level, reasons,
            np.nan, blank, sets, x - centre,
        )  # fmt: skip

    null = sets.moments(scaled, np.zeros(len(names)))
    _refuse_flat(null.information, names)
    found = maximise(sets, scaled)
    reasons = _divergence_reasons(names, found.diverging, x, sets)
    inverse = np.linalg.pinv(found.moments.information, hermitian=True)
    covariance = model_covariance = inverse / np.outer(scale, scale)
    if robust or cluster is not None:
        residuals = _score_residuals(sets, scaled, found.moments) @ inverse / scale
        if cluster is not None:
            members, _ = group_codes("cluster", cluster, n=len(t))
            summed = np.zeros((int(members.max()) + 1, len(names)))
            np.add.at(summed, members[sets.order], residuals)
            residuals = summed
        covariance = residuals.T @ residuals
        method = method.replace("Wald interval", "robust Wald interval")
    table = _coefficient_table(names, found.beta / scale, covariance, ci_level, reasons)
    start = np.linalg.solve(null.information, null.score)
    return CoxFit(
        table=table,
        log_likelihood=found.moments.log_likelihood,
        log_likelihood_null=null.log_likelihood,
        covariance=covariance,
        n=len(t),
        n_events=int(died.sum()),
        method=method,
        ci_level=ci_level,
        reasons=reasons,
        _score_statistic=float(null.score @ start),
        _model_covariance=model_covariance,
        _sets=sets,
        _x=x - centre,
    )


def _refuse_flat(information: Floats, names: list[str]) -> None:
    """Refuse covariates that never differ among patients at risk together."""
    factor = np.linalg.qr(information, mode="r")
    flat = [n for n, part in zip(names, np.abs(np.diag(factor)), strict=True) if part < 1e-9]
    if flat:
        raise ValueError(
            f"covariates {flat} do not vary (or only together with another) among patients at risk"
            " at the event times, for example because they are constant within strata"
        )


def _divergence_reasons(
    names: list[str], diverging: Bools, x: Floats, sets: RiskSets
) -> dict[str, str]:
    reasons = {}
    for j in np.flatnonzero(diverging):
        column, events = x[:, j], sets.event
        values = np.unique(column)
        reason = "the likelihood has no maximum (separation); use firth_cox"
        if len(values) == 2:
            for value in values:
                if not events[column == value].any():
                    reason = f"no events where {names[j]} is {value:g}; use firth_cox"
        reasons[names[j]] = reason
    return reasons


def _coefficient_table(
    names: list[str],
    beta: Floats,
    covariance: Floats,
    ci_level: float,
    reasons: dict[str, str],
) -> pd.DataFrame:
    se = np.sqrt(np.diag(covariance))
    known = np.array([name not in reasons for name in names])
    beta, se = np.where(known, beta, np.nan), np.where(known, se, np.nan)
    z = beta / se
    margin = normal_quantile(ci_level) * se
    return pd.DataFrame(
        {
            "term": names,
            "coef": beta,
            "se": se,
            "hr": np.exp(beta),
            "ci_low": np.exp(beta - margin),
            "ci_high": np.exp(beta + margin),
            "z": z,
            "p": 2 * stats.norm.sf(np.abs(z)),
        }
    )


def _score_residuals(sets: RiskSets, x: Floats, at: Moments) -> Floats:
    """Return each row's contribution to the score (n, p), in the row order of `sets`.

    Therneau & Grambsch (2000), section 4.6, with Efron's averages at ties.
    """
    hazard = 1 / at.denominator
    expected = x * sets.while_at_risk(hazard)[:, None]
    expected -= sets.while_at_risk(at.mean * hazard[:, None])
    residuals = -expected * at.weight[:, None]
    residuals[sets.step_row] += x[sets.step_row] - _tie_average(sets, at.mean)[sets.step_run]
    return residuals


def _tie_average(sets: RiskSets, per_step: Floats) -> Floats:
    """Return the mean of `per_step` over the steps of each run."""
    return np.add.reduceat(per_step, sets.first_step, axis=0) / sets.death_count[:, None]

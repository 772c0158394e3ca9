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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import optimize, stats

from ballbook.inputs import as_design, group_codes
from ballbook.results import Estimate, not_estimable
from ballbook.survival import (
    Bools,
    Floats,
    Ints,
    kaplan_meier,
    normal_quantile,
    quadratic_form,
    survival_data,
    tie_starts,
)

Ties = Literal["efron", "breslow"]
Transform = Literal["km", "rank", "identity", "log"]


# --- input ------------------------------------------------------------------------------------


def design_matrix(covariates: pd.DataFrame | pd.Series, n: int) -> tuple[Floats, list[str]]:
    """Return covariates as an (n, p) float matrix with their names.

    Raises
    ------
    ValueError
        Not a DataFrame or Series, or see `ballbook.inputs.as_design`.
    """
    if not isinstance(covariates, (pd.DataFrame, pd.Series)):
        raise ValueError("covariates must be a DataFrame with one named column per term")
    frame = as_design(covariates, n, "covariates")
    return frame.to_numpy(), list(frame.columns)


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
            self.entry: Floats | None = None
        else:
            self.entry = entry[self.order]
            late_key = stratum_key + np.searchsorted(distinct, self.entry, side="right")
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
class HazardModel:
    """Coefficients on the log hazard scale: what Cox and Fine-Gray fits have in common.

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
    ci_level : float
        Level of the intervals.
    reasons : dict
        For each term that has no finite estimate, why.
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
            reason = "; ".join(dict.fromkeys(self.reasons.values()))
            return not_estimable("p-value", reason, n=self.n, n_events=self.n_events, method="Wald")
        beta = self.coef
        return self._test(float(beta @ np.linalg.solve(self.covariance, beta)), "Wald test")


@dataclass(frozen=True)
class CoxFit(HazardModel):
    """A fitted Cox model; see `HazardModel` for its attributes."""

    _score_statistic: float = field(repr=False)
    _model_covariance: Floats = field(repr=False)
    _sets: RiskSets = field(repr=False)
    _x: Floats = field(repr=False)  # centred, in the row order of _sets
    _penalised: bool = field(repr=False, default=False)

    def score(self) -> Estimate:
        """Return the score test that all coefficients are zero; the log-rank test for groups."""
        return self._test(self._score_statistic, "score test")

    def concordance(self) -> Estimate:
        r"""Return Harrell's concordance, with an infinitesimal jackknife interval.

        Over pairs in which one patient's event came while the other was at risk, in the same
        stratum: the fraction in which the one with the event had the higher predicted hazard,
        ties in prediction counting half. With :math:`A_i` that count and :math:`N_i` the number of
        pairs of patient :math:`i`, the variance is :math:`\sum_i (A_i - C N_i)^2 / N^2`.
        R: ``concordance(fit)``.
        """
        counts: dict[str, Any] = {
            "n": self.n,
            "n_events": self.n_events,
            "method": "Harrell's concordance, infinitesimal jackknife interval",
        }
        if self.reasons:
            return not_estimable(
                "concordance", "; ".join(dict.fromkeys(self.reasons.values())), **counts
            )
        pairs, agreement = _concordant_pairs(self._sets, self._x @ self.coef)
        total = pairs.sum() / 2
        if total == 0:
            return not_estimable("concordance", "no comparable pairs", **counts)
        value = float(agreement.sum() / 2 / total)
        se = float(np.sqrt(np.sum((agreement - value * pairs) ** 2)) / total)
        margin = normal_quantile(self.ci_level) * se
        return Estimate(
            "concordance", value, value - margin, value + margin, self.ci_level, **counts
        )

    def schoenfeld_residuals(self, *, scaled: bool = False) -> pd.DataFrame:
        r"""Return Schoenfeld residuals: one row per event, columns ``time`` and the terms.

        The covariates of the patient with the event minus their weighted mean over the risk set
        (averaged over Efron's steps at ties). Scaled: :math:`\hat\beta + D\,V r` with
        :math:`D` events and :math:`V` the model-based covariance, whose trend in time shows how
        the log hazard ratio changes (Grambsch & Therneau 1994). R: ``residuals(fit,
        "schoenfeld")`` and, scaled, ``residuals(fit, "scaledsch")`` plus the coefficient.
        """
        if self.n_events == 0 or self.reasons:
            return pd.DataFrame(columns=["time", *self.terms], dtype=float)
        sets, x = self._sets, self._x
        average = _tie_average(sets, sets.moments(x, self.coef).mean)
        residuals = x[sets.step_row] - average[sets.step_run]
        if scaled:
            residuals = self.coef + self.n_events * residuals @ self._model_covariance
        frame = pd.DataFrame(residuals, columns=self.terms)
        frame.insert(0, "time", sets.time[sets.step_row])
        return frame.sort_values("time", kind="stable", ignore_index=True)

    def proportional_hazards(
        self, transform: Transform = "km", *, factors: Mapping[str, Sequence[str]] | None = None
    ) -> pd.DataFrame:
        r"""Test whether hazard ratios are constant in time, as R's ``cox.zph`` (survival >= 3).

        The score test for adding :math:`x\,g(t)` to the model. With :math:`u = \sum g_k r_k` over
        the steps :math:`k`, :math:`V_k` the covariance of the covariates in the risk set, and
        :math:`I_m = \sum g_k^m V_k`,

        .. math:: \chi^2 = u^\top (I_2 - I_1 I_0^{-1} I_1)^{-1} u

        for one term (its own rows of :math:`u, I_1, I_2`) or globally. Earlier versions of R, and
        lifelines, take :math:`V_k` as constant in time, which can be far off.

        Parameters
        ----------
        transform : {"km", "rank", "identity", "log"}
            :math:`g(t)`: 1 minus the Kaplan-Meier curve just before t, rank, t, or log t.
        factors : mapping of str to list of str, optional
            Name of a factor to the covariates that code it: they are tested together, in one row
            on as many degrees of freedom, as R tests ``factor(x)``.

        Returns
        -------
        DataFrame
            ``term, chisq, df, p`` with a last row ``GLOBAL``. Where the model has no finite
            maximum the numbers are NaN and ``attrs["reason"]`` says so.

        Raises
        ------
        ValueError
            An unknown transform, event times of 0 with "log", a factor whose covariates are not in
            the model or are claimed twice.

        References
        ----------
        Grambsch & Therneau (1994), Biometrika 81:515; Therneau, vignette "Approximate score
        tests" of the R package survival.
        """
        tested = _tested_together(self.terms, factors or {})
        tested["GLOBAL"] = list(range(len(self.terms)))
        df = np.array([len(columns) for columns in tested.values()])
        chisq = np.full(len(tested), np.nan)
        reason = "; ".join(dict.fromkeys(self.reasons.values()))
        if self._penalised:
            reason = "defined for the unpenalised fit only"
        if not reason:
            sets, scale = self._sets, self._x.std(axis=0)
            x = self._x / scale
            at = sets.moments(x, self.coef * scale)
            g = _time_scale(sets, transform)[sets.step_run]
            g = g - g.mean()
            residuals = x[sets.step_row] - _tie_average(sets, at.mean)[sets.step_run]
            u = g @ residuals
            i0, i1, i2 = (_weighted_information(sets, x, at, g**m) for m in range(3))
            spread = i2 - i1 @ np.linalg.solve(i0, i1)
            # Without late and early events there is nothing to test; rounding leaves noise near 0.
            solvable = np.diag(spread) > 1e-9 * np.abs(np.diag(i2))
            for row, columns in enumerate(tested.values()):
                statistic, rank = quadratic_form(u[columns], spread[np.ix_(columns, columns)])
                if rank == len(columns) and (len(columns) > 1 or solvable[columns[0]]):
                    chisq[row] = statistic
        table = pd.DataFrame(
            {"term": list(tested), "chisq": chisq, "df": df, "p": stats.chi2.sf(chisq, df)}
        )
        if reason:
            table.attrs["reason"] = reason
        return table


def _tested_together(
    terms: list[str], factors: Mapping[str, Sequence[str]]
) -> dict[str, list[int]]:
    """Return the columns of each test: one for a covariate of its own, several for a factor."""
    coded = [name for columns in factors.values() for name in columns]
    unknown = sorted(set(coded) - set(terms))
    if unknown or len(set(coded)) < len(coded) or not all(factors.values()):
        told = f"{unknown} are not in the model" if unknown else "every covariate at most once"
        raise ValueError(f"factors: {told}; the covariates are {terms}")
    factor_of = {name: factor for factor, columns in factors.items() for name in columns}
    tested: dict[str, list[int]] = {}
    for position, term in enumerate(terms):
        tested.setdefault(factor_of.get(term, term), []).append(position)
    return tested


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
    R: ``coxph(Surv(time, event) ~ ..., ties = "efron")``. lifelines, the same numbers to 1e-4:
    ``CoxPHFitter().fit(frame, "time", "event")``. Where R warns that a coefficient may be
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
        table = coefficient_table(names, nothing, blank, ci_level, reasons)
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
    table = coefficient_table(names, found.beta / scale, covariance, ci_level, reasons)
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


def coefficient_table(
    names: list[str],
    beta: Floats,
    covariance: Floats,
    ci_level: float,
    reasons: dict[str, str],
) -> pd.DataFrame:
    """Return the table of a `HazardModel` with Wald intervals; NaN for terms with a reason."""
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


def _weighted_information(sets: RiskSets, x: Floats, at: Moments, step_weight: Floats) -> Floats:
    """Return the sum over steps of `step_weight` times the covariance in the risk set."""
    exposure = at.weight * sets.while_at_risk(step_weight / at.denominator)
    mean = at.mean * step_weight[:, None]
    return (x * exposure[:, None]).T @ x - mean.T @ at.mean


def _time_scale(sets: RiskSets, transform: Transform) -> Floats:
    """Return g(t) of the proportional hazards test at the time of each run."""
    times = sets.run_time
    if transform == "identity":
        return times
    if transform == "log":
        if times.min() == 0:
            raise ValueError("transform 'log' needs event times after 0; one is 0")
        return np.log(times)
    if transform == "rank":
        return stats.rankdata(sets.time)[sets.run_start]
    if transform == "km":
        entry = None if sets.entry is None else np.maximum(sets.entry, 0)
        curve = kaplan_meier(sets.time, sets.event, entry=entry).table
        before = np.searchsorted(curve["time"].to_numpy(), times, side="left")
        return 1 - np.concatenate([[1.0], curve["survival"].to_numpy()])[before]
    raise ValueError(f"transform is {transform!r}, expected 'km', 'rank', 'identity' or 'log'")


def _concordant_pairs(sets: RiskSets, risk: Floats) -> tuple[Floats, Floats]:
    """Return, per row, its comparable pairs and how many agree (ties in risk count half)."""
    distinct, when = np.unique(sets.time, return_inverse=True)
    position = 2 * when + ~sets.event + 1  # censored at t come after events at t
    # Equal covariates can differ in the last bit of the linear predictor.
    _, rank = np.unique(np.round(risk, 10), return_inverse=True)
    pairs, agreement = np.zeros(len(risk)), np.zeros(len(risk))
    for layer in np.unique(sets.strata):
        inside = np.flatnonzero(sets.strata == layer)
        first = inside[sets.event[inside]]
        _count_pairs(pairs, agreement, first, position[first], inside, position[inside], rank, 1)
        if sets.entry is not None:
            entered = 2 * np.searchsorted(distinct, sets.entry[inside], side="right")
            _count_pairs(pairs, agreement, first, position[first], inside, entered, rank, -1)
    return pairs, agreement


def _count_pairs(
    pairs: Floats,
    agreement: Floats,
    first: Ints,
    first_position: Ints,
    second: Ints,
    second_position: Ints,
    rank: Ints,
    sign: int,
) -> None:
    """Add `sign` for every pair of a `first` row and a `second` row at a later position.

    Two positions differ first at one binary digit, so the pairs split by that digit into blocks
    within which counting lower and equal ranks is a search in a sorted list: n log(n)^2 in all.
    """
    width = int(rank.max()) + 1
    top = int(max(first_position.max(initial=0), second_position.max(initial=0)))
    for digit in range(top.bit_length()):
        low = first[(first_position >> digit) & 1 == 0]
        high = second[(second_position >> digit) & 1 == 1]
        low_block = (first_position[(first_position >> digit) & 1 == 0] >> (digit + 1)) * width
        high_block = (second_position[(second_position >> digit) & 1 == 1] >> (digit + 1)) * width
        for mine, my_block, theirs, their_block, i_am_first in (
            (low, low_block, high, high_block, True),
            (high, high_block, low, low_block, False),
        ):
            listed = np.sort(their_block + rank[theirs])
            begin = np.searchsorted(listed, my_block, side="left")
            less = np.searchsorted(listed, my_block + rank[mine], side="left") - begin
            not_more = np.searchsorted(listed, my_block + rank[mine], side="right") - begin
            count = np.searchsorted(listed, my_block + width, side="left") - begin
            agree = less if i_am_first else count - not_more
            np.add.at(pairs, mine, sign * count)
            np.add.at(agreement, mine, sign * (agree + (not_more - less) / 2))


# --- Firth's penalty --------------------------------------------------------------------------


def firth_cox(
    time: Any,
    event: Any,
    covariates: pd.DataFrame,
    *,
    strata: Any = None,
    entry: Any = None,
    ties: Ties = "efron",
    ci_level: float = 0.95,
) -> CoxFit:
    r"""Fit a Cox model with Firth's penalty: finite estimates under separation, less bias.

    Maximises :math:`\ell(\beta) + \tfrac12 \log |I(\beta)|`. Intervals and P values come from the
    profile of the penalised likelihood, not from the standard errors in the table.

    Parameters and errors are those of `cox`.

    References
    ----------
    Firth (1993), Biometrika 80:27; Heinze & Schemper (2001), Biometrics 57:114. R: ``coxphf``
    (which has Breslow ties).
    """
    critical = float(stats.chi2.ppf(ci_level, 1))
    t, died, late = survival_data(time, event, entry)
    x, names = design_matrix(covariates, len(t))
    codes = np.zeros(len(t), dtype=np.int64)
    if strata is not None:
        codes, _ = group_codes("strata", strata, n=len(t))
    if not died.any():
        return cox(
            time, event, covariates, strata=strata, entry=entry, ties=ties, ci_level=ci_level
        )
    sets = RiskSets(t, died, late, codes, ties)
    x = x[sets.order]
    centre, scale = x.mean(axis=0), x.std(axis=0)
    scaled = (x - centre) / scale
    p = len(names)
    null = sets.moments(scaled, np.zeros(p))
    _refuse_flat(null.information, names)

    beta, best, at = _maximise_penalised(sets, scaled, np.zeros(p), np.ones(p, dtype=bool))
    start, _ = _penalised(sets, scaled, np.zeros(p))
    inverse = np.linalg.inv(at.information)
    se = np.sqrt(np.diag(inverse))

    low, high, p_values, z = (np.full(p, np.nan) for _ in range(4))
    for j in range(p):
        free = np.arange(p) != j

        def profile(value: float, j: int = j, free: Bools = free) -> float:
            begin = beta.copy()
            begin[j] = value
            return _maximise_penalised(sets, scaled, begin, free)[1]

        def below(value: float, profile: Any = profile) -> float:
            return 2 * (best - profile(value)) - critical

        z[j] = np.sign(beta[j]) * np.sqrt(max(2 * (best - profile(0.0)), 0.0))
        p_values[j] = 2 * stats.norm.sf(abs(z[j]))
        for sign, bounds in ((-1, low), (1, high)):
            inner, width = beta[j], se[j]
            for _ in range(30):
                outer = inner + sign * width
                if below(outer) > 0:
                    bounds[j] = optimize.brentq(below, *sorted((inner, outer)), xtol=1e-10)
                    break
                inner, width = outer, width * 1.5
    table = pd.DataFrame(
        {
            "term": names,
            "coef": beta / scale,
            "se": se / scale,
            "hr": np.exp(beta / scale),
            "ci_low": np.exp(low / scale),
            "ci_high": np.exp(high / scale),
            "z": z,
            "p": p_values,
        }
    )
    unit = float(np.log(scale).sum())  # the penalty in the units of the covariates
    first = np.linalg.solve(null.information, null.score)
    covariance = inverse / np.outer(scale, scale)
    return CoxFit(
        table=table,
        log_likelihood=best + unit,
        log_likelihood_null=start + unit,
        covariance=covariance,
        n=len(t),
        n_events=int(died.sum()),
        method=f"Cox with Firth's penalty, {ties.capitalize()} ties, profile interval",
        ci_level=ci_level,
        reasons={},
        _score_statistic=float(null.score @ first),
        _model_covariance=covariance,
        _sets=sets,
        _x=x - centre,
        _penalised=True,
    )


def _penalised(sets: RiskSets, x: Floats, beta: Floats) -> tuple[float, Moments]:
    at = sets.moments(x, beta)
    sign, log_determinant = np.linalg.slogdet(at.information)
    return (at.log_likelihood + log_determinant / 2 if sign > 0 else -np.inf), at


def _penalised_score(sets: RiskSets, x: Floats, at: Moments) -> Floats:
    r"""Return the score of the penalised likelihood.

    :math:`U_r + \tfrac12 \mathrm{tr}(I^{-1} \partial I / \partial \beta_r)`. The derivative of a
    covariance is a third central moment; contracted with :math:`J = I^{-1}`, and with
    :math:`q_i = x_i^\top J x_i`, each step contributes
    :math:`E[q x] - E[q]\bar x - 2 E[x x^\top] J \bar x + 2 \bar x\, \bar x^\top J \bar x`.
    """
    j = np.linalg.inv(at.information)
    hazard = 1 / at.denominator
    xj = x @ j
    q = np.sum(xj * x, axis=1)
    exposure = at.weight * sets.while_at_risk(hazard)
    q_mean = sets.step_mean(q[:, None], at.weight, at.denominator)[:, 0]
    mean_sum = sets.while_at_risk(at.mean * hazard[:, None])
    inner = at.weight * np.sum(xj * mean_sum, axis=1)
    mean_j_mean = np.sum((at.mean @ j) * at.mean, axis=1)
    trace = x.T @ (exposure * q) - q_mean @ at.mean - 2 * (x.T @ inner)
    trace += 2 * (mean_j_mean @ at.mean)
    return at.score + trace / 2


def _maximise_penalised(
    sets: RiskSets, x: Floats, beta: Floats, free: Bools
) -> tuple[Floats, float, Moments]:
    """Maximise the penalised likelihood over the `free` coefficients, from `beta`."""
    value, at = _penalised(sets, x, beta)
    if not free.any():
        return beta, value, at
    for _ in range(200):
        score = _penalised_score(sets, x, at)[free]
        step = np.zeros(len(beta))
        step[free] = np.linalg.solve(at.information[np.ix_(free, free)], score)
        step *= min(1.0, 2.0 / float(np.abs(step).max(initial=1e-300)))
        if np.abs(step).max() < 1e-9:
            break
        shrink = 1.0
        new, at_new = _penalised(sets, x, beta + step)
        while not new >= value - 1e-12 * abs(value) and shrink > 1e-6:
            shrink /= 2
            new, at_new = _penalised(sets, x, beta + shrink * step)
        beta, value, at = beta + shrink * step, new, at_new
    return beta, value, at


# --- bootstrap --------------------------------------------------------------------------------


def bootstrap_cox(
    time: Any,
    event: Any,
    covariates: pd.DataFrame,
    *,
    n_boot: int,
    seed: int,
    strata: Any = None,
    resamples: Any = None,
) -> Floats:
    """Refit a Cox model (Efron ties) to resampled patients, many resamples at once.

    The numbers are those of `cox` on each resample; a patient drawn twice is two tied patients.

    Parameters
    ----------
    time, event, covariates, strata
        As for `cox`.
    n_boot : int
        Number of resamples.
    seed : int
        Seed of the random numbers.
    resamples : (n_boot, n) array-like, optional
        Positions to use as resamples instead of drawing them.

    Returns
    -------
    (n_boot, p) array
        Log hazard ratios; a row of NaN where a resample has no finite maximum.

    Raises
    ------
    ValueError
        As for `cox`; or n_boot < 1, no events, or positions outside the data.
    """
    t, died, _ = survival_data(time, event)
    n = len(t)
    x, names = design_matrix(covariates, n)
    codes = np.zeros(n, dtype=np.int64)
    if strata is not None:
        codes, _ = group_codes("strata", strata, n=n)
    if n_boot < 1:
        raise ValueError(f"n_boot is {n_boot}, expected 1 or more")
    if not died.any():
        raise ValueError("no events: there is nothing to refit")
    if resamples is None:
        drawn = np.random.default_rng(seed).integers(0, n, size=(n_boot, n))
    else:
        drawn = np.asarray(resamples)
        if drawn.ndim != 2 or drawn.shape[0] != n_boot or drawn.min() < 0 or drawn.max() >= n:
            raise ValueError(f"resamples must be {n_boot} rows of positions 0 to {n - 1}")
    sets = RiskSets(t, died, None, codes, "efron")
    x = x[sets.order]
    scale = x.std(axis=0)
    scaled = (x - x.mean(axis=0)) / scale
    _refuse_flat(sets.moments(scaled, np.zeros(len(names))).information, names)
    whole = maximise(sets, scaled)
    start = np.where(whole.diverging, 0.0, whole.beta)
    out = np.empty((n_boot, len(names)))
    block = max(1, 100_000 // (n * len(names)))
    for begin in range(0, n_boot, block):
        part = drawn[begin : begin + block]
        offset = np.arange(len(part))[:, None] * n
        times_drawn = np.bincount((part + offset).ravel(), minlength=len(part) * n)
        copies = times_drawn.reshape(len(part), n)[:, sets.order]
        out[begin : begin + block] = _refit(sets, scaled, copies, start)
    return out / scale


def _refit(sets: RiskSets, x: Floats, copies: Ints, start: Floats) -> Floats:
    """Return the maxima (b, p) for `copies` (b, n) of each row: Newton on all b at once."""
    b, (n, p) = len(copies), x.shape
    runs = len(sets.run_start)
    row, first = sets.step_row, sets.first_step
    run_of_row = sets.step_run

    # Copies of events at one time are tied: one step each, listed for all resamples in a row.
    deaths = np.add.reduceat(copies[:, row], first, axis=1)
    tied = deaths.ravel()
    cell = np.repeat(np.arange(b * runs), tied)
    fraction = (np.arange(len(cell)) - (np.cumsum(tied) - tied)[cell]) / tied[cell]

    def per_run(values: Floats) -> Floats:
        sums = np.bincount(cell, weights=values, minlength=b * runs)
        return sums.astype(np.float64, copy=False).reshape(b, runs)

    products = (x[:, :, None] * x[:, None, :]).reshape(n, p * p)
    observed = copies[:, row] @ x[row]

    def moments(beta: Floats) -> tuple[Floats, Floats, Floats]:
        predictor = beta @ x.T
        predictor -= predictor.max(axis=1, keepdims=True)
        weight = copies * np.exp(predictor)
        tail = np.zeros((b, n + 1))
        tail[:, :n] = np.cumsum(weight[:, ::-1], axis=1)[:, ::-1]
        s0 = tail[:, sets.run_start] - tail[:, sets.run_end]
        d0 = np.add.reduceat(weight[:, row], first, axis=1)
        denominator = np.maximum(s0.ravel()[cell] - fraction * d0.ravel()[cell], 1e-300)
        inverse = 1 / denominator
        square = inverse * inverse
        cumulative = np.zeros((b, runs + 1))
        cumulative[:, 1:] = np.cumsum(per_run(inverse), axis=1)
        at_risk = cumulative[:, sets.to_run] - cumulative[:, sets.from_run]
        at_risk[:, row] -= per_run(fraction * inverse)[:, run_of_row]
        exposure = weight * at_risk

        weighted = weight[:, :, None] * x
        tails = np.zeros((b, n + 1, p))
        tails[:, :n] = np.cumsum(weighted[:, ::-1], axis=1)[:, ::-1]
        s1 = tails[:, sets.run_start] - tails[:, sets.run_end]
        d1 = np.add.reduceat(weighted[:, row], first, axis=1)
        a0, a1, a2 = (per_run(fraction**m * square)[:, :, None] for m in range(3))
        outer = np.swapaxes(s1, 1, 2) @ (a0 * s1 - a1 * d1)
        outer += np.swapaxes(d1, 1, 2) @ (a2 * d1 - a1 * s1)
        information = (exposure @ products).reshape(b, p, p) - outer
        events = (copies[:, row] * predictor[:, row]).sum(axis=1)
        logs = np.bincount(cell // runs, weights=np.log(denominator), minlength=b)
        return events - logs, observed - exposure @ x, information

    beta = np.tile(start, (b, 1))
    value, score, information = moments(beta)
    last = np.full(b, np.inf)
    for _ in range(40):
        # The ridge only keeps degenerate resamples solvable; they end as NaN below.
        step = np.linalg.solve(information + 1e-13 * np.eye(p), score[:, :, None])[:, :, 0]
        last = np.abs(step).max(axis=1)
        if last.max() < 1e-8:
            break
        step *= np.minimum(1.0, 4.0 / np.maximum(last, 1e-300))[:, None]
        step[last < 1e-8] = 0.0
        new = moments(beta + step)
        for _ in range(12):
            worse = ~(new[0] >= value - 1e-9)
            if not worse.any():
                break
            step[worse] /= 2
            new = moments(beta + step)
        beta = beta + step
        settled = np.abs(new[0] - value).max() <= 1e-13 * np.abs(value).max()
        value, score, information = new
        if settled:
            break
    smallest = np.linalg.eigvalsh(information)[:, 0]
    beta[(last > 1e-4) | (smallest < 1e-7)] = np.nan
    return beta

r"""Logistic regression by maximum likelihood and by Firth's penalised likelihood.

:math:`\operatorname{logit}\pi_i=\beta_0+x_i^\top\beta`, log-likelihood
:math:`\ell(\beta)=\sum y_i\eta_i-\ln(1+e^{\eta_i})`. Firth (Biometrika 1993;80:27) maximises
:math:`\ell^*=\ell+\tfrac12\ln|X^\top WX|`, which removes the first-order bias and stays finite
when a covariate separates the outcome (Heinze and Schemper, Stat Med 2002;21:2409).

R: ``glm(y ~ X, binomial)`` and ``confint``; ``logistf::logistf(y ~ X)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from ballbook.inputs import Floats, as_binary, as_design, as_level
from ballbook.results import Estimate, not_estimable

# A linear predictor this large (odds of 3e6 to 1) is a reason to look for separation.
SUSPICIOUS = 15.0


@dataclass(frozen=True, slots=True)
class LogisticFit:
    """A fitted logistic model.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a term, intercept first: term, coef, se (log odds), odds_ratio, ci_low, ci_high
        (Wald), z, p (Wald). Missing when the outcome is separated.
    covariance : ndarray, shape (terms, terms)
        Inverse information at the estimate.
    log_likelihood : float
        Maximised; penalised for Firth's method.
    separated : tuple of str
        Terms whose maximum-likelihood estimate is infinite (empty for Firth's method, which
        does not need to know).
    """

    table: pd.DataFrame
    covariance: Floats
    log_likelihood: float
    n: int
    n_events: int
    penalised: bool
    separated: tuple[str, ...]
    ci_level: float
    method: str
    outcome: Floats = field(repr=False)
    design: Floats = field(repr=False)

    @property
    def terms(self) -> list[str]:
        """Names of the terms, intercept first."""
        return [str(t) for t in self.table["term"]]

    def odds_ratio(self, name: str, *, profile: bool = True, unit: str | None = None) -> Estimate:
        r"""Return the odds ratio of one covariate, per unit of it.

        Parameters
        ----------
        name : str
            A covariate.
        profile : bool
            Interval and P from the profile (penalised) likelihood: the :math:`\beta_j` with
            :math:`2[\ell(\hat\beta)-\max\ell(\beta\mid\beta_j)]\le\chi^2_{1}`, and the likelihood
            ratio test of :math:`\beta_j=0`. Otherwise Wald.
        unit : str, optional
            What one unit is, for example ``per 10 years``.

        Raises
        ------
        ValueError
            If there is no such covariate.
        """
        terms = self.terms
        if name not in terms[1:]:
            raise ValueError(f"no covariate {name!r}; there are {', '.join(terms[1:])}")
        counts: dict[str, Any] = {"n": self.n, "n_events": self.n_events, "unit": unit}
        if self.separated:
            return not_estimable(
                "odds-ratio",
                f"the outcome is separated by {', '.join(self.separated)}: "
                "the likelihood has no maximum; Firth's method has one",
                method=self.method,
                **counts,
            )
        j = terms.index(name)
        row = self.table.iloc[j]
        if not profile:
            return Estimate(
                kind="odds-ratio",
                value=float(row.odds_ratio),
                ci_low=float(row.ci_low),
                ci_high=float(row.ci_high),
                ci_level=self.ci_level,
                p_value=float(row.p),
                statistic=float(row.z),
                method=f"{self.method}, Wald interval",
                **counts,
            )
        low, high = self._profile(j)
        null = _maximise(self.outcome, self.design, self.penalised, fixed=(j, 0.0))[1]
        drop = max(0.0, 2 * (self.log_likelihood - null))
        return Estimate(
            kind="odds-ratio",
            value=float(row.odds_ratio),
            ci_low=None if low is None else _exp(low),
            ci_high=None if high is None else _exp(high),
            ci_level=self.ci_level,
            p_value=float(stats.chi2.sf(drop, 1)),
            statistic=drop,
            df=1,
            method=f"{self.method}, profile likelihood interval, likelihood ratio test",
            **counts,
        )

    def likelihood_ratio(self) -> Estimate:
        """Return the likelihood ratio test of all covariates together."""
        columns = range(1, self.design.shape[1])
        if self.penalised:
            # The penalty keeps the full information matrix, as for a single covariate.
            null = _maximise(self.outcome, self.design, True, zero=tuple(columns))[1]
        else:
            null = _maximise(self.outcome, self.design[:, :1], False)[1]
        drop = max(0.0, 2 * (self.log_likelihood - null))
        p = float(stats.chi2.sf(drop, len(columns)))
        return Estimate(
            kind="p-value",
            value=p,
            p_value=p,
            statistic=drop,
            df=len(columns),
            n=self.n,
            n_events=self.n_events,
            method=f"{self.method}, likelihood ratio test of the model",
            reason="the outcome is separated" if self.separated else None,
        )

    def probability(self, X: Any) -> Floats:
        """Return fitted probabilities for rows of covariates, in the order of the fit.

        Raises
        ------
        ValueError
            If the number of columns differs, or the outcome was separated.
        """
        values = np.asarray(X, dtype=float)
        values = values[:, None] if values.ndim == 1 else values
        if values.shape[1] != self.design.shape[1] - 1:
            raise ValueError(f"X: expected {self.design.shape[1] - 1} columns")
        if self.separated:
            raise ValueError("the outcome is separated: no probabilities by maximum likelihood")
        coef = self.table["coef"].to_numpy(dtype=float)
        return np.asarray(special.expit(coef[0] + values @ coef[1:]))

    def _profile(self, j: int) -> tuple[float | None, float | None]:
        coef = float(self.table["coef"].iloc[j])
        se = float(self.table["se"].iloc[j])
        limit = float(stats.chi2.ppf(self.ci_level, 1))
        start = self.table["coef"].to_numpy(dtype=float)

        def excess(value: float) -> float:
            found = _maximise(
                self.outcome, self.design, self.penalised, fixed=(j, value), start=start
            )
            return 2 * (self.log_likelihood - found[1]) - limit

        def bound(side: int) -> float | None:
            near, reach = coef, 1.0
            while reach < 100:
                far = coef + side * reach * math.sqrt(limit) * se
                if excess(far) > 0:
                    low, high = sorted((near, far))
                    return float(optimize.brentq(excess, low, high, xtol=1e-11, rtol=1e-12))
                near, reach = far, reach * 1.6
            return None

        return bound(-1), bound(1)


def logistic(y: ArrayLike, X: Any, *, ci_level: float = 0.95) -> LogisticFit:
    """Fit logistic regression by maximum likelihood (Newton's method).

    Parameters
    ----------
    y : array_like of 0/1, shape (n,)
    X : DataFrame, Series or array, shape (n, covariates)
        Without intercept; factors as dummy variables.

    Returns
    -------
    LogisticFit
        When covariates separate the outcome, perfectly or in part, `separated` names them and no
        odds ratio is estimable.

    Raises
    ------
    ValueError
        For an outcome other than 0/1 or without both values, missing values, constant or collinear
        covariates, or unequal lengths.

    Notes
    -----
    R: ``glm(y ~ X, family = binomial)``; R's `confint` interpolates the profile, here it is solved.
    """
    return _fit(y, X, ci_level, penalised=False)


def firth_logistic(y: ArrayLike, X: Any, *, ci_level: float = 0.95) -> LogisticFit:
    r"""Fit logistic regression by Firth's penalised likelihood.

    Solves :math:`X^\top(y-\pi+h(\tfrac12-\pi))=0` with h the leverages of the weighted design.
    Profile intervals and tests use the penalised likelihood with the information matrix of the
    full model, as logistf does.

    Parameters and errors as `logistic`.

    Notes
    -----
    R: ``logistf::logistf(y ~ X)``, ``brglm2::brglmFit(type = "AS_mean")`` for the estimates.
    """
    return _fit(y, X, ci_level, penalised=True)


def separating_terms(y: ArrayLike, X: Any) -> list[str]:
    r"""Return the terms whose maximum-likelihood estimate is infinite; empty when all are finite.

    Separation exists when some :math:`\delta\ne0` has :math:`(2y_i-1)x_i^\top\delta\ge0` for all
    rows and > 0 for some (Albert and Anderson, Biometrika 1984;71:1). The linear programme that
    maximises the sum of these margins over :math:`|\delta_j|\le1` finds it (Konis, thesis 2007).

    Raises
    ------
    ValueError
        As `logistic`.
    """
    outcome, design, terms = _prepare(y, X)
    return _separation(outcome, design, terms)


# ---------------------------------------------------------------------------- inner workings


def _exp(log_odds: float) -> float | None:
    """An odds ratio beyond the range of floating-point numbers has no printable value."""
    return math.exp(log_odds) if log_odds < 700 else None


def _prepare(y: ArrayLike, X: Any) -> tuple[Floats, Floats, list[str]]:
    outcome = as_binary(y, "y")
    frame = as_design(X, len(outcome))
    if np.ptp(outcome) == 0:
        told = "no patient has" if outcome[0] == 0 else "every patient has"
        raise ValueError(f"y: {told} the outcome; there is nothing to explain")
    terms = ["(intercept)", *frame.columns]
    if len(terms) > len(outcome):
        raise ValueError(f"X: {len(terms)} terms for only {len(outcome)} rows")
    return outcome, np.column_stack([np.ones(len(outcome)), frame.to_numpy()]), terms


def _fit(y: ArrayLike, X: Any, ci_level: float, *, penalised: bool) -> LogisticFit:
    outcome, design, terms = _prepare(y, X)
    z_crit = float(stats.norm.isf((1 - as_level(ci_level)) / 2))
    # Fitted on standardised covariates so that units (counts per litre) cannot spoil the algebra.
    beta, log_lik, information = _maximise(outcome, design, penalised)
    separated: tuple[str, ...] = ()
    if not penalised and np.abs(design @ beta).max() > SUSPICIOUS:
        separated = tuple(_separation(outcome, design, terms))
    method = "Firth's penalised logistic regression" if penalised else "logistic regression"
    table = pd.DataFrame({"term": terms})
    if separated:
        covariance = np.full_like(information, np.nan)
        for column in ("coef", "se", "odds_ratio", "ci_low", "ci_high", "z", "p"):
            table[column] = np.nan
    else:
        # Scaled first: covariates in counts per litre would otherwise spoil the inverse.
        size = np.sqrt(np.diag(information))
        covariance = np.linalg.inv(information / np.outer(size, size)) / np.outer(size, size)
        se = np.sqrt(np.diag(covariance))
        table["coef"], table["se"] = beta, se
        table["odds_ratio"] = np.exp(beta)
        table["ci_low"], table["ci_high"] = np.exp(beta - z_crit * se), np.exp(beta + z_crit * se)
        table["z"] = beta / se
        table["p"] = 2 * stats.norm.sf(np.abs(beta / se))
    return LogisticFit(
        table=table,
        covariance=covariance,
        log_likelihood=log_lik,
        n=len(outcome),
        n_events=int(outcome.sum()),
        penalised=penalised,
        separated=separated,
        ci_level=ci_level,
        method=method,
        outcome=outcome,
        design=design,
    )


def _maximise(
    y: Floats,
    x: Floats,
    penalised: bool,
    *,
    fixed: tuple[int, float] | None = None,
    zero: tuple[int, ...] = (),
    start: Floats | None = None,
) -> tuple[Floats, float, Floats]:
    """Maximum of the (penalised) likelihood, with one coefficient fixed or several at zero.

    Returns the coefficients, the maximum and the information matrix of all terms.
    """
    # Scaling leaves likelihoods unchanged up to a constant in the penalty, removed below.
    scale = np.where(np.ptp(x, axis=0) > 0, x.std(axis=0), 1.0)
    scale = np.where(scale > 0, scale, 1.0)
    u = x / scale
    size = x.shape[1]
    beta = np.zeros(size) if start is None else start * scale
    held = np.zeros(size, dtype=bool)
    if fixed is not None:
        beta[fixed[0]] = fixed[1] * scale[fixed[0]]
        held[fixed[0]] = True
    for j in zero:
        beta[j] = 0.0
        held[j] = True
    free = ~held

    def evaluate(b: Floats) -> tuple[float, Floats, Floats]:
        eta = u @ b
        pi = special.expit(eta)
        weight = pi * special.expit(-eta)
        information = u.T @ (u * weight[:, None])
        value = float((y * eta - np.logaddexp(0, eta)).sum())
        residual = y - pi
        if penalised:
            sign, log_det = np.linalg.slogdet(information)
            value += 0.5 * float(log_det) if sign > 0 else -math.inf
            if sign > 0:
                root = u * np.sqrt(weight)[:, None]
                leverage = np.einsum("ij,ji->i", root, np.linalg.solve(information, root.T))
                residual = residual + leverage * (0.5 - pi)
        return value, u.T @ residual, information

    value, score, information = evaluate(beta)
    for _ in range(200):
        if not free.any():
            break
        inner = information[np.ix_(free, free)]
        try:
            step = np.linalg.solve(inner, score[free])
        except np.linalg.LinAlgError:
            break
        largest = np.abs(step).max()
        if not np.isfinite(largest) or largest < 1e-10:
            break
        step = step * min(1.0, 5 / largest)
        for _ in range(40):
            trial = beta.copy()
            trial[free] += step
            found = evaluate(trial)
            if found[0] >= value - 1e-12 * abs(value):
                break
            step = step / 2
        else:
            break
        improved = found[0] - value
        beta, (value, score, information) = trial, found
        if np.abs(u @ beta).max() > 40 and abs(improved) < 1e-10:
            break
    if penalised:
        value += float(np.log(scale).sum())
    return beta / scale, value, information * np.outer(scale, scale)


def _separation(y: Floats, x: Floats, terms: list[str]) -> list[str]:
    rows = np.unique(np.column_stack([y, x]), axis=0)
    centred = rows[:, 1:].copy()
    centred[:, 1:] = (centred[:, 1:] - x[:, 1:].mean(axis=0)) / x[:, 1:].std(axis=0)
    margin = (2 * rows[:, :1] - 1) * centred
    found = optimize.linprog(
        -margin.sum(axis=0),
        A_ub=-margin,
        b_ub=np.zeros(len(margin)),
        bounds=[(-1, 1)] * x.shape[1],
        method="highs",
    )
    if found.x is None or -found.fun < 1e-7:
        return []
    infinite = [t for t, v in zip(terms, found.x, strict=True) if abs(v) > 1e-7]
    # Centring moves the intercept; the covariates are what a reader can act on.
    return [t for t in infinite if t != terms[0]] or infinite

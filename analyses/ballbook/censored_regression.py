r"""Linear regression of values known only within bounds (Tobit, interval regression).

A latent value :math:`y_i = x_i^\top\beta + \sigma\varepsilon_i` is known to lie in
:math:`[l_i, u_i]`: exactly where :math:`l_i = u_i`, below a limit of detection where
:math:`l_i = -\infty`, above a ceiling where :math:`u_i = \infty`. With :math:`\varepsilon` of
density *f* and distribution *F* (normal: Tobin, Econometrica 1958;26:24; or logistic),

.. math:: \ell = \sum_{\text{exact}} \ln\frac{f(z_i)}{\sigma}
    + \sum_{\text{others}} \ln\{F(z^u_i) - F(z^l_i)\}, \qquad z = \frac{y - x^\top\beta}{\sigma}.

In :math:`\theta = 1/\sigma` and :math:`\delta = \beta/\sigma` it is concave (Olsen, Econometrica
1978;46:1211; Burridge, J R Stat Soc B 1981;43:41), so Newton's method finds its one maximum. There
is none when some direction :math:`(d, t)`, :math:`t \ge 0`, raises every bound's term for ever:
:math:`t y = x^\top d` where exact, :math:`t u \ge x^\top d` and :math:`t l \le x^\top d` elsewhere,
as when nobody in a group has a detectable value. A linear programme decides. Standard errors are
from the observed information of :math:`(\beta, \ln\sigma)`.

R: ``survival::survreg(Surv(low, high, type = "interval2") ~ x, dist = "gaussian")``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from ballbook.inputs import Floats, as_design, as_level, as_vector
from ballbook.results import Estimate, not_estimable

Distribution = Literal["gaussian", "logistic"]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CensoredFit:
    """A fitted interval regression.

    Attributes
    ----------
    table : pandas.DataFrame
        term (intercept first), coef, se, ci_low, ci_high (Wald), z, p (Wald). Missing when the
        likelihood has no maximum.
    sigma : float
        Scale of the errors: their standard deviation if normal, NaN without a maximum.
    log_sigma_se : float
    log_likelihood : float
    counts : dict
        Rows that are ``exact``, ``left``, ``right`` or ``interval`` censored.
    separated : tuple of str
        Terms (or ``sigma``) that grow without bound; empty when the maximum exists.
    """

    table: pd.DataFrame
    sigma: float
    log_sigma_se: float
    log_likelihood: float
    counts: dict[str, int]
    separated: tuple[str, ...]
    distribution: Distribution
    ci_level: float
    low: Floats = field(repr=False)
    high: Floats = field(repr=False)
    design: Floats = field(repr=False)

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.low)

    @property
    def terms(self) -> list[str]:
        """Names of the terms, intercept first."""
        return [str(t) for t in self.table["term"]]

    @property
    def method(self) -> str:
        """The model in words."""
        errors = "normal" if self.distribution == "gaussian" else "logistic"
        return f"interval regression, {errors} errors"

    def coefficient(self, name: str, *, profile: bool = True, unit: str | None = None) -> Estimate:
        r"""Return one coefficient, the change of the latent value per unit of a covariate.

        Parameters
        ----------
        profile : bool
            Interval and P from the profile likelihood: the :math:`b` with
            :math:`2[\ell(\hat\beta)-\max\ell(\beta\mid\beta_j=b)]\le\chi^2_1` and the likelihood
            ratio test of :math:`\beta_j=0`. Otherwise Wald, as R prints it.

        Raises
        ------
        ValueError
            If there is no such term.
        """
        terms = self.terms
        if name not in terms:
            raise ValueError(f"no term {name!r}; there are {', '.join(terms)}")
        counts: dict[str, Any] = {"n": self.n, "n_events": self.n - self.counts["left"]}
        if self.separated:
            return not_estimable(
                "difference",
                f"the likelihood has no maximum: {', '.join(self.separated)} "
                "grows without bound (nothing detectable in a group, or too few values)",
                method=self.method,
                unit=unit,
                **counts,
            )
        j = terms.index(name)
        row = self.table.iloc[j]
        if not profile:
            return Estimate(
                kind="difference",
                value=float(row.coef),
                ci_low=float(row.ci_low),
                ci_high=float(row.ci_high),
                ci_level=self.ci_level,
                p_value=float(row.p),
                statistic=float(row.z),
                unit=unit,
                method=f"{self.method}, Wald interval",
                **counts,
            )
        limit = float(stats.chi2.ppf(self.ci_level, 1))
        drop = max(0.0, self._drop(j, 0.0))
        return Estimate(
            kind="difference",
            value=float(row.coef),
            ci_low=self._bound(j, -1, limit),
            ci_high=self._bound(j, 1, limit),
            ci_level=self.ci_level,
            p_value=float(stats.chi2.sf(drop, 1)),
            statistic=drop,
            df=1,
            unit=unit,
            method=f"{self.method}, profile likelihood interval, likelihood ratio test",
            **counts,
        )

    def likelihood_ratio(self) -> Estimate:
        """Return the likelihood ratio test of all covariates together."""
        if self.separated:
            return not_estimable("p-value", "the likelihood has no maximum", n=self.n)
        size = self.design.shape[1] - 1
        null = _Fit(self.low, self.high, self.design[:, :1], self.distribution)
        drop = max(0.0, 2 * (self.log_likelihood - null.log_likelihood))
        p = float(stats.chi2.sf(drop, size)) if size else None
        if p is None:
            return not_estimable("p-value", "the model has no covariates", n=self.n)
        return Estimate(
            kind="p-value",
            value=p,
            p_value=p,
            statistic=drop,
            df=size,
            n=self.n,
            method=f"{self.method}, likelihood ratio test of the model",
        )

    def fitted(self) -> Floats:
        """Return the mean of the latent value of every row."""
        return np.asarray(self.design @ self.table["coef"].to_numpy(dtype=float))

    def draw(self, rng: np.random.Generator) -> Floats:
        """Return one latent value for every row, drawn from the fitted model."""
        if self.distribution == "gaussian":
            noise = rng.normal(size=self.n)
        else:
            noise = rng.logistic(size=self.n)
        return self.fitted() + self.sigma * noise

    def _drop(self, j: int, value: float) -> float:
        shift = self.design[:, j] * value
        rest = np.delete(self.design, j, axis=1)
        fit = _Fit(self.low - shift, self.high - shift, rest, self.distribution)
        return 2 * (self.log_likelihood - fit.log_likelihood)

    def _bound(self, j: int, side: int, limit: float) -> float | None:
        row = self.table.iloc[j]
        near, reach = float(row.coef), 1.0
        while reach < 100:
            far = float(row.coef) + side * reach * math.sqrt(limit) * float(row.se)
            if self._drop(j, far) > limit:
                low, high = sorted((near, far))
                return float(
                    optimize.brentq(lambda b: self._drop(j, b) - limit, low, high, xtol=1e-10)
                )
            near, reach = far, reach * 1.6
        return None


def interval_regression(
    low: ArrayLike,
    high: ArrayLike,
    X: Any = None,
    *,
    distribution: Distribution = "gaussian",
    ci_level: float = 0.95,
) -> CensoredFit:
    """Fit a linear model to values that are known within bounds.

    Parameters
    ----------
    low, high : array_like of float, shape (n,)
        Bounds of each value, equal where it is known; ``-inf`` and ``inf`` where open.
    X : DataFrame, Series or array, shape (n, covariates), optional
        Without intercept; factors as dummy variables. None fits the intercept alone.
    distribution : {"gaussian", "logistic"}
        Of the errors. Gaussian with left censoring only is the Tobit model.

    Raises
    ------
    ValueError
        For missing bounds, a lower one above its upper, rows without any bound, constant or
        collinear covariates, or more terms than rows.

    Notes
    -----
    R: ``survreg(Surv(low, high, type = "interval2") ~ X, dist = distribution)``.
    """
    if distribution not in ("gaussian", "logistic"):
        raise ValueError(f"distribution: expected gaussian or logistic, got {distribution!r}")
    below, above = _bounds(low, high)
    n = len(below)
    names: list[str] = []
    design = np.ones((n, 1))
    if X is not None:
        frame = as_design(X, n)
        names = [str(c) for c in frame.columns]
        design = np.column_stack([design, frame.to_numpy(dtype=float)])
    terms = ["(intercept)", *names]
    if len(terms) + 1 > n:
        raise ValueError(f"X: {len(terms)} terms and a scale for only {n} rows")
    z = float(stats.norm.isf((1 - as_level(ci_level)) / 2))
    fit = _Fit(below, above, design, distribution)
    separated = _separation(below, above, design, [*terms, "sigma"])
    table = pd.DataFrame({"term": terms})
    if separated:
        for column in ("coef", "se", "ci_low", "ci_high", "z", "p"):
            table[column] = np.nan
        sigma = log_sigma_se = math.nan
    else:
        beta, covariance = fit.estimate()
        se = np.sqrt(np.diag(covariance))
        table["coef"], table["se"] = beta, se[:-1]
        table["ci_low"], table["ci_high"] = beta - z * se[:-1], beta + z * se[:-1]
        table["z"] = beta / se[:-1]
        table["p"] = 2 * stats.norm.sf(np.abs(table["z"]))
        sigma, log_sigma_se = fit.sigma, float(se[-1])
    exact = below == above
    counts = {
        "exact": int(exact.sum()),
        "left": int(np.isneginf(below).sum()),
        "right": int(np.isposinf(above).sum()),
        "interval": int((~exact & np.isfinite(below) & np.isfinite(above)).sum()),
    }
    return CensoredFit(
        table=table,
        sigma=sigma,
        log_sigma_se=log_sigma_se,
        log_likelihood=fit.log_likelihood,
        counts=counts,
        separated=separated,
        distribution=distribution,
        ci_level=ci_level,
        low=below,
        high=above,
        design=design,
    )


def left_censored_distribution(level: ArrayLike, detected: ArrayLike) -> pd.DataFrame:
    """Return the share of patients at or above each level, with undetected values under limits.

    The Kaplan-Meier estimate of the reversed scale: a value below its limit is a follow-up that
    ends there. It assumes no distribution, and that limits do not depend on the value.

    Parameters
    ----------
    level : array_like of float, shape (n,)
        Value where detected, else the limit of detection.
    detected : array_like of bool, shape (n,)

    Returns
    -------
    pandas.DataFrame
        level (detected ones, highest first) and at_or_above (share).

    Notes
    -----
    R: ``survfit(Surv(max(y) - y, detected) ~ 1)``; Helsel, Statistics for Censored Environmental
    Data, 2nd ed. 2012, chapter 6.
    """
    from ballbook.survival import kaplan_meier

    y = as_vector(level, "level")
    seen = np.asarray(detected, dtype=bool)
    if len(seen) != len(y):
        raise ValueError(f"detected has {len(seen)} values, expected {len(y)}")
    # Ranks keep ties exact where differences of floats would not.
    values, rank = np.unique(-y, return_inverse=True)
    table = kaplan_meier(rank.astype(float) + 1, seen.astype(int)).table
    table = table[table["n_event"] > 0]
    return pd.DataFrame(
        {
            "level": -values[table["time"].to_numpy(dtype=int) - 1],
            "at_or_above": 1 - table["survival"].to_numpy(dtype=float),
        }
    )


# ---------------------------------------------------------------------------- inner workings


def _bounds(low: ArrayLike, high: ArrayLike) -> tuple[Floats, Floats]:
    below, above = (np.asarray(v, dtype=float) for v in (low, high))
    if below.ndim != 1 or below.shape != above.shape:
        raise ValueError(f"low and high: shapes {below.shape} and {above.shape}, expected one")
    if len(below) < 2:
        raise ValueError("low and high: expected at least two rows")
    if np.isnan(below).any() or np.isnan(above).any():
        raise ValueError("low and high: a bound is missing; open ones are -inf and inf")
    if (below > above).any():
        where = int(np.flatnonzero(below > above)[0])
        raise ValueError(f"low at position {where} is {below[where]:g}, above high")
    if (np.isposinf(below) | np.isneginf(above)).any():
        raise ValueError("low and high: a value cannot lie at infinity")
    if (np.isneginf(below) & np.isposinf(above)).any():
        raise ValueError("low and high: a row without any bound says nothing; leave it out")
    return below, above


class _Fit:
    """Newton's method on a standardised design and outcome, in Olsen's parameters."""

    def __init__(
        self, low: Floats, high: Floats, design: Floats, distribution: Distribution
    ) -> None:
        self.gaussian = distribution == "gaussian"
        # Scaled by what is finite of the outcome, so that no unit can spoil the algebra.
        known = np.concatenate([low[np.isfinite(low)], high[np.isfinite(high)]])
        varying = np.ptp(design, axis=0) > 0
        # Without an intercept (a profile of it) nothing may be centred.
        centred = not varying.all()
        self.centre_y = float(np.median(known)) if centred else 0.0
        self.scale_y = float(known.std()) or 1.0
        self.low, self.high = ((v - self.centre_y) / self.scale_y for v in (low, high))
        self.exact = low == high
        self.centre = np.where(varying & centred, design.mean(axis=0), 0.0)
        self.scale = np.where(varying, design.std(axis=0), 1.0)
        self.x = (design - self.centre) / self.scale
        size = design.shape[1]
        start = np.zeros(size + 1)
        start[-1] = 1.0
        self.delta_theta, value, self.information = self._newton(start)
        self.log_likelihood = value - self.exact.sum() * math.log(self.scale_y)
        self.sigma = self.scale_y / float(self.delta_theta[-1])

    def estimate(self) -> tuple[Floats, Floats]:
        """Return the coefficients and the covariance of them and ln sigma."""
        delta, theta = self.delta_theta[:-1], float(self.delta_theta[-1])
        size = len(delta)
        jacobian = np.zeros((size + 1, size + 1))
        jacobian[:size, :size] = np.eye(size) / theta
        jacobian[:size, size] = -delta / theta**2
        jacobian[size, size] = -1 / theta
        back = np.diag(np.append(self.scale_y / self.scale, 1.0))
        back[0, 1:size] -= self.scale_y * self.centre[1:] / self.scale[1:]
        root = np.sqrt(np.diag(self.information))
        inverse = np.linalg.inv(self.information / np.outer(root, root)) / np.outer(root, root)
        whole = back @ jacobian
        beta = back[:size, :size] @ (delta / theta)
        beta[0] += self.centre_y
        return beta, whole @ inverse @ whole.T

    def _evaluate(self, b: Floats) -> tuple[float, Floats, Floats]:
        theta = b[-1]
        if theta <= 0:
            return -math.inf, b, np.empty((0, 0))
        eta = self.x @ b[:-1]
        e = self.exact
        z = theta * self.low[e] - eta[e]
        log_f, slope, bend = self._density(z)
        value = float(log_f.sum() + e.sum() * math.log(theta))
        rows = np.column_stack([-self.x[e], self.low[e]])
        score = rows.T @ slope
        hessian = rows.T @ (rows * bend[:, None])
        score[-1] += e.sum() / theta
        hessian[-1, -1] -= e.sum() / theta**2
        if (~e).any():
            low, high, x = self.low[~e], self.high[~e], self.x[~e]
            lower, upper = theta * low - eta[~e], theta * high - eta[~e]
            # On the side of zero where nothing cancels; both distributions are symmetric.
            flip = lower > 0
            a, c = np.where(flip, -upper, lower), np.where(flip, -lower, upper)
            log_c, log_a = self._log_cdf(c), self._log_cdf(a)
            with np.errstate(divide="ignore"):
                log_p = log_c + np.log1p(-np.exp(np.minimum(log_a - log_c, 0.0)))
            value += float(log_p.sum())
            if not np.isfinite(value):
                return -math.inf, b, np.empty((0, 0))
            g, h = [], []
            for at in (upper, lower):
                open_end = ~np.isfinite(at)
                safe = np.where(open_end, 0.0, at)
                log_f, slope, _ = self._density(safe)
                density = np.where(open_end, 0.0, np.exp(log_f - log_p))
                g.append(density)
                h.append(density * slope)
            r_up = np.column_stack([-x, np.where(np.isfinite(high), high, 0.0)])
            r_low = np.column_stack([-x, np.where(np.isfinite(low), low, 0.0)])
            score = score + r_up.T @ g[0] - r_low.T @ g[1]
            cross = r_up.T @ (r_low * (g[0] * g[1])[:, None])
            hessian = (
                hessian
                + r_up.T @ (r_up * (h[0] - g[0] ** 2)[:, None])
                + r_low.T @ (r_low * (-h[1] - g[1] ** 2)[:, None])
                + cross
                + cross.T
            )
        return value, score, -hessian

    def _density(self, z: Floats) -> tuple[Floats, Floats, Floats]:
        """Return ln f, its first and its second derivative."""
        if self.gaussian:
            return -0.5 * z * z - 0.5 * math.log(2 * math.pi), -z, np.full_like(z, -1.0)
        p = special.expit(z)
        return special.log_expit(z) + special.log_expit(-z), 1 - 2 * p, -2 * p * (1 - p)

    def _log_cdf(self, z: Floats) -> Floats:
        return np.asarray(special.log_ndtr(z) if self.gaussian else special.log_expit(z))

    def _newton(self, b: Floats) -> tuple[Floats, float, Floats]:
        value, score, information = self._evaluate(b)
        for _ in range(100):
            try:
                step = np.linalg.solve(information, score)
            except np.linalg.LinAlgError:
                break
            largest = np.abs(step).max()
            if not np.isfinite(largest) or largest < 1e-11:
                break
            step = step * min(1.0, 5 / largest)
            for _ in range(60):
                found = self._evaluate(b + step)
                if found[0] >= value - 1e-12 * abs(value):
                    break
                step = step / 2
            else:
                break
            b = b + step
            gain = found[0] - value
            value, score, information = found
            if np.abs(b).max() > 200 and gain < 1e-9:
                break
        return b, value, information


def _separation(low: Floats, high: Floats, design: Floats, names: list[str]) -> tuple[str, ...]:
    """Return what grows without bound, by a linear programme over directions (see the module)."""
    known = np.concatenate([low[np.isfinite(low)], high[np.isfinite(high)]])
    centre, scale = float(np.median(known)), float(known.std()) or 1.0
    lower, upper = (low - centre) / scale, (high - centre) / scale
    spread = design.std(axis=0)
    x = (design - np.where(spread > 0, design.mean(axis=0), 0)) / np.where(spread > 0, spread, 1)
    exact = low == high
    rises = [
        np.column_stack([-x, upper])[~exact & np.isfinite(upper)],
        np.column_stack([x, -lower])[~exact & np.isfinite(lower)],
    ]
    margins = np.unique(np.vstack(rises), axis=0)
    equal = np.unique(np.column_stack([-x, lower])[exact], axis=0)
    size = x.shape[1]
    aim = -margins.sum(axis=0)
    aim[-1] -= 1.0
    found = optimize.linprog(
        aim,
        A_ub=-margins if len(margins) else None,
        b_ub=np.zeros(len(margins)) if len(margins) else None,
        A_eq=equal if len(equal) else None,
        b_eq=np.zeros(len(equal)) if len(equal) else None,
        bounds=[(-1, 1)] * size + [(0, 1)],
        method="highs",
    )
    if found.x is None or -found.fun < 1e-7:
        return ()
    infinite = [n for n, v in zip(names, found.x, strict=True) if abs(v) > 1e-7]
    return tuple([n for n in infinite if n != names[0]] or infinite)

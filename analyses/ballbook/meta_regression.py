r"""Meta-regression: how the effect of studies changes with what differs between them.

Model: :math:`y_i = x_i'\beta + u_i + e_i`, :math:`e_i\sim N(0,s_i^2)` with known :math:`s_i`,
:math:`u_i\sim N(0,\tau^2)`, :math:`w_i=1/(s_i^2+\tau^2)` and
:math:`\hat\beta=(X'WX)^{-1}X'Wy`. :math:`\tau^2` maximises the restricted likelihood

.. math:: -\tfrac12\Big\{\sum\ln(s_i^2+\tau^2)+\ln|X'WX|+\sum w_i(y_i-x_i'\hat\beta)^2\Big\}.

Knapp and Hartung multiply :math:`(X'WX)^{-1}` by :math:`\sum w_ir_i^2/(k-p)` and use t on
:math:`k-p` df (Knapp, Hartung, Stat Med 2003;22:2693). A slope across studies is no slope within
them: whatever changed beside the covariate is in it.

R: ``metafor::rma(y, sei = s, mods = ~ x, method = "REML", test = "knha")``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, stats

from ballbook.inputs import Floats, as_level, as_vector, same_length
from ballbook.results import Estimate, not_estimable


@dataclass(frozen=True, slots=True)
class MetaRegression:
    """A fitted meta-regression.

    Attributes
    ----------
    table : DataFrame
        ``term, coef, se, ci_low, ci_high, p`` on the scale of the effects; the first term is the
        intercept.
    tau2, tau2_without : float
        Variance left between studies, with and without the covariates.
    residual : Estimate
        Test of the heterogeneity that is left, kind ``p-value``.
    r_squared : Estimate
        Share of the variance between studies that the covariates take away, kind ``proportion``.
    k : int
    """

    table: pd.DataFrame
    tau2: float
    tau2_without: float
    residual: Estimate
    r_squared: Estimate
    k: int
    ci_level: float
    method: str

    def slope(self, term: str, *, ratio: bool = True, unit: str | None = None) -> Estimate:
        """Return one coefficient; with `ratio` as the factor that one unit of it multiplies by."""
        row = self.table[self.table["term"] == term].iloc[0].to_dict()
        show = math.exp if ratio else float
        return Estimate(
            "hazard-ratio" if ratio else "slope", show(row["coef"]), show(row["ci_low"]),
            show(row["ci_high"]), self.ci_level, float(row["p"]), unit, method=self.method,
        )  # fmt: skip

    def at(self, covariates: dict[str, float]) -> float:
        """Return the fitted effect at values of the covariates, on the scale of the effects."""
        coef = dict(zip(self.table["term"], self.table["coef"].to_numpy(float), strict=True))
        return float(coef["intercept"] + sum(coef[term] * v for term, v in covariates.items()))


def meta_regression(
    effects: ArrayLike,
    std_errors: ArrayLike,
    covariates: pd.DataFrame,
    *,
    knapp_hartung: bool = True,
    ci_level: float = 0.95,
) -> MetaRegression:
    """Fit a mixed-effects meta-regression by REML.

    Parameters
    ----------
    effects, std_errors : array_like of float, shape (studies,)
        On the pooling scale: logs for ratios, log(-log) for survival.
    covariates : DataFrame, shape (studies, terms)
        Numbers, without an intercept.

    Raises
    ------
    ValueError
        For unequal lengths, non-finite numbers, errors not above zero, fewer than two studies more
        than covariates, or covariates that are collinear.
    """
    y, s = as_vector(effects, "effects"), as_vector(std_errors, "std_errors")
    same_length(effects=y, std_errors=s, covariates=covariates.to_numpy())
    level = as_level(ci_level)
    if (s <= 0).any():
        raise ValueError("std_errors: expected positive values")
    x = np.column_stack([np.ones(len(y)), covariates.to_numpy(float)])
    k, p = x.shape
    if not np.isfinite(x).all():
        raise ValueError("covariates: expected finite numbers")
    if k < p + 1:
        raise ValueError(f"{k} studies for {p - 1} covariates: at least {p + 1} are needed")
    if np.linalg.matrix_rank(x - np.append([0], x[:, 1:].mean(0))) < p:
        raise ValueError("covariates: constant or collinear")
    tau2, tau2_without = _reml(y, s, x), _reml(y, s, x[:, :1])
    w = 1 / (s**2 + tau2)
    inverse = np.linalg.inv(x.T @ (x * w[:, None]))
    beta = inverse @ (x.T @ (w * y))
    if knapp_hartung:
        scale = float((w * (y - x @ beta) ** 2).sum() / (k - p))
        reference = stats.t(k - p)
    else:
        scale, reference = 1.0, stats.norm()
    se = np.sqrt(scale * np.diag(inverse))
    reach = float(reference.isf((1 - level) / 2)) * se
    table = pd.DataFrame(
        {
            "term": ["intercept", *map(str, covariates.columns)],
            "coef": beta, "se": se, "ci_low": beta - reach, "ci_high": beta + reach,
            "p": 2 * reference.sf(np.abs(beta) / se),
        }
    )  # fmt: skip
    a = 1 / s**2
    fixed = np.linalg.solve(x.T @ (x * a[:, None]), x.T @ (a * y))
    q = float((a * (y - x @ fixed) ** 2).sum())
    q_p = float(stats.chi2.sf(q, k - p))
    residual = Estimate(
        "p-value", q_p, ci_level=None, p_value=q_p, statistic=q, df=k - p,
        method="test of residual heterogeneity",
    )  # fmt: skip
    if tau2_without > 0:
        share = max(0.0, 1 - tau2 / tau2_without)
        r2 = Estimate("proportion", share, ci_level=None, method="share of tau2 taken away (REML)")
    else:
        r2 = not_estimable("proportion", "no variation between studies to explain")
    how = "REML meta-regression, " + ("Hartung-Knapp t" if knapp_hartung else "normal")
    return MetaRegression(
        table, tau2, tau2_without, residual, r2, k, level, f"{how} interval, {k} studies"
    )


def _reml(y: Floats, s: Floats, x: Floats) -> float:
    """Return the variance between studies at the global maximum of the restricted likelihood."""

    def minus(tau2: float) -> float:
        w = 1 / (s**2 + tau2)
        information = x.T @ (x * w[:, None])
        r = y - x @ np.linalg.solve(information, x.T @ (w * y))
        log_det = np.linalg.slogdet(information)[1]
        return float(0.5 * (-np.log(w).sum() + log_det + (w * r**2).sum()))

    def score(tau2: float) -> float:
        w = 1 / (s**2 + tau2)
        inverse = np.linalg.inv(x.T @ (x * w[:, None]))
        r = y - x @ (inverse @ (x.T @ (w * y)))
        trace = w.sum() - np.trace(inverse @ (x.T @ (x * (w**2)[:, None])))
        return float(0.5 * ((w * r) @ (w * r) - trace))

    top = max(float(np.var(y)), float((s**2).max())) * 100
    grid = np.concatenate([[0.0], np.geomspace(float((s**2).min()) * 1e-6, top, 400)])
    i = int(np.argmin([minus(t) for t in grid]))
    low, high = grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)]
    if score(low) <= 0:
        return float(low)
    return float(optimize.brentq(score, low, high, xtol=1e-16, rtol=1e-14))

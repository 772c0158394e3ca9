r"""Analysis of variance, Tukey's comparison of all pairs, and linear models.

R: ``aov(values ~ groups)``, ``oneway.test``, ``TukeyHSD``, ``lm`` with ``confint``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from ballbook.inputs import Floats, as_design, as_level, as_vector, by_group
from ballbook.results import Estimate, not_estimable


def anova(values: ArrayLike, groups: Any, *, equal_variances: bool = True) -> Estimate:
    r"""Return the one-way analysis of variance.

    :math:`F=\frac{\sum n_g(\bar y_g-\bar y)^2/(k-1)}{\sum\sum(y-\bar y_g)^2/(N-k)}`; `df` is the
    numerator's, k - 1. Without `equal_variances`, Welch's test (Biometrika 1951;38:330) with
    weights :math:`n_g/s_g^2`.

    Parameters
    ----------
    values : array_like of float, shape (n,)
    groups : sequence of labels, shape (n,)

    Raises
    ------
    ValueError
        For missing values or labels, or unequal lengths.

    Notes
    -----
    R: ``oneway.test(values ~ groups, var.equal = TRUE)``.
    """
    y, parts = by_group(values, groups)
    n, k = len(y), len(parts)
    if k < 2:
        return not_estimable("p-value", "only one group", n=n)
    sizes = np.array([len(v) for v in parts.values()])
    means = np.array([v.mean() for v in parts.values()])
    if equal_variances:
        if n <= k:
            return not_estimable("p-value", "no group has two values", n=n)
        within = sum(float(((v - v.mean()) ** 2).sum()) for v in parts.values()) / (n - k)
        if _is_zero(within, y):
            return not_estimable("p-value", "no variation within the groups", n=n)
        f = float((sizes * (means - y.mean()) ** 2).sum()) / (k - 1) / within
        df2, how = float(n - k), "one-way analysis of variance"
    else:
        if (sizes < 2).any():
            return not_estimable("p-value", "a group has fewer than two values", n=n)
        variances = np.array([v.var(ddof=1) for v in parts.values()])
        if any(_is_zero(v, y) for v in variances):
            return not_estimable("p-value", "a group has no variation", n=n)
        w = sizes / variances
        centre = (w * means).sum() / w.sum()
        tail = float(((1 - w / w.sum()) ** 2 / (sizes - 1)).sum()) / (k**2 - 1)
        f = float((w * (means - centre) ** 2).sum()) / (k - 1) / (1 + 2 * (k - 2) * tail)
        df2, how = 1 / (3 * tail), "Welch's analysis of variance"
    p = float(stats.f.sf(f, k - 1, df2))
    return Estimate(
        kind="p-value",
        value=p,
        p_value=p,
        n=n,
        statistic=f,
        df=k - 1,
        method=f"{how}, F on {k - 1} and {df2:.4g} df",
    )


def tukey(values: ArrayLike, groups: Any, *, ci_level: float = 0.95) -> pd.DataFrame:
    r"""Return Tukey's honest significant differences between all pairs of groups.

    :math:`\bar y_b-\bar y_a\pm q_{k,N-k}\sqrt{\tfrac{s^2}{2}(1/n_a+1/n_b)}` with the studentized
    range q and the pooled variance (Tukey-Kramer for unequal sizes).

    Returns
    -------
    pandas.DataFrame
        group, reference, difference (group - reference), ci_low, ci_high, p_adjusted, n. Empty
        when there is one group.

    Raises
    ------
    ValueError
        For missing values or labels, or when no group has two values or all variation is zero.

    Notes
    -----
    R: ``TukeyHSD(aov(values ~ groups))``.
    """
    level = as_level(ci_level)
    y, parts = by_group(values, groups)
    n, k = len(y), len(parts)
    columns = ["group", "reference", "difference", "ci_low", "ci_high", "p_adjusted", "n"]
    if k < 2:
        return pd.DataFrame(columns=columns)
    if n <= k:
        raise ValueError("values: no group has two values, so the variance is unknown")
    variance = sum(float(((v - v.mean()) ** 2).sum()) for v in parts.values()) / (n - k)
    if _is_zero(variance, y):
        raise ValueError("values: no variation within the groups")
    q = float(stats.studentized_range.ppf(level, k, n - k))
    rows = []
    for reference, group in combinations(parts, 2):
        a, b = parts[reference], parts[group]
        d = float(b.mean() - a.mean())
        se = math.sqrt(variance / 2 * (1 / len(a) + 1 / len(b)))
        p = float(stats.studentized_range.sf(abs(d) / se, k, n - k))
        rows.append((group, reference, d, d - q * se, d + q * se, p, len(a) + len(b)))
    return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True, slots=True)
class LinearFit:
    """A linear model fitted by least squares.

    Attributes
    ----------
    table : pandas.DataFrame
        term (intercept first), coef, se, ci_low, ci_high, t, p.
    sigma : float
        Residual standard deviation.
    r_squared : float
    df_residual : int
    """

    table: pd.DataFrame
    sigma: float
    r_squared: float
    df_residual: int
    n: int
    ci_level: float
    residuals: Floats = field(repr=False)
    fitted: Floats = field(repr=False)

    def coefficient(self, name: str, *, unit: str | None = None) -> Estimate:
        """Return one coefficient with its t interval and test.

        Raises
        ------
        ValueError
            If there is no such term.
        """
        terms = [str(t) for t in self.table["term"]]
        if name not in terms:
            raise ValueError(f"no term {name!r}; there are {', '.join(terms)}")
        row = self.table.iloc[terms.index(name)]
        return Estimate(
            kind="difference",
            value=float(row.coef),
            ci_low=float(row.ci_low),
            ci_high=float(row.ci_high),
            ci_level=self.ci_level,
            p_value=float(row.p),
            unit=unit,
            n=self.n,
            statistic=float(row.t),
            df=self.df_residual,
            method="linear model, t interval",
        )

    def f_test(self) -> Estimate:
        """Return the F test of all covariates together."""
        k = len(self.table) - 1
        if self.r_squared >= 1:
            return not_estimable("p-value", "the model fits without residual", n=self.n)
        f = self.r_squared / k / ((1 - self.r_squared) / self.df_residual)
        p = float(stats.f.sf(f, k, self.df_residual))
        return Estimate(
            kind="p-value",
            value=p,
            p_value=p,
            n=self.n,
            statistic=f,
            df=k,
            method=f"F test of the linear model on {k} and {self.df_residual} df",
        )


def linear_model(y: ArrayLike, X: Any, *, ci_level: float = 0.95) -> LinearFit:
    r"""Fit :math:`y=\beta_0+X\beta+\varepsilon` by least squares (QR decomposition).

    Parameters
    ----------
    y : array_like of float, shape (n,)
    X : DataFrame, Series or array, shape (n, covariates)
        Without intercept; factors as dummy variables.

    Raises
    ------
    ValueError
        For missing values, a constant outcome, constant or collinear covariates, or no residual
        degrees of freedom.

    Notes
    -----
    R: ``lm(y ~ X)``, ``confint``.
    """
    outcome = as_vector(y, "y")
    n = len(outcome)
    frame = as_design(X, n)
    if np.ptp(outcome) == 0:
        raise ValueError("y: all values are equal; there is nothing to explain")
    design = np.column_stack([np.ones(n), frame.to_numpy()])
    df = n - design.shape[1]
    if df < 1:
        raise ValueError(f"X: {design.shape[1]} terms for only {n} rows")
    scale = np.sqrt((design**2).sum(axis=0))
    q, r = np.linalg.qr(design / scale)
    coef = np.linalg.solve(r, q.T @ outcome) / scale
    fitted = design @ coef
    residuals = outcome - fitted
    variance = float((residuals**2).sum()) / df
    inverse = np.linalg.inv(r)
    se = np.sqrt(variance * (inverse**2).sum(axis=1)) / scale
    crit = float(stats.t.isf((1 - as_level(ci_level)) / 2, df))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = coef / se
    table = pd.DataFrame(
        {
            "term": ["(intercept)", *frame.columns],
            "coef": coef,
            "se": se,
            "ci_low": coef - crit * se,
            "ci_high": coef + crit * se,
            "t": t,
            "p": 2 * stats.t.sf(np.abs(t), df),
        }
    )
    total = float(((outcome - outcome.mean()) ** 2).sum())
    r_squared = 1 - float((residuals**2).sum()) / total
    return LinearFit(table, math.sqrt(variance), r_squared, df, n, ci_level, residuals, fitted)


# ---------------------------------------------------------------------------- inner workings


def _is_zero(variance: float, y: Floats) -> bool:
    """Whether a variance is rounding noise beside the size of the values."""
    return variance <= (1e-13 * float(np.abs(y).max())) ** 2

r"""Proportional odds of an ordered class on each of many genes, one after the other, in seconds.

The model of `ballbook.ordinal`, :math:`\operatorname{logit}P(Y\le j)=\alpha_j-\eta`, is fitted for
every gene *g* with :math:`\eta=z^\top\gamma+x_g\beta_g`: the gene, standardised over the patients,
and the same covariates *z* each time. For a patient in class *y* let :math:`F_u, F_v` be the
logistic function at :math:`u=\alpha_y-\eta` and :math:`v=\alpha_{y-1}-\eta`. Then

.. math:: \frac{\partial\ell}{\partial\eta}=r=F_u+F_v-1,\qquad
          -\frac{\partial^2\ell}{\partial\eta^2}=w=F_u(1-F_u)+F_v(1-F_v),

so that without covariates *r* is the class's mean cumulative share, centred: the score test is a
trend test on ridits (Bross, Biometrics 1958;14:18).

*Score test* (`score_screen`). With thresholds and covariates :math:`\theta` fitted once without
any gene,

.. math:: z_g=\frac{x_g^\top r}{\sqrt{x_g^\top W x_g - b_g^\top A^{-1} b_g}},

:math:`A` the information of :math:`\theta` and :math:`b_g` its cross part with :math:`\beta_g`, all
observed. It is a few matrix products over all genes (Rao, Proc Camb Phil Soc 1948;44:50).

*Likelihood ratio* (`fit_screen`). Newton's method for all genes at once: :math:`\theta` has the
same design for each gene, so its blocks of the information are products of the genes' weights with
one table of outer products; steps are halved gene by gene while the likelihood falls. A gene that
separates the classes has no finite :math:`\beta_g`; its likelihood ratio has a limit and is given.

A covariate pattern such as a subtype that lies wholly in the lowest (or highest) class predicts
it perfectly: its coefficient has no maximum, and in the limit its patients add nothing to either
test. `determined` finds them, to be left out beforehand and counted on the page.

R: ``ordinal::clm(y ~ z + x)`` and ``anova`` for each gene; ``MASS::polr``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from ballbook.inputs import Floats, as_design, check_rank, class_codes
from ballbook.multiplicity import benjamini_hochberg

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

BLOCK = 2000
MOST_STEPS = 60
# Newton's last step, in log odds per standard deviation, where there is a maximum.
CONVERGED = 1e-4


@dataclass(frozen=True, slots=True)
class Null:
    """What the score tests of all genes share: the model without any gene.

    Attributes
    ----------
    residual : array of shape (n,)
        Score residual *r*, the derivative by the linear predictor.
    weight : array of shape (n,)
        Its information *w*.
    cross : array of shape (n, thresholds + covariates)
        Row *i* times the gene's value adds to the cross information.
    inverse : array of shape (thresholds + covariates,) * 2
        Inverse information of the thresholds and covariates.
    """

    residual: Floats
    weight: Floats
    cross: Floats
    inverse: Floats


def standardised(expression: pd.DataFrame) -> Floats:
    """Return genes x patients with mean 0 and population spread 1; a gene that is constant is 0.

    Raises
    ------
    ValueError
        For text, missing or infinite values, or fewer than two patients.
    """
    try:
        values = expression.to_numpy(dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the expression table holds text: {error}") from None
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError("a screen needs at least two patients")
    if not np.isfinite(values).all():
        gene = expression.index[np.flatnonzero(~np.isfinite(values).all(axis=1))[0]]
        raise ValueError(f"gene {gene!r} has a value that is no finite number")
    return standardise(values)


def standardise(values: Floats) -> Floats:
    """Return rows with mean 0 and population spread 1; a constant row becomes 0."""
    centred = values - values.mean(axis=1, keepdims=True)
    spread = np.sqrt(np.einsum("gi,gi->g", centred, centred) / values.shape[1])[:, None]
    flat = spread <= 1e-12 * (1 + np.abs(values).max(axis=1, keepdims=True))
    return np.asarray(np.where(flat, 0.0, centred / np.where(flat, 1.0, spread)))


def score_screen(
    y: Any,
    expression: pd.DataFrame,
    covariates: Any = None,
    *,
    levels: Sequence[Any] | None = None,
) -> pd.DataFrame:
    """Return the score test of every gene.

    Parameters
    ----------
    y : sequence, shape (n,)
        Ordered class of each patient.
    expression : DataFrame, genes x n
    covariates : DataFrame, shape (n, covariates), optional
        Adjusted for, without intercept; factors as dummy variables.
    levels : sequence, optional
        Classes from lowest to highest.

    Returns
    -------
    DataFrame
        Index as `expression`; ``z`` (above 0: the gene is higher in higher classes; NaN for a
        gene that is constant or a sum of covariates), ``p_value`` (two-sided), ``q_value``
        (Benjamini-Hochberg over the genes with a P value).

    Raises
    ------
    ValueError
        For missing values, one class only, or covariates that separate the classes.
    """
    codes, present = class_codes(y, levels, expression.shape[1])
    null = null_model(codes, len(present), _design(covariates, codes.size))
    z = score_z(standardised(expression), null)
    return _with_q(
        pd.DataFrame({"z": z, "p_value": 2 * stats.norm.sf(np.abs(z))}, expression.index)
    )


def null_model(codes: Ints, count: int, design: Floats | None = None) -> Null:
    """Return the model without any gene for class codes 0 to ``count - 1``.

    Parameters
    ----------
    design : array of shape (n, covariates), optional
        Without intercept, of full rank.

    Raises
    ------
    ValueError
        If the covariates separate the classes.
    """
    parts, theta, _ = _without_gene(codes, count, design)
    eta = parts.design @ theta[parts.cuts :]
    found = parts.information(*parts.densities(theta[None, : parts.cuts], eta[None, :]))
    residual, weight, cross, information = (part[0] for part in found)
    return Null(residual, weight, cross, np.linalg.inv(information))


def score_z(x: Floats, null: Null, squares: Floats | None = None) -> Floats:
    """Return the score statistic of each row of `x` (genes x n).

    Neither a gene's mean nor its scale matters, but numbers stay best near mean 0 and spread 1.

    Parameters
    ----------
    squares : array as `x`, optional
        ``x * x``, where it is at hand.
    """
    b = x @ null.cross
    variance = (x * x if squares is None else squares) @ null.weight - ((b @ null.inverse) * b).sum(
        axis=1
    )
    unexplained = variance > 1e-9 * null.weight.sum()
    return np.where(unexplained, x @ null.residual, np.nan) / np.sqrt(
        np.where(unexplained, variance, 1.0)
    )


def fit_screen(
    y: Any,
    expression: pd.DataFrame,
    covariates: Any = None,
    *,
    levels: Sequence[Any] | None = None,
    ci_level: float = 0.95,
) -> pd.DataFrame:
    """Return the proportional odds fit of every gene, with its likelihood ratio test.

    Parameters
    ----------
    y, expression, covariates, levels
        As in `score_screen`.

    Returns
    -------
    DataFrame
        Index as `expression`; ``coef`` and ``se`` (log odds of a higher class per standard
        deviation of the gene), ``odds_ratio``, ``ci_low``, ``ci_high`` (Wald), ``statistic``
        (likelihood ratio), ``p_value``, ``q_value`` and ``finite`` (False where the gene
        separates the classes; then it has no odds ratio).

    Raises
    ------
    ValueError
        As `score_screen`.
    """
    codes, present = class_codes(y, levels, expression.shape[1])
    x = standardised(expression)
    null = _without_gene(codes, len(present), _design(covariates, codes.size))
    found = [_newton(x[i : i + BLOCK], *null) for i in range(0, max(len(x), 1), BLOCK)]
    coef, se, drop, finite = (np.concatenate(part) for part in zip(*found, strict=True))
    constant = ~x.any(axis=1)
    for values in (coef, se):
        values[~finite | constant] = np.nan
    drop[constant] = np.nan
    half = float(stats.norm.isf((1 - ci_level) / 2)) * se
    with np.errstate(over="ignore"):
        table = pd.DataFrame(
            {
                "coef": coef,
                "se": se,
                "odds_ratio": np.exp(coef),
                "ci_low": np.exp(coef - half),
                "ci_high": np.exp(coef + half),
                "statistic": drop,
                "p_value": stats.chi2.sf(drop, 1),
                "finite": finite & ~constant,
            },
            index=expression.index,
        )
    return _with_q(table)


def determined(y: Any, group: Any, *, levels: Sequence[Any] | None = None) -> Bools:
    """Return which patients belong to a group that lies wholly in the lowest or highest class.

    As a covariate such a group predicts its class perfectly, and in the limit of its coefficient
    its patients add nothing to what is estimated of others; they can be left out beforehand.
    """
    codes, present = class_codes(y, levels, np.size(np.asarray(y, dtype=object)))
    return in_one_end(codes, len(present), np.unique(_words(group), return_inverse=True)[1])


def in_one_end(codes: Ints, count: int, group: Ints) -> Bools:
    """Return `determined` for class codes 0 to ``count - 1`` and group codes from 0."""
    table = np.zeros((int(group.max()) + 1, count), dtype=np.int64)
    np.add.at(table, (group, codes), 1)
    size = table.sum(axis=1)
    return np.asarray(((table[:, 0] == size) | (table[:, -1] == size))[group])


def _words(values: Any) -> NDArray[Any]:
    return np.array([str(v) for v in values])


# ---------------------------------------------------------------------------- inner workings


class _Parts:
    """Derivatives of the log-likelihood for many genes that share thresholds and covariates."""

    def __init__(self, codes: Ints, count: int, design: Floats) -> None:
        cuts = count - 1
        self.codes, self.count, self.cuts, self.design = codes, count, cuts, design
        self.upper = (codes[:, None] == np.arange(cuts)).astype(float)
        self.lower = (codes[:, None] - 1 == np.arange(cuts)).astype(float)
        # Outer products of the covariates, one row a patient.
        self.outer = (design[:, :, None] * design[:, None, :]).reshape(len(codes), -1)

    def densities(self, alpha: Floats, eta: Floats) -> tuple[Floats, ...]:
        """Return the densities at both thresholds, their derivatives and the class probability."""
        infinite = np.full((len(alpha), 1), np.inf)
        bounds = np.hstack([-infinite, alpha, infinite])
        u, v = bounds[:, self.codes + 1] - eta, bounds[:, self.codes] - eta
        low, high = special.expit(v), special.expit(u)
        # On the side of zero where nothing cancels.
        p = np.where(v > 0, special.expit(-v) - special.expit(-u), high - low)
        fu, fv = high * special.expit(-u), low * special.expit(-v)
        return fu, fv, fu * (1 - 2 * high), fv * (1 - 2 * low), p

    def information(
        self, fu: Floats, fv: Floats, du: Floats, dv: Floats, p: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Return residuals, weights, cross rows and the information of thresholds and covariates.

        Shapes (g, n), (g, n), (g, n, cuts + covariates), (g, cuts + covariates, twice).
        """
        residual = -(fu - fv) / p
        weight = fu + fv
        k, cuts = self.design.shape[1], self.cuts
        g = len(fu)
        cross = np.empty((g, fu.shape[1], cuts + k))
        cross[:, :, :cuts] = -(fu[:, :, None] * self.upper + fv[:, :, None] * self.lower)
        cross[:, :, cuts:] = weight[:, :, None] * self.design
        information = np.zeros((g, cuts + k, cuts + k))
        diagonal = np.arange(cuts)
        gu, gv = fu / p, fv / p
        information[:, diagonal, diagonal] = (gu**2 - du / p) @ self.upper + (
            gv**2 + dv / p
        ) @ self.lower
        between = -(gu * gv)
        for j in range(1, cuts):
            both = between @ (self.upper[:, j] * self.lower[:, j - 1])
            information[:, j, j - 1] = information[:, j - 1, j] = both
        information[:, cuts:, cuts:] = (weight @ self.outer).reshape(g, k, k)
        mixed = np.matmul(cross[:, :, :cuts].transpose(0, 2, 1), self.design)
        information[:, :cuts, cuts:] = mixed
        information[:, cuts:, :cuts] = mixed.transpose(0, 2, 1)
        return residual, weight, cross, information


def _design(covariates: Any, n: int) -> Floats | None:
    """Return checked covariates as an array, or None."""
    if covariates is None:
        return None
    frame = as_design(covariates, n)
    check_rank(frame)
    return frame.to_numpy(float)


def _without_gene(codes: Ints, count: int, design: Floats | None) -> tuple[_Parts, Floats, float]:
    """Return the derivatives' tables, thresholds and coefficients without a gene, likelihood.

    Covariates are standardised, which moves nothing but the thresholds.
    """
    columns = np.empty((codes.size, 0)) if design is None else standardise(design.T).T
    parts = _Parts(codes, count, columns)
    cuts, size = count - 1, count - 1 + columns.shape[1]
    shares = np.bincount(codes, minlength=count) / codes.size
    theta = np.zeros((1, size))
    theta[0, :cuts] = special.logit(np.cumsum(shares)[:-1])
    value: Floats = np.full(1, codes.size * special.xlogy(shares, shares).sum())
    no_gene = np.zeros((1, codes.size))
    last = 0.0
    for _ in range(MOST_STEPS if design is not None else 0):
        start = np.append(theta, [[0.0]], axis=1)
        gradient, information = _derivatives(parts, no_gene, start)
        step = np.linalg.solve(information[0, :-1, :-1], gradient[0, :-1])
        last = float(np.abs(step).max())
        full: Floats = np.append(step * min(1.0, 5 / max(last, 1e-300)), 0.0)[None, :]
        moved, reached = _halved(parts, no_gene, start, full, value)
        gain = float(reached[0] - value[0])
        theta, value = moved[:, :-1], reached
        if last < 1e-9 or gain <= 1e-12 * abs(float(value[0])):
            break
    # Where the likelihood has no maximum, Newton's steps stay long while it rises by nothing.
    if last > CONVERGED:
        raise ValueError("the covariates separate the classes: see determined")
    return parts, theta[0], float(value[0])


def _newton(
    x: Floats, parts: _Parts, start: Floats, null: float
) -> tuple[Floats, Floats, Floats, Bools]:
    """Return coefficient, standard error, likelihood ratio and whether finite, for each gene."""
    theta = np.tile(np.append(start, 0.0), (len(x), 1))
    value = np.full(len(x), null)
    last = np.zeros(len(x))
    active = np.arange(len(x))
    for _ in range(MOST_STEPS):
        if not active.size:
            break
        xs = x[active]
        gradient, information = _derivatives(parts, xs, theta[active])
        scale, inverse = _inverted(information)
        step = np.einsum("gij,gj->gi", inverse, gradient / scale) / scale
        last[active] = largest = np.abs(step).max(axis=1)
        step *= np.minimum(1.0, 5 / np.maximum(largest, 1e-300))[:, None]
        moved, reached = _halved(parts, xs, theta[active], step, value[active])
        gain = reached - value[active]
        theta[active], value[active] = moved, reached
        active = active[(largest > 1e-9) & (gain > 1e-12 * np.abs(reached))]
    scale, inverse = _inverted(_derivatives(parts, x, theta)[1])
    se = np.sqrt(np.maximum(inverse[:, -1, -1], 0)) / scale[:, -1]
    return theta[:, -1].copy(), se, np.maximum(2 * (value - null), 0.0), last < CONVERGED


def _inverted(information: Floats) -> tuple[Floats, Floats]:
    """Return the scale of each parameter and the inverse of the information on that scale."""
    scale = np.sqrt(np.maximum(np.einsum("gii->gi", information), 1e-300))
    scaled = information / (scale[:, :, None] * scale[:, None, :])
    # A flat direction (a constant gene) must not stop the other genes.
    every = np.arange(scale.shape[1])
    scaled[:, every, every] += 1e-12
    return scale, np.linalg.inv(scaled)


def _derivatives(parts: _Parts, x: Floats, theta: Floats) -> tuple[Floats, Floats]:
    """Return gradient and information of all parameters, for each gene."""
    cuts = parts.cuts
    eta = theta[:, cuts:-1] @ parts.design.T + theta[:, -1:] * x
    fu, fv, du, dv, p = parts.densities(theta[:, :cuts], eta)
    residual, weight, cross, inner = parts.information(fu, fv, du, dv, p)
    size = theta.shape[1]
    gradient = np.empty((len(x), size))
    gradient[:, :cuts] = (fu / p) @ parts.upper - (fv / p) @ parts.lower
    gradient[:, cuts:-1] = residual @ parts.design
    gradient[:, -1] = (residual * x).sum(axis=1)
    information = np.empty((len(x), size, size))
    information[:, :-1, :-1] = inner
    mixed = np.einsum("gn,gnk->gk", x, cross)
    information[:, :-1, -1] = information[:, -1, :-1] = mixed
    information[:, -1, -1] = (weight * x * x).sum(axis=1)
    return gradient, information


def _halved(
    parts: _Parts, x: Floats, theta: Floats, step: Floats, value: Floats
) -> tuple[Floats, Floats]:
    """Return the parameters after a step that does not lower the likelihood, and its value."""
    cuts = parts.cuts
    moved, reached = theta.copy(), value.copy()
    left = np.arange(len(x))
    for _ in range(40):
        tried = theta[left] + step[left]
        eta = tried[:, cuts:-1] @ parts.design.T + tried[:, -1:] * x[left]
        p = parts.densities(tried[:, :cuts], eta)[-1]
        with np.errstate(invalid="ignore"):
            sums = np.log(np.maximum(p, 1e-300)).sum(axis=1)
        likelihood = np.where((p > 0).all(axis=1), sums, -np.inf)
        good = likelihood >= value[left] - 1e-12 * np.abs(value[left])
        moved[left[good]], reached[left[good]] = tried[good], likelihood[good]
        left = left[~good]
        if not left.size:
            break
        step[left] /= 2
    return moved, reached


def _with_q(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with false-discovery rates over the genes that have a P value."""
    known = table["p_value"].notna().to_numpy()
    table["q_value"] = np.nan
    if known.any():
        table.loc[known, "q_value"] = benjamini_hochberg(table.loc[known, "p_value"].to_numpy())
    return table

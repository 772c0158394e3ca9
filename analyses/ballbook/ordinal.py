r"""Proportional odds regression for ordered outcomes, with tests of its assumption.

For levels 1 < ... < J: :math:`\operatorname{logit}P(Y\le j\mid x)=\alpha_j-x^\top\beta`
(McCullagh, J R Stat Soc B 1980;42:109). :math:`e^{\beta}` is the odds ratio of a higher level, the
same at every cut. The log-likelihood
:math:`\sum\ln[F(\alpha_{y}-x\beta)-F(\alpha_{y-1}-x\beta)]` is concave, so Newton's method finds
its maximum.

R: ``ordinal::clm(y ~ x)``; ``MASS::polr(y ~ x, Hess = TRUE)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from ballbook.inputs import Floats, as_design, as_level, class_codes
from ballbook.results import Estimate, not_estimable


@dataclass(frozen=True, slots=True)
class OrdinalFit:
    """A fitted proportional odds model.

    Attributes
    ----------
    table : pandas.DataFrame
        term, coef, se, odds_ratio, ci_low, ci_high (Wald), z, p (Wald); one row a covariate.
    thresholds : pandas.DataFrame
        cut (``a|b``), alpha, se.
    levels : tuple
        Levels of the outcome, lowest first.
    separated : bool
        Whether the likelihood has no maximum; then nothing is estimable.
    """

    table: pd.DataFrame
    thresholds: pd.DataFrame
    levels: tuple[Any, ...]
    log_likelihood: float
    n: int
    separated: bool
    ci_level: float
    outcome: Any = field(repr=False)
    design: Floats = field(repr=False)

    @property
    def terms(self) -> list[str]:
        """Names of the covariates."""
        return [str(t) for t in self.table["term"]]

    def odds_ratio(self, name: str, *, profile: bool = False, unit: str | None = None) -> Estimate:
        """Return the odds ratio of being in a higher level, per unit of one covariate.

        Parameters
        ----------
        profile : bool
            Profile likelihood interval and likelihood ratio test instead of Wald's.

        Raises
        ------
        ValueError
            If there is no such covariate.
        """
        if name not in self.terms:
            raise ValueError(f"no covariate {name!r}; there are {', '.join(self.terms)}")
        counts: dict[str, Any] = {"n": self.n, "unit": unit}
        if self.separated:
            return not_estimable("odds-ratio", "the covariates separate the levels", **counts)
        j = self.terms.index(name)
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
                method="proportional odds model, Wald interval",
                **counts,
            )
        limit = float(stats.chi2.ppf(self.ci_level, 1))

        def drop(value: float) -> float:
            rest = np.delete(self.design, j, axis=1)
            fit = _Cumulative(
                self.outcome, rest, len(self.levels), offset=self.design[:, j] * value
            )
            return 2 * (self.log_likelihood - fit.log_likelihood)

        def bound(side: int) -> float | None:
            near, reach = float(row.coef), 1.0
            while reach < 100:
                far = float(row.coef) + side * reach * math.sqrt(limit) * float(row.se)
                if drop(far) > limit:
                    low, high = sorted((near, far))
                    root = optimize.brentq(lambda v: drop(v) - limit, low, high, xtol=1e-11)
                    return math.exp(float(root))
                near, reach = far, reach * 1.6
            return None

        statistic = max(0.0, drop(0.0))
        return Estimate(
            kind="odds-ratio",
            value=float(row.odds_ratio),
            ci_low=bound(-1),
            ci_high=bound(1),
            ci_level=self.ci_level,
            p_value=float(stats.chi2.sf(statistic, 1)),
            statistic=statistic,
            df=1,
            method="proportional odds model, profile likelihood interval, likelihood ratio test",
            **counts,
        )

    def likelihood_ratio(self) -> Estimate:
        """Return the likelihood ratio test of all covariates together."""
        shares = np.bincount(self.outcome, minlength=len(self.levels))
        null = float(special.xlogy(shares, shares / self.n).sum())
        return _test(
            max(0.0, 2 * (self.log_likelihood - null)),
            self.design.shape[1],
            self.n,
            "proportional odds model, likelihood ratio test",
        )

    def parallelism(
        self, method: Literal["brant", "lr"] = "brant", *, terms: Sequence[str] | None = None
    ) -> Estimate:
        r"""Return the test that one :math:`\beta` serves every cut.

        * ``brant``: Wald test that the J - 1 logistic regressions of :math:`Y>j` share their
          slopes, with the covariance between them (Brant, Biometrics 1990;46:1171).
        * ``lr``: likelihood ratio against the model with :math:`\beta_j` free at each cut.

        Not estimable with two levels, (Brant) when a cut is separated by the covariates, or (LR)
        when the free model gives some patient a negative probability of a class.

        Parameters
        ----------
        terms : sequence of str, optional
            Covariates that are tested; all by default. The others keep one slope (``lr``) or are
            left out of the contrast (``brant``).

        Raises
        ------
        ValueError
            If there is no such covariate.

        Notes
        -----
        R: ``car::poTest(polr(...))``; ``ordinal::nominal_test`` and ``clm(nominal = ~ x)``.
        """
        cuts, size = len(self.levels) - 1, self.design.shape[1]
        kind = "p-value"
        unknown = [t for t in terms or () if t not in self.terms]
        if unknown:
            raise ValueError(f"no covariate {unknown[0]!r}; there are {', '.join(self.terms)}")
        tested = [j for j, t in enumerate(self.terms) if terms is None or t in terms]
        if cuts < 2:
            return not_estimable(kind, "two levels have one cut: nothing to compare", n=self.n)
        if self.separated:
            return not_estimable(kind, "the covariates separate the levels", n=self.n)
        if method == "lr":
            free = _Cumulative(self.outcome, self.design, len(self.levels), free=tested)
            if not np.isfinite(free.log_likelihood) or free.crossed:
                why = "with separate slopes the cuts cross: that model has no valid fit"
                return not_estimable(kind, why, n=self.n)
            drop = max(0.0, 2 * (free.log_likelihood - self.log_likelihood))
            how = "likelihood ratio test against separate slopes at each cut"
            return _test(drop, (cuts - 1) * len(tested), self.n, how)
        if method != "brant":
            raise ValueError(f"method: expected brant or lr, got {method!r}")
        found = self._brant()
        if found is None:
            return not_estimable(
                kind, "a cut of the outcome is separated; use the likelihood ratio test", n=self.n
            )
        rows = [k * size + j for k in range(cuts - 1) for j in tested]
        contrast, covariance = found[0][rows], found[1][np.ix_(rows, rows)]
        statistic = float(contrast @ np.linalg.solve(covariance, contrast))
        return _test(statistic, len(contrast), self.n, "Brant's test of parallel slopes")

    def _brant(self) -> tuple[Floats, Floats] | None:
        from ballbook.logistic import logistic

        cuts, size = len(self.levels) - 1, self.design.shape[1]
        x = np.column_stack([np.ones(self.n), self.design])
        slopes, probabilities, inverses = [], [], []
        for j in range(cuts):
            fit = logistic((self.outcome > j).astype(float), self.design)
            if fit.separated:
                return None
            coef = fit.table["coef"].to_numpy(dtype=float)
            slopes.append(coef[1:])
            probabilities.append(special.expit(x @ coef))
            inverses.append(fit.covariance)
        joint = np.empty((cuts * size, cuts * size))
        for m in range(cuts):
            for k in range(m, cuts):
                # P(Y > k) P(Y <= m) is the covariance of the two indicators for k >= m.
                weight = probabilities[k] * (1 - probabilities[m])
                block = (inverses[m] @ (x.T @ (x * weight[:, None])) @ inverses[k])[1:, 1:]
                joint[m * size : (m + 1) * size, k * size : (k + 1) * size] = block
                joint[k * size : (k + 1) * size, m * size : (m + 1) * size] = block.T
        difference = np.hstack([np.tile(np.eye(size), (cuts - 1, 1)), -np.eye((cuts - 1) * size)])
        contrast = difference @ np.concatenate(slopes)
        return contrast, difference @ joint @ difference.T


def proportional_odds(
    y: Any, X: Any, *, levels: Sequence[Any] | None = None, ci_level: float = 0.95
) -> OrdinalFit:
    """Fit a proportional odds model.

    Parameters
    ----------
    y : sequence, shape (n,)
        Ordered outcome; the order is `levels`, else that of a categorical, else sorted.
    X : DataFrame, Series or array, shape (n, covariates)
        Without intercept; factors as dummy variables.
    levels : sequence, optional
        Levels from lowest to highest; must hold every value of `y`. Levels nobody has are left
        out of the model.

    Raises
    ------
    ValueError
        For missing values, unknown levels, one level only, constant or collinear covariates.
    """
    size = np.size(np.asarray(y, dtype=object))
    outcome, present = class_codes(y, levels, size)
    frame = as_design(X, size)
    design = frame.to_numpy()
    fit = _Cumulative(outcome, design, len(present))
    z = float(stats.norm.isf((1 - as_level(ci_level)) / 2))
    cuts = len(present) - 1
    separated = fit.diverged()
    if separated:
        coef = se = np.full(cuts + design.shape[1], np.nan)
    else:
        coef = fit.theta
        root = np.sqrt(np.diag(fit.information))
        se = np.sqrt(np.diag(np.linalg.inv(fit.information / np.outer(root, root)))) / root
    beta, beta_se = coef[cuts:], se[cuts:]
    table = pd.DataFrame(
        {
            "term": list(frame.columns),
            "coef": beta,
            "se": beta_se,
            "odds_ratio": np.exp(beta),
            "ci_low": np.exp(beta - z * beta_se),
            "ci_high": np.exp(beta + z * beta_se),
            "z": beta / beta_se,
            "p": 2 * stats.norm.sf(np.abs(beta / beta_se)),
        }
    )
    thresholds = pd.DataFrame(
        {
            "cut": [f"{a}|{b}" for a, b in pairwise(present)],
            "alpha": coef[:cuts],
            "se": se[:cuts],
        }
    )
    return OrdinalFit(
        table,
        thresholds,
        tuple(present),
        fit.log_likelihood,
        size,
        separated,
        ci_level,
        outcome,
        design,
    )


# ---------------------------------------------------------------------------- inner workings


class _Cumulative:
    """Newton's method for a cumulative logit model, slopes shared by the cuts or (`free`) not.

    Parameters are the thresholds, the shared slopes, and the free ones cut by cut.
    """

    def __init__(
        self,
        outcome: Any,
        design: Floats,
        levels: int,
        *,
        offset: Floats | None = None,
        free: Sequence[int] = (),
    ) -> None:
        cuts, n = levels - 1, len(outcome)
        centre = design.mean(axis=0)
        scale = design.std(axis=0)
        unit = (design - centre) / scale
        shared = [c for c in range(design.shape[1]) if c not in free]
        first = cuts + len(shared)
        # Columns of the parameters, by cut, and the covariate that each belongs to.
        order = [*shared, *free]
        places = [
            [*range(cuts, first), *range(first + j * len(free), first + (j + 1) * len(free))]
            for j in range(cuts)
        ]
        rows = np.zeros((cuts, n, first + cuts * len(free)))
        for j, place in enumerate(places):
            rows[j, :, j] = 1
            rows[j][:, place] = -unit[:, order]
        self.outcome, self.cuts = outcome, cuts
        self.has_upper, self.has_lower = outcome < cuts, outcome > 0
        everyone = np.arange(n)
        self.upper = rows[np.minimum(outcome, cuts - 1), everyone]
        self.lower = rows[np.maximum(outcome - 1, 0), everyone]
        self.offset = np.zeros(n) if offset is None else offset
        shares = np.cumsum(np.bincount(outcome, minlength=levels))[:-1] / n
        theta = np.zeros(rows.shape[2])
        theta[:cuts] = special.logit(shares) + self.offset.mean()
        theta, self.log_likelihood, information = self._newton(theta)
        # With free slopes a class that nobody has could get a negative probability.
        self.crossed = bool((np.diff(rows @ theta, axis=0) <= 0).any())
        # Back from standardised covariates: alpha_j = theta_j + centre.beta.
        back = np.eye(rows.shape[2])
        for j, place in enumerate(places):
            back[j, place] = (centre / scale)[order]
            back[place, place] = (1 / scale)[order]
        self.theta = back @ theta
        forth = np.linalg.inv(back)
        self.information = forth.T @ information @ forth
        self._standardised = theta

    def _evaluate(self, theta: Floats) -> tuple[float, Floats, Floats]:
        u = np.where(self.has_upper, self.upper @ theta - self.offset, np.inf)
        v = np.where(self.has_lower, self.lower @ theta - self.offset, -np.inf)
        # F(u) - F(v) on the side of zero where nothing cancels.
        p = np.where(
            v > 0, special.expit(-v) - special.expit(-u), special.expit(u) - special.expit(v)
        )
        if (p <= 0).any():
            return -math.inf, theta, np.empty((0, 0))
        fu, fv = special.expit(u) * special.expit(-u), special.expit(v) * special.expit(-v)
        du, dv = (
            fu * (special.expit(-u) - special.expit(u)),
            fv * (special.expit(-v) - special.expit(v)),
        )
        gu, gv = fu / p, -fv / p
        gradient = self.upper.T @ gu + self.lower.T @ gv
        huu, hvv, huv = du / p - gu**2, -dv / p - gv**2, -gu * gv
        cross = self.upper.T @ (self.lower * huv[:, None])
        hessian = (
            self.upper.T @ (self.upper * huu[:, None])
            + self.lower.T @ (self.lower * hvv[:, None])
            + cross
            + cross.T
        )
        return float(np.log(p).sum()), gradient, -hessian

    def _newton(self, theta: Floats) -> tuple[Floats, float, Floats]:
        value, gradient, information = self._evaluate(theta)
        for _ in range(200):
            try:
                step = np.linalg.solve(information, gradient)
            except np.linalg.LinAlgError:
                break
            largest = np.abs(step).max()
            if not np.isfinite(largest) or largest < 1e-10:
                break
            step = step * min(1.0, 5 / largest)
            for _ in range(50):
                found = self._evaluate(theta + step)
                if found[0] >= value - 1e-12 * abs(value):
                    break
                step = step / 2
            else:
                break
            theta = theta + step
            gain = found[0] - value
            value, gradient, information = found
            if np.abs(theta).max() > 60 and gain < 1e-10:
                break
        return theta, value, information

    def diverged(self) -> bool:
        """Whether the likelihood rises for ever in some direction (a linear programme)."""
        if np.abs(self._standardised).max() < 12:
            return False
        margins = np.vstack([self.upper[self.has_upper], -self.lower[self.has_lower]])
        margins = np.unique(margins, axis=0)
        found = optimize.linprog(
            -margins.sum(axis=0),
            A_ub=-margins,
            b_ub=np.zeros(len(margins)),
            bounds=[(-1, 1)] * margins.shape[1],
            method="highs",
        )
        # Moving thresholds apart alone raises no bound, so a positive margin means separation.
        return found.x is not None and -found.fun > 1e-7


def _test(statistic: float, df: int, n: int, method: str) -> Estimate:
    p = float(stats.chi2.sf(statistic, df))
    return Estimate(
        kind="p-value", value=p, p_value=p, statistic=statistic, df=df, n=n, method=method
    )

r"""Multiple imputation by chained equations, and Rubin's rules.

**Rubin's rules.** From *m* completed data sets with estimates :math:`q_i` and variances
:math:`u_i`: :math:`\bar q`, within-variance :math:`\bar u`, between-variance
:math:`b=\frac1{m-1}\sum(q_i-\bar q)^2`, total :math:`t=\bar u+(1+\frac1m)b`. Inference is by
Student's t on Barnard and Rubin's degrees of freedom (Biometrika 1999;86:948): with
:math:`\lambda=(1+\frac1m)b/t`, :math:`\nu_{old}=(m-1)/\lambda^2`,
:math:`\nu_{obs}=\frac{\nu+1}{\nu+3}\nu(1-\lambda)` for complete-data degrees of freedom
:math:`\nu`, :math:`1/\nu_{BR}=1/\nu_{old}+1/\nu_{obs}`.

**Chained equations.** Each incomplete variable in turn is regressed on all others; coefficients and
error variance are drawn from their posterior, and each missing value takes the observed value of
one of the five patients whose predictions lie nearest (predictive mean matching, type 1), so that
an imputed value is always one that was measured. After a few rounds one completed data set is kept.
Where values are missing mostly beyond those measured there are no donors, and intervals of means
come out too narrow.

Rubin, Multiple Imputation for Nonresponse in Surveys, 1987. van Buuren and Groothuis-Oudshoorn,
J Stat Softw 2011;45(3) (mice).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from ballbook.inputs import Floats, as_level, as_vector, refuse, same_length
from ballbook.results import Estimate

DONORS = 5


@dataclass(frozen=True, slots=True)
class Pooled:
    """One quantity over several imputations.

    Attributes
    ----------
    estimate : float
    within, between, total : float
        Variances.
    df : float
        Barnard and Rubin's degrees of freedom; infinite where the imputations agree.
    share_missing : float
        :math:`\\lambda`, the share of the total variance that is due to the missing values.
    fraction_missing : float
        Fraction of missing information, :math:`(r+2/(\\nu+3))/(r+1)`.
    m : int
    """

    estimate: float
    within: float
    between: float
    total: float
    df: float
    share_missing: float
    fraction_missing: float
    m: int

    def interval(self, ci_level: float = 0.95) -> tuple[float, float]:
        """Return the t interval."""
        q = (1 - as_level(ci_level)) / 2
        t = float(stats.norm.isf(q)) if math.isinf(self.df) else float(stats.t.isf(q, self.df))
        half = t * math.sqrt(self.total)
        return self.estimate - half, self.estimate + half

    def p_value(self) -> float:
        """Return the two-sided P value of no effect."""
        if self.total == 0:
            return 1.0 if self.estimate == 0 else 0.0
        t = abs(self.estimate) / math.sqrt(self.total)
        return float(2 * (stats.norm.sf(t) if math.isinf(self.df) else stats.t.sf(t, self.df)))


def rubin(estimates: ArrayLike, variances: ArrayLike, *, df_complete: float = math.inf) -> Pooled:
    """Combine the estimates of one quantity from several imputations.

    Parameters
    ----------
    estimates, variances : array_like of float, shape (m,)
        From each completed data set, on a scale where they are about normal.
    df_complete : float
        Degrees of freedom there would be without missing values.

    Raises
    ------
    ValueError
        For fewer than two imputations, missing or negative variances, or `df_complete` not above 0.

    Notes
    -----
    R: ``mice::pool.scalar(Q, U, n, k)`` with ``n - k`` complete degrees of freedom.
    """
    q, u = as_vector(estimates, "estimates", min_size=2), as_vector(variances, "variances")
    m = same_length(estimates=q, variances=u)
    refuse("variances", u, u < 0, "0 or more")
    if not df_complete > 0:
        raise ValueError(f"df_complete: expected more than 0, got {df_complete}")
    within, between = float(u.mean()), float(q.var(ddof=1))
    total = within + (1 + 1 / m) * between
    share = (1 + 1 / m) * between / total if total > 0 else 0.0
    old = math.inf if share == 0 else (m - 1) / share**2
    if math.isinf(df_complete):
        df = old
    else:
        observed = (df_complete + 1) / (df_complete + 3) * df_complete * (1 - share)
        df = observed if math.isinf(old) else old * observed / (old + observed)
    r = math.inf if within == 0 else (1 + 1 / m) * between / within
    fraction = 1.0 if math.isinf(r) else (r + 2 / (df + 3)) / (r + 1)
    return Pooled(float(q.mean()), within, between, total, df, share, fraction, m)


def pooled_correlation(
    correlations: ArrayLike, n: int, *, rank: bool = True, ci_level: float = 0.95
) -> Estimate:
    r"""Return a correlation over imputations, combined on Fisher's scale.

    Variances are :math:`(1+r^2/2)/(n-3)` for Spearman's and :math:`1/(n-3)` for Pearson's
    correlation.

    Parameters
    ----------
    correlations : array_like of float, shape (m,)
    n : int
        Patients in each completed data set.

    Raises
    ------
    ValueError
        For fewer than four patients, or a correlation of 1 or -1.
    """
    r = as_vector(correlations, "correlations", min_size=2)
    if n < 4 or (np.abs(r) >= 1).any():
        raise ValueError("expected at least four patients and correlations within -1 and 1")
    variance = ((1 + r**2 / 2) if rank else np.ones_like(r)) / (n - 3)
    found = rubin(np.arctanh(r), variance, df_complete=n - 2)
    low, high = found.interval(ci_level)
    return Estimate(
        "correlation", math.tanh(found.estimate), math.tanh(low), math.tanh(high), ci_level,
        found.p_value(), n=n, df=found.df,
        statistic=found.estimate / math.sqrt(found.total),
        method=f"{'Spearman' if rank else 'Pearson'}, {found.m} imputations by Rubin's rules, "
        "Fisher's scale",
    )  # fmt: skip


def correlation_table(
    imputations: Sequence[pd.DataFrame], *, rank: bool = True, ci_level: float = 0.95
) -> pd.DataFrame:
    """Return `pooled_correlation` of all pairs of variables, one row a pair.

    Returns
    -------
    DataFrame
        ``a``, ``b``, ``value``, ``ci_low``, ``ci_high``, ``p_value``, ``fraction_missing``.

    Raises
    ------
    ValueError
        For fewer than two imputations, or two variables of one order.
    """
    if len(imputations) < 2:
        raise ValueError("expected two imputations or more")
    n, names = len(imputations[0]), list(imputations[0].columns)
    each = np.stack([(i.rank() if rank else i).corr().to_numpy() for i in imputations])
    rows = []
    for i, a in enumerate(names):
        for j in range(i):
            r = each[:, i, j]
            found = pooled_correlation(r, n, rank=rank, ci_level=ci_level)
            spread = ((1 + r**2 / 2) if rank else np.ones_like(r)) / (n - 3)
            share = rubin(np.arctanh(r), spread, df_complete=n - 2).fraction_missing
            rows.append(
                {
                    "a": names[j], "b": a, "value": found.value, "ci_low": found.ci_low,
                    "ci_high": found.ci_high, "p_value": found.p_value, "fraction_missing": share,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def chained_equations(
    data: pd.DataFrame, m: int = 10, *, seed: int, rounds: int = 5, donors: int = DONORS
) -> list[pd.DataFrame]:
    """Return `m` completed copies of `data`, by chained equations with predictive mean matching.

    Parameters
    ----------
    data : DataFrame, patients x variables
        Numbers, with missing values; complete columns are used as predictors.
    m, rounds, donors : int
        Imputations, rounds before each is kept, and candidates from whom a value is taken.

    Raises
    ------
    ValueError
        For values that are not numbers, a variable without `donors` observed values or with only
        one value, or fewer than two variables.

    Notes
    -----
    R: ``mice(data, m, method = "pmm", maxit = rounds)``; draws differ, distributions do not. As
    there, a ridge of 1e-5 of the diagonal keeps collinear predictors apart.
    """
    values = data.to_numpy(dtype=float)
    n, k = values.shape
    if k < 2 or m < 1 or rounds < 1 or donors < 1:
        raise ValueError("expected two variables at least, and m, rounds and donors of 1 or more")
    if np.isinf(values).any():
        raise ValueError(
            "data: infinite values; give bounds to `ballbook.censored_regression` instead"
        )
    missing = np.isnan(values)
    for j, name in enumerate(data.columns):
        seen = values[~missing[:, j], j]
        if seen.size < max(donors, 2) or np.ptp(seen) == 0:
            raise ValueError(f"data {name}: {seen.size} observed values are too few, or all equal")
    rng = np.random.default_rng(seed)
    order = [j for j in np.argsort(missing.sum(axis=0), kind="stable") if missing[:, j].any()]
    done = []
    for _ in range(m):
        filled = values.copy()
        for j in order:
            gaps = missing[:, j]
            filled[gaps, j] = rng.choice(values[~gaps, j], int(gaps.sum()))
        for _ in range(rounds):
            for j in order:
                gaps = missing[:, j]
                others = np.column_stack([np.ones(n), np.delete(filled, j, axis=1)])
                filled[gaps, j] = _matched(others, values[:, j], gaps, donors, rng)
        done.append(pd.DataFrame(filled, index=data.index, columns=data.columns))
    return done


def _matched(
    x: Floats, y: Floats, gaps: np.ndarray, donors: int, rng: np.random.Generator
) -> Floats:
    """Return a donor's value for each gap: type 1 matching, one fresh draw of the parameters."""
    seen, outcome = x[~gaps], y[~gaps]
    gram = seen.T @ seen
    inverse = np.linalg.inv(gram + 1e-5 * np.diag(np.diag(gram)))
    coef = inverse @ (seen.T @ outcome)
    residual = outcome - seen @ coef
    df = max(len(outcome) - x.shape[1], 1)
    sigma = math.sqrt(float(residual @ residual) / rng.chisquare(df))
    root = np.linalg.cholesky((inverse + inverse.T) / 2)
    drawn = coef + sigma * root @ rng.standard_normal(x.shape[1])
    fitted, wanted = seen @ coef, x[gaps] @ drawn
    order = np.argsort(fitted, kind="stable")
    ranked = fitted[order]
    k = min(donors, len(ranked))
    # The nearest k of a sorted list lie within k places of where the prediction falls.
    place = np.searchsorted(ranked, wanted)
    window = np.clip(place[:, None] + np.arange(-k, k), 0, len(ranked) - 1)
    distance = np.abs(ranked[window] - wanted[:, None])
    # A place counted twice at the end of the list is no second donor.
    distance[:, 1:][window[:, 1:] == window[:, :-1]] = np.inf
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :k]
    pick = nearest[np.arange(len(wanted)), rng.integers(0, k, len(wanted))]
    return np.asarray(outcome[order[window[np.arange(len(wanted)), pick]]], dtype=float)


def unchanged(imputations: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return which cells are equal in all imputations: those measured, and some by chance.

    A file of completed data sets that does not say which values were measured tells it here, for
    an imputed value is drawn anew each time. Cells that took the same value by chance, mostly at a
    limit of the assay where many donors stand, are among them, so the count is an upper bound.

    Raises
    ------
    ValueError
        For fewer than two imputations, or ones of different shape.
    """
    if len(imputations) < 2 or any(i.shape != imputations[0].shape for i in imputations):
        raise ValueError("expected two or more imputations of one shape")
    whole = np.stack([i.to_numpy(dtype=float) for i in imputations])
    first = imputations[0]
    return pd.DataFrame(np.ptp(whole, axis=0) == 0, index=first.index, columns=first.columns)


def measured_count(imputations: Sequence[pd.DataFrame], shared: pd.DataFrame) -> Estimate:
    r"""Return how many values of completed data sets were measured, when the file does not say.

    Cells equal in all *m* imputations (`unchanged`) are an upper bound. Equality by chance happens
    at values that many donors share, such as a limit of the assay. With :math:`n_k` cells that take
    such a value in exactly *k* imputations, no more than
    :math:`n_{m-1}\max(1, n_{m-1}/n_{m-2})` are taken to do so in all by chance, which continues
    the last step of the sequence; less these, the lower bound. In simulations with known gaps the
    truth lay between the two (``tests/test_dose_response.py``); it is a bound and no interval.

    Parameters
    ----------
    imputations : sequence of DataFrame
        Three or more.
    shared : DataFrame
        By variable (index) the values that many share; missing where there is none.

    Raises
    ------
    ValueError
        As `unchanged`, or for fewer than three imputations.
    """
    same = unchanged(imputations)
    m = len(imputations)
    if m < 3:
        raise ValueError("expected three imputations or more")
    whole = np.stack([i.to_numpy(dtype=float) for i in imputations])
    chance = 0.0
    for j, name in enumerate(same.columns):
        for value in shared.loc[name].dropna():
            taken = (whole[:, :, j] == value).sum(axis=0)
            *_, before, last, full = np.bincount(taken, minlength=m + 1).tolist()
            chance += min(last * max(1.0, last / max(before, 1)), full)
    equal = int(same.to_numpy().sum())
    return Estimate(
        "count", equal, math.floor(equal - chance), equal, None,
        method=f"values equal in all {m} imputations; the lower bound leaves out the most that may "
        "be equal by chance",
    )  # fmt: skip

r"""Restricted cubic splines: a smooth curve that is a straight line beyond its outer knots.

With knots :math:`t_1<\dots<t_k` the basis is :math:`x` and, for :math:`j=1,\dots,k-2`,

.. math:: x_{j+1}=\frac{1}{(t_k-t_1)^2}\Bigl\{(x-t_j)_+^3
    -(x-t_{k-1})_+^3\frac{t_k-t_j}{t_k-t_{k-1}}+(x-t_k)_+^3\frac{t_{k-1}-t_j}{t_k-t_{k-1}}\Bigr\}

(Durrleman, Simon, Stat Med 1989;8:551; Harrell, Regression Modeling Strategies, 2015, section
2.4.5). Knots stand at quantiles, so that no look at the outcome places them. Whether a covariate
acts in a straight line is asked by the likelihood ratio of the model with the curved terms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import chi2

from ballbook.cox import cox
from ballbook.inputs import Floats, as_vector
from ballbook.results import Estimate, not_estimable

# Quantiles at which Harrell places so many knots.
QUANTILES = {
    3: (0.1, 0.5, 0.9), 4: (0.05, 0.35, 0.65, 0.95), 5: (0.05, 0.275, 0.5, 0.725, 0.95),
}  # fmt: skip


def knots_at_quantiles(x: ArrayLike, number: int = 4) -> Floats:
    """Return 3, 4 or 5 knots.

    Raises
    ------
    ValueError
        For another number, missing values, or values so few that knots coincide.
    """
    if number not in QUANTILES:
        raise ValueError(f"number is {number}, expected 3, 4 or 5")
    knots = np.quantile(as_vector(x, "x"), QUANTILES[number])
    if (np.diff(knots) <= 0).any():
        raise ValueError("x takes too few values: knots coincide")
    return np.asarray(knots, dtype=float)


def restricted_cubic(x: ArrayLike, knots: ArrayLike) -> Floats:
    """Return the basis, one row a value: `x` itself, then the curved terms.

    Parameters
    ----------
    x : array_like of float, shape (n,)
    knots : array_like of float, shape (k,)
        Three or more, increasing.

    Returns
    -------
    array, shape (n, k - 1)

    Raises
    ------
    ValueError
        For missing values, or knots that are fewer than three or do not increase.

    Notes
    -----
    R: ``Hmisc::rcspline.eval(x, knots, inclx = TRUE)``.
    """
    v, t = as_vector(x, "x"), as_vector(knots, "knots", min_size=3)
    if (np.diff(t) <= 0).any():
        raise ValueError("knots: expected increasing numbers")

    def cube(at: float) -> Floats:
        return np.asarray(np.maximum(v - at, 0) ** 3)

    last, before = float(t[-1]), float(t[-2])
    curved = [
        cube(float(k))
        - cube(before) * (last - k) / (last - before)
        + cube(last) * (before - k) / (last - before)
        for k in t[:-2]
    ]
    return np.column_stack([v, *(c / (last - t[0]) ** 2 for c in curved)])


def nonlinearity(
    time: Any, event: Any, covariates: pd.DataFrame, term: str, *, number: int = 4,
    strata: Any = None,
) -> Estimate:  # fmt: skip
    """Test in a Cox model whether one covariate acts other than in a straight line.

    Parameters
    ----------
    time, event, covariates, strata
        As for `ballbook.cox.cox`.
    term : str
        A column of `covariates`.
    number : int
        Of knots, 3 to 5; the test has ``number - 2`` degrees of freedom.

    Returns
    -------
    Estimate
        Kind ``p-value``; not estimable where knots coincide or the curve cannot be fitted.

    Raises
    ------
    ValueError
        As for `cox`, or for a term that is no covariate.
    """
    if term not in covariates:
        raise ValueError(f"{term!r} is no covariate; there are {', '.join(map(str, covariates))}")
    straight = cox(time, event, covariates, strata=strata)
    try:
        knots = knots_at_quantiles(covariates[term], number)
        basis = restricted_cubic(covariates[term], knots)[:, 1:]
        curved = {f"{term}, curve {j + 1}": basis[:, j] for j in range(basis.shape[1])}
        bent = cox(time, event, covariates.assign(**curved), strata=strata)
    except ValueError as refused:
        reason = str(refused).split("\n")[0]
        return not_estimable("p-value", reason, n=straight.n, n_events=straight.n_events)
    gain = max(2 * (bent.log_likelihood - straight.log_likelihood), 0.0)
    p = float(chi2.sf(gain, number - 2))
    return Estimate(
        "p-value", p, p_value=p, statistic=gain, df=number - 2, n=straight.n,
        n_events=straight.n_events,
        method=f"likelihood ratio, restricted cubic spline of {number} knots v straight line",
    )  # fmt: skip

r"""A proportion of cells from several donors, with an interval that knows that donors differ.

With :math:`k_d` of :math:`n_d` cells of donor *d*, :math:`p=\sum k_d/\sum n_d` has the
between-donor variance of a ratio,

.. math:: v=\frac{m}{m-1}\,\frac{\sum_d (k_d-p\,n_d)^2}{(\sum_d n_d)^2}

(Cochran, Sampling Techniques, 1977, section 11). The interval is Wilson's with the effective number
of cells :math:`n^*=n/\max(1, v/v_0)`, :math:`v_0=p(1-p)/n`, and with Student's t on :math:`m-1`
degrees of freedom for z (Franco et al., J Surv Stat Methodol 2019;7:334). Wilson's own interval,
with all cells independent, is what *within* one sample is told.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ballbook.results import Estimate, not_estimable


def clustered_proportion(k: ArrayLike, n: ArrayLike, *, ci_level: float = 0.95) -> Estimate:
    """Return a proportion with an interval across donors.

    Parameters
    ----------
    k, n : array_like of int, one a donor
        Cells that count, and all cells. Donors without a cell are left out.

    Returns
    -------
    Estimate
        ``n`` cells, ``n_events`` of them; without a value, with the reason, for fewer than two
        donors.

    Raises
    ------
    ValueError
        If a count is negative or above its total.
    """
    of, size = np.asarray(k, dtype=float), np.asarray(n, dtype=float)
    if of.shape != size.shape or (of < 0).any() or (of > size).any():
        raise ValueError("k: expected 0 to n for each donor")
    of, size = of[size > 0], size[size > 0]
    m, total = len(size), float(size.sum())
    if m < 2:
        return not_estimable("proportion", "fewer than two donors")
    p = float(of.sum()) / total
    between = m / (m - 1) * float(((of - p * size) ** 2).sum()) / total**2
    within = p * (1 - p) / total
    effective = total / max(1.0, between / within if within > 0 else 1.0)
    t = float(stats.t.isf((1 - ci_level) / 2, m - 1))
    middle = (p + t * t / (2 * effective)) / (1 + t * t / effective)
    half = (
        t / (1 + t * t / effective)
        * math.sqrt(p * (1 - p) / effective + t * t / (4 * effective**2))
    )  # fmt: skip
    return Estimate(
        kind="proportion", value=p, ci_low=max(0.0, middle - half), ci_high=min(1.0, middle + half),
        ci_level=ci_level, n=int(total), n_events=int(of.sum()), df=m - 1,
        method=f"ratio over {m} donors, Wilson interval with {effective:.0f} effective cells",
    )  # fmt: skip

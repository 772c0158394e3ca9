r"""Means over donors, of what was measured in their cells.

Cells of one person are alike, so a thousand cells of one donor say as much about people as that
donor does. Each donor therefore counts once: :math:`\bar y_{ds}` is the mean over the cells of
donor *d* in state *s*, and the mean over donors has the interval

.. math:: \bar y_s \pm t_{m-1}\, \frac{\operatorname{sd}_d(\bar y_{ds})}{\sqrt m}

of *m* donors. Two states are compared within donors, by the paired *t* test of
:math:`\bar y_{da}-\bar y_{db}` (Squair et al., Nat Commun 2021;12:5692).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ballbook.results import Estimate, not_estimable


def donor_means(values: Any, donor: Any, state: Any, *, min_cells: int = 5) -> pd.DataFrame:
    """Return one row for each donor and state with enough cells.

    Parameters
    ----------
    values : array_like of float, shape (cells,)
        Expression, a score, or 0 and 1 for a share.
    donor, state : array_like, shape (cells,)
        Cells without a state are left out.
    min_cells : int
        A donor with fewer cells in a state does not count for it.

    Returns
    -------
    DataFrame
        ``state``, ``donor``, ``cells``, ``mean``.

    Raises
    ------
    ValueError
        For missing values or unequal lengths.
    """
    frame = pd.DataFrame(
        {
            "state": np.asarray(state, dtype=object),
            "donor": np.asarray(donor, dtype=object),
            "value": np.asarray(values, dtype=float),
        }
    ).dropna(subset=["state"])
    if frame["value"].isna().any() or frame["donor"].isna().any():
        raise ValueError("a cell has no value or no donor")
    found = frame.groupby(["state", "donor"], sort=False)["value"].agg(["size", "mean"])
    found = found.reset_index().rename(columns={"size": "cells"})
    kept = found[found["cells"] >= min_cells]
    return kept.sort_values(["state", "donor"], ignore_index=True)


def mean_over_donors(
    means: pd.DataFrame, state: str, *, kind: str = "mean", ci_level: float = 0.95
) -> Estimate:
    """Return the mean over donors in one state; `n` is the number of donors.

    Of a proportion the interval is cut off at 0 and 1.

    Notes
    -----
    R: ``t.test(x)``.
    """
    values = means.loc[means["state"] == state, "mean"].to_numpy(float)
    if not len(values):
        return not_estimable(kind, "no donor has enough cells of this state")
    found = _t(values, kind, ci_level, "mean over donors, t interval")
    if kind == "proportion" and found.ci_low is not None and found.ci_high is not None:
        low, high = max(found.ci_low, 0.0), min(found.ci_high, 1.0)
        found = found.named(found.id, ci_low=low, ci_high=high)
    # Whether a mean is 0 is no question.
    return found.named(found.id, p_value=None, statistic=None)


def difference_within_donors(
    means: pd.DataFrame, state: str, other: str, *, ci_level: float = 0.95
) -> Estimate:
    """Return how much higher `state` is than `other`, within donors that have both.

    Notes
    -----
    R: ``t.test(x, y, paired = TRUE)``.
    """
    wide = means.pivot(index="donor", columns="state", values="mean")
    if not {state, other} <= set(wide):
        return not_estimable("difference", "no donor has enough cells of both states")
    change = (wide[state] - wide[other]).dropna().to_numpy(float)
    if len(change) < 2:
        return not_estimable(
            "difference", "fewer than two donors have enough cells of both states", n=len(change)
        )
    return _t(change, "difference", ci_level, "difference within donors, paired t")


def _t(values: np.ndarray, kind: str, ci_level: float, method: str) -> Estimate:
    n, mean = len(values), float(values.mean())
    if n < 2:
        return Estimate(
            kind=kind, value=mean, n=n, method=method, ci_level=None,
            reason="one donor: no interval over donors",
        )  # fmt: skip
    se = float(values.std(ddof=1)) / math.sqrt(n)
    reach = float(stats.t.isf((1 - ci_level) / 2, n - 1)) * se
    t = mean / se if se > 0 else None
    return Estimate(
        kind=kind,
        value=mean,
        ci_low=mean - reach,
        ci_high=mean + reach,
        ci_level=ci_level,
        p_value=None if t is None else float(2 * stats.t.sf(abs(t), n - 1)),
        n=n,
        statistic=t,
        df=float(n - 1),
        method=method,
    )

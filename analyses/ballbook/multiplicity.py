r"""Adjustment of P values for many tests.

For ordered :math:`p_{(1)} \le \dots \le p_{(m)}`:

* Bonferroni, :math:`\min(1, m\,p)`, family-wise error;
* Holm (Scand J Stat 1979;6:65), :math:`\max_{j \le i} \min(1, (m-j+1)\,p_{(j)})`, family-wise
  error, never weaker than Bonferroni;
* Benjamini-Hochberg (J R Stat Soc B 1995;57:289), :math:`\min_{j \ge i} \min(1, m\,p_{(j)}/j)`,
  false-discovery rate under independence or positive dependence.

In R: ``p.adjust(p, "bonferroni" | "holm" | "BH")``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ballbook.inputs import Floats, as_p_values


def bonferroni(p: ArrayLike) -> Floats:
    """Return Bonferroni-adjusted P values, in the order given.

    Raises
    ------
    ValueError
        If a value is missing or outside 0..1.
    """
    values = as_p_values(p)
    return np.minimum(values * values.size, 1.0)


def holm(p: ArrayLike) -> Floats:
    """Return Holm's step-down adjusted P values, in the order given.

    Raises
    ------
    ValueError
        If a value is missing or outside 0..1.
    """
    values = as_p_values(p)
    order = np.argsort(values, kind="stable")
    steps = np.arange(values.size, 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(values[order] * steps), 1.0)
    out = np.empty_like(values)
    out[order] = adjusted
    return out


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Return Benjamini-Hochberg adjusted P values (false-discovery rates), in the order given.

    Raises
    ------
    ValueError
        If a value is missing or outside 0..1.
    """
    values = as_p_values(p)
    order = np.argsort(values, kind="stable")[::-1]
    ranks = np.arange(values.size, 0, -1)
    adjusted = np.minimum(np.minimum.accumulate(values[order] * values.size / ranks), 1.0)
    out = np.empty_like(values)
    out[order] = adjusted
    return out

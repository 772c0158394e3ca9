r"""Cells that are not leukaemia in a sample of leukaemia, as far as expression can tell.

A bulk sample holds normal cells as well. Genes that one kind of them expresses and no cell of the
lineage under study does (*marker genes*, found in single cells) tell how much of it a sample
holds: the *score* is the mean over markers of their standardised expression. A contrast of two
groups of samples is then taken with the score beside it,

.. math:: y_j = \beta_0 + \beta_1 g_j + \beta_2 c_j + \varepsilon_j,

:math:`y` standardised over the samples of a cohort, *g* 1 in the group and 0 elsewhere, *c* the
score. Where leukaemic cells express the markers themselves, this takes away too much; where other
kinds of cells differ between groups, too little.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ballbook.linear import linear_model
from ballbook.results import Estimate, not_estimable


def marker_genes(
    expressed: pd.DataFrame,
    kind: Any,
    *,
    of: str,
    against: list[str],
    min_share: float = 0.5,
    max_share: float = 0.1,
) -> list[str]:
    """Return the genes that most cells of one kind express and few of any of the others.

    Parameters
    ----------
    expressed : DataFrame of bool, cells x genes
        Whether a read of the gene was found in the cell.
    kind : array_like of str, shape (cells,)
    of, against : str, list of str
        The kind that is marked, and those in which a marker must be rare.
    min_share, max_share : float
        Smallest share of expressing cells in `of`, and largest in each of `against`.

    Raises
    ------
    ValueError
        If a kind has no cells.
    """
    kinds = np.asarray(kind, dtype=object)
    if missing := [k for k in (of, *against) if not (kinds == k).any()]:
        raise ValueError(f"no cells of {', '.join(missing)}")
    shares = {k: expressed[kinds == k].mean() for k in (of, *against)}
    highest = pd.concat([shares[k] for k in against], axis=1).max(axis=1)
    kept = (shares[of] >= min_share) & (highest <= max_share)
    return sorted(map(str, expressed.columns[kept]))


def standardised(values: Any) -> pd.Series:
    """Return values with mean 0 and standard deviation 1; all 0 where they do not vary."""
    found = pd.Series(values).astype(float)
    spread = float(found.std())
    return (found - found.mean()) / spread if spread > 0 else found * 0.0


def marker_score(samples: pd.DataFrame, markers: list[str], *, least: int = 3) -> pd.Series | None:
    """Return the mean standardised expression of the markers in each sample.

    Parameters
    ----------
    samples : DataFrame, samples x genes
        Logarithms.
    least : int
        With fewer measured markers that vary there is no score, and None is returned.
    """
    measured = [g for g in markers if g in samples and float(samples[g].std()) > 0]
    if len(measured) < least:
        return None
    return samples[measured].apply(standardised).mean(axis=1)


def contrast(
    values: pd.Series, group: Any, covariates: pd.DataFrame | None = None, *, smallest: int = 3
) -> Estimate:
    """Return by how many standard deviations the mean of a group is above that of the others.

    Parameters
    ----------
    values : Series of float, one a sample
    group : array_like of bool
    covariates : DataFrame, optional
        Numbers; rows as in `values`.
    smallest : int
        Fewer samples on a side are not compared.

    Notes
    -----
    R: ``coef(lm(scale(y) ~ g + covariates))``, ``confint``.
    """
    g = np.asarray(group, dtype=bool)
    if min(g.sum(), (~g).sum()) < smallest:
        return not_estimable("difference", f"fewer than {smallest} samples in a group", n=len(g))
    y = standardised(values).to_numpy()
    if not np.ptp(y):
        return not_estimable("difference", "the values do not vary", n=len(g))
    design = pd.DataFrame({"group": g.astype(float)})
    given = pd.DataFrame(index=range(len(g))) if covariates is None else covariates
    for name in map(str, given):
        column = given[name].to_numpy(float)
        if np.ptp(column) > 0:
            design[name] = column
    if np.linalg.matrix_rank(np.column_stack([np.ones(len(y)), design])) <= design.shape[1]:
        return not_estimable("difference", "the group cannot be told from a covariate", n=len(g))
    if len(y) <= design.shape[1] + 1:
        return not_estimable("difference", "too few samples for the covariates", n=len(g))
    beside = ", ".join(design.columns[1:])
    method = f"linear model{' with ' if beside else ''}{beside}, t interval"
    return linear_model(y, design).coefficient("group", unit="SD").named("", method=method)

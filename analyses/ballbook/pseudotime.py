r"""Diffusion pseudotime: how far each cell has come from a root, and whether the order is right.

Cells are joined to their nearest neighbours with Gaussian weights, and a random walk over them has
the transition matrix *T* with eigenvalues :math:`1=\lambda_0>\lambda_1\ge\dots` and vectors
:math:`\psi_l`. The diffusion pseudotime of cell *x* is its distance from the root *r* in the sum of
walks of all lengths,

.. math:: \operatorname{dpt}(x)^2=\sum_{l\ge1}\Big(\frac{\lambda_l}{1-\lambda_l}\Big)^2
   \big(\psi_l(x)-\psi_l(r)\big)^2,

scaled to at most 1 (Haghverdi et al., Nat Methods 2016;13:845; scanpy computes it). It knows
nothing of real time, and cells that are many are not therefore far.

An order is *tested* by what it was not made from: the states of held-out donors, and markers whose
place in development is known. Correlations are within one donor, one a donor, and the interval is
of the mean over donors (Student's t on their number less one), since cells of a donor are not
independent.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ballbook.inputs import Floats
from ballbook.results import Estimate, not_estimable


def diffusion_pseudotime(
    points: ArrayLike, root: int, *, neighbours: int = 15, components: int = 10, seed: int = 0
) -> Floats:
    """Return the diffusion pseudotime of each cell, from 0 at the root to 1.

    Parameters
    ----------
    points : array_like of float, cells x coordinates
    root : int
        Row of the cell where development starts.
    neighbours : int
        Cells that each is joined to.
    components : int
        Eigenvectors in the sum.
    seed : int
        Of the start of the eigenvalue solver.

    Returns
    -------
    array, cells
        Missing for cells that no path joins to the root.

    Raises
    ------
    ValueError
        If `root` is no row, or there are too few cells.
    """
    x = np.asarray(points, dtype=np.float64)
    if not 0 <= root < len(x):
        raise ValueError(f"root: expected a row from 0 to {len(x) - 1}, got {root}")
    if len(x) <= max(neighbours, components + 2):
        raise ValueError(f"{len(x)} cells are too few")
    import anndata
    import scanpy
    from threadpoolctl import threadpool_limits

    cells = anndata.AnnData(x)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scanpy.pp.neighbors(
            cells, n_neighbors=neighbours, use_rep="X", method="gauss", random_state=seed
        )
        scanpy.tl.diffmap(cells, n_comps=components + 1, random_state=seed)
        cells.uns["iroot"] = int(root)
        scanpy.tl.dpt(cells, n_dcs=components)
    found = cells.obs["dpt_pseudotime"].to_numpy(dtype=float)
    return np.where(np.isfinite(found), found, np.nan)


def central(points: ArrayLike, among: ArrayLike) -> int:
    """Return the row, of those where `among` is true, that lies nearest their median point."""
    x, of = np.asarray(points, dtype=float), np.flatnonzero(np.asarray(among, dtype=bool))
    if not len(of):
        raise ValueError("no cell to start from")
    apart = ((x[of] - np.median(x[of], axis=0)) ** 2).sum(axis=1)
    return int(of[apart.argmin()])


def over_donors(values: ArrayLike, *, ci_level: float = 0.95) -> Estimate:
    r"""Return the mean of one correlation a donor, with its interval over donors.

    On Fisher's scale: :math:`\tanh(\bar z\pm t_{m-1}s_z/\sqrt m)`,
    :math:`z=\operatorname{artanh} r`, for *m* donors.

    Parameters
    ----------
    values : array_like of float, one a donor
        Missing ones are left out.
    """
    r = np.asarray(values, dtype=float)
    r = r[np.isfinite(r)]
    if len(r) < 2:
        return not_estimable("correlation", "fewer than two donors")
    z = np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9))
    error = float(z.std(ddof=1)) / math.sqrt(len(r))
    half = float(stats.t.isf((1 - ci_level) / 2, len(r) - 1)) * error
    middle = float(z.mean())
    statistic = middle / error if error > 0 else None
    p = None if statistic is None else float(2 * stats.t.sf(abs(statistic), len(r) - 1))
    return Estimate(
        kind="correlation", value=math.tanh(middle), ci_low=math.tanh(middle - half),
        ci_high=math.tanh(middle + half), ci_level=ci_level, p_value=p, n=len(r),
        statistic=statistic, df=len(r) - 1, method="mean over donors on Fisher's scale, t interval",
    )  # fmt: skip


def order_by_donor(
    times: ArrayLike, ranks: ArrayLike, donors: Sequence[str], *, fewest: int = 10
) -> dict[str, float]:
    """Return Kendall's tau-b of pseudotime with known ranks within each donor.

    Parameters
    ----------
    times, ranks : array_like of float, one a cell
        Cells where either is missing are left out.
    donors : sequence of str, one a cell
    fewest : int
        Donors with fewer cells, or all cells of one rank, are left out.
    """
    t, r = np.asarray(times, dtype=float), np.asarray(ranks, dtype=float)
    names = np.asarray(donors).astype(str)
    told = np.isfinite(t) & np.isfinite(r)
    found = {}
    for name in sorted(set(names)):
        of = told & (names == name)
        if of.sum() >= fewest and len(np.unique(r[of])) > 1 and len(np.unique(t[of])) > 1:
            found[name] = float(stats.kendalltau(t[of], r[of]).statistic)
    return found


def centre_of(times: ArrayLike, expression: ArrayLike) -> float:
    """Return the mean pseudotime of a marker: that of cells weighted by its expression.

    Missing where no cell expresses it.
    """
    t, x = np.asarray(times, dtype=float), np.asarray(expression, dtype=float)
    told = np.isfinite(t) & np.isfinite(x)
    total = float(x[told].sum())
    return float((t[told] * x[told]).sum() / total) if total > 0 else math.nan

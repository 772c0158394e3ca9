r"""Bulk samples of known content, made by adding up single cells.

A *profile* is the share of a state's counts that each gene has. For donor *d*, state *s*, gene *g*
and the counts :math:`c_{ig}` of cell *i*,

.. math:: p_{dsg} = \frac{\sum_{i\in d,s} c_{ig}}{\sum_{i\in d,s}\sum_h c_{ih}},\qquad
          P_{gs} = \frac{1}{|D_s|}\sum_{d\in D_s} p_{dsg},

the mean over the donors :math:`D_s` that have enough cells of the state: each donor counts once, so
that none speaks for the others by the number of cells taken.

A *mixture* adds the counts of cells drawn with replacement, the number of each state drawn from a
multinomial with the wanted shares. Cells with more RNA count for more in a bulk sample, so a
mixture has two truths: the share of *cells*, and the share of *RNA*, which is what a bulk sample
shows. They differ by the *content* of a cell, its counts relative to the donor's other cells,

.. math:: f_s^{\text{cells}} \propto f_s^{\text{RNA}} / k_s,\qquad
          \log k_s = \frac{1}{|D_s|}\sum_{d\in D_s}
          \Bigl(\log \bar c_{ds} - \tfrac{1}{|S_d|}\sum_{t\in S_d}\log \bar c_{dt}\Bigr).

Profiles of one donor and mixtures of another keep the test honest (Avila Cobos et al., Nat Commun
2020;11:5650). What mixtures cannot have is another laboratory's platform: `platform` multiplies
each gene by a factor of its own, the same in all samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ballbook.inputs import as_number


@dataclass(frozen=True)
class Profiles:
    """What the states express.

    Attributes
    ----------
    expression : DataFrame, genes x states
        Shares of a state's counts; each column adds to 1.
    content : Series
        Counts of a cell of each state relative to the geometric mean over states.
    cells : DataFrame, donors x states
        Cells of each.
    by_donor : DataFrame, genes x (donor, state)
        Profiles of single donors, those with enough cells.
    """

    expression: pd.DataFrame
    content: pd.Series
    cells: pd.DataFrame
    by_donor: pd.DataFrame

    def within(self, genes: Sequence[str] | pd.Index) -> pd.DataFrame:
        """Return the profiles over some of the genes, each column adding to 1 again."""
        kept = self.expression.loc[self.expression.index.intersection(pd.Index(genes))]
        return kept / kept.sum()

    def without(self, donor: str) -> pd.DataFrame:
        """Return the profiles as the other donors give them.

        Raises
        ------
        ValueError
            If a state is known from this donor alone.
        """
        of = self.by_donor.columns
        others = self.by_donor.loc[:, of.get_level_values("donor") != donor]
        mean = others.T.groupby(level="state", sort=False).mean().T
        missing = [str(s) for s in self.expression if s not in mean]
        if missing:
            raise ValueError(f"only {donor} has cells of {', '.join(missing)}")
        return mean[list(self.expression)]


@dataclass(frozen=True)
class Mixtures:
    """Bulk samples of known content.

    Attributes
    ----------
    expression : DataFrame, genes x mixtures
        Sums of counts.
    cells, rna : DataFrame, mixtures x states
        Shares that were drawn, of cells and of counts.
    """

    expression: pd.DataFrame
    cells: pd.DataFrame
    rna: pd.DataFrame


def profiles(
    counts: Any,
    genes: Sequence[str] | pd.Index,
    state: Sequence[str] | pd.Series,
    donor: Sequence[str] | pd.Series,
    states: Sequence[str],
    *,
    least_cells: int = 5,
) -> Profiles:
    """Return the profile of each state, the mean over donors.

    Parameters
    ----------
    counts : array or sparse matrix, cells x genes
        Raw counts.
    genes : sequence of str
    state, donor : sequence of str, one a cell
        Cells whose state is not one of `states` are left out.
    states : sequence of str
        In the order of the columns.
    least_cells : int
        A donor with fewer cells of a state does not speak for it.

    Raises
    ------
    ValueError
        For negative counts, unequal lengths, or a state without enough cells in any donor.
    """
    matrix, named, donors = _cells(counts, genes, state, donor)
    tally = pd.crosstab(donors, named).reindex(columns=list(states), fill_value=0)
    tally = tally.rename_axis(index="donor", columns="state")
    parts, means = {}, {}
    for d in tally.index:
        for s in states:
            if tally.loc[d, s] >= max(least_cells, 1):
                total = np.asarray(matrix[(donors == d) & (named == s)].sum(axis=0)).ravel()
                if total.sum() > 0:
                    parts[d, s] = total / total.sum()
                    means[d, s] = total.sum() / tally.loc[d, s]
    missing = [s for s in states if not any(t == s for _, t in parts)]
    if missing:
        raise ValueError(f"no donor has {least_cells} cells of {', '.join(missing)}")
    by_donor = pd.DataFrame(parts, index=pd.Index(genes, name="gene"))
    by_donor.columns = by_donor.columns.set_names(["donor", "state"])
    of_state = by_donor.columns.get_level_values("state")
    log = pd.Series({k: np.log(v) for k, v in means.items()}).unstack()
    relative = log.sub(log.mean(axis=1), axis=0).mean()[list(states)]
    return Profiles(
        expression=pd.DataFrame({s: by_donor.loc[:, of_state == s].mean(axis=1) for s in states}),
        content=np.exp(relative).rename("content"),
        cells=tally,
        by_donor=by_donor,
    )


def shares(states: Sequence[str], n: int, *, seed: int, concentration: float = 0.5) -> pd.DataFrame:
    """Return shares of the states in `n` mixtures, from a symmetric Dirichlet distribution.

    Parameters
    ----------
    states : sequence of str
    n : int
        Mixtures.
    seed : int
    concentration : float
        1 is uniform over all mixtures; below, few states dominate, as they do in leukaemia.

    Raises
    ------
    ValueError
        For a concentration that is not positive, or no mixture.
    """
    if as_number(concentration, "concentration") <= 0 or n < 1:
        raise ValueError("expected a concentration above 0 and one mixture or more")
    drawn = np.random.default_rng(seed).dirichlet([concentration] * len(states), size=n)
    return pd.DataFrame(drawn, columns=list(states))


def mix(
    counts: Any,
    genes: Sequence[str] | pd.Index,
    state: Sequence[str] | pd.Series,
    wanted: pd.DataFrame,
    *,
    n_cells: int = 500,
    seed: int,
) -> Mixtures:
    """Return mixtures of cells drawn with replacement.

    Parameters
    ----------
    counts : array or sparse matrix, cells x genes
        Raw counts of the cells to draw from.
    genes : sequence of str
    state : sequence of str, one a cell
    wanted : DataFrame, mixtures x states
        Expected shares of cells; rows are brought to a sum of 1.
    n_cells : int
        Cells in a mixture.
    seed : int

    Raises
    ------
    ValueError
        For negative counts or shares, a row of zeros, or a wanted state without a cell.
    """
    import scipy.sparse

    matrix, named, _ = _cells(counts, genes, state, None)
    share = wanted.to_numpy(dtype=float)
    if n_cells < 1 or (share < 0).any() or not (share.sum(axis=1) > 0).all():
        raise ValueError("expected cells to draw, and shares that are not negative nor all zero")
    places = [np.flatnonzero(named == s) for s in wanted.columns]
    lacking = [s for s, p, w in zip(wanted, places, share.T, strict=True) if not len(p) and w.any()]
    if lacking:
        raise ValueError(f"no cell of {', '.join(map(str, lacking))} to draw from")
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n_cells, share / share.sum(axis=1, keepdims=True))
    size = np.asarray(matrix.sum(axis=1)).ravel()
    rows, columns, rna = [], [], np.zeros_like(share)
    for i, numbers in enumerate(drawn):
        for j, k in enumerate(numbers):
            if k:
                picked = rng.choice(places[j], size=k)
                rows.append(np.full(k, i))
                columns.append(picked)
                rna[i, j] = size[picked].sum()
    at = (np.concatenate(rows), np.concatenate(columns))
    times = scipy.sparse.csr_matrix((np.ones(len(at[0])), at), shape=(len(share), matrix.shape[0]))
    total = np.asarray((times @ matrix).todense())
    at_least = np.maximum(rna.sum(axis=1, keepdims=True), 1e-300)
    return Mixtures(
        expression=pd.DataFrame(total.T, index=pd.Index(genes, name="gene"), columns=wanted.index),
        cells=pd.DataFrame(drawn / n_cells, wanted.index, wanted.columns),
        rna=pd.DataFrame(rna / at_least, wanted.index, wanted.columns),
    )


def platform(expression: pd.DataFrame, spread: float, *, seed: int) -> pd.DataFrame:
    r"""Return mixtures as another platform would show them.

    Each gene is multiplied by :math:`e^{\sigma z_g}` with standard normal :math:`z_g`, the same in
    every sample.

    Parameters
    ----------
    expression : DataFrame, genes x mixtures
    spread : float
        :math:`\sigma`, on the natural logarithm.
    seed : int

    Raises
    ------
    ValueError
        For a negative spread.
    """
    if as_number(spread, "spread") < 0:
        raise ValueError("spread: expected 0 or more")
    factor = np.exp(spread * np.random.default_rng(seed).standard_normal(len(expression)))
    return expression.mul(factor, axis=0)


def cells_of(rna: pd.DataFrame, content: pd.Series) -> pd.DataFrame:
    """Return shares of cells from shares of RNA, each divided by the content of a cell."""
    number = rna.div(content.reindex(rna.columns), axis=1)
    return number.div(number.sum(axis=1).replace(0, np.nan), axis=0)


def _cells(
    counts: Any, genes: Sequence[str] | pd.Index, state: ArrayLike, donor: ArrayLike | None
) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return counts as a sparse matrix, and states and donors as strings; checked."""
    import scipy.sparse

    matrix = scipy.sparse.csr_matrix(counts, dtype=np.float64)
    named = pd.Series(np.asarray(state, dtype=object)).astype(str).to_numpy()
    donors = named if donor is None else np.asarray(donor).astype(str)
    if matrix.shape != (len(named), len(genes)) or len(donors) != len(named):
        raise ValueError(
            f"counts are {matrix.shape[0]} cells by {matrix.shape[1]} genes, with {len(named)} "
            f"states, {len(donors)} donors and {len(genes)} names of genes"
        )
    if matrix.nnz and (matrix.data.min() < 0 or not np.isfinite(matrix.data).all()):
        raise ValueError("counts: expected numbers that are not negative")
    return matrix, named, donors

r"""Every family tree of clones that cell fractions allow, and what holds in all of them.

A clone here is a cluster of variants together with all cells that carry them, its descendants
included. If no variant arises twice and none is lost (infinite sites), then in every sample
:math:`j`

* *ancestors are larger*: :math:`\varphi_{vj}\le\varphi_{uj}` if :math:`u` is an ancestor of
  :math:`v`. So two clones of which each is larger somewhere lie on different branches (crossing
  rule);
* *pigeonhole or sum rule*: :math:`\sum_{v\in\text{children of }u}\varphi_{vj}\le\varphi_{uj}`, and
  the clones without a parent together fill at most all cells, 1. So two clones that together
  exceed 1 in a sample are nested.

Fractions are known within intervals :math:`[l_{vj}, h_{vj}]`. A tree *fits* if there are fractions
within all intervals at once that obey the sum rule everywhere. From the leaves upward the least
that a clone needs is

.. math:: x_{vj} = \max\Bigl(l_{vj},\ \sum_{c\in\text{children of }v} x_{cj}\Bigr),

and a tree fits if and only if :math:`x_{vj}\le h_{vj}` for all clones and
:math:`\sum_{\text{without parent}} x_{vj}\le 1`. What is needed only grows as clones are
attached, so that a search which gives one clone after the other a parent, and turns back once a
bound is broken, finds all trees and no others (as Popic et al., Genome Biol 2015;16:91, and
El-Kebir et al., Bioinformatics 2015;31:i62, without a tolerance chosen by hand). With intervals
that hold all true fractions together with a probability of 95%, the true tree is among those that
fit with at least that probability; a relation that all of them share is then known as well. Trees
that fit are not equally probable, and the share of trees with a relation is no probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ballbook.inputs import Floats

_ROUNDING = 1e-9


@dataclass(frozen=True)
class CloneTrees:
    """Trees of clones 0..K-1.

    Attributes
    ----------
    parents : array of int, trees by clones
        Parent of each clone, -1 for none (it grew from a normal cell).
    complete : bool
        False if the search stopped at the limit, so that other trees may fit too.
    room : array of float, one a tree
        Least room, over samples and clones, between what the point estimates of children need and
        their parent has; below 0 where a tree fits within the intervals only.
    """

    parents: NDArray[np.int64]
    complete: bool
    room: Floats

    def __len__(self) -> int:
        return len(self.parents)

    @property
    def ancestors(self) -> NDArray[np.bool_]:
        """Tell for each tree whether clone u is an ancestor of v: trees by u by v."""
        trees, clones = self.parents.shape
        out = np.zeros((trees, clones, clones), dtype=bool)
        above = self.parents.copy()
        rows, columns = np.nonzero(above >= 0)
        while rows.size:
            out[rows, above[rows, columns], columns] = True
            above[rows, columns] = self.parents[rows, above[rows, columns]]
            rows, columns = np.nonzero(above >= 0)
        return out

    def relations(self) -> pd.DataFrame:
        """Return the relations of all pairs.

        Returns
        -------
        DataFrame
            One row a pair ``u < v``: ``first_above``, ``second_above``, ``apart`` (shares of trees
            in which u is an ancestor of v, v of u, neither), and ``always``: the one of
            these that holds in every tree, or none. None throughout without a tree or if the
            search is not complete.
        """
        clones = self.parents.shape[1]
        above = self.ancestors.mean(axis=0) if len(self) else np.full((clones, clones), np.nan)
        rows = []
        for u in range(clones):
            for v in range(u + 1, clones):
                shares = {
                    "first_above": float(above[u, v]),
                    "second_above": float(above[v, u]),
                    "apart": float(1 - above[u, v] - above[v, u]),
                }
                sure = [k for k, s in shares.items() if s > 1 - 1e-12] if self.complete else []
                rows.append({"u": u, "v": v, **shares, "always": sure[0] if sure else None})
        columns = ["u", "v", "first_above", "second_above", "apart", "always"]
        return pd.DataFrame(rows, columns=columns)

    def parent_shares(self) -> Floats:
        """Return the share of trees in which each clone (row) has each parent (column).

        The last column is the normal cell.
        """
        trees, clones = self.parents.shape
        out = np.zeros((clones, clones + 1))
        for v in range(clones):
            out[v] = np.bincount(np.where(self.parents[:, v] < 0, clones, self.parents[:, v]),
                                 minlength=clones + 1)  # fmt: skip
        return out / max(trees, 1)

    def one_origin(self) -> Floats:
        """Tell for each tree whether all clones come from one."""
        return np.asarray((self.parents < 0).sum(axis=1) == 1)


def simultaneous_intervals(
    fraction: ArrayLike, std_error: ArrayLike, *, level: float = 0.95, slack: float = 0.0
) -> tuple[Floats, Floats]:
    r"""Return normal intervals that hold all true fractions at once, kept within 0 to 1.

    :math:`\hat\varphi \pm (z\,\mathrm{se} + \text{slack})` with :math:`z` at
    :math:`1-(1-\text{level})/(2KS)` (Bonferroni over K clones in S samples).

    Parameters
    ----------
    fraction, std_error : array_like of float, clones by samples
    level : float
    slack : float
        Added on both sides for errors that more reads do not mend: of purity, of copy number.

    Raises
    ------
    ValueError
        If shapes differ, a fraction lies outside 0 to 1, or an error or `slack` is negative.
    """
    phi, se = np.asarray(fraction, dtype=float), np.asarray(std_error, dtype=float)
    if phi.ndim != 2 or phi.shape != se.shape:
        raise ValueError(f"fraction has shape {phi.shape}, std_error {se.shape}")
    if not ((phi >= 0) & (phi <= 1)).all() or not (se >= 0).all() or slack < 0:
        raise ValueError("expected fractions from 0 to 1, and errors and slack of 0 or more")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a value between 0 and 1")
    half = stats.norm.ppf(1 - (1 - level) / (2 * max(phi.size, 1))) * se + slack
    return np.clip(phi - half, 0, 1), np.clip(phi + half, 0, 1)


def pair_rules(low: ArrayLike, high: ArrayLike) -> pd.DataFrame:
    """Return what the two rules say of each pair of clones, before any tree is drawn.

    Parameters
    ----------
    low, high : array_like of float, clones by samples
        Bounds of the cell fractions.

    Returns
    -------
    DataFrame
        One row a pair ``u < v``: ``rule`` is ``crossing`` (different branches), ``nested``
        (together above 1 in a sample), ``contradiction`` (both), ``first may be above``,
        ``second may be above`` or ``open``; ``sample`` is the position of the sample that decides
        most clearly, -1 where none does.
    """
    low_, high_ = _bounds(low, high)
    rows = []
    for u in range(len(low_)):
        for v in range(u + 1, len(low_)):
            more, less = low_[u] - high_[v], low_[v] - high_[u]
            over = low_[u] + low_[v] - 1
            crossing = more.max() > _ROUNDING and less.max() > _ROUNDING
            nested = over.max() > _ROUNDING
            if crossing:
                rule = "contradiction" if nested else "crossing"
                sample = int(np.argmax(less if more.max() > less.max() else more))
            elif nested:
                rule, sample = "nested", int(over.argmax())
            elif more.max() > _ROUNDING:
                rule, sample = "first may be above", int(more.argmax())
            elif less.max() > _ROUNDING:
                rule, sample = "second may be above", int(less.argmax())
            else:
                rule, sample = "open", -1
            rows.append({"u": u, "v": v, "rule": rule, "sample": sample})
    return pd.DataFrame(rows, columns=["u", "v", "rule", "sample"])


def fits(parents: ArrayLike, low: ArrayLike, high: ArrayLike) -> bool:
    """Tell whether one tree fits (see above)."""
    low_, high_ = _bounds(low, high)
    need = _needs(np.asarray(parents, dtype=np.int64), low_)
    return need is not None and bool(
        (need[:-1] <= high_ + _ROUNDING).all() and (need[-1] <= 1 + _ROUNDING).all()
    )


def that_fit_together(low: ArrayLike, high: ArrayLike, size: ArrayLike) -> NDArray[np.bool_]:
    """Return which clones a tree can hold: the largest first, each that still leaves a tree.

    A cluster of artefacts, of variants lost with a chromosome, or of two clones that could not be
    told apart, may fit no tree with the others.

    Parameters
    ----------
    low, high : array_like of float, clones by samples
    size : array_like of int, one a clone
        Sites.
    """
    low_, high_ = _bounds(low, high)
    keep = np.zeros(len(low_), dtype=bool)
    if len(enumerate_trees(low_, high_, limit=1)):
        return ~keep
    for c in np.argsort(-np.asarray(size), kind="stable"):
        keep[c] = True
        keep[c] = len(enumerate_trees(low_[keep], high_[keep], limit=1)) > 0
    return keep


def enumerate_trees(
    low: ArrayLike,
    high: ArrayLike,
    fraction: ArrayLike | None = None,
    *,
    one_origin: bool = False,
    limit: int = 50_000,
) -> CloneTrees:
    """Return all trees that fit.

    Parameters
    ----------
    low, high : array_like of float, clones by samples
        Bounds of the cell fractions; a clone that is nowhere above 0 goes anywhere.
    fraction : array_like of float, clones by samples, optional
        Point estimates, for `CloneTrees.room`; by default the middle of the bounds.
    one_origin : bool
        Only trees in which all clones come from one.
    limit : int
        The search stops after so many trees.

    Raises
    ------
    ValueError
        If bounds are not ordered within 0 to 1, or there are none.
    """
    low_, high_ = _bounds(low, high)
    clones = len(low_)
    middle = (low_ + high_) / 2 if fraction is None else np.asarray(fraction, dtype=float)
    # Large clones first: most parents are placed before their children, and bounds break early.
    order = np.lexsort((np.arange(clones), -low_.sum(axis=1)))
    # may[u, v]: u may be above v.
    may = np.all(low_[None] <= high_[:, None] + _ROUNDING, axis=2)
    assert isinstance(may, np.ndarray)
    np.fill_diagonal(may, False)
    choices = [[-1, *(int(u) for u in order if may[u, v])] for v in range(clones)]
    top = np.vstack([high_, np.ones(low_.shape[1])]) + _ROUNDING
    parents = np.full(clones, -2, dtype=np.int64)
    need = np.vstack([low_, np.zeros(low_.shape[1])])
    # What the children attached so far need.
    load = np.zeros_like(need)
    found: list[NDArray[np.int64]] = []
    complete = True

    def attach(v: int, parent: int) -> list[tuple[int, Floats, Floats]] | None:
        """Add what v needs to its parent and so upward; undo and return None if it breaks."""
        undo: list[tuple[int, Floats, Floats]] = []
        more = need[v]
        u = parent
        while True:
            undo.append((u, load[u].copy(), need[u].copy()))
            load[u] += more
            new = load[u].copy() if u == -1 else np.maximum(low_[u], load[u])
            more = new - need[u]
            need[u] = new
            if (new > top[u]).any():
                back(undo)
                return None
            if u == -1 or parents[u] == -2 or not more.any():
                return undo
            u = int(parents[u])

    def back(undo: list[tuple[int, Floats, Floats]]) -> None:
        for u, before, needed in reversed(undo):
            load[u], need[u] = before, needed

    def below(u: int, v: int) -> bool:
        """Tell whether u is v or hangs below it."""
        while u >= 0:
            if u == v:
                return True
            u = int(parents[u])
        return False

    def search(depth: int, origins: int) -> bool:
        nonlocal complete
        if depth == clones:
            if len(found) >= limit:
                complete = False
                return False
            found.append(parents.copy())
            return True
        v = int(order[depth])
        for parent in choices[v]:
            if parent == -1 and one_origin and origins:
                continue
            if parent >= 0 and below(parent, v):
                continue
            undo = attach(v, parent)
            if undo is None:
                continue
            parents[v] = parent
            go_on = search(depth + 1, origins + (parent == -1))
            parents[v] = -2
            back(undo)
            if not go_on:
                return False
        return True

    search(0, 0)
    table = np.array(found, dtype=np.int64).reshape(len(found), clones)
    # One order for the trees whatever the order of the search.
    table = table[np.lexsort(table.T[::-1])] if len(table) else table
    return CloneTrees(table, complete, np.array([_room(p, middle) for p in table]))


def _room(parents: NDArray[np.int64], fraction: Floats) -> float:
    """Return the least of what parents have less what their children need."""
    room = np.vstack([fraction, np.ones(fraction.shape[1])])
    np.subtract.at(room, parents, fraction)
    inner = np.append(np.unique(parents[parents >= 0]), -1)
    return float(room[inner].min())


def _needs(parents: NDArray[np.int64], low: Floats) -> Floats | None:
    """Return what each clone and, last, the normal cell need; None if it is no tree."""
    need = np.vstack([low, np.zeros(low.shape[1])])
    waiting = np.bincount(parents[parents >= 0], minlength=len(low))
    load = np.zeros_like(need)
    ready = [int(v) for v in np.flatnonzero(waiting == 0)]
    done = 0
    while ready:
        v = ready.pop()
        done += 1
        need[v] = np.maximum(low[v], load[v])
        u = int(parents[v])
        load[u] += need[v]
        if u >= 0:
            waiting[u] -= 1
            if waiting[u] == 0:
                ready.append(u)
    need[-1] = load[-1]
    return need if done == len(low) else None


def _bounds(low: ArrayLike, high: ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    if a.ndim != 2 or a.shape != b.shape or not a.size:
        raise ValueError(f"expected clones by samples, got shapes {a.shape} and {b.shape}")
    if not ((a >= 0) & (a <= b) & (b <= 1)).all():
        raise ValueError("expected 0 <= low <= high <= 1")
    return a, b

r"""A reference of labelled cells, and the place of new cells on it.

**Points.** Counts :math:`c_{ig}` of the reference's genes become
:math:`y_{ig}=\log(1+c_{ig}D/\sum_h c_{ih})`, *D* being the median total of the reference, and
:math:`z_{ig}=\min\{(y_{ig}-\bar y_g)/\max(s_g, s_0),\,10\}`; its leading principal components are
the coordinates. A new cell goes through the same formula with the reference's constants: what one
cell gets does not depend on the others mapped with it.

**Labels.** The label of a new cell is the commonest among its *k* nearest reference cells, and its
confidence their share (Cover and Hart, IEEE Trans Inf Theory 1967;13:21). Equal shares go to the
label whose cells are nearer.

**Off the map.** Let *d* be a cell's mean distance to those neighbours. For each reference cell the
same distance is measured to cells of *other* donors only, which is what a new donor's cells see. A
cell with label *s* has the typicality

.. math:: p = \frac{1 + \#\{j \in s : d_j \ge d\}}{1 + n_s},

a conformal P value within the label (Vovk, Gammerman, Shafer, Algorithmic Learning in a Random
World, 2005): were the cell one more of *s* from one more donor of the same population, p would be
at or below :math:`\alpha` at most about :math:`\alpha` of the time. It is *off the map* where
:math:`p\le\alpha`. A cell of an unknown state that lies between known ones is not seen by this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import scipy.sparse

from ballbook import cell_states
from ballbook.inputs import Floats

if TYPE_CHECKING:
    import anndata

    from ballbook.cell_chunks import Part

Method = Literal["exact", "approximate"]
# Standard deviations from the mean beyond which one gene would decide alone.
MOST = 10.0
# Least standard deviation: a gene seen in next to no cell must not be blown up.
LEAST_SPREAD = 0.02
BLOCK = 4096


@dataclass
class Reference:
    """What is kept of the reference cells: constants, coordinates and labels.

    Attributes
    ----------
    genes : tuple of str
    states : tuple of str
        Labels, in their order.
    depth : float
        Counts that each cell is brought to.
    mean, spread : array, genes
    loadings : array, genes x components
    points : array of float32, cells x components
    code : array of int, cells
        Label of each cell as its place in `states`.
    typical : tuple of arrays
        For each label, the sorted distances of its cells to other donors' cells.
    pseudotime : array, cells
        Missing off the lineage.
    neighbours, alpha, seed
        As given to `build`.
    """

    genes: tuple[str, ...]
    states: tuple[str, ...]
    depth: float
    mean: Floats
    spread: Floats
    loadings: Floats
    points: Any
    code: Any
    typical: tuple[Floats, ...]
    pseudotime: Floats
    neighbours: int
    alpha: float
    seed: int
    _index: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave search indices out of a pickle; they are made again where they are needed."""
        return {**self.__dict__, "_index": {}}

    def project(self, cells: anndata.AnnData | Part) -> Any:
        """Return the coordinates of cells, as float32, cells x components.

        Raises
        ------
        ValueError
            If a gene of the reference is missing, or a cell has no count of any of them.
        """
        x = _matrix(cells, self.genes)
        total = np.asarray(x.sum(axis=1), dtype=float).ravel()
        if (total <= 0).any():
            raise ValueError(f"{int((total <= 0).sum())} cells have no count of the genes")
        shift = (self.mean / self.spread) @ self.loadings
        scaled = _scaled(_logged(x, total, self.depth), self.mean, self.spread)
        return np.asarray(scaled @ self.loadings - shift, dtype=np.float32)

    def map(self, cells: anndata.AnnData | Part, *, method: Method = "exact") -> pd.DataFrame:
        """Return the place of each cell.

        Parameters
        ----------
        cells : AnnData or Part, cells x genes
            Raw counts; genes beyond those of the reference are not looked at.
        method : {"exact", "approximate"}
            How neighbours are found: all distances, or a graph search (pynndescent), which is
            faster for very many cells and misses some neighbours.

        Returns
        -------
        DataFrame
            Index as ``cells.obs_names``; ``label``, ``confidence``, ``off_map``, ``pseudotime``
            (missing where the label has none) and ``typicality``.

        Raises
        ------
        ValueError
            As `project`.
        """
        points = self.project(cells)
        near, distance = self.nearest(points, method=method)
        return self.place(near, distance).set_index(pd.Index(cells.obs_names))

    def nearest(self, points: Any, *, method: Method = "exact") -> tuple[Any, Floats]:
        """Return the nearest reference cells of each point, nearest first, and their distances."""
        return nearest(self.points, points, self.neighbours, method, self.seed, self._index)

    def place(self, near: Any, distance: Floats) -> pd.DataFrame:
        """Return labels, confidence and typicality from neighbours and distances."""
        n, k = near.shape
        votes = np.zeros((n, len(self.states)))
        nearer = np.zeros_like(votes)
        rows = np.arange(n)
        for j in range(k):
            of = self.code[near[:, j]]
            votes[rows, of] += 1
            nearer[rows, of] += (k - j) / k**3  # at most 1/k in sum: only ties are decided
        label = (votes + nearer).argmax(axis=1)
        reach = distance.mean(axis=1)
        typicality = np.ones(n)
        for s, known in enumerate(self.typical):
            of = label == s
            beyond = len(known) - np.searchsorted(known, reach[of], side="left")
            typicality[of] = (1 + beyond) / (1 + len(known))
        times = self.pseudotime[near]
        known_times = np.isfinite(times)
        with np.errstate(invalid="ignore"):
            when = np.where(known_times, times, 0).sum(axis=1) / known_times.sum(axis=1)
        timed = np.array([np.isfinite(self.pseudotime[self.code == s]).any()
                          for s in range(len(self.states))])  # fmt: skip
        return pd.DataFrame(
            {
                "label": pd.Categorical.from_codes(label, categories=pd.Index(list(self.states))),
                "confidence": votes[rows, label] / k,
                "off_map": typicality <= self.alpha,
                "pseudotime": np.where(timed[label], when, np.nan),
                "typicality": typicality,
            }
        )


def build(
    cells: anndata.AnnData,
    label: str = "state",
    donor: str = "donor",
    *,
    genes: Sequence[str] | None = None,
    components: int = 30,
    neighbours: int = 15,
    alpha: float = 0.05,
    scale: bool = True,
    pseudotime: Any = None,
    seed: int = 0,
) -> Reference:
    """Return the reference that labelled cells make.

    Parameters
    ----------
    cells : AnnData, cells x genes
        Raw counts. Cells without a label are left out.
    label, donor : str
        Columns of ``obs``.
    genes : sequence of str, optional
        Genes used, such as those that a reader's cells share; all when not given.
    components : int
        Principal components.
    neighbours : int
        Reference cells that vote.
    alpha : float
        Typicality at or below which a cell is off the map.
    scale : bool
        Divide each gene by its standard deviation.
    pseudotime : array_like of float, one a cell of `cells`, optional
        Missing off the lineage.
    seed : int
        Of the approximate search; nothing else is random.

    Raises
    ------
    ValueError
        If `neighbours` or `components` do not fit the cells, or a cell has no count.
    """
    told = cells.obs[label].notna().to_numpy()
    kept = cells if told.all() else cells[told]
    words = kept.obs[label].astype(str).to_numpy()
    order = [s for s in cell_states.STATES if (words == s).any()]
    states = (*order, *sorted(set(words) - set(order)))
    code = np.array([states.index(w) for w in words], dtype=np.int64)
    chosen = tuple(map(str, kept.var_names if genes is None else genes))
    x = _matrix(kept, chosen)
    n = x.shape[0]
    if not 1 <= neighbours < n:
        raise ValueError(f"neighbours: expected 1 to {n - 1}, got {neighbours}")
    if not 1 <= components <= min(n - 1, len(chosen)):
        most = min(n - 1, len(chosen))
        raise ValueError(f"components: expected 1 to {most}, got {components}")
    total = np.asarray(x.sum(axis=1), dtype=float).ravel()
    if (total <= 0).any():
        raise ValueError(f"{int((total <= 0).sum())} cells have no count of the genes")
    depth = float(np.median(total))
    logged = _logged(x, total, depth)
    mean = np.asarray(logged.mean(axis=0), dtype=float).ravel()
    square = np.asarray(logged.multiply(logged).mean(axis=0), dtype=float).ravel()
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    spread = np.maximum(spread, LEAST_SPREAD) if scale else np.ones_like(spread)
    loadings = _components(_scaled(logged, mean, spread), components)
    times = np.full(n, np.nan)
    if pseudotime is not None:
        times = np.asarray(pseudotime, dtype=float)[told]
    found = Reference(
        chosen, states, depth, mean, spread, loadings, np.zeros((0, components), np.float32), code,
        (), times, neighbours, alpha, seed,
    )  # fmt: skip
    found.points = found.project(kept)
    reach = to_other_donors(found.points, kept.obs[donor].astype(str).to_numpy(), neighbours)
    found.typical = tuple(np.sort(reach[code == s]) for s in range(len(states)))
    return found


def to_other_donors(points: Any, donors: Any, neighbours: int) -> Floats:
    """Return the mean distance of each cell to its nearest cells of other donors.

    With one donor alone, to its nearest other cells.
    """
    names = np.unique(donors)
    reach = np.empty(len(points))
    if len(names) == 1:
        _, distance = nearest(points, points, min(neighbours + 1, len(points)))
        return np.asarray(distance[:, 1:].mean(axis=1))
    for name in names:
        of = donors == name
        _, distance = nearest(points[~of], points[of], min(neighbours, int((~of).sum())))
        reach[of] = distance.mean(axis=1)
    return reach


def nearest(
    reference: Any,
    points: Any,
    k: int,
    method: Method = "exact",
    seed: int = 0,
    index: dict[str, Any] | None = None,
) -> tuple[Any, Floats]:
    """Return the `k` nearest rows of `reference` to each point, nearest first, and the distances.

    Parameters
    ----------
    reference, points : array of float, rows x components
    method : {"exact", "approximate"}
    seed : int
        Of the approximate search.
    index : dict, optional
        Where the search index is kept for the next call.

    Raises
    ------
    ValueError
        For an unknown method.
    """
    kept = {} if index is None else index
    if method == "exact":
        from sklearn.neighbors import NearestNeighbors

        if method not in kept:
            kept[method] = NearestNeighbors(algorithm="brute").fit(reference)
        distance, near = kept[method].kneighbors(points, k)
        return near, np.asarray(distance, dtype=float)
    if method != "approximate":
        raise ValueError(f"method: expected exact or approximate, got {method!r}")
    from pynndescent import NNDescent

    if method not in kept:
        # One thread: with several the graph depends on which comes first.
        made = NNDescent(
            np.asarray(reference, dtype=np.float32), n_neighbors=max(30, 2 * k), n_jobs=1,
            random_state=np.random.RandomState(seed),
        )  # fmt: skip
        made.prepare()
        kept[method] = made
    near, distance = kept[method].query(np.asarray(points, dtype=np.float32), k=k)
    return near, np.asarray(distance, dtype=float)


def shared_genes(reference: Sequence[str], given: Sequence[str]) -> list[str]:
    """Return the genes of the reference that are also given, in the reference's order."""
    have = set(map(str, given))
    return [str(g) for g in reference if str(g) in have]


def _matrix(cells: anndata.AnnData | Part, genes: Sequence[str]) -> Any:
    """Return the counts of `genes` as a sparse matrix of cells x genes."""
    place = pd.Index(cells.var_names).get_indexer(pd.Index(genes))
    if (place < 0).any():
        missing = [g for g, p in zip(genes, place, strict=True) if p < 0]
        shown = ", ".join(missing[:8]) + (", ..." if len(missing) > 8 else "")
        raise ValueError(f"{len(missing)} genes of the reference are missing: {shown}")
    x = cells.X
    x = x if scipy.sparse.issparse(x) else scipy.sparse.csr_matrix(np.asarray(x))
    x = scipy.sparse.csr_matrix(x)
    return x if np.array_equal(place, np.arange(x.shape[1])) else x[:, place]


def _logged(x: Any, total: Floats, depth: float) -> Any:
    """Return log(1 + counts per `depth`), sparse."""
    scaled = scipy.sparse.csr_matrix(scipy.sparse.diags_array(depth / total) @ x.astype(np.float64))
    return scaled.log1p()


def _scaled(logged: Any, mean: Floats, spread: Floats) -> Any:
    """Return values in standard deviations, still with zero for no count, cut off at `MOST`."""
    scaled = scipy.sparse.csr_matrix(logged @ scipy.sparse.diags_array(1 / spread))
    scaled.data = np.minimum(scaled.data, (MOST + mean / spread)[scaled.indices])
    return scaled


def _components(scaled: Any, components: int) -> Floats:
    """Return the leading principal axes, genes x components; each with its largest loading up."""
    n = scaled.shape[0]
    mean = np.asarray(scaled.mean(axis=0), dtype=float).ravel()
    gram = np.asarray((scaled.T @ scaled).todense(), dtype=float) / n - np.outer(mean, mean)
    _, vectors = np.linalg.eigh(gram)
    axes = vectors[:, ::-1][:, :components]
    up = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(components)])
    return np.asarray(axes * np.where(up == 0, 1, up))

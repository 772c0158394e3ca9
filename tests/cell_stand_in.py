"""A small map of cells, to try chunks, clusters and memory with: nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anndata
import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.neighbors import NearestNeighbors


@dataclass(frozen=True)
class StandIn:
    """Labels a cell by the vote of its 5 nearest among the cells of a reference."""

    loadings: Any
    index: NearestNeighbors
    labels: Any

    @classmethod
    def build(cls, cells: anndata.AnnData, label: str = "state", seed: int = 0) -> StandIn:
        rng = np.random.default_rng(seed)
        loadings = rng.normal(size=(cells.n_vars, 10)).astype(np.float32)
        index = NearestNeighbors(n_neighbors=5, algorithm="brute")
        index.fit(place(cells, loadings))
        return cls(loadings, index, cells.obs[label].astype(str).to_numpy())

    def map(self, cells: anndata.AnnData) -> pd.DataFrame:
        if cells.n_obs == 0:
            return pd.DataFrame({"label": [], "confidence": [], "off_map": [], "pseudotime": []})
        far, near = self.index.kneighbors(place(cells, self.loadings))
        votes = self.labels[near]
        first = votes[:, 0]
        return pd.DataFrame(
            {
                "label": first,
                "confidence": (votes == first[:, None]).mean(axis=1),
                "off_map": far[:, 0] > 1.0,
                "pseudotime": far[:, 0].astype(float),
            },
            index=cells.obs_names,
        )


def place(cells: anndata.AnnData, loadings: Any) -> Any:
    x = scipy.sparse.csr_matrix(cells.X)
    total = np.asarray(x.sum(axis=1)).ravel()
    scale = np.divide(1e3, total, out=np.zeros_like(total), where=total > 0)
    x = scipy.sparse.csr_matrix(x.multiply(scale[:, None]), dtype=np.float32)
    x.data = np.log1p(x.data)
    return np.asarray(x @ loadings)


def small_reference(n: int = 600, genes: int = 40, states: int = 4, seed: int = 1) -> Any:
    """Return raw counts of `n` cells in states that differ, with some cells without a state."""
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.full(genes, 0.3), size=states)
    state = rng.integers(0, states, n)
    total = rng.integers(200, 2000, n)
    mean = total[:, None] * share[state]
    x = rng.poisson(rng.gamma(2.0, mean / 2.0))
    words = np.array([f"state {s}" for s in range(states)], dtype=object)[state]
    words[:3] = np.nan
    return anndata.AnnData(
        scipy.sparse.csr_matrix(x.astype(np.float32)),
        obs=pd.DataFrame(
            {
                "donor": pd.Categorical([f"d{i}" for i in rng.integers(1, 4, n)]),
                "state": pd.Categorical(words),
                "depth": total,
                "note": [f"cell {i} é" for i in range(n)],
                "kept": rng.random(n) < 0.5,
                "batch": pd.array(rng.integers(0, 3, n), dtype="Int64"),
            },
            index=pd.Index([f"c{i}" for i in range(n)]),
        ),
        var=pd.DataFrame(index=pd.Index([f"G{i}" for i in range(genes)])),
    )

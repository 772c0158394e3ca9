r"""Any number of single cells, drawn state by state from a reference of real ones.

A cell :math:`i` of state *s* is given the number of molecules :math:`N_i` of a reference cell of
that state, drawn with replacement, and of gene *g* a negative binomial count,

.. math:: \lambda_{ig} \sim \operatorname{Gamma}(1/\phi_g,\ \phi_g N_i p_{sg}), \quad
          x_{ig} \sim \operatorname{Poisson}(\lambda_{ig}),

with mean :math:`N_i p_{sg}` and variance :math:`\mu + \phi_g\mu^2`. The share :math:`p_{sg}` of a
gene among the molecules of a state is that of all its cells together. The overdispersion of a gene
is a moment estimate within states, cells of all states pooled (as in edgeR's common dispersion, but
a gene each; Robinson and Smyth, Biostatistics 2008;9:321), and 0, which is Poisson, where counts
vary less:

.. math:: \phi_g = \max\!\Big(0,\ \sum_i \big[(x_{ig}-\mu_{ig})^2 - x_{ig}\big] \Big/
          \sum_i \mu_{ig}^2\Big) .

Genes are independent within a state, which real genes are not, and no cell lies between states: a
map does better on such cells than on real ones. They measure speed and memory, and show that a
method finds again what was put in; they say nothing of biology. Their donors begin with
``DUMMY-``, so every page that is given them says the same.

Random numbers are drawn for blocks of 1,000 cells, each from a generator of its own made of the
seed and the number of the block, so that cell *i* is the same whichever chunk it is asked for in.

``python -m ballbook.simulated_cells --n 1000000 --out big.h5ad`` writes cells like those of the
normal marrow of Triana 2021.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse
from numpy.typing import NDArray

from ballbook.cell_chunks import CHUNK, CellWriter, spans
from ballbook.cohort import DUMMY
from ballbook.inputs import Floats

if TYPE_CHECKING:
    import anndata

BLOCK = 1_000
DONORS = 10
LARGEST_DISPERSION = 20.0
SEED = 20260219


@dataclass(frozen=True)
class CellModel:
    """What is drawn from; made by `fit`.

    Parameters
    ----------
    genes, states : tuple of str
    share : array, states x genes
        Of the molecules of a state; rows sum to 1.
    dispersion : array, one a gene
    totals : tuple of arrays of int, one a state
        Molecules of each reference cell.
    weights : array, one a state
        Share of the cells; sums to 1.
    """

    genes: tuple[str, ...]
    states: tuple[str, ...]
    share: Floats
    dispersion: Floats
    totals: tuple[NDArray[np.int64], ...]
    weights: Floats

    def cells(self, start: int, stop: int, *, seed: int = SEED) -> anndata.AnnData:
        """Return the cells from `start` up to `stop` of the endless row that belongs to `seed`.

        Returns
        -------
        AnnData
            Counts in CSR; ``obs`` with ``donor`` and ``state``; names tell the place of a cell.
        """
        import anndata

        matrices, frames = [], []
        for block in range(start // BLOCK, -(-stop // BLOCK)):
            x, obs = self._block(block, seed)
            here = slice(max(start - block * BLOCK, 0), min(stop - block * BLOCK, BLOCK))
            matrices.append(x[here])
            frames.append(obs.iloc[here])
        if not matrices:
            x, obs = self._block(0, seed)
            matrices, frames = [x[:0]], [obs.iloc[:0]]
        counts = scipy.sparse.vstack(matrices, format="csr", dtype=np.float32)
        return anndata.AnnData(
            scipy.sparse.csr_matrix(counts),
            obs=pd.concat(frames),
            var=pd.DataFrame(index=pd.Index(self.genes)),
        )

    def _block(self, block: int, seed: int) -> tuple[scipy.sparse.csr_matrix, pd.DataFrame]:
        rng = np.random.default_rng([seed, block])
        state = rng.choice(len(self.states), size=BLOCK, p=self.weights)
        donor = rng.integers(1, DONORS + 1, size=BLOCK)
        pick = rng.random(BLOCK)
        total = np.empty(BLOCK)
        for s, known in enumerate(self.totals):
            own = state == s
            total[own] = known[(pick[own] * len(known)).astype(np.int64)]
        mean = total[:, None] * self.share[state]
        spread = self.dispersion > 0
        phi = self.dispersion[spread]
        mean[:, spread] = rng.standard_gamma(1 / phi, size=(BLOCK, len(phi))) * (
            phi * mean[:, spread]
        )
        counts = rng.poisson(mean)
        place = np.arange(block * BLOCK, (block + 1) * BLOCK)
        obs = pd.DataFrame(
            {
                "donor": [f"{DUMMY}{d}" for d in donor],
                "state": np.array(self.states, dtype=object)[state],
            },
            index=pd.Index([f"cell-{i:09d}" for i in place]),
        )
        return scipy.sparse.csr_matrix(counts.astype(np.float32)), obs


def fit(reference: anndata.AnnData, label: str = "state") -> CellModel:
    """Return the model of a reference.

    Parameters
    ----------
    reference : AnnData
        Raw counts in ``X``, sparse; ``obs[label]`` tells the state, cells without one are left out.

    Raises
    ------
    ValueError
        Where no cell has a state and molecules.
    """
    x = scipy.sparse.csr_matrix(reference.X).astype(np.float64)
    total = np.asarray(x.sum(axis=1)).ravel()
    words = reference.obs[label].astype(object)
    use = words.notna().to_numpy() & (total > 0)
    if not use.any():
        raise ValueError(f"no cell has a {label} and molecules")
    x, total, named = x[use], total[use], words[use].astype(str).to_numpy()
    found = set(named)
    order = getattr(reference.obs[label].dtype, "categories", sorted(found))
    states = [str(s) for s in order if str(s) in found]
    code = np.array([states.index(s) for s in named])
    member = scipy.sparse.csr_matrix(
        (np.ones(len(code)), (code, np.arange(len(code)))), shape=(len(states), len(code))
    )
    sums = np.asarray((member @ x).todense())
    share = sums / sums.sum(axis=1, keepdims=True)
    # Sums over cells of (x - m)^2 - x with m = N p, opened so that only x's own entries are needed.
    squares = np.asarray(x.multiply(x).sum(axis=0)).ravel()
    crossed = ((member @ x.multiply(total[:, None]).tocsr()).multiply(share)).sum(axis=0)
    means = ((member @ total**2)[:, None] * share**2).sum(axis=0)
    excess = squares - 2 * np.asarray(crossed).ravel() + means - sums.sum(axis=0)
    dispersion = np.divide(excess, means, out=np.zeros_like(means), where=means > 0)
    return CellModel(
        genes=tuple(str(g) for g in reference.var_names),
        states=tuple(states),
        share=share,
        dispersion=dispersion.clip(0, LARGEST_DISPERSION),
        totals=tuple(total[code == s].astype(np.int64) for s in range(len(states))),
        weights=np.bincount(code, minlength=len(states)) / len(code),
    )


def write(model: CellModel, path: Path, n: int, *, seed: int = SEED, chunk: int = CHUNK) -> None:
    """Write the first `n` cells as h5ad, `chunk` at a time; the content is the same for any."""
    about = {"simulated": f"{n} cells drawn by ballbook.simulated_cells, seed {seed}"}
    with CellWriter(path, model.genes, uns=about) as writer:
        for start, stop in spans(n, chunk):
            cells = model.cells(start, stop, seed=seed)
            writer.add(scipy.sparse.csr_matrix(cells.X), cells.obs)


def main() -> None:
    """Write simulated cells."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, required=True, help="cells")
    parser.add_argument("--seed", type=int, default=SEED, help="same seed, same cells")
    parser.add_argument("--out", type=Path, required=True, help="the .h5ad to write")
    given = parser.parse_args()
    from ballbook import datasets

    write(fit(datasets.load("triana-marrow").data), given.out, given.n, seed=given.seed)
    print(f"Try it: ballbook run bcell-development-map --cohort {given.out}")


if __name__ == "__main__":
    main()

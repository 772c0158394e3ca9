"""Where a reader's cells lie on a reference map, added up by donor.

A cell is placed where it has enough counts and genes (`ballbook.cells.quality`); a cell off the
map has no state. Cells are read and placed a chunk at a time, and of each chunk only numbers of
cells by donor are kept (`ballbook.cell_chunks.counted`), so that memory does not grow with the
cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from ballbook import cell_chunks, cells
from ballbook.reference_map import Reference

CONFIDENT = 0.9


@dataclass(frozen=True)
class Placed:
    """Numbers of placed cells, one row a donor that has any, sorted by name.

    Attributes
    ----------
    cells, off_map, confident : Series of int
        Placed at all, off the map, and with a confidence of at least `CONFIDENT`.
    on_map : DataFrame of int, donors x states
        Cells of each state that are on the map.
    states : tuple of str
        Labels that any cell was given, on the map or off it, in the order of the reference.
    told, as_told : Series of int
        Cells whose own label is a state of the map, and those of them that were placed as it says.
    """

    cells: pd.Series
    off_map: pd.Series
    confident: pd.Series
    on_map: pd.DataFrame
    states: tuple[str, ...]
    told: pd.Series
    as_told: pd.Series


def place(
    given: cell_chunks.Cells,
    reference: Reference,
    *,
    genes: Sequence[str],
    least_counts: int,
    least_genes: int,
    chunk: int | None = None,
    cluster: str | int | None = None,
) -> Placed:
    """Place cells and add them up.

    Parameters
    ----------
    given : Cells
        ``obs`` with ``donor`` and perhaps ``label``.
    reference : Reference
        Of genes that the cells have.
    genes, least_counts, least_genes
        As `ballbook.cells.quality`.
    chunk, cluster
        As `ballbook.cell_chunks.counted`.
    """
    count = partial(
        by_donor, reference=reference, genes=genes, least_counts=least_counts,
        least_genes=least_genes,
    )  # fmt: skip
    found = cell_chunks.counted(given, count, chunk=chunk, cluster=cluster)
    found = found[found["cells"] > 0]
    labels, on_map = pd.DataFrame(found["label"]), pd.DataFrame(found["on map"])
    return Placed(
        cells=found["cells", ""],
        off_map=found["off map", ""],
        confident=found["confident", ""],
        on_map=on_map,
        states=tuple(s for s in reference.states if labels[s].any()),
        told=found["told", ""],
        as_told=found["as told", ""],
    )


def by_donor(
    given: cell_chunks.Part,
    *,
    reference: Reference,
    genes: Sequence[str],
    least_counts: int,
    least_genes: int,
) -> pd.DataFrame:
    """Return numbers of cells, one row a donor; columns are pairs, named as in `Placed`."""
    checked = cells.quality(given, genes=genes, least_counts=least_counts, least_genes=least_genes)
    mine = given[checked.keep]
    found = reference.map(mine) if mine.n_obs else None
    flags: dict[tuple[str, str], object] = {("cells", ""): np.ones(mine.n_obs, dtype=bool)}
    label = np.empty(0, dtype=str) if found is None else found["label"].astype(str).to_numpy()
    off = np.empty(0, dtype=bool) if found is None else found["off_map"].to_numpy()
    sure = np.empty(0) if found is None else found["confidence"].to_numpy()
    flags["off map", ""] = off
    flags["confident", ""] = sure >= CONFIDENT
    own = mine.obs["label"].astype(str).to_numpy() if "label" in mine.obs else label[:0]
    told = np.isin(own, reference.states) if len(own) else np.zeros(mine.n_obs, dtype=bool)
    flags["told", ""] = told
    flags["as told", ""] = told & (own == label) if len(own) else told
    for state in reference.states:
        flags["label", state] = label == state
        flags["on map", state] = (label == state) & ~off
    return pd.DataFrame(flags).groupby(mine.obs["donor"].astype(str).to_numpy()).sum()

"""Cells of a reader are placed chunk by chunk: numbers as of one piece, memory as of a chunk."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from cell_stand_in import small_reference

from ballbook import cell_chunks, cells, cohort, placed_cells, reference_map, simulated_cells

LEAST = {"least_counts": 300, "least_genes": 15}


@pytest.fixture(scope="module")
def reference() -> reference_map.Reference:
    return reference_map.build(small_reference(n=900)[:500], components=8, neighbours=5, alpha=0.1)


@pytest.fixture
def given(tmp_path: Path) -> tuple[cell_chunks.Cells, anndata.AnnData]:
    """Cells of four donors; one has none that can be placed, and half of them have labels."""
    made = small_reference(n=900)[500:].copy()
    made.obs["donor"] = np.where(np.arange(400) < 10, "empty", made.obs["donor"].astype(str))
    x = made.X.toarray()
    x[:10] = 0
    x[10:60] = x[10:60][:, ::-1]
    made.X = scipy.sparse.csr_matrix(x)
    made.obs["label"] = made.obs["state"].astype(object).where(np.arange(400) % 2 == 0, "unknown")
    made.obs = made.obs[["donor", "label"]].astype(str)
    made.write_h5ad(tmp_path / "cells.h5ad")
    read = cohort.read_cohort(tmp_path / "cells.h5ad").cells
    assert read is not None
    return read, made


def test_numbers_are_those_of_all_cells_at_once(
    given: tuple[cell_chunks.Cells, anndata.AnnData], reference: reference_map.Reference
) -> None:
    read, made = given
    genes = list(reference.genes)
    mine = made[cells.quality(made, genes=genes, **LEAST).keep]
    assert 300 < mine.n_obs < 390
    found = reference.map(mine)
    whose, label = mine.obs["donor"].astype(str), found["label"].astype(str)
    for chunk in (None, 90, 10):
        placed = placed_cells.place(read, reference, genes=genes, chunk=chunk, **LEAST)
        assert "empty" not in placed.cells.index and list(placed.cells.index) == ["d1", "d2", "d3"]
        assert placed.cells.to_dict() == whose.value_counts().to_dict()
        assert placed.off_map.to_dict() == found["off_map"].groupby(whose).sum().to_dict()
        assert 0 < placed.off_map.sum() < mine.n_obs / 2
        sure = (found["confidence"] >= 0.9).groupby(whose).sum()
        assert placed.confident.to_dict() == sure.to_dict()
        on = pd.crosstab(whose, label.where(~found["off_map"], "off"))
        for state in reference.states:
            assert placed.on_map[state].to_dict() == on[state].to_dict()
        assert (placed.on_map.sum(axis=1) + placed.off_map == placed.cells).all()
        told = mine.obs["label"].isin(reference.states)
        assert placed.told.to_dict() == told.groupby(whose).sum().to_dict()
        assert 100 < placed.told.sum() < mine.n_obs / 2 + 20
        right = told & (mine.obs["label"] == label)
        assert placed.as_told.to_dict() == right.groupby(whose).sum().to_dict()
        assert placed.states == reference.states


def test_cells_without_labels_and_none_that_can_be_placed(
    given: tuple[cell_chunks.Cells, anndata.AnnData], reference: reference_map.Reference
) -> None:
    read, _ = given
    genes = list(reference.genes)
    bare = cell_chunks.Cells(read.file, read.obs[["donor"]], read.var_names)
    placed = placed_cells.place(bare, reference, genes=genes, **LEAST)
    assert placed.told.sum() == placed.as_told.sum() == 0 and placed.cells.sum() > 300
    none = placed_cells.place(read, reference, genes=genes, least_counts=10**6, least_genes=1)
    assert len(none.cells) == 0 and none.states == ()


def test_memory_does_not_grow_with_the_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_chunks, "CHUNK", 1000)
    monkeypatch.setattr(cell_chunks, "VALUES_AT_ONCE", 100_000)
    known = small_reference(n=500)
    model = simulated_cells.fit(known)
    reference = reference_map.build(known, components=8, neighbours=5)
    path = tmp_path / "cells.h5ad"
    peaks = []
    # The first time loads what later ones have.
    for n in (1_000, 5_000, 25_000):
        simulated_cells.write(model, path, n)
        gc.collect()
        tracemalloc.start()
        try:
            mine = cohort.read_cohort(path).cells
            assert mine is not None
            read = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()
            placed = placed_cells.place(
                mine, reference, genes=reference.genes, least_counts=1, least_genes=1
            )
            peaks.append((read, tracemalloc.get_traced_memory()[1]))
        finally:
            tracemalloc.stop()
        assert placed.cells.sum() == n
    # Of each further cell: a hash of its name, twice while they are sorted, and who it is from. A
    # name alone would take 60 bytes, and a row of the map 30.
    grown = (np.array(peaks[2]) - np.array(peaks[1])) / 20_000
    assert grown[0] < 40 and grown[1] < 12, grown
    assert peaks[2][1] < 10 * 2**20

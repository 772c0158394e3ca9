"""Simulated cells: the same whatever the chunk, and distributed as told."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest
from cell_stand_in import StandIn, small_reference

from ballbook import cell_chunks, simulated_cells
from ballbook.cohort import DUMMY
from ballbook.simulated_cells import CellModel


@pytest.fixture(scope="module")
def reference() -> anndata.AnnData:
    return small_reference(n=3000)


@pytest.fixture(scope="module")
def model(reference: anndata.AnnData) -> CellModel:
    return simulated_cells.fit(reference)


def test_the_fit_is_that_of_its_formulae(reference: anndata.AnnData, model: CellModel) -> None:
    x = reference.X.toarray().astype(float)
    state = reference.obs["state"].astype(object)
    use = state.notna().to_numpy()
    x, state = x[use], state[use].to_numpy()
    total = x.sum(axis=1)
    above, below = np.zeros(40), np.zeros(40)
    for s, word in enumerate(model.states):
        own = x[state == word]
        np.testing.assert_allclose(model.share[s], own.sum(axis=0) / own.sum())
        assert model.weights[s] == pytest.approx((state == word).mean())
        mean = total[state == word][:, None] * model.share[s]
        above += ((own - mean) ** 2 - own).sum(axis=0)
        below += (mean**2).sum(axis=0)
    np.testing.assert_allclose(model.dispersion, np.clip(above / below, 0, 20), rtol=1e-6)
    assert [s for s in model.states] == [f"state {i}" for i in range(4)]


def test_a_cell_is_the_same_in_every_chunk(model: CellModel) -> None:
    whole = model.cells(0, 3500)
    for start, stop in ((0, 1), (999, 1001), (1000, 2000), (1234, 3456), (3500, 3500)):
        part = model.cells(start, stop)
        assert part.n_obs == stop - start
        assert (whole.X[start:stop] != part.X).nnz == 0
        assert (part.obs.to_numpy() == whole.obs[start:stop].to_numpy()).all()
        assert list(part.obs_names) == list(whole.obs_names[start:stop])
    assert (whole.X[:1000] != model.cells(0, 1000, seed=2).X).nnz > 0
    # Blocks do not repeat each other.
    for first, second in ((0, 1000), (0, 2000), (1000, 2000)):
        assert (whole.X[first : first + 1000] != whole.X[second : second + 1000]).nnz > 0


def test_the_cells_are_distributed_as_told(model: CellModel) -> None:
    cells = model.cells(0, 40_000)
    again = simulated_cells.fit(cells)
    assert again.states == model.states
    np.testing.assert_allclose(again.weights, model.weights, atol=0.01)
    assert np.abs(again.share - model.share).max() < 0.01
    well_seen = model.share.mean(axis=0) > 0.005
    ratio = again.dispersion[well_seen] / model.dispersion[well_seen]
    assert well_seen.sum() > 10 and 0.75 < np.median(ratio) < 1.25
    wanted = np.sort(np.concatenate(model.totals)).mean()
    assert cells.X.sum() / 40_000 == pytest.approx(wanted, rel=0.05)
    assert set(cells.obs["donor"]) == {f"{DUMMY}{i}" for i in range(1, 11)}


def test_without_overdispersion_counts_are_poisson(model: CellModel) -> None:
    import dataclasses

    flat = dataclasses.replace(model, dispersion=np.zeros(40))
    again = simulated_cells.fit(flat.cells(0, 20_000))
    assert again.dispersion.max() < 0.05 < model.dispersion.max()


def test_a_map_finds_the_states_again(reference: anndata.AnnData, model: CellModel) -> None:
    stand_in = StandIn.build(reference[3:])
    cells = model.cells(0, 2000)
    found = stand_in.map(cells)["label"].to_numpy() == cells.obs["state"].to_numpy()
    assert found.mean() > 0.8


def test_files_hold_the_same_whatever_the_chunk(model: CellModel, tmp_path: Path) -> None:
    a, b = tmp_path / "a.h5ad", tmp_path / "b.h5ad"
    simulated_cells.write(model, a, 2345, chunk=400)
    simulated_cells.write(model, b, 2345, chunk=10_000)
    one, two = anndata.read_h5ad(a), cell_chunks.open_cells(b).rows(0, 9999)
    assert one.n_obs == two.n_obs == 2345
    assert (one.X != two.X).nnz == 0 and (one.obs["state"] == two.obs["state"]).all()
    assert "simulated" in one.uns


def test_nothing_to_fit_is_refused(reference: anndata.AnnData) -> None:
    with pytest.raises(ValueError, match="no cell has a state"):
        simulated_cells.fit(reference[:3])

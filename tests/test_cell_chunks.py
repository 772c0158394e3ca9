"""Cells in chunks: what is read, that nothing depends on how it is split, and the memory."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata
import cell_stand_in
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse
from cell_stand_in import StandIn, small_reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ballbook import cell_chunks, simulated_cells
from ballbook.cell_chunks import CellTally, CellWriter, in_rows, mapped, open_cells, spans, tally
from ballbook.file_limits import Unreadable

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def cells() -> anndata.AnnData:
    return small_reference()


@pytest.fixture(scope="module")
def h5ad(cells: anndata.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    cells.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def stand_in(cells: anndata.AnnData) -> StandIn:
    return StandIn.build(cells[3:300])


def same(found: anndata.AnnData, wanted: anndata.AnnData, columns: bool = True) -> None:
    assert (found.X != wanted.X).nnz == 0
    assert found.X.dtype == np.float32 and isinstance(found.X, scipy.sparse.csr_matrix)
    assert list(found.obs_names) == list(wanted.obs_names)
    assert list(found.var_names) == list(wanted.var_names)
    if columns:
        assert list(found.obs) == list(wanted.obs)
        for c in found.obs:
            a, b = found.obs[c].astype(object), wanted.obs[c].astype(object)
            assert (a.isna() == b.isna()).all() and (a[a.notna()] == b[b.notna()]).all()


# ------------------------------------------------------------------------------------- reading


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 700), length=st.integers(0, 700))
def test_rows_are_those_of_anndata(
    start: int, length: int, h5ad: Path, cells: anndata.AnnData
) -> None:
    found = open_cells(h5ad).rows(start, start + length)
    assert found.n_obs == max(min(start + length, 600) - min(start, 600), 0)
    same(found, cells[start : start + length])


def test_chunks_make_the_whole(h5ad: Path, cells: anndata.AnnData) -> None:
    for size in (1, 7, 599, 600, 601):
        parts = list(open_cells(h5ad).chunks(size)) if size > 1 else []
        if parts:
            assert max(p.n_obs for p in parts) <= size
            same(anndata.concat(parts), cells, columns=False)
    assert spans(5, 2) == [(0, 2), (2, 4), (4, 5)] and spans(0) == []
    with pytest.raises(ValueError, match="at least 1"):
        spans(5, 0)


def test_genes_are_chosen_and_ordered(h5ad: Path, cells: anndata.AnnData) -> None:
    found = open_cells(h5ad).rows(10, 30, ["G7", "absent", "G2"])
    assert found.var_names.tolist() == ["G7", "G2"]
    same(found, cells[10:30, ["G7", "G2"]])


def test_other_tables_of_an_h5ad(cells: anndata.AnnData, tmp_path: Path) -> None:
    other = cells.copy()
    other.raw = other
    other.layers["counts"] = scipy.sparse.csr_matrix(cells.X.toarray().astype(np.int32))
    other.X = cells.X.toarray() / 2
    other.write_h5ad(tmp_path / "a.h5ad")
    same(open_cells(tmp_path / "a.h5ad", "layers/counts").rows(5, 50), cells[5:50])
    same(open_cells(tmp_path / "a.h5ad", "raw/X").rows(5, 50), cells[5:50])
    halves = open_cells(tmp_path / "a.h5ad").rows(5, 50)
    assert abs(halves.X * 2 - cells[5:50].X).max() == 0
    with pytest.raises(Unreadable, match="no table layers/none"):
        open_cells(tmp_path / "a.h5ad", "layers/none")


def test_a_column_of_all_cells(h5ad: Path, cells: anndata.AnnData) -> None:
    found = open_cells(h5ad)
    assert found.column("donor").tolist() == cells.obs["donor"].tolist()
    assert found.column("note").tolist() == cells.obs["note"].tolist()
    with pytest.raises(KeyError):
        found.column("absent")


def ten_x(path: Path, cells: anndata.AnnData, *, old: bool = False) -> None:
    turned = scipy.sparse.csc_matrix(cells.X.T)
    with h5py.File(path, "w") as f:
        g = f.create_group("GRCh38" if old else "matrix")
        for name in ("data", "indices", "indptr"):
            g[name] = getattr(turned, name)
        g["shape"] = turned.shape
        g["barcodes"] = np.array(list(cells.obs_names), dtype="S")
        if old:
            g["gene_names"] = np.array(list(cells.var_names), dtype="S")
            return
        g["features/name"] = np.array(list(cells.var_names), dtype="S")
        kinds = ["Antibody Capture" if i % 5 == 0 else "Gene Expression" for i in range(40)]
        g["features/feature_type"] = np.array(kinds, dtype="S")


def test_ten_x_files(cells: anndata.AnnData, tmp_path: Path) -> None:
    ten_x(tmp_path / "new.h5", cells)
    ten_x(tmp_path / "old.h5", cells, old=True)
    genes = [g for i, g in enumerate(cells.var_names) if i % 5]
    new = open_cells(tmp_path / "new.h5")
    assert new.n == 600 and new.genes == tuple(genes)
    same(new.rows(100, 300), cells[100:300, genes], columns=False)
    same(new.rows(100, 300, genes[4:2:-1]), cells[100:300, genes[4:2:-1]], columns=False)
    same(open_cells(tmp_path / "old.h5").rows(0, 9), cells[:9], columns=False)


@pytest.mark.parametrize("at_once", [400, 2_000_000])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_matrix_market_folder(
    cells: anndata.AnnData,
    tmp_path: Path,
    at_once: int,
    zipped: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cell_chunks, "VALUES_AT_ONCE", at_once)
    few = cells[:40]
    folder = mtx(tmp_path / "mtx", few, zipped=zipped)
    with in_rows(folder) as found:
        copy = found.path
        same(found.rows(0, 40), few, columns=False)
        same(found.rows(13, 14), few[13:14], columns=False)
    assert not copy.exists()
    assert few.X.nnz > 400


def mtx(folder: Path, cells: anndata.AnnData, *, zipped: bool = False, seed: int = 0) -> Path:
    """Write a folder as 10x does, its values in any order."""
    folder.mkdir()
    x = scipy.sparse.coo_matrix(cells.X.T)
    order = np.random.default_rng(seed).permutation(x.nnz)
    lines = ["%%MatrixMarket matrix coordinate real general", "% made up"]
    lines.append(f"{x.shape[0]} {x.shape[1]} {x.nnz}")
    lines += [f"{x.row[i] + 1} {x.col[i] + 1} {x.data[i]:g}" for i in order]
    texts = {
        "matrix.mtx": lines,
        "barcodes.tsv": list(cells.obs_names),
        "features.tsv": [f"ENSG{i}\t{g}\tGene Expression" for i, g in enumerate(cells.var_names)],
    }
    for name, text in texts.items():
        body = "\n".join(text).encode() + b"\n"
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(body))
        else:
            (folder / name).write_bytes(body)
    return folder


def test_a_table_that_lies_by_genes(cells: anndata.AnnData, tmp_path: Path) -> None:
    turned = cells.copy()
    turned.X = scipy.sparse.csc_matrix(cells.X)
    turned.write_h5ad(tmp_path / "csc.h5ad")
    with pytest.raises(Unreadable, match="gene by gene"):
        open_cells(tmp_path / "csc.h5ad")
    with in_rows(tmp_path / "csc.h5ad") as found:
        part = found.rows(50, 99)
        same(part, cells[50:99], columns=False)
        assert part.obs["donor"].tolist() == cells.obs["donor"].iloc[50:99].tolist()


def test_a_file_in_rows_is_not_copied(h5ad: Path) -> None:
    with in_rows(h5ad) as found:
        assert found.path == h5ad
    assert h5ad.exists()


def damaged(name: str, cells: anndata.AnnData, tmp_path: Path) -> Path:
    path = tmp_path / "bad.h5ad"
    if name == "absent":
        return path
    if name == "text":
        path.write_text("donor,cell\n")
        return path
    if name == "cut":
        cells.write_h5ad(path)
        path.write_bytes(path.read_bytes()[:5000])
        return path
    if name == "empty":
        h5py.File(path, "w").close()
        return path
    if name.startswith("mtx"):
        folder = mtx(tmp_path / "mtx", cells[:20])
        file = folder / "matrix.mtx"
        lines = file.read_text().splitlines()
        if name == "mtx short":
            lines = lines[:-3]
        elif name == "mtx gene":
            lines[-1] = "99 1 1"
        elif name == "mtx cell":
            lines[-1] = "1 21 1"
        elif name == "mtx size":
            (folder / "barcodes.tsv").write_text("a\nb\n")
        elif name == "mtx word":
            lines[-1] = "1 1 many"
        elif name == "mtx head":
            lines[0] = "%%MatrixMarket matrix array real general"
        elif name == "mtx alone":
            (folder / "features.tsv").unlink()
        file.write_text("\n".join(lines) + "\n")
        return folder
    cells.write_h5ad(path)
    with h5py.File(path, "r+") as f:
        x = f["X"]
        if name == "gene":
            x["indices"][5] = 4000
        elif name == "backwards":
            x["indptr"][3] = 10**6
        elif name == "names":
            del f["var"][f["var"].attrs["_index"]]
            f["var"][f["var"].attrs["_index"]] = np.array(["A"], dtype="S")
        elif name == "no table":
            del f["X"]
    return path


@pytest.mark.parametrize(
    "name",
    [
        "absent", "text", "cut", "empty", "gene", "backwards", "names", "no table", "mtx short",
        "mtx gene", "mtx cell", "mtx size", "mtx word", "mtx head", "mtx alone",
    ],
)  # fmt: skip
def test_damage_is_said(name: str, cells: anndata.AnnData, tmp_path: Path) -> None:
    path = damaged(name, cells, tmp_path)
    with pytest.raises(Unreadable) as told, in_rows(path) as found:
        list(found.chunks(100))
    assert str(told.value) and "/" not in str(told.value).split(":")[0]


# ------------------------------------------------------------------------------------- writing


def test_what_is_written_is_read_by_anndata(cells: anndata.AnnData, tmp_path: Path) -> None:
    obs = cells.obs[["donor", "depth", "kept", "note"]]
    digests = set()
    for size in (600, 77, 1):
        path = tmp_path / f"{size}.h5ad"
        with CellWriter(path, list(cells.var_names), uns={"about": "made up"}) as writer:
            for start, stop in spans(600 if size > 1 else 3, size):
                writer.add(scipy.sparse.csr_matrix(cells.X[start:stop]), obs.iloc[start:stop])
        found = anndata.read_h5ad(path)
        assert found.uns["about"] == "made up"
        same(found, cells[: found.n_obs, :][:, :].copy(), columns=False)
        assert (found.obs["note"].astype(str) == cells.obs["note"][: found.n_obs]).all()
        assert (found.obs["depth"] == cells.obs["depth"][: found.n_obs]).all()
        if size > 1:
            digests.add(digest(open_cells(path)))
        assert anndata.read_h5ad(path, backed="r").shape == (found.n_obs, 40)
    assert len(digests) == 1
    with CellWriter(tmp_path / "none.h5ad", ["A"]) as writer:
        pass
    assert anndata.read_h5ad(tmp_path / "none.h5ad").shape == (0, 1)
    with (
        CellWriter(tmp_path / "x.h5ad", list(cells.var_names)) as writer,
        pytest.raises(ValueError, match="fit those"),
    ):
        writer.add(scipy.sparse.csr_matrix(cells.X[:3]), obs.iloc[:2])


def digest(file: cell_chunks.CellFile) -> str:
    x = file.rows(0, file.n).X
    return hashlib.sha256(x.data.tobytes() + x.indices.tobytes() + x.indptr.tobytes()).hexdigest()


# ------------------------------------------------------------------------------------- mapping


def whole(parts: Any) -> pd.DataFrame:
    return pd.concat(list(parts))


def test_the_map_does_not_depend_on_the_chunk(h5ad: Path, stand_in: StandIn) -> None:
    file = open_cells(h5ad)
    once = stand_in.map(file.rows(0, file.n))
    assert once["off_map"].nunique() == 2 and once["label"].nunique() == 4
    for size in (13, 100, 599, 10_000):
        pd.testing.assert_frame_equal(whole(mapped(file, stand_in.map, chunk=size)), once)
    few = dataclasses.replace(file, n=5)
    one = whole(mapped(few, stand_in.map, chunk=1))
    pd.testing.assert_frame_equal(one, once[:5])


def test_a_cluster_gives_the_same_in_the_same_order(
    h5ad: Path,
    stand_in: StandIn,
    held: cell_chunks.Cells,
    cells: anndata.AnnData,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import cloudpickle
    from distributed import Client, LocalCluster

    # Workers do not see the folder of the tests.
    cloudpickle.register_pickle_by_value(cell_stand_in)
    file = open_cells(h5ad)
    alone = whole(mapped(file, stand_in.map, chunk=60, cluster=1))
    two = whole(mapped(file, stand_in.map, chunk=60, cluster=2))
    pd.testing.assert_frame_equal(two, alone)
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None,
        protocol="tcp", host="127.0.0.1",
    ) as other:  # fmt: skip
        monkeypatch.setenv("BALLBOOK_DASK", other.scheduler_address)
        there = whole(mapped(file, stand_in.map, chunk=50, genes=list(file.genes)))
        pd.testing.assert_frame_equal(there, alone)
        found = tally(file, stand_in.map, group="donor", chunk=50)
        sums = cell_chunks.counted(held, by_donor, chunk=50)
        pd.testing.assert_frame_equal(sums, by_donor(cells))
        # The cluster belongs to somebody else, and is still there.
        with Client(other.scheduler_address) as client:
            assert client.submit(sum, [1, 2]).result() == 3
    here = tally(file, stand_in.map, group="donor", chunk=600, cluster=1)
    pd.testing.assert_frame_equal(found.composition(), here.composition())


@pytest.mark.parametrize("told", ["many", "-1", "0", "1.5"])
def test_a_wrong_cluster_is_said(
    told: str, h5ad: Path, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALLBOOK_DASK", told)
    with pytest.raises(ValueError, match=r"number of workers|at least 1"):
        list(mapped(open_cells(h5ad), stand_in.map))


def test_a_map_that_loses_cells_is_refused(h5ad: Path, stand_in: StandIn) -> None:
    with pytest.raises(ValueError, match="9 rows for 10 cells"):
        list(mapped(open_cells(h5ad), lambda c: stand_in.map(c)[1:], chunk=10))


def test_the_tally_counts_and_keeps_the_same_cells(
    h5ad: Path, stand_in: StandIn, cells: anndata.AnnData
) -> None:
    file = open_cells(h5ad)
    once = stand_in.map(file.rows(0, file.n))
    wanted = pd.crosstab(
        cells.obs["donor"].to_numpy(), [once["label"].to_numpy(), once["off_map"].to_numpy()]
    )
    tallies = [
        tally(file, stand_in.map, group="donor", chunk=c, drawn=50) for c in (37, 49, 51, 10_000)
    ]
    for found in tallies:
        assert found.n == 600
        table = found.composition()
        for row in table.itertuples():
            assert wanted.loc[row.group, (row.label, row.off_map)] == row.cells
        assert table["cells"].sum() == 600
        assert found.sample is not None and len(found.sample) == 50
        pd.testing.assert_frame_equal(found.sample, tallies[0].sample)
        drawn = once.iloc[found.sample["place"].to_numpy()]
        assert (drawn["label"] == found.sample["label"]).all()
    # Those kept are spread over the file and not its first.
    assert 200 < np.median(tallies[0].sample["place"]) < 400
    with pytest.raises(KeyError):
        tally(file, stand_in.map, group="absent")


def test_a_missing_label_is_counted() -> None:
    found = CellTally()
    frame = pd.DataFrame({"label": ["A", None, pd.NA], "off_map": [False, True, True]})
    found.add(frame)
    assert found.composition().to_numpy().tolist() == [["all", "", True, 2], ["all", "A", False, 1]]


# ------------------------------------------------------------------------------ scanpy and Dask


def by_donor(cells: anndata.AnnData | cell_chunks.Part) -> pd.DataFrame:
    """Count cells and molecules by donor."""
    found = pd.DataFrame({"cells": 1, "molecules": np.asarray(cells.X.sum(axis=1)).ravel()})
    return found.groupby(cells.obs["donor"].astype(str).to_numpy()).sum().astype(int)


@pytest.fixture
def held(h5ad: Path, cells: anndata.AnnData) -> cell_chunks.Cells:
    """The cells of the file, two of whose genes are added up to one."""
    names = pd.Index([f"G{i}" for i in range(1, 40)])
    place = np.maximum(np.arange(40) - 1, 0)
    join = scipy.sparse.csr_matrix((np.ones(40, np.float32), (np.arange(40), place)))
    obs = pd.DataFrame({"donor": pd.Categorical(cells.obs["donor"].astype(str))})
    return cell_chunks.Cells(open_cells(h5ad), obs, names, join)


def test_rows_of_held_cells_have_their_donors_and_genes(
    held: cell_chunks.Cells, cells: anndata.AnnData
) -> None:
    assert (held.n_obs, held.n_vars) == (600, 39)
    found = held.rows(65, 80)
    x = cells.X[65:80].toarray()
    np.testing.assert_array_equal(found.X.toarray(), np.column_stack([x[:, 0] + x[:, 1], x[:, 2:]]))
    assert list(found.obs_names) == list(cells.obs_names[65:80])
    assert list(found.obs["donor"]) == list(cells.obs["donor"][65:80].astype(str))
    assert held.rows(600).n_obs == 0 and held.rows().n_obs == 600


def test_sums_do_not_depend_on_chunks(held: cell_chunks.Cells, cells: anndata.AnnData) -> None:
    wanted = by_donor(cells)
    for chunk in (None, 1, 7, 599, 10_000):
        found = cell_chunks.counted(held, by_donor, chunk=chunk, cluster=1)
        pd.testing.assert_frame_equal(found, wanted)
    # A donor of one chunk alone, and a file without a cell.
    alone = held.obs.assign(donor=["last" if i == 599 else "first" for i in range(600)])
    cut = dataclasses.replace(held, obs=alone)
    assert cell_chunks.counted(cut, by_donor, chunk=100)["cells"].to_dict() == {
        "first": 599, "last": 1
    }  # fmt: skip
    none = dataclasses.replace(held, file=dataclasses.replace(held.file, n=0), obs=held.obs[:0])
    assert cell_chunks.counted(none, by_donor).empty


def test_chunks_are_smaller_where_cells_hold_much(
    h5ad: Path, cells: anndata.AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = open_cells(h5ad)
    assert file.chunk == cell_chunks.CHUNK
    monkeypatch.setattr(cell_chunks, "VALUES_AT_ONCE", 1000)
    assert file.chunk == int(1000 / (cells.X.nnz / 600))
    monkeypatch.setattr(cell_chunks, "VALUES_AT_ONCE", 1)
    assert file.chunk == 1


def test_scanpy_works_on_the_lazy_file(h5ad: Path, cells: anndata.AnnData) -> None:
    import scanpy

    lazy = cell_chunks.lazy(open_cells(h5ad), chunk=70)
    ours = cells.copy()
    for data in (lazy, ours):
        scanpy.pp.normalize_total(data, target_sum=1e3)
        scanpy.pp.log1p(data)
        scanpy.pp.pca(data, n_comps=5, svd_solver="covariance_eigh")
    assert lazy.X.npartitions == 9
    computed = lazy.X.compute()
    assert abs(computed - ours.X).max() < 1e-6
    a, b = np.asarray(lazy.obsm["X_pca"]), np.asarray(ours.obsm["X_pca"])
    assert np.abs(np.abs(a) - np.abs(b)).max() < 1e-3


# ------------------------------------------------------------------ memory, threads and workers

MEMORY = """
import dataclasses, json, sys
import anndata
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from cell_stand_in import StandIn
from ballbook import cell_chunks
from ballbook.cell_speed import peak_mb
file = cell_chunks.open_cells(sys.argv[2])
reference = StandIn.build(file.rows(0, 2000))
file = dataclasses.replace(file, n=int(sys.argv[3]))
found = cell_chunks.tally(file, reference.map, group="donor", chunk=5000, cluster=1)
print(json.dumps({"peak": peak_mb(), "n": found.n}))
"""

DIGEST = """
import hashlib, sys
import pandas as pd
sys.path.insert(0, sys.argv[1])
from cell_stand_in import small_reference
from ballbook import cell_chunks, reference_map
if __name__ == "__main__":
    file = cell_chunks.open_cells(sys.argv[2])
    reference = reference_map.build(small_reference(n=900), components=10, neighbours=7)
    parts = cell_chunks.mapped(
        file, reference.map, chunk=int(sys.argv[3]), cluster=int(sys.argv[4])
    )
    print(hashlib.sha256(pd.concat(parts).to_csv().encode()).hexdigest())
"""


def python(script: Path, *arguments: object, threads: int = 1) -> str:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    env = os.environ | {n: str(threads) for n in names} | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        capture_output=True, text=True, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_results_do_not_move_with_threads_chunks_and_workers(
    cells: anndata.AnnData, tmp_path: Path
) -> None:
    path, script = tmp_path / "sim.h5ad", tmp_path / "digest.py"
    simulated_cells.write(simulated_cells.fit(cells), path, 6000)
    script.write_text(DIGEST)
    digests = {
        python(script, TESTS, path, chunk, workers, threads=threads)
        for threads, chunk, workers in ((1, 6000, 1), (2, 997, 1), (2, 1500, 2))
    }
    assert len(digests) == 1


def test_memory_does_not_grow_with_the_cells(cells: anndata.AnnData, tmp_path: Path) -> None:
    path, script = tmp_path / "sim.h5ad", tmp_path / "memory.py"
    simulated_cells.write(simulated_cells.fit(cells), path, 200_000)
    script.write_text(MEMORY)
    few, many = (json.loads(python(script, TESTS, path, n)) for n in (50_000, 200_000))
    assert (few["n"], many["n"]) == (50_000, 200_000)
    assert many["peak"] < 400
    assert many["peak"] < 1.15 * few["peak"]

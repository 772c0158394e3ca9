"""Single cells of a reader: every form is read alike, and everything wrong is said at once."""

from __future__ import annotations

import gc
import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse

from ballbook import cell_chunks, cells, needs
from ballbook.cohort import Cohort, InvalidCohort, read_cohort

GENES = ["CD34", "HLA-DRA", "H2AZ1", "MS4A1", "MT-CO1"]
BARCODES = [f"AAC{i}-1" for i in range(6)]
COUNTS = np.random.default_rng(3).poisson(4, (6, 5)).astype(np.float32)
DONORS = ["x", "x", "x", "y", "y", "y"]


def h5ad(folder: Path, name: str = "cells.h5ad", **changes: object) -> Path:
    data = anndata.AnnData(
        scipy.sparse.csr_matrix(changes.get("x", COUNTS)),
        obs=pd.DataFrame({"donor": changes.get("donor", DONORS)}, index=BARCODES),
        var=pd.DataFrame(index=changes.get("genes", GENES)),
    )
    folder.mkdir(exist_ok=True)
    data.write_h5ad(folder / name)
    return folder / name


def table(path: Path, rows: list[list[object]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(",".join(map(str, r)) for r in rows) + "\n", encoding="utf8")
    return path


def beside(folder: Path) -> None:
    named = [["barcode", "patient", "cell_type"]]
    named += [[b, d, "Pro-B"] for b, d in zip(BARCODES, DONORS, strict=True)]
    table(folder / "cells.csv", named)


def matrix(folder: Path) -> Path:
    inner = folder / "cells"
    inner.mkdir(parents=True)
    with gzip.open(inner / "matrix.mtx.gz", "wb") as f:
        scipy.io.mmwrite(f, scipy.sparse.coo_matrix(COUNTS.T.astype(int)))
    ids = [[f"ENSG{i:011d}", g, "Gene Expression"] for i, g in enumerate(GENES)]
    with gzip.open(inner / "features.tsv.gz", "wt") as f:
        f.write("\n".join("\t".join(r) for r in ids))
    (inner / "barcodes.tsv").write_text("\n".join(BARCODES))
    beside(folder)
    return folder


def tenx(folder: Path) -> Path:
    folder.mkdir()
    x = scipy.sparse.csc_matrix(COUNTS.T.astype(np.int32))
    with h5py.File(folder / "cells.h5", "w") as f:
        g = f.create_group("matrix")
        g["data"], g["indices"], g["indptr"] = x.data, x.indices, x.indptr
        g["shape"] = np.array(x.shape, dtype=np.int32)
        g["barcodes"] = np.array(BARCODES, dtype="S")
        v = g.create_group("features")
        v["id"] = np.array([f"ENSG{i:011d}" for i in range(5)], dtype="S")
        v["name"] = np.array(GENES, dtype="S")
        v["feature_type"] = np.array(["Gene Expression"] * 5, dtype="S")
        v["genome"] = np.array(["GRCh38"] * 5, dtype="S")
    beside(folder)
    return folder


def plain(folder: Path) -> Path:
    rows: list[list[object]] = [["donor", "label", *GENES]]
    rows += [[d, "Pro-B", *map(int, c)] for d, c in zip(DONORS, COUNTS, strict=True)]
    return table(folder / "cells.csv", rows)


def labelled(folder: Path) -> Path:
    path = h5ad(folder)
    data = anndata.read_h5ad(path)
    data.obs["label"] = "Pro-B"
    data.write_h5ad(path)
    return folder


@pytest.mark.parametrize("make", [labelled, matrix, tenx, plain])
def test_every_form_is_read_alike(make: Callable[[Path], Path], tmp_path: Path) -> None:
    found = read_cohort(make(tmp_path / "mine"))
    assert found.cells is not None and found.n == 2 and found.tier == "yours"
    np.testing.assert_array_equal(found.cells.rows().X.toarray(), COUNTS)
    assert list(found.cells.var_names) == ["CD34", "HLA.DRA", "H2AFZ", "MS4A1", "MT.CO1"]
    assert found.cells.obs["donor"].tolist() == DONORS
    assert set(found.cells.obs["label"]) == {"Pro-B"}
    assert found.patients["patient_id"].tolist() == ["x", "y"]
    assert needs.has(found, "cells") and needs.has(found, "cells.label")
    assert found.files and all(len(h) == 64 for h in found.files.values())


def test_an_h5ad_with_donors_is_read_by_itself(tmp_path: Path) -> None:
    found = read_cohort(h5ad(tmp_path, "study.h5ad"))
    assert found.n == 2 and found.cells is not None and "label" not in found.cells.obs
    assert not needs.has(found, "cells.label")


def test_counts_are_found_where_they_are(tmp_path: Path) -> None:
    path = h5ad(tmp_path)
    data = anndata.read_h5ad(path)
    data.layers["counts"] = data.X.copy()
    data.X = data.X.log1p()
    data.write_h5ad(path)
    found = read_cohort(path).cells
    assert found is not None
    np.testing.assert_array_equal(found.rows().X.toarray(), COUNTS)
    data.raw = anndata.AnnData(data.layers["counts"], obs=data.obs, var=data.var)
    del data.layers["counts"]
    data.write_h5ad(path)
    found = read_cohort(path).cells
    assert found is not None
    np.testing.assert_array_equal(found.rows().X.toarray(), COUNTS)


def problems(path: Path) -> list[str]:
    with pytest.raises(InvalidCohort) as e:
        read_cohort(path)
    return [f"{p.where}|{p.value}|{p.expected}" for p in e.value.problems]


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    rows: list[list[object]] = [["donor", "CD34", "1-Mar", "MS4A1"]]
    rows += [["x", 3, 1, 2.5], ["", "many", 1, 0], ["y", -2, 1, 4]]
    said = problems(table(tmp_path / "m" / "cells.csv", rows).parent)
    assert "cells.csv, row 2, column MS4A1|2.5|a raw count, a whole number of 0 or more" in said
    assert "cells.csv, row 3, column CD34|many|a raw count, a whole number of 0 or more" in said
    assert "cells.csv, row 4, column CD34|-2|a raw count, a whole number of 0 or more" in said
    assert any(s.startswith("cells.csv, column genes|1.Mar|a gene, not a date") for s in said)
    assert any("column donor||a donor" in s for s in said)
    assert len(said) == 5


def test_normalised_values_are_no_counts(tmp_path: Path) -> None:
    said = problems(h5ad(tmp_path, x=np.log1p(COUNTS)))
    assert len(said) == cells.SHOWN + 1 and any("30 values are none" in s for s in said)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"donor": ["x", "", "x", "y", "y", "y"]}, "cells.h5ad, row 2, column donor||a donor"),
        (
            {"genes": [f"ENSG{i:011d}" for i in range(5)]},
            "cells.h5ad, column genes|ENSG00000000000|gene symbols beside Ensembl ids",
        ),
    ],
)
def test_each_fault_has_its_words(change: dict[str, object], expected: str, tmp_path: Path) -> None:
    assert expected in problems(h5ad(tmp_path, **change))


def test_faults_of_a_matrix_folder(tmp_path: Path) -> None:
    folder = matrix(tmp_path / "mine")
    (folder / "cells" / "barcodes.tsv").write_text("\n".join(BARCODES[:-1]))
    assert any("5 genes and 6 cells" in s for s in problems(folder))
    (folder / "cells" / "barcodes.tsv").write_text("\n".join(BARCODES))
    table(folder / "cells.csv", [["cell", "donor"], *[[b, "x"] for b in BARCODES[1:]]])
    said = problems(folder)
    assert any(s.startswith(f"cells.csv, column cell|{BARCODES[0]}|") for s in said)
    (folder / "cells.csv").unlink()
    assert any("a column donor" in s for s in problems(folder))


def test_two_matrices_and_broken_ones_are_refused(tmp_path: Path) -> None:
    folder = matrix(tmp_path / "mine")
    h5ad(folder)
    assert any("one file of cells, not also" in s for s in problems(folder))
    broken = tmp_path / "b" / "cells.h5ad"
    broken.parent.mkdir()
    broken.write_bytes(b"no h5ad")
    assert any("readable cells" in s for s in problems(broken.parent))


def test_donors_are_patients_of_the_table(tmp_path: Path) -> None:
    path = h5ad(tmp_path / "mine")
    table(path.parent / "patients.csv", [["patient_id", "age_years"], ["x", 4], ["z", 5]])
    said = problems(path.parent)
    assert said == ["cells.h5ad, column donor|y|a patient_id of patients"]
    table(path.parent / "patients.csv", [["patient_id", "age_years"], ["x", 4], ["y", 5]])
    found = read_cohort(path.parent)
    assert found.n == 2 and found.cells is not None and "age_years" in found.patients


@pytest.mark.filterwarnings("ignore:Variable names")
def test_genes_of_one_symbol_are_added_up(tmp_path: Path) -> None:
    path = h5ad(tmp_path, genes=["CD34", "A", "B", "C", "D"])
    data = anndata.read_h5ad(path)
    data.var_names = ["CD34", "A", "CD34", "C", "D"]
    data.write_h5ad(path)
    found: Cohort = read_cohort(path)
    assert found.cells is not None and list(found.cells.var_names) == ["CD34", "A", "C", "D"]
    np.testing.assert_array_equal(found.cells.rows().X.toarray()[:, 0], COUNTS[:, [0, 2]].sum(1))
    assert any("1 genes share a symbol" in n for n in found.notes)


def test_quality_counts_each_cell_once_for_its_first_reason() -> None:
    x = np.array([[50, 50, 50, 0], [1, 1, 0, 0], [200, 0, 0, 0], [60, 60, 60, 300]])
    data = anndata.AnnData(
        scipy.sparse.csr_matrix(x.astype(np.float32)),
        var=pd.DataFrame(index=["A", "B", "C", "MT.CO1"]),
    )
    q = cells.quality(data, least_counts=100, least_genes=2, most_mitochondrial=0.2)
    assert q.keep.tolist() == [True, False, False, False]
    assert q.counts["cells"].tolist() == [1, 1, 1]
    q = cells.quality(data, genes=["B", "C"], least_counts=100, least_genes=1)
    assert q.keep.tolist() == [True, False, False, False]
    assert json.loads(q.counts.to_json())["cells"]["0"] == 2


def by_genes(folder: Path) -> Path:
    path = labelled(folder) / "cells.h5ad"
    data = anndata.read_h5ad(path)
    data.X = scipy.sparse.csc_matrix(data.X)
    data.write_h5ad(path)
    return folder


@pytest.mark.parametrize("make", [matrix, by_genes, plain])
def test_a_copy_by_cells_goes_with_the_cells(
    make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(work))
    # A row at a time, and a few values.
    monkeypatch.setattr(cells, "WORDS_AT_ONCE", 7)
    monkeypatch.setattr(cell_chunks, "VALUES_AT_ONCE", 8)
    found: Cohort | None = read_cohort(make(tmp_path / "mine"))
    assert found is not None and found.cells is not None
    np.testing.assert_array_equal(found.cells.rows().X.toarray(), COUNTS)
    assert found.cells.obs["donor"].tolist() == DONORS
    assert len(list(work.iterdir())) == 1
    del found
    gc.collect()
    assert not list(work.iterdir())
    table(tmp_path / "mine" / "patients.csv", [["patient_id"], ["nobody"]])
    problems(tmp_path / "mine")
    gc.collect()
    assert not list(work.iterdir())


def test_a_long_table_of_donors_is_read_as_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tenx(tmp_path / "mine")
    rows = [["barcode", "patient", "cell_type"], ["other-1", "z", "T"]]
    rows += [[b, d, "Pro-B"] for b, d in zip(BARCODES[::-1], DONORS[::-1], strict=True)]
    table(folder / "cells.csv", rows)
    short = read_cohort(folder).cells
    monkeypatch.setattr(cells, "SMALL", 10)
    monkeypatch.setattr(cells, "ROWS_AT_ONCE", 2)
    for zipped in (False, True):
        if zipped:
            text = (folder / "cells.csv").read_bytes()
            (folder / "cells.csv.gz").write_bytes(gzip.compress(text))
            (folder / "cells.csv").unlink()
        found = read_cohort(folder)
        assert found.cells is not None and short is not None
        assert found.cells.obs.astype(str).equals(short.obs.astype(str))
        # A cell that the matrix lacks brings no donor.
        assert found.patients["patient_id"].tolist() == ["x", "y"]
    (folder / "cells.csv.gz").unlink()
    table(folder / "cells.csv", [*rows[:-1], ["new", "x", "y", "more"]])
    said = problems(folder)
    assert any("well-formed CSV" in s for s in said), said
    table(folder / "cells.csv", rows[:-3])
    said = problems(folder)
    assert sum("a row for each cell of the matrix" in s for s in said) == 3
    assert sum(s.endswith("|a donor") for s in said) == 3


def test_rows_cut_short_and_a_table_without_donors(tmp_path: Path) -> None:
    folder = plain(tmp_path / "mine").parent
    rows = (folder / "cells.csv").read_text(encoding="utf8").splitlines()
    width = len(rows[0].split(","))
    turned = [",".join([*r.split(",")[1:], r.split(",")[0]]) for r in rows]
    turned[3] = ",".join(turned[3].split(",")[: width - 1])
    (folder / "cells.csv").write_text("\n".join(turned), encoding="utf8")
    assert "cells.csv, row 3, column donor||a donor" in problems(folder)
    (folder / "cells.csv").write_text("A,B\n1,2\n", encoding="utf8")
    assert problems(folder) == ["cells.csv, column obs|None|a column donor"]


def test_an_h5ad_with_counts_in_a_layer_alone(tmp_path: Path) -> None:
    path = h5ad(tmp_path)
    data = anndata.read_h5ad(path)
    bare = anndata.AnnData(obs=data.obs, var=data.var, layers={"counts": data.X})
    bare.write_h5ad(path)
    found = read_cohort(path).cells
    assert found is not None
    np.testing.assert_array_equal(found.rows().X.toarray(), COUNTS)


def test_a_barcode_of_two_cells_is_told(tmp_path: Path) -> None:
    folder = matrix(tmp_path / "mine")
    twice = [*BARCODES[:-1], BARCODES[1]]
    (folder / "cells" / "barcodes.tsv").write_text("\n".join(twice))
    assert f"cells, column cell|{BARCODES[1]}|each cell once" in problems(folder)


def test_a_file_too_large_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = h5ad(tmp_path)
    monkeypatch.setattr(cells, "MAX_BYTES", 10)
    assert any("GB" in s for s in problems(path))

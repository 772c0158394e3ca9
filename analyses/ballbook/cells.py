"""Single cells of a reader's cohort: h5ad, 10x, or a table, with everything wrong said at once.

A folder may hold ``cells.h5ad``, ``cells.h5`` (10x), a folder ``cells`` with ``matrix.mtx``,
``barcodes.tsv`` and ``features.tsv`` (plain or gzip), or a table ``cells.csv`` whose further
columns are genes. Raw counts are needed: where ``X`` of an h5ad is something else, the layer
``counts`` or ``raw`` is taken. Each cell has a ``donor`` and may have a ``label``, as columns of
``obs`` or of a table ``cells.csv`` beside a 10x matrix, which names each ``cell``. Genes are
symbols; Ensembl ids are brought to symbols by the file's own column of names.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy  # its parts load on first use

from ballbook import cell_chunks
from ballbook.dictionaries import dictionary, plain
from ballbook.file_limits import Unreadable

if TYPE_CHECKING:
    import anndata

    from ballbook.cohort import _Reader

ENDINGS = (".h5ad", ".h5", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
MATRIX = ("matrix.mtx", "matrix.mtx.gz")
# More cells than this are left on disk, and read in chunks.
MOST_IN_MEMORY = 50_000
MAX_VALUES = 300_000_000
MAX_BYTES = 50_000_000_000
# Problems of one kind that are listed before their number is told.
SHOWN = 5
NAMES = ("gene_symbols", "gene_symbol", "feature_name", "symbol", "gene_name", "gene_names")
# Names that changed since panels in use were made.
FORMER: dict[str, str] = {
    "ATP5IF1": "ATPIF1", "MACROH2A1": "H2AFY", "H2AZ1": "H2AFZ", "H3.3A": "H3F3A",
    "H3.3B": "H3F3B", "H1.0": "H1F0", "GUCY1B1": "GUCY1B3", "SNHG32": "C6orf48",
}  # fmt: skip


@dataclass(frozen=True)
class Quality:
    """Which cells may be used, and why the others not.

    Attributes
    ----------
    keep : array of bool, cells
    counts : DataFrame
        ``reason`` and ``cells``; a cell that fails twice counts for the first reason.
    """

    keep: Any
    counts: pd.DataFrame


def quality(
    cells: anndata.AnnData,
    *,
    genes: Sequence[str] | None = None,
    least_counts: int = 100,
    least_genes: int = 20,
    most_mitochondrial: float = 0.2,
) -> Quality:
    """Return the cells that are good enough to be mapped.

    Parameters
    ----------
    cells : AnnData
        Raw counts.
    genes : sequence of str, optional
        Those that counts and genes are counted of, such as a reference's.
    least_counts, least_genes : int
        Fewest counts, and genes with a count, of a cell.
    most_mitochondrial : float
        Largest share of counts from mitochondrial genes, where the file has such genes.
    """
    wanted = None if genes is None else cells.var_names.isin(list(genes))
    mitochondrial = cells.var_names.str.upper().str.match(r"MT[-.]")
    counts, seen, share = (np.zeros(cells.n_obs) for _ in range(3))
    for start, stop in cell_chunks.parts(cells):
        x = scipy.sparse.csr_matrix(cell_chunks.loaded(cells, start, stop).X)
        inside = x if wanted is None else x[:, wanted]
        counts[start:stop] = np.asarray(inside.sum(axis=1)).ravel()
        seen[start:stop] = np.asarray((inside > 0).sum(axis=1)).ravel()
        if mitochondrial.any():
            total = np.maximum(np.asarray(x.sum(axis=1)).ravel(), 1)
            share[start:stop] = np.asarray(x[:, mitochondrial].sum(axis=1)).ravel() / total
    reasons = [
        (f"fewer than {least_counts} counts", counts < least_counts),
        (f"fewer than {least_genes} genes", seen < least_genes),
    ]
    if mitochondrial.any():
        words = f"more than {100 * most_mitochondrial:g}% mitochondrial"
        reasons.append((words, share > most_mitochondrial))
    keep = np.ones(cells.n_obs, dtype=bool)
    rows = []
    for words, bad in reasons:
        rows.append({"reason": words, "cells": int((keep & bad).sum())})
        keep &= ~bad
    return Quality(keep, pd.DataFrame(rows))


def is_matrix_folder(path: Path) -> bool:
    """Tell whether a folder holds a 10x matrix."""
    return path.is_dir() and any((path / name).is_file() for name in MATRIX)


def part_of(path: Path) -> bool:
    """Tell whether a file or folder in a cohort's folder holds cells."""
    if path.is_dir():
        return path.name.lower() == "cells" and is_matrix_folder(path)
    name = path.name.lower()
    return name in {f"cells{e}" for e in ENDINGS}


def is_cells(path: Path) -> bool:
    """Tell whether a file holds cells: by its name, or as an h5ad with a donor of each."""
    if path.suffix.lower() == ".h5":
        return True
    if path.suffix.lower() != ".h5ad":
        return path.name.lower().startswith("cells.") and part_of(path)
    import h5py

    try:
        with h5py.File(path, "r") as f:
            names = {plain(str(n)) for n in f["obs"]}
    except (OSError, KeyError, TypeError):
        return False
    return path.stem.lower() == "cells" or bool(names & {"donor", "donor_id"})


def read(paths: Sequence[Path], reader: _Reader) -> anndata.AnnData | None:
    """Return the cells of a reader's files, after telling `reader` what is wrong with them.

    Returns
    -------
    AnnData or None
        Raw counts, sparse, in ``X`` (of many cells a Dask array, see `ballbook.cell_chunks`);
        ``obs`` with ``donor`` and, where given, ``label``; gene symbols with a dot for a hyphen.
        None where anything is wrong.
    """
    before = len(reader.problems)
    matrices = [p for p in paths if p.is_dir() or p.suffix.lower() in {".h5ad", ".h5"}]
    tables = [p for p in paths if p not in matrices]
    for extra in matrices[1:]:
        mend = "keep one of the two in the folder"
        reader.wrong(extra.name, f"one file of cells, not also {matrices[0].name}", mend=mend)
    for path in (*matrices, *tables):
        if not _bounded(path, reader):
            return None
    main = matrices[0] if matrices else tables[0]
    try:
        found = _load(main)
    except Exception as e:  # h5py, anndata and scipy fail on broken files in many ways
        mend = "write it again: an h5ad, a 10x folder or h5, or a table cells.csv"
        reader.wrong(main.name, f"readable cells ({type(e).__name__}: {e})", mend=mend)
        return None
    if matrices and tables:
        _beside(found, tables[0], reader)
    _genes(found, main.name, reader)
    _counts(found, main.name, reader)
    _donors(found, main.name, reader)
    if len(reader.problems) > before:
        return None
    return _merged(found, main.name, reader)


def donors(cells: anndata.AnnData) -> list[str]:
    """Return the donors in the order of their first cell."""
    return list(dict.fromkeys(cells.obs["donor"].astype(str)))


def _bounded(path: Path, reader: _Reader) -> bool:
    """Return whether files fit in memory, noting where they do not; keep their sha256."""
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if file.stat().st_size > MAX_BYTES:
            mend = "give fewer cells"
            expected = f"at most {MAX_BYTES / 1e9:g} GB"
            reader.wrong(file.name, expected, mend=mend)
            return False
        with file.open("rb") as f:
            reader.files[file.name] = hashlib.file_digest(f, "sha256").hexdigest()
    values = 0 if on_disk(path) is not None else _values(path)
    if values > MAX_VALUES:
        mend = "write X by rows (CSR): then it is read in chunks; or give fewer cells"
        expected = f"at most {MAX_VALUES:,} values"
        reader.wrong(path.name, expected, None, "X", f"{values:,}", mend)
        return False
    return True


def _values(path: Path) -> int:
    """Return how many values an h5ad holds; 0 for another file."""
    if path.suffix.lower() != ".h5ad":
        return 0
    import h5py

    try:
        with h5py.File(path, "r") as f:
            return int(f["X"]["data"].size if "data" in f["X"] else f["X"].size)
    except Exception:  # said where it is read
        return 0


def on_disk(path: Path) -> cell_chunks.CellFile | None:
    """Return a file of so many cells that they are left on disk, or None."""
    if path.is_dir() or path.suffix.lower() not in {".h5ad", ".h5"}:
        return None
    try:
        found = cell_chunks.open_cells(path)
    except Unreadable:  # said where it is read
        return None
    return found if found.n > MOST_IN_MEMORY else None


def _lazy(file: cell_chunks.CellFile) -> anndata.AnnData:
    """Return cells whose raw counts stay on disk, wherever the file holds them."""
    found = cell_chunks.lazy(file)
    if file.kind == cell_chunks.H5AD:
        from anndata.io import read_elem

        others = []
        for name in ("layers/counts", "raw/X"):
            with contextlib.suppress(Unreadable):
                others.append(cell_chunks.open_cells(file.path, name))
        if others and not _whole(file.rows(0, cell_chunks.CHUNK).X):
            right = [o for o in others if _whole(o.rows(0, cell_chunks.CHUNK).X)]
            file = right[0] if right else file
            found = cell_chunks.lazy(file)
        import h5py

        with h5py.File(file.path, "r") as f:
            found.var = read_elem(f["raw/var" if file.matrix == "raw/X" else "var"])
        words = dictionary("cells")
        for name in file.columns:
            if words.find(name) is not None:
                found.obs[name] = file.column(name).to_numpy()
    return found


def _load(path: Path) -> anndata.AnnData:
    import anndata

    if (large := on_disk(path)) is not None:
        return _lazy(large)
    if path.is_dir():
        return _matrix_folder(path)
    suffix = path.suffix.lower()
    if suffix == ".h5ad":
        return _raw(anndata.read_h5ad(path))
    if suffix == ".h5":
        import scanpy

        found = scanpy.read_10x_h5(path)
        if "feature_types" in found.var:
            found = found[:, found.var["feature_types"] == "Gene Expression"].copy()
        return found
    table = pd.read_csv(
        path, sep="\t" if ".tsv" in path.suffixes else ",", dtype=str, keep_default_na=False
    )
    words = dictionary("cells")
    obs, genes = {}, []
    for name in table.columns:
        column = words.find(str(name))
        if column is not None or plain(str(name)) in {"cell", "barcode"}:
            obs[column.name if column else "cell"] = table[name].to_numpy()
        else:
            genes.append(name)
    frame = pd.DataFrame(obs, index=[str(i + 1) for i in range(len(table))])
    if "cell" in frame:
        frame = frame.set_index("cell")
    values = table[genes].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float32)
    found = anndata.AnnData(scipy.sparse.csr_matrix(values), obs=frame)
    found.var_names = list(map(str, genes))
    found.uns["said"] = table[genes]
    return found


def _raw(cells: anndata.AnnData) -> anndata.AnnData:
    """Return cells with raw counts in X where the file holds them anywhere."""
    if _whole(cells.X):
        return cells
    if "counts" in cells.layers and _whole(cells.layers["counts"]):
        cells.X = cells.layers["counts"]
    elif cells.raw is not None and _whole(cells.raw.X):
        full = cells.raw.to_adata()
        full.obs = cells.obs
        return full
    return cells


def _whole(x: Any) -> bool:
    values = x.data if scipy.sparse.issparse(x) else np.asarray(x).ravel()
    return bool(np.isfinite(values).all() and (values >= 0).all() and (values % 1 == 0).all())


def _matrix_folder(path: Path) -> anndata.AnnData:
    import anndata
    import scipy.io

    def part(*names: str) -> Path:
        for name in names:
            for ending in ("", ".gz"):
                if (path / f"{name}{ending}").is_file():
                    return path / f"{name}{ending}"
        raise FileNotFoundError(f"no {names[0]} in {path.name}")

    x = scipy.sparse.csc_matrix(scipy.io.mmread(part("matrix.mtx")))
    features = pd.read_csv(
        part("features.tsv", "genes.tsv"), sep="\t", header=None, dtype=str, keep_default_na=False
    )
    barcodes = pd.read_csv(part("barcodes.tsv"), sep="\t", header=None, dtype=str)[0]
    if x.shape != (len(features), len(barcodes)):
        told = f"{len(features)} features x {len(barcodes)} barcodes"
        raise ValueError(f"the matrix is {x.shape[0]} x {x.shape[1]}, the names are {told}")
    found = anndata.AnnData(scipy.sparse.csr_matrix(x.T))
    found.obs_names = barcodes.tolist()
    found.var_names = features[0].tolist()
    if features.shape[1] > 1:
        found.var["gene_symbols"] = features[1].tolist()
    if features.shape[1] > 2:
        found = found[:, (features[2] == "Gene Expression").to_numpy()].copy()
    return found


def _beside(cells: anndata.AnnData, path: Path, reader: _Reader) -> None:
    """Take donor and label of each cell from a table."""
    table = reader.table(path)
    if table is None:
        return
    words = dictionary("cells")
    names = {}
    for i, name in enumerate(table.header):
        column = words.find(name)
        key = column.name if column else plain(name)
        names["cell" if key == "barcode" else key] = i
    if "cell" not in names:
        mend = "add the barcode of each cell as a column cell"
        reader.wrong(path.name, "a column cell", 1, mend=mend)
        return
    rows = {row[names["cell"]]: (row, n) for row, n in zip(table.rows, table.numbers, strict=True)}
    missing = [c for c in cells.obs_names if c not in rows]
    for cell in missing[:SHOWN]:
        mend = "add a row for it, or leave it out of the matrix"
        reader.wrong(path.name, "a row for each cell of the matrix", None, "cell", str(cell), mend)
    if len(missing) > SHOWN:
        expected = f"a row for each cell of the matrix; {len(missing):,} have none"
        reader.wrong(path.name, expected, None, "cell")
    for name in ("donor", "label"):
        if name in names:
            cells.obs[name] = [
                rows[c][0][names[name]] if c in rows else "" for c in cells.obs_names
            ]


def _genes(cells: anndata.AnnData, file: str, reader: _Reader) -> None:
    """Bring genes to symbols as the book writes them."""
    own = {plain(str(c)): c for c in cells.var.columns}
    column = next((own[n] for n in NAMES if n in own), None)
    names = pd.Series(cells.var_names.astype(str), dtype=object)
    ids = names.str.match(r"ENS[A-Z]*G\d{11}")
    if ids.mean() > 0.5 and column is not None:
        told = cells.var[column].astype(str).to_numpy()
        names = pd.Series(np.where((told != "") & (told != "nan"), told, names), dtype=object)
        reader.notes.append(f"{file}: gene symbols are those of its column {column}.")
    elif ids.mean() > 0.5:
        mend = "add a column gene_symbols to var (to features.tsv the second column)"
        first = int(np.flatnonzero(ids)[0])
        expected = "gene symbols beside Ensembl ids"
        reader.wrong(file, expected, None, "genes", str(names[first]), mend)
    names = names.str.strip().str.replace("-", ".", regex=False)
    cells.var_names = [FORMER.get(n, n) for n in names]
    dated = cells.var_names.str.fullmatch(r"\d{1,2}\.(Mar|Sep|Dec)|(Mar|Sep|Dec)\.\d{1,2}")
    for i in np.flatnonzero(dated)[:SHOWN]:
        expected = "a gene, not a date (a spreadsheet changed SEPT2, MARCH1 or DEC1)"
        mend = "take the matrix from where it was before the spreadsheet"
        reader.wrong(file, expected, None, "genes", str(cells.var_names[i]), mend)


def _counts(cells: anndata.AnnData, file: str, reader: _Reader) -> None:
    """Say where the matrix holds anything but raw counts."""
    said = cells.uns.pop("said", None)
    if not cell_chunks.is_lazy(cells):
        cells.X = scipy.sparse.csr_matrix(cells.X)
    mend = "give raw counts: in X, in the layer counts or in raw"
    stored = wrong = 0
    for start, stop in cell_chunks.parts(cells):
        x = scipy.sparse.csr_matrix(cell_chunks.loaded(cells, start, stop).X)
        with np.errstate(invalid="ignore"):
            bad = ~np.isfinite(x.data) | (x.data < 0) | (x.data % 1 != 0)
        places = np.flatnonzero(bad)
        for place in places[: max(SHOWN - wrong, 0)]:
            inside = int(np.searchsorted(x.indptr, place, side="right")) - 1
            row, column = start + inside, int(x.indices[place])
            value = str(said.iat[row, column]) if said is not None else f"{x.data[place]:g}"
            reader.wrong(
                file, "a raw count, a whole number of 0 or more",
                row + (2 if said is not None else 1), str(cells.var_names[column]), value, mend,
            )  # fmt: skip
        wrong, stored = wrong + len(places), stored + len(x.data)
    if wrong > SHOWN:
        share = 100 * wrong / max(stored, 1)
        expected = f"raw counts; {wrong:,} values are none ({share:.0f}% of those not 0)"
        reader.wrong(file, expected, None, "X", None, mend)
    if not cells.n_obs or not cells.n_vars:
        reader.wrong(file, "at least one cell and one gene", mend="look at how it was written")
    counted = pd.Index(cells.obs_names)
    for name in counted[counted.duplicated()].unique()[:SHOWN]:
        mend = "add the sample to the barcode, such as AAAC-1-D1"
        reader.wrong(file, "each cell once", None, "cell", str(name), mend)


def _donors(cells: anndata.AnnData, file: str, reader: _Reader) -> None:
    words = dictionary("cells")
    named: dict[str, Any] = {}
    for name in cells.obs.columns:
        column = words.find(str(name))
        if column is not None and (column.name not in named or str(name) == column.name):
            named[column.name] = cells.obs[name]
    if "donor" not in named:
        mend = "add who each cell is from: obs['donor'], or cells.csv with cell and donor"
        reader.wrong(file, "a column donor", None, "obs", mend=mend)
        return
    text = {k: v.astype(object).where(v.notna(), "").astype(str).str.strip()
            for k, v in named.items()}  # fmt: skip
    empty = np.flatnonzero((text["donor"] == "").to_numpy())
    for i in empty[:SHOWN]:
        reader.wrong(file, "a donor", int(i) + 1, "donor", "", "say who the cell is from")
    if len(empty) > SHOWN:
        reader.wrong(file, f"a donor of each cell; {len(empty):,} have none", None, "donor")
    frame = pd.DataFrame({"donor": pd.Categorical(text["donor"])}, index=cells.obs_names)
    if "label" in text and (text["label"] != "").any():
        frame["label"] = text["label"].where(text["label"] != "", None)
    cells.obs = frame


def _merged(cells: anndata.AnnData, file: str, reader: _Reader) -> anndata.AnnData:
    """Return cells with the counts of genes of one name added up, and nothing else of the file."""
    import anndata

    names = pd.Index(cells.var_names)
    lazy = cell_chunks.is_lazy(cells)
    x = cells.X if lazy else scipy.sparse.csr_matrix(cells.X).astype(np.float32)
    if names.has_duplicates:
        code, unique = pd.factorize(names)
        ones = np.ones(len(names), np.float32)
        join = scipy.sparse.csr_matrix((ones, (np.arange(len(names)), code)))
        x = _joined(x, join) if lazy else scipy.sparse.csr_matrix(x @ join)
        twice = len(names) - len(unique)
        reader.notes.append(f"{file}: {twice:,} genes share a symbol; their counts are added up.")
        names = pd.Index(unique)
    return anndata.AnnData(x, obs=cells.obs, var=pd.DataFrame(index=names))


def _joined(x: Any, join: Any) -> Any:
    """Return a Dask array times a sparse matrix, still on disk."""

    def product(block: Any) -> Any:
        return scipy.sparse.csr_matrix(block @ join)

    chunks = (x.chunks[0], (join.shape[1],))
    return x.map_blocks(product, chunks=chunks, dtype=np.float32, meta=x._meta[:, :0])


def strangers(cells: anndata.AnnData, patients: set[str]) -> list[str]:
    """Return donors who are no patient, in their order."""
    return [d for d in donors(cells) if d not in patients]


_NOT_READ = re.compile(r"(barcodes|features|genes|matrix)\.(tsv|mtx)(\.gz)?")


def companion(name: str) -> bool:
    """Tell whether a file belongs to a 10x matrix in the cohort's own folder."""
    return _NOT_READ.fullmatch(name.lower()) is not None

"""Cells of a file in chunks of rows, so that memory grows with a chunk and not with the cells.

A file of a million cells is never read whole and never made dense. `open_cells` looks at a file and
reads nothing but its size and names of genes; `CellFile.rows` reads some consecutive cells as a
sparse AnnData; `mapped` puts a map on one chunk after the other, in this process or on the workers
of a Dask cluster, and gives the results back in the order of the file. A map must be a pure
function of the cells it is given, one row a cell; then nothing depends on the size of a chunk, on
the number of workers or on which of them was first, and `CellTally` and `counted` add up whole
numbers only, so that their sums do not depend on it either. `Cells` are those of a reader: the
genes under the book's names, and who each cell is from.

Rows can be read one by one from an h5ad with X in CSR (or dense, which is sparse again as soon as
it is read) and from the h5 of 10x Genomics. An h5ad in CSC and a Matrix Market folder lie gene by
gene or in any order: `in_rows` copies them once, in two passes over the file, through an array on
disk.
"""

from __future__ import annotations

import gzip
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import pandas as pd
import scipy  # its parts load on first use
from numpy.typing import NDArray

from ballbook.file_limits import Unreadable

if TYPE_CHECKING:
    import anndata
    import h5py

Mapper = Callable[["anndata.AnnData"], pd.DataFrame]
Span = tuple[int, int]

CHUNK = 5_000
# Of a file that is copied, so many numbers are held at once.
VALUES_AT_ONCE = 2_000_000
# Cells kept to draw: a page shows no more.
DRAWN = 5_000
DASK = "BALLBOOK_DASK"
H5AD, TEN_X = "h5ad", "10x"
MATRIX_NAMES = ("matrix.mtx", "matrix.mtx.gz")


class ByGenes(Unreadable):
    """A table that lies gene by gene: `in_rows` reads it."""


@dataclass(frozen=True)
class CellFile:
    """A file whose cells can be read by their place.

    It holds names and numbers only, no open file, and so can be sent to a worker that sees the
    same folder.

    Parameters
    ----------
    path : Path
    kind : {"h5ad", "10x"}
    matrix : str
        Place of the counts in the file.
    n : int
        Cells.
    genes : tuple of str
    columns : tuple of str
        Columns of ``obs``.
    keep : array of int, optional
        Of the columns of the matrix, those that are genes (10x files hold proteins too).
    """

    path: Path
    kind: str
    matrix: str
    n: int
    genes: tuple[str, ...]
    columns: tuple[str, ...] = ()
    keep: tuple[int, ...] | None = None

    def rows(
        self, start: int, stop: int, genes: Sequence[str] | None = None, *, obs: bool = True
    ) -> anndata.AnnData:
        """Return the cells from `start` up to `stop` as AnnData with counts in CSR, 32-bit floats.

        Parameters
        ----------
        start, stop : int
            As a slice: what lies beyond the last cell is not there.
        genes : sequence of str, optional
            Only these, in this order; a gene that the file lacks is left out.
        obs : bool
            Whether the columns of ``obs`` are read too; the names of the cells always are.

        Raises
        ------
        Unreadable
            Where the file is damaged.
        """
        import anndata

        x = self.counts(start, stop)
        frame = self.about(start, stop, self.columns if obs else ())
        names: Sequence[str] = self.genes
        if genes is not None:
            place = pd.Index(self.genes).get_indexer(pd.Index(list(genes)))
            x = x[:, place[place >= 0]]
            names = [g for g, p in zip(genes, place, strict=True) if p >= 0]
        return anndata.AnnData(x, obs=frame, var=pd.DataFrame(index=pd.Index(list(names))))

    def counts(self, start: int, stop: int) -> scipy.sparse.csr_matrix:
        """Return the counts of some cells, one column a gene; see `rows`."""
        import h5py

        start, stop = self._span(start, stop)
        with self._reading(start, stop), h5py.File(self.path, "r") as f:
            x = self._matrix(f[self.matrix], start, stop)
        return x if self.keep is None else x[:, list(self.keep)]

    def chunks(
        self, size: int = CHUNK, genes: Sequence[str] | None = None
    ) -> Iterator[anndata.AnnData]:
        """Yield the cells in order, `size` at a time."""
        for start, stop in spans(self.n, size):
            yield self.rows(start, stop, genes)

    def names(self, start: int = 0, stop: int | None = None) -> pd.Index:
        """Return the names of some cells.

        Raises
        ------
        Unreadable
            Where the file is damaged.
        """
        return self.about(start, self.n if stop is None else stop).index

    def about(self, start: int, stop: int, columns: Sequence[str] = ()) -> pd.DataFrame:
        """Return names (the index) and columns of ``obs`` of some cells, without their counts.

        Raises
        ------
        Unreadable
            Where the file is damaged.
        """
        import h5py

        start, stop = self._span(start, stop)
        with self._reading(start, stop), h5py.File(self.path, "r") as f:
            return self._obs(f, start, stop, columns)

    def _span(self, start: int, stop: int) -> Span:
        return max(start, 0), max(min(stop, self.n), max(start, 0))

    @contextmanager
    def _reading(self, start: int, stop: int) -> Iterator[None]:
        try:
            yield
        except (OSError, KeyError, RuntimeError, ValueError, IndexError) as error:
            raise Unreadable(f"{self.path.name}: cells {start} to {stop}: {error}") from None

    @property
    def chunk(self) -> int:
        """Cells to read at a time: `CHUNK`, or fewer where each has very many counts."""
        import h5py

        with h5py.File(self.path, "r") as f:
            table = f[self.matrix]
            stored = int(table.size if isinstance(table, h5py.Dataset) else table["data"].size)
        return max(min(CHUNK, VALUES_AT_ONCE * self.n // max(stored, 1)), 1)

    def column(self, name: str, start: int = 0, stop: int | None = None) -> pd.Series:
        """Return one column of ``obs`` of some cells.

        Raises
        ------
        KeyError
            Where the file has no such column.
        """
        import h5py

        if name not in self.columns:
            raise KeyError(name)
        start, stop = self._span(start, self.n if stop is None else stop)
        with self._reading(start, stop), h5py.File(self.path, "r") as f:
            return pd.Series(_values(f["obs"][name], start, stop), name=name)

    def _matrix(self, stored: Any, start: int, stop: int) -> scipy.sparse.csr_matrix:
        import h5py

        if isinstance(stored, h5py.Dataset):
            return scipy.sparse.csr_matrix(stored[start:stop].astype(np.float32))
        wide = len(self.genes) if self.keep is None else int(_shape(stored, self.kind)[1])
        pointers = stored["indptr"][start : stop + 1].astype(np.int64)
        if len(pointers) == 0:
            return scipy.sparse.csr_matrix((0, wide), dtype=np.float32)
        low, high = int(pointers[0]), int(pointers[-1])
        if high < low or (np.diff(pointers) < 0).any():
            raise Unreadable(f"{self.path.name}: row pointers go backwards")
        columns = stored["indices"][low:high]
        if len(columns) != high - low or (
            len(columns) and (columns.min() < 0 or columns.max() >= wide)
        ):
            raise Unreadable(f"{self.path.name}: a gene's number is outside the table")
        x = scipy.sparse.csr_matrix(
            (stored["data"][low:high].astype(np.float32), columns, pointers - low),
            shape=(stop - start, wide),
        )
        # So that sums over a row are taken in one order, however the file was written.
        x.sort_indices()
        return x

    def _obs(self, f: h5py.File, start: int, stop: int, columns: Sequence[str]) -> pd.DataFrame:
        if self.kind == TEN_X:
            group = f[str(Path(self.matrix))]
            return pd.DataFrame(index=pd.Index(_values(group["barcodes"], start, stop)))
        obs = f["obs"]
        index = pd.Index(_values(obs[_index(obs)], start, stop).astype(str))
        return pd.DataFrame({c: _values(obs[c], start, stop) for c in columns}, index=index)


def spans(n: int, size: int = CHUNK) -> list[Span]:
    """Return the places where chunks of `size` among `n` cells start and stop.

    Raises
    ------
    ValueError
        Where `size` is not at least 1.
    """
    if size < 1:
        raise ValueError(f"a chunk of {size} cells: at least 1 is needed")
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def open_cells(path: Path | str, matrix: str = "X") -> CellFile:
    """Look at an h5ad or a 10x h5 and return where its cells lie.

    Parameters
    ----------
    path : Path
    matrix : str
        Which table of an h5ad: ``X``, ``layers/NAME`` or ``raw/X``.

    Raises
    ------
    Unreadable
        Where it is no such file, or its rows cannot be read one by one (see `in_rows`).
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise Unreadable(f"{path.name}: no such file")
    try:
        with h5py.File(path, "r") as f:
            if "obs" in f and "var" in f:
                return _open_h5ad(path, f, matrix)
            return _open_ten_x(path, f)
    except (OSError, KeyError, RuntimeError, AttributeError, ValueError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"{path.name}: no h5ad and no h5 of 10x Genomics ({error})") from None


def _open_h5ad(path: Path, f: h5py.File, matrix: str) -> CellFile:
    import h5py

    if not isinstance(f["obs"], h5py.Group):
        raise Unreadable(f"{path.name}: written before anndata 0.7; read and write it once")
    if matrix not in f:
        raise Unreadable(f"{path.name}: no table {matrix}")
    stored, var = f[matrix], f["raw/var"] if matrix.startswith("raw/") else f["var"]
    shape = _shape(stored, H5AD)
    if not isinstance(stored, h5py.Dataset) and _encoding(stored) != "csr":
        raise ByGenes(f"{path.name}: {matrix} lies gene by gene (CSC); see in_rows")
    genes = tuple(str(g) for g in _values(var[_index(var)], 0, shape[1]))
    order = _columns(f["obs"])
    if len(genes) != shape[1]:
        raise Unreadable(f"{path.name}: {len(genes)} names for {shape[1]} genes")
    return CellFile(path, H5AD, matrix, int(shape[0]), genes, tuple(order))


def _open_ten_x(path: Path, f: h5py.File) -> CellFile:
    groups = [k for k in f if "barcodes" in f[k]]
    if len(groups) != 1:
        raise Unreadable(f"{path.name}: no h5ad, and {len(groups)} tables of 10x Genomics")
    group = f[groups[0]]
    n, wide = _shape(group, TEN_X)
    if "features" not in group:
        genes = [str(g) for g in _values(group["gene_names"], 0, wide)]
        return CellFile(path, TEN_X, groups[0], n, tuple(genes))
    genes = [str(g) for g in _values(group["features/name"], 0, wide)]
    kinds = _values(group["features/feature_type"], 0, wide)
    keep = tuple(i for i, kind in enumerate(kinds) if kind == "Gene Expression")
    whole = len(keep) == wide
    names = tuple(genes[i] for i in keep)
    return CellFile(path, TEN_X, groups[0], n, names, keep=None if whole else keep)


def some_values(stored: Any) -> Any:
    """Return the first values of a stored table, as many as are read at once."""
    import h5py

    if isinstance(stored, h5py.Dataset):
        return stored[: max(VALUES_AT_ONCE // max(stored.shape[1], 1), 1)]
    return stored["data"][:VALUES_AT_ONCE]


def _shape(stored: Any, kind: str) -> tuple[int, int]:
    """Return cells and columns of a stored table."""
    found = stored.shape if hasattr(stored, "shape") else stored.attrs.get("shape")
    if found is None:
        found = stored["shape"][:] if "shape" in stored else stored.attrs["h5sparse_shape"]
    a, b = (int(v) for v in found)
    return (b, a) if kind == TEN_X else (a, b)


def _encoding(stored: Any) -> str:
    told = str(stored.attrs.get("encoding-type", stored.attrs.get("h5sparse_format", "")))
    return told.removesuffix("_matrix")


def _index(frame: Any) -> str:
    return str(frame.attrs.get("_index", "index" if "index" in frame else "_index"))


def _columns(frame: Any) -> list[str]:
    told = frame.attrs.get("column-order", [])
    return [c.decode("utf8") if isinstance(c, bytes) else str(c) for c in told]


def _values(stored: Any, start: int, stop: int) -> Any:
    """Return some rows of a stored column."""
    import h5py

    if isinstance(stored, h5py.Dataset):
        found = stored[start:stop]
        if h5py.check_string_dtype(stored.dtype):
            return np.array([v.decode("utf8") if isinstance(v, bytes) else v for v in found], "O")
        return np.char.decode(found, "utf8").astype(object) if found.dtype.kind == "S" else found
    if "categories" in stored:
        categories = stored["categories"]
        words = _values(categories, 0, len(categories))
        return pd.Categorical.from_codes(stored["codes"][start:stop], pd.Index(words))
    found = pd.array(_values(stored["values"], start, stop))
    found[stored["mask"][start:stop].astype(bool)] = pd.NA
    return found


# --- files that do not lie row by row ---------------------------------------------------------


@contextmanager
def in_rows(path: Path | str, matrix: str = "X") -> Iterator[CellFile]:
    """Give any file of cells as one that can be read by rows; a copy is removed afterwards.

    Parameters
    ----------
    path : Path
        An h5ad, a 10x h5, a folder with ``matrix.mtx``, ``barcodes.tsv`` and ``features.tsv`` (or
        ``genes.tsv``), each perhaps gzipped, or such an ``.mtx`` in its folder.

    Raises
    ------
    Unreadable
        Where it is no such file, or does not agree with itself.
    """
    path = Path(path)
    if path.exists() and (path.is_dir() or path.name.endswith((".mtx", ".mtx.gz"))):
        with _work() as work:
            yield _turn_mtx(path, work)
        return
    try:
        found = open_cells(path, matrix)
    except ByGenes:
        with _work() as work:
            yield _turn_csc(path, matrix, work)
        return
    yield found


@contextmanager
def _work() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ballbook-cells-") as work:
        yield Path(work)


Triplets = Iterator[tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]]


def _turn_csc(path: Path, matrix: str, work: Path) -> CellFile:
    import h5py

    with h5py.File(path, "r") as f:
        stored = f[matrix]
        n, wide = _shape(stored, H5AD)
        var = f["raw/var"] if matrix.startswith("raw/") else f["var"]
        genes = [str(g) for g in _values(var[_index(var)], 0, wide)]
        pointers = stored["indptr"][:].astype(np.int64)

        def triplets() -> Triplets:
            for low in range(0, int(pointers[-1]), VALUES_AT_ONCE):
                high = min(low + VALUES_AT_ONCE, int(pointers[-1]))
                gene = np.searchsorted(pointers, np.arange(low, high), side="right") - 1
                cells = stored["indices"][low:high].astype(np.int64)
                yield cells, gene.astype(np.int32), stored["data"][low:high].astype(np.float32)

        target = work / "cells.h5ad"
        with CellWriter(target, genes) as writer:
            for start, x in _gathered(triplets, n, wide, work, path.name):
                stop = start + x.shape[0]
                obs = f["obs"]
                names = _values(obs[_index(obs)], start, stop)
                columns = {c: _values(obs[c], start, stop) for c in _columns(obs)}
                writer.add(x, pd.DataFrame(columns, index=pd.Index(names.astype(str))))
    return open_cells(target)


def _turn_mtx(path: Path, work: Path) -> CellFile:
    folder = path if path.is_dir() else path.parent
    found = path if path.is_file() else _first(folder, MATRIX_NAMES)
    genes_file = _first(folder, [f"{n}.tsv{z}" for n in ("features", "genes") for z in ("", ".gz")])
    cells_file = _first(folder, ("barcodes.tsv", "barcodes.tsv.gz"))
    features = pd.read_csv(genes_file, sep="\t", header=None, dtype=str, keep_default_na=False)
    names = features[0].tolist()
    if features.shape[1] > 1:
        names = features[1].where(features[1] != "", features[0]).tolist()
    keep = np.ones(len(features), dtype=bool)
    if features.shape[1] > 2:
        keep = (features[2] == "Gene Expression").to_numpy()
    with _text(found) as f:
        skip = 1
        line = f.readline()
        if not line.startswith("%%MatrixMarket matrix coordinate"):
            raise Unreadable(f"{found.name}: not a sparse Matrix Market file")
        while line.startswith("%"):
            line, skip = f.readline(), skip + 1
    try:
        rows, columns, stored = (int(v) for v in line.split())
    except ValueError:
        raise Unreadable(f"{found.name}: line {skip} should tell the size") from None
    n = sum(1 for _ in _lines(cells_file))
    if (rows, columns) != (len(names), n):
        raise Unreadable(
            f"{found.name}: {rows} genes and {columns} cells, but {len(names)} lines in "
            f"{genes_file.name} and {n} in {cells_file.name}"
        )
    new_place = np.where(keep, np.cumsum(keep) - 1, -1).astype(np.int32)

    def triplets() -> Triplets:
        read = 0
        try:
            blocks = pd.read_csv(
                found, sep=r"\s+", header=None, skiprows=skip, chunksize=VALUES_AT_ONCE // 4,
                dtype={0: np.int64, 1: np.int64, 2: np.float64},
            )  # fmt: skip
            for block in blocks:
                gene, cell = block[0].to_numpy() - 1, block[1].to_numpy() - 1
                read += len(block)
                if (gene < 0).any() or (gene >= rows).any():
                    raise Unreadable(f"{found.name}: a gene's number is outside the table")
                here = keep[gene]
                yield cell[here], new_place[gene[here]], block[2].to_numpy(np.float32)[here]
        except (ValueError, KeyError, EOFError, OSError) as error:
            if isinstance(error, Unreadable):
                raise
            if stored or read:
                raise Unreadable(f"{found.name}: {error}") from None
        if read != stored:
            raise Unreadable(f"{found.name}: {read} of {stored} values: the file is cut short")

    target = work / "cells.h5ad"
    with CellWriter(target, [g for g, k in zip(names, keep, strict=True) if k]) as writer:
        barcodes = _lines(cells_file)
        for _, x in _gathered(triplets, n, int(keep.sum()), work, found.name):
            here = [next(barcodes).split("\t")[0] for _ in range(x.shape[0])]
            writer.add(x, pd.DataFrame(index=pd.Index(here)))
    return open_cells(target)


def _first(folder: Path, names: Iterable[str]) -> Path:
    names = list(names)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise Unreadable(f"{folder.name}: no file {names[0]}")


@contextmanager
def _text(path: Path) -> Iterator[Any]:
    with (
        gzip.open(path, "rt", encoding="utf8")
        if path.name.endswith(".gz")
        else path.open(encoding="utf8")
    ) as f:
        yield f


def _lines(path: Path) -> Iterator[str]:
    with _text(path) as f:
        for line in f:
            yield line.rstrip("\r\n")


def _gathered(
    triplets: Callable[[], Triplets], n: int, wide: int, work: Path, name: str
) -> Iterator[tuple[int, scipy.sparse.csr_matrix]]:
    """Yield rows of values that come in any order, through arrays on disk.

    The first pass counts the values of each cell, the second puts each where its cell's begin.
    """
    counts = np.zeros(n, dtype=np.int64)
    for cells, _, _ in triplets():
        if len(cells) and (cells.min() < 0 or cells.max() >= n):
            raise Unreadable(f"{name}: a cell's number is outside the table")
        counts += np.bincount(cells, minlength=n)
    pointers = np.concatenate([[0], np.cumsum(counts)])
    total = max(int(pointers[-1]), 1)
    columns = np.memmap(work / "columns", dtype=np.int32, mode="w+", shape=total)
    values = np.memmap(work / "values", dtype=np.float32, mode="w+", shape=total)
    free = pointers[:-1].copy()
    for cells, genes, data in triplets():
        order = np.argsort(cells, kind="stable")
        cells = cells[order]
        own, first, number = np.unique(cells, return_index=True, return_counts=True)
        at = free[cells] + np.arange(len(cells)) - np.repeat(first, number)
        columns[at], values[at] = genes[order], data[order]
        free[own] += number
    start = 0
    while start < n:
        limit = pointers[start] + VALUES_AT_ONCE
        stop = max(start + 1, int(np.searchsorted(pointers, limit, side="right")) - 1)
        stop = min(stop, n, start + CHUNK)
        low, high = int(pointers[start]), int(pointers[stop])
        x = scipy.sparse.csr_matrix(
            (values[low:high].copy(), columns[low:high].copy(), pointers[start : stop + 1] - low),
            shape=(stop - start, wide),
        )
        x.sum_duplicates()
        yield start, x
        start = stop


class CellWriter:
    """Writes an h5ad in CSR, some cells at a time; a context manager.

    All tables of ``obs`` must have the same columns; words are stored as words. The file is what
    anndata reads; nothing in it depends on how many cells came at a time.
    """

    def __init__(
        self, path: Path, genes: Sequence[str], *, uns: dict[str, Any] | None = None
    ) -> None:
        self.path, self.genes, self.uns = Path(path), list(genes), uns or {}
        self.n = 0
        self._stored = 0
        self._columns: list[str] | None = None

    def __enter__(self) -> Self:
        import h5py

        self._f = h5py.File(self.path, "w")
        self._f.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        x = self._f.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        for name, kind in (("data", np.float32), ("indices", np.int32), ("indptr", np.int64)):
            start = 1 if name == "indptr" else 0
            x.create_dataset(
                name, shape=(start,), maxshape=(None,), dtype=kind, chunks=(1 << 16,),
                compression="lzf", shuffle=True,
            )  # fmt: skip
        return self

    def add(self, x: scipy.sparse.csr_matrix, obs: pd.DataFrame) -> None:
        """Append cells.

        Raises
        ------
        ValueError
            Where the table does not fit those before it.
        """
        columns = [str(c) for c in obs.columns]
        if x.shape != (len(obs), len(self.genes)) or columns != (self._columns or columns):
            raise ValueError("cells, genes and columns must fit those before them")
        group = self._f["X"]
        for name, values in (("data", x.data), ("indices", x.indices)):
            stored = group[name]
            stored.resize(self._stored + len(values), axis=0)
            stored[self._stored :] = values
        pointers = group["indptr"]
        pointers.resize(self.n + len(obs) + 1, axis=0)
        pointers[self.n + 1 :] = x.indptr[1:].astype(np.int64) + self._stored
        frame = self._f.require_group("obs")
        for name, column in {"_index": obs.index, **{str(c): obs[c] for c in obs}}.items():
            self._append(frame, name, column)
        self._columns = columns
        self.n += len(obs)
        self._stored += len(x.data)

    def _append(self, frame: Any, name: str, column: Any) -> None:
        import h5py

        values = np.asarray(column)
        kind: Any = values.dtype
        if values.dtype.kind not in "biuf":
            values, kind = np.array([str(v) for v in values], "O"), h5py.string_dtype("utf8")
        if name not in frame:
            made = frame.create_dataset(
                name, shape=(0,), maxshape=(None,), dtype=kind, chunks=(1 << 14,),
                compression="lzf",
            )  # fmt: skip
            words = "string-array" if kind == h5py.string_dtype("utf8") else "array"
            made.attrs.update({"encoding-type": words, "encoding-version": "0.2.0"})
        stored = frame[name]
        stored.resize(self.n + len(values), axis=0)
        stored[self.n :] = values

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import h5py
        from anndata.io import write_elem

        try:
            if kind is None:
                self._f["X"].attrs["shape"] = (self.n, len(self.genes))
                if self.n == 0:
                    write_elem(self._f, "obs", pd.DataFrame(index=pd.Index([], dtype=str)))
                self._f["obs"].attrs.update(
                    {"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"}
                )
                self._f["obs"].attrs["column-order"] = np.array(
                    self._columns or [], dtype=h5py.string_dtype("utf8")
                )
                write_elem(self._f, "var", pd.DataFrame(index=pd.Index(self.genes, dtype=str)))
                for name in ("layers", "obsm", "obsp", "varm", "varp"):
                    write_elem(self._f, name, {})
                write_elem(self._f, "uns", self.uns)
        finally:
            self._f.close()


# --- a map over chunks ------------------------------------------------------------------------


def mapped(
    cells: CellFile,
    mapper: Mapper,
    *,
    chunk: int = CHUNK,
    genes: Sequence[str] | None = None,
    cluster: str | int | None = None,
) -> Iterator[pd.DataFrame]:
    """Yield what `mapper` says of each chunk, in the order of the file.

    Parameters
    ----------
    cells : CellFile
        On a cluster of other machines, in a folder that all of them see.
    mapper : callable
        From AnnData (counts and names alone) to a DataFrame with one row a cell; pure, and
        picklable for a cluster. The method `map` of a reference is one.
    chunk : int
        Cells at a time.
    genes : sequence of str, optional
        Read these alone.
    cluster : str or int, optional
        How to split the work: 1 for this process, a number of workers on this machine, or the
        address of a Dask scheduler (``tcp://host:8786``). When not given, what the environment
        variable ``BALLBOOK_DASK`` says, and 1 without it. A worker holds one chunk at a time.

    Raises
    ------
    Unreadable
        Where the file is damaged.
    ValueError
        Where `cluster` is neither, or the map gives another number of rows.
    """

    def task(mapper: Mapper, span: Span) -> pd.DataFrame:
        return _checked(mapper, cells.rows(*span, genes, obs=False))

    yield from _split(task, mapper, spans(cells.n, chunk), cluster)


@dataclass(frozen=True, eq=False)
class Part:
    """Some cells in memory, with what a map reads of AnnData.

    AnnData refers to itself, so one that is no longer used stays until the collector comes by;
    this is gone at once.

    Parameters
    ----------
    X : csr_matrix, cells x genes
    obs : DataFrame
        Indexed by the names of the cells.
    var_names : Index of str
    """

    X: scipy.sparse.csr_matrix
    obs: pd.DataFrame
    var_names: pd.Index

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return len(self.obs)

    @property
    def obs_names(self) -> pd.Index:
        """Names of the cells."""
        return self.obs.index

    def __getitem__(self, keep: NDArray[np.bool_]) -> Part:
        """Return the cells that are kept."""
        return Part(self.X[keep], self.obs[keep], self.var_names)


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells whose counts stay in their file; of each cell only who it is from is held.

    Parameters
    ----------
    file : CellFile
    obs : DataFrame
        One row a cell, in the order of the file; words as categoricals, so some bytes a cell.
    var_names : Index of str
        Genes, each once.
    join : sparse matrix, columns of the file x genes, optional
        Which columns are added up to a gene, where they are not the genes as they stand.
    """

    file: CellFile
    obs: pd.DataFrame
    var_names: pd.Index
    join: Any = None

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self.file.n

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return len(self.var_names)

    def rows(self, start: int = 0, stop: int | None = None) -> Part:
        """Return the cells from `start` up to `stop`; see `CellFile.rows`."""
        stop = self.n_obs if stop is None else stop
        x, names = self.file.counts(start, stop), self.file.names(start, stop)
        x = x if self.join is None else scipy.sparse.csr_matrix(x @ self.join)
        here = self.obs.iloc[start : start + len(names)].set_axis(names)
        return Part(x, here, self.var_names)


def counted(
    cells: Cells,
    count: Callable[[Part], pd.DataFrame],
    *,
    chunk: int | None = None,
    cluster: str | int | None = None,
) -> pd.DataFrame:
    """Add up what `count` says of one chunk after the other.

    Parameters
    ----------
    cells : Cells
    count : callable
        From some cells to a table of whole numbers with one row a group (such as a donor) and
        always the same columns; pure, and picklable for a cluster.
    chunk : int, optional
        Cells at a time; `CellFile.chunk` when not given.
    cluster
        As `mapped`.

    Returns
    -------
    DataFrame
        One row a group, sorted: the same for chunks of any size.
    """

    def task(count: Any, span: Span) -> pd.DataFrame:
        return cast("pd.DataFrame", count(cells.rows(*span)))

    total = count(cells.rows(0, 0))
    for part in _split(task, count, spans(cells.n_obs, chunk or cells.file.chunk), cluster):
        total = total.add(part, fill_value=0)
    return total.sort_index().fillna(0).astype(np.int64)


Task = Callable[[Any, Span], pd.DataFrame]


def _split(
    task: Task, mapper: Any, todo: Sequence[Span], cluster: str | int | None
) -> Iterator[pd.DataFrame]:
    """Yield the answers of a task in the order of its parts, wherever each was done."""
    told = _cluster(cluster)
    if told == 1 or (isinstance(told, int) and len(todo) < 2):
        for span in todo:
            yield task(mapper, span)
        return
    with dask_client(min(told, len(todo)) if isinstance(told, int) else told) as client:
        # Sent once, not with each part.
        work, everywhere = client.scatter([task, mapper], broadcast=True, hash=False)
        workers = max(len(client.scheduler_info(n_workers=-1)["workers"]), 1)
        waiting: deque[Any] = deque()
        for span in todo:
            waiting.append(client.submit(_done, work, everywhere, span, pure=False))
            # No more are under way than keep the workers busy, so answers do not pile up.
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _done(task: Task, mapper: Any, span: Span) -> pd.DataFrame:
    return task(mapper, span)


def _checked(mapper: Mapper, cells: anndata.AnnData) -> pd.DataFrame:
    found = mapper(cells)
    if len(found) != cells.n_obs:
        raise ValueError(f"the map gave {len(found)} rows for {cells.n_obs} cells")
    return found


def _cluster(given: str | int | None) -> str | int:
    told = os.environ.get(DASK, "") if given is None else given
    if isinstance(told, str):
        told = told.strip()
        if "://" in told:
            return told
        if told and not told.isdigit():
            raise ValueError(
                f"{DASK} is {told!r}: expected a number of workers or an address like "
                "tcp://host:8786"
            )
        told = int(told or 1)
    if told < 1:
        raise ValueError(f"{told} workers: at least 1 is needed")
    return told


@contextmanager
def dask_client(cluster: str | int) -> Iterator[Any]:
    """Give a client of a Dask cluster: of so many processes here, or at an address.

    A cluster made here is ended afterwards; one at an address is left as it was.
    """
    from distributed import Client, LocalCluster

    if isinstance(cluster, str):
        with Client(cluster, timeout="30s") as client:
            yield client
        return
    with (
        tempfile.TemporaryDirectory(prefix="ballbook-dask-") as work,
        LocalCluster(
            n_workers=cluster, threads_per_worker=1, processes=True, memory_limit=0,
            dashboard_address=None, local_directory=work, silence_logs=40,
        ) as made,
        Client(made) as client,
    ):  # fmt: skip
        yield client


@dataclass
class CellTally:
    """What is kept of the mapped cells: counts by group, and some cells to draw.

    Everything is whole numbers or a choice by the place of a cell alone, so that the same comes of
    any chunks.

    Parameters
    ----------
    drawn : int
        Cells to keep for a picture, chosen by their place in the file: those whose place has the
        smallest hash.
    """

    drawn: int = DRAWN
    n: int = 0
    counts: dict[tuple[str, str, bool], int] = field(default_factory=dict)
    sample: pd.DataFrame | None = None

    def add(self, found: pd.DataFrame, groups: Sequence[Any] | None = None) -> None:
        """Count the cells of a chunk; chunks come in the order of the file.

        Parameters
        ----------
        found : DataFrame
            With ``label`` and ``off_map``; what `mapped` yields.
        groups : sequence, optional
            The group (donor, sample) of each cell.
        """
        words = ["all"] * len(found) if groups is None else [str(g) for g in groups]
        label = found["label"].astype(object)
        keys = pd.DataFrame(
            {
                "group": words,
                "label": label.where(label.notna(), "").astype(str).to_numpy(),
                "off": found["off_map"].to_numpy(dtype=bool),
            }
        )
        for row in keys.value_counts(sort=False).reset_index().itertuples(index=False):
            key = (str(row[0]), str(row[1]), bool(row[2]))
            self.counts[key] = self.counts.get(key, 0) + int(row[3])
        place = np.arange(self.n, self.n + len(found))
        rank = scrambled(place)
        kept = found.assign(place=place, rank=rank, group=words)
        if len(kept) > self.drawn:
            kept = kept.nsmallest(self.drawn, "rank")
        if self.sample is not None:
            kept = pd.concat([self.sample, kept])
        self.sample = kept.nsmallest(self.drawn, "rank").sort_values("place")
        self.n += len(found)

    def composition(self) -> pd.DataFrame:
        """Return ``group``, ``label``, ``off_map`` and ``cells``, sorted."""
        rows = [(*key, number) for key, number in sorted(self.counts.items())]
        return pd.DataFrame(rows, columns=["group", "label", "off_map", "cells"])


def scrambled(place: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the splitmix64 hash of each place (Steele et al., OOPSLA 2014): an even order."""
    z = place.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def tally(
    cells: CellFile,
    mapper: Mapper,
    *,
    group: str | None = None,
    chunk: int = CHUNK,
    genes: Sequence[str] | None = None,
    cluster: str | int | None = None,
    drawn: int = DRAWN,
) -> CellTally:
    """Map all cells of a file and count them by `group`, a column of ``obs``; see `mapped`."""
    import h5py

    if group is not None and group not in cells.columns:
        raise KeyError(group)
    found = CellTally(drawn)
    for (start, stop), part in zip(
        spans(cells.n, chunk),
        mapped(cells, mapper, chunk=chunk, genes=genes, cluster=cluster),
        strict=True,
    ):
        words = None
        if group is not None:
            with h5py.File(cells.path, "r") as f:
                words = list(_values(f["obs"][group], start, stop))
        found.add(part, words)
    return found


def lazy(cells: CellFile, chunk: int = CHUNK) -> anndata.AnnData:
    """Return the file as AnnData whose X is a Dask array of sparse chunks, not yet read.

    scanpy's `normalize_total`, `log1p`, `highly_variable_genes` and `pca` (solver
    ``covariance_eigh``) work on it chunk by chunk. ``obs`` holds the names of the cells alone.
    """
    import anndata
    import dask.array as da

    places = spans(cells.n, chunk)
    wide = len(cells.genes)
    meta = scipy.sparse.csr_matrix((0, wide), dtype=np.float32)

    def read(block_info: Any = None) -> scipy.sparse.csr_matrix:
        (start, stop), _ = block_info[None]["array-location"]
        return scipy.sparse.csr_matrix(cells.rows(start, stop).X)

    sizes = tuple(stop - start for start, stop in places)
    x = da.map_blocks(read, chunks=(sizes, (wide,)), dtype=np.float32, meta=meta)
    var = pd.DataFrame(index=pd.Index(list(cells.genes)))
    return anndata.AnnData(x, obs=cells.about(0, cells.n), var=var)

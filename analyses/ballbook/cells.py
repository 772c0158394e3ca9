"""Single cells of a reader's cohort: h5ad, 10x, or a table, with everything wrong said at once.

A folder may hold ``cells.h5ad``, ``cells.h5`` (10x), a folder ``cells`` with ``matrix.mtx``,
``barcodes.tsv`` and ``features.tsv`` (plain or gzip), or a table ``cells.csv`` whose further
columns are genes. Raw counts are needed: where ``X`` of an h5ad is something else, the layer
``counts`` or ``raw`` is taken. Each cell has a ``donor`` and may have a ``label``, as columns of
``obs`` or of a table ``cells.csv`` beside a 10x matrix, which names each ``cell``. Genes are
symbols; Ensembl ids are brought to symbols by the file's own column of names.

Counts stay in the file and are read some cells at a time (`ballbook.cell_chunks`), to be checked
and whenever they are used. What lies by genes, or as text, is copied by cells to a temporary file.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import os
import re
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy  # its parts load on first use

from ballbook import cell_chunks
from ballbook.cell_chunks import CellFile, Cells, Part
from ballbook.dictionaries import dictionary, plain
from ballbook.file_limits import Unreadable

if TYPE_CHECKING:
    import anndata

    from ballbook.cohort import _Reader

ENDINGS = (".h5ad", ".h5", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
MATRIX = ("matrix.mtx", "matrix.mtx.gz")
# A table of counts is copied so many words at a time, and a larger one of donors so many rows.
WORDS_AT_ONCE = 2_000_000
SMALL, ROWS_AT_ONCE = 5_000_000, 50_000
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
    cells: anndata.AnnData | Part,
    *,
    genes: Sequence[str] | None = None,
    least_counts: int = 100,
    least_genes: int = 20,
    most_mitochondrial: float = 0.2,
) -> Quality:
    """Return the cells that are good enough to be mapped.

    Parameters
    ----------
    cells : AnnData or Part
        Raw counts.
    genes : sequence of str, optional
        Those that counts and genes are counted of, such as a reference's.
    least_counts, least_genes : int
        Fewest counts, and genes with a count, of a cell.
    most_mitochondrial : float
        Largest share of counts from mitochondrial genes, where the file has such genes.
    """
    x = scipy.sparse.csr_matrix(cells.X)
    inside = x if genes is None else x[:, cells.var_names.isin(list(genes))]
    counts = np.asarray(inside.sum(axis=1)).ravel()
    seen = np.asarray((inside > 0).sum(axis=1)).ravel()
    mitochondrial = cells.var_names.str.upper().str.match(r"MT[-.]")
    reasons = [
        (f"fewer than {least_counts} counts", counts < least_counts),
        (f"fewer than {least_genes} genes", seen < least_genes),
    ]
    if mitochondrial.any():
        share = np.asarray(x[:, mitochondrial].sum(axis=1)).ravel()
        share = share / np.maximum(np.asarray(x.sum(axis=1)).ravel(), 1)
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


def read(paths: Sequence[Path], reader: _Reader) -> Cells | None:
    """Return the cells of a reader's files, after telling `reader` what is wrong with them.

    Returns
    -------
    Cells or None
        Raw counts, left in the file, or in a copy that lies by cells and is deleted when the cells
        are forgotten; ``obs`` with ``donor`` and, where given, ``label``; gene symbols with a dot
        for a hyphen. None where anything is wrong.
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
    copies = contextlib.ExitStack()
    try:
        given = _open(main, copies)
    except Exception as e:  # h5py, pandas and anndata fail on broken files in many ways
        copies.close()
        mend = "write it again: an h5ad, a 10x folder or h5, or a table cells.csv"
        reader.wrong(main.name, f"readable cells ({type(e).__name__}: {e})", mend=mend)
        return None
    found = None
    try:
        found = _checked(given, main.name, tables[0] if matrices and tables else None, reader)
    except Unreadable as e:
        mend = "write the file again: it is damaged"
        reader.wrong(main.name, f"readable cells ({e})", mend=mend)
    if found is None or len(reader.problems) > before:
        copies.close()
        return None
    weakref.finalize(found, _forget, copies, os.getpid())
    return found


def _forget(copies: contextlib.ExitStack, maker: int) -> None:
    # A forked process has the cells, but the copy on disk is not its own.
    if os.getpid() == maker:
        copies.close()


def donors(cells: Cells) -> list[str]:
    """Return the donors in the order of their first cell."""
    return [str(d) for d in cells.obs["donor"].unique()]


def strangers(cells: Cells, patients: set[str]) -> list[str]:
    """Return donors who are no patient, in their order."""
    return [d for d in donors(cells) if d not in patients]


def _bounded(path: Path, reader: _Reader) -> bool:
    """Return whether files are of a size that can be copied; keep their sha256."""
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if file.stat().st_size > MAX_BYTES:
            mend = "give fewer cells"
            expected = f"at most {MAX_BYTES / 1e9:g} GB"
            reader.wrong(file.name, expected, mend=mend)
            return False
        with file.open("rb") as f:
            reader.files[file.name] = hashlib.file_digest(f, "sha256").hexdigest()
    return True


@dataclass(frozen=True)
class _Given:
    """An opened file: its genes as it has them, and what else it tells of genes and cells.

    `said` holds the words of a table that are no numbers, by row and column.
    """

    file: CellFile
    var: pd.DataFrame
    columns: tuple[str, ...] = ()
    said: dict[tuple[int, int], str] | None = None


def _open(path: Path, copies: contextlib.ExitStack) -> _Given:
    """Open a file so that its cells can be read by their place, by a copy where it must be."""
    import h5py

    if not path.is_dir() and path.suffix.lower() not in {".h5ad", ".h5"}:
        work = copies.enter_context(TemporaryDirectory(prefix="ballbook-cells-"))
        return _table(path, Path(work))
    if path.suffix.lower() != ".h5ad":
        file = copies.enter_context(cell_chunks.in_rows(path))
        return _Given(file, pd.DataFrame(index=pd.Index(list(file.genes))))
    from anndata.io import read_elem

    with h5py.File(path, "r") as f:
        # X may be there and hold nothing.
        names = ("X", "layers/counts", "raw/X")
        there = [m for m in names if m in f and getattr(f[m], "ndim", 2) == 2]
        matrix = next((m for m in there if _whole(cell_chunks.some_values(f[m]))), "X")
        var = read_elem(f["raw/var" if matrix == "raw/X" else "var"])
    file = copies.enter_context(cell_chunks.in_rows(path, matrix))
    return _Given(file, var.set_axis(pd.Index(list(file.genes))), file.columns)


def _table(path: Path, work: Path) -> _Given:
    """Copy a table of counts, some rows at a time."""
    words = dictionary("cells")
    said: dict[tuple[int, int], str] = {}
    copy = work / "cells.h5ad"
    separator = "\t" if ".tsv" in path.suffixes else ","
    wide = len(pd.read_csv(path, sep=separator, nrows=0).columns)
    at_once = max(WORDS_AT_ONCE // max(wide, 1), 1)
    writer: cell_chunks.CellWriter | None = None
    start, genes = 0, list[str]()
    with contextlib.ExitStack() as opened:
        for part in pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, chunksize=at_once
        ):
            found = {str(c): words.find(str(c)) for c in part.columns}
            own = {c: w.name if w else "cell" for c, w in found.items()
                   if w or plain(c) in {"cell", "barcode"}}  # fmt: skip
            genes = [c for c in part.columns if c not in own]
            # A row that is cut short has no words at its end.
            obs = part[list(own)].rename(columns=own).fillna("")
            obs = obs.loc[:, ~obs.columns.duplicated(keep="last")]
            names = [str(start + i + 1) for i in range(len(part))]
            obs = obs.set_index("cell") if "cell" in obs else obs.set_axis(pd.Index(names))
            values = part[genes].apply(pd.to_numeric, errors="coerce").to_numpy(np.float32)
            for row, column in np.argwhere(_wrong(values))[: max(SHOWN - len(said), 0)]:
                said[start + int(row), int(column)] = str(part[genes].iat[row, column])
            if writer is None:
                writer = opened.enter_context(cell_chunks.CellWriter(copy, genes))
            writer.add(scipy.sparse.csr_matrix(values), obs)
            start += len(part)
        if writer is None:
            raise ValueError("no row of cells")
    file = cell_chunks.open_cells(copy)
    return _Given(file, pd.DataFrame(index=pd.Index(genes)), file.columns, said)


def _wrong(values: Any) -> Any:
    """Return which values are no raw counts."""
    with np.errstate(invalid="ignore"):
        return ~np.isfinite(values) | (values < 0) | (values % 1 != 0)


def _whole(values: Any) -> bool:
    return not bool(_wrong(np.asarray(values)).any())


def _checked(given: _Given, name: str, beside: Path | None, reader: _Reader) -> Cells | None:
    """Return the cells, after telling what is wrong with genes, counts, names and donors."""
    file = given.file
    words = _of_columns(file, given.columns)
    if beside is not None and (told := _of_table(file, beside, reader)) is not None:
        words |= told
    names = _genes(given.var, name, reader)
    _counts(given, names, name, reader)
    for twice in _repeated(file)[:SHOWN]:
        mend = "add the sample to the barcode, such as AAAC-1-D1"
        reader.wrong(name, "each cell once", None, "cell", twice, mend)
    if "donor" not in words:
        mend = "add who each cell is from: obs['donor'], or cells.csv with cell and donor"
        reader.wrong(name, "a column donor", None, "obs", mend=mend)
        return None
    empty = np.flatnonzero(words["donor"].codes < 0)
    for i in empty[:SHOWN]:
        reader.wrong(name, "a donor", int(i) + 1, "donor", "", "say who the cell is from")
    if len(empty) > SHOWN:
        reader.wrong(name, f"a donor of each cell; {len(empty):,} have none", None, "donor")
    obs = pd.DataFrame({"donor": words["donor"]})
    if "label" in words and (words["label"].codes >= 0).any():
        obs["label"] = words["label"]
    code, unique = pd.factorize(pd.Index(names))
    if len(unique) == len(names):
        return Cells(file, obs, unique)
    ones = np.ones(len(names), np.float32)
    join = scipy.sparse.csr_matrix((ones, (np.arange(len(names)), code)))
    shared = len(names) - len(unique)
    reader.notes.append(f"{name}: {shared:,} genes share a symbol; their counts are added up.")
    return Cells(file, obs, unique, join)


class _Words:
    """The words of a column, added some at a time and held as small numbers; an empty one is -1."""

    def __init__(self) -> None:
        self.parts: list[Any] = [np.empty(0, dtype=np.int32)]
        self.known: dict[str, int] = {}

    def add(self, values: Any) -> None:
        code, unique = pd.factorize(np.asarray(values, dtype=object))
        words = [str(w).strip() for w in unique]
        told = [self.known.setdefault(w, len(self.known)) if w else -1 for w in words]
        # What is missing has the code -1, which is the last.
        self.parts.append(np.array([*told, -1], dtype=np.int32)[code])

    @property
    def codes(self) -> Any:
        return np.concatenate(self.parts)

    def categorical(self, codes: Any) -> pd.Categorical:
        return pd.Categorical.from_codes(codes, pd.Index(list(self.known), dtype=object))


def _of_columns(file: CellFile, columns: Sequence[str]) -> dict[str, pd.Categorical]:
    """Return donor and label as columns of the file tell them."""
    dictionary_words = dictionary("cells")
    named: dict[str, str] = {}
    for name in columns:
        column = dictionary_words.find(name)
        if column is not None and (column.name not in named or name == column.name):
            named[column.name] = name
    found = {key: _Words() for key in named}
    for start, stop in cell_chunks.spans(file.n):
        for key, name in named.items():
            found[key].add(file.column(name, start, stop))
    return {key: words.categorical(words.codes) for key, words in found.items()}


def _of_table(file: CellFile, path: Path, reader: _Reader) -> dict[str, pd.Categorical] | None:
    """Return donor and label of each cell as a table beside the matrix tells them."""
    words = dictionary("cells")
    hashes: list[Any] = []
    told: dict[str, _Words] = {}
    for part in _rows_of(path, reader):
        own = {}
        for name in part.columns:
            column = words.find(str(name))
            key = column.name if column else plain(str(name))
            own["cell" if key == "barcode" else key] = name
        if "cell" not in own:
            mend = "add the barcode of each cell as a column cell"
            reader.wrong(path.name, "a column cell", 1, mend=mend)
            return None
        hashes.append(_hashed(part[own["cell"]]))
        for key in ("donor", "label"):
            if key in own:
                told.setdefault(key, _Words()).add(part[own[key]])
    if not hashes:
        return None
    # Of rows that name one cell twice the last is taken.
    named, last = np.unique(np.concatenate(hashes)[::-1], return_index=True)
    last = sum(map(len, hashes)) - 1 - last
    codes = {key: w.codes for key, w in told.items()}
    found = {key: np.full(file.n, -1, dtype=np.int32) for key in told}
    missing, shown = 0, list[str]()
    for start, stop in cell_chunks.spans(file.n):
        names = file.names(start, stop)
        hashed = _hashed(names)
        at = np.minimum(np.searchsorted(named, hashed), len(named) - 1)
        known = named[at] == hashed
        for key, into in found.items():
            into[start:stop] = np.where(known, codes[key][last[at]], -1)
        missing += int((~known).sum())
        shown += [str(c) for c in names[~known][: SHOWN - len(shown)]]
    for cell in shown:
        mend = "add a row for it, or leave it out of the matrix"
        reader.wrong(path.name, "a row for each cell of the matrix", None, "cell", cell, mend)
    if missing > SHOWN:
        expected = f"a row for each cell of the matrix; {missing:,} have none"
        reader.wrong(path.name, expected, None, "cell")
    return {key: told[key].categorical(into) for key, into in found.items()}


def _rows_of(path: Path, reader: _Reader) -> Iterator[pd.DataFrame]:
    """Yield the rows of a table of cells as words; a large one some at a time."""
    if path.stat().st_size <= SMALL and path.suffix.lower() != ".gz":
        table = reader.table(path)
        if table is not None:
            yield pd.DataFrame(table.rows, columns=pd.Index(table.header), dtype=object)
        return
    zipped = path.suffix.lower() == ".gz"
    try:
        with (gzip.open if zipped else open)(path, "rt", encoding="utf-8-sig", newline="") as f:
            first = f.readline()
            delimiter = max(",;\t", key=first.count)
            header = next(csv.reader([first], delimiter=delimiter), [])
            lines = csv.reader(f, delimiter=delimiter)
            while rows := list(islice((row for row in lines if row), ROWS_AT_ONCE)):
                if any(len(row) != len(header) for row in rows):
                    raise ValueError(f"{len(header)} columns in every row")
                yield pd.DataFrame(rows, columns=pd.Index(header), dtype=object)
    except (csv.Error, ValueError, EOFError, OSError) as e:
        reader.wrong(path.name, f"well-formed CSV in UTF-8 ({e})", mend="export the table again")


def _hashed(names: Any) -> Any:
    """Return 64 bits of each name: two of a million names share them once in 40 million files."""
    return pd.util.hash_array(np.asarray(names, dtype=object), categorize=False)


def _repeated(file: CellFile) -> list[str]:
    """Return names that more than one cell has."""
    hashes = np.concatenate(
        [np.empty(0, np.uint64), *(_hashed(file.names(*s)) for s in cell_chunks.spans(file.n))]
    )
    hashes.sort()
    twice = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    if not len(twice):
        return []
    counted: dict[str, int] = {}
    for span in cell_chunks.spans(file.n):
        names = file.names(*span)
        for name in names[np.isin(_hashed(names), twice)]:
            counted[name] = counted.get(name, 0) + 1
    return [name for name, n in counted.items() if n > 1]


def _genes(var: pd.DataFrame, file: str, reader: _Reader) -> list[str]:
    """Return genes as symbols, written as the book writes them."""
    own = {plain(str(c)): c for c in var.columns}
    column = next((own[n] for n in NAMES if n in own), None)
    names = pd.Series(var.index.astype(str), dtype=object)
    ids = names.str.match(r"ENS[A-Z]*G\d{11}")
    if ids.mean() > 0.5 and column is not None:
        told = var[column].astype(str).to_numpy()
        names = pd.Series(np.where((told != "") & (told != "nan"), told, names), dtype=object)
        reader.notes.append(f"{file}: gene symbols are those of its column {column}.")
    elif ids.mean() > 0.5:
        mend = "add a column gene_symbols to var (to features.tsv the second column)"
        first = int(np.flatnonzero(ids)[0])
        expected = "gene symbols beside Ensembl ids"
        reader.wrong(file, expected, None, "genes", str(names[first]), mend)
    names = names.str.strip().str.replace("-", ".", regex=False)
    found = [FORMER.get(n, n) for n in names]
    for name in [n for n in found if _DATE.fullmatch(n)][:SHOWN]:
        expected = "a gene, not a date (a spreadsheet changed SEPT2, MARCH1 or DEC1)"
        mend = "take the matrix from where it was before the spreadsheet"
        reader.wrong(file, expected, None, "genes", name, mend)
    return found


def _counts(given: _Given, genes: list[str], name: str, reader: _Reader) -> None:
    """Say where the matrix holds anything but raw counts."""
    mend = "give raw counts: in X, in the layer counts or in raw"
    file, table = given.file, given.said is not None
    stored = wrong = 0
    for start, stop in cell_chunks.spans(file.n, file.chunk):
        x = file.counts(start, stop)
        places = np.flatnonzero(_wrong(x.data))
        for place in places[: max(SHOWN - wrong, 0)]:
            row = start + int(np.searchsorted(x.indptr, place, side="right")) - 1
            column = int(x.indices[place])
            value = (given.said or {}).get((row, column), f"{x.data[place]:g}")
            reader.wrong(
                name, "a raw count, a whole number of 0 or more", row + (2 if table else 1),
                genes[column], value, mend,
            )  # fmt: skip
        wrong, stored = wrong + len(places), stored + len(x.data)
    if wrong > SHOWN:
        share = 100 * wrong / max(stored, 1)
        expected = f"raw counts; {wrong:,} values are none ({share:.0f}% of those not 0)"
        reader.wrong(name, expected, None, "X", None, mend)
    if not file.n or not genes:
        reader.wrong(name, "at least one cell and one gene", mend="look at how it was written")


_DATE = re.compile(r"\d{1,2}\.(Mar|Sep|Dec)|(Mar|Sep|Dec)\.\d{1,2}")
_NOT_READ = re.compile(r"(barcodes|features|genes|matrix)\.(tsv|mtx)(\.gz)?")


def companion(name: str) -> bool:
    """Tell whether a file belongs to a 10x matrix in the cohort's own folder."""
    return _NOT_READ.fullmatch(name.lower()) is not None

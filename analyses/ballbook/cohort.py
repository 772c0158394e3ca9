"""A cohort: the tables of one group of patients, read from a catalogue entry or a reader's file."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd

from ballbook import cbioportal, drug_files, expression_files, file_limits
from ballbook.dictionaries import (
    MISSING,
    UNITS,
    Column,
    Dictionary,
    Refused,
    breaches,
    dictionary,
    is_missing,
    plain,
    read_value,
)
from ballbook.errors import Refusal
from ballbook.results import Tier

if TYPE_CHECKING:
    from ballbook.cell_chunks import Cells
    from ballbook.genome_files import Genome
    from ballbook.mutation_catalogue import Catalogue
    from ballbook.variants import Serial

ExpressionKind = Literal["counts", "tpm", "log2", "logcpm"]

# Ids of invented patients start like this (see `ballbook.dummy`).
DUMMY = "DUMMY-"
# Notes of a cohort that say under which names and units it was read start like one of these: by a
# map of the reader's, or by the names that a kind of file is known to have.
OF_MAP = ("Column map: ", "Known name: ")
DAYS_PER_MONTH = 365.25 / 12
DAYS_PER_YEAR = 365.25

# More than any cohort of patients needs; a file beyond them is refused before it fills the memory.
MAX_BYTES = 50_000_000
MAX_COLUMNS = 2_000
MAX_ROWS = 200_000
MAX_CELLS = 2_000_000
MAX_CELL = 10_000
MAX_NAME = 200
MAX_PROBLEMS = 2_000
MAX_EXPRESSION_BYTES = 1_000_000_000
MAX_EXPRESSION_COLUMNS = 80_000
MAX_EXPRESSION_VALUES = 100_000_000
MAX_EXPRESSION_LINE = 5_000_000
MAX_NAMED = 10


@dataclass(frozen=True)
class Cohort:
    """The tables of one cohort, with where they came from.

    Parameters
    ----------
    id, title : str
        Catalogue id (or the name of the reader's file) and a reader's name.
    tier : {"published", "open", "simulated", "yours"}
    patients : DataFrame
        One row a patient, ``patient_id`` unique, columns as in ``data/dictionaries/patients.yml``
        and whatever else the source has.
    outcomes : DataFrame, optional
        One row a patient and endpoint: ``patient_id, endpoint, time_months, event`` (0/1),
        ``event_type``, ``entry_months``.
    mrd : DataFrame, optional
        One row a patient and time point; ``level`` is a fraction (0.0001 is 0.01%).
    expression : DataFrame, optional
        Genes by samples; the column names are patient ids.
    expression_kind : {"counts", "tpm", "log2", "logcpm"}, optional
    files : dict
        sha256 of each file that was read, by name.
    notes : tuple of str
        What a reader must know before believing a number from this cohort.
    drug_response, plates : DataFrame, optional
        Response by patient and drug, and raw wells, as `ballbook.drug_files` reads them.
    serial : Serial, optional
        Reads at variant loci in serial samples, as `ballbook.variants` reads them. Where no table
        patients is given, a sample (controls aside) stands for a patient.
    genome : Genome, optional
        Break points and copy-number segments, as `ballbook.genome_files` reads them; their samples
        stand for patients in the same way.
    catalogue : Catalogue, optional
        Substitutions by kind and neighbours: a table of the 96 channels, or of the variants where a
        genome lies beside them (`ballbook.mutation_catalogue`).
    cells : Cells, optional
        Single cells with their ``donor``, as `ballbook.cells` reads them, the counts left in the
        file; donors stand for patients where no table patients is given.
    """

    id: str
    title: str
    tier: Tier
    patients: pd.DataFrame
    outcomes: pd.DataFrame | None = None
    mrd: pd.DataFrame | None = None
    expression: pd.DataFrame | None = None
    expression_kind: ExpressionKind | None = None
    files: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    drug_response: pd.DataFrame | None = None
    plates: pd.DataFrame | None = None
    serial: Serial | None = None
    genome: Genome | None = None
    catalogue: Catalogue | None = None
    cells: Cells | None = None

    @property
    def n(self) -> int:
        """Number of patients."""
        return len(self.patients)

    @property
    def endpoints(self) -> list[str]:
        """The names of the endpoints that the outcomes have, sorted."""
        return [] if self.outcomes is None else sorted(self.outcomes["endpoint"].unique())

    def lacks(self, endpoint: str) -> str:
        """Return that an endpoint is not given, naming those that are; empty where it is."""
        if endpoint in self.endpoints:
            return ""
        there = f"; the file has {', '.join(self.endpoints)}" if self.endpoints else ""
        return f"not given: {endpoint}{there}"

    def endpoint(self, name: str) -> pd.DataFrame:
        """Return the patients who have endpoint `name`, with its time and event beside them.

        Returns
        -------
        DataFrame
            Columns of `patients` plus ``time_months``, ``event`` (int), ``event_type`` and
            ``entry_months`` where the outcomes have them. Rows without a time or an event are
            left out.

        Raises
        ------
        KeyError
            Where the cohort has no such endpoint, naming those it has.
        """
        if self.outcomes is None:
            raise KeyError(f"{self.id} has no outcomes")
        if name not in self.endpoints:
            known = ", ".join(self.endpoints)
            raise KeyError(f"{self.id} has no endpoint {name!r}; it has {known}")
        rows = self.outcomes[self.outcomes["endpoint"] == name].drop(columns="endpoint")
        rows = rows.dropna(subset=["time_months", "event"])
        return self.patients.merge(rows.astype({"event": int}), on="patient_id", how="inner")

    def where(self, keep: pd.Series) -> Cohort:
        """Return the cohort cut down, in all its tables, to the patients for whom `keep` is true.

        Parameters
        ----------
        keep : Series of bool
            Aligned with the rows of `patients`; missing counts as false.
        """
        patients = self.patients[keep.fillna(False).astype(bool)].reset_index(drop=True)
        ids = set(patients["patient_id"])

        def cut(table: pd.DataFrame | None) -> pd.DataFrame | None:
            if table is None:
                return None
            return table[table["patient_id"].isin(ids)].reset_index(drop=True)

        expression = self.expression
        if expression is not None:
            expression = expression.loc[:, [c for c in expression.columns if c in ids]]
        return replace(
            self,
            patients=patients,
            outcomes=cut(self.outcomes),
            mrd=cut(self.mrd),
            expression=expression,
            drug_response=cut(self.drug_response),
            plates=cut(self.plates),
        )


# -------------------------------------------------------------------------------- problems


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a reader's file, and how to put it right.

    Rows count from 1, the header being row 1; `sheet` is the sheet of a workbook.
    """

    file: str
    row: int | None
    column: str | None
    value: str | None
    expected: str
    mend: str = ""
    sheet: str | None = None

    @property
    def where(self) -> str:
        """File, sheet, row and column, as far as they are known."""
        where = _plain_line(self.file)
        if self.sheet is not None:
            where += f" [{_plain_line(self.sheet)}]"
        if self.row is not None:
            where += f", row {self.row}"
        if self.column is not None:
            where += f", column {_plain_line(self.column)}"
        return where

    def __str__(self) -> str:
        found = "" if self.value is None else f"found {_shown(self.value)}, "
        mend = f" ({self.mend})" if self.mend else ""
        return f"{self.where}: {found}expected {self.expected}{mend}"

    def as_json(self) -> dict[str, Any]:
        """Return the fields and the whole message; a long value is cut."""
        value = None if self.value is None else _cut(self.value)
        column = None if self.column is None else _cut(self.column)
        return {**asdict(self), "value": value, "column": column, "message": str(self)}


class InvalidCohort(Refusal, ValueError):
    """A cohort file was refused; `problems` holds everything that is wrong with it."""

    SHOWN = 100

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.file, p.sheet or "", p.row or 0)))
        n = len(self.problems)
        lines = [f"{n} problem{'s' if n != 1 else ''} in the cohort; nothing was run:"]
        lines += [f"  {p}" for p in self.problems[: self.SHOWN]]
        if n > self.SHOWN:
            lines.append(f"  ... and {n - self.SHOWN:,} more")
        super().__init__("\n".join(lines))


def _cut(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def _shown(value: str) -> str:
    return repr(_cut(value))


def _plain_line(text: str) -> str:
    """Return a name on one line: what would move a terminal's cursor is spelt out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in _cut(text))


# --------------------------------------------------------------------------------- reading


@dataclass
class _Table:
    """A file as text: header, rows and their row numbers in the file."""

    file: str
    header: list[str]
    rows: list[list[str]]
    numbers: list[int]
    kind: str = "patients"

    def column(self, i: int) -> list[str]:
        return [row[i] for row in self.rows]


class _Reader:
    """Reads tables and gathers what is wrong with them."""

    def __init__(self, map: Mapping[str, Any]) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.files: dict[str, str] = {}
        self.columns = {plain(str(k)): str(v) for k, v in map.get("columns", {}).items()}
        named = [*map.get("columns", {}), *map.get("units", {})]
        self.theirs = {plain(str(k)): str(k) for k in named}
        self.values = {
            str(column): {str(k).strip().lower(): str(v) for k, v in recode.items()}
            for column, recode in map.get("values", {}).items()
        }
        self.units = {plain(str(k)): str(v).strip() for k, v in map.get("units", {}).items()}
        self.comma = map.get("decimal") == ","
        self.study = False
        self.used: set[str] = set()
        self.sheet_of: dict[str, tuple[str, str]] = {}
        self.missing = MISSING | {str(v).strip().lower() for v in map.get("missing", ())}
        self.tables = {str(k).strip().lower(): str(v) for k, v in map.get("tables", {}).items()}
        self.parts: dict[str, str] = {}
        self.serial: Serial | None = None
        self.genome: Genome | None = None
        self.catalogue: Catalogue | None = None
        self.cells: Cells | None = None

    def part(self, name: str) -> str:
        """Return what the map takes a sheet or file for, else its own name; keep that it is there.

        A file is known by its name without endings.
        """
        word = name.strip().lower()
        self.parts[name] = self.tables.get(word, word)
        return self.parts[name]

    def of(self, given: Mapping[str, Any], kind: str, name: str) -> Any:
        """Return what a part of the map says of a column of one table, else of any table."""
        return given.get(plain(f"{kind}.{name}"), given.get(plain(name)))

    def wrong(
        self,
        file: str,
        expected: str,
        row: int | None = None,
        column: str | None = None,
        value: str | None = None,
        mend: str = "",
    ) -> None:
        """Keep one problem; beyond `MAX_PROBLEMS` only say that there are more."""
        name, sheet = self.sheet_of.get(file, (file, None))
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(name, row, column, value, expected, mend, sheet))
        elif len(self.problems) == MAX_PROBLEMS:
            mend = "mend these first, then check again"
            self.problems.append(Problem(name, None, None, None, "fewer problems", mend))

    def mapped(self) -> list[str]:
        """Return what the column map did, in words."""

        def name(word: str) -> str:
            return _plain_line(self.theirs.get(word, word))

        renamed = [f"{name(a)} is read as {_plain_line(b)}" for a, b in self.columns.items()]
        scaled = [f"{name(c)} is given in {u}" for c, u in self.units.items()]
        taken = [
            f"{_plain_line(name)} is taken for the table {_plain_line(ours)}"
            for name, ours in self.tables.items()
        ]
        recoded = [
            f"{_plain_line(c)}: " + ", ".join(f"{_shown(a)} is {_shown(b)}" for a, b in v.items())
            for c, v in self.values.items()
        ]
        return [f"{OF_MAP[0]}{told}." for told in (*taken, *renamed, *scaled, *recoded)]

    def too_large(self, file: str, columns: int, rows: int) -> bool:
        """Note a table that is larger than a cohort of patients can be."""
        if columns > MAX_COLUMNS:
            self.wrong(
                file,
                f"at most {MAX_COLUMNS:,} columns",
                value=f"{columns:,} columns",
                mend="keep one row a patient; put an expression matrix in a file of its own, "
                "expression.csv, in one folder with patients.csv",
            )
            return True
        if rows > MAX_ROWS or columns * rows > MAX_CELLS:
            self.wrong(
                file,
                f"at most {MAX_ROWS:,} rows and {MAX_CELLS:,} cells",
                value=f"{columns:,} columns and {rows:,} rows",
                mend="keep one row a patient, and the columns that the template names",
            )
            return True
        return False

    # -- files to text

    def table(self, path: Path) -> _Table | None:
        """Return the one table of a file, or None after noting why it cannot be read."""
        content = self.content(path)
        if content is None:
            return None
        suffix = path.suffix.lower()
        if suffix == ".xlsx":
            sheets = self.sheets(path.name, content)
            return next(iter(sheets.values()), None) if sheets else None
        if suffix == ".parquet":
            return self.parquet(path.name, content)
        if suffix in {".csv", ".tsv", ".txt"}:
            return self.delimited(path.name, content, "\t" if suffix == ".tsv" else None)
        self.wrong(
            path.name,
            "a file that ends with .csv, .tsv, .xlsx, .parquet or .h5ad",
            mend="save the table as CSV UTF-8",
        )
        return None

    def content(self, path: Path) -> bytes | None:
        """Return the bytes of a file and keep their sha256, unless it is absurdly large."""
        try:
            size = path.stat().st_size
            if size > MAX_BYTES:
                self.wrong(
                    path.name,
                    f"at most {MAX_BYTES // 10**6} MB",
                    value=f"{size / 1e6:,.0f} MB",
                    mend="keep one row a patient, and the columns that the template names",
                )
                return None
            content = path.read_bytes()
        except OSError as e:
            mend = "give the path of a file that you may read"
            self.wrong(path.name, f"a readable file ({e.strerror})", mend=mend)
            return None
        self.files[path.name] = hashlib.sha256(content).hexdigest()
        return content

    def delimited(
        self, file: str, content: bytes, delimiter: str | None, quoted: bool = True
    ) -> _Table | None:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as e:
            line = content[: e.start].count(b"\n") + 1
            mend = "in a spreadsheet, save as `CSV UTF-8`"
            self.wrong(file, "text in UTF-8", row=line, mend=mend)
            return None
        if "\0" in text:
            line = text[: text.index("\0")].count("\n") + 1
            mend = "export the table again as CSV UTF-8; this file is damaged or UTF-16"
            self.wrong(file, "text without zero bytes", row=line, mend=mend)
            return None
        first = text.lstrip("\r\n").split("\n", 1)[0]
        delimiter = delimiter or max(",;\t", key=first.count)
        lines_there = max(content.count(b"\n"), content.count(b"\r"))
        if self.too_large(file, first.count(delimiter) + 1, lines_there):
            return None
        rows, numbers = [], []
        lines = io.StringIO(text, newline="")
        if quoted:
            reader = csv.reader(lines, delimiter=delimiter)
        else:
            reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        try:
            start = 1
            for row in reader:
                if any(cell.strip() for cell in row):
                    rows.append(row)
                    numbers.append(start)
                start = reader.line_num + 1
        except csv.Error as e:
            mend = "look there for a quotation mark without its partner, or a cell far too long"
            self.wrong(file, f"well-formed CSV ({e})", row=reader.line_num, mend=mend)
            return None
        return self.checked(file, rows, numbers)

    def sheets(self, file: str, content: bytes) -> dict[str, _Table]:
        if self.inflated(file, content):
            return {}
        if stray := file_limits.workbook(content, MAX_COLUMNS, MAX_ROWS):
            expected = f"at most {MAX_COLUMNS:,} columns and {MAX_ROWS:,} rows"
            mend = "delete what stands there (whole rows and columns), and save again"
            self.wrong(file, expected, None, None, stray, mend)
            return {}
        try:
            raw = pd.read_excel(
                io.BytesIO(content),
                sheet_name=None,
                header=None,
                dtype=str,
                keep_default_na=False,
                engine="openpyxl",
            )
        except Exception as e:  # openpyxl fails on broken files in many ways
            mend = "save it again as .xlsx or as CSV UTF-8, without a password"
            self.wrong(file, f"an Excel workbook ({type(e).__name__})", mend=mend)
            return {}
        full = [str(name) for name, frame in raw.items() if frame.size]
        kinds = {name: self.part(name) for name in full}
        if full and "patients" not in kinds.values():
            kinds[full[0]] = "patients"
        found: dict[str, _Table] = {}
        for name, kind in kinds.items():
            if kind not in _NAMED:
                self.notes.append(f"{file}: sheet {_plain_line(name)} was not read.")
                continue
            label = f"{file} [{name}]"
            self.sheet_of[label] = (file, name)
            if kind in found:
                mend = "keep one of the two sheets"
                self.wrong(label, f"one sheet for the table {kind}", mend=mend)
            elif table := self.frame(label, raw[name], first=1):
                found[kind] = table
        if not found and not self.problems:
            mend = "put the table on the first sheet, its header in row 1"
            self.wrong(file, "a sheet with a header and a patient", mend=mend)
        return found

    # -- a cBioPortal study

    def clinical(self, path: Path) -> _Table | None:
        """Return a clinical file of a study with the columns under names that we know."""
        content = self.content(path)
        if content is None:
            return None
        bare, shown = cbioportal.uncommented(content)
        table = self.delimited(path.name, bare, "\t", quoted=False)
        if table is None:
            return None
        if "PATIENT_ID" not in map(str.upper, table.header):
            mend = "see the file formats of cBioPortal"
            self.wrong(path.name, "a column PATIENT_ID", mend=mend)
            return None
        names = cbioportal.our_names(table.header, shown)
        for i, name in enumerate(table.header):
            if name in names and plain(name) not in self.columns:
                table.header[i] = names[name]
                self.notes.append(f"{OF_MAP[1]}{path.name}: {name} is read as {names[name]}.")
                if name.upper() == "AGE_IN_DAYS":
                    self.units.setdefault("age_years", "days")
            elif plain(name) in self.columns:
                self.used.add(plain(name))
        return table

    def samples(self, path: Path) -> tuple[_Table | None, dict[str, str]]:
        """Return the sample file of a study with one row a patient, and the patient of a sample."""
        table = self.clinical(path)
        if table is None:
            return None, {}
        upper = [name.upper() for name in table.header]
        early = cbioportal.early_samples(table.header, table.rows)
        first, rows, differing = cbioportal.one_row(early, table.rows, self.missing)
        patient_of = {}
        if "SAMPLE_ID" in upper:
            name = upper.index("SAMPLE_ID")
            patient_of = {table.rows[i][name]: who for who, found in early.items() for i in found}
        keep = [i for i, name in enumerate(table.header) if name.upper() != "SAMPLE_ID"]
        if len(rows) < len(table.rows):
            words = [table.header[j] for j in differing if upper[j] != "SAMPLE_ID"]
            self.notes.append(
                f"{path.name}: {len(table.rows)} samples of {len(rows)} patients; the first sample "
                f"that is not of a relapse is taken. "
                f"Those of a patient differ in: "
                f"{', '.join(words) or 'nothing'}."
            )
        collapsed = _Table(
            path.name,
            [table.header[i] for i in keep],
            [[row[i] for i in keep] for row in rows],
            [table.numbers[i] for i in first],
        )
        return collapsed, patient_of

    def copy_number(self, path: Path, patient_of: Mapping[str, str]) -> _Table | None:
        """Return the discrete copy number of the genes in our dictionary, one row a patient."""
        try:
            self.files[path.name] = file_limits.digest(path, MAX_EXPRESSION_BYTES)
            lines = list(cbioportal.copy_number_lines(path))
        except (OSError, UnicodeDecodeError, ValueError) as e:
            self.wrong(path.name, f"discrete copy number ({e})", mend="export the file again")
            return None
        if not lines or lines[0][1][0] != "Hugo_Symbol":
            mend = "see the file formats of cBioPortal"
            self.wrong(path.name, "a header that begins with Hugo_Symbol", mend=mend)
            return None
        (_, header), *genes = lines
        calls: dict[str, dict[str, str]] = {}
        for number, cells in genes:
            of_sample = dict(zip(header[1:], cells[1:], strict=False))
            for sample, who in patient_of.items():
                text = of_sample.get(sample, "")
                found = cbioportal.call(text)
                if found is None:
                    mend = "give discrete calls; log ratios cannot be read as deletions"
                    self.wrong(path.name, "-2, -1, 0, 1, 2 or NA", number, sample, text, mend)
                elif found:
                    calls.setdefault(who, {}).setdefault(cells[0].lower(), found)
        names = sorted({gene for row in calls.values() for gene in row})
        if not names:
            self.notes.append(f"{path.name}: none of {', '.join(cbioportal.GENES)} for a patient.")
            return None
        self.notes.append(
            f"{path.name}: {', '.join(n.upper() for n in names)} of {len(calls)} patients; "
            "-2 is read as hom, -1 as het, anything else as wt. A shallow loss may be of the whole "
            "arm, and of one sample a patient only."
        )
        rows = [[who, *(row.get(n, "") for n in names)] for who, row in calls.items()]
        return _Table(path.name, ["patient_id", *names], rows, [1] * len(rows))

    def beside(self, patients: pd.DataFrame, table: _Table) -> pd.DataFrame:
        """Return patients with the columns of another table that has one row a patient."""
        more, _, _ = self.patients(table)
        if "patient_id" not in more or "patient_id" not in patients:
            return patients
        both = [str(c) for c in more if c in patients and c != "patient_id"]
        if both:
            self.notes.append(f"{table.file}: {', '.join(both)} not taken, as patients have them.")
        more = more.drop(columns=both).drop_duplicates("patient_id")
        return patients.merge(more, on="patient_id", how="left")

    def inflated(self, file: str, content: bytes) -> bool:
        """Note a workbook that unpacks to far more than a cohort holds."""
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as parts:
                size = sum(part.file_size for part in parts.infolist())
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            return False
        if size > 4 * MAX_BYTES:
            self.wrong(
                file,
                f"a workbook that unpacks to at most {4 * MAX_BYTES // 10**6} MB",
                value=f"{size / 1e6:,.0f} MB",
                mend="keep only the sheets of the cohort",
            )
        return size > 4 * MAX_BYTES

    def parquet(self, file: str, content: bytes) -> _Table | None:
        from pyarrow import parquet

        try:
            about = parquet.ParquetFile(io.BytesIO(content)).metadata
            if self.too_large(file, about.num_columns, about.num_rows):
                return None
            raw = pd.read_parquet(io.BytesIO(content))
        except Exception as e:  # pyarrow fails on broken files in many ways
            mend = "write it again, or save the table as CSV UTF-8"
            self.wrong(file, f"a Parquet file ({type(e).__name__})", mend=mend)
            return None
        header = pd.DataFrame([[str(c) for c in raw.columns]])
        body = raw.astype(object).where(raw.notna(), "").astype(str)
        body.columns = header.columns
        return self.frame(file, pd.concat([header, body], ignore_index=True), first=1)

    def frame(self, file: str, raw: pd.DataFrame, first: int) -> _Table | None:
        if self.too_large(file, raw.shape[1], raw.shape[0]):
            return None
        cells = raw.astype(object).where(raw.notna(), "").astype(str)
        rows, numbers = [], []
        for i, row in enumerate(cells.itertuples(index=False), start=first):
            values = [str(v) for v in row]
            if any(v.strip() for v in values):
                rows.append(values)
                numbers.append(i)
        return self.checked(file, rows, numbers)

    def checked(self, file: str, rows: list[list[str]], numbers: list[int]) -> _Table | None:
        """Return rows of equal length under a header, noting rows that are not."""
        if len(rows) < 2:
            mend = "write the names of the columns in row 1 and one patient in each row below"
            self.wrong(file, "a header and at least one row", mend=mend)
            return None
        header = [name.strip() for name in rows[0]]
        width = len(header)
        while width and not header[width - 1]:
            width -= 1
        if self.too_large(file, width, len(rows)):
            return None
        whole = True
        for row, number in zip(rows[1:], numbers[1:], strict=True):
            extra = [c for c in row[width:] if c.strip()]
            if len(row) < width or extra:
                whole = False
                found = f"{len(row)} cells"
                mend = "put text that holds the delimiter in quotation marks; fill missing cells"
                self.wrong(file, f"{width} cells, as in the header", number, None, found, mend)
            for name, cell in zip(header, row, strict=False):
                if len(cell) > MAX_CELL:
                    whole = False
                    expected = f"a cell of at most {MAX_CELL:,} characters"
                    mend = "shorten the text, or leave the column out"
                    self.wrong(file, expected, number, name, f"{len(cell):,} characters", mend)
        for i, name in enumerate(header[:width]):
            if not name or len(name) > MAX_NAME:
                whole = False
                self.wrong(
                    file,
                    "a name for every column" if not name else f"at most {MAX_NAME} characters",
                    row=numbers[0],
                    column=f"number {i + 1}",
                    mend="write its name in the header, or delete the column",
                )
        if not whole:
            return None
        body = [[c.strip() for c in row[:width]] for row in rows[1:]]
        return _Table(file, header[:width], body, numbers[1:])

    # -- text to columns

    def called(self, table: _Table, name: str, words: Dictionary) -> str:
        """Return our name of one of a table's columns, or its own where we have none."""
        wanted = self.of(self.columns, table.kind, name) or name
        column = words.find(wanted)
        return column.name if column else plain(wanted)

    def named(self, table: _Table, words: Dictionary) -> dict[str, int]:
        """Return our names of a table's columns, with their positions, noting any that clash."""
        found: dict[str, int] = {}
        for i, name in enumerate(table.header):
            ours = self.called(table, name, words)
            self.used |= {plain(name), plain(f"{table.kind}.{name}")}
            if ours in found:
                other = table.header[found[ours]]
                mend = "delete one, or rename it if it means something else"
                expected = f"one column for {ours}, not also {_shown(other)}"
                self.wrong(table.file, expected, column=name, mend=mend)
            else:
                found[ours] = i
        return found

    def typed(self, table: _Table, i: int, column: Column) -> pd.DataFrame:
        """Return the values of one column, and those a cell gives besides, noting bad cells."""
        header = table.header[i]
        names = (f"{table.kind}.{header}", column.name, header)
        recode = next((self.values[n] for n in names if n in self.values), {})
        unit = self.of(self.units, table.kind, header) or self.units.get(column.name)
        if column.type == "mrd" and column.unit == "fraction" and unit == "percent":
            column, unit = replace(column, unit="percent"), None
        # Cells of a column in percent may carry their sign, or a bound such as <0.01.
        factor = 0.01 if column.type == "mrd" and column.unit == "percent" else 1.0
        if unit is not None:
            known = UNITS.get(column.unit or "", {})
            factor = known.get(unit, 1.0)
            if unit not in known:
                self.wrong(
                    "the column map",
                    f"one of the units {', '.join(known)}" if known else "a column with a unit",
                    column=table.header[i],
                    value=unit,
                    mend="see `units` in the column map",
                )
        out: list[dict[str, Any]] = []
        for row, number in zip(table.rows, table.numbers, strict=True):
            text = recode.get(row[i].lower(), row[i])
            if self.comma and column.type in {"number", "integer", "mrd"}:
                text = re.sub(r"^([<+-]?\s*\d+),(\d+\s*%?)$", r"\1.\2", text, flags=re.ASCII)
            text = _scaled(text, factor)
            value: dict[str, Any] = {}
            try:
                if not is_missing(text, column, self.missing):
                    value = read_value(text, column)
                elif column.required:
                    raise Refused(text)
            except Refused:
                mend, expected = column.mend(row[i]), column.expected
                if unit is not None:
                    expected += f", given in {unit}"
                self.wrong(table.file, expected, number, table.header[i], row[i], mend)
            out.append(value)
        frame = pd.DataFrame(out, index=range(len(out)))
        if column.name not in frame and column.type != "mrd":
            frame[column.name] = np.nan
        return frame

    def known(self, table: _Table, words: Dictionary) -> tuple[pd.DataFrame, dict[str, int]]:
        """Return the columns of a table that the dictionary knows, and the others' positions."""
        names = self.named(table, words)
        parts = []
        for column in words.columns:
            if column.name in names:
                parts.append(self.typed(table, names.pop(column.name), column))
            elif column.required and not (column.name == "time_months" and _TIMES & set(names)):
                mend = f"add it, or map yours: `columns: {{your name: {column.name}}}`"
                self.wrong(table.file, f"a column {column.name}: {column.help}", mend=mend)
        parts.append(pd.DataFrame(index=range(len(table.rows))))
        return pd.concat(parts, axis=1), names

    def other(self, table: _Table, name: str, i: int, words: Dictionary) -> pd.Series:
        """Return a column no dictionary knows: numbers if all are, else text."""
        near = get_close_matches(name, [c.name for c in words.columns], n=1, cutoff=0.85)
        if near:
            self.notes.append(
                f"{table.file}: column {table.header[i]!r} is not known; is it {near[0]!r}?"
            )
        text = pd.Series(table.column(i), dtype=object)
        text = text.mask(text.str.lower().isin(self.missing))
        number = pd.to_numeric(text, errors="coerce")
        return number if (number.notna() == text.notna()).all() else text

    def repeated(self, table: _Table, frame: pd.DataFrame, key: list[str]) -> None:
        """Note the rows whose key an earlier row has."""
        if not set(key) <= set(frame.columns):
            return
        again = frame.duplicated(key) & frame[key].notna().all(axis=1)
        for i in np.flatnonzero(again.to_numpy()):
            value = ", ".join(str(frame.iloc[i][k]) for k in key)
            expected = f"each {' and '.join(key)} once"
            mend = "keep one row; repeated measurements go into outcomes.csv or mrd.csv"
            self.wrong(table.file, expected, table.numbers[i], key[0], value, mend)

    def strangers(self, table: _Table, frame: pd.DataFrame, patients: pd.DataFrame) -> None:
        """Note the rows about somebody who is not in patients."""
        if "patient_id" not in frame or "patient_id" not in patients:
            return
        unknown = frame["patient_id"].notna() & ~frame["patient_id"].isin(patients["patient_id"])
        for i in np.flatnonzero(unknown.to_numpy()):
            value = str(frame["patient_id"].iloc[i])
            mend = "add this patient to patients, or delete the row"
            number = table.numbers[i]
            self.wrong(table.file, "a patient_id of patients", number, "patient_id", value, mend)

    def breaking(self, file: str, frame: pd.DataFrame | None, table: str) -> None:
        """Note where a typed table breaks the schema of its dictionary; its index are rows."""
        for breach in [] if frame is None else breaches(frame, table):
            row = int(breach.row) if isinstance(breach.row, (int, np.integer)) else None
            mend = "see the dictionary that `ballbook template` writes"
            self.wrong(file, breach.expected, row, breach.column, breach.value, mend)

    # -- the tables

    def patients(
        self, table: _Table
    ) -> tuple[pd.DataFrame, pd.DataFrame | None, pd.DataFrame | None]:
        """Return patients, and the outcomes and MRD that a wide table carries beside them."""
        words = dictionary("patients")
        frame, rest = self.known(table, words)
        self.repeated(table, frame, ["patient_id"])
        times = {n: i for n in rest if _WIDE_OUTCOME.fullmatch(n) for i in [rest[n]]}
        levels = {n: i for n in rest if _WIDE_MRD.fullmatch(n) for i in [rest[n]]}
        extra = {
            n: self.other(table, n, i, words)
            for n, i in rest.items()
            if n not in times and n not in levels
        }
        for name in sorted(set(extra) & set(map(str, frame.columns))):
            expected = f"no column {name}: another column says the same"
            mend = "delete it, or rename it if it means something else"
            self.wrong(table.file, expected, None, table.header[rest[name]], mend=mend)
            del extra[name]
        if extra:
            frame = pd.concat([frame, pd.DataFrame(extra)], axis=1)
        if "patient_id" not in frame:
            return frame, None, None
        outcomes = self.wide_outcomes(table, frame["patient_id"], times) if times else None
        mrd = self.wide_mrd(table, frame["patient_id"], levels) if levels else None
        return frame, outcomes, mrd

    def wide_outcomes(
        self, table: _Table, ids: pd.Series, columns: dict[str, int]
    ) -> pd.DataFrame | None:
        words = dictionary("outcomes")
        kind = {c.name: c for c in words.columns}
        by_endpoint: dict[str, dict[str, int]] = {}
        for name, i in columns.items():
            found = cast(re.Match[str], _WIDE_OUTCOME.fullmatch(name))
            by_endpoint.setdefault(found["endpoint"], {})[found["what"]] = i
        parts = []
        for endpoint, given in by_endpoint.items():
            label = read_value(endpoint.replace("_", " "), kind["endpoint"])["endpoint"]
            times = [w for w in given if w in _PER_MONTH]
            events = [w for w in given if w in {"event", "status"}]
            if len(times) != 1 or len(events) != 1:
                self.wrong(
                    table.file,
                    f"one {endpoint}_months (or _days, _years) and one {endpoint}_event together",
                    mend="add the missing one of the two, or delete the one too many",
                )
                continue
            frame = pd.DataFrame({"patient_id": ids, "endpoint": label})
            unit, i = times[0], given[times[0]]
            frame["time_months"] = self.time(table, i, unit, kind["time_months"])
            optional = replace(kind["event"], required=False)
            frame["event"] = self.typed(table, given[events[0]], optional)["event"]
            for what in ("event_type", "entry_months"):
                if what in given:
                    frame[what] = self.typed(table, given[what], kind[what])[what]
            half = frame["time_months"].notna() != frame["event"].notna()
            if self.study and half.any():
                # Public studies have such patients; no reader of theirs can mend them.
                self.notes.append(
                    f"{table.file}: {int(half.sum())} patients have the time or the event of "
                    f"{label} alone and are left out of it."
                )
                half = half & False
            for row in np.flatnonzero(half.to_numpy()):
                cells = table.rows[row]
                # A cell already refused has its own line.
                given_both = all(
                    not is_missing(cells[j], None, self.missing) for j in (i, given[events[0]])
                )
                if not given_both:
                    self.wrong(
                        table.file,
                        f"both {endpoint} time and {endpoint} event, or neither",
                        table.numbers[row],
                        table.header[i],
                        cells[i],
                        "fill in time and event, or leave both blank",
                    )
            self.consistent(table, frame)
            frame.index = pd.Index(table.numbers)
            parts.append(frame.dropna(subset=["time_months", "event"]))
        return _finished_outcomes(parts)

    def time(self, table: _Table, i: int, unit: str, column: Column) -> pd.Series:
        """Return a time in months from a column in days, months or years."""
        scale = _PER_MONTH[unit]
        own = replace(
            column,
            name="time_months",
            unit=unit,
            required=False,
            maximum=None if column.maximum is None else column.maximum / scale,
        )
        return self.typed(table, i, own)["time_months"].astype(float) * scale

    def one_row_each(
        self, table: _Table, pattern: re.Pattern[str], patients: pd.DataFrame
    ) -> tuple[pd.Series, dict[str, int]] | None:
        """Return ids and wide columns of a table with one row a patient; None of a long table."""
        words = dictionary(table.kind)
        names = {self.called(table, name, words) for name in table.header}
        if words.key[1] in names or not any(wide_name(n) for n in names):
            return None
        frame, rest = self.known(table, replace(words, columns=words.columns[:1]))
        self.repeated(table, frame, ["patient_id"])
        self.strangers(table, frame, patients)
        wide = {n: i for n, i in rest.items() if pattern.fullmatch(n)}
        ids = frame.get("patient_id", pd.Series(np.nan, range(len(table.rows))))
        return ids, wide

    def outcomes(self, table: _Table, patients: pd.DataFrame) -> pd.DataFrame | None:
        words = dictionary("outcomes")
        if wide := self.one_row_each(table, _WIDE_OUTCOME, patients):
            return self.wide_outcomes(table, *wide)
        frame, rest = self.known(table, words)
        kind = {c.name: c for c in words.columns}
        if "time_months" not in frame:
            for name in sorted(_TIMES & set(rest)):
                i = rest[name]
                unit = name.removeprefix("time_")
                own = replace(kind["time_months"], unit=unit)
                frame["time_months"] = self.time(table, i, unit, own)
                for row in np.flatnonzero(frame["time_months"].isna().to_numpy()):
                    if is_missing(table.rows[row][i], None, self.missing):
                        number, mend = table.numbers[row], own.mend("")
                        self.wrong(table.file, own.expected, number, table.header[i], "", mend)
                break
        self.repeated(table, frame, ["patient_id", "endpoint"])
        self.strangers(table, frame, patients)
        if not {"patient_id", "endpoint", "time_months", "event"} <= set(frame.columns):
            return None
        self.consistent(table, frame)
        return _finished_outcomes([frame.set_axis(table.numbers)])

    def consistent(self, table: _Table, frame: pd.DataFrame) -> None:
        """Note rows whose event, event type, entry and time contradict each other."""
        if "event_type" in frame:
            none = frame["event_type"] == "none"
            named = frame["event_type"].notna() & ~none
            clash = (named & (frame["event"] == 0)) | (none & (frame["event"] == 1))
            for i in np.flatnonzero(clash.to_numpy()):
                value = f"event {frame['event'].iloc[i]:g}, {frame['event_type'].iloc[i]}"
                expected = "an event type exactly where event is 1"
                mend = "write none (or nothing) for a censored patient"
                self.wrong(table.file, expected, table.numbers[i], "event_type", value, mend)
        if "entry_months" in frame:
            # Entry at zero is no late entry, whatever the time; else somebody must be at risk.
            entry = frame["entry_months"]
            late = (entry > 0) & (entry >= frame["time_months"])
            for i in np.flatnonzero(late.to_numpy()):
                value = f"{frame['entry_months'].iloc[i]:g}"
                expected = "an entry before the end of follow-up"
                mend = "entry and time both count from the start of the endpoint"
                self.wrong(table.file, expected, table.numbers[i], "entry_months", value, mend)

    def wide_mrd(self, table: _Table, ids: pd.Series, columns: dict[str, int]) -> pd.DataFrame:
        level = next(c for c in dictionary("mrd").columns if c.name == "level")
        percent = replace(level, unit="percent")
        parts, seen = [], dict[str, str]()
        for name, i in columns.items():
            stem = name.removeprefix("mrd_")
            timepoint = timepoint_name(stem.removesuffix("_percent"))
            if timepoint in seen:
                expected = f"one column for MRD at {timepoint}, not also {_shown(seen[timepoint])}"
                mend = "delete one, or rename it if it means another time point"
                self.wrong(table.file, expected, column=table.header[i], mend=mend)
                continue
            seen[timepoint] = table.header[i]
            if stem.endswith("_percent"):
                frame = self.typed(table, i, percent)
            else:
                frame = self.typed(table, i, level)
            frame.insert(0, "patient_id", ids)
            frame.insert(1, "timepoint", timepoint)
            parts.append(frame.set_axis(table.numbers))
        return _finished_mrd(parts)

    def mrd(self, table: _Table, patients: pd.DataFrame) -> pd.DataFrame | None:
        if wide := self.one_row_each(table, _WIDE_MRD, patients):
            return self.wide_mrd(table, *wide)
        frame, _ = self.known(table, dictionary("mrd"))
        # The cell of a level may itself say the class or the limit of detection.
        frame = frame.T.groupby(level=0, sort=False).first().T
        if not {"patient_id", "timepoint"} <= set(frame.columns):
            return None
        frame["timepoint"] = frame["timepoint"].map(timepoint_name, na_action="ignore")
        self.repeated(table, frame, ["patient_id", "timepoint"])
        self.strangers(table, frame, patients)
        if not {"level", "category"} & set(frame.columns):
            mend = "add level (a fraction) or category (negative, low, high, positive)"
            self.wrong(table.file, "a column level or category", mend=mend)
            return None
        return _finished_mrd([frame.set_axis(table.numbers)])

    def expression(
        self, path: Path, declared: str | None, patients: pd.DataFrame
    ) -> tuple[pd.DataFrame | None, ExpressionKind | None]:
        """Return genes by patients and what the numbers are."""
        file = path.name
        kinds = dictionary("expression").kinds
        if not self.bounded(path):
            return None, None
        try:
            if path.suffix == ".h5ad":
                import anndata

                cells = anndata.read_h5ad(path)
                frame = cells.to_df().T
                declared = declared or cells.uns.get("expression_kind")
            elif path.suffix == ".parquet":
                frame = pd.read_parquet(path)
                if isinstance(frame.index, pd.RangeIndex):
                    frame = frame.set_index(frame.columns[0])
            else:
                sep = "\t" if ".tsv" in path.suffixes else ","
                if odd := file_limits.first_text(path, sep):
                    mend = "leave a gene out that is not measured in every patient"
                    self.wrong(file, "a number", *odd, mend)
                    return None, None
                # Columns that hold anything but numbers stay text, which is refused below.
                frame = pd.read_csv(path, sep=sep, index_col=0, keep_default_na=False)
                frame = frame.astype({c: str for c in frame.select_dtypes(bool)})
        except Exception as e:  # each reader fails on broken files in its own ways
            mend = "write genes in the first column and one column a patient"
            expected = f"a table of genes by patients ({type(e).__name__})"
            self.wrong(file, expected, mend=mend)
            return None, None
        before = len(self.problems)
        frame.index = frame.index.astype(str).str.strip()
        frame.columns = frame.columns.astype(str).str.strip()
        ids = set(patients["patient_id"]) if "patient_id" in patients else set()
        values = frame.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
        genes, names = list(frame.index), list(frame.columns)
        turned = expression_files.patients_in_rows(genes, names, ids)

        def place(gene: int, patient: int) -> tuple[int, str]:
            row, column = (patient, gene) if turned else (gene, patient)
            return row + 2, str(frame.columns[column])

        if turned:
            genes, names, values = names, genes, values.T
            self.notes.append(f"{file}: patients are its rows and genes its columns; turned round.")
        self.gene_names(file, genes, turned)
        row = None if turned else 1
        for name in [n for n in names if n not in ids]:
            mend = "name a patient_id of patients, or leave the sample out"
            self.wrong(file, "a patient_id of patients", row, name, mend=mend)
        counted = Counter(names)
        for name in sorted(n for n, k in counted.items() if k > 1):
            mend = "keep the sample taken at diagnosis"
            self.wrong(file, "each patient once", row, name, mend=mend)
        finite = np.isfinite(values)
        for j in np.flatnonzero(~finite.all(axis=0)):
            bad = np.flatnonzero(~finite[:, j])
            number, column = place(int(bad[0]), int(j))
            text = str(frame.iloc[number - 2, int(j) if not turned else int(bad[0])])
            more = f" ({bad.size - 1} more of this patient)" if bad.size > 1 else ""
            mend = "leave a gene out that is not measured in every patient"
            self.wrong(file, f"a number{more}", number, column, text, mend)
        if len(self.problems) > before or not values.size:
            if not values.size:
                mend = "write genes in the first column and one column a patient"
                self.wrong(file, "at least one gene and one patient", mend=mend)
            return None, None
        kind, why = declared, ""
        if kind is None:
            kind, why = expression_files.detected_kind(values)
            if kind is not None:
                self.notes.append(f"{file}: taken as {kind}, because {why}; declare it if not so.")
        if kind not in kinds:
            self.wrong(
                file,
                f"a declaration of what the numbers are, one of {', '.join(kinds)}",
                value=None if kind is None else str(kind),
                mend=f"{why + '; ' if why else ''}name the file expression.<kind>.csv, "
                "or write expression_kind in cohort.yml",
            )
            return None, None
        if clash := expression_files.contradiction(str(kind), values):
            self.wrong(file, clash[0], mend=clash[1])
            return None, None
        table = pd.DataFrame(values, index=pd.Index(genes, name="gene"), columns=names)
        return table, cast(ExpressionKind, kind)

    def bounded(self, path: Path) -> bool:
        """Return whether a matrix fits in memory, noting where it does not; keep its sha256."""
        digest, size, rows, columns, line = hashlib.sha256(), 0, 0, 0, 0
        text = path.suffix not in {".h5ad", ".parquet"}
        try:
            with path.open("rb") as raw:
                while block := raw.read(1 << 20):
                    digest.update(block)
            self.files[path.name] = digest.hexdigest()
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as content:
                header = content.readline(MAX_EXPRESSION_LINE) if text else b""
                while size <= MAX_EXPRESSION_BYTES and (block := content.read(1 << 20)):
                    size += len(block)
                    rows += block.count(b"\n")
                    line = line + len(block) if b"\n" not in block else 0
                    if text and line > MAX_EXPRESSION_LINE:
                        columns = MAX_EXPRESSION_COLUMNS + 1
                        break
            told = header.count(b"\t" if ".tsv" in path.suffixes else b",")
            columns = max(
                columns, told, len(header) // MAX_EXPRESSION_LINE * MAX_EXPRESSION_COLUMNS * 2
            )
        except (OSError, EOFError, zlib.error) as e:
            self.wrong(path.name, f"a readable file ({type(e).__name__})", mend="write it again")
            return False
        try:
            if path.suffix == ".h5ad":
                columns, rows, size = file_limits.h5ad(path)
            elif path.suffix == ".parquet":
                from pyarrow import parquet

                about = parquet.ParquetFile(path).metadata
                rows, columns = about.num_rows, about.num_columns
        except Exception:  # the reader that follows says what is wrong
            return True
        few = columns <= MAX_EXPRESSION_COLUMNS and rows * columns <= MAX_EXPRESSION_VALUES
        if few and size <= MAX_EXPRESSION_BYTES:
            return True
        self.wrong(
            path.name,
            f"at most {MAX_EXPRESSION_COLUMNS:,} columns, {MAX_EXPRESSION_VALUES:,} values and "
            f"{MAX_EXPRESSION_BYTES // 10**6:,} MB",
            value=f"{columns:,} columns, {rows:,} rows",
            mend="keep one column a patient and one row a gene",
        )
        return False

    def gene_names(self, file: str, names: list[str], turned: bool) -> None:
        """Note genes given twice, and those that a spreadsheet turned into dates."""

        def wrong(i: int, expected: str, mend: str) -> None:
            row, column = (1, names[i]) if turned else (i + 2, "gene")
            self.wrong(file, expected, row, column, names[i], mend)

        index = pd.Index(names, dtype=object)
        for i in np.flatnonzero(index.duplicated()):
            wrong(int(i), "each gene once", "keep one row a gene, or use Ensembl ids")
        dated = index.str.fullmatch(r"\d{1,2}-(Mar|Sep|Dec)|(Mar|Sep|Dec)-\d{1,2}")
        for i in np.flatnonzero(dated):
            expected = "a gene, not a date (a spreadsheet changed SEPT2, MARCH1 or DEC1)"
            wrong(int(i), expected, "take the matrix from where it was before the spreadsheet")

    def observations(self, path: Path) -> tuple[_Table | None, str | None]:
        """Return the patients of an h5ad, which are its observations, and its declared kind."""
        import anndata

        try:
            if self.too_large(path.name, 1, file_limits.h5ad(path)[0]) or not self.bounded(path):
                return None, None
            data = anndata.read_h5ad(path, backed="r")
            obs, declared = data.obs.copy(), data.uns.get("expression_kind")
            data.file.close()
        except Exception as e:  # h5py and anndata fail on broken files in many ways
            mend = "write it again with anndata"
            self.wrong(path.name, f"an h5ad file ({type(e).__name__})", mend=mend)
            return None, None
        if self.too_large(path.name, obs.shape[1] + 1, len(obs)):
            return None, None
        words = dictionary("patients")
        for name in list(obs.columns):
            column = words.find(str(name))
            if column is not None and column.name == "patient_id":
                if obs[name].duplicated().any():
                    mend = "sum the cells of a patient; cells cannot be read as patients"
                    self.wrong(path.name, "one observation a patient", None, str(name), None, mend)
                    return None, None
                obs = obs.drop(columns=name)
                self.notes.append(f"{path.name}: {name} gives way to the names of observations.")
        obs.insert(0, "patient_id", obs.index.astype(str))
        raw = pd.DataFrame([list(map(str, obs.columns))])
        body = obs.astype(object).where(obs.notna(), "").astype(str)
        body.columns = raw.columns
        whole = pd.concat([raw, body], ignore_index=True)
        return self.frame(path.name, whole, first=1), None if declared is None else str(declared)


def _scaled(text: str, factor: float) -> str:
    """Return a number, a bound or a percentage times `factor`; other text stays as it is."""
    number = re.fullmatch(r"(<?\s*)([\d.]+(?:[eE][+-]?\d+)?)", text, flags=re.ASCII)
    if factor == 1 or number is None or number[2].count(".") > 1 or number[2] == ".":
        return text
    return f"{number[1]}{float(number[2]) * factor!r}"


_PER_MONTH = {"months": 1.0, "days": 1 / DAYS_PER_MONTH, "years": 12.0}
_TIMES = {"time_days", "time_years"}
_WIDE_OUTCOME = re.compile(
    r"(?P<endpoint>efs|os|dfs|rfs|cir|os_after_relapse|os_after_switch)_"
    r"(?P<what>months|days|years|event|status|event_type|entry_months)"
)
_WIDE_MRD = re.compile(r"mrd_(?!\w*(?:sensitivity|lod|method))\w+")
_OUTCOMES = ["patient_id", "endpoint", "time_months", "event", "event_type", "entry_months"]
_MRD = ["patient_id", "timepoint", "day", "level", "limit_of_detection", "category", "method"]


def timepoint_name(name: str) -> str:
    """Return the usual name of a time point: ``day29`` and ``d29`` are ``day 29``."""
    word = plain(name)
    if found := re.fullmatch(r"d(?:ay)?_?(\d+)", word):
        return f"day {int(found[1])}"
    if re.fullmatch(r"tp_?\d+", word):
        return word.replace("_", "").upper()
    usual = {"eoi": "end of induction", "eoc": "end of consolidation"}
    usual["end_consolidation"] = "end of consolidation"
    return usual.get(word, word.replace("_", " "))


def _finished_outcomes(parts: list[pd.DataFrame]) -> pd.DataFrame | None:
    """Return the parts as one table; its index are the rows of the file."""
    if not parts:
        return None
    frame = pd.concat(parts)
    if "event_type" not in frame:
        frame["event_type"] = np.nan
    if "entry_months" not in frame:
        frame["entry_months"] = 0.0
    frame["entry_months"] = frame["entry_months"].astype(float).fillna(0.0)
    return frame[_OUTCOMES]


def _finished_mrd(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the parts as one table; its index are the rows of the file."""
    frame = pd.concat(parts)
    for column in _MRD:
        if column not in frame:
            frame[column] = np.nan
    day = frame["timepoint"].str.extract(r"^day (\d+)$", expand=False).astype(float)
    frame["day"] = frame["day"].astype(float).fillna(day)
    for column in ["level", "limit_of_detection"]:
        frame[column] = frame[column].astype(float)
    said = frame["level"].notna() | frame["category"].notna()
    return frame.loc[said, _MRD]


def _mrd_columns(mrd: pd.DataFrame) -> pd.DataFrame:
    """Return one column a time point, ``mrd_day29`` or ``mrd_tp1``, by patient.

    It holds the levels, or the classes where a time point has no levels.
    """
    columns = {}
    for timepoint, rows in mrd.groupby("timepoint", sort=False):
        word = "level" if rows["level"].notna().any() else "category"
        name = re.sub(r"^day_(\d+)$", r"day\1", plain(str(timepoint)))
        columns[f"mrd_{name}"] = rows.set_index("patient_id")[word]
    return pd.DataFrame(columns)


_COMPANIONS = {"README.md", "dictionary.csv", "dictionary.md", "map.yml"}
_NAMED = {"patients", "outcomes", "mrd", "drug_response", "plates"}
TABLES_READ = frozenset(
    {
        *_NAMED,
        "expression",
        "variants",
        "sites",
        "samples",
        "breakpoints",
        "segments",
        "genome",
        "catalogue",
        "cells",
    }
)
_ENDINGS = (".csv", ".tsv", ".txt", ".xlsx", ".parquet")


def read_cohort(path: str | Path, map: Mapping[str, Any] | str | Path | None = None) -> Cohort:
    """Return the cohort in a reader's file or folder, as ``tier`` "yours".

    Where all ids start with `DUMMY` the patients are invented and the tier is "simulated".

    Parameters
    ----------
    path : str or Path
        A CSV, TSV, XLSX or Parquet file with one row a patient (columns as in
        ``data/dictionaries/patients.yml``; times as ``efs_months`` and ``efs_event``, MRD as
        ``mrd_day29``), a workbook with the sheets patients, outcomes and mrd, or a folder that
        holds ``patients`` and, as wanted, ``outcomes``, ``mrd`` and ``expression``; a cBioPortal
        study folder; an h5ad with one observation a patient; single cells (`ballbook.cells`); a
        VCF or a table variants, also several in a folder, with ``sites`` and ``samples`` beside
        them; or ``breakpoints`` and ``segments`` (`ballbook.genome_files`).
    map : mapping or path to YAML, optional
        ``columns`` (their name: ours), ``values`` (a column: {their word: our word}), ``units``
        (a column: its unit, as in `dictionaries.UNITS`), ``tables`` (a sheet, or a file without
        its ending: our table), ``missing`` (their words for no value) and ``decimal`` (``","``
        for 4,5). A column may be written with its table, ``outcomes.status``.

    Returns
    -------
    Cohort
        With lineage B where the file does not say, MRD also as columns of `patients`, and what
        was assumed or not understood in `notes`.

    Raises
    ------
    InvalidCohort
        With every problem found: file, row, column, value and what was expected.
    """
    path = Path(path)
    reader = _Reader(*_read_map(map))
    if isinstance(map, (str, Path)):
        reader.files["map.yml"] = hashlib.sha256(Path(map).read_bytes()).hexdigest()
    tables, expression_file, about = _tables(path, reader)
    if "patients" not in tables:
        raise InvalidCohort(reader.problems)

    patients, outcomes, mrd = reader.patients(tables["patients"])
    for name in ("samples", "copy number"):
        if name in tables:
            patients = reader.beside(patients, tables[name])
    if "outcomes" in tables:
        outcomes = reader.outcomes(tables["outcomes"], patients)
    if "mrd" in tables:
        mrd = reader.mrd(tables["mrd"], patients)
    drugs = drug_files.read(reader, tables, patients)
    expression, kind = None, None
    if expression_file is not None:
        declared = about.get("expression_kind")
        if declared is None and path.is_dir():
            declared = _declared(expression_file)
        expression, kind = reader.expression(expression_file, declared, patients)
    invented = (
        pd.Series(patients.get("patient_id", []), dtype=str).str.upper().str.startswith(DUMMY)
    )
    if invented.any() and not invented.all():
        expected = f"dummy patients alone, or none: {int(invented.sum())} ids start with {DUMMY}"
        mend = "delete the rows of invented patients"
        reader.wrong(path.name, expected, None, "patient_id", mend=mend)
    dummy = len(invented) > 0 and bool(invented.all())
    for name in sorted(set(reader.columns) - reader.used):
        mend = "delete the line, or write the name as the header of the file has it"
        reader.wrong("the column map", "a column of the cohort", value=name, mend=mend)
    for name in sorted(set(reader.tables) - {part.strip().lower() for part in reader.parts}):
        mend = "delete the line, or write the name of a sheet, or of a file without its ending"
        reader.wrong("the column map", "a sheet or file of the cohort", value=name, mend=mend)
    if not reader.problems:
        wide = tables["patients"]
        reader.breaking(wide.file, patients.set_axis(wide.numbers), "patients")
        reader.breaking(tables.get("outcomes", wide).file, outcomes, "outcomes")
        reader.breaking(tables.get("mrd", wide).file, mrd, "mrd")
        if expression_file is not None:
            reader.breaking(expression_file.name, expression, "expression")
    if reader.problems:
        raise InvalidCohort(reader.problems)

    outcomes = None if outcomes is None else outcomes.reset_index(drop=True)
    mrd = None if mrd is None else mrd.reset_index(drop=True)
    reader.notes += reader.mapped()
    if "lineage" not in patients:
        patients["lineage"] = "B"
        reader.notes.append("No column lineage: every patient is taken to have B lineage.")
    if mrd is not None and len(mrd):
        patients = patients.join(_mrd_columns(mrd), on="patient_id", rsuffix="_level")
    return Cohort(
        id=plain(path.stem) or "cohort",
        title="Dummy cohort" if dummy else str(about.get("title", path.stem)),
        tier="simulated" if dummy else "yours",
        patients=patients,
        outcomes=None if outcomes is None else outcomes.astype({"event": int}),
        mrd=mrd,
        expression=expression,
        expression_kind=kind,
        files=reader.files,
        notes=tuple(reader.notes),
        drug_response=drugs[0],
        plates=drugs[1],
        serial=reader.serial,
        genome=reader.genome,
        catalogue=reader.catalogue,
        cells=reader.cells,
    )


def _declared(path: Path) -> str | None:
    """Return the kind in a name such as ``expression.tpm.csv.gz``, or None."""
    parts = path.name.split(".")
    return parts[1] if len(parts) > 2 and parts[1] not in {"csv", "tsv"} else None


def _tables(path: Path, reader: _Reader) -> tuple[dict[str, _Table], Path | None, dict[str, Any]]:
    """Return the tables of a file or folder as text, its expression file and its cohort.yml."""
    from ballbook import cells, genome_files, mutation_catalogue, variants

    tables: dict[str, _Table] = {}
    expression_file: Path | None = None
    about: dict[str, Any] = {}
    if path.is_dir() and cbioportal.is_study(path):
        tables = _study(path, reader)
    elif path.is_dir():
        tables, expression_file, about = _folder(path, reader)
    elif path.is_file() and cells.is_cells(path):
        if patients := _cells([path], reader):
            tables = {"patients": patients}
    elif path.is_file() and path.suffix.lower() == ".h5ad":
        found, declared = reader.observations(path)
        if found:
            tables, expression_file = {"patients": found}, path
            about = {"expression_kind": declared}
    elif not path.is_file():
        there = os.path.lexists(path)
        mend = (
            "give a file on disk, no device, pipe or circular link"
            if there
            else ("check the spelling of the path")
        )
        expected = "an ordinary file or folder" if there else "an existing file or folder"
        reader.wrong(path.name or str(path), expected, mend=mend)
    elif path.suffix.lower() == ".xlsx":
        content = reader.content(path)
        sheets = {} if content is None else reader.sheets(path.name, content)
        tables = sheets
    elif part := genome_files.part_of(path, path.name.split(".")[0].lower()):
        if patients := _genome({part: [path]}, reader):
            tables = {"patients": patients}
    elif mutation_catalogue.is_counts(path):
        if patients := _channels(path, reader):
            tables = {"patients": patients}
    elif names := expression_files.samples(path):
        tables, expression_file = {"patients": _unknown(names, path, reader)}, path
    elif variants.is_vcf(path) or variants.is_table(path):
        if patients := _serial({"variants": [path]}, reader):
            tables = {"patients": patients}
    elif table := reader.table(path):
        tables = {"patients": table}
    if "patients" not in tables and not reader.problems:
        reader.wrong(path.name, "a table patients", mend="name the file or the sheet patients")
    for kind, table in tables.items():
        table.kind = kind
    return tables, expression_file, about


@dataclass(frozen=True)
class Parts:
    """The tables of a cohort as text, for who must look at them before they can be understood.

    `tables` holds header and rows; `parts` the sheets, or files without their endings, and
    `unread` those whose names say no table of ours.
    """

    tables: dict[str, tuple[list[str], list[list[str]]]]
    unread: tuple[str, ...]
    parts: tuple[str, ...] = ()


def read_tables(path: str | Path, tables: Mapping[str, str] | None = None) -> Parts:
    """Return the tables of a file or folder as text.

    Parameters
    ----------
    path : str or Path
    tables : mapping, optional
        What sheets or files are taken for, as in a column map.

    Raises
    ------
    InvalidCohort
        Where there is no table patients, and nothing whose name might be mapped to it.
    """
    reader = _Reader({"tables": tables or {}})
    found, _, _ = _tables(Path(path), reader)
    unread = [name for name, kind in reader.parts.items() if kind not in TABLES_READ]
    if "patients" not in found and (tables is not None or not unread):
        raise InvalidCohort(reader.problems)
    read = {kind: (t.header, t.rows) for kind, t in found.items()}
    return Parts(read, tuple(unread), tuple(reader.parts))


def wide_name(name: str) -> bool:
    """Return whether a plain name is an outcome, MRD or drug column of a wide table."""
    return bool(
        _WIDE_OUTCOME.fullmatch(name)
        or re.fullmatch(r"mrd_(day\w+|tp\w+|eo\w+|end\w+)", name)
        or drug_files.WIDE.fullmatch(name)
    )


def _read_map(map: Mapping[str, Any] | str | Path | None) -> tuple[Mapping[str, Any]]:
    if map is None:
        return ({},)
    name = "the column map"
    if isinstance(map, (str, Path)):
        name = str(map)
        try:
            map = file_limits.read_yaml(Path(map)) or {}
        except file_limits.Unreadable as e:
            expected = f"a YAML file ({e})"
            mend = "let `ballbook map --guess` write one"
            raise InvalidCohort([Problem(name, None, None, None, expected, mend)]) from None
    known = {
        "columns": Mapping,
        "values": Mapping,
        "units": Mapping,
        "tables": Mapping,
        "missing": (list, tuple),
        "decimal": str,
    }
    if not isinstance(map, Mapping):
        raise InvalidCohort([Problem(name, None, None, None, f"the keys {', '.join(known)}")])
    map = {key: value for key, value in map.items() if value is not None}
    problems = [
        Problem(name, None, str(k), None, f"one of {', '.join(known)}, each of the right shape")
        for k, v in map.items()
        if k not in known or not isinstance(v, cast(Any, known[k]))
    ]
    problems += [
        Problem(name, None, str(k), str(v), "their word: our word")
        for k, v in (map.get("values", {}) if not problems else {}).items()
        if not isinstance(v, Mapping)
    ]
    if problems:
        raise InvalidCohort(problems)
    return (map,)


def _study(folder: Path, reader: _Reader) -> dict[str, _Table]:
    """Return patients, samples and copy number of a cBioPortal study folder."""
    reader.missing |= cbioportal.ABSENT
    reader.study = True
    tables: dict[str, _Table] = {}
    patients, samples = folder / cbioportal.PATIENT, folder / cbioportal.SAMPLE
    if patients.is_file() and (table := reader.clinical(patients)):
        tables["patients"] = table
    patient_of: dict[str, str] = {}
    if samples.is_file():
        found, patient_of = reader.samples(samples)
        if found:
            tables["samples" if patients.is_file() else "patients"] = found
    for name in cbioportal.COPY_NUMBER:
        if (folder / name).is_file():
            if calls := reader.copy_number(folder / name, patient_of):
                tables["copy number"] = calls
            break
    read = {cbioportal.PATIENT, cbioportal.SAMPLE, *cbioportal.COPY_NUMBER}
    others = sorted(p.name for p in folder.glob("data_*") if p.name not in read)
    if others:
        reader.notes.append(f"{', '.join(others)}: not read.")
    return tables


def _serial(
    files: Mapping[str, list[Path]], reader: _Reader, about: Mapping[str, Any] | None = None
) -> _Table | None:
    """Read variants and what belongs to them; return their samples as patients of whom no more is
    known, controls aside.
    """
    from ballbook import variants

    build = (about or {}).get("genome_build")
    if build not in {None, *variants.LENGTHS}:
        mend = "write GRCh37 or GRCh38"
        reader.wrong("cohort.yml", "a known genome build", None, "genome_build", str(build), mend)
        return None
    reader.serial = variants.read_serial(files, reader.wrong, build)
    if reader.serial is None:
        return None
    found, samples = reader.serial.variants, reader.serial.samples
    reader.files |= found.files
    reader.notes += found.notes
    control = set() if samples is None else set(samples.loc[samples["control"], "sample"])
    rows = [[name] for name in found.samples if name not in control]
    if not rows:
        mend = "write control 0 for the samples that are asked about"
        reader.wrong(files["samples"][0].name, "a sample that is no control", mend=mend)
        return None
    return _Table(files["variants"][0].name, ["patient_id"], rows, [1] * len(rows))


def _genome(
    files: Mapping[str, list[Path]], reader: _Reader, about: Mapping[str, Any] | None = None
) -> _Table | None:
    """Read break points and segments; return whose they are as patients, else unknown."""
    from ballbook import genome_files

    reader.genome = genome_files.read(files, reader, about)
    if reader.genome is None:
        return None
    file = next(f.name for part in ("segments", "breakpoints") for f in files.get(part, ()))
    rows = [[name] for name in reader.genome.patients]
    return _Table(file, ["patient_id"], rows, [1] * len(rows))


def _cells(files: list[Path], reader: _Reader) -> _Table | None:
    """Read single cells; return their donors as patients of whom no more is known."""
    from ballbook import cells

    reader.cells = cells.read(files, reader)
    if reader.cells is None:
        return None
    rows = [[name] for name in cells.donors(reader.cells)]
    return _Table(files[0].name, ["patient_id"], rows, [1] * len(rows))


def _channels(path: Path, reader: _Reader) -> _Table | None:
    """Read a table of the 96 channels; return its columns as patients of whom no more is known."""
    from ballbook import mutation_catalogue

    content = reader.content(path)
    if content is None:
        return None
    try:
        reader.catalogue = mutation_catalogue.read_counts(path)
    except InvalidCohort as e:
        for p in e.problems:
            reader.wrong(p.file, p.expected, p.row, p.column, p.value, p.mend)
        return None
    rows = [[str(name)] for name in reader.catalogue.counts]
    return _Table(path.name, ["patient_id"], rows, [1] * len(rows))


def _substitutions(path: Path, reader: _Reader) -> None:
    """Count the substitutions of the variants by their neighbours in the genome at `path`."""
    from ballbook import mutation_catalogue

    if reader.serial is None:
        return
    if path.suffix.lower() == ".gz":
        reader.notes.append(f"{path.name}: unpack it to have neighbours of substitutions counted.")
        return
    try:
        genome = mutation_catalogue.Fasta(path)
        reader.catalogue = mutation_catalogue.of_serial(reader.serial, genome)
    except (mutation_catalogue.InvalidFasta, mutation_catalogue.WrongReference) as e:
        mend = f"{e}"
        reader.wrong(path.name, "the genome that the variants were called against", mend=mend)
        return
    reader.notes += reader.catalogue.notes


def _is_id(name: str) -> bool:
    """Tell whether a header names the patient."""
    column = dictionary("patients").find(name)
    return column is not None and column.name == "patient_id"


def _unknown(names: list[str], path: Path, reader: _Reader) -> _Table:
    """Return patients of whom nothing but a sample in a matrix is known."""
    reader.notes.append(f"{path.name}: nothing is known of its {len(names):,} samples but genes.")
    return _Table(path.name, ["patient_id"], [[name] for name in names], [1] * len(names))


def _folder(folder: Path, reader: _Reader) -> tuple[dict[str, _Table], Path | None, dict[str, Any]]:
    """Return the tables of a folder, its expression file and what its cohort.yml says."""
    from ballbook import cells, genome_files, variants

    tables: dict[str, _Table] = {}
    expression: list[Path] = []
    about: dict[str, Any] = {}
    seen: dict[str, str] = {}
    others: list[str] = []
    loci: dict[str, list[Path]] = {}
    genome: dict[str, list[Path]] = {}
    channels: list[Path] = []
    single = [p for p in sorted(folder.iterdir()) if cells.part_of(p)]
    matrix = cells.is_matrix_folder(folder)
    single = [folder, *single] if matrix else single
    for file in sorted(p for p in folder.iterdir() if p.is_file() and p not in single):
        if matrix and cells.companion(file.name):
            continue
        table_like = file.suffix.lower() in _ENDINGS and file.name not in _COMPANIONS
        name = file.name.split(".")[0].lower()
        name = reader.part(file.name.split(".")[0]) if table_like else name
        if file.name == "cohort.yml":
            try:
                about = dict(file_limits.read_yaml(file) or {})
            except (file_limits.Unreadable, TypeError, ValueError):
                mend = "write lines such as `expression_kind: tpm`"
                reader.wrong(file.name, "YAML with title or expression_kind", mend=mend)
        elif part := genome_files.part_of(file, name):
            genome.setdefault(part, []).append(file)
        elif part := variants.part_of(file, name):
            loci.setdefault(part, []).append(file)
        elif name == "catalogue" and file.suffix.lower() in _ENDINGS:
            channels.append(file)
        elif name == "expression":
            expression.append(file)
        elif name in _NAMED and file.suffix.lower() in _ENDINGS:
            if name in seen:
                mend = "keep one of the two in the folder"
                reader.wrong(file.name, f"one file {name}, not also {seen[name]}", mend=mend)
                continue
            seen[name] = file.name
            if table := reader.table(file):
                tables[name] = table
        elif file.name not in _COMPANIONS:
            others.append(_plain_line(file.name))
    reader.notes += [f"{name} was not read." for name in others[:MAX_NAMED]]
    if len(others) > MAX_NAMED:
        reader.notes.append(f"{len(others) - MAX_NAMED:,} more files were not read.")
    if len(expression) > 1:
        expected = f"one file expression, not also {expression[0].name}"
        reader.wrong(expression[1].name, expected, mend="keep one of the two in the folder")
    samples = _serial(loci, reader, about) if "variants" in loci else None
    if not samples:
        others += [_plain_line(file.name) for files in loci.values() for file in files]
    structure = (
        _genome(genome, reader, about) if {"breakpoints", "segments"} & set(genome) else None
    )
    if channels[1:]:
        mend = "keep one of the two in the folder"
        expected = f"one file catalogue, not also {channels[0].name}"
        reader.wrong(channels[1].name, expected, mend=mend)
    columns = _channels(channels[0], reader) if channels else None
    of_cells = _cells(single, reader) if single else None
    if "patients" in tables and reader.cells is not None:
        at = tables["patients"].header
        known = next((i for i, n in enumerate(at) if _is_id(n)), None)
        ids = (
            {row[known].strip() for row in tables["patients"].rows} if known is not None else set()
        )
        for name in cells.strangers(reader.cells, ids) if known is not None else ():
            mend = "add the patient, or leave the cells out"
            reader.wrong(single[0].name, "a patient_id of patients", None, "donor", name, mend)
    if not channels and samples and genome.get("genome"):
        _substitutions(genome["genome"][0], reader)
    if "patients" not in seen and single and not loci and not expression:
        tables |= {"patients": of_cells} if of_cells else {}
    elif "patients" not in seen and channels and not loci:
        tables |= {"patients": columns} if columns else {}
    elif "patients" not in seen and "variants" in loci:
        tables |= {"patients": samples} if samples else {}
    elif "patients" not in seen and {"breakpoints", "segments"} & set(genome):
        tables |= {"patients": structure} if structure else {}
    elif (
        "patients" not in seen and expression and (names := expression_files.samples(expression[0]))
    ):
        tables["patients"] = _unknown(names, expression[0], reader)
    elif "patients" not in seen:
        mend = "name the table with one row a patient patients.csv"
        reader.wrong(folder.name, "a file patients.csv, .tsv, .xlsx or .parquet", mend=mend)
    return tables, expression[0] if expression else None, about

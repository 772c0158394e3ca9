"""Data dictionaries: what each column of each cohort table means, and how its text is read.

The files in ``data/dictionaries`` are the schema of validation, the source of templates and the
reader's reference at once. Text is read cell by cell (`read_value`), so that each cell has its own
message; `schema` says the same of the tables that come out, and is checked last.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ballbook import paths, yaml_files

if TYPE_CHECKING:
    import pandera.pandas as pa


class Refused(ValueError):
    """A text that does not fit its column."""


@dataclass(frozen=True)
class Column:
    """One column of a data dictionary.

    Parameters
    ----------
    name : str
    type : {"text", "number", "integer", "category", "flag", "deletion", "mrd"}
        ``flag`` is 0 or 1; ``deletion`` is wt or del (het and hom are del, and kept beside it);
        ``mrd`` is a fraction, a percentage with its sign, a bound such as ``<0.0001``, or a class.
    help : str
    unit : str, optional
    allowed : tuple of str
        The only values of a category.
    required : bool
    minimum, maximum : float, optional
    synonyms : tuple of str
        Other names under which the column is accepted.
    values : dict
        A reader's words, lower case, to ours.
    example : str
    """

    name: str
    type: str
    help: str
    unit: str | None = None
    allowed: tuple[str, ...] = ()
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    synonyms: tuple[str, ...] = ()
    values: dict[str, str] = field(default_factory=dict)
    example: str = ""

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        unit = f" ({self.unit})" if self.unit else ""
        if self.allowed:
            return "one of " + ", ".join(self.allowed)
        if self.type == "flag":
            return "1 or 0 (or yes, no)"
        if self.type == "deletion":
            return "del or wt (or het, hom)"
        if self.type == "mrd" and self.unit == "percent":
            return "a percentage from 0 to 100, a bound such as <0.01, or a class"
        if self.type == "mrd":
            return "a fraction from 0 to 1 (0.0001 is 0.01%), a percentage with %, or a class"
        if self.type in {"number", "integer"}:
            kind = "a whole number" if self.type == "integer" else "a number with a decimal point"
            if self.minimum is not None and self.maximum is not None:
                return f"{kind} from {self.minimum:g} to {self.maximum:g}{unit}"
            return kind + unit
        return "text"

    def mend(self, text: str) -> str:
        """How to put right a cell that the column refuses, in words."""
        if not text.strip():
            return "fill the cell in, or leave the row out"
        if self.unit == "10^9/L" and re.fullmatch(r"\d{4,}(\.\d+)?", text, flags=re.ASCII):
            return "divide counts per microlitre by 1000, or map `units: {wbc_10e9_per_l: per_ul}`"
        if self.type in {"number", "integer"}:
            return "write digits alone, 4.5 and not 4,5; leave the cell blank where it is unknown"
        if self.type == "mrd" and self.unit == "percent":
            return "write digits alone, <0.01 for a bound, or negative, low, high, positive"
        if self.type == "mrd":
            return "divide a percentage by 100, or write it with its %, or <0.0001 for a bound"
        word = {"flag": "'1'", "deletion": "del"}.get(self.type, "our word")
        near = get_close_matches(text.lower(), [a.lower() for a in self.allowed], n=1)
        hint = f"is it {near[0]!r}? " if near else ""
        return f"{hint}use these words, or map `values: {{{self.name}: {{their word: {word}}}}}`"


# Other units in which a column may be given, and what makes them ours.
UNITS: dict[str, dict[str, float]] = {
    "years": {"years": 1.0, "months": 1 / 12, "days": 1 / 365.25},
    "months": {"months": 1.0, "days": 12 / 365.25, "years": 12.0},
    "10^9/L": {"10^9/L": 1.0, "per_ul": 1e-3},
    "fraction": {"fraction": 1.0, "percent": 0.01},
}


@dataclass(frozen=True)
class Dictionary:
    """The columns of one table: the schema of validation, and the source of templates."""

    table: str
    row: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    wide: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    def find(self, name: str) -> Column | None:
        """Return the column that `name`, or a synonym in any spelling, means; or None."""
        return self._names.get(plain(name))

    @property
    def _names(self) -> dict[str, Column]:
        found: dict[str, Column] = {}
        for column in reversed(self.columns):
            for name in (*column.synonyms, column.name):
                found[plain(name)] = column
        # A column's own name beats another's synonym.
        found.update({plain(c.name): c for c in self.columns})
        return found


TABLES = (
    "patients",
    "outcomes",
    "mrd",
    "expression",
    "cells",
    "variants",
    "sites",
    "samples",
    "drug_response",
    "plates",
    "breakpoints",
    "segments",
    "catalogue",
)


@lru_cache(maxsize=32)
def _dictionary(path: Path) -> Dictionary:
    raw = yaml_files.read(path)
    columns = tuple(
        Column(
            name=c["name"],
            type=c["type"],
            help=c["help"],
            unit=c.get("unit"),
            allowed=tuple(map(str, c.get("allowed", ()))),
            required=bool(c.get("required", False)),
            minimum=c.get("minimum"),
            maximum=c.get("maximum"),
            synonyms=tuple(c["synonyms"]),
            values={
                str(word).lower(): str(ours)
                for ours, words in c.get("values", {}).items()
                for word in (*words, ours)
            },
            example=str(c.get("example", "")),
        )
        for c in raw["columns"]
    )
    return Dictionary(
        table=raw["table"],
        row=raw["row"],
        key=tuple(raw["key"]),
        columns=columns,
        wide=tuple(raw.get("wide", ())),
        endpoints=tuple(raw.get("endpoints", ())),
        kinds=tuple(raw.get("kinds", ())),
    )


def dictionary(table: str) -> Dictionary:
    """Return the data dictionary of `table`, from ``data/dictionaries/<table>.yml``.

    Raises
    ------
    KeyError
        For a table that is none of `TABLES`.
    """
    if table not in TABLES:
        raise KeyError(f"no table {table!r}; there are {', '.join(TABLES)}")
    return _dictionary(paths.data() / "dictionaries" / f"{table}.yml")


MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", ".", "-", "?", "unknown", "missing"})

YES = ("1", "1.0", "yes", "y", "true", "pos", "positive")
NO = ("0", "0.0", "no", "n", "false", "neg", "negative")
_FLAG = {**dict.fromkeys(YES, 1.0), **dict.fromkeys(NO, 0.0)}
_DELETION: dict[str, tuple[str, str | None]] = {
    **dict.fromkeys(("del", "deleted", "deletion", "loss", "lost", *YES), ("del", None)),
    **dict.fromkeys(("wt", "wild-type", "wildtype", "normal", "intact", *NO), ("wt", None)),
    **dict.fromkeys(("het", "heterozygous", "monoallelic"), ("del", "het")),
    **dict.fromkeys(("hom", "homozygous", "biallelic"), ("del", "hom")),
}
_MRD_CLASS = {
    **dict.fromkeys(("negative", "neg", "undetectable"), "negative"),
    **dict.fromkeys(("positive", "pos", "detectable"), "positive"),
    "low": "low",
    "high": "high",
}


def plain(name: str) -> str:
    """Return a column name without the differences in spelling that do not matter."""
    return re.sub(r"[\s.\-/]+", "_", name.strip().lower()).strip("_")


def _number(text: str, low: float | None, high: float | None, whole: bool = False) -> float:
    # float() also takes 1_000 and non-Latin digits, which no laboratory means.
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, flags=re.ASCII):
        raise Refused(text)
    value = float(text)
    if not math.isfinite(value) or (whole and value != int(value)):
        raise Refused(text)
    if (low is not None and value < low) or (high is not None and value > high):
        raise Refused(text)
    return value


def _mrd(text: str) -> dict[str, Any]:
    word = text.lower()
    if word in _MRD_CLASS:
        found = _MRD_CLASS[word]
        return {"level": 0.0 if found == "negative" else math.nan, "category": found}
    number = word.removeprefix("<").strip()
    scale = 0.01 if number.endswith("%") else 1.0
    level = _number(number.removesuffix("%").strip(), 0, None) * scale
    if level > 1:
        raise Refused(text)
    if word.startswith("<"):
        return {"level": 0.0, "limit_of_detection": level, "category": "negative"}
    return {"level": level}


def read_value(text: str, column: Column) -> dict[str, Any]:
    """Return what one cell of `column` says, by column name.

    Most cells give one value; a deletion may also give its zygosity and an MRD value its class
    or limit of detection.

    Raises
    ------
    Refused
        Where the text is not what the column expects.
    """
    word = text.lower()
    word_of_ours = column.values.get(word)
    if column.type in {"number", "integer"}:
        whole = column.type == "integer"
        return {column.name: _number(text, column.minimum, column.maximum, whole)}
    if column.type == "flag":
        flag = _FLAG.get((word_of_ours or word).lower())
        if flag is None:
            raise Refused(text)
        return {column.name: flag}
    if column.type == "category":
        if word_of_ours is None:
            word_of_ours = {a.lower(): a for a in column.allowed}.get(word)
        if word_of_ours is None:
            raise Refused(text)
        return {column.name: word_of_ours}
    if column.type == "deletion":
        if word not in _DELETION:
            raise Refused(text)
        status, zygosity = _DELETION[word]
        found = {column.name: status}
        return found if zygosity is None else {**found, f"{column.name}_zygosity": zygosity}
    if column.type == "mrd":
        return _mrd(text)
    return {column.name: word_of_ours or text}


def is_missing(text: str, column: Column | None = None, more: frozenset[str] = MISSING) -> bool:
    """Return whether a cell says nothing; a word that the column itself knows says something."""
    word = text.strip().lower()
    if column is not None and (
        word in column.values or word in {a.lower() for a in column.allowed}
    ):
        return False
    return word in more


# ------------------------------------------------------------------------------------ schema

# Days and years become months by a factor, which may round a limit away by the last bit.
ROUNDING = 1e-9


def schema(table: str) -> pa.DataFrameSchema:
    """Return what a typed table must be, made from its dictionary.

    Numbers lie within their limits, flags are 0 or 1, deletions del or wt, categories one of their
    words, text is text; what is required is there and never missing; the key is unique. Columns
    that the dictionary does not know may hold anything. Of ``expression``, the rows of the index
    are genes, each once, and every column holds finite numbers.

    Raises
    ------
    KeyError
        For a table that is none of `TABLES`.
    """
    import pandera.pandas as pa

    words = dictionary(table)
    if table == "expression":
        # One check of the whole matrix: a column each would take a minute for many patients.
        finite = pa.Check(lambda m: bool(np.isfinite(m.to_numpy(float)).all()), error="numbers")
        gene = pa.Index(str, unique=True, name=words.key[0])
        return pa.DataFrameSchema(index=gene, checks=finite, unique_column_names=True, name=table)
    columns = {
        c.name: pa.Column(
            checks=pa.Check(_fits(c), error=c.expected),
            nullable=not c.required,
            required=c.required,
            description=c.help,
        )
        for c in words.columns
    }
    known = [k for k in words.key if k in columns]
    return pa.DataFrameSchema(columns, unique=known, unique_column_names=True, name=table)


def _fits(column: Column) -> Callable[[pd.Series], pd.Series]:
    """Return the check of a column, which tells of each value that is not missing if it fits."""
    if column.type == "text":
        return lambda s: s.map(lambda v: isinstance(v, str))
    allowed: tuple[Any, ...] = {"flag": (0, 1), "deletion": ("del", "wt")}.get(
        column.type, column.allowed
    )
    if allowed:
        return lambda s: s.isin(allowed)
    low, high = column.minimum, column.maximum
    if column.type == "mrd":
        low, high = 0.0, 1.0

    def fits(s: pd.Series) -> pd.Series:
        number = pd.to_numeric(s, errors="coerce")
        whole = number == number.round() if column.type == "integer" else number.notna()
        above = number >= (-math.inf if low is None else low - ROUNDING * abs(low))
        below = number <= (math.inf if high is None else high + ROUNDING * abs(high))
        return whole & above & below & np.isfinite(number)

    return fits


@dataclass(frozen=True)
class Breach:
    """One place where a typed table breaks its schema; `row` is its label in the index."""

    row: Any
    column: str | None
    value: str | None
    expected: str


def _whole(frame: pd.DataFrame, table: str) -> bool:
    """Return whether a table certainly fits its `schema`, which is then not needed.

    Loading pandera takes as long as reading a cohort. These are its checks one after the other; at
    the first that fails, or cannot be made, the schema says what is wrong and where.
    """
    words = dictionary(table)
    if not frame.columns.is_unique:
        return False
    try:
        if table == "expression":
            genes = frame.index
            named = genes.name == words.key[0] and all(isinstance(g, str) for g in genes)
            return named and genes.is_unique and bool(np.isfinite(frame.to_numpy(float)).all())
        for column in words.columns:
            if column.name not in frame.columns:
                if column.required:
                    return False
                continue
            known = frame[column.name].dropna()
            if column.required and len(known) < len(frame):
                return False
            if not _fits(column)(known).all():
                return False
        key = [c.name for c in words.columns if c.name in words.key and c.name in frame.columns]
        return not (key and frame.duplicated(key).any())
    except (TypeError, ValueError, KeyError):
        return False


def breaches(frame: pd.DataFrame, table: str) -> list[Breach]:
    """Return where a typed table breaks the `schema` of its dictionary, if anywhere."""
    if _whole(frame, table):
        return []
    from pandera.errors import SchemaErrors

    words, rows = dictionary(table), frame.index
    # Rows of a file may come twice here, once an endpoint; pandera needs an index without twins.
    if table != "expression":
        frame = frame.reset_index(drop=True)
    try:
        schema(table).validate(frame, lazy=True)
    except SchemaErrors as errors:
        found = []
        for case in errors.failure_cases.to_dict("records"):
            check, value = str(case["check"]), str(case["failure_case"])
            name = case["column"] if case["schema_context"] == "Column" else None
            if check == "column_in_dataframe":
                found.append(Breach(None, value, None, f"a column {value}"))
                continue
            column = words.find(str(name)) if name is not None else None
            expected = {
                "multiple_fields_uniqueness": f"each {' and '.join(words.key)} once",
                "field_uniqueness": f"each {words.key[0]} once",
                "dataframe_column_labels_unique": "each column once",
            }.get(check, column.expected if column else check)
            if check == "multiple_fields_uniqueness":
                name = case["column"]
            row = None if pd.isna(case["index"]) else case["index"]
            if row is not None and table != "expression":
                row = rows[int(row)]
            found.append(Breach(row, name, value, expected))
        return found
    return []

"""Reads at variant loci: tables and VCFs of one or several samples, and what is wrong with them.

A table (CSV, TSV, Parquet; columns as in ``data/dictionaries/variants.yml``) has one row a locus
and sample. Of a VCF, plain or compressed, the reads of each allele are taken from the first of
these that its FORMAT names:

===========================  =============================================================
AD, one number an allele     alt and sum of AD (GATK, bcftools, DeepVariant, Mutect2)
AD, one number, with RD      alt AD, depth RD + AD (VarScan); with DP alone, depth DP
AO with RO or DP             alt AO, depth RO + all AO, else DP (freebayes)
AU, CU, GU, TU               tier 1 of the bases (Strelka, substitutions)
TAR, TIR                     tier 1, depth TAR + TIR (Strelka, insertions and deletions)
FAZ ... RTZ                  forward and reverse reads of the bases (CaVEMan)
===========================  =============================================================

A record of several alternative alleles becomes one locus an allele, whose depth counts the reads
of all alleles. Symbolic alleles, break ends and ``*`` are no short variants and are left out, and
so are records that fail a filter unless they are asked for; the notes say how many.

A locus that a file does not have, or where it says nothing of a sample, has depth 0 there: nobody
looked. That is not the same as no variant reads, and the notes say how often it is so.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ballbook.dictionaries import MISSING, Dictionary, dictionary

Build = Literal["GRCh37", "GRCh38"]
KEY = ["chrom", "pos", "ref", "alt"]
TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".csv.gz", ".tsv.gz", ".txt.gz")
VCF_ENDINGS = (".vcf", ".vcf.gz", ".vcf.bgz")

MAX_BYTES = 2_000_000_000
MAX_LINE = 10_000_000
MAX_CALLS = 20_000_000
# Rows named of one kind of mistake; of the others only how many.
NAMED_ROWS = 5

# Lengths of the chromosomes, bp: Genome Reference Consortium, GRCh37.p13 and GRCh38.p14.
_LENGTHS: dict[Build, str] = {
    "GRCh37": "249250621 243199373 198022430 191154276 180915260 171115067 159138663 146364022 "
    "141213431 135534747 135006516 133851895 115169878 107349540 102531392 90354753 81195210 "
    "78077248 59128983 63025520 48129895 51304566 155270560 59373566",
    "GRCh38": "248956422 242193529 198295559 190214555 181538259 170805979 159345973 145138636 "
    "138394717 133797422 135086622 133275309 114364328 107043718 101991189 90338345 83257441 "
    "80373285 58617616 64444167 46709983 50818468 156040895 57227415",
}
CHROMOSOMES = (*(f"chr{i}" for i in range(1, 23)), "chrX", "chrY")
LENGTHS: dict[Build, dict[str, int]] = {
    build: dict(zip(CHROMOSOMES, map(int, text.split()), strict=True))
    for build, text in _LENGTHS.items()
}
_BUILD_WORDS: dict[Build, re.Pattern[str]] = {
    "GRCh37": re.compile(r"grch37|hg19|b37\b|hs37d5|g1k_v37", re.I),
    "GRCh38": re.compile(r"grch38|hg38|hs38|b38\b", re.I),
}
_BASES = re.compile(r"[ACGTNacgtn]+")
_ALLELE = re.compile(r"[ACGTNacgtn]+|\.|\*|<[^<>]+>|[^,\s]*[\[\]][^,\s]*")
# The empty block with which a whole BGZF file ends.
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


@dataclass(frozen=True)
class Variants:
    """Reads of loci in samples.

    Attributes
    ----------
    sites : DataFrame
        One row a locus: ``chrom`` (as ``chr7``), ``pos`` (1-based), ``ref``, ``alt``.
    samples : tuple of str
    alt, depth : array of int, loci by samples
        Reads with the alternative allele, and all reads; depth 0 where nobody looked.
    build : {"GRCh37", "GRCh38"} or None
        None where nothing tells.
    copy_number, purity : array of float, loci by samples, or None
    files : dict
        sha256 by name.
    notes : tuple of str
    """

    sites: pd.DataFrame
    samples: tuple[str, ...]
    alt: NDArray[np.int64]
    depth: NDArray[np.int64]
    build: Build | None = None
    copy_number: NDArray[np.float64] | None = None
    purity: NDArray[np.float64] | None = None
    files: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """One row a locus and sample, columns of ``data/dictionaries/variants.yml``."""
        n, m = self.alt.shape
        frame = self.sites.loc[np.repeat(np.arange(n), m)].reset_index(drop=True)
        frame["sample"] = np.tile(np.array(self.samples, dtype=object), n)
        frame["alt_reads"], frame["depth"] = self.alt.ravel(), self.depth.ravel()
        for name in ("copy_number", "purity"):
            values = getattr(self, name)
            frame[name] = np.nan if values is None else values.ravel()
        return frame

    def at(self, sites: pd.DataFrame) -> Variants:
        """Return the loci that `sites` names (columns as in `sites`), in the order of this table.

        Chromosomes must be written as here; `read_sites` does so.
        """
        wanted = pd.MultiIndex.from_frame(sites[KEY])
        return self._rows(pd.MultiIndex.from_frame(self.sites[KEY]).isin(wanted))

    def where(self, keep: NDArray[np.bool_]) -> Variants:
        """Return the loci for which `keep` is true."""
        return self._rows(np.asarray(keep, dtype=bool))

    def of(self, samples: Iterable[str]) -> Variants:
        """Return the columns of `samples`, in that order.

        Raises
        ------
        KeyError
            For a sample that is not there.
        """
        wanted = tuple(samples)
        place = {name: i for i, name in enumerate(self.samples)}
        if missing := [s for s in wanted if s not in place]:
            raise KeyError(f"no sample {', '.join(missing)}; there are {', '.join(self.samples)}")
        columns = [place[s] for s in wanted]
        return self._cut(lambda a: a[:, columns], samples=wanted)

    def _rows(self, keep: Any) -> Variants:
        return self._cut(lambda a: a[keep], sites=self.sites[keep].reset_index(drop=True))

    def _cut(self, part: Callable[[Any], Any], **changes: Any) -> Variants:
        for name in ("alt", "depth", "copy_number", "purity"):
            values = getattr(self, name)
            changes[name] = None if values is None else part(values)
        return replace(self, **changes)


# ----------------------------------------------------------------------------------- problems


@dataclass
class _Wrong:
    """Gathers what is wrong; of one kind of mistake it names `NAMED_ROWS` rows and counts the rest.

    Rows are lines of the file, the first being line 1.
    """

    found: list[tuple[str, str, int | None, str | None, str | None, str]] = field(
        default_factory=list
    )
    more: dict[tuple[str, str, str | None, str], int] = field(default_factory=dict)

    def __call__(
        self,
        file: str,
        expected: str,
        row: int | None = None,
        column: str | None = None,
        value: str | None = None,
        mend: str = "",
    ) -> None:
        kind = (file, expected, column, mend)
        self.more[kind] = self.more.get(kind, 0) + 1
        if self.more[kind] <= NAMED_ROWS:
            self.found.append((file, expected, row, column, value, mend))

    def __bool__(self) -> bool:
        return bool(self.found)

    def tell(self, to: Callable[..., None]) -> None:
        """Pass all problems on, as ``to(file, expected, row, column, value, mend)``."""
        last = {(f, e, c, m): i for i, (f, e, _, c, _, m) in enumerate(self.found)}
        for i, (file, expected, row, column, value, mend) in enumerate(self.found):
            kind = (file, expected, column, mend)
            rest = self.more[kind] - NAMED_ROWS
            if rest > 0 and last[kind] == i:
                mend = f"{mend}; {rest:,} more like this"
            to(file, expected, row, column, value, mend)


@dataclass
class _Part:
    """What one file says: loci, samples and their reads."""

    file: str
    samples: list[str]
    chrom: list[str]
    pos: list[int]
    ref: list[str]
    alt: list[str]
    row: list[int]
    alt_reads: NDArray[np.int64]
    depth: NDArray[np.int64]
    copy_number: NDArray[np.float64] | None = None
    purity: NDArray[np.float64] | None = None
    build: Build | None = None


def chromosome(name: str) -> str:
    """Return a chromosome as ``chr7``, ``chrX``, ``chrM``; other contigs as they are."""
    bare = re.sub(r"^chr(omosome)?[ _]?", "", name.strip(), flags=re.I).upper()
    if bare in {"23", "24"}:
        bare = {"23": "X", "24": "Y"}[bare]
    if re.fullmatch(r"[1-9]|1\d|2[0-2]|X|Y", bare):
        return f"chr{bare}"
    return "chrM" if bare in {"M", "MT"} else name.strip()


# -------------------------------------------------------------------------------------- files


def is_vcf(path: Path) -> bool:
    """Tell whether a file is named as a VCF."""
    return path.name.lower().endswith(VCF_ENDINGS)


def is_table(path: Path) -> bool:
    """Tell whether the header of a delimited file is that of a table variants."""
    if not path.name.lower().endswith(TABLE_ENDINGS) or path.suffix.lower() == ".parquet":
        return False
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as raw:
            header = raw.readline(MAX_LINE).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return False
    words, sep = dictionary("variants"), _separator(header)
    named = [words.find(cell.strip().strip('"')) for cell in header.rstrip("\r\n").split(sep)]
    return {"chrom", "pos", "alt_reads", "depth"} <= {c.name for c in named if c is not None}


def read_variants(
    paths: str | Path | Sequence[str | Path],
    *,
    build: Build | None = None,
    only_passing: bool = True,
) -> Variants:
    """Return the reads in one or several tables or VCFs.

    Several files must share all their samples (one file a chromosome) or none (one file a sample).

    Parameters
    ----------
    build : {"GRCh37", "GRCh38"}, optional
        The genome build that is meant. A VCF whose header names another is refused.
    only_passing : bool
        Leave out records of a VCF whose FILTER is neither PASS nor empty.

    Raises
    ------
    ballbook.cohort.InvalidCohort
        With everything that is wrong: file, row, column, value, what was expected, how to mend it.
    """
    from ballbook.cohort import InvalidCohort, Problem

    many = [paths] if isinstance(paths, (str, Path)) else list(paths)
    problems: list[Problem] = []

    def wrong(file: str, expected: str, *rest: Any) -> None:
        row, column, value, mend = rest
        problems.append(Problem(file, row, column, value, expected, mend))

    found = gather([Path(p) for p in many], wrong, build=build, only_passing=only_passing)
    if found is None:
        raise InvalidCohort(problems)
    return found


def gather(
    paths: Sequence[Path],
    to: Callable[..., None],
    *,
    build: Build | None = None,
    only_passing: bool = True,
) -> Variants | None:
    """Return the reads in all files, or None after telling `to` what is wrong."""
    wrong, files = _Wrong(), dict[str, str]()
    notes: list[str] = []
    parts = []
    for path in paths:
        if (content := _content(path, files, wrong)) is None:
            continue
        if is_vcf(path):
            part = _vcf(path.name, content, wrong, notes, only_passing)
        else:
            part = _long(path.name, content, wrong)
        if part is not None:
            parts.append(part)
    made = None
    if not paths:
        wrong("variants", "at least one file", mend="give a table or a VCF")
    if parts:
        agreed = _build(parts, build, wrong, notes)
        made = _merged(parts, agreed, wrong, notes)
    if wrong:
        wrong.tell(to)
        return None
    assert made is not None
    return replace(made, files=files, notes=tuple(notes))


def read_sites(path: Path, to: Callable[..., None]) -> pd.DataFrame | None:
    """Return ``chrom, pos, ref, alt, branch`` of a table sites or a VCF; None after problems.

    `branch` is empty where the file does not say.
    """
    wrong, files = _Wrong(), dict[str, str]()
    content = _content(path, files, wrong)
    frame: pd.DataFrame | None = None
    if content is not None and is_vcf(path):
        part = _vcf(path.name, content, wrong, [], only_passing=False, reads=False)
        if part is not None:
            loci = {k: getattr(part, k) for k in KEY}
            frame = pd.DataFrame(loci, index=pd.Index(part.row)).assign(branch="")
    elif content is not None:
        read = _columns(path.name, content, dictionary("sites"), wrong)
        if read is not None:
            rows = read["(row)"]
            empty = np.full(len(rows), "", dtype=object)
            columns = {k: read.get(k, empty) for k in (*KEY, "branch")}
            frame = pd.DataFrame(columns, index=pd.Index(rows))
            _loci(path.name, frame, wrong)
    if frame is not None:
        _unique(path.name, frame, KEY, wrong)
    if wrong:
        wrong.tell(to)
        return None
    assert frame is not None
    return frame.astype({"pos": np.int64}).reset_index(drop=True)


def read_samples(path: Path, to: Callable[..., None]) -> pd.DataFrame | None:
    """Return ``sample, day, control, purity`` of a table samples; None after problems."""
    wrong, files = _Wrong(), dict[str, str]()
    content = _content(path, files, wrong)
    frame: pd.DataFrame | None = None
    if content is not None:
        read = _columns(path.name, content, dictionary("samples"), wrong)
        if read is not None:
            rows = read["(row)"]
            frame = pd.DataFrame({"sample": read["sample"]}, index=pd.Index(rows))
            for name in ("day", "control", "purity"):
                column = dictionary("samples").find(name)
                assert column is not None
                text = read.get(name, np.full(len(rows), "", dtype=object))
                low, high = (0, 1) if name == "control" else (column.minimum, column.maximum)
                frame[name] = _numbers(
                    path.name, text, rows, name, wrong, low=low, high=high, required=False,
                    whole=name == "control", expected=column.expected,
                )  # fmt: skip
            _unique(path.name, frame, ["sample"], wrong)
    if wrong:
        wrong.tell(to)
        return None
    assert frame is not None
    return frame.assign(control=frame["control"].fillna(0).astype(bool)).reset_index(drop=True)


def _content(path: Path, files: dict[str, str], wrong: _Wrong) -> bytes | None:
    """Return the bytes of a file, unpacked, after noting what keeps them from being read."""
    name = path.name
    mend = "end the name with .vcf, .csv, .tsv (each also .gz) or .parquet"
    if not (is_vcf(path) or name.lower().endswith(TABLE_ENDINGS)):
        wrong(name, "a VCF or a table of variants", mend=mend)
        return None
    if name in files:
        wrong(name, "files of different names", mend="rename one of the two")
        return None
    try:
        if not path.is_file():
            wrong(name, "an existing file", mend="check the spelling of the path")
            return None
        if path.stat().st_size > MAX_BYTES:
            wrong(name, f"at most {MAX_BYTES // 10**6:,} MB", mend="keep the sites that are asked")
            return None
        raw = path.read_bytes()
    except OSError as e:
        wrong(name, f"a readable file ({e.strerror})", mend="give a file that you may read")
        return None
    files[name] = hashlib.sha256(raw).hexdigest()
    if raw[:2] != b"\x1f\x8b":
        if name.lower().endswith((".gz", ".bgz")):
            mend = "compress it with bgzip, or take .gz off its name"
            wrong(name, "a file compressed by gzip or bgzip", mend=mend)
            return None
        return raw
    return _unpacked(name, raw, wrong)


def _unpacked(name: str, raw: bytes, wrong: _Wrong) -> bytes | None:
    """Return what a compressed file holds, noting one that breaks off."""
    blocks, size = [], 0
    mend = "copy or download it again; the file is not whole"
    try:
        with gzip.open(io.BytesIO(raw)) as packed:
            while block := packed.read(1 << 22):
                blocks.append(block)
                size += len(block)
                if size > MAX_BYTES:
                    wrong(name, f"at most {MAX_BYTES // 10**6:,} MB unpacked", mend="keep less")
                    return None
    except (EOFError, OSError, zlib.error) as e:
        row = b"".join(blocks).count(b"\n") + 1
        wrong(name, f"a whole compressed file (breaks off: {type(e).__name__})", row, mend=mend)
        return None
    content = b"".join(blocks)
    blocked = len(raw) > 18 and raw[3] & 4 and raw[12:14] == b"BC"
    if blocked and not raw.endswith(_BGZF_END):
        row = content.count(b"\n") + 1
        wrong(name, "the empty block with which a bgzip file ends", row, mend=mend)
        return None
    return content


def _text(name: str, content: bytes, wrong: _Wrong) -> str | None:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        row = content[: e.start].count(b"\n") + 1
        wrong(name, "text in UTF-8", row, mend="write the file again as plain UTF-8 text")
        return None
    if "\0" in text:
        row = text[: text.index("\0")].count("\n") + 1
        wrong(name, "text without zero bytes", row, mend="write it again; this file is damaged")
        return None
    return text


# --------------------------------------------------------------------------------- long tables


def _separator(header: str) -> str:
    return max(",;\t", key=header.count)


def _columns(
    file: str, content: bytes, words: Dictionary, wrong: _Wrong
) -> dict[str, NDArray[np.object_]] | None:
    """Return the columns of a table that its dictionary knows, as text, and ``(row)``."""
    if content[:4] == b"PAR1":
        try:
            raw = pd.read_parquet(io.BytesIO(content))
        except Exception as e:  # pyarrow fails on broken files in many ways
            mend = "write it again, or save the table as CSV"
            wrong(file, f"a Parquet file ({type(e).__name__})", mend=mend)
            return None
        header = [str(c) for c in raw.columns]
        cells = [
            raw.iloc[:, i].astype(object).where(raw.iloc[:, i].notna(), "").astype(str).to_numpy()
            for i in range(raw.shape[1])
        ]
        rows: Any = np.arange(2, len(raw) + 2)
    else:
        read = _delimited(file, content, wrong)
        if read is None:
            return None
        header, cells, rows = read
    if not len(rows):
        mend = "write the names of the columns in row 1 and one row each below"
        wrong(file, "a header and at least one row", mend=mend)
        return None
    found: dict[str, NDArray[np.object_]] = {"(row)": rows}
    names: dict[str, str] = {}
    for name, column in zip(header, cells, strict=True):
        known = words.find(name)
        if known is None:
            continue
        if known.name in names:
            expected = f"one column for {known.name}, not also {names[known.name]!r}"
            wrong(file, expected, 1, name, mend="delete one of the two")
        names[known.name], found[known.name] = name, column
    lacking = [c for c in words.columns if c.required and c.name not in found]
    for wanted in lacking:
        mend = f"name it so, or one of {', '.join(wanted.synonyms)}"
        wrong(file, f"a column {wanted.name}: {wanted.help}", 1, mend=mend)
    if lacking:
        return None
    return found


def _delimited(
    file: str, content: bytes, wrong: _Wrong
) -> tuple[list[str], list[NDArray[np.object_]], NDArray[np.int64]] | None:
    text = _text(file, content, wrong)
    if text is None:
        return None
    lines = io.StringIO(text, newline="")
    first = text.lstrip("\r\n").split("\n", 1)[0]
    reader = csv.reader(lines, delimiter=_separator(first))
    rows: list[list[str]] = []
    numbers: list[int] = []
    start = 1
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()):
                rows.append(row)
                numbers.append(start)
            start = reader.line_num + 1
    except csv.Error as e:
        mend = "look there for a quotation mark without its partner"
        wrong(file, f"well-formed CSV ({e})", reader.line_num, mend=mend)
        return None
    if len(rows) < 2:
        mend = "write the names of the columns in row 1 and one row each below"
        wrong(file, "a header and at least one row", mend=mend)
        return None
    header = [name.strip() for name in rows[0]]
    while header and not header[-1]:
        header.pop()
    width, whole = len(header), True
    for row, number in zip(rows[1:], numbers[1:], strict=True):
        if len(row) < width or any(c.strip() for c in row[width:]):
            whole = False
            mend = "fill missing cells; has the file been cut off?"
            wrong(file, f"{width} cells, as in the header", number, None, f"{len(row)} cells", mend)
    if not whole:
        return None
    cells = [np.array([row[i].strip() for row in rows[1:]], dtype=object) for i in range(width)]
    return header, cells, np.array(numbers[1:], dtype=np.int64)


def _numbers(
    file: str,
    text: NDArray[np.object_],
    rows: Any,
    name: str,
    wrong: _Wrong,
    *,
    low: float | None,
    high: float | None,
    required: bool,
    whole: bool,
    expected: str,
) -> NDArray[np.float64]:
    """Return a column as numbers, NaN where it is empty, noting cells that are none."""
    # Reads repeat: each different cell is looked at once.
    which, words = pd.factorize(text)
    no_word = np.array([w.lower() in MISSING for w in words], dtype=bool)
    series = pd.Series(words, dtype=object).mask(no_word)
    empty = no_word[which]
    values = pd.to_numeric(series, errors="coerce").to_numpy(dtype=float)[which]
    fits = np.isfinite(values)
    if low is not None:
        fits &= ~(values < low)
    if high is not None:
        fits &= ~(values > high)
    if whole:
        fits &= values == np.round(values)
    bad = ~fits & (~empty | required)
    for i in np.flatnonzero(bad):
        mend = "fill the cell in, or leave the row out" if empty[i] else "write digits alone"
        wrong(file, expected, int(rows[i]), name, str(text[i]), mend)
    return np.where(fits, values, np.nan)


def _loci(file: str, frame: pd.DataFrame, wrong: _Wrong) -> None:
    """Put the loci of a frame of text into one form, noting what is none; its index are rows."""
    rows = frame.index.to_numpy()
    frame["pos"] = _numbers(
        file, frame["pos"].to_numpy(object), rows, "pos", wrong, low=1, high=None, required=True,
        whole=True, expected="a whole number, 1 or more",
    )  # fmt: skip
    frame["pos"] = frame["pos"].fillna(0).astype(np.int64)
    which, names = pd.factorize(frame["chrom"])
    frame["chrom"] = np.array([chromosome(n) for n in names], dtype=object)[which]
    for i in np.flatnonzero((frame["chrom"] == "").to_numpy()):
        wrong(file, "a chromosome", int(rows[i]), "chrom", "", "write chr7 or 7")
    for name in ("ref", "alt"):
        which, words = pd.factorize(frame[name])
        good = np.array([bool(_BASES.fullmatch(w)) for w in words])[which]
        for i in np.flatnonzero(~good):
            mend = "write short variants; give one row an alternative allele"
            wrong(file, "bases (A, C, G, T)", int(rows[i]), name, str(frame[name].iloc[i]), mend)
        frame[name] = np.array([w.upper() for w in words], dtype=object)[which]


def _unique(file: str, frame: pd.DataFrame, key: list[str], wrong: _Wrong) -> None:
    """Note the rows whose key an earlier row has; the index of the frame are rows."""
    again = frame.duplicated(key).to_numpy()
    if not again.any():
        return
    first = frame.reset_index(names="(row)").groupby(key, sort=False, dropna=False)["(row)"].first()
    for i in np.flatnonzero(again):
        values = tuple(frame.iloc[i][k] for k in key)
        earlier = int(first.loc[values if len(key) > 1 else values[0]])
        told, row = " ".join(map(str, values)), int(frame.index[int(i)])
        expected = f"each {', '.join(key)} once"
        wrong(file, expected, row, key[0], told, f"delete one of the rows ({earlier} has it too)")


def _long(file: str, content: bytes, wrong: _Wrong) -> _Part | None:
    """Return what a table variants says, loci and samples in the order of the table."""
    words = dictionary("variants")
    read = _columns(file, content, words, wrong)
    if read is None:
        return None
    rows = np.asarray(read["(row)"], dtype=np.int64)
    if len(rows) > MAX_CALLS:
        wrong(file, f"at most {MAX_CALLS:,} rows", mend="keep the sites that are asked")
        return None
    frame = pd.DataFrame({k: read[k] for k in (*KEY, "sample")}, index=pd.Index(rows))
    _loci(file, frame, wrong)
    for i in np.flatnonzero((frame["sample"] == "").to_numpy()):
        wrong(file, "a sample", int(rows[i]), "sample", "", "fill the cell in")
    values: dict[str, NDArray[np.float64]] = {}
    for column in words.columns[5:]:
        if column.name in read:
            values[column.name] = _numbers(
                file, read[column.name], rows, column.name, wrong, low=column.minimum,
                high=column.maximum, required=column.required, whole=column.type == "integer",
                expected=column.expected
                + (f", {column.minimum:g} or more" if column.maximum is None else ""),
            )  # fmt: skip
    too_many = values["alt_reads"] > values["depth"]
    for i in np.flatnonzero(too_many):
        found = f"{values['alt_reads'][i]:.0f} of {values['depth'][i]:.0f}"
        mend = "depth counts all reads at the locus, those with the variant too"
        wrong(file, "alt_reads at most depth", int(rows[i]), "alt_reads", found, mend)
    _unique(file, frame, [*KEY, "sample"], wrong)
    sample, samples = pd.factorize(frame["sample"])
    # A key of integers is found many times faster than one of texts.
    parts = [pd.factorize(frame[k])[0].astype(np.int64) for k in KEY]
    code = parts[0]
    for part in parts[1:]:
        code = pd.factorize(code * (int(part.max()) + 1) + part)[0].astype(np.int64)
    locus, loci = pd.factorize(code)
    first = np.zeros(len(loci), dtype=np.int64)
    first[locus[::-1]] = np.arange(len(locus))[::-1]
    shape = (len(loci), len(samples))

    def spread(column: NDArray[np.float64], empty: float, kind: Any) -> Any:
        out = np.full(shape, empty, dtype=kind)
        # A cell that is no number has its own problem.
        out[locus, sample] = np.nan_to_num(column) if kind is np.int64 else column
        return out

    head = frame.iloc[first]
    return _Part(
        file, [str(s) for s in samples], head["chrom"].tolist(), head["pos"].tolist(),
        head["ref"].tolist(), head["alt"].tolist(), head.index.tolist(),
        spread(values["alt_reads"], 0, np.int64), spread(values["depth"], 0, np.int64),
        *(spread(values[k], np.nan, float) if k in values and np.isfinite(values[k]).any()
          else None for k in ("copy_number", "purity")),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------- VCF


class _Refused(ValueError):
    """A cell of reads that is not understood: what was expected, and how to mend it."""


Reader = Callable[[list[str], str, list[str]], tuple[list[int], int] | None]
_WANTED = "FORMAT fields with reads: AD, or AO with RO or DP, or those of Strelka or CaVEMan"
_MEND_FORMAT = "call the sites again with allele depths (bcftools mpileup -a AD, GATK, freebayes)"


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise _Refused("reads as whole numbers", "write the file again; a cell is damaged")
    return int(text)


def _cell(parts: list[str], i: int) -> str:
    return parts[i] if i < len(parts) else "."


def _plan(words: list[str]) -> Reader | None:
    """Return how the reads of a sample are taken from the fields that FORMAT names.

    The reader returns the reads of each alternative allele and the depth, or None where the cell
    says nothing.
    """
    at = {word: i for i, word in reversed(list(enumerate(words)))}
    if "AD" in at:
        return _allele_depths(at["AD"], at.get("DP"), at.get("RD"))
    if "AO" in at and ("RO" in at or "DP" in at):
        return _observations(at["AO"], at.get("RO"), at.get("DP"))
    if {"AU", "CU", "GU", "TU"} <= set(at):
        return _bases({b: [at[f"{b}U"]] for b in "ACGT"})
    if {"TAR", "TIR"} <= set(at):
        return _tiers(at["TAR"], at["TIR"])
    if {f"{s}{b}Z" for s in "FR" for b in "ACGT"} <= set(at):
        return _bases({b: [at[f"F{b}Z"], at[f"R{b}Z"]] for b in "ACGT"})
    return None


def _within(alt: int, depth: int) -> None:
    if alt > depth:
        raise _Refused("alt_reads at most depth", "DP must count the reads with the variant too")


def _allele_depths(ad: int, dp: int | None, rd: int | None) -> Reader:
    def read(parts: list[str], ref: str, alts: list[str]) -> tuple[list[int], int] | None:
        text = _cell(parts, ad)
        if text.replace(",", "").replace(".", "") == "":
            return None
        counts = [0 if c == "." else _number(c) for c in text.split(",")]
        said = "." if dp is None else _cell(parts, dp)
        if len(counts) == 1 + len(alts):
            depth = sum(counts)
            if said != ".":
                _within(max(counts[1:]), _number(said))
            return counts[1:], depth
        if len(counts) == 1 == len(alts):
            refs = "." if rd is None else _cell(parts, rd)
            if refs != ".":
                return counts, _number(refs) + counts[0]
            if said == ".":
                raise _Refused("AD of both alleles, or RD or DP beside it", _MEND_FORMAT)
            _within(counts[0], _number(said))
            return counts, _number(said)
        raise _Refused(
            f"AD with {1 + len(alts)} numbers, one an allele", "split alleles with bcftools norm -m"
        )

    return read


def _observations(ao: int, ro: int | None, dp: int | None) -> Reader:
    def read(parts: list[str], ref: str, alts: list[str]) -> tuple[list[int], int] | None:
        text = _cell(parts, ao)
        if text.replace(",", "").replace(".", "") == "":
            return None
        counts = [0 if c == "." else _number(c) for c in text.split(",")]
        if len(counts) != len(alts):
            raise _Refused(
                f"AO with {len(alts)} numbers, one an allele", "split alleles with bcftools norm -m"
            )
        refs = "." if ro is None else _cell(parts, ro)
        if refs != ".":
            return counts, _number(refs) + sum(counts)
        said = "." if dp is None else _cell(parts, dp)
        if said == ".":
            raise _Refused("RO or DP beside AO", _MEND_FORMAT)
        _within(max(counts), _number(said))
        return counts, _number(said)

    return read


def _bases(at: dict[str, list[int]]) -> Reader:
    def read(parts: list[str], ref: str, alts: list[str]) -> tuple[list[int], int] | None:
        found = {b: [_cell(parts, i).split(",")[0] for i in fields] for b, fields in at.items()}
        if all(c == "." for cells in found.values() for c in cells):
            return None
        if any(len(a) != 1 or a not in at for a in (ref, *alts)):
            raise _Refused("a substitution, as the fields count bases", "leave the record out")
        counts = {b: sum(_number(c) for c in cells) for b, cells in found.items()}
        return [counts[a] for a in alts], sum(counts.values())

    return read


def _tiers(tar: int, tir: int) -> Reader:
    def read(parts: list[str], ref: str, alts: list[str]) -> tuple[list[int], int] | None:
        first = [_cell(parts, i).split(",")[0] for i in (tar, tir)]
        if first == [".", "."]:
            return None
        if len(alts) != 1:
            raise _Refused("one alternative allele", "split alleles with bcftools norm -m")
        refs, counts = (_number(c) for c in first)
        return [counts], refs + counts

    return read


def _header(
    file: str, lines: list[str], wrong: _Wrong, reads: bool
) -> tuple[int, list[str], Build | None] | None:
    """Return the number of the line of columns, the samples and the build of a VCF."""
    if not lines or not lines[0].startswith("##fileformat=VCF"):
        value = lines[0][:40] if lines else ""
        mend = "a VCF begins so; is this one?"
        wrong(file, "the line ##fileformat=VCFv4.x", 1, None, value, mend)
        return None
    at = next((i for i, line in enumerate(lines) if not line.startswith("##")), len(lines))
    if at == len(lines) or not lines[at].startswith("#CHROM\tPOS\tID\tREF\tALT"):
        mend = "write the line of columns, separated by tabs"
        wrong(file, "the line #CHROM POS ID REF ALT QUAL FILTER INFO", at + 1, mend=mend)
        return None
    columns = lines[at].split("\t")
    samples = columns[9:]
    if reads and (len(columns) < 10 or columns[8] != "FORMAT"):
        mend = "keep the columns of the samples (bcftools view without -G)"
        wrong(file, "a column FORMAT and at least one sample", at + 1, mend=mend)
        return None
    for name in sorted({s for s in samples if samples.count(s) > 1 or not s.strip()}):
        wrong(file, "each sample named once", at + 1, name, mend="rename one of the columns")
    return at, samples, _header_build(file, lines[:at], wrong)


def _header_build(file: str, header: list[str], wrong: _Wrong) -> Build | None:
    """Return the genome build that a header tells by its reference and its contigs."""
    told: dict[Build, int] = {}
    other = None
    for i, line in enumerate(header, start=1):
        if line.startswith(("##reference=", "##assembly=")):
            for build, words in _BUILD_WORDS.items():
                if words.search(line):
                    told.setdefault(build, i)
        elif line.startswith("##contig=<"):
            name, length = re.search(r"[<,]ID=([^,>]+)", line), re.search(r"length=(\d+)", line)
            chrom = chromosome(name[1]) if name else ""
            if length and chrom in CHROMOSOMES:
                size = int(length[1])
                match = [b for b in LENGTHS if LENGTHS[b][chrom] == size]
                for build in match:
                    told.setdefault(build, i)
                if not match and other is None:
                    other = (i, f"{chrom}, {size:,} bp")
    mend = "take the VCF that was called against that build, or lift it over"
    if other is not None:
        wrong(file, "contigs of GRCh37 or GRCh38", other[0], "contig", other[1], mend)
    if len(told) > 1:
        first, second = sorted(told, key=lambda b: told[b])
        expected = f"one genome build ({first} in line {told[first]})"
        wrong(file, expected, told[second], None, second, "keep the header of one reference")
    return next(iter(told), None) if len(told) == 1 else None


def _vcf(
    file: str,
    content: bytes,
    wrong: _Wrong,
    notes: list[str],
    only_passing: bool,
    reads: bool = True,
) -> _Part | None:
    """Return what a VCF says."""
    text = _text(file, content, wrong)
    if text is None:
        return None
    lines = text.replace("\r\n", "\n").split("\n")
    head = _header(file, lines, wrong, reads)
    if head is None:
        return None
    at, samples, build = head
    before = len(wrong.found)
    width = 9 + len(samples) if samples else 8
    chroms, poss, refs, alts, rows = [], [], [], [], []
    found: list[list[int]] = []
    depths: list[list[int]] = []
    numbers: list[list[float]] = []
    plans: dict[str, tuple[Reader | None, int | None]] = {}
    known: dict[str, str] = {}
    left = {"filter": 0, "symbolic": 0, "split": 0}
    last_chrom, last_pos, done = "", 0, set[str]()
    for i in range(at + 1, len(lines)):
        line = lines[i]
        if not line:
            continue
        row, cells = i + 1, line.split("\t")
        if len(cells) < width or len(cells) > width:
            mend = "the file is damaged or was cut off; write it again"
            value = f"{len(cells)} columns"
            wrong(file, f"{width} columns, as in the header", row, None, value, mend)
            continue
        chrom = known.get(cells[0])
        if chrom is None:
            chrom = known[cells[0]] = chromosome(cells[0])
        if not (cells[1].isascii() and cells[1].isdigit() and 0 < int(cells[1]) < 2**40):
            mend = "positions count from 1"
            wrong(file, "a whole number, 1 or more", row, "POS", cells[1], mend)
            continue
        pos = int(cells[1])
        if chrom != last_chrom:
            if chrom in done:
                mend = "sort it with bcftools sort"
                wrong(file, "each chromosome in one stretch", row, "CHROM", cells[0], mend)
            done.add(chrom)
        elif pos < last_pos:
            mend = "sort it with bcftools sort"
            value = f"{pos} after {last_pos}"
            wrong(file, "positions in ascending order", row, "POS", value, mend)
        last_chrom, last_pos = chrom, pos
        ref, choices = cells[3].upper(), cells[4].split(",")
        if not _BASES.fullmatch(ref):
            wrong(file, "bases (A, C, G, T)", row, "REF", cells[3], "write the reference allele")
            continue
        if not all(_ALLELE.fullmatch(a) for a in choices):
            mend = "write bases, <SYMBOLS>, break ends, * or ."
            wrong(file, "alternative alleles", row, "ALT", cells[4], mend)
            continue
        if only_passing and cells[6] not in {"PASS", ".", ""}:
            left["filter"] += 1
            continue
        short = [j for j, a in enumerate(choices) if _BASES.fullmatch(a)]
        if not short:
            left["symbolic"] += 1
            continue
        left["split"] += len(short) > 1
        bases = [a.upper() for a in choices]
        per_sample: list[tuple[list[int], int] | None] = []
        copies: list[float] = []
        if reads:
            if cells[8] not in plans:
                words = cells[8].split(":")
                plans[cells[8]] = (_plan(words), words.index("CN") if "CN" in words else None)
            plan, cn = plans[cells[8]]
            if plan is None:
                wrong(file, _WANTED, row, "FORMAT", cells[8], _MEND_FORMAT)
                continue
            for name, cell in zip(samples, cells[9:], strict=True):
                parts = cell.split(":")
                try:
                    per_sample.append(plan(parts, ref, bases))
                except _Refused as e:
                    expected, mend = e.args
                    wrong(file, expected, row, name, cell, mend)
                    per_sample.append(None)
                copies.append(_copies(_cell(parts, cn)) if cn is not None else np.nan)
        for j in short:
            chroms.append(chrom)
            poss.append(pos)
            refs.append(ref)
            alts.append(bases[j])
            rows.append(row)
            found.append([0 if r is None else r[0][j] for r in per_sample])
            depths.append([0 if r is None else r[1] for r in per_sample])
            numbers.append(copies)
    if not rows and len(wrong.found) == before:
        told = ", ".join(f"{n} {what}" for what, n in left.items() if n) or "none at all"
        mend = "check the filters; symbolic alleles hold no reads of a short variant"
        wrong(file, "at least one short variant that passes", None, None, told, mend)
    if rows:
        frame = pd.DataFrame(dict(zip(KEY, (chroms, poss, refs, alts), strict=True)), index=rows)
        _unique(file, frame, KEY, wrong)
    if left["filter"]:
        notes.append(f"{file}: {left['filter']:,} records fail a filter and are left out.")
    if left["symbolic"]:
        notes.append(f"{file}: {left['symbolic']:,} records are no short variants; left out.")
    if left["split"]:
        notes.append(
            f"{file}: {left['split']:,} records of several alleles are split, one locus an allele; "
            "depth counts the reads of all."
        )
    shape = (len(rows), len(samples))
    copy_number = np.array(numbers, dtype=float).reshape(shape) if reads and numbers else None
    if copy_number is not None and not np.isfinite(copy_number).any():
        copy_number = None
    return _Part(
        file, samples, chroms, poss, refs, alts, rows,
        np.array(found, dtype=np.int64).reshape(shape if reads else (len(rows), 0)),
        np.array(depths, dtype=np.int64).reshape(shape if reads else (len(rows), 0)),
        copy_number, build=build,
    )  # fmt: skip


def _copies(text: str) -> float:
    """Return a copy number, NaN where there is none that could be one."""
    return float(text) if re.fullmatch(r"\d{1,2}(\.\d+)?", text, flags=re.ASCII) else np.nan


# ------------------------------------------------------------------------------------ together


def _build(
    parts: list[_Part], meant: Build | None, wrong: _Wrong, notes: list[str]
) -> Build | None:
    """Return the one build of all files, noting where they differ or positions contradict it."""
    said: list[tuple[str, Build]] = [(p.file, p.build) for p in parts if p.build is not None]
    if meant is not None:
        said.insert(0, ("", meant))
    agreed: Build | None = said[0][1] if said else None
    for file, build in said[1:]:
        if build != agreed:
            where = f"as {said[0][0]}" if said[0][0] else "as declared"
            mend = "call all samples against one reference, or lift the file over"
            wrong(file, f"the genome build {agreed}, {where}", None, None, build, mend)
    beyond = {build: list(_beyond(parts, build)) for build in LENGTHS}
    if agreed is None:
        fitting = [b for b in LENGTHS if not beyond[b]]
        if len(fitting) == 1:
            agreed = fitting[0]
            notes.append(f"Genome build {agreed}: the other has no such positions.")
        elif not fitting:
            agreed = "GRCh38"
    if agreed is not None:
        for part, i in beyond[agreed]:
            name = "POS" if part.file.lower().endswith(VCF_ENDINGS) else "pos"
            size = LENGTHS[agreed][part.chrom[i]]
            expected = f"a position on {part.chrom[i]} of {agreed}, at most {size:,}"
            mend = "is this another genome build?"
            wrong(part.file, expected, part.row[i], name, f"{part.pos[i]:,}", mend)
    return agreed


def _beyond(parts: list[_Part], build: Build) -> Iterator[tuple[_Part, int]]:
    for part in parts:
        size = np.array([LENGTHS[build].get(c, 2**62) for c in part.chrom])
        for i in np.flatnonzero(np.array(part.pos) > size):
            yield part, int(i)


def _merged(
    parts: list[_Part], build: Build | None, wrong: _Wrong, notes: list[str]
) -> Variants | None:
    """Return all files as one, noting samples and loci that come twice."""
    names: list[str] = []
    for a in parts:
        names += [s for s in a.samples if s not in names]
        for b in parts[: parts.index(a)]:
            shared = set(a.samples) & set(b.samples)
            if shared and shared != set(a.samples) | set(b.samples):
                lacks = sorted(set(a.samples) ^ set(b.samples))
                expected = f"all samples of {b.file}, or none of them"
                mend = "give one file a chromosome with all samples, or one file a sample"
                value = f"{len(shared)} shared, not {', '.join(lacks[:3])}"
                wrong(a.file, expected, None, None, value, mend)
    if wrong:
        return None
    column = {name: j for j, name in enumerate(names)}
    place: dict[tuple[str, int, str, str], int] = {}
    whose: dict[tuple[int, int], str] = {}
    lines: list[NDArray[np.int64]] = []
    for part in parts:
        keys = zip(part.chrom, part.pos, part.ref, part.alt, strict=True)
        lines.append(np.array([place.setdefault(k, len(place)) for k in keys], dtype=np.int64))
    if len(place) * len(names) > MAX_CALLS:
        mend = "keep the sites that are asked"
        wrong("variants", f"at most {MAX_CALLS:,} loci times samples", mend=mend)
        return None
    shape = (len(place), len(names))
    alt, depth = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    seen = np.zeros(shape, bool)
    extra: dict[str, NDArray[np.float64]] = {}
    for part, at in zip(parts, lines, strict=True):
        columns = np.array([column[s] for s in part.samples], dtype=np.int64)
        block = np.ix_(at, columns)
        if len(parts) > 1:
            for i in np.flatnonzero(seen[block].any(axis=1)):
                told = f"{part.chrom[i]} {part.pos[i]} {part.ref[i]} {part.alt[i]}"
                other = whose.get((int(at[i]), int(columns[0])), "another file")
                expected, mend = f"loci that {other} has not", "delete it from one of the files"
                wrong(part.file, expected, part.row[i], "pos", told, mend)
            whose.update({(int(a), int(columns[0])): part.file for a in at})
        seen[block] = True
        alt[block], depth[block] = part.alt_reads, part.depth
        for name in ("copy_number", "purity"):
            values = getattr(part, name)
            if values is not None:
                extra.setdefault(name, np.full(shape, np.nan))[block] = values
    if wrong:
        return None
    sites = pd.DataFrame(list(place), columns=KEY)
    if blind := int((depth == 0).sum()):
        notes.append(
            f"At {blind:,} of {depth.size:,} loci and samples nothing was counted (no row, or "
            "depth 0): nobody looked there."
        )
    return Variants(
        sites, tuple(names), alt, depth, build, extra.get("copy_number"), extra.get("purity")
    )


# Files of a folder that hold variants and what belongs to them, by the first part of their names.
PARTS = ("variants", "sites", "samples")


def part_of(path: Path, name: str) -> str | None:
    """Return what a file called `name` is: variants, sites, samples or none of these.

    Any VCF is of variants, unless it is called sites.
    """
    if name in PARTS and path.name.lower().endswith((*VCF_ENDINGS, *TABLE_ENDINGS)):
        return name
    return "variants" if is_vcf(path) else None


@dataclass(frozen=True)
class Serial:
    """Reads of serial samples, the sites of one lineage, and what is known of the samples.

    Attributes
    ----------
    variants : Variants
    sites : DataFrame or None
        ``chrom, pos, ref, alt, branch``.
    samples : DataFrame or None
        ``sample, day, control, purity``, one row a sample of `variants`.
    """

    variants: Variants
    sites: pd.DataFrame | None = None
    samples: pd.DataFrame | None = None


def read_serial(
    files: Mapping[str, Sequence[Path]], to: Callable[..., None], build: Build | None = None
) -> Serial | None:
    """Return the files of a folder, by `PARTS`; None after telling `to` what is wrong.

    A purity in samples holds for all loci of the sample; a day and a control are of samples alone.
    """
    for part in PARTS[1:]:
        for extra in files.get(part, ())[1:]:
            first = files[part][0].name
            to(extra.name, f"one file {part}, not also {first}", None, None, None, "keep one")
            return None
    found = gather(list(files.get("variants", ())), to, build=build)
    sites = read_sites(files["sites"][0], to) if files.get("sites") else None
    samples = read_samples(files["samples"][0], to) if files.get("samples") else None
    if found is None or any(files.get(p) and f is None for p, f in
                            (("sites", sites), ("samples", samples))):  # fmt: skip
        return None
    good, notes = True, list(found.notes)
    for part, frame in (("sites", sites), ("samples", samples)):
        if frame is not None:
            content = files[part][0].read_bytes()
            found.files[files[part][0].name] = hashlib.sha256(content).hexdigest()
    if sites is not None:
        known = found.at(sites)
        if not len(known.sites):
            name, mend = files["sites"][0].name, "are builds and alleles the same in both files?"
            to(name, "a locus that variants has", None, None, f"{len(sites):,} others", mend)
            good = False
        elif lacking := len(sites) - len(known.sites):
            notes.append(f"{lacking:,} of {len(sites):,} sites of the list are not in variants.")
    if samples is not None:
        name = files["samples"][0].name
        listed, there = set(samples["sample"]), set(found.samples)
        for i in np.flatnonzero(~samples["sample"].isin(there).to_numpy()):
            value, mend = str(samples["sample"].iloc[int(i)]), "write it as variants has it"
            to(name, "a sample of variants", int(i) + 2, "sample", value, mend)
        for sample in [s for s in found.samples if s not in listed]:
            mend = "add it; control is 1 for a sample of somebody else"
            to(name, "a row for every sample of variants", None, "sample", sample, mend)
        good = good and listed == there
        if good:
            samples = samples.set_index("sample").loc[list(found.samples)].reset_index()
            told = samples["purity"].to_numpy(float)
            if np.isfinite(told).any():
                each = np.full(found.alt.shape, np.nan) if found.purity is None else found.purity
                found = replace(found, purity=np.where(np.isfinite(told), told, each))
    return Serial(replace(found, notes=tuple(notes)), sites, samples) if good else None

"""Single-base substitutions counted by kind and neighbours: the 96 channels of a catalogue.

A substitution is told by its six kinds as seen from the pyrimidine of the pair (C>A, C>G, C>T, T>A,
T>C, T>G) and by the bases before and after it: 6 x 4 x 4 = 96 channels, written ``A[C>T]G``. A
purine reference is read from the other strand: reference, alternative and neighbours are
complemented and the neighbours swapped. So a genome read backwards gives the same catalogue
(Alexandrov et al, Nature 2013;500:415; Bergstrom et al, BMC Genomics 2019;20:685).

The neighbours come from a reference genome (`Fasta`). Every reference allele is compared with it:
an assembly other than the one that was called against disagrees at about three in four positions.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ballbook.cohort import Problem
    from ballbook.variants import Serial

SUBSTITUTIONS = ("C>A", "C>G", "C>T", "T>A", "T>C", "T>G")
CHANNELS: tuple[str, ...] = tuple(
    f"{before}[{kind}]{after}" for kind in SUBSTITUTIONS for before in "ACGT" for after in "ACGT"
)
BASES = "ACGT"
# Code of a byte: 0 to 3 for a base of either case, 4 for anything else.
_CODE = np.full(256, 4, dtype=np.int8)
for _i, _base in enumerate(BASES):
    _CODE[ord(_base)] = _CODE[ord(_base.lower())] = _i
_PLACE = {name: i for i, name in enumerate(CHANNELS)}
# Channel by base before, reference, alternative and base after, purines folded; -1 for none.
_CHANNEL = np.full((4, 4, 4, 4), -1, dtype=np.int64)
for _a in range(4):
    for _r in range(4):
        for _t in range(4):
            for _z in range(4):
                if _r != _t:
                    _q = (_a, _r, _t, _z) if BASES[_r] in "CT" else (3 - _z, 3 - _r, 3 - _t, 3 - _a)
                    _name = f"{BASES[_q[0]]}[{BASES[_q[1]]}>{BASES[_q[2]]}]{BASES[_q[3]]}"
                    _CHANNEL[_a, _r, _t, _z] = _PLACE[_name]
NAMED = 3
LEAST_READS = 3
MAX_TABLE = 50_000_000


class WrongReference(ValueError):
    """Variants and reference genome do not belong together; the message says how many disagree."""


class InvalidFasta(ValueError):
    """A reference genome that cannot be read by position; the message says why."""


# -------------------------------------------------------------------------------- the reference


class Fasta:
    """A reference genome read by position.

    With an index beside it (``.fai``, as of ``samtools faidx``) nothing else is read in advance;
    without one the file is gone through once. Chromosomes are found with and without ``chr``.

    Parameters
    ----------
    path : path
        Plain FASTA, lines of one length within a sequence.

    Raises
    ------
    InvalidFasta
        If the file is compressed, holds no sequence, has lines of several lengths, or does not
        fit its index.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InvalidFasta(f"{self.path.name}: there is no such file")
        if not self.path.stat().st_size:
            raise InvalidFasta(f"{self.path.name}: the file is empty")
        with self.path.open("rb") as handle:
            start = handle.read(2)
        if start == b"\x1f\x8b":
            raise InvalidFasta(f"{self.path.name}: compressed; unpack it (gunzip) before use")
        if start[:1] != b">":
            raise InvalidFasta(f"{self.path.name}: a FASTA starts with > and a name")
        index = Path(f"{self.path}.fai")
        rows = _indexed(index) if index.is_file() else _scanned(self.path)
        self._rows = {name: row for name, *row in rows}
        self._bytes = np.memmap(self.path, dtype=np.uint8, mode="r")
        for name, (length, offset, bases, width) in self._rows.items():
            end = offset + (length - 1) // bases * width + (length - 1) % bases if length else 0
            if end >= len(self._bytes) or self._bytes[offset - 1] not in b"\n":
                raise InvalidFasta(
                    f"{index.name}: {name} does not fit; index {self.path.name} anew"
                )
        from ballbook.variants import chromosome

        self._named = {chromosome(name): name for name in self._rows}

    @property
    def lengths(self) -> dict[str, int]:
        """Bases of each sequence, by its name in the file."""
        return {name: row[0] for name, row in self._rows.items()}

    def find(self, chrom: str) -> str | None:
        """Return the name of a chromosome in the file, or None."""
        from ballbook.variants import chromosome

        return chrom if chrom in self._rows else self._named.get(chromosome(chrom))

    def codes(self, chrom: str, positions: Any) -> NDArray[np.int8]:
        """Return the bases at `positions` (1-based) as 0 to 3 for A, C, G, T and 4 for others.

        Positions before the first or beyond the last base give 4.
        """
        name = self.find(chrom)
        if name is None:
            raise KeyError(chrom)
        length, offset, bases, width = self._rows[name]
        at = np.asarray(positions, dtype=np.int64) - 1
        inside = (at >= 0) & (at < length)
        safe = np.where(inside, at, 0)
        found = _CODE[self._bytes[offset + safe // bases * width + safe % bases]]
        return np.where(inside, found, 4).astype(np.int8)


def _indexed(path: Path) -> list[tuple[str, int, int, int, int]]:
    rows = []
    for i, line in enumerate(path.read_text(encoding="utf8").splitlines(), start=1):
        cells = line.split("\t")
        if len(cells) < 5 or not all(c.isdigit() for c in cells[1:5]) or cells[3] == "0":
            raise InvalidFasta(f"{path.name}, line {i}: a name and four numbers are expected")
        rows.append((cells[0], int(cells[1]), int(cells[2]), int(cells[3]), int(cells[4])))
    if not rows:
        raise InvalidFasta(f"{path.name}: the index is empty")
    return rows


def _scanned(path: Path) -> list[tuple[str, int, int, int, int]]:
    rows: list[list[Any]] = []
    short = False
    at = 0
    with path.open("rb") as handle:
        for line in handle:
            at += len(line)
            text = line.rstrip(b"\r\n")
            if text.startswith(b">"):
                words = text[1:].split()
                if not words:
                    raise InvalidFasta(f"{path.name}: a sequence has no name")
                rows.append([words[0].decode("utf8", "replace"), 0, at, 0, 0])
                short = False
            elif text:
                row = rows[-1]
                if not row[3]:
                    row[3], row[4] = len(text), len(line)
                if short or len(text) > row[3]:
                    raise InvalidFasta(
                        f"{path.name}: {row[0]} has lines of several lengths; wrap it evenly"
                    )
                short = len(text) < row[3]
                row[1] += len(text)
            elif rows:
                short = True
    if len({row[0] for row in rows}) < len(rows):
        raise InvalidFasta(f"{path.name}: a name stands twice")
    return [(n, length, offset, max(b, 1), max(w, 1)) for n, length, offset, b, w in rows]


# -------------------------------------------------------------------------------- the catalogue


@dataclass(frozen=True)
class Catalogue:
    """Substitutions by channel.

    Attributes
    ----------
    counts : DataFrame
        96 channels (in the order of `CHANNELS`) by samples or branches; whole numbers.
    left_out : dict
        Variants that are in no channel, by reason.
    notes : tuple of str
    branches : bool
        The columns are branches of one patient's tree and no samples.
    """

    counts: pd.DataFrame
    left_out: dict[str, int]
    notes: tuple[str, ...] = ()
    branches: bool = False

    @property
    def totals(self) -> pd.Series:
        """Substitutions of each sample or branch."""
        return self.counts.sum()


def build(sites: pd.DataFrame, groups: Sequence[str] | pd.Series, genome: Fasta) -> Catalogue:
    """Return the catalogue of variants.

    Parameters
    ----------
    sites : DataFrame
        ``chrom, pos`` (1-based), ``ref, alt``. A variant that several groups have is there once
        for each.
    groups : sequence of str
        Sample or branch of each row.
    genome : Fasta

    Returns
    -------
    Catalogue
        Columns in the order in which groups first appear. Insertions, deletions, multi-base
        variants and substitutions beside an unknown base are counted in ``left_out``.

    Raises
    ------
    WrongReference
        If a chromosome is not in the genome or a reference allele is not the genome's base.
    """
    groups = pd.Series(list(groups), dtype=object)
    if len(groups) != len(sites):
        raise ValueError(f"{len(sites)} variants but {len(groups)} groups")
    frame = sites.reset_index(drop=True)
    ref, alt = (frame[c].astype(str).str.upper() for c in ("ref", "alt"))
    single = ((ref.str.len() == 1) & (alt.str.len() == 1)).to_numpy()
    codes = [
        _CODE[np.frombuffer("".join(v[single]).encode("latin-1", "replace"), dtype=np.uint8)]
        for v in (ref, alt)
    ]
    known = (codes[0] < 4) & (codes[1] < 4) & (codes[0] != codes[1])
    rows = np.flatnonzero(single)[known]
    r, t = codes[0][known], codes[1][known]
    names = list(dict.fromkeys(groups))
    counts = np.zeros((len(CHANNELS), len(names)), dtype=np.int64)
    chrom, pos = frame["chrom"].astype(str).to_numpy()[rows], frame["pos"].to_numpy(np.int64)[rows]
    absent = sorted({c for c in set(chrom) if genome.find(c) is None})
    if absent:
        there = ", ".join(list(genome.lengths)[:NAMED])
        raise WrongReference(
            f"{genome.path.name} has no {', '.join(absent[:NAMED])}: it has {there} ..."
        )
    chrom = np.array([str(genome.find(c)) for c in chrom], dtype=object)
    around = np.full((3, len(rows)), 4, dtype=np.int8)
    for c in dict.fromkeys(chrom):
        here = np.flatnonzero(chrom == c)
        for j, shift in enumerate((-1, 0, 1)):
            around[j, here] = genome.codes(c, pos[here] + shift)
    _agree(genome, chrom, pos, around[1], r)
    clear = (around < 4).all(axis=0)
    channel = _CHANNEL[around[0][clear], r[clear], t[clear], around[2][clear]]
    column = groups.map({n: i for i, n in enumerate(names)}).to_numpy(np.int64)[rows][clear]
    np.add.at(counts, (channel, column), 1)
    left = {
        "insertions, deletions and variants of several bases": int((~single).sum()),
        "alleles that are no base, or equal": int(single.sum() - known.sum()),
        "an unknown base beside or at the site": int((~clear).sum()),
    }
    notes = [f"{n:,} left out: {why}." for why, n in left.items() if n]
    pairs = _neighbours(chrom[clear], pos[clear], column)
    if pairs:
        notes.append(f"{pairs:,} substitutions stand right after another of the same group.")
    made = pd.DataFrame(counts, index=pd.Index(CHANNELS, name="channel"), columns=names)
    return Catalogue(made, {k: v for k, v in left.items() if v}, tuple(notes))


def of_serial(serial: Serial, genome: Fasta) -> Catalogue:
    """Return the catalogue of a cohort's variants, by branch where its sites name branches.

    Else by sample, controls aside: a sample has what `LEAST_READS` of its reads show.

    Raises
    ------
    WrongReference
        As `build`.
    """
    found = serial.variants
    if serial.sites is not None and (serial.sites["branch"].astype(str) != "").any():
        named = serial.sites[serial.sites["branch"].astype(str) != ""]
        key = ["chrom", "pos", "ref", "alt"]
        there = found.sites[key].merge(named, on=key, how="inner")
        return replace(build(there, there["branch"].astype(str), genome), branches=True)
    control = set()
    if serial.samples is not None:
        control = set(serial.samples.loc[serial.samples["control"], "sample"])
    parts = [
        found.sites[found.alt[:, j] >= LEAST_READS].assign(group=name)
        for j, name in enumerate(found.samples)
        if name not in control
    ]
    frame = pd.concat(parts, ignore_index=True)
    return build(frame, frame["group"], genome)


def _agree(
    genome: Fasta,
    chrom: NDArray[Any],
    pos: NDArray[np.int64],
    found: NDArray[np.int8],
    ref: NDArray[np.int8],
) -> None:
    """Refuse variants whose reference allele is not the genome's."""
    wrong = np.flatnonzero((found != ref) & (found < 4))
    ends = genome.lengths
    far = np.array([p > ends[c] for c, p in zip(chrom, pos, strict=True)], dtype=bool)
    if not len(wrong) and not far.any():
        return
    if far.any():
        i = int(np.flatnonzero(far)[0])
        where = f"{chrom[i]}:{pos[i]:,} lies beyond its end"
        n = int(far.sum())
    else:
        i = int(wrong[0])
        where = (
            f"{chrom[i]}:{pos[i]:,} is {BASES[found[i]]} there and {BASES[ref[i]]} in the variants"
        )
        n = len(wrong)
    share = (len(wrong) + int(far.sum())) / len(pos)
    guess = (
        "another genome build than the one the variants were called against?"
        if share > 0.1
        else "are these rows damaged, or on the other strand?"
    )
    raise WrongReference(
        f"{genome.path.name} disagrees with {n:,} of {len(pos):,} reference alleles "
        f"({100 * share:.0f}%; first: {where}). {guess[0].upper()}{guess[1:]}"
    )


def _neighbours(chrom: NDArray[Any], pos: NDArray[np.int64], group: NDArray[np.int64]) -> int:
    """Return how many substitutions follow right after another of their group."""
    if len(pos) < 2:
        return 0
    frame = pd.DataFrame({"c": chrom, "g": group, "p": pos}).sort_values(["g", "c", "p"])
    same = (frame[["c", "g"]] == frame[["c", "g"]].shift()).all(axis=1)
    return int((same & (frame["p"].diff() == 1)).sum())


# -------------------------------------------------------------------------------- counts by others

_FORMS = (
    re.compile(r"(?P<a>[ACGT])\[(?P<r>[ACGT])>(?P<t>[ACGT])\](?P<z>[ACGT])"),
    re.compile(r"(?P<a>[ACGT])(?P<r>[ACGT])(?P<z>[ACGT])>(?P<t>[ACGT])"),
    re.compile(r"(?P<r>[ACGT])>(?P<t>[ACGT])[ :_-](?P<a>[ACGT])[.xX\-(?P=r)](?P<z>[ACGT])"),
)


def channel(name: str) -> str | None:
    """Return the channel that a table calls `name`, or None.

    Read are ``A[C>T]G``, ``ACG>T`` and ``C>T:A.G``; purines are folded.
    """
    for form in _FORMS:
        if m := form.fullmatch(name.strip()):
            i = _CHANNEL[tuple(BASES.index(m[k]) for k in "artz")]
            return CHANNELS[i] if i >= 0 else None
    return None


def is_counts(path: Path) -> bool:
    """Tell whether a delimited file looks like a table of the 96 channels."""
    if path.suffix.lower() not in {".csv", ".tsv", ".txt"}:
        return False
    try:
        with path.open(encoding="utf-8-sig") as handle:
            next(handle)
            cells = re.split(r"[\t,;]", next(handle).strip())[:2]
    except (OSError, StopIteration, UnicodeDecodeError):
        return False
    return channel(cells[0].strip('"')) is not None or _two(cells) is not None


def _two(cells: Iterable[str]) -> str | None:
    """Return the channel of a kind and a trinucleotide, such as ``C>T`` and ``ACG``."""
    first, *rest = (c.strip().strip('"') for c in cells)
    if rest and re.fullmatch(r"[ACGT]>[ACGT]", first) and re.fullmatch(r"[ACGT]{3}", rest[0]):
        return channel(f"{rest[0]}>{first[2]}") if rest[0][1] == first[0] else None
    return None


def read_counts(path: str | Path) -> Catalogue:
    """Return a table of counts: 96 rows that name their channel first, one column a sample.

    The channel may also stand in two columns (``C>T`` and ``ACG``), as COSMIC writes it.

    Raises
    ------
    ballbook.cohort.InvalidCohort
        With everything that is wrong: file, row, column, value, what was expected, how to mend it.
    """
    from ballbook.cohort import InvalidCohort

    path = Path(path)
    problems: list[Problem] = []
    found = _counts(path, problems)
    if found is None or problems:
        raise InvalidCohort(problems)
    return found


def _counts(path: Path, problems: list[Problem]) -> Catalogue | None:
    from ballbook.cohort import Problem

    def wrong(
        row: int | None, column: str | None, value: str | None, expected: str, mend: str
    ) -> None:
        problems.append(Problem(path.name, row, column, value, expected, mend))

    try:
        if path.stat().st_size > MAX_TABLE:
            wrong(None, None, None, "a table of 96 rows", "give counts by channel")
            return None
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        wrong(None, None, None, "a text table that can be read", "save it as CSV in UTF-8")
        return None
    header = text.partition("\n")[0]
    sep = max("\t,;", key=header.count)
    try:
        frame = pd.read_csv(io.StringIO(text), sep=sep, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError):
        wrong(None, None, None, "rows of equal length under a header", "write the table again")
        return None
    if frame.shape[1] < 2 or frame.empty:
        wrong(None, None, None, "channels and at least one sample", "one column a sample")
        return None
    pair = frame.shape[1] > 2 and _two(frame.iloc[0, :2]) is not None
    names = [
        _two(row) if pair else channel(row[0])
        for row in frame.iloc[:, : 2 if pair else 1].itertuples(index=False)
    ]
    seen: dict[str, int] = {}
    first = str(frame.columns[0])
    for i, name in enumerate(names):
        if name is None:
            value = " ".join(frame.iloc[i, : 2 if pair else 1])
            wrong(i + 2, first, value, "a channel such as A[C>T]G", "name all 96 so")
        elif name in seen:
            wrong(i + 2, first, name, "each channel once", f"also in row {seen[name]}")
        else:
            seen[name] = i + 2
    if not problems and len(seen) < len(CHANNELS):
        lacks = [c for c in CHANNELS if c not in seen]
        mend = "write 0 where there is none"
        wrong(None, first, f"{len(seen)}", f"96 channels; {lacks[0]} lacks", mend)
    samples = [str(c).strip() for c in frame.columns[2 if pair else 1 :]]
    for name in {s for s in samples if not s or samples.count(s) > 1}:
        wrong(1, name, None, "a name of its own for each sample", "name the column")
    values = frame.iloc[:, 2 if pair else 1 :]
    for j, name in enumerate(samples):
        for i, cell in enumerate(values.iloc[:, j]):
            if not re.fullmatch(r"\d{1,9}(\.0+)?", cell.strip()):
                mend = "counts, neither shares nor normalised numbers"
                wrong(i + 2, name, cell, "a whole number, 0 or more", mend)
                break
    if problems:
        return None
    made = values.map(lambda v: int(float(v))).to_numpy(np.int64)
    counts = pd.DataFrame(made, index=pd.Index(names, name="channel"), columns=samples)
    return Catalogue(counts.loc[list(CHANNELS)], {})

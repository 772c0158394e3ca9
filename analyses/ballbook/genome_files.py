"""Break points and copy-number segments of a reader's cohort: tables, and the files of callers.

In a folder, ``breakpoints`` is a table (``data/dictionaries/breakpoints.yml``), a BEDPE or a VCF of
structural variants, and ``genome.fa`` the reference from which the sequence around each break is
taken (an index ``genome.fa.fai`` beside it saves reading all of it). ``segments`` is a table
(``data/dictionaries/segments.yml``), and so is any file that ends with ``.cns`` (CNVkit) or
``.seg`` (cBioPortal, IGV). Columns of ASCAT, Battenberg (the clone with more cells counts where a
segment has two), CNVkit and cBioPortal are known by their own names. A file without a column sample
is of one sample, named as the file.

What a break keeps is told by its strand: + the sequence up to the position, - that from it on, as
in BEDPE. A deletion of a VCF is + at POS and - behind END; a duplication + at END and - behind POS;
an inversion is two junctions.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ballbook.dictionaries import dictionary, plain
from ballbook.variants import LENGTHS, Build, chromosome

if TYPE_CHECKING:
    from ballbook.cohort import _Reader, _Table

TABLES = (".csv", ".tsv", ".txt", ".parquet")
ENDINGS = {
    "breakpoints": (*TABLES, ".bedpe", ".vcf", ".vcf.gz"),
    "segments": TABLES,
    "genome": (".fa", ".fasta", ".fna", ".fa.gz", ".fasta.gz", ".fna.gz"),
}
SEGMENT_FILES = (".cns", ".seg")
# Bases kept on both sides of a break.
FLANK = 100
LEAST_SEQUENCE = 56
_MATE = re.compile(
    r"(?P<before>[ACGTNacgtn.]*)(?P<way>[\[\]])(?P<chrom>[^\[\]:]+):(?P<pos>\d+)[\[\]]"
    r"(?P<after>[ACGTNacgtn.]*)"
)
_BATTENBERG = {"nmaj1_a", "nmin1_a", "frac1_a"}


@dataclass(frozen=True)
class Genome:
    """Structure of the genomes of a cohort.

    Attributes
    ----------
    breakpoints : DataFrame or None
        One row an end of a junction: ``sample, junction, chrom, pos, strand, sequence``; the break
        lies in the middle of the sequence, and a missing junction is an end without a partner.
    segments : DataFrame or None
        ``sample, patient, day, chrom, start, end, total, minor, log2``.
    build : {"GRCh37", "GRCh38"}
        Of the segments.
    """

    breakpoints: pd.DataFrame | None
    segments: pd.DataFrame | None
    build: Build = "GRCh38"

    @property
    def patients(self) -> list[str]:
        """Patients, or samples where no patient is told, in their order."""
        names: list[str] = []
        if self.segments is not None:
            names += self.segments["patient"].tolist()
        if self.breakpoints is not None:
            names += self.breakpoints["sample"].tolist()
        return list(dict.fromkeys(map(str, names)))


def part_of(path: Path, name: str) -> str | None:
    """Return which part a file called `name` is: breakpoints, segments, genome or none."""
    file = path.name.lower()
    if file.endswith(SEGMENT_FILES):
        return "segments"
    if file.endswith(".fai"):
        return "index"
    return name if name in ENDINGS and file.endswith(ENDINGS[name]) else None


def read(
    files: Mapping[str, Sequence[Path]], reader: _Reader, about: Mapping[str, Any] | None = None
) -> Genome | None:
    """Return the parts found in a folder, after telling `reader` what is wrong with them."""
    before = len(reader.problems)
    breaks = segments = None
    told = (about or {}).get("genome_build")
    if told not in {None, *LENGTHS}:
        mend = "write GRCh37 or GRCh38"
        reader.wrong("cohort.yml", "a known genome build", None, "genome_build", str(told), mend)
        return None
    for part in ("breakpoints", "genome"):
        for extra in files.get(part, ())[1:]:
            expected = f"one file {part}, not also {files[part][0].name}"
            reader.wrong(extra.name, expected, mend="keep one of the two in the folder")
    if files.get("breakpoints"):
        path = files["breakpoints"][0]
        if (table := _breakpoint_table(path, reader)) is not None:
            breaks = _breakpoints(table, reader, next(iter(files.get("genome", ())), None))
    build: Build = told or "GRCh38"
    if files.get("segments"):
        parts = [_segments(path, reader) for path in files["segments"]]
        found = [p for p in parts if p is not None]
        if len(found) == len(parts):
            segments = pd.concat(found, ignore_index=True)
            build = _build(segments, files["segments"][0].name, told, reader)
            _apart(segments, files["segments"][0].name, reader)
    if len(reader.problems) > before or (breaks is None and segments is None):
        return None
    return Genome(breaks, segments, build)


# -------------------------------------------------------------------------------- break points


def _breakpoint_table(path: Path, reader: _Reader) -> _Table | None:
    name = path.name.lower()
    if name.endswith(".bedpe"):
        return _lines(path, reader, _bedpe)
    if name.endswith((".vcf", ".vcf.gz")):
        return _lines(path, reader, _vcf)
    return reader.table(path)


def _lines(path: Path, reader: _Reader, parse: Any) -> _Table | None:
    from ballbook.cohort import _Table

    content = reader.content(path)
    if content is None:
        return None
    try:
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except (EOFError, OSError, zlib.error, UnicodeDecodeError) as e:
        mend = "copy or export it again; the file is not whole, or no text in UTF-8"
        reader.wrong(path.name, f"a readable file ({type(e).__name__})", mend=mend)
        return None
    before = len(reader.problems)
    numbered = [
        (i, line.split("\t")) for i, line in enumerate(text.splitlines(), 1) if line.strip()
    ]
    rows, numbers = parse(path.name, numbered, reader)
    if len(reader.problems) > before:
        return None
    if not rows:
        mend = "are all of them filtered, insertions or copy-number calls?"
        reader.wrong(path.name, "a junction with two ends", mend=mend)
        return None
    return _Table(path.name, ["sample", "junction", "chrom", "pos", "strand"], rows, numbers)


Rows = tuple[list[list[str]], list[int]]


def _bedpe(file: str, lines: Iterable[tuple[int, list[str]]], reader: _Reader) -> Rows:
    rows: list[list[str]] = []
    numbers: list[int] = []
    for number, cells in lines:
        if cells[0].startswith("#") or cells[0].lower() in {"chrom1", "chr1_name"}:
            continue
        if len(cells) < 10:
            mend = "chrom1, start1, end1, chrom2, start2, end2, name, score, strand1, strand2"
            reader.wrong(file, "at least 10 columns, tab by tab", number, None,
                         f"{len(cells)} columns", mend)  # fmt: skip
            continue
        name = cells[6] if cells[6] not in {"", "."} else f"line {number}"
        for chrom, start, end, strand in (
            (*cells[0:3], cells[8]), (*cells[3:6], cells[9]),
        ):  # fmt: skip
            if not (start.isdecimal() and end.isdecimal() and int(start) <= int(end)):
                mend = "start counts from 0 and is not beyond end"
                value = f"{start} to {end}"
                reader.wrong(file, "whole numbers start and end", number, "start", value, mend)
                continue
            # The middle of an uncertain place; of a certain one (one base), that base.
            pos = (int(start) + 1 + int(end)) // 2
            rows.append([Path(file).stem, name, chrom, str(max(pos, 1)), strand])
            numbers.append(number)
    return rows, numbers


def _vcf(file: str, lines: Iterable[tuple[int, list[str]]], reader: _Reader) -> Rows:
    rows: list[list[str]] = []
    numbers: list[int] = []
    seen: set[tuple[tuple[str, int, str], ...]] = set()
    skipped = filtered = 0
    sample = file.split(".")[0]
    header = False
    for number, cells in lines:
        if cells[0].startswith("##"):
            continue
        if cells[0].startswith("#"):
            header = True
            sample = cells[-1] if len(cells) > 9 else sample
            continue
        if len(cells) < 8 or not cells[1].isdecimal():
            mend = "CHROM, POS, ID, REF, ALT, QUAL, FILTER, INFO; is the file cut off?"
            reader.wrong(file, "the 8 columns of a VCF", number, None, "\t".join(cells)[:40], mend)
            continue
        if cells[6] not in {"PASS", "."}:
            filtered += 1
            continue
        info = dict(word.partition("=")[::2] for word in cells[7].split(";"))
        found = _junctions(cells[0], int(cells[1]), cells[4], info)
        if found is None:
            skipped += 1
        for i, ends in enumerate(found or []):
            key = tuple(sorted(ends))
            if key in seen:
                continue
            seen.add(key)
            name = cells[2] if cells[2] not in {"", "."} else f"line {number}"
            for chrom, pos, strand in ends:
                rows.append([sample, f"{name}{'ab'[i] if len(found or []) > 1 else ''}",
                             chrom, str(pos), strand])  # fmt: skip
                numbers.append(number)
    if not header:
        reader.wrong(file, "a line #CHROM", mend="give the VCF with its header")
    if skipped or filtered:
        reader.notes.append(
            f"{file}: {filtered:,} filtered records and {skipped:,} without two known ends were "
            "left out."
        )
    return rows, numbers


End = tuple[str, int, str]


def _junctions(chrom: str, pos: int, alt: str, info: Mapping[str, str]) -> list[list[End]] | None:
    """Return the junctions of a record, each two ends; None where the record does not tell them."""
    if mate := _MATE.fullmatch(alt):
        here = "+" if mate["before"] else "-"
        there = "-" if mate["way"] == "[" else "+"
        return [[(chrom, pos, here), (mate["chrom"], int(mate["pos"]), there)]]
    if not info.get("END", "").isdecimal():
        return None
    end, kind = int(info["END"]), info.get("SVTYPE", alt.strip("<>"))
    ends = {
        "DEL": [[(chrom, pos, "+"), (chrom, end + 1, "-")]],
        "DUP": [[(chrom, end, "+"), (chrom, pos + 1, "-")]],
        "INV": [[(chrom, pos, "+"), (chrom, end, "+")],
                [(chrom, pos + 1, "-"), (chrom, end + 1, "-")]],
    }  # fmt: skip
    return ends.get(kind.partition(":")[0])


def _breakpoints(table: _Table, reader: _Reader, reference: Path | None) -> pd.DataFrame | None:
    table.kind = "breakpoints"
    before = len(reader.problems)
    frame, _ = reader.known(table, dictionary("breakpoints"))
    if not {"chrom", "pos", "strand"} <= set(frame):
        return None
    for name in ("sample", "junction", "sequence"):
        if name not in frame:
            frame[name] = None
    stem = table.file.split(".")[0]
    frame["sample"] = frame["sample"].where(frame["sample"].notna(), stem)
    frame["chrom"] = frame["chrom"].map(lambda c: chromosome(str(c)))
    reader.repeated(table, frame, ["sample", "junction", "chrom", "pos", "strand"])
    known = frame[frame["junction"].notna()]
    third = known.groupby(["sample", "junction"]).cumcount() == 2
    for i in known.index[third.to_numpy()]:
        number, value = table.numbers[int(i)], str(known["junction"][i])
        mend = "give each junction a name of its own"
        reader.wrong(table.file, "two ends of a junction", number, "junction", value, mend)
    if len(reader.problems) > before:
        return None
    absent = frame["sequence"].isna()
    if absent.any() and reference is not None:
        taken = _from_fasta(reference, table, frame, reader)
        frame["sequence"] = frame["sequence"].where(~absent, taken)
    elif absent.any():
        i = int(np.flatnonzero(absent)[0])
        mend = "add the column sequence, or put genome.fa into the folder"
        reader.wrong(table.file, "the sequence around the break", table.numbers[i], "sequence",
                     "", mend)  # fmt: skip
    for i, text in enumerate(frame["sequence"]):
        if isinstance(text, str) and len(re.findall("[ACGTacgt]", text)) < len(text) / 2:
            mend = "leave out ends that lie in gaps of the reference"
            reader.wrong(table.file, "a sequence of which half is known", table.numbers[i],
                         "sequence", f"{text[:20]}...", mend)  # fmt: skip
            continue
        if isinstance(text, str) and not (
            re.fullmatch("[ACGTNacgtn]+", text)
            and len(text) % 2 == 0
            and len(text) >= LEAST_SEQUENCE
        ):
            expected = f"an even number of bases, at least {LEAST_SEQUENCE}, of A, C, G, T and N"
            mend = "give as many bases before the break as after it"
            value = f"{text[:20]}... ({len(text)} characters)"
            reader.wrong(table.file, expected, table.numbers[i], "sequence", value, mend)
    frame["sequence"] = frame["sequence"].map(
        lambda s: (
            s[len(s) // 2 - FLANK :][: 2 * FLANK]
            if isinstance(s, str) and len(s) > 2 * FLANK
            else s
        )
    )
    frame["junction"] = frame["junction"].astype(object).where(frame["junction"].notna(), None)
    return frame[["sample", "junction", "chrom", "pos", "strand", "sequence"]]


def _from_fasta(path: Path, table: _Table, frame: pd.DataFrame, reader: _Reader) -> pd.Series:
    """Return the sequence around each break, unknown beyond the ends of a chromosome."""
    wanted = set(frame["chrom"])
    index = path.with_name(path.name + ".fai")
    try:
        if index.is_file() and not path.name.lower().endswith(".gz"):
            sizes, fetch = _indexed(path, index)
        else:
            held = _whole(path, wanted)
            sizes = {c: len(s) for c, s in held.items()}

            def fetch(chrom: str, start: int, stop: int) -> str:
                return held[chrom][start:stop].decode("ascii", "replace")
    except (OSError, EOFError, zlib.error, ValueError) as e:
        mend = "give the reference as FASTA, plain or gzip, with its own index or none"
        reader.wrong(path.name, f"a FASTA file ({e})", mend=mend)
        return pd.Series("N" * LEAST_SEQUENCE, frame.index, dtype=object)
    found = []
    for i, (chrom, pos, strand) in enumerate(
        frame[["chrom", "pos", "strand"]].itertuples(index=False)
    ):
        if chrom not in sizes or pos > sizes[chrom]:
            there = f"at most {sizes[chrom]:,}" if chrom in sizes else f"a sequence of {path.name}"
            mend = "is this another genome build?"
            name, value = ("pos", f"{pos:,.0f}") if chrom in sizes else ("chrom", chrom)
            reader.wrong(table.file, there, table.numbers[i], name, value, mend)
            found.append("N" * LEAST_SEQUENCE)
            continue
        cut = int(pos) if strand == "+" else int(pos) - 1
        start, stop = max(cut - FLANK, 0), min(cut + FLANK, sizes[chrom])
        text = fetch(chrom, start, stop)
        text = re.sub("[^ACGTNacgtn]", "N", text)
        found.append("N" * (start - cut + FLANK) + text + "N" * (cut + FLANK - stop))
    return pd.Series(found, frame.index, dtype=object)


def _indexed(path: Path, index: Path) -> tuple[dict[str, int], Any]:
    places = {}
    for line in index.read_text(encoding="ascii").splitlines():
        name, *numbers = line.split("\t")
        places[chromosome(name)] = tuple(map(int, numbers[:4]))

    def fetch(chrom: str, start: int, stop: int) -> str:
        _, offset, bases, width = places[chrom]

        def at(i: int) -> int:
            return offset + i // bases * width + i % bases

        with path.open("rb") as f:
            f.seek(at(start))
            raw = f.read(at(stop) - at(start))
        text = raw.decode("ascii", "replace")
        return re.sub(r"\s", "", text)

    return {c: p[0] for c, p in places.items()}, fetch


def _whole(path: Path, wanted: set[str]) -> dict[str, bytes]:
    found: dict[str, list[bytes]] = {}
    now: list[bytes] | None = None
    packed = path.name.lower().endswith(".gz")
    with gzip.open(path, "rb") if packed else path.open("rb") as f:
        for i, line in enumerate(f):
            if line.startswith(b">"):
                words = line[1:].split()
                name = chromosome(words[0].decode("ascii", "replace")) if words else ""
                now = found.setdefault(name, []) if name in wanted else None
            elif i == 0:
                raise ValueError("its first line does not start with >")
            elif now is not None:
                now.append(line.rstrip())
    return {c: b"".join(parts) for c, parts in found.items()}


# ------------------------------------------------------------------------------------ segments


def _segments(path: Path, reader: _Reader) -> pd.DataFrame | None:
    if path.name.lower().endswith(SEGMENT_FILES):
        content = reader.content(path)
        table = None if content is None else reader.delimited(path.name, content, "\t")
    else:
        table = reader.table(path)
    if table is None:
        return None
    table.kind = "segments"
    table = _battenberg(table)
    before = len(reader.problems)
    frame, _ = reader.known(table, dictionary("segments"))
    if not {"chrom", "start", "end"} <= set(frame):
        return None
    words = path.name.split(".")
    stem = words[1] if words[0].lower() == "segments" and len(words) > 2 else words[0]
    for name in ("sample", "patient", "day", "major", "minor", "total", "log2"):
        if name not in frame:
            frame[name] = None
    frame["sample"] = frame["sample"].where(frame["sample"].notna(), stem).astype(str)
    frame["patient"] = frame["patient"].where(frame["patient"].notna(), frame["sample"]).astype(str)
    for name in ("day", "major", "minor", "total", "log2"):
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    both = frame["major"] + frame["minor"]
    frame["total"] = frame["total"].where(frame["total"].notna(), both)
    # CNVkit and others write the alleles in any order.
    frame["minor"] = np.fmin(frame["minor"], frame["total"] - frame["minor"])
    frame["chrom"] = frame["chrom"].map(lambda c: chromosome(str(c)))
    checks = {
        ("end", "an end that is not before the start", "swap the two"):
            frame["end"] < frame["start"],
        ("total", "copies (major and minor, or total) or a log2 ratio", "leave the row out"):
            frame["total"].isna() & frame["log2"].isna(),
        ("minor", "no more copies of one allele than of both", "are total and minor swapped?"):
            frame["minor"] < 0,
    }  # fmt: skip
    for (column, expected, mend), bad in checks.items():
        for i in np.flatnonzero(bad.to_numpy()):
            value = str(frame[column].iloc[int(i)])
            reader.wrong(table.file, expected, table.numbers[int(i)], column, value, mend)
    share = frame["total"].notna().groupby(frame["sample"]).mean()
    for sample in share.index[((share > 0) & (share < 1)).to_numpy()]:
        mend = "give copies for every segment of a sample, or ratios for every one"
        reader.wrong(table.file, "copies for every segment", None, "total", str(sample), mend)
    days = frame.groupby("sample")[["patient", "day"]].nunique()
    for sample in days.index[(days > 1).any(axis=1).to_numpy()]:
        mend = "give the samples names of their own"
        reader.wrong(table.file, "one patient and day a sample", None, "sample", str(sample), mend)
    if len(reader.problems) > before:
        return None
    frame[["start", "end"]] = frame[["start", "end"]].astype(int)
    names = ["sample", "patient", "day", "chrom", "start", "end", "total", "minor", "log2"]
    return frame[names]


def _battenberg(table: _Table) -> _Table:
    """Return the clone with more cells of each segment as major and minor copies."""
    from ballbook.cohort import _Table

    at = {plain(name): i for i, name in enumerate(table.header)}
    if not set(at) >= _BATTENBERG:
        return table
    keep = [i for name, i in at.items() if name in {"sample", "patient", "day", "chr", "startpos",
                                                    "endpos"}]  # fmt: skip
    rows = []
    for row in table.rows:
        clone = "1"
        try:
            if float(row[at["frac1_a"]]) < 0.5 and "nmaj2_a" in at:
                clone = "2"
        except ValueError:
            pass
        alleles = [row[at[f"n{which}{clone}_a"]] for which in ("maj", "min")]
        rows.append([*(row[i] for i in keep), *alleles])
    header = [*(table.header[i] for i in keep), "major", "minor"]
    return _Table(table.file, header, rows, table.numbers, table.kind)


def _build(segments: pd.DataFrame, file: str, told: Build | None, reader: _Reader) -> Build:
    ends = segments.groupby("chrom")["end"].max()
    beyond: dict[Build, list[str]] = {
        build: [str(c) for c, end in ends.items() if end > LENGTHS[build].get(str(c), 2**62)]
        for build in LENGTHS
    }
    fitting: list[Build] = [b for b in sorted(LENGTHS, reverse=True) if not beyond[b]]
    agreed: Build = told or (fitting[0] if fitting else "GRCh38")
    if beyond[agreed]:
        c = beyond[agreed][0]
        size = LENGTHS[agreed][c]
        expected = f"a position on {c} of {agreed}, at most {size:,}"
        reader.wrong(file, expected, None, "end", f"{ends[c]:,}", "is this another genome build?")
    elif told is None and not any(beyond.values()):
        reader.notes.append(
            f"Segments are taken as {agreed}: their positions fit either genome build; "
            "genome_build in cohort.yml tells."
        )
    return agreed


def _apart(segments: pd.DataFrame, file: str, reader: _Reader) -> None:
    order = segments.sort_values(["sample", "chrom", "start"])
    same = order["sample"].eq(order["sample"].shift()) & order["chrom"].eq(order["chrom"].shift())
    # Some callers end a segment on the base with which the next one starts.
    bad = order[same & (order["start"] < order["end"].shift())]
    for row in bad.head(5).itertuples():
        value = f"{row.sample}, {row.chrom}:{row.start:,}"
        mend = "keep one copy number for each place of a sample"
        reader.wrong(file, "segments that do not overlap", None, "start", value, mend)

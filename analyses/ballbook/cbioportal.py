"""A study folder as cBioPortal keeps it: clinical patient and sample files, discrete copy number.

Clinical files are tab-separated with comment lines (``#``) above the header; the first comment line
holds the names that are shown. Discrete copy number has one row a gene and one column a sample:
-2 deep loss, -1 shallow loss, 0 none, 1 and 2 gain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

PATIENT, SAMPLE = "data_clinical_patient.txt", "data_clinical_sample.txt"
COPY_NUMBER = ("data_cna.txt", "data_CNA.txt")
GENES = ("IKZF1", "PAX5", "CDKN2A", "CDKN2B", "ERG")
ABSENT = frozenset(
    f"{left}{word}{right}"
    for word in ("not available", "not applicable", "not reported", "not evaluated", "unknown")
    for left, right in (("", ""), ("[", "]"))
)
_CALLS = {"-2": "hom", "-1.5": "hom", "-1": "het", "0": "wt", "1": "wt", "2": "wt"}
_LATER = re.compile(r"relapse|recur|metast|progress", re.IGNORECASE)
LONGEST_LINE = 2_000_000


def is_study(folder: Path) -> bool:
    """Return whether a folder is a cBioPortal study."""
    return any((folder / name).is_file() for name in (PATIENT, SAMPLE))


def uncommented(content: bytes) -> tuple[bytes, dict[str, str]]:
    """Return a clinical file without its comments, and the shown name of each column.

    Comment lines become empty, so that the numbers of the rows stay those of the file.
    """
    comments = re.findall(rb"(?m)^#[^\r\n]*", content)
    bare = re.sub(rb"(?m)^#[^\r\n]*", b"", content)
    header = bare.lstrip(b"\r\n").split(b"\n", 1)[0].decode("utf8", "replace").strip("\r\ufeff")
    shown = comments[0][1:].decode("utf8", "replace").split("\t") if comments else []
    return bare, dict(zip(header.split("\t"), shown, strict=False))


def our_names(header: Sequence[str], shown: Mapping[str, str]) -> dict[str, str]:
    """Return new names for the columns of a clinical file that need one.

    Exact times win over rounded ones: ``AGE_IN_DAYS`` over ``AGE``, ``OS_DAYS`` over ``OS_MONTHS``.
    """
    upper = {name.upper() for name in header}
    names: dict[str, str] = {}
    for name in header:
        word = name.upper()
        if word == "AGE_IN_DAYS":
            names[name] = "age_years"
        elif word == "AGE" and "AGE_IN_DAYS" in upper:
            names[name] = "age_as_reported"
        elif (m := re.fullmatch(r"(OS|DFS|EFS|RFS)_MONTHS", word)) and f"{m[1]}_DAYS" in upper:
            names[name] = f"rounded_{word.lower()}"
        elif word.startswith("MRD_") and not re.search("SENSITIVITY|LOD|METHOD", word):
            told = f"{word} {shown.get(name, '').upper()}"
            stem = re.sub(r"_?PERCENT(AGE)?_?", "_", word).strip("_").lower()
            names[name] = f"{stem}_percent" if "PERCENT" in told or "%" in told else stem
    return names


def early_samples(header: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    """Return the positions of each patient's samples, without those of a relapse.

    A relapse is told by ``SAMPLE_TYPE``; a patient of whom there is no other sample keeps it.
    """
    upper = [name.upper() for name in header]
    who = upper.index("PATIENT_ID")
    kind = upper.index("SAMPLE_TYPE") if "SAMPLE_TYPE" in upper else None
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row[who], []).append(i)
    if kind is None:
        return groups
    return {
        patient: [i for i in found if not _LATER.search(rows[i][kind])] or found
        for patient, found in groups.items()
    }


def one_row(
    samples: Mapping[str, Sequence[int]], rows: Sequence[Sequence[str]], absent: Set[str]
) -> tuple[list[int], list[list[str]], list[int]]:
    """Return one row a patient, and where the patient's samples disagree.

    A cell that the first sample leaves blank is taken from the next.

    Returns
    -------
    tuple
        Positions of the first samples, the rows, and the positions of the columns that differ.
    """
    out, differing = [], set()
    for found in samples.values():
        row = list(rows[found[0]])
        for i in found[1:]:
            for j, cell in enumerate(rows[i]):
                if row[j].lower() in absent:
                    row[j] = cell
                elif cell.lower() not in absent and cell != row[j]:
                    differing.add(j)
        out.append(row)
    return [found[0] for found in samples.values()], out, sorted(differing)


def copy_number_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the header of a discrete copy-number file and the rows of `GENES`, numbered.

    Raises
    ------
    ValueError
        Where a line is longer than any such file has, or a gene comes twice.
    """
    seen: set[str] = set()
    with path.open(encoding="utf8") as lines:
        for number, line in enumerate(iter(lambda: lines.readline(LONGEST_LINE), ""), start=1):
            if len(line) >= LONGEST_LINE:
                raise ValueError(f"line {number} is longer than {LONGEST_LINE:,} characters")
            name = line.partition("\t")[0].rstrip("\r\n")
            if name in {"Hugo_Symbol", *GENES}:
                if name in seen:
                    raise ValueError(f"line {number}: {name} a second time")
                seen.add(name)
                yield number, line.rstrip("\r\n").split("\t")


def call(text: str) -> str | None:
    """Return hom, het, wt, or blank for no call; None where the text is no discrete call."""
    word = text.strip().removesuffix(".0")
    return "" if word.lower() in {"", "na", "nan"} else _CALLS.get(word)

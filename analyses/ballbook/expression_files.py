"""What an expression matrix is: which way round it lies, and what its numbers are."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Set
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FEWEST_GENES = 100
LARGEST_LOG2 = 30.0
# Normalised to a million, a sample adds up to it but for rounding and a few genes left out.
MILLION_TOLERANCE = 0.02


# What the column of genes is called.
GENE_HEADERS = frozenset(
    {"gene", "genes", "gene_id", "gene_name", "gene_symbol", "symbol", "geneid", "ensembl",
     "ensembl_id", "ensembl_gene_id", "hgnc_symbol"}
)  # fmt: skip
LONGEST_HEADER = 1 << 24


def samples(path: Path) -> list[str] | None:
    """Return the samples named by the header of a matrix of genes by samples, or None.

    A delimited file is taken for a matrix by the name of its first column, or where that has none
    by its own.
    """
    endings = [e.lower() for e in path.suffixes]
    if not endings or endings[-1] not in {".csv", ".tsv", ".gz"}:
        return None
    try:
        with gzip.open(path) if endings[-1] == ".gz" else path.open("rb") as raw:
            header = raw.readline(LONGEST_HEADER).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    sep = "\t" if ".tsv" in endings else ","
    first, *names = [cell.strip().strip('"') for cell in header.rstrip("\r\n").split(sep)]
    # A table of patients may have a nameless first column too: row numbers.
    nameless = not first and path.name.lower().startswith(("expression", "counts", "tpm"))
    if not (nameless or first.lower() in GENE_HEADERS) or "patient_id" in map(str.lower, names):
        return None
    return names or None


def patients_in_rows(rows: Iterable[str], columns: Iterable[str], ids: Set[str]) -> bool:
    """Return whether more of the patients `ids` are named by rows than by columns."""
    return len(ids & set(rows)) > len(ids & set(columns))


def detected_kind(
    values: NDArray[np.float64],
) -> tuple[Literal["counts", "tpm", "log2"] | None, str]:
    """Return what the numbers of a matrix look like, and the reason in words.

    Parameters
    ----------
    values : array, genes x samples

    Returns
    -------
    tuple
        ``counts`` for whole numbers none of which is negative; ``tpm`` where every sample adds up
        to a million; ``log2`` where no number is too large for a logarithm; None where the numbers
        could be several of these, or there are too few genes to tell.
    """
    low, high = float(values.min()), float(values.max())
    if low >= 0 and (values == np.floor(values)).all():
        return "counts", "all its numbers are whole and none is negative"
    if len(values) < FEWEST_GENES:
        return None, f"fewer than {FEWEST_GENES} genes do not tell"
    totals = values.sum(axis=0)
    if low >= 0 and np.abs(totals / 1e6 - 1).max() < MILLION_TOLERANCE:
        return "tpm", "every sample adds up to a million"
    if low >= -LARGEST_LOG2 and high <= LARGEST_LOG2:
        return "log2", f"no number is above {LARGEST_LOG2:g} and not all are whole"
    return None, "samples do not add up to a million, and the numbers are too large for logarithms"


def contradiction(kind: str, values: NDArray[np.float64]) -> tuple[str, str] | None:
    """Return what was expected of numbers declared as `kind` and how to mend it, or None."""
    if kind in {"counts", "tpm"} and (values < 0).any():
        return f"no negative number in {kind}", "declare log2 or logcpm if these are logarithms"
    if kind in {"log2", "logcpm"} and values.max() > 2 * LARGEST_LOG2:
        return f"no number above {2 * LARGEST_LOG2:g} in {kind}", "declare counts or tpm"
    return None

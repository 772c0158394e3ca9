"""Make the spreadsheets of the worked example: as exported, and with its mistakes put right.

The patients are the dummies of ``ballbook dummy ikzf1-outcome --n 80 --seed 1``, written the way
a clinical export writes them: other headers, days, cells per microlitre, percentages, words for
no value, and a few mistakes such as real exports hold. Run it from any folder::

    python data/examples/make.py [folder]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl

from ballbook import dummy

# The first seed from 1 by which each group has five events, fewer being withheld in a report.
N, SEED = 80, 1
COLUMNS = ("sex", "age_years", "wbc_10e9_per_l", "protocol", "ikzf1", "efs_months", "efs_event")
HEADER = [
    "Patient No.", "Sex", "Age at diagnosis (days)", "WBC (/µL)", "Trial", "IKZF1 (MLPA)",
    "EFS (days)", "EFS event", "MRD day 29 (%)", "Remarks",
]  # fmt: skip


def rows() -> list[list[Any]]:
    """Return the patients as an export without mistakes holds them, header first."""
    patients = dummy.patients("ikzf1-outcome", COLUMNS, N, SEED)
    rng = np.random.default_rng(SEED)
    found: list[list[Any]] = [list(HEADER)]
    for p in patients.to_dict("records"):
        white, level = p["wbc_10e9_per_l"], float(rng.lognormal(-3, 2))
        found.append(
            [
                p["patient_id"],
                {"F": "female", "M": "male"}[p["sex"]],
                round(float(p["age_years"]) * 365.25),
                round(float(white) * 1000) if white else "unk",
                {"protocol 1": "A", "protocol 2": "B"}[p["protocol"]],
                "n.d." if rng.random() < 0.06 else {"del": "del", "wt": "normal"}[p["ikzf1"]],
                round(float(p["efs_months"]) * 365.25 / 12),
                {"1": "yes", "0": "no"}[p["efs_event"]],
                "n.d." if rng.random() < 0.08 else "<0.01" if level < 0.01 else round(level, 2),
                "second opinion" if rng.random() < 0.1 else None,
            ]
        )
    return found


def in_words(days: float) -> str:
    """Return an age as somebody types it who has the years and months in mind."""
    months = int(days / (365.25 / 12))
    return f"{months // 12} y {months % 12} m"


# Row of the sheet (the header is row 1) and column, and what somebody typed there.
MISTAKES = {
    (9, "WBC (/µL)"): "45.2OO",
    (17, "Age at diagnosis (days)"): in_words(rows()[16][HEADER.index("Age at diagnosis (days)")]),
    (28, "IKZF1 (MLPA)"): "dell",
    (38, "EFS (days)"): -1157,
    (54, "EFS event"): "yes?",
    (61, "Patient No."): "DUMMY-0059",
}


def spoilt(clean: list[list[object]]) -> list[list[object]]:
    """Return the rows with the mistakes in them."""
    found = [list(row) for row in clean]
    for (row, column), typed in MISTAKES.items():
        found[row - 1][HEADER.index(column)] = typed
    return found


def write(path: Path, content: list[list[object]]) -> None:
    """Write one sheet."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Export"
    for row in content:
        sheet.append(row)
    book.save(path)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    write(folder / "clinic-export.xlsx", spoilt(rows()))
    write(folder / "clinic-mended.xlsx", rows())

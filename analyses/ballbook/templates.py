"""A template of a cohort for one analysis: invented patients, and a dictionary of the columns.

The patients are made up column by column from short lists and a fixed seed. They show the shape of
a file and pass its check; no number computed from them means anything.
"""

from __future__ import annotations

import csv
import random
from pathlib import Path

from ballbook import needs
from ballbook.cohort import timepoint_name
from ballbook.dictionaries import Column, dictionary, plain

USUAL = ("patient_id", "sex", "age_years", "wbc_10e9_per_l", "lineage", "subtype", "protocol")
EXAMPLES: dict[str, tuple[str, ...]] = {
    "sex": ("F", "M"),
    "age_years": ("0.4", "2.5", "6", "11.8", "15.2"),
    "wbc_10e9_per_l": ("4.1", "18", "62.5", "210", ""),
    "lineage": ("B",),
    "subtype": ("KMT2A-r", "hyperdiploid", "BCR::ABL1", "ETV6::RUNX1", "other"),
    "fusion_partner": ("AFF1", "MLLT1", "MLLT3", ""),
    "protocol": ("protocol 1", "protocol 2"),
    "ikzf1": ("del", "wt", "wt", "het"),
    "maturity": ("-0.41", "-0.12", "0.05", "-0.3"),
    "clearance": ("fast", "intermediate", "slow"),
    "mrd": ("0.0003", "<0.0001", "0.02", "negative", ""),
}
GENES = ("PAX5", "IKZF1", "EBF1", "CD19", "MS4A1", "CD34", "DNTT", "MEF2C", "FLT3", "KMT2A")
N = 12


def columns(slug: str) -> dict[str, str]:
    """Return the columns of the patients table for `slug`: required, optional or usual."""
    found = {name: "usual" for name in USUAL} | {"patient_id": "required"}
    for need in needs.of(slug):
        role = "required" if need.required else "optional"
        for name in need.any:
            table, _, column = name.partition(".")
            wide = {
                "patients": [column],
                "outcomes": [f"{plain(column)}_months", f"{plain(column)}_event"],
                "mrd": ["mrd_day29"] if column == "*" else [f"mrd_{plain(column)}"],
            }.get(table, [])
            alone = len(need.any) == 1
            for w in wide:
                if found.get(w) != "required":
                    found[w] = role if alone else f"{role}, or another of its kind"
    return found


def write(slug: str, out: Path) -> list[Path]:
    """Write the template of `slug` into the folder `out`, and return its files.

    Returns
    -------
    list of Path
        ``patients.csv`` with invented patients, ``expression.counts.csv`` where the analysis reads
        expression, and the dictionary as ``dictionary.csv`` and ``dictionary.md``.
    """
    out.mkdir(parents=True, exist_ok=True)
    draw = random.Random(slug)
    wanted = columns(slug)
    ids = [f"EXAMPLE-{i:02d}" for i in range(1, N + 1)]
    rows = [[_cell(name, i, id, draw) for name in wanted] for i, id in enumerate(ids)]
    if {"subtype", "fusion_partner"} <= set(wanted):
        subtype, partner = list(wanted).index("subtype"), list(wanted).index("fusion_partner")
        for row in rows:
            row[partner] = row[partner] if row[subtype] == "KMT2A-r" else ""
    files = [_write(out / "patients.csv", [list(wanted), *rows])]
    expression = any("expression" in n.any for n in needs.of(slug))
    if expression:
        counts = [[gene, *(str(draw.randrange(5, 4000)) for _ in ids)] for gene in GENES]
        files.append(_write(out / "expression.counts.csv", [["gene", *ids], *counts]))
    described = [_described(name, role) for name, role in wanted.items()]
    head = ["column", "needed", "meaning", "expected", "also understood as", "example"]
    files.append(_write(out / "dictionary.csv", [head, *described]))
    table = [head, ["---"] * len(head), *described]
    lines = [
        f"# Columns of a cohort for {slug}",
        "",
        "`patients.csv` holds one row a patient. The patients in it are invented: put yours in",
        "their place. Columns that you do not have may be left out unless they are required.",
        "",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table),
        "",
        *_notes(slug, expression),
    ]
    (out / "dictionary.md").write_text("\n".join(lines), encoding="utf8")
    return [*files, out / "dictionary.md"]


def _write(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", encoding="utf8", newline="") as f:
        csv.writer(f, lineterminator="\n").writerows(rows)
    return path


def _cell(name: str, i: int, id: str, draw: random.Random) -> str:
    if name == "patient_id":
        return id
    if name.endswith("_months"):
        return f"{draw.uniform(2, 90):.1f}"
    kind = "mrd" if name.startswith("mrd_") else name
    if kind in EXAMPLES:
        return EXAMPLES[kind][i % len(EXAMPLES[kind])]
    column = dictionary("patients").find(name)
    return str(i % 2) if column is None or column.type == "flag" else column.example


def _column(name: str) -> tuple[Column | None, str]:
    """Return the dictionary's column behind a name of the wide table, and its meaning."""
    if column := dictionary("patients").find(name):
        return column, column.help
    if name.startswith("mrd_"):
        level = dictionary("mrd").find("level")
        timepoint = timepoint_name(name.removeprefix("mrd_"))
        return level, f"MRD at {timepoint}; name the column after your own time point."
    endpoint, _, what = name.rpartition("_")
    column = dictionary("outcomes").find({"months": "time_months"}.get(what, what))
    meaning = column.help if column else "Your own class: fast, intermediate or slow."
    return column, f"{endpoint.replace('_', ' ')}: {meaning}" if endpoint else meaning


def _described(name: str, role: str) -> list[str]:
    column, meaning = _column(name)
    own = dictionary("patients").find(name) is not None
    example = next((v for v in EXAMPLES.get(name, ()) if v), column.example if column else "fast")
    return [
        name,
        role,
        meaning,
        column.expected if column else "one of fast, intermediate, slow",
        ", ".join(column.synonyms) if column and own else "",
        example,
    ]


def _notes(slug: str, expression: bool) -> list[str]:
    notes = []
    if expression:
        notes += [
            "`expression.counts.csv` holds genes by patients, headed by the patient ids; the ten",
            "genes in it only show the shape, a score needs the whole transcriptome. `.tpm.` or",
            "`.log2.` in its name say so of the numbers.",
            "",
        ]
    needed = [
        f"- {'required' if n.required else 'optional'}: {' or '.join(n.any)}, "
        f"{'for ' if n.required else 'without it '}{n.why}"
        for n in needs.of(slug)
    ]
    return [*notes, "What the analysis takes:", "", *needed, ""]

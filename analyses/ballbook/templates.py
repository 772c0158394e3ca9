"""A template of a cohort for one analysis: a few dummy patients, and a dictionary of the columns.

They show the shape of a file and pass its check; a run on them is labelled (see `ballbook.dummy`).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from ballbook import dummy, needs
from ballbook.cohort import DUMMY, timepoint_name
from ballbook.dictionaries import Column, dictionary, plain

USUAL = ("patient_id", "sex", "age_years", "wbc_10e9_per_l", "lineage", "subtype", "protocol")
DRUGS = ["drug_dexamethasone", "drug_vincristine", "drug_asparaginase", "drug_venetoclax"]
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
                "causes": [f"{plain(column)}_event_type"],
                "mrd": ["mrd_day29"] if column == "*" else [f"mrd_{plain(column)}"],
                "drug_response": DRUGS if column == "*" else [f"drug_{plain(column)}"],
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
        ``patients.csv`` with `N` dummy patients (see `ballbook.dummy`), ``expression.counts.csv``
        where the analysis reads expression, and the dictionary as ``dictionary.csv`` and
        ``dictionary.md``.
    """
    matrix = None
    if any("expression" in n.any for n in needs.of(slug)):
        matrix = dummy.shape_expression(slug, N)
    drawn = dummy.patients(slug, columns(slug), N, 0)
    return write_folder(slug, out, drawn, matrix, tables=dummy.genome(slug, N, 0))


def write_folder(
    slug: str,
    out: Path,
    patients: pd.DataFrame,
    matrix: pd.DataFrame | None,
    readme: str | None = None,
    tables: Mapping[str, pd.DataFrame] | None = None,
) -> list[Path]:
    """Write a cohort for `slug` with its dictionary into the folder `out`; return the files.

    Parameters
    ----------
    patients : DataFrame of text
        One row a patient, columns among those of `columns`.
    matrix : DataFrame, optional
        Counts, genes by patients.
    readme : str, optional
        Written as ``README.md``.
    tables : mapping, optional
        Name to a further table, such as break points.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = []
    if readme is not None:
        (out / "README.md").write_text(readme, encoding="utf8")
        files.append(out / "README.md")
    files.append(_write(out / "patients.csv", [list(patients), *patients.to_numpy().tolist()]))
    if matrix is not None:
        rows = [[gene, *row] for gene, row in zip(matrix.index, matrix.to_numpy(), strict=True)]
        files.append(_write(out / "expression.counts.csv", [["gene", *matrix.columns], *rows]))
    for name, further in (tables or {}).items():
        lines_of = [list(further), *further.to_numpy().tolist()]
        files.append(_write(out / f"{name}.csv", lines_of))
    roles = {name: role for name, role in columns(slug).items() if name in patients}
    described = [_described(name, role, patients[name]) for name, role in roles.items()]
    head = ["column", "needed", "meaning", "expected", "also understood as", "example"]
    files.append(_write(out / "dictionary.csv", [head, *described]))
    table = [head, ["---"] * len(head), *described]
    lines = [
        f"# Columns of a cohort for {slug}",
        "",
        "`patients.csv` holds one row a patient. The patients in it are invented: put yours in",
        f"their place, with ids of your own. Ids that start with `{DUMMY}` mark invented patients,",
        "and a run on them is labelled. Columns that you do not have may be left out unless they",
        "are required.",
        "",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table),
        "",
        *(line for name in tables or {} for line in _further(name)),
        *_notes(slug, None if matrix is None else len(matrix)),
    ]
    (out / "dictionary.md").write_text("\n".join(lines), encoding="utf8")
    return [*files, out / "dictionary.md"]


def _write(path: Path, rows: Iterable[Iterable[object]]) -> Path:
    with path.open("w", encoding="utf8", newline="") as f:
        csv.writer(f, lineterminator="\n").writerows(rows)
    return path


def _column(name: str) -> tuple[Column | None, str]:
    """Return the dictionary's column behind a name of the wide table, and its meaning."""
    if column := dictionary("patients").find(name):
        return column, column.help
    if name.startswith("mrd_"):
        level = dictionary("mrd").find("level")
        timepoint = timepoint_name(name.removeprefix("mrd_"))
        return level, f"MRD at {timepoint}; name the column after your own time point."
    if name.startswith("drug_"):
        drug = name.removeprefix("drug_").replace("_", " ")
        return (
            dictionary("drug_response").find("value"),
            f"Normalised log AUC of {drug}; one column a drug, or a table drug_response.",
        )
    split = name.find("_event_type") if name.endswith("_event_type") else name.rfind("_")
    endpoint, what = name[: max(split, 0)], name[split + 1 :]
    column = dictionary("outcomes").find({"months": "time_months"}.get(what, what))
    meaning = column.help if column else "Your own class: fast, intermediate or slow."
    return column, f"{endpoint.replace('_', ' ')}: {meaning}" if endpoint else meaning


def _described(name: str, role: str, values: pd.Series) -> list[str]:
    column, meaning = _column(name)
    own = dictionary("patients").find(name) is not None
    return [
        name,
        role,
        meaning,
        column.expected if column else "one of fast, intermediate, slow",
        ", ".join(column.synonyms) if column and own else "",
        next((v for v in values if v), column.example if column else ""),
    ]


def _further(name: str) -> list[str]:
    """Return the words on a further table."""
    words = dictionary(name)
    return [
        f"`{name}.csv` holds {words.row} in each row:",
        "",
        *(f"- `{c.name}`{' (required)' if c.required else ''}: {c.help}" for c in words.columns),
        "",
    ]


def _notes(slug: str, genes: int | None) -> list[str]:
    notes = []
    if genes is not None:
        notes += [
            f"`expression.counts.csv` holds {genes:,} genes by patients, headed by their ids.",
            "Yours should be the whole transcriptome: a score needs it. `.tpm.` or `.log2.` in its",
            "name say so of the numbers.",
            "",
        ]
    needed = [
        f"- {'required' if n.required else 'optional'}: {' or '.join(n.any)}, "
        f"{'for ' if n.required else 'without it '}{n.why}"
        for n in needs.of(slug)
    ]
    return [*notes, "What the analysis takes:", "", *needed, ""]

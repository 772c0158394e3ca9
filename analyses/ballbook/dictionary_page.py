"""The page of the data dictionary: every column of every table, and the pages that ask for it.

Made at build time from the dictionaries by which a cohort is read, checked and its template written
(`ballbook.dictionaries`), and from what the pages declare that they need (`ballbook.needs`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from html import escape

import pandas as pd

from ballbook import analyses, needs, render
from ballbook.cohort import TABLES_READ
from ballbook.dictionaries import TABLES, UNITS, Column, dictionary
from ballbook.render import Raw

NEEDS, USES = "needs", "uses"
ABOUT = {
    "patients": "Every cohort has this table; in a wide file it holds follow-up, MRD and drug "
    "response too, in columns named as the tables below say.",
    "expression": "A matrix of genes by patients, or of patients by genes.",
}
TITLES = {"mrd": "MRD"}
HEAD = (
    "table", "column", "required", "type", "unit", "minimum", "maximum", "allowed", "meaning",
    "also_named", "also_understood", "example", "needed_by", "used_by",
)  # fmt: skip
# By table and column (nothing for the table as a whole): the pages, and how they ask.
Asked = Mapping[tuple[str, str], Mapping[str, str]]


def asked_for() -> dict[tuple[str, str], dict[str, str]]:
    """Return which pages ask for a column, and whether each needs it or only uses it.

    Returns
    -------
    dict
        (table, column) to {slug: ``needs`` or ``uses``}; the column is empty where a page asks for
        an endpoint, a time point, a drug or a matrix, which are rows and not columns.
    """
    found: dict[tuple[str, str], dict[str, str]] = {}
    known = set(analyses.slugs())
    for slug, wanted in needs.declared().items():
        if slug not in known:
            continue
        for need in wanted:
            for name in need.any:
                table, _, column = name.partition(".")
                place = {"patients": ("patients", column), "causes": ("outcomes", "event_type")}
                roles = found.setdefault(place.get(table, (table, "")), {})
                if roles.get(slug) != NEEDS:
                    roles[slug] = NEEDS if need.required else USES
    return found


def page() -> str:
    """Return the page as Markdown."""
    asked = asked_for()
    total = sum(len(dictionary(t).columns) for t in TABLES)
    links = render.downloads({"CSV": "dictionary.csv"})
    read = [t for t in TABLES if t in TABLES_READ]
    parts = [
        "# The data dictionary\n",
        f"{total} columns of {len(TABLES)} tables, out of the files in `data/dictionaries` by "
        "which a cohort is read and checked and its template is written. "
        "[How to run a page on your own cohort](how-to-rerun.md) says in which files they are "
        "given. A name may be spelt with other case, spaces, dots, hyphens or slashes; for what is "
        "neither here nor spelt so, `ballbook map --guess` proposes a map.\n",
        "A page *needs* what it has nothing to say without, or one of several such columns; it "
        "*uses* what it would only miss. A dash means that no page asks for the column; one may "
        "still stratify by it or describe patients with it.\n",
        _raw(f"<p>The whole dictionary: {links}</p>"),
        *(_section(table, asked) for table in read),
    ]
    if rest := [t for t in TABLES if t not in TABLES_READ]:
        parts += [
            "## Tables that no page reads\n",
            "What their columns mean is fixed, so that files can be written; a cohort's folder may "
            "hold them, and they are passed over.\n",
            *(_section(table, asked, "###") for table in rest),
        ]
    return "\n".join(parts)


def as_csv() -> str:
    """Return the dictionary as CSV, one row a column."""
    asked, text = asked_for(), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    for table in TABLES:
        for c in dictionary(table).columns:
            roles = asked.get((table, c.name), {})
            by = {
                role: " ".join(s for s, r in roles.items() if r == role) for role in (NEEDS, USES)
            }
            writer.writerow(
                [
                    table, c.name, int(c.required), c.type, c.unit, c.minimum, c.maximum,
                    "; ".join(c.allowed), c.help, "; ".join(c.synonyms),
                    "; ".join(f"{ours}: {', '.join(words)}" for ours, words in _words(c).items()),
                    c.example, by[NEEDS], by[USES],
                ]
            )  # fmt: skip
    return text.getvalue()


def _section(table: str, asked: Asked, level: str = "##") -> str:
    """Return one table of the dictionary under its heading."""
    words = dictionary(table)
    key = " and ".join(f"<code>{k}</code>" for k in words.key)
    told = [
        ABOUT.get(table, ""),
        f"One row is {escape(words.row)}; {key} {'comes' if len(words.key) == 1 else 'come'} once.",
    ]
    if words.wide:
        names = (w.replace("{", "<").replace("}", ">") for w in words.wide)
        told.append(f"In a wide file: {', '.join(f'<code>{escape(n)}</code>' for n in names)}.")
    if words.kinds:
        told.append(f"The numbers are one of {', '.join(words.kinds)}.")
    paragraphs = [" ".join(filter(None, told))]
    if whole := asked.get((table, "")):
        paragraphs.append(f"The table is {_pages(whole, table)}.")
    frame = pd.DataFrame(
        {
            "Column": [_name(c, table) for c in words.columns],
            "Meaning": [_meaning(c, table, asked) for c in words.columns],
            "Values": [_values(c) for c in words.columns],
        },
        dtype=object,
    )
    if table == "patients":
        by = [_pages(asked.get((table, c.name), {})) for c in words.columns]
        by[0] = "every page"
        frame["Asked for by"] = [Raw(f"<span>{pages}</span>") if pages else None for pages in by]
    shown = render.table(frame)
    title = TITLES.get(table, table.replace("_", " ").capitalize())
    return (
        f"(dictionary-{table.replace('_', '-')})=\n{level} {title}\n\n"
        + _raw("".join(f"<p>{p}</p>" for p in paragraphs))
        + _raw(f'<div class="bb-board bb-dictionary">{shown}</div>')
    )


def _name(column: Column, table: str) -> Raw:
    """Return a column's name with what it holds and the other names under which it is known."""
    notes = [column.type, column.unit or "", "required" if column.required else ""]
    also = f"also {', '.join(column.synonyms)}" if column.synonyms else ""
    lines = (" · ".join(filter(None, notes)), also)
    told = "".join(f'<span class="bb-locator">{escape(line)}</span>' for line in lines if line)
    id = escape(f"{table}.{column.name.strip('<>')}")
    return Raw(f'<span id="{id}"><code>{escape(column.name)}</code>{told}</span>')


def _meaning(column: Column, table: str, asked: Asked) -> Raw:
    """Return what a column means, and who asks for it where that has no column of its own."""
    by = "" if table == "patients" else _pages(asked.get((table, column.name), {}))
    return Raw(f"<span>{escape(column.help)}{f'<br>It is {by}.' if by else ''}</span>")


def _values(column: Column) -> Raw:
    """Return what a cell may hold, other units and words that are understood, and an example."""
    lines = [column.expected]
    if others := [u for u in UNITS.get(column.unit or "", {}) if u != column.unit]:
        lines.append(f"A map converts {' or '.join(others)}.")
    if column.example:
        lines.append(f"Example: {column.example}")
    told = escape(lines[0]) + "".join(f"<br>{escape(line)}" for line in lines[1:])
    if words := _words(column):
        listed = "".join(
            f"<li>{escape(ours)}: {escape(', '.join(w))}</li>" for ours, w in words.items()
        )
        told += f"<details><summary>Words understood</summary><ul>{listed}</ul></details>"
    return Raw(f"<span>{told}</span>")


def _words(column: Column) -> dict[str, list[str]]:
    """Return, by word of ours, the words of a reader that mean it."""
    found: dict[str, list[str]] = {}
    for word, ours in column.values.items():
        of_ours = found.setdefault(ours, [])
        if word != ours.lower():
            of_ours.append(word)
    return {ours: words for ours, words in found.items() if words}


def _pages(roles: Mapping[str, str], table: str = "") -> str:
    """Return links to the pages that need something and to those that use it, as HTML.

    With a table of rows, each page has the row beside it that it takes where none is named: its
    endpoint, or its time point.
    """
    told = []
    for role, words in ((NEEDS, "needed by"), (USES, "used by")):
        links = [_link(slug, table) for slug, r in sorted(roles.items()) if r == role]
        if links:
            told.append(f"{words} {', '.join(links)}")
    return "; ".join(told)


def _link(slug: str, table: str) -> str:
    analysis = analyses.find(slug)
    title = escape(str(analysis.meta["title"]))
    link = f'<a href="{analysis.chapter}/{slug}.html" title="{title}">{slug}</a>'
    rows = {
        name.partition(".")[2]
        for need in needs.of(slug)
        for name in need.any
        if table and name.startswith(f"{table}.")
    }
    named = sorted(r for r in rows if r != "*" and not r.startswith("("))
    return f"{link} ({escape(', '.join(named))})" if named else link


def _raw(html: str) -> str:
    return f"```{{raw}} html\n{html}\n```\n"

"""The methods paragraph of a reader's cohort, written from what was run."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ballbook import bibliography
from ballbook.render import Raw
from ballbook.report import CITE
from ballbook.results import Estimate

# Software that a paper names, by its module, with its reference.
NAMED = {
    "numpy": "numpy2020",
    "lifelines": "lifelines2019",
    "statsmodels": "statsmodels2010",
    "scipy": "scipy2020",
    "sklearn": "sklearn2011",
    "pandas": "pandas2010",
}
PACKAGE = {"sklearn": "scikit-learn"}


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One text in two forms."""

    plain: str
    html: Raw


def write(
    text: str,
    own: Sequence[Estimate],
    record: Mapping[str, Any],
    slug: str,
    min_count: int,
    used: Container[str],
) -> Paragraph:
    """Return methods, results, software and references of a run on a reader's cohort.

    Parameters
    ----------
    text : str
        What was done, with citations as ``{cite:p}`key```.
    own : sequence of Estimate
        The reader's estimates; those withheld are named with the reason.
    record : mapping
        Provenance of the run.
    min_count : int
        Smallest count shown.
    used : container of str
        Modules that were imported.

    Raises
    ------
    KeyError
        If a citation is not among the book's references.
    """
    tools = {PACKAGE.get(m, m): key for m, key in NAMED.items() if m in used}
    keys = [key.strip() for match in CITE.finditer(text) for key in match[1].split(",")]
    order = list(dict.fromkeys([*keys, *tools.values()]))
    number = {key: i for i, key in enumerate(order, 1)}

    def cited(match: re.Match[str]) -> str:
        return "[" + ",".join(str(number[k.strip()]) for k in match[1].split(",")) + "]"

    done = " ".join(CITE.sub(cited, text).replace("*", "").split())
    kept = f"Counts below {min_count} are withheld." if min_count else "Small counts are shown."
    software = ", ".join(f"{n} {record['packages'][n]} [{number[k]}]" for n, k in tools.items())
    made = (
        f"Analyses were run with ballbook {record['version']} (analysis {slug}, sources "
        f"{record['library_sha256'][:12]}, seed {record['seed']}) under Python "
        f"{record['python']} with {software}. {kept}"
    )
    found = [
        f"{e.label}: {e}" + (f" [{e.method}]" if e.method and e.value is not None else "") + "."
        for e in own
        if e.kind != "count"
    ]
    sources = [f"{i}. {line}" for i, line in enumerate(bibliography.full(order), 1)]
    parts = {"Methods": [done, made], "Results": found, "References": sources}
    plain = "\n\n".join("\n".join([head.upper(), *lines]) for head, lines in parts.items() if lines)
    body = "".join(
        f"<h4>{head}</h4>" + "".join(f"<p>{escape(line)}</p>" for line in lines)
        for head, lines in parts.items()
        if lines
    )
    return Paragraph(
        plain + "\n",
        Raw(
            '<section class="bb-methods" aria-label="Methods paragraph">'
            f"<h3>Methods paragraph</h3>{body}"
            '<p><a class="bb-download" href="methods.txt" download>Text</a></p></section>'
        ),
    )

"""The page of the ledger: counts that filter, and one table of all claims."""

from __future__ import annotations

from html import escape
from textwrap import shorten
from typing import Any

import pandas as pd

from ballbook import analyses, render
from ballbook.bibliography import short
from ballbook.ledger import records
from ballbook.results import TIERS, VERDICTS

COLUMNS = ("Claim", "Paper", "Published", "Recomputed", "Data", "Verdict", "Why")
UNJUDGED = "none-needed"
NO_TIER = "none"
CITATION = 36


def page(frame: pd.DataFrame) -> str:
    """Return the page as Markdown.

    Parameters
    ----------
    frame : DataFrame
        As `ledger.ledger` returns it.
    """
    rows = records(frame)
    judged = sum(row["verdict"] is not None for row in rows)
    papers = len({row["source"] for row in rows})
    # The filters work in the browser; without a script the table is whole and they stay hidden.
    html = (
        f'<div class="bb-ledger bb-board">{tiles(rows)}{filters(rows)}'
        '<div class="bb-table"><div class="bb-scroll"><table class="bb-sortable"><thead><tr>'
        f"{''.join(f'<th scope=col>{name}</th>' for name in COLUMNS)}</tr></thead>"
        f"<tbody>{''.join(map(line, rows))}</tbody></table></div></div></div>"
    )
    links = render.downloads({"CSV": "ledger.csv", "JSON": "ledger.json"})
    return (
        "# The claim ledger\n\n"
        f"{len(rows):,} claims from {papers} papers: what each printed, where, and what the latest "
        f"build finds. {judged:,} are judged; the others are definitions, methods and citations, "
        "which take no verdict. A build stops when a claim lacks its verdict, has two, or has "
        "another than the one on record. [How to read](how-to-read.md) explains the verdicts.\n\n"
        f"```{{raw}} html\n<p>The whole table: {links}</p>\n{html}\n```\n"
    )


def verdict_of(row: dict[str, Any]) -> str:
    """Return the verdict by which a row is counted and filtered."""
    return str(row["verdict"] or UNJUDGED)


def tier_of(row: dict[str, Any]) -> str:
    """Return the tier of data by which a row is counted and filtered."""
    return str(row["tier"] or NO_TIER)


def tiles(rows: list[dict[str, Any]]) -> str:
    """Return the counts by verdict and by tier of data, each a button that filters by it."""
    none = '<span class="bb-none">no verdict needed</span>'
    verdicts = [(word, str(render.verdict_pill(word))) for word in VERDICTS] + [(UNJUDGED, none)]
    tiers = [(word, str(render.tier_pill(word))) for word in TIERS if word != "yours"]
    tiers.append((NO_TIER, '<span class="bb-none">no data</span>'))
    groups = []
    for name, what, words, of in (
        ("verdict", "Claims by verdict", verdicts, verdict_of),
        ("tier", "Claims by tier of data", tiers, tier_of),
    ):
        # Not judged is not without data: the tier counts claims that have a verdict.
        counted = [of(row) for row in rows if name == "verdict" or row["verdict"]]
        buttons = "".join(
            f'<button type="button" class="bb-tile" id="{name}={word}" data-name="{name}" '
            f'data-value="{word}" aria-pressed="false"><span class="bb-tile-n">'
            f"{counted.count(word):,}</span> {label}"
            f'<span class="bb-tile-bar" style="--share:{counted.count(word) / len(counted):.4f}">'
            "</span></button>"
            for word, label in words
        )
        groups.append(f'<div class="bb-tiles" role="group" aria-label="{what}">{buttons}</div>')
    return "".join(groups)


def filters(rows: list[dict[str, Any]]) -> str:
    """Return the form that filters the table."""
    papers = {row["source"]: cited(row["source"]) for row in rows}
    slugs = {row["analysis"]: title(row["analysis"]) for row in rows if row["verdict"]}
    words = {word: word.replace("-", " ") for word in VERDICTS} | {UNJUDGED: "no verdict needed"}
    tiers = {word: word for word in TIERS if word != "yours"} | {NO_TIER: "no data"}
    fields = "".join(
        f'<label>{label} <select name="{name}"><option value="">all</option>'
        + "".join(f'<option value="{escape(k)}">{escape(v)}</option>' for k, v in known.items())
        + "</select></label>"
        for name, label, known in (
            ("paper", "Paper", dict(sorted(papers.items(), key=lambda p: p[1].casefold()))),
            ("analysis", "Page", slugs),
            ("tier", "Data", tiers),
            ("verdict", "Verdict", words),
        )
    )
    return (
        '<form class="bb-filters" role="search" aria-label="Filter the claims" hidden>'
        '<label class="bb-words">Words <input type="search" name="q" autocomplete="off"></label>'
        f'{fields}<output aria-live="polite"></output><button type="reset">Show all</button></form>'
    )


def line(row: dict[str, Any]) -> str:
    """Return one claim as a row of the table."""
    id = escape(row["id"])
    where = f'<a href="#{id}" title="Permanent link to this claim">{id}</a>'
    if row["verdict"]:
        place = f"{analyses.find(row['analysis']).chapter}/{row['analysis']}.html#claim-{id}"
        where += f' · <a href="{place}">{escape(title(row["analysis"]))}</a>'
        verdict = render.verdict_pill(row["verdict"])
    else:
        verdict = render.Raw(f'<span class="bb-none">{escape(row["kind"])}</span>')
    printed = row["published"] if row["printed"] else None
    cells = (
        render.Raw(
            f'<span class="bb-statement">{escape(row["statement"])}</span>'
            f'<span class="bb-locator">{where}</span>'
        ),
        render.Raw(
            f"<span>{escape(cited(row['source']))}"
            f'<span class="bb-locator">{escape(row["locator"])}</span></span>'
        ),
        printed,
        row["recomputed"],
        render.tier_pill(row["tier"]) if row["tier"] else None,
        verdict,
        row["reason"] or None,
    )
    empty = ' class="bb-empty"'
    body = "".join(f"<td{'' if cell else empty}>{render.text(cell)}</td>" for cell in cells)
    keys = {
        "paper": row["source"],
        "analysis": row["analysis"] or "",
        "tier": tier_of(row) if row["verdict"] else "",
        "verdict": verdict_of(row),
    }
    data = "".join(f' data-{name}="{escape(value)}"' for name, value in keys.items())
    return f'<tr id="{id}"{data}>{body}</tr>'


def cited(source: str) -> str:
    """Return the short citation of a paper; a title in the place of an author is cut short."""
    return shorten(short().get(source, source), CITATION, placeholder=" …")


def title(slug: str) -> str:
    """Return the title of an analysis."""
    return str(analyses.find(slug).meta["title"])

"""The overview of a chapter: what its pages found, made from their results while the book is built.

A chapter whose folder in ``book/`` has an ``index.md`` includes ``_generated/chapter-<name>.md``
there. Every sentence and number of it is that of a page, with a link to it.
"""

from __future__ import annotations

import json
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from ballbook import analyses, claims, paths, render, run
from ballbook.results import TIERS, VERDICTS


def of_chapter(chapter: str) -> list[str]:
    """Return the slugs of a chapter in the order of the contents.

    Raises
    ------
    LookupError
        If the chapter has no page.
    """
    contents = (paths.book() / "_toc.yml").read_text(encoding="utf8")
    found = [s for s in analyses.slugs() if analyses.find(s).chapter == chapter]
    if not found:
        raise LookupError(f"no page in the chapter {chapter!r}")
    return sorted(found, key=lambda slug: contents.find(f"{chapter}/{slug}"))


def overview(chapter: str, runs: Path) -> str:
    """Return the overview of a chapter as HTML: its findings, then its verdicts by page and tier.

    Parameters
    ----------
    runs : Path
        Folder with ``<slug>/results.json`` of every page of the chapter.
    """
    parts, rows = [], []
    known = claims.read()
    for slug in of_chapter(chapter):
        analysis = analyses.find(slug)
        results = json.loads((runs / slug / "results.json").read_text(encoding="utf8"))
        title = f'<a href="{slug}.html">{escape(str(analysis.meta["title"]))}</a>'
        box = render.answer(
            results["summary"], results.get("certainty", ""),
            run.headline(analysis.meta, results), known,
        )  # fmt: skip
        parts.append(f"<h3>{title}</h3>{box}")
        rows.append({"Page": render.Raw(title), **tally(results)})
    return "\n".join(parts) + "<h3>Verdicts and evidence</h3>" + render.table(pd.DataFrame(rows))


def tally(results: dict[str, Any]) -> dict[str, Any]:
    """Return on what data a run's estimates rest and how many verdicts of each kind it has."""
    words = Counter(v["verdict"] for v in results["verdicts"])
    tiers = {e["tier"] for e in results["estimates"]}
    return {
        "Data": render.Raw(" ".join(render.tier_pill(t) for t in TIERS if t in tiers)),
        "Claims": sum(words.values()),
        "Verdicts": render.Raw(
            " ".join(f"{words[w]}&nbsp;{render.verdict_pill(w)}" for w in VERDICTS if words[w])
        ),
    }


def write_parts(folder: Path, runs: Path) -> None:
    """Write ``chapter-<name>.md`` for every chapter that has an overview page."""
    for page in sorted(paths.book().glob("*/index.md")):
        html = overview(page.parent.name, runs)
        (folder / f"chapter-{page.parent.name}.md").write_text(
            f"```{{raw}} html\n{html}\n```\n", encoding="utf8"
        )

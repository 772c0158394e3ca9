"""The overview of a chapter: what its pages found, made from their results while the book is built.

A chapter whose folder in ``book/`` has an ``index.md`` includes ``_generated/chapter-<name>.md``
there. Every sentence and number of it is that of a page, with a link to it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from ballbook import (
    analyses,
    catalog,
    claims,
    figures,
    paths,
    patient_course,
    render,
    run,
)
from ballbook.results import TIERS, VERDICTS

COURSES = {"lineage_switch": "coorens2023_course"}  # table in data/published


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
    """Return the overview of a chapter as HTML: findings, verdicts by page and tier, evidence.

    Parameters
    ----------
    runs : Path
        Folder with ``<slug>/results.json`` of every page of the chapter.
    """
    parts, rows = [], []
    known = claims.read()
    for slug in of_chapter(chapter):
        analysis = analyses.find(slug)
        results = _results(slug, runs)
        title = f'<a href="{slug}.html">{escape(str(analysis.meta["title"]))}</a>'
        box = render.answer(
            results["summary"], results.get("certainty", ""),
            run.headline(analysis.meta, results), known,
        )  # fmt: skip
        parts.append(f"<h3>{title}</h3>{box}")
        rows.append({"Page": render.Raw(title), **tally(results)})
    parts.append("<h3>Verdicts and evidence</h3>" + render.table(pd.DataFrame(rows)))
    parts.append(evidence(chapter, runs))
    if tests := on_other_patients(chapter, runs):
        parts.append("<h3>What was tested on other patients</h3>" + tests)
    return "\n".join(parts)


def on_other_patients(chapter: str, runs: Path) -> str:
    """Return the claims of a chapter that open data judged, those that held first, as HTML."""
    known, rows = claims.read(), []
    for slug in of_chapter(chapter):
        title = analyses.find(slug).meta["title"]
        for v in _results(slug, runs)["verdicts"]:
            if v["tier"] == "open":
                rows.append(
                    {
                        "Claim": known[v["claim"]].statement,
                        "Published": v["published"],
                        "In open data": v["recomputed"],
                        "Verdict": render.verdict_pill(v["verdict"]),
                        "Page": render.Raw(f'<a href="{slug}.html">{escape(str(title))}</a>'),
                        "order": VERDICTS.index(v["verdict"]),
                    }
                )
    if not rows:
        return ""
    frame = pd.DataFrame(rows).sort_values("order", kind="stable").drop(columns="order")
    return render.table(frame)


def evidence(chapter: str, runs: Path) -> str:
    """Return the diagram of a chapter: its data by tier, its pages, the verdicts, as HTML."""
    pages: dict[str, tuple[str, dict[tuple[str, str], int]]] = {}
    sets: dict[str, str] = {}
    links: list[tuple[str, str]] = []
    for slug in of_chapter(chapter):
        analysis, results = analyses.find(slug), _results(slug, runs)
        counts = Counter((v["verdict"], v["tier"] or "none") for v in results["verdicts"])
        pages[slug] = (str(analysis.meta["title"]), counts)
        used = {id: catalog.entry(id) for id in analysis.meta["data"]}
        named = {re.split(r",| \(", e.title)[0]: e.tier for e in used.values()}
        tiers = {e["tier"] for e in results["estimates"]}
        if "published" in tiers:
            named["Printed numbers"] = "published"
        if "simulated" in tiers:
            named["Simulation"] = "simulated"
        sets |= named
        links += [(name, slug) for name in named]
    order = sorted(sets, key=lambda name: (TIERS.index(sets[name]), name))
    with figures.style():
        drawing = figures.evidence({name: sets[name] for name in order}, pages, links)
        svg = figures.svg(drawing, f"evidence-{chapter}")
    told = "; ".join(
        f"{title}: " + ", ".join(f"{n} {verdict}" for (verdict, _), n in sorted(counts.items()))
        for title, counts in pages.values()
    )
    alt = f"Data sets joined to the pages that use them, with the verdicts of each. {told}."
    caption = (
        "From data to verdicts. Each square is a claim: green when reproduced or consistent, red "
        "when it differs or is a misprint, orange when underpowered, grey when not testable; "
        "filled where patients other than the paper's decided."
    )
    inline = figures.themed(svg, f"evidence-{chapter}", alt)
    return str(render.figure(f"evidence-{chapter}", inline, caption, 1, {}))


def _results(slug: str, runs: Path) -> dict[str, Any]:
    content = (runs / slug / "results.json").read_text(encoding="utf8")
    return dict(json.loads(content))


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
    for chapter in COURSES:
        (folder / f"course-{chapter}.md").write_text(
            f"```{{raw}} html\n{course(chapter)}\n```\n", encoding="utf8"
        )


def course(chapter: str) -> str:
    """Return the drawing of the course that a chapter follows, as HTML."""
    rows = patient_course.printed(COURSES[chapter])
    with figures.style():
        svg = figures.svg(patient_course.draw(rows), f"course-{chapter}")
    inline = figures.themed(svg, f"course-{chapter}", patient_course.in_words(rows))
    samples = rows[rows["kind"] == "sample"]
    sizes = rows[rows["kind"] == "size"]
    caption = (
        f"Our drawing of what is printed: {int(samples['label'].astype(int).sum())} samples of "
        f"{len(samples)} times, and clones with their printed sizes ("
        + "; ".join(f"{r.parent}: {r.label}" for r in sizes.itertuples())
        + "). Dashed: when a clone split or ended is not printed, and its place is ours. Crosses: "
        "mutations of the thiopurine signature. Times after diagnosis are printed to about a "
        "month or a year."
    )
    return str(render.figure(f"course-{chapter}", inline, caption, 1, {}))

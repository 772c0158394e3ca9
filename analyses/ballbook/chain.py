"""A chapter run on one cohort: every page that the cohort can fill, in the order of the book."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from nbformat.v4 import new_code_cell, new_notebook, new_output

from ballbook import analyses, chapters, figures, needs, patient_course, report
from ballbook.cohort import read_cohort
from ballbook.run import run


@dataclass(frozen=True)
class Step:
    """One page of a chain.

    Attributes
    ----------
    analysis : str
    report : Path or None
        None where the cohort lacks what the page needs.
    told : str
        The answer of the page, or what the cohort lacks.
    """

    analysis: str
    report: Path | None
    told: str


def run_chain(
    chapter: str,
    cohort: str | Path,
    out: Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    column_map: str | Path | None = None,
    course: str | Path | None = None,
) -> list[Step]:
    """Run the pages of `chapter` on `cohort`, each in a folder of `out`, beside ``index.html``.

    Parameters
    ----------
    parameters : mapping, optional
        Given to every page that has them.
    course : str or Path, optional
        CSV with the patient's course (`patient_course.read_course`), drawn at the top.

    Raises
    ------
    LookupError
        If the chapter has no page.
    InvalidCohort, InvalidCourse, RunFailed
        As the readers and runs do.
    """
    slugs = [s for s in chapters.of_chapter(chapter) if s in needs.declared()]
    drawn = None if course is None else patient_course.read_course(course)
    found = read_cohort(str(cohort), column_map)
    steps = []
    for slug in slugs:
        match = needs.fit(found, slug)
        if not match.accepted:
            lacks = "; ".join(f"{p.expected} ({p.mend})" for p in match.errors)
            steps.append(Step(slug, None, f"not run, lacks {lacks}"))
            continue
        names = {p.name for p in analyses.find(slug).parameters}
        given = {k: v for k, v in (parameters or {}).items() if k in names}
        folder = run(
            slug, parameters=given | {"cohort": str(cohort)}, out=out / slug, column_map=column_map
        )
        results = json.loads((folder / "results.json").read_text(encoding="utf8"))
        steps.append(Step(slug, folder / "report.html", str(results["summary"])))
    (out / "index.html").write_text(_index(chapter, steps, drawn, out), encoding="utf8")
    return steps


def _index(chapter: str, steps: list[Step], course: Any, out: Path) -> str:
    parts = [f"<h1>{escape(chapter.replace('_', ' ').capitalize())}</h1>"]
    if course is not None:
        with figures.style():
            svg = figures.svg(patient_course.draw(course), "course")
        parts.append(figures.themed(svg, "course", patient_course.in_words(course)))
    for step in steps:
        title = escape(str(analyses.find(step.analysis).meta["title"]))
        if step.report is not None:
            link = step.report.relative_to(out.resolve()).as_posix()
            title = f'<a href="{escape(link)}">{title}</a>'
        parts.append(f"<h2>{title}</h2><p>{escape(step.told)}</p>")
    cell = new_code_cell(metadata={"tags": ["remove-input"]})
    cell["outputs"] = [new_output("display_data", data={"text/html": "\n".join(parts)})]
    return report.html({"title": f"{chapter} on a cohort"}, new_notebook(cells=[cell]))

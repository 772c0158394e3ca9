"""Recorded runs: the last results of each page, kept in the repository.

A build that cannot have a page's open data shows its recorded run instead, labelled with its date,
data hashes and code version. Kept are the executed notebook (figures inline as SVG), the results,
and the files that the page offers for download.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ballbook import paths
from ballbook.errors import Failure
from ballbook.freshness import Fingerprint
from ballbook.placing import placed

KEPT = ("results.json", "provenance.json", "notebook.ipynb", "figures", "tables")


class NotKept(Failure, ValueError):
    """There is no run that may be recorded, or none was recorded."""


def folder(slug: str) -> Path:
    """Return the folder of the recorded run of `slug`."""
    return paths.data() / "recorded" / slug


def results(slug: str) -> dict[str, Any] | None:
    """Return the recorded results of `slug`, or None."""
    file = folder(slug) / "results.json"
    return json.loads(file.read_text(encoding="utf8")) if file.is_file() else None


def keep(slug: str) -> Path:
    """Copy the run in ``build/runs/<slug>`` to the recorded runs and return their folder.

    Raises
    ------
    NotKept
        If there is no run to keep, or it is itself a recorded one, or was made on a reader's own
        cohort.
    """
    source, target = paths.build() / "runs" / slug, folder(slug)
    if not (source / "results.json").is_file():
        raise NotKept(f"no run of {slug} in {source}; run it first")
    found = json.loads((source / "results.json").read_text(encoding="utf8"))
    if (source / "RECORDED").exists() or found["parameters"].get("cohort"):
        raise NotKept(f"the run of {slug} in {source} is not one of the book's open data")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in KEPT:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
        else:
            shutil.copy2(source / name, target / name)
    return target


def use(slug: str, target: Path, now: Fingerprint) -> None:
    """Put the recorded run of `slug` at `target`, with its label on the page, and stamp it.

    Raises
    ------
    NotKept
        If no run of `slug` was recorded.
    """
    import nbformat

    from ballbook import render, report
    from ballbook.analyses import find

    source = folder(slug)
    if not (source / "results.json").is_file():
        raise NotKept(f"{slug} has no recorded run in {source}")
    notebook = nbformat.read(source / "notebook.ipynb", as_version=4)
    record = json.loads((source / "provenance.json").read_text(encoding="utf8"))
    banner = render.recorded_banner(record)
    first = next(
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if 'class="bb-answer"' in output.get("data", {}).get("text/html", "")
    )
    first["data"]["text/html"] = banner + first["data"]["text/html"]
    with placed(target) as work:
        shutil.copytree(source, work, dirs_exist_ok=True)
        nbformat.write(notebook, work / "notebook.ipynb")
        (work / "report.html").write_text(report.html(find(slug).meta, notebook), encoding="utf8")
        (work / "RECORDED").touch()
        now.stamp(work)

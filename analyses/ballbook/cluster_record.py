"""What was recorded of clusters, for the methods page: jobs, what they asked for, transcripts."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

import pandas as pd

from ballbook import render, resources

TITLES = {
    "book": "the whole book",
    "faults": "faults, one after the other",
    "sweep": "a sweep whose driver was killed",
}


def part(record: Path) -> str:
    """Return the tables of jobs and of what pages take, with what SLURM said, folded away.

    Parameters
    ----------
    record : Path
        Folder with ``about.json``, ``counts.csv`` and the transcripts.
    """
    about = json.loads((record / "about.json").read_text(encoding="utf8"))
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    counts = pd.read_csv(record / "counts.csv")
    counts["phase"] = [TITLES.get(phase, phase) for phase in counts["phase"]]
    shown = counts.rename(columns=lambda name: name.capitalize())
    caption = (
        f"Jobs through sbatch, as SLURM accounted for them on {about['date']}; {versions}. "
        "A job has several starts when its node was lost; one that failed or was cancelled was "
        "submitted again as another."
    )
    said: list[str] = [render.table(shown, caption=caption, download="counts.csv")]
    if measured := resources.table():
        pages = pd.DataFrame(
            {
                "Page": list(measured),
                "By the clock, seconds": [use.seconds for use in measured.values()],
                "Peak memory, MB": [use.peak_mb for use in measured.values()],
                "Processor time, seconds": [
                    round(use.seconds * use.cores, 1) for use in measured.values()
                ],
                "Asked: minutes": [resources.minutes(slug) for slug in measured],
                "Asked: MB": [resources.memory_mb(slug) for slug in measured],
                "Asked: cores": [resources.cores(slug) for slug in measured],
            }
        )
        caption = (
            "What the notebook of each page took when it was last recorded, and what its first job "
            f"asks a cluster for: {resources.MACHINERY_MB} MB for what runs it and "
            f"{resources.MORE_MEMORY} times its memory, {resources.MACHINERY_SECONDS} seconds and "
            f"{resources.MORE_TIME} times its processor time; a second attempt asks for twice that."
        )
        said.append(render.table(pages, caption=caption))
    for file in sorted(record.glob("*.txt")):
        text = file.read_text(encoding="utf8")
        title = file.stem.removeprefix("slurm-")
        said.append(
            f"<details><summary>Transcript: {escape(TITLES.get(title, title))}</summary>"
            f"<pre>{escape(text)}</pre></details>"
        )
    return "\n".join(said)

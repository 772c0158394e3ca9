"""The worked example of the book: its commands are run, and the page shows what they printed.

Two walks, each a list of commands as a reader types them: a clinical spreadsheet to its report, and
TARGET as a cBioPortal study folder. `make` runs them in an empty folder while the book is built.
Where the open data behind a walk cannot be had, its recorded transcript is shown, labelled. A
transcript holds what the commands printed and the parts of the report that the page shows: sums
and counts, and no row of any patient that is not invented.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from ballbook import __version__, catalog, freshness, paths, render
from ballbook.placing import placed
from ballbook.run import RunFailed

EXPORT, MENDED, TARGET_MAP = "clinic-export.xlsx", "clinic-mended.xlsx", "target.yml"
SLUG, TARGET = "ikzf1-outcome", "target-all-p2"
# A page on a question that TARGET's tables can speak to: MRD, age and the KMT2A rearrangement.
ON_TARGET = "mrd-clearance"
STUDY = "all_phase2_target_2018_pub"
WALKS: dict[str, dict[str, str]] = {
    "spreadsheet": {
        "guess": f"ballbook map --guess {EXPORT} > map.yml",
        "refused": f"ballbook check {SLUG} --cohort {EXPORT} --map map.yml",
        "accepted": f"ballbook check {SLUG} --cohort {MENDED} --map map.yml",
        "match": f"ballbook match {MENDED} --map map.yml",
        "run": f"ballbook run {SLUG} --cohort {MENDED} --map map.yml --out report",
    },
    "target": {
        "target-check": f"ballbook check {SLUG} --cohort {STUDY}",
        "target-mapped": f"ballbook check {SLUG} --cohort {STUDY} --map {TARGET_MAP}",
        "target-match": f"ballbook match {STUDY} --map {TARGET_MAP}",
    },
}
DATA = {"target": [TARGET]}
PARTS = (
    "sheet", "map", "mended", "answer", "time", "target-map", "target-run", "target-time",
)  # fmt: skip
NOTHING_RUNS = (
    "<p>The list says for each page what this folder lacks. One that also holds the study's copy "
    "number (<code>data_cna.txt</code>) fills more.</p>"
)
# Steps that show a refusal; all others must go well.
# What of a run goes beside the book: the report, and what it offers for download.
REPORT = ("report.html", "results.json", "methods.txt", "figures", "tables")
REFUSED = {"refused", "target-check", "target-mapped"}
CODES = {0: "", 1: "Exit code 1: the run failed.", 2: "Exit code 2: refused."}


def needed(walk: str) -> list[str]:
    """Return the catalogue ids of the open data behind a walk."""
    from ballbook.analyses import find

    return DATA.get(walk) or list(find(SLUG).meta["data"])


def make(out: Path) -> None:
    """Run both walks, or take their recorded transcripts, and write them into the folder `out`."""
    now = freshness.of_example()
    with placed(out) as work:
        for walk in WALKS:
            try:
                for id in needed(walk):
                    catalog.get(id)
            except catalog.Unavailable:
                continue
            with tempfile.TemporaryDirectory(prefix="bb-") as name:
                transcript = run_walk(walk, Path(name))
                if walk == "spreadsheet":
                    copy_report(Path(name) / "report", work)
            text = json.dumps(transcript, indent=1) + "\n"
            (work / f"{walk}.json").write_text(text, encoding="utf8")
        (work / "made").touch()
        now.stamp(work)


def copy_report(source: Path, target: Path) -> None:
    """Copy a report, and what it offers for download, from folder to folder."""
    for name in REPORT:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
        else:
            shutil.copy2(source / name, target / name)


def lay_out(walk: str, folder: Path) -> None:
    """Put the files that a walk starts from into `folder`."""
    examples = paths.data() / "examples"
    if walk == "spreadsheet":
        for name in (EXPORT, MENDED):
            shutil.copy2(examples / name, folder / name)
        return
    shutil.copy2(examples / TARGET_MAP, folder / TARGET_MAP)
    (folder / STUDY).mkdir()
    for file in catalog.entry(TARGET).files:
        shutil.copy2(catalog.fetch(TARGET, file.name), folder / STUDY / Path(file.path).name)


def run_walk(walk: str, folder: Path) -> dict[str, Any]:
    """Run the commands of a walk in an empty folder and return the transcript.

    Returns
    -------
    dict
        ``made``, ``version``, ``steps`` (each ``name, line, printed, code, seconds``) and, where
        there is a report, ``answer`` and ``figure`` as HTML; ``map`` is the proposed map.

    Raises
    ------
    RunFailed
        If a command ended otherwise than the page says.
    """
    lay_out(walk, folder)
    steps = [{"name": n, **execute(line, folder)} for n, line in WALKS[walk].items()]
    if walk == "target" and can_run(folder):
        line = f"ballbook run {ON_TARGET} --cohort {STUDY} --map {TARGET_MAP} --out report"
        steps.append({"name": "target-run", **execute(line, folder)})
    for step in steps:
        if step["code"] != (2 if step["name"] in REFUSED else 0):
            raise RunFailed(f"worked example, step {step['name']}: {step['printed']}")
    found: dict[str, Any] = {
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
        "version": __version__,
        "steps": steps,
    }
    if (folder / "map.yml").is_file():
        found["map"] = (folder / "map.yml").read_text(encoding="utf8")
    if (folder / "report" / "notebook.ipynb").is_file():
        found |= parts_of_report(folder / "report")
    return found


def can_run(folder: Path) -> bool:
    """Return whether TARGET can fill the page `ON_TARGET`, read as the walk reads it."""
    from ballbook import needs
    from ballbook.cohort import read_cohort

    cohort = read_cohort(folder / STUDY, folder / TARGET_MAP)
    return any(m.analysis == ON_TARGET and m.accepted for m in needs.match(cohort))


def execute(line: str, folder: Path) -> dict[str, Any]:
    """Run one command line in `folder`; return the line, what it printed, its code and seconds."""
    typed, _, target = line.partition(" > ")
    words = shlex.split(typed)
    env = os.environ | {"BALLBOOK_HOME": str(paths.root()), "PYTHONIOENCODING": "utf8"}
    before = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "ballbook.cli", *words[1:]],
        cwd=folder, env=env, text=True, encoding="utf8", check=False, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if target else subprocess.STDOUT,
    )  # fmt: skip
    seconds = time.perf_counter() - before
    if target:
        (folder / target).write_text(done.stdout, encoding="utf8")
    printed = done.stderr if target else done.stdout
    # Where the folder lies says nothing to a reader.
    for place in {str(folder), str(folder.resolve())}:
        printed = printed.replace(f"{place}{os.sep}", "")
    return {
        "line": line, "printed": printed.rstrip(), "code": done.returncode,
        "seconds": round(seconds, 2),
    }  # fmt: skip


def parts_of_report(report: Path) -> dict[str, str]:
    """Return the answer box and the forest plot beside the paper, as HTML of a run's notebook."""
    notebook = json.loads((report / "notebook.ipynb").read_text(encoding="utf8"))
    outputs = [
        "".join(output.get("data", {}).get("text/html", ""))
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
    ]
    answer = next((h for h in outputs if 'class="bb-answer"' in h), "")
    figure = next((h for h in outputs if '<figure class="bb-figure" id="beside"' in h), "")
    # Downloads lie beside the report, and the number counts the report's figures.
    figure = re.sub(r'<span class="bb-downloads">.*?</span>', "", figure, flags=re.DOTALL)
    figure = re.sub(r"<strong>Figure \d+\.</strong> ", "", figure)
    return {"answer": answer, "figure": figure}


# ----------------------------------------------------------------------------------- recorded


def recorded() -> Path:
    """Return the folder of the recorded transcripts."""
    return paths.data() / "recorded" / "worked-example"


def keep() -> list[Path]:
    """Record the transcripts in ``build/example``, and return their files."""
    recorded().mkdir(parents=True, exist_ok=True)
    made = (paths.build() / "example" / f"{walk}.json" for walk in WALKS)
    return [Path(shutil.copy2(file, recorded() / file.name)) for file in made if file.is_file()]


def transcript(walk: str) -> tuple[Mapping[str, Any], bool]:
    """Return the transcript of a walk and whether it is a recorded one; empty if there is none."""
    for folder, is_recorded in ((paths.build() / "example", False), (recorded(), True)):
        file = folder / f"{walk}.json"
        if file.is_file():
            return json.loads(file.read_text(encoding="utf8")), is_recorded
    return {}, True


# ----------------------------------------------------------------------------------- the page


def write_parts(folder: Path, extra: Path) -> None:
    """Write the parts that the page includes, and the files that it offers.

    Parameters
    ----------
    folder : Path
        Where the parts go, ``example-<name>.md``: ``_generated`` of the book's source.
    extra : Path
        Root of the files put beside the rendered book.
    """
    beside = extra / "worked-example"
    beside.mkdir(parents=True, exist_ok=True)
    for file in sorted((paths.data() / "examples").iterdir()):
        if file.suffix in {".xlsx", ".yml"}:
            shutil.copy2(file, beside / file.name)
    report = paths.build() / "example" / "report.html"
    if report.is_file():
        copy_report(report.parent, beside)
    for name, html in parts(report.is_file()).items():
        text = f"```{{raw}} html\n{html or '<!-- nothing -->'}\n```\n"
        (folder / f"example-{name}.md").write_text(text, encoding="utf8")


def parts(with_report: bool = False) -> dict[str, str]:
    """Return the generated parts of the page as HTML, by name."""
    first, first_recorded = transcript("spreadsheet")
    second, second_recorded = transcript("target")
    found = dict.fromkeys((*PARTS, *(n for steps in WALKS.values() for n in steps)), "")
    found["sheet"] = sheet()
    found["mended"] = changes()
    found["target-map"] = listing((paths.data() / "examples" / TARGET_MAP).read_text("utf8"))
    for step in (*first.get("steps", ()), *second.get("steps", ())):
        found[step["name"]] = shown(step)
    if first:
        found["guess"] = label(first, first_recorded) + found["guess"]
        found["map"] = listing(first["map"])
        links = render.downloads({"HTML": "worked-example/report.html"})
        link = f"<p>The whole report: {links}</p>" if with_report else ""
        found["answer"] = first["answer"] + first["figure"] + link
        found["time"] = duration(first)
    if second:
        found["target-check"] = label(second, second_recorded) + found["target-check"]
        found["target-run"] = found["target-run"] or NOTHING_RUNS
        found["target-time"] = duration(second)
    return found


def label(of: Mapping[str, Any], is_recorded: bool) -> str:
    """Return the label of a transcript that is a recorded one."""
    if not is_recorded:
        return ""
    return (
        '<aside class="bb-recorded" role="note"><strong>Recorded transcript.</strong> The open '
        "data behind these steps could not be had when the book was built. Shown is what they "
        f"printed on {escape(of['made'])} with ballbook {escape(of['version'])}.</aside>"
    )


def shown(step: Mapping[str, Any]) -> str:
    """Return a command with what it printed."""
    told = f'<p class="bb-code">{CODES[step["code"]]}</p>' if step["code"] else ""
    return render.command(step["line"]) + listing(step["printed"]) + told


def listing(text: str) -> str:
    """Return text as a terminal or an editor shows it, long lines broken."""
    return f'<pre class="bb-printed">{escape(text.rstrip())}</pre>'


def duration(of: Mapping[str, Any]) -> str:
    """Return how long the commands took, in words."""
    total, n = sum(s["seconds"] for s in of["steps"]), len(of["steps"])
    return (
        f"<p>The {n} commands took {total:.0f} seconds together on the machine that made this "
        "page; what is left of ten minutes is for reading what they say.</p>"
    )


def sheet(n: int = 4) -> str:
    """Return the first rows of the spreadsheet as it came."""
    frame = _read(EXPORT)
    caption = f"The first {n} of {len(frame)} rows of {EXPORT}. Invented patients."
    return render.table(frame.head(n).astype(str).replace("nan", ""), caption=caption)


def changes() -> str:
    """Return the cells in which the mended spreadsheet differs from the export."""
    before, after = _read(EXPORT), _read(MENDED)
    rows = [
        {"Row": i + 2, "Column": c, "As exported": before.loc[i, c], "Put right": after.loc[i, c]}
        for i in before.index
        for c in before.columns
        if str(before.loc[i, c]) != str(after.loc[i, c])
    ]
    frame = pd.DataFrame(rows).astype(str)
    return render.table(frame, caption=f"The cells in which {MENDED} differs.")


def _read(name: str) -> pd.DataFrame:
    return pd.read_excel(paths.data() / "examples" / name, dtype=object)

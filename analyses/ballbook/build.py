"""Build the book: run what changed, put pages, prose and results together, render strictly.

The workflow (``analyses/Snakefile``) decides what to run. Here is what it calls: `make_page` for
each analysis, then `render`, which stages ``build/source`` and calls Jupyter Book with warnings as
errors. The result is one folder, ``build/html``, that opens from disk.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from html import escape
from pathlib import Path

import click
import pandas as pd
import yaml

from ballbook import (
    analyses,
    catalog,
    chapters,
    claims,
    dictionary_page,
    ledger,
    ledger_page,
    methods,
    paths,
    recorded,
    run,
    warm,
    worked_example,
)
from ballbook import render as parts
from ballbook.results import VERDICTS

DOWNLOADS = re.compile(r'href=\\?"((?:figures|tables)/[\w./-]+|results\.json)\\?"')
# A claim on its page, and the way back to its row in the ledger, which a lone report does not have.
CLAIM = re.compile(r'<span id="claim-([\w-]+)">[^<]*</span>')
BACKLINK = r'\g<0> <a class="bb-backlink" href="../ledger.html#\1">ledger</a>'


def build(*, cores: int = 2, target: str = "all") -> Path:
    """Run the workflow and return the page at which the book opens.

    Parameters
    ----------
    target : str
        ``all``, or ``pages`` for the notebooks without the rendering.

    Raises
    ------
    RunFailed
        If a notebook fails or the book does not build without a warning.
    """
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(paths.analyses() / "Snakefile"),
        "--directory", str(paths.root()), "--cores", str(cores), "--rerun-incomplete",
        "--quiet", "all", "--nolock", target,
    ]  # fmt: skip
    with warm.server():
        failed = subprocess.run(command, check=False).returncode
    if failed:
        raise run.RunFailed("the book was not built; the reason stands above")
    return paths.build() / "html" / "index.html"


def make_page(slug: str) -> Path:
    """Run an analysis for the book, or use its recorded run where its data cannot be had."""
    target = paths.build() / "runs" / slug
    if not (target / "results.json").is_file():
        # The workflow takes the results away before it makes a page again.
        shutil.rmtree(target, ignore_errors=True)
    try:
        run.run(slug)
        click.echo(f"{slug}: run")
    except catalog.Unavailable as error:
        click.echo(f"{slug}: recorded run ({str(error).splitlines()[0]})")
        recorded.use(slug, target)
    return target


def render() -> Path:
    """Stage and render the book from the runs in ``build/runs``.

    Returns
    -------
    Path
        ``build/html``.

    Raises
    ------
    StrictBuildFailed
        With the warnings, tracebacks or missing files that were found.
    IncompleteLedger, ChangedLedger
        Where claims and verdicts do not match, or are not the recorded ones.
    """
    frame = ledger.ledger()
    ledger.check_recorded(frame)
    source = paths.build() / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(paths.book(), source, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(paths.root() / "_config.yml", source / "_config.yml")
    extra = paths.build() / "extra"
    shutil.rmtree(extra, ignore_errors=True)
    for slug in analyses.slugs():
        stage_page(slug, source, extra)
    generated(source, extra, frame)
    work = paths.build() / "jupyter-book"
    shutil.rmtree(work, ignore_errors=True)
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "jupyter-book"), "build", str(source),
            "--path-output", str(work), "-W", "--keep-going", "--quiet",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    html = work / "_build" / "html"
    if done.returncode or not (html / "index.html").is_file():
        said = (done.stdout + done.stderr).splitlines()
        notable = [line for line in said if re.search("WARNING|ERROR|Error", line)] or said[-30:]
        raise run.StrictBuildFailed("the book has warnings:\n" + "\n".join(notable))
    shutil.copytree(extra, html, dirs_exist_ok=True)
    tidy(html)
    target = paths.build() / "html"
    run.replace_folder(html, target)
    return target


def stage_page(slug: str, source: Path, extra: Path) -> None:
    """Put an executed notebook into the book's source and its downloads beside the book."""
    found = paths.build() / "runs" / slug
    analysis = analyses.find(slug)
    notebook = json.loads((found / "notebook.ipynb").read_text(encoding="utf8"))
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                raise run.StrictBuildFailed(f"{slug} holds a traceback: {output['ename']}")
            html = "".join(output.get("data", {}).get("text/html", ""))
            if html:
                html = DOWNLOADS.sub(rf'href="../runs/{slug}/\1"', html)
                output["data"]["text/html"] = CLAIM.sub(BACKLINK, html)
    folder = source / analysis.chapter
    folder.mkdir(exist_ok=True)
    (folder / f"{slug}.ipynb").write_text(json.dumps(notebook), encoding="utf8")
    for name in ("figures", "tables"):
        shutil.copytree(found / name, extra / "runs" / slug / name)
    shutil.copy2(found / "results.json", extra / "runs" / slug / "results.json")


def generated(source: Path, extra: Path, frame: pd.DataFrame) -> None:
    """Write the pages and parts that come from results, claims and the catalogue."""
    folder = source / "_generated"
    folder.mkdir(exist_ok=True)
    (folder / "findings.md").write_text(findings_board(), encoding="utf8")
    (source / "data.md").write_text(data_page(), encoding="utf8")
    (source / "dictionary.md").write_text(dictionary_page.page(), encoding="utf8")
    (extra / "dictionary.csv").write_text(dictionary_page.as_csv(), encoding="utf8")
    methods.write_parts(folder, extra)
    chapters.write_parts(folder, paths.build() / "runs")
    worked_example.write_parts(folder, extra)
    (source / "ledger.md").write_text(ledger_page.page(frame), encoding="utf8")
    (extra / "ledger.csv").write_text(ledger.as_csv(frame), encoding="utf8")
    (extra / "ledger.json").write_text(ledger.as_json(frame), encoding="utf8")


def raw(html: str) -> str:
    """Return HTML as a block of a Markdown page."""
    return f"```{{raw}} html\n{html}\n```\n"


def findings_board() -> str:
    """Return the board of the landing page, by chapter: finding, published, ours, data, verdict.

    A page has one row, of its first headline claim that could be tested, and says below its name
    what became of all its claims.
    """
    known, shown = claims.read(), []
    contents = yaml.safe_load((paths.book() / "_toc.yml").read_text(encoding="utf8"))
    for part in contents["parts"]:
        rows = []
        for slug in (Path(c["file"]).name for c in part["chapters"]):
            if slug not in analyses.slugs():
                continue
            analysis = analyses.find(slug)
            file = paths.build() / "runs" / slug / "results.json"
            results = json.loads(file.read_text(encoding="utf8"))
            found = run.headline(analysis.meta, results)
            verdict = next((v for v in found if v.verdict != "not-testable"), found[0])
            claim = known[verdict.claim]
            printed = f"<br>{escape(verdict.published)}" if claim.printed else ""
            title = escape(str(analysis.meta["title"]))
            words = Counter(v["verdict"] for v in results["verdicts"])
            told = ", ".join(f"{words[w]} {w.replace('-', ' ')}" for w in VERDICTS if words[w])
            rows.append(
                {
                    "Finding": parts.Raw(
                        f'<span><a href="{analysis.chapter}/{slug}.html">{title}</a><br>'
                        f'<small class="bb-tally">Claims: {told}</small></span>'
                    ),
                    "Published": parts.Raw(f"{escape(claim.statement)}{printed}"),
                    "Ours": verdict.recomputed,
                    "Data": parts.tier_pill(verdict.tier),
                    "Verdict": parts.verdict_pill(verdict.verdict),
                }
            )
        if rows:
            table = f'<div class="bb-board">{parts.table(pd.DataFrame(rows))}</div>'
            shown.append(f"### {part['caption']}\n\n{raw(table)}")
    return "\n".join(shown)


def data_page() -> str:
    """Return the page of the data catalogue."""
    lines = [
        "# Data\n",
        "Every data set behind the book, as `data/catalog.yml` holds it. Files are looked for in "
        "the folder that `BALLBOOK_DATA` names, then in the cache, then at their public address; "
        "the SHA-256 decides in each case.\n",
    ]
    for entry in catalog.entries():
        cited = f" {{cite:p}}`{','.join(entry.citation)}`" if entry.citation else ""
        lines.append(f"({entry.id})=\n## {entry.title}\n")
        lines.append(raw(parts.tier_pill(entry.tier)))
        lines.append(f"`{entry.id}`{cited}. {entry.about.strip()}\n")
        lines.append(f"Licence: {entry.licence}. {entry.terms.strip()}\n")
        frame = pd.DataFrame(
            {
                "File": [f.name for f in entry.files],
                "Bytes": [f.size for f in entry.files],
                "SHA-256": [
                    parts.Raw(f'<code title="{f.sha256}">{f.sha256[:16]}</code>')
                    for f in entry.files
                ],
                "Address": [
                    parts.Raw(f'<a href="{f.url}">{f.path.rsplit("/", 1)[-1]}</a>')
                    if f.url
                    else "in the repository"
                    for f in entry.files
                ],
            }
        )
        lines.append(raw(parts.table(frame)))
    return "\n".join(lines)


def tidy(html: Path) -> None:
    """Drop what a reader does not need, and check that no traceback is in any page."""
    for name in (".doctrees", "_sources", ".buildinfo", "objects.inv"):
        shutil.rmtree(html / name, ignore_errors=True)
        (html / name).unlink(missing_ok=True)
    guilty = [
        str(page.relative_to(html))
        for page in html.rglob("*.html")
        if "Traceback (most recent call last)" in page.read_text(encoding="utf8")
    ]
    if guilty:
        raise run.StrictBuildFailed(f"a traceback stands in {', '.join(guilty)}")

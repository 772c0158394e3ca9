"""The rendered book: put pages, prose and results together, and render what changed, strictly.

*Parts.* What goes into the book beside its prose is made in parts: one for each page, and one for
each generated page or group of fragments. A part is made again when the modules behind it or the
files it reads changed (by content, as in `ballbook.freshness`).

*Pages.* Sphinx keeps what it read and renders the pages whose source changed. It cannot see all
that one page shows of another, so everything is rendered again when the configuration, the
contents, the bibliography, a style or the set of pages changed, when a page cites other references
than before, or when the change turned out to alter a title or a label (Sphinx's inventory).

Warnings are errors. A render that fails leaves the last good book in place.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, partial
from html import escape
from importlib import metadata
from importlib.metadata import EntryPoints
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ballbook import (
    analyses,
    catalog,
    chapters,
    claims,
    dictionary_page,
    freshness,
    ledger,
    ledger_page,
    paths,
    placing,
    run,
    worked_example,
)
from ballbook import render as parts
from ballbook.results import VERDICTS

DOWNLOADS = re.compile(r'href=\\?"((?:figures|tables)/[\w./-]+|results\.json)\\?"')
# A claim on its page, and the way back to its row in the ledger, which a lone report does not have.
CLAIM = re.compile(r'<span id="claim-([\w-]+)">[^<]*</span>')
BACKLINK = r'\g<0> <a class="bb-backlink" href="../ledger.html#\1">ledger</a>'
CITATION = re.compile(r"\{cite(?::\w+)?\}`[^`]*`")
# Read by Sphinx as a whole; a change here can show on any page.
EVERYWHERE = ("_config.yml", "_toc.yml", "references.bib")
RECORD = "rendered.json"
NOT_FOR_READERS = (".doctrees", "_sources", ".buildinfo", "objects.inv")


@dataclass(frozen=True)
class Part:
    """Files of the book that are made by code.

    Attributes
    ----------
    name : str
    make : callable
        Called with two folders: for the book's source, and for what lies beside the pages.
    modules : tuple of str
        Modules of the library behind it.
    files : tuple of Path
        What it reads, files or folders.
    """

    name: str
    make: Callable[[Path, Path], None]
    modules: tuple[str, ...] = ()
    files: tuple[Path, ...] = field(default=())

    def key(self) -> str:
        """Return a hash of all that the part depends on."""
        code = freshness.digest_of(freshness.modules_of("", self.modules))
        found = [p for f in self.files for p in (sorted(f.rglob("*")) if f.is_dir() else [f])]
        files = freshness.contents(p for p in found if p.is_file())
        return freshness.digest([code, *files])


def render(*, whole: bool = False) -> Path:
    """Stage and render the book from the runs in ``build/runs``.

    Parameters
    ----------
    whole : bool
        Whether to forget what was rendered before.

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
    if whole:
        shutil.rmtree(paths.build() / "parts", ignore_errors=True)
    source, beside = stage(frame)
    html = sphinx(source, whole=whole)
    target = paths.build() / "html"
    with placing.placed(target) as work:
        for root in (html, *beside):
            publish(root, work, target)
        tidy_index(work / "searchindex.js")
        check(work)
    return target


def publish(root: Path, work: Path, before: Path) -> None:
    """Copy what readers get from `root` into `work`; what did not change is linked.

    No file of a published book is ever written again, so that two books may share it. Same size
    and time is no change, as in `ballbook.freshness.damaged`.
    """
    work.mkdir(exist_ok=True)
    with os.scandir(root) as found:
        for entry in found:
            name = entry.name
            if name in NOT_FOR_READERS:
                continue
            if entry.is_dir():
                publish(root / name, work / name, before / name)
                continue
            place, old = f"{work}/{name}", f"{before}/{name}"
            with contextlib.suppress(OSError):
                new, was = entry.stat(), os.stat(old)  # noqa: PTH116 - hundreds of files
                if (new.st_size, new.st_mtime_ns) == (was.st_size, was.st_mtime_ns):
                    os.link(old, place)
                    continue
            shutil.copy2(entry.path, place)


# ------------------------------------------------------------------------------------ staging


def stage(frame: pd.DataFrame) -> tuple[Path, list[Path]]:
    """Bring ``build/source`` up to date and return it, and the folders of what lies beside pages.

    A file whose content did not change keeps its time stamp, so that Sphinx leaves it alone.
    """
    made = paths.build() / "parts"
    wanted = {part.name: part for part in every_part(frame)}
    with freshness.at_once():
        keys = {name: part.key() for name, part in wanted.items()}
    for name, part in wanted.items():
        make(part, keys[name], made / name)
    for old in made.iterdir():
        if old.name not in wanted:
            shutil.rmtree(old)
    prose = [p for p in paths.book().rglob("*") if "__pycache__" not in p.parts]
    files = {p.relative_to(paths.book()): p for p in prose if p.is_file()}
    files[Path("_config.yml")] = paths.root() / "_config.yml"
    for root in (made / name / "source" for name in wanted):
        files |= {p.relative_to(root): p for p in root.rglob("*") if p.is_file()}
    source = paths.build() / "source"
    mirror(files, source)
    return source, [made / name / "extra" for name in wanted]


def make(part: Part, key: str, folder: Path) -> None:
    """Make a part in its folder, unless it is there and nothing behind it (`key`) changed."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        made = json.loads((folder / "key").read_text("utf8"))
        if made["key"] == key and not freshness.damaged(folder, made["made"]):
            return
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("source", "extra"):
        (folder / name).mkdir(parents=True)
    part.make(folder / "source", folder / "extra")
    found = {"key": key, "made": freshness.listing(folder)}
    (folder / "key").write_text(json.dumps(found), encoding="utf8")


def mirror(files: dict[Path, Path], target: Path) -> None:
    """Make `target` hold these files and no others; what is the same is not written."""
    target.mkdir(parents=True, exist_ok=True)
    for old in sorted(target.rglob("*"), reverse=True):
        if old.is_dir():
            with contextlib.suppress(OSError):
                old.rmdir()
        elif old.relative_to(target) not in files:
            old.unlink()
    for name, file in files.items():
        place, content = target / name, file.read_bytes()
        if place.is_file() and place.read_bytes() == content:
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def every_part(frame: pd.DataFrame) -> Iterable[Part]:
    """Yield the parts of the book: those that a page of its contents shows."""
    data, book = paths.data(), paths.book()
    pages = contents()
    runs = [paths.build() / "runs" / slug for slug in analyses.slugs()]
    results = tuple(r / "results.json" for r in runs)
    sources = (analyses.find(slug).path for slug in analyses.slugs())
    known = (data / "claims", book / "_toc.yml", *sources)
    here = ("html_book",)
    for slug, folder in zip(analyses.slugs(), runs, strict=True):
        shown = ("notebook.ipynb", "results.json", "figures", "tables")
        yield Part(
            f"page-{slug}",
            partial(stage_page, slug),
            files=(Path(__file__), *(folder / name for name in shown)),
        )

    def fragment(name: str, text: Callable[[], str], *, beside: bool = False) -> Part:
        def write(source: Path, extra: Path) -> None:
            place = source / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text(), encoding="utf8")

        return Part(Path(name).stem, write, here, (*results, *known, data / "catalog.yml"))

    yield fragment("_generated/findings.md", findings_board)
    if "data" in pages:
        yield fragment("data.md", data_page)
    if "dictionary" in pages:

        def dictionary(source: Path, extra: Path) -> None:
            (source / "dictionary.md").write_text(dictionary_page.page(), encoding="utf8")
            (extra / "dictionary.csv").write_text(dictionary_page.as_csv(), encoding="utf8")

        yield Part("dictionary", dictionary, ("dictionary_page",), (data / "dictionaries", *known))
    if "ledger" in pages:

        def of_ledger(source: Path, extra: Path) -> None:
            (source / "ledger.md").write_text(ledger_page.page(frame), encoding="utf8")
            (extra / "ledger.csv").write_text(ledger.as_csv(frame), encoding="utf8")
            (extra / "ledger.json").write_text(ledger.as_json(frame), encoding="utf8")

        yield Part("ledger", of_ledger, ("ledger_page", "ledger"), (*results, *known))

    def into(write: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        def write_both(source: Path, extra: Path) -> None:
            folder = source / "_generated"
            folder.mkdir()
            write(folder, extra)

        return write_both

    if any(page.startswith("methods/") for page in pages):

        def of_methods(folder: Path, extra: Path) -> None:
            # All estimators come along, which a build without these pages has no use for.
            from ballbook import methods

            methods.write_parts(folder, extra)

        # The records of pages are not among what these parts read.
        kept = [p for p in (data / "recorded").iterdir() if p.name not in analyses.slugs()]
        golden = paths.root() / "tests" / "golden"
        yield Part(
            "methods",
            into(of_methods),
            ("methods",),
            (*kept, *sorted(golden.glob("*.json")), *known),
        )
    if any(page.endswith("/index") for page in pages):
        overview = into(lambda folder, _: chapters.write_parts(folder, paths.build() / "runs"))
        yield Part(
            "chapters", overview, ("chapters",), (*results, *known, data / "published", book)
        )
    if "worked-example" in pages:
        example = paths.build() / "example"
        kept_example = data / "recorded" / "worked-example"
        yield Part(
            "example",
            into(worked_example.write_parts),
            ("worked_example",),
            (example, kept_example, data / "examples"),
        )


def contents() -> list[str]:
    """Return the pages that the table of contents names."""
    return [c["file"] for part in chapters_of_book() for c in part["chapters"]]


def chapters_of_book() -> list[dict[str, list[dict[str, str]]]]:
    """Return the parts of the table of contents."""
    return _chapters_in((paths.book() / "_toc.yml").read_text(encoding="utf8"))


@cache
def _chapters_in(text: str) -> list[dict[str, list[dict[str, str]]]]:
    found: list[dict[str, list[dict[str, str]]]] = yaml.safe_load(text)["parts"]
    return found


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


def raw(html: str) -> str:
    """Return HTML as a block of a Markdown page."""
    return f"```{{raw}} html\n{html}\n```\n"


def findings_board() -> str:
    """Return the board of the landing page, by chapter: finding, published, ours, data, verdict.

    A page has one row, of its first headline claim that could be tested, and says below its name
    what became of all its claims.
    """
    known, shown = claims.read(), []
    for part in chapters_of_book():
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


# ---------------------------------------------------------------------------------- rendering


def sphinx(source: Path, *, whole: bool = False) -> Path:
    """Render the staged source with Jupyter Book and return the folder of HTML.

    Raises
    ------
    StrictBuildFailed
        With the warnings.
    """
    work = paths.build() / "jupyter-book"
    record = work / RECORD
    key = everywhere(source)
    html = work / "_build" / "html"
    inventory = html / "objects.inv"
    before, made = None, {}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        was = json.loads(record.read_text(encoding="utf8"))
        if not whole and was["key"] == key and not freshness.damaged(html, was["made"]):
            before, made = inventory.read_bytes(), was["made"]
    if before is None:
        shutil.rmtree(work, ignore_errors=True)
    # Until it is done nothing may build upon it: what Sphinx warned of once it does not again.
    record.unlink(missing_ok=True)
    said, code = jupyter_book(source, work)
    if code or not (html / "index.html").is_file():
        shutil.rmtree(work, ignore_errors=True)
        if before is not None:
            # What is wrong may be what was kept.
            return sphinx(source, whole=True)
        notable = [x for x in said if re.search("WARNING|ERROR|Error", x)] or said[-30:]
        raise run.StrictBuildFailed("the book has warnings:\n" + "\n".join(notable))
    if before is not None and inventory.read_bytes() != before:
        return sphinx(source, whole=True)
    told = {"key": key, "made": freshness.listing(html, known=made)}
    record.write_text(json.dumps(told), encoding="utf8")
    return html


def rendered(within: str) -> dict[str, list[Any]]:
    """Return what `sphinx` listed last, as of a folder `within` another."""
    file = paths.build() / "jupyter-book" / RECORD
    made = json.loads(file.read_text(encoding="utf8"))["made"]
    return {f"{within}/{name}": state for name, state in made.items()}


def everywhere(source: Path) -> dict[str, str]:
    """Return hashes of what can show on any page; see the module."""
    files = sorted(p for p in source.rglob("*") if p.is_file())
    shown = [p for p in files if p.suffix in {".md", ".ipynb"}]
    common = [p for p in files if p not in shown or p.name in EVERYWHERE]
    cited = (",".join(CITATION.findall(p.read_text(encoding="utf8"))) for p in shown)
    code = (freshness.LIBRARY / f"{m}.py" for m in freshness.modules_of("", ["bibliography"]))
    lock = paths.root() / "env" / "lock.txt"
    return {
        "pages": freshness.digest(str(p.relative_to(source)) for p in shown),
        "common": freshness.digest(freshness.contents(common)),
        "cited": freshness.digest(cited),
        "engine": freshness.digest(freshness.contents([*code, lock])),
    }


def jupyter_book(source: Path, work: Path) -> tuple[list[str], int]:
    """Call ``jupyter-book build`` in this process; return what it said, and its exit code."""
    from jinja2 import FileSystemBytecodeCache
    from jinja2.sandbox import SandboxedEnvironment
    from jupyter_book.cli.main import main
    from pybtex import plugin
    from sphinx import jinja2glue, registry, theming
    from sphinxcontrib.bibtex import plugin as references

    templates = work / "templates"
    templates.mkdir(parents=True, exist_ok=True)
    for module in (plugin, references, registry, theming):
        vars(module)["entry_points"] = entry_points
    # It would compile the templates of the theme in every build.
    kept = FileSystemBytecodeCache(str(templates))
    quick = partial(SandboxedEnvironment, bytecode_cache=kept)
    vars(jinja2glue)["SandboxedEnvironment"] = quick
    arguments = ["build", str(source), "--path-output", str(work)]
    said = io.StringIO()
    before = Path.cwd()
    # Thousands of messages, for nobody.
    logging.disable(logging.DEBUG)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main([*arguments, "-W", "--keep-going", "--quiet"], standalone_mode=False)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0) if not isinstance(end.code, str) else 1
    except Exception as error:
        said.write(f"ERROR: {type(error).__name__}: {error}\n")
        code = 1
    finally:
        os.chdir(before)
        logging.disable(logging.NOTSET)
    # Sphinx leaves a copy of the traceback among the temporary files.
    for left in re.findall(r"\S+sphinx-err-\w+\.log", said.getvalue()):
        Path(left).unlink(missing_ok=True)
    return said.getvalue().splitlines(), code


@cache
def installed() -> Any:
    """Return what all installed packages offer, looked through once a process."""
    return metadata.entry_points()


def entry_points(**wanted: str) -> EntryPoints:
    """Return what installed packages offer, as `importlib.metadata.entry_points` does."""
    found: EntryPoints = installed().select(**wanted)
    return found


def tidy_index(file: Path) -> None:
    """Drop from the index of the search the words of earlier builds, which stand on no page."""
    text = file.read_text(encoding="utf8")
    begin, end = text.index("{"), text.rindex("}") + 1
    index = json.loads(text[begin:end])
    for words in ("terms", "titleterms"):
        # A page alone is a number, and the first page is 0.
        index[words] = {k: v for k, v in index[words].items() if v != []}
    told = json.dumps(index, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    file.unlink()  # it may be shared with the book that stands
    file.write_text(text[:begin] + told + text[end:], encoding="utf8")


def check(html: Path) -> None:
    """Check that no traceback is in any page that is not linked from an earlier book.

    Raises
    ------
    StrictBuildFailed
    """
    guilty = [
        str(page.relative_to(html))
        for page in html.rglob("*.html")
        if page.stat().st_nlink == 1
        and "Traceback (most recent call last)" in page.read_text(encoding="utf8")
    ]
    if guilty:
        raise run.StrictBuildFailed(f"a traceback stands in {', '.join(guilty)}")

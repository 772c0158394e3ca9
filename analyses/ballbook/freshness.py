"""What is stale: one rule, by content, for the local engine, the cluster's and sweeps.

A run is fresh when everything it depends on is, byte for byte, what it was. Time stamps do not
count. What a run depends on is read off the sources without executing anything:

source
    The text notebook.
parameters
    Values that differ from the defaults, with the content of a reader's cohort and column map.
data
    The catalogued SHA-256 of each data set of the page; where one cannot be had, the recorded run
    that is shown instead.
modules
    Every module of the library that the notebook, or `ballbook.run`, imports, directly or by way
    of others, also inside functions (`modules_of`).
tables
    Typed tables: dictionaries; claims and published tables that the notebook or one of its modules
    names; the references it cites.
lock
    The locked packages, and Python's version.

A run's folder holds its fingerprint (`Fingerprint.stamp`), which is written with everything else
and moved into place with it; see `ballbook.placing`. The stamp also lists every file that was made,
with its SHA-256: a run of which a file is missing or is not what it was is stale (`damaged`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from ballbook import analyses, catalog, paths

LIBRARY = Path(__file__).parent
# Name, time stamp and size of each module: enough to tell, within one process, what was read.
Library: TypeAlias = tuple[tuple[str, int, int], ...]
# What runs a page, whatever the page is.
ROOTS = ("run",)
# What the worked example calls on the command line.
COMMANDS = ("column_map", "needs", "run")
IMPORTS = re.compile(
    r"^[ \t]*(?:from ballbook(?:\.(\w+))?[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)"
    r"|import[ \t]+ballbook\.(\w+))",
    re.MULTILINE,
)
# A claim's id, or, where the id is put together at run time, how it begins.
CLAIM_ID = re.compile(r"\b[a-z0-9]+(?:-[a-z0-9]+)*-?\{?")
ENTRY = re.compile(r"^@\w+\{([^,\s]+),.*?(?=^@|\Z)", re.MULTILINE | re.DOTALL)
# In a stamp, beside the parts: the files.
MADE = "made"
# Tables of dummies and of what a cohort needs: only a reader's own cohort is held against them.
OF_COHORTS = {"dummy.yml", "needs.yml"}


@dataclass(frozen=True)
class Fingerprint:
    """What a run depends on: a SHA-256 for each part.

    Attributes
    ----------
    parts : mapping
        Part (``source``, ``parameters``, ...) to SHA-256 in hexadecimal.
    """

    parts: Mapping[str, str]

    @cached_property
    def id(self) -> str:
        """Sixteen hexadecimal digits over all parts."""
        return digest(f"{k}={v}" for k, v in self.parts.items())[:16]

    @property
    def name(self) -> str:
        """Name of the stamp in a run's folder."""
        return f".fresh-{self.id}.json"

    def stamp(
        self, folder: Path, within: str = "", known: Mapping[str, list[Any]] | None = None
    ) -> None:
        """Write the fingerprint into the folder of a run, in place of an earlier one.

        Parameters
        ----------
        folder : Path
        within : str
            Folder in it whose files are listed.
        known : mapping, optional
            See `listing`.
        """
        forget(folder)
        stamp = dict(self.parts) | {MADE: listing(folder, within, known)}
        (folder / self.name).write_text(json.dumps(stamp, indent=1) + "\n", "utf8")

    def reasons(self, folder: Path, made: str = "results.json") -> list[str]:
        """Return why the run in `folder`, with the file `made`, is stale; nothing if it is not."""
        listed = _listed(folder / self.name)
        if made in listed:
            return [f"{name} is damaged" for name in damaged(folder, listed)]
        before = next(iter(sorted(folder.glob(".fresh-*.json"))), None)
        if before is None or not (folder / made).is_file():
            return ["never run"]
        try:
            was = json.loads(before.read_text(encoding="utf8"))
        except ValueError:
            return ["never run"]
        if not isinstance(was, dict):
            return ["never run"]
        changed = [k for k, v in self.parts.items() if was.get(k) != v]
        return changed or ["never run"]


def listing(
    folder: Path, within: str = "", known: Mapping[str, list[Any]] | None = None
) -> dict[str, list[Any]]:
    """Return size, time and SHA-256 of every file of a folder, or of a folder in it, by name.

    Parameters
    ----------
    folder : Path
    within : str
    known : mapping, optional
        An earlier listing: a file whose size and time are as they were is not read.
    """
    found = {}
    for root, _, names in os.walk(folder / within):
        inner = os.path.relpath(root, folder)
        for name in names:
            file = f"{root}/{name}"
            called = name if inner == "." else f"{inner}/{name}"
            stat = os.stat(file)  # noqa: PTH116 - hundreds of files
            was = (known or {}).get(called)
            so = was is not None and was[:2] == [stat.st_size, stat.st_mtime_ns]
            found[called] = was if so and was else list(_made(Path(file)))
    return dict(sorted(found.items()))


def damaged(folder: Path, listed: Mapping[str, list[Any]]) -> list[str]:
    """Return the files of a folder that are missing or are not as they were listed.

    A file whose size and time are as they were is not read, as in git's index.
    """
    found = []
    for name, (size, mtime_ns, sha256) in listed.items():
        try:
            stat = (folder / name).stat()
            so = stat.st_size == size and (
                stat.st_mtime_ns == mtime_ns or _made(folder / name)[2] == sha256
            )
        except OSError:
            so = False
        if not so:
            found.append(name)
    return found


def _made(file: Path) -> tuple[int, int, str]:
    stat = file.stat()
    with file.open("rb") as handle:
        return stat.st_size, stat.st_mtime_ns, hashlib.file_digest(handle, "sha256").hexdigest()


def _listed(stamp: Path) -> dict[str, list[Any]]:
    """Return what a stamp lists; nothing where there is none or it is itself damaged."""
    try:
        found: dict[str, list[Any]] = json.loads(stamp.read_text(encoding="utf8"))[MADE]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found


def forget(folder: Path) -> None:
    """Remove the stamp of a folder, so that what is in it is stale."""
    for old in folder.glob(".fresh-*.json"):
        old.unlink()


def digest(texts: Iterable[str | bytes]) -> str:
    """Return the SHA-256 of texts, each with its length, so that they cannot run together."""
    found = hashlib.sha256()
    for text in texts:
        raw = text.encode() if isinstance(text, str) else text
        found.update(b"%d:" % len(raw) + raw)
    return found.hexdigest()


def of_page(
    slug: str,
    parameters: Mapping[str, Any] | None = None,
    column_map: str | Path | None = None,
) -> Fingerprint:
    """Return the fingerprint of a run of the analysis `slug` as things are now.

    Parameters
    ----------
    slug : str
    parameters : mapping, optional
        Values that differ from the defaults. A ``cohort`` counts by its content.
    column_map : str or Path, optional
        The column map of the cohort.

    Raises
    ------
    UnknownAnalysis
    OSError
        Where a cohort or a map cannot be read.
    """
    analysis = analyses.find(slug)
    # As it was read to be executed: an edit during a long build makes the run stale.
    source = analysis.text
    modules = modules_of(source, ROOTS)
    given = {k: v for k, v in (parameters or {}).items() if k != "cohort"}
    own = [json.dumps(given, sort_keys=True, default=str)]
    for path in ((parameters or {}).get("cohort"), column_map):
        own.append(digest(_content(Path(path).expanduser())) if path else "")
    return Fingerprint(
        {
            "source": digest([source]),
            "parameters": digest(own),
            "data": digest(_data(slug, analysis.meta["data"])),
            "modules": digest_of(modules),
            "tables": digest(
                _tables(slug, source, modules, analysis.meta, own_cohort=bool(own[1]))
            ),
            "lock": digest(
                [*contents([paths.root() / "env" / "lock.txt"]), str(sys.version_info[:2])]
            ),
        }
    )


def of_example() -> Fingerprint:
    """Return the fingerprint of the worked example (`ballbook.worked_example`)."""
    modules = modules_of("", ("worked_example", *COMMANDS))
    known, named = analyses.slugs(), _tokens(_source_of("worked_example"))
    files = [
        LIBRARY / "cli.py",
        *sorted((paths.data() / "examples").glob("*")),
        *sorted((paths.data() / "dictionaries").glob("*.yml")),
        *sorted(p for p in (paths.book() / "_static").glob("*") if p.is_file()),
    ]
    return Fingerprint(
        {
            "pages": digest([*known, *(of_page(slug).id for slug in known if slug in named)]),
            "modules": digest_of(modules),
            "files": digest(contents(files)),
        }
    )


def of_book(pages: Mapping[str, Fingerprint] | None = None) -> Fingerprint:
    """Return the fingerprint of the rendered book, beside what its pages were made of.

    Parameters
    ----------
    pages : mapping, optional
        Those of the pages, where they are known.
    """
    modules = modules_of("", ("html_book",))
    data = paths.data()
    slugs = analyses.slugs()
    known = pages or {slug: of_page(slug) for slug in slugs}
    kept = [p for p in (data / "recorded").rglob("*") if p.relative_to(data).parts[1] not in known]
    files = [
        *kept,
        *(p for name in ("claims", "dictionaries", "published") for p in (data / name).glob("*")),
        data / "catalog.yml",
        data / "audit.yml",
        *(p for p in paths.book().rglob("*") if "__pycache__" not in p.parts),
        *(paths.root() / "tests" / "golden").glob("*.json"),
        paths.root() / "_config.yml",
        paths.root() / "env" / "lock.txt",
    ]
    return Fingerprint(
        {
            "pages": digest(known[slug].id for slug in slugs),
            "modules": digest_of(modules),
            "files": digest(contents(p for p in sorted(files) if not p.is_dir())),
        }
    )


def modules_of(text: str, roots: Iterable[str] = ()) -> list[str]:
    """Return the modules of the library that a source uses, directly or by way of others.

    Parameters
    ----------
    text : str
        Source of a notebook or a module.
    roots : iterable of str
        Modules that are used besides.

    Returns
    -------
    list of str
        Sorted names without ``ballbook.``; a data file beside the modules (a JSON schema) belongs
        to the module that names it and is not listed.
    """
    return list(_closure(frozenset({*roots, *_imports(text)}), _library()))


@lru_cache(maxsize=128)
def _closure(names: frozenset[str], library: Library) -> tuple[str, ...]:
    known = {name for name, *_ in library}
    seen: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in seen and name in known:
            seen.add(name)
            todo += _imports_of(name)
    return tuple(sorted(seen))


_seen: list[Library] = []


@contextmanager
def at_once() -> Iterator[None]:
    """Look at the library once for all that is asked inside, which is not to take long."""
    _seen.append(_library())
    try:
        yield
    finally:
        _seen.pop()


def _library() -> Library:
    """Return the state of every module, by which what was found out of them is kept."""
    if _seen:
        return _seen[-1]
    with os.scandir(LIBRARY) as found:
        files = [(f.name, f.stat()) for f in found if f.name.endswith(".py")]
    return tuple(sorted((name[:-3], s.st_mtime_ns, s.st_size) for name, s in files))


def digest_of(modules: Iterable[str]) -> str:
    """Return the SHA-256 of the sources of modules of the library."""
    return _digest_of_files(tuple(modules), _library())


@lru_cache(maxsize=128)
def _digest_of_files(modules: tuple[str, ...], library: Library) -> str:
    return digest(contents(LIBRARY / f"{m}.py" for m in modules))


def _imports(text: str) -> set[str]:
    found: set[str] = set()
    for of, names, plain in IMPORTS.findall(text):
        if of or plain:
            found.add(of or plain)
        else:
            found.update(re.findall(r"\b(\w+)\b(?:\s+as\s+\w+)?", names))
    return found


def _source_of(name: str) -> str:
    path = LIBRARY / f"{name}.py"
    return _read(path, *_state(path))


def _state(path: Path) -> tuple[int, int]:
    """Return what tells within one process whether a file must be read again."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=512)
def _read(path: Path, mtime_ns: int, size: int) -> str:
    return path.read_text(encoding="utf8")


def _imports_of(name: str) -> frozenset[str]:
    return _imports_in(_source_of(name))


@lru_cache(maxsize=512)
def _imports_in(text: str) -> frozenset[str]:
    return frozenset(_imports(text))


@lru_cache(maxsize=512)
def _tokens(text: str) -> frozenset[str]:
    return frozenset(CLAIM_ID.findall(text)) | frozenset(re.findall(r"\w+", text))


def read_library() -> None:
    """Read every module once, for `of_page`."""
    for path in LIBRARY.glob("*.py"):
        _imports_of(path.stem)
        _tokens(_source_of(path.stem))


def contents(files: Iterable[Path]) -> Iterable[str | bytes]:
    """Yield name and content of files; one that is missing counts as missing."""
    for file in files:
        yield file.name
        yield file.read_bytes() if file.is_file() else b"(missing)"


def _content(path: Path) -> Iterable[str | bytes]:
    """Yield what a cohort holds: a file, or the files of a folder by their names in it."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        yield str(file.relative_to(path)) if path.is_dir() else file.name
        with file.open("rb") as handle:
            yield hashlib.file_digest(handle, "sha256").hexdigest()


def _data(slug: str, ids: Iterable[str]) -> Iterable[str]:
    complete = True
    for id in ids:
        at_hand = catalog.available(id)
        complete = complete and at_hand
        yield json.dumps([id, catalog.hashes(id) if at_hand else None], sort_keys=True)
    if not complete:
        # Shown instead; `ballbook.recorded` cannot be imported here, it needs what it records.
        kept = paths.data() / "recorded" / slug
        yield digest(contents(kept / name for name in ("results.json", "notebook.ipynb")))


@lru_cache(maxsize=128)
def _claims_in(path: Path, mtime_ns: int, size: int) -> tuple[frozenset[str], frozenset[str]]:
    text = path.read_text(encoding="utf8")
    ids = re.findall(r"\bid:\s*([a-z0-9-]+)", text)
    return frozenset(ids), frozenset(re.findall(r"\banalysis:\s*([a-z0-9-]+)", text))


@lru_cache(maxsize=2048)
def _named(text: str, names: frozenset[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return which of the names stand in a text, and how names begin that it puts together."""
    words = _tokens(text)
    return names & words, tuple(w.rstrip("{") for w in words if w.endswith("-{"))


@lru_cache(maxsize=128)
def _named_in(
    modules: tuple[str, ...], library: Library, names: frozenset[str]
) -> tuple[frozenset[str], tuple[str, ...]]:
    found = [_named(_source_of(m), names) for m in modules]
    return frozenset().union(*(f[0] for f in found)), tuple(b for f in found for b in f[1])


@lru_cache(maxsize=4)
def _one(names: frozenset[str]) -> frozenset[str]:
    """Return always the same of equal sets, which are then not compared again."""
    return names


def _tables(
    slug: str, source: str, modules: Iterable[str], meta: Mapping[str, Any], *, own_cohort: bool
) -> Iterable[str | bytes]:
    data = paths.data()
    claimed = [(f, *_claims_in(f, *_state(f))) for f in sorted((data / "claims").glob("*.yml"))]
    published = sorted((data / "published").glob("*.csv"))
    bibliography = paths.book() / "references.bib"
    references = _references(bibliography, *_state(bibliography)) if bibliography.is_file() else []
    names = _one(
        frozenset().union(
            (f.stem for f in published),
            (key for key, _ in references),
            *(ids for _, ids, _ in claimed),
        )
    )
    own, of_library = _named(source, names), _named_in(tuple(modules), _library(), names)
    words, begun = own[0] | of_library[0], own[1] + of_library[1]
    used = [
        f
        for f in sorted((data / "dictionaries").glob("*.yml"))
        if own_cohort or f.name not in OF_COHORTS
    ]
    everything = "contradictions" in modules
    if everything:
        used.append(data / "audit.yml")
    stems: set[str] = set()
    for file, ids, of in claimed:
        if everything or slug in of or ids & words or any(i.startswith(begun) for i in ids):
            used.append(file)
            stems.add(file.stem)
    for file in published:
        if file.stem in words:
            used.append(file)
            stems |= _named(_read(file, *_state(file)), names)[0]
    yield from contents([*used, *sorted(LIBRARY.glob("*.json"))])
    cited = {str(meta["source"]), *stems}
    for id in meta["data"]:
        cited.update(catalog.entry(id).citation)
    for key, entry in references:
        if key in words or key in cited:
            yield entry


@lru_cache(maxsize=4)
def _references(path: Path, mtime_ns: int, size: int) -> list[tuple[str, str]]:
    text = path.read_text(encoding="utf8")
    return [(found[1], found[0]) for found in ENTRY.finditer(text)]

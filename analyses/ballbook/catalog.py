"""The data catalogue: what each data set is, and how its files are found and checked.

`fetch` looks in the reader's mirror (``$BALLBOOK_DATA``), then in the cache, then downloads from
the public address. A mirror may hold a file packed, as its name with ``.gz``; it is unpacked into
the cache. Whatever the place, the sha256 in ``data/catalog.yml`` decides: a file that
does not match is refused, and set aside where it is ours to move.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import re
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from ballbook import paths, yaml_files
from ballbook.errors import Failure, Refusal
from ballbook.results import TIERS, Tier

log = logging.getLogger(__name__)

Place = Literal["repository", "mirror", "cache"]

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
PROBE_SECONDS = 8.0
ATTEMPTS = 3


class CatalogError(Refusal, ValueError):
    """The catalogue itself is wrong: an unknown id or name, or a malformed entry."""


class Unavailable(Failure, RuntimeError):
    """A file is not on this machine and cannot be had now; the message says how to get it."""


class WrongHash(Unavailable):
    """A file was found but its sha256 is not the catalogue's; the message says where it went."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a data set.

    Parameters
    ----------
    name : str
        Short name within the entry, for example ``patients``.
    path : str
        Path relative to the mirror; a path that starts with ``data/`` is held in the repository.
    url : str or None
        Public address; None for a file held in the repository.
    sha256 : str
        64 lower-case hexadecimal digits.
    size : int
        Bytes.
    """

    name: str
    path: str
    url: str | None
    sha256: str
    size: int

    @property
    def held(self) -> bool:
        """Whether the repository itself holds the file."""
        return self.path.startswith("data/")

    @property
    def cache_name(self) -> str:
        """Name in the cache; the hash keeps two files of one name apart."""
        return f"{self.sha256[:12]}-{PurePosixPath(self.path).name}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One data set of the catalogue.

    Parameters
    ----------
    id, title : str
        Kebab-case identifier and a reader's name.
    tier : {"published", "open", "simulated", "yours"}
        What may be concluded from it.
    citation : tuple of str
        Keys into ``book/references.bib``.
    licence, terms : str
        Licence as stated by the source, and what a user must honour besides.
    address : str
        Public page about the data.
    loader : str
        Name of the loader in `ballbook.datasets`.
    files : tuple of File
    about : str
        What is in it and its traps, for the data page.
    """

    id: str
    title: str
    tier: Tier
    citation: tuple[str, ...]
    licence: str
    terms: str
    address: str
    loader: str
    files: tuple[File, ...]
    about: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(f.size for f in self.files)

    @property
    def held(self) -> bool:
        """Whether the repository holds every file, so that nothing is ever downloaded."""
        return all(f.held for f in self.files)

    def file(self, name: str) -> File:
        """Return the file called `name`."""
        for f in self.files:
            if f.name == name:
                return f
        known = ", ".join(f.name for f in self.files)
        raise CatalogError(f"{self.id} has no file {name!r}; it has {known}")


@dataclass(frozen=True, slots=True)
class Status:
    """One row of ``ballbook data list``."""

    id: str
    title: str
    tier: Tier
    files: int
    size: int
    state: Literal["in the repository", "in the mirror", "in the cache", "to download"]
    licence: str


@dataclass(frozen=True, slots=True)
class Check:
    """One row of ``ballbook data verify``."""

    id: str
    name: str
    state: Literal["ok", "wrong", "absent"]
    path: Path | None
    expected: str
    found: str | None = None


# ---------------------------------------------------------------------------- the catalogue


def _file(entry: str, raw: dict[str, Any]) -> File:
    f = File(
        name=str(raw["name"]),
        path=str(raw["path"]),
        url=raw.get("url"),
        sha256=str(raw["sha256"]),
        size=int(raw["size"]),
    )
    where = f"data/catalog.yml: {entry}/{f.name}"
    if not re.fullmatch(r"[0-9a-f]{64}", f.sha256):
        raise CatalogError(f"{where}: sha256 is not 64 lower-case hexadecimal digits")
    parts = PurePosixPath(f.path).parts
    if f.path.startswith("/") or ".." in parts or "\\" in f.path:
        raise CatalogError(f"{where}: path {f.path!r} must stay inside the mirror")
    if f.held == bool(f.url):
        raise CatalogError(f"{where}: a file has a url exactly when the repository lacks it")
    if f.url is not None and urlsplit(f.url).scheme != "https":
        raise CatalogError(f"{where}: url must be https")
    return f


def _entry(raw: dict[str, Any]) -> Entry:
    id = str(raw.get("id", "?"))
    try:
        if raw["tier"] not in TIERS:
            raise CatalogError(f"data/catalog.yml: {id}: tier {raw['tier']!r} is none of {TIERS}")
        return Entry(
            id=id,
            title=str(raw["title"]),
            tier=cast(Tier, raw["tier"]),
            citation=tuple(raw["citation"]),
            licence=str(raw["licence"]),
            terms=str(raw["terms"]).strip(),
            address=str(raw["address"]),
            loader=str(raw["loader"]),
            files=tuple(_file(id, f) for f in raw["files"]),
            about=str(raw.get("about", "")).strip(),
        )
    except KeyError as e:
        raise CatalogError(f"data/catalog.yml: {id}: no {e.args[0]}") from None


@lru_cache(maxsize=4)
def _read(path: Path, mtime_ns: int) -> dict[str, Entry]:
    raw = yaml_files.read(path)
    found = [_entry(e) for e in raw["datasets"]]
    by_id = {e.id: e for e in found}
    if len(by_id) != len(found):
        raise CatalogError(f"{path}: an id occurs twice")
    return by_id


def _catalogue() -> dict[str, Entry]:
    path = paths.root() / paths.MARKER
    return _read(path, path.stat().st_mtime_ns)


def entries() -> list[Entry]:
    """Return every data set, in the order of ``data/catalog.yml``."""
    return list(_catalogue().values())


def entry(id: str) -> Entry:
    """Return one data set.

    Raises
    ------
    CatalogError
        For an unknown `id`, with the ids that exist.
    """
    known = _catalogue()
    if id not in known:
        raise CatalogError(f"no data set {id!r}; the catalogue has {', '.join(known)}")
    return known[id]


# ------------------------------------------------------------------------------- finding


def sha256(path: Path) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits."""
    stat = path.stat()
    return _sha256(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=512)
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@lru_cache(maxsize=4)
def _by_size(mirror: Path) -> dict[int, tuple[Path, ...]]:
    """Index a mirror by size, so that only files that could match are ever hashed."""
    found: dict[int, list[Path]] = {}
    for path in sorted(mirror.rglob("*")):
        if path.is_file():
            found.setdefault(path.stat().st_size, []).append(path)
    return {size: tuple(files) for size, files in found.items()}


def _in_mirror(f: File, wrong: list[str]) -> Path | None:
    mirror = paths.mirror()
    if mirror is None:
        return None
    if not mirror.is_dir():
        wrong.append(f"BALLBOOK_DATA names {mirror}, which is not a folder")
        return None
    direct = mirror / f.path
    if direct.is_file():
        found = sha256(direct)
        if found == f.sha256:
            return direct
        wrong.append(f"{direct} has sha256 {found}: refused, left where it is")
    for path in _by_size(mirror).get(f.size, ()):
        if path.is_file() and sha256(path) == f.sha256:
            return path
    packed = direct.with_name(f"{direct.name}.gz")
    return _unpacked(packed, f, wrong) if packed.is_file() else None


def _unpacked(packed: Path, f: File, wrong: list[str]) -> Path | None:
    """Return what a gzip file of the mirror holds, written to the cache, if it is the file."""
    target = paths.cache() / f.cache_name
    if target.is_file() and sha256(target) == f.sha256:
        return target
    try:
        with gzip.open(packed) as handle:
            content = handle.read(f.size + 1)
    except (OSError, EOFError, zlib.error) as error:
        wrong.append(f"{packed} cannot be unpacked ({error}): refused, left where it is")
        return None
    found = hashlib.sha256(content).hexdigest()
    if found != f.sha256:
        wrong.append(f"{packed} holds sha256 {found}: refused, left where it is")
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as part:
        part.write(content)
    Path(part.name).replace(target)
    return target


def _set_aside(path: Path, found: str, name: str) -> Path:
    refused = paths.cache() / "refused"
    refused.mkdir(parents=True, exist_ok=True)
    target = refused / f"{found}-{name}"
    path.replace(target)
    return target


def _in_cache(f: File, wrong: list[str]) -> Path | None:
    path = paths.cache() / f.cache_name
    if not path.is_file():
        return None
    found = sha256(path)
    if found == f.sha256:
        return path
    moved = _set_aside(path, found, PurePosixPath(f.path).name)
    wrong.append(f"the cached file has sha256 {found}: refused, moved to {moved}")
    log.warning("%s: %s", f.name, wrong[-1])
    return None


def _locate(f: File, wrong: list[str]) -> tuple[Path, Place] | None:
    if f.held:
        path = paths.root() / f.path
        if not path.is_file():
            raise Unavailable(f"{path} is part of the repository but missing: restore it with git")
        found = sha256(path)
        if found != f.sha256:
            raise WrongHash(
                f"{path} has sha256 {found}, the catalogue says {f.sha256}: restore it with git, "
                "or, if it was made anew on purpose, update data/catalog.yml"
            )
        return path, "repository"
    if path_ := _in_mirror(f, wrong):
        return path_, "mirror"
    if path_ := _in_cache(f, wrong):
        return path_, "cache"
    return None


def fetch(id: str, name: str) -> Path:
    """Return the path of a verified file, downloading it if need be.

    Parameters
    ----------
    id, name : str
        Data set and file within it, for example ``fetch("target-all-p2", "patients")``.

    Raises
    ------
    CatalogError
        For an unknown id or name.
    Unavailable
        Where the file is absent and cannot be downloaded now.
    WrongHash
        Where what was found or downloaded is not the catalogued file.
    """
    e = entry(id)
    f = e.file(name)
    wrong: list[str] = []
    found = _locate(f, wrong)
    return found[0] if found else _download(e, f, wrong)


def available(id: str, *, download: bool = False) -> bool:
    """Return whether every file of a data set can be had.

    With `download`, files that are not on this machine are downloaded first; without, nothing
    leaves the machine.
    """
    e = entry(id)
    try:
        if download:
            for f in e.files:
                fetch(id, f.name)
            return True
        return all(_locate(f, []) is not None for f in e.files)
    except Unavailable:
        return False


def hashes(id: str) -> dict[str, str]:
    """Return the sha256 of each file of a data set, by file name."""
    return {f.name: f.sha256 for f in entry(id).files}


def get(id: str) -> list[Path]:
    """Return the paths of all files of a data set, downloading what is absent."""
    return [fetch(id, f.name) for f in entry(id).files]


def status() -> list[Status]:
    """Return one row a data set, saying where its files are. Nothing is downloaded.

    A data set is as near as its farthest file.
    """
    far = ["in the repository", "in the mirror", "in the cache", "to download"]
    rows = []
    for e in entries():
        rank = 0
        for f in e.files:
            try:
                found = _locate(f, [])
            except Unavailable:
                found = None
            place = ["repository", "mirror", "cache"].index(found[1]) if found else 3
            rank = max(rank, place)
        state = cast(Any, far[rank])
        rows.append(Status(e.id, e.title, e.tier, len(e.files), e.size, state, e.licence))
    return rows


def verify(id: str | None = None) -> list[Check]:
    """Return one row a file: ok, wrong (with the hash found) or absent. Nothing is downloaded."""
    chosen = entries() if id is None else [entry(id)]
    return [_check(e, f) for e in chosen for f in e.files]


def _check(e: Entry, f: File) -> Check:
    mirror = paths.mirror()
    if f.held:
        places = [paths.root() / f.path]
    else:
        places = [paths.cache() / f.cache_name]
        if mirror is not None:
            places.insert(0, mirror / f.path)
    present = [p for p in places if p.is_file()]
    for path in present:
        if sha256(path) == f.sha256:
            return Check(e.id, f.name, "ok", path, f.sha256, f.sha256)
    if present:
        return Check(e.id, f.name, "wrong", present[0], f.sha256, sha256(present[0]))
    if not f.held and (elsewhere := _in_mirror(f, [])):
        return Check(e.id, f.name, "ok", elsewhere, f.sha256, f.sha256)
    return Check(e.id, f.name, "absent", None, f.sha256)


# --------------------------------------------------------------------------- downloading

_network_down: str | None = None


def offline() -> bool:
    """Return whether `$BALLBOOK_OFFLINE` forbids downloading."""
    return os.environ.get("BALLBOOK_OFFLINE", "").lower() not in {"", "0", "false", "no"}


def _how_to_get(e: Entry, f: File, why: str, wrong: list[str]) -> str:
    found = "".join(f"\n  found but refused: {w}" for w in wrong)
    return (
        f"{e.title} ({e.id}, file {f.name}) is not on this machine and cannot be downloaded: "
        f"{why}.{found}\n"
        f"  address  {f.url}\n"
        f"  sha256   {f.sha256}\n"
        f"  size     {f.size:,} bytes\n"
        f"Either run `ballbook data get {e.id}` with internet, or put the file into a folder as "
        f"{f.path} and set BALLBOOK_DATA to that folder."
    )


def _probe(url: str) -> str | None:
    """Return why the network cannot be reached, or None.

    Name resolution has no timeout of its own, so the attempt runs in a thread we can leave.
    """
    import requests

    outcome: list[str] = []

    def attempt() -> None:
        try:
            requests.head(url, timeout=CONNECT_SECONDS, allow_redirects=False).close()
            outcome.append("")
        except requests.ReadTimeout:
            outcome.append("")
        except requests.RequestException as e:
            outcome.append(f"no connection to {urlsplit(url).hostname} ({type(e).__name__})")

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    if not outcome:
        return f"no answer from {urlsplit(url).hostname} in {PROBE_SECONDS:.0f} s"
    return outcome[0] or None


def _attempts() -> Iterator[int]:
    for i in range(ATTEMPTS):
        if i:
            time.sleep(0.5 * 2**i)
        yield i


def _download(e: Entry, f: File, wrong: list[str]) -> Path:
    global _network_down
    if f.url is None:
        raise CatalogError(f"{e.id}/{f.name} has no address")
    if offline():
        raise Unavailable(_how_to_get(e, f, "BALLBOOK_OFFLINE is set", wrong))
    if _network_down is None:
        _network_down = _probe(f.url)
    if _network_down is not None:
        raise Unavailable(_how_to_get(e, f, _network_down, wrong))

    import pooch
    import requests

    target = paths.cache() / f.cache_name
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".part-")
    os.close(handle)
    part = Path(temporary)
    download = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(), timeout=(CONNECT_SECONDS, READ_SECONDS)
    )
    why = ""
    try:
        for _ in _attempts():
            try:
                download(f.url, str(part), None)
                break
            except requests.HTTPError as error:
                code = error.response.status_code if error.response is not None else 0
                why = f"the server answered {code}"
                if code < 500:
                    raise Unavailable(_how_to_get(e, f, why, wrong)) from None
            except requests.RequestException as error:
                why = f"the download broke off ({type(error).__name__})"
        else:
            raise Unavailable(_how_to_get(e, f, why, wrong))
        found = sha256(part)
        if found != f.sha256:
            moved = _set_aside(part, found, PurePosixPath(f.path).name)
            wrong.append(f"the download has sha256 {found}: refused, moved to {moved}")
            raise WrongHash(_how_to_get(e, f, "the address gave another file", wrong))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target

"""What becomes of a build that is killed, starved, hung or tampered with.

``python -m ballbook.faults --out data/recorded/faults`` (``make faults``) builds a small book of
simulated cohorts (`ballbook.small_book`), disturbs its builds one after the other, and looks after
each whether

- the summary told what failed, where, with the page's source;
- a reader who opened pages and results all the time (`Watcher`) ever met one that was not whole;
- the next plain ``ballbook build`` ends with exit code 0 and the same bytes as an undisturbed one
  (`content` says what of a clock is left out);
- no process, socket or hidden folder of it is left.

Linux only: processes are found by a mark in their surroundings, and a small disk is mounted where
that is allowed.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ballbook import small_book

if TYPE_CHECKING:
    import pandas as pd

MARK = "BALLBOOK_FAULT"
STARTING, PAGES, RENDERING = "starting", "pages", "rendering"
DRIVER, SERVER, WORKER, KERNEL = "driver", "server", "worker", "kernel"
# Whom a phase has; the drawing of phases and victims goes through this list again and again.
KILLS = (
    (STARTING, DRIVER), (STARTING, SERVER),
    (PAGES, DRIVER), (PAGES, SERVER), (PAGES, WORKER), (PAGES, KERNEL),
    (RENDERING, DRIVER), (RENDERING, WORKER), (PAGES, KERNEL), (PAGES, WORKER),
)  # fmt: skip
NOTHING, TOUCHED, SERVED = "nothing", "two pages touched", "two pages touched, idle server"
PAGE_TIMEOUT = 30
MEMORY_MB = 500
# The time at which a page was run and how long it took; words of it in the index of the search.
CLOCK = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ(, \d+\.\d s)?")
CLOCK_WORD = re.compile(r"\d+(t\d+)?z?")

HANGS = {
    "sleeps": "import time\ntime.sleep(100_000)",
    "ignores signals": (
        "import signal, time\n"
        "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "while True:\n    time.sleep(1)"
    ),
    "hangs in compiled code": "import ctypes\nctypes.PyDLL(None).sleep(100_000)",
    "started a process in a session of its own": (
        "import subprocess, time\n"
        "subprocess.Popen(['sleep', '100001'], start_new_session=True)\n"
        "time.sleep(100_000)"
    ),
    "forked a process that left it": (
        "import os, time\n"
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(100_002)\n"
        "    os._exit(0)\n"
        "time.sleep(100_000)"
    ),
}
# What a cell does, and a pattern of what the summary must hold.
DEATHS = {
    "leaves by os._exit": ("import os\nos._exit(3)", "died"),
    "is ended by SIGSEGV": (
        "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
        "died",
    ),
    "wants more memory than it may have": (
        "eaten = [bytearray(2**26) for _ in range(10_000)]",
        "MemoryError",
    ),
    "writes 200 MB": (
        "for _ in range(200):\n    print('x' * 2**20)",
        "MB of output|memory|stopped after",
    ),
}
THREADS = "import threading, time\nthreading.Thread(target=time.sleep, args=(100_000,)).start()"


@dataclass
class Row:
    """What became of one disturbed build.

    Attributes
    ----------
    fault, victim, phase : str
        What was done, to whom, and in which part of the build.
    start : str
        ``nothing`` was built before, so kernels are forked from a server of the build; or there was
        a book of which two pages were touched, and kernels are started, or all is forked from an
        idle server.
    moment : float
        Seconds after the phase began.
    code : int
        Exit code of the disturbed build; negative: the signal.
    said : str
        ``yes`` or ``no``: whether it said what failed and where; empty where nothing was to be
        said, because it was the driver that was killed or because nothing failed.
    reads, torn : int
        What the watcher read meanwhile, and what of it was not whole.
    whole : bool
        Whether the next plain build ended with exit code 0.
    same : bool
        Whether it left the bytes of an undisturbed build.
    left : int
        Processes, sockets and hidden folders that are left.
    seconds : float
        Of both builds.
    note : str
        What went wrong, or why the fault could not be tried.
    """

    fault: str
    victim: str = ""
    phase: str = ""
    start: str = NOTHING
    moment: float = 0.0
    code: int = 0
    said: str = ""
    reads: int = 0
    torn: int = 0
    whole: bool = False
    same: bool = False
    left: int = 0
    seconds: float = 0.0
    note: str = ""

    @property
    def sound(self) -> bool:
        """Whether everything was as it should be, as `sound` counts it."""
        return self.whole and self.same and self.said != "no" and not (self.torn or self.left)


class Book:
    """A small book, its undisturbed builds, and commands on it.

    Parameters
    ----------
    home : Path
        Where it is written.
    pages : int
    cores : int
    """

    def __init__(self, home: Path, pages: int, cores: int = 2) -> None:
        self.home, self.cores = home, cores
        self.slugs = small_book.write(home, pages)
        self.sources = {s: small_book.source_of(home, s) for s in self.slugs}
        self.texts = {s: p.read_text(encoding="utf8") for s, p in self.sources.items()}
        # Sockets and all else that is temporary, so that what is left can be counted.
        self.temporary = Path(tempfile.mkdtemp(prefix="bf-"))
        self.mark = f"{os.getpid()}-{self.temporary.name}"
        self.kept = home.with_name(f"{home.name}-whole")
        self.expected: dict[bool, dict[str, str]] = {}
        self.lengths: dict[str, float] = {}

    def close(self) -> None:
        """End what may still run, and remove the temporary folder."""
        self.end_server()
        for process in self.processes():
            process.kill()
        shutil.rmtree(self.temporary, ignore_errors=True)

    def serve(self) -> None:
        """Start a server that is idle, as an earlier build or run would have."""
        code = "from ballbook import warm; assert warm.reach()"
        subprocess.run([sys.executable, "-c", code], env=self.surroundings(), check=True)

    def end_server(self) -> None:
        """End the server that is idle, if there is one, and wait for its end."""
        import psutil

        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if is_idle(process):
                    process.terminate()
                    process.wait(10)
        for folder in self.temporary.glob("bb-warm-*"):
            shutil.rmtree(folder)

    def surroundings(self) -> dict[str, str]:
        """Return the environment of commands on this book."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BALLBOOK_")}
        given = {"BALLBOOK_HOME": str(self.home), "TMPDIR": str(self.temporary)}
        return kept | given | {MARK: self.mark}

    def undisturbed(self) -> None:
        """Build twice, as written and touched, and keep what comes of it and how long it takes."""
        import statistics

        lengths: dict[str, list[float]] = {STARTING: [], PAGES: [], RENDERING: []}
        for touched in (True, False):
            self.reset()
            self.touch(touched)
            with self.started() as build:
                for phase in lengths:
                    before = time.monotonic()
                    while self.phase() == phase and build.running():
                        time.sleep(0.005)
                    lengths[phase].append(time.monotonic() - before)
            if build.code:
                raise RuntimeError(f"an undisturbed build failed:\n{build.said()}")
            self.expected[touched] = content(self.home / "build")
        self.lengths = {phase: statistics.mean(found) for phase, found in lengths.items()}
        shutil.rmtree(self.kept, ignore_errors=True)
        shutil.copytree(self.home / "build", self.kept, symlinks=True)

    def reset(self, start: str = NOTHING) -> None:
        """Begin as a row's `start` says."""
        self.end_server()
        for left in self.temporary.iterdir():
            removed(left)
        self.touch(False)
        target = self.home / "build"
        for left in target.glob("*") if target.is_mount() else [target]:
            shutil.rmtree(left, ignore_errors=True)
        if start != NOTHING:
            shutil.copytree(self.kept, target, symlinks=True)
            shutil.rmtree(target / "log")
            self.touch(True)
        if start == SERVED:
            self.serve()

    def touch(self, touched: bool) -> None:
        """Write the pages as they were, or the first two with another default."""
        for i, (slug, source) in enumerate(self.sources.items()):
            text = self.texts[slug]
            if touched and i < 2:
                text = text.replace("ratio: float = 0.6 ", "ratio: float = 0.65 ")
            if source.read_text(encoding="utf8") != text:
                source.write_text(text, encoding="utf8")

    def insert(self, slug: str, code: str) -> None:
        """Give a page a further cell before its verdict."""
        cell = f"```{{code-cell}} python\n{code}\n```\n\n## Verdict"
        text = self.texts[slug].replace("## Verdict", cell)
        self.sources[slug].write_text(text, encoding="utf8")

    def processes(self) -> list[Any]:
        """Return the processes that carry the mark of this book."""
        import psutil

        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(MARK) == self.mark:
                    found.append(process)
        return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    def phase(self) -> str:
        """Return the part of a build that is going on, as the logs of its jobs tell."""
        logs = {p.stem for p in (self.home / "build" / "log").glob("*.log")}
        return RENDERING if "the book" in logs else PAGES if logs else STARTING

    @contextmanager
    def started(self, *arguments: str, command: str = "build", **env: str) -> Iterator[Build]:
        """Start a command, give it, and wait for its end."""
        given = ["--cores", str(self.cores)] if command == "build" else []
        build = Build(self, [command, *given, *arguments], env)
        try:
            yield build
            build.wait()
        finally:
            build.kill()

    def build(self, *arguments: str, **env: str) -> Build:
        """Run a build to its end."""
        with self.started(*arguments, **env) as build:
            pass
        return build

    def left(self, *, patience: float = 5.0) -> list[str]:
        """Return what is left of builds that have ended: processes, sockets, hidden folders."""
        hidden = [*(self.home / "build").glob(".*.partial")]
        hidden += (self.home / "build" / "runs").glob(".*.partial")
        files = [p for p in self.temporary.iterdir() if not p.name.startswith("bb-warm-")]
        return self.alive(patience=patience) + [p.name for p in [*hidden, *files]]

    def alive(self, *, patience: float) -> list[str]:
        """Return the commands of processes that do not end within some seconds.

        A server that is idle belongs to no build and leaves by itself.
        """
        import psutil

        end = time.monotonic() + patience
        while (found := [p for p in self.processes() if not is_idle(p)]) and time.monotonic() < end:
            time.sleep(0.05)
        lines = []
        for process in found:
            with contextlib.suppress(psutil.Error):
                lines.append(" ".join(process.cmdline()[:4]))
        return lines


class Build:
    """A running command of a book."""

    def __init__(self, book: Book, arguments: Sequence[str], env: dict[str, str]) -> None:
        self.log = tempfile.TemporaryFile("w+", encoding="utf8", errors="replace")  # noqa: SIM115
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ballbook", *arguments],
            env=book.surroundings() | env, cwd=book.home,
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True,
        )  # fmt: skip
        self.seconds = 0.0

    @property
    def code(self) -> int:
        """Exit code, negative for a signal."""
        return int(self.process.returncode)

    def running(self) -> bool:
        """Return whether it has not ended."""
        return self.process.poll() is None

    def wait(self) -> None:
        """Wait for its end, at most ten minutes."""
        self.process.wait(600)
        self.seconds = time.monotonic() - self.began

    def kill(self) -> None:
        """End it if it runs."""
        if self.running():
            self.process.kill()
            self.process.wait()

    def said(self) -> str:
        """Return what it printed so far."""
        self.log.seek(0)
        return self.log.read()


class Watcher(threading.Thread):
    """Opens every page of the rendered book and all results, again and again, as readers do.

    Attributes
    ----------
    reads : int
        Files read.
    torn : list of str
        What was not whole: a page without its end, a book without one of its pages, results that
        cannot be parsed or lack their end.
    """

    def __init__(self, book: Book) -> None:
        super().__init__(daemon=True)
        self.build = book.home / "build"
        self.pages = ["index.html", *(f"{small_book.CHAPTER}/{s}.html" for s in book.slugs)]
        self.slugs = book.slugs
        self.reads = 0
        self.torn: list[str] = []
        self._done = threading.Event()

    def __enter__(self) -> Watcher:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        """Read until told to stop."""
        while not self._done.wait(0.05):
            self.look()

    def look(self) -> None:
        """Read everything once."""
        for page in self.pages:
            text = self.read(self.build / "html", page)
            if text is not None and not text.rstrip().endswith("</html>"):
                self.torn.append(page)
        for slug in self.slugs:
            text = self.read(self.build / "runs" / slug, "results.json")
            if text is not None:
                try:
                    whole = "summary" in json.loads(text)
                except ValueError:
                    whole = False
                if not whole:
                    self.torn.append(f"{slug}/results.json")

    def read(self, folder: Path, name: str) -> str | None:
        """Read a file of a folder that may be replaced meanwhile; None where neither is there."""
        try:
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return None
        try:
            with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=held), encoding="utf8") as file:
                text = file.read()
        except FileNotFoundError:
            # Replaced since it was opened: then it may be on its way out.
            if folder.exists() and os.path.samestat(os.fstat(held), folder.stat()):
                return ""
            return None
        finally:
            os.close(held)
        self.reads += 1
        return text


def content(build: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of the runs and of the rendered book, by its name.

    Left out is what the clock wrote: when a page was run and how long it took (``started`` and
    ``seconds`` in ``results.json`` and ``provenance.json``, ``resources`` in the latter, the same
    in the footer of a page, and the words of that footer in the index of the search), and the
    stamps, which hold times of files.
    """
    import hashlib

    found = {}
    for root in ("runs", "html"):
        for file in sorted((build / root).rglob("*")):
            if file.is_file() and not file.name.startswith(".fresh-"):
                text = without_clock(file)
                found[str(file.relative_to(build))] = hashlib.sha256(text).hexdigest()
    return found


def without_clock(file: Path) -> bytes:
    """Return the bytes of a file without what the clock wrote; see `content`."""
    raw = file.read_bytes()
    if file.name in {"results.json", "provenance.json"}:
        try:
            found = json.loads(raw)
        except ValueError:
            return raw
        for part in (found, found.get("provenance", {})):
            part.pop("started", None)
            part.pop("seconds", None)
            part.pop("resources", None)
        return json.dumps(found).encode()
    if file.suffix in {".html", ".ipynb"}:
        return CLOCK.sub("(clock)", raw.decode()).encode()
    if file.name == "searchindex.js":
        text = raw.decode()
        index = json.loads(text[text.index("{") : text.rindex("}") + 1])
        kept = {k: v for k, v in index["terms"].items() if not CLOCK_WORD.fullmatch(k)}
        return json.dumps(index | {"terms": kept}, sort_keys=True).encode()
    return raw


def after(
    book: Book, row: Row, builds: Sequence[Build], watcher: Watcher, *, touched: bool = False
) -> Row:
    """Build again and fill in what became of a disturbed build.

    Parameters
    ----------
    book : Book
    row : Row
    builds : sequence of Build
        What was disturbed.
    watcher : Watcher
        Which goes on reading meanwhile.
    touched : bool
        Whether the sources are the touched ones.
    """
    notes = [row.note] if row.note else []
    # Processes go at once; folders may stay until the next build.
    alive = book.alive(patience=3)
    notes += [f"outlived its build: {line}" for line in alive]
    again = book.build()
    watcher.look()
    row.whole = again.code == 0
    if not row.whole:
        notes.append(again.said()[-400:])
    found, expected = content(book.home / "build"), book.expected[touched]
    row.same = found == expected
    differ = [k for k in {**found, **expected} if found.get(k) != expected.get(k)]
    notes += [f"other bytes: {', '.join(sorted(differ)[:3])}"] if differ else []
    left = book.left()
    notes += [f"left: {', '.join(left)}"] if left else []
    row.left = len(left) + len(alive)
    row.code = builds[0].code
    row.reads, row.torn = row.reads + watcher.reads, row.torn + len(watcher.torn)
    notes += [f"not whole: {', '.join(sorted(set(watcher.torn))[:3])}"] if watcher.torn else []
    row.seconds = round(sum(b.seconds for b in builds) + again.seconds, 1)
    row.note = "; ".join(notes).replace("\n", " | ")
    return row


# ---------------------------------------------------------------------------------- the faults


def kill(book: Book, phase: str, victim: str, share: float, start: str) -> Row:
    """Kill a process of a build with signal 9, at a moment of a phase.

    Parameters
    ----------
    book : Book
    phase, victim : str
    share : float
        Moment as a share of how long the phase takes undisturbed; a smaller one is tried where the
        victim is gone by then.
    start : str
        `NOTHING`, `TOUCHED` or `SERVED`.
    """
    row = Row("kill -9", victim, start=start)
    for _ in range(6):
        book.reset(start)
        with Watcher(book) as watcher:
            with book.started() as build:
                while book.phase() != phase and build.running():
                    time.sleep(0.005)
                row.moment = share * book.lengths[phase]
                time.sleep(row.moment)
                hit = None
                while hit is None and book.phase() == phase and build.running():
                    hit = find(book, build, victim)
                if hit is not None:
                    row.phase = book.phase()
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(hit, signal.SIGKILL)
            if hit is None:
                share *= 0.6
                continue
            if victim != DRIVER and build.code:
                row.said = "yes" if told(book, build, phase) else "no"
                if row.said == "no":
                    row.note = build.said()[-400:]
            row.moment = round(row.moment, 3)
            return after(book, row, [build], watcher, touched=start != NOTHING)
    row.phase, row.note = phase, f"not tried: no {victim} was met"
    return row


def find(book: Book, build: Build, victim: str) -> int | None:
    """Return the number of a process that plays a part in a build, or None."""
    if victim == DRIVER:
        return build.process.pid
    processes = book.processes()
    driver = build.process.pid
    servers, kernels, workers = set(), [], []
    import psutil

    for process in processes:
        with contextlib.suppress(psutil.Error):
            own = process.ppid() == driver and "ballbook.warm_server" in process.cmdline()
            if own or is_idle(process):
                servers.add(process.pid)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.pid in servers or process.pid == driver or drives(process):
                continue
            parent, line = process.ppid(), process.cmdline()
            if process.cwd().endswith(".partial"):
                if parent in servers or "ipykernel_launcher" in line:
                    kernels.append(process.pid)
            elif parent == driver or parent in servers:
                workers.append(process.pid)
    found = {SERVER: sorted(servers), KERNEL: kernels, WORKER: workers}[victim]
    return found[0] if found else None


def drives(process: Any) -> bool:
    """Return whether a process holds a checkout, as a server's fork does that was left a build."""
    return any(Path(f.path).name == ".building" for f in process.open_files())


def is_idle(process: Any) -> bool:
    """Return whether a process is a server that belongs to no build, and not forked from one."""
    import psutil

    try:
        line, parent = process.cmdline(), process.parent()
        return "--idle" in line and (parent is None or "--idle" not in parent.cmdline())
    except psutil.Error:
        return False


def told(book: Book, build: Build, phase: str) -> bool:
    """Return whether a build named what failed: how it ended, and the page's source."""
    said = build.said()
    names = ["the book"] if phase == RENDERING else book.slugs
    named = any(f"{n} (" in said for n in names)
    return " failed:" in said and named and bool(re.search("killed by signal|died", said))


def full_disk(book: Book, share: float) -> Row:
    """Give ``build/`` a disk that holds a share of what a build writes."""
    row = Row("disk full", f"{share:.0%} of what a build needs")
    build_folder = book.home / "build"
    book.reset()
    build_folder.mkdir()
    needed = sum(f.stat().st_size for f in book.kept.rglob("*") if f.is_file())
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={int(needed * share)}", "tmpfs", str(build_folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        row.note = f"not tried: {mounted.stderr.strip()}"
        return row
    try:
        with Watcher(book) as watcher:
            build = book.build()
            row.phase = book.phase()
            said = build.said()
            row.said = "yes" if build.code == 1 and "No space left on device" in said else "no"
            if row.said == "no" or "Traceback" in said:
                row.said, row.note = "no", said[-400:]
            roomy = f"remount,size={4 * needed}"
            subprocess.run(["mount", "-o", roomy, str(build_folder)], check=True)
            return after(book, row, [build], watcher)
    finally:
        book.reset()
        subprocess.run(["umount", str(build_folder)], check=True)
        build_folder.rmdir()


def two_builds(book: Book) -> Row:
    """Build twice at the same time: one waits, and no page is run twice."""
    row = Row("two builds at once")
    book.reset()
    with Watcher(book) as watcher:
        with book.started() as one, book.started() as other:
            pass
        said = one.said() + other.said()
        ran = [said.count(f"{slug}: run") for slug in book.slugs]
        right = one.code == other.code == 0 and set(ran) == {1} and "waiting for it" in said
        row.said, row.note = ("yes", "") if right else ("no", said[-400:])
        return after(book, row, [one, other], watcher)


def run_beside(book: Book, phase: str) -> Row:
    """Run pages into the default folder while a build is going on, one with another parameter."""
    row = Row("ballbook run during a build", "", phase)
    book.reset()
    with Watcher(book) as watcher:
        with book.started() as build:
            while book.phase() != phase and build.running():
                time.sleep(0.005)
            runs = (book.slugs[0],), (book.slugs[1], "-p", "seed=99")
            with (
                book.started(*runs[0], command="run", BALLBOOK_WARM="0") as one,
                book.started(*runs[1], command="run", BALLBOOK_WARM="0") as other,
            ):
                pass
        right = build.code == one.code == other.code == 0
        if not right:
            row.said = "no"
            row.note = (build.said() + one.said() + other.said())[-400:]
        return after(book, row, [build, one, other], watcher)


def misbehaving(
    book: Book, fault: str, faults: dict[str, tuple[str, str]], *, cold: bool = False
) -> list[Row]:
    """Build once with several bad pages, and return a row for each.

    Parameters
    ----------
    book : Book
    fault : str
    faults : dict
        Name to code of a cell and a pattern of what the summary must hold of it.
    cold : bool
        Whether kernels are started instead of forked.
    """
    book.reset()
    bad = dict(zip(book.slugs, faults, strict=False))
    for slug, name in bad.items():
        book.insert(slug, faults[name][0])
    surroundings = {"BALLBOOK_WARM": "0"} if cold else {}
    with Watcher(book) as watcher:
        build = book.build(
            "--timeout", str(PAGE_TIMEOUT), "--memory", str(MEMORY_MB), **surroundings
        )
        said = build.said()
        good = [s for s in book.slugs if s not in bad]
        built = all((book.home / "build" / "runs" / s / "results.json").is_file() for s in good)
        rows = []
        for slug, name in bad.items():
            part = of_page(said, book, slug)
            right = (
                build.code == 1
                and built
                and bool(re.search(faults[name][1], part))
                and "cell" in part
            )
            rows.append(
                Row(
                    fault, name + (", kernel not forked" if cold else ""), PAGES,
                    said="yes" if right else "no", note="" if right else part or said[-400:],
                )
            )  # fmt: skip
        book.touch(False)
        filled = after(book, Row(""), [build], watcher)
    for row in rows:
        for name in ("code", "reads", "torn", "whole", "same", "left", "seconds"):
            setattr(row, name, getattr(filled, name))
        row.note = "; ".join(x for x in (row.note.replace("\n", " | "), filled.note) if x)
    return rows


def of_page(said: str, book: Book, slug: str) -> str:
    """Return what a summary says of a page: from its name and source to the next page."""
    source = book.sources[slug].relative_to(book.home)
    found = re.search(
        rf"^  {slug} \({re.escape(str(source))}\), after .*\n((?:    .*\n?)*)", said, re.M
    )
    return found[0] if found else ""


def threads(book: Book) -> Row:
    """Build with a page that leaves a thread: it is as good as the others."""
    row = Row("a page misbehaves", "leaves a thread", PAGES)
    book.reset()
    book.insert(book.slugs[0], THREADS)
    with Watcher(book) as watcher:
        build = book.build()
        if build.code:
            row.said, row.note = "no", build.said()[-400:]
        book.touch(False)
        return after(book, row, [build], watcher)


def truncated(file: Path) -> None:
    """Leave half of a file."""
    raw = file.read_bytes()
    file.write_bytes(raw[: len(raw) // 2])


def emptied(file: Path) -> None:
    """Leave nothing in a file."""
    file.write_bytes(b"")


def garbled(file: Path) -> None:
    """Overwrite the middle of a file; its size stays."""
    raw = bytearray(file.read_bytes())
    middle = len(raw) // 2
    raw[middle - 8 : middle + 8] = b"x" * len(raw[middle - 8 : middle + 8])
    file.write_bytes(raw)


def removed(file: Path) -> None:
    """Remove a file or a folder."""
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink()


DAMAGE: tuple[tuple[str, Callable[[Path], None]], ...] = (
    ("runs/{slug}/results.json", truncated),
    ("runs/{slug}/results.json", garbled),
    ("runs/{slug}/results.json", removed),
    ("runs/{slug}/.fresh-*.json", emptied),
    ("runs/{slug}/notebook.ipynb", truncated),
    ("runs/{slug}/figures/survival.svg", removed),
    ("html/index.html", truncated),
    ("html/small/{slug}.html", garbled),
    ("html/runs/{slug}/results.json", truncated),
    (".fresh-*.json", emptied),
    ("parts/page-{slug}/source/small/{slug}.ipynb", truncated),
    ("jupyter-book/rendered.json", garbled),
    ("jupyter-book/_build/html/small/{slug}.html", truncated),
    ("jupyter-book/_build/.doctrees/environment.pickle", truncated),
)


def damage(book: Book, name: str, how: Callable[[Path], None]) -> Row:
    """Damage a file of a finished build by hand, and build again."""
    slug = book.slugs[-1]
    row = Row("damaged by hand", f"{name.format(slug='PAGE')} {how.__name__}", start="a whole book")
    book.reset()
    shutil.copytree(book.kept, book.home / "build", symlinks=True)
    # What is kept between renderings is used again only when something changed.
    touched = name.startswith(("parts/", "jupyter-book/"))
    book.touch(touched)
    if touched:
        row.start = TOUCHED
    (file,) = (book.home / "build").glob(name.format(slug=slug))
    how(file)
    before = time.monotonic()
    again = book.build()
    row.whole, row.code = again.code == 0, again.code
    if again.code:
        row.said, row.note = "no", again.said()[-400:]
    found, expected = content(book.home / "build"), book.expected[touched]
    row.same = found == expected
    if not row.same:
        differ = sorted(k for k in {**found, **expected} if found.get(k) != expected.get(k))
        row.note += f"other bytes: {', '.join(differ[:3])}"
    row.left = len(book.left())
    row.seconds = round(time.monotonic() - before, 1)
    return row


# --------------------------------------------------------------------------------- the record


def every(book: Book, *, kills: int, seed: int) -> Iterator[Callable[[], Row | list[Row]]]:
    """Yield all faults, to be tried one after the other."""
    draw = random.Random(seed)
    for name, how in DAMAGE:
        yield partial(damage, book, name, how)
    hangs = {name: (code, "stopped after") for name, code in HANGS.items()}
    for fault, faults in (("a page hangs", hangs), ("a page misbehaves", DEATHS)):
        for cold in (False, True):
            # One page at least is as it should be.
            for some in batched(faults.items(), len(book.slugs) - 1):
                yield partial(misbehaving, book, fault, dict(some), cold=cold)
    yield partial(threads, book)
    yield partial(two_builds, book)
    for phase in (PAGES, RENDERING):
        yield partial(run_beside, book, phase)
    for share in (0.02, 0.1, 0.4, 0.8):
        yield partial(full_disk, book, share)
    for i in range(kills):
        phase, victim = KILLS[i % len(KILLS)]
        # Two pages that were touched have no server of their own.
        starts = [NOTHING, SERVED] if victim == SERVER else [NOTHING, TOUCHED, SERVED]
        start = NOTHING if (phase, victim) == (STARTING, SERVER) else draw.choice(starts)
        yield partial(kill, book, phase, victim, draw.random(), start)


def sound(frame: pd.DataFrame) -> pd.Series[bool]:
    """Return for rows of the log whether everything was as it should be."""
    right = frame["whole"].astype(bool) & frame["same"].astype(bool) & (frame["said"] != "no")
    return right & (frame["torn"] == 0) & (frame["left"] == 0)


def counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows of the log counted by fault, phase and victim, in words for the book."""
    import pandas as pd

    rows = []
    for (fault, victim, phase), part in frame.groupby(["fault", "victim", "phase"], sort=False):
        named = part["said"][part["said"] != ""]
        rows.append(
            {
                "Fault": fault,
                "To": victim,
                "Phase": phase,
                "Builds": len(part),
                "Next build whole": int(part["whole"].sum()),
                "Same bytes": int(part["same"].sum()),
                "Summary right": f"{(named == 'yes').sum()} of {len(named)}" if len(named) else "",
                "Not whole to a reader": int(part["torn"].sum()),
                "Left over": int(part["left"].sum()),
                "Seconds, median": f"{part['seconds'].median():.0f}",
            }
        )
    return pd.DataFrame(rows)


def batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield the items in lists of at most so many."""
    left = list(items)
    while left:
        yield left[:size]
        left = left[size:]


def write(rows: Sequence[Row], file: Path) -> None:
    """Write the log: one row a disturbed build."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf8", newline="") as handle:
        table = csv.DictWriter(handle, [f.name for f in fields(Row)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in rows)


def main() -> None:
    """Try all faults and write the log."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="Folder for faults.csv, about.json")
    parser.add_argument("--pages", type=int, default=4)
    parser.add_argument("--kills", type=int, default=50, help="Builds that are killed.")
    parser.add_argument("--seed", type=int, default=20260219, help="Of the moments.")
    parser.add_argument("--share", default="0/1", help="Every nth fault: 1/3 is the second of 3.")
    parser.add_argument("--only", default="", help="Only faults whose name holds this.")
    given = parser.parse_args()
    # Whatever ends it, what it started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    rows: list[Row] = []
    before = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bb-") as folder:
        book = Book(Path(folder) / "book", given.pages)
        try:
            book.undisturbed()
            which, of = (int(x) for x in given.share.split("/"))
            for i, trial in enumerate(every(book, kills=given.kills, seed=given.seed)):
                if given.only not in str(trial) or i % of != which:
                    continue
                found = trial()
                for row in found if isinstance(found, list) else [found]:
                    rows.append(row)
                    print(
                        "ok " if row.sound else "BAD",
                        ", ".join(str(v) for v in asdict(row).values()),
                        flush=True,
                    )
                write(rows, given.out / "faults.csv")
        finally:
            book.close()
    about = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "pages": given.pages,
        "seed": given.seed,
        "timeout": PAGE_TIMEOUT,
        "memory": MEMORY_MB,
        "seconds": round(time.monotonic() - before),
    }
    text = json.dumps(about, indent=2) + "\n"
    (given.out / "about.json").write_text(text, encoding="utf8")


if __name__ == "__main__":
    main()

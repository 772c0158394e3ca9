"""How long the engine takes, as ratios measured in one run on one machine.

``python -m ballbook.bench --out data/recorded/bench`` (``make bench``) builds small books of
simulated cohorts (`ballbook.small_book`): cold, with one notebook touched, with nothing changed, by
Jupyter Book's own executor, by papermill in sequence, and by ``ballbook build``; and one notebook
over many parameter sets. Everything is a process from its start to its end, by the clock on the
wall. All tasks that a target is judged by are done once, then all again, so that what else the
machine does falls on all of them; the load before each is recorded. The run stops when the
engines' numbers disagree.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ballbook import small_book
from ballbook.warm_server import COMING

if TYPE_CHECKING:
    import pandas as pd

BOOK, PAPERMILL, OURS = "jupyter-book", "papermill", "ballbook"
COLUMNS = (
    "task", "engine", "cores", "pages", "patients", "sets", "repeat", "seconds", "cpu", "load",
)  # fmt: skip
PATIENTS = 300
PACKAGES = ("jupyter-book", "sphinx", "papermill", "nbclient", "ipykernel", "numpy", "matplotlib")
# One thread each, for all engines alike: several kernels share the cores.
THREADS = {f"{lib}_NUM_THREADS": "1" for lib in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
# Settings of ours, and one that makes Python compile our library again in every process.
NOT_TAKEN = ("BALLBOOK_", "PYTHONDONTWRITEBYTECODE")
# One process for all notebooks: to start papermill's command for each would take longer.
IN_SEQUENCE = """
import logging, sys
from pathlib import Path
import jupytext, papermill
logging.getLogger("papermill").setLevel(logging.ERROR)
for file in sorted(Path(sys.argv[1]).glob("*.md")):
    papermill.execute_notebook(
        jupytext.read(file), str(file.with_suffix(".ipynb")), kernel_name="python3",
        progress_bar=False,
    )
    file.unlink()
"""
SETS = """
import json, logging, os, sys
from pathlib import Path
import jupytext, papermill
logging.getLogger("papermill").setLevel(logging.ERROR)
notebook, out = jupytext.read(sys.argv[1]), Path(sys.argv[2])
for i, given in enumerate(json.loads(sys.argv[3])):
    (out / str(i)).mkdir(parents=True)
    os.environ["BALLBOOK_OUT"] = str(out / str(i))
    papermill.execute_notebook(
        notebook, str(out / str(i) / "notebook.ipynb"), parameters=given, kernel_name="python3",
        progress_bar=False,
    )
"""


class Disagreement(RuntimeError):
    """A build failed or found other numbers than the build it is compared with."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Attributes
    ----------
    pages : tuple of int
        Sizes of the books that ours builds cold with two cores.
    alone : tuple of int
        Sizes that it builds with one core.
    theirs : tuple of int
        Sizes that Jupyter Book's executor builds.
    sequence : tuple of int
        Sizes that papermill runs in sequence.
    judged : tuple of int
        Sizes at which a notebook is touched. The first is the one that engines are compared at.
    patients : tuple of int
        Patients in the one notebook of a book.
    sets : int
        Parameter sets of the sweep.
    share : int
        How many of them papermill runs in each repeat, others each time.
    repeats : int
        How often each that a target is judged by is done.
    """

    pages: tuple[int, ...] = (1, 2, 4, 8, 12, 16, 32, 64)
    alone: tuple[int, ...] = (1, 4, 12, 64)
    theirs: tuple[int, ...] = (1, 4, 12, 16)
    sequence: tuple[int, ...] = (12,)
    judged: tuple[int, ...] = (12, 64)
    patients: tuple[int, ...] = (100, 1_000, 10_000, 100_000, 1_000_000)
    sets: int = 100
    share: int = 12
    repeats: int = 5


QUICK = Plan(
    pages=(1,), alone=(), theirs=(1,), sequence=(), judged=(1,), patients=(), sets=2, share=1,
    repeats=1,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """A ratio that the engine should reach: ours over what it is compared with.

    Attributes
    ----------
    task : str
        In words.
    against : str
        What it is compared with, in words.
    most : float
        The largest ratio that meets the target.
    ratio, low, high : float
        Of the medians; the smallest and the largest of a repeat.
    """

    task: str
    against: str
    most: float
    ratio: float
    low: float
    high: float

    @property
    def met(self) -> bool:
        """Whether the ratio of the medians is small enough."""
        return self.ratio <= self.most


@dataclass
class Bench:
    """Runs processes, times them, and keeps what it measured in `rows`."""

    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    found: dict[tuple[int, int], Any] = field(default_factory=dict)

    def book(self, pages: int, patients: int = PATIENTS) -> Path:
        """Return a small book of that size, written once."""
        home = self.folder / f"{pages}-{patients}"
        if not home.exists():
            small_book.write(home, pages, patients=patients)
        return home

    def timed(
        self, command: Sequence[str], home: Path, *, temporary: Path | None = None, **row: Any
    ) -> None:
        """Run a command for the book at `home` and keep how long it took.

        Parameters
        ----------
        command : sequence of str
        home : Path
        temporary : Path, optional
            Folder for its temporary files, where it finds the server that an earlier command left;
            one of its own when not given.
        **row
            What the row tells beside the times.

        Raises
        ------
        Disagreement
            With the last lines, where it failed.
        """
        kept = {k: v for k, v in os.environ.items() if not k.startswith(NOT_TAKEN)}
        load = os.getloadavg()[0]
        with short_folder() as own, log_file() as log:
            env = kept | THREADS | {"BALLBOOK_HOME": str(home), "TMPDIR": str(temporary or own)}
            before = time.perf_counter()
            process = subprocess.Popen(
                command, env=env, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - before
            process.returncode = os.waitstatus_to_exitcode(status)
            # What gets ready for the next build is not to slow the next task.
            wait_for_server(temporary or own)
            log.seek(0)
            said = log.read()
        if process.returncode:
            raise Disagreement(f"{' '.join(command)} failed:\n{said[-3000:]}")
        measured = {
            "cores": 1, "patients": PATIENTS, "sets": None, **row, "seconds": round(seconds, 3),
            "cpu": round(used.ru_utime + used.ru_stime, 3), "load": round(load, 2),
        }  # fmt: skip
        self.rows.append({name: measured[name] for name in COLUMNS})
        told = ", ".join(f"{k} {v}" for k, v in self.rows[-1].items() if v is not None)
        print(told, flush=True)

    def agree(self, key: tuple[int, int], runs: Path, pages: int) -> None:
        """Stop where a build holds other estimates than the builds before it.

        Raises
        ------
        Disagreement
        """
        slugs = [small_book.slug_of(i) for i in range(1, pages + 1)]
        found = {slug: estimates(runs / slug) for slug in slugs}
        if self.found.setdefault(key, found) != found:
            raise Disagreement(f"{runs}: other estimates than in the builds before")

    # the tasks

    def ours_cold(
        self,
        pages: int,
        cores: int,
        repeat: int,
        patients: int = PATIENTS,
        temporary: Path | None = None,
    ) -> Path:
        """Build a book with ``ballbook build`` where nothing was built."""
        home = self.book(pages, patients)
        shutil.rmtree(home / "build", ignore_errors=True)
        self.timed(
            build_command(cores), home, temporary=temporary, task="cold", engine=OURS,
            cores=cores, pages=pages, patients=patients, repeat=repeat,
        )  # fmt: skip
        rendered(home / "build" / "html", pages)
        self.agree((pages, patients), home / "build" / "runs", pages)
        return home

    def ours_again(self, pages: int, repeat: int) -> None:
        """Build with one notebook touched, and with nothing changed; two cores.

        The server that the cold build left is up, and is not found by one build of these.
        """
        with short_folder() as temporary:
            home = self.ours_cold(pages, 2, repeat, temporary=temporary)
            source = small_book.source_of(home, small_book.slug_of((pages + 1) // 2))
            text = source.read_text(encoding="utf8")
            runs = home / "build" / "runs"
            tasks = (("touched", 0.65), ("touched, no server", 0.7), ("unchanged", 0.7))
            try:
                for task, ratio in tasks:
                    touched = text.replace("ratio: float = 0.6 ", f"ratio: float = {ratio} ")
                    source.write_text(touched, encoding="utf8")
                    before = written(runs)
                    self.timed(
                        build_command(2), home, task=task, engine=OURS, cores=2, pages=pages,
                        temporary=None if "no server" in task else temporary, repeat=repeat,
                    )  # fmt: skip
                    ran = {k for k, v in written(runs).items() if before.get(k) != v}
                    if len(ran) != (task != "unchanged"):
                        raise Disagreement(f"{task}: {len(ran)} pages were run")
                    rendered(home / "build" / "html", pages)
            finally:
                source.write_text(text, encoding="utf8")

    def theirs_cold(self, pages: int, repeat: int) -> None:
        """Build the same source with Jupyter Book's own executor."""
        home, source = self.plain(pages, "force")
        self.timed(book_command(source), home, task="cold", engine=BOOK, pages=pages, repeat=repeat)
        rendered(source.parent / "_build" / "html", pages)
        self.agree((pages, PATIENTS), home / "build" / "interactive", pages)

    def papermill_cold(self, pages: int, repeat: int) -> None:
        """Run the same notebooks by papermill, one after the other, and render them."""
        home, source = self.plain(pages, "off")
        chapter = source / small_book.CHAPTER
        command = [sys.executable, "-c", f"{IN_SEQUENCE}\nimport subprocess\n"
                   "raise SystemExit(subprocess.call(sys.argv[2:]))",
                   str(chapter), *book_command(source)]  # fmt: skip
        self.timed(command, home, task="cold", engine=PAPERMILL, pages=pages, repeat=repeat)
        rendered(source.parent / "_build" / "html", pages)
        self.agree((pages, PATIENTS), home / "build" / "interactive", pages)

    def plain(self, pages: int, execute: str) -> tuple[Path, Path]:
        """Return a book that was never built, and its staged source with text notebooks."""
        home = self.book(pages)
        kept = self.folder / f"source-{pages}"
        if not kept.exists():
            if not (home / "build" / "source").is_dir():
                raise Disagreement(f"{home} was not built by ours before")
            shutil.copytree(home / "build" / "source", kept)
            for i in range(1, pages + 1):
                slug = small_book.slug_of(i)
                (kept / small_book.CHAPTER / f"{slug}.ipynb").unlink()
                shutil.copy2(small_book.source_of(home, slug), kept / small_book.CHAPTER)
        shutil.rmtree(home / "build", ignore_errors=True)
        work = self.folder / f"plain-{pages}"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(kept, work / "source")
        config = work / "source" / "_config.yml"
        text = config.read_text(encoding="utf8")
        wanted = f"execute_notebooks: {execute!r}\n  timeout: 600"
        config.write_text(text.replace('execute_notebooks: "off"', wanted), encoding="utf8")
        return home, work / "source"

    def sweep(self, sets: int, shares: Sequence[Sequence[int]], repeat: int) -> None:
        """Run one notebook with many seeds by ours, and with a share of them by papermill."""
        share = list(shares[repeat])
        home, slug = self.book(1), small_book.slug_of(1)
        shutil.rmtree(home / "build", ignore_errors=True)
        out = self.folder / f"sweep-{repeat}"
        found: dict[str, dict[int, Any]] = {}
        for task, seeds, more in (
            ("sweep", list(range(1, sets + 1)), []),
            ("sweep with reports", share, ["--reports"]),
        ):
            grid = self.folder / "grid.yml"
            grid.write_text(f"seeds: {seeds}\n", encoding="utf8")
            command = [sys.executable, "-m", "ballbook.cli", "sweep", slug, str(grid), *more]
            self.timed(
                [*command, "--out", str(out / task.replace(" ", "-"))], home, task=task,
                engine=OURS, cores=os.cpu_count(), pages=1, sets=len(seeds), repeat=repeat,
            )  # fmt: skip
            found[task] = swept(out / task.replace(" ", "-"))
        given = json.dumps([{"seed": seed} for seed in share])
        source = str(small_book.source_of(home, slug))
        self.timed(
            [sys.executable, "-c", SETS, source, str(out / PAPERMILL), given], home, task="sweep",
            engine=PAPERMILL, pages=1, sets=len(share), repeat=repeat,
        )  # fmt: skip
        theirs = {seed: estimates(out / PAPERMILL / str(i)) for i, seed in enumerate(share)}
        same = found["sweep with reports"] == theirs
        if len(found["sweep"]) != sets or not same or not theirs.items() <= found["sweep"].items():
            raise Disagreement("the sweep holds other estimates than papermill's runs")


def build_command(cores: int) -> list[str]:
    """Return the command of our build."""
    return [sys.executable, "-m", "ballbook", "build", "--cores", str(cores)]


def book_command(source: Path) -> list[str]:
    """Return the command of Jupyter Book's build."""
    program = Path(sys.executable).parent / "jupyter-book"
    return [str(program), "build", str(source), "--path-output", str(source.parent), "--quiet"]


@contextmanager
def short_folder() -> Iterator[Path]:
    """Give a temporary folder whose path leaves room for the name of a socket."""
    with tempfile.TemporaryDirectory(prefix="bb-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def wait_for_server(temporary: Path, seconds: float = 60) -> None:
    """Wait until the server that a build left to start by itself is up, if it left one."""
    end = time.monotonic() + seconds
    pattern = f"bb-warm-*/*{COMING.format('*')}"
    while any(temporary.glob(pattern)) and time.monotonic() < end:
        time.sleep(0.05)


@contextmanager
def log_file() -> Iterator[Any]:
    """Give a file for what a process prints, which a pipe would stop when nobody reads it."""
    with tempfile.TemporaryFile("w+", encoding="utf8", errors="replace") as file:
        yield file


def estimates(run: Path) -> dict[str, Any]:
    """Return the values of a run's estimates by id."""
    results = json.loads((run / "results.json").read_text(encoding="utf8"))
    return {e["id"]: e["value"] for e in results["estimates"]}


def swept(folder: Path) -> dict[int, dict[str, Any]]:
    """Return the values of a sweep's estimates, by seed and id."""
    import pandas as pd

    # To the last digit, which the quicker way of reading loses.
    frame = pd.read_csv(folder / "estimates.csv", float_precision="round_trip")
    found: dict[int, dict[str, Any]] = {}
    for seed, id, value in zip(frame["seed"], frame["id"], frame["value"], strict=True):
        found.setdefault(int(seed), {})[str(id)] = float(value)
    return found


def written(runs: Path) -> dict[str, int]:
    """Return when the results of each page were written."""
    return {f.parent.name: f.stat().st_mtime_ns for f in runs.glob("*/results.json")}


def rendered(html: Path, pages: int) -> None:
    """Stop where a page of the book is missing or lacks its figure.

    Raises
    ------
    Disagreement
    """
    for i in range(1, pages + 1):
        page = html / small_book.CHAPTER / f"{small_book.slug_of(i)}.html"
        if not page.is_file() or 'class="bb-figure"' not in page.read_text(encoding="utf8"):
            raise Disagreement(f"{page.name} is not whole")


def measure(plan: Plan, folder: Path) -> pd.DataFrame:
    """Measure everything and return one row a process, columns as `COLUMNS`."""
    import pandas as pd

    bench = Bench(folder)
    # What a target is judged by is done in each repeat; what only draws a curve, in the first.
    judged: list[Callable[[int], Any]] = []
    drawn: list[Callable[[int], Any]] = []
    for n in sorted({*plan.pages, *plan.alone, *plan.theirs, *plan.sequence, *plan.judged}):
        first = judged if n == plan.judged[0] else drawn
        # The staged source of a size comes from our build of it, which therefore is the first.
        if n in plan.judged:
            judged.append(partial(bench.ours_again, n))
        else:
            drawn.append(partial(bench.ours_cold, n, 2))
        if n in plan.theirs:
            first.append(partial(bench.theirs_cold, n))
        if n in plan.sequence:
            first.append(partial(bench.papermill_cold, n))
        if n in plan.alone:
            first.append(partial(bench.ours_cold, n, 1))
    drawn += [partial(bench.ours_cold, 1, 1, patients=m) for m in plan.patients]
    seeds = list(range(1, plan.sets + 1))
    shares = [seeds[r :: plan.repeats][: plan.share] for r in range(plan.repeats)]
    judged.append(partial(bench.sweep, plan.sets, shares))
    if plan.repeats > 1:
        # What is read for the first time is slow for reasons that are nobody's: not measured.
        Bench(folder / "before").ours_cold(1, 2, 0)
    for repeat in range(plan.repeats):
        for task in (*judged, *(() if repeat else drawn)):
            task(repeat)
    return pd.DataFrame(bench.rows, columns=list(COLUMNS))


# --- what was measured ------------------------------------------------------------------------


def times(frame: pd.DataFrame, **wanted: Any) -> dict[int, float]:
    """Return the seconds of a task by repeat; of a sweep, seconds a parameter set."""
    rows = frame
    for name, value in wanted.items():
        rows = rows[rows[name] == value]
    seconds = rows["seconds"] / rows["sets"].astype(float).fillna(1)
    return {int(r): float(s) for r, s in zip(rows["repeat"], seconds, strict=True)}


def median(values: Mapping[int, float]) -> float:
    """Return the median of a task's repeats."""
    import statistics

    return statistics.median(values.values())


def target(
    task: str, against: str, most: float, ours: Mapping[int, float], theirs: Mapping[int, float]
) -> Target:
    """Return a target from the times of two tasks by repeat."""
    each = [ours[r] / theirs[r] for r in ours if r in theirs]
    return Target(task, against, most, median(ours) / median(theirs), min(each), max(each))


def targets(frame: pd.DataFrame) -> list[Target]:
    """Return the targets with what was measured, from rows as `measure` returns them."""
    here = frame[frame["patients"] == PATIENTS]
    touched = sorted(int(n) for n in here.loc[here["task"] == "touched", "pages"].unique())
    first = touched[0]
    cold = {n: times(here, task="cold", engine=OURS, cores=2, pages=n) for n in touched}
    alone = times(here, task="cold", engine=OURS, cores=1, pages=first)
    size = notebooks(first)
    found = []
    for engine, against in ((BOOK, "Jupyter Book's executor"), (PAPERMILL, "papermill, rendered")):
        theirs = times(here, task="cold", engine=engine, pages=first)
        for cores, ours in (("two cores", cold[first]), ("one core", alone)):
            if ours and theirs:
                found.append(target(f"Cold build of {size}, {cores}", against, 1 / 4, ours, theirs))
    for n in touched:
        for task, words, most in (
            ("touched", "One notebook of {} touched", 1 / 8),
            ("touched, no server", "One notebook of {} touched, no server left", 1 / 8),
            ("unchanged", "Nothing changed in {}", 1 / 20),
        ):
            again = times(here, task=task, engine=OURS, pages=n)
            found.append(target(words.format(n), "our cold build of them", most, again, cold[n]))
    theirs = times(here, task="sweep", engine=PAPERMILL)
    sets = int(here.loc[(here["task"] == "sweep") & (here["engine"] == OURS), "sets"].iloc[0])
    for task, words in (
        ("sweep", f"{sets} parameter sets, numbers and one comparison"),
        ("sweep with reports", "A parameter set with its figures and report"),
    ):
        mine = times(here, task=task, engine=OURS)
        found.append(
            target(words, "as many runs of papermill (seconds a run)", 1 / 15, mine, theirs)
        )
    return found


def notebooks(n: int) -> str:
    """Return a number of notebooks in words."""
    return f"{n} notebook{'' if n == 1 else 's'}"


NAMES = {BOOK: "Jupyter Book's executor", PAPERMILL: "papermill in sequence", OURS: "ballbook"}
CURVES = (
    (NAMES[BOOK], {"engine": BOOK, "task": "cold"}),
    ("ballbook, one core", {"engine": OURS, "task": "cold", "cores": 1}),
    ("ballbook, two cores", {"engine": OURS, "task": "cold", "cores": 2}),
)


def curves(frame: pd.DataFrame) -> dict[str, dict[int, float]]:
    """Return median seconds of cold builds by number of notebooks, for each engine."""
    here = frame[(frame["patients"] == PATIENTS)]
    found: dict[str, dict[int, float]] = {}
    for label, wanted in CURVES:
        sizes = sorted({int(n) for n in here["pages"]})
        known = {n: times(here, pages=n, **wanted) for n in sizes}
        found[label] = {n: median(t) for n, t in known.items() if t}
    return found


def by_patients(frame: pd.DataFrame) -> dict[int, float]:
    """Return median seconds of a cold build of one notebook by its patients."""
    sizes = sorted({int(m) for m in frame["patients"]})
    known = {m: times(frame, task="cold", engine=OURS, cores=1, pages=1, patients=m) for m in sizes}
    return {m: median(t) for m, t in known.items() if t}


def medians(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row a task with its median seconds, the shortest and the longest repeat."""
    import pandas as pd

    keys = ["task", "engine", "cores", "pages", "patients"]
    rows = []
    for key, mine in frame.groupby(keys, sort=False):
        given = dict(zip(keys, key, strict=True))
        sets = mine["sets"].astype(float)
        each = (mine["seconds"] / sets.fillna(1)).round(3)
        swept = sets.notna().all()
        rows.append(
            {
                "Task": f"{given['task']}, a parameter set" if swept else given["task"],
                "Engine": NAMES[str(given["engine"])],
                "Cores": given["cores"],
                "Notebooks": given["pages"],
                "Patients": given["patients"],
                "Seconds": round(float(each.median()), 3),
                "Shortest": float(each.min()),
                "Longest": float(each.max()),
                "Repeats": len(mine),
            }
        )
    return pd.DataFrame(rows)


def draw(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the growth curves as figures, by name."""
    from ballbook import figures

    with figures.style():
        colours = (figures.C.grey, figures.C.orange, figures.C.blue)
        pages, ax = figures.panels(size=(6.4, 3.8))
        for colour, (label, line) in zip(colours, curves(frame).items(), strict=True):
            # The line that ends first has its name on the free side.
            _line(ax, line, colour, label, left=label == NAMES[BOOK])
        ax.set(xscale="log", yscale="log", xlabel="Notebooks", ylabel="Seconds, cold build")
        sizes = sorted({n for line in curves(frame).values() for n in line})
        ax.set_xticks(sizes, [str(n) for n in sizes])
        _plain(ax)
        found = {"pages": pages}
        if len(line := by_patients(frame)) > 1:
            patients, ax = figures.panels(size=(6.4, 3.2))
            _line(ax, line, figures.C.blue, "")
            ax.set(xscale="log", xlabel="Patients in the notebook", ylabel="Seconds, cold build")
            ax.set_ylim(0, None)
            ax.set_xticks(list(line), [f"{m:,}" for m in line])
            ax.set_xticks([], minor=True)
            found["patients"] = patients
    return found


def _line(
    ax: Any, line: Mapping[int, float], colour: str, label: str, *, left: bool = False
) -> None:
    if not line:
        return
    ax.plot(list(line), list(line.values()), marker="o", markersize=4, color=colour)
    last = max(line)
    ax.annotate(
        label, (last, line[last]), xytext=(-8 if left else 8, 0), textcoords="offset points",
        color=colour, ha="right" if left else "left", va="center", annotation_clip=False,
    )  # fmt: skip


def _plain(ax: Any) -> None:
    """Write the ticks of a logarithmic axis of seconds as plain numbers."""
    low, high = ax.get_ylim()
    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500) if low <= t <= high]
    ax.set_yticks(ticks, [str(t) for t in ticks])
    ax.set_xticks([], minor=True)
    ax.set_yticks([], minor=True)


def machine() -> dict[str, Any]:
    """Return what the numbers were measured on and with."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "versions": {
            "Python": platform.python_version(), **{name: version(name) for name in PACKAGES}
        },
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the record")
    parser.add_argument("--quick", action="store_true", help="one notebook, once: a test")
    given = parser.parse_args(arguments)
    plan = QUICK if given.quick else Plan()
    before = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="bb-bench-") as folder:
        frame = measure(plan, Path(folder))
    seconds = time.perf_counter() - before
    from ballbook import figures

    given.out.mkdir(parents=True, exist_ok=True)
    frame.to_csv(given.out / "bench.csv", index=False)
    for name, figure in draw(frame).items():
        drawing = figures.svg(figure, f"bench-{name}")
        (given.out / f"bench-{name}.svg").write_text(drawing, encoding="utf8")
    about = machine() | {"repeats": plan.repeats, "seconds": round(seconds)}
    text = json.dumps(about, indent=2) + "\n"
    (given.out / "about.json").write_text(text, encoding="utf8")
    for t in targets(frame):
        told = "met" if t.met else "not met"
        print(
            f"{t.task} / {t.against}: {t.ratio:.3f} ({t.low:.3f} to {t.high:.3f}), "
            f"at most {t.most:.3f}: {told}"
        )


if __name__ == "__main__":
    main()

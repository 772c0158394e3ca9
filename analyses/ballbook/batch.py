"""Many parameter sets of one notebook, run from one process that has everything loaded.

A batch is forked from the warm server, or started cold. It reads a job from standard input,
imports what the notebook imports, holds the open data it names, and forks a process for each point.
There the code cells run in an IPython shell, with the parameters put where papermill puts them. No
kernel is started, nothing is sent to one, and no figure is drawn; what a point changes in memory
goes with its process. The numbers are those of `ballbook.run`, byte for byte.

*Protocol.* Standard input: one JSON object (see `Work`). Standard output: a line of JSON a point as
it ends: ``run``, ``failed``, ``said`` (why it failed) and ``seconds``.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from ballbook.analyses import Analysis

# Data sets up to this size are read once and held; larger ones each point reads as it needs them.
HELD_BYTES = 50_000_000
TICK = 0.5
# How often a batch that died is started again without a point having ended in between.
TRIES = 3


@dataclass(frozen=True, slots=True)
class Task:
    """One point of a sweep, ready to run.

    Parameters
    ----------
    run : int
        Number of the point, which names its folder.
    values : dict
        All parameters, converted.
    column_map : str or None
    fingerprint : dict
        Parts of the fingerprint that the folder is stamped with.
    """

    run: int
    values: dict[str, Any]
    column_map: str | None
    fingerprint: dict[str, str]


@dataclass(frozen=True, slots=True)
class Work:
    """What a batch is asked to do.

    Parameters
    ----------
    slug : str
        Name of the analysis.
    out : str
        Folder of the sweep.
    tasks : list of Task
    workers : int
        Points run at once.
    timeout : float
        Seconds after which a point is ended with everything it started.
    reports : bool
        Make each point a full run with figures and report.
    """

    slug: str
    out: str
    tasks: list[Task]
    workers: int
    timeout: float
    reports: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """How a point ended; `said` is why it failed, with the last lines."""

    run: int
    failed: bool
    said: str
    seconds: float


class CellFailed(RuntimeError):
    """A cell raised; the message is that of a failed run."""


def folder_of(out: Path, run: int) -> Path:
    """Return the folder of a point."""
    return out / f"{run:03d}"


# ------------------------------------------------------------------------------- one point


def run_point(slug: str, out: str, task: Task, reports: bool) -> str:
    """Run one point in this process, which is given up afterwards.

    Returns
    -------
    str
        Nothing to be said.

    Raises
    ------
    Failure
        The notebook raised, or broke the contract of its results.
    """
    import numpy as np

    from ballbook.errors import Failure

    # Forks would all go on from one state of the global generator; Python reseeds its own.
    np.random.seed(None)  # noqa: NPY002
    try:
        if reports:
            _full(slug, folder_of(Path(out), task.run), task)
        else:
            _numbers(slug, folder_of(Path(out), task.run), task)
    except CellFailed as error:
        raise Failure(str(error)) from None
    return ""


def _full(slug: str, target: Path, task: Task) -> None:
    """Make a run with its report."""
    from ballbook import run
    from ballbook.freshness import Fingerprint

    run.run(slug, parameters=task.values, out=target, column_map=task.column_map)
    Fingerprint(task.fingerprint).stamp(target)


def _numbers(slug: str, target: Path, task: Task) -> None:
    """Make a run with its results, provenance and tables."""
    from ballbook import placing, run
    from ballbook.analyses import find
    from ballbook.freshness import Fingerprint

    with placing.hidden(target) as work, contextlib.chdir(work):
        os.environ.update(
            BALLBOOK_OUT=str(work),
            BALLBOOK_MAP=task.column_map or "",
            BALLBOOK_FIGURES="0",
            MPLBACKEND="agg",
        )
        execute(find(slug), task.values)
        if not (work / "results.json").is_file():
            raise run.RunFailed(f"{slug} ended without page.close(), so it left no results")
        run.check_results(json.loads((work / "results.json").read_text(encoding="utf8")))
        for name in ("figures", "tables"):
            with contextlib.suppress(OSError):
                (work / name).rmdir()
        Fingerprint(task.fingerprint).stamp(work)
        placing.replace(work, target)


def injected(analysis: Analysis, values: Mapping[str, Any]) -> NotebookNode:
    """Return the notebook with a cell that sets `values`, as papermill would execute it."""
    import nbformat
    from papermill.parameterize import parameterize_notebook

    source = nbformat.from_dict(json.loads(json.dumps(analysis.notebook)))
    source.metadata["papermill"] = {}
    for cell in source.cells:
        cell.metadata.setdefault("tags", [])
    return parameterize_notebook(source, dict(values), kernel_name="python3", language="python")


def execute(analysis: Analysis, values: Mapping[str, Any]) -> None:
    """Run the code cells of a notebook in an IPython shell of this process.

    Raises
    ------
    CellFailed
        With the cell, the error and its last lines, as `ballbook.run` gives them.
    """
    from ballbook import running_cell
    from ballbook.run import ANSI

    notebook = injected(analysis, values)
    shell, shown = _shell()
    number = 0
    running_cell.follow(notebook)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        number += 1
        cell.metadata["papermill"] = {"status": "running"}
        result = shell.run_cell(cell.source, store_history=True)
        cell.metadata["papermill"] = {"status": "completed"}
        error = result.error_before_exec or result.error_in_exec
        if error is not None:
            lines = ANSI.sub("", "\n".join(shown[-4:]))
            raise CellFailed(
                f"{analysis.slug} failed in cell {number}: {type(error).__name__}: {error}\n{lines}"
            )


@cache
def _shell() -> tuple[Any, list[str]]:
    """Return a shell that shows nothing, and the list in which it leaves the last traceback.

    It is made before the forks, and used once in each.
    """
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    shown: list[str] = []

    class Silent(DisplayPublisher):
        def publish(self, *args: Any, **kwargs: Any) -> None:
            """Show nothing."""

    class Mute(DisplayHook):
        def __call__(self, result: Any = None) -> None:
            """Show nothing, and do not work out what would be shown."""

    class Shell(InteractiveShell):
        def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
            shown[:] = stb

    # A history would be written by a thread.
    config = Config({"HistoryManager": {"enabled": False}})
    shell = Shell.instance(config=config, display_pub_class=Silent, displayhook_class=Mute)
    return shell, shown


# ---------------------------------------------------------------------------- in the batch


def main() -> int:
    """Do the work that standard input names, and return an exit code."""
    from ballbook import pool
    from ballbook.analyses import find
    from ballbook.warm_server import end_with_parent

    end_with_parent(os.getppid())
    with os.fdopen(0, "rb", closefd=False) as stream:
        given = json.load(io.TextIOWrapper(stream, "utf8"))
    work = Work(**{**given, "tasks": [Task(**t) for t in given["tasks"]]})
    # Points may print: what is said to the driver has a descriptor of its own.
    events = os.dup(1)
    os.dup2(2, 1)
    os.environ.pop("BALLBOOK_OUT", None)
    analysis = find(work.slug)
    if not work.reports:
        load(analysis)
    with tempfile.TemporaryDirectory(prefix=f"bb-{os.getpid()}-") as scratch:
        log = Path(scratch)

        def told(outcome: pool.Outcome) -> None:
            run = int(outcome.job.name)
            line = Ended(run, outcome.failed, outcome.said, round(outcome.seconds, 3))
            with os.fdopen(os.dup(events), "w", encoding="utf8") as stream:
                stream.write(json.dumps(asdict(line)) + "\n")
            for file in log.glob(f"{run}.*"):
                file.unlink()

        jobs = [
            pool.Job(str(t.run), run_point, (work.slug, work.out, t, work.reports))
            for t in work.tasks
        ]
        pool.run(jobs, cores=work.workers, log=log, timeout=work.timeout, told=told)
    return 0


def load(analysis: Analysis) -> None:
    """Read what every point would read: modules, claims, open data that is not large."""
    from ballbook import catalog, claims, datasets

    for name in imports(analysis.notebook.cells):
        # A module that cannot be imported is the notebook's to report, in its cell.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    for name in ("freshness", "notebook", "placing", "run", "running_cell"):
        importlib.import_module(f"ballbook.{name}")
    injected(analysis, {})
    _shell()
    claims.read()
    for id in analysis.meta["data"]:
        if catalog.entry(id).size <= HELD_BYTES:
            with contextlib.suppress(Exception):
                datasets.hold(id)
    gc.collect()
    gc.freeze()


def imports(cells: Iterable[Any]) -> list[str]:
    """Return the modules that code cells import at their top level, in order."""
    found: list[str] = []
    for cell in cells:
        if cell.cell_type != "code":
            continue
        with contextlib.suppress(SyntaxError):
            for node in ast.parse(cell.source).body:
                if isinstance(node, ast.Import):
                    found += [a.name for a in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.append(node.module)
                    if node.module == "ballbook":
                        found += [f"ballbook.{a.name}" for a in node.names]
    return list(dict.fromkeys(found))


# --------------------------------------------------------------------------- in the driver


def run_batch(work: Work) -> Iterator[Ended | None]:
    """Do `work` in a batch; give each point as it ends, and None now and then meanwhile.

    A batch that dies is started again with the points that are left.
    """
    left = {t.run: t for t in work.tasks}
    fruitless = 0
    while left:
        now = Work(**{f: getattr(work, f) for f in Work.__slots__} | {"tasks": [*left.values()]})
        before = len(left)
        for ended in _one_batch(now):
            if ended is not None:
                del left[ended.run]
            yield ended
        fruitless = 0 if len(left) < before else fruitless + 1
        if left and fruitless >= TRIES:
            said = f"the process that runs the points died {TRIES} times"
            for run in list(left):
                yield Ended(run, True, said, 0.0)
            return


def _one_batch(work: Work) -> Iterator[Ended | None]:
    process, stream = _start(work)
    # A thread reads, so that the driver can look at the clock on every system.
    lines: Queue[bytes | None] = Queue()

    def read() -> None:
        with stream:
            for line in stream:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            try:
                line = lines.get(timeout=TICK)
            except Empty:
                yield None
                continue
            if line is None:
                return
            yield Ended(**json.loads(line))
    finally:
        process.kill()
        process.wait()


def _start(work: Work) -> tuple[Any, io.BufferedReader]:
    """Start a batch and hand it its work: forked from the warm server where there is one."""
    from ballbook import warm, warm_server
    from ballbook.forked import Forked

    server = warm.reach()
    env = os.environ | warm_server.SURROUNDINGS | {warm.VARIABLE: str(server or 0)}
    ours, events = os.pipe()
    theirs, job = os.pipe()
    process: Any = None
    try:
        if server is not None:
            with contextlib.suppress(OSError):
                process = Forked(
                    str(server), {"call": ["ballbook.batch", "main", []]}, dict(env),
                    str(Path.cwd()), descriptors=[events, 2, theirs],
                )  # fmt: skip
        if process is None:
            process = subprocess.Popen(
                [sys.executable, "-m", "ballbook.batch"], stdin=theirs, stdout=events, env=env
            )
    finally:
        os.close(events)
        os.close(theirs)
    with contextlib.suppress(BrokenPipeError), os.fdopen(job, "w", encoding="utf8") as stream:
        json.dump(asdict(work), stream)
    return process, os.fdopen(ours, "rb")


if __name__ == "__main__":
    # By its own name: the shell of the notebooks takes the place of ``__main__``.
    sys.exit(importlib.import_module("ballbook.batch").main())

"""Jobs side by side on one machine, each in a process of its own, with all that failed at the end.

A job is forked, from this process or from a server that has the imports done (`ballbook.warm`);
where processes cannot fork it is spawned. It writes to a log, has a time and a memory it must keep
to, and is ended with everything it started when it does not, or when its driver dies. One job's
failure never ends another.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from ballbook import strays
from ballbook.errors import Failure, Refusal

TIMEOUT = 1800.0
# How long a job may take to say where it stands, once its time is over.
GRACE = 5.0
LAST_LINES = 12
# A disk with fewer bytes to spare is full.
ROOM = 2**16
MEMORY = "BALLBOOK_MEMORY_MB"


@dataclass(frozen=True)
class Job:
    """Something to be done in a process of its own.

    Attributes
    ----------
    name : str
    work : callable
        A function of a module. It returns one line on what was done.
    arguments : tuple
        What JSON can hold, when a server forks the job.
    seconds : float
        How long it took before: long ones begin first.
    source : str
        The file that a person would open when it fails.
    """

    name: str
    work: Callable[..., str]
    arguments: tuple[Any, ...] = ()
    seconds: float = 0.0
    source: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes
    ----------
    job : Job
    said : str
        What it returned, or why it failed with the last lines.
    seconds : float
        By the clock.
    failed : bool
    """

    job: Job
    said: str
    seconds: float
    failed: bool


class _Spawned:
    """A process of this one's own, with the face of `forked.Forked`."""

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        able = sys.platform != "darwin" and "fork" in multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("fork" if able else "spawn")
        self._process = context.Process(target=work, args=arguments)
        self._process.start()
        self.pid: int = self._process.pid

    def fileno(self) -> int:
        sentinel: int = self._process.sentinel
        return sentinel

    def poll(self) -> int | None:
        self._process.join(0)
        code: int | None = self._process.exitcode
        return code


@dataclass
class _Running:
    job: Job
    process: Any
    log: Path
    mark: str
    server: Path | None
    started: float = field(default_factory=time.monotonic)
    asked: float | None = None

    @property
    def answer(self) -> Path:
        return self.log.with_suffix(".json")


def run(
    jobs: Iterable[Job],
    *,
    cores: int,
    log: Path,
    timeout: float = TIMEOUT,
    server: Path | None = None,
    told: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Do all jobs, `cores` at a time, and return how each ended, in the order of their ends.

    Parameters
    ----------
    jobs : iterable of Job
    cores : int
    log : Path
        Folder for what the jobs print.
    timeout : float
        Seconds after which a job is ended with everything it started.
    server : Path, optional
        Socket of a server to fork the jobs from; from this process when not given.
    told : callable
        Called with each outcome as it comes.
    """
    waiting = sorted(jobs, key=lambda j: -j.seconds)
    running: list[_Running] = []
    ended: list[Outcome] = []
    log.mkdir(parents=True, exist_ok=True)
    try:
        while waiting or running:
            while waiting and len(running) < cores:
                running.append(_start(waiting.pop(0), log, server))
            wait([r.process for r in running], timeout=_patience(running, timeout))
            for r in list(running):
                outcome = _look(r, timeout)
                if outcome is None:
                    continue
                running.remove(r)
                strays.end(r.mark)
                if _lost(r, outcome):
                    server = None
                    running.append(_start(r.job, log, None))
                    continue
                ended.append(outcome)
                told(outcome)
    finally:
        for r in running:
            end(r.process.pid)
            strays.end(r.mark)
    return ended


def summary(outcomes: Sequence[Outcome], total: int) -> str:
    """Return what failed: how many, which, where, with the last lines and the source."""
    failed = [o for o in outcomes if o.failed]
    lines = [f"{len(failed)} of {total} failed:"]
    for o in failed:
        source = f" ({o.job.source})" if o.job.source else ""
        lines.append(f"  {o.job.name}{source}, after {o.seconds:.0f} s")
        lines += [f"    {line}" for line in o.said.rstrip().splitlines()[-LAST_LINES:]]
    return "\n".join(lines)


def end(pid: int) -> None:
    """Kill a process with everything it started."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        # Its children are found before it dies, since orphans have another parent.
        for process in [*first.children(recursive=True), first]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _lost(r: _Running, outcome: Outcome) -> bool:
    """Return whether a job ended because the server it was forked from did."""
    killed = outcome.failed and r.asked is None and r.process.poll() == -signal.SIGKILL
    if r.server is None or not killed:
        return False
    from ballbook import warm

    return warm.reachable(str(r.server)) is None


def _start(job: Job, log: Path, server: Path | None) -> _Running:
    file = log / f"{job.name}.log"
    running = _Running(job, None, file, strays.new_mark(), None)
    for old in (file, running.answer):
        old.unlink(missing_ok=True)
    module, function = job.work.__module__, job.work.__qualname__
    arguments = (module, function, list(job.arguments), str(file), str(running.answer))
    if server is not None:
        from ballbook.forked import Forked

        call = {"call": ["ballbook.pool", "work", arguments]}
        with contextlib.suppress(OSError), strays.marked(running.mark):
            running.process = Forked(str(server), call, dict(os.environ), str(Path.cwd()))
            running.server = server
    if running.process is None:
        with strays.marked(running.mark):
            running.process = _Spawned((*arguments, os.getpid()))
    return running


def _patience(running: Sequence[_Running], timeout: float) -> float:
    now = time.monotonic()
    ends = [r.started + timeout if r.asked is None else r.asked + GRACE for r in running]
    return min(1.0, max(0.0, min(ends) - now))


def _look(r: _Running, timeout: float) -> Outcome | None:
    """Return the outcome of a job that ended; ask one whose time is over where it stands."""
    now = time.monotonic()
    seconds = now - r.started
    code = r.process.poll()
    if code is not None:
        try:
            failed, said = json.loads(r.answer.read_text(encoding="utf8"))
        except (OSError, ValueError):
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            failed, said = True, f"the process {how}\n{_full(r.log.parent)}{_tail(r.log)}"
        if r.asked is not None:
            failed, said = True, f"stopped after {timeout:.0f} s, {said}"
        return Outcome(r.job, said.rstrip(), seconds, failed)
    if r.asked is None and seconds > timeout:
        r.asked = now
        with contextlib.suppress(ProcessLookupError):
            os.kill(r.process.pid, signal.SIGTERM)
    elif r.asked is not None and now - r.asked > GRACE:
        # It does not answer any more.
        end(r.process.pid)
    return None


def _full(folder: Path) -> str:
    """Return that a disk is full, if it is: then the process could not write what failed."""
    full = shutil.disk_usage(folder).free < ROOM
    return f"{os.strerror(errno.ENOSPC)}: {folder}\n" if full else ""


def _tail(log: Path) -> str:
    if not log.is_file():
        return ""
    return "\n".join(log.read_text(encoding="utf8", errors="replace").splitlines()[-LAST_LINES:])


def work(
    module: str,
    function: str,
    arguments: Sequence[Any],
    log: str,
    answer: str,
    parent: int | None = None,
) -> int:
    """Do a job in this process, and write what became of it as JSON: failed, what is said.

    Parameters
    ----------
    parent : int, optional
        The process to end with; the server looks after those it forked.
    """
    from ballbook.warm_server import end_with_parent, limit_memory

    if parent is not None:
        end_with_parent(parent)
    limit_memory(os.environ.get(MEMORY))
    with Path(log).open("w", encoding="utf8") as handle:
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)
    # New ones: the old may hold what another process is to write.
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: _stop(Path(answer)))
    # The last lines of a crash in compiled code go to the log.
    faulthandler.enable(file=2)
    failed, said = True, ""
    try:
        said = getattr(importlib.import_module(module), function)(*arguments)
        failed = False
    except (Failure, Refusal) as error:
        said = str(error)
    except OSError as error:
        # A full disk, a file that may not be read: the system's words are the reason.
        said = f"{type(error).__name__}: {error}"
    except Exception as error:
        import traceback

        said = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    _tell(Path(answer), failed, said)
    return int(failed)


def _tell(answer: Path, failed: bool, said: str) -> None:
    # What cannot be written for a full disk is told by the exit code.
    with contextlib.suppress(OSError):
        answer.write_text(json.dumps([failed, said]), encoding="utf8")


def _stop(answer: Path) -> None:
    """Say where the job stands, and leave with everything that was started."""
    where = "no notebook was running"
    if "papermill" in sys.modules:
        from ballbook import running_cell

        where = running_cell.where()
    _tell(answer, True, where)
    end(os.getpid())

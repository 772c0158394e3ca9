"""Jobs side by side on one machine, each in a process of its own, with all that failed at the end.

A job is forked, so that it finds the imports done; where processes cannot fork it is spawned. It
writes to a log, has a time and a memory it must keep to, and is ended with everything it started
when it does not, or when its driver dies. One job's failure never ends another.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any

from ballbook.errors import Failure, Refusal

TIMEOUT = 1800.0
# How long a job may take to say where it stands, once its time is over.
GRACE = 5.0
LAST_LINES = 12
MEMORY = "BALLBOOK_MEMORY_MB"


@dataclass(frozen=True)
class Job:
    """Something to be done in a process of its own.

    Attributes
    ----------
    name : str
    work : callable
        Called without arguments; returns one line on what was done. A function of a module, or a
        `functools.partial` of one.
    seconds : float
        How long it took before: long ones begin first.
    source : str
        The file that a person would open when it fails.
    """

    name: str
    work: Callable[[], str]
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


@dataclass
class _Running:
    job: Job
    process: Any
    answers: Connection
    log: Path
    started: float = field(default_factory=time.monotonic)
    asked: float | None = None


def run(
    jobs: Iterable[Job],
    *,
    cores: int,
    log: Path,
    timeout: float = TIMEOUT,
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
                running.append(_start(waiting.pop(0), log))
            wait([r.answers for r in running], timeout=_patience(running, timeout))
            for r in list(running):
                outcome = _look(r, timeout)
                if outcome is not None:
                    running.remove(r)
                    ended.append(outcome)
                    told(outcome)
    finally:
        for r in running:
            end(r.process.pid)
            r.process.join()
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
        for process in [first, *first.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _start(job: Job, log: Path) -> _Running:
    able = sys.platform != "darwin" and "fork" in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("fork" if able else "spawn")
    answers, theirs = context.Pipe(duplex=False)
    file = log / f"{job.name}.log"
    process = context.Process(target=_work, args=(job, theirs, file, os.getpid()), name=job.name)
    process.start()
    theirs.close()
    return _Running(job, process, answers, file)


def _patience(running: Sequence[_Running], timeout: float) -> float:
    now = time.monotonic()
    ends = [r.started + timeout if r.asked is None else r.asked + GRACE for r in running]
    return min(1.0, max(0.0, min(ends) - now))


def _look(r: _Running, timeout: float) -> Outcome | None:
    """Return the outcome of a job that ended; ask one whose time is over where it stands."""
    now = time.monotonic()
    seconds = now - r.started
    if r.answers.poll():
        try:
            failed, said = r.answers.recv()
        except (EOFError, OSError):
            r.process.join()
            code = r.process.exitcode
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            failed, said = True, f"the process {how}\n{_tail(r.log)}"
        r.process.join(GRACE)
        end(r.process.pid)
        r.process.join()
        r.answers.close()
        if r.asked is not None:
            failed, said = True, f"stopped after {timeout:.0f} s, {said}"
        return Outcome(r.job, said.rstrip(), seconds, failed)
    if r.asked is None and seconds > timeout:
        r.asked = now
        with contextlib.suppress(ProcessLookupError):
            os.kill(r.process.pid, signal.SIGTERM)
    elif r.asked is not None and now - r.asked > GRACE:
        # It does not answer any more; the pipe closes with it.
        end(r.process.pid)
    return None


def _tail(log: Path) -> str:
    if not log.is_file():
        return ""
    return "\n".join(log.read_text(encoding="utf8", errors="replace").splitlines()[-LAST_LINES:])


def _work(job: Job, answers: Connection, log: Path, driver: int) -> None:
    """Do a job in this process, and send what became of it."""
    from ballbook.warm_server import end_with_parent, limit_memory

    end_with_parent(driver)
    limit_memory(os.environ.get(MEMORY))
    with log.open("w", encoding="utf8") as handle:
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *frame: _stop(answers, *frame))
    # The last lines of a crash in compiled code go to the log.
    faulthandler.enable(file=2)
    try:
        found: tuple[bool, str] = False, job.work()
    except (Failure, Refusal) as error:
        found = True, str(error)
    except OSError as error:
        # A full disk, a file that may not be read: the system's words are the reason.
        found = True, f"{type(error).__name__}: {error}"
    except Exception as error:
        import traceback

        found = True, f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    with contextlib.suppress(OSError):
        answers.send(found)


def _stop(answers: Connection, number: int, frame: FrameType | None) -> None:
    """Say where the job stands, and leave."""
    papermill_runs = "papermill" in sys.modules
    with contextlib.suppress(OSError):
        if papermill_runs:
            from ballbook import running_cell

            answers.send((True, running_cell.where()))
        else:
            answers.send((True, "no notebook was running"))
    os._exit(128 + number)

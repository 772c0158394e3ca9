"""Processes that a job started and that left it: for another session, or for another parent.

A job carries a mark in its surroundings, which what it executes inherits, wherever that moves to.
What only forks from a warm kernel has no mark of its own; the server of those kernels adopts it
(`ballbook.warm_server`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ballbook.variables import environment

NAME = "BALLBOOK_JOB"
_numbers = itertools.count()


def new_mark() -> str:
    """Return a mark that tells the process which gives it."""
    return f"{namespace()}-{os.getpid()}-{next(_numbers)}"


def namespace() -> int:
    """Return in which space process numbers count: a container has its own."""
    with contextlib.suppress(OSError):
        return Path("/proc/self/ns/pid").stat().st_ino
    return 0


@contextmanager
def marked(mark: str) -> Iterator[None]:
    """Give the mark to what is started inside."""
    with environment(**{NAME: mark}):
        yield


def end(mark: str) -> None:
    """Kill every process with a mark, but not this one."""
    for pid, found in marks():
        if found == mark:
            _kill(pid)


def sweep() -> None:
    """Kill what jobs left whose driver is gone."""
    from ballbook.placing import alive

    for pid, mark in marks():
        where, _, rest = mark.partition("-")
        driver = rest.partition("-")[0]
        if where == str(namespace()) and driver.isdecimal() and not alive(int(driver)):
            _kill(pid)


def marks() -> Iterator[tuple[int, str]]:
    """Yield the user's other processes that carry a mark, with the mark."""
    if sys.platform != "linux":
        import psutil

        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and (mark := process.environ().get(NAME)):
                    yield process.pid, mark
        return
    begin = NAME.encode() + b"="
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and folder.name != str(os.getpid()):
            with contextlib.suppress(OSError):
                for part in (folder / "environ").read_bytes().split(b"\0"):
                    if part.startswith(begin):
                        yield int(folder.name), os.fsdecode(part[len(begin) :])


def _kill(pid: int) -> None:
    import signal

    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)

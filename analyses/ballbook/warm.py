"""Kernels forked from a server that has the imports loaded, where there can be one.

`server` starts one for a build and ends it with the build. Without a build, `reach` finds the
server of an earlier run, or starts one that leaves when it has been idle for a while. A server
belongs to one state of the library, the lock and the interpreter (`state`): code that was edited
since is never run from memory. Where processes cannot fork, or where ``BALLBOOK_WARM=0``, kernels
start cold; what they compute is the same.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ballbook import paths
from ballbook.variables import environment

if TYPE_CHECKING:
    import subprocess

VARIABLE = "BALLBOOK_WARM"
PATIENCE = 60.0
# A Unix socket's path has 107 bytes at most.
LONGEST = 107


def possible() -> bool:
    """Return whether kernels can be forked here and nobody asked for cold ones."""
    able = hasattr(os, "fork") and hasattr(socket, "AF_UNIX") and hasattr(socket, "send_fds")
    # Forking a process that uses Apple's frameworks is not safe.
    return able and sys.platform != "darwin" and os.environ.get(VARIABLE) not in {"0", "off"}


def state() -> str:
    """Return a hash of what a server holds in memory: library, lock, interpreter and its path.

    Where a command was started from, and how, is no part of it: a server does not look there.
    """
    found = hashlib.sha256()
    for text in (sys.executable, sys.version, os.environ.get("PYTHONPATH", "")):
        found.update(text.encode() + b"\0")
    library = Path(__file__).parent
    lock = paths.root() / "env" / "lock.txt"
    for file in [*sorted(library.glob("*.py")), *([lock] if lock.is_file() else [])]:
        found.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return found.hexdigest()[:16]


@contextmanager
def server(
    *, wait: bool = True, meanwhile: Callable[[], None] = lambda: None, wanted: bool = True
) -> Iterator[Path | None]:
    """Give a server that lives as long as the block, and lets all runs started inside use it.

    Parameters
    ----------
    wait : bool
        Whether to wait until it listens; runs that come earlier have cold kernels.
    meanwhile : callable
        Done while the server starts.
    wanted : bool
        Whether to start one where none is up.
    """
    outer = reachable(os.environ.get(VARIABLE))
    if outer is not None or not possible() or not wanted:
        meanwhile()
        with given(outer or "0"):
            yield outer
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix=f"bb-{os.getpid()}-") as folder:
        path = Path(folder) / "warm"
        process = _start(path, owned=True)
        try:
            meanwhile()
            up = process is not None and (not wait or _listens(path, process))
            with given(path if up else "0"):
                yield path if up else None
        finally:
            if process:
                assert process.stdin is not None
                process.stdin.close()
                process.wait()


@contextmanager
def given(path: Path | str) -> Iterator[None]:
    """Tell all that is started inside of the server."""
    with environment(**{VARIABLE: str(path)}):
        yield


def reach(*, wait: bool = True) -> Path | None:
    """Return the socket of a server that can be used, started if need be; None for cold kernels.

    Parameters
    ----------
    wait : bool
        Whether to wait for one that was started; without, it is for those who come later.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return reachable(named) if possible() else None
    path = _place()
    if path is None or reachable(str(path)):
        return path
    from filelock import FileLock

    # Of several that come at once, one starts the server.
    with FileLock(path.parent / "lock"):
        if reachable(str(path)):
            return path
        on_its_way = coming(path)
        process = None if on_its_way else _start(path, owned=False)
    if process is None and not on_its_way:
        return None
    return path if wait and _listens(path, process) else None


def idle() -> Path | None:
    """Return the socket of a server that an earlier run left, if one is up; none is started."""
    # One that was named is somebody's, and has the kernels' imports only.
    path = None if os.environ.get(VARIABLE) else _place()
    return path and reachable(str(path))


def _place() -> Path | None:
    """Return where a server without an owner listens; None where there can be none."""
    if not possible():
        return None
    folder = Path(os.environ.get("TMPDIR") or "/tmp").absolute() / f"bb-warm-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        return None  # somebody else's: nothing is sent there
    return folder / state()


def coming(path: Path) -> bool:
    """Return whether a server that is to be at `path` has its imports to do yet."""
    from ballbook.warm_server import COMING

    hidden = path.parent.glob(path.name + COMING.format("*"))
    return any(reachable(str(f)) for f in hidden)


def reachable(given: str | None) -> Path | None:
    """Return `given` as a path if a server listens there."""
    if not given or given in {"0", "off"} or len(os.fsencode(given)) > LONGEST:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(given)
        except OSError:
            return None
    return Path(given)


def _start(path: Path, *, owned: bool) -> subprocess.Popen[bytes] | None:
    """Start a server; None where its socket's path is too long."""
    import subprocess

    from ballbook import strays, warm_server

    if len(os.fsencode(str(path))) + len(warm_server.COMING.format(2**22)) > LONGEST:
        return None
    with suppress(OSError):
        path.unlink()
    env = os.environ | warm_server.SURROUNDINGS
    env.pop(VARIABLE, None)
    # A server outlives the job that may start it.
    env.pop(strays.NAME, None)
    # Bound here, so that from this moment on everybody sees that it is coming.
    hidden, listener = warm_server.announce(path)
    with listener:
        number = listener.fileno()
        given = [str(path), str(hidden), str(number), *([] if owned else ["--idle"])]
        return subprocess.Popen(
            [sys.executable, "-m", "ballbook.warm_server", *given], pass_fds=[number],
            stdin=subprocess.PIPE if owned else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=env, cwd=path.parent, start_new_session=True,
        )  # fmt: skip


def _listens(path: Path, process: subprocess.Popen[bytes] | None = None) -> bool:
    """Wait until a server listens; False where it does not come up.

    One that somebody else started, `process` does not tell of: its socket does.
    """
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if path.exists():
            return True
        if process.poll() is not None if process else not coming(path):
            return path.exists()
        # Each look at somebody else's server is a connection that it will have to close.
        time.sleep(0.01 if process else 0.1)
    if process:
        process.kill()
        process.wait()
    return False

"""Folders that appear whole or not at all, whatever kills the process that makes them.

A folder is written under a hidden name beside its place and moved there at the end. An earlier one
is moved aside first and removed last; should a process die between the two moves, the next one
puts it back (`sweep`). Hidden names tell the process that owns them, and its machine, since several
may share the folder: what is still being written is left alone.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HIDDEN = re.compile(r"\.(?P<target>.+)\.(?:(?P<host>\w*)-(?P<pid>\d+)-)?(?P<rest>\w+)\.partial")
# What another machine left is taken for dead after so many seconds.
LONG = 86_400.0


@contextmanager
def placed(
    target: Path, held: contextlib.AbstractContextManager[object] | None = None
) -> Iterator[Path]:
    """Give a hidden folder to write into, which takes the place of `target` when all went well.

    Parameters
    ----------
    target : Path
    held : context manager, optional
        Entered while it does.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target.parent, target.name)
    with hidden(target) as work:
        yield work
        with held or contextlib.nullcontext():
            replace(work, target)


@contextmanager
def hidden(target: Path) -> Iterator[Path]:
    """Give a hidden folder beside `target`, which is removed at the end if it is still there."""
    prefix = f".{target.name}.{host()}-{os.getpid()}-"
    work = Path(tempfile.mkdtemp(prefix=prefix, suffix=".partial", dir=target.parent))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def replace(new: Path, target: Path) -> None:
    """Move the folder `new` to `target`; an earlier one goes once the new one is in place."""
    new.chmod(0o755)
    old = target.with_name(f".{target.name}.old.partial")
    with _held(target.parent):
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what dead processes left in a folder, and put back what they had moved aside.

    Parameters
    ----------
    folder : Path
    name : str, optional
        Only what was to become this; everything when not given.
    """
    if not folder.is_dir():
        return
    with _held(folder):
        for left in folder.glob(".*.partial"):
            found = HIDDEN.fullmatch(left.name)
            if found is None or name not in (None, found["target"]):
                continue
            target = folder / found["target"]
            if found["rest"] == "old" and not found["pid"] and not target.exists():
                left.rename(target)
            elif not in_use(left, found["host"], found["pid"]):
                shutil.rmtree(left, ignore_errors=True)


def sweep_sockets() -> None:
    """Remove the folders of sockets that dead processes of this user left."""
    for left in Path(tempfile.gettempdir()).glob("bb-[0-9]*-*"):
        with contextlib.suppress(OSError, ValueError):
            owner = int(left.name.split("-")[1])
            if left.stat().st_uid == os.getuid() and not alive(owner):
                shutil.rmtree(left, ignore_errors=True)


def host() -> str:
    """Return the name of this machine as letters and digits."""
    return re.sub(r"[^a-zA-Z0-9]", "", platform.node())


def in_use(left: Path, owner: str | None, pid: str | None) -> bool:
    """Return whether a hidden folder may still be written to."""
    if pid is None:
        return False
    if owner == host():
        return alive(int(pid))
    with contextlib.suppress(OSError):
        return time.time() - left.stat().st_mtime < LONG
    return False


def alive(pid: int) -> bool:
    """Return whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep other processes from moving things in a folder; the lock goes with the process."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems have no locks; there the moves alone must do.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)

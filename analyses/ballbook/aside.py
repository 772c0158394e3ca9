"""Work done in a fork of this process while it goes on, on a core that nothing else wants."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

# Set by who knows that a core is free.
SPARE = "BALLBOOK_SPARE"


def possible() -> bool:
    """Return whether there is a core to spare, and a process can be forked safely."""
    # Forking a process that uses Apple's frameworks is not.
    return bool(os.environ.get(SPARE)) and hasattr(os, "fork") and sys.platform != "darwin"


class Aside:
    """Work that leaves its result in files and changes nothing in this process.

    Parameters
    ----------
    work : callable, optional
        Begun at once where it is `possible` aside; else done when it is waited for.
    """

    def __init__(self, work: Callable[[], None] | None = None) -> None:
        self._work = work
        parent = os.getpid()
        self._pid = os.fork() if work and possible() else None
        if work and self._pid == 0:
            code = 1
            with contextlib.suppress(BaseException):
                from ballbook.warm_server import end_with_parent

                end_with_parent(parent)
                work()
                code = 0
            os._exit(code)

    @property
    def begun(self) -> bool:
        """Whether the work is being done aside."""
        return self._pid is not None

    def wait(self) -> None:
        """Return when the work is done; what failed aside is done here, where errors are seen."""
        work, self._work = self._work, None
        if self._pid:
            _, status = os.waitpid(self._pid, 0)
            self._pid = None
            if status == 0:
                return
        if work:
            work()

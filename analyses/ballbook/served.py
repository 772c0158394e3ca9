"""A command done by the server that an earlier build left, which has its imports behind it.

The process that asked stays, passes signals on, and ends as the command did; when it is killed,
the server ends what it began.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path


def served(module: str, function: str, arguments: Sequence[str]) -> int | None:
    """Call a function of the library in a fork of the server, with this process's surroundings.

    Parameters
    ----------
    module, function : str
    arguments : sequence of str
        What the function is called with.

    Returns
    -------
    int or None
        Its exit code; None where nothing was done, for there is no server, or where the server was
        lost, and the call with it.
    """
    from ballbook import warm

    server = warm.idle()
    if server is None:
        return None
    from ballbook.forked import Forked

    streams = (sys.stdout, sys.stderr)
    call = {"call": [module, function, list(arguments)]}
    try:
        for stream in streams:
            stream.flush()
        shown = [stream.fileno() for stream in streams]
        child = Forked(str(server), call, dict(os.environ), str(Path.cwd()), descriptors=shown)
    except OSError:
        # Also where what is printed goes to no file, as under a test runner.
        return None
    while True:
        try:
            code = child.wait()
            break
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)
    lost = code == -signal.SIGKILL and warm.reachable(str(server)) is None
    return None if lost else code

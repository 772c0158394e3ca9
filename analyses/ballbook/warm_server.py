"""A process with the imports of the pages loaded, from which kernels are forked.

Starting Python and importing what a page needs takes longer than most pages. The server does it
once and then forks: a child has everything, costs little memory until it writes, and can change
nothing in the server or in another child.

*Protocol.* A client connects to a Unix socket in a folder of its own user, and sends one message:
four bytes of length, JSON (``argv`` of a kernel, or ``call``: module, function and arguments; with
``env`` and ``cwd``), and with it its standard output and error, and, if it wants one, input.
The answer is a line ``pid`` with the child's, and when the child ends a line ``end`` with its exit
code (negative: the signal), from the child itself if it can, which may come first. Further lines
from the client are signal numbers for the child's process group. A client that goes away takes its
child along.

*End.* The server leaves when its owner does (the pipe on its standard input closes), or, without
an owner, when it has had no child for `idle` seconds. Its children notice that it is gone.

*What a fork must not inherit.* Threads do not survive a fork, so the server has none: the numeric
libraries are held to one thread, and nothing is run that would start OpenMP. NumPy's global
generator is seeded anew in each child, as Python's own is by itself. ``matplotlib_inline`` is not
preloaded: its backend, once imported outside a kernel, silently loses every figure.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from ballbook.forked import receive

# What every page imports: a methods paragraph names the software that is loaded. A name that cannot
# be imported stops the server: a kernel that is not warm would tell nobody.
PRELOAD: tuple[str, ...] = (
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.interactiveshell",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "ipykernel.ipkernel",
    "ipykernel.kernelapp",
    "ipykernel.zmqshell",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "matplotlib.pyplot",
    "numpy",
    "pandas",
    "scipy.optimize",
    "scipy.special",
    "scipy.stats",
    "sqlite3",
    "tornado.platform.asyncio",
    "yaml",
    "ballbook.notebook",
    "ballbook.figures",
)
# One thread each: threads do not survive a fork.
THREADS = {f"{lib}_NUM_THREADS": "1" for lib in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
# What a server starts with besides: pages are run so, and Arrow's memory keeps no thread.
SURROUNDINGS = THREADS | {
    "PYTHONHASHSEED": "0",
    "MPLBACKEND": "agg",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
# What builds need besides, in a server that outlives them.
FOR_BUILDS: tuple[str, ...] = (
    "ipykernel.kernelspec",
    "jupyter_book.cli.main",
    "jupyter_book.sphinx",
    "myst_nb.sphinx_ext",
    "pandas.core.methods.to_dict",
    "pandas.io.formats.csvs",
    "psutil",
    "pybtex.style.labels.number",
    "sphinx.builders.html",
    "sphinx_book_theme",
    "sphinx_external_toc",
    "sphinxcontrib.bibtex",
    "ballbook.build",
    "ballbook.cli",
    "ballbook.html_book",
)
IDLE = 300.0


def preload(*, builds: bool = False) -> None:
    """Import what pages need, or also what builds do, and use the slow parts once.

    Raises
    ------
    ImportError
        For a name that does not exist.
    """
    for name in (*PRELOAD, *(FOR_BUILDS if builds else ())):
        importlib.import_module(name)
    if builds:
        from ballbook import rehearsal

        rehearsal.pages()
        rehearsal.book()
    _no_debugger()
    _one_of_each()


def _no_debugger() -> None:
    """Let no kernel look for its debugger, whose import takes a fifth of a kernel's start."""
    before = sys.modules.get("debugpy")
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("ipykernel.debugger")
    finally:
        del sys.modules["debugpy"]
        if before is not None:
            sys.modules["debugpy"] = before


def _one_of_each() -> None:
    """Fit and draw what pages fit and draw, so that code, fonts and versions are at hand."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    import numpy as np
    import pandas as pd

    from ballbook import figures, notebook
    from ballbook.cox import cox
    from ballbook.survival import kaplan_meier

    time_, event = np.arange(1.0, 13.0), np.tile([1, 0, 1], 4)
    curve = kaplan_meier(time_, event)
    cox(time_, event, pd.DataFrame({"x": np.tile([0.0, 1.0], 6)}))
    with figures.style():
        figure, ax = plt.subplots()
        figures.survival(ax, {"all": curve})
        figures.svg(figure, "first")
        figures.png(figure)
        plt.close("all")
    notebook.package_versions()


@dataclass
class Child:
    """A forked process and the connection it belongs to."""

    pid: int
    connection: socket.socket
    inbox: bytes = field(default=b"")


# A process number and a suffix: what is added to the name of a socket that cannot be used yet.
COMING = ".{}.new"


def announce(path: Path) -> tuple[Path, socket.socket]:
    """Bind the socket of a server that is to be at `path`, under a name that says it is coming.

    Returns
    -------
    hidden : Path
    listener : socket
    """
    hidden = Path(str(path) + COMING.format(os.getpid()))
    hidden.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(hidden))
    listener.listen(64)
    return hidden, listener


class Server:
    """Accepts clients and forks a child for each; see the module for the protocol.

    Parameters
    ----------
    path : Path
        Where its socket is once it runs; the folder is the user's own.
    hidden, listener : Path and socket
        What `announce` returned.
    owned : bool
        Whether it leaves when standard input closes; else when idle.
    idle : float
        Seconds without a child after which an unowned server leaves.
    """

    def __init__(
        self, path: Path, hidden: Path, listener: socket.socket, *, owned: bool, idle: float
    ) -> None:
        self.path = path
        self.hidden = hidden
        self.listener = listener
        self.owned = owned
        self.idle = idle
        self.children: dict[int, Child] = {}
        self.selector = selectors.DefaultSelector()
        self.last = time.monotonic()
        self.wake_in, self.wake_out = os.pipe()
        self.socket = 0

    def run(self) -> None:
        """Serve until the owner leaves, or until idle."""
        for end in (self.wake_in, self.wake_out):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        # Ctrl-C is for the owner, which closes the pipe.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self.wake_out, warn_on_full_buffer=False)
        adopt_orphans()
        gc.collect()
        gc.freeze()
        if not self.owned:
            use_large_pages()
        self.hidden.rename(self.path)
        self.socket = self.path.stat().st_ino
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.wake_in, selectors.EVENT_READ)
        if self.owned:
            self.selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        try:
            while not self._finished():
                for key, _ in self.selector.select(timeout=None if self.owned else 1.0):
                    if key.fileobj is self.listener:
                        self._accept()
                    elif key.fd == self.wake_in:
                        with contextlib.suppress(BlockingIOError):
                            os.read(self.wake_in, 4096)
                    elif self.owned and key.fd == sys.stdin.fileno():
                        if not os.read(key.fd, 1024):
                            return
                    else:
                        self._hear(self.children[key.data])
                self._reap()
        finally:
            self._leave()

    def _finished(self) -> bool:
        if self.children:
            self.last = time.monotonic()
        idle = time.monotonic() - self.last > self.idle
        # A socket that was taken away can be reached by nobody.
        return not self.owned and (idle or not self._reachable())

    def _reachable(self) -> bool:
        try:
            return self.path.stat().st_ino == self.socket
        except OSError:
            return False

    def _stop(self, number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    def _accept(self) -> None:
        connection, _ = self.listener.accept()
        connection.settimeout(10)
        try:
            message, descriptors = receive(connection)
        except (OSError, ValueError, struct.error):
            connection.close()
            return
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            end_with_parent(server)
            adopt_orphans()
            self._become(message, descriptors, connection)
        for d in descriptors:
            os.close(d)
        self.children[pid] = Child(pid, connection)
        self.selector.register(connection, selectors.EVENT_READ, data=pid)
        with contextlib.suppress(OSError):
            connection.sendall(b"pid %d\n" % pid)

    def _become(
        self, message: dict[str, Any], descriptors: list[int], connection: socket.socket
    ) -> None:
        """Turn this fork into the process that was asked for; never returns."""
        code = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for held in (self.listener, *(c.connection for c in self.children.values())):
                held.close()
            os.register_at_fork(after_in_child=connection.close)
            self.selector.close()
            os.close(self.wake_in)
            os.close(self.wake_out)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            for target, d in zip((1, 2, 0), descriptors, strict=False):
                os.dup2(d, target)
                os.close(d)
            os.close(nothing)
            os.environ.clear()
            os.environ.update(message["env"], JPY_PARENT_PID=str(os.getppid()))
            os.chdir(message["cwd"])
            limit_memory(os.environ.get("BALLBOOK_MEMORY_MB"))
            _reseed()
            code = _call(*message["call"]) if "call" in message else _main(message["argv"])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            # The system takes milliseconds to clear away what it holds.
            with contextlib.suppress(OSError):
                connection.sendall(b"end %d\n" % code)
            os._exit(code)

    def _hear(self, child: Child) -> None:
        try:
            data = child.connection.recv(1024)
        except OSError:
            data = b""
        if not data:
            self.selector.unregister(child.connection)
            _kill(child.pid, signal.SIGKILL)
            return
        *lines, child.inbox = (child.inbox + data).split(b"\n")
        for line in lines:
            _kill(child.pid, int(line))

    def _reap(self) -> None:
        gone = False
        for pid, child in list(self.children.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            gone = True
            # What the child started goes with it. The pid itself is anybody's now.
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
            with contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(child.connection)
            with contextlib.suppress(OSError):
                child.connection.sendall(b"end %d\n" % os.waitstatus_to_exitcode(status))
            child.connection.close()
            del self.children[pid]
        if gone:
            self._end_orphans()

    def _end_orphans(self) -> None:
        """End what dead children left: a living one adopts its own orphans, so none is its."""
        import psutil

        own = Path(f"/proc/self/task/{os.getpid()}/children")
        pids = own.read_text().split() if own.exists() else []
        for pid in [int(p) for p in pids if int(p) not in self.children]:
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan = psutil.Process(pid)
                for process in [*orphan.children(recursive=True), orphan]:
                    process.kill()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _leave(self) -> None:
        for pid in self.children:
            _kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self.children.clear()
        self._end_orphans()
        if self._reachable():
            self.path.unlink()


def _kill(pid: int, number: int) -> None:
    """Send a signal to the process group of a child, which it leads once it has set itself up."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def end_with_parent(parent: int) -> None:
    """Have Linux kill this process when its parent ends; elsewhere ipykernel looks for it."""
    if sys.platform == "linux":
        import ctypes

        death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # it was gone before


def outlive_parent() -> None:
    """Take back `end_with_parent`: from now on this process looks for itself, and tidies up."""
    if sys.platform == "linux":
        import ctypes

        death_signal = 1
        ctypes.CDLL(None).prctl(death_signal, 0, 0, 0, 0)


def use_large_pages() -> None:
    """Have Linux (6.1 and later) hold this process's memory in pages of 2 MB, where it can.

    To fork then takes half the time: one entry is copied where there were 512. A child that writes
    copies 4 kB, as before.
    """
    if sys.platform != "linux":
        return
    import ctypes

    collapse, size = 25, 2**21  # MADV_COLLAPSE
    madvise = ctypes.CDLL(None).madvise
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, mode, *rest = line.split()
        # No file behind it: offset, device, inode, and no name or the heap.
        if mode == "rw-p" and rest[3:] in ([], ["[heap]"]):
            begin, end = (int(x, 16) for x in place.split("-"))
            for at in range(-(-begin // size) * size, end // size * size, size):
                madvise(ctypes.c_void_p(at), ctypes.c_size_t(size), collapse)


def adopt_orphans() -> None:
    """Have Linux make this process the parent of descendants whose parent ended."""
    if sys.platform == "linux":
        import ctypes

        child_subreaper = 36  # PR_SET_CHILD_SUBREAPER
        ctypes.CDLL(None).prctl(child_subreaper, 1, 0, 0, 0)


def limit_memory(megabytes: str | None) -> None:
    """Let this process and what it starts have so many megabytes each, where the system can.

    What goes beyond raises `MemoryError` in the cell that asked for it.
    """
    if megabytes and sys.platform != "win32":
        import resource

        # Data: the address space also counts what libraries reserve and never touch.
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = int(megabytes) * 2**20
        given = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (given, most))


def _reseed() -> None:
    """Seed NumPy's global generator anew: all forks would draw the same numbers."""
    import numpy as np

    np.random.seed(None)  # noqa: NPY002


def _call(module: str, function: str, arguments: list[str]) -> int:
    """Call a function of the library in this process; its exit code is what it returns."""
    found: int = getattr(importlib.import_module(module), function)(*arguments)
    return found


def _main(argv: list[str]) -> int:
    """Run a kernel with these arguments."""
    from ipykernel.kernelapp import IPKernelApp

    sys.argv = ["ipykernel_launcher", *argv]
    app = IPKernelApp.instance()
    app.initialize(argv)
    app.start()
    return 0


def main() -> None:
    """Start a server: ``python -m ballbook.warm_server SOCKET [HIDDEN DESCRIPTOR] [--idle]``."""
    # As the launcher of cold kernels does: a folder one happens to be in holds no modules.
    del sys.path[0]
    owned = "--idle" not in sys.argv[2:]
    if owned:
        # Busy with imports it would not notice that its owner left.
        end_with_parent(os.getppid())
    path, *bound = (a for a in sys.argv[1:] if a != "--idle")
    if bound:
        hidden, listener = Path(bound[0]), socket.socket(fileno=int(bound[1]))
    else:
        hidden, listener = announce(Path(path))
    server = Server(Path(path), hidden, listener, owned=owned, idle=IDLE)
    try:
        preload(builds=not owned)
        outlive_parent()
        server.run()
    finally:
        hidden.unlink(missing_ok=True)


if __name__ == "__main__":
    main()

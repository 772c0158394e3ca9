"""A process forked by the warm server, seen from the client's side of its protocol.

The protocol is that of `ballbook.warm_server`.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return the message of a client and the file descriptors that came with it."""
    data, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    (size,) = struct.unpack("!I", data[:4])
    data = data[4:]
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError("the client left before its message was whole")
        data += more
    return json.loads(data), descriptors


def send(connection: socket.socket, message: dict[str, Any], descriptors: list[int]) -> None:
    """Send a message and file descriptors to the server."""
    data = json.dumps(message).encode()
    socket.send_fds(connection, [struct.pack("!I", len(data))], descriptors)
    connection.sendall(data)


class Forked:
    """A process forked by the server, with what `subprocess.Popen` would tell of it.

    Parameters
    ----------
    path : str
        The server's socket.
    what : mapping
        ``argv``: arguments of a kernel; or ``call``: module, function and arguments.
    env : dict of str
        Its environment.
    cwd : str
        The folder it runs in.
    descriptors : sequence of int
        Its standard output, error and, if there are three, input.

    Raises
    ------
    OSError
        Where the server does not answer.
    """

    stdin = stdout = stderr = None

    def __init__(
        self,
        path: str,
        what: Mapping[str, Any],
        env: dict[str, str],
        cwd: str,
        *,
        # The real ones: under a test runner sys.stdout is something else.
        descriptors: Sequence[int] = (1, 2),
    ) -> None:
        self.pid = 0
        self.returncode: int | None = None
        self._inbox = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(30)
            self._socket.connect(path)
            message = {**what, "env": env, "cwd": cwd}
            send(self._socket, message, list(descriptors))
            while not self.pid:
                data = self._socket.recv(1024)
                if not data:
                    raise ConnectionError("the server of warm kernels left")
                self._take(data)
        except BaseException:
            self._socket.close()
            raise

    def _take(self, data: bytes) -> None:
        """Learn the process number, and that the process ended, from what was received."""
        *lines, self._inbox = (self._inbox + data).split(b"\n")
        for line in lines:
            word, number = line.split()
            if word == b"pid":
                self.pid = int(number)
            elif self.returncode is None:
                self.returncode = int(number)

    def fileno(self) -> int:
        """Return a descriptor that can be read when the process has ended."""
        return self._socket.fileno()

    def _listen(self, seconds: float) -> None:
        """Read what the server says for at most so long."""
        if self.returncode is not None:
            return
        ready, _, _ = select.select([self._socket], [], [], max(seconds, 0))
        if not ready:
            return
        try:
            data = self._socket.recv(1024)
        except OSError:
            data = b""
        self._take(data)
        if not data and self.returncode is None:
            # The server is gone, and its children with it.
            self.returncode = -signal.SIGKILL
        if self.returncode is not None:
            self._socket.close()

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        self._listen(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code.

        Raises
        ------
        subprocess.TimeoutExpired
        """
        end = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left = 3600.0 if end is None else end - time.monotonic()
            if left <= 0:
                import subprocess

                raise subprocess.TimeoutExpired("kernel", timeout or 0)
            self._listen(left)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the process and what it started."""
        if self.poll() is None:
            try:
                self._socket.sendall(b"%d\n" % number)
            except OSError:
                self._listen(0)

    def terminate(self) -> None:
        """Ask the process to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process."""
        self.send_signal(signal.SIGKILL)

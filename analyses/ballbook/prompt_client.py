"""A kernel client that is ready as soon as its kernel is.

jupyter_client asks a new kernel what it is, and then waits until the kernel has said nothing for
0.2 s, so that no message of the greeting is taken for one of a cell. A kernel says by itself when
it has said all there is to an answer (status ``idle``), and forked kernels start in less than that.
A kernel that has not opened its sockets yet is tried again after milliseconds, not after ZeroMQ's
0.1 s.
"""

from __future__ import annotations

import time
from queue import Empty
from typing import Any

import zmq
from jupyter_client.asynchronous.client import AsyncKernelClient

AGAIN_MS = 5
NAME = f"{__name__}.PromptClient"


class PromptClient(AsyncKernelClient):
    """Waits for the answer to its greeting, and for the end of it, and no longer."""

    def start_channels(self, *args: Any, **kwargs: Any) -> None:
        """Connect to the kernel; see the parent class."""
        self.context.setsockopt(zmq.RECONNECT_IVL, AGAIN_MS)
        super().start_channels(*args, **kwargs)

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel has answered and everything it said is read.

        Raises
        ------
        RuntimeError
            If the kernel dies, or does not answer within `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            asked = self.kernel_info()
            reply = await self._reply(asked)
            if reply is not None and await self._idle(asked):
                self._handle_kernel_info_reply(reply)
                return
            if not await self._async_is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
            if end is not None and time.monotonic() > end:
                raise RuntimeError(f"Kernel didn't respond in {timeout} seconds")

    async def _reply(self, asked: str) -> dict[str, Any] | None:
        """Return the answer to a request, or None where none comes within a second."""
        try:
            while True:
                message: dict[str, Any] = await self.get_shell_msg(timeout=1)
                if message["parent_header"].get("msg_id") == asked:
                    return message
        except Empty:
            return None

    async def _idle(self, asked: str) -> bool:
        """Read what the kernel says until it has done with a request.

        False where it falls silent: messages sent before this client was connected are lost.
        """
        try:
            while True:
                message = await self.get_iopub_msg(timeout=0.2)
                if (
                    message["parent_header"].get("msg_id") == asked
                    and message["content"].get("execution_state") == "idle"
                ):
                    return True
        except Empty:
            return False

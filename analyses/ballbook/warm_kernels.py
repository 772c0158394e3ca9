"""Jupyter kernels from the warm server: a kernel provisioner, jupyter_client's extension point.

Papermill and nbclient know nothing of it. A kernel is asked of the server at ``BALLBOOK_WARM``
(`ballbook.warm_server`); where none answers, it is started as always.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from ballbook import warm
from ballbook.forked import Forked

NAME = "ballbook-warm"


class WarmProvisioner(LocalProvisioner):
    """Starts kernels by the warm server, else as the local provisioner does."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Return the connection of a kernel that was forked, or started cold."""
        path = warm.reachable(os.environ.get(warm.VARIABLE))
        ours = cmd[:1] == [sys.executable] and "ipykernel_launcher" in cmd
        if path is None or not ours:
            return await super().launch_kernel(cmd, **kwargs)
        argv = cmd[cmd.index("ipykernel_launcher") + 1 :]
        env = {str(k): str(v) for k, v in (kwargs.get("env") or os.environ).items()}
        cwd = str(kwargs.get("cwd") or Path.cwd())
        try:
            forked = Forked(str(path), {"argv": argv}, env, cwd)
        except OSError:
            return await super().launch_kernel(cmd, **kwargs)
        self.process = cast("subprocess.Popen[bytes]", forked)
        self.pid = forked.pid
        # Signals go through the server: here the process is nobody's child.
        self.pgid = None
        self.cwd = cwd
        return self.connection_info

    async def shutdown_requested(self, restart: bool = False) -> None:
        """Wait for the end of a kernel that was asked to leave, which takes it some milliseconds.

        The kernel manager would look again after a tenth of a second. One that was forked is ended
        at once, as its notebook is: the server looks after what it began.
        """
        if isinstance(self.process, Forked):
            self.process.kill()
        end = time.monotonic() + 1
        while await self.poll() is None and time.monotonic() < end:
            await asyncio.sleep(0.001)

"""A papermill engine whose kernel starts early, and that knows which cell is running.

A kernel takes as long to start as a notebook to be read and checked: both are done at once. What
hangs can be named by its cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.log import logger

if TYPE_CHECKING:
    from traitlets.config import Config

NAME = "ballbook"
# What nbclient asks of IPython (no history is kept), and no word on the log.
ARGUMENTS = ("--HistoryManager.hist_file=:memory:", "--IPKernelApp.log_level=50")
_begun: list[AsyncKernelManager] = []
_current: list[Any] = []


@contextmanager
def begun(config: Config, folder: Path) -> Iterator[None]:
    """Start a kernel in a folder, for the notebook that is executed inside."""
    manager = AsyncKernelManager(kernel_name="python3", config=config)
    run_sync(manager.start_kernel)(extra_arguments=list(ARGUMENTS), cwd=str(folder))
    _begun.append(manager)
    try:
        yield
    finally:
        if manager in _begun:
            # Nobody took it over, who would have ended it.
            _begun.remove(manager)
            run_sync(manager.shutdown_kernel)(now=True)


class Client(PapermillNotebookClient):
    """Executes as papermill does, by the kernel that was begun."""

    def create_kernel_manager(self) -> AsyncKernelManager:
        """Return the manager of the kernel; see the parent class."""
        self.km = _begun.pop()
        return self.km


class Engine(NBClientEngine):
    """Executes as papermill's own engine does, and keeps the notebook in reach meanwhile."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> Any:
        """Execute a notebook; see the parent class."""
        follow(nb_man.nb)
        return Client(nb_man, kernel_name=kernel_name, startup_timeout=60, log=logger).execute()


def follow(notebook: Any) -> None:
    """Keep in reach the notebook that is executed from now on."""
    _current[:] = [notebook]


def where() -> str:
    """Return the cell that is running, or was when the kernel died, by number and first line."""
    for notebook in _current:
        number = 0
        for cell in notebook.cells:
            number += cell.cell_type == "code"
            if cell.metadata.get("papermill", {}).get("status") == "running":
                lines = [x for x in cell.source.splitlines() if x.strip() and x[0] != "#"]
                return f"in cell {number}: {lines[0] if lines else ''}"
    return "in no cell of a notebook"


papermill_engines.register(NAME, Engine)

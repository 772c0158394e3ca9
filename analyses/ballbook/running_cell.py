"""A papermill engine that knows which cell is running, so that what hangs can be named."""

from __future__ import annotations

from typing import Any

from papermill.engines import NBClientEngine, papermill_engines

NAME = "ballbook"
_current: list[Any] = []


class Engine(NBClientEngine):
    """Executes as papermill's own engine does, and keeps the notebook in reach meanwhile."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> Any:
        """Execute a notebook; see the parent class."""
        follow(nb_man.nb)
        return super().execute_managed_notebook(nb_man, kernel_name, **kwargs)


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

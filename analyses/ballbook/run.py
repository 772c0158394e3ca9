"""Run one analysis: parameters checked, notebook executed by papermill, results in one folder.

Command line, workflow and tests all call `run`. It writes into a hidden folder that takes its place
at the end (`ballbook.placing`), so that a run which fails or is killed leaves nothing half-written
and never harms an earlier result.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ballbook import analyses, catalog, claims, freshness, ledger, paths, placing, render
from ballbook.errors import Failure, Refusal
from ballbook.parameters import resolve
from ballbook.results import Verdict
from ballbook.variables import environment

if TYPE_CHECKING:
    from nbformat import NotebookNode

ANSI = re.compile(r"\x1b\[[0-9;]*m")
INJECTED_COHORT = re.compile(r"^cohort = .*$", re.M)
# Characters of the outputs of a cell.
MOST_OUTPUT = 50_000_000
SLOT = '<div data-bb-slot="answer"></div>'


class RunFailed(Failure, RuntimeError):
    """A cell of the notebook raised; the message holds its last lines."""


class StrictBuildFailed(Failure, RuntimeError):
    """The book has a warning, a traceback or a dead link."""


class NotEmpty(Refusal, ValueError):
    """The output folder holds something that is not an earlier run."""


class NotCombinable(Refusal, ValueError):
    """Results that cannot be pooled; `problems` holds (file, what is wrong) of everything."""

    def __init__(self, problems: Iterable[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        n = len(self.problems)
        lines = [f"{n} problem{'s' if n != 1 else ''}; nothing was combined:"]
        lines += [f"  {file}: {what}" if file else f"  {what}" for file, what in self.problems]
        super().__init__("\n".join(lines))


def run(
    slug: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    out: Path | None = None,
    column_map: str | Path | None = None,
    held: AbstractContextManager[Any] | None = None,
) -> Path:
    """Run the analysis `slug` and return the folder with its outputs.

    Parameters
    ----------
    slug : str
        Name of the analysis.
    parameters : mapping, optional
        Values that override the defaults of the parameters cell; text is converted.
    out : Path, optional
        Folder for the outputs; ``build/runs/<slug>`` when not given. An earlier run there is
        replaced.
    column_map : str or Path, optional
        YAML that renames and recodes the columns of the reader's cohort.
    held : context manager, optional
        Entered while the run takes the place of an earlier one.

    Returns
    -------
    Path
        The folder with ``report.html``, ``notebook.ipynb``, ``results.json``,
        ``provenance.json``, ``figures/`` and ``tables/``.

    Raises
    ------
    UnknownAnalysis, InvalidParameters, InvalidCohort, NotEmpty
        The input is refused; no kernel was started.
    Unavailable
        Open data that the analysis needs cannot be had.
    RunFailed
        The notebook raised.
    """
    analysis = analyses.find(slug)
    values = resolve(analysis.parameters, parameters or {})
    target = (out or paths.build() / "runs" / slug).resolve()
    check_target(target)
    if values.get("cohort"):
        from ballbook import needs
        from ballbook.cohort import read_cohort

        values["cohort"] = str(Path(values["cohort"]).expanduser().resolve())
        needs.require(read_cohort(values["cohort"], column_map), slug, values)
    for id in analysis.meta["data"]:
        catalog.get(id)
    defaults = resolve(analysis.parameters, {})
    other = {k: v for k, v in values.items() if v != defaults[k]}
    # Before the run: what changes meanwhile makes it stale.
    now = freshness.of_page(slug, other, column_map)
    with placing.placed(target, held) as work:
        given = str(Path(column_map).expanduser().resolve()) if column_map else ""
        with environment(BALLBOOK_MAP=given):
            executed = execute(analysis, values, work)
        finish(analysis, values, executed, work)
        now.stamp(work)
    return target


def check_target(target: Path) -> None:
    """Refuse an output folder that holds something else than an earlier run.

    Raises
    ------
    NotEmpty
    """
    if target.exists() and not target.is_dir():
        raise NotEmpty(f"{target} is a file; choose a folder")
    if target.exists() and any(target.iterdir()) and not (target / "results.json").is_file():
        raise NotEmpty(f"{target} is not empty and holds no earlier run; choose another folder")


def execute(analysis: analyses.Analysis, values: Mapping[str, Any], work: Path) -> NotebookNode:
    """Execute a notebook with papermill and return it with outputs."""
    import nbformat
    import papermill
    from jupyter_client.provisioning.factory import KernelProvisionerFactory
    from nbclient.exceptions import DeadKernelError
    from traitlets.config import Config

    from ballbook import prompt_client, running_cell, warm, warm_kernels, warm_server

    # Socket files have short paths only; ports would be open to other users of the machine.
    placing.sweep_sockets()
    sockets = Path(tempfile.mkdtemp(prefix=f"bb-{os.getpid()}-"))
    # Parameters are checked already, and by more types than papermill knows.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    KernelProvisionerFactory.instance().default_provisioner_name = warm_kernels.NAME
    config = Config(
        {
            "KernelManager": {
                "transport": "ipc",
                "client_class": prompt_client.NAME,
                "connection_file": str(sockets / "kernel.json"),
            }
        }
    )

    def once(server: Path | None) -> NotebookNode:
        surroundings = environment(
            BALLBOOK_WARM=str(server or 0),
            BALLBOOK_OUT=str(work),
            JUPYTER_RUNTIME_DIR=str(sockets),
            PYTHONHASHSEED="0",
            MPLBACKEND="agg",
            **warm_server.THREADS,
        )
        with surroundings, running_cell.begun(config, work):
            source = nbformat.from_dict(json.loads(json.dumps(analysis.notebook)))
            # The kernel is the one of this environment, whatever a reader's editor wrote.
            source.metadata["kernelspec"] = {
                "name": "python3",
                "display_name": "Python 3",
                "language": "python",
            }
            source.metadata["language_info"] = {"name": "python"}
            return papermill.execute_notebook(
                source,
                None,
                parameters=dict(values),
                engine_name=running_cell.NAME,
                kernel_name="python3",
                progress_bar=False,
                log_output=False,
                cwd=str(work),
            )

    server = warm.reach()
    try:
        try:
            executed = once(server)
        except DeadKernelError:
            if server is None or warm.reachable(str(server)):
                raise
            # The server was lost, and the kernel with it: nothing is wrong with the notebook.
            executed = once(None)
    except DeadKernelError as error:
        raise RunFailed(
            f"{analysis.slug}: the kernel died {running_cell.where()}; it may have been killed, "
            f"or have wanted more memory than it may have ({error})"
        ) from None
    except MemoryError:
        raise RunFailed(
            f"{analysis.slug} wanted more memory than it may have {running_cell.where()}"
        ) from None
    except papermill.PapermillExecutionError as error:
        lines = ANSI.sub("", "\n".join(error.traceback[-4:]))
        reason = f"{error.ename}: {error.evalue}"
        if str(error.ename).endswith("MemoryError"):
            reason += " (it wanted more memory than it may have)"
        elif not (error.evalue or lines):
            reason = f"{error.ename}, of which the kernel could not say more, for want of memory?"
        raise RunFailed(
            f"{analysis.slug} failed in cell {error.exec_count}: {reason}\n{lines}"
        ) from None
    finally:
        with suppress(OSError):
            shutil.rmtree(sockets)
    check_size(analysis.slug, executed)
    if not (work / "results.json").is_file():
        raise RunFailed(f"{analysis.slug} ended without page.close(), so it left no results")
    return executed


def finish(
    analysis: analyses.Analysis, values: Mapping[str, Any], executed: NotebookNode, work: Path
) -> None:
    """Fill the answer box, tidy the notebook, and write it with its self-contained report."""
    import nbformat

    from ballbook import report

    results = json.loads((work / "results.json").read_text(encoding="utf8"))
    check_results(results)
    for cell in executed.cells:
        cell.metadata = {"tags": tags_for_book(cell)} if cell.cell_type == "code" else {}
        if cell.cell_type != "code":
            continue
        if values.get("cohort") and "injected-parameters" in cell.metadata["tags"]:
            # Where a reader keeps patients is nobody else's business.
            # By its place, since papermill spells letters beyond ASCII in a way of its own.
            cell.source = INJECTED_COHORT.sub('cohort = "(yours)"', cell.source)
        cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
        for output in cell.outputs:
            if "text/html" in output.get("data", {}):
                output["data"].pop("text/plain", None)
    put_answer_first(executed, answer_box(analysis, results))
    executed.metadata = {
        "kernelspec": executed.metadata["kernelspec"],
        "language_info": {"name": "python"},
        "ballbook": {k: v for k, v in analysis.meta.items() if k != "sha256"},
    }
    for i, cell in enumerate(executed.cells):
        cell["id"] = f"{analysis.slug[:40]}-{i:02d}"
    nbformat.write(executed, work / "notebook.ipynb")
    (work / "report.html").write_text(report.html(analysis.meta, executed), encoding="utf8")


def check_size(slug: str, executed: NotebookNode) -> None:
    """Refuse a cell whose output no reader's browser could show.

    Raises
    ------
    RunFailed
    """
    number = 0
    for cell in executed.cells:
        number += cell.cell_type == "code"
        size = sum(len(str(output)) for output in cell.get("outputs", []))
        if size > MOST_OUTPUT:
            raise RunFailed(
                f"{slug}: cell {number} wrote {size / 1e6:.0f} MB of output; a cell may write "
                f"{MOST_OUTPUT / 1e6:.0f} MB"
            )


def put_answer_first(executed: NotebookNode, box: str) -> None:
    """Move the answer box, filled, to a cell of its own right below the title."""
    from nbformat.v4 import new_code_cell, new_output

    for cell in executed.cells:
        cell.get("outputs", [])[:] = [
            o for o in cell.get("outputs", []) if SLOT not in o.get("data", {}).get("text/html", "")
        ]
    title = next(i for i, cell in enumerate(executed.cells) if cell.cell_type == "markdown")
    answer = new_code_cell("page.answer()", metadata={"tags": ["remove-input"]})
    answer.outputs = [new_output("display_data", data={"text/html": box})]
    executed.cells.insert(title + 1, answer)


def check_results(results: Mapping[str, Any]) -> None:
    """Check results against the contract of ``results.json``.

    Raises
    ------
    RunFailed
        Listing every place that breaks it.
    """
    from jsonschema import Draft202012Validator

    schema = json.loads(Path(__file__).with_name("results.schema.json").read_text(encoding="utf8"))
    problems = [
        f"results.json: {error.json_path}: {error.message}"
        for error in Draft202012Validator(schema).iter_errors(results)
    ]
    if problems:
        raise RunFailed("\n".join(problems))


def tags_for_book(cell: Any) -> list[str]:
    """Return the tags of a code cell in the book: its source folded away, set-up cells hidden."""
    kept = [t for t in cell.metadata.get("tags", []) if t in {"parameters", "injected-parameters"}]
    return [*kept, "remove-cell" if "injected-parameters" in kept else "hide-input"]


def headline(meta: Mapping[str, Any], results: Mapping[str, Any]) -> list[Verdict]:
    """Return the verdicts that the front matter calls headline, in its order; own data first."""
    found = [Verdict(**v) for v in results["verdicts"]]
    wanted = list(meta["headline"])
    return [v for id in wanted for v in found if v.claim == id]


def answer_box(analysis: analyses.Analysis, results: Mapping[str, Any]) -> str:
    """Return the HTML of the answer box from the results of a run."""
    box = render.answer(
        results["summary"],
        results.get("certainty", ""),
        headline(analysis.meta, results),
        claims.read(),
    )
    return render.dummy_label() + box if ledger.of_dummy(results) else box

"""What every page needs on the side that runs it, used once before pages are forked.

The first notebook compiles the schema of notebooks, the first formula and the first code the
expressions by which they are read. Nothing here reads a file of the checkout, which may have
changed by the time a page is run.
"""

from __future__ import annotations

TEXT = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
    format_version: 0.13
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# Title

With $x$, and

$$\\begin{aligned} x &= 1 \\end{aligned}$$

```{code-cell} python
:tags: [parameters]

x: float = 1.0  # one [> 0]
```
"""


def pages() -> None:
    """Read, check and show a notebook, and find out how kernels are started."""
    import jupytext
    import nbformat
    import papermill
    import pybtex.database.input.bibtex
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.provisioning.factory import KernelProvisionerFactory

    from ballbook import prompt_client, report, run, running_cell, warm_kernels

    del papermill, pybtex, prompt_client, run, running_cell, warm_kernels
    notebook = jupytext.reads(TEXT, fmt={"extension": ".md"})
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            report.reader().render(cell.source)
        else:
            report.code(cell.source)
    KernelSpecManager().find_kernel_specs()
    KernelProvisionerFactory.instance().get_provisioner_entries()

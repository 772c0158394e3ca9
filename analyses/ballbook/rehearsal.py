"""What every page, and the book, need on the side that runs them, used once before they are forked.

The first notebook compiles the schema of notebooks, the first formula and the first code the
expressions by which they are read; the first rendering imports extensions and compiles many more.
Of the checkout, which may have changed by the time a page is run, nothing is read here but the
library's own sources.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from ballbook import freshness, text_notebook

TEXT = (
    text_notebook.HEADER
    + """\
---

# Title

With $x$, and

$$\\begin{aligned} x &= 1 \\end{aligned}$$

```{code-cell} python
:tags: [parameters]

x: float = 1.0  # one [> 0]
```
"""
)

# What the real book uses and is not its own: the theme, tables, cross-references, a notebook.
BOOK = {
    "_toc.yml": "format: jb-book\nroot: index\nchapters:\n- file: page\n",
    "_config.yml": """\
title: Book
only_build_toc_files: true
execute:
  execute_notebooks: "off"
sphinx:
  extra_extensions: [sphinxcontrib.bibtex]
  config:
    bibtex_bibfiles: [references.bib]
    # Themes add to this list; Sphinx gives all builds of a process the same one when none is set.
    templates_path: []
    html_theme_options: {home_page_in_toc: true, show_toc_level: 2}
""",
    "references.bib": "@misc{one, title = {One}, author = {One, A. and Two, B.}, year = {2026}}",
    "index.md": """\
# Book

Of [a page](page.ipynb) {cite:p}`one`.

```{bibliography}
:all:
```
""",
}


def pages() -> None:
    """Read, check and show a notebook, and find out how kernels are started."""
    import jupytext
    import nbformat
    import papermill
    import pybtex.database.input.bibtex
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.provisioning.factory import KernelProvisionerFactory

    from ballbook import prompt_client, report, run, running_cell, strays, warm_kernels, warm_server

    del papermill, pybtex, prompt_client, run, running_cell, strays, warm_kernels, warm_server
    notebook = jupytext.reads(TEXT, fmt={"extension": ".md"})
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            report.reader().render(cell.source)
        else:
            report.code(cell.source)
    freshness.read_library()
    KernelSpecManager().find_kernel_specs()
    KernelProvisionerFactory.instance().get_provisioner_entries()


def book() -> None:
    """Render a book of two pages somewhere, and forget it."""
    import jupytext
    import nbformat

    from ballbook import html_book

    with tempfile.TemporaryDirectory(prefix="bb-") as folder:
        source = Path(folder) / "source"
        source.mkdir()
        for name, text in BOOK.items():
            (source / name).write_text(text, encoding="utf8")
        notebook = jupytext.reads(TEXT, fmt={"extension": ".md"})
        cell = next(c for c in notebook.cells if c.cell_type == "code")
        cell.outputs = [nbformat.v4.new_output("display_data", data={"text/html": "<p>1</p>"})]
        nbformat.write(notebook, source / "page.ipynb")
        html_book.jupyter_book(source, Path(folder) / "work")

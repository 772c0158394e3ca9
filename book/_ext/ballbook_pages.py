"""Keep the pages free of scripts that the book never uses, and the same in every build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from myst_nb.sphinx_ext import add_global_html_resources
from sphinx.application import Sphinx

# Jupyter Book always loads live-code support, which names another host.
UNUSED = "thebe"


def drop_unused_scripts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Leave the unused scripts out of a page."""
    context["script_files"] = [
        script
        for script in context.get("script_files", [])
        if UNUSED not in f"{script} {getattr(script, 'attributes', '')}"
    ]


def put_style_first(app: Sphinx) -> None:
    """Have the style of notebooks in place before a page is written.

    Its checksum stands in every page, but in a first build it would be copied after the pages.
    """
    (Path(app.outdir) / "_static").mkdir(parents=True, exist_ok=True)
    add_global_html_resources(app, None)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the steps; scripts are dropped after all extensions have added theirs."""
    app.connect("builder-inited", put_style_first)
    app.connect("html-page-context", drop_unused_scripts, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

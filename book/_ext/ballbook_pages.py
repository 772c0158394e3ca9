"""Keep the pages free of scripts that the book never uses."""

from __future__ import annotations

from typing import Any

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


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the step, after all extensions have added their scripts."""
    app.connect("html-page-context", drop_unused_scripts, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""A run as one self-contained HTML file that looks like the book and asks nothing of a network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

from ballbook import bibliography, paths

if TYPE_CHECKING:
    from nbformat import NotebookNode

CITE = re.compile(r"\{cite(?::[a-z]+)?\}`([^`]+)`")
TARGET = re.compile(r"^\([\w-]+\)=\s*$", re.M)
FENCE = re.compile(r"^:::+(?:\{[\w-]+\}\s*(.*))?$", re.M)
ROLE = re.compile(r"\{(?:doc|ref|term|numref)\}`(?:([^`<]*?)\s*<[^`>]*>|([^`]*))`")


@cache
def reader() -> Any:
    """Return the Markdown reader: CommonMark with tables, definition lists and formulae."""
    from markdown_it import MarkdownIt
    from mdit_py_plugins.amsmath import amsmath_plugin
    from mdit_py_plugins.deflist import deflist_plugin
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    from ballbook.mathml import to_mathml

    def math(content: str, options: Mapping[str, Any]) -> str:
        return to_mathml(content, block=options["display_mode"])

    def block(content: str) -> str:
        return to_mathml(content, block=True)

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.use(dollarmath_plugin, renderer=math).use(deflist_plugin)
    return markdown.use(amsmath_plugin, renderer=block)


def prose(source: str) -> str:
    """Return a Markdown cell as HTML, with MyST's citations and references made plain text."""
    known = bibliography.short()

    def cite(match: re.Match[str]) -> str:
        keys = [key.strip() for key in match[1].split(",")]
        return "(" + "; ".join(known.get(key, key) for key in keys) + ")"

    plain = CITE.sub(cite, TARGET.sub("", source))
    plain = FENCE.sub(lambda m: f"**{m[1]}**" if m[1] else "", plain)
    plain = ROLE.sub(lambda m: m[1] or m[2] or "", plain)
    return str(reader().render(plain))


def code(source: str) -> str:
    """Return a code cell folded away."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    body = highlight(source, PythonLexer(), HtmlFormatter(cssclass="bb-source"))
    return f'<details class="bb-code"><summary>Code</summary>{body}</details>'


def outputs(cell: Any) -> str:
    """Return the outputs of a code cell: HTML as it is, text escaped."""
    parts = []
    for output in cell.outputs:
        data = output.get("data", {})
        if "text/html" in data:
            parts.append(data["text/html"])
        elif text := output.get("text") or data.get("text/plain"):
            parts.append(f"<pre>{escape(text)}</pre>")
    return "".join(parts)


def of_parts(meta: Mapping[str, Any], parts: Iterable[tuple[str, str]]) -> str:
    """Return a page made without a notebook.

    Parameters
    ----------
    meta : mapping
        With the ``title``.
    parts : iterable of (str, str)
        ``markdown`` or ``html``, and the text.
    """
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

    cells = []
    for kind, body in parts:
        if kind == "markdown":
            cells.append(new_markdown_cell(body))
            continue
        cell = new_code_cell("", metadata={"tags": ["remove-input"]})
        cell.outputs = [new_output("display_data", data={"text/html": body})]
        cells.append(cell)
    return html(meta, new_notebook(cells=cells))


def html(meta: Mapping[str, Any], notebook: NotebookNode) -> str:
    """Return an executed notebook as one HTML page with its style inside."""
    from pygments.formatters import HtmlFormatter

    static = paths.book() / "_static"
    style = (static / "ballbook.css").read_text(encoding="utf8")
    script = (static / "ballbook.js").read_text(encoding="utf8")
    light = HtmlFormatter(style="friendly").get_style_defs(".bb-source")
    body = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            body.append(prose(cell.source))
        elif "injected-parameters" not in cell.metadata.get("tags", []):
            hidden = "remove-input" in cell.metadata.get("tags", [])
            body.append(("" if hidden else code(cell.source)) + outputs(cell))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(str(meta['title']))}</title>"
        f"<style>{style}\n{light}</style></head>"
        f'<body class="bb-report"><main class="bb-page">{"".join(body)}</main>'
        '<footer class="bb-foot">Made with ballbook, research software, not a medical device.'
        f"</footer><script>{script}</script></body></html>\n"
    )

"""Draw the book's formulae as MathML while it is built.

A formula that cannot be converted is a warning, and a warning fails the build.
"""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

from ballbook.mathml import to_mathml

logger = logging.getLogger(__name__)


def _convert(node: nodes.Node, tex: str, *, block: bool) -> str:
    try:
        return to_mathml(tex, block=block)
    except ValueError as error:
        logger.warning(str(error), location=node)
        return f"<code>{escape(tex)}</code>"


def visit_inline(self: Any, node: nodes.math) -> None:
    """Write an inline formula."""
    html = _convert(node, node.astext(), block=False)
    self.body.append(f'<span class="bb-math">{html}</span>')
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.math_block) -> None:
    """Write a display formula, one row for each part set off by a blank line."""
    self.body.append(self.starttag(node, "div", CLASS="bb-math-block"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})</span>')
    for part in node.astext().split("\n\n"):
        if part.strip():
            rows = r"\\" in part and r"\begin" not in part
            tex = rf"\begin{{align*}}{part}\end{{align*}}" if rows else part
            self.body.append(_convert(node, tex, block=True))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer that ``html_math_renderer = "mathml"`` selects."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

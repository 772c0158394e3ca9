"""The analyses of the book: one text notebook a finding, found by its slug."""

from __future__ import annotations

import difflib
import hashlib
import io
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ballbook import paths, text_notebook
from ballbook.errors import Refusal
from ballbook.parameters import Parameter, of_notebook

if TYPE_CHECKING:
    from nbformat import NotebookNode

META = ("slug", "chapter", "title", "finding", "source", "data", "headline")


class UnknownAnalysis(Refusal, LookupError):
    """There is no analysis of that name."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """One text notebook: where it is, what it declares, and its cells.

    Attributes
    ----------
    meta : mapping
        The front matter under ``ballbook:``, and the SHA-256 of the file.
    text : str
        The file as it was read.
    """

    slug: str
    path: Path
    meta: Mapping[str, Any]
    parameters: list[Parameter]
    text: str = field(repr=False)

    @property
    def notebook(self) -> NotebookNode:
        """The cells as jupytext reads them, for whoever executes or draws the notebook."""
        return _notebook(self.text)

    @property
    def chapter(self) -> str:
        """Name of the chapter's folder."""
        return self.path.parent.name


def slugs() -> list[str]:
    """Return the slugs of all analyses, by chapter and name."""
    return [file.stem for file in sorted(paths.analyses().glob("*/*-*.md"))]


@cache
def _notebook(text: str) -> NotebookNode:
    import jupytext

    return jupytext.reads(text, fmt={"extension": ".md"})


@cache
def find(slug: str) -> Analysis:
    """Return the analysis of that slug.

    Raises
    ------
    UnknownAnalysis
        With the nearest name.
    ValueError
        If the notebook's front matter or parameters cell breaks the contract.
    """
    files = sorted(paths.analyses().glob(f"*/{slug}.md")) if "/" not in slug else []
    if len(files) != 1:
        near = difflib.get_close_matches(slug, slugs(), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        known = textwrap.fill(f"Known: {', '.join(slugs())}.", 96, break_on_hyphens=False)
        raise UnknownAnalysis(f"no analysis {slug!r}.{hint}\n{known}")
    (file,) = files
    content = file.read_bytes()
    text = io.StringIO(content.decode("utf8"), newline=None).read()
    notebook = text_notebook.read(text) or _notebook(text)
    meta = dict(notebook.metadata.get("ballbook", {}))
    if missing := [key for key in META if key not in meta]:
        raise ValueError(f"{file.name}: the front matter lacks ballbook: {', '.join(missing)}")
    if meta["slug"] != slug or meta["chapter"] != file.parent.name:
        raise ValueError(f"{file.name}: slug and chapter should name the file and its folder")
    meta["sha256"] = hashlib.sha256(content).hexdigest()
    return Analysis(slug, file, meta, of_notebook(notebook.cells), text)

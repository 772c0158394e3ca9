"""The front matter and the code cells of a MyST text notebook, without the packages that run it.

jupytext says what a text notebook means. Loading it and its Markdown parser takes longer than
most commands, which want to know a title or a parameter. `read` is for them: it knows the part of
MyST that pages are written in, gives exactly what jupytext gives, and returns None for anything
that it is not sure of (a broken notebook, a fence in a list, HTML around a cell), so that the
caller asks jupytext.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from ballbook import yaml_files

# How the front matter of every page begins.
HEADER = """\
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
"""
CELL = "{code-cell}"
OTHER = "{raw-cell}"
FRONT_MATTER = re.compile(r" {0,3}-{3,} *")
FENCE = re.compile(r"(`{3,}|~{3,})(.*)")
# What may put a fence inside something else (indentation, HTML), and breaks between cells.
UNSURE = re.compile(r" {1,3}(`{3}|~{3})| {0,3}<| {0,3}\+ *\+")
# Where markdown-it and Python see different lines.
ODD = re.compile(r"[\0\r\t\v\f\x1c-\x1e\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class TextNotebook:
    """What a text notebook declares.

    Attributes
    ----------
    metadata : dict
        The front matter.
    cells : list of dict
        The code cells, each with ``metadata`` and ``source``, as in nbformat.
    """

    metadata: dict[str, Any]
    cells: list[dict[str, Any]]


def read(text: str) -> TextNotebook | None:
    """Return the front matter and code cells of a notebook, or None where jupytext is needed."""
    lines = text.split("\n")
    if ODD.search(text) or lines[0] != "---":
        return None
    end = next((i for i, line in enumerate(lines[1:], 1) if FRONT_MATTER.fullmatch(line)), None)
    if end is None or any(line.startswith("...") for line in lines[:end]):
        return None
    try:
        metadata = yaml_files.parse("\n".join(lines[1:end]))
        cells = _code_cells(lines[end + 1 :])
        form = metadata["jupytext"]["text_representation"]
        if (form["extension"], form["format_name"]) != (".md", "myst"):
            return None
    except (yaml.YAMLError, LookupError, TypeError, ValueError):
        return None
    return None if cells is None else TextNotebook(metadata, cells)


def _code_cells(lines: list[str]) -> list[dict[str, Any]] | None:
    """Return the cells between fences that begin in the first column; None if unsure."""
    cells: list[dict[str, Any]] = []
    rest = iter(lines)
    for line in rest:
        if UNSURE.match(line):
            return None
        opening = FENCE.match(line)
        if opening is None or (line[0] == "`" and "`" in opening[2]):
            continue
        closing = re.compile(rf" {{0,3}}{line[0]}{{{len(opening[1])},}} *")
        body: list[str] = []
        for inside in rest:
            if closing.fullmatch(inside):
                break
            body.append(inside)
        else:
            return None
        if opening[2].startswith(CELL):
            cells.append(_cell(body))
        elif opening[2].startswith(OTHER):
            return None
    return cells


def _cell(body: list[str]) -> dict[str, Any]:
    """Return one code cell: lines ``:option: value``, then its source."""
    if body and body[0].startswith("---"):
        raise LookupError("options as a block are left to jupytext")
    options: list[str] = []
    while body and body[0].lstrip().startswith(":"):
        options.append(body[0].lstrip()[1:])
        body = body[1:]
    if body and not body[0].strip():
        body = body[1:]
    metadata = yaml_files.parse("\n".join(options)) or {}
    if not isinstance(metadata, dict):
        raise TypeError("options are a mapping")
    return {"metadata": metadata, "source": "\n".join(body)}

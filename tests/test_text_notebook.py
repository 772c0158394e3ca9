"""The small reader of text notebooks gives what jupytext gives, or nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jupytext
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from jupytext.myst import MystMetadataParsingError

from ballbook import analyses, paths, text_notebook

HEAD = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
ballbook: {slug: a-page, chapter: kmt2a, title: T, finding: F, source: s, data: [], headline: []}
---
"""
CELL = "```{code-cell} python\n:tags: [parameters]\n\nseed: int = 7  # seed\n```\n"
# Lines that mean something to Markdown, to MyST or to this reader.
LINES = [
    "text", "", " ", "```", "````", "~~~", "```{code-cell}", "```{code-cell} python",
    "````{code-cell} python", "~~~{code-cell}", "```{code-cell} `x`", "``` {code-cell}",
    "```{code-cells}", "```{raw-cell}", "```python", ":tags: [parameters]", " :tags: [a, b]",
    ":name: x", "::", ":::{note}", "---", "name: x", "x = 1", "  x = 2", "    ```", "  ```",
    " ```{code-cell}", "    ```{code-cell}", "- item", "- ```", "-   ```{code-cell}", "1. a",
    "   ```{code-cell}", "> quote", "> ```{code-cell}", "<!--", "-->", "<div>", "<b>x</b>",
    "+++", '+++ {"tags": ["a"]}', "+ + +", "+ item", "% remark", "(a)=", "| a | b |", "|---|---|",
    "# Title", "===", "[a]: /b", "'t", "...", "\t```{code-cell}", "x\u2028y", "x\fy", "x\ry",
]  # fmt: skip


def by_jupytext(text: str) -> text_notebook.TextNotebook:
    """What jupytext makes of a text notebook, in the reader's terms."""
    found = jupytext.reads(text, fmt={"extension": ".md"})
    metadata = dict(found.metadata)
    metadata["jupytext"].pop("default_lexer", None)
    code = [c for c in found.cells if c.cell_type == "code"]
    return text_notebook.TextNotebook(
        metadata, [{"metadata": dict(c.metadata), "source": c.source} for c in code]
    )


def same(text: str) -> bool | None:
    """Whether the reader agrees with jupytext; None where it leaves the notebook to it."""
    found = text_notebook.read(text)
    return None if found is None else found == by_jupytext(text)


@pytest.mark.parametrize("slug", analyses.slugs())
def test_every_page_is_read_as_jupytext_reads_it(slug: str) -> None:
    assert same(analyses.find(slug).path.read_text("utf8")) is True


@given(st.lists(st.sampled_from(LINES), max_size=12), st.integers(0, 12))
@example(["<!--", "```{code-cell}", "```", "-->"], 0)
@example(["- item", "  ```{code-cell}", "  ```"], 0)
@example(["```{code-cell} python", "x = 1"], 12)
@example(["```{code-cell}", ":::{note}", "```"], 0)
def test_whatever_is_written_is_read_as_jupytext_reads_it_or_left_to_it(
    lines: list[str], place: int
) -> None:
    body = [*lines[:place], *CELL.splitlines(), *lines[place:]]
    text = HEAD + "\n".join(body) + "\n"
    try:
        by_jupytext(text)
    except Exception:
        assert text_notebook.read(text) is None
    else:
        assert same(text) in {True, None}


def test_most_of_what_pages_are_written_in_needs_no_jupytext() -> None:
    body = "\n# T\n\n- a\n- b\n\n```python\nx\n```\n\n" + CELL + "\n| a |\n|---|\n| b |\n\n" + CELL
    assert same(HEAD + body) is True


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout without pages; `place` writes one."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "catalog.yml").write_text("datasets: []\n")
    (tmp_path / "analyses" / "kmt2a").mkdir(parents=True)
    monkeypatch.setenv("BALLBOOK_HOME", str(tmp_path))
    analyses.find.cache_clear()
    return paths.analyses() / "kmt2a" / "a-page.md"


BROKEN = {
    "front matter that is no YAML": (HEAD.replace("a-page", "["), yaml.YAMLError),
    "options that are no YAML": (HEAD + CELL.replace("rs]", "rs"), MystMetadataParsingError),
    "a field that is lacking": (HEAD.replace("source: s, ", "") + CELL, ValueError),
    "another slug": (HEAD.replace("a-page", "b-page") + CELL, ValueError),
    "no front matter": (CELL, ValueError),
    "no parameters": (HEAD + CELL.replace("parameters", "others"), ValueError),
    "parameters twice": (HEAD + CELL + CELL, ValueError),
    "a parameter without help": (HEAD + CELL.replace("  # seed", ""), ValueError),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_notebook_has_the_error_it_has_with_jupytext(
    what: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, kind = BROKEN[what]
    home.write_text(text, encoding="utf8")
    with pytest.raises(kind) as light:
        analyses.find("a-page")
    monkeypatch.setattr(text_notebook, "read", lambda text: None)
    with pytest.raises(kind) as full:
        analyses.find("a-page")
    assert str(light.value) == str(full.value)
    assert str(light.value)


def test_what_is_executed_is_what_was_hashed(home: Path) -> None:
    home.write_text(HEAD + CELL, encoding="utf8")
    found = analyses.find("a-page")
    home.write_text(HEAD + CELL.replace("7", "8"), encoding="utf8")
    assert found.notebook.cells[0].source == "seed: int = 7  # seed"
    assert found.notebook is found.notebook


def test_lines_may_end_as_on_windows(home: Path) -> None:
    home.write_bytes((HEAD + CELL).replace("\n", "\r\n").encode())
    assert [p.name for p in analyses.find("a-page").parameters] == ["seed"]


def test_looking_at_pages_loads_no_jupytext() -> None:
    code = (
        "import sys; from ballbook import analyses; [analyses.find(s) for s in analyses.slugs()];"
        "print('jupytext' in sys.modules, analyses.find(analyses.slugs()[0]).notebook.nbformat,"
        "'jupytext' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "4", "True"], done.stderr

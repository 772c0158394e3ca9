"""The page of the data dictionary says what the reader, the schemas and the pages go by."""

from __future__ import annotations

import csv
import io
import re
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from ballbook import analyses, dictionaries, dictionary_page, html_book, needs, templates
from ballbook.dictionaries import TABLES, dictionary

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def page() -> str:
    return dictionary_page.page()


@pytest.fixture(scope="module")
def rows() -> dict[tuple[str, str], dict[str, str]]:
    read = csv.DictReader(io.StringIO(dictionary_page.as_csv()))
    return {(row["table"], row["column"]): row for row in read}


def row_of(page: str, table: str, column: str) -> str:
    """Return the text of a column's row, its tags taken away."""
    (found,) = re.findall(rf'<tr><td><span id="{re.escape(f"{table}.{column}")}">.*?</tr>', page)
    return unescape(re.sub(r"<[^>]+>", " ", found))


def test_every_column_of_every_table_is_there_once(
    page: str, rows: dict[tuple[str, str], dict[str, str]]
) -> None:
    files = {p.stem for p in (ROOT / "data" / "dictionaries").glob("*.yml")}
    assert files - {"dummy", "needs"} == set(TABLES)
    columns = [(t, c) for t in TABLES for c in dictionary(t).columns]
    assert list(rows) == [(t, c.name) for t, c in columns]
    assert page.startswith("# The data dictionary") and f"{len(columns)} columns of" in page
    for table, c in columns:
        told = row_of(page, table, c.name.strip("<>"))
        assert c.help in told and c.expected in told, c.name
        assert (c.unit or "") in told and all(word in told for word in c.allowed)
        assert all(name in told for name in c.synonyms), c.name
        assert ("required" in told.split(c.help)[0]) == c.required, c.name
        assert rows[table, c.name]["meaning"] == c.help


def test_it_agrees_with_the_schemas(rows: dict[tuple[str, str], dict[str, str]]) -> None:
    for table in set(TABLES) - {"expression"}:
        schema = dictionaries.schema(table)
        assert list(schema.columns) == [name for t, name in rows if t == table]
        for name, column in schema.columns.items():
            assert rows[table, name]["required"] == str(int(column.required))


@pytest.mark.parametrize("slug", sorted(set(needs.declared()) & set(analyses.slugs())))
def test_it_names_the_pages_that_ask_for_a_column(
    page: str, rows: dict[tuple[str, str], dict[str, str]], slug: str
) -> None:
    """As the template of the page does, which takes them from the same needs."""
    wide = {c.name for c in dictionary("patients").columns}
    for name, role in templates.columns(slug).items():
        if name not in wide or role == "usual" or name == "patient_id":
            continue
        by = rows["patients", name]
        assert slug in (by["needed_by"] + " " + by["used_by"]).split(), name
        assert role != "required" or slug in by["needed_by"].split(), name
        assert slug in row_of(page, "patients", name)
    whole = {n.partition(".")[0] for need in needs.declared()[slug] for n in need.any}
    for table in whole & {"outcomes", "mrd", "drug_response", "plates", "expression"}:
        (told,) = re.findall(
            rf"\(dictionary-{table.replace('_', '-')}\)=.*?(?=<div class)", page, re.S
        )
        assert f"{analyses.find(slug).chapter}/{slug}.html" in told


def test_what_nobody_asks_for_has_no_page(rows: dict[tuple[str, str], dict[str, str]]) -> None:
    asked = {n for wanted in needs.declared().values() for need in wanted for n in need.any}
    for c in dictionary("patients").columns:
        by = rows["patients", c.name]
        assert bool(by["needed_by"] or by["used_by"]) == (f"patients.{c.name}" in asked), c.name


def test_an_endpoint_that_a_page_takes_is_named(page: str) -> None:
    assert "lineage-switch-survival</a> (EFS, OS, OS after switch)" in page
    assert "ikzf1-outcome</a> (EFS)" in page


def test_words_that_are_understood_are_listed(
    page: str, rows: dict[tuple[str, str], dict[str, str]]
) -> None:
    assert "KMT2A-r: kmt2a, kmt2a-rearranged" in row_of(page, "patients", "subtype")
    assert "F: female, woman, girl" in rows["patients", "sex"]["also_understood"]
    assert not re.search(r"<li>[^<]*: ?</li>", page)
    assert "A map converts months or days." in row_of(page, "patients", "age_years")


def test_tables_that_nothing_reads_are_said_to_be_so(page: str) -> None:
    read, _, rest = page.partition("## Tables that no page reads")
    for table in TABLES:
        place = read if table in dictionary_page.TABLES_READ else rest
        assert f"(dictionary-{table.replace('_', '-')})=" in place


def test_the_book_holds_it(tmp_path: Path) -> None:
    contents = (ROOT / "book" / "_toc.yml").read_text("utf8")
    assert contents.count("- file: dictionary\n") == 1
    assert contents.index("caption: Reference") < contents.index("- file: dictionary\n")
    assert "[data dictionary](dictionary.md)" in (ROOT / "book" / "how-to-rerun.md").read_text()
    part = next(p for p in html_book.every_part(pd.DataFrame()) if p.name == "dictionary")
    html_book.make(part, part.key(), tmp_path)
    assert (tmp_path / "source" / "dictionary.md").read_text("utf8").startswith("# The data dict")
    assert (tmp_path / "extra" / "dictionary.csv").read_text("utf8").startswith("table,column,")

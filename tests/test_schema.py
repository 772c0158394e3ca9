"""Schemas, dictionaries, templates and the book say the same of every column."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.errors import SchemaError

from ballbook import cohort, dictionaries, needs, templates
from ballbook.cli import main
from ballbook.cohort import InvalidCohort, read_cohort, wide_name
from ballbook.dictionaries import (
    TABLES,
    Column,
    Refused,
    breaches,
    dictionary,
    read_value,
    schema,
)

ROOT = Path(__file__).resolve().parents[1]
LONG = [t for t in TABLES if t != "expression"]
COLUMNS = [(t, c) for t in LONG for c in dictionary(t).columns]
OUT: dict[str, list[Any]] = {
    "text": [1, 2.5],
    "flag": [2, -1, "yes"],
    "deletion": ["maybe", 1],
    "category": ["no such word", 3],
    "number": [math.inf, "four"],
    "integer": [1.5, math.inf, "four"],
    "mrd": [1.01, -0.01, "low"],
}


def row(table: str, **values: Any) -> pd.DataFrame:
    """Return one typed row of examples, with some values changed."""
    cells: dict[str, Any] = {}
    for c in dictionary(table).columns:
        cells[c.name] = read_value(c.example, c)[c.name]
    return pd.DataFrame([{**cells, **values}])


def broken(table: str, frame: pd.DataFrame) -> set[str | None]:
    return {b.column for b in breaches(frame, table)}


@pytest.mark.parametrize("table", TABLES)
def test_a_schema_has_the_columns_of_its_dictionary(table: str) -> None:
    words, made = dictionary(table), schema(table)
    assert made.name == table
    if table == "expression":
        assert made.index is not None and made.index.name == words.key[0]
        return
    assert list(made.columns) == [c.name for c in words.columns]
    for c in words.columns:
        ours = made.columns[c.name]
        assert (ours.required, ours.nullable) == (c.required, not c.required), c.name
        assert ours.description == c.help
        assert {str(check.error) for check in ours.checks} == {c.expected}
    assert made.unique == [k for k in words.key if k in made.columns]


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=lambda x: getattr(x, "name", str(x)))
def test_a_schema_takes_and_refuses_what_its_dictionary_does(table: str, column: Column) -> None:
    assert breaches(row(table), table) == []
    wrong = [*OUT[column.type]]
    if column.minimum is not None:
        wrong.append(column.minimum - 1)
    if column.maximum is not None:
        wrong.append(column.maximum + 1)
    for value in wrong:
        found = breaches(row(table, **{column.name: value}), table)
        assert [b.column for b in found] == [column.name], value
        assert found[0].expected == column.expected and found[0].row == 0
    for limit in (column.minimum, column.maximum):
        if limit is not None:
            assert breaches(row(table, **{column.name: limit}), table) == []
    for word in column.allowed:
        assert breaches(row(table, **{column.name: word}), table) == []
    blank = broken(table, row(table, **{column.name: None}))
    assert blank == ({column.name} if column.required else set())
    absent = broken(table, row(table).drop(columns=column.name))
    assert absent == ({column.name} if column.required else set())


@pytest.mark.parametrize("table", ["patients", "outcomes", "mrd"])
def test_a_key_that_comes_twice_breaks_the_schema(table: str) -> None:
    twice = pd.concat([row(table), row(table)], ignore_index=True)
    found = breaches(twice, table)
    assert {b.row for b in found} == {0, 1}
    assert {b.column for b in found} == set(dictionary(table).key)


def test_other_columns_are_free_and_names_come_once() -> None:
    frame = row("patients").assign(centre="north", score=3)
    assert breaches(frame, "patients") == []
    doubled = pd.concat([frame, frame[["score"]]], axis=1)
    assert [b.expected for b in breaches(doubled, "patients")] == ["each column once"]


def test_a_matrix_holds_numbers_and_each_gene_once() -> None:
    matrix = pd.DataFrame({"P1": [1.0, 2], "P2": [3.0, 4]}, pd.Index(["A", "B"], name="gene"))
    assert breaches(matrix, "expression") == []
    assert breaches(matrix.assign(P2=[np.nan, 1]), "expression")
    assert breaches(matrix.set_axis(pd.Index(["A", "A"], name="gene")), "expression")
    assert breaches(matrix.set_axis(["P1", "P1"], axis=1), "expression")


@pytest.mark.parametrize("table", LONG)
def test_what_needs_no_schema_is_what_the_schema_finds_nothing_wrong_with(table: str) -> None:
    one = row(table)
    frames = [one, one.iloc[:0], pd.concat([one, one], ignore_index=True), one.iloc[:, ::-1]]
    for c in dictionary(table).columns:
        values = [None, c.minimum, c.maximum, *c.allowed, *OUT[c.type]]
        frames += [row(table, **{c.name: v}) for v in values] + [one.drop(columns=c.name)]
    for frame in frames:
        try:
            schema(table).validate(frame)
        except SchemaError:
            assert not dictionaries._whole(frame, table), frame.to_dict("records")
        else:
            assert dictionaries._whole(frame, table), frame.to_dict("records")


def test_a_matrix_that_needs_no_schema_fits_it() -> None:
    genes = pd.Index(["A", "B"], name="gene")
    good = pd.DataFrame({"P1": [1.0, 2], "P2": [3, 4]}, genes)
    named = [good.rename_axis("symbol"), good.rename(index={"B": "A"}), good.rename(index={"B": 3})]
    wrong = [good.set_axis(["P1", "P1"], axis=1), good.replace(1.0, math.inf), good.assign(P2="x")]
    for frame in [good, good.iloc[:0], *named, *wrong]:
        try:
            schema("expression").validate(frame)
        except (SchemaError, ValueError):
            assert not dictionaries._whole(frame, "expression"), frame
        else:
            assert dictionaries._whole(frame, "expression"), frame


cells = st.one_of(
    st.sampled_from(
        ["1", "0", "yes", "del", "hom", "F", "male", "<0.01%", "5%", "1e3", "EFS", "B"]
    ),
    st.floats(-10, 5000).map(repr),
    st.text(min_size=1, max_size=6),
)


@settings(max_examples=150)
@given(st.data())
def test_what_is_read_from_text_fits_the_schema(data: st.DataObject) -> None:
    table, column = data.draw(st.sampled_from(COLUMNS))
    text = data.draw(cells)
    try:
        found = read_value(text, column)
    except Refused:
        return
    assert breaches(row(table, **found), table) == []


# ----------------------------------------------------------------------------- in read_cohort


def test_the_schema_is_the_last_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What slips through the reading of cells is stopped, with file, row, column and value."""
    path = tmp_path / "mine.csv"
    path.write_text(
        "patient_id,age,efs_months,efs_event,mrd_day29\nP1,4,,,\n\nP2,500,7,1,0.1\n", "utf8"
    )
    read = dictionaries.read_value

    def careless(text: str, column: Column) -> dict[str, Any]:
        wrong = {"500": {"age_years": 500.0}, "7": {"time_months": -7.0}, "0.1": {"level": 10.0}}
        return wrong.get(text) or read(text, column)

    monkeypatch.setattr(cohort, "read_value", careless)
    with pytest.raises(InvalidCohort) as caught:
        read_cohort(path)
    found = {(p.file, p.row, p.column, p.value) for p in caught.value.problems}
    assert found == {
        ("mine.csv", 4, "age_years", "500.0"),
        ("mine.csv", 4, "time_months", "-7.0"),
        ("mine.csv", 4, "level", "10.0"),
    }
    assert all(p.mend and p.expected for p in caught.value.problems)


def test_a_time_at_its_limit_in_days_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("patient_id,os_days,os_event\nP1,36525,1\n", "utf8")
    outcomes = read_cohort(path).outcomes
    assert outcomes is not None and outcomes["time_months"].tolist() == pytest.approx([1200])


def test_two_columns_of_one_time_point_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("patient_id,mrd_day29,mrd_d29_percent\nP1,0.1,3\n", "utf8")
    with pytest.raises(InvalidCohort, match="one column for MRD at day 29, not also 'mrd_day29'"):
        read_cohort(path)


def test_a_column_that_a_deletion_also_gives_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("patient_id,ikzf1,ikzf1_zygosity\nP1,het,hom\n", "utf8")
    with pytest.raises(InvalidCohort) as caught:
        read_cohort(path)
    assert [(p.column, p.row) for p in caught.value.problems] == [("ikzf1_zygosity", None)]


# ----------------------------------------------------------------------------------- templates


def test_the_printed_template_lists_every_column() -> None:
    said = CliRunner().invoke(main, ["template", "ikzf1-outcome"]).stdout
    for table in ("patients", "outcomes", "mrd"):
        assert f"# {table}.csv\n" + ",".join(schema(table).columns) in said
        for c in dictionary(table).columns:
            assert f"#   {c.name}: {c.help}\n" in said


@pytest.mark.parametrize("slug", sorted(needs.declared()))
def test_a_template_describes_its_columns_as_the_dictionary_does(slug: str, tmp_path: Path) -> None:
    templates.write(slug, tmp_path)
    with (tmp_path / "dictionary.csv").open(encoding="utf8", newline="") as f:
        described = list(csv.DictReader(f))
    assert [d["column"] for d in described] == list(templates.columns(slug))
    for line in described:
        column = dictionary("patients").find(line["column"])
        if column is None:
            assert wide_name(line["column"]) or line["column"] == "clearance", line
            continue
        assert line["column"] == column.name
        assert line["meaning"].endswith(column.help) and line["expected"] == column.expected
        assert line["also understood as"] == ", ".join(column.synonyms)
    tables = read_cohort(tmp_path)
    assert breaches(tables.patients, "patients") == []


# ---------------------------------------------------------------------------------- the book


def test_the_book_page_names_columns_that_are_understood() -> None:
    text = (ROOT / "book/how-to-rerun.md").read_text(encoding="utf8")
    table = text.split("| column | content | unit or values |")[1].split("\n\n")[0]
    shown = [line.split("|")[1:4] for line in table.strip().splitlines()[1:]]
    names = [name for cells in shown for name in re.findall(r"`([^`]+)`", cells[0])]
    assert len(names) > 12 and len(set(names)) == len(names)
    patients = {c.name: c for c in dictionary("patients").columns}
    for cells in shown:
        for name in re.findall(r"`([^`]+)`", cells[0]):
            assert name in patients or wide_name(name), name
        column = patients.get(re.findall(r"`([^`]+)`", cells[0])[0])
        for word in re.findall(r"`([^`]+)`", cells[2]) if column else []:
            read_value(word, column)

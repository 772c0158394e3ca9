"""Readers' cohorts: what is understood, and that everything wrong is said at once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ballbook.cohort import (
    DAYS_PER_MONTH,
    Cohort,
    InvalidCohort,
    read_cohort,
)
from ballbook.dictionaries import TABLES, Refused, dictionary, plain, read_value

GOOD = """patient_id,age,sex,wbc,ikzf1,efs_months,efs_event,os_months,os_event,mrd_day29
P1,4,F,12.5,del,14.2,1,20,1,0.002
P2,7.5,M,80,wt,60,0,60,0,0
P3,12,F,,,33,1,48.1,0,
"""


def write(folder: Path, text: str, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf8")
    return path


def refused(path: Path, **more: Any) -> InvalidCohort:
    with pytest.raises(InvalidCohort) as caught:
        read_cohort(path, **more)
    return caught.value


def said(error: InvalidCohort) -> list[tuple[int | None, str | None, str | None]]:
    return [(p.row, p.column, p.value) for p in error.problems]


# --------------------------------------------------------------------------- what is read


def test_a_wide_file(tmp_path: Path) -> None:
    c = read_cohort(write(tmp_path, GOOD))
    assert (c.id, c.tier, c.n) == ("mine", "yours", 3)
    assert list(c.patients["ikzf1"].fillna("?")) == ["del", "wt", "?"]
    assert math.isnan(c.patients["wbc_10e9_per_l"].iloc[2])
    efs = c.endpoint("EFS")
    assert efs["time_months"].tolist() == [14.2, 60.0, 33.0]
    assert efs["event"].tolist() == [1, 0, 1]
    assert c.mrd is not None and c.mrd["level"].tolist() == [0.002, 0.0]
    assert c.mrd["timepoint"].unique().tolist() == ["day 29"]
    assert c.mrd["day"].unique().tolist() == [29.0]
    assert c.patients["mrd_day29"].tolist()[:2] == [0.002, 0.0]
    assert (c.patients["lineage"] == "B").all() and any("lineage" in n for n in c.notes)
    assert list(c.files) == ["mine.csv"] and len(c.files["mine.csv"]) == 64


def test_the_same_cohort_in_every_format(tmp_path: Path) -> None:
    frame = pd.read_csv(write(tmp_path, GOOD))
    frame.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    frame.to_csv(tmp_path / "b.csv", sep=";", index=False)
    frame.to_excel(tmp_path / "c.xlsx", index=False)
    frame.to_parquet(tmp_path / "d.parquet")
    (tmp_path / "e.csv").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    expected = read_cohort(tmp_path / "mine.csv")
    assert expected.outcomes is not None
    for name in ["a.tsv", "b.csv", "c.xlsx", "d.parquet", "e.csv"]:
        c = read_cohort(tmp_path / name)
        pd.testing.assert_frame_equal(c.patients, expected.patients, check_dtype=False)
        assert c.outcomes is not None
        pd.testing.assert_frame_equal(c.outcomes, expected.outcomes, check_dtype=False)


def test_other_names_and_words(tmp_path: Path) -> None:
    text = (
        "Patient ID,Age at diagnosis,Gender,WBC,IKZF1 status,CDKN2A,EFS_days,EFS status,"
        "MRD TP1,Subtype,Centre\n"
        "P1,4,female,12,Deleted,hom,365.25,Yes,0.05%,MLL-r,north\n"
        "P2,5,m,13,negative,het,730.5,no,<0.0001,Ph-like,south\n"
        "P3,6,N/A,14,unknown,wt,.,NA,high,odd one,north\n"
    )
    c = read_cohort(write(tmp_path, text))
    p = c.patients
    assert p["sex"].fillna("?").tolist() == ["F", "M", "?"]
    assert p["ikzf1"].fillna("?").tolist() == ["del", "wt", "?"]
    assert p["cdkn2a"].tolist() == ["del", "del", "wt"]
    assert p["cdkn2a_zygosity"].fillna("?").tolist() == ["hom", "het", "?"]
    assert p["subtype"].tolist() == ["KMT2A-r", "BCR::ABL1-like", "odd one"]
    assert p["centre"].tolist() == ["north", "south", "north"]
    assert c.endpoint("EFS")["time_months"].tolist() == pytest.approx([12, 24])
    assert c.mrd is not None
    assert c.mrd["level"].tolist()[:2] == pytest.approx([0.0005, 0.0])
    assert math.isnan(c.mrd["level"].iloc[2])
    assert c.mrd["limit_of_detection"].iloc[1] == 0.0001
    assert c.mrd["category"].fillna("?").tolist() == ["?", "negative", "high"]
    assert c.mrd["timepoint"].unique().tolist() == ["TP1"]


def test_a_column_map_renames_and_recodes(tmp_path: Path) -> None:
    path = write(tmp_path, "nr,alter,ik\n1,3,A\n2,999,B\n")
    map = {
        "columns": {"nr": "patient_id", "alter": "age_years", "ik": "ikzf1"},
        "values": {"ikzf1": {"A": "del", "B": "wt"}},
        "missing": ["999"],
    }
    c = read_cohort(path, map)
    assert c.patients["ikzf1"].tolist() == ["del", "wt"]
    assert c.patients["age_years"].isna().tolist() == [False, True]
    (tmp_path / "map.yml").write_text(
        "columns: {nr: patient_id, alter: age_years, ik: ikzf1}\n"
        "values: {ikzf1: {A: del, B: wt}}\nmissing: [999]\n"
    )
    again = read_cohort(path, tmp_path / "map.yml")
    pd.testing.assert_frame_equal(again.patients, c.patients)


@pytest.mark.parametrize(
    "map", [{"colums": {}}, {"columns": ["a"]}, {"values": {"ikzf1": "del"}}, ["a"]]
)
def test_a_wrong_map_is_refused(tmp_path: Path, map: Any) -> None:
    assert refused(write(tmp_path, GOOD), map=map).problems


def test_a_map_of_a_column_that_is_not_there(tmp_path: Path) -> None:
    error = refused(write(tmp_path, GOOD), map={"columns": {"alter": "age_years"}})
    assert [p.value for p in error.problems] == ["alter"]


def test_a_folder_of_tables(tmp_path: Path) -> None:
    write(tmp_path, "patient_id,lineage\nP1,B\nP2,T\n", "patients.csv")
    write(
        tmp_path,
        "patient_id,endpoint,time_months,event,event_type,entry_months\n"
        "P1,EFS,10,1,relapse,0\nP1,OS,20,0,,\nP2,cir,5,1,death,2\n",
        "outcomes.csv",
    )
    write(
        tmp_path,
        "patient_id,timepoint,level,limit_of_detection\nP1,day29,<0.0001,\nP2,EOI,0.3,0.001\n",
        "mrd.csv",
    )
    write(tmp_path, "gene,P1,P2\nPAX5,10,3\nIKZF1,0,7\n", "expression.csv")
    write(tmp_path, "hello", "notes.docx")
    c = read_cohort(tmp_path)
    assert c.outcomes is not None and c.mrd is not None and c.expression is not None
    assert c.outcomes["endpoint"].tolist() == ["EFS", "OS", "CIR"]
    assert c.outcomes["entry_months"].tolist() == [0, 0, 2]
    assert c.mrd["timepoint"].tolist() == ["day 29", "end of induction"]
    assert c.mrd["limit_of_detection"].tolist() == [0.0001, 0.001]
    assert c.expression_kind == "counts"
    assert c.expression.loc["PAX5"].tolist() == [10.0, 3.0]
    assert set(c.files) == {"patients.csv", "outcomes.csv", "mrd.csv", "expression.csv"}
    assert any("notes.docx" in n for n in c.notes)


def test_expression_says_what_it_is(tmp_path: Path) -> None:
    write(tmp_path, "patient_id\nP1\nP2\n", "patients.csv")
    matrix = "gene,P1,P2\nPAX5,1.5,3\nIKZF1,0,7.25\n"
    path = write(tmp_path, matrix, "expression.csv")
    assert "declaration" in str(refused(tmp_path))
    path.rename(tmp_path / "expression.tpm.csv")
    assert read_cohort(tmp_path).expression_kind == "tpm"
    (tmp_path / "expression.tpm.csv").rename(path)
    write(tmp_path, "expression_kind: log2\ntitle: Ours\n", "cohort.yml")
    c = read_cohort(tmp_path)
    assert (c.expression_kind, c.title) == ("log2", "Ours")


def test_expression_as_h5ad(tmp_path: Path) -> None:
    import anndata

    write(tmp_path, "patient_id\nP1\nP2\n", "patients.csv")
    cells = anndata.AnnData(
        X=np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        obs=pd.DataFrame(index=["P1", "P2"]),
        var=pd.DataFrame(index=["A", "B", "C"]),
        uns={"expression_kind": "logcpm"},
    )
    cells.write_h5ad(tmp_path / "expression.h5ad")
    c = read_cohort(tmp_path)
    assert c.expression is not None and c.expression["P2"].tolist() == [4.0, 5.0, 6.0]
    assert c.expression_kind == "logcpm"


def test_a_workbook_of_tables(tmp_path: Path) -> None:
    with pd.ExcelWriter(tmp_path / "all.xlsx") as book:
        pd.DataFrame({"patient_id": ["P1"], "age": [3]}).to_excel(
            book, sheet_name="patients", index=False
        )
        pd.DataFrame(
            {"patient_id": ["P1"], "endpoint": ["OS"], "time_days": [365.25], "event": [1]}
        ).to_excel(book, sheet_name="outcomes", index=False)
    c = read_cohort(tmp_path / "all.xlsx")
    assert c.endpoint("OS")["time_months"].tolist() == pytest.approx([12.0])


def test_a_misspelt_column_is_kept_and_mentioned(tmp_path: Path) -> None:
    c = read_cohort(write(tmp_path, "patient_id,age_yeers\nP1,3\n"))
    assert any("age_years" in n for n in c.notes)
    assert c.patients["age_yeers"].tolist() == [3]


# ------------------------------------------------------------------------------ what is refused


def test_all_problems_at_once(tmp_path: Path) -> None:
    text = (
        "patient_id,age_years,sex,wbc_10e9_per_l,ikzf1,efs_months,efs_event,mrd_day29\n"
        "P1,four,F,12,del,10,1,0.1\n"
        "P2,4,X,45000,wt,20,0,5\n"
        "P1,200,M,7,maybe,-3,2,0.1\n"
        ",5,F,8,wt,30,,low\n"
    )
    error = refused(write(tmp_path, text))
    assert said(error) == [
        (2, "age_years", "four"),
        (3, "sex", "X"),
        (3, "wbc_10e9_per_l", "45000"),
        (3, "mrd_day29", "5"),
        (4, "age_years", "200"),
        (4, "ikzf1", "maybe"),
        (4, "patient_id", "P1"),
        (4, "efs_months", "-3"),
        (4, "efs_event", "2"),
        (5, "patient_id", ""),
        (5, "efs_months", "30"),
    ]
    message = str(error)
    assert "11 problems" in message
    assert "mine.csv, row 3, column sex: found 'X', expected one of F, M" in message
    assert "0.0001 is 0.01%" in message


def test_problems_of_several_files_come_together(tmp_path: Path) -> None:
    write(tmp_path, "patient_id,age_years\nP1,x\n", "patients.csv")
    write(
        tmp_path,
        "patient_id,endpoint,time_months,event,event_type,entry_months\n"
        "P9,EFS,10,1,relapse,0\nP1,XYZ,10,1,,\nP1,OS,10,0,death,20\nP1,OS,,1,,\n",
        "outcomes.csv",
    )
    write(tmp_path, "patient_id,timepoint,level\nP1,day 29,2\nP1,d29,0.1\n", "mrd.csv")
    write(tmp_path, "gene,P1,P7\nA,1,2\nA,x,3\n7-Sep,1,1\n", "expression.csv")
    found = {(p.file, p.row, p.column) for p in refused(tmp_path).problems}
    assert found == {
        ("patients.csv", 2, "age_years"),
        ("outcomes.csv", 2, "patient_id"),
        ("outcomes.csv", 3, "endpoint"),
        ("outcomes.csv", 4, "event_type"),
        ("outcomes.csv", 4, "entry_months"),
        ("outcomes.csv", 5, "time_months"),
        ("outcomes.csv", 5, "patient_id"),
        ("mrd.csv", 2, "level"),
        ("mrd.csv", 3, "patient_id"),
        ("expression.csv", 1, "P7"),
        ("expression.csv", 3, "gene"),
        ("expression.csv", 3, "P1"),
        ("expression.csv", 4, "gene"),
    }


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"", "a header and at least one row"),
        ("a.csv", b"patient_id,age_years\n", "a header and at least one row"),
        ("a.csv", b"age_years\n4\n", "a column patient_id"),
        ("a.csv", b"patient_id,age,age_years\nP1,4,4\n", "one column for age_years"),
        ("a.csv", b"patient_id,age\nP1,4,5\n", "2 cells"),
        ("a.csv", b"patient_id,age,sex\nP1,4\n", "3 cells"),
        ("a.csv", b"patient_id,,sex\nP1,4,F\n", "a name for every column"),
        ("a.csv", "patient_id,subtype\nP1,m\u00e4\n".encode("latin-1"), "UTF-8"),
        ("a.csv", b"patient_id,sex\nP1,\0\n", "zero bytes"),
        ("a.csv", b'patient_id,sex\n"P1,F\n' + b"x" * 200_000, "well-formed CSV"),
        ("a.csv", b"patient_id,efs_months\nP1,4\n", "efs_event"),
        ("a.csv", b"patient_id,efs_event\nP1,1\n", "efs_months"),
        ("a.csv", b"patient_id,age\nP1,1_000\n", "a number"),
        ("a.csv", b"patient_id,age\nP1,inf\n", "a number"),
        ("a.csv", b'patient_id,age\nP1,"4,5"\n', "decimal point"),
        ("a.xlsx", b"not a workbook", "an Excel workbook"),
        ("a.parquet", b"not parquet", "a Parquet file"),
        ("a.pdf", b"%PDF", ".csv, .tsv, .xlsx, .parquet or .h5ad"),
    ],
)
def test_files_that_cannot_be_used(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    (tmp_path / name).write_bytes(content)
    error = refused(tmp_path / name)
    assert expected in str(error) and error.problems[0].file == name


@pytest.mark.parametrize(("entry", "taken"), [("0", True), ("9.9", True), ("10", False)])
def test_a_late_entry_comes_before_the_end(tmp_path: Path, entry: str, taken: bool) -> None:
    text = f"patient_id,os_months,os_event,os_entry_months\nP1,10,1,{entry}\nP2,0,1,0\n"
    if taken:
        assert len(read_cohort(write(tmp_path, text)).endpoint("OS")) == 2
        return
    assert said(refused(write(tmp_path, text))) == [(2, "entry_months", "10")]


def test_nothing_there(tmp_path: Path) -> None:
    assert "an existing file or folder" in str(refused(tmp_path / "none.csv"))
    assert "a file patients.csv" in str(refused(tmp_path))


def test_a_long_list_is_cut_in_print_only(tmp_path: Path) -> None:
    rows = "".join(f"P{i},old\n" for i in range(500))
    error = refused(write(tmp_path, "patient_id,age_years\n" + rows))
    assert len(error.problems) == 500
    assert str(error).count("\n") == InvalidCohort.SHOWN + 1 and "400 more" in str(error)


cells = st.text(
    alphabet=st.sampled_from(list("0159.,;<%-eE_ \"'\n\r\tPxdelwtyesno\u00e4\u0660=\0")),
    max_size=12,
)
headers = st.sampled_from(
    [
        "patient_id", "age_years", "sex", "ikzf1", "efs_months", "efs_event", "efs_event_type",
        "efs_entry_months", "os_days", "os_status", "mrd_day29", "mrd_tp1_percent", "mrd_",
        "subtype", "odd", "", "age", "Age", "cir_years", "loss_7p",
    ]
)  # fmt: skip


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(headers, max_size=7),
    st.lists(st.lists(cells, max_size=8), max_size=5),
    st.sampled_from([",", ";", "\t"]),
)
def test_any_text_is_read_or_refused(
    tmp_path: Path, header: list[str], rows: list[list[str]], delimiter: str
) -> None:
    path = tmp_path / "any.csv"
    lines = [delimiter.join(header), *(delimiter.join(row) for row in rows)]
    path.write_bytes("\n".join(lines).encode())
    try:
        c = read_cohort(path)
    except InvalidCohort as error:
        assert error.problems
    else:
        assert c.patients["patient_id"].is_unique and c.n >= 1


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=300), st.sampled_from(["a.csv", "a.tsv", "a.xlsx", "a.parquet"]))
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    try:
        c = read_cohort(path)
    except InvalidCohort as error:
        assert error.problems
    else:
        assert c.n >= 1


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_good_file_with_one_broken_cell(tmp_path: Path, data: st.DataObject) -> None:
    rows = [line.split(",") for line in GOOD.strip().split("\n")]
    i = data.draw(st.integers(1, 3))
    j = data.draw(st.integers(1, 9))
    rows[i][j] = "?!"
    error = refused(write(tmp_path, "\n".join(",".join(r) for r in rows)))
    assert said(error) == [(i + 1, rows[0][j], "?!")]


# ------------------------------------------------------------------------------- the Cohort


def toy() -> Cohort:
    return Cohort(
        id="toy",
        title="Toy",
        tier="simulated",
        patients=pd.DataFrame({"patient_id": ["P1", "P2", "P3"], "lineage": ["B", "T", None]}),
        outcomes=pd.DataFrame(
            {
                "patient_id": ["P1", "P2", "P3"],
                "endpoint": "OS",
                "time_months": [1.0, 2.0, np.nan],
                "event": [1, 0, 1],
            }
        ),
        expression=pd.DataFrame({"P1": [1.0], "P3": [2.0]}, index=["PAX5"]),
    )


def test_where_cuts_every_table() -> None:
    c = toy()
    b = c.where(c.patients["lineage"] == "B")
    assert b.n == 1 and b.outcomes is not None and b.expression is not None
    assert b.outcomes["patient_id"].tolist() == ["P1"]
    assert list(b.expression.columns) == ["P1"]
    assert c.n == 3


def test_endpoint_leaves_out_what_has_no_time() -> None:
    rows = toy().endpoint("OS")
    assert rows["patient_id"].tolist() == ["P1", "P2"]
    with pytest.raises(KeyError, match="it has OS"):
        toy().endpoint("EFS")


# ------------------------------------------------------------------------------ dictionaries


@pytest.mark.parametrize("table", TABLES)
def test_dictionaries_are_sound(table: str) -> None:
    words = dictionary(table)
    names = [c.name for c in words.columns]
    assert words.table == table and len(set(names)) == len(names)
    owner: dict[str, str] = {plain(n): n for n in names}
    for c in words.columns:
        assert c.help.endswith(".") and c.type in {
            "text", "number", "integer", "category", "flag", "deletion", "mrd",
        }, c.name  # fmt: skip
        for word in c.synonyms:
            assert owner.setdefault(plain(word), c.name) == c.name, f"{word} means two columns"
        if c.allowed:
            assert set(c.values.values()) <= set(c.allowed), c.name
        if c.name in words.key:
            # A file of one sample may leave out its name.
            assert c.required or table in {"expression", "cells", "breakpoints", "segments"}


@pytest.mark.parametrize("table", ["patients", "outcomes", "mrd", "variants", "drug_response"])
def test_every_example_is_accepted(table: str) -> None:
    for c in dictionary(table).columns:
        assert c.name in read_value(c.example, c), c.name


def test_an_unknown_table() -> None:
    with pytest.raises(KeyError, match="patients, outcomes"):
        dictionary("people")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0003", {"level": 0.0003}),
        ("3e-4", {"level": 0.0003}),
        ("0.03%", {"level": 0.0003}),
        ("0.03 %", {"level": 0.0003}),
        ("<0.01%", {"level": 0.0, "limit_of_detection": 0.0001, "category": "negative"}),
        ("neg", {"level": 0.0, "category": "negative"}),
    ],
)
def test_mrd_values(text: str, expected: dict[str, Any]) -> None:
    level = next(c for c in dictionary("mrd").columns if c.name == "level")
    found = read_value(text, level)
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key] == (pytest.approx(value) if isinstance(value, float) else value)


@pytest.mark.parametrize("text", ["1.2", "120%", "-0.1", "lots", "<", "%", "1e-4x", "<neg"])
def test_mrd_values_refused(text: str) -> None:
    level = next(c for c in dictionary("mrd").columns if c.name == "level")
    with pytest.raises(Refused):
        read_value(text, level)


def test_a_month_is_a_twelfth_of_a_year() -> None:
    assert DAYS_PER_MONTH * 12 == 365.25

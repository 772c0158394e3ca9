"""Checking a reader's cohort: problems, what an analysis needs, and absurd files."""

from __future__ import annotations

import gzip
import json
import re
import resource
import time
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ballbook import analyses, needs, run
from ballbook.cli import main
from ballbook.cohort import InvalidCohort, read_cohort

GOOD = """patient_id,age,sex,wbc,ikzf1,efs_months,efs_event
P1,4,F,12.5,del,14.2,1
P2,7.5,M,80,wt,60,0
"""


def write(folder: Path, text: str, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf8")
    return path


def ballbook(*args: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args])


def check(analysis: str, cohort: Path, *more: str) -> tuple[int, dict[str, Any]]:
    done = ballbook("check", analysis, "--cohort", cohort, "--json", *more)
    return done.exit_code, json.loads(done.stdout)


# ----------------------------------------------------------------------------- the command


def test_a_good_cohort_passes(tmp_path: Path) -> None:
    code, report = check("ikzf1-outcome", write(tmp_path, GOOD))
    assert (code, report["accepted"], report["patients"]) == (0, True, 2)
    assert report["errors"] == []
    assert any("lineage" in w["message"] for w in report["warnings"])


def test_every_problem_says_where_and_how_to_mend_it(tmp_path: Path) -> None:
    text = "patient_id,age,sex,wbc\nP1,four,Q,45000\nP1,4,F,1\n"
    code, report = check("ikzf1-outcome", write(tmp_path, text))
    assert (code, report["accepted"]) == (2, False)
    found = {(e["file"], e["row"], e["column"], e["value"]) for e in report["errors"]}
    assert found == {
        ("mine.csv", 2, "age", "four"),
        ("mine.csv", 2, "sex", "Q"),
        ("mine.csv", 2, "wbc", "45000"),
        ("mine.csv", 3, "patient_id", "P1"),
    }
    assert all(e["mend"] and e["expected"] and e["message"] for e in report["errors"])
    wbc = next(e for e in report["errors"] if e["column"] == "wbc")
    assert "divide" in wbc["mend"] and "1000" in wbc["mend"]
    plain = ballbook("check", "ikzf1-outcome", "--cohort", tmp_path / "mine.csv")
    assert plain.exit_code == 2 and "row 2, column sex: found 'Q'" in plain.stderr


def test_a_sheet_is_named(tmp_path: Path) -> None:
    with pd.ExcelWriter(tmp_path / "all.xlsx") as book:
        pd.DataFrame({"patient_id": ["P1"], "age": ["x"]}).to_excel(
            book, sheet_name="patients", index=False
        )
        pd.DataFrame(
            {"patient_id": ["P9"], "endpoint": ["OS"], "time_months": [1], "event": [1]}
        ).to_excel(book, sheet_name="outcomes", index=False)
    _, report = check("ikzf1-outcome", tmp_path / "all.xlsx")
    found = {(e["file"], e["sheet"], e["row"], e["column"]) for e in report["errors"]}
    assert found == {
        ("all.xlsx", "patients", 2, "age"),
        ("all.xlsx", "outcomes", 2, "patient_id"),
    }


def test_what_the_analysis_cannot_do_without(tmp_path: Path) -> None:
    path = write(tmp_path, "patient_id,age,os_months,os_event\nP1,4,10,1\n")
    code, report = check("ikzf1-outcome", path)
    assert code == 2 and not report["accepted"]
    told = " ".join(e["message"] for e in report["errors"])
    assert "column ikzf1" in told and "endpoint EFS" in told and "has OS" in told
    code, report = check("ikzf1-outcome", path, "-p", "own_endpoint=OS")
    assert code == 2 and [e["expected"] for e in report["errors"]] == [
        "a column ikzf1 with a value"
    ]


@pytest.mark.parametrize("name", ["os", "", "*", "event-free", " OS"])
def test_an_endpoint_is_named_as_the_table_names_it(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, "patient_id,ikzf1,os_months,os_event\nP1,del,10,1\n")
    code, report = check("ikzf1-outcome", path, "-p", f"own_endpoint={name}")
    assert code == 2
    assert [e["mend"] for e in report["errors"]] == [
        "needed for the time and event that are compared; the file has OS: run with "
        "-p own_endpoint=NAME if that is meant"
    ]


def test_what_the_analysis_will_miss_is_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path, "patient_id,os_after_switch_months,os_after_switch_event\nP1,4,1\n")
    code, report = check("lineage-switch-survival", path)
    assert code == 0
    assert any("KMT2A" in w["message"] for w in report["warnings"])
    write(
        tmp_path,
        "patient_id,os_after_switch_months,os_after_switch_event,subtype\nP1,4,1,KMT2A-r\n",
    )
    _, report = check("lineage-switch-survival", path)
    assert not any("KMT2A" in w["message"] for w in report["warnings"])


def test_a_run_refuses_before_a_kernel_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_kernel(*args: Any) -> None:
        raise AssertionError("a kernel was started")

    monkeypatch.setattr(run, "execute", no_kernel)
    path = write(tmp_path, "patient_id,age\nP1,4\n")
    out = tmp_path / "out"
    done = ballbook("run", "ikzf1-outcome", "--cohort", path, "--out", out)
    assert done.exit_code == 2 and "column ikzf1" in done.stderr
    assert not out.exists()


def test_terminal_controls_are_spelt_out(tmp_path: Path) -> None:
    path = write(tmp_path, "patient_id,age\x1b[2J,age_years\nP1,\x1b[2Jfour,4\n")
    path.write_text(path.read_text().replace("age_years", "sex"))
    with pytest.raises(InvalidCohort) as caught:
        read_cohort(path, {"columns": {"age\x1b[2J": "age_years"}})
    assert "\x1b" not in str(caught.value) and "\\x1b[2J" in str(caught.value)


# --------------------------------------------------------------------------------- the needs


def test_needs_are_declared_for_every_analysis_that_takes_a_cohort() -> None:
    declared = needs.declared()
    # `page.cohort is None` alone only says that the page takes none.
    used = re.compile(r"page\.cohort\b(?! is )")
    taking = {s for s in analyses.slugs() if used.search(analyses.find(s).path.read_text("utf8"))}
    assert taking <= set(declared), "add them to data/dictionaries/needs.yml"
    assert set(declared) <= set(analyses.slugs())


def test_needs_name_known_tables_columns_and_parameters() -> None:
    from ballbook.dictionaries import dictionary

    known = {c.name for c in dictionary("patients").columns} | {"clearance"}
    endpoints = set(dictionary("outcomes").endpoints)
    for slug in needs.declared():
        for need in needs.of(slug):
            assert need.why and need.any
            for name in need.any:
                table, _, column = name.partition(".")
                assert "{" not in name, f"{slug}: {name} names no parameter"
                assert table in {
                    "patients", "outcomes", "causes", "mrd", "drug_response", "plates",
                    "expression", "variants", "sites", "samples", "breakpoints", "segments",
                    "catalogue", "cells",
                }  # fmt: skip
                assert table != "patients" or column in known, name
                assert table not in {"outcomes", "causes"} or column in endpoints | {"*"}, name


@pytest.mark.parametrize(
    ("rows", "there"),
    [
        ("P1,3,1,relapse\nP2,4,1,\n", True),
        ("P1,3,1,\nP2,4,0,none\n", False),
        ("P1,3,0,\nP2,4,0,\n", True),
        ("P1,,,\nP2,,,\n", False),
    ],
)
def test_the_kind_of_an_event_is_missing_only_where_there_is_one(
    tmp_path: Path, rows: str, there: bool
) -> None:
    header = "patient_id,efs_months,efs_event,efs_event_type\n"
    cohort = read_cohort(write(tmp_path, header + rows))
    assert needs.has(cohort, "causes.EFS") is there
    assert not needs.has(cohort, "causes.OS")


def test_a_column_without_a_value_is_not_there(tmp_path: Path) -> None:
    cohort = read_cohort(write(tmp_path, "patient_id,ikzf1,age\nP1,,4\nP2,NA,\n"))
    assert not needs.has(cohort, "patients.ikzf1") and needs.has(cohort, "patients.age_years")


# ------------------------------------------------------------------------------ absurd files


def check_refused_soon(path: Path, expected: str, seconds: float = 8.0) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with pytest.raises(InvalidCohort) as caught:
        read_cohort(path)
    assert expected in str(caught.value)
    assert len(str(caught.value)) < 40_000
    assert all(p.mend for p in caught.value.problems)
    assert time.process_time() - start < seconds
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 800_000, f"{grown} kB"


def test_a_cell_of_a_million_characters(tmp_path: Path) -> None:
    check_refused_soon(
        write(tmp_path, f"patient_id,sex\nP1,{'x' * 10**6}\n"), "a cell far too long"
    )
    check_refused_soon(write(tmp_path, f"patient_id,sex\nP1,{'x' * 10**5}\n"), "at most 10,000")
    check_refused_soon(write(tmp_path, f"patient_id,{'x' * 10**5}\nP1,F\n"), "at most")


def test_a_hundred_thousand_columns(tmp_path: Path) -> None:
    header = ",".join(f"c{i}" for i in range(10**5))
    body = ",".join("1" for _ in range(10**5))
    check_refused_soon(write(tmp_path, f"{header}\n{body}\n"), "2,000 columns")
    write(tmp_path, "patient_id\nP1\n", "patients.csv")
    (tmp_path / "mine.csv").rename(tmp_path / "expression.csv")
    check_refused_soon(tmp_path, "80,000 columns")


def test_too_many_rows_and_problems(tmp_path: Path) -> None:
    check_refused_soon(write(tmp_path, "patient_id,age\n" + "P1,old\n" * 20_000), "fewer problems")


def test_a_parquet_file_of_too_many_columns(tmp_path: Path) -> None:
    pd.DataFrame([[1] * 3000], columns=[f"c{i}" for i in range(3000)]).to_parquet(
        tmp_path / "a.parquet"
    )
    check_refused_soon(tmp_path / "a.parquet", "2,000 columns")


def test_a_workbook_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("xl/worksheets/sheet1.xml", b" " * 310_000_000)
    check_refused_soon(tmp_path / "a.xlsx", "unpacks")


def test_a_packed_matrix_that_is_one_endless_line(tmp_path: Path) -> None:
    write(tmp_path, "patient_id\nP1\n", "patients.csv")
    with gzip.open(tmp_path / "expression.tpm.csv.gz", "wb", compresslevel=1) as f:
        f.write(b"x" * 20_000_000)
    check_refused_soon(tmp_path, "80,000 columns")


cells = st.sampled_from(
    [
        "",
        "P1",
        "P2",
        "4",
        "4,5",
        "-1",
        "1e400",
        "del",
        "wt",
        "yes",
        "45000",
        "<0.01%",
        "NaN",
        "=1+1",
    ]
)
names = st.sampled_from(
    ["patient_id", "age", "wbc", "sex", "ikzf1", "efs_months", "efs_event", "mrd_day29", "what"]
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(names, min_size=1, max_size=6, unique=True).map(lambda n: ["patient_id", *n]),
    st.lists(st.lists(cells, min_size=2, max_size=7), max_size=4),
    st.sampled_from(["ikzf1-outcome", "mrd-decision-tree", "lineage-switch-survival"]),
)
def test_any_cohort_gets_a_report(
    tmp_path: Path, header: list[str], rows: list[list[str]], slug: str
) -> None:
    lines = [",".join(dict.fromkeys(header))]
    lines += [",".join(f'"{cell}"' for cell in row) for row in rows]
    code, report = check(slug, write(tmp_path, "\n".join(lines)))
    assert code == (0 if report["accepted"] else 2)
    assert bool(report["errors"]) != report["accepted"]
    assert all(e["mend"] and e["expected"] for e in report["errors"])


# ------------------------------------------------------------------------ match and templates


def test_match_lists_what_can_be_run_and_what_is_lacking(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    rows = {r["analysis"]: r for r in json.loads(ballbook("match", path, "--json").stdout)}
    assert set(rows) == set(needs.declared())
    accepted = [row["accepted"] for row in rows.values()]
    assert accepted == sorted(accepted, reverse=True), "those that can be run come first"
    assert rows["ikzf1-outcome"]["accepted"] and not rows["maturity-age"]["accepted"]
    assert "expression" in rows["maturity-age"]["errors"][0]["expected"]
    done = ballbook("match", path)
    lines = done.stdout.splitlines()
    assert done.exit_code == 0
    assert ["ikzf1-outcome", "can", "be", "run"] in [line.split() for line in lines]
    assert any("lacks a table expression" in line for line in lines)


def test_match_refuses_a_broken_cohort(tmp_path: Path) -> None:
    done = ballbook("match", write(tmp_path, "patient_id,age\nP1,old\n"))
    assert done.exit_code == 2 and "'old'" in done.stderr


@pytest.mark.parametrize("slug", sorted(needs.declared()))
def test_a_template_passes_its_own_check(tmp_path: Path, slug: str) -> None:
    out = tmp_path / "mine"
    done = ballbook("template", slug, "--out", out)
    assert done.exit_code == 0, done.stderr
    code, report = check(slug, out)
    assert (code, report["errors"], report["warnings"]) == (0, [], [])
    assert report["patients"] == 12
    header = (out / "patients.csv").read_text().splitlines()[0].split(",")
    described = pd.read_csv(out / "dictionary.csv", keep_default_na=False)
    assert described["column"].tolist() == header
    assert (described["meaning"].str.len() > 5).all() and (described["example"] != "").all()
    text = (out / "dictionary.md").read_text()
    assert all(f"| {name} |" in text for name in header)


def test_a_template_overwrites_nothing(tmp_path: Path) -> None:
    write(tmp_path, "precious", "patients.csv")
    done = ballbook("template", "ikzf1-outcome", "--out", tmp_path)
    assert done.exit_code == 2
    assert (tmp_path / "patients.csv").read_text() == "precious"


def test_a_template_without_a_folder_prints_the_columns() -> None:
    done = ballbook("template", "ikzf1-outcome")
    assert done.exit_code == 0 and "# outcomes.csv\npatient_id,endpoint" in done.stdout

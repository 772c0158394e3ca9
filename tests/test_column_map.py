"""Column maps: what is proposed, how sure it is, and what using it does."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ballbook import run
from ballbook.cli import main
from ballbook.cohort import InvalidCohort, read_cohort
from ballbook.column_map import Guess, propose
from ballbook.notebook import Page

ODD = """Patient;Age (months);WBC/µl;IKZF1 MLPA deletion;PAX5 copy number;OS time (days);\
Vital status;MRD day 33 (%);Geschlecht;Trial;nonsense
1;48;12500;ja;-1;3652,5;dead;0,01;weiblich;A;u
2;90;80000;nein;0;730,5;alive;2,5;männlich;A;v
3;144;n.d.;nein;-2;1461;alive;;weiblich;B;w
"""


def write(folder: Path, text: str, name: str = "odd.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf8")
    return path


def by_name(path: Path) -> dict[str, Guess]:
    return {g.theirs: g for g in propose(path).guesses}


def test_an_odd_spreadsheet_is_understood(tmp_path: Path) -> None:
    path = write(tmp_path, ODD.replace("Geschlecht", "Gender"))
    with pytest.raises(InvalidCohort):
        read_cohort(path)
    proposal = propose(path)
    assert proposal.left == ()
    c = read_cohort(path, proposal.as_map())
    assert c.patients["age_years"].tolist() == pytest.approx([4, 7.5, 12])
    assert c.patients["wbc_10e9_per_l"].tolist()[:2] == [12.5, 80]
    assert c.patients["wbc_10e9_per_l"].isna().tolist() == [False, False, True]
    assert c.patients["ikzf1"].tolist() == ["del", "wt", "wt"]
    assert c.patients["pax5"].tolist() == ["del", "wt", "del"]
    assert c.patients["pax5_zygosity"].fillna("?").tolist() == ["het", "?", "hom"]
    assert c.patients["sex"].tolist() == ["F", "M", "F"]
    assert c.patients["protocol"].tolist() == ["A", "A", "B"]
    assert c.endpoint("OS")["time_months"].tolist() == pytest.approx([120, 24, 48])
    assert c.endpoint("OS")["event"].tolist() == [1, 0, 0]
    assert c.mrd is not None and c.mrd["level"].tolist() == pytest.approx([0.0001, 0.025])
    assert c.mrd["timepoint"].unique().tolist() == ["day 33"]
    assert any("is given in per_ul" in note for note in c.notes)
    assert any("is read as ikzf1" in note for note in c.notes)


def test_every_line_says_how_sure_it_is_and_guesses_do_nothing(tmp_path: Path) -> None:
    text = "id,age_yeers,sex,ikzf1,survival time,death\n1,3,1,0,30,1\n2,4,2,2,60,0\n"
    proposal = propose(write(tmp_path, text))
    shown = proposal.text()
    lines = [x for x in shown.splitlines() if x.startswith(("  ", "#?"))]
    assert all("  # " in x for x in lines)
    assert all(any(w in x for w in ("# sure:", "# likely:", "# guess:")) for x in lines)
    assert all(x.startswith("#?") == ("# guess:" in x) for x in lines)
    guessed = [x for x in lines if x.startswith("#?")]
    assert len(guessed) == 4  # age_yeers, survival time, sex 1/2, copies 0/1/2
    assert proposal.as_map() == {"columns": {"id": "patient_id", "death": "os_event"}}
    active = yaml.safe_load(shown.replace("#? ", ""))
    assert active["columns"] == {
        "id": "patient_id",
        "age_yeers": "age_years", "survival time": "os_months", "death": "os_event",
    }  # fmt: skip
    assert active["values"] == {
        "sex": {"1": "M", "2": "F"}, "ikzf1": {"0": "hom", "1": "het", "2": "wt"},
    }  # fmt: skip
    assert proposal.left  # without the guesses the file is still refused, and it is said


@pytest.mark.parametrize(
    ("header", "values", "ours", "unit"),
    [
        ("age_in_days", ["300", "5000"], "age_years", "days"),
        ("Age at diagnosis (years)", ["3", "9"], "age_years", None),
        ("age", ["300", "5000"], "age_years", "days"),
        ("WBC", ["12000", "80000"], "wbc_10e9_per_l", "per_ul"),
        ("WBC", ["12", "80"], "wbc_10e9_per_l", None),
        ("wbc 10^9/L", ["12", "80"], "wbc_10e9_per_l", None),
        ("Event-free survival (years)", ["1.2", "3"], "efs_years", None),
        ("EFS status", ["1", "0"], "efs_status", None),
        ("Event free", ["1", "0"], "efs_event", None),
        ("EFS censor", ["1", "0"], "efs_event", None),
        ("Overall.Survival.Time.Months", ["1.2", "3"], "os_months", None),
        ("MRD EOI", ["0.001", "0.2"], "mrd_eoi", None),
        ("MRD_d15", ["0.001", "12"], "mrd_day15_percent", None),
        ("CDKN2A loss", ["1", "0"], "cdkn2a", None),
        ("favourite colour", ["red", "blue"], None, None),
        ("MRD sensitivity", ["0.01", "0.01"], None, None),
    ],
)
def test_names_and_units(
    tmp_path: Path, header: str, values: list[str], ours: str | None, unit: str | None
) -> None:
    text = f'id,"{header}"\n' + "".join(f"P{i},{v}\n" for i, v in enumerate(values))
    guess = by_name(write(tmp_path, text))[header]
    assert (guess.ours, guess.unit) == (ours, unit)
    assert guess.why


def test_two_columns_for_one_are_settled(tmp_path: Path) -> None:
    path = write(tmp_path, "id,os_days,os_months,os_event\n1,300,10,1\n")
    proposal = propose(path)
    assert proposal.left == ()
    c = read_cohort(path, proposal.as_map())
    assert c.endpoint("OS")["time_months"].tolist() == pytest.approx([300 / (365.25 / 12)])
    assert "set aside: os_days is taken for the same" in proposal.text()


def test_the_command_prints_a_map_that_check_takes(tmp_path: Path) -> None:
    path = write(tmp_path, ODD)
    done = CliRunner().invoke(main, ["map", "--guess", str(path)])
    assert done.exit_code == 0, done.stderr
    assert "columns: " in done.stderr and "can be read" in done.stderr
    map = write(tmp_path, done.stdout, "map.yml")
    args = ["check", "ikzf1-outcome", "--cohort", str(path), "-p", "own_endpoint=OS"]
    assert CliRunner().invoke(main, args).exit_code == 2
    checked = CliRunner().invoke(main, [*args, "--map", str(map)])
    assert checked.exit_code == 0, checked.stderr
    assert "Column map: WBC/µl is given in per_ul." in checked.stdout


def test_a_run_hands_the_map_to_the_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "nr,ik,efs_months,efs_event\n1,A,3,1\n2,B,4,0\n")
    map = write(
        tmp_path, "columns: {nr: patient_id, ik: ikzf1}\nvalues: {ik: {A: del, B: wt}}\n", "m.yml"
    )
    seen: list[Any] = []

    def kernel(analysis: Any, values: Any, work: Path) -> None:
        assert os.environ["BALLBOOK_MAP"] == str(map)
        seen.append(Page._own_cohort(values["cohort"]))
        raise run.RunFailed("seen enough")

    monkeypatch.setattr(run, "execute", kernel)
    monkeypatch.setattr(run.catalog, "get", lambda id: None)
    args = ["run", "ikzf1-outcome", "--cohort", str(path), "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(main, args).exit_code == 2
    assert CliRunner().invoke(main, [*args, "--map", str(map)]).exit_code == 1
    (cohort,) = seen
    assert cohort.patients["ikzf1"].tolist() == ["del", "wt"]
    assert "map.yml" in cohort.files


@pytest.mark.parametrize(
    ("map", "expected"),
    [
        ({"units": {"age": "fortnights"}}, "one of the units years, months, days"),
        ({"units": {"sex": "days"}}, "a column with a unit"),
        ({"decimal": ["."]}, "the right shape"),
    ],
)
def test_a_map_that_cannot_be_followed(tmp_path: Path, map: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidCohort, match=expected):
        read_cohort(write(tmp_path, "id,age,sex\n1,3,F\n"), map)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(["id", "age", "WBC (/µl)", "os time", "EFS", "mrd tp1", "ikzf1 del"]),
            st.text(max_size=12),
        ),
        min_size=1, max_size=6,
    ),
    st.lists(st.lists(st.text(max_size=8), min_size=6, max_size=6), min_size=1, max_size=4),
)  # fmt: skip
def test_any_table_gets_a_map_that_is_yaml_or_a_refusal(
    tmp_path: Path, header: list[str], rows: list[list[str]]
) -> None:
    path = tmp_path / "any.csv"
    with path.open("w", encoding="utf8", newline="", errors="replace") as f:
        csv.writer(f).writerows([header, *(row[: len(header)] for row in rows)])
    try:
        proposal = propose(path)
    except InvalidCohort as error:
        assert error.problems
        return
    map = proposal.as_map()
    assert set(map) <= {"columns", "units", "values", "missing", "decimal"}
    yaml.safe_load(proposal.text().replace("#? ", ""))


def test_a_percentage_column_may_hold_bounds_and_words(tmp_path: Path) -> None:
    path = tmp_path / "mrd.csv"
    path.write_text(
        "patient_id,MRD day 29 (%)\nP1,<0.01\nP2,0.5\nP3,negative\nP4,2%\n", encoding="utf8"
    )
    column_map = {"columns": {"MRD day 29 (%)": "mrd_day29_percent"}}
    cohort = read_cohort(path, column_map)
    assert cohort.mrd is not None
    levels = cohort.mrd.set_index("patient_id")
    assert levels["level"].tolist() == pytest.approx([0, 0.005, 0, 0.02])
    assert levels.loc["P1", "limit_of_detection"] == pytest.approx(0.0001)
    assert any("MRD day 29 (%) is read as" in note for note in cohort.notes)
    path.write_text("patient_id,MRD day 29 (%)\nP1,100.5\nP2,much\n", encoding="utf8")
    with pytest.raises(InvalidCohort) as caught:
        read_cohort(path, column_map)
    told = [p.expected for p in caught.value.problems]
    assert len(told) == 2 and all("percentage from 0 to 100" in t for t in told)


def test_a_problem_says_in_which_unit_the_map_has_the_column(tmp_path: Path) -> None:
    path = tmp_path / "age.csv"
    path.write_text("patient_id,age\nP1,3 y\n", encoding="utf8")
    with pytest.raises(InvalidCohort, match=r"\(years\), given in days"):
        read_cohort(path, {"units": {"age": "days"}})

"""Column maps: what is proposed, how sure it is, and what using it does."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
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
    assert set(map) <= {"columns", "units", "values", "tables", "missing", "decimal"}
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


# -------------------------------------------------------------- cohorts of several tables

N = 40


def truth() -> pd.DataFrame:
    """Patients as they are: years, 10^9/l, days, and MRD as fractions."""
    rng = np.random.default_rng(5)
    efs = rng.integers(30, 3000, N)
    found = {
        "patient_id": [f"UPN {i:03d}" for i in range(N)],
        "sex": rng.choice(["F", "M"], N),
        "age_years": rng.uniform(1, 17, N).round(1),
        "wbc": rng.integers(2, 200, N),
        "ikzf1": rng.choice(["del", "wt"], N),
        "protocol": rng.choice(["A", "B"], N),
        "efs_days": efs,
        "efs": rng.integers(0, 2, N),
        "os_days": efs + rng.integers(0, 900, N),
        "os": rng.integers(0, 2, N),
        "day 33": np.where(rng.random(N) < 0.3, 0, 10 ** rng.uniform(-3, -1, N).round(2)),
        "day 78": np.where(rng.random(N) < 0.6, 0, 10 ** rng.uniform(-3, -2, N).round(2)),
    }
    found["day 33"][0] = 0.4  # so that a percentage cannot be taken for a fraction
    return pd.DataFrame(found)


def percent(level: float, negative: str = "<0.001") -> str:
    return negative if level == 0 else f"{level * 100:.6g}"


def german(t: pd.DataFrame, path: Path) -> Path:
    """A workbook with a sheet each for patients, follow-up and MRD, in another language."""
    id = t["patient_id"]
    event = {"EFS": {1: "ja", 0: "nein"}, "OS": {1: "verstorben", 0: "lebt"}}
    sheets = {
        "Klinik 2024": pd.DataFrame(
            {
                "UPN": id,
                "Geschlecht": t["sex"].map({"F": "weiblich", "M": "männlich"}),
                "Alter (Monate)": (t["age_years"] * 12).round(1),
                "Leukozyten (/µl)": t["wbc"] * 1000,
                "IKZF1 MLPA": t["ikzf1"].map({"del": "+", "wt": "-"}),
                "Studie": t["protocol"],
            }
        ),
        "Verlauf": pd.concat(
            pd.DataFrame({"UPN": id, "Endpunkt": e, "Tage": t[f"{e.lower()}_days"],
                          "Ereignis": t[e.lower()].map(event[e])})
            for e in ("EFS", "OS")
        ),
        "MRD Messungen": pd.concat(
            pd.DataFrame({"UPN": id, "Zeitpunkt": p.replace("day ", "Tag "),
                          "MRD (%)": [percent(v, "negativ") for v in t[p]]})
            for p in ("day 33", "day 78")
        ),
        "Legende": pd.DataFrame({"Wort": ["ja"], "heisst": ["yes"]}),
    }  # fmt: skip
    with pd.ExcelWriter(path / "kohorte.xlsx") as book:
        for name, frame in sheets.items():
            frame.to_excel(book, sheet_name=name, index=False)
    return path / "kohorte.xlsx"


def folder(t: pd.DataFrame, path: Path) -> Path:
    """A folder of exports, one row a patient in each, with semicolons and commas in one."""
    made = path / "exports"
    made.mkdir()
    id = t["patient_id"]
    pd.DataFrame(
        {
            "Patient": id, "Gender": t["sex"].map({"F": "female", "M": "male"}),
            "Age at dx [y]": t["age_years"], "WBC x10^9/L": t["wbc"],
            "IKZF1 deletion": t["ikzf1"].map({"del": "yes", "wt": "no"}), "Trial": t["protocol"],
        }
    ).to_csv(made / "clinical data.csv", index=False)  # fmt: skip
    pd.DataFrame(
        {
            "Patient": id, "EFS time (days)": t["efs_days"], "EFS status": t["efs"],
            "OS time (days)": t["os_days"], "Alive": t["os"].map({1: "no", 0: "yes"}),
        }
    ).to_csv(made / "survival_2024.csv", index=False, sep="\t")  # fmt: skip
    levels = pd.DataFrame({"Patient": id, "d33 %": t["day 33"], "d78 %": t["day 78"]})
    levels.iloc[:, 1:] *= 100
    levels.to_csv(made / "MRD-results.csv", index=False, sep=";", decimal=",")
    (made / "readme.txt").write_text("as exported")
    return made


def sheet(t: pd.DataFrame, path: Path) -> Path:
    """One wide sheet, with words for no value that say which column they stand in for."""
    made = pd.DataFrame(
        {
            "Study number": t["patient_id"], "Sex (M/F)": t["sex"],
            "Age at diagnosis, years": t["age_years"], "WBC (/µl)": t["wbc"] * 1000,
            "IKZF1 del": t["ikzf1"].map({"del": 1, "wt": 0}), "Protocol": t["protocol"],
            "Event-free survival, months": t["efs_days"] / (365.25 / 12),
            "Event-free survival event": t["efs"].map({1: "Y", 0: "N"}),
            "Overall survival, months": t["os_days"] / (365.25 / 12),
            "Vital status": t["os"].map({1: "Dead", 0: "Alive"}),
            "MRD d33 (%)": [percent(v) for v in t["day 33"]],
            "MRD d78 (%)": [percent(v) for v in t["day 78"]],
            "Remarks": "",
        }
    )  # fmt: skip
    made.to_excel(path / "wide.xlsx", sheet_name="Sheet1", index=False)
    return path / "wide.xlsx"


@pytest.mark.parametrize("write_as", [german, folder, sheet])
def test_a_messy_cohort_comes_back_as_it_was(
    tmp_path: Path, write_as: Callable[[pd.DataFrame, Path], Path]
) -> None:
    t = truth()
    path = write_as(t, tmp_path)
    with pytest.raises(InvalidCohort):
        read_cohort(path)
    proposal = propose(path)
    assert proposal.left == (), proposal.text()
    c = read_cohort(path, proposal.as_map())
    p = c.patients
    for name in ("patient_id", "sex", "ikzf1", "protocol"):
        assert p[name].tolist() == t[name].tolist()
    assert p["age_years"].to_numpy() == pytest.approx(t["age_years"], abs=0.005)
    assert p["wbc_10e9_per_l"].to_numpy() == pytest.approx(t["wbc"])
    for name in ("efs", "os"):
        e = c.endpoint(name.upper()).set_index("patient_id").loc[t["patient_id"]]
        assert e["time_months"].to_numpy() == pytest.approx(t[f"{name}_days"] / (365.25 / 12))
        assert e["event"].tolist() == t[name].tolist()
    assert c.mrd is not None
    levels = c.mrd.pivot(index="patient_id", columns="timepoint", values="level")
    assert sorted(levels) == ["day 33", "day 78"]
    for point in levels:
        level = levels.loc[t["patient_id"], point].to_numpy(float)
        assert level == pytest.approx(t[point], rel=1e-4)


def test_parts_that_nothing_names_are_said_and_not_read(tmp_path: Path) -> None:
    path = german(truth(), tmp_path)
    proposal = propose(path)
    assert "#   Legende: its name says no table of ours" in proposal.text()
    assert proposal.as_map()["tables"] == {
        "Klinik 2024": "patients", "Verlauf": "outcomes", "MRD Messungen": "mrd"
    }  # fmt: skip
    c = read_cohort(path, proposal.as_map())
    assert "kohorte.xlsx: sheet Legende was not read." in c.notes
    assert "Column map: klinik 2024 is taken for the table patients." in c.notes


def test_a_table_of_the_map_must_be_there_and_one_of_ours(tmp_path: Path) -> None:
    path = german(truth(), tmp_path)
    map = propose(path).as_map()
    with pytest.raises(InvalidCohort, match="a sheet or file of the cohort"):
        read_cohort(path, {**map, "tables": {**map["tables"], "Verlauff": "outcomes"}})
    with pytest.raises(InvalidCohort, match="one sheet for the table mrd"):
        read_cohort(path, {**map, "tables": {**map["tables"], "Legende": "mrd"}})


def test_a_column_of_one_table_is_mapped_without_the_others(tmp_path: Path) -> None:
    made = tmp_path / "two"
    made.mkdir()
    write(made, "nr,status\nP1,new\nP2,old\n", "patients.csv")
    write(made, "nr,endpoint,months,status\nP1,OS,3,d\nP2,OS,4,a\n", "outcomes.csv")
    c = read_cohort(
        made,
        {
            "columns": {"nr": "patient_id", "patients.status": "register"},
            "values": {"outcomes.status": {"d": "1", "a": "0"}},
        },
    )
    assert c.patients["register"].tolist() == ["new", "old"]
    assert c.endpoint("OS")["event"].tolist() == [1, 0]


# ------------------------------------------------------------------- what could be two things


def test_days_are_time_points_where_nothing_else_says_when(tmp_path: Path) -> None:
    made = tmp_path / "two"
    made.mkdir()
    write(made, "patient_id,ikzf1\nP1,del\nP2,wt\n", "patients.csv")
    write(made, "patient_id,Day,MRD %\nP1,29,0.5\nP1,+78,0\nP2,29,2\n", "mrd.csv")
    c = read_cohort(made, propose(made).as_map())
    assert c.mrd is not None
    assert c.mrd["timepoint"].tolist() == ["day 29", "day 78", "day 29"]
    assert c.mrd["day"].tolist() == [29, 78, 29]
    assert c.mrd["level"].tolist() == pytest.approx([0.005, 0, 0.02])


def test_not_done_and_not_detected(tmp_path: Path) -> None:
    """n.d. in MRD alone may be a negative; where it also stands elsewhere it is no value."""
    header = "id,MRD day 29 (%),IKZF1 MLPA\n"
    alone = propose(write(tmp_path, header + "1,n.d.,del\n2,2,wt\n"))
    assert alone.missing["n.d."][0] == "guess" and "missing" not in alone.as_map()
    assert "not done, or not detected?" in alone.text() and alone.left
    both = propose(write(tmp_path, header + "1,n.d.,n.d.\n2,2,wt\n"))
    assert both.missing["n.d."][0] == "likely" and both.left == ()
    assert "in MRD day 29 (%) it may mean not detected" in both.text()


def test_a_dash_is_a_word_beside_a_plus_only(tmp_path: Path) -> None:
    header = "id,IKZF1 MLPA,MRD day 29\n"
    path = write(tmp_path, header + "1,+,-\n2,-,-\n3,,+\n")
    c = read_cohort(path, propose(path).as_map())
    assert c.patients["ikzf1"].tolist()[:2] == ["del", "wt"] and pd.isna(c.patients["ikzf1"][2])
    assert c.mrd is not None
    assert c.mrd["category"].tolist() == ["negative", "negative", "positive"]
    path = write(tmp_path, header + "1,del,-\n2,-,-\n3,wt,0.2\n")
    c = read_cohort(path, propose(path).as_map())
    assert pd.isna(c.patients["ikzf1"][1])
    assert c.mrd is not None and c.mrd["patient_id"].tolist() == ["3"]


@pytest.mark.parametrize(
    ("name", "values", "sure", "taken"),
    [
        ("Alive", ["yes", "no"], "likely", {"yes": "0", "no": "1"}),
        ("OS censored", ["1", "0"], "guess", {"1": "0", "0": "1"}),
        ("OS status", ["1", "2"], "guess", {"1": "0", "2": "1"}),
        ("vital status", ["1", "0"], "guess", {}),
    ],
)
def test_events_that_may_be_turned_round(
    tmp_path: Path, name: str, values: list[str], sure: str, taken: dict[str, str]
) -> None:
    rows = "".join(f"P{i},{i + 3},{v}\n" for i, v in enumerate(values))
    guess = by_name(write(tmp_path, f"id,os_months,{name}\n{rows}"))[name]
    assert guess.ours is not None and guess.ours.startswith("os_")
    assert guess.values == taken
    assert sure in {guess.sure, guess.values_sure}


def test_problems_are_listed_once(tmp_path: Path) -> None:
    """The proposal counts what stays wrong; check lists it."""
    path = write(tmp_path, "id,age,ikzf1\n1,four,del\n2,five,wt\n")
    done = CliRunner().invoke(main, ["map", "--guess", str(path)])
    assert "2 problems stay" in done.stderr and "four" not in done.stderr
    map = write(tmp_path, done.stdout, "map.yml")
    args = ["check", "ikzf1-outcome", "--cohort", str(path), "--map", str(map)]
    checked = CliRunner().invoke(main, args)
    assert checked.exit_code == 2 and checked.stderr.count("found 'four'") == 1


def test_what_the_map_did_is_a_note_and_no_warning(tmp_path: Path) -> None:
    path = write(tmp_path, "nr,ikzf1,efs_months,efs_event\n1,del,3,1\n2,wt,4,0\n")
    map = write(tmp_path, "columns: {nr: patient_id}\n", "map.yml")
    args = ["check", "ikzf1-outcome", "--cohort", str(path), "--map", str(map)]
    told = CliRunner().invoke(main, args).stdout.splitlines()
    assert "note: Column map: nr is read as patient_id." in told
    assert not any(line.startswith("warning: Column map") for line in told)
    report = json.loads(CliRunner().invoke(main, [*args, "--json"]).stdout)
    assert [n["message"] for n in report["notes"]] == ["Column map: nr is read as patient_id."]
    assert not any("Column map" in w["message"] for w in report["warnings"])

"""A cBioPortal study folder read as a cohort."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ballbook import datasets, needs
from ballbook.cli import main
from ballbook.cohort import Cohort, InvalidCohort, read_cohort

PATIENTS = """#Patient\tSex\tAge\tOS status\tOS months\tDFS status\tDFS months\tMRD (%)
#About\tAbout\tAbout\tAbout\tAbout\tAbout\tAbout\tMRD at day 29 in percent
#STRING\tSTRING\tNUMBER\tSTRING\tNUMBER\tSTRING\tNUMBER\tNUMBER
#1\t1\t1\t1\t1\t1\t1\t1
PATIENT_ID\tSEX\tAGE\tOS_STATUS\tOS_MONTHS\tDFS_STATUS\tDFS_MONTHS\tMRD_DAY_29
A\tFemale\t4\t1:DECEASED\t20.5\t1:Recurred/Progressed\t9\t0.5
B\tMale\t11\t0:LIVING\t60\t0:DiseaseFree\t60\t0
C\tMale\t[Not Available]\t0:LIVING\t\t\t\t
"""
SAMPLES = """#Patient\tSample\tType
#Patient\tSample\tType
#STRING\tSTRING\tSTRING
#1\t1\t1
PATIENT_ID\tSAMPLE_ID\tSAMPLE_TYPE\tBCR_ABL1_STATUS
A\tA-2\tRelapse\tNegative
A\tA-1\tPrimary\tPositive
B\tB-1\tPrimary\tNegative
C\tC-2\tRelapse\tNegative
"""
CALLS = """Hugo_Symbol\tEntrez_Gene_Id\tA-2\tA-1\tB-1\tC-2\tZ-1
IKZF1\t10320\t0\t-2\t0\tNA\t-2
CDKN2A\t1029\t-2\t-1\t2\t-1.5\t0
TP53\t7157\t-1\t-1\t-1\t-1\t0
"""


def study(folder: Path, **files: str) -> Path:
    content = {
        "data_clinical_patient": PATIENTS,
        "data_clinical_sample": SAMPLES,
        "data_cna": CALLS,
    } | files
    for name, text in content.items():
        if text:
            (folder / f"{name}.txt").write_text(text, encoding="utf8")
    return folder


def test_a_small_study(tmp_path: Path) -> None:
    c = read_cohort(study(tmp_path, data_mutations="Hugo_Symbol\n"))
    p = c.patients.set_index("patient_id")
    assert p["sex"].tolist() == ["F", "M", "M"]
    assert p["age_years"].fillna(-1).tolist() == [4, 11, -1]
    assert p["bcr_abl1"].tolist() == [1, 0, 0]
    # The relapse sample of A has no deletion; the one at diagnosis counts.
    assert p["ikzf1"].fillna("?").tolist() == ["del", "wt", "?"]
    assert p["cdkn2a"].tolist() == ["del", "wt", "del"]
    assert p["cdkn2a_zygosity"].fillna("?").tolist() == ["het", "?", "hom"]
    assert c.endpoint("OS")["time_months"].tolist() == [20.5, 60]
    assert c.endpoint("DFS")["event"].tolist() == [1, 0]
    assert c.mrd is not None and c.mrd["level"].tolist() == [0.005, 0]
    assert c.mrd["timepoint"].unique().tolist() == ["day 29"]
    told = " ".join(c.notes)
    assert "4 samples of 3 patients" in told and "-1 as het" in told
    assert "1 patients have the time or the event of OS alone" in told
    assert "data_mutations.txt: not read" in told
    assert set(c.files) == {"data_clinical_patient.txt", "data_clinical_sample.txt", "data_cna.txt"}


def test_known_names_are_notes_and_what_is_assumed_a_warning(tmp_path: Path) -> None:
    args = ["check", "ikzf1-outcome", "--cohort", str(study(tmp_path)), "-p", "own_endpoint=OS"]
    told = CliRunner().invoke(main, args).stdout.splitlines()
    name = "MRD_DAY_29 is read as mrd_day_29_percent."
    assert f"note: Known name: data_clinical_patient.txt: {name}" in told
    assert not any("is read as mrd" in line for line in told if line.startswith("warning: "))
    assert any("4 samples of 3 patients" in line for line in told if line.startswith("warning: "))


def test_a_study_without_copy_number_or_patient_file(tmp_path: Path) -> None:
    c = read_cohort(study(tmp_path, data_cna="", data_clinical_patient=""))
    assert c.patients["patient_id"].tolist() == ["A", "B", "C"]
    assert "ikzf1" not in c.patients
    assert not needs.fit(c, "ikzf1-outcome").accepted


def test_rows_are_those_of_the_file(tmp_path: Path) -> None:
    study(
        tmp_path,
        data_clinical_patient=PATIENTS.replace("\t11\t", "\televen\t"),
        data_clinical_sample=SAMPLES.replace("B-1\tPrimary\tNegative", "B-1\tPrimary\tperhaps"),
        data_cna=CALLS.replace("A-2\tA-1", "A-2\tA-1").replace("-2\t0\tNA", "-0.37\t0\tNA"),
    )
    with pytest.raises(InvalidCohort) as caught:
        read_cohort(tmp_path)
    assert [(p.file, p.row, p.column, p.value) for p in caught.value.problems] == [
        ("data_clinical_patient.txt", 7, "AGE", "eleven"),
        ("data_clinical_sample.txt", 8, "BCR_ABL1_STATUS", "perhaps"),
        ("data_cna.txt", 2, "A-1", "-0.37"),
    ]
    assert all(p.mend for p in caught.value.problems)


def test_a_copy_number_file_of_one_endless_line(tmp_path: Path) -> None:
    study(tmp_path, data_cna="Hugo_Symbol\t" + "x" * 5_000_000)
    with pytest.raises(InvalidCohort, match="longer than 2,000,000 characters"):
        read_cohort(tmp_path)


def test_target_agrees_with_its_own_loader(shared_data: Path) -> None:
    folder = shared_data / "clinical" / "target-all-p2-cbioportal"
    if not folder.is_dir():
        pytest.skip("needs the TARGET study folder")
    events = {"Relapse": 1, "Death": 1, "SMN": 1, "Progression": 1, "Induction failure": 1,
              "Death without Remissio": 1, "Censored": 0, "None": 0}  # fmt: skip
    map = {
        "columns": {"DAYS_TO_EVENT": "efs_days", "FIRST_EVENT": "efs_event"},
        "values": {"FIRST_EVENT": events},
    }
    c, loaded = read_cohort(folder, map), datasets.load("target-all-p2")
    ours = c.patients.set_index("patient_id")
    theirs = loaded.patients.set_index("patient_id").loc[ours.index]
    assert len(ours) == len(theirs) == 1551
    for name in ["sex", "cns", "protocol", "lineage", "kmt2a_r", "bcr_abl1", "etv6_runx1"]:
        pd.testing.assert_series_equal(
            ours[name], theirs[name], check_dtype=False, check_names=False
        )
    for name in ["age_years", "wbc_10e9_per_l", "mrd_day8", "mrd_day29"]:
        pd.testing.assert_series_equal(ours[name], theirs[name], check_names=False)
    b = theirs["lineage"] != "T"
    pd.testing.assert_series_equal(
        ours["subtype"][b].fillna(""), theirs["subtype"][b].fillna(""), check_names=False
    )

    def times(cohort: Cohort, endpoint: str) -> pd.DataFrame:
        rows = cohort.endpoint(endpoint).set_index("patient_id").sort_index()
        return rows[["time_months", "event"]]

    pd.testing.assert_frame_equal(times(c, "OS"), times(loaded, "OS"))
    mine, other = times(c, "EFS"), times(loaded, "EFS")
    assert set(mine.index) <= set(other.index) and len(mine) > 1500
    pd.testing.assert_frame_equal(mine, other.loc[mine.index])


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(["data_clinical_patient", "data_clinical_sample", "data_cna"]),
    st.integers(0, 9),
    st.integers(0, 7),
    st.sampled_from(["", "?!", "#", "\t", "\n", "x" * 20, "-2", "A", "1e999", '"', "\0", "#a\n#b"]),
)
def test_any_broken_study_is_read_or_refused(
    tmp_path: Path, name: str, row: int, column: int, text: str
) -> None:
    study(tmp_path)
    path = tmp_path / f"{name}.txt"
    rows = [line.split("\t") for line in path.read_text().split("\n")]
    line = rows[row % len(rows)]
    line[column % len(line)] = text
    path.write_text("\n".join("\t".join(r) for r in rows), encoding="utf8")
    try:
        c = read_cohort(tmp_path)
    except InvalidCohort as error:
        assert error.problems and all(p.mend for p in error.problems)
    else:
        assert c.patients["patient_id"].is_unique

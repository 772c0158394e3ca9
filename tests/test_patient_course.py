"""The drawing of one patient's course, the printed one, and the chain on own samples."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from ballbook import chapters, claims, figures, patient_course
from ballbook.cli import main

MINE = """kind,label,start,end,parent,printed_time
stage,ALL,0,,,
stage,AML,20,,,
therapy,induction,0,2,,
sample,1,0,,,
clone,founder,0,30,,
clone,AML,6,30,founder,no
size,12%,20,,AML,
mark,SBS87,8,,AML,
"""


def test_the_printed_course_is_that_of_the_claims() -> None:
    rows, known = patient_course.printed(), claims.read()
    samples = rows[rows["kind"] == "sample"]
    assert samples["label"].astype(int).sum() == known["coo-samples"].value
    assert len(samples) == known["coo-timepoints"].value
    stage = rows[rows["kind"] == "stage"].set_index("label")["start"]
    assert stage["first relapse"] == 12 * (known["coo-remission-duration"].value or 0)
    assert stage["second relapse"] - stage["first relapse"] == 12 * (
        known["coo-r2-time"].value or 0
    )
    assert stage["AML"] - stage["second relapse"] == known["coo-aml-time"].value
    assert samples["start"].max() - stage["AML"] == known["coo-aml-second-sample"].value
    sizes = rows[rows["kind"] == "size"]
    for clone, claim in {
        "17p loss": "coo-clone-minor-d", "KMT2D": "coo-clone-major-d", "AML": "coo-mds-clone",
    }.items():  # fmt: skip
        assert known[claim].value in sizes.loc[sizes["parent"] == clone, "value"].tolist()
    assert known["coo-vaf-r2"].value in sizes["value"].tolist()
    assert (
        sizes["label"].str.contains(f"{100 * (known['coo-clone-major-i'].value or 0):.0f}%").any()
    )


def test_words_of_the_drawing_do_not_overlap_and_stay_inside() -> None:
    with figures.style():
        figure = patient_course.draw(patient_course.printed())
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()
        (ax,) = figure.axes
        boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in ax.texts if t.get_text()]
        ticks = [t.get_window_extent(renderer) for t in ax.get_xticklabels()]
    plt.close(figure)
    whole = figure.bbox
    assert len(boxes) > 15
    for i, (name, a) in enumerate(boxes):
        assert a.x0 >= whole.x0 and a.x1 <= whole.x1, name
        assert not any(a.overlaps(t) for t in ticks), name
        for other, b in boxes[i + 1 :]:
            apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
            assert apart, (name, other)


def test_a_course_of_ones_own_is_read_and_told(tmp_path: Path) -> None:
    (tmp_path / "course.csv").write_text(MINE, encoding="utf8")
    rows = patient_course.read_course(tmp_path / "course.csv")
    assert rows["start"].tolist() == [0, 20, 0, 0, 0, 6, 20, 8]
    assert np.isnan(rows["end"].iloc[0])
    told = patient_course.in_words(rows)
    assert "AML (founder) at 6" in told and "12% (AML) at 20" in told
    plt.close(patient_course.draw(rows))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("stages,x,0,,,", "expected one of stage"),
        ("stage,x,soon,,,", "'soon' is no number"),
        ("stage,x,,,,", "no start"),
        ("therapy,x,4,2,,", "end after its start"),
        ("size,5%,3,,nobody,", "no clone 'nobody'"),
        ("clone,x,3,4,nobody,", "to be the parent"),
    ],
)
def test_every_problem_of_a_course_is_named(tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "course.csv").write_text(f"{MINE}{line}\nstage,y,never,,,\n", encoding="utf8")
    with pytest.raises(patient_course.InvalidCourse, match=told) as raised:
        patient_course.read_course(tmp_path / "course.csv")
    assert "'never' is no number" in str(raised.value)


def test_a_course_without_a_column_is_refused() -> None:
    with pytest.raises(patient_course.InvalidCourse, match="no column"):
        patient_course.checked(pd.DataFrame({"kind": ["stage"]}))


def test_the_chapter_has_its_drawing_with_numbers_of_the_table() -> None:
    html = chapters.course("lineage_switch")
    assert "<svg" in html
    assert "8 samples of 6 times" in html
    assert "AML: VAF 0.0013" in html


@pytest.mark.slow
def test_a_chain_runs_what_the_cohort_can_fill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = ["lineage-switch-incidence", "lineage-switch-survival"]
    monkeypatch.setattr(chapters, "of_chapter", lambda _: pages)
    rng = np.random.default_rng(2)
    n = 80
    pd.DataFrame(
        {
            "patient_id": [f"secret-{i}" for i in range(n)],
            "efs_months": rng.exponential(20, n).round(2), "efs_event": 1,
            "efs_event_type": rng.choice(["relapse", "lineage-switch"], n),
        }
    ).to_csv(tmp_path / "cohort.csv", index=False)  # fmt: skip
    (tmp_path / "course.csv").write_text(MINE, encoding="utf8")
    done = CliRunner().invoke(
        main,
        ["chain", "lineage_switch", "--cohort", str(tmp_path / "cohort.csv"), "--course",
         str(tmp_path / "course.csv"), "--out", str(tmp_path / "out")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "lineage-switch-survival: not run, lacks" in done.output
    index = (tmp_path / "out" / "index.html").read_text(encoding="utf8")
    assert 'href="lineage-switch-incidence/report.html"' in index
    assert "12% (AML) at 20" in index and "secret-" not in index
    results = tmp_path / "out" / "lineage-switch-incidence" / "results.json"
    summary = json.loads(results.read_text(encoding="utf8"))["summary"]
    assert "In your cohort" in summary and summary.split(".")[0] in index
    again = CliRunner().invoke(
        main,
        ["chain", "lineage_switch", "--cohort", str(tmp_path / "cohort.csv"), "--out",
         str(tmp_path / "out")],
    )  # fmt: skip
    assert again.exit_code != 0 and "not an empty folder" in again.output


def test_a_chain_of_an_unknown_chapter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cohort.csv").write_text("patient_id\nP1\n", encoding="utf8")
    arguments = ["--cohort", str(tmp_path / "cohort.csv"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, ["chain", "nowhere", *arguments])
    assert done.exit_code != 0
    assert "nowhere" in done.output + str(done.exception)

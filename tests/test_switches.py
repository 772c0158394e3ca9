"""Lineage switches: risks from print, counts and states of cohorts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ballbook import switches
from ballbook.cohort import Cohort, read_cohort
from ballbook.contingency import odds_ratio, proportion
from ballbook.meta_analysis import rare_counts_glmm


def write(folder: Path, rows: list[dict[str, object]]) -> Cohort:
    path = folder / "cohort.csv"
    frame = pd.DataFrame(rows)
    frame.insert(0, "patient_id", [f"p{i}" for i in range(len(frame))])
    frame.to_csv(path, index=False)
    return read_cohort(path)


def row(
    time: float, kind: str, os: float, dead: int, after: float | None = None, **more: object
) -> dict[str, object]:
    """One patient: first event (none: censored), overall survival, survival after a switch."""
    told: dict[str, object] = {
        "efs_months": time, "efs_event": int(kind != "none"), "efs_event_type": kind,
        "os_months": os, "os_event": dead,
        "os_after_switch_months": "" if after is None else after,
        "os_after_switch_event": "" if after is None else dead,
    }  # fmt: skip
    return told | more


PATIENTS = [
    row(12, "relapse", 30, 1, 6, subtype="KMT2A-r"),  # relapse at 12, switch at 24, death at 30
    row(10, "lineage-switch", 15, 1, 5, subtype="KMT2A-r"),
    row(20, "death", 20, 1, subtype="other"),
    row(40, "none", 40, 0, subtype="other"),
    row(9, "relapse", 50, 0, subtype="other"),
    row(25, "second-malignancy", 60, 0, subtype=""),
]


def test_the_risk_in_a_group_is_that_of_bayes() -> None:
    e = switches.risk_in_group((12, 420), (45, 70), 0.1)
    assert e.value == pytest.approx(12 / 420 * 45 / 70 / 0.1)
    rng = np.random.default_rng(3)
    drawn = rng.binomial(420, 12 / 420, 40_000) / 420 * rng.binomial(70, 45 / 70, 40_000) / 70 / 0.1
    assert e.ci_low is not None and e.ci_high is not None
    assert np.log(e.ci_high / e.ci_low) / 3.92 == pytest.approx(
        np.log(drawn[drawn > 0]).std(), rel=0.08
    )
    everyone = switches.risk_in_group((12, 420), (70, 70), 1.0)
    assert everyone.value == pytest.approx(12 / 420)


def test_shares_that_cannot_all_hold_give_no_risk() -> None:
    e = switches.risk_in_group((12, 166), (45, 70), 0.01)
    assert e.value is None
    assert "too small" in (e.reason or "")
    assert switches.risk_in_group((0, 30), (45, 70), 0.1).value is None


@pytest.mark.parametrize("bad", [((5, 4), (1, 2), 0.1), ((1, 4), (1, 2), 0.0), ((1, 4), (0, 0), 1)])
def test_impossible_counts_are_refused(bad: tuple[tuple[int, int], tuple[int, int], float]) -> None:
    with pytest.raises(ValueError, match=r"counts|fraction"):
        switches.risk_in_group(*bad)


@pytest.mark.parametrize("risk", [0.005, 0.0286, 0.2, 0.5])
def test_the_smallest_series_that_would_have_seen_a_switch(risk: float) -> None:
    n = switches.patients_to_see_one(risk)
    assert (1 - risk) ** n <= 0.05 + 1e-12 < (1 - risk) ** (n - 1) + 1e-12


def test_silent_cohorts_lower_the_risk_and_none_leaves_it() -> None:
    table = switches.with_silent_cohorts([12, 5], [166, 231], [40] * 3)
    first = rare_counts_glmm([12, 5], [166, 231]).pooled
    assert table.loc[0, "glmm"] == pytest.approx(first.value)
    assert table.loc[3, "crude_high"] == pytest.approx(proportion(17, 397 + 120).ci_high)
    assert (table["crude"].diff().dropna() < 0).all()
    assert (table["glmm"].diff().dropna() < 0).all()


def test_first_events_are_told_apart(tmp_path: Path) -> None:
    rows = switches.first_events(write(tmp_path, PATIENTS), "EFS")
    assert rows["cause"].tolist() == [2, 1, 3, 0, 2, 3]
    assert rows["kmt2a"].tolist()[:5] == [1, 1, 0, 0, 0]
    assert np.isnan(rows["kmt2a"].iloc[5])


def test_a_course_places_a_switch_after_a_relapse(tmp_path: Path) -> None:
    found = switches.course(write(tmp_path, PATIENTS), "EFS")
    assert found["relapsed"].dropna().tolist() == [12, 9]
    assert found["switched"].dropna().tolist() == [24, 10]
    assert found["other event"].dropna().tolist() == [25]
    assert found["dead"].dropna().tolist() == [30, 15, 20]
    states = switches.states_of(found)
    moves = states.transitions.set_index(["state", "to"])["n"].to_dict()
    assert moves == {
        ("event-free", "relapsed"): 2, ("event-free", "switched"): 1,
        ("event-free", "other event"): 1, ("event-free", "dead"): 1,
        ("relapsed", "switched"): 1, ("switched", "dead"): 2,
    }  # fmt: skip
    assert states.at(22)["relapsed"].value == pytest.approx(2 / 6)


def test_merged_states_are_those_of_merged_courses(tmp_path: Path) -> None:
    found = switches.course(write(tmp_path, PATIENTS), "EFS")
    groups = {"relapsed": "relapsed", "switched": "rest", "other event": "rest"}
    fine, merged = switches.states_of(found), switches.states_of(found, groups)
    for t in (8, 14, 26, 39):
        a, b = fine.at(t), merged.at(t)
        assert b["dead"].value == pytest.approx(a["dead"].value)
        parts = (a["switched"].value or 0) + (a["other event"].value or 0)
        assert b["rest"].value == pytest.approx(parts)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((30, 9, 6, 20), {"relapsed": "relapsed", "switched": "switched"}),
        ((30, 3, 4, 20), {"relapsed": "relapsed", "switched": "after another event"}),
        ((30, 9, 1, 20), {"relapsed": "after relapse or other event", "switched": "switched"}),
        ((30, 0, 0, 20), {"switched": "after relapse or other event"}),
        ((2, 9, 1, 20), {"switched": "after relapse or other event"}),
        ((3, 0, 1, 20), None),
        ((30, 9, 6, 2), None),
    ],
)
def test_small_states_are_merged_until_none_is_small(
    sizes: tuple[int, ...], expected: dict[str, str] | None
) -> None:
    by_then = pd.Series(sizes, index=[*switches.AFTER, "dead"])
    found = switches.groups_of_states(by_then, 5)
    if expected is None or found is None:
        assert found is None and expected is None
        return
    assert {k: found[k] for k in expected} == expected
    shown = by_then[list(switches.AFTER)].groupby(found).sum()
    assert (shown >= 5).all()


def test_own_counts_are_those_counted_by_hand(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = []
    for i in range(200):
        kmt2a = i < 60
        kind = rng.choice(
            ["none", "relapse", "lineage-switch", "death"],
            p=[0.4, 0.3, 0.2, 0.1] if kmt2a else [0.5, 0.35, 0.05, 0.1],
        )
        rows.append(row(float(rng.integers(1, 60)), str(kind), 90, 0,
                        subtype="KMT2A-r" if kmt2a else "other"))  # fmt: skip
    cohort = write(tmp_path, rows)
    frame = pd.DataFrame(rows)
    is_switch = frame["efs_event_type"] == "lineage-switch"
    relapse = frame["efs_event_type"].isin(["relapse", "lineage-switch"])
    own = switches.own_switches(cohort, "EFS", 24, 0)
    assert own.estimates["of-relapses"].n_events == is_switch.sum()
    assert own.estimates["of-relapses"].n == relapse.sum()
    assert own.estimates["of-patients"].n == 200
    table = pd.crosstab(frame.loc[relapse, "subtype"], is_switch[relapse])
    cells = table.loc[["KMT2A-r", "other"]].to_numpy()[:, ::-1]
    (a, b), (c, d) = cells.tolist()
    assert own.estimates["odds-kmt2a"].value == pytest.approx(odds_ratio(a, b, c, d).value)
    hidden = switches.own_switches(cohort, "EFS", 24, 1000).estimates["odds-kmt2a"]
    assert hidden.value is None


def test_a_cohort_without_a_switch_is_kept(tmp_path: Path) -> None:
    rows = [row(5 + i, "relapse", 80, 0, subtype="other") for i in range(20)]
    own = switches.own_switches(write(tmp_path, rows), "EFS", 24, 0)
    e = own.estimates["of-relapses"]
    assert (e.value, e.n) == (0, 20)
    assert e.ci_high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert own.estimates["incidence"].value is None
    assert own.estimates["odds-kmt2a"].value is None


def test_overall_survival_shorter_by_rounding_is_lengthened(tmp_path: Path) -> None:
    rows = [row(12.3, "relapse", 12, 1, subtype="other"), row(12, "relapse", 8, 1, subtype="other")]
    found = switches.course(write(tmp_path, rows), "EFS")
    assert found["end"].tolist() == [12.3, 8]
    assert found["relapsed"].iloc[0] == 12.3
    assert np.isnan(found["relapsed"].iloc[1])

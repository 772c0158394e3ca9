"""The lineage-switch notebook, run from beginning to end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ballbook import datasets, paths
from ballbook.run import run
from ballbook.survival import kaplan_meier

SLUG = "lineage-switch-survival"
pytestmark = pytest.mark.slow


def results_of(out: Path) -> tuple[dict[str, Any], dict[str, Any], dict[Any, Any]]:
    """Return the results, and estimates and verdicts by name."""
    results = json.loads((out / "results.json").read_text(encoding="utf8"))
    estimates = {e["id"]: e for e in results["estimates"]}
    verdicts = {(v["claim"], v["tier"] == "yours"): v for v in results["verdicts"]}
    return results, estimates, verdicts


def a_cohort(n: int, folder: Path, *, deaths: int | None = None, untyped: int = 0) -> Path:
    """Write `n` made-up switch cases with a true median of 4.8 months.

    Of these exactly `deaths` die, where given, and `untyped` have no subtype.
    """
    rng = np.random.default_rng(21)
    death, end = rng.exponential(4.8 / np.log(2), n), rng.uniform(6, 40, n)
    path = folder / f"cases{n}.csv"
    died = death <= end if deaths is None else np.arange(n) < deaths
    subtype = np.where(np.arange(n) % 3 > 0, "KMT2A-r", "other")
    pd.DataFrame(
        {
            "patient_id": [f"secret-{i}" for i in range(n)],
            "subtype": np.where(np.arange(n) < untyped, "", subtype),
            "os_after_switch_months": np.minimum(death, end),
            "os_after_switch_event": died.astype(int),
        }
    ).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def page(run_of: Callable[[str], Path]) -> Path:
    from conftest import shared_folder

    if shared_folder() is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    return run_of(SLUG)


def test_headline_numbers_are_those_of_r(page: Path, golden: Any) -> None:
    results, estimates, _ = results_of(page)
    r = golden("lineage_switch")
    for id, expected in {
        "relapse-all-median": r["all"],
        "relapse-early-median": r["by_time"]["under 18 months"],
        "relapse-late-median": r["by_time"]["36 months or later"],
        "relapse-kmt2a-median": r["by_kmt2a"]["Positive"],
        "relapse-aall0331-median": r["by_protocol"]["AALL0331"],
        "relapse-set-other-median": r["without_discovery"],
    }.items():
        e = estimates[id]
        assert (e["n"], e["n_events"], e["tier"]) == (expected["n"], expected["events"], "open")
        for got, key in [("value", "median"), ("ci_low", "low"), ("ci_high", "high")]:
            want = None if expected[key] is None else pytest.approx(expected[key], rel=1e-9)
            assert e[got] == want, (id, got)
    time = estimates["logrank-time"]
    assert time["p_value"] == pytest.approx(r["logrank_time_stratified"]["p"], rel=1e-6)
    later = estimates["mean-early-minus-later"]["value"]
    assert later == pytest.approx(r["early_minus_later_24"], rel=1e-9)
    needed = [estimates[f"deaths-to-see-{m}"]["value"] for m in ("7-2", "9-6", "14-4")]
    assert needed == r["deaths_needed"]
    gates = {g["name"]: g for g in results["gates"]}
    assert gates["proportional hazards"]["statistic"] == pytest.approx(r["zph_time"], rel=1e-6)
    assert estimates["patients-for-median-within-1"]["value"] == r["patients"][0]["n"]


def test_verdicts_follow_from_what_is_printed(page: Path) -> None:
    _, _, verdicts = results_of(page)
    words = {claim: v["verdict"] for (claim, _), v in verdicts.items()}
    counted = ["n", "aml", "mpal", "rare", "kmt2a"]
    assert {words[f"ext-silbert-{c}"] for c in counted} == {"reproduced"}
    assert words["iac-silbert-kmt2a"] == "misprint"
    unknown = ["6mo", "os", "remission", "time", "drift", "bcrabl1"]
    assert {words[f"ext-silbert-{c}"] for c in unknown} == {"not-testable"}
    assert words["iac-silbert-other"] == "not-testable"


def test_no_count_that_is_inferred_from_a_percentage_judges_it(page: Path) -> None:
    _, estimates, verdicts = results_of(page)
    table = pd.read_csv(paths.data() / "published" / "lineage_switch_evolve.csv")
    typed = table.dropna(subset=["count"])
    printed = set(typed["count"].astype(int))
    inferred = [e for e in estimates.values() if "inferred" in e["method"]]
    assert {e["n_events"] for e in inferred} == {57, 4}
    assert all("(inferred)" in e["label"] for e in inferred)
    for verdict in verdicts.values():
        if verdict["verdict"] == "not-testable":
            continue
        assert not any(e["label"] in verdict["recomputed"] for e in inferred), verdict
        count = re.search(r"(\d+)(?: events)?$", verdict["recomputed"])
        assert count is not None
        assert int(count[1]) in printed, verdict


def test_comparisons_carry_the_tier_of_their_patients_and_no_p_value(page: Path) -> None:
    results, estimates, _ = results_of(page)
    assert not [v for v in results["verdicts"] if v["tier"] == "simulated"]
    assert not [e for e in results["estimates"] if e["tier"] == "simulated"]
    ratios = {id: e for id, e in estimates.items() if id.startswith("ratio-")}
    assert {e["tier"] for e in ratios.values()} == {"open", "published"}
    assert {e["p_value"] for e in ratios.values()} == {None}
    assert all("assuming a constant hazard" in e["label"] for e in ratios.values())
    assert "times as long" not in results["summary"]


def test_the_answer_stands_at_the_top_and_names_the_doubt(page: Path) -> None:
    results, estimates, _ = results_of(page)
    for id in ("relapse-all-median", "relapse-early-median"):
        assert f"{estimates[id]['value']:.1f} (" in results["summary"]
    assert len(results["summary"].split()) <= 45
    assert len(results["certainty"].split()) <= 30
    assert "no public case-level data" in results["certainty"]
    report = (page / "report.html").read_text(encoding="utf8")
    assert report.index("bb-answer") < report.index("What can be known")


def test_every_figure_has_its_files_and_its_numbers(page: Path) -> None:
    names = ("curves-of-one-median", "survival-after-relapse", "survival-by-kmt2a", "medians")
    for name in (*names, "what-is-reported", "states-from-diagnosis"):
        for ending in ("svg", "png", "csv"):
            assert (page / "figures" / f"{name}.{ending}").stat().st_size > 200
    curves = pd.read_csv(page / "figures" / "curves-of-one-median.csv")
    at_the_median = curves[np.isclose(curves["months"], 4.8)].drop(columns="months")
    assert at_the_median.to_numpy().ravel() == pytest.approx([0.5] * 4)


def test_shares_of_the_catalogue_are_those_counted_by_hand(page: Path) -> None:
    _, estimates, _ = results_of(page)
    table = pd.read_csv(paths.data() / "published" / "lineage_switch_cases.csv")
    after = table["therapy"].isin(["blinatumomab", "CAR T cells", "CD19-directed"])
    known = table[after & (table["origin"] == "B-ALL")]["kmt2a_r"].dropna()
    e = estimates["catalogue-kmt2a"]
    assert (e["n_events"], e["n"]) == ((known == "yes").sum(), len(known)) == (8, 15)
    assert (estimates["catalogue-remission"]["n_events"], 5) == (
        4,
        len(table["remission"].dropna()),
    )
    listed = pd.read_csv(page / "tables" / "catalogue.csv")
    assert len(listed) == 59


def test_states_of_target_are_its_survival_curves(page: Path, shared_data: Path) -> None:
    _, estimates, _ = results_of(page)
    cohort = datasets.load("target-all-p2")
    efs, os = (cohort.endpoint(name) for name in ("EFS", "OS"))
    efs, os = (rows[rows["lineage"] == "B"] for rows in (efs, os))
    for name, wanted in (("discovery", True), ("other", False)):
        mine = efs[efs["analysis_cohort"].str.contains("DISCOVERY") == wanted]
        dead = os[os["patient_id"].isin(mine["patient_id"])]
        free = kaplan_meier(mine["time_months"], mine["event"]).at(60)
        e = estimates[f"state-{name}-event-free"]
        assert e["value"] == pytest.approx(free.value, abs=2e-3)
        assert e["ci_low"] == pytest.approx(free.ci_low, abs=6e-3)
        died = 1 - (kaplan_meier(dead["time_months"], dead["event"]).at(60).value or 0)
        assert estimates[f"state-{name}-dead"]["value"] == pytest.approx(died, abs=6e-3)
    moves = pd.read_csv(page / "tables" / "transitions.csv").set_index(["state", "to"])["n"]
    first = efs["event_type"].value_counts()
    assert moves["event-free", "relapsed"] == first["relapse"] + first.get("progression", 0)


def own_courses(folder: Path, n: int, switch: float) -> Path:
    """Write `n` made-up courses from diagnosis, with first events by kind and survival."""
    rng = np.random.default_rng(17)
    time, end = rng.exponential(40, n), rng.uniform(40, 100, n)
    after = rng.exponential(20, n)
    kind = rng.choice(["relapse", "lineage-switch"], n, p=[1 - switch, switch])
    happened = time < end
    os = np.where(happened, np.minimum(time + after, end), end)
    switched = happened & (kind == "lineage-switch")
    died = (happened & (time + after < end)).astype(int)
    frame = pd.DataFrame(
        {
            "patient_id": [f"secret-{i}" for i in range(n)],
            "efs_months": np.minimum(time, end), "efs_event": happened.astype(int),
            "efs_event_type": np.where(happened, kind, "none"), "os_months": os, "os_event": died,
            "os_after_switch_months": np.where(switched, os - time, np.nan),
            "os_after_switch_event": np.where(switched, died, np.nan),
        }
    )  # fmt: skip
    frame.to_csv(folder / "courses.csv", index=False)
    return folder / "courses.csv"


@pytest.mark.parametrize(("switch", "shown"), [(0.4, True), (0.005, False)])
def test_your_states_from_diagnosis_are_shown_where_they_are_many(
    shared_data: Path, tmp_path: Path, switch: float, shown: bool
) -> None:
    path = own_courses(tmp_path, 300, switch)
    given = {"cohort": str(path), "n_sim": 50}
    _, estimates, _ = results_of(run(SLUG, parameters=given, out=tmp_path / "out"))
    states = {
        id.removeprefix("own-state-"): e
        for id, e in estimates.items()
        if id.startswith("own-state-")
    }
    assert ("switched" in states) == shown
    assert "after-relapse-or-other-event" in states  # nobody had another event
    assert {e["tier"] for e in states.values()} == {"yours"}
    assert {e["n_events"] for e in states.values()} == {None}
    assert sum(e["value"] for e in states.values()) == pytest.approx(1, abs=0.01)
    table = pd.read_csv(path)
    free = kaplan_meier(table["efs_months"], table["efs_event"]).at(60).value
    assert states["event-free"]["value"] == pytest.approx(free, rel=5e-3)


def test_no_row_of_a_patient_leaves_target(page: Path) -> None:
    for file in page.rglob("*.*"):
        if file.suffix in {".html", ".csv", ".json", ".ipynb"}:
            assert not re.search(r"TARGET-10-[A-Z]{6}", file.read_text(encoding="utf8")), file.name


def test_two_runs_agree(page: Path, tmp_path: Path) -> None:
    first, _, _ = results_of(page)
    second, _, _ = results_of(run(SLUG, out=tmp_path / "again"))
    for results in (first, second):
        del results["provenance"]  # date, run time, and hashes of the whole library
    assert first == second


def test_your_cases_are_judged_and_stay_yours(shared_data: Path, tmp_path: Path) -> None:
    cases = a_cohort(120, tmp_path)
    out = run(SLUG, parameters={"cohort": str(cases), "n_sim": 50}, out=tmp_path / "out")
    results, estimates, verdicts = results_of(out)
    own = estimates["own-median"]
    assert own["tier"] == "yours"
    assert own["ci_low"] < 4.8 < own["ci_high"]
    assert verdicts["ext-silbert-os", True]["verdict"] == "consistent"
    assert verdicts["ext-silbert-kmt2a", True]["verdict"] == "consistent"
    assert verdicts["ext-silbert-os", False]["verdict"] == "not-testable"
    assert "In your cohort it is" in results["summary"]
    assert len(results["summary"].split()) <= 45
    assert estimates["ratio-own"]["tier"] == "yours"
    mine = [e for e in estimates.values() if e["tier"] == "yours"]
    assert {e["n"] for e in mine} <= {120, None}
    assert {e["n_events"] for e in mine} == {None}
    for file in out.rglob("*.*"):
        if file.suffix in {".html", ".csv", ".json", ".ipynb", ".svg"}:
            assert "secret-" not in file.read_text(encoding="utf8"), file.name
    drawn = pd.read_csv(out / "figures" / "survival-after-relapse.csv")
    drawn_of_mine = drawn[drawn["group"] == "your cohort"]
    assert len(drawn_of_mine) > 5
    assert drawn_of_mine["at_risk"].isna().all()
    times = pd.read_csv(cases)
    died = times.loc[times["os_after_switch_event"] == 1, "os_after_switch_months"].to_numpy()
    by = np.array([(died <= t).sum() for t in drawn_of_mine["months"]])
    assert (np.diff(by) >= 5).all()


@pytest.mark.parametrize(("n", "deaths"), [(4, None), (7, None), (80, 3)])
def test_few_cases_or_deaths_show_no_survival(
    shared_data: Path, tmp_path: Path, n: int, deaths: int | None
) -> None:
    cases = a_cohort(n, tmp_path, deaths=deaths)
    out = run(SLUG, parameters={"cohort": str(cases), "n_sim": 50}, out=tmp_path / "out")
    results, estimates, verdicts = results_of(out)
    told = [id for id, e in estimates.items() if e["tier"] == "yours" and e["value"] is not None]
    assert all(id.startswith("own-kmt2a") for id in told)
    assert ("ext-silbert-os", True) not in verdicts
    assert "your cohort" not in results["summary"].lower()
    (gate,) = (g for g in results["gates"] if g["name"] == "your cohort is large enough")
    assert (gate["status"], gate["statistic"]) == ("failed", None)
    drawn = pd.read_csv(out / "figures" / "survival-after-relapse.csv")
    assert "your cohort" not in set(drawn["group"])
    medians = pd.read_csv(out / "figures" / "medians.csv")
    assert "Your cohort" not in set(medians["label"])
    times = pd.read_csv(cases)["os_after_switch_months"]
    for file in out.rglob("*.*"):
        if file.suffix in {".html", ".csv", ".json", ".svg"}:
            text = file.read_text(encoding="utf8")
            assert not [t for t in times if f"{t:.6f}" in text], file.name


def test_a_few_without_subtype_cannot_be_counted(shared_data: Path, tmp_path: Path) -> None:
    cases = a_cohort(60, tmp_path, untyped=2)
    out = run(SLUG, parameters={"cohort": str(cases), "n_sim": 50}, out=tmp_path / "out")
    _, estimates, verdicts = results_of(out)
    assert (estimates["own-kmt2a"]["value"], estimates["own-kmt2a"]["n"]) == (None, None)
    assert ("ext-silbert-kmt2a", True) not in verdicts
    assert estimates["own-median"]["n"] == 60


def test_a_smallest_count_of_zero_withholds_nothing(shared_data: Path, tmp_path: Path) -> None:
    cases = a_cohort(7, tmp_path)
    given = {"cohort": str(cases), "n_sim": 50, "min_count": 0}
    _, estimates, _ = results_of(run(SLUG, parameters=given, out=tmp_path / "out"))
    assert estimates["own-median"]["value"] is not None
    assert estimates["own-median"]["n"] == 7


@pytest.mark.parametrize(
    "choice", [{"include_discovery": False}, {"early_months": 12.0}, {"horizon_months": 60.0}]
)
def test_other_choices_run_through(
    shared_data: Path, tmp_path: Path, choice: dict[str, Any]
) -> None:
    results, estimates, _ = results_of(
        run(SLUG, parameters={**choice, "n_sim": 50}, out=tmp_path / "out")
    )
    assert results["parameters"][next(iter(choice))] == next(iter(choice.values()))
    assert estimates["relapse-early-median"]["n"] > 0

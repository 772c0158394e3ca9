"""The IKZF1 page: typed arms, effects read from print, the band in a karyotype, and the page."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from ballbook import claims, datasets, dummy, ikzf1, needs, run
from ballbook.cohort import Cohort
from ballbook.results import Estimate

ROOT = Path(__file__).resolve().parents[1]
SLUG = "ikzf1-outcome"
ENDPOINTS = ("EFS", "DFS", "OS", "CIR")
ROLES = {"in", "overlap", "possible-overlap", "subset", "no-precision"}


@pytest.fixture(scope="module")
def arms() -> pd.DataFrame:
    return datasets.published("ikzf1_arms")


@pytest.fixture(scope="module")
def reports() -> pd.DataFrame:
    return datasets.published("ikzf1_effects")


@pytest.fixture
def r(golden: Any) -> Any:
    return golden("ikzf1_outcome")


# ------------------------------------------------------------------------------ typed tables


def test_every_arm_is_complete_and_in_range(arms: pd.DataFrame) -> None:
    assert set(arms["endpoint"]) == set(ENDPOINTS)
    assert set(arms["role"]) <= ROLES
    assert arms[["source", "locator", "population", "label"]].notna().all().all()
    assert arms["estimate_pct"].between(0, 100, inclusive="neither").all()
    ci = arms.dropna(subset=["ci_low_pct"])
    assert len(ci) and (ci["ci_low_pct"] < ci["estimate_pct"]).all()
    assert (ci["estimate_pct"] < ci["ci_high_pct"]).all()
    assert not (arms["ci_low_pct"].notna() & arms["se_pct"].notna()).any()
    assert arms["se_pct"].dropna().between(0.5, 25).all()
    assert arms["n_basis"].notna().equals(arms["n"].notna())
    assert not arms.duplicated(["study", "endpoint", "arm"]).any()


def test_arms_are_paired_and_share_what_belongs_to_the_study(arms: pd.DataFrame) -> None:
    same = ["label", "source", "locator", "population", "horizon_years", "p_printed", "role", "why"]
    for (study, endpoint), table in arms.groupby(["study", "endpoint"]):
        kinds = sorted(table["arm"])
        assert kinds in (["del", "wt"], ["del-only", "plus", "wt"]), (study, endpoint, kinds)
        assert (table[same].nunique(dropna=False) == 1).all(), (study, endpoint)


def test_whatever_is_left_out_says_why_and_nothing_else_does(arms: pd.DataFrame) -> None:
    assert arms["why"].notna().equals(arms["role"] != "in")


def test_no_patients_count_twice_in_a_pool(arms: pd.DataFrame) -> None:
    """One report a pool may come from each source, but for two cohorts of one paper."""
    pooled = arms[arms["role"] == "in"].drop_duplicates(["study", "endpoint"])
    shared = pooled[pooled.duplicated(["source", "endpoint"], keep=False)]
    assert set(shared["study"]) == {"pre-tki", "esphall"}


def test_nulls_are_kept_and_have_no_number(reports: pd.DataFrame) -> None:
    nulls = reports[reports["direction"] == "no effect"]
    assert {"ukall14", "abl-class", "aieop-2000-mv"} <= set(nulls["report"])
    assert nulls["effect"].isna().all() and (nulls["role"] == "no-number").all()
    given = reports.dropna(subset=["ci_low"])
    assert len(given) and (given["ci_low"] < given["effect"]).all()
    assert (given["effect"] < given["ci_high"]).all()


# ------------------------------------------------------------------------------ effects


def main(arms: pd.DataFrame, reports: pd.DataFrame, endpoint: str) -> pd.DataFrame:
    """Return the main pool as the page builds it."""
    table = ikzf1.study_effects(arms, endpoint)
    extra = reports[(reports["role"] == "in") & (reports["endpoint"] == endpoint)]
    printed = pd.DataFrame([ikzf1.printed_effect(row) for _, row in extra.iterrows()])
    table = pd.concat([t for t in (table, printed) if len(t)], ignore_index=True)
    return table[table["role"] == "in"].reset_index(drop=True)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_pools_equal_metafor(
    arms: pd.DataFrame, reports: pd.DataFrame, r: Any, endpoint: str
) -> None:
    table, expected = main(arms, reports, endpoint), r["pools"][endpoint]
    fit = ikzf1.pool_for_verdict(table)
    found = (fit.pooled.value, fit.pooled.ci_low, fit.pooled.ci_high, fit.q.p_value)
    assert len(table) == expected["k"]
    assert found == pytest.approx([expected[k] for k in ("value", "low", "high", "q_p")], rel=1e-6)
    assert fit.tau2.value == pytest.approx(expected["tau2"], rel=1e-5, abs=1e-9)
    assert fit.prediction_interval.ci_high == pytest.approx(expected["prediction_high"], rel=1e-6)
    assert ("Hartung-Knapp t" in fit.method) == (expected["test"] == "knha")


def test_effects_by_hand(arms: pd.DataFrame) -> None:
    efs = ikzf1.study_effects(arms, "EFS").set_index("study")
    bfm = efs.loc["all-bfm-2000"]
    assert bfm["value"] == pytest.approx(math.log(0.69) / math.log(0.85))
    se = math.hypot(0.05 / (0.69 * math.log(0.69)), 0.01 / (0.85 * math.log(0.85)))
    assert bfm["std_error"] == pytest.approx(se)
    assert efs.loc["ibfm-heh", "basis"] == ikzf1.BASIS["p"]
    assert "tpog-2013" not in efs.index
    cir = ikzf1.study_effects(arms, "CIR").set_index("study").loc["aieop-2000"]
    assert cir["value"] == pytest.approx(math.log(1 - 0.242) / math.log(1 - 0.131))
    dfs = ikzf1.study_effects(arms, "DFS").set_index("study").loc["d-alba"]
    assert dfs["deleted_pct"] == pytest.approx((11 * 45.5 + 13 * 74) / 24)
    assert dfs["n_deleted"] == 24 and dfs["basis"] == ikzf1.BASIS["n"]


def test_fewer_patients_widen_what_is_counted_and_nothing_else(arms: pd.DataFrame) -> None:
    counted, halved, printed = (
        ikzf1.study_effects(arms, "EFS", precision=p).set_index("study")["std_error"]
        for p in ("counts", "half counts", "printed")
    )
    assert halved["nopho"] / counted["nopho"] == pytest.approx(math.sqrt(2), rel=1e-3)
    assert halved["all-bfm-2000"] == printed["all-bfm-2000"]


@pytest.mark.parametrize(
    ("printed", "expected"),
    [("0.006", 0.006), (".02", 0.02), (0.63, 0.63), ("<0.001", None), (float("nan"), None)],
)
def test_only_exact_p_values_are_used(printed: Any, expected: float | None) -> None:
    assert ikzf1._exact_p(printed) == expected


def test_a_study_without_its_wild_type_arm_is_refused(arms: pd.DataFrame) -> None:
    broken = arms[~((arms["study"] == "nopho") & (arms["arm"] == "wt"))]
    with pytest.raises(ValueError, match="study nopho, EFS: expected one wild-type"):
        ikzf1.study_effects(broken, "EFS")
    with pytest.raises(ValueError, match="se_pct"):
        ikzf1.study_effects(arms.drop(columns="se_pct"), "EFS")


def test_a_ratio_needs_its_error() -> None:
    row = {"report": "x", "effect": 2.0, "ci_low": None, "ci_high": None, "p_printed": "<0.001"}
    with pytest.raises(ValueError, match="needs an interval or an exact P value"):
        ikzf1.printed_effect(row)


def test_null_reports_enter_with_the_greatest_precision(
    arms: pd.DataFrame, reports: pd.DataFrame, r: Any
) -> None:
    sharpest = ikzf1.sharpest_null(114, 384)
    assert sharpest == (0.0, pytest.approx(math.sqrt(1 / 114 + 1 / 384)))
    table = main(arms, reports, "EFS")
    nulls = [("a", *sharpest), ("b", *ikzf1.sharpest_null(36, 23))]
    extra = pd.DataFrame(nulls, columns=["label", "log_hr", "std_error"])
    fit = ikzf1.pool_for_verdict(pd.concat([table, extra], ignore_index=True))
    assert fit.pooled.value == pytest.approx(r["pools"]["EFS_with_nulls"]["value"], rel=1e-6)
    assert fit.pooled.ci_low == pytest.approx(r["pools"]["EFS_with_nulls"]["low"], rel=1e-6)
    with pytest.raises(ValueError, match="both need patients"):
        ikzf1.sharpest_null(0, 10)


def test_the_wider_interval_judges_and_both_are_printed() -> None:
    def table(*log_hr: float) -> pd.DataFrame:
        return pd.DataFrame(
            {"label": range(len(log_hr)), "log_hr": log_hr, "std_error": 0.4, "n_deleted": 1,
             "n_wild_type": 1}
        )  # fmt: skip

    found = ikzf1.both_intervals(
        {"agree": table(0.7, 0.71, 0.72), "apart": table(-0.5, 0.7, 1.9), "two": table(-0.5, 1.9)}
    )
    assert list(found["judged_by"]) == ["normal", "Hartung-Knapp", "Hartung-Knapp"]
    assert list(found["cohorts"]) == [3, 3, 2]
    normal, adjusted = (found[f"{n}_high"] for n in ("normal", "hartung_knapp"))
    assert list(normal > adjusted) == [True, False, False]


def test_leaving_one_out_is_the_pool_of_the_rest(arms: pd.DataFrame, reports: pd.DataFrame) -> None:
    table = main(arms, reports, "EFS")
    out = ikzf1.leave_one_out(table)
    rest = ikzf1.pool_for_verdict(table.drop(index=4))
    assert list(out["without"]) == list(table["label"])
    assert out["value"].iloc[4] == rest.pooled.value


def test_forest_rows_carry_weights_pool_and_counts(
    arms: pd.DataFrame, reports: pd.DataFrame
) -> None:
    table = main(arms, reports, "EFS")
    fit = ikzf1.pool_for_verdict(table)
    rows = ikzf1.forest_rows(table, fit, heading="In the pool")
    assert list(rows["kind"]) == ["heading", *["study"] * 5, "pooled", "prediction"]
    assert rows["weight"].sum() == pytest.approx(1.0)
    assert rows["note"].iloc[1] == "62 v 323" and rows["note"].iloc[2] == "? v ?"
    assert rows["value"].iloc[6] == fit.pooled.value
    two = ikzf1.forest_rows(table[:2], ikzf1.pool_for_verdict(table[:2]))
    assert list(two["kind"]) == ["study", "study", "pooled"]


# ------------------------------------------------------------------------------ the band


@pytest.mark.parametrize(
    ("karyotype", "lost"),
    [
        ("45,XX,-7[15]/46,XX[5]", 1),
        ("46,XX,del(7)(p11.2)[20]", 1),
        ("46,XX,del(7)(p13p22)[9]", 0),
        ("46,XX,del(7)(p15)[9]", 0),
        ("46,XX,del(7)(p11.2p15)[9]", 1),
        ("46,XX,del(7)(q22q36)[9]", 0),
        ("51,XY,+X,+4,i(7)(q10),+14[9]", 1),
        ("56,XX,+X,+i(7)(q10),+10[10]", 0),
        ("56,XX,+i(7)(q10)[5]/46,XX,i(7)(q10)[5]", 1),
        ("46,XX,idic(7)(p11.2)[5]", 1),
        ("47,XX,+idic(7)(p11.2)[5]", 0),
        ("45,XY,dic(7;9)(p11.1;p11)[20]", 1),
        ("45,XY,dic(9;7)(p11;p11.2)[20]", 1),
        ("45,XY,dic(9;20)(p11;q11.1)[20]", 0),
        ("46,XX,add(7)(p11.2)[3]", 1),
        ("46,XX,add(7)(p22)[3]", 0),
        ("46,XX,del(17)(p11.2)[3]", 0),
        ("46,XX,-17[3]", 0),
        ("46,XX[20]", 0),
    ],
)
def test_band_is_lost_only_where_breakpoints_say_so(karyotype: str, lost: int) -> None:
    assert ikzf1.band_lost(pd.Series([karyotype]))[0] == lost


def test_no_karyotype_is_not_a_normal_one() -> None:
    text = pd.Series(["46,XX[20]", "46,XY[3]/47,XY,+8[2]", np.nan])
    assert ikzf1.normal_karyotype(text).tolist()[:2] == [1.0, 0.0]
    assert np.isnan(ikzf1.normal_karyotype(text)[2]) and np.isnan(ikzf1.band_lost(text)[2])


# ------------------------------------------------------------------------------ own cohort


def cohort(n_deleted: int, n_wild: int, *, events: bool = True, unknown: int = 0) -> Cohort:
    """Return a cohort in which every second patient has an event."""
    n = n_deleted + n_wild + unknown
    ids = [f"p{i}" for i in range(n)]
    status = ["del"] * n_deleted + ["wt"] * n_wild + [None] * unknown
    patients = pd.DataFrame({"patient_id": ids, "ikzf1": status})
    times = [5.0 + i % 7 + (0 if s == "del" else 20) for i, s in enumerate(status)]
    outcomes = pd.DataFrame(
        {"patient_id": ids, "endpoint": "EFS", "time_months": times,
         "event": [int(events and i % 2 == 0) for i in range(n)]}
    )  # fmt: skip
    return Cohort("mine", "Mine", "yours", patients, outcomes)


def test_own_cohort_gives_a_ratio_and_curves() -> None:
    found = ikzf1.outcome_by_deletion(cohort(20, 60, unknown=10), "EFS", 5)
    assert found.hazard_ratio.value is not None and found.hazard_ratio.value > 1
    assert found.hazard_ratio.n == 80
    assert list(found.curves) == ["not deleted", "IKZF1 deleted"]
    assert [s[1] for s in found.steps] == [90, 90, 80]


@pytest.mark.parametrize(
    ("mine", "why"),
    [
        (cohort(4, 60), "withheld: fewer than 5 patients in a group"),
        (cohort(0, 60), "withheld: fewer than 5 patients in a group"),
        (cohort(60, 4), "withheld: fewer than 5 patients in a group"),
        (cohort(6, 60), "withheld: fewer than 5 events in a group"),
        (cohort(60, 60, events=False), "withheld: fewer than 5 events in a group"),
    ],
)
def test_small_counts_of_an_own_cohort_stay_hidden(mine: Cohort, why: str) -> None:
    found = ikzf1.outcome_by_deletion(mine, "EFS", 5)
    assert found.hazard_ratio.value is None and found.hazard_ratio.reason == why
    assert not found.curves and found.hazard_ratio.n is None


def test_a_small_count_left_out_stays_hidden() -> None:
    found = ikzf1.outcome_by_deletion(cohort(20, 60, unknown=2), "EFS", 5)
    assert [s[1] for s in found.steps] == [80]


def test_a_cohort_without_events_or_without_a_group_says_so() -> None:
    none = ikzf1.outcome_by_deletion(cohort(20, 60, events=False), "EFS")
    assert none.hazard_ratio.value is None and none.hazard_ratio.reason == "no events"
    single = ikzf1.outcome_by_deletion(cohort(0, 60), "EFS")
    assert single.hazard_ratio.reason == "one of the two groups has no patients"


def test_what_a_cohort_lacks_is_not_given() -> None:
    mine = cohort(20, 60)
    bare = Cohort("b", "B", "yours", mine.patients.drop(columns="ikzf1"), mine.outcomes)
    untimed = Cohort("u", "U", "yours", mine.patients, None)
    for lacking, endpoint, reason in (
        (bare, "EFS", "not given: IKZF1 status (column ikzf1)"),
        (mine, "OS", "not given: OS; the file has EFS"),
        (untimed, "EFS", "not given: EFS"),
    ):
        found = ikzf1.outcome_by_deletion(lacking, endpoint, 5)
        assert found.hazard_ratio.value is None and found.hazard_ratio.reason == reason
        assert not found.curves and found.steps == [("patients in the file", 80)]


# ------------------------------------------------------------------------------ covariates


def test_what_is_known_of_patients_stands_beside_their_times() -> None:
    mine = cohort(4, 4)
    patients = mine.patients.assign(
        subtype=["BCR::ABL1", "other", None, None, "other", "other", "other", None],
        bcr_abl1=[None, None, 1, None, 1, 0, None, None],
        wbc_10e9_per_l=[10, 100, 0, None, 1, 1, 1, 1],
        age_years=[20, 5, None, 1, 1, 1, 1, 1],
    )
    found = ikzf1.with_covariates(Cohort("m", "M", "yours", patients, mine.outcomes), "EFS")
    assert found["ph"].fillna(-1).tolist() == [1, 0, 1, -1, 1, 0, 0, -1]
    assert found["log_wbc"].fillna(-9).tolist()[:4] == [1, 2, -9, -9]
    assert found["age_decades"].tolist()[:2] == [2, 0.5]
    assert found["deleted"].tolist() == [1.0] * 4 + [0.0] * 4
    bare = ikzf1.with_covariates(mine, "OS")
    assert bare.empty and {"deleted", "ph", "log_wbc", "age_decades"} <= set(bare)


@pytest.mark.parametrize(
    ("name", "day"),
    [("day 29", 29), ("Day29", 29), ("d33", 33), ("EOI", 0), ("TP1", 0), ("end of day 8", 8)],
)
def test_the_day_of_a_time_point_is_read_from_its_name(name: str, day: float) -> None:
    assert ikzf1.day_of(name) == day


def test_dilution_is_undone_and_only_dilution() -> None:
    theta, visible, deleted = 4.0, 0.05, 0.2
    hidden = (deleted - visible) / (1 - visible)
    # The hazard of those who show nothing is a mixture of deleted and not deleted.
    seen = theta / ((1 - hidden) + hidden * theta)
    e = Estimate("hazard-ratio", seen, seen / 2, 50.0, n=100)
    found = ikzf1.undiluted(e, visible, deleted)
    assert found.value == pytest.approx(theta) and found.ci_high is None
    assert ikzf1.undiluted(e, 0.2, 0.2).value == pytest.approx(seen)
    assert ikzf1.undiluted(replace(e, value=1.0), visible, deleted).value == pytest.approx(1.0)
    assert ikzf1.undiluted(replace(e, value=9.0), visible, deleted).value is None
    with pytest.raises(ValueError, match="visible <= deleted"):
        ikzf1.undiluted(e, 0.3, 0.2)


# ------------------------------------------------------------------------------ the page


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of one run, and the folder under ``folder``."""
    if not os.environ.get("BALLBOOK_DATA"):
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    out = tmp_path_factory.mktemp("ikzf1") / "run"
    done = subprocess.run(
        [sys.executable, "-m", "ballbook.cli", "run", SLUG, "--out", str(out)],
        cwd=ROOT, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    content: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf8"))
    return {**content, "folder": out}


@pytest.mark.slow
def test_the_page_equals_r(results: dict[str, Any], r: Any) -> None:
    found = {e["id"]: e for e in results["estimates"]}
    pairs = {
        "efs-hr": r["pools"]["EFS"],
        "dfs-hr": r["pools"]["DFS"],
        "os-hr": r["pools"]["OS"],
        "cir-hr": r["pools"]["CIR"],
        "efs-hr-with-nulls": r["pools"]["EFS_with_nulls"],
        "ph-children-dfs-hr": r["pools"]["ph_children"],
        "ph-adults-dfs-hr": r["pools"]["ph_adults"],
        "target-hr": r["target"]["crude"],
        "target-hr-sampling": r["target"]["sampling"],
        "target-hr-adjusted": r["target"]["adjusted"],
        "target-hr-adjusted-file-age": r["target"]["file_age"],
        "target-hr-adjusted-strata": r["target"]["strata"],
        "target-hr-adjusted-sampling": r["target"]["all_strata"],
        "target-hr-day-29": r["target"]["day_29"],
        "dfci-mrd-or": r["counts"]["dfci"],
        "dfci-mrd-or-subtype": r["counts"]["dfci_within"],
        "ccri-relapse-or": r["counts"]["ccri"],
        "ccri-relapse-or-sequenced": r["counts"]["ccri_sequenced"],
    }
    for id, expected in pairs.items():
        got = [found[id][k] for k in ("value", "ci_low", "ci_high")]
        # R finds the bounds of an exact odds ratio to about three figures.
        rel = 5e-3 if id.startswith("ccri") or id == "dfci-mrd-or" else 1e-6
        assert got == pytest.approx([expected[k] for k in ("value", "low", "high")], rel=rel), id
        if "n" in expected:
            assert (found[id]["n"], found[id]["n_events"]) == (expected["n"], expected["events"])
    survival = [found[i]["value"] for i in ("target-efs-intact", "target-efs-loss")]
    assert survival == pytest.approx(r["target"]["efs5"], rel=1e-9)
    assert found["target-logrank"]["value"] == pytest.approx(r["target"]["logrank_p"], rel=1e-6)
    hazards = {g["name"]: g["statistic"] for g in results["gates"] if "hazards" in g["name"]}
    expected = [r["target"][k] for k in ("zph_crude", "zph_adjusted_min", "zph_strata_min")]
    assert "relapse" in list(hazards)[-1]
    assert list(hazards.values())[:3] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_the_printed_figures_of_the_open_data(results: dict[str, Any]) -> None:
    found = {e["id"]: e for e in results["estimates"]}
    assert (found["target-efs-loss"]["n"], found["target-hr"]["n"]) == (28, 588)
    shown = {
        "target-efs-loss": "0.42", "target-efs-intact": "0.74", "target-hr": "2.75",
        "target-hr-adjusted-file-age": "2.09",
    }  # fmt: skip
    assert {id: f"{found[id]['value']:.2f}" for id in shown} == shown
    assert f"{found['ccri-relapse-or']['p_value']:.3f}" == "0.012"
    assert f"{found['ccri-relapse-or-sequenced']['p_value']:.3f}" == "0.075"
    table = pd.read_csv(results["folder"] / "tables" / "ccri-relapse.csv")
    assert table[["Relapsed", "n"]].to_numpy().tolist() == [[8, 10], [14, 42]]


@pytest.mark.slow
def test_every_claim_has_its_verdict_and_the_surrogate_its_name(results: dict[str, Any]) -> None:
    judged = [v["claim"] for v in results["verdicts"]]
    wanted = [c.id for c in claims.of_analysis(SLUG) if c.kind not in claims.WITHOUT_VERDICT]
    assert sorted(judged) == sorted(wanted)
    words = {v["claim"]: v["verdict"] for v in results["verdicts"]}
    assert words["ukall14-null-efs"] == "not-testable"
    assert words["sri-mrd-or"] == "underpowered"
    assert words["pal-cir-not-marked"] == words["sri-efs-hr"] == "not-testable"
    assert words["dfc-efs-p"] == "reproduced"
    target = [e for e in results["estimates"] if e["id"].startswith("target-")]
    assert target and not any("IKZF1" in e["label"] for e in target)
    assert "surrogate" in results["summary"] and "UKALL14" in results["summary"]
    assert len(results["summary"].split()) <= 45 and len(results["certainty"].split()) <= 30


@pytest.mark.slow
def test_the_specification_curves_hold_the_page_once(results: dict[str, Any]) -> None:
    for name, id in (("meta", "efs-hr"), ("target", "target-hr-adjusted-strata")):
        table = pd.read_csv(results["folder"] / "figures" / f"specification-{name}.csv")
        chosen = table[table["chosen"]]
        estimate = next(e for e in results["estimates"] if e["id"] == id)
        assert len(table) >= 20 and len(chosen) == 1
        assert chosen["value"].iloc[0] == pytest.approx(estimate["value"], rel=1e-9)
        assert table[["value", "ci_low", "ci_high"]].notna().all().all()


@pytest.mark.slow
def test_an_own_cohort_stands_beside_the_forest(results: dict[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    deleted = np.arange(160) < 40
    time = rng.exponential(np.where(deleted, 40.0, 110.0))
    table = pd.DataFrame(
        {"patient_id": [f"SECRET-{i}" for i in range(160)],
         "ikzf1": np.where(deleted, "del", "wt"),
         "efs_months": np.minimum(time, 60.0).round(2), "efs_event": (time < 60).astype(int)}
    )  # fmt: skip
    file, out = tmp_path / "cohort.csv", tmp_path / "run"
    table.to_csv(file, index=False)
    command = ["run", SLUG, "--cohort", str(file), "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "ballbook.cli", *command],
        cwd=ROOT, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    forest = pd.read_csv(out / "figures" / "forest-efs.csv")
    yours = forest[forest["kind"] == "yours"]
    content = json.loads((out / "results.json").read_text(encoding="utf8"))
    own = next(e for e in content["estimates"] if e["id"] == "own-hr")
    assert yours["value"].tolist() == pytest.approx([own["value"]])
    assert own["tier"] == "yours" and "In your cohort" in content["summary"]
    assert {v["claim"] for v in content["verdicts"] if v["tier"] == "yours"} == {
        "sri-efs-hr", "jia-efs-hr",
    }  # fmt: skip
    pooled = next(e for e in content["estimates"] if e["id"] == "efs-hr")
    without = next(e for e in results["estimates"] if e["id"] == "efs-hr")
    assert pooled == without
    for written in out.rglob("*"):
        if written.is_file() and written.suffix != ".png":
            assert not re.search("SECRET-", written.read_text(encoding="utf8")), written.name
    assert not (out / "figures" / "km-own.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("without", ["ikzf1", "efs_months"])
def test_a_cohort_that_lacks_something_still_gets_its_page(
    results: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    """The command refuses such a cohort at once; the notebook itself must bear it too."""
    table = pd.DataFrame(
        {"patient_id": [f"p{i}" for i in range(40)], "ikzf1": ["del", "wt"] * 20,
         "efs_months": np.arange(40) + 1.0, "efs_event": [0, 0, 1, 1] * 10}
    )  # fmt: skip
    paired = {"efs_months": ["efs_months", "efs_event"]}.get(without, [without])
    table.drop(columns=paired).to_csv(tmp_path / "cohort.csv", index=False)
    monkeypatch.setattr(needs, "require", lambda *_: None)
    out = run.run(SLUG, parameters={"cohort": str(tmp_path / "cohort.csv")}, out=tmp_path / "run")
    content = json.loads((out / "results.json").read_text(encoding="utf8"))
    own = next(e for e in content["estimates"] if e["id"] == "own-hr")
    assert own["value"] is None and own["reason"].startswith("not given: ")
    assert "not given" in content["summary"]
    verdicts = [v["verdict"] for v in content["verdicts"] if v["tier"] == "yours"]
    assert verdicts == ["not-testable", "not-testable"]


@pytest.mark.slow
@pytest.mark.parametrize("given", [{"horizon_years": -5}, {"mrd_floor": 0}])
def test_a_parameter_out_of_range_is_refused_by_name(
    given: dict[str, float], tmp_path: Path
) -> None:
    name = next(iter(given))
    with pytest.raises(Exception, match=f"{name}: got .*, expected a"):
        run.run(SLUG, parameters=given, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------ full depth


def aalen_johansen(time: Any, cause: Any, at: float) -> float:
    """Return the incidence of cause 1 by `at`, patient by patient."""
    event_free, incidence = 1.0, 0.0
    for t in sorted(set(time[(cause > 0) & (time <= at)])):
        at_risk, here = (time >= t).sum(), time == t
        incidence += event_free * (here & (cause == 1)).sum() / at_risk
        event_free *= 1 - (here & (cause > 0)).sum() / at_risk
    return incidence


def log_hazard_ratio(time: Any, event: Any, x: Any, entry: Any = 0.0) -> Any:
    """Return Cox coefficients by maximising the likelihood; times without ties."""
    order = np.flatnonzero(event)

    def minus(beta: Any) -> float:
        risk = np.exp(x @ beta)
        return -sum(
            x[i] @ beta - math.log(risk[(time >= time[i]) & (entry < time[i])].sum()) for i in order
        )

    return optimize.minimize(minus, np.zeros(x.shape[1]), method="BFGS").x


@pytest.mark.slow
def test_relapse_on_aall0232_is_counted_again(results: dict[str, Any]) -> None:
    found = {e["id"]: e for e in results["estimates"]}
    target = datasets.load("target-all-p2").endpoint("EFS")
    mine = target[
        (target["lineage"] == "B") & (target["protocol"] == "AALL0232")
        & (target["karyotype_available"] == 1)
    ]  # fmt: skip
    relapse = mine["event_type"].isin(["relapse", "progression"])
    cause = np.where(relapse, 1, np.where(mine["event"] == 1, 2, 0))
    for id, value in (("target-cir-loss", 1), ("target-cir-intact", 0)):
        keep = (mine["loss_7p"] == value).to_numpy()
        by_hand = aalen_johansen(mine["time_months"].to_numpy()[keep], cause[keep], 60.0)
        assert found[id]["value"] == pytest.approx(by_hand, rel=1e-9)
    assert found["target-relapse-hr"]["n_events"] == int(relapse.sum())
    other = found["target-other-hr"]["n_events"]
    assert other + int(relapse.sum()) == int(mine["event"].sum())
    ratio = found["target-ph-inside"]["value"] / found["target-ph-outside"]["value"]
    assert found["target-ph-ratio"]["value"] == pytest.approx(ratio)
    assert found["target-ph-outside"]["value"] == found["target-hr-ph-negative"]["value"]


@pytest.mark.slow
def test_small_studies_and_subgroups_by_hand(
    results: dict[str, Any], arms: pd.DataFrame, reports: pd.DataFrame
) -> None:
    found = {e["id"]: e for e in results["estimates"]}
    for endpoint in ("EFS", "DFS"):
        table = main(arms, reports, endpoint)
        y, s = table["log_hr"].to_numpy(float), table["std_error"].to_numpy(float)
        slope, limit = np.polyfit(s, y, 1, w=1 / s)
        name = endpoint.lower()
        assert found[f"{name}-egger"]["value"] == pytest.approx(slope, rel=1e-8)
        assert found[f"{name}-hr-limit"]["value"] == pytest.approx(math.exp(limit), rel=1e-8)
        assert found[f"{name}-egger-power"]["value"] < 0.5
        word = {"EFS": "event-free", "DFS": "disease-free"}[endpoint]
        egger = [g for g in results["gates"] if "Egger" in g["name"] and word in g["name"]]
        assert len(egger) == 1
        gate = egger[0]
        assert gate["status"] == ("passed" if gate["statistic"] >= 0.1 else "failed")
        assert "little power" in gate["action"]
    funnel = pd.read_csv(results["folder"] / "figures" / "funnel.csv")
    assert (funnel["endpoint"] == "DFS").sum() == len(table)
    split = table["ph"] == "positive"
    parts = [ikzf1.pool(table[split]), ikzf1.pool(table[~split])]
    gap = parts[0].log_pooled - parts[1].log_pooled
    z = gap / math.hypot(*(p.log_std_error for p in parts))
    p = 2 * stats.norm.sf(abs(z))
    assert found["dfs-ph-difference"]["value"] == pytest.approx(p, rel=1e-8)


@pytest.fixture(scope="module")
def full(results: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A dummy cohort that has all that the page takes, its run, and its patients."""
    folder = tmp_path_factory.mktemp("full")
    dummy.write(SLUG, folder / "d", n=400, seed=3)
    file = folder / "d" / "patients.csv"
    table = pd.read_csv(file)
    # No two times alike, so that the likelihood can be written down without ties.
    table["efs_months"] = (table["efs_months"] + np.arange(len(table)) / 1e5).round(6)
    table.to_csv(file, index=False)
    out = run.run(SLUG, parameters={"cohort": str(folder / "d")}, out=folder / "run")
    content = json.loads((out / "results.json").read_text(encoding="utf8"))
    return {
        "out": out, "table": table, "content": content,
        "own": {e["id"]: e for e in content["estimates"] if e["id"].startswith("own-")},
    }  # fmt: skip


@pytest.mark.slow
def test_own_adjusted_effects_maximise_the_likelihood(full: dict[str, Any]) -> None:
    t, own = full["table"], full["own"]
    x = pd.DataFrame(
        {"deleted": t["ikzf1"] == "del", "age": t["age_years"] / 10,
         "wbc": np.log10(t["wbc_10e9_per_l"]), "ph": t["bcr_abl1"]}
    ).astype(float)  # fmt: skip
    level = pd.to_numeric(t["mrd_day29"], errors="coerce").fillna(0.0)
    positive = (level >= 1e-4).astype(float).where(t["mrd_day29"].notna())
    day = 29 / (365.25 / 12)
    for key, terms, entry in (
        ("adjusted", x, 0.0),
        ("adjusted-mrd", x.assign(mrd=positive), day),
    ):
        keep = (terms.notna().all(axis=1) & (t["efs_months"] > entry)).to_numpy()
        time, event = t["efs_months"].to_numpy()[keep], t["efs_event"].to_numpy()[keep]
        by_hand = log_hazard_ratio(time, event, terms.to_numpy()[keep], entry)
        crude = log_hazard_ratio(time, event, terms[["deleted"]].to_numpy()[keep], entry)
        assert own[f"own-{key}-hr"]["value"] == pytest.approx(math.exp(by_hand[0]), rel=6e-3)
        assert own[f"own-{key}-crude-hr"]["value"] == pytest.approx(math.exp(crude[0]), rel=6e-3)
        assert own[f"own-{key}-hr"]["n"] == keep.sum() and own[f"own-{key}-hr"]["n_events"] is None


@pytest.mark.slow
def test_own_subgroups_and_causes_by_hand(full: dict[str, Any]) -> None:
    t, own = full["table"], full["own"]
    deleted = (t["ikzf1"] == "del").to_numpy(float)[:, None]
    time, event = t["efs_months"].to_numpy(), t["efs_event"].to_numpy()
    logs = []
    for key, keep in (("inside", t["age_years"] >= 18), ("outside", t["age_years"] < 18)):
        k = keep.to_numpy()
        logs.append(log_hazard_ratio(time[k], event[k], deleted[k])[0])
        assert own[f"own-adult-{key}-hr"]["value"] == pytest.approx(math.exp(logs[-1]), rel=6e-3)
    assert own["own-adult-ratio"]["value"] == pytest.approx(math.exp(logs[0] - logs[1]), rel=2e-2)
    assert own["own-adult-detectable"]["value"] > 1
    cause = np.where(event == 0, 0, np.where(t["efs_event_type"] == "relapse", 1, 2))
    assert set(cause) == {0, 1, 2}
    relapse = log_hazard_ratio(time, cause == 1, deleted)[0]
    assert own["own-relapse-hr"]["value"] == pytest.approx(math.exp(relapse), rel=6e-3)
    for key, value in (("deleted", 1.0), ("wild", 0.0)):
        k, e = deleted[:, 0] == value, own[f"own-cir-{key}"]
        told = e["value"]
        counts = [((cause[k] == c) & (time[k] <= 60)).sum() for c in (1, 2)]
        if min(counts) < 5:
            assert told is None
        else:
            assert told == pytest.approx(aalen_johansen(time[k], cause[k], 60.0), rel=6e-3)
    assert "method-check" in {v["verdict"] for v in full["content"]["verdicts"]}
    methods = (full["out"] / "methods.txt").read_text(encoding="utf8")
    assert "adjusted for age, white count, BCR::ABL1" in methods and "Gray" in methods


@pytest.mark.slow
def test_a_cohort_too_small_for_more_says_so_of_each_part(
    results: dict[str, Any], tmp_path: Path
) -> None:
    n = 70
    table = pd.DataFrame(
        {"patient_id": [f"p{i}" for i in range(n)], "ikzf1": ["del"] * 30 + ["wt"] * 40,
         "efs_months": np.arange(n) % 37 + 1.5, "efs_event": (np.arange(n) % 3 == 0).astype(int),
         "age_years": 5.0, "subtype": ["BCR::ABL1"] * 4 + ["other"] * (n - 4)}
    )  # fmt: skip
    table.to_csv(tmp_path / "cohort.csv", index=False)
    out = run.run(SLUG, parameters={"cohort": str(tmp_path / "cohort.csv")}, out=tmp_path / "run")
    content = json.loads((out / "results.json").read_text(encoding="utf8"))
    own = {e["id"]: e for e in content["estimates"] if e["id"].startswith("own-")}
    assert own["own-hr"]["value"] is not None
    assert own["own-ph-ratio"]["value"] is None and "fewer than 5" in own["own-ph-ratio"]["reason"]
    assert own["own-adult-inside-hr"]["reason"] == "nobody is known to be in the subgroup"
    assert "event_type" in own["own-relapse-hr"]["reason"]
    assert "own-adjusted-mrd-hr" not in own
    assert not (out / "figures" / "cir-own.svg").exists()

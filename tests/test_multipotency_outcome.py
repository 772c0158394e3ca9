"""The page on developmental state and outcome, beside R and calculations that share no code."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import golden_cases
import numpy as np
import pandas as pd
import pytest
from conftest import shared_folder
from lifelines import CoxPHFitter, KaplanMeierFitter
from lifelines.statistics import logrank_test
from scipy import stats

from ballbook import claims, multipotency, needs
from ballbook.cohort import read_cohort
from ballbook.cox import cox
from ballbook.parameters import InvalidParameters
from ballbook.results import Estimate
from ballbook.run import run

SLUG = "multipotency-outcome"
QUICK = {"n_boot": 20, "imputations": 2}


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[Any, str]]:
    results = json.loads((folder / "results.json").read_text(encoding="utf8"))
    verdicts = {(v["claim"], v["tier"] == "yours"): v["verdict"] for v in results["verdicts"]}
    return results, {e["id"]: e for e in results["estimates"]}, verdicts


@pytest.fixture(scope="module")
def made() -> pd.DataFrame:
    """An invented cohort with an effect of the score, and some white counts missing."""
    rng = np.random.default_rng(3)
    n = 420
    age = np.where(rng.random(n) < 0.85, rng.uniform(1, 18, n), rng.uniform(18, 30, n))
    age = np.where(rng.random(n) < 0.08, rng.uniform(0.1, 1, n), age)
    subtype = rng.choice(
        ["ETV6::RUNX1", "hyperdiploid", "KMT2A-r", "other"], n, p=[0.25, 0.25, 0.1, 0.4]
    )
    z = rng.normal(size=n) + 0.8 * ((age < 1) | (age >= 18))
    white = 10 ** rng.normal(1.4, 0.6, n)
    seen = rng.random(n) < 1 / (1 + np.exp(1 - 0.6 * z))
    d = pd.DataFrame(
        {
            "patient_id": [f"secret-{i}" for i in range(n)], "age_years": age.round(2),
            "sex": rng.choice(["F", "M"], n), "wbc": white.round(1),
            "risk_group": np.where((white >= 50) | (age >= 10), "high", "standard"),
            "subtype": subtype, "multipotency": z.round(3),
            "mrd_day29": np.where(seen, 10 ** rng.uniform(-4, -1, n), 0.0),
        }
    )  # fmt: skip
    for endpoint, level in (("efs", -5.6), ("os", -6.0)):
        rate = np.exp(level + 0.5 * z + 0.5 * (d["risk_group"] == "high"))
        death, end = rng.exponential(1 / rate), rng.uniform(40, 110, n)
        d[f"{endpoint}_months"] = np.minimum(death, end).round(2)
        d[f"{endpoint}_event"] = (death <= end).astype(int)
    d.loc[rng.random(n) < 0.08, "wbc"] = np.nan
    return d


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, made: pd.DataFrame) -> Path:
    """One run with a cohort: the open part of a page is the same with and without."""
    if shared_folder() is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    folder = tmp_path_factory.mktemp("multipotency")
    made.to_csv(folder / "mine.csv", index=False)
    given = {"cohort": str(folder / "mine.csv"), **QUICK}
    return run(SLUG, parameters=given, out=folder / "out")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, made: pd.DataFrame) -> Path:
    if shared_folder() is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    folder = tmp_path_factory.mktemp("multipotency-small")
    made.head(14).to_csv(folder / "mine.csv", index=False)
    given = {"cohort": str(folder / "mine.csv"), **QUICK}
    return run(SLUG, parameters=given, out=folder / "out")


@pytest.fixture(scope="module")
def raw() -> pd.DataFrame:
    """The patients of Good 2018, read from a derived file and not by the loader."""
    shared = shared_folder()
    if shared is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    d = pd.read_csv(shared / "omics" / "good2018-cytof" / "ddpr_clinical_73.csv")
    d = d[~d["patient_id"].str.contains("-")]
    d = d[d["relapse_status"].isin(["Yes", "No"])]
    d["event"] = (d["relapse_status"] == "Yes").astype(int)
    d["months"] = d["time_to_relapse"].fillna(d["ccr"]) * 12 / 365.25
    d["ddpr"] = (d["ddpr_risk"] == "High").astype(int)
    d["nci"] = d["nci_rome_risk"].map({"High": 1.0, "Standard": 0.0})
    return d.reset_index(drop=True)


# ------------------------------------------------------------------------------------- the page


@pytest.mark.slow
@pytest.mark.parametrize("case", golden_cases.read("multipotency"))
def test_agrees_with_r(case: dict[str, Any], request: pytest.FixtureRequest) -> None:
    def of_page(id: str) -> dict[str, Any]:
        return read(request.getfixturevalue("page"))[1][id]

    def exact_logrank(**given: Any) -> dict[str, Any]:
        return golden_cases.flat(multipotency.exact_logrank(**given))

    golden_cases.check(case, {"page": of_page, "exact_logrank": exact_logrank})
    assert case["expected"]


@pytest.mark.slow
def test_patients_and_not_samples_are_counted(page: Path, raw: pd.DataFrame) -> None:
    _, ours, _ = read(page)
    assert (ours["ddpr-all"]["n"], ours["ddpr-all"]["n_events"]) == (len(raw), raw["event"].sum())
    assert len(raw) == 54
    for name, inside in (("training", "Training"), ("validation", "Validation")):
        t = raw[raw["cohort"] == inside]
        e = ours[f"ddpr-{name}"]
        assert (e["n"], e["n_events"]) == (len(t), t["event"].sum())
    assert ours["diagnostic-samples"]["value"] == 60


@pytest.mark.slow
def test_the_validation_patients_by_hand(page: Path, raw: pd.DataFrame) -> None:
    _, ours, verdicts = read(page)
    t = raw[raw["cohort"] == "Validation"]
    assert pd.crosstab(t["ddpr"], t["event"]).to_numpy().tolist() == [[5, 0], [1, 4]]
    # Firth's penalised likelihood of one 0/1 covariate, maximised by a search on a grid.
    grid = np.linspace(-8, 12, 200001)
    value = np.zeros_like(grid)
    information = np.zeros_like(grid)
    for _, r in t[t["event"] == 1].iterrows():
        risk = t[t["months"] >= r["months"]]
        m, k = int(risk["ddpr"].sum()), len(risk)
        share = m * np.exp(grid) / (m * np.exp(grid) + k - m)
        value += grid * r["ddpr"] - np.log(m * np.exp(grid) + k - m)
        information += share * (1 - share)
    value += 0.5 * np.log(information)
    best = int(value.argmax())
    inside = grid[2 * (value[best] - value) <= stats.chi2.isf(0.05, 1)]
    e = ours["ddpr-validation"]
    assert e["value"] == pytest.approx(math.exp(grid[best]), rel=1e-3)
    assert e["ci_low"] == pytest.approx(math.exp(inside[0]), rel=1e-3)
    assert e["ci_high"] == pytest.approx(math.exp(inside[-1]), rel=1e-3)
    assert (t["ddpr"] == t["nci"]).sum() == 9
    adjusted = ours["ddpr-validation-adjusted"]
    assert adjusted["ci_low"] < 1 < adjusted["ci_high"]
    assert verdicts["good-ddpr-relapse", False] == "consistent"
    assert verdicts["good-ddpr-improves", False] == "underpowered"


@pytest.mark.slow
def test_optimism_is_taken_off_and_power_is_that_of_the_events(page: Path) -> None:
    _, ours, _ = read(page)
    for model in ("base", "full"):
        for what in ("concordance", "auc", "slope"):
            gone = ours[f"{model}-{what}-apparent"]["value"] - ours[f"{model}-{what}"]["value"]
            assert abs(gone) < 0.3
        assert ours[f"{model}-slope-apparent"]["value"] == pytest.approx(1)
    r2 = ours["r-squared"]["value"]
    assert 0 < r2 < 0.5
    z = stats.norm.isf(0.025) + stats.norm.isf(0.2)
    wanted = math.exp(z / math.sqrt(202 * (1 - r2)))
    assert ours["design-20"]["value"] == pytest.approx(wanted, rel=1e-3)


@pytest.mark.slow
def test_all_claims_get_one_verdict_and_the_answer_is_short(page: Path) -> None:
    results, ours, verdicts = read(page)
    wanted = {c.id for c in claims.of_analysis(SLUG) if c.kind not in claims.WITHOUT_VERDICT}
    assert {c for c, own in verdicts if not own} == wanted
    assert verdicts["good-samples", False] == "reproduced"
    assert verdicts["iac-multipotency-direction-outcome", False] == "not-testable"
    assert verdicts["iac-multipotency-direction-mrd", False] == "underpowered"
    assert len(results["summary"].split()) <= 45
    assert len(results["certainty"].split()) <= 30
    assert ours["chiaretti-adults"]["n"] == 91


# ----------------------------------------------------------------------------------- own cohorts


def published_model(d: pd.DataFrame, endpoint: str) -> CoxPHFitter:
    t = pd.DataFrame(
        {
            "months": d[f"{endpoint}_months"], "event": d[f"{endpoint}_event"],
            "score": (d["multipotency"] - d["multipotency"].mean()) / d["multipotency"].std(),
            "age": d["age_years"] / 10, "male": (d["sex"] == "M") * 1.0,
            "white": np.log10(d["wbc"]), "risk": (d["risk_group"] == "high") * 1.0,
            **{s: (d["subtype"] == s) * 1.0 for s in ("ETV6::RUNX1", "hyperdiploid", "KMT2A-r")},
        }
    ).dropna()  # fmt: skip
    return CoxPHFitter().fit(t, "months", "event")


@pytest.mark.slow
def test_a_cohort_gets_the_published_model(page: Path, made: pd.DataFrame) -> None:
    results, ours, verdicts = read(page)
    for endpoint in ("efs", "os"):
        theirs = published_model(made, endpoint)
        e = ours[f"own-{endpoint}-hr-adjusted"]
        assert e["tier"] == "yours"
        if "Firth" not in e["method"]:
            assert e["value"] == pytest.approx(theirs.hazard_ratios_["score"], rel=6e-3)
            low, high = np.exp(theirs.confidence_intervals_.loc["score"])
            assert [e["ci_low"], e["ci_high"]] == pytest.approx([low, high], rel=6e-3)
    assert "Firth" not in ours["own-efs-hr-adjusted"]["method"]
    middle = made["multipotency"].median()
    for name, side in (
        ("above", made["multipotency"] > middle), ("up", made["multipotency"] <= middle),
    ):  # fmt: skip
        km = KaplanMeierFitter().fit(made.loc[side, "efs_months"], made.loc[side, "efs_event"])
        assert ours[f"own-free-{name}"]["value"] == pytest.approx(km.predict(60), abs=1e-3)
    gained = (
        ours["own-concordance-with-score"]["value"] - ours["own-concordance-covariates"]["value"]
    )
    assert gained > 0.03
    assert ours["own-mrd"]["value"] == pytest.approx(
        stats.spearmanr(made["multipotency"], made["mrd_day29"]).statistic, abs=6e-4
    )
    for what in ("outcome", "mrd", "age"):
        assert verdicts[f"iac-multipotency-direction-{what}", True] == "consistent"
    assert "In your cohort the EFS hazard ratio per SD is" in results["summary"]
    assert "secret-" not in (page / "report.html").read_text(encoding="utf8")


@pytest.mark.slow
def test_a_small_cohort_is_withheld(small: Path) -> None:
    results, ours, verdicts = read(small)
    for id, e in ours.items():
        if id.startswith(("own-efs", "own-os", "own-free", "own-age")):
            assert e["value"] is None, id
    assert verdicts["iac-multipotency-direction-outcome", True] == "not-testable"
    assert verdicts["good-ddpr-relapse", False] == "consistent"
    assert "Your cohort cannot tell" in results["summary"]
    assert len(results["summary"].split()) <= 45


def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    for wrong in ({"horizon_years": 9}, {"assumed_ratio": 1}, {"n_boot": 2}):
        with pytest.raises(InvalidParameters):
            run(SLUG, parameters=wrong, out=tmp_path / "o")


def test_what_a_cohort_lacks_is_said(made: pd.DataFrame, tmp_path: Path) -> None:
    made.drop(columns=["multipotency", "sex"]).to_csv(tmp_path / "mine.csv", index=False)
    found = needs.fit(read_cohort(tmp_path / "mine.csv"), SLUG)
    assert not found.accepted
    assert "score" in str(found.errors[0])
    made.drop(columns=["sex"]).to_csv(tmp_path / "other.csv", index=False)
    found = needs.fit(read_cohort(tmp_path / "other.csv"), SLUG)
    assert found.accepted and "sex" in " ".join(map(str, found.warnings))


# --------------------------------------------------------------------------------------- methods


def samples(**changes: list[Any]) -> pd.DataFrame:
    base: dict[str, list[Any]] = {
        "patient_id": ["A", "A-Rx", "B", "C-PB"], "gender": ["Male", "Male", "Female", None],
        "age_at_diagnosis": [2.0, 2.0, 5.0, np.nan],
        "wbc_count": [44100.0, 44100.0, 9000.0, np.nan],
        "mrd_risk": ["High", "High", "Standard", None],
        "nci_rome_risk": ["Standard", "Standard", "High", None],
        "relapse_status": ["Yes", "Yes", "No", None],
        "time_to_relapse": [365.25, 365.25, np.nan, np.nan], "ccr": [np.nan, np.nan, 730.5, np.nan],
        "cohort": ["Training", "Training", "Validation", None],
        "ddpr_risk": ["Low", "Low", "High", None],
    }  # fmt: skip
    return pd.DataFrame(base | changes)


def test_samples_become_patients() -> None:
    found = multipotency.patients_of(samples()).set_index("patient_id")
    assert found.index.tolist() == ["A", "B", "C"]
    assert found["samples"].tolist() == [2, 1, 1]
    assert found["diagnostic"].tolist() == [True, True, False]
    assert found["time_months"].tolist()[:2] == pytest.approx([12.0, 24.0])
    assert found["event"].tolist()[:2] == [1.0, 0.0] and np.isnan(found.loc["C", "event"])
    assert found["mrd"].tolist()[:2] == [2.0, 0.0]
    assert found["wbc_10e9_per_l"].tolist()[:2] == [44.1, 9.0]
    with pytest.raises(ValueError, match="different things"):
        multipotency.patients_of(samples(ddpr_risk=["Low", "High", "High", None]))


def test_the_exact_test_is_the_share_of_arrangements() -> None:
    rng = np.random.default_rng(4)
    time, event = rng.exponential(10, 9).round(2), rng.random(9) < 0.7
    group = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0])
    found = multipotency.exact_logrank(time, event, group)
    seen = []
    for order in range(2**9):
        g = np.array([order >> i & 1 for i in range(9)])
        if g.sum() == 4:
            test = logrank_test(time[g == 1], time[g == 0], event[g == 1], event[g == 0])
            # The numerator of the statistic: observed less expected events.
            late = [(time >= u, (time == u) & event) for u in np.unique(time[event])]
            seen.append(sum((d & (g == 1)).sum() - d.sum() * g[r].mean() for r, d in late))
            assert test.test_statistic >= 0
    mine = [abs(s) >= abs(found.statistic or 0) - 1e-9 for s in seen]
    assert found.value == pytest.approx(np.mean(mine))
    flipped = multipotency.exact_logrank(time, event, 1 - group)
    assert flipped.value == pytest.approx(found.value)
    assert multipotency.exact_logrank(time, np.zeros(9), group).value is None
    with pytest.raises(ValueError, match="too many"):
        multipotency.exact_logrank(np.arange(1, 41), np.ones(40), np.arange(40) % 2)
    with pytest.raises(ValueError, match="0 and 1"):
        multipotency.exact_logrank(time, event, group + 1)


def test_the_exact_test_keeps_its_level() -> None:
    rng = np.random.default_rng(5)
    p = []
    for _ in range(400):
        group = rng.permuted(np.repeat([0, 1], 4))
        p.append(
            multipotency.exact_logrank(rng.exponential(1, 8), rng.random(8) < 0.8, group).value
        )
    assert np.mean(np.array(p) <= 0.1) <= 0.13


def test_the_design_has_the_published_covariates(made: pd.DataFrame) -> None:
    p = made.rename(columns={"wbc": "wbc_10e9_per_l"})
    score = p.set_index("patient_id")["multipotency"]
    found = multipotency.design(p, score)
    assert found.table["score"].mean() == pytest.approx(0, abs=1e-12)
    assert found.table["score"].std() == pytest.approx(1)
    assert found.absent == ()
    assert found.factors["subtype"] == [f"subtype: {s}" for s in found_levels(p)[1:]]
    assert found.table["log_wbc"].isna().sum() == p["wbc_10e9_per_l"].isna().sum()
    less = multipotency.design(p.drop(columns=["sex", "subtype"]), score)
    assert less.absent == ("sex", "subtype")
    rare = p.assign(subtype=["rare"] * 3 + ["other"] * (len(p) - 3))
    assert "subtype" in multipotency.design(rare, score, least=5).absent
    with pytest.raises(ValueError, match="does not vary"):
        multipotency.design(p, score * 0)


def found_levels(p: pd.DataFrame) -> list[str]:
    return p["subtype"].value_counts().sort_index().sort_values(
        ascending=False, kind="stable"
    ).index.tolist()  # fmt: skip


def test_few_events_are_withheld_and_late_entry_is_refused(made: pd.DataFrame) -> None:
    p = made.rename(columns={"wbc": "wbc_10e9_per_l"})
    design = multipotency.design(p, p.set_index("patient_id")["multipotency"])
    times = p.set_index("patient_id")[["efs_months", "efs_event"]]
    times.columns = ["time_months", "event"]
    whole = multipotency.adjusted(times, design, min_count=5)
    assert whole.adjusted.value is not None and whole.adjusted.n_events is None
    assert whole.gain.value is not None and whole.gain.value < 1e-4
    few = times.iloc[:60]
    part = multipotency.adjusted(few, design, min_count=5)
    assert part.alone.value is not None
    assert part.adjusted.value is None and "five" not in (part.adjusted.reason or "")
    assert "5 events for each" in (part.adjusted.reason or "")
    late = multipotency.adjusted(times.assign(entry_months=3.0), design)
    assert late.alone.value is None and "late" in (late.alone.reason or "")


def test_what_a_model_adds_is_twice_the_gain(made: pd.DataFrame) -> None:
    X = pd.DataFrame({"a": made["age_years"], "b": made["multipotency"]})
    y = made["efs_months"], made["efs_event"]
    base, full = cox(*y, X[["a"]]), cox(*y, X)
    found = multipotency.added(base, full)
    assert found.df == 1
    theirs = [
        CoxPHFitter()
        .fit(X[c].assign(t=y[0], e=y[1]), "t", "e")
        .log_likelihood_
        for c in (["a"], ["a", "b"])
    ]  # fmt: skip
    assert found.statistic == pytest.approx(2 * (theirs[1] - theirs[0]), rel=1e-3)
    other = cox(made["efs_months"][:100], made["efs_event"][:100], X[["a"]][:100])
    assert "same patients" in (multipotency.added(other, full).reason or "")


def test_the_detectable_ratio_is_detected_four_times_in_five() -> None:
    hr = multipotency.detectable(120, r_squared=0.2).value
    assert hr is not None
    rng = np.random.default_rng(6)
    hits = 0
    for _ in range(250):
        c = rng.normal(size=400)
        z = math.sqrt(0.2) * c + math.sqrt(0.8) * rng.normal(size=400)
        t = rng.exponential(np.exp(-math.log(hr) * z))
        end = np.quantile(t, 0.3)
        X = pd.DataFrame({"z": z, "c": c})
        hits += cox(np.minimum(t, end), t <= end, X).hazard_ratio("z").p_value < 0.05
    assert 0.72 <= hits / 250 <= 0.88
    with pytest.raises(ValueError, match="above 0"):
        multipotency.detectable(0)


def test_what_an_interval_detects() -> None:
    se = 0.25
    e = Estimate("hazard-ratio", 2.0, 2 * math.exp(-1.959964 * se), 2 * math.exp(1.959964 * se))
    found = multipotency.detectable_like(e)
    z = stats.norm.isf(0.025) + stats.norm.isf(0.2)
    assert found.value == pytest.approx(math.exp(z * se), rel=1e-6)
    table = multipotency.powers(1010, (1.2, 1.5), (0.1, 0.2), r_squared=0.1)
    assert table["events"].tolist() == [101, 202]
    assert (table["1.5"] > table["1.2"]).all() and table["1.2"].is_monotonic_increasing
    at = multipotency.detectable(202, r_squared=0.1).value
    power = multipotency.powers(1010, (at or 2,), (0.2,), r_squared=0.1).iloc[0, 2]
    assert power == pytest.approx(0.8, abs=2e-3)

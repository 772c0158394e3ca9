"""The page on risk groups, beside calculations that share no code with it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import shared_folder
from lifelines import CoxPHFitter, KaplanMeierFitter
from scipy.stats import chi2

from ballbook import analyses, claims, paths
from ballbook import risk_groups as risk
from ballbook.cohort import Cohort, InvalidCohort, read_cohort
from ballbook.parameters import InvalidParameters
from ballbook.run import run

SLUG = "risk-groups"
SETS = ["AALL0232 Discovery", "AALL0232 Validation", "AALL0331 Validation"]
TERMS = ["age_10", "log_wbc", "cns", "favourable", "kmt2a", "ph"]


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[Any, str]]:
    results = json.loads((folder / "results.json").read_text(encoding="utf8"))
    verdicts = {(v["claim"], v["tier"] == "yours"): v["verdict"] for v in results["verdicts"]}
    return results, {e["id"]: e for e in results["estimates"]}, verdicts


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shared_folder() is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    return run(SLUG, parameters={"n_boot": 40}, out=tmp_path_factory.mktemp("risk") / "out")


@pytest.fixture(scope="module")
def raw() -> pd.DataFrame:
    """The B-lineage patients of TARGET, read from the files as they are."""
    shared = shared_folder()
    if shared is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    folder = shared / "clinical" / "target-all-p2-cbioportal"
    p = pd.read_csv(folder / "data_clinical_patient.txt", sep="\t", comment="#")
    s = pd.read_csv(folder / "data_clinical_sample.txt", sep="\t", comment="#")
    p = p.set_index("PATIENT_ID")
    one = s.groupby("PATIENT_ID").first().reindex(p.index)
    cohorts = s.groupby("PATIENT_ID")["ANALYSIS_COHORT"].agg(lambda v: set(";".join(v).split(";")))
    yes = {"Positive": 1.0, "Negative": 0.0}
    t = pd.DataFrame(index=p.index)
    t["months"] = p["DAYS_TO_EVENT"] / (365.25 / 12)
    t["event"] = (p["FIRST_EVENT"].notna() & (p["FIRST_EVENT"] != "Censored")).astype(int)
    t["relapse"] = p["FIRST_EVENT"].fillna("").str.contains("Relapse").astype(int)
    t["os_months"] = p["OS_DAYS"] / (365.25 / 12)
    t["dead"] = p["OS_STATUS"].map({"0:LIVING": 0, "1:DECEASED": 1})
    t["age"], t["wbc"] = p["AGE_IN_DAYS"] / 365.25, p["WBC"]
    t["age_10"] = (t["age"] >= 10).astype(float)
    t["log_wbc"] = np.log10(p["WBC"])
    t["cns"] = p["CNS_STATUS"].str.contains("CNS [23]").astype(float)
    etv, trisomy = one["ETV6_RUNX1_FUSION_STATUS"].map(yes), one["TRISOMY_4_10"].map(yes)
    kind = one["MOLECULAR_SUBTYPE"]
    known = kind.notna()
    good = kind.str.contains("ETV6|yperdiplo", na=False) | (etv == 1) | (trisomy == 1)
    t["favourable"] = np.where(
        good, 1.0, np.where(known | ((etv == 0) & (trisomy == 0)), 0, np.nan)
    )
    kmt2a, ph = one["MLL_STATUS"].map(yes), one["BCR_ABL1_STATUS"].map(yes)
    for name, flag, word in (("kmt2a", kmt2a, "MLL|KMT2A"), ("ph", ph, "BCR")):
        has = kind.str.contains(word, na=False) & ~kind.str.contains("like", case=False, na=False)
        t[name] = np.where(has | (flag == 1), 1.0, np.where(known | (flag == 0), 0, np.nan))
    percent = pd.to_numeric(p["MRD_PERCENT_DAY_29"])
    # A test that cannot see down to 0.01% leaves both sides open where it saw nothing.
    least = pd.to_numeric(p["MRD_PERCENT_DAY_29_SENSITIVITY"])
    blunt = (percent < least) & (least > 0.01)
    t["mrd_fraction"] = percent.mask(blunt) / 100
    t["mrd"] = np.log10(t["mrd_fraction"].clip(lower=1e-4) / 1e-4)
    t["positive"] = (t["mrd_fraction"] >= 1e-4).astype(float).where(t["mrd_fraction"].notna())
    only = cohorts.reindex(p.index).map(lambda v: next(iter(v)).capitalize() if len(v) == 1 else "")
    t["set"] = p["PROTOCOL"].fillna("") + " " + only
    t["high"] = ((t["age"] >= 10) | (t["wbc"] >= 50)).astype(float)
    return t[one["CELL_OF_ORIGIN"].isin(["B-Precursor", "B Cell ALL"])]


def cox_of(
    t: pd.DataFrame,
    terms: list[str],
    *,
    time: str = "months",
    event: str = "event",
    strata: bool = True,
) -> CoxPHFitter:
    used = t.dropna(subset=[time, event, *terms])
    held = [time, event, *terms, *(["set"] if strata else [])]
    fitter = CoxPHFitter()
    fitter.fit(used[held], time, event, strata=["set"] if strata else None)
    return fitter


def same(ours: dict[str, Any], fit: CoxPHFitter, term: str) -> bool:
    theirs = [np.exp(fit.params_[term]), *np.exp(fit.confidence_intervals_.loc[term])]
    return [ours["value"], ours["ci_low"], ours["ci_high"]] == pytest.approx(theirs, rel=2e-3)


# ------------------------------------------------------------------------------------- the page


@pytest.mark.slow
def test_the_table_is_that_of_the_files(page: Path, raw: pd.DataFrame) -> None:
    _, ours, _ = read(page)
    t = raw[raw["set"].isin(SETS)].dropna(subset=["months"])
    later = t[t["months"] * 365.25 / 12 > 29]
    complete = later.dropna(subset=[*TERMS, "mrd"])
    assert ours["efs-day29-mrd"]["n"] == len(complete)
    assert ours["efs-day29-mrd"]["n_events"] == complete["event"].sum()
    assert ours["efs-diagnosis-age-10"]["n"] == len(t.dropna(subset=TERMS))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::lifelines.exceptions.ConvergenceWarning")
def test_every_factor_agrees_with_another_program(page: Path, raw: pd.DataFrame) -> None:
    _, ours, _ = read(page)
    t = raw[raw["set"].isin(SETS)].dropna(subset=["months"])
    for prefix, time, event in (("efs", "months", "event"), ("os", "os_months", "dead")):
        at_start = raw[raw["set"].isin(SETS)].dropna(subset=[time, event])
        late = at_start[at_start[time] * 365.25 / 12 > 29]
        first = cox_of(at_start, TERMS, time=time, event=event)
        second = cox_of(late, [*TERMS, "mrd"], time=time, event=event)
        for term in TERMS:
            assert same(ours[f"{prefix}-diagnosis-{term.replace('_', '-')}"], first, term)
        for term in [*TERMS, "mrd"]:
            assert same(ours[f"{prefix}-day29-{term.replace('_', '-')}"], second, term)
    late = t[t["months"] * 365.25 / 12 > 29]
    assert same(
        ours["mrd-relapse"], cox_of(late, [*TERMS, "positive"], event="relapse"), "positive"
    )
    assert same(ours["mrd-positive"], cox_of(late, ["positive"]), "positive")
    apart = t[(t["age"] < 10) | (t["age"] >= 18)].assign(adult=lambda d: (d["age"] >= 18) * 1.0)
    assert same(ours["adult"], cox_of(apart, ["adult", "log_wbc"]), "adult")
    early = t.assign(
        event=t["event"].where(t["months"] <= 36, 0), months=t["months"].clip(upper=36)
    )
    assert same(ours["favourable-early"], cox_of(early, TERMS), "favourable")
    assert same(ours["favourable-late"], cox_of(t[t["months"] > 36], TERMS), "favourable")


@pytest.mark.slow
def test_pooling_turns_risk_round(page: Path, raw: pd.DataFrame) -> None:
    _, ours, _ = read(page)
    t = raw.dropna(subset=["months"])
    chosen = t["set"] == "AALL0331 Discovery"
    assert t.loc[chosen, "event"].mean() > 0.95
    pooled = t[chosen | (t["set"] == SETS[0])]
    assert same(ours["nci-naive-discovery"], cox_of(pooled, ["high"], strata=False), "high")
    assert ours["nci-naive-discovery"]["ci_high"] < 1
    validation = t[t["set"].isin(SETS[1:])]
    assert same(ours["nci-validation"], cox_of(validation, ["high"], strata=False), "high")
    assert ours["nci-validation"]["ci_low"] > 1
    assert ours["nci-stratified"]["value"] is None


@pytest.mark.slow
def test_the_table_of_levels_agrees_with_another_program(page: Path, raw: pd.DataFrame) -> None:
    table = pd.read_csv(page / "tables" / "levels-efs.csv").set_index(["factor", "level"])
    t = raw.dropna(subset=["months"])
    mrd = t["mrd_fraction"] * (1 + 1e-9)
    groups = {
        ("White count", "100 and over"): t["wbc"] >= 100,
        ("Age, years", "10 to 15"): (t["age"] >= 10) & (t["age"] < 16),
        ("CNS", "CNS2 or CNS3"): t["cns"] == 1,
        ("MRD", "below the floor"): mrd < 1e-4,
        ("MRD", "0.1 to 1%"): (mrd >= 1e-3) & (mrd < 1e-2),
    }
    for key, members in groups.items():
        for name in SETS[:2]:
            inside = t[members & (t["set"] == name)]
            km = KaplanMeierFitter().fit(inside["months"], inside["event"])
            row = table.loc[key]
            assert row[f"{name} n"] == len(inside)
            assert row[f"{name} events"] == inside["event"].sum()
            assert row[f"{name} survival"] == pytest.approx(km.predict(60), rel=1e-6)
            ci = km.confidence_interval_
            low, high = ci[ci.index <= 60].iloc[-1]
            assert row[f"{name} low"] == pytest.approx(low, abs=1e-4)
            assert row[f"{name} high"] == pytest.approx(high, abs=1e-4)


def pairs_within(t: pd.DataFrame, score: np.ndarray) -> float:
    """Return Harrell's C over all pairs within sets, one pair at a time."""
    agree = whole = 0.0
    for name in t["set"].unique():
        rows = np.flatnonzero((t["set"] == name).to_numpy())
        time, event = t["months"].to_numpy()[rows], t["event"].to_numpy()[rows]
        for i in np.flatnonzero(event == 1):
            usable = (time > time[i]) | ((time == time[i]) & (event == 0))
            usable[i] = False
            gap = np.round(score[rows[i]] - score[rows], 10)[usable]
            agree += (gap > 0).sum() + (gap == 0).sum() / 2
            whole += len(gap)
    return agree / whole


@pytest.mark.slow
def test_discrimination_and_calibration_follow_from_their_definitions(
    page: Path, raw: pd.DataFrame
) -> None:
    _, ours, _ = read(page)
    t = raw[raw["set"].isin(SETS) & (raw["months"] * 365.25 / 12 > 29)]
    t = t.dropna(subset=[*TERMS, "mrd"])
    terms = [*TERMS, "mrd"]
    eta = t[terms].to_numpy() @ cox_of(t, terms).params_[terms].to_numpy()
    assert ours["concordance-day29-apparent"]["value"] == pytest.approx(
        pairs_within(t, eta), abs=2e-4
    )
    assert ours["concordance-mrd"]["value"] == pytest.approx(
        pairs_within(t, t["mrd"].to_numpy()), abs=2e-4
    )
    for model in ("entry", "diagnosis", "day29"):
        taken = (
            ours[f"concordance-{model}-apparent"]["value"] - ours[f"concordance-{model}"]["value"]
        )
        assert 0 < taken < 0.02
    built = cox_of(t[t["set"] == SETS[0]], terms, strata=False)
    for name in SETS[1:]:
        there = t[t["set"] == name]
        said = 1 - built.predict_survival_function(there[terms], times=[60]).to_numpy().ravel()
        km = KaplanMeierFitter().fit(there["months"], there["event"])
        key = name.lower().replace(" ", "-")
        # lifelines has Breslow's baseline hazard after Efron's coefficients.
        assert ours[f"external-oe-{key}"]["value"] == pytest.approx(
            (1 - km.predict(60)) / said.mean(), rel=0.01
        )


@pytest.mark.slow
def test_all_claims_get_one_verdict(page: Path) -> None:
    results, ours, verdicts = read(page)
    wanted = {c.id for c in claims.of_analysis(SLUG) if c.kind not in claims.WITHOUT_VERDICT}
    assert {c for c, _ in verdicts} == wanted
    assert verdicts["mpr-mrd-prognosis", False] == "consistent"
    assert verdicts["mpr-adverse-genetics", False] == "underpowered"
    assert verdicts["mpr-survival-children", False] == "not-testable"
    assert ours["adverse"]["ci_low"] < 1 < ours["adverse"]["ci_high"]
    assert len(results["summary"].split()) <= 45
    assert len(results["certainty"].split()) <= 30


# ----------------------------------------------------------------------------------- own cohorts


def made_up(n: int, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = np.where(rng.random(n) < 0.7, rng.uniform(1, 10, n), rng.uniform(10, 25, n))
    white = 10 ** rng.normal(1.4, 0.6, n)
    mrd = np.where(rng.random(n) < 0.4, 10 ** rng.uniform(-4, -1, n), 0.0)
    subtype = rng.choice(
        ["ETV6::RUNX1", "hyperdiploid", "KMT2A-r", "other"], n, p=[0.2, 0.2, 0.1, 0.5]
    )
    rate = np.exp(
        -5.4 + 0.7 * (age >= 10) + 0.9 * (mrd > 0) + 0.6 * (np.log10(white) - 1.4)
        - 0.7 * np.isin(subtype, ["ETV6::RUNX1", "hyperdiploid"])
    )  # fmt: skip
    death, end = 1.5 + rng.exponential(1 / rate), rng.uniform(40, 110, n)
    return pd.DataFrame(
        {
            "patient_id": [f"secret-{i}" for i in range(n)], "age_years": age.round(2),
            "wbc": white.round(1), "cns": rng.choice(["CNS1", "CNS2"], n, p=[0.8, 0.2]),
            "subtype": subtype, "mrd_day29": mrd, "efs_months": np.minimum(death, end).round(2),
            "efs_event": (death <= end).astype(int),
        }
    )  # fmt: skip


@pytest.mark.slow
def test_a_cohort_is_fitted_and_the_model_read_on_it(shared_data: Path, tmp_path: Path) -> None:
    d = made_up(400)
    d.to_csv(tmp_path / "mine.csv", index=False)
    values = {"cohort": str(tmp_path / "mine.csv"), "n_boot": 20, "imputations": 2}
    results, ours, verdicts = read(run(SLUG, parameters=values, out=tmp_path / "o"))
    t = pd.DataFrame(
        {
            "months": d["efs_months"], "event": d["efs_event"],
            "age_10": (d["age_years"] >= 10) * 1.0,
            "log_wbc": np.log10(d["wbc"]), "cns": (d["cns"] != "CNS1") * 1.0,
            "favourable": d["subtype"].isin(["ETV6::RUNX1", "hyperdiploid"]) * 1.0,
            "kmt2a": (d["subtype"] == "KMT2A-r") * 1.0,
            "mrd": np.log10(d["mrd_day29"].clip(lower=1e-4) / 1e-4),
        }
    )  # fmt: skip
    fit = cox_of(t, list(t.columns[2:]), strata=False)
    for term in t.columns[2:]:
        mine = ours[f"own-hr-{term.replace('_', '-')}"]
        assert mine["value"] == pytest.approx(np.exp(fit.params_[term]), rel=6e-3)
        assert mine["tier"] == "yours"
    assert ours["own-hr-ph"]["value"] is None
    known = [e for k, e in ours.items() if k.startswith("efs-day29-") and k[10:] in LATER]
    assert len(known) == len(LATER)
    assert 0.5 < ours["own-c"]["value"] < 0.9
    assert verdicts["mpr-mrd-prognosis", True] == "consistent"
    assert verdicts["mpr-favourable-genetics", True] == "consistent"
    assert "On your cohort the book's model has C" in results["summary"]
    assert "secret-" not in (tmp_path / "o" / "report.html").read_text(encoding="utf8")
    km = KaplanMeierFitter().fit(
        *(d.loc[d["mrd_day29"] == 0, c] for c in ("efs_months", "efs_event"))
    )
    assert ours["own-efs-mrd-below-the-floor"]["value"] == pytest.approx(km.predict(60), abs=1e-3)


LATER = [t.replace("_", "-") for t in risk.AFTER_INDUCTION]


@pytest.mark.slow
def test_a_small_cohort_is_withheld(shared_data: Path, tmp_path: Path) -> None:
    made_up(14).to_csv(tmp_path / "mine.csv", index=False)
    values = {"cohort": str(tmp_path / "mine.csv"), "n_boot": 20, "imputations": 2}
    results, ours, verdicts = read(run(SLUG, parameters=values, out=tmp_path / "o"))
    for id, e in ours.items():
        if id.startswith("own-hr-"):
            assert e["value"] is None, id
    assert ours["own-c"]["value"] is None
    assert verdicts["mpr-mrd-prognosis", True] == "not-testable"
    assert verdicts["mpr-mrd-prognosis", False] == "consistent"
    assert "too small" in results["summary"]


@pytest.mark.slow
def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameters, match="mrd_floor"):
        run(SLUG, parameters={"mrd_floor": 0.01}, out=tmp_path / "o")
    path = tmp_path / "mine.csv"
    path.write_text("patient_id,age_years,wbc\na,12,10\nb,30,5\n")
    with pytest.raises(InvalidCohort, match="EFS"):
        run(SLUG, parameters={"cohort": str(path)}, out=tmp_path / "o")


def test_the_primer_leads_from_a_report_to_every_page() -> None:
    text = (paths.book() / "primer.md").read_text(encoding="utf8")
    report = text.split("## A pathology report, line by line")[1]
    linked = set(re.findall(r"\]\(([a-z0-9_]+/[a-z0-9-]+)\.ipynb\)", report))
    pages = {f"{analyses.find(s).chapter}/{s}" for s in analyses.slugs()}
    assert linked == pages


# ----------------------------------------------------------------------------------- the methods


def cohort_of(folder: Path, text: str) -> Cohort:
    path = folder / "c.csv"
    path.write_text(text, encoding="utf8")
    return read_cohort(path)


def test_what_is_not_known_stays_missing(tmp_path: Path) -> None:
    c = cohort_of(
        tmp_path,
        "patient_id,age_years,wbc,cns,subtype,mrd_day29\n"
        "a,12,,CNS1,KMT2A-r,0.00009\n"
        "b,3,,CNS3,,0.0001\n"
        "c,3,50,,ETV6::RUNX1,\n"
        "d,,60,CNS2,BCR::ABL1,0.02\n"
        "e,9.99,49.9,CNS2,other,negative\n",
    )
    t = risk.factors(c, timepoint="day 29")
    expected = {
        "age_10": [1, 0, 0, np.nan, 0], "nci_high": [1, np.nan, 1, 1, 0],
        "cns": [0, 1, np.nan, 1, 1], "favourable": [0, np.nan, 1, 0, 0],
        "kmt2a": [1, np.nan, 0, 0, 0], "ph": [0, np.nan, 0, 1, 0],
        "adverse": [1, np.nan, 0, 0, 0], "mrd_positive": [0, 1, np.nan, 1, 0],
        "mrd": [0, 0, np.nan, np.log10(200), 0],
    }  # fmt: skip
    for name, values in expected.items():
        np.testing.assert_allclose(t[name].to_numpy(float), values, err_msg=name)
    assert t["genetics"].tolist()[0] == "adverse" and t["genetics"].isna().tolist()[1]
    assert risk.factors(c)["mrd_positive"].isna().all()
    with pytest.raises(ValueError, match="floor"):
        risk.factors(c, timepoint="day 29", floor=2)


def test_levels_of_a_factor_do_not_overlap(tmp_path: Path) -> None:
    made_up(200).to_csv(tmp_path / "m.csv", index=False)
    t = risk.factors(read_cohort(tmp_path / "m.csv"), timepoint="day 29")
    for factor, found in risk.levels(t).items():
        counts = pd.concat(found, axis=1).sum(axis=1)
        assert counts.max() == 1, factor
        if factor not in ("Genetics and MRD",):
            assert counts.min() == 1, factor


def strata_table(n: int = 900) -> pd.DataFrame:
    rng = np.random.default_rng(11)
    t = pd.DataFrame({"x": rng.integers(0, 2, n).astype(float), "z": rng.normal(size=n)})
    t["set"] = rng.choice(["a", "b", "c"], n)
    effect = t["set"].map({"a": 0.2, "b": 1.2, "c": 0.6}) * t["x"] + 0.4 * t["z"]
    death, end = rng.exponential(60 / np.exp(effect)), rng.uniform(20, 100, n)
    return t.assign(time=np.minimum(death, end), event=(death <= end).astype(int))


def test_a_ratio_by_stratum_agrees_with_another_program() -> None:
    t = strata_table()
    found, differ = risk.by_stratum(t, ["z"], "x")
    split = {f"x {s}": t["x"].where(t["set"] == s, 0.0) for s in "abc"}
    wide = t.assign(**split).rename(columns={"time": "months"})
    apart = cox_of(wide, ["z", *split])
    one = cox_of(wide, ["z", "x"])
    for s in "abc":
        assert found[s].value == pytest.approx(np.exp(apart.params_[f"x {s}"]), rel=1e-3)
    gain = 2 * (apart.log_likelihood_ - one.log_likelihood_)
    assert differ.statistic == pytest.approx(gain, rel=1e-3)
    assert differ.value == pytest.approx(chi2.sf(gain, 2), rel=1e-2)
    assert differ.value < 0.01


def test_a_stratum_without_the_factor_takes_no_part() -> None:
    t = strata_table()
    t.loc[(t["set"] == "c") & (t["x"] == 1), "x"] = 0.0
    found, differ = risk.by_stratum(t, ["z"], "x")
    assert found["c"].value is None and "one side" in str(found["c"].reason)
    assert differ.df == 1 and differ.n == (t["set"] != "c").sum()
    alone, none = risk.by_stratum(t[t["set"] == "c"], ["z"], "x")
    assert alone["c"].value is None and none.value is None


def test_a_factor_left_out_loses_its_likelihood_ratio() -> None:
    t = strata_table().rename(columns={"time": "months"})
    table = risk.left_out(
        t.rename(columns={"months": "time"}), ["x", "z"], {"X": ["x"], "Z": ["z"]}
    )
    full = cox_of(t, ["x", "z"]).log_likelihood_
    for name, kept in (("X", "z"), ("Z", "x")):
        row = table.set_index("factor").loc[name]
        gain = 2 * (full - cox_of(t, [kept]).log_likelihood_)
        assert row["chi2"] == pytest.approx(gain, rel=1e-3)
        assert row["p"] == pytest.approx(chi2.sf(gain, 1), rel=2e-2)
    assert table["chi2"].is_monotonic_decreasing


def test_imputing_nothing_changes_nothing_and_widens_when_much_is_missing() -> None:
    t = strata_table()
    complete = risk.imputed_ratios(t, ["x", "z"], m=3, seed=1)
    plain = risk.fit(t, ["x", "z"])
    for term in ("x", "z"):
        assert complete[term].value == pytest.approx(plain.hazard_ratio(term).value, rel=1e-9)
    rng = np.random.default_rng(2)
    holes = t.assign(x=t["x"].mask(rng.random(len(t)) < 0.4))
    filled = risk.imputed_ratios(holes, ["x", "z"], m=10, seed=1)["x"]
    whole = complete["x"]
    assert filled.ci_high / filled.ci_low > whole.ci_high / whole.ci_low
    assert filled.ci_low < plain.hazard_ratio("x").value < filled.ci_high


def test_a_carried_model_predicts_by_its_formula() -> None:
    model = risk.Model(("x",), {"x": np.log(2)}, {"standard": 0.05, "high": 0.2}, 60)
    t = pd.DataFrame({"x": [0.0, 1.0, 1.0], "nci_high": [0.0, 0.0, 1.0]})
    np.testing.assert_allclose(model.survival(t), np.exp([-0.05, -0.1, -0.4]))


def test_a_term_needs_patients_on_both_sides() -> None:
    t = pd.DataFrame({"a": [0.0] * 9 + [1.0], "b": [0.0, 1.0] * 5, "c": range(10), "d": np.nan})
    t["c"] = t["c"].astype(float)
    assert risk.usable_terms(t, ["a", "b", "c", "d"], 3) == ["b", "c"]
    assert risk.usable_terms(t, ["a", "b", "c", "d"], 0) == ["a", "b", "c"]

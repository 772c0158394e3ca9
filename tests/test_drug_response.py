"""The page on drug response: what it computes against independent arithmetic, and the page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ballbook import datasets, drug_response, maturity
from ballbook.cohort import InvalidCohort, read_cohort
from ballbook.multiplicity import bonferroni, holm
from ballbook.run import run

FAST = {"resamples": 2, "imputations": 2}  # for runs whose subject is the reader's cohort

# ---------------------------------------------------------------------- what a printed P implies


@pytest.mark.parametrize(("n1", "n2", "shift"), [(17, 16, 0.9), (17, 16, 0.2), (40, 12, 0.6)])
def test_the_implied_chance_is_the_one_behind_the_test(n1: int, n2: int, shift: float) -> None:
    rng = np.random.default_rng(n1 + n2)
    x, y = rng.normal(shift, 1, n1), rng.normal(0, 1, n2)
    test = stats.mannwhitneyu(x, y, method="asymptotic", use_continuity=True)
    e = drug_response.implied_chance(float(test.pvalue), n1, n2)
    seen = test.statistic / (n1 * n2)
    assert e.value == pytest.approx(max(seen, 1 - seen), abs=1e-9)
    theirs = maturity.chance_lower(y, x)
    assert (e.ci_low, e.ci_high) == pytest.approx((theirs.ci_low, theirs.ci_high), abs=1e-8)


def test_no_difference_implies_a_chance_of_one_half() -> None:
    assert drug_response.implied_chance(1.0, 17, 16).value == 0.5
    with pytest.raises(ValueError, match="expected 0 < P"):
        drug_response.implied_chance(0.0, 17, 16)


@given(st.floats(1e-12, 1), st.integers(1, 40))
def test_the_interval_of_a_p_value_agrees_with_bonferroni(p: float, tests: int) -> None:
    e = drug_response.z_of_p(p, sign=-1, tests=tests)
    assert e.value is not None and e.ci_low is not None and e.ci_high is not None
    assert e.ci_low <= e.value <= e.ci_high and e.value <= 0
    adjusted = float(bonferroni([p] + [1.0] * (tests - 1))[0])
    assert e.p_value == pytest.approx(adjusted)
    if abs(adjusted - 0.05) > 1e-9:
        assert (e.ci_high < 0) == (adjusted < 0.05)


def test_only_dexamethasone_stands_after_six_tests() -> None:
    """The check value of the method list: 6 x 0.0027 = 0.0162."""
    p = [0.0027, 0.012, 0.02, 0.041, 1.0, 1.0]
    assert bonferroni(p)[0] == pytest.approx(0.0162)
    for adjusted in (bonferroni(p), holm(p)):
        assert (adjusted < 0.05).tolist() == [True, *[False] * 5]
    # Over all 27 compounds of the figure none would.
    assert 27 * min(p) > 0.05


# ------------------------------------------------------------------------------- scales of drugs


def test_values_beyond_the_doses_are_ranked_beyond_all() -> None:
    value = pd.Series([5.0, 1.0, 10.0, 0.1, 3.0])
    limit = pd.Series([None, None, "above", "below", "above"])
    ranks = drug_response.ranked(value, limit).rank().tolist()
    assert ranks == [3.0, 2.0, 4.5, 1.0, 4.5]
    assert drug_response.ranked(value).tolist() == value.tolist()


def test_cronbach_alpha_by_hand() -> None:
    # Two items of variance 1 and covariance 0.5: alpha = 2 (1 - 2 / 3).
    x = np.random.default_rng(1).normal(size=(200, 2))
    x = (x - x.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T)).T)
    x = x @ np.linalg.cholesky(np.array([[1, 0.5], [0.5, 1]])).T
    assert drug_response.cronbach_alpha(x) == pytest.approx(2 / 3)
    assert drug_response.cronbach_alpha(np.column_stack([x[:, 0], x[:, 0]])) == pytest.approx(1)
    with pytest.raises(ValueError, match="two complete items"):
        drug_response.cronbach_alpha(x[:, :1])


def test_item_rest_leaves_the_item_out() -> None:
    x = pd.DataFrame(np.random.default_rng(2).normal(size=(300, 3)), columns=list("abc"))
    assert drug_response.item_rest(x).abs().max() < 0.2
    expected = stats.spearmanr(x["a"], x[["b", "c"]].rank().mean(axis=1)).statistic
    assert drug_response.item_rest(x)["a"] == pytest.approx(expected)


def test_mean_rank_of_those_tested() -> None:
    table = pd.DataFrame({"a": [1.0, 2, 3, 4], "b": [10.0, np.nan, 5, np.nan]})
    table.loc[4] = [np.nan, np.nan]
    assert drug_response.mean_rank(table).tolist()[:4] == [0.4375, 0.375, 0.4375, 0.875]
    assert math.isnan(drug_response.mean_rank(table)[4])


def test_percentiles_by_straight_lines() -> None:
    reference = pd.Series(
        {"min": 0.0, "p5": 0.1, "p10": 0.2, "p25": 0.4, "median": 0.6, "p75": 0.8, "p90": 1.0,
         "p95": 1.0, "max": 1.0}
    )  # fmt: skip
    assert drug_response.percentile_of(0.5, reference) == pytest.approx(37.5)
    assert drug_response.percentile_of(0.6, reference) == 50
    assert drug_response.percentile_of(1.0, reference) == pytest.approx((90 + 95 + 100) / 3)
    assert drug_response.percentile_of(-1, reference) == 0


def responses(n: int = 60, seed: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    slow = np.arange(n) % 2 == 0
    immaturity = rng.normal(size=n)
    patients = pd.DataFrame(
        {
            "patient_id": [f"SECRET-{i}" for i in range(n)],
            "maturity": -immaturity,
            "clearance": np.where(slow, "slow", "fast"),
            "ikzf1": np.where(rng.uniform(size=n) < 0.3, "del", "wt"),
            "lineage": "B",
        }
    )
    rows = []
    for drug, effect in (("dexamethasone", 1.0), ("vincristine", 0.8), ("venetoclax", -0.9)):
        value = effect * immaturity + 0.8 * slow + rng.normal(0, 0.7, n)
        scaled = 1 / (1 + np.exp(-value))
        rows += [
            {"sample_id": p, "drug": drug, "value": round(v, 5), "metric": "norm_log_auc"}
            for p, v in zip(patients["patient_id"], scaled, strict=True)
        ]
    return patients, pd.DataFrame(rows)


def test_drugs_are_compared_each_and_together() -> None:
    patients, table = responses()
    table = table.rename(columns={"sample_id": "patient_id"})
    found = drug_response.by_drug(table, patients, "clearance", least=5, groups=("slow", "fast"))
    assert list(found) == ["dexamethasone", "vincristine", "venetoclax", "induction"]
    one = table[table["drug"] == "dexamethasone"]["value"].to_numpy()
    slow = patients["clearance"].to_numpy() == "slow"
    shift = np.median(np.subtract.outer(one[slow], one[~slow]))
    assert found["dexamethasone"].value == pytest.approx(shift)
    few = drug_response.by_drug(
        table, patients.head(6), "clearance", least=5, groups=("slow", "fast")
    )
    assert {e.value for e in few.values()} == {None}


# ------------------------------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def results(results_of: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    return results_of("drug-response")


def of(results: dict[str, Any], what: str, key: str) -> dict[str, dict[str, Any]]:
    return {row[key]: row for row in results[what]}


@pytest.mark.slow
def test_page_gives_its_headline(results: dict[str, Any]) -> None:
    verdicts = {v["claim"]: v["verdict"] for v in results["verdicts"]}
    assert verdicts["har-drp-poorer"] == "consistent"
    assert verdicts["har-venetoclax-sensitive"] == "underpowered"
    assert verdicts["har-drp-maturity-p"] == "underpowered"
    assert verdicts["ext-lee-n"] == verdicts["iac-drug-agents"] == "reproduced"
    assert verdicts["ext-lee-measurements"] == "consistent"
    for drug in ("asparaginase", "dexamethasone", "doxorubicin", "vincristine"):
        assert verdicts[f"har-drp-p-{drug}"] == "not-testable"
    estimates = of(results, "estimates", "id")
    assert estimates["kept-bonferroni"]["value"] == estimates["kept-holm"]["value"] == 1
    assert estimates["slow-fast-corrected"]["p_value"] == pytest.approx(0.0162)
    assert len(results["summary"].split()) <= 45 and len(results["certainty"].split()) <= 30


@pytest.mark.slow
def test_glucocorticoid_numbers_come_out_of_the_source_table(
    shared_data: Path, results: dict[str, Any]
) -> None:
    """Read another way (the derived CSV), selected by hand, computed by scipy."""
    raw = pd.read_csv(shared_data / "omics/geo-gse133499/metadata_38.csv").set_index("Anonym ID")
    keep = raw["IPT"].isin(["pro-B", "common", "pre-B"]) & (
        raw["Disease Stage at Arrival"] == "initial"
    )
    raw = raw[keep]
    estimates = of(results, "estimates", "id")
    for drug, column in (
        ("prednisolone", "LC50 Pred (µg/mL)"),
        ("dexamethasone", "LC50 Dex (µg/mL)"),
    ):
        table = raw.dropna(subset=[column])
        steps = table["IPT"].map({"pro-B": 0, "common": 1, "pre-B": 2})
        # All values beyond the doses are printed as one: equal, and the highest.
        rho, p = stats.spearmanr(steps, table[column])
        e = estimates[f"{drug}-immunophenotype"]
        assert (e["n"], e["value"], e["p_value"]) == (
            len(table), pytest.approx(rho), pytest.approx(p, rel=1e-6),
        )  # fmt: skip
        typed = table[table["IKZF1"].notna()]
        deleted = typed["IKZF1"].str.contains("del")
        ranks = stats.rankdata(typed[column])
        groups = (ranks[deleted.to_numpy()], ranks[~deleted.to_numpy()])
        exact = stats.permutation_test(
            groups, lambda x, y, axis: np.mean(x, axis) - np.mean(y, axis),
            vectorized=True, n_resamples=np.inf,
        )  # fmt: skip
        # scipy doubles the smaller tail; ours counts both: equal where the tails are.
        found = estimates[f"{drug}-ikzf1"]["p_value"]
        assert found == pytest.approx(min(1, exact.pvalue), rel=0.25)
    assert estimates["immaturity-resistance"]["n"] == len(raw)
    assert abs(estimates["prednisolone-maturity"]["value"]) < 0.15
    assert estimates["prednisolone-maturity"]["p_value"] > 0.5


@pytest.mark.slow
def test_lee_numbers_by_hand(shared_data: Path, results: dict[str, Any]) -> None:
    lee = datasets.load("lee-2023")
    stack = np.stack([t.to_numpy() for t in lee.imputations])
    measured = (stack == stack[0]).all(axis=0)
    estimates = of(results, "estimates", "id")
    e = estimates["lee-measured"]
    assert e["value"] == e["ci_high"] == measured.sum() == 5650
    assert 5300 < e["ci_low"] < 5447
    pairs = pd.read_csv(results["out"] / "figures/drug-correlations.csv").set_index(["a", "b"])
    names = list(lee.imputations[0].columns)
    i, j = names.index("Dexamethasone"), names.index("Prednisolone")
    r = np.array([stats.spearmanr(t[:, i], t[:, j]).statistic for t in stack])
    z, u = np.arctanh(r), (1 + r**2 / 2) / 802
    total = u.mean() + 1.1 * z.var(ddof=1)
    row = pairs.loc[("Dexamethasone", "Prednisolone")]
    assert row["value"] == pytest.approx(np.tanh(z.mean()))
    assert row["ci_high"] > np.tanh(z.mean() + 1.96 * np.sqrt(total)) - 1e-9
    assert row["ci_high"] == pytest.approx(np.tanh(z.mean() + 2.1 * np.sqrt(total)), abs=0.02)
    # What was filled in counts: the interval is wider than that of 805 complete patients.
    assert row["ci_high"] - row["ci_low"] > 1.3 * 2 * 1.96 * np.sqrt(u.mean()) * (
        1 - row["value"] ** 2
    )
    gates = of(results, "gates", "name")
    stability = next(g for name, g in gates.items() if "clusters of patients" in name)
    assert stability["status"] == "failed"


@pytest.mark.slow
def test_plate_numbers_by_hand(shared_data: Path, results: dict[str, Any]) -> None:
    zurich = datasets.load("zurich-drp")
    wells = zurich.wells
    control = wells.loc[wells["drug"] == "DMSO", "response"]
    estimates = of(results, "estimates", "id")
    assert estimates["plate-control-cv"]["value"] == pytest.approx(control.std() / control.mean())
    plate = pd.read_csv(results["out"] / "figures/plate-curves.csv").set_index("drug")
    # Sums over the wells themselves lie near the area under the curve.
    for drug in ("Venetoclax", "Vincristine", "Nelarabine", "Dexamethasone"):
        part = wells[wells["drug"] == drug]
        means = part.groupby("dose")["response"].mean() / control.mean()
        trapezium = np.trapezoid(means, np.log10(means.index)) / np.ptp(np.log10(means.index))
        assert plate.loc[drug, "norm_log_auc"] == pytest.approx(trapezium, abs=0.06)
    reference = zurich.statistics.set_index(["drug", "metric"])
    row = reference.loc[("Venetoclax", "norm_logAUC")]
    assert row["p10"] < plate.loc["Venetoclax", "norm_log_auc"] < row["p25"]
    assert 10 < plate.loc["Venetoclax", "percentile"] < 25


# ------------------------------------------------------------------------------- reader's cohort


def folder(tmp_path: Path, patients: pd.DataFrame, **tables: pd.DataFrame) -> Path:
    out = tmp_path / "mine"
    out.mkdir()
    patients.to_csv(out / "patients.csv", index=False)
    for name, table in tables.items():
        table.to_csv(out / f"{name}.csv", index=False)
    return out


@pytest.mark.slow
def test_a_readers_responses_are_compared(shared_data: Path, tmp_path: Path) -> None:
    patients, table = responses()
    mine = folder(tmp_path, patients, drug_response=table)
    out = run("drug-response", parameters={"cohort": str(mine), **FAST}, out=tmp_path / "run")
    found = json.loads((out / "results.json").read_text("utf8"))
    estimates = of(found, "estimates", "id")
    one = table[table["drug"] == "venetoclax"]["value"].to_numpy()
    rho = stats.spearmanr(-patients["maturity"], one).statistic
    assert estimates["own-venetoclax-immaturity"]["value"] == pytest.approx(rho, abs=1e-3)
    own = {v["claim"]: v["verdict"] for v in found["verdicts"] if v["tier"] == "yours"}
    assert own["har-drp-maturity-p"] == own["har-venetoclax-p"] == "consistent"
    assert own["har-drp-poorer"] == "consistent"
    assert "own-induction-immaturity-difference" in estimates
    assert (out / "methods.txt").is_file()
    for file in out.rglob("*"):
        if file.suffix in {".html", ".json", ".csv", ".txt", ".svg"}:
            assert "SECRET" not in file.read_text("utf8"), file.name


@pytest.mark.slow
def test_wide_columns_do_as_well(shared_data: Path, tmp_path: Path) -> None:
    patients, table = responses()
    wide = table.pivot(index="sample_id", columns="drug", values="value").add_prefix("drug_")
    file = tmp_path / "own.csv"
    patients.merge(wide, left_on="patient_id", right_index=True).to_csv(file, index=False)
    out = run("drug-response", parameters={"cohort": str(file), **FAST}, out=tmp_path / "run")
    estimates = of(json.loads((out / "results.json").read_text("utf8")), "estimates", "id")
    one = table[table["drug"] == "dexamethasone"]["value"].to_numpy()
    rho = stats.spearmanr(-patients["maturity"], one).statistic
    assert estimates["own-dexamethasone-immaturity"]["value"] == pytest.approx(rho, abs=1e-3)


def plates(patients: pd.DataFrame, control: str = "DMSO") -> pd.DataFrame:
    """Wells of one drug a patient, whose midpoint rises as maturity falls."""
    rng = np.random.default_rng(5)
    doses = 10.0 ** np.arange(-1, 5)
    rows = []
    for p in patients.itertuples():
        m = 1.5 - 1.0 * p.maturity
        alive = 0.05 + 0.95 / (1 + 10 ** (np.log10(doses) - m))
        wells = [(control, np.nan, 1000.0)] * 4
        wells += [("dexamethasone", d, 1000 * v) for d, v in zip(doses, alive, strict=True)] * 2
        rows += [
            {"sample_id": p.patient_id, "plate": f"plate {p.Index}", "well": f"A{i}", "drug": drug,
             "dose": dose, "response": round(max(r * rng.normal(1, 0.03), 0), 1)}
            for i, (drug, dose, r) in enumerate(wells)
        ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.slow
def test_a_reader_may_start_from_plates(shared_data: Path, tmp_path: Path) -> None:
    patients, _ = responses(24)
    mine = folder(tmp_path, patients, plates=plates(patients))
    out = run("drug-response", parameters={"cohort": str(mine), **FAST}, out=tmp_path / "run")
    found = json.loads((out / "results.json").read_text("utf8"))
    estimates = of(found, "estimates", "id")
    assert estimates["own-dexamethasone-immaturity"]["value"] > 0.9
    assert any("Your plates" in g["name"] for g in found["gates"])
    assert "fitted here" in (out / "report.html").read_text("utf8")


@pytest.mark.slow
def test_plates_without_controls_are_said_to_be_so(shared_data: Path, tmp_path: Path) -> None:
    patients, _ = responses(6)
    mine = folder(tmp_path, patients, plates=plates(patients, control="vehicle"))
    out = run("drug-response", parameters={"cohort": str(mine), **FAST}, out=tmp_path / "run")
    found = json.loads((out / "results.json").read_text("utf8"))
    assert "could not be analysed" in found["summary"] and "wells of DMSO" in found["summary"]
    assert "SECRET" not in (out / "report.html").read_text("utf8")


@pytest.mark.slow
def test_a_small_cohort_is_not_compared(shared_data: Path, tmp_path: Path) -> None:
    patients, table = responses(6)
    keep = patients.head(4)
    mine = folder(tmp_path, keep, drug_response=table[table["sample_id"].isin(keep["patient_id"])])
    out = run("drug-response", parameters={"cohort": str(mine), **FAST}, out=tmp_path / "run")
    found = json.loads((out / "results.json").read_text("utf8"))
    own = [e for e in found["estimates"] if e["id"].startswith("own-")]
    assert own and all(e["value"] is None and e["n"] is None for e in own)
    assert {v["verdict"] for v in found["verdicts"] if v["tier"] == "yours"} <= {"not-testable"}


def refused(tmp_path: Path, **tables: pd.DataFrame) -> str:
    with pytest.raises(InvalidCohort) as found:
        read_cohort(folder(tmp_path, responses(6)[0], **tables))
    return str(found.value)


def test_a_table_of_responses_is_checked(tmp_path: Path) -> None:
    row = {"sample_id": "SECRET-1", "drug": "asparaginase", "value": 0.4, "metric": "norm_log_auc"}
    table = pd.DataFrame(
        [row, row, row | {"sample_id": "nobody"}, row | {"drug": "x", "metric": "ic50"},
         row | {"drug": "y", "metric": "lc50_um", "value": -2},
         row | {"drug": "z", "value": "high"}]
    )  # fmt: skip
    told = refused(tmp_path, drug_response=table)
    for part in ("each patient_id and drug once", "a patient_id of patients", "'ic50'",
                 "an LC50 above 0", "'high'"):  # fmt: skip
        assert part in told, part
    assert "drug_response.csv, row 4" in told


def test_a_table_of_plates_is_checked(tmp_path: Path) -> None:
    table = plates(responses(6)[0]).head(16)
    table.loc[5, "response"] = -1
    table.loc[7, "well"] = table.loc[6, "well"]
    told = refused(tmp_path, plates=table)
    assert "plates.csv, row 7" in told and "each patient_id and plate and well once" in told
    (tmp_path / "other").mkdir()
    assert "a column well" in refused(tmp_path / "other", plates=table.drop(columns="well"))


def test_responses_are_read_with_their_limits(tmp_path: Path) -> None:
    patients, _ = responses(6)
    table = pd.DataFrame(
        {"sample": patients["patient_id"], "compound": "prednisolone", "response": 250.0,
         "metric": "LC50", "limit": [">", "above", "", "below", "<", ""]}
    )  # fmt: skip
    c = read_cohort(folder(tmp_path, patients, drug_response=table))
    assert c.drug_response is not None and c.plates is None
    assert c.drug_response["limit"].fillna("").tolist() == [
        "above",
        "above",
        "",
        "below",
        "below",
        "",
    ]
    kept = c.where(c.patients["patient_id"] == "SECRET-2").drug_response
    assert kept is not None and len(kept) == 1
    # A table of its own comes before columns of the same meaning.
    wide = patients.assign(drug_dexamethasone=0.5, drug_notes="none", lc50_asparaginase=1.0)
    (tmp_path / "other").mkdir()
    c = read_cohort(folder(tmp_path / "other", wide))
    assert c.drug_response is not None
    assert set(c.drug_response["drug"]) == {"dexamethasone", "asparaginase"}
    assert set(c.drug_response["metric"]) == {"norm_log_auc", "lc50_um"}


@pytest.mark.parametrize("name", ["clusters_cut", "resamples", "imputations"])
@pytest.mark.slow
def test_a_parameter_out_of_range_is_refused_by_name(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(Exception, match=f"{name}: got 1, expected a"):
        run("drug-response", parameters={name: 1}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()

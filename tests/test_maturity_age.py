"""The page on maturity, age and fusion partner: its numbers against R, and the page itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ballbook import claims, datasets, maturity
from ballbook.genesets import GeneSet
from ballbook.rank_tests import mann_whitney, spearman
from ballbook.run import run

SERIES = {"dfci-gse181157": "gse181157", "krali-2023": "gse227832"}


def score(id: str) -> pd.DataFrame:
    stages = datasets.load("allcatchr-stages")
    reference = maturity.StageReference(
        {name: GeneSet(*genes) for name, genes in stages.sets.items()},
        stages.background,
        stages.cds_length,
    )
    cohort = datasets.load(id)
    assert cohort.expression is not None and cohort.expression_kind is not None
    table = datasets.with_symbols(cohort.expression, stages)
    found = maturity.maturity(table, cohort.expression_kind, reference)
    return cohort.patients.set_index("patient_id").join(found, how="inner")


def b_lineage(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    kept = table[table["lineage"] == "B"]
    return kept, kept["subtype"] == "KMT2A-r"


@pytest.mark.parametrize("id", list(SERIES))
def test_contrasts_in_sequenced_cohorts_equal_r(id: str, shared_data: Path, golden: Any) -> None:
    table, is_kmt2a = b_lineage(score(id))
    r = golden("genesets")[SERIES[id]]
    assert len(table) == r["n"]
    x, y = table["maturity"][is_kmt2a], table["maturity"][~is_kmt2a]
    assert [len(x), len(y)] == r["kmt2a"]["n"]
    assert [x.mean(), y.mean()] == pytest.approx(r["kmt2a"]["means"], rel=1e-9)
    found = mann_whitney(x, y, exact=True)
    assert found.p_value == pytest.approx(r["kmt2a"]["exact_p"], rel=1e-9)
    assert found.value == pytest.approx(r["kmt2a"]["shift"], rel=1e-9)
    assert [found.ci_low, found.ci_high] == pytest.approx(r["kmt2a"]["shift_ci"], rel=1e-9)
    welch = maturity.mean_difference(x, y)
    assert [welch.ci_low, welch.ci_high] == pytest.approx(r["kmt2a"]["welch_ci"], rel=1e-9)


def test_chiaretti_numbers_equal_r(shared_data: Path, golden: Any) -> None:
    """The snapshot rounds differently in the third decimal, so scores differ by up to 2e-4."""
    table, is_kmt2a = b_lineage(score("chiaretti-2004"))
    r = golden("genesets")["chiaretti"]
    found = mann_whitney(table["maturity"][is_kmt2a], table["maturity"][~is_kmt2a], exact=True)
    assert found.p_value == pytest.approx(r["kmt2a"]["exact_p"], rel=1e-6)
    assert found.value == pytest.approx(r["kmt2a"]["shift"], abs=2e-4)
    aged = table.dropna(subset=["age_years"])
    with_aff1 = aged[aged["fusion_partner"] == "AFF1"]
    for part, key in ((aged, "age_all"), (with_aff1, "age_aff1")):
        e = spearman(part["age_years"], part["maturity"])
        assert (e.n, e.value) == (r[key]["n"], pytest.approx(r[key]["rho"], abs=1e-6))
    assert e.p_value == pytest.approx(r["age_aff1"]["p"], rel=1e-4)
    typed = table[table["immunophenotype"].isin(["B1", "B2", "B3", "B4"])]
    e = spearman(typed["immunophenotype"].str[1].astype(int), typed["maturity"])
    assert e.value == pytest.approx(r["immunophenotype"]["rho"], abs=1e-3)
    assert e.p_value == pytest.approx(r["immunophenotype"]["p"], rel=1e-2)


def test_group_means_are_those_of_the_first_look(shared_data: Path) -> None:
    table, _ = b_lineage(score("chiaretti-2004"))
    means = table.groupby("subtype_published")["maturity"].mean().round(3)
    assert means[["ALL1/AF4", "BCR/ABL", "NEG", "E2A/PBX1"]].tolist() == [
        -0.485,
        -0.392,
        -0.346,
        -0.127,
    ]


def test_claims_of_the_page_are_whole() -> None:
    mine = {c.id: c for c in claims.of_analysis("maturity-age")}
    fusions = [c.value for id, c in mine.items() if id.startswith("har-fusion-")]
    assert sum(v for v in fusions if v is not None) == 306
    assert mine["har-gsea-n"].value == 325
    assert mine["har-anova-aff1"].direction is None


@pytest.fixture(scope="module")
def results(results_of: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    return results_of("maturity-age")


@pytest.mark.slow
def test_page_runs_and_gives_its_headline(shared_data: Path, results: dict[str, Any]) -> None:
    by_id = {e["id"]: e for e in results["estimates"]}
    pooled = by_id["kmt2a-difference"]
    assert pooled["value"] == pytest.approx(-0.158, abs=0.001)
    assert (pooled["n"], pooled["tier"]) == (525, "open")
    assert by_id["aff1-age-power"]["value"] < 0.2
    verdicts = {v["claim"]: v["verdict"] for v in results["verdicts"]}
    assert verdicts["har-anova-aff1"] == "underpowered"
    assert verdicts["har-anova-mllt1"] == "not-testable"
    # Few cohorts: the wider of two intervals includes none, though the normal one does not.
    assert pooled["ci_low"] < by_id["kmt2a-difference-normal-interval"]["ci_low"]
    assert pooled["ci_high"] > 0 > by_id["kmt2a-difference-normal-interval"]["ci_high"]
    # What Holm's method takes away is not called consistent.
    corrected = by_id["krali-aff1-shift-corrected"]
    assert corrected["p_value"] == pytest.approx(4 * by_id["krali-aff1-shift"]["p_value"])
    assert corrected["ci_low"] < 0 < corrected["ci_high"]
    assert verdicts["har-maturity-fusion"] == "underpowered"
    assert by_id["chiaretti-immunophenotype"]["ci_high"] < 0.3
    assert verdicts["har-low-is-pro-b"] == "differs"
    curve = pd.read_csv(results["out"] / "figures/specification-curve.csv")
    raw = curve.query("cohort == 'Chiaretti' and scale == 'raw' and scorer == 'singscore'")
    assert raw["p_value"].round(2).tolist() == [0.08, 0.10]
    assert curve["chosen"].sum() == 3
    assert "3 of 3 open cohorts" in results["summary"]
    assert len(results["summary"].split()) <= 45 and len(results["certainty"].split()) <= 30


@pytest.mark.slow
def test_reader_cohort_is_scored_without_giving_patients_away(
    shared_data: Path, results: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    source = datasets.load("dfci-gse181157")
    assert source.expression is not None
    columns = ["patient_id", "age_years", "subtype", "fusion_partner"]
    source.patients[columns].to_csv(folder / "patients.csv", index=False)
    source.expression.reset_index().to_csv(folder / "expression.logcpm.csv", index=False)
    out = run("maturity-age", parameters={"cohort": str(folder)}, out=tmp_path / "run")
    found = json.loads((out / "results.json").read_text("utf8"))
    by_id = {e["id"]: e for e in found["estimates"]}
    open_one = {e["id"]: e for e in results["estimates"]}["dfci-kmt2a-difference"]
    assert by_id["own-kmt2a-difference"]["value"] == pytest.approx(open_one["value"], rel=5e-3)
    assert by_id["own-aff1-age"]["value"] is None
    groups = pd.read_csv(out / "tables/own-groups.csv")
    assert groups["size"].min() >= 5
    assert groups["size"].sum() == 136
    assert {v["tier"] for v in found["verdicts"] if v["claim"] == "har-anova-aff1"} == {
        "open",
        "yours",
    }
    # The open DFCI rows are on the page anyway; the reader's copy may add none.
    for file in sorted((out / "figures").glob("*.csv")):
        if file.name.startswith(("beside-", "specification-own")):
            continue  # summaries of the reader's cohort
        mine, theirs = (pd.read_csv(f) for f in (file, results["out"] / "figures" / file.name))
        assert len(mine) <= len(theirs) + 2, file.name


@pytest.mark.slow
def test_readers_scores_are_used_where_there_is_no_expression(
    shared_data: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    subtype = np.repeat(["KMT2A-r", "ETV6::RUNX1", "PAX5alt"], [20, 40, 2])
    frame = pd.DataFrame(
        {
            "patient_id": [f"secret{i}" for i in range(62)],
            "maturity": rng.normal(-0.1, 0.2, 62) - 0.3 * (subtype == "KMT2A-r"),
            "subtype": subtype,
        }
    )
    file = tmp_path / "own.csv"
    frame.to_csv(file, index=False)
    out = run("maturity-age", parameters={"cohort": str(file)}, out=tmp_path / "run")
    found = json.loads((out / "results.json").read_text("utf8"))
    by_id = {e["id"]: e for e in found["estimates"]}
    is_kmt2a = frame["subtype"] == "KMT2A-r"
    expected = maturity.mean_difference(
        frame.loc[is_kmt2a, "maturity"], frame.loc[~is_kmt2a, "maturity"]
    )
    assert by_id["own-kmt2a-difference"]["value"] == pytest.approx(expected.value, rel=5e-3)
    assert by_id["own-all-age"]["reason"] == "age_years is not given"
    assert "column maturity" in (out / "report.html").read_text("utf8")
    assert pd.read_csv(out / "tables/own-groups.csv")["size"].min() >= 5
    # With nothing but scores the page still runs, and says what is not given.
    frame[["patient_id", "maturity"]].to_csv(file, index=False)
    out = run("maturity-age", parameters={"cohort": str(file)}, out=tmp_path / "bare")
    found = json.loads((out / "results.json").read_text("utf8"))
    bare = {e["id"]: e for e in found["estimates"]}["own-kmt2a-difference"]
    assert bare["value"] is None and "not given" in bare["reason"]


@pytest.mark.slow
def test_two_runs_give_the_same_results(
    shared_data: Path, results: dict[str, Any], tmp_path: Path
) -> None:
    again = json.loads(
        (run("maturity-age", out=tmp_path / "run") / "results.json").read_text("utf8")
    )
    for key in ("estimates", "gates", "verdicts", "summary", "certainty"):
        assert again[key] == results[key], key
    assert np.isfinite([e["value"] for e in again["estimates"] if e["value"] is not None]).all()

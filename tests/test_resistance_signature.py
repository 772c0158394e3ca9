"""The page on the resistance signature: its numbers computed again, and a reader's cohort."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.miscmodels.ordinal_model import OrderedModel

from ballbook import claims, datasets, genesets
from ballbook.ordinal import proportional_odds
from ballbook.parameters import InvalidParameters
from ballbook.run import run

SLUG = "resistance-signature"
# A quick run; numbers that rest on shuffles are then rough.
QUICK = {"permutations": 19, "shuffles": 99, "repeats": 1}


def read(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text("utf8"))
    return found


@pytest.fixture(scope="module")
def results(results_of: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    return results_of(SLUG)


@pytest.fixture
def by_id(results: dict[str, Any]) -> dict[str, Any]:
    return {e["id"]: e for e in results["estimates"]}


def test_claims_of_the_page_are_whole() -> None:
    mine = {c.id: c for c in claims.of_analysis(SLUG)}
    clusters = [c for id, c in mine.items() if id.startswith("har-cluster") and "counts" in id]
    assert sum(c.value or 0 for c in clusters) == 46
    assert all(mine[f"har-signature-{t}"].direction == "above" for t in ("mrd", "drugs", "immune"))


@pytest.mark.slow
def test_printed_table_gives_the_printed_test(by_id: dict[str, Any], golden: Any) -> None:
    cases = golden("audit")["cases"]
    r = next(c["expected"] for c in cases if c["data"] == "Hartmann clusters 1 and 3")
    assert by_id["printed-chi2"]["statistic"] == pytest.approx(25.881, abs=0.001)
    assert by_id["printed-chi2"]["value"] == pytest.approx(2.4e-6, rel=0.01)
    assert by_id["printed-exact"]["value"] == pytest.approx(r["exact_p"], rel=1e-6)
    odds = by_id["printed-odds"]
    assert odds["value"] == pytest.approx(48.1, abs=0.05)
    assert odds["p_value"] == pytest.approx(4.0e-8, rel=0.02)


@pytest.mark.slow
def test_verdicts_and_what_they_rest_on(results: dict[str, Any], by_id: dict[str, Any]) -> None:
    verdicts = {v["claim"]: v["verdict"] for v in results["verdicts"]}
    wanted = {c.id for c in claims.of_analysis(SLUG) if c.kind not in claims.WITHOUT_VERDICT}
    assert set(verdicts) == wanted and len(results["verdicts"]) == len(wanted)
    assert verdicts["har-cluster-chi2"] == "reproduced"
    assert verdicts["har-signature-mrd"] == verdicts["har-signature-drugs"] == "underpowered"
    assert verdicts["har-cluster1-counts-fast"] == "not-testable"
    # What shuffled classes give on their own patients, and what is left in others.
    for key in ("all", "within"):
        chance, apparent = (
            by_id[f"dfci-{key}-{w}"]["value"] for w in ("apparent-shuffled", "apparent")
        )
        held = by_id[f"dfci-{key}-concordance"]
        assert held["value"] < chance < apparent + 0.05
        assert held["value"] < apparent - 0.05
    assert by_id["dfci-all-concordance"]["ci_low"] > 0.5
    assert by_id["dfci-within-concordance"]["ci_low"] < 0.5
    assert by_id["chance-significant"]["value"] > 0.8
    assert by_id["chance-significant"]["tier"] == "simulated"
    assert len(results["summary"].split()) <= 45 and len(results["certainty"].split()) <= 30


@pytest.mark.slow
def test_the_screen_agrees_with_the_ordinal_model_of_statsmodels(results: dict[str, Any]) -> None:
    screen = pd.read_csv(results["out"] / "figures/volcano.csv").set_index("gene")
    source = datasets.load("dfci-gse181157")
    assert source.expression is not None
    p = source.patients.set_index("patient_id").query("lineage == 'B'")
    first, second = p["mrd_tp1"], p["mrd_tp2"]
    y = pd.Series(np.nan, index=p.index)
    y[(first == "low") & (second != "high")] = 0
    y[(first == "high") & (second == "low")] = 1
    y[second == "high"] = 2
    y = y.dropna()
    table = datasets.with_symbols(source.expression[y.index], datasets.load("allcatchr-stages"))
    ordered = pd.Series(pd.Categorical(y, ordered=True))
    for gene in [*screen.sort_values("p_value_crude").index[:3], screen.index[17]]:
        x = table.loc[gene].to_numpy(float)
        x = (x - x.mean()) / x.std()
        fit = OrderedModel(ordered, x[:, None], distr="logit").fit(method="bfgs", disp=0)
        assert screen.loc[gene, "odds_ratio_crude"] == pytest.approx(
            np.exp(fit.params.iloc[0]), rel=1e-3
        )
        n = np.bincount(y.astype(int))
        drop = 2 * (fit.llf - (n * np.log(n / n.sum())).sum())
        assert screen.loc[gene, "p_value_crude"] == pytest.approx(stats.chi2.sf(drop, 1), rel=1e-3)


@pytest.mark.slow
def test_traits_are_told_as_their_intervals_are(
    results: dict[str, Any], by_id: dict[str, Any]
) -> None:
    verdicts = {v["claim"]: v["verdict"] for v in results["verdicts"]}
    for trait in ("chromatin", "immune", "proliferation"):
        e = by_id[f"dfci-within-{trait}"]
        assert e["ci_level"] == pytest.approx(1 - 0.05 / 3)
        expected = "consistent" if e["ci_low"] > 0 else "underpowered"
        assert verdicts[f"har-signature-{trait}"] == expected
    # Another seed, other shuffles: the bound nearest to 0 moves by far less than the interval.
    near = by_id["dfci-within-proliferation"]
    assert abs(near["ci_low"]) < 0.02 < near["ci_high"]
    assert near["p_value"] == pytest.approx(0.041, abs=0.012)
    spec = pd.read_csv(results["out"] / "figures/specification-curve.csv")
    chosen = spec[spec["chosen"].astype(bool)].set_index("compared")["value"]
    for who, key in (("all patients", "all"), ("within subtypes", "within")):
        held = by_id[f"dfci-{key}-concordance"]["value"]
        assert chosen[who] == pytest.approx(held, abs=1e-9)


@pytest.mark.slow
def test_signature_file_gives_the_transfers(results: dict[str, Any], by_id: dict[str, Any]) -> None:
    """From the written gene list alone, with other code."""
    genes = pd.read_csv(results["out"] / "tables/signature.csv")
    assert len(genes) == 100 and set(genes["direction"]) == {"up", "down"}
    up, down = (list(genes.loc[genes["direction"] == d, "gene"]) for d in ("up", "down"))
    background = pd.read_csv(results["out"] / "figures/volcano.csv")["gene"]
    gse = datasets.load("gse133499")
    assert gse.expression is not None
    patients = gse.patients.set_index("patient_id").query("lineage == 'B' and stage == 'initial'")
    table = gse.expression[patients.index]
    scores = genesets.singscore(table[table.index.isin(background)], up, down)
    for drug in ("prednisolone", "dexamethasone"):
        lc50 = patients[f"lc50_{drug}"].dropna()
        rho = stats.spearmanr(scores[lc50.index], lc50).statistic
        assert by_id[f"gse133499-{drug}"]["value"] == pytest.approx(rho, abs=1e-9)
        assert by_id[f"gse133499-{drug}"]["n"] == len(lc50)
    chiaretti = datasets.load("chiaretti-2004")
    assert chiaretti.expression is not None
    adults = chiaretti.patients.set_index("patient_id").query("lineage == 'B'")
    found = adults["remission"].dropna()
    table = chiaretti.expression[adults.index]
    scores = genesets.singscore(table[table.index.isin(background)], up, down)[found.index]
    area = stats.mannwhitneyu(scores[found == "REF"], scores[found == "CR"]).statistic
    area /= (found == "REF").sum() * (found == "CR").sum()
    assert by_id["chiaretti-refractory-concordance"]["value"] == pytest.approx(area, abs=1e-9)


@pytest.fixture
def folder(shared_data: Path, tmp_path: Path) -> Path:
    """DFCI written out as a reader would, with MRD as a level."""
    source = datasets.load("dfci-gse181157")
    assert source.expression is not None
    out = tmp_path / "mine"
    out.mkdir()
    rename = {p: f"secret-{i}" for i, p in enumerate(source.patients["patient_id"])}
    patients = source.patients.replace({"patient_id": rename})
    patients[["patient_id", "subtype", "lineage"]].to_csv(out / "patients.csv", index=False)
    level = source.patients["mrd_tp1"].map({"low": 0.0, "high": 0.01})
    mrd = pd.DataFrame({"patient_id": patients["patient_id"], "timepoint": "TP1", "level": level})
    mrd.dropna().to_csv(out / "mrd.csv", index=False)
    source.expression.rename(columns=rename).reset_index().to_csv(
        out / "expression.logcpm.csv", index=False
    )
    return out


@pytest.mark.slow
def test_reader_cohort_is_scored_and_nobody_is_named(
    folder: Path, results: dict[str, Any], tmp_path: Path
) -> None:
    out = run(SLUG, parameters={"cohort": str(folder), **QUICK}, out=tmp_path / "run")
    found = read(out)
    by_id = {e["id"]: e for e in found["estimates"]}
    genes = pd.read_csv(results["out"] / "tables/signature.csv")
    background = pd.read_csv(results["out"] / "figures/volcano.csv")["gene"]
    up, down = (list(genes.loc[genes["direction"] == d, "gene"]) for d in ("up", "down"))
    source = datasets.load("dfci-gse181157")
    assert source.expression is not None
    patients = source.patients.set_index("patient_id").query("lineage == 'B'")
    y = patients["mrd_tp1"].map({"low": 0, "high": 1}).dropna().astype(int)
    table = datasets.with_symbols(source.expression, datasets.load("allcatchr-stages"))
    score = genesets.singscore(table.loc[table.index.isin(background), y.index], up, down)
    per_sd = (score - score.mean()) / score.std(ddof=0)
    model = proportional_odds(y.to_numpy(), pd.DataFrame({"s": per_sd.to_numpy()}))
    expected = model.odds_ratio("s")
    own = by_id["own-odds"]
    assert own["tier"] == "yours"
    assert own["value"] == pytest.approx(expected.value, rel=0.01)
    assert own["ci_high"] == pytest.approx(expected.ci_high, rel=0.01)
    assert by_id["own-kmt2a-odds"]["value"] is None
    judged = {(v["claim"], v["tier"]) for v in found["verdicts"]}
    assert ("har-signature-mrd", "yours") in judged
    assert "own-odds-power" in by_id or "own-odds-difference" in by_id
    report = (out / "report.html").read_text("utf8")
    assert "secret-" not in report + json.dumps(found)
    assert "nothing was learned from them" in report
    for file in out.rglob("*.csv"):
        assert "secret-" not in file.read_text("utf8"), file.name


@pytest.mark.slow
def test_a_cohort_too_small_or_without_the_genes_is_told_so(folder: Path, tmp_path: Path) -> None:
    patients = pd.read_csv(folder / "patients.csv")
    few = patients[patients["lineage"] == "B"].head(6)
    few.to_csv(folder / "patients.csv", index=False)
    for name in ("mrd.csv",):
        table = pd.read_csv(folder / name)
        table[table["patient_id"].isin(few["patient_id"])].to_csv(folder / name, index=False)
    expression = pd.read_csv(folder / "expression.logcpm.csv")
    expression[["gene", *few["patient_id"]]].to_csv(folder / "expression.logcpm.csv", index=False)
    found = read(run(SLUG, parameters={"cohort": str(folder), **QUICK}, out=tmp_path / "few"))
    own = {e["id"]: e for e in found["estimates"] if e["id"].startswith("own-")}
    assert own["own-odds"]["value"] is None and own["own-odds"]["n"] is None
    assert "could not be judged" in found["summary"] and "fewer than 5" in found["summary"]
    other = pd.DataFrame(
        np.random.default_rng(0).normal(size=(50, 6)), columns=list(few["patient_id"])
    )
    other.insert(0, "gene", [f"LOC{i}" for i in range(50)])
    other.to_csv(folder / "expression.logcpm.csv", index=False)
    found = read(run(SLUG, parameters={"cohort": str(folder), **QUICK}, out=tmp_path / "other"))
    assert "no up gene of the signature" in found["summary"]


@pytest.mark.parametrize(
    ("name", "value"), [("n_genes", 3), ("permutations", 0), ("ranked", "none"), ("folds", 1)]
)
def test_parameters_out_of_range_are_refused(name: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameters, match=name):
        run(SLUG, parameters={name: value}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()

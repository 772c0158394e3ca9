"""The page that splits bulk leukaemias into states: its numbers by another way, and the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from ballbook import claims, datasets
from ballbook.cell_states import B_LINEAGE, STATES
from ballbook.run import run

SLUG = "state-deconvolution"
JUDGED = {
    "ext-iacobucci-subtypes-kmt2a": "consistent",
    "ext-iacobucci-subtypes-bcr-abl1": "underpowered",
    "ext-iacobucci-subtypes-dux4": "underpowered",
    "iac-drug-finding-resistant": "underpowered",
    "iac-drug-finding-sensitive": "underpowered",
}


def test_claims_of_the_page_are_whole() -> None:
    mine = {c.id: c for c in claims.of_analysis(SLUG)}
    assert set(mine) == set(JUDGED)
    assert {c.direction for id, c in mine.items() if id.startswith("ext-")} == {"above"}


@pytest.fixture(scope="module")
def results(results_of: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    return results_of(SLUG)


def early_by_hand(id: str, base: float, offset: float) -> pd.DataFrame:
    """Return patients of B lineage with their early share, by plain arrays and scipy alone."""
    marrow = datasets.load("triana-marrow").data
    counts = np.asarray(marrow.X.todense(), dtype=float)
    state, donor = (np.asarray(marrow.obs[c].astype(str)) for c in ("state", "donor"))
    genes = [str(g).replace("HLA.", "HLA-") for g in marrow.var_names]
    cohort = datasets.load(id)
    assert cohort.expression is not None
    table = datasets.with_symbols(cohort.expression, datasets.load("allcatchr-stages"))
    lineage = cohort.patients.set_index("patient_id")["lineage"]
    table = table[[p for p in table.columns if lineage.get(p) == "B"]]
    rows = [i for i, g in enumerate(genes) if g in table.index]
    bulk = np.maximum(base ** table.loc[[genes[i] for i in rows]].to_numpy() - offset, 0)
    bulk = bulk / bulk.sum(axis=0)
    profile = np.zeros((len(rows), len(STATES)))
    for j, s in enumerate(STATES):
        parts = []
        for d in np.unique(donor):
            cells = counts[(donor == d) & (state == s)]
            if len(cells) >= 5:
                parts.append(cells.sum(axis=0)[rows] / cells.sum())
        profile[:, j] = np.mean(parts, axis=0)
    profile = profile / profile.sum(axis=0)
    mean = profile.mean(axis=1)
    floor = np.quantile(mean[mean > 0], 0.1)
    weight = 1 / (mean + floor)

    def fit(samples: np.ndarray) -> np.ndarray:
        samples = samples / samples.sum(axis=0)
        x = np.array([optimize.nnls(profile * weight[:, None], y * weight)[0] for y in samples.T])
        return np.asarray(x / x.sum(axis=1, keepdims=True))

    first = fit(bulk).mean(axis=0)
    factor = (bulk.mean(axis=1) + floor) / (profile @ first + floor)
    line = fit(bulk / factor[:, None])[:, : len(B_LINEAGE)]
    early = line[:, :2].sum(axis=1) / line.sum(axis=1)
    subtype = cohort.patients.set_index("patient_id")["subtype"].reindex(table.columns)
    return pd.DataFrame({"early": early, "subtype": subtype.to_numpy()})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("id", "short", "base", "offset"),
    [("chiaretti-2004", "chiaretti", 2.0, 0.0), ("dfci-gse181157", "dfci", 10.0, 1.0)],
)
def test_contrasts_equal_an_independent_calculation(
    id: str, short: str, base: float, offset: float, shared_data: Path, results: dict[str, Any]
) -> None:
    by_id = {e["id"]: e for e in results["estimates"]}
    table = early_by_hand(id, base, offset)
    is_kmt2a = table["subtype"] == "KMT2A-r"
    x, y = table.loc[is_kmt2a, "early"], table.loc[~is_kmt2a, "early"]
    welch = stats.ttest_ind(x, y, equal_var=False)
    found = by_id[f"{short}-kmt2a-difference"]
    assert found["n"] == len(table)
    assert found["value"] == pytest.approx(x.mean() - y.mean(), rel=1e-6)
    assert found["p_value"] == pytest.approx(welch.pvalue, rel=1e-5)
    exact = stats.mannwhitneyu(x, y, method="exact")
    # scipy takes no notice of the few ties at a share of 0.
    assert by_id[f"{short}-kmt2a-rank"]["p_value"] == pytest.approx(exact.pvalue, rel=1e-3)


@pytest.mark.slow
def test_page_runs_and_gives_its_headline(shared_data: Path, results: dict[str, Any]) -> None:
    by_id = {e["id"]: e for e in results["estimates"]}
    assert {v["claim"]: v["verdict"] for v in results["verdicts"]} == JUDGED
    assert by_id["kmt2a-difference"]["value"] == pytest.approx(0.330, abs=0.002)
    assert by_id["tcf3-pbx1-difference"]["ci_low"] > 0
    # T-lineage cases are known for what they are in every cohort.
    for short in ("chiaretti", "dfci", "krali", "gse133499"):
        assert by_id[f"{short}-t-lineage"]["ci_low"] > 0.5
    # Mixtures are made, whatever they are made of: no verdict may rest on them.
    mixtures = [e for e in results["estimates"] if e["tier"] == "simulated"]
    assert "recovery-correlation" in {e["id"] for e in mixtures}
    assert {v["tier"] for v in results["verdicts"]} == {"open"}
    assert by_id["recovery-correlation"]["ci_low"] > 0.7
    assert (
        by_id["panel-dfci-correlation"]["value"] < by_id["panel-whole-panel-correlation"]["value"]
    )
    assert by_id["cells-error-content"]["value"] < by_id["cells-error-rna"]["value"]
    assert by_id["recovery-error"]["value"] < by_id["recovery-error-log"]["value"]
    distorted = pd.read_csv(results["out"] / "figures/distortion.csv")
    best = distorted.sort_values("correlation").groupby("spread").tail(1)
    assert best["weights"].eq("relative").all() and best["matched"].all()
    assert by_id["drug-power"]["value"] < 0.5
    drugs = pd.read_csv(results["out"] / "tables/drugs.csv")
    peer = stats.false_discovery_control(drugs["p_value"])
    np.testing.assert_allclose(drugs["q"], peer, rtol=1e-9)
    curve = pd.read_csv(results["out"] / "figures/specification-curve.csv")
    assert curve["chosen"].sum() == 5
    assert "3 of 3 cohorts" in results["summary"]
    assert len(results["summary"].split()) <= 45 and len(results["certainty"].split()) <= 30


@pytest.mark.slow
def test_reader_cohort_is_split_and_small_groups_are_not_compared(
    shared_data: Path, results: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    source = datasets.load("chiaretti-2004")
    assert source.expression is not None
    patients = source.patients[["patient_id", "lineage", "subtype", "age_years"]].copy()
    few = patients.index[patients["subtype"] == "TCF3::PBX1"][:2]
    patients.loc[few, "subtype"] = "other"  # three are left
    patients.to_csv(folder / "patients.csv", index=False)
    source.expression.reset_index().to_csv(folder / "expression.log2.csv", index=False)
    out = run(SLUG, parameters={"cohort": str(folder)}, out=tmp_path / "run")
    found = json.loads((out / "results.json").read_text("utf8"))
    by_id = {e["id"]: e for e in found["estimates"]}
    open_one = {e["id"]: e for e in results["estimates"]}
    for slug in ("kmt2a", "bcr-abl1"):
        same = open_one[f"chiaretti-{slug}-difference"]["value"]
        assert by_id[f"own-{slug}-difference"]["value"] == pytest.approx(same, rel=5e-3)
        # What is open does not change with a reader's cohort.
        assert by_id[f"{slug}-difference"] == open_one[f"{slug}-difference"]
    for slug in ("tcf3-pbx1", "dux4"):
        assert by_id[f"own-{slug}-difference"]["value"] is None
        assert "fewer than 5" in by_id[f"own-{slug}-difference"]["reason"]
    assert "not given" in by_id["own-early-sensitivity"]["reason"]
    groups = pd.read_csv(out / "tables/own-groups.csv")
    assert groups["size"].min() >= 5 and groups["size"].sum() == 95
    own = {v["claim"]: v["verdict"] for v in found["verdicts"] if v["tier"] == "yours"}
    assert own["ext-iacobucci-subtypes-dux4"] == "not-testable"
    assert (out / "methods.txt").is_file()


def test_a_parameter_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="n_cells"):
        run(SLUG, parameters={"n_cells": 5}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()

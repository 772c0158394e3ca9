"""The page on CEBPA and its regulon: its numbers written out again, and the page itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import shared_folder
from scipy import stats

from ballbook import cell_states, claims, datasets, dummy
from ballbook.parameters import InvalidParameters
from ballbook.run import run

SLUG = "cebpa-regulon"


@pytest.fixture(scope="module")
def marrow() -> tuple[pd.DataFrame, pd.DataFrame]:
    if shared_folder() is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    data = datasets.load("triana-marrow").data
    counts = data.X.toarray().astype(float)
    logs = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    return pd.DataFrame(logs, index=data.obs_names, columns=data.var_names), data.obs


@pytest.fixture(scope="module")
def results(results_of: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    return results_of(SLUG)


def test_expression_in_states_is_that_of_the_first_look(
    marrow: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    """Means over cells, noted when the data were first opened."""
    cells, obs = marrow
    by = cells.groupby(obs["state"].to_numpy(object))
    noted = {"HSC/MPP": 0.58, "LMPP": 1.52, "Pro-B": 0.04}
    assert by["CEBPA"].mean()[list(noted)].round(2).to_dict() == noted
    dntt = by["DNTT"].mean()[["Pro-B", "Pre-B", "Immature B"]]
    assert dntt.round(2).tolist() == [4.36, 3.42, 0.25]
    promyelocytes = (obs["label"] == "Early promyelocytes").to_numpy()
    assert cells["CEBPA"][promyelocytes].mean() == pytest.approx(2.55, abs=0.005)


def test_the_claim_belongs_to_this_page() -> None:
    assert [c.id for c in claims.of_analysis(SLUG)] == ["iac-cebpa-early-lymphoid"]


@pytest.mark.slow
def test_switch_off_is_the_paired_t_test_over_donors(
    marrow: tuple[pd.DataFrame, pd.DataFrame], results: dict[str, Any]
) -> None:
    cells, obs = marrow
    regulons = datasets.load("dorothea-regulons").table
    targets = [g for g in regulons.loc[regulons["source"] == "CEBPA", "target"] if g in cells]
    assert len(targets) == results["by_id"]["triana-targets"]["value"] == 14
    # All measured targets are activated, so that ULM is Student's t of targets against others.
    others = [g for g in cells if g not in targets]
    kept = obs["state"].isin([*cell_states.B_LINEAGE, "Myeloid"]).to_numpy()
    few = cells[kept]
    activity = stats.ttest_ind(few[targets], few[others], axis=1).statistic
    frame = pd.DataFrame(
        {"donor": obs["donor"][kept].astype(str), "state": obs["state"][kept].astype(str),
         "cebpa": few["CEBPA"], "activity": activity}
    )  # fmt: skip
    by = frame.groupby(["donor", "state"])[["cebpa", "activity"]].agg(["size", "mean"])
    for what, moved in (("cebpa", -1), ("activity", 1)):
        mean = by[what]["mean"].where(by[what]["size"] >= 5).unstack()
        both = mean[["LMPP", "Pro-B"]].dropna()
        test = stats.ttest_rel(both["Pro-B"], both["LMPP"])
        e = results["by_id"][f"{what}-off"]
        assert e["n"] == len(both) == 4
        assert e["value"] == pytest.approx((both["Pro-B"] - both["LMPP"]).mean(), rel=1e-9)
        assert e["p_value"] == pytest.approx(test.pvalue, rel=1e-6) and e["p_value"] < 0.05
        assert np.sign(e["value"]) == moved
    # The rise of activity is that of targets which the cell cycle shares.
    held = results["by_id"]["activity-no-cycle-off"]
    assert held["ci_low"] < 0 < held["ci_high"] and held["value"] < 0


@pytest.mark.slow
def test_bulk_contrasts_are_linear_models_with_the_monocyte_score(
    marrow: tuple[pd.DataFrame, pd.DataFrame], results: dict[str, Any]
) -> None:
    cells, obs = marrow
    on = cells > 0
    monocytes = on[(obs["label"] == "Classical Monocytes").to_numpy()].mean()
    lineage = pd.concat(
        [on[(obs["state"] == s).to_numpy()].mean() for s in cell_states.B_LINEAGE], axis=1
    )
    markers = monocytes.index[(monocytes >= 0.5) & (lineage.max(axis=1) <= 0.1)]
    markers = [g for g in markers if g != "ITGAX"]  # a target
    cohort = datasets.load("dfci-gse181157")
    assert cohort.expression is not None
    table = datasets.with_symbols(cohort.expression, datasets.load("allcatchr-stages")).T
    p = cohort.patients.set_index("patient_id")
    p = p[(p["lineage"] == "B") & p["subtype"].notna()]
    table = table.loc[p.index]

    def z(v: Any) -> Any:
        return (v - v.mean()) / v.std()

    score = table[[g for g in markers if g in table]].apply(z).mean(axis=1)
    kept = (p["subtype"] != "BCR::ABL1 or like").to_numpy()
    early = p["subtype"].isin(["KMT2A-r", "ZNF384-r"]).to_numpy()[kept]
    x = np.column_stack([np.ones(kept.sum()), early, score[kept]])
    y = z(table["CEBPA"][kept]).to_numpy()
    coef, left, *_ = np.linalg.lstsq(x, y, rcond=None)
    se = np.sqrt(left[0] / (len(y) - 3) * np.linalg.inv(x.T @ x)[1, 1])
    e = results["by_id"]["dfci-expression"]
    assert e["n"] == len(y) == 120
    assert e["value"] == pytest.approx(coef[1], rel=1e-9)
    assert e["ci_low"] == pytest.approx(coef[1] - stats.t.isf(0.025, len(y) - 3) * se, rel=1e-9)


@pytest.mark.slow
def test_page_says_what_its_numbers_allow(results: dict[str, Any]) -> None:
    by_id, (verdict,) = results["by_id"], results["verdicts"]
    assert by_id["krali-expression"]["ci_low"] > 0 and by_id["dfci-expression"]["ci_low"] > 0
    assert by_id["chiaretti-expression"]["ci_low"] < 0 < by_id["chiaretti-expression"]["ci_high"]
    assert verdict["verdict"] == "underpowered" and verdict["tier"] == "open"
    assert "activity" in verdict["recomputed"]
    gates = {g["name"]: g["status"] for g in results["gates"]}
    assert gates["Targets measured, Triana (share of 147)"] == "failed"
    assert gates["Purity: activity with the monocyte score, DFCI"] == "failed"
    # One donor: no interval is made of its cells.
    assert all(
        e["ci_low"] is None for id, e in by_id.items() if id.startswith(("place-", "setty-"))
    )
    places = [by_id[f"place-{g}"]["value"] for g in ("mpo", "cebpd", "cd79a", "rag1")]
    assert places == sorted(places)
    curve = pd.read_csv(results["out"] / "figures/specification-marrow.csv")
    fell = curve[curve["score"] == "expression"]
    assert (fell["ci_high"] < 0).all() and curve["chosen"].sum() == 2
    rose = curve[(curve["targets"] == "no cell cycle") & (curve["score"] == "ulm")]
    assert (rose["ci_low"] < 0).all()
    assert len(results["summary"].split()) <= 45


@pytest.mark.slow
def test_own_cohort_stands_beside_the_open_ones(tmp_path: Path, shared_data: Path) -> None:
    dummy.write(SLUG, tmp_path / "mine", n=120)
    marks = {"cohort": str(tmp_path / "mine"), "min_cells": 100, "early": "KMT2A-r, ZNF384-r"}
    out = run(SLUG, parameters=marks, out=tmp_path / "run")
    found = json.loads((out / "results.json").read_text("utf8"))
    by_id = {e["id"]: e for e in found["estimates"]}
    for what in ("expression", "activity"):
        own = by_id[f"own-{what}"]
        assert own["value"] > 0.3 and own["ci_low"] > 0 and own["tier"] == "simulated"
        assert by_id[f"own-{what}-difference"]["p_value"] is not None
    # No donor has a hundred pro-B cells: said, not invented.
    assert by_id["cebpa-off"]["value"] is None
    assert {v["verdict"] for v in found["verdicts"]} >= {"method-check"}
    methods = (out / "methods.txt").read_text("utf8")
    assert "decoupler" in methods and "monocyte" in methods


def test_a_parameter_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameters, match="min_cells"):
        run(SLUG, parameters={"min_cells": 0}, out=tmp_path / "run")

"""The page on the white count after blinatumomab: print, run, own cohort, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, fisher_exact, norm

from ballbook import claims, datasets, dummy, needs, run
from ballbook.cohort import InvalidCohort

SLUG = "immunotherapy-risk"
QUICK = {"sets": 60, "histories": 4000}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run without a cohort."""
    from conftest import shared_folder

    if shared_folder() is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    return finished(tmp_path_factory.mktemp("page") / "out", QUICK)


def finished(out: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    run.run(SLUG, parameters=parameters, out=out)
    found: dict[str, Any] = json.loads((out / "results.json").read_text("utf8"))
    found["out"] = out
    found["of"] = {e["id"]: e for e in found["estimates"]}
    found["says"] = {(v["claim"], v["tier"]): v for v in found["verdicts"]}
    return found


def written(folder: Path, n: int = 260, seed: int = 3, **columns: Any) -> Path:
    """Write a cohort of ordinary ids, drawn as the dummy is."""
    dummy.write(SLUG, folder / "dummy", n=n, seed=seed)
    table = pd.read_csv(folder / "dummy" / "patients.csv", dtype=str, keep_default_na=False)
    table["patient_id"] = [f"P{i:03d}" for i in range(len(table))]
    file = folder / "own.csv"
    table.assign(**columns).to_csv(file, index=False)
    return file


# ------------------------------------------------------------------------------ typed tables


RATIOS = {
    "short-wbc": "ext-short-wbc-shr",
    "short-cns": "ext-short-cns-shr",
    "short-vpreb1": "ext-short-vpreb1-shr",
    "short-wbc-mv": "ext-short-mv-wbc",
}
FACTS = {
    ("short", "patients"): ("ext-short-n", 1),
    ("short", "outside-marrow"): ("ext-short-extramedullary", 1),
    ("short", "high-share"): ("ext-short-wbc-share", 100),
    ("short", "incidence-high"): ("ext-short-wbc-cir-high", 100),
    ("short", "incidence-low"): ("ext-short-wbc-cir-low", 100),
    ("d-alba", "patients"): ("ext-dalba-n", 1),
    ("d-alba", "relapses"): ("ext-dalba-40m-relapses", 1),
}


def value(id: str) -> float:
    found = claims.read()[id].value
    assert found is not None
    return found


@pytest.mark.parametrize(("study", "id"), RATIOS.items())
def test_typed_ratios_are_those_of_the_claims(study: str, id: str) -> None:
    row = datasets.published("white_count_effects").set_index("study").loc[study]
    claim = claims.read()[id]
    assert list(row[["effect", "ci_low", "ci_high"]]) == [claim.value, claim.ci_low, claim.ci_high]
    assert row["n"] == claim.n
    if f"{id}-p" in claims.read():
        assert row["p_printed"] == value(f"{id}-p")


def test_typed_counts_are_those_of_the_claims() -> None:
    facts = datasets.published("immunotherapy_relapse").set_index(["trial", "quantity"])["value"]
    for where, (id, factor) in FACTS.items():
        assert facts[where] == pytest.approx(value(id) * factor)
    parts = value("ext-dalba-40m-relapses-cns") + value("ext-dalba-40m-relapses-nodal")
    assert facts["d-alba", "outside-marrow"] == parts


# --------------------------------------------------------------------------------- the page


def test_ratios_intervals_and_p_values(page: dict[str, Any]) -> None:
    for study, value, low, high in (
        ("short-wbc", 8.86, 2.33, 33.70),
        ("short-cns", 6.87, 1.54, 30.68),
    ):
        e = page["of"][f"{study}-hr"]
        assert e["value"] == pytest.approx(math.sqrt(low * high), rel=2e-3)
        z = math.log(value) / (math.log(high / low) / (2 * norm.isf(0.025)))
        assert page["of"][f"{study}-p"]["value"] == pytest.approx(2 * norm.sf(z), rel=1e-9)
    assert page["of"]["short-vpreb1-hr"]["value"] == 4.06


def test_the_relapses_are_counted_out(page: dict[str, Any]) -> None:
    of = page["of"]
    assert of["relapses-high"]["value"] == 7 and of["relapses-high"]["n"] == 17
    low, high = binomtest(7, 17).proportion_ci(method="exact")
    assert [of["crude-high"]["ci_low"], of["crude-high"]["ci_high"]] == pytest.approx([low, high])
    assert of["crude-odds"]["p_value"] == pytest.approx(fisher_exact([[7, 10], [3, 56]])[1])
    assert of["ratio-from-incidences"]["value"] == pytest.approx(math.log(0.47) / math.log(0.94))
    table = pd.read_csv(page["out"] / "tables" / "splits.csv")
    assert list(table["near"].gt(0)) == [True, False, False]


def test_power_shrinkage_and_the_chosen_cut_off(page: dict[str, Any]) -> None:
    of, share = page["of"], 17 / 76
    spread = math.sqrt(share * (1 - share) * 10)
    assert of["detectable"]["value"] == pytest.approx(
        math.exp((norm.isf(0.025) + norm.isf(0.2)) / spread)
    )
    shift = math.log(3) * spread
    expected = norm.cdf(shift - norm.isf(0.025)) + norm.cdf(-shift - norm.isf(0.025))
    assert of["power-true"]["value"] == pytest.approx(expected)
    chi = (math.log(8.86) / (math.log(33.7 / 2.33) / (2 * norm.isf(0.025)))) ** 2
    assert of["shrinkage"]["value"] == pytest.approx((chi - 6) / chi)
    z = norm.isf(of["short-wbc-p"]["value"] / 2)
    formula = norm.pdf(z) * ((z - 1 / z) * math.log(81) + 4 / z)
    assert of["cutoff-p"]["value"] == pytest.approx(formula)
    assert of["power-three-trials"]["value"] == pytest.approx(
        norm.cdf(math.log(3) * math.sqrt(share * (1 - share) * 272 * 10 / 76) - norm.isf(0.025)),
        abs=1e-3,
    )


def test_target_is_as_computed_apart(page: dict[str, Any]) -> None:
    """Crude counts and the Kaplan-Meier bound, from the file and not from the page's functions."""
    cohort = datasets.load("target-all-p2")
    rows = cohort.endpoint("EFS")
    rows = rows[(rows["lineage"] == "B") & (rows["protocol"] == "AALL0232")]
    high = rows["wbc_10e9_per_l"] >= 70
    of = page["of"]
    assert of["target-share"]["value"] == pytest.approx(high.mean())
    relapse = rows["event_type"].isin(["relapse", "progression"])
    assert of["target-shr"]["n_events"] == int(relapse.sum())
    for key, side in (("high", high), ("low", ~high)):
        early = side & relapse & (rows["time_months"] <= 36)
        assert of[f"target-cir-{key}"]["n_events"] == int(early.sum())
        assert of[f"target-cir-{key}"]["value"] >= early.sum() / side.sum()
    assert of["target-shr"]["value"] < of["target-shr-adjusted"]["value"]


def test_every_claim_has_its_verdict(page: dict[str, Any]) -> None:
    said = {v["claim"]: v["verdict"] for v in page["verdicts"]}
    assert set(said) == {c.id for c in claims.of_analysis(SLUG)}
    assert (
        said["ext-short-wbc-shr"]
        == said["ext-dalba-dfs4"]
        == said["ext-dalba-efs4"]
        == "reproduced"
    )
    assert said["ext-short-mv-wbc"] == "consistent"
    assert said["iac-wbc70-threshold"] == "not-testable"
    assert "differs" not in said.values()


def test_d_alba_adds_up(page: dict[str, Any]) -> None:
    assert page["of"]["d-alba-dfs"]["value"] == 47 / 62
    assert page["of"]["d-alba-efs"]["value"] == 47 / 63
    assert page["of"]["outside-marrow"]["p_value"] == pytest.approx(
        fisher_exact([[6, 4], [5, 4]])[1]
    )


def test_the_answer_is_short_and_quick(page: dict[str, Any]) -> None:
    assert len(page["summary"].split()) <= 45 and len(page["certainty"].split()) <= 30
    assert page["provenance"]["seconds"] < 60


# ------------------------------------------------------------------------------- own cohort


def test_an_own_cohort_is_judged(shared_data: Path, tmp_path: Path) -> None:
    found = finished(tmp_path / "out", {**QUICK, "cohort": str(written(tmp_path)), "cutoff": 70.0})
    of = found["of"]
    assert of["own-shr"]["value"] > 1 and of["own-shr"]["tier"] == "yours"
    assert of["own-cir-high"]["value"] > of["own-cir-low"]["value"]
    table = pd.read_csv(written(tmp_path), dtype={"patient_id": str})
    known = table.dropna(subset=["wbc_10e9_per_l", "cir_months", "cir_event"])
    share = float((known["wbc_10e9_per_l"] >= 70).mean())
    assert of["own-share"]["value"] == pytest.approx(share, abs=0.02)
    assert found["says"]["ext-short-wbc-shr", "yours"]["verdict"] in {"consistent", "differs"}
    assert any("competing" in g["name"] and g["statistic"] is None for g in found["gates"])
    text = (tmp_path / "out" / "methods.txt").read_text("utf8")
    assert "Fine and Gray" in text and "Adjusted for age and CNS status" in text


def test_a_small_own_cohort_is_withheld_and_said_to_be(shared_data: Path, tmp_path: Path) -> None:
    found = finished(tmp_path / "out", {**QUICK, "cohort": str(written(tmp_path, n=24))})
    own = {k: e for k, e in found["of"].items() if k.startswith("own-")}
    assert own["own-shr"]["value"] is None and "withheld" in own["own-shr"]["reason"]
    assert "withheld" in found["summary"]
    said = [v["verdict"] for v in found["verdicts"] if v["claim"] == "ext-short-wbc-shr"]
    assert sorted(said) == ["not-testable", "reproduced"]


def test_what_a_cohort_must_have(tmp_path: Path) -> None:
    asked = {name for need in needs.of(SLUG) if need.required for name in need.any}
    assert asked == {"outcomes.CIR", "patients.wbc_10e9_per_l"}
    file = written(tmp_path, wbc_10e9_per_l="")
    with pytest.raises(InvalidCohort, match="wbc_10e9_per_l"):
        run.run(SLUG, parameters={"cohort": str(file)}, out=tmp_path / "out")


@pytest.mark.parametrize(
    "wrong", [{"cutoff": 0.0}, {"true_ratio": 1.0}, {"candidates": 1}, {"sets": 2}, {"lean": 0.5}]
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        run.run(SLUG, parameters=wrong, out=tmp_path / "out")


def test_the_invented_patients_have_both_counts() -> None:
    drawn = dummy.patients(SLUG, ["wbc_10e9_per_l"], 2000, 1)["wbc_10e9_per_l"].astype(float)
    assert float(np.mean(drawn >= 70)) == pytest.approx(0.22, abs=0.03)

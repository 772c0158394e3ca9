"""The page on the MRD decision tree, from its claims to the finished run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_maturity import rederived_slopes

from ballbook import claims, datasets, mrd, trees

SLUG = "mrd-decision-tree"
# Small enough for a test, and enough for every part of the page.
QUICK = {"repeats": 2, "permutations": 8, "bootstraps": 20, "simulations": 40}


def run(out: Path, data: Path, *more: str) -> dict[str, Any]:
    given = [x for k, v in QUICK.items() for x in ("-p", f"{k}={v}")]
    done = subprocess.run(
        [sys.executable, "-m", "ballbook.cli", "run", SLUG, "--out", str(out), *given, *more],
        env=os.environ | {"BALLBOOK_DATA": str(data)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf8"))
    return results


def value(results: dict[str, Any], id: str) -> float:
    found = {e["id"]: e["value"] for e in results["estimates"]}
    return float(found[id])


def test_the_cut_offs_of_the_claims_are_those_of_the_tree() -> None:
    known, tree = claims.read(), trees.PublishedTree()
    assert known["har-tree-cut-high"].value == tree.cut_high
    assert known["har-tree-cut-low"].value == tree.cut_low
    assert "MLLT1" in known["har-tree-mllt1"].statement and tree.fast_partner == "MLLT1"
    assert known["har-mrd-maturity-p"].value == 0.0013


def test_no_definition_of_clearance_is_made_up() -> None:
    definition = claims.read()["har-mrd-fast-slow-definition"]
    assert definition.kind == "definition" and definition.printed is None


def test_no_infant_is_in_the_open_cohorts(shared_data: Path) -> None:
    for id in ("dfci-gse181157", "target-all-p2"):
        patients = datasets.load(id).patients
        assert patients.loc[patients["lineage"] == "B", "age_years"].min() >= 1


def test_who_is_counted(shared_data: Path) -> None:
    dfci = datasets.load("dfci-gse181157")
    b_lineage = dfci.patients[dfci.patients["lineage"] == "B"]
    positive = mrd.at_timepoint(dfci.mrd, "TP1")[1]
    known = b_lineage["patient_id"].map(positive).dropna()
    assert (len(known), int(known.sum())) == (126, 36)
    kmt2a = b_lineage[mrd.kmt2a_rearranged(b_lineage)]
    assert sorted(kmt2a["fusion_partner"]) == ["AFF1", "AFF1", "AFF1", "EPS15", "MLLT3"]
    target = datasets.load("target-all-p2")
    day29 = mrd.at_timepoint(target.mrd, "day 29")[1]
    cases = target.patients[
        mrd.kmt2a_rearranged(target.patients) & (target.patients["lineage"] == "B")
    ]
    aff1 = cases.loc[cases["fusion_partner"] == "AFF1", "patient_id"].map(day29).dropna()
    assert (int(aff1.sum()), len(aff1)) == (14, 21)


@pytest.mark.slow
def test_the_page_runs_and_says_the_same_twice(shared_data: Path, tmp_path: Path) -> None:
    one, two = (run(tmp_path / name, shared_data) for name in ("one", "two"))
    for results in (one, two):
        results.pop("provenance")
    assert one == two
    verdicts = {v["claim"]: v["verdict"] for v in one["verdicts"]}
    assert verdicts["har-tree-direction"] == "underpowered"
    assert verdicts["har-tree-no-age-split"] == "method-check"
    assert verdicts["har-tree-cut-high"] == verdicts["har-tree-cut-low"] == "not-testable"
    # Simulated numbers never carry the tier of real patients.
    assert all((e["tier"] == "simulated") == e["id"].startswith("sim-") for e in one["estimates"])
    assert value(one, "dfci-tree-apparent-auc") > value(one, "dfci-tree-auc")
    assert value(one, "sim-nothing-accuracy-apparent") > value(one, "sim-nothing-accuracy-new")
    assert verdicts["har-tree-mllt1"] == "not-testable"
    # Classes by TP1 and TP2, counted by hand from the source's table.
    accuracy = next(e for e in one["estimates"] if e["id"] == "dfci-published-tree-accuracy")
    assert (accuracy["n_events"], accuracy["n"]) == (2, 5)
    assert "neither confirm nor refute" in one["summary"]
    assert len(one["summary"].split()) <= 45 and len(one["certainty"].split()) <= 30
    # The answer, the table and the figure speak of one number.
    right = f"{100 * value(one, 'sim-nothing-accuracy-apparent'):.0f}%"
    table = pd.read_csv(tmp_path / "one/tables/by-chance.csv")
    assert one["certainty"].endswith(f"in {right}.")
    assert table["right on its own patients"].iloc[0] == right


@pytest.mark.slow
def test_a_readers_cohort_gets_the_tree_and_no_small_count(
    shared_data: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(7)
    n = 120
    score = rng.normal(-0.2, 0.25, n)
    positive = rng.random(n) < np.where(score > -0.04, 0.15, np.where(score > -0.28, 0.4, 0.85))
    frame = pd.DataFrame(
        {
            "patient_id": [f"=secret{i}" for i in range(n)],
            "subtype": "KMT2A-r",
            "fusion_partner": rng.choice(["AFF1", "KMT2A::MLLT3"], n),
            "maturity": score,
            "mrd_day29": np.where(positive, 0.003, 0.0),
            "clearance": np.where(positive, "slow", "fast"),
        }
    )
    file = tmp_path / "own.csv"
    frame.to_csv(file, index=False)
    results = run(tmp_path / "out", shared_data, "--cohort", str(file))
    called = trees.PublishedTree().predict(score, frame["fusion_partner"])
    right = int((called.astype(str) == frame["clearance"]).sum())
    assert value(results, "own-tree-accuracy") == pytest.approx(right / n, rel=5e-3)
    assert value(results, "own-slow-or") > 1
    own = [v for v in results["verdicts"] if v["tier"] == "yours"]
    assert [(v["claim"], v["verdict"]) for v in own] == [("har-tree-direction", "consistent")]
    written = [p for p in (tmp_path / "out").rglob("*") if p.suffix in {".html", ".json", ".csv"}]
    assert written and not any("secret" in p.read_text(encoding="utf8") for p in written)

    few = frame.head(6)
    few.to_csv(file, index=False)
    hidden = run(tmp_path / "few", shared_data, "--cohort", str(file))
    assert {e["value"] for e in hidden["estimates"] if e["id"].startswith("own")} == {None}
    assert not (tmp_path / "few" / "tables" / "own-tree.csv").exists()


@pytest.mark.slow
def test_a_cohort_without_the_needed_columns_is_refused_in_sentences(
    shared_data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "own.csv"
    pd.DataFrame({"patient_id": [f"a{i}" for i in range(9)], "subtype": "KMT2A-r"}).to_csv(
        file, index=False
    )
    refused = subprocess.run(
        [sys.executable, "-m", "ballbook.cli", "run", SLUG, "--cohort", str(file)],
        env=os.environ | {"BALLBOOK_DATA": str(shared_data)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert refused.returncode != 0
    assert "maturity" in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.slow
def test_raw_counts_become_calls_of_the_tree_in_one_command(
    shared_data: Path, tmp_path: Path
) -> None:
    source, genes = datasets.load("gse133499"), datasets.load("allcatchr-stages")
    b = source.where(source.patients["lineage"] == "B")
    assert b.expression is not None and b.expression_kind == "counts"
    n = b.n
    names = [f"q{i}" for i in range(n)]
    counts = b.expression[list(b.patients["patient_id"])].set_axis(names, axis=1)
    # Partners and MRD are invented: what is tested is the chain, not leukaemia.
    patients = pd.DataFrame(
        {
            "patient_id": names,
            "subtype": "KMT2A-r",
            "fusion_partner": ["MLLT1" if i % 5 == 0 else "AFF1" for i in range(n)],
            "mrd_day29": ["<0.0001" if i % 3 else "0.002" for i in range(n)],
        }
    )
    folder = tmp_path / "mine"
    folder.mkdir()
    patients.to_csv(folder / "patients.csv", index=False)
    counts.rename_axis("gene").to_csv(folder / "expression.csv")
    run(tmp_path / "out", shared_data, "--cohort", str(folder), "-p", "min_count=0")
    slope = rederived_slopes(counts, "counts", genes)["maturity"]
    mllt1 = (patients["fusion_partner"] == "MLLT1").to_numpy()
    called = np.where(
        (slope > -0.04) | mllt1, "fast", np.where(slope > -0.28, "intermediate", "slow")
    )
    positive = patients["mrd_day29"].eq("0.002").to_numpy()
    table = pd.read_csv(tmp_path / "out" / "tables" / "own-tree.csv").set_index("predicted")
    assert len(set(called)) > 1
    for word in trees.CLEARANCE:
        assert table.loc[word, "positive"] == int((positive & (called == word)).sum())
        assert table.loc[word, "negative"] == int((~positive & (called == word)).sum())

"""The notebook on recombination signals, run from beginning to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ballbook import dummy
from ballbook import motif as m
from ballbook import recombination as rag
from ballbook.cohort import InvalidCohort
from ballbook.parameters import InvalidParameters
from ballbook.run import run

SLUG = "rag-breakpoints"
QUICK = {"n_windows": 400, "n_shuffles": 19, "n_shuffled": 20}
pytestmark = pytest.mark.slow


def results_of(out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    results = json.loads((out / "results.json").read_text(encoding="utf8"))
    return results, {e["id"]: e for e in results["estimates"]}


@pytest.fixture(scope="module")
def page(run_of: Callable[[str], Path]) -> Path:
    from conftest import shared_folder

    if shared_folder() is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    return run_of(SLUG)


def test_the_printed_rule_calls_chance_and_the_corrected_one_does_not(page: Path) -> None:
    _, e = results_of(page)
    for kind in ("independent", "genome", "repeats"):
        assert e[f"null-{kind}-printed"]["value"] > 0.999
    for kind in ("independent", "genome"):
        for rule in ("wide", "near", "pairs"):
            assert e[f"null-{kind}-{rule}"]["value"] < 0.07, (kind, rule)
    # Runs of one base or of CA break the assumption, and ranks among shuffles mend it.
    assert e["null-repeats-near"]["ci_low"] > 0.05
    assert e["null-repeats-shuffled"]["ci_low"] <= 0.05
    assert {x["tier"] for x in e.values()} == {"simulated"}


def test_recovery_is_what_the_exact_power_says(page: Path, shared_data: Path) -> None:
    _, e = results_of(page)
    # Independent of the motif code: scores of drawn sites by plain sums, P values by drawn words.
    rng = np.random.default_rng(3)
    source = json.loads(
        (shared_data / "omics" / "rss-motifs" / "human_rss_pwm.json").read_text("utf8")
    )
    of_12 = [("IGK", "V"), ("IGL", "J"), ("IGH", "5'D"), ("IGH", "3'D"), ("TRA", "J"), ("TRB", "J"),
             ("TRB", "5'D"), ("TRD", "J"), ("TRD", "5'D"), ("TRG", "J")]  # fmt: skip
    parts = []
    for part in ("HEPTAMER", "NONAMER"):
        found = []
        for locus, kind in of_12:
            p = next(np.array(x["probabilities"]) for x in source
                     if (x["locus"], x["motif"]) == (locus, f"{kind}-{part}"))  # fmt: skip
            found.append(p[::-1, ::-1] if kind in {"J", "5'D"} else p)
        parts.append(np.mean(found, axis=0))
    p = np.vstack(parts)
    q = np.array([0.295, 0.205, 0.205, 0.295])
    score = np.log2(p / q)

    def draw(weights: np.ndarray, n: int) -> np.ndarray:
        words = [rng.choice(4, n, p=w / w.sum()) for w in weights]
        return np.sum([score[j][w] for j, w in enumerate(words)], axis=0)

    null = draw(np.tile(q, (16, 1)), 2_000_000)
    threshold = np.quantile(null, 0.95 ** (1 / 44))
    power = (draw(p, 50_000) >= threshold).mean()
    assert e["planted-matrix-near"]["value"] == pytest.approx(power, abs=0.035)
    assert e["planted-consensus-near"]["value"] == 1
    order = [e[f"planted-matrix-{rule}"]["value"] for rule in ("wide", "near", "pairs")]
    assert order == sorted(order)
    for truth in ("matrix", "sharp", "consensus"):
        assert e[f"bh-{truth}-false"]["value"] < 0.08


def test_the_verdict_is_that_the_sequence_is_needed(page: Path) -> None:
    results, _ = results_of(page)
    (verdict,) = results["verdicts"]
    assert (verdict["claim"], verdict["verdict"]) == ("coo-rss-flanked", "not-testable")
    gates = {g["name"]: g["status"] for g in results["gates"]}
    assert gates["false calls, independent bases"] == "passed"
    assert gates["false calls, with repeats"] == "failed"


def a_genome(folder: Path, n: int) -> Path:
    """Write `n` deletions as BEDPE with their genome: a signal of 12 and of 23 at every one."""
    rng = np.random.default_rng(5)
    folder.mkdir()
    genome = rag.independent_bases(1, 2000 * n, 0.41, rng)[0]
    rows = []
    for i in range(n):
        start, end = 2000 * i + 500, 2000 * i + 1500
        for cut, spacer, forward in ((start, 12, True), (end, 23, False)):
            fill = rag.independent_bases(1, spacer, 0.41, rng)[0]
            site = np.concatenate([m.encode(rag.CONSENSUS[0]), fill, m.encode(rag.CONSENSUS[1])])
            at = slice(cut, cut + len(site)) if forward else slice(cut - len(site), cut)
            genome[at] = site if forward else m.reverse_complement(site)
        rows.append(f"7\t{start - 1}\t{start}\t7\t{end}\t{end + 1}\tsecret{i}\t.\t+\t-")
    (folder / "breakpoints.bedpe").write_text("\n".join(rows) + "\n")
    (folder / "genome.fa").write_text(">chr7\n" + m.decode(genome) + "\n")
    return folder


def test_junctions_of_ones_own_are_searched(tmp_path: Path, shared_data: Path) -> None:
    folder = a_genome(tmp_path / "mine", 12)
    given: dict[str, Any] = {"cohort": str(folder), "min_count": 0, **QUICK}
    out = run(SLUG, parameters=given, out=tmp_path / "out")
    results, e = results_of(out)
    assert (e["own-ends"]["value"], e["own-ends"]["n"]) == (1, 24)
    assert (e["own-junctions"]["value"], e["own-junctions"]["n"]) == (1, 12)
    assert e["own-samples"]["n"] == 1 and e["own-ends"]["tier"] == "yours"
    assert "In your cohort 100% of ends are called" in results["summary"]
    assert "secret" not in (out / "report.html").read_text("utf8")


def test_few_junctions_are_withheld(tmp_path: Path, shared_data: Path) -> None:
    given: dict[str, Any] = {"cohort": str(a_genome(tmp_path / "mine", 2)), **QUICK}
    _, e = results_of(run(SLUG, parameters=given, out=tmp_path / "out"))
    for id in ("own-ends", "own-junctions", "own-samples"):
        assert e[id]["value"] is None and e[id]["reason"].startswith("withheld"), id


def test_a_dummy_has_one_junction_of_two_by_rag(tmp_path: Path, shared_data: Path) -> None:
    dummy.write(SLUG, tmp_path / "d", n=40)
    rows = pd.read_csv(tmp_path / "d" / "breakpoints.csv")
    assert len(rows) == 160 and rows["sequence"].str.len().eq(100).all()
    given: dict[str, Any] = {"cohort": str(tmp_path / "d"), **QUICK}
    _, e = results_of(run(SLUG, parameters=given, out=tmp_path / "out"))
    assert e["own-junctions"]["value"] == pytest.approx(0.5, abs=0.03)
    assert e["own-junctions"]["tier"] == "simulated"


@pytest.mark.parametrize(
    "wrong", [{"flank": 20}, {"within": 12}, {"alpha": 0}, {"gc": 0.9}, {"n_windows": 5}]
)
def test_a_parameter_out_of_range_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameters, match=next(iter(wrong))):
        run(SLUG, parameters=wrong, out=tmp_path / "out")


def test_a_cohort_without_break_points_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("patient_id,age_years\na,3\n")
    with pytest.raises(InvalidCohort, match="a table breakpoints"):
        run(SLUG, parameters={"cohort": str(path)}, out=tmp_path / "out")

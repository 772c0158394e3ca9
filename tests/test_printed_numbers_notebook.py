"""The notebook of the audit, run from beginning to end; it needs no open data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ballbook import claims, contradictions
from ballbook.run import run

SLUG = "printed-numbers"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def out(run_of: Callable[[str], Path]) -> Path:
    return run_of(SLUG)


@pytest.fixture(scope="module")
def results(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "results.json").read_text(encoding="utf8")))


def test_every_claim_of_the_page_has_one_verdict(results: dict[str, Any]) -> None:
    judged = [v["claim"] for v in results["verdicts"]]
    wanted = {c.id for c in claims.of_analysis(SLUG) if c.kind not in claims.WITHOUT_VERDICT}
    assert len(judged) == len(set(judged))
    assert set(judged) == wanted
    assert all(v["reason"] for v in results["verdicts"])


def test_misprints_are_only_what_other_print_calls_a_slip(results: dict[str, Any]) -> None:
    mine = {c.id for c in claims.of_analysis(SLUG)}
    slips = {i for f in contradictions.run() for i in f.slip} & mine
    found = {v["claim"] for v in results["verdicts"] if v["verdict"] == "misprint"}
    assert found == slips
    assert {"ext-dalba-trm", "ext-dalba-sct-cr1"} <= found


def test_headline_numbers_are_those_of_r(results: dict[str, Any]) -> None:
    file = Path(__file__).parent / "golden" / "audit.json"
    cases = json.loads(file.read_text(encoding="utf8"))["cases"]
    r = {(c["estimator"], c["data"]): c["expected"] for c in cases}
    ours = {e["id"]: e for e in results["estimates"]}
    clusters = r["table", "Hartmann clusters 1 and 3"]
    assert ours["clusters-test"]["value"] == pytest.approx(clusters["exact_p"], rel=1e-6)
    clone = r["clone_sizes", "Coorens 2023"]
    reads = ours["clone-variant-reads"]
    assert (reads["ci_low"], reads["ci_high"]) == (clone["k_min"], clone["k_max"])


def test_a_cohort_is_read_and_not_used(tmp_path: Path) -> None:
    cohort = tmp_path / "mine.csv"
    rows = [f"secret-{i},{i % 9 + 1},{10 + i}.5,1" for i in range(12)]
    cohort.write_text("patient_id,age_years,os_months,os_event\n" + "\n".join(rows) + "\n")
    folder = run(SLUG, parameters={"cohort": str(cohort)}, out=tmp_path / "out")
    report = (folder / "report.html").read_text(encoding="utf8")
    assert "yours was read and not used" in report
    assert "secret-" not in report
    content = json.loads((folder / "results.json").read_text(encoding="utf8"))
    assert not [e for e in content["estimates"] if e["tier"] == "yours"]

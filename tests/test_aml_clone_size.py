"""The page on the clone that was seen before it emerged, run from beginning to end."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ballbook import claims, needs
from ballbook.cohort import InvalidCohort, read_cohort
from ballbook.parameters import InvalidParameters
from ballbook.run import run

SLUG = "aml-clone-size"
pytestmark = pytest.mark.slow


def results_of(out: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    results = json.loads((out / "results.json").read_text(encoding="utf8"))
    estimates = {e["id"]: e for e in results["estimates"]}
    return results, estimates, {v["claim"]: v for v in results["verdicts"]}


@pytest.fixture(scope="module")
def page(run_of: Callable[[str], Path]) -> Path:
    return run_of(SLUG)


SHARES = [0.0, 0.004, 0.05, 0.5]


def a_cohort(
    folder: Path, *, controls: int = 10, form: str = "csv", blind: int = 0, sites: int = 400
) -> Path:
    """Write samples of one patient in which the lineage makes up `SHARES` of the cells."""
    rng = np.random.default_rng(8)
    names = [f"secret-{i}" for i in range(len(SHARES))] + [f"donor-{i}" for i in range(controls)]
    v = np.array([*SHARES, *[0.0] * controls]) / 2
    depth = rng.poisson(110, (2 * sites, len(names)))
    alt = rng.binomial(depth, v * (1 - 2e-4) + (1 - v) * 2e-4)
    alt[sites:] = rng.binomial(depth[sites:], 0.5)  # inherited variants, not of the lineage
    depth[:blind, 0] = 0
    alt[:blind, 0] = 0
    place = folder / "mine"
    place.mkdir()
    pos = [1000 + 37 * i for i in range(2 * sites)]
    if form == "csv":
        rows = [
            {"chrom": "chr3", "pos": p, "ref": "C", "alt": "T", "sample": s,
             "alt_reads": alt[i, j], "depth": depth[i, j]}
            for i, p in enumerate(pos) for j, s in enumerate(names)
        ]  # fmt: skip
        pd.DataFrame(rows).to_csv(place / "variants.csv", index=False)
    else:
        head = "##fileformat=VCFv4.2\n##reference=GRCh38\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\t"
        lines = [head + "INFO\tFORMAT\t" + "\t".join(names)]
        for i, p in enumerate(pos):
            cells = [f"{d - a},{a}" if d else "." for a, d in zip(alt[i], depth[i], strict=True)]
            lines.append(f"chr3\t{p}\t.\tC\tT\t.\tPASS\t.\tAD\t" + "\t".join(cells))
        (place / "calls.vcf").write_text("\n".join(lines) + "\n", encoding="utf8")
    loci = pd.DataFrame({"chrom": "3", "pos": pos[:sites], "ref": "C", "alt": "T"})
    loci.to_csv(place / "sites.csv", index=False)
    samples = pd.DataFrame({"sample": names, "day": [40 * i for i in range(len(names))]})
    samples["control"] = [int(s.startswith("donor")) for s in names]
    samples.to_csv(place / "samples.csv", index=False)
    return place


# ------------------------------------------------------------------------------- printed numbers


def test_the_reads_come_from_p_alone_and_are_those_of_r(page: Path, golden: Any) -> None:
    _, estimates, _ = results_of(page)
    (r,) = (c for c in golden("clone_size")["binomial"] if c["k"] == 290)
    vaf = estimates["vaf-from-p"]
    assert (vaf["n_events"], vaf["n"]) == (290, 231_800)
    assert vaf["value"] == 290 / 231_800
    # R's case has 28 reads fewer.
    assert vaf["ci_low"] == pytest.approx(r["low"], rel=2e-4)
    assert vaf["ci_high"] == pytest.approx(r["high"], rel=2e-4)
    assert estimates["log10-p-r2"]["value"] == pytest.approx(r["log10"], abs=0.02)
    audit = {(c["estimator"], c["data"]): c["expected"] for c in golden("audit")["cases"]}
    fit = audit["clone_sizes", "Coorens 2023"]
    found = estimates["reads-variant"]
    assert (found["ci_low"], found["ci_high"]) == (fit["k_min"], fit["k_max"])
    assert estimates["reads-all"]["ci_low"] == pytest.approx(216_000, rel=0.003)
    assert estimates["reads-all"]["ci_high"] == pytest.approx(237_000, rel=0.003)


def test_cells_background_and_growth_by_hand(page: Path) -> None:
    _, e, _ = results_of(page)
    q, rate = 290 / 231_800, 1.6e-4
    assert e["cells"]["value"] == pytest.approx(2 * q)
    net = (q - rate) / (1 - 2 * rate)
    assert e["cells-net"]["value"] == pytest.approx(2 * net)
    assert e["background-share"]["value"] == pytest.approx(rate / q)
    months = 7 - 14 / 30.4375
    doubling = months * math.log(2) / math.log(0.23 / (2 * net))
    assert e["doubling-time"]["value"] == pytest.approx(doubling)
    earlier = pd.read_csv(page / "tables" / "earlier.csv")
    assert earlier["months"].tolist() == [0, 1, 3, 6, 18, 54]
    assert earlier["share"][2] == pytest.approx(2 * net * 2 ** (-3 / doubling))
    assert earlier["power"][0] == pytest.approx(1) and earlier["power"].is_monotonic_decreasing


def test_the_p_value_is_never_zero_and_its_model_is_doubted(page: Path) -> None:
    _, e, _ = results_of(page)
    k = round(231_800 * 0.115)
    want = stats.binom.logpmf(k, 231_800, 1.6e-4) / math.log(10)
    assert e["log10-p-mds-1"]["value"] == pytest.approx(want, abs=0.01)
    assert e["log10-p-mds-1"]["p_value"] is None
    spread = e["cv-needed-sample"]["value"]
    rho = spread**2 * 1.6e-4 / (1 - 1.6e-4)
    total = 1 / rho - 1
    tail = stats.betabinom.sf(289, 231_800, 1.6e-4 * total, (1 - 1.6e-4) * total)
    assert tail == pytest.approx(0.001, rel=0.05)
    alarms = pd.read_csv(page / "tables" / "false-alarms.csv")
    rng = np.random.default_rng(1)
    total = 1 / (0.25**2 * 1.6e-4) - 1
    drawn = rng.binomial(231_800, rng.beta(1.6e-4 * total, total, 200_000))
    row = alarms[alarms["spread"] == 0.25].iloc[0]
    critical = alarms["count"][0]
    assert (drawn >= critical).mean() == pytest.approx(row["level"], rel=0.05)
    assert (drawn >= row["count"]).mean() <= 0.0013


def test_the_design_is_what_it_says(page: Path) -> None:
    table = pd.read_csv(page / "tables" / "design.csv")
    assert table["sites"].tolist() == ["1", "10", "100", "1,000", "2,318"]
    assert table["d100"].iloc[-1] == "0.03%"
    curves = pd.read_csv(page / "figures" / "detection.csv")
    near = curves.iloc[(curves["reads"] - 231_800).abs().argmin()]
    cells = 500 * 1000 / 6.6
    rng = np.random.default_rng(2)
    clone = rng.poisson(cells * near["limit"], 100_000) / (2 * cells)
    reads = int(near["reads"])
    counts = rng.binomial(reads, clone + 1.6e-4 * (1 - 2 * clone))
    critical = stats.binom.isf(0.001, reads, 1.6e-4) + 1
    assert (counts >= critical).mean() == pytest.approx(0.95, abs=0.01)
    assert curves["limit"].min() >= -math.log(0.05) / cells * 0.99


def test_verdicts(page: Path) -> None:
    results, _, verdicts = results_of(page)
    words = {claim: v["verdict"] for claim, v in verdicts.items()}
    assert words == {
        "coo-vaf-r2": "reproduced", "coo-vaf-ci-typo-upper": "reproduced",
        "coo-vaf-ci-typo": "misprint", "coo-p-aml-zero": "misprint", "coo-p-r2": "not-testable",
        "coo-error-rate": "not-testable", "coo-sites": "not-testable",
        "coo-background-samples": "not-testable", "coo-mds-clone": "not-testable",
    }  # fmt: skip
    mine = {c.id for c in claims.of_analysis(SLUG) if c.kind not in claims.WITHOUT_VERDICT}
    assert set(words) == mine
    assert len(results["summary"].split()) <= 45 and len(results["certainty"].split()) <= 30
    assert {e["tier"] for e in results["estimates"]} == {"published"}


def test_other_choices_run_through_and_move_what_they_should(tmp_path: Path, page: Path) -> None:
    given = {"alpha": 0.01, "error_rate": 1e-5, "dna_ng": 20.0, "power": 0.8}
    out = run(SLUG, parameters=given, out=tmp_path / "out")
    _, usual, _ = results_of(page)
    _, e, _ = results_of(out)
    assert e["vaf-from-p"] == usual["vaf-from-p"]
    # A P value of 0.01 is reached with more variation than one of 0.001.
    assert e["cv-needed-sample"]["value"] > usual["cv-needed-sample"]["value"]
    assert (out / "tables" / "design.csv").read_text() != (page / "tables/design.csv").read_text()


# ------------------------------------------------------------------------------------ own samples


@pytest.mark.parametrize("form", ["csv", "vcf"])
def test_your_samples_are_sized_and_called(tmp_path: Path, form: str) -> None:
    out = run(SLUG, parameters={"cohort": str(a_cohort(tmp_path, form=form))}, out=tmp_path / "o")
    results, e, _ = results_of(out)
    assert "called in 3 of 4 samples" in results["summary"]
    assert len(results["summary"].split()) <= 45
    for i, share in enumerate(SHARES, start=1):
        own = e[f"own-cells-{i}"]
        assert own["tier"] == "yours" and own["ci_low"] <= share <= own["ci_high"] * 1.001
        assert (own["n"], own["n_events"]) == (None, None)
    assert e["own-log10-p-1"]["value"] > -3 and e["own-log10-p-2"]["value"] < -3
    assert e["own-first"]["value"] == e["own-cells-2"]["value"]
    table = pd.read_csv(out / "tables" / "own-samples.csv")
    assert table["at"].tolist() == ["sample 1", "sample 2", "sample 3", "sample 4"]
    assert table["sites"].tolist() == [400] * 4 and table["day"].tolist() == [0, 40, 80, 120]
    gates = {g["name"]: g["status"] for g in results["gates"] if "your cohort" in g["name"]}
    assert gates["your cohort: controls measure the background"] == "passed"
    assert gates["your cohort: every site was counted in every sample"] == "passed"
    for file in out.rglob("*.*"):
        if file.suffix in {".html", ".csv", ".json", ".ipynb", ".svg", ".txt"}:
            text = file.read_text(encoding="utf8")
            assert "secret-" not in text and "donor-" not in text, file.name
    assert "called" in (out / "report.html").read_text(encoding="utf8")


def test_sites_that_nobody_looked_at_are_said(tmp_path: Path) -> None:
    place = a_cohort(tmp_path, controls=0, blind=30)
    results, e, _ = results_of(run(SLUG, parameters={"cohort": str(place)}, out=tmp_path / "o"))
    gates = {g["name"]: g["status"] for g in results["gates"] if "your cohort" in g["name"]}
    assert gates["your cohort: every site was counted in every sample"] == "failed"
    assert gates["your cohort: controls measure the background"] == "failed"
    assert e["own-cells-4"]["value"] == pytest.approx(0.5, abs=0.03)


def test_a_cohort_without_reads_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("patient_id,age\nP1,4\nP2,5\n", encoding="utf8")
    assert not needs.fit(read_cohort(path), SLUG).accepted
    with pytest.raises(InvalidCohort, match="a table variants"):
        run(SLUG, parameters={"cohort": str(path)}, out=tmp_path / "o")


def test_a_broken_vcf_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    place = a_cohort(tmp_path, form="vcf", sites=20)
    text = (place / "calls.vcf").read_text(encoding="utf8")
    (place / "calls.vcf").write_text(text.replace("\tAD\t", "\tGT\t"), encoding="utf8")
    with pytest.raises(InvalidCohort, match=r"calls\.vcf, row 4, column FORMAT: found 'GT'"):
        run(SLUG, parameters={"cohort": str(place)}, out=tmp_path / "o")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "wrong", [{"alpha": 0.0}, {"power": 1.0}, {"error_rate": -1.0}, {"dna_ng": 0.0}]
)
def test_a_parameter_out_of_range_is_refused(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidParameters, match=next(iter(wrong))):
        run(SLUG, parameters=wrong, out=tmp_path / "o")

"""Dummy cohorts: drawn to the declared margins, labelled, and never a verdict on the disease."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result
from conftest import FAST

from ballbook import catalog, claims, datasets, dummy, ledger, needs, paths, run, templates
from ballbook.cli import main
from ballbook.cohort import InvalidCohort, read_cohort
from ballbook.notebook import Page
from ballbook.results import Estimate
from ballbook.survival import kaplan_meier

SLUGS = sorted(needs.declared())
LARGE = 5_000
# Half a minute each, for rules that other pages with expression show as well; `BALLBOOK_PAGES=all`
# runs them too.
SLOW_PAGES = {
    "bcell-development-map", "cebpa-regulon", "expression-map", "mrd-clearance",
    "resistance-signature", "state-deconvolution",
}  # fmt: skip
ALL_PAGES = os.environ.get("BALLBOOK_PAGES") == "all"


def ballbook(*args: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args])


def genes_at_hand(slug: str) -> bool:
    try:
        dummy.expression(slug, 2, 1)
    except catalog.Unavailable:
        return False
    return True


def leaves(spec: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(spec, dict):
        for key, inner in spec.items():
            yield from leaves(inner, (*path, str(key)))
    elif isinstance(spec, list):
        for inner in spec:
            yield from leaves(inner, path)
    else:
        yield path, spec


# -------------------------------------------------------------------------------- the margins


@pytest.mark.parametrize("slug", SLUGS)
def test_drawn_margins_agree_with_the_declared_ones(slug: str) -> None:
    columns = dummy.columns_of(slug)
    found = dummy.margins(slug, columns)
    assert found
    given = {c for margin in found for c, _ in margin.given}
    frame = dummy.patients(slug, [*columns, *sorted(given - set(columns))], LARGE, 7)
    for margin in found:
        value, error = margin.drawn(frame)
        told = f"{margin.column} {margin.given} {margin.words}: {value:.4f}, not {margin.expected}"
        # Some 30 margins: one in 500 such tests would fail by chance at 4 standard errors.
        assert abs(value - margin.expected) <= 4 * error + 1e-9, told


def test_a_wrong_margin_would_be_seen() -> None:
    frame = dummy.patients("ikzf1-outcome", ["ikzf1", "efs_months", "efs_event"], LARGE, 7)
    frame.loc[frame.index[:300], "ikzf1"] = "del"
    found = dummy.margins("ikzf1-outcome", ["ikzf1"])
    assert any(abs(m.drawn(frame)[0] - m.expected) > 4 * m.drawn(frame)[1] for m in found)


def test_ikzf1_share_and_survival_are_the_printed_ones() -> None:
    """The same as the margins say, from the files themselves."""
    frame = dummy.patients("ikzf1-outcome", ["ikzf1", "efs_months", "efs_event"], 20_000, 3)
    share = claims.read()["dfc-ikzf1-share"].value
    assert share is not None
    assert (frame["ikzf1"] == "del").mean() == pytest.approx(share, abs=0.011)
    arms = datasets.published("ikzf1_arms").query("study == 'dfci-05-001'").set_index("arm")
    for arm in ("del", "wt"):
        mine = frame[frame["ikzf1"] == arm]
        curve = kaplan_meier(mine["efs_months"].astype(float), mine["efs_event"].astype(int))
        printed = float(arms.loc[arm, "estimate_pct"]) / 100
        assert curve.at(60).value == pytest.approx(printed, abs=0.035 if arm == "del" else 0.012)
    assert set(frame["efs_event"]) == {"0", "1"}


def test_partners_and_the_survival_after_a_switch_are_the_printed_ones() -> None:
    known = claims.read()
    frame = dummy.patients("mrd-decision-tree", ["fusion_partner", "clearance"], 20_000, 3)
    names = {"AFF1": 221, "MLLT1": 43, "MLLT3": 28, "MLLT10": 14}
    for partner, printed in names.items():
        assert known[f"har-fusion-{partner.lower()}"].value == printed
        share = (frame["fusion_partner"] == partner).mean()
        assert share == pytest.approx(printed / sum(names.values()), abs=0.014)
    columns = ["os_after_switch_months", "os_after_switch_event", "subtype"]
    frame = dummy.patients("lineage-switch-survival", columns, 20_000, 3)
    curve = kaplan_meier(frame[columns[0]].astype(float), frame[columns[1]].astype(int))
    assert curve.median().value == pytest.approx(known["ext-silbert-os"].value, abs=0.25)
    share = known["ext-silbert-kmt2a"].value
    assert (frame["subtype"] == "KMT2A-r").mean() == pytest.approx(share, abs=0.015)


def test_every_number_is_a_claim_a_cell_or_called_invented() -> None:
    raw = yaml.safe_load((paths.data() / "dictionaries/dummy.yml").read_text("utf8"))
    shape = {"low", "high", "decimals", "others"}  # bounds and sizes, not margins
    sourced = 0
    for path, value in leaves(raw):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            assert path[-1] == "invented" or path[-1] in shape, path
        if path[-1] == "claim":
            sourced += 1
            assert claims.read()[value].value is not None, path
    assert sourced >= 15
    assert set(raw) - {"usual"} <= set(needs.declared())


def test_a_wrong_source_is_named() -> None:
    with pytest.raises(dummy.InvalidDummy, match="no-such-claim"):
        dummy.number({"claim": "no-such-claim"})
    with pytest.raises(dummy.InvalidDummy, match="expected one"):
        leaf = {"published": "ikzf1_arms", "where": {"arm": "del"}, "column": "estimate_pct"}
        dummy.number(leaf)


# ---------------------------------------------------------------------------------- the files


@pytest.mark.parametrize("slug", SLUGS)
def test_a_dummy_passes_its_own_check(tmp_path: Path, slug: str) -> None:
    if dummy.has_expression(slug) and not genes_at_hand(slug):
        pytest.skip("needs the genes of the score")
    done = ballbook("dummy", slug, "--n", 40, "--out", tmp_path / "d")
    assert done.exit_code == 0, done.stderr
    checked = json.loads(ballbook("check", slug, "--cohort", tmp_path / "d", "--json").stdout)
    assert checked["accepted"] and checked["patients"] == 40
    assert checked["errors"] == checked["warnings"] == []
    cohort = read_cohort(tmp_path / "d")
    assert cohort.tier == "simulated" and cohort.title == "Dummy cohort"
    assert cohort.patients["patient_id"].iloc[0] == "DUMMY-0001"
    text = (tmp_path / "d" / "README.md").read_text("utf8")
    assert "These 40 patients are invented" in text
    assert f"ballbook dummy {slug} --n 40 --seed 1" in text
    assert "method-check" in ballbook("check", slug, "--cohort", tmp_path / "d").stdout


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    def files(name: str, seed: int) -> dict[str, bytes]:
        dummy.write("mrd-decision-tree", tmp_path / name, n=30, seed=seed)
        return {f.name: f.read_bytes() for f in (tmp_path / name).iterdir()}

    first, again, other = files("a", 1), files("b", 1), files("c", 2)
    assert first == again
    assert first["patients.csv"] != other["patients.csv"]


def test_one_more_column_leaves_the_others_as_they_were() -> None:
    few = dummy.patients("ikzf1-outcome", ["sex", "ikzf1"], 50, 1)
    more = dummy.patients("ikzf1-outcome", ["ikzf1", "protocol", "erg", "sex"], 50, 1)
    pd.testing.assert_frame_equal(few, more[list(few)])
    assert set(more["erg"]) == {"del", "wt"}  # declared nowhere: drawn by its type


@pytest.mark.parametrize(("n", "seed"), [(0, 1), (-3, 1), (100_001, 1), (5, -1)])
def test_absurd_sizes_are_refused(tmp_path: Path, n: int, seed: int) -> None:
    out = tmp_path / "d"
    done = ballbook("dummy", "ikzf1-outcome", "--n", n, "--seed", seed, "--out", out)
    assert done.exit_code == 2 and "expected" in done.stderr
    assert "1 to 100,000" in done.stderr or "0 or more" in done.stderr
    assert not out.exists()


def test_an_analysis_without_a_cohort_and_a_full_folder_are_refused(tmp_path: Path) -> None:
    done = ballbook("dummy", "printed-numbers", "--out", tmp_path / "d")
    assert done.exit_code == 2 and "takes no cohort" in done.stderr
    done = ballbook("dummy", "no-such", "--out", tmp_path / "d")
    assert done.exit_code == 2
    (tmp_path / "precious").write_text("mine")
    done = ballbook("dummy", "ikzf1-outcome", "--out", tmp_path)
    assert done.exit_code == 2 and "not an empty folder" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["precious"]


def test_the_template_is_a_small_dummy(tmp_path: Path) -> None:
    templates.write("ikzf1-outcome", tmp_path)
    cohort = read_cohort(tmp_path)
    assert cohort.tier == "simulated" and cohort.n == templates.N


def test_dummies_among_patients_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    path.write_text("patient_id,age\nDUMMY-0001,4\nP2,5\n", encoding="utf8")
    with pytest.raises(InvalidCohort, match="dummy patients alone") as caught:
        read_cohort(path)
    assert "delete the rows" in str(caught.value)
    path.write_text("patient_id,age\nP1,4\nP2,5\n", encoding="utf8")
    assert read_cohort(path).tier == "yours"


def test_expression_makes_scores_that_vary(shared_data: Path) -> None:
    from ballbook import maturity
    from ballbook.genesets import GeneSet

    stages = datasets.load("allcatchr-stages")
    sets = {name: GeneSet(*genes) for name, genes in stages.sets.items()}
    reference = maturity.StageReference(sets, stages.background, stages.cds_length)
    counts = dummy.expression("maturity-age", 120, 1)
    found = maturity.maturity(counts, "counts", reference)["maturity"]
    drawn = dummy.patients("maturity-age", ["maturity"], 120, 1)["maturity"].astype(float)
    assert found.notna().all() and found.std() > 0.05
    assert np.corrcoef(found, drawn)[0, 1] > 0.7


# ---------------------------------------------------------------------------------- the label


@pytest.fixture
def page(tmp_path: Path) -> Page:
    from ballbook.analyses import find

    dummy.write("ikzf1-outcome", tmp_path / "d", n=50)
    analysis = find("ikzf1-outcome")
    values = {p.name: p.default for p in analysis.parameters}
    values |= {"cohort": str(tmp_path / "d")}
    return Page(analysis.meta, analysis.parameters, values, tmp_path / "out")


def test_an_own_estimate_of_a_dummy_only_checks_the_method(page: Page) -> None:
    far = Estimate("hazard-ratio", 50.0, 20.0, 90.0, n=50, n_events=20)
    kept = page.record(far, id="own-hr", label="Your cohort", tier="yours")
    assert kept.tier == "simulated"
    assert page.judge("sri-efs-hr", "own-hr").verdict == "method-check"
    # The book's own verdict on the claim still has its place.
    page.record(far, id="book-hr", label="Open", tier="open")
    assert page.judge("sri-efs-hr", "book-hr").verdict == "differs"
    with pytest.raises(ValueError, match="already"):
        page.judge("sri-efs-hr", "own-hr")


def test_small_counts_of_a_dummy_are_withheld_as_a_readers_are(page: Page) -> None:
    few = Estimate("proportion", 0.1, 0.0, 0.3, n=20, n_events=2)
    kept = page.record(few, id="own-share", label="Your cohort", tier="yours")
    assert kept.value is None and "withheld" in str(kept.reason)


def test_the_ledger_takes_no_verdict_from_a_dummy() -> None:
    def verdict(claim: str, word: str, tier: str) -> dict[str, str]:
        return {"claim": claim, "verdict": word, "tier": tier}

    own, open_ = verdict("a", "method-check", "simulated"), verdict("a", "consistent", "open")
    method = verdict("b", "method-check", "simulated")
    results = {
        "parameters": {"cohort": "(yours)"},
        "cohort": {"tier": "simulated"},
        "verdicts": [own, open_, method],
    }
    assert ledger.verdicts_of_book(results) == [open_, method]
    results["parameters"] = {"cohort": ""}
    assert ledger.verdicts_of_book(results) == [own, open_, method]


@pytest.mark.slow
@pytest.mark.parametrize("slug", [s for s in SLUGS if ALL_PAGES or s not in SLOW_PAGES])
def test_a_run_on_a_dummy_is_labelled_and_judges_nothing(
    shared_data: Path, tmp_path: Path, slug: str
) -> None:
    dummy.write(slug, tmp_path / "d", n=150)
    given: dict[str, Any] = {"cohort": str(tmp_path / "d"), **FAST.get(slug, {})}
    folder = run.run(slug, parameters=given, out=tmp_path / "run")
    results = json.loads((folder / "results.json").read_text("utf8"))
    own = [e for e in results["estimates"] if e["id"].startswith("own-")]
    assert own and {e["tier"] for e in own} == {"simulated"}
    assert any(e["value"] is not None for e in own)
    assert "yours" not in {v["tier"] for v in results["verdicts"]}
    told = {e["label"] for e in own}
    for v in results["verdicts"]:
        if any(v["recomputed"].startswith(label) for label in told):
            assert v["verdict"] in {"method-check", "not-testable"}, v
    assert results["summary"].startswith("Dummy data: method-check only.")
    assert results["cohort"]["tier"] == "simulated"
    html = (folder / "report.html").read_text("utf8")
    box = html.index('class="bb-answer"')
    assert 0 < box - html.index('bb-dummy"') < 600  # right above the answer
    assert not re.search(r"DUMMY-\d", html)

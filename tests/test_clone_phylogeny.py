"""The page on family trees of clones, run from beginning to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ballbook.parameters import InvalidParameters
from ballbook.phylogeny import reconstruct
from ballbook.run import run
from ballbook.simulated_tumours import SimulatedTumour, accuracy, panel, simulate_tumour

SLUG = "clone-phylogeny"
ONE = {"n_tumours": 1, "shown_tumour": 1}
pytestmark = pytest.mark.slow


def results_of(out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    results = json.loads((out / "results.json").read_text(encoding="utf8"))
    return results, {e["id"]: e for e in results["estimates"]}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(
        SLUG,
        parameters={"n_tumours": 6, "shown_tumour": 5},
        out=tmp_path_factory.mktemp("p") / "out",
    )


def a_patient(folder: Path, *, sites: int = 300) -> tuple[Path, SimulatedTumour]:
    """Write reads of a simulated tumour; its samples come late first, with somebody else's."""
    tumour = simulate_tumour(11, clones=4, samples=4, sites=sites, depth=120, artefacts=10)
    rows, samples = len(tumour.alt), [f"secret-{j}" for j in range(4)]
    place = folder / "patient"
    place.mkdir()
    table = pd.DataFrame(
        {
            "chrom": "chr1",
            "pos": np.repeat(1000 + 10 * np.arange(rows), 5),
            "ref": "A",
            "alt": "T",
            "sample": [*samples, "other"] * rows,
            "alt_reads": np.hstack([tumour.alt, np.zeros((rows, 1), int)]).ravel(),
            "depth": np.hstack([tumour.depth, np.full((rows, 1), 90)]).ravel(),
            "copy_number": np.hstack([tumour.copy_number, np.full((rows, 1), 2)]).ravel(),
        }
    )
    table.to_csv(place / "variants.csv", index=False)
    pd.DataFrame(
        {
            "sample": [*samples, "other"],
            "day": [300, 200, 100, 0, ""],
            "control": [0, 0, 0, 0, 1],
            "purity": [*tumour.purity.round(4), ""],
        }
    ).to_csv(place / "samples.csv", index=False)
    return place, tumour


def test_printed_sizes(page: Path) -> None:
    """By hand: 20% and 75% fit beside or inside each other; 75% not inside 20%."""
    results, estimates = results_of(page)
    assert estimates["printed-trees"]["value"] == 2
    assert estimates["printed-together"]["value"] == pytest.approx(0.95)
    assert estimates["printed-room"]["value"] == pytest.approx(0.125)
    table = pd.read_csv(page / "tables" / "printed-arrangements.csv")
    assert table["d"].tolist() == ["fits", "impossible", "fits"]
    verdicts = {v["claim"]: v["verdict"] for v in results["verdicts"]}
    assert verdicts == dict.fromkeys(
        ["coo-clone-major-d", "coo-clone-major-i", "coo-clone-minor-d"], "not-testable"
    )


def test_accuracy_is_that_of_the_chain(page: Path) -> None:
    _, estimates = results_of(page)
    right = held = possible = kept = told = 0
    for tumour in panel(20260219)[:6]:
        f = reconstruct(
            tumour.alt, tumour.depth, copy_number=tumour.copy_number, purity=tumour.purity,
            most_clusters=20, limit=5000, seed=20260219,
        )  # fmt: skip
        a = accuracy(tumour, f.used, f.mixture.labels, f.mixture.fraction, f.trees, f.clones)
        right, held, possible = right + a.right, held + a.relations, possible + a.possible
        kept, told = kept + bool(a.kept_true), told + (a.kept_true is not None)
    e = estimates["relations-right"]
    assert (e["n_events"], e["n"], e["tier"]) == (right, held, "simulated")
    assert e["ci_low"] == pytest.approx(stats.binomtest(right, held).proportion_ci().low)
    assert (estimates["relations-found"]["n_events"], estimates["relations-found"]["n"]) == (
        right, possible,
    )  # fmt: skip
    assert (estimates["true-tree-kept"]["n_events"], estimates["true-tree-kept"]["n"]) == (
        kept, told,
    )  # fmt: skip
    assert right == held


def test_own_reads(tmp_path: Path) -> None:
    place, tumour = a_patient(tmp_path)
    out = run(SLUG, parameters=ONE | {"cohort": str(place)}, out=tmp_path / "out")
    results, estimates = results_of(out)
    back = slice(None, None, -1)
    f = reconstruct(
        tumour.alt[:, back], tumour.depth[:, back], copy_number=tumour.copy_number,
        purity=tumour.purity.round(4)[back], seed=20260219,
    )  # fmt: skip
    assert estimates["own-clone-count"]["value"] == len(f.clones)
    assert estimates["own-tree-count"]["value"] == len(f.trees)
    assert estimates["own-clone-count"]["tier"] == "yours"
    shares = pd.read_csv(out / "tables" / "own-clones.csv")
    first = [float(s.split("%")[0]) for s in shares["sample 1"]]
    np.testing.assert_allclose(first, 100 * f.fraction[:, 0], atol=0.51)
    told = (out / "results.json").read_text() + (out / "report.html").read_text()
    assert "secret-" not in told
    assert results["summary"].startswith("Your cohort: ")


def test_own_reads_that_are_all_inherited(tmp_path: Path) -> None:
    rows = range(30)
    table = pd.DataFrame(
        {
            "chrom": "chr2", "pos": [100 + i for i in rows], "ref": "C", "alt": "G",
            "sample": "S1", "alt_reads": [50 + i % 3 for i in rows], "depth": 100,
        }
    )  # fmt: skip
    table.to_csv(tmp_path / "variants.csv", index=False)
    given = {"cohort": str(tmp_path / "variants.csv")}
    out = run(SLUG, parameters=ONE | given, out=tmp_path / "out")
    _, estimates = results_of(out)
    assert not any(id.startswith("own-") for id in estimates)
    assert "no site is left" in (out / "report.html").read_text(encoding="utf8")


@pytest.mark.parametrize("value", [{"n_tumours": 0}, {"slack": 0.5}, {"level": 1.0}])
def test_a_parameter_out_of_range(value: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InvalidParameters):
        run(SLUG, parameters=value, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()

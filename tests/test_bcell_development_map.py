"""The page on the map of B-cell development, run from beginning to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from cell_stand_in import small_reference
from scipy import stats
from sklearn.neighbors import KNeighborsClassifier

from ballbook import cell_states, datasets, map_checks
from ballbook.cohort import InvalidCohort
from ballbook.parameters import InvalidParameters
from ballbook.run import run

SLUG = "bcell-development-map"


def results_of(out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    results = json.loads((out / "results.json").read_text(encoding="utf8"))
    return results, {e["id"]: e for e in results["estimates"]}


@pytest.fixture(scope="module")
def marrow() -> anndata.AnnData:
    from conftest import shared_folder

    if shared_folder() is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    return datasets.load("triana-marrow").data


@pytest.fixture(scope="module")
def own(marrow: anndata.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a reader's cells: the donors of the marrow, 300 of its genes, with foreign cells."""
    rng = np.random.default_rng(4)
    genes = marrow.var_names[rng.permutation(marrow.n_vars)[:300]]
    some = marrow[marrow.obs["state"].notna().to_numpy(), genes][::9].copy()
    strange = some[:150].copy()
    # Cells of nothing known: the counts of each gene stand at another gene.
    strange.X = strange.X[:, rng.permutation(strange.n_vars)]
    strange.obs_names = [f"s{i}" for i in range(150)]
    some.obs["label"] = some.obs["state"].astype(str)
    strange.obs["label"] = None
    made = anndata.concat([some, strange])
    made.obs["donor"] = ["secret-" + str(d) for d in made.obs["donor"]]
    path = tmp_path_factory.mktemp("own") / "cells.h5ad"
    anndata.AnnData(made.X, obs=made.obs[["donor", "label"]], var=made.var[[]]).write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def page(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("map") / "out"
    return run(SLUG, parameters={"cohort": str(own)}, out=out)


@pytest.mark.slow
def test_accuracy_is_that_of_an_independent_calculation(
    page: Path, marrow: anndata.AnnData
) -> None:
    _, e = results_of(page)
    kept = marrow[marrow.obs["state"].notna().to_numpy()]
    x = kept.X.toarray().astype(float)
    keep = (x.sum(axis=1) >= 100) & ((x > 0).sum(axis=1) >= 20)
    x, truth = x[keep], kept.obs["state"].astype(str).to_numpy()[keep]
    donors = kept.obs["donor"].astype(str).to_numpy()[keep]
    called = np.empty(len(truth), dtype=object)
    for name in np.unique(donors):
        of = donors == name
        depth = np.median(x[~of].sum(axis=1))
        y = np.log1p(x / x.sum(axis=1, keepdims=True) * depth)
        z = np.minimum((y - y[~of].mean(axis=0)) / np.maximum(y[~of].std(axis=0), 0.02), 10)
        _, _, axes = np.linalg.svd(z[~of] - z[~of].mean(axis=0), full_matrices=False)
        points = z @ axes[:30].T
        voted = KNeighborsClassifier(15).fit(points[~of], truth[~of])
        called[of] = voted.predict(points[of])
    assert e["held-out-accuracy"]["value"] == pytest.approx((called == truth).mean(), abs=0.002)
    young = np.isin(truth, cell_states.B_LINEAGE[:-1])
    assert e["held-out-precursors"]["value"] == pytest.approx(
        (called == truth)[young].mean(), abs=0.012
    )
    assert e["held-out-accuracy"]["n"] == len(truth)
    assert 0.9 < e["held-out-accuracy"]["ci_low"] < e["held-out-accuracy"]["ci_high"] < 1


@pytest.mark.slow
def test_the_order_holds_and_its_weak_place_is_told(page: Path) -> None:
    results, e = results_of(page)
    table = pd.read_csv(page / "tables" / "order.csv")
    z = np.arctanh(table["value"])
    assert e["pseudotime-states"]["value"] == pytest.approx(np.tanh(z.mean()))
    assert e["pseudotime-states"]["p_value"] == pytest.approx(stats.ttest_1samp(z, 0).pvalue)
    assert e["pseudotime-states-30"]["ci_low"] > 0.4
    assert e["pseudotime-markers"]["value"] > 0.8
    verdicts = {v["claim"]: v["verdict"] for v in results["verdicts"]}
    assert verdicts == {
        "iac-atlas-order": "consistent", "iac-heterogeneity-states": "not-testable"
    }  # fmt: skip
    held = int((table["value"] > 0).sum())
    assert f"in {held} of 6" in results["summary"]


@pytest.mark.slow
def test_foreign_lineages_are_noticed_and_neighbours_are_not(page: Path) -> None:
    _, e = results_of(page)
    assert e["left-out-t-and-nk"]["value"] > 0.9
    assert e["left-out-hsc-mpp"]["value"] < 0.1
    assert e["held-out-off-map"]["value"] < 0.05
    assert e["proteins-held-out-precursors"]["value"] < e["held-out-precursors"]["value"]


@pytest.mark.slow
def test_own_cells_are_placed_and_none_is_shown(page: Path, own: Path) -> None:
    results, e = results_of(page)
    assert e["own-labels"]["tier"] == "yours" and e["own-labels"]["value"] > 0.95
    # A quarter of strange cells and about a twentieth of the others.
    share = 150 / anndata.read_h5ad(own).n_obs
    assert e["own-off-map"]["value"] > 0.6 * share
    assert e["shared-genes-accuracy"]["value"] < e["held-out-accuracy"]["value"] + 0.002
    assert "Of your cells" in results["summary"]
    samples = pd.read_csv(page / "tables" / "own-samples.csv", dtype=str)
    assert samples["row"].tolist() == [f"sample {i + 1}" for i in range(6)]
    written = samples.drop(columns=["row", "size"]).stack()
    assert written.str.fullmatch(r"\d+%").all() and not (written == "0%").any()
    assert e["own-t-and-nk"]["df"] is None and "across samples" in e["own-t-and-nk"]["method"]
    told = "".join(
        f.read_text(encoding="utf8")
        for f in page.rglob("*")
        if f.suffix in {".csv", ".html", ".json"}
    )
    assert "secret-" not in told and "s149" not in told
    assert (page / "methods.txt").read_text(encoding="utf8").count(
        "reference of normal marrow"
    ) == 1


@pytest.mark.slow
def test_too_few_genes_are_said_and_nothing_is_shown(
    marrow: anndata.AnnData, tmp_path: Path
) -> None:
    few = marrow[:60, ["CD34", "MS4A1", "DNTT", "CD19", "HBB", "LYZ", "CD3D", "NKG7"]].copy()
    anndata.AnnData(few.X, obs=few.obs[["donor"]], var=few.var[[]]).write_h5ad(
        tmp_path / "cells.h5ad"
    )
    out = run(SLUG, parameters={"cohort": str(tmp_path / "cells.h5ad")}, out=tmp_path / "o")
    results, e = results_of(out)
    assert not [i for i in e if i.startswith("own-")]
    assert any(g["name"] == "genes of your cohort" and g["status"] == "failed"
               for g in results["gates"])  # fmt: skip


def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameters, match="neighbours"):
        run(SLUG, parameters={"neighbours": 2}, out=tmp_path / "o")
    (tmp_path / "mine.csv").write_text("patient_id,age_years\na,12\nb,30\n")
    with pytest.raises(InvalidCohort, match="single cells"):
        run(SLUG, parameters={"cohort": str(tmp_path / "mine.csv")}, out=tmp_path / "o")


# ------------------------------------------------------------------------------------- the checks


def test_calibration_compares_confidence_with_what_is_right() -> None:
    found = pd.DataFrame(
        {
            "confidence": [0.6] * 10 + [1.0] * 10, "label": ["a"] * 20,
            "truth": ["a"] * 6 + ["b"] * 4 + ["a"] * 10, "donor": ["x", "y"] * 10,
        }
    )  # fmt: skip
    table = map_checks.calibration(found)
    assert table["n"].tolist() == [10, 10] and table["value"].tolist() == [0.6, 1.0]
    assert map_checks.calibration_error(table) == pytest.approx(0)
    found["confidence"] = [0.8] * 10 + [1.0] * 10
    assert map_checks.calibration_error(map_checks.calibration(found)) == pytest.approx(0.1)


def test_several_pseudotimes_are_taken_from_one_map() -> None:
    made = small_reference(n=300)
    made.obs["state"] = made.obs["state"].astype(object)

    def first(points: Any, words: Any) -> Any:
        return points[:, 0].astype(float)

    settings = {"components": 4, "neighbours": 5}
    both = map_checks.held_out_donors(
        made, pseudotime={"pseudotime": first, "other": lambda x, w: 2 - first(x, w)}, **settings
    )
    one = map_checks.held_out_donors(made, pseudotime=first, **settings)
    none = map_checks.held_out_donors(made, **settings)
    assert one["pseudotime"].notna().all() and none["pseudotime"].isna().all()
    np.testing.assert_allclose(both["other"], 2 - one["pseudotime"])
    pd.testing.assert_frame_equal(both.drop(columns="other"), one)
    pd.testing.assert_frame_equal(one.drop(columns="pseudotime"), none.drop(columns="pseudotime"))


def test_integration_takes_away_what_donors_differ_in() -> None:
    rng = np.random.default_rng(1)
    donors = np.repeat(["x", "y"], 100)
    x = rng.normal(size=(200, 6)) + 3 * (donors == "y")[:, None]
    np.testing.assert_array_equal(map_checks.integrated(x, donors, "none"), x)
    for method in ("centred", "combat"):
        y = map_checks.integrated(x, donors, method)  # type: ignore[arg-type]
        gap = np.abs(y[:100].mean(axis=0) - y[100:].mean(axis=0))
        assert gap.max() < 0.3, method  # of 3 before
        assert y.mean() == pytest.approx(x.mean(), abs=0.02)
    with pytest.raises(ValueError, match="centred or combat"):
        map_checks.integrated(x, donors, "wish")  # type: ignore[arg-type]


def test_neighbours_of_other_donors_vote() -> None:
    rng = np.random.default_rng(2)
    labels = np.tile(["a", "b"], 60)
    donors = np.repeat(["x", "y", "z"], 40)
    x = rng.normal(size=(120, 4)) + 6 * (labels == "b")[:, None]
    assert (map_checks.neighbours_by_donor(x, labels, donors, 2, 5) == labels).all()
    # What only one donor has can be found by no other.
    labels = np.where((donors == "z") & (labels == "b"), "c", labels)
    found = map_checks.neighbours_by_donor(x, labels, donors, 2, 5)
    assert not (found[donors == "z"] == "c").any()

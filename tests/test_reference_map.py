"""The reference map: known cells are found, each cell alone, the same on every machine."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from ballbook import reference_map
from ballbook.clustered_proportion import clustered_proportion

STATES = ["HSC/MPP", "Pro-B", "Mature B", "Myeloid"]


def made_up(n: int = 90, donors: int = 3, seed: int = 0, depth: float = 300) -> anndata.AnnData:
    """Return cells of four states and several donors, 40 genes, counts of Poisson."""
    rng = np.random.default_rng(seed)
    rate = np.random.default_rng(99).gamma(1.0, 1.0, (len(STATES), 40))
    code = np.repeat(np.arange(len(STATES)), n)
    names = np.array([f"d{i % donors}" for i in range(len(code))])
    share = rate[code] / rate[code].sum(axis=1, keepdims=True)
    size = depth * rng.lognormal(0, 0.3, (len(code), 1))
    return anndata.AnnData(
        scipy.sparse.csr_matrix(rng.poisson(share * size).astype(np.float32)),
        obs=pd.DataFrame(
            {"donor": names, "state": np.array(STATES)[code]},
            index=[f"c{i}" for i in range(len(code))],
        ),
        var=pd.DataFrame(index=[f"G{i}" for i in range(40)]),
    )


@pytest.fixture(scope="module")
def cells() -> anndata.AnnData:
    return made_up()


@pytest.fixture(scope="module")
def reference(cells: anndata.AnnData) -> reference_map.Reference:
    return reference_map.build(cells, components=6)


def test_new_cells_get_their_state(reference: reference_map.Reference) -> None:
    new = made_up(seed=1)
    found = reference.map(new)
    assert list(found.columns) == ["label", "confidence", "off_map", "pseudotime", "typicality"]
    assert list(found.index) == list(new.obs_names)
    assert (found["label"].astype(str) == new.obs["state"]).mean() > 0.97
    assert found["off_map"].mean() < 0.1 and found["pseudotime"].isna().all()
    assert found["confidence"].between(0, 1).all()


def test_coordinates_are_those_of_a_plain_calculation(
    cells: anndata.AnnData, reference: reference_map.Reference
) -> None:
    x = cells.X.toarray().astype(float)
    total = x.sum(axis=1, keepdims=True)
    y = np.log1p(x / total * np.median(total))
    z = np.minimum((y - y.mean(axis=0)) / y.std(axis=0), 10)
    u, s, _ = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)
    ours = reference.points.astype(float)
    ours = ours - ours.mean(axis=0)
    np.testing.assert_allclose(np.abs(ours), np.abs(u[:, :6] * s[:6]), atol=2e-4)
    assert np.linalg.norm(reference.loadings, axis=0) == pytest.approx(1)
    assert reference.depth == np.median(total)


def test_a_cell_is_placed_alone_as_in_company(reference: reference_map.Reference) -> None:
    new = made_up(seed=2)
    whole = reference.map(new)
    parts = pd.concat([reference.map(new[i : i + 50]) for i in range(0, new.n_obs, 50)])
    pd.testing.assert_frame_equal(whole, parts)
    pd.testing.assert_frame_equal(whole.iloc[[7]], reference.map(new[[7]]))
    turned = new[:, new.var_names[::-1]].copy()
    turned.X = turned.X.toarray()
    pd.testing.assert_frame_equal(whole, reference.map(turned))


def test_depth_alone_does_not_move_a_cell(reference: reference_map.Reference) -> None:
    new = made_up(seed=3)
    deep = new.copy()
    deep.X = deep.X * 7
    np.testing.assert_allclose(reference.project(new), reference.project(deep), atol=1e-4)


def test_typicality_is_a_rank_among_other_donors(
    cells: anndata.AnnData, reference: reference_map.Reference
) -> None:
    donors = cells.obs["donor"].to_numpy()
    points = reference.points.astype(float)
    i = 5
    other = donors != donors[i]
    apart = np.sort(np.sqrt(((points[other] - points[i]) ** 2).sum(axis=1)))[:15].mean()
    found = reference_map.to_other_donors(reference.points, donors, 15)
    assert found[i] == pytest.approx(apart, rel=1e-5)
    of = reference.states.index(cells.obs["state"].iloc[i])
    known = reference.typical[of]
    mean = np.median(known)
    near = np.argsort(((points - points[i]) ** 2).sum(axis=1))[:15][None]
    placed = reference.place(near, np.full((1, 15), mean))
    if reference.code[near[0]].tolist().count(of) > 7:
        assert placed["typicality"].iloc[0] == pytest.approx(
            (1 + (known >= mean).sum()) / (1 + len(known))
        )


def test_false_alarms_keep_their_promise() -> None:
    reference = reference_map.build(made_up(n=300, donors=5, seed=4), components=6, alpha=0.1)
    share = np.mean([reference.map(made_up(seed=s))["off_map"].mean() for s in range(5, 9)])
    assert 0.05 < share < 0.14


def test_cells_of_a_state_left_out_are_off_the_map() -> None:
    cells = made_up(seed=10)
    without = reference_map.build(cells[cells.obs["state"] != "Myeloid"], components=6)
    new = made_up(seed=11)
    off = without.map(new)["off_map"]
    foreign = (new.obs["state"] == "Myeloid").to_numpy()
    assert off[foreign].mean() > 0.9 and off[~foreign].mean() < 0.1


def test_equal_shares_go_to_the_nearer_label() -> None:
    reference = reference_map.build(made_up(), components=4, neighbours=4)
    a, b = (np.flatnonzero(reference.code == s)[:2] for s in (0, 2))
    placed = reference.place(np.array([[*b, *a], [*a, *b]]), np.ones((2, 4)))
    assert placed["label"].tolist() == [reference.states[2], reference.states[0]]
    assert placed["confidence"].tolist() == [0.5, 0.5]


def test_pseudotime_is_the_mean_of_neighbours_on_the_lineage(cells: anndata.AnnData) -> None:
    order = cells.obs["state"].map({"HSC/MPP": 0.1, "Pro-B": 0.5, "Mature B": 0.9}).to_numpy()
    reference = reference_map.build(cells, components=6, pseudotime=order)
    found = reference.map(made_up(seed=12))
    assert found.loc[found["label"] == "Myeloid", "pseudotime"].isna().all()
    pro = found[(found["label"] == "Pro-B") & (found["confidence"] == 1)]
    assert len(pro) and pro["pseudotime"].to_numpy() == pytest.approx(0.5)


def test_a_reference_is_small_and_survives_a_pickle(reference: reference_map.Reference) -> None:
    new = made_up(seed=13)
    before = reference.map(new)
    packed = pickle.dumps(reference)
    assert len(packed) < 60_000
    pd.testing.assert_frame_equal(before, pickle.loads(packed).map(new))


def test_unlabelled_cells_are_no_reference() -> None:
    cells = made_up()
    cells.obs.loc[cells.obs_names[:60], "state"] = None
    reference = reference_map.build(cells, components=6)
    assert len(reference.points) == cells.n_obs - 60


def test_what_cannot_be_done_is_said(
    cells: anndata.AnnData, reference: reference_map.Reference
) -> None:
    with pytest.raises(ValueError, match=r"2 genes of the reference are missing: G0, G1"):
        reference.map(cells[:, 2:])
    empty = cells.copy()
    empty.X = scipy.sparse.csr_matrix(empty.X.toarray() * (np.arange(360) != 3)[:, None])
    with pytest.raises(ValueError, match="1 cells have no count"):
        reference.map(empty)
    with pytest.raises(ValueError, match="1 cells have no count"):
        reference_map.build(empty, components=6)
    with pytest.raises(ValueError, match="neighbours: expected 1 to 359"):
        reference_map.build(cells, components=6, neighbours=400)
    with pytest.raises(ValueError, match="components: expected 1 to 40"):
        reference_map.build(cells, components=41)
    with pytest.raises(ValueError, match="exact or approximate"):
        reference.map(cells, method="best")  # type: ignore[arg-type]
    assert reference_map.shared_genes(["B", "A", "C"], ["A", "B", "X"]) == ["B", "A"]


def test_a_subset_of_genes_makes_a_reference_of_its_own(cells: anndata.AnnData) -> None:
    genes = [f"G{i}" for i in range(39, 9, -1)]
    reference = reference_map.build(cells, components=6, genes=genes)
    assert reference.genes == tuple(genes)
    found = reference.map(made_up(seed=14)[:, 10:])
    assert found["confidence"].mean() > 0.9


SCRIPT = """
import hashlib, sys
sys.path.insert(0, {tests!r})
from test_reference_map import made_up
from ballbook import reference_map
r = reference_map.build(made_up(), components=6)
f = r.map(made_up(seed=1))
words = ",".join(f["label"].astype(str)) + ",".join(f"{{v:.6f}}" for v in f["confidence"])
words += ",".join(map(str, f["off_map"]))
print(hashlib.sha256(words.encode()).hexdigest())
"""


def test_results_do_not_depend_on_the_number_of_cores(reference: reference_map.Reference) -> None:
    f = reference.map(made_up(seed=1))
    words = ",".join(f["label"].astype(str)) + ",".join(f"{v:.6f}" for v in f["confidence"])
    words += ",".join(map(str, f["off_map"]))
    expected = hashlib.sha256(words.encode()).hexdigest()
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    for n in ("1", "2"):
        env = {**os.environ, **dict.fromkeys(threads, n)}
        code = SCRIPT.format(tests=str(Path(__file__).parent))
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected


@pytest.mark.slow
def test_the_graph_search_agrees_with_all_distances(reference: reference_map.Reference) -> None:
    new = made_up(seed=1)
    exact, graph = reference.map(new), reference.map(new, method="approximate")
    assert (exact["label"] == graph["label"]).mean() > 0.98
    pd.testing.assert_frame_equal(graph, reference.map(new, method="approximate"))


# ------------------------------------------------------------------------------------ proportions


def test_equal_donors_give_wilson_with_t() -> None:
    e = clustered_proportion([30, 30, 30], [100, 100, 100])
    t, n, p = 4.302652729911275, 300, 0.3
    middle = (p + t * t / 2 / n) / (1 + t * t / n)
    half = t / (1 + t * t / n) * (p * (1 - p) / n + t * t / 4 / n / n) ** 0.5
    assert (e.value, e.ci_low, e.ci_high) == pytest.approx((p, middle - half, middle + half))


def test_donors_that_differ_widen_the_interval() -> None:
    k, n = np.array([90, 10, 50, 50]), np.array([100, 100, 100, 100])
    e = clustered_proportion(k, n)
    v = 4 / 3 * ((k - 0.5 * n) ** 2).sum() / 400**2
    effective = 0.25 / v
    t = 3.182446305284263
    middle = 0.5
    half = t / (1 + t * t / effective) * (0.25 / effective + t * t / 4 / effective**2) ** 0.5
    assert e.value == 0.5 and e.df == 3
    assert (e.ci_low, e.ci_high) == pytest.approx((middle - half, middle + half))
    assert e.ci_high - e.ci_low > 0.5


def test_extremes_of_a_clustered_proportion() -> None:
    e = clustered_proportion([5, 7, 0], [5, 7, 0])
    assert e.value == 1 and e.ci_high == pytest.approx(1) and 0.02 < e.ci_low < 0.9
    assert clustered_proportion([3], [9]).value is None
    with pytest.raises(ValueError, match="0 to n"):
        clustered_proportion([3, 4], [9, 2])

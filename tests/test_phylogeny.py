"""The whole chain from reads to trees on tumours whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ballbook.clone_trees import CloneTrees, enumerate_trees, that_fit_together
from ballbook.phylogeny import existed_by, names_of, reconstruct, sightings
from ballbook.simulated_tumours import (
    ARTEFACT,
    GERMLINE,
    accuracy,
    match_clusters,
    simulate_tumour,
)


@pytest.fixture(scope="module")
def tumour():  # type: ignore[no-untyped-def]
    return simulate_tumour(20260226, clones=5, samples=5, sites=600, depth=120, germline=150)


def test_a_tumour_is_found_again(tumour) -> None:  # type: ignore[no-untyped-def]
    found = reconstruct(
        tumour.alt, tumour.depth, copy_number=tumour.copy_number, purity=tumour.purity, seed=1
    )
    got = accuracy(
        tumour, found.used, found.mixture.labels, found.mixture.fraction, found.trees, found.clones
    )
    assert got.rand_distinct > 0.95
    assert got.error < 0.03
    assert got.right == got.relations > 0
    assert got.kept_true
    assert not found.used[tumour.clone == GERMLINE].any()
    assert found.used[tumour.clone == ARTEFACT].mean() < 0.3
    assert (found.labels[found.used] >= -1).all() and (found.labels[~found.used] == -1).all()
    assert np.bincount(found.labels[found.labels >= 0]).tolist() == found.sizes.tolist()


def test_simulated_reads_are_what_they_should_be() -> None:
    found = simulate_tumour(3, clones=3, samples=2, sites=3000, depth=200, altered=0, fewest=900)
    for v in range(3):
        own = found.clone == v
        share = found.alt[own].sum(axis=0) / found.depth[own].sum(axis=0)
        expected = 1e-3 + (1 - 2e-3) * found.true_purity * found.fraction[v] / 2
        np.testing.assert_allclose(share, expected, atol=0.004)
    for v in range(1, 3):
        assert (found.fraction[v] <= found.fraction[found.parents[v]] + 1e-12).all()
    germline = found.clone == GERMLINE
    assert found.alt[germline].sum() / found.depth[germline].sum() == pytest.approx(0.5, abs=0.01)


def test_simulated_overdispersion() -> None:
    found = simulate_tumour(4, clones=2, samples=2, sites=100, germline=4000, rho=0.02)
    own = found.clone == GERMLINE
    k, n = found.alt[own].ravel(), found.depth[own].ravel()
    z = (k - n / 2) / np.sqrt(n / 4 * (1 + (n - 1) * 0.02))
    assert z.var() == pytest.approx(1, abs=4 * np.sqrt(2 / k.size))


def test_too_few_sites_for_the_clones() -> None:
    with pytest.raises(ValueError, match="20 sites for each of 6"):
        simulate_tumour(1, sites=100)


def test_matching() -> None:
    truth = [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert match_clusters(truth, [1, 1, 0, 0, 0, 2, 2, 2, -1], 4) == (1, 0, 2, -1)
    # Two clones in one cluster: it is that of the larger part.
    assert match_clusters(truth, [0] * 9, 1) == (2,)


def test_accuracy_counts_wrong_relations() -> None:
    """The truth is a chain; the trees say that the second is above the first."""
    tumour = simulate_tumour(1, clones=2, samples=1, sites=60, germline=0, artefacts=0)
    labels = tumour.clone
    wrong = CloneTrees(np.array([[1, -1]]), True, np.zeros(1))
    got = accuracy(tumour, np.ones(60, bool), labels, tumour.fraction, wrong)
    assert (got.relations, got.right, got.possible, got.kept_true) == (1, 0, 1, False)
    assert got.rand == 1 and got.error == 0
    right = CloneTrees(np.array([[-1, 0]]), True, np.zeros(1))
    got = accuracy(tumour, np.ones(60, bool), labels, tumour.fraction, right)
    assert (got.relations, got.right, got.kept_true) == (1, 1, True)


def test_clusters_that_fit_no_tree_are_set_aside() -> None:
    phi = np.array([[1.0, 1.0], [0.8, 0.5], [0.5, 0.8], [0.1, 0.1]])
    assert that_fit_together(phi, phi, [50, 100, 20, 30]).tolist() == [True, True, False, True]
    assert that_fit_together(phi[:2], phi[:2], [1, 1]).all()


def test_inherited_variants_alone_leave_nothing() -> None:
    rng = np.random.default_rng(1)
    depth = rng.poisson(100, (40, 3))
    alt = rng.binomial(depth, 0.5)
    with pytest.raises(ValueError, match="no site is left"):
        reconstruct(alt, depth)
    kept = reconstruct(alt, depth, keep_germline=True)
    assert kept.sizes.tolist() == [40]
    np.testing.assert_allclose(kept.fraction, 1, atol=0.05)
    with pytest.raises(ValueError, match="no cluster has 41 sites"):
        reconstruct(alt, depth, keep_germline=True, min_sites=41)


def test_sightings_are_the_binomial_test() -> None:
    depth = np.full((10, 2), 100)
    alt = np.zeros((10, 2), dtype=int)
    alt[:, 0] = 1
    table = sightings(alt, depth, np.zeros(10, dtype=int), 1, error=1e-3)
    first = table.iloc[0]
    assert 10 ** first["log10_p"] == pytest.approx(stats.binom.sf(9, 1000, 1e-3), rel=1e-9)
    assert first["p_adjusted"] == pytest.approx(2 * stats.binom.sf(9, 1000, 1e-3), rel=1e-9)
    assert table["seen"].tolist() == [True, False]
    # A clone of that size is called with the power asked for.
    reads = first["limit"] / 2 * (1 - 2e-3) + 1e-3
    count = next(c for c in range(1001) if stats.binom.sf(c - 1, 1000, 1e-3) <= 0.025)
    assert stats.binom.sf(count - 1, 1000, reads) == pytest.approx(0.95, abs=1e-3)


def test_ancestors_existed_when_descendants_did() -> None:
    phi = np.array([[1.0, 1.0], [0.9, 0.9], [0.8, 0.3]])
    trees = enumerate_trees(phi, phi)
    assert len(trees) == 1
    assert existed_by([[False, True], [False, False], [True, True]], trees) == [0, 0, 0]
    assert existed_by([[False, False], [False, True], [False, False]], trees) == [1, 1, None]
    unknown = CloneTrees(trees.parents, False, trees.room)
    assert existed_by([[False, True], [False, False], [True, True]], unknown) == [1, None, 0]


def test_names() -> None:
    assert names_of(28)[-3:] == ["Z", "A2", "B2"]

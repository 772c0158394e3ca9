"""Clustering of cell fractions: exact posteriors, known mixtures, and what must not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from ballbook.clone_mixture import cluster_sites, expected_share
from ballbook.simulated_tumours import rand_index

Ints = NDArray[np.int64]


def _three(
    seed: int = 1, sites: int = 300, rho: float = 0.0, error: float = 1e-3
) -> tuple[Ints, Ints, Ints]:
    rng = np.random.default_rng(seed)
    phi = np.array([[1.0, 0.9, 1.0], [0.5, 0.1, 0.0], [0.0, 0.4, 0.8]])
    clone = rng.choice(3, sites, p=[0.4, 0.35, 0.25])
    depth = rng.poisson(100, (sites, 3))
    mean = expected_share(phi[clone], error=error)
    if rho:
        mean = rng.beta(mean * (1 / rho - 1), (1 - mean) * (1 / rho - 1))
    return rng.binomial(depth, mean), depth, clone


def test_posterior_of_one_cluster_is_the_beta_distribution() -> None:
    """On one copy of a pure sample without errors, reads are Bin(n, phi) and phi is uniform."""
    rng = np.random.default_rng(4)
    depth = rng.poisson(100, (60, 2))
    alt = rng.binomial(depth, [0.31, 0.03])
    found = cluster_sites(alt, depth, copy_number=1, error=1e-9, most_clusters=1)
    k, n = alt.sum(axis=0), depth.sum(axis=0)
    exact = stats.beta(k + 1, n - k + 1)
    np.testing.assert_allclose(found.fraction[0], k / n, atol=2e-5)
    np.testing.assert_allclose(found.std_error[0], exact.std(), rtol=2e-3)
    np.testing.assert_allclose(found.low[0], exact.ppf(0.025), rtol=2e-3)
    np.testing.assert_allclose(found.high[0], exact.ppf(0.975), rtol=2e-3)


def test_evidence_of_one_cluster() -> None:
    """The beta function, the Dirichlet process, and nothing else."""
    from scipy import special

    alt, depth = np.array([[30], [31], [33], [29]]), np.full((4, 1), 100)
    found = cluster_sites(alt, depth, copy_number=1, error=1e-9, most_clusters=1)
    k, n = alt.sum(), depth.sum()
    expected = special.betaln(k + 1, n - k + 1) + special.gammaln(4)
    # A hundredth of the prior weight lies outside; the sites are shared with it by less than that.
    assert found.evidence == pytest.approx(expected, abs=0.05)


def test_known_clones_are_found() -> None:
    alt, depth, clone = _three()
    found = cluster_sites(alt, depth)
    assert rand_index(clone, found.labels) > 0.98
    np.testing.assert_allclose(
        found.fraction, [[1, 0.9, 1], [0, 0.4, 0.8], [0.5, 0.1, 0]], atol=0.02
    )
    assert (found.low <= found.fraction).all() and (found.fraction <= found.high).all()
    assert found.size.sum() + (found.labels < 0).sum() == len(alt)
    assert ((found.probability > 0.3) & (found.probability <= 1)).all()


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6))
def test_order_of_sites_and_samples_changes_nothing(seed: int) -> None:
    alt, depth, _ = _three(seed % 50, 150)
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(150), rng.permutation(3)
    first = cluster_sites(alt, depth, seed=3)
    other = cluster_sites(alt[rows][:, columns], depth[rows][:, columns], seed=3)
    np.testing.assert_array_equal(other.size.sum(), first.size.sum())
    assert rand_index(first.labels[rows], other.labels) == 1
    np.testing.assert_allclose(
        np.sort(other.fraction[:, np.argsort(columns)].sum(axis=1)),
        np.sort(first.fraction.sum(axis=1)),
        atol=1e-6,
    )
    assert other.evidence == pytest.approx(first.evidence, rel=1e-9)


def test_the_same_seed_gives_the_same() -> None:
    alt, depth, _ = _three(9)
    a, b = cluster_sites(alt, depth, seed=7), cluster_sites(alt, depth, seed=7)
    assert a.fraction == pytest.approx(b.fraction, abs=1e-6) and list(a.size) == list(b.size)
    assert a.evidence == pytest.approx(b.evidence, rel=1e-9)


def test_purity_and_copies_are_taken_into_account() -> None:
    rng = np.random.default_rng(2)
    copies = rng.choice([1, 2, 3], 300)
    many = np.where((copies == 3) & (rng.random(300) < 0.5), 2, 1)
    purity = np.array([0.6, 0.9])
    phi = np.array([[1.0, 0.8], [0.4, 0.3]])
    clone = rng.choice(2, 300)
    mean = expected_share(
        phi[clone],
        copy_number=copies[:, None],
        purity=purity,
        multiplicity=many[:, None],
        error=1e-3,
    )
    depth = rng.poisson(150, (300, 2))
    alt = rng.binomial(depth, mean)
    found = cluster_sites(alt, depth, copy_number=copies[:, None], purity=purity)
    assert len(found.size) == 2
    np.testing.assert_allclose(found.fraction, phi, atol=0.02)
    assert rand_index(clone, found.labels) > 0.9


def test_overdispersed_reads_are_not_split() -> None:
    """Reads that vary more than binomially look like many clones unless the model knows."""
    rng = np.random.default_rng(6)
    depth = rng.poisson(300, (800, 2))
    alt = rng.binomial(depth, rng.beta(0.3 * 49, 0.7 * 49, (800, 2)))
    assert len(cluster_sites(alt, depth).size) > 1
    assert len(cluster_sites(alt, depth, rho=0.02).size) == 1


def test_large_clusters_between_grid_points_are_not_split() -> None:
    rng = np.random.default_rng(8)
    depth = rng.poisson(200, (20_000, 2))
    found = cluster_sites(rng.binomial(depth, [0.1837, 0.0731]), depth, error=1e-4)
    assert len(found.size) == 1
    np.testing.assert_allclose(found.fraction[0], [0.3674, 0.1462], atol=0.002)


def test_a_sample_without_reads_says_nothing() -> None:
    alt, depth, _ = _three(3)
    before = cluster_sites(alt, depth)
    empty = np.zeros((len(alt), 1), dtype=int)
    after = cluster_sites(np.hstack([alt, empty]), np.hstack([depth, empty]))
    assert rand_index(before.labels, after.labels) > 0.99
    assert (after.low[:, 3] < 0.05).all() and (after.high[:, 3] > 0.95).all()


def test_one_site() -> None:
    found = cluster_sites([[5]], [[10]])
    assert found.labels.tolist() == [0] and found.size.tolist() == [1]
    assert found.fraction[0, 0] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"error": 0.0}, "error"),
        ({"rho": 0.9}, "rho"),
        ({"level": 1.0}, "level"),
        ({"concentration": 0.0}, "concentration"),
        ({"most_clusters": 0}, "most_clusters"),
        ({"purity": 0.0}, "purity"),
        ({"purity": 1.5}, "purity"),
        ({"copy_number": -1}, "copy_number"),
    ],
)
def test_arguments_out_of_range(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cluster_sites([[5]], [[10]], **change)

"""Diffusion pseudotime: a known order is found, and correlations are over donors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ballbook import pseudotime


def arm(n: int = 250, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return points along a bent line in six dimensions and their true place."""
    rng = np.random.default_rng(seed)
    place = np.sort(rng.random(n))
    points = np.zeros((n, 6))
    points[:, 0], points[:, 1] = np.cos(2.5 * place) * 4, np.sin(2.5 * place) * 4
    return points + rng.normal(0, 0.05, points.shape), place


def dense(points: np.ndarray, root: int, k: int, components: int) -> np.ndarray:
    """Return pseudotime by the formula, from a dense Gaussian kernel on nearest neighbours."""
    d2 = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    near = np.argsort(d2, axis=1)[:, :k]
    sigma2 = np.sort(d2, axis=1)[:, k - 1] / 4
    both = sigma2[:, None] + sigma2[None]
    w = np.sqrt(2 * np.sqrt(sigma2[:, None] * sigma2[None]) / both) * np.exp(-d2 / both)
    mask = np.zeros_like(w, dtype=bool)
    np.put_along_axis(mask, near, True, axis=1)
    w = np.where(mask | mask.T, w, 0)
    q = w.sum(axis=1)
    w = w / np.outer(q, q)
    z = np.sqrt(w.sum(axis=1))
    values, vectors = np.linalg.eigh(w / np.outer(z, z))
    values, vectors = values[::-1][1 : components + 1], vectors[:, ::-1][:, 1 : components + 1]
    gap = values / (1 - values) * (vectors - vectors[root])
    found = np.sqrt((gap**2).sum(axis=1))
    return found / found.max()


def test_a_known_order_is_found() -> None:
    points, place = arm()
    times = pseudotime.diffusion_pseudotime(points, 0)
    assert times[0] == 0 and times.max() == pytest.approx(1) and not np.isnan(times).any()
    assert stats.spearmanr(times, place).statistic > 0.995
    back = pseudotime.diffusion_pseudotime(points, len(points) - 1)
    assert stats.spearmanr(back, place).statistic < -0.995


def test_it_follows_the_formula() -> None:
    points, _ = arm(n=120, seed=3)
    ours = pseudotime.diffusion_pseudotime(points, 4, neighbours=12, components=6)
    assert stats.spearmanr(ours, dense(points, 4, 12, 6)).statistic > 0.99


def test_cells_without_a_path_have_no_time() -> None:
    points, _ = arm(n=100)
    apart = np.vstack([points, points + 500])
    times = pseudotime.diffusion_pseudotime(apart, 0, neighbours=8)
    joined = np.isfinite(times)
    assert joined[0] and (joined[:100].all())


def test_it_is_the_same_in_every_run_and_on_every_number_of_cores() -> None:
    points, _ = arm(n=150, seed=5)
    expected = pseudotime.diffusion_pseudotime(points, 2)
    np.testing.assert_array_equal(expected, pseudotime.diffusion_pseudotime(points, 2))
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_pseudotime import arm\n"
        "from ballbook.pseudotime import diffusion_pseudotime as f\n"
        "print(' '.join(f'{v:.6f}' for v in f(arm(n=150, seed=5)[0], 2)))"
    )
    for n in ("1", "2"):
        env = {**os.environ, "OMP_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": n}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        np.testing.assert_allclose(np.array(done.stdout.split(), float), expected, atol=2e-6)


def test_what_cannot_be_done_is_said() -> None:
    points, _ = arm(n=60)
    with pytest.raises(ValueError, match="root: expected a row from 0 to 59"):
        pseudotime.diffusion_pseudotime(points, 60)
    with pytest.raises(ValueError, match="too few"):
        pseudotime.diffusion_pseudotime(points[:12], 0)
    with pytest.raises(ValueError, match="no cell"):
        pseudotime.central(points, np.zeros(60, dtype=bool))


def test_the_central_cell_is_nearest_the_median() -> None:
    points = np.array([[0.0, 0], [10, 0], [4, 0], [5, 3], [100, 100]])
    assert pseudotime.central(points, [True, True, True, True, False]) == 2


def test_correlations_are_averaged_over_donors() -> None:
    r = [0.7, 0.8, 0.75, np.nan]
    z = np.arctanh(r[:3])
    e = pseudotime.over_donors(r)
    half = stats.t.ppf(0.975, 2) * z.std(ddof=1) / 3**0.5
    assert e.n == 3 and e.value == pytest.approx(np.tanh(z.mean()))
    assert (e.ci_low, e.ci_high) == pytest.approx(
        (np.tanh(z.mean() - half), np.tanh(z.mean() + half))
    )
    assert e.p_value == pytest.approx(stats.ttest_1samp(z, 0).pvalue)
    assert pseudotime.over_donors([0.4]).value is None


def test_order_is_asked_within_each_donor() -> None:
    times = np.r_[np.arange(20), np.arange(20), [1.0, 2.0], np.full(20, np.nan)]
    ranks = np.r_[np.arange(20) // 5, 3 - np.arange(20) // 5, [1, 2], np.arange(20)]
    donors = ["a"] * 20 + ["b"] * 20 + ["c"] * 2 + ["d"] * 20
    found = pseudotime.order_by_donor(times, ranks, donors)
    assert set(found) == {"a", "b"}
    assert found["a"] == pytest.approx(stats.kendalltau(np.arange(20), ranks[:20]).statistic)
    assert found["b"] == pytest.approx(-found["a"])


def test_the_centre_of_a_marker_is_a_weighted_mean() -> None:
    assert pseudotime.centre_of([0, 0.5, 1, np.nan], [1, 1, 2, 9]) == pytest.approx(2.5 / 4)
    assert np.isnan(pseudotime.centre_of([0, 1], [0, 0]))

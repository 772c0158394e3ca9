"""Maps in two dimensions: components by another route, and groups that are there and not there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

from ballbook import embeddings
from ballbook.neighbourhoods import nearest


@pytest.fixture
def clouds() -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    label = np.repeat([0, 1, 2], 25)
    return rng.normal(size=(75, 12)) + 9 * np.eye(12)[label], label


@pytest.mark.parametrize("shape", [(30, 200), (200, 30)])
def test_components_are_those_of_scikit_learn_but_for_sign(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=shape) * np.linspace(3, 1, shape[1])
    ours, theirs = embeddings.principal_components(x, 7), PCA(7).fit_transform(x)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-8)
    loading = (x - x.mean(axis=0)).T @ ours
    assert (loading[np.abs(loading).argmax(axis=0), np.arange(7)] > 0).all()


def test_all_components_keep_all_distances() -> None:
    x = np.random.default_rng(1).normal(size=(12, 40))
    flat = embeddings.principal_components(x, 500)
    assert flat.shape == (12, 12)
    apart = np.linalg.norm(x[:, None] - x, axis=2)
    np.testing.assert_allclose(np.linalg.norm(flat[:, None] - flat, axis=2), apart, atol=1e-9)


def test_standardised_leaves_constant_variables_out() -> None:
    x = np.random.default_rng(2).normal(3, 5, size=(20, 4))
    x[:, 2] = 7
    z = embeddings.standardised(x)
    assert z.shape == (20, 3)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=0, ddof=1), 1)


@pytest.mark.parametrize(
    "draw",
    [
        lambda x, seed: embeddings.tsne(x, perplexity=10, seed=seed),
        lambda x, seed: embeddings.tsne(x, perplexity=10, seed=seed, start="random"),
        lambda x, seed: embeddings.umap(x, neighbours=10, seed=seed),
    ],
    ids=["t-SNE", "t-SNE, random start", "UMAP"],
)
def test_groups_stay_together_and_a_seed_draws_one_map(
    draw: Callable[[Any, int], Any], clouds: tuple[Any, Any]
) -> None:
    x, label = clouds
    xy = draw(x, 1)
    assert xy.shape == (75, 2) and np.isfinite(xy).all()
    assert (label[nearest(xy, 5)[0]] == label[:, None]).mean() > 0.98
    assert (xy == draw(x, 1)).all()


def test_settings_that_cannot_be_are_refused() -> None:
    x = np.eye(12)
    with pytest.raises(ValueError, match="perplexity: expected above 0 and below 12"):
        embeddings.tsne(x, perplexity=12)
    with pytest.raises(ValueError, match="neighbours: expected 2 to 11"):
        embeddings.umap(x, neighbours=12)

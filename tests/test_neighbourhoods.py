"""Who lies next to whom: enrichment, cohesion, centroids, silhouettes and how far a map holds."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import silhouette_samples
from sklearn.neighbors import NearestNeighbors

from ballbook import neighbourhoods as near


@pytest.fixture
def groups() -> tuple[Any, Any]:
    """Three classes of 12, 18 and 60: A and B half a spread apart, C farther off."""
    rng = np.random.default_rng(4)
    x = np.vstack([rng.normal(m, 1, (n, 6)) for m, n in ((0, 12), (0.5, 18), (1.2, 60))])
    return x, np.repeat(["A", "B", "C"], (12, 18, 60))


def test_nearest_agrees_with_scikit_learn(groups: tuple[Any, Any]) -> None:
    x, _ = groups
    there = NearestNeighbors(n_neighbors=6).fit(x).kneighbors(x)
    index, distance = near.nearest(x, 5)
    assert (index == there[1][:, 1:]).all()
    np.testing.assert_allclose(distance, there[0][:, 1:])
    other, _ = near.nearest(x[:40], 5, x[40:])
    assert (other == NearestNeighbors(n_neighbors=5).fit(x[:40]).kneighbors(x[40:])[1]).all()


def test_of_equal_distances_the_first_row_is_nearer() -> None:
    index, _ = near.nearest([[0.0], [1.0], [-1.0], [1.0]], 2)
    assert index[0].tolist() == [1, 2]


@pytest.mark.parametrize("k", [0, 4])
def test_k_must_leave_neighbours(k: int) -> None:
    with pytest.raises(ValueError, match="k: expected 1 to 3"):
        near.nearest(np.eye(4), k)


def test_missing_values_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        near.nearest([[np.nan, 1.0], [0.0, 1.0]], 1)


def test_the_ratio_is_that_of_counting_by_hand(groups: tuple[Any, Any]) -> None:
    x, y = groups
    rest = np.flatnonzero(y != "A")
    shares = []
    for i in np.flatnonzero(y == "A"):
        by_distance = sorted(rest, key=lambda j: float(((x[i] - x[j]) ** 2).sum()))
        shares.append(np.mean([y[j] == "B" for j in by_distance[:7]]))
    e = near.neighbour_enrichment(x, y, "A", "B", k=7, permutations=50, resamples=50)
    assert e.value == pytest.approx(np.mean(shares) / (18 / 78))
    assert e.n == 12 and e.n_events is None
    assert e.ci_low is not None and e.ci_high is not None and e.value is not None
    assert e.ci_low < e.value < e.ci_high


def test_p_is_that_of_all_permutations() -> None:
    """Seven others, two of them partners: all 21 placements are counted."""
    x = np.array([[0.0], [0.2], [0.1], [0.3], [1.0], [2.0], [3.0], [4.0], [5.0]])
    y = np.array(["A", "A", "B", "B", "C", "C", "C", "C", "C"])
    rest = x[2:, 0]
    order = [np.argsort(np.abs(rest - a), kind="stable")[:2] for a in (0.0, 0.2)]
    seen = sum((y[2:][o] == "B").sum() for o in order)
    placed = {p for p in permutations([1, 1, 0, 0, 0, 0, 0])}
    exact = np.mean([sum(np.array(p)[o].sum() for o in order) >= seen for p in placed])
    e = near.neighbour_enrichment(x, y, "A", "B", k=2, permutations=20_000, resamples=2)
    assert exact == pytest.approx(1 / 21)
    assert e.p_value == pytest.approx(exact, abs=0.006)


def test_the_ratio_is_1_on_average_where_labels_mean_nothing(groups: tuple[Any, Any]) -> None:
    x, y = groups
    rng = np.random.default_rng(8)
    found = []
    for _ in range(120):
        labels = rng.permutation(y)
        found.append(near.neighbour_enrichment(x, labels, "A", "B", permutations=1, resamples=1))
    together = [near.cohesion(x, rng.permutation(y), "A", permutations=1, resamples=1).value
                for _ in range(120)]  # fmt: skip
    assert np.mean([e.value for e in found]) == pytest.approx(1, abs=0.08)
    assert np.mean([v for v in together if v is not None]) == pytest.approx(1, abs=0.15)


def test_batches_explain_what_is_only_a_batch() -> None:
    """Partners share a batch with the focal class and nothing else: the ratio falls to 1."""
    rng = np.random.default_rng(2)
    batch = np.repeat(["x", "y"], 150)
    data = rng.normal(size=(300, 3)) + np.where(batch == "x", 0, 30)[:, None]
    y = np.full(300, "C")
    y[:15], y[15:75] = "A", "B"
    plain = near.neighbour_enrichment(data, y, "A", "B", permutations=400, resamples=50)
    within = near.neighbour_enrichment(
        data, y, "A", "B", strata=batch, permutations=400, resamples=50
    )
    assert plain.value is not None and plain.value > 1.8 and plain.p_value == pytest.approx(1 / 401)
    assert within.value == pytest.approx(1, abs=0.3)
    assert within.p_value is not None and within.p_value > 0.05


def test_intervals_cover_what_they_should() -> None:
    """Fresh samples of one population: nine in ten intervals or more hold the mean ratio."""
    rng = np.random.default_rng(1)
    y = np.repeat(["A", "B", "C"], (12, 18, 150))
    middle = np.repeat([0.0, 0.5, 0.9], (12, 18, 150))[:, None]
    found = []
    for r in range(60):
        x = rng.normal(middle, 1, (180, 5))
        e = near.neighbour_enrichment(x, y, "A", "B", permutations=1, resamples=150, seed=r)
        s = near.class_silhouette(x, y, "A", resamples=150, seed=r)
        found.append([e.value, e.ci_low, e.ci_high, s.value, s.ci_low, s.ci_high])
    t = np.array(found, dtype=float)
    for value, low, high in (t[:, :3].T, t[:, 3:].T):
        mean = value.mean()
        assert ((low <= mean) & (mean <= high)).mean() >= 0.85


def test_cohesion_is_that_of_counting_by_hand(groups: tuple[Any, Any]) -> None:
    x, y = groups
    index = NearestNeighbors(n_neighbors=11).fit(x).kneighbors(x)[1][:, 1:]
    e = near.cohesion(x, y, "A", permutations=50, resamples=50)
    assert e.value == pytest.approx((y[index[y == "A"]] == "A").mean() / (11 / 89))


def test_cohesion_within_batches_takes_a_sample_from_its_own() -> None:
    """Two batches far apart, labels without meaning: chance is the share in one's own batch."""
    rng = np.random.default_rng(9)
    batch = np.repeat(["x", "y"], 60)
    data = rng.normal(size=(120, 3)) + np.where(batch == "x", 0, 50)[:, None]
    y = np.where(np.arange(120) < 20, "A", "C")
    e = near.cohesion(data, y, "A", strata=batch, permutations=200, resamples=20)
    index = NearestNeighbors(n_neighbors=11).fit(data).kneighbors(data)[1][:, 1:]
    assert e.value == pytest.approx((y[index[:20]] == "A").mean() / (19 / 59))
    assert e.p_value is not None and e.p_value > 0.02


def test_too_few_are_told(groups: tuple[Any, Any]) -> None:
    x, y = groups
    y = y.copy()
    y[1:12] = "C"
    none = near.neighbour_enrichment(x, y, "A", "B")
    assert none.value is None and none.reason == "1 samples of A, 18 of B"
    assert near.cohesion(x, y, "A").value is None
    assert near.class_silhouette(x, y, "A").value is None
    with pytest.raises(ValueError, match="focal and partner"):
        near.neighbour_enrichment(x, y, "C", "C")


def test_the_silhouette_is_that_of_scikit_learn(groups: tuple[Any, Any]) -> None:
    x, y = groups
    for word in "ABC":
        e = near.class_silhouette(x, y, word, resamples=40)
        assert e.value == pytest.approx(silhouette_samples(x, y)[y == word].mean())
        assert e.ci_low is not None and e.ci_high is not None and e.ci_low < e.ci_high
    assert near.class_silhouette(x, y, "A", resamples=0).ci_low is None


def test_distance_of_centroids_is_unbiased() -> None:
    rng = np.random.default_rng(3)
    gap = np.array([0.4, 0, 0, 0])
    found = [
        near.centroid_distance2(rng.normal(size=(5, 4)), rng.normal(size=(9, 4)) + gap)
        for _ in range(4000)
    ]
    assert np.mean(found) == pytest.approx(0.16, abs=0.06)
    naive = 0.16 + 4 / 5 + 4 / 9
    assert abs(np.mean(found) - naive) > 1
    with pytest.raises(ValueError, match="at least 2"):
        near.centroid_distance2([[1.0]], [[1.0], [2.0]])


def test_around_puts_the_planted_neighbour_first(groups: tuple[Any, Any]) -> None:
    x, y = groups
    table = near.around(x, y, "A", permutations=200, resamples=100)
    assert table["label"].tolist() == ["B", "C"]
    assert table["distance"].is_monotonic_increasing
    assert table["nearest"].sum() == pytest.approx(1) and table["nearest"][0] > 0.9
    assert (table["p_holm"] >= table["p"]).all()
    assert near.around(x, y, "A", fewest=30, permutations=5)["label"].tolist() == ["C"]


def test_trustworthiness_by_its_formula(groups: tuple[Any, Any]) -> None:
    x, _ = groups
    flat, n, k = x[:, :2], len(x), 9
    rank = np.argsort(np.argsort(np.linalg.norm(x[:, None] - x, axis=2), axis=1), axis=1)
    there, here = near.nearest(x, k)[0], near.nearest(flat, k)[0]
    lost = sum(rank[i, j] - k for i in range(n) for j in set(here[i]) - set(there[i]))
    by_hand = 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * lost
    assert near.trustworthiness(x, flat, k=k) == pytest.approx(by_hand)
    assert near.trustworthiness(x, x, k=k) == 1
    kept = np.mean([len(set(a) & set(b)) / k for a, b in zip(there, here, strict=True)])
    assert near.neighbours_kept(x, flat, k=k) == pytest.approx(kept)


def test_the_same_seed_gives_the_same(groups: tuple[Any, Any]) -> None:
    x, y = groups
    first, second = (
        near.neighbour_enrichment(x, y, "A", "B", permutations=80, resamples=80, seed=3)
        for _ in range(2)
    )
    assert first == second
    assert pd.Series(y).value_counts()["A"] == first.n

"""Trees of clones: against brute force with linear programming, and properties."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

from ballbook.clone_trees import (
    CloneTrees,
    enumerate_trees,
    fits,
    pair_rules,
    simultaneous_intervals,
)

Floats = NDArray[np.float64]


def _is_tree(parents: tuple[int, ...]) -> bool:
    for v in range(len(parents)):
        at, steps = v, 0
        while at >= 0 and steps <= len(parents):
            at, steps = parents[at], steps + 1
        if at >= 0:
            return False
    return True


def _feasible(parents: tuple[int, ...], low: Floats, high: Floats) -> bool:
    """Tell by a linear programme whether fractions within the bounds obey the sum rule."""
    clones, samples = low.shape
    for j in range(samples):
        rules, bounds = [], []
        for u in range(-1, clones):
            row = np.array([float(p == u) for p in parents])
            if u >= 0:
                row[u] -= 1
            rules.append(row)
            bounds.append(float(u < 0))
        within = list(zip(low[:, j], high[:, j], strict=True))
        if linprog(np.zeros(clones), rules, bounds, bounds=within).status:
            return False
    return True


def _draw(seed: int, most: int = 4) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    phi = rng.random((int(rng.integers(1, most + 1)), int(rng.integers(1, 4))))
    phi *= rng.choice([0.4, 0.7, 1.0])
    width = rng.choice([0, 0.02, 0.2])
    return np.clip(phi - width, 0, 1), np.clip(phi + width, 0, 1)


def _set(trees: CloneTrees) -> set[tuple[int, ...]]:
    return {tuple(p) for p in trees.parents.tolist()}


@pytest.mark.parametrize("seed", range(30))
def test_all_trees_and_no_others(seed: int) -> None:
    low, high = _draw(seed)
    every = itertools.product(range(-1, len(low)), repeat=len(low))
    expected = {p for p in every if _is_tree(p) and _feasible(p, low, high)}
    found = enumerate_trees(low, high)
    assert _set(found) == expected
    assert len(found) == len(expected) and found.complete
    assert all(fits(p, low, high) for p in expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_names_and_order_change_nothing(seed: int, random) -> None:  # type: ignore[no-untyped-def]
    low, high = _draw(seed, 5)
    clones = list(range(len(low)))
    random.shuffle(clones)
    samples = list(range(low.shape[1]))
    random.shuffle(samples)
    back = {new: old for new, old in enumerate(clones)} | {-1: -1}
    other = enumerate_trees(low[clones][:, samples], high[clones][:, samples])
    renamed = set()
    for p in other.parents.tolist():
        tree = [-1] * len(p)
        for v, u in enumerate(p):
            tree[back[v]] = back[u]
        renamed.add(tuple(tree))
    assert renamed == _set(enumerate_trees(low, high))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_no_tree_breaks_the_pigeonhole(seed: int) -> None:
    """With exact fractions children never exceed their parent, nor descendants an ancestor."""
    _, phi = _draw(seed, 5)
    found = enumerate_trees(phi, phi, phi)
    for parents, above, room in zip(found.parents, found.ancestors, found.room, strict=True):
        inside = np.vstack([phi, np.ones(phi.shape[1])])
        for v, u in enumerate(parents):
            inside[u] -= phi[v]
        assert (inside >= -1e-8).all()
        assert room >= -1e-8
        for u, v in np.argwhere(above):
            assert (phi[v] <= phi[u] + 1e-8).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_wider_intervals_lose_no_tree(seed: int) -> None:
    low, high = _draw(seed)
    wide = enumerate_trees(np.clip(low - 0.05, 0, 1), np.clip(high + 0.05, 0, 1))
    assert _set(enumerate_trees(low, high)) <= _set(wide)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_rules_of_pairs_hold_in_every_tree(seed: int) -> None:
    low, high = _draw(seed, 5)
    trees = enumerate_trees(low, high)
    above = trees.ancestors
    nested = above | above.transpose(0, 2, 1)
    seen = 0
    for row in pair_rules(low, high).itertuples():
        seen += 1
        if row.rule == "crossing":
            assert not nested[:, row.u, row.v].any()
        elif row.rule == "nested":
            assert nested[:, row.u, row.v].all()
        elif row.rule == "first may be above":
            assert not above[:, row.v, row.u].any()
        elif row.rule == "second may be above":
            assert not above[:, row.u, row.v].any()
        elif row.rule == "contradiction":
            assert not len(trees)
    assert seen == len(low) * (len(low) - 1) // 2


def test_relations_of_a_known_case() -> None:
    """A root, a child that holds most of it, and two that may be inside or beside the child."""
    phi = np.array([[1.0], [0.6], [0.3], [0.1]])
    trees = enumerate_trees(phi, phi)
    table = trees.relations().set_index(["u", "v"])
    assert table.loc[(0, 1), "always"] == "first_above"
    assert table.loc[(1, 2), "always"] is None
    assert trees.one_origin().all()
    shares = trees.parent_shares()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares[1, 0] == 1 and shares[0, 4] == 1
    n = len(trees)
    above = sum(_below(p, 1, 2) for p in trees.parents.tolist())
    assert table.loc[(1, 2), "first_above"] == pytest.approx(above / n)


def _below(parents: list[int], u: int, v: int) -> bool:
    at = parents[v]
    while at >= 0 and at != u:
        at = parents[at]
    return at == u


def test_crossing_and_nesting() -> None:
    low = np.array([[0.8, 0.2], [0.1, 0.3], [0.7, 0.0]])
    table = pair_rules(low, low).set_index(["u", "v"])
    assert table.loc[(0, 1), "rule"] == "crossing"
    assert table.loc[(0, 2), "rule"] == "nested" and table.loc[(0, 2), "sample"] == 0
    assert table.loc[(1, 2), "rule"] == "crossing"
    both = pair_rules([[0.9, 0.7], [0.7, 0.9]], [[0.9, 0.7], [0.7, 0.9]])
    assert both["rule"].tolist() == ["contradiction"]


def test_the_search_says_that_it_stopped() -> None:
    small = np.full((6, 1), 0.05)
    found = enumerate_trees(small, small + 0.1, limit=100)
    assert len(found) == 100 and not found.complete
    assert found.relations()["always"].isna().all()
    assert enumerate_trees(small[:1], small[:1], limit=1).complete


def test_one_origin_only() -> None:
    low, high = np.full((3, 1), 0.05), np.full((3, 1), 0.2)
    alone = enumerate_trees(low, high, one_origin=True)
    every = enumerate_trees(low, high)
    assert alone.one_origin().all()
    assert len(alone) == int(every.one_origin().sum()) < len(every)


def test_impossible_fractions_have_no_tree() -> None:
    phi = np.array([[0.9, 0.6], [0.6, 0.9]])
    found = enumerate_trees(phi, phi)
    assert len(found) == 0 and found.complete
    assert found.relations()["always"].isna().all()


def test_intervals() -> None:
    low, high = simultaneous_intervals([[0.5, 0.0]], [[0.01, 0.01]], slack=0.02)
    half = 2.2414027276 * 0.01 + 0.02
    np.testing.assert_allclose(low, [[0.5 - half, 0]], rtol=1e-9)
    np.testing.assert_allclose(high, [[0.5 + half, half]], rtol=1e-9)


@pytest.mark.parametrize(
    ("low", "high"), [([[0.5]], [[0.4]]), ([[-0.1]], [[0.4]]), ([0.1], [0.2]), ([[0.5]], [[1.2]])]
)
def test_bounds_that_are_none(low: list[list[float]], high: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="expected"):
        enumerate_trees(low, high)


def test_intervals_out_of_range() -> None:
    with pytest.raises(ValueError, match="shape"):
        simultaneous_intervals([[0.5]], [[0.1, 0.1]])
    with pytest.raises(ValueError, match="slack"):
        simultaneous_intervals([[0.5]], [[0.1]], slack=-1)
    with pytest.raises(ValueError, match="level"):
        simultaneous_intervals([[0.5]], [[0.1]], level=1)

"""Rank tests: R's numbers, properties, and input that is refused."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from golden_cases import check, flat, read
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ballbook import rank_tests as r

ESTIMATORS = {
    "mann_whitney": lambda **g: flat(r.mann_whitney(**g)),
    "kruskal_wallis": lambda **g: flat(r.kruskal_wallis(**g)),
    "spearman": lambda **g: flat(r.spearman(**g)),
    "kendall": lambda **g: flat(r.kendall(**g)),
}


@pytest.mark.parametrize("case", read("rank_tests"))
def test_agrees_with_r(case: dict[str, Any]) -> None:
    check(case, ESTIMATORS)
    assert case["expected"]


values = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=5)


@given(values, values)
def test_exact_rank_sum_counts_every_choice(x: list[float], y: list[float]) -> None:
    e = r.mann_whitney(x, y, exact=True)
    if e.value is None:
        assert len({*x, *y}) == 1 and e.reason == "all values are equal"
        return
    ranks = stats.rankdata(x + y)
    centre = ranks.mean() * len(x)
    sums = np.array([ranks[list(i)].sum() for i in combinations(range(len(ranks)), len(x))])
    seen = abs(ranks[: len(x)].sum() - centre)
    assert e.p_value == pytest.approx((np.abs(sums - centre) >= seen - 1e-9).mean())


@given(values, values)
def test_swapping_the_groups_turns_the_shift_round(x: list[float], y: list[float]) -> None:
    e, f = r.mann_whitney(x, y), r.mann_whitney(y, x)
    assert e.p_value == pytest.approx(f.p_value)
    if e.value is not None:
        assert e.value == -(f.value or 0)
        assert (e.statistic or 0) + (f.statistic or 0) == pytest.approx(len(x) * len(y))


def test_the_shift_moves_with_the_data() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=20), rng.normal(size=25)
    e, f = r.mann_whitney(x, y), r.mann_whitney(x + 2, y)
    assert f.value == pytest.approx((e.value or 0) + 2)
    assert f.ci_low == pytest.approx((e.ci_low or 0) + 2)
    assert f.ci_high == pytest.approx((e.ci_high or 0) + 2)


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=3, max_size=12))
def test_correlations_turn_with_the_sign(pairs: list[tuple[float, float]]) -> None:
    x, y = (np.array(v) for v in zip(*pairs, strict=True))
    for estimator in (r.spearman, r.kendall):
        e, f = estimator(x, y), estimator(x, -y)
        if e.value is None:
            assert "constant" in (e.reason or "")
            continue
        assert e.value == pytest.approx(-(f.value or 0), abs=1e-9)
        assert -1 <= e.value <= 1
        assert e.p_value == pytest.approx(f.p_value, abs=2e-2 if len(x) > 9 else 1e-9)


@pytest.mark.parametrize("n", [10, 20, 38, 200, 1289, 2000])
def test_spearman_p_falls_with_the_correlation_and_is_never_zero(n: int) -> None:
    x = np.arange(n, dtype=float)
    noise = np.random.default_rng(n).permutation(x)
    found = [r.spearman(x, x + share * noise) for share in (3, 1, 0.5, 0.2, 0.01, 0)]
    by_size = sorted(found, key=lambda e: e.value or 0)
    p = [e.p_value or 0 for e in by_size]
    assert min(p) > 0
    assert p == sorted(p, reverse=True)
    assert str(by_size[-1]).find("0.0e0") == -1


def test_what_cannot_be_estimated_is_stated() -> None:
    assert r.mann_whitney([1, 1], [1]).reason == "all values are equal"
    assert r.kruskal_wallis([1, 2], ["a", "a"]).reason == "only one group"
    assert r.kruskal_wallis([1, 1], ["a", "b"]).reason == "all values are equal"
    assert r.spearman([1, 2], [3, 4]).reason == "fewer than three pairs"
    assert r.spearman([1, 1, 1, 1], [1, 2, 3, 4]).reason == "x is constant"
    assert r.spearman([1, 2, 3, 4], [1, 2, 3, 4]).ci_low is None
    few = r.mann_whitney([1.0, 2.0], [3.0, 4.0])
    assert few.ci_low is None and "too few" in (few.reason or "") and few.value == -2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: r.mann_whitney([], [1]), "x: expected at least 1"),
        (lambda: r.mann_whitney([1], [np.nan]), "y at position 0 is nan"),
        (lambda: r.mann_whitney(["a"], [1]), "x: expected numbers, got 'a'"),
        (lambda: r.kruskal_wallis([1, 2], ["a"]), "groups has 1 values, expected 2"),
        (lambda: r.kruskal_wallis([1, 2], ["a", None]), "groups at position 1 is None"),
        (lambda: r.spearman([1, 2, 3], [1, 2]), "unequal lengths: x 3, y 2"),
        (lambda: r.kendall([1, 2, 3], [1, 2, np.inf]), "y at position 2 is inf"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()

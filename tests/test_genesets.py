"""Gene-set scores against R, against a gene-by-gene computation, and by their properties."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ballbook import genesets
from ballbook.genesets import GeneSet


def small(read: Any, which: str) -> tuple[pd.DataFrame, dict[str, GeneSet], dict[str, Any]]:
    r = read("genesets")["small"]
    table = pd.DataFrame.from_dict(r[which], orient="index", columns=r["samples"])
    sets = {
        name: GeneSet(*(tuple([part] if isinstance(part, str) else part) for part in s.values()))
        for name, s in r["sets"].items()
    }
    return table, sets, r


@pytest.mark.parametrize("which", ["untied", "tied"])
def test_singscore_equals_r(golden: Any, which: str) -> None:
    table, sets, r = small(golden, which)
    expected = pd.DataFrame(r[f"singscore_{which}"], index=table.columns)
    found = genesets.singscores(table, sets)
    np.testing.assert_allclose(found, expected[list(found)], rtol=1e-9, atol=1e-12)


def test_ssgsea_and_combined_z_equal_gsva(golden: Any) -> None:
    table, sets, r = small(golden, "untied")
    up = {name: GeneSet(s.up) for name, s in sets.items()}
    for score, key in ((genesets.ssgsea, "ssgsea_untied"), (genesets.combined_z, "zscore_untied")):
        expected = pd.DataFrame(r[key]).loc[table.columns, list(up)]
        np.testing.assert_allclose(score(table, up), expected, rtol=1e-9, atol=1e-9)


def test_two_sided_set_is_up_minus_down(golden: Any) -> None:
    table, sets, _ = small(golden, "untied")
    both = genesets.ssgsea(table, {"A": sets["A"]})["A"]
    up, down = (
        genesets.ssgsea(table, {"x": GeneSet(g)})["x"] for g in (sets["A"].up, sets["A"].down)
    )
    np.testing.assert_allclose(both, up - down)


def naive_singscore(values: np.ndarray, up: set[int], down: set[int]) -> float:
    n, total = len(values), 0.0
    for genes, reverse in ((up, False), (down, True)):
        if not genes:
            continue
        ranks = [1 + int(np.sum(values < values[g])) for g in genes]
        ranks = [n - r + 1 for r in ranks] if reverse else ranks
        k = len(genes)
        low, high = (k + 1) / 2, (2 * n - k + 1) / 2
        total += (np.mean(ranks) - low) / (high - low) - 0.5
    return total


def naive_ssgsea(values: np.ndarray, genes: set[int], alpha: float) -> float:
    """The walk down the ranking, step by step (no ties)."""
    n = len(values)
    order = np.argsort(-values)
    rank = np.empty(n)
    rank[order] = np.arange(n, 0, -1)
    hit = np.array([g in genes for g in order])
    steps_in = np.cumsum(np.where(hit, rank[order] ** alpha, 0))
    steps_out = np.cumsum(~hit)
    return float(np.sum(steps_in / steps_in[-1] - steps_out / steps_out[-1]))


matrices = arrays(
    float, st.tuples(st.integers(12, 30), st.integers(1, 4)), elements=st.integers(-9, 9).map(float)
)


@given(matrices, st.integers(1, 5), st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_singscore_agrees_with_a_gene_by_gene_computation(
    values: np.ndarray, k_up: int, k_down: int
) -> None:
    genes = [f"g{i}" for i in range(len(values))]
    table = pd.DataFrame(values, index=genes)
    found = genesets.singscore(table, genes[:k_up], genes[k_up : k_up + k_down])
    for j in table.columns:
        expected = naive_singscore(values[:, j], set(range(k_up)), set(range(k_up, k_up + k_down)))
        assert found[j] == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 10_000), st.integers(1, 10), st.floats(0, 2))
@settings(max_examples=50, deadline=None)
def test_ssgsea_agrees_with_the_walk(seed: int, k: int, alpha: float) -> None:
    values = np.random.default_rng(seed).normal(size=25)
    table = pd.DataFrame({"s": values}, index=[f"g{i}" for i in range(25)])
    found = genesets.ssgsea(table, {"x": GeneSet(tuple(table.index[:k]))}, alpha=alpha)
    assert found.loc["s", "x"] == pytest.approx(
        naive_ssgsea(values, set(range(k)), alpha), rel=1e-9
    )


@given(matrices)
@settings(max_examples=50, deadline=None)
def test_rank_scores_do_not_change_under_increasing_transforms(values: np.ndarray) -> None:
    table = pd.DataFrame(values, index=[f"g{i}" for i in range(len(values))])
    sets = {"x": GeneSet(("g0", "g3", "g4"), ("g1", "g2"))}
    for score in (genesets.singscores, genesets.ssgsea):
        np.testing.assert_array_equal(score(table, sets), score(np.exp2(table / 3) + 7, sets))


@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(0, 8))
@settings(max_examples=50, deadline=None)
def test_singscore_bounds_are_reached_by_the_extreme_sets(seed: int, k: int, k_down: int) -> None:
    values = np.random.default_rng(seed).permutation(40).astype(float)
    table = pd.DataFrame({"s": values}, index=[f"g{i}" for i in range(40)])
    ranked = table["s"].sort_values().index
    top = genesets.singscore(table, ranked[-k:], ranked[:k_down])["s"]
    assert top == pytest.approx(1.0 if k_down else 0.5)
    anything = genesets.singscore(table, table.index[:k], table.index[k : k + k_down])["s"]
    assert abs(anything) <= top + 1e-12


def test_a_sample_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(1)
    table = pd.DataFrame(rng.normal(size=(50, 150)), index=[f"g{i}" for i in range(50)])
    sets = {"x": GeneSet(("g1", "g2"), ("g3",))}
    together = genesets.singscores(table, sets)
    for j in (0, 63, 64, 149):  # either side of a block's edge
        assert together.loc[j, "x"] == genesets.singscores(table[[j]], sets).loc[j, "x"]


def test_order_of_rows_does_not_matter_even_with_ties() -> None:
    rng = np.random.default_rng(2)
    table = pd.DataFrame(rng.integers(0, 4, (60, 5)), index=[f"g{i}" for i in range(60)])
    sets = {"x": GeneSet(("g1", "g2", "g9"), ("g3",))}
    for score in (genesets.singscores, genesets.ssgsea, genesets.combined_z):
        np.testing.assert_allclose(score(table, sets), score(table.iloc[::-1], sets), atol=1e-12)


def test_unmeasured_sets_have_no_score() -> None:
    table = pd.DataFrame({"s": [3.0, 1.0, 2.0]}, index=["a", "b", "c"])
    found = genesets.singscores(table, {"gone": GeneSet(("x",)), "half": GeneSet(("a",), ("y",))})
    assert found.isna().all(axis=None)
    assert genesets.singscore(table, ["a", "b", "c"])["s"] == 0


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"s": [1.0, np.nan]}, index=["a", "b"]), "'b', sample 's'"),
        (pd.DataFrame({"s": [1.0, np.inf]}, index=["a", "b"]), "cannot be ranked"),
        (pd.DataFrame({"s": [1.0, 2.0]}, index=["a", "a"]), "more than once"),
        (pd.DataFrame({"s": ["high", "low"]}, index=["a", "b"]), "holds text"),
        (pd.DataFrame({"s": []}), "no genes"),
    ],
)
def test_input_that_cannot_be_ranked_is_refused(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        genesets.singscore(table, ["a"])


def test_combined_z_needs_a_cohort_and_ignores_constant_genes() -> None:
    table = pd.DataFrame({"s": [1.0, 2.0], "t": [1.0, 5.0]}, index=["flat", "b"])
    found = genesets.combined_z(table, {"x": GeneSet(("flat",))})
    assert (found["x"] == 0).all()
    with pytest.raises(ValueError, match="two samples"):
        genesets.combined_z(table[["s"]], {"x": GeneSet(("b",))})


def test_gmt_joins_the_two_sides_of_a_set() -> None:
    sets = genesets.parse_gmt("Pro.B_UP\tnote\tA\tB\nPro.B_DN\tnote\tC\n\nOther\tnote\tD\n")
    assert sets == {"Pro.B": GeneSet(("A", "B"), ("C",)), "Other": GeneSet(("D",))}
    with pytest.raises(ValueError, match="no UP part"):
        genesets.parse_gmt("X_DN\tnote\tA")


def test_coverage_counts_measured_genes() -> None:
    found = genesets.coverage(["A", "C", "C2"], {"x": GeneSet(("A", "B"), ("C",))})
    assert found.loc["x"].to_dict() == {"up": 2, "up_present": 1, "down": 1, "down_present": 1}


def test_scoring_is_quick_and_lean() -> None:
    """14 set parts in 300 samples of 16,687 genes: a loop over samples takes several seconds."""
    rng = np.random.default_rng(3)
    genes = [f"g{i}" for i in range(16_687)]
    table = pd.DataFrame(rng.normal(size=(len(genes), 300)), index=genes)
    sets = {
        f"s{i}": GeneSet(
            tuple(rng.choice(genes, 300, replace=False)),
            tuple(rng.choice(genes, 200, replace=False)),
        )
        for i in range(7)
    }
    start = time.process_time()
    genesets.singscores(table, sets)
    seconds = time.process_time() - start
    tracemalloc.start()
    genesets.singscores(table, sets)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 5
    assert peak < 2.5 * table.to_numpy().nbytes

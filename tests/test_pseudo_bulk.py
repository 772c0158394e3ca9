"""Pseudo-bulk: profiles, mixtures of known content, and the two truths of a mixture."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from ballbook import pseudo_bulk

GENES = ["a", "b", "c"]
STATES = ["early", "late"]
# Two donors; early cells of the second are twice as deep. Late cells hold half the RNA.
COUNTS = np.array(
    [[8, 2, 0], [8, 2, 0], [0, 2, 3], [0, 2, 3], [16, 4, 0], [12, 8, 0], [0, 5, 5], [0, 5, 5]]
)
STATE = ["early", "early", "late", "late"] * 2
DONOR = ["one"] * 4 + ["two"] * 4


def found(**changes: object) -> pseudo_bulk.Profiles:
    given = {"counts": COUNTS, "genes": GENES, "state": STATE, "donor": DONOR, "states": STATES}
    return pseudo_bulk.profiles(**{**given, "least_cells": 2, **changes})  # type: ignore[arg-type]


def test_profiles_are_means_over_donors_by_hand() -> None:
    p = found()
    early = (np.array([0.8, 0.2, 0]) + np.array([28, 12, 0]) / 40) / 2
    late = (np.array([0, 0.4, 0.6]) + np.array([0, 0.5, 0.5])) / 2
    assert p.expression["early"].to_numpy() == pytest.approx(early)
    assert p.expression["late"].to_numpy() == pytest.approx(late)
    # In both donors an early cell has twice the counts of a late one.
    assert p.content.to_dict() == pytest.approx({"early": 2**0.5, "late": 2**-0.5})
    assert p.cells.loc["one"].to_dict() == {"early": 2, "late": 2}
    assert p.within(["c", "a"]).sum().to_numpy() == pytest.approx([1, 1])


def test_a_donor_with_few_cells_does_not_speak() -> None:
    counts, state, donor = np.vstack([COUNTS, [[0, 0, 50]]]), [*STATE, "early"], [*DONOR, "three"]
    with_three = found(counts=counts, state=state, donor=donor)
    pd.testing.assert_frame_equal(with_three.expression, found().expression)
    with pytest.raises(ValueError, match="no donor has 9 cells of early, late"):
        found(least_cells=9)


def test_profiles_without_a_donor_are_those_of_the_others() -> None:
    second = slice(4, 8)
    alone = found(counts=COUNTS[second], state=STATE[second], donor=DONOR[second])
    pd.testing.assert_frame_equal(found().without("one"), alone.expression, check_names=False)
    with pytest.raises(ValueError, match="only two has cells of early, late"):
        alone.without("two")


def test_sparse_and_dense_counts_agree_and_depth_of_a_donor_does_not_matter() -> None:
    deeper = COUNTS * np.where(np.array(DONOR) == "one", 1, 7)[:, None]
    sparse = found(counts=scipy.sparse.csc_matrix(deeper))
    pd.testing.assert_frame_equal(sparse.expression, found().expression)
    pd.testing.assert_series_equal(sparse.content, found().content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": -COUNTS}, "not negative"),
        ({"genes": ["a", "b"]}, "2 names of genes"),
        ({"state": STATE[:3]}, "3 states"),
    ],
)
def test_wrong_counts_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        found(**changes)


@given(seed=st.integers(0, 2**32 - 1), n_cells=st.integers(1, 400), share=st.floats(0, 1))
def test_a_mixture_is_the_sum_of_its_cells(seed: int, n_cells: int, share: float) -> None:
    wanted = pd.DataFrame({"early": [share, 1.0], "late": [1 - share, 0.0]}, index=["m", "pure"])
    first = slice(0, 4)  # donor one, whose cells of a state are all alike
    m = pseudo_bulk.mix(COUNTS[first], GENES, STATE[first], wanted, n_cells=n_cells, seed=seed)
    k = m.cells.loc["m", "early"] * n_cells
    assert m.expression["m"].to_numpy() == pytest.approx(k * COUNTS[0] + (n_cells - k) * COUNTS[2])
    assert m.cells.sum(axis=1).to_numpy() == pytest.approx([1, 1])
    assert m.rna.loc["m", "early"] == pytest.approx(10 * k / (10 * k + 5 * (n_cells - k)))
    assert m.cells.loc["pure", "late"] == m.rna.loc["pure", "late"] == 0
    # The content of a cell leads from shares of RNA back to shares of cells.
    content = pd.Series({"early": 10.0, "late": 5.0})
    pd.testing.assert_frame_equal(pseudo_bulk.cells_of(m.rna, content), m.cells)


def test_mixtures_follow_the_seed_alone() -> None:
    wanted = pseudo_bulk.shares(STATES, 5, seed=3)
    assert wanted.sum(axis=1).to_numpy() == pytest.approx(np.ones(5))
    one, two, other = (
        pseudo_bulk.mix(COUNTS, GENES, STATE, wanted, n_cells=50, seed=s).expression
        for s in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(one, two)
    assert not one.equals(other)
    with pytest.raises(ValueError, match="concentration"):
        pseudo_bulk.shares(STATES, 5, seed=3, concentration=0)
    with pytest.raises(ValueError, match="no cell of other"):
        pseudo_bulk.mix(COUNTS, GENES, STATE, wanted.assign(other=0.1), seed=1)
    with pytest.raises(ValueError, match="not negative"):
        pseudo_bulk.mix(COUNTS, GENES, STATE, -wanted, seed=1)


def test_a_platform_changes_genes_alike_in_all_samples() -> None:
    table = pd.DataFrame(np.arange(1.0, 4001).reshape(2000, 2))
    seen = pseudo_bulk.platform(table, 1.2, seed=4) / table
    assert seen[0].to_numpy() == pytest.approx(seen[1].to_numpy())
    assert np.log(seen[0]).std() == pytest.approx(1.2, rel=0.05)
    pd.testing.assert_frame_equal(pseudo_bulk.platform(table, 0, seed=4), table)
    with pytest.raises(ValueError, match="spread"):
        pseudo_bulk.platform(table, -1, seed=4)

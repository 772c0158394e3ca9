"""Bulk on one scale, scores on the B line, and states of a cohort."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballbook import bulk_states
from ballbook.cell_states import B_LINEAGE, STATES

LENGTHS = pd.Series({"a": 1000.0, "b": 2000.0, "c": 500.0})


def test_every_kind_comes_to_one_scale() -> None:
    counts = pd.DataFrame({"s": [100, 400, 50]}, index=["a", "b", "c"])
    tpm = pd.DataFrame({"s": [0.25e6, 0.5e6, 0.25e6]}, index=counts.index)
    given: list[tuple[Any, pd.DataFrame, Any]] = [
        ("counts", counts, "2"),
        ("tpm", tpm, "2"),
        ("log2", np.log2(tpm + 1).assign(other=0.0), "10"),
        ("log2", np.log2(tpm), "10"),  # no value near 0: nothing was added
        ("logcpm", np.log2(tpm + 1).assign(other=0.0), "2"),
        ("logcpm", np.log10(tpm + 1).assign(other=0.0), "10"),
        ("logcpm", np.log1p(tpm).assign(other=0.0), "e"),
    ]
    for kind, table, base in given:
        found = bulk_states.linear(table, kind, LENGTHS, base)
        np.testing.assert_allclose(found["s"], tpm["s"], rtol=1e-9, err_msg=kind)
        if "other" in found:
            assert (found["other"] == 0).all()


def test_symbols_of_the_source_become_those_of_others() -> None:
    assert list(bulk_states.symbols(["HLA.DRA", "CD19", "SMOX-custom-seq"])) == [
        "HLA-DRA",
        "CD19",
        "SMOX-custom-seq",
    ]


@given(st.lists(st.floats(0, 1), min_size=len(STATES), max_size=len(STATES)))
def test_scores_look_at_the_line_alone(values: list[float]) -> None:
    shares = pd.DataFrame([values], index=["p"], columns=list(STATES))
    found = bulk_states.scores(shares).loc["p"]
    line = np.array(values[: len(B_LINEAGE)])
    assert found["line"] == pytest.approx(line.sum())
    if line.sum() <= 1e-9:
        assert found.drop("line").isna().all()
        return
    assert found[["early", "precursor", "late"]].sum() == pytest.approx(1)
    assert found["early"] == pytest.approx(line[:2].sum() / line.sum())
    assert found["place"] == pytest.approx(line @ [1, 2, 3, 4, 5, 6] / line.sum())
    doubled = shares.copy()
    doubled["Myeloid"] += 3
    pd.testing.assert_frame_equal(bulk_states.scores(doubled), bulk_states.scores(shares))


def test_a_missing_fit_stays_missing() -> None:
    shares = pd.DataFrame(np.nan, index=["p"], columns=list(STATES))
    assert bulk_states.scores(shares).isna().all(axis=None)


def test_levels_are_matched_within_the_samples_named() -> None:
    rng = np.random.default_rng(1)
    names = [f"g{i}" for i in range(60)]
    signature = pd.DataFrame(rng.lognormal(0, 1.5, (60, 3)), names, ["a", "b", "c"])
    signature = signature / signature.sum()
    truth = pd.DataFrame(rng.dirichlet(np.ones(3), 14), columns=signature.columns)
    bulk = (signature @ truth.T).mul(np.exp(rng.normal(0, 1.2, 60)), axis=0)
    first = list(bulk.columns[:12])
    plain = bulk_states.states(bulk, signature, match=False).shares - truth
    close = bulk_states.states(bulk, signature, first).shares - truth
    assert (close**2).to_numpy().mean() < (plain**2).to_numpy().mean() / 2
    # Who is matched matters, who else is split does not.
    alone = bulk_states.states(bulk[first], signature).shares
    pd.testing.assert_frame_equal(
        bulk_states.states(bulk, signature, first).shares.loc[first], alone
    )
    with pytest.raises(ValueError, match="10 samples or more"):
        bulk_states.states(bulk, signature, first[:9])
    few = bulk_states.states(bulk[first[:9]], signature, match=False)
    assert few.shares.shape == (9, 3)

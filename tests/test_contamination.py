"""Marker genes of other cells, their score, and contrasts with it beside the group."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ballbook import contamination as oc

RNG = np.random.default_rng(11)


def test_markers_are_common_in_one_kind_and_rare_in_each_other() -> None:
    kinds = np.array(["m"] * 10 + ["b"] * 10 + ["t"] * 10)
    expressed = pd.DataFrame(
        {
            "good": kinds == "m",
            "seldom": [True] * 4 + [False] * 26,
            "in t": (kinds == "m") | (np.arange(30) > 27),
            "edge": [True] * 5 + [False] * 5 + [True] + [False] * 19,
        }
    )
    assert oc.marker_genes(expressed, kinds, of="m", against=["b", "t"]) == ["edge", "good"]
    assert "in t" in oc.marker_genes(expressed, kinds, of="m", against=["b"])
    with pytest.raises(ValueError, match="no cells of x"):
        oc.marker_genes(expressed, kinds, of="m", against=["b", "x"])


def test_score_is_the_mean_of_standardised_markers() -> None:
    table = pd.DataFrame({"a": [1.0, 2, 3], "b": [10.0, 30, 20], "c": [0.0, 0, 9], "flat": 1.0})
    found = oc.marker_score(table, ["a", "b", "c", "flat", "absent"])
    assert found is not None
    expected = np.mean([stats.zscore(table[g], ddof=1) for g in "abc"], axis=0)
    assert found.to_numpy() == pytest.approx(expected)
    assert oc.marker_score(table, ["a", "b", "flat"]) is None


def test_contrast_is_the_coefficient_of_a_linear_model_of_standardised_values() -> None:
    group = np.arange(40) < 15
    dirt = RNG.normal(size=40) + group
    y = pd.Series(5 + 2 * dirt + RNG.normal(size=40), index=[f"P{i}" for i in range(40)])
    crude = oc.contrast(y, group)
    z = (y - y.mean()) / y.std()
    welch = stats.ttest_ind(z[group], z[~group])
    assert crude.value == pytest.approx(z[group].mean() - z[~group].mean())
    assert crude.p_value == pytest.approx(welch.pvalue)
    found = oc.contrast(y, group, pd.DataFrame({"dirt": dirt, "flat": 1.0}, index=y.index))
    x = np.column_stack([np.ones(40), group, dirt])
    coef, left, *_ = np.linalg.lstsq(x, z.to_numpy(), rcond=None)
    se = np.sqrt(left[0] / 37 * np.linalg.inv(x.T @ x)[1, 1])
    assert found.value == pytest.approx(coef[1])
    assert found.ci_high == pytest.approx(coef[1] + stats.t.isf(0.025, 37) * se)
    assert "dirt" in found.method and "flat" not in found.method
    # The group had nothing of its own: what was higher in it came with the covariate.
    assert crude.ci_low is not None and crude.ci_low > 0 and found.ci_low is not None
    assert found.ci_low < 0 < (found.ci_high or 0)


def test_what_cannot_be_compared_is_said() -> None:
    y, group = pd.Series([1.0, 2, 3, 4, 5, 6]), np.array([1, 1, 1, 0, 0, 0], dtype=bool)
    many = pd.DataFrame(RNG.normal(size=(6, 4)), columns=list("abcd"))
    for found, why in (
        (oc.contrast(y, group, smallest=4), "fewer than 4"),
        (oc.contrast(y * 0, group), "do not vary"),
        (oc.contrast(y, group, pd.DataFrame({"same": group * 1.0})), "cannot be told"),
        (oc.contrast(y, group, many), "too few samples"),
    ):
        assert found.value is None and why in str(found.reason)

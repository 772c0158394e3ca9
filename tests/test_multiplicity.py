"""Adjusted P values: R's numbers, properties, and input that is refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from golden_cases import read
from hypothesis import given
from hypothesis import strategies as st

from ballbook import multiplicity as m

METHODS = {"BH": m.benjamini_hochberg, "holm": m.holm, "bonferroni": m.bonferroni}


@pytest.mark.parametrize("case", read("multiplicity"))
def test_agrees_with_r(case: dict[str, Any]) -> None:
    given_p = case["input"]["p"]
    ours = METHODS[case["estimator"]](given_p if isinstance(given_p, list) else [given_p])
    np.testing.assert_allclose(ours, np.atleast_1d(case["expected"]["adjusted"]), rtol=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_order_is_kept_and_methods_are_ranked(p: list[float]) -> None:
    raw = np.array(p)
    bh, holm, bonferroni = (METHODS[k](raw) for k in ("BH", "holm", "bonferroni"))
    assert (raw <= bh + 1e-12).all()
    assert (bh <= holm + 1e-12).all() and (holm <= bonferroni + 1e-12).all()
    order = np.argsort(raw, kind="stable")
    for adjusted in (bh, holm, bonferroni):
        assert (np.diff(adjusted[order]) >= -1e-12).all()


@pytest.mark.parametrize(
    ("p", "message"),
    [
        ([0.1, 1.2], "p at position 1 is 1.2, expected 0 to 1"),
        ([np.nan], "p at position 0 is nan"),
        ([], "least"),
    ],
)
def test_bad_input_is_named(p: Any, message: str) -> None:
    for method in METHODS.values():
        with pytest.raises(ValueError, match=re.escape(message)):
            method(p)

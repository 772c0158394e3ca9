"""Linear models: R's numbers, properties, and input that is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from golden_cases import Flat, difference, flat, read
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from ballbook.linear import anova, linear_model, tukey

COLUMNS = ["difference", "ci_low", "ci_high", "p_adjusted"]


def model(y: Any, X: Any, name: str) -> Flat:
    fit = linear_model(y, pd.DataFrame(X))
    whole = {"sigma": fit.sigma, "r_squared": fit.r_squared, "f": fit.f_test().statistic}
    return flat(fit.coefficient(name)) | whole


def agrees(case: dict[str, Any]) -> None:
    given_, tolerance = case["input"], case["tolerance"]
    if case["estimator"] == "tukey":
        ours: Flat = {c: tukey(**given_)[c].tolist() for c in COLUMNS}
        for key, r in case["expected"].items():
            # R's ptukey is good to about five decimals.
            np.testing.assert_allclose(ours[key], r, rtol=tolerance, atol=2e-5)
        return
    ours = flat(anova(**given_)) if case["estimator"] == "anova" else model(**given_)
    for key, r in case["expected"].items():
        assert difference(ours[key], r) <= tolerance, (key, ours[key], r)


CASES = read("linear")
IN_MIRROR = [c for c in CASES if isinstance(c.values[0]["input"].get("values"), str)]  # type: ignore[union-attr, index]


@pytest.mark.parametrize("case", [c for c in CASES if c not in IN_MIRROR])
def test_agrees_with_r(case: dict[str, Any]) -> None:
    agrees(case)
    assert case["expected"]


@pytest.mark.parametrize("case", IN_MIRROR)
def test_agrees_with_r_on_transplants(case: dict[str, Any], shared_data: Path) -> None:
    table = pd.read_csv(shared_data / "clinical" / "hsct-textbook-sets" / "kmsurv_bmt.csv")
    columns = {k: table[case["input"][k]].tolist() for k in ("values", "groups")}
    agrees(case | {"input": case["input"] | columns})
    assert case["expected"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=6, max_size=20), st.floats(0.1, 100))
def test_two_groups_give_the_t_test(values: list[float], scale: float) -> None:
    groups = [i % 2 for i in range(len(values))]
    e = anova(values, groups)
    if e.value is None:
        assert e.reason
        return
    a, b = ([v for v, g in zip(values, groups, strict=True) if g == k] for k in (0, 1))
    t = stats.ttest_ind(b, a)
    assert e.statistic == pytest.approx(t.statistic**2, rel=1e-6, abs=1e-9)
    pair = tukey(np.array(values) * scale, groups).iloc[0]
    assert pair["p_adjusted"] == pytest.approx(t.pvalue, abs=1e-5)
    low, high = t.confidence_interval()
    width = max(high - low, 1e-6) * scale
    assert pair["ci_low"] == pytest.approx(low * scale, abs=1e-4 * width)


def test_tukey_integrates_the_studentized_range() -> None:
    values, groups = [1.1, 1.3, 5.2, 4.9, 5.6, 9.0, 8.1], list("aabbbcc")
    pair = tukey(values, groups).set_index(["group", "reference"]).loc[("c", "a")]
    within = (
        sum(
            np.var([v for v, g in zip(values, groups, strict=True) if g == k]) * n
            for k, n in (("a", 2), ("b", 3), ("c", 2))
        )
        / 4
    )
    q = pair["difference"] / np.sqrt(within / 2 * (1 / 2 + 1 / 2))

    def range_cdf(w: float) -> float:
        z = np.linspace(-9, 9, 4001)
        f = 3 * stats.norm.pdf(z) * (stats.norm.cdf(z) - stats.norm.cdf(z - w)) ** 2
        return float(integrate.simpson(f, x=z))

    s = np.linspace(1e-6, 6, 2001)
    density = stats.chi2.pdf(4 * s**2, 4) * 8 * s
    p = 1 - integrate.simpson(density * [range_cdf(q * v) for v in s], x=s)
    assert pair["p_adjusted"] == pytest.approx(p, rel=1e-4)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(1e-6, 1e9))
def test_units_carry_through(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(20, 2))
    y = x @ [1.0, -2.0] + rng.normal(size=20)
    a = linear_model(y, x).coefficient("x2")
    b = linear_model(y, x * [1, unit]).coefficient("x2")
    assert a.value == pytest.approx((b.value or 0) * unit, rel=1e-7)
    assert a.p_value == pytest.approx(b.p_value, rel=1e-6)


def test_what_cannot_be_estimated_is_stated() -> None:
    assert anova([1, 2], ["a", "a"]).reason == "only one group"
    assert anova([1, 2], ["a", "b"]).reason == "no group has two values"
    assert anova([1, 1, 2, 2], list("aabb")).reason == "no variation within the groups"
    assert "fewer than two" in (anova([1, 2, 3], list("aab"), equal_variances=False).reason or "")
    assert tukey([1, 2], ["a", "a"]).empty


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: anova([1, np.nan], ["a", "b"]), "values at position 1 is nan"),
        (lambda: anova([1, 2], ["a"]), "groups has 1 values, expected 2"),
        (lambda: tukey([1, 2], ["a", "b"]), "no group has two values"),
        (lambda: tukey([1, 1, 2, 2], list("aabb")), "no variation"),
        (lambda: linear_model([1, 1, 1], [1, 2, 3]), "y: all values are equal"),
        (lambda: linear_model([1, 2], [1, 2]), "2 terms for only 2 rows"),
        (lambda: linear_model([1, 2, 3], [2, 2, 2]), "constant"),
        (lambda: linear_model([1, 2, 4], [1, 2, 3]).coefficient("q"), "no term 'q'"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()

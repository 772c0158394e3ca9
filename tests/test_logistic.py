"""Logistic regression: R's numbers, properties, and input that is refused."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from golden_cases import Flat, check, flat, read
from hypothesis import given, settings
from hypothesis import strategies as st

from ballbook.logistic import firth_logistic, logistic, separating_terms

SEPARATED = ([0, 0, 1, 0, 1, 1, 1, 1], {"s": [0] * 4 + [1] * 4, "z": [1, 2, 3, 4, 1, 2, 3, 5]})


def one(fit: Any, name: str, profile: bool) -> Flat:
    return flat(fit.odds_ratio(name, profile=profile))


def model(y: Any, X: Any) -> Flat:
    fit = logistic(y, pd.DataFrame(X))
    test = fit.likelihood_ratio()
    return {"statistic": test.statistic, "log_likelihood": fit.log_likelihood}


ESTIMATORS = {
    "logistic": lambda y, X, name, profile: one(logistic(y, pd.DataFrame(X)), name, profile),
    "firth_logistic": lambda y, X, name, profile: one(
        firth_logistic(y, pd.DataFrame(X)), name, profile
    ),
    "logistic_lr": model,
}


def from_mirror(case: dict[str, Any], shared: Path) -> dict[str, Any]:
    """Fill in the columns that a case names instead of holding."""
    given_ = case["input"]
    table = pd.read_csv(shared / "clinical" / "hsct-textbook-sets" / "kmsurv_bmt.csv")
    columns = {k: table[v].to_numpy() for k, v in given_["X"].items()}
    return case | {"input": given_ | {"y": table[given_["y"]].to_numpy(), "X": columns}}


CASES = read("logistic")
IN_REPOSITORY = [c for c in CASES if isinstance(c.values[0]["input"]["y"], list)]  # type: ignore[index]
IN_MIRROR = [c for c in CASES if isinstance(c.values[0]["input"]["y"], str)]  # type: ignore[index]


@pytest.mark.parametrize("case", IN_REPOSITORY)
def test_agrees_with_r(case: dict[str, Any]) -> None:
    check(case, ESTIMATORS)
    assert case["expected"]


@pytest.mark.parametrize("case", IN_MIRROR)
def test_agrees_with_r_on_transplants(case: dict[str, Any], shared_data: Path) -> None:
    check(from_mirror(case, shared_data), ESTIMATORS)
    assert case["expected"]


def test_a_two_by_two_table_gives_its_odds_ratio() -> None:
    y = [1] * 12 + [0] * 7 + [1] * 25 + [0] * 26
    fit = logistic(y, pd.Series([1] * 19 + [0] * 51, name="trial"))
    e = fit.odds_ratio("trial", profile=False)
    assert e.value == pytest.approx(12 * 26 / (7 * 25))
    half = 1.959963984540054 * math.sqrt(1 / 12 + 1 / 7 + 1 / 25 + 1 / 26)
    assert e.ci_high == pytest.approx(e.value * math.exp(half))  # type: ignore[operator]
    assert fit.probability([1.0, 0.0]) == pytest.approx([12 / 19, 25 / 51])


def test_separation_is_found_named_and_left_to_firth() -> None:
    y, x = SEPARATED
    frame = pd.DataFrame(x)
    assert separating_terms(y, frame) == ["s"]
    fit = logistic(y, frame)
    assert fit.separated == ("s",)
    e = fit.odds_ratio("z")
    assert e.value is None and "separated by s" in (e.reason or "")
    firth = firth_logistic(y, frame).odds_ratio("s")
    assert firth.value is not None and math.isfinite(firth.value) and firth.ci_high
    with pytest.raises(ValueError, match="separated"):
        fit.probability(frame)


def test_firth_on_a_saturated_table_adds_half_to_each_cell() -> None:
    y = [0] * 6 + [1] * 4 + [0] * 9
    fit = firth_logistic(y, pd.Series([1] * 10 + [0] * 9, name="x"))
    expected = (4.5 / 6.5) / (0.5 / 9.5)
    assert fit.odds_ratio("x").value == pytest.approx(expected, rel=1e-7)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 1e9))
def test_units_and_signs_do_not_change_the_answer(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    x = pd.DataFrame({"a": rng.normal(size=60), "b": rng.integers(0, 2, 60)})
    y = (rng.random(60) < 1 / (1 + np.exp(-x["a"]))).astype(int)
    if y.nunique() < 2 or x["b"].nunique() < 2:
        return
    for fit_model in (logistic, firth_logistic):
        e = fit_model(y, x)
        f = fit_model(1 - y, x.assign(a=x["a"] * unit))
        if e.separated:
            assert f.separated
            continue
        for profile in (True, False):
            p, q = e.odds_ratio("a", profile=profile), f.odds_ratio("a", profile=profile)
            assert p.p_value == pytest.approx(q.p_value, rel=1e-5, abs=1e-9)
            assert math.log(p.value or 1) == pytest.approx(
                -math.log(q.value or 1) * unit, rel=1e-4, abs=1e-5
            )


@pytest.mark.parametrize(
    ("y", "x", "message"),
    [
        ([0, 1, 2], [1, 2, 3], "y at position 2 is 2.0, expected 0 or 1"),
        ([1, 1, 1], [1, 2, 3], "every patient has the outcome"),
        ([0, 0, 0], [1, 2, 3], "no patient has the outcome"),
        ([0, 1, 0], [1, 1, 1], "constant covariate(s), no effect to estimate: ['x1']"),
        ([0, 1, 0], [1, 2], "X: expected 3 rows, got 2"),
        ([0, 1, 0], [1, None, 2], "X x1 at position 1 is nan"),
        ([0, 1, 0, 1], [[1, 2], [2, 4], [3, 6], [5, 10]], "determined by the others: ['x2']"),
        ([0, 1], [[1, 2], [2, 3]], "collinear"),
        ([0, 1, 0], [["a"], ["b"], ["c"]], "X x1: expected numbers, got 'a'"),
    ],
)
def test_bad_input_is_named(y: Any, x: Any, message: str) -> None:
    for fit_model in (logistic, firth_logistic):
        with pytest.raises(ValueError, match=re.escape(message)):
            fit_model(y, np.array(x, dtype=object))


def test_unknown_covariate_is_named() -> None:
    fit = logistic([0, 1, 0, 1, 1], pd.DataFrame({"age": [1, 2, 5, 3, 4]}))
    with pytest.raises(ValueError, match="no covariate 'wbc'; there are age"):
        fit.odds_ratio("wbc")


def test_a_hundred_thousand_rows_are_quick() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(100_000, 2))
    y = (rng.random(100_000) < 1 / (1 + np.exp(1 - x[:, 0]))).astype(int)
    e = logistic(y, x).odds_ratio("x1", profile=False)
    assert e.ci_low < math.e < e.ci_high  # type: ignore[operator]

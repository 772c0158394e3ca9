"""Restricted cubic splines, against R and against what defines them."""

from __future__ import annotations

from typing import Any

import golden_cases
import numpy as np
import pandas as pd
import pytest

from ballbook import paths, splines


def r_basis(x: list[float], knots: list[float]) -> dict[str, Any]:
    basis = splines.restricted_cubic(x, knots)
    return {f"v{i}": v for i, v in enumerate(basis.T.ravel())}


def r_nonlinearity(knots: int) -> dict[str, Any]:
    d = pd.read_csv(paths.data() / "snapshots" / "chiaretti-2004" / "patients.csv")
    d = d[d["immunophenotype"].fillna("").str.startswith("B")]
    d = d.dropna(subset=["age_years", "sex"])
    i = np.arange(1, len(d) + 1)
    X = d[["age_years"]].assign(male=(d["sex"] == "M") * 1.0).astype(float)
    time, event = 1 + (i * 37) % 101, (i * 13) % 7 < 5
    return golden_cases.flat(splines.nonlinearity(time, event, X, "age_years", number=knots))


ESTIMATORS = {"basis": r_basis, "nonlinearity": r_nonlinearity}


@pytest.mark.parametrize("case", golden_cases.read("splines"))
def test_agrees_with_r(case: dict[str, Any]) -> None:
    golden_cases.check(case, ESTIMATORS)
    assert case["expected"]


def test_the_curve_is_straight_beyond_the_knots_and_smooth_between() -> None:
    knots = [-2.0, -0.5, 0.5, 2.0]
    for side in (np.linspace(-9, -2, 20), np.linspace(2, 9, 20)):
        assert np.abs(np.diff(splines.restricted_cubic(side, knots), 2, axis=0)).max() < 1e-9
    fine = splines.restricted_cubic(np.linspace(-3, 3, 60001), knots)
    second = np.diff(fine, 2, axis=0) / 1e-8
    assert np.abs(np.diff(second, axis=0)).max() < 1e-2


def test_a_bend_is_seen_and_a_line_is_not() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=600)
    p = {}
    for name, eta in (("bend", x**2), ("line", 0.8 * x)):
        t = rng.exponential(np.exp(-eta))
        X = pd.DataFrame({"x": x, "other": rng.normal(size=600)})
        p[name] = splines.nonlinearity(t, np.ones(600), X, "x")
    assert p["bend"].value < 1e-6 and p["line"].value > 0.01
    assert p["bend"].df == 2


def test_what_cannot_be_bent_is_said() -> None:
    X = pd.DataFrame({"x": [0.0, 1.0] * 20})
    found = splines.nonlinearity(np.arange(1, 41), np.ones(40), X, "x")
    assert found.value is None and "coincide" in (found.reason or "")
    with pytest.raises(ValueError, match="no covariate"):
        splines.nonlinearity(np.arange(1, 41), np.ones(40), X, "y")
    with pytest.raises(ValueError, match="increasing"):
        splines.restricted_cubic([1.0], [1, 1, 2])
    with pytest.raises(ValueError, match="3, 4 or 5"):
        splines.knots_at_quantiles([1, 2, 3], 7)

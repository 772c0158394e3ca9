"""Interval regression: R's numbers, properties, and input that is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ballbook import goldens
from ballbook.censored_regression import interval_regression, left_censored_distribution
from ballbook.linear import linear_model


def sample(n: int = 80, seed: int = 3) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Return bounds and covariates of left-censored log levels with two limits."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"age": rng.uniform(1, 30, n), "fused": rng.permutation(np.arange(n) % 2)})
    y = -4.5 + 0.03 * X["age"].to_numpy() + 0.8 * X["fused"].to_numpy() + rng.normal(0, 1.2, n)
    limit = np.where(rng.random(n) < 0.4, -5.0, -4.0)
    return np.where(y < limit, -np.inf, y), np.maximum(y, limit), X


@pytest.mark.parametrize("case", goldens.cases("censored_regression"))
def test_agrees_with_r(case: dict[str, Any]) -> None:
    found = goldens.compare("censored_regression", case)
    assert found.agrees and found.numbers == len(np.hstack(list(case["expected"].values()))), found


def test_without_censoring_it_is_least_squares() -> None:
    _, high, X = sample()
    fit, ols = interval_regression(high, high, X), linear_model(high, X)
    np.testing.assert_allclose(fit.table["coef"], ols.table["coef"], rtol=1e-9)
    n, k = len(high), X.shape[1] + 1
    assert fit.sigma == pytest.approx(ols.sigma * np.sqrt((n - k) / n), rel=1e-9)
    assert fit.log_likelihood == pytest.approx(
        stats.norm(high - ols.residuals, fit.sigma).logpdf(high).sum(), rel=1e-9
    )
    assert fit.counts == {"exact": n, "left": 0, "right": 0, "interval": 0}


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(-50, 50), st.floats(1e-4, 1e4))
def test_units_do_not_matter(unit: float, shift: float, covariate_unit: float) -> None:
    low, high, X = sample(40)
    a = interval_regression(low, high, X)
    b = interval_regression(unit * low + shift, unit * high + shift, X * covariate_unit)
    np.testing.assert_allclose(
        b.table["coef"][1:], a.table["coef"][1:] * unit / covariate_unit, rtol=1e-5
    )
    np.testing.assert_allclose(b.table["p"][1:], a.table["p"][1:], rtol=1e-5, atol=1e-12)
    assert b.sigma == pytest.approx(a.sigma * unit, rel=1e-6)


@pytest.mark.parametrize("distribution", ["gaussian", "logistic"])
def test_turning_the_scale_round_turns_the_answer_round(distribution: Any) -> None:
    low, high, X = sample()
    a = interval_regression(low, high, X, distribution=distribution)
    b = interval_regression(-high, -low, X, distribution=distribution)
    np.testing.assert_allclose(b.table["coef"], -a.table["coef"], rtol=1e-8)
    assert b.log_likelihood == pytest.approx(a.log_likelihood, rel=1e-10)
    assert (a.counts["left"], a.counts["right"]) == (b.counts["right"], b.counts["left"])


def test_the_profile_interval_drops_the_likelihood_by_its_quantile() -> None:
    low, high, X = sample()
    fit = interval_regression(low, high, X)
    e = fit.coefficient("fused")
    assert e.ci_low is not None and e.ci_high is not None and e.value is not None
    for bound in (e.ci_low, e.ci_high):
        shift = bound * X["fused"].to_numpy()
        held = interval_regression(low - shift, high - shift, X[["age"]])
        drop = 2 * (fit.log_likelihood - held.log_likelihood)
        assert drop == pytest.approx(stats.chi2.ppf(0.95, 1), rel=1e-7)
    assert e.ci_low < e.value < e.ci_high
    alone = interval_regression(low, high, X[["age"]])
    drop = 2 * (fit.log_likelihood - alone.log_likelihood)
    assert e.p_value == pytest.approx(stats.chi2.sf(drop, 1), rel=1e-9)
    assert e.n_events == int(np.isfinite(low).sum()) and e.n == 80


def test_the_intercept_has_a_profile_too() -> None:
    low, high, _ = sample()
    e = interval_regression(low, high).coefficient("(intercept)")
    shifted = interval_regression(low + 100, high + 100).coefficient("(intercept)")
    assert e.value is not None and shifted.value == pytest.approx(e.value + 100)
    assert e.ci_low is not None and shifted.ci_low == pytest.approx(e.ci_low + 100, rel=1e-7)


def test_a_narrow_interval_is_an_exact_value() -> None:
    _, high, X = sample()
    near = interval_regression(high - 1e-4, high + 1e-4, X)
    exact = interval_regression(high, high, X)
    np.testing.assert_allclose(near.table["coef"], exact.table["coef"], rtol=1e-6)
    np.testing.assert_allclose(near.table["se"], exact.table["se"], rtol=1e-4)


def test_lower_limits_tell_more() -> None:
    rng = np.random.default_rng(8)
    X = pd.DataFrame({"x": np.arange(200) % 2})
    y = X["x"].to_numpy() + rng.normal(size=200)
    errors = [
        interval_regression(np.where(y < c, -np.inf, y), np.maximum(y, c), X).table["se"][1]
        for c in (1.5, 0.5, -0.5, -9.0)
    ]
    assert errors == sorted(errors, reverse=True)


def test_intervals_cover_and_substitution_does_not() -> None:
    rng = np.random.default_rng(11)
    X = pd.DataFrame({"x": np.repeat([0.0, 1.0], 60)})
    hit = {"interval": 0, "half the limit": 0}
    for _ in range(200):
        y = X["x"].to_numpy() * 1.5 - 0.8 + rng.normal(size=120)
        low, high = np.where(y < 0, -np.inf, y), np.maximum(y, 0)
        e = interval_regression(low, high, X).coefficient("x", profile=False)
        naive = linear_model(np.where(y < 0, -0.3, y), X).coefficient("x")
        for name, found in (("interval", e), ("half the limit", naive)):
            assert found.ci_low is not None and found.ci_high is not None
            hit[name] += found.ci_low <= 1.5 <= found.ci_high
    assert 180 <= hit["interval"] <= 199
    assert hit["half the limit"] < 20


def test_a_group_without_a_detectable_value_has_no_estimate() -> None:
    low, high, X = sample()
    low = np.where(X["fused"] == 1, -np.inf, low)
    fit = interval_regression(low, high, X)
    assert fit.separated == ("fused",)
    e = fit.coefficient("fused")
    assert e.value is None and "fused grows without bound" in (e.reason or "")
    assert fit.likelihood_ratio().value is None
    assert np.isnan(fit.sigma) and fit.table["coef"].isna().all()
    nothing = interval_regression(np.full(6, -np.inf), np.arange(6.0))
    assert nothing.separated
    line = interval_regression([1.0, 2, 3, 4], [1.0, 2, 3, 4], pd.DataFrame({"x": [1, 2, 3, 4]}))
    assert "sigma" in line.separated


def test_drawn_values_follow_the_fit() -> None:
    low, high, X = sample(400)
    for distribution, spread in (("gaussian", 1.0), ("logistic", np.pi / np.sqrt(3))):
        fit = interval_regression(low, high, X, distribution=distribution)  # type: ignore[arg-type]
        noise = fit.draw(np.random.default_rng(0)) - fit.fitted()
        assert noise.std() == pytest.approx(spread * fit.sigma, rel=0.1)


@pytest.mark.parametrize(
    ("low", "high", "X", "said"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4, 5], None, "shapes"),
        ([1, np.nan, 3, 4], [1, 2, 3, 4], None, "missing"),
        ([1, 5, 3, 4], [1, 2, 3, 4], None, "position 1"),
        ([1, -np.inf, 3, 4], [1, np.inf, 3, 4], None, "without any bound"),
        ([1, np.inf, 3, 4], [1, np.inf, 3, 4], None, "infinity"),
        ([1, 2, 3, 4], [1, 2, 3, 4], {"x": [1, 1, 1, 1]}, "constant"),
        ([1, 2, 3, 4], [1, 2, 3, 4], {"x": [1, 2, 3, np.nan]}, "finite"),
        ([1, 2], [1, 2], {"x": [1, 2]}, "only 2 rows"),
        ([1], [1], None, "two rows"),
    ],
)
def test_wrong_input_is_refused(low: Any, high: Any, X: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        interval_regression(low, high, None if X is None else pd.DataFrame(X))


def test_unknown_names_are_refused() -> None:
    low, high, X = sample()
    with pytest.raises(ValueError, match="distribution"):
        interval_regression(low, high, X, distribution="weibull")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no term 'sex'"):
        interval_regression(low, high, X).coefficient("sex")
    with pytest.raises(ValueError, match="detected"):
        left_censored_distribution([1.0, 2.0], [True])


def test_the_distribution_without_censoring_is_the_empirical_one() -> None:
    y = np.array([3.0, 1, 2, 2, 5])
    found = left_censored_distribution(y, np.ones(5, dtype=bool))
    assert found["level"].tolist() == [5, 3, 2, 1]
    np.testing.assert_allclose(found["at_or_above"], [0.2, 0.4, 0.8, 1.0])
    # A value below a limit of 2.5 tells nothing of what lies above it.
    more = left_censored_distribution([*y, 2.5], [True] * 5 + [False])
    np.testing.assert_allclose(more["at_or_above"][:2], [1 / 6, 2 / 6])
    assert more["at_or_above"].iloc[-1] == pytest.approx(1.0)

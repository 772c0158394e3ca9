"""Proportional odds: R's numbers, properties, and input that is refused."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from golden_cases import Flat, check, flat, read
from hypothesis import given, settings
from hypothesis import strategies as st

from ballbook import gates
from ballbook.logistic import logistic
from ballbook.ordinal import proportional_odds

CLUSTERS = [[12, 5, 1], [1, 7, 20]]


def rows(table: list[list[int]]) -> tuple[list[int], pd.DataFrame]:
    y = [j for row in table for j, n in enumerate(row) for _ in range(n)]
    return y, pd.DataFrame({"group": [i for i, row in enumerate(table) for _ in range(sum(row))]})


def model(y: Any, X: Any) -> Flat:
    fit = proportional_odds(y, pd.DataFrame(X))
    return {
        "log_likelihood": fit.log_likelihood,
        "statistic": fit.likelihood_ratio().statistic,
        "alpha": fit.thresholds["alpha"].iloc[0],
    }


ESTIMATORS = {
    "proportional_odds": lambda y, X, name: flat(
        proportional_odds(y, pd.DataFrame(X)).odds_ratio(name)
    ),
    "ordinal_model": model,
    "parallelism": lambda y, X, method, terms=None: flat(
        proportional_odds(y, pd.DataFrame(X)).parallelism(method, terms=terms and [terms])
    ),
}


@pytest.mark.parametrize("case", read("ordinal"))
def test_agrees_with_r(case: dict[str, Any]) -> None:
    check(case, ESTIMATORS)
    assert case["expected"]


def test_published_check_values() -> None:
    fit = proportional_odds(*rows(CLUSTERS))
    e = fit.odds_ratio("group")
    assert [round(v or 0, 1) for v in (e.value, e.ci_low, e.ci_high)] == [48.1, 8.5, 273.4]
    assert f"{fit.likelihood_ratio().p_value:.1e}" == "4.0e-08"
    assert e.n == 46


def test_the_profile_interval_drops_the_likelihood_by_its_quantile() -> None:
    y, x = rows(CLUSTERS)
    fit = proportional_odds(y, x)
    e = fit.odds_ratio("group", profile=True)
    assert e.p_value == pytest.approx(fit.likelihood_ratio().p_value, rel=1e-8)
    assert e.ci_low < (e.value or 0) < e.ci_high  # type: ignore[operator]
    other = fit.odds_ratio("group")
    assert e.ci_low > (other.ci_low or 0)  # type: ignore[operator]


def test_two_levels_are_logistic_regression() -> None:
    y, x = rows([[12, 7], [25, 26]])
    a = proportional_odds(y, x).odds_ratio("group")
    b = logistic(y, x).odds_ratio("group", profile=False)
    for name in ("value", "ci_low", "ci_high", "p_value"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-7)
    assert proportional_odds(y, x).parallelism().value is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 1e3))
def test_reversing_the_levels_inverts_the_odds_ratio(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=50)
    y = np.digitize(x + rng.logistic(size=50), [-1, 0.5])
    e = proportional_odds(y, x).odds_ratio("x1")
    f = proportional_odds(-y, x * unit).odds_ratio("x1")
    assert math.log(e.value or 1) == pytest.approx(-math.log(f.value or 1) * unit, rel=1e-6)
    assert e.p_value == pytest.approx(f.p_value, rel=1e-6)


def test_separation_is_stated() -> None:
    fit = proportional_odds(*rows([[5, 0, 0], [0, 4, 6]]))
    assert fit.separated
    e = fit.odds_ratio("group")
    assert e.value is None and "separate" in (e.reason or "")
    assert fit.parallelism().value is None


def test_brant_gives_way_where_a_cut_is_separated() -> None:
    fit = proportional_odds(*rows([[9, 4, 0], [3, 5, 6]]))
    assert not fit.separated
    brant, ratio = fit.parallelism(), fit.parallelism("lr")
    assert brant.value is None and "likelihood ratio" in (brant.reason or "")
    assert ratio.value is not None and 0 <= ratio.value <= 1


def test_separate_slopes_with_crossing_cuts_are_no_model() -> None:
    # Nobody of the first group is in the middle: free slopes would give it P(fast) + P(slow) = 2.
    fit = proportional_odds(*rows([[4, 0, 4], [7, 6, 8]]))
    ratio = fit.parallelism("lr")
    assert ratio.value is None and "cross" in (ratio.reason or "")
    assert gates.parallel_odds(fit, terms=["group"]).statistic == fit.parallelism().value


def test_one_covariate_can_be_asked_alone() -> None:
    rng = np.random.default_rng(3)
    x = pd.DataFrame({"steady": rng.normal(size=400), "turning": np.repeat([0.0, 1.0], 200)})
    latent = 0.8 * x["steady"] + rng.logistic(size=400) * np.where(x["turning"] == 1, 3, 1)
    fit = proportional_odds(np.digitize(latent, [-1.0, 1.5]), x)
    for method in ("brant", "lr"):
        each = [fit.parallelism(method, terms=[t]) for t in x]  # type: ignore[arg-type]
        whole = fit.parallelism(method)  # type: ignore[arg-type]
        assert [e.df for e in each] == [1, 1] and whole.df == 2
        assert (each[1].value or 1) < 1e-4 < (each[0].value or 0)
        assert max(e.statistic or 0 for e in each) <= (whole.statistic or 0) + 1e-8
        both = fit.parallelism(method, terms=["turning", "steady"])  # type: ignore[arg-type]
        assert both.statistic == pytest.approx(whole.statistic)
    with pytest.raises(ValueError, match="no covariate 'age'"):
        fit.parallelism(terms=["age"])


def test_the_order_of_levels_is_the_callers() -> None:
    y = ["fast", "slow", "intermediate", "fast", "slow", "slow", "fast", "intermediate"]
    x = [1, 5, 3, 2, 4, 2, 4, 5]
    order = ["fast", "intermediate", "slow"]
    a = proportional_odds(y, x, levels=order)
    b = proportional_odds(pd.Series(pd.Categorical(y, order, ordered=True)), x)
    assert a.levels == tuple(order) == b.levels
    assert a.odds_ratio("x1").value == b.odds_ratio("x1").value
    assert a.thresholds["cut"].tolist() == ["fast|intermediate", "intermediate|slow"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: proportional_odds([1, 1], [1, 2]), "same level"),
        (lambda: proportional_odds([1, None], [1, 2]), "y at position 1 is None"),
        (lambda: proportional_odds(["a", "b"], [1, 2], levels=["a"]), "among the levels: ['b']"),
        (lambda: proportional_odds([1, 2, 3], [1, 1, 1]), "constant"),
        (lambda: proportional_odds([1, 2, 3], [1, 2, 4]).odds_ratio("z"), "no covariate 'z'"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()

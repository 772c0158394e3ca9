"""Meta-analysis: R's numbers, properties, and input that is refused."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from golden_cases import Flat, check, flat, read
from hypothesis import given
from hypothesis import strategies as st

from ballbook import meta_analysis as m


def pooled(**given_: Any) -> Flat:
    r = m.random_effects(**given_)
    return flat(r.pooled) | {
        "tau2": r.tau2.value,
        "tau2_low": r.tau2.ci_low,
        "tau2_high": r.tau2.ci_high,
        "i2": r.i2.value,
        "i2_low": r.i2.ci_low,
        "i2_high": r.i2.ci_high,
        "q": r.q.statistic,
        "q_p": r.q.p_value,
        "prediction_low": r.prediction_interval.ci_low,
        "prediction_high": r.prediction_interval.ci_high,
        "fixed": r.fixed.value,
        "fixed_low": r.fixed.ci_low,
        "fixed_high": r.fixed.ci_high,
        "fixed_p": r.fixed.p_value,
    }


def rare(**given_: Any) -> Flat:
    r = m.rare_counts_glmm(**given_)
    return flat(r.pooled) | {"tau2": r.tau2.value, "baseline": r.baseline.value}


ESTIMATORS = {
    "random_effects": pooled,
    "subgroup_test": lambda **g: flat(m.subgroup_test(**g).test),
    "log_hr_from_ci": lambda **g: m.log_hr_from_ci(**g)._asdict(),
    "log_hr_from_p": lambda **g: m.log_hr_from_p(**g)._asdict(),
    "log_hr_from_survival_at": lambda **g: m.log_hr_from_survival_at(**g)._asdict(),
    "rare_counts_glmm": rare,
}


@pytest.mark.parametrize("case", read("meta_analysis"))
def test_agrees_with_r(case: dict[str, Any]) -> None:
    check(case, ESTIMATORS)
    assert case["expected"]


effects = st.lists(st.tuples(st.floats(-3, 3), st.floats(0.05, 2)), min_size=2, max_size=8).filter(
    lambda v: len({e for e, _ in v}) > 1
)


@given(effects, st.floats(-2, 2), st.sampled_from(["REML", "DL"]))
def test_shifting_all_effects_shifts_the_mean_only(v: Any, shift: float, method: Any) -> None:
    y, s = (np.array(part) for part in zip(*v, strict=True))
    a = m.random_effects(y, s, kind="difference", method=method)
    b = m.random_effects(y + shift, s, kind="difference", method=method)
    assert b.pooled.value == pytest.approx(a.pooled.value + shift, abs=1e-5)  # type: ignore[operator]
    assert b.tau2.value == pytest.approx(a.tau2.value, abs=1e-5)
    assert 0 <= (a.i2.value or 0) < 1
    assert a.weights["weight_random"].sum() == pytest.approx(1)


@given(effects)
def test_reml_is_the_highest_point_of_its_likelihood(v: Any) -> None:
    y, s = (np.array(part) for part in zip(*v, strict=True))
    tau2 = m.random_effects(y, s).tau2.value
    assert tau2 is not None
    best = m._restricted_log_likelihood(tau2, y, s)
    others = [m._restricted_log_likelihood(t, y, s) for t in np.geomspace(1e-9, 100, 200)]
    assert best >= max(others) - 1e-9
    assert best >= m._restricted_log_likelihood(0.0, y, s) - 1e-9


def test_ratios_are_exponentiated_and_others_are_not() -> None:
    y, s = [0.5, 0.9, 0.1], [0.2, 0.3, 0.25]
    ratio, plain = m.random_effects(y, s), m.random_effects(y, s, kind="difference")
    assert ratio.pooled.value == pytest.approx(math.exp(plain.pooled.value or 0))
    assert ratio.weights["effect"].tolist() == pytest.approx(np.exp(y).tolist())
    assert ratio.pooled.kind == "hazard-ratio" and plain.pooled.kind == "difference"


def test_one_study_is_stated() -> None:
    one = m.random_effects([0.5], [0.2])
    assert "one study" in (one.pooled.reason or "")
    for missing in (one.tau2, one.i2, one.q, one.prediction_interval):
        assert missing.value is None and missing.reason == "one study"
    test = m.subgroup_test([0.5, 0.7], [0.2, 0.3], ["a", "a"]).test
    assert test.value is None and test.reason == "only one subgroup"


def test_a_narrow_hartung_knapp_interval_carries_a_warning() -> None:
    r = m.random_effects([0.50, 0.52, 0.47, 0.55], [0.2, 0.3, 0.25, 0.4])
    assert "narrower than the normal one" in (r.pooled.reason or "")
    assert m.random_effects([0.1, 0.9, 1.7], [0.2, 0.3, 0.25]).pooled.reason is None


@given(effects, st.sampled_from(["hazard-ratio", "difference"]))
def test_a_verdict_is_judged_by_the_wider_interval(v: Any, kind: Any) -> None:
    y, s = (np.array(part) for part in zip(*v, strict=True))
    both = [m.random_effects(y, s, kind=kind, knapp_hartung=h).pooled for h in (True, False)]
    fit = m.pooled_for_verdict(y, s, kind=kind)
    assert fit.pooled.ci_low == min(e.ci_low for e in both)  # type: ignore[type-var]
    assert fit.pooled.ci_high == max(e.ci_high for e in both)  # type: ignore[type-var]
    null = 1 if kind == "hazard-ratio" else 0
    assert fit.pooled.ci_low is not None and fit.pooled.ci_high is not None
    assert fit.pooled.p_value is not None
    assert (fit.pooled.p_value < 0.05) == (not fit.pooled.ci_low <= null <= fit.pooled.ci_high)
    if len(y) == 2:
        assert fit.prediction_interval.value is None
    else:
        assert fit.prediction_interval.ci_low < fit.pooled.ci_low  # type: ignore[operator]
        assert fit.prediction_interval.ci_high > fit.pooled.ci_high  # type: ignore[operator]


def test_two_studies_that_agree_and_two_that_do_not() -> None:
    agree = m.pooled_for_verdict([0.70, 0.71], [0.2, 0.2], kind="difference")
    assert agree.method.startswith("REML random effects, normal interval")
    assert agree.pooled.ci_high == pytest.approx(0.705 + 1.959964 * 0.2 / math.sqrt(2))
    apart = m.pooled_for_verdict([0.2, 1.2], [0.1, 0.1], kind="difference")
    assert apart.pooled.ci_high == pytest.approx(0.7 + 12.7062 * 0.5, rel=1e-5)
    one = m.pooled_for_verdict([0.7], [0.2], kind="difference")
    assert "single study" in one.method and one.prediction_interval.value is None


def test_prediction_for_a_new_study_is_not_the_interval_of_the_mean() -> None:
    fit = m.pooled_for_verdict([0.5, 0.5, 0.5, 0.5], [0.2] * 4, kind="difference")
    assert fit.tau2.value == 0
    assert fit.pooled.ci_high == pytest.approx(0.5 + 1.959964 * 0.1)
    assert fit.prediction_interval.ci_high == pytest.approx(0.5 + 4.302653 * 0.1)
    assert "cannot exclude" in str(fit.prediction_interval.reason)
    varied = m.pooled_for_verdict([0.0, 1.0, 2.0], [0.1] * 3, kind="difference")
    assert varied.prediction_interval.reason is None


@given(st.floats(0.05, 20), st.floats(0.05, 1.5))
def test_an_interval_gives_back_its_standard_error(hr: float, se: float) -> None:
    low, high = hr * math.exp(-1.959963984540054 * se), hr * math.exp(1.959963984540054 * se)
    found = m.log_hr_from_ci(hr, low, high)
    assert found.value == pytest.approx(math.log(hr))
    assert found.std_error == pytest.approx(se)
    p = 2 * m.stats.norm.sf(abs(math.log(hr)) / se)
    if 1e-10 < p < 0.99:
        assert m.log_hr_from_p(p, hr=hr).std_error == pytest.approx(se, rel=1e-6)


def test_survival_at_a_time_gives_the_ratio_of_cumulative_hazards() -> None:
    y, se = m.log_hr_from_survival_at(0.64, 0.8, n=(100, 100))
    assert math.exp(y) == pytest.approx(math.log(0.64) / math.log(0.8))
    closer = m.log_hr_from_survival_at(0.64, 0.8, n=(400, 400)).std_error
    assert closer == pytest.approx(se / 2)
    assert m.log_hr_from_survival_at(0.64, 0.8, p=0.01).value == pytest.approx(y)
    better = m.log_hr_from_p(0.01, n_events=40, n_exposed=50, n_reference=50, worse=False)
    assert better.value < 0


def test_glmm_without_variation_is_ordinary_logistic_regression() -> None:
    r = m.rare_counts_glmm([5, 10, 20], [50, 100, 200])
    assert r.pooled.value == pytest.approx(0.1, rel=1e-9)
    assert r.tau2.value == 0 and r.heterogeneity.value == 1
    se = 1 / math.sqrt(350 * 0.1 * 0.9)
    half = 1.959963984540054 * se
    low = 1 / (1 + math.exp(-(math.log(1 / 9) - half)))
    assert r.pooled.ci_low == pytest.approx(low, rel=1e-5)


@pytest.mark.parametrize("k", [(1, 0, 4), (1, 2, 7), (3, 5, 2)])
def test_glmm_is_unmoved_by_the_number_of_nodes(k: tuple[int, ...]) -> None:
    n = (30, 40, 25)
    r, finer = m.rare_counts_glmm(k, n), m.rare_counts_glmm(k, n, quadrature=41)
    assert r.log_likelihood == pytest.approx(finer.log_likelihood, abs=1e-3)
    assert r.pooled.value == pytest.approx(finer.pooled.value, abs=2e-3)
    assert r.log_likelihood < 0


def test_glmm_warns_where_studies_have_nothing_in_common() -> None:
    r = m.rare_counts_glmm((0, 0, 7), (30, 40, 25))
    assert "differ so much" in (r.pooled.reason or "")


def test_glmm_states_what_it_cannot_estimate() -> None:
    assert m.rare_counts_glmm([0, 0], [5, 9]).pooled.reason == "no events"
    arms = m.rare_counts_glmm([0, 3, 0, 2], [9, 9, 9, 9], [1, 1, 2, 2], exposed=[1, 0, 1, 0])
    assert arms.pooled.value is None and "exposed" in (arms.pooled.reason or "")
    one = m.rare_counts_glmm([3], [40])
    assert one.pooled.value == pytest.approx(3 / 40) and one.tau2.reason == "one study"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: m.random_effects([], []), "effects: expected at least 1"),
        (lambda: m.random_effects([1, 2], [1]), "unequal lengths: effects 2, std_errors 1"),
        (lambda: m.random_effects([1, 2], [1, 0]), "std_errors: expected positive"),
        (lambda: m.random_effects([1, float("nan")], [1, 1]), "effects at position 1 is nan"),
        (lambda: m.random_effects([1, 2], [1, 1], ["a"]), "labels has 1 values, expected 2"),
        (lambda: m.random_effects([1], [1], method="ML"), "method: expected REML or DL"),  # type: ignore[arg-type]
        (lambda: m.log_hr_from_ci(3, 1, 2), "outside its interval"),
        (lambda: m.se_from_ci(2, 1), "not below the upper bound"),
        (lambda: m.se_from_ci(-1, 1, scale="log"), "must be positive"),
        (lambda: m.se_from_ci(0.5, 1, scale="log-log"), "within 0..1"),
        (lambda: m.log_hr_from_p(0, hr=2), "p: expected a value between"),
        (lambda: m.log_hr_from_p(0.04), "give hr, or n_events"),
        (lambda: m.log_hr_from_survival_at(1, 0.5, p=0.1), "strictly between 0 and 1"),
        (lambda: m.log_hr_from_survival_at(0.6, 0.5), "exactly one of"),
        (lambda: m.rare_counts_glmm([5], [3]), "5 events among only 3"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()

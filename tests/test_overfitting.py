"""Shrinkage, exaggeration, chosen cut-offs and small models: closed forms, R, and simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from ballbook import overfitting as o
from ballbook.cox import firth_cox


@pytest.fixture
def r(golden: Any) -> Any:
    return golden("immunotherapy")


def as_draws(trials: list[dict[str, Any]]) -> tuple[o.Draws, o.Floats]:
    """Return trials without ties as who was at risk at each event, and their factors."""
    at_risk, who = [], []
    for t in trials:
        time, event = np.array(t["time"]), np.array(t["event"]) == 1
        order = np.flatnonzero(event)[np.argsort(time[event])]
        at_risk.append([time >= time[i] for i in order])
        who.append(order)
    return o.Draws(np.array(at_risk), np.array(who)), np.array([t["x"] for t in trials], float)


# ----------------------------------------------------------------------------- closed forms


def test_shrinkage_is_what_is_left_of_the_chi_square() -> None:
    assert o.heuristic_shrinkage(10.0, 1) == pytest.approx(0.9)
    assert o.heuristic_shrinkage(10.0, 4) == pytest.approx(0.6)
    assert o.heuristic_shrinkage(3.0, 6) == 0.0


@pytest.mark.parametrize(("chi_squared", "candidates"), [(0, 1), (-2, 1), (5, 0), (math.nan, 2)])
def test_shrinkage_of_nothing_is_refused(chi_squared: float, candidates: int) -> None:
    with pytest.raises(ValueError):
        o.heuristic_shrinkage(chi_squared, candidates)


@pytest.mark.parametrize("effect", [0.1, math.log(2), -math.log(3), math.log(8.86)])
@pytest.mark.parametrize("std_error", [0.3, 0.68])
def test_exaggeration_is_the_integral_beyond_the_limits(effect: float, std_error: float) -> None:
    found, z = o.exaggeration(effect, std_error), float(norm.isf(0.025))
    b, limit = abs(effect), z * std_error

    def density(v: float) -> float:
        return float(norm.pdf(v, b, std_error))

    above = quad(density, limit, 12)[0]
    below = quad(density, -12, -limit)[0]
    size = quad(lambda v: abs(v) * density(v), limit, 12)[0]
    size += quad(lambda v: abs(v) * density(v), -12, -limit)[0]
    assert found.power == pytest.approx(above + below)
    assert found.wrong_sign == pytest.approx(below / (above + below))
    assert found.expected == pytest.approx(size / (above + below))
    assert found.factor == pytest.approx(found.expected / b)


def test_a_precise_study_does_not_exaggerate_and_no_effect_is_refused() -> None:
    found = o.exaggeration(1.0, 0.05)
    assert found.factor == pytest.approx(1) and found.power == pytest.approx(1)
    for effect, error in ((0.0, 0.3), (1.0, 0.0), (1.0, -1.0)):
        with pytest.raises(ValueError, match="expected other than 0"):
            o.exaggeration(effect, error)


def test_the_p_of_a_chosen_cut_off_equals_maxstat(r: Any) -> None:
    compared = 0
    for case in r["cutoffs"]:
        for p, adjusted in zip(case["p"], case["adjusted"], strict=True):
            if adjusted < 1:
                assert o.maximally_selected_p(p, case["inner"]) == pytest.approx(adjusted, rel=1e-6)
                compared += 1
    assert compared > 8


def test_the_p_of_a_chosen_cut_off_stays_a_probability() -> None:
    for p in (0.9, 0.4, 0.2, 1e-9):
        for inner in (0.01, 0.1, 0.49):
            assert p <= o.maximally_selected_p(p, inner) <= 1
    for wrong in ((0.0, 0.1), (1.0, 0.1), (0.01, 0.0), (0.01, 0.5)):
        with pytest.raises(ValueError, match="expected within"):
            o.maximally_selected_p(*wrong)


# --------------------------------------------------------------------------------- fits


def test_single_factors_equal_coxph(r: Any) -> None:
    draws, x = as_draws(r["trials"])
    beta, score = o.one_factor(draws, x == 1)
    for i, t in enumerate(r["trials"]):
        assert beta[i] == pytest.approx([a["coef"] for a in t["alone"]], rel=1e-5)
        assert score[i] == pytest.approx([a["score"] for a in t["alone"]], rel=1e-6)


def test_factors_together_equal_coxph_and_firth(r: Any) -> None:
    draws, x = as_draws(r["trials"])
    beta, error = o.several_factors(draws, x)
    penalised, its_error = o.several_factors(draws, x, firth=True)
    for i, t in enumerate(r["trials"]):
        assert beta[i] == pytest.approx(t["coef"], rel=1e-6)
        assert error[i] == pytest.approx(t["se"], rel=1e-6)
        fit = firth_cox(t["time"], t["event"], pd.DataFrame(x[i], columns=["a", "b", "c"]))
        assert penalised[i] == pytest.approx(fit.coef, abs=1e-5)
        assert its_error[i] == pytest.approx(fit.table["se"].to_numpy(), rel=1e-5)


def test_a_factor_of_all_who_relapse_has_no_maximum_but_a_penalised_one() -> None:
    rng = np.random.default_rng(1)
    draws = o.draw(np.where(np.arange(40) < 10, 30.0, 0.0)[None, :], 5, rng)
    x = (np.arange(40) < 10)[None, :, None]
    alone, _ = o.one_factor(draws, x)
    together, error = o.several_factors(draws, x.astype(float))
    assert alone[0, 0] == together[0, 0] == error[0, 0] == math.inf
    assert 0 < o.several_factors(draws, x.astype(float), firth=True)[0][0, 0] < 8
    nobody, _ = o.one_factor(draws, np.zeros((1, 40, 1), dtype=bool))
    assert np.isnan(nobody).all()


# -------------------------------------------------------------------------------- draws


def test_draws_follow_the_hazard_ratio() -> None:
    """Many events among many patients give the ratio that was put in."""
    rng = np.random.default_rng(7)
    x = np.arange(400) < 120
    draws = o.draw(np.where(x, math.log(3), 0.0)[None, :].repeat(60, axis=0), 150, rng)
    beta, _ = o.one_factor(draws, np.broadcast_to(x[None, :, None], (60, 400, 1)))
    assert float(np.exp(beta.mean())) == pytest.approx(3, rel=0.06)


def test_nobody_relapses_twice_or_after_leaving() -> None:
    draws = o.draw(np.zeros((50, 76)), 10, np.random.default_rng(2))
    for at_risk, who in zip(draws.at_risk, draws.who, strict=True):
        assert len(set(who)) == 10
        assert at_risk[np.arange(10), who].all()
        assert not any(at_risk[j + 1 :, w].any() for j, w in enumerate(who))
    with pytest.raises(ValueError, match="n_events is 76 of 76"):
        o.draw(np.zeros((1, 76)), 76, np.random.default_rng(2))


def test_one_factor_without_effect_is_significant_one_time_in_twenty() -> None:
    found = o.strongest_by_chance(
        200, 60, [1, 4, 12], prevalence=0.4, hazard_ratio=3, p_value=0.01, sets=1500, seed=5
    ).set_index("candidates")
    assert found.loc[1, "significant"] == pytest.approx(0.05, abs=0.017)
    assert found.loc[4, "significant"] == pytest.approx(1 - 0.95**4, abs=0.035)
    assert found.loc[1, "as_small"] == pytest.approx(0.01, abs=0.009)
    for column in ("significant", "as_small", "as_large", "median_ratio"):
        assert found[column].is_monotonic_increasing


def test_a_chosen_cut_off_is_significant_too_often_and_the_formula_says_how_often() -> None:
    """Many events: the approximation of Miller and Siegmund holds at the 1% level."""
    z = float(norm.isf(0.002 / 2))
    p = float(2 * norm.sf(z))
    found = o.cutoff_by_chance(
        160, 70, share_above=0.25, true_ratio=1.0, p_value=p, sets=1500, seed=4
    )
    assert found["fixed_significant"] == pytest.approx(0.05, abs=0.02)
    assert found["significant"] > 4 * found["fixed_significant"]
    assert found["as_small"] == pytest.approx(o.maximally_selected_p(p), abs=0.015)


def test_a_chosen_cut_off_exaggerates_a_real_effect() -> None:
    found = o.cutoff_by_chance(
        76, 10, share_above=0.25, true_ratio=3.0, p_value=0.001, sets=600, seed=4
    )
    assert found["fixed_ratio"] == pytest.approx(3, rel=0.25)
    assert found["ratio"] > 1.3 * found["fixed_ratio"]
    assert found["low"] <= found["middle"] <= found["high"]


def test_a_small_model_of_overlapping_factors_exaggerates_what_it_finds() -> None:
    few = o.small_model(
        76, 10, prevalence=(0.22, 0.2, 0.3, 0.3, 0.2), hazard_ratio=3, sets=300, seed=3, lean=6
    ).set_index("model")
    alone, together = few.loc["alone"], few.loc["together"]
    assert together["significant"] < alone["significant"]
    assert together["significant_ratio"] > 1.5 * alone["significant_ratio"]
    assert few.loc["together, Firth", "infinite"] == 0
    many = o.small_model(
        500, 200, prevalence=(0.3, 0.2, 0.3), hazard_ratio=3, sets=60, seed=3
    ).set_index("model")
    assert many["median_ratio"].to_numpy() == pytest.approx(3, rel=0.08)
    assert (many["covered"] > 0.88).all()


def test_the_same_seed_gives_the_same_draws() -> None:
    given: dict[str, Any] = dict(prevalence=(0.3, 0.3), hazard_ratio=2, sets=20)
    first, second, other = (o.small_model(60, 8, seed=s, **given) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(first, second)
    assert not first.equals(other)

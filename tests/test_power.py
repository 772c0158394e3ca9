"""Power and precision: against R, against simulation, against bad input."""

from __future__ import annotations

import math
from typing import Any

import golden_cases
import numpy as np
import pytest

from ballbook import power
from ballbook.results import Estimate, not_estimable
from ballbook.survival import kaplan_meier, logrank

ESTIMATORS = {
    name: (lambda call: lambda **k: golden_cases.flat(call(**k)))(getattr(power, name))
    for name in (
        "logrank_events",
        "logrank_power",
        "cox_events",
        "cox_power",
        "two_proportions_power",
        "two_proportions_n",
        "medians_power",
    )
}


@pytest.mark.parametrize("case", golden_cases.read("power"))
def test_agrees_with_r(case: dict[str, Any]) -> None:
    assert case["expected"]
    golden_cases.check(case, ESTIMATORS)


def test_published_examples() -> None:
    # Hazard ratio 2, equal groups, 80% power: 66 events (Schoenfeld), 71 (Freedman).
    assert power.logrank_events(2).value == 66
    assert power.logrank_events(0.5, method="freedman").value == 71
    # The myeloma example of Hsieh & Lavori (2000).
    found = power.cox_events(math.e, alpha=0.1, sd=0.3126, r_squared=0.1837)
    assert found.statistic == pytest.approx(77.5, abs=0.05)


@pytest.mark.parametrize("hr", [0.4, 1.8, 3.0])
@pytest.mark.parametrize("method", ["schoenfeld", "freedman"])
def test_events_give_the_power_they_were_asked_for(hr: float, method: Any) -> None:
    for wanted in (0.8, 0.9):
        events = power.logrank_events(hr, power=wanted, allocation=0.3, method=method).statistic
        assert events is not None
        reached = power.logrank_power(hr, events, allocation=0.3, method=method).value
        assert reached == pytest.approx(wanted, abs=1e-4)
    if method == "schoenfeld":
        seen = power.detectable_hazard_ratio(events, power=0.9, allocation=0.3).value
        assert seen == pytest.approx(max(hr, 1 / hr), rel=1e-9)


def test_no_effect_is_seen_with_probability_alpha() -> None:
    assert power.logrank_power(1, 100).value == pytest.approx(0.05)
    assert power.two_proportions_power(0.3, 0.3, 50, 50).value == pytest.approx(0.05)
    exact = power.two_proportions_power(0.3, 0.3, 50, 50, method="exact").value
    assert exact is not None
    assert exact < 0.05
    assert power.cox_power(1, 50, sd=1, alpha=0.01).value == pytest.approx(0.01)


def test_medians_power_is_that_of_simulated_trials() -> None:
    random = np.random.default_rng(5)
    seen, trials, n = 0, 400, 60
    for _ in range(trials):
        group = np.repeat([0, 1], n)
        survival = random.exponential(np.where(group == 1, 14, 8) / math.log(2))
        followed = 12 + random.uniform(0, 24, 2 * n)
        p = logrank(np.minimum(survival, followed), survival <= followed, group).value
        seen += p is not None and p <= 0.05
    expected = power.medians_power(14, 8, n, n, accrual=24, follow_up=12)
    assert expected.value is not None
    # Three standard errors of 400 simulated trials.
    assert seen / trials == pytest.approx(expected.value, abs=0.075)


def test_median_interval_is_that_of_simulated_curves() -> None:
    random = np.random.default_rng(6)
    medians = [
        kaplan_meier(random.exponential(size=200), np.ones(200)).median() for _ in range(400)
    ]
    spread = np.std([math.log(m.value) for m in medians if m.value])
    found = power.median_interval(1, 200)
    assert found.ci_high is not None
    assert math.log(found.ci_high) / 1.959964 == pytest.approx(spread, rel=0.12)
    width = found.ci_high - (found.ci_low or 0)
    assert power.median_n_for_width(1, width).value == pytest.approx(200, abs=1)
    half = power.median_n_for_width(1, width, event_fraction=0.5).value
    assert half == pytest.approx(400, abs=1)
    assert power.median_n_for_width(1, width, method="exponential").value == pytest.approx(
        97, abs=1
    )


def test_power_to_see_a_published_effect() -> None:
    hr = Estimate("hazard-ratio", 2.1)
    seen = power.power_to_see(hr, n_events=40, allocation=0.3)
    assert seen.value == power.logrank_power(2.1, 40, allocation=0.3).value
    assert seen.label == "power to see hazard ratio 2.1"
    odds = power.power_to_see(Estimate("odds-ratio", 3.0), n1=40, n0=100, p0=0.2)
    exact = power.two_proportions_power(0.75 / 1.75, 0.2, 40, 100, method="exact")
    assert odds.value == pytest.approx(exact.value)
    assert power.power_to_see(hr, n_events=0).value is None
    assert (
        power.power_to_see(not_estimable("hazard-ratio", "not printed"), n_events=9).value is None
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: power.logrank_events(1), "hr is 1"),
        (lambda: power.logrank_events(-2), "hr is -2, expected a number above 0"),
        (lambda: power.logrank_events(2, power=1.2), "power is 1.2"),
        (lambda: power.logrank_events(2, allocation=0), "allocation is 0"),
        (lambda: power.logrank_power(2, 0), "events is 0"),
        (lambda: power.logrank_power(2, 10, alpha=0), "alpha is 0"),
        (lambda: power.logrank_power(2, 10, method="x"), "method is 'x'"),  # type: ignore[arg-type]
        (lambda: power.cox_power(2, 10), "either prevalence"),
        (lambda: power.cox_power(2, 10, prevalence=0.2, r_squared=1), "r_squared is 1"),
        (lambda: power.two_proportions_power(0, 0.5, 10, 10), "p1 is 0"),
        (lambda: power.two_proportions_power(0.1, 0.5, 0, 10), "n1 is 0"),
        (lambda: power.two_proportions_n(0.5, 0.5), "p1 and p2 are equal"),
        (lambda: power.medians_power(5, math.nan, 9, 9, accrual=1, follow_up=1), "median is nan"),
        (lambda: power.medians_power(5, 9, 9, 9, accrual=0, follow_up=0), "nor both 0"),
        (lambda: power.median_n_for_width(5, 0), "width is 0"),
        (lambda: power.power_to_see(Estimate("median", 3.0)), "published is a median"),
        (lambda: power.power_to_see(Estimate("hazard-ratio", 3.0)), "needs n_events"),
        (lambda: power.power_to_see(Estimate("odds-ratio", 3.0), n1=3), "needs n1, n0"),
    ],
)
def test_malformed_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

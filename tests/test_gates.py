"""Gates: each passes, fails, says what is done, and switches."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballbook import gates as g
from ballbook.contingency import chi_squared, fisher_exact
from ballbook.cox import cox, firth_cox
from ballbook.logistic import firth_logistic, logistic
from ballbook.ordinal import proportional_odds
from ballbook.results import Estimate, Gate

CLUSTERS = [[12, 5, 1], [1, 7, 20]]
ZPH = pd.DataFrame({"term": ["age", "wbc", "GLOBAL"], "p": [0.40, 0.01, 0.06]})
LEVELS = [0] * 12 + [1] * 5 + [2] + [0] + [1] * 7 + [2] * 20
CROSSING = [0] * 20 + [1] + [2] * 20 + [0] * 6 + [1] * 30 + [2] * 6


def rows(first: int, second: int) -> pd.DataFrame:
    return pd.DataFrame({"x": [0] * first + [1] * second})


@pytest.mark.parametrize(
    ("gate", "status", "statistic", "words"),
    [
        (g.events_per_variable(60, 3), "passed", 20, "60 events for 3 coefficients"),
        (g.events_per_variable(12, 3), "failed", 4, "Firth"),
        (g.events_per_variable(90, 2, n=100), "failed", 5, "10 patients without the event"),
        (g.events_per_variable(9, 0), "not-applicable", None, "no covariates"),
        (g.proportional_hazards(ZPH), "failed", 0.01, "wbc"),
        (g.proportional_hazards(ZPH.iloc[[0, 2]]), "passed", 0.06, "all covariates together"),
        (g.proportional_hazards(0.2), "passed", 0.2, "Grambsch-Therneau"),
        (
            g.proportional_hazards(ZPH.assign(p=np.nan)),
            "not-applicable",
            None,
            "could not be computed",
        ),
        (g.competing_events([0, 1, 1, 2]), "failed", 1 / 3, "Fine-Gray"),
        (g.competing_events([0, 1, 1]), "passed", 0, "no competing"),
        (g.competing_events([0, 0]), "not-applicable", None, "no events"),
        (g.left_truncation(None), "passed", 0, "time zero"),
        (g.left_truncation([0, 0]), "passed", 0, "time zero"),
        (g.left_truncation([0, 3, 1, 0]), "failed", 0.5, "2 of 4 patients entered late"),
        (g.separation([0, 0, 1, 1], rows(2, 2)), "failed", 1, "x separates the outcome: Firth"),
        (g.separation([0, 1, 0, 1], rows(2, 2)), "passed", 0, "finite"),
        (g.expected_counts(CLUSTERS), "failed", 108 / 23, "4.70: Fisher"),
        (g.expected_counts([[20, 20], [20, 20]]), "passed", 20, "smallest"),
        (g.parallel_odds(proportional_odds(LEVELS, rows(18, 28))), "passed", None, "Brant"),
        (g.parallel_odds(proportional_odds(CROSSING, rows(41, 42))), "failed", None, "each cut"),
        (g.parallel_odds(0.3), "passed", 0.3, "parallel"),
        (g.minimum_group_size(list("aaaaab")), "failed", 1, "b (1)"),
        (g.minimum_group_size({"a": 9, "b": 5}), "passed", 5, "smallest"),
        (g.multiplicity([0.01, 0.04, 0.2]), "failed", 1, "Benjamini-Hochberg"),
        (g.multiplicity([0.01, 0.02]), "passed", 0, "2 of 2 P values lie below 0.05, and still"),
        (g.multiplicity([0.1, 0.2]), "passed", 0, "0 of 2 P values lie below 0.05"),
        (g.multiplicity([0.01, 0.03], method="bonferroni"), "failed", 1, "Bonferroni"),
        (g.multiplicity([0.03]), "not-applicable", None, "single"),
        (g.immortal_time([2, np.nan, 0], [6, 5, 2]), "failed", 0.25, "landmark"),
        (g.immortal_time([0, np.nan, 0], [6, 5, 2]), "passed", 0, "time zero"),
        (g.immortal_time([np.nan, np.nan], [6, 5]), "not-applicable", None, "nobody"),
    ],
)
def test_each_gate(gate: Gate, status: str, statistic: float | None, words: str) -> None:
    assert gate.status == status
    assert words in gate.action
    if statistic is not None:
        assert gate.statistic == pytest.approx(statistic)
    elif status == "not-applicable":
        assert gate.statistic is None


def test_hazards_that_cannot_be_tested_say_why() -> None:
    x = pd.DataFrame({"x": [0, 1, 0, 1, 0, 1, 0, 0]})
    time, event = [1, 2, 3, 4, 5, 6, 7, 8], [1, 1, 1, 0, 1, 1, 0, 1]
    separated = (1 - x["x"]) * np.array(event)
    for fit, why in (
        (firth_cox(time, event, x), "unpenalised"),
        (cox(time, separated, x), "no events where x is 1; use firth_cox"),
        (cox(time, [0] * 8, x), "no events"),
    ):
        gate = g.proportional_hazards(fit)
        assert (gate.status, gate.statistic) == ("not-applicable", None)
        assert why in gate.action


def test_a_factor_is_one_term_of_the_hazards_test() -> None:
    random = np.random.default_rng(5)
    level = random.integers(0, 4, 200)
    x = pd.DataFrame({name: (level == i).astype(int) for i, name in enumerate("bcd", 1)})
    fit = cox(random.exponential(size=200), np.ones(200), x.assign(age=random.normal(size=200)))
    columns = fit.proportional_hazards().set_index("term")["p"]
    rows = fit.proportional_hazards(factors={"stage": list("bcd")}).set_index("term")
    assert list(rows.index) == ["stage", "age", "GLOBAL"]
    assert list(rows["df"]) == [3, 1, 4]
    together = g.proportional_hazards(fit, factors={"stage": list("bcd")}, only="stage")
    assert together.statistic == rows.loc["stage", "p"] > columns["c"]
    assert g.proportional_hazards(fit, only="age").statistic == columns["age"]
    assert g.proportional_hazards(fit, only="GLOBAL").statistic == columns["GLOBAL"]
    for factors in ({"stage": ["b", "e"]}, {"one": ["b"], "two": ["b"]}, {"none": []}):
        with pytest.raises(ValueError, match="factors: "):
            g.proportional_hazards(fit, factors=factors)


def test_a_level_nobody_has_is_a_group_that_is_too_small() -> None:
    groups = pd.Series(pd.Categorical(["a"] * 6, categories=["a", "b"]))
    gate = g.minimum_group_size(groups)
    assert gate.status == "failed" and "b (0)" in gate.action


def test_parallel_odds_falls_back_on_the_likelihood_ratio() -> None:
    y = [0] * 9 + [1] * 4 + [0] * 3 + [1] * 5 + [2] * 6
    gate = g.parallel_odds(proportional_odds(y, rows(13, 14)))
    assert proportional_odds(y, rows(13, 14)).parallelism().value is None
    assert gate.statistic == proportional_odds(y, rows(13, 14)).parallelism("lr").value


def test_a_failed_gate_switches_and_keeps_both() -> None:
    primary = chi_squared(CLUSTERS).named("clusters-p", "clusters", tier="published")
    s = g.switch(g.expected_counts(CLUSTERS), primary, fisher_exact(CLUSTERS))
    assert s.reported.value == fisher_exact(CLUSTERS).value
    assert s.reported.id == "clusters-p" and s.reported.tier == "published"
    assert s.gate.action in (s.reported.reason or "")
    assert s.kept.id == "clusters-p-primary" and s.kept.value == primary.value
    assert {e.id for e in s.both()} == {"clusters-p", "clusters-p-primary"}


def test_a_passed_gate_reports_the_primary() -> None:
    primary, other = Estimate("p-value", 0.2, id="a"), Estimate("p-value", 0.3)
    s = g.switch(Gate("x", "passed"), primary, other)
    assert s.reported is primary
    assert s.kept.value == 0.3 and s.kept.id == "a-alternative"
    assert g.switch(Gate("x", "not-applicable"), primary, other).reported is primary


def test_separation_switches_to_a_finite_estimate() -> None:
    y, x = [0, 0, 0, 1, 1, 1, 1, 1], pd.DataFrame({"del": [0, 0, 0, 0, 1, 1, 1, 1]})
    s = g.switch(
        g.separation(y, x), logistic(y, x).odds_ratio("del"), firth_logistic(y, x).odds_ratio("del")
    )
    assert s.reported.value is not None and s.kept.value is None


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_fewer_findings_survive_a_stricter_adjustment(p: list[float]) -> None:
    lost = [g.multiplicity(p, method=m).statistic for m in ("BH", "holm", "bonferroni")]
    assert lost == sorted(lost)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: g.events_per_variable(-1, 2), "n_events: expected non-negative"),
        (lambda: g.events_per_variable(9, 2, n=5), "n: 5 patients cannot have 9 events"),
        (lambda: g.proportional_hazards(pd.DataFrame({"a": [1]})), "columns term and p"),
        (lambda: g.proportional_hazards(ZPH, factors={"f": ["age"]}), "give the fit itself"),
        (lambda: g.proportional_hazards(ZPH, only="stage"), "expected one of ['age', 'wbc'"),
        (lambda: g.left_truncation([-1, 2]), "entry: expected times from zero on"),
        (lambda: g.competing_events([1, np.nan]), "cause at position 1 is nan"),
        (lambda: g.minimum_group_size({}), "no groups were given"),
        (lambda: g.multiplicity([0.1, 0.2], method="fdr"), "expected one of BH, holm"),
        (lambda: g.immortal_time([9], [5]), "after the end of follow-up at position 0"),
        (lambda: g.immortal_time([1, 2], [5]), "unequal lengths"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()

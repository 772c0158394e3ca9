"""Every estimator on input that is wrong: a clear error, or a stated result, never a traceback.

Each estimator gets a call that works; then one argument at a time is spoilt. What is raised must be
a `ValueError` of this package, from its own frame, that names the argument.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ballbook import (
    competing_risks,
    contingency,
    cox,
    linear,
    logistic,
    meta_analysis,
    multiplicity,
    ordinal,
    power,
    rank_tests,
    survival,
)
from ballbook.results import Estimate

TIME, EVENT = [1.0, 2, 3, 4, 5, 6, 7, 8], [1, 0, 1, 1, 0, 1, 1, 0]
CAUSE, GROUP = [1, 0, 2, 1, 0, 2, 1, 0], list("aabbabab")
X = pd.DataFrame({"x": [0, 1, 0, 1, 1, 0, 1, 0], "w": [0.1, 0.7, 0.2, 0.9, 0.5, 0.3, 0.8, 0.4]})
TABLE, FOLLOWED = [[3, 4], [5, 6]], {"time": TIME, "event": EVENT}
COMPETING = {"time": TIME, "cause": CAUSE}
STUDIES = {"effects": [0.1, 0.3, 0.2, 0.5], "std_errors": [0.1, 0.2, 0.1, 0.2]}

Call = tuple[Callable[..., Any], dict[str, Any]]
CALLS: list[Call] = [
    (survival.kaplan_meier, FOLLOWED),
    (survival.kaplan_meier_by, {**FOLLOWED, "group": GROUP}),
    (survival.logrank, {**FOLLOWED, "group": GROUP}),
    (survival.restricted_mean_difference, {**FOLLOWED, "group": GROUP, "tau": 5}),
    (survival.landmark, {**FOLLOWED, "at": 2}),
    (survival.median_follow_up, FOLLOWED),
    (cox.cox, {**FOLLOWED, "covariates": X}),
    (cox.firth_cox, {**FOLLOWED, "covariates": X}),
    (lambda **k: cox.bootstrap_cox(**k, n_boot=3, seed=1), {**FOLLOWED, "covariates": X[["w"]]}),
    (competing_risks.cumulative_incidence, COMPETING),
    (competing_risks.cumulative_incidence_by, {**COMPETING, "group": GROUP}),
    (competing_risks.gray_test, {**COMPETING, "group": GROUP}),
    (competing_risks.fine_gray, {**COMPETING, "covariates": X}),
    (competing_risks.cause_specific_cox, {**COMPETING, "covariates": X}),
    (logistic.logistic, {"y": EVENT, "X": X}),
    (logistic.firth_logistic, {"y": EVENT, "X": X}),
    (logistic.separating_terms, {"y": EVENT, "X": X}),
    (ordinal.proportional_odds, {"y": [0, 1, 2, 1, 0, 2, 1, 0], "X": X}),
    (linear.anova, {"values": TIME, "groups": GROUP}),
    (linear.tukey, {"values": TIME, "groups": GROUP}),
    (linear.linear_model, {"y": TIME, "X": X}),
    (rank_tests.mann_whitney, {"x": TIME, "y": [2.0, 3, 4]}),
    (rank_tests.kruskal_wallis, {"values": TIME, "groups": GROUP}),
    (rank_tests.spearman, {"x": TIME, "y": list(X["w"])}),
    (rank_tests.kendall, {"x": TIME, "y": list(X["w"])}),
    (multiplicity.benjamini_hochberg, {"p": [0.1, 0.2]}),
    (multiplicity.holm, {"p": [0.1, 0.2]}),
    (multiplicity.bonferroni, {"p": [0.1, 0.2]}),
    (contingency.proportion, {"k": 3, "n": 9}),
    (contingency.risk_difference, {"k1": 1, "n1": 8, "k2": 3, "n2": 9}),
    (contingency.odds_ratio, {"a": 3, "b": 4, "c": 5, "d": 6}),
    (contingency.fisher_exact, {"table": TABLE}),
    (contingency.chi_squared, {"table": TABLE}),
    (contingency.expected_counts, {"table": TABLE}),
    (contingency.mantel_haenszel, {"tables": [TABLE, [[1, 2], [3, 4]]]}),
    (contingency.cochran_armitage, {"k": [1, 2, 3], "n": [9, 9, 9]}),
    (contingency.mcnemar, {"b": 3, "c": 9}),
    (meta_analysis.random_effects, STUDIES),
    (meta_analysis.subgroup_test, {**STUDIES, "groups": list("aabb")}),
    (meta_analysis.rare_counts_glmm, {"events": [0, 1, 2], "totals": [10, 20, 30]}),
    (power.logrank_events, {"hr": 2.0}),
    (power.logrank_power, {"hr": 2.0, "events": 50}),
    (power.cox_events, {"hr": 2.0, "prevalence": 0.3}),
    (power.two_proportions_power, {"p1": 0.2, "p2": 0.4, "n1": 30, "n2": 30}),
    (power.two_proportions_n, {"p1": 0.2, "p2": 0.4}),
    (power.detectable_hazard_ratio, {"events": 50}),
    (power.cox_power, {"hr": 2.0, "events": 50, "prevalence": 0.3}),
    (power.event_probability, {"median": 5.0, "accrual": 12.0, "follow_up": 12.0}),
    (
        power.medians_power,
        {"median1": 9.0, "median0": 5.0, "n1": 30, "n0": 30, "accrual": 12.0, "follow_up": 12.0},
    ),
    (power.median_n_for_width, {"median": 5.0, "width": 2.0}),
    (power.median_interval, {"median": 5.0, "events": 40}),
    (lambda **k: meta_analysis.se_from_ci(**k, scale="log"), {"low": 0.1, "high": 0.5}),
    (meta_analysis.log_hr_from_ci, {"hr": 2.0, "low": 1.2, "high": 3.4}),
    (meta_analysis.log_hr_from_p, {"p": 0.01, "hr": 2.0}),
    (meta_analysis.log_hr_from_survival_at, {"exposed": 0.5, "reference": 0.7, "p": 0.01}),
]

# What no estimator may accept, by the kind of argument.
WRONG: dict[str, Callable[[Any], Any]] = {
    "missing": lambda v: [None, *v[1:]],
    "nan": lambda v: [np.nan, *v[1:]],
    "nested": lambda v: [v],
    "nothing": lambda v: None,
    "empty": lambda v: [],
}
WRONG_NUMBERS: dict[str, Callable[[Any], Any]] = {
    "inf": lambda v: [np.inf, *v[1:]],
    "minus inf": lambda v: [-np.inf, *v[1:]],
    "text": lambda v: ["x", *v[1:]],
    "huge": lambda v: [1e300, *v[1:]],
    "dates": lambda v: pd.date_range("2020", periods=len(v)),
}
WRONG_TABLES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "constant": lambda x: x.assign(w=1),
    "collinear": lambda x: x.assign(v=2 * x["w"] + 1),
    "nan": lambda x: x.assign(w=[np.nan, *x["w"][1:]]),
    "inf": lambda x: x.assign(w=[np.inf, *x["w"][1:]]),
    "text": lambda x: x.assign(w=list("abcdefgh")),
    "dates": lambda x: x.assign(w=pd.date_range("2020", periods=8)),
    "categories": lambda x: x.assign(w=pd.Categorical(list("aabbaabb"))),
    "fewer rows": lambda x: x.iloc[:3],
    "no columns": lambda x: x[[]],
    "a name twice": lambda x: pd.concat([x, x], axis=1),
    "huge": lambda x: x.assign(w=x["w"] * 1e300),
    "tiny": lambda x: x.assign(w=x["w"] * 1e-300),
    "more columns than rows": lambda x: pd.DataFrame(np.eye(8)).add_prefix("c"),
    "nothing": lambda x: None,
}
WRONG_COUNTS: dict[str, Any] = {
    "negative": [[-1, 4], [5, 6]],
    "nan": [[np.nan, 4], [5, 6]],
    "fraction": [[0.5, 4], [5, 6]],
    "text": [["x", 4], [5, 6]],
    "flat": [1, 2],
    "ragged": [[1], [2, 3]],
    "empty": [],
    "nothing": None,
}
WRONG_SCALARS: dict[str, Any] = {
    "nan": np.nan, "inf": np.inf, "negative": -1, "text": "x", "nothing": None, "list": [1, 2]
}  # fmt: skip


def spoilt() -> Iterator[Any]:
    for position, (function, arguments) in enumerate(CALLS):
        name = f"{position}-{getattr(function, '__name__', '?')}"
        for argument, value in arguments.items():
            if isinstance(value, pd.DataFrame):
                ways = {k: f(value) for k, f in WRONG_TABLES.items()}
            elif isinstance(value, list) and isinstance(value[0], list):
                ways = dict(WRONG_COUNTS)
            elif isinstance(value, list):
                ways = {k: f(value) for k, f in WRONG.items()}
                # Levels of an ordered outcome may be words or any numbers.
                if not isinstance(value[0], str) and function is not ordinal.proportional_odds:
                    ways |= {k: f(value) for k, f in WRONG_NUMBERS.items()}
                if argument in ("time", "cause", "k", "n", "p", "std_errors", "events", "totals"):
                    ways["negative"] = [-1, *value[1:]]
                if argument in ("event", "cause", "events", "k"):
                    ways["unknown code"] = [0.5, *value[1:]]
                if len(arguments) > 1 and function is not rank_tests.mann_whitney:
                    ways["shorter"] = value[:-1]
            else:
                ways = dict(WRONG_SCALARS)
            for way, wrong in ways.items():
                changed = {**arguments, argument: wrong}
                yield pytest.param(function, changed, id=f"{name}-{argument}-{way}")


def raised_by(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals["__name__"]) if trace else ""


@pytest.mark.parametrize(("function", "arguments"), CALLS)
def test_the_calls_work_before_they_are_spoilt(
    function: Callable[..., Any], arguments: dict[str, Any]
) -> None:
    assert function(**arguments) is not None


@pytest.mark.parametrize(("function", "arguments"), spoilt())
def test_wrong_input_is_refused_in_our_own_words(
    function: Callable[..., Any], arguments: dict[str, Any]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError) as caught:
            function(**arguments)
    assert raised_by(caught.value.with_traceback(caught.tb)).startswith("ballbook.")
    assert len(str(caught.value)) > 10


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (lambda: survival.logrank(TIME, EVENT, ["a"] * 8), "one group only"),
        (lambda: survival.logrank(TIME, [0] * 8, GROUP), "no events"),
        (lambda: survival.kaplan_meier(TIME, [0] * 8).median(), "not reached"),
        (lambda: survival.median_follow_up(TIME, [1] * 8), "not reached"),
        (lambda: cox.cox(TIME, [0] * 8, X).hazard_ratio("x"), "no events"),
        (lambda: cox.cox(TIME, [1 - v for v in X["x"]], X[["x"]]).hazard_ratio("x"), "no events"),
        (lambda: competing_risks.gray_test(TIME, CAUSE, ["a"] * 8), "one group only"),
        (lambda: competing_risks.gray_test(TIME, CAUSE, GROUP, of=3), "no events of cause 3"),
        (
            lambda: competing_risks.fine_gray(TIME, CAUSE, X, of=3).hazard_ratio("x"),
            "no events of cause 3",
        ),
        (lambda: logistic.logistic(X["x"], X[["w"]] * 0 + X[["x"]].to_numpy()).odds_ratio("w"),
         "separated"),
        (lambda: linear.anova(TIME, ["a"] * 8), "only one group"),
        (lambda: linear.anova([1.0] * 8, GROUP), "no variation"),
        (lambda: rank_tests.mann_whitney([1.0, 1], [1.0]), "all values are equal"),
        (lambda: rank_tests.kruskal_wallis(TIME, ["a"] * 8), "only one group"),
        (lambda: rank_tests.spearman(TIME, [1.0] * 8), "y is constant"),
        (lambda: rank_tests.kendall(TIME, [1.0] * 8), "y is constant"),
        (lambda: contingency.fisher_exact([[0, 0], [3, 4]]), "fewer than two rows"),
        (lambda: contingency.chi_squared([[0, 0], [3, 4]]), "row 1 of the table is empty"),
        (lambda: contingency.odds_ratio(0, 0, 3, 4), "is empty"),
    ],
)  # fmt: skip
def test_right_input_without_an_answer_says_why(found: Callable[[], Estimate], reason: str) -> None:
    estimate = found()
    assert estimate.value is None
    assert reason in str(estimate.reason)


@pytest.mark.parametrize("function", [survival.kaplan_meier_by, survival.logrank])
def test_an_empty_group_is_refused(function: Callable[..., Any]) -> None:
    group = pd.Categorical(GROUP, categories=["a", "b", "c"])
    with pytest.raises(ValueError, match="group 'c' is empty"):
        function(TIME, EVENT, group)


def test_times_of_zero_count() -> None:
    curve = survival.kaplan_meier([0, 0, 1, 2], [1, 0, 1, 0])
    assert curve.n == 4
    assert curve.at(0).value == 0.75
    fit = cox.cox([0, 0, 1, 2, 3, 4], [1, 0, 1, 0, 1, 1], pd.DataFrame({"x": [1, 0, 1, 0, 0, 1]}))
    assert (fit.n, fit.n_events) == (6, 4)


MILLION = 1_000_000


def large() -> dict[str, Any]:
    random = np.random.default_rng(4)
    return {
        "time": random.exponential(size=MILLION),
        "cause": random.integers(0, 3, MILLION),
        "group": np.where(random.random(MILLION) < 0.4, "a", "b"),
        "x": pd.DataFrame({"x": random.normal(size=MILLION)}),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "run",
    [
        lambda d: survival.kaplan_meier_by(d["time"], d["cause"] > 0, d["group"])["a"].median(),
        lambda d: survival.logrank(d["time"], d["cause"] > 0, d["group"]),
        lambda d: cox.cox(d["time"], d["cause"] > 0, d["x"]).hazard_ratio("x"),
        lambda d: competing_risks.cumulative_incidence(d["time"], d["cause"])[1].at(1),
        lambda d: competing_risks.gray_test(d["time"], d["cause"], d["group"]),
        lambda d: competing_risks.fine_gray(d["time"], d["cause"], d["x"]).hazard_ratio("x"),
        lambda d: logistic.logistic(d["cause"] > 0, d["x"]).odds_ratio("x", profile=False),
        lambda d: linear.anova(d["time"], d["group"]),
        lambda d: rank_tests.spearman(d["time"], d["x"]["x"]),
        lambda d: rank_tests.kruskal_wallis(d["time"], d["group"]),
    ],
    ids=["km", "logrank", "cox", "aalen-johansen", "gray", "fine-gray", "logistic", "anova",
         "spearman", "kruskal"],
)  # fmt: skip
def test_a_million_rows(run: Callable[[dict[str, Any]], Estimate]) -> None:
    estimate = run(large())
    assert estimate.value is not None
    assert estimate.n in (MILLION, None) or 300_000 < (estimate.n or 0) < 500_000

"""The infant chapter's own functions, and the methods written for it, against R."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from golden_cases import check, flat, read

from ballbook import bayes_tables, claims, datasets, infant
from ballbook import sensitivity_bias as bias
from ballbook.cohort import Cohort
from ballbook.competing_risks import cumulative_incidence
from ballbook.meta_analysis import Effect
from ballbook.meta_regression import meta_regression
from ballbook.results import Estimate
from ballbook.survival import kaplan_meier


def table3() -> list[list[list[int]]]:
    return list(infant.dosing_tables(datasets.published("infant_mrd_dosing")).values())


def regressed(covariates: dict[str, list[float]], **given: Any) -> dict[str, Any]:
    fit = meta_regression(covariates=pd.DataFrame(covariates), **given)
    row = fit.table.iloc[1]
    return {
        "coef": row["coef"], "se": row["se"], "low": row["ci_low"], "high": row["ci_high"],
        "p": row["p"], "intercept": fit.table["coef"].iloc[0], "tau2": fit.tau2,
        "tau2_without": fit.tau2_without, "q": fit.residual.statistic, "q_p": fit.residual.value,
    }  # fmt: skip


def pooled(endpoint: str, years: float) -> dict[str, Any]:
    t = infant.trials()
    rows = t[(t["role"] == "in") & (t["endpoint"] == endpoint) & (t["years"] == years)]
    mean, _, fit = infant.pool(rows)
    return {**flat(mean), "q_p": fit.q.p_value}


def pilot(years: float, endpoint: str = "DFS") -> dict[str, Any]:
    t = infant.trials().set_index(["trial", "endpoint", "years"])
    arms = [t.loc[(name, endpoint, years)] for name in ("blina-pilot", "blina-controls")]
    hr = infant.cumulative_hazard_ratio(*(Effect(a["g"], a["std_error"]) for a in arms))
    return {
        **flat(hr), "exact_p": infant.fewer_events_p(5, 30, 0.56),
        "needed": infant.selection_needed(5, 30, 0.56, 0.22),
    }  # fmt: skip


def relapse(relapses: int, deaths: int, n: int) -> dict[str, Any]:
    events = relapses + deaths
    time = [*range(1, events + 1), *[60] * (n - events)]
    cause = [1] * relapses + [2] * deaths + [0] * (n - events)
    t = infant.trials()
    rows = t[(t["role"] == "control") & (t["endpoint"] == "DFS")]
    behind = [infant.effective_n(r.value, r.ci_low, r.ci_high) for r in rows.itertuples()]
    return {**flat(cumulative_incidence(time, cause)[1].at(48)), "controls": max(behind)}


def e_values(kind: str, value: float, low: float, high: float) -> dict[str, Any]:
    found = bias.e_value(Estimate(kind, value, low, high))
    return {
        "point": found.point.value,
        "bound": found.bound.value,
        "risk_ratio": found.risk_ratio.value,
    }


def common(prior_sd: float) -> dict[str, Any]:
    p = bayes_tables.common_odds_ratio(table3(), prior_sd=prior_sd)
    return {**flat(p.odds_ratio), "above": p.above()}


def controlled(bias_sd: float) -> dict[str, Any]:
    p = bayes_tables.with_negative_control(table3(), 0, bias_sd=bias_sd)
    w = p.density / p.density.sum()
    mean = float(w @ p.theta)
    return {"mean": mean, "sd": math.sqrt(float(w @ p.theta**2) - mean**2)}


def four_arms(survival: list[float], n: list[float]) -> dict[str, Any]:
    arms = dict(zip(infant.CELLS, zip(survival, n, strict=True), strict=True))
    return flat(infant.interaction(arms)["ratio"])


ESTIMATORS = {
    "meta_regression": regressed,
    "pool": pooled,
    "hazard_ratio": pilot,
    "incidence": relapse,
    "e_value": e_values,
    "common": common,
    "control": controlled,
    "higher": lambda **k: {"value": bayes_tables.probability_higher(**k)},
    "interaction": four_arms,
}


@pytest.mark.parametrize("case", read("infant"))
def test_agrees_with_r(case: dict[str, Any]) -> None:
    check(case, ESTIMATORS)


def test_survival_is_bounded_by_what_is_printed_before_it() -> None:
    t = infant.trials()
    most = infant.ceilings(t, 5)
    # Overall survival at 5 years, where event-free survival is printed later.
    assert most["interfant06"] == pytest.approx(0.48)
    assert most["interfant99"] == pytest.approx(0.432)
    # Event-free survival at 3 years, below overall survival at 5.
    assert most["mll10"] == pytest.approx(0.662)
    assert most["p9407"] == pytest.approx(0.355)
    assert most.drop("mll10").max() == pytest.approx(0.48)
    # Parts of a trial, the pilot and its controls are no trials of their own.
    assert not set(most.index) & {"interfant06-west", "blina-pilot", "blina-controls"}
    # Read at the marked time, Interfant-06 prints nothing as early as 5 years.
    assert math.isnan(infant.ceilings(infant.trials(os_as_efs=True), 5)["interfant06"])


# ------------------------------------------------------------------------------- typed tables


def test_typed_tables_say_what_the_claims_say() -> None:
    known = claims.read()
    for r in datasets.published("infant_mrd_dosing").itertuples():
        name = "mll10" if r.trial == "MLL-10" else "interfant06"
        claim = known[f"stu-t3-{name}-{r.stratum}"]
        assert (claim.n_events, claim.n) == (r.remission, r.n)
    for r in datasets.published("infant_consolidation").itertuples():
        name = "high" if r.mrd == "high" else "neg"
        assert known[f"stu-dfs-{name}mrd-{r.consolidation}"].value == r.survival_pct / 100
    table = datasets.published("infant_trials")
    of = {"interfant06-west": "interfant06-west", "interfant06-other": "interfant06-nonwest"}
    alias = {"mll-baby": "mllbaby", "blina-pilot": "blinapilot"}
    for r in table[~table["trial"].isin(["blina-controls"])].itertuples():
        if r.trial in of:
            claim = known[f"stu-t1-{of[r.trial]}-{r.endpoint.lower()}"]
        elif r.trial == "blina-pilot" and r.endpoint in ("DFS", "OS"):
            claim = known[f"ext-blina-{r.endpoint.lower()}{r.years}{'-with' * (r.years == 2)}"]
        else:
            claim = known[f"stu-t1-{r.endpoint.lower()}-{alias.get(r.trial, r.trial)}"]
        assert claim.value == pytest.approx(r.survival_pct / 100), r.trial
        assert claim.n == r.n
    for r in datasets.published("infant_trials_planned").itertuples():
        assert any(c.value == r.n for c in known.values() if c.id.startswith("stu-t2-n-")), r.trial


# ---------------------------------------------------------------------------- rebuilt intervals


def test_an_interval_gives_back_the_number_it_came_from() -> None:
    s, n = 0.44, 197.0
    se = infant.error_of_n(s, n)
    low, high = (
        infant.back(infant.log_log(s) + infant.Z * se),
        infant.back(infant.log_log(s) - infant.Z * se),
    )
    assert infant.effective_n(s, low, high) == pytest.approx(n)
    assert infant.effective_n_of_se(s, math.sqrt(s * (1 - s) / n)) == pytest.approx(n)


def test_the_error_of_n_is_greenwoods_without_censoring() -> None:
    curve = kaplan_meier([1.0] * 5 + [9.0] * 25, [1] * 5 + [0] * 25)
    e = curve.at(4)
    se = infant.error_of_n(25 / 30, 30)
    assert e.ci_low == pytest.approx(infant.back(infant.log_log(25 / 30) + infant.Z * se))


def test_rebuilt_intervals_use_what_is_printed_first() -> None:
    t, half = (infant.trials(followed=f).drop_duplicates(["trial", "endpoint"]) for f in (1, 0.5))
    t, half = (x[x["endpoint"] == "EFS"].set_index("trial") for x in (t, half))
    assert t.loc["mll03", "basis"] == "interval printed"
    assert t.loc["mll10", "basis"] == "standard error printed"
    assert t.loc["p9407", "basis"] == "rebuilt from n"
    wide, narrow = (x.loc["p9407", "ci_high"] - x.loc["p9407", "ci_low"] for x in (half, t))
    assert wide > narrow
    assert half.loc["mll03", "ci_low"] == t.loc["mll03", "ci_low"]
    with pytest.raises(ValueError, match="followed"):
        infant.trials(followed=0)


def test_overall_survival_can_be_read_at_the_marked_time() -> None:
    moved = infant.trials(os_as_efs=True)
    os = moved[(moved["endpoint"] == "OS") & (moved["role"] == "in")].set_index("trial")["years"]
    assert os.to_dict() == {
        "aall0631": 5, "interfant99": 6, "interfant06": 6, "mll03": 4, "mll10": 3, "mll-baby": 6,
        "tini1": 3, "aall15p1": 5,
    }  # fmt: skip


def test_endpoints_and_times_are_never_pooled_together() -> None:
    t = infant.trials()
    with pytest.raises(ValueError, match="one endpoint at one time"):
        infant.pool(t[t["endpoint"] == "EFS"])


@pytest.mark.parametrize(
    ("given", "share"),
    [((2017, 2021, 2023, 5), 0.4), ((2000, 2001, 2020, 5), 1.0), ((2018, 2021, 2020, 5), 0.0)],
)
def test_who_could_have_been_followed(given: tuple[int, int, int, float], share: float) -> None:
    assert infant.followed_share(*given) == pytest.approx(share)


def test_selection_needed_is_the_share_that_reaches_alpha() -> None:
    q = infant.selection_needed(5, 30, 0.56, 0.22)
    assert q is not None
    assert infant.fewer_events_p(5, 30, 0.56 - q * 0.34) == pytest.approx(0.05)
    assert infant.selection_needed(20, 30, 0.56, 0.22) == 0.0
    assert infant.selection_needed(0, 30, 0.9, 0.5) is None
    with pytest.raises(ValueError, match="below usual"):
        infant.selection_needed(5, 30, 0.2, 0.4)


# --------------------------------------------------------------------------------------- E-values


def test_e_values_of_the_paper() -> None:
    # VanderWeele and Ding 2017, the example of breastfeeding: RR 3.9 (1.8 to 8.7).
    found = bias.e_value(Estimate("risk-ratio", 3.9, 1.8, 8.7))
    assert (found.point.value, found.bound.value) == (
        pytest.approx(7.26, abs=0.01),
        pytest.approx(3.0),
    )
    assert bias.e_value_of_ratio(0.5) == pytest.approx(bias.e_value_of_ratio(2))
    assert bias.e_value_of_ratio(1) == 1


def test_a_confounder_of_the_e_value_explains_exactly_the_ratio() -> None:
    for r in (1.1, 1.8, 3.9):
        e = bias.e_value_of_ratio(r)
        assert bias.bounding_factor(e, e) == pytest.approx(r)
        assert bias.strength_needed(r, e) == pytest.approx(e)
        assert bias.strength_needed(r, r) is None
    g = bias.effect_needed(1.43, 0.7, 0.3)
    assert g is not None
    assert bias.bias_of_confounder(g, 0.7, 0.3) == pytest.approx(1.43)
    assert bias.effect_needed(3, 0.7, 0.3) is None


def test_no_confounder_exceeds_its_bound() -> None:
    # Ding and VanderWeele's bound holds for every binary confounder.
    rng = np.random.default_rng(1)
    for effect, p1, p0 in rng.uniform([1, 0, 0], [20, 1, 1], (500, 3)):
        imbalance = max(p1 / p0, (1 - p0) / (1 - p1), 1.0)
        limit = bias.bounding_factor(effect, max(p1 / p0, 1.0)) if p1 > p0 else 1.0
        assert bias.bias_of_confounder(effect, p1, p0) <= limit + 1e-9
        assert imbalance >= 1


@pytest.mark.parametrize("bad", [0, -1, math.nan])
def test_impossible_ratios_are_refused(bad: float) -> None:
    with pytest.raises(ValueError):
        bias.e_value_of_ratio(bad)
    with pytest.raises(ValueError, match="at least 1"):
        bias.bounding_factor(0.9, 2)


# -------------------------------------------------------------------------------------- posteriors


def test_a_posterior_is_the_conjugate_one_and_falls_with_doubt() -> None:
    e = bayes_tables.beta_binomial(16, 18)
    assert e.value == pytest.approx(17 / 20)
    sure = [
        bayes_tables.with_negative_control(table3(), 0, bias_sd=s).above()
        for s in (0, 0.25, 0.5, 1, 2)
    ]
    assert sure == sorted(sure, reverse=True)
    none = bayes_tables.common_odds_ratio(table3()[1:]).odds_ratio
    assert bayes_tables.with_negative_control(
        table3(), 0, bias_sd=0
    ).odds_ratio.value == pytest.approx(none.value)


def test_the_posterior_is_that_of_sampling() -> None:
    # The same model by brute force: draw from the priors, weigh by the likelihood.
    rng = np.random.default_rng(3)
    n = 400_000
    theta = rng.normal(0, 1, n)
    weight = np.ones(n)
    for (a, b), (c, d) in table3():
        p0 = rng.uniform(size=n)
        odds = p0 / (1 - p0) * np.exp(theta)
        p1 = odds / (1 + odds)
        weight *= p1**a * (1 - p1) ** b * p0**c * (1 - p0) ** d
        weight /= weight.max()
    mean = float((weight * theta).sum() / weight.sum())
    p = bayes_tables.common_odds_ratio(table3(), prior_sd=1.0)
    ours = float((p.density * p.theta).sum() / p.density.sum())
    assert ours == pytest.approx(mean, abs=0.05)


def test_bad_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        bayes_tables.common_odds_ratio([[1, 2], [3, 4]])
    with pytest.raises(ValueError, match="above 0"):
        bayes_tables.common_odds_ratio(table3(), prior_sd=0)
    with pytest.raises(ValueError, match="stratum"):
        bayes_tables.with_negative_control(table3(), 4, bias_sd=1)


# ---------------------------------------------------------------------------------- meta-regression


def test_meta_regression_refuses_what_cannot_be_fitted() -> None:
    y, s = [0.1, 0.2, 0.4], [0.1, 0.1, 0.1]
    with pytest.raises(ValueError, match="collinear"):
        meta_regression(y, s, pd.DataFrame({"x": [1.0, 1.0, 1.0]}))
    with pytest.raises(ValueError, match="studies for"):
        meta_regression(y[:2], s[:2], pd.DataFrame({"x": [1.0, 2.0]}))
    with pytest.raises(ValueError, match="positive"):
        meta_regression(y, [0, 1, 1], pd.DataFrame({"x": [1.0, 2.0, 4.0]}))


def test_meta_regression_finds_a_slope_without_error() -> None:
    x = np.arange(6.0)
    fit = meta_regression(0.3 - 0.2 * x, np.full(6, 0.1), pd.DataFrame({"x": x}))
    assert fit.slope("x", ratio=False).value == pytest.approx(-0.2)
    assert fit.slope("x").value == pytest.approx(math.exp(-0.2))
    assert fit.at({"x": 10}) == pytest.approx(0.3 - 2)
    assert fit.tau2 == 0
    assert fit.r_squared.value == pytest.approx(1)


# ------------------------------------------------------------------------------- interaction


def test_the_smallest_arm_is_the_first_that_is_enough() -> None:
    printed = [0.46, 0.23, 0.45, 0.78]
    n = infant.smallest_arm(printed)

    def p(m: float) -> float:
        arms = {c: (s, m) for c, s in zip(infant.CELLS, printed, strict=True)}
        return float(infant.interaction(arms)["ratio"].p_value or 1)

    assert p(n) < 0.05 <= p(n - 1)
    with pytest.raises(ValueError, match="missing"):
        infant.interaction({("high", "myeloid"): (0.4, 10)})


def test_a_sceptical_prior_draws_towards_none() -> None:
    e = Estimate("hazard-ratio", 0.2, 0.05, 0.8)
    found = infant.shrunk(e, 0.35)
    assert 0.2 < found.value < 1
    assert infant.shrunk(e, 1000).value == pytest.approx(0.2, rel=1e-3)


# ------------------------------------------------------------------------- a reader's own infants


def made_up(n: int = 400, seed: int = 5) -> Cohort:
    rng = np.random.default_rng(seed)
    arm, high = rng.integers(0, 2, n), rng.integers(0, 2, n)
    rate = np.exp(-5.2 + 0.9 * arm - 1.8 * arm * high + 1.2 * high)
    death, end = rng.exponential(1 / rate), rng.uniform(24, 96, n)
    patients = pd.DataFrame(
        {
            "patient_id": [f"p{i}" for i in range(n)],
            "age_years": rng.uniform(0, 1.1, n),
            "kmt2a_r": (rng.uniform(size=n) < 0.9).astype(int),
            "treatment": np.where(arm == 1, "Myeloid", "lymphoid"),
        }
    )
    outcomes = pd.DataFrame(
        {
            "patient_id": patients["patient_id"], "endpoint": "DFS",
            "time_months": np.minimum(death, end), "event": (death <= end).astype(int),
        }
    )  # fmt: skip
    levels = np.where(high == 1, 0.01, 0.0)
    mrd = pd.DataFrame({"patient_id": patients["patient_id"], "timepoint": "EOI", "level": levels})
    return Cohort("mine", "mine", "yours", patients, outcomes, mrd)


def test_only_infants_with_the_rearrangement_are_counted() -> None:
    cohort = made_up()
    kept, steps = infant.infants(cohort)
    p = cohort.patients
    assert kept.n == int(((p["age_years"] < 1) & (p["kmt2a_r"] == 1)).sum())
    assert [s[1] for s in steps] == [400, int((p["age_years"] < 1).sum()), kept.n]


def own(cohort: Cohort, min_count: int = 5) -> infant.OwnInteraction:
    assert cohort.mrd is not None
    return infant.own_interaction(
        cohort, cohort.mrd.set_index("patient_id")["level"], "DFS", myeloid="myeloid",
        lymphoid="Lymphoid", high_from=0.0005, negative_below=0.0001, min_count=min_count,
    )  # fmt: skip


def test_the_interaction_of_a_cohort_is_the_ratio_of_its_two_effects() -> None:
    found = own(made_up()).hazard_ratios
    high, negative, ratio = (found[k].value for k in ("high", "negative", "ratio"))
    assert ratio == pytest.approx(high / negative, rel=1e-6)
    assert high < 1 < negative
    assert found["ratio"].ci_high < 1


def test_a_small_group_withholds_the_interaction() -> None:
    found = own(made_up(36), min_count=8)
    assert found.hazard_ratios["ratio"].value is None
    assert "withheld: fewer than 8" in str(found.hazard_ratios["ratio"].reason)
    assert found.curves == {}


def test_own_remission_is_compared_by_age_and_small_groups_are_withheld() -> None:
    cohort = made_up()
    assert cohort.mrd is not None
    positive = (cohort.mrd.set_index("patient_id")["level"] >= 1e-4).astype(float)
    printed = datasets.published("infant_mrd_dosing")
    found = infant.own_remission(cohort, positive, printed, 5)
    kept, _ = infant.infants(cohort)
    months = kept.patients["age_years"] * 12
    inside = kept.patients.loc[(months >= 6) & (months < 12), "patient_id"]
    assert found.by_age["6-12mo"].value == pytest.approx(1 - positive.loc[inside].mean())
    assert found.total.n == kept.n
    assert set(found.against) == {"MLL-10", "Interfant-06"}
    few = infant.own_remission(cohort, positive, printed, 40)
    hidden = [s for s, e in few.by_age.items() if e.value is None]
    assert len(hidden) >= 2


def test_own_survival_is_the_curves() -> None:
    cohort = made_up()
    found = infant.own_survival(cohort, "DFS", [2, 4], 5)
    kept, _ = infant.infants(cohort)
    t = kept.endpoint("DFS")
    curve = kaplan_meier(t["time_months"], t["event"])
    # What is shown of a reader's patients is rounded.
    assert found.at[4].value == pytest.approx(curve.at(48).value, abs=0.005)
    none = infant.own_survival(made_up(4), "DFS", [2, 4], 5)
    assert all(e.value is None for e in none.at.values())
    assert none.curve is None


def test_one_class_alone_is_told_where_the_other_is_too_small() -> None:
    cohort = made_up()
    assert cohort.mrd is not None
    few = cohort.mrd.index % 12 != 0
    level = cohort.mrd["level"].where(few | (cohort.mrd["level"] > 0), 0.0002)
    level = level.where(level > 0, np.where(cohort.mrd.index % 9 == 0, 0.0, 0.0002))
    found = own(replace(cohort, mrd=cohort.mrd.assign(level=level)), min_count=12).hazard_ratios
    assert found["ratio"].value is None
    assert found["negative"].value is None
    assert found["high"].value == pytest.approx(own(cohort).hazard_ratios["high"].value, rel=0.1)

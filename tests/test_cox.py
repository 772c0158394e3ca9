"""Cox models: against R, against identities, against bad input."""

from __future__ import annotations

from typing import Any

import golden_cases
import numpy as np
import pandas as pd
import pytest
import survival_sets
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from ballbook.cox import CoxFit, bootstrap_cox, cox, firth_cox
from ballbook.survival import logrank

# --- R ----------------------------------------------------------------------------------------


def fit(set: str, terms: list[str], stratified: bool, model: Any = cox, **options: Any) -> CoxFit:
    d = survival_sets.load(set)
    if options.pop("cluster", False):
        options["cluster"] = np.arange(len(d)) // 2
    strata = d["stratum"] if stratified else None
    names = [terms] if isinstance(terms, str) else terms
    found: CoxFit = model(
        d["time"], d["event"], d[names], strata=strata, entry=d.get("entry"), **options
    )
    return found


def numbers(set: str, terms: list[str], stratified: bool, **options: Any) -> golden_cases.Flat:
    return read(fit(set, terms, stratified, **options))


def read(found: CoxFit) -> golden_cases.Flat:
    flat: golden_cases.Flat = {
        f"{name}.{row['term']}": row[name]
        for _, row in found.table.iterrows()
        for name in ("coef", "se", "ci_low", "ci_high", "p")
    }
    tests = {
        "likelihood_ratio": found.likelihood_ratio(),
        "wald": found.wald(),
        "score": found.score(),
    }
    return {
        **flat,
        **{name: test.statistic for name, test in tests.items()},
        "log_likelihood": found.log_likelihood,
        "log_likelihood_null": found.log_likelihood_null,
    }


def ph(set: str, terms: list[str], stratified: bool, transform: Any) -> golden_cases.Flat:
    table = fit(set, terms, stratified).proportional_hazards(transform).set_index("term")
    return {
        f"{name}.{term}": table.loc[term, name] for term in table.index for name in ("chisq", "p")
    }


def schoenfeld(set: str, terms: list[str], stratified: bool, scaled: bool) -> golden_cases.Flat:
    found = fit(set, terms, stratified)
    frame = found.schoenfeld_residuals(scaled=scaled)
    r = frame[found.terms]
    trend = (r**2).mul(frame["time"], axis=0).sum()
    return {f"squares.{t}": (r[t] ** 2).sum() for t in found.terms} | {
        f"trend.{t}": trend[t] for t in found.terms
    }


def bootstrap(set: str, terms: Any, stratified: bool, rows: list[list[int]]) -> golden_cases.Flat:
    d = survival_sets.load(set)
    names = [terms] if isinstance(terms, str) else terms
    strata = d["stratum"] if stratified else None
    found = bootstrap_cox(
        d["time"], d["event"], d[names], n_boot=len(rows), seed=0, strata=strata, resamples=rows
    )
    return {f"{t}.{i + 1}": found[i, j] for i in range(len(rows)) for j, t in enumerate(names)}


ESTIMATORS = {
    "cox": numbers,
    "concordance": lambda **k: golden_cases.flat(fit(**k).concordance()),
    "proportional_hazards": ph,
    "schoenfeld": schoenfeld,
    "firth": lambda **k: read(fit(**k, model=firth_cox)),
    "bootstrap": bootstrap,
}


@pytest.mark.parametrize("case", golden_cases.read("cox"))
def test_agrees_with_r(case: dict[str, Any]) -> None:
    assert case["expected"]
    golden_cases.check(case, ESTIMATORS)


def test_a_factor_is_tested_as_cox_zph_tests_it() -> None:
    # cox.zph(coxph(Surv(t2, d3) ~ factor(group) + z1, bmt), "km") of R survival 3
    rows = fit("KMsurv bmt", ["g2", "g3", "z1"], False).proportional_hazards(
        factors={"group": ["g2", "g3"]}
    )
    assert list(rows["term"]) == ["group", "z1", "GLOBAL"]
    assert_allclose(rows["chisq"], [2.910710784935, 0.509076802209, 3.014726445386], rtol=1e-6)
    assert_allclose(rows["p"], [0.233317429908, 0.475538774651, 0.389360216290], rtol=1e-6)


def test_rossi_age_as_cox_zph_not_as_lifelines() -> None:
    terms = ["fin", "age", "race", "wexp", "mar", "paro", "prio"]
    ours = fit("Rossi", terms, False).proportional_hazards("km").set_index("term")
    assert ours.loc["age", "p"] == pytest.approx(0.01452, abs=1e-5)
    from lifelines import CoxPHFitter
    from lifelines.statistics import proportional_hazard_test

    d = survival_sets.load("Rossi")[[*terms, "time", "event"]]
    theirs = proportional_hazard_test(CoxPHFitter().fit(d, "time", "event"), d, time_transform="km")
    assert theirs.summary.loc["age", "p"] < 0.002


@pytest.mark.parametrize(
    ("set", "terms"),
    [
        ("Rossi", ["fin", "age", "race", "prio"]),
        ("6-MP", ["placebo"]),
        ("KMsurv bmt", ["g2", "g3", "z1"]),
        ("Kersey", ["autologous"]),
        ("bmtcrr", ["age", "aml", "relapse"]),
    ],
)
def test_agrees_with_lifelines(set: str, terms: list[str]) -> None:
    from lifelines import CoxPHFitter

    d = survival_sets.load(set)
    theirs = CoxPHFitter().fit(d[[*terms, "time", "event"]], "time", "event")
    ours = cox(d["time"], d["event"], d[terms])
    assert_allclose(theirs.params_[terms], ours.coef, rtol=1e-4)
    assert_allclose(theirs.standard_errors_[terms], ours.table["se"], rtol=1e-4)
    assert ours.log_likelihood == pytest.approx(theirs.log_likelihood_, rel=1e-8)
    assert ours.likelihood_ratio().statistic == pytest.approx(
        theirs.log_likelihood_ratio_test().test_statistic, rel=1e-4
    )


# --- properties -------------------------------------------------------------------------------


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[Any, Any, pd.DataFrame]:
    seed = draw(st.integers(0, 10_000))
    n = draw(st.integers(25, 60))
    random = np.random.default_rng(seed)
    x = pd.DataFrame({"x": np.arange(n) % 2, "w": random.normal(size=n)})
    time = np.ceil(8 * random.exponential(size=n)) if draw(st.booleans()) else random.random(n)
    return time, random.random(n) < 0.7, x


@given(cohorts())
@settings(max_examples=30, deadline=None)
def test_order_units_and_entry_at_zero_do_not_matter(cohort: Any) -> None:
    time, event, x = cohort
    whole = cox(time, event, x)
    order = np.random.default_rng(0).permutation(len(time))
    for other in (
        cox(time[order], event[order], x.iloc[order]),
        cox(365.25 * time, event, x),
        cox(time, event, x, entry=0 * time),
        cox(time, event, x, strata=np.ones(len(time))),
        cox(time**3, event, x),
    ):
        assert_allclose(other.coef, whole.coef, rtol=1e-6, atol=1e-9)
        assert_allclose(other.table["se"], whole.table["se"], rtol=1e-6)
    other = cox(time, event, x.assign(x=1 - x["x"], w=10 * x["w"] + 3))
    assert_allclose(other.coef * [-1, 10], whole.coef, rtol=1e-6, atol=1e-9)


@given(cohorts())
@settings(max_examples=30, deadline=None)
def test_score_test_of_a_group_is_the_log_rank_test(cohort: Any) -> None:
    time, event, x = cohort
    time = time + np.arange(len(time)) * 1e-4  # without ties the two are one
    score = cox(time, event, x[["x"]]).score()
    assert score.statistic == pytest.approx(logrank(time, event, x["x"]).statistic, rel=1e-6)


@given(cohorts())
@settings(max_examples=20, deadline=None)
def test_splitting_patients_at_an_entry_changes_nothing(cohort: Any) -> None:
    time, event, x = cohort
    whole = cox(time, event, x)
    early = time / 2
    both = cox(
        np.concatenate([early, time]),
        np.concatenate([0 * event, event]),
        pd.concat([x, x]),
        entry=np.concatenate([0 * time, early]),
    )
    assert_allclose(both.coef, whole.coef, rtol=1e-6, atol=1e-9)
    assert both.log_likelihood == pytest.approx(whole.log_likelihood)


@given(cohorts())
@settings(max_examples=20, deadline=None)
def test_bootstrap_is_the_fit_of_each_resample(cohort: Any) -> None:
    time, event, x = cohort
    rows = np.random.default_rng(7).integers(0, len(time), (5, len(time)))
    found = bootstrap_cox(time, event, x, n_boot=5, seed=7)
    for row, b in zip(rows, found, strict=True):
        alone = cox(time[row], event[row], x.iloc[row]).coef
        if np.isnan(alone).any():
            assert np.isnan(b).all()
        else:
            assert_allclose(b, alone, rtol=1e-5, atol=1e-7)


def test_score_residuals_sum_to_zero_and_cluster_of_one_is_robust() -> None:
    d = survival_sets.load("heavy ties")
    robust = cox(d["time"], d["event"], d[["x", "w"]], robust=True)
    alone = cox(d["time"], d["event"], d[["x", "w"]], cluster=np.arange(len(d)))
    assert_allclose(robust.covariance, alone.covariance)
    plain = cox(d["time"], d["event"], d[["x", "w"]])
    assert not np.allclose(robust.covariance, plain.covariance, rtol=1e-3)
    assert_allclose(plain.schoenfeld_residuals()[["x", "w"]].sum(), 0, atol=1e-8)


# --- separation and other limits --------------------------------------------------------------


def test_a_group_without_events_is_not_estimable_and_firth_is() -> None:
    d = survival_sets.load("separated")
    found = cox(d["time"], d["event"], d[["b", "w"]])
    ratio = found.hazard_ratio("b")
    assert ratio.value is None
    assert ratio.reason == "no events where b is 1; use firth_cox"
    assert found.hazard_ratio("w").value is not None
    assert found.wald().value is None
    assert found.concordance().value is None
    table = found.proportional_hazards()
    assert table["p"].isna().all()
    assert "no events where b is 1" in table.attrs["reason"]
    penalised = firth_cox(d["time"], d["event"], d[["b", "w"]]).hazard_ratio("b")
    assert penalised.value is not None
    assert 0 < penalised.value < 1


def test_all_censored() -> None:
    d = survival_sets.load("all censored")
    for model in (cox, firth_cox):
        found = model(d["time"], d["event"], d[["x", "w"]])
        assert found.n_events == 0
        for e in (found.hazard_ratio("x"), found.wald(), found.score(), found.concordance()):
            assert (e.value, e.reason) == (None, "no events")
        assert found.schoenfeld_residuals().empty
        assert found.proportional_hazards()["p"].isna().all()


def test_one_event_of_the_highest_patient_has_no_maximum() -> None:
    d = survival_sets.load("one event")
    w = np.where(d["event"] == 1, 5.0, d["w"])
    ratio = cox(d["time"], d["event"], pd.DataFrame({"w": w})).hazard_ratio("w")
    assert ratio.value is None
    assert "separation" in str(ratio.reason)
    assert firth_cox(d["time"], d["event"], pd.DataFrame({"w": w})).hazard_ratio("w").value


def test_hazard_ratio_per_ten_years() -> None:
    d = survival_sets.load("Rossi")
    found = cox(d["time"], d["event"], d[["age", "prio"]])
    one, ten = found.hazard_ratio("age"), found.hazard_ratio("age", per=10)
    assert one.value is not None
    assert one.ci_low is not None
    assert ten.value == pytest.approx(one.value**10)
    assert ten.ci_low == pytest.approx(one.ci_low**10)
    assert ten.p_value == one.p_value


def test_bootstrap_marks_resamples_without_a_maximum() -> None:
    d = survival_sets.load("heavy ties")
    died = np.flatnonzero((d["event"] == 1) & (d["x"] == 1))[:1]
    rows = np.tile(np.arange(len(d)), (2, 1))
    keep = np.flatnonzero((d["x"] == 0) | (d["event"] == 0))
    rows[1] = np.resize(keep, len(d))
    found = bootstrap_cox(d["time"], d["event"], d[["x"]], n_boot=2, seed=0, resamples=rows)
    assert len(died) == 1
    assert np.isfinite(found[0, 0])
    assert np.isnan(found[1, 0])


# --- input ------------------------------------------------------------------------------------

TIME, EVENT = [1, 2, 3, 4, 5, 6], [1, 1, 0, 1, 1, 0]
GOOD = pd.DataFrame({"x": [0, 1, 0, 1, 1, 0], "w": [0.1, 0.7, 0.2, 0.9, 0.5, 0.3]})


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (GOOD.assign(c=3), r"constant covariate\(s\).*\['c'\]"),
        (GOOD.assign(y=2 * GOOD["x"] + 1), r"collinear covariate\(s\).*\['y'\]"),
        (GOOD.assign(s=list("aabbab")), "covariates s: expected numbers, got 'a'"),
        (GOOD.assign(w=[0.1, np.nan, 1, 2, 3, 4]), "covariates w at position 1 is nan"),
        (GOOD.assign(w=[0.1, np.inf, 1, 2, 3, 4]), "covariates w at position 1 is inf"),
        (GOOD.iloc[:4], "covariates: expected 6 rows, got 4"),
        (GOOD[[]], "covariates: no covariates were given"),
        (GOOD.to_numpy(), "covariates must be a DataFrame"),
        (pd.concat([GOOD, GOOD], axis=1), "given twice: w, x"),
    ],
)
def test_malformed_covariates_are_named(frame: Any, message: str) -> None:
    for model in (cox, firth_cox):
        with pytest.raises(ValueError, match=message):
            model(TIME, EVENT, frame)


def test_other_malformed_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"event at position 0 is 3\.0"):
        cox(TIME, [3, 1, 0, 1, 1, 0], GOOD)
    with pytest.raises(ValueError, match="ties is 'exact'"):
        cox(TIME, EVENT, GOOD, ties="exact")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="constant within strata"):
        cox(TIME, EVENT, GOOD[["x"]], strata=GOOD["x"])
    with pytest.raises(ValueError, match="no term 'z' in the model"):
        cox(TIME, EVENT, GOOD).hazard_ratio("z")
    with pytest.raises(ValueError, match="expected 'km', 'rank'"):
        cox(TIME, EVENT, GOOD[["w"]]).proportional_hazards("sqrt")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_boot is 0"):
        bootstrap_cox(TIME, EVENT, GOOD, n_boot=0, seed=1)
    with pytest.raises(ValueError, match="strata at position 1"):
        cox(TIME, EVENT, GOOD, strata=[1, None, 1, 1, 2, 2])


def test_many_rows() -> None:
    random = np.random.default_rng(3)
    x = pd.DataFrame({"a": random.normal(size=200_000), "b": random.random(200_000) < 0.2})
    time = random.exponential(size=200_000) * np.exp(-0.5 * x["a"])
    found = cox(time, np.ones(200_000), x)
    assert found.coef[0] == pytest.approx(0.5, abs=0.02)
    assert found.concordance().value == pytest.approx(0.63, abs=0.02)

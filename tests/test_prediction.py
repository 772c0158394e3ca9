"""Discrimination, calibration and optimism, against R and against what must hold."""

from __future__ import annotations

from typing import Any

import golden_cases
import numpy as np
import pandas as pd
import pytest
import survival_sets

from ballbook import prediction
from ballbook.cox import cox


def predictor(d: pd.DataFrame, terms: list[str]) -> np.ndarray:
    fit = cox(d["time"], d["event"], d[terms].astype(float))
    return d[terms].to_numpy(float) @ fit.coef


def drawn(n: int, b: int) -> np.ndarray:
    """Return the resample that the R script computes too."""
    i = np.arange(n, dtype=np.int64)
    return (i * i * (b + 1) + 7 * i * b + b) % n


def r_concordance(set: str, terms: list[str], at: float, stratified: bool) -> dict[str, Any]:
    d = survival_sets.load(set)
    strata = d["stratum"] if stratified else None
    found = prediction.concordance(d["time"], d["event"], predictor(d, terms), strata=strata)
    return golden_cases.flat(found)


def r_auc(set: str, terms: list[str], at: float) -> dict[str, Any]:
    d = survival_sets.load(set)
    eta = predictor(d, terms)
    return golden_cases.flat(prediction.auc_at(d["time"], d["event"], eta, at, n_boot=0))


def r_baseline(set: str, terms: list[str], at: float) -> dict[str, Any]:
    d = survival_sets.load(set)
    eta = predictor(d, terms)
    return {"value": prediction.baseline_hazard(d["time"], d["event"], eta, at)}


def r_optimism(set: str, terms: list[str], at: float) -> dict[str, Any]:
    d = survival_sets.load(set)
    rows = np.array([drawn(len(d), b) for b in range(1, 21)])
    X = d[terms].astype(float)
    found = prediction.optimism(d["time"], d["event"], X, at, resamples=rows)
    return {k: v.optimism for k, v in found.items()}


def r_validate(set: str, terms: list[str], at: float) -> dict[str, Any]:
    d = survival_sets.load(set)
    X = d[terms].astype(float)
    found = prediction.optimism(d["time"], d["event"], X, at, n_boot=300, seed=7)
    return {k: v.corrected.value for k, v in found.items()}


ESTIMATORS = {
    "concordance": r_concordance, "auc": r_auc, "baseline": r_baseline,
    "optimism": r_optimism, "validate": r_validate,
}  # fmt: skip


@pytest.mark.parametrize("case", golden_cases.read("prediction"))
def test_agrees_with_r(case: dict[str, Any]) -> None:
    golden_cases.check(case, ESTIMATORS)
    assert case["expected"]


def invented(
    n: int = 400, seed: int = 1
) -> tuple[np.ndarray, np.ndarray, pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 3)), columns=["a", "b", "c"])
    strata = rng.integers(0, 2, n)
    death = rng.exponential(60 * np.exp(-0.8 * X["a"]) * np.where(strata == 1, 5, 1))
    end = rng.uniform(20, 150, n)
    return np.minimum(death, end), death <= end, X, strata


def by_hand(t: np.ndarray, died: np.ndarray, eta: np.ndarray, at: float) -> float:
    """Return the AUC as a double sum, with G patient by patient."""

    def g(u: float) -> float:
        out = 1.0
        for c in np.unique(t[~died & (t <= u)]):
            at_risk = (t > c).sum() + (~died & (t == c)).sum()
            out *= 1 - (~died & (t == c)).sum() / at_risk
        return out

    top = bottom = 0.0
    for i in np.flatnonzero(died & (t <= at)):
        w = 1 / g(np.nextafter(t[i], 0))
        for j in np.flatnonzero(t > at):
            top += w * ((eta[i] > eta[j]) + 0.5 * (eta[i] == eta[j]))
            bottom += w
    return top / bottom


def test_auc_is_the_weighted_double_sum() -> None:
    t, died, X, _ = invented(120)
    t = np.ceil(t)
    eta = X["a"].round(1).to_numpy()
    found = prediction.auc_at(t, died, eta, 40, n_boot=0)
    assert found.value == pytest.approx(by_hand(t, died, eta, 40), rel=1e-12)


def test_strata_keep_a_difference_of_levels_out() -> None:
    t, died, _, strata = invented(600)
    level = -strata.astype(float)
    alone = prediction.concordance(t, died, level)
    assert alone.value is not None and alone.value > 0.6
    assert prediction.concordance(t, died, level, strata=strata).value == pytest.approx(0.5)
    assert prediction.auc_at(t, died, level, 60, strata=strata, n_boot=0).value == pytest.approx(
        0.5
    )


def test_optimism_of_noise_is_taken_off() -> None:
    t, died, _, strata = invented(150, 3)
    noise = pd.DataFrame(np.random.default_rng(9).normal(size=(150, 8))).rename(
        columns="v{}".format
    )
    found = prediction.optimism(t, died, noise, 40, strata=strata, n_boot=100, seed=2)
    c = found["concordance"]
    assert c.apparent.value is not None and c.corrected.value is not None
    assert c.apparent.value > 0.55 > c.corrected.value
    assert found["slope"].corrected.value is not None and found["slope"].corrected.value < 0.7
    again = prediction.optimism(t, died, noise, 40, strata=strata, n_boot=100, seed=2)
    assert again["auc"].corrected == found["auc"].corrected


def test_a_right_model_is_calibrated_and_a_shifted_one_is_not() -> None:
    t, died, X, _ = invented(2000, 5)
    eta = predictor(X.assign(time=t, event=died), ["a"])
    h = prediction.baseline_hazard(t, died, eta, 40)
    said = prediction.predicted_survival(h, eta)
    found = prediction.calibration_at(t, died, said, eta, 40)
    assert found.observed_expected.value == pytest.approx(1, abs=0.03)
    assert found.slope.value == pytest.approx(1, abs=1e-6)
    assert len(found.table) == 5 and found.table["predicted"].is_monotonic_increasing
    shifted = prediction.calibration_at(t, died, said**2, 2 * eta, 40)
    assert shifted.observed_expected.ci_high is not None and shifted.observed_expected.ci_high < 0.9
    assert shifted.slope.value == pytest.approx(0.5, abs=1e-6)


def test_resamples_stay_within_strata() -> None:
    strata = np.array([0] * 30 + [1] * 10)
    rows = prediction.resampled(strata, 50, 1)
    assert (strata[rows] == strata).all()
    assert len(np.unique(rows[:, 0])) > 5


def test_what_cannot_be_computed_says_so() -> None:
    t, died, X, _ = invented(60)
    never = np.zeros(60, dtype=bool)
    assert prediction.concordance(t, never, X["a"]).reason == "no comparable pairs"
    assert prediction.auc_at(t, died, X["a"], 1e6).reason == "no case or no control at that time"
    with pytest.raises(ValueError, match="followed"):
        prediction.baseline_hazard(t, died, X["a"], 1e6)
    with pytest.raises(ValueError, match="between 0 and 1"):
        prediction.calibration_at(t, died, np.full(60, 1.2), X["a"], 40)
    with pytest.raises(ValueError):
        prediction.concordance(t, died, X["a"][:50])

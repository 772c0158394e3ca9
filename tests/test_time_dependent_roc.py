"""Time-dependent ROC curves, against R and against what must hold."""

from __future__ import annotations

from typing import Any

import golden_cases
import numpy as np
import pytest
import survival_sets

from ballbook import prediction
from ballbook import time_dependent_roc as tdr


def r_roc(set: str, marker: str, at: float, other: str = "") -> dict[str, Any]:
    d = survival_sets.load(set)
    found = tdr.roc(d["time"], d["event"], d[marker].astype(float), at)
    return golden_cases.flat(found.auc) | {"std_error": found.std_error}


def r_difference(set: str, marker: str, other: str, at: float) -> dict[str, Any]:
    d = survival_sets.load(set)
    return golden_cases.flat(
        tdr.auc_difference(
            d["time"], d["event"], d[marker].astype(float), d[other].astype(float), at
        )
    )


ESTIMATORS = {"roc": r_roc, "large_sample": r_roc, "difference": r_difference}


@pytest.mark.parametrize("case", golden_cases.read("time_dependent_roc"))
def test_agrees_with_r(case: dict[str, Any]) -> None:
    golden_cases.check(case, ESTIMATORS)
    assert case["expected"]


def invented(n: int, seed: int, effect: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n).round(1)
    death, end = rng.exponential(30 * np.exp(-effect * x)), rng.uniform(5, 60, n)
    return np.ceil(np.minimum(death, end)), death <= end, x


def by_counting(
    t: np.ndarray, e: np.ndarray, x: np.ndarray, at: float, w: np.ndarray | None = None
) -> float:
    """Return the AUC pair by pair, patient k counting w[k] times."""
    w = np.ones(len(t)) if w is None else w

    def g(before: float) -> float:
        out = 1.0
        for u in np.unique(t[~e & (t < before)]):
            now = ~e & (t == u)
            out *= 1 - w[now].sum() / (w[t > u].sum() + w[now].sum())
        return out

    top = bottom = 0.0
    later = t > at
    for i in np.flatnonzero(e & (t <= at)):
        a = w[i] / g(t[i])
        top += a * (w[later] * ((x[i] > x[later]) + 0.5 * (x[i] == x[later]))).sum()
        bottom += a * w[later].sum()
    return float(top / bottom)


@pytest.mark.parametrize("seed", [1, 2])
def test_value_and_influence_are_those_of_weighted_patients(seed: int) -> None:
    t, e, x = invented(60, seed)
    found = tdr.roc(t, e, x, 24)
    assert found.auc.value == pytest.approx(by_counting(t, e, x, 24), rel=1e-12)
    h = 1e-5
    for k in range(60):
        move = h * (np.arange(60) == k)
        slope = (by_counting(t, e, x, 24, 1 + move) - by_counting(t, e, x, 24, 1 - move)) / (2 * h)
        assert found.influence[k] == pytest.approx(slope, abs=1e-8)
    assert found.influence.sum() == pytest.approx(0, abs=1e-12)


def test_agrees_with_the_book_s_other_program() -> None:
    t, e, x = invented(300, 3)
    for at in (6.0, 24.0, 40.0):
        other = prediction.auc_at(t, e, x, at, n_boot=0).value
        assert tdr.roc(t, e, x, at).auc.value == pytest.approx(other, rel=1e-12)


def test_the_curve_encloses_the_area_and_falls() -> None:
    t, e, x = invented(200, 4)
    found = tdr.roc(t, e, x, 24)
    se, fp = found.table["sensitivity"].to_numpy(), 1 - found.table["specificity"].to_numpy()
    assert np.trapezoid(se[::-1], fp[::-1]) == pytest.approx(found.auc.value, rel=1e-12)
    assert (np.diff(se) <= 1e-12).all() and (np.diff(fp) <= 1e-12).all()
    assert (se[0], fp[0]) == (1, 1) and (round(se[-1], 12), fp[-1]) == (0, 0)


def test_only_order_counts_and_the_mirror_is_one_less() -> None:
    t, e, x = invented(150, 5)
    found = tdr.roc(t, e, x, 24)
    assert tdr.roc(t, e, np.exp(x), 24).auc.value == pytest.approx(found.auc.value, rel=1e-12)
    turned = tdr.roc(t, e, -x, 24)
    assert turned.auc.value == pytest.approx(1 - found.auc.value, rel=1e-12)
    assert turned.std_error == pytest.approx(found.std_error, rel=1e-10)


def test_without_censoring_it_is_the_plain_auc() -> None:
    t, _, x = invented(120, 6)
    found = tdr.roc(t, np.ones(120), x, 20)
    case, control = x[t <= 20], x[t > 20]
    gap = case[:, None] - control[None, :]
    assert found.auc.value == pytest.approx(((gap > 0) + (gap == 0) / 2).mean(), rel=1e-12)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    big_t, big_e, big_x = (
        np.concatenate(v) for v in zip(*(invented(4000, s) for s in range(4)), strict=True)
    )
    truth = tdr.roc(big_t, big_e, big_x, 24).auc.value
    held = 0
    for s in range(300):
        auc = tdr.roc(*invented(100, 1000 + s), 24).auc
        held += auc.ci_low <= truth <= auc.ci_high
    assert 0.915 <= held / 300 <= 0.985


def test_a_difference_of_equal_markers_is_seldom_called_one() -> None:
    rng = np.random.default_rng(7)
    called = 0
    for s in range(200):
        t, e, x = invented(120, 5000 + s)
        a, b = x + rng.normal(size=120), x + rng.normal(size=120)
        called += tdr.auc_difference(t, e, a, b, 24).p_value < 0.05
    assert called / 200 <= 0.1
    t, e, x = invented(120, 8)
    assert tdr.auc_difference(t, e, x, np.exp(x), 24).value is None
    ours = tdr.auc_difference(t, e, x, rng.normal(size=120), 24)
    assert ours.p_value < 0.05 < ours.value


def test_a_yes_or_no_marker_has_the_mean_of_both_rates() -> None:
    t, e, x = invented(150, 9)
    positive = (x > 0.3).astype(float)
    rates = tdr.accuracy(t, e, positive, 24)
    found = tdr.roc(t, e, positive, 24)
    mean = (rates["sensitivity"].value + rates["specificity"].value) / 2
    assert found.auc.value == pytest.approx(mean, rel=1e-12)
    row = found.table[found.table["threshold"] == 0].iloc[0]
    assert row["sensitivity"] == pytest.approx(rates["sensitivity"].value, rel=1e-12)
    assert row["specificity"] == pytest.approx(rates["specificity"].value, rel=1e-12)


def test_nobody_missed_still_has_an_interval() -> None:
    t, e = np.array([1, 2, 3, 9, 9, 9, 9.0]), np.array([1, 1, 1, 0, 0, 0, 0])
    positive = np.array([1, 1, 1, 1, 0, 0, 0])
    rates = tdr.accuracy(t, e, positive, 5)
    sensitivity = rates["sensitivity"]
    assert sensitivity.value == 1 and sensitivity.ci_high == 1
    # Without censoring: Clopper and Pearson for 3 of 3 and 3 of 4.
    assert sensitivity.ci_low == pytest.approx(0.025 ** (1 / 3), rel=1e-9)
    assert rates["specificity"].ci_low == pytest.approx(0.1941204, rel=1e-5)
    assert rates["specificity"].ci_high == pytest.approx(0.9936905, rel=1e-5)
    perfect = tdr.roc(t, e, np.array([1, 1, 1, 0, 0, 0, 0]), 5).auc
    assert perfect.value == 1 and perfect.ci_low is None and "all pairs agree" in perfect.method


def test_without_cases_or_controls_there_is_no_area() -> None:
    t, e, x = invented(40, 10)
    none = tdr.roc(t, np.zeros(40), x, 24)
    assert none.auc.value is None and "no case" in none.auc.reason
    assert "no control" in (tdr.roc(t, e, x, 1000).auc.reason or "")
    assert tdr.auc_difference(t, e, x, -x, 1000).value is None
    table = tdr.over_time(t, e, x, [12, 24, 1000])
    assert table["auc"].isna().tolist() == [False, False, True]
    assert table["cases"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"at": 0}, "more than 0"),
        ({"marker": [1.0]}, "marker"),
        ({"marker": [np.nan] * 30}, "marker"),
    ],
)
def test_what_cannot_be_used_is_refused(change: dict[str, Any], message: str) -> None:
    t, e, x = invented(30, 11)
    given: dict[str, Any] = {"time": t, "event": e, "marker": x, "at": 24.0} | change
    with pytest.raises(ValueError, match=message):
        tdr.roc(**given)
    with pytest.raises(ValueError, match="0 and 1"):
        tdr.accuracy(t, e, x, 24)

"""Tables and proportions: R's numbers, properties, and input that is refused."""

from __future__ import annotations

import math
import re
from itertools import product
from typing import Any

import numpy as np
import pytest
from golden_cases import Flat, check, flat, read
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ballbook import contingency as c
from ballbook.results import Estimate

AGES = [[[3, 8], [8, 17]], [[12, 7], [25, 26]], [[16, 11], [21, 23]], [[16, 2], [52, 45]]]
CLUSTERS = [[12, 5, 1], [1, 7, 20]]


def stratified(**given_: Any) -> Flat:
    m = c.mantel_haenszel(**given_)
    return flat(m.odds_ratio) | {
        "cmh": m.cmh.statistic,
        "cmh_p": m.cmh.p_value,
        "cmh_corrected": m.cmh_corrected.statistic,
        "cmh_corrected_p": m.cmh_corrected.p_value,
        "breslow_day": m.breslow_day_uncorrected.statistic,
        "breslow_day_p": m.breslow_day_uncorrected.p_value,
        "tarone": m.breslow_day.statistic,
        "tarone_p": m.breslow_day.p_value,
    }


def trend(**given_: Any) -> Flat:
    e = c.cochran_armitage(**given_)
    assert e.statistic is not None
    return flat(e) | {"chi_squared": e.statistic**2}


ESTIMATORS = {
    "proportion": lambda **g: flat(c.proportion(**g)),
    "odds_ratio": lambda **g: flat(c.odds_ratio(**g)),
    "fisher_exact": lambda **g: flat(c.fisher_exact(**g)),
    "chi_squared": lambda **g: flat(c.chi_squared(**g)),
    "risk_difference": lambda **g: flat(c.risk_difference(**g)),
    "mantel_haenszel": stratified,
    "cochran_armitage": trend,
    "mcnemar": lambda **g: flat(c.mcnemar(**g)),
}


@pytest.mark.parametrize("case", read("contingency"))
def test_agrees_with_r(case: dict[str, Any]) -> None:
    check(case, ESTIMATORS)
    assert case["expected"]


def test_published_check_values() -> None:
    m = c.mantel_haenszel(AGES)
    assert str(m.odds_ratio).startswith("2.05 (1.16 to 3.64), P = 0.014")
    assert round(m.cmh_corrected.p_value or 0, 3) == 0.021
    assert round(m.breslow_day.p_value or 0, 2) == 0.21
    mll10 = c.cochran_armitage([3, 12, 16, 16], [11, 19, 27, 18])
    interfant = c.cochran_armitage([8, 25, 21, 52], [25, 51, 44, 97])
    assert round(mll10.p_value or 0, 4) == 0.0028
    assert round(interfant.p_value or 0, 4) == 0.0998
    chi2 = c.chi_squared(CLUSTERS)
    assert round(chi2.statistic or 0, 2) == 25.88
    assert f"{c.fisher_exact(CLUSTERS).value:.1e}" == "4.7e-07"


counts = st.integers(0, 25)


@given(k=counts, rest=counts, method=st.sampled_from(["exact", "mid-p", "wilson"]))
def test_a_proportion_lies_in_its_interval_and_mirrors(k: int, rest: int, method: Any) -> None:
    e = c.proportion(k, k + rest, method)
    if k + rest == 0:
        assert e.value is None and e.reason
        return
    other = c.proportion(rest, k + rest, method)
    assert 0 <= e.ci_low <= e.value <= e.ci_high <= 1  # type: ignore[operator]
    assert math.isclose(e.ci_low or 0, 1 - (other.ci_high or 0), abs_tol=1e-12)


@given(k=st.integers(1, 24))
def test_mid_p_lies_inside_the_exact_interval(k: int) -> None:
    exact, mid = c.proportion(k, 25), c.proportion(k, 25, "mid-p")
    assert exact.ci_low < mid.ci_low < mid.ci_high < exact.ci_high  # type: ignore[operator]


@given(a=counts, b=counts, cc=counts, d=counts)
def test_odds_ratio_inverts_when_the_rows_change_places(a: int, b: int, cc: int, d: int) -> None:
    e, f = c.odds_ratio(a, b, cc, d), c.odds_ratio(cc, d, a, b)
    if e.p_value is None:
        assert f.p_value is None and e.reason
        return
    assert math.isclose(e.p_value, f.p_value or 0, rel_tol=1e-9)
    if e.value and f.value:
        assert math.isclose(e.value * f.value, 1, rel_tol=1e-8)
        assert (e.ci_low or 0) <= e.value <= (e.ci_high or math.inf)
    assert math.isclose(e.p_value, stats.fisher_exact([[a, b], [cc, d]]).pvalue, rel_tol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=2, max_size=3))
def test_fisher_exact_counts_every_table(rows: list[list[int]]) -> None:
    table = np.array(rows)
    e = c.fisher_exact(table)
    trimmed = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(trimmed.shape, default=0) < 2:
        assert e.value is None and e.reason
        return
    assert e.value == pytest.approx(_every_table(trimmed), rel=1e-9)


def _every_table(table: np.ndarray) -> float:
    """The definition, by brute force over all tables with these margins."""
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    log_weights = []
    free = [range(int(min(r, k)) + 1) for r in rows[:-1] for k in columns[:-1]]
    for cells in product(*free):
        inner = np.array(cells).reshape(len(rows) - 1, len(columns) - 1)
        full = np.column_stack([inner, rows[:-1] - inner.sum(axis=1)])
        full = np.vstack([full, columns - full.sum(axis=0)])
        if full.min() >= 0:
            log_weights.append(-sum(math.lgamma(v + 1) for v in full.ravel()))
    weight = np.array(log_weights)
    seen = -sum(math.lgamma(v + 1) for v in table.ravel())
    p = np.exp(weight - weight.max())
    return float(p[weight <= seen + 1e-7].sum() / p.sum())


def test_fisher_exact_samples_what_it_cannot_enumerate(monkeypatch: pytest.MonkeyPatch) -> None:
    table = [[8, 3, 2, 5], [1, 9, 4, 4], [5, 5, 1, 12]]
    exact = c.fisher_exact(table)
    monkeypatch.setattr(c, "MAX_NODES", 10)
    sampled = c.fisher_exact(table)
    assert "Monte Carlo" in sampled.method and "standard error" in (sampled.reason or "")
    assert sampled.value == pytest.approx(exact.value, abs=4e-3)
    assert sampled.value == c.fisher_exact(table).value
    assert sampled.value != exact.value


@given(k1=counts, r1=counts, k2=counts, r2=counts)
def test_risk_difference_changes_sign_with_the_groups(k1: int, r1: int, k2: int, r2: int) -> None:
    for method in ("newcombe", "miettinen-nurminen"):
        e = c.risk_difference(k1, k1 + r1, k2, k2 + r2, method)  # type: ignore[arg-type]
        f = c.risk_difference(k2, k2 + r2, k1, k1 + r1, method)  # type: ignore[arg-type]
        if e.value is None:
            assert f.value is None and e.reason
            continue
        assert -1 - 1e-9 <= e.ci_low <= e.value + 1e-9  # type: ignore[operator]
        assert e.value - 1e-9 <= e.ci_high <= 1 + 1e-9  # type: ignore[operator]
        assert e.ci_low == pytest.approx(-(f.ci_high or 0), abs=1e-7)
        assert e.p_value is not None and e.p_value == pytest.approx(f.p_value, abs=1e-9)


def test_exact_difference_contains_its_mid_p_interval() -> None:
    exact, mid = (c.risk_difference(7, 9, 2, 8, m) for m in ("exact", "mid-p"))
    assert exact.ci_low <= mid.ci_low < mid.ci_high <= exact.ci_high  # type: ignore[operator]
    assert mid.p_value < exact.p_value  # type: ignore[operator]


def test_strata_without_information_are_told_and_change_nothing() -> None:
    with_empty = c.mantel_haenszel([*AGES, [[0, 6], [0, 9]]]).odds_ratio
    without = c.mantel_haenszel(AGES).odds_ratio
    assert with_empty.value == without.value
    assert with_empty.n == (without.n or 0) + 15
    assert "1 of 5 strata" in (with_empty.reason or "")


def test_one_stratum_and_zero_cells_are_stated() -> None:
    one = c.mantel_haenszel([AGES[1]])
    assert one.breslow_day.value is None and "one stratum" in (one.breslow_day.reason or "")
    infinite = c.mantel_haenszel([[[3, 0], [2, 5]], [[4, 0], [1, 5]]])
    assert infinite.odds_ratio.value is None and "infinite" in (infinite.odds_ratio.reason or "")
    assert infinite.cmh.p_value is not None
    nothing = c.mantel_haenszel([[[0, 6], [0, 9]]])
    assert nothing.odds_ratio.value is None and nothing.cmh.reason


@pytest.mark.parametrize(
    "estimate",
    [
        c.proportion(0, 0),
        c.risk_difference(0, 0, 3, 5),
        c.odds_ratio(0, 0, 3, 5),
        c.fisher_exact([[3, 0], [5, 0]]),
        c.chi_squared([[3, 0], [5, 0]]),
        c.cochran_armitage([0, 0], [5, 6]),
        c.cochran_armitage([1, 2], [5, 6], [1, 1]),
        c.mcnemar(0, 0),
    ],
)
def test_too_poor_data_give_a_reason_instead_of_a_number(estimate: Estimate) -> None:
    assert estimate.value is None and estimate.reason


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: c.proportion(5, 3), "k: 5 events among only 3"),
        (lambda: c.proportion(-1, 3), "k: expected non-negative integers, got -1"),
        (lambda: c.proportion(1.5, 3), "k: expected non-negative integers, got 1.5"),  # type: ignore[arg-type]
        (lambda: c.proportion(1, 3, "wald"), "method"),  # type: ignore[arg-type]
        (lambda: c.proportion(1, 3, ci_level=95), "ci_level"),
        (lambda: c.odds_ratio(1, 2, 3, float("nan")), "d: expected"),  # type: ignore[arg-type]
        (lambda: c.fisher_exact([1, 2, 3]), "table: expected 2 dimension"),
        (lambda: c.chi_squared([["a", 2], [3, 4]]), "table: expected counts, got 'a'"),
        (lambda: c.mantel_haenszel([[[1, 2, 3], [4, 5, 6]]]), "expected shape"),
        (lambda: c.cochran_armitage([1, 2], [3]), "unequal lengths: k 2, n 1"),
        (lambda: c.cochran_armitage([4, 2], [3, 3]), "group 1"),
        (lambda: c.risk_difference(1, 2, 3, 2), "k2: 3 events among only 2"),
        (lambda: c.expected_counts([[0, 0], [0, 0]]), "all counts are zero"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_large_counts_are_quick_and_finite() -> None:
    e = c.odds_ratio(1200, 400_000, 900, 600_000)
    assert e.value == pytest.approx(1200 * 600_000 / (400_000 * 900), rel=1e-3)
    assert e.ci_low < e.value < e.ci_high  # type: ignore[operator]

"""Size, presence and detection of a clone, against R and against each other."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ballbook import clone_size as cs
from ballbook import clones
from ballbook.beta_binomial import beta_binomial, log_tail, log_tail_of_sum, rho_that_explains
from ballbook.results import Estimate


@pytest.fixture
def r(golden: Any) -> Any:
    return golden("clone_size")


# ------------------------------------------------------------------------------- beta-binomial


@pytest.mark.parametrize("name", ["varied", "half", "rare"])
def test_the_fit_is_that_of_r(r: Any, name: str) -> None:
    want = r["fits"][name]
    fit = beta_binomial(want["k"], want["n"])
    assert fit.mean.value == pytest.approx(want["mu"], rel=1e-5)
    assert fit.rho == pytest.approx(want["rho"], rel=1e-4)
    assert fit.log_likelihood == pytest.approx(want["loglik"], abs=1e-6)
    assert fit.mean.ci_low == pytest.approx(want["low"], rel=1e-5)
    assert fit.mean.ci_high == pytest.approx(want["high"], rel=1e-5)
    assert fit.overdispersion.statistic == pytest.approx(want["lr"], rel=1e-6)
    assert fit.overdispersion.p_value == pytest.approx(want["p"], rel=1e-5)
    # VGAM itself, which stops at a looser tolerance.
    assert fit.mean.value == pytest.approx(want["vgam_mu"], rel=1e-3)
    assert fit.log_likelihood >= want["vgam_loglik"] - 1e-6


def test_counts_without_overdispersion_give_the_binomial() -> None:
    k = [5] * 40  # less varied than chance
    fit = beta_binomial(k, [100] * 40)
    assert fit.mean.value == pytest.approx(0.05) and fit.rho < 1e-6
    assert fit.overdispersion.p_value is not None and fit.overdispersion.p_value > 0.45
    low, high = 200 - 1.96 * math.sqrt(200 * 0.95), 200 + 1.96 * math.sqrt(200 * 0.95)
    assert fit.mean.ci_low == pytest.approx(low / 4000, rel=0.03)
    assert fit.mean.ci_high == pytest.approx(high / 4000, rel=0.03)


def test_no_and_only_variant_reads_have_no_fit() -> None:
    assert beta_binomial([0, 0], [9, 8]).mean.reason == "no variant reads"
    assert beta_binomial([9, 8], [9, 8]).mean.reason == "only variant reads"
    with pytest.raises(ValueError, match="at most n"):
        beta_binomial([9], [8])


@pytest.mark.slow
def test_the_interval_covers_where_sites_vary_and_the_binomial_one_does_not() -> None:
    rng = np.random.default_rng(4)
    inside = binomial = 0
    runs, mean, rho = 300, 0.02, 0.02
    for _ in range(runs):
        share = rng.beta(mean * (1 / rho - 1), (1 - mean) * (1 / rho - 1), 200)
        k = rng.binomial(60, share)
        e = beta_binomial(k, np.full(200, 60)).mean
        assert e.ci_low is not None and e.ci_high is not None
        inside += e.ci_low <= mean <= e.ci_high
        plain = cs.pooled_fraction(int(k.sum()), 12000)
        assert plain.ci_low is not None and plain.ci_high is not None
        binomial += plain.ci_low <= mean <= plain.ci_high
    assert 0.92 < inside / runs < 0.98
    assert binomial / runs < 0.9


def test_tails_are_those_of_r(r: Any) -> None:
    for c in r["overdispersed"]:
        assert log_tail(c["k"], c["n"], c["e"], c["rho"]) == pytest.approx(c["log"], rel=1e-9)
    for c in r["sums"]:
        found = log_tail_of_sum(c["k"], c["depth"], c["e"], c["rho"])
        assert found == pytest.approx(c["log"], rel=1e-9)


def test_the_tail_of_a_sum_is_the_binomial_one_where_nothing_varies() -> None:
    """At 1e-151, where a plain transform would have lost everything."""
    depth = np.full(2318, 100)
    for k in (40, 100, 290, 400):
        want = cs.log_p_value(k, 231800, 1.6e-4)
        assert log_tail_of_sum(k, depth, 1.6e-4, 1e-8) == pytest.approx(want, rel=1e-4)


def test_the_tail_of_a_sum_agrees_with_all_ways_to_get_it() -> None:
    sizes, mean, rho = (2, 3, 4), 0.3, 0.2
    f = [stats.betabinom(n, mean * (1 / rho - 1), (1 - mean) * (1 / rho - 1)) for n in sizes]
    for k in range(11):
        p = sum(
            math.prod(float(d.pmf(x)) for d, x in zip(f, way, strict=True))
            for way in itertools.product(*(range(n + 1) for n in sizes))
            if sum(way) >= k
        )
        want = -math.inf if k > 9 else math.log(min(p, 1.0))
        assert log_tail_of_sum(k, sizes, mean, rho) == pytest.approx(want, abs=1e-9)
    assert log_tail(0, 5, 0.1, 0.1) == 0.0 and log_tail(6, 5, 0.1, 0.1) == -math.inf


def test_the_rho_that_explains_is_interpolated() -> None:
    rho = np.array([1e-5, 1e-4, 1e-3])
    tails = np.array([-50.0, -10.0, -5.0])
    assert rho_that_explains(-10.0, tails, rho) == pytest.approx(1e-4)
    assert rho_that_explains(-60.0, tails, rho) == 1e-5
    assert rho_that_explains(-1.0, tails, rho) is None
    middle = rho_that_explains(-7.5, tails, rho)
    assert middle == pytest.approx(math.sqrt(1e-4 * 1e-3))


# --------------------------------------------------------------------------- size and presence


def test_intervals_and_tests_are_those_of_r(r: Any) -> None:
    for c in r["binomial"]:
        e = cs.pooled_fraction(c["k"], c["n"])
        assert e.value == c["k"] / c["n"] and e.kind == "mean"
        assert e.ci_low == pytest.approx(c["low"], rel=1e-9)
        assert e.ci_high == pytest.approx(c["high"], rel=1e-9)
        p = cs.against_background(c["k"], c["n"], c["e"])
        assert p.value == pytest.approx(c["log10"], rel=1e-9)
    assert cs.against_background(5000, 100000, 1e-4).p_value is None
    assert cs.against_background(290, 231772, 1.6e-4).p_value == pytest.approx(1.5e-151, rel=0.05)


def test_the_test_holds_at_every_count() -> None:
    for k in range(13):
        want = math.log(stats.binom.sf(k - 1, 12, 0.3))
        assert cs.log_p_value(k, 12, 0.3) == pytest.approx(want, abs=1e-12)
    with pytest.raises(ValueError, match="at most n"):
        cs.log_p_value(13, 12, 0.3)
    with pytest.raises(ValueError, match="error rate"):
        cs.log_p_value(3, 12, 0.0)


@pytest.mark.parametrize(
    ("log10_p", "text"),
    [
        (-150.838, "1.5 × 10⁻¹⁵¹"),
        (-0.5, "0.32"),
        (-1999.9999, "1.0 × 10⁻²⁰⁰⁰"),
        (-2.01, "9.8 × 10⁻³"),
        (None, "not estimable"),
    ],
)
def test_small_p_values_are_never_zero(log10_p: float | None, text: str) -> None:
    assert cs.format_log10_p(log10_p) == text


def test_background_is_taken_off() -> None:
    v, e = 0.01, 0.002
    n = 10**6
    k = round(n * (v * (1 - e) + (1 - v) * e))
    found = cs.without_background(k, n, e)
    assert found.value == pytest.approx(v, rel=1e-3)
    plain = cs.pooled_fraction(k, n)
    assert found.ci_low == pytest.approx((plain.ci_low - e) / (1 - 2 * e), rel=1e-12)  # type: ignore[operator]
    low = cs.without_background(3, 10**5, 1e-3)
    assert low.value == 0.0 and low.ci_low == 0.0 and low.ci_high == 0.0
    known = cs.without_background(300, 10**5, 1e-3)
    told = cs.without_background(300, 10**5, (10, 10**4))
    assert told.value == pytest.approx(known.value, rel=1e-9)
    assert told.ci_low < known.ci_low and told.ci_high > known.ci_high  # type: ignore[operator]
    assert cs.without_background(0, 0, 1e-3).reason == "no reads"


@pytest.mark.parametrize(
    ("v", "given", "cells"),
    [
        (0.0013, {}, 0.0026),
        (0.25, {"purity": 0.5}, 1.0),
        (0.2, {"purity": 0.8, "copy_number": 2}, 0.5),
        # One copy left in all leukaemic cells: v = f / (p + 2 (1 - p)).
        (0.8 / 1.2, {"purity": 0.8, "copy_number": 1}, 1.0),
        (0.45, {"multiplicity": 2}, 0.45),
        (1 / 3, {"purity": 1.0, "copy_number": 3}, 1.0),
    ],
)
def test_an_allele_fraction_becomes_cells(v: float, given: dict[str, float], cells: float) -> None:
    e = cs.cells_of_clone(Estimate("mean", v, v / 2, v), **given)  # type: ignore[arg-type]
    assert e.value == pytest.approx(cells) and e.ci_low == pytest.approx(cells / 2)
    assert e.kind == "proportion" and e.reason is None


def test_more_than_all_cells_is_said_to_be_so() -> None:
    e = cs.cells_of_clone(Estimate("mean", 0.6, 0.5, 0.7))
    assert (e.value, e.ci_low, e.ci_high) == (1.0, 1.0, 1.0) and "1.20 before" in str(e.reason)
    for wrong in ({"copy_number": 3}, {"purity": 0.0}, {"purity": 1.2}, {"multiplicity": 0}):
        with pytest.raises(ValueError, match="purity"):
            cs.cells_of_clone(Estimate("mean", 0.1), **wrong)  # type: ignore[arg-type]


def test_the_reads_behind_a_p_value_are_all_found_and_no_others() -> None:
    found = clones.reads_of_p("1.5e-151", 1.6e-4, (225_000, 240_000))
    assert {290} <= set(found["k"]) <= set(range(280, 300))
    for row in found.itertuples():
        for n in (row.n_low, row.n_high):
            assert 1.45 <= 10 ** (cs.log_p_value(row.k, n, 1.6e-4) / math.log(10) + 151) <= 1.55
        outside = cs.log_p_value(row.k, row.n_high + 1, 1.6e-4) / math.log(10) + 151
        assert row.n_high == 240_000 or 10**outside > 1.55
    wide = clones.reads_of_p("1.5e-151", 1.6e-4, (225_000, 240_000), error_room=5e-6)
    assert set(wide["k"]) > set(found["k"])
    assert clones.reads_of_p("0.5e-300", 1e-4, (100, 101)).empty
    by_hand = [
        k for k in range(6, 40) if 0.0015 <= math.exp(cs.log_p_value(k, 1000, 0.005)) < 0.0025
    ]
    assert clones.reads_of_p("2e-3", 0.005, (1000, 1000))["k"].tolist() == by_hand


# ---------------------------------------------------------------------------------- detection


def test_decision_and_detection_limits_are_those_of_r(r: Any) -> None:
    for c in r["design"]:
        given = {"alpha": c["alpha"]}
        assert cs.critical_count(c["reads"], c["e"], **given) == c["critical"]
        limit = cs.limit_of_detection(c["reads"], c["e"], power=c["power"], **given)
        assert limit == pytest.approx(c["share"], rel=1e-6)
    for c in r["needed"]:
        assert cs.reads_needed(c["share"], c["e"]) == c["reads"]
    found = cs.detection_power([0.0005, 0.001, 0.002], 100_000, 1.6e-4, cells=2000)
    assert found == pytest.approx(r["tube"], rel=1e-6)


def test_a_limit_is_seen_with_its_power() -> None:
    ways: list[dict[str, float]] = [{}, {"cells": 5000.0}, {"rho": 2e-5}]
    ways.append({"cells": 5000.0, "rho": 2e-5})
    for reads, more in itertools.product((3000, 200_000), ways):
        limit = cs.limit_of_detection(reads, 1.6e-4, **more)  # type: ignore[arg-type]
        assert limit is not None
        (power,) = cs.detection_power(limit, reads, 1.6e-4, **more)  # type: ignore[arg-type]
        assert power == pytest.approx(0.95, abs=1e-4)


def test_few_cells_and_a_varying_background_are_floors() -> None:
    endless = cs.limit_of_detection(10**8, 1.6e-4)
    tube = cs.limit_of_detection(10**8, 1.6e-4, cells=1000)
    varied = cs.limit_of_detection(10**7, 1.6e-4, rho=1e-5)
    more = cs.limit_of_detection(10**8, 1.6e-4, rho=1e-5)
    assert endless is not None and tube is not None and varied is not None and more is not None
    # No cell of the clone is in the tube with probability exp(-3).
    assert endless < 2e-5 and tube >= 3 / 1000 * 0.99
    assert more == pytest.approx(varied, rel=0.05) and varied > 10 * endless
    assert cs.limit_of_detection(2, 0.4) is None
    assert cs.cells_in(6.6) == 1000


def test_the_fewest_reads_are_enough_and_one_less_is_not() -> None:
    for share in (0.3, 0.02, 0.0026, 1e-4):
        n = cs.reads_needed(share, 1.6e-4)
        assert n is not None
        assert cs.detection_power(share, n, 1.6e-4)[0] >= 0.95
        assert cs.detection_power(share, n - 1, 1.6e-4)[0] < 0.95
    assert cs.reads_needed(1e-9, 0.01) is None
    with pytest.raises(ValueError, match="share above 0"):
        cs.reads_needed(0.0, 1e-4)


def test_false_alarms_keep_their_level() -> None:
    rng = np.random.default_rng(3)
    c = cs.critical_count(20_000, 1.6e-4, alpha=0.05)
    assert (rng.binomial(20_000, 1.6e-4, 20_000) >= c).mean() <= 0.053
    total = 1 / 1e-4 - 1
    varied = rng.binomial(20_000, rng.beta(1.6e-4 * total, (1 - 1.6e-4) * total, 20_000))
    wide = cs.critical_count(20_000, 1.6e-4, alpha=0.05, rho=1e-4)
    assert (varied >= c).mean() > 0.1 and (varied >= wide).mean() <= 0.054


def test_growth_at_one_rate() -> None:
    assert cs.doubling_time(0.01, 0.08, 6) == pytest.approx(2.0)
    for wrong in ((0.1, 0.1, 3), (0.0, 0.1, 3), (0.1, 0.2, 0)):
        with pytest.raises(ValueError, match="grows"):
            cs.doubling_time(*wrong)

"""The germline test and the overdispersion of reads, against R and against simulation."""

from __future__ import annotations

from typing import Any

import golden_cases
import numpy as np
import pytest
from scipy import stats

from ballbook.germline import germline_test, largest_somatic_fraction
from ballbook.overdispersion import (
    artefact_filter,
    beta_binomial_log_pmf,
    common_rho,
    site_rho,
)

GOLDEN = {c.values[0]["estimator"]: c.values[0] for c in golden_cases.read("clone_filters")}


def _near(found: Any, case: str, name: str) -> bool:
    expected = np.array(GOLDEN[case]["expected"][name], dtype=float)
    return np.allclose(found, expected, rtol=GOLDEN[case]["tolerance"], atol=0, equal_nan=True)


def test_germline_as_r() -> None:
    found = germline_test(**GOLDEN["germline"]["input"])
    assert _near(found.p, "germline", "p")
    assert _near(found.adjusted, "germline", "adjusted")
    assert found.germline[:20].all() and not found.germline[20:].any()


def test_site_rho_as_r() -> None:
    assert _near(site_rho(**GOLDEN["site_rho"]["input"]), "site_rho", "rho")


def test_beta_binomial_as_r_and_scipy() -> None:
    given = GOLDEN["log_pmf"]["input"]
    assert _near(beta_binomial_log_pmf(**given), "log_pmf", "value")
    a, b = 0.1 * 99, 0.9 * 99
    expected = stats.betabinom.logpmf(np.arange(21), 20, a, b)
    found = beta_binomial_log_pmf(np.arange(21), 20, 0.1, 0.01)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert np.exp(found).sum() == pytest.approx(1)


def test_common_rho_as_r() -> None:
    given = GOLDEN["common_rho"]["input"]
    found = common_rho([given["alt"]], [given["depth"]], 0.5)
    assert _near([found.value], "common_rho", "value")
    assert _near([found.ci_low], "common_rho", "ci_low")
    assert _near([found.ci_high], "common_rho", "ci_high")


def test_binomial_reads_have_no_rho() -> None:
    rng = np.random.default_rng(3)
    depth = rng.poisson(100, (500, 2))
    found = common_rho(rng.binomial(depth, 0.5), depth, 0.5)
    assert found.ci_low == pytest.approx(1e-6)
    assert found.ci_high < 1e-3


def test_what_is_pooled_decides() -> None:
    """A clone in all cells of two samples and in none of the third."""
    alt, depth = np.tile([50, 50, 0], (30, 1)), np.full((30, 3), 100)
    assert not germline_test(alt, depth).germline.any()
    assert germline_test(alt, depth, used=[True, True, False]).germline.all()
    nowhere = germline_test(alt, depth, used=[False, False, False])
    assert nowhere.germline.all() and (nowhere.p == 1).all()


def test_a_whole_allele_where_it_is_expected() -> None:
    alt, depth = np.array([[100], [50]]), np.full((2, 1), 100)
    assert germline_test(alt, depth, fraction=1.0).germline.tolist() == [True, False]


@pytest.mark.parametrize("depth", [100, 500, 3000])
def test_largest_somatic_fraction_has_that_power(depth: int) -> None:
    found = largest_somatic_fraction(depth)
    passing = stats.binom.ppf(1e-5, depth, 0.5) - 1
    while stats.binom.cdf(passing + 1, depth, 0.5) <= 1e-5:
        passing += 1
    assert stats.binom.cdf(passing, depth, found / 2) == pytest.approx(0.8)
    assert largest_somatic_fraction(10, p=1e-5) == 0


def test_artefacts_are_low_and_even() -> None:
    rng = np.random.default_rng(5)
    depth = rng.poisson(100, (90, 6))
    share = np.empty((90, 6))
    share[:30] = 0.04
    share[30:60] = 0.45
    share[60:] = [0.1, 0, 0, 0.08, 0, 0]
    alt = rng.binomial(depth, share)
    found = artefact_filter(alt, depth)
    assert found.artefact[:30].mean() > 0.8
    assert not found.artefact[30:60].any()
    assert found.artefact[60:].mean() < 0.1
    as_published = artefact_filter(alt, depth, largest=1.0)
    assert as_published.artefact[30:60].mean() > 0.8


def test_site_rho_where_it_cannot_be_told() -> None:
    alt = [[0, 0], [10, 10], [5, 0], [3, 9]]
    depth = [[10, 10], [10, 10], [10, 0], [10, 10]]
    assert np.isnan(site_rho(alt, depth)).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("alt", "depth", "message"),
    [
        ([[3]], [[2]], "site 0 in sample 0 has 3 variant reads of 2"),
        ([[-1]], [[2]], "has -1 variant reads"),
        ([[1.5]], [[2]], "whole numbers"),
        ([1], [2], "sites by samples"),
        ([[1, 2]], [[3]], "shape"),
        ([["x"]], [[3]], "whole numbers"),
    ],
)
def test_counts_that_are_none(alt: Any, depth: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        germline_test(alt, depth)


def test_arguments_out_of_range() -> None:
    with pytest.raises(ValueError, match="cut"):
        germline_test([[1]], [[2]], cut=0)
    with pytest.raises(ValueError, match="fraction"):
        germline_test([[1]], [[2]], fraction=0)
    with pytest.raises(ValueError, match="cut and largest"):
        artefact_filter([[1]], [[2]], cut=2)
    with pytest.raises(ValueError, match="mean"):
        common_rho([[1]], [[2]], 0)
    with pytest.raises(ValueError, match="depth"):
        largest_somatic_fraction(0)

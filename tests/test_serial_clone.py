"""One lineage through serial samples of which the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from ballbook import clone_size
from ballbook.serial_clone import background_of, course
from ballbook.variants import KEY, Serial, Variants

ERROR = 2e-4
SITES, DEPTH = 800, 120


def serial(
    shares: list[float], controls: int = 0, *, rate: float = ERROR, seed: int = 1, **more: object
) -> Serial:
    """Return samples in which the lineage makes up these shares of cells, then controls."""
    rng = np.random.default_rng(seed)
    every = [*shares, *[0.0] * controls]
    depth = rng.poisson(DEPTH, (SITES, len(every)))
    v = np.array(every) / 2
    alt = rng.binomial(depth, v * (1 - rate) + (1 - v) * rate)
    sites = pd.DataFrame({"chrom": "chr1", "pos": range(1, SITES + 1), "ref": "C", "alt": "T"})
    names = tuple(f"S{i}" for i in range(len(every)))
    samples = pd.DataFrame(
        {
            "sample": names, "day": [30.0 * i for i in range(len(every))],
            "control": [i >= len(shares) for i in range(len(every))], "purity": np.nan,
        }
    )  # fmt: skip
    return Serial(Variants(sites[KEY], names, alt, depth, **more), None, samples)  # type: ignore[arg-type]


def test_sizes_are_found_again_and_absence_is_not_called() -> None:
    shares = [0.0, 0.002, 0.05, 0.6]
    found = course(serial(shares, 12), error=0.5e-4)
    assert found.background.errors is not None and found.background.controls == 12
    assert found.background.rate == pytest.approx(ERROR, rel=0.15)
    assert [s.called for s in found.samples] == [False, True, True, True]
    for share, s in zip(shares, found.samples, strict=True):
        assert s.cells.ci_low is not None and s.cells.ci_high is not None
        assert s.cells.ci_low - 1e-9 <= share <= s.cells.ci_high
        assert s.leukaemic.value is None
    assert [s.name for s in found.samples] == ["sample 1", "sample 2", "sample 3", "sample 4"]
    assert [s.day for s in found.samples] == [0, 30, 60, 90]
    assert len(found.table) == 4 and found.table["reads"].gt(90_000).all()


def test_numbers_are_those_of_the_methods() -> None:
    data = serial([0.004], 0)
    (s,) = course(data, error=ERROR).samples
    k, n = int(data.variants.alt.sum()), int(data.variants.depth.sum())
    assert (s.pooled.n_events, s.pooled.n, s.sites, s.blind) == (k, n, SITES, 0)
    assert s.net.value == pytest.approx((k / n - ERROR) / (1 - 2 * ERROR))
    assert s.cells.value == pytest.approx(2 * (k / n - ERROR) / (1 - 2 * ERROR))
    want = clone_size.log_p_value(k, n, ERROR) / math.log(10)
    assert s.log10_p.value == pytest.approx(want)
    assert s.limit == clone_size.limit_of_detection(n, ERROR)


def test_a_list_of_sites_and_copy_numbers_choose_what_is_counted() -> None:
    copies = np.full((SITES, 1), np.nan)
    copies[:100] = 3
    copies[100:200] = 2
    data = serial([0.1], copy_number=copies)
    found = course(data, error=ERROR)
    assert (found.sites, found.left) == (SITES - 100, 100)
    assert course(data, error=ERROR, diploid_only=False).sites == SITES
    listed = Serial(data.variants, data.variants.sites.iloc[50:150], data.samples)
    assert (course(listed, error=ERROR).sites, course(listed, error=ERROR).left) == (50, 50)
    with pytest.raises(ValueError, match="two copies"):
        course(Serial(data.variants, data.variants.sites.iloc[:50], None), error=ERROR)


def test_purity_gives_the_share_of_leukaemic_cells() -> None:
    data = serial([0.1], purity=np.full((SITES, 1), 0.5))
    (s,) = course(data, error=ERROR).samples
    assert s.cells.value is not None
    assert s.leukaemic.value == pytest.approx(2 * s.cells.value)


def test_a_background_that_varies_makes_the_test_stricter() -> None:
    data = serial([0.0006], 20)
    depth = data.variants.depth
    rng = np.random.default_rng(9)
    varied = data.variants.alt.copy()
    for j in range(1, 21):
        varied[:, j] = rng.binomial(depth[:, j], ERROR * rng.gamma(0.8, 1 / 0.8))
    steady = course(data, error=ERROR)
    loose = course(
        Serial(Variants(data.variants.sites, data.variants.samples, varied, depth), None,
               data.samples), error=ERROR,
    )  # fmt: skip
    assert loose.background.rho > 10 * max(steady.background.rho, 1e-8)
    (a,), (b,) = steady.samples, loose.samples
    assert a.log10_p.value is not None and b.log10_p.value is not None
    assert b.log10_p.value > a.log10_p.value + 1
    assert a.limit is not None and b.limit is not None and b.limit > a.limit


def test_controls_without_errors_give_a_bound() -> None:
    data = serial([0.01], 3, rate=1e-12)
    found = background_of(data, ERROR)
    assert found.errors == 0 and found.reads is not None
    assert found.rate == 3 / found.reads and found.rho == 0.0
    assert background_of(serial([0.01]), ERROR).told == ERROR


def test_sites_that_vary_widen_the_interval() -> None:
    data = serial([0.1, 0.1], seed=5)
    rng = np.random.default_rng(6)
    share = rng.beta(0.05 * 49, 0.95 * 49, SITES)
    data.variants.alt[:, 1] = rng.binomial(data.variants.depth[:, 1], share)
    even, varied = course(data, error=ERROR).samples
    assert even.rho == 0 and even.fraction == even.pooled
    assert varied.rho == pytest.approx(0.02, rel=0.3)
    widths = []
    for e in (varied.pooled, varied.fraction, varied.net):
        assert e.ci_low is not None and e.ci_high is not None
        widths.append(e.ci_high - e.ci_low)
    assert widths[1] > 1.5 * widths[0] and widths[2] == pytest.approx(widths[1], rel=1e-3)
    assert varied.net.value is not None and varied.fraction.value is not None
    less = (varied.fraction.value - ERROR) / (1 - 2 * ERROR)
    assert varied.net.value == pytest.approx(less)


def test_two_reads_of_one_site_are_not_said_to_vary() -> None:
    data = serial([0.0])
    data.variants.alt[:] = 0
    data.variants.alt[3, 0] = 2
    (s,) = course(data, error=ERROR).samples
    assert s.rho == 0 and s.fraction == s.pooled


def test_a_sample_without_reads_says_nothing() -> None:
    data = serial([0.01, 0.01])
    data.variants.alt[:, 1] = 0
    data.variants.depth[:, 1] = 0
    _, s = course(data, error=ERROR).samples
    assert s.pooled.value is None and not s.called and s.limit is None
    assert s.blind == SITES and s.cells.value is None

"""Means over donors: cells of one donor never make an interval narrow."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ballbook import donor_means as dm

RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def cells() -> pd.DataFrame:
    rows = []
    for donor, level in zip("abcd", (0.0, 1.0, 2.0, 5.0), strict=True):
        for state, shift, n in (("early", 0.0, 30), ("late", -1.0, 4 if donor == "d" else 12)):
            rows += [(donor, state, v) for v in RNG.normal(level + shift, 0.1, n)]
    rows.append(("a", None, 99.0))
    return pd.DataFrame(rows, columns=["donor", "state", "value"])


def test_each_donor_counts_once(cells: pd.DataFrame) -> None:
    means = dm.donor_means(cells["value"], cells["donor"], cells["state"])
    assert len(means) == 7 and means["cells"].sum() == 4 * 30 + 3 * 12
    by = cells[cells["state"] == "early"].groupby("donor")["value"].mean()
    found = dm.mean_over_donors(means, "early")
    r = stats.ttest_1samp(by, 0).confidence_interval(0.95)
    assert (found.n, found.value) == (4, pytest.approx(by.mean()))
    assert [found.ci_low, found.ci_high] == pytest.approx([r.low, r.high])
    # A hundred times the cells leave the interval as it was.
    many = pd.concat([cells] * 100)
    again = dm.mean_over_donors(
        dm.donor_means(many["value"], many["donor"], many["state"]), "early"
    )
    assert [again.ci_low, again.ci_high] == pytest.approx([found.ci_low, found.ci_high])


def test_states_are_compared_within_donors(cells: pd.DataFrame) -> None:
    means = dm.donor_means(cells["value"], cells["donor"], cells["state"])
    found = dm.difference_within_donors(means, "late", "early")
    wide = means.pivot(index="donor", columns="state", values="mean").dropna()
    paired = stats.ttest_rel(wide["late"], wide["early"])
    assert found.n == 3 and found.value == pytest.approx(-1, abs=0.1)
    assert found.p_value == pytest.approx(paired.pvalue)
    r = paired.confidence_interval(0.95)
    assert [found.ci_low, found.ci_high] == pytest.approx([r.low, r.high])
    # Fewer cells asked for: the fourth donor counts too.
    loose = dm.donor_means(cells["value"], cells["donor"], cells["state"], min_cells=4)
    assert dm.difference_within_donors(loose, "late", "early").n == 4


def test_shares_stay_between_0_and_1_and_one_donor_has_no_interval(cells: pd.DataFrame) -> None:
    means = dm.donor_means(cells["value"] > 2, cells["donor"], cells["state"])
    share = dm.mean_over_donors(means, "early", kind="proportion")
    assert share.ci_low == 0.0 and share.ci_high == 1.0 and share.p_value is None
    one = means[means["donor"] == "a"]
    found = dm.mean_over_donors(one, "early")
    assert found.value is not None and found.ci_low is None and "one donor" in str(found.reason)
    assert dm.difference_within_donors(one, "late", "early").value is None
    assert dm.difference_within_donors(one, "late", "other").value is None
    assert dm.mean_over_donors(means, "other").value is None


def test_missing_values_are_refused(cells: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="no value or no donor"):
        dm.donor_means([np.nan], ["a"], ["early"])

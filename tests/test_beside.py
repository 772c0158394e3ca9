"""A reader's estimate beside others: tests, power, and what the tables and plots hold."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from statsmodels.stats.meta_analysis import combine_effects

from ballbook import beside, claims, paragraph, scales
from ballbook.results import Estimate

OWN = Estimate("hazard-ratio", 2.1, 1.1, 4.0, tier="yours", id="own-hr", label="Yours", n=80)
REVIEW = Estimate("hazard-ratio", 3.0, 2.0, 4.5, tier="published", label="Review")
OPEN = Estimate("hazard-ratio", 2.0, 1.3, 3.5, tier="open", label="Trial")


def test_heterogeneity_is_cochrans_q_as_statsmodels_computes_it() -> None:
    found = beside.compare("EFS", OWN, [REVIEW, OPEN]).heterogeneity
    known = [scales.on_scale(e) for e in (OWN, REVIEW, OPEN)]
    y, s = zip(*known, strict=True)
    peer = combine_effects(np.array(y), np.array(s) ** 2)
    assert found.statistic == pytest.approx(peer.q, rel=1e-12)
    assert found.df == 2
    assert found.value == pytest.approx(peer.test_homogeneity().pvalue, rel=1e-10)


def test_difference_and_power_by_hand() -> None:
    found = beside.compare("EFS", OWN, [REVIEW])
    s1 = math.log(4.0 / 1.1) / (2 * 1.959963984540054)
    s0 = math.log(4.5 / 2.0) / (2 * 1.959963984540054)
    z = math.log(2.1 / 3.0) / math.hypot(s1, s0)
    # The interval is not quite symmetric; its two halves are averaged, which is its width.
    assert found.difference.statistic == pytest.approx(z, rel=1e-12)
    shift = math.log(3) / s1
    power = norm.sf(1.959963984540054 - shift) + norm.cdf(-1.959963984540054 - shift)
    assert found.power.value == pytest.approx(power, rel=1e-12)


def test_an_effect_at_the_edge_of_detectable_has_eighty_per_cent_power() -> None:
    edge = beside.compare("EFS", OWN, [REVIEW]).detectable.ci_high
    power = beside.compare("EFS", OWN, [replace(REVIEW, value=edge)]).power.value
    assert power == pytest.approx(0.8, abs=1e-4)


def test_context_is_shown_and_not_tested() -> None:
    alone = beside.compare("EFS", OWN, [REVIEW])
    with_context = beside.compare("EFS", OWN, [REVIEW], [OPEN])
    assert with_context.heterogeneity == alone.heterogeneity
    rows = beside.forest_rows([with_context])
    assert rows["label"].tolist() == ["EFS", "Review (published)", "Trial (open)", "Your cohort"]
    assert rows["kind"].tolist() == ["heading", "study", "open", "yours"]
    assert "Trial" in beside.table([with_context])["others"][0]


def test_a_level_has_no_power_but_a_distance_that_would_have_been_seen() -> None:
    own = Estimate("median", 6.0, 4.0, 9.0, unit="months", tier="yours")
    printed = Estimate("median", 4.8, tier="published", label="Paper")
    found = beside.compare("OS", own, [printed])
    assert found.power.value is None and "level" in found.power.reason
    low, high = found.detectable.ci_low, found.detectable.ci_high
    assert low < 4.8 < high and low * high == pytest.approx(4.8**2)
    assert "exact" in found.difference.method


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (replace(OWN, value=None, ci_low=None, ci_high=None, reason="withheld: too few"), "withh"),
        (replace(OWN, ci_low=None, ci_high=None), "no interval"),
        (Estimate("proportion", 1.0, 0.9, 1.0, tier="yours"), "end of the scale"),
    ],
)
def test_what_cannot_be_compared_says_why(own: Estimate, reason: str) -> None:
    other = replace(REVIEW, kind=own.kind, value=0.5, ci_low=0.4, ci_high=0.6)
    found = beside.compare("x", own, [other])
    for e in (found.heterogeneity, found.difference, found.power, found.detectable):
        assert e.value is None and e.ci_low is None and reason in e.reason
    told = beside.table([found])
    assert len(told) == 1 and told["power"][0] == ""


def test_kinds_of_different_scales_are_refused() -> None:
    with pytest.raises(ValueError, match="different scales: hazard-ratio, median"):
        beside.compare("x", OWN, [Estimate("median", 4.8)])
    with pytest.raises(ValueError, match="nothing to compare"):
        beside.compare("x", OWN, [])
    mixed = [
        beside.compare("a", OWN, [REVIEW]),
        beside.compare("b", Estimate("median", 6, 4, 9), [Estimate("median", 4.8)]),
    ]
    with pytest.raises(ValueError, match="one plot"):
        beside.scale_of(mixed)


def test_a_claim_brings_its_interval_or_the_one_that_its_n_implies() -> None:
    read = claims.read()
    printed = beside.from_claim(read["sri-efs-hr"], "Review")
    assert (printed.ci_low, printed.ci_high) == (
        read["sri-efs-hr"].ci_low,
        read["sri-efs-hr"].ci_high,
    )
    implied = beside.from_claim(read["ext-silbert-os"], "Silbert")
    assert implied.ci_low < implied.value < implied.ci_high
    assert implied.label == "Silbert, interval implied by n"


KINDS = {
    "hazard-ratio": st.floats(0.05, 20),
    "proportion": st.floats(0.02, 0.98),
    "survival": st.floats(0.02, 0.98),
    "cumulative-incidence": st.floats(0.02, 0.98),
    "correlation": st.floats(-0.95, 0.95),
    "difference": st.floats(-50, 50),
    "median": st.floats(0.1, 100),
    "auc": st.floats(0.05, 0.95),
}


@given(st.data(), st.sampled_from(sorted(KINDS)))
def test_there_and_back_is_the_same_number(data: st.DataObject, kind: str) -> None:
    value, scale = data.draw(KINDS[kind]), scales.SCALES[kind]
    assert scale.back(scale.there(value)) == pytest.approx(value, rel=1e-9, abs=1e-9)


@given(st.floats(0.1, 10), st.floats(0.05, 2), st.floats(1.05, 8), st.floats(1.01, 3))
def test_power_grows_with_the_effect_and_with_precision(
    value: float, error: float, effect: float, more: float
) -> None:
    def own(s: float) -> Estimate:
        reach = math.exp(1.959963984540054 * s)
        return Estimate("hazard-ratio", value, value / reach, value * reach, tier="yours")

    def power(s: float, published: float) -> float:
        found = beside.compare("x", own(s), [Estimate("hazard-ratio", published)]).power.value
        assert found is not None and 0.05 - 1e-9 <= found <= 1
        return found

    assert power(error, effect) <= power(error, effect * more) + 1e-12
    assert power(error, effect) <= power(error / more, effect) + 1e-12


RECORD = {
    "version": "9.9", "library_sha256": "ab" * 32, "seed": 7, "python": "3.11",
    "packages": {"numpy": "1.2", "scipy": "3.4", "scikit-learn": "5.6"},
}  # fmt: skip


def test_the_methods_paragraph_numbers_its_citations_and_names_what_was_imported() -> None:
    text = "Compared by Cox regression {cite:p}`cox1972` of *IKZF1* {cite:p}`jia2014,cox1972`."
    written = paragraph.write(text, [OWN], RECORD, "ikzf1-outcome", 5, {"numpy", "sklearn"})
    head, results, references = written.plain.split("\n\n")
    assert "Cox regression [1] of IKZF1 [2,1]." in head
    assert "numpy 1.2 [3], scikit-learn 5.6 [4]" in head and "scipy" not in head
    assert "Counts below 5 are withheld." in head and "seed 7" in head
    assert results.splitlines()[1] == "Yours: 2.10 (1.10 to 4.00); n = 80."
    assert [line[:2] for line in references.splitlines()[1:]] == ["1.", "2.", "3.", "4."]
    assert "Cox DR" in references
    assert "Small counts are shown." in paragraph.write(text, [], RECORD, "a", 0, set()).plain


def test_the_paragraph_escapes_what_comes_from_a_cohort() -> None:
    hostile = replace(OWN, label="<img src=x onerror=alert(1)>")
    written = paragraph.write("Done.", [hostile], RECORD, "a", 5, set())
    assert "<img" not in written.html and "&lt;img" in written.html


def test_an_unknown_citation_is_an_error() -> None:
    with pytest.raises(KeyError, match="nobody1900"):
        paragraph.write("Done {cite:p}`nobody1900`.", [], RECORD, "a", 5, set())

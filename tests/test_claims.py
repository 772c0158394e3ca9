"""Claims: the files, and every rule that judges them at its edges."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballbook import claims
from ballbook.claims import Claim, InvalidClaims, judge, not_testable, rounds_to
from ballbook.results import Estimate


def claim(kind: str, **fields: object) -> Claim:
    return Claim(
        id="x", source="paper", locator="Table 1", statement="A thing.", kind=kind, **fields
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "printed", "expected"),
    [
        (64.2857, "64.3", True),
        (64.25, "64.3", True),
        (64.25, "64.2", True),
        (64.2499, "64.3", False),
        (63.5, "64", True),
        (63.49, "64", False),
        (0.0455, "0.02", False),
        (0.033, "0.03", True),
        (2.4e-6, "<0.0001", True),
        (0.0001, "<0.0001", False),
        (81.0, ">80", True),
        (80.0, ">80", False),
        (80.0, "≥80", True),
        (39.9, "<40", True),
        (-0.284, "-0.28", True),
        (2.55e-6, "2.6e-6", True),
        (2.49e-6, "2.6e-6", False),
        (41.0, "~40", True),
        (42.0, "~40", False),
        (2041.0, "2,041", True),
        (float("nan"), "5", False),
        (5.0, "about five", False),
    ],
)
def test_printed_rounding(value: float, printed: str, expected: bool) -> None:
    assert rounds_to(value, printed) is expected


@given(st.decimals(min_value=-1000, max_value=1000, places=4))
def test_a_number_always_rounds_to_its_own_print(number: object) -> None:
    assert rounds_to(float(str(number)), f"{float(str(number)):.2f}")


def test_same_data_reproduces_differs_or_shows_a_misprint() -> None:
    printed = claim("proportion", printed="64.3", value=0.643)
    good = Estimate("proportion", 45 / 70, tier="published")
    bad = Estimate("proportion", 45 / 75, tier="published")
    assert judge(printed, good).verdict == "reproduced"
    assert judge(printed, bad).verdict == "differs"
    assert judge(printed, bad, misprint="70 are named beside it.").verdict == "misprint"


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (2.0, 1.2, 3.5, "consistent"),
        (1.2, 0.5, 3.0, "underpowered"),
        (1.1, 0.9, 1.3, "differs"),
        (1.3, 0.9, 1.9, "underpowered"),
        (0.4, 0.2, 0.8, "differs"),
        (9.0, 6.0, 14.0, "differs"),
        (2.0, 1.0, 4.0, "underpowered"),
        (1.3, 1.1, 1.5, "consistent"),
    ],
)
def test_hazard_ratio_on_other_patients(
    value: float, low: float, high: float, expected: str
) -> None:
    published = claim("hazard-ratio", printed="2.0", value=2.0, ci_low=1.4, ci_high=2.9)
    found = Estimate("hazard-ratio", value, low, high, tier="open")
    assert judge(published, found).verdict == expected


def test_direction_needs_the_right_side() -> None:
    below = claim("direction", direction="below")
    assert judge(below, Estimate("difference", -1, -2, -0.1, tier="open")).verdict == "consistent"
    assert judge(below, Estimate("difference", 1, 0.1, 2, tier="open")).verdict == "differs"
    assert judge(below, Estimate("difference", -1, -2, 0.1, tier="yours")).verdict == "underpowered"
    assert judge(below, Estimate("odds-ratio", 0.5, 0.3, 0.8, tier="open")).verdict == "consistent"


def test_bounds_are_judged_by_the_whole_interval() -> None:
    most = claim("proportion", printed=">80", value=0.8)
    assert judge(most, Estimate("proportion", 0.9, 0.82, 0.95, tier="open")).verdict == "consistent"
    assert judge(most, Estimate("proportion", 0.6, 0.5, 0.7, tier="open")).verdict == "differs"
    straddles = Estimate("proportion", 0.8, 0.7, 0.9, tier="open")
    assert judge(most, straddles).verdict == "underpowered"


def test_an_unreached_bound_counts_as_open() -> None:
    median = claim("median", printed="22", value=22.0, unit="months")
    assert judge(median, Estimate("median", 10, 8, None, tier="open")).verdict == "underpowered"
    assert judge(median, Estimate("median", 20, 15, 33, tier="open")).verdict == "consistent"
    assert judge(median, Estimate("median", 10, 8, 12, tier="open")).verdict == "differs"


def test_a_published_level_has_the_interval_that_its_n_implies() -> None:
    few = claim("median", printed="4.8", value=4.8, n=70)
    low, high = claims.published_interval(few)
    assert (round(low, 1), round(high, 1)) == (3.8, 6.1)
    below = Estimate("median", 3.2, 2.6, 4.0, tier="yours")
    assert judge(few, below).verdict == "consistent"
    assert judge(claim("median", printed="4.8", value=4.8), below).verdict == "differs"
    share = claim("proportion", printed="64.3", value=0.643, n=70)
    assert judge(share, Estimate("proportion", 0.5, 0.01, 0.99, tier="yours")).verdict == (
        "underpowered"
    )


def test_a_precise_null_contradicts_a_direction() -> None:
    rises = claim("direction", direction="above", smallest=0.3)
    flat = Estimate("correlation", 0.08, -0.13, 0.28, tier="open")
    assert judge(rises, flat).verdict == "differs"
    vague = Estimate("correlation", 0.08, -0.3, 0.45, tier="open")
    assert judge(rises, vague).verdict == "underpowered"


def test_what_was_recomputed_says_what_it_is() -> None:
    found = Estimate("hazard-ratio", 2.0, 1.2, 3.5, tier="open", label="AALL0232, EFS")
    assert judge(claim("direction", direction="above"), found).recomputed == (
        "AALL0232, EFS: hazard ratio 2.00 (1.20 to 3.50)"
    )


def test_p_values_are_never_compared_in_size() -> None:
    strong = claim("p-value", printed="0.0013", value=0.0013)
    assert judge(strong, Estimate("p-value", 0.04, tier="open")).verdict == "consistent"
    assert judge(strong, Estimate("p-value", 0.3, tier="open")).verdict == "underpowered"
    below = claim("p-value", printed="0.0013", value=0.0013, direction="below")
    lower = Estimate("difference", -1, -2, -0.1, tier="open")
    assert judge(below, lower).verdict == "consistent"
    none = claim("p-value", printed="0.53", value=0.53)
    assert judge(none, Estimate("p-value", 0.3, tier="open")).verdict == "consistent"
    assert judge(none, Estimate("p-value", 0.001, tier="open")).verdict == "differs"


def test_simulated_data_never_judge_the_biology() -> None:
    median = claim("median", printed="4.8", value=4.8)
    assert judge(median, Estimate("median", 4.8, 4, 6, tier="simulated")).verdict == "method-check"


def test_no_value_is_not_testable_and_says_why() -> None:
    found = Estimate("median", None, reason="no event was seen", tier="open")
    verdict = judge(claim("median", printed="4.8", value=4.8), found)
    assert (verdict.verdict, verdict.reason) == ("not-testable", "no event was seen")
    lacking = judge(claim("median", printed="4.8", value=4.8, needs="Times of 200 patients"), found)
    assert lacking.reason == "no event was seen. Needed: Times of 200 patients."


def test_not_testable_names_the_data_that_would_do() -> None:
    with pytest.raises(ValueError, match="which data"):
        not_testable(claim("median", printed="4.8", value=4.8), "No cases are public")
    verdict = not_testable(claim("median", needs="Times per case"), "No cases are public")
    assert verdict.reason == "No cases are public. Needed: Times per case."


def test_a_method_takes_no_verdict_and_a_tier_is_needed() -> None:
    with pytest.raises(ValueError, match="no verdict"):
        judge(claim("method"), Estimate("median", 1.0, tier="open"))
    with pytest.raises(ValueError, match="tier"):
        judge(claim("median"), Estimate("median", 1.0))


def test_broken_claim_files_are_refused_with_all_problems(tmp_path: Path) -> None:
    (tmp_path / "paper2026.yml").write_text(
        "source: other\n"
        "claims:\n"
        "- {id: a, locator: T1, statement: s, kind: medain}\n"
        "- {id: b, locator: T1, statement: s, kind: proportion, printed: '64.3', value: 64.3}\n"
        "- {id: b, locator: T1, statement: s, kind: median, value: 4.9, printed: '4.8'}\n"
        "- {id: c, locator: T1, kind: median, colour: red}\n"
        "- {id: d, locator: T1, statement: s, kind: direction}\n",
        encoding="utf8",
    )
    with pytest.raises(InvalidClaims) as caught:
        claims.read(tmp_path)
    said = str(caught.value)
    for part in ("source should be", "medain", "fraction", "does not equal", "twice", "colour"):
        assert part in said
    assert "needs its direction" in said


def test_the_claims_of_the_book_are_in_order() -> None:
    found = claims.read()
    assert found
    assert all(c.analysis for c in found.values() if c.kind not in claims.WITHOUT_VERDICT)

"""The timing argument: what marks on branches say of when lineages parted."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballbook.results import Estimate
from ballbook.signature_timing import (
    Branch,
    Contradiction,
    Course,
    both,
    bounds,
    fraction_before,
    reading,
)

TREATMENT = Course("first treatment", 100, 800)
RELAPSE = Course("relapse treatment", 1200, 1500)


def tree(
    shared: bool | None, relapse: bool | None, aml: bool | None = None, root: bool | None = False
) -> list[Branch]:
    """Return a trunk, the branch shared by relapse and AML, and the two private ones."""
    return [
        Branch("trunk", None, root, sampled=0),
        Branch("shared", "trunk", shared),
        Branch("relapse", "shared", relapse, sampled=1100, ends=True),
        Branch("aml", "shared", aml, sampled=1700, ends=True),
    ]


def split(branches: list[Branch], courses: list[Course], **kw: bool) -> tuple[float, float, str]:
    """Return when the shared branch ended."""
    row = bounds(branches, courses, **kw).set_index("branch").loc["shared"]
    return row["earliest"], row["latest"], row["places"]


def test_marks_shared_and_private_place_the_split_in_the_treatment() -> None:
    earliest, latest, places = split(tree(True, True), [TREATMENT, RELAPSE])
    # The relapse was sampled before the second course: its private marks are of the first.
    assert (earliest, latest) == (100, 800) and places == "during first treatment"


def test_without_the_day_of_sampling_the_second_course_is_possible() -> None:
    branches = [b if b.name != "relapse" else Branch("relapse", "shared", True) for b in
                tree(True, None)]  # fmt: skip
    earliest, latest, places = split(branches, [TREATMENT, RELAPSE])
    assert (earliest, latest) == (100, 1500)
    assert "between courses" in places and "during relapse treatment" in places


def test_a_course_that_begins_with_the_sample_left_no_marks_in_it() -> None:
    at_once = Course("relapse treatment", 1100, 1500)
    assert split(tree(True, True), [TREATMENT, at_once])[:2] == (100, 800)
    with pytest.raises(Contradiction):
        bounds([Branch("a", None, True, sampled=100, ends=True)], [TREATMENT])


def test_marks_only_shared_or_only_private_bound_one_side() -> None:
    assert split(tree(True, None), [TREATMENT])[:2] == (100, 1100)
    assert split(tree(None, True), [TREATMENT])[:2] == (-math.inf, 800)
    assert split(tree(None, None), [TREATMENT])[:2] == (-math.inf, 1100)


def test_absence_counts_only_if_asked() -> None:
    assert split(tree(True, False), [TREATMENT])[:2] == (100, 1100)
    # A relapse branch that lived through the whole course would carry its marks.
    assert split(tree(None, False), [TREATMENT], absence_counts=True)[:2] == (100, 1100)
    assert split(tree(False, None), [TREATMENT], absence_counts=True)[0] == -math.inf
    found = bounds(tree(False, True), [TREATMENT], absence_counts=True).set_index("branch")
    assert found.loc["shared", "latest"] == 800


def test_contradictions_are_told() -> None:
    with pytest.raises(Contradiction, match="no course of events"):
        # Marks on a branch that had ended before the exposure began.
        bounds([Branch("a", None, True, sampled=50, ends=True)], [TREATMENT])
    with pytest.raises(Contradiction, match="never was"):
        bounds([Branch("a", None, True)], [])
    with pytest.raises(ValueError, match="one root"):
        bounds([Branch("a", None), Branch("b", None)], [TREATMENT])
    with pytest.raises(ValueError, match="no branch x"):
        bounds([Branch("a", None), Branch("b", "x")], [TREATMENT])
    with pytest.raises(ValueError, match="circle"):
        bounds([Branch("r", None), Branch("a", "b"), Branch("b", "a")], [TREATMENT])
    with pytest.raises(ValueError, match="stands twice"):
        bounds([Branch("a", None), Branch("a", None)], [TREATMENT])
    with pytest.raises(ValueError, match="end after it starts"):
        bounds([Branch("a", None)], [Course("x", 2, 1)])


@given(st.data())
@settings(max_examples=200)
def test_what_happened_is_never_ruled_out(data: st.DataObject) -> None:
    # A random tree lived through at random times: bounds must hold the truth.
    n = data.draw(st.integers(1, 6))
    day = st.integers(0, 1000)
    courses, edge = [], 0
    for i in range(data.draw(st.integers(1, 2))):
        start = edge + data.draw(st.integers(1, 200))
        edge = start + data.draw(st.integers(1, 300))
        courses.append(Course(f"course {i}", start, edge))
    ends = {"b0": data.draw(day)}
    starts = {"b0": -1}
    branches = []
    parents: dict[str, str | None] = {"b0": None}
    for i in range(1, n):
        parent = f"b{data.draw(st.integers(0, i - 1))}"
        parents[f"b{i}"] = parent
        starts[f"b{i}"] = ends[parent]
        ends[f"b{i}"] = ends[parent] + data.draw(st.integers(1, 400))
    leaves = set(ends) - set(parents.values())
    for name, parent in parents.items():
        met = any(starts[name] < c.end and ends[name] > c.start for c in courses)
        whole = any(starts[name] <= c.start and ends[name] >= c.end for c in courses)
        carries = True if met else (None if whole else False)
        carries = data.draw(st.sampled_from([carries, None]))
        leaf = name in leaves
        branches.append(Branch(name, parent, carries, ends[name] if leaf else None, leaf))
    found = bounds(branches, courses, birth=-1, absence_counts=True).set_index("branch")
    for name, t in ends.items():
        assert found.loc[name, "earliest"] <= t <= found.loc[name, "latest"]


def p(value: float | None, n: int = 100) -> Estimate:
    return Estimate("p-value", value, ci_level=None, p_value=value, n=n)


def test_both_takes_the_larger() -> None:
    assert both(p(0.01), p(0.2)).p_value == 0.2 and both(p(0.01), p(0.2)).n == 200
    assert both(p(None), p(0.2)).value is None
    rng = np.random.default_rng(1)
    # The level holds where one null is true and the other test always rejects, and is lower else.
    one = rng.uniform(size=4000)
    assert (np.maximum(one, 0.0) < 0.05).mean() == pytest.approx(0.05, abs=0.012)
    assert (np.maximum(one, rng.uniform(size=4000)) < 0.05).mean() < 0.01


@pytest.mark.parametrize(
    ("shared", "private", "power", "says"),
    [
        (0.01, 0.01, (0.1, 0.1), "during"),
        (0.01, 0.5, (0.9, 0.9), "not before its end"),
        (0.01, 0.5, (0.9, 0.5), "undecided"),
        (0.5, 0.01, (0.9, 0.9), "before its end"),
        (0.5, 0.5, (0.9, 0.9), "no marks"),
        (0.5, 0.5, (0.9, 0.1), "undecided"),
    ],
)
def test_reading(shared: float, private: float, power: tuple[float, float], says: str) -> None:
    found = reading(
        shared, private, alpha=0.05, power=dict(zip(("shared", "private"), power, strict=True))
    )
    assert found == says


def test_fraction_of_marks_on_the_shared_branch() -> None:
    rng = np.random.default_rng(2)
    a, b = pd.Series(rng.poisson(300, 2000)), pd.Series(rng.poisson(100, 2000))
    e = fraction_before(300, 100, a, b)
    assert e.value == 0.75
    # Given the total it is binomial.
    half = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert e.ci_low == pytest.approx(0.75 - half, abs=0.01)
    assert e.ci_high == pytest.approx(0.75 + half, abs=0.01)
    assert fraction_before(0, 0, a * 0, b * 0).value is None

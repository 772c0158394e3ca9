"""Comparison of estimators with the recorded results of R."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Flat = dict[str, Any]
FOLDER = Path(__file__).resolve().parent / "golden"


def read(topic: str) -> list[dict[str, Any]]:
    """Return the cases of one topic as pytest parameters with readable names."""
    cases = json.loads((FOLDER / f"{topic}.json").read_text(encoding="utf8"))["cases"]
    return [pytest.param(c, id=f"{c['estimator']}-{c['data']}-{c['call']}"[:90]) for c in cases]


def flat(estimate: Any) -> Flat:
    """Return the numbers of an estimate."""
    names = ("value", "ci_low", "ci_high", "p_value", "statistic", "df")
    return {name: getattr(estimate, name) for name in names}


def difference(ours: float | None, r: float | None) -> float:
    """Return the relative difference; infinite where only one of the two has a value."""
    if ours is None or r is None:
        return 0.0 if ours is None and r is None else float("inf")
    if ours == r:
        return 0.0
    # Below 1e-8 an absolute comparison: R's own zeros are rounding noise.
    return abs(ours - r) / max(abs(r), 1e-8)


def compare(case: dict[str, Any], estimators: dict[str, Callable[..., Flat]]) -> dict[str, float]:
    """Return the relative difference of each number that R gave for a case."""
    ours = estimators[case["estimator"]](**case["input"])
    return {key: difference(ours[key], r) for key, r in case["expected"].items()}


def check(case: dict[str, Any], estimators: dict[str, Callable[..., Flat]]) -> None:
    """Assert that every number of a case lies within its tolerance."""
    off = {k: d for k, d in compare(case, estimators).items() if not d <= case["tolerance"]}
    assert not off, f"{case['estimator']} on {case['data']} differs from {case['call']}: {off}"

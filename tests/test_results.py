"""Estimates print themselves as a reader expects and become plain JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ballbook.results import Estimate, as_json, clean, format_number, format_p, not_estimable


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.5, "0.50"),
        (0.0457, "0.046"),
        (0.012, "0.012"),
        (0.00091, "0.00091"),
        (2.4e-6, "2.4e-6"),
        (None, "not estimable"),
        (float("nan"), "not estimable"),
    ],
)
def test_p_values(p: float | None, expected: str) -> None:
    assert format_p(p) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "not reached"),
        (0.0, "0"),
        (75.0, "75"),
        (64.2857, "64.3"),
        (2.754, "2.75"),
        (0.0421, "0.042"),
        (-0.4849, "-0.485"),
        (0.0000123, "1.23e-05"),
        (12345.6, "12,346"),
        (-0.28, "-0.280"),
    ],
)
def test_numbers(value: float | None, expected: str) -> None:
    assert format_number(value) == expected


def test_an_estimate_is_a_sentence_part() -> None:
    hr = Estimate("hazard-ratio", 2.7541, 1.672, 4.538, p_value=3.5e-5, n=588, n_events=150)
    assert str(hr) == "2.75 (1.67 to 4.54), P = 3.5e-5; n = 588, 150 events"
    share = Estimate("proportion", 45 / 70, 0.52, 0.75, n=70)
    assert str(share) == "64.3% (52% to 75%); n = 70".replace("52%", "52").replace("75%", "75")
    median = Estimate("median", 22.3, 15.2, None, unit="months")
    assert str(median) == "22.3 months (15.2 to not reached)"
    assert str(not_estimable("median", "no event")) == "not estimable (no event)"


def test_html_is_escaped() -> None:
    assert "<b>" not in Estimate("median", None, reason="<b>")._repr_html_()


def test_json_is_plain_and_finite() -> None:
    e = Estimate("median", np.float64(1.5), float("nan"), np.inf, n=np.int64(3))
    content = as_json(e)
    assert json.loads(json.dumps(content, allow_nan=False))["ci_low"] is None
    assert clean({"a": np.array([1.0, np.nan]), 2: (np.bool_(True),)}) == {
        "a": [1.0, None],
        "2": [True],
    }

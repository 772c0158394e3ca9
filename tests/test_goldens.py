"""Every recorded number of R, computed again; the kept rows; and the page that shows them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from ballbook import goldens, methods

CASES = [
    pytest.param(topic, case, id=f"{topic}-{case['estimator']}-{case['data']}-{i}")
    for topic in goldens.topics()
    for i, case in enumerate(goldens.cases(topic))
]


@pytest.mark.parametrize(("topic", "case"), CASES)
def test_agrees_with_r(topic: str, case: dict[str, Any]) -> None:
    try:
        found = goldens.compare(topic, case)
    except goldens.DataAbsent as absent:
        pytest.skip(f"{absent}; set BALLBOOK_DATA to a mirror folder")
    assert found.numbers > 0
    assert found.agrees, found


def test_every_topic_has_results_and_every_result_a_topic() -> None:
    assert goldens.topics() == list(goldens.TOPICS)
    tests = "".join(f.read_text(encoding="utf8") for f in Path(__file__).parent.glob("test_*.py"))
    for file in goldens.folder().glob("*.json"):
        found = json.loads(file.read_text(encoding="utf8"))
        if isinstance(found, dict) and "cases" in found and file.stem not in goldens.TOPICS:
            # The goldens of a page are compared by its own test.
            assert f'read("{file.stem}")' in tests


def test_every_estimator_has_real_data_and_a_hard_case() -> None:
    for topic in ("survival", "cox", "competing_risks", "contingency", "meta_analysis"):
        assert len({case["data"] for case in goldens.cases(topic)}) >= 3


def test_a_wider_tolerance_is_explained() -> None:
    silent = {
        (topic, case["estimator"], case["call"])
        for topic in goldens.topics()
        for case in goldens.cases(topic)
        if case["tolerance"] > 1e-4 and not case.get("note")
    }
    assert not silent


def test_a_wrong_number_is_seen() -> None:
    case = goldens.cases("contingency")[0]
    name = next(iter(case["expected"]))
    wrong = case | {"expected": case["expected"] | {name: case["expected"][name] * (1 + 1e-4)}}
    found = goldens.compare("contingency", wrong)
    assert not found.agrees and found.quantity == name
    assert found.difference == pytest.approx(1e-4, rel=1e-3)
    missing = case | {"expected": case["expected"] | {name: None}}
    assert goldens.compare("contingency", missing).difference == float("inf")


def test_kept_rows_are_those_computed(shared_data: Path) -> None:
    kept = dict(goldens._kept_rows())
    assert kept
    for golden in goldens.goldens():
        key = (golden.topic, golden.estimator, golden.data, golden.call, golden.given)
        assert not golden.kept
        if key in kept:
            row = kept.pop(key)
            assert dataclasses.astuple(row)[:6] == dataclasses.astuple(golden)[:6]
            assert row.agrees
            # Among differences of rounding size another number may be the largest.
            if row.quantity == golden.quantity:
                assert goldens.difference(row.r, golden.r) < 1e-12
                assert goldens.difference(row.ours, golden.ours) < 1e-9
    assert not kept, "rows of cases that are gone: python -m ballbook.goldens"


def test_without_the_data_the_kept_rows_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BALLBOOK_DATA", raising=False)
    goldens._mirror.cache_clear()
    rows = list(goldens.goldens("survival"))
    kept = [g for g in rows if g.kept]
    assert {g.data for g in kept} >= {"KMsurv bmt", "Kersey", "EBMT"}
    assert all(g.agrees for g in rows)
    html = methods.golden_table(rows)
    assert kept[0].kept in html and "KMsurv bmt *" in html


def test_the_page_shows_every_comparison(tmp_path: Path) -> None:
    parts, extra = tmp_path / "_generated", tmp_path / "extra"
    parts.mkdir()
    methods.write_parts(parts, extra)
    csv = (extra / "methods" / "golden.csv").read_text(encoding="utf8").splitlines()
    assert len(csv) == 1 + len(CASES)
    shown = (parts / "golden.md").read_text(encoding="utf8")
    pairs = {(g.estimator, g.data) for g in goldens.goldens()}
    assert shown.count("<tr>") == 1 + len(pairs)
    for topic in goldens.topics():
        own = (parts / f"golden-{topic}.md").read_text(encoding="utf8")
        assert "all lie within their tolerance" in own
    assert "Nothing was recorded" not in (parts / "speed.md").read_text(encoding="utf8")
    assert "Nothing was recorded" not in (parts / "calibration.md").read_text(encoding="utf8")


def test_pages_include_the_parts_that_are_written() -> None:
    from ballbook import paths

    text = "".join(p.read_text(encoding="utf8") for p in (paths.book() / "methods").glob("*.md"))
    for part in ("golden", "golden-summary", "speed", "calibration"):
        assert f"_generated/{part}.md" in text
    for topic in goldens.topics():
        assert f"_generated/golden-{topic}.md" in text

"""The calibration: a quick run, its arithmetic, and the record that the book shows."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ballbook import calibration, methods, paths
from ballbook.calibration import STUDIES, Enumeration, Row, Study
from ballbook.results import Estimate

RECORD = paths.data() / "recorded" / "calibration"


@pytest.mark.parametrize("study", STUDIES, ids=lambda s: s.name)
def test_every_study_answers_for_its_rows(study: Study | Enumeration) -> None:
    if isinstance(study, Enumeration):
        for value, _ in study.rates().values():
            assert 0 < value < 1
        return
    outcomes = [study.simulate(np.random.default_rng(seed)) for seed in range(3)]
    for outcome in outcomes:
        assert set(study.rows) <= set(outcome)
        assert all(v is None or 0 <= v <= 1 for v in outcome.values())
    answered = [any(o[key] is not None for o in outcomes) for key in study.rows]
    assert all(answered)


def test_names_are_unique() -> None:
    names = [s.name for s in STUDIES]
    assert len(set(names)) == len(names)


def coin(p: float) -> Study:
    """A study whose interval covers with probability `p`, and sometimes gives nothing."""

    def simulate(rng: np.random.Generator) -> calibration.Outcome:
        return {"it": None if rng.random() < 0.1 else bool(rng.random() < p)}

    return Study("coin", "a coin", 4000, simulate, {"it": Row("Coin", "coverage", "a bad coin")})


def test_a_bad_estimator_is_seen_and_a_good_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for p, result in ((0.95, "within"), (0.90, "below"), (0.99, "above")):
        monkeypatch.setattr(calibration, "STUDIES", [coin(p)])
        row = calibration.run().iloc[0]
        assert row["result"] == result
        assert row["value"] == pytest.approx(p, abs=4 * row["mc_error"])
        n = 4000 - row["not_estimable"]
        assert row["mc_error"] == pytest.approx(math.sqrt(row["value"] * (1 - row["value"]) / n))
        assert row["not_estimable"] == pytest.approx(400, abs=80)
        assert ("a bad coin" in row["why"]) == (result != "within")


def test_the_seed_and_the_name_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "STUDIES", [coin(0.95)])
    first, again = calibration.run(), calibration.run()
    pd.testing.assert_frame_equal(first, again)
    assert calibration.run(seed=1)["value"].iloc[0] != first["value"].iloc[0]
    other = dataclasses.replace(coin(0.95), name="another")
    monkeypatch.setattr(calibration, "STUDIES", [other, coin(0.95)])
    assert calibration.run()["value"].iloc[1] == first["value"].iloc[0]


def test_covering_and_rejecting() -> None:
    def interval(low: float | None, high: float | None, value: float | None = 1.0) -> Estimate:
        return Estimate("hazard-ratio", value, low, high, p_value=0.04)

    assert calibration.covers(interval(0.5, 2), 2) is True
    assert calibration.covers(interval(0.5, 2), 2.1) is False
    assert calibration.covers(interval(0.5, None), 1e9) is True
    assert calibration.covers(interval(0.5, 2, None), 1) is None
    assert calibration.covers(interval(None, None), 1) is None
    assert calibration.rejects(interval(0, 1)) is True
    assert calibration.rejects(Estimate("p-value")) is None


def test_exact_intervals_are_never_too_short() -> None:
    rates = calibration.proportions(12)()
    assert rates["exact"][0] > 0.95
    assert 0.94 < rates["mid-p"][0] < rates["exact"][0]
    found = calibration.tables(9, 12, 0.3, 1.0)()
    assert found["fisher"][0] >= 0.95
    assert found["fisher-test"][0] <= 0.05
    assert found["chi-squared"][0] > found["fisher-test"][0]


def test_a_quick_run_is_recorded_and_shown(tmp_path: Path, monkeypatch: Any) -> None:
    few = [s for s in STUDIES if s.name in ("trend", "many-tests", "curve-10")]
    monkeypatch.setattr(calibration, "STUDIES", few)
    frame = calibration.record(tmp_path, scale=0.01)
    assert len(frame) == sum(len(s.rows) for s in few)
    html = methods.calibration_part(tmp_path)
    assert html.count('class="bb-svg"') == 2
    assert "Cochran-Armitage test" in html


def test_the_record_is_of_these_studies_in_full() -> None:
    frame = pd.read_csv(RECORD / "calibration.csv")
    about = json.loads((RECORD / "about.json").read_text(encoding="utf8"))
    assert about["scale"] == 1 and about["seed"] == calibration.SEED
    rows = [(f"{s.name}-{key}", s, row) for s in STUDIES for key, row in s.rows.items()]
    assert frame["id"].tolist() == [id for id, *_ in rows], "python -m ballbook.calibration"
    for (_, study, row), found in zip(rows, frame.to_dict("records"), strict=True):
        assert (found["estimator"], found["setting"]) == (row.estimator, study.setting)
        assert found["replicates"] == (study.replicates if isinstance(study, Study) else 0)
        low, high = calibration.BANDS[row.measure]
        inside = low <= found["value"] <= high
        assert (found["result"] == "within") == inside
        assert inside or isinstance(found["why"], str), f"{found['id']} lacks a reason"


def test_the_record_holds_for_the_library_as_it_is() -> None:
    """A tenth of one recorded study, drawn again."""
    frame = pd.read_csv(RECORD / "calibration.csv").set_index("id")
    study = next(s for s in STUDIES if s.name == "trend")
    rng = np.random.default_rng(5)
    hits = [study.simulate(rng)["trend"] for _ in range(1000)]  # type: ignore[union-attr]
    assert np.mean(hits) == pytest.approx(frame.loc["trend-trend", "value"], abs=0.03)

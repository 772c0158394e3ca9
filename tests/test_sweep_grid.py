"""Grids of sweeps: what they ask for, exact steps, and everything wrong said at once."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ballbook import parameters, sweep_grid
from ballbook.sweep_grid import InvalidGrid, spread

DECLARED = parameters.parse(
    """
cohort: str = ""  # a cohort
min_count: int = 5  # smallest count shown [>= 0]
seed: int = 1  # seed [>= 0]
early: float = 1.0  # first time [> 0, < late]
late: float = 9.0  # second time [> 0]
share: float = 0.5  # a share [> 0, < 1]
banded: bool = False  # by band
word: str = "EFS"  # an endpoint
names: list[str] = []  # some names
"""
)


def grid(tmp_path: Path, text: str, **more: Any) -> sweep_grid.Grid:
    file = tmp_path / "grid.yml"
    file.write_text(text, encoding="utf8")
    return sweep_grid.read(DECLARED, [file], **more)


def shown(found: sweep_grid.Grid) -> list[tuple[Any, ...]]:
    return [tuple(p.at[a] for a in found.axes) for p in found.points]


def test_every_kind_of_axis_and_their_order(tmp_path: Path) -> None:
    for name in ("one.csv", "two.csv", "map.yml"):
        (tmp_path / name).write_text("patient_id\n", encoding="utf8")
    found = grid(
        tmp_path,
        """
parameters:
  share: {from: 0.1, to: 0.3, step: 0.1}
  word: OS
together:
  - {early: [1, 2], late: [3, 4]}
seeds: 2
cohorts: [one.csv, {file: two.csv, map: map.yml}]
""",
    )
    assert found.axes == ("cohort", "share", "early", "late", "seed")
    pairs = [(1.0, 3.0), (2.0, 4.0)]
    wanted = itertools.product(["one", "two"], [0.1, 0.2, 0.3], pairs, [1, 2])
    assert shown(found) == [(c, s, *p, n) for c, s, p, n in wanted]
    assert {p.values["word"] for p in found.points} == {"OS"}
    assert {(p.at["cohort"], p.column_map) for p in found.points} == {
        ("one", None),
        ("two", str(tmp_path / "map.yml")),
    }
    assert len({p.key for p in found.points}) == len(found.points) == 24


def test_without_leaves_combinations_out(tmp_path: Path) -> None:
    text = "parameters: {early: [1, 5], late: [4, 9]}\nwithout: [{early: 5, late: 4}]"
    assert shown(grid(tmp_path, text)) == [(1.0, 4.0), (1.0, 9.0), (5.0, 9.0)]
    with pytest.raises(InvalidGrid, match=r"early: got 5.0, expected a number .* below 4 \(late\)"):
        grid(tmp_path, text.split("\n")[0])


def test_values_are_taken_as_they_are_written(tmp_path: Path) -> None:
    found = grid(tmp_path, "parameters: {word: [yes, 007, 1e3], share: [1e-3, .5]}")
    assert [p.at["word"] for p in found.points[::2]] == ["yes", "007", "1e3"]
    assert [p.at["share"] for p in found.points[:2]] == [0.001, 0.5]
    found = grid(tmp_path, "parameters: {names: [[], [a, b]], banded: [true, false]}")
    assert shown(found)[:3] == [([], True), ([], False), (["a", "b"], True)]


def test_an_assignment_multiplies_a_file(tmp_path: Path) -> None:
    found = grid(tmp_path, "seeds: [4, 7]", assigned={"share": "0.2,0.4"}, fixed={"min_count": 3})
    assert shown(found) == [(4, 0.2), (4, 0.4), (7, 0.2), (7, 0.4)]
    assert {p.values["min_count"] for p in found.points} == {3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "some of parameters, together"),
        ("[1]", "some of parameters, together"),
        ("parameters: {share: [0.1]}\nparameters: {late: [1]}", "parameters stands twice"),
        ("parameters: {sahre: [0.1]}", "parameters.sahre: expected one of cohort"),
        ("share: [0.1]", "parameters stand below `parameters:`"),
        ("parameters: {share: [0.1, x]}", "parameters.share[1]: got 'x', expected a finite number"),
        ("parameters: {share: [0.1, 0.10]}", "parameters.share[1]: got '0.10', expected every"),
        ("parameters: {share: [0.1, 1.5]}", "parameters.share: got 1.5, expected a number above 0"),
        ("parameters: {seed: [007]}", "without leading zeros"),
        ("parameters: {names: [a, b]}", "a list, since names is list[str]"),
        ("parameters: {share: {from: 0.1, to: 0.3}}", "either step or num"),
        ("parameters: {share: {from: 0.1, to: 0.35, step: 0.1}}", "comes to 0.3"),
        ("parameters: {share: {from: 0.1, to: 0.3, step: 0.1, log: true}}", "num and not step"),
        ("parameters: {share: {from: 0.1, to: 0.3, steps: 3}}", "without steps"),
        ("parameters: {share: {from: 0, to: 0.3, num: 3, log: true}}", "a range above 0"),
        ("parameters: {seed: {from: 1, to: 2, num: 3}}", "whole numbers; the range holds 1.5"),
        ("parameters: {word: {from: 1, to: 2, num: 3}}", "since the parameter is str"),
        ("parameters: {seed: [1]}\nseeds: 3", "seed is given twice, also as parameters.seed"),
        ("together: [{early: [1, 2], late: [3]}]", "early has 2, late has 1"),
        ("together: [{early: [1, 1], late: [3, 3]}]", "every combination once"),
        ("together: [{early: [1, 2]}]", "two or more names"),
        ("seeds: 0", "how many, from 1"),
        ("seeds: [1, 1]", "every value once"),
        ("cohorts: [absent.csv]", "a file or folder that exists"),
        ("cohorts: [grid.yml, ./grid.yml]", "every cohort once"),
        ("cohorts: [grid.yml]\nparameters: {min_count: [3, 5]}", "one value where a cohort"),
        ("seeds: 2\nmap: grid.yml", "a cohort that goes with the map"),
        ("seeds: 2\nwithout: [{seed: 3}]", "a combination that is in the grid"),
        ("seeds: 1\nwithout: [{seed: 1}]", "at least one run"),
        ("seeds: 400\nparameters: {share: {from: 0.001, to: 0.4, num: 400}}", "at most 100,000"),
        ("seeds: &a [1]\nparameters: {seed: *a}", "an alias"),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidGrid) as caught:
        grid(tmp_path, text)
    assert said in str(caught.value)
    assert str(caught.value).count("grid") >= 1


def test_all_problems_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidGrid) as caught:
        grid(tmp_path, "parameters: {share: [x], shar: [1]}\nseeds: -1\ncohorts: [a.csv]\nseed: 1")
    assert len(caught.value.problems) == 5
    assert {p.file for p in caught.value.problems} == {"grid.yml"}


def decimal(low: int, high: int) -> st.SearchStrategy[str]:
    """Numbers with up to three decimals, as text."""
    return st.integers(low, high).map(lambda i: f"{i / 1000:.3f}".rstrip("0").rstrip("."))


@given(decimal(-5000, 5000), decimal(1, 999), st.integers(1, 200))
def test_steps_do_not_drift(low: str, step: str, count: int) -> None:
    high = Fraction(low) + count * Fraction(step)
    found = spread({"from": low, "to": f"{float(high):.3f}", "step": step})
    assert len(found) == count + 1 and found[-1] == high
    assert all(b - a == Fraction(step) for a, b in itertools.pairwise(found))
    # What is given to a run is the number that a reader would type.
    assert all(float(v) == float(f"{float(v):.3f}") for v in found)


@given(decimal(1, 10**6), decimal(2 * 10**6, 10**9), st.integers(2, 50), st.booleans())
def test_a_number_of_values_keeps_both_ends(low: str, high: str, num: int, log: bool) -> None:
    found = spread({"from": low, "to": high, "num": str(num), "log": str(log).lower()})
    assert len(found) == num and found[0] == Fraction(low) and found[-1] == Fraction(high)
    gaps = [
        math.log(b) - math.log(a) if log else float(b - a) for a, b in itertools.pairwise(found)
    ]
    assert all(math.isclose(g, gaps[0], rel_tol=1e-9) for g in gaps)


def test_powers_of_ten_are_round() -> None:
    found = spread({"from": "1e-6", "to": "1", "num": "7", "log": "true"})
    assert [float(v) for v in found] == [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]


values = st.lists(st.integers(1, 99), min_size=1, max_size=5, unique=True)


@given(st.dictionaries(st.sampled_from(["seed", "min_count"]), values, min_size=1), values)
def test_the_product_holds_every_combination_once(
    tmp_path_factory: pytest.TempPathFactory, axes: dict[str, list[int]], late: list[int]
) -> None:
    shares = [v / 1000 for v in late]
    text = yaml.safe_dump({"parameters": {**axes, "share": shares}}, sort_keys=False)
    found = grid(tmp_path_factory.getbasetemp(), text)
    assert shown(found) == list(itertools.product(*axes.values(), shares))
    assert len({p.key for p in found.points}) == len(found.points)

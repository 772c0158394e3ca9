"""Parameters: what a cell declares, and what a user may give."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballbook import analyses
from ballbook.parameters import InvalidParameters, parse, resolve

CELL = """
cohort: str = ""  # your cohort
seed: int = 7  # seed of everything random
horizon: float = 5.0  # years
strict: bool = True  # keep to the letter
times: list[float] = [1.0, 5.0]  # years shown
model: Literal["crude", "adjusted"] = "crude"  # which model
"""


def test_every_declared_thing_is_read() -> None:
    declared = {p.name: p for p in parse(CELL)}
    assert [p.type for p in declared.values()] == [
        "str",
        "int",
        "float",
        "bool",
        "list[float]",
        "Literal['crude', 'adjusted']",
    ]
    assert declared["seed"].help == "seed of everything random"
    assert declared["model"].choices == ("crude", "adjusted")


def test_text_from_a_command_line_becomes_the_declared_type() -> None:
    values = resolve(
        parse(CELL),
        {"seed": "12", "horizon": "3", "strict": "false", "times": "1, 2.5", "model": "adjusted"},
    )
    assert values == {
        "cohort": "",
        "seed": 12,
        "horizon": 3.0,
        "strict": False,
        "times": [1.0, 2.5],
        "model": "adjusted",
    }
    assert isinstance(values["horizon"], float)


def test_zero_seven_is_kept_as_text_and_refused_as_a_number() -> None:
    assert resolve(parse(CELL), {"cohort": "007"})["cohort"] == "007"
    for name in ("seed", "horizon"):
        with pytest.raises(InvalidParameters, match="leading zeros"):
            resolve(parse(CELL), {name: "007"})


def test_all_problems_are_said_at_once() -> None:
    with pytest.raises(InvalidParameters) as caught:
        resolve(parse(CELL), {"sed": "1", "horizon": "soon", "strict": "1", "model": "best"})
    assert len(caught.value.problems) == 4
    assert "did you mean seed?" in caught.value.problems[0]


@pytest.mark.parametrize(
    "value", ["nan", "inf", "1e400", "1_000", " 5", "0x10", "٣", "--5", "", ".", "1,5"]
)
def test_numbers_that_need_guessing_are_refused(value: str) -> None:
    with pytest.raises(InvalidParameters):
        resolve(parse(CELL), {"horizon": value})


@pytest.mark.parametrize(
    "line", ["seed = 7  # no type", "seed: int = 7", "seed: dict = {}  # odd", 'n: int = "7"  # s']
)
def test_a_cell_that_breaks_the_contract_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(line)


@given(st.integers())
def test_whole_numbers_survive_the_command_line(number: int) -> None:
    assert resolve(parse(CELL), {"seed": str(number)})["seed"] == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_decimal_numbers_survive_the_command_line(number: float) -> None:
    assert resolve(parse(CELL), {"horizon": repr(number)})["horizon"] == number


@given(st.text())
def test_text_is_never_changed(text: str) -> None:
    assert resolve(parse(CELL), {"cohort": text})["cohort"] == text


# ------------------------------------------------------------------------------------- ranges

RANGES = """
early: float = 18.0  # months [> 0, < late]
late: float = 36.0  # months [<= 1200]
folds: int = 5  # parts [>= 2, <= 10]
times: list[float] = [1.0, 5.0]  # years shown [> 0]
"""


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("early", "0", "early: got 0.0, expected a number above 0 and below 36 (late)"),
        ("early", "36", "early: got 36.0, expected a number above 0 and below 36 (late)"),
        ("late", "1200.5", "late: got 1200.5, expected a number of at most 1200"),
        ("folds", "1", "folds: got 1, expected a whole number of at least 2 and of at most 10"),
        ("times", "1,-2", "times: got [1.0, -2.0], expected a number above 0"),
    ],
)
def test_a_number_out_of_its_range_is_refused(name: str, given: str, said: str) -> None:
    with pytest.raises(InvalidParameters) as caught:
        resolve(parse(RANGES), {name: given})
    assert caught.value.problems == [said]


def test_limits_belong_to_their_range_and_not_to_the_help() -> None:
    declared = {p.name: p for p in parse(RANGES)}
    assert (declared["early"].help, declared["early"].range) == ("months", "> 0, < late")
    values = resolve(parse(RANGES), {"folds": "10", "late": "1200", "early": "1199.9"})
    assert (values["folds"], values["late"], values["early"]) == (10, 1200.0, 1199.9)
    assert resolve(parse(RANGES), {"folds": "2"})["folds"] == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("n: int = 1  # parts [>= 2]", "the default should be a whole number of at least 2"),
        ("n: str = 'a'  # word [> 2]", "only a number has a range"),
        ("n: int = 1  # parts [> m]", "the limit m is no parameter"),
        ("n: int = 1  # parts [> 0 < 3]", "the range should be limits"),
    ],
)
def test_a_range_that_breaks_the_contract_is_refused(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(line)


@pytest.mark.parametrize("slug", analyses.slugs())
def test_every_number_of_a_page_has_a_range(slug: str) -> None:
    declared = analyses.find(slug).parameters
    bare = [p.name for p in declared if re.search("int|float", p.type) and not p.limits]
    assert not bare, f"{slug}: declare the range of {', '.join(bare)}, as [> 0, <= 100]"
    for name, value in (("min_count", -1), ("seed", -1)):
        with pytest.raises(InvalidParameters, match=f"{name}: got -1, expected a whole number"):
            resolve(declared, {name: value})

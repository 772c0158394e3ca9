"""Parameters: what a cell declares, and what a user may give."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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

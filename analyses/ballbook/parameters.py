"""Typed parameters of a notebook, read from its `parameters` cell.

The cell is the only source of a command line's names, types, defaults and help. Each line is an
annotated assignment of a literal with a comment::

    horizon_years: float = 5.0  # time at which event-free survival is read [> 0, <= 100]

What stands in brackets at its end is the range of a number; a limit may be another parameter.
Values given by a user are checked against the cell before any data are read and any kernel starts:
unknown names, wrong types, numbers out of range and ambiguous spellings such as ``007`` for a
number are refused, all problems at once.
"""

from __future__ import annotations

import ast
import difflib
import io
import math
import operator
import re
import tokenize
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ballbook.errors import Refusal

SCALARS: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
INTEGER = re.compile(r"[+-]?(0|[1-9]\d*)")
RANGE = re.compile(r"\s*\[([<>][^\[\]]*)\]$")
LIMIT = re.compile(r"\s*(<=|>=|<|>)\s*(\S+)\s*")
HOLDS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
SAID = {"<": "below {}", "<=": "of at most {}", ">": "above {}", ">=": "of at least {}"}
DECIMAL = re.compile(r"[+-]?(0|[1-9]\d*)?(\.\d*)?([eE][+-]?\d+)?")


class InvalidParameters(Refusal, ValueError):
    """Parameters that do not fit a notebook; the message lists every problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Parameter:
    """One declared parameter.

    `type` is ``str``, ``int``, ``float``, ``bool``, ``list[<scalar>]`` or ``Literal[...]``, whose
    members are then in `choices`. `limits` are pairs of an operator and a number, or the name of
    another parameter.
    """

    name: str
    type: str
    default: Any
    help: str
    choices: tuple[Any, ...] = ()
    limits: tuple[tuple[str, float | str], ...] = ()

    @property
    def range(self) -> str:
        """The limits as they are declared, ``> 0, <= 100``; empty where there are none."""
        return ", ".join(f"{sign} {_number(limit)}" for sign, limit in self.limits)

    def out_of_range(self, value: Any, values: Mapping[str, Any]) -> str | None:
        """Return what was expected of a converted value that breaks a limit, or None."""
        kind = "a whole number" if "int" in self.type else "a number"
        numbers = value if isinstance(value, list) else [value]
        bounds = [(sign, values[x] if isinstance(x, str) else x) for sign, x in self.limits]
        if all(HOLDS[sign](number, bound) for sign, bound in bounds for number in numbers):
            return None
        told = [
            SAID[sign].format(_number(bound) + (f" ({limit})" if isinstance(limit, str) else ""))
            for (sign, limit), (_, bound) in zip(self.limits, bounds, strict=True)
        ]
        return f"{kind} {' and '.join(told)}"

    def convert(self, given: Any) -> Any:
        """Return `given` (text from a command line, or a Python value) as the declared type.

        Raises
        ------
        ValueError
            With what was expected, when `given` cannot be read without guessing.
        """
        if self.choices:
            matches = [c for c in self.choices if str(c) == str(given)]
            if not matches:
                raise ValueError(f"one of {', '.join(map(repr, self.choices))}")
            return matches[0]
        if self.type.startswith("list["):
            scalar = self.type[5:-1]
            if isinstance(given, str):
                given = [part.strip() for part in given.split(",")] if given.strip() else []
            if not isinstance(given, (list, tuple)):
                raise ValueError(f"a list of {scalar} values, separated by commas")
            return [convert_scalar(scalar, item) for item in given]
        return convert_scalar(self.type, given)


def _number(limit: float | str) -> str:
    return limit if isinstance(limit, str) else f"{limit:.12g}"


def _limits(declared: str) -> tuple[tuple[str, float | str], ...]:
    """Return the limits in ``> 0, < late_months``."""
    found: list[tuple[str, float | str]] = []
    for part in declared.split(","):
        limit = LIMIT.fullmatch(part)
        if limit is None:
            raise ValueError(f"the range should be limits such as > 0, <= 100, not {part.strip()}")
        sign, bound = limit[1], limit[2]
        found.append((sign, bound if bound.isidentifier() else float(bound)))
    return tuple(found)


def convert_scalar(kind: str, given: Any) -> Any:
    """Return `given` as `kind` (``str``, ``int``, ``float`` or ``bool``), never guessing."""
    if kind == "str":
        if not isinstance(given, str):
            raise ValueError("text")
        return given
    if kind == "bool":
        if isinstance(given, bool):
            return given
        if isinstance(given, str) and given.lower() in {"true", "false"}:
            return given.lower() == "true"
        raise ValueError("true or false")
    if isinstance(given, bool):
        raise ValueError("a number, not true or false")
    if kind == "int":
        if isinstance(given, int):
            return given
        if isinstance(given, str) and INTEGER.fullmatch(given):
            return int(given)
        raise ValueError("a whole number without leading zeros, such as 7")
    if isinstance(given, str) and DECIMAL.fullmatch(given) and re.search(r"\d", given):
        given = float(given)
    if isinstance(given, (int, float)) and math.isfinite(given):
        return float(given)
    raise ValueError("a finite number without leading zeros, such as 0.5")


def parse(source: str) -> list[Parameter]:
    """Return the parameters declared in the source of a `parameters` cell.

    Raises
    ------
    ValueError
        When a line is not an annotated literal with a help comment, or a default breaks its type.
    """
    comments = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = []
    for node in ast.parse(source).body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            raise ValueError(f"line {node.lineno}: expected `name: type = value  # help`")
        name, annotation = node.target.id, ast.unparse(node.annotation)
        if node.value is None:
            raise ValueError(f"{name}: a default is needed")
        choices: tuple[Any, ...] = ()
        if annotation.startswith("Literal["):
            members = ast.literal_eval(annotation[len("Literal") :])
            choices = tuple(members)
        elif annotation.removeprefix("list[").removesuffix("]") not in SCALARS:
            raise ValueError(f"{name}: type {annotation} is not one a parameter may have")
        help_text = comments.get(node.end_lineno or node.lineno, "")
        if not help_text:
            raise ValueError(f"{name}: a help comment is needed on the same line")
        limits: tuple[tuple[str, float | str], ...] = ()
        if declared := RANGE.search(help_text):
            if annotation.removeprefix("list[").removesuffix("]") not in {"int", "float"}:
                raise ValueError(f"{name}: only a number has a range")
            limits, help_text = _limits(declared[1]), help_text[: declared.start()]
        default = ast.literal_eval(node.value)
        parameter = Parameter(name, annotation, default, help_text, choices, limits)
        try:
            as_declared = parameter.convert(parameter.default)
        except ValueError as error:
            raise ValueError(f"{name}: the default should be {error}") from None
        if type(as_declared) is not type(parameter.default):
            raise ValueError(f"{name}: the default should be written as {annotation}")
        found.append(parameter)
    defaults = {p.name: p.default for p in found}
    for p in found:
        for _, limit in p.limits:
            if isinstance(limit, str) and not isinstance(defaults.get(limit), (int, float)):
                raise ValueError(f"{p.name}: the limit {limit} is no parameter with a number")
        if expected := p.out_of_range(p.default, defaults):
            raise ValueError(f"{p.name}: the default should be {expected}")
    return found


def of_notebook(cells: Iterable[Any]) -> list[Parameter]:
    """Return the parameters of a notebook from its cells (nbformat 4)."""
    tagged = [c for c in cells if "parameters" in c.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"one cell with the tag `parameters` is needed, found {len(tagged)}")
    return parse(tagged[0]["source"])


def resolve(declared: list[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the full set of values: defaults overridden by `given`, converted and checked.

    Raises
    ------
    InvalidParameters
        Listing every unknown name and every value that does not fit.
    """
    known = {p.name: p for p in declared}
    values = {p.name: p.default for p in declared}
    problems = []
    for name, value in given.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            problems.append(f"unknown parameter {name!r}{hint} Known: {', '.join(known)}.")
            continue
        try:
            values[name] = known[name].convert(value)
        except ValueError as error:
            problems.append(f"{name}: got {value!r}, expected {error}")
    if not problems:
        for p in declared:
            if expected := p.out_of_range(values[p.name], values):
                problems.append(f"{p.name}: got {values[p.name]!r}, expected {expected}")
    if problems:
        raise InvalidParameters(problems)
    return values

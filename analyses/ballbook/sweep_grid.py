"""The grid of a sweep: which runs one file, or ``NAME=V,V`` on a command line, asks for.

A grid file is YAML::

    parameters:
      horizon_years: [3, 5, 10]
      mrd_floor: {from: 0.00001, to: 0.001, num: 5, log: true}
      deleted_share: {from: 0.1, to: 0.3, step: 0.05}
      by_band: false                  # one value for all runs
    together:                         # lists of one length, taken side by side
      - {mrd_cutoff: [0.0001, 0.001], own_timepoint: [day29, day78]}
    seeds: 20                         # 1 to 20, or a list
    cohorts:                          # files or folders, seen from the grid file
      - zurich.csv
      - {file: vienna.csv, map: vienna.yml}
    without:                          # combinations that are left out
      - {horizon_years: 10, by_band: true}

All combinations are run, the last axis changing fastest. Steps are exact: 0.1 to 0.3 by 0.1 holds
0.3 and not 0.30000000000000004. Everything wrong with a grid is said at once, and nothing is run.
"""

from __future__ import annotations

import ast
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from ballbook import file_limits
from ballbook.errors import Refusal
from ballbook.parameters import DECIMAL, InvalidParameters, Parameter, resolve

KEYS = ("parameters", "together", "seeds", "cohorts", "map", "without")
RANGE = ("from", "to", "step", "num", "log")
MOST = 100_000
# Digits with which a geometric range is worked out, of which a float holds 17.
EXACT = Context(prec=40)
COMMAND = "command line"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a grid: where, what was found, and what was expected."""

    file: str
    key: str
    found: str | None
    expected: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        found = "" if self.found is None else f"got {self.found[:60]}, "
        return f"{where}: {found}expected {self.expected}"


class InvalidGrid(Refusal, ValueError):
    """A grid that cannot be run; `problems` holds everything that is wrong with it."""

    SHOWN = 50

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        n = len(self.problems)
        lines = [f"{n} problem{'s' if n != 1 else ''} in the grid; nothing was run:"]
        lines += [f"  {p}" for p in self.problems[: self.SHOWN]]
        if n > self.SHOWN:
            lines.append(f"  ... and {n - self.SHOWN:,} more")
        super().__init__("\n".join(lines))


@dataclass(frozen=True, slots=True)
class Point:
    """One run of a sweep.

    Parameters
    ----------
    at : dict
        Name of each axis to the value shown in tables; a cohort by the name of its file.
    values : dict
        All parameters of the run, converted; the cohort as an absolute path.
    column_map : str or None
        Absolute path of the map that goes with the cohort.
    """

    at: dict[str, Any]
    values: dict[str, Any]
    column_map: str | None = None

    @property
    def key(self) -> str:
        """The same text for the same run, whatever the grid it comes from."""
        return json.dumps([self.values, self.column_map], sort_keys=True)


@dataclass(frozen=True, slots=True)
class Grid:
    """The runs that are asked for, in their order, and the names of what differs among them."""

    axes: tuple[str, ...]
    points: tuple[Point, ...]
    fixed: dict[str, Any] = field(default_factory=dict)


# ------------------------------------------------------------------------------------- ranges


def exact(given: Any) -> Fraction:
    """Return a number as it is written, without the rounding of binary fractions.

    Raises
    ------
    ValueError
        With what was expected.
    """
    text = str(given)
    if isinstance(given, bool) or not DECIMAL.fullmatch(text) or not any(map(str.isdigit, text)):
        raise ValueError("a number without leading zeros, such as 0.5")
    if abs(Decimal(text).adjusted()) > 300:
        raise ValueError("a number that is not that large or small")
    return Fraction(Decimal(text))


def spread(given: Mapping[str, Any], most: int = MOST) -> list[Fraction]:
    """Return the values of a range, both ends among them.

    Parameters
    ----------
    given : mapping
        ``from`` and ``to``; ``step``, or ``num`` values with equal steps or, with ``log``, equal
        ratios.
    most : int
        More values than these are refused.

    Raises
    ------
    ValueError
        With what was expected.
    """
    if unknown := [str(k) for k in given if k not in RANGE]:
        raise ValueError(f"a range of {', '.join(RANGE)}, without {unknown[0]}")
    if "from" not in given or "to" not in given or ("step" in given) == ("num" in given):
        raise ValueError("a range with from, to, and either step or num")
    log = str(given.get("log", "false")).lower()
    if log not in {"true", "false"}:
        raise ValueError("log: true or false")
    low, high = exact(given["from"]), exact(given["to"])
    if low >= high:
        raise ValueError("a range whose from is below its to")
    if "step" in given:
        return _steps(low, high, exact(given["step"]), log == "true", most)
    number = exact(given["num"])
    if number.denominator != 1 or not 2 <= number <= most:
        raise ValueError(f"num: a whole number from 2 to {most:,}")
    last = int(number) - 1
    if log == "false":
        return [low + (high - low) * i / last for i in range(last + 1)]
    if low <= 0:
        raise ValueError("a range above 0, since log is asked for")
    start, end = (EXACT.ln(_decimal(v)) for v in (low, high))
    inner = (EXACT.exp(start + (end - start) * i / last) for i in range(1, last))
    # Rounded to fewer digits than it was worked out with, so that a round number is round.
    return [low, *(Fraction(Context(prec=30).plus(v)) for v in inner), high]


def _decimal(value: Fraction) -> Decimal:
    return EXACT.divide(Decimal(value.numerator), Decimal(value.denominator))


def _steps(low: Fraction, high: Fraction, step: Fraction, log: bool, most: int) -> list[Fraction]:
    if log:
        raise ValueError("num and not step, since log is asked for")
    if step <= 0:
        raise ValueError("a step above 0")
    times = (high - low) / step
    if times.denominator != 1:
        below = low + int(times) * step
        raise ValueError(
            f"a step that reaches {float(high):g}; from {float(low):g} by {float(step):g} "
            f"comes to {float(below):g}"
        )
    if times >= most:
        raise ValueError(f"a range of at most {most:,} values")
    return [low + i * step for i in range(int(times) + 1)]


def _as_given(value: Fraction, parameter: Parameter) -> Any:
    """Return a value of a range as the parameter's type.

    Raises
    ------
    ValueError
        With what was expected.
    """
    if parameter.type == "int":
        if value.denominator != 1:
            raise ValueError(f"whole numbers; the range holds {float(value):g}")
        return int(value)
    if parameter.type != "float":
        raise ValueError(f"a list of values, since the parameter is {parameter.type}")
    return float(value)


# --------------------------------------------------------------------------------------- grid

Row = dict[str, Any]


def read(
    declared: Sequence[Parameter],
    files: Sequence[Path] = (),
    *,
    assigned: Mapping[str, str] | None = None,
    fixed: Mapping[str, Any] | None = None,
    column_map: str | None = None,
    most: int = MOST,
) -> Grid:
    """Return the grid of a sweep, checked.

    Parameters
    ----------
    declared : sequence of Parameter
        Those of the analysis.
    files : sequence of Path
        Grid files; what they hold is multiplied.
    assigned : mapping, optional
        Name to values with commas between, as a command line gives them.
    fixed : mapping, optional
        Values of all runs.
    column_map : str, optional
        The map of all cohorts that have none of their own.
    most : int
        More runs than these are refused.

    Raises
    ------
    InvalidGrid
        With every problem.
    """
    reader = _Reader(declared, most)
    for name, value in (fixed or {}).items():
        reader.fix(COMMAND, name, value)
    for file in files:
        reader.file(file)
    for name, text in (assigned or {}).items():
        reader.assign(name, text)
    return reader.grid(column_map)


class _Reader:
    """Collects the axes and the problems of a grid."""

    def __init__(self, declared: Sequence[Parameter], most: int) -> None:
        self.declared = {p.name: p for p in declared}
        self.most = most
        self.problems: list[Problem] = []
        self.groups: list[list[Row]] = []
        self.fixed: Row = {}
        self.places: dict[str, tuple[str, str]] = {}
        self.without: list[tuple[str, str, Row]] = []
        self.map: str | None = None
        # Absolute path of a cohort to its map and to the name shown.
        self.cohorts: dict[str, str | None] = {}

    def wrong(self, file: str, key: str, found: Any, expected: str) -> None:
        self.problems.append(Problem(file, key, None if found is None else repr(found), expected))

    # One file

    def file(self, path: Path) -> None:
        where = path.name
        try:
            content = file_limits.read_yaml(path, texts=True)
        except file_limits.Unreadable as error:
            self.wrong(where, "", None, f"a grid in YAML: {error}")
            return
        if not isinstance(content, dict) or not content:
            self.wrong(where, "", content or None, f"some of {', '.join(KEYS)}")
            return
        for key in content:
            if key not in KEYS:
                known = ", ".join(KEYS)
                near = " (parameters stand below `parameters:`)" if key in self.declared else ""
                self.wrong(where, str(key), None, f"one of {known}{near}")
        folder = path.resolve().parent
        if "map" in content:
            self.map = self._path(where, "map", content["map"], folder)
        if "cohorts" in content:
            self._cohorts(where, content["cohorts"], folder)
        self._parameters(where, content.get("parameters", {}))
        together = content.get("together", [])
        if not isinstance(together, list):
            self.wrong(where, "together", together, "a list of groups, each in a line with -")
        else:
            for i, group in enumerate(together):
                self._together(where, f"together[{i}]", group)
        if "seeds" in content:
            self._seeds(where, content["seeds"])
        self._without(where, content.get("without", []))

    def _parameters(self, where: str, given: Any) -> None:
        if not isinstance(given, dict):
            self.wrong(where, "parameters", given, "names with their values")
            return
        for name, value in given.items():
            key = f"parameters.{name}"
            if not isinstance(value, (list, dict)):
                self.fix(where, name, value, key)
            elif self._take(where, key, name):
                found = self._values(where, key, name, value)
                self.groups.append([{name: v} for v in found])

    def _together(self, where: str, key: str, group: Any) -> None:
        if not isinstance(group, dict) or len(group) < 2:
            self.wrong(where, key, group, "two or more names with lists of one length")
            return
        columns: dict[str, list[Any]] = {}
        for name, value in group.items():
            if not isinstance(value, (list, dict)):
                self.wrong(where, f"{key}.{name}", value, "a list of values")
            elif self._take(where, f"{key}.{name}", name):
                found = self._values(where, f"{key}.{name}", name, value, unique=False)
                columns[name] = found
        lengths = {name: len(v) for name, v in columns.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{n} has {k}" for n, k in lengths.items())
            self.wrong(where, key, None, f"lists of one length; {told}")
            return
        rows = [dict(zip(columns, v, strict=True)) for v in zip(*columns.values(), strict=True)]
        for i, row in enumerate(rows):
            if row in rows[:i]:
                self.wrong(where, key, row, "every combination once")
        self.groups.append(rows)

    def _seeds(self, where: str, given: Any) -> None:
        if not self._take(where, "seeds", "seed"):
            return
        if isinstance(given, str):
            try:
                number = exact(given)
                if number.denominator != 1 or not 1 <= number <= self.most:
                    raise ValueError
            except ValueError:
                expected = f"how many, from 1 to {self.most:,}, or a list of seeds"
                self.wrong(where, "seeds", given, expected)
                return
            given = [str(i) for i in range(1, int(number) + 1)]
        found = self._values(where, "seeds", "seed", given)
        self.groups.append([{"seed": v} for v in found])

    def _cohorts(self, where: str, given: Any, folder: Path) -> None:
        if not self._take(where, "cohorts", "cohort"):
            return
        if not isinstance(given, list) or not given:
            self.wrong(where, "cohorts", given, "a list of files or folders")
            return
        rows: list[Row] = []
        for i, item in enumerate(given):
            key = f"cohorts[{i}]"
            if isinstance(item, dict) and set(item) <= {"file", "map"} and "file" in item:
                file, column_map = item["file"], item.get("map")
            elif isinstance(item, str) and item:
                file, column_map = item, None
            else:
                self.wrong(where, key, item, "a file or folder, or {file: ..., map: ...}")
                continue
            path = self._path(where, key, file, folder)
            if path is None:
                continue
            if path in self.cohorts:
                self.wrong(where, key, item, "every cohort once")
                continue
            self.cohorts[path] = (
                None if column_map is None else self._path(where, f"{key}.map", column_map, folder)
            )
            rows.append({"cohort": path})
        self.groups.insert(0, rows)

    def _path(self, where: str, key: str, given: Any, folder: Path) -> str | None:
        path = folder / Path(given).expanduser() if isinstance(given, str) and given else None
        if path is None or not path.exists():
            self.wrong(where, key, given, "a file or folder that exists, seen from the grid file")
            return None
        return str(path.resolve())

    def _without(self, where: str, given: Any) -> None:
        if not isinstance(given, list):
            self.wrong(where, "without", given, "a list of combinations, each in a line with -")
            return
        for i, item in enumerate(given):
            key = f"without[{i}]"
            if not isinstance(item, dict) or not item:
                self.wrong(where, key, item, "names with the value of each")
                continue
            found: Row = {}
            for name, value in item.items():
                if name in self.declared:
                    converted = self._convert(where, f"{key}.{name}", name, value)
                    if converted is not None:
                        found[name] = converted
                else:
                    self.wrong(where, f"{key}.{name}", None, "the name of a parameter")
            self.without.append((where, key, found))

    # Names and values

    def fix(self, where: str, name: str, value: Any, key: str | None = None) -> None:
        """Give all runs one value."""
        if self._take(where, key or name, name):
            converted = self._convert(where, key or name, name, value)
            if converted is not None:
                self.fixed[name] = converted

    def assign(self, name: str, text: str) -> None:
        """Take ``NAME=V,V`` of a command line."""
        if self._take(COMMAND, name, name):
            self.groups.append(
                [{name: v} for v in self._values(COMMAND, name, name, text.split(","))]
            )

    def _take(self, where: str, key: str, name: str) -> bool:
        """Note that a name is given; tell whether it may be."""
        if name not in self.declared:
            self.wrong(where, key, None, f"one of {', '.join(self.declared)}")
            return False
        if name in self.places:
            file, earlier = self.places[name]
            place = earlier if file == where else f"{earlier} in {file}"
            self.wrong(where, key, None, f"a name once; {name} is given twice, also as {place}")
            return False
        self.places[name] = (where, key)
        return True

    def _convert(self, where: str, key: str, name: str, value: Any) -> Any:
        parameter = self.declared[name]
        if parameter.type.startswith("list[") and where != COMMAND and isinstance(value, str):
            self.wrong(where, key, value, f"a list, since {name} is {parameter.type}")
            return None
        try:
            return parameter.convert(value)
        except ValueError as error:
            self.wrong(where, key, value, str(error))
            return None

    def _values(
        self, where: str, key: str, name: str, given: Any, *, unique: bool = True
    ) -> list[Any]:
        """Return the values of an axis; what cannot be read is a problem."""
        if isinstance(given, dict):
            try:
                return [_as_given(v, self.declared[name]) for v in spread(given, self.most)]
            except ValueError as error:
                self.wrong(where, key, None, str(error))
                return []
        if not isinstance(given, list) or not given:
            self.wrong(where, key, given, "a list of values or a range")
            return []
        found: list[Any] = []
        for i, item in enumerate(given):
            place = key if where == COMMAND else f"{key}[{i}]"
            value = self._convert(where, place, name, item)
            if value is None:
                continue
            if unique and value in found:
                self.wrong(where, place, item, "every value once")
            found.append(value)
        return found

    # All together

    def grid(self, column_map: str | None) -> Grid:
        """Return the checked grid.

        Raises
        ------
        InvalidGrid
        """
        axes = [name for group in self.groups if group for name in group[0]]
        cohort = bool(self.cohorts) or bool(self.fixed.get("cohort"))
        if "min_count" in axes and cohort:
            # Two releases of one cohort under different rules give away what either withholds.
            self.wrong(*self.places["min_count"], None, "one value where a cohort is given")
        size = math.prod(len(group) for group in self.groups)
        if size > self.most:
            self.wrong("grid", "", size, f"at most {self.most:,} runs (--most allows more)")
        if self.problems:
            raise InvalidGrid(self.problems)
        column_map = column_map or self.map
        if column_map and not cohort:
            raise InvalidGrid([Problem("grid", "map", None, "a cohort that goes with the map")])
        points = list(self._points(column_map))
        used = {i for i, (_, _, left) in enumerate(self.without) for p in points if _fits(p, left)}
        for i, (where, key, left) in enumerate(self.without):
            if i not in used:
                self.wrong(where, key, left, "a combination that is in the grid")
        points = [p for p in points if not any(_fits(p, left) for _, _, left in self.without)]
        if not points:
            self.wrong("grid", "", None, "at least one run")
        self._resolve(points)
        if self.problems:
            raise InvalidGrid(self.problems)
        return Grid(tuple(axes), tuple(points), dict(self.fixed))

    def _points(self, column_map: str | None) -> Iterator[Point]:
        names = _cohort_names(list(self.cohorts))
        for rows in itertools.product(*self.groups):
            row: Row = {k: v for part in rows for k, v in part.items()}
            given = {**self.fixed, **row}
            own = self.cohorts.get(given.get("cohort", "")) or column_map
            shown = {k: names.get(v, v) if k == "cohort" else v for k, v in row.items()}
            yield Point(shown, given, own if given.get("cohort") else None)

    def _resolve(self, points: Sequence[Point]) -> None:
        """Complete the values of all points, and say which are out of range."""
        declared = list(self.declared.values())
        for point in points:
            try:
                full = resolve(declared, point.values)
            except InvalidParameters as error:
                for line in error.problems:
                    name, _, what = line.partition(": got ")
                    where, key = self.places.get(name, ("grid", name))
                    found, _, expected = what.partition(", expected ")
                    self.wrong(where, key, ast.literal_eval(found), expected)
                if len(self.problems) > InvalidGrid.SHOWN:
                    return
                continue
            point.values.clear()
            point.values.update(full)


def _fits(point: Point, left: Row) -> bool:
    return all(point.values.get(name) == value for name, value in left.items())


def _cohort_names(paths: Sequence[str]) -> dict[str, str]:
    """Return a short name of each cohort: that of its file, with numbers where two are alike."""
    from ballbook.combine import safe_name, unique_names

    names = unique_names([safe_name(Path(p).stem) for p in paths])
    return dict(zip(paths, names, strict=True))

"""Propose a column map for a reader's table: names, units and words, and how sure each is.

Nothing is applied here. A proposal is text that a person reads; what is only guessed at is written
as a comment, which does nothing until the person takes the mark away.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import yaml

from ballbook.cohort import InvalidCohort, read_cohort, read_tables, wide_name
from ballbook.dictionaries import MISSING, Column, Refused, dictionary, plain, read_value

Sure = Literal["sure", "likely", "guess"]
ORDER: tuple[Sure, ...] = ("sure", "likely", "guess")

_ENDPOINTS = {
    "efs": r"efs|event_free_survival|event_free",
    "os": r"os|overall_survival|survival",
    "dfs": r"dfs|disease_free_survival|disease_free",
    "rfs": r"rfs|relapse_free_survival|relapse_free",
}
_TIME_UNITS = {
    "days": r"d|days?|tage?|jours?",
    "months": r"m|mo|mos|months?|monate?|mois",
    "years": r"y|yrs?|years?|jahre?|ans",
}
_EVENT = re.compile(r"(^|_)(event|status|censor|cens|indicator|ind|dead|death|died|evt)(_|$)")
_TIME = re.compile(r"(^|_)(time|duration|follow_?up|fu|to|t)(_|$)")
_PER_UL = re.compile(r"(^|_)(ul|µl|μl|mm3|mm\^?3|cumm|microlitre|microliter|mcl|cells)(_|$)")
_PERCENT = re.compile(r"(^|_)(percent|percentage|pct|perc)(_|$)|%")
_MISSING = {
    "nd", "n.d.", "not done", "not available", "not applicable", "not evaluated", "not known",
    "not reported", "unk", "#n/a", "[not available]", "[not applicable]",
}  # fmt: skip
_COPIES = {"cna", "cn", "del", "deletion", "deleted", "loss", "mlpa", "snp", "status", "copy"}
# Words that say when or in which unit, not what.
_FILLERS = {
    "at", "dx", "diagnosis", "in", "of", "the", "initial", "patient", "value", "years", "year",
    "yrs", "yr", "y", "days", "day", "d", "months", "month", "mo", "m", "10", "9", "l", "g", "10^9",
    "x10^9", "x10e9", "10e9", "giga", "ul", "µl", "μl", "mm3", "per", "cells", "count",
    "microlitre", "microliter",
}  # fmt: skip
_SENTINELS = ("-9", "-99", "-999", "99", "999", "9999")
_FLAG = {
    **dict.fromkeys(("+", "ja", "j", "oui", "o", "si", "sí", "s", "t", "mutated", "present"), "1"),
    **dict.fromkeys(("-", "nein", "non", "f", "absent", "negativ", "no event"), "0"),
}
_DELETION = {
    **dict.fromkeys(("ja", "j", "oui", "si", "sí", "+", "d", "present", "mut"), "del"),
    **dict.fromkeys(("nein", "non", "-", "absent", "no deletion", "not deleted"), "wt"),
}
_SEX = {"w": "F", "weiblich": "F", "femme": "F", "féminin": "F", "männlich": "M", "maennlich": "M",
        "homme": "M", "masculin": "M", "h": "M"}  # fmt: skip


@dataclass
class Guess:
    """What one column of a reader's table is taken for.

    Parameters
    ----------
    theirs : str
    ours : str or None
        None where nothing fits; the column is then kept under its own name.
    sure : {"sure", "likely", "guess"}
        Only what is sure or likely takes effect.
    why : str
    unit : str, optional
    values : dict
        Their words to ours.
    """

    theirs: str
    ours: str | None
    sure: Sure
    why: str
    unit: str | None = None
    unit_sure: Sure = "sure"
    unit_why: str = ""
    values: dict[str, str] = field(default_factory=dict)
    values_sure: Sure = "sure"
    values_why: str = ""


@dataclass(frozen=True)
class Proposal:
    """A column map with its reasons, and what a check of the cohort says when it is used."""

    guesses: tuple[Guess, ...]
    missing: dict[str, Sure]
    decimal: str | None
    left: tuple[str, ...]

    def text(self) -> str:
        """Return the map as YAML; each line says how sure it is and why."""
        taken = [g for g in self.guesses if g.ours is not None]
        lines = [
            "# Proposed by `ballbook map --guess`: read every line before you use it.",
            "# A line with #? is only a guess: it does nothing until the mark is taken away.",
            "columns:",
        ]
        for g in taken:
            if plain(g.theirs) != g.ours:
                lines.append(_line(f"  {_quoted(g.theirs)}: {g.ours}", g.sure, g.why))
        if units := [g for g in taken if g.unit]:
            lines.append("units:")
            for g in units:
                sure = _less(g.sure, g.unit_sure)
                lines.append(_line(f"  {_quoted(g.theirs)}: {g.unit}", sure, g.unit_why))
        if recoded := [g for g in taken if g.values]:
            lines.append("values:")
            for g in recoded:
                words = ", ".join(f"{_quoted(k)}: {_quoted(v)}" for k, v in g.values.items())
                sure = _less(g.sure, g.values_sure)
                lines.append(_line(f"  {_quoted(g.theirs)}: {{{words}}}", sure, g.values_why))
        if self.missing:
            lines.append("missing:")
            for word, sure in self.missing.items():
                lines.append(_line(f"  - {_quoted(word)}", sure, "taken for no value"))
        if self.decimal:
            lines.append(
                _line(f"decimal: {_quoted(self.decimal)}", "likely", "numbers such as 4,5")
            )
        lines += ["", "# Understood as they are:"]
        same = [g.theirs for g in taken if plain(g.theirs) == g.ours]
        lines += [f"#   {_comment(name)}" for name in same] or ["#   none"]
        lines += ["# Not understood, kept under their own names:"]
        rest = [g.theirs for g in self.guesses if g.ours is None]
        lines += [f"#   {_comment(name)}" for name in rest] or ["#   none"]
        return "\n".join(lines) + "\n"

    def as_map(self) -> dict[str, Any]:
        """Return the map that `text` says, as `read_cohort` takes it."""
        raw = yaml.safe_load(self.text())
        return {key: value for key, value in raw.items() if value is not None}


def propose(path: str | Path) -> Proposal:
    """Return a column map for the patients table of a reader's file.

    Raises
    ------
    InvalidCohort
        Where the file cannot be read as a table at all.
    """
    header, rows = read_tables(path)
    columns = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    guesses = [_guess(name, values) for name, values in columns.items()]
    _settle(guesses)
    decimal = None
    missing: dict[str, Sure] = {}
    for g in guesses:
        column, values = _column(g.ours), columns[g.theirs]
        if column is None:
            continue
        if column.type in {"number", "integer", "mrd"}:
            if any(re.fullmatch(r"<?\d+,\d{1,}%?", v) for v in values):
                decimal = ","
            _absent(values, column, missing)
            _unit(g, column, values)
        else:
            _absent(values, column, missing)
            _words(g, column, [v for v in values if v.lower() not in missing])
    found = Proposal(tuple(guesses), missing, decimal, ())
    try:
        read_cohort(path, found.as_map())
    except InvalidCohort as error:
        return Proposal(found.guesses, missing, decimal, tuple(map(str, error.problems)))
    return found


# ------------------------------------------------------------------------------------ names


def _guess(name: str, values: Sequence[str]) -> Guess:
    words = dictionary("patients")
    tidy = re.sub(r"[()\[\]{}:;,#]+", " ", name)
    word = plain(tidy)
    if column := words.find(name):
        return Guess(name, column.name, "sure", f"a known name of {column.name}")
    if wide_name(plain(name)):
        return Guess(name, plain(name), "sure", "a usual name")
    if column := words.find(tidy):
        return Guess(name, column.name, "sure", f"a known name of {column.name}")
    if found := _mrd(name, word, values) or _outcome(name, word, values):
        return found
    parts = [p for p in word.split("_") if p]
    for gene in ("ikzf1", "pax5", "cdkn2a", "cdkn2b", "erg"):
        if gene in parts and _COPIES & set(parts):
            return Guess(name, gene, "likely", f"names {gene.upper()} and a copy-number word")
    core = "_".join(p for p in parts if p not in _FILLERS)
    if core and (column := words.find(core)):
        return Guess(name, column.name, "likely", f"{core} is a known name of {column.name}")
    known = {plain(w): c.name for c in words.columns for w in (*c.synonyms, c.name) if len(w) > 3}
    if near := get_close_matches(word, known, n=1, cutoff=0.84):
        return Guess(name, known[near[0]], "guess", f"spelt nearly as {near[0]}")
    return Guess(name, None, "guess", "nothing fits")


def _mrd(name: str, word: str, values: Sequence[str]) -> Guess | None:
    if not re.search(r"(^|_)mrd(_|\d|$)", word) or "sensitivity" in word or "lod" in word:
        return None
    point = re.search(r"(?:day|d|tag)_?(\d+)|(tp_?\d+)|(eoi|eoc|end_of_\w+?|end_\w+)(?=_|$)", word)
    stem = "measured" if point is None else (f"day{point[1]}" if point[1] else point[2] or point[3])
    numbers = _numbers(values)
    percent = bool(_PERCENT.search(word)) or "%" in name
    high = bool(len(numbers)) and float(numbers.max()) > 1
    ours = f"mrd_{stem}" + ("_percent" if percent or high else "")
    sure: Sure = "likely" if point is not None else "guess"
    if percent:
        why = "MRD; its name says percent"
    elif high:
        why = "MRD; values above 1 can only be percent"
    else:
        positive = numbers[numbers > 0]
        small = bool(len(positive)) and float(positive.min()) <= 1e-4
        sure = sure if small else "guess"
        why = "MRD; taken as a fraction, " + ("values are small" if small else "not a percentage")
    return Guess(name, ours, sure, why)


def _outcome(name: str, word: str, values: Sequence[str]) -> Guess | None:
    if word in {"vital_status", "dead", "died", "death", "deceased", "vitalstatus"}:
        return Guess(name, "os_event", "likely", "whether the patient died")
    for endpoint, pattern in _ENDPOINTS.items():
        match = re.search(rf"(^|_)({pattern})(?=_|$|\d)", word)
        if match is None:
            continue
        rest = plain(word.replace(match[2], "", 1)) or "time"
        if _EVENT.search(rest):
            return Guess(name, f"{endpoint}_event", "likely", f"{endpoint.upper()} and an event")
        for unit, unit_pattern in _TIME_UNITS.items():
            if re.search(rf"(^|_)({unit_pattern})(_|$)", rest):
                return Guess(name, f"{endpoint}_{unit}", "likely", f"its name says {unit}")
        numbers = _numbers(values)
        if not len(numbers) or not (_TIME.search(rest) or rest in {"time", "survival"}):
            continue
        if set(numbers) <= {0.0, 1.0}:
            return Guess(name, f"{endpoint}_event", "guess", "holds only 0 and 1")
        high = float(numbers.max())
        unit = "years" if high <= 25 else "months" if high <= 300 else "days"
        return Guess(name, f"{endpoint}_{unit}", "guess", f"no unit; the longest is {high:g}")
    return None


def _settle(guesses: list[Guess]) -> None:
    """Leave each of our columns to the surest of theirs, and say so of the others."""
    taken: dict[str, Guess] = {}
    for g in sorted((g for g in guesses if g.ours), key=lambda g: ORDER.index(g.sure)):
        ours = str(g.ours)
        key = re.sub(r"_(days|months|years)$", "_time", ours) if wide_name(ours) else ours
        key = key.replace("_status", "_event") if wide_name(ours) else key
        if key not in taken:
            taken[key] = g
            continue
        first = taken[key].theirs
        clashes = plain(g.theirs) == g.ours or dictionary("patients").find(g.theirs) is not None
        g.why = f"set aside: {_comment(first)} is taken for the same"
        g.ours, g.sure = (f"other_{plain(g.theirs)}", "sure") if clashes else (None, "guess")


def _column(ours: str | None) -> Column | None:
    if ours is None:
        return None
    if column := dictionary("patients").find(ours):
        return column
    outcomes = dictionary("outcomes")
    if not wide_name(ours):
        return None
    if ours.startswith("mrd_"):
        return dictionary("mrd").find("level")
    what = re.sub(r"^.*_(event_type|entry_months|event|status|days|months|years)$", r"\1", ours)
    if what in {"days", "months", "years"}:
        return outcomes.find("time_months")
    return outcomes.find("event" if what == "status" else what)


# ------------------------------------------------------------------------- units and words


def _numbers(values: Sequence[str]) -> pd.Series:
    text = pd.Series(list(values), dtype=object).astype(str).str.replace(",", ".").str.strip("<% ")
    number = pd.to_numeric(text, errors="coerce")
    return number[number.notna() & ~text.isin(_SENTINELS)].astype(float)


def _unit(g: Guess, column: Column, values: Sequence[str]) -> None:
    """Say in which unit a column is given, from its name, else from the size of its values."""
    numbers, word = _numbers(values), plain(re.sub(r"[()\[\]]+", " ", g.theirs))
    if not len(numbers):
        return
    if column.name == "age_years":
        for unit in ("days", "months"):
            if re.search(rf"(^|_)({unit}|{unit[:-1]})(_|$)", word):
                g.unit, g.unit_sure, g.unit_why = unit, "likely", f"its name says {unit}"
                return
        if numbers.max() > 120:
            g.unit = "days" if numbers.max() > 1300 else "months"
            g.unit_sure = "guess"
            g.unit_why = f"ages up to {numbers.max():g} cannot be years"
    if column.name == "wbc_10e9_per_l":
        if _PER_UL.search(word):
            g.unit, g.unit_sure, g.unit_why = "per_ul", "likely", "its name says per microlitre"
        elif numbers.median() >= 1000:
            g.unit, g.unit_sure = "per_ul", "likely"
            g.unit_why = f"half the counts are {numbers.median():g} or more"


def _absent(values: Sequence[str], column: Column, missing: dict[str, Sure]) -> None:
    numeric = column.type in {"number", "integer", "mrd"}
    for word in sorted({v.strip().lower() for v in values} - MISSING - set(column.values)):
        if word in _MISSING:
            missing[word] = "likely"
        elif numeric and word in _SENTINELS and not (word == "99" and column.maximum == 100):
            missing.setdefault(word, "guess")


def _words(g: Guess, column: Column, values: Sequence[str]) -> None:
    """Propose our words for the words of a column that its dictionary does not know."""
    distinct = {v.strip().lower() for v in values} - MISSING
    if column.type == "deletion":
        if distinct <= {"-2", "-1", "0", "1", "2"} and distinct & {"-2", "-1"}:
            g.values = {"-2": "hom", "-1": "het", "0": "wt", "1": "wt", "2": "wt"}
            g.values_sure, g.values_why = "likely", "discrete copy number: -2 both, -1 one lost"
            return
        if distinct <= {"0", "1", "2"} and "2" in distinct:
            g.values = {"0": "hom", "1": "het", "2": "wt"}
            g.values_sure, g.values_why = "guess", "read as the number of copies"
            return
    table = {"flag": _FLAG, "deletion": _DELETION}.get(column.type, {})
    if column.name == "sex":
        table = _SEX
        if distinct and distinct <= {"1", "2"}:
            g.values = {"1": "M", "2": "F"}
            g.values_sure, g.values_why = "guess", "1 is male and 2 female in ISO 5218"
            return
    for word in sorted(distinct):
        try:
            read_value(word, column)
        except Refused:
            if word in table:
                g.values[word] = table[word]
                g.values_sure, g.values_why = "likely", "usual words"


# -------------------------------------------------------------------------------------- text


def _less(a: Sure, b: Sure) -> Sure:
    return ORDER[max(ORDER.index(a), ORDER.index(b))]


def _line(text: str, sure: Sure, why: str) -> str:
    mark = "#? " if sure == "guess" else ""
    return f"{mark}{text}  # {sure}: {why}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _comment(text: str) -> str:
    return json.dumps(text)[1:-1][:80]


def summary(proposal: Proposal) -> list[str]:
    """Return, in a few lines, what the proposal did and what stays wrong with it."""
    counts: Mapping[str, int] = {
        sure: sum(g.ours is not None and g.sure == sure for g in proposal.guesses) for sure in ORDER
    }
    rest = sum(g.ours is None for g in proposal.guesses)
    lines = [
        f"{len(proposal.guesses)} columns: {counts['sure']} sure, {counts['likely']} likely, "
        f"{counts['guess']} only guessed (written as comments), {rest} kept as they are."
    ]
    if not proposal.left:
        return [*lines, "With this map the file can be read."]
    lines.append(f"With this map {len(proposal.left)} problem(s) stay:")
    return [*lines, *(f"  {p}" for p in proposal.left[:10])]

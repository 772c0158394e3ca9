"""Propose a column map for a reader's tables: names, units and words, and how sure each is.

Nothing is applied here. A proposal is text that a person reads; what is only guessed at is written
as a comment, which does nothing until the person takes the mark away.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import yaml

from ballbook.cohort import (
    InvalidCohort,
    Parts,
    read_cohort,
    read_tables,
    timepoint_name,
    wide_name,
)
from ballbook.dictionaries import (
    MISSING,
    NO,
    YES,
    Column,
    Dictionary,
    Refused,
    dictionary,
    plain,
    read_value,
)

Sure = Literal["sure", "likely", "guess"]
ORDER: tuple[Sure, ...] = ("sure", "likely", "guess")

# Names of sheets and files by which a table of ours may be known.
_TABLES = {
    "patients": r"patients?|patienten|clinical|klinik|baseline|demograph\w*|characteristics|master",
    "outcomes": r"outcomes?|survival|follow_?up|fu|endpoints?|verlauf|events?",
    "mrd": r"mrd|residual(_disease)?",
    "drug_response": r"drugs?|drug_response|dsrp|ex_vivo",
    "plates": r"plates?|wells?",
    "expression": r"expression|rna_?seq|transcriptome?",
}
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
_EVENT = re.compile(
    r"(^|_)(event|status|censored|censoring|censor|cens|indicator|ind|dead|death|died|evt)(_|$)"
)
_TIME = re.compile(r"(^|_)(time|duration|follow_?up|fu|to|t)(_|$)")
_PER_UL = re.compile(r"(^|_)(ul|µl|μl|mm3|mm\^?3|cumm|microlitre|microliter|mcl|cells)(_|$)")
_PERCENT = re.compile(r"(^|_)(percent|percentage|pct|perc)(_|$)|%")
_MISSING = {
    "nd", "n.d.", "not done", "not available", "not applicable", "not evaluated", "not known",
    "not reported", "unk", "#n/a", "[not available]", "[not applicable]",
}  # fmt: skip
# Words that, of MRD, may also say that none was found.
_NOT_DETECTED = {"nd", "n.d."}
_COPIES = {"cna", "cn", "del", "deletion", "deleted", "loss", "mlpa", "snp", "status", "copy"}
# Words that say when or in which unit, not what.
_FILLERS = {
    "at", "dx", "diagnosis", "in", "of", "the", "initial", "patient", "value", "years", "year",
    "yrs", "yr", "y", "days", "day", "d", "months", "month", "mo", "m", "10", "9", "l", "g", "10^9",
    "x10^9", "x10e9", "10e9", "giga", "ul", "µl", "μl", "mm3", "per", "cells", "count",
    "microlitre", "microliter", "f", "bei", "diagnose", "jahre", "jahren", "tage", "tagen",
    "monate",
}  # fmt: skip
# Headers in other languages; dictionaries hold English ones.
_ABROAD = {
    **dict.fromkeys(("geschlecht", "sexe", "sexo", "genre"), "sex"),
    **dict.fromkeys(("alter", "edad"), "age_years"),
    **dict.fromkeys(("leukozyten", "leukos", "leucocytes", "leucocitos"), "wbc_10e9_per_l"),
    **dict.fromkeys(("studie", "protokoll", "therapieprotokoll", "protocole"), "protocol"),
    **dict.fromkeys(("ereignis", "evenement", "événement"), "event"),
    **dict.fromkeys(("endpunkt", "zielgröße"), "endpoint"),
    **dict.fromkeys(("zeitpunkt", "messzeitpunkt"), "timepoint"),
}
_ID = re.compile(
    r"(^|_)(id|ids|nr|no|num|number|code|key|upn|pseudonym|identifier|patients?|pat|pt|case|subject)(_|$)"
)
# What an event column holds when it says who lives, or who is censored, and not whom it befell.
_INVERSE = {"alive": r"alive|living|survivor|lebt|lebend", "censored": r"cens|censor|censored"}
_SENTINELS = ("-9", "-99", "-999", "99", "999", "9999")
_FLAG = {
    **dict.fromkeys(("+", "ja", "j", "oui", "o", "si", "sí", "s", "t", "mutated", "present"), "1"),
    **dict.fromkeys(("-", "nein", "non", "f", "absent", "negativ", "no event"), "0"),
}
_EVENT_WORDS = {
    **_FLAG,
    **dict.fromkeys(("tot", "verstorben", "gestorben", "décédé", "decede", "d", "rezidiv"), "1"),
    **dict.fromkeys(("lebt", "lebend", "am leben", "vivant", "a", "ccr", "in remission"), "0"),
    **dict.fromkeys(
        ("cr", "cr1", "event-free", "event free", "no relapse", "lost to follow-up"), "0"
    ),
}
_MRD_WORDS = {
    **dict.fromkeys(("yes", "y", "ja", "j", "+", "oui", "true", "positiv", "positif"), "positive"),
    **dict.fromkeys(("negativ", "négatif", "negatif", "nicht nachweisbar"), "negative"),
    **dict.fromkeys(
        ("no", "n", "nein", "non", "-", "false", "not detected", "undetected"), "negative"
    ),
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
        Its name in the header.
    ours : str or None
        None where nothing fits; the column is then kept under its own name.
    sure : {"sure", "likely", "guess"}
        Only what is sure or likely takes effect.
    why : str
    unit : str, optional
    values : dict
        Their words to ours.
    table : str
        The table of ours in which it stands.
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
    table: str = "patients"


@dataclass(frozen=True)
class Part:
    """What a sheet, or a file of a folder, is taken for; `ours` is None where nothing fits."""

    theirs: str
    ours: str | None
    sure: Sure
    why: str


@dataclass(frozen=True)
class Proposal:
    """A column map with its reasons, and what a check of the cohort says when it is used."""

    guesses: tuple[Guess, ...]
    missing: dict[str, tuple[Sure, str]]
    decimal: str | None
    left: tuple[str, ...]
    parts: tuple[Part, ...] = ()

    def _key(self, g: Guess) -> str:
        """Return a column as the map names it: with its table, where there are several."""
        several = len({g.table for g in self.guesses}) > 1
        return _quoted(f"{g.table}.{g.theirs}" if several else g.theirs)

    def text(self) -> str:
        """Return the map as YAML; each line says how sure it is and why."""
        taken = [g for g in self.guesses if g.ours is not None]
        lines = [
            "# Proposed by `ballbook map --guess`: read every line before you use it.",
            "# A line with #? is only a guess: it does nothing until the mark is taken away.",
        ]
        if mapped := [p for p in self.parts if p.ours]:
            lines.append("tables:")
            lines += [_line(f"  {_quoted(p.theirs)}: {p.ours}", p.sure, p.why) for p in mapped]
        lines.append("columns:")
        for g in taken:
            if plain(g.theirs) != g.ours:
                lines.append(_line(f"  {self._key(g)}: {g.ours}", g.sure, g.why))
        if units := [g for g in taken if g.unit]:
            lines.append("units:")
            for g in units:
                sure = _less(g.sure, g.unit_sure)
                lines.append(_line(f"  {self._key(g)}: {g.unit}", sure, g.unit_why))
        if recoded := [g for g in taken if g.values]:
            lines.append("values:")
            for g in recoded:
                words = ", ".join(f"{_quoted(k)}: {_quoted(v)}" for k, v in g.values.items())
                sure = _less(g.sure, g.values_sure)
                lines.append(_line(f"  {self._key(g)}: {{{words}}}", sure, g.values_why))
        if self.missing:
            lines.append("missing:")
            for word, (sure, why) in self.missing.items():
                lines.append(_line(f"  - {_quoted(word)}", sure, why))
        if self.decimal:
            lines.append(
                _line(f"decimal: {_quoted(self.decimal)}", "likely", "numbers such as 4,5")
            )
        lines += ["", "# Understood as they are:"]
        same = [g for g in taken if plain(g.theirs) == g.ours]
        lines += [f"#   {self._told(g)}: {g.why}" for g in same] or ["#   none"]
        lines += ["# Not understood, kept under their own names:"]
        rest = [g for g in self.guesses if g.ours is None]
        lines += [f"#   {self._told(g)}: {g.why}" for g in rest] or ["#   none"]
        if unread := [p for p in self.parts if p.ours is None]:
            lines += ["# Not read:", *(f"#   {_comment(p.theirs)}: {p.why}" for p in unread)]
        return "\n".join(lines) + "\n"

    def _told(self, g: Guess) -> str:
        several = len({g.table for g in self.guesses}) > 1
        return _comment(f"{g.table}.{g.theirs}" if several else g.theirs)

    def as_map(self) -> dict[str, Any]:
        """Return the map that `text` says, as `read_cohort` takes it."""
        raw = yaml.safe_load(self.text())
        return {key: value for key, value in raw.items() if value is not None}


def propose(path: str | Path) -> Proposal:
    """Return a column map for a reader's file: a table, a workbook of sheets, or a folder.

    Columns of patients, outcomes, MRD, drug response and plates are proposed; of an expression
    matrix there is nothing to name.

    Raises
    ------
    InvalidCohort
        Where nothing in it can be read as a table.
    """
    read = read_tables(path)
    parts = _parts(read)
    if named := {p.theirs: p.ours for p in parts if p.ours and p.sure != "guess"}:
        read = read_tables(path, named)
    elif "patients" not in read.tables:
        read = read_tables(path, {})
    guesses: list[Guess] = []
    seen: dict[str, list[tuple[Guess, Column]]] = {}
    decimal = None
    for table, (header, rows) in read.tables.items():
        if table not in {"patients", "outcomes", "mrd", "drug_response", "plates"}:
            continue
        columns = {name: [row[i] for row in rows] for i, name in enumerate(header)}
        found = _columns(columns, table)
        for g in found:
            column, values = _column(g.ours, table), columns[g.theirs]
            if column is None:
                continue
            absent = _absent(values, column)
            for word in absent:
                seen.setdefault(word, []).append((g, column))
            if column.type in {"number", "integer", "mrd"}:
                if any(re.fullmatch(r"<?\d+,\d{1,}%?", v) for v in values):
                    decimal = ","
                _unit(g, column, values)
            _words(g, column, [v for v in values if v.strip().lower() not in absent])
        guesses += found
    made = Proposal(tuple(guesses), _said(seen), decimal, (), parts)
    try:
        read_cohort(path, made.as_map())
    except InvalidCohort as error:
        return replace(made, left=tuple(map(str, error.problems)))
    return made


def _parts(read: Parts) -> tuple[Part, ...]:
    """Return what sheets or files are taken for whose names are not those of our tables."""
    if len(read.parts) < 2 and "patients" in read.tables:
        return ()
    taken = {plain(p) for p in read.parts if p not in read.unread}
    found = []
    for name in read.unread:
        word = plain(name)
        ours = next((t for t, x in _TABLES.items() if re.search(rf"(^|_)({x})(_|$)", word)), None)
        if ours in taken:
            found.append(Part(name, None, "guess", f"another is taken for {ours}"))
            continue
        if ours:
            taken.add(ours)
        why = f"its name says {ours}" if ours else "its name says no table of ours"
        found.append(Part(name, ours, "likely", why))
    if "patients" not in taken and (rest := [p for p in found if p.ours is None]):
        only = "the only one whose name says no other table" if len(rest) == 1 else "the first"
        sure: Sure = "likely" if len(rest) == 1 or "patients" in read.tables else "guess"
        found[found.index(rest[0])] = Part(rest[0].theirs, "patients", sure, only)
    return tuple(found)


def _columns(columns: Mapping[str, Sequence[str]], table: str) -> list[Guess]:
    """Return what the columns of one table are taken for."""
    guesses = [replace(_guess(name, v, table), table=table) for name, v in columns.items()]
    long = {g.ours for g in guesses}
    if table in {"outcomes", "mrd"} and not {"endpoint", "timepoint", "day"} & long:
        for i, (name, values) in enumerate(columns.items()):
            if guesses[i].ours == "patient_id":
                continue
            wide = _wide(name, values, table)
            guesses[i] = wide or Guess(name, None, "guess", "nothing fits", table=table)
    if table == "mrd" and "timepoint" not in long and (day := _first(guesses, "day")):
        day.ours, day.sure, day.why = "timepoint", "likely", "no other column says when"
    key = "sample_id" if table in {"drug_response", "plates"} else "patient_id"
    if key not in {g.ours for g in guesses}:
        for g in guesses:
            distinct = len(set(columns[g.theirs])) == len(columns[g.theirs])
            if g.ours is None and _ID.search(plain(g.theirs)) and (distinct or table != "patients"):
                g.ours, g.sure = key, "likely"
                g.why = "its name says who" + ("; no value comes twice" if distinct else "")
                break
    _settle(guesses)
    return guesses


def _first(guesses: Sequence[Guess], ours: str) -> Guess | None:
    return next((g for g in guesses if g.ours == ours), None)


# ------------------------------------------------------------------------------------ names


def _wide(name: str, values: Sequence[str], table: str) -> Guess | None:
    """Return a time, event or level in a table of its own with one row a patient."""
    word = plain(re.sub(r"[()\[\]{}:;,#+]+", " ", name))
    if table == "mrd" and "mrd" not in word:
        point = r"(day|d|tag)_?\d+|tp_?\d+|eoi|eoc|end_.*"
        word = f"mrd_{word}" if re.match(rf"({point})(_|$|%)", word) else word
    usual = plain(name) if wide_name(plain(name)) else None
    found = _mrd(name, word, values) if table == "mrd" else None
    if found is None and usual is not None:
        found = Guess(name, usual, "sure", "a usual name")
    found = found or _outcome(name, word, values)
    return found and replace(found, table=table)


def _guess(name: str, values: Sequence[str], table: str = "patients") -> Guess:
    words = dictionary(table)
    tidy = re.sub(r"[()\[\]{}:;,#+]+", " ", name)
    word = plain(tidy)
    wide = table == "patients" and wide_name(plain(name))
    if wide and plain(name).startswith("mrd_"):
        return _mrd(name, plain(name), values) or Guess(name, plain(name), "sure", "a usual name")
    for spelt in (name, tidy):
        if column := words.find(spelt):
            return Guess(name, column.name, "sure", f"a known name of {column.name}")
        if wide:
            return Guess(name, plain(name), "sure", "a usual name")
    if table != "patients":
        return _near(name, word, words, _long(name, word, values, table))
    if found := _mrd(name, word, values) or _outcome(name, word, values):
        return found
    parts = [p for p in word.split("_") if p]
    for gene in ("ikzf1", "pax5", "cdkn2a", "cdkn2b", "erg"):
        if gene in parts and _COPIES & set(parts):
            return Guess(name, gene, "likely", f"names {gene.upper()} and a copy-number word")
    return _near(name, word, words)


def _near(name: str, word: str, words: Dictionary, found: Guess | None = None) -> Guess:
    """Return `found`, or the column whose name is in the name of theirs or spelt nearly so."""
    core = "_".join(p for p in word.split("_") if p and p not in _FILLERS)
    if (abroad := _ABROAD.get(core)) and words.find(abroad):
        return Guess(name, abroad, "likely", f"{core} means {abroad}")
    if found:
        return found
    if core and (column := words.find(core)):
        return Guess(name, column.name, "likely", f"{core} is a known name of {column.name}")
    known = {plain(w): c.name for c in words.columns for w in (*c.synonyms, c.name) if len(w) > 3}
    if near := get_close_matches(word, known, n=1, cutoff=0.84):
        return Guess(name, known[near[0]], "guess", f"spelt nearly as {near[0]}")
    return Guess(name, None, "guess", "nothing fits")


def _long(name: str, word: str, values: Sequence[str], table: str) -> Guess | None:
    """Return a column of a table with several rows a patient, by its name and its values."""
    distinct = {plain(v) for v in values} - {plain(w) for w in MISSING}
    if table == "outcomes":
        if distinct and all(_endpoint(v) for v in distinct):
            return Guess(name, "endpoint", "likely", "its values are endpoints")
        if re.search(r"(^|_)(type|cause|kind|first)(_|$)", word) and _EVENT.search(word):
            return Guess(name, "event_type", "likely", "a kind of event")
        if re.search(r"(^|_)(entry|truncation)(_|$)", word):
            return Guess(name, "entry_months", "guess", "its name says entry")
        if _EVENT.search(word) or re.search(r"(^|_)(relapsed?|deceased|alive)(_|$)", word):
            return Guess(name, "event", "likely", "its name says event")
        numbers = _numbers(values)
        said = any(re.search(rf"(^|_)({x})(_|$)", word) for x in _TIME_UNITS.values())
        if len(numbers) and (_TIME.search(word) or said or re.search(r"(^|_)survival", word)):
            return Guess(name, "time_months", "likely", "its name says time")
    if table == "mrd":
        points = r"(day|d|tag)?_?\+?\d+|tp_?\d+|eo\w|end_.*|diagnosis|dx|week_?\d+|month_?\d+"
        spelt = re.search(r"(^|_)(time|point|visit|day|tag)", word)
        clear = all(re.match(r"[a-z]+_?\d|eo\w$|end_", v) for v in distinct)
        if distinct and (spelt or clear) and all(re.fullmatch(points, v) for v in distinct):
            return Guess(name, "timepoint", "likely", "its values are points in time")
        if re.search(r"(^|_)(lod|lloq|sensitivity|detection|quantification)(_|$)", word):
            return Guess(name, "limit_of_detection", "guess", "its name says a limit")
        if re.search(r"(^|_)(mrd|level|result|value|burden)(_|$|%)", word) and len(
            _numbers(values)
        ):
            return Guess(name, "level", "likely", "its name says MRD, and it holds numbers")
    return None


def _endpoint(word: str) -> str | None:
    """Return our endpoint for a word, or None."""
    for endpoint, pattern in _ENDPOINTS.items():
        if re.fullmatch(pattern, word):
            return endpoint.upper()
    try:
        column = dictionary("outcomes").find("endpoint")
        return str(read_value(word.replace("_", " "), column)["endpoint"]) if column else None
    except Refused:
        return None


def _mrd(name: str, word: str, values: Sequence[str]) -> Guess | None:
    if not re.search(r"(^|_)mrd(_|\d|$)", word) or "sensitivity" in word or "lod" in word:
        return None
    point = re.search(
        r"(?:day|d|tag)_?\+?(\d+)|(tp_?\d+)|(eoi|eoc|end_of_\w+?|end_\w+)(?=_|$)", word
    )
    stem = "measured" if point is None else (f"day{point[1]}" if point[1] else point[2] or point[3])
    unit, clear, why = _scale(name, values)
    ours = f"mrd_{stem}" + ("_percent" if unit == "percent" else "")
    sure = _less(clear, "likely" if point is not None else "guess")
    return Guess(name, ours, sure, f"MRD; {why}")


def _scale(name: str, values: Sequence[str]) -> tuple[str, Sure, str]:
    """Return whether levels of MRD are percentages or fractions, how sure that is, and why."""
    numbers = _numbers(values)
    if _PERCENT.search(plain(name)) or "%" in name:
        return "percent", "likely", "its name says percent"
    if re.search(r"(^|_)(fraction|frac)(_|$)", plain(name)):
        return "fraction", "likely", "its name says a fraction"
    if not len(numbers):
        return "fraction", "likely", "it holds words, not numbers"
    if numbers.max() > 1:
        return "percent", "likely", "values above 1 can only be percent"
    positive = numbers[numbers > 0]
    if len(positive) and positive.min() <= 1e-4:
        return "fraction", "likely", "taken as a fraction, values are small"
    return "fraction", "guess", f"a fraction or a percentage? the largest is {numbers.max():g}"


def _outcome(name: str, word: str, values: Sequence[str]) -> Guess | None:
    if word in {"vital_status", "dead", "died", "death", "deceased", "vitalstatus"}:
        if "vital" in word and {v for v in values if v.lower() not in MISSING} <= {"0", "1"}:
            return Guess(name, "os_event", "guess", "0 and 1: is 1 dead, or alive?")
        return Guess(name, "os_event", "likely", "whether the patient died")
    if word in {"alive", "living"}:
        return Guess(name, "os_event", "likely", "whether the patient lives")
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
    taken: dict[tuple[str, str], Guess] = {}
    for g in sorted((g for g in guesses if g.ours), key=lambda g: ORDER.index(g.sure)):
        ours = str(g.ours)
        what = ours
        if wide_name(ours):
            what = re.sub(r"_(days|months|years)$", "_time", ours).replace("_status", "_event")
            what = what.removesuffix("_percent")
        key = (g.table, what)
        if key not in taken:
            taken[key] = g
            continue
        first = taken[key].theirs
        clashes = plain(g.theirs) == g.ours or dictionary(g.table).find(g.theirs) is not None
        g.why = f"set aside: {_comment(first)} is taken for the same"
        g.ours, g.sure = (f"other_{plain(g.theirs)}", "sure") if clashes else (None, "guess")


def _column(ours: str | None, table: str) -> Column | None:
    if ours is None:
        return None
    if column := dictionary(table).find(ours):
        return column
    outcomes = dictionary("outcomes")
    if not wide_name(ours):
        return None
    if ours.startswith("mrd_"):
        return dictionary("mrd").find("level")
    if ours.startswith(("drug_", "lc50_")):
        return None
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
    if column.name == g.ours and g.ours in {"level", "limit_of_detection"}:
        g.unit, g.unit_sure, g.unit_why = _scale(g.theirs, values)
        return
    if column.name == g.ours == "time_months":
        for unit, pattern in _TIME_UNITS.items():
            if re.search(rf"(^|_)({pattern})(_|$)", word):
                if unit != "months" and word not in {"time_days", "time_years"}:
                    g.unit, g.unit_sure, g.unit_why = unit, "likely", f"its name says {unit}"
                return
        high = float(numbers.max())
        if high > 300 or high <= 25:
            g.unit, g.unit_sure = "days" if high > 300 else "years", "guess"
            g.unit_why = f"no unit; the longest is {high:g}"
            return
    if column.name == "age_years":
        for unit in ("days", "months"):
            if re.search(rf"(^|_)({_TIME_UNITS[unit]})(_|$)", word):
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
    if g.unit is None and column.unit and g.ours == column.name:
        g.why += f"; read in {column.unit}, the largest is {numbers.max():g}"


def _absent(values: Sequence[str], column: Column) -> set[str]:
    """Return the words of a column that may stand for no value."""
    distinct = {v.strip().lower() for v in values} - MISSING - set(column.values)
    # Where a column goes up to 100, 99 is a value.
    numbers = set(_SENTINELS) if column.type in {"number", "integer", "mrd"} else set()
    return distinct & (_MISSING | numbers - ({"99"} if column.maximum == 100 else set()))


def _said(seen: Mapping[str, list[tuple[Guess, Column]]]) -> dict[str, tuple[Sure, str]]:
    """Return how sure it is that each word stands for no value, from where it stands, and why."""
    found: dict[str, tuple[Sure, str]] = {}
    for word, where in sorted(seen.items()):
        mrd = [_comment(g.theirs) for g, column in where if column.type == "mrd"]
        if word in _SENTINELS:
            found[word] = ("guess", "no value, or a number?")
        elif word not in _NOT_DETECTED or not mrd:
            found[word] = ("likely", "taken for no value")
        elif len(mrd) == len(where):
            found[word] = ("guess", f"in {mrd[0]}: not done, or not detected?")
        else:
            why = f"not done, as elsewhere; in {mrd[0]} it may mean not detected"
            found[word] = ("likely", why)
    return found


def _words(g: Guess, column: Column, values: Sequence[str]) -> None:
    """Propose our words for the words of a column that its dictionary does not know."""
    distinct = {v.strip().lower() for v in values}
    # A dash says nothing, except beside a plus.
    distinct -= MISSING - ({"-"} if "+" in distinct else set())
    if column.type == "deletion":
        if distinct <= {"-2", "-1", "0", "1", "2"} and distinct & {"-2", "-1"}:
            g.values = {"-2": "hom", "-1": "het", "0": "wt", "1": "wt", "2": "wt"}
            g.values_sure, g.values_why = "likely", "discrete copy number: -2 both, -1 one lost"
            return
        if distinct <= {"0", "1", "2"} and "2" in distinct:
            g.values = {"0": "hom", "1": "het", "2": "wt"}
            g.values_sure, g.values_why = "guess", "read as the number of copies"
            return
    if column.name == "timepoint":
        days = {v: re.fullmatch(r"(?:day|tag|jour|[dtj])?[ _]*\+?(\d+)", v) for v in distinct}
        named = {v: f"day {int(day[1])}" for v, day in sorted(days.items()) if day}
        g.values = {v: day for v, day in named.items() if timepoint_name(v) != day}
        g.values_sure, g.values_why = "likely", "days of treatment"
        return
    if column.name == "event" and _turned(g, distinct):
        return
    table = {"flag": _FLAG, "deletion": _DELETION, "mrd": _MRD_WORDS}.get(column.type, {})
    if column.name == "event":
        table = _EVENT_WORDS
    if column.name == "endpoint":
        table = {v: found for v in distinct if (found := _endpoint(plain(v)))}
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
                g.values_sure, g.values_why = _less(g.values_sure, "likely"), "usual words"
            elif near := get_close_matches(word, column.values, n=1, cutoff=0.8):
                g.values[word] = column.values[near[0]]
                g.values_sure, g.values_why = "guess", "spelt nearly as our words"


def _turned(g: Guess, distinct: set[str]) -> bool:
    """Propose the coding of an event column that does not say 1 for an event; say whether."""
    word = plain(g.theirs)
    if distinct == {"1", "2"}:
        g.values = {"1": "0", "2": "1"}
        g.values_sure, g.values_why = "guess", "2 is the event, as in R"
        return True
    kind = next((k for k, x in _INVERSE.items() if re.search(rf"(^|_)({x})(_|$)", word)), None)
    if kind is None or not distinct or not distinct <= {*YES, *NO}:
        return False
    g.values = {w: "0" if w in YES else "1" for w in sorted(distinct)}
    if kind == "alive":
        g.values_sure, g.values_why = "likely", "its name says alive, which is no event"
    else:
        g.sure = g.values_sure = "guess"
        g.why = "is 1 an event here, or censored? then use its line below, too"
        g.values_why = "its name says censored, which is no event"
    return True


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
    n = len(proposal.left)
    return [
        *lines,
        f"With this map {n} problem{'s stay' if n > 1 else ' stays'}; "
        "`ballbook check A --cohort F --map map.yml` lists each with how to mend it.",
    ]

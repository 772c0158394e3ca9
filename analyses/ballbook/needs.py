"""What an analysis needs of a cohort, and whether a reader's cohort has it.

The needs stand in ``data/dictionaries/needs.yml``; templates, checks and runs all read them there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ballbook import paths, yaml_files
from ballbook.cohort import Cohort, InvalidCohort, Problem
from ballbook.dictionaries import plain


@dataclass(frozen=True)
class Need:
    """One thing that an analysis takes from a cohort.

    Parameters
    ----------
    any : tuple of str
        Alternatives: ``patients.<column>``, ``outcomes.<endpoint>``, ``causes.<endpoint>`` (what
        the events were), ``mrd.<time point>``,
        ``drug_response.<drug>``, ``plates.<drug>``, ``expression``, ``variants`` or ``sites``
        (``samples.<column>``, ``variants.<column>``), ``breakpoints``, ``segments`` or
        ``segments.day`` (two samples of one patient), ``cells`` or ``cells.label``; ``*`` stands
        for any.
    why : str
        What it is for; or, where it is optional, what the page lacks without it.
    required : bool
    """

    any: tuple[str, ...]
    why: str
    required: bool


@dataclass(frozen=True)
class Match:
    """Whether one analysis can be run on a cohort, and what it lacks."""

    analysis: str
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]

    @property
    def accepted(self) -> bool:
        """Whether nothing that the analysis cannot do without is missing."""
        return not self.errors


def declared() -> dict[str, tuple[Need, ...]]:
    """Return the needs of every analysis that takes a reader's cohort, by slug."""
    path = paths.data() / "dictionaries" / "needs.yml"
    raw = yaml_files.read(path) if path.is_file() else {}
    return {
        slug: tuple(
            Need(tuple(need["any"]), str(need["for" if required else "without"]), required)
            for part, required in (("required", True), ("optional", False))
            for need in lists[part]
        )
        for slug, lists in raw.items()
    }


def of(slug: str, parameters: Mapping[str, Any] | None = None) -> tuple[Need, ...]:
    """Return the needs of one analysis, with the parameters (else their defaults) put in."""
    from ballbook.analyses import find

    found = declared().get(slug, ())
    values = {p.name: p.default for p in find(slug).parameters} | dict(parameters or {})

    def filled(name: str) -> str:
        # A page takes any time point where none is named, but never any endpoint.
        nothing = "*" if name.startswith("mrd.") else "(none named)"
        for key, value in values.items():
            given = str(value) if str(value).strip("* ") else nothing
            name = name.replace(f"{{{key}}}", given)
        return name

    return tuple(Need(tuple(map(filled, n.any)), n.why, n.required) for n in found)


def has(cohort: Cohort, name: str) -> bool:
    """Return whether a cohort has at least one value of ``table.column``."""
    table, _, column = name.partition(".")
    if table == "expression":
        return cohort.expression is not None
    if table in {"variants", "sites", "samples"}:
        return _has_serial(cohort, table, column)
    if table == "catalogue":
        return cohort.catalogue is not None
    if table == "cells":
        return cohort.cells is not None and (not column or column in cohort.cells.obs)
    if table in {"breakpoints", "segments"}:
        return _has_genome(cohort, table, column)
    if table == "patients":
        return column in cohort.patients and bool(cohort.patients[column].notna().any())
    outcomes = cohort.outcomes
    caused = None
    if outcomes is not None and "event_type" in outcomes:
        # Where nobody had an event there is none whose kind could be missing.
        eventful = set(outcomes.loc[outcomes["event"] == 1, "endpoint"])
        told = outcomes["event_type"].notna() & (outcomes["event"] == 1)
        caused = outcomes[told | ~outcomes["endpoint"].isin(eventful)]
    frame, key = {
        "outcomes": (outcomes, "endpoint"),
        "causes": (caused, "endpoint"),
        "mrd": (cohort.mrd, "timepoint"),
        "drug_response": (cohort.drug_response, "drug"),
        "plates": (cohort.plates, "drug"),
    }[table]
    if frame is None or frame.empty:
        return False
    if column == "*":
        return True
    # Pages find an endpoint by its very name, a time point by any spelling.
    same = plain if table == "mrd" else str
    return same(column) in {same(str(v)) for v in frame[key]}


def _has_serial(cohort: Cohort, table: str, column: str) -> bool:
    """Return whether a cohort has reads, or a value of what goes with them (1, of a control)."""
    found = cohort.serial
    if found is None or table == "variants":
        values = None if found is None else getattr(found.variants, column, found.variants.alt)
        return values is not None
    frame = getattr(found, table)
    if frame is None or not column:
        return frame is not None
    return bool(frame[column].any() if column == "control" else frame[column].notna().any())


def _has_genome(cohort: Cohort, table: str, column: str) -> bool:
    """Return whether a cohort has break points, segments, or segments of two times of a patient."""
    frame = None if cohort.genome is None else getattr(cohort.genome, table)
    if frame is None or column != "day":
        return frame is not None
    return bool((frame.groupby("patient")["day"].nunique() > 1).any())


def fit(cohort: Cohort, slug: str, parameters: Mapping[str, Any] | None = None) -> Match:
    """Return what a cohort lacks for the analysis `slug`.

    Parameters
    ----------
    parameters : mapping, optional
        Values that override the defaults of the analysis, such as ``own_endpoint``.
    """
    errors, warnings = [], []
    for need in of(slug, parameters):
        if any(has(cohort, name) for name in need.any):
            continue
        expected = " or ".join(_words(name) for name in need.any)
        if need.required:
            mend = f"needed for {need.why}; {_mend(cohort, need)}"
            errors.append(Problem(cohort.title, None, None, None, expected, mend))
        else:
            mend = f"without it {need.why}"
            warnings.append(Problem(cohort.title, None, None, None, expected, mend))
    return Match(slug, tuple(errors), tuple(warnings))


def match(cohort: Cohort) -> list[Match]:
    """Return, for every analysis that takes a cohort, what `cohort` lacks; the runnable first."""
    from ballbook.analyses import slugs

    taking = declared()
    found = [fit(cohort, slug) for slug in slugs() if slug in taking]
    return sorted(found, key=lambda m: not m.accepted)


def require(cohort: Cohort, slug: str, parameters: Mapping[str, Any] | None = None) -> None:
    """Refuse a cohort that lacks what the analysis cannot do without.

    Raises
    ------
    InvalidCohort
        Listing everything required that is missing.
    """
    if errors := fit(cohort, slug, parameters).errors:
        raise InvalidCohort(errors)


def _words(name: str) -> str:
    table, _, column = name.partition(".")
    if table == "expression":
        return "a table expression"
    if table == "catalogue":
        return "a table of the 96 channels, or variants with their genome"
    if table == "cells":
        return f"single cells{f' with {column}' if column else ''}"
    if table == "patients":
        return f"a column {column} with a value"
    if name == "segments.day":
        return "segments of two samples of a patient, with day"
    if table in {"plates", "variants", "sites", "samples", "breakpoints", "segments"}:
        return f"a table {table}" + (f" with {column}" if column not in {"", "*"} else "")
    if table == "drug_response":
        drug = "<drug>" if column == "*" else plain(column)
        return f"a table drug_response (or a column drug_{drug})"
    if table == "outcomes":
        name = plain(column)
        return f"the endpoint {column} ({name}_months and {name}_event)"
    if table == "causes":
        return f"what each event of {column} was ({plain(column)}_event_type)"
    return "MRD (mrd_day29 ...)" if column == "*" else f"MRD at {column}"


def _mend(cohort: Cohort, need: Need) -> str:
    """Say what there is instead, or where to look."""
    tables = {name.partition(".")[0] for name in need.any}
    if "outcomes" in tables and cohort.outcomes is not None and len(cohort.outcomes):
        there = ", ".join(sorted(map(str, cohort.outcomes["endpoint"].unique())))
        return f"the file has {there}: run with -p own_endpoint=NAME if that is meant"
    if "mrd" in tables and cohort.mrd is not None and len(cohort.mrd):
        there = ", ".join(sorted(map(str, cohort.mrd["timepoint"].unique())))
        return f"the file has MRD at {there}: run with -p own_timepoint=NAME if that is meant"
    return "add it, or map the column that holds it (`ballbook map --guess`)"

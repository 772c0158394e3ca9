"""Several cohorts together: each analysed where it is, their results pooled.

Groups that may not share patients share ``results.json`` alone. `combine` reads those files as
text that anybody may have written: it refuses what is not the result of a run on one own cohort,
or not of the same analysis with the same definitions, all problems at once; and it lets nothing
of a file into the report but numbers, names of the book's own claims, and cut, escaped labels.

What a group withheld stays withheld. The report is a function of the shared files alone, a cohort
without a value is in no pool, and a number of patients is added up only where every cohort of the
pool gives its own.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import platform
import re
import time
import unicodedata
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ballbook import __version__, analyses, beside, bibliography, claims, figures, paths, render
from ballbook import pooling as pools
from ballbook.claims import Claim
from ballbook.notebook import (
    NAME,
    SHOWN_PACKAGES,
    UNPROTECTED,
    library_sha256,
    sha256,
    write_csv,
    write_json,
)
from ballbook.pooling import Pool
from ballbook.results import (
    PERCENT_KINDS,
    Estimate,
    Gate,
    Verdict,
    as_json,
    format_p,
)
from ballbook.run import check_target, placed, run
from ballbook.scales import SCALES

# A results.json of the book has 0.2 MB at most.
LARGEST_FILE = 5_000_000
LARGEST_NUMBER = 1e300
MOST_ESTIMATES, MOST_PROBLEMS = 2_000, 8
# May differ from cohort to cohort: where it is, what is hidden, what is drawn at random.
FREE = frozenset({"cohort", "min_count", "seed"})
TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
HASH = re.compile(r"[0-9a-f]{64}")
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
PER_FIGURE = 5


class NotCombinable(ValueError):
    """Results that cannot be pooled; `problems` holds (file, what is wrong) of everything."""

    def __init__(self, problems: Iterable[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        n = len(self.problems)
        lines = [f"{n} problem{'s' if n != 1 else ''}; nothing was combined:"]
        lines += [f"  {file}: {what}" if file else f"  {what}" for file, what in self.problems]
        super().__init__("\n".join(lines))


@dataclass(frozen=True)
class Result:
    """The result of one run on one own cohort, read from a file.

    Attributes
    ----------
    name : str
        Kebab-case name of the cohort in the report, unique.
    sha256 : str
        Of the file.
    cohort : frozenset of str
        SHA-256 of the files of the cohort.
    own : dict
        Estimates of the own cohort by id.
    links : dict
        Claim to the id of the own estimate that judged it.
    """

    name: str
    sha256: str
    analysis: str
    tier: str
    n: int | None
    cohort: frozenset[str]
    parameters: Mapping[str, Any]
    own: Mapping[str, Estimate]
    links: Mapping[str, str]
    gates: tuple[Gate, ...]
    provenance: Mapping[str, Any]


# ------------------------------------------------------------------------------ reading


def plain(text: Any, length: int = 80) -> str:
    """Return text of a file on one line: no control or invisible characters, cut to `length`."""
    kept = (
        " " if c.isspace() else c
        for c in str(text)[: 20 * length]
        if c.isspace() or unicodedata.category(c)[0] != "C"
    )
    line = re.sub(" +", " ", "".join(kept)).strip()
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def safe_name(text: str) -> str:
    """Return a kebab-case name that is safe as a folder, of at most 40 characters."""
    ascii_ = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return "-".join(re.findall(r"[a-z0-9]+", ascii_.lower()))[:40].strip("-") or "cohort"


def unique_names(names: Sequence[str]) -> list[str]:
    """Return `names` with numbers added to those that repeat."""
    taken: set[str] = set()
    found = []
    for name in names:
        numbered = (f"{name}-{i}" for i in itertools.count(2))
        free = name if name not in taken else next(n for n in numbered if n not in taken)
        taken.add(free)
        found.append(free)
    return found


def read(file: Path) -> dict[str, Any]:
    """Return the content of a ``results.json``, checked against its schema.

    Raises
    ------
    ValueError
        In one line a problem, whatever the file holds.
    """
    if file.is_dir():
        file = file / "results.json"
    if not file.is_file():
        raise ValueError("no such file" if not file.exists() else "not a file")
    if (size := file.stat().st_size) > LARGEST_FILE:
        raise ValueError(
            f"{size / 1e6:.0f} MB; a results.json has at most {LARGEST_FILE / 1e6:.0f} MB"
        )
    try:
        content = json.loads(
            file.read_bytes().decode("utf-8-sig"), parse_constant=_refuse, parse_float=_number,
            parse_int=_number,
        )  # fmt: skip
    except RecursionError:
        raise ValueError("not a results.json: nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("not JSON: not UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {plain(error, 100)}") from None
    if problems := _against_schema(content) or list(_beyond_schema(content)):
        raise ValueError("\n".join(problems))
    return dict(content)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")


def _number(text: str) -> float | int:
    value = float(text) if len(text) < 400 else math.inf
    if not abs(value) < LARGEST_NUMBER:
        raise ValueError(f"the number {text[:20]}... is out of range")
    return int(text) if re.fullmatch(r"-?\d{1,15}", text) else value


def _against_schema(content: Any) -> list[str]:
    from jsonschema import Draft202012Validator

    schema = json.loads(Path(__file__).with_name("results.schema.json").read_text(encoding="utf8"))
    try:
        errors = list(
            itertools.islice(Draft202012Validator(schema).iter_errors(content), MOST_PROBLEMS)
        )
        return [
            f"not a results.json: {plain(e.json_path, 60)}: {plain(e.message, 120)}" for e in errors
        ]
    except RecursionError:
        return ["not a results.json: nested too deeply"]


def _beyond_schema(content: Mapping[str, Any]) -> Iterable[str]:
    """Yield what the schema lets pass and no run of the book writes."""
    if not NAME.fullmatch(content["analysis"]) or len(content["analysis"]) > 80:
        yield "analysis: expected the name of an analysis"
    for name, value in content["parameters"].items():
        values = value if isinstance(value, list) else [value]
        if not name.isidentifier() or not name.isascii() or len(name) > 60:
            yield f"parameters: {plain(name, 40)!r} is no name of a parameter"
        elif len(values) > 100 or any(not isinstance(v, (str, int, float)) for v in values):
            yield f"parameter {name}: expected a number, a text or a short list of them"
        elif any(isinstance(v, str) and v != plain(v, 200) for v in values):
            yield f"parameter {name}: the text is too long or holds characters that do not print"
    rows = content["estimates"]
    if len(rows) > MOST_ESTIMATES:
        yield f"{len(rows):,} estimates; a run has at most {MOST_ESTIMATES:,}"
    for id, times in Counter(e["id"] for e in rows).items():
        if times > 1:
            yield f"estimate {plain(id)}: stands {times} times"
    for e in rows:
        yield from (f"estimate {plain(e['id'])}: {what}" for what in _absurd(e))
    if (n := content["cohort"]["n"]) is not None and not 0 < n < 1e9:
        yield "cohort: n is no number of patients"
    record = content["provenance"]
    for key in ("library_sha256", "notebook_sha256", "lock_sha256"):
        if not isinstance(record[key], str) or not HASH.fullmatch(record[key]):
            yield f"provenance: {key} is no SHA-256"


def _absurd(e: Mapping[str, Any]) -> Iterable[str]:
    if not NAME.fullmatch(e["id"]) or len(e["id"]) > 80:
        yield "the id is too long or not lower-case words joined by hyphens"
    if any(e[c] is not None and not 0 <= e[c] < 1e9 for c in ("n", "n_events")):
        yield "n or n_events is no number of patients"
    low, high, level = e["ci_low"], e["ci_high"], e["ci_level"]
    if low is not None and high is not None and low > high:
        yield "the bounds of its interval are out of order"
    if level is not None and not 0.5 <= level < 1:
        yield f"an interval at the level {level:g}"
    fraction = e["kind"] in {"proportion", "survival", "cumulative-incidence"}
    if fraction and any(v is not None and not 0 <= v <= 1 for v in (e["value"], low, high)):
        yield "a fraction outside 0 to 1"


def _given(file: Path) -> str:
    """Return a path as it may be printed on a terminal."""
    return plain(file, 160)


def load(files: Sequence[Path], names: Sequence[str] | None = None) -> list[Result]:
    """Return the results in `files`, ordered by name.

    Parameters
    ----------
    files : sequence of Path
        Each a ``results.json`` under any name, or a folder that holds one.
    names : sequence of str, optional
        Names of the cohorts; else from the name of the file or folder, or where that is
        ``results.json``, from the id of the cohort inside.

    Raises
    ------
    NotCombinable
        With every problem of every file, and of all together.
    """
    problems: list[tuple[str, str]] = []
    found: list[tuple[str, Path, Result]] = []
    if len(files) < 2:
        problems.append(
            ("", f"{NUMBER_WORDS[len(files)]} file is given; two or more can be combined")
        )
    for i, file in enumerate(files):
        try:
            content = read(file)
        except (ValueError, OSError) as error:
            said = str(error) if isinstance(error, ValueError) else "cannot be read"
            problems += [(_given(file), line) for line in said.split("\n")]
            continue
        if why := list(_not_own(content)):
            problems += [(_given(file), line) for line in why]
            continue
        inside = file / "results.json" if file.is_dir() else file
        stem = file.resolve().name if file.is_dir() else file.stem
        if stem == "results":
            stem = str(content["cohort"]["id"] or "cohort")
        name = names[i] if names else safe_name(stem)
        digest = hashlib.sha256(inside.read_bytes()).hexdigest()
        found.append((digest, file, _result(name, digest, content)))
    problems += _at_odds([(file, r) for _, file, r in found])
    if problems:
        raise NotCombinable(problems)
    # By name and checksum, so that the order in which files are given does not matter.
    loaded = sorted((r for _, _, r in found), key=lambda r: (r.name, r.sha256))
    unique = unique_names([r.name for r in loaded])
    return [replace(r, name=name) for r, name in zip(loaded, unique, strict=True)]


def _not_own(content: Mapping[str, Any]) -> Iterable[str]:
    cohort, own = content["cohort"], content["parameters"].get("cohort") == "(yours)"
    if "combined" in content["provenance"]:
        yield "is a combination already; give the results.json of each of its cohorts"
    elif not own or cohort["tier"] not in {"yours", "simulated"}:
        yield "is the result of a run without an own cohort"
    elif not cohort["sha256"]:
        yield "holds no checksum of its cohort"


def _result(name: str, digest: str, content: Mapping[str, Any]) -> Result:
    tier = content["cohort"]["tier"]
    known = {f.name for f in fields(Estimate)}
    raw = {
        e["id"]: Estimate(**{k: v for k, v in e.items() if k in known})
        for e in content["estimates"]
        if e["tier"] == tier and (tier == "yours" or e["id"].startswith("own-"))
    }
    said = {claims.in_words(e): id for id, e in raw.items()}
    # Another release may print numbers otherwise: then the label before the colon tells.
    labels = Counter(e.label for e in raw.values())
    by_label = {e.label: id for id, e in raw.items() if labels[e.label] == 1}
    links = {}
    for v in content["verdicts"]:
        id = said.get(v["recomputed"]) or by_label.get(v["recomputed"].partition(": ")[0])
        if v["tier"] == tier and id is not None:
            links[v["claim"]] = id
    record, hashes = content["provenance"], content["cohort"]["sha256"]
    own = {id: _plain_estimate(e) for id, e in raw.items()}
    return Result(
        name, digest, content["analysis"], tier, content["cohort"]["n"],
        frozenset([hashes] if isinstance(hashes, str) else hashes), content["parameters"], own,
        links, tuple(Gate(**g) for g in content["gates"]),
        {
            "started": record["started"] if TIMESTAMP.fullmatch(str(record["started"])) else "?",
            "version": plain(record["version"], 20),
            **{k: record[k] for k in ("library_sha256", "notebook_sha256", "lock_sha256")},
        },
    )  # fmt: skip


def _plain_estimate(e: Estimate) -> Estimate:
    def whole(count: float | None) -> int | None:
        return None if count is None else int(count)

    return replace(
        e, kind=plain(e.kind, 40), label=plain(e.label), method=plain(e.method, 200),
        unit=None if e.unit is None else plain(e.unit, 30), n=whole(e.n),
        n_events=whole(e.n_events), reason=None if e.reason is None else plain(e.reason, 160),
    )  # fmt: skip


def _at_odds(found: Sequence[tuple[Path, Result]]) -> list[tuple[str, str]]:
    """Return why results cannot stand in one pool: each compared with the first."""
    problems = []
    for (a, b), (c, d) in itertools.combinations(found, 2):
        if b.cohort <= d.cohort or d.cohort <= b.cohort:
            problems.append((_given(c), f"has the same cohort as {_given(a)}: same checksum"))
    if not found:
        return problems
    first_file, first = found[0]
    for file, result in found[1:]:
        if result.analysis != first.analysis:
            what = f"is of {result.analysis}, and {_given(first_file)} of {first.analysis}"
            problems.append((_given(file), what))
            continue
        if result.tier != first.tier:
            what = f"one of it and {_given(first_file)} has invented patients, the other real ones"
            problems.append((_given(file), what))
        for name in sorted({*first.parameters, *result.parameters} - FREE):
            here, there = (
                repr(r.parameters[name]) if name in r.parameters else "not given"
                for r in (result, first)
            )
            if here != there and not _equal(result, first, name):
                what = f"parameter {name} is {here}, in {_given(first_file)} it is {there}"
                problems.append((_given(file), what))
    for analysis in sorted({r.analysis for _, r in found}):
        try:
            analyses.find(analysis)
        except analyses.UnknownAnalysis as error:
            problems.append(("", str(error.args[0])))
    return problems


def _equal(a: Result, b: Result, name: str) -> bool:
    """Tell whether a parameter is the same number: 5 and 5.0 are, 1 and true are not."""
    if not (name in a.parameters and name in b.parameters):
        return False
    left, right = a.parameters[name], b.parameters[name]
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def doubts(results: Sequence[Result], *, shared: Collection[str] = ()) -> list[str]:
    """Return what a reader should know before trusting the pool, in sentences.

    Parameters
    ----------
    shared : collection of str
        SHA-256 of files that cohorts may well have in common, such as a column map.
    """
    found = []
    for key, what in (
        ("library_sha256", "the library"), ("notebook_sha256", "the notebook"),
        ("lock_sha256", "the software packages"),
    ):  # fmt: skip
        by: dict[str, list[str]] = {}
        for r in results:
            by.setdefault(r.provenance[key], []).append(r.name)
        if len(by) > 1:
            groups = " and ".join(f"{h[:12]} ({', '.join(names)})" for h, names in by.items())
            found.append(
                f"The cohorts were analysed with different versions of {what}: {groups}. Their "
                "estimates may not mean the same; run all of them with one version."
            )
    for a, b in itertools.combinations(results, 2):
        if (a.cohort & b.cohort) - set(shared):
            found.append(
                f"{a.name} and {b.name} share a file: a common column map, or the same patients?"
            )
        values = [(e.value, b.own[i].value) for i, e in a.own.items() if i in b.own]
        values = [(x, y) for x, y in values if x is not None]
        if values and all(x == y for x, y in values):
            found.append(
                f"{a.name} and {b.name} have the same estimates to the last digit: the same "
                "patients, saved twice? Patients who are counted twice make the pool too sure."
            )
    for id, rows in _by_id(results).items():
        if len(labels := sorted({e.label for e in rows.values()})) > 1:
            found.append(f"{id} is labelled differently: {'; '.join(labels)}.")
    return found


# ------------------------------------------------------------------------------ pooling


@dataclass(frozen=True)
class Quantity:
    """One own estimate over all cohorts: its label, its pool, the claims it judges."""

    id: str
    label: str
    given: Mapping[str, Estimate]
    pool: Pool | None
    left_out: Mapping[str, str]
    claims: tuple[Claim, ...] = ()

    @property
    def pooled(self) -> Estimate:
        """The pooled estimate under its own id and label."""
        assert self.pool is not None
        label = f"{self.label}, {number(len(self.pool.inside))} cohorts"
        return self.pool.pooled.named(f"pooled-{self.id}", label)


def number(n: int) -> str:
    """Return a small number as a word."""
    return NUMBER_WORDS[n] if n < len(NUMBER_WORDS) else str(n)


def _by_id(results: Sequence[Result]) -> dict[str, dict[str, Estimate]]:
    """Return the own estimates of all results: id to cohort to estimate."""
    found: dict[str, dict[str, Estimate]] = {}
    for r in results:
        for id, e in r.own.items():
            found.setdefault(id, {})[r.name] = e
    return found


def quantities(results: Sequence[Result]) -> list[Quantity]:
    """Return every own estimate of any result, pooled where that is possible, else with reasons."""
    judged: dict[str, set[str]] = {}
    for r in results:
        for claim, id in r.links.items():
            judged.setdefault(claim, set()).add(id)
    known = {c.id: c for c in claims.of_analysis(results[0].analysis)}
    found = []
    for id, given in _by_id(results).items():
        label = min(e.label for e in given.values())
        label = re.sub(r"^Your cohort[,:]?\s*", "", label) or id
        label = label[0].upper() + label[1:]
        lacking = {r.name: "not in its results" for r in results if r.name not in given}
        of = tuple(
            known[c]
            for c, ids in sorted(judged.items())
            if ids == {id} and c in known and known[c].kind not in claims.WITHOUT_VERDICT
        )
        kind = next(iter(given.values())).kind
        why = _not_pooled(given)
        if why is not None:
            found.append(Quantity(id, label, given, None, dict.fromkeys(given, why) | lacking))
            continue
        pool = pools.pool(given)
        of = tuple(c for c in of if _comparable(c, kind))
        found.append(Quantity(id, label, given, pool, {**pool.outside, **lacking}, of))
    return found


def _not_pooled(given: Mapping[str, Estimate]) -> str | None:
    kinds = sorted({e.kind for e in given.values()})
    if len(kinds) > 1:
        return f"kinds differ: {', '.join(kinds)}"
    if len(units := sorted({str(e.unit) for e in given.values()})) > 1:
        return f"units differ: {', '.join(units)}"
    if reason := pools.NOT_A_SIZE.get(kinds[0]):
        return reason
    if kinds[0] not in SCALES:
        return f"a {kinds[0].replace('-', ' ')} is not pooled"
    return "only one cohort gives it" if len(given) < 2 else None


def _comparable(claim: Claim, kind: str) -> bool:
    return claim.kind in {"direction", "p-value"} or SCALES.get(claim.kind) is SCALES[kind]


# ------------------------------------------------------------------------------ the folder


def combine(files: Sequence[Path], out: Path) -> Path:
    """Pool the results in `files` and write report, results, figures and tables to `out`.

    Returns
    -------
    Path
        The folder with ``report.html``, ``results.json``, ``provenance.json``, ``figures/`` and
        ``tables/``; an earlier run there is replaced.

    Raises
    ------
    NotCombinable, NotEmpty
        The input is refused; nothing was written.
    """
    target = out.expanduser().resolve()
    check_target(target)
    results = load(files)
    inside = [f for f in files if f.resolve().is_relative_to(target)]
    if inside:
        raise NotCombinable(
            (_given(f), "lies in the output folder, which would be replaced; choose another")
            for f in inside
        )
    with placed(target) as work:
        write(results, work)
    return target


def run_cohorts(
    slug: str,
    cohorts: Sequence[str],
    *,
    parameters: Mapping[str, Any] | None = None,
    out: Path | None = None,
    column_maps: Sequence[str] = (),
) -> Path:
    """Run one analysis on each of several cohorts, and pool their results.

    Parameters
    ----------
    slug : str
        Name of the analysis.
    cohorts : sequence of str
        Two or more tables or folders of tables.
    parameters : mapping, optional
        As `ballbook.run.run` takes them, for all cohorts.
    out : Path, optional
        Folder of the outputs: the pool, and a folder for each cohort named after its file.
    column_maps : sequence of str
        None, one for all, or one a cohort.

    Raises
    ------
    NotCombinable
        Numbers of maps and cohorts do not fit, or a cohort is given twice.
    InvalidCohort
        With the problems of all cohorts; no kernel was started.
    UnknownAnalysis, InvalidParameters, NotEmpty, Unavailable, RunFailed
        As `ballbook.run.run` raises them.
    """
    from ballbook import needs
    from ballbook.cohort import InvalidCohort, read_cohort
    from ballbook.parameters import resolve
    from ballbook.run import RunFailed

    if len(column_maps) not in {0, 1, len(cohorts)}:
        raise NotCombinable(
            [("", f"{len(column_maps)} maps for {len(cohorts)} cohorts: give one, or one for each")]
        )
    values = resolve(analyses.find(slug).parameters, parameters or {})
    target = (out or paths.build() / "runs" / slug).resolve()
    check_target(target)
    each = list(column_maps) if len(column_maps) == len(cohorts) else [*column_maps] * len(cohorts)
    maps: list[str | None] = list(each) or [None] * len(cohorts)
    wrong, seen, repeated = [], dict[frozenset[str], str](), []
    shared: set[str] = set()
    for file, column_map in zip(cohorts, maps, strict=True):
        given = str(Path(file).expanduser().resolve())
        try:
            cohort = read_cohort(given, column_map)
            needs.require(cohort, slug, {**values, "cohort": given})
        except InvalidCohort as error:
            wrong += list(error.problems)
            continue
        hashes = frozenset(h for name, h in cohort.files.items() if name != "map.yml")
        shared |= {h for name, h in cohort.files.items() if name == "map.yml"}
        if hashes in seen:
            what = f"is the same cohort as {_given(Path(seen[hashes]))}: same checksum"
            repeated.append((_given(Path(file)), what))
        seen[hashes] = file
    if wrong:
        raise InvalidCohort(wrong)
    if repeated:
        raise NotCombinable(repeated)
    names = unique_names([safe_name(Path(c).expanduser().resolve().stem) for c in cohorts])
    # What the pool writes beside the folders of the cohorts.
    names = [f"cohort-{n}" if n in {"figures", "tables"} else n for n in names]
    with placed(target) as work:
        folders = []
        for name, file, column_map in zip(names, cohorts, maps, strict=True):
            try:
                folders.append(
                    run(
                        slug, parameters={**(parameters or {}), "cohort": file}, out=work / name,
                        column_map=column_map,
                    )
                )  # fmt: skip
            except RunFailed as error:
                raise RunFailed(f"{name}: {error}") from None
        write(load([f / "results.json" for f in folders], names), work, shared=shared)
    return target


def write(results: Sequence[Result], folder: Path, *, shared: Collection[str] = ()) -> None:
    """Write the pool of `results` into `folder`."""
    _Report(results, folder, shared).write()


class _Report:
    """What `write` puts together: the parts of the page in their order, and the files."""

    def __init__(self, results: Sequence[Result], folder: Path, shared: Collection[str]) -> None:
        self.results, self.folder = results, folder
        self.started, self.clock = datetime.now(UTC), time.perf_counter()
        self.analysis = analyses.find(results[0].analysis)
        self.rows = quantities(results)
        self.pooled = [q for q in self.rows if q.pool is not None]
        self.usable = [q for q in self.pooled if q.pooled.value is not None]
        self.doubts = doubts(results, shared=shared)
        self.verdicts = self._verdicts()
        self.gates = self._gates()
        self.parts: list[tuple[str, str]] = []
        self.figures = 0

    def write(self) -> None:
        for name in ("figures", "tables"):
            (self.folder / name).mkdir(parents=True)
        provenance = self._provenance()
        content = {
            "analysis": self.analysis.slug,
            "summary": self._summary(),
            "certainty": self._certainty(),
            "parameters": self._parameters(),
            "cohort": {
                "id": "combined",
                "tier": self.results[0].tier,
                "n": _sum([r.n for r in self.results]),
                "sha256": sorted(set().union(*(r.cohort for r in self.results))),
            },
            "estimates": [as_json(e) for e in self._estimates()],
            "gates": [as_json(g) for g in self.gates],
            "verdicts": [as_json(v) for v in self.verdicts],
            "provenance": provenance,
        }
        self._page(content)
        provenance["seconds"] = round(time.perf_counter() - self.clock, 2)
        write_json(content, self.folder / "results.json")
        write_json(provenance, self.folder / "provenance.json")
        (self.folder / "report.html").write_text(self._html(), encoding="utf8")

    # What is said

    def _verdicts(self) -> list[Verdict]:
        return [
            claims.judge(c, q.pooled, note=f"{number(len(q.pool.inside)).capitalize()} cohorts.")
            for q in self.pooled
            if q.pool is not None
            for c in q.claims
        ]

    def _gates(self) -> list[Gate]:
        found = []
        for q in self.usable:
            assert q.pool is not None
            k, p = len(q.pool.inside), q.pool.q.value
            found.append(
                Gate(
                    f"{q.label}: cohorts enough to see how much they vary",
                    "passed" if k >= 5 else "failed", float(k), 5.0,
                    "the wider of two intervals is used; read the variation as unknown"
                    if k < 5 else "",
                )
            )  # fmt: skip
            if p is not None:
                found.append(
                    Gate(
                        f"{q.label}: cohorts agree (P of Cochran's Q or of its like)",
                        "passed" if p >= 0.1 else "failed", p, 0.1,
                        "" if p >= 0.1 else "look at the cohorts one by one before the mean",
                    )
                )  # fmt: skip
        return found

    def _estimates(self) -> list[Estimate]:
        found = []
        for q in self.pooled:
            p, tier = q.pool, self.results[0].tier
            assert p is not None
            found.append(q.pooled)
            if q.pooled.value is None:
                continue
            for what, e, words in (
                *((n, e, f"{n} interval") for n, e in p.intervals.items()),
                ("q", p.q, "test of heterogeneity"),
                ("i2", p.i2, "share of variation between cohorts (I²)"),
                ("tau2", p.tau2, "variance between cohorts (tau²)"),
                ("prediction", p.prediction, "expected in a new cohort"),
            ):
                what = what.lower().replace(" ", "-")
                found.append(e.named(f"{what}-{q.id}", f"{q.label}, {words}", tier=tier))
        return found

    def _summary(self) -> str:
        k = number(len(self.results))
        if self.results[0].tier == "simulated":
            k = f"{render.DUMMY}. {k}"
        if not self.usable:
            return (
                f"{k[0].upper()}{k[1:]} cohorts, but no estimate that can be pooled: each is "
                "withheld, missing or without an interval in all cohorts but one."
            )
        q = self.usable[0]
        assert q.pool is not None
        inside = number(len(q.pool.inside))
        of = "" if len(q.pool.inside) == len(self.results) else f" ({inside} of them pooled)"
        words = claims.in_words(replace(bare(q.pooled), label=q.label))
        said = f"{k[0].upper()}{k[1:]} cohorts together{of}: {words}."
        p = q.pool.q.value
        if p is None:
            return said
        if p < 0.1:
            return f"{said} They differ by more than chance (P = {format_p(p)})."
        return f"{said} No difference beyond chance is seen between them (P = {format_p(p)})."

    def _certainty(self) -> str:
        if not self.usable:
            return ""
        q = self.usable[0]
        assert q.pool is not None
        e, null, k = q.pooled, SCALES[q.pooled.kind].null, number(len(q.pool.inside))
        few = f"{k} cohorts hardly tell how much cohorts vary"
        if len(q.pool.inside) >= 5:
            few = f"the interval allows for the variation between these {k} cohorts"
        if null is None:
            return f"Another cohort may lie elsewhere: {few}."
        low, high = e.ci_low, e.ci_high
        if low is not None and high is not None and not low <= null <= high:
            return f"Fairly sure of the direction, less of the size: {few}."
        return f"Unsure even of the direction, since the interval includes no effect: {few}."

    def _parameters(self) -> dict[str, Any]:
        counts = [r.parameters["min_count"] for r in self.results if "min_count" in r.parameters]
        common = {k: v for k, v in self.results[0].parameters.items() if k not in FREE}
        return {"cohort": "(yours)", **({"min_count": min(counts)} if counts else {}), **common}

    def _provenance(self) -> dict[str, Any]:
        data = {
            r.name: {"results.json": r.sha256}
            | {f"cohort file {i}": h for i, h in enumerate(sorted(r.cohort), 1)}
            for r in self.results
        }
        return {
            "started": self.started.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "seconds": 0.0,
            "version": __version__,
            "library_sha256": library_sha256(),
            "notebook_sha256": str(self.analysis.meta["sha256"]),
            "lock_sha256": sha256(paths.root() / "env" / "lock.txt"),
            "data": data,
            "seed": 0,
            "python": platform.python_version(),
            "packages": {name: version(name) for name in SHOWN_PACKAGES},
            "combined": [{"cohort": r.name, **r.provenance} for r in self.results],
        }

    # What is shown

    def _page(self, content: Mapping[str, Any]) -> None:
        wanted = list(self.analysis.meta["headline"])
        first = [v for v in self.verdicts if v.claim in wanted] or self.verdicts
        self._say(f"# {self.analysis.meta['title']}: {number(len(self.results))} cohorts combined")
        self._show(
            render.answer(content["summary"], content["certainty"], first[:3], claims.read())
        )
        if content["parameters"].get("min_count") == 0:
            self._show(f'<aside class="bb-recorded" role="note">{UNPROTECTED}</aside>')
        if self.results[0].tier == "simulated":
            self._show(render.dummy_label())
        for doubt in self.doubts:
            self._show(
                f'<aside class="bb-recorded" role="note"><strong>Look first.</strong> '
                f"{escape(doubt)}</aside>"
            )
        self._cohorts()
        self._say(METHODS)
        self._forests()
        self._numbers()
        self._left_out()
        if self.verdicts:
            self._say("## Verdicts")
            self._show(render.verdicts(self.verdicts, claims.read()))
        if self.gates:
            self._say("## Assumptions")
            self._show(render.gates(self.gates))
        self._failed_gates()
        self._show(
            "<p>All numbers of this page as data: "
            + render.downloads({"results.json": "results.json"})
            + "</p>"
            + render.provenance(content["provenance"], content["parameters"])
        )

    def _cohorts(self) -> None:
        given = [[e.value is not None for e in r.own.values()] for r in self.results]
        table = pd.DataFrame(
            {
                "cohort": [r.name for r in self.results],
                "n": ["withheld" if r.n is None else f"{r.n:,}" for r in self.results],
                "estimates": list(map(sum, given)),
                "without_value": [g.count(False) for g in given],
                "run": [str(r.provenance["started"])[:10] for r in self.results],
                "code": [r.provenance["library_sha256"][:12] for r in self.results],
            }
        )  # fmt: skip
        self._say("## The cohorts")
        self._table(
            table, "cohorts",
            {
                "cohort": "Cohort", "n": "Patients", "estimates": "Estimates",
                "without_value": "Withheld or missing", "run": "Run", "code": "Code",
            },
            "Only these summaries were read, no patient rows. Patients: of the cohort's first "
            "estimate, as its results give them.",
        )  # fmt: skip

    def _forests(self) -> None:
        families: dict[tuple[str, str | None], list[Quantity]] = {}
        for q in self.usable:
            families.setdefault((q.pooled.kind, q.pooled.unit), []).append(q)
        for (kind, unit), rows in families.items():
            pages = [rows[i : i + PER_FIGURE] for i in range(0, len(rows), PER_FIGURE)]
            for i, some in enumerate(pages):
                name = f"forest-{kind}" + (f"-{safe_name(unit)}" if unit else "")
                self._forest(some, name + (f"-{i + 1}" if len(pages) > 1 else ""))

    def _forest(self, rows: Sequence[Quantity], name: str) -> None:
        import matplotlib.pyplot as plt

        kind, unit = rows[0].pooled.kind, rows[0].pooled.unit
        table, cut = forest_rows(rows), False
        words = kind.replace("-", " ").capitalize()
        unit = "%" if kind in PERCENT_KINDS else unit
        scale = SCALES[kind]
        with warnings.catch_warnings(), figures.style():
            # A label may hold letters that the font lacks.
            warnings.simplefilter("ignore")
            shown = table.assign(label=[figure_text(v) for v in table["label"]])
            drawn = figures.forest(
                shown, null=scale.null, log=scale.name == "log",
                xlabel=figure_text(f"{words}{f', {unit}' if unit else ''} (95% interval)"),
            )  # fmt: skip
            ax = drawn.axes[0]
            limits = reach(rows, log=scale.name == "log")
            inner = table.loc[table["kind"] != "heading", ["ci_low", "ci_high"]]
            cut = bool((inner["ci_low"] < limits[0]).any() or (inner["ci_high"] > limits[1]).any())
            ax.set_xlim(*limits)
            open_ends(ax, table, limits)
            drawing = figures.svg(drawn, name)
            drawn.savefig(
                self.folder / "figures" / f"{name}.png", dpi=130, bbox_inches="tight",
                metadata={"Software": None},
            )  # fmt: skip
            plt.close(drawn)
        (self.folder / "figures" / f"{name}.svg").write_text(drawing, encoding="utf8")
        write_csv(table, self.folder / "figures" / f"{name}.csv")
        self.figures += 1
        first = rows[0]
        caption = (
            f"{first.label}: {bare(first.pooled)}. Your cohorts in orange, sized by weight; "
            "published numbers in blue; the diamond is the pool by the interval that judges claims."
        )
        if cut:
            caption += " Intervals that reach the edge go on beyond it; the numbers are in full."
        alt = "Forest plot. " + "; ".join(f"{q.label}, pooled {bare(q.pooled)}" for q in rows)
        links = {k: f"figures/{name}.{k.lower()}" for k in ("SVG", "PNG", "CSV")}
        self._show(
            render.figure(name, figures.themed(drawing, name, alt), caption, self.figures, links)
        )

    def _numbers(self) -> None:
        if not self.usable:
            return
        table = pools.frame({q.label: q.pool for q in self.usable if q.pool is not None})
        columns = {
            "quantity": "Quantity", "cohorts": "Cohorts", "pooled": "Pooled, judged by this",
            "normal": "Normal interval", "hartung_knapp": "Hartung-Knapp",
            "common_effect": "Common effect", "q": "Q", "q_p": "P", "i2": "I²", "tau2": "tau²",
            "prediction": "In a new cohort",
        }  # fmt: skip
        table["i2"] = ["–" if pd.isna(v) else f"{100 * v:.0f}%" for v in table["i2"].astype(float)]
        known = {c: h for c, h in columns.items() if table[c].notna().any()}
        self._table(
            table, "pooled", known,
            "The same mean with every interval, and how much the cohorts differ. A new cohort: "
            "where its true value is expected, which needs three cohorts.",
        )  # fmt: skip
        out = [
            {"quantity": q.label, "without": gone, "pooled": str(bare(e))}
            for q in self.usable
            for gone, e in pools.leave_one_out(q.given).items()
        ]
        if out:
            self._say("## Does it hang on one cohort?")
            self._table(
                pd.DataFrame(out), "leave-one-out",
                {"quantity": "Quantity", "without": "Without", "pooled": "Pooled"},
                "Each cohort left out in turn.",
            )  # fmt: skip

    def _left_out(self) -> None:
        rows = [
            {"quantity": q.label, "cohort": name, "why": why}
            for q in self.rows
            for name, why in q.left_out.items()
        ]
        self._say("## What is not in the pool")
        if not rows:
            self._say("Every own estimate of every cohort is pooled.")
            return
        self._table(
            pd.DataFrame(rows), "not-pooled",
            {"quantity": "Quantity", "cohort": "Cohort", "why": "Why"},
            "Own estimates that are left out, with the reason that the cohort's results give, if "
            "they give one. Nothing is put in their place.",
        )  # fmt: skip

    def _failed_gates(self) -> None:
        """Show the gates that failed in some cohorts only: those on open data fail in all."""
        everywhere = set.intersection(*(set(r.gates) for r in self.results))
        rows = [
            {"cohort": r.name, "gate": plain(g.name), "action": plain(g.action, 200)}
            for r in self.results
            for g in r.gates
            if g.status == "failed" and g not in everywhere
        ]
        if rows:
            self._table(
                pd.DataFrame(rows[:100]), "failed-in-a-cohort",
                {"cohort": "Cohort", "gate": "Assumption", "action": "What was done"},
                "Assumptions that failed in a cohort, as its own run says.",
            )  # fmt: skip

    def _table(
        self, frame: pd.DataFrame, name: str, columns: Mapping[str, str], caption: str
    ) -> None:
        write_csv(frame, self.folder / "tables" / f"{name}.csv")
        shown = frame[list(columns)].rename(columns=dict(columns))
        self._show(render.table(shown, caption=caption, download=f"tables/{name}.csv"))

    def _say(self, markdown: str) -> None:
        self.parts.append(("markdown", markdown))

    def _show(self, html: str) -> None:
        self.parts.append(("html", html))

    def _html(self) -> str:
        from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

        from ballbook import report

        cells = []
        for kind, body in self.parts:
            if kind == "markdown":
                cells.append(new_markdown_cell(body))
                continue
            cell = new_code_cell("", metadata={"tags": ["remove-input"]})
            cell.outputs = [new_output("display_data", data={"text/html": body})]
            cells.append(cell)
        return report.html(self.analysis.meta, new_notebook(cells=cells))


METHODS = r"""## Together

Each estimate is moved to the scale of its kind: the logarithm for ratios and medians, the logit for
proportions, $\ln(-\ln S)$ for survival, $\operatorname{artanh} r$ for correlations, none for
differences. There its standard error is what its interval implies,

$$s_i = \frac{g(U_i) - g(L_i)}{2z} .$$

The pool is a random-effects mean by REML with weights $1/(s_i^2 + \tau^2)$. Its interval is the
wider of the normal one and that of Hartung and Knapp {cite:p}`hartung2001,knapp2003`, the rule by
which the whole book judges pooled effects; with two cohorts nearly every answer is then that they
are too few. Proportions for which every cohort gives its counts are pooled by these, in a logistic
model with a random intercept, whose interval is normal. Heterogeneity is tested by Cochran's $Q$,
or there by the likelihood ratio."""


def bare(e: Estimate) -> Estimate:
    """Return an estimate without P value and counts, for sentences."""
    return replace(e, p_value=None, n=None, n_events=None)


def figure_text(text: str, length: int = 52) -> str:
    """Return text that a figure shows as it is: a dollar sign would start a formula."""
    return plain(text, length).replace("$", r"\$")


def forest_rows(rows: Iterable[Quantity]) -> pd.DataFrame:
    """Return rows for `ballbook.figures.forest`: claims, cohorts, pool; fractions as per cent."""
    short = bibliography.short()
    table: list[dict[str, Any]] = []

    def add(kind: str, label: str, e: Estimate, weight: float | None = None) -> None:
        factor = 100.0 if e.kind in PERCENT_KINDS else 1.0
        points = {
            c: math.nan if (v := getattr(e, c)) is None else v * factor
            for c in ("value", "ci_low", "ci_high")
        }
        table.append({"label": label, "kind": kind, **points, "weight": weight})

    for q in rows:
        assert q.pool is not None
        table.append({"label": q.label, "kind": "heading"})
        for claim in q.claims:
            published = beside.from_claim(claim)
            if published.value is not None and SCALES.get(claim.kind) is SCALES[q.pool.kind]:
                add("study", f"{short.get(claim.source, claim.source)} (published)", published)
        for name in q.pool.inside:
            add("yours", name, q.given[name], q.pool.weights.get(name))
        add("pooled", f"Pooled, {number(len(q.pool.inside))} cohorts", q.pooled)
        if q.pool.prediction.ci_low is not None:
            add("prediction", "Expected in a new cohort", q.pool.prediction)
    frame = pd.DataFrame(table)
    numbers = dict.fromkeys(["value", "ci_low", "ci_high", "weight"], float)
    return frame.astype(numbers)


def reach(rows: Sequence[Quantity], *, log: bool) -> tuple[float, float]:
    """Return limits of an axis that show cohorts and claims in full, and of a pool what fits."""
    table = forest_rows(rows)
    some = table[table["kind"].isin(["study", "yours"])]
    points = some[["value", "ci_low", "ci_high"]].to_numpy(float).ravel()
    null = SCALES[rows[0].pooled.kind].null
    values = table.loc[table["kind"] == "pooled", "value"].to_numpy(float)
    points = np.concatenate([points[np.isfinite(points)], values, [] if null is None else [null]])
    if log:
        points = np.log(points[points > 0])
    low, high = float(points.min()), float(points.max())
    room = 0.12 * (high - low) or 0.5
    ends = np.array([low - room, high + room])
    if log:
        ends = np.exp(ends)
    return float(ends[0]), float(ends[1])


def open_ends(ax: Any, table: pd.DataFrame, limits: tuple[float, float]) -> None:
    """Draw intervals with an open bound to the edge, and say so in their text."""
    for text in ax.texts:
        text.set_text(text.get_text().replace("nan", "open"))
    bounds = table[["ci_low", "ci_high"]].to_numpy(float)
    for i, (kind, ends) in enumerate(zip(table["kind"], bounds, strict=True)):
        if kind in {"yours", "study"} and np.isnan(ends).sum() == 1:
            colour = figures.C.orange if kind == "yours" else figures.C.blue
            ax.plot(np.where(np.isnan(ends), limits, ends), [-i, -i], color=colour, linewidth=1.4)


def _sum(counts: Iterable[int | None]) -> int | None:
    known = list(counts)
    return None if None in known else sum(c for c in known if c is not None)


def as_answer(folder: Path) -> dict[str, Any]:
    """Return what a program wants to know of a pool, and where its report is."""
    content = json.loads((folder / "results.json").read_text(encoding="utf8"))
    kept = ("analysis", "summary", "estimates", "verdicts")
    return {"accepted": True, "errors": [], "report": str(folder / "report.html")} | {
        key: content[key] for key in kept
    }

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
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ballbook import analyses, claims, paths
from ballbook import pooling as pools
from ballbook.claims import Claim
from ballbook.notebook import NAME
from ballbook.placing import placed
from ballbook.pooling import Pool
from ballbook.results import Estimate, Gate
from ballbook.run import NotCombinable, check_target, run
from ballbook.scales import SCALES

# A results.json of the book has 0.2 MB at most.
LARGEST_FILE = 5_000_000
LARGEST_NUMBER = 1e300
MOST_ESTIMATES, MOST_OWN, MOST_PROBLEMS = 2_000, 200, 8
# May differ from cohort to cohort: where it is, what is hidden, what is drawn at random.
FREE = frozenset({"cohort", "min_count", "seed"})
TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
HASH = re.compile(r"[0-9a-f]{64}")
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


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


def read(file: Path) -> tuple[dict[str, Any], str]:
    """Return the content of a ``results.json``, checked, and the SHA-256 of the file.

    Raises
    ------
    ValueError
        In one line a problem, whatever the file holds.
    """
    try:
        if file.is_dir():
            file = file / "results.json"
        if not file.is_file():
            raise ValueError("not a file" if file.exists() else "no such file")
        if (size := file.stat().st_size) > LARGEST_FILE:
            most = f"{LARGEST_FILE / 1e6:.0f} MB"
            raise ValueError(f"too large ({size / 1e6:.0f} MB; at most {most})")
        text = file.read_bytes()
        content = json.loads(
            text.decode("utf-8-sig"),
            parse_constant=_refuse,
            parse_float=_number,
            parse_int=_number,
        )
    except RecursionError:
        raise ValueError("not a results.json: nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("not JSON: not UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {plain(error, 100)}") from None
    if problems := _against_schema(content) or list(_beyond_schema(content)):
        raise ValueError("\n".join(problems))
    return dict(content), hashlib.sha256(text).hexdigest()


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
    if sum(e["tier"] == "yours" or e["id"].startswith("own-") for e in rows) > MOST_OWN:
        yield f"more than {MOST_OWN} estimates of the own cohort"
    for id, times in Counter(e["id"] for e in rows).items():
        if times > 1:
            yield f"estimate {plain(id)}: stands {times} times"
    for e in rows:
        yield from (f"estimate {plain(e['id'])}: {what}" for what in _absurd(e))
    if (n := content["cohort"]["n"]) is not None and not 0 <= n < 1e9:
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
    found: list[tuple[Path, Result]] = []
    if len(files) < 2:
        problems.append(
            ("", f"{NUMBER_WORDS[len(files)]} file is given; two or more can be combined")
        )
    for i, file in enumerate(files):
        try:
            content, digest = read(file)
        except ValueError as error:
            problems += [(_given(file), line) for line in str(error).split("\n")]
            continue
        if why := list(_not_own(content)):
            problems += [(_given(file), line) for line in why]
            continue
        stem = file.resolve().name if file.is_dir() else file.stem
        if stem == "results":
            stem = str(content["cohort"]["id"] or "cohort")
        name = names[i] if names else safe_name(stem)
        found.append((file, _result(name, digest, content)))
    problems += _at_odds(found)
    if problems:
        raise NotCombinable(problems)
    # By name and checksum, so that the order in which files are given does not matter.
    loaded = sorted((r for _, r in found), key=lambda r: (r.name, r.sha256))
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
        name, digest, content["analysis"], tier, _whole(content["cohort"]["n"]),
        frozenset([hashes] if isinstance(hashes, str) else hashes), content["parameters"], own,
        links, tuple(Gate(**g) for g in content["gates"]),
        {
            "started": record["started"] if TIMESTAMP.fullmatch(str(record["started"])) else "?",
            "version": plain(record["version"], 20),
            **{k: record[k] for k in ("library_sha256", "notebook_sha256", "lock_sha256")},
        },
    )  # fmt: skip


def _whole(count: float | None) -> int | None:
    return None if count is None else int(count)


def _plain_estimate(e: Estimate) -> Estimate:
    return replace(
        e, kind=plain(e.kind, 40), label=plain(e.label), method=plain(e.method, 200),
        unit=None if e.unit is None else plain(e.unit, 30), n=_whole(e.n),
        n_events=_whole(e.n_events), reason=None if e.reason is None else plain(e.reason, 160),
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
                plain(repr(r.parameters[name])) if name in r.parameters else "not given"
                for r in (result, first)
            )
            if not _equal(result, first, name):
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
    from ballbook import combined

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
        combined.write(results, work)
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
    from ballbook import combined, needs
    from ballbook.cohort import InvalidCohort, Problem, read_cohort
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
    wrong: list[Problem] = []
    seen: list[tuple[frozenset[str], str]] = []
    repeated: list[tuple[str, str]] = []
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
        for other, earlier in seen:
            if hashes <= other or other <= hashes:
                what = f"is the same cohort as {_given(Path(earlier))}: same checksum"
                repeated.append((_given(Path(file)), what))
        seen.append((hashes, file))
    if wrong:
        raise InvalidCohort(wrong)
    if repeated:
        raise NotCombinable(repeated)
    stems = [safe_name(Path(c).expanduser().resolve().stem) for c in cohorts]
    # The pool has folders of these names beside those of the cohorts.
    names = unique_names([f"cohort-{s}" if s in {"figures", "tables"} else s for s in stems])
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
        combined.write(load([f / "results.json" for f in folders], names), work, shared=shared)
    return target


def as_answer(folder: Path) -> dict[str, Any]:
    """Return what a program wants to know of a pool, and where its report is."""
    content = json.loads((folder / "results.json").read_text(encoding="utf8"))
    kept = ("analysis", "summary", "estimates", "verdicts")
    return {"accepted": True, "errors": [], "report": str(folder / "report.html")} | {
        key: content[key] for key in kept
    }

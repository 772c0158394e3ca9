"""A sweep: one analysis over a grid, each run in a folder of its own, joined in tidy tables.

The folder of a sweep holds ``NNN/`` for each run that is done, ``failed/NNN.json`` for each that
failed, and what joins them: ``estimates.csv``, ``verdicts.csv``, ``runs.csv`` and
``comparison.html``. The tables are written anew every few seconds and moved into place whole, so
they can be read at any time. A run that is there and fresh (`ballbook.freshness`) is kept: a sweep
that was killed goes on where it was. ``sweep.json`` remembers which run has which number; when the
grid changes, runs that stay keep theirs, new ones follow, and those no longer asked for are left
where they are and said.

Numbers of a reader's own patients are as each run releases them. Joined tables withhold more: a
count of patients that lies within ``min_count`` of another run's (`disclosed`), since two runs on
nearly the same patients tell of those who are in one only.
"""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ballbook import analyses, batch, disclosure, freshness, placing, warm
from ballbook.batch import Ended, Task, Work
from ballbook.errors import Failure
from ballbook.results import Estimate, Verdict
from ballbook.run import NotEmpty
from ballbook.sweep_grid import Grid, Point

PLAN, LOCKS, FAILED = "sweep.json", ".locks", "failed"
TABLES = ("estimates.csv", "verdicts.csv", "runs.csv")
# Tables are written again after so many seconds, or ten times as long as writing them took.
OFTEN = 3.0
RUN_COLUMNS = ("status", "seconds", "reason")


class SweepRunning(Failure, RuntimeError):
    """Another sweep writes into the same folder."""


@dataclass(frozen=True, slots=True)
class Run:
    """One point of the grid with its number, and what tells whether its folder is fresh."""

    number: int
    point: Point
    fingerprint: freshness.Fingerprint

    @property
    def task(self) -> Task:
        """The run as a batch takes it."""
        return Task(
            self.number, self.point.values, self.point.column_map, dict(self.fingerprint.parts)
        )


@dataclass(frozen=True, slots=True)
class State:
    """How a run stands: ``done``, ``failed`` or ``waiting``; seconds it took; why it failed."""

    status: str
    seconds: float | None = None
    reason: str = ""


@dataclass
class Sweep:
    """A grid in a folder.

    Attributes
    ----------
    slug : str
    grid : Grid
    out : Path
    runs : list of Run
        In the order of the grid.
    removed : list of mapping
        Runs of an earlier grid that are in the folder: ``run`` and ``at``.
    """

    slug: str
    grid: Grid
    out: Path
    reports: bool = False
    runs: list[Run] = field(default_factory=list)
    removed: list[Mapping[str, Any]] = field(default_factory=list)
    states: dict[int, State] = field(default_factory=dict)

    # Which runs there are

    def plan(self) -> None:
        """Give each run its number, and remember it.

        Raises
        ------
        NotEmpty
            The folder holds something else than a sweep of this analysis.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        with _locked(_locks(self.out) / "plan", 60):
            earlier = self._earlier()
            numbers = {p["key"]: int(p["run"]) for p in earlier}
            following = max(numbers.values(), default=-1) + 1
            prints = fingerprints(self.slug, self.grid.points)
            keys = [sha256(p.key.encode()).hexdigest()[:16] for p in self.grid.points]
            for key in keys:
                if key not in numbers:
                    numbers[key], following = following, following + 1
            self.runs = [
                Run(numbers[key], point, found)
                for key, point, found in zip(keys, self.grid.points, prints, strict=True)
            ]
            wanted = set(keys)
            self.removed = [p for p in earlier if p["key"] not in wanted]
            points = [
                {"run": r.number, "at": r.point.at, "key": key}
                for r, key in zip(self.runs, keys, strict=True)
            ]
            self._write(
                PLAN,
                json.dumps(
                    {
                        "analysis": self.slug,
                        "axes": self.grid.axes,
                        "points": [*points, *({**p, "removed": True} for p in self.removed)],
                    },
                    indent=1,
                    ensure_ascii=False,
                ),
            )
        self.removed = [p for p in self.removed if batch.folder_of(self.out, p["run"]).is_dir()]

    def _earlier(self) -> list[dict[str, Any]]:
        file = self.out / PLAN
        if file.is_file():
            plan = json.loads(file.read_text(encoding="utf8"))
            if plan["analysis"] != self.slug:
                raise NotEmpty(f"{self.out} holds a sweep of {plan['analysis']}; choose another")
            return list(plan["points"])
        if any(p.name != LOCKS for p in self.out.iterdir()):
            raise NotEmpty(f"{self.out} is not empty and holds no sweep; choose another folder")
        return []

    def look(self, runs: Iterable[Run] | None = None) -> None:
        """Find out from the folder how runs stand, all or those given."""
        for run in self.runs if runs is None else runs:
            self.states[run.number] = self._state(run)

    def _state(self, run: Run) -> State:
        folder = batch.folder_of(self.out, run.number)
        if not run.fingerprint.reasons(folder) and (
            not self.reports or (folder / "report.html").is_file()
        ):
            record = json.loads((folder / "provenance.json").read_text(encoding="utf8"))
            return State("done", record["seconds"])
        file = self._failure(run.number)
        if file.is_file():
            kept = json.loads(file.read_text(encoding="utf8"))
            if kept["fingerprint"] == run.fingerprint.id:
                return State("failed", kept["seconds"], kept["said"])
        return State("waiting")

    def _failure(self, number: int) -> Path:
        return self.out / FAILED / f"{number:03d}.json"

    def count(self, status: str) -> int:
        """Return how many runs stand so."""
        return sum(s.status == status for s in self.states.values())

    # Running them

    def go(
        self,
        *,
        part: tuple[int, int] | None = None,
        workers: int = 2,
        timeout: float = 1800.0,
        told: Callable[[Ended | None], None] = lambda _: None,
        started: Callable[[int, int], None] = lambda _todo, _kept: None,
    ) -> None:
        """Run what is not fresh; write tables meanwhile, unless it is a part.

        Parameters
        ----------
        part : (int, int), optional
            First point and the one after the last, counted from 0 in the order of the grid.
        workers : int
            Runs at once.
        timeout : float
            Seconds for one run.
        told : callable
            Called with every run as it ends, and with None now and then meanwhile.
        started : callable
            Called with the numbers of runs that are to be run and that are kept.

        Raises
        ------
        SweepRunning
        """
        mine = self.runs if part is None else self.runs[part[0] : part[1]]
        # What a part starts on the node of a cluster ends with it.
        with held(self.out, part), warm.server() if part else nullcontext():
            placing.sweep(self.out)
            self.look(mine if part else None)
            todo = [r for r in mine if self.states[r.number].status != "done"]
            for run in todo:
                self.states[run.number] = State("waiting")
            started(len(todo), len(mine) - len(todo))
            by_number = {r.number: r for r in todo}
            work = Work(
                self.slug, str(self.out), [r.task for r in todo], workers, timeout, self.reports
            )
            tables = None if part else Tables(self)
            try:
                for ended in batch.run_batch(work):
                    if ended is not None:
                        self._note(by_number[ended.run], ended)
                    told(ended)
                    if tables is not None:
                        tables.write_now_and_then()
            finally:
                placing.sweep(self.out)
                if tables is not None:
                    tables.write()
            if tables is not None:
                self._compare()

    def _note(self, run: Run, ended: Ended) -> None:
        file = self._failure(run.number)
        if not ended.failed:
            file.unlink(missing_ok=True)
            self.states[run.number] = self._state(run)
            return
        self.states[run.number] = State("failed", ended.seconds, ended.said)
        file.parent.mkdir(exist_ok=True)
        kept = {"run": run.number, "at": run.point.at, "fingerprint": run.fingerprint.id}
        text = json.dumps({**kept, "seconds": ended.seconds, "said": ended.said}, indent=1)
        self._write(f"{FAILED}/{file.name}", text)

    def collect(self) -> None:
        """Join what is there; may be called while runs go on elsewhere."""
        self.look()
        Tables(self).write()
        self._compare()

    def _compare(self) -> None:
        from ballbook import sweep_page

        sweep_page.write(self)

    def _write(self, name: str, text: str) -> None:
        write_whole(self.out / name, text)


def write_whole(path: Path, text: str) -> None:
    """Write a file that nobody can read half."""
    # In a folder, since those are what `placing.sweep` clears away after a kill.
    with placing.hidden(path) as folder:
        (folder / path.name).write_text(text, encoding="utf8")
        (folder / path.name).replace(path)


# ------------------------------------------------------------------------------ fingerprints


def fingerprints(slug: str, points: Sequence[Point]) -> list[freshness.Fingerprint]:
    """Return the fingerprint of each point: that of the page, with the point's parameters."""
    bases: dict[tuple[str, str | None], dict[str, str]] = {}
    found = []
    engine = freshness.digest(freshness.contents([Path(batch.__file__)]))
    for point in points:
        own = str(point.values.get("cohort", "")), point.column_map
        if own not in bases:
            given = {"cohort": own[0]} if own[0] else {}
            base = freshness.of_page(slug, given, point.column_map)
            bases[own] = {**base.parts, "engine": engine}
        parts = bases[own]
        values = {k: v for k, v in point.values.items() if k != "cohort"}
        given_here = freshness.digest([parts["parameters"], json.dumps(values, sort_keys=True)])
        found.append(freshness.Fingerprint({**parts, "parameters": given_here}))
    return found


# ------------------------------------------------------------------------------------ locks


def _locks(out: Path) -> Path:
    folder = out / LOCKS
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def held(out: Path, part: tuple[int, int] | None) -> Iterator[None]:
    """Keep other sweeps out of the same points; the lock ends with the process.

    Parameters
    ----------
    part : (int, int) or None
        The points that are run, or all: parts that share none may run at once.

    Raises
    ------
    SweepRunning
    """
    folder = _locks(out)
    name = "all" if part is None else f"{part[0]}-{part[1]}"
    with ExitStack() as stack:
        try:
            # One that looks whether this lock is free holds it for a moment.
            stack.enter_context(_locked(folder / name, 0.5))
            # First its own, then those of others: of two that come at once, one sees the other.
            for other in sorted(folder.iterdir()):
                if other.name not in {name, "plan"} and _overlap(part, other.name):
                    with _locked(other, 0):
                        pass
        except Timeout as error:
            which = Path(error.lock_file).name
            what = "another sweep" if which == "all" else f"a sweep of the points {which}"
            raise SweepRunning(f"{what} writes into {out}; wait for it, or stop it") from None
        yield


@contextmanager
def _locked(path: Path, timeout: float) -> Iterator[None]:
    """Hold a lock file.

    Raises
    ------
    Timeout
    """
    lock = FileLock(path, timeout=timeout)
    try:
        lock.acquire()
    except Timeout:
        raise
    except (OSError, NotImplementedError):
        # Some network file systems have no locks: there two sweeps are the user's to keep apart.
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _overlap(part: tuple[int, int] | None, name: str) -> bool:
    found = re.fullmatch(r"(\d+)-(\d+)", name)
    if part is None or found is None:
        return name == "all" or found is not None
    return part[0] < int(found[2]) and int(found[1]) < part[1]


# ----------------------------------------------------------------------------------- tables


class Tables:
    """The joined tables of a sweep; what was read of a run is kept as text."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.axes = sweep.grid.axes
        self.read: dict[int, tuple[str, str]] = {}
        self.own: dict[int, list[Estimate]] = {}
        self.next = 0.0

    @cached_property
    def names(self) -> list[str]:
        """Heads of the columns that tell a run's place in the grid."""
        taken = {"run", *RUN_COLUMNS, *Estimate.__dataclass_fields__, *Verdict.__dataclass_fields__}
        return ["run", *(f"parameter_{a}" if a in taken else a for a in self.axes)]

    def write_now_and_then(self) -> None:
        """Write the tables if it was not done just now."""
        if time.monotonic() >= self.next:
            self.write()

    def write(self) -> None:
        """Write the tables of what is done."""
        began = time.monotonic()
        done = [r for r in self.sweep.runs if self.sweep.states[r.number].status == "done"]
        for run in done:
            if run.number not in self.read:
                self._read(run)
        withheld = self._withheld(done)
        columns = list(Estimate.__dataclass_fields__)
        kept = [_lines([self.names + columns])]
        for run in done:
            text = self.read[run.number][0]
            if run.number in self.own:
                rows = [disclosed(e, withheld, self._min_count(run)) for e in self.own[run.number]]
                text += self._estimates(run, rows)
            kept.append(text)
        self.sweep._write("estimates.csv", "".join(kept))
        head = _lines([[*self.names, *Verdict.__dataclass_fields__]])
        self.sweep._write("verdicts.csv", head + "".join(self.read[r.number][1] for r in done))
        self.sweep._write("runs.csv", self._runs())
        now = time.monotonic()
        self.next = now + max(OFTEN, 10 * (now - began))

    def _place(self, run: Run) -> list[Any]:
        return [run.number, *(run.point.at[a] for a in self.axes)]

    def _read(self, run: Run) -> None:
        folder = batch.folder_of(self.sweep.out, run.number)
        results = json.loads((folder / "results.json").read_text(encoding="utf8"))
        estimates = [Estimate(**e) for e in results["estimates"]]
        if run.point.values.get("cohort"):
            own = [e for e in estimates if e.tier == "yours" or e.id.startswith("own-")]
            self.own[run.number] = own
            estimates = [e for e in estimates if e not in own]
        verdicts = [[getattr(Verdict(**v), f) for f in Verdict.__dataclass_fields__]
                    for v in results["verdicts"]]  # fmt: skip
        place = self._place(run)
        self.read[run.number] = (
            self._estimates(run, estimates),
            _lines([[*place, *v] for v in verdicts]),
        )

    def _estimates(self, run: Run, estimates: Sequence[Estimate]) -> str:
        place = self._place(run)
        fields = list(Estimate.__dataclass_fields__)
        return _lines([[*place, *(getattr(e, f) for f in fields)] for e in estimates])

    def _min_count(self, run: Run) -> int:
        return int(run.point.values.get("min_count", 5))

    def _withheld(self, done: Sequence[Run]) -> set[int]:
        """Return the counts of own patients that lie too close to those of other runs."""
        found: set[int] = set()
        cohorts: dict[str, list[Run]] = {}
        for run in done:
            if run.number in self.own:
                cohorts.setdefault(run.point.values["cohort"], []).append(run)
        for runs in cohorts.values():
            counts = Counter(e.n for r in runs for e in self.own[r.number] if e.n is not None)
            shown: list[int] = []
            for n, _ in counts.most_common():
                if all(disclosure.apart(n, m, self._min_count(runs[0])) for m in shown):
                    shown.append(n)
                else:
                    found.add(n)
        return found

    def _runs(self) -> str:
        rows: list[list[Any]] = [[*self.names, *RUN_COLUMNS]]
        for run in self.sweep.runs:
            state = self.sweep.states.get(run.number, State("waiting"))
            reason = next(iter(state.reason.strip().splitlines()), "")
            rows.append([*self._place(run), state.status, state.seconds, reason])
        return _lines(rows)


def disclosed(estimate: Estimate, withheld: set[int], min_count: int) -> Estimate:
    """Return an own estimate as it may stand beside those of other runs.

    Parameters
    ----------
    estimate : Estimate
    withheld : set of int
        Counts of patients that lie within `min_count` of another run's.
    min_count : int
    """
    if estimate.n is None or estimate.n not in withheld or min_count <= 0:
        return estimate
    if estimate.kind in disclosure.FROM_COUNTS:
        reason = f"withheld: its number of patients lies within {min_count} of another run's"
        return disclosure.bare(estimate, reason)
    return replace(estimate, n=None, n_events=None)


def _lines(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV at full precision, formulas disarmed."""
    from ballbook.notebook import safe_cell

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for row in rows:
        writer.writerow(["" if v is None else safe_cell(v) for v in row])
    return buffer.getvalue()


# ------------------------------------------------------------------------------------ checks


def check_cohorts(slug: str, points: Sequence[Point]) -> None:
    """Refuse cohorts that cannot be read or lack what the analysis needs, before any run.

    Raises
    ------
    InvalidCohort
        With the problems of all.
    """
    from ballbook import needs
    from ballbook.cohort import Cohort, InvalidCohort, Problem, read_cohort

    read: dict[tuple[str, str | None], Cohort | None] = {}
    wrong: list[Problem] = []
    for point in points:
        key = str(point.values.get("cohort", "")), point.column_map
        if not key[0]:
            continue
        if key not in read:
            try:
                read[key] = read_cohort(*key)
            except InvalidCohort as error:
                wrong += error.problems
                read[key] = None
        cohort = read[key]
        if cohort is not None:
            wrong += needs.fit(cohort, slug, point.values).errors
    if wrong:
        raise InvalidCohort(dict.fromkeys(wrong))


def prepare(slug: str, grid: Grid, out: Path, *, reports: bool = False) -> Sweep:
    """Return a sweep, all of whose input is checked, with its plan written.

    Raises
    ------
    UnknownAnalysis, InvalidCohort, NotEmpty
        The input is refused.
    Unavailable
        Open data that the analysis needs cannot be had.
    """
    from ballbook import catalog

    analysis = analyses.find(slug)
    check_cohorts(slug, grid.points)
    for id in analysis.meta["data"]:
        catalog.get(id)
    found = Sweep(slug, grid, out.resolve(), reports)
    found.plan()
    return found

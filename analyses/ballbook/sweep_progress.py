"""The command ``ballbook sweep``: what it is given, what it says meanwhile and at the end."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ballbook import sweep_grid
from ballbook.batch import Ended
from ballbook.run import RunFailed
from ballbook.sweep import Sweep, SweepRunning, prepare
from ballbook.sweep_grid import COMMAND, InvalidGrid, Problem

# Without a terminal a line is printed after so many seconds.
LINE_SECONDS = 10.0
SHOWN_FAILURES = 10


def command(
    analysis: str,
    given: Sequence[str],
    *,
    cohort: str | None,
    column_map: str | None,
    min_count: int | None,
    out: Path,
    reports: bool,
    timeout: float,
    workers: int | None,
    points: str | None,
    collect: bool,
    most: int | None,
) -> None:
    """Do what the command line asks for.

    Raises
    ------
    RunFailed
        At least one run failed, or another sweep writes into the folder; the message lists them.
    """
    grid = read(analysis, given, cohort, column_map, min_count, most)
    part = part_of(points, len(grid.points))
    sweep = prepare(analysis, grid, out, reports=reports)
    if sweep.removed:
        names = ", ".join(f"{p['run']:03d}" for p in sweep.removed[:20])
        more = ", ..." if len(sweep.removed) > 20 else ""
        click.echo(f"no longer in the grid, left in {out}: {names}{more}", err=True)
    try:
        if not collect:
            with Progress(analysis) as progress:
                sweep.go(
                    part=part,
                    workers=workers or cores(),
                    timeout=timeout,
                    told=progress.told,
                    started=progress.started,
                )
        else:
            sweep.collect()
    except SweepRunning as error:
        raise RunFailed(str(error)) from None
    except KeyboardInterrupt:
        click.echo(f"\nstopped: {told(sweep)}; the same command goes on", err=True)
        sys.exit(130)
    if part is not None and not collect:
        # What failed is remembered, and said by who collects.
        click.echo(told(sweep))
        return
    click.echo(f"{told(sweep)}\n{out / 'estimates.csv'}\n{out / 'comparison.html'}")
    if failed := failures(sweep):
        raise RunFailed(failed)


def read(
    analysis: str,
    given: Sequence[str],
    cohort: str | None,
    column_map: str | None,
    min_count: int | None,
    most: int | None,
) -> sweep_grid.Grid:
    """Return the grid that the arguments describe."""
    from ballbook.analyses import find
    from ballbook.cli import assignments

    files = [Path(g) for g in given if g.lower().endswith((".yml", ".yaml")) and "=" not in g]
    pairs = tuple(g for g in given if Path(g) not in files)
    fixed: dict[str, Any] = {}
    if cohort is not None:
        fixed["cohort"] = str(Path(cohort).expanduser().resolve())
    if min_count is not None:
        fixed["min_count"] = min_count
    if column_map is not None:
        column_map = str(Path(column_map).expanduser().resolve())
    return sweep_grid.read(
        find(analysis).parameters,
        files,
        assigned=assignments(pairs),
        fixed=fixed,
        column_map=column_map,
        most=most or sweep_grid.MOST,
    )


def part_of(points: str | None, size: int) -> tuple[int, int] | None:
    """Return the part of a grid of `size` points that ``I:J`` names.

    Raises
    ------
    InvalidGrid
    """
    if points is None:
        return None
    found = re.fullmatch(r"(\d+):(\d+)", points)
    first, last = (int(found[1]), min(int(found[2]), size)) if found else (0, 0)
    if first >= last:
        expected = f"I:J with I below J and below {size}, the number of points"
        raise InvalidGrid([Problem(COMMAND, "--points", repr(points), expected)])
    return first, last


def cores() -> int:
    """Return how many cores this process may use."""
    able = getattr(os, "sched_getaffinity", None)
    return max(1, len(able(0)) if able else os.cpu_count() or 1)


def told(sweep: Sweep) -> str:
    """Return how a sweep stands, in one line."""
    parts = [f"{n} {word}" for word in ("failed", "waiting") if (n := sweep.count(word))]
    return ", ".join([f"{sweep.count('done')} of {len(sweep.states)} runs done", *parts])


def failures(sweep: Sweep) -> str:
    """Return what failed, where, with the last lines; nothing where nothing did."""
    failed = [r for r in sweep.runs if sweep.states[r.number].status == "failed"]
    if not failed:
        return ""
    lines = [f"{len(failed)} of {len(sweep.runs)} runs failed:"]
    for run in failed[:SHOWN_FAILURES]:
        at = ", ".join(f"{k}={v}" for k, v in run.point.at.items())
        lines.append(f"  {run.number:03d} ({at})")
        said = sweep.states[run.number].reason.splitlines()
        lines += [f"    {line}" for line in said if line.strip()]
    if len(failed) > SHOWN_FAILURES:
        lines.append(f"  ... and {len(failed) - SHOWN_FAILURES}; runs.csv names all")
    return "\n".join(lines)


class Progress:
    """A bar with the time left on a terminal, else a line now and then."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.total = self.done = self.failed = 0
        self.bar: Any = None
        self.began = self.last = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.render_finish()

    def started(self, todo: int, kept: int) -> None:
        """Begin: so many runs to do, so many that are there."""
        self.total, self.began = todo, time.monotonic()
        if kept:
            click.echo(f"{self.label}: {kept} runs are there and fresh, {todo} to do", err=True)
        if todo and sys.stderr.isatty():
            self.bar = click.progressbar(
                length=todo,
                label=self.label,
                file=sys.stderr,
                show_pos=True,
                show_eta=True,
                item_show_func=lambda _: f"{self.failed} failed" if self.failed else "",
            )
            self.bar.render_progress()

    def told(self, ended: Ended | None) -> None:
        """Note a run that ended, or that some time passed."""
        if ended is not None:
            self.done += 1
            self.failed += ended.failed
        if self.bar is not None:
            self.bar.update(int(ended is not None), self.failed)
            return
        now = time.monotonic()
        if now - self.last >= LINE_SECONDS and self.done < self.total:
            self.last = now
            failed = f", {self.failed} failed" if self.failed else ""
            left = f", {self.left(now)} left" if self.done else ""
            click.echo(f"{self.label}: {self.done} of {self.total} runs{failed}{left}", err=True)

    def left(self, now: float) -> str:
        """Return about how long the rest will take."""
        seconds = (now - self.began) / self.done * (self.total - self.done)
        minutes, rest = divmod(round(seconds), 60)
        return f"about {minutes} min {rest:02d} s" if minutes else f"about {rest} s"

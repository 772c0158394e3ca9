"""One patient's course as a drawing: stages, therapy, samples, and clones with their sizes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ballbook import datasets, figures
from ballbook.figures import C

KINDS = {
    "stage": "what the disease was called, from then on",
    "therapy": "from start to end",
    "sample": "number of samples taken then, as label",
    "clone": "from its split from `parent` to the last time it was seen",
    "size": "size of the clone `parent` then, as label",
    "mark": "mutations of a kind laid down in the clone `parent`, as label",
}
COLUMNS = ("kind", "label", "start", "end", "parent", "printed_time")


class Mark(NamedTuple):
    """One row of a course."""

    kind: str
    label: str
    start: float
    end: float
    parent: str
    printed_time: str


def marks(table: pd.DataFrame) -> list[Mark]:
    """Return the rows of a checked table."""
    text = {c: [str(v) for v in table[c]] for c in ("kind", "label", "parent", "printed_time")}
    start, end = ([float(v) for v in table[c]] for c in ("start", "end"))
    return [
        Mark(*row)
        for row in zip(
            text["kind"], text["label"], start, end, text["parent"], text["printed_time"],
            strict=True,
        )
    ]  # fmt: skip


class InvalidCourse(ValueError):
    """A table does not describe a course; the message lists every problem."""


def read_course(path: str | Path) -> pd.DataFrame:
    """Return a course from a CSV with the columns `COLUMNS` (the last four may be absent).

    Raises
    ------
    InvalidCourse
        Listing every problem with its row.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name in COLUMNS[3:]:
        if name not in table:
            table[name] = ""
    return checked(table)


def printed(name: str = "coorens2023_course") -> pd.DataFrame:
    """Return a course of ``data/published``."""
    return checked(datasets.published(name))


def checked(table: pd.DataFrame) -> pd.DataFrame:
    """Return a course with numbers for times, or raise `InvalidCourse`."""
    if missing := [c for c in COLUMNS if c not in table]:
        raise InvalidCourse(f"no column {', '.join(missing)}")
    rows = table.copy()
    problems = []
    for name in ("start", "end"):
        text = rows[name].astype(str).where(rows[name].notna(), "").str.strip()
        rows[name] = pd.to_numeric(text.where(text != "nan", ""), errors="coerce")
        wrong = rows[name].isna() & ~text.isin(["", "nan"])
        problems += [f"row {i + 2}: {name} {text[i]!r} is no number" for i in rows.index[wrong]]
    for name in ("label", "parent", "printed_time"):
        rows[name] = rows[name].astype(str).where(rows[name].notna(), "").str.strip()
    clones = set(rows.loc[rows["kind"] == "clone", "label"])
    for i, r in enumerate(marks(rows), start=2):
        if r.kind not in KINDS:
            problems.append(f"row {i}: kind {r.kind!r}, expected one of {', '.join(KINDS)}")
        if math.isnan(r.start):
            problems.append(f"row {i}: no start")
        if r.kind == "therapy" and not r.end > r.start:
            problems.append(f"row {i}: therapy should end after its start")
        if r.kind in ("size", "mark") and r.parent not in clones:
            problems.append(f"row {i}: no clone {r.parent!r}")
        if r.kind == "clone" and r.parent and r.parent not in clones:
            problems.append(f"row {i}: no clone {r.parent!r} to be the parent")
    if not len(rows):
        problems.append("no rows")
    if problems:
        raise InvalidCourse("; ".join(problems))
    return rows


def draw(
    course: pd.DataFrame, *, unit: str = "months", size: tuple[float, float] = (7.6, 5.0)
) -> Any:
    """Draw a course.

    Parameters
    ----------
    course : DataFrame
        As `checked` returns it. A clone whose ``printed_time`` is "no" is dashed: when it split or
        ended is not known.
    unit : str
        Of the times.
    """
    rows = {kind: marks(course[course["kind"] == kind]) for kind in KINDS}
    last = float(pd.concat([course["start"], course["end"]]).max())
    figure, ax = figures.panels(size=size)
    levels = {
        name: -3.3 - 0.85 * i
        for i, name in enumerate(dict.fromkeys(r.label for r in rows["clone"]))
    }
    longest = max((r.end for r in rows["clone"] if not math.isnan(r.end)), default=math.nan)
    free = 0.0  # right end of the label before, at the lower level
    for r in sorted(rows["stage"], key=lambda r: r.start):
        ax.axvline(r.start, color=C.grey, linewidth=0.8, alpha=0.6, zorder=0)
        high = r.start < free
        free = max(free, r.start + 0.016 * last * len(r.label))
        ax.text(r.start, 0.5 * high, r.label, fontsize=9, fontweight="bold", va="bottom")
    for i, r in enumerate(rows["therapy"]):
        colour = (C.blue, C.green, C.orange)[i % 3]
        ax.barh(-0.9, r.end - r.start, left=r.start, height=0.5, color=colour, alpha=0.35)
        ax.text(
            (r.start + r.end) / 2, -1.25, r.label, fontsize=9, ha="center", va="top", color=colour
        )
    for r in rows["sample"]:
        for i in range(int(r.label) if r.label.isdigit() else 1):
            ax.plot(r.start, -2.2 - 0.3 * i, "v", color=C.ink, markersize=5, clip_on=False)
    for r in rows["clone"]:
        y = levels[r.label]
        unsure = r.printed_time == "no"
        colour = C.red if r.end == longest else C.blue
        end = r.start if math.isnan(r.end) else r.end
        if r.parent:
            ax.plot([r.start] * 2, [levels[r.parent], y], color=C.muted, linewidth=1,
                    linestyle=":" if unsure else "-", zorder=1)  # fmt: skip
        ax.plot([r.start, end], [y, y], color=colour, linewidth=2.2,
                linestyle=(0, (3, 1.5)) if unsure else "-", zorder=2)  # fmt: skip
        ax.annotate(r.label, (end, y), xytext=(7, 0), textcoords="offset points", fontsize=9,
                    va="center", color=colour)  # fmt: skip
    for r in rows["size"]:
        y = levels[r.parent]
        ax.plot(r.start, y, "o", color=C.ink, markersize=5, zorder=4)
        ax.annotate(r.label, (r.start, y), fontsize=9, va="bottom", textcoords="offset points",
                    xytext=(-4, 4) if r.start > last / 2 else (3, 4),
                    ha="right" if r.start > last / 2 else "left")  # fmt: skip
    for r in rows["mark"]:
        y = levels[r.parent]
        ax.plot(r.start, y, "x", color=C.purple, markersize=6, markeredgewidth=1.6, zorder=4)
        ax.annotate(r.label, (r.start, y), xytext=(0, 4), textcoords="offset points", fontsize=8,
                    color=C.purple, ha="center", va="bottom")  # fmt: skip
    names = {-0.9: "therapy", -2.3: "samples"}
    names |= {sum(levels.values()) / len(levels): "clones"} if levels else {}
    ax.set_yticks(list(names), list(names.values()))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set(xlim=(-0.01 * last, 1.1 * last), ylim=(min([-2.6, *levels.values()]) - 0.5, 1.1))
    step = 12 if last > 24 else max(1, round(last / 6))
    ax.set_xticks(range(0, int(last) + 1, step))
    ax.set_xlabel(f"{unit.capitalize()} from diagnosis")
    return figure


def in_words(course: pd.DataFrame) -> str:
    """Return what a drawing shows, for readers who cannot see it."""
    parts = []
    for kind, name in [("stage", "Stages"), ("therapy", "Therapy"), ("sample", "Samples"),
                       ("clone", "Clones"), ("size", "Sizes")]:  # fmt: skip
        told = marks(course[course["kind"] == kind])
        if told:
            parts.append(
                f"{name}: "
                + ", ".join(
                    f"{r.label}{f' ({r.parent})' if r.parent else ''} at {r.start:g}" for r in told
                )
            )
    return ". ".join(parts) + "."

"""The generated parts of the methods pages: golden tables, speed, the engine and calibration.

`write_parts` is called while the book is rendered. Pages in ``book/methods`` include the parts.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from ballbook import cluster_record, figures, goldens, paths, render
from ballbook.goldens import Golden
from ballbook.notebook import write_csv

CALIBRATION_FIGURES = {
    "coverage": (
        "Coverage of 95% intervals, with two Monte Carlo standard errors. Grey: 93.5 to 96.5%. "
        "Orange lies outside. Hollow: an alternative that the book does not prefer.",
        "Dot plot of the coverage of each interval estimator with its Monte Carlo error; "
        "the table below holds the same numbers.",
    ),
    "size": (
        "Share of 5% tests that reject although nothing is there, with two Monte Carlo standard "
        "errors. Grey: 4 to 6%. Orange lies outside. Hollow: an alternative that the book does "
        "not prefer.",
        "Dot plot of the size of each test with its Monte Carlo error; the table below holds the "
        "same numbers.",
    ),
}

BENCH_FIGURES = {
    "pages": (
        "Cold builds of small books. Each notebook draws 300 patients and fits a survival curve "
        "and a Cox model; both axes are logarithmic.",
        "Seconds of a cold build against the number of notebooks, for Jupyter Book's executor and "
        "for ballbook with one core and with two; the CSV file holds each run.",
    ),
    "patients": (
        "A cold build of a book of one notebook that draws so many patients, one core.",
        "Seconds of a cold build against the patients in its one notebook.",
    ),
}

SEARCHES = {
    "exact": "all distances (scikit-learn); the map's",
    "tree": "k-d tree (scikit-learn)",
    "approximate": "graph (pynndescent)",
    "ingest": "scanpy ingest",
}


def write_parts(folder: Path, extra: Path) -> None:
    """Write the parts that the methods pages include, and the files that they offer.

    Parameters
    ----------
    folder : Path
        Where the parts go: ``_generated`` of the book's source.
    extra : Path
        Root of the files put beside the rendered book.
    """
    beside = extra / "methods"
    beside.mkdir(parents=True, exist_ok=True)
    rows = list(goldens.goldens())
    write_csv(pd.DataFrame([asdict(g) for g in rows]), beside / "golden.csv")
    _part(folder / "golden.md", golden_table(rows))
    _part(folder / "golden-summary.md", summary(rows))
    for topic in goldens.topics():
        mine = [g for g in rows if g.topic == topic]
        _part(folder / f"golden-{topic}.md", topic_table(mine))
    _write_record("speed", folder, beside, speed_part)
    _write_record("calibration", folder, beside, calibration_part)
    _write_record("cells", folder, beside, cells_part)
    _write_record("bench", folder, beside, bench_part)
    _write_record("faults", folder, beside, faults_part)
    _write_record("cluster", folder, beside, cluster_record.part)


def _part(file: Path, html: str) -> None:
    file.write_text(f"```{{raw}} html\n{html}\n```\n", encoding="utf8")


def _write_record(name: str, folder: Path, beside: Path, part: Any) -> None:
    record = paths.data() / "recorded" / name
    for file in record.glob("*.csv"):
        shutil.copy2(file, beside / file.name)
    for file in record.glob("*.svg"):
        shutil.copy2(file, beside / file.name)
    made = (record / "about.json").is_file()
    _part(folder / f"{name}.md", part(record) if made else "<p>Nothing was recorded.</p>")


# --- goldens ----------------------------------------------------------------------------------


def golden_table(rows: Sequence[Golden]) -> str:
    """Return the comparisons, one row an estimator and data set, to be sorted and filtered."""
    frame = _worst(rows, lambda g: (g.estimator, g.data))
    caption = "The number that differs most. The CSV file holds one row a call, with its arguments."
    if dates := {g.kept for g in rows if g.kept}:
        caption += (
            " * The data set is published but was not at hand in this build: the comparison is the "
            f"one kept on {max(dates)}."
        )
    return render.table(frame, caption=caption, download="golden.csv", filterable=True)


def topic_table(rows: Sequence[Golden]) -> str:
    """Return a topic's comparisons, one row an estimator."""
    frame = _worst(rows, lambda g: (g.estimator,)).rename(columns={"Data": "Differs most on"})
    failed = sum(not g.agrees for g in rows)
    total = sum(g.numbers for g in rows)
    caption = (
        f"{total:,} numbers of {len(rows):,} R calls, the one that differs most on each line; "
        + (f"{failed} calls disagree." if failed else "all lie within their tolerance.")
    )
    return render.table(frame, caption=caption)


def summary(rows: Sequence[Golden]) -> str:
    """Return one row a topic: calls, numbers, the largest difference, versions of R."""
    lines = []
    for topic in goldens.topics():
        mine = [g for g in rows if g.topic == topic]
        strict = [g for g in mine if g.tolerance <= 1e-6]
        versions = ", ".join(f"{name}\u00a0{v}" for name, v in goldens.versions(topic).items())
        lines.append(
            {
                "Estimators": goldens.TOPICS[topic],
                "Numbers": sum(g.numbers for g in mine),
                "R calls": len(mine),
                "Agree": sum(g.agrees for g in mine),
                "Wider": len(mine) - len(strict),
                "Worst": _number(max((g.difference for g in strict), default=0.0), ".1e"),
                "Made with": versions,
            }
        )
    caption = (
        "Wider: calls whose tolerance is wider than 1e-6. Worst: the largest relative difference "
        "among the others."
    )
    return render.table(pd.DataFrame(lines), caption=caption)


def _worst(rows: Sequence[Golden], key: Callable[[Golden], Hashable]) -> pd.DataFrame:
    """Return one line a group: how much was compared, and the number that differs most."""
    groups: dict[Hashable, list[Golden]] = {}
    for g in rows:
        groups.setdefault(key(g), []).append(g)
    lines = []
    for mine in groups.values():
        # A difference counts by how much of its tolerance it takes.
        worst = max(mine, key=lambda g: (not g.agrees, g.difference / g.tolerance))
        lines.append(
            {
                "Estimator": render.Raw(f"<code>{escape(worst.estimator)}</code>"),
                "Data": worst.data + (" *" if worst.kept else ""),
                "Numbers": sum(g.numbers for g in mine),
                "Ours": _number(worst.ours, ".9g"),
                "R's": _number(worst.r, ".9g"),
                "Relative difference": _number(worst.difference, ".1e"),
                "Allowed": _number(worst.tolerance, ".1e"),
                "R call": render.Raw(f"<code>{escape(worst.call)}</code>"),
                "Why not 1e-6": worst.note if worst.tolerance > 1e-6 else "",
            }
        )
    frame = pd.DataFrame(lines)
    return frame if any(frame["Why not 1e-6"]) else frame.drop(columns="Why not 1e-6")


def _number(value: float | None, form: str) -> render.Raw:
    """Return a number on one line, with figures enough to see a small difference."""
    text = "none" if value is None else "0" if value == 0 else f"{value:{form}}"
    return render.Raw(f'<span style="white-space: nowrap">{text}</span>')


# --- records ----------------------------------------------------------------------------------


def speed_part(record: Path) -> str:
    """Return the recorded speed ratios as a table."""
    about = json.loads((record / "about.json").read_text(encoding="utf8"))
    frame = pd.read_csv(record / "speed.csv")
    shown = pd.DataFrame(
        {
            "Task": frame["task"],
            "Size": frame["size"],
            "Other": frame["other"],
            "Unit": frame["unit"],
            "Ours": frame["ours"],
            "Theirs": frame["theirs"],
            "Theirs / ours": frame["ratio"],
        }
    )
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    caption = (
        f"Recorded on {about['date']}; processor time, best of {about['repeats']}; {versions}."
    )
    return render.table(shown, caption=caption, download="speed.csv")


def bench_part(record: Path) -> str:
    """Return the recorded times of the engine: targets, growth curves, and all medians."""
    from ballbook import bench

    about = json.loads((record / "about.json").read_text(encoding="utf8"))
    frame = pd.read_csv(record / "bench.csv")
    found = bench.targets(frame)
    shown = pd.DataFrame(
        {
            "Task": [t.task for t in found],
            "Compared with": [t.against for t in found],
            "Ratio": [f"{t.ratio:.3f}" for t in found],
            "Of single repeats": [f"{t.low:.3f} to {t.high:.3f}" for t in found],
            "Target, at most": [f"1/{1 / t.most:.0f} ({t.most:.3f})" for t in found],
            "Met": ["yes" if t.met else "not met" for t in found],
        }
    )
    missed = sum(not t.met for t in found)
    told = f"{missed} of {len(found)} targets are not met" if missed else "All targets are met"
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    caption = (
        f"{told}. Ratios of medians of {about['repeats']} repeats, all tasks in turn, from the "
        f"start of a process to its end. Recorded on {about['date']}, {about['cores']} cores, "
        f"load before a task {frame['load'].min():.1f} to {frame['load'].max():.1f}; {versions}."
    )
    parts = [render.table(shown, caption=caption, download="bench.csv")]
    for number, (name, (words, alt)) in enumerate(BENCH_FIGURES.items(), 1):
        drawing = record / f"bench-{name}.svg"
        if drawing.is_file():
            links = {"SVG": drawing.name, "CSV": "bench.csv"}
            inline = figures.themed(drawing.read_text(encoding="utf8"), drawing.stem, alt)
            parts.append(render.figure(drawing.stem, inline, words, number, links))
    parts.append(render.table(bench.medians(frame), caption="Median seconds by the clock."))
    return "\n".join(parts)


def faults_part(record: Path) -> str:
    """Return the log of disturbed builds: how many were killed where, and every other fault."""
    from ballbook import faults

    about = json.loads((record / "about.json").read_text(encoding="utf8"))
    frame = pd.read_csv(record / "faults.csv", keep_default_na=False)
    tried = frame[~frame["note"].str.startswith("not tried")]
    sound = faults.sound(tried)
    missing = len(frame) - len(tried)
    caption = (
        f"{sound.sum()} of {len(tried)} faults ended as they should: the next plain build was "
        "whole, with the bytes of an undisturbed one, nothing was left, and the summary had said "
        f"what failed.{f' {missing} could not be tried.' if missing else ''} A watcher read "
        f"{tried['reads'].sum():,} pages and results meanwhile; {tried['torn'].sum()} were not "
        f"whole. Books of {about['pages']} pages, seed {about['seed']}; recorded on "
        f"{about['date']}, {about['cores']} cores."
    )
    kills = tried[tried["fault"] == "kill -9"]
    others = tried[tried["fault"] != "kill -9"]
    killed = "Builds killed at random moments, by the phase they were in and the process killed."
    return "\n".join(
        [
            f"<p>{caption} {about.get('remark', '')}</p>",
            render.table(faults.counts(kills), caption=killed, download="faults.csv"),
            render.table(faults.counts(others), caption="All other faults.", download="faults.csv"),
        ]
    )


def cells_part(record: Path) -> str:
    """Return the recorded scale of the map of cells, the page on it, and searches: tables."""
    about = json.loads((record / "about.json").read_text(encoding="utf8"))
    frame = pd.read_csv(record / "cells.csv")
    shown = pd.DataFrame(
        {
            "Cells": frame["cells"],
            "Workers": frame["workers"],
            "Cells in a chunk": frame["chunk"],
            "Cells a second": frame["cells_per_second"].round(-1).astype(int),
            "Cells a processor second": (frame["cells"] / frame["cpu"]).round(-1).astype(int),
            "Peak memory, MiB": frame["peak_mb"].round().astype(int),
            "Largest worker, MiB": [
                "" if w == 1 else f"{mb:.0f}"
                for w, mb in zip(frame["workers"], frame["worker_mb"], strict=True)
            ],
            "Placed in their own state": [f"{100 * v:.1f}%" for v in frame["accuracy"]],
        }
    )
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    alone = frame[(frame["workers"] == 1) & (frame["chunk"] == frame["chunk"].iloc[0])]
    alone = alone.sort_values("cells")
    few, many = (int(n) for n in alone["cells"].iloc[[0, -1]])
    before = float(alone["start_mb"].max())
    growth = float(alone["peak_mb"].iloc[-1]) / float(alone["peak_mb"].iloc[0])
    caption = (
        f"Simulated cells, mapped from a file. {many:,} cells took {growth:.2f} times the memory "
        f"of {few:,} in one process, which needs {before:.0f} MiB before it reads a cell. Cells a "
        "second also tell what else the machine did; a processor second does not. All runs of the "
        "same cells gave the same result, or nothing would have been recorded. Recorded on "
        f"{about['date']}, {about['cores']} cores; {versions}."
    )
    parts = [render.table(shown, caption=caption, download="cells.csv")]
    runs = pd.read_csv(record / "pages.csv").sort_values("cells")
    shown = pd.DataFrame(
        {
            "Cells of the cohort": [f"{n:,}" if n else "no cohort" for n in runs["cells"]],
            "Cells placed": runs["placed"],
            "Processor seconds": runs["cpu"].round().astype(int),
            "Peak memory, MiB": runs["peak_mb"].round().astype(int),
        }
    )
    peaks = runs.loc[runs["cells"] > 0, "peak_mb"]
    few, many = (int(n) for n in runs.loc[runs["cells"] > 0, "cells"].iloc[[0, -1]])
    caption = (
        f"The whole page, which checks, reads and places simulated cohorts. {many:,} cells took "
        f"{peaks.iloc[-1] / peaks.iloc[0]:.2f} times the memory of {few:,}."
    )
    parts.append(render.table(shown, caption=caption, download="pages.csv"))
    search = pd.read_csv(record / "searches.csv")
    known = search[search["failed"].isna()]

    def number(value: float, form: str) -> str:
        return "" if pd.isna(value) else format(value, form)

    told = pd.DataFrame(
        {
            "Reference cells": search["reference"],
            "Search": search["method"].map(SEARCHES),
            "Before the first answer, s": [number(v, ".1f") for v in search["first_s"]],
            "A cell, µs": [number(v, ".1f") for v in search["cell_us"]],
            "Neighbours found": ["" if pd.isna(v) else f"{100 * v:.1f}%" for v in search["recall"]],
            "Cells that moved": [number(v, ".0f") for v in search["moved"]],
            "Failed with": search["failed"].fillna(""),
        }
    )
    caption = (
        "Processor time of the searches for neighbours. Cells that moved got other neighbours when "
        "asked with fewer others."
    )
    for size, mine in known.groupby("reference"):
        cost = dict(zip(mine["method"], mine[["first_s", "cell_us"]].to_numpy(), strict=True))
        if {"exact", "approximate"} <= set(cost):
            more, saved = cost["approximate"][0] - cost["exact"][0], cost["exact"][1]
            saved -= cost["approximate"][1]
            if saved > 0 and more > 0:
                even = 1e6 * more / saved
                caption += (
                    f" Among {size:,} reference cells the graph makes up for its start after "
                    f"{even:,.0f} cells in a process."
                )
    parts.append(render.table(told, caption=caption, download="searches.csv"))
    return "\n".join(parts)


def calibration_part(record: Path) -> str:
    """Return the recorded calibration: two figures and the table."""
    about = json.loads((record / "about.json").read_text(encoding="utf8"))
    frame = pd.read_csv(record / "calibration.csv", keep_default_na=False, na_values=[""])
    parts = []
    for number, (name, (caption, alt)) in enumerate(CALIBRATION_FIGURES.items(), 1):
        drawing = (record / f"calibration-{name}.svg").read_text(encoding="utf8")
        links = {"SVG": f"calibration-{name}.svg", "CSV": "calibration.csv"}
        inline = figures.themed(drawing, name, alt)
        parts.append(render.figure(name, inline, caption, number, links))
    found = [f"{100 * v:.1f}%" for v in frame["value"]]
    error = ["exact" if e == 0 else f"{100 * e:.1f}%" for e in frame["mc_error"]]
    named = {"Estimator": frame["estimator"], "Setting": frame["setting"]}
    shown = pd.DataFrame(
        {
            **named,
            "Measure": frame["measure"],
            "Found": found,
            "Monte Carlo error": error,
            "Result": frame["result"],
            "Replicates": frame["replicates"],
            "Not estimable": frame["not_estimable"],
        }
    )
    outside = pd.DataFrame(
        {
            **named,
            "Found": [f"{m} {v}" for m, v in zip(frame["measure"], found, strict=True)],
            "Why": frame["why"],
        }
    )[frame["result"] != "within"]
    told = f"{len(outside)} of {len(frame)} rows lie outside their band."
    parts.insert(0, render.table(outside, caption=told))
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    caption = (
        f"Recorded on {about['date']} with seed {about['seed']} in {about['seconds']:.0f} s; "
        f"{versions}."
    )
    parts.append(render.table(shown, caption=caption, download="calibration.csv", filterable=True))
    return "\n".join(parts)

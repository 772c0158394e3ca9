"""The page that compares the runs of a sweep: what was swept, what changes, what fails.

Everything on it is computed from the joined tables (`ballbook.sweep`), so that it shows no more of
a reader's own patients than they do.
"""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ballbook import analyses, batch, claims, disclosure, figures, ledger, render, report
from ballbook.combine import plain
from ballbook.notebook import UNPROTECTED
from ballbook.results import PERCENT_KINDS, VERDICTS, format_number
from ballbook.scales import SCALES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ballbook.sweep import Run, Sweep

PAGE = "comparison.html"
# What is drawn and listed at most; the tables beside the page hold everything.
MOST_FIGURES, MOST_ROWS, MOST_MARKS, MOST_CURVE = 24, 300, 24, 120
# Values closer than this, relative to their size, are the same.
SAME = 1e-9
NOTE = '<aside class="bb-recorded" role="note"><strong>{}</strong> {}</aside>'
OWN = (
    "Runs of one cohort under different parameters can be subtracted from one another. Counts of "
    "patients that lie too close to another run's are withheld here and in the joined tables, not "
    "in the folders of the single runs: those should not leave the group together."
)


def write(sweep: Sweep) -> None:
    """Write ``comparison.html`` from the tables of a sweep."""
    from ballbook.sweep import write_whole

    write_whole(sweep.out / PAGE, _Page(sweep).html())


class _Page:
    """The parts of the page, in their order."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.analysis = analyses.find(sweep.slug)
        self.axes = list(sweep.grid.axes)
        self.parts: list[tuple[str, str]] = []
        self.figures = 0
        self.by_number = {r.number: r for r in sweep.runs}
        self.done = [r for r in sweep.runs if sweep.states[r.number].status == "done"]
        self.results = self._first()

    def _first(self) -> dict[str, Any]:
        """Return the results of a run, for what all have in common."""
        if not self.done:
            return {}
        file = batch.folder_of(self.sweep.out, self.done[0].number) / "results.json"
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf8"))
        return found

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """The estimates of all runs, with the axes as columns named as they are."""
        found = pd.read_csv(self.sweep.out / "estimates.csv", dtype={"reason": str, "unit": str})
        return self._placed(found)

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """The verdicts of all runs."""
        return self._placed(pd.read_csv(self.sweep.out / "verdicts.csv", dtype=str))

    def _placed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a table with the axes as they are in the grid, not as a file spells them."""
        runs = frame["run"].astype(int)
        kept = frame.drop(columns=frame.columns[1 : 1 + len(self.axes)]).assign(run=runs)
        for axis in self.axes:
            values = {n: _shown(r.point.at[axis]) for n, r in self.by_number.items()}
            kept[f"at:{axis}"] = runs.map(values)
        return kept

    # What is said

    def html(self) -> str:
        """Return the page."""
        n = len(self.sweep.runs)
        self._say(f"# {self.analysis.meta['title']}: {n:,} run{'s' * (n != 1)} compared")
        moved = self._moved() if self.done else pd.DataFrame()
        agreed = self._agreement() if self.done else pd.DataFrame()
        self._show(render.answer(self._summary(moved, agreed), self._certainty(), [], {}))
        self._notes()
        self._swept()
        if len(agreed):
            self._verdicts(agreed)
        if len(moved):
            self._estimates(moved)
        self._runs()
        links = {name: name for name in ("estimates.csv", "verdicts.csv", "runs.csv")}
        self._show(f"<p>All runs as tables: {render.downloads(links)}</p>")
        if self.results:
            common = {
                k: v for k, v in self.results["parameters"].items() if k not in set(self.axes)
            }
            self._show(render.provenance(self.results["provenance"], common))
        title = f"{self.analysis.meta['title']}: comparison"
        return report.of_parts({**self.analysis.meta, "title": title}, self.parts)

    def _summary(self, moved: pd.DataFrame, agreed: pd.DataFrame) -> str:
        from ballbook.sweep_progress import told

        dummy = f"{render.DUMMY}. " if self._dummy else ""
        said = f"{dummy}{told(self.sweep)}"
        if not len(moved):
            return f"{said}."
        changing = int(moved["varies"].sum())
        said += f"; {changing} of {len(moved)} estimates change between them"
        if len(agreed):
            alike = int((agreed["words"] == 1).sum())
            said += f", and {alike} of {len(agreed)} claims keep one verdict"
        return f"{said}."

    def _certainty(self) -> str:
        return (
            "These are answers to one question under the choices of a grid. None is better for "
            "having been run, and their spread is no confidence interval."
        )

    @property
    def _dummy(self) -> bool:
        return bool(self.results) and ledger.of_dummy(self.results)

    def _notes(self) -> None:
        own = [r for r in self.done if r.point.values.get("cohort")]
        if not own:
            return
        if self._dummy:
            self._show(render.dummy_label())
        else:
            self._show(NOTE.format("Your patients.", OWN))
        least = min(int(r.point.values.get("min_count", 5)) for r in own)
        if least < disclosure.UNSAFE:
            told = UNPROTECTED.format(least)
            self._show(f'<aside class="bb-recorded" role="note">{told}</aside>')

    def _swept(self) -> None:
        declared = {p.name: p for p in self.analysis.parameters}
        rows = []
        for axis in self.axes:
            values = list(dict.fromkeys(_shown(r.point.at[axis]) for r in self.sweep.runs))
            default = "none" if axis == "cohort" else str(declared[axis].default)
            rows.append(
                {
                    "Parameter": axis,
                    "What it is": declared[axis].help,
                    "Values": _listed(values),
                    "Number": len(values),
                    "Default": default,
                }
            )
        self._say("## What was swept")
        if rows:
            fixed = {k: v for k, v in self.sweep.grid.fixed.items() if k != "cohort"}
            same = ", ".join(f"{k} = {v}" for k, v in fixed.items())
            caption = f"In all runs: {same}." if same else "Other parameters have their defaults."
            self._show(render.table(pd.DataFrame(rows), caption=caption))

    # Verdicts

    def _agreement(self) -> pd.DataFrame:
        """Return a row for each claim and tier: how many runs give which verdict."""
        known = claims.read()
        rows = []
        for (claim, tier), some in self.verdicts.fillna("").groupby(["claim", "tier"], sort=False):
            words = Counter(some["verdict"])
            rows.append(
                {
                    "claim": known[claim].statement if claim in known else claim,
                    "published": some["published"].iloc[0],
                    "tier": tier,
                    "counts": {w: words[w] for w in VERDICTS if words[w]},
                    "words": len(words),
                    "runs": len(some),
                }
            )
        found = pd.DataFrame(rows)
        return found.sort_values("words", ascending=False, kind="stable") if rows else found

    def _verdicts(self, agreed: pd.DataFrame) -> None:
        self._say("## Do the verdicts hang on the choice?")
        split = agreed["words"] > 1
        claims_ = "claim has" if len(agreed) == 1 else "claims have"
        said = f"{int(split.sum())} of {len(agreed)} {claims_} more than one verdict."
        if split.any():
            table = _verdict_table(agreed[split])
            self._show(render.table(table, caption=said, download="verdicts.csv"))
        else:
            self._say(said)
        if (~split).any():
            alike = render.table(_verdict_table(agreed[~split]), download="verdicts.csv")
            self._show(
                f'<details class="bb-provenance"><summary>{int((~split).sum())} with one verdict '
                f"in all runs</summary>{alike}</details>"
            )

    # Estimates

    def _moved(self) -> pd.DataFrame:
        """Return a row for each estimate: its range over the runs, and what moves it most."""
        rows = []
        for id, some in self.estimates.groupby("id", sort=False):
            values = some["value"].dropna()
            kind, unit = some["kind"].iloc[0], some["unit"].iloc[0]
            factor = 100.0 if kind in PERCENT_KINDS else 1.0
            low, high = (values.min(), values.max()) if len(values) else (math.nan, math.nan)
            varies = bool(len(values)) and not math.isclose(low, high, rel_tol=SAME, abs_tol=1e-15)
            rows.append(
                {
                    "id": id,
                    "label": some["label"].iloc[0] or id,
                    "kind": kind,
                    "unit": "%" if factor > 1 else (unit if isinstance(unit, str) else ""),
                    "runs": len(some),
                    "missing": len(some) - len(values),
                    "low": low * factor,
                    "median": values.median() * factor,
                    "high": high * factor,
                    "varies": varies or 0 < len(values) < len(self.done),
                    "moves": varies,
                    "apart": self._apart(some, kind),
                    "by": self._moved_by(some) if varies else "",
                }
            )
        return pd.DataFrame(rows)

    def _apart(self, some: pd.DataFrame, kind: str) -> str:
        """Return in how many runs the interval leaves out no effect."""
        null = SCALES[kind].null if kind in SCALES else None
        known = some.dropna(subset=["ci_low", "ci_high"])
        if null is None or not len(known):
            return ""
        out = (known["ci_low"] > null) | (known["ci_high"] < null)
        return f"{int(out.sum()):,} of {len(known):,}"

    def _moved_by(self, some: pd.DataFrame) -> str:
        """Return the axis that explains most of the variance between runs, with its share."""
        known = some.dropna(subset=["value"])
        total = float(((known["value"] - known["value"].mean()) ** 2).sum())
        if total <= 0 or len(self.axes) < 2:
            return ""
        shares = {}
        for axis in self.axes:
            means = known.groupby(f"at:{axis}")["value"].transform("mean")
            shares[axis] = float(((means - known["value"].mean()) ** 2).sum()) / total
        best = max(shares, key=shares.__getitem__)
        return f"{best} ({shares[best]:.0%})"

    def _estimates(self, moved: pd.DataFrame) -> None:
        self._say("## What the estimates do")
        drawn = moved[moved["moves"]]
        for row in drawn.head(MOST_FIGURES).itertuples():
            self._figure(row)
        if len(drawn) > MOST_FIGURES:
            left = len(drawn) - MOST_FIGURES
            self._say(f"{left} more estimates that change are in the table alone.")
        shown = pd.DataFrame(
            {
                "Estimate": moved["label"],
                "Unit": moved["unit"],
                "Smallest": moved["low"],
                "Median": moved["median"],
                "Largest": moved["high"],
                "Without value": moved["missing"],
                "Interval without no effect": moved["apart"],
                "Moved most by": moved["by"],
            }
        )
        order = (~moved["varies"]).argsort(kind="stable")
        shown = shown.iloc[order]
        empty = [
            c for c in ("Unit", "Interval without no effect", "Moved most by")
            if not shown[c].astype(bool).any()
        ]  # fmt: skip
        caption = "Each estimate over all runs that are done; those that change come first."
        if "Moved most by" not in empty:
            caption += (
                " Moved most by: the parameter whose values explain the largest share of the "
                "variance between runs."
            )
        self._show(
            render.table(shown.drop(columns=empty), caption=caption, download="estimates.csv")
        )

    def _figure(self, row: Any) -> None:
        import matplotlib.pyplot as plt

        some = self.estimates[self.estimates["id"] == row.id].dropna(subset=["value"])
        factor = 100.0 if row.kind in PERCENT_KINDS else 1.0
        drawn = some[["run"]].assign(
            **{c: some[c] * factor for c in ("value", "ci_low", "ci_high")},
            chosen=[self._default(self.by_number[n]) for n in some["run"]],
            **{axis: some[f"at:{axis}"] for axis in self.axes},
        )
        scale = SCALES.get(row.kind)
        null = None if scale is None or scale.null is None else scale.null * factor
        log = scale is not None and scale.name == "log" and bool((drawn["value"] > 0).all())
        words = row.kind.replace("-", " ").capitalize()
        ylabel = f"{words}{f', {row.unit}' if row.unit else ''}"
        with warnings.catch_warnings(), figures.style():
            # A label may hold letters that the font lacks.
            warnings.simplefilter("ignore")
            fewer, axes, inert = essential(drawn, self.axes)
            figure, how = draw(fewer, axes, ylabel=_text(ylabel), null=null, log=log)
            if inert:
                how += f" {_and(inert)} change{'s' * (len(inert) == 1)} nothing here."
            name = f"sweep-{row.id}"
            drawing = figures.svg(figure, name)
            plt.close(figure)
        self.figures += 1
        said = f"{row.label}: {caption(drawn, self.axes, row)}"
        inline = figures.themed(drawing, name, f"{how} {said}")
        self._show(render.figure(name, inline, f"{said} {how}", self.figures, {}))

    def _default(self, run: Run) -> bool:
        declared = {p.name: p.default for p in self.analysis.parameters}
        return all(run.point.values[k] == v for k, v in declared.items() if k != "cohort")

    # Runs

    def _runs(self) -> None:
        self._say("## The runs")
        rows, failed = [], []
        for run in self.sweep.runs:
            state = self.sweep.states[run.number]
            at = {a: _shown(run.point.at[a]) for a in self.axes}
            name = f"{run.number:03d}"
            rows.append({"Run": name, **at, "State": state.status, "Seconds": state.seconds})
            if state.status == "failed":
                failed.append({"Run": name, **at, "Why": plain(_first_line(state.reason), 300)})
        if failed:
            said = f"{len(failed)} of {len(rows)} runs failed; nothing is put in their place."
            table = pd.DataFrame(failed[:MOST_ROWS])
            self._show(render.table(table, caption=said))
        more = f" The first {MOST_ROWS} of {len(rows):,}." if len(rows) > MOST_ROWS else ""
        self._show(
            render.table(
                pd.DataFrame(rows[:MOST_ROWS]),
                caption=f"Each run has a folder of its number.{more}",
                download="runs.csv",
            )
        )
        if self.sweep.removed:
            names = ", ".join(f"{p['run']:03d}" for p in self.sweep.removed)
            told = f"In the folder, but no longer in the grid and not on this page: {names}."
            self._show(NOTE.format("Earlier runs.", escape(told)))

    def _say(self, markdown: str) -> None:
        self.parts.append(("markdown", markdown))

    def _show(self, html: str) -> None:
        self.parts.append(("html", html))


def _verdict_table(agreed: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Published claim": agreed["claim"],
            "Published": agreed["published"],
            "Data": [render.tier_pill(t or None) for t in agreed["tier"]],
            "Verdicts in how many runs": [
                render.Raw(" ".join(f"{render.verdict_pill(w)} {k:,}" for w, k in c.items()))
                for c in agreed["counts"]
            ],
        }
    )


# --------------------------------------------------------------------------------- drawing


def numeric(values: pd.Series) -> bool:
    """Return whether an axis has numbers enough to be drawn to scale."""
    kinds = {type(v) for v in values}
    return kinds <= {int, float} and values.nunique() >= 3


def essential(
    frame: pd.DataFrame, axes: Sequence[str]
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Return one row for runs that differ in nothing that matters to an estimate.

    Returns
    -------
    DataFrame
        The rows that are left; ``chosen`` where any of those they stand for is.
    list of str
        The axes that matter.
    list of str
        Those that change nothing, whatever the values of the others.
    """
    numbers = ["value", "ci_low", "ci_high"]
    kept = [a for a in axes if frame[a].nunique() > 1]
    inert: list[str] = []
    for axis in list(kept):
        others = [a for a in kept if a != axis]
        if not others:
            break
        # Of numbers that differ in their last digits only, the digits are dropped.
        alike = frame[numbers].map(lambda v: float(f"{v:.9g}")).fillna(math.inf)
        groups = [frame[a] for a in others]
        # Without two runs that differ in this axis alone, nothing is known of it.
        told = frame.groupby(groups, sort=False)[axis].nunique().max() > 1
        if told and alike.groupby(groups, sort=False).nunique().to_numpy().max() == 1:
            chosen = frame.groupby(groups, sort=False)["chosen"].transform("any")
            frame = frame.assign(chosen=chosen).drop_duplicates(others)
            kept, inert = others, [*inert, axis]
    return frame, kept, inert


def draw(
    frame: pd.DataFrame, axes: Sequence[str], *, ylabel: str, null: float | None, log: bool
) -> tuple[Any, str]:
    """Return a figure of one estimate over the runs, and what is to be seen in it.

    Parameters
    ----------
    frame : DataFrame
        A row a run: ``value``, ``ci_low``, ``ci_high``, ``chosen`` (the defaults), the axes.
    axes : sequence of str
        One axis is drawn from left to right, seeds alone by rank, several as a specification
        curve or, when there are too many runs for one, along the axis that moves the estimate most.
    """
    several = [a for a in axes if frame[a].nunique() > 1]
    others = [a for a in several if a != "seed"]
    if len(others) > 1:
        marks = sum(frame[a].nunique() for a in others)
        if marks <= MOST_MARKS and len(frame) <= MOST_CURVE and "seed" not in several:
            return _curve(frame, others, ylabel, null, log)
    figure, ax = figures.panels(size=(7.2, 3.4))
    how = _along(ax, frame, _strongest(frame, others)) if others else _ranked(ax, frame)
    if null is not None and _near(frame, null, log):
        ax.axhline(null, color=figures.C.muted, linewidth=0.9, zorder=0)
    if log:
        _log_axis(ax)
    ax.set_ylabel(f"{ylabel} (95% interval)" if frame["ci_low"].notna().any() else ylabel)
    ax.grid(axis="y")
    return figure, how


def _near(frame: pd.DataFrame, null: float, log: bool) -> bool:
    """Return whether no effect lies where it may be drawn without squeezing the estimates."""
    drawn = frame[["value", "ci_low", "ci_high"]].to_numpy(float)
    drawn = drawn[np.isfinite(drawn)]
    if log:
        drawn = np.log(drawn[drawn > 0])
        null = math.log(null) if null > 0 else -math.inf
    low, high = float(drawn.min()), float(drawn.max())
    room = high - low
    return low - room <= null <= high + room


def _log_axis(ax: Axes) -> None:
    from matplotlib.ticker import LogLocator

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
    ax.yaxis.set_minor_formatter(lambda v, _: "")


def _strongest(frame: pd.DataFrame, axes: Sequence[str]) -> str:
    """Return the axis between whose values an estimate differs most; numbers come first."""
    spread = {a: float(frame.groupby(a)["value"].mean().var()) for a in axes}
    drawn = [a for a in axes if numeric(frame[a])] or list(axes)
    return max(drawn, key=spread.__getitem__)


def _curve(
    frame: pd.DataFrame, axes: Sequence[str], ylabel: str, null: float | None, log: bool
) -> tuple[Any, str]:
    table = frame[["value", "ci_low", "ci_high", "chosen", *axes]].copy()
    for axis in axes:
        table[axis] = [_text(_plain_value(v)) for v in table[axis]]
    null = null if null is not None and _near(frame, null, log) else None
    figure = figures.specification_curve(table, null=null, log=log, ylabel=ylabel)
    orange = " (orange: the defaults)" if table["chosen"].any() else ""
    figure.axes[1].set_xlabel(f"Runs, ordered by estimate{orange}")
    return figure, f"Each column is a run, with its parameters below{orange}."


def _ranked(ax: Axes, frame: pd.DataFrame) -> str:
    from matplotlib.ticker import MaxNLocator

    rows = frame.sort_values("value", kind="stable")
    x = np.arange(1, len(rows) + 1)
    _dots(ax, x, rows)
    ax.set_xlabel("Runs, ordered by estimate")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return "Runs are ordered by their estimate; only the seed differs."


def _along(ax: Axes, frame: pd.DataFrame, axis: str) -> str:
    values = list(dict.fromkeys(frame[axis]))
    if numeric(frame[axis]):
        values = sorted(values)
        x = frame[axis].to_numpy(float)
        if min(values) > 0 and max(values) / min(values) >= 100:
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
            ax.xaxis.set_minor_formatter(lambda v, _: "")
    else:
        place = {v: i for i, v in enumerate(values)}
        x = np.array([place[v] for v in frame[axis]], dtype=float)
        ax.set_xticks(range(len(values)), [_text(_plain_value(v)) for v in values])
        ax.set_xlim(-0.6, len(values) - 0.4)
    at = dict(zip(frame[axis], x, strict=True))
    alone = frame.groupby(axis)["value"].size().max() == 1
    if alone:
        if numeric(frame[axis]):
            line = frame.assign(x=x).sort_values("x")
            ax.plot(line["x"], line["value"], color=figures.C.blue, linewidth=0.9, alpha=0.6)
        _dots(ax, x, frame)
    else:
        ax.scatter(x, frame["value"], s=9, color=figures.C.blue, alpha=0.35, linewidth=0)
        middle = frame.groupby(axis)["value"].median()
        points = sorted((at[v], m) for v, m in middle.items())
        style = "-" if numeric(frame[axis]) else ""
        ax.plot(*zip(*points, strict=True), color=figures.C.orange, marker="D", markersize=5,
                linestyle=style)  # fmt: skip
    ax.set_xlabel(axis)
    if alone:
        orange = " Orange: the defaults." if frame["chosen"].any() else ""
        return f"One run for each value of {axis}.{orange}"
    return f"Dots are runs; diamonds their median at each value of {axis}."


def _dots(ax: Axes, x: np.ndarray[Any, Any], rows: pd.DataFrame) -> None:
    chosen = rows["chosen"].to_numpy(bool)
    colours = np.where(chosen, figures.C.orange, figures.C.blue)
    width = 1.3 if len(rows) <= 80 else 0.7
    ax.vlines(x, rows["ci_low"], rows["ci_high"], colors=list(colours), linewidth=width, alpha=0.6)
    size = np.where(chosen, 34, 20 if len(rows) <= 80 else 7)
    ax.scatter(x, rows["value"], c=list(colours), s=size, zorder=3, linewidth=0)


def caption(frame: pd.DataFrame, axes: Sequence[str], row: Any) -> str:
    """Return what the runs say of one estimate, in numbers."""
    unit = "" if not row.unit else ("%" if row.unit == "%" else f" {row.unit}")
    told = (
        f"from {format_number(row.low)} to {format_number(row.high)}{unit} in {len(frame):,} runs"
    )
    if row.missing:
        told += f", without a value in {row.missing:,}"
    if row.apart:
        told += f"; the interval leaves out no effect in {row.apart}"
    if [a for a in axes if frame[a].nunique() > 1] == ["seed"] and len(frame) > 1:
        deviation = float(frame["value"].std())
        told += f"; standard deviation between seeds {format_number(deviation)}"
        half = float(((frame["ci_high"] - frame["ci_low"]) / 2).mean())
        if math.isfinite(half) and half > 0:
            told += f", half an interval {format_number(half)}"
    return f"{told}."


def _shown(value: Any) -> Any:
    """Return a value of an axis as it is shown and compared; a list as text."""
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else value


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _plain_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value) if value != "" else "(empty)"


def _text(text: str) -> str:
    """Return text that a figure shows as it is: a dollar sign would start a formula."""
    return plain(text, 46).replace("$", r"\$")


def _listed(values: Sequence[Any]) -> str:
    shown = [_plain_value(v) for v in values]
    if len(shown) <= 8:
        return ", ".join(shown)
    return f"{shown[0]}, {shown[1]}, {shown[2]}, ... {shown[-1]}"


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")

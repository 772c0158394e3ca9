"""The page on several cohorts together: report, results, figures, tables.

It looks like a page of the book and is made by the same parts, without a notebook: nothing is
computed here but what `ballbook.pooling` computes.
"""

from __future__ import annotations

import math
import platform
import time
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ballbook import __version__, analyses, beside, bibliography, claims, figures, paths, render
from ballbook import pooling as pools
from ballbook.combine import FREE, Quantity, Result, doubts, number, plain, quantities, safe_name
from ballbook.notebook import (
    SHOWN_PACKAGES,
    UNPROTECTED,
    library_sha256,
    sha256,
    write_csv,
    write_json,
)
from ballbook.results import PERCENT_KINDS, Estimate, Gate, Verdict, as_json, format_p
from ballbook.scales import SCALES

PER_FIGURE, MOST_DOUBTS = 5, 20


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
        usable = [q.pool for q in self.usable if q.pool is not None]
        if usable:
            few, counted = min(len(p.inside) for p in usable), any(not p.weights for p in usable)
            action = "the wider of two intervals is used; read the variation as unknown"
            if counted:
                action += "; intervals of pooled counts are normal and may be too narrow"
            found.append(
                Gate(
                    "Cohorts enough to see how much they vary (fewest in a pool)",
                    "passed" if few >= 5 else "failed",
                    float(few),
                    5.0,
                    "" if few >= 5 else action,
                )
            )
        for q in self.usable:
            assert q.pool is not None
            if (p := q.pool.q.value) is not None:
                found.append(
                    Gate(
                        f"{q.label}: cohorts agree (P of heterogeneity)",
                        "passed" if p >= 0.1 else "failed",
                        p,
                        0.1,
                        "" if p >= 0.1 else "look at the cohorts one by one before the mean",
                    )
                )
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
        dummy = f"{render.DUMMY}. " if self.results[0].tier == "simulated" else ""
        if not self.usable:
            return (
                f"{dummy}{k.capitalize()} cohorts, but no estimate that can be pooled: fewer than "
                "two of them give any with an interval."
            )
        q = self.usable[0]
        assert q.pool is not None
        inside = number(len(q.pool.inside))
        of = "" if inside == k else f"{inside} of "
        label = f"{q.label}, {of}{k} cohorts pooled"
        said = f"{dummy}{claims.in_words(replace(bare(q.pooled), label=label))}."
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
        given = (r.parameters.get("min_count") for r in self.results)
        counts = [v for v in given if isinstance(v, int)]
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
        for doubt in self.doubts[:MOST_DOUBTS]:
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
            (self.folder / "figures" / f"{name}.png").write_bytes(figures.png(drawn))
            plt.close(drawn)
        (self.folder / "figures" / f"{name}.svg").write_text(drawing, encoding="utf8")
        write_csv(table, self.folder / "figures" / f"{name}.csv")
        self.figures += 1
        said = "; ".join(f"{q.label}: {bare(q.pooled)}" for q in rows)
        published = "published numbers in blue; " if (table["kind"] == "study").any() else ""
        caption = (
            f"{said}. The cohorts in orange, sized by weight; {published}the diamond is the pool, "
            "by the interval that judges claims."
        )
        if cut:
            caption += " Intervals that reach the edge go on beyond it; the numbers are in full."
        alt = f"Forest plot of the cohorts and their pool. {said}"
        links = {k: f"figures/{name}.{k.lower()}" for k in ("SVG", "PNG", "CSV")}
        self._show(
            render.figure(name, figures.themed(drawing, name, alt), caption, self.figures, links)
        )

    def _numbers(self) -> None:
        if not self.usable:
            return
        table = pools.frame((q.label, q.pool) for q in self.usable if q.pool is not None)
        intervals = {
            "quantity": "Quantity", "cohorts": "Cohorts", "pooled": "Pooled, judges claims",
            "normal": "Normal interval", "hartung_knapp": "Hartung-Knapp",
            "common_effect": "Common effect",
        }  # fmt: skip
        spread = {
            "quantity": "Quantity", "q": "Q", "q_p": "P", "i2": "I²", "tau2": "tau²",
            "prediction": "In a new cohort",
        }  # fmt: skip
        for name, columns, caption in (
            ("pooled", intervals, "Each mean by the interval that judges claims and by others."),
            (
                "heterogeneity", spread,
                "How much the cohorts differ. A new cohort: where its true value is expected; this "
                "needs three cohorts, and where they agree it is a guess.",
            ),
        ):  # fmt: skip
            known = {c: h for c, h in columns.items() if table[c].notna().any()}
            self._table(table[list(known)], name, known, caption)
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
        rows = []
        for q in self.rows:
            for why in dict.fromkeys(q.left_out.values()):
                names = ", ".join(n for n, w in q.left_out.items() if w == why)
                rows.append({"quantity": q.label, "cohort": names, "why": why})
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
        from ballbook import report

        return report.of_parts(self.analysis.meta, self.parts)


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


def figure_text(text: str, length: int = 46) -> str:
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
    # A pool of two cohorts may reach far beyond them, and would make them dots.
    wide = table.loc[table["kind"].isin(["pooled", "prediction"]), ["ci_low", "ci_high"]]
    ends = wide.to_numpy(float)
    if log:
        ends = np.log(np.where(ends > 0, ends, np.nan))
    span = (high - low) or 1.0
    known = np.clip(ends[np.isfinite(ends)], low - span, high + span)
    low, high = min([low, *known]), max([high, *known])
    room = 0.06 * (high - low) or 0.5
    limits = np.array([low - room, high + room])
    if log:
        limits = np.exp(limits)
    return float(limits[0]), float(limits[1])


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

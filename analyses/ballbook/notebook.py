"""The page: what a notebook calls to show its parts and to leave results behind.

A notebook opens its page once, after the parameters cell::

    page = open_page("ikzf1-outcome", globals())

and closes it once, at the end. In between it records estimates, gates and verdicts, and shows
figures and tables; each is written to the run's folder as well (``results.json``, ``figures/``,
``tables/``). The front matter of the notebook, under ``ballbook:``, holds what is known before a
run: slug, chapter, title, the finding in one sentence, its source (bib key), the catalogue ids of
its data, and ``headline``: the claims shown in the answer box and on the findings board.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ballbook import __version__, catalog, claims, disclosure, figures, paths, render, resources
from ballbook.aside import Aside
from ballbook.claims import Claim
from ballbook.parameters import Parameter
from ballbook.results import Estimate, Gate, Tier, Verdict, as_json, clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ballbook.cohort import Cohort

NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
OUT = "BALLBOOK_OUT"
MAP = "BALLBOOK_MAP"
# "0": nothing is drawn to files, for runs of which only numbers are kept.
FIGURES = "BALLBOOK_FIGURES"
SHOWN_PACKAGES = (
    "numpy",
    "pandas",
    "scipy",
    "lifelines",
    "statsmodels",
    "scikit-learn",
    "scanpy",
    "seaborn",
    "matplotlib",
    "papermill",
)
UNPROTECTED = (
    "<strong>Small counts are shown.</strong> This run was made with a minimum count of {}: "
    "single patients may be recognised. Do not share it outside the group that treats them."
)
# A spreadsheet reads a cell as a formula when it starts like this; one that splits at semicolons,
# tabs or lines also reads what follows these as a cell. Full-width signs count in some locales.
CELL_START, SIGN = r"(?:^|(?<=[;|\t\r\n]))", r"(?=[ \xa0]*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])"
FORMULA, DISARMED = re.compile(CELL_START + SIGN), re.compile(f"{CELL_START}'{SIGN}")
# Columns of a figure's data that count patients.
COUNTS = ("n", "n_events", "events", "size", "at_risk")
WITHHELD = "A dash stands for what small counts keep back."


def open_page(slug: str, scope: Mapping[str, Any]) -> Page:
    """Return the page of the analysis `slug`, with parameters taken from `scope`.

    Parameters
    ----------
    slug : str
    scope : mapping
        The notebook's ``globals()``.
    """
    from ballbook.analyses import find

    analysis = find(slug)
    values = {p.name: scope[p.name] for p in analysis.parameters}
    given = os.environ.get(OUT)
    out = Path(given) if given else paths.build() / "interactive" / slug
    if not given and out.exists():
        shutil.rmtree(out)
    return Page(analysis.meta, analysis.parameters, values, out)


class Page:
    """One run of one analysis, as the notebook sees it.

    Attributes
    ----------
    parameters : dict
        Resolved values of the parameters cell.
    cohort : Cohort or None
        The reader's own cohort, tier ``yours`` (``simulated`` for a dummy); None when none was
        given.
    min_count : int
        Smallest count that may be shown of the reader's cohort.
    seed : int
    """

    def __init__(
        self,
        meta: Mapping[str, Any],
        declared: Sequence[Parameter],
        values: Mapping[str, Any],
        out: Path,
    ) -> None:
        self.meta, self.slug = meta, str(meta["slug"])
        self.parameters = dict(values)
        self.out = out
        self.min_count = int(values.get("min_count", 5))
        self.seed = int(values.get("seed", 0))
        self.cohort = self._own_cohort(str(values.get("cohort", "")))
        # Invented patients: shown like a reader's own, but of tier "simulated".
        self.dummy = self.cohort is not None and self.cohort.tier == "simulated"
        self.estimates_by_id: dict[str, Estimate] = {}
        self.gates_found: list[Gate] = []
        self._gates_shown = 0
        self._compared: set[str] = set()
        self.verdicts_found: list[Verdict] = []
        self._judged: set[tuple[str, bool]] = set()
        self._analysed: int | None = None
        self._own_counts: list[int] = []
        self._own_cells: list[int] = []
        self._library = library_sha256()
        self._figures = 0
        self._drawing = os.environ.get(FIGURES) != "0"
        # One at a time: a figure is kept until it is drawn.
        self._picture = Aside()
        self._started = time.perf_counter()
        self._watch = resources.Watch()
        self._start = datetime.now(UTC)
        for folder in ("figures", "tables"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        figures.use_style()

    @staticmethod
    def _own_cohort(path: str) -> Cohort | None:
        if not path:
            return None
        from ballbook.cohort import read_cohort

        found = read_cohort(path, os.environ.get(MAP) or None)
        # The name of a file may name a hospital, a study or a patient.
        title = "Your cohort" if found.tier == "yours" else found.title
        return replace(found, id="own-cohort", title=title)

    # What the page shows

    def answer(self) -> None:
        """Mark the place of the answer box; it is filled when the run is complete."""
        show(render.Raw('<div data-bb-slot="answer"></div>'))

    def flow(
        self,
        steps: Sequence[Sequence[Any]],
        *,
        title: str = "Who is counted",
        own: bool | None = None,
    ) -> None:
        """Show who is counted and who was left out.

        Parameters
        ----------
        steps : sequence of (label, n) or (label, n, why)
            Remaining patients after each step; `why` says for what reason the others left.
        own : bool, optional
            The reader's patients: small steps are merged (`disclosure.flow`). When not given, by
            whether the title is that of the reader's cohort.
        """
        if own is None:
            own = self.cohort is not None and title == self.cohort.title
        if own:
            steps = disclosure.flow(steps, self.min_count, self._own_counts)
            self._own_counts += [int(s[1]) for s in steps]
            if not steps:
                few = f"Fewer than {self.min_count} patients, or too close to another number shown."
                show(render.Raw(f"<p>{title}: {few}</p>"))
                return
        elif self._analysed is None and steps:
            self._analysed = int(steps[-1][1])
        show(render.flow(title, steps))

    def figure(
        self,
        figure: Figure,
        name: str,
        *,
        caption: str,
        alt: str,
        data: pd.DataFrame | None = None,
        own: bool | None = None,
    ) -> None:
        """Show a matplotlib figure and write it as SVG, PNG and, with `data`, CSV.

        Parameters
        ----------
        name : str
            Kebab-case file name, unique in the page.
        caption : str
            What to see in the figure.
        alt : str
            The figure in words, for readers who cannot see it.
        data : DataFrame, optional
            The numbers drawn.
        own : bool, optional
            `data` are of the reader's patients alone: they must be summaries and are rounded
            (`ballbook.disclosure`). When not given, by whether `name` starts or ends with "own".

        Raises
        ------
        disclosure.RowLevel
            If own data are no summary.
        """
        import matplotlib.pyplot as plt

        if data is not None and self._named_own(name, own):
            data = self._own_data(data)

        self._check_name(name)
        self._figures += 1
        if not self._drawing:
            plt.close(figure)
            return
        links = {"SVG": f"figures/{name}.svg", "PNG": f"figures/{name}.png"}
        self._picture.wait()
        self._picture = Aside(partial(write_png, figure, self.out / links["PNG"]))
        drawing = figures.svg(figure, f"{self.slug}-{name}")
        (self.out / links["SVG"]).write_text(drawing, encoding="utf8")
        if not self._picture.begun:
            self._picture.wait()
        plt.close(figure)
        if data is not None:
            links["CSV"] = f"figures/{name}.csv"
            write_csv(data, self.out / links["CSV"])
        inline = figures.themed(drawing, name, alt)
        show(render.figure(name, inline, caption, self._figures, links))

    def table(
        self,
        frame: pd.DataFrame,
        name: str,
        *,
        caption: str,
        columns: Mapping[str, str] | None = None,
        own: bool | None = None,
        counts: Sequence[str] | None = None,
        total: str | None = None,
    ) -> None:
        """Show a table and write it as CSV.

        Parameters
        ----------
        columns : mapping, optional
            Column of `frame` to heading, in the order shown; the CSV keeps all columns.
        own : bool, optional
            The reader's patients: it must be a summary, small counts are withheld with what
            belongs to them, and numbers are rounded (`ballbook.disclosure`). When not given, by
            whether `name` starts or ends with "own".
        counts : sequence of str, optional
            Columns that count own patients in disjoint groups; all integer ones when not given.
        total : str, optional
            Column with the sum of `counts`.

        Raises
        ------
        disclosure.RowLevel
            If a table of own patients names patients or holds a row for each.
        """
        self._check_name(name)
        if self._named_own(name, own):
            before = frame.isna().sum().sum()
            frame = self._own_table(frame, counts, total)
            if frame.isna().sum().sum() > before:
                caption = f"{caption} {WITHHELD}".strip()
        write_csv(frame, self.out / "tables" / f"{name}.csv")
        shown = frame if columns is None else frame[list(columns)].rename(columns=dict(columns))
        show(render.table(shown, caption=caption, download=f"tables/{name}.csv"))

    def _named_own(self, name: str, own: bool | None) -> bool:
        if own is None:
            own = name.split("-")[0] in {"own", "your"} or name.endswith("-own")
        return own and self.cohort is not None

    def _refuse_rows(self, frame: pd.DataFrame) -> None:
        assert self.cohort is not None
        disclosure.refuse_rows(frame, self.cohort.patients["patient_id"], self.cohort.n)

    def _own_table(
        self, frame: pd.DataFrame, counts: Sequence[str] | None, total: str | None
    ) -> pd.DataFrame:
        """Return a table of own patients as it may be shown, and remember its counts."""
        self._refuse_rows(frame)
        if self.min_count <= 0:
            return frame
        if counts is None:
            integer = [str(c) for c in frame if pd.api.types.is_integer_dtype(frame[c])]
            counts = [c for c in integer if c != total and frame[c].notna().all()]
        told = [*counts, *([total] if total else [])]
        small = (frame[told] < self.min_count).any(axis=1)
        found = disclosure.suppress(
            frame, counts, self.min_count, total=total, close_to=self._own_counts
        )
        for column in [c for c in frame.columns[1:] if c not in told]:
            if pd.api.types.is_numeric_dtype(found[column]):
                found[column] = found[column].astype(float)
            found.loc[small, column] = None
        self._own_cells += [int(v) for c in told for v in found[c].dropna()]
        return found.apply(lambda column: column.map(disclosure.three))

    def _own_data(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the data of a figure of own patients as they may be shown."""
        self._refuse_rows(frame)
        if self.min_count <= 0:
            return frame
        found = frame.apply(lambda column: column.map(disclosure.three))
        for column in [c for c in COUNTS if c in found]:
            shown = []
            for n in found[column]:
                known = None if pd.isna(n) or n < self.min_count else int(n)
                if known is not None and not self._apart(known):
                    known = None
                elif known is not None:
                    self._own_counts.append(known)
                shown.append(known)
            found[column] = pd.array(shown, dtype="Int64")
        return found

    def _apart(self, n: int) -> bool:
        """Tell whether a count of own patients may stand beside those that are shown."""
        return all(disclosure.apart(n, m, self.min_count) for m in self._own_counts)

    def estimates(
        self, ids: Sequence[str] | None = None, *, caption: str = "", name: str = "estimates"
    ) -> None:
        """Show recorded estimates, all or those in `ids`, as a table with its CSV."""
        rows = [self.estimates_by_id[i] for i in (ids or list(self.estimates_by_id))]
        self._check_name(name)
        write_csv(pd.DataFrame([as_json(e) for e in rows]), self.out / "tables" / f"{name}.csv")
        show(render.estimates(rows, caption=caption, download=f"tables/{name}.csv"))

    def gates(self) -> None:
        """Show the gates recorded since they were last shown."""
        show(render.gates(self.gates_found[self._gates_shown :]))
        self._gates_shown = len(self.gates_found)

    def sensitivity(
        self,
        frame: pd.DataFrame,
        *,
        caption: str,
        alt: str,
        null: float | None = None,
        log: bool = False,
        ylabel: str = "Estimate",
        name: str = "specification-curve",
    ) -> None:
        """Show a specification curve; columns as `figures.specification_curve` takes them."""
        if self._named_own(name, None):
            frame = self._own_data(frame)
        drawn = figures.specification_curve(frame, null=null, log=log, ylabel=ylabel)
        self.figure(drawn, name, caption=caption, alt=alt, data=frame)

    def claims(self) -> None:
        """Show the claims of this analysis with their verdicts."""
        show(render.verdicts(self.verdicts_found, claims.read()))

    def beside(
        self,
        rows: Mapping[str, tuple[str, Sequence[str], Sequence[str]]],
        *,
        name: str = "beside",
        xlabel: str | None = None,
    ) -> None:
        """Show the reader's estimates beside published and open ones, as a forest plot and a table.

        Without a reader's cohort nothing is shown. The P values of difference and heterogeneity and
        the power are recorded as ``<own id>-difference``, ``-heterogeneity`` and ``-power``.

        Parameters
        ----------
        rows : mapping
            Quantity in words to ``(own id, other ids, context ids)``: the id of a recorded estimate
            of the reader's; recorded estimates or claims of other patients, the one that the
            reader's is compared with first; and what is only shown beside them, since it shares
            patients with those or answers another question. All on one scale.
        xlabel : str, optional
            What the axis shows; the kind in words when not given.
        """
        if self.cohort is None:
            return
        from ballbook import beside

        found = [
            beside.compare(
                words,
                self.estimates_by_id[own],
                [self._known(i) for i in others],
                [self._known(i) for i in context],
            )
            for words, (own, others, context) in rows.items()
        ]
        for c in found:
            for what in ("difference", "heterogeneity", "power"):
                self._compared.add(f"{c.own.id}-{what}")
                self.record(
                    getattr(c, what), id=f"{c.own.id}-{what}", label=f"{c.quantity}: {what}",
                    tier=c.own.tier,
                )  # fmt: skip
        drawn = [c for c in found if c.own.value is not None]
        if drawn:
            shown = beside.forest_rows(drawn)
            scale, kind = beside.scale_of(drawn), drawn[0].own.kind.replace("-", " ").capitalize()
            unit = "%" if beside.percent(drawn[0].own) else drawn[0].own.unit
            kind = xlabel or (f"{kind}, {unit}" if unit else kind)
            self.figure(
                figures.forest(
                    shown, null=scale.null, log=scale.name == "log",
                    xlabel=f"{kind} (95% interval)",
                ),
                name, data=shown,
                caption="Your cohort (orange), published numbers (blue) and open data (green).",
                alt="Forest plot of your cohort beside published numbers and open data: "
                + "; ".join(f"{c.quantity}, yours {c.own}" for c in drawn),
            )  # fmt: skip
        columns = {
            "quantity": "Quantity", "published": "Compared with", "yours": "Yours",
            "difference_p": "P, yours v that", "heterogeneity_p": "P, heterogeneity",
            "power": "Power to see that", "detectable": "80% power to see",
        }  # fmt: skip
        frame = beside.table(found)
        empty = [c for c in ("power", "detectable") if not frame[c].astype(bool).any()]
        self.table(
            frame, name, columns={k: v for k, v in columns.items() if k not in empty},
            caption=(
                "Power is that of your cohort, by its own standard error, had the effect it is "
                "compared with been exactly true. 80% power to see: values that a cohort as exact "
                "as yours would have told from no effect (or from that level) four times in five."
            ),
        )  # fmt: skip

    def _known(self, id: str) -> Estimate:
        """Return the recorded estimate `id`, or the claim `id` as an estimate."""
        from ballbook import beside, bibliography

        if id in self.estimates_by_id:
            return self.estimates_by_id[id]
        claim = claims.read().get(id)
        if claim is None:
            raise ValueError(f"{id!r} is neither a recorded estimate nor a claim")
        return beside.from_claim(claim, bibliography.short().get(claim.source, claim.source))

    def methods(self, text: str) -> None:
        """Show the methods paragraph of the reader's cohort, ready for a paper.

        Without a reader's cohort nothing is shown. What was found, the software with its versions,
        and the references follow by themselves; all is also written as ``methods.txt``.

        Parameters
        ----------
        text : str
            What was done with the cohort, in sentences built from what was run, with citations as
            ``{cite:p}`key```.
        """
        if self.cohort is None:
            return
        from ballbook import paragraph

        if self.dummy:
            text = f"{render.DUMMY}. {text}"
        own = [e for e in self.estimates_by_id.values() if e.id.startswith("own-")]
        own = [e for e in own if e.id not in self._compared]
        written = paragraph.write(
            text, own, self._provenance(), self.slug, self.min_count, sys.modules
        )
        (self.out / "methods.txt").write_text(written.plain, encoding="utf8")
        show(written.html)

    # What the page keeps

    def record(self, estimate: Estimate, *, id: str, label: str, **changes: Any) -> Estimate:
        """Keep an estimate for ``results.json`` under a stable id, and return it.

        Raises
        ------
        ValueError
            If the id is taken or not kebab-case, or no tier is known.
        """
        named = self._discreet(estimate.named(id, label, **changes))
        if self._own(named):
            named = replace(named, tier=self._own_tier)
        self._check_name(id)
        if id in self.estimates_by_id:
            raise ValueError(f"estimate id {id!r} is already taken")
        if named.tier is None:
            raise ValueError(f"estimate {id!r} needs the tier of its data")
        self.estimates_by_id[id] = named
        return named

    def _discreet(self, estimate: Estimate) -> Estimate:
        """Return an estimate of the reader's own patients with small counts withheld."""
        if not self._own(estimate):
            return estimate
        found = disclosure.release(
            estimate, self.min_count, nested=self._own_counts, cells=self._own_cells
        )
        if found.n is not None:
            self._own_counts.append(found.n)
        return found

    @property
    def _own_tier(self) -> Tier:
        return "simulated" if self.dummy else "yours"

    def _own(self, estimate: Estimate) -> bool:
        """Tell whether an estimate is of the reader's patients, or of dummies in their place."""
        return estimate.tier == "yours" or (self.dummy and estimate.id.startswith("own-"))

    def gate(self, gate: Gate, *, own: bool | None = None) -> Gate:
        """Keep a gate, and return it.

        One on the reader's patients keeps no count (`disclosure.gate`); which is one is told by
        `own`, or by the words "your cohort" in it.
        """
        if own is None:
            own = "your cohort" in f"{gate.name} {gate.action}".lower()
        if own and self.cohort is not None:
            gate = disclosure.gate(gate, self.min_count)
        self.gates_found.append(gate)
        return gate

    def judge(
        self,
        claim: str,
        estimate: str,
        *,
        misprint: str | None = None,
        label: str | None = None,
        note: str = "",
        other_patients: bool = False,
    ) -> Verdict:
        """Judge a claim by a recorded estimate, keep the verdict, and return it.

        `misprint`, `label`, `note` and `other_patients` as in `claims.judge`.
        """
        verdict = claims.judge(
            self._claim(claim),
            self.estimates_by_id[estimate],
            misprint=misprint,
            label=label,
            note=note,
            other_patients=other_patients,
        )
        return self._keep(verdict, own=self._own(self.estimates_by_id[estimate]))

    def not_testable(self, claim: str, reason: str, *, needs: str | None = None) -> Verdict:
        """Keep the verdict ``not-testable`` with its reason and the data that would be needed."""
        return self._keep(claims.not_testable(self._claim(claim), reason, needs))

    def _claim(self, id: str) -> Claim:
        claim = claims.read().get(id)
        if claim is None:
            raise ValueError(f"no claim {id!r} in data/claims")
        if claim.analysis != self.slug:
            raise ValueError(f"claim {id!r} belongs to {claim.analysis!r}, not to {self.slug!r}")
        return claim

    def _keep(self, verdict: Verdict, *, own: bool = False) -> Verdict:
        if (verdict.claim, own) in self._judged:
            raise ValueError(f"claim {verdict.claim!r} has a verdict already")
        self._judged.add((verdict.claim, own))
        self.verdicts_found.append(verdict)
        return verdict

    def _check_name(self, name: str) -> None:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} should be lower-case words joined by hyphens")

    # The end

    def close(self, summary: str, *, certainty: str = "") -> None:
        """Show how to rerun and where the page comes from, and write ``results.json``.

        Parameters
        ----------
        summary : str
            The answer in one or two plain sentences, built from estimates.
        certainty : str
            How sure one can be, and why.

        Raises
        ------
        ValueError
            If a claim of this analysis has no verdict.
        """
        judged = {claim for claim, own in self._judged if not own}
        wanted = [
            c.id for c in claims.of_analysis(self.slug) if c.kind not in claims.WITHOUT_VERDICT
        ]
        if missing := [id for id in wanted if id not in judged]:
            raise ValueError(f"claims without a verdict: {', '.join(missing)}")
        record = self._provenance()
        primary = next(iter(self.meta.get("data", [])), None)
        hashes = list(record["data"].get(primary, {}).values())
        cohort = {
            "id": primary,
            "tier": catalog.entry(primary).tier if primary else "published",
            "n": self._analysed,
            "sha256": hashes[0] if len(hashes) == 1 else hashes or None,
        }
        if self.cohort is not None:
            cohort = {
                "id": self.cohort.id,
                "tier": self._own_tier,
                "n": self._own_counts[0] if self._own_counts else None,
                "sha256": list(self.cohort.files.values()),
            }
        results: dict[str, Any] = {
            "analysis": self.slug,
            "summary": f"{render.DUMMY}. {summary}" if self.dummy else summary,
            "certainty": certainty,
            "parameters": {**self.parameters, **({"cohort": "(yours)"} if self.cohort else {})},
            "cohort": cohort,
            "estimates": [as_json(e) for e in self.estimates_by_id.values()],
            "gates": [as_json(g) for g in self.gates_found],
            "verdicts": [as_json(v) for v in self.verdicts_found],
            "provenance": record,
        }
        self._picture.wait()
        write_json(results, self.out / "results.json")
        # Apart from the results, which are the same on every machine.
        taken = {"resources": self._watch.read()}
        write_json(record | taken, self.out / "provenance.json")
        if self.cohort is not None and self.min_count < disclosure.UNSAFE:
            told = UNPROTECTED.format(self.min_count)
            show(render.Raw(f'<aside class="bb-recorded" role="note">{told}</aside>'))
        if self.dummy:
            show(render.dummy_label())
        show(
            render.Raw(
                "<p>Run this page on your own cohort:</p>"
                + render.command(f"make run ANALYSIS={self.slug} COHORT=my-cohort.csv")
                + "<p>All numbers of this page as data: "
                + render.downloads({"results.json": "results.json"})
                + "</p>"
                + render.provenance(record, results["parameters"])
            )
        )

    def _provenance(self) -> dict[str, Any]:
        return {
            "started": self._start.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "seconds": round(time.perf_counter() - self._started, 2),
            "version": __version__,
            "library_sha256": self._library,
            "notebook_sha256": str(self.meta["sha256"]),
            "lock_sha256": sha256(paths.root() / "env" / "lock.txt"),
            "data": {id: catalog.hashes(id) for id in self.meta.get("data", [])},
            "seed": self.seed,
            "python": platform.python_version(),
            "packages": dict(package_versions()),
        }


def show(html: str) -> None:
    """Display HTML as the output of a cell."""
    from IPython.display import HTML, display

    display(HTML(html))


@cache
def package_versions() -> Mapping[str, str]:
    """Return the versions of the packages that a page names."""
    return {name: version(name) for name in SHOWN_PACKAGES}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def library_sha256() -> str:
    """Return one SHA-256 over the sources of the library, typed tables and claims."""
    digest = hashlib.sha256()
    library = Path(__file__).parent
    files = [*library.rglob("*.py"), *library.glob("*.json"), *paths.data().glob("published/*.csv")]
    for file in sorted([*files, *paths.data().glob("claims/*.yml")]):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def write_png(figure: Figure, file: Path) -> None:
    """Write a figure as PNG."""
    file.write_bytes(figures.png(figure))


def write_json(content: Any, path: Path) -> None:
    """Write plain JSON at full precision, keys in the order given."""
    text = json.dumps(clean(content), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf8")


def safe_cell(value: Any) -> Any:
    """Return `value` so that a spreadsheet reads text as text and never as a formula."""
    return FORMULA.sub("'", value) if isinstance(value, str) else value


def unsafe_cell(value: str) -> str:
    """Return a cell as it was before `safe_cell`."""
    return DISARMED.sub("", value)


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV: full precision, no index, formulas disarmed."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([safe_cell(str(c)) for c in frame.columns])
    for row in frame.itertuples(index=False):
        writer.writerow(["" if pd.isna(v) is True else safe_cell(v) for v in row])
    path.write_text(buffer.getvalue(), encoding="utf8")

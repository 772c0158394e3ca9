"""HTML of the parts that pages share: tables, pills, boards, figures, the provenance footer.

Everything that is not marked as `Raw` is escaped here, so text from a cohort cannot become markup.
Class names start with ``bb-`` and are styled by ``book/_static/ballbook.css``.
"""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ballbook.claims import Claim
from ballbook.results import Estimate, Gate, Verdict, format_estimate, format_number, format_p

if TYPE_CHECKING:
    import pandas as pd

VERDICT_HELP = {
    "reproduced": "Same data, same number within its printed rounding",
    "consistent": "Other patients, same direction, compatible interval",
    "differs": "The interval leaves out the published number",
    "misprint": "Contradicts other numbers printed beside it",
    "underpowered": "The interval holds both the published effect and none",
    "not-testable": "No data at hand can judge it",
    "method-check": "Simulated data: tests the method only",
}
TIER_HELP = {
    "published": "Numbers printed in a paper",
    "open": "Real patients, public data",
    "simulated": "Drawn by a seeded generator",
    "yours": "Your own cohort",
}


class Raw(str):
    """Text that is already HTML."""

    __slots__ = ()


def text(value: Any) -> str:
    """Return one table cell as HTML: numbers to three figures, missing as a dash."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, (bool,)):
        return "yes" if value else "no"
    # What pandas calls missing can only be here once pandas is.
    na = getattr(sys.modules.get("pandas"), "NA", None)
    if value is None or value is na or (isinstance(value, float) and math.isnan(value)):
        return '<span class="bb-none">\u2013</span>'
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}"
    if isinstance(value, numbers.Real):
        return format_number(float(value))
    return escape(str(value))


def table(
    frame: pd.DataFrame,
    *,
    caption: str = "",
    download: str | None = None,
    filterable: bool = False,
    p_columns: Iterable[str] = ("P", "p", "p_value"),
) -> Raw:
    """Return a data frame as a sortable table that scrolls sideways within its own box.

    Parameters
    ----------
    frame : DataFrame
        The index is not shown.
    download : str, optional
        Relative address of the same table as CSV.
    p_columns : iterable of str
        Columns printed as P values, as are those whose name starts with "P, ".
    """
    import pandas as pd

    numeric = [bool(pd.api.types.is_numeric_dtype(frame[name])) for name in frame.columns]
    columns = list(zip(map(str, frame.columns), numeric, strict=True))
    rows = (
        [None if n and pd.isna(v) else v for v, n in zip(row, numeric, strict=True)]
        for row in frame.itertuples(index=False)
    )
    p_names = {name for name, _ in columns if name in set(p_columns) or name.startswith("P, ")}
    return _table(columns, rows, p_names, caption, download, filterable)


def _table(
    columns: Sequence[tuple[str, bool]],
    rows: Iterable[Sequence[Any]],
    p_names: Collection[str] = (),
    caption: str = "",
    download: str | None = None,
    filterable: bool = False,
) -> Raw:
    """Return a table; `columns` are names, each with whether it holds numbers."""
    head = "".join(
        f'<th scope="col"{" class=bb-number" if n else ""}>{escape(c)}</th>' for c, n in columns
    )
    body = []
    for row in rows:
        cells = []
        for (name, is_number), value in zip(columns, row, strict=True):
            known = is_number and value is not None
            exact = ' class="bb-number"' if is_number else ""
            exact += f' data-value="{value}"' if known else ""
            shown = format_p(float(value)) if name in p_names and known else text(value)
            cells.append(f"<td{exact}>{shown}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    links = downloads({"CSV": download}) if download else ""
    below = f'<div class="bb-caption">{escape(caption)} {links}</div>' if caption or links else ""
    extra = " bb-filter" if filterable else ""
    return Raw(
        f'<div class="bb-table"><div class="bb-scroll"><table class="bb-sortable{extra}">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>{below}</div>"
    )


def downloads(links: Mapping[str, str | None]) -> str:
    """Return links to files beside a page."""
    items = "".join(
        f'<a class="bb-download" href="{escape(href)}" download>{escape(label)}</a>'
        for label, href in links.items()
        if href
    )
    return f'<span class="bb-downloads">{items}</span>'


def figure(name: str, drawing: str, caption: str, number: int, links: Mapping[str, str]) -> Raw:
    """Return an inline SVG with its caption and downloads."""
    return Raw(
        f'<figure class="bb-figure" id="{escape(name)}"><div class="bb-scroll">{drawing}</div>'
        f"<figcaption><strong>Figure {number}.</strong> {escape(caption)} {downloads(links)}"
        "</figcaption></figure>"
    )


def verdict_pill(word: str) -> Raw:
    """Return a verdict as a coloured word with its meaning as a tooltip."""
    return Raw(
        f'<span class="bb-verdict bb-verdict-{word}" title="{escape(VERDICT_HELP[word])}">'
        f"{word.replace('-', ' ')}</span>"
    )


def tier_pill(tier: str | None) -> Raw:
    """Return a data tier as a small label with its meaning as a tooltip."""
    if tier is None:
        return Raw('<span class="bb-none">\u2013</span>')
    return Raw(
        f'<span class="bb-tier bb-tier-{tier}" title="{escape(TIER_HELP[tier])}">{tier}</span>'
    )


def estimates(rows: Sequence[Estimate], *, caption: str, download: str | None = None) -> Raw:
    """Return estimates as a table: label, estimate with interval, P, n, events, method, tier."""
    import pandas as pd

    frame = pd.DataFrame(
        {
            "Estimate": [e.label or e.id for e in rows],
            "Value (95% interval)": [
                format_estimate(
                    Estimate(e.kind, e.value, e.ci_low, e.ci_high, unit=e.unit, reason=e.reason)
                )
                for e in rows
            ],
            "P": [e.p_value for e in rows],
            "n": pd.array([e.n for e in rows], dtype="Int64"),
            "Events": pd.array([e.n_events for e in rows], dtype="Int64"),
            "Method": [e.method for e in rows],
            "Data": [tier_pill(e.tier) for e in rows],
        }
    )
    if frame["Events"].isna().all():
        frame = frame.drop(columns="Events")
    frame["P"] = frame["P"].astype(float)
    if frame["P"].isna().all():
        frame = frame.drop(columns="P")
    return table(frame, caption=caption, download=download)


def gates(rows: Sequence[Gate]) -> Raw:
    """Return gates as a table."""
    import pandas as pd

    frame = pd.DataFrame(
        {
            "Assumption": [g.name for g in rows],
            "Result": [
                Raw(f'<span class="bb-gate bb-gate-{g.status}">{g.status.replace("-", " ")}</span>')
                for g in rows
            ],
            "Statistic": pd.Series([g.statistic for g in rows], dtype=float),
            "Threshold": pd.Series([g.threshold for g in rows], dtype=float),
            "What was done": [g.action for g in rows],
        }
    )
    return table(frame, caption="Assumptions checked on these data, and what followed.")


def verdicts(rows: Sequence[Verdict], claims: Mapping[str, Claim], *, brief: bool = False) -> Raw:
    """Return claims with their verdicts: what was published, what is found here, and why."""
    columns = ["Published claim", "Published", "Recomputed", "Data", "Verdict", "Why"]
    cells = []
    for v in rows:
        claim = claims[v.claim]
        told = Raw(
            f'<span id="claim-{escape(v.claim)}">{escape(claim.statement)}</span> '
            f'<span class="bb-locator">{escape(claim.source)}, {escape(claim.locator)}</span>'
        )
        pills = tier_pill(v.tier), verdict_pill(v.verdict)
        row = [claim.statement if brief else told, v.published, v.recomputed, *pills, v.reason]
        cells.append(row[:-1] if brief else row)
    return _table([(name, False) for name in (columns[:-1] if brief else columns)], cells)


def flow(title: str, steps: Sequence[Sequence[Any]]) -> Raw:
    """Return a count of who was left out and why, one line a step."""
    lines, before = [], None
    for step in steps:
        label, n = str(step[0]), int(step[1])
        why = str(step[2]) if len(step) > 2 and step[2] else ""
        gone = ""
        if before is not None and n < before:
            reason = f": {escape(why)}" if why else ""
            gone = f'<span class="bb-out">{before - n:,} left out{reason}</span>'
        lines.append(
            f'<li><span class="bb-n">{n:,}</span> <span>{escape(label)}</span> {gone}</li>'
        )
        before = n
    return Raw(
        f'<div class="bb-flow"><div class="bb-flow-title">{escape(title)}</div>'
        f"<ol>{''.join(lines)}</ol></div>"
    )


def answer(
    summary: str, certainty: str, rows: Sequence[Verdict], claims: Mapping[str, Claim]
) -> Raw:
    """Return the box at the top of a page: the answer, how sure, and the headline verdicts."""
    sure = f'<p class="bb-certainty"><strong>How sure:</strong> {escape(certainty)}</p>'
    return Raw(
        f'<section class="bb-answer" aria-label="The answer"><p class="bb-summary">'
        f"{escape(summary)}</p>{sure if certainty else ''}"
        f"{verdicts(rows, claims, brief=True) if rows else ''}</section>"
    )


def provenance(record: Mapping[str, Any], parameters: Mapping[str, Any]) -> Raw:
    """Return the footer: parameters, seed, data hashes, code version, packages, run time."""
    rows = [("Run", f"{record['started']}, {record['seconds']:.1f} s")]
    rows += [("Code", f"ballbook {record['version']}, sources {record['library_sha256'][:12]}")]
    rows += [("Notebook", record["notebook_sha256"][:12]), ("Lock", record["lock_sha256"][:12])]
    rows += [("Parameters", ", ".join(f"{k} = {v!r}" for k, v in parameters.items()))]
    for id, files in record["data"].items():
        rows += [(f"Data: {id}", ", ".join(f"{n} {h[:12]}" for n, h in files.items()))]
    rows += [("Python", record["python"])]
    rows += [("Packages", ", ".join(f"{n} {v}" for n, v in record["packages"].items()))]
    cells = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in rows)
    return Raw(
        '<details class="bb-provenance"><summary>Provenance: data, code and versions behind this '
        f"page</summary><dl>{cells}</dl></details>"
    )


def command(line: str) -> Raw:
    """Return a command to copy."""
    return Raw(f'<pre class="bb-command"><code>{escape(line)}</code></pre>')


DUMMY = "Dummy data: method-check only"


def dummy_label() -> Raw:
    """Return the label of a run whose cohort is invented."""
    return Raw(
        f'<aside class="bb-recorded bb-dummy" role="note"><strong>{DUMMY}.</strong> The patients '
        "that this page calls your cohort are invented. What it says of them tests the method, and "
        "says nothing of the disease.</aside>"
    )


def recorded_banner(record: Mapping[str, Any]) -> Raw:
    """Return the label of a page that shows its last recorded run."""
    data = "; ".join(
        f"{id} ({', '.join(h[:12] for h in files.values())})"
        for id, files in record["data"].items()
    )
    return Raw(
        '<aside class="bb-recorded" role="note"><strong>Recorded run.</strong> The open data of '
        f"this page could not be had when the book was built. Shown is the run of "
        f"{escape(str(record['started'])[:10])} with ballbook {escape(record['version'])} "
        f"(sources {escape(record['library_sha256'][:12])}). Data: {escape(data)}.</aside>"
    )

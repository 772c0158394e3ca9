"""The ledger: every claim with the verdict that the latest runs gave it.

The ledger is strict. `ledger` raises when claims and verdicts do not match one to one, and
`check_recorded` when a verdict is not the one in ``data/recorded/ledger.csv``: a verdict on a
published number never changes unnoticed.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ballbook import claims, paths, recorded
from ballbook.claims import Claim
from ballbook.errors import Failure, Refusal
from ballbook.results import TIERS, VERDICTS

if TYPE_CHECKING:
    import pandas as pd

KEPT = ("id", "analysis", "verdict", "tier")
COMPARED = ("verdict", "tier", "analysis", "recomputed")
NEEDED = "Needed: "

Row = dict[str, Any]


class IncompleteLedger(Failure, ValueError):
    """Claims and verdicts that do not match one to one; the message lists every problem."""


class ChangedLedger(Failure, ValueError):
    """Verdicts that are not the recorded ones; the message lists them all."""


class UnreadableLedger(Refusal, ValueError):
    """A file or folder that holds no ledger and no results."""


def run_results(slug: str) -> dict[str, Any] | None:
    """Return the results of the latest run of `slug`: this build's, else the recorded one."""
    file: Path = paths.build() / "runs" / slug / "results.json"
    return json.loads(file.read_text(encoding="utf8")) if file.is_file() else recorded.results(slug)


def ledger() -> pd.DataFrame:
    """Return all claims with their verdicts.

    Returns
    -------
    DataFrame
        One row a claim, see `collect`.

    Raises
    ------
    IncompleteLedger
        Listing every problem that `collect` finds.
    """
    from ballbook.analyses import slugs

    frame, problems = collect(claims.read(), {slug: run_results(slug) for slug in slugs()})
    if problems:
        raise IncompleteLedger("claims and verdicts do not match:\n" + "\n".join(problems))
    return frame


def collect(
    known: Mapping[str, Claim], results: Mapping[str, Mapping[str, Any] | None]
) -> tuple[pd.DataFrame, list[str]]:
    """Match claims with verdicts.

    Parameters
    ----------
    known : mapping
        All claims by id.
    results : mapping
        What each analysis found, by slug; None for one that was never run.

    Returns
    -------
    frame : DataFrame
        One row a claim: its fields, with ``tier`` renamed ``tier_needed``, then ``published``,
        ``recomputed``, ``verdict``, ``tier`` and ``reason``, which are None where there is no
        verdict.
    problems : list of str
        Each claim without its one verdict, each verdict without its one claim.
    """
    import pandas as pd

    found: dict[str, Mapping[str, Any]] = {}
    problems = [f"{slug}: never run, and no run recorded" for slug, r in results.items() if not r]
    for slug, content in results.items():
        for verdict in verdicts_of_book(content or {}):
            id = verdict["claim"]
            if id in found:
                problems.append(f"{slug}: {id} is judged twice")
            elif id not in known:
                problems.append(f"{slug}: a verdict on {id}, which is no claim")
            else:
                problems += [f"{slug}: {p}" for p in mismatches(known[id], slug, verdict)]
            found[id] = verdict
    rows = []
    for claim in known.values():
        given = found.get(claim.id, {})
        if claim.kind not in claims.WITHOUT_VERDICT and not given:
            slug = claim.analysis or "(none)"
            if slug not in results:
                problems.append(f"{slug}: no such analysis, and {claim.id} is to be judged there")
            elif results[slug]:
                problems.append(f"{slug}: {claim.id} has no verdict")
        row = claims.as_row(claim)
        row["tier_needed"] = row.pop("tier")
        row["published"] = claim.shown
        row |= {key: given.get(key) for key in ("recomputed", "verdict", "tier", "reason")}
        rows.append(row)
    return pd.DataFrame(rows, dtype=object), problems


def of_dummy(results: Mapping[str, Any]) -> bool:
    """Return whether a run had a dummy cohort in the place of a reader's."""
    given = results.get("parameters", {}).get("cohort")
    return bool(given) and results["cohort"]["tier"] == "simulated"


def verdicts_of_book(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the verdicts of a run without those of the reader's own or dummy cohort."""
    found = [v for v in results.get("verdicts", ()) if v["tier"] != "yours"]
    if not of_dummy(results):
        return found
    # A dummy's verdict stands beside the book's on the same claim.
    judged = {v["claim"] for v in found if v["tier"] != "simulated"}
    kept: dict[str, Mapping[str, Any]] = {}
    for v in found:
        if v["tier"] != "simulated" or v["claim"] not in judged:
            kept.setdefault(v["claim"], v)
    return list(kept.values())


def mismatches(claim: Claim, slug: str, verdict: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the verdict that the analysis `slug` gave on `claim`."""
    wrong = []
    if claim.kind in claims.WITHOUT_VERDICT:
        wrong.append(f"{claim.id} is a {claim.kind} and takes no verdict")
    elif claim.analysis != slug:
        wrong.append(f"{claim.id} belongs to {claim.analysis!r}")
    if verdict["published"] != claim.shown:
        wrong.append(f"{claim.id} was judged as {verdict['published']!r}, now {claim.shown!r}")
    if verdict["verdict"] == "not-testable":
        reason, _, needed = (verdict["reason"] or "").partition(NEEDED)
        if not reason.strip() or not needed.strip(" ."):
            wrong.append(f"{claim.id} is not testable, without a reason or the data needed")
    return wrong


def counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return how many claims have each verdict (rows) on each tier of data (columns)."""
    import pandas as pd

    judged = frame[frame["verdict"].notna()]
    table = pd.crosstab(judged["verdict"], judged["tier"].fillna("none"))
    table = table.reindex(index=VERDICTS, columns=[*TIERS[:-1], "none"], fill_value=0)
    return table.assign(all=table.sum(axis=1)).reset_index()


def records(frame: pd.DataFrame) -> list[Row]:
    """Return the rows of a ledger, None where there is nothing."""
    rows = frame.where(frame.notna(), None).to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def as_csv(frame: pd.DataFrame) -> str:
    """Return a ledger as CSV text, formulas disarmed for spreadsheets."""
    from ballbook.notebook import safe_cell

    return str(frame.map(safe_cell).to_csv(index=False, lineterminator="\n"))


def as_json(frame: pd.DataFrame) -> str:
    """Return a ledger as JSON text: a list of claims."""
    return json.dumps(records(frame), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


# The recorded ledger


def recorded_file() -> Path:
    """Return the file of the recorded verdicts."""
    return paths.data() / "recorded" / "ledger.csv"


def check_recorded(frame: pd.DataFrame) -> None:
    """Compare the verdicts with the recorded ones.

    Raises
    ------
    ChangedLedger
        Listing every verdict that was added, removed or changed since the last record.
    """
    file = recorded_file()
    if not file.is_file():
        raise ChangedLedger("no verdicts are recorded: check them, then `make record`")
    if changes := differences(read(file), of_frame(frame[list(KEPT)])):
        raise ChangedLedger(
            "verdicts differ from data/recorded/ledger.csv:\n"
            + "\n".join(map(str, changes))
            + "\nCheck each on its page. If they are right, keep them with `make record`."
        )


def keep(frame: pd.DataFrame, slugs: Collection[str] | None = None) -> list[Change]:
    """Write the recorded ledger and return what changed in it.

    Parameters
    ----------
    frame : DataFrame
        As `ledger` returns it.
    slugs : collection of str, optional
        Analyses whose verdicts are kept; those of the others stay as they are recorded.
    """
    import pandas as pd

    file = recorded_file()
    before = read(file) if file.is_file() else {}
    rows = records(frame.loc[frame["verdict"].notna(), list(KEPT)])
    if slugs is not None:
        rows = [row for row in rows if row["analysis"] in slugs]
        named = {row["id"] for row in rows}
        rows += [
            {"id": id, **row}
            for id, row in before.items()
            if row["analysis"] not in slugs and id not in named
        ]
    now = pd.DataFrame(rows, columns=list(KEPT), dtype=object).sort_values(["analysis", "id"])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(as_csv(now), encoding="utf8")
    return differences(before, of_frame(now))


# Differences between two ledgers


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two ledgers.

    Attributes
    ----------
    what : str
        ``added``, ``removed``, or the field that changed: ``verdict``, ``tier``, ``analysis``,
        ``recomputed``.
    before, after : str or None
        For a verdict that was added or removed: the verdict.
    """

    claim: str
    what: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.what:10}  {self.claim}: {self.before or 'none'} -> {self.after or 'none'}"


def differences(before: Mapping[str, Row], after: Mapping[str, Row]) -> list[Change]:
    """Return what differs between two ledgers, in the order of `before`, new verdicts last.

    Fields that only one of them has are not compared. Claims without a verdict do not count.
    """
    changes = []
    for id in [*before, *(id for id in after if id not in before)]:
        old, new = before.get(id), after.get(id)
        if old is None or new is None:
            change = "removed" if new is None else "added"
            verdicts = [row["verdict"] if row else None for row in (old, new)]
            changes.append(Change(id, change, *verdicts))
            continue
        changes += [
            Change(id, field, old[field], new[field])
            for field in COMPARED
            if field in old and field in new and old[field] != new[field]
        ]
    return changes


def of_frame(frame: pd.DataFrame) -> dict[str, Row]:
    """Return the verdicts of a ledger by claim, with the fields that are compared.

    Raises
    ------
    UnreadableLedger
        If a claim stands twice.
    """
    found: dict[str, Row] = {}
    fields = [f for f in COMPARED if f in frame.columns]
    for row in records(frame):
        values = {f: str(row[f]) if row[f] not in (None, "") else None for f in fields}
        if values["verdict"] is None:
            continue
        if row["id"] in found:
            raise UnreadableLedger(f"{row['id']} has two verdicts")
        found[row["id"]] = values
    return found


def read(path: Path) -> dict[str, Row]:
    """Return the verdicts in a ledger (CSV, JSON), a run's folder or results, or a folder of runs.

    Raises
    ------
    UnreadableLedger
        Naming the file and what it lacks.
    """
    import pandas as pd

    try:
        if path.is_dir():
            rows = [row for file in results_in(path) for row in rows_of(file)]
        else:
            rows = rows_of(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableLedger(f"{path}: no ledger, results or folder of runs: {error}") from None
    frame = pd.DataFrame(rows, dtype=object)
    if missing := {"id", "verdict"} - set(frame.columns):
        raise UnreadableLedger(f"{path}: lacks {', '.join(sorted(missing))}")
    return of_frame(frame)


def results_in(folder: Path) -> list[Path]:
    """Return the results of a run's folder, or of all runs in a folder of runs or a built book."""
    for pattern in ("results.json", "*/results.json", "runs/*/results.json"):
        if files := sorted(folder.glob(pattern)):
            return files
    raise ValueError("no results.json in it")


def rows_of(file: Path) -> list[Row]:
    """Return the rows of one file that holds verdicts."""
    text = file.read_text(encoding="utf8")
    if file.suffix == ".csv":
        return [{k: armed(v) for k, v in row.items()} for row in csv.DictReader(io.StringIO(text))]
    content = json.loads(text)
    if isinstance(content, list):
        return content
    return [
        {**verdict, "id": verdict["claim"], "analysis": content["analysis"]}
        for verdict in verdicts_of_book(content)
    ]


def armed(value: str | None) -> str | None:
    """Return a cell of a CSV file as it was before formulas were disarmed."""
    from ballbook.notebook import unsafe_cell

    return unsafe_cell(value) if value else value

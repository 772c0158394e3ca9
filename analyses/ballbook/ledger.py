"""The ledger: every claim with the verdict that the latest runs gave it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from ballbook import claims, paths, recorded


class IncompleteLedger(ValueError):
    """A claim without a verdict, a verdict without a claim, or a claim judged twice."""


def run_results(slug: str) -> dict[str, Any] | None:
    """Return the results of the latest run of `slug`: this build's, else the recorded one."""
    file: Path = paths.build() / "runs" / slug / "results.json"
    return json.loads(file.read_text(encoding="utf8")) if file.is_file() else recorded.results(slug)


def ledger() -> pd.DataFrame:
    """Return all claims with their verdicts.

    Returns
    -------
    DataFrame
        One row a claim: its fields, then ``published``, ``recomputed``, ``verdict``, ``tier`` and
        ``reason``; claims that take no verdict have None there.

    Raises
    ------
    IncompleteLedger
        Listing every claim of a run analysis without exactly one verdict.
    """
    from ballbook.analyses import slugs

    found: dict[str, dict[str, Any]] = {}
    problems = []
    known = claims.read()
    run = set()
    for slug in slugs():
        results = run_results(slug)
        if results is None:
            continue
        run.add(slug)
        for verdict in results["verdicts"]:
            if verdict["tier"] == "yours":
                continue
            if verdict["claim"] not in known:
                problems.append(f"{slug}: verdict on {verdict['claim']}, which is no claim")
            if verdict["claim"] in found:
                problems.append(f"{slug}: {verdict['claim']} is judged twice")
            found[verdict["claim"]] = verdict
    rows = []
    for claim in known.values():
        verdict = found.get(claim.id, {})
        takes_none = claim.kind in claims.WITHOUT_VERDICT
        if not verdict and claim.analysis in run and not takes_none:
            problems.append(f"{claim.analysis}: {claim.id} has no verdict")
        rows.append(
            {
                **claims.as_row(claim),
                "published": claim.shown,
                "recomputed": verdict.get("recomputed"),
                "verdict": verdict.get("verdict"),
                "tier": verdict.get("tier"),
                "reason": verdict.get("reason"),
            }
        )
    if problems:
        raise IncompleteLedger("\n".join(problems))
    return pd.DataFrame(rows)

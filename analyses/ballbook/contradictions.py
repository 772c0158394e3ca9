"""The audit: which claims are compared by which rule, and what comes of it.

``data/audit.yml`` declares comparisons, each with its severity if the rule fires, a fair reading,
and what would settle it. Rules that need no declaration run over every claim that they can apply
to; there a firing without a declaration is ``open`` until somebody has looked at it.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from ballbook import audit, claims, datasets, paths, yaml_files
from ballbook.audit import RULES, SEVERITIES, Finding, Severity
from ballbook.claims import PRINTED, Claim
from ballbook.errors import Refusal
from ballbook.results import Estimate, Verdict

if TYPE_CHECKING:
    from ballbook.notebook import Page

TOLD = ("number", "rule", "severity", "reading", "settles", "slip", "reference", "unlike")


class InvalidAudit(Refusal, ValueError):
    """``data/audit.yml`` breaks its contract; the message lists every problem."""


def declared() -> dict[str, Any]:
    """Return ``data/audit.yml``: ``groups`` (survival claims of one group) and ``checks``."""
    file = paths.data() / "audit.yml"
    return dict(yaml_files.read(file))


def run(
    known: Mapping[str, Claim] | None = None, plan: Mapping[str, Any] | None = None
) -> list[Finding]:
    """Return every finding, declared ones first, by number.

    Parameters
    ----------
    known : mapping, optional
        Claims by id; those of ``data/claims`` when not given.
    plan : mapping, optional
        As `declared` returns.

    Raises
    ------
    InvalidAudit
        Listing every declaration that names an unknown rule or claim, or cannot be worked out.
    """
    known = claims.read() if known is None else known
    plan = declared() if plan is None else plan
    findings, problems = [], []
    for check in plan["checks"]:
        name = f"{check.get('number')}: {check.get('rule')}"
        if check.get("rule") not in RULES:
            problems.append(f"{name}: no such rule")
            continue
        if check.get("severity") not in SEVERITIES:
            problems.append(f"{name}: severity should be one of {', '.join(SEVERITIES)}")
            continue
        try:
            findings.append(one(check, known))
        except (LookupError, TypeError, ValueError, ZeroDivisionError) as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise InvalidAudit("\n".join(problems))
    seen = {(f.rule, frozenset(f.claims)) for f in findings}
    part_of = [(f.rule, set(f.claims)) for f in findings]
    for finding in unasked(known, plan):
        if (finding.rule, frozenset(finding.claims)) in seen:
            continue
        if any(r == finding.rule and set(finding.claims) <= c for r, c in part_of):
            continue
        findings.append(replace(finding, severity="open" if finding.fired else "ok"))
    return findings


def one(check: Mapping[str, Any], known: Mapping[str, Claim]) -> Finding:
    """Return the finding of one declared comparison."""
    arguments = {k: resolve(v, known) for k, v in check.items() if k not in TOLD}
    finding = RULES[check["rule"]](**arguments)
    # A paper's own number is not judged by those who quote it, nor by a number of something else.
    spared = {*check.get("reference", ()), *check.get("unlike", ())}
    judged = {i: e for i, e in finding.recomputed.items() if i not in spared}
    silent: Severity = "open" if finding.undecided else "ok"
    severity: Severity = check["severity"] if finding.fired else silent
    return replace(
        finding,
        number=str(check["number"]),
        recomputed=judged,
        severity=severity,
        reading=check.get("reading", ""),
        settles=check.get("settles", ""),
        slip=tuple(check.get("slip", ())) if finding.fired else (),
        unlike=tuple(check.get("unlike", ())) if finding.fired else (),
    )


def resolve(value: Any, known: Mapping[str, Claim]) -> Any:
    """Return an argument with claim ids replaced by claims, in lists too.

    ``id.n`` stands for the number of patients that a claim is out of, ``id.k`` for the count
    behind its percentage. ``references: <table>`` is the published table of that name.
    """
    if isinstance(value, list):
        return [resolve(v, known) for v in value]
    if not isinstance(value, str):
        return value
    if value.endswith("_references"):
        return datasets.published(value)
    name, _, part = value.partition(".")
    if name not in known:
        if part or (name.count("-") >= 1 and name.split("-")[0] in PREFIXES):
            raise LookupError(f"no claim {name!r}")
        return value
    claim = known[name]
    if not part:
        return claim
    number = claim.n if part == "n" else audit.count(claim)
    return replace(
        claim,
        id=value,
        kind="count",
        printed=str(number),
        value=number,
        unit=None,
        n=None,
        n_events=None,
    )


PREFIXES = {"iac", "har", "coo", "stu", "mpr", "ext"}


# ------------------------------------------------------------------- rules that need no declaration


def unasked(known: Mapping[str, Claim], plan: Mapping[str, Any]) -> Iterable[Finding]:
    """Yield what the rules find that run over every claim with what they need."""
    everything = list(known.values())
    for claim in everything:
        for name, applies in SINGLE.items():
            if applies(claim):
                argument: Any = [claim] if name == "percentage-of-whole" else claim
                yield RULES[name](argument)
    by_source = defaultdict(list)
    for claim in everything:
        if claim.kind == "p-value" and claim.value is not None:
            by_source[claim.source].append(claim)
    for found in by_source.values():
        elsewhere = any("abstract" not in c.locator.lower() for c in found)
        for claim in found:
            if "abstract" in claim.locator.lower() and elsewhere:
                yield RULES["abstract-p-in-body"](claim, found)
    for claim in everything:
        beside = known.get(f"{claim.id}-p")
        if claim.kind in claims.RATIOS and has_interval(claim) and claim.value and beside:
            yield RULES["p-from-interval"](claim, beside)
            yield RULES["interval-from-p"](claim, beside)
    for members in plan.get("groups", {}).values():
        yield from group([known[i] for i in members if i in known])


def group(members: Sequence[Claim]) -> Iterable[Finding]:
    """Yield what the survival claims of one group of patients say of each other."""
    for a, b in itertools.combinations(members, 2):
        same_end = audit.endpoint(a) == audit.endpoint(b)
        ta, tb = audit.years(a), audit.years(b)
        if same_end and ta == tb:
            yield RULES["same-thing-same-number"]([a, b])
        elif audit.one_number(a, b):
            yield RULES["one-number-one-label"]([a, b])
        if same_end and ta is not None and tb is not None and ta != tb:
            early, late = (a, b) if ta < tb else (b, a)
            yield RULES["survival-never-rises"](early, late)
        if {audit.endpoint(a), audit.endpoint(b)} == {"EFS", "OS"}:
            free, alive = (a, b) if audit.endpoint(a) == "EFS" else (b, a)
            if (audit.years(alive) or 0) <= (audit.years(free) or 0):
                yield RULES["overall-at-least-event-free"](free, alive)


def has_interval(claim: Claim) -> bool:
    """Tell whether a claim prints both bounds."""
    return claim.ci_low is not None and claim.ci_high is not None


def plain(claim: Claim) -> bool:
    """Tell whether a claim prints a number without an inequality."""
    return (
        claim.value is not None
        and bool(PRINTED.match(claim.printed or ""))
        and not audit.sign(claim)
    )


SINGLE: dict[str, Callable[[Claim], bool]] = {
    "interval-in-order": has_interval,
    "interval-of-count": lambda c: (
        has_interval(c)
        and c.kind in {"survival", "cumulative-incidence"}
        and bool(c.n)
        and plain(c)
    ),
    "percentage-of-whole": lambda c: (
        c.kind == "proportion" and plain(c) and bool(c.n) and not (c.printed or "").startswith("~")
    ),
    "count-within-whole": lambda c: c.kind == "count" and plain(c) and bool(c.n),
    "p-is-positive": lambda c: c.kind == "p-value" and c.value is not None,
    "unit-fits-quantity": lambda c: "cumulative incidence" in c.statement.lower(),
    "accession-is-what-it-is-called": lambda c: (c.printed or "").startswith("EGA"),
}


# ----------------------------------------------------------------------------------- for verdicts


def recomputed(claim: Claim, findings: Sequence[Finding]) -> tuple[Estimate, Finding] | None:
    """Return the number that other print gives for a claim, and the finding it comes from.

    A finding that calls the claim a slip goes first, then one that adds up. Where rounded
    numbers leave a range that holds what is printed, the printed value is returned with that range.
    """
    giving = [f for f in findings if claim.id in f.recomputed]
    if not giving:
        return None
    giving.sort(key=lambda f: (claim.id not in f.slip, f.fired))
    finding = giving[0]
    estimate = finding.recomputed[claim.id]
    low, high = estimate.ci_low, estimate.ci_high
    inside = claim.value is not None and low is not None and high is not None
    if inside and low <= claim.value <= high:  # type: ignore[operator]
        estimate = replace(estimate, value=claim.value)
    return estimate, finding


def about(claim: Claim, findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that compare a claim."""
    return [f for f in findings if claim.id in f.claims]


def judge(page: Page, claim: Claim, findings: Sequence[Finding]) -> Verdict:
    """Judge a claim on a page by the other numbers that are printed, where they give it.

    The number that they give is recorded as ``<claim id>-by-print``.
    """
    given = None if claim.needs else recomputed(claim, findings)
    beside = about(claim, findings)
    wrong = [f for f in beside if f.fired and f.reading]
    if given is None:
        part = (
            f"Enters {len(beside)} comparison{'s' * (len(beside) != 1)} with other printed numbers"
            + (f", {len(wrong)} of which fire{'s' * (len(wrong) == 1)}" if wrong else "")
            + "; none gives this number by itself"
            if beside
            else "Nothing else that is printed gives this number"
        )
        part += "".join(
            f". {f.arithmetic[:1].upper()}{f.arithmetic[1:]}. {f.reading.rstrip('.')}"
            for f in wrong
            if claim.id in f.unlike
        )
        settles = next((f.settles for f in wrong if f.settles), "the case list of the source")
        return page.not_testable(claim.id, part, needs=claim.needs or settles)
    estimate, finding = given
    page.record(
        estimate, id=f"{claim.id}-by-print", label=f"By other print ({estimate.method})",
        tier="published",
    )  # fmt: skip
    slip = f"{finding.reading}" if claim.id in finding.slip else None
    return page.judge(
        claim.id, f"{claim.id}-by-print", misprint=slip, label=slip,
        note=finding.reading if finding.fired and not slip else "",
    )  # fmt: skip


# --------------------------------------------------------------------------------------- summaries


def as_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """Return findings as a table.

    Returns
    -------
    DataFrame
        ``number``, ``severity``, ``rule``, ``fired``, ``claims``, ``arithmetic``, ``reading``,
        ``settles``.
    """
    return pd.DataFrame(
        [
            {
                "number": f.number,
                "severity": f.severity,
                "rule": f.rule,
                "fired": f.fired,
                "claims": ", ".join(f.claims),
                "arithmetic": f.arithmetic,
                "reading": f.reading,
                "settles": f.settles,
            }
            for f in findings
        ]
    )


def tally(findings: Sequence[Finding]) -> pd.DataFrame:
    """Return for each rule how often it ran, fired, narrowed down, and fired without a reading.

    Returns
    -------
    DataFrame
        ``rule``, ``asks``, ``ran``, ``fired``, ``silent``, ``undecided``, ``harmless`` (fired, and
        read as no contradiction), ``unread``.
    """
    rows = []
    for name, function in RULES.items():
        mine = [f for f in findings if f.rule == name]
        rows.append(
            {
                "rule": name,
                "asks": (function.__doc__ or "").split("\n")[0].strip(),
                "ran": len(mine),
                "fired": sum(f.fired for f in mine),
                "silent": sum(not f.fired and not f.undecided for f in mine),
                "undecided": sum(f.undecided for f in mine),
                "harmless": sum(f.fired and f.severity == "ok" for f in mine),
                "unread": sum(f.fired and not f.reading for f in mine),
            }
        )
    return pd.DataFrame(rows)

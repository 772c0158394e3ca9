"""The audit: each rule fires on a broken claim, is silent on one that adds up, and R agrees."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import golden_cases
import pandas as pd
import pytest
from click.testing import CliRunner

from ballbook import audit, claims, cli, contradictions, datasets
from ballbook.audit import RULES
from ballbook.claims import Claim
from ballbook.clones import clone_sizes, log_upper_tail
from ballbook.contingency import (
    chi_squared,
    cochran_armitage,
    expected_counts,
    fisher_exact,
    mantel_haenszel,
    odds_ratio,
)

# ---------------------------------------------------------------------------------- against R


def table(table: list[list[int]]) -> golden_cases.Flat:
    chi, exact = chi_squared(table), fisher_exact(table)
    return {
        "statistic": chi.statistic,
        "df": chi.df,
        "chi_p": chi.value,
        "exact_p": exact.value,
        "smallest": float(expected_counts(table).min()),
    }


def log_log_interval(k: int, n: int) -> golden_cases.Flat:
    low, high = audit.log_log_interval(k, n)
    return {"low": low, "high": high}


def p_of_ratio(ratio: float, low: float, high: float) -> golden_cases.Flat:
    effect = claim("x-ratio", str(ratio), "hazard-ratio", ci_low=low, ci_high=high)
    finding = RULES["p-from-interval"](effect, claim("x-p", "0.5", "p-value"))
    return {"p": finding.recomputed["x-p"].value}


def tail(k: int, n: int, error: float) -> golden_cases.Flat:
    return {"log_p": float(log_upper_tail(k, n, error))}


def sizes(**given: Any) -> golden_cases.Flat:
    fit = clone_sizes(
        given["fraction"],
        given["upper"],
        given["p"],
        given["error"],
        error_room=given["error_room"],
    )
    names = ("k_min", "k_max", "n_min", "n_max", "low_min", "low_max")
    return dict(zip(names, (*fit.k, *fit.n, *fit.lower), strict=True))


def stratified(tables: list[list[list[int]]]) -> golden_cases.Flat:
    m = mantel_haenszel(tables)
    (a, b), (c, d) = tables[0]
    return {
        **golden_cases.flat(m.odds_ratio),
        "p": m.cmh.value,
        "p_corrected": m.cmh_corrected.value,
        "youngest_p": odds_ratio(a, b, c, d).p_value,
    }


def weighted_mean(survival: list[float], n: list[int]) -> golden_cases.Flat:
    parts = [
        claim(f"x-{i}", f"{100 * s:.1f}", "survival", n=m)
        for i, (s, m) in enumerate(zip(survival, n, strict=True))
    ]
    finding = RULES["weighted-mean"](claim("x-all", "50.0", "survival"), parts)
    return {"mean": finding.recomputed["x-all"].value}


ESTIMATORS: dict[str, Callable[..., golden_cases.Flat]] = {
    "table": table,
    "log_log_interval": log_log_interval,
    "p_of_ratio": p_of_ratio,
    "log_upper_tail": tail,
    "clone_sizes": sizes,
    "stratified": stratified,
    "trend": lambda k, n: {"p": cochran_armitage(k, n).value},
    "weighted_mean": weighted_mean,
}


@pytest.mark.parametrize("case", golden_cases.read("audit"))
def test_recomputations_agree_with_r(case: dict[str, Any]) -> None:
    golden_cases.check(case, ESTIMATORS)
    assert case["expected"]


# ------------------------------------------------------------ each rule, on sound and broken claims


def claim(id: str, printed: str | None = None, kind: str = "count", **more: Any) -> Claim:
    """Return a claim whose value is read from what is printed, as in the claim files."""
    match = claims.PRINTED.match(printed or "")
    more = {"locator": "Table 1", "statement": "A number.", **more}
    made = Claim(id=id, source="paper2020", kind=kind, printed=printed, **more)
    if match and made.value is None:
        made = replace(made, value=float(match["number"].replace(",", "")) / made.scale)
    return made


def share(printed: str, n: int | None = None, **more: Any) -> Claim:
    return claim(more.pop("id", f"x-share-{printed}"), printed, "proportion", n=n, **more)


def p(printed: str, **more: Any) -> Claim:
    return claim(more.pop("id", f"x-p-{printed}"), printed, "p-value", **more)


def alive(printed: str, time: str, end: str = "Overall survival", **more: Any) -> Claim:
    more = {"unit": time, "statement": f"{end} of infants.", **more}
    return claim(more.pop("id", f"x-{time}-{end}-{printed}"), printed, "survival", **more)


def counts(*numbers: int) -> list[Claim]:
    return [claim(f"x-count-{i}", str(k)) for i, k in enumerate(numbers)]


RATIO = claim("x-ratio", "8.86", "hazard-ratio", ci_low=2.33, ci_high=33.7)
CLONE = {
    "fraction": claim("x-f", "0.0013", "mean"),
    "lower": claim("x-low", "0.0011", "mean"),
    "upper": claim("x-up", "0.0014", "mean"),
    "p": p("1.5e-151"),
    "error": claim("x-e", "1.6e-4", "mean"),
    "sites": claim("x-sites", "2,318"),
    "depth": claim("x-depth", "~100", "mean"),
}
REFERENCES = pd.DataFrame(
    {
        "number": [1, 2, 3],
        "first_author": ["A", "B", "C"],
        "journal": ["Blood", "Leukemia", "Blood"],
        "year": [2007, 2008, 2007],
        "volume": [1, 2, 3],
        "page": ["10", "20", "30"],
        "names_in_title": ["venetoclax", None, "AALL1131"],
    }
)
TWICE = pd.concat([REFERENCES, REFERENCES.head(1).assign(number=4)])
MODEL = [p("0.01", id="x-wbc"), p("0.04", id="x-age")]

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sum-of-parts": (
        {"total": claim("x", "1,005"), "parts": counts(1000, 5)},
        {"total": claim("x", "1,006"), "parts": counts(1000, 5)},
    ),
    "percentages-of-one-whole": (
        {"parts": [share("4"), share("25"), share("71")]},
        {"parts": [share("67", 18), share("28", 18), share("6", 18)]},
    ),
    "parts-of-percentage": (
        {"total": share("24"), "parts": [share("11"), share("13")]},
        {"total": share("27"), "parts": [share("11"), share("13")]},
    ),
    "equal-parts": (
        {"total": claim("x-all", "60"), "part": claim("x-one", "15"), "parts": 4},
        {"total": claim("x-all", "59"), "part": claim("x-one", "15"), "parts": 4},
    ),
    "as-many-as-listed": (
        {"total": claim("x", "2"), "listed": ["a", "b"]},
        {"total": claim("x", "3"), "listed": ["a", "b"]},
    ),
    "remainder": (
        {"totals": counts(30, 29), "parts": [counts(12, 5), counts(1, 7)]},
        {"totals": counts(10, 29), "parts": [counts(12, 5), counts(1, 7)]},
    ),
    "count-within-whole": (
        {"part": claim("x", "30", n=30)},
        {"part": claim("x", "31", n=30)},
    ),
    "one-each": (
        {"named": claim("x-a", "6"), "needed": claim("x-b", "6")},
        {"named": claim("x-a", "4"), "needed": claim("x-b", "6")},
    ),
    "share-within-whole": (
        {"part": share("40"), "whole": claim("x", "213", n=442)},
        {"part": share("66.7"), "whole": claim("x", "213", n=442)},
    ),
    "pigeonhole": (
        {"clones": [share("20"), share("75")], "larger": share("88")},
        {"clones": [share("30"), share("75")], "larger": share("88")},
    ),
    "percentage-of-whole": (
        {"percentages": [share("64.3", 70), share("5.7", 70)]},
        {"percentages": [share("64.3", 75), share("5.7", 75)]},
    ),
    "percentage-of-count": (
        {"percentage": share("96.6"), "part": claim("x", "422"), "of": counts(422, 15)},
        {"percentage": share("96.6"), "part": claim("x", "422"), "of": counts(465)},
    ),
    "weighted-mean": (
        {
            "total": alive("66.2", "at 3 years"),
            "parts": [alive("94.4", "at 3 years", n=19), alive("56.6", "at 3 years", n=56)],
        },
        {
            "total": alive("36.4", "at 6 years"),
            "parts": [alive("40.7", "at 6 years", n=334), alive("28.1", "at 6 years", n=142)],
        },
    ),
    "total-between-parts": (
        {"total": alive("62", "at 5 years"), "parts": [alive("61", ""), alive("67", "")]},
        {"total": alive("60", "at 5 years"), "parts": [alive("61", ""), alive("67", "")]},
    ),
    "difference-stated": (
        {"stated": claim("x", "12", "difference"), "pairs": [[share("40.7"), share("28.1")]]},
        {
            "stated": claim("x", "±10", "difference", value=10.0),
            "pairs": [[share("40.7"), share("28.1")]],
        },
    ),
    "interval-in-order": (
        {"claim": claim("x", "0.0013", "mean", ci_low=0.0011, ci_high=0.0014)},
        {"claim": claim("x", "0.0013", "mean", ci_low=0.011, ci_high=0.0014)},
    ),
    "p-from-interval": (
        {"ratio": RATIO, "p": p("0.001")},
        {"ratio": RATIO, "p": p("0.03")},
    ),
    "interval-from-p": (
        {"ratio": RATIO, "p": p("0.001")},
        {"ratio": replace(RATIO, ci_high=20.0), "p": p("0.001")},
    ),
    "interval-of-count": (
        {"claim": alive("83.3", "at 4 years", n=30, ci_low=0.645, ci_high=0.927)},
        {"claim": alive("83.3", "at 4 years", n=30, ci_low=0.70, ci_high=0.927)},
    ),
    "test-of-table": (
        {"p": p("<0.0001"), "table": [counts(12, 5, 1), counts(1, 7, 20)]},
        {"p": p("<0.0001"), "table": [counts(12, 5, 1), counts(10, 7, 2)]},
    ),
    "p-in-two-places": (
        {"precise": p("0.033"), "coarse": p("0.03")},
        {"precise": p("0.0455"), "coarse": p("0.02")},
    ),
    "p-is-positive": ({"p": p("<0.0001")}, {"p": p("0")}),
    "stated-effect-has-p": ({"effects": [p("0.04")]}, {"effects": [p("0.04"), p("0.18")]}),
    "smallest-p-is-named": (
        {"model": MODEL, "named": MODEL[:1]},
        {"model": MODEL, "named": MODEL[1:]},
    ),
    "abstract-p-in-body": (
        {"p": p("7.0E-04", locator="Abstract"), "others": [p("0.0007", locator="Figure 3")]},
        {"p": p("7.0E-04", locator="Abstract"), "others": [p("0.0013", locator="Figure 3")]},
    ),
    "survival-never-rises": (
        {"early": alive("83.3", "at 2 years"), "late": alive("81.6", "at 4 years")},
        {"early": alive("81.6", "at 2 years"), "late": alive("83.3", "at 4 years")},
    ),
    "overall-at-least-event-free": (
        {
            "event_free": alive("60", "at 5 years", "Event-free survival"),
            "overall": alive("86", "at 5 years"),
        },
        {
            "event_free": alive("86", "at 5 years", "Event-free survival"),
            "overall": alive("60", "at 5 years"),
        },
    ),
    "one-number-one-label": (
        {"claims": [alive("66.2", "at 3 years"), alive("66", "at 3 years", id="x-text")]},
        {"claims": [alive("66.2", "at 5 years"), alive("66", "at 3 years")]},
    ),
    "same-thing-same-number": (
        {"claims": [claim("x-a", "49.4", "mean"), claim("x-b", "49", "mean")]},
        {"claims": [claim("x-a", "213"), claim("x-b", "231")]},
    ),
    "bound-holds": (
        {"bound": share(">80"), "others": [share("82", 100)]},
        {"bound": share(">80"), "others": [share("63", 83)]},
    ),
    "best-is-not-exceeded": (
        {"claims": [alive("40", ""), alive("40.4", "", id="x-again")]},
        {"claims": [alive("40", ""), alive("66.2", "", id="x-again")]},
    ),
    "bound-meets-table": (
        {"bound": share(">80"), "complement": [share("10", 100, n_events=10)]},
        {"bound": share(">80"), "complement": [share("49", 217, n_events=106)]},
    ),
    "unit-fits-quantity": (
        {"claim": claim("x", "13.3", "cumulative-incidence", statement="Cumulative incidence.")},
        {
            "claim": claim(
                "x", "10.1", "median", unit="months", statement="Cumulative incidence of relapse."
            )
        },
    ),
    "attainable-range": (
        {"claim": claim("x", "-0.7 to 0.7", "definition"), "stages": 7, "used": 5},
        {"claim": claim("x", "-1 to 1", "definition"), "stages": 7, "used": 5},
    ),
    "labels-differ": (
        {"claims": [claim("x-a", "PDd", "citation"), claim("x-b", "PDc", "citation")]},
        {"claims": [claim("x-a", "PDd", "citation"), claim("x-b", "PDd", "citation")]},
    ),
    "label-among": (
        {
            "claim": claim("x-a", "PDc", "citation"),
            "allowed": claim("x-b", "PDc and PDe", "citation"),
        },
        {
            "claim": claim("x-a", "PDd", "citation"),
            "allowed": claim("x-b", "PDc and PDe", "citation"),
        },
    ),
    "measure-is-stated": (
        {"claim": share("75", statement="Size of the clone.")},
        {"claim": share("~23", statement="Share of the lineage.")},
    ),
    "accession-is-what-it-is-called": (
        {"claim": claim("x", "EGAS00001", "citation", statement="A study.")},
        {"claim": claim("x", "EGAD00001", "citation", statement="A study.")},
    ),
    "journal-matches-article": (
        {
            "article": claim("x-a", "10.1038/s43018-023-1", "citation"),
            "cited": claim("x-b", "Nature Cancer", "citation"),
        },
        {
            "article": claim("x-a", "10.1038/s43018-023-1", "citation"),
            "cited": claim("x-b", "Nature Medicine", "citation"),
        },
    ),
    "same-members": (
        {"claims": counts(1, 2), "members": {"x-count-0": ["a", "b"], "x-count-1": ["b", "a"]}},
        {"claims": counts(1, 2), "members": {"x-count-0": ["a", "b"], "x-count-1": ["b"]}},
    ),
    "one-class-per-member": (
        {"claims": counts(1, 2), "members": {"x-count-0": ["a"], "x-count-1": ["b"]}},
        {"claims": counts(1, 2), "members": {"x-count-0": ["a"], "x-count-1": ["b", "a"]}},
    ),
    "text-layer-is-shifted": (
        {"raw": claim("x-a", "70×109/L", "citation"), "read": claim("x-b", "≥70", "threshold")},
        {"raw": claim("x-a", "81×219/L", "citation"), "read": claim("x-b", "≥70", "threshold")},
    ),
    "names-are-defined": (
        {"claim": claim("x"), "used": ["a"], "defined": ["a"]},
        {"claim": claim("x"), "used": ["a2"], "defined": ["a"]},
    ),
    "has-a-source": (
        {"claim": alive(">80", "at 5 years"), "comparable": [alive("86", "at 5 years")]},
        {
            "claim": alive(">80", "at 5 years", locator="Prognosis"),
            "comparable": [alive("86", "at 5 years")],
        },
    ),
    "reference-names-subject": (
        {"claim": claim("x", "1, 2"), "subject": "venetoclax", "references": REFERENCES},
        {"claim": claim("x", "2, 3"), "subject": "venetoclax", "references": REFERENCES},
    ),
    "references-differ": (
        {"references": REFERENCES, "source": "paper2020"},
        {"references": TWICE, "source": "paper2020"},
    ),
    "clone-size-fits": (CLONE, {**CLONE, "lower": claim("x-low", "0.011", "mean")}),
}


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize("name", list(CASES))
def test_rule_is_silent_on_sound_claims_and_fires_on_broken_ones(name: str) -> None:
    sound, broken = CASES[name]
    quiet, loud = RULES[name](**sound), RULES[name](**broken)
    assert not quiet.fired, quiet.arithmetic
    assert loud.fired, loud.arithmetic
    assert quiet.rule == loud.rule == name
    assert loud.arithmetic and loud.arithmetic != quiet.arithmetic


def test_clone_size_agrees_with_the_printed_values_only_with_the_point_moved() -> None:
    loud = RULES["clone-size-fits"](**CASES["clone-size-fits"][1])
    estimate = loud.recomputed["x-low"]
    assert estimate.ci_low is not None and estimate.ci_high is not None
    assert 0.00110 < estimate.ci_low < estimate.ci_high < 0.00115
    assert "k = 278 to 296" in loud.arithmetic


def test_tail_refuses_counts_below_the_expected_errors() -> None:
    with pytest.raises(ValueError, match="expected number of errors"):
        log_upper_tail(1, 100_000, 1e-3)
    with pytest.raises(ValueError, match="no number of reads"):
        clone_sizes("0.0013", "0.9", "0.5", 1.6e-4)


# ---------------------------------------------------------------------------- the audit as declared

# The list of contradictions found by hand before the audit was written, with their severity.
FLOOR = {
    **{"0.1": "B", "0.2": "A", "0.3": "C", "0.4": "B", "0.5": "B", "0.6": "A", "0.7": "C"},
    **{"0.8": "ok", "0.9": "open"},
    **{"1.1": "A", "1.2": "ok", "1.3": "C", "1.4": "A", "1.5": "B", "1.6": "B", "1.7": "B"},
    **{"1.8": "open", "1.9": "C", "1.10": "C", "1.11": "B", "1.12": "ok", "1.13": "ok"},
    **{"1.14": "C", "2.1": "A", "2.2": "A", "2.3": "A", "2.4": "B", "2.5": "B", "2.6": "C"},
    **{"2.7": "C", "2.8": "C", "2.9": "ok", "2.10": "B", "2.11": "C"},
    **{"3.1": "A", "3.2": "A", "3.3": "B", "3.4": "A", "3.5": "A", "3.6": "A", "3.7": "B"},
    **{"3.8": "B", "3.9": "B", "3.10": "C", "3.11": "C", "3.12": "B", "3.13": "ok"},
    **{"3.14": "ok", "3.15": "C", "4.1": "C", "4.2": "C"},
    **{"X.1": "A", "X.2": "B", "X.3": "A", "X.4": "A", "X.5": "A", "X.6": "A", "X.7": "B"},
    **{"X.8": "B", "X.9": "B"},
}


@pytest.fixture(scope="module")
def findings() -> list[audit.Finding]:
    return contradictions.run()


@pytest.mark.parametrize("number", list(FLOOR))
def test_every_known_contradiction_is_found_by_a_rule(
    number: str, findings: list[audit.Finding]
) -> None:
    mine = [f for f in findings if f.number == number]
    assert FLOOR[number] in {f.severity for f in mine}
    assert any(f.fired for f in mine) == (FLOOR[number] not in {"ok", "open"}) or number == "1.2"


def test_every_firing_was_read_by_somebody(findings: list[audit.Finding]) -> None:
    unread = [f for f in findings if f.fired and (not f.reading or f.severity == "open")]
    assert not unread, [(f.rule, f.claims, f.arithmetic) for f in unread]
    told = [f for f in findings if f.fired and f.severity in {"A", "B", "C"} and not f.settles]
    assert not told, [f.number for f in told]


def test_rules_run_over_many_claims_that_add_up(findings: list[audit.Finding]) -> None:
    tally = contradictions.tally(findings).set_index("rule")
    assert tally["ran"].min() >= 1
    for rule in ("count-within-whole", "p-is-positive", "percentage-of-whole"):
        assert tally.loc[rule, "silent"] > 5 * tally.loc[rule, "fired"]
    assert tally.loc["p-is-positive", "fired"] == 1
    assert tally["unread"].sum() == 0


BREAKS: list[tuple[str, dict[str, Any], str]] = [
    ("har-cohort-mll", {"printed": "42", "value": 42}, "sum-of-parts"),
    ("iac-atlas-cells-cord-blood", {"printed": "5,860", "value": 5860}, "sum-of-parts"),
    ("stu-t3-mll10-0-2mo", {"printed": "28", "value": 0.28}, "percentage-of-whole"),
    ("ext-short-cns-shr", {"ci_low": 7.54}, "interval-in-order"),
    ("ext-blina-dfs4", {"ci_low": 0.545}, "interval-of-count"),
    ("stu-t1-os-aall15p1", {"printed": "31", "value": 0.31}, "overall-at-least-event-free"),
    ("coo-clone-minor-d", {"printed": "30", "value": 0.3}, "pigeonhole"),
    ("har-cluster-chi2", {"printed": "0.03", "value": 0.03}, "test-of-table"),
    ("har-mv-p-mllt1", {"printed": "0.043", "value": 0.043}, "p-in-two-places"),
    ("har-drp-slow-n", {"printed": "71", "value": 71}, "count-within-whole"),
]


@pytest.mark.parametrize(("id", "change", "rule"), BREAKS)
def test_a_misprint_put_into_the_claims_is_found(
    id: str, change: dict[str, Any], rule: str, findings: list[audit.Finding]
) -> None:
    known = claims.read()
    if rule == "interval-in-order":  # such an interval gives no P value at all
        broken = RULES[rule](replace(known[id], **change))
        assert broken.fired
        return
    after = contradictions.run({**known, id: replace(known[id], **change)})
    before = {(f.rule, f.claims) for f in findings if f.fired}
    new = [f for f in after if f.fired and (f.rule, f.claims) not in before and id in f.claims]
    assert rule in {f.rule for f in new}


def test_a_new_contradiction_without_a_reading_is_open() -> None:
    known = claims.read()
    id = "har-drp-slow-n"
    after = contradictions.run({**known, id: replace(known[id], value=71, printed="71")})
    (new,) = [f for f in after if f.rule == "count-within-whole" and f.fired]
    assert new.severity == "open" and new.claims == (id,)


def test_the_mending_of_a_contradiction_is_seen() -> None:
    known = claims.read()
    mended = replace(known["har-drp-circos-n"], value=60, printed="60")
    (finding,) = [f for f in contradictions.run({**known, mended.id: mended}) if f.number == "1.4"]
    assert not finding.fired and finding.severity == "ok"


def test_a_plan_with_unknown_names_is_refused_with_all_of_them() -> None:
    known = claims.read()
    plan = {
        "checks": [
            {"number": "9.1", "rule": "no-such-rule", "severity": "A"},
            {"number": "9.2", "rule": "p-is-positive", "severity": "A", "p": "har-nothing"},
            {"number": "9.3", "rule": "p-is-positive", "severity": "Z", "p": "coo-p-r2"},
        ]
    }
    with pytest.raises(contradictions.InvalidAudit, match=r"(?s)9\.1.*9\.2.*har-nothing.*9\.3"):
        contradictions.run(known, plan)


def test_references_are_those_of_the_review() -> None:
    references = datasets.published("stutterheim_references")
    assert references["number"].tolist() == list(range(1, 89))
    finding = RULES["references-differ"](references, "stutterheim2025")
    assert "22 and 79" in finding.arithmetic and finding.fired


def test_log_log_interval_needs_an_event_and_a_survivor() -> None:
    with pytest.raises(ValueError, match="0 < k < n"):
        audit.log_log_interval(30, 30)
    low, high = audit.log_log_interval(25, 30)
    assert math.isclose(low, 0.645, abs_tol=5e-4) and math.isclose(high, 0.927, abs_tol=5e-4)


# ------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("form", ["md", "json", "csv"])
def test_audit_is_printed_in_three_forms(form: str) -> None:
    result = CliRunner().invoke(cli.main, ["audit", "--format", form])
    assert result.exit_code == 0, result.output
    assert "221 + 43 + 14 + 28 = 306" in result.output
    if form == "json":
        rows = json.loads(result.output)
        assert {r["severity"] for r in rows} <= set(audit.SEVERITIES)
    everything = CliRunner().invoke(cli.main, ["audit", "--format", form, "--all"])
    assert len(everything.output) > len(result.output)

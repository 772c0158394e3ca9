r"""Rules that compare the numbers of a paper with each other.

Each rule is a function from claims (printed numbers) to a `Finding`: the arithmetic, built from the
numbers, and whether it comes out. A rule that is silent has checked something too, so silent
findings are kept. Which claims a rule compares is declared in ``data/audit.yml`` with the severity
if it fires, a fair reading, and what would settle it; rules that need no declaration also run over
every claim that has what they need, and what they find there without a declaration is ``open``.

The check of percentages is the granularity argument of Brown and Heathers (Soc Psychol Personal
Sci 2017;8:363); intervals and P values are turned into each other on the normal scale of the
estimate (Altman and Bland, BMJ 2011;343:d2090 and d2304).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy import special, stats

from ballbook.claims import PRINTED, Claim, rounds_to
from ballbook.clones import clone_sizes, log_upper_tail
from ballbook.contingency import chi_squared, expected_counts, fisher_exact, proportion
from ballbook.meta_analysis import log_hr_from_ci, log_hr_from_p
from ballbook.printed_counts import counts_that_print_as, denominators
from ballbook.results import PERCENT_KINDS, Estimate, format_number, format_p

Severity = Literal["A", "B", "C", "ok", "open"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
SEVERITY_HELP: dict[str, str] = {
    "A": "A number is wrong, or two numbers cannot both be right",
    "B": "Label, denominator or rounding",
    "C": "Wording",
    "ok": "Adds up",
    "open": "Cannot be decided from what is printed",
}
ENDPOINTS = {
    "event-free survival": "EFS",
    "disease-free survival": "DFS",
    "overall survival": "OS",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says of some claims.

    Attributes
    ----------
    rule : str
        Name of the rule, kebab-case.
    claims : tuple of str
        Ids of the claims compared.
    arithmetic : str
        The calculation in words and numbers, made from the claims.
    fired : bool
        Whether the claims contradict each other.
    undecided : bool
        Whether the rule could only narrow the possibilities.
    recomputed : mapping
        Claim id to the number that the other claims give for it.
    number, severity, reading, settles, slip, unlike : from the declaration
        `slip` names the claims that other print identifies as the wrong ones; `unlike` those whose
        counterpart may be of other patients, another time or cut-off, so that it judges nothing.
    """

    rule: str
    claims: tuple[str, ...]
    arithmetic: str
    fired: bool
    undecided: bool = False
    recomputed: Mapping[str, Estimate] = field(default_factory=dict)
    number: str = ""
    severity: Severity = "ok"
    reading: str = ""
    settles: str = ""
    slip: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()


Claims = Sequence[Claim]
RULES: dict[str, Callable[..., Finding]] = {}


def rule(function: Callable[..., Finding]) -> Callable[..., Finding]:
    """Register a rule under its name with hyphens."""
    RULES[function.__name__.replace("_", "-")] = function
    return function


# ---------------------------------------------------------------------- reading what is printed


def shown(claim: Claim) -> str:
    """Return a claim's number as printed, with its per cent sign."""
    if claim.printed is None:
        return "no number"
    return f"{claim.printed}%" if claim.scale == 100 and claim.value is not None else claim.printed


def placed(claim: Claim) -> str:
    """Return a claim's number with its endpoint and time."""
    number = shown(claim) if claim.value is not None or claim.unit != "%" else f"{claim.printed}%"
    where = claim.unit if claim.unit != "%" else None
    return " ".join(w for w in (number, endpoint(claim), where) if w)


def value(claim: Claim) -> float:
    """Return a claim's number, or refuse.

    Raises
    ------
    ValueError
        If the claim has none.
    """
    if claim.value is None:
        raise ValueError(f"{claim.id} prints no number")
    return claim.value


def half_unit(claim: Claim) -> float:
    """Return half a unit of the last printed digit, on the scale of `value`."""
    match = PRINTED.match(claim.printed or "")
    if match is None:
        return 0.0
    exponent = Decimal(match["number"].replace(",", "")).as_tuple().exponent
    assert isinstance(exponent, int)
    return 0.5 * 10.0**exponent / claim.scale


def sign(claim: Claim) -> str:
    """Return the inequality printed before a number, as ``<``, ``>``, ``<=``, ``>=`` or nothing."""
    match = PRINTED.match(claim.printed or "")
    found = (match["sign"] or "") if match else ""
    return {"≤": "<=", "≥": ">=", "~": ""}.get(found, found)


def count(claim: Claim) -> int:
    """Return the patients behind a count or a percentage of `n`.

    Raises
    ------
    ValueError
        If no count, or more than one, prints as the percentage.
    """
    if claim.kind not in PERCENT_KINDS:
        return int(value(claim))
    if claim.n_events is not None:
        return claim.n_events
    possible = counts_that_print_as(str(claim.printed), int(claim.n or 0))
    if len(possible) != 1:
        raise ValueError(f"{claim.id}: {shown(claim)} of {claim.n} allows {possible or 'no count'}")
    return possible[0]


def years(claim: Claim) -> float | None:
    """Return the time point that stands with a survival probability, in years."""
    match = re.search(r"at (\d+(?:\.\d+)?) (year|month)", claim.unit or "")
    if match is None:
        return None
    return float(match[1]) / (12 if match[2] == "month" else 1)


def endpoint(claim: Claim) -> str | None:
    """Return EFS, DFS or OS, as the claim's statement begins."""
    start = claim.statement.lower()
    return next((short for name, short in ENDPOINTS.items() if start.startswith(name)), None)


def percent(fraction: float, digits: int = 2) -> str:
    """Return a fraction as a percentage with `digits` decimals."""
    return f"{100 * fraction:.{digits}f}%"


def ids(*claims: Claim | Iterable[Claim]) -> tuple[str, ...]:
    """Return the ids of claims and of lists of claims, in order, once each."""
    flat: list[str] = []
    for c in claims:
        flat += [c.id] if isinstance(c, Claim) else [x.id for x in c]
    return tuple(dict.fromkeys(i.partition(".")[0] for i in flat))


def recount(kind: str, number: float, how: str, **more: Any) -> Estimate:
    """Return a number worked out from print as an estimate of tier ``published``."""
    return Estimate(kind, float(number), ci_level=None, method=how, tier="published", **more)


# ------------------------------------------------------------------------------------ sums


@rule
def sum_of_parts(total: Claim, parts: Claims) -> Finding:
    """Parts of a whole add up to it."""
    terms = [count(p) for p in parts]
    found, printed = sum(terms), int(value(total))
    right = found == printed
    end = ", as printed" if right else f", printed {printed:,}: {abs(printed - found)} apart"
    return Finding(
        "sum-of-parts",
        ids(total, parts),
        f"{' + '.join(f'{t:,}' for t in terms)} = {found:,}{end}",
        found != printed,
        recomputed={total.id: recount("count", found, "sum of the printed parts")},
    )


@rule
def percentages_of_one_whole(parts: Claims) -> Finding:
    """Printed percentages of one whole add to 100."""
    numbers = [Decimal(str(p.printed)) for p in parts]
    total = sum(numbers)
    text = f"{' + '.join(map(str, numbers))} = {total}"
    counted = all(p.n is not None for p in parts)
    if counted:
        exact = [100 * count(p) / int(p.n or 1) for p in parts]
        text += f"; before rounding {' + '.join(f'{e:.2f}' for e in exact)} = {sum(exact):.2f}"
    return Finding("percentages-of-one-whole", ids(parts), text, total != 100)


@rule
def parts_of_percentage(total: Claim, parts: Claims) -> Finding:
    """Percentages of one base add to the percentage of both together, within rounding."""
    found = sum(Decimal(str(p.printed)) for p in parts)
    room = 100 * (half_unit(total) + sum(half_unit(p) for p in parts))
    return Finding(
        "parts-of-percentage",
        ids(total, parts),
        f"{' + '.join(str(p.printed) for p in parts)} = {found}, printed {shown(total)}",
        abs(float(found) - 100 * value(total)) > room + 1e-9,
    )


@rule
def equal_parts(total: Claim, part: Claim, parts: int) -> Finding:
    """A whole cut in `parts` equal groups has that many times the group."""
    whole, size = int(value(total)), int(value(part))
    possible = sorted((whole + i) // parts for i in range(parts))
    return Finding(
        "equal-parts",
        ids(total, part),
        f"{parts} × {size} = {parts * size}, total {whole}; {whole} in {parts} groups as equal as "
        f"can be: {' + '.join(map(str, possible))}",
        parts * size != whole,
        recomputed={
            total.id: recount("count", parts * size, f"{parts} groups of the printed size"),
            part.id: recount("count", max(possible), "largest of groups as equal as can be"),
        },
    )


@rule
def as_many_as_listed(total: Claim, listed: Sequence[str]) -> Finding:
    """As many things are listed as are counted."""
    return Finding(
        "as-many-as-listed",
        ids(total),
        f"{', '.join(listed)}: {len(listed)}, printed {total.printed}",
        len(listed) != int(value(total)),
        recomputed={total.id: recount("count", len(listed), "things listed beside it")},
    )


@rule
def remainder(totals: Claims, parts: Sequence[Claims]) -> Finding:
    """What totals leave when the printed parts are taken off."""
    left = []
    for total, gone in zip(totals, zip(*parts, strict=True), strict=True):
        terms = [count(g) for g in gone]
        rest = count(total) - sum(terms)
        left.append((f"{count(total)} - {' - '.join(map(str, terms))} = {rest}", rest))
    negative = any(rest < 0 for _, rest in left)
    return Finding(
        "remainder",
        ids(totals, *parts),
        "; ".join(t for t, _ in left),
        negative,
        undecided=not negative,
    )


@rule
def count_within_whole(part: Claim) -> Finding:
    """A count is no larger than the number it is out of."""
    k, n = count(part), int(part.n or 0)
    return Finding("count-within-whole", ids(part), f"{k:,} of {n:,}", k > n)


@rule
def one_each(named: Claim, needed: Claim) -> Finding:
    """One of each: as many are named as there are things."""
    a, b = count(named), count(needed)
    return Finding(
        "one-each", ids(named, needed), f"{a} named, {b} to be covered, {b - a} left out", a < b
    )


@rule
def share_within_whole(part: Claim, whole: Claim) -> Finding:
    """What has happened by a time is no more than what has ever happened."""
    a = value(part)
    b = count(whole) / int(whole.n or 1) if whole.n else value(whole)
    base = f"{count(whole)}/{whole.n} = {percent(b, 1)}" if whole.n else shown(whole)
    return Finding(
        "share-within-whole",
        ids(part, whole),
        f"{part.printed} = {percent(a, 1)} by then, {base} ever",
        a > b + (0 if whole.n else half_unit(whole)),
        recomputed={part.id: recount("proportion", b, "at most, from the printed counts")},
    )


@rule
def pigeonhole(clones: Claims, larger: Claim) -> Finding:
    """Sibling clones of one sample hold no more than all its cells, nor does one in its pair."""
    terms = [value(c) for c in clones]
    total = sum(terms)
    return Finding(
        "pigeonhole",
        ids(clones, larger),
        f"{' + '.join(percent(t, 0) for t in terms)} = {percent(total, 0)} of 100%; beside "
        f"{percent(value(larger), 0)} at most {percent(1 - value(larger), 0)} is left",
        total > 1 or value(larger) > 1,
    )


# ------------------------------------------------------------------------------ percentages


def denominator_text(printed: Sequence[str], largest: int) -> list[str]:
    """Return the counts over each denominator up to `largest` that allow all the percentages."""
    table = denominators(printed, largest)
    return [
        " and ".join(f"{row[p]}/{row['n']}" for p in printed)
        for _, row in table[table["all"]].iterrows()
    ]


@rule
def percentage_of_whole(percentages: Claims, largest: int | None = None) -> Finding:
    """Some count out of the stated number rounds to each percentage (granularity)."""
    printed = [str(p.printed) for p in percentages]
    n = percentages[0].n
    if n is None:
        fits = denominator_text(printed, largest or 150)
        return Finding(
            "percentage-of-whole",
            ids(percentages),
            f"{', '.join(shown(p) for p in percentages)}, denominator not printed; up to "
            f"{largest or 150} these fit: {', '.join(fits) or 'none'}",
            not fits,
            undecided=bool(fits),
        )
    parts, recomputed, fired = [], {}, False
    for p, text in zip(percentages, printed, strict=True):
        possible = counts_that_print_as(text, n)
        if p.n_events is not None:
            possible = [p.n_events] if rounds_to(100 * p.n_events / n, text) else []
        if possible:
            named = possible if len(possible) < 4 else [possible[0], "…", possible[-1]]
            parts.append(f"{text}% = {', '.join(map(str, named))}/{n}")
            recomputed[p.id] = recount(
                p.kind, possible[0] / n, "count that rounds to it", n=n, n_events=possible[0]
            )
        else:
            fired = True
            k = p.n_events if p.n_events is not None else round(value(p) * n)
            near = sorted({k} if p.n_events is not None else {k - 1, k, k + 1} & set(range(n + 1)))
            near_text = ", ".join(f"{i}/{n} = {percent(i / n)}" for i in near)
            parts.append(f"no count of {n} prints as {text}% ({near_text})")
            recomputed[p.id] = recount(p.kind, k / n, "nearest count", n=n, n_events=k)
    if fired:
        fits = denominator_text(printed, n)
        if 0 < len(fits) <= 12:
            parts.append(f"up to {n} these fit: {', '.join(fits)}")
    return Finding(
        "percentage-of-whole", ids(percentages), "; ".join(parts), fired, recomputed=recomputed
    )


@rule
def percentage_of_count(percentage: Claim, part: Claim, of: Claims) -> Finding:
    """A percentage is the printed count over the printed total (or sum of totals)."""
    k, n = count(part), sum(count(c) for c in of)
    share = k / n
    fired = not rounds_to(100 * share, str(percentage.printed))
    text = f"{k:,}/{n:,} = {percent(share)}, printed {shown(percentage)}"
    if fired and k:
        fits = [
            m
            for m in range(k, 100 * k)
            if 100 * k / m >= 100 * value(percentage) - 1
            and rounds_to(100 * k / m, str(percentage.printed))
        ]
        if fits:
            span = f"{fits[0]}" if len(fits) == 1 else f"{fits[0]} to {fits[-1]}"
            text += f"; {k}/n prints so for n = {span}"
    how = f"{k} of {n}"
    return Finding(
        "percentage-of-count",
        ids(percentage, part, of),
        text,
        fired,
        recomputed={percentage.id: recount(percentage.kind, share, how, n=n, n_events=k)},
    )


@rule
def weighted_mean(total: Claim, parts: Claims, weights: Claims | None = None) -> Finding:
    r"""Survival of the whole is near :math:`\sum n_iS_i/\sum n_i` (exact without censoring)."""
    size = [count(w) for w in weights] if weights else [int(p.n or 0) for p in parts]
    s = [value(p) for p in parts]
    room = [half_unit(p) for p in parts]
    n = sum(size)
    mean = sum(a * b for a, b in zip(size, s, strict=True)) / n
    slack = sum(a * b for a, b in zip(size, room, strict=True)) / n + half_unit(total)
    terms = " + ".join(f"{a} × {100 * b:.1f}" for a, b in zip(size, s, strict=True))
    return Finding(
        "weighted-mean",
        ids(total, parts),
        f"({terms})/{n} = {100 * mean:.2f}, printed {shown(total)}",
        abs(mean - value(total)) > slack + 1e-12,
        recomputed={
            total.id: recount(
                total.kind,
                mean,
                "weighted mean of the groups, over their rounding",
                ci_low=mean - slack,
                ci_high=mean + slack,
                n=n,
            )
        },
    )


@rule
def total_between_parts(total: Claim, parts: Claims) -> Finding:
    """Survival of the whole lies between that of its parts."""
    low = min(value(p) - half_unit(p) for p in parts)
    high = max(value(p) + half_unit(p) for p in parts)
    # Where only the edges of the rounding meet, both would have to lie exactly on them.
    room = half_unit(total) - 1e-12
    inside = low - room < value(total) < high + room
    return Finding(
        "total-between-parts",
        ids(total, parts),
        f"{shown(total)} beside {', '.join(shown(p) for p in parts)}",
        not inside,
    )


@rule
def difference_stated(stated: Claim, pairs: Sequence[Claims]) -> Finding:
    """A stated difference rounds from the differences of the printed values."""
    gaps = [100 * (value(a) - value(b)) for a, b in pairs]
    text = "; ".join(
        f"{100 * value(a):.1f} - {100 * value(b):.1f} = {g:.1f}"
        for (a, b), g in zip(pairs, gaps, strict=True)
    )
    printed = value(stated)
    # A rounded "about" is given a tenth of itself and half a point.
    fired = any(abs(g - printed) > 0.1 * printed + 0.5 for g in gaps)
    return Finding(
        "difference-stated",
        ids(stated, *pairs),
        f"{text}, stated {stated.printed}",
        fired,
        recomputed={stated.id: recount("difference", min(gaps), "smaller of the differences")},
    )


# --------------------------------------------------------------------- intervals and P values


@rule
def interval_in_order(claim: Claim) -> Finding:
    """An interval has its lower bound below its upper bound and holds its estimate."""
    low, high = claim.ci_low, claim.ci_high
    assert low is not None and high is not None
    parts = [f"{claim.printed or 'estimate'} with {low:g} to {high:g}"]
    if low > high:
        parts.append(f"lower bound is {format_number(low / high)} times the upper")
    if claim.value is not None and not low <= claim.value <= high:
        parts.append(f"{format_number(low / claim.value)} times the estimate")
    fired = len(parts) > 1
    return Finding("interval-in-order", ids(claim), "; ".join(parts), fired)


def corners(claim: Claim) -> Iterable[tuple[float, float, float]]:
    """Yield the corners of what a ratio and its bounds may have been before rounding."""
    assert claim.ci_low is not None and claim.ci_high is not None
    room = half_unit(claim)
    for a, b, c in itertools.product((-1, 1), repeat=3):
        yield value(claim) + a * room, claim.ci_low + b * room, claim.ci_high + c * room


def two_sided(z: float) -> float:
    """Return the two-sided P value of a normal statistic."""
    return float(2 * stats.norm.sf(abs(z)))


@rule
def p_from_interval(ratio: Claim, p: Claim) -> Finding:
    r"""The P value of a ratio follows from its 95% interval, :math:`z=\ln r/s`."""
    assert ratio.ci_low is not None and ratio.ci_high is not None
    effect, se = log_hr_from_ci(value(ratio), ratio.ci_low, ratio.ci_high)
    found = two_sided(effect / se)
    every = [
        two_sided(math.log(r) / (math.log(h / low) / 3.919928)) for r, low, h in corners(ratio)
    ]
    room = half_unit(p)
    fired = not (min(every) <= value(p) + room and max(every) >= value(p) - room)
    if sign(p) in {"<", "<="}:
        fired = min(every) > value(p)
    text = (
        f"ln {ratio.value:g} = {effect:.3f}, standard error (ln {ratio.ci_high:g} - "
        f"ln {ratio.ci_low:g})/3.92 = {se:.3f}: P = {format_p(found)}, printed {p.printed}"
    )
    recomputed = {p.id: recount("p-value", found, "from the interval", p_value=found)}
    return Finding("p-from-interval", ids(ratio, p), text, fired, recomputed=recomputed)


@rule
def interval_from_p(ratio: Claim, p: Claim) -> Finding:
    r"""The 95% interval of a ratio follows from its P value, :math:`s=|\ln r|/z_{p/2}`."""
    assert ratio.ci_low is not None and ratio.ci_high is not None
    room = half_unit(p)
    spans = []
    for q in (max(value(p) - room, value(p) / 20), value(p), value(p) + room):
        effect, se = log_hr_from_p(q, hr=value(ratio))
        spans.append((math.exp(effect - 1.959964 * se), math.exp(effect + 1.959964 * se)))
    (low_1, high_1), (low, high), (low_2, high_2) = spans
    unit = half_unit(ratio)
    inside = (
        min(low_1, low_2) - unit <= ratio.ci_low <= max(low_1, low_2) + unit
        and min(high_1, high_2) - unit <= ratio.ci_high <= max(high_1, high_2) + unit
    )
    return Finding(
        "interval-from-p",
        ids(ratio, p),
        f"{ratio.value:g} with P = {p.printed} gives {low:.2f} to {high:.1f} (over the rounding of "
        f"P {max(low_1, low_2):.2f} to {min(high_1, high_2):.1f} up to {min(low_1, low_2):.2f} to "
        f"{max(high_1, high_2):.1f}), printed {ratio.ci_low:g} to {ratio.ci_high:g}",
        not inside,
        recomputed={
            ratio.id: recount(
                ratio.kind,
                math.sqrt(ratio.ci_low * ratio.ci_high),
                "middle of its interval, over the rounding of the bounds",
                ci_low=min(math.sqrt(a * b) for _, a, b in corners(ratio)),
                ci_high=max(math.sqrt(a * b) for _, a, b in corners(ratio)),
            )
        },
    )


@rule
def interval_of_count(claim: Claim) -> Finding:
    r"""An interval is the log(-log) interval of k of n followed to the end.

    Without censoring the Kaplan-Meier estimate is k/n, and Greenwood's variance gives
    :math:`se\{\ln(-\ln\hat S)\}=\sqrt{(1-\hat S)/(n\hat S)}/|\ln\hat S|`. A tenth of
    a point is allowed for rounding.
    """
    n = int(claim.n or 0)
    assert claim.ci_low is not None and claim.ci_high is not None
    possible = counts_that_print_as(str(claim.printed), n)
    if not possible:
        return Finding(
            "interval-of-count", ids(claim), f"no count of {n} prints as {shown(claim)}", True
        )
    k = possible[0]
    low, high = log_log_interval(k, n)
    gap = max(abs(low - claim.ci_low), abs(high - claim.ci_high))
    return Finding(
        "interval-of-count",
        ids(claim),
        f"{k}/{n} = {percent(k / n, 1)} ({100 * low:.1f} to {100 * high:.1f}), printed "
        f"{shown(claim)} ({100 * claim.ci_low:.1f} to {100 * claim.ci_high:.1f})",
        gap > 0.0006,
        recomputed={
            claim.id: recount(
                claim.kind,
                k / n,
                "count over n, log(-log) interval",
                ci_low=low,
                ci_high=high,
                n=n,
                n_events=k,
            )
        },
    )


def log_log_interval(k: int, n: int) -> tuple[float, float]:
    """Return the 95% log(-log) interval of k/n, as Kaplan-Meier without censoring gives it.

    Raises
    ------
    ValueError
        Unless 0 < k < n.
    """
    if not 0 < k < n:
        raise ValueError(f"the interval needs 0 < k < n, got {k} of {n}")
    s = k / n
    g = math.log(-math.log(s))
    se = math.sqrt((1 - s) / (n * s)) / abs(math.log(s))
    low, high = (math.exp(-math.exp(g + d * 1.959964 * se)) for d in (1, -1))
    return low, high


@rule
def test_of_table(p: Claim, table: Sequence[Claims] | None = None, k_of_n: Claims = ()) -> Finding:
    """A P value follows from the printed table by chi-squared, or by the exact test."""
    rows = [[count(c) for c in row] for row in table or []]
    rows += [[count(c), int(c.n or 0) - count(c)] for c in k_of_n]
    chi, exact = chi_squared(rows), fisher_exact(rows)
    smallest = float(expected_counts(rows).min())
    assert chi.value is not None and exact.value is not None and chi.statistic is not None
    fits = [rounds_to(t.value, str(p.printed)) for t in (chi, exact)]  # type: ignore[arg-type]
    best = exact if fits[1] or not fits[0] else chi
    return Finding(
        "test-of-table",
        ids(p, *(table or []), k_of_n),
        f"{rows}: chi-squared {chi.statistic:.2f}, df {chi.df:g}, P = {format_p(chi.value)}; "
        f"exact P = {format_p(exact.value)}; smallest expected cell {smallest:.2f}; "
        f"printed {p.printed}",
        not any(fits),
        recomputed={p.id: replace(best, tier="published")},
    )


@rule
def p_in_two_places(precise: Claim, coarse: Claim) -> Finding:
    """One P value printed in two places rounds from one to the other."""
    fired = not rounds_to(value(precise), str(coarse.printed))
    match = PRINTED.match(coarse.printed or "")
    decimals = max(0, -int(Decimal(match["number"]).as_tuple().exponent)) if match else 2
    relation = "not " if fired else ""
    return Finding(
        "p-in-two-places",
        ids(precise, coarse),
        f"{precise.printed} rounds to {value(precise):.{decimals}f}, {relation}the printed "
        f"{coarse.printed}",
        fired,
        recomputed={
            coarse.id: recount("p-value", value(precise), "as printed elsewhere"),
            precise.id: recount(
                "p-value", value(coarse if fired else precise), "printed elsewhere"
            ),
        },
    )


@rule
def p_is_positive(p: Claim) -> Finding:
    """A P value is above 0: a tail of a distribution with positive chances is never empty."""
    tiny = float(np.finfo(float).tiny)
    fired = sign(p) == "" and value(p) <= 0
    text = f"{p.printed} is above 0"
    if fired:
        text = (
            f"P = {p.printed}; the smallest normal number in double precision is {tiny:.1e}, and "
            "the tail of a binomial with a positive error rate is above 0"
        )
    how = "at most, and above 0"
    recomputed = {p.id: recount("p-value", tiny, how, p_value=tiny)} if fired else {}
    return Finding("p-is-positive", ids(p), text, fired, recomputed=recomputed)


@rule
def stated_effect_has_p(effects: Claims) -> Finding:
    """What is stated as an effect has a P value below 0.05."""
    weak = [c for c in effects if value(c) >= 0.05]
    return Finding(
        "stated-effect-has-p",
        ids(effects),
        "P = " + ", ".join(str(c.printed) for c in effects) + f"; {len(weak)} of {len(effects)} "
        "not below 0.05",
        bool(weak),
    )


@rule
def smallest_p_is_named(model: Claims, named: Claims) -> Finding:
    """The covariate with the smallest P value of a model is among those that the abstract names."""
    ordered = sorted(model, key=value)
    rank = {c.id: i + 1 for i, c in enumerate(ordered)}
    first = ordered[0]
    places = ", ".join(f"{c.printed} (rank {rank[c.id]})" for c in named)
    return Finding(
        "smallest-p-is-named",
        ids(model, named),
        f"smallest of {len(model)} P values is {first.printed} ({first.statement.rstrip('.')}); "
        f"named are {places}",
        first.id not in {c.id for c in named},
    )


@rule
def abstract_p_in_body(p: Claim, others: Claims) -> Finding:
    """A P value of the abstract stands in the body too."""
    named = [part for part in re.split(r"[;,]", p.locator) if "abstract" not in part.lower()]
    same = [c for c in others if c.id != p.id and "abstract" not in c.locator.lower()]
    found = [c for c in same if rounds_to(value(c), str(p.printed)) and sign(c) == ""]
    where = "; ".join(x.strip() for x in named) or ", ".join(f"{c.locator}" for c in found)
    return Finding(
        "abstract-p-in-body",
        ids(p),
        f"{p.printed} stands in the abstract and in {where}"
        if where
        else f"{p.printed} stands in the abstract; none of {len(same)} other P values equals it",
        not where,
    )


# ------------------------------------------------------------------------ survival and labels


@rule
def survival_never_rises(early: Claim, late: Claim) -> Finding:
    """Survival of one group is no higher later than earlier."""
    rise = value(late) - value(early)
    return Finding(
        "survival-never-rises",
        ids(early, late),
        f"{shown(early)} {early.unit}, {shown(late)} {late.unit}: "
        f"{'+' if rise > 0 else ''}{100 * rise:.1f} points",
        rise > half_unit(early) + half_unit(late),
    )


@rule
def overall_at_least_event_free(event_free: Claim, overall: Claim) -> Finding:
    """At least as many are alive as are, then or later, alive without an event."""
    return Finding(
        "overall-at-least-event-free",
        ids(event_free, overall),
        f"OS {shown(overall)} {overall.unit}, EFS {shown(event_free)} {event_free.unit}",
        value(event_free) > value(overall) + half_unit(event_free) + half_unit(overall),
    )


def one_number(a: Claim, b: Claim) -> bool:
    """Tell whether two printed numbers may be one number, rounded to different places."""
    return abs(value(a) - value(b)) <= half_unit(a) + half_unit(b) + 1e-12


def elsewhere(claim: Claim, claims: Claims) -> Estimate:
    """Return what the most precise of the other claims prints for the same quantity."""
    others = [c for c in claims if c.id != claim.id]
    best = min(others, key=half_unit)
    coarse = one_number(claim, best) and half_unit(best) > half_unit(claim)
    number = value(claim) if coarse else value(best)
    return recount(claim.kind, number, f"{placed(best)} in {best.source}, {best.locator}")


@rule
def one_number_one_label(claims: Claims) -> Finding:
    """One number of one group carries the same endpoint and time wherever it is printed."""
    labels = [(endpoint(c) or "?", c.unit or "no time") for c in claims]
    same = all(one_number(claims[0], c) for c in claims[1:])
    return Finding(
        "one-number-one-label",
        ids(claims),
        ", ".join(f"{shown(c)} as {e} {t}" for c, (e, t) in zip(claims, labels, strict=True)),
        same and len(set(labels)) > 1 and value(claims[0]) not in {0.0, 1.0},
        recomputed={c.id: elsewhere(c, claims) for c in claims},
    )


@rule
def same_thing_same_number(claims: Claims) -> Finding:
    """One quantity has one value wherever it is printed, within rounding."""
    texts = [str(c.printed) for c in claims]
    numeric = all(c.value is not None for c in claims) and not any(sign(c) for c in claims)
    if numeric:
        fired = not all(one_number(a, b) for a, b in itertools.combinations(claims, 2))
    else:
        fired = len({t.replace("≥", ">=").replace("≤", "<=") for t in texts}) > 1
    shown_ = [f"{shown(c)} ({c.source}, {c.locator})" for c in claims]
    recomputed = {c.id: elsewhere(c, claims) for c in claims} if numeric else {}
    return Finding(
        "same-thing-same-number", ids(claims), "; ".join(shown_), fired, recomputed=recomputed
    )


@rule
def bound_holds(bound: Claim, others: Claims, at_least: float | None = None) -> Finding:
    """A stated bound is met by other printed values of the same thing.

    Values with their `n` get an exact interval, and break the bound only if it lies beyond.
    `at_least` gives a word such as "high" the meaning that is being tested.
    """
    limit = at_least if at_least is not None else value(bound)
    up = at_least is not None or sign(bound) in {">", ">="}
    strict = at_least is None and sign(bound) in {">", "<"}
    broken, parts = 0, []
    for c in others:
        low = high = value(c)
        text = shown(c)
        if c.n and c.kind == "proportion":
            k = c.n_events if c.n_events is not None else round(value(c) * c.n)
            e = proportion(k, c.n)
            assert e.ci_low is not None and e.ci_high is not None
            low, high = e.ci_low, e.ci_high
            text = f"{k}/{c.n} ({100 * low:.1f} to {100 * high:.1f})"
        parts.append(f"{text} [{c.source}]")
        beyond = high < limit if up else low > limit
        broken += beyond or (strict and low == high == limit)
    stated = shown(bound) if at_least is None else f"a word read as at least {percent(limit, 0)}"
    return Finding(
        "bound-holds",
        ids(bound, others),
        f"stated {stated}; {', '.join(parts)}: {broken} of {len(others)} beyond it",
        broken > 0,
        recomputed={
            bound.id: recount(
                bound.kind, (min if up else max)(map(value, others)), "the most extreme elsewhere"
            )
        }
        if at_least is None
        else {},
    )


@rule
def best_is_not_exceeded(claims: Claims) -> Finding:
    """What is called the best, or a ceiling, is not exceeded by another printed value."""
    numbers = [value(c) for c in claims]
    text = ", ".join(f"{shown(c)} {c.unit or ''}".strip() + f" ({c.locator})" for c in claims)
    return Finding(
        "best-is-not-exceeded",
        ids(claims),
        f"{text}: from {percent(min(numbers), 0)} to {percent(max(numbers), 0)}",
        max(numbers) - min(numbers) > 2 * max(half_unit(c) for c in claims),
        recomputed={
            c.id: recount(c.kind, max(numbers), "largest of the printed ceilings")
            for c in claims
            if sign(c)
        },
    )


@rule
def bound_meets_table(bound: Claim, complement: Claims) -> Finding:
    """A stated bound on a share agrees with a table of its complement."""
    k, n = sum(count(c) for c in complement), sum(int(c.n or 0) for c in complement)
    e = proportion(n - k, n)
    assert e.value is not None and e.ci_low is not None and e.ci_high is not None
    up = sign(bound) in {">", ">="}
    fired = e.ci_high < value(bound) if up else e.ci_low > value(bound)
    return Finding(
        "bound-meets-table",
        ids(bound, complement),
        f"{' + '.join(str(count(c)) for c in complement)} = {k} of {n} on the other side, so "
        f"{n - k}/{n} = {percent(e.value, 1)} ({100 * e.ci_low:.1f} to {100 * e.ci_high:.1f}); "
        f"stated {shown(bound)}",
        fired,
        recomputed={bound.id: replace(e, tier="published")},
    )


@rule
def unit_fits_quantity(claim: Claim) -> Finding:
    """A quantity has a unit of its own kind: an incidence is a share, a median time is a time."""
    text = f"{claim.statement} {claim.kind}".lower()
    share = "cumulative incidence" in text or "cumulative-incidence" in text
    timed = (claim.unit or "") in {"months", "years", "days"} or claim.kind == "median"
    return Finding(
        "unit-fits-quantity",
        ids(claim),
        f"called a cumulative incidence, printed {shown(claim)} {claim.unit or ''}".strip(),
        share and timed,
    )


@rule
def attainable_range(claim: Claim, stages: int, used: int) -> Finding:
    r"""A score's stated range is the one that its formula can reach.

    The slope of `used` values on 1..u is :math:`\sum(x-\bar x)y/\sum(x-\bar x)^2`. Values that are
    z-scores over `stages` have :math:`\sum y=0,\ \sum y^2=m-1` with the sample and m with the
    population standard deviation; by Cauchy and Schwarz the slope is largest when y is
    proportional to :math:`x-\bar x`, so :math:`|b|\le\sqrt{(m-1)/\sum(x-\bar x)^2}`.
    """
    x = np.arange(1, used + 1) - (used + 1) / 2
    square = float((x**2).sum())
    bound = math.sqrt((stages - 1) / square)
    low, high = (float(t) for t in re.findall(r"-?\d+(?:\.\d+)?", str(claim.printed)))
    return Finding(
        "attainable-range",
        ids(claim),
        f"stated {low:g} to {high:g}; |slope| ≤ sqrt({stages - 1}/{square:g}) = "
        f"sqrt({(stages - 1) * square:g})/{square:g} = {bound:.3f} for {used} of {stages} z-scores",
        max(abs(low), abs(high)) > bound,
    )


@rule
def labels_differ(claims: Claims) -> Finding:
    """Two roles are filled by two different things."""
    names = [str(c.printed) for c in claims]
    return Finding(
        "labels-differ",
        ids(claims),
        "; ".join(f"{c.printed}: {c.statement.rstrip('.')}" for c in claims),
        len(set(names)) < len(names),
    )


@rule
def label_among(claim: Claim, allowed: Claim) -> Finding:
    """A sample or name is one of those listed elsewhere."""
    names = [n.strip() for n in re.split(r",| and ", str(allowed.printed))]
    return Finding(
        "label-among",
        ids(claim, allowed),
        f"{claim.printed}; listed elsewhere: {', '.join(names)}",
        claim.printed not in names,
    )


@rule
def measure_is_stated(claim: Claim) -> Finding:
    """A clone size says whether it is of reads or of cells."""
    known = any(w in claim.statement.lower() for w in ("allele fraction", "size of the clone"))
    size = value(claim)
    text = f"{shown(claim)}, said of what"
    if not known:
        text = (
            f"{shown(claim)}, of reads or of cells is not said; at heterozygous diploid sites "
            f"{percent(size, 0)} of reads are {percent(2 * size, 0)} of cells, and "
            f"{percent(size, 0)} of cells are {percent(size / 2, 1)} of reads"
        )
    return Finding("measure-is-stated", ids(claim), text, not known)


ACCESSIONS = {"EGAD": "data set", "EGAS": "study", "EGAN": "sample", "EGAF": "file"}
JOURNAL_CODES = {"43018": "Nature Cancer", "41591": "Nature Medicine", "41588": "Nature Genetics"}


@rule
def accession_is_what_it_is_called(claim: Claim) -> Finding:
    """An accession of the European archive is called what its prefix means."""
    prefix = str(claim.printed)[:4]
    kind = ACCESSIONS.get(prefix, "unknown")
    called = next((w for w in ("study", "data set", "sample") if w in claim.statement.lower()), "")
    return Finding(
        "accession-is-what-it-is-called",
        ids(claim),
        f"{claim.printed}: {prefix} is a {kind}, called a {called or 'nothing'}",
        bool(called) and called != kind,
    )


@rule
def journal_matches_article(article: Claim, cited: Claim) -> Finding:
    """The journal named is that of the article number."""
    match = re.search(r"s(\d{5})-", str(article.printed))
    journal = JOURNAL_CODES.get(match[1] if match else "", "unknown")
    return Finding(
        "journal-matches-article",
        ids(article, cited),
        f"{article.printed} is of {journal}; cited as {cited.printed}",
        journal != cited.printed,
    )


@rule
def same_members(claims: Claims, members: Mapping[str, Sequence[str]]) -> Finding:
    """Two definitions of one thing name the same members."""
    sets = [set(members[c.id]) for c in claims]
    common = set.intersection(*sets)
    extra = [
        f"{c.source}: {', '.join(sorted(s - common)) or 'nothing more'}"
        for c, s in zip(claims, sets, strict=True)
    ]
    return Finding(
        "same-members",
        ids(claims),
        f"shared: {', '.join(sorted(common))}; only in {'; only in '.join(extra)}",
        any(s != common for s in sets),
    )


@rule
def one_class_per_member(claims: Claims, members: Mapping[str, Sequence[str]]) -> Finding:
    """No member is put in two classes that exclude each other."""
    both = set.intersection(*(set(members[c.id]) for c in claims))
    return Finding(
        "one-class-per-member",
        ids(claims),
        "; ".join(f"{c.source}: {', '.join(members[c.id])}" for c in claims)
        + f"; in both: {', '.join(sorted(both)) or 'none'}",
        bool(both),
    )


@rule
def text_layer_is_shifted(raw: Claim, read: Claim) -> Finding:
    """A text layer holds the number that is read, or holds it one code point off."""
    digits = re.findall(r"\d+", str(raw.printed))
    moved = ["".join(chr(ord(d) - 1) for d in g) for g in digits]
    number = re.sub(r"\D", "", str(read.printed))
    text = f"text layer {raw.printed}; read as {read.printed}"
    if digits[0] != number:
        fits = "which is" if moved[0] == number else "which is not"
        text += f"; {digits[0]} less one code point a digit = {moved[0]}, {fits} the number read"
        if len(digits[-1]) > 2:  # the font leaves a superscript alone
            text += f", and {digits[-1]} = {moved[-1][:-1]} with superscript {digits[-1][-1]}"
    recomputed = {}
    if moved[0] == number:
        recomputed = {read.id: recount("threshold", float(number), "text layer, one point back")}
    return Finding(
        "text-layer-is-shifted", ids(raw, read), text, digits[0] != number, recomputed=recomputed
    )


@rule
def names_are_defined(claim: Claim, used: Sequence[str], defined: Sequence[str]) -> Finding:
    """A script defines the names it uses."""
    missing = [n for n in used if n not in defined]
    return Finding(
        "names-are-defined",
        ids(claim),
        f"uses {', '.join(used)}; defines {', '.join(defined)}; "
        f"missing {', '.join(missing) or 'none'}",
        bool(missing),
    )


@rule
def has_a_source(claim: Claim, comparable: Claims) -> Finding:
    """A number that is not the author's own names where it comes from."""
    near = [f"{placed(c)} [{c.source}]" for c in comparable]
    sourced = "reference" in claim.locator.lower() or "table" in claim.locator.lower()
    return Finding(
        "has-a-source",
        ids(claim, comparable),
        f"{placed(claim)}, {'in ' + claim.locator if sourced else 'no source named'}"
        + (f"; compare {'; '.join(near)}" if near else ""),
        not sourced,
    )


@rule
def reference_names_subject(
    claim: Claim, subject: str, references: pd.DataFrame, numbers: Sequence[int] | None = None
) -> Finding:
    """A reference given for a drug or trial names it in its title."""
    cited = numbers or [int(n) for n in re.findall(r"\d+", str(claim.printed))]
    rows = references[references["number"].isin(cited)]
    titles = rows["names_in_title"].fillna("no drug or trial")
    anywhere = references["names_in_title"].fillna("").str.lower().str.contains(subject.lower())
    named = titles.str.lower().str.contains(subject.lower())
    told = "; ".join(f"{n}: {k}" for n, k in zip(rows["number"], titles, strict=True))
    return Finding(
        "reference-names-subject",
        ids(claim),
        f"{subject} cites {told}; {int(anywhere.sum())} of {len(references)} titles name {subject}",
        not bool(named.any()),
    )


@rule
def references_differ(references: pd.DataFrame, source: str) -> Finding:
    """No paper stands twice in a list of references."""
    references = references.reset_index(drop=True)
    key = references[["journal", "year", "volume", "page"]].astype(str).agg("|".join, axis=1)
    twice = references.assign(key=key)[key.duplicated(keep=False)]
    pairs = [
        f"{' and '.join(map(str, g['number']))}: {g['first_author'].iloc[0]}, "
        f"{g['journal'].iloc[0]} {g['year'].iloc[0]};{g['volume'].iloc[0]}:{g['page'].iloc[0]}"
        for _, g in twice.groupby("key")
    ]
    return Finding(
        "references-differ",
        (),
        f"{len(references)} references of {source}; twice: {'; '.join(pairs) or 'none'}",
        bool(pairs),
    )


# --------------------------------------------------------------------------------- clone size


@rule
def clone_size_fits(
    fraction: Claim, lower: Claim, upper: Claim, p: Claim, error: Claim, sites: Claim, depth: Claim
) -> Finding:
    """Reads that fit the printed fraction, P value, error and upper bound give the lower bound."""
    fit = clone_sizes(
        str(fraction.printed),
        str(upper.printed),
        str(p.printed),
        value(error),
        error_room=half_unit(error),
    )
    (k1, k2), (n1, n2), (b1, b2) = fit.k, fit.n, fit.lower
    m = value(sites)
    depth_fits = n1 / m <= 1.1 * value(depth) and n2 / m >= 0.9 * value(depth)
    # Without room for the error rate the P value comes out as printed: an example for the rest.
    exact = clone_sizes(str(fraction.printed), str(upper.printed), str(p.printed), value(error))
    example = exact.table.iloc[len(exact.table) // 2]
    k, n = int(example["k"]), int(example["n_low"])
    tail = float(np.exp(log_upper_tail(k, n, value(error))))
    how = "binomial, pairs of reads that fit the other printed values"
    return Finding(
        "clone-size-fits",
        ids(fraction, lower, upper, p, error, sites, depth),
        f"{fraction.printed}, upper bound {upper.printed}, P {p.printed} and error {error.printed} "
        f"allow k = {k1} to {k2} of N = {n1:,} to {n2:,} reads ({n1 / m:.0f} to {n2 / m:.0f} per "
        f"site, printed {depth.printed}), whose exact lower bound is {b1:.5f} to {b2:.5f}; printed "
        f"{lower.printed}",
        not (b1 - half_unit(lower) <= value(lower) <= b2 + half_unit(lower)) or not depth_fits,
        recomputed={
            lower.id: recount("mean", (b1 + b2) / 2, how, ci_low=b1, ci_high=b2),
            upper.id: recount("mean", special.betaincinv(k + 1, n - k, 0.975), how),
            fraction.id: recount("mean", k / n, how, n=n, n_events=k),
            p.id: recount("p-value", tail, how, p_value=tail),
            depth.id: recount("mean", n / m, how, ci_low=n1 / m, ci_high=n2 / m),
        },
    )

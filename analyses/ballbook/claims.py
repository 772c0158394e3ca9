"""Published numbers as claims, and the rules that judge them.

A claim is one number (or direction) printed in one place of one paper: ``data/claims/<paper>.yml``.
`judge` compares it with an estimate and returns a verdict with its reason. Which rule applies
depends on the claim's kind and on the tier of the data behind the estimate:

* ``published``: the same data as the paper's. The recomputed number must round to the printed one.
* ``open`` and ``yours``: other patients. Intervals are compared, never points alone.
* ``simulated``: says something of a method and nothing of the disease: always ``method-check``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from ballbook import paths, yaml_files
from ballbook.errors import Refusal
from ballbook.results import PERCENT_KINDS, Estimate, Verdict, VerdictWord, format_number, format_p

RATIOS = frozenset({"hazard-ratio", "odds-ratio", "risk-ratio"})
DIFFERENCES = frozenset({"difference", "risk-difference", "correlation", "slope"})
EFFECTS = RATIOS | DIFFERENCES | {"direction"}
WITHOUT_VERDICT = frozenset({"definition", "method", "citation"})
KINDS = (
    EFFECTS
    | WITHOUT_VERDICT
    | PERCENT_KINDS
    | {"count", "median", "mean", "p-value", "threshold", "range"}
)
PRINTED = re.compile(
    r"^\s*(?P<sign>[<>≤≥~]|<=|>=)?\s*(?P<number>[+-]?\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*%?\s*$"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """One published number with its place and how it is judged.

    Proportions and survival are fractions in `value`, and percentages as `printed`. `smallest` is
    the smallest effect, as a distance from none, that would still deserve the claim's words.
    """

    id: str
    source: str
    locator: str
    statement: str
    kind: str
    analysis: str | None = None
    tier: str | None = None
    printed: str | None = None
    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    unit: str | None = None
    n: int | None = None
    n_events: int | None = None
    direction: str | None = None
    needs: str | None = None
    smallest: float | None = None

    @property
    def scale(self) -> int:
        """Factor from `value` to what is printed: 100 for percentages, else 1."""
        return 100 if self.kind in PERCENT_KINDS or self.unit == "%" else 1

    @property
    def shown(self) -> str:
        """What the paper printed, with its interval where it gave one."""
        text = self.printed or "no value printed"
        if self.printed and self.scale == 100 and text[-1].isdigit():
            text += "%"
        elif self.printed and self.kind == "p-value":
            text = f"P {text}" if text[0] in "<>" else f"P = {text}"
        if self.unit and self.printed and self.unit != "%":
            text += f" {self.unit}"
        if self.ci_low is not None and self.ci_high is not None:
            low, high = (format_number(v * self.scale) for v in (self.ci_low, self.ci_high))
            text += f" ({low} to {high})"
        return text


class InvalidClaims(Refusal, ValueError):
    """Claim files that break their contract; the message lists every problem."""


@cache
def read(folder: Path | None = None) -> dict[str, Claim]:
    """Return all claims by id, from ``data/claims`` or another `folder`.

    Raises
    ------
    InvalidClaims
        Naming file, claim and problem, all at once.
    """
    folder = folder or paths.data() / "claims"
    known = {f.name for f in fields(Claim)}
    found: dict[str, Claim] = {}
    problems: list[str] = []
    for file in sorted(folder.glob("*.yml")):
        content = yaml_files.read(file) or {}
        if content.get("source") != file.stem:
            problems.append(f"{file.name}: source should be {file.stem}")
        for row in content.get("claims", []):
            name = f"{file.name}: {row.get('id', '(no id)')}"
            if extra := set(row) - known:
                problems.append(f"{name}: unknown fields {', '.join(sorted(extra))}")
                continue
            if missing := {"id", "locator", "statement", "kind"} - set(row):
                problems.append(f"{name}: missing {', '.join(sorted(missing))}")
                continue
            row = {k: str(v) if k == "printed" and v is not None else v for k, v in row.items()}
            claim = Claim(source=file.stem, **row)
            problems += [f"{name}: {p}" for p in problems_of(claim)]
            if claim.id in found:
                problems.append(f"{name}: the id stands twice")
            found[claim.id] = claim
    if problems:
        raise InvalidClaims("\n".join(problems))
    return found


def problems_of(claim: Claim) -> Iterable[str]:
    """Yield what is wrong with a claim in itself."""
    if claim.kind not in KINDS:
        yield f"kind {claim.kind!r} is not one of {', '.join(sorted(KINDS))}"
    if claim.direction not in {None, "above", "below"}:
        yield f"direction {claim.direction!r} should be above or below"
    if claim.kind == "direction" and claim.direction is None:
        yield "a direction claim needs its direction"
    if claim.scale == 100 and claim.value is not None and not 0 <= claim.value <= 1:
        yield f"value {claim.value} should be a fraction between 0 and 1"
    if claim.printed is not None and claim.value is not None and claim.kind in KINDS:
        match = PRINTED.match(claim.printed)
        if match:
            number = float(match["number"].replace(",", ""))
            if not math.isclose(number, claim.value * claim.scale, rel_tol=1e-9):
                yield f"value {claim.value} does not equal what is printed, {claim.printed!r}"


def of_analysis(slug: str) -> list[Claim]:
    """Return the claims that name `slug` as their analysis, in file order."""
    return [c for c in read().values() if c.analysis == slug]


def rounds_to(value: float, printed: str) -> bool:
    """Tell whether `value` may have been printed as `printed`.

    Both ways of rounding a half are allowed, since papers use both. ``<x`` and ``>x`` are
    inequalities, ``~x`` allows one unit of the last printed digit.
    """
    match = PRINTED.match(printed)
    if match is None or not math.isfinite(value):
        return False
    sign, text = match["sign"], match["number"].replace(",", "")
    number = Decimal(text)
    if sign in {"<", ">", "≤", "≥", "<=", ">="}:
        bound = float(number)
        if sign[0] in "<≤":
            return value < bound or (sign != "<" and value == bound)
        return value > bound or (sign != ">" and value == bound)
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    last = Decimal(1).scaleb(exponent)
    room = last if sign == "~" else last / 2
    # A relative allowance for the binary representation of a value that is exactly half-way.
    slack = float(room) + 1e-12 * max(abs(float(number)), abs(value))
    return abs(value - float(number)) <= slack


def judge(
    claim: Claim,
    estimate: Estimate,
    *,
    misprint: str | None = None,
    label: str | None = None,
    note: str = "",
    other_patients: bool = False,
) -> Verdict:
    """Return the verdict on `claim` that `estimate` gives.

    Parameters
    ----------
    claim : Claim
    estimate : Estimate
        Its `tier` decides which rule applies.
    misprint : str, optional
        Why a disagreement on the same data must be a slip in print: other numbers printed beside
        it contradict it. Turns ``differs`` into ``misprint``.
    label : str, optional
        Why a number that may be right cannot stand as it is printed: its time, endpoint or unit is
        contradicted. The verdict on the same data is then ``misprint`` even where digits agree.
    note : str
        Added to the reason, whatever the verdict.
    other_patients : bool
        The estimate is of tier ``published`` but from other patients than the claim's, as a
        pooled effect of several papers is: intervals are compared instead of printed digits.

    Raises
    ------
    ValueError
        If the claim needs no verdict or the estimate carries no tier.
    """
    if claim.kind in WITHOUT_VERDICT:
        raise ValueError(f"{claim.id} is a {claim.kind} and takes no verdict")
    if estimate.tier is None:
        raise ValueError(f"{claim.id}: the estimate {estimate.id!r} carries no tier")
    word: VerdictWord
    if estimate.value is None:
        word, reason = "not-testable", estimate.reason or "not estimable in these data"
    elif estimate.tier == "simulated":
        word, reason = "method-check", "Simulated data test the method, not the disease."
    elif estimate.tier == "published" and not other_patients:
        word, reason = same_data(claim, estimate)
        if word == "differs" and misprint:
            word, reason = "misprint", f"{reason} {misprint}"
        elif label:
            word, reason = "misprint", label
    else:
        rule = RULES.get(claim.kind, other_value)
        word, reason = rule(claim, estimate)
    reason = f"{reason} {note}".strip()
    if word == "not-testable" and claim.needs:
        reason = f"{reason.rstrip('.')}. Needed: {claim.needs.rstrip('.')}."
    return Verdict(claim.id, word, claim.shown, in_words(estimate), estimate.tier, reason)


SHORT = {
    "hazard-ratio": "hazard ratio",
    "odds-ratio": "odds ratio",
    "risk-ratio": "risk ratio",
    "difference": "difference",
    "risk-difference": "difference",
    "correlation": "correlation",
    "slope": "slope",
    "survival": "survival",
    "median": "median",
}


def in_words(estimate: Estimate) -> str:
    """Return an estimate with what it is and whose it is: label, kind, numbers."""
    name, kind = estimate.label or estimate.id, SHORT.get(estimate.kind, "")
    said = f"{kind} {estimate}" if kind and kind not in name.lower() else str(estimate)
    return f"{name}: {said}" if name else said


def same_data(claim: Claim, estimate: Estimate) -> tuple[VerdictWord, str]:
    """Judge on the paper's own numbers: does the recomputed one round to the printed one?"""
    assert estimate.value is not None
    if claim.printed is None:
        if claim.kind == "direction":
            return other_effect(claim, estimate)
        return "not-testable", "The paper prints no value."
    value = estimate.value * claim.scale
    if rounds_to(value, claim.printed):
        return "reproduced", f"Rounds to the printed {claim.printed}."
    return "differs", f"Gives {format_number(value, 4)}, printed is {claim.printed}."


def other_effect(claim: Claim, estimate: Estimate) -> tuple[VerdictWord, str]:
    """Judge an effect on other patients by its interval, its direction and the published one."""
    value, low, high = estimate.value, estimate.ci_low, estimate.ci_high
    assert value is not None
    null = 1.0 if (estimate.kind in RATIOS or claim.kind in RATIOS) else 0.0
    # A printed P value says that there is an effect, not how large it is.
    published = claim.value if claim.kind not in {"direction", "p-value"} else None
    above = claim.direction == "above" if claim.direction else (published or null) > null
    if low is None or high is None:
        if estimate.p_value is None:
            return "not-testable", "No interval could be computed."
        excludes = estimate.p_value < 1 - (estimate.ci_level or 0.95)
        low, high = (value, value) if excludes else (-math.inf, math.inf)
    none = f"{null:g} (no effect)"
    if claim.smallest is not None and all(abs(b - null) < claim.smallest for b in (low, high)):
        return "differs", f"The interval excludes an effect as large as {claim.smallest:g}."
    if low <= null <= high:
        if published is not None and not overlaps(claim, low, high):
            return "differs", f"The interval includes {none} and excludes the published size."
        also = " and the published size" if published is not None else ""
        return "underpowered", f"The interval includes {none}{also}."
    if (value > null) != above:
        return "differs", f"The effect goes the other way; the interval excludes {none}."
    if published is None:
        return "consistent", f"Same direction; the interval excludes {none}."
    if overlaps(claim, low, high):
        return "consistent", "Same direction, and compatible with the published size."
    size = "smaller" if abs(value - null) < abs(published - null) else "larger"
    return "differs", f"Same direction, but {size} than the published effect allows."


def overlaps(claim: Claim, low: float, high: float) -> bool:
    """Tell whether ``[low, high]`` meets the claim's interval, printed or implied by its n."""
    first, last = published_interval(claim)
    return low <= last and first <= high


def published_interval(claim: Claim) -> tuple[float, float]:
    """Return the 95% interval of a claim: as printed, else as its value and n imply it.

    A proportion or survival of n patients gets Wilson's score interval, which takes all n as
    followed and so is the narrowest possible. A median of n patients (or of its events) gets the
    interval of an exponential distribution, ``m exp(+-1.96 / sqrt(n))``. Without n the value
    stands for itself.
    """
    value, n = claim.value, claim.n_events or claim.n
    assert value is not None
    if claim.ci_low is not None and claim.ci_high is not None:
        return claim.ci_low, claim.ci_high
    z = 1.959963984540054
    if claim.kind in PERCENT_KINDS and claim.n:
        m = claim.n
        centre = (value + z * z / (2 * m)) / (1 + z * z / m)
        half = z * math.sqrt(value * (1 - value) / m + z * z / (4 * m * m)) / (1 + z * z / m)
        return centre - half, centre + half
    if claim.kind == "median" and n and value > 0:
        factor = math.exp(z / math.sqrt(n))
        return value / factor, value * factor
    return value, value


def too_wide(claim: Claim, low: float, high: float) -> bool:
    """Tell whether an interval is too wide to judge a level by.

    A fraction must be known to within half of the scale, a positive level to within a factor of
    four from bound to bound.
    """
    if claim.kind in PERCENT_KINDS:
        return high - low > 0.5
    return low > 0 and high / low > 4


def other_value(claim: Claim, estimate: Estimate) -> tuple[VerdictWord, str]:
    """Judge a level (proportion, survival, median) on other patients by overlap of intervals."""
    if claim.value is None:
        return "not-testable", "The paper prints no value."
    low, high = estimate.ci_low, estimate.ci_high
    if low is None and high is None:
        return "not-testable", "No interval could be computed."
    low = -math.inf if low is None else low
    high = math.inf if high is None else high
    match = PRINTED.match(claim.printed or "")
    sign = (match["sign"] or "")[:1] if match else ""
    if sign in {"<", "≤", ">", "≥"}:
        inside = high <= claim.value if sign in "<≤" else low >= claim.value
        outside = low >= claim.value if sign in "<≤" else high <= claim.value
        if inside:
            return "consistent", "The whole interval lies on the side that the paper states."
        if outside:
            return "differs", "The whole interval lies on the other side."
        return "underpowered", "The interval includes both sides of the stated bound."
    if not overlaps(claim, low, high):
        return "differs", "The interval excludes the published value."
    if too_wide(claim, low, high):
        return "underpowered", "The interval includes the published value, and almost any other."
    return "consistent", "The intervals are compatible."


def other_p(claim: Claim, estimate: Estimate) -> tuple[VerdictWord, str]:
    """Judge a published P value on other patients: is there evidence, on the same side?

    A P value is no property of the disease, so its size is never compared; only whether the
    association that it stood for is seen again. A claim of no association is consistent with an
    interval that includes no effect, and says so.
    """
    if estimate.kind != "p-value" and estimate.ci_low is not None:
        if claim.direction is None and claim.value is not None and claim.value < 0.05:
            null = 1.0 if estimate.kind in RATIOS else 0.0
            assert estimate.ci_high is not None
            if estimate.ci_low <= null <= estimate.ci_high:
                return "underpowered", f"The interval includes {null:g} (no effect)."
            return "consistent", "An association is seen; the paper gives no direction."
        if claim.direction is not None:
            return other_effect(claim, estimate)
    p = estimate.p_value if estimate.p_value is not None else estimate.value
    if p is None or claim.value is None:
        return "not-testable", "No P value to compare."
    published, seen = claim.value < 0.05, p < 0.05
    if published and seen:
        return "consistent", f"Evidence of an association here too (P = {format_p(p)})."
    if published:
        return "underpowered", f"No evidence here (P = {format_p(p)}), which does not show absence."
    if seen:
        return "differs", f"The paper saw none; here P = {format_p(p)}."
    return "consistent", f"No evidence in the paper, none here (P = {format_p(p)})."


Rule = Callable[[Claim, Estimate], tuple[VerdictWord, str]]
RULES: dict[str, Rule] = {
    **dict.fromkeys(EFFECTS, other_effect),
    "p-value": other_p,
}


def not_testable(claim: Claim, reason: str, needs: str | None = None) -> Verdict:
    """Return the verdict for a claim that no data at hand can judge.

    Raises
    ------
    ValueError
        If neither the call nor the claim says which data would be needed.
    """
    wanted = needs or claim.needs
    if not wanted:
        raise ValueError(f"{claim.id}: say which data would be needed")
    text = f"{reason.rstrip('.')}. Needed: {wanted.rstrip('.')}."
    return Verdict(claim.id, "not-testable", claim.shown, "not testable", None, text)


def as_row(claim: Claim) -> dict[str, Any]:
    """Return a claim as a flat dictionary, for tables and downloads."""
    return {f.name: getattr(claim, f.name) for f in fields(claim)}

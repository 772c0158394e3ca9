"""The three things an analysis says: an estimate, a gate, a verdict.

Every number in the book is an `Estimate`, every check of an assumption a `Gate`, every judgement
of a published number a `Verdict`. They print themselves, and they are what `results.json` holds.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from html import escape
from typing import Any, Literal

Tier = Literal["published", "open", "simulated", "yours"]
Status = Literal["passed", "failed", "not-applicable"]
VerdictWord = Literal[
    "reproduced",
    "consistent",
    "differs",
    "misprint",
    "underpowered",
    "not-testable",
    "method-check",
]

TIERS: tuple[str, ...] = ("published", "open", "simulated", "yours")
VERDICTS: tuple[str, ...] = (
    "reproduced",
    "consistent",
    "differs",
    "misprint",
    "underpowered",
    "not-testable",
    "method-check",
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """One number with its uncertainty and where it came from.

    Parameters
    ----------
    kind : str
        What the number is, kebab-case: ``hazard-ratio``, ``odds-ratio``, ``survival``,
        ``median``, ``proportion``, ``difference``, ``correlation``, ``p-value``, ``count`` ...
    value : float or None
        The estimate at full precision; None when it cannot be estimated, with `reason`.
    ci_low, ci_high : float or None
        Bounds of the interval at `ci_level`. A bound that is not reached is None.
    p_value : float or None
        Two-sided unless `method` says otherwise.
    unit : str or None
        ``months``, ``%``, ``per 10 years`` ...; None for a pure number.
    n, n_events : int or None
        Patients (or cells, samples) and events behind the number.
    statistic, df : float or None
        Test statistic and its degrees of freedom, where there is one.
    method : str
        Estimator and interval in words, for example ``Cox, Efron ties, Wald interval``.
    reason : str or None
        Why `value` is None, or a caution that travels with the number.
    """

    kind: str
    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    ci_level: float | None = 0.95
    p_value: float | None = None
    unit: str | None = None
    n: int | None = None
    n_events: int | None = None
    statistic: float | None = None
    df: float | None = None
    method: str = ""
    reason: str | None = None
    id: str = ""
    label: str = ""
    group: str | None = None
    tier: Tier | None = None

    def named(self, id: str, label: str = "", **changes: Any) -> Estimate:
        """Return a copy with a stable kebab-case `id`, a reader's `label`, and other changes."""
        return replace(self, id=id, label=label or self.label, **changes)

    def __str__(self) -> str:
        return format_estimate(self)

    def _repr_html_(self) -> str:
        return f'<span class="bb-estimate">{escape(str(self))}</span>'


@dataclass(frozen=True, slots=True)
class Gate:
    """A check of an assumption, and what was done about it."""

    name: str
    status: Status
    statistic: float | None = None
    threshold: float | None = None
    action: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one published number."""

    claim: str
    verdict: VerdictWord
    published: str
    recomputed: str
    tier: Tier | None
    reason: str = ""


def not_estimable(kind: str, reason: str, **fields: Any) -> Estimate:
    """Return an `Estimate` without a value and with the reason in words."""
    return Estimate(kind=kind, value=None, reason=reason, **fields)


def clean(value: Any) -> Any:
    """Return `value` as plain JSON types: NumPy scalars unwrapped, non-finite numbers None."""
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(v) for v in value]
    if hasattr(value, "tolist") and not isinstance(value, (str, bytes)):
        return clean(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def as_json(thing: Estimate | Gate | Verdict) -> dict[str, Any]:
    """Return the fields of an estimate, gate or verdict as plain JSON types."""
    return dict(clean(asdict(thing)))


def format_p(p: float | None) -> str:
    """Return a P value as journals print it: two significant figures, three below 0.1."""
    if p is None or not math.isfinite(p):
        return "not estimable"
    if p < 1e-4:
        mantissa, exponent = f"{p:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    if p < 0.1:
        return f"{p:.2g}" if p < 0.001 else f"{p:.3f}"
    return f"{p:.2f}"


def format_number(value: float | None, digits: int = 3) -> str:
    """Return `value` with `digits` significant figures and without an exponent where it fits."""
    if value is None or not math.isfinite(value):
        return "not reached"
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}"
    if 0 < abs(value) < 1e-3:
        return f"{value:.{digits - 1}e}"
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0) if value else 0
    # Three decimals for most; below 0.01 they would leave one figure.
    most = digits if abs(value) >= 0.01 or not value else digits + 2
    return f"{value:.{min(decimals, most)}f}"


def format_estimate(e: Estimate) -> str:
    """Return an estimate as a sentence part: value, unit, interval, P and counts."""
    if e.value is None and e.ci_low is None and e.ci_high is None:
        return f"not estimable ({e.reason})" if e.reason else "not estimable"
    scale, unit = (100.0, "%") if e.kind in PERCENT_KINDS else (1.0, e.unit or "")
    widest = max(abs(b) for b in (e.ci_low or 0.0, e.ci_high or 0.0))

    def show(v: float | None) -> str:
        if e.kind.endswith("-ratio") and v is not None and 0.01 <= v < 100:
            return f"{v:.2f}"
        if v is not None and 0 < abs(v) < 1e-3 <= widest / 10:
            # An exponent would promise more than the interval does.
            return f"{v * scale:.3f}"
        return format_number(v if v is None else v * scale)

    if e.kind == "p-value":
        text = f"P = {format_p(e.value)}"
    else:
        gap = "" if unit == "%" else " "
        text = f"{show(e.value)}{gap}{unit}".strip()
    if e.ci_low is not None or e.ci_high is not None:
        text += f" ({show(e.ci_low)} to {show(e.ci_high)})"
    if e.p_value is not None and e.kind != "p-value":
        text += f", P = {format_p(e.p_value)}"
    counts = [f"n = {e.n:,}"] if e.n is not None else []
    if e.n_events is not None:
        counts.append(f"{e.n_events:,} events")
    return text + (f"; {', '.join(counts)}" if counts else "")


# Stored as fractions, shown as percentages.
PERCENT_KINDS = frozenset(
    [
        "survival",
        "proportion",
        "probability",
        "cumulative-incidence",
        "power",
        "risk-difference",
        "i2",
    ]
)

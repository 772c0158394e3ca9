r"""A reader's estimate beside what was published and what open data give.

For one quantity, on the scale of its kind (`ballbook.scales`), with estimates :math:`y_i` and
standard errors :math:`s_i`:

- **heterogeneity**: Cochran's :math:`Q=\sum (y_i-\bar y)^2/s_i^2` over the reader's estimate and
  those of other patients, :math:`\bar y` the inverse-variance mean, on :math:`k-1` degrees of
  freedom; estimates that share patients, or answer another question, are context and stay out;
- **difference** from the published number: :math:`z=(y_1-y_0)/\sqrt{s_1^2+s_0^2}`; a published
  number without an interval, printed or implied by its n, is taken as exact (:math:`s_0=0`);
- **power** of the reader's cohort to have seen the published effect :math:`\delta` at the 5%
  level: :math:`\Phi(|\delta|/s_1-z)+\Phi(-|\delta|/s_1-z)`. It depends on the reader's standard
  error and the published effect, never on the effect that was seen;
- **detectable**: the effect (from none), or for a level the distance from the published one, that
  the cohort would have shown with 80% power, :math:`(z_{.975}+z_{.8})\,s_1`.

Cochran, Biometrics 1954;10:101. Goodman, Berlin, Ann Intern Med 1994;121:200, on why power at the
seen effect is not computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import chi2, norm

from ballbook.claims import Claim, in_words, published_interval
from ballbook.meta_analysis import Effect
from ballbook.results import PERCENT_KINDS, Estimate, format_number, not_estimable
from ballbook.scales import SCALES, Scale, on_scale

Z, Z_POWER = float(norm.isf(0.025)), float(norm.isf(0.2))


@dataclass(frozen=True, slots=True)
class Comparison:
    """One quantity of a reader's cohort beside the same quantity elsewhere.

    Attributes
    ----------
    quantity : str
        What is compared, as a heading.
    own : Estimate
    others : tuple of Estimate
        Of other patients; the first is the one that the cohort is compared with.
    context : tuple of Estimate
        Shown beside them, but not tested.
    heterogeneity, difference : Estimate
        P values, of kind ``p-value``.
    power : Estimate
        Fraction; not estimable for levels, which have no "no effect".
    detectable : Estimate
        Of the kind of `own`: smallest effect, or nearest levels on both sides, at 80% power.
    """

    quantity: str
    own: Estimate
    others: tuple[Estimate, ...]
    heterogeneity: Estimate
    difference: Estimate
    power: Estimate
    detectable: Estimate
    context: tuple[Estimate, ...] = ()


def from_claim(claim: Claim, label: str = "") -> Estimate:
    """Return a claim as an estimate of tier ``published``, its interval implied by n if need be."""
    low = high = None
    method = "as printed"
    if claim.value is not None:
        low, high = published_interval(claim)
        if low == high:
            low = high = None
        elif claim.ci_low is None:
            method = "as printed, interval implied by its n"
            label = f"{label or claim.source}, interval implied by n"
    return Estimate(
        claim.kind, claim.value, low, high, n=claim.n, n_events=claim.n_events, method=method,
        unit=claim.unit, id=claim.id, label=label or claim.source, tier="published",
    )  # fmt: skip


def compare(
    quantity: str, own: Estimate, others: Sequence[Estimate], context: Sequence[Estimate] = ()
) -> Comparison:
    """Compare a reader's estimate with `others`, of which the first decides difference and power.

    Raises
    ------
    ValueError
        If the kinds do not share a scale, or there is nothing to compare with.
    """
    if not others:
        raise ValueError(f"{quantity}: nothing to compare with")
    scales = {e.kind: SCALES.get(e.kind) for e in (own, *others, *context)}
    if len({id(s) for s in scales.values()}) != 1 or None in scales.values():
        raise ValueError(f"{quantity}: kinds of different scales: {', '.join(scales)}")
    scale = scales[own.kind]
    assert scale is not None
    mine, reference = on_scale(own), others[0]

    def without(kind: str, reason: str) -> Estimate:
        return not_estimable(kind, reason, tier="yours")

    def answer(**found: Estimate) -> Comparison:
        return Comparison(quantity, own, tuple(others), context=tuple(context), **found)

    if isinstance(mine, str):
        return answer(
            heterogeneity=without("p-value", mine), difference=without("p-value", mine),
            power=without("power", mine), detectable=without(own.kind, mine),
        )  # fmt: skip
    known = [mine, *(e for e in map(on_scale, others) if isinstance(e, Effect))]
    heterogeneity = without("p-value", "no other estimate with an interval")
    if len(known) > 1:
        y, s = np.array(known).T
        q = float((((y - np.average(y, weights=s**-2)) / s) ** 2).sum())
        p = float(chi2.sf(q, len(known) - 1))
        heterogeneity = Estimate(
            "p-value", p, p_value=p, statistic=q, df=len(known) - 1, ci_level=None, tier="yours",
            method=f"Cochran's Q over {len(known)} estimates",
        )  # fmt: skip
    exact = reference.value is not None and scale.low < reference.value < scale.high
    target = scale.there(reference.value) if exact and reference.value is not None else None
    difference = without("p-value", "no published value")
    power = without("power", "no published value")
    if target is not None:
        theirs = on_scale(reference)
        error = 0.0 if isinstance(theirs, str) else theirs.std_error
        z = (mine.value - target) / math.hypot(mine.std_error, error)
        p = float(2 * norm.sf(abs(z)))
        difference = Estimate(
            "p-value", p, p_value=p, statistic=z, ci_level=None, tier="yours",
            method="normal test of yours v published"
            + (", the published number taken as exact" if error == 0 else ""),
        )  # fmt: skip
        power = without("power", "a level, not an effect")
    start = target
    if scale.null is not None:
        start = scale.there(scale.null)
        if target is not None:
            shift = abs(target - start) / mine.std_error
            power = Estimate(
                "power", float(norm.cdf(shift - Z) + norm.cdf(-shift - Z)), ci_level=None,
                tier="yours", method="normal, from the published effect and your standard error",
            )  # fmt: skip
    detectable = without(own.kind, "no published value")
    if start is not None:
        reach = (Z + Z_POWER) * mine.std_error
        ends = sorted((scale.back(start - reach), scale.back(start + reach)))
        detectable = Estimate(
            own.kind, ci_low=ends[0], ci_high=ends[1], unit=own.unit, ci_level=None, tier="yours",
            method="beyond these, 80% power",
        )  # fmt: skip
    return answer(
        heterogeneity=heterogeneity, difference=difference, power=power, detectable=detectable
    )


def _own_label(own: Estimate) -> str:
    return "Dummy cohort" if own.tier == "simulated" else "Your cohort"


def forest_rows(rows: Iterable[Comparison]) -> pd.DataFrame:
    """Return rows for `ballbook.figures.forest`: per quantity a heading, the others, the reader's.

    Fractions become percentages. Estimates without a value are left out.
    """
    table: list[dict[str, object]] = []
    for c in rows:
        factor = 100.0 if percent(c.own) else 1.0
        table.append({"label": c.quantity, "kind": "heading"})
        for e in (*c.others, *c.context, c.own):
            if e.value is None:
                continue
            kind = "yours" if e is c.own else "open" if e.tier == "open" else "study"
            label = _own_label(e) if e is c.own else f"{e.label} ({e.tier})"
            low, high = (v if v is None else v * factor for v in (e.ci_low, e.ci_high))
            table.append(
                {"label": label, "kind": kind, "value": e.value * factor,
                 "ci_low": low, "ci_high": high}
            )  # fmt: skip
    frame = pd.DataFrame(table, columns=["label", "kind", "value", "ci_low", "ci_high"])
    return frame.astype({"value": float, "ci_low": float, "ci_high": float})


def table(rows: Iterable[Comparison]) -> pd.DataFrame:
    """Return one row a quantity: published, open, yours, tests, power and what was detectable."""
    found = []
    for c in rows:
        reference = c.others[0]
        rest = [e for e in (*c.others[1:], *c.context) if e.value is not None]
        low, high = c.detectable.ci_low, c.detectable.ci_high
        factor = 100 if percent(c.own) else 1
        span = None
        if low is not None and high is not None:
            span = f"below {format_number(low * factor)} or above {format_number(high * factor)}"
        found.append(
            {
                "quantity": c.quantity,
                "published": in_words(reference),
                "others": "; ".join(in_words(e) for e in rest),
                "yours": str(c.own),
                "difference_p": c.difference.value,
                "heterogeneity_p": c.heterogeneity.value,
                "power": "" if c.power.value is None else f"{100 * c.power.value:.0f}%",
                "detectable": span or c.detectable.reason,
            }
        )
    return pd.DataFrame(found)


def scale_of(rows: Sequence[Comparison]) -> Scale:
    """Return the scale that all `rows` share.

    Raises
    ------
    ValueError
        If they do not share one.
    """
    scales = [SCALES[c.own.kind] for c in rows]
    if any(s is not scales[0] for s in scales):
        raise ValueError("quantities of different scales cannot stand in one plot")
    return scales[0]


def percent(e: Estimate) -> bool:
    """Tell whether an estimate is printed as a percentage."""
    return e.kind in PERCENT_KINDS

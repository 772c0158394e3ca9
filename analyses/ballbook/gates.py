"""Gates: checks of assumptions, from data or a fit to a `Gate`, and what is done when one fails.

A failed gate switches the estimator: `switch` gives the estimate to report and keeps the other.
The action of a failed gate is a sentence for the reader that names the alternative used. Thresholds
are arguments with the customary default, so a page can state another and be read accordingly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ballbook import contingency
from ballbook import multiplicity as adjust
from ballbook.inputs import (
    as_count,
    as_labels,
    as_p_values,
    as_vector,
    levels_of,
    same_length,
)
from ballbook.logistic import separating_terms
from ballbook.results import Estimate, Gate


@runtime_checkable
class HasHazardsTest(Protocol):
    """A Cox fit that tests its own assumption."""

    def proportional_hazards(
        self, *, factors: Mapping[str, Sequence[str]] | None = None
    ) -> pd.DataFrame:
        """Return a table with columns term, chisq, df, p and a row GLOBAL."""


@runtime_checkable
class HasParallelismTest(Protocol):
    """An ordinal fit that tests its own assumption."""

    def parallelism(self, method: Any = ..., *, terms: Sequence[str] | None = None) -> Estimate:
        """Return the test of parallel slopes."""


@dataclass(frozen=True, slots=True)
class Switched:
    """What a gate decided.

    Attributes
    ----------
    reported : Estimate
        The primary estimate, or the alternative with the gate's action as its reason.
    kept : Estimate
        The other one, for the record; its id ends in ``-primary`` or ``-alternative``.
    gate : Gate
    """

    reported: Estimate
    kept: Estimate
    gate: Gate

    def both(self) -> tuple[Estimate, Estimate]:
        """Return the reported and the kept estimate."""
        return self.reported, self.kept


def switch(gate: Gate, primary: Estimate, alternative: Estimate) -> Switched:
    """Return the estimate to report, and keep the other.

    Passed and not applicable: the primary is reported. Failed: the alternative is, under the
    primary's id, with the gate's action added to its reason.
    """
    if gate.status != "failed":
        kept = _renamed(alternative, primary, "alternative")
        return Switched(primary, kept, gate)
    told = "; ".join(t for t in (alternative.reason, gate.action) if t)
    reported = replace(
        alternative,
        id=primary.id or alternative.id,
        label=primary.label or alternative.label,
        group=primary.group or alternative.group,
        tier=primary.tier or alternative.tier,
        reason=told,
    )
    return Switched(reported, _renamed(primary, primary, "primary"), gate)


def events_per_variable(
    n_events: int, n_covariates: int, *, n: int | None = None, minimum: float = 10
) -> Gate:
    """Check that a model has enough events for its covariates.

    Parameters
    ----------
    n_events : int
        Events; for a binary outcome pass `n` too, and the rarer outcome counts.
    n_covariates : int
        Coefficients in the model, without intercept.
    minimum : float
        Events per coefficient (Peduzzi, J Clin Epidemiol 1996;49:1373).
    """
    events, terms = as_count(n_events, "n_events"), as_count(n_covariates, "n_covariates")
    rarer = False
    if n is not None:
        if as_count(n, "n") < events:
            raise ValueError(f"n: {n} patients cannot have {events} events")
        rarer, events = n - events < events, min(events, n - events)
    if terms == 0:
        return Gate("events per variable", "not-applicable", None, minimum, "no covariates")
    ratio = events / terms
    what = "patients without the event (fewer than with it)" if rarer else "events"
    told = f"{events} {what} for {terms} coefficient{'s' if terms > 1 else ''}"
    if ratio >= minimum:
        return Gate("events per variable", "passed", ratio, minimum, told)
    return Gate(
        "events per variable",
        "failed",
        ratio,
        minimum,
        f"{told}: Firth's penalised estimate is reported instead of maximum likelihood",
    )


def proportional_hazards(
    fit: HasHazardsTest | pd.DataFrame | float,
    *,
    alpha: float = 0.05,
    factors: Mapping[str, Sequence[str]] | None = None,
    only: str | None = None,
) -> Gate:
    """Check proportional hazards by the Grambsch-Therneau test.

    The smallest P over the rows of the table decides, GLOBAL included: one term that violates is
    enough. A term is a covariate or a factor. The 0/1 columns that code one factor are no terms of
    their own, and the smallest P among them rejects too often: name them in `factors`, or judge a
    model of a single factor by ``only="GLOBAL"``.

    Parameters
    ----------
    fit : Cox fit, its `proportional_hazards()` table, or a P value
        A table without any P (Firth's fit, separation, no events) gives ``not-applicable`` with
        the reason from ``attrs["reason"]``.
    alpha : float
        A smaller P fails.
    factors : mapping of str to list of str, optional
        Name of a factor to the covariates that code it, tested together; for a fit only.
    only : str, optional
        The one row that decides: a term, a factor, or ``GLOBAL``.

    Returns
    -------
    Gate
        `statistic` is the P value that decided.

    Raises
    ------
    ValueError
        Not a table with columns term and p, a P outside 0..1, `factors` without a fit, or an
        `only` that is no row.
    """
    name = "proportional hazards"
    if isinstance(fit, (int, float)):
        p, term = float(as_p_values([fit])[0]), ""
    else:
        if factors and isinstance(fit, pd.DataFrame):
            raise ValueError("factors: give the fit itself; its table holds single covariates")
        table = fit if isinstance(fit, pd.DataFrame) else fit.proportional_hazards(factors=factors)
        if not {"term", "p"} <= set(table.columns):
            raise ValueError("proportional_hazards: expected a table with columns term and p")
        why = table.attrs.get("reason", "the events are too few")
        if only is not None:
            if only not in set(table["term"]):
                raise ValueError(f"only is {only!r}, expected one of {list(table['term'])}")
            table = table[table["term"] == only]
        known = table[table["p"].notna()]
        if known.empty:
            return Gate(
                name, "not-applicable", None, alpha, f"the test could not be computed: {why}"
            )
        worst = known.iloc[int(as_p_values(known["p"]).argmin())]
        p, term = float(worst["p"]), str(worst["term"])
    where = f" ({'all covariates together' if term == 'GLOBAL' else term})" if term else ""
    if p >= alpha:
        least = "" if only else "smallest "
        return Gate(name, "passed", p, alpha, f"{least}P of the Grambsch-Therneau test{where}")
    return Gate(
        name,
        "failed",
        p,
        alpha,
        f"the hazard ratio changes with time{where}: the difference in restricted mean survival "
        "is reported instead",
    )


def competing_events(cause: ArrayLike, *, of: int = 1) -> Gate:
    """Check whether another event can prevent the event of interest.

    Parameters
    ----------
    cause : array_like of int, shape (n,)
        0 censored, `of` the event of interest, anything else a competing event.
    """
    values = as_vector(cause, "cause")
    competing = int(((values != 0) & (values != of)).sum())
    own = int((values == of).sum())
    if own + competing == 0:
        return Gate("competing events", "not-applicable", None, 0, "no events")
    share = competing / (own + competing)
    if competing == 0:
        return Gate("competing events", "passed", 0.0, 0, "no competing event was observed")
    return Gate(
        "competing events",
        "failed",
        share,
        0,
        f"{competing} of {own + competing} events are competing: Aalen-Johansen, Gray and "
        "Fine-Gray are reported instead of 1 - Kaplan-Meier and log-rank",
    )


def left_truncation(entry: ArrayLike | None) -> Gate:
    """Check whether patients came under observation after time zero.

    Parameters
    ----------
    entry : array_like of float or None
        Time from the origin to the start of observation, same unit as follow-up; None when all
        were observed from the start.
    """
    name = "left truncation"
    if entry is None:
        return Gate(name, "passed", 0.0, 0, "all patients were observed from time zero")
    times = as_vector(entry, "entry")
    if (times < 0).any():
        raise ValueError(f"entry: expected times from zero on, got {times.min():g}")
    late = int((times > 0).sum())
    if late == 0:
        return Gate(name, "passed", 0.0, 0, "all patients were observed from time zero")
    return Gate(
        name,
        "failed",
        late / len(times),
        0,
        f"{late} of {len(times)} patients entered late: risk sets with delayed entry are used",
    )


def separation(y: ArrayLike, X: Any) -> Gate:
    """Check that every log odds ratio of a logistic model has a finite estimate.

    Exact: a linear programme decides (see `ballbook.logistic.separating_terms`). `statistic` is the
    number of separating terms.
    """
    terms = separating_terms(y, X)
    if not terms:
        return Gate("separation", "passed", 0, 0, "all maximum-likelihood estimates are finite")
    return Gate(
        "separation",
        "failed",
        len(terms),
        0,
        f"{', '.join(terms)} separate{'s' if len(terms) == 1 else ''} the outcome: Firth's "
        "penalised estimate with profile interval is reported",
    )


def expected_counts(table: ArrayLike, *, minimum: float = 5) -> Gate:
    """Check that every expected count is large enough for the chi-squared distribution.

    `statistic` is the smallest expected count. Stricter than Cochran's rule (a fifth of the cells
    may fall below 5), since the exact test costs nothing.
    """
    smallest = float(contingency.expected_counts(table).min())
    if smallest >= minimum:
        return Gate("expected counts", "passed", smallest, minimum, "smallest expected count")
    return Gate(
        "expected counts",
        "failed",
        smallest,
        minimum,
        f"the smallest expected count is {smallest:.2f}: Fisher's exact test is reported instead "
        "of chi-squared",
    )


def parallel_odds(
    fit: HasParallelismTest | float, *, alpha: float = 0.05, terms: Sequence[str] | None = None
) -> Gate:
    """Check that one odds ratio serves every cut of an ordered outcome.

    Parameters
    ----------
    fit : OrdinalFit or float
        Brant's test decides, the likelihood ratio test where Brant's cannot be computed; or a P
        value.
    terms : sequence of str, optional
        Covariates whose odds ratio must serve every cut; all by default.
    """
    name = "parallel odds"
    if isinstance(fit, (int, float)):
        p, how = float(as_p_values([fit])[0]), "test of parallel slopes"
    else:
        test = fit.parallelism(terms=terms)
        if test.value is None:
            test = fit.parallelism("lr", terms=terms)
        if test.value is None:
            return Gate(name, "not-applicable", None, alpha, test.reason or "no test")
        p, how = test.value, test.method
    if p >= alpha:
        return Gate(name, "passed", p, alpha, f"P of {_lower_first(how)}")
    return Gate(
        name,
        "failed",
        p,
        alpha,
        "the odds ratio depends on the cut: separate logistic regressions at each cut are "
        "reported instead of one proportional odds ratio",
    )


def minimum_group_size(groups: Any, *, minimum: int = 5) -> Gate:
    """Check that every group is large enough to be compared.

    Parameters
    ----------
    groups : sequence of labels, or mapping of label to count
        Empty levels of a categorical count as groups of size 0.
    """
    if isinstance(groups, dict):
        sizes = {str(k): as_count(v, f"groups {k}") for k, v in groups.items()}
    else:
        labels = as_labels(groups, "groups", len(groups))
        sizes = {str(level): int((labels == level).sum()) for level in levels_of(groups)}
    if not sizes:
        raise ValueError("groups: no groups were given")
    smallest = min(sizes.values())
    small = [f"{name} ({size})" for name, size in sizes.items() if size < minimum]
    if not small:
        return Gate("minimum group size", "passed", smallest, minimum, "smallest group")
    return Gate(
        "minimum group size",
        "failed",
        smallest,
        minimum,
        f"too small to be compared on their own: {', '.join(small)}; they are described, and the "
        "comparison is repeated without them",
    )


def multiplicity(p: ArrayLike, *, alpha: float = 0.05, method: str = "BH") -> Gate:
    """Check that the findings survive the number of tests made.

    `statistic` is the number of P values below `alpha` that are not below it once adjusted.

    Parameters
    ----------
    method : str
        ``BH``, ``holm`` or ``bonferroni``.
    """
    chosen = {
        "BH": (adjust.benjamini_hochberg, "Benjamini-Hochberg"),
        "holm": (adjust.holm, "Holm"),
        "bonferroni": (adjust.bonferroni, "Bonferroni"),
    }
    if method not in chosen:
        raise ValueError(f"method: expected one of {', '.join(chosen)}, got {method!r}")
    adjusting, told = chosen[method]
    raw = as_p_values(p)
    if raw.size == 1:
        return Gate("multiplicity", "not-applicable", None, 0, "a single test")
    before = int((raw < alpha).sum())
    lost = before - int((adjusting(raw) < alpha).sum())
    if lost == 0:
        still = f", and still {'does' if before == 1 else 'do'} after {told} adjustment"
        count = f"{before} of {raw.size} P values {'lies' if before == 1 else 'lie'}"
        return Gate(
            "multiplicity", "passed", 0, 0, f"{count} below {alpha:g}{still * (before > 0)}"
        )
    return Gate(
        "multiplicity",
        "failed",
        lost,
        0,
        f"{lost} of the {before} P values below {alpha:g} ({raw.size} tests) do not survive {told} "
        "adjustment: adjusted P values are reported",
    )


def immortal_time(exposure_time: ArrayLike, time: ArrayLike) -> Gate:
    """Check that the groups were known at time zero.

    A patient classified by something that happens later (transplant, MRD at the end of induction,
    a switch of lineage) cannot have the event before it happens; counting that time for the
    exposed is immortal-time bias.

    Parameters
    ----------
    exposure_time : array_like of float, shape (n,)
        Time from the origin to what defines the group; NaN for patients never exposed.
    time : array_like of float, shape (n,)
        Follow-up to event or censoring, same unit.

    Notes
    -----
    `statistic` is the share of the exposed patients' follow-up that was spent before exposure.
    """
    follow_up = as_vector(time, "time")
    at = np.asarray(exposure_time, dtype=float)
    same_length(exposure_time=at, time=follow_up)
    exposed = ~np.isnan(at)
    if not exposed.any():
        return Gate("immortal time", "not-applicable", None, 0, "nobody was exposed")
    as_vector(at[exposed], "exposure_time")
    late = exposed & (at > 0)
    wrong = np.flatnonzero(exposed & (np.nan_to_num(at) > follow_up))
    if wrong.size:
        raise ValueError(f"exposure_time: after the end of follow-up at position {wrong[0]}")
    if not late.any():
        return Gate("immortal time", "passed", 0.0, 0, "every group was known at time zero")
    share = float(at[late].sum() / max(follow_up[exposed].sum(), 1e-300))
    return Gate(
        "immortal time",
        "failed",
        share,
        0,
        f"{int(late.sum())} patients were classified after time zero, up to "
        f"{float(at[late].max()):.3g} later: a landmark analysis is reported instead",
    )


def _renamed(estimate: Estimate, primary: Estimate, role: str) -> Estimate:
    if not primary.id:
        return estimate
    label = f"{primary.label} ({role})" if primary.label else estimate.label
    return replace(
        estimate,
        id=f"{primary.id}-{role}",
        label=label,
        group=primary.group or estimate.group,
        tier=primary.tier or estimate.tier,
    )


def _lower_first(text: str) -> str:
    return text if text.startswith("Brant") else text[:1].lower() + text[1:]

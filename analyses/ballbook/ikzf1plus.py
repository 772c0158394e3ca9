r"""*IKZF1*plus: its definitions as rules, with calls that may be unknown.

*IKZF1*plus is a loss of *IKZF1* together with at least one loss out of a list of partners, and in
two of the three circulating definitions without a loss of *ERG*:

.. math:: \text{plus}=\text{IKZF1}\wedge\Bigl(\bigvee_{g\in G}\ell_g\Bigr)\wedge\neg\,\text{ERG},

where :math:`\ell_g` is "lost" or, for some genes of some definitions, "both copies lost".

**Unknown calls.** A call that was not made is no normal gene. Each statement is 1 (true), 0 (false)
or 1/2 (unknown), with *and* the smaller, *or* the larger of two values and *not* one minus it
(Kleene, Introduction to Metamathematics, 1952, section 64). Each call stands once in each rule, so
the answer is unknown exactly where different values of the missing calls would give different
answers: one lost partner decides, and so does an *IKZF1* that is not lost. A loss of unknown
zygosity answers "both copies lost" with unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ballbook import disclosure, gates
from ballbook.cohort import Cohort
from ballbook.contingency import proportion
from ballbook.cox import cox, firth_cox
from ballbook.meta_analysis import log_hr_from_survival_at
from ballbook.own_effects import averaged
from ballbook.printed_counts import counts_that_print_as
from ballbook.results import Estimate, Gate, not_estimable
from ballbook.survival import SurvivalCurve, kaplan_meier_by, logrank

Floats = NDArray[np.float64]
UNKNOWN = 0.5
WILD_TYPE, ALONE, PLUS = "IKZF1 not deleted", "IKZF1 alone", "IKZF1plus"
GROUPS = (WILD_TYPE, ALONE, PLUS)


@dataclass(frozen=True, slots=True)
class Definition:
    """One definition of *IKZF1*plus.

    Attributes
    ----------
    id, label : str
    source : str
        Bib key of who states it.
    partners : tuple of str
        Genes of which a loss, of one copy or both, makes an *IKZF1* loss a plus.
    both_copies : tuple of str
        Genes of which both copies must be lost.
    unless : tuple of str
        Genes whose loss excludes a plus.
    """

    id: str
    label: str
    source: str
    partners: tuple[str, ...]
    both_copies: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()

    @property
    def genes(self) -> tuple[str, ...]:
        """All genes that the definition asks for, *IKZF1* first."""
        return ("ikzf1", *self.partners, *self.both_copies, *self.unless)

    @property
    def words(self) -> str:
        """The rule as a reader would say it."""
        listed = [g.upper() for g in self.partners]
        listed += [f"{g.upper()} (both copies)" for g in self.both_copies]
        without = f", and {' or '.join(g.upper() for g in self.unless)} not lost"
        first, last = ", ".join(listed[:-1]), listed[-1]
        return f"IKZF1 lost with {first} or {last}" + (without if self.unless else "")


DEFINITIONS: dict[str, Definition] = {
    d.id: d
    for d in (
        Definition("d-alba", "slide and D-ALBA", "foa2020", ("pax5", "cdkn2a", "cdkn2b")),
        Definition(
            "tpog", "TPOG", "liu2024", ("pax5", "cdkn2a", "cdkn2b", "par1"), unless=("erg",)
        ),
        Definition(
            "aieop-bfm", "AIEOP-BFM", "stanulla2018", ("pax5", "par1"), ("cdkn2a", "cdkn2b"),
            ("erg",),
        ),
        # The sources that were read put "both copies" on CDKN2B; of CDKN2A they leave it open.
        Definition(
            "aieop-bfm-2b", "AIEOP-BFM, both copies of CDKN2B only", "stanulla2018",
            ("pax5", "cdkn2a", "par1"), ("cdkn2b",), ("erg",),
        ),
    )
}  # fmt: skip
CIRCULATING = ("d-alba", "tpog", "aieop-bfm")


# ----------------------------------------------------------------------- the rules


def lost(calls: pd.DataFrame, gene: str, *, both_copies: bool = False) -> Floats:
    """Return whether a gene is lost: 1 yes, 0 no, 1/2 unknown.

    Parameters
    ----------
    calls : DataFrame
        ``<gene>`` with ``del``, ``wt`` or missing, and where known ``<gene>_zygosity`` with ``het``
        or ``hom``. A gene without a column is unknown in everybody.
    both_copies : bool
        Ask for the loss of both: unknown where the zygosity is.
    """
    if gene not in calls:
        return np.full(len(calls), UNKNOWN)
    call = calls[gene]
    answer = np.select([call == "del", call == "wt"], [1.0, 0.0], UNKNOWN)
    if both_copies:
        name = f"{gene}_zygosity"
        zygosity = calls[name] if name in calls else pd.Series(np.nan, calls.index)
        copies = np.select([zygosity == "hom", zygosity == "het"], [1.0, 0.0], UNKNOWN)
        answer = np.minimum(answer, copies)
    return np.asarray(answer, dtype=float)


def plus(calls: pd.DataFrame, definition: Definition) -> Floats:
    """Return whether each patient has *IKZF1*plus: 1 yes, 0 no, 1/2 unknown."""
    asked = [lost(calls, g) for g in definition.partners]
    asked += [lost(calls, g, both_copies=True) for g in definition.both_copies]
    found = np.minimum(lost(calls, "ikzf1"), np.maximum.reduce(asked))
    for gene in definition.unless:
        found = np.minimum(found, 1 - lost(calls, gene))
    return np.asarray(found, dtype=float)


def groups(calls: pd.DataFrame, definition: Definition) -> pd.Series:
    """Return the group of each patient: one of `GROUPS`, or missing where it is unknown.

    A patient is in `ALONE` only if *IKZF1* is known to be lost and plus is known to be absent.
    """
    deleted, is_plus = lost(calls, "ikzf1"), plus(calls, definition)
    found = np.select(
        [deleted == 0, (deleted == 1) & (is_plus == 0), is_plus == 1], GROUPS, default=""
    )
    named = pd.Series(found, index=calls.index, name="group", dtype=object)
    return named.where(named != "")


def bounds(calls: pd.DataFrame, definition: Definition) -> tuple[int, int, int]:
    """Return the least and the most patients who can have *IKZF1*plus, and how many have *IKZF1*.

    Counted among patients with a known loss of *IKZF1*.
    """
    deleted = lost(calls, "ikzf1") == 1
    found = plus(calls, definition)[deleted]
    return int((found == 1).sum()), int((found > 0).sum()), int(deleted.sum())


def reclassified(calls: pd.DataFrame, first: Definition, second: Definition) -> pd.DataFrame:
    """Return the patients with lost *IKZF1* by what two definitions call them.

    Returns
    -------
    DataFrame
        Rows: the first definition, columns: the second; each plus, alone, unknown.
    """
    deleted = calls[lost(calls, "ikzf1") == 1]
    names = {1.0: "plus", 0.0: "alone", UNKNOWN: "unknown"}
    a, b = (pd.Series(plus(deleted, d)).map(names) for d in (first, second))
    order = list(names.values())
    return pd.crosstab(a, b).reindex(index=order, columns=order, fill_value=0)


def needed(calls: pd.DataFrame, definition: Definition) -> dict[str, int]:
    """Return which missing calls leave patients open, by gene: patients whom the call may settle.

    A call may settle a patient if at least one of its values would.
    """
    deleted = calls[lost(calls, "ikzf1") == 1]
    open_ = deleted[plus(deleted, definition) == UNKNOWN]
    found = {}
    for gene in definition.genes[1:]:
        trials = []
        for status, zygosity in (("del", "hom"), ("del", "het"), ("wt", np.nan)):
            tried = open_.assign(**{gene: status, f"{gene}_zygosity": zygosity})
            trials.append(plus(tried, definition) != UNKNOWN)
        unknown = lost(open_, gene, both_copies=gene in definition.both_copies) == UNKNOWN
        found[gene] = int((np.logical_or.reduce(trials) & unknown).sum())
    return found


# ----------------------------------------------------------------------- printed arms

CONTRASTS = {
    "plus-alone": ("plus", "del-only"),
    "alone-wt": ("del-only", "wt"),
    "plus-wt": ("plus", "wt"),
}


def arm_interval(row: Mapping[str, Any]) -> Estimate:
    r"""Return a printed survival with its interval: from the standard error, else from n.

    With :math:`g(S)=\ln(-\ln S)` and :math:`s_g=s/(S\,|\ln S|)` the bounds are
    :math:`\exp(-\exp(g\mp 1.96\,s_g))`. From n, :math:`s=\sqrt{S(1-S)/n}`, which takes all n as
    followed to the time point and so is the narrowest possible.
    """
    s = float(row["estimate_pct"]) / 100
    n = None if pd.isna(row["n"]) else int(row["n"])
    if pd.notna(row["se_pct"]):
        se, how = float(row["se_pct"]) / 100, "standard error as printed"
    elif n:
        se, how = math.sqrt(s * (1 - s) / n), "standard error from n, nobody censored"
    else:
        return Estimate("survival", s, method="as printed; neither n nor standard error")
    g, half = math.log(-math.log(s)), float(stats.norm.isf(0.025)) * se / (s * -math.log(s))
    low, high = (math.exp(-math.exp(g + sign * half)) for sign in (1, -1))
    return Estimate("survival", s, low, high, n=n, method=f"log(-log) interval, {how}")


def contrasts(arms: pd.DataFrame) -> pd.DataFrame:
    """Return the hazard ratios between the three groups of each study, from its printed survival.

    Parameters
    ----------
    arms : DataFrame
        ``study, label, endpoint, arm`` (``plus``, ``del-only``, ``wt``), ``n, estimate_pct,
        se_pct``; one row a group. Standard errors are used where all three are printed, else the
        numbers of patients; a study with neither is left out.

    Returns
    -------
    DataFrame
        ``study, label, endpoint, contrast, log_hr, std_error, value, ci_low, ci_high, n_deleted,
        n_wild_type`` (patients of the first and of the second group), ``basis``.

    Raises
    ------
    ValueError
        If a study does not have the three groups once each.
    """
    z, rows = float(stats.norm.isf(0.025)), []
    for (study, endpoint), table in arms.groupby(["study", "endpoint"], sort=False):
        if sorted(table["arm"]) != ["del-only", "plus", "wt"]:
            raise ValueError(f"study {study}: expected three groups, got {', '.join(table['arm'])}")
        number = table.set_index("arm")[["estimate_pct", "se_pct", "n"]].to_numpy(dtype=float)
        by = dict(zip(table["arm"], number, strict=True))
        if np.isfinite(number[:, 1]).all():
            basis = "standard errors printed"
        elif np.isfinite(number[:, 2]).all():
            basis = "numbers of patients"
        else:
            continue
        for contrast, (a, b) in CONTRASTS.items():
            (s1, se1, n1), (s0, se0, n0) = by[a] / (100, 100, 1), by[b] / (100, 100, 1)
            if basis.startswith("standard"):
                e = log_hr_from_survival_at(s1, s0, se=(se1, se0))
            else:
                e = log_hr_from_survival_at(s1, s0, n=(int(n1), int(n0)))
            half = z * e.std_error
            rows.append(
                {"study": study, "label": table["label"].iloc[0], "endpoint": endpoint,
                 "contrast": contrast, "log_hr": e.value, "std_error": e.std_error,
                 "value": math.exp(e.value), "ci_low": math.exp(e.value - half),
                 "ci_high": math.exp(e.value + half), "n_deleted": n1, "n_wild_type": n0,
                 "basis": basis}
            )  # fmt: skip
    return pd.DataFrame(rows)


def three_group_p(arms: pd.DataFrame) -> Estimate:
    r"""Return the test that three printed survivals are one, on the log(-log) scale.

    Cochran's :math:`Q=\sum(g_i-\bar g)^2/s_i^2` on two degrees of freedom, at the one time that is
    printed. It is no log-rank test, which sees the whole curves.
    """
    s = arms["estimate_pct"].to_numpy(dtype=float) / 100
    n = arms["n"].to_numpy(dtype=float)
    printed = arms["se_pct"].to_numpy(dtype=float) / 100
    se = np.where(np.isnan(printed), np.sqrt(s * (1 - s) / n), printed) / (s * -np.log(s))
    g = np.log(-np.log(s))
    q = float(((g - np.average(g, weights=se**-2)) ** 2 / se**2).sum())
    p = float(stats.chi2.sf(q, len(g) - 1))
    return Estimate(
        "p-value", p, p_value=p, statistic=q, df=len(g) - 1, ci_level=None,
        method="Q of the printed survival of three groups on the log(-log) scale",
    )  # fmt: skip


def largest_groups(plus_share: str, n: int, plus_all: int) -> list[tuple[int, int]]:
    """Return (plus, all) pairs of a subgroup that a printed share and the whole cohort allow.

    Of `n` patients `plus_all` are plus; of an unknown subgroup a share is plus. Those outside it
    are at least as many as the plus outside it.

    Parameters
    ----------
    plus_share : str
        Percentage as printed, for example ``"4.1"``.
    """
    return [
        (k, size)
        for size in range(1, n + 1)
        for k in counts_that_print_as(plus_share, size)
        if k <= plus_all <= k + n - size
    ]


# ----------------------------------------------------------------------- a reader's own cohort


@dataclass(frozen=True)
class OwnOutcome:
    """One endpoint of a cohort in the three groups of one definition.

    Attributes
    ----------
    steps : list of (label, n, why)
    curves : dict
        Group to curve; empty where a group is too small to be shown.
    ratios : dict
        ``plus-alone``, ``alone-wt``, ``plus-wt``: hazard ratios.
    test : Estimate
        Log-rank test of the three groups.
    share : Estimate
        *IKZF1*plus among all whose group is known.
    note : str
    gates : tuple of Gate
    assigned : Series
        Group by patient id. Never shown.
    """

    steps: list[tuple[Any, ...]]
    curves: dict[str, SurvivalCurve]
    ratios: dict[str, Estimate]
    test: Estimate
    share: Estimate
    note: str
    gates: tuple[Gate, ...] = ()
    assigned: pd.Series = field(default_factory=lambda: pd.Series(dtype=object))


def own_outcome(
    cohort: Cohort,
    endpoint: str,
    definition: Definition,
    min_count: int = 0,
    shown: Iterable[pd.Series] = (),
) -> OwnOutcome:
    """Compare an endpoint of a cohort between the three groups of a definition.

    Cox regression with two indicators, with Firth's penalty where the likelihood has no maximum.

    Parameters
    ----------
    cohort : Cohort
    endpoint : str
    definition : Definition
    min_count : int
        No group and no number of events in a group below this is shown or can be worked out.
    shown : iterable of Series
        `assigned` of definitions whose results are shown. Where this one differs from one of them
        in fewer than `min_count` patients, the difference of the two would be these few, and
        nothing is shown of this one.
    """

    def nothing(reason: str, steps: list[tuple[Any, ...]], assigned: Any = None) -> OwnOutcome:
        ratios = {c: not_estimable("hazard-ratio", reason) for c in CONTRASTS}
        none = pd.Series(dtype=object) if assigned is None else assigned
        return OwnOutcome(
            steps, {}, ratios, not_estimable("p-value", reason),
            not_estimable("proportion", reason), f"{reason}.", (), none,
        )  # fmt: skip

    whole: list[tuple[Any, ...]] = [("patients in the file", cohort.n)]
    if "ikzf1" not in cohort.patients:
        return nothing("not given: IKZF1 status (column ikzf1)", whole)
    if reason := cohort.lacks(endpoint):
        return nothing(reason, whole)
    timed = cohort.endpoint(endpoint).reset_index(drop=True)
    group = groups(timed, definition)
    table, group = (
        timed[group.notna()].reset_index(drop=True),
        group.dropna().reset_index(drop=True),
    )
    tested = int((lost(timed, "ikzf1") != UNKNOWN).sum())
    steps = disclosure.flow(
        [*whole, (f"with {endpoint}", len(timed), f"no time or no event for {endpoint}"),
         ("with IKZF1 status", tested, "IKZF1 not known"),
         (f"whose group is known ({definition.label})", len(table),
          "IKZF1 lost, and calls that the definition asks for not known")],
        min_count,
    )  # fmt: skip
    assigned = pd.Series(group.to_numpy(), index=table["patient_id"].to_numpy(), dtype=object)
    for other in shown:
        if differs_by_few(assigned, other, min_count):
            why = f"withheld: fewer than {min_count} patients change group between two definitions"
            return nothing(why, [], assigned)
    sizes = group.value_counts().reindex(GROUPS, fill_value=0)
    events = table.groupby(group)["event"].sum().reindex(GROUPS, fill_value=0)
    if sizes.min() == 0:
        return nothing(f"nobody in the group {sizes.idxmin()}", steps, assigned)
    for what, counts in (("patients", sizes), ("events", events)):
        if counts.min() < min_count:
            return nothing(f"withheld: fewer than {min_count} {what} in a group", steps, assigned)
    entry = table["entry_months"].fillna(0.0) if "entry_months" in table else None
    late = entry if entry is not None and entry.gt(0).any() else None
    times = (table["time_months"], table["event"])
    found_curves = kaplan_meier_by(*times, group, entry=late)
    indicator = {g: (group == g).astype(float).rename(g) for g in GROUPS}
    from_wild = pd.concat([indicator[ALONE], indicator[PLUS]], axis=1)
    from_alone = pd.concat([indicator[WILD_TYPE], indicator[PLUS]], axis=1)
    fit = cox(*times, from_wild, entry=late)
    penalised = any(fit.hazard_ratio(g).value is None for g in (ALONE, PLUS))
    method = firth_cox if penalised else cox
    base, other_base = (method(*times, x, entry=late) for x in (from_wild, from_alone))
    ratios = {
        "plus-alone": other_base.hazard_ratio(PLUS),
        "alone-wt": base.hazard_ratio(ALONE),
        "plus-wt": base.hazard_ratio(PLUS),
    }
    checked = [gates.events_per_variable(int(events.sum()), 2)]
    if not penalised:
        checked.append(averaged(gates.proportional_hazards(fit)))
    checked.append(
        Gate("Late entry", "passed", action="Nobody entered after time zero.")
        if late is None
        else Gate("Late entry", "failed", action="Risk sets count patients from their entry on.")
    )
    note = "Unadjusted." + (" Firth's penalty, because a group has no events." if penalised else "")
    is_plus = int(sizes[PLUS])
    return OwnOutcome(
        steps,
        {g: found_curves[g] for g in GROUPS},
        ratios,
        logrank(*times, group, entry=late),
        proportion(is_plus, len(table)),
        note,
        tuple(replace(g, name=f"Your cohort: {g.name[0].lower()}{g.name[1:]}") for g in checked),
        assigned,
    )


def differs_by_few(first: pd.Series, second: pd.Series, min_count: int) -> bool:
    """Tell whether two assignments differ in 1 to `min_count` - 1 patients in some group."""
    ids = first.index.union(second.index)
    table = pd.crosstab(
        first.reindex(ids).fillna("unknown").to_numpy(),
        second.reindex(ids).fillna("unknown").to_numpy(),
    )
    cells = [int(table.loc[a, b]) for a in table.index for b in table.columns if a != b]
    return any(0 < n < min_count for n in cells)


def own_interaction(
    cohort: Cohort,
    positive: pd.Series,
    endpoint: str,
    definition: Definition,
    min_count: int = 0,
    *,
    from_month: float = 0.0,
) -> dict[str, Estimate]:
    r"""Return the effect of *IKZF1*plus in patients with and without MRD, and their ratio.

    Cox model with plus, MRD and their product; plus is compared with all others whose group is
    known. Each of the four groups needs `min_count` patients and events, and one event.

    Parameters
    ----------
    positive : Series
        By patient id: MRD positive (1), negative (0) or missing.
    from_month : float
        When MRD was taken. Patients are at risk from here on; those whose time ends before are
        left out.

    Returns
    -------
    dict
        ``mrd-positive``, ``mrd-negative`` and ``ratio`` to hazard ratios.
    """

    def nothing(reason: str) -> dict[str, Estimate]:
        names = ("mrd-positive", "mrd-negative", "ratio")
        return {k: not_estimable("hazard-ratio", reason) for k in names}

    if reason := cohort.lacks(endpoint):
        return nothing(reason)
    timed = cohort.endpoint(endpoint).reset_index(drop=True)
    table = timed.assign(
        plus=groups(timed, definition).map({PLUS: 1.0, ALONE: 0.0, WILD_TYPE: 0.0}),
        mrd=timed["patient_id"].map(positive).astype(float),
    ).dropna(subset=["plus", "mrd"])
    if from_month > 0:
        table = table[table["time_months"] > from_month]
        before = table["entry_months"].fillna(0.0) if "entry_months" in table else 0.0
        table = table.assign(entry_months=np.maximum(before, from_month))
    cells = table.groupby(["plus", "mrd"])["event"].agg(["size", "sum"])
    smallest = int(cells.to_numpy().min()) if len(cells) == 4 else 0
    if smallest < max(min_count, 1):
        least = max(min_count, 1)
        return nothing(
            f"withheld: fewer than {least} patients or events in a group by MRD and plus"
        )
    entry = table["entry_months"].fillna(0.0) if "entry_months" in table else None
    late = entry if entry is not None and entry.gt(0).any() else None

    def fit(zero: float) -> Any:
        mrd = (table["mrd"] != zero).astype(float)
        x = pd.DataFrame({"plus": table["plus"], "mrd": mrd, "both": table["plus"] * mrd})
        return cox(table["time_months"], table["event"], x, entry=late)

    negative = fit(0.0)
    found = {
        "mrd-positive": fit(1.0).hazard_ratio("plus"),
        "mrd-negative": negative.hazard_ratio("plus"),
        "ratio": negative.hazard_ratio("both"),
    }
    # Their events and those of all patients differ by the events of the few without MRD.
    return {k: replace(e, n_events=None) if min_count > 0 else e for k, e in found.items()}


def ratio_of_ratios(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Return the ratio of two independent hazard ratios from (log, standard error) of each."""
    z = float(stats.norm.isf(0.025))
    gap, se = first[0] - second[0], math.hypot(first[1], second[1])
    p = float(2 * stats.norm.sf(abs(gap) / se))
    return Estimate(
        "hazard-ratio", math.exp(gap), math.exp(gap - z * se), math.exp(gap + z * se), p_value=p,
        method="ratio of two independent hazard ratios",
    )  # fmt: skip


def patients_for_interaction(
    ratio: float,
    *,
    plus_share: float,
    mrd_share: tuple[float, float],
    event_fraction: tuple[float, float, float, float],
    power: float = 0.8,
    alpha: float = 0.05,
) -> Estimate:
    r"""Return how many patients it takes to see that MRD changes the effect of *IKZF1*plus.

    The logarithm of the ratio of two hazard ratios has variance
    :math:`\sum_j 1/(N f_j P_j)` over the four groups by plus and MRD, of which a fraction
    :math:`f_j` of the patients are and :math:`P_j` of those have an event, hence
    :math:`N=(z_{1-\alpha/2}+z_{1-\beta})^2\sum_j 1/(f_jP_j)/\ln^2\psi`.

    Parameters
    ----------
    ratio : float
        The ratio of hazard ratios to be seen.
    plus_share : float
        Fraction of patients with *IKZF1*plus.
    mrd_share : pair of float
        Fraction with MRD, with and without plus.
    event_fraction : four floats
        Events per patient: plus with MRD, plus without, others with MRD, others without.

    Raises
    ------
    ValueError
        If a fraction is not strictly between 0 and 1, or the ratio is 1 or not positive.

    References
    ----------
    Peterson and George (1993), Control Clin Trials 14:511.
    """
    fractions = (plus_share, *mrd_share, *event_fraction)
    if not all(0 < v < 1 for v in fractions):
        raise ValueError(f"fractions strictly between 0 and 1 are expected, got {fractions}")
    if ratio <= 0 or ratio == 1:
        raise ValueError(f"ratio: expected a positive number other than 1, got {ratio:g}")
    p, (a, b) = plus_share, mrd_share
    cells = (p * a, p * (1 - a), (1 - p) * b, (1 - p) * (1 - b))
    spread = sum(1 / (f * e) for f, e in zip(cells, event_fraction, strict=True))
    reach = float(stats.norm.isf(alpha / 2) + stats.norm.ppf(power))
    n = math.ceil(reach**2 * spread / math.log(ratio) ** 2)
    return Estimate(
        "count", n, ci_level=None, unit="patients",
        method=f"patients for an interaction with {100 * power:g}% power (Peterson-George)",
    )  # fmt: skip

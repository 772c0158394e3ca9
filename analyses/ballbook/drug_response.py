r"""Ex vivo drug response against what is known of the patients.

**What a printed rank test implies.** For groups of :math:`n_1` and :math:`n_2` the two-sided P of
the Wilcoxon rank-sum test fixes the statistic *W* up to its sign, and :math:`W/(n_1n_2)` is the
chance that a sample of the first group lies above one of the second (ties counting a half). Its
interval is Newcombe's (Stat Med 2006;25:559, method 5), which needs the chance and the sizes alone.

**Several drugs as one scale.** Cronbach's
:math:`\alpha=\frac{k}{k-1}\left(1-\frac{\sum s_i^2}{s^2_{sum}}\right)` and the correlation of each
drug with the mean of the others say whether a mean over drugs measures one thing.

**Values at the end of the tested doses** are ranked beyond all measured ones, with ties among
themselves: all that is known of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from ballbook.rank_tests import chance_interval, mann_whitney, spearman
from ballbook.results import Estimate, not_estimable

# The drugs of induction in the paper's figure, and those of the same kind elsewhere.
INDUCTION = (
    "asparaginase", "dexamethasone", "doxorubicin", "vincristine", "cytarabine", "daunorubicin",
    "prednisolone", "prednisone",
)  # fmt: skip


def is_induction(drug: str) -> bool:
    """Tell whether a drug is one of induction treatment, whatever its spelling."""
    return drug.strip().lower() in INDUCTION


def implied_chance(p: float, n1: int, n2: int, *, ci_level: float = 0.95) -> Estimate:
    """Return the chance that a sample of the higher group lies above one of the lower.

    From the printed two-sided P value of a rank-sum test, by the normal approximation with
    continuity correction and without ties; the exact test differs little at ten or more a group.

    Parameters
    ----------
    p : float
        Two-sided P.
    n1, n2 : int

    Raises
    ------
    ValueError
        For P outside 0..1 or an empty group.
    """
    if not 0 < p <= 1 or min(n1, n2) < 1:
        raise ValueError("expected 0 < P <= 1 and two groups")
    z = float(stats.norm.isf(p / 2))
    sigma = math.sqrt(n1 * n2 * (n1 + n2 + 1) / 12)
    w = n1 * n2 / 2 + (z * sigma + 0.5 if p < 1 else 0.0)
    chance = min(w / (n1 * n2), 1.0)
    low, high = chance_interval(chance, n1, n2, ci_level=ci_level)
    return Estimate(
        "proportion", chance, low, high, ci_level, p, n=n1 + n2, statistic=w,
        method="chance implied by a printed rank-sum P, Newcombe's interval (method 5)",
    )  # fmt: skip


def z_of_p(p: float, *, sign: int, tests: int = 1, n: int | None = None) -> Estimate:
    """Return the standardised effect behind a printed P value, with its interval.

    The interval, :math:`z \\pm z_{1-0.025/k}` for *k* tests, leaves out 0 exactly where the
    Bonferroni-adjusted P lies below 5%.

    Parameters
    ----------
    p : float
        Two-sided P.
    sign : int
        1 or -1, the direction that the paper states.
    tests : int
        Size of the family.

    Raises
    ------
    ValueError
        For P outside 0..1, another sign, or no test.
    """
    if not 0 < p <= 1 or sign not in (1, -1) or tests < 1:
        raise ValueError("expected 0 < P <= 1, a sign of 1 or -1, and one test or more")
    z = sign * float(stats.norm.isf(p / 2))
    half = float(stats.norm.isf(0.025 / tests))
    corrected = "" if tests == 1 else f"; P and interval by Bonferroni over {tests} tests"
    return Estimate(
        "difference", z, z - half, z + half, 1 - 0.05 / tests, min(1.0, tests * p), n=n,
        unit="standard errors", method=f"normal deviate of a printed P value{corrected}",
    )  # fmt: skip


def ranked(value: pd.Series, limit: pd.Series | None = None) -> pd.Series:
    """Return values for rank methods: those ``above`` or ``below`` the tested doses beyond all.

    Parameters
    ----------
    value : Series of float
    limit : Series, optional
        ``above``, ``below`` or missing.
    """
    out = value.astype(float).copy()
    if limit is None or out.empty:
        return out
    ends = out[limit.isna()]
    low, high = (ends.min(), ends.max()) if len(ends) else (0.0, 0.0)
    out[limit == "above"] = max(high, out.max()) + 1.0
    out[limit == "below"] = min(low, out.min()) - 1.0
    return out


def mean_rank(table: pd.DataFrame) -> pd.Series:
    """Return each sample's mean over drugs of its rank within a drug, from 0 to 1.

    Parameters
    ----------
    table : DataFrame, samples x drugs
        Missing where a drug was not tested; samples with none stay missing.
    """
    share = (table.rank() - 0.5) / table.notna().sum()
    return share.mean(axis=1)


def cronbach_alpha(table: ArrayLike) -> float:
    """Return Cronbach's alpha of items in columns.

    Raises
    ------
    ValueError
        For fewer than two items, missing values, or no variation.

    Notes
    -----
    R: ``psych::alpha(table)$total$raw_alpha``.
    """
    x = np.asarray(table, dtype=float)
    if x.ndim != 2 or x.shape[1] < 2 or not np.isfinite(x).all():
        raise ValueError("table: expected two complete items or more")
    total = float(x.sum(axis=1).var(ddof=1))
    if total == 0:
        raise ValueError("table: the sum of items does not vary")
    k = x.shape[1]
    return k / (k - 1) * (1 - float(x.var(axis=0, ddof=1).sum()) / total)


def item_rest(table: pd.DataFrame) -> pd.Series:
    """Return Spearman's correlation of each column with the mean rank of the others."""
    shares = table.rank()
    found = {
        c: float(stats.spearmanr(table[c], shares.drop(columns=c).mean(axis=1)).statistic)
        for c in table
    }
    return pd.Series(found)


def by_drug(
    responses: pd.DataFrame,
    patients: pd.DataFrame,
    column: str,
    *,
    least: int,
    groups: Sequence[str] | None = None,
) -> dict[str, Estimate]:
    """Return one rank comparison a drug, and one of the induction drugs together.

    Parameters
    ----------
    responses : DataFrame
        ``patient_id``, ``drug``, ``value`` (higher is more resistant), optionally ``limit``.
    patients : DataFrame
        ``patient_id`` and `column`.
    column : str
        A number, correlated with response; or with `groups` a label.
    least : int
        Fewest patients in all, or in each of two groups.
    groups : (str, str), optional
        Values of `column`: the shift of the first against the second is estimated.

    Returns
    -------
    dict of drug to Estimate
        ``induction`` is the mean rank over induction drugs, where there are two or more.
    """
    wide = wide_ranks(responses)
    scales = {str(drug): wide[drug] for drug in wide}
    induction = [d for d in scales if is_induction(d)]
    if len(induction) > 1:
        scales["induction"] = mean_rank(wide[induction])
    known = patients.drop_duplicates("patient_id").set_index("patient_id")[column].dropna()
    found: dict[str, Estimate] = {}
    for drug, values in scales.items():
        both = pd.DataFrame({"value": values, "by": known.reindex(values.index)}).dropna()
        if groups is None:
            if len(both) < max(least, 4):
                found[drug] = not_estimable("correlation", f"fewer than {max(least, 4)} patients")
            else:
                found[drug] = spearman(both["by"].astype(float), both["value"])
            continue
        x, y = (both.loc[both["by"] == g, "value"] for g in groups)
        if min(len(x), len(y)) < max(least, 2):
            found[drug] = not_estimable(
                "difference", f"fewer than {max(least, 2)} patients in a group"
            )
        else:
            found[drug] = mann_whitney(x, y)
    return found


def wide_ranks(responses: pd.DataFrame) -> pd.DataFrame:
    """Return patients x drugs, values beyond the tested doses placed outside the others."""
    parts = {}
    for drug, part in responses.groupby("drug", sort=False):
        limit = part.get("limit")
        parts[str(drug)] = pd.Series(
            ranked(part["value"], limit).to_numpy(), index=part["patient_id"].to_numpy()
        )
    return pd.DataFrame(parts)


PERCENTILES = {"min": 0.0, "p5": 5.0, "p10": 10.0, "p25": 25.0, "median": 50.0, "p75": 75.0,
               "p90": 90.0, "p95": 95.0, "max": 100.0}  # fmt: skip


def percentile_of(value: float, reference: pd.Series) -> float:
    """Return where a value lies in a reference given by its percentiles, by straight lines.

    Parameters
    ----------
    value : float
    reference : Series
        The entries of `PERCENTILES`, rising.

    Returns
    -------
    float
        0 to 100; the middle of the percentiles that share the value, as 1 for "no effect" often is.
    """
    x = reference[list(PERCENTILES)].to_numpy(dtype=float)
    y = np.array(list(PERCENTILES.values()))
    if (same := x == value).any():
        return float(y[same].mean())
    return float(np.interp(value, x, y))


def normalised_lc50(log_lc50: pd.Series, low: pd.Series, high: pd.Series) -> pd.Series:
    """Return log LC50 on the tested range, 0 the lowest and 1 the highest tested dose."""
    return (log_lc50 - low) / (high - low)

r"""Are the genes of a set more strongly related to a class than other genes? Tests of gene sets.

For gene statistics :math:`z_g`, a set of :math:`m` of the :math:`G` measured genes is compared with
the :math:`G-m` others, in two ways:

- *direction*, :math:`\delta=\bar z_{\rm in}-\bar z_{\rm out}`: the set is higher or lower in
  higher classes;
- *strength*, the same of :math:`|z|`: its genes go with the class more than others, whichever way.

Genes of a set rise and fall together, so that a test which takes genes as independent finds too
much. Both answers to it are here.

*By shuffling* (`permutation_enrichment`). The classes are shuffled, the whole screen is repeated
and the difference taken again, which keeps every correlation between genes (Subramanian et al.,
PNAS 2005;102:15545). *P* is two-sided for the direction and one-sided for the strength,
:math:`(b+1)/(M+1)`. The effect is the difference minus its mean under shuffling, its interval that
of the shuffled differences laid around it.

*By a variance inflation factor* (`camera`). With mean correlation :math:`\bar\rho` between genes of
the set, :math:`\mathrm{VIF}=1+(m-1)\bar\rho`, and

.. math:: t=\frac{\delta}{s\sqrt{\mathrm{VIF}/m+1/(G-m)}},

:math:`s` the pooled spread of the statistics, on :math:`G-2` degrees of freedom (Wu, Smyth,
Nucleic Acids Res 2012;40:e133).
R: ``limma::cameraPR``, ``limma::interGeneCorrelation``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ballbook.gene_screen import null_model, score_z, standardised
from ballbook.inputs import Floats, as_design
from ballbook.multiplicity import benjamini_hochberg
from ballbook.trees import shuffle


def membership(
    genes: pd.Index, sets: Mapping[str, Iterable[str]], *, smallest: int = 10, largest: int = 500
) -> pd.DataFrame:
    """Return which measured genes belong to which set, for the sets of a fit size.

    Parameters
    ----------
    genes : Index
        Measured genes.
    sets : mapping of name to genes
    smallest, largest : int
        Sets with fewer or more measured genes are left out.

    Returns
    -------
    DataFrame of bool, genes x sets
    """
    found = {name: genes.isin(list(members)) for name, members in sets.items()}
    fit = {name: m for name, m in found.items() if smallest <= m.sum() <= largest}
    return pd.DataFrame(fit, index=genes)


def permutation_enrichment(
    expression: pd.DataFrame,
    codes: Any,
    member: pd.DataFrame,
    covariates: pd.DataFrame | None = None,
    *,
    strata: Any = None,
    n_permutations: int = 999,
    ci_level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Return direction and strength of every set, tested by shuffling the classes.

    Parameters
    ----------
    expression : DataFrame, genes x patients
    codes : int array of shape (patients,)
        Classes 0 to J - 1.
    member : DataFrame of bool, genes x sets
        From `membership`.
    covariates : DataFrame, patients x covariates, optional
        Adjusted for in the screen.
    strata : array of shape (patients,), optional
        Classes are shuffled within these only; needed where covariates go with the class.

    Returns
    -------
    DataFrame
        Index set; ``genes``, ``direction``, ``direction_low``, ``direction_high``, ``direction_p``,
        ``direction_q``, ``strength``, ``strength_low``, ``strength_high``, ``strength_p``,
        ``strength_q`` (q: Benjamini-Hochberg over the sets).
    """
    labels = np.asarray(codes, dtype=np.int64)
    blocks = None
    if strata is not None:
        named = np.asarray(strata, dtype=object).astype(str)
        blocks = np.unique(named, return_inverse=True)[1].astype(np.int64)
    x, contrast, count = standardised(expression), _contrast(member), int(labels.max()) + 1
    squares = x * x
    design = None if covariates is None else as_design(covariates, labels.size).to_numpy(float)

    def differences(y: Any) -> tuple[Floats, Floats]:
        z = np.nan_to_num(score_z(x, null_model(y, count, design), squares))
        return contrast @ z, contrast @ np.abs(z)

    observed = differences(labels)
    streams = np.random.default_rng(seed).spawn(n_permutations)
    shuffled = [differences(shuffle(labels, blocks, s)) for s in streams]
    table = pd.DataFrame({"genes": member.sum().to_numpy(int)}, index=member.columns)
    for i, (name, two_sided) in enumerate((("direction", True), ("strength", False))):
        null = np.array([s[i] for s in shuffled])
        centred = null - null.mean(axis=0)
        effect = observed[i] - null.mean(axis=0)
        beyond = (
            np.abs(centred) >= np.abs(effect) - 1e-12 if two_sided else centred >= effect - 1e-12
        )
        low, high = np.quantile(centred, [(1 - ci_level) / 2, (1 + ci_level) / 2], axis=0)
        table[name] = effect
        table[f"{name}_low"], table[f"{name}_high"] = effect - high, effect - low
        p = (beyond.sum(axis=0) + 1) / (n_permutations + 1)
        table[f"{name}_p"] = p
        table[f"{name}_q"] = benjamini_hochberg(p) if len(p) else p
    return table


def camera(z: pd.Series, member: pd.DataFrame, residuals: Floats | None = None) -> pd.DataFrame:
    """Return the direction of every set by `camera`, with its mean correlation and interval.

    Parameters
    ----------
    z : Series
        Statistic of each gene, standard normal where there is nothing.
    member : DataFrame of bool, genes x sets
    residuals : array of shape (genes, residual degrees of freedom + 1), optional
        Expression without what the classes explain, any scale; from it the correlation within
        each set is estimated. Without it genes are taken as independent.

    Returns
    -------
    DataFrame
        Index set; ``genes, correlation, difference, ci_low, ci_high, statistic, p_value``.

    Raises
    ------
    ValueError
        For a gene without a statistic.
    """
    values = z.to_numpy(float)
    if not np.isfinite(values).all():
        raise ValueError("z: every gene needs a statistic; leave out those that have none")
    total = values.size
    variance = values.var(ddof=1)
    rows = []
    for name in member:
        inside = member[name].to_numpy(bool)
        m = int(inside.sum())
        rest = total - m
        rho = 0.0 if residuals is None else gene_correlation(residuals[inside])
        delta = total / rest * (values[inside].mean() - values.mean())
        pooled = ((total - 1) * variance - delta**2 * m * rest / total) / (total - 2)
        se = float(np.sqrt(pooled * ((1 + (m - 1) * rho) / m + 1 / rest)))
        half = float(stats.t.isf(0.025, total - 2)) * se
        rows.append(
            {
                "genes": m,
                "correlation": rho,
                "difference": delta,
                "ci_low": delta - half,
                "ci_high": delta + half,
                "statistic": delta / se,
                "p_value": 2 * float(stats.t.sf(abs(delta / se), total - 2)),
            }
        )
    return pd.DataFrame(rows, index=member.columns)


def gene_correlation(residuals: Floats) -> float:
    """Return the mean correlation between the rows of `residuals`, which need no mean of 0.

    Rows are standardised over the columns; with column sums, the mean off-diagonal correlation of
    *m* rows is :math:`(m\\,\\overline{u^2}-1)/(m-1)`, :math:`u` the mean standardised row.
    """
    m = len(residuals)
    if m < 2:
        return 0.0
    root = np.sqrt((residuals**2).mean(axis=1, keepdims=True))
    u = (residuals / np.where(root > 0, root, np.inf)).mean(axis=0)
    return float((m * np.mean(u**2) - 1) / (m - 1))


def _contrast(member: pd.DataFrame) -> Floats:
    """Return sets x genes weights whose product with statistics is mean inside minus outside."""
    inside = member.to_numpy(float)
    m = inside.sum(axis=0)
    return np.asarray((inside / m - (1 - inside) / (len(inside) - m)).T)

r"""Activity of a transcription factor, read from the expression of its targets.

A factor may be present and idle, or at work where too little of its own RNA is caught; so its
*activity* is inferred from the genes it acts on. In one sample (a cell or a patient) let
:math:`y_i` be the expression of gene *i* of *n* measured genes, and :math:`w_i` the weight of the
factor on it: 1 where it activates, -1 where it represses, 0 for all other genes. The default
score, *ULM*, is the *t* statistic of the slope of :math:`y_i=\beta_0+\beta_1w_i+\varepsilon_i`,

.. math:: t = r\sqrt{\frac{n-2}{1-r^2}}, \qquad r=\operatorname{cor}(y,w),

on :math:`n-2` degrees of freedom (Badia-i-Mompel et al., Bioinform Adv 2022;2:vbac016). With
weights of 0 and 1 it is Student's *t* between targets and all other genes of that sample. Genes of
one sample are no independent draws, so its *P* value ranks samples and tests nothing; tests are
made between donors or patients.

Others, for how much hangs on the choice: *MLM*, the same with all factors in one model, so that a
target shared by two is not counted for both; *AUCell*, the area under the recovery curve of the
targets among the top twentieth of a sample's ranking, blind to sign (Aibar et al., Nat Methods
2017;14:1083); *VIPER*, a rank score that takes off what an overlapping regulon explains (Alvarez
et al., Nat Genet 2016;48:838). The four are decoupler's, which is imported on first use: it
compiles code, and who asks for no activity should not wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy import optimize, stats

Method = Literal["ulm", "mlm", "aucell", "viper"]
METHODS: tuple[Method, ...] = get_args(Method)
LEVELS = "ABCDE"

# One factor alone gives the same score as among others; the other methods weigh factors together.
ALONE = ("ulm", "aucell")


@dataclass(frozen=True, slots=True)
class Activity:
    """Scores of one factor.

    Attributes
    ----------
    score : Series
        One value a sample, in the method's own unit.
    targets : tuple of str
        Targets of the factor that were measured and used.
    genes : int
        Genes in each sample, targets included.
    """

    score: pd.Series
    targets: tuple[str, ...]
    genes: int


def network(
    regulons: pd.DataFrame,
    *,
    levels: str = "A",
    signed: bool = True,
    without: Collection[str] = (),
) -> pd.DataFrame:
    """Return pairs of factor and target with their weights.

    Parameters
    ----------
    regulons : DataFrame
        ``source``, ``target``, ``weight``, ``confidence``.
    levels : str
        Levels of confidence kept, best first, for example ``"AB"``.
    signed : bool
        Keep the signs; otherwise every weight is 1.
    without : collection of str
        Targets to leave out of every regulon.

    Raises
    ------
    ValueError
        For an unknown level, or if nothing is left.
    """
    if not levels or set(levels) - set(LEVELS):
        raise ValueError(f"levels {levels!r}: letters of {LEVELS} are meant")
    kept = regulons[
        regulons["confidence"].isin(list(levels)) & ~regulons["target"].isin(list(without))
    ]
    if kept.empty:
        raise ValueError(f"no pair of factor and target at the levels {levels}")
    weight = kept["weight"].astype(float) if signed else 1.0
    return kept[["source", "target"]].assign(weight=weight).reset_index(drop=True)


def activity(
    expression: pd.DataFrame,
    net: pd.DataFrame,
    factor: str,
    *,
    method: Method = "ulm",
    min_targets: int = 5,
) -> Activity:
    """Return the activity of `factor` in every sample.

    Parameters
    ----------
    expression : DataFrame, samples x genes
        Logarithms, gene symbols as columns, no missing values.
    net : DataFrame
        As `network` returns it.
    min_targets : int
        Factors with fewer measured targets are not scored.

    Raises
    ------
    ValueError
        For an unknown method, missing values, genes named twice, or too few measured targets of
        `factor`.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is none of {', '.join(METHODS)}")
    if expression.columns.has_duplicates:
        raise ValueError("a gene occurs twice in the expression")
    values = expression.to_numpy(dtype=float)
    if not np.isfinite(values).all():
        raise ValueError("the expression has missing or infinite values")
    mine = net[(net["source"] == factor) & net["target"].isin(expression.columns)]
    if len(mine) < min_targets:
        raise ValueError(
            f"{len(mine)} targets of {factor} are measured, {min_targets} are needed to score it"
        )
    import decoupler

    # In an order of its own: some scores break ties by position, and the order of the columns
    # of a file should not matter.
    genes = sorted(map(str, expression.columns))
    table = pd.DataFrame(expression[genes].to_numpy(dtype=float), columns=genes)
    table.index = [f"s{i}" for i in range(len(table))]
    run = getattr(decoupler.mt, method)
    used = mine if method in ALONE else net
    scores, _ = run(table, used, tmin=min_targets, empty=False)
    score = pd.Series(scores[factor].to_numpy(float), index=expression.index, name=factor)
    return Activity(score, tuple(sorted(mine["target"])), len(genes))


def shared_targets(net: pd.DataFrame, factor: str, others: Collection[str]) -> set[str]:
    """Return the targets of `factor` that any of `others` acts on too."""
    mine = set(net.loc[net["source"] == factor, "target"])
    return mine & set(net.loc[net["source"].isin(list(others)), "target"])


def detectable_shift(targets: int, genes: int, *, power: float = 0.8, alpha: float = 0.05) -> float:
    r"""Return the shift of the targets' mean, in standard deviations of a gene, that ULM can see.

    With *k* targets of equal weight among *n* genes ULM's *t* is noncentral with
    :math:`\delta\sqrt{k(n-k)/n}` for a shift :math:`\delta`, were genes independent draws; they
    are not, so that more is needed than this.

    Raises
    ------
    ValueError
        If there is no target, fewer than two other genes, or the power is not above one half.
    """
    if targets < 1 or genes < targets + 2:
        raise ValueError(f"{targets} targets among {genes} genes leave nothing to compare")
    if not 0.5 < power < 1:
        raise ValueError(f"power {power}: between one half and 1")
    df = genes - 2
    scale = math.sqrt(targets * (genes - targets) / genes)
    critical = float(stats.t.isf(alpha / 2, df))

    def missing(shift: float) -> float:
        centre = shift * scale
        seen = stats.nct.sf(critical, df, centre) + stats.nct.cdf(-critical, df, centre)
        return float(seen) - power

    most = 2 * (critical + stats.norm.ppf(power)) / scale
    return float(optimize.brentq(missing, 1e-9, most))

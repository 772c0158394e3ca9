r"""Developmental states of bulk leukaemias: one scale for all tables, and scores on the B line.

Of the shares :math:`f_s` that `ballbook.deconvolution` finds, those on the line from stem cell to
mature B cell are what a B-cell leukaemia can be made of; the branches hold other cells of the
sample, and what does not fit. The scores look at the line *L* alone, with
:math:`g_s = f_s/\sum_{t\in L}f_t`:

- *early*: stem and lymphoid-primed cells, :math:`g_1+g_2`;
- *precursor*: pro-B and pre-B cells, :math:`g_3+g_4`;
- *late*: immature and mature B cells, :math:`g_5+g_6`;
- *place*: :math:`\sum_k k\,g_k`, from 1 (stem cell) to 6 (mature).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from ballbook import deconvolution
from ballbook.cell_states import B_LINEAGE
from ballbook.maturity import ExpressionKind, tpm

PARTS: Mapping[str, tuple[str, ...]] = {
    "early": B_LINEAGE[:2],
    "precursor": B_LINEAGE[2:4],
    "late": B_LINEAGE[4:],
}
LogBase = Literal["2", "e", "10"]
BASES: Mapping[str, float] = {"2": 2.0, "e": math.e, "10": 10.0}
# Fewest samples of which a mean level of a gene is taken.
LEAST_SAMPLES = 10


def symbols(names: Sequence[str] | pd.Index) -> pd.Index:
    """Return gene symbols as other tables write them: ``HLA-A`` for ``HLA.A``."""
    return pd.Index(pd.Series(list(names), dtype=str).str.replace(r"^HLA\.", "HLA-", regex=True))


def linear(
    expression: pd.DataFrame, kind: ExpressionKind, lengths: pd.Series, base: LogBase = "2"
) -> pd.DataFrame:
    """Return an expression table on a linear scale.

    Counts become transcripts per million, TPM stay. For logarithms, 1 is taken to have been added
    where the table's smallest value is 0 or just above it, as in a table of sequencing; an array's
    smallest value is its background.

    Parameters
    ----------
    expression : DataFrame, gene symbols x samples
    kind : {"counts", "tpm", "log2", "logcpm"}
    lengths : Series
        Coding length of genes, for counts.
    base : {"2", "e", "10"}
        Of the logarithm of ``logcpm``; that of ``log2`` is in its name.

    Raises
    ------
    ValueError
        For values that cannot be of the kind; see `deconvolution.linear`.
    """
    if kind == "counts":
        return tpm(expression, lengths)
    if kind == "tpm":
        return deconvolution.linear(expression)
    smallest = float(np.nanmin(expression.to_numpy(dtype=float)))
    offset = 1.0 if smallest < 0.5 else 0.0
    return deconvolution.linear(
        expression, base=2.0 if kind == "log2" else BASES[base], offset=offset
    )


def scores(shares: pd.DataFrame) -> pd.DataFrame:
    """Return ``line`` (share of the line), the parts and ``place`` of every sample.

    Parts and place are missing where nothing lies on the line.

    Parameters
    ----------
    shares : DataFrame, samples x states
    """
    line = shares[list(B_LINEAGE)]
    total = line.sum(axis=1, min_count=len(B_LINEAGE))
    on = line.div(total.where(total > 1e-9), axis=0)
    found = {name: on[list(states)].sum(axis=1, min_count=1) for name, states in PARTS.items()}
    place = on.to_numpy() @ np.arange(1, len(B_LINEAGE) + 1)
    return pd.DataFrame({"line": total, **found, "place": place}, index=shares.index)


def states(
    bulk: pd.DataFrame,
    signature: pd.DataFrame,
    among: Sequence[str] | pd.Index | None = None,
    *,
    method: deconvolution.Method = "nnls",
    weights: deconvolution.Weights = "relative",
    match: bool = True,
) -> deconvolution.Deconvolution:
    """Return the shares of states in a cohort, levels of genes matched within it.

    Parameters
    ----------
    bulk : DataFrame, genes x samples
        Linear.
    signature : DataFrame, genes x states
    among : sequence of str, optional
        Samples whose mean is matched, such as those of B lineage; all of them by default.
    match : bool
        Whether levels are matched (`deconvolution.matched`).

    Raises
    ------
    ValueError
        For fewer than `LEAST_SAMPLES` samples to match; see also `deconvolution.deconvolve`.
    """
    if match:
        chosen = bulk if among is None else bulk[list(among)]
        if chosen.shape[1] < LEAST_SAMPLES:
            raise ValueError(
                f"levels of genes are matched within a cohort of {LEAST_SAMPLES} samples or more"
            )
        factor = deconvolution.matched(chosen, signature, weights=weights)
        bulk = bulk.loc[factor.index].div(factor, axis=0)
    return deconvolution.deconvolve(bulk, signature, method=method, weights=weights)

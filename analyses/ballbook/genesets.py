r"""Scores of gene sets in single samples, in closed form.

A single-sample score asks of one sample at a time whether the genes of a set stand high or low
among all its genes. Rank scores need nothing from the other samples, so a patient's score does
not change when another patient joins the cohort, and they do not change under any increasing
transform of the expression (counts per million or its logarithm give one answer).

*singscore.* Let :math:`r_g` be the rank of gene *g* among the *N* genes of the sample (ascending,
ties get the smallest rank), and :math:`\bar r` the mean over the *k* genes of a set. Without ties
the mean lies between :math:`l = (k+1)/2` and :math:`u = (2N-k+1)/2`, so

.. math:: s = \frac{\bar r - l}{u - l} - \tfrac12 \in [-\tfrac12, \tfrac12].

Long runs of ties, such as many genes without a read, can push an up part below and a down part
above these limits, because all tied genes share the smallest rank.

A set expected to be low is scored on the reversed ranks :math:`N - r_g + 1`; the total score is
the sum of the two parts (Foroutan et al., BMC Bioinformatics 2018;19:404).

*ssGSEA.* The area between the two cumulative curves of a running-sum walk down the ranking
(Barbie et al., Nature 2009;462:108) needs no walk. With weights :math:`r_g^\alpha`,

.. math:: E = \frac{\sum_{g\in S} r_g^{1+\alpha}}{\sum_{g\in S} r_g^{\alpha}}
              - \frac{\sum_{g\notin S} r_g}{N-k}.

*Combined z.* Genes are standardised over the samples and added:
:math:`z_S = k^{-1/2}\sum_{g\in S} z_g` (Lee et al., PLoS Comput Biol 2008;4:e1000217). Unlike the
other two it depends on who else is in the cohort.

All of them reduce to sums of a per-sample vector over the genes of each set, so one matrix
product scores every set at once, in blocks of samples that keep the working memory flat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLOCK = 8


@dataclass(frozen=True, slots=True)
class GeneSet:
    """Genes expected to be high (`up`) and low (`down`) in the state that the set describes."""

    up: tuple[str, ...]
    down: tuple[str, ...] = ()


def parse_gmt(text: str) -> dict[str, GeneSet]:
    """Return the sets of a GMT text; ``NAME_UP`` and ``NAME_DN`` become one two-sided set.

    Parameters
    ----------
    text : str
        One set a line: name, description, genes, separated by tabs.
    """
    up: dict[str, tuple[str, ...]] = {}
    down: dict[str, tuple[str, ...]] = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        name, _, *genes = line.split("\t")
        stem, side = (name[:-3], name[-3:]) if name[-3:] in ("_UP", "_DN") else (name, "_UP")
        (down if side == "_DN" else up)[stem] = tuple(filter(None, genes))
    if missing := sorted(set(down) - set(up)):
        raise ValueError(f"sets with a DN part but no UP part: {', '.join(missing)}")
    return {name: GeneSet(genes, down.get(name, ())) for name, genes in up.items()}


def coverage(genes: Iterable[str], sets: Mapping[str, GeneSet]) -> pd.DataFrame:
    """Return for each set how many of its up and down genes are among `genes`.

    Returns
    -------
    DataFrame
        Index set name; columns up, up_present, down, down_present (counts).
    """
    have = set(genes)
    rows = {
        name: {
            "up": len(s.up),
            "up_present": len(have.intersection(s.up)),
            "down": len(s.down),
            "down_present": len(have.intersection(s.down)),
        }
        for name, s in sets.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def singscore(
    expression: pd.DataFrame, up: Iterable[str], down: Iterable[str] | None = None
) -> pd.Series:
    """Return the singscore of one set in every sample.

    Parameters
    ----------
    expression : DataFrame, genes x samples
        Any within-sample monotone scale: TPM, log2, RMA. All its rows are the ranking background.
    up, down : iterable of str
        Genes expected high and low; genes that were not measured are left out.

    Returns
    -------
    Series
        Total score for each sample: within ±0.5 for an up set alone and ±1 with a down set where
        nothing is tied; NaN where no gene of a given part was measured.

    Raises
    ------
    ValueError
        For values that are not finite numbers, repeated genes, or no genes at all.
    """
    both = GeneSet(tuple(up), () if down is None else tuple(down))
    return singscores(expression, {"score": both})["score"].rename(None)


def singscores(expression: pd.DataFrame, sets: Mapping[str, GeneSet]) -> pd.DataFrame:
    """Return the singscore total of every set; see `singscore`.

    Returns
    -------
    DataFrame, samples x sets
    """
    values = _checked(expression)
    n_genes = values.shape[0]
    parts = [
        (name, side) for name, s in sets.items() for side in ("up", "down") if getattr(s, side)
    ]
    member, size = _membership(expression.index, [getattr(sets[n], side) for n, side in parts])
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_rank = _blockwise(values, lambda block: member @ min_ranks(block)) / size[:, None]
        low, high = (size + 1) / 2, (2 * n_genes - size + 1) / 2
        # A set that holds every gene has one possible mean rank: it says nothing, hence 0.
        span = np.where(high > low, high - low, np.inf)
        is_down = np.array([side == "down" for _, side in parts])
        mean_rank[is_down] = n_genes + 1 - mean_rank[is_down]
        centre = np.where(high > low, 0.5, 0.0)
        part_score = (mean_rank - low[:, None]) / span[:, None] - centre[:, None]
    total = pd.DataFrame(np.nan, index=expression.columns, columns=list(sets))
    for name in sets:
        mine = [i for i, (owner, _) in enumerate(parts) if owner == name]
        if mine:
            total[name] = part_score[mine].sum(axis=0)
    return total


def ssgsea(
    expression: pd.DataFrame, sets: Mapping[str, GeneSet], *, alpha: float = 0.25
) -> pd.DataFrame:
    """Return the ssGSEA score of every set (up part minus down part), not normalised.

    Equals ``GSVA::gsva(method = "ssgsea", ssgsea.norm = FALSE)`` where no values are tied. Ties
    get their mean rank here, so that the order of the rows cannot matter; GSVA breaks them by
    row order.

    Parameters
    ----------
    expression : DataFrame, genes x samples
    sets : mapping of name to GeneSet
    alpha : float
        Weight of the rank within the set.

    Returns
    -------
    DataFrame, samples x sets

    Raises
    ------
    ValueError
        As `singscore`.
    """
    values = _checked(expression)
    n_genes = values.shape[0]

    def score(member: Floats, size: Floats) -> Floats:
        def block_score(block: Floats) -> Floats:
            ranks = mean_ranks(block)
            weights = ranks**alpha
            inside = (member @ (ranks * weights)) / (member @ weights)
            outside = (ranks.sum(axis=0) - member @ ranks) / (n_genes - size)[:, None]
            return np.asarray(inside - outside)

        with np.errstate(divide="ignore", invalid="ignore"):
            return _blockwise(values, block_score)

    return _up_minus_down(expression, sets, score)


def combined_z(expression: pd.DataFrame, sets: Mapping[str, GeneSet]) -> pd.DataFrame:
    """Return the combined z-score of every set (up part minus down part).

    Genes are centred and scaled by their sample standard deviation over the cohort; genes that
    do not vary carry nothing and count as 0. Equals ``GSVA::gsva(method = "zscore")`` for up sets.

    Returns
    -------
    DataFrame, samples x sets

    Raises
    ------
    ValueError
        As `singscore`, and for fewer than two samples.
    """
    values = _checked(expression)
    if values.shape[1] < 2:
        raise ValueError("a z-score over samples needs at least two samples")
    spread = values.std(axis=1, ddof=1, keepdims=True)
    z = (values - values.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, np.inf)

    def score(member: Floats, size: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(member @ z / np.sqrt(size)[:, None])

    return _up_minus_down(expression, sets, score)


def min_ranks(values: Floats) -> Floats:
    """Return ascending ranks 1..N of each column; tied values share the smallest rank."""
    return _ranks(values)[0]


def mean_ranks(values: Floats) -> Floats:
    """Return ascending ranks 1..N of each column; tied values share their mean rank."""
    lowest, highest = _ranks(values, highest=True)
    return (lowest + highest) / 2


def _ranks(values: Floats, *, highest: bool = False) -> tuple[Floats, Floats]:
    """Return the smallest and (if asked) the largest rank of each run of ties, column by column."""
    rows = np.ascontiguousarray(values.T)
    order = np.argsort(rows, axis=1)
    ordered = np.take_along_axis(rows, order, axis=1)
    place = np.arange(1.0, rows.shape[1] + 1)
    new = np.ones(rows.shape, dtype=bool)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=new[:, 1:])
    out = np.empty_like(ordered)
    if new.all():
        np.put_along_axis(out, order, np.broadcast_to(place, out.shape), axis=1)
        return out.T, out.T
    first = np.maximum.accumulate(np.where(new, place, 0.0), axis=1)
    np.put_along_axis(out, order, first, axis=1)
    if not highest:
        return out.T, out.T
    end = np.ones(rows.shape, dtype=bool)
    end[:, :-1] = new[:, 1:]
    last = np.minimum.accumulate(np.where(end, place, np.inf)[:, ::-1], axis=1)[:, ::-1]
    top = np.empty_like(ordered)
    np.put_along_axis(top, order, last, axis=1)
    return out.T, top.T


def _checked(expression: pd.DataFrame) -> Floats:
    if expression.shape[0] == 0:
        raise ValueError("the expression table has no genes")
    if not expression.index.is_unique:
        twice = expression.index[expression.index.duplicated()].unique()
        raise ValueError(f"{len(twice)} genes appear more than once, first {twice[0]!r}")
    try:
        values = expression.to_numpy(dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the expression table holds text: {error}") from None
    if not np.isfinite(values).all():
        gene, sample = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"gene {expression.index[gene]!r}, sample {expression.columns[sample]!r}: "
            f"{values[gene, sample]} cannot be ranked"
        )
    return values


def _membership(genes: pd.Index, sets: list[tuple[str, ...]]) -> tuple[Floats, Floats]:
    """Return the 0/1 matrix sets x genes and the number of measured genes in each set."""
    member = np.zeros((len(sets), len(genes)))
    for i, names in enumerate(sets):
        where = genes.get_indexer(pd.Index(sorted(set(names))))
        member[i, where[where >= 0]] = 1.0
    return member, member.sum(axis=1)


def _blockwise(values: Floats, score: Callable[[Floats], Floats]) -> Floats:
    """Apply `score` (genes x b to sets x b) to blocks of samples and join the results."""
    n_samples = values.shape[1]
    if n_samples == 0:
        return score(values)
    starts = range(0, n_samples, BLOCK)
    return np.concatenate([score(values[:, i : i + BLOCK]) for i in starts], axis=1)


def _up_minus_down(
    expression: pd.DataFrame,
    sets: Mapping[str, GeneSet],
    score: Callable[[Floats, Floats], Floats],
) -> pd.DataFrame:
    """Score all parts of all sets in one pass, and take the down parts from the up parts."""
    names = list(sets)
    two_sided = [i for i, n in enumerate(names) if sets[n].down]
    parts = [sets[n].up for n in names] + [sets[names[i]].down for i in two_sided]
    found = score(*_membership(expression.index, parts))
    total = found[: len(names)].copy()
    total[two_sided] -= found[len(names) :]
    return pd.DataFrame(total.T, index=expression.columns, columns=names)

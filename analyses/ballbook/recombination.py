r"""Recombination signals at break points: is a junction where RAG would have cut?

A recombination signal sequence (RSS) is a heptamer (consensus CACAGTG), a spacer of 12 or 23 bases,
and a nonamer (ACAAAAACC). RAG cuts in front of the heptamer, and joins one site with a spacer of 12
to one with 23. The score of a site is that of its heptamer and nonamer (`ballbook.motif`); the
spacer does not count.

**Windows.** A window holds `flank` bases on both sides of one end of a junction. The least P value
over both spacers, both strands and all positions is turned into one P value for the window (Sidak),
since with some 270 placements a P value below 0.05 is found somewhere in almost any sequence. With
`within`, only sites whose cut lies at most so many bases from the break are looked at: that is what
RAG would have made, and it costs fewer placements.

**Junctions.** The two ends of a junction are combined under the 12/23 rule: 12 at one end and 23 at
the other, by Fisher's statistic :math:`-2(\ln p_{12}+\ln p_{23})` on 4 degrees of freedom; the
better of the two arrangements counts, with Sidak's factor for two.

**Power** for one window is at least :math:`P(S\ge t\mid\text{site})`, where t is the score that
reaches :math:`1-(1-\alpha)^{1/m}` in the background, both worked out exactly.

Fugmann et al, Annu Rev Immunol 2000;18:495; Papaemmanuil et al, Nat Genet 2014;46:116.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from ballbook.inputs import Floats
from ballbook.motif import (
    UNKNOWN,
    Codes,
    Motif,
    dinucleotide_shuffle,
    motif,
    reverse_complement,
    scan,
    sidak,
)

HEPTAMER, NONAMER = 7, 9
SPACERS = (12, 23)
CONSENSUS = ("CACAGTG", "ACAAAAACC")
# Weight of G after C in a simulated genome, where that of any other pair is 1.
CPG = 0.25


@dataclass(frozen=True, slots=True)
class Signal:
    """A recombination signal of one spacer.

    Attributes
    ----------
    spacer : int
    motif : Motif
        Heptamer, spacer and nonamer in the order in which they follow the cut.
    """

    spacer: int
    motif: Motif

    def sites(self, n: int, rng: np.random.Generator, *, clean: bool = False) -> Codes:
        """Return `n` sites drawn from the matrix, n x width.

        With `clean`, the least probability of each row is taken off every base of it before
        drawing: what the matrix would be had nothing been added to its counts.
        """
        p = self.motif.probabilities
        if clean:
            informative = (self.motif.scores != 0).any(axis=1, keepdims=True)
            bare = p - p.min(axis=1, keepdims=True)
            p = np.where(informative, bare, p)
            p = p / p.sum(axis=1, keepdims=True)
        return draw(np.broadcast_to(p, (n, *p.shape)), rng)


def draw(probabilities: Floats, rng: np.random.Generator) -> Codes:
    """Return bases drawn from probabilities along the last axis (of 4)."""
    u = rng.random(probabilities.shape[:-1])[..., None]
    return np.minimum((u > probabilities.cumsum(axis=-1)).sum(axis=-1), 3).astype(np.uint8)


def signal(
    heptamer: ArrayLike, nonamer: ArrayLike, spacer: int, background: ArrayLike, *,
    step: float = 0.01,
) -> Signal:  # fmt: skip
    """Return the signal of a heptamer and a nonamer, both in the order in which they follow a cut.

    Raises
    ------
    ValueError
        For matrices of another length or orientation.
    """
    h, n = np.asarray(heptamer, float), np.asarray(nonamer, float)
    if h.shape != (HEPTAMER, 4) or n.shape != (NONAMER, 4):
        raise ValueError("a heptamer has 7 positions and a nonamer 9, with A, C, G, T each")
    # The end of the heptamer hardly tells its strand, the run of A in the nonamer does.
    if n[:, 0].sum() < n[:, 3].sum():
        raise ValueError("the nonamer should be rich in A: this one reads towards the cut")
    q = np.asarray(background, float)
    q = q / q.sum()
    return Signal(spacer, motif(np.vstack([h, np.tile(q, (spacer, 1)), n]), q, step=step))


def scan_windows(
    windows: Codes, signals: Sequence[Signal], *, within: int | None = None
) -> pd.DataFrame:
    """Return the best site of each window, and its P value among all that were tried.

    Parameters
    ----------
    windows : uint8 array, n x 2 flank
        The break lies in the middle; unknown bases are 4.
    signals : sequence of Signal
    within : int, optional
        Farthest cut from the break, in bases; any place in the window when not given.

    Returns
    -------
    DataFrame
        One row a window: ``spacer``, ``strand`` (+: the signal lies to the right of its cut),
        ``offset`` (bases from the break to the cut), ``score`` (bits), ``p_site``, ``placements``
        and ``p_value``. Without a placement the P value is 1 and the site is missing.
    """
    n, size = windows.shape
    middle = size // 2
    best = np.ones(n)
    told = {"spacer": np.full(n, np.nan), "offset": np.full(n, np.nan),
            "score": np.full(n, np.nan), "forward": np.full(n, np.nan)}  # fmt: skip
    tried = np.zeros(n, np.int64)
    for s in signals:
        width = s.motif.width
        starts = np.arange(max(size - width + 1, 0))
        if not len(starts):
            continue
        for forward in (True, False):
            table = s.motif.scores if forward else s.motif.scores[::-1, ::-1]
            cut = (starts if forward else starts + width) - middle
            near = np.ones(len(starts), bool) if within is None else np.abs(cut) <= within
            if not near.any():
                continue
            scores = scan(windows, table)[:, near]
            possible = scores >= s.motif.lowest
            tried += possible.sum(axis=1)
            # The highest score has the least P value; a tie goes to the cut nearest the break.
            top = np.where(possible, scores, s.motif.lowest - 1).max(axis=1)
            ties = (scores == top[:, None]) & possible
            at = np.where(ties, np.abs(cut[near]), size).argmin(axis=1)
            p = np.where(possible.any(axis=1), s.motif.p_value(top), 1.0)
            better = possible.any(axis=1) & ((p < best) | np.isnan(told["spacer"]))
            best = np.where(better, p, best)
            for name, value in {
                "spacer": s.spacer, "offset": cut[near][at], "score": top * s.motif.step,
                "forward": float(forward),
            }.items():  # fmt: skip
                told[name] = np.where(better, value, told[name])
    strand = np.where(np.isnan(told["forward"]), "", np.where(told["forward"] == 1, "+", "-"))
    return pd.DataFrame(
        {
            "spacer": told["spacer"],
            "strand": strand,
            "offset": told["offset"],
            "score": told["score"],
            "p_site": best,
            "placements": tried,
            "p_value": np.where(tried > 0, sidak(np.minimum(best, 1 - 1e-16), tried), 1.0),
        }
    )


def scan_sequence(codes: Codes, signals: Sequence[Signal], p: float) -> pd.DataFrame:
    """Return every site of a long sequence whose P value is at most `p`.

    Returns
    -------
    DataFrame
        ``cut`` (bases before it), ``spacer``, ``strand``, ``score`` (bits), ``p_site``, by cut.
    """
    parts = []
    for s in signals:
        least = s.motif.threshold(p)
        if least is None:
            continue
        for strand, table in (("+", s.motif.scores), ("-", s.motif.scores[::-1, ::-1])):
            scores = scan(codes, table)
            at = np.flatnonzero(scores >= least)
            parts.append(
                pd.DataFrame(
                    {
                        "cut": at if strand == "+" else at + s.motif.width,
                        "spacer": s.spacer,
                        "strand": strand,
                        "score": scores[at] * s.motif.step,
                        "p_site": s.motif.p_value(scores[at]),
                    }
                )
            )
    names = ["cut", "spacer", "strand", "score", "p_site"]
    found = pd.concat(parts) if parts else pd.DataFrame(columns=names)
    return found.sort_values(["cut", "spacer", "strand"], ignore_index=True)


def twelve_twentythree(
    first: Codes, second: Codes, signals: Mapping[int, Signal], *, within: int | None = None
) -> pd.DataFrame:
    """Return the P value of each junction under the 12/23 rule.

    Parameters
    ----------
    first, second : uint8 array, n x 2 flank
        Windows of the two ends, row by row.
    signals : mapping
        Spacer to signal; both 12 and 23.

    Returns
    -------
    DataFrame
        ``arrangement`` (spacers of the first and of the second end) and ``p_value``.
    """
    p = {
        (end, spacer): scan_windows(w, [signals[spacer]], within=within)["p_value"].to_numpy()
        for end, w in enumerate((first, second))
        for spacer in SPACERS
    }
    tiny = np.finfo(float).tiny
    each = np.array(
        [
            stats.chi2.sf(
                -2 * (np.log(np.maximum(p[0, a], tiny)) + np.log(np.maximum(p[1, b], tiny))), 4
            )
            for a, b in (SPACERS, SPACERS[::-1])
        ]
    )
    least = each.min(axis=0)
    names = np.array(["12/23", "23/12"])[each.argmin(axis=0)]
    return pd.DataFrame({"arrangement": names, "p_value": sidak(np.minimum(least, 1 - 1e-16), 2)})


def shuffled_p_values(
    windows: Codes, signals: Sequence[Signal], *, n_shuffles: int, seed: int,
    within: int | None = None,
) -> Floats:  # fmt: skip
    """Return the P value of each window by its rank among shuffles that keep pairs of bases."""
    rng = np.random.default_rng(seed)
    seen = scan_windows(windows, signals, within=within)["p_site"].to_numpy()
    found = np.empty(len(windows))
    for i, window in enumerate(windows):
        null = np.array([dinucleotide_shuffle(window, rng) for _ in range(n_shuffles)])
        least = scan_windows(null, signals, within=within)["p_site"].to_numpy()
        found[i] = (1 + (least <= seen[i]).sum()) / (n_shuffles + 1)
    return found


def placements(size: int, signals: Sequence[Signal], *, within: int | None = None) -> int:
    """Return how many sites are tried in a window of `size` known bases."""
    window = np.zeros((1, size), np.uint8)
    return int(scan_windows(window, signals, within=within)["placements"].iloc[0])


def power(s: Signal, alpha: float, tried: int) -> float:
    """Return the share of sites of the matrix that reach `alpha` among `tried` placements.

    A lower bound for the power of a window, which another placement may also make significant.
    """
    return s.motif.power(float(-np.expm1(np.log1p(-alpha) / tried)))


def plant(windows: Codes, sites: Codes, *, offset: ArrayLike, forward: ArrayLike) -> Codes:
    """Return windows with one site each, its cut `offset` bases from the break.

    Parameters
    ----------
    windows : uint8 array, n x 2 flank
    sites : uint8 array, n x width
        As they follow their cut; turned round where `forward` is false.

    Raises
    ------
    ValueError
        Where a site would not fit.
    """
    found = windows.copy()
    n, size = windows.shape
    width = sites.shape[1]
    cuts = np.broadcast_to(np.asarray(offset, int), n) + size // 2
    ways = np.broadcast_to(np.asarray(forward, bool), n)
    starts = np.where(ways, cuts, cuts - width)
    if (starts < 0).any() or (starts + width > size).any():
        raise ValueError("a site does not fit into its window")
    turned = reverse_complement(sites)
    for i, start in enumerate(starts):
        found[i, start : start + width] = sites[i] if ways[i] else turned[i]
    return found


def independent_bases(n: int, size: int, gc: float, rng: np.random.Generator) -> Codes:
    """Return sequences of bases that are independent, with `gc` the share of G and C."""
    q = np.array([1 - gc, gc, gc, 1 - gc]) / 2
    return draw(np.broadcast_to(q, (n, size, 4)), rng)


def genome_like(
    n: int, size: int, rng: np.random.Generator, *, gc: float = 0.41, gc_sd: float = 0.05,
    repeats: float = 0.0,
) -> Codes:  # fmt: skip
    """Return sequences with features of a genome that an order-zero background lacks.

    The share of G and C varies from sequence to sequence (normal, within 0.25 to 0.65), bases
    follow one another in a first-order chain in which G after C has the weight `CPG`, and a share
    `repeats` of the sequences holds a run of A or T (15 to 30 bases), or of CA or TG (20 to 40).

    Parameters
    ----------
    n, size : int
    gc, gc_sd : float
        Mean and standard deviation of the share of G and C before CG is thinned out.
    repeats : float
        Share of sequences with a run, between 0 and 1.
    """
    shares = np.clip(rng.normal(gc, gc_sd, n), 0.25, 0.65)
    q = np.stack([1 - shares, shares, shares, 1 - shares], axis=1) / 2
    after = np.broadcast_to(q[:, None, :], (n, 4, 4)).copy()
    after[:, 1, 2] *= CPG
    after /= after.sum(axis=2, keepdims=True)
    found = np.empty((n, size), np.uint8)
    found[:, 0] = draw(q, rng)
    rows = np.arange(n)
    for j in range(1, size):
        found[:, j] = draw(after[rows, found[:, j - 1]], rng)
    for i in np.flatnonzero(rng.random(n) < repeats):
        unit = ((0,), (3,), (1, 0), (3, 2))[int(rng.integers(4))]
        length = min(int(rng.integers(15, 31) if len(unit) == 1 else rng.integers(20, 41)), size)
        start = int(rng.integers(size - length + 1))
        found[i, start : start + length] = np.resize(np.array(unit, np.uint8), length)
    return found


def window(codes: Codes, before: int, flank: int) -> Codes:
    """Return `flank` bases on both sides of the place with `before` bases in front of it.

    Bases beyond either end of `codes` are unknown.
    """
    found = np.full(2 * flank, UNKNOWN, np.uint8)
    start, stop = max(before - flank, 0), min(before + flank, len(codes))
    if stop > start:
        found[start - before + flank : stop - before + flank] = codes[start:stop]
    return found

r"""Position matrices on DNA: scores, exact P values, scanning, and shuffled sequence.

**Score.** A motif of L positions gives base b at position j the probability :math:`p_{jb}`; the
background gives it :math:`q_b` everywhere (order zero). The score of a word is

.. math:: S = \sum_j s_{jb_j}, \qquad
    s_{jb} = \mathrm{round}\bigl(\log_2(p_{jb}/q_b)/\varepsilon\bigr),

an integer in steps of :math:`\varepsilon` bits. A position without information (a spacer) has
score 0 for every base and may hold an unknown base; elsewhere an unknown base rules a word out.

**P value.** :math:`P(S \ge s)` for a random word of the background: the distribution of S is the
convolution of those of the L positions, each with four values, worked out exactly for the rounded
score (Staden, Comput Appl Biosci 1989;5:89; FIMO: Grant et al, Bioinformatics 2011;27:1017). With
the bases drawn by :math:`p_{jb}` instead of :math:`q_b` the same convolution is the distribution
among real sites, which gives the power of a threshold. A background whose A equals its T, and C its
G, makes P the same on both strands.

**Many placements.** With m placements in a window and least P value p, the window has
:math:`1-(1-p)^m` (Sidak, J Am Stat Assoc 1967;62:626), exact for independent placements and
conservative for those that share bases and so rise and fall together.

**Shuffled sequence.** An order-zero background is too simple for a genome. A shuffle that keeps
every count of neighbouring pairs is a random Eulerian path through the graph of bases (Altschul,
Erickson, Mol Biol Evol 1985;2:526). The rank of a statistic among its values in B shuffles is an
exact P value under any first-order background, never below :math:`1/(B+1)`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ballbook.inputs import Floats

Codes = NDArray[np.uint8]
Ints = NDArray[np.int32]

BASES = "ACGT"
UNKNOWN = 4
# Lower than any sum of scores, yet far from the end of the integers when added up.
RULED_OUT = -(10**7)

_CODE = np.full(256, UNKNOWN, np.uint8)
for _i, _pair in enumerate(("Aa", "Cc", "Gg", "Tt")):
    for _letter in _pair:
        _CODE[ord(_letter)] = _i
_COMPLEMENT = np.array([3, 2, 1, 0, UNKNOWN], np.uint8)


def encode(sequence: str | bytes) -> Codes:
    """Return A, C, G and T (in either case) as 0 to 3, and anything else as 4."""
    raw = sequence.encode("ascii", "replace") if isinstance(sequence, str) else sequence
    return _CODE[np.frombuffer(raw, np.uint8)]


def decode(codes: Codes) -> str:
    """Return codes as a sequence; 4 becomes N."""
    return np.frombuffer(b"ACGTN", "S1")[np.asarray(codes)].tobytes().decode()


def reverse_complement(codes: Codes) -> Codes:
    """Return the other strand, along the last axis."""
    return _COMPLEMENT[codes][..., ::-1]


def composition(codes: ArrayLike, *, pseudo: float = 0.0) -> Floats:
    """Return the frequencies of A, C, G, T on both strands together, from codes of any shape.

    `pseudo` is added to the count of every base, so that none is 0 in short sequence.

    Raises
    ------
    ValueError
        Where no base is known.
    """
    counts = np.bincount(np.asarray(codes, np.uint8).ravel(), minlength=5)[:4].astype(float)
    counts += pseudo
    if not counts.sum():
        raise ValueError("the sequence has no known base")
    both = counts + counts[::-1]
    return np.asarray(both / both.sum())


@dataclass(frozen=True, slots=True)
class Motif:
    """A matrix made ready for scanning.

    Attributes
    ----------
    probabilities : array, L x 4
        Rows sum to 1; a row equal to the background carries no information.
    background : array of 4
    scores : int array, L x 4
        Log odds in steps.
    step : float
        Bits of one step.
    lowest : int
        Least score that a word can have.
    tail : array
        ``tail[s - lowest]`` is P(S >= s) in the background.
    tail_of_sites : array
        The same for words drawn from the matrix.
    """

    probabilities: Floats
    background: Floats
    scores: Ints
    step: float
    lowest: int
    tail: Floats
    tail_of_sites: Floats

    @property
    def width(self) -> int:
        """Positions, spacers included."""
        return len(self.scores)

    @property
    def bits(self) -> float:
        """Mean score of a real site: the relative entropy of the matrix."""
        p = self.probabilities
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.where(p > 0, p * np.log2(p / self.background), 0.0).sum())

    def p_value(self, scores: ArrayLike) -> Floats:
        """Return P(S >= s) in the background for scores in steps; 1 for what is ruled out."""
        at = np.clip(np.asarray(scores, np.int64) - self.lowest, 0, len(self.tail) - 1)
        return self.tail[at]

    def threshold(self, p: float) -> int | None:
        """Return the least score whose P value is at most `p`, or None where none is so small."""
        at = int(np.argmax(self.tail <= p))
        return self.lowest + at if self.tail[at] <= p else None

    def power(self, p: float) -> float:
        """Return the share of sites drawn from the matrix whose P value is at most `p`."""
        found = self.threshold(p)
        return 0.0 if found is None else float(self.tail_of_sites[found - self.lowest])


def distribution(scores: ArrayLike, weights: ArrayLike) -> tuple[int, Floats]:
    """Return the least score and the probability of each score from there on.

    Parameters
    ----------
    scores : int array, L x 4
    weights : array, 4 or L x 4
        Probability of each base, the same at every position or by position.
    """
    table = np.asarray(scores, np.int64)
    each = np.broadcast_to(np.asarray(weights, float), table.shape)
    found = np.ones(1)
    for row, weight in zip(table, each, strict=True):
        part = np.zeros(row.max() - row.min() + 1)
        np.add.at(part, row - row.min(), weight)
        found = np.convolve(found, part)
    return int(table.min(axis=1).sum()), found


def _tail(probability: Floats) -> Floats:
    # Summed from the far end, so that small tails keep their digits.
    return np.minimum(np.cumsum(probability[::-1])[::-1], 1.0)


def motif(probabilities: ArrayLike, background: ArrayLike, *, step: float = 0.01) -> Motif:
    """Return a matrix with its scores and the exact distribution of their sum.

    Parameters
    ----------
    probabilities : array, L x 4
        Of A, C, G, T; rows are scaled to sum to 1.
    background : array of 4
    step : float
        Bits of one step of the score.

    Raises
    ------
    ValueError
        For another shape, a probability that is not above 0, or a step that is not above 0.
    """
    p, q = np.array(probabilities, float), np.array(background, float)
    if p.ndim != 2 or p.shape[1] != 4 or not len(p) or q.shape != (4,):
        raise ValueError("a matrix has one row a position and a column for A, C, G, T each")
    if not (np.isfinite(p).all() and np.isfinite(q).all() and (p > 0).all() and (q > 0).all()):
        raise ValueError("every probability should be above 0: a base never seen has no score")
    if not step > 0:
        raise ValueError("the step of the score should be above 0")
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum()
    scores = np.rint(np.log2(p / q) / step).astype(np.int32)
    lowest, null = distribution(scores, q)
    _, sites = distribution(scores, p)
    return Motif(p, q, scores, step, lowest, _tail(null), _tail(sites))


def scan(codes: Codes, scores: Ints) -> Ints:
    """Return the score of the word that starts at each position, along the last axis.

    Parameters
    ----------
    codes : uint8 array, ... x N
    scores : int array, L x 4

    Returns
    -------
    int array, ... x (N - L + 1)
        Far below any score (`RULED_OUT` and less) where an unknown base has to be scored; empty
        where the sequence is shorter than the motif.
    """
    n = max(codes.shape[-1] - len(scores) + 1, 0)
    found = np.zeros((*codes.shape[:-1], n), np.int32)
    if not n:
        return found
    for j, row in enumerate(scores):
        if row.any():
            found += np.append(row, RULED_OUT).astype(np.int32).take(codes[..., j : j + n])
    return found


def sidak(p: ArrayLike, placements: ArrayLike) -> Floats:
    """Return the P value of the least of many P values; 1 where there was no placement."""
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(np.asarray(placements) * np.log1p(-np.asarray(p, float))))


def dinucleotide_shuffle(codes: Codes, rng: np.random.Generator) -> Codes:
    """Return a random sequence with the same counts of neighbouring pairs, ends included.

    All sequences with those counts are equally likely. Unknown bases count as a fifth letter.
    """
    sequence = np.asarray(codes).tolist()
    if len(sequence) < 3:
        return np.array(sequence, np.uint8)
    after: dict[int, list[int]] = {}
    for a, b in itertools.pairwise(sequence):
        after.setdefault(a, []).append(b)
    end = sequence[-1]
    # A random spanning tree of last exits that leads to the end (Wilson's loop-erased walks on the
    # multigraph draw each tree with the weight that makes the paths equally likely).
    last: dict[int, int] = {}
    inside = {end}
    for start in after:
        at = start
        while at not in inside:
            last[at] = int(rng.integers(len(after[at])))
            at = after[at][last[at]]
        at = start
        while at not in inside:
            inside.add(at)
            at = after[at][last[at]]
    order = {}
    for base, exits in after.items():
        if base == end:
            order[base] = [exits[i] for i in rng.permutation(len(exits))]
            continue
        kept = exits[last[base]]
        others = exits[: last[base]] + exits[last[base] + 1 :]
        order[base] = [others[i] for i in rng.permutation(len(others))] + [kept]
    found, used = [sequence[0]], dict.fromkeys(order, 0)
    while len(found) < len(sequence):
        at = found[-1]
        found.append(order[at][used[at]])
        used[at] += 1
    return np.array(found, np.uint8)

r"""The subtype of a sample, called by the labelled samples that score like it.

Each sample is scored with 20 two-sided subtype gene sets (Beder et al., HemaSphere 2023;7:e939) by
singscore (`ballbook.genesets`), and its scores are scaled to 0..1 within the sample,

.. math:: v_s = \frac{y_s-\min y}{\max y-\min y} ,

so that it is compared with nobody else's. Its *k* nearest labelled samples by Euclidean distance
vote. A call is made when the first class gets at least a share of the votes *and* the nearest of
the voters is no farther than a training sample usually is from its own nearest; otherwise the
sample is **unassigned**: by votes, or because it is unlike all that the caller has seen. Samples
that the training set itself left unassigned vote like a class, for nothing.

The source averages such votes with support vector machines whose file could not be had; what is
here is the neighbours alone, with a limit on distance that the source does not have. It also leaves
out the nearest neighbour, which matters only to a sample that is in the training set.

Accuracy is by leaving one out: every labelled sample is called by the others. The gene sets were
chosen with these very samples, so accuracy elsewhere is lower than what is found here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ballbook.contingency import proportion
from ballbook.genesets import GeneSet, coverage, singscores
from ballbook.inputs import Floats, as_labels
from ballbook.maturity import tpm
from ballbook.neighbourhoods import nearest

UNASSIGNED = "unassigned"
# Of a set's genes, at least this share must be measured.
FEWEST_GENES = 0.7
# A training sample's distance to its nearest that only one in a hundred exceeds.
FARTHEST = 0.99


class NotScorable(ValueError):
    """The genes of the sets were not measured."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Labelled samples that vote, and when their vote counts.

    Parameters
    ----------
    scores : array, samples x sets
        Scaled scores of the training samples.
    labels : array of str
    k : int
        Voters.
    share : float
        Smallest share of votes for a call.
    limit : float
        Largest distance to the nearest voter.
    """

    scores: Floats
    labels: Any
    k: int
    share: float
    limit: float

    def call(self, scores: Any) -> pd.DataFrame:
        """Return ``call``, ``first`` (class with most votes), ``votes`` (share) and ``distance``.

        Parameters
        ----------
        scores : DataFrame or array, samples x sets
        """
        near, distance = nearest(self.scores, self.k, np.asarray(scores, dtype=float))
        index = scores.index if isinstance(scores, pd.DataFrame) else None
        return self._voted(near, distance, index)

    def leave_one_out(self) -> pd.DataFrame:
        """Return the same for the training samples, each called by the others."""
        return self._voted(*nearest(self.scores, self.k), None)

    def _voted(self, near: Any, distance: Floats, index: Any) -> pd.DataFrame:
        classes, code = np.unique(self.labels, return_inverse=True)
        voters = code[near]
        votes = np.stack([(voters == c).sum(axis=1) for c in range(len(classes))], axis=1)
        # Of classes with as many votes the one whose nearest voter is nearer.
        tied = votes == votes.max(axis=1, keepdims=True)
        first = [next(c for c in row if ok[c]) for row, ok in zip(voters, tied, strict=True)]
        won = classes[np.array(first)]
        share = votes.max(axis=1) / self.k
        sure = (share >= self.share) & (distance[:, 0] <= self.limit)
        return pd.DataFrame(
            {
                "call": np.where(sure, won, UNASSIGNED),
                "first": won,
                "votes": share,
                "distance": distance[:, 0],
            },
            index=index,
        )


def caller(scores: Any, labels: Any, *, k: int = 10, share: float = 0.5) -> Caller:
    """Return a caller whose limit on distance is the 99th percentile of the training samples'.

    Raises
    ------
    ValueError
        For a share outside 0 to 1, missing scores, or `k` too large.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share: expected above 0 and at most 1, got {share:g}")
    x = np.asarray(scores, dtype=float)
    y = as_labels(labels, "labels", len(x)).astype(str)
    _, distance = nearest(x, k)
    return Caller(x, y, k, share, float(np.quantile(distance[:, 0], FARTHEST)))


def scaled_scores(
    expression: pd.DataFrame,
    kind: str,
    sets: Mapping[str, GeneSet],
    background: tuple[str, ...],
    length: pd.Series,
) -> pd.DataFrame:
    """Return subtype scores, samples x sets, scaled to 0..1 within each sample.

    Parameters
    ----------
    expression : DataFrame, genes (symbols) x samples
    kind : {"counts", "tpm", "log2", "logcpm"}
        Counts become transcripts per million, since genes are ranked within the sample; others are
        taken as they are.
    sets, background, length
        As ALLCatchR ships them (`ballbook.datasets.subtypes`).

    Raises
    ------
    NotScorable
        If fewer than `FEWEST_GENES` of the genes of the sets were measured.
    """
    have = gene_coverage(expression.index, sets)
    if have < FEWEST_GENES:
        raise NotScorable(f"{100 * have:.0f}% of the genes of the sets were measured")
    table = tpm(expression, length) if kind == "counts" else expression
    return ranked_scores(table, sets, background)


def ranked_scores(
    expression: pd.DataFrame, sets: Mapping[str, GeneSet], background: tuple[str, ...]
) -> pd.DataFrame:
    """Return the same without asking whether enough genes were measured or what they are in.

    It shows what would come out if nobody asked; a call needs `scaled_scores`.
    """
    raw = singscores(expression[expression.index.isin(set(background))], sets)[list(sets)]
    low, high = raw.min(axis=1), raw.max(axis=1)
    return raw.sub(low, axis=0).div((high - low).replace(0, np.nan), axis=0).fillna(0.0)


def gene_coverage(genes: Any, sets: Mapping[str, GeneSet]) -> float:
    """Return the share of the genes of all sets that are among `genes`."""
    found = coverage(map(str, genes), sets)
    present = found[["up_present", "down_present"]].to_numpy().sum()
    return float(present / found[["up", "down"]].to_numpy().sum())


def accuracy(calls: pd.DataFrame, labels: Any) -> pd.DataFrame:
    """Return how often each labelled class is called, and called rightly.

    Parameters
    ----------
    calls : DataFrame
        As `Caller.call` returns.
    labels : array_like of str
        True classes, none of them unassigned.

    Returns
    -------
    DataFrame
        One row a class: ``label``, ``n``, ``called``, ``right``, ``recall`` (right of all, with
        ``ci_low`` and ``ci_high``, Clopper-Pearson), ``precision`` (right of all called so) and
        ``taken_for``, the commonest wrong call.
    """
    truth = as_labels(labels, "labels", len(calls)).astype(str)
    call = calls["call"].to_numpy().astype(str)
    rows = []
    for label in sorted(set(truth)):
        of = truth == label
        right = int((of & (call == label)).sum())
        so = int((call == label).sum())
        wrong = pd.Series(call[of & (call != label) & (call != UNASSIGNED)]).value_counts()
        recall = proportion(right, int(of.sum()))
        rows.append(
            {"label": label, "n": int(of.sum()), "called": int((call[of] != UNASSIGNED).sum()),
             "right": right, "recall": recall.value, "ci_low": recall.ci_low,
             "ci_high": recall.ci_high, "precision": right / so if so else np.nan,
             "taken_for": wrong.index[0] if len(wrong) else ""}
        )  # fmt: skip
    return pd.DataFrame(rows)

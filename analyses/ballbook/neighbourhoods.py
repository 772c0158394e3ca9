r"""Which kinds of samples lie together, asked of the data and not of a picture.

A map of many samples in two dimensions shows neighbours, and may show wrong ones: distances
between groups, sizes of groups and empty space between them mean nothing in t-SNE or UMAP. What a
map is said to show is tested here on the distances it was drawn from.

*Neighbour enrichment.* Of a focal class *A* with :math:`n_A` samples, take for each sample *i* its
*k* nearest neighbours :math:`N_k(i)` **outside A**, so that how closely *A* keeps to itself plays
no part. With :math:`n_B` samples of a class *B* among the *N* of all,

.. math:: R = \frac{1}{n_A}\sum_{i\in A} \frac{|N_k(i)\cap B|}{k} \bigg/ \frac{n_B}{N-n_A} .

The denominator is the exact mean of the numerator when labels outside *A* are permuted; the P value
is the share of permutations that reach the observed sum, :math:`(1+\#)/(1+m)` (Phipson and Smyth,
Stat Appl Genet Mol Biol 2010;9:39). Within strata (batches), labels are permuted within each, and
the denominator is the mean of each stratum at the neighbours drawn from it. The interval is the
percentile bootstrap over *A* and over the others, each sample counting as often as it was drawn:
neighbours are taken, nearest first, until *k* are counted. The idea is that of Schilling, J Am Stat
Assoc 1986;81:799, whose own statistic is the

*cohesion* of a class: the share of *A* among the *k* nearest of **all** others, over
:math:`(n_A-1)/(N-1)`, its mean under exchangeable labels.

*Distance of centroids.* A class of few samples has a centroid far from its mean by chance. The
squared distance less what this adds is unbiased,

.. math:: d^2_{AB} = \lVert\bar x_A-\bar x_B\rVert^2
          - \frac{\operatorname{tr} S_A}{n_A} - \frac{\operatorname{tr} S_B}{n_B} ,

with covariances :math:`S`.

*Silhouette.* With :math:`a_i` the mean distance of a sample to its own class and :math:`b_i` that
to the nearest other class, :math:`s_i=(b_i-a_i)/\max(a_i,b_i)`; above 0 a sample lies nearer to its
own kind (Rousseeuw, J Comput Appl Math 1987;20:53). The interval is the percentile bootstrap within
classes; copies of a sample drawn more than once are no neighbours of it.

*Trustworthiness* of a map (Venna and Kaski, ICANN 2001, p. 485): 1 less what strangers among the
*k* neighbours in the map weigh, each by how far down it ranks in the data,

.. math:: T = 1-\frac{2}{Nk(2N-3k-1)}\sum_i\sum_{j\in U_k(i)}\big(r(i,j)-k\big) .

Exchanged, map for data, it is the continuity: whether neighbours in the data were torn apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from ballbook.inputs import Floats, as_labels
from ballbook.multiplicity import holm
from ballbook.results import Estimate, not_estimable

Indices = NDArray[np.int64]


def nearest(reference: ArrayLike, k: int, query: ArrayLike | None = None) -> tuple[Indices, Floats]:
    """Return the `k` nearest rows of `reference` to each row, and their Euclidean distances.

    Parameters
    ----------
    reference : array_like of float, samples x variables
    k : int
    query : array_like of float, optional
        Rows to look for; `reference` itself when not given, no row being its own neighbour.

    Returns
    -------
    tuple of arrays, rows x k
        Nearest first; of equal distances the row that comes first.

    Raises
    ------
    ValueError
        For missing values, unequal numbers of variables, or `k` not between 1 and the number of
        rows that can be neighbours.
    """
    x = _table(reference, "reference")
    q = x if query is None else _table(query, "query")
    if q.shape[1] != x.shape[1]:
        raise ValueError(f"query has {q.shape[1]} variables, reference {x.shape[1]}")
    distance = cdist(q, x)
    if query is None:
        np.fill_diagonal(distance, np.inf)
    _check_k(k, len(x) - (query is None))
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distance, order, axis=1)


def neighbour_enrichment(
    data: ArrayLike,
    labels: Any,
    focal: str,
    partner: str,
    *,
    k: int = 10,
    strata: Any = None,
    permutations: int = 2000,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Return how many times more often than by chance `partner` lies next to `focal`.

    Parameters
    ----------
    data : array_like of float, samples x variables
    labels : array_like of length samples
    focal, partner : str
        Two different classes.
    k : int
        Neighbours outside `focal` that are looked at.
    strata : array_like, optional
        Batch of each sample; labels are exchanged within batches only.
    permutations, resamples : int
        For the P value (one-sided) and the percentile interval.
    seed : int

    Returns
    -------
    Estimate
        Kind ``risk-ratio``: observed over expected share of neighbours; ``n`` counts focal samples.

    Raises
    ------
    ValueError
        If the classes are the same, or `k` is larger than the number of samples outside `focal`.
    """
    x = _table(data, "data")
    y = as_labels(labels, "labels", len(x)).astype(str)
    if focal == partner:
        raise ValueError(f"focal and partner are both {focal!r}")
    a, rest = np.flatnonzero(y == focal), np.flatnonzero(y != focal)
    of = y[rest] == partner
    if len(a) < 2 or not of.any():
        few = f"{len(a)} samples of {focal}, {int(of.sum())} of {partner}"
        return not_estimable("risk-ratio", few, n=len(a))
    _check_k(k, len(rest))
    order, _ = nearest(x[rest], min(3 * k + 10, len(rest)), x[a])
    batch = _codes(strata, len(x))[rest]
    every = np.ones(len(rest))

    def share(drawn: Floats, of: Any) -> tuple[Floats, Floats]:
        usual = _usual(of, batch, drawn)
        return _counted(order, drawn, k, np.stack([of, usual]))

    seen, expected = share(every, of)
    if not expected.sum():
        return not_estimable("risk-ratio", "no partner in the batches of the neighbours", n=len(a))
    rng = np.random.default_rng(seed)
    weight = np.bincount(order[:, :k].ravel(), minlength=len(rest))
    reached = sum(weight @ _shuffled(of, batch, rng) >= weight @ of for _ in range(permutations))
    ratios = []
    for _ in range(resamples):
        who = _drawn(len(a), rng)
        top, bottom = (who @ part for part in share(_drawn(len(rest), rng), of))
        if bottom > 0:
            ratios.append(top / bottom)
    low, high = np.quantile(ratios, [0.025, 0.975]) if ratios else (None, None)
    return Estimate(
        "risk-ratio", float(seen.sum() / expected.sum()), low, high,
        p_value=float((1 + reached) / (1 + permutations)), n=len(a),
        method=(
            f"share of {partner} among the {k} nearest neighbours outside {focal}, over its share "
            f"of all; one-sided permutation test ({permutations:,}"
            + ("" if strata is None else " within batches")
            + "), percentile bootstrap interval"
        ),
    )  # fmt: skip


def cohesion(
    data: ArrayLike,
    labels: Any,
    of: str,
    *,
    k: int = 10,
    strata: Any = None,
    permutations: int = 2000,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Return how many times more often than by chance a class lies next to itself.

    Parameters and result are those of `neighbour_enrichment`.

    Raises
    ------
    ValueError
        If there are not more samples than `k`.
    """
    x = _table(data, "data")
    y = as_labels(labels, "labels", len(x)).astype(str)
    own = y == of
    a = np.flatnonzero(own)
    if len(a) < 2 or own.all():
        return not_estimable("risk-ratio", f"{len(a)} samples of {of}", n=len(a))
    _check_k(k, len(x) - 1)
    order, _ = nearest(x, min(3 * k + 10, len(x) - 1))
    batch = _codes(strata, len(x))
    rng = np.random.default_rng(seed)

    def expected(own: Any) -> Floats:
        """Return for each focal sample the share of its class among the others, by batch."""
        a = np.flatnonzero(own)
        size, members = np.bincount(batch), np.bincount(batch, own)
        same = batch[a][:, None] == batch[order[a, :k]]
        there = batch[order[a, :k]]
        # A sample leaves one fewer of its class and of all in its own batch.
        return np.asarray(((members[there] - same) / (size[there] - same).clip(1)).mean(axis=1))

    seen, usual = own[order[a, :k]].mean(axis=1), expected(own)
    reached = 0
    for _ in range(permutations):
        other = _shuffled(own, batch, rng)
        reached += int(other[order[other, :k]].sum() >= own[order[a, :k]].sum())
    ratios = []
    for _ in range(resamples):
        drawn = np.zeros(len(x))
        for part in (a, np.flatnonzero(~own)):
            drawn[part] = _drawn(len(part), rng)
        top = drawn[a] @ _counted(order[a], drawn, k, own[None])[0]
        ratios.append(top / (drawn[a] @ usual))
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Estimate(
        "risk-ratio", float(seen.sum() / usual.sum()), float(low), float(high),
        p_value=float((1 + reached) / (1 + permutations)), n=len(a),
        method=(
            f"share of {of} among the {k} nearest neighbours of its samples, over its share of the "
            f"others; one-sided permutation test ({permutations:,}"
            + ("" if strata is None else " within batches")
            + "), percentile bootstrap interval"
        ),
    )  # fmt: skip


def _codes(strata: Any, n: int) -> Indices:
    if strata is None:
        return np.zeros(n, dtype=np.int64)
    return np.unique(as_labels(strata, "strata", n).astype(str), return_inverse=True)[1]


def _drawn(n: int, rng: np.random.Generator) -> Floats:
    """Return how often each of `n` is drawn in `n` draws."""
    return np.bincount(rng.integers(n, size=n), minlength=n).astype(float)


def _usual(of: Any, batch: Indices, drawn: Floats) -> Floats:
    """Return for each sample the share of `of` in its batch, samples counting as drawn."""
    size = np.bincount(batch, drawn)
    members = np.bincount(batch, drawn * of)
    return np.asarray(np.divide(members, size, where=size > 0, out=np.zeros(len(size)))[batch])


def _counted(order: Indices, drawn: Floats, k: int, of: Any) -> Any:
    """Return the mean of each row of `of` over the `k` nearest, samples counting as drawn."""
    upto = np.minimum(np.cumsum(drawn[order], axis=1), k)
    taken = np.diff(upto, axis=1, prepend=0.0)
    total = upto[:, -1].clip(1e-12)
    return [(taken * row[order]).sum(axis=1) / total for row in np.asarray(of, dtype=float)]


def _shuffled(of: NDArray[np.bool_], batch: Indices, rng: np.random.Generator) -> Any:
    """Return `of` permuted within each batch."""
    out = np.empty_like(of)
    for b in np.unique(batch):
        here = np.flatnonzero(batch == b)
        out[here] = of[rng.permutation(here)]
    return out


def around(
    data: ArrayLike,
    labels: Any,
    focal: str,
    *,
    k: int = 10,
    fewest: int = 2,
    permutations: int = 2000,
    resamples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how close every other class lies to `focal`, nearest centroid first.

    Parameters
    ----------
    fewest : int
        Classes with fewer samples are left out of the table, not of the neighbours.
    others
        As for `neighbour_enrichment`.

    Returns
    -------
    DataFrame
        ``label``, ``n``, ``enrichment``, ``p`` (one-sided, by permutation), ``p_holm``,
        ``distance`` (of centroids, in units of the spread of `focal` around its own; bias removed,
        0 where that leaves nothing) and ``nearest``, the share of resamples, drawn within each
        class, in which this centroid was the nearest.
    """
    x = _table(data, "data")
    y = as_labels(labels, "labels", len(x)).astype(str)
    sizes = pd.Series(y).value_counts()
    others = [c for c in sorted(sizes.index) if c != focal and sizes[c] >= max(fewest, 2)]
    own = x[y == focal]
    spread = float(np.sqrt(own.var(axis=0, ddof=1).sum()))
    rows = []
    for other in others:
        e = neighbour_enrichment(
            x, y, focal, other, k=k, permutations=permutations, resamples=1, seed=seed
        )
        d2 = centroid_distance2(own, x[y == other])
        rows.append(
            {"label": other, "n": int(sizes[other]), "enrichment": e.value, "p": e.p_value,
             "distance": max(d2, 0.0) ** 0.5 / spread}
        )  # fmt: skip
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"])
    table["nearest"] = _nearest_centroid(x, y, focal, others, resamples, seed)
    return table.sort_values(["distance", "label"], ignore_index=True)


def centroid_distance2(a: ArrayLike, b: ArrayLike) -> float:
    """Return the squared distance of two class means without the part that chance adds.

    It may be negative where the means cannot be told apart.

    Raises
    ------
    ValueError
        For classes of fewer than two samples.
    """
    first, second = _table(a, "a"), _table(b, "b")
    if min(len(first), len(second)) < 2:
        raise ValueError("each class needs at least 2 samples")
    gap = first.mean(axis=0) - second.mean(axis=0)
    noise = sum(part.var(axis=0, ddof=1).sum() / len(part) for part in (first, second))
    return float(gap @ gap - noise)


def _nearest_centroid(
    x: Floats, y: NDArray[Any], focal: str, others: Sequence[str], resamples: int, seed: int
) -> Floats:
    """Return for each class the share of resamples in which its centroid is the nearest.

    A resample of *n* makes the variance of a mean ``(n - 1) / n`` times its estimate once more, so
    twice that is taken off the squared distance.
    """
    rng = np.random.default_rng(seed)
    classes = [focal, *others]

    def means(c: str) -> Floats:
        part = x[y == c]
        weights = rng.multinomial(len(part), np.full(len(part), 1 / len(part)), resamples)
        return np.asarray(weights @ part / len(part))

    centre = {c: means(c) for c in classes}
    noise = {c: x[y == c].var(axis=0, ddof=1).sum() / (y == c).sum() for c in classes}
    gaps = np.column_stack(
        [((centre[focal] - centre[c]) ** 2).sum(axis=1) - 2 * noise[c] for c in others]
    )
    first = np.argmin(gaps, axis=1)
    return np.bincount(first, minlength=len(others)) / resamples


def class_silhouette(
    data: ArrayLike, labels: Any, of: str, *, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Return the mean silhouette of one class, with a bootstrap interval.

    Parameters
    ----------
    data : array_like of float, samples x variables
    labels : array_like
        At least two classes.
    of : str
        The class, of at least two samples.
    resamples : int
        Draws within each class; 0 for no interval.

    Returns
    -------
    Estimate
        Kind ``difference``: -1 to 1, above 0 where samples lie nearer to their own class than to
        the nearest other.
    """
    x = _table(data, "data")
    y = as_labels(labels, "labels", len(x)).astype(str)
    own = np.flatnonzero(y == of)
    if len(own) < 2 or len(own) == len(x):
        return not_estimable("difference", f"{len(own)} samples of {of}", n=len(own))
    rng = np.random.default_rng(seed)
    distance = cdist(x[own], x)
    every = np.ones((len(own), 1 + resamples))
    nearest_other = np.full((len(own), 1 + resamples), np.inf)
    for c in np.unique(y):
        members = np.flatnonzero(y == c)
        draws = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
        weight: Floats = np.vstack([np.ones(len(members)), draws]).T
        if c == of:
            every = weight
            others = (len(own) - weight).clip(1e-12)
            within = distance[:, own] @ weight / others
        else:
            nearest_other = np.minimum(nearest_other, distance[:, members] @ weight / len(members))
    width = np.maximum(within, nearest_other)
    gap = nearest_other - within
    values = np.divide(gap, width, where=width > 0, out=np.zeros_like(gap))
    means = (values * every).sum(axis=0) / len(own)
    low, high = np.quantile(means[1:], [0.025, 0.975]) if resamples else (None, None)
    return Estimate(
        "difference", float(means[0]), None if low is None else float(low),
        None if high is None else float(high), n=len(own),
        method="mean silhouette width, Euclidean; percentile bootstrap interval within classes",
    )  # fmt: skip


def trustworthiness(data: ArrayLike, embedding: ArrayLike, *, k: int = 15) -> float:
    """Return the trustworthiness of a map, 0 to 1; with the arguments exchanged, its continuity.

    Raises
    ------
    ValueError
        Where `k` is not below half the number of samples.
    """
    from sklearn.manifold import trustworthiness as trust

    return float(trust(_table(data, "data"), _table(embedding, "embedding"), n_neighbors=k))


def neighbours_kept(data: ArrayLike, embedding: ArrayLike, *, k: int = 15) -> float:
    """Return the mean share of a sample's `k` nearest neighbours that a map keeps near it."""
    there, here = nearest(data, k)[0], nearest(embedding, k)[0]
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(there, here, strict=True)]))


def _table(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values, dtype=float)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{name}: expected samples x variables, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers")
    return array


def _check_k(k: int, most: int) -> None:
    if not 1 <= k <= most:
        raise ValueError(f"k: expected 1 to {most}, got {k}")

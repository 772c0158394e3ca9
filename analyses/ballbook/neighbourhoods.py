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
the denominator is the mean of each stratum at the neighbours drawn from it. The interval resamples
the focal samples: it says how far the ratio hangs on who was sampled of *A*, not of *B*.
The idea is that of Schilling, J Am Stat Assoc 1986;81:799.

*Distance of centroids.* A class of few samples has a centroid far from its mean by chance. The
squared distance less what this adds is unbiased,

.. math:: d^2_{AB} = \lVert\bar x_A-\bar x_B\rVert^2
          - \frac{\operatorname{tr} S_A}{n_A} - \frac{\operatorname{tr} S_B}{n_B} ,

with covariances :math:`S`.

*Silhouette.* With :math:`a_i` the mean distance of a sample to its own class and :math:`b_i` that
to the nearest other class, :math:`s_i=(b_i-a_i)/\max(a_i,b_i)`; above 0 a sample lies nearer to its
own kind (Rousseeuw, J Comput Appl Math 1987;20:53).

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
        Kind ``risk-ratio``: observed over expected share of neighbours; ``n`` counts focal samples,
        ``n_events`` those of the partner.

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
        return not_estimable("risk-ratio", few, n=len(a), n_events=int(of.sum()))
    _check_k(k, len(rest))
    near, _ = nearest(x[rest], k, x[a])
    batch = np.zeros(len(rest), int)
    if strata is not None:
        batch = np.unique(as_labels(strata, "strata", len(x)).astype(str), return_inverse=True)[1]
        batch = batch[rest]
    usual = (np.bincount(batch, of) / np.bincount(batch).clip(1))[batch]
    seen, expected = of[near].mean(axis=1), usual[near].mean(axis=1)
    if not expected.sum():
        return not_estimable("risk-ratio", "no partner in the batches of the neighbours", n=len(a))
    rng = np.random.default_rng(seed)
    weight = np.bincount(near.ravel(), minlength=len(rest))
    reached = sum(weight @ _shuffled(of, batch, rng) >= weight @ of for _ in range(permutations))
    drawn = rng.integers(len(a), size=(resamples, len(a)))
    over = expected[drawn].sum(axis=1)
    ratios = seen[drawn].sum(axis=1)[over > 0] / over[over > 0]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Estimate(
        "risk-ratio", float(seen.sum() / expected.sum()), float(low), float(high),
        p_value=float((1 + reached) / (1 + permutations)), n=len(a), n_events=int(of.sum()),
        method=(
            f"share of {partner} among the {k} nearest neighbours outside {focal}, over its share "
            f"of all; one-sided permutation test ({permutations:,}"
            + ("" if strata is None else " within batches")
            + "), percentile interval over focal samples"
        ),
    )  # fmt: skip


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
    """Return the mean silhouette of one class, with a percentile interval over its samples.

    Parameters
    ----------
    data : array_like of float, samples x variables
    labels : array_like
        At least two classes; of a class of one sample the silhouette is 0.
    of : str
        The class.

    Returns
    -------
    Estimate
        Kind ``difference``: -1 to 1, above 0 where samples lie nearer to their own class than to
        the nearest other.
    """
    from sklearn.metrics import silhouette_samples

    x = _table(data, "data")
    y = as_labels(labels, "labels", len(x)).astype(str)
    own = y == of
    if own.sum() < 2 or own.all():
        return not_estimable("difference", f"{int(own.sum())} samples of {of}", n=int(own.sum()))
    values = silhouette_samples(x, y)[own]
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(resamples, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(
        "difference", float(values.mean()), float(low), float(high), n=len(values),
        method="mean silhouette width, Euclidean; percentile interval over samples of the class",
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

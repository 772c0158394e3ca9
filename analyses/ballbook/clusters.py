r"""Clusters of samples, and whether they would be found again.

Any number of clusters can be cut from any data. What speaks for clusters is that other patients of
the same kind fall into the same ones. Here samples are drawn with replacement, the distinct ones
clustered again, and compared with the clusters of all samples by

* the adjusted Rand index over pairs of samples, :math:`\frac{R-E(R)}{\max R-E(R)}`: 1 for the same
  clusters, 0 for what chance gives (Hubert and Arabie, J Classif 1985;2:193);
* the Jaccard similarity of each cluster with its best match; below 0.6 a cluster is not to be
  trusted, above 0.75 it is stable (Hennig, Comput Stat Data Anal 2007;52:258).

Both are also computed on data whose columns are shuffled independently. They keep the values of
each variable and lose what goes together: stability that such data reach comes from single
variables of two humps, such as a drug that kills or does not, and is no evidence of kinds of
patients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from ballbook.inputs import Floats, as_labels, same_length
from ballbook.results import Estimate

Labels = NDArray[np.int64]
Distance = Literal["euclidean", "cityblock"]


@dataclass(frozen=True, slots=True)
class Stability:
    """How well clusters are found again in resamples.

    Attributes
    ----------
    labels : array of int
        Clusters of all samples, 1 to k.
    agreement, by_chance : Estimate
        Mean adjusted Rand index over resamples with its middle 95%: of the data, and of the data
        with shuffled columns.
    jaccard : array of float
        Mean Jaccard similarity of each cluster, in the order of the labels.
    """

    labels: Labels
    agreement: Estimate
    by_chance: Estimate
    jaccard: Floats


def ward(data: ArrayLike, k: int, *, distance: Distance = "euclidean") -> Labels:
    """Return `k` clusters, labelled from 1, by Ward's method.

    Parameters
    ----------
    data : array_like of float, samples x variables
    distance : {"euclidean", "cityblock"}
        Ward's criterion is about squared Euclidean distances; with others it is only a rule of
        joining.

    Raises
    ------
    ValueError
        For missing values, or `k` not between 2 and the number of samples.

    Notes
    -----
    R: ``cutree(hclust(dist(data), "ward.D2"), k)``, labels in another order.
    """
    x = _table(data)
    if not 2 <= k <= len(x):
        raise ValueError(f"k: expected 2 to {len(x)}, got {k}")
    tree = linkage(pdist(x, distance), method="ward")
    return np.asarray(fcluster(tree, k, criterion="maxclust"), dtype=np.int64)


def adjusted_rand(a: Any, b: Any) -> float:
    """Return the adjusted Rand index of two sets of labels.

    Raises
    ------
    ValueError
        For missing labels or unequal lengths.
    """
    from sklearn.metrics import adjusted_rand_score

    n = same_length(a=a, b=b)
    return float(adjusted_rand_score(as_labels(a, "a", n), as_labels(b, "b", n)))


def stability(
    data: ArrayLike,
    k: int,
    *,
    n_boot: int,
    seed: int,
    method: Callable[[Floats, int], Labels] = ward,
) -> Stability:
    """Return the clusters of `data` and how well resamples find them again.

    Parameters
    ----------
    data : array_like of float, samples x variables
    k : int
    n_boot : int
        Resamples, of the data and of shuffled data each.

    Raises
    ------
    ValueError
        As `ward`, or for fewer than two resamples.
    """
    x = _table(data)
    if n_boot < 2:
        raise ValueError(f"n_boot: expected 2 or more, got {n_boot}")
    rng = np.random.default_rng(seed)
    labels = method(x, k)
    found, jaccard = _resampled(x, k, labels, n_boot, rng, method)
    shuffled = np.column_stack([rng.permutation(column) for column in x.T])
    chance, _ = _resampled(shuffled, k, method(shuffled, k), n_boot, rng, method)
    return Stability(
        labels, _summary(found, len(x), "resamples"),
        _summary(chance, len(x), "resamples of shuffled data"), jaccard,
    )  # fmt: skip


def agreement(labels: Sequence[Any], n: int) -> Estimate:
    """Return the mean adjusted Rand index over all pairs of clusterings of the same samples.

    Raises
    ------
    ValueError
        For fewer than two clusterings.
    """
    if len(labels) < 2:
        raise ValueError("labels: expected two clusterings or more")
    pairs = [
        adjusted_rand(labels[i], labels[j]) for i in range(len(labels)) for j in range(i)
    ]  # fmt: skip
    return _summary(np.array(pairs), n, f"pairs of {len(labels)} clusterings")


# ---------------------------------------------------------------------------- inner workings


def _table(data: ArrayLike) -> Floats:
    x = np.asarray(data, dtype=float)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ValueError("data: expected samples by variables without missing values")
    return x


def _resampled(
    x: Floats, k: int, labels: Labels, n_boot: int, rng: np.random.Generator, method: Any
) -> tuple[Floats, Floats]:
    index, names = [], np.unique(labels)
    likeness = np.full((n_boot, len(names)), np.nan)
    for b in range(n_boot):
        # A sample drawn twice would be a cluster of its own.
        rows = np.unique(rng.integers(0, len(x), len(x)))
        again = method(x[rows], min(k, len(rows)))
        kept = labels[rows]
        index.append(adjusted_rand(kept, again))
        for i, name in enumerate(names):
            member = kept == name
            if member.any():
                shares = [
                    (member & (again == other)).sum() / (member | (again == other)).sum()
                    for other in np.unique(again)
                ]
                likeness[b, i] = max(shares)
    return np.array(index), np.nanmean(likeness, axis=0)


def _summary(values: Floats, n: int, of: str) -> Estimate:
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(
        "mean", float(values.mean()), float(low), float(high), 0.95, n=n,
        method=f"adjusted Rand index, mean and middle 95% over {len(values)} {of}",
    )  # fmt: skip

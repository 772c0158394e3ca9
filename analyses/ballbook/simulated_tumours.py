r"""Tumours with a known family tree, and how much of it an analysis found again.

Clone 0 is the first; each further clone descends from one of those before it, drawn at random. In
sample :math:`j` the cells that belong to a clone and to none of its descendants are a share
:math:`w_{vj}` of the leukaemic cells, where each clone is there with probability `present` (one
at least is) and the shares of those present are drawn evenly (Dirichlet, all parameters 1). The
cell fraction of a clone is the sum over itself and its descendants. Sites fall to clones with
Dirichlet shares (parameters 2, at least `fewest` sites each). Depth is Poisson; reads are
beta-binomial with the correlation given. Some sites lie on one, three or four copies; where there
are more than two, one or several copies carry the variant. The purity told differs from the true
one by a normal error. Inherited sites have allele fraction a half in all samples; artefacts have
one between 1 and 6%, the same in all samples. Nothing is screened: clones that hardly differ, or
that are seen in no sample, stay. A clone without cells of its own in any sample and with a single
child has the fractions of that child; no reads can tell the two, and `Accuracy.rand_distinct`
counts them as one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ballbook.clone_mixture import expected_share
from ballbook.clone_trees import CloneTrees
from ballbook.inputs import Floats

GERMLINE, ARTEFACT = -1, -2


@dataclass(frozen=True)
class SimulatedTumour:
    """Reads with their truth.

    Attributes
    ----------
    alt, depth, copy_number : array of int, sites by samples
    purity, true_purity : array of float, one a sample
        As told to the analysis, and as it was.
    clone : array of int, one a site
        -1 inherited, -2 artefact.
    parents : array of int, one a clone
        -1 for the first.
    fraction : array of float, clones by samples
        Of the leukaemic cells, descendants included.
    """

    alt: NDArray[np.int64]
    depth: NDArray[np.int64]
    copy_number: NDArray[np.int64]
    purity: Floats
    true_purity: Floats
    clone: NDArray[np.int64]
    parents: NDArray[np.int64]
    fraction: Floats

    def ancestor(self, u: int, v: int) -> bool:
        """Tell whether clone u is an ancestor of v."""
        at = int(self.parents[v])
        while at >= 0 and at != u:
            at = int(self.parents[at])
        return at == u


def simulate_tumour(
    seed: int,
    *,
    clones: int = 6,
    samples: int = 5,
    sites: int = 800,
    depth: float = 100.0,
    rho: float = 0.0,
    error: float = 1e-3,
    altered: float = 0.2,
    present: float = 0.6,
    germline: int = 200,
    artefacts: int = 40,
    fewest: int = 20,
    purity_error: float = 0.02,
) -> SimulatedTumour:
    """Draw a tumour.

    Parameters
    ----------
    sites, germline, artefacts : int
        Somatic and inherited sites, and artefacts.
    depth : float
        Mean reads a site and sample.
    rho : float
        Correlation of reads, 0 for none.
    altered : float
        Share of the somatic sites whose copy number is not two.
    present : float
        Probability that a clone has cells of its own in a sample.

    Raises
    ------
    ValueError
        If there are fewer somatic sites than the clones must have.
    """
    if clones < 1 or samples < 1 or sites < clones * fewest:
        raise ValueError(f"expected at least {fewest} sites for each of {clones} clones")
    rng = np.random.default_rng(seed)
    parents = np.array([-1, *(int(rng.integers(v)) for v in range(1, clones))])
    own = np.zeros((clones, samples))
    for j in range(samples):
        there = rng.random(clones) < present
        if not there.any():
            there[rng.integers(clones)] = True
        own[there, j] = rng.dirichlet(np.ones(int(there.sum())))
    fraction = own.copy()
    for v in range(clones - 1, 0, -1):
        fraction[parents[v]] += fraction[v]
    fraction = np.clip(fraction, 0, 1)
    spare = rng.multinomial(sites - clones * fewest, rng.dirichlet(np.full(clones, 2.0)))
    clone = np.concatenate(
        [
            np.repeat(np.arange(clones), spare + fewest),
            np.full(germline, GERMLINE),
            np.full(artefacts, ARTEFACT),
        ]
    )
    total = len(clone)
    purity = rng.uniform(0.5, 0.95, samples)
    copies = np.full(total, 2)
    changed = (clone >= 0) & (rng.random(total) < altered)
    copies[changed] = rng.choice([1, 3, 4], int(changed.sum()))
    carrying = 1 + np.floor(rng.random(total) * np.maximum(copies - 1, 1)).astype(int)
    mean = np.empty((total, samples))
    somatic = clone >= 0
    mean[somatic] = expected_share(
        fraction[clone[somatic]], copy_number=copies[somatic, None], purity=purity,
        multiplicity=carrying[somatic, None], error=error,
    )  # fmt: skip
    mean[clone == GERMLINE] = 0.5
    mean[clone == ARTEFACT] = rng.uniform(0.01, 0.06, (artefacts, 1))
    if rho > 0:
        strength = 1 / rho - 1
        mean = rng.beta(mean * strength, (1 - mean) * strength)
    reads = rng.poisson(depth, (total, samples))
    told = np.clip(purity + rng.normal(0, purity_error, samples), 0.05, 1)
    return SimulatedTumour(
        rng.binomial(reads, mean), reads, np.repeat(copies[:, None], samples, axis=1), told,
        purity, clone, parents, fraction,
    )  # fmt: skip


@dataclass(frozen=True)
class Accuracy:
    """How much of the truth was found.

    Attributes
    ----------
    rand : float
        Adjusted Rand index of the clusters over the somatic sites that were clustered (Hubert and
        Arabie, J Classif 1985;2:193); 1 is perfect, 0 chance.
    rand_distinct : float
        The same where clones of equal fractions in all samples count as one.
    clones, found : int
        True clones, and clusters.
    error : float
        Mean absolute error of the cell fractions of matched clusters.
    matched : tuple of int
        For each cluster its true clone, -1 for none: a clone is matched to the cluster with most of
        its sites, and a cluster claimed by several to the one with most sites in it.
    relations, right : int
        Ancestor relations that hold in every tree, and how many of these are true, among matched
        clusters.
    possible : int
        True ancestor relations among matched clusters.
    kept_true : bool or None
        Whether the true tree of the matched clusters is among those that fit; None if some
        cluster is matched to no clone, or the search was not complete.
    """

    rand: float
    rand_distinct: float
    clones: int
    found: int
    error: float
    matched: tuple[int, ...]
    relations: int
    right: int
    possible: int
    kept_true: bool | None


def rand_index(truth: ArrayLike, labels: ArrayLike) -> float:
    """Return the adjusted Rand index; sites without cluster (-1) count as one cluster."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(np.asarray(truth), np.asarray(labels)))


def match_clusters(truth: ArrayLike, labels: ArrayLike, clusters: int) -> tuple[int, ...]:
    """Return for each cluster its true clone, or -1 (see `Accuracy.matched`)."""
    true, own = np.asarray(truth), np.asarray(labels)
    out = np.full(clusters, -1)
    held = np.zeros(clusters)
    for v in np.unique(true[true >= 0]):
        counts = np.bincount(own[(true == v) & (own >= 0)], minlength=clusters)
        best = int(counts.argmax()) if counts.size else 0
        if counts.size and counts[best] > held[best]:
            out[best], held[best] = v, counts[best]
    return tuple(int(v) for v in out)


def accuracy(
    tumour: SimulatedTumour,
    used: ArrayLike,
    labels: ArrayLike,
    fraction: ArrayLike,
    trees: CloneTrees | None,
    kept: ArrayLike | None = None,
) -> Accuracy:
    """Compare an analysis with the truth.

    Parameters
    ----------
    used : array_like of bool, one a site
        Sites that were clustered.
    labels : array_like of int, one a clustered site
    fraction : array_like of float, clusters by samples
    trees : CloneTrees or None
        Of the clusters in `kept`, in that order.
    kept : array_like of int, optional
        Clusters that the trees hold; all by default.
    """
    truth, own = tumour.clone[np.asarray(used, dtype=bool)], np.asarray(labels)
    phi = np.asarray(fraction)
    somatic = truth >= 0
    matched = match_clusters(truth, own, len(phi))
    pairs = [(c, v) for c, v in enumerate(matched) if v >= 0]
    errors = [np.abs(phi[c] - tumour.fraction[v]).mean() for c, v in pairs]
    same = np.unique(np.round(tumour.fraction, 9), axis=0, return_inverse=True)[1]
    relations = right = possible = 0
    kept_true: bool | None = None
    if trees is not None:
        names = list(range(len(phi))) if kept is None else [int(c) for c in np.asarray(kept)]
        clone = [matched[c] for c in names]
        table = trees.relations()
        for a, b, always in zip(table["u"], table["v"], table["always"], strict=True):
            for u, v, kind in [(int(a), int(b), "first_above"), (int(b), int(a), "second_above")]:
                if clone[u] < 0 or clone[v] < 0:
                    continue
                true = tumour.ancestor(clone[u], clone[v])
                possible += true
                relations += always == kind
                right += always == kind and true
        if trees.complete and min(clone, default=-1) >= 0:
            kept_true = tuple(_contracted(tumour, clone)) in set(map(tuple, trees.parents.tolist()))
    return Accuracy(
        rand_index(truth[somatic], own[somatic]),
        rand_index(same.ravel()[truth[somatic]], own[somatic]), len(tumour.parents), len(phi),
        float(np.mean(errors)) if errors else float("nan"), matched, relations, right, possible,
        kept_true,
    )  # fmt: skip


def _contracted(tumour: SimulatedTumour, clone: list[int]) -> list[int]:
    """Return the true tree of some clones: each one's nearest ancestor among them."""
    place = {v: c for c, v in enumerate(clone)}
    out = []
    for v in clone:
        at = int(tumour.parents[v])
        while at >= 0 and at not in place:
            at = int(tumour.parents[at])
        out.append(place.get(at, -1))
    return out


# Settings of the tumours on which the accuracy is told: clones, samples, somatic sites, depth, rho.
SETTINGS = pd.DataFrame(
    [
        (clones, samples, sites, depth, rho)
        for clones, samples in [(3, 3), (4, 4), (5, 5), (6, 6), (7, 8)]
        for sites, depth, rho in [
            (300, 60, 0.0),
            (600, 100, 0.0),
            (600, 100, 0.003),
            (1000, 200, 0.0),
        ]
    ],
    columns=["clones", "samples", "sites", "depth", "rho"],
)


def panel(seed: int, settings: pd.DataFrame = SETTINGS) -> list[SimulatedTumour]:
    """Return a tumour for each of the settings."""
    return [
        simulate_tumour(
            seed + i, clones=int(s["clones"]), samples=int(s["samples"]), sites=int(s["sites"]),
            depth=float(s["depth"]), rho=float(s["rho"]),
        )
        for i, (_, s) in enumerate(settings.iterrows())
    ]  # fmt: skip

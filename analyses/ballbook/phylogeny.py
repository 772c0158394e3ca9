r"""From variant reads of serial samples to the trees that fit, in one chain.

1. Inherited variants are left out (`germline.germline_test`, over samples and sites of two copies).
2. Artefacts are left out (`overdispersion.artefact_filter`).
3. The inherited variants tell how much more than by chance reads vary (`overdispersion.common_rho`
   over those with an unadjusted P value above 0.05, since a clone in nearly all cells hides among
   the others). Fewer than 50 of them tell nothing, and reads are taken as binomial.
4. What is left is clustered (`clone_mixture.cluster_sites`).
5. Clusters of at least so many sites, that reach a cell fraction worth the name in some sample, are
   clones; those that fit no tree with larger ones are set aside, and all trees that the
   simultaneous intervals of the others allow are found (`clone_trees`).

**When a clone was there.** Its reads in a sample, pooled over its sites, are tested one-sidedly
against the error rate (`clone_size.against_background`), with Holm's adjustment over clones and
samples. Where a clone is seen its ancestors were there as well: so a clone existed by the first
sample in which it, or a clone that descends from it in every tree, is seen. Not to be
seen is not to be absent; the limit of detection says how much could have been there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ballbook.clone_mixture import CloneMixture, cluster_sites
from ballbook.clone_size import against_background, limit_of_detection
from ballbook.clone_trees import (
    CloneTrees,
    enumerate_trees,
    simultaneous_intervals,
    that_fit_together,
)
from ballbook.germline import GermlineTest, germline_test, read_counts
from ballbook.inputs import Floats
from ballbook.multiplicity import holm
from ballbook.overdispersion import ArtefactFilter, artefact_filter, common_rho
from ballbook.results import Estimate, not_estimable

# Fewer inherited sites than this tell no overdispersion.
FEWEST_INHERITED = 50


@dataclass(frozen=True)
class Phylogeny:
    """What each step found.

    Attributes
    ----------
    germline : GermlineTest
    artefacts : ArtefactFilter
    used : array of bool, one a site
        Sites that were clustered.
    labels : array of int, one a site
        Clone (row of `fraction`), -1 for all other sites.
    rho : Estimate
        Overdispersion told by inherited sites.
    mixture : CloneMixture
        All clusters; its labels are of the sites used.
    clones : array of int
        The clusters that are clones.
    misfits : array of int
        Clusters as large that fit no tree with larger ones, and are in none.
    fraction, low, high : array of float, clones by samples
        Cell fraction and the simultaneous interval, slack included.
    trees : CloneTrees
    """

    germline: GermlineTest
    artefacts: ArtefactFilter
    used: NDArray[np.bool_]
    labels: NDArray[np.int64]
    rho: Estimate
    mixture: CloneMixture
    clones: NDArray[np.int64]
    misfits: NDArray[np.int64]
    fraction: Floats
    low: Floats
    high: Floats
    trees: CloneTrees

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Sites of each clone."""
        return self.mixture.size[self.clones]


def reconstruct(
    alt: ArrayLike,
    depth: ArrayLike,
    *,
    copy_number: ArrayLike | None = None,
    purity: ArrayLike | None = None,
    error: float = 1e-3,
    rho: float | None = None,
    keep_germline: bool = False,
    min_sites: int = 5,
    min_fraction: float = 0.02,
    level: float = 0.95,
    slack: float = 0.02,
    one_origin: bool = False,
    limit: int = 20_000,
    most_clusters: int = 40,
    seed: int = 0,
) -> Phylogeny:
    """Run the chain.

    Parameters
    ----------
    alt, depth : array_like of int, sites by samples
    copy_number, purity : array_like, optional
        As for `cluster_sites`.
    error : float
        Sequencing errors a read.
    rho : float, optional
        Correlation of reads; by default from the inherited sites.
    keep_germline : bool
        Nothing is left out as inherited: for tables from which inherited variants were removed
        with a normal sample.
    min_sites, min_fraction
        A cluster of fewer sites, or nowhere above this cell fraction, is no clone.
    level, slack
        Of the intervals (`simultaneous_intervals`).
    one_origin, limit
        Of the trees (`enumerate_trees`).
    most_clusters, seed
        Of the clustering.

    Raises
    ------
    ValueError
        If counts are no counts, an argument is out of range, or no site is left to cluster.
    """
    k, n = read_counts(alt, depth)
    copies = np.full(k.shape, 2.0)
    if copy_number is not None:
        given = np.broadcast_to(np.asarray(copy_number, dtype=float), k.shape)
        copies = np.where(np.isnan(given), 2.0, given)
    diploid = np.round(copies) == 2
    germline = germline_test(k, n, used=diploid)
    tested = germline.depth > 0
    inherited = germline.germline & tested & (not keep_germline)
    artefacts = artefact_filter(k, n)
    used = ~inherited & ~artefacts.artefact & (k.sum(axis=1) > 0)
    sure = germline.germline & (germline.p > 0.05) & tested & (not keep_germline)
    found = not_estimable("correlation", f"{int(sure.sum())} inherited sites are too few")
    if sure.sum() >= FEWEST_INHERITED:
        two = diploid[sure]
        found = common_rho(k[sure] * two, n[sure] * two, 0.5)
    strength = rho
    if strength is None:
        strength = found.value if found.value is not None and found.value > 2e-6 else 0.0
    if not used.any():
        raise ValueError("no site is left: all are inherited, artefacts, or without variant reads")
    pure = None if purity is None else np.broadcast_to(np.asarray(purity, dtype=float), k.shape)
    mixture = cluster_sites(
        k[used], n[used], copy_number=copies[used], purity=None if pure is None else pure[used],
        error=error, rho=strength, most_clusters=most_clusters, seed=seed,
    )  # fmt: skip
    large = (mixture.size >= min_sites) & (mixture.fraction.max(axis=1, initial=0) >= min_fraction)
    clones = np.flatnonzero(large)
    if not clones.size:
        raise ValueError(f"no cluster has {min_sites} sites")
    low, high = simultaneous_intervals(
        mixture.fraction[clones], mixture.std_error[clones], level=level, slack=slack
    )
    fitting = that_fit_together(low, high, mixture.size[clones])
    misfits, clones = clones[~fitting], clones[fitting]
    low, high, fraction = low[fitting], high[fitting], mixture.fraction[clones]
    trees = enumerate_trees(low, high, fraction, one_origin=one_origin, limit=limit)
    place = np.full(len(mixture.size) + 1, -1)
    place[clones] = np.arange(clones.size)
    labels = np.full(len(k), -1)
    labels[used] = place[mixture.labels]
    return Phylogeny(
        germline,
        artefacts,
        used,
        labels,
        found,
        mixture,
        clones,
        misfits,
        fraction,
        low,
        high,
        trees,
    )


def sightings(
    alt: ArrayLike,
    depth: ArrayLike,
    labels: ArrayLike,
    clones: int,
    *,
    error: float = 1e-3,
    alpha: float = 0.05,
    power: float = 0.95,
) -> pd.DataFrame:
    """Test in which samples each clone is there.

    Parameters
    ----------
    alt, depth : array_like of int, sites by samples
    labels : array_like of int, one a site
        Clone of each site; -1 for none.
    clones : int
    error : float
        Errors a read; choose it rather too high than too low.
    alpha : float
        After Holm's adjustment over clones and samples.
    power : float
        Of the limit of detection.

    Returns
    -------
    DataFrame
        One row a clone and sample: ``clone``, ``sample`` (positions), ``reads``, ``variant_reads``,
        ``log10_p``, ``p_adjusted``, ``seen``, ``limit`` (smallest share of all cells, at sites of
        two copies, that would have been seen at Bonferroni's level; NaN where none).
    """
    k, n = read_counts(alt, depth)
    own = np.asarray(labels)
    rows = []
    tests = max(1, clones * k.shape[1])
    for c in range(clones):
        reads, variant = n[own == c].sum(axis=0), k[own == c].sum(axis=0)
        for j in range(k.shape[1]):
            total, seen = int(reads[j]), int(variant[j])
            tested = against_background(seen, total, error)
            limit = limit_of_detection(total, error, alpha=alpha / tests, power=power)
            rows.append(
                {
                    "clone": c, "sample": j, "reads": total, "variant_reads": seen,
                    "log10_p": 0.0 if tested.value is None else tested.value,
                    "limit": np.nan if limit is None else limit,
                }
            )  # fmt: skip
    table = pd.DataFrame(rows)
    table["p_adjusted"] = holm(10.0 ** table["log10_p"].to_numpy())
    table["seen"] = table["p_adjusted"] < alpha
    return table


def existed_by(seen: ArrayLike, trees: CloneTrees) -> list[int | None]:
    """Return the first sample (position) by which each clone existed.

    Parameters
    ----------
    seen : array_like of bool, clones by samples
        Samples in the order of time.
    trees : CloneTrees
        Descendants count only if they are so in every tree, all of which are known.
    """
    own = np.asarray(seen, dtype=bool)
    there = own.copy()
    if trees.complete and len(trees):
        always = trees.ancestors.mean(axis=0) == 1
        for u in range(len(there)):
            there[u] |= own[always[u]].any(axis=0)
    return [int(row.argmax()) if row.any() else None for row in there]


def names_of(clones: int) -> list[str]:
    """Return names of clones: A, B, ..., Z, A2 ..."""
    return [chr(65 + c % 26) + (str(c // 26 + 1) if c >= 26 else "") for c in range(clones)]


def in_order(days: Sequence[float]) -> NDArray[np.int64]:
    """Return the order of samples in time; those without a day keep their place."""
    values = np.asarray(days, dtype=float)
    return (
        np.argsort(values, kind="stable") if np.isfinite(values).all() else np.arange(len(values))
    )

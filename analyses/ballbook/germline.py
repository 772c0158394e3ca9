r"""Which variants are inherited: the pooled binomial test of the allele fraction against a half.

An inherited heterozygous variant is in every cell, so that its reads pooled over diploid samples
are :math:`k\sim\mathrm{Bin}(n, 1/2)`. The one-sided P value

.. math:: P(X \le k), \qquad X\sim\mathrm{Bin}(n, 1/2)

is small for a variant that only some cells carry. It is adjusted over the sites after Benjamini
and Hochberg; a site is called somatic where the adjusted value is below a cut-off and germline
otherwise (Coorens et al., Nature 2021;597:387; R: ``binom.test(k, n, 0.5, "less")`` and
``p.adjust(p, "BH")``).

The burden of proof is on the somatic variant, so that power decides what is lost. A clone that is
in nearly every cell of every sample has allele fractions near a half itself and is called germline:
`largest_somatic_fraction` tells above which cell fraction this happens at a given depth. A sample
with few leukaemic cells among those pooled brings such a clone back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from ballbook.inputs import Floats
from ballbook.multiplicity import benjamini_hochberg

# Cut-off on the adjusted P value in the scripts of Coorens et al.
CUT = 1e-5


@dataclass(frozen=True)
class GermlineTest:
    """The test of every site.

    Attributes
    ----------
    alt, depth : array of int, one a site
        Reads pooled over the samples used.
    p, adjusted : array of float
        One-sided P value and its Benjamini-Hochberg adjustment over the sites with reads; 1 where
        there are none.
    germline : array of bool
        True where nothing speaks against one inherited allele: `adjusted` is not below `cut`.
    cut : float
    """

    alt: NDArray[np.int64]
    depth: NDArray[np.int64]
    p: Floats
    adjusted: Floats
    germline: NDArray[np.bool_]
    cut: float


def read_counts(alt: ArrayLike, depth: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return variant reads and depths as arrays of sites by samples.

    Raises
    ------
    ValueError
        If they are not whole numbers of the same two-dimensional shape with 0 <= alt <= depth.
    """
    arrays = []
    for name, values in (("alt", alt), ("depth", depth)):
        array = np.asarray(values)
        if array.ndim != 2 or not array.size:
            raise ValueError(f"{name}: expected sites by samples, got shape {array.shape}")
        if array.dtype.kind not in "iu":
            try:
                whole = array.astype(np.int64)
            except (TypeError, ValueError):
                raise ValueError(f"{name}: expected whole numbers") from None
            if not (whole == array).all():
                raise ValueError(f"{name}: expected whole numbers")
            array = whole
        arrays.append(array.astype(np.int64))
    k, n = arrays
    if k.shape != n.shape:
        raise ValueError(f"alt has shape {k.shape}, depth {n.shape}")
    if (k < 0).any() or (k > n).any():
        site, sample = (int(v) for v in np.argwhere((k < 0) | (k > n))[0])
        raise ValueError(
            f"site {site} in sample {sample} has {k[site, sample]} variant reads of "
            f"{n[site, sample]}, expected 0 to all of them"
        )
    return k, n


def germline_test(
    alt: ArrayLike,
    depth: ArrayLike,
    *,
    used: ArrayLike | None = None,
    fraction: ArrayLike = 0.5,
    cut: float = CUT,
) -> GermlineTest:
    """Test each site for an allele fraction below that of an inherited variant.

    Parameters
    ----------
    alt, depth : array_like of int, sites by samples
        Reads with the variant, and all reads.
    used : array_like of bool, samples or sites by samples, optional
        What is pooled: by default everything. Leave out samples, or single sites in samples, whose
        copy number is not two.
    fraction : array_like of float
        Expected allele fraction of an inherited variant, one for all or one a site (1 on the X
        chromosome of a boy, less where reads of the reference map better).
    cut : float
        On the adjusted P value.

    Raises
    ------
    ValueError
        If counts are no counts, shapes differ, `fraction` is not above 0 and at most 1, or `cut`
        is not between 0 and 1.
    """
    k, n = read_counts(alt, depth)
    mask = np.broadcast_to(True if used is None else np.asarray(used, dtype=bool), k.shape)
    expected = np.broadcast_to(np.asarray(fraction, dtype=float), (len(k),))
    if not ((expected > 0) & (expected <= 1)).all():
        raise ValueError("fraction: expected values above 0 and at most 1")
    if not 0 < cut < 1:
        raise ValueError(f"cut is {cut}, expected a value between 0 and 1")
    alts, depths = (k * mask).sum(axis=1), (n * mask).sum(axis=1)
    p = np.where(alts == depths, 1.0, special.bdtr(alts, depths, expected))
    adjusted = np.ones(len(p))
    seen = depths > 0
    if seen.any():
        adjusted[seen] = benjamini_hochberg(p[seen])
    return GermlineTest(alts, depths, p, adjusted, adjusted >= cut, cut)


def largest_somatic_fraction(depth: int, *, p: float = CUT, power: float = 0.8) -> float:
    r"""Return the largest cell fraction of a diploid clone that the test can tell from germline.

    The largest :math:`\varphi` for which a variant at allele fraction :math:`\varphi/2`, counted
    in `depth` reads altogether, has a P value of at most `p` with a probability of at least
    `power`. 0 if no clone can be told.

    Parameters
    ----------
    depth : int
        Reads pooled over the samples.
    p : float
        Largest unadjusted P value that still passes the adjustment; with most sites somatic it is
        near the cut-off itself.

    Raises
    ------
    ValueError
        If `depth` is below 1, or `p` or `power` is not between 0 and 1.
    """
    if depth < 1 or not 0 < p < 1 or not 0 < power < 1:
        raise ValueError("expected a depth of at least 1, and p and power between 0 and 1")
    counts = np.arange(depth + 1)
    passing = counts[special.bdtr(counts, depth, 0.5) <= p]
    if not passing.size:
        return 0.0
    return min(1.0, 2 * float(special.bdtri(float(passing[-1]), depth, power)))

r"""How much more reads vary than chance: the beta-binomial correlation of each site and of all.

In sample :math:`j` a site has :math:`k_j` variant reads of :math:`n_j`. With mean :math:`\mu` and
correlation :math:`\rho` of the reads of a sample,

.. math::
   k_j \sim \mathrm{BetaBin}\Bigl(n_j,\ \mu\tfrac{1-\rho}{\rho},\ (1-\mu)\tfrac{1-\rho}{\rho}\Bigr),
   \qquad
   \mathrm{var}\,k_j = n_j\mu(1-\mu)\bigl(1+(n_j-1)\rho\bigr).

**Of a site.** With :math:`\mu=\sum k_j/\sum n_j` held, :math:`\hat\rho` maximises the likelihood
over the grid :math:`10^{-6}, 10^{-5.95}, \dots, 10^{-0.05}`. A variant that cells of some samples
carry, and those of others do not, has a large :math:`\hat\rho`; an artefact that comes with the
sequence around it shows the same small share of reads everywhere, and :math:`\hat\rho` near 0
(Coorens et al., Nature 2021;597:387, who drop shared variants below 0.01 or 0.1). The rule
presumes samples that do not have the clone: a variant in all cells of all samples does not vary
either. So only sites with a small pooled allele fraction are called artefacts here.

**Of the sequencing.** Sites whose allele fraction is known, such as inherited heterozygous ones at
a half, give one :math:`\rho` for all, by maximum likelihood with the interval of the likelihood
ratio. It says how much wider than binomial every interval of a clone's size is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from ballbook.germline import read_counts
from ballbook.inputs import Floats
from ballbook.results import Estimate, not_estimable

# Decimal exponents of the grid.
EXPONENTS = np.round(np.arange(-6, -0.049, 0.05), 2)
_STRIDE = 8


def beta_binomial_log_pmf(
    k: ArrayLike, n: ArrayLike, mean: ArrayLike, rho: ArrayLike, *, coefficient: bool = True
) -> Floats:
    r"""Return :math:`\ln P(k)` of the beta-binomial; arguments broadcast.

    Parameters
    ----------
    k, n : array_like of int
    mean, rho : array_like of float
        Mean fraction and correlation, both above 0 and below 1.
    coefficient : bool
        Include :math:`\ln\binom nk`, which does not depend on the parameters.
    """
    k, n, mean = (np.asarray(v, dtype=float) for v in (k, n, mean))
    total = 1 / np.asarray(rho, dtype=float) - 1
    a, b = mean * total, (1 - mean) * total
    out = special.betaln(k + a, n - k + b) - special.betaln(a, b)
    if coefficient:
        out = out - np.log1p(n) - special.betaln(k + 1, n - k + 1)
    return np.asarray(out)


def site_rho(alt: ArrayLike, depth: ArrayLike) -> Floats:
    r"""Return :math:`\hat\rho` of each site over its samples, at the pooled mean.

    NaN where it cannot be told: no variant reads, only variant reads, or reads in fewer than two
    samples.

    Parameters
    ----------
    alt, depth : array_like of int, sites by samples

    Raises
    ------
    ValueError
        If the counts are no counts.
    """
    k, n = read_counts(alt, depth)
    pooled, reads = k.sum(axis=1), n.sum(axis=1)
    told = (pooled > 0) & (pooled < reads) & ((n > 0).sum(axis=1) > 1)
    out = np.full(len(k), np.nan)
    rows = np.flatnonzero(told)
    for part in np.array_split(rows, max(1, math.ceil(rows.size / 4096))):
        if part.size:
            out[part] = _on_grid(k[part], n[part], pooled[part] / reads[part])
    return out


def _on_grid(k: NDArray[np.int64], n: NDArray[np.int64], mean: Floats) -> Floats:
    """Return the best rho of the grid: every eighth first, then all around the best of these.

    The likelihood is smooth on this scale; it changes little within 0.4 decades.
    """
    last = len(EXPONENTS) - 1
    coarse = np.unique(np.append(np.arange(0, last, _STRIDE), last))
    columns = np.stack([_log_likelihood(k, n, mean, np.full(len(k), g)) for g in coarse], axis=1)
    best = coarse[columns.argmax(axis=1)]
    value, place = np.full(len(k), -np.inf), best.copy()
    for step in range(-_STRIDE, _STRIDE + 1):
        at = np.clip(best + step, 0, last)
        found = _log_likelihood(k, n, mean, at)
        better = found > value
        value[better], place[better] = found[better], at[better]
    return np.asarray(10.0 ** EXPONENTS[place])


def _log_likelihood(
    k: NDArray[np.int64], n: NDArray[np.int64], mean: Floats, at: NDArray[np.int64]
) -> Floats:
    rho = 10.0 ** EXPONENTS[at]
    found = beta_binomial_log_pmf(k, n, mean[:, None], rho[:, None], coefficient=False)
    return np.asarray(found.sum(axis=1))


@dataclass(frozen=True)
class ArtefactFilter:
    """Which sites look like artefacts.

    Attributes
    ----------
    rho, fraction : array of float, one a site
        Correlation (NaN where it cannot be told) and pooled allele fraction.
    artefact : array of bool
        `rho` below `cut` and `fraction` below `largest`.
    """

    rho: Floats
    fraction: Floats
    artefact: NDArray[np.bool_]
    cut: float
    largest: float


def artefact_filter(
    alt: ArrayLike, depth: ArrayLike, *, cut: float = 0.01, largest: float = 0.1
) -> ArtefactFilter:
    """Call sites artefacts that have the same small share of variant reads in every sample.

    Parameters
    ----------
    alt, depth : array_like of int, sites by samples
    cut : float
        A rho below this does not vary.
    largest : float
        Pooled allele fractions from here on are never called artefacts; 1 gives the rule as
        published, which also drops clones that are equally large everywhere.

    Raises
    ------
    ValueError
        If the counts are no counts, or `cut` or `largest` lies outside 0 to 1.
    """
    if not (0 <= cut <= 1 and 0 <= largest <= 1):
        raise ValueError("cut and largest: expected values from 0 to 1")
    k, n = read_counts(alt, depth)
    rho = site_rho(k, n)
    fraction = k.sum(axis=1) / np.maximum(n.sum(axis=1), 1)
    return ArtefactFilter(rho, fraction, (rho < cut) & (fraction < largest), cut, largest)


def common_rho(
    alt: ArrayLike, depth: ArrayLike, mean: ArrayLike, *, ci_level: float = 0.95
) -> Estimate:
    """Return the rho of all counts together, whose mean fractions are known.

    Parameters
    ----------
    alt, depth : array_like of int
        Any shape, the same.
    mean : array_like of float
        Known mean fraction, between 0 and 1; broadcast.

    Returns
    -------
    Estimate
        Maximum likelihood and the interval by the likelihood ratio, both within 1e-6 to 0.9; a
        bound at 1e-6 means that the counts are no more variable than binomial ones.
    """
    k, n = np.atleast_2d(np.asarray(alt)), np.atleast_2d(np.asarray(depth))
    k, n = read_counts(k, n)
    centre = np.broadcast_to(np.asarray(mean, dtype=float), k.shape)
    used = n > 1
    if not ((centre > 0) & (centre < 1)).all():
        raise ValueError("mean: expected values between 0 and 1")
    if not used.any():
        return not_estimable("correlation", "no site has two reads")
    table = np.column_stack([k[used], n[used], centre[used]])
    rows, times = np.unique(table, axis=0, return_counts=True)

    def minus(exponent: float) -> float:
        terms = beta_binomial_log_pmf(
            rows[:, 0], rows[:, 1], rows[:, 2], 10.0**exponent, coefficient=False
        )
        return -float(times @ terms)

    low, high = -6.0, math.log10(0.9)
    best = optimize.minimize_scalar(minus, bounds=(low, high), options={"xatol": 1e-6})
    top = min([float(best.x), low, high], key=minus)
    limit = minus(top) + stats.chi2.ppf(ci_level, 1) / 2

    def bound(end: float) -> float:
        if minus(end) <= limit or end == top:
            return 10.0**end
        return float(10.0 ** optimize.brentq(lambda e: minus(e) - limit, end, top, xtol=1e-9))

    return Estimate(
        "correlation", 10.0**top, bound(low), bound(high), ci_level, n=int(times.sum()),
        method="beta-binomial maximum likelihood, interval by likelihood ratio",
    )  # fmt: skip

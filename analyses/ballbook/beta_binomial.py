r"""The beta-binomial model of variant reads: a mean fraction, and sites that vary around it.

Site :math:`i` has :math:`k_i` variant reads of :math:`n_i`. Its own fraction is drawn from a beta
distribution with mean :math:`\mu` and correlation :math:`\rho`,

.. math::
   k_i\sim\mathrm{BetaBin}\Bigl(n_i,\ \mu\tfrac{1-\rho}{\rho},\ (1-\mu)\tfrac{1-\rho}{\rho}\Bigr),
   \qquad \mathrm{var}\,k_i=n_i\mu(1-\mu)\bigl(1+(n_i-1)\rho\bigr),

so that the interval of :math:`\mu` is wider than the binomial one by about
:math:`\sqrt{1+(\bar n-1)\rho}`. Both parameters are found by maximum likelihood; the interval of
the mean is that of the profile likelihood, and the test of :math:`\rho=0` takes half of the
chi-squared tail, since the parameter lies on its border (Self and Liang, JASA 1987;82:605).

Williams, Biometrics 1975;31:949. R: ``VGAM::vglm(cbind(k, n - k) ~ 1, betabinomial)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from ballbook.inputs import Floats, as_counts, as_level
from ballbook.overdispersion import beta_binomial_log_pmf
from ballbook.results import Estimate, not_estimable

# Below this the beta-binomial cannot be told from the binomial.
LEAST_RHO, MOST_RHO = 1e-8, 0.95
_STRETCH = 1 << 15


@dataclass(frozen=True, slots=True)
class BetaBinomialFit:
    """Maximum-likelihood fit.

    Attributes
    ----------
    mean : Estimate
        Fraction of variant reads, profile-likelihood interval.
    rho : float
        Correlation; `LEAST_RHO` where the counts vary no more than chance.
    overdispersion : Estimate
        P value of more than binomial variation.
    log_likelihood : float
        With the binomial coefficients.
    """

    mean: Estimate
    rho: float
    overdispersion: Estimate
    log_likelihood: float


def beta_binomial(k: ArrayLike, n: ArrayLike, *, ci_level: float = 0.95) -> BetaBinomialFit:
    """Fit mean and correlation to the variant reads of sites.

    Parameters
    ----------
    k, n : array_like of int
        Variant reads and all reads of each site; sites without reads say nothing.

    Raises
    ------
    ValueError
        If they are no counts, or a site has more variant reads than reads.
    """
    variant, reads = as_counts(k, "k"), as_counts(n, "n")
    if len(variant) != len(reads) or (variant > reads).any():
        raise ValueError("k: expected as many as n, and at most n each")
    level = as_level(ci_level)
    used = reads > 0
    pairs, times = np.unique(
        np.column_stack([variant[used], reads[used]]), axis=0, return_counts=True
    )
    total, whole = int(variant.sum()), int(reads.sum())
    method = "beta-binomial over sites, profile-likelihood interval"
    if not 0 < total < whole:
        reason = "no variant reads" if total == 0 else "only variant reads"
        empty = not_estimable("mean", reason, n=whole, n_events=total, method=method)
        return BetaBinomialFit(empty, math.nan, not_estimable("p-value", reason), 0.0)
    counts, of = pairs[:, 0], pairs[:, 1]
    coefficients = float(
        times @ (special.gammaln(of + 1) - special.gammaln(counts + 1)
                 - special.gammaln(of - counts + 1))
    )  # fmt: skip

    def log_likelihood(mean: float, log_rho: float) -> float:
        if log_rho <= math.log(LEAST_RHO):
            return float(times @ (special.xlogy(counts, mean)
                                  + special.xlog1py(of - counts, -mean)))  # fmt: skip
        terms = beta_binomial_log_pmf(counts, of, mean, math.exp(log_rho), coefficient=False)
        return float(times @ terms)

    low, high = math.log(LEAST_RHO), math.log(MOST_RHO)

    def profile(mean: float) -> tuple[float, float]:
        """Return the highest log-likelihood at this mean, and its log rho."""
        found = optimize.minimize_scalar(
            lambda r: -log_likelihood(mean, r), bounds=(low, high), method="bounded",
            options={"xatol": 1e-9},
        )  # fmt: skip
        best = max((-float(found.fun), float(found.x)), (log_likelihood(mean, low), low))
        return best

    pooled = total / whole
    centre = special.logit(pooled)
    found = optimize.minimize_scalar(
        lambda t: -profile(float(special.expit(t)))[0], bracket=(centre - 0.1, centre + 0.1),
        method="brent", options={"xtol": 1e-10},
    )  # fmt: skip
    top = float(found.x)
    mean = float(special.expit(top))
    best, log_rho = profile(mean)
    limit = best - float(stats.chi2.ppf(level, 1)) / 2

    def bound(sign: float) -> float:
        step = 0.05
        while profile(float(special.expit(top + sign * step)))[0] > limit and step < 40:
            step *= 2
        end = optimize.brentq(
            lambda t: profile(float(special.expit(t)))[0] - limit, top, top + sign * step,
            xtol=1e-9,
        )  # fmt: skip
        return float(special.expit(end))

    statistic = max(0.0, 2 * (best - log_likelihood(pooled, low)))
    p = 1.0 if statistic == 0 else float(stats.chi2.sf(statistic, 1)) / 2
    return BetaBinomialFit(
        Estimate("mean", mean, bound(-1), bound(1), level, n=whole, n_events=total, method=method,
                 unit="allele fraction"),
        math.exp(log_rho),
        Estimate("p-value", p, ci_level=None, p_value=p, statistic=statistic, df=1,
                 method="likelihood ratio against the binomial, half of the chi-squared tail"),
        best + coefficients,
    )  # fmt: skip


def log_tail(k: int, n: int, mean: float, rho: float) -> float:
    r"""Return :math:`\ln P(X\ge k)` of one beta-binomial count of n reads.

    Summed in logarithms, upwards until what is left is below 1e-17 of the sum, so that tails far
    below underflow are exact.
    """
    if k <= 0:
        return 0.0
    if k > n:
        return -math.inf
    if k > n * mean:
        total, start = -math.inf, k
        while start <= n:
            end = min(n + 1, start + _STRETCH)
            terms = beta_binomial_log_pmf(np.arange(start, end), n, mean, rho)
            total = float(np.logaddexp(total, special.logsumexp(terms)))
            # Past its mode the distribution falls, unless it is U-shaped.
            rest = terms[-1] + math.log(max(n + 1 - end, 1))
            if (1 - mean) * (1 / rho - 1) > 1 and terms[-1] < terms[0] and rest < total - 40:
                break
            start = end
        return min(0.0, total)
    terms = beta_binomial_log_pmf(np.arange(k), n, mean, rho)
    return float(np.log1p(-min(1.0, float(np.exp(special.logsumexp(terms))))))


def log_tail_of_sum(k: int, depth: ArrayLike, mean: float, rho: float) -> float:
    r"""Return :math:`\ln P(\sum_i X_i\ge k)` of independent beta-binomial counts, one a site.

    The sum's distribution is the convolution of the sites'. By the fast Fourier transform it would
    carry an absolute error of about 1e-16, larger than the tails asked for. So each distribution is
    first tilted, :math:`g(x)\propto f(x)e^{\theta x}`, with :math:`\theta` such that the sum of the
    tilted counts has mean k; the error is then relative to the tail itself
    (exponential tilting: Keich, J Comput Biol 2005;12:416).

    Parameters
    ----------
    k : int
    depth : array_like of int
        Reads at each site.
    mean, rho : float
        Of every site.
    """
    reads = as_counts(depth, "depth")
    total = int(reads.sum())
    if k <= 0:
        return 0.0
    if k > total:
        return -math.inf
    sizes, times = np.unique(reads[reads > 0], return_counts=True)
    logs = [beta_binomial_log_pmf(np.arange(n + 1), int(n), mean, rho) for n in sizes]
    # A rounding error of one site would count as often as there are sites.
    logs = [f - special.logsumexp(f) for f in logs]

    def cumulants(theta: float) -> tuple[float, float]:
        """Return the cumulant generating function of the sum and its slope."""
        value = slope = 0.0
        for f, count in zip(logs, times, strict=True):
            tilted = f + theta * np.arange(len(f))
            norm = float(special.logsumexp(tilted))
            value += int(count) * norm
            slope += int(count) * float(np.exp(tilted - norm) @ np.arange(len(f)))
        return value, slope

    theta = 0.0
    if k > total * mean:
        aim = min(k, total - 0.5)
        high = 1.0
        while cumulants(high)[1] < aim:
            high *= 2
        theta = float(optimize.brentq(lambda t: cumulants(t)[1] - aim, 0.0, high, xtol=1e-10))
    norm = cumulants(theta)[0]
    # The tilted sum lies near k; far beyond that it holds nothing that double precision could tell.
    length = 1 << max(10, (8 * max(k, int(total * mean) + 1) + int(sizes.max())).bit_length())
    length = min(length, 1 << int(total + 1).bit_length())
    whole = np.ones(length // 2 + 1, dtype=complex)
    for f, count in zip(logs, times, strict=True):
        tilted = f + theta * np.arange(len(f))
        g = np.exp(tilted - special.logsumexp(tilted))
        padded = np.bincount(np.arange(len(g)) % length, weights=g, minlength=length)
        whole *= np.fft.rfft(padded) ** int(count)
    density: NDArray[np.float64] = np.maximum(np.fft.irfft(whole, length), 0)
    x = np.arange(length)
    weighted = density[k:] * np.exp(-theta * (x[k:] - k))
    tail = float(weighted.sum())
    return min(0.0, math.log(tail) + norm - theta * k) if tail > 0 else -math.inf


def rho_that_explains(log_p: float, log_tail_at: Floats, rho: Floats) -> float | None:
    """Return the smallest rho of a grid at which a tail reaches a P value, interpolated; or None.

    Parameters
    ----------
    log_p : float
        Natural logarithm of the P value.
    log_tail_at, rho : array of float
        Natural logarithm of the tail at each of the rising `rho`.
    """
    above = np.flatnonzero(np.asarray(log_tail_at) >= log_p)
    if not above.size:
        return None
    i = int(above[0])
    if i == 0:
        return float(rho[0])
    share = (log_p - log_tail_at[i - 1]) / (log_tail_at[i] - log_tail_at[i - 1])
    return float(np.exp(np.log(rho[i - 1]) + share * (np.log(rho[i]) - np.log(rho[i - 1]))))

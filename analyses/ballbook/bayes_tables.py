r"""Bayesian answers for counts, by quadrature: the same numbers on every run, without sampling.

**One proportion.** :math:`\pi\sim\mathrm{Beta}(a,b)` gives :math:`\mathrm{Beta}(a+k,b+n-k)`.

**A common odds ratio over strata.** In stratum i, :math:`c_i\sim\mathrm{Bin}(m_i,\pi_i)` in the
reference and :math:`a_i\sim\mathrm{Bin}(n_i,\operatorname{expit}(\operatorname{logit}\pi_i+
\theta))` in the group of interest, :math:`\pi_i\sim\mathrm{Beta}(\alpha,\beta)` and
:math:`\theta\sim N(\mu,\sigma^2)`. Each :math:`\pi_i` is integrated out on the logit scale by the
trapezoid rule, which for such smooth and falling functions errs below 1e-10, and the posterior of
:math:`\theta` is normalised on its grid.

**A stratum as negative control.** Where nothing differs but the group, the odds ratio estimates
the bias alone: :math:`\theta_0=b` there and :math:`\theta_i=b+\delta` elsewhere, with
:math:`b\sim N(0,\sigma_b^2)`. The posterior of :math:`\delta` carries the doubt about :math:`b`;
as :math:`\sigma_b\to0` it is that of the strata without the control.

Spiegelhalter, Abrams, Myles (2004), Bayesian Approaches to Clinical Trials, chapters 3 and 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import integrate, interpolate, optimize, special, stats

from ballbook.inputs import Floats, as_count, as_counts, as_level, as_number
from ballbook.results import Estimate

# Odds ratios from e^-10 to e^10; the grid of the baseline reaches probabilities of 1e-8.
THETA = np.linspace(-10, 10, 2001)
BASELINE = np.linspace(-18, 18, 721)


@dataclass(frozen=True, slots=True)
class Posterior:
    """The posterior distribution of a log odds ratio on a grid.

    Attributes
    ----------
    theta : array of shape (points,)
        Log odds ratios, evenly spaced.
    density : array of shape (points,)
        Integrates to 1 by the trapezoid rule.
    odds_ratio : Estimate
        Posterior median with the equal-tailed credible interval.
    """

    theta: Floats
    density: Floats
    odds_ratio: Estimate

    def above(self, odds_ratio: float = 1.0) -> float:
        """Return the posterior probability that the odds ratio is larger than `odds_ratio`."""
        return 1 - float(_cdf(self.density)(math.log(odds_ratio)))


def beta_binomial(
    k: int, n: int, *, prior: tuple[float, float] = (1, 1), ci_level: float = 0.95
) -> Estimate:
    """Return the posterior mean of a proportion with its equal-tailed credible interval.

    Raises
    ------
    ValueError
        For k > n, or a prior with a parameter not above 0.
    """
    a, b = _after(k, n, prior)
    tail = (1 - as_level(ci_level)) / 2
    low, high = stats.beta.ppf([tail, 1 - tail], a, b)
    return Estimate(
        "proportion", a / (a + b), float(low), float(high), ci_level, n=n, n_events=k,
        method=f"posterior mean, Beta({prior[0]:g}, {prior[1]:g}) prior",
    )  # fmt: skip


def probability_higher(
    k1: int, n1: int, k2: int, n2: int, *, prior: tuple[float, float] = (1, 1)
) -> float:
    r"""Return :math:`\Pr(\pi_1>\pi_2)` with the same Beta prior for both proportions."""
    first, second = stats.beta(*_after(k1, n1, prior)), stats.beta(*_after(k2, n2, prior))
    found, _ = integrate.quad(
        lambda p: second.pdf(p) * first.sf(p), 0, 1, limit=400, epsabs=1e-12, epsrel=1e-11,
        points=[float(first.mean()), float(second.mean())],
    )  # fmt: skip
    return float(found)


def stratum_log_likelihood(
    table: ArrayLike, *, baseline: tuple[float, float] = (1, 1), theta: Floats = THETA
) -> Floats:
    """Return the log likelihood of a 2 x 2 table at each log odds ratio, its baseline gone.

    Parameters
    ----------
    table : array_like of int, shape (2, 2)
        ``[[a, b], [c, d]]``: with and without the outcome in the group of interest, and in the
        reference.
    baseline : pair of float
        Beta prior of the proportion in the reference.
    """
    counts = as_counts(table, "table", ndim=2)
    if counts.shape != (2, 2):
        raise ValueError(f"table: expected shape (2, 2), got {counts.shape}")
    (a, b), (c, d) = counts.tolist()
    alpha, beta = _prior(baseline)
    eta = BASELINE
    # The Beta density times d(pi)/d(eta) = pi (1 - pi) turns alpha - 1 into alpha.
    reference = (c + alpha) * special.log_expit(eta) + (d + beta) * special.log_expit(-eta)
    shifted = eta[None, :] + theta[:, None]
    group = a * special.log_expit(shifted) + b * special.log_expit(-shifted)
    inner = special.logsumexp(reference[None, :] + group, axis=1) + math.log(eta[1] - eta[0])
    return np.asarray(inner - special.betaln(alpha, beta), dtype=float)


def common_odds_ratio(
    tables: ArrayLike,
    *,
    prior_mean: float = 0.0,
    prior_sd: float = 1.0,
    baseline: tuple[float, float] = (1, 1),
    ci_level: float = 0.95,
) -> Posterior:
    """Return the posterior of one log odds ratio for all strata.

    Parameters
    ----------
    tables : array_like of int, shape (strata, 2, 2)
    prior_mean, prior_sd : float
        Of the log odds ratio.

    Raises
    ------
    ValueError
        For tables of another shape, or a standard deviation not above 0.
    """
    counts = _strata(tables)
    log_post = _normal(THETA, prior_mean, prior_sd)
    for table in counts:
        log_post = log_post + stratum_log_likelihood(table, baseline=baseline)
    return _posterior(
        log_post, ci_level, int(counts.sum()), int(counts[:, :, 0].sum()),
        f"one odds ratio for {len(counts)} strata, N({prior_mean:g}, {prior_sd:g}²) prior on its "
        f"log, Beta({baseline[0]:g}, {baseline[1]:g}) on each baseline",
    )  # fmt: skip


def with_negative_control(
    tables: ArrayLike,
    control: int,
    *,
    bias_sd: float,
    prior_sd: float = 1.0,
    baseline: tuple[float, float] = (1, 1),
    ci_level: float = 0.95,
) -> Posterior:
    """Return the posterior of the log odds ratio beyond a bias that stratum `control` shows alone.

    Parameters
    ----------
    control : int
        Index of the stratum in which nothing but the group differs.
    bias_sd : float
        Standard deviation of the prior of the bias, a log odds ratio with mean 0; 0 for none.
    prior_sd : float
        Of the log odds ratio beyond the bias, mean 0.

    Raises
    ------
    ValueError
        As `common_odds_ratio`, or for a stratum that is not there.
    """
    counts = _strata(tables)
    if not 0 <= control < len(counts):
        raise ValueError(f"control is {control}, expected a stratum from 0 to {len(counts) - 1}")
    others = sum(
        stratum_log_likelihood(t, baseline=baseline) for i, t in enumerate(counts) if i != control
    )
    prior = _normal(THETA, 0.0, prior_sd)
    if as_number(bias_sd, "bias_sd") == 0:
        log_post = prior + others
    else:
        bias = _normal(THETA, 0.0, bias_sd)
        bias = bias + stratum_log_likelihood(counts[control], baseline=baseline)
        # theta = b + delta: sum over b of exp{bias(b) + others(b + delta)}.
        kept = bias > bias.max() - 40
        padded = np.full(3 * len(THETA) - 2, -np.inf)
        middle = len(THETA) - 1
        padded[middle : middle + len(THETA)] = others
        zero = len(THETA) // 2
        log_post = prior + special.logsumexp(
            [
                bias[j] + padded[middle + j - zero : middle + j - zero + len(THETA)]
                for j in np.flatnonzero(kept)
            ],
            axis=0,
        )
    return _posterior(
        np.asarray(log_post), ci_level, int(counts.sum()), int(counts[:, :, 0].sum()),
        f"odds ratio beyond the bias between groups, N(0, {prior_sd:g}²) prior on its log; bias "
        f"N(0, {bias_sd:g}²), informed by stratum {control + 1}",
    )  # fmt: skip


def _posterior(log_post: Floats, ci_level: float, n: int, n_events: int, how: str) -> Posterior:
    density = np.exp(log_post - log_post.max())
    density = density / np.trapezoid(density, THETA)
    cdf, tail = _cdf(density), (1 - as_level(ci_level)) / 2
    low, middle, high = (
        float(optimize.brentq(lambda t, u=u: cdf(t) - u, THETA[0], THETA[-1], xtol=1e-12))
        for u in (tail, 0.5, 1 - tail)
    )
    estimate = Estimate(
        "odds-ratio", math.exp(middle), math.exp(low), math.exp(high), ci_level, n=n,
        n_events=n_events, method=f"posterior median and credible interval; {how}",
    )  # fmt: skip
    return Posterior(THETA, density, estimate)


def _cdf(density: Floats) -> Any:
    """Return the distribution function of a density on the grid, as a smooth function."""
    return interpolate.CubicSpline(THETA, density).antiderivative()


def _normal(x: Floats, mean: float, sd: float) -> Floats:
    if not as_number(sd, "standard deviation") > 0:
        raise ValueError(f"standard deviation is {sd}, expected above 0")
    return np.asarray(stats.norm.logpdf(x, as_number(mean, "mean"), sd), dtype=float)


def _strata(tables: ArrayLike) -> np.ndarray:
    counts = as_counts(tables, "tables", ndim=3)
    if counts.shape[1:] != (2, 2) or len(counts) == 0:
        raise ValueError(f"tables: expected shape (strata, 2, 2), got {counts.shape}")
    return counts


def _prior(prior: tuple[float, float]) -> tuple[float, float]:
    a, b = prior
    if min(as_number(a, "prior"), as_number(b, "prior")) <= 0:
        raise ValueError(f"prior: expected two numbers above 0, got {prior}")
    return float(a), float(b)


def _after(k: int, n: int, prior: tuple[float, float]) -> tuple[float, float]:
    k, n = as_count(k, "k"), as_count(n, "n")
    if k > n:
        raise ValueError(f"k: {k} events among only {n} patients")
    a, b = _prior(prior)
    return a + k, b + n - k

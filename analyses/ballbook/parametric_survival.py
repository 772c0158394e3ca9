r"""Weibull survival by its median: what a printed median allows, and what it needs.

A family with median :math:`m`, shape :math:`k` and a fraction :math:`c < 1/2` who never die of it:

.. math:: S(t) = c + (1-c)\, a^{(t/m)^k}, \qquad a = \frac{1/2-c}{1-c}

With :math:`c=0` this is :math:`2^{-(t/m)^k}`. :math:`k=1` is the exponential family (constant
hazard); :math:`k<1` has a hazard that falls with time (many early deaths, a long tail), :math:`k>1`
one that rises. A printed median fixes :math:`m` and says nothing of :math:`k` and :math:`c`.

It is a scale family, so the ratio of a sample median to the true median has a distribution that
depends on `n`, :math:`k` and :math:`c` alone. With every patient followed to death or known to
survive, the sample median is the middle order statistic, or the mean of the two middle ones as in
R, and intervals are exact (David & Nagaraja 2003, Order Statistics, chapter 2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import integrate, optimize, special, stats

from ballbook.inputs import as_level
from ballbook.results import Estimate, not_estimable
from ballbook.survival import kaplan_meier, normal_quantile, survival_data

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Weibull:
    """A survival curve given by its median, its shape (1: exponential) and its cured fraction."""

    median: float
    shape: float = 1.0
    cured: float = 0.0

    def __post_init__(self) -> None:
        for name in ("median", "shape"):
            _positive(getattr(self, name), name)
        if not 0 <= self.cured < 0.5:
            raise ValueError(f"cured is {self.cured}, expected a fraction from 0 to below one half")

    @property
    def _log_base(self) -> float:
        return math.log((0.5 - self.cured) / (1 - self.cured))

    def survival(self, t: npt.ArrayLike) -> Floats:
        """Return the fraction alive at each time `t` (0 or later)."""
        power = (np.asarray(t, dtype=float) / self.median) ** self.shape
        return np.asarray(self.cured + (1 - self.cured) * np.exp(self._log_base * power))

    def quantile(self, q: npt.ArrayLike) -> Floats:
        """Return the times by which fractions `q` (0..1) have died; infinite for the cured."""
        mortal = (1 - np.asarray(q, dtype=float) - self.cured) / (1 - self.cured)
        with np.errstate(divide="ignore"):
            power = np.log(np.maximum(mortal, 0.0)) / self._log_base
        return np.asarray(self.median * power ** (1 / self.shape))

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """Return `size` random survival times, infinite for the cured."""
        return self.quantile(rng.random(size))


def shape_from_survival(median: float, t: float, survival: float) -> float:
    r"""Return the shape of the one Weibull curve with this median that has S(t) = `survival`.

    :math:`k = \log\{\log_2(1/S)\} / \log(t/m)`.

    Raises
    ------
    ValueError
        If no such curve exists: `t` is the median, or `survival` lies on the wrong side of one
        half.
    """
    _positive(median, "median")
    _positive(t, "t")
    if not 0 < survival < 1 or t == median or (survival < 0.5) != (t > median):
        raise ValueError(f"no survival curve has median {median:g} and {survival:g} alive at {t:g}")
    return math.log(-math.log2(survival)) / math.log(t / median)


# --- what a sample median says of the true one --------------------------------------------------


@dataclass(frozen=True, slots=True)
class MedianRanks:
    """Order statistics that bracket the true median, whatever the distribution."""

    n: int
    low: int
    high: int
    coverage: float


def median_ranks(n: int, ci_level: float = 0.95) -> MedianRanks:
    r"""Return the ranks of the distribution-free interval of a median without censoring.

    :math:`[T_{(l)}, T_{(n+1-l)}]` holds the median with probability
    :math:`1 - 2\,P(X \le l-1)`, :math:`X \sim \mathrm{Bin}(n, 1/2)`; the largest rank :math:`l`
    that keeps `ci_level` is taken.

    Raises
    ------
    ValueError
        If `n` is too small for any interval at this level.
    """
    alpha = 1 - as_level(ci_level)
    low = int(stats.binom.ppf(alpha / 2, n, 0.5)) if n >= 1 else 0
    # ppf gives the smallest x with P(X <= x) >= alpha/2, so P(X <= x - 1) stays below it.
    if low < 1:
        raise ValueError(f"{n} patients are too few for a {100 * ci_level:g}% interval of a median")
    coverage = 1 - 2 * float(stats.binom.cdf(low - 1, n, 0.5))
    return MedianRanks(n, low, n + 1 - low, coverage)


def true_median(
    observed: float,
    n: int,
    *,
    shape: float = 1.0,
    cured: float = 0.0,
    ci_level: float = 0.95,
    unit: str = "months",
) -> Estimate:
    r"""Return the true medians that an observed sample median allows, within one family.

    With :math:`q_p` the quantiles of the sample median of `n` uncensored patients whose true median
    is 1, the exact interval is :math:`[\tilde m / q_{1-\alpha/2},\ \tilde m / q_{\alpha/2}]`.
    Censoring only widens it.

    Parameters
    ----------
    observed : float
        Sample median as printed.
    n : int
        Patients.
    shape, cured : float
        The family; see `Weibull`.
    """
    _positive(observed, "observed")
    alpha = 1 - as_level(ci_level)
    unit_curve = Weibull(1.0, shape, cured)
    low = observed / sample_median_quantile(unit_curve, n, 1 - alpha / 2)
    high = observed / sample_median_quantile(unit_curve, n, alpha / 2)
    return Estimate(
        kind="median",
        value=observed,
        ci_low=low,
        ci_high=high,
        ci_level=ci_level,
        unit=unit,
        n=n,
        method=f"exact distribution of an uncensored sample median, {_name(shape, cured)}",
    )


def sample_median_quantile(curve: Weibull, n: int, p: float) -> float:
    r"""Return quantile `p` of the median of `n` uncensored survival times.

    Odd `n`: :math:`F(T_{(r)}) \sim \mathrm{Beta}(r, n-r+1)`, :math:`r=(n+1)/2`. Even `n`, with
    :math:`r=n/2` and :math:`x_u` the time by which a fraction :math:`u` has died:

    .. math:: P\Big(\tfrac{T_{(r)}+T_{(r+1)}}{2} \le x\Big) = \int_0^{F(x)} f_r(u)
        \Big[1 - \Big(\frac{S(2x - x_u)}{1-u}\Big)^{n-r}\Big] du

    with :math:`f_r` the Beta density of :math:`F(T_{(r)})`.
    """
    if n < 1:
        raise ValueError(f"n is {n}, expected at least 1 patient")
    rank = (n + 1) // 2
    first = stats.beta(rank, n - rank + 1)
    lower = float(curve.quantile(first.ppf(p)))
    if n % 2:
        return lower

    def below(x: float) -> float:
        def density(u: float) -> float:
            later = float(curve.survival(2 * x - float(curve.quantile(u)))) / (1 - u)
            return float(first.pdf(u)) * (1 - later ** (n - rank))

        return float(integrate.quad(density, 0, 1 - float(curve.survival(x)), limit=200)[0])

    # The mean of two order statistics lies between the quantiles of each.
    upper = float(curve.quantile(stats.beta.ppf(p, rank + 1, n - rank)))
    return float(optimize.brentq(lambda x: below(x) - p, lower, upper, xtol=1e-10))


def _name(shape: float, cured: float) -> str:
    name = "exponential" if shape == 1 else f"Weibull of shape {shape:.3g}"
    return name + (f" with {100 * cured:g}% cured" if cured else "")


@dataclass(frozen=True)
class SimulatedMedians:
    """Kaplan-Meier medians of simulated samples.

    Attributes
    ----------
    median, ci_low, ci_high : (n_sim,) float
        Sample median and the interval printed with it; NaN where not reached.
    coverage : float
        Fraction of samples whose interval holds the true median.
    events : float
        Mean number of deaths in a sample.
    """

    curve: Weibull
    n: int
    censored: float
    median: Floats
    ci_low: Floats
    ci_high: Floats
    coverage: float
    events: float

    def true_median(
        self, observed: float, ci_level: float = 0.95, unit: str = "months"
    ) -> Estimate:
        """Return the true medians that an observed one allows, from the simulated ratio to it."""
        alpha = 1 - as_level(ci_level)
        # A median that is not reached lies above all others.
        ratio = np.where(np.isnan(self.median), np.inf, self.median) / self.curve.median
        low, high = np.quantile(ratio, [1 - alpha / 2, alpha / 2], method="higher")
        return Estimate(
            kind="median",
            value=observed,
            ci_low=float(observed / low) if math.isfinite(low) else None,
            ci_high=float(observed / high),
            ci_level=ci_level,
            unit=unit,
            n=self.n,
            n_events=round(self.events),
            method=f"simulated Kaplan-Meier medians ({len(ratio):,} samples, "
            f"{_name(self.curve.shape, self.curve.cured)}, {100 * self.censored:g}% censored)",
        )


def simulate_medians(
    curve: Weibull, n: int, *, censored: float = 0.0, n_sim: int = 1000, seed: int
) -> SimulatedMedians:
    """Draw samples of `n` patients and take the Kaplan-Meier median of each.

    Censoring times are exponential, with the mean at which a fraction `censored` of patients is
    expected to be censored before death (the cured among them).

    Parameters
    ----------
    curve : Weibull
        The truth.
    censored : float
        Expected fraction censored, 0 to below 1.
    n_sim : int
        Samples.
    seed : int
        Seed of NumPy's default generator.
    """
    if censored and not curve.cured < censored < 1:
        raise ValueError(f"censored is {censored}, expected 0, or from {curve.cured:g} to below 1")
    rng = np.random.default_rng(seed)
    mean_follow_up = _follow_up_for(curve, censored) if censored else math.inf
    never = 1e6 * curve.median  # the cured, where nothing else ends their follow-up
    found = np.full((n_sim, 3), np.nan)
    events, covered = 0, 0
    for i in range(n_sim):
        death = curve.draw(n, rng)
        end = rng.exponential(mean_follow_up, n) if censored else np.full(n, np.inf)
        time = np.minimum(np.minimum(death, end), never)
        sample = kaplan_meier(time, (death <= end) & (death < never))
        e = sample.median()
        events += sample.n_events
        low = 0.0 if e.ci_low is None else e.ci_low
        high = math.inf if e.ci_high is None else e.ci_high
        covered += low <= curve.median <= high
        found[i] = [np.nan if v is None else v for v in (e.value, e.ci_low, e.ci_high)]
    return SimulatedMedians(
        curve, n, censored, found[:, 0], found[:, 1], found[:, 2], covered / n_sim, events / n_sim
    )


def _follow_up_for(curve: Weibull, censored: float) -> float:
    """Return the mean exponential follow-up with which a fraction `censored` outlives it."""
    # P(T > C) by the midpoint rule over the quantiles of C, which are bounded in probability.
    p = (np.arange(4000) + 0.5) / 4000
    unit = -np.log1p(-p)

    def excess(log_mean: float) -> float:
        return float(curve.survival(unit * math.exp(log_mean)).mean()) - censored

    centre = math.log(curve.median)
    return math.exp(optimize.brentq(excess, centre - 25, centre + 25))


def ratio_of_medians(first: Estimate, second: Estimate) -> Estimate:
    r"""Return the ratio of two independent medians from their printed intervals.

    On the log scale, each standard error from its own interval:
    :math:`s_i = \log(U_i/L_i)/(2z)` and :math:`\log R \pm z\sqrt{s_1^2+s_2^2}`.

    Returns
    -------
    Estimate
        ``kind="ratio"``; without a value when a median or a bound is not reached, or a bound is 0.

    Raises
    ------
    ValueError
        If the two intervals have different levels.
    """
    level = first.ci_level
    if level is None or level != second.ci_level:
        raise ValueError(f"intervals of one level are needed, got {level} and {second.ci_level}")
    z, values, variance = normal_quantile(level), [], 0.0
    for e in (first, second):
        if e.value is None or e.ci_low is None or e.ci_high is None:
            return not_estimable("ratio", f"{e.label or 'a median'}: a bound is not reached")
        if e.ci_low <= 0:
            return not_estimable("ratio", f"{e.label or 'a median'}: a bound is 0")
        values.append(math.log(e.value))
        variance += (math.log(e.ci_high / e.ci_low) / (2 * z)) ** 2
    middle, margin = values[0] - values[1], z * math.sqrt(variance)
    return Estimate(
        kind="ratio",
        value=math.exp(middle),
        ci_low=math.exp(middle - margin),
        ci_high=math.exp(middle + margin),
        ci_level=level,
        p_value=float(2 * stats.norm.sf(abs(middle) / math.sqrt(variance))),
        statistic=middle / math.sqrt(variance),
        n=(first.n or 0) + (second.n or 0) or None,
        method="ratio of medians, log scale, standard errors from the two intervals",
    )


# --- fitting ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeibullFit:
    """A Weibull curve fitted to censored follow-up, with Wald intervals on the log scale."""

    curve: Weibull
    median: Estimate
    shape: Estimate
    log_likelihood: float


def fit_weibull(
    time: npt.ArrayLike, event: npt.ArrayLike, *, ci_level: float = 0.95, unit: str = "months"
) -> WeibullFit:
    r"""Fit median and shape by maximum likelihood.

    With :math:`u_i = \log 2\,(t_i/m)^k` the log-likelihood is
    :math:`\sum_i \{d_i (\log k + \log u_i - \log t_i) - u_i\}`. Given :math:`k` the best median
    is :math:`m^k = \log 2\,\sum t_i^k / \sum d_i`, which leaves one equation in :math:`k`;
    intervals from the observed information of :math:`(\log m, \log k)`.

    Parameters
    ----------
    time, event
        See `ballbook.survival.survival_data`. A patient censored at time 0 adds nothing.

    Raises
    ------
    ValueError
        For fewer than two deaths at different times, or a death at time 0.

    Notes
    -----
    R: ``survreg(Surv(time, event) ~ 1, dist = "weibull")``, with shape ``1/scale`` and median
    ``exp(coef) * log(2)^scale``. Kalbfleisch & Prentice (2002), section 3.6.
    """
    t, died, _ = survival_data(time, event)
    if (t[died] == 0).any():
        raise ValueError("a death at time 0 has no place in a Weibull curve")
    keep = t > 0
    log_t, d = np.log(t[keep]), died[keep].astype(float)
    if len(np.unique(log_t[d == 1])) < 2:
        raise ValueError("fewer than two deaths at different times: the shape cannot be fitted")

    deaths, mean_log = d.sum(), float(np.sum(d * log_t) / d.sum())

    def score(k: float) -> float:
        weight = np.exp(k * (log_t - log_t.max()))
        return 1 / k + mean_log - float(np.sum(weight * log_t) / weight.sum())

    low, high = 1e-4, 1.0
    while score(high) > 0:
        high *= 2
    k = float(optimize.brentq(score, low, high, xtol=1e-13))
    log_m = (math.log(math.log(2) / deaths) + float(special.logsumexp(k * log_t))) / k
    z = k * (log_t - log_m)
    u = math.log(2) * np.exp(z)
    log_likelihood = float(np.sum(d * (math.log(k * math.log(2)) + z - log_t) - u))
    cross = -np.sum(k * (u * (1 + z) - d))
    information = np.array([[np.sum(k * k * u), cross], [cross, np.sum(z * (u * (1 + z) - d))]])
    se = np.sqrt(np.diag(np.linalg.inv(information)))
    best, margin = (log_m, math.log(k)), normal_quantile(ci_level) * se

    def estimate(i: int, kind: str, label: str, in_unit: str | None) -> Estimate:
        return Estimate(
            kind=kind,
            value=math.exp(best[i]),
            ci_low=math.exp(best[i] - margin[i]),
            ci_high=math.exp(best[i] + margin[i]),
            ci_level=ci_level,
            unit=in_unit,
            n=len(t),
            n_events=int(died.sum()),
            method="Weibull, maximum likelihood, Wald interval on the log scale",
            label=label,
        )

    return WeibullFit(
        Weibull(math.exp(log_m), k),
        estimate(0, "median", "Weibull median", unit),
        estimate(1, "shape", "Weibull shape", None),
        log_likelihood,
    )


# --- selection ----------------------------------------------------------------------------------


def median_before_selection(observed: float, delay: float, shape: float = 1.0) -> float:
    r"""Return the true median when only patients alive at `delay` could be reported.

    Counting from time 0 those who lived to be reported inflates the median (immortal time). Among
    them :math:`S(\tilde m) = S(\delta)/2`, so :math:`m = (\tilde m^k - \delta^k)^{1/k}`.

    Raises
    ------
    ValueError
        If `delay` is negative or not below the observed median.
    """
    _positive(observed, "observed")
    _positive(shape, "shape")
    if not 0 <= delay < observed:
        raise ValueError(f"delay is {delay:g}, expected 0 to below the observed {observed:g}")
    return float((observed**shape - delay**shape) ** (1 / shape))


# --- size ---------------------------------------------------------------------------------------


def patients_for_median(
    within: float,
    median: float,
    *,
    shape: float = 1.0,
    probability: float = 0.95,
    largest: int = 20_001,
) -> Estimate:
    r"""Return how many patients, all followed to death, put the sample median within a margin.

    The smallest odd `n` with :math:`P(|\tilde m - m| \le w) \ge` `probability`, exactly:
    :math:`\tilde m \le x` when at least :math:`(n+1)/2` of `n` patients die by :math:`x`.

    Parameters
    ----------
    within, median : float
        Margin and true median, in one unit.
    largest : int
        Search limit.
    """
    _positive(within, "within")
    truth = Weibull(median, shape)
    dead_late = 1 - float(truth.survival(median + within))
    dead_early = 1 - float(truth.survival(median - within)) if within < median else 0.0
    label = f"patients to find a median of {median:g} within {within:g}"

    def chance(n: int) -> float:
        need = (n + 1) // 2 - 1
        return float(stats.binom.sf(need, n, dead_late) - stats.binom.sf(need, n, dead_early))

    low, high = 0, (largest - 1) // 2
    if chance(2 * high + 1) < probability:
        return not_estimable("count", f"more than {largest:,} patients", label=label)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if chance(2 * middle + 1) >= probability else (middle + 1, high)
    n = 2 * low + 1
    return Estimate(
        kind="count",
        value=float(n),
        ci_level=None,
        unit="patients",
        n=n,
        method=f"exact distribution of the sample median, Weibull shape {shape:.3g}, no censoring",
        label=label,
    )


def _positive(value: float, name: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}, expected a positive number")

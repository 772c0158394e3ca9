r"""How large a clone is, whether it is there at all, and what would have shown it.

The sites of one lineage are read together: k of N reads, over sites and depth, carry its variants.

**Background.** Without the clone, reads are wrong at rate e. One-sided,
:math:`P=\Pr(X\ge k),\ X\sim\mathrm{Bin}(N,e)`, is kept as a logarithm, since it falls below the
smallest number of double precision (`log_p_value`). A rate that differs from sample to sample makes
it larger (`ballbook.beta_binomial`).

**Fraction.** Of reads q = k/N, some are errors: :math:`q=v(1-e)+(1-v)e` gives
:math:`v=(q-e)/(1-2e)`. Where m of M reads of controls measure e, the interval of :math:`q-e` is
that of two independent proportions.

**Cells.** In a sample of purity p, where leukaemic cells have C copies of the locus, others two,
and m copies are mutated in each cell of the clone,

.. math::
   v = \frac{f\,m}{pC+2(1-p)},\qquad f=\frac{v\,(pC+2(1-p))}{m},\qquad f_{\text{leukaemic}}=f/p,

with f the share of all cells. In diploid loci f = 2v, whatever the purity.

**Detection.** At level :math:`\alpha` the clone is called from the smallest count c with
:math:`\Pr(X\ge c\mid e)\le\alpha`. Its limit of detection is the v at which
:math:`\Pr(X\ge c\mid v)` reaches the power asked for; with the incomplete beta function,
:math:`\Pr(X\ge c)=I_q(c,N-c+1)`, so that q is its inverse. Reads cannot show what is not in the
tube: of G cells, a Poisson number :math:`M\sim\mathrm{Po}(Gf)` belong to the clone, and the reads
have :math:`v=M/2G` (`cells`).

Clopper, Pearson, Biometrika 1934;26:404. Currie, Anal Chem 1968;40:586 (decision and detection
limits). Newman et al., Nat Biotechnol 2016;34:547 (sites times depth).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from ballbook.beta_binomial import log_tail as beta_binomial_log_tail
from ballbook.clones import log_upper_tail
from ballbook.contingency import proportion, risk_difference
from ballbook.inputs import as_count
from ballbook.results import Estimate, not_estimable

UNIT = "allele fraction"
# Mass of the DNA of a diploid human cell, pg: Doležel et al., Cytometry A 2003;51:127.
PG_PER_CELL = 6.6
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Quantiles over which a background that varies is averaged.
_QUANTILES = (np.arange(201) + 0.5) / 201


def pooled_fraction(k: int, n: int, *, ci_level: float = 0.95) -> Estimate:
    """Return k/N with its exact interval, of kind ``mean``.

    Raises
    ------
    ValueError
        If the counts are no counts, or k is above N.
    """
    if n == 0:
        return not_estimable("mean", "no reads", n=0, n_events=0, unit=UNIT)
    e = proportion(k, n, ci_level=ci_level)
    return replace(e, kind="mean", unit=UNIT, method=f"pooled over sites, {e.method}")


def log_p_value(k: int, n: int, error: float) -> float:
    r"""Return :math:`\ln\Pr(X\ge k)` of :math:`X\sim\mathrm{Bin}(n,e)`, at any k.

    Raises
    ------
    ValueError
        If k is not from 0 to n, or `error` not between 0 and 1.
    """
    k, n = as_count(k, "k"), as_count(n, "n")
    if k > n or not 0 < error < 1:
        raise ValueError("expected k of at most n, and an error rate between 0 and 1")
    if k == 0:
        return 0.0
    if k > n * error:
        return min(0.0, float(log_upper_tail(k, n, error)))
    return float(stats.binom.logsf(k - 1, n, error))


def against_background(k: int, n: int, error: float, *, rho: float = 0.0) -> Estimate:
    """Return the decimal logarithm of the one-sided P value, of kind ``log10-p``.

    `p_value` is None where it is below what double precision can hold. With `rho` the error rate
    varies between samples with that correlation.
    """
    if n == 0:
        return not_estimable("log10-p", "no reads", n=0, n_events=0)
    log = beta_binomial_log_tail(k, n, error, rho) if rho > 0 else log_p_value(k, n, error)
    p = math.exp(log) if log > math.log(np.finfo(float).tiny) else None
    how = f"beta-binomial with correlation {rho:.2g}" if rho > 0 else "binomial"
    return Estimate(
        "log10-p", log / math.log(10), ci_level=None, p_value=p, n=n, n_events=k,
        method=f"one-sided exact {how} test against {error:.2g} errors per read, in logarithms",
    )  # fmt: skip


def format_log10_p(log10_p: float | None) -> str:
    """Return a P value as ``1.5 x 10`` with its exponent raised, however small."""
    if log10_p is None:
        return "not estimable"
    if log10_p > -2:
        return f"{10**log10_p:.2f}"
    exponent = math.floor(log10_p)
    mantissa = 10 ** (log10_p - exponent)
    if mantissa >= 9.95:
        mantissa, exponent = 1.0, exponent + 1
    return f"{mantissa:.1f} × 10{str(exponent).translate(_RAISED)}"


def without_background(
    k: int, n: int, error: float | tuple[int, int], *, ci_level: float = 0.95
) -> Estimate:
    """Return the allele fraction less the errors.

    Parameters
    ----------
    error : float or (int, int)
        A rate taken as exact; or m errors of M reads of controls, whose uncertainty then counts.

    Returns
    -------
    Estimate
        Not below 0; the interval too.
    """
    q = pooled_fraction(k, n, ci_level=ci_level)
    if q.value is None or q.ci_low is None or q.ci_high is None:
        return q
    if isinstance(error, tuple):
        m, reads = error
        d = risk_difference(k, n, m, reads, "newcombe", ci_level=ci_level)
        assert d.value is not None and d.ci_low is not None and d.ci_high is not None
        rate = m / reads
        found = [d.value, d.ci_low, d.ci_high]
        how = f"less {m:,} of {reads:,} reads of controls, Newcombe interval"
    else:
        rate = error
        found = [v - rate for v in (q.value, q.ci_low, q.ci_high)]
        how = f"less {rate:.2g} errors per read taken as exact, Clopper-Pearson interval"
    value, low, high = (max(0.0, v / (1 - 2 * rate)) for v in found)
    return replace(q, value=value, ci_low=low, ci_high=high, method=f"pooled over sites {how}")


def cells_of_clone(
    fraction: Estimate,
    *,
    purity: float | None = None,
    copy_number: float = 2.0,
    multiplicity: float = 1.0,
) -> Estimate:
    """Return the share of cells that an allele fraction means, of kind ``proportion``.

    Parameters
    ----------
    purity : float, optional
        Of all cells where None (which needs `copy_number` 2), else of leukaemic cells.
    copy_number : float
        Of the locus in leukaemic cells.
    multiplicity : float
        Mutated copies in each cell of the clone.

    Returns
    -------
    Estimate
        At most 1, and so are the bounds; a value cut off at 1 has its reason.

    Raises
    ------
    ValueError
        If a copy number without a purity is not 2, or a number is out of range.
    """
    if multiplicity <= 0 or copy_number <= 0 or (purity is not None and not 0 < purity <= 1):
        raise ValueError("purity: above 0, at most 1; copy number and multiplicity: above 0")
    if purity is None and copy_number != 2:
        raise ValueError("a copy number other than 2 needs the purity")
    p = 1.0 if purity is None else purity
    factor = (p * copy_number + 2 * (1 - p)) / (multiplicity * p)
    found = [None if v is None else factor * v
             for v in (fraction.value, fraction.ci_low, fraction.ci_high)]  # fmt: skip
    value, low, high = (None if v is None else min(1.0, v) for v in found)
    over = found[0] is not None and found[0] > 1
    whose = "all cells" if purity is None else f"leukaemic cells, purity {purity:g}"
    return replace(
        fraction, kind="proportion", value=value, ci_low=low, ci_high=high, unit=None,
        method=f"share of {whose}: {factor:.3g} times the allele fraction",
        reason=f"{found[0]:.2f} before it was cut off at 1" if over else fraction.reason,
    )  # fmt: skip


# ---------------------------------------------------------------------------------- detection


def critical_count(reads: int, error: float, *, alpha: float = 0.001, rho: float = 0.0) -> int:
    """Return the smallest count at which the clone is called: a tail of at most `alpha`.

    ``reads + 1`` where no count is enough.
    """
    _design(error, alpha)
    limit = math.log(alpha)
    low, high = 0, reads + 1
    while high - low > 1:
        middle = (low + high) // 2
        tail = (
            beta_binomial_log_tail(middle, reads, error, rho)
            if rho > 0 else float(stats.binom.logsf(middle - 1, reads, error))
        )  # fmt: skip
        low, high = (low, middle) if tail <= limit else (middle, high)
    return high


def detection_power(
    fraction: ArrayLike,
    reads: int,
    error: float,
    *,
    alpha: float = 0.001,
    cells: float | None = None,
    rho: float = 0.0,
) -> np.ndarray:
    """Return the probability that a clone of this share of all cells is called.

    Parameters
    ----------
    fraction : array_like of float
        Share of cells; the variants are on one of two copies.
    reads : int
        Sites times depth.
    cells : float, optional
        Cells whose DNA is in the tube; endless when not given.
    rho : float
        Correlation by which the error rate varies between samples.
    """
    shares = np.atleast_1d(np.asarray(fraction, dtype=float))
    if ((shares < 0) | (shares > 1)).any():
        raise ValueError("fraction: expected values from 0 to 1")
    c = critical_count(reads, error, alpha=alpha, rho=rho)
    return np.array([_power(float(f), reads, error, c, cells, rho) for f in shares])


def limit_of_detection(
    reads: int,
    error: float,
    *,
    alpha: float = 0.001,
    power: float = 0.95,
    cells: float | None = None,
    rho: float = 0.0,
) -> float | None:
    """Return the smallest clone, as a share of cells, that is called with this power; or None.

    Arguments as in `detection_power`. None where not even a clone of all cells would be.
    """
    _design(error, alpha, power)
    c = critical_count(reads, error, alpha=alpha, rho=rho)
    if c > reads:
        return None
    if cells is None and rho == 0:
        q = float(special.betaincinv(c, reads - c + 1, power))
        share = 2 * max(0.0, (q - error) / (1 - 2 * error))
        return share if share <= 1 else None

    def short(log_share: float) -> float:
        return _power(math.exp(log_share), reads, error, c, cells, rho) - power

    if short(0.0) < 0:
        return None
    return float(math.exp(optimize.brentq(short, math.log(1e-12), 0.0, xtol=1e-6)))


def reads_needed(
    fraction: float, error: float, *, alpha: float = 0.001, power: float = 0.95
) -> int | None:
    """Return the fewest reads (sites times depth) that call a clone of this share with this power.

    Power is a saw: with a few reads more it can dip just below, where the critical count rises by
    one. None where more than 10^12 reads would be needed.
    """
    _design(error, alpha, power)
    if not 0 < fraction <= 1:
        raise ValueError("fraction: expected a share above 0, at most 1")
    v = fraction / 2
    q = v * (1 - error) + (1 - v) * error

    def fewest(c: int) -> int:
        """Return the fewest reads that reach c with this power."""
        return _first_reads(c, q, power)

    def most(c: int) -> int:
        """Return the most reads at which c errors are still rarer than alpha."""
        return _first_reads(c, error, alpha, above=True) - 1

    high = 1
    while fewest(high) > most(high):
        high *= 2
        if fewest(high) > 10**12:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fewest(middle) <= most(middle) else (middle, high)
    # The gain of a count is not strictly monotone; an earlier one may do.
    first = next(c for c in range(max(1, high - 3), high + 1) if fewest(c) <= most(c))
    return fewest(first)


def cells_in(ng: float) -> float:
    """Return how many diploid cells give this many ng of DNA."""
    return ng * 1000 / PG_PER_CELL


def doubling_time(first: float, last: float, months: float) -> float:
    """Return the doubling time in months of growth at one rate between two shares of cells.

    Raises
    ------
    ValueError
        If the clone did not grow, or a number is not above 0.
    """
    if not (0 < first < last <= 1 and months > 0):
        raise ValueError("expected a clone that grows within some time")
    return months / math.log2(last / first)


def _first_reads(c: int, rate: float, level: float, above: bool = False) -> int:
    """Return the fewest reads at which P(X >= c) is at least (or above) `level`."""
    low, high = c - 1, max(2 * c, 16)

    def reached(n: int) -> bool:
        if n < c:
            return False
        tail = float(special.betainc(c, n - c + 1, rate))
        return tail > level if above else tail >= level

    while not reached(high):
        low, high = high, 2 * high
        if high > 10**13:
            return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _power(f: float, reads: int, error: float, c: int, cells: float | None, rho: float) -> float:
    if c > reads:
        return 0.0
    if cells is None:
        v, weight = np.array([f / 2]), np.array([1.0])
    else:
        expected = cells * f
        reach = 10 * math.sqrt(expected) + 30
        # Beyond some thousand cells of the clone their number hardly varies.
        step = max(1, math.ceil(2 * reach / 4000))
        number = np.arange(max(0, math.floor(expected - reach)), expected + reach, step)
        weight = stats.poisson.pmf(np.round(number), expected)
        weight = weight / weight.sum()
        v = np.minimum(number / (2 * cells), 0.5)
    rates = np.array([error])
    if rho > 0:
        total = 1 / rho - 1
        rates = stats.beta.ppf(_QUANTILES, error * total, (1 - error) * total)
    q = v[:, None] * (1 - rates) + (1 - v[:, None]) * rates
    tail = special.betainc(c, reads - c + 1, np.clip(q, 0, 1))
    return float(weight @ tail.mean(axis=1))


def _design(error: float, alpha: float, power: float = 0.5) -> None:
    if not (0 < error < 0.5 and 0 < alpha < 1 and 0 < power < 1):
        raise ValueError("expected an error rate below 0.5, and alpha and power between 0 and 1")

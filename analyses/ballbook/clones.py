r"""How many reads behind a printed allele fraction: the pooled binomial model of clone size.

Pooled over the sites of a branch, k of N reads carry the variant. The estimate is k/N, its
interval the exact one (Clopper and Pearson, Biometrika 1934;26:404), and the P value the upper tail
:math:`P(X\ge k)` of :math:`X\sim\mathrm{Bin}(N,e)` under the background error e. Where a paper
prints these without k and N, the few pairs that fit are found by trying them all.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special


@dataclass(frozen=True, slots=True)
class CloneSizes:
    """All (k, N) that fit what is printed.

    Attributes
    ----------
    table : DataFrame
        One row a count ``k``: ``n_low`` and ``n_high`` (fewest and most reads that fit),
        ``lower_min`` and ``lower_max`` (exact lower bound over them, fractions).
    """

    table: pd.DataFrame

    @property
    def k(self) -> tuple[int, int]:
        """Smallest and largest number of variant reads."""
        return int(self.table["k"].min()), int(self.table["k"].max())

    @property
    def n(self) -> tuple[int, int]:
        """Smallest and largest number of reads."""
        return int(self.table["n_low"].min()), int(self.table["n_high"].max())

    @property
    def lower(self) -> tuple[float, float]:
        """Smallest and largest exact lower bound of k/N."""
        return float(self.table["lower_min"].min()), float(self.table["lower_max"].max())


def clone_sizes(
    fraction: str, upper: str, p: str, error: float, *, error_room: float = 0.0, largest: int = 600
) -> CloneSizes:
    r"""Return every k of N reads that gives a printed fraction, upper bound and P value.

    Kept are the pairs with :math:`k/N` rounding to `fraction`, the upper bound
    :math:`B^{-1}(0.975;\,k+1,\,N-k)` rounding to `upper` and the tail rounding to `p`.

    Parameters
    ----------
    fraction, upper, p : str
        As printed; their digits decide the rounding.
    error : float
        Background errors per read.
    error_room : float
        Half a unit of the last printed digit of `error`: any e that close may be the true one.
    largest : int
        Counts up to this are tried.

    Raises
    ------
    ValueError
        If no pair fits.
    """
    v_low, v_high = _band(fraction)
    u_low, u_high = _band(upper)
    p_low, p_high = (math.log(x) for x in _band(p))
    weak, strong = error - error_room, error + error_room
    rows = []
    for k in range(2, largest + 1):
        first, last = math.ceil(k / v_high), math.floor(k / v_low)
        # With more reads the upper bound falls and the tail grows: what fits is one stretch.
        low = _first(partial(_bound_at_most, k, u_high), first, last)
        high = _first(partial(_bound_at_most, k, u_low), first, last)
        if low >= high:
            continue
        low = _first(partial(_tail_at_least, k, strong, p_low), low, high - 1)
        high = _first(partial(_tail_at_least, k, weak, p_high), low, high - 1)
        if low < high:
            bounds = special.betaincinv(k, np.array([high - 1, low]) - k + 1, 0.025)
            rows.append((k, low, high - 1, float(bounds[0]), float(bounds[1])))
    if not rows:
        raise ValueError("no number of reads fits all printed values")
    columns = ["k", "n_low", "n_high", "lower_min", "lower_max"]
    return CloneSizes(pd.DataFrame(rows, columns=columns))


def reads_of_p(
    p: str, error: float, reads: tuple[int, int], *, error_room: float = 0.0
) -> pd.DataFrame:
    """Return every count whose tail prints as `p`, for numbers of reads in a range.

    Unlike `clone_sizes` this takes no printed fraction, so that the fraction it gives can be
    compared with one.

    Parameters
    ----------
    p : str
        As printed.
    error, error_room : float
        As in `clone_sizes`.
    reads : (int, int)
        Fewest and most reads.

    Returns
    -------
    DataFrame
        ``k, n_low, n_high``; empty where no count fits.
    """
    p_low, p_high = (math.log(x) for x in _band(p))
    weak, strong = error - error_room, error + error_room
    first, last = reads
    rows = []
    for k in range(math.ceil(last * strong) + 1, first):
        low = _first(partial(_tail_at_least, k, strong, p_low), first, last)
        high = _first(partial(_tail_at_least, k, weak, p_high), first, last)
        if low < high:
            rows.append((k, low, high - 1))
        elif low > last:
            # Still more variant reads are still less likely.
            break
    return pd.DataFrame(rows, columns=["k", "n_low", "n_high"])


def log_upper_tail(k: int, n: ArrayLike, error: float) -> NDArray[np.float64]:
    r"""Return :math:`\ln P(X\ge k)` for :math:`X\sim\mathrm{Bin}(n,e)`, far below underflow.

    :math:`\ln\binom nk e^k(1-e)^{n-k}` plus the logarithm of
    :math:`1+\frac{(n-k)e}{(k+1)(1-e)}+\dots`, the terms of the tail relative to the first; they
    fall geometrically once k is above ne.

    Parameters
    ----------
    k : int
    n : array_like of int
        Reads, each at least k.
    error : float
        Between 0 and 1, both excluded.

    Raises
    ------
    ValueError
        If `error` is outside its range, or k is below the expected number of errors, where the
        sum would be long and the logarithm is not needed.
    """
    reads = np.asarray(n, dtype=float)
    if not 0 < error < 1:
        raise ValueError(f"error is {error}, expected a rate between 0 and 1")
    if (reads * error > k).any():
        raise ValueError("k lies below the expected number of errors")
    first = (
        special.gammaln(reads + 1)
        - special.gammaln(k + 1)
        - special.gammaln(reads - k + 1)
        + k * math.log(error)
        + (reads - k) * math.log1p(-error)
    )
    total, term = np.ones_like(reads), np.ones_like(reads)
    j = k
    while float(term.max(initial=0)) > 1e-17:
        term = term * np.maximum(reads - j, 0) * error / ((j + 1) * (1 - error))
        total = total + term
        j += 1
    return np.asarray(first + np.log(total))


def _first(holds: Callable[[int], bool], first: int, last: int) -> int:
    """Return the first n of ``first..last`` from which on `holds` is true, else ``last + 1``."""
    return first + bisect.bisect_left(range(first, last + 1), True, key=holds)


def _bound_at_most(k: int, limit: float, n: int) -> bool:
    """Tell whether the exact upper bound of k/n is at most `limit`."""
    return float(special.betaincinv(k + 1, n - k, 0.975)) <= limit


def _tail_at_least(k: int, error: float, log_p: float, n: int) -> bool:
    """Tell whether the tail beyond k of n has at least that logarithm."""
    return float(log_upper_tail(k, n, error)) >= log_p


def _band(text: str) -> tuple[float, float]:
    """Return the numbers that may have been printed as `text`."""
    number = Decimal(text)
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    room = 0.5 * 10.0**exponent
    return float(number) - room, float(number) + room

"""Which counts, and which denominators, a printed percentage allows.

A percentage of whole patients can only take the values k/n. Where a paper prints percentages
without counts, the few k and n that round to them are found by trying them all. Two percentages
that no common n allows cannot describe the same patients (the granularity argument of Brown &
Heathers 2017, Soc Psychol Personal Sci 8:363).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction

import pandas as pd


def counts_that_print_as(printed: str, n: int) -> list[int]:
    r"""Return every count k for which 100 k/n rounds to the printed percentage.

    With d printed decimals, all k with :math:`|100k/n - p| \le 10^{-d}/2`, in exact arithmetic.
    Both ways of rounding a half are allowed, since papers use both.

    Parameters
    ----------
    printed : str
        Percentage as printed, for example ``"64.3"``; its decimals decide the rounding.
    n : int
        Denominator, patients.

    Raises
    ------
    ValueError
        If `printed` is no number between 0 and 100, or `n` is not positive.
    """
    value, room = _percentage(printed)
    if n < 1:
        raise ValueError(f"n is {n}, expected at least 1 patient")
    return [k for k in range(n + 1) if abs(Fraction(100 * k, n) - value) <= room]


def counts_below(bound: str, n: int) -> list[int]:
    """Return every count k with 100 k/n strictly below the percentage `bound`.

    What ``<40%`` of `n` patients allows.

    Raises
    ------
    ValueError
        As `counts_that_print_as`.
    """
    value, _ = _percentage(bound)
    if n < 1:
        raise ValueError(f"n is {n}, expected at least 1 patient")
    return [k for k in range(n + 1) if Fraction(100 * k, n) < value]


def denominators(printed: Sequence[str], largest: int) -> pd.DataFrame:
    """Return which denominators allow each, and all, of several printed percentages.

    Parameters
    ----------
    printed : sequence of str
        Percentages that are thought to be of the same patients.
    largest : int
        Denominators 1 to this are tried.

    Returns
    -------
    DataFrame
        One row per denominator: ``n``, one column per percentage with the counts that print as it
        (comma-separated, empty when none does), and ``all`` (bool).
    """
    rows = []
    for n in range(1, largest + 1):
        counts = [counts_that_print_as(p, n) for p in printed]
        cells = {p: ", ".join(map(str, k)) for p, k in zip(printed, counts, strict=True)}
        rows.append({"n": n, **cells, "all": all(counts)})
    return pd.DataFrame(rows)


def _percentage(printed: str) -> tuple[Fraction, Fraction]:
    """Return a printed percentage and half a unit of its last digit, exactly."""
    try:
        number = Decimal(printed)
        inside = 0 <= number <= 100
    except InvalidOperation:
        raise ValueError(f"{printed!r} is not a percentage such as '64.3'") from None
    if not inside:
        raise ValueError(f"{printed!r} is not between 0 and 100")
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return Fraction(number), Fraction(Decimal(1).scaleb(exponent)) / 2

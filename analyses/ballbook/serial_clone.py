"""One lineage followed through serial samples: pooled reads, background, size and limits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ballbook import clone_size
from ballbook.beta_binomial import LEAST_RHO, beta_binomial
from ballbook.results import Estimate, not_estimable
from ballbook.variants import Serial, Variants

# Sites are said to vary at P values up to this, and with at least as many variant reads.
VARY_P, VARY_READS = 0.01, 10
# Fewer controls say nothing of how much the error rate varies between samples.
FEWEST_CONTROLS = 5


@dataclass(frozen=True)
class Background:
    """Errors per read without the clone.

    Attributes
    ----------
    rate : float
        Errors per read used in the tests.
    errors, reads : int or None
        Of the controls; None where the rate was given.
    rho : float
        Correlation by which the rate varies between controls, 0 where that is not known.
    controls : int
    """

    rate: float
    errors: int | None = None
    reads: int | None = None
    rho: float = 0.0
    controls: int = 0

    @property
    def told(self) -> float | tuple[int, int]:
        """What `clone_size.without_background` takes."""
        if self.errors is None or self.reads is None:
            return self.rate
        return self.errors, self.reads


@dataclass(frozen=True)
class Sample:
    """One sample, called by its place in the table: names may say who it is of.

    Attributes
    ----------
    name : str
        ``sample 1`` and so on.
    day : float or None
    sites, blind : int
        Sites counted, and those at which nobody looked.
    pooled, fraction, net : Estimate
        Allele fraction with its exact interval; with that of the beta-binomial over sites where
        they vary; and less the background.
    rho : float
        Correlation of sites, 0 where they do not vary.
    cells, leukaemic : Estimate
        Share of all and of leukaemic cells, from `net`.
    log10_p : Estimate
    called : bool
        P of at most alpha.
    limit : float or None
        Smallest share of cells that these reads show with the power asked for.
    """

    name: str
    day: float | None
    sites: int
    blind: int
    pooled: Estimate
    fraction: Estimate
    net: Estimate
    rho: float
    cells: Estimate
    leukaemic: Estimate
    log10_p: Estimate
    called: bool
    limit: float | None


@dataclass(frozen=True)
class Course:
    """What serial samples say of a lineage.

    `left` counts sites that were left out because their copy number is not 2.
    """

    samples: tuple[Sample, ...]
    background: Background
    sites: int
    left: int

    @property
    def table(self) -> pd.DataFrame:
        """One row a sample; fractions of 1, P as decimal logarithm."""
        rows = []
        for s in self.samples:
            rows.append(
                {
                    "sample": s.name, "day": s.day, "sites": s.sites, "blind": s.blind,
                    "variant_reads": s.pooled.n_events, "reads": s.pooled.n,
                    "value": s.pooled.value, "ci_low": s.pooled.ci_low,
                    "ci_high": s.pooled.ci_high, "fraction": s.fraction.value,
                    "fraction_low": s.fraction.ci_low, "fraction_high": s.fraction.ci_high,
                    "rho": s.rho, "net": s.net.value,
                    "cells": s.cells.value, "cells_low": s.cells.ci_low,
                    "cells_high": s.cells.ci_high, "log10_p": s.log10_p.value,
                    "called": int(s.called), "limit": s.limit,
                }
            )  # fmt: skip
        return pd.DataFrame(rows)


def background_of(serial: Serial, rate: float) -> Background:
    """Return the background: of the controls where there are some, else the rate given.

    Where no control has an error, the rate is the upper 95% bound of none, 3/M. From
    `FEWEST_CONTROLS` on, the variation between controls is fitted to their totals.
    """
    variants, samples = _lineage(serial)
    if samples is None or not samples["control"].any():
        return Background(rate)
    of = samples["control"].to_numpy(bool)
    k, n = variants.alt[:, of].sum(axis=0), variants.depth[:, of].sum(axis=0)
    errors, reads = int(k.sum()), int(n.sum())
    if reads == 0:
        return Background(rate)
    rho = 0.0
    if int((n > 0).sum()) >= FEWEST_CONTROLS and 0 < errors < reads:
        fitted = beta_binomial(k, n).rho
        rho = fitted if fitted > 2 * LEAST_RHO else 0.0
    used = errors / reads if errors else 3 / reads
    return Background(used, errors, reads, rho, int(of.sum()))


def course(
    serial: Serial,
    *,
    error: float,
    alpha: float = 0.001,
    power: float = 0.95,
    diploid_only: bool = True,
) -> Course:
    """Return size, presence and limit of the lineage in every sample that is no control.

    Parameters
    ----------
    serial : Serial
        With a sites list, its sites; else all.
    error : float
        Errors per read where there are no controls.
    diploid_only : bool
        Leave out sites whose copy number is known and not 2 in a sample that is no control.

    Raises
    ------
    ValueError
        If no site is left.
    """
    variants, samples = _lineage(serial)
    back = background_of(serial, error)
    control = (
        np.zeros(len(variants.samples), bool)
        if samples is None else samples["control"].to_numpy(bool)
    )  # fmt: skip
    left = 0
    if diploid_only and variants.copy_number is not None:
        copies = variants.copy_number[:, ~control]
        odd = (np.isfinite(copies) & (copies != 2)).any(axis=1)
        left = int(odd.sum())
        variants = variants.where(~odd)
    if not len(variants.sites):
        raise ValueError("no site of the lineage has two copies in every sample")
    found = []
    for place, j in enumerate(np.flatnonzero(~control), start=1):
        day = None if samples is None else float(samples["day"].iloc[int(j)])
        share = None if variants.purity is None else _one(variants.purity[:, j])
        found.append(
            _sample(
                f"sample {place}", None if day is None or math.isnan(day) else day,
                variants.alt[:, j], variants.depth[:, j], back, share, alpha, power,
            )
        )  # fmt: skip
    return Course(tuple(found), back, len(variants.sites), left)


def _lineage(serial: Serial) -> tuple[Variants, pd.DataFrame | None]:
    variants = serial.variants if serial.sites is None else serial.variants.at(serial.sites)
    return variants, serial.samples


def _one(values: np.ndarray) -> float | None:
    """Return the one purity of a sample, None where it is unknown or differs between sites."""
    known = np.unique(values[np.isfinite(values)])
    return float(known[0]) if len(known) == 1 and known[0] > 0 else None


def _less(fraction: Estimate, rate: float) -> Estimate:
    """Return a fraction less the background, whose own uncertainty is small beside the sites'."""
    value, low, high = (
        None if v is None else max(0.0, (v - rate) / (1 - 2 * rate))
        for v in (fraction.value, fraction.ci_low, fraction.ci_high)
    )
    how = f"{fraction.method}, less {rate:.2g} errors per read"
    return replace(fraction, value=value, ci_low=low, ci_high=high, method=how)


def _sample(
    name: str,
    day: float | None,
    alt: np.ndarray,
    depth: np.ndarray,
    back: Background,
    purity: float | None,
    alpha: float,
    power: float,
) -> Sample:
    looked = depth > 0
    k, n = int(alt.sum()), int(depth.sum())
    pooled = clone_size.pooled_fraction(k, n)
    fraction, rho = pooled, 0.0
    net = clone_size.without_background(k, n, back.told)
    if k >= VARY_READS:
        fit = beta_binomial(alt, depth)
        p = fit.overdispersion.p_value
        if p is not None and p <= VARY_P:
            fraction, rho = fit.mean, fit.rho
            net = _less(fraction, back.rate)
    log10_p = clone_size.against_background(k, n, back.rate, rho=back.rho)
    called = log10_p.value is not None and log10_p.value <= math.log10(alpha)
    limit = None
    if n:
        limit = clone_size.limit_of_detection(n, back.rate, alpha=alpha, power=power, rho=back.rho)
    leukaemic = not_estimable("proportion", "purity is not known or differs between sites")
    if purity is not None:
        leukaemic = clone_size.cells_of_clone(net, purity=purity)
    return Sample(
        name, day, int(looked.sum()), int((~looked).sum()), pooled, fraction, net, rho,
        clone_size.cells_of_clone(net), leukaemic, log10_p, called, limit,
    )  # fmt: skip

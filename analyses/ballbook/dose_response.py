r"""Dose-response curves from raw wells, and what they are summed up by.

With :math:`x=\log_{10}` dose and a response as a fraction of untreated cells, the four-parameter
log-logistic curve is

.. math:: f(x) = c + \frac{d-c}{1+10^{\,b(x-m)}},

with bottom *c*, top *d*, slope :math:`b>0` and midpoint :math:`m=\log_{10}\mathrm{EC}_{50}`, fitted
by least squares within bounds. Its area over :math:`[x_1,x_2]` is exact,

.. math:: A = d\,(x_2-x_1) + \frac{c-d}{b\ln 10}
          \ln\frac{1+10^{\,b(x_2-m)}}{1+10^{\,b(x_1-m)}},

and the *normalised log AUC* is :math:`A/(x_2-x_1)`: the mean viability over the tested range of log
doses, 1 for a drug without effect. LC50 is the dose at which :math:`f=\tfrac12` of untreated cells,
unlike EC50, half-way between top and bottom; where the curve does not cross one half within the
tested doses, LC50 is only known to lie beyond them.

Ritz et al., PLoS ONE 2015;10:e0146021 (drc). Zhang et al., J Biomol Screen 1999;4:67 (Z').
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from ballbook.inputs import Floats, as_level, as_vector, same_length
from ballbook.results import Estimate, not_estimable

Loss = Literal["squares", "absolute"]
PARAMETERS = ("bottom", "top", "slope", "midpoint")
LN10 = math.log(10)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where the parameters of a curve may lie.

    Parameters
    ----------
    bottom, top, slope : (float, float)
        The defaults are those of the Zurich drug-response platform (Steffen et al. 2025): a steeper
        slope than 2.5 cannot be told from a step with doses a factor of ten apart.
    beyond : float
        How far (log10) the midpoint may lie outside the tested doses.
    """

    bottom: tuple[float, float] = (0.0, 1.0)
    top: tuple[float, float] = (0.0, 2.0)
    slope: tuple[float, float] = (0.01, 2.5)
    beyond: float = 2.0


WIDE = Bounds((-np.inf, np.inf), (-np.inf, np.inf), (1e-6, np.inf), np.inf)


@dataclass(frozen=True, slots=True)
class Curve:
    """A fitted four-parameter log-logistic curve.

    Attributes
    ----------
    bottom, top, slope, midpoint : float
        As in the module's formula; `midpoint` is log10 of the EC50 in the unit of the doses.
    std_errors : dict
        Of the parameters that were free; NaN for one that ended on its bound.
    fixed, at_bound : tuple of str
        Parameters that were held, and those whose bound decided them.
    low, high : float
        log10 of the lowest and highest tested dose.
    residual_error : float
        Residual standard error, on `df` degrees of freedom.
    n : int
        Wells.
    """

    bottom: float
    top: float
    slope: float
    midpoint: float
    std_errors: Mapping[str, float]
    fixed: tuple[str, ...]
    at_bound: tuple[str, ...]
    low: float
    high: float
    residual_error: float
    df: int
    n: int
    loss: Loss = "squares"
    ci_level: float = 0.95
    covariance: Floats = field(repr=False, default_factory=lambda: np.zeros((0, 0)))
    free: tuple[str, ...] = ()

    @property
    def parameters(self) -> Floats:
        """Bottom, top, slope and midpoint."""
        return np.array([self.bottom, self.top, self.slope, self.midpoint])

    def response(self, dose: ArrayLike) -> Floats:
        """Return the fitted response at doses above 0, in the unit of the fit."""
        return _curve(np.log10(np.asarray(dose, dtype=float)), self.parameters)

    def area(self, low: float | None = None, high: float | None = None) -> Estimate:
        """Return the exact area under the curve over log10 doses `low` to `high`.

        The tested range where not given; interval by the delta method.
        """
        x1, x2 = self._range(low, high)
        return self._derived(lambda p: area(p, x1, x2), "area", "exact area over log10 dose")

    def normalised_area(self, low: float | None = None, high: float | None = None) -> Estimate:
        """Return the normalised log AUC, the mean response over log10 doses `low` to `high`."""
        x1, x2 = self._range(low, high)
        return self._derived(
            lambda p: area(p, x1, x2) / (x2 - x1), "mean", "normalised log AUC, delta method"
        )  # fmt: skip

    def log_ec50(self) -> Estimate:
        """Return log10 of the dose half-way between top and bottom."""
        return self._derived(lambda p: float(p[3]), "mean", "log10 EC50, t interval")

    def log_lc50(self, level: float = 0.5) -> Estimate:
        """Return log10 of the dose at which the response is `level` of untreated cells.

        Where the curve does not cross `level` within the tested doses the estimate has no value and
        one bound: the end of the range beyond which it lies (a censored LC50).
        """
        method = f"log10 dose at which the curve crosses {level:g}"
        start, end = (
            float(_curve(np.array([x]), self.parameters)[0]) for x in (self.low, self.high)
        )
        if start <= level:
            return Estimate(
                "mean", None, None, self.low, n=self.n, method=method,
                reason="the response is below it at the lowest dose",
            )  # fmt: skip
        if end >= level:
            return Estimate(
                "mean", None, self.high, None, n=self.n, method=method,
                reason="not reached at the highest dose",
            )  # fmt: skip
        return self._derived(lambda p: _crossing(p, level), "mean", method)

    def _range(self, low: float | None, high: float | None) -> tuple[float, float]:
        x1, x2 = (self.low if low is None else low), (self.high if high is None else high)
        if not x1 < x2:
            raise ValueError(f"expected a range of log doses, got {x1:g} to {x2:g}")
        return x1, x2

    def _derived(self, function: object, kind: str, method: str) -> Estimate:
        assert callable(function)
        p = self.parameters
        value = float(function(p))
        nothing = Estimate(kind, value, n=self.n, method=method, reason="no standard error")
        if self.df < 1 or not self.free or not np.isfinite(self.covariance).all():
            return nothing
        gradient = np.zeros(len(self.free))
        for i, name in enumerate(self.free):
            j, step = PARAMETERS.index(name), 1e-5
            up, down = p.copy(), p.copy()
            up[j] += step
            down[j] -= step
            gradient[i] = (function(up) - function(down)) / (2 * step)
        if not np.isfinite(gradient).all():
            return nothing
        se = math.sqrt(max(float(gradient @ self.covariance @ gradient), 0.0))
        half = float(stats.t.isf((1 - self.ci_level) / 2, self.df)) * se
        return Estimate(
            kind, value, value - half, value + half, self.ci_level, n=self.n, df=self.df,
            method=method, statistic=None,
        )  # fmt: skip


def four_parameter(
    dose: ArrayLike,
    response: ArrayLike,
    *,
    bottom: float | None = None,
    top: float | None = None,
    bounds: Bounds = Bounds(),
    loss: Loss = "squares",
    ci_level: float = 0.95,
) -> Curve:
    r"""Fit the log-logistic curve to single wells.

    From several starting points, by trust-region least squares with the analytic Jacobian. Standard
    errors are :math:`\sqrt{\operatorname{diag}(s^2 (J^\top J)^{-1})}` over the parameters that are
    neither held nor on a bound. With ``loss="absolute"`` the sum of absolute residuals is minimised
    from the least-squares fit on, which single wild wells move less, and there are no standard
    errors.

    Parameters
    ----------
    dose : array_like of float, shape (n,)
        Above 0, any one unit.
    response : array_like of float, shape (n,)
        Fraction of the untreated control; falls with dose where the drug kills.
    bottom, top : float, optional
        Held at this value; ``top=1`` is the three-parameter curve.

    Raises
    ------
    ValueError
        For doses that are not positive, or fewer distinct doses than free parameters.

    Notes
    -----
    R: ``drc::drm(response ~ dose, fct = LL.4(), lowerl, upperl)`` with slope, bottom, top and EC50;
    ``nls(response ~ SSfpl(log10(dose), top, bottom, midpoint, scal))``, scal = 1 / (b ln 10), where
    no bound is met.
    """
    d, y = as_vector(dose, "dose"), as_vector(response, "response")
    n = same_length(dose=d, response=y)
    as_level(ci_level)
    if (d <= 0).any():
        raise ValueError("dose: expected doses above 0; untreated wells are the control")
    x = np.log10(d)
    low, high = float(x.min()), float(x.max())
    held = {"bottom": bottom, "top": top}
    free = tuple(p for p in PARAMETERS if held.get(p) is None)
    if len(np.unique(x)) < len(free):
        raise ValueError(f"dose: {len(np.unique(x))} doses cannot fit {len(free)} parameters")
    limits = {
        "bottom": bounds.bottom, "top": bounds.top, "slope": bounds.slope,
        "midpoint": (low - bounds.beyond, high + bounds.beyond),
    }  # fmt: skip
    index = [PARAMETERS.index(p) for p in free]
    base = np.array([bottom or 0.0, 1.0 if top is None else top, 1.0, (low + high) / 2])
    lower, upper = (np.array([limits[p][i] for p in free]) for i in (0, 1))

    def full(free_values: Floats) -> Floats:
        p = base.copy()
        p[index] = free_values
        return p

    def residuals(free_values: Floats) -> Floats:
        return _curve(x, full(free_values)) - y

    def jacobian(free_values: Floats) -> Floats:
        return _gradient(x, full(free_values))[:, index]

    best = None
    inner = np.sort(np.unique(x))
    for midpoint in np.linspace(inner[0], inner[-1], 5):
        for slope in (0.7, 1.8):
            start = base.copy()
            start[0] = base[0] if bottom is not None else max(float(y.min()), 0.0)
            start[1] = base[1] if top is not None else float(y.max())
            start[2], start[3] = slope, midpoint
            inside = np.clip(start[index], lower + 1e-6, upper - 1e-6)
            found = optimize.least_squares(
                residuals, inside, jacobian, bounds=(lower, upper), xtol=1e-12, ftol=1e-13,
                gtol=1e-12, max_nfev=200, x_scale="jac",
            )  # fmt: skip
            if best is None or found.cost < best.cost - 1e-12:
                best = found
    assert best is not None
    values = np.asarray(best.x, dtype=float)
    if loss == "absolute":
        values = _least_absolute(residuals, values, lower, upper)
    width = np.where(np.isfinite(upper - lower), upper - lower, 1.0)
    on_bound = (values - lower < 1e-6 * width) | (upper - values < 1e-6 * width)
    df = n - len(free)
    rss = float((residuals(values) ** 2).sum())
    error = math.sqrt(rss / df) if df > 0 else math.nan
    inner_free = tuple(p for p, bad in zip(free, on_bound, strict=True) if not bad)
    covariance = np.full((len(inner_free), len(inner_free)), np.nan)
    if loss == "squares" and df > 0 and inner_free:
        j = jacobian(values)[:, ~on_bound]
        information = j.T @ j
        if np.linalg.matrix_rank(information) == len(inner_free):
            covariance = np.linalg.inv(information) * error**2
    errors = dict.fromkeys(free, math.nan)
    errors.update(zip(inner_free, np.sqrt(np.diag(covariance)).tolist(), strict=True))
    p = full(values)
    return Curve(
        float(p[0]), float(p[1]), float(p[2]), float(p[3]), errors,
        tuple(k for k in PARAMETERS if k not in free),
        tuple(k for k, bad in zip(free, on_bound, strict=True) if bad),
        low, high, error, df, n, loss, ci_level, covariance, inner_free,
    )  # fmt: skip


def area(parameters: Sequence[float] | Floats, low: float, high: float) -> float:
    """Return the exact area of a curve (bottom, top, slope, midpoint) over log10 doses."""
    c, d, b, m = (float(v) for v in parameters)
    # ln(1 + 10^u) without overflow.
    end, start = (float(np.logaddexp(0.0, LN10 * b * (x - m))) for x in (high, low))
    return d * (high - low) + (c - d) / (b * LN10) * (end - start)


def _least_absolute(residuals: object, start: Floats, lower: Floats, upper: Floats) -> Floats:
    """Go from squares to absolute residuals by a loss that turns from one to the other."""
    assert callable(residuals)
    found = start
    for scale in (0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4):
        inside = np.clip(found, lower + 1e-9, upper - 1e-9)
        found = optimize.least_squares(
            residuals, inside, bounds=(lower, upper), loss="soft_l1", f_scale=scale, x_scale="jac"
        ).x
    return np.asarray(found, dtype=float)


def _curve(x: Floats, p: Floats) -> Floats:
    c, d, b, m = p
    return np.asarray(c + (d - c) * special.expit(-LN10 * b * (x - m)))


def _gradient(x: Floats, p: Floats) -> Floats:
    c, d, b, m = p
    share = special.expit(-LN10 * b * (x - m))
    slope = -(d - c) * share * (1 - share) * LN10
    return np.column_stack([1 - share, share, slope * (x - m), -slope * b])


def _crossing(p: Floats, level: float) -> float:
    c, d, b, m = p
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(m + np.log10((d - level) / (level - c)) / b)


# ------------------------------------------------------------------------- quality of a plate


def z_prime(negative: ArrayLike, positive: ArrayLike, *, robust: bool = False) -> Estimate:
    r"""Return the Z'-factor of a plate, :math:`1-\frac{3(s_n+s_p)}{|\bar n-\bar p|}`.

    Above 0.5 the controls are well apart; at 0 their three-standard-deviation bands touch.

    Parameters
    ----------
    negative, positive : array_like of float
        Readings of untreated wells and of wells in which all cells are dead.
    robust : bool
        Medians and 1.4826 median absolute deviations instead.

    Raises
    ------
    ValueError
        For fewer than two wells of a control.
    """
    n, p = as_vector(negative, "negative", min_size=2), as_vector(positive, "positive", min_size=2)
    if robust:
        centre = [float(np.median(v)) for v in (n, p)]
        spread = [float(stats.median_abs_deviation(v, scale="normal")) for v in (n, p)]
    else:
        centre = [float(v.mean()) for v in (n, p)]
        spread = [float(v.std(ddof=1)) for v in (n, p)]
    gap = abs(centre[0] - centre[1])
    if gap == 0:
        return not_estimable("difference", "the two controls have the same mean", n=n.size + p.size)
    return Estimate(
        "difference", 1 - 3 * sum(spread) / gap, ci_level=None, n=n.size + p.size,
        method="Z'-factor" + (", medians" if robust else ""),
    )  # fmt: skip


def largest_rise(dose: ArrayLike, response: ArrayLike) -> float:
    """Return the largest rise of the mean response from a dose to any higher one.

    A killing drug gives 0; a rise says that wells were swapped, that the drug makes cells grow, or
    how noisy the assay is.
    """
    means = _means(dose, response)
    return float(np.max(means - np.minimum.accumulate(means)))


def replicate_error(dose: ArrayLike, response: ArrayLike) -> float:
    """Return the pooled standard deviation of replicate wells; NaN without replicates."""
    frame = pd.DataFrame({"dose": as_vector(dose, "dose"), "y": as_vector(response, "response")})
    groups = frame.groupby("dose")["y"]
    df = int((groups.size() - 1).sum())
    if df == 0:
        return math.nan
    return math.sqrt(float(((frame["y"] - groups.transform("mean")) ** 2).sum()) / df)


def _means(dose: ArrayLike, response: ArrayLike) -> Floats:
    frame = pd.DataFrame({"dose": as_vector(dose, "dose"), "y": as_vector(response, "response")})
    return frame.groupby("dose", sort=True)["y"].mean().to_numpy(dtype=float)


def lack_of_fit(dose: ArrayLike, response: ArrayLike, curve: Curve) -> Estimate:
    r"""Test whether the curve misses more than replicate wells differ.

    :math:`F=\frac{(\mathrm{RSS}-\mathrm{SS}_{pure})/(k-p)}{\mathrm{SS}_{pure}/(n-k)}` for *k* doses
    and *p* free parameters.

    Notes
    -----
    R: ``drc::modelFit(fit)``, or ``anova`` of the curve in ``lm(y ~ factor(dose))``.
    """
    d, y = as_vector(dose, "dose"), as_vector(response, "response")
    k, p = len(np.unique(d)), len(PARAMETERS) - len(curve.fixed)
    pure_df, fit_df = len(d) - k, k - p
    if pure_df < 1 or fit_df < 1:
        return not_estimable("p-value", "no replicate wells, or no spare dose", n=len(d))
    pure = replicate_error(d, y) ** 2
    rss = float(((y - curve.response(d)) ** 2).sum())
    if pure == 0:
        return not_estimable("p-value", "replicate wells are identical", n=len(d))
    f = (rss - pure * pure_df) / fit_df / pure
    value = float(stats.f.sf(f, fit_df, pure_df))
    return Estimate(
        "p-value", value, p_value=value, statistic=f, df=fit_df, n=len(d),
        method=f"lack-of-fit F test on {fit_df} and {pure_df} df",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quality:
    """When a curve or a plate is not to be used.

    Parameters
    ----------
    least_z_prime : float
        Below it the plate fails.
    most_control_cv : float
        Coefficient of variation of untreated wells above which the plate fails.
    most_rise, most_replicate_error : float
        In fractions of the control; above them a curve fails.
    tops : (float, float)
        Mean response at the lowest dose that is still called untreated.
    """

    least_z_prime: float = 0.5
    most_control_cv: float = 0.2
    most_rise: float = 0.25
    most_replicate_error: float = 0.15
    tops: tuple[float, float] = (0.7, 1.3)


def curve_problems(dose: ArrayLike, response: ArrayLike, limits: Quality = Quality()) -> list[str]:
    """Return what is wrong with the wells of one drug, in words; nothing when all is well.

    A first dose below `Quality.tops` says that the lowest dose already kills: the area is right for
    the tested range, and EC50 lies below it.
    """
    found = []
    if (rise := largest_rise(dose, response)) > limits.most_rise:
        found.append(f"rises by {rise:.2f} with dose")
    error = replicate_error(dose, response)
    if error > limits.most_replicate_error:
        found.append(f"replicates differ (standard deviation {error:.2f})")
    first = float(_means(dose, response)[0])
    if not limits.tops[0] <= first <= limits.tops[1]:
        found.append(f"starts at {first:.2f} of the control")
    return found


def plate_curves(
    wells: pd.DataFrame,
    *,
    control: str = "DMSO",
    top: float | None = 1.0,
    bounds: Bounds = Bounds(),
    loss: Loss = "squares",
    limits: Quality = Quality(),
) -> tuple[pd.DataFrame, dict[tuple[str, str], Curve]]:
    """Normalise plates to their untreated wells, fit every drug, and check the fits.

    Parameters
    ----------
    wells : DataFrame
        One row a well: ``sample_id``, ``drug``, ``dose``, ``response``; optionally ``plate`` (one
        a sample where absent) and ``exclude`` (true leaves the well out).
    control : str
        Name of the untreated wells in ``drug``.
    top : float or None
        Held at 1 by default, as the response of untreated cells is known from the control; None
        fits it.

    Returns
    -------
    table : DataFrame
        One row a sample and drug: ``norm_log_auc`` with its interval, ``log_ec50``, ``log_lc50``
        with ``lc50_bound`` (``"above"``, ``"below"`` or blank), ``log_low``, ``log_high``,
        ``bottom``, ``slope``, ``rise``, ``replicate_error``, ``n_wells``, ``problems``.
    curves : dict of (sample, drug) to Curve

    Raises
    ------
    ValueError
        Where a plate has no two untreated wells, or they hold no cells.
    """
    frame = wells.copy()
    if "exclude" in frame:
        frame = frame[~frame["exclude"].fillna(0).astype(bool)]
    if "plate" not in frame or frame["plate"].isna().all():
        frame["plate"] = frame["sample_id"]
    frame["plate"] = frame["plate"].fillna("")
    parts = []
    for (sample, plate), part in frame.groupby(["sample_id", "plate"], sort=False):
        untreated = part.loc[part["drug"] == control, "response"].to_numpy(dtype=float)
        where = f"plate {plate!r} of sample {sample!r}" if plate != sample else f"sample {sample!r}"
        if untreated.size < 2:
            raise ValueError(f"{where} has {untreated.size} wells of {control}, two at least")
        if not untreated.mean() > 0:
            raise ValueError(f"{where}: its wells of {control} hold no cells")
        parts.append(part.assign(viability=part["response"] / untreated.mean()))
    whole = pd.concat(parts, ignore_index=True)
    rows, curves = [], {}
    drugs = whole[whole["drug"] != control]
    for (sample, drug), part in drugs.groupby(["sample_id", "drug"], sort=False):
        dose, y = part["dose"].to_numpy(dtype=float), part["viability"].to_numpy(dtype=float)
        curve = four_parameter(dose, y, top=top, bounds=bounds, loss=loss)
        curves[str(sample), str(drug)] = curve
        mean, lc50 = curve.normalised_area(), curve.log_lc50()
        bound = "" if lc50.value is not None else "above" if lc50.ci_low is not None else "below"
        rows.append(
            {
                "sample_id": sample, "drug": drug, "norm_log_auc": mean.value,
                "auc_low": mean.ci_low, "auc_high": mean.ci_high, "log_ec50": curve.midpoint,
                "log_lc50": {"": lc50.value, "above": lc50.ci_low, "below": lc50.ci_high}[bound],
                "lc50_bound": bound, "log_low": curve.low, "log_high": curve.high,
                "bottom": curve.bottom, "slope": curve.slope, "rise": largest_rise(dose, y),
                "replicate_error": replicate_error(dose, y), "n_wells": len(y),
                "problems": "; ".join(curve_problems(dose, y, limits)),
            }
        )  # fmt: skip
    return pd.DataFrame(rows), curves

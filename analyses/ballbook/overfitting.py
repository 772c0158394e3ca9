r"""How far a striking effect may come from few events, many candidates or a chosen cut-off.

**Shrinkage.** A model of :math:`p` candidate coefficients with likelihood-ratio chi-square
:math:`\chi^2` predicts new patients best when its log ratios are multiplied by about

.. math:: \hat\gamma = \frac{\chi^2 - p}{\chi^2}

(van Houwelingen, le Cessie, Stat Med 1990;9:1303). All candidates count, not only those kept.

**Exaggeration.** Of an estimate :math:`b\sim N(\beta,s^2)` that is reported because
:math:`|b|>z\,s`, the expected size is :math:`E\{|b| : |b|>zs\}`; over :math:`|\beta|` it is the
exaggeration (type M error), and the probability of the wrong sign the type S error (Gelman,
Carlin, Perspect Psychol Sci 2014;9:641). On a log scale the ratio of logs is told.

**Chance.** `draw` makes data sets from a proportional hazards model with a given number of events:
at each event time the patient who relapses is drawn from those at risk with probability in
proportion to :math:`\theta^{x}`, which is Cox's conditional likelihood read forwards. `one_factor`
fits that likelihood to many binary factors of many data sets at once.

.. math:: U(\beta)=\sum_j\Bigl\{x_j-\frac{m_j e^{\beta}}{m_j e^{\beta}+r_j-m_j}\Bigr\}

with :math:`m_j` of :math:`r_j` patients at risk having the factor. What comes out is a property of
the method at that number of events and says nothing of the disease. `several_factors` fits several
factors together, by maximum likelihood or with Firth's penalty
:math:`\tfrac12\ln|I(\beta)|`, whose score adds
:math:`\tfrac12\operatorname{tr}\{I^{-1}\,\partial I/\partial\beta_r\}` (Heinze, Schemper,
Biometrics 2001;57:114); :math:`\partial I/\partial\beta_r` is the sum of third central moments of
the covariates over the risk sets.

**Chosen cut-offs.** The smallest of the P values at all cut-offs between the quantiles
:math:`\varepsilon` and :math:`1-\varepsilon` is not a P value. With :math:`z` its normal quantile
and :math:`\varphi` the normal density, that of the maximum is about

.. math:: \varphi(z)\Bigl(z-\frac1z\Bigr)\ln\frac{(1-\varepsilon)^2}{\varepsilon^2}
    + \frac{4\,\varphi(z)}{z}

(Miller, Siegmund, Biometrics 1982;38:1011; Altman et al., J Natl Cancer Inst 1994;86:829).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from ballbook.inputs import as_count, as_number

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# A log ratio at which a likelihood without a maximum is taken to have run away.
FAR = 12.0


def heuristic_shrinkage(chi_squared: float, candidates: int) -> float:
    """Return the factor by which log ratios of a model should be shrunk, 0 where none is left.

    Parameters
    ----------
    chi_squared : float
        Likelihood-ratio chi-square of the model; Wald's where no other is printed.
    candidates : int
        Coefficients that were looked at.

    Raises
    ------
    ValueError
        If the chi-square is not positive or there is no candidate.
    """
    x, p = as_number(chi_squared, "chi_squared"), as_count(candidates, "candidates")
    if x <= 0 or p < 1:
        raise ValueError(
            f"chi_squared is {x:g} and candidates {p}, expected above 0 and at least 1"
        )
    return max(0.0, (x - p) / x)


@dataclass(frozen=True, slots=True)
class Exaggeration:
    """What a significant estimate would look like if the effect were a given one.

    Attributes
    ----------
    power : float
        Probability that it is significant.
    wrong_sign : float
        Probability that a significant one has the wrong sign.
    factor : float
        Expected size of a significant one over the true size (logs for ratios).
    expected : float
        That expected size.
    """

    power: float
    wrong_sign: float
    factor: float
    expected: float


def exaggeration(effect: float, std_error: float, *, alpha: float = 0.05) -> Exaggeration:
    r"""Return power, wrong signs and expected size of significant estimates.

    With :math:`\lambda=|\beta|/s`, the mean of :math:`|b|/s` beyond :math:`\pm z` is
    :math:`\{\lambda[\Phi(\lambda-z)-\Phi(-\lambda-z)]+\varphi(z-\lambda)+\varphi(z+\lambda)\}/
    \text{power}`.

    Raises
    ------
    ValueError
        If the effect is 0, or the standard error not positive.
    """
    b, s = abs(as_number(effect, "effect")), as_number(std_error, "std_error")
    if b == 0 or s <= 0:
        raise ValueError(f"effect is {effect} and std_error {std_error}, expected other than 0")
    z, lam = float(norm.isf(alpha / 2)), b / s
    right, wrong = float(norm.cdf(lam - z)), float(norm.cdf(-lam - z))
    power = right + wrong
    size = (lam * (right - wrong) + float(norm.pdf(z - lam) + norm.pdf(z + lam))) / power
    return Exaggeration(power, wrong / power, size / lam, size * s)


def maximally_selected_p(p_value: float, inner: float = 0.1) -> float:
    """Return the P value of the smallest P over all cut-offs (Miller and Siegmund).

    Parameters
    ----------
    p_value : float
        Two-sided, at the best cut-off.
    inner : float
        Fraction of patients left out at either end when cut-offs were tried.

    Raises
    ------
    ValueError
        If the P value is not between 0 and 1, or `inner` not between 0 and one half.

    Notes
    -----
    An approximation for small P values; never below `p_value` nor above 1. R:
    ``maxstat::pLausen92``.
    """
    p, e = as_number(p_value, "p_value"), as_number(inner, "inner")
    if not 0 < p < 1 or not 0 < e < 0.5:
        raise ValueError(f"p_value is {p_value} and inner {inner}, expected within 0..1 and 0..0.5")
    z = float(norm.isf(p / 2))
    density = float(norm.pdf(z))
    found = density * (z - 1 / z) * math.log((1 - e) ** 2 / e**2) + 4 * density / z
    return min(1.0, max(p, found))


# ------------------------------------------------------------------------------ simulated trials


@dataclass(frozen=True, slots=True)
class Draws:
    """Data sets of one size: who was at risk at each event, and who had it.

    Attributes
    ----------
    at_risk : (sets, events, patients) array of bool
    who : (sets, events) array of int
    """

    at_risk: Bools
    who: NDArray[np.int64]


def draw(
    effect: Floats,
    n_events: int,
    rng: np.random.Generator,
    *,
    window: tuple[float, float] = (8.0, 24.0),
    censored: tuple[float, float] = (10.0, 48.0),
) -> Draws:
    """Draw data sets with exactly `n_events` events each.

    Parameters
    ----------
    effect : (sets, patients) array
        Log relative hazard of each patient.
    n_events : int
    window, censored : (float, float)
        Event times and times of the end of follow-up are uniform between these, in months.

    Raises
    ------
    ValueError
        If there are not more patients than events.
    """
    sets, n = effect.shape
    events = as_count(n_events, "n_events")
    if not 0 < events < n:
        raise ValueError(f"n_events is {events} of {n} patients")
    times = np.sort(rng.uniform(*window, (sets, events)), axis=1)
    end = rng.uniform(*censored, (sets, n))
    at_risk = np.zeros((sets, events, n), dtype=bool)
    who = np.zeros((sets, events), dtype=np.int64)
    failed = np.zeros((sets, n), dtype=bool)
    rows = np.arange(sets)
    # The largest of log weight plus Gumbel noise is a draw in proportion to the weights.
    for j in range(events):
        still = ~failed & (end > times[:, [j]])
        # A set whose whole follow-up ended early keeps those who have not failed.
        still = np.where(still.any(axis=1, keepdims=True), still, ~failed)
        noisy = np.where(still, effect + rng.gumbel(size=(sets, n)), -np.inf)
        chosen = noisy.argmax(axis=1)
        at_risk[:, j], who[:, j] = still, chosen
        failed[rows, chosen] = True
    return Draws(at_risk, who)


def one_factor(draws: Draws, factors: Bools) -> tuple[Floats, Floats]:
    """Fit each binary factor alone to each data set.

    Parameters
    ----------
    draws : Draws
    factors : (sets, patients, factors) array of bool

    Returns
    -------
    log_ratio : (sets, factors) array
        Infinite where the likelihood has no maximum; NaN for a factor that all or none have.
    score : (sets, factors) array
        Score (log-rank) chi-square, 1 df.
    """
    x = factors.astype(np.float32)
    with_it = np.matmul(draws.at_risk.astype(np.float32), x).astype(float)
    all_of = draws.at_risk.sum(axis=2).astype(float)[:, :, None]
    hit = np.take_along_axis(x, draws.who[:, :, None], axis=1).astype(float)
    share = with_it / all_of
    variance = (share * (1 - share)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = (hit - share).sum(axis=1) ** 2 / variance
    beta = np.zeros_like(score)
    for _ in range(40):
        odds = with_it * np.exp(beta)[:, None, :]
        expected = odds / (odds + all_of - with_it)
        information = (expected * (1 - expected)).sum(axis=1)
        step = (hit - expected).sum(axis=1) / np.maximum(information, 1e-12)
        beta = np.clip(beta + np.clip(step, -2, 2), -FAR, FAR)
    beta = np.where(np.abs(beta) >= FAR - 2, np.copysign(np.inf, beta), beta)
    return np.where(variance > 0, beta, np.nan), score


def several_factors(draws: Draws, factors: Floats, *, firth: bool = False) -> tuple[Floats, Floats]:
    """Fit several factors together to each data set.

    Parameters
    ----------
    draws : Draws
    factors : (sets, patients, factors) array
    firth : bool
        Firth's penalty instead of plain maximum likelihood.

    Returns
    -------
    log_ratio : (sets, factors) array
        Infinite where the likelihood has no maximum.
    std_error : (sets, factors) array
        From the information; not finite where the ratio is not.
    """
    sets, n, p = factors.shape
    x = factors.astype(float)
    pairs = (x[..., :, None] * x[..., None, :]).reshape(sets, n, p * p)
    triples = (pairs[..., :, None] * x[..., None, :]).reshape(sets, n, p**3)
    hit = np.take_along_axis(x, draws.who[:, :, None], axis=1)
    at_risk = draws.at_risk.astype(float)
    beta = np.zeros((sets, p))
    inverse = np.zeros((sets, p, p))
    for _ in range(60):
        weight = at_risk * np.exp(x @ beta[:, :, None])[:, None, :, 0]
        total = weight.sum(axis=2)[:, :, None]
        m1 = weight @ x / total
        m2 = (weight @ pairs / total).reshape(*m1.shape, p)
        information = (m2 - m1[..., :, None] * m1[..., None, :]).sum(axis=1)
        inverse = np.linalg.pinv(information, hermitian=True)
        score = (hit - m1).sum(axis=1)
        if firth:
            m3 = (weight @ triples / total).reshape(*m2.shape, p)
            a, b, c = m1[..., :, None, None], m1[..., None, :, None], m1[..., None, None, :]
            mixed = m2[..., :, :, None] * c + m2[..., :, None, :] * b + m2[..., None, :, :] * a
            third = (m3 - mixed + 2 * a * b * c).sum(axis=1)
            score = score + 0.5 * np.einsum("sij,sijr->sr", inverse, third)
        step = np.clip((inverse @ score[:, :, None])[:, :, 0], -1, 1)
        beta = np.clip(beta + step, -FAR, FAR)
        if np.abs(step[np.abs(beta).max(axis=1) < FAR]).max(initial=0.0) < 1e-9:
            break
    error = np.sqrt(np.clip(np.diagonal(inverse, axis1=1, axis2=2), 0, None))
    gone = np.abs(beta) >= FAR - 2
    return np.where(gone, np.copysign(np.inf, beta), beta), np.where(gone, np.inf, error)


def small_model(
    n: int,
    n_events: int,
    *,
    prevalence: Sequence[float],
    hazard_ratio: float,
    sets: int,
    seed: int,
    lean: float = 1.0,
) -> pd.DataFrame:
    """Tell what models of one and of all factors make of the first, the only one with an effect.

    Parameters
    ----------
    n, n_events : int
    prevalence : sequence of float
        Fraction of patients with each factor.
    hazard_ratio : float
        True one of the first factor.
    sets, seed : int
    lean : float
        How much likelier a patient with the first factor is to be drawn for each other one; 1
        makes the factors independent.

    Returns
    -------
    DataFrame
        A row for each ``model`` (``alone``, ``together``, ``together, Firth``): ``median_ratio``,
        ``low`` and ``high`` (5% and 95% of the ratios), ``infinite`` (fraction without a maximum),
        ``twice`` (ratio at least twice the true one), ``significant`` (Wald P below 0.05),
        ``significant_ratio`` (median of these), ``covered`` (by the 95% Wald interval).
    """
    rng = np.random.default_rng(seed)
    carriers: list[Floats] = []
    for p in prevalence:
        # The largest of log weight plus Gumbel noise are a draw without replacement.
        noisy = rng.gumbel(size=(sets, n))
        if carriers:
            noisy = noisy + math.log(lean) * carriers[0]
        last = np.sort(noisy, axis=1)[:, [n - round(p * n)]]
        carriers.append((noisy >= last).astype(float))
    x = np.stack(carriers, axis=2)
    true = math.log(hazard_ratio)
    draws = draw(true * x[:, :, 0], n_events, rng)
    z = float(norm.isf(0.025))
    rows = []
    for name, terms, firth in (
        ("alone", x[:, :, :1], False),
        ("together", x, False),
        ("together, Firth", x, True),
    ):
        beta, error = several_factors(draws, terms, firth=firth)
        b, s = beta[:, 0], error[:, 0]
        finite = np.isfinite(b)
        low, middle, high = np.quantile(np.clip(b, -FAR, FAR), [0.05, 0.5, 0.95])
        with np.errstate(invalid="ignore"):
            seen = finite & (np.abs(b) > z * s)
            covered = ~finite | (np.abs(b - true) <= z * s)
        rows.append(
            {
                "model": name,
                "median_ratio": float(np.exp(middle)),
                "low": float(np.exp(low)),
                "high": float(np.exp(high)),
                "infinite": float((~finite).mean()),
                "twice": float((b >= true + math.log(2)).mean()),
                "significant": float(seen.mean()),
                "significant_ratio": float(np.exp(np.median(b[seen]))) if seen.any() else math.nan,
                "covered": float(covered.mean()),
            }
        )
    return pd.DataFrame(rows)


def strongest_by_chance(
    n: int,
    n_events: int,
    candidates: Sequence[int],
    *,
    prevalence: float,
    hazard_ratio: float,
    p_value: float,
    sets: int,
    seed: int,
) -> pd.DataFrame:
    """Tell how striking the strongest of several factors is when none has an effect.

    Parameters
    ----------
    n, n_events : int
    candidates : sequence of int
        Numbers of factors looked at, each alone.
    prevalence : float
        Fraction with each factor.
    hazard_ratio, p_value : float
        What was printed of the strongest.
    sets, seed : int

    Returns
    -------
    DataFrame
        A row for each number of candidates: ``candidates``, ``significant`` (fraction of sets where
        the smallest P is below 0.05), ``as_small`` (at most `p_value`), ``as_large`` (a ratio of at
        least `hazard_ratio`), ``median_ratio`` (of the largest ratios).
    """
    rng = np.random.default_rng(seed)
    most = max(candidates)
    carriers = round(prevalence * n)
    factors = rng.permuted(
        np.broadcast_to((np.arange(n) < carriers)[None, :, None], (sets, n, most)), axis=1
    )
    beta, score = one_factor(draw(np.zeros((sets, n)), n_events, rng), factors)
    rows = []
    for p in candidates:
        largest, best = beta[:, :p].max(axis=1), score[:, :p].max(axis=1)
        rows.append(
            {
                "candidates": p,
                "significant": float((best > chi2.isf(0.05, 1)).mean()),
                "as_small": float((best >= chi2.isf(p_value, 1)).mean()),
                "as_large": float((largest >= math.log(hazard_ratio)).mean()),
                "median_ratio": float(np.exp(np.median(largest))),
            }
        )
    return pd.DataFrame(rows)


def cutoff_by_chance(
    n: int,
    n_events: int,
    *,
    share_above: float,
    true_ratio: float,
    p_value: float,
    sets: int,
    seed: int,
    inner: tuple[float, float] = (0.1, 0.9),
) -> dict[str, float]:
    """Tell what a cut-off chosen for the smallest P does to the ratio at it.

    The hazard steps up by `true_ratio` in the highest `share_above` of a continuous marker.
    Cut-offs between the quantiles `inner` are tried, one between each two patients.

    Returns
    -------
    dict
        ``fixed_significant`` and ``fixed_ratio``: P below 0.05 and median ratio at the true
        cut-off; ``significant``, ``as_small``, ``ratio``: the same, P at most `p_value`, and median
        ratio at the best cut-off; ``low``, ``middle``, ``high``: 5%, 50% and 95% of the fraction of
        patients at or above the best cut-off.
    """
    rng = np.random.default_rng(seed)
    # Patients stand in the order of the marker, highest first, so a cut-off is a number of them.
    first, last = max(1, math.ceil(inner[0] * n)), min(n - 1, math.floor(inner[1] * n))
    above = np.arange(first, last + 1)
    truly = round(share_above * n)
    effect = np.where(np.arange(n) < truly, math.log(true_ratio), 0.0)
    ratio, best_score, chosen, fixed, fixed_score = [], [], [], [], []
    for start in range(0, sets, 250):
        size = min(250, sets - start)
        draws = draw(np.tile(effect, (size, 1)), n_events, rng)
        factors = np.broadcast_to(np.arange(n)[None, :, None] < above, (size, n, above.size))
        beta, score = one_factor(draws, factors)
        best = score.argmax(axis=1)
        rows = np.arange(size)
        ratio.append(beta[rows, best])
        best_score.append(score[rows, best])
        chosen.append(above[best] / n)
        at = int(np.flatnonzero(above == truly)[0])
        fixed.append(beta[:, at])
        fixed_score.append(score[:, at])
    b, s, f, fs, c = map(np.concatenate, (ratio, best_score, fixed, fixed_score, chosen))
    low, middle, high = (float(q) for q in np.quantile(c, [0.05, 0.5, 0.95]))
    return {
        "fixed_significant": float((fs > chi2.isf(0.05, 1)).mean()),
        "fixed_ratio": float(np.exp(np.median(f))),
        "significant": float((s > chi2.isf(0.05, 1)).mean()),
        "as_small": float((s >= chi2.isf(p_value, 1)).mean()),
        "ratio": float(np.exp(np.median(np.abs(b)))),
        "low": low,
        "middle": middle,
        "high": high,
    }

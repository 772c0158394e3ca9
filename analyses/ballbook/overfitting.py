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
the method at that number of events and says nothing of the disease.
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
    beta = np.where(np.abs(beta) >= FAR - 2, np.sign(beta) * np.inf, beta)
    return np.where(variance > 0, beta, np.nan), score


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

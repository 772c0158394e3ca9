r"""How much of each known mutational signature a catalogue holds.

A catalogue :math:`m` (counts in :math:`C` channels, :math:`n` mutations) is taken as a sum of known
signatures, the columns of :math:`S` (each a distribution over channels), with exposures
:math:`e\ge0` in mutations.

Least squares
    :math:`\min_{e\ge0}\lVert m-Se\rVert^2` (Lawson, Hanson, Solving Least Squares Problems, 1974,
    chapter 23; `scipy.optimize.nnls`).
Likelihood
    :math:`m_i\sim\mathrm{Poisson}(\mu_i)`, :math:`\mu=Se`. The maximum of
    :math:`\ell(e)=\sum_i m_i\log\mu_i-\mu_i` is found by EM,
    :math:`e_j\leftarrow e_j\sum_i S_{ij}m_i/\mu_i` (Richardson, J Opt Soc Am 1972;62:55; Shepp,
    Vardi, IEEE Trans Med Imaging 1982;1:113; as the updates of Lee, Seung, Nature 1999;401:788),
    sped up by squared extrapolation (Varadhan, Roland, Scand J Stat 2008;35:335). At the maximum
    :math:`\sum e_j=n`, and anywhere else with that sum the maximum is at most
    :math:`n\max_j(\sum_i S_{ij}m_i/\mu_i-1)` away (Lindsay, Ann Stat 1983;11:86): iteration stops
    when this bound, not the last step, is below `GAP`.
Presence
    :math:`\Lambda=2(\ell_{\text{all}}-\ell_{\text{without }j})`. Under :math:`e_j=0` with the other
    exposures positive it is a mixture in equal parts of 0 and :math:`\chi^2_1` (Chernoff, Ann Math
    Stat 1954;25:573; Self, Liang, J Am Stat Assoc 1987;82:605), so
    :math:`P=\tfrac12\Pr(\chi^2_1\ge\Lambda)`.
Power
    With the expected catalogue in place of the counts, :math:`\Lambda` is a noncentrality
    :math:`\lambda`; the power at one-sided level :math:`\alpha` is
    :math:`\Phi(\sqrt\lambda-z_{1-\alpha})`, and :math:`\lambda` is proportional to :math:`n` (Self,
    Mauritsen, Ohara, Biometrics 1992;48:31).
Selection
    Backward: the signature whose loss costs least likelihood is dropped as long as it costs less
    than a stated threshold of :math:`\Lambda`.
Uncertainty
    The mutations of a catalogue are drawn again with replacement and refitted (Efron, Ann Stat
    1979;7:1), percentile intervals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from ballbook.results import Estimate, not_estimable

Method = Literal["likelihood", "least-squares"]
Array = NDArray[np.float64]
# Log-likelihood that the fit may lack.
GAP = 1e-7
MAX_STEPS = 20_000
FLOOR = 1e-300
# 5% point of the mixture of 0 and chi-squared with one degree of freedom.
ONE_SIDED_5 = float(stats.chi2.isf(0.1, 1))


@dataclass(frozen=True)
class Refit:
    """Exposures of one catalogue.

    Attributes
    ----------
    exposures : Series
        Mutations by signature.
    reconstructed : Series
        Expected counts by channel.
    n : int
        Mutations of the catalogue.
    log_likelihood : float
        Poisson, without the factorials; at the exposures, whatever the method.
    cosine : float
        Of counts and reconstruction; NaN for an empty catalogue.
    method : {"likelihood", "least-squares"}
    """

    exposures: pd.Series
    reconstructed: pd.Series
    n: int
    log_likelihood: float
    cosine: float
    method: Method

    @property
    def shares(self) -> pd.Series:
        """Exposures as fractions of their sum."""
        total = self.exposures.sum()
        return self.exposures / total if total > 0 else self.exposures * np.nan


@dataclass(frozen=True)
class Selection:
    """What backward selection keeps.

    Attributes
    ----------
    refit : Refit
        With the signatures kept.
    dropped : DataFrame
        ``signature, statistic`` (twice the log-likelihood that its loss cost), in order.
    """

    refit: Refit
    dropped: pd.DataFrame


def cosine(a: ArrayLike, b: ArrayLike) -> float:
    """Return the cosine of two vectors; NaN if one is zero."""
    x, y = np.asarray(a, float), np.asarray(b, float)
    size = np.linalg.norm(x) * np.linalg.norm(y)
    return float(x @ y / size) if size > 0 else math.nan


# ------------------------------------------------------------------------------------- fitting


def fit(counts: pd.Series, signatures: pd.DataFrame, *, method: Method = "likelihood") -> Refit:
    """Return the exposures of a catalogue.

    Parameters
    ----------
    counts : Series
        Counts by channel.
    signatures : DataFrame
        Channels by signatures; the same channels in any order, columns that sum to 1.
    method : {"likelihood", "least-squares"}

    Raises
    ------
    ValueError
        If channels differ, a number is negative or not finite, a column does not sum to 1, or a
        channel with mutations is in no signature (likelihood only).
    """
    m, s = _checked(counts, signatures)
    if method == "least-squares":
        e = optimize.nnls(s, m)[0] if s.shape[1] else np.zeros(0)
    else:
        e = maximise(m[:, None], s)[:, 0]
    return _refit(e, m, s, counts.index, list(signatures.columns), method)


def _refit(
    e: Array, m: Array, s: Array, index: pd.Index, names: Sequence[str], method: Method
) -> Refit:
    mu = s @ e
    return Refit(
        pd.Series(e, index=list(names)), pd.Series(mu, index=index), round(m.sum()),
        float(log_likelihood(m[:, None], mu[:, None])[0]), cosine(m, mu), method,
    )  # fmt: skip


def _checked(counts: pd.Series, signatures: pd.DataFrame) -> tuple[Array, Array]:
    if set(counts.index) != set(signatures.index) or len(counts) != len(signatures):
        raise ValueError("catalogue and signatures have different channels")
    if signatures.columns.duplicated().any():
        raise ValueError("a signature stands twice")
    m = counts.to_numpy(float)
    s = signatures.loc[counts.index].to_numpy(float)
    for what, x in (("count", m), ("signature", s)):
        if not np.isfinite(x).all() or (x < 0).any():
            raise ValueError(f"a {what} is negative or not a number")
    if s.size and not np.allclose(s.sum(axis=0), 1, atol=1e-6):
        raise ValueError("each signature must sum to 1")
    return m, s


def log_likelihood(counts: Array, mu: Array) -> Array:
    """Return the Poisson log-likelihood of each column, without the factorials."""
    seen = np.where(counts > 0, counts * np.log(np.maximum(mu, FLOOR)), 0.0)
    return np.asarray((seen - mu).sum(axis=0))


def maximise(counts: Array, signatures: Array, *, gap: float = GAP) -> Array:
    """Return the exposures of greatest Poisson likelihood for many catalogues at once.

    Parameters
    ----------
    counts : array, channels by catalogues
    signatures : array, channels by signatures
        Columns sum to 1.
    gap : float
        Log-likelihood that a fit may lack.

    Raises
    ------
    ValueError
        If a channel with mutations is in no signature.
    RuntimeError
        If the bound is not reached within `MAX_STEPS` steps.
    """
    m, s = np.asarray(counts, float), np.asarray(signatures, float)
    n, k = m.sum(axis=0), s.shape[1]
    if ((m > 0).any(axis=1) & (s.sum(axis=1) <= 0)).any():
        raise ValueError("a channel with mutations is in none of the signatures")
    found = np.zeros((k, m.shape[1]))
    open_ = np.flatnonzero(n > 0)
    if k == 0 or not len(open_):
        return found
    e = np.tile(n[open_] / k, (k, 1))

    def step(x: Array, c: Array) -> tuple[Array, Array]:
        ratio = s.T @ (c / np.maximum(s @ x, FLOOR))
        return x * ratio, ratio

    for _ in range(MAX_STEPS):
        c = m[:, open_]
        e1, ratio = step(e, c)
        done = n[open_] * (ratio.max(axis=0) - 1) < gap
        if done.any():
            found[:, open_[done]] = e[:, done]
            open_, e, e1, c = open_[~done], e[:, ~done], e1[:, ~done], c[:, ~done]
            if not len(open_):
                return found
        e2, _ = step(e1, c)
        r, v = e1 - e, e2 - 2 * e1 + e
        length = np.sqrt((r**2).sum(axis=0) / np.maximum((v**2).sum(axis=0), FLOOR))
        a = np.clip(length, 1.0, 1e4)
        far = np.maximum(e + 2 * a * r + a**2 * v, e2 * 1e-3)
        far *= n[open_] / far.sum(axis=0)
        better = log_likelihood(c, s @ far) >= log_likelihood(c, s @ e2)
        e = step(np.where(better, far, e2), c)[0]
    raise RuntimeError(f"no convergence within {MAX_STEPS:,} steps")


# ----------------------------------------------------------------------------------- inference


def presence(counts: pd.Series, signatures: pd.DataFrame, name: str) -> Estimate:
    """Return the likelihood-ratio test of one signature given the others; P one-sided.

    Raises
    ------
    ValueError
        As `fit`, or if `name` is not among the signatures.
    """
    m, s = _checked(counts, signatures)
    if not m.sum():
        return not_estimable("p-value", "no mutations")
    j = [str(c) for c in signatures.columns].index(name)
    p, stat = presence_many(m[:, None], s, j)
    return Estimate(
        "p-value", float(p[0]), ci_level=None, p_value=float(p[0]), statistic=float(stat[0]),
        df=1, n=round(m.sum()), method="likelihood ratio, one-sided, mixture of 0 and chi-squared",
    )  # fmt: skip


def presence_many(counts: Array, signatures: Array, which: int) -> tuple[Array, Array]:
    """Return P values and statistics of the presence of one signature in many catalogues."""
    m, s = np.asarray(counts, float), np.asarray(signatures, float)
    rest = np.delete(s, which, axis=1)
    full = log_likelihood(m, s @ maximise(m, s))
    less = log_likelihood(m, rest @ maximise(m, rest))
    statistic = np.maximum(2 * (full - less), 0.0)
    p = np.where(statistic > 4 * GAP, 0.5 * stats.chi2.sf(statistic, 1), 1.0)
    return p, statistic


def bootstrap(
    counts: pd.Series,
    signatures: pd.DataFrame,
    *,
    n_boot: int = 1000,
    seed: int = 0,
    method: Method = "likelihood",
) -> pd.DataFrame:
    """Return exposures of `n_boot` catalogues drawn again from one (draws by signatures)."""
    m, s = _checked(counts, signatures)
    n = round(m.sum())
    names = list(signatures.columns)
    if not n:
        return pd.DataFrame(np.zeros((n_boot, len(names))), columns=names)
    drawn = np.random.default_rng(seed).multinomial(n, m / m.sum(), size=n_boot).T.astype(float)
    if method == "likelihood":
        e = maximise(drawn, s, gap=1e-4)
    else:
        e = np.column_stack([optimize.nnls(s, column)[0] for column in drawn.T])
    return pd.DataFrame(e.T, columns=names)


def intervals(
    refit: Refit, draws: pd.DataFrame, *, level: float = 0.95, share: bool = False
) -> dict[str, Estimate]:
    """Return each exposure with its percentile interval.

    Parameters
    ----------
    draws : DataFrame
        As `bootstrap` returns them.
    share : bool
        As fractions of all mutations assigned instead of mutations.
    """
    values = refit.shares if share else refit.exposures
    if share:
        draws = draws.div(draws.sum(axis=1).replace(0, np.nan), axis=0)
    tail = (1 - level) / 2
    found = {}
    for name in refit.exposures.index:
        low, high = draws[name].quantile([tail, 1 - tail])
        found[str(name)] = Estimate(
            "proportion" if share else "count", float(values[name]), float(low), float(high), level,
            n=refit.n, unit=None if share else "mutations",
            method=f"refit by {refit.method}, bootstrap of mutations, {len(draws):,} draws",
        )  # fmt: skip
    return found


def backward(
    counts: pd.Series,
    signatures: pd.DataFrame,
    *,
    threshold: float = ONE_SIDED_5,
    keep: Sequence[str] = (),
) -> Selection:
    """Return what is left when signatures that cost little likelihood are dropped one by one.

    Parameters
    ----------
    threshold : float
        Twice the log-likelihood that the loss of a signature must cost for it to stay.
    keep : sequence of str
        Signatures that stay whatever they cost.

    Raises
    ------
    ValueError
        As `fit`, for a negative threshold, or if `keep` names no signature of the table.
    """
    if threshold < 0:
        raise ValueError("threshold must not be negative")
    if unknown := [k for k in keep if k not in signatures]:
        raise ValueError(f"no signature {', '.join(unknown)}")
    m, s = _checked(counts, signatures)
    names = [str(c) for c in signatures.columns]
    e = maximise(m[:, None], s)[:, 0]
    dropped: list[tuple[str, float]] = []
    # What has no exposure costs nothing, all of it together.
    inside = []
    for j, name in enumerate(names):
        if e[j] > 1e-6 * max(m.sum(), 1) or name in keep:
            inside.append(j)
        else:
            dropped.append((name, 0.0))
    now = float(_best(m, s[:, inside]))
    while True:
        free = [j for j in inside if names[j] not in keep]
        costs = {}
        for j in free:
            rest = [i for i in inside if i != j]
            usable = ((m > 0) & (s[:, rest].sum(axis=1) <= 0)).sum() == 0
            if usable:
                costs[j] = max(2 * (now - _best(m, s[:, rest])), 0.0)
        if not costs:
            break
        j = min(costs, key=lambda i: costs[i])
        if costs[j] >= threshold:
            break
        inside.remove(j)
        now -= costs[j] / 2
        dropped.append((names[j], costs[j]))
    kept = [names[j] for j in inside]
    table = pd.DataFrame(dropped, columns=["signature", "statistic"])
    return Selection(fit(counts, signatures[kept]), table)


def _best(m: Array, s: Array) -> float:
    """Return the greatest log-likelihood; minus infinity where no signature is left for counts."""
    if not s.shape[1]:
        return -math.inf if m.sum() else 0.0
    e = maximise(m[:, None], s)
    return float(log_likelihood(m[:, None], s @ e)[0])


def expected_cosine(refit: Refit, *, n_sim: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Return how alike counts and reconstruction would be if the refit were the truth.

    A cosine falls with the number of mutations alone, so it is judged against this.

    Returns
    -------
    tuple of float
        Median and 5% point of the cosine of catalogues drawn from the reconstruction with it.
    """
    p = refit.reconstructed.to_numpy(float)
    if not refit.n or p.sum() <= 0:
        return math.nan, math.nan
    drawn = np.random.default_rng(seed).multinomial(refit.n, p / p.sum(), size=n_sim)
    sizes = np.linalg.norm(drawn, axis=1) * np.linalg.norm(p)
    values = drawn @ p / sizes
    return float(np.median(values)), float(np.quantile(values, 0.05))


# --------------------------------------------------------------------------------------- power


def noncentrality(shares: Mapping[str, float], signatures: pd.DataFrame, name: str) -> float:
    """Return the noncentrality of the presence test per mutation.

    Parameters
    ----------
    shares : mapping
        True fraction of each signature; they sum to 1. Signatures of the table not named have 0
        but are fitted.
    signatures : DataFrame
        What is fitted.
    name : str
        What is tested.
    """
    parts = np.array([shares.get(str(c), 0.0) for c in signatures.columns])
    if set(shares) - set(map(str, signatures.columns)) or not math.isclose(parts.sum(), 1):
        raise ValueError("shares must be of signatures in the table and sum to 1")
    s = signatures.to_numpy(float)
    # A large catalogue, since the stopping bound is absolute.
    big = 1e5
    mu = (s @ parts * big)[:, None]
    rest = np.delete(s, list(signatures.columns).index(name), axis=1)
    less = rest @ maximise(mu, rest, gap=1e-6)
    lost = log_likelihood(mu, mu) - log_likelihood(mu, less)
    return max(2 * float(lost[0]) / big, 0.0)


def power(
    n: float, shares: Mapping[str, float], signatures: pd.DataFrame, name: str, alpha: float = 0.05
) -> float:
    """Return the power of the presence test in a catalogue of `n` mutations."""
    centre = math.sqrt(n * noncentrality(shares, signatures, name))
    return float(stats.norm.cdf(centre - stats.norm.isf(alpha)))


def mutations_for_power(
    shares: Mapping[str, float],
    signatures: pd.DataFrame,
    name: str,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """Return the mutations a catalogue needs for the presence test to have a given power."""
    each = noncentrality(shares, signatures, name)
    needed = (stats.norm.isf(alpha) + stats.norm.ppf(power)) ** 2
    return float(needed / each) if each > 0 else math.inf


def simulate(
    n: int, shares: Mapping[str, float], signatures: pd.DataFrame, *, size: int, seed: int
) -> NDArray[np.int64]:
    """Return `size` multinomial catalogues of `n` mutations (channels by catalogues)."""
    parts = np.array([shares.get(str(c), 0.0) for c in signatures.columns])
    p = signatures.to_numpy(float) @ parts
    drawn: Any = np.random.default_rng(seed).multinomial(n, p / p.sum(), size=size)
    return np.asarray(drawn.T, dtype=np.int64)

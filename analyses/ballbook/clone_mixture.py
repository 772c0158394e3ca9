r"""Clones as clusters of variants that are in the same fraction of cells, in every sample at once.

**Reads.** A variant in a fraction :math:`\varphi` of the leukaemic cells, on :math:`m` of their
:math:`c` copies, in a sample of which a fraction :math:`p` is leukaemic, is expected in

.. math::
   f = e + (1-2e)\,s_m\varphi, \qquad s_m = \frac{p\,m}{p\,c + 2(1-p)}

of the reads, with :math:`e` errors a read. Without a purity, :math:`p=1` and :math:`\varphi` is a
fraction of all cells of the sample. On one or two copies :math:`m=1`; on more, :math:`m` is not
known: it is one of :math:`1,\dots,c-1` with equal prior probability, the same in all samples that
have so many copies. (Were it free in each sample, a smaller :math:`\varphi` with its closer ladder
of allele fractions would fit better than the true one.) Reads are binomial, or
beta-binomial with a known correlation :math:`\rho` (see `overdispersion.common_rho`).

**Mixture.** Site :math:`i` belongs to cluster :math:`k` with probability :math:`\pi_k`, where
:math:`\pi` follows a truncated stick-breaking prior of a Dirichlet process with concentration
:math:`\alpha` (Blei and Jordan, Bayesian Anal 2006;1:121); clusters are ordered by size at every
step (Kurihara et al., IJCAI 2007). The cell fractions :math:`\varphi_{kj}` have uniform priors and
enter by their maximum. One more component takes the sites that fit no cluster: there each sample
has its own uniform :math:`\varphi`. This is the model of DPClust (Nik-Zainal et al., Cell
2012;149:994) and PyClone-VI (Gillis and Roth, BMC Bioinformatics 2020;21:571), with a continuous
:math:`\varphi`: a grid of fractions splits a cluster of thousands of sites that falls between two
of its points.

**Merging.** A start with many clusters is thinned by the evidence. With responsibilities
:math:`r`, cluster :math:`k` contributes

.. math::
   \ln\alpha + \ln\Gamma(N_k) + \sum_j \ln\!\int_0^1\! e^{\ell_{kj}(\varphi)}\,d\varphi
   - \sum_i r_{ik}\ln r_{ik},
   \qquad \ell_{kj}(\varphi)=\sum_i r_{ik}\ln P(\text{reads}_{ij}\mid\varphi),

to a lower bound of the log evidence. The two clusters whose merger raises it most are merged until
none does, clusters whose sites are better off elsewhere are dissolved, and both are repeated after
the responsibilities have settled. Integrals are by quadrature around the maximum.

**Speed.** :math:`\ln P` is tabulated once for the different pairs of counts of a sample (some
thousands, however many sites) at 129 values :math:`\varphi=\sin^2(\theta/2)`, equally spaced in
:math:`\theta` and dense where fractions are small; between them it is interpolated (cubic).
Everything else is matrix products. Rows and columns are sorted first, so that the order in which
they come changes nothing; the seed chooses the start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, special

from ballbook.germline import read_counts
from ballbook.inputs import Floats
from ballbook.overdispersion import beta_binomial_log_pmf

GRID = 129
_STEP = math.pi / (GRID - 1)
_THETA = np.linspace(0, math.pi, GRID)
_PHI = (1 - np.cos(_THETA)) / 2
# Weights of a uniform phi over the grid: the steps between the midpoints.
_UNIFORM = np.diff(np.concatenate([[0], (_PHI[1:] + _PHI[:-1]) / 2, [1]]))
# Nodes of the quadrature around a maximum, in standard deviations.
_NODES = np.linspace(-7, 7, 113)
_OUTSIDE = 0.01
_START_SITES = 6000
_MOST_COPIES = 12


@dataclass(frozen=True)
class CloneMixture:
    """Clusters of sites, the largest mean cell fraction first.

    Attributes
    ----------
    labels : array of int, one a site
        Its cluster from 0, -1 where it fits none.
    probability : array of float, one a site
        That it belongs there.
    size : array of int, one a cluster
        Sites with this label.
    fraction, low, high : array of float, clusters by samples
        Cell fraction with its equal-tailed credible interval at `level`, given the sites that
        belong to the cluster.
    std_error : array of float, clusters by samples
        Posterior standard deviation.
    level : float
    evidence : float
        Lower bound of the log evidence of the clustering, up to a constant of the data.
    rounds : int
        Steps until nothing changed.
    """

    labels: NDArray[np.int64]
    probability: Floats
    size: NDArray[np.int64]
    fraction: Floats
    low: Floats
    high: Floats
    std_error: Floats
    level: float
    evidence: float
    rounds: int


def expected_share(
    fraction: ArrayLike,
    *,
    copy_number: ArrayLike = 2,
    purity: ArrayLike = 1.0,
    multiplicity: ArrayLike = 1,
    error: float = 0.0,
) -> Floats:
    """Return the share of reads expected with the variant; arguments broadcast."""
    p, c = np.asarray(purity, dtype=float), np.asarray(copy_number, dtype=float)
    scale = p * np.asarray(multiplicity) / (p * c + 2 * (1 - p))
    return np.asarray(error + (1 - 2 * error) * scale * np.asarray(fraction))


def cluster_sites(
    alt: ArrayLike,
    depth: ArrayLike,
    *,
    copy_number: ArrayLike | None = None,
    purity: ArrayLike | None = None,
    error: float = 1e-3,
    rho: float = 0.0,
    concentration: float = 1.0,
    most_clusters: int = 40,
    level: float = 0.95,
    seed: int = 0,
) -> CloneMixture:
    """Cluster sites by the fraction of cells that carry them in each sample.

    Parameters
    ----------
    alt, depth : array_like of int, sites by samples
        Depth 0: nobody looked; such a sample says nothing of the site.
    copy_number : array_like of float, broadcast to sites by samples, optional
        Total copies in the leukaemic cells; rounded, by default two, also where missing.
    purity : array_like of float, one a sample or sites by samples, optional
        Leukaemic share of the cells; by default, and where missing, one.
    error : float
        Sequencing errors a read.
    rho : float
        Correlation of reads beyond chance; 0 is binomial.
    concentration : float
        Of the Dirichlet process.
    most_clusters : int
        Clusters at the start.
    level : float
        Of the credible intervals.
    seed : int
        Of the start.

    Raises
    ------
    ValueError
        If counts are no counts, or an argument is out of its range.
    """
    k, n = read_counts(alt, depth)
    copies = _whole_copies(copy_number, k.shape)
    pure = _purities(purity, k.shape)
    for name, value, low, high in [
        ("error", error, 0.0, 0.2), ("rho", rho, -1e-12, 0.5), ("level", level, 0.0, 1.0),
        ("concentration", concentration, 0.0, 1e6),
    ]:  # fmt: skip
        if not low < value < high:
            raise ValueError(
                f"{name} is {value}, expected a value between {max(low, 0):g} and {high:g}"
            )
    if most_clusters < 1:
        raise ValueError("most_clusters: expected at least 1")
    columns = np.lexsort(np.vstack([k.sum(axis=0), n.sum(axis=0)]))
    rows = np.lexsort(np.hstack([k, n])[:, np.concatenate([columns, columns + k.shape[1]])].T)
    place = np.ix_(rows, columns)
    reads = _Reads(k[place], n[place], copies[place], pure[place], error, rho)
    model = _Model(reads, concentration, most_clusters, np.random.default_rng(seed))
    rounds = model.fit()
    shape = (len(model.theta[0]), k.shape[1])
    fraction, low_, high_, error_ = (np.zeros(shape) for _ in range(4))
    for j, curves in zip(columns, model.curves, strict=True):
        found = _posterior(curves, level)
        fraction[:, j], low_[:, j], high_[:, j], error_[:, j] = found
    order = np.lexsort((*np.round(-fraction.T, 6), np.round(-fraction.mean(axis=1), 6)))
    rank = np.append(np.argsort(order), -1)
    belongs = np.add.reduceat(model.r, reads.first, axis=0)
    best = belongs.argmax(axis=1)
    labels, probability = np.empty(len(k), np.int64), np.empty(len(k))
    labels[rows], probability[rows] = rank[best], belongs[np.arange(len(k)), best]
    return CloneMixture(
        labels, probability, np.bincount(labels[labels >= 0], minlength=shape[0]),
        fraction[order], low_[order], high_[order], error_[order], level, model.evidence(), rounds,
    )  # fmt: skip


def _whole_copies(copies: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.int64]:
    if copies is None:
        return np.full(shape, 2)
    values = np.broadcast_to(np.asarray(copies, dtype=float), shape)
    whole = np.where(np.isnan(values), 2, np.round(np.nan_to_num(values, nan=2))).astype(np.int64)
    if (whole < 0).any():
        raise ValueError("copy_number: expected 0 or more")
    # A variant that is seen has at least one copy under it.
    return np.clip(whole, 1, _MOST_COPIES)


def _purities(purity: ArrayLike | None, shape: tuple[int, ...]) -> Floats:
    if purity is None:
        return np.ones(shape)
    values = np.nan_to_num(np.broadcast_to(np.asarray(purity, dtype=float), shape), nan=1.0)
    if not ((values > 0) & (values <= 1)).all():
        raise ValueError("purity: expected values above 0 and at most 1")
    return values


class _Reads:
    """For each sample the table of log likelihoods, and which of its rows each state is.

    A state is a site with one possible number of mutated copies; most sites have one. From here on
    n counts states, `first` points to that of each site, and responsibilities of a site add up to 1
    over its states.
    """

    def __init__(
        self,
        alt: NDArray[np.int64],
        depth: NDArray[np.int64],
        copies: NDArray[np.int64],
        purity: Floats,
        error: float,
        rho: float,
    ) -> None:
        most = np.maximum(copies - 1, 1)
        states = most.max(axis=1)
        site = np.repeat(np.arange(len(alt)), states)
        self.first = np.cumsum(states) - states
        self.site = site
        self.single = (states == 1)[site]
        multiplicity = np.arange(site.size) - self.first[site] + 1
        self.offset = -np.log(states[site])
        self.n, self.samples = site.size, alt.shape[1]
        self.tables: list[Floats] = []
        self.row: list[NDArray[np.int64]] = []
        self.picks: list[sparse.csr_matrix] = []
        for j in range(self.samples):
            carrying = np.minimum(multiplicity, most[site, j])
            columns = (alt[site, j], depth[site, j], copies[site, j], purity[site, j], carrying)
            different, row = np.unique(np.column_stack(columns), axis=0, return_inverse=True)
            row = row.ravel()
            self.tables.append(_table(different, error, rho))
            self.row.append(row)
            ones = np.ones(self.n)
            pick = sparse.csr_matrix((ones, (row, np.arange(self.n))), (len(different), self.n))
            self.picks.append(pick)
        # How well each state does with a fraction of its own in each sample.
        self.outside = np.zeros(self.n)
        for table, row in zip(self.tables, self.row, strict=True):
            self.outside += special.logsumexp(table, axis=1, b=_UNIFORM)[row]

    def curves(self, r: Floats) -> Floats:
        """Return the log likelihood of each cluster over the grid, samples by clusters by grid."""
        found = [
            np.ascontiguousarray((p @ r).T) @ t
            for p, t in zip(self.picks, self.tables, strict=True)
        ]
        return np.array(found).reshape(self.samples, r.shape[1], GRID)

    def log_likelihood(self, theta: Floats) -> Floats:
        """Return it for sites by clusters, at `theta` (samples by clusters)."""
        out = np.zeros((self.n, theta.shape[1]))
        for j in range(self.samples):
            weights = np.zeros((GRID, theta.shape[1]))
            at, share = _stencil(theta[j])
            np.add.at(weights, (at, np.arange(theta.shape[1])[:, None]), share)
            out += (self.tables[j] @ weights)[self.row[j]]
        return out


def _table(keys: Floats, error: float, rho: float) -> Floats:
    """Return the log likelihood of counts, copies, purity, mutated copies over the grid."""
    k, n, copies, purity, carrying = (c[:, None] for c in keys.T)
    f = expected_share(_PHI, copy_number=copies, purity=purity, multiplicity=carrying, error=error)
    if rho > 0:
        return beta_binomial_log_pmf(k, n, f, rho, coefficient=False)
    return np.asarray(k * np.log(f) + (n - k) * np.log1p(-f))


def _stencil(theta: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return the four grid points around each theta and their weights (cubic interpolation)."""
    first = np.clip(np.floor(theta / _STEP).astype(np.int64) - 1, 0, GRID - 4)
    t = theta / _STEP - first
    weights = np.stack(
        [
            -(t - 1) * (t - 2) * (t - 3) / 6,
            t * (t - 2) * (t - 3) / 2,
            -t * (t - 1) * (t - 3) / 2,
            t * (t - 1) * (t - 2) / 6,
        ],
        axis=-1,
    )
    return first[..., None] + np.arange(4), weights


def _value(curve: Floats, theta: Floats) -> Floats:
    """Return curves (clusters by grid) at theta (clusters by points)."""
    at, weights = _stencil(theta)
    rows = np.arange(len(curve))[:, None, None]
    return np.asarray((curve[rows, at] * weights).sum(axis=-1))


def _peak(curve: Floats) -> Floats:
    """Return the theta at which each curve is largest."""
    theta = _THETA[curve.argmax(axis=1)]
    width = _STEP
    for _ in range(3):
        points = np.clip(theta[:, None] + np.linspace(-width, width, 17), 0, math.pi)
        theta = points[np.arange(len(curve)), _value(curve, points).argmax(axis=1)]
        width /= 8
    return np.asarray(theta)


def _around(curve: Floats) -> tuple[Floats, Floats, Floats]:
    """Return theta around each maximum, the log posterior there, and the weights of a sum."""
    peak = _peak(curve)
    delta = _STEP / 2
    pair = np.stack([np.abs(peak - delta), math.pi - np.abs(math.pi - peak - delta)], axis=1)
    bend = (2 * _value(curve, peak[:, None])[:, 0] - _value(curve, pair).sum(axis=1)) / delta**2
    sd = 1 / np.sqrt(np.maximum(bend, 1 / math.pi**2))
    theta = np.clip(peak[:, None] + sd[:, None] * _NODES, 0, math.pi)
    # d phi = sin(theta)/2 d theta; points beyond an end fall on it and get no width.
    edges = np.concatenate(
        [theta[:, :1], (theta[:, 1:] + theta[:, :-1]) / 2, theta[:, -1:]], axis=1
    )
    width = np.diff((1 - np.cos(edges)) / 2, axis=1)
    return theta, _value(curve, theta), width


def _log_integral(curve: Floats) -> Floats:
    """Return the logarithm of the integral over phi of the exponential of each curve."""
    _, value, width = _around(curve)
    top = value.max(axis=1)
    return np.asarray(top + np.log((np.exp(value - top[:, None]) * width).sum(axis=1)))


def _posterior(curve: Floats, level: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Return maximum, bounds of the credible interval and standard deviation of each phi."""
    theta, value, width = _around(curve)
    phi = (1 - np.cos(theta)) / 2
    mass = np.exp(value - value.max(axis=1, keepdims=True)) * width
    mass /= mass.sum(axis=1, keepdims=True)
    mean = (mass * phi).sum(axis=1)
    sd = np.sqrt((mass * (phi - mean[:, None]) ** 2).sum(axis=1))
    best = (1 - np.cos(_peak(curve))) / 2
    tail = (1 - level) / 2
    cumulated = np.cumsum(mass, axis=1) - mass / 2
    low = [float(np.interp(tail, c, p)) for c, p in zip(cumulated, phi, strict=True)]
    high = [float(np.interp(1 - tail, c, p)) for c, p in zip(cumulated, phi, strict=True)]
    # At an end of the scale the maximum lies outside an equal-tailed interval.
    return best, np.minimum(low, best), np.maximum(high, best), sd


class _Model:
    """The mixture while it is fitted: responsibilities with the outside component last."""

    def __init__(self, reads: _Reads, alpha: float, most: int, rng: np.random.Generator) -> None:
        self.reads, self.alpha, self.rng = reads, alpha, rng
        points = self._points()
        # Where the mutated copies are not known, a state by itself points to a wrong fraction.
        sites = np.flatnonzero(reads.single)
        if 2 * sites.size < len(reads.first):
            sites = reads.first
        if sites.size > _START_SITES:
            sites = np.sort(rng.choice(sites, _START_SITES, replace=False))
        self.theta = self._seeds(points[sites], min(most, max(1, sites.size // 3)))
        self.points = points
        self._expect(np.full(self.theta.shape[1], 1 / self.theta.shape[1]))

    def _points(self) -> Floats:
        """Return the best theta of every state in every sample."""
        found = [
            _THETA[t.argmax(axis=1)][row]
            for t, row in zip(self.reads.tables, self.reads.row, strict=True)
        ]
        return np.stack(found, axis=1)

    def _seeds(self, points: Floats, count: int) -> Floats:
        """Return starts, samples by clusters: far points, then rounds of k-means."""
        centres = points[self.rng.integers(len(points))][None]
        nearest = ((points - centres) ** 2).sum(axis=1)
        while len(centres) < count and nearest.sum() > 0:
            at = int(self.rng.choice(len(points), p=nearest / nearest.sum()))
            centres = np.vstack([centres, points[at]])
            nearest = np.minimum(nearest, ((points - points[at]) ** 2).sum(axis=1))
        for _ in range(6):
            distance = (centres**2).sum(axis=1) - 2 * points @ centres.T
            own = distance.argmin(axis=1)
            count_ = np.bincount(own, minlength=len(centres))
            sums = np.stack(
                [np.bincount(own, points[:, j], len(centres)) for j in range(points.shape[1])], 1
            )
            keep = count_ > 0
            centres = sums[keep] / count_[keep, None]
        return np.asarray(centres.T)

    def _expect(self, weight: Floats) -> None:
        """Set the responsibilities, given weights of the clusters."""
        score = np.empty((self.reads.n, self.theta.shape[1] + 1))
        score[:, :-1] = self.reads.log_likelihood(self.theta) + np.log((1 - _OUTSIDE) * weight)
        score[:, -1] = self.reads.outside + math.log(_OUTSIDE)
        first, site = self.reads.first, self.reads.site
        score += self.reads.offset[:, None]
        score -= np.maximum.reduceat(score.max(axis=1), first)[site, None]
        np.exp(score, out=score)
        score[score < 1e-8] = 0
        self.r = score / np.add.reduceat(score.sum(axis=1), first)[site, None]

    def _weights(self, count: Floats) -> Floats:
        """Return the exponential of the expected log weights of clusters in descending order."""
        after = np.concatenate([np.cumsum(count[::-1])[::-1][1:], [0.0]])
        a, b = 1 + count, self.alpha + after
        both = special.digamma(a + b)
        left = np.concatenate([[0.0], np.cumsum(special.digamma(b) - both)[:-1]])
        return np.asarray(np.exp(special.digamma(a) - both + left))

    def _step(self) -> float:
        """Do one round, return the largest change of a cell fraction."""
        count = self.r[:, :-1].sum(axis=0)
        order = np.argsort(-count, kind="stable")
        order = order[count[order] > 0.5]
        self.r = self.r[:, np.append(order, -1)]
        before = self.theta[:, order]
        self.curves = self.reads.curves(self.r[:, :-1])
        self.theta = np.stack([_peak(c) for c in self.curves]) if order.size else before
        self._expect(self._weights(count[order]))
        change = np.abs(np.cos(self.theta) - np.cos(before)) / 2
        return float(change.max(initial=0.0))

    def settle(self, rounds: int, tolerance: float = 2e-4) -> int:
        """Repeat rounds until cell fractions stand still."""
        done = 1
        while self._step() >= tolerance and done < rounds:
            done += 1
        return done

    def fit(self) -> int:
        """Settle, merge and dissolve until nothing changes, then look among the sites outside."""
        rounds = self.settle(12)
        for _ in range(4):
            while self._thin():
                rounds += self.settle(25)
            if not self._look_outside():
                break
            rounds += self.settle(12)
        else:
            while self._thin():
                rounds += self.settle(25)
        rounds += self.settle(100, 1e-5)
        self.curves = self.reads.curves(self.r[:, :-1])
        return rounds

    def _own(self) -> Floats:
        """Return what each cluster contributes to the evidence, but for the entropy."""
        count = self.r[:, :-1].sum(axis=0)
        value = math.log(self.alpha) + special.gammaln(np.maximum(count, 1e-3))
        for curve in self.curves:
            value = value + _log_integral(curve)
        return np.asarray(value)

    def evidence(self) -> float:
        """Return the lower bound of the log evidence."""
        fixed = float(self.r[:, -1] @ self.reads.outside + self.r.sum(axis=1) @ self.reads.offset)
        return float(self._own().sum()) + fixed - float(special.xlogy(self.r, self.r).sum())

    def _thin(self) -> bool:
        """Merge pairs and dissolve clusters while the evidence rises; tell whether any was."""
        self.curves = self.reads.curves(self.r[:, :-1])
        start = self.r.shape[1]
        own = self._own()
        gain = np.full((start - 1, start - 1), -np.inf)
        for a in range(start - 2):
            gain[a, a + 1 :] = self._gains(a, np.arange(a + 1, start - 1), own)
        while gain.size and gain.max() > 0:
            a, b = (int(v) for v in np.unravel_index(gain.argmax(), gain.shape))
            self.r[:, a] += self.r[:, b]
            self.r = np.delete(self.r, b, axis=1)
            self.curves[:, a] += self.curves[:, b]
            self.curves = np.delete(self.curves, b, axis=1)
            self.theta = np.delete(self.theta, b, axis=1)
            gain = np.delete(np.delete(gain, b, axis=0), b, axis=1)
            own = self._own()
            others = np.setdiff1d(np.arange(len(gain)), [a])
            new = self._gains(a, others, own)
            gain[np.minimum(others, a), np.maximum(others, a)] = new
        merged = self.r.shape[1] < start
        return self._dissolve(own) or merged

    def _gains(self, a: int, others: NDArray[np.int64], own: Floats) -> Floats:
        """Return what merging `a` with each of `others` adds to the evidence."""
        if not others.size:
            return np.zeros(0)
        count = self.r[:, :-1].sum(axis=0)
        value = math.log(self.alpha) + special.gammaln(count[a] + count[others])
        for curve in self.curves:
            value = value + _log_integral(curve[a] + curve[others])
        value = value - own[a] - own[others]
        for i in np.flatnonzero(value > 0):
            one, two = self.r[:, a], self.r[:, others[i]]
            entropy = special.xlogy(one + two, one + two) - special.xlogy(one, one)
            value[i] -= float((entropy - special.xlogy(two, two)).sum())
        return np.asarray(value)

    def _dissolve(self, own: Floats) -> bool:
        """Give up the cluster whose sites are better off elsewhere, the one that gains most."""
        count = self.r[:, :-1].sum(axis=0)
        if count.size < 2:
            return False
        small = np.flatnonzero(count < max(20.0, 0.01 * self.reads.n))
        total = count.sum() + self.alpha
        theta = np.stack([_peak(c) for c in self.curves])
        best, gain = -1, 0.0
        for a in small:
            sites = np.flatnonzero(self.r[:, a] > 1e-6)
            rest = np.delete(np.arange(count.size), a)
            r = self.r[sites, a]
            score = self._subset(sites, theta[:, rest])
            score += np.log((1 - _OUTSIDE) * count[rest] / total)
            outside = self.reads.outside[sites] + math.log(_OUTSIDE)
            here = own[a] - float(special.xlogy(r, r).sum())
            here += float(count[a]) * math.log((1 - _OUTSIDE) / total)
            value = float(r @ np.maximum(score.max(axis=1), outside)) - here
            if value > gain:
                best, gain = int(a), value
        if best < 0:
            return False
        rest = np.delete(np.arange(count.size), best)
        self.theta = theta[:, rest]
        self._expect(count[rest] / count[rest].sum())
        return True

    def _subset(self, sites: NDArray[np.int64], theta: Floats) -> Floats:
        out = np.zeros((sites.size, theta.shape[1]))
        for j, (table, row) in enumerate(zip(self.reads.tables, self.reads.row, strict=True)):
            at, weights = _stencil(theta[j])
            picked = table[row[sites]]
            out += (picked[:, at] * weights).sum(axis=-1)
        return out

    def _look_outside(self) -> bool:
        """Start clusters among the sites that fit none; tell whether there were any."""
        sites = np.flatnonzero(self.r[:, -1] > 0.5)
        if sites.size < 5:
            return False
        theta = self._seeds(self.points[sites], min(8, sites.size // 3))
        own = self._subset(sites, theta).argmax(axis=1)
        found = np.zeros((self.reads.n, theta.shape[1]))
        found[sites, own] = self.r[sites, -1]
        keep = found.sum(axis=0) >= 3
        left = self.r[:, -1:].copy()
        left -= found[:, keep].sum(axis=1, keepdims=True)
        self.r = np.hstack([self.r[:, :-1], found[:, keep], np.maximum(left, 0)])
        self.theta = np.hstack([self.theta, theta[:, keep]])
        return bool(keep.any())

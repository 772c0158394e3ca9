r"""An expression signature of an ordered class: learned, scored, and judged on patients unseen.

*Recipe* (after Hartmann et al., HemaSphere 2026;10:e70324). Genes are ranked by the score test of
the proportional odds model (`ballbook.gene_screen`) and the first :math:`m` are kept. Patients are
clustered on them (standardised genes, Euclidean distance, Ward's criterion) and the clusters
numbered by the mean class of their patients, 1 the fastest. Of the kept genes, those higher in the
last cluster than in the first are the *up* set, the others the *down* set; or, with
``direction="odds"``, those whose own odds ratio is above 1. A patient's resistance score is the
singscore of the up set plus that of the reversed down set (`ballbook.genesets`), so it needs no
other patient.

*Circularity.* The genes were chosen because they go with the class, and so does the score of the
patients they were chosen in, even where nothing is related. Three numbers tell how much of it:

- the apparent concordance, on the patients of discovery;
- the cross-validated one: screen, clusters and directions are all repeated without each fold
  (Ambroise, McLachlan, PNAS 2002;99:6562);
- both again after the classes were shuffled (Simon et al., J Natl Cancer Inst 2003;95:14).

*Concordance* is the chance that, of two patients in different classes, the one in the higher class
has the higher score,

.. math:: C=\frac{\sum_{i<j} w_{ij}h_{ij}}{\sum_{i<j} w_{ij}},

:math:`h` 1, ½ (tie) or 0, and :math:`w_{ij}` the number of repeats in which both stood in one fold
(scores of different folds come from different genes); with `within`, only pairs of one group
count. Its standard error adds up what each patient's pairs contribute,
:math:`\sum_i\{\sum_j w_{ij}(h_{ij}-C)\}^2/(\sum_{i<j}w_{ij})^2`, which for two classes is that of
DeLong et al. (Biometrics 1988;44:837) to the order 1/n. It takes the signatures as given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from ballbook.gene_screen import (
    Ints,
    fit_screen,
    in_one_end,
    null_model,
    score_z,
    standardise,
)
from ballbook.genesets import min_ranks, singscore
from ballbook.inputs import Floats
from ballbook.ordinal import proportional_odds
from ballbook.results import Estimate, not_estimable
from ballbook.trees import folds, shuffle

Direction = Literal["clusters", "odds"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a signature is learned: genes kept, clusters of patients, where directions come from."""

    n_genes: int = 100
    n_clusters: int = 3
    direction: Direction = "clusters"


@dataclass(frozen=True, slots=True)
class Signature:
    """Genes that go with a higher class (`up`) and with a lower one (`down`).

    Attributes
    ----------
    up, down : tuple of str
    background : tuple of str
        The genes that were screened, among which genes are ranked for the score.
    z : Series
        Score statistic of every screened gene.
    clusters : Series or None
        Cluster of each patient of discovery, numbered from the lowest mean class; None where
        directions come from the odds.
    """

    up: tuple[str, ...]
    down: tuple[str, ...]
    background: tuple[str, ...]
    z: pd.Series = field(repr=False)
    clusters: pd.Series | None = field(repr=False, default=None)

    @property
    def genes(self) -> pd.DataFrame:
        """The signature as a table: gene, direction (up or down), z; strongest first."""
        table = pd.DataFrame(
            {
                "gene": [*self.up, *self.down],
                "direction": ["up"] * len(self.up) + ["down"] * len(self.down),
            }
        )
        table["z"] = self.z[table["gene"]].to_numpy()
        order = (-table["z"].abs()).argsort(kind="stable")
        return table.iloc[order].reset_index(drop=True)

    def measured(self, expression: pd.DataFrame) -> dict[str, int]:
        """Return how many genes of each part a table has: ``up, down, background``."""
        have = set(expression.index)
        return {
            name: len(have.intersection(getattr(self, name)))
            for name in ("up", "down", "background")
        }

    def score(self, expression: pd.DataFrame) -> pd.Series:
        """Return the resistance score of each sample, ranked among the screened genes it has.

        Raises
        ------
        ValueError
            If no gene of the up set or none of the down set was measured, or as
            `ballbook.genesets.singscore`.
        """
        found = self.measured(expression)
        if not found["up"] or not found["down"]:
            side = "up" if not found["up"] else "down"
            raise ValueError(f"no {side} gene of the signature is in the expression table")
        table = expression.loc[expression.index.isin(self.background)]
        return singscore(table, self.up, self.down)


class Discovery:
    """Patients among whom a signature is learned: expression, its ranks, classes, groups.

    Parameters
    ----------
    expression : DataFrame, genes x patients
    classes : sequence of int
        Codes 0 to J - 1, 0 the fastest.
    group : sequence, optional
        Compared within: a factor such as the subtype, adjusted for in the screen. Groups that lie
        wholly in one end class add nothing and are left out of the screen.
    numeric : DataFrame, patients x covariates, optional
        Adjusted for as well, where there are groups.

    Raises
    ------
    ValueError
        For classes that are not codes from 0 without gaps, or unequal lengths.
    """

    def __init__(
        self,
        expression: pd.DataFrame,
        classes: Any,
        group: Any = None,
        numeric: pd.DataFrame | None = None,
    ) -> None:
        self.genes = expression.index
        self.patients = expression.columns
        self.values = expression.to_numpy(float)
        self.codes: Ints = np.asarray(classes, dtype=np.int64)
        if self.codes.size != self.values.shape[1]:
            raise ValueError(f"{self.codes.size} classes for {self.values.shape[1]} patients")
        if not np.array_equal(np.unique(self.codes), np.arange(self.codes.max() + 1)):
            raise ValueError("classes: expected codes 0, 1, ... without gaps")
        if self.codes.max() < 1:
            raise ValueError("classes: every patient is in the same class")
        self.group = None
        if group is not None:
            words = np.array([str(v) for v in group])
            self.group = np.unique(words, return_inverse=True)[1].astype(np.int64)
        self.numeric = None if numeric is None else numeric.to_numpy(float)
        self.ranks = min_ranks(self.values)
        # The score test knows neither mean nor scale of a gene: once is enough for all folds.
        self._x = standardise(self.values)
        self._squares = self._x**2

    def learn(self, recipe: Recipe = Recipe()) -> Signature:
        """Return the signature of all patients."""
        everyone = np.arange(self.codes.size)
        up, down, z, clusters = self._learn(everyone, self.codes, recipe)
        return Signature(
            up=tuple(map(str, self.genes[up])),
            down=tuple(map(str, self.genes[down])),
            background=tuple(map(str, self.genes)),
            z=pd.Series(z, index=self.genes),
            clusters=None if clusters is None else pd.Series(clusters, index=self.patients),
        )

    def apparent(self, recipe: Recipe = Recipe(), *, codes: Ints | None = None) -> Floats:
        """Return the scores of the patients in whom the signature was learned."""
        everyone = np.arange(self.codes.size)
        up, down, _, _ = self._learn(everyone, self.codes if codes is None else codes, recipe)
        return self._score(up, down, everyone)

    def cross_validate(
        self,
        recipe: Recipe = Recipe(),
        *,
        k: int = 5,
        repeats: int = 10,
        seed: int | np.random.Generator = 0,
        codes: Ints | None = None,
    ) -> CrossValidated:
        """Return the scores of patients by signatures learned without them.

        Scores are standardised by the patients of each training part. Folds are stratified by
        class, `repeats` times anew.
        """
        labels = self.codes if codes is None else codes
        rng = np.random.default_rng(seed)
        scores = np.full((labels.size, repeats), np.nan)
        parts = np.empty((labels.size, repeats), dtype=np.int64)
        for r in range(repeats):
            parts[:, r] = part = folds(labels, k, rng)
            for f in range(k):
                test, train = np.flatnonzero(part == f), np.flatnonzero(part != f)
                up, down, _, _ = self._learn(train, labels[train], recipe)
                known = self._score(up, down, train)
                spread = known.std() or 1.0
                scores[test, r] = (self._score(up, down, test) - known.mean()) / spread
        return CrossValidated(scores, parts, labels, k)

    def permute(
        self,
        recipe: Recipe = Recipe(),
        *,
        n_permutations: int = 199,
        k: int = 5,
        repeats: int = 2,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Return what shuffled classes give; one row a shuffle.

        Classes are shuffled within groups, where there are any, and pairs are then compared
        within groups too.

        Returns
        -------
        DataFrame
            ``apparent`` and ``cross_validated`` (concordances), ``log_odds`` (of a higher class,
            per standard deviation of the cross-validated score) and ``cluster_p`` (chi-squared
            test of class against the first and the last cluster).
        """
        everyone = np.arange(self.codes.size)
        rows = []
        for stream in np.random.default_rng(seed).spawn(n_permutations):
            codes = shuffle(self.codes, self.group, stream)
            up, down, _, clusters = self._learn(everyone, codes, recipe)
            scores = self._score(up, down, everyone)
            found = self.cross_validate(recipe, k=k, repeats=repeats, seed=stream, codes=codes)
            rows.append(
                {
                    "apparent": concordance(scores, codes, within=self.group).value,
                    "cross_validated": found.concordance(within=self.group).value,
                    "log_odds": self.log_odds(found)[0],
                    "cluster_p": _extremes_p(clusters, codes),
                }
            )
        names = ["apparent", "cross_validated", "log_odds", "cluster_p"]
        return pd.DataFrame(rows, columns=names, dtype=float)

    def by_chance(
        self, sizes: Any, recipe: Recipe = Recipe(), *, n_draws: int = 199, seed: int = 0
    ) -> pd.DataFrame:
        """Return what the recipe finds where classes of given sizes are drawn at random.

        Each draw takes as many of the patients without replacement, with their expression, and
        gives them classes by lot: nothing can be related.

        Parameters
        ----------
        sizes : sequence of int
            Patients a class.

        Returns
        -------
        DataFrame
            ``cluster_p`` and ``apparent`` as in `permute`, and ``first_lowest``,
            ``last_highest``: the shares of the lowest class in the first cluster and of the
            highest in the last.

        Raises
        ------
        ValueError
            If there are fewer patients than that.
        """
        drawn = np.repeat(np.arange(len(sizes)), np.asarray(sizes, dtype=np.int64))
        if drawn.size > self.codes.size:
            raise ValueError(f"{drawn.size} patients cannot be drawn from {self.codes.size}")
        rows = []
        for stream in np.random.default_rng(seed).spawn(n_draws):
            where = stream.permutation(self.codes.size)[: drawn.size]
            up, down, _, clusters = self._learn(where, drawn, recipe, adjusted=False)
            scores = self._score(up, down, where)
            if clusters is None:
                raise ValueError("directions from the odds make no clusters")
            rows.append(
                {
                    "cluster_p": _extremes_p(clusters, drawn),
                    "apparent": concordance(scores, drawn).value,
                    "first_lowest": float((drawn[clusters == 1] == 0).mean()),
                    "last_highest": float(
                        (drawn[clusters == clusters.max()] == drawn.max()).mean()
                    ),
                }
            )
        return pd.DataFrame(rows, dtype=float)

    def log_odds(self, found: CrossValidated) -> tuple[float, float]:
        """Return log odds per standard deviation of a cross-validated score, and Wald's error.

        From the proportional odds model of the class on the score, the groups and the numeric
        covariates. NaN where the score separates the classes.
        """
        where, codes = np.arange(found.codes.size), found.codes
        design = None
        if self.group is not None:
            where = np.flatnonzero(~in_one_end(codes, int(codes.max()) + 1, self.group))
            design = self._design(where)
        score = found.score[where]
        fitted = fit_screen(
            codes[where],
            pd.DataFrame([score]),
            None if design is None else pd.DataFrame(design).rename(columns=str),
        ).iloc[0]
        # Per standard deviation of all patients' scores, not of those who were left.
        spread = float(score.std()) or 1.0
        return float(fitted["coef"]) / spread, float(fitted["se"]) / spread

    def _learn(
        self, where: Ints, codes: Ints, recipe: Recipe, *, adjusted: bool = True
    ) -> tuple[Ints, Ints, Floats, Ints | None]:
        """Return rows of the up and down genes, all score statistics, and clusters from 1."""
        used, design, labels = where, None, codes
        if adjusted and self.group is not None:
            kept = ~in_one_end(codes, int(codes.max()) + 1, self.group[where])
            used, labels = where[kept], codes[kept]
            design = self._design(used)
        labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
        null = null_model(labels, int(labels.max()) + 1, design)
        z = score_z(self._x[:, used], null, self._squares[:, used])
        strength = np.nan_to_num(np.abs(z), nan=-1.0)
        # A stable order, so that two runs keep the same genes where statistics are tied.
        top = np.argsort(-strength, kind="stable")[: recipe.n_genes]
        top = top[strength[top] >= 0]
        if recipe.direction == "odds" or recipe.n_clusters < 2:
            return top[z[top] > 0], top[z[top] <= 0], z, None
        x = standardise(self.values[np.ix_(top, used)])
        clusters = clusters_of(x.T, labels, recipe.n_clusters)
        last = int(clusters.max())
        shift = x[:, clusters == last].mean(axis=1) - x[:, clusters == 1].mean(axis=1)
        return top[shift > 0], top[shift <= 0], z, clusters

    def _design(self, where: Ints) -> Floats | None:
        """Return dummies of the groups (without the largest) and the numeric covariates."""
        assert self.group is not None
        group = self.group[where]
        counts = np.bincount(group)
        others = [g for g in np.flatnonzero(counts) if g != counts.argmax()]
        columns = [(group == g).astype(float) for g in others]
        if self.numeric is not None:
            columns += list(self.numeric[where].T)
        varying = [c for c in columns if np.ptp(c) > 0]
        return np.column_stack(varying) if varying else None

    def _score(self, up: Ints, down: Ints, where: Ints) -> Floats:
        """Return the singscore totals of some patients, from the ranks of all genes."""
        n = len(self.genes)
        total = np.zeros(where.size)
        for rows, reverse in ((up, False), (down, True)):
            k = rows.size
            if k == 0 or k == n:
                continue
            mean = self.ranks[np.ix_(rows, where)].mean(axis=0)
            mean = n + 1 - mean if reverse else mean
            total += (mean - (k + 1) / 2) / (n - k) - 0.5
        return total


@dataclass(frozen=True, slots=True)
class CrossValidated:
    """Scores of patients by signatures that never saw them.

    Attributes
    ----------
    scores : array of shape (n, repeats)
        In standard deviations of the training part of each fold.
    parts : int array of shape (n, repeats)
        Fold of each patient in each repeat.
    codes : int array of shape (n,)
    """

    scores: Floats
    parts: Ints
    codes: Ints
    k: int

    @property
    def score(self) -> Floats:
        """Mean score of each patient over the repeats, with mean 0 and spread 1."""
        mean = self.scores.mean(axis=1)
        spread = mean.std() or 1.0
        return np.asarray((mean - mean.mean()) / spread)

    def concordance(self, within: Any = None) -> Estimate:
        """Return the concordance, pairs taken within folds and, if given, within groups."""
        found = concordance(self.scores, self.codes, parts=self.parts, within=within)
        repeats = self.scores.shape[1]
        times = f", {repeats} times" if repeats > 1 else ""
        return replace(found, method=f"concordance, {self.k}-fold cross-validated{times}")


def clusters_of(points: Floats, codes: Ints, count: int) -> Ints:
    """Return Ward's clusters of `points` (patients x genes), numbered from the lowest mean class.

    Ties of the mean class are broken by the order in which the clusters first appear.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    raw = fcluster(linkage(points, "ward"), count, "maxclust")
    mean = pd.Series(codes).groupby(raw, sort=False).mean().sort_values(kind="stable")
    number = {label: i + 1 for i, label in enumerate(mean.index)}
    return np.array([number[label] for label in raw], dtype=np.int64)


def concordance(scores: Any, codes: Any, *, parts: Any = None, within: Any = None) -> Estimate:
    """Return the chance that of two patients in different classes the higher has the higher score.

    Parameters
    ----------
    scores : array of shape (n,) or (n, repeats)
    codes : int array of shape (n,)
    parts : int array as `scores`, optional
        Only patients of the same part are compared.
    within : array of shape (n,), optional
        Only patients of the same group are compared.

    Returns
    -------
    Estimate
        Of kind ``auc``; 0.5 where score and class are unrelated. Not estimable without a pair.
    """
    s = np.asarray(scores, float)
    s = s[:, None] if s.ndim == 1 else s
    y = np.asarray(codes)
    n = y.size
    higher = np.greater.outer(y, y)
    if within is not None:
        groups = np.asarray(within)
        higher &= groups[:, None] == groups[None, :]
    weight, won = np.zeros((n, n)), np.zeros((n, n))
    part = None if parts is None else np.asarray(parts).reshape(s.shape)
    for r in range(s.shape[1]):
        pair = higher if part is None else higher & (part[:, r, None] == part[None, :, r])
        gap = s[:, None, r] - s[None, :, r]
        weight += pair
        won += pair * ((gap > 0) + 0.5 * (gap == 0))
    total = weight.sum()
    if total == 0:
        return not_estimable("auc", "no two patients in different classes to compare", n=n)
    value = float(won.sum() / total)
    excess = won - value * weight
    each = excess.sum(axis=0) + excess.sum(axis=1)
    se = math.sqrt(float((each**2).sum())) / float(total)
    half = float(stats.norm.isf(0.025)) * se
    in_pairs = int(((weight.sum(axis=0) + weight.sum(axis=1)) > 0).sum())
    return Estimate(
        kind="auc",
        value=value,
        ci_low=max(value - half, 0.0),
        ci_high=min(value + half, 1.0),
        n=in_pairs,
        method="concordance",
    )


def calibrated_odds_ratio(
    log_odds: tuple[float, float], shuffled: Any, *, n: int | None = None
) -> Estimate:
    """Return the odds ratio of a cross-validated score, with an error that knows of the folds.

    A patient's score depends on the classes of the others, so Wald's error, which takes scores as
    given, is too small. The interval takes the spread of the log odds under shuffled classes
    where that is larger, and the P value counts shuffles that are as far out (two-sided).

    Parameters
    ----------
    log_odds : (float, float)
        From `Discovery.log_odds`.
    shuffled : array of shape (m,)
        Column ``log_odds`` of `Discovery.permute`; shuffles without a value are left out.
    """
    value, wald = log_odds
    null = np.asarray(shuffled, float)
    null = null[np.isfinite(null)]
    if not math.isfinite(value) or null.size < 2:
        return not_estimable("odds-ratio", "the score separates the classes", n=n)
    spread = float(np.sqrt(np.mean(null**2)))
    se = max(wald, spread)
    half = float(stats.norm.isf(0.025)) * se
    p = float((np.sum(np.abs(null) >= abs(value) - 1e-12) + 1) / (null.size + 1))
    return Estimate(
        kind="odds-ratio",
        value=math.exp(value),
        ci_low=math.exp(value - half),
        ci_high=math.exp(value + half),
        p_value=p,
        statistic=value / se,
        n=n,
        unit="per SD",
        method=(
            "proportional odds model of the cross-validated score; error from "
            f"{'Wald' if wald > spread else f'{null.size} shuffles of the classes'}, "
            "P by shuffling"
        ),
    )


def permutation_p(observed: float, shuffled: Any, *, n: int | None = None) -> Estimate:
    """Return the one-sided P value of a statistic that chance makes large, ``(b + 1) / (m + 1)``.

    Phipson, Smyth, Stat Appl Genet Mol Biol 2010;9:39.
    """
    null = np.asarray(shuffled, float)
    p = float((np.sum(null >= observed - 1e-12) + 1) / (null.size + 1))
    return Estimate(
        kind="p-value",
        value=p,
        p_value=p,
        statistic=observed,
        ci_level=None,
        n=n,
        method=f"{null.size} permutations of the classes, one-sided",
    )


def repeated_genes(
    data: Discovery, recipe: Recipe, *, n_boot: int = 100, seed: int = 0
) -> pd.Series:
    """Return, for each gene, the share of bootstrap samples in which it is kept.

    Patients are drawn within classes, so that no class is lost.
    """
    counts = np.zeros(len(data.genes))
    for where in _bootstraps(data.codes, n_boot, seed):
        up, down, _, _ = data._learn(where, data.codes[where], recipe)
        counts[np.concatenate([up, down])] += 1
    return pd.Series(counts / n_boot, index=data.genes)


def _extremes_p(clusters: Ints | None, codes: Ints) -> float:
    """Return the chi-squared P of class against the first and the last cluster, or NaN."""
    if clusters is None or clusters.size != codes.size:
        return math.nan
    ends = [
        np.bincount(codes[clusters == c], minlength=codes.max() + 1) for c in (1, clusters.max())
    ]
    table = np.array(ends, dtype=float)
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return math.nan
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return float(stats.chi2.sf(statistic, table.shape[1] - 1))


def _bootstraps(codes: Ints, n_boot: int, seed: int) -> Iterator[Ints]:
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(codes == c) for c in np.unique(codes)]
    for _ in range(n_boot):
        yield np.concatenate([rng.choice(m, m.size) for m in members])


def widened(estimate: Estimate, shuffled: Any) -> Estimate:
    """Return a cross-validated concordance with the wider of two intervals.

    The one it has takes signatures as given; the other is its spread under shuffled classes.
    """
    null = np.asarray(shuffled, float)
    if estimate.value is None or estimate.ci_high is None or null.size < 2:
        return estimate
    half = float(stats.norm.isf(0.025)) * float(null.std(ddof=1))
    if half <= estimate.ci_high - estimate.value:
        return estimate
    return replace(
        estimate,
        ci_low=max(estimate.value - half, 0.0),
        ci_high=min(estimate.value + half, 1.0),
        method=f"{estimate.method}; interval from {null.size} shuffles of the classes",
    )


def somers_d(estimate: Estimate) -> Estimate:
    """Return a concordance as Somers' *D*, :math:`2C-1`: 0 where nothing is related, 1 at best."""

    def there(value: float | None) -> float | None:
        return None if value is None else 2 * value - 1

    return replace(
        estimate,
        kind="correlation",
        value=there(estimate.value),
        ci_low=there(estimate.ci_low),
        ci_high=there(estimate.ci_high),
        method=f"Somers' D, {estimate.method}",
    )


@dataclass(frozen=True, slots=True)
class Applied:
    """A signature in patients who had no part in it.

    Attributes
    ----------
    steps : list of (label, n, reason)
        Who is counted.
    odds_ratio : Estimate
        Odds of a higher class per standard deviation of the score.
    adjusted : Estimate
        The same within groups.
    concordance : Estimate
    parallel : float or None
        P value of the test that one odds ratio serves every cut; None with two classes.
    """

    steps: list[tuple[Any, ...]]
    odds_ratio: Estimate
    adjusted: Estimate
    concordance: Estimate
    parallel: float | None = None


def apply(
    score: pd.Series,
    classes: pd.Series,
    group: pd.Series | None = None,
    *,
    minimum: int = 5,
    steps: list[tuple[Any, ...]] | None = None,
) -> Applied:
    """Return how a score goes with ordered classes in new patients; nothing is learned.

    Parameters
    ----------
    score : Series
        By patient; missing where not scored.
    classes : Series of float
        Codes by the same patients, 0 the fastest; missing where not known.
    group : Series, optional
        Compared within; groups of fewer than `minimum` patients are joined.
    minimum : int
        Fewest patients in the lowest class and above it; below it nothing is estimated.
    """
    known = score.notna() & classes.notna()
    s, y = score[known].astype(float), classes[known].astype(int)
    steps = [*(steps or []), ("with a score and a class", int(known.sum()), "one of them unknown")]
    n, slow = int(known.sum()), int((y > y.min()).sum()) if known.any() else 0
    counts: dict[str, Any] = {"n": n, "n_events": slow}
    least = max(minimum, 2)
    if min(slow, n - slow) < least:
        few = f"fewer than {least} patients in the fastest class, or above it"
        nothing = not_estimable("odds-ratio", few)
        return Applied(steps, nothing, nothing, not_estimable("auc", few))
    if s.std(ddof=0) == 0:
        nothing = not_estimable("odds-ratio", "every patient has the same score")
        return Applied(steps, nothing, nothing, not_estimable("auc", "every score is the same"))
    per_sd = (s - s.mean()) / s.std(ddof=0)
    codes = np.unique(y.to_numpy(), return_inverse=True)[1].astype(np.int64)
    fitted = proportional_odds(codes, per_sd.to_frame("score").reset_index(drop=True))
    crude = replace(fitted.odds_ratio("score", unit="per SD"), n_events=slow)
    found = replace(concordance(s, codes), n=n, n_events=slow)
    parallel = fitted.parallelism("lr").value if codes.max() > 1 else None
    adjusted = not_estimable("odds-ratio", "groups are not given", **counts)
    if group is not None:
        named = group[known].fillna("not stated").astype(str)
        sizes = named.value_counts()
        named = named.where(named.map(sizes) >= least, "smaller groups together")
        kept = ~in_one_end(
            codes, int(codes.max()) + 1, np.unique(named, return_inverse=True)[1].astype(np.int64)
        )
        dummies = pd.get_dummies(named[kept]).astype(float)
        left = codes[kept]
        if dummies.shape[1] < 2:
            adjusted = not_estimable("odds-ratio", "there are not two groups to compare within")
        elif min((left > 0).sum(), (left == 0).sum()) < least:
            adjusted = not_estimable("odds-ratio", f"fewer than {least} patients in a class")
        else:
            largest = named[kept].value_counts().index[0]
            design = dummies.drop(columns=largest).assign(score=per_sd[kept])
            within = proportional_odds(
                np.unique(left, return_inverse=True)[1], design.reset_index(drop=True)
            )
            e = within.odds_ratio("score", unit="per SD")
            adjusted = replace(e, n_events=int((left > 0).sum()))
    return Applied(steps, crude, adjusted, found, parallel)

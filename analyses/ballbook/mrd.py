r"""Measurable residual disease: levels to positive or negative, and simulated clearance.

*Positivity.* A level at or above the cut-off is positive. A level below it is negative only if
the assay could have seen the cut-off: with a limit of detection above the cut-off, "nothing seen"
decides nothing and stays undetermined.

*Simulated clearance.* `ClearanceModel` draws patients who look like a published group of three
clearance classes, from printed margins alone. Class sizes are fixed. Given the class, maturity is
normal with unit spread and class means :math:`\mu_c` scaled so that the share of variance between
classes is the printed one,

.. math:: \eta^2 = \frac{(g-1)F}{(g-1)F + n - g}, \qquad F = F^{-1}_{g-1,\,n-g}(1 - P),

which makes the one-way analysis of variance of a cohort with exactly these means and spread
return the printed *P*. Age is drawn from the printed age groups (uniform within a group), tilted
for each class, :math:`f_c(a) \propto f(a)\,a^{\theta_c}`, until its median is the printed one; the
printed *P* of age against class is not used, and so can check the tilt.
The share of one fusion partner moves from class to class on the logit scale until the expected
chi-squared statistic has the printed *P*; the other partners keep their proportions. Given the
class the three are independent, which no margin can confirm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ballbook import trees
from ballbook.contingency import odds_ratio, proportion
from ballbook.dictionaries import plain
from ballbook.disclosure import bare, flow, withhold
from ballbook.maturity import variance_explained
from ballbook.results import Estimate, not_estimable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MRD_CUT = 1e-4
AGE_EDGES = {
    "under 1": (1 / 12, 1.0),
    "1 to 17": (1.0, 18.0),
    "18 to 54": (18.0, 55.0),
    "55 and over": (55.0, 90.0),
}


def positivity(
    level: ArrayLike,
    cut: float = MRD_CUT,
    *,
    limit_of_detection: ArrayLike | None = None,
    category: Sequence[object] | pd.Series | None = None,
) -> pd.Series:
    """Return MRD as 1.0 (positive), 0.0 (negative) or NaN (undetermined).

    Parameters
    ----------
    level : array of shape (n,)
        Fraction of cells (0.0001 is 0.01%); NaN where not measured.
    cut : float
        Positive at or above it.
    limit_of_detection : array of shape (n,), optional
        Smallest level the assay could see; NaN where not stated, and then taken as low enough.
    category : sequence of n, optional
        Classes (``low``, ``negative``, ``high``, ``positive``), used where there is no level.

    Raises
    ------
    ValueError
        If a level is outside 0..1, where percent were meant, or the cut-off is not within (0, 1).
    """
    if not 0 < cut < 1:
        raise ValueError(f"the cut-off should be a fraction between 0 and 1, not {cut:g}")
    index = level.index if isinstance(level, pd.Series) else None
    values = np.asarray(level, float)
    if np.nanmax(values, initial=0) > 1 or np.nanmin(values, initial=0) < 0:
        raise ValueError("levels should be fractions between 0 and 1; are these percent?")
    out = np.where(np.isnan(values), np.nan, (values >= cut).astype(float))
    if limit_of_detection is not None:
        blind = np.asarray(limit_of_detection, float) > cut * (1 + 1e-9)
        out[(out == 0) & blind] = np.nan
    if category is not None:
        words = {"low": 0.0, "negative": 0.0, "high": 1.0, "positive": 1.0}
        said = np.array([words.get(str(c).lower(), np.nan) for c in category])
        out = np.where(np.isnan(values), said, out)
    return pd.Series(out, index=index, name="mrd_positive")


def at_timepoint(
    levels: pd.DataFrame, timepoint: str = "", cut: float = MRD_CUT
) -> tuple[str, pd.Series]:
    """Return a time point and, by patient, whether MRD was positive there.

    Parameters
    ----------
    levels : DataFrame
        A cohort's MRD table: ``patient_id``, ``timepoint``, ``level``, and where known
        ``limit_of_detection`` and ``category``.
    timepoint : str
        Case and separators do not matter (``Day29`` is ``day 29``). Empty, or ``*``, takes the one
        with most patients, of ties the first in the table.
    cut : float
        See `positivity`; classes are taken as they are.

    Raises
    ------
    ValueError
        Where there is no such time point, naming those there are.
    """
    known = levels["timepoint"].value_counts(sort=False).sort_values(ascending=False, kind="stable")
    there: dict[str, str] = {}
    for label in map(str, known.index):
        there.setdefault(plain(label), label)
    wanted = plain(timepoint.strip("* ")) or next(iter(there), "")
    if wanted not in there:
        raise ValueError(f"no MRD at {timepoint!r}; there is {', '.join(there.values()) or 'none'}")
    name = there[wanted]
    rows = levels[levels["timepoint"] == name].set_index("patient_id")
    return name, positivity(
        rows["level"],
        cut,
        limit_of_detection=rows.get("limit_of_detection"),
        category=rows.get("category"),
    )


def kmt2a_rearranged(patients: pd.DataFrame) -> pd.Series:
    """Return whether each patient has B-lineage ALL with a rearranged KMT2A, as far as is said.

    By subtype, by the flag ``kmt2a_r``, or by a named partner gene.
    """
    none = pd.Series(np.nan, index=patients.index, dtype=object)
    subtype, flag = patients.get("subtype", none), patients.get("kmt2a_r", none)
    partner, lineage = patients.get("fusion_partner", none), patients.get("lineage", none)
    found = (subtype == "KMT2A-r") | (flag == 1) | partner.map(trees.partner_of).notna()
    return found & (lineage != "T")


@dataclass(frozen=True)
class TreeApplied:
    """The published tree beside what happened, with small counts left out.

    Attributes
    ----------
    steps : list of (label, n, reason)
        Who is counted.
    table : DataFrame or None
        ``predicted`` by observed class; None where a count is too small to be shown.
    slow_odds : Estimate
        Odds ratio of positive MRD, patients called slow against those called faster.
    auc : Estimate
        Chance that a patient with positive MRD is called slower than one without.
    accuracy : Estimate
        Share called right; only where clearance is known in the tree's own three classes.
    """

    steps: list[tuple[Any, ...]]
    table: pd.DataFrame | None
    slow_odds: Estimate
    auc: Estimate
    accuracy: Estimate


def apply_tree(
    patients: pd.DataFrame, tree: trees.PublishedTree, *, min_count: int = 0
) -> TreeApplied:
    """Apply the published tree to patients and compare it with their MRD.

    Parameters
    ----------
    patients : DataFrame
        ``maturity``, ``fusion_partner``, ``mrd_positive`` (1, 0 or missing) and, where known,
        ``clearance`` (fast, intermediate or slow by the reader's own definition).
    min_count : int
        No cell, group or difference between two shown numbers is smaller, zero cells included
        (see `ballbook.disclosure`); 0 shows everything.
    """
    rearranged = kmt2a_rearranged(patients)
    blank = pd.Series(np.nan, index=patients.index, dtype=object)
    partner = patients.get("fusion_partner", blank)
    called = tree.predict(patients.get("maturity", blank).astype(float), partner)
    observed = patients.get("mrd_positive", blank).astype(float)
    classes = patients.get("clearance", blank).astype(object)
    classes = classes.map(lambda c: str(c).strip().lower() if pd.notna(c) else c)
    classes = classes.where(classes.isin(trees.CLEARANCE))
    use = rearranged & called.notna() & observed.notna()
    steps = flow(
        [
            ("patients in the file", len(patients)),
            ("KMT2A-rearranged, B lineage", int(rearranged.sum()), "another genetic subtype"),
            (
                "that the tree can place",
                int((rearranged & called.notna()).sum()),
                "no maturity score, or a low one with the fusion partner unknown",
            ),
            ("with MRD", int(use.sum()), "MRD not known"),
        ],
        min_count,
    )
    cells = pd.crosstab(
        called[use].astype(str), observed[use].map({0.0: "negative", 1.0: "positive"})
    )
    cells = cells.reindex(index=list(trees.CLEARANCE), columns=["negative", "positive"]).fillna(0)
    cells = cells.astype(int)
    small = bool((cells < min_count).to_numpy().any())
    count = cells.to_numpy(int)
    faster, slow = count[:2].sum(axis=0), count[2]
    four = (int(slow[1]), int(slow[0]), int(faster[1]), int(faster[0]))
    told = f"a count is below {min_count}"
    if int(use.sum()) == 0:
        odds = not_estimable("odds-ratio", "no patient has a prediction and MRD")
        area = not_estimable("auc", "no patient has a prediction and MRD")
    elif min(four) < min_count:
        odds, area = not_estimable("odds-ratio", told), not_estimable("auc", told)
    else:
        odds = odds_ratio(four[0], four[1], four[2], four[3])
        area = trees.area_under_curve(called[use].cat.codes, observed[use] == 1)
        if small:  # the area and the odds together give the six cells away
            area = not_estimable("auc", told)
    right = rearranged & called.notna() & classes.notna()
    k, n = int((called[right].astype(object) == classes[right]).sum()), int(right.sum())
    if n == 0:
        accuracy = not_estimable("proportion", "no column clearance with fast, intermediate, slow")
    else:
        accuracy = withhold(proportion(k, n), min_count)
    if any(0 < abs(n - other) < min_count for _, other, *_ in steps):
        accuracy = bare(accuracy, "withheld: nearly all have a class of clearance, not all")
    table = None if small else cells.rename_axis("predicted").reset_index()
    return TreeApplied(steps, table, odds, area, accuracy)


# Simulated clearance ------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClearanceModel:
    """What patients of each clearance class look like, from printed margins.

    Attributes
    ----------
    sizes : array of shape (3,)
        Patients who clear fast, intermediate and slow.
    means : array of shape (3,)
        Mean maturity of each class in units of the spread within a class.
    age_grid, age_cdf : arrays of shape (m,) and (3, m)
        Ages and, for each class, their cumulative distribution.
    partners : tuple of str
    partner_shares : array of shape (3, partners)
    """

    sizes: Ints
    means: Floats
    age_grid: Floats
    age_cdf: Floats
    partners: tuple[str, ...]
    partner_shares: Floats

    @property
    def n(self) -> int:
        """Patients in a cohort."""
        return int(self.sizes.sum())

    def without(self, *, maturity: bool = False, others: bool = False) -> ClearanceModel:
        """Return the model with maturity, or age and fusion partner, unrelated to clearance."""
        weight = self.sizes / self.n
        model = self
        if maturity:
            model = replace(model, means=np.zeros(3))
        if others:
            model = replace(
                model,
                age_cdf=np.tile(weight @ self.age_cdf, (3, 1)),
                partner_shares=np.tile(weight @ self.partner_shares, (3, 1)),
            )
        return model

    def draw(
        self, rng: np.random.Generator, *, sizes: Ints | None = None, exact: bool = False
    ) -> tuple[NDArray[np.float32], Ints]:
        """Return one cohort: the design of a tree (see `columns`) and class codes 0, 1, 2.

        Parameters
        ----------
        sizes : array of shape (3,), optional
            Patients a class; the printed ones when not given.
        exact : bool
            Shift and scale the drawn scores so that class means and pooled spread are exactly the
            model's: the cohort's own analysis of variance then gives the printed P.
        """
        size = self.sizes if sizes is None else sizes
        codes = np.repeat(np.arange(3), size)
        noise = rng.normal(size=codes.size)
        if exact:
            noise -= (np.bincount(codes, noise) / size)[codes]
            noise /= np.sqrt(np.sum(noise**2) / (codes.size - 3))
        age = np.empty(codes.size)
        partner = np.empty(codes.size, dtype=np.int64)
        u, v = rng.random(codes.size), rng.random(codes.size)
        for c in range(3):
            here = codes == c
            age[here] = np.interp(u[here], self.age_cdf[c], self.age_grid)
            partner[here] = np.searchsorted(np.cumsum(self.partner_shares[c])[:-1], v[here])
        one_hot = partner[:, None] == np.arange(len(self.partners))
        X = np.column_stack([self.means[codes] + noise, age, one_hot])
        return X.astype(np.float32), codes.astype(np.int64)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that `draw` returns."""
        return ("maturity", "age", *(f"partner = {p}" for p in self.partners))


def clearance_model(
    margins: pd.DataFrame, *, pattern: Sequence[float] = (1, 0, -1)
) -> ClearanceModel:
    """Return the `ClearanceModel` of a table of printed margins.

    Parameters
    ----------
    margins : DataFrame
        Columns ``quantity``, ``group``, ``n``, ``value`` as in ``hartmann_margins.csv``.
    pattern : sequence of 3 floats
        Where the class means of maturity lie relative to each other, fast to slow. Its scale does
        not matter; the printed P value fixes it. ``(1, 0, -1)`` spaces the classes evenly,
        ``(1, 0, 0)`` sets fast clearance apart from the other two.
    """

    def rows(quantity: str) -> pd.DataFrame:
        return margins[margins["quantity"] == quantity].set_index("group")

    def printed(quantity: str, group: str, column: str = "value") -> float:
        return float(
            rows(quantity)[column].to_numpy(float)[list(rows(quantity).index).index(group)]
        )

    classes = list(trees.CLEARANCE)
    sizes = rows("clearance with maturity score").loc[classes, "n"].to_numpy(np.int64)
    p = printed("anova", "maturity by clearance")
    means = class_means(sizes, p, pattern)
    groups = rows("age group")["n"]
    grid, base = age_distribution({str(g): float(n) for g, n in groups.items()})
    medians = rows("clearance with age").loc[classes, "value"].to_numpy(float)
    cdf = np.vstack([tilted_cdf(grid, base, m) for m in medians])
    named = rows("fusion partner")["n"]
    total = printed("expression", "all", "n")
    partners = (*map(str, named.index), "other")
    shares = np.append(named.to_numpy(float), total - named.sum()) / total
    with_age = rows("clearance with age").loc[classes, "n"].to_numpy(float)
    p_partner = printed("association", "AFF1 and clearance")
    aff1 = shifted_shares(with_age, float(shares[0]), p_partner)
    rest = shares[1:] / shares[1:].sum()
    table = np.column_stack([aff1, (1 - aff1)[:, None] * rest])
    return ClearanceModel(sizes, means, grid, cdf, partners, table)


def class_means(sizes: Ints, p: float, pattern: Sequence[float]) -> Floats:
    """Return class means, in units of the spread within, at which one-way ANOVA gives *P*."""
    n, g = int(sizes.sum()), sizes.size
    share = variance_explained(p, n, g)
    shape = np.asarray(pattern, float)
    shape = shape - sizes @ shape / n
    # Between-class over within-class sum of squares is share / (1 - share); within is n - g.
    scale = np.sqrt(share / (1 - share) * (n - g) / (sizes @ shape**2))
    return np.asarray(scale * shape)


def age_distribution(groups: dict[str, float]) -> tuple[Floats, Floats]:
    """Return month-wide ages and their weights, uniform within each printed age group."""
    edges = np.arange(1, 90 * 12 + 1) / 12
    middle = (edges[:-1] + edges[1:]) / 2
    weight = np.zeros(middle.size)
    for name, n in groups.items():
        low, high = AGE_EDGES[name]
        inside = (middle >= low) & (middle < high)
        weight[inside] = n / inside.sum()
    return edges, weight / weight.sum()


def tilted_cdf(edges: Floats, weight: Floats, median: float) -> Floats:
    """Return the cumulative distribution at `edges`, tilted until its median is `median`."""
    from scipy.optimize import brentq

    middle = (edges[:-1] + edges[1:]) / 2

    def cdf(theta: float) -> Floats:
        w = weight * (middle / median) ** theta
        return np.concatenate([[0.0], np.cumsum(w) / w.sum()])

    theta = brentq(lambda t: np.interp(median, edges, cdf(t)) - 0.5, -5.0, 5.0, xtol=1e-12)
    return cdf(float(theta))


def shifted_shares(sizes: Floats, overall: float, p: float) -> Floats:
    """Return shares that rise evenly on the logit scale over the classes, *P* by chi-squared.

    The shares average to `overall` over `sizes`, and the chi-squared statistic of the expected
    counts (classes by carrier or not) has upper tail probability `p`.
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2

    step = np.arange(sizes.size) - (sizes.size - 1) / 2
    target = float(chi2.isf(p, sizes.size - 1))

    def shares(slope: float) -> Floats:
        def average(a: float) -> float:
            return float(sizes @ (1 / (1 + np.exp(-a - slope * step))) / sizes.sum() - overall)

        a = float(brentq(average, -20, 20, xtol=1e-12))
        return np.asarray(1 / (1 + np.exp(-a - slope * step)))

    def excess(slope: float) -> float:
        s = shares(slope)
        return float(np.sum(sizes * (s - overall) ** 2) / (overall * (1 - overall)) - target)

    return shares(float(brentq(excess, 0.0, 5.0, xtol=1e-12)))


@dataclass(frozen=True)
class Shape:
    """What a tree on a simulated cohort looks like beside the published one.

    `maturity_first`: the first split is on maturity and its upper side is fast. `three_classes`:
    every class is predicted by a leaf. `published_shape`: both, and below the first split one
    more split on maturity puts intermediate above slow. `with_mllt1`: that, and a leaf for MLLT1
    that is fast. `no_age`: age splits nowhere. `cut` is the first cut-off on maturity as the share
    of patients at or below it, NaN when another variable splits first.
    """

    maturity_first: bool
    three_classes: bool
    published_shape: bool
    with_mllt1: bool
    no_age: bool
    cut: float


def shape_of(tree: Any, columns: Sequence[str]) -> Shape:
    """Return the `Shape` of a grown scikit-learn tree on classes fast, intermediate, slow."""
    label = tree.value[:, 0, :].argmax(axis=1)
    feature = tree.feature
    maturity, age = columns.index("maturity"), columns.index("age")
    inner = np.flatnonzero(feature >= 0)
    if inner.size == 0:
        return Shape(False, False, False, False, True, float("nan"))
    left, right = tree.children_left, tree.children_right
    first = bool(feature[0] == maturity and label[right[0]] == 0)
    three = set(label[feature < 0].tolist()) == {0, 1, 2}
    again = any(
        feature[i] == maturity and label[right[i]] == 1 and label[left[i]] == 2 for i in inner[1:]
    )
    mllt1 = columns.index("partner = MLLT1")
    fast = any(feature[i] == mllt1 and label[right[i]] == 0 for i in inner)
    share = tree.n_node_samples[left[0]] / tree.n_node_samples[0]
    return Shape(
        maturity_first=first,
        three_classes=three,
        published_shape=first and three and again,
        with_mllt1=first and three and again and fast,
        no_age=not bool((feature == age).any()),
        cut=float(share) if feature[0] == maturity else float("nan"),
    )


@dataclass(frozen=True)
class ChanceStudy:
    """Trees grown on many simulated cohorts.

    Attributes
    ----------
    shapes : DataFrame
        One row a cohort: the fields of `Shape`, ``apparent`` (accuracy on the patients it was
        grown on) and ``new`` (accuracy on new patients of the same model).
    """

    shapes: pd.DataFrame

    def share(self, field: str) -> Estimate:
        """Return the share of cohorts with a true `field`, with its Monte-Carlo interval."""
        k = int(self.shapes[field].sum())
        return proportion(k, len(self.shapes))

    def at_least(self, accuracy: float) -> Estimate:
        """Return the share of trees whose apparent accuracy is at least `accuracy`."""
        return proportion(
            int((self.shapes["apparent"] >= accuracy - 1e-12).sum()), len(self.shapes)
        )


def chance_study(
    model: ClearanceModel,
    settings: trees.Settings,
    *,
    n_cohorts: int = 1000,
    n_new: int = 3000,
    exact: bool = False,
    seed: int = 0,
) -> ChanceStudy:
    """Grow a tree on each of many simulated cohorts, and see what it looks like and is worth.

    Parameters
    ----------
    model : ClearanceModel
    settings : Settings
        How far each tree may grow.
    n_new : int
        Patients drawn once to measure accuracy outside the cohort, in the classes' proportions.
    exact : bool
        See `ClearanceModel.draw`.
    """
    first, *streams = np.random.default_rng(seed).spawn(n_cohorts + 1)
    new_X, new_y = model.draw(first, sizes=np.rint(model.sizes / model.n * n_new).astype(np.int64))

    def cohorts() -> Iterator[dict[str, object]]:
        for rng in streams:
            X, y = model.draw(rng, exact=exact)
            tree = trees.grow(X, y, settings, seed)
            label = tree.value[:, 0, :].argmax(axis=1)
            yield {
                **vars(shape_of(tree, model.columns)),
                "apparent": float(np.mean(label[tree.apply(X)] == y)),
                "new": float(np.mean(label[tree.apply(new_X)] == new_y)),
            }

    return ChanceStudy(pd.DataFrame(cohorts()))

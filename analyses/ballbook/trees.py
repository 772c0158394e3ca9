r"""Decision trees: the published one as an object, and the means to judge a learned one.

*Growing.* A classification tree (CART; Breiman, Friedman, Olshen and Stone, 1984) splits a node
on the variable and cut-off that lower the Gini impurity :math:`\sum_k p_k (1 - p_k)` most,
weighted by the patients on either side. Trees here grow best split first until they have
`max_leaves` leaves, and no leaf may hold fewer than `min_leaf` patients. A cut-off is the
midpoint between two neighbouring values. Only the order of a variable matters: any increasing
transform of age or of a score grows the same tree.

*Probabilities.* A leaf with *k* events in *n* patients predicts
:math:`(k + m\pi)/(n + m)` with :math:`\pi` the overall share and :math:`m = 2` (m-estimate;
Cestnik, ECAI 1990), so that no leaf predicts 0 or 1.

*Nested cross-validation.* The size of the tree is chosen by the Brier score of an inner
cross-validation on each outer training part alone; the outer test parts are never seen by a
choice (Varma and Simon, BMC Bioinformatics 2006;7:91). The area under the ROC curve (AUC) is the
mean of the test parts' own areas. Its interval uses the influence curve of LeDell, Petersen and
van der Laan (Electron J Stat 2015;9:1583),

.. math:: D_i = \frac{y_i}{\pi}\{F_0(p_i) - A\} + \frac{1 - y_i}{1 - \pi}\{1 - F_1(p_i) - A\},

with :math:`F_y` the distribution of the prediction within the patient's test part, ties counted
half, averaged over repeats for each patient; :math:`\mathrm{var}(\hat A) = \overline{D^2}/n`.

*Permutation.* The outcome is shuffled over patients (within strata when given) and everything,
choices included, is done again: :math:`P = (b + 1)/(m + 1)` with *b* of *m* shuffles at least as
good (Phipson and Smyth, Stat Appl Genet Mol Biol 2010;9:39).

*Calibration.* Logistic regression of the outcome on the logit of the prediction: the slope is 1
and, with the slope held at 1, the intercept 0 for predictions that mean what they say (Cox,
Biometrika 1958;45:562).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ballbook.results import Estimate, not_estimable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CLEARANCE = ("fast", "intermediate", "slow")
SMOOTHING = 2.0
# KMT2A partners go by several names; only exact synonyms are read, so MLLT10 is never MLLT1.
KMT2A = frozenset({"KMT2A", "MLL"})
NO_GENE = frozenset({"", "R", "REARRANGED", "POSITIVE", "FUSION", "UNKNOWN", "NA", "NAN", "NONE"})
SYNONYMS = {"ENL": "MLLT1", "AF4": "AFF1", "AF9": "MLLT3", "AF10": "MLLT10", "AF6": "AFDN"}


def partner_of(text: object) -> str | None:
    """Return the partner gene in a free-text KMT2A fusion, or None where there is none.

    ``KMT2A::MLLT1``, ``KMT2A-MLLT1 and PAX5-ZCCHC7``, ``mllt1`` and ``ENL`` all give ``MLLT1``;
    ``MLLT10`` stays ``MLLT10``.
    """
    if text is None or text is pd.NA or (isinstance(text, float) and math.isnan(text)):
        return None
    parts = [re.findall(r"[A-Z0-9]+", p) for p in re.split(r" AND |[,;+]", str(text).upper())]
    # With several fusions written down, the one that names KMT2A counts.
    words = next((p for p in parts if KMT2A.intersection(p)), parts[0])
    genes = [w for w in words if w not in KMT2A and w not in NO_GENE]
    return SYNONYMS.get(genes[0], genes[0]) if genes else None


@dataclass(frozen=True, slots=True)
class PublishedTree:
    """The tree of Hartmann 2026, Figure 3D: maturity score and fusion partner to MRD clearance.

    In the order of its splits: maturity above `cut_high` is fast; else the partner `fast_partner`
    is fast; else maturity above `cut_low` is intermediate; else slow. A score that equals a
    cut-off goes to the lower side. What counts as fast, intermediate or slow clearance in days
    or levels is not printed, so the three words are labels and nothing more.
    """

    cut_high: float = -0.04
    cut_low: float = -0.28
    fast_partner: str = "MLLT1"
    source: str = "hartmann2026"
    locator: str = "Figure 3D legend"

    def predict(
        self, maturity: ArrayLike, fusion_partner: Sequence[object] | pd.Series | None = None
    ) -> pd.Series:
        """Return the predicted class of each patient.

        Parameters
        ----------
        maturity : array of shape (n,)
            Maturity score (slope over the five B-precursor stages); NaN where not measured.
        fusion_partner : sequence of n texts, optional
            Partner gene or fusion; blank where unknown. Without it no prediction at or below
            `cut_high` is possible.

        Returns
        -------
        Series
            Ordered categorical ``fast < intermediate < slow``, index of `maturity` where it has
            one. Missing where the rules cannot decide: the score is at or below `cut_high` and
            the partner unknown, or the score unknown and the partner not `fast_partner`.

        Raises
        ------
        ValueError
            If the two inputs differ in length.
        """
        index = maturity.index if isinstance(maturity, pd.Series) else None
        score = np.asarray(maturity, float).reshape(-1)
        given: Iterable[object] = [None] * score.size if fusion_partner is None else fusion_partner
        partner = [partner_of(p) for p in given]
        if len(partner) != score.size:
            raise ValueError(f"{score.size} scores but {len(partner)} fusion partners")
        is_fast = np.array([p == self.fast_partner for p in partner], bool)
        known = np.array([p is not None for p in partner], bool)
        out = np.full(score.size, -1)
        with np.errstate(invalid="ignore"):
            high, low = score > self.cut_high, score <= self.cut_low
        rest = ~high & ~is_fast & known & ~np.isnan(score)
        out[high | is_fast] = 0
        out[rest & ~low] = 1
        out[rest & low] = 2
        return pd.Series(
            pd.Categorical(
                np.array([*CLEARANCE, None], dtype=object)[out],
                categories=list(CLEARANCE),
                ordered=True,
            ),
            index=index,
            name="predicted_clearance",
        )

    def maturity_group(self, maturity: ArrayLike) -> pd.Series:
        """Return ``low``, ``middle`` or ``high`` by the two cut-offs alone, as in Figure 4D."""
        index = maturity.index if isinstance(maturity, pd.Series) else None
        cut = pd.cut(
            np.asarray(maturity, float).reshape(-1),
            [-np.inf, self.cut_low, self.cut_high, np.inf],
            labels=["low", "middle", "high"],
        )
        return pd.Series(cut, index=index, name="maturity_group")

    def rules(self) -> pd.DataFrame:
        """Return the leaves as a table: the rule in words and the class."""
        hi, lo, gene = f"{self.cut_high:g}", f"{self.cut_low:g}", self.fast_partner
        return pd.DataFrame(
            [
                (f"maturity > {hi}", "any", "fast"),
                (f"maturity ≤ {hi}", gene, "fast"),
                (f"{lo} < maturity ≤ {hi}", f"not {gene}", "intermediate"),
                (f"maturity ≤ {lo}", f"not {gene}", "slow"),
            ],
            columns=["maturity_score", "fusion_partner", "predicted_clearance"],
        ).replace({"-": "−"}, regex=True)

    def __str__(self) -> str:
        return (
            f"maturity > {self.cut_high:g}: fast\n"
            f"maturity ≤ {self.cut_high:g}\n"
            f"├─ partner {self.fast_partner}: fast\n"
            f"└─ other partner\n"
            f"   ├─ maturity > {self.cut_low:g}: intermediate\n"
            f"   └─ maturity ≤ {self.cut_low:g}: slow"
        )

    def _repr_html_(self) -> str:
        return f'<pre class="bb-tree">{escape(str(self))}</pre>'

    def draw(self, ax: Any, counts: Mapping[str, str] | None = None) -> None:
        """Draw the tree on a Matplotlib axes; `counts` adds a line to the leaf of that name.

        Leaves are named ``high``, ``partner``, ``middle`` and ``low``.
        """
        more = counts or {}
        hi, lo = (f"{v:g}".replace("-", "−") for v in (self.cut_high, self.cut_low))
        root = Drawn(
            "Maturity score",
            left=Drawn(
                "Fusion partner",
                left=Drawn(
                    "Maturity score",
                    left=Drawn("slow", tone=2, more=more.get("low", "")),
                    right=Drawn("intermediate", tone=1, more=more.get("middle", "")),
                    edges=(f"≤ {lo}", f"> {lo}"),
                ),
                right=Drawn("fast", tone=0, more=more.get("partner", "")),
                edges=("other", self.fast_partner),
            ),
            right=Drawn("fast", tone=0, more=more.get("high", "")),
            edges=(f"≤ {hi}", f"> {hi}"),
        )
        draw_tree(ax, root)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A node as it is drawn: its text, its two branches with the words on them, its colour."""

    text: str
    left: Drawn | None = None
    right: Drawn | None = None
    edges: tuple[str, str] = ("no", "yes")
    tone: int | None = None
    more: str = ""

    def leaves(self) -> int:
        """Return the number of leaves below."""
        if self.left is None or self.right is None:
            return 1
        return self.left.leaves() + self.right.leaves()

    def depth(self) -> int:
        """Return the number of splits on the longest way down."""
        if self.left is None or self.right is None:
            return 0
        return 1 + max(self.left.depth(), self.right.depth())


def draw_tree(ax: Any, root: Drawn) -> None:
    """Draw a binary tree, leaves evenly spaced, on a Matplotlib axes without axis lines."""
    from ballbook import figures

    tones = (figures.C.blue, figures.C.grey, figures.C.orange)
    place = iter(range(root.leaves()))

    def put(node: Drawn, y: float) -> float:
        # A parent stands above the middle of its branches.
        if node.left is None or node.right is None:
            x = float(next(place))
            colour = tones[node.tone or 0]
            body = node.text + (f"\n{node.more}" if node.more else "")
            box = {"boxstyle": "round,pad=0.45", "fc": "none", "ec": colour, "lw": 1.8}
            ax.text(x, y, body, ha="center", va="center", fontsize=9.5, bbox=box, zorder=3)
            return x
        left, right = put(node.left, y - 1), put(node.right, y - 1)
        x = (left + right) / 2
        for child, words, deeper in (
            (left, node.edges[0], node.left),
            (right, node.edges[1], node.right),
        ):
            gap = 0.27 if deeper.left is None and deeper.more else 0.2
            ax.plot([x, child], [y - 0.16, y - 1 + gap], color=figures.C.muted, lw=1.0, zorder=1)
            side = "right" if child < x else "left"
            ax.text(
                (x + child) / 2 + (0.11 if side == "left" else -0.11), y - 0.42, words, ha=side,
                va="center", fontsize=9, color=figures.C.muted,
            )  # fmt: skip
        ax.text(x, y, node.text, ha="center", va="center", fontsize=9.5, fontweight="bold")
        return x

    put(root, 0.0)
    ax.set(xlim=(-0.6, root.leaves() - 0.4), ylim=(-root.depth() - 0.45, 0.3))
    ax.axis("off")


# Learning -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settings:
    """How far a tree may grow: number of leaves, patients in the smallest one, splits in a row."""

    max_leaves: int | None = 4
    min_leaf: int = 5
    max_depth: int | None = None


GRID = (Settings(2, 7), Settings(3, 7), Settings(4, 7), Settings(6, 7))


def encode(frame: pd.DataFrame) -> pd.DataFrame:
    """Return numeric columns for a tree: text becomes one column a category, ``name = value``.

    Raises
    ------
    ValueError
        If a value is missing: which patients are left out is the analysis's decision.
    """
    missing = frame.columns[frame.isna().any()]
    if len(missing):
        raise ValueError(f"missing values in {', '.join(map(str, missing))}")
    parts = []
    for name in frame.columns:
        column = frame[name]
        if pd.api.types.is_numeric_dtype(column):
            parts.append(column.astype(float))
            continue
        for value in sorted(column.astype(str).unique()):
            parts.append((column.astype(str) == value).astype(float).rename(f"{name} = {value}"))
    return pd.concat(parts, axis=1)


def variable_of(column: str) -> str:
    """Return the variable behind a column of `encode`."""
    return column.split(" = ")[0]


@dataclass(frozen=True)
class LearnedTree:
    """A classification tree learned from data.

    Attributes
    ----------
    classes : tuple
        Class labels in the order of the columns of probabilities.
    columns : tuple of str
        Columns of the design, as `encode` made them.
    nodes : DataFrame
        One row a node, parents before children: ``depth``, ``column`` (blank in a leaf), ``cut``,
        ``left`` and ``right`` (row numbers; left is at or below the cut), ``n``, ``gain`` (fall in
        Gini impurity, weighted by the share of patients in the node), ``predicted`` and one column
        of counts a class.
    """

    classes: tuple[Any, ...]
    columns: tuple[str, ...]
    settings: Settings
    nodes: pd.DataFrame
    prevalence: Floats = field(repr=False)

    @property
    def root(self) -> tuple[str, float] | None:
        """Column and cut-off of the first split; None when nothing was split."""
        first = self.nodes.iloc[0]
        return (str(first["column"]), float(first["cut"])) if first["column"] else None

    @property
    def variables(self) -> tuple[str, ...]:
        """Variables used, in the order of their first appearance."""
        return tuple(dict.fromkeys(variable_of(c) for c in self.nodes["column"] if c))

    @property
    def leaves(self) -> pd.DataFrame:
        """The rows of `nodes` that are leaves."""
        return self.nodes[self.nodes["column"] == ""]

    def apply(self, X: pd.DataFrame) -> Ints:
        """Return the row in `nodes` of the leaf of each patient."""
        values = X[list(self.columns)].to_numpy(np.float32)
        column = [self.columns.index(c) if c else -1 for c in self.nodes["column"]]
        feature, cut = np.array(column), self.nodes["cut"].to_numpy(float)
        left, right = (self.nodes[c].to_numpy(int) for c in ("left", "right"))
        at = np.zeros(len(values), dtype=np.int64)
        while (inner := np.flatnonzero(feature[at] >= 0)).size:
            here = at[inner]
            low = values[inner, feature[here]] <= cut[here]
            at[inner] = np.where(low, left[here], right[here])
        return at

    def predict(self, X: pd.DataFrame) -> NDArray[Any]:
        """Return the predicted class of each patient, shape (n,)."""
        return self.nodes["predicted"].to_numpy()[self.apply(X)]

    def probabilities(self, X: pd.DataFrame) -> Floats:
        """Return smoothed class probabilities, shape (n, classes)."""
        counts = self.nodes[[f"n_{c}" for c in self.classes]].to_numpy(float)
        return smoothed(counts, self.prevalence)[self.apply(X)]

    def accuracy(self, X: pd.DataFrame, y: ArrayLike) -> float:
        """Return the share of patients whose class is predicted."""
        return float(np.mean(self.predict(X) == np.asarray(y)))

    def describe(self, row: int = 0, indent: str = "") -> str:
        """Return the subtree at `row` as indented text."""
        node = self.nodes.iloc[row]
        if not node["column"]:
            counts = ", ".join(f"{int(node[f'n_{c}'])} {c}" for c in self.classes)
            return f"{indent}→ {node['predicted']} ({counts})\n"
        low, high = branch_words(str(node["column"]), float(node["cut"]))
        return (
            f"{indent}{low}\n{self.describe(int(node['left']), indent + '   ')}"
            f"{indent}{high}\n{self.describe(int(node['right']), indent + '   ')}"
        )

    def __str__(self) -> str:
        return self.describe().rstrip("\n")

    def _repr_html_(self) -> str:
        return f'<pre class="bb-tree">{escape(str(self))}</pre>'

    def draw(self, ax: Any, names: Mapping[str, str] | None = None) -> None:
        """Draw the tree; `names` gives variables and classes the words of a reader.

        A leaf of two classes counts the second one, called ``event`` in `names`.
        """
        words = {str(k): v for k, v in (names or {}).items()}

        def node(row: int) -> Drawn:
            it = self.nodes.iloc[row]
            if not it["column"]:
                tone = list(self.classes).index(it["predicted"])
                tone = 2 * tone if len(self.classes) == 2 else tone
                counted = self.classes[1] if len(self.classes) == 2 else it["predicted"]
                count = f"{int(it[f'n_{counted}'])} of {int(it['n'])} {words.get('event', '')}"
                label = words.get(str(it["predicted"]), str(it["predicted"]))
                return Drawn(label, tone=tone, more=count.rstrip())
            column, cut = str(it["column"]), float(it["cut"])
            name = variable_of(column)
            if " = " in column:
                value = column.split(" = ", 1)[1]
                edges = ("all others", words.get(value, value))
            elif 0 < cut < 1 and it["binary"]:
                edges = ("no", "yes")
            else:
                edges = tuple(f"{s} {cut:.3g}".replace("-", "−") for s in "≤>")  # type: ignore[assignment]
            return Drawn(
                words.get(name, name), node(int(it["left"])), node(int(it["right"])), edges
            )

        draw_tree(ax, node(0))


def branch_words(column: str, cut: float) -> tuple[str, str]:
    """Return the two branches of a split in words."""
    if " = " in column:
        return column.replace(" = ", " is not "), column.replace(" = ", " is ")
    return f"{column} ≤ {cut:.3g}", f"{column} > {cut:.3g}"


def smoothed(counts: Floats, prevalence: Floats) -> Floats:
    """Return the m-estimate of class probabilities from counts, shape (nodes, classes)."""
    total = counts.sum(axis=1, keepdims=True)
    return np.asarray((counts + SMOOTHING * prevalence) / (total + SMOOTHING))


def grow(X: NDArray[np.float32], codes: Ints, settings: Settings, seed: int) -> Any:
    """Return scikit-learn's fitted tree structure for class codes 0, 1, ..."""
    import sklearn
    from sklearn.tree import DecisionTreeClassifier

    # Thousands of small fits: the checks of the arguments cost more than the trees.
    with sklearn.config_context(skip_parameter_validation=True, assume_finite=True):
        model = DecisionTreeClassifier(
            max_leaf_nodes=settings.max_leaves,
            max_depth=settings.max_depth,
            min_samples_leaf=settings.min_leaf,
            random_state=seed,
        )
        return model.fit(X, codes, check_input=False).tree_


def learn_tree(
    X: pd.DataFrame, y: ArrayLike, settings: Settings | None = None, *, seed: int = 0
) -> LearnedTree:
    """Learn a classification tree.

    Parameters
    ----------
    X : DataFrame of shape (n, columns)
        Numeric design without missing values; see `encode`.
    y : array of shape (n,)
        Class labels. Their order is that of an ordered categorical, else sorted.
    settings : Settings, optional
    seed : int
        Decides between splits that are exactly as good.

    Raises
    ------
    ValueError
        If a value is missing, the lengths differ, or there are fewer than two classes.
    """
    settings = settings or Settings()
    if isinstance(y, pd.Series) and isinstance(y.dtype, pd.CategoricalDtype):
        present = set(y.dropna())
        classes = tuple(c for c in y.cat.categories if c in present)
    else:
        classes = tuple(np.unique(np.asarray(y)).tolist())
    labels = np.asarray(y)
    if len(labels) != len(X):
        raise ValueError(f"{len(X)} rows but {len(labels)} outcomes")
    if len(classes) < 2:
        raise ValueError("a tree needs at least two classes")
    if X.isna().to_numpy().any() or pd.isna(labels).any():
        raise ValueError("missing values in the design or the outcome")
    codes = np.array([classes.index(v) for v in labels.tolist()], dtype=np.int64)
    values = X.to_numpy(np.float32)
    tree = grow(values, codes, settings, seed)
    n = tree.n_node_samples
    counts = np.rint(tree.value[:, 0, :] * n[:, None])
    depth = np.zeros(tree.node_count, int)
    gain = np.zeros(tree.node_count)
    for i in range(tree.node_count):
        left, right = tree.children_left[i], tree.children_right[i]
        if left >= 0:
            depth[[left, right]] = depth[i] + 1
            after = (n[left] * tree.impurity[left] + n[right] * tree.impurity[right]) / n[0]
            gain[i] = n[i] / n[0] * tree.impurity[i] - after
    binary = np.array([bool(np.isin(values[:, j], (0, 1)).all()) for j in range(values.shape[1])])
    nodes = pd.DataFrame(
        {
            "depth": depth,
            "column": [X.columns[f] if f >= 0 else "" for f in tree.feature],
            "cut": np.where(tree.feature >= 0, tree.threshold, np.nan),
            "binary": [bool(f >= 0 and binary[f]) for f in tree.feature],
            "left": tree.children_left,
            "right": tree.children_right,
            "n": n,
            "gain": gain,
            "predicted": [classes[k] for k in counts.argmax(axis=1)],
            **{f"n_{c}": counts[:, k].astype(int) for k, c in enumerate(classes)},
        }
    )
    return LearnedTree(classes, tuple(X.columns), settings, nodes, counts[0] / n[0])


# Judging ------------------------------------------------------------------------------------------


def auc(score: ArrayLike, event: ArrayLike) -> float:
    """Return the area under the ROC curve, ties counted half; NaN without both outcomes."""
    from scipy.stats import rankdata

    s, y = np.asarray(score, float), np.asarray(event, bool)
    n1, n0 = int(y.sum()), int((~y).sum())
    if n1 == 0 or n0 == 0:
        return math.nan
    return float((rankdata(s)[y].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def auc_influence(score: ArrayLike, event: ArrayLike, share: float | None = None) -> Floats:
    """Return the influence curve of the AUC at each patient, shape (n,).

    Parameters
    ----------
    share : float, optional
        Share of events in the whole sample when this is one test part of it.
    """
    s, y = np.asarray(score, float), np.asarray(event, bool)
    area, pi = auc(s, y), float(y.mean()) if share is None else share
    below = (s[:, None] > s[None, :]) + 0.5 * (s[:, None] == s[None, :])
    beaten = below[:, ~y].mean(axis=1)
    beating = 1 - below[:, y].mean(axis=1)
    return np.where(y, (beaten - area) / pi, (beating - area) / (1 - pi))


def area_estimate(area: float, influence: Floats, event: ArrayLike, method: str) -> Estimate:
    """Return an AUC with its interval from the patients' influence values."""
    y = np.asarray(event, bool)
    se = math.sqrt(float(np.mean(influence**2)) / y.size)
    return Estimate(
        kind="auc",
        value=area,
        ci_low=max(area - 1.959963984540054 * se, 0.0),
        ci_high=min(area + 1.959963984540054 * se, 1.0),
        n=int(y.size),
        n_events=int(y.sum()),
        method=method,
    )


def area_under_curve(score: ArrayLike, event: ArrayLike) -> Estimate:
    """Return the AUC of one score, its influence-curve interval and Mann-Whitney P value.

    Parameters
    ----------
    score : array of shape (n,)
        High values should go with events. Nothing is fitted.
    event : array of shape (n,), bool
    """
    from dataclasses import replace

    from scipy.stats import mannwhitneyu

    s, y = np.asarray(score, float), np.asarray(event, bool)
    if y.all() or not y.any():
        return not_estimable("auc", "needs patients with and without the event", n=int(y.size))
    e = area_estimate(
        auc(s, y), auc_influence(s, y), y, "area under the ROC curve, influence-curve interval"
    )
    return replace(e, p_value=float(mannwhitneyu(s[y], s[~y], method="asymptotic").pvalue))


def folds(codes: Ints, k: int, rng: np.random.Generator) -> Ints:
    """Return a fold number for each patient, each class spread evenly over the `k` folds."""
    out = np.empty(codes.size, dtype=np.int64)
    start = 0
    for c in np.unique(codes):
        where = rng.permutation(np.flatnonzero(codes == c))
        out[where] = (start + np.arange(where.size)) % k
        start += where.size
    return out


def fit_predict(
    X: NDArray[np.float32], y: Ints, train: NDArray[np.bool_], settings: Settings, seed: int
) -> Floats:
    """Return smoothed probabilities of code 1 for the patients outside `train`."""
    tree = grow(X[train], y[train], settings, seed)
    counts = tree.value[:, 0, :] * tree.n_node_samples[:, None]
    p = smoothed(counts, counts[0] / tree.n_node_samples[0])[:, 1]
    return np.asarray(p[tree.apply(X[~train])])


def choose(
    X: NDArray[np.float32],
    y: Ints,
    grid: Sequence[Settings],
    k: int,
    rng: np.random.Generator,
    seed: int,
) -> int:
    """Return the position in `grid` with the lowest cross-validated Brier score (first of ties)."""
    if len(grid) == 1:
        return 0
    part = folds(y, k, rng)
    loss = np.zeros(len(grid))
    for v in range(k):
        train = part != v
        for g, settings in enumerate(grid):
            loss[g] += np.sum((fit_predict(X, y, train, settings, seed) - y[~train]) ** 2)
    return int(np.argmin(np.round(loss, 10)))


@dataclass(frozen=True)
class NestedCV:
    """What nested cross-validation says about a tree on new patients.

    Attributes
    ----------
    auc, brier, accuracy : Estimate
        Means over test parts and repeats. The Brier score and accuracy carry no interval.
    brier_skill : Estimate
        1 - Brier / Brier of predicting the training share; 0 is no better than the share.
    predictions : array of shape (n, repeats)
        Out-of-fold probability of the event.
    choices : DataFrame
        How often each setting was chosen: ``max_leaves``, ``min_leaf``, ``times``.
    spread : float
        Standard deviation of the AUC over repeats: what the division into folds alone does.
    influence : array of shape (n,)
        Influence curve of the AUC at each patient.
    """

    auc: Estimate
    brier: Estimate
    brier_skill: Estimate
    accuracy: Estimate
    predictions: Floats
    choices: pd.DataFrame
    spread: float
    influence: Floats = field(repr=False)

    def gain_over(self, other: NestedCV) -> Estimate:
        """Return the difference in AUC from `other`, on the same patients and divisions.

        Raises
        ------
        ValueError
            If the two do not cover the same number of patients.
        """
        if self.influence.size != other.influence.size:
            raise ValueError("the two cross-validations are of different patients")
        assert self.auc.value is not None and other.auc.value is not None
        gain = self.auc.value - other.auc.value
        d = self.influence - other.influence
        half = 1.959963984540054 * math.sqrt(float(np.mean(d**2)) / d.size)
        return Estimate(
            kind="difference",
            value=gain,
            ci_low=gain - half,
            ci_high=gain + half,
            n=self.auc.n,
            n_events=self.auc.n_events,
            method="difference of cross-validated AUCs, influence-curve interval",
        )


def outer_predictions(
    X: NDArray[np.float32],
    y: Ints,
    grid: Sequence[Settings],
    k: int,
    inner: int,
    rng: np.random.Generator,
    seed: int,
) -> tuple[Floats, Ints, list[int], Floats]:
    """Return out-of-fold probabilities, fold numbers, choices and training shares of one repeat."""
    part = folds(y, k, rng)
    p, share, chosen = np.empty(y.size), np.empty(y.size), []
    for v in range(k):
        train = part != v
        g = choose(X[train], y[train], grid, inner, rng, seed)
        chosen.append(g)
        p[~train] = fit_predict(X, y, train, grid[g], seed)
        share[~train] = y[train].mean()
    return p, part, chosen, share


def mean_fold_auc(p: Floats, y: Ints, part: Ints) -> float:
    """Return the mean over test parts of their own AUC; parts with one outcome do not count."""
    areas = [auc(p[part == v], y[part == v]) for v in np.unique(part)]
    return float(np.nanmean(areas))


def binary(y: ArrayLike) -> Ints:
    """Return 0/1 codes.

    Raises
    ------
    ValueError
        If the outcome is not 0/1 or boolean, or only one of the two occurs.
    """
    values = np.asarray(y)
    if not np.isin(values, (0, 1)).all():
        raise ValueError("the outcome should be 0 or 1")
    codes = values.astype(np.int64)
    if codes.min() == codes.max():
        raise ValueError("only one outcome occurs")
    return codes


def nested_cv(
    X: pd.DataFrame,
    y: ArrayLike,
    *,
    grid: Sequence[Settings] = GRID,
    k: int = 5,
    inner: int = 5,
    repeats: int = 10,
    seed: int = 0,
) -> NestedCV:
    """Estimate by repeated nested cross-validation how well a tree predicts new patients.

    Parameters
    ----------
    X : DataFrame of shape (n, columns)
        Numeric design without missing values; see `encode`.
    y : array of shape (n,)
        1 for the event.
    grid : sequence of Settings
        From which the inner cross-validation chooses; one entry means no choice.
    k, inner : int
        Outer and inner folds, stratified by outcome.
    repeats : int
        Random divisions into outer folds.

    Raises
    ------
    ValueError
        If the outcome is not binary, or a class has fewer patients than folds.
    """
    codes, values = binary(y), X.to_numpy(np.float32)
    if np.bincount(codes).min() < k:
        raise ValueError(f"{np.bincount(codes).min()} patients in a class, {k} folds")
    share = codes.mean()
    areas, influence = [], np.zeros(codes.size)
    all_p, times, base = [], np.zeros(len(grid), int), []
    for stream in np.random.default_rng(seed).spawn(repeats):
        p, part, chosen, shares = outer_predictions(values, codes, grid, k, inner, stream, seed)
        areas.append(mean_fold_auc(p, codes, part))
        for v in range(k):
            here = part == v
            influence[here] += auc_influence(p[here], codes[here], float(share)) / repeats
        all_p.append(p)
        base.append(np.mean((shares - codes) ** 2))
        np.add.at(times, chosen, 1)
    predictions = np.column_stack(all_p)
    n, events = int(codes.size), int(codes.sum())
    words = f"{repeats} x {k}-fold nested cross-validation"
    loss = ((predictions - codes[:, None]) ** 2).mean(axis=0)
    hit = ((predictions > 0.5) == codes[:, None]).mean(axis=0)
    common: dict[str, Any] = {"n": n, "n_events": events, "ci_level": None, "method": words}
    area = area_estimate(
        float(np.mean(areas)), influence, codes, f"{words}, influence-curve interval"
    )
    return NestedCV(
        auc=area,
        brier=Estimate("brier-score", float(loss.mean()), **common),
        brier_skill=Estimate("brier-skill", float(1 - loss.mean() / np.mean(base)), **common),
        accuracy=Estimate("proportion", float(hit.mean()), **common),
        predictions=predictions,
        choices=pd.DataFrame(
            {
                "max_leaves": [g.max_leaves for g in grid],
                "min_leaf": [g.min_leaf for g in grid],
                "times": times,
            }
        ),
        spread=float(np.std(areas, ddof=1)) if repeats > 1 else math.nan,
        influence=influence,
    )


@dataclass(frozen=True)
class PermutationTest:
    """A permutation test: its P value as an estimate, and the statistic under shuffling."""

    estimate: Estimate
    observed: float
    null: Floats


def shuffle(y: Ints, strata: Ints | None, rng: np.random.Generator) -> Ints:
    """Return `y` shuffled, within `strata` when given."""
    if strata is None:
        return rng.permutation(y)
    out = y.copy()
    for s in np.unique(strata):
        where = np.flatnonzero(strata == s)
        out[where] = y[rng.permutation(where)]
    return out


def permutation_test(
    X: pd.DataFrame,
    y: ArrayLike,
    *,
    strata: ArrayLike | None = None,
    grid: Sequence[Settings] = GRID,
    k: int = 5,
    inner: int = 5,
    n_permutations: int = 200,
    seed: int = 0,
) -> PermutationTest:
    """Test whether a tree predicts better than it does on shuffled outcomes.

    The statistic is the AUC of one nested cross-validation, choices included; one-sided.

    Parameters
    ----------
    strata : array of shape (n,), optional
        Outcomes are shuffled within these only, so that a difference between strata is no
        evidence. The folds stay stratified by outcome.
    """
    codes, values = binary(y), X.to_numpy(np.float32)
    blocks = None if strata is None else np.unique(np.asarray(strata), return_inverse=True)[1]

    def statistic(labels: Ints, rng: np.random.Generator) -> float:
        p, part, _, _ = outer_predictions(values, labels, grid, k, inner, rng, seed)
        return mean_fold_auc(p, labels, part)

    first, *streams = np.random.default_rng(seed).spawn(n_permutations + 1)
    observed = statistic(codes, first)
    null = np.array([statistic(shuffle(codes, blocks, s), s) for s in streams])
    p_value = float((np.sum(null >= observed - 1e-12) + 1) / (n_permutations + 1))
    within = "" if strata is None else ", shuffled within strata"
    return PermutationTest(
        Estimate(
            kind="p-value",
            value=p_value,
            p_value=p_value,
            statistic=observed,
            ci_level=None,
            n=int(codes.size),
            n_events=int(codes.sum()),
            method=f"{n_permutations} permutations of the outcome{within}, one-sided",
        ),
        observed,
        null,
    )


@dataclass(frozen=True)
class SplitStability:
    """How much of a tree survives drawing the patients again.

    Attributes
    ----------
    variables : DataFrame
        ``variable``, ``first_split`` and ``any_split`` (shares of bootstrap trees), and the
        quartiles ``cut_q25``, ``cut_median``, ``cut_q75`` of the cut-off where it splits first.
    first_cuts : dict of variable to array
        Cut-offs of all first splits on a numeric variable.
    agreement : float
        Mean share of bootstrap trees that give a patient the class of the tree on all patients.
    """

    n_boot: int
    variables: pd.DataFrame
    first_cuts: dict[str, Floats]
    agreement: float


def split_stability(
    X: pd.DataFrame,
    y: ArrayLike,
    settings: Settings | None = None,
    *,
    n_boot: int = 500,
    seed: int = 0,
) -> SplitStability:
    """Learn the tree again on bootstrap samples of the patients.

    Raises
    ------
    ValueError
        If the outcome is not binary.
    """
    settings = settings or Settings()
    codes, values = binary(y), X.to_numpy(np.float32)
    names = [variable_of(c) for c in X.columns]
    variables = list(dict.fromkeys(names))
    original = grow(values, codes, settings, seed)
    label = original.value[:, 0, :].argmax(axis=1)[original.apply(values)]
    first, used = [], np.zeros(len(variables))
    cuts: dict[str, list[float]] = {v: [] for v in variables}
    same = 0.0
    done = 0
    for rng in np.random.default_rng(seed).spawn(n_boot):
        draw = rng.integers(0, codes.size, codes.size)
        if codes[draw].min() == codes[draw].max():
            continue
        done += 1
        tree = grow(values[draw], codes[draw], settings, seed)
        inside = {names[f] for f in tree.feature if f >= 0}
        used += [v in inside for v in variables]
        if tree.feature[0] >= 0:
            root = names[tree.feature[0]]
            first.append(root)
            if X.columns[tree.feature[0]] == root:
                cuts[root].append(float(tree.threshold[0]))
        again = tree.value[:, 0, :].argmax(axis=1)[tree.apply(values)]
        same += float(np.mean(again == label))
    quart = {v: np.percentile(c, [25, 50, 75]) if c else [np.nan] * 3 for v, c in cuts.items()}
    table = pd.DataFrame(
        {
            "variable": variables,
            "first_split": [first.count(v) / done for v in variables],
            "any_split": used / done,
            **{
                name: [quart[v][i] for v in variables]
                for i, name in enumerate(("cut_q25", "cut_median", "cut_q75"))
            },
        }
    ).sort_values(["first_split", "any_split"], ascending=False, kind="stable")
    return SplitStability(
        done,
        table.reset_index(drop=True),
        {v: np.array(c) for v, c in cuts.items() if c},
        same / done,
    )


@dataclass(frozen=True)
class Calibration:
    """Whether predicted probabilities mean what they say.

    Attributes
    ----------
    table : DataFrame
        Groups of increasing prediction: ``n``, ``events``, ``predicted`` (mean), ``observed``,
        and the exact interval ``ci_low``, ``ci_high`` of the observed share.
    intercept, slope : Estimate
        0 and 1 when calibrated; Wald intervals.
    """

    table: pd.DataFrame
    intercept: Estimate
    slope: Estimate


def calibration(predicted: ArrayLike, y: ArrayLike, *, groups: int = 4) -> Calibration:
    """Compare predicted probabilities with what happened.

    Parameters
    ----------
    predicted : array of shape (n,)
        Probabilities strictly between 0 and 1, from patients that the model did not see.
    y : array of shape (n,)
        1 for the event.
    groups : int
        Groups of about equal size; equal predictions are never divided.
    """
    from scipy.stats import beta

    codes, p = binary(y), np.asarray(predicted, float)
    if not ((p > 0) & (p < 1)).all():
        raise ValueError("probabilities should lie strictly between 0 and 1")
    edges = np.unique(np.quantile(p, np.linspace(0, 1, groups + 1)[1:-1]))
    group = np.searchsorted(edges, p, side="left")
    rows = []
    for g in np.unique(group):
        here = group == g
        n, k = int(here.sum()), int(codes[here].sum())
        low = float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0
        high = float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
        rows.append((n, k, float(p[here].mean()), k / n, low, high))
    table = pd.DataFrame(
        rows, columns=["n", "events", "predicted", "observed", "ci_low", "ci_high"]
    )
    logit = np.log(p / (1 - p))
    common: dict[str, Any] = {"n": int(codes.size), "n_events": int(codes.sum())}
    _, (shift,), (se_shift,) = newton(np.ones((p.size, 1)), codes, logit)
    intercept = wald("calibration-intercept", shift, se_shift, "logistic, slope held at 1", common)
    if np.ptp(logit) < 1e-9:
        slope = not_estimable("calibration-slope", "all predictions are equal", **common)
    else:
        good, b, se = newton(np.column_stack([np.ones(p.size), logit]), codes, np.zeros(p.size))
        slope = (
            wald("calibration-slope", b[1], se[1], "logistic on the logit", common)
            if good
            else not_estimable("calibration-slope", "the outcomes are separated", **common)
        )
    return Calibration(table, intercept, slope)


def wald(kind: str, value: float, se: float, method: str, common: Mapping[str, Any]) -> Estimate:
    """Return an estimate with a Wald interval."""
    half = 1.959963984540054 * se
    words = f"{method}, Wald interval"
    return Estimate(
        kind, float(value), float(value - half), float(value + half), method=words, **common
    )


def newton(X: Floats, y: Ints, offset: Floats) -> tuple[bool, Floats, Floats]:
    """Return whether logistic regression converged, its coefficients and standard errors."""
    b = np.zeros(X.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(X @ b + offset, -35, 35)))
        information = X.T @ (X * (p * (1 - p))[:, None])
        step = np.linalg.solve(information + 1e-12 * np.eye(len(b)), X.T @ (y - p))
        b = b + step
        if np.abs(step).max() < 1e-10:
            return True, b, np.sqrt(np.diag(np.linalg.inv(information)))
    return False, b, np.full(len(b), np.nan)


def specifications(
    designs: Iterable[tuple[dict[str, object], pd.DataFrame, ArrayLike]],
    grid: Sequence[Settings],
    *,
    k: int = 5,
    repeats: int = 5,
    seed: int = 0,
    progress: Callable[[], None] | None = None,
) -> Iterator[dict[str, object]]:
    """Yield the cross-validated AUC of a tree under every combination of design and settings.

    Parameters
    ----------
    designs : iterable of (choices, X, y)
        `choices` names what was chosen to get to this design, and comes back in the row.
    """
    for choices, X, y in designs:
        for settings in grid:
            result = nested_cv(X, y, grid=(settings,), k=k, repeats=repeats, seed=seed)
            e = result.auc
            root = learn_tree(X, np.asarray(y), settings, seed=seed).root
            yield {
                **choices,
                "leaves": settings.max_leaves,
                "smallest leaf": settings.min_leaf,
                "value": e.value,
                "ci_low": e.ci_low,
                "ci_high": e.ci_high,
                "n": e.n,
                "n_events": e.n_events,
                "first_split": variable_of(root[0]) if root else "none",
            }
            if progress:
                progress()

"""Drawings of clones: fish plot, family tree, relations of pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from ballbook import figures
from ballbook.inputs import Floats

# Neighbours in a tree differ in colour; every one is of the book's palette.
COLOURS = [
    figures.C.grey, figures.C.blue, figures.C.orange, figures.C.green, figures.C.purple,
    figures.C.sky, figures.C.red, figures.C.muted,
]  # fmt: skip
# Lines of the tree end where a label begins.
CLEAR = {"facecolor": figures.C.paper, "edgecolor": "none", "pad": 0.8}
_STEPS = 16


def colour(clone: int) -> str:
    """Return the colour of a clone."""
    return COLOURS[clone % len(COLOURS)]


def bands(parents: ArrayLike, fraction: ArrayLike) -> tuple[Floats, Floats]:
    """Return lower and upper edge of each clone in each sample, nested as in the tree.

    Children lie inside their parent with even room between them. Where point estimates of children
    exceed their parent (within their intervals) the children are drawn smaller.

    Parameters
    ----------
    parents : array_like of int, one a clone
        -1 for none.
    fraction : array_like of float, clones by samples

    Returns
    -------
    tuple of array of float, clones by samples
        From 0 to 1.
    """
    above, phi = np.asarray(parents), np.asarray(fraction, dtype=float)
    low, high = np.zeros_like(phi), np.zeros_like(phi)

    def place(children: NDArray[np.int64], bottom: Floats, top: Floats) -> None:
        if not children.size:
            return
        width = top - bottom
        total = phi[children].sum(axis=0)
        scale = np.minimum(1, np.divide(width, total, out=np.ones_like(width), where=total > 0))
        room = np.maximum(width - scale * total, 0) / (children.size + 1)
        at = bottom + room
        for v in children:
            low[v], high[v] = at, at + scale * phi[v]
            at = high[v] + room
            place(np.flatnonzero(above == v), low[v], high[v])

    place(np.flatnonzero(above == -1), np.zeros(phi.shape[1]), np.ones(phi.shape[1]))
    return low, high


def fish(
    ax: Axes,
    parents: ArrayLike,
    fraction: ArrayLike,
    names: Sequence[str],
    samples: Sequence[str],
) -> None:
    """Draw the cell fractions of clones over samples, each inside its parent.

    Between samples, which are drawn at equal distances, nothing is known: edges are joined by a
    smooth step. All start from nothing before the first sample.
    """
    low, high = bands(parents, fraction)
    # Clones open together from the middle of the one that they come from, so that they stay nested.
    start = np.zeros((len(low), 1))
    for v in range(len(low)):
        origin = v
        while np.asarray(parents)[origin] >= 0:
            origin = int(np.asarray(parents)[origin])
        start[v] = (low[origin, 0] + high[origin, 0]) / 2
    low, high = np.hstack([start, low]), np.hstack([start, high])
    t = np.linspace(0, 1, _STEPS + 1)
    ease = t * t * (3 - 2 * t)
    positions: Floats = np.arange(low.shape[1], dtype=np.float64) - 1
    x = np.concatenate([positions[i] + t for i in range(len(positions) - 1)])
    for v in range(len(low)):
        edges = [
            np.concatenate(
                [e[v, i] + ease * (e[v, i + 1] - e[v, i]) for i in range(len(x) // len(t))]
            )
            for e in (low, high)
        ]
        order = _depth(np.asarray(parents), v)
        ax.fill_between(
            x, edges[0], edges[1], where=edges[1] - edges[0] > 1e-3, color=colour(v), linewidth=0,
            zorder=2 + order,
        )  # fmt: skip
    _names(ax, np.asarray(parents), low, high, positions, names)
    for i, _ in enumerate(samples):
        ax.axvline(i, color=figures.C.ink, linewidth=0.5, alpha=0.6, zorder=30)
    ax.set(xlim=(-1, len(samples) - 0.95), ylim=(0, 1), ylabel="Leukaemic cells")
    ax.set_xticks(range(len(samples)), list(samples))
    ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")


def _names(
    ax: Axes, parents: NDArray[np.int64], low: Floats, high: Floats, x: Floats,
    names: Sequence[str],
) -> None:  # fmt: skip
    """Write each name where most of its own colour is to be seen; small clones have none."""
    for v, name in enumerate(names):
        best, where = 0.045, None
        inside = np.flatnonzero(parents == v)
        for j in range(1, len(x)):
            edges = sorted([low[v, j], high[v, j], *low[inside, j], *high[inside, j]])
            for a, b in zip(edges[::2], edges[1::2], strict=True):
                if b - a > best + 1e-9:
                    best, where = b - a, (x[j] - 0.12, (a + b) / 2)
        if where is not None:
            ax.text(
                *where, name, ha="right", va="center", fontsize=9, color=figures.C.paper,
                fontweight="bold", zorder=40,
            )  # fmt: skip


def _depth(parents: NDArray[np.int64], v: int) -> int:
    depth = 0
    while parents[v] >= 0:
        v, depth = int(parents[v]), depth + 1
    return depth


def tree(
    ax: Axes, parents: ArrayLike, shares: ArrayLike, names: Sequence[str], sizes: Sequence[int]
) -> None:
    """Draw one tree, with the parents that clones have in other trees.

    Parameters
    ----------
    parents : array_like of int
        The tree drawn.
    shares : array_like of float, clones by (clones + 1)
        `CloneTrees.parent_shares`. A line is solid where a clone has this parent in every tree,
        else dashed with its share.
    sizes : sequence of int
        Sites of each clone.
    """
    above, share = np.asarray(parents), np.asarray(shares, dtype=float)
    clones = len(above)
    x, y = np.zeros(clones + 1), np.zeros(clones + 1)
    leaf = 0

    def place(v: int, depth: int) -> None:
        nonlocal leaf
        children = np.flatnonzero(above == (v if v < clones else -1))
        for c in children:
            place(int(c), depth + 1)
        if children.size:
            x[v] = x[children].mean()
        else:
            x[v], leaf = float(leaf), leaf + 1
        y[v] = -depth

    place(clones, 0)
    for v in range(clones):
        own = int(above[v]) if above[v] >= 0 else clones
        for u in np.flatnonzero(share[v] > 0):
            sure = share[v, u] > 1 - 1e-12
            ax.plot(
                [x[u], x[v]], [y[u], y[v]], color=figures.C.ink if u == own else figures.C.muted,
                linewidth=1.6 if u == own else 0.9, linestyle="-" if sure else (0, (3, 2)),
                zorder=1,
            )  # fmt: skip
            if not sure and u == own:
                ax.annotate(
                    f"{100 * share[v, u]:.0f}%", ((x[u] + x[v]) / 2, (y[u] + y[v]) / 2),
                    xytext=(5, 0), textcoords="offset points", fontsize=9, color=figures.C.muted,
                    va="center", bbox=CLEAR,
                )  # fmt: skip
    for v in range(clones):
        figures.dots(ax, [[x[v], y[v]]], colour=colour(v), size=22)
        ax.text(
            x[v], y[v], names[v], ha="center", va="center", color=figures.C.paper, fontsize=9,
            fontweight="bold", zorder=5,
        )  # fmt: skip
        ax.annotate(
            f"{sizes[v]:,} sites", (x[v], y[v]), xytext=(13, -15), textcoords="offset points",
            fontsize=9, color=figures.C.muted, bbox=CLEAR,
        )  # fmt: skip
    ax.text(x[clones], y[clones] + 0.12, "normal cell", ha="center", fontsize=9)
    ax.set(xlim=(-0.5, max(leaf - 1, 0) + 0.9), ylim=(y.min() - 0.4, 0.45))
    ax.set_axis_off()


def relation_table(relations: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return relations in words: pair, shares in percent, and what holds in every tree."""
    words = {
        "first_above": "{0} is an ancestor of {1}",
        "second_above": "{1} is an ancestor of {0}",
        "apart": "different branches",
    }
    rows = []
    columns = [relations[c] for c in ("u", "v", "first_above", "second_above", "apart", "always")]
    for u, v, first, second, apart, always in zip(*columns, strict=True):
        pair = names[u], names[v]
        rows.append(
            {
                "pair": f"{pair[0]} and {pair[1]}",
                "first": f"{100 * first:.0f}%",
                "second": f"{100 * second:.0f}%",
                "apart": f"{100 * apart:.0f}%",
                "holds": words[always].format(*pair) if always else "open",
            }
        )
    return pd.DataFrame(rows, columns=["pair", "first", "second", "apart", "holds"])

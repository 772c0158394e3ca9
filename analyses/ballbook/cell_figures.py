"""Figures of single cells: maps with names on the data, dot plots, matrix plots, composition.

Every state has one colour on every page (`COLOURS`). The points of a map are images, one a state,
so that a page weighs the same for a thousand cells and for a million; each image is cut out of a
sheet of its state's colour when it is put in a page (`figures.themed`), so that dark mode can
change it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ballbook import figures
from ballbook.figures import C

if TYPE_CHECKING:
    import anndata
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The B lineage runs from dark blue to light olive; what branches off has other hues.
COLOURS: dict[str, str] = {
    "HSC/MPP": C.navy,
    "LMPP": C.blue,
    "Pro-B": C.sky,
    "Pre-B": C.teal,
    "Immature B": C.green,
    "Mature B": C.olive,
    "Plasma cell": C.orange,
    "Myeloid": C.red,
    "Dendritic": C.purple,
    "Erythroid and megakaryocytic": C.brown,
    "T and NK": C.grey,
}
OFF_MAP = "Off the map"
SHORT: dict[str, str] = {"Erythroid and megakaryocytic": "Erythroid, Mk"}
DPI = 200.0


def short(state: str) -> str:
    """Return the name of a state as it stands on figures."""
    return SHORT.get(state, state)


def cloud(ax: Axes, xy: Any, *, colour: str, size: float = 2.2, alpha: float = 0.75) -> None:
    """Draw many points of one colour as one image.

    The limits of the axes must stand and the figure must be laid out
    (`Figure.draw_without_rendering`), since the image is made for their size.

    Parameters
    ----------
    xy : array_like of float, points x 2
    colour : str
        A colour of `figures.C`.
    size : float
        Diameter in points.
    alpha : float
        Opacity where there is a point, however many lie there.
    """
    points = np.asarray(xy, dtype=float).reshape(-1, 2)
    if not len(points):
        return
    figure = ax.get_figure(root=True)
    assert figure is not None
    scale = DPI / figure.dpi
    pixels = ax.transData.transform(points) * scale
    radius = size / 72 * DPI / 2
    reach = int(np.ceil(radius)) + 1
    low = np.floor(pixels.min(axis=0)).astype(int) - reach
    high = np.ceil(pixels.max(axis=0)).astype(int) + reach + 1
    width, height = high - low
    covered = np.zeros((height, width))
    near = np.floor(pixels).astype(int)
    for dx in range(-reach, reach + 1):
        for dy in range(-reach, reach + 1):
            at = near + np.array([dx, dy])
            apart = np.hypot(*(at + 0.5 - pixels).T)
            column, row = (at - low).T
            np.maximum.at(covered, (row, column), np.clip(radius + 0.5 - apart, 0, 1))
    image = np.zeros((height, width, 4), dtype=np.uint8)
    image[..., :3] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    # Sixteen steps of coverage look as smooth and weigh half.
    image[..., 3] = np.round(np.round(covered * 15) / 15 * alpha * 255)
    (left, bottom), (right, top) = ax.transData.inverted().transform(np.array([low, high]) / scale)
    limits = ax.get_xlim(), ax.get_ylim()
    drawn = ax.imshow(
        image, extent=(left, right, bottom, top), origin="lower", interpolation="none",
        aspect="auto", zorder=1,
    )  # fmt: skip
    n = sum(str(i.get_gid()).startswith("bb-cloud") for a in figure.axes for i in a.images)
    drawn.set_gid(f"bb-cloud-{n}-{colour[1:]}")
    # One image for all would have no single colour.
    figure.suppressComposite = True
    ax.set(xlim=limits[0], ylim=limits[1])


def embedding(
    panels: Mapping[str, tuple[Any, Any]],
    *,
    colours: Mapping[str, str] | None = None,
    others: str = C.grid,
    size: tuple[float, float] = (7.2, 5.0),
    dot: float = 2.2,
) -> Figure:
    """Draw cells in two dimensions, one panel each, with the names of states on the data.

    Parameters
    ----------
    panels : mapping
        Heading to (coordinates, cells x 2; state of each cell). Cells whose state has no colour
        lie behind the others in the colour `others`. All panels share their axes.
    colours : mapping, optional
        State to colour; `COLOURS` when not given.
    """
    colours = COLOURS if colours is None else colours
    figure, axes = figures.panels(1, len(panels), size=size, squeeze=False)
    everything = np.concatenate([np.asarray(xy, dtype=float) for xy, _ in panels.values()])
    low, high = everything.min(axis=0), everything.max(axis=0)
    pad = 0.04 * (high - low)
    for ax, heading in zip(axes[0], panels, strict=True):
        ax.set(xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1]))
        ax.set(xticks=[], yticks=[])
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)
        if heading:
            ax.text(0, 1.01, heading, transform=ax.transAxes, fontsize=9.5, va="bottom")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ax, (xy, labels) in zip(axes[0], panels.values(), strict=True):
        words = np.asarray(labels, dtype=object)
        points = np.asarray(xy, dtype=float)
        known = [s for s in colours if (words == s).any()]
        cloud(ax, points[~np.isin(words.astype(str), known)], colour=others, size=dot, alpha=0.9)
        for state in known:
            cloud(ax, points[words == state], colour=colours[state], size=dot)
        figure.draw_without_rendering()
        named = np.array([short(str(w)) for w in words])
        figures.name_clouds(ax, points, named, {short(s): colours[s] for s in known}, most=0)
    return figure


def summary(
    cells: anndata.AnnData, groups: Any, genes: Sequence[str], order: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the mean of each gene in each group, and the share of its cells that express it.

    Parameters
    ----------
    cells : AnnData
        In ``X`` what is averaged; a value above 0 counts as expressed.
    groups : array_like of str, one a cell
    order : sequence of str
        Groups, in the order of the rows; those without a cell are left out.

    Returns
    -------
    mean, share : DataFrame, groups x genes
    """
    x = cells[:, list(genes)].X
    words = np.asarray(groups, dtype=object)
    mean, share = {}, {}
    for group in order:
        rows = x[np.flatnonzero(words == group)]
        if not rows.shape[0]:
            continue
        mean[group] = np.asarray(rows.mean(axis=0)).ravel()
        share[group] = np.asarray((rows > 0).mean(axis=0)).ravel()
    columns = list(genes)
    return (
        pd.DataFrame.from_dict(mean, orient="index", columns=columns),
        pd.DataFrame.from_dict(share, orient="index", columns=columns),
    )


def relative(mean: pd.DataFrame) -> pd.DataFrame:
    """Return each column from 0 (its least group) to 1 (its greatest); 0 where all are equal."""
    spread = (mean.max() - mean.min()).replace(0, np.nan)
    return ((mean - mean.min()) / spread).fillna(0.0)


def dot_plot(mean: pd.DataFrame, share: pd.DataFrame, *, colour: str = C.blue) -> Figure:
    """Draw a dot for each group and gene: its area the share of cells, its strength the mean.

    Parameters
    ----------
    mean, share : DataFrame, groups x genes
        As `summary` gives them; strength is `relative` within a gene.
    """
    from matplotlib.colors import to_rgba

    rows, columns = mean.shape
    figure, ax = figures.panels(size=(min(8.0, 2.2 + 0.3 * columns), 1.3 + 0.3 * rows))
    strength = relative(mean).to_numpy()
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    # Few sizes: each is written once into the drawing.
    area = 130 * np.round(share.to_numpy() * 25) / 25
    for i in range(rows):
        fill = [to_rgba(colour, a) for a in np.round(0.08 + 0.92 * strength[i], 2)]
        ax.scatter(x[i], y[i], s=area[i], facecolors=fill, edgecolors=C.grey, linewidth=0.5)
    _name_cells(ax, mean)
    ax.set(xlim=(-0.6, columns - 0.4))
    handles = [
        ax.scatter([], [], s=130 * s, facecolors="none", edgecolors=C.grey, label=f"{s:.0%}")
        for s in (0.1, 0.5, 1.0)
    ]
    figure.legend(
        handles=handles, loc="outside upper right", ncols=3, title=None, fontsize=9,
        handletextpad=0.3, columnspacing=1.0,
    )  # fmt: skip
    return figure


def matrix_plot(
    values: pd.DataFrame,
    *,
    low: float | None = None,
    high: float | None = None,
    form: str = "",
    colour: str = C.blue,
) -> Figure:
    """Draw a table as tiles, the stronger the greater the value.

    Parameters
    ----------
    values : DataFrame
    low, high : float, optional
        Values of no and of full strength; those of the table when not given.
    form : str
        Format of the number written on each tile, such as ``.0%``; none is written when empty.
    """
    table = values.to_numpy(float)
    low = float(np.nanmin(table)) if low is None else low
    high = float(np.nanmax(table)) if high is None else high
    rows, columns = table.shape
    figure, ax = figures.panels(size=(min(8.0, 2.2 + 0.48 * columns), 1.2 + 0.32 * rows))
    strength = np.clip((table - low) / ((high - low) or 1.0), 0, 1)
    for i in range(rows):
        for j in range(columns):
            if np.isnan(table[i, j]):
                continue
            ax.fill(
                [j - 0.5, j + 0.5, j + 0.5, j - 0.5], [i - 0.5, i - 0.5, i + 0.5, i + 0.5],
                color=colour, alpha=0.04 + 0.86 * strength[i, j], linewidth=0,
            )  # fmt: skip
            if form:
                ax.text(
                    j, i, format(table[i, j], form), ha="center", va="center", fontsize=8.5,
                    color=C.paper if strength[i, j] > 0.55 else C.ink,
                )  # fmt: skip
    _name_cells(ax, values)
    ax.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    return figure


def _name_cells(ax: Axes, table: pd.DataFrame) -> None:
    rows, columns = table.shape
    ax.set_xticks(range(columns), [short(str(c)) for c in table], rotation=90)
    ax.set_yticks(range(rows), [short(str(r)) for r in table.index])
    ax.set(ylim=(rows - 0.4, -0.6))
    ax.tick_params(length=0)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)


def composition(
    shares: pd.DataFrame,
    *,
    colours: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    xlabel: str = "Share of cells",
) -> Figure:
    """Draw what samples are made of: one bar a sample, one piece a state.

    Parameters
    ----------
    shares : DataFrame, samples x states
        Fractions; what a row lacks to 1 is left white.
    notes : sequence of str
        Text at the right of each bar, such as the number of cells.
    """
    colours = {**COLOURS, OFF_MAP: C.grid} if colours is None else dict(colours)
    figure, ax = figures.panels(size=(7.2, 1.5 + 0.34 * len(shares)))
    left = np.zeros(len(shares))
    y = np.arange(len(shares))
    for state in shares:
        width = shares[state].fillna(0).to_numpy(float)
        ax.barh(
            y, width, left=left, height=0.76, color=colours.get(str(state), C.muted),
            label=short(str(state)), linewidth=0.6, edgecolor=C.paper,
        )  # fmt: skip
        left = left + width
    for i, note in enumerate(notes):
        ax.text(1.02, i, note, transform=ax.get_yaxis_transform(), va="center", fontsize=9,
                color=C.muted)  # fmt: skip
    ax.set_yticks(y, [str(s) for s in shares.index])
    ax.set(xlim=(0, 1), ylim=(len(shares) - 0.5, -0.5), xlabel=xlabel)
    ax.xaxis.set_major_formatter(lambda v, _: f"{100 * v:.0f}%")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    figure.legend(
        loc="outside upper center", ncols=4, fontsize=9, handlelength=1.0, columnspacing=1.0
    )
    return figure

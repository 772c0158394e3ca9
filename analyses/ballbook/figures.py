"""The look of every figure: colours that re-theme in dark mode, and the plots that recur.

Figures are drawn in fixed ink and data colours. When a figure is put in a page, each of those
colours becomes a CSS variable (`THEMED`), so that the same drawing reads well on light and dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from ballbook.disclosure import displayable, rounded_at_risk

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ballbook.cox import CoxFit
    from ballbook.survival import SurvivalCurve


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours safe for colour-blind readers (after Okabe and Ito), plus ink and paper."""

    blue: str = "#0072b2"
    orange: str = "#d55e00"
    green: str = "#009e73"
    purple: str = "#aa4499"
    sky: str = "#56b4e9"
    red: str = "#b2182b"
    navy: str = "#18147e"
    teal: str = "#08595c"
    olive: str = "#8b9871"
    brown: str = "#3c1a04"
    grey: str = "#8c8c8c"
    ink: str = "#1f2328"
    muted: str = "#59636e"
    grid: str = "#d8dee4"
    paper: str = "#ffffff"

    @property
    def cycle(self) -> tuple[str, ...]:
        """Data colours in the order in which groups take them."""
        return (self.blue, self.orange, self.green, self.purple, self.sky, self.red, self.grey)


C = Palette()
THEMED = {name: getattr(C, name) for name in Palette.__dataclass_fields__}
STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": C.muted,
    "axes.facecolor": "none",
    "axes.labelcolor": C.ink,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 110,
    "figure.facecolor": C.paper,
    "figure.figsize": (7.2, 4.0),
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "grid.color": C.grid,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "patch.edgecolor": C.paper,
    "svg.fonttype": "none",
    "text.color": C.ink,
    "xtick.color": C.muted,
    "xtick.labelcolor": C.ink,
    "xtick.labelsize": 9,
    "ytick.color": C.muted,
    "ytick.labelcolor": C.ink,
    "ytick.labelsize": 9,
}


def settings() -> Any:
    """Return the book's style as matplotlib settings."""
    from cycler import cycler

    return {**STYLE, "axes.prop_cycle": cycler(color=C.cycle)}


@contextmanager
def style() -> Iterator[None]:
    """Draw within the book's style."""
    import matplotlib as mpl

    with mpl.rc_context(settings()):
        yield


def use_style() -> None:
    """Set the book's style for the rest of the process, as a notebook does once."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams.update(settings())


def svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG string whose bytes depend on the drawing and `name` alone."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(
            buffer, format="svg", bbox_inches="tight", pad_inches=0.06, metadata={"Date": None}
        )
    return re.sub(DOTS, lambda m: m[1] + re.sub(DOT, _dot, m[2]), buffer.getvalue())


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG of 128 colours, a third of the size and alike to the eye."""
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    plain = {"compress_level": 0}
    figure.savefig(drawn, format="png", dpi=130, bbox_inches="tight", pil_kwargs=plain)
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(128).save(small, "PNG", compress_level=8)
    return small.getvalue()


# The path of `dots`, and one dot of it.
DOTS = r'(<g id="bb-dots-\d+">\s*<path d=")([^"]*)'
DOT = r"M (-?[\d.]+) (-?[\d.]+)\s+L -?[\d.]+ -?[\d.]+\s*"


def _dot(found: re.Match[str]) -> str:
    """Return a dot with two decimals of a point, a third of what matplotlib writes."""
    return f"M{float(found[1]):.2f} {float(found[2]):.2f}h.01"


# An image of points of one colour (`cell_figures.cloud`), whose id tells the colour.
CLOUD = r'<image\b[^>]*\bid="(bb-cloud-\d+-([0-9a-f]{6}))"[^>]*/>'


def _stencil(found: re.Match[str]) -> str:
    """Return the points of an image cut out of a sheet of their colour, which themes can change."""
    image, id, colour = found[0], found[1], found[2]
    place = " ".join(re.findall(r'\b(?:x|y|width|height|transform)="[^"]*"', image))
    return (
        f'<mask id="{id}-mask" style="mask-type: alpha">{image}</mask>'
        f'<g mask="url(#{id}-mask)"><rect {place} fill="#{colour}"/></g>'
    )


def themed(drawing: str, name: str, alt: str) -> str:
    """Return an SVG string ready to stand inside a page, in light and in dark.

    Ids are prefixed with `name` (several figures share a page), fixed colours become CSS
    variables, and `alt` becomes the accessible name.
    """
    body = drawing[drawing.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(CLOUD, _stencil, body)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'(xlink:href="#|url\(#)', rf"\1{name}-", body)
    for colour, value in THEMED.items():
        body = re.sub(re.escape(value), f"var(--bb-{colour}, {value})", body, flags=re.I)
    body = body.replace("'DejaVu Sans', sans-serif", "var(--bb-font, sans-serif)")
    # A style element inside a page would reach every other element of it.
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.S)
    width, height = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', body).groups()  # type: ignore[union-attr]
    opening = (
        f'<svg class="bb-svg" role="img" aria-label="{escape(alt)}" '
        f'style="width: {float(width) * 96 / 72:.0f}px; aspect-ratio: {width} / {height}"'
    )
    body = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', "", body, count=1)
    return body.replace("<svg", opening, 1)


def panels(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (7.2, 4.0), **kwargs: Any
) -> Any:
    """Return ``(figure, axes)`` in the book's style, not attached to a window."""
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=size, layout="constrained", **kwargs)


def survival(
    ax: Axes,
    curves: Mapping[str, SurvivalCurve],
    *,
    horizon: float | None = None,
    ticks: Sequence[float] | None = None,
    unit: str = "months",
    ylabel: str = "Survival",
    at_risk: bool = True,
    min_count: int | Mapping[str, int] = 0,
    colours: Sequence[str] | None = None,
    intervals: bool = True,
) -> None:
    """Draw Kaplan-Meier curves with intervals, censoring marks and numbers at risk.

    Parameters
    ----------
    curves : mapping
        Label to curve, drawn in this order.
    horizon : float, optional
        Last time shown; the longest follow-up when not given.
    min_count : int or mapping
        Smallest count shown, of all curves or by label: such a curve is drawn through the points
        that `disclosure.displayable` leaves, without its exact times and censoring marks, and its
        numbers at risk are rounded down. 0 (also where a label is missing): drawn in full.
    """
    least = {
        label: min_count if isinstance(min_count, int) else min_count.get(label, 0)
        for label in curves
    }
    points = {
        label: displayable(curve, least[label], horizon=horizon)
        for label, curve in curves.items()
        if least[label] > 0
    }
    if horizon is None:
        ends = [0.0 if p is None else p["months"].iloc[-1] for p in points.values()]
        ends += [float(c.table["time"].max()) for label, c in curves.items() if label not in points]
        horizon = max(ends) or 12.0
    ticks = [t for t in (ticks if ticks is not None else ax.get_xticks()) if 0 <= t <= horizon]
    if len(ticks) < 3 or ticks[-1] <= 1:
        ticks = list(np.linspace(0, horizon, 6).round())
    colours = colours or C.cycle
    for colour, (label, curve) in zip(colours, curves.items(), strict=False):
        if label in points:
            told = points[label]
            if told is None:
                ax.plot([], [], color=colour, label=f"{label}: too few to draw")
                continue
            ax.plot(
                told["months"], told["survival"], color=colour, label=label, marker="o",
                markersize=3.5,
            )  # fmt: skip
            if intervals:
                ax.fill_between(
                    told["months"], told["ci_low"].fillna(1), told["ci_high"].fillna(1),
                    color=colour, alpha=0.14, linewidth=0,
                )  # fmt: skip
            continue
        table = curve.table
        keep = table["time"].to_numpy(float) <= horizon
        time = np.concatenate([[0.0], table["time"].to_numpy(float)[keep]])
        level = np.concatenate([[1.0], table["survival"].to_numpy(float)[keep]])
        end = min(horizon, float(table["time"].max())) if len(table) else 0.0
        time, level = np.append(time, end), np.append(level, level[-1])
        ax.step(time, level, where="post", color=colour, label=label)
        if intervals:
            low = np.concatenate([[1.0], table["ci_low"].to_numpy(float)[keep]])
            high = np.concatenate([[1.0], table["ci_high"].to_numpy(float)[keep]])
            low, high = np.append(low, low[-1]), np.append(high, high[-1])
            ax.fill_between(time, low, high, step="post", color=colour, alpha=0.14, linewidth=0)
        censored = table[keep & (table["n_censored"].to_numpy() > 0)]
        ax.plot(
            censored["time"], censored["survival"], linestyle="none", marker="|",
            markersize=5, markeredgewidth=0.9, color=colour, alpha=0.7,
        )  # fmt: skip
    ax.set(xlim=(0, horizon), ylim=(0, 1.02), ylabel=ylabel, xlabel=f"Time ({unit})")
    ax.set_xticks(ticks)
    ax.yaxis.set_major_formatter(lambda v, _: f"{100 * v:.0f}%")
    ax.grid(axis="y")
    ax.legend(loc="best")
    if at_risk:
        numbers_at_risk(ax, curves, ticks, colours, least)


def numbers_at_risk(
    ax: Axes,
    curves: Mapping[str, SurvivalCurve],
    ticks: Sequence[float],
    colours: Sequence[str],
    min_count: Mapping[str, int],
) -> None:
    """Write the numbers at risk below the time axis, one row a curve.

    `min_count` by label: `disclosure.rounded_at_risk` with it.
    """
    # Rows keep their distance in inches whatever the height of the figure.
    inches = ax.get_window_extent().height / ax.get_figure(root=True).dpi  # type: ignore[union-attr]
    step, first = 0.2 / inches, -0.72 / inches
    place = ax.get_xaxis_transform()
    rounded = max(min_count.values(), default=0)
    heading = f"At risk (own patients: multiples of {rounded})" if rounded else "At risk"
    ax.text(0, first, heading, transform=place, fontsize=8.5, color=C.muted, ha="left")
    for row, (colour, (label, curve)) in enumerate(zip(colours, curves.items(), strict=False), 1):
        y = first - row * step
        ax.text(
            -0.04, y, label, transform=ax.transAxes, fontsize=8.5, color=colour, ha="right",
        )  # fmt: skip
        for tick, n in zip(ticks, curve.number_at_risk(ticks), strict=True):
            text = rounded_at_risk(int(n), min_count[label])
            ax.text(tick, y, text, transform=place, fontsize=8.5, ha="center")


COLOUR_OF_KIND = {
    "pooled": C.ink, "prediction": C.muted, "yours": C.orange, "open": C.green,
}  # fmt: skip


def forest(
    table: pd.DataFrame,
    *,
    null: float | None = 1.0,
    log: bool = True,
    xlabel: str = "Hazard ratio (95% interval)",
    favours: tuple[str, str] | None = None,
    size: tuple[float, float] | None = None,
) -> Any:
    """Draw a forest plot.

    Parameters
    ----------
    table : DataFrame
        Rows from top to bottom with columns ``label``, ``value``, ``ci_low``, ``ci_high``, and
        optionally ``weight`` (sizes the square), ``kind`` (``study``, ``open``, ``pooled``,
        ``prediction``, ``yours``, ``heading``), and ``note`` (text at the right of the estimate,
        such as counts).
    favours : pair of str, optional
        Words left and right of the null below the axis.
    """
    rows = table.reset_index(drop=True)
    kinds = rows["kind"] if "kind" in rows else ["study"] * len(rows)
    weight = rows["weight"].to_numpy(float) if "weight" in rows else np.full(len(rows), np.nan)
    finite = weight[np.isfinite(weight)]
    largest = finite.max() if finite.size else 1.0
    figure, ax = panels(size=size or (7.2, 1.1 + 0.33 * len(rows)))
    points = rows[["value", "ci_low", "ci_high"]].to_numpy(float)
    for i, ((value, low, high), kind) in enumerate(zip(points, kinds, strict=True)):
        y = -i
        if kind == "heading":
            continue
        colour = COLOUR_OF_KIND.get(kind, C.blue)
        if kind == "pooled":
            ax.fill([low, value, high, value], [y, y + 0.26, y, y - 0.26], color=colour, zorder=3)
        elif kind == "prediction":
            ax.plot([low, high], [y, y], color=colour, linewidth=1.4, linestyle=(0, (2, 1.5)))
        else:
            ax.plot([low, high], [y, y], color=colour, linewidth=1.4, solid_capstyle="butt")
            area = 22 + (70 * weight[i] / largest if np.isfinite(weight[i]) else 18)
            ax.scatter([value], [y], s=area, marker="s", color=colour, zorder=3, linewidth=0)
    if null is not None:
        ax.axvline(null, color=C.muted, linewidth=0.9, zorder=0)
    if log:
        from matplotlib.ticker import LogLocator, NullFormatter

        ax.set_xscale("log")
        left, right = ax.get_xlim()
        # Ticks at 2 and 5 as well would run into each other over many decades.
        subs = (1, 2, 5) if right / left < 2e3 else (1,)
        ax.xaxis.set_major_locator(LogLocator(base=10, subs=subs))
        ax.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks([-i for i in range(len(rows))], rows["label"])
    for tick, kind in zip(ax.get_yticklabels(), kinds, strict=True):
        tick.set_fontweight("bold" if kind in {"pooled", "heading"} else "normal")
    notes = rows["note"].fillna("") if "note" in rows else [""] * len(rows)
    texts = [
        _decimal(value)
        + ("" if np.isnan([low, high]).all() else f" ({_decimal(low)} to {_decimal(high)})")
        for value, low, high in points
    ]
    widest = 5.6 * max(len(t) for t, kind in zip(texts, kinds, strict=True) if kind != "heading")
    for i, ((_, low, high), kind, note) in enumerate(zip(points, kinds, notes, strict=True)):
        if kind == "heading":
            continue
        text = f"{_decimal(low)} to {_decimal(high)}" if kind == "prediction" else texts[i]
        ax.text(1.02, -i, text, transform=ax.get_yaxis_transform(), va="center", fontsize=9)
        if note:
            # A distance in points, since the axes are narrow where labels are long.
            ax.annotate(
                note, (1.02, -i), xycoords=ax.get_yaxis_transform(), xytext=(widest, 0),
                textcoords="offset points", va="center", fontsize=9, color=C.muted,
                annotation_clip=False,
            )  # fmt: skip
    ax.set_ylim(-len(rows) + 0.4, 0.6)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    label = xlabel
    if favours:
        # Em spaces: a browser would fold ordinary ones into one.
        label += f"\n\u2190 {favours[0]}\u2003\u2003{favours[1]} \u2192"
    ax.set_xlabel(label)
    return figure


def dots(ax: Axes, xy: Any, *, colour: str, size: float = 3.0, alpha: float = 1.0) -> None:
    """Draw many points as one path, which stays small, sharp and themed where markers do not.

    Parameters
    ----------
    xy : array_like of float, points x 2
    size : float
        Diameter in points.
    """
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    points = np.asarray(xy, dtype=float).reshape(-1, 2)
    if not len(points):
        return
    # Strokes of next to no length whose round caps are the dots.
    step = np.array([1e-6 * (np.ptp(points[:, 0]) or 1.0), 0.0])
    path = Path(
        np.stack([points, points + step], axis=1).reshape(-1, 2),
        np.tile([Path.MOVETO, Path.LINETO], len(points)),
    )
    path.should_simplify = False
    patch = PathPatch(
        path, facecolor="none", edgecolor=colour, linewidth=size, capstyle="round", alpha=alpha,
        snap=False,
    )  # fmt: skip
    figure = ax.get_figure(root=True)
    assert figure is not None
    gids = [str(p.get_gid()) for a in figure.axes for p in a.patches]
    patch.set_gid(f"bb-dots-{sum(g.startswith('bb-dots') for g in gids)}")
    ax.add_patch(patch)
    ax.update_datalim(points)
    ax.autoscale_view()


def name_clouds(
    ax: Axes, xy: Any, labels: Any, always: Mapping[str, str], *, most: int = 8, fewest: int = 5
) -> list[str]:
    """Write the names of groups beside their points, where there is room; return those written.

    Places are found in the layout of the last drawing: call `Figure.draw_without_rendering` first,
    when all else is drawn.

    Parameters
    ----------
    xy : array_like of float, points x 2
    labels : array_like of str
    always : mapping
        Groups that are named in any case, to the colour of their name.
    most : int
        Other groups named, the largest first, where they lie together and their name fits.
    fewest : int
        Smallest group named.
    """
    from matplotlib.transforms import Bbox

    frame = ax.get_window_extent()
    points = ax.transData.transform(np.asarray(xy, dtype=float))
    words = np.asarray(labels).astype(str)
    sizes = {str(w): int((words == w).sum()) for w in np.unique(words)}
    others = sorted((w for w in sizes if w not in always), key=lambda w: (-sizes[w], w))
    taken: list[Bbox] = []
    named: list[str] = []
    for word in [*always, *others]:
        of = points[words == word]
        if len(of) < fewest or (word not in always and len(named) >= most + len(always)):
            continue
        middle = np.median(of, axis=0)
        spread = float(np.median(np.hypot(*(of - middle).T)))
        if word not in always and spread > 0.12 * frame.width:
            continue
        text = ax.text(
            0.5, 0.5, word, transform=ax.transAxes, fontsize=9, ha="center", va="center",
            color=always.get(word, C.muted),
            bbox={"facecolor": C.paper, "alpha": 0.7, "linewidth": 0, "pad": 0.8},
        )  # fmt: skip
        text.set_in_layout(False)
        box = text.get_window_extent()
        (left, low), (right, high) = np.quantile(of, [0.1, 0.9], axis=0)
        beside, above = box.width / 2 + 5, box.height / 2 + 4
        places = [
            (middle[0], high + above), (middle[0], low - above),
            (right + beside, middle[1]), (left - beside, middle[1]), tuple(middle),
        ]  # fmt: skip
        best, fewest_hidden, place = None, np.inf, places[0]
        for x, y in places:
            x = min(max(x, frame.x0 + box.width / 2 + 2), frame.x1 - box.width / 2 - 2)
            y = min(max(y, frame.y0 + box.height / 2 + 2), frame.y1 - box.height / 2 - 2)
            at = Bbox.from_bounds(x - box.width / 2, y - box.height / 2, box.width, box.height)
            if any(at.overlaps(other) for other in taken):
                continue
            hidden = int(((points > [at.x0, at.y0]) & (points < [at.x1, at.y1])).all(axis=1).sum())
            if hidden < fewest_hidden:
                best, fewest_hidden, place = at, hidden, (x, y)
        if best is None or (word not in always and fewest_hidden > 0.02 * len(points) + 1):
            text.remove()
            continue
        # A place in the axes holds at every resolution.
        x, y = ax.transAxes.inverted().transform(place)
        text.set_position((float(x), float(y)))
        taken.append(best)
        named.append(word)
    return named


def _decimal(value: float) -> str:
    """Return a number to two decimals, or to one digit where that would read as zero."""
    return f"{value:.1g}" if 0 < abs(value) < 0.005 else f"{value:.2f}"


def schoenfeld(fit: CoxFit, labels: Mapping[str, str], *, unit: str = "months") -> Any:
    """Draw scaled Schoenfeld residuals over time: a flat line means proportional hazards.

    Parameters
    ----------
    fit : CoxFit
    labels : mapping
        Term of the model to its heading, one panel each.

    Notes
    -----
    The smooth line (lowess over two thirds of the events) is the log hazard ratio as it changes
    with time; the dashed line is the fitted constant. R: ``plot(cox.zph(fit))``, which smooths by
    a natural spline.
    """
    from statsmodels.nonparametric.smoothers_lowess import lowess

    residuals = fit.schoenfeld_residuals(scaled=True)
    columns = min(3, len(labels))
    rows = -(-len(labels) // columns)
    figure, axes = panels(rows, columns, size=(7.2, 2.5 * rows), sharex=True, squeeze=False)
    for ax, (term, label) in zip(axes.flat, labels.items(), strict=False):
        time, values = residuals["time"].to_numpy(float), residuals[term].to_numpy(float)
        smooth = lowess(values, time, frac=2 / 3, it=0)
        ax.scatter(time, values, s=5, color=C.grey, alpha=0.6, linewidth=0)
        ax.axhline(float(fit.coef[list(fit.terms).index(term)]), color=C.blue, linestyle="--", lw=1)
        ax.axhline(0, color=C.muted, linewidth=0.7)
        ax.plot(smooth[:, 0], smooth[:, 1], color=C.orange)
        # Single events scatter far out; what matters is the line.
        ax.set_ylim(*np.quantile(values, [0.03, 0.97]))
        ax.set_xlabel(f"Time ({unit})")
        ax.tick_params(labelbottom=True)
        ax.text(0, 1.03, label, transform=ax.transAxes, fontsize=9)
    for ax in axes.flat[len(labels) :]:
        ax.set_visible(False)
    axes[0, 0].set_ylabel("Log hazard ratio")
    return figure


def specification_curve(
    table: pd.DataFrame, *, null: float | None = None, log: bool = False, ylabel: str = "Estimate"
) -> Any:
    """Draw a specification curve: the estimate under every defensible choice, smallest first.

    Parameters
    ----------
    table : DataFrame
        Columns ``value``, ``ci_low``, ``ci_high``, ``chosen`` (bool, the specification of the
        page); every other column except ``label``, ``n``, ``n_events`` and ``p_value`` is a
        choice, whose values become rows of dots under the curve.
    """
    fixed = {"value", "ci_low", "ci_high", "chosen", "label", "n", "n_events", "p_value"}
    choices = [c for c in table.columns if c not in fixed]
    rows = table.sort_values("value", kind="stable").reset_index(drop=True)
    marks = [(c, v) for c in choices for v in dict.fromkeys(table[c].astype(str))]
    below = 0.2 * (len(marks) + len(choices))
    figure, (top, bottom) = panels(
        2, 1, size=(7.2, 2.9 + below), sharex=True, height_ratios=[2.6, max(below, 0.5)]
    )
    x = np.arange(len(rows))
    chosen = rows["chosen"].to_numpy(bool)
    colour = np.where(chosen, C.orange, C.blue)
    top.vlines(x, rows["ci_low"], rows["ci_high"], colors=list(colour), linewidth=1.1, alpha=0.7)
    top.scatter(x, rows["value"], c=list(colour), s=np.where(chosen, 34, 14), zorder=3, linewidth=0)
    if null is not None:
        top.axhline(null, color=C.muted, linewidth=0.9, zorder=0)
    if log:
        from matplotlib.ticker import LogLocator

        top.set_yscale("log")
        top.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
        top.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
        top.yaxis.set_minor_formatter(lambda v, _: "")
    top.set_ylabel(ylabel)
    top.grid(axis="y")
    labels, y = [], 0.0
    for c in choices:
        for value in dict.fromkeys(table[c].astype(str)):
            hit = np.flatnonzero(rows[c].astype(str).to_numpy() == value)
            bottom.scatter(
                hit, np.full(hit.size, y), s=11, marker="s", c=list(colour[hit]), linewidth=0
            )
            labels.append((y, f"{c}: {value}"))
            y -= 1.0
        y -= 0.5
    bottom.set_yticks([p for p, _ in labels], [t for _, t in labels], fontsize=8.5)
    bottom.set_ylim(y + 0.9, 0.7)
    bottom.set_xlim(-0.8, len(rows) - 0.2)
    bottom.set_xticks([])
    bottom.set_xlabel("Specifications, ordered by estimate (orange: the one on this page)")
    bottom.tick_params(axis="y", length=0)
    for spine in ("left", "bottom"):
        bottom.spines[spine].set_visible(False)
    return figure


COLOUR_OF_TIER = {"published": C.muted, "open": C.blue, "simulated": C.purple}
COLOUR_OF_VERDICT = {
    "reproduced": C.green, "consistent": C.green, "differs": C.red, "misprint": C.red,
    "underpowered": C.orange, "method-check": C.purple, "not-testable": C.grey,
}  # fmt: skip


def evidence(
    sets: Mapping[str, str],
    pages: Mapping[str, tuple[str, Mapping[tuple[str, str], int]]],
    links: Sequence[tuple[str, str]],
) -> Any:
    """Draw data sets, the pages that use them, and one square for each verdict.

    Parameters
    ----------
    sets : mapping
        Name of a data set to its tier, from top to bottom.
    pages : mapping
        Slug to title and verdicts: ``(verdict, tier)`` to their number. A square is filled where
        the tier is ``open``.
    links : sequence of (name of a set, slug)
    """
    # In inches, so that neither words nor squares run into each other.
    width, line, across = 7.6, 0.42, 30
    rows = max(len(sets), len(pages))
    height = 0.2 + line * rows
    start, end = 3.1, 4.3
    figure, ax = panels(size=(width, height))
    figure.set_layout_engine("none")
    ax.set_position((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")

    def places(names: Mapping[str, Any]) -> dict[str, float]:
        step = line * rows / len(names)
        return {name: height - 0.1 - step * (i + 0.5) for i, name in enumerate(names)}

    left, right = places(sets), places(pages)
    for name, slug in links:
        ax.plot(
            [start, end], [left[name], right[slug]], color=COLOUR_OF_TIER[sets[name]],
            linewidth=1.1, alpha=0.45, zorder=1,
        )  # fmt: skip
    for name, tier in sets.items():
        ax.plot(start, left[name], "o", color=COLOUR_OF_TIER[tier], markersize=6)
        ax.text(start - 0.1, left[name], f"{name} ({tier})", ha="right", va="center", fontsize=9)
    for slug, (title, counts) in pages.items():
        y = right[slug]
        ax.plot(end, y, "s", color=C.ink, markersize=5)
        ax.text(end + 0.1, y + 0.08, title, va="center", fontsize=9)
        marks = [(key[0], key[1] == "open") for key, n in counts.items() for _ in range(n)]
        marks.sort(key=lambda m: (list(COLOUR_OF_VERDICT).index(m[0]), not m[1]))
        for i, (verdict, filled) in enumerate(marks):
            colour = COLOUR_OF_VERDICT[verdict]
            ax.plot(
                end + 0.14 + 0.1 * (i % across), y - 0.08 - 0.1 * (i // across), "s",
                markersize=4.6, markeredgewidth=1, color=colour,
                markerfacecolor=colour if filled else "none",
            )  # fmt: skip
    return figure

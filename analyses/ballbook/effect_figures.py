"""Drawings of a funnel with contours, and of cumulative incidences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ballbook.competing_risks import CumulativeIncidence
from ballbook.figures import C, panels
from ballbook.meta_analysis import MetaAnalysis
from ballbook.own_effects import shown_incidence

CONTOURS = (0.1, 0.05, 0.01)


def funnel(pools: Mapping[str, tuple[pd.DataFrame, MetaAnalysis]]) -> Any:
    """Draw a funnel plot with contours of P, one panel a pool.

    Parameters
    ----------
    pools : mapping
        Title to (studies with ``label, log_hr, std_error``, their pool).
    """
    figure, axes = panels(1, len(pools), size=(7.6, 4.3), squeeze=False)
    for ax, (title, (studies, fit)) in zip(axes[0], pools.items(), strict=True):
        se = studies["std_error"].to_numpy(float)
        top = 1.12 * se.max()
        grid = np.linspace(0, top, 60)
        for p in CONTOURS:
            edge = stats.norm.isf(p / 2) * grid
            for sign in (-1, 1):
                outer = np.full_like(grid, np.exp(sign * 9.0))
                ax.fill_betweenx(
                    grid, np.exp(sign * edge), outer, color=C.grey, alpha=0.13, linewidth=0
                )
        ax.axvline(1, color=C.muted, linewidth=0.9)
        pooled = fit.pooled.value
        if pooled is not None:
            ax.axvline(pooled, color=C.ink, linewidth=1.1, linestyle=(0, (4, 2)))
        x = np.exp(studies["log_hr"].to_numpy(float))
        ax.scatter(x, se, s=34, color=C.blue, zorder=3, linewidth=0)
        _numbers(ax, x, se)
        ax.set_xscale("log")
        reach = 1.15 * max(np.abs(np.log(x)).max(), stats.norm.isf(0.005) * top * 0.75)
        ax.set(
            xlim=(np.exp(-reach), np.exp(reach)), ylim=(top, 0), xlabel="Hazard ratio",
            ylabel="Standard error of its logarithm",
        )  # fmt: skip
        ticks = [t for t in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if abs(np.log(t)) < reach]
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()
        ax.annotate(title, (0, 1), xycoords="axes fraction", xytext=(0, 6),
                    textcoords="offset points", fontweight="bold", fontsize=9.5)  # fmt: skip
        ax.set_ylabel("Standard error of its logarithm" if ax is axes[0][0] else "")
    return figure


def _numbers(ax: Any, x: Any, y: Any) -> None:
    """Number the points from the most precise on, since names would run into each other."""
    for rank, i in enumerate(np.argsort(y, kind="stable"), 1):
        # Right and left in turn: neighbours in precision often have one effect.
        side, align = ((5, -3), "left") if rank % 2 else ((-5, -3), "right")
        ax.annotate(
            str(rank), (x[i], y[i]), xytext=side, textcoords="offset points", fontsize=9,
            color=C.ink, ha=align,
        )  # fmt: skip


def incidence(
    ax: Any,
    curves: Mapping[str, CumulativeIncidence],
    *,
    ticks: Sequence[float],
    min_count: int = 0,
    first: float = 60,
    ylabel: str = "Cumulative incidence of relapse",
) -> None:
    """Draw cumulative incidences; of own patients only the points that may be shown.

    Parameters
    ----------
    curves : mapping
        Label to curve.
    min_count, first
        See `ballbook.own_effects.shown_months`; 0 draws steps in full.
    """
    for colour, (label, curve) in zip(C.cycle, curves.items(), strict=False):
        if min_count > 0:
            told = shown_incidence(curve, min_count, first)
            if told is None:
                ax.plot([], [], color=colour, label=f"{label}: too few to draw")
                continue
            ax.plot(
                told["months"], told["incidence"], color=colour, marker="o", markersize=3.5,
                label=label,
            )  # fmt: skip
            sides = [told[c].fillna(0).to_numpy(float) for c in ("months", "ci_low", "ci_high")]
            ax.fill_between(*sides, color=colour, alpha=0.14, linewidth=0)
            continue
        table = curve.table[curve.table["time"] <= ticks[-1]]
        names = ("time", "cumulative_incidence", "ci_low", "ci_high")
        time, level, low, high = (
            np.concatenate([[0.0], np.nan_to_num(table[c].to_numpy(float))]) for c in names
        )
        ax.step(time, level, where="post", color=colour, label=label)
        ax.fill_between(time, low, high, step="post", color=colour, alpha=0.14, linewidth=0)
    ax.set(xlim=(0, ticks[-1]), ylim=(0, None), xlabel="Time (months)", ylabel=ylabel)
    ax.set_xticks(list(ticks))
    ax.yaxis.set_major_formatter(lambda v, _: f"{100 * v:.0f}%")
    ax.grid(axis="y")
    ax.legend(loc="upper left")

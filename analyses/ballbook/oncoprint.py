"""The oncoprint: one column a patient, one row a gene, for open data only.

A column is a patient, so this drawing is never made of a reader's cohort. It is narrow, with type
of its full size, so that it can be read on a telephone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ballbook.cna import frequencies, waterfall
from ballbook.figures import C, panels


def draw(
    panels_of: Mapping[str, pd.DataFrame], genes: Mapping[str, str], *, width: float = 4.6
) -> Any:
    """Draw one panel a cohort below the other.

    Parameters
    ----------
    panels_of : mapping
        Title to calls: ``del``, ``wt`` or missing by gene, and ``<gene>_zygosity`` where known.
    genes : mapping
        Column to the gene's name, from top to bottom; a gene that a cohort lacks is left out there.
    width : float
        Inches.
    """
    given = {t: [g for g in genes if g in c] for t, c in panels_of.items()}
    heights = [0.75 + 0.2 * len(names) for names in given.values()]
    figure, axes = panels(
        len(given), 1, size=(width, sum(heights) + 0.35), squeeze=False, height_ratios=heights
    )
    for ax, (title, names) in zip(axes[:, 0], given.items(), strict=True):
        calls = panels_of[title]
        calls = calls.loc[waterfall(calls, names)]
        _panel(ax, calls, names)
        shares = frequencies(calls, names)
        ax.set_yticks(range(len(names)), [genes[g] for g in names])
        for i, (k, n) in enumerate(shares[["k", "n"]].to_numpy(dtype=int)):
            ax.text(
                1.02, i, f"{k}/{n}", transform=ax.get_yaxis_transform(), va="center", fontsize=9
            )
        ax.text(0, -1.15, title, fontsize=9.5, fontweight="bold", ha="left", va="center")
        ax.set(ylim=(len(names) - 0.45, -1.7), xlim=(-0.2, len(calls)), xticks=[])
        ax.tick_params(axis="y", length=0)
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)
    _legend(axes[-1, 0])
    return figure


def _panel(ax: Any, calls: pd.DataFrame, names: Sequence[str]) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    boxes: dict[str, list[Any]] = {"wt": [], "del": [], "hom": [], "": []}
    for i, gene in enumerate(names):
        zygosity = calls.get(f"{gene}_zygosity")
        for j, call in enumerate(calls[gene]):
            kind = call if call in {"del", "wt"} else ""
            if kind == "del" and zygosity is not None and zygosity.iloc[j] == "hom":
                kind = "hom"
            low, tall = (i - 0.4, 0.8) if kind else (i - 0.06, 0.12)
            boxes[kind].append(Rectangle((j, low), 0.86, tall))
    for kind, colour in COLOURS.items():
        ax.add_collection(PatchCollection(boxes[kind], facecolor=colour, linewidth=0))


COLOURS = {"wt": C.grid, "del": C.blue, "hom": C.orange, "": C.grey}
WORDS = {"del": "lost", "hom": "both copies", "wt": "kept", "": "not tested"}


def _legend(ax: Any) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=COLOURS[k], label=WORDS[k]) for k in WORDS]
    ax.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.45, -0.02), ncols=4, fontsize=9,
        handlelength=0.9, columnspacing=0.9, handletextpad=0.4,
    )  # fmt: skip

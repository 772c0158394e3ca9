"""Figures of cells: one colour a state, images that themes can change, and no lost points."""

from __future__ import annotations

import base64
import io
import re

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from PIL import Image

from ballbook import cell_figures, cell_states, figures, paths

figures.use_style()


def test_each_state_has_a_themed_colour_of_its_own() -> None:
    assert list(cell_figures.COLOURS) == list(cell_states.STATES)
    assert len(set(cell_figures.COLOURS.values())) == len(cell_states.STATES)
    assert set(cell_figures.COLOURS.values()) <= set(figures.THEMED.values())


def test_every_colour_of_the_palette_is_defined_in_every_theme() -> None:
    css = (paths.book() / "_static" / "ballbook.css").read_text(encoding="utf8")
    themes = css.count("--bb-paper:")
    assert themes == 4
    for name in figures.THEMED:
        assert css.count(f"--bb-{name}:") == themes, name


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("theme", [0, 1])
def test_data_colours_stand_out_against_the_page(theme: int) -> None:
    css = (paths.book() / "_static" / "ballbook.css").read_text(encoding="utf8")
    weights = np.array([0.2126, 0.7152, 0.0722])

    def luminance(name: str) -> float:
        return float(
            linear(re.findall(rf"--bb-{name}: (#[0-9a-f]{{6}})", css, re.I)[theme]) @ weights
        )

    paper = luminance("paper")
    for name in ("navy", "blue", "sky", "teal", "green", "olive", "orange", "red", "purple"):
        high, low = sorted((luminance(name), paper), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 3, name


def test_a_cloud_covers_its_points_and_nothing_else() -> None:
    figure, ax = figures.panels(size=(4, 3))
    ax.set(xlim=(0, 10), ylim=(0, 10))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    cell_figures.cloud(ax, [[2, 2], [8, 5]], colour=figures.C.blue, size=4)
    cell_figures.cloud(ax, [[5, 8]], colour=figures.C.red, size=4)
    assert ax.get_xlim() == (0, 10) and ax.get_ylim() == (0, 10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    seen = np.asarray(Image.open(buffer).convert("RGB")).astype(int)
    blue = (seen[..., 2] - seen[..., 0]) > 60
    red = (seen[..., 0] - seen[..., 2]) > 60
    at = ax.transData.transform([[2, 2], [8, 5], [5, 8]]) * 100 / figure.dpi
    for (x, y), hit in zip(at, (blue, blue, red), strict=True):
        assert hit[round(seen.shape[0] - y) - 1, round(x)]
    # Two dots of 4 points at 100 dpi.
    assert blue.sum() == pytest.approx(2 * np.pi * (4 / 72 * 100 / 2) ** 2, rel=0.35)


def test_images_of_points_follow_the_theme() -> None:
    rng = np.random.default_rng(1)
    xy = rng.normal(size=(3000, 2))
    labels = np.where(xy[:, 0] > 0, "Pro-B", "Myeloid").astype(object)
    labels[:5] = None
    figure = cell_figures.embedding({"all": (xy, labels)})
    drawing = figures.svg(figure, "map")
    assert drawing == figures.svg(figure, "map")
    inline = figures.themed(drawing, "map", "cells")
    assert inline.count("<mask") == 3 and inline.count("<image") == 3
    for name in ("sky", "red", "grid"):
        assert f'fill="var(--bb-{name}' in inline
    masks = set(re.findall(r'<mask id="([^"]+)"', inline))
    assert masks == set(re.findall(r"mask=\"url\(#([^)]+)\)\"", inline))
    assert "Pro-B" in inline and "Myeloid" in inline
    images = re.findall(r"data:image/png;base64,([^\"]+)\"", drawing)
    assert sum(len(base64.b64decode(i)) for i in images) < 200_000


def test_more_points_do_not_make_a_heavier_page() -> None:
    def weight(n: int) -> int:
        xy = np.random.default_rng(2).uniform(size=(n, 2))
        figure = cell_figures.embedding({"": (xy, np.full(n, "T and NK", dtype=object))})
        return len(figures.svg(figure, "weight"))

    assert weight(200_000) < 2 * weight(2_000)


@pytest.fixture
def cells() -> anndata.AnnData:
    x = scipy.sparse.csr_matrix([[0, 2.0, 1], [4, 0, 1], [0, 0, 1], [6, 2, 1]])
    return anndata.AnnData(x, var=pd.DataFrame(index=["A", "B", "C"]))


def test_summary_is_mean_and_share_by_group(cells: anndata.AnnData) -> None:
    groups = ["x", "x", "y", "y"]
    mean, share = cell_figures.summary(cells, groups, ["B", "A"], ["y", "none", "x"])
    assert list(mean.index) == ["y", "x"] and list(mean.columns) == ["B", "A"]
    assert mean.loc["x"].tolist() == [1.0, 2.0] and share.loc["x"].tolist() == [0.5, 0.5]
    assert mean.loc["y"].tolist() == [1.0, 3.0]
    mean, _ = cell_figures.summary(cells, groups, ["A", "C"], ["x", "y"])
    assert cell_figures.relative(mean)["A"].tolist() == [0.0, 1.0]
    assert cell_figures.relative(mean)["C"].tolist() == [0.0, 0.0]


def test_a_dot_plot_has_a_dot_for_each_group_and_gene(cells: anndata.AnnData) -> None:
    mean, share = cell_figures.summary(cells, ["x", "x", "y", "y"], ["A", "B", "C"], ["x", "y"])
    figure = cell_figures.dot_plot(mean, share)
    ax = figure.axes[0]
    rows = [c for c in ax.collections if len(c.get_offsets()) == 3]
    assert len(rows) == 2
    assert rows[0].get_sizes() == pytest.approx(130 * np.round(share.loc["x"] * 25) / 25)
    strength = [f[3] for f in rows[0].get_facecolors()]
    assert strength[0] == pytest.approx(0.08) and rows[1].get_facecolors()[0][3] == 1


def test_a_matrix_plot_leaves_empty_what_is_missing() -> None:
    values = pd.DataFrame([[0.1, np.nan], [1.0, 0.5]], index=["a", "b"], columns=["c", "d"])
    ax = cell_figures.matrix_plot(values, low=0, high=1, form=".0%").axes[0]
    assert [t.get_text() for t in ax.texts] == ["10%", "100%", "50%"]
    assert len(ax.patches) == 3


def test_bars_add_up_and_say_how_many_cells() -> None:
    shares = pd.DataFrame({"HSC/MPP": [0.25, 0.5], "Mature B": [0.75, 0.25]}, index=["one", "two"])
    ax = cell_figures.composition(shares, notes=["40 cells", "60 cells"]).axes[0]
    ends = [p.get_x() + p.get_width() for p in ax.patches]
    assert ends == pytest.approx([0.25, 0.5, 1.0, 0.75])
    assert [t.get_text() for t in ax.texts] == ["40 cells", "60 cells"]

"""Figures: what is drawn is what was computed, and a page can hold many of them."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ballbook import figures
from ballbook.cox import cox

figures.use_style()


@pytest.fixture
def fit() -> object:
    draw = np.random.default_rng(7)
    x = pd.DataFrame({"age": draw.normal(size=120), "mrd": draw.integers(0, 2, 120)})
    time = draw.exponential(np.exp(-0.7 * x["mrd"]))
    return cox(time, draw.random(120) < 0.8, x)


def test_schoenfeld_panels_show_every_event_and_the_fitted_constant(fit: object) -> None:
    figure = figures.schoenfeld(fit, {"age": "age", "mrd": "MRD"})  # type: ignore[arg-type]
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.texts[0].get_text() for ax in shown] == ["age", "MRD"]
    for ax, coefficient in zip(shown, fit.coef, strict=True):  # type: ignore[attr-defined]
        assert len(ax.collections[0].get_offsets()) == fit.n_events  # type: ignore[attr-defined]
        assert any(np.allclose(line.get_ydata(), coefficient) for line in ax.lines)


def test_a_themed_drawing_shares_a_page_with_others() -> None:
    figure, ax = figures.panels()
    ax.plot([0, 1], [0, 1], color=figures.C.blue)
    drawing = figures.themed(figures.svg(figure, "x"), "x", 'a "rising" line')
    ids = re.findall(r'\bid="([^"]+)"', drawing)
    assert ids and all(i.startswith("x-") for i in ids)
    assert "var(--bb-blue, #0072b2)" in drawing
    assert 'aria-label="a &quot;rising&quot; line"' in drawing
    assert "<style" not in drawing and "<metadata" not in drawing


def test_the_same_drawing_has_the_same_bytes() -> None:
    def draw() -> str:
        figure, ax = figures.panels()
        ax.fill_between([0, 1, 2], [1, 2, 3], hatch="//")
        return figures.svg(figure, "same")

    assert draw() == draw()


def test_a_png_of_few_colours_looks_as_the_drawing_does() -> None:
    figure, ax = figures.panels()
    ax.plot([0, 1], [0, 1], color=figures.C.blue)
    ax.fill_between([0, 1], [0, 1], alpha=0.2, color=figures.C.orange)
    full = io.BytesIO()
    figure.savefig(full, format="png", dpi=130, bbox_inches="tight", metadata={"Software": None})
    small = figures.png(figure)
    assert small == figures.png(figure) and len(small) < 0.7 * len(full.getvalue())
    with Image.open(full) as a, Image.open(io.BytesIO(small)) as b:
        gap = np.subtract(a.convert("RGB"), b.convert("RGB"), dtype=int)
    assert gap.shape[2] == 3 and np.quantile(np.abs(gap), 0.99) <= 8

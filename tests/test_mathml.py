"""Formulae become MathML, or an error: never half of either."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from ballbook.mathml import to_mathml

FORMULAE = [
    r"\hat S(t) = \prod_{t_i \le t} \left(1 - \frac{d_i}{n_i}\right)",
    r"\log\frac{\Pr(Y \le j)}{\Pr(Y > j)} = \alpha_j - \mathbf{x}^\top \boldsymbol{\beta}",
    r"b = \frac{1}{10} \sum_{x=1}^{5} (x - 3)\, y_x",
    r"\begin{aligned} a &= b \\ c &= d \end{aligned}",
    r"f(x) = \begin{cases} 1 & x > 0 \\ 0 & \text{otherwise} \end{cases}",
    r"\widehat{\mathrm{HR}} = \exp(\hat\beta), \quad \operatorname{logit} p = \eta",
    r"\arg\max_a \; u(a)",
]


@pytest.mark.parametrize("tex", FORMULAE)
def test_a_formula_is_well_formed_and_keeps_its_source(tex: str) -> None:
    root = ElementTree.fromstring(to_mathml(tex, block=True))
    assert root.tag == "math"
    assert root.get("display") == "block"
    assert root.get("alttext") == " ".join(tex.split())
    assert "\\" not in "".join(root.itertext())


def test_aligned_rows_become_rows_without_numbers() -> None:
    root = ElementTree.fromstring(to_mathml(r"\begin{align} a &= b \\ c &= d \end{align}"))
    assert len(root.findall(".//mtr")) == 2
    assert "(1)" not in "".join(root.itertext())


def test_bold_greek_keeps_its_weight_without_mathvariant() -> None:
    html = to_mathml(r"\boldsymbol{\beta}")
    assert "\U0001d737" in html
    assert not re.search(r'mathvariant="bold', html)


@pytest.mark.parametrize("tex", [r"\nosuchcommand{x}", r"\frac{1", r"a & b"])
def test_what_cannot_be_converted_is_refused(tex: str) -> None:
    with pytest.raises(ValueError, match="cannot convert"):
        to_mathml(tex)

"""TeX formulae as MathML, which browsers draw without script, font or network."""

from __future__ import annotations

import re
from html import escape

# latex2mathml numbers the rows of `align` and does not know its inner forms.
_ALIGNED = re.compile(r"\\(begin|end)\{(?:aligned|align|split|gather|gathered)\*?\}")
# Named operators that it leaves as they are written.
_OPERATORS = re.compile(r"\\(arg|logit|expit|Var|Cov|sd|se)(?![A-Za-z])")
_LEFT_OVER = re.compile(r"\\[A-Za-z]+|<mi>&(?:amp;)?</mi>")
# Browsers keep `mathvariant` for upright letters only; bold ones have code points of their own.
_BOLD_ITALIC = re.compile(r'<mi mathvariant="bold-italic">(.)</mi>')
_BOLD = re.compile(r'<mi mathvariant="bold">(.)</mi>')


def to_mathml(tex: str, *, block: bool = False) -> str:
    """Return `tex` as one ``<math>`` element that carries its source in ``alttext``.

    Parameters
    ----------
    tex : str
        TeX mathematics without its delimiters.
    block : bool
        Whether the formula stands on its own line.

    Raises
    ------
    ValueError
        When a command is not understood.
    """
    from latex2mathml.converter import convert

    bare = tex.replace(r"\{", "").replace(r"\}", "")
    if bare.count("{") != bare.count("}"):
        raise ValueError(f"cannot convert {tex!r}: braces are not balanced")
    source = _ALIGNED.sub(r"\\\1{align*}", tex.strip())
    source = _OPERATORS.sub(r"\\operatorname{\1}", source)
    try:
        html = convert(source, display="block" if block else "inline")
    except Exception as error:  # the converter raises many kinds, all meaning the same
        raise ValueError(f"cannot convert {tex!r}: {error!r}") from error
    html = html.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "", 1)
    html = re.sub(r"&#x([0-9A-Fa-f]+);", lambda m: escape(chr(int(m.group(1), 16))), html)
    left_over = _LEFT_OVER.search(html)
    if left_over:
        raise ValueError(f"cannot convert {tex!r}: {left_over.group()} is not understood")
    html = _BOLD_ITALIC.sub(_bold_italic, html)
    html = _BOLD.sub(r'<mi style="font-weight: bold">\1</mi>', html)
    return html.replace("<math ", f'<math alttext="{escape(" ".join(tex.split()))}" ', 1)


def _bold_italic(match: re.Match[str]) -> str:
    letter = match.group(1)
    for first, start, length in (("A", 0x1D468, 26), ("a", 0x1D482, 26), ("α", 0x1D736, 25)):
        shift = ord(letter) - ord(first)
        if 0 <= shift < length:
            return f"<mi>{chr(start + shift)}</mi>"
    return f'<mi style="font-weight: bold">{letter}</mi>'

"""A small book of simulated cohorts, written into an empty folder.

Speed and faults of the engine are measured on books of any number of pages that need no data:
each page draws its own patients and does what most pages do (Kaplan-Meier, Cox, one figure, one
table, estimates, a verdict). ``python -m ballbook.small_book FOLDER --pages 12`` writes one;
``BALLBOOK_HOME=FOLDER ballbook build`` builds it with the library at hand, which is linked and not
copied.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from ballbook import paths, text_notebook

CHAPTER = "small"
# Of the real book: what a page looks like and how it is set.
TAKEN = ("_config.yml", "book/_ext", "book/_static", "env/lock.txt")
# Linked: a small book is made of the code that wrote it.
LINKED = ("analyses/ballbook", "analyses/Snakefile")

CATALOGUE = "# A small book draws its patients.\ndatasets: []\n"

INDEX = """\
# A small book

Simulated cohorts: this book measures the engine and says nothing of any disease.

## Findings

```{include} _generated/findings.md
```
"""

READING = """\
# How to read a page

Every verdict is a *method check*: the patients are drawn by a seeded generator.
"""

REFERENCES = """\
# References

```{bibliography}
:all:
```
"""

LIBRARY = """\
@misc{small-book,
  organization = {ballbook},
  title = {A small book of simulated cohorts},
  year = {2026}
}
"""

NOTEBOOK = (
    text_notebook.HEADER
    + """\
ballbook:
  slug: @SLUG@
  chapter: @CHAPTER@
  title: Simulated cohort @NUMBER@
  finding: The treated of simulated cohort @NUMBER@ do better.
  source: small-book
  data: []
  headline: [@SLUG@-treated]
---

# Simulated cohort @NUMBER@

**The finding.** The treated do better, because they were drawn so {cite:p}`small-book`.

```{code-cell} python
:tags: [parameters]

seed: int = @SEED@  # seed of the patients [>= 0, <= 4294967295]
patients: int = @PATIENTS@  # patients drawn [>= 20, <= 10000000]
ratio: float = 0.6  # hazard ratio of the treatment [> 0, < 10]
```

```{code-cell} python
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ballbook import figures, gates
from ballbook.cox import cox
from ballbook.notebook import open_page
from ballbook.survival import kaplan_meier_by, logrank

page = open_page("@SLUG@", globals())
page.answer()
```

## Data

Times are exponential, $h(t) = h_0 \\exp(\\beta^\\top x)$, and are given in tenths of a month.

```{code-cell} python
rng = np.random.default_rng(seed)
drawn = pd.DataFrame(
    {
        "treated": rng.integers(0, 2, patients),
        "age": rng.normal(0, 1, patients).round(2),
        "white_count": rng.normal(0, 1, patients).round(2),
    }
)
risk = np.log(ratio) * drawn["treated"] + 0.2 * drawn["age"] + 0.3 * drawn["white_count"]
months = rng.exponential(60 / np.exp(risk))
end = rng.uniform(24, 84, patients)
drawn["months"] = np.maximum(np.minimum(months, end).round(1), 0.1)
drawn["event"] = months <= end
page.flow([("patients drawn", patients), ("with follow-up", len(drawn))], title="Simulation")
```

## Result

```{code-cell} python
arm = drawn["treated"].map({0: "control", 1: "treated"})
curves = kaplan_meier_by(drawn["months"], drawn["event"], arm)
for name, curve in curves.items():
    page.record(curve.at(36), id=f"survival-{name}", label=f"Survival, {name}", tier="simulated")
test = logrank(drawn["months"], drawn["event"], arm)
page.record(test, id="logrank", label="Log-rank test", tier="simulated")
fig, ax = plt.subplots(figsize=(7, 4.2))
figures.survival(ax, curves, horizon=72, ticks=[0, 12, 24, 36, 48, 60, 72])
told = pd.concat({k: c.table for k, c in curves.items()}, names=["arm"]).reset_index(level=0)
page.figure(
    fig, "survival", data=told, caption="Survival of the two arms with 95% intervals.",
    alt="Kaplan-Meier curves of the treated and of the others.",
)
```

```{code-cell} python
fit = cox(drawn["months"], drawn["event"], drawn[["treated", "age", "white_count"]])
for name in fit.terms:
    page.record(
        fit.hazard_ratio(name), id=f"cox-{name.replace('_', '-')}", label=f"Cox: {name}",
        tier="simulated",
    )
page.table(fit.table, "cox", caption="The Cox model, log hazard ratios.")
page.estimates(caption="What was estimated.")
```

## Gates

```{code-cell} python
page.gate(gates.proportional_hazards(fit))
page.gate(gates.events_per_variable(int(drawn["event"].sum()), len(fit.terms)))
page.gates()
```

## Verdict

```{code-cell} python
page.judge("@SLUG@-treated", "cox-treated")
page.claims()
page.close(
    f"Among {patients:,} simulated patients the hazard ratio of treatment is "
    f"{page.estimates_by_id['cox-treated']}.",
    certainty="Simulated: a check of the method.",
)
```
"""
)


def slug_of(number: int) -> str:
    """Return the slug of page `number`, counted from 1."""
    return f"cohort-{number:03d}"


def write(home: Path, pages: int, *, patients: int = 300) -> list[str]:
    """Write a book of that many pages and return their slugs.

    Parameters
    ----------
    home : Path
        An empty folder, or one to be made: the ``BALLBOOK_HOME`` of the small book.
    pages : int
    patients : int
        Drawn on each page, as the default of the page's parameter.

    Raises
    ------
    ValueError
        If the folder holds something, or no page is asked for.
    """
    if pages < 1:
        raise ValueError(f"{pages} pages are no book")
    if home.exists() and any(home.iterdir()):
        raise ValueError(f"{home} is not empty; choose another folder")
    real, home = paths.root(), home.resolve()
    for name in TAKEN:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        if (real / name).is_dir():
            shutil.copytree(real / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(real / name, home / name)
    for name in LINKED:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        if (real / name).exists():
            (home / name).symlink_to((real / name).resolve())
    slugs = [slug_of(i) for i in range(1, pages + 1)]
    texts = {
        "data/catalog.yml": CATALOGUE,
        "data/claims/small-book.yml": claims_of(slugs),
        "data/recorded/ledger.csv": ledger_of(slugs),
        "book/_toc.yml": contents_of(slugs),
        "book/index.md": INDEX,
        "book/how-to-read.md": READING,
        "book/references.md": REFERENCES,
        "book/references.bib": LIBRARY,
    }
    for number, slug in enumerate(slugs, 1):
        texts[f"analyses/{CHAPTER}/{slug}.md"] = notebook(number, patients)
    for name, text in texts.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text, encoding="utf8")
    return slugs


def source_of(home: Path, slug: str) -> Path:
    """Return the file of a page."""
    return home / "analyses" / CHAPTER / f"{slug}.md"


def notebook(number: int, patients: int) -> str:
    """Return the text notebook of page `number`."""
    values = {
        "SLUG": slug_of(number), "CHAPTER": CHAPTER, "NUMBER": number, "SEED": number,
        "PATIENTS": patients,
    }  # fmt: skip
    text = NOTEBOOK
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def claims_of(slugs: list[str]) -> str:
    """Return the file of claims: one a page, that the treated do better."""
    rows = [
        f"  - id: {slug}-treated\n    locator: The simulation\n"
        f"    statement: The treated of {slug} have the lower hazard.\n    kind: direction\n"
        f"    direction: below\n    tier: simulated\n    analysis: {slug}\n"
        for slug in slugs
    ]
    return "source: small-book\nclaims:\n" + "".join(rows)


def ledger_of(slugs: list[str]) -> str:
    """Return the recorded ledger: simulated patients can only check a method."""
    rows = [f"{slug}-treated,{slug},method-check,simulated\n" for slug in slugs]
    return "id,analysis,verdict,tier\n" + "".join(rows)


def contents_of(slugs: list[str]) -> str:
    """Return the table of contents."""
    pages = [f"      - file: {CHAPTER}/{slug}\n" for slug in slugs]
    ends = [f"      - file: {name}\n" for name in ("ledger", "data", "references")]
    return (
        "format: jb-book\nroot: index\nparts:\n"
        "  - caption: Start here\n    chapters:\n      - file: how-to-read\n"
        f"  - caption: Simulated cohorts\n    chapters:\n{''.join(pages)}"
        f"  - caption: Reference\n    chapters:\n{''.join(ends)}"
    )


def main() -> None:
    """Write a small book."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", type=int, default=12)
    parser.add_argument("--patients", type=int, default=300)
    given = parser.parse_args()
    write(given.folder, given.pages, patients=given.patients)
    print(f"BALLBOOK_HOME={given.folder} ballbook build")


if __name__ == "__main__":
    main()

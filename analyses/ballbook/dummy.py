"""Dummy cohorts: invented patients of the right shape, drawn to the margins that the papers print.

``data/dictionaries/dummy.yml`` says, for each column of each analysis, from which distribution it
is drawn and where its numbers come from: a claim, a cell of a published table, or invented. Every
patient id starts with `MARK`; `ballbook.cohort.read_cohort` knows a dummy cohort by it, and a page
then gives no verdict but ``method-check``.

Each column is drawn from a stream of its own (`numpy.random.default_rng` seeded by the seed, the
analysis and the column), so that one more column leaves the others as they were. Times are
exponential: with survival :math:`s` at time :math:`t`, the rate is :math:`-\\log(s)/t`; with median
:math:`m`, :math:`\\log(2)/m`. Follow-up ends at a uniformly drawn month.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ballbook import needs, paths, yaml_files
from ballbook.cohort import DUMMY as MARK
from ballbook.dictionaries import Column, dictionary
from ballbook.errors import Refusal

MAX_PATIENTS = 100_000
# A matrix of counts grows with both sides; beyond this a dummy teaches nothing more.
MAX_EXPRESSION_PATIENTS = 2_000
MAX_DUMMY_CELLS = 20_000
# What a matrix of counts shows of its shape where the genes of a score are not called for.
SHAPE_GENES = (
    "PAX5", "IKZF1", "EBF1", "CD19", "MS4A1", "CD34", "DNTT", "MEF2C", "FLT3", "KMT2A",
)  # fmt: skip
# Natural-log spread of a gene between patients, and what one unit of the score shifts a stage by.
GENE_SPREAD, SHIFT = 0.8, 3.0
# How far the genes of a subtype's set lie from where they lie in others.
SUBTYPE_SHIFT = 0.8
# By how much a coefficient of 1 raises the log of its gene where what it follows is 1.
MODEL_SHIFT = 3.0


class InvalidDummy(Refusal, ValueError):
    """A dummy cohort was asked for that cannot be made."""


@dataclass(frozen=True)
class Margin:
    """One declared property of a drawn column, to be seen again in any large draw.

    Attributes
    ----------
    column : str
        The column, or the stem of ``<stem>_months`` and ``<stem>_event``.
    given : tuple of (column, values)
        The patients it holds for: those whose column is one of the values.
    words : str
        The property in words.
    expected : float
        A probability: the fraction, of those with a value, that is `word` or lies in `bounds`
        (the first included); or, with `months`, the fraction without the event then.
    sources : tuple of str
        Claims or published tables behind it; empty where it is invented.
    """

    column: str
    given: tuple[tuple[str, tuple[str, ...]], ...]
    words: str
    expected: float
    sources: tuple[str, ...]
    word: str | None = None
    bounds: tuple[float, float] | None = None
    months: float | None = None

    def of(self, patients: pd.DataFrame) -> pd.DataFrame:
        """Return the patients that the margin holds for and that have a value."""
        keep = pd.Series(True, index=patients.index)
        for column, values in self.given:
            keep &= patients[column].isin(values)
        column = self.column if self.months is None else f"{self.column}_months"
        return patients[keep & (patients[column] != "")]

    def drawn(self, patients: pd.DataFrame) -> tuple[float, float]:
        """Return what a draw gives instead of `expected`, and its standard error if it holds."""
        from ballbook.survival import kaplan_meier

        found = self.of(patients)
        n = max(len(found), 1)
        error = math.sqrt(self.expected * (1 - self.expected) / n)
        if self.months is not None:
            curve = kaplan_meier(
                found[f"{self.column}_months"].astype(float),
                found[f"{self.column}_event"].astype(int),
            )
            past = curve.table[curve.table["time"] <= self.months]
            if past.empty:
                return 1.0, error
            return float(past["survival"].iloc[-1]), max(error, float(past["std_error"].iloc[-1]))
        if self.bounds is not None:
            low, high = self.bounds
            value = found[self.column].astype(float)
            return float(((value >= low) & (value < high)).mean()), error
        inside = found[self.column] == self.word
        return float(inside.mean()), error


# ------------------------------------------------------------------------------ what is declared


@cache
def declared() -> dict[str, dict[str, Any]]:
    """Return the distributions of every analysis, and ``usual`` for all, by column."""
    path = paths.data() / "dictionaries" / "dummy.yml"
    found: dict[str, dict[str, Any]] = yaml_files.read(path)
    return found


def distribution(slug: str, column: str) -> dict[str, Any]:
    """Return the distribution of a column: the analysis's own, the usual, or by its type."""
    name, known = _stem(column), declared()
    found: dict[str, Any] | None = known.get(slug, {}).get(name) or known["usual"].get(name)
    return found or _by_type(column)


def _by_type(name: str) -> dict[str, Any]:
    if _stem(name) != name:
        return {
            "time": {"median": {"invented": 40}},
            "followed": [{"invented": 12}, {"invented": 90}],
        }
    if name.startswith("mrd_"):
        return {"mrd": {k: {"invented": v} for k, v in
                        {"positive": 0.4, "median": 0.001, "spread": 1.5}.items()}}  # fmt: skip
    column = dictionary("patients").find(name) or Column(name, "flag", "")
    if column.type in {"number", "integer"}:
        middle = float(column.example or 1)
        found: dict[str, Any] = {
            "lognormal": {"median": {"invented": middle}, "spread": {"invented": 0.5}}
        }
        return found | ({"high": column.maximum} if column.maximum is not None else {})
    words = {"flag": ("1", "0"), "deletion": ("del", "wt")}.get(column.type, column.allowed)
    if not words:
        return {"constant": column.example}
    return {"counts": {word: {"invented": 1} for word in words}}


def number(leaf: Any) -> float:
    """Return a declared number.

    Raises
    ------
    InvalidDummy
        If no claim, or not exactly one cell of a published table, is meant.
    """
    from ballbook import claims, datasets

    if isinstance(leaf, (int, float)):
        return float(leaf)
    if "invented" in leaf:
        return float(leaf["invented"])
    if "claim" in leaf:
        claim = claims.read().get(leaf["claim"])
        if claim is None or claim.value is None:
            raise InvalidDummy(f"dummy.yml: no claim {leaf['claim']!r} with a value")
        field = leaf.get("field", "value")
        if field == "years":
            found = re.fullmatch(r"at ([\d.]+) years?", claim.unit or "")
            return float(found[1]) if found else math.nan
        return float(claim.n or math.nan) if field == "n" else float(claim.value)
    table = datasets.published(leaf["published"])
    for column, value in leaf["where"].items():
        table = table[table[column].astype(str) == str(value)]
    if len(table) != 1:
        raise InvalidDummy(f"dummy.yml: {leaf['where']} is {len(table)} rows, expected one")
    return float(table[leaf["column"]].iloc[0]) * (0.01 if leaf.get("percent") else 1)


def _source(*leaves: Any) -> tuple[str, ...]:
    found = []
    for leaf in leaves:
        if isinstance(leaf, Mapping) and "claim" in leaf:
            found.append(f"claim {leaf['claim']}")
        elif isinstance(leaf, Mapping) and "published" in leaf:
            where = ", ".join(str(v) for v in leaf["where"].values())
            found.append(f"{leaf['published']}: {where}")
    return tuple(dict.fromkeys(found))


def _shares(spec: Mapping[str, Any]) -> dict[str, float]:
    """Return the probability of each word of ``shares`` or ``counts``."""
    if "counts" in spec:
        counts = {str(word): number(leaf) for word, leaf in spec["counts"].items()}
        return {word: count / sum(counts.values()) for word, count in counts.items()}
    known = {str(w): number(leaf) for w, leaf in spec["shares"].items() if leaf != "rest"}
    left = 1 - sum(known.values())
    return {str(word): known.get(str(word), left) for word in spec["shares"]}


def _rate(time: Mapping[str, Any]) -> float:
    """Return the monthly rate of an exponential time."""
    if "median" in time:
        return math.log(2) / number(time["median"])
    return -math.log(number(time["alive"])) / (12 * number(time["at_years"]))


# -------------------------------------------------------------------------------------- the draw


def _stem(column: str) -> str:
    """Return ``efs`` of ``efs_months`` and ``efs_event``; other names as they are."""
    for ending in ("_months", "_event"):
        if column.endswith(ending) and dictionary("patients").find(column) is None:
            return column.removesuffix(ending)
    return column


class _Draw:
    """Columns drawn for the patients of one cohort, each once."""

    def __init__(self, slug: str, n: int, seed: int) -> None:
        self.slug, self.n, self.seed = slug, n, seed
        self.done: dict[str, pd.Series] = {}

    def rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *f"{self.slug}/{name}".encode()])

    def column(self, name: str) -> pd.Series:
        """Return a column as text, blank where there is no value."""
        stem = _stem(name)
        if stem != name and name not in self.done:
            both = self.draw(distribution(self.slug, name), self.rng(stem))
            self.done[f"{stem}_months"] = both.str.partition("|")[0]
            self.done[f"{stem}_event"] = both.str.partition("|")[2]
        elif name not in self.done:
            self.done[name] = self.draw(distribution(self.slug, name), self.rng(name))
        return self.done[name]

    def draw(self, spec: Mapping[str, Any], rng: np.random.Generator) -> pd.Series:
        """Draw one distribution for all patients; times come as ``months|event``."""
        text = self._drawn(spec, rng)
        if "blank" in spec:
            text = text.mask(rng.random(self.n) < number(spec["blank"]), "")
        return text

    def _drawn(self, spec: Mapping[str, Any], rng: np.random.Generator) -> pd.Series:
        if "given" in spec:
            by = self.column(spec["given"])
            other = spec.get("else", {"constant": ""})
            text = self.draw(other, rng)
            for value, inner in spec["is"].items():
                text = text.where(by != str(value), self.draw(inner, rng))
            return text
        if "constant" in spec:
            return pd.Series([str(spec["constant"])] * self.n, dtype=object)
        if "shares" in spec or "counts" in spec:
            shares = _shares(spec)
            drawn = rng.choice(list(shares), self.n, p=list(shares.values()))
            return pd.Series(drawn.astype(object))
        if "time" in spec:
            low, high = map(number, spec["followed"])
            time = rng.exponential(1 / _rate(spec["time"]), self.n)
            end = rng.uniform(low, high, self.n)
            both = zip(time, end, strict=True)
            return pd.Series([f"{min(t, e):.2f}|{int(t <= e)}" for t, e in both], dtype=object)
        if "mrd" in spec:
            level = _lognormal(spec["mrd"], rng, self.n)
            positive = rng.random(self.n) >= _negative(spec["mrd"])
            found = zip(level, positive, strict=True)
            words = [f"{min(v, 1):.2g}" if p else "negative" for v, p in found]
            return pd.Series(words, dtype=object)
        values = self._numbers(spec, rng)
        low, high = (number(spec.get(k, math.inf * s)) for k, s in (("low", -1), ("high", 1)))
        decimals = int(spec.get("decimals", 2))
        return pd.Series([f"{v:.{decimals}f}" for v in values.clip(low, high)], dtype=object)

    def _numbers(self, spec: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        if "lognormal" in spec:
            return _lognormal(spec["lognormal"], rng, self.n)
        if "normal" in spec:
            at = {k: number(v) for k, v in spec["normal"].items()}
            return rng.normal(at["mean"], at["sd"], self.n)
        bands = spec["bands"]
        counts = np.array([number(b["count"]) for b in bands])
        which = rng.choice(len(bands), self.n, p=counts / counts.sum())
        low, high = (np.array([number(b[k]) for b in bands])[which] for k in ("low", "high"))
        # Two decimals, rounded down, stay inside their band.
        return np.floor(100 * rng.uniform(low, high)) / 100


def _negative(mrd: Mapping[str, Any]) -> float:
    """Return the share without MRD, given as such or as what is left of those with it."""
    return number(mrd["negative"]) if "negative" in mrd else 1 - number(mrd["positive"])


def _lognormal(spec: Mapping[str, Any], rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.lognormal(math.log(number(spec["median"])), number(spec["spread"]), n)


def _ids(n: int) -> list[str]:
    return [f"{MARK}{i:04d}" for i in range(1, n + 1)]


def patients(slug: str, columns: Any, n: int, seed: int) -> pd.DataFrame:
    """Return `n` invented patients, each cell as text.

    Parameters
    ----------
    columns : iterable of str
        Columns of the patients table; ``patient_id`` comes first in any case.
    """
    draw = _Draw(slug, n, seed)
    found = {"patient_id": pd.Series(_ids(n))}
    found |= {name: draw.column(name) for name in columns if name != "patient_id"}
    return pd.DataFrame(found)


def expression(slug: str, n: int, seed: int) -> pd.DataFrame:
    """Return counts, genes by patients, in which the declared score varies between patients.

    Raises
    ------
    Unavailable
        If the gene sets of the score cannot be had.
    """
    from ballbook import datasets
    from ballbook.maturity import B_STAGES

    spec = declared().get(slug, {}).get("expression")
    if spec is None:
        return shape_expression(slug, n, seed)
    draw = _Draw(slug, n, seed)
    if "subtypes" in spec:
        return _subtype_expression(draw, spec)
    if "model" in spec:
        return _model_expression(draw, spec)
    if "regulons" in spec:
        return _regulon_expression(draw, spec)
    stages = datasets.load(spec["stages"])
    follows = draw.column(spec["follows"]).astype(float).to_numpy()
    genes: dict[str, float] = {}
    for place, stage in zip(np.linspace(-1, 1, len(B_STAGES)), B_STAGES, strict=True):
        for sign, part in zip((1, -1), stages.sets[stage], strict=True):
            for gene in part:
                genes[gene] = genes.get(gene, 0.0) + sign * float(place)
    others = [g for g in stages.background if g not in genes][: int(spec["others"])]
    genes |= dict.fromkeys(others, 0.0)
    shift = SHIFT * np.outer(list(genes.values()), follows)
    return _counts(shift, tuple(genes), draw.rng("expression"))


def _subtype_expression(draw: _Draw, spec: Mapping[str, Any]) -> pd.DataFrame:
    """Return counts in which the gene set of each patient's subtype stands out."""
    from ballbook import datasets

    known, real = datasets.subtypes(), datasets.load(spec["levels"])
    assert real.expression is not None
    # Genes at their levels in real samples: a caller takes nothing else for a leukaemia.
    level = np.log(datasets.with_symbols(real.expression, known) + 0.5).mean(axis=1)
    word = dict(zip(known.sets, map(datasets.subtype_word, known.sets), strict=True))
    follows = draw.column(spec["follows"]).to_numpy()
    named = {g for parts in known.sets.values() for part in parts for g in part} & set(level.index)
    others = [g for g in known.background if g in level.index and g not in named]
    genes = (*sorted(named), *others[:: max(len(others) // int(spec["others"]), 1)])
    place = {gene: i for i, gene in enumerate(genes)}
    shift = np.zeros((len(genes), draw.n))
    for subtype, parts in known.sets.items():
        of = follows == word[subtype]
        for sign, part in zip((1, -1), parts, strict=True):
            rows = np.array([place[g] for g in part if g in place], dtype=int)
            shift[np.ix_(rows, np.flatnonzero(of))] += sign * SUBTYPE_SHIFT
    return _counts(shift, genes, draw.rng("expression"), level[list(genes)].to_numpy())


def _model_expression(draw: _Draw, spec: Mapping[str, Any]) -> pd.DataFrame:
    """Return counts whose genes follow the coefficients of a model of BCR::ABL1 classes."""
    from ballbook import datasets
    from ballbook.ph_subtypes import INTERCEPT

    beta = datasets.bcrabl1_models().coefficients[spec["model"]].drop(INTERCEPT)
    stages = datasets.stages()
    named = {g for parts in stages.sets.values() for part in parts for g in part} - set(beta.index)
    others = [g for g in stages.background if g not in named and g not in beta.index]
    genes = (*beta.index, *sorted(named), *others[: int(spec["others"])])
    weight = np.concatenate([beta.to_numpy(), np.zeros(len(genes) - len(beta))])
    shift = MODEL_SHIFT * np.outer(weight, draw.column(spec["follows"]).astype(float))
    return _counts(shift, genes, draw.rng("expression"))


def _regulon_expression(draw: _Draw, spec: Mapping[str, Any]) -> pd.DataFrame:
    """Return counts in which a factor and its targets follow a column (natural logarithms)."""
    from ballbook import datasets

    table = datasets.load("dorothea-regulons").table
    mine = table[table["source"] == spec["factor"]]
    weights = {str(spec["factor"]): 1.0, **dict(zip(mine["target"], mine["weight"], strict=True))}
    unmoved = [*spec["besides"], *datasets.stages().background]
    others = [g for g in dict.fromkeys(unmoved) if g not in weights]
    genes = (*weights, *others[: int(spec["others"])])
    weight = np.concatenate([list(weights.values()), np.zeros(len(genes) - len(weights))])
    shift = np.outer(weight, draw.column(spec["follows"]).astype(float))
    return _counts(shift, genes, draw.rng("expression"))


def shape_expression(slug: str, n: int, seed: int = 0) -> pd.DataFrame:
    """Return counts of a few genes, which show the shape of a matrix and give no score."""
    shift = np.zeros((len(SHAPE_GENES), n))
    return _counts(shift, SHAPE_GENES, _Draw(slug, n, seed).rng("expression"))


def _counts(
    shift: np.ndarray, genes: tuple[str, ...], rng: np.random.Generator, level: Any = None
) -> pd.DataFrame:
    """Return Poisson counts of log-normal rates, each gene at its own level, shifted as told.

    Levels are natural logarithms; drawn when not given.
    """
    usual = rng.normal(6, 1, (len(genes), 1)) if level is None else np.asarray(level)[:, None]
    rate = np.exp(usual + shift + rng.normal(0, GENE_SPREAD, shift.shape))
    counts = rng.poisson(rate.clip(0, 1e6))
    return pd.DataFrame(counts, index=pd.Index(genes, name="gene"), columns=_ids(shift.shape[1]))


# ----------------------------------------------------------------------------------- the margins


def margins(slug: str, columns: Any) -> list[Margin]:
    """Return the properties that the declared distributions give to the columns of `slug`."""
    by_stem = {_stem(name): name for name in columns if name != "patient_id"}
    return [m for s, c in by_stem.items() for m in _margins(s, distribution(slug, c), ())]


def _margins(
    name: str, spec: Mapping[str, Any], given: tuple[tuple[str, tuple[str, ...]], ...]
) -> Iterator[Margin]:
    if "given" in spec:
        for value, inner in spec["is"].items():
            yield from _margins(name, inner, (*given, (spec["given"], (str(value),))))
        return
    if "shares" in spec or "counts" in spec:
        kind = "shares" if "shares" in spec else "counts"
        leaves = spec[kind]
        for word, share in _shares(spec).items():
            alone = kind == "shares" and leaves[word] != "rest"
            source = _source(*([leaves[word]] if alone else leaves.values()))
            yield Margin(name, given, word, share, source, word=word)
    elif "time" in spec:
        time = spec["time"]
        if "median" in time:
            at = number(time["median"])
            share, leaf = 0.5, time["median"]
        else:
            at = 12 * number(time["at_years"])
            share, leaf = number(time["alive"]), time["alive"]
        words = f"no event by {at:g} months"
        yield Margin(name, given, words, share, _source(leaf), months=at)
    elif "mrd" in spec:
        mrd = spec["mrd"]
        source = _source(mrd.get("negative", mrd.get("positive")))
        yield Margin(name, given, "negative", _negative(mrd), source, word="negative")
    elif "bands" in spec:
        counts = [number(b["count"]) for b in spec["bands"]]
        source = _source(*(b["count"] for b in spec["bands"]))
        for band, count in zip(spec["bands"], counts, strict=True):
            low, high = number(band["low"]), number(band["high"])
            words, share = f"from {low:g} to below {high:g}", count / sum(counts)
            yield Margin(name, given, words, share, source, bounds=(low, high))
    elif "normal" in spec or "lognormal" in spec:
        leaf = spec["normal"]["mean"] if "normal" in spec else spec["lognormal"]["median"]
        middle = number(leaf)
        below = (-math.inf, middle)
        yield Margin(name, given, f"below {middle:g}", 0.5, _source(leaf), bounds=below)


# ------------------------------------------------------------------------------------- the folder


def columns_of(slug: str) -> list[str]:
    """Return the columns of a dummy of `slug`: the template's, less what its matrix gives."""
    from ballbook import templates

    wanted = list(templates.columns(slug))
    if has_expression(slug):
        instead = {a for need in needs.of(slug) if "expression" in need.any for a in need.any}
        wanted = [c for c in wanted if f"patients.{c}" not in instead]
    return wanted


def serial(slug: str, n: int, seed: int) -> dict[str, pd.DataFrame]:
    """Return the tables variants, sites and samples: one lineage that grows from sample to sample.

    Sample i of n has it in :math:`(i/n)^g` of the last share, g as declared; each patient's row
    stands for one sample, and controls follow them. Sites have two copies.
    """
    spec = declared().get(slug, {}).get("variants") or declared()["usual"]["variants"]
    rng = _Draw(slug, n, seed).rng("variants")
    controls, sites = int(number(spec["controls"])), int(number(spec["sites"]))
    names = [*_ids(n), *(f"CONTROL-{j}" for j in range(1, controls + 1))]
    place = (np.arange(n) + 0.5) / n
    vaf = np.append(number(spec["last"]) * place ** number(spec["growth"]), np.zeros(controls))
    error = number(spec["error"])
    depth = rng.poisson(number(spec["depth"]), (sites, len(names)))
    alt = rng.binomial(depth, vaf * (1 - error) + (1 - vaf) * error)
    pos = np.sort(rng.choice(np.arange(1_000, 48_000_000), sites, replace=False))
    ref = rng.choice(list("ACGT"), sites)
    turned = dict(zip("ACGT", "GTAC", strict=True))
    loci = pd.DataFrame(
        {
            "chrom": [f"chr{1 + i % 20}" for i in range(sites)], "pos": pos, "ref": ref,
            "alt": [turned[r] for r in ref],
        }
    )  # fmt: skip
    rows = loci.loc[np.repeat(np.arange(sites), len(names))].reset_index(drop=True)
    rows["sample"] = names * sites
    rows["alt_reads"], rows["depth"] = alt.ravel(), depth.ravel()
    rows["copy_number"] = 2
    samples = pd.DataFrame({"sample": names})
    days: list[Any] = [30 * i for i in range(n)]
    samples["day"] = days + [""] * controls
    samples["control"] = [0] * n + [1] * controls
    samples["purity"] = [0.9] * n + [""] * controls
    return {"variants": rows, "sites": loci.assign(branch="lineage"), "samples": samples}


def has_expression(slug: str) -> bool:
    """Return whether a dummy of `slug` has a matrix: where expression is what is taken first."""
    return any(need.any[0] == "expression" for need in needs.of(slug))


def write(slug: str, out: Path, *, n: int = 200, seed: int = 1) -> list[Path]:
    """Write a dummy cohort for `slug` into the folder `out`, and return its files.

    Parameters
    ----------
    n : int
        Patients, 1 to `MAX_PATIENTS` (`MAX_EXPRESSION_PATIENTS` where there is a matrix).
    seed : int
        The same seed gives the same bytes.

    Raises
    ------
    InvalidDummy
        If the analysis takes no cohort, or `n` or `seed` is out of range.
    """
    from ballbook import templates

    most = MAX_EXPRESSION_PATIENTS if has_expression(slug) else MAX_PATIENTS
    if slug not in needs.declared():
        raise InvalidDummy(f"{slug} takes no cohort; {', '.join(needs.declared())} do")
    if not 1 <= n <= most:
        raise InvalidDummy(f"n: got {n:,}, expected 1 to {most:,} patients for {slug}")
    if seed < 0:
        raise InvalidDummy(f"seed: got {seed}, expected 0 or more")
    matrix = expression(slug, n, seed) if has_expression(slug) else None
    return templates.write_folder(
        slug, out, patients(slug, columns_of(slug), n, seed), matrix,
        tables=genome(slug, n, seed), readme=readme(slug, n, seed),
    )  # fmt: skip


def genome(slug: str, n: int, seed: int) -> dict[str, pd.DataFrame]:
    """Return what `slug` takes of genomes: break points, segments or none of them.

    Of break points, every patient has two deletions in genome-like sequence, the first with a
    consensus signal of 12 at one end and of 23 at the other. Of segments, every patient has a quiet
    genome and, 90 days later, an aneuploid one in two of three. Of substitutions, every patient has
    300 in the 96 channels. Of cells, every patient has 60 (fewer where patients are many) whose
    states differ from patient to patient.
    """
    wanted = {name.partition(".")[0] for need in needs.of(slug) for name in need.any}
    makers = {
        "breakpoints": _junctions,
        "segments": _copy_number,
        "catalogue": _substitutions,
        "cells": _single_cells,
    }
    first = any(need.any[0] == "variants" for need in needs.of(slug))
    reads = serial(slug, n, seed) if first else {}
    return reads | {
        name: make(_ids(n), np.random.default_rng([seed, len(name)]))
        for name, make in makers.items()
        if name in wanted
    }


def _junctions(ids: list[str], rng: np.random.Generator) -> pd.DataFrame:
    from ballbook import motif
    from ballbook import recombination as rag

    windows = rag.genome_like(4 * len(ids), 100, rng)
    word = np.tile(motif.encode("".join(rag.CONSENSUS)), (len(ids), 1))
    for end, spacer, forward in ((0, 12, True), (1, 23, False)):
        filler = rag.independent_bases(len(ids), spacer, 0.41, rng)
        site = np.hstack([word[:, : rag.HEPTAMER], filler, word[:, rag.HEPTAMER :]])
        at = slice(end, None, 4)
        windows[at] = rag.plant(windows[at], site, offset=0, forward=forward)
    rows = []
    for i, name in enumerate(ids):
        starts = rng.integers(20_000_000, 60_000_000, 2)
        for j, start in enumerate(starts):
            pos = (int(start), int(start) + 200_000)
            for end, strand in enumerate("+-"):
                text = motif.decode(windows[4 * i + 2 * j + end])
                rows.append((name, f"J{j + 1}", "chr9", pos[end], strand, text))
    names = ["sample", "junction", "chrom", "pos", "strand", "sequence"]
    return pd.DataFrame(rows, columns=names)


def _substitutions(ids: list[str], rng: np.random.Generator) -> pd.DataFrame:
    """Return counts of the 96 channels: C>T before G as in ageing, the rest even."""
    from ballbook.mutation_catalogue import CHANNELS

    ageing = np.array([c[2:5] == "C>T" and c[-1] == "G" for c in CHANNELS])
    shares = np.where(ageing, 0.25 / 4, 0.75 / 92)
    drawn = {name: rng.multinomial(300, shares) for name in ids}
    return pd.DataFrame({"channel": CHANNELS, **drawn})


def _single_cells(ids: list[str], rng: np.random.Generator) -> pd.DataFrame:
    """Return counts of the markers of states: each state expresses its own most."""
    from ballbook.cell_states import MARKERS

    genes = [g for of in MARKERS.values() for g in of]
    each = max(1, min(60, MAX_DUMMY_CELLS // len(ids)))
    rate = np.full((len(MARKERS), len(genes)), 1.0)
    for i, of in enumerate(MARKERS.values()):
        rate[i, [genes.index(g) for g in of]] = 40
    parts = []
    for name in ids:
        share = rng.dirichlet(np.full(len(MARKERS), 0.4))
        state = rng.choice(len(MARKERS), each, p=share)
        counts = pd.DataFrame(rng.poisson(rate[state]), columns=genes)
        counts.insert(0, "label", np.array(list(MARKERS))[state])
        counts.insert(0, "donor", name)
        parts.append(counts)
    return pd.concat(parts, ignore_index=True)


def _copy_number(ids: list[str], rng: np.random.Generator) -> pd.DataFrame:
    from ballbook.copy_number import simulate_truth

    parts = []
    for i, name in enumerate(ids):
        for sample, day in (("a", 0), ("b", 90)):
            aneuploid = sample == "b" and i % 3 < 2
            truth = simulate_truth("aneuploid" if aneuploid else "quiet", rng)
            parts.append(truth.assign(sample=f"{name}-{sample}", patient=name, day=day))
    names = ["sample", "patient", "day", "chrom", "start", "end", "total", "minor"]
    return pd.concat(parts, ignore_index=True)[names]


def readme(slug: str, n: int, seed: int) -> str:
    """Return the words that go with a dummy cohort."""
    lines = [
        f"# Dummy cohort for {slug}",
        "",
        f"**These {n:,} patients are invented**, so that everything can be tried before real data",
        "may be touched. A run on them is labelled, and its verdicts are `method-check`.",
        f"Their ids start with `{MARK}`: ballbook knows them by that, and refuses a file that",
        "mixes them with others. They were drawn by",
        "",
        f"    ballbook dummy {slug} --n {n} --seed {seed}",
        "",
        "What was drawn (columns that hold one word for all are left out):",
        "",
        "| column | of patients with | value | expected share | source |",
        "| --- | --- | --- | --- | --- |",
    ]
    for m in margins(slug, columns_of(slug)):
        given = ", ".join(f"{c} {' or '.join(v)}" for c, v in m.given) or "all"
        source = "; ".join(m.sources) or "invented"
        lines.append(f"| {m.column} | {given} | {m.words} | {100 * m.expected:.1f}% | {source} |")
    return "\n".join([*lines, ""])

r"""Copy-number profiles: ploidy, altered share, loss of heterozygosity, altered arms, and change.

A segment s of length :math:`\ell_s` has :math:`n_s` copies. Over the autosomes:

* **ploidy** :math:`\sum \ell_s n_s/\sum \ell_s`; the baseline is the nearest whole number;
* **state** of a segment: the sign of :math:`\mathrm{round}(n_s)` less the baseline. Where only log2
  ratios are known, gain and loss are ratios beyond cut-offs, and the baseline is not known;
* **fraction altered**: length with a state other than 0, as a share of the length with a segment;
* **share with loss of heterozygosity**: length without a copy of the rarer allele but with one of
  the commoner, as a share of the length where both are known;
* **aneuploidy score**: the number of chromosome arms, of 39 (short arms of 13, 14, 15, 21 and 22
  left out), of which at least 80% is gained, or at least 80% lost. An arm of which less than 20% is
  changed either way is not altered; the rest, and arms with segments over less than half of their
  length, are not called and do not count.

The score is that of Taylor et al (Cancer Cell 2018;33:676), with its 80% and 20% used as cut-offs
on the covered arm; there, whole-arm events are first found by clustering many tumours.

**Change.** Two profiles are cut at all their borders; what both cover is compared piece by piece,
each against its own baseline, so that a doubled genome alone is no change of state. The interval of
the difference of fractions altered is a delete-one-chromosome jackknife: with :math:`d_{(c)}` the
difference without chromosome c, of m, the variance is
:math:`\frac{m-1}{m}\sum_c (d_{(c)}-\bar d)^2` and t has m - 1 degrees of freedom. It says how far
the result rests on single chromosomes, and nothing of other patients. Arms altered at one time only
are compared by the exact McNemar test, as if arms changed one by one.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from ballbook.contingency import mcnemar
from ballbook.results import Estimate, not_estimable
from ballbook.variants import LENGTHS, Build

AUTOSOMES = tuple(f"chr{i}" for i in range(1, 23))
ACROCENTRIC = ("chr13", "chr14", "chr15", "chr21", "chr22")
# Border of the short and the long arm, Mb: middle of the centromere in the bands of UCSC.
_CENTRES: dict[Build, str] = {
    "GRCh37": "125.0 93.3 91.0 50.4 48.4 61.0 59.9 45.6 49.0 40.2 53.7 35.8 17.9 17.6 19.0 36.6 "
    "24.0 17.2 26.5 27.5 13.2 14.7",
    "GRCh38": "123.4 93.9 90.9 50.0 48.8 59.8 60.1 45.2 43.0 39.8 53.4 35.5 17.7 17.2 19.0 36.8 "
    "25.1 18.5 26.2 28.1 12.0 15.0",
}
CENTRES: dict[Build, dict[str, int]] = {
    build: dict(zip(AUTOSOMES, (round(float(x) * 1e6) for x in text.split()), strict=True))
    for build, text in _CENTRES.items()
}
WHOLE_ARM, NO_ARM, LEAST_COVER = 0.8, 0.2, 0.5
GAIN, LOSS = 0.2, -0.2


def arms(build: Build) -> pd.DataFrame:
    """Return the 39 arms of the score: ``arm, chrom, start, end``, in the order of the genome."""
    rows = []
    for chrom in AUTOSOMES:
        centre, end = CENTRES[build][chrom], LENGTHS[build][chrom]
        if chrom not in ACROCENTRIC:
            rows.append((f"{chrom[3:]}p", chrom, 0, centre))
        rows.append((f"{chrom[3:]}q", chrom, centre, end))
    return pd.DataFrame(rows, columns=["arm", "chrom", "start", "end"])


@dataclass(frozen=True, slots=True)
class Profile:
    """The copy-number profile of one sample.

    Attributes
    ----------
    segments : DataFrame
        ``chrom, start, end, total, minor, log2, state`` of the autosomes; start before the first
        base, state -1, 0 or 1.
    arms : DataFrame
        ``arm, chrom, covered, gained, lost, call``: shares of the arm, and of its covered part;
        call -1, 0, 1 or missing.
    absolute : bool
        Copies are known, not only ratios.
    ploidy, fraction_altered, loss_of_heterozygosity, score : Estimate
        The profile is not a sample of anything: none has an interval.
    """

    segments: pd.DataFrame
    arms: pd.DataFrame
    absolute: bool
    ploidy: Estimate
    fraction_altered: Estimate
    loss_of_heterozygosity: Estimate
    score: Estimate

    @property
    def baseline(self) -> int:
        """Copies of an unaltered segment; 2 where only ratios are known."""
        return 2 if self.ploidy.value is None else round(self.ploidy.value)


def profile(
    segments: pd.DataFrame, build: Build, *, gain: float = GAIN, loss: float = LOSS,
    whole_arm: float = WHOLE_ARM,
) -> Profile:  # fmt: skip
    """Return the profile of one sample.

    Parameters
    ----------
    segments : DataFrame
        ``chrom, start, end`` with ``total`` (and ``minor``) or ``log2``; other chromosomes than the
        autosomes are left out. Segments do not overlap.
    build : {"GRCh37", "GRCh38"}
    gain, loss : float
        Log2 ratios beyond which a segment is altered, where copies are not known.
    whole_arm : float
        Share of the covered arm that has to be changed one way.

    Raises
    ------
    ValueError
        Without a segment on an autosome, where segments overlap or end before they start, where
        some have copies and others only ratios, or for cut-offs on the wrong side of 0.
    """
    if not (loss < 0 < gain and 0.5 < whole_arm <= 1):
        raise ValueError("loss should be below 0, gain above it, and the share of an arm above 0.5")
    s = segments[segments["chrom"].isin(AUTOSOMES)].copy()
    for name in ("total", "minor", "log2"):
        s[name] = s[name].astype(float) if name in s else np.nan
    order = pd.Categorical(s["chrom"], AUTOSOMES, ordered=True)
    s = s.assign(order=order).sort_values(["order", "start"], ignore_index=True)
    s["start"], s["end"] = s["start"].astype(int), s["end"].astype(int)
    # Files count the first base as 1, or as 0: a difference of one base in millions.
    s["start"] = np.maximum(s["start"].to_numpy() - 1, 0)
    if s.empty:
        raise ValueError("no segment lies on an autosome")
    if (s["end"] <= s["start"]).any():
        raise ValueError("a segment ends before it starts")
    inner = s["chrom"].eq(s["chrom"].shift())
    if (inner & (s["start"] < s["end"].shift() - 1)).any():
        raise ValueError("segments of one sample overlap")
    absolute = bool(s["total"].notna().all())
    if not absolute and (s["total"].notna().any() or s["log2"].isna().any()):
        raise ValueError("every segment needs its copies, or every segment its log2 ratio")
    size = (s["end"] - s["start"]).to_numpy(float)
    covered = float(size.sum())
    if absolute:
        value = float((size * s["total"]).sum() / covered)
        ploidy = Estimate("mean", value, ci_level=None, unit="copies", method="mean by length")
        s["state"] = np.sign(np.rint(s["total"]) - round(value)).astype(int)
        known = s["minor"].notna().to_numpy()
        lost = ((s["minor"].round() == 0) & (s["total"].round() > 0)).to_numpy()
        loh = (
            Estimate("proportion", float(size[known & lost].sum() / size[known].sum()),
                     ci_level=None, method="share of the length with both alleles known")
            if known.any()
            else not_estimable("proportion", "copies of each allele are not given")
        )  # fmt: skip
    else:
        ploidy = not_estimable("mean", "ratios do not tell the number of copies")
        s["state"] = np.select([s["log2"] > gain, s["log2"] < loss], [1, -1], 0)
        loh = not_estimable("proportion", "ratios do not tell the alleles apart")
    altered = float(size[s["state"] != 0].sum() / covered)
    table = _arms(s, build, whole_arm)
    called = table["call"].notna()
    score = Estimate(
        "count", float((table["call"].abs() == 1).sum()), ci_level=None, unit="arms",
        method=f"arms altered over {whole_arm:.0%}; {int(called.sum())} of {len(table)} called",
    ) if called.any() else not_estimable("count", "no arm has enough segments")  # fmt: skip
    return Profile(
        s[["chrom", "start", "end", "total", "minor", "log2", "state"]], table, absolute, ploidy,
        Estimate("proportion", altered, ci_level=None, method="share of the covered autosomes"),
        loh, score,
    )  # fmt: skip


def _arms(s: pd.DataFrame, build: Build, whole_arm: float) -> pd.DataFrame:
    table = arms(build)
    chrom, state = s["chrom"].to_numpy(str), s["state"].to_numpy()
    starts, ends = s["start"].to_numpy(), s["end"].to_numpy()
    same = table["chrom"].to_numpy(str)[:, None] == chrom
    low, high = (table[name].to_numpy()[:, None] for name in ("start", "end"))
    inside = np.where(same, np.minimum(ends, high) - np.maximum(starts, low), 0).clip(min=0)
    total = inside.sum(axis=1)
    gained, lost = ((inside * (state == way)).sum(axis=1) / np.maximum(total, 1) for way in (1, -1))
    covered = total / (high - low).ravel()
    most = np.maximum(gained, lost)
    call = np.select(
        [covered < LEAST_COVER, most >= whole_arm, gained + lost < NO_ARM],
        [math.nan, np.where(gained > lost, 1.0, -1.0), 0.0], math.nan,
    )  # fmt: skip
    return table[["arm", "chrom"]].assign(covered=covered, gained=gained, lost=lost, call=call)


def common(first: Profile, second: Profile) -> pd.DataFrame:
    """Return what both profiles cover: ``chrom, start, end, first, second`` (states)."""
    columns = ["chrom", "start", "end", "state"]
    tables = [[p.segments[c].to_numpy() for c in columns] for p in (first, second)]
    found: dict[str, list[Any]] = {c: [] for c in ("chrom", "start", "end", "first", "second")}
    for chrom in AUTOSOMES:
        parts = [[c[t[0] == chrom].astype(np.int64) for c in t[1:]] for t in tables]
        if any(not len(start) for start, _, _ in parts):
            continue
        cuts = np.unique(np.concatenate([np.concatenate(part[:2]) for part in parts]))
        left, right = cuts[:-1], cuts[1:]
        there, states = np.ones(len(left), bool), []
        for start, end, state in parts:
            at = np.searchsorted(start, left, side="right") - 1
            there &= (at >= 0) & (left < end[np.maximum(at, 0)])
            states.append(state[np.maximum(at, 0)])
        for name, values in zip(
            found, (np.repeat(chrom, len(left)), left, right, *states), strict=True
        ):
            found[name] += values[there].tolist()
    return pd.DataFrame(found)


@dataclass(frozen=True, slots=True)
class Change:
    """What changed between two profiles.

    Attributes
    ----------
    pieces : DataFrame
        As `common` returns them.
    changed : Estimate
        Share of the common length whose state differs.
    altered : Estimate
        Difference of fractions altered, second less first, with the jackknife interval.
    arms_only_first, arms_only_second : int
        Arms altered at one time and called unaltered at the other.
    mcnemar : Estimate
        Exact P value that arms are altered as often at one time as at the other.
    """

    pieces: pd.DataFrame
    changed: Estimate
    altered: Estimate
    arms_only_first: int
    arms_only_second: int
    mcnemar: Estimate


def change(first: Profile, second: Profile, *, ci_level: float = 0.95) -> Change:
    """Return what changed from the first to the second profile of one patient.

    Raises
    ------
    ValueError
        Where the two have no part of the genome in common.
    """
    pieces = common(first, second)
    if pieces.empty:
        raise ValueError("the two profiles have no part of the genome in common")
    size = (pieces["end"] - pieces["start"]).to_numpy(float)
    a, b = (pieces[c].to_numpy() for c in ("first", "second"))
    gained = size * ((b != 0).astype(float) - (a != 0))
    difference = float(gained.sum() / size.sum())
    chroms = pieces["chrom"].to_numpy()
    names = pd.unique(chroms)
    method = "difference of shares altered; delete-one-chromosome jackknife"
    altered = Estimate("risk-difference", difference, ci_level=None, method=method)
    m = len(names)
    if m > 2:
        at = pd.Categorical(chroms, names).codes
        of_each, sizes = np.bincount(at, gained), np.bincount(at, size)
        left = (gained.sum() - of_each) / (size.sum() - sizes)
        se = math.sqrt((m - 1) / m * ((left - left.mean()) ** 2).sum())
        reach = stats.t.ppf((1 + ci_level) / 2, m - 1) * se
        altered = replace(
            altered, ci_low=difference - reach, ci_high=difference + reach, ci_level=ci_level
        )
    calls = first.arms["call"].to_numpy(), second.arms["call"].to_numpy()
    known = ~(np.isnan(calls[0]) | np.isnan(calls[1]))
    only_first = int((known & (calls[0] != 0) & (calls[1] == 0)).sum())
    only_second = int((known & (calls[0] == 0) & (calls[1] != 0)).sum())
    return Change(
        pieces,
        Estimate("proportion", float(size[a != b].sum() / size.sum()), ci_level=None,
                 method="share of the length that both profiles cover"),
        altered, only_first, only_second, mcnemar(only_first, only_second),
    )  # fmt: skip


# ----------------------------------------------------------------------- simulated genomes

Kind = Literal["quiet", "aneuploid"]


def simulate_truth(
    kind: Kind, rng: np.random.Generator, build: Build = "GRCh38", *, arms_altered: int = 20,
    focal: int = 4,
) -> pd.DataFrame:  # fmt: skip
    """Return the true segments of an invented genome.

    A quiet genome has `focal` changes of 2 to 10 Mb and no other; an aneuploid one also has
    `arms_altered` whole arms gained (3 copies, two alleles) or lost (1 copy), each as likely.

    Returns
    -------
    DataFrame
        ``chrom, start, end, total, minor``; start counts from 1.
    """
    all_arms = arms(build)
    whole = set()
    if kind == "aneuploid":
        whole = set(rng.choice(len(all_arms), arms_altered, replace=False).tolist())
    copies = [(2, 1) if i not in whole else ((3, 1) if rng.random() < 0.5 else (1, 0))
              for i in range(len(all_arms))]  # fmt: skip
    rows: list[list[Any]] = []
    arm: Any
    for arm, (total, minor) in zip(all_arms.itertuples(), copies, strict=True):
        rows.append([arm.chrom, arm.start + 1, arm.end, total, minor])
    for i in rng.choice(len(rows), focal, replace=False).tolist():
        chrom, start, end, total, minor = rows[i]
        size = int(rng.integers(2_000_000, 10_000_001))
        at = start + int(rng.integers(0, end - start - size))
        other = (1, 0) if total != 1 else (2, 1)
        rows[i] = [chrom, start, at - 1, total, minor]
        rows += [[chrom, at, at + size, *other], [chrom, at + size + 1, end, total, minor]]
    found = pd.DataFrame(rows, columns=["chrom", "start", "end", "total", "minor"])
    found = found[found["end"] >= found["start"]]
    order = pd.Categorical(found["chrom"], AUTOSOMES, ordered=True)
    found = found.assign(order=order).sort_values(["order", "start"], ignore_index=True)
    return found.drop(columns="order")


def simulate_calls(
    truth: pd.DataFrame, rng: np.random.Generator, *, purity: float, noise: float,
    split: float = 10e6,
) -> pd.DataFrame:  # fmt: skip
    r"""Return what a caller would make of true segments.

    True segments are split into pieces of about `split` bases, as over-segmentation does. Depth of
    a piece of L Mb, relative to the mean, is
    :math:`\log_2\{(\rho n+2(1-\rho))/(\rho\psi+2(1-\rho))\}` with purity :math:`\rho` and
    ploidy :math:`\psi`, plus a normal error of standard deviation :math:`\text{noise}/\sqrt L`;
    copies are solved from it, purity and ploidy taken as known.

    Returns
    -------
    DataFrame
        ``chrom, start, end, total, log2``.
    """
    if not 0 < purity <= 1:
        raise ValueError("purity should be above 0 and at most 1")
    rows: list[tuple[Any, ...]] = []
    s: Any
    for s in truth.itertuples():
        n = max(1, round((s.end - s.start) / split))
        borders = np.linspace(s.start - 1, s.end, n + 1).astype(int)
        rows += [(s.chrom, a + 1, b, s.total) for a, b in itertools.pairwise(borders)]
    found = pd.DataFrame(rows, columns=["chrom", "start", "end", "true"])
    size = (found["end"] - found["start"] + 1).to_numpy(float)
    ploidy = float((size * found["true"]).sum() / size.sum())
    mean = purity * ploidy + 2 * (1 - purity)
    clean = np.log2((purity * found["true"].to_numpy(float) + 2 * (1 - purity)) / mean)
    found["log2"] = clean + rng.normal(0, 1, len(found)) * noise / np.sqrt(size / 1e6)
    copies = (2 ** found["log2"] * mean - 2 * (1 - purity)) / purity
    found["total"] = np.maximum(np.rint(copies), 0)
    return found[["chrom", "start", "end", "total", "log2"]]

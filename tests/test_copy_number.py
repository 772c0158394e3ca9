"""Copy-number profiles, arms and change, against counts base by base."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ballbook import copy_number as cn
from ballbook.variants import LENGTHS

BUILD = "GRCh38"


def flat(total: float = 2, minor: float = 1) -> pd.DataFrame:
    """A genome of one segment an arm, all alike."""
    s = cn.arms(BUILD)[["chrom", "start", "end"]].copy()
    s["start"] += 1
    return s.assign(total=float(total), minor=float(minor))


def set_arm(s: pd.DataFrame, arm: str, total: float, minor: float) -> pd.DataFrame:
    found = s.copy()
    i = cn.arms(BUILD).index[cn.arms(BUILD)["arm"] == arm]
    found.loc[i, ["total", "minor"]] = total, minor
    return found


def test_there_are_39_arms_within_their_chromosomes() -> None:
    for build in ("GRCh37", "GRCh38"):
        arms = cn.arms(build)
        assert len(arms) == 39
        assert not {"13p", "14p", "15p", "21p", "22p"} & set(arms["arm"])
        assert (arms["end"] > arms["start"]).all()
        for chrom, part in arms.groupby("chrom"):
            assert part["end"].max() == LENGTHS[build][chrom]
        # The short arm is not the longer one, within the 5 Mb that centromeres span.
        sizes = arms.set_index("arm").eval("end - start")
        for c in cn.AUTOSOMES:
            name = c.removeprefix("chr")
            if f"{name}p" in sizes:
                assert sizes[f"{name}p"] < sizes[f"{name}q"] + 5e6, name


def test_a_flat_genome_is_unaltered_whatever_its_copies() -> None:
    for total in (1, 2, 4):
        p = cn.profile(flat(total), BUILD)
        assert p.absolute and p.ploidy.value == total == p.baseline
        assert p.fraction_altered.value == 0 == p.score.value
        assert p.loss_of_heterozygosity.value == 0
    lost = cn.profile(flat(2, 0), BUILD)
    assert lost.loss_of_heterozygosity.value == 1 and lost.fraction_altered.value == 0


def test_arms_are_counted_and_shares_are_lengths() -> None:
    s = set_arm(set_arm(flat(), "7p", 3, 1), "17p", 1, 0)
    p = cn.profile(s, BUILD)
    sizes = cn.arms(BUILD).set_index("arm").eval("end - start")
    assert p.score.value == 2
    calls = p.arms.set_index("arm")["call"]
    assert (calls["7p"], calls["17p"], calls["1q"]) == (1, -1, 0)
    altered = (sizes["7p"] + sizes["17p"]) / sizes.sum()
    assert p.fraction_altered.value == pytest.approx(altered)
    assert p.loss_of_heterozygosity.value == pytest.approx(sizes["17p"] / sizes.sum())
    expected = 2 + (sizes["7p"] - sizes["17p"]) / sizes.sum()
    assert p.ploidy.value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("share", "call"), [(0.1, 0.0), (0.5, math.nan), (0.79, math.nan), (0.81, 1.0), (1.0, 1.0)]
)
def test_an_arm_is_altered_from_80_percent(share: float, call: float) -> None:
    s = flat()
    i = cn.arms(BUILD).index[cn.arms(BUILD)["arm"] == "3q"][0]
    start, end = s.loc[i, ["start", "end"]]
    middle = int(start + share * (end - start))
    s.loc[i, "end"] = middle
    s.loc[i, "total"] = 3
    if share < 1:
        s.loc[len(s)] = ["chr3", middle + 1, end, 2, 1]
    p = cn.profile(s, BUILD)
    found = p.arms.set_index("arm")["call"]["3q"]
    assert found == call or (math.isnan(found) and math.isnan(call))
    assert p.score.value == (1 if call == 1 else 0)


def test_a_doubled_genome_is_altered_only_where_it_departs_from_its_ploidy() -> None:
    s = set_arm(flat(4, 2), "9p", 2, 0)
    p = cn.profile(s, BUILD)
    assert p.baseline == 4 and p.score.value == 1
    assert p.arms.set_index("arm")["call"]["9p"] == -1
    assert cn.change(cn.profile(flat(2), BUILD), p).changed.value == p.fraction_altered.value


def test_ratios_tell_gain_and_loss_but_no_copies() -> None:
    s = flat().drop(columns=["total", "minor"]).assign(log2=0.0)
    s.loc[0, "log2"], s.loc[1, "log2"] = 0.25, -0.25
    p = cn.profile(s, BUILD)
    assert not p.absolute and p.ploidy.value is None and p.loss_of_heterozygosity.value is None
    assert p.arms["call"].tolist()[:3] == [1, -1, 0]
    assert cn.profile(s, BUILD, gain=0.3, loss=-0.3).fraction_altered.value == 0


def test_arms_with_few_segments_are_not_called() -> None:
    s = flat().iloc[:4]
    p = cn.profile(s, BUILD)
    assert p.arms["call"].notna().sum() == 4
    assert "4 of 39" in (p.score.method or "")
    tiny = pd.DataFrame({"chrom": ["chr1"], "start": [1], "end": [1000], "total": [2.0]})
    none = cn.profile(tiny, BUILD)
    assert none.score.value is None
    assert none.loss_of_heterozygosity.value is None


def test_sex_chromosomes_do_not_count() -> None:
    s = pd.concat([flat(), pd.DataFrame({"chrom": ["chrX"], "start": [1], "end": [10**8],
                                         "total": [1.0], "minor": [0.0]})])  # fmt: skip
    assert cn.profile(s, BUILD).fraction_altered.value == 0


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (flat().assign(chrom="chrX"), "autosome"),
        (flat().assign(end=0), "before it starts"),
        (pd.concat([flat(), flat()]), "overlap"),
        (flat().assign(total=[math.nan, *[2.0] * 38]), "every segment"),
        (flat().drop(columns="total"), "every segment"),
    ],
)
def test_senseless_segments_are_refused(frame: pd.DataFrame, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        cn.profile(frame, BUILD)


def test_senseless_cut_offs_are_refused() -> None:
    for wrong in ({"gain": -0.1}, {"loss": 0.1}, {"whole_arm": 0.4}):
        with pytest.raises(ValueError, match="should be"):
            cn.profile(flat(), BUILD, **wrong)


def test_change_agrees_with_a_count_base_by_base() -> None:
    rng = np.random.default_rng(3)
    profiles = []
    for kind in ("quiet", "aneuploid"):
        truth = cn.simulate_truth(kind, rng, BUILD)
        # Gaps differ between the two.
        keep = rng.random(len(truth)) > 0.1
        profiles.append(cn.profile(truth[keep], BUILD))
    found = cn.change(*profiles)
    step = 100_000
    same = changed = 0
    for chrom in cn.AUTOSOMES:
        at = np.arange(step // 2, LENGTHS[BUILD][chrom], step)
        states = []
        for p in profiles:
            state = np.full(len(at), np.nan)
            for s in p.segments[p.segments["chrom"] == chrom].itertuples():
                state[(at >= s.start) & (at < s.end)] = s.state
            states.append(state)
        known = ~np.isnan(states[0]) & ~np.isnan(states[1])
        changed += int((known & (states[0] != states[1])).sum())
        same += int((known & (states[0] == states[1])).sum())
    assert found.changed.value == pytest.approx(changed / (changed + same), abs=0.005)
    assert (found.pieces["end"] > found.pieces["start"]).all()


def test_the_jackknife_is_the_plain_formula() -> None:
    rng = np.random.default_rng(4)
    a, b = (cn.profile(cn.simulate_truth(k, rng, BUILD), BUILD) for k in ("quiet", "aneuploid"))
    found = cn.change(a, b).altered
    p = cn.common(a, b).assign(size=lambda t: t["end"] - t["start"])
    p["d"] = (p["second"] != 0).astype(int) - (p["first"] != 0).astype(int)
    left = []
    for chrom in cn.AUTOSOMES:
        q = p[p["chrom"] != chrom]
        left.append((q["d"] * q["size"]).sum() / q["size"].sum())
    se = math.sqrt(21 / 22 * ((np.array(left) - np.mean(left)) ** 2).sum())
    reach = stats.t.ppf(0.975, 21) * se
    assert found.value == pytest.approx((p["d"] * p["size"]).sum() / p["size"].sum())
    assert (found.ci_low, found.ci_high) == pytest.approx(
        (found.value - reach, found.value + reach)
    )


def test_arms_that_change_are_counted_for_mcnemar() -> None:
    a = cn.profile(set_arm(flat(), "1p", 3, 1), BUILD)
    b = cn.profile(set_arm(set_arm(set_arm(flat(), "2q", 3, 1), "5q", 1, 0), "8q", 3, 1), BUILD)
    found = cn.change(a, b)
    assert (found.arms_only_first, found.arms_only_second) == (1, 3)
    assert found.mcnemar.p_value == pytest.approx(stats.binomtest(1, 4).pvalue)
    nothing = cn.change(a, a)
    assert nothing.changed.value == 0 == nothing.altered.value
    assert nothing.mcnemar.value is None or nothing.mcnemar.p_value == 1
    elsewhere = cn.profile(flat().query("chrom == 'chr1'"), BUILD)
    with pytest.raises(ValueError, match="in common"):
        cn.change(elsewhere, cn.profile(flat().query("chrom == 'chr2'"), BUILD))


def test_simulated_genomes_are_what_they_say() -> None:
    rng = np.random.default_rng(5)
    for kind, arms in (("quiet", 0), ("aneuploid", 17)):
        truth = cn.simulate_truth(kind, rng, BUILD, arms_altered=17)
        p = cn.profile(truth, BUILD)
        size = (truth["end"] - truth["start"] + 1).sum()
        assert size == cn.arms(BUILD).eval("end - start").sum()
        assert abs(p.score.value - arms) <= 1
    assert p.ploidy.value == pytest.approx(2, abs=0.45)


def test_clean_calls_give_the_truth_back() -> None:
    rng = np.random.default_rng(6)
    truth = cn.simulate_truth("aneuploid", rng, BUILD)
    for purity in (0.3, 1.0):
        calls = cn.simulate_calls(truth, rng, purity=purity, noise=0.0)
        assert len(calls) > len(truth)
        both = [cn.profile(x, BUILD) for x in (truth, calls)]
        assert both[0].score.value == both[1].score.value
        assert cn.change(*both).changed.value == 0
    with pytest.raises(ValueError, match="purity"):
        cn.simulate_calls(truth, rng, purity=0, noise=0.1)

"""Recombination signals: windows, junctions, simulated sequence and the matrices of Digger."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats

from ballbook import datasets
from ballbook import motif as m
from ballbook import recombination as r

GENOME = np.array([0.295, 0.205, 0.205, 0.295])


def strict(word: str, other: float = 0.05) -> np.ndarray:
    p = np.full((len(word), 4), other)
    p[np.arange(len(word)), m.encode(word)] = 1 - 3 * other
    return p


def consensus(background: np.ndarray = GENOME, other: float = 0.05) -> dict[int, r.Signal]:
    h, n = (strict(word, other) for word in r.CONSENSUS)
    return {s: r.signal(h, n, s, background) for s in r.SPACERS}


SIGNALS = consensus()
BOTH = list(SIGNALS.values())


def site(spacer: int) -> np.ndarray:
    return m.encode(r.CONSENSUS[0] + "N" * spacer + r.CONSENSUS[1])


def known(n: int, seed: int = 1) -> np.ndarray:
    return r.independent_bases(n, 100, 0.41, np.random.default_rng(seed))


@pytest.mark.parametrize("spacer", r.SPACERS)
@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("offset", [-7, 0, 4])
def test_a_planted_site_is_found_where_it_was_put(spacer: int, forward: bool, offset: int) -> None:
    windows = r.plant(known(30), np.tile(site(spacer), (30, 1)), offset=offset, forward=forward)
    found = r.scan_windows(windows, BOTH, within=10)
    assert (found["spacer"] == spacer).all()
    assert (found["strand"] == ("+" if forward else "-")).all()
    assert (found["offset"] == offset).all()
    assert (found["p_value"] < 1e-4).all()
    turned = r.scan_windows(m.reverse_complement(windows), BOTH, within=10)
    assert (turned["offset"] == -offset).all()
    assert (turned["strand"] == ("-" if forward else "+")).all()
    np.testing.assert_allclose(turned["p_value"], found["p_value"])


def test_a_window_agrees_with_a_plain_search_word_by_word() -> None:
    windows = known(40, 3)
    windows[:, 20] = m.UNKNOWN
    found = r.scan_windows(windows, BOTH)
    for window, row in zip(windows, found.itertuples(), strict=True):
        ps = []
        for strand in (window, m.reverse_complement(window)):
            for s in BOTH:
                for start in range(100 - s.motif.width + 1):
                    word = strand[start : start + s.motif.width]
                    scored = s.motif.scores.any(axis=1)
                    if (word[scored] == m.UNKNOWN).any():
                        continue
                    score = s.motif.scores[np.flatnonzero(scored), word[scored]].sum()
                    ps.append(float(s.motif.p_value(score)))
        assert row.placements == len(ps)
        assert row.p_site == min(ps)
        assert row.p_value == pytest.approx(1 - (1 - min(ps)) ** len(ps))


def test_the_number_of_placements() -> None:
    wide = 2 * (100 - 28 + 1) + 2 * (100 - 39 + 1)
    assert r.placements(100, BOTH) == wide == 270
    assert r.placements(100, BOTH, within=5) == 4 * 11
    assert r.placements(20, BOTH) == 0


def test_windows_without_a_placement_have_p_1() -> None:
    for windows in (np.full((2, 100), m.UNKNOWN, np.uint8), np.zeros((2, 10), np.uint8)):
        found = r.scan_windows(windows, BOTH)
        assert found["p_value"].tolist() == [1, 1]
        assert found["offset"].isna().all()


def test_random_windows_are_called_as_often_as_they_may_be() -> None:
    windows = known(6000, 5)
    for within in (None, 5):
        p = r.scan_windows(windows, BOTH, within=within)["p_value"]
        low, high = stats.binom.ppf([0.0005, 0.9995], 6000, 0.05) / 6000
        assert low - 0.005 < (p < 0.05).mean() < high
    pairs = r.twelve_twentythree(windows[:3000], windows[3000:], SIGNALS, within=5)
    assert (pairs["p_value"] < 0.05).mean() < stats.binom.ppf(0.9995, 3000, 0.05) / 3000


def test_the_printed_rule_calls_every_random_window() -> None:
    # 270 placements at 5% each.
    found = r.scan_windows(known(500, 6), BOTH)
    assert (found["p_site"] < 0.05).mean() > 0.99


def test_the_power_of_a_site_is_worked_out_right() -> None:
    rng = np.random.default_rng(7)
    s = consensus(other=0.09)[12]
    tried = r.placements(100, [s], within=5)
    exact = r.power(s, 0.05, tried)
    least = s.motif.threshold(1 - 0.95 ** (1 / tried))
    scores = m.scan(s.sites(20_000, rng), s.motif.scores)[:, 0]
    assert (scores >= least).mean() == pytest.approx(exact, abs=0.015)
    assert 0.2 < exact < 0.99
    clean = m.scan(s.sites(2000, rng, clean=True), s.motif.scores)[:, 0]
    assert (clean == s.motif.scores.max(axis=1).sum()).all()


def test_the_12_23_rule_takes_the_better_arrangement() -> None:
    a, b = known(20, 8), known(20, 9)
    a = r.plant(a, np.tile(site(23), (20, 1)), offset=0, forward=True)
    b = r.plant(b, np.tile(site(12), (20, 1)), offset=1, forward=False)
    found = r.twelve_twentythree(a, b, SIGNALS, within=5)
    assert (found["arrangement"] == "23/12").all()
    p = [
        r.scan_windows(w, [SIGNALS[s]], within=5)["p_value"].to_numpy()
        for w, s in ((a, 23), (b, 12))
    ]
    fisher = np.array([stats.combine_pvalues(pair).pvalue for pair in zip(*p, strict=True)])
    np.testing.assert_allclose(found["p_value"], 2 * fisher - fisher**2, rtol=1e-6)
    same = r.plant(known(20, 9), np.tile(site(23), (20, 1)), offset=1, forward=False)
    both_23 = r.twelve_twentythree(a, same, SIGNALS, within=5)
    assert (both_23["p_value"] > found["p_value"]).all()


def test_ranks_among_shuffles() -> None:
    windows = known(12, 10)
    windows[:6] = r.plant(windows[:6], np.tile(site(12), (6, 1)), offset=0, forward=True)
    p = r.shuffled_p_values(windows, BOTH, n_shuffles=39, seed=1, within=5)
    assert (p[:6] == 1 / 40).all()
    assert (p >= 1 / 40).all() and p[6:].max() > 0.3
    again = r.shuffled_p_values(windows, BOTH, n_shuffles=39, seed=1, within=5)
    np.testing.assert_array_equal(p, again)


def test_a_long_sequence_is_searched_on_both_strands() -> None:
    codes = known(10, 12).ravel()
    codes[300:328] = site(12)
    codes[500:539] = m.reverse_complement(site(23))
    found = r.scan_sequence(codes, BOTH, 1e-6)
    assert [(row.cut, row.spacer, row.strand) for row in found.itertuples()] == [
        (300, 12, "+"), (539, 23, "-"),
    ]  # fmt: skip
    assert r.scan_sequence(codes, BOTH, 1e-300).empty


def test_a_megabase_in_less_than_five_seconds() -> None:
    codes = r.independent_bases(1, 1_000_000, 0.41, np.random.default_rng(1))[0]
    start = time.perf_counter()
    r.scan_sequence(codes, BOTH, 1e-5)
    assert time.perf_counter() - start < 5


def test_simulated_genomes_have_the_features_they_are_made_for() -> None:
    rng = np.random.default_rng(14)
    codes = r.genome_like(3000, 100, rng, gc_sd=0.06)
    gc = np.isin(codes, (1, 2)).mean(axis=1)
    assert 0.36 < gc.mean() < 0.42
    assert gc.std() > np.sqrt(0.41 * 0.59 / 100) * 1.2
    level = r.genome_like(3000, 100, rng, gc_sd=0.0)
    next_to_c = level[:, 1:][level[:, :-1] == 1]
    weight = r.CPG * 0.205
    share = weight / (1 - 0.205 + weight)
    assert (next_to_c == 2).mean() == pytest.approx(share, abs=0.005)
    runs = r.genome_like(400, 100, rng, repeats=1.0)
    same = [
        max(len(part) for part in "".join("x" if a == b else " " for a, b in
            zip(row[:-2], row[2:], strict=True)).split(" "))
        for row in runs
    ]  # fmt: skip
    assert min(same) >= 12


def test_a_window_beyond_the_end_is_unknown_there() -> None:
    codes = m.encode("ACGTACGT")
    assert m.decode(r.window(codes, 2, 4)) == "NNACGTAC"
    assert m.decode(r.window(codes, 8, 3)) == "CGTNNN"
    assert m.decode(r.window(codes, 100, 2)) == "NNNN"


def test_senseless_input_is_refused() -> None:
    h, n = strict(r.CONSENSUS[0]), strict(r.CONSENSUS[1])
    with pytest.raises(ValueError, match="7 positions"):
        r.signal(n, h, 12, GENOME)
    with pytest.raises(ValueError, match="towards the cut"):
        r.signal(h, n[::-1, ::-1], 12, GENOME)
    with pytest.raises(ValueError, match="does not fit"):
        r.plant(known(1), site(23)[None], offset=20, forward=True)


def test_the_matrices_of_digger_are_turned_the_right_way() -> None:
    found = datasets.load("digger-rss")
    assert len(found.spacers) == 20
    for spacer in r.SPACERS:
        heptamer, nonamer = found.mean(spacer)
        words = (
            "".join(m.BASES[i] for i in heptamer.argmax(1)),
            "".join(m.BASES[i] for i in nonamer.argmax(1)),
        )
        assert words == r.CONSENSUS
        assert heptamer[:3].min() > 0.05
        assert r.signal(heptamer, nonamer, spacer, GENOME).motif.bits == pytest.approx(9.1, abs=0.3)
    for kind in found.spacers:
        # AC after the cut is the part that cutting needs.
        assert m.decode(found.heptamers[kind].argmax(1).astype(np.uint8))[1] in "AG"
        assert found.nonamers[kind][:, 0].sum() > found.nonamers[kind][:, 3].sum(), kind
    with pytest.raises(ValueError, match="spacer of 12"):
        found.mean(12, "IGX")
    assert list(found.files) == ["matrices"]

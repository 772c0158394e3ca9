"""Exact P values of motif scores, scanning and shuffling, against enumeration."""

from __future__ import annotations

import itertools
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballbook import motif as m

GENOME = np.array([0.295, 0.205, 0.205, 0.295])
DNA = st.text("ACGTN", min_size=0, max_size=80)


def random_matrix(length: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(4, 0.7), length) + 1e-3


def words(length: int) -> np.ndarray:
    return np.array(list(itertools.product(range(4), repeat=length)), np.uint8)


@pytest.mark.parametrize(("length", "seed"), [(1, 1), (3, 2), (5, 3), (7, 4)])
@pytest.mark.parametrize("q", [GENOME, np.full(4, 0.25), np.array([0.1, 0.2, 0.3, 0.4])])
def test_p_values_are_those_of_all_words(length: int, seed: int, q: np.ndarray) -> None:
    found = m.motif(random_matrix(length, seed), q, step=0.05)
    every = words(length)
    scores = found.scores[np.arange(length), every].sum(axis=1)
    for weight, tail in [
        (q[every].prod(axis=1), found.tail),
        (found.probabilities[np.arange(length), every].prod(axis=1), found.tail_of_sites),
    ]:
        brute = np.array([weight[scores >= s].sum() for s in scores])
        np.testing.assert_allclose(tail[scores - found.lowest], brute, rtol=1e-9)
    np.testing.assert_array_equal(m.scan(every, found.scores)[:, 0], scores)


def test_a_spacer_changes_no_p_value() -> None:
    p = random_matrix(6, 5)
    spaced = np.vstack([p[:3], np.tile(GENOME, (12, 1)), p[3:]])
    plain, gapped = m.motif(p, GENOME), m.motif(spaced, GENOME)
    np.testing.assert_allclose(plain.tail, gapped.tail)
    assert gapped.width == 18
    assert gapped.bits == pytest.approx(plain.bits)


def test_the_threshold_is_the_least_score_of_its_p_value() -> None:
    found = m.motif(random_matrix(8, 6), GENOME)
    for p in (0.2, 1e-2, 1e-4):
        t = found.threshold(p)
        assert t is not None
        assert found.p_value(t) <= p < found.p_value(t - 1)
        assert found.power(p) == found.tail_of_sites[t - found.lowest]
    assert found.threshold(1e-12) is None
    assert found.power(1e-12) == 0


def test_the_score_means_what_its_definition_says() -> None:
    p = np.array([[0.7, 0.1, 0.1, 0.1]])
    found = m.motif(p, np.full(4, 0.25), step=0.01)
    assert found.scores.tolist() == [[149, -132, -132, -132]]
    assert found.p_value(149) == pytest.approx(0.25)
    assert found.p_value(-132) == 1
    assert found.p_value(m.RULED_OUT) == 1


@pytest.mark.parametrize(
    ("p", "q", "step"),
    [
        (np.ones((3, 3)), GENOME, 0.01),
        (np.zeros((0, 4)), GENOME, 0.01),
        ([[1, 0, 0, 0]], GENOME, 0.01),
        ([[0.25, 0.25, 0.25, np.nan]], GENOME, 0.01),
        (np.full((2, 4), 0.25), [0.5, 0.5, 0, 0], 0.01),
        (np.full((2, 4), 0.25), GENOME, 0),
    ],
)
def test_senseless_matrices_are_refused(p: object, q: object, step: float) -> None:
    with pytest.raises(ValueError, match=r"matrix|probability|step"):
        m.motif(p, q, step=step)


@given(DNA)
def test_codes_and_strands_there_and_back(sequence: str) -> None:
    codes = m.encode(sequence)
    assert m.decode(codes) == sequence
    assert m.decode(m.encode(sequence.lower())) == sequence
    np.testing.assert_array_equal(m.reverse_complement(m.reverse_complement(codes)), codes)
    assert m.decode(m.reverse_complement(codes)) == sequence[::-1].translate(
        str.maketrans("ACGT", "TGCA")
    )


@given(DNA, st.integers(0, 5))
def test_scanning_the_other_strand_is_scanning_with_the_turned_matrix(
    sequence: str, seed: int
) -> None:
    codes = m.encode(sequence)
    scores = m.motif(random_matrix(6, seed), GENOME).scores
    other = m.scan(m.reverse_complement(codes), scores)[::-1]
    np.testing.assert_array_equal(m.scan(codes, scores[::-1, ::-1]), other)


def test_an_unknown_base_rules_out_unless_it_lies_in_the_spacer() -> None:
    p = np.array([[0.7, 0.1, 0.1, 0.1]])
    found = m.motif(np.vstack([p, [[0.25] * 4], p]), np.full(4, 0.25))
    assert m.scan(m.encode("ANA"), found.scores).tolist() == [298]
    assert m.scan(m.encode("NAAN"), found.scores).max() < found.lowest
    assert m.scan(m.encode("AA"), found.scores).size == 0


@given(st.text("ACGTN", min_size=1, max_size=60), st.integers(0, 1000))
def test_a_shuffle_keeps_pairs_and_ends(sequence: str, seed: int) -> None:
    codes = m.encode(sequence)
    shuffled = m.dinucleotide_shuffle(codes, np.random.default_rng(seed))
    pairs = [Counter(itertools.pairwise(c.tolist())) for c in (codes, shuffled)]
    assert pairs[0] == pairs[1]
    assert (shuffled[0], shuffled[-1]) == (codes[0], codes[-1])


def test_all_shuffles_are_equally_likely() -> None:
    codes = m.encode("ACAGATACCA")
    target = Counter(itertools.pairwise(codes.tolist()))
    every = {
        word
        for word in set(itertools.permutations(codes.tolist()))
        if Counter(itertools.pairwise(word)) == target
    }
    rng = np.random.default_rng(11)
    n = 200 * len(every)
    seen = Counter(tuple(m.dinucleotide_shuffle(codes, rng).tolist()) for _ in range(n))
    assert set(seen) == every
    chi2 = sum((seen[w] - 200) ** 2 / 200 for w in every)
    assert chi2 < len(every) + 5 * np.sqrt(2 * len(every))


@settings(max_examples=30)
@given(st.floats(1e-12, 0.5), st.integers(1, 1000))
def test_the_least_of_many(p: float, n: int) -> None:
    assert m.sidak(p, n) == pytest.approx(1 - (1 - p) ** n, rel=1e-4, abs=1e-12)
    assert p * (1 - 1e-9) <= m.sidak(p, n) <= min(1, p * n) * (1 + 1e-9)


def test_composition_counts_both_strands() -> None:
    np.testing.assert_allclose(m.composition(m.encode("AAACN")), [3 / 8, 1 / 8, 1 / 8, 3 / 8])
    np.testing.assert_allclose(
        m.composition(m.encode("AA"), pseudo=1), [1 / 3, 1 / 6, 1 / 6, 1 / 3]
    )
    with pytest.raises(ValueError, match="no known base"):
        m.composition(m.encode("NN"))


def test_a_million_bases_in_seconds() -> None:
    codes = np.random.default_rng(1).integers(0, 4, 1_000_000, dtype=np.uint8)
    scores = m.motif(random_matrix(16, 8), GENOME).scores
    start = time.perf_counter()
    m.scan(codes, scores)
    assert time.perf_counter() - start < 5

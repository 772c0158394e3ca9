"""Substitutions by channel: from variants and a genome, and from tables of counts."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballbook import needs
from ballbook.cohort import InvalidCohort, read_cohort
from ballbook.mutation_catalogue import (
    CHANNELS,
    Fasta,
    InvalidFasta,
    WrongReference,
    build,
    channel,
    is_counts,
    read_counts,
)

COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def write(path: Path, sequences: dict[str, str], width: int = 10, *, index: bool = False) -> Path:
    """Write a FASTA, with its index if wanted."""
    lines, rows, at = [], [], 0
    for name, text in sequences.items():
        head = f">{name} a description\n"
        at += len(head)
        rows.append(f"{name}\t{len(text)}\t{at}\t{width}\t{width + 1}\n")
        body = "".join(f"{text[i : i + width]}\n" for i in range(0, len(text), width))
        lines += [head, body]
        at += len(body)
    path.write_text("".join(lines))
    if index:
        Path(f"{path}.fai").write_text("".join(rows))
    return path


def variants(rows: list[tuple[str, int, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["chrom", "pos", "ref", "alt"])


def backwards(text: str) -> str:
    return text.translate(COMPLEMENT)[::-1]


def test_channels_are_ninety_six_in_order() -> None:
    assert len(CHANNELS) == len(set(CHANNELS)) == 96
    assert CHANNELS[0] == "A[C>A]A" and CHANNELS[-1] == "T[T>G]T" and CHANNELS[17] == "A[C>G]C"


@pytest.mark.parametrize("index", [True, False])
def test_counts_by_hand(tmp_path: Path, index: bool) -> None:
    #                                        1234567890 12345
    genome = Fasta(
        write(tmp_path / "g.fa", {"chr1": "AACGTNACGtTTCAA", "chr2": "GGG"}, index=index)
    )
    assert genome.lengths == {"chr1": 15, "chr2": 3}
    found = build(
        variants(
            [
                ("1", 3, "C", "T"),  # A[C>T]G
                ("chr1", 4, "G", "A"),  # CGT, the other strand: A[C>T]G
                ("chr1", 10, "T", "C"),  # GTT, lower case in the genome
                ("chr1", 13, "C", "G"),  # TCA
                ("chr1", 5, "T", "A"),  # beside N
                ("chr1", 1, "A", "G"),  # first base
                ("chr1", 7, "AC", "A"),  # a deletion
                ("chr2", 2, "G", "T"),  # GGG: C[C>A]C
            ]
        ),
        ["b", "b", "a", "a", "a", "a", "a", "b"],
        genome,
    )
    assert list(found.counts.columns) == ["b", "a"] and list(found.totals) == [3, 2]
    assert found.counts.loc["A[C>T]G", "b"] == 2 and found.counts.loc["C[C>A]C", "b"] == 1
    assert found.counts.loc["G[T>C]T", "a"] == 1 and found.counts.loc["T[C>G]A", "a"] == 1
    assert sorted(found.left_out.values()) == [1, 2]
    assert any("right after" in note for note in found.notes)


@given(st.data())
@settings(max_examples=40)
def test_the_other_strand_gives_the_same_catalogue(tmp_path_factory, data) -> None:  # type: ignore[no-untyped-def]
    text = data.draw(st.text("ACGT", min_size=5, max_size=60))
    spots = data.draw(st.lists(st.integers(2, len(text) - 1), min_size=1, max_size=20))
    alts = [data.draw(st.sampled_from([b for b in "ACGT" if b != text[p - 1]])) for p in spots]
    rows = [("c", p, text[p - 1], a) for p, a in zip(spots, alts, strict=True)]
    turned = [
        ("c", len(text) + 1 - p, r.translate(COMPLEMENT), a.translate(COMPLEMENT))
        for _, p, r, a in rows
    ]
    folder = tmp_path_factory.mktemp("strand")
    width = data.draw(st.integers(1, 70))
    forward = build(
        variants(rows), ["s"] * len(rows), Fasta(write(folder / "f.fa", {"c": text}, width))
    )
    reverse = Fasta(write(folder / "r.fa", {"c": backwards(text)}, width))
    same = build(variants(turned), ["s"] * len(rows), reverse)
    pd.testing.assert_frame_equal(forward.counts, same.counts)
    assert forward.totals.sum() == len(rows)


@given(st.data())
@settings(max_examples=25)
def test_positions_are_read_whatever_the_line_length(tmp_path_factory, data) -> None:  # type: ignore[no-untyped-def]
    texts = data.draw(st.lists(st.text("ACGT", min_size=1, max_size=50), min_size=1, max_size=3))
    width = data.draw(st.integers(1, 60))
    named = {f"s{i}": t for i, t in enumerate(texts)}
    path = write(
        tmp_path_factory.mktemp("fa") / "x.fa", named, width, index=data.draw(st.booleans())
    )
    genome = Fasta(path)
    for name, text in named.items():
        codes = genome.codes(name, np.arange(0, len(text) + 2))
        assert list(codes) == [4, *("ACGT".index(b) for b in text), 4]


def test_another_build_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    text = "".join(rng.choice(list("ACGT"), 2000))
    other = Fasta(write(tmp_path / "hg19.fa", {"chr1": text[7:] + text[:7]}, 60))
    rows = [
        ("chr1", int(p), text[p - 1], "A" if text[p - 1] != "A" else "C")
        for p in range(2, 1900, 10)
    ]
    with pytest.raises(WrongReference, match=r"hg19.fa disagrees with .*Another genome build") as e:
        build(variants(rows), ["s"] * len(rows), other)
    assert "(7" in str(e.value) or "(8" in str(e.value)
    right = Fasta(write(tmp_path / "hg38.fa", {"chr1": text}, 60))
    assert build(variants(rows), ["s"] * len(rows), right).totals.sum() == len(rows)
    _, at, base, _ = rows[-1]
    odd = [*rows[:-1], ("chr1", at, "ACGT"[("ACGT".index(base) + 1) % 4], base)]
    with pytest.raises(WrongReference, match=r"1 of 190 .*damaged"):
        build(variants(odd), ["s"] * len(odd), right)
    with pytest.raises(WrongReference, match="beyond its end"):
        build(variants([("chr1", 5000, "A", "C")]), ["s"], right)
    with pytest.raises(WrongReference, match="has no chr9"):
        build(variants([("chr9", 5, "A", "C")]), ["s"], right)
    with pytest.raises(ValueError, match="1 variants but 2 groups"):
        build(variants(rows[:1]), ["s", "s"], right)


def test_bad_genomes_are_refused(tmp_path: Path) -> None:
    def refused(name: str, content: bytes, words: str) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InvalidFasta, match=words):
            Fasta(path)

    refused("a.fa.gz", gzip.compress(b">a\nACGT\n"), "unpack")
    refused("b.fa", b"", "empty")
    refused("c.fa", b"ACGT\n", "starts with >")
    refused("d.fa", b">a\nACGT\nACGTA\n", "several lengths")
    refused("e.fa", b">a\nACG\n>a\nACG\n", "stands twice")
    refused("f.fa", b">\nACG\n", "no name")
    with pytest.raises(InvalidFasta, match="no such file"):
        Fasta(tmp_path / "none.fa")
    path = write(tmp_path / "g.fa", {"a": "ACGT" * 10}, index=True)
    path.write_text(">a\nACGT\n")
    with pytest.raises(InvalidFasta, match="does not fit"):
        Fasta(path)
    Path(f"{path}.fai").write_text("a\tx\n")
    with pytest.raises(InvalidFasta, match="line 1"):
        Fasta(path)


def test_names_of_channels() -> None:
    assert channel("A[C>T]G") == channel("ACG>T") == channel("C>T:A.G") == "A[C>T]G"
    assert channel("C[G>A]T") == "A[C>T]G" and channel("A[C>C]G") is None and channel("ACG") is None


def table(columns: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    values = {f"s{j}": rng.integers(0, 9, 96) for j in range(columns)}
    return pd.DataFrame(values, index=pd.Index(CHANNELS, name="Type"))


def test_counts_are_read_in_any_order_and_form(tmp_path: Path) -> None:
    frame = table()
    plain, pairs = tmp_path / "a.tsv", tmp_path / "b.csv"
    frame.sample(frac=1, random_state=2).to_csv(plain, sep="\t")
    two = frame.reset_index()
    two.insert(0, "Sub", [f"{c[0]}{c[2]}{c[6]}" for c in two["Type"]])
    two["Type"] = [c[2:5] for c in two["Type"]]
    two[["Type", "Sub", "s0", "s1"]].to_csv(pairs, index=False)
    for path in (plain, pairs):
        found = read_counts(path).counts
        assert is_counts(path) and list(found.index) == list(CHANNELS)
        assert (found.to_numpy() == frame.to_numpy()).all() and list(found) == ["s0", "s1"]
    other = tmp_path / "c.csv"
    other.write_text("patient_id,age\np1,3\n")
    assert not is_counts(other)


def test_every_fault_of_a_table_is_told(tmp_path: Path) -> None:
    frame = table().astype(object)
    frame.iloc[3, 0], frame.iloc[5, 1] = -2, 0.5
    names = list(frame.index)
    names[7] = "X[C>T]G"
    names[8] = names[9]
    frame.index = pd.Index(names, name="Type")
    path = tmp_path / "bad.csv"
    frame.to_csv(path)
    with pytest.raises(InvalidCohort) as e:
        read_counts(path)
    told = str(e.value)
    for part in ("bad.csv", "row 5", "-2", "row 7", "0.5", "X[C>T]G", "each channel once"):
        assert part in told, part
    table().iloc[:-1].to_csv(path)
    with pytest.raises(InvalidCohort, match=r"T\[T>G\]T lacks"):
        read_counts(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidCohort, match="text table"):
        read_counts(path)


# ---------------------------------------------------------------------------- a reader's cohort


def folder_of(tmp_path: Path, *, shift: int = 0) -> Path:
    """Write variants of two samples, a genome and the branches of sites."""
    rng = np.random.default_rng(7)
    text = "".join(rng.choice(list("ACGT"), 3000))
    out = tmp_path / f"cohort{shift}"
    out.mkdir()
    write(out / "genome.fa", {"chr1": text[shift:] + text[:shift]}, 50, index=True)
    rows = []
    for i, p in enumerate(range(5, 2905, 10)):
        ref = text[p - 1]
        alt = "ACGT"[("ACGT".index(ref) + 1 + i % 3) % 4]
        for sample, reads in (("early", 20 if i < 200 else 0), ("late", 2 if i < 50 else 25)):
            rows.append(("chr1", p, ref, alt, sample, reads, 100))
    names = ["chrom", "pos", "ref", "alt", "sample", "alt_reads", "depth"]
    frame = pd.DataFrame(rows, columns=names)
    frame.to_csv(out / "variants.csv", index=False)
    return out


def test_variants_beside_their_genome_are_counted(tmp_path: Path) -> None:
    out = folder_of(tmp_path)
    cohort = read_cohort(out)
    assert cohort.catalogue is not None and not cohort.catalogue.branches
    # 290 sites; two reads are not enough to say that a sample has a variant.
    assert cohort.catalogue.totals.to_dict() == {"early": 200, "late": 240}
    assert needs.has(cohort, "catalogue")
    frame = pd.read_csv(out / "variants.csv").drop_duplicates(["chrom", "pos"])
    frame["branch"] = ["trunk"] * 100 + ["AML root"] * 150 + [""] * 40
    sites = frame[["chrom", "pos", "ref", "alt", "branch"]]
    sites.to_csv(out / "sites.csv", index=False)
    cohort = read_cohort(out)
    assert cohort.catalogue is not None and cohort.catalogue.branches
    assert cohort.catalogue.totals.to_dict() == {"trunk": 100, "AML root": 150}


def test_a_genome_of_another_build_refuses_the_cohort(tmp_path: Path) -> None:
    with pytest.raises(InvalidCohort, match="Another genome build"):
        read_cohort(folder_of(tmp_path, shift=3))


def test_a_table_of_channels_is_a_cohort(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    table().to_csv(path)
    cohort = read_cohort(path)
    assert cohort.catalogue is not None and cohort.n == 2 and cohort.tier == "yours"
    assert cohort.files.keys() == {"mine.csv"}
    inside = tmp_path / "folder"
    inside.mkdir()
    table().to_csv(inside / "catalogue.csv")
    assert read_cohort(inside).catalogue is not None
    table().to_csv(inside / "catalogue.tsv", sep="\t")
    with pytest.raises(InvalidCohort, match="one file catalogue"):
        read_cohort(inside)
    bad = table()
    bad.iloc[0, 0] = -1
    bad.to_csv(path)
    with pytest.raises(InvalidCohort, match="a whole number, 0 or more"):
        read_cohort(path)

"""Reads at variant loci: tables and VCFs, good and broken."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ballbook import needs
from ballbook.cohort import InvalidCohort, Problem, read_cohort, read_tables
from ballbook.dictionaries import dictionary
from ballbook.variants import LENGTHS, Variants, chromosome, read_variants

HEAD = "##fileformat=VCFv4.2\n##reference=file:///ref/GRCh38.fa\n"
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t"


def vcf(*records: str, samples: str = "S1\tS2", head: str = HEAD) -> str:
    """Return a VCF; records are written with spaces for tabs."""
    return head + COLUMNS + samples + "\n" + "".join(r.replace(" ", "\t") + "\n" for r in records)


GOOD = vcf(
    "chr1 100 . C T . PASS . GT:AD:DP 0/1:90,10:103 0/0:80,0:80",
    "chr1 250 . G A,C . PASS . GT:AD 0/1:50,5,1 ./.:.",
    "chr2 70 . AT A . . . AD 40,20 35,0",
    "chrX 5 . T <DEL> . PASS . AD 4,2 3,5",
    "chrX 9 . T G . lowqual . AD 4,2 3,5",
)


def put(folder: Path, text: str | bytes, name: str = "v.vcf") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf8"))
    return path


def problems(*paths: Path, **more: Any) -> list[Problem]:
    with pytest.raises(InvalidCohort) as caught:
        read_variants(list(paths), **more)
    found = list(caught.value.problems)
    assert found and all(p.file and p.expected and p.mend for p in found)
    return found


# --------------------------------------------------------------------------------- what is read


def test_a_vcf_is_read_allele_by_allele(tmp_path: Path) -> None:
    v = read_variants(put(tmp_path, GOOD))
    assert v.samples == ("S1", "S2") and v.build == "GRCh38"
    assert v.sites.to_numpy().tolist() == [
        ["chr1", 100, "C", "T"], ["chr1", 250, "G", "A"], ["chr1", 250, "G", "C"],
        ["chr2", 70, "AT", "A"],
    ]  # fmt: skip
    assert v.alt.tolist() == [[10, 0], [5, 0], [1, 0], [20, 0]]
    # Both alleles of one record count among the reads of each.
    assert v.depth.tolist() == [[100, 80], [56, 0], [56, 0], [60, 35]]
    told = " ".join(v.notes)
    assert "1 records of several alleles are split" in told and "1 records fail a filter" in told
    assert "1 records are no short variants" in told and "At 2 of 8" in told
    both = read_variants(tmp_path / "v.vcf", only_passing=False)
    assert len(both.sites) == 5 and both.alt[-1].tolist() == [2, 5]


@pytest.mark.parametrize("ending", ["vcf", "vcf.gz"])
def test_a_packed_vcf_reads_as_the_plain_one(tmp_path: Path, ending: str) -> None:
    raw = GOOD.encode()
    v = read_variants(
        put(tmp_path, gzip.compress(raw) if ending[-1] == "z" else raw, f"v.{ending}")
    )
    assert v.alt.sum() == 36 and len(v.files[f"v.{ending}"]) == 64
    windows = read_variants(put(tmp_path, raw.replace(b"\n", b"\r\n"), "w.vcf"))
    assert np.array_equal(windows.depth, v.depth)


@pytest.mark.parametrize(
    ("fields", "cell", "alt", "depth"),
    [
        ("GT:AD:DP", "0/1:30,10:45", 10, 40),
        ("AD:RD:DP", "10:28:40", 10, 38),
        ("AD:DP", "10:45", 10, 45),
        ("DP:RO:AO", "60:31,:9".replace(",", ""), 9, 40),
        ("DP:AO", "60:9", 9, 60),
        ("DP:FDP:AU:CU:GU:TU", "41:1:0,0:30,33:1,1:8,9", 8, 39),
        ("GT:FAZ:FCZ:FGZ:FTZ:RAZ:RCZ:RGZ:RTZ:PM", "0|1:0:12:0:3:1:14:0:5:2e-1", 8, 35),
        ("GT:AD:DP", "./.:.:.", 0, 0),
        ("GT:AD:DP", "./.", 0, 0),
    ],
)
def test_the_fields_of_callers_are_understood(
    tmp_path: Path, fields: str, cell: str, alt: int, depth: int
) -> None:
    v = read_variants(put(tmp_path, vcf(f"1 5 . C T . PASS . {fields} {cell}", samples="S1")))
    assert (v.alt.item(), v.depth.item()) == (alt, depth)


def test_strelka_insertions_and_freebayes_alleles(tmp_path: Path) -> None:
    record = "1 5 . C CA . PASS . DP:TAR:TIR:TOR 50:30,31:12,13:0,0"
    v = read_variants(put(tmp_path, vcf(record, samples="S1")))
    assert (v.alt.item(), v.depth.item()) == (12, 42)
    record = "1 5 . C T,G . PASS . RO:AO 20:3,4"
    v = read_variants(put(tmp_path, vcf(record, samples="S1")))
    assert v.alt.ravel().tolist() == [3, 4] and v.depth.ravel().tolist() == [27, 27]


def test_a_table_gives_what_its_vcf_gives(tmp_path: Path) -> None:
    v = read_variants(put(tmp_path, GOOD))
    long = v.table
    assert list(long.columns) == [c.name for c in dictionary("variants").columns]
    long = long.sample(frac=1, random_state=3)
    long["chrom"] = long["chrom"].str.removeprefix("chr")
    for name in ("t.csv", "t.tsv", "t.parquet", "t.csv.gz"):
        path = tmp_path / name
        if name.endswith("parquet"):
            long.to_parquet(path)
        else:
            long.to_csv(path, index=False, sep="\t" if "tsv" in name else ",")
        t = read_variants(path)
        order = pd.MultiIndex.from_frame(t.sites).get_indexer(pd.MultiIndex.from_frame(v.sites))
        back = t.of(v.samples)
        assert np.array_equal(back.alt[order], v.alt) and np.array_equal(back.depth[order], v.depth)
        assert t.copy_number is None and t.purity is None


def test_copy_number_and_purity_stand_beside_the_reads(tmp_path: Path) -> None:
    text = (
        "Chromosome;Position;REF;ALT;sample id;alt count;DP;CN;purity\n"
        "7;10;a;T;A;3;9;3;0.5\n7;10;A;T;B;0;8;;\n"
    )
    v = read_variants(put(tmp_path, text, "v.csv"))
    assert v.copy_number is not None and v.copy_number[0, 0] == 3 and np.isnan(v.copy_number[0, 1])
    assert v.purity is not None and v.purity[0, 0] == 0.5 and v.sites["ref"].item() == "A"
    record = "1 5 . C T . PASS . AD:CN 3,4:4 5,6:."
    from_vcf = read_variants(put(tmp_path, vcf(record)))
    assert from_vcf.copy_number is not None and from_vcf.copy_number[0, 0] == 4


def test_parts_can_be_taken(tmp_path: Path) -> None:
    v = read_variants(put(tmp_path, GOOD))
    some = v.at(v.sites.iloc[[3, 0]])
    assert some.sites["pos"].tolist() == [100, 70] and some.alt[:, 0].tolist() == [10, 20]
    assert v.of(["S2"]).alt.shape == (4, 1) and v.where(v.alt[:, 0] > 5).alt.shape == (2, 2)
    with pytest.raises(KeyError, match="no sample S9; there are S1, S2"):
        v.of(["S9"])


@pytest.mark.parametrize(
    ("name", "ours"),
    [("7", "chr7"), ("chr7", "chr7"), ("CHRx", "chrX"), ("23", "chrX"), ("MT", "chrM"),
     ("GL000220.1", "GL000220.1"), ("chrUn_x", "chrUn_x"), ("0", "0")],
)  # fmt: skip
def test_chromosomes_have_one_name(name: str, ours: str) -> None:
    assert chromosome(name) == ours


# ------------------------------------------------------------------------------- several files


def test_files_of_samples_and_files_of_chromosomes(tmp_path: Path) -> None:
    a = put(tmp_path, vcf("1 5 . C T . PASS . AD 9,1", samples="A"), "a.vcf")
    b = put(
        tmp_path, vcf("1 5 . C T . PASS . AD 7,3", "1 8 . G A . . . AD 1,1", samples="B"), "b.vcf"
    )
    v = read_variants([a, b])
    assert v.samples == ("A", "B") and v.alt.tolist() == [[1, 3], [0, 1]]
    assert v.depth.tolist() == [[10, 10], [0, 2]] and "1 of 4 loci" in v.notes[-1]
    c = put(tmp_path, vcf("2 5 . C T . PASS . AD 9,1 3,3", samples="B\tA"), "c.vcf")
    d = put(tmp_path, vcf("1 5 . C T . PASS . AD 2,2 8,1", samples="A\tB"), "d.vcf")
    v = read_variants([d, c])
    assert v.samples == ("A", "B") and v.alt.tolist() == [[2, 1], [3, 1]]


def test_samples_that_differ_between_files_are_refused(tmp_path: Path) -> None:
    a = put(tmp_path, vcf("1 5 . C T . PASS . AD 9,1 2,2", samples="A\tB"), "a.vcf")
    b = put(tmp_path, vcf("2 5 . C T . PASS . AD 9,1 2,2", samples="B\tC"), "b.vcf")
    (found,) = problems(a, b)
    assert found.file == "b.vcf" and "all samples of a.vcf, or none" in found.expected
    assert found.value == "1 shared, not A, C"


def test_a_locus_in_two_files_of_the_same_samples_is_refused(tmp_path: Path) -> None:
    a = put(tmp_path, vcf("1 5 . C T . PASS . AD 9,1 2,2"), "a.vcf")
    b = put(tmp_path, vcf("1 3 . C T . . . AD 9,1 2,2", "1 5 . C T . . . AD 9,1 2,2"), "b.vcf")
    (found,) = problems(a, b)
    assert (found.file, found.row, found.value) == ("b.vcf", 5, "chr1 5 C T")
    assert "loci that a.vcf has not" in found.expected


# ------------------------------------------------------------------------------ broken VCFs


@pytest.mark.parametrize(
    ("record", "column", "value", "expected"),
    [
        ("1 5 . C T . PASS . GT:DP 0/1:9 0/0:3", "FORMAT", "GT:DP", "FORMAT fields with reads"),
        ("1 5 . C T . PASS . AD:DP 4,9:8 1,1:9", "S1", "4,9:8", "alt_reads at most depth"),
        ("1 5 . C T . PASS . AD 4,9 x,1", "S2", "x,1", "whole numbers"),
        ("1 5 . C T . PASS . AD 4,-9 3,1", "S1", "4,-9", "whole numbers"),
        ("1 5 . C T,G . PASS . AD 4,9 3,1,1", "S1", "4,9", "AD with 3 numbers"),
        ("1 5 . C T . PASS . AD 4 3,1", "S1", "4", "AD of both alleles, or RD or DP"),
        ("1 5 . C T . PASS . AO:RO 4,1:9 3:9", "S1", "4,1:9", "AO with 1 numbers"),
        ("1 5 . C T . PASS . AO:RO 4:. 3:9", "S1", "4:.", "RO or DP beside AO"),
        ("1 5 . CA T . PASS . AU:CU:GU:TU 1:1:1:1 .", "S1", "1:1:1:1", "a substitution"),
        ("1 5 . C T . PASS . AD 4,9", None, "10 columns", "11 columns"),
        ("1 0 . C T . PASS . AD 4,9 3,1", "POS", "0", "1 or more"),
        ("1 5e3 . C T . PASS . AD 4,9 3,1", "POS", "5e3", "1 or more"),
        ("1 5 . R T . PASS . AD 4,9 3,1", "REF", "R", "bases"),
        ("1 5 . C T;G . PASS . AD 4,9 3,1", "ALT", "T;G", "alternative alleles"),
        ("1 248956423 . C T . PASS . AD 4,9 3,1", "POS", "248,956,423", "chr1 of GRCh38"),
    ],
)
def test_a_broken_record_is_named(
    tmp_path: Path, record: str, column: str | None, value: str, expected: str
) -> None:
    (found,) = problems(put(tmp_path, vcf(record)))
    assert (found.row, found.column, found.value) == (4, column, value)
    assert expected in found.expected


def test_all_problems_are_told_at_once_and_many_of_a_kind_are_counted(tmp_path: Path) -> None:
    records = [f"1 {900 - i} . C T . PASS . GT:DP 0/1:9 0/0:3" for i in range(40)]
    found = problems(put(tmp_path, vcf(*records, "3 x . C T . PASS . AD 1,2 1,2")))
    told = [p.column for p in found]
    assert told.count("FORMAT") == 5 and told.count("POS") == 6
    last = [p for p in found if p.column == "FORMAT"][-1]
    assert last.mend.endswith("; 35 more like this")


def test_unsorted_and_repeated_records(tmp_path: Path) -> None:
    records = ["1 9 . C T . . . AD 1,2 1,2", "1 5 . C T . . . AD 1,2 1,2",
               "2 5 . C T . . . AD 1,2 1,2", "1 9 . C T . . . AD 1,2 1,2"]  # fmt: skip
    found = {(p.row, p.column): p for p in problems(put(tmp_path, vcf(*records)))}
    assert found[5, "POS"].value == "5 after 9" and "bcftools sort" in found[5, "POS"].mend
    assert "one stretch" in found[7, "CHROM"].expected
    assert (
        found[7, "chrom"].value == "chr1 9 C T" and "rows (4 has it too)" in found[7, "chrom"].mend
    )


def test_wrong_and_mixed_genome_builds(tmp_path: Path) -> None:
    record = "1 5 . C T . PASS . AD 4,9 3,1"
    contig = "##contig=<ID=chr1,length={}>\n"
    hg19 = HEAD.replace("GRCh38", "hg19")
    a = put(tmp_path, vcf(record), "a.vcf")
    b = put(tmp_path, vcf(record, samples="S3\tS4", head=hg19), "b.vcf")
    assert read_variants(b).build == "GRCh37"
    (found,) = problems(a, b)
    assert (found.file, found.value) == ("b.vcf", "GRCh37") and "GRCh38, as a.vcf" in found.expected
    (found,) = problems(a, build="GRCh37")
    assert "GRCh37, as declared" in found.expected
    mixed = put(
        tmp_path, vcf(record, head=HEAD + contig.format(LENGTHS["GRCh37"]["chr1"])), "m.vcf"
    )
    (found,) = problems(mixed)
    assert (found.row, found.value) == (3, "GRCh37") and "GRCh38 in line 2" in found.expected
    mouse = put(tmp_path, vcf(record, head=HEAD[:21] + contig.format(195471971)), "mouse.vcf")
    (found,) = problems(mouse)
    assert (found.column, found.value) == ("contig", "chr1, 195,471,971 bp")


def test_a_position_can_tell_the_build_of_a_table(tmp_path: Path) -> None:
    text = "chrom,pos,ref,alt,sample,alt_reads,depth\n1,249000000,C,T,A,1,9\n"
    v = read_variants(put(tmp_path, text, "v.csv"))
    assert v.build == "GRCh37" and "the other has no such positions" in v.notes[0]
    (found,) = problems(tmp_path / "v.csv", build="GRCh38")
    assert (found.row, found.column) == (2, "pos") and "another genome build" in found.mend
    both = put(tmp_path, text + "2,243000000,C,T,A,1,9\n1,300000000,C,T,A,1,9\n", "b.csv")
    assert {p.row for p in problems(both)} == {2, 3, 4}


@pytest.mark.parametrize("keep", [30, 200, -1, -9])
def test_a_truncated_file_is_not_read_as_a_short_one(tmp_path: Path, keep: int) -> None:
    rng = np.random.default_rng(1)
    records = [f"1 {i + 1} . C T . . . AD {rng.integers(99)},{i % 7} 9,9" for i in range(300)]
    packed = gzip.compress(vcf(*records).encode())
    (found,) = problems(put(tmp_path, packed[:keep], "v.vcf.gz"))
    assert "whole compressed file" in found.expected and "not whole" in found.mend
    assert found.row is not None and 1 <= found.row <= 304


def test_a_bgzip_file_without_its_last_block_is_cut_off(tmp_path: Path) -> None:
    def block(data: bytes) -> bytes:
        packed = gzip.compress(data)
        size = len(packed) + 8 - 1
        return packed[:3] + b"\x04" + packed[4:10] + b"\x06\x00BC\x02\x00" + size.to_bytes(2, "little") + packed[10:]  # fmt: skip  # noqa: E501

    whole = block(GOOD.encode()) + bytes.fromhex(
        "1f8b08040000000000ff0600424302001b0003000000000000000000"
    )
    assert read_variants(put(tmp_path, whole, "v.vcf.gz")).alt.shape == (4, 2)
    (found,) = problems(put(tmp_path, whole[:-28], "v.vcf.gz"))
    assert "bgzip" in found.expected


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (b"", "v.vcf", "##fileformat=VCF"),
        (b"PK\x03\x04", "v.vcf", "##fileformat=VCF"),
        (GOOD.encode("utf-16"), "v.vcf", "text in UTF-8"),
        (GOOD.encode(), "v.vcf.gz", "compressed by gzip"),
        (GOOD.split("#CHROM")[0].encode(), "v.vcf", "the line #CHROM"),
        (GOOD.replace("\tFORMAT\tS1\tS2", "").encode(), "v.vcf", "a column FORMAT"),
        (vcf("1 5 . C T . . . AD 1,2 1,2", samples="A\tA").encode(), "v.vcf", "each sample named"),
        (vcf().encode(), "v.vcf", "at least one short variant"),
        (vcf("1 5 . C T . q10 . AD 1,2 1,2").encode(), "v.vcf", "at least one short variant"),
        (GOOD.encode(), "v.bam", "a VCF or a table of variants"),
        (b"a\0b", "v.csv", "zero bytes"),
        (b"PAR1nonsense", "v.parquet", "a Parquet file"),
        (b"chrom,pos\n", "v.csv", "at least one row"),
    ],
)
def test_what_is_no_file_of_variants(
    tmp_path: Path, content: bytes, name: str, expected: str
) -> None:
    assert expected in problems(put(tmp_path, content, name))[0].expected


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "an existing file" in problems(tmp_path / "no.vcf")[0].expected
    assert "at least one file" in problems()[0].expected


# ---------------------------------------------------------------------------- broken tables


TABLE = "chrom,pos,ref,alt,sample,alt_reads,depth,copy_number,purity\n"


@pytest.mark.parametrize(
    ("row", "column", "value", "expected"),
    [
        ("1,5,C,T,A,9,8,2,1", "alt_reads", "9 of 8", "alt_reads at most depth"),
        ("1,5,C,T,A,,8,2,1", "alt_reads", "", "a whole number"),
        ("1,5,C,T,A,1.5,8,2,1", "alt_reads", "1.5", "a whole number"),
        ("1,5,C,T,A,1,-8,2,1", "depth", "-8", "0 or more"),
        ("1,5,C,T,A,1,8,2,1.2", "purity", "1.2", "from 0 to 1"),
        ("1,5,C,T,A,1,8,many,1", "copy_number", "many", "from 0 to 100"),
        ("1,five,C,T,A,1,8,2,1", "pos", "five", "1 or more"),
        ("1,5,C,\"T,G\",A,1,8,2,1", "alt", "T,G", "bases"),
        ("1,5,-,T,A,1,8,2,1", "ref", "-", "bases"),
        (",5,C,T,A,1,8,2,1", "chrom", "", "a chromosome"),
        ("1,5,C,T,,1,8,2,1", "sample", "", "a sample"),
        ("1,5,C,T,A,1", None, "6 cells", "9 cells"),
        ("2,7,C,T,A,1,8,2,1", "chrom", "chr2 7 C T A", "once"),
    ],
)  # fmt: skip
def test_a_broken_row_is_named(
    tmp_path: Path, row: str, column: str | None, value: str, expected: str
) -> None:
    path = put(tmp_path, TABLE + "2,7,C,T,A,1,8,2,1\n" + row + "\n", "v.csv")
    found = problems(path)
    assert (found[0].row, found[0].column, found[0].value) == (3, column, value)
    assert expected in found[0].expected


def test_columns_that_are_missing_or_twice(tmp_path: Path) -> None:
    text = "chrom,position,pos,ref,alt,sample,alt_reads\n1,5,5,C,T,A,1\n"
    told = [p.expected for p in problems(put(tmp_path, text, "v.csv"))]
    assert any("a column depth" in t for t in told) and any("one column for pos" in t for t in told)


# --------------------------------------------------------------------------------- as a cohort


def folder(tmp_path: Path, **files: str) -> Path:
    place = tmp_path / "mine"
    place.mkdir(exist_ok=True)
    for name, text in files.items():
        put(place, text, name.replace("_", "."))
    return place


SAMPLES = "sample,day,control,purity\nS1,0,,0.8\nS2,90,,\nN,,1,\n"
READS = (
    "chrom,pos,ref,alt,sample,alt_reads,depth\n"
    "1,5,C,T,S1,3,9\n1,5,C,T,S2,2,9\n1,5,C,T,N,0,9\n2,5,C,T,S1,3,9\n"
)


def test_a_folder_holds_reads_sites_and_samples(tmp_path: Path) -> None:
    sites = "chrom,pos,ref,alt,branch\nchr1,5,C,T,AML\nchr9,5,C,T,AML\n"
    place = folder(tmp_path, variants_csv=READS, sites_csv=sites, samples_csv=SAMPLES)
    c = read_cohort(place)
    assert c.serial is not None and c.patients["patient_id"].tolist() == ["S1", "S2"]
    assert c.serial.variants.samples == ("S1", "S2", "N")
    assert c.serial.variants.purity is not None and c.serial.variants.purity[1, 0] == 0.8
    assert c.serial.sites is not None and c.serial.sites["branch"].tolist() == ["AML", "AML"]
    assert c.serial.samples is not None and c.serial.samples["control"].tolist() == [0, 0, 1]
    assert any("1 of 2 sites of the list are not" in n for n in c.notes)
    assert set(c.files) == {"variants.csv", "sites.csv", "samples.csv"}
    for name, there in {"variants": True, "sites": True, "samples.control": True,
                        "samples.day": True, "variants.purity": True,
                        "variants.copy_number": False, "expression": False}.items():  # fmt: skip
        assert needs.has(c, name) is there, name
    assert read_tables(place).unread == ()


def test_one_vcf_is_a_cohort_of_its_samples(tmp_path: Path) -> None:
    c = read_cohort(put(tmp_path, GOOD))
    assert c.n == 2 and c.serial is not None and c.serial.variants.build == "GRCh38"
    c = read_cohort(put(tmp_path, READS, "reads.csv"))
    assert c.n == 3 and c.serial is not None and not needs.has(c, "sites")
    both = folder(tmp_path, a_vcf=GOOD, sites_vcf=vcf("chr1 100 . C T . . . AD 1,1 1,1"))
    c = read_cohort(both)
    assert c.serial is not None and c.serial.sites is not None and len(c.serial.sites) == 1


def test_patients_may_stand_beside_reads(tmp_path: Path) -> None:
    place = folder(tmp_path, variants_csv=READS, patients_csv="patient_id,age_years\nP1,4\n")
    c = read_cohort(place)
    assert c.patients["patient_id"].tolist() == ["P1"] and c.serial is not None


@pytest.mark.parametrize(
    ("files", "file", "expected"),
    [
        ({"samples_csv": "sample,day\nS1,0\nS2,1\n"}, "samples.csv", "a row for every sample"),
        ({"samples_csv": SAMPLES + "S7,3,,\n"}, "samples.csv", "a sample of variants"),
        ({"samples_csv": SAMPLES + "S1,3,,\n"}, "samples.csv", "each sample once"),
        ({"samples_csv": SAMPLES.replace("0.8", "80")}, "samples.csv", "from 0 to 1"),
        ({"samples_csv": SAMPLES.replace(",1,", ",maybe,")}, "samples.csv", "1 or 0"),
        ({"samples_csv": "sample,control\nS1,1\nS2,1\nN,1\n"}, "samples.csv", "no control"),
        ({"sites_csv": "chrom,pos,ref,alt\n9,9,C,T\n"}, "sites.csv", "a locus that variants has"),
        ({"sites_csv": "chrom,pos,ref\n9,9,C\n"}, "sites.csv", "a column alt"),
        ({"sites_csv": READS[:18] + "1,5,C,T\n", "sites_tsv": "x"}, "sites.tsv", "one file sites"),
        ({"cohort_yml": "genome_build: hg38\n"}, "cohort.yml", "a known genome build"),
    ],
)  # fmt: skip
def test_what_goes_with_reads_is_checked(
    tmp_path: Path, files: dict[str, str], file: str, expected: str
) -> None:
    place = folder(tmp_path, variants_csv=READS, **files)
    with pytest.raises(InvalidCohort) as caught:
        read_cohort(place)
    assert (caught.value.problems[0].file, expected in str(caught.value)) == (file, True)
    assert all(p.mend for p in caught.value.problems)


def test_a_broken_vcf_of_a_cohort_is_refused_with_its_line(tmp_path: Path) -> None:
    place = folder(tmp_path, a_vcf=GOOD.replace("90,10", "90,1o"))
    with pytest.raises(InvalidCohort, match=r"a\.vcf, row 4, column S1: found '0/1:90,1o:103'"):
        read_cohort(place)


# ------------------------------------------------------------------------------- fuzz and speed


ODD = ["", ".", "1e9", "-3", "9" * 30, "0/1:3", "AD:AD", "C,", ",", "nan", "٣", "1:2:3"]


def sound(v: Variants) -> None:
    assert v.alt.shape == v.depth.shape == (len(v.sites), len(v.samples))
    assert (v.alt >= 0).all() and (v.alt <= v.depth).all() and not v.sites.duplicated().any()


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_no_broken_vcf_ends_in_anything_but_problems(tmp_path: Path, data: st.DataObject) -> None:
    lines = GOOD.split("\n")
    for _ in range(data.draw(st.integers(1, 4))):
        i = data.draw(st.integers(0, len(lines) - 1))
        cells = lines[i].split("\t")
        j = data.draw(st.integers(0, len(cells) - 1))
        what = data.draw(st.sampled_from(["cell", "drop", "double", "delete", "twice", "swap"]))
        if what == "cell":
            cells[j] = data.draw(st.text(max_size=8) | st.sampled_from(ODD))
        elif what == "drop":
            del cells[j]
        elif what == "double":
            cells.insert(j, cells[j])
        lines[i] = "\t".join(cells)
        if what == "delete":
            lines[i] = ""
        elif what == "twice":
            lines.insert(i, lines[i])
        elif what == "swap":
            lines[i], lines[-1 - i] = lines[-1 - i], lines[i]
    raw = "\n".join(lines).encode("utf8", "surrogatepass")
    path = put(tmp_path, raw)
    try:
        sound(read_variants(path))
    except InvalidCohort as e:
        assert e.problems and all(p.file == "v.vcf" and p.expected and p.mend for p in e.problems)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_no_damaged_bytes_end_in_anything_but_problems(tmp_path: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["v.vcf", "v.vcf.gz", "v.csv", "v.csv.gz"]))
    raw = bytearray((READS if "csv" in name else GOOD).encode())
    raw = bytearray(gzip.compress(bytes(raw))) if name.endswith("gz") else raw
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = put(tmp_path, bytes(raw[: data.draw(st.integers(0, len(raw)))]), name)
    try:
        sound(read_variants(path))
    except InvalidCohort as e:
        assert e.problems and all(p.expected and p.mend for p in e.problems)


@pytest.mark.slow
def test_fifty_thousand_loci_of_ten_samples_take_seconds(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    n, m = 50_000, 10
    depth = rng.poisson(100, (n, m))
    alt = rng.binomial(depth, 0.1)
    rows = [HEAD + COLUMNS + "\t".join(f"S{j}" for j in range(m))]
    for i in range(n):
        cells = "\t".join(f"0/1:{d - a},{a}" for a, d in zip(alt[i], depth[i], strict=True))
        rows.append(f"chr1\t{i + 1}\t.\tC\tT\t.\tPASS\t.\tGT:AD\t{cells}")
    path = put(tmp_path, gzip.compress("\n".join(rows).encode(), 1), "v.vcf.gz")
    start = time.process_time()
    v = read_variants(path)
    assert time.process_time() - start < 8
    assert np.array_equal(v.alt, alt) and np.array_equal(v.depth, depth)
    v.table.to_csv(tmp_path / "v.csv", index=False)
    start = time.process_time()
    again = read_variants(tmp_path / "v.csv")
    assert time.process_time() - start < 10
    assert np.array_equal(again.alt, alt)

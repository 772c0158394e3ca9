"""Break points and segments as callers write them, and what is wrong with them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from ballbook import needs
from ballbook.cohort import Cohort, InvalidCohort, read_cohort

RNG = np.random.default_rng(1)
GENOME = {c: "".join(RNG.choice(list("ACGT"), 3000)) for c in ("chr1", "chr9")}


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf8")
    return folder


def fasta(width: int = 60) -> str:
    lines = []
    for name, s in GENOME.items():
        lines += [f">{name} test", *(s[i : i + width] for i in range(0, len(s), width))]
    return "\n".join(lines) + "\n"


def table(*rows: str) -> str:
    return "\n".join(rows) + "\n"


def breaks(cohort: Cohort) -> list[tuple[object, ...]]:
    assert cohort.genome is not None and cohort.genome.breakpoints is not None
    frame = cohort.genome.breakpoints
    return list(frame[["junction", "chrom", "pos", "strand"]].itertuples(index=False, name=None))


def middle(cohort: Cohort, i: int) -> tuple[str, str]:
    assert cohort.genome is not None and cohort.genome.breakpoints is not None
    s = cohort.genome.breakpoints["sequence"].iloc[i]
    return s[len(s) // 2 - 5 : len(s) // 2], s[len(s) // 2 : len(s) // 2 + 5]


DELETION = table("sample,junction,chrom,pos,strand", "S1,J1,9,500,+", "S1,J1,chr9,901,-")


def check_deletion(cohort: Cohort) -> None:
    s = GENOME["chr9"]
    assert [b[1:] for b in breaks(cohort)] == [("chr9", 500, "+"), ("chr9", 901, "-")]
    assert middle(cohort, 0) == (s[495:500], s[500:505])
    assert middle(cohort, 1) == (s[895:900], s[900:905])


def test_a_deletion_is_the_same_in_every_format(tmp_path: Path) -> None:
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
    bnd = [
        f"{header}\tFORMAT\tS1",
        "chr9\t500\ta\tN\tN[chr9:901[\t.\tPASS\tSVTYPE=BND\tGT\t0/1",
        "chr9\t901\tb\tN\t]chr9:500]N\t.\tPASS\tSVTYPE=BND\tGT\t0/1",
    ]
    forms = {
        "table": write(tmp_path / "a", breakpoints__csv=DELETION),
        "bedpe": write(tmp_path / "b", breakpoints__bedpe=table(
            "#chrom1\tstart1\tend1\tchrom2\tstart2\tend2\tname\tscore\tstrand1\tstrand2",
            "9\t499\t500\t9\t900\t901\tJ1\t.\t+\t-")),
        "del": write(tmp_path / "c", breakpoints__vcf=table(
            header, "9\t500\tJ1\tN\t<DEL>\t.\tPASS\tSVTYPE=DEL;END=900")),
        "mates": write(tmp_path / "d", breakpoints__vcf=table(*bnd)),
    }  # fmt: skip
    for folder in forms.values():
        write(folder, genome__fa=fasta())
        check_deletion(read_cohort(folder))
    assert read_cohort(forms["mates"]).patients["patient_id"].tolist() == ["S1"]
    assert read_cohort(forms["table"]).patients["patient_id"].tolist() == ["S1"]
    packed = tmp_path / "c" / "breakpoints.vcf"
    packed.with_name("breakpoints.vcf.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    (tmp_path / "c" / "genome.fa").unlink()
    (tmp_path / "c" / "genome.fa.gz").write_bytes(gzip.compress(fasta().encode()))
    check_deletion(read_cohort(tmp_path / "c"))


def test_an_index_gives_the_same_sequence(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", breakpoints__csv=DELETION, genome__fa=fasta(50))
    start = len(">chr1 test\n")
    second = start + 60 * 51 + len(">chr9 test\n")
    (folder / "genome.fa.fai").write_text(
        f"chr1\t3000\t{start}\t50\t51\nchr9\t3000\t{second}\t50\t51\n"
    )
    check_deletion(read_cohort(folder))
    ends = table("chrom,pos,strand", "chr1,13,+", "chr1,2988,+")
    write(folder, breakpoints__csv=ends)
    cohort = read_cohort(folder)
    assert cohort.genome is not None and cohort.genome.breakpoints is not None
    first, last = cohort.genome.breakpoints["sequence"]
    assert first == "N" * 87 + GENOME["chr1"][:113]
    assert last == GENOME["chr1"][2888:] + "N" * 88
    assert cohort.genome.breakpoints["junction"].isna().all()


def test_duplications_and_inversions(tmp_path: Path) -> None:
    header = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
    folder = write(tmp_path / "a", genome__fa=fasta(), breakpoints__vcf=table(
        header,
        "9\t500\td\tN\t<DUP:TANDEM>\t.\tPASS\tSVTYPE=DUP;END=900",
        "9\t600\ti\tN\t<INV>\t.\t.\tSVTYPE=INV;END=950",
        "9\t700\tx\tN\t<INS>\t.\tPASS\tSVTYPE=INS",
        "9\t700\ty\tN\t<DEL>\t.\tLowQual\tSVTYPE=DEL;END=900"))  # fmt: skip
    cohort = read_cohort(folder)
    assert breaks(cohort) == [
        ("d", "chr9", 900, "+"), ("d", "chr9", 501, "-"),
        ("ia", "chr9", 600, "+"), ("ia", "chr9", 950, "+"),
        ("ib", "chr9", 601, "-"), ("ib", "chr9", 951, "-"),
    ]  # fmt: skip
    assert any("1 filtered records and 1 without" in note for note in cohort.notes)


def test_a_sequence_of_ones_own_needs_no_reference(tmp_path: Path) -> None:
    s = GENOME["chr1"][:80]
    folder = write(tmp_path / "a", breakpoints__csv=table("chrom,pos,strand,seq", f"1,41,-,{s}"))
    cohort = read_cohort(folder)
    assert cohort.genome is not None and cohort.genome.breakpoints is not None
    assert cohort.genome.breakpoints["sequence"].tolist() == [s]
    assert needs.has(cohort, "breakpoints") and not needs.has(cohort, "segments")
    assert read_cohort(folder / "breakpoints.csv").n == 1


GOOD = GENOME["chr1"][:80]
WITH = "chrom,pos,strand,sequence"
COPIES = "chrom,start,end,total"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"breakpoints__csv": table("chrom,pos", "1,5")}, "a column strand"),
        ({"breakpoints__csv": table("chrom,pos,strand", "1,5,+")}, "genome.fa into the folder"),
        ({"breakpoints__csv": table(WITH, f"1,5,x,{GOOD}")}, "one of +, -"),
        ({"breakpoints__csv": table(WITH, "1,5,+,ACGT")}, "even number"),
        ({"breakpoints__csv": table(WITH, f"1,5,+,{'N' * 60}")}, "half is known"),
        ({"breakpoints__csv": table(WITH, f"1,5,+,{GOOD}A")}, "even number"),
        ({"breakpoints__csv": table(WITH, f"1,5,+,{GOOD[:-1]}X")}, "even number"),
        ({"breakpoints__csv": table(f"junction,{WITH}",
                                    *(f"J,1,{i},+,{GOOD}" for i in (1, 2, 3)))}, "row 4"),
        ({"breakpoints__csv": table("chrom,pos,strand", "1,3001,+"), "genome__fa": fasta()},
         "at most 3,000"),
        ({"breakpoints__csv": table("chrom,pos,strand", "2,5,+"), "genome__fa": fasta()},
         "another genome build"),
        ({"breakpoints__csv": table("chrom,pos,strand", "1,5,+"), "genome__fa": "ACGT\n"}, "FASTA"),
        ({"breakpoints__bedpe": table("1\t1\t2\t1\t5")}, "at least 10 columns"),
        ({"breakpoints__bedpe": table("1\tx\t2\t1\t5\t6\tn\t.\t+\t-")}, "whole numbers"),
        ({"breakpoints__vcf": table("##x", "1\t5\t.\tN\t<DEL>")}, "8 columns"),
        ({"breakpoints__vcf": table("#CHROM", "1\t5\t.\tN\tA\t.\t.\tX")}, "two ends"),
        ({"breakpoints__csv": DELETION, "breakpoints__bedpe": "x", "genome__fa": fasta()},
         "one file breakpoints"),
        ({"segments__csv": table("chrom,start,end", "1,1,100")}, "a log2 ratio"),
        ({"segments__csv": table(COPIES, "1,100,1,2")}, "row 2"),
        ({"segments__csv": table(f"{COPIES},minor", "1,1,9,2,3")}, "no more copies"),
        ({"segments__csv": table(COPIES, "1,1,9,2", "1,5,12,2")}, "not overlap"),
        ({"segments__csv": table(f"{COPIES},log2", "1,1,9,2,0", "1,15,22,,0")},
         "every segment"),
        ({"segments__csv": table(COPIES, "1,1,400000000,2")}, "at most 248,956,422"),
        ({"segments__csv": table(f"sample,day,{COPIES}", "a,1,1,1,9,2", "a,2,2,1,9,2")},
         "one patient and day"),
        ({"segments__csv": table(COPIES, "1,1,9,2"), "cohort__yml": "genome_build: x"},
         "GRCh37 or GRCh38"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, files: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidCohort) as error:
        read_cohort(write(tmp_path / "a", **files))
    assert told in str(error.value)


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", genome__fa=fasta())
    (folder / "breakpoints.vcf.gz").write_bytes(gzip.compress(b"#CHROM\n" * 50)[:-9])
    with pytest.raises(InvalidCohort, match="readable file"):
        read_cohort(folder)


ASCAT = table("sample\tchr\tstartpos\tendpos\tnMajor\tnMinor", "S1\t1\t1\t1000\t2\t1",
              "S1\t2\t1\t1000\t1\t0")  # fmt: skip
BATTENBERG = table(
    "chr\tstartpos\tendpos\tBAF\tntot\tnMaj1_A\tnMin1_A\tfrac1_A\tnMaj2_A\tnMin2_A\tfrac2_A",
    "1\t1\t1000\t0.5\t2.9\t2\t1\t0.8\t1\t1\t0.2",
    "2\t1\t1000\t0.5\t1.2\t1\t1\t0.3\t1\t0\t0.7",
)
CALL_CNS = table(
    "chromosome\tstart\tend\tgene\tlog2\tcn\tcn1\tcn2",
    "chr1\t0\t1000\t-\t0.5\t3\t1\t2",
    "chr2\t0\t1000\t-\t-0.9\t1\t0\t1",
)


@pytest.mark.parametrize(
    ("name", "text"),
    [("segments.S1.txt", ASCAT), ("segments.S1.tsv", BATTENBERG), ("S1.call.cns", CALL_CNS)],
)
def test_callers_that_tell_alleles(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    cohort = read_cohort(tmp_path)
    assert cohort.genome is not None and cohort.genome.segments is not None
    s = cohort.genome.segments
    assert s["sample"].tolist() == ["S1", "S1"] == s["patient"].tolist()
    assert s["chrom"].tolist() == ["chr1", "chr2"]
    assert s["total"].tolist() == [3, 1] and s["minor"].tolist() == [1, 0]
    assert cohort.patients["patient_id"].tolist() == ["S1"]


def test_callers_that_tell_ratios(tmp_path: Path) -> None:
    (tmp_path / "study.seg").write_text(
        "ID\tchrom\tloc.start\tloc.end\tnum.mark\tseg.mean\n"
        "A\t1\t1\t1000\t10\t0.4\nB\t23\t1\t1000\t10\t-0.5\n"
    )
    (tmp_path / "C.cns").write_text("chromosome\tstart\tend\tgene\tlog2\nchr1\t0\t1000\t-\t0.1\n")
    cohort = read_cohort(tmp_path)
    assert cohort.genome is not None and cohort.genome.segments is not None
    s = cohort.genome.segments.sort_values("sample")
    assert s["sample"].tolist() == ["A", "B", "C"] and s["log2"].tolist() == [0.4, -0.5, 0.1]
    assert s["total"].isna().all() and s["chrom"].tolist() == ["chr1", "chrX", "chr1"]
    assert needs.has(cohort, "segments") and not needs.has(cohort, "segments.day")


def test_days_and_builds(tmp_path: Path) -> None:
    rows = ["P,0,a,1,1,100,2", "P,90,b,1,1,100,3"]
    text = table("patient,day,sample,chrom,start,end,total", *rows)
    folder = write(tmp_path / "a", segments__csv=text)
    cohort = read_cohort(folder)
    assert needs.has(cohort, "segments.day") and cohort.n == 1
    assert cohort.genome is not None and cohort.genome.build == "GRCh38"
    assert any("fit either genome build" in n for n in cohort.notes)
    write(folder, cohort__yml="genome_build: GRCh37\n")
    found = read_cohort(folder).genome
    assert found is not None and found.build == "GRCh37"
    only_37 = text + "P,0,a,1,101,249000000,2\n"
    (folder / "cohort.yml").unlink()
    write(folder, segments__csv=only_37)
    found = read_cohort(folder).genome
    assert found is not None and found.build == "GRCh37"


def test_patients_of_a_table_come_first(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", segments__csv=table(f"sample,{COPIES}", "a,1,1,100,2"),
                   patients__csv="patient_id\nP1\nP2\n")  # fmt: skip
    assert read_cohort(folder).patients["patient_id"].tolist() == ["P1", "P2"]

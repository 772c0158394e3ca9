"""Absurd files: each is refused, or read, within seconds and a bounded memory, in a process."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from openpyxl import Workbook

GOOD = "patient_id,ikzf1,efs_months,efs_event\nP1,del,3,1\nP2,wt,4,0\n"
# Seconds of processor time and kilobytes of memory beyond what the imports take.
SECONDS, GROWTH, ADDRESSES = 6.0, 500_000, 4 << 30
CHECK = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
import anndata, pandas, pandera.pandas, pyarrow.parquet, openpyxl
from click.testing import CliRunner
from ballbook.cli import main
CliRunner().invoke(main, ["check", "--help"])
used = lambda: resource.getrusage(resource.RUSAGE_SELF)
before, start = used().ru_maxrss, time.process_time()
done = CliRunner().invoke(main, sys.argv[2:])
crash = None if done.exception is None or isinstance(done.exception, SystemExit) else repr(done.exception)
print(json.dumps([done.exit_code, done.output, crash, time.process_time() - start, used().ru_maxrss - before]))
"""  # noqa: E501


def check(*args: str) -> tuple[int, str]:
    """Run ``ballbook check ikzf1-outcome`` in a process with little memory."""
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(ADDRESSES), "check", "ikzf1-outcome", *args],
        env={**os.environ, **threads}, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    code, output, crash, seconds, grown = json.loads(done.stdout.splitlines()[-1])
    assert crash is None, crash
    assert "Traceback" not in output and len(output) < 30_000
    assert seconds < SECONDS, f"{seconds:.1f} s"
    assert grown < GROWTH, f"{grown} kB"
    return code, output


def text(name: str, content: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def repeated(name: str, head: str, line: str, times: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with (folder / name).open("w", encoding="utf8") as f:
            f.write(head)
            for _ in range(times // 1000):
                f.write(line * 1000)
        return folder / name

    return make


def workbook(cell: str | None = None, **parts: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    """A workbook with one more cell, or with parts changed after it was saved."""

    def make(folder: Path) -> Path:
        book, path = Workbook(), folder / "a.xlsx"
        for line in GOOD.splitlines():
            book.active.append(line.split(","))
        if cell:
            book.active[cell] = "x"
        book.save(path)
        with zipfile.ZipFile(path) as z:
            content = {name: z.read(name) for name in z.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
            for name, old in content.items():
                change = parts.get(Path(name).stem)
                z.writestr(name, change(old) if change else old)
        return path

    return make


def in_cells(more: bytes) -> Callable[[bytes], bytes]:
    return lambda old: old.replace(b"</sheetData>", more + b"</sheetData>")


def packed(folder: Path) -> Path:
    text("patients.csv", GOOD)(folder)
    with gzip.open(folder / "expression.tpm.csv.gz", "wb", compresslevel=9) as f:
        f.write(b"gene,P1\n")
        for _ in range(110):
            f.write(b"gene,1\n" * 1_400_000)
    return folder


def matrix_of(cell: str, genes: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        ids = [f"P{i}" for i in range(1000)]
        text("patients.csv", "patient_id\n" + "\n".join(ids) + "\n")(folder)
        line = ",".join([cell] * 1000)
        with (folder / "expression.csv").open("w", encoding="utf8") as f:
            f.write(",".join(["gene", *ids]) + "\n")
            f.writelines(f"g{i},{line}\n" for i in range(genes))
        return folder

    return make


def shape(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "a.h5ad", "w") as f:
        f.create_dataset("X", shape=(10**6, 10**6), dtype="f4", chunks=(1000, 1000))
    return folder / "a.h5ad"


def unstructured(folder: Path) -> Path:
    import anndata
    import numpy as np
    import pandas as pd

    names = {"obs": pd.DataFrame(index=["P1"]), "var": pd.DataFrame(index=["G"])}
    data = anndata.AnnData(X=np.zeros((1, 1)), **names, uns={"big": np.zeros(150_000_000)})
    data.write_h5ad(folder / "a.h5ad", compression="gzip")
    return folder / "a.h5ad"


def long_parquet(folder: Path) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"patient_id": pa.array(["P"] * 5_000_000).dictionary_encode()})
    parquet.write_table(table, folder / "a.parquet")
    return folder / "a.parquet"


def link(to: str, name: str = "a.csv") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).symlink_to(to)
        return folder / name

    return make


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "a.csv")
    return folder / "a.csv"


def study(folder: Path) -> Path:
    text("data_clinical_patient.txt", "PATIENT_ID\tOS_MONTHS\tOS_STATUS\nP1\t3\t1\n")(folder)
    text("data_clinical_sample.txt", "PATIENT_ID\tSAMPLE_ID\nP1\tS1\n")(folder)
    repeated("data_cna.txt", "Hugo_Symbol\tS1\n", "IKZF1\t-1\n", 10**7)(folder)
    return folder


ALIASES = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + k)}: &{chr(98 + k)} [{', '.join(['*' + chr(97 + k)] * 9)}]\n" for k in range(9)
)


def titled(folder: Path) -> Path:
    text("patients.csv", GOOD)(folder)
    return text("cohort.yml", ALIASES + "title: *j\n")(folder).parent


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a cell of a million characters": (text("a.csv", GOOD + f"P3,{'x' * 10**6},1,1\n"), "a cell"),
    "a hundred thousand columns": (text("a.csv", "c," * 10**5 + "\n" + "1," * 10**5), "2,000 col"),
    "ten million rows": (repeated("a.csv", "patient_id\n", "P\n", 10**7), "200,000 rows"),
    "only line ends": (repeated("a.csv", "", "\n", 4 * 10**7), "200,000 rows"),
    "only line ends of another kind": (repeated("a.csv", "", "\r", 4 * 10**7), "200,000 rows"),
    "a line without an end": (repeated("a.csv", "", "a", 4 * 10**7), "a cell far too long"),
    "an open quotation": (text("a.csv", GOOD + '"' * 2_000_000), "quotation"),
    "a far cell": (workbook("XFD1048576"), "cell XFD1048576"),
    "a far row": (workbook("A1048576"), "cell A1048576"),
    "thousands of far cells": (
        workbook(sheet1=in_cells(b"".join(b'<row r="%d"><c r="XFD%d"><v>1</v></c></row>' % (r, r)
                                          for r in range(4, 3000)))), "cell XFD4",
    ),
    "a comment in a sheet": (workbook(sheet1=in_cells(b"<!--" + b" " * 10**8 + b"-->")),
                             "1,000,000 characters without a cell"),
    "a workbook of zeros": (workbook(sheet1=lambda old: b" " * 210_000_000), "unpacks"),
    "an h5ad of a million squared": (shape, "200,000 rows"),
    "a gigabyte beside the matrix": (unstructured, "1,000 MB"),
    "five million rows of Parquet": (long_parquet, "200,000 rows"),
    "a packed matrix": (packed, "1,000 MB"),
    "a gene name of megabytes": (
        lambda f: repeated("expression.csv", "gene,P1\n", "g" * 1000, 20_000)(
            text("patients.csv", GOOD)(f).parent).parent, "80,000 columns",
    ),
    "a matrix of text": (matrix_of("a", 12_000), "row 2, column P0: found 'a'"),
    "ten million calls of a gene": (study, "a second time"),
    "a title of aliases": (titled, "YAML"),
    "a pipe": (pipe, "no device, pipe"),
    "a device": (link("/dev/zero"), "no device, pipe"),
    "a link to itself": (link("a.csv"), "circular link"),
    "UTF-16": (text("a.csv", GOOD.encode("utf-16")), "UTF-8"),
    "UTF-16 without a mark": (text("a.csv", GOOD.encode("utf-16-le")), "zero bytes"),
    "zero bytes": (text("a.csv", GOOD.replace("del", "d\0l")), "zero bytes"),
    "a header twice": (text("a.csv", "patient_id,age,age\nP1,3,4\n"), "one column for age_years"),
    "nothing": (text("a.csv", ""), "a header and at least one row"),
    "an empty workbook": (text("a.xlsx", ""), "an Excel workbook"),
    "an empty Parquet file": (text("a.parquet", ""), "a Parquet file"),
    "an empty h5ad": (text("a.h5ad", ""), "an h5ad file"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_an_absurd_file_is_refused_soon(tmp_path: Path, name: str) -> None:
    make, said = REFUSED[name]
    code, output = check("--cohort", str(make(tmp_path)))
    assert code == 2 and said in output, output[-500:]


def crowd(folder: Path) -> Path:
    for i in range(10_000):
        (folder / f"{i}.csv").touch()
    return text("patients.csv", GOOD)(folder).parent


READ: dict[str, Callable[[Path], Path]] = {
    "a mark at the beginning": text("a.csv", GOOD.encode("utf-8-sig")),
    "all kinds of line ends": text("a.csv", GOOD.replace("\n", "\r\n", 1).replace("1\n", "1\r")),
    "a huge declared dimension": workbook(
        sheet1=lambda old: old.replace(b'ref="A1:D3"', b'ref="A1:XFD1048576"')
    ),
    "a far cell that is only formatted": workbook(
        sheet1=in_cells(b'<row r="1048576"><c r="XFD1048576" s="0"/></row>')
    ),
    "ten thousand other files": crowd,
}


@pytest.mark.parametrize("name", sorted(READ))
def test_an_odd_file_is_read(tmp_path: Path, name: str) -> None:
    code, output = check("--cohort", str(READ[name](tmp_path)))
    assert code == 0 and "2 patients, no error found" in output
    if name.startswith("ten thousand"):
        assert "9,990 more files were not read" in output


MAPS = {
    "aliases": (ALIASES + "missing: *j\n", "an alias"),
    "a deep list": ("columns: " + "[" * 100_000, "nested too deeply"),
    "a deep mapping": ("columns: " + "{a: " * 5_000 + "1" + "}" * 5_000, "nested too deeply"),
    "a long list": (f"missing: [{','.join('x' * 300_000)}]", "at most 200 kB"),
    "a command": ("columns: !!python/object/apply:os.system ['true']", "constructor"),
}


@pytest.mark.parametrize("name", sorted(MAPS))
def test_an_absurd_map_is_refused_soon(tmp_path: Path, name: str) -> None:
    content, said = MAPS[name]
    cohort, column_map = text("a.csv", GOOD)(tmp_path), text("map.yml", content)(tmp_path)
    code, output = check("--cohort", str(cohort), "--map", str(column_map))
    assert code == 2 and said in output, output[-500:]


@pytest.mark.parametrize("make", [lambda f: link("/dev/zero", "m.yml")(f), pipe])
def test_a_map_that_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    cohort = text("mine.csv", GOOD)(tmp_path)
    code, output = check("--cohort", str(cohort), "--map", str(make(tmp_path)))
    assert code == 2 and "no ordinary file" in output

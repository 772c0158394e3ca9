"""Nothing of a patient leaves a run: planted ids, texts, paths and values are searched for.

Every analysis that takes a cohort is run on one in which every id, file name, unused column and
number is a mark, and in which some groups are small. All files of the run are then read, with what
is packed inside them, as somebody would who holds nothing else.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import math
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import FAST

from ballbook import dummy, needs, warm
from ballbook.run import run

MARK = "QZX"
N = 420
LIMIT = 5
# One patient each has these: seen anywhere, even rounded, they give that patient away.
EXTREME = {"age_years": 17.618274, "wbc_10e9_per_l": 913.418274}
LONGEST = 431.728156
PICTURE = r'(?<=data:image/png;base64,)(?:[A-Za-z0-9+/=\s]|\\n(?:",\s*")?)+'
GUARD = """
import os, socket
log = open(os.environ["BALLBOOK_CALLS"], "a", buffering=1)
log.write("on guard\\n")
def refuse(name):
    usual = getattr(socket.socket, name)
    def call(self, *args):
        if self.family != getattr(socket, "AF_UNIX", None):
            log.write(f"{name} {args[-1]!r}\\n")
            raise OSError("no network in this test")
        return usual(self, *args)
    setattr(socket.socket, name, call)
for name in ("connect", "connect_ex", "sendto"):
    refuse(name)
def getaddrinfo(host, *args, **kwargs):
    log.write(f"getaddrinfo {host!r}\\n")
    raise OSError("no network in this test")
socket.getaddrinfo = getaddrinfo
"""


@dataclass
class Run:
    """What a run of a planted cohort left, and what must not be in it."""

    slug: str
    min_count: int
    out: Path
    file: Path
    patients: pd.DataFrame
    calls: str
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def results(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / "results.json").read_text("utf8"))
        return found

    @property
    def own(self) -> list[dict[str, Any]]:
        return [e for e in self.results["estimates"] if e["tier"] == "yours"]


# ------------------------------------------------------------------------------------ the planting


def planted(slug: str, folder: Path) -> tuple[Path, pd.DataFrame]:
    """Write a cohort that fills all needs of `slug`, full of marks; return its path and table."""
    rng = np.random.default_rng(11)
    source = folder / "source"
    dummy.write(slug, source, n=N, seed=5)
    table = pd.read_csv(source / "patients.csv", dtype=str, keep_default_na=False)
    for column in sorted({w for w in needed(slug) if w not in table}):
        table[column] = dummy.patients(slug, [column], N, 5)[column]
    ids = [f"{MARK}-{i:03d}" for i in range(N)]
    ids[3], ids[4], ids[5] = f"=cmd|{MARK}!A0", f"<b>{MARK}</b>", f"@{MARK}\u2028"
    table["patient_id"] = ids
    for column in table.columns.drop("patient_id"):
        numbers = pd.to_numeric(table[column], errors="coerce")
        if numbers.notna().any() and numbers.nunique() > 12:
            # Six decimals that no other number of the page has.
            places = 9 if "mrd" in column else 6
            shift = rng.integers(1_000, 9_999, N) / 10**places
            exact = [f"{v:.{places}f}" for v in numbers + shift]
            exact = pd.Series(exact, table.index)
            table[column] = exact.where(numbers.notna(), table[column])
        if column in EXTREME:
            table.loc[7, column] = f"{EXTREME[column]:.6f}"
        if column.endswith("_months"):
            table.loc[8, column] = f"{LONGEST:.6f}"
        if column not in {"lineage"}:  # two patients lack each
            table.loc[rng.choice(np.arange(20, N), 2, replace=False), column] = ""
    for column in [c for c in table if c.endswith("_months")]:
        event = column.replace("_months", "_event")
        half = (table[column] == "") != (table[event] == "")
        table.loc[half, [column, event]] = ""
    if "subtype" in table:
        table.loc[[9, 10], "subtype"] = f"=RARE{MARK}<img src=x onerror=alert(1)>"
    table[f"remarks {MARK}COLUMN"] = [f"<script>{MARK}TEXT{i}</script>" for i in range(N)]
    name = f'{MARK}FILE O\'Neill "q"'
    place = folder / f"{MARK}PATH" / name
    place.mkdir(parents=True)
    table.to_csv(place / "patients.csv", index=False)
    matrix = source / "expression.counts.csv"
    if matrix.is_file():
        counts = pd.read_csv(matrix, index_col=0)
        counts.columns = pd.Index(ids)
        counts.to_csv(place / "expression.counts.csv")
        return place, table
    if any((source / f"{kind}.csv").is_file() for kind in ("breakpoints", "segments")):
        whose = dict(zip(pd.read_csv(source / "patients.csv")["patient_id"], ids, strict=True))
        for file in (f for f in source.glob("*.csv") if f.stem in {"breakpoints", "segments"}):
            part = pd.read_csv(file, dtype=str, keep_default_na=False)
            for column in {"sample", "patient"} & set(part):
                part[column] = part[column].str[:10].map(whose) + part[column].str[10:]
            part.to_csv(place / file.name, index=False)
        return place, table
    if (source / "variants.csv").is_file():
        whose = dict(zip(pd.read_csv(source / "patients.csv")["patient_id"], ids, strict=True))
        for kind in ("variants", "sites", "samples"):
            part = pd.read_csv(source / f"{kind}.csv", dtype=str, keep_default_na=False)
            if kind != "sites":
                part["sample"] = part["sample"].replace(whose).str.replace("CONTROL", MARK)
            else:
                part["branch"] = f"{MARK}BRANCH"
            part.to_csv(place / f"{kind}.csv", index=False)
        return place, table
    if (source / "cells.csv").is_file():
        whose = dict(zip(pd.read_csv(source / "patients.csv")["patient_id"], ids, strict=True))
        single = pd.read_csv(source / "cells.csv", dtype=str, keep_default_na=False)
        single["donor"] = single["donor"].map(whose)
        single["label"] = [f"<b>{MARK}LABEL</b>"] * 5 + single["label"].tolist()[5:]
        single.to_csv(place / "cells.csv", index=False)
        return place, table
    if (source / "catalogue.csv").is_file():
        counts = pd.read_csv(source / "catalogue.csv", index_col=0)
        counts.columns = pd.Index(ids)
        counts.to_csv(place / "catalogue.csv")
        return place, table
    table.to_csv(file := place.with_name(name + ".csv"), index=False)
    return file, table


def needed(slug: str) -> set[str]:
    """Return the columns of the wide table that a dummy of `slug` has."""
    return set(dummy.columns_of(slug))


# ------------------------------------------------------------------------------------- the reading


def texts_in(path: Path) -> Iterator[str]:
    """Yield all texts in a file: as it is, of JSON unpacked, and whatever is encoded inside."""
    raw = path.read_bytes()
    if path.suffix == ".png":
        yield from png_texts(raw)
        return
    whole = raw.decode("utf8")
    forms = [whole]
    if path.suffix in {".json", ".ipynb"}:
        forms.append("\n".join(strings_of(json.loads(whole))))
    for form in forms:
        # The letters of a picture mean nothing, and three of them are found by chance.
        for picture in re.findall(PICTURE, form):
            yield from unpacked(re.sub(r'\\n|[\s",]', "", picture))
        text = re.sub(PICTURE, "", form)
        yield text
        if path.suffix in {".html", ".ipynb", ".svg"}:
            yield html.unescape(text)
        for blob in re.findall(r"[A-Za-z0-9+/]{80,}={0,2}", text):
            yield from unpacked(blob)


def strings_of(value: Any) -> Iterator[str]:
    """Yield every string in JSON, keys too."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from strings_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings_of(inner)
    elif isinstance(value, str):
        yield value


def unpacked(blob: str) -> Iterator[str]:
    try:
        plain = base64.b64decode(blob + "=" * (-len(blob) % 4))
    except (binascii.Error, ValueError):
        return
    if plain.startswith(b"\x89PNG"):
        yield from png_texts(plain)
    for wbits in (15, 31, -15):
        try:
            plain += zlib.decompressobj(wbits).decompress(plain)
            break
        except zlib.error:
            continue
    yield plain.decode("latin1")


def png_texts(raw: bytes) -> Iterator[str]:
    """Yield the chunks of a PNG other than its pixels, unpacked where they are packed."""
    at = 8
    while at < len(raw):
        (size,), kind = struct.unpack(">I", raw[at : at + 4]), raw[at + 4 : at + 8]
        body = raw[at + 8 : at + 8 + size]
        if kind not in {b"IDAT", b"IHDR"}:
            yield f"{kind.decode('latin1')} {body.decode('latin1')}"
            for start in range(min(len(body), 90)):
                try:
                    yield zlib.decompress(body[start:]).decode("latin1")
                    break
                except zlib.error:
                    continue
        at += size + 12


def all_texts(out: Path) -> dict[str, str]:
    files = sorted(p for p in out.rglob("*") if p.is_file())
    return {str(p.relative_to(out)): "\n".join(texts_in(p)) for p in files}


def flows_of(report: str, title: str) -> list[list[int]]:
    """Return the numbers of each flow under `title`."""
    found = []
    for block in re.findall(r'<div class="bb-flow">.*?</ol>', report, re.S):
        if f"{title}</div>" in block:
            numbers = re.findall(r'<span class="bb-n">([\d,]+)</span>', block)
            found.append([int(n.replace(",", "")) for n in numbers])
    return found


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The log of a guard that stands where the kernels of these tests start."""
    folder = tmp_path_factory.mktemp("guard")
    (folder / "sitecustomize.py").write_text(GUARD, encoding="utf8")
    log = folder / "calls.log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        patch.setenv("BALLBOOK_CALLS", str(log))
        # Not the server of the other tests, which has no guard.
        patch.delenv(warm.VARIABLE, raising=False)
        with warm.server():
            yield log


@pytest.fixture(scope="module", params=[*sorted(needs.declared()), "unprotected"])
def done(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, guarded: Path
) -> Iterator[Run]:
    """One run of each analysis with the usual smallest count, and one of the first with none."""
    from conftest import shared_folder

    if shared_folder() is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    slug, least = request.param, LIMIT
    if slug == "unprotected":
        slug, least = sorted(needs.declared())[0], 0
    folder = tmp_path_factory.mktemp("planted")
    file, patients = planted(slug, folder)
    told = guarded.read_text("utf8")
    given = {"cohort": str(file), "min_count": least, **FAST.get(slug, {})}
    out = run(slug, parameters=given, out=folder / "out")
    # Who stands guard says so when the server starts, before all runs.
    calls = f"{told.splitlines()[0]}\n" + guarded.read_text("utf8").removeprefix(told)
    made = Run(slug, least, out, file, patients, calls)
    made.texts = all_texts(out)
    yield made


# ------------------------------------------------------------------------------------- what is told

pytestmark = pytest.mark.slow


def test_the_cohort_was_used(done: Run) -> None:
    assert done.results["cohort"]["tier"] == "yours"
    assert any(e["value"] is not None for e in done.own)
    report = done.texts["report.html"]
    assert ("Small counts are shown" in report) == (done.min_count == 0)


def test_no_id_text_path_or_column_name_is_told(done: Run) -> None:
    for name, text in done.texts.items():
        at = text.upper().find(MARK)
        # With no smallest count the name of a group may be told, if it is escaped.
        rare = done.min_count == 0 and "RARE" in text[max(at - 4, 0) : at]
        assert at < 0 or rare, f"{name}: ...{text[max(at - 80, 0) : at + 60]}..."
        assert str(done.out.parent) not in text and str(done.file.parent) not in text, name
        if name.endswith(".html"):
            assert "<img src=x" not in (done.out / name).read_text("utf8")


def test_no_value_of_a_patient_is_told(done: Run) -> None:
    """In full anywhere; to three and four decimals in what is said of own patients."""
    exact, rounded = set(), set()
    for column in done.patients.columns.drop("patient_id"):
        for value in pd.to_numeric(done.patients[column], errors="coerce").dropna():
            if round(value, 3) == value:
                continue
            turned = {value}
            if column.endswith("_months"):
                turned |= {value * 365.25 / 12, value / 12}
            if "mrd" in column:
                turned |= {math.log10(value) if value > 0 else value, value * 100}
            for v in turned:
                exact.add(f"{v:.10g}")
                rounded |= {f"{v:.4f}", f"{v:.3f}"}
    exact = {t for t in exact if len(t.strip("-0.").replace(".", "")) >= 5}
    rounded = {t for t in rounded if len(t.strip("-0.").replace(".", "")) >= 5}
    assert len(exact) > 300
    own_file = re.compile(r"(?:^|/)(?:own|your)|-own\.|methods|results")
    for name, text in done.texts.items():
        told = set(re.findall(r"(?<![\d.])-?\d+\.\d+", text))
        told |= {t.lstrip("-") for t in told}
        same = exact & {f"{float(t):.10g}" for t in told}
        assert not same, (name, same)
        if own_file.search(name):
            assert not rounded & told, (name, rounded & told)


def test_no_extreme_value_is_told_even_rounded(done: Run) -> None:
    special = [LONGEST, *(v for c, v in EXTREME.items() if c in done.patients)]
    patterns = {f"{v:.{d}f}" for v in special for d in (1, 2, 3, 4)}
    patterns |= {f"{v * 365.25 / 12:.1f}" for v in [LONGEST]} | {f"{LONGEST / 12:.2f}"}
    for name, text in done.texts.items():
        if name.endswith((".svg", ".png")) or "figures/" in name:
            continue  # coordinates and open patients; the exact values are searched for above
        body = re.sub(r"<svg.*?</svg>", "", text, flags=re.S)
        told = set(re.findall(r"(?<![\d.])\d+\.\d+", body))
        assert not patterns & told, (name, patterns & told)


def test_no_small_count_is_told(done: Run) -> None:
    if done.min_count == 0:
        return
    for e in done.own:
        assert e["n"] is None or e["n"] >= LIMIT, e["id"]
        assert e["n_events"] is None or e["n_events"] >= LIMIT, e["id"]
        if e["n"] is not None and e["n_events"] is not None:
            assert e["n"] - e["n_events"] >= LIMIT, e["id"]
        if e["kind"] == "count" and e["value"] is not None:
            assert e["value"] >= LIMIT
    report = (done.out / "report.html").read_text("utf8")
    for flow in flows_of(report, "Your cohort"):
        assert min(flow) >= LIMIT, flow
    for file in [*done.out.glob("tables/own*.csv"), *done.out.glob("figures/*own*.csv")]:
        frame = pd.read_csv(file)
        for column in {"n", "n_events", "events", "size", "negative", "positive"} & set(frame):
            assert (frame[column].dropna() >= LIMIT).all(), (file.name, column)
    for g in done.results["gates"]:
        if "your cohort" in f"{g['name']} {g['action']}".lower():
            assert g["statistic"] is None or re.search("hazards|parallel", g["name"]), g
    for file in done.out.glob("tables/beside*.csv"):
        said = " ".join(pd.read_csv(file)["yours"].dropna())
        told = re.findall(r"n = ([\d,]+)|([\d,]+) events", said)
        assert all(int("".join(t).replace(",", "")) >= LIMIT for t in told), said
    # Tables are read from their files; those beside the reader's hold open data too.
    own_part = re.sub(r"<(svg|details|table).*?</\1>", "", report, flags=re.S)
    own_part = own_part[own_part.find(">Your cohort</h2>") :].split("<h2")[0]
    assert len(own_part) > 500
    words = html.unescape(re.sub(r"<[^>]+>", " ", own_part))
    what = r"(?:of \d+ )?(?:patients?|deaths?|events?|cases?)\b"
    small = re.findall(rf"(?<![\d.,])[0-4] {what}", words)
    assert not small


def test_no_two_counts_give_a_small_one_by_subtraction(done: Run) -> None:
    if done.min_count == 0:
        return
    report = (done.out / "report.html").read_text("utf8")
    flows = flows_of(report, "Your cohort")
    counts = {int(e["n"]) for e in done.own if e["n"] is not None}
    counts |= {n for flow in flows for n in flow}
    for a, b in combinations(sorted(counts), 2):
        assert b - a >= LIMIT, sorted(counts)


def test_the_trap_was_set(done: Run) -> None:
    """Two patients lack each column, so that the counts of a page would differ by few."""
    used = [c for c in done.patients if c not in {"lineage", "patient_id"} and MARK not in c]
    assert all((done.patients[c] == "").sum() >= 2 for c in used)


def test_own_numbers_have_three_figures(done: Run) -> None:
    if done.min_count == 0:
        return
    for e in done.own:
        for key in ("value", "ci_low", "ci_high", "p_value", "statistic", "df"):
            if e[key] is not None and e["kind"] != "count":
                assert e[key] == float(f"{e[key]:.3g}"), (e["id"], key)


def test_a_spreadsheet_meets_no_formula(done: Run) -> None:
    for file in done.out.rglob("*.csv"):
        frame = pd.read_csv(file, dtype=str, keep_default_na=False, header=None)
        for cell in set(frame.to_numpy().ravel()):
            number = re.fullmatch(r"-?[\d.]+(e[+-]?\d+)?|-?inf", cell)
            assert number or not cell.lstrip(" ").startswith(tuple("=+-@\t\r")), (file.name, cell)


def test_nothing_is_sent_or_asked_for(done: Run) -> None:
    """Neither the runner nor the kernel opened a connection, and the report needs none."""
    assert "on guard" in done.calls
    calls = [line for line in done.calls.splitlines() if line != "on guard"]
    assert not calls
    report = (done.out / "report.html").read_text("utf8")
    assert not re.findall(r"""(?:src|srcset|poster|action|data)\s*=\s*["']?https?:""", report)
    assert not re.findall(r"""<(?:link|iframe|object|embed|form|base)\b""", report)
    assert not re.findall(r"""url\(\s*["']?https?:|@import|fetch\(|XMLHttpRequest|Beacon""", report)


def test_all_files_lie_in_the_folder(done: Run) -> None:
    before = {"source", "out", f"{MARK}PATH"}
    assert {p.name for p in done.out.parent.iterdir()} == before
    for path in done.out.rglob("*"):
        assert not path.is_symlink() and re.fullmatch(r"[\w.-]+", path.name), path.name

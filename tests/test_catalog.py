"""The catalogue: its form, where files are looked for, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import lzma
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml

from ballbook import catalog, datasets, paths

ROOT = Path(__file__).resolve().parents[1]
CONTENT = b"patient_id,age_years\nP1,4\n"
GOOD = hashlib.sha256(CONTENT).hexdigest()
BAD = b"patient_id,age_years\nP1,5\n"


class Server(http.server.ThreadingHTTPServer):
    content = CONTENT
    status = 200
    requests = 0


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    httpd = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield httpd
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of its own, with an empty mirror and cache and one data set."""
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    monkeypatch.setenv("BALLBOOK_HOME", str(home))
    monkeypatch.setenv("BALLBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BALLBOOK_DATA", str(tmp_path / "mirror"))
    monkeypatch.delenv("BALLBOOK_OFFLINE", raising=False)
    monkeypatch.setattr(catalog, "_network_down", None)
    (tmp_path / "mirror").mkdir()
    write_catalogue(home, "https://example.invalid/patients.csv")
    return tmp_path


def write_catalogue(home: Path, address: str, **changes: object) -> None:
    entry = {
        "id": "toy",
        "title": "A toy cohort",
        "tier": "open",
        "citation": ["nobody1900"],
        "licence": "CC0",
        "terms": "none",
        "address": "https://example.invalid",
        "loader": "toy",
        "about": "One patient.",
        "files": [
            {
                "name": "patients",
                "path": "toy/patients.csv",
                "url": address,
                "sha256": GOOD,
                "size": len(CONTENT),
                **changes,
            }
        ],
    }
    (home / "data" / "catalog.yml").write_text(yaml.safe_dump({"datasets": [entry]}))
    catalog._read.cache_clear()
    catalog._by_size.cache_clear()


def serve(house: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the toy's https address be answered by the local server."""
    import pooch

    address = f"http://127.0.0.1:{server.server_port}/patients.csv"
    real = pooch.HTTPDownloader.__call__

    def get(self: object, url: str, output_file: str, pooch: object, **more: object) -> object:
        return real(self, address, output_file, pooch, **more)

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", get)
    monkeypatch.setattr(catalog, "_probe", lambda url: None)
    monkeypatch.delenv("BALLBOOK_DATA")


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def cached(house: Path) -> Path:
    return house / "cache" / catalog.entry("toy").file("patients").cache_name


# ------------------------------------------------------------------------ the real catalogue


def test_catalogue_follows_its_schema() -> None:
    schema = json.loads((ROOT / "data" / "catalog.schema.json").read_text())
    raw = yaml.safe_load((ROOT / "data" / "catalog.yml").read_text())
    jsonschema.validate(raw, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"datasets": [{**raw["datasets"][0], "tier": "yours"}]}, schema)


def test_every_entry_has_a_loader_and_every_loader_an_entry() -> None:
    assert {e.loader for e in catalog.entries()} == set(datasets.LOADERS)


def test_every_citation_is_in_the_bibliography() -> None:
    keys = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "book/references.bib").read_text(), re.M))
    cited = {key for e in catalog.entries() for key in e.citation}
    assert cited <= keys


def test_files_held_in_the_repository_are_the_catalogued_ones() -> None:
    held = [c for c in catalog.verify() if catalog.entry(c.id).file(c.name).held]
    assert {c.id for c in held} == {
        "allcatchr-bcrabl1", "ccri-p2ry8-crlf2", "chiaretti-2004", "digger-rss", "go-processes",
        "stjude-484",
    }  # fmt: skip
    assert {c.state for c in held} == {"ok"}
    assert all(catalog.entry(c.id).file(c.name).size < 1_900_000 for c in held)


def test_held_data_needs_neither_mirror_nor_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BALLBOOK_DATA", raising=False)
    monkeypatch.setenv("BALLBOOK_CACHE", str(tmp_path))
    monkeypatch.setenv("BALLBOOK_OFFLINE", "1")
    assert catalog.available("chiaretti-2004") and catalog.available("ccri-p2ry8-crlf2")
    assert not catalog.available("target-all-p2")
    states = {s.id: s.state for s in catalog.status()}
    assert states["chiaretti-2004"] == "in the repository"
    assert states["target-all-p2"] == "to download"


def test_upstream_addresses_name_a_commit_and_the_mirror_path() -> None:
    files = [f for e in catalog.entries() for f in e.files if f.path.startswith("upstream/")]
    for f in files:
        repository = f.path.split("/")[1].replace("+", "/")
        rest = f.path.split("/", 2)[2]
        pattern = rf"https://raw\.githubusercontent\.com/{re.escape(repository)}/[0-9a-f]{{40}}/"
        assert f.url is not None
        assert re.fullmatch(pattern + re.escape(rest), f.url), f.name
    assert len(files) >= 11


def test_mirror_holds_every_catalogued_file(shared_data: Path) -> None:
    assert {(c.id, c.name) for c in catalog.verify() if c.state != "ok"} == set()


def test_mirror_index_agrees(shared_data: Path) -> None:
    import pandas as pd

    index = pd.read_csv(shared_data / "upstream" / "index.csv")
    known = {
        f"upstream/{r.repository.replace('/', '+')}/{r.path}": (r.sha256, r.bytes, r.commit)
        for r in index.itertuples()
    }
    ours = [f for e in catalog.entries() for f in e.files if f.path.startswith("upstream/")]
    assert ours
    for f in ours:
        sha, size, commit = known[f.path]
        assert (f.sha256, f.size) == (sha, size) and f"/{commit}/" in str(f.url)


# ------------------------------------------------------------------------------ search order


def test_mirror_comes_before_cache_and_cache_before_download(
    house: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_cache = put(cached(house), CONTENT)
    in_mirror = put(house / "mirror/toy/patients.csv", CONTENT)
    assert catalog.fetch("toy", "patients") == in_mirror
    in_mirror.unlink()
    assert catalog.fetch("toy", "patients") == in_cache
    in_cache.unlink()
    serve(house, server, monkeypatch)
    assert catalog.fetch("toy", "patients") == cached(house)
    assert server.requests == 1
    assert catalog.fetch("toy", "patients").read_bytes() == CONTENT
    assert server.requests == 1, "the second call must come from the cache"


def test_mirror_is_searched_by_hash_under_any_name(house: Path) -> None:
    put(house / "mirror/elsewhere/decoy.csv", BAD)
    renamed = put(house / "mirror/elsewhere/renamed.bin", CONTENT)
    assert catalog.fetch("toy", "patients") == renamed
    assert catalog.status()[0].state == "in the mirror"


def test_packed_file_of_the_mirror_is_unpacked_into_the_cache_once(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALLBOOK_OFFLINE", "1")
    packed = put(house / "mirror/toy/patients.csv.gz", gzip.compress(CONTENT))
    assert catalog.fetch("toy", "patients") == cached(house)
    assert cached(house).read_bytes() == CONTENT
    put(packed, gzip.compress(CONTENT + b"more"))
    assert catalog.fetch("toy", "patients") == cached(house), "the cache holds the true file"
    put(cached(house), BAD)
    with pytest.raises(catalog.Unavailable, match="holds sha256"):
        catalog.fetch("toy", "patients")


@pytest.mark.parametrize("content", [b"plain", gzip.compress(CONTENT)[:-9], gzip.compress(BAD)])
def test_packed_file_that_is_another_or_broken_is_refused_and_left(
    content: bytes, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALLBOOK_OFFLINE", "1")
    packed = put(house / "mirror/toy/patients.csv.gz", content)
    with pytest.raises(catalog.Unavailable, match=re.escape(str(packed))):
        catalog.fetch("toy", "patients")
    assert packed.read_bytes() == content and not cached(house).exists()


def test_relative_mirror_is_resolved_against_the_checkout(
    house: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BALLBOOK_DATA", "../mirror")
    monkeypatch.chdir("/")
    assert paths.mirror() == house / "mirror"
    put(house / "mirror/toy/patients.csv", CONTENT)
    assert catalog.available("toy")


def test_not_a_checkout_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALLBOOK_HOME", str(tmp_path))
    with pytest.raises(paths.NotACheckout, match="BALLBOOK_HOME"):
        paths.root()


def test_unknown_names_list_the_known_ones(house: Path) -> None:
    with pytest.raises(catalog.CatalogError, match="the catalogue has toy"):
        catalog.entry("tyo")
    with pytest.raises(catalog.CatalogError, match="it has patients"):
        catalog.fetch("toy", "outcomes")


# -------------------------------------------------------------------------------- wrong hash


def test_wrong_file_in_the_mirror_is_refused_and_left(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALLBOOK_OFFLINE", "1")
    wrong = put(house / "mirror/toy/patients.csv", BAD)
    with pytest.raises(catalog.Unavailable, match=re.escape(str(wrong))):
        catalog.fetch("toy", "patients")
    assert wrong.read_bytes() == BAD
    assert catalog.verify("toy")[0].state == "wrong"
    assert not catalog.available("toy")


def test_wrong_file_in_the_cache_is_set_aside(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALLBOOK_OFFLINE", "1")
    put(cached(house), BAD)
    aside = house / "cache/refused" / f"{hashlib.sha256(BAD).hexdigest()}-patients.csv"
    with pytest.raises(catalog.Unavailable, match=re.escape(str(aside))):
        catalog.fetch("toy", "patients")
    assert aside.read_bytes() == BAD
    assert not cached(house).exists()


def test_wrong_download_is_refused_and_kept_aside(
    house: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(house, server, monkeypatch)
    server.content = BAD
    aside = house / "cache/refused" / f"{hashlib.sha256(BAD).hexdigest()}-patients.csv"
    with pytest.raises(catalog.WrongHash, match=re.escape(str(aside))):
        catalog.fetch("toy", "patients")
    assert aside.read_bytes() == BAD
    assert not cached(house).exists()
    assert [p for p in (house / "cache").iterdir() if p.is_file()] == [], "nothing half-written"


def test_a_cached_file_that_changes_is_noticed(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALLBOOK_OFFLINE", "1")
    put(cached(house), CONTENT)
    assert catalog.available("toy")
    put(cached(house), BAD)
    assert not catalog.available("toy")


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "../outside.csv"},
        {"path": "/etc/passwd"},
        {"sha256": "abc"},
        {"url": "http://example.invalid/patients.csv"},
        {"url": None},
    ],
)
def test_malformed_entries_are_refused(house: Path, changes: dict[str, object]) -> None:
    write_catalogue(house / "home", "https://example.invalid/x", **changes)
    with pytest.raises(catalog.CatalogError, match="toy/patients"):
        catalog.entries()


# ----------------------------------------------------------------------------------- offline


def test_offline_message_says_what_and_how(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALLBOOK_OFFLINE", "1")
    with pytest.raises(catalog.Unavailable) as caught:
        catalog.fetch("toy", "patients")
    message = str(caught.value)
    for part in [
        "https://example.invalid/patients.csv",
        GOOD,
        f"{len(CONTENT)} bytes",
        "ballbook data get toy",
        "BALLBOOK_DATA",
        "toy/patients.csv",
    ]:
        assert part in message


def test_offline_never_downloads(
    house: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(house, server, monkeypatch)
    monkeypatch.setenv("BALLBOOK_OFFLINE", "1")
    assert not catalog.available("toy", download=True)
    assert server.requests == 0


def test_a_dead_network_fails_fast_and_once(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probes: list[str] = []
    real = catalog._probe

    def counted(url: str) -> str | None:
        probes.append(url)
        return real(url)

    monkeypatch.setattr(catalog, "_probe", counted)
    # Port 9 of this machine refuses at once, as a machine without internet does.
    write_catalogue(house / "home", "https://127.0.0.1:9/patients.csv")
    start = time.monotonic()
    for _ in range(3):
        with pytest.raises(catalog.Unavailable, match="no connection to"):
            catalog.fetch("toy", "patients")
    assert time.monotonic() - start < 10
    assert len(probes) == 1


def test_a_name_server_that_hangs_is_left_behind(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    released = threading.Event()

    def hang(*args: object, **more: object) -> None:
        released.wait(20)
        raise requests.ConnectTimeout

    monkeypatch.setattr(requests, "head", hang)
    monkeypatch.setattr(catalog, "PROBE_SECONDS", 0.2)
    start = time.monotonic()
    with pytest.raises(catalog.Unavailable, match="no answer from"):
        catalog.fetch("toy", "patients")
    assert time.monotonic() - start < 5
    released.set()


def test_server_errors_are_named(
    house: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(house, server, monkeypatch)
    server.status = 404
    with pytest.raises(catalog.Unavailable, match="the server answered 404"):
        catalog.fetch("toy", "patients")
    assert server.requests == 1, "what is gone is not asked for again"


def test_a_passing_server_error_is_tried_again(
    house: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(house, server, monkeypatch)
    server.status = 503

    def recover(seconds: float) -> None:
        server.status = 200

    monkeypatch.setattr(catalog.time, "sleep", recover)
    assert catalog.fetch("toy", "patients").read_bytes() == CONTENT
    assert server.requests == 2


# ------------------------------------------------------------------------------- the snapshots


def test_ccri_counts_can_be_made_again(shared_data: Path, tmp_path: Path) -> None:
    folder = ROOT / "data/snapshots/ccri-p2ry8-crlf2"
    shutil.copy(folder / "make.py", tmp_path)
    subprocess.run([sys.executable, tmp_path / "make.py"], check=True, cwd=ROOT)
    assert (tmp_path / "counts.csv").read_bytes() == (folder / "counts.csv").read_bytes()


@pytest.mark.slow
def test_chiaretti_can_be_made_again(tmp_path: Path) -> None:
    packages = "ALL", "annotate", "org.Hs.eg.db"
    have = f"stopifnot({', '.join(f'nzchar(system.file(package={p!r}))' for p in packages)})"
    rscript = shutil.which("Rscript")
    if rscript is None or subprocess.run([rscript, "-e", have], capture_output=True).returncode:
        pytest.skip("needs R with the Debian packages named in make.R")
    folder = ROOT / "data/snapshots/chiaretti-2004"
    shutil.copy(folder / "make.R", tmp_path)
    subprocess.run([rscript, tmp_path / "make.R"], check=True, capture_output=True)
    assert (tmp_path / "patients.csv").read_bytes() == (folder / "patients.csv").read_bytes()
    # Another version of liblzma may pack the same text into other bytes.
    for name in ("expression.csv.xz", "most_variable_probes.csv.xz"):
        made, kept = (lzma.decompress((f / name).read_bytes()) for f in (tmp_path, folder))
        assert made == kept, name


def test_snapshots_hold_no_calendar_date() -> None:
    for file in (ROOT / "data/snapshots").rglob("*.csv"):
        text = file.read_text()
        assert not re.search(r"\b\d{1,2}/\d{1,2}/\d{2,4}\b|\b\d{4}-\d{2}-\d{2}\b", text), file

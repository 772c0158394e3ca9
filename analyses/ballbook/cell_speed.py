"""Scale of the map of cells: cells per second and peak memory at ten thousand to a million cells.

``python -m ballbook.cell_speed --out data/recorded/cells`` draws cells from the marrow of Triana
2021 (`ballbook.simulated_cells`), writes them to a file, and maps the file on the reference in
chunks, each time in a process of its own, alone and with two workers; the run stops when two runs
of the same cells disagree. It then asks the searches for neighbours that are at hand what each
takes before its first answer, for each cell after that, how many neighbours it misses, and for how
many cells its answer depends on the cells asked with them. Last it runs the whole page on the map
with no cohort and with cohorts of those sizes. ``--only pages`` measures a part. The book shows
what was recorded.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import pickle
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ballbook import cell_chunks, simulated_cells

SIZES = (10_000, 100_000, 1_000_000)
# Workers and cells in a chunk.
SETTINGS = ((1, 5_000), (2, 5_000))
# At one size, what the size of a chunk costs.
CHUNKS = (1_000, 20_000)
ONE_SIZE = 100_000
MB = 2**20
# One thread of arithmetic a process, or workers would fight over the cores.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
PARTS = ("cells", "searches", "pages")
PAGE = "bcell-development-map"
SEARCHES = ("exact", "tree", "approximate", "ingest")
AT_SCALE = ("exact", "approximate")
# Cells of the reference: those of the marrow (all), and as many as the largest published atlas of
# B-ALL and normal cells.
REFERENCES = (0, 130_085)
ASKED = 10_000
SPLIT = 137


def peak_mb() -> float:
    """Return the most memory that this process held so far, in MiB.

    On Linux that of this program alone: the figure of `resource` begins with what the process had
    that started it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (MB if sys.platform == "darwin" else 1024)


def digest(found: cell_chunks.CellTally) -> str:
    """Return a hash of counts and drawn cells: equal where two runs agree."""
    table = found.composition().to_csv(index=False)
    drawn = found.sample if found.sample is not None else pd.DataFrame()
    return hashlib.sha256((table + drawn.to_csv()).encode()).hexdigest()


def one(reference: Path, file: Path, n: int, workers: int, chunk: int) -> dict[str, Any]:
    """Map the first `n` cells of a file and return seconds, peak memory and a hash of the result.

    Time runs from opening the file to the last count, without start of the program and, with
    workers, without start of the cluster.
    """
    mapper = pickle.loads(reference.read_bytes()).map
    cells = replace(cell_chunks.open_cells(file), n=n)
    before = peak_mb()
    if workers == 1:
        started, used = time.perf_counter(), time.process_time()
        found = cell_chunks.tally(cells, mapper, group="donor", chunk=chunk, cluster=1)
        seconds, used = time.perf_counter() - started, time.process_time() - used
        largest = 0.0
    else:
        with cell_chunks.dask_client(workers) as client:
            at = client.scheduler.address
            client.run(_warm, mapper, cells)
            began = sum(client.run(time.process_time).values()) + time.process_time()
            started = time.perf_counter()
            found = cell_chunks.tally(cells, mapper, group="donor", chunk=chunk, cluster=at)
            seconds = time.perf_counter() - started
            used = sum(client.run(time.process_time).values()) + time.process_time() - began
            largest = max(client.run(peak_mb).values())
    peak = peak_mb()
    # The states of all cells are read afterwards: they are not part of the map.
    accuracy = float("nan")
    if found.sample is not None and "state" in cells.columns:
        truth = cells.column("state")[found.sample["place"]].to_numpy()
        accuracy = float(np.mean(found.sample["label"].astype(str).to_numpy() == truth))
    return {
        "cells": n, "workers": workers, "chunk": chunk, "seconds": seconds, "cpu": used,
        "start_mb": before, "peak_mb": peak, "worker_mb": largest, "accuracy": accuracy,
        "digest": digest(found),
    }  # fmt: skip


def _warm(mapper: Any, cells: cell_chunks.CellFile) -> int:
    return len(mapper(cells.rows(0, 100)))


def measure(work: Path, sizes: tuple[int, ...] = SIZES) -> pd.DataFrame:
    """Simulate, map and return one row a size and setting.

    Raises
    ------
    RuntimeError
        When a run fails, or two runs of the same cells disagree.
    """
    from ballbook import datasets, reference_map

    marrow = datasets.load("triana-marrow").data
    reference, file = work / "reference.pickle", work / "cells.h5ad"
    reference.write_bytes(pickle.dumps(reference_map.build(marrow)))
    started = time.process_time()
    simulated_cells.write(simulated_cells.fit(marrow), file, max(sizes))
    drawn = max(sizes) / (time.process_time() - started)
    rows = []
    plan = [(n, *setting) for n in sizes for setting in SETTINGS]
    plan += [(n, 1, chunk) for n in sizes if n == ONE_SIZE for chunk in CHUNKS]
    for n, workers, chunk in plan:
        rows.append(_in_process("--one", reference, file, n, workers, chunk))
        print(rows[-1], file=sys.stderr, flush=True)
    frame = pd.DataFrame(rows)
    if (frame.groupby("cells")["digest"].nunique() > 1).any():
        raise RuntimeError("two runs of the same cells disagree")
    frame["cells_per_second"] = frame["cells"] / frame["seconds"]
    frame["drawn_per_cpu_second"] = drawn
    frame["file_mb"] = file.stat().st_size / MB
    return frame


def search(reference: Path, size: int, method: str) -> dict[str, Any]:
    """Time one search for neighbours, in a process that has not searched before.

    Parameters
    ----------
    reference : Path
        Pickle of a reference and of the model of its cells.
    size : int
        Cells searched among; 0 for those of the reference.
    method : str
        One of `SEARCHES`.
    """
    known, model = pickle.loads(reference.read_bytes())
    among = known.points
    if size:
        # From another seed than those asked.
        among = known.project(model.cells(0, size, seed=1))
    asked = known.project(model.cells(0, ASKED))
    if method == "ingest":
        return {"reference": len(among), "method": method, **_ingest(among, asked)}
    started = time.process_time()
    find = _searcher(method, among, known.neighbours)
    find(asked[:100])
    first = time.process_time() - started
    times = []
    for _ in range(3):
        started = time.process_time()
        found = find(asked)
        times.append(time.process_time() - started)
    parts = [find(asked[i : i + SPLIT]) for i in range(0, ASKED, SPLIT)]
    moved = int((np.concatenate(parts) != found).any(axis=1).sum())
    exact = _searcher("exact", among, known.neighbours)(asked) if method != "exact" else found
    shared = [len(set(a) & set(b)) for a, b in zip(exact, found, strict=True)]
    return {
        "reference": len(among), "method": method, "first_s": first,
        "cell_us": 1e6 * min(times) / ASKED, "recall": float(np.mean(shared)) / known.neighbours,
        "moved": moved, "failed": "",
    }  # fmt: skip


def _searcher(method: str, among: Any, k: int) -> Callable[[Any], Any]:
    from ballbook import reference_map

    if method == "tree":
        from sklearn.neighbors import NearestNeighbors

        tree = NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(among)
        return lambda points: tree.kneighbors(points, return_distance=False)
    kept: dict[str, Any] = {}
    return lambda points: reference_map.nearest(among, points, k, method, 0, kept)[0]  # type: ignore[arg-type]


def _ingest(among: Any, asked: Any) -> dict[str, Any]:
    """Time scanpy's ingest on coordinates, or say why it fails."""
    import anndata
    import scanpy

    def data(points: Any) -> anndata.AnnData:
        made = anndata.AnnData(
            np.asarray(points), obs=pd.DataFrame({"label": "any"}, range(len(points)))
        )
        made.obs_names = [str(i) for i in range(len(points))]
        made.obs["label"] = pd.Categorical(["any"] * len(points))
        return made

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            started = time.process_time()
            known, new = data(among), data(asked)
            scanpy.pp.neighbors(known, n_neighbors=15, use_rep="X", random_state=0)
            scanpy.tl.umap(known, random_state=0)
            scanpy.tl.ingest(data(asked[:100]), known, obs="label", embedding_method="umap")
            first = time.process_time() - started
            started = time.process_time()
            scanpy.tl.ingest(new, known, obs="label", embedding_method="umap")
            used = time.process_time() - started
        except Exception as error:
            # Whatever it is, it is what a reader of these versions meets.
            return {"failed": f"{type(error).__name__}: {error}"}
    return {"first_s": first, "cell_us": 1e6 * used / ASKED, "failed": ""}


def searches(work: Path, sizes: tuple[int, ...] = REFERENCES) -> pd.DataFrame:
    """Return one row a search and size of the reference; see `search`."""
    from ballbook import datasets, reference_map

    marrow = datasets.load("triana-marrow").data
    known = work / "known.pickle"
    known.write_bytes(pickle.dumps((reference_map.build(marrow), simulated_cells.fit(marrow))))
    rows = []
    for size in sizes:
        for method in SEARCHES:
            if method in AT_SCALE or not size:
                rows.append(_in_process("--search", known, size, method))
                print(rows[-1], file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def page(out: Path, cohort: Path | None = None) -> dict[str, Any]:
    """Run the page on the map in a process of its own and return its seconds and memory.

    The memory is that of the largest process, which is the notebook's kernel. One thread of
    arithmetic, as everywhere here.

    Raises
    ------
    RuntimeError
        When the page fails.
    """
    import psutil

    command = [sys.executable, "-m", "ballbook.cli", "run", PAGE, "--out", str(out)]
    command += ["--cohort", str(cohort)] if cohort else []
    # A kernel forked from a server that others use as well would not be found below.
    env = {**os.environ, **dict.fromkeys(THREADS, "1"), "BALLBOOK_WARM": "0"}
    began, children = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    peaks: dict[int, float] = {}
    with tempfile.TemporaryFile() as said:
        done = subprocess.Popen(command, env=env, stdout=said, stderr=subprocess.STDOUT)
        while done.poll() is None:
            with contextlib.suppress(psutil.Error):
                first = psutil.Process(done.pid)
                for process in (first, *first.children(recursive=True)):
                    with contextlib.suppress(psutil.Error, OSError, LookupError):
                        # The last that is told: before it begins, a program has its parent's peak.
                        peaks[process.pid] = _told_peak(process)
            time.sleep(0.1)
        said.seek(0)
        if done.returncode:
            raise RuntimeError(f"{PAGE}: {said.read()[-2000:].decode()}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    results = json.loads((out / "results.json").read_text(encoding="utf8"))
    own = {e["id"]: e for e in results["estimates"]}.get("own-off-map")
    return {
        "seconds": time.perf_counter() - began,
        "cpu": used.ru_utime + used.ru_stime - children.ru_utime - children.ru_stime,
        "peak_mb": max(peaks.values()), "placed": own["n"] if own else 0,
    }  # fmt: skip


def _told_peak(process: Any) -> float:
    """Return the peak of another process in MiB; LookupError or OSError where it has ended."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.parent.parent.is_dir():
        return float(process.memory_info().rss) / MB
    told = dict(line.split(":", 1) for line in status.read_text("utf8").splitlines())
    return int(told["VmHWM"].split()[0]) / 1024


def pages(work: Path, sizes: tuple[int, ...] = SIZES) -> pd.DataFrame:
    """Return one row a run of the page: without a cohort, and with one of each size."""
    from ballbook import datasets

    model = simulated_cells.fit(datasets.load("triana-marrow").data)
    rows = [{"cells": 0, **page(work / "none")}]
    for n in sizes:
        file = work / "cohort.h5ad"
        simulated_cells.write(model, file, n)
        rows.append({"cells": n, **page(work / str(n), file)})
        print(rows[-1], file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def _in_process(*given: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "ballbook.cell_speed", *map(str, given)],
        env={**os.environ, **dict.fromkeys(THREADS, "1")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{given[2:]}: {done.stderr[-2000:]}")
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="folder of the record")
    what.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    what.add_argument("--search", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=PARTS, help="measure and record one part")
    parser.add_argument("--most", type=int, default=max(SIZES), help="largest number of cells")
    given = parser.parse_args()
    if given.one:
        reference, file, n, workers, chunk = given.one
        print(json.dumps(one(Path(reference), Path(file), int(n), int(workers), int(chunk))))
        return
    if given.search:
        reference, size, method = given.search
        print(json.dumps(search(Path(reference), int(size), method)))
        return
    sizes = tuple(n for n in SIZES if n <= given.most)
    measures = {
        "cells": lambda work: measure(work, sizes), "searches": searches,
        "pages": lambda work: pages(work, sizes),
    }  # fmt: skip
    given.out.mkdir(parents=True, exist_ok=True)
    for part in [given.only] if given.only else PARTS:
        with tempfile.TemporaryDirectory(prefix="ballbook-cells-") as work:
            frame = measures[part](Path(work))
        frame.to_csv(given.out / f"{part}.csv", index=False, float_format="%.5g")
        print(frame.to_string(index=False))
    names = ("anndata", "dask", "h5py", "numpy", "pynndescent", "scanpy", "scikit-learn", "scipy")
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "versions": {"Python": platform.python_version(), **{n: version(n) for n in names}},
    }
    (given.out / "about.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()

"""Scale of the map of cells: cells per second and peak memory at ten thousand to a million cells.

``python -m ballbook.cell_speed --out data/recorded/cells`` draws cells from the marrow of Triana
2021 (`ballbook.simulated_cells`), writes them to a file, and maps the file on the reference in
chunks, each time in a process of its own, alone and with two workers; the run stops when two runs
of the same cells disagree. The book shows what was recorded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import platform
import subprocess
import sys
import tempfile
import time
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
    import resource

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
    accuracy = float("nan")
    if found.sample is not None and "state" in cells.columns:
        truth = cells.column("state")[found.sample["place"]].to_numpy()
        accuracy = float(np.mean(found.sample["label"].astype(str).to_numpy() == truth))
    return {
        "cells": n, "workers": workers, "chunk": chunk, "seconds": seconds, "cpu": used,
        "start_mb": before, "peak_mb": peak_mb(), "worker_mb": largest, "accuracy": accuracy,
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
        rows.append(_in_process(reference, file, n, workers, chunk))
        print(rows[-1], file=sys.stderr, flush=True)
    frame = pd.DataFrame(rows)
    if (frame.groupby("cells")["digest"].nunique() > 1).any():
        raise RuntimeError("two runs of the same cells disagree")
    frame["cells_per_second"] = frame["cells"] / frame["seconds"]
    frame["drawn_per_cpu_second"] = drawn
    frame["file_mb"] = file.stat().st_size / MB
    return frame


def _in_process(reference: Path, file: Path, n: int, workers: int, chunk: int) -> dict[str, Any]:
    # One thread of arithmetic a process, or workers would fight over the cores.
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    given = [str(reference), str(file), str(n), str(workers), str(chunk)]
    done = subprocess.run(
        [sys.executable, "-m", "ballbook.cell_speed", "--one", *given],
        env={**os.environ, **dict.fromkeys(names, "1")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{n} cells, {workers} workers: {done.stderr[-2000:]}")
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="folder of the record")
    what.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--most", type=int, default=max(SIZES), help="largest number of cells")
    given = parser.parse_args()
    if given.one:
        reference, file, n, workers, chunk = given.one
        print(json.dumps(one(Path(reference), Path(file), int(n), int(workers), int(chunk))))
        return
    with tempfile.TemporaryDirectory(prefix="ballbook-cells-") as work:
        frame = measure(Path(work), tuple(n for n in SIZES if n <= given.most))
    given.out.mkdir(parents=True, exist_ok=True)
    frame.to_csv(given.out / "cells.csv", index=False, float_format="%.5g")
    names = ("anndata", "dask", "h5py", "numpy", "scikit-learn", "scipy")
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "versions": {"Python": platform.python_version(), **{n: version(n) for n in names}},
    }
    (given.out / "about.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf8")
    print(frame.to_string(index=False))


if __name__ == "__main__":
    main()

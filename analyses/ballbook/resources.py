"""What a page takes, measured in its runs, and what is asked of a cluster for it.

Each run leaves its time, its peak memory and the processor time behind (``provenance.json``);
``ballbook record`` keeps those of the book's runs in ``data/recorded/resources.csv``. A cluster's
job asks for more than was measured: its own machinery comes on top, other processors are slower,
and after a failure it asks for a multiple (`memory_mb`, `minutes`).
"""

from __future__ import annotations

import csv
import json
import math
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ballbook import paths

# A job is a kernel and what runs it: the batch step and two processes of Snakemake, papermill.
MACHINERY_MB = 700
# Starting those, and the imports of a cold kernel, on a slow file system.
MACHINERY_SECONDS = 120
# Allowed over what was measured.
MORE_MEMORY, MORE_TIME = 1.5, 6
UNKNOWN_MB, UNKNOWN_SECONDS = 2000.0, 100.0


@dataclass(frozen=True)
class Use:
    """What one run of a page took.

    Attributes
    ----------
    page : str
        Its slug.
    seconds : float
        From opening the page to closing it.
    peak_mb : float
        Most memory the kernel held at once, in MB of 2**20 bytes.
    cores : float
        Processor time over time by the clock.
    """

    page: str
    seconds: float
    peak_mb: float
    cores: float


def file() -> Path:
    """Return the table of what was measured."""
    return paths.data() / "recorded" / "resources.csv"


def peak_mb() -> float | None:
    """Return the most memory that this process held at once, in MB; None where nobody knows."""
    try:
        # What getrusage gives also counts the process that this one was started from.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return round(int(line.split()[1]) / 1024, 1)
    except (OSError, StopIteration, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return None
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale, 1)


class Watch:
    """Measures from when it is made until `read`."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, Any]:
        """Return ``seconds``, ``peak_mb`` and ``cores`` so far."""
        wall = time.perf_counter() - self._wall
        cores = (time.process_time() - self._processor) / max(wall, 1e-9)
        return {"seconds": round(wall, 2), "peak_mb": peak_mb(), "cores": round(cores, 2)}


def table() -> dict[str, Use]:
    """Return what was measured, by page; nothing where nothing was kept."""
    if not file().is_file():
        return {}
    with file().open(encoding="utf8", newline="") as handle:
        return {
            row["page"]: Use(
                row["page"], float(row["seconds"]), float(row["peak_mb"]), float(row["cores"])
            )
            for row in csv.DictReader(handle)
        }


def of_run(slug: str) -> Use | None:
    """Return what the run in ``build/runs/<slug>`` took; None where it does not say."""
    try:
        record = paths.build() / "runs" / slug / "provenance.json"
        found = json.loads(record.read_text(encoding="utf8"))["resources"]
        return Use(slug, *(float(found[name]) for name in ("seconds", "peak_mb", "cores")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(slugs: Iterable[str]) -> Path:
    """Put what the latest runs of `slugs` took into the table, and drop pages that are gone.

    Returns
    -------
    Path
        The table.
    """
    from ballbook import analyses

    found = {slug: use for slug in slugs if (use := of_run(slug))}
    kept = {slug: use for slug, use in (table() | found).items() if slug in analyses.slugs()}
    with file().open("w", encoding="utf8", newline="") as handle:
        writer = csv.DictWriter(handle, [f.name for f in fields(Use)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(kept[slug]) for slug in sorted(kept))
    return file()


def memory_mb(slug: str, attempt: int = 1) -> int:
    """Return the MB that a job asks for to run a page, more at each attempt; whole hundreds."""
    use = table().get(slug)
    measured = use.peak_mb if use else UNKNOWN_MB
    return 100 * math.ceil((MACHINERY_MB + MORE_MEMORY * measured) / 100) * attempt


def minutes(slug: str, attempt: int = 1, times: int = 1) -> int:
    """Return the minutes that a job asks for to run a page `times`, more at each attempt.

    They are reckoned from its processor time, since by the clock a page takes as long as others
    let it on a machine that is shared, and a job has its cores for itself.
    """
    use = table().get(slug)
    measured = use.seconds * use.cores / cores(slug) if use else UNKNOWN_SECONDS
    return math.ceil((MACHINERY_SECONDS + MORE_TIME * measured * times) / 60) * attempt


def cores(slug: str) -> int:
    """Return the cores that a page keeps busy: whole ones, at least one."""
    use = table().get(slug)
    return max(1, round(use.cores)) if use else 1

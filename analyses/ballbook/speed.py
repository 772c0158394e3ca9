"""Speed where it is felt, as ratios measured in one run on one machine.

``python -m ballbook.speed --out data/recorded/speed`` needs R with survival, cmprsk and GSVA
(``tests/golden/speed.R``); the book shows what was recorded. Both sides get the same data and, for
the bootstrap, the same resamples, and the run stops when their numbers disagree.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ballbook import competing_risks, cox, genesets, paths, survival

SEED = 20260219
REPEATS = 3
SIZES = (10_000, 100_000, 1_000_000)


def best(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Return the shortest processor time of several runs, in seconds.

    Processor time counts all threads and does not count what else the machine does.
    """
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def small_cohort(rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    """Return 300 patients with six covariates, and 1,000 resamples of them."""
    x = pd.DataFrame(rng.normal(size=(300, 6)), columns=[f"x{i}" for i in range(1, 7)])
    x["x1"], x["x2"] = (x["x1"] > 0).astype(float), (x["x2"] > 0.5).astype(float)
    time_ = rng.exponential(np.exp(-0.4 * x["x1"] - 0.2 * x["x3"]))
    end = rng.uniform(0.2, 2, 300)
    frame = x.assign(time=np.minimum(time_, end).round(3) + 0.001, event=(time_ <= end).astype(int))
    return frame, rng.integers(0, 300, (1000, 300))


def large_cohort(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Return follow-up in days with two causes."""
    days = np.ceil(rng.exponential(1500, n))
    end = np.ceil(rng.uniform(300, 3650, n))
    cause = np.where(days <= end, rng.integers(1, 3, n), 0)
    return pd.DataFrame({"time": np.minimum(days, end), "cause": cause})


def measure() -> tuple[pd.DataFrame, dict[str, str]]:
    """Time both sides; return the table and the versions of what was timed.

    Raises
    ------
    RuntimeError
        When R fails, or the two sides give different numbers.
    """
    rng = np.random.default_rng(SEED)
    patients, resamples = small_cohort(rng)
    large = {n: large_cohort(rng, n) for n in SIZES}
    genes = [f"g{i}" for i in range(20_000)]
    samples = [f"s{i}" for i in range(100)]
    expression = pd.DataFrame(rng.normal(6, 2, (20_000, 100)), index=genes, columns=samples)
    sets = {f"set{i}": rng.choice(genes, 60, replace=False).tolist() for i in range(14)}
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        patients.to_csv(folder / "cox.csv", index=False)
        np.savetxt(folder / "resamples.csv", resamples, fmt="%d", delimiter=",")
        for n, frame in large.items():
            frame.to_csv(folder / f"competing-{n}.csv", index=False)
        expression.to_csv(folder / "expression.csv.gz")
        (folder / "sets.json").write_text(json.dumps(sets), encoding="utf8")
        script = paths.root() / "tests" / "golden" / "speed.R"
        done = subprocess.run(
            ["Rscript", str(script), str(folder), str(REPEATS)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"R failed: {done.stderr[-500:]}")
        r = json.loads((folder / "speed.json").read_text(encoding="utf8"))

    rows: list[dict[str, Any]] = []

    def add(task: str, size: str, other: str, unit: str, ours: float, theirs: float) -> None:
        rows.append(
            {"task": task, "size": size, "other": other, "unit": unit, "ours": ours,
             "theirs": theirs, "ratio": theirs / ours}
        )  # fmt: skip

    x = patients.drop(columns=["time", "event"])

    def bootstrap() -> Any:
        return cox.bootstrap_cox(
            patients["time"], patients["event"], x, n_boot=1000, seed=SEED, resamples=resamples
        )

    _same("bootstrap Cox", bootstrap()[0], r["check"]["cox"])
    fits = "300 patients, 6 covariates"
    add("1,000 bootstrap Cox fits", fits, "R coxph in a loop", "s", best(bootstrap), r["cox"])
    for n, frame in large.items():
        size = f"{n:,} patients"
        ours = best(partial(survival.kaplan_meier, frame["time"], frame["cause"] > 0))
        add("Kaplan-Meier", size, "R survfit", "s", ours, r[f"km-{n}"])
        add("Kaplan-Meier", size, "lifelines", "s", ours, best(_lifelines_km(frame)))
        ours = best(partial(competing_risks.cumulative_incidence, frame["time"], frame["cause"]))
        add("Aalen-Johansen, both causes", size, "R cuminc", "s", ours, r[f"aj-{n}"])
        repeats = REPEATS if n < SIZES[-1] else 1
        theirs = best(_lifelines_aj(frame), repeats)
        add("Aalen-Johansen, both causes", size, "lifelines", "s", ours, theirs)

    wanted = {name: genesets.GeneSet(tuple(members)) for name, members in sets.items()}
    scored = genesets.ssgsea(expression, wanted)
    _same("ssGSEA", scored.to_numpy()[0, 0], r["check"]["ssgsea"])
    size = "20,000 genes, 100 samples"
    for name, score in (("ssGSEA", genesets.ssgsea), ("singscore", genesets.singscores)):
        task = f"14 gene sets, {name}"
        add(task, size, "GSVA ssGSEA", "s", best(partial(score, expression, wanted)), r["ssgsea"])
        tracemalloc.start()
        score(expression, wanted)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        add(task, size, "GSVA ssGSEA", "MB at peak", peak, r["ssgsea_mb"])
    versions = {
        "Python": platform.python_version(),
        "numpy": version("numpy"),
        "lifelines": version("lifelines"),
        **r["versions"],
    }
    return pd.DataFrame(rows), versions


def _same(what: str, ours: Any, theirs: Any) -> None:
    if not np.allclose(ours, theirs, rtol=1e-6):
        raise RuntimeError(f"{what}: ours {ours} and R's {theirs} differ; a race needs one finish")


def _lifelines_km(frame: pd.DataFrame) -> Callable[[], Any]:
    from lifelines import KaplanMeierFitter

    return lambda: KaplanMeierFitter().fit(frame["time"], frame["cause"] > 0)


def _lifelines_aj(frame: pd.DataFrame) -> Callable[[], Any]:
    import warnings

    from lifelines import AalenJohansenFitter

    def fit() -> None:
        with warnings.catch_warnings():
            # It says that it moves tied times at random.
            warnings.simplefilter("ignore")
            for cause in (1, 2):
                AalenJohansenFitter(seed=0).fit(frame["time"], frame["cause"], cause)

    return fit


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the record")
    out = parser.parse_args().out
    frame, versions = measure()
    out.mkdir(parents=True, exist_ok=True)
    frame.to_csv(out / "speed.csv", index=False, float_format="%.4g")
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "repeats": REPEATS,
        "versions": versions,
    }
    (out / "about.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf8")
    print(frame.to_string(index=False))


if __name__ == "__main__":
    main()

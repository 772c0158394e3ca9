"""Exposures by SigProfilerAssignment on simulated catalogues, for tests/test_signature_refit.py.

In an environment of its own with SigProfilerAssignment 1.1.5 (not one of the book's libraries)::

    python tests/golden/sigprofiler.py COSMIC_v3.4_SBS_GRCh38.txt scratch/

writes ``sigprofiler_catalogues.csv`` (counts, and the truth they were drawn with) and
``sigprofiler_exposures.csv`` beside this script. Catalogues are multinomial draws: 100 to 3,000
mutations, of which 0 to 50% from SBS87 and the rest 65% SBS5, 25% SBS1, 10% SBS18. Three runs: all
signatures of COSMIC v3.4; only the four that the catalogues hold; those without penalties, which
is plain least squares.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

SIGNATURES = ["SBS1", "SBS5", "SBS18", "SBS87"]
SIZES = (100, 300, 1000, 3000)
SHARES = (0.0, 0.1, 0.2, 0.35, 0.5)
SEED = 20260219


def catalogues(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return counts (channels by samples) and the truth (samples by signatures)."""
    rng = np.random.default_rng(SEED)
    counts, truth = {}, {}
    for n in SIZES:
        for share in SHARES:
            name = f"n{n}_s{round(100 * share)}"
            parts = np.array([0.25 * (1 - share), 0.65 * (1 - share), 0.10 * (1 - share), share])
            p = table[SIGNATURES].to_numpy() @ parts
            counts[name] = rng.multinomial(n, p / p.sum())
            truth[name] = n * parts
    return pd.DataFrame(counts, index=table.index), pd.DataFrame(truth, index=SIGNATURES).T


def assign(counts: Path, out: Path, database: Path | None, plain: bool) -> pd.DataFrame:
    """Return the exposures that SigProfilerAssignment finds (samples by signatures)."""
    from SigProfilerAssignment import Analyzer

    names = ("nnls_add_penalty", "nnls_remove_penalty", "initial_remove_penalty")
    Analyzer.cosmic_fit(
        str(counts), str(out), input_type="matrix", context_type="96", genome_build="GRCh38",
        cosmic_version=3.4, make_plots=False, verbose=False,
        signature_database=None if database is None else str(database),
        **(dict.fromkeys(names, 0.0) if plain else {}),
    )  # fmt: skip
    (found,) = out.rglob("Assignment_Solution_Activities.txt")
    return pd.read_csv(found, sep="\t", index_col=0)


def main() -> None:
    """Write the two files."""
    table = pd.read_csv(sys.argv[1], sep="\t", index_col=0)
    scratch = Path(sys.argv[2])
    scratch.mkdir(parents=True, exist_ok=True)
    counts, truth = catalogues(table)
    counts.to_csv(scratch / "counts.txt", sep="\t", index_label="MutationType")
    table[SIGNATURES].to_csv(scratch / "four.txt", sep="\t", index_label="Type")
    rows = []
    for name in ("all", "four", "four, no penalty"):
        database = None if name == "all" else scratch / "four.txt"
        out = scratch / name.replace(", ", "-").replace(" ", "-")
        found = assign(scratch / "counts.txt", out, database, "no" in name)
        long = found.stack().rename("exposure").reset_index()
        long.columns = ["sample", "signature", "exposure"]
        rows.append(long[long["exposure"] > 0].assign(reference=name))
    here = Path(__file__).parent
    counts.T.join(truth.round(6).add_prefix("truth_")).to_csv(
        here / "sigprofiler_catalogues.csv", index_label="sample"
    )
    exposures = pd.concat(rows).assign(version=version("SigProfilerAssignment"))
    exposures.to_csv(here / "sigprofiler_exposures.csv", index=False)


if __name__ == "__main__":
    main()

"""A sweep as a graph, for clusters: chunks of its runs, then their table and the page.

    snakemake --snakefile analyses/sweep.smk --profile env/slurm \
        --config analysis=mrd-consolidation grid=grid.yml out=build/my-sweep chunk=20

A chunk is `ballbook sweep --points I:J`. Its mark is named after what its runs are made of
(`ballbook.freshness`), as the stamps of pages are; runs that are there when a chunk is started once
more are kept. The file system is shared with the nodes.
"""

import os
import shlex
import sys
from pathlib import Path

from ballbook import analyses, freshness, resources, sweep, sweep_grid

# A job ends with all that it started: it leaves no server of kernels behind.
os.environ.setdefault("BALLBOOK_WARM", "0")

SLUG, GRID = str(config["analysis"]), Path(config["grid"]).resolve()
OUT, SIZE = Path(config["out"]).resolve(), int(config.get("chunk", 50))
POINTS = sweep_grid.read(analyses.find(SLUG).parameters, [GRID]).points
PRINTS = [found.id for found in sweep.fingerprints(SLUG, POINTS)]
CHUNKS = [(i, min(i + SIZE, len(POINTS))) for i in range(0, len(POINTS), SIZE)]
MARKS = {
    (i, j): f"build/sweeps/{freshness.digest([str(OUT), *PRINTS[i:j]])[:16]}-{i}-{j}"
    for i, j in CHUNKS
}
JOINED = f"build/sweeps/{freshness.digest([str(OUT), *PRINTS])[:16]}"
# What forks the runs holds the imports, beside the run.
HOLDER_MB = 600
COMMAND = (
    f"{shlex.quote(sys.executable)} -m ballbook.cli sweep {shlex.quote(SLUG)} "
    f"{shlex.quote(str(GRID))} --out {shlex.quote(str(OUT))}"
)


localrules: all


rule all:
    input:
        JOINED,


for (first, last), mark in MARKS.items():

    rule:
        name:
            f"runs_{first}_{last}"
        output:
            touch(mark),
        params:
            command=f"{COMMAND} --points {first}:{last}",
        threads: resources.cores(SLUG)
        resources:
            mem_mb=lambda w, attempt: resources.memory_mb(SLUG, attempt) + HOLDER_MB * attempt,
            runtime=lambda w, attempt, n=last - first: resources.minutes(SLUG, attempt, n),
        shell:
            "{params.command} --workers {threads}"


rule join:
    input:
        MARKS.values(),
    output:
        touch(JOINED),
    params:
        command=f"{COMMAND} --collect",
    resources:
        mem_mb=lambda w, attempt: 2000 * attempt,
        runtime=lambda w, attempt: 20 * attempt,
    shell:
        "{params.command}"

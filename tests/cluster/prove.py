"""Prove the cluster profile on a real SLURM, and write down what SLURM says.

``make test-cluster`` calls this as root. It starts a SLURM of two nodes on this machine
(``env/slurm/test-cluster``), copies the checkout, and has Snakemake run it through sbatch:

book
    The whole book: each page, the worked example, the rendering; then once more, with nothing to
    do.
faults
    Pages whose jobs meet what happens on clusters: cancelled, killed on the node, out of memory,
    a node drained and resumed, a node lost.
sweep
    200 runs in chunks, the driver killed in the middle; the same bytes as a sweep without SLURM.

With ``--out``, what was checked is written to ``slurm-<phase>.txt`` with the lines of squeue, sinfo
and sacct, and the counts of jobs to ``counts.csv``. A check that fails ends the proof, exit code 1.
"""

from __future__ import annotations

import argparse
import csv
import filecmp
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SACCT = "JobID,Comment,State,NodeList,Elapsed,Timelimit,ReqMem,AllocCPUS,MaxRSS,Restarts"
FAST = ("mrd-consolidation", "lineage-switch-incidence", "infant-trials", "printed-numbers")
PATIENCE = 5400.0
SWEPT, RUNS, CHUNK = "mrd-consolidation", 200, 20
GRID = """\
parameters:
  positive_share: {from: 0.6, to: 0.95, step: 0.05}
  high_of_positive: {from: 0.3, to: 0.7, step: 0.1}
  prior_sd: [0.2, 0.35, 0.5, 1, 2]
"""


class Disproved(RuntimeError):
    """Something was not as it should be."""


@dataclass
class JobLine:
    """What SLURM's accounting holds of one start of one job."""

    id: str
    name: str
    state: str
    node: str
    elapsed: str
    limit: str
    asked_mb: float
    cores: int
    used_mb: float

    def __str__(self) -> str:
        used = f"{self.used_mb:6.0f}" if self.used_mb else "     -"
        return (
            f"{self.id:>5} {self.name:<26} {self.state:<13} {self.node:<7} {self.elapsed} of "
            f"{self.limit}  {used} of {self.asked_mb:.0f} MB  {self.cores} core"
        )


@dataclass
class Proof:
    """A running test cluster, a copy of the checkout in it, and what was seen."""

    folder: Path
    lines: list[str] = field(default_factory=list)
    counts: list[dict[str, str | int]] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    drivers: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        """The copy of the checkout."""
        return self.folder / "book"

    # What is written down

    def say(self, text: str = "") -> None:
        """Write a line, and show it."""
        self.lines.append(text)
        print(text, flush=True)

    def check(self, holds: bool, text: str) -> None:
        """Write down what holds, or end."""
        if not holds:
            raise Disproved(text)
        self.say(f"ok: {text}")

    def show(self, *command: str) -> str:
        """Run a command of SLURM and write down what it prints."""
        self.say("$ " + " ".join(f"'{c}'" if re.search(r"[ %|*]", c) else c for c in command))
        out = self.call(*command)
        for line in out.rstrip().splitlines():
            self.say(line.rstrip())
        return out

    # SLURM

    def call(self, *command: str, cwd: Path | None = None) -> str:
        """Run a command and return what it prints."""
        done = subprocess.run(
            command, env=self.env, cwd=cwd, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Disproved(f"{' '.join(command[:4])}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def last_id(self) -> int:
        """Return the number of the latest job."""
        lines = self.call("sacct", "-X", "-n", "-P", "-o", "JobIDRaw", "-S", "now-2days").split()
        return max(map(int, lines), default=0)

    def jobs(self, after: int) -> list[JobLine]:
        """Return all starts of the jobs after a number, as accounted."""
        out = self.call(
            "sacct", "-D", "-n", "-P", "--units=M", "-S", "now-2days", "-o",
            "JobIDRaw,Comment,State,NodeList,Elapsed,Timelimit,ReqMem,AllocCPUS,MaxRSS",
        )  # fmt: skip
        found: list[JobLine] = []
        for line in out.splitlines():
            id, comment, state, node, elapsed, limit, asked, cores, used = line.split("|")
            if int(id.split(".")[0]) <= after:
                continue
            if "." in id:
                found[-1].used_mb += float(used.rstrip("M") or 0)
                continue
            name = re.sub(r"^rule_|_?wildcards_", " ", comment).split()
            found.append(
                JobLine(
                    id, " ".join(name), state.split()[0], node, elapsed, limit,
                    float(asked.rstrip("M") or 0), int(cores), 0.0,
                )
            )  # fmt: skip
        return found

    def running(self) -> dict[str, str]:
        """Return the numbers of the jobs that run, with their nodes."""
        out = self.call("squeue", "--noheader", "--states=running", "--format=%i %N")
        return dict(line.split() for line in out.splitlines() if len(line.split()) == 2)

    def wait(self, what: str, holds: Callable[[], object], seconds: float = 600) -> None:
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise Disproved(f"not within {seconds:.0f} s: {what}")
            time.sleep(0.3)

    def account(self, phase: str, after: int) -> Counter[str]:
        """Write down the jobs since a number, and count how they ended."""
        self.wait("the queue is empty", lambda: not self.call("squeue", "--noheader").strip())
        # The accounting follows the controller by a moment.
        self.wait(
            "all jobs are accounted",
            lambda: not {j.state for j in self.jobs(after)} & {"RUNNING", "PENDING", "COMPLETING"},
        )
        found = self.jobs(after)
        self.say("   id job                        state         node    time             memory")
        for job in found:
            self.say(str(job))
        states = Counter(job.state for job in found)
        self.counts.append(
            {"phase": phase, "jobs": len({j.id for j in found}), "starts": len(found)}
            | {
                name: sum(states[s] for s in of)
                for name, of in {
                    "completed": ["COMPLETED"],
                    "cancelled": ["CANCELLED"],
                    "failed": ["FAILED", "OUT_OF_MEMORY", "TIMEOUT"],
                    "requeued": ["REQUEUED", "NODE_FAIL"],
                }.items()
            }
        )
        self.say()
        return states

    # Snakemake

    def snakemake(self, *arguments: str, file: str = "analyses/Snakefile") -> subprocess.Popen[str]:
        """Start a driver, whose output goes to ``driver.log``."""
        with (self.folder / "driver.log").open("a", encoding="utf8") as log:
            driver = subprocess.Popen(
                [
                    sys.executable, "-m", "snakemake", "--snakefile", file, "--profile",
                    "env/slurm", "--slurm-init-seconds-before-status-checks", "5",
                    "--slurm-no-account", *arguments,
                ],
                cwd=self.home, env=self.env, stdout=log, stderr=log, text=True,
            )  # fmt: skip
        self.drivers.append(driver)
        return driver

    def finish(self, driver: subprocess.Popen[str]) -> None:
        """Wait for a driver and require that it did all."""
        if driver.wait(timeout=PATIENCE):
            log = (self.folder / "driver.log").read_text(encoding="utf8").splitlines()
            told = [line for line in log if not line.lstrip().startswith("input:")]
            raise Disproved("the driver failed:\n" + "\n".join(told[-60:]))

    def left_over(self) -> list[str]:
        """Return the processes that still work in the copy of the checkout."""
        mine = f"BALLBOOK_HOME={self.home}\0".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mine in (process / "environ").read_bytes() and int(process.name) != os.getpid():
                    found.append((process / "cmdline").read_text().replace("\0", " ")[:80])
            except OSError:
                continue
        return found


@contextmanager
def cluster() -> Iterator[Proof]:
    """Give a test cluster with a copy of the checkout, which goes when the block ends."""
    # Paths of sockets are short.
    folder = Path(tempfile.mkdtemp(prefix="bb-slurm-", dir="/tmp"))
    script = str(ROOT / "env" / "slurm" / "test-cluster")
    proof = Proof(folder)
    try:
        told = proof.call(script, "start", str(folder / "slurm"))
        for name, value in re.findall(r"(\w+)=(\S+)", told):
            proof.env[name] = os.path.expandvars(value)
        files = proof.call("git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard")
        for name in filter(None, files.split("\0")):
            if (ROOT / name).is_file():
                (proof.home / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, proof.home / name)
        if data := proof.env.get("BALLBOOK_DATA"):
            proof.env["BALLBOOK_DATA"] = str((ROOT / data).resolve())
        proof.env |= {
            "BALLBOOK_HOME": str(proof.home),
            "PYTHONPATH": str(proof.home / "analyses"),
        }
        proof.env.pop("BALLBOOK_WARM", None)
        yield proof
    finally:
        for driver in proof.drivers:
            driver.kill()
        subprocess.run([script, "stop", str(folder / "slurm")], check=False)
        if sys.exc_info()[0] is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"left for a look: {folder}", file=sys.stderr)


def book(proof: Proof) -> None:
    """Run the whole book."""
    proof.say("## The whole book\n")
    after = proof.last_id()
    slugs = proof.call(sys.executable, "-m", "ballbook.cli", "list").splitlines()
    slugs = [line.split()[0] for line in slugs]
    driver = proof.snakemake("all")
    proof.wait("two jobs run", lambda: len(proof.running()) == 2)
    proof.show("sinfo", "--Node", "--format=%N %T %c %m")
    proof.show("squeue", "--format=%i %T %N %m %l")
    proof.finish(driver)
    states = proof.account("book", after)
    proof.check(
        set(states) == {"COMPLETED"} and states["COMPLETED"] == len(slugs) + 2,
        f"{len(slugs)} pages, the worked example and the rendering: "
        f"{states['COMPLETED']} jobs, all completed",
    )
    proof.check((proof.home / "build/html/index.html").is_file(), "the book is rendered")
    same = sum(results(proof.home / "build/runs" / s) == results(proof.home / "data/recorded" / s)
               for s in slugs)  # fmt: skip
    proof.say(f"{same} of {len(slugs)} pages have the results that are recorded")
    proof.check(not proof.left_over(), "no process is left on the nodes")
    proof.say("\nOnce more, with nothing changed:\n")
    after = proof.last_id()
    proof.finish(proof.snakemake("all"))
    proof.check(proof.last_id() == after, "nothing is submitted")
    # Part of what the book is made of, so not before.
    measured = proof.call(
        sys.executable, "-c",
        "from ballbook import resources, analyses; print(resources.keep(analyses.slugs()))",
    )  # fmt: skip
    proof.say(f"kept: {Path(measured.strip()).name}")
    proof.say()


def faults(proof: Proof) -> None:
    """Let happen to the jobs of a few pages what happens on clusters."""
    proof.say("## Faults, one after the other\n")
    runs = proof.home / "build" / "runs"

    def again(*pages: str) -> list[str]:
        for page in pages:
            shutil.rmtree(runs / page, ignore_errors=True)
        return [rule(page) for page in pages]

    after = begun = proof.last_id()
    driver = proof.snakemake(*again(FAST[0]))
    proof.wait("a notebook runs", lambda: working(proof))
    victim = next(iter(proof.running()))
    proof.show("scancel", victim)
    proof.finish(driver)
    found = proof.jobs(after)
    proof.check(
        [j.state for j in found][:1] == ["CANCELLED"] and found[-1].state == "COMPLETED",
        f"a job that is cancelled is submitted again (job {victim}, then {found[-1].id})",
    )
    proof.check(found[-1].asked_mb > found[0].asked_mb, "and asks for more memory and time")

    after = proof.last_id()
    driver = proof.snakemake(*again(FAST[0]))
    proof.wait("a notebook runs", lambda: working(proof))
    os.kill(working(proof)[0], signal.SIGKILL)
    proof.say("$ kill -9 (the process of the page, on its node)")
    proof.finish(driver)
    found = proof.jobs(after)
    proof.check(
        [j.state for j in found] == ["FAILED", "COMPLETED"],
        "a page killed on its node is submitted again",
    )

    after = proof.last_id()
    driver = proof.snakemake(
        *again(FAST[0]), "--set-resources", f"{rule(FAST[0])}:mem_mb=500 if attempt == 1 else 2000"
    )
    proof.finish(driver)
    found = proof.jobs(after)
    proof.check(
        [j.asked_mb for j in found] == [500, 2000] and found[0].state != "COMPLETED",
        "a job out of memory is ended by SLURM and comes back with more",
    )

    after = proof.last_id()
    driver = proof.snakemake(*again(*FAST))
    proof.wait("both nodes work", lambda: set(proof.running().values()) == {"node1", "node2"})
    proof.show("scontrol", "update", "NodeName=node2", "State=drain", "Reason=test")
    proof.show("sinfo", "--Node", "--format=%N %T %E")
    proof.wait("node2 is empty", lambda: "node2" not in proof.running().values())
    drained = {j.id for j in proof.jobs(after)}
    proof.show("sinfo", "--Node", "--format=%N %T %E")
    proof.wait("the others wait for node1", lambda: len(proof.running()) == 1)
    proof.show("squeue", "--format=%i %T %N %r")
    proof.show("scontrol", "update", "NodeName=node2", "State=resume")
    proof.finish(driver)
    found = proof.jobs(after)
    proof.check(
        [j.state for j in found] == ["COMPLETED"] * len(FAST) and len(drained) >= 2,
        "the job on a node that is drained ends well, the others go elsewhere, none is lost",
    )

    after = proof.last_id()
    driver = proof.snakemake(*again(*FAST[:2]))
    proof.wait("both nodes work", lambda: len(working(proof)) == 2)
    proof.show("scontrol", "update", "NodeName=node1", "State=down", "Reason=test")
    proof.wait("its job waits", lambda: "node1" not in proof.running().values())
    proof.show("squeue", "--format=%i %T %N %r")
    proof.show("scontrol", "update", "NodeName=node1", "State=resume")
    proof.finish(driver)
    found = proof.jobs(after)
    proof.check(
        Counter(j.state for j in found)["COMPLETED"] == 2 and len(found) > 2,
        "the job of a node that is lost is requeued by SLURM",
    )
    for page in FAST:
        proof.check(
            results(runs / page) == results(proof.home / "data/recorded" / page),
            f"{page}: the results that are recorded",
        )
    proof.say()
    proof.account("faults", begun)
    proof.check(not proof.left_over(), "no process is left on the nodes")
    proof.say()


def sweep(proof: Proof) -> None:
    """Run a sweep in chunks, with the driver killed in the middle."""
    proof.say("## A sweep of 200 runs\n")
    grid, out = proof.folder / "grid.yml", proof.folder / "sweep"
    grid.write_text(GRID, encoding="utf8")
    for line in GRID.splitlines():
        proof.say(f"    {line}")
    proof.say()
    asked = ("--config", f"analysis={SWEPT}", f"grid={grid}", f"out={out}", f"chunk={CHUNK}")
    after = proof.last_id()
    driver = proof.snakemake(*asked, file="analyses/sweep.smk")
    proof.wait("three chunks are done", lambda: len(done(proof)) >= 3)
    driver.kill()
    driver.wait()
    proof.say("$ kill -9 (Snakemake)")
    proof.show("scancel", "--state=PENDING", "--partition=all")
    proof.wait("the jobs that run end", lambda: not proof.running())
    before = done(proof)
    proof.say(f"{len(before)} of {RUNS // CHUNK} chunks are done")
    proof.check(3 <= len(before) < RUNS // CHUNK, "the sweep is in its middle")
    first = proof.last_id()
    proof.finish(proof.snakemake(*asked, file="analyses/sweep.smk"))
    states = proof.account("sweep", after)
    resumed = Counter(j.state for j in proof.jobs(first))
    proof.check(
        resumed == Counter(COMPLETED=RUNS // CHUNK - len(before) + 1),
        f"started again, it runs the {RUNS // CHUNK - len(before)} chunks that are missing "
        "and joins the table",
    )
    proof.check(states["COMPLETED"] == RUNS // CHUNK + 1, "no chunk was run twice")
    alone = proof.folder / "alone"
    proof.env["BALLBOOK_WARM"] = "0"
    proof.call(
        sys.executable, "-m", "ballbook.cli", "sweep", SWEPT, str(grid), "--out", str(alone),
        cwd=proof.home,
    )  # fmt: skip
    with (out / "estimates.csv").open(encoding="utf8", newline="") as handle:
        runs = {row["run"] for row in csv.DictReader(handle)}
    proof.check(len(runs) == RUNS, f"the table holds {len(runs)} runs")
    proof.check(
        filecmp.cmp(out / "estimates.csv", alone / "estimates.csv", shallow=False),
        "byte for byte the table of the same sweep without SLURM",
    )
    proof.check(not proof.left_over(), "no process is left on the nodes")
    proof.say()


def rule(slug: str) -> str:
    """Return the name of the rule that makes a page."""
    return slug.replace("-", "_")


def done(proof: Proof) -> list[str]:
    """Return the chunks of the sweep that are done."""
    return sorted(p.name for p in (proof.home / "build" / "sweeps").glob("*-*"))


def working(proof: Proof) -> list[int]:
    """Return the processes that run a page in the copy of the checkout."""
    mine = f"BALLBOOK_HOME={proof.home}\0".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if mine in (process / "environ").read_bytes() and words[1:4] == [
                b"-m", b"ballbook.cli", b"page",
            ]:  # fmt: skip
                found.append(int(process.name))
        except OSError:
            continue
    return found


def results(folder: Path) -> object:
    """Return the results of a run without when and how long."""
    found = json.loads((folder / "results.json").read_text(encoding="utf8"))
    del found["provenance"]
    return found


# Folders below which a path tells of the machine.
OURS = ("tmp", "root", "home", "work")


def write(proof: Proof, phase: str, out: Path) -> None:
    """Write what was seen in a phase; nothing in it tells of this machine."""
    out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(proof.lines).rstrip() + "\n"
    if guilty := re.findall(rf"/(?:{'|'.join(OURS)})\S*", text):
        raise Disproved(f"the transcript names {guilty[0]}")
    (out / f"slurm-{phase}.txt").write_text(text, encoding="utf8")
    table = out / "counts.csv"
    kept: list[dict[str, str | int]] = []
    if table.is_file():
        with table.open(encoding="utf8", newline="") as handle:
            kept = [dict(row) for row in csv.DictReader(handle) if row["phase"] != phase]
    kept = sorted([*kept, *proof.counts], key=lambda row: list(PHASES).index(str(row["phase"])))
    with table.open("w", encoding="utf8", newline="") as handle:
        writer = csv.DictWriter(handle, list(kept[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
    about = {
        "date": f"{time.strftime('%Y-%m-%d', time.gmtime())}",
        "versions": {
            name: version(name) for name in ("snakemake", "snakemake-executor-plugin-slurm")
        }
        | {"slurm": proof.call("sinfo", "--version").split()[-1]},
    }
    (out / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf8")
    measured = proof.home / "data" / "recorded" / "resources.csv"
    if phase == "book":
        shutil.copy2(measured, out.parent / measured.name)


PHASES = {"book": book, "faults": faults, "sweep": sweep}


def main(argv: Sequence[str] | None = None) -> int:
    """Prove what is asked for and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder for transcripts and counts")
    parser.add_argument("phases", nargs="*", default=list(PHASES), choices=list(PHASES))
    asked = parser.parse_args(argv)
    with cluster() as proof:
        slurm = proof.call("sinfo", "--version").strip()
        for phase in asked.phases:
            proof.lines, proof.counts = [], []
            proof.say(f"# {slurm}, two nodes of one core each, on one machine\n")
            PHASES[phase](proof)
            if asked.out:
                write(proof, phase, asked.out.resolve())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Disproved as error:
        print(f"not so: {error}", file=sys.stderr)
        sys.exit(1)

"""Check the Kubernetes profile as far as that can be done without a cluster.

A stand-in for the API (`pods`) takes what Snakemake's executor sends, and runs each job's command
in a file system like the image's. Shown by it: the profile is accepted, each job declares its
memory and cores, the objects are objects of Kubernetes' API, a job finds its sources and the shared
claim, stamps and results end up in the claim, a job that fails is tried again with more, and
nothing is run twice. Not shown: the image itself, which nobody built here, and everything that
needs nodes: scheduling, limits, networks, access rights, storage classes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parent))

from pods import INSIDE, StandIn, checked
from prove import FAST, Disproved, results, rule

ROOT = Path(__file__).resolve().parents[2]
PAGES = FAST[:2]
DRIVER = "python -m snakemake --snakefile analyses/Snakefile --profile env/kubernetes"


def checkout(home: Path) -> None:
    """Copy what the image copies: the COPY lines of its recipe."""
    recipe = (ROOT / "env" / "kubernetes" / "Containerfile").read_text(encoding="utf8")
    for line in re.findall(r"^COPY (.+)$", recipe, re.M):
        *sources, target = line.split()
        for name in sources:
            source, into = ROOT / name, home / target
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, into, ignore=ignored, dirs_exist_ok=True)
            else:
                place = into / source.name if target.endswith("/") else into
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, place)


def image_environment() -> dict[str, str]:
    """Return the ENV of the recipe, with this interpreter in place of the image's."""
    recipe = (ROOT / "env" / "kubernetes" / "Containerfile").read_text(encoding="utf8")
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", recipe, re.M)
    found = dict(pair.split("=", 1) for pair in block.replace("\\\n", " ").split())
    found["PATH"] = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    # Where the library is not the installed one.
    return found | {"PYTHONPATH": "/ballbook/analyses", "HOME": "/workdir", "LANG": "C.UTF-8"}


def drive(api: StandIn, *arguments: str) -> tuple[int, str]:
    """Run the driver as its pod would, and return its exit code and what it said."""
    scratch = api.folder / "driver"
    scratch.mkdir()
    command = f"cd /ballbook && {DRIVER} {' '.join(arguments)}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", INSIDE, "sh", str(scratch), str(api.checkout), command,
         f"{api.volumes['ballbook-build']}=/ballbook/build"],
        env=api.env | {"KUBECONFIG": str(api.config)}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    shutil.rmtree(scratch, ignore_errors=True)
    return done.returncode, done.stdout


def prove(folder: Path, lines: list[str]) -> None:
    """Check everything, writing down what holds."""

    def check(holds: bool, text: str) -> None:
        if not holds:
            raise Disproved(text)
        lines.append(f"ok: {text}")
        print(lines[-1], flush=True)

    for document in yaml.safe_load_all(
        (ROOT / "env" / "kubernetes" / "driver.yaml").read_text(encoding="utf8")
    ):
        checked(document, f"V1{document['kind']}")
        check(True, f"driver.yaml: {document['kind']} is an object of Kubernetes' API")

    home, volume = folder / "image", folder / "claim"
    volume.mkdir()
    checkout(home)
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
         "--disable-pip-version-check", "-r", str(ROOT / "env" / "cluster-lock.txt"),
         "-d", str(home / "wheels")],
        check=True,
    )  # fmt: skip
    env = image_environment()
    if data := os.environ.get("BALLBOOK_DATA"):
        env["BALLBOOK_DATA"] = str((ROOT / data).resolve())
    api = StandIn(folder, home, {"ballbook-build": volume}, env)

    code, said = drive(api, *map(rule, PAGES))
    if code:
        logs = "\n".join(job.log.read_text(encoding="utf8")[-3000:] for job in api.jobs.values())
        raise Disproved(f"the driver failed:\n{said[-4000:]}\n{logs}")
    check(not api.refused, f"all of {len(api.jobs)} jobs are objects of Kubernetes' API")
    asked = [job.body["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
             for job in api.jobs.values()]  # fmt: skip
    lines += [f"    {json.dumps(request)}" for request in asked]
    check(all({"cpu", "memory"} <= set(request) for request in asked), "each declares its needs")
    check(not api.secrets, "the secret of the run is taken away at its end")
    for page in PAGES:
        stamps = list((volume / "runs" / page).glob(".fresh-*.json"))
        check(len(stamps) == 1, f"{page}: its stamp is in the claim")
        recorded = ROOT / "data" / "recorded" / page
        check(results(volume / "runs" / page) == results(recorded), f"{page}: as recorded")
    before = len(api.jobs)
    code, said = drive(api, *map(rule, PAGES))
    check(code == 0 and len(api.jobs) == before, "once more: nothing is sent")

    shutil.rmtree(volume / "runs" / PAGES[0])
    api.lose_first = True
    code, said = drive(api, rule(PAGES[0]))
    sent = [job.body for job in list(api.jobs.values())[before:]]
    memory = [
        body["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["memory"]
        for body in sent
    ]
    lines += [f"    memory asked: {amount}" for amount in memory]
    check(
        code == 0 and len(sent) == 2 and int(memory[1][:-1]) > int(memory[0][:-1]),
        "a pod that is lost is sent again, and asks for more",
    )
    check((volume / "runs" / PAGES[0] / "results.json").is_file(), "and its page is there")


def main() -> int:
    """Check, write down, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder for the transcript")
    out = parser.parse_args().out
    folder = Path(tempfile.mkdtemp(prefix="bb-pods-", dir="/tmp"))
    named = ("snakemake", "snakemake-executor-plugin-kubernetes", "kubernetes")
    lines = [
        "# Without a cluster: a stand-in for the API, " + ", ".join(
            f"{name} {version(name)}" for name in named
        ),
        "",
    ]  # fmt: skip
    try:
        prove(folder, lines)
    except Disproved as error:
        print(f"not so: {error}\nleft for a look: {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "kubernetes.txt").write_text("\n".join(lines) + "\n", encoding="utf8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

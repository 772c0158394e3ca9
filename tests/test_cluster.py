"""What clusters are asked for and told; the proof on a real SLURM is ``make test-cluster``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from ballbook import analyses, cluster_record, paths, resources

ENV = paths.root() / "env"
KUBERNETES = ENV / "kubernetes"


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build folder and a table of their own."""
    monkeypatch.setattr(resources, "file", lambda: tmp_path / "resources.csv")
    monkeypatch.setattr(paths, "build", lambda: tmp_path)
    return tmp_path


def leave_run(build: Path, slug: str, **used: object) -> None:
    """Leave a run that says what it took."""
    folder = build / "runs" / slug
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "provenance.json").write_text(json.dumps({"resources": used}), encoding="utf8")


def test_the_peak_is_what_the_process_held_at_once_though_it_gave_it_back() -> None:
    code = (
        "from ballbook import resources as r; w = r.Watch(); a = r.peak_mb();"
        "x = bytearray(b'x') * (200 * 2**20); del x; print(a, *w.read().values())"
    )
    env = {**os.environ, "PYTHONPATH": str(paths.analyses())}
    out = subprocess.check_output([sys.executable, "-c", code], env=env, text=True)
    before, seconds, peak, cores = map(float, out.split())
    assert 195 < peak - before < 260
    assert seconds > 0
    assert 0 < cores < 1.5


def test_record_keeps_what_runs_took_and_drops_pages_that_are_gone(measured: Path) -> None:
    a, b = analyses.slugs()[:2]
    (measured / "resources.csv").write_text(
        f"page,seconds,peak_mb,cores\n{b},7.5,300.0,1.0\nno-such-page,1,1,1\n", encoding="utf8"
    )
    leave_run(measured, a, seconds=1.25, peak_mb=256.5, cores=0.5)
    # A run of before there was anything to keep, and one that no system told of.
    leave_run(measured, analyses.slugs()[2])
    leave_run(measured, analyses.slugs()[3], seconds=1.0, peak_mb=None, cores=1.0)
    resources.keep(analyses.slugs())
    assert resources.table() == {
        a: resources.Use(a, 1.25, 256.5, 0.5),
        b: resources.Use(b, 7.5, 300.0, 1.0),
    }


def test_a_job_asks_for_more_than_was_measured_and_for_more_when_tried_again(
    measured: Path,
) -> None:
    slug = analyses.slugs()[0]
    leave_run(measured, slug, seconds=40.0, peak_mb=1000.0, cores=1.6)
    resources.keep([slug])
    assert [resources.memory_mb(slug, attempt) for attempt in (1, 2, 3)] == [2200, 4400, 6600]
    # 64 seconds of processor time on two cores.
    assert resources.cores(slug) == 2
    assert [resources.minutes(slug, attempt) for attempt in (1, 2, 3)] == [6, 12, 18]
    assert resources.minutes(slug, times=50) == 162
    leave_run(measured, slug, seconds=400.0, peak_mb=1000.0, cores=0.1)
    resources.keep([slug])
    assert resources.minutes(slug) == 6
    assert resources.memory_mb("unknown") == 3700
    assert resources.minutes("unknown") == 12
    assert resources.cores("unknown") == 1


def planned(tmp_path: Path, file: str, *arguments: str) -> dict[str, str]:
    """Return the jobs that Snakemake would run, each with the resources it asks for."""
    done = subprocess.run(
        [
            sys.executable, "-m", "snakemake", "--snakefile", str(paths.analyses() / file),
            "--directory", str(tmp_path), "--dry-run", "--nolock", "--cores", "2", *arguments,
        ],
        env={**os.environ, "BALLBOOK_HOME": str(paths.root()), "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    block = r"^rule (\w+):\n(?:    (?!resources).*\n)*    resources: (.*)$"
    return dict(re.findall(block, done.stdout + done.stderr, re.M))


@pytest.mark.slow
def test_each_page_is_a_job_that_declares_what_it_needs(tmp_path: Path) -> None:
    jobs = planned(tmp_path, "Snakefile", "pages")
    for slug in analyses.slugs():
        asked = jobs[slug.replace("-", "_")] + ","
        assert f"mem_mb={resources.memory_mb(slug)}," in asked
        assert f"runtime={resources.minutes(slug)}," in asked


@pytest.mark.slow
def test_a_sweep_is_jobs_of_chunks_and_one_that_joins_them(tmp_path: Path) -> None:
    slug = "mrd-consolidation"
    grid = tmp_path / "grid.yml"
    grid.write_text("parameters: {looks: [1, 2, 3, 4, 5, 6, 7]}\n", encoding="utf8")
    settings = ["--config", f"analysis={slug}", f"grid={grid}", f"out={tmp_path}/out"]
    jobs = planned(tmp_path, "sweep.smk", *settings, "chunk=3")
    assert set(jobs) == {"runs_0_3", "runs_3_6", "runs_6_7", "join"} | set(jobs) & {"all"}
    assert f"runtime={resources.minutes(slug, times=3)}," in jobs["runs_0_3"] + ","
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("profile", ["slurm", "kubernetes"])
def test_profiles_hold_options_that_snakemake_knows(profile: str) -> None:
    from snakemake.cli import get_argument_parser

    declared = yaml.safe_load((ENV / profile / "config.yaml").read_text(encoding="utf8"))
    known = {
        option.lstrip("-")
        for action in get_argument_parser([])._actions
        for option in action.option_strings
    }
    # Those of an executor are known where it is installed.
    assert {key for key in declared if not key.startswith(profile)} <= known
    assert declared["executor"] == profile


def test_the_image_the_driver_and_the_profile_agree() -> None:
    profile = yaml.safe_load((KUBERNETES / "config.yaml").read_text(encoding="utf8"))
    objects = {
        found["kind"]: found
        for found in yaml.safe_load_all((KUBERNETES / "driver.yaml").read_text(encoding="utf8"))
    }
    recipe = (KUBERNETES / "Containerfile").read_text(encoding="utf8")
    pod = objects["Job"]["spec"]["template"]["spec"]
    claim = objects["PersistentVolumeClaim"]["metadata"]["name"]
    (home,) = re.findall(r"BALLBOOK_HOME=(\S+)", recipe)
    assert pod["containers"][0]["image"] == profile["container-image"]
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim
    assert pod["containers"][0]["volumeMounts"][0]["mountPath"] == f"{home}/build"
    assert profile["kubernetes-persistent-volumes"] == [f"{claim}:{home}/build"]
    assert profile["default-storage-prefix"] == home
    assert pod["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
    for line in re.findall(r"^COPY (.+)$", recipe, re.M):
        for source in line.split()[:-1]:
            assert (paths.root() / source).exists(), source


def test_the_lock_of_clusters_adds_to_the_other_and_has_hashes() -> None:
    import tomllib

    pinned = re.compile(r"^([\w.-]+)(?:\[.*\])?==(\S+)(.*)$", re.M)
    lock = (ENV / "cluster-lock.txt").read_text(encoding="utf8")
    added = {name for name, _, _ in pinned.findall(lock)}
    base = {
        name
        for name, _, rest in pinned.findall((ENV / "lock.txt").read_text(encoding="utf8"))
        # What another Python needs is not there on this one.
        if "pypy" not in rest
    }
    assert not added & base
    project = tomllib.loads((paths.root() / "pyproject.toml").read_text(encoding="utf8"))
    wanted = project["project"]["optional-dependencies"]["cluster"]
    assert {Requirement(text).name for text in wanted} <= added
    for block in re.split(r"\n(?=\S)", lock):
        assert "--hash=sha256:" in block
    assert "://" not in lock


def test_the_script_of_the_test_cluster_is_sound_and_explains_itself() -> None:
    script = ENV / "slurm" / "test-cluster"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    done = subprocess.run(["bash", script, "dance"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "start, stop or install" in done.stderr


def test_the_record_of_clusters_is_shown_with_its_transcripts(tmp_path: Path) -> None:
    about = {"date": "2026-11-22", "versions": {"slurm": "22.05.8"}}
    (tmp_path / "about.json").write_text(json.dumps(about), encoding="utf8")
    (tmp_path / "counts.csv").write_text("phase,jobs,completed\nbook,30,29\n", encoding="utf8")
    (tmp_path / "slurm-book.txt").write_text("1 <RUNNING> node1\n", encoding="utf8")
    html = cluster_record.part(tmp_path)
    assert "slurm 22.05.8" in html
    assert ">29<" in html
    assert "Transcript: the whole book" in html
    assert "1 &lt;RUNNING&gt; node1" in html


def test_transcripts_tell_of_no_machine() -> None:
    for file in (paths.data() / "recorded" / "cluster").glob("*"):
        text = file.read_text(encoding="utf8")
        assert not re.search(r"/(?:tmp|root|home|work)\b|\bvm\b", text), file.name
        assert "not so" not in text

"""Running one notebook: outputs, determinism, refusal before a kernel, nothing half-written."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import papermill
import pytest

from ballbook import placing, run

ROOT = Path(__file__).resolve().parents[1]
CLAIM = """source: demo2026
claims:
- id: demo-mean
  locator: Table 1
  statement: The mean of the draws.
  kind: mean
  printed: "0.0"
  value: 0.0
  analysis: demo-page
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A checkout with one small analysis."""
    folder = tmp_path / "home"
    for name in ("analyses/kmt2a", "data/claims", "data/published", "env"):
        (folder / name).mkdir(parents=True)
    shutil.copy2(ROOT / "tests/demo/demo-page.md", folder / "analyses/kmt2a")
    shutil.copy2(ROOT / "data/catalog.yml", folder / "data")
    shutil.copy2(ROOT / "env/lock.txt", folder / "env")
    shutil.copytree(ROOT / "book", folder / "book")
    shutil.copytree(ROOT / "data/dictionaries", folder / "data/dictionaries")
    (folder / "data/claims/demo2026.yml").write_text(CLAIM, encoding="utf8")
    return folder


def ballbook(home: Path, *args: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in that checkout."""
    return subprocess.run(
        [sys.executable, "-m", "ballbook.cli", *args],
        env={**os.environ, "BALLBOOK_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        **kwargs,
    )


def without_clock(folder: Path) -> str:
    """Return results.json without run time and date."""
    results = json.loads((folder / "results.json").read_text(encoding="utf8"))
    del results["provenance"]["started"], results["provenance"]["seconds"]
    return json.dumps(results)


def test_a_run_writes_what_is_promised_and_twice_the_same(home: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for out in (first, second):
        done = ballbook(home, "run", "demo-page", "--out", str(out))
        assert done.returncode == 0, done.stderr
        assert "The mean is" in done.stdout
    names = {p.relative_to(first).as_posix() for p in first.rglob("*") if p.is_file()}
    (stamp,) = (name for name in names if name.startswith(".fresh-"))
    assert names == {
        stamp,
        "report.html",
        "notebook.ipynb",
        "results.json",
        "provenance.json",
        "figures/draws.svg",
        "figures/draws.png",
        "figures/draws.csv",
        "tables/draws.csv",
        "tables/estimates.csv",
    }
    assert without_clock(first) == without_clock(second)
    # The stamp lists the files with their times.
    for name in sorted(names - {stamp, "report.html", "notebook.ipynb"}):
        if name not in {"results.json", "provenance.json"}:
            assert (first / name).read_bytes() == (second / name).read_bytes(), name
    results = json.loads((first / "results.json").read_text(encoding="utf8"))
    assert results["verdicts"][0]["verdict"] == "method-check"

    report = (first / "report.html").read_text(encoding="utf8")
    assert "<math" in report and "Chiaretti" in report and 'class="bb-answer"' in report
    for outside in ("src=", "@import", "url(http"):
        assert outside not in report
    assert "<b>bold</b>" not in report and "<b>markup</b>" not in report
    csv = (first / "tables/draws.csv").read_text(encoding="utf8")
    assert "'=1+1" in csv


def test_the_seed_matters(home: Path, tmp_path: Path) -> None:
    for seed in ("1", "2"):
        done = ballbook(
            home, "run", "demo-page", "-p", f"seed={seed}", "--out", str(tmp_path / seed)
        )
        assert done.returncode == 0, done.stderr
    assert without_clock(tmp_path / "1") != without_clock(tmp_path / "2")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["no-such-page"], "no analysis 'no-such-page'"),
        (["demo-pages"], "Did you mean demo-page?"),
        (["demo-page", "-p", "sed=3"], "did you mean seed?"),
        (["demo-page", "-p", "seed=007"], "leading zeros"),
        (["demo-page", "-p", "seed=-5"], "seed: got -5, expected a whole number of at least 0"),
        (["demo-page", "-p", "seed"], "name=value"),
        (["demo-page", "--min-count", "-1"], "expected a whole number of at least 0"),
        (["demo-page", "-p", "seed=1", "-p", "seed=2"], "given twice"),
        (["../kmt2a/demo-page"], "no analysis"),
    ],
)
def test_input_is_refused_before_a_kernel_starts(
    home: Path, tmp_path: Path, args: list[str], said: str
) -> None:
    out = tmp_path / "out"
    done = ballbook(home, "run", *args, "--out", str(out))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_a_folder_with_other_things_is_left_alone(home: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf8")
    done = ballbook(home, "run", "demo-page", "--out", str(tmp_path))
    assert done.returncode == 2
    assert (tmp_path / "thesis.txt").read_text(encoding="utf8") == "mine"


def test_a_failing_cell_keeps_the_earlier_run(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert ballbook(home, "run", "demo-page", "--out", str(out)).returncode == 0
    before = (out / "results.json").read_bytes()
    done = ballbook(home, "run", "demo-page", "-p", "mood=fails", "--out", str(out))
    assert done.returncode == 1
    assert "bad mood" in done.stderr
    assert (out / "results.json").read_bytes() == before
    assert list(tmp_path.glob(".*partial")) == []


KILLS = int(os.environ.get("BALLBOOK_KILLS", "3"))


def of_run(out: Path) -> list[int]:
    """Return the processes that work for a run into the folder beside `out`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # Where a kernel works: one that was forked does not tell its environment.
            if str((process / "cwd").readlink()).startswith(f"{out.parent}/"):
                found.append(int(process.name))
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def names(folder: Path) -> set[str]:
    """Return the names of a run's files; the stamp's own tells its parameters."""
    return {"stamp" if name.startswith(".fresh-") else name for name in content(folder)}


def killed_at_random(out: Path, command: list[str], changed: list[str], env: dict[str, str]) -> int:
    """Run once, kill changed runs at random moments, run again; return how many were cut short.

    The moments are spread over the time of the first run; `env` has a TMPDIR of its own.
    """
    start = time.monotonic()
    subprocess.run(command, env=env, check=True, capture_output=True)
    lasts = time.monotonic() - start
    before, names_before, cut = content(out), names(out), 0
    moments = random.Random(20260219)
    for _ in range(KILLS):
        running = subprocess.Popen(
            [*command, *changed], env=env, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(moments.uniform(0.2, lasts))
        finished = running.poll() is not None
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        deadline = time.monotonic() + 15
        while of_run(out) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert of_run(out) == [], "a kernel outlives its run"
        if finished:
            before = content(out)
        elif content(out) != before:
            # The new run was in place already when the process was killed.
            json.loads((out / "results.json").read_text(encoding="utf8"))
            assert names(out) == names_before
            before = content(out)
        else:
            cut += 1
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in out.parent.iterdir()] == [out.name], "a leftover stays"
    assert list(Path(env["TMPDIR"]).glob("bb-[0-9]*")) == [], "sockets stay"
    assert names(out) == names_before
    return cut


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A temporary folder whose path is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="k"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("kernels", ["warm", "cold"])
def test_killed_runs_leave_the_earlier_one_and_nothing_else(
    home: Path, tmp_path: Path, short_tmp: Path, kernels: str
) -> None:
    cohort = tmp_path / "ours.csv"
    cohort.write_text("patient_id,age\n" + "".join(f"P{i},{i}\n" for i in range(9)), "utf8")
    out = tmp_path / "runs" / "out"
    command = [sys.executable, "-m", "ballbook.cli", "run", "demo-page", "--out", str(out)]
    env = {**os.environ, "BALLBOOK_HOME": str(home), "TMPDIR": str(short_tmp)}
    if kernels == "cold":
        env["BALLBOOK_WARM"] = "0"
    assert killed_at_random(out, [*command, "--cohort", str(cohort)], ["-p", "seed=1"], env) > 0


@pytest.mark.slow
def test_killed_runs_of_a_real_page(shared_data: Path, tmp_path: Path, short_tmp: Path) -> None:
    cohort = tmp_path / "ours.csv"
    rows = [f"P{i},{'del' if i % 3 else 'wt'},{5 + i},{i % 2}" for i in range(60)]
    cohort.write_text("\n".join(["patient_id,ikzf1,efs_months,efs_event", *rows, ""]), "utf8")
    out = tmp_path / "runs" / "out"
    command = [sys.executable, "-m", "ballbook.cli", "run", "ikzf1-outcome", "--out", str(out)]
    env = {**os.environ, "BALLBOOK_DATA": str(shared_data), "TMPDIR": str(short_tmp)}
    changed = ["-p", "horizon_years=3"]
    assert killed_at_random(out, [*command, "--cohort", str(cohort)], changed, env) > 0


def test_a_run_killed_between_its_two_moves_is_put_back(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert ballbook(home, "run", "demo-page", "--out", str(out)).returncode == 0
    before = content(out)
    out.rename(tmp_path / ".out.old.partial")
    done = ballbook(home, "run", "demo-page", "-p", "mood=fails", "--out", str(out))
    assert done.returncode == 1
    assert content(out) == before
    assert list(tmp_path.glob(".out*")) == []


def test_what_a_living_run_writes_is_left_alone(tmp_path: Path) -> None:
    living = tmp_path / f".out.{placing.host()}-{os.getpid()}-abc.partial"
    elsewhere = tmp_path / ".out.another-1-abc.partial"
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead = tmp_path / f".out.{placing.host()}-{process.pid}-abc.partial"
    nameless, other = tmp_path / ".out.abc.partial", tmp_path / ".outer.partial"
    for folder in (living, elsewhere, dead, nameless, other):
        folder.mkdir()
    placing.sweep(tmp_path, "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [living.name, elsewhere.name, other.name]
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("CellExecutionError", "could not say more, for want of memory"),
        ("MemoryError", "it wanted more memory than it may have"),
    ],
)
def test_an_error_of_which_a_kernel_says_little_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise papermill.PapermillExecutionError(4, 3, "x", name, "", [])

    monkeypatch.setattr(papermill, "execute_notebook", fail)
    with pytest.raises(run.RunFailed, match=rf"in cell 3: {name}.*{said}"):
        run.run("printed-numbers", out=tmp_path / "out")


def test_a_claim_without_a_verdict_fails_the_run(home: Path, tmp_path: Path) -> None:
    file = home / "data/claims/demo2026.yml"
    file.write_text(CLAIM + CLAIM.split("claims:\n")[1].replace("demo-mean", "demo-other"), "utf8")
    done = ballbook(home, "run", "demo-page", "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "claims without a verdict: demo-other" in done.stderr


def test_describe_list_and_sweep(home: Path, tmp_path: Path) -> None:
    assert "demo-page" in ballbook(home, "list").stdout
    said = ballbook(home, "describe", "demo-page").stdout
    assert "seed: int = 20260219" in said and "demo-mean" in said
    out = tmp_path / "grid"
    done = ballbook(home, "sweep", "demo-page", "seed=1,2", "--out", str(out))
    assert done.returncode == 0, done.stderr
    rows = (out / "estimates.csv").read_text(encoding="utf8").splitlines()
    assert len(rows) == 3


def test_a_sweep_takes_a_cohort_its_map_and_the_smallest_count(home: Path, tmp_path: Path) -> None:
    cohort, column_map = tmp_path / "ours.csv", tmp_path / "map.yml"
    cohort.write_text("nr,alter\nP1,3\nP2,4\nP3,8\n", encoding="utf8")
    column_map.write_text("columns: {nr: patient_id, alter: age_years}\n", encoding="utf8")
    given = ["sweep", "demo-page", "seed=1,2", "--cohort", str(cohort), "--map", str(column_map)]
    found = {}
    for least in ("3", "4"):
        out = tmp_path / least
        done = ballbook(home, *given, "--min-count", least, "--out", str(out))
        assert done.returncode == 0, done.stderr
        rows = pd.read_csv(out / "estimates.csv")
        own = rows[rows["id"] == "own-age"]
        assert own["run"].tolist() == [0, 1] and own["seed"].tolist() == [1, 2]
        found[least] = own["value"].isna().tolist()
    assert found == {"3": [False, False], "4": [True, True]}, "the smallest count has no effect"


def test_a_sweep_refuses_before_its_first_run(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "grid"
    cohort = tmp_path / "ours.csv"
    cohort.write_text("patient_id,age\nP1,old\n", encoding="utf8")
    for given, said in [
        (["seed=1,-2"], "seed: got -2, expected a whole number of at least 0"),
        (["seed=1", "min_count=3", "--min-count", "5"], "min_count is given twice"),
        (["seed=1", "--cohort", str(cohort)], "row 2, column age: found 'old'"),
    ]:
        done = ballbook(home, "sweep", "demo-page", *given, "--out", str(out))
        assert done.returncode == 2 and said in done.stderr and not out.exists()

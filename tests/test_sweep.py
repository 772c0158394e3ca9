"""Sweeps: the same numbers as single runs, whatever is killed, and tables that can be read."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner
from waiting import eventually

from ballbook import (
    analyses,
    batch,
    claims,
    cli,
    datasets,
    disclosure,
    freshness,
    sweep,
    sweep_grid,
    sweep_progress,
)
from ballbook.results import Estimate

ROOT = Path(__file__).resolve().parents[1]
CLAIM = """source: demo2026
claims:
- {id: demo-mean, locator: Table 1, statement: The mean of the draws., kind: mean, printed: "0.0",
   value: 0.0, analysis: demo-page}
"""
# Moods of the page of tests: what it does in its second cell.
MOODS = """
import os, signal
from pathlib import Path

import numpy as np

if mood == "fails":
    raise RuntimeError("the page is in a bad mood")
if mood == "sleeps":
    time.sleep(60)
if mood == "naps":
    time.sleep(0.4)
if mood == "leaves":
    assert not hasattr(np, "left") and "LEFT" not in os.environ
    np.left, os.environ["LEFT"] = 1, "1"
once = Path(os.environ["BALLBOOK_OUT"]).parent / "killed"
if mood == "kills" and not once.exists():
    once.touch()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
if mood == "draws":
    page.record(
        Estimate("mean", float(np.random.random()), method="unseeded"),
        id="unseeded", label="Unseeded", tier="simulated",
    )
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout with one small analysis, in which the tests run."""
    folder = tmp_path / "home"
    for name in ("analyses/kmt2a", "data/claims", "data/published", "env"):
        (folder / name).mkdir(parents=True)
    page = (ROOT / "tests/demo/demo-page.md").read_text(encoding="utf8")
    before, after = page.index('if mood == "fails"'), page.index("    time.sleep(60)\n")
    page = page[:before] + MOODS.lstrip() + page[after + len("    time.sleep(60)\n") :]
    (folder / "analyses/kmt2a/demo-page.md").write_text(page, encoding="utf8")
    shutil.copy2(ROOT / "data/catalog.yml", folder / "data")
    shutil.copy2(ROOT / "env/lock.txt", folder / "env")
    for name in ("book", "data/dictionaries"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "data/claims/demo2026.yml").write_text(CLAIM, encoding="utf8")
    monkeypatch.setenv("BALLBOOK_HOME", str(folder))
    monkeypatch.delenv("BALLBOOK_OUT", raising=False)
    for held in (analyses.find, claims.read):
        held.cache_clear()
    yield folder
    for held in (analyses.find, claims.read):
        held.cache_clear()


def swept(out: Path, *grid: str) -> Any:
    """Run the command in this process."""
    return CliRunner().invoke(cli.main, ["sweep", "demo-page", *grid, "--out", str(out)])


def started(out: Path, *grid: str) -> subprocess.Popen[bytes]:
    """Start the command in a process of its own."""
    command = [sys.executable, "-m", "ballbook.cli", "sweep", "demo-page", *grid, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def comparable(folder: Path) -> dict[str, str]:
    """Return results and tables of a run, without its time.

    A run of the book is kept while what it uses stays, and the rest of the library may change.
    """
    results = json.loads((folder / "results.json").read_text(encoding="utf8"))
    for name in ("started", "seconds", "library_sha256"):
        del results["provenance"][name]
    tables = {p.name: p.read_text(encoding="utf8") for p in folder.glob("tables/*")}
    return {"results.json": json.dumps(results), **tables}


def test_a_point_gives_what_a_run_gives(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = swept(out, "seed=3,4", "mood=fine")
    assert done.exit_code == 0, done.output
    for number, seed in enumerate((3, 4)):
        single = tmp_path / str(seed)
        ran = CliRunner().invoke(
            cli.main, ["run", "demo-page", "-p", f"seed={seed}", "--out", str(single)]
        )
        assert ran.exit_code == 0, ran.output
        assert comparable(out / f"00{number}") == comparable(single)
    assert comparable(out / "000") != comparable(out / "001")
    assert not (out / "000/figures").exists() and not (out / "000/report.html").exists()


def test_a_page_of_the_book_gives_what_its_run_gives(
    run_of: Callable[[str], Path], tmp_path: Path
) -> None:
    slug = "mrd-consolidation"
    done = CliRunner().invoke(cli.main, ["sweep", slug, "looks=6,7", "--out", str(tmp_path / "s")])
    assert done.exit_code == 0, done.output
    assert comparable(tmp_path / "s/000") == comparable(run_of(slug))
    assert comparable(tmp_path / "s/001") != comparable(run_of(slug))


def test_nothing_of_one_point_reaches_another(home: Path, tmp_path: Path) -> None:
    grid = tmp_path / "grid.yml"
    grid.write_text("parameters: {mood: [leaves, draws]}\nseeds: 3", encoding="utf8")
    done = swept(tmp_path / "out", str(grid))
    assert done.exit_code == 0, done.output
    rows = pd.read_csv(tmp_path / "out/estimates.csv")
    drawn = rows.loc[rows["id"] == "unseeded", "value"]
    assert len(drawn) == 3 and drawn.nunique() == 3, "forks share NumPy's global generator"


def test_data_that_are_held_are_given_as_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "_held", {})
    datasets.hold("ccri-p2ry8-crlf2")
    first = datasets.load("ccri-p2ry8-crlf2")
    first.patients[:] = 0
    again = datasets.load("ccri-p2ry8-crlf2")
    datasets._held.clear()
    pd.testing.assert_frame_equal(again.patients, datasets.load("ccri-p2ry8-crlf2").patients)


def test_what_fails_is_named_and_the_others_go_on(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = swept(out, "mood=fine,fails", "seed=1,2")
    assert done.exit_code == 1
    assert "2 of 4 runs done, 2 failed" in done.output
    assert "002 (mood=fails, seed=1)" in done.output
    assert "demo-page failed in cell 4: RuntimeError: the page is in a bad mood" in done.output
    runs = pd.read_csv(out / "runs.csv")
    assert runs["status"].tolist() == ["done", "done", "failed", "failed"]
    assert set(pd.read_csv(out / "estimates.csv")["run"]) == {0, 1}
    assert not list(out.glob(".*.partial"))
    # What is run again and goes well is failed no more.
    page = home / "analyses/kmt2a/demo-page.md"
    text = page.read_text(encoding="utf8")
    page.write_text(text.replace('if mood == "fails"', "if False"), encoding="utf8")
    analyses.find.cache_clear()
    assert swept(out, "mood=fine,fails", "seed=1,2").exit_code == 0
    assert set(pd.read_csv(out / "runs.csv")["status"]) == {"done"}


def test_what_hangs_is_stopped_and_named(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = swept(out, "mood=sleeps", "seed=1", "--timeout", "4")
    assert done.exit_code == 1
    assert "stopped after 4 s, in cell 4: import os, signal" in done.output
    assert not list(out.glob(".*.partial"))


def test_a_killed_sweep_goes_on_where_it_was(home: Path, tmp_path: Path) -> None:
    out, grid = tmp_path / "out", tmp_path / "grid.yml"
    grid.write_text("parameters: {mood: naps}\nseeds: 12", encoding="utf8")
    process = started(out, str(grid))
    assert eventually(lambda: len(list(out.glob("00?/results.json"))) >= 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {p.parent.name: p.stat().st_ino for p in out.glob("0*/results.json")}
    time.sleep(1)
    later = {p.parent.name for p in out.glob("0*/results.json")}
    assert len(later) <= len(kept) + 2, "runs go on after their sweep was killed"
    assert 3 <= len(kept) < 12
    partial = pd.read_csv(out / "estimates.csv")
    assert set(partial["run"]) <= set(range(12))
    done = swept(out, str(grid))
    assert done.exit_code == 0, done.output
    assert f"{len(later)} runs are there and fresh, {12 - len(later)} to do" in done.output
    assert {n: (out / n / "results.json").stat().st_ino for n in kept} == kept
    assert pd.read_csv(out / "estimates.csv")["run"].tolist() == list(range(12))
    assert not list(out.glob(".*.partial"))


def test_a_batch_that_is_killed_is_started_again(home: Path, tmp_path: Path) -> None:
    done = swept(tmp_path / "out", "seed=1,2,3", "mood=kills")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out/killed").exists()


def test_a_grid_may_change(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert swept(out, "seed=1,2").exit_code == 0
    first = (out / "001/results.json").stat().st_ino
    done = swept(out, "seed=0,2,3")
    assert done.exit_code == 0
    assert f"no longer in the grid, left in {out}: 000" in done.output
    assert "1 runs are there and fresh, 2 to do" in done.output
    assert (out / "001/results.json").stat().st_ino == first
    rows = pd.read_csv(out / "runs.csv")
    assert rows[["run", "seed"]].values.tolist() == [[2, 0], [1, 2], [3, 3]]
    assert (out / "000/results.json").is_file()
    # A run that comes back has its old number, and its result is still good.
    again = swept(out, "seed=1,2")
    assert "2 runs are there and fresh, 0 to do" in again.output


def test_a_folder_with_other_things_is_left_alone(home: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf8")
    done = swept(tmp_path, "seed=1")
    assert done.exit_code == 2 and "holds no sweep" in done.output


def test_parts_run_apart_and_are_collected(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert swept(out, "seed=1,2,3", "--points", "1:9").exit_code == 0
    assert not (out / "estimates.csv").exists() and not (out / "000").exists()
    early = swept(out, "seed=1,2,3", "--collect")
    assert early.exit_code == 0 and "2 of 3 runs done, 1 waiting" in early.output
    assert pd.read_csv(out / "estimates.csv")["seed"].tolist() == [2, 3]
    assert swept(out, "seed=1,2,3", "--points", "0:1").exit_code == 0
    swept(out, "seed=1,2,3", "--collect")
    assert pd.read_csv(out / "estimates.csv")["seed"].tolist() == [1, 2, 3]
    for points in ("3:4", "1:1", "2:1", "x", "-1:2"):
        refused = swept(out, "seed=1,2,3", "--points", points)
        assert refused.exit_code == 2 and "I below J" in refused.output


def test_two_sweeps_never_write_the_same_runs(tmp_path: Path) -> None:
    with sweep.held(tmp_path, (0, 10)):
        with sweep.held(tmp_path, (10, 20)):
            pass
        for part in ((9, 11), (0, 10), (3, 4), None):
            with pytest.raises(sweep.SweepRunning), sweep.held(tmp_path, part):
                pass
    with sweep.held(tmp_path, None):
        for part in ((0, 1), None):
            with pytest.raises(sweep.SweepRunning), sweep.held(tmp_path, part):
                pass
    with sweep.held(tmp_path, (0, 10)):
        pass


def test_the_second_of_two_sweeps_is_refused(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started(out, "mood=sleeps", "seed=1,2")
    try:
        assert eventually(lambda: (out / "runs.csv").exists() or any(out.glob(".0*.partial")))
        done = swept(out, "mood=sleeps", "seed=1,2")
        assert done.exit_code == 1 and "another sweep writes into" in done.output
    finally:
        process.kill()
        process.wait()
    with sweep.held(out, None):
        assert process.returncode == -signal.SIGKILL


def test_counts_close_to_another_runs_are_withheld() -> None:
    mean = Estimate("mean", 1.5, n=50, n_events=20, tier="yours")
    share = Estimate("proportion", 0.4, n=50, n_events=20, tier="yours")
    assert sweep.disclosed(mean, {47}, 5) == mean
    assert sweep.disclosed(mean, {50}, 0) == mean
    hidden = sweep.disclosed(mean, {50}, 5)
    assert (hidden.value, hidden.n, hidden.n_events) == (1.5, None, None)
    assert sweep.disclosed(share, {50}, 5).value is None


def test_a_sweep_over_a_cohort_keeps_small_differences_back(home: Path, tmp_path: Path) -> None:
    for name, n in (("a", 12), ("b", 30)):
        rows = "".join(f"{name}{i},{i % 17}\n" for i in range(n))
        (tmp_path / f"{name}.csv").write_text(f"patient_id,age_years\n{rows}", encoding="utf8")
    grid = tmp_path / "grid.yml"
    grid.write_text("cohorts: [a.csv, b.csv]\nseeds: 2", encoding="utf8")
    done = swept(tmp_path / "out", str(grid))
    assert done.exit_code == 0, done.output
    rows = pd.read_csv(tmp_path / "out/estimates.csv")
    own = rows[rows["id"] == "own-age"]
    assert own["cohort"].tolist() == ["a", "a", "b", "b"] and own["n"].tolist() == [12, 12, 30, 30]
    assert str(tmp_path) not in (tmp_path / "out/sweep.json").read_text(encoding="utf8")
    assert str(tmp_path) not in (tmp_path / "out/estimates.csv").read_text(encoding="utf8")
    # The runs of a cohort, as if one of them counted two patients fewer.
    results = tmp_path / "out/001/results.json"
    text = results.read_text(encoding="utf8").replace('"n": 12', '"n": 10')
    results.write_text(text, encoding="utf8")
    (stamp,) = results.parent.glob(".fresh-*.json")
    parts = json.loads(stamp.read_text(encoding="utf8"))
    del parts[freshness.MADE]
    freshness.Fingerprint(parts).stamp(results.parent)
    assert swept(tmp_path / "out", str(grid), "--collect").exit_code == 0
    rows = pd.read_csv(tmp_path / "out/estimates.csv")
    assert (rows["id"] == "own-age").sum() == 4
    shown = rows.loc[rows["id"] == "own-age", "n"].dropna().tolist()
    assert sorted(shown) == [12, 30, 30], "two counts of one cohort, two patients apart, are shown"
    assert all(disclosure.apart(a, b, 5) for a in shown for b in shown)


def test_a_cohort_is_refused_before_any_run(home: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("patient_id,age\nP1,old\n", encoding="utf8")
    grid = tmp_path / "grid.yml"
    grid.write_text("cohorts: [bad.csv]\nseeds: 2", encoding="utf8")
    done = swept(tmp_path / "out", str(grid))
    assert done.exit_code == 2 and "row 2, column age: found 'old'" in done.output
    assert not (tmp_path / "out").exists()


def test_reports_are_whole_runs(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert swept(out, "seed=1").exit_code == 0
    done = swept(out, "seed=1", "--reports")
    assert done.exit_code == 0, done.output
    assert (out / "000/report.html").is_file() and (out / "000/figures/draws.svg").is_file()
    assert "1 runs are there and fresh, 0 to do" in swept(out, "seed=1", "--reports").output


def test_imports_of_a_notebook_are_found() -> None:
    cells = [
        {"cell_type": "code", "source": "import numpy as np\nfrom ballbook import mrd, figures"},
        {"cell_type": "markdown", "source": "import nothing"},
        {"cell_type": "code", "source": "def broken(:"},
        {"cell_type": "code", "source": "from scipy.stats import norm\nimport numpy as np"},
    ]
    notebook = [type("Cell", (), c)() for c in cells]
    assert batch.imports(notebook) == [
        "numpy", "ballbook", "ballbook.mrd", "ballbook.figures", "scipy.stats",
    ]  # fmt: skip


def test_the_time_left_is_told() -> None:
    progress = sweep_progress.Progress("demo")
    progress.total, progress.done, progress.began = 100, 25, 0.0
    assert progress.left(50.0) == "about 2 min 30 s"
    progress.done = 99
    assert progress.left(99.0) == "about 1 s"


def test_names_of_axes_never_hide_a_column(tmp_path: Path) -> None:
    grid = sweep_grid.Grid(("method", "seed"), ())
    tables = sweep.Tables(sweep.Sweep("demo", grid, tmp_path))
    assert tables.names == ["run", "parameter_method", "seed"]

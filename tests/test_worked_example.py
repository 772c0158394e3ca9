"""The worked example: its commands are run, and the page shows what they print."""

from __future__ import annotations

import html
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from ballbook import catalog, column_map, dummy, paths, worked_example
from ballbook.cohort import read_cohort
from ballbook.run import RunFailed

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "data" / "examples"
PAGE = (ROOT / "book" / "worked-example.md").read_text("utf8")
TEN_MINUTES = 600


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_examples", EXAMPLES / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a build with the transcripts of both walks, made now."""
    try:
        for walk in worked_example.WALKS:
            for id in worked_example.needed(walk):
                catalog.get(id)
    except catalog.Unavailable as error:
        pytest.skip(str(error).splitlines()[0])
    out = tmp_path_factory.mktemp("build")
    worked_example.make(out / "example")
    return out


def parts(build: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(paths, "build", lambda: build)
    return worked_example.parts(with_report=True)


def commands(part: str) -> list[tuple[str, str]]:
    """Return each command that HTML shows, with what stands below it."""
    found = re.findall(
        r'<pre class="bb-command"><code>(.*?)</code></pre><pre class="bb-printed">(.*?)</pre>',
        part, flags=re.DOTALL,
    )  # fmt: skip
    return [(html.unescape(a), html.unescape(b)) for a, b in found]


# ------------------------------------------------------------------------------- the files


def test_the_spreadsheets_are_what_their_script_makes(maker: ModuleType, tmp_path: Path) -> None:
    import openpyxl

    clean = maker.rows()
    for name, content in (("export", maker.spoilt(clean)), ("mended", clean)):
        sheet = openpyxl.load_workbook(EXAMPLES / f"clinic-{name}.xlsx").active
        assert [list(row) for row in sheet.values] == content
    assert len(clean) == maker.N + 1
    assert [row[0] for row in clean[1:]] == [f"{dummy.MARK}{i:04d}" for i in range(1, maker.N + 1)]
    changed = {
        (i + 1, maker.HEADER[j])
        for i, (a, b) in enumerate(zip(clean, maker.spoilt(clean), strict=True))
        for j in range(len(a))
        if a[j] != b[j]
    }
    assert changed == set(maker.MISTAKES)


def test_the_mended_file_holds_the_drawn_patients(maker: ModuleType) -> None:
    """Through map, units and words, what was drawn comes out again."""
    path = EXAMPLES / worked_example.MENDED
    cohort = read_cohort(path, column_map.propose(path).as_map())
    drawn = dummy.patients("ikzf1-outcome", maker.COLUMNS, maker.N, maker.SEED)
    efs = cohort.endpoint("EFS").set_index("patient_id")
    drawn = drawn.set_index("patient_id")
    assert cohort.tier == "simulated" and len(efs) == maker.N
    months = drawn["efs_months"].astype(float)
    assert (efs["time_months"] - months).abs().max() < 0.5 / (365.25 / 12) + 0.005
    assert (efs["event"] == drawn["efs_event"].astype(int)).all()
    assert (efs["age_years"] - drawn["age_years"].astype(float)).abs().max() < 0.01
    known = efs["ikzf1"].notna()
    assert 0 < (~known).sum() < 10
    assert (efs["ikzf1"] == drawn["ikzf1"])[known].all()


def test_the_map_of_target_is_a_map() -> None:
    raw = yaml.safe_load((EXAMPLES / worked_example.TARGET_MAP).read_text("utf8"))
    assert set(raw) <= {"columns", "values", "units", "missing", "decimal"}
    assert raw["columns"]["FIRST_EVENT"] == "efs_event"


def test_no_row_of_target_is_in_the_repository() -> None:
    texts = [p for p in (*EXAMPLES.iterdir(), *worked_example.recorded().glob("*"))]
    for path in texts:
        if path.suffix in {".yml", ".json", ".csv", ".py"}:
            assert "TARGET-10-" not in path.read_text("utf8"), path


# -------------------------------------------------------------------------------- the page


def test_the_page_includes_every_part_once() -> None:
    included = re.findall(r"```\{include\} _generated/example-([\w-]+)\.md", PAGE)
    assert sorted(included) == sorted(worked_example.parts())
    assert "{cite:p}`target2018`" in PAGE and "childhood" in PAGE
    assert "```bash" not in PAGE, "commands belong to the parts, which are run"


def test_every_command_of_the_page_prints_what_the_page_shows(
    made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a shell of its own, from the files that the page offers."""
    shown = parts(made, monkeypatch)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ballbook"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ballbook.cli "$@"\n')
    program.chmod(0o755)
    monkeypatch.undo()
    env = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    env |= {"BALLBOOK_HOME": str(ROOT)}
    ran = []
    for walk, steps in worked_example.WALKS.items():
        folder = tmp_path / walk
        folder.mkdir()
        worked_example.lay_out(walk, folder)
        for step in [*steps, *(["target-run"] if walk == "target" else [])]:
            for line, printed in commands(shown[step]):
                if step == "target-run":
                    continue  # the slow one; its exit code is checked when it is made
                done = subprocess.run(
                    line, shell=True, cwd=folder, env=env, text=True, check=False,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                )  # fmt: skip
                told = done.stdout.replace(f"{folder}/", "").rstrip()
                assert told == printed.rstrip(), line
                refused = "Exit code 2" in shown[step]
                assert done.returncode == (2 if refused else 0), line
                ran.append(step)
        if walk == "spreadsheet":
            listed = html.unescape(re.sub(r"</?pre[^>]*>", "", shown["map"]))
            assert (folder / "map.yml").read_text("utf8").rstrip() == listed
    assert ran == [s for steps in worked_example.WALKS.values() for s in steps]


def test_each_mistake_is_told_with_its_row_and_column(
    made: Path, maker: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = parts(made, monkeypatch)
    told = html.unescape(shown["refused"])
    assert f"{len(maker.MISTAKES)} problems" in told
    for (row, column), typed in maker.MISTAKES.items():
        where = "patient_id" if column == "Patient No." else column
        assert f"row {row}, column {where}: found '{typed}'" in told
        assert str(typed) in html.unescape(shown["mended"])
    assert "80 patients, no error found" in shown["accepted"]


def test_the_report_is_shown_and_labelled(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = parts(made, monkeypatch)["answer"]
    assert "Dummy data: method-check only" in shown and 'class="bb-answer"' in shown
    assert "Dummy cohort" in shown and "<svg" in shown  # the forest plot beside the paper
    assert 'href="figures/' not in shown
    assert "DUMMY-0" not in shown
    offered = re.findall(r'href="([^"#]+)"', (made / "example" / "report.html").read_text("utf8"))
    assert {"methods.txt", "results.json"} <= set(offered)
    assert all((made / "example" / name).is_file() for name in offered if "://" not in name)


def test_the_computers_part_of_ten_minutes(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = parts(made, monkeypatch)
    steps = json.loads((made / "example" / "spreadsheet.json").read_text("utf8"))["steps"]
    total = sum(s["seconds"] for s in steps)
    assert 0 < total < TEN_MINUTES
    assert f"The {len(steps)} commands took {total:.0f} seconds" in shown["time"]


def test_target_gives_sums_only(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = parts(made, monkeypatch)
    text = " ".join(v for k, v in shown.items() if k.startswith("target"))
    assert "TARGET-10-" not in text and "1551 patients" in text
    assert "efs_days" in text
    assert commands(shown["target-run"]) or shown["target-run"] == worked_example.NOTHING_RUNS


# ------------------------------------------------------------------------- without the data


def test_without_data_the_recorded_transcript_is_shown_and_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "build", lambda: tmp_path)
    shown = worked_example.parts()
    assert "Recorded transcript" in shown["guess"]
    assert "Recorded transcript" in shown["target-check"]
    assert [line for line, _ in commands(shown["run"])] == [
        worked_example.WALKS["spreadsheet"]["run"]
    ]


def test_without_transcripts_the_parts_are_there_and_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "build", lambda: tmp_path)
    monkeypatch.setattr(worked_example, "recorded", lambda: tmp_path / "none")
    (tmp_path / "parts").mkdir()
    worked_example.write_parts(tmp_path / "parts", tmp_path / "extra")
    names = {p.name for p in (tmp_path / "parts").iterdir()}
    assert names == {f"example-{name}.md" for name in worked_example.parts()}
    assert (tmp_path / "extra/worked-example/clinic-export.xlsx").is_file()


def test_a_step_that_fails_stops_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken: dict[str, Any] = {
        "spreadsheet": {"guess": "ballbook map --guess absent.xlsx > map.yml"}
    }
    monkeypatch.setattr(worked_example, "WALKS", broken)
    with pytest.raises(RunFailed, match="step guess"):
        worked_example.run_walk("spreadsheet", tmp_path)

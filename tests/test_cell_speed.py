"""The benchmark of the map of cells: what it measures, and how the book shows it."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cell_stand_in import small_reference

from ballbook import cell_speed, methods, reference_map, simulated_cells


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A reference, a file of cells, and a reference with the model of its cells."""
    folder = tmp_path_factory.mktemp("speed")
    cells = small_reference(n=500)
    known = reference_map.build(cells, components=8, neighbours=5)
    model = simulated_cells.fit(cells)
    (folder / "reference.pickle").write_bytes(pickle.dumps(known))
    (folder / "known.pickle").write_bytes(pickle.dumps((known, model)))
    simulated_cells.write(model, folder / "cells.h5ad", 3000)
    return folder / "reference.pickle", folder / "cells.h5ad", folder / "known.pickle"


def test_one_run_tells_time_memory_and_result(given: Any) -> None:
    reference, file, _ = given
    rows = [cell_speed.one(reference, file, 2500, 1, chunk) for chunk in (300, 5000)]
    assert rows[0]["digest"] == rows[1]["digest"]
    assert rows[0]["cells"] == 2500 and rows[0]["seconds"] > 0
    assert 50 < rows[0]["start_mb"] <= rows[0]["peak_mb"] <= cell_speed.peak_mb()
    assert rows[0]["accuracy"] > 0.8
    other = cell_speed.one(reference, file, 2499, 1, 5000)
    assert other["digest"] != rows[0]["digest"]


def test_memory_is_that_of_this_program_and_grows() -> None:
    script = (
        "from ballbook.cell_speed import peak_mb; a = peak_mb(); x = bytearray(2**27); "
        "print(a, peak_mb())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    before, after = map(float, done.stdout.split())
    assert 120 < after - before < 140


def test_the_peak_of_a_run_is_that_of_its_largest_process(tmp_path: Path, monkeypatch: Any) -> None:
    # A program that starts another, as the one that runs a page starts its notebook.
    child = "import time; x = bytearray(2**27); time.sleep(1)"
    program = (
        "import pathlib, subprocess, sys, json; "
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True); "
        "out = pathlib.Path(sys.argv[1]); out.mkdir(); "
        "found = {'estimates': [{'id': 'own-off-map', 'n': 7}]}; "
        "(out / 'results.json').write_text(json.dumps(found))"
    )
    begin = subprocess.Popen

    def stand_in(command: list[str], **given: Any) -> Any:
        assert command[1:5] == ["-m", "ballbook.cli", "run", cell_speed.PAGE]
        assert given["env"]["BALLBOOK_WARM"] == "0" and command[-2:] == ["--cohort", "mine.h5ad"]
        return begin([sys.executable, "-c", program, command[6]], **given)

    monkeypatch.setattr(subprocess, "Popen", stand_in)
    found = cell_speed.page(tmp_path / "out", Path("mine.h5ad"))
    assert 130 < found["peak_mb"] < 160 and found["placed"] == 7
    assert 0 < found["cpu"] < found["seconds"]
    program = "raise SystemExit('no such page')"
    with pytest.raises(RuntimeError, match="no such page"):
        cell_speed.page(tmp_path / "again", Path("mine.h5ad"))


def test_searches_are_held_against_the_exact_one(given: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(cell_speed, "ASKED", 400)
    exact = cell_speed.search(given[2], 0, "exact")
    tree = cell_speed.search(given[2], 900, "tree")
    assert (exact["reference"], tree["reference"]) == (497, 900)
    assert exact["recall"] == tree["recall"] == 1 and exact["moved"] == tree["moved"] == 0
    assert exact["first_s"] > 0 and exact["cell_us"] > 0


def record(folder: Path) -> None:
    frame = pd.DataFrame(
        {
            "cells": [10_000, 1_000_000, 1_000_000], "workers": [1, 1, 2], "chunk": 5000,
            "seconds": [1.0, 100.0, 50.0], "cpu": [1.0, 80.0, 90.0], "start_mb": 130.0,
            "peak_mb": [200.0, 220.0, 150.0], "worker_mb": [0.0, 0.0, 210.0], "accuracy": 0.99,
            "digest": ["a", "b", "b"], "cells_per_second": [10_000.0, 10_000.0, 20_000.0],
        }
    )  # fmt: skip
    frame.to_csv(folder / "cells.csv", index=False)
    search = pd.DataFrame(
        {
            "reference": 9656, "method": ["exact", "approximate", "ingest"],
            "first_s": [1.0, 21.0, None], "cell_us": [30.0, 10.0, None],
            "recall": [1.0, 0.96, None], "moved": [0, 2, None], "failed": ["", "", "TypeError: no"],
        }
    )  # fmt: skip
    search.to_csv(folder / "searches.csv", index=False)
    runs = pd.DataFrame(
        {
            "cells": [0, 10_000, 1_000_000], "seconds": [50.0, 60.0, 200.0], "cpu": [60.0] * 3,
            "peak_mb": [850.0, 880.0, 871.0], "placed": [0, 9990, 999_001],
        }
    )  # fmt: skip
    runs.to_csv(folder / "pages.csv", index=False)
    about = {"date": "2026-11-21", "cores": 2, "versions": {"numpy": "2"}}
    (folder / "about.json").write_text(json.dumps(about), encoding="utf8")


def test_the_page_shows_what_was_recorded(tmp_path: Path) -> None:
    record(tmp_path)
    html = methods.cells_part(tmp_path)
    assert "1.10 times the memory of 10,000" in html and "130 MiB" in html
    # 20 s more at the start, 20 microseconds less a cell.
    assert "after 1,000,000 cells in a process" in html
    assert "TypeError: no" in html and "96.0%" in html and "nan" not in html.lower()
    assert "1,000,000 cells took 0.99 times the memory of 10,000" in html and "no cohort" in html
    assert len(re.findall("<tr", html)) == 3 + 3 + 3 + 3


def test_the_page_includes_the_part() -> None:
    from ballbook import paths

    assert "_generated/cells.md" in (paths.book() / "methods" / "cells.md").read_text("utf8")
    assert "file: methods/cells" in (paths.book() / "_toc.yml").read_text("utf8")

"""Work beside a notebook: done in another process where a core is free, the same everywhere."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from ballbook import notebook
from ballbook.aside import SPARE, Aside


def tell(file: Path) -> None:
    """Write which process this is."""
    file.write_text(str(os.getpid()))


@pytest.mark.parametrize(("spare", "elsewhere"), [("1", True), ("", False)])
def test_work_is_done_elsewhere_where_a_core_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spare: str, elsewhere: bool
) -> None:
    monkeypatch.setenv(SPARE, spare)
    work = Aside(partial(tell, tmp_path / "pid"))
    assert work.begun == elsewhere
    work.wait()
    assert not work.begun
    assert (int((tmp_path / "pid").read_text()) != os.getpid()) == elsewhere
    (tmp_path / "pid").unlink()
    work.wait()
    assert not (tmp_path / "pid").exists(), "once is enough"


def test_nothing_to_do_is_soon_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SPARE, "1")
    work = Aside()
    assert not work.begun
    work.wait()


def test_what_fails_aside_is_done_here_and_its_error_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SPARE, "1")
    here = os.getpid()

    def only_here() -> None:
        if os.getpid() != here:
            raise RuntimeError
        tell(tmp_path / "pid")

    Aside(only_here).wait()
    assert (tmp_path / "pid").read_text() == str(here)
    never = Aside(partial(tell, tmp_path / "no such folder" / "pid"))
    with pytest.raises(FileNotFoundError):
        never.wait()


def test_a_killed_fork_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SPARE, "1")
    here = os.getpid()

    def die_elsewhere() -> None:
        if os.getpid() != here:
            os.kill(os.getpid(), 9)
        tell(tmp_path / "pid")

    Aside(die_elsewhere).wait()
    assert (tmp_path / "pid").read_text() == str(here)


def test_a_figure_drawn_aside_has_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib.pyplot as plt

    from ballbook import figures

    found = []
    for spare in ("", "1"):
        monkeypatch.setenv(SPARE, spare)
        with figures.style():
            figure, ax = plt.subplots()
            ax.plot([1, 3, 2], label="a line")
            ax.legend()
            ax.set_xlabel("time in months")
            drawn = Aside(partial(notebook.write_png, figure, tmp_path / f"{spare}.png"))
            svg = figures.svg(figure, "one")
            drawn.wait()
            plt.close(figure)
        found.append((svg, (tmp_path / f"{spare}.png").read_bytes()))
    assert found[0] == found[1]

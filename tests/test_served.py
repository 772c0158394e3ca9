"""A build that is left to the server of an earlier one: the same words, codes and signals."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from waiting import eventually

from ballbook import faults, small_book, warm
from ballbook.served import served


class Place:
    """A small book, with temporary files of its own, and so a server of its own."""

    def __init__(self, folder: Path) -> None:
        self.home, self.temporary = folder / "home", folder / "t"
        self.temporary.mkdir()
        (self.slug,) = small_book.write(self.home, 1, patients=40)
        gone = {warm.VARIABLE, "BALLBOOK_DATA"}
        self.env = {k: v for k, v in os.environ.items() if k not in gone}
        self.env |= {"BALLBOOK_HOME": str(self.home), "TMPDIR": str(self.temporary)}

    def start(self, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "ballbook", *args], env=self.env, cwd=self.home, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            # A shell has what it starts in the background ignore Ctrl-C.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def say(self, *args: str) -> tuple[int, str, str]:
        process = self.start(*args)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def server(self) -> Path | None:
        found = [p for p in self.temporary.glob("bb-warm-*/*") if re.fullmatch(r"\w{16}", p.name)]
        return found[0] if found else None

    def pid(self) -> int:
        """Return the process number of the server."""
        import psutil

        for process in psutil.process_iter(["cmdline"]):
            if str(self.server()) in (process.info["cmdline"] or []):
                return int(process.pid)
        raise LookupError("no server")

    def edit(self, cell: str) -> None:
        """Put a line at the begin of the cell that draws patients."""
        source = small_book.source_of(self.home, self.slug)
        text = re.sub(
            r"(\n(?:.*# edited\n)?)rng = ", f"\n{cell}  # edited\nrng = ", source.read_text()
        )
        source.write_text(text)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A book that was built, with the server that its build left."""
    folder = Path(tempfile.mkdtemp(prefix="s"))
    found = Place(folder)
    code, _, err = found.say("build")
    assert code == 0, err
    assert eventually(found.server)
    yield found
    with suppress(LookupError):
        os.kill(found.pid(), signal.SIGTERM)
    shutil.rmtree(folder, ignore_errors=True)


def test_a_build_is_done_by_the_server_and_says_the_same(place: Place) -> None:
    code, out, err = place.say("build")
    assert (code, out, err) == (0, f"The book is at {place.home}/build/html/index.html\n", "")
    place.edit("print('parent', __import__('psutil').Process().parent().pid)")
    assert place.say("build", "--why")[1] == f"{place.slug}: source\n"
    code, out, _ = place.say("build")
    assert (code, out.splitlines()[0]) == (0, f"{place.slug}: run")
    # Kernels, jobs and the driver are all children of the one server.
    page = (place.home / "build" / "runs" / place.slug / "notebook.ipynb").read_text()
    assert f"parent {place.pid()}" in page


def test_failures_and_refusals_keep_their_words_and_codes(place: Place) -> None:
    place.edit("raise ValueError('no such luck')")
    code, out, err = place.say("build")
    assert (code, out) == (1, "")
    assert "no such luck" in err
    code, out, err = place.say("build", "--cores", "many")
    assert (code, out) == (2, "")
    assert "'many' is not a valid integer" in err


def test_an_interrupted_build_ends_with_all_it_began(place: Place, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    place.edit(f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(90)")
    for number, code in ((signal.SIGINT, 1), (signal.SIGKILL, -signal.SIGKILL)):
        told.unlink(missing_ok=True)
        process = place.start("build")
        assert eventually(lambda: told.is_file() and told.read_text())
        kernel = int(told.read_text())
        process.send_signal(number)
        process.communicate(timeout=30)
        assert process.returncode == code
        assert eventually(lambda pid=kernel: not Path(f"/proc/{pid}").exists(), 20)
    place.edit("pass")
    assert place.say("build")[0] == 0


def test_a_killed_driver_is_named_and_takes_its_jobs_along(place: Place, tmp_path: Path) -> None:
    import psutil

    told = tmp_path / "pid"
    place.edit(f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(90)")
    process = place.start("build")
    assert eventually(lambda: told.is_file() and told.read_text())
    children = psutil.Process(place.pid()).children()
    (driver,) = [p for p in children if faults.drives(p)]
    driver.kill()
    assert process.communicate(timeout=30)[1] == "the build was killed by signal 9\n"
    assert process.returncode == 128 + signal.SIGKILL
    kernel = int(told.read_text())
    assert eventually(lambda: not Path(f"/proc/{kernel}").exists(), 20)


def test_a_build_whose_server_is_lost_goes_on_without(place: Place, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    # The second time it does not wait.
    place.edit(
        f"import os, time; told = {str(told)!r}; seen = os.path.exists(told); "
        "open(told, 'a').write('x'); seen or time.sleep(90)"
    )
    process = place.start("build")
    assert eventually(lambda: told.is_file() and told.read_text())
    os.kill(place.pid(), signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out.splitlines()[0]) == (0, f"{place.slug}: run"), err
    assert told.read_text() == "xx"
    assert eventually(place.server)


def test_without_a_server_nothing_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv(warm.VARIABLE, raising=False)
    assert served("ballbook.cli", "served", ["build"]) is None
    # No folder for temporary files, no server.
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    assert served("ballbook.cli", "served", ["build"]) is None
    monkeypatch.setenv(warm.VARIABLE, "0")
    assert served("ballbook.cli", "served", ["build"]) is None

"""Jobs side by side: order, failures, time, memory, and what is left of a job that was ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ballbook import pool
from ballbook.errors import Failure


def says(what: str) -> str:
    return what


def fails(what: str) -> str:
    raise Failure(f"nothing to be done about {what}")


def raises(what: str) -> str:
    return str(1 / int(what))


def sleeps(folder: str) -> str:
    # A child in a session of its own is still its child.
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    Path(folder, "child").write_text(str(child.pid), encoding="utf8")
    time.sleep(600)
    return ""


def deaf(folder: str) -> str:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return sleeps(folder)


def dies(number: str) -> str:
    print("the last words", flush=True)
    os.kill(os.getpid(), int(number))
    time.sleep(60)
    return ""


def eats(megabytes: str) -> str:
    return str(len(bytearray(int(megabytes) * 2**20)))


def marks(folder: str) -> str:
    Path(folder, str(time.monotonic_ns())).touch()
    time.sleep(0.1)
    return ""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setattr(pool, "GRACE", 1.0)

    def call(*jobs: pool.Job, cores: int = 2, timeout: float = 60) -> list[pool.Outcome]:
        return pool.run(jobs, cores=cores, log=tmp_path / "log", timeout=timeout)

    return call


def test_what_failed_is_told_and_the_others_are_done(run) -> None:  # type: ignore[no-untyped-def]
    jobs = [
        pool.Job("good", says, ("done",), seconds=1),
        pool.Job("refused", fails, ("it",), seconds=3, source="analyses/a/refused.md"),
        pool.Job("wrong", raises, ("0",), seconds=2),
        pool.Job("killed", dies, (str(int(signal.SIGKILL)),)),
    ]
    ended = run(*jobs)
    by_name = {o.job.name: o for o in ended}
    assert not by_name["good"].failed and by_name["good"].said == "done"
    assert by_name["refused"].said == "nothing to be done about it"
    assert "ZeroDivisionError" in by_name["wrong"].said and "1 / int(what)" in by_name["wrong"].said
    assert "killed by signal 9" in by_name["killed"].said
    assert "the last words" in by_name["killed"].said
    text = pool.summary(ended, len(jobs))
    assert text.startswith("3 of 4 failed:")
    assert "refused (analyses/a/refused.md)" in text and "good" not in text


def test_the_longest_begin_first(run) -> None:  # type: ignore[no-untyped-def]
    jobs = [pool.Job(str(i), says, ("",), seconds=i) for i in range(4)]
    assert [o.job.name for o in run(*jobs, cores=1)] == ["3", "2", "1", "0"]


def test_no_more_than_asked_for_run_at_once(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "marks"
    folder.mkdir()
    run(*(pool.Job(str(i), marks, (str(folder),)) for i in range(6)), cores=2)
    starts = sorted(int(p.name) for p in folder.iterdir())
    assert len(starts) == 6
    # The third begins when one of the first two has ended.
    assert all(later - first >= 0.1e9 for first, later in zip(starts, starts[2:], strict=False))


@pytest.mark.parametrize("work", [sleeps, deaf])
def test_a_job_that_hangs_is_ended_with_all_it_started(run, tmp_path: Path, work) -> None:  # type: ignore[no-untyped-def]
    start = time.monotonic()
    (outcome,) = run(pool.Job("slow", work, (str(tmp_path),)), timeout=2)
    assert time.monotonic() - start < 20
    assert outcome.failed and outcome.said.startswith("stopped after 2 s")
    child = int((tmp_path / "child").read_text(encoding="utf8"))
    end = time.monotonic() + 5
    while psutil.pid_exists(child) and time.monotonic() < end:
        if psutil.Process(child).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.05)
    else:
        assert not psutil.pid_exists(child)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is the kernel's")
def test_a_job_may_not_take_more_memory_than_it_is_given(  # type: ignore[no-untyped-def]
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = psutil.Process().memory_info().data / 2**20
    monkeypatch.setenv(pool.MEMORY, str(int(used) + 300))
    modest, greedy = pool.Job("modest", eats, ("50",)), pool.Job("greedy", eats, ("2000",))
    by_name = {o.job.name: o for o in run(modest, greedy)}
    assert not by_name["modest"].failed, by_name["modest"].said
    assert by_name["greedy"].failed and "MemoryError" in by_name["greedy"].said

"""Build the book: run what is stale, each page in a process of its own, then render.

What is stale, `ballbook.freshness` decides, here as on a cluster (``analyses/Snakefile``), which
calls the same `make_page`, `make_example` and `render`. Nothing heavy is imported before something
has to be done, and nothing is started when nothing changed.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
from filelock import FileLock, Timeout

from ballbook import analyses, aside, freshness, paths, pool, warm
from ballbook.freshness import Fingerprint
from ballbook.variables import environment

EXAMPLE, BOOK = "worked example", "the book"
# Pages from which on a server of kernels is started for a build.
WORTH_A_SERVER = 3
FOR_BOOK = ("jupyter_book.sphinx", "myst_nb.sphinx_ext", "sphinx_book_theme", "ballbook.html_book")


def build(
    *,
    cores: int = 2,
    target: str = "all",
    only: Sequence[str] = (),
    timeout: float = pool.TIMEOUT,
    memory: int | None = None,
) -> Path:
    """Bring the book up to date and return the page at which it opens.

    Parameters
    ----------
    cores : int
        Pages run at once.
    target : str
        ``all``, or ``pages`` for the notebooks without the rendering.
    only : sequence of str
        Slugs of the pages to run; all when empty.
    timeout : float
        Seconds after which a page is ended.
    memory : int, optional
        Megabytes that a page may take; when not given, its share of most of the machine's.

    Raises
    ------
    RunFailed
        If a page fails or the book does not build without a warning; the message lists every
        failure. Pages that went well are kept.
    """
    chosen = os.environ.get(warm.VARIABLE, "")
    with alone():
        pages = fingerprints(only)
        jobs = [page_job(slug) for slug in stale(pages)]
        with_book = target == "all" and not only
        if with_book and example_is_stale():
            jobs.append(pool.Job(EXAMPLE, make_example, seconds=seconds_of(EXAMPLE)))
        if jobs:
            freshness.forget(paths.build())
        book = freshness.of_book(pages) if with_book else None
        render = book is not None and bool(book.reasons(paths.build(), "html/index.html"))
        if jobs or render:
            # Forked jobs find done what is imported here while the server starts.
            with engine(len(jobs), partial(preload, pages=bool(jobs), book=render)) as server:
                given = Limits(cores, timeout, memory, server)
                run_all(jobs, given)
                if book is not None and render:
                    if server is None and cores > 1:
                        # Rendering takes one core; the other gets ready for the next edit.
                        with warm.given(chosen):
                            warm.reach(wait=False)
                    run_all([pool.Job(BOOK, make_book, (book.parts,), source="book")], given)
    return paths.build() / "html" / "index.html"


@dataclass(frozen=True)
class Limits:
    """What jobs may use.

    Attributes
    ----------
    cores : int
    timeout : float
        Seconds for a job.
    memory : int or None
        Megabytes for a job; when not given, its share of most of the machine's.
    server : Path or None
        Socket of the server that jobs are forked from; from this process when not given.
    """

    cores: int
    timeout: float
    memory: int | None
    server: Path | None


@contextmanager
def engine(jobs: int, meanwhile: Callable[[], None]) -> Iterator[Path | None]:
    """Give the server to fork jobs from, where one is up; else one for the kernels of this build.

    For one or two pages a server costs more than it saves.
    """
    idle = warm.idle()
    if idle is not None:
        with warm.given(idle):
            yield idle
        return
    with warm.server(meanwhile=meanwhile, wanted=jobs >= WORTH_A_SERVER):
        yield None


@contextmanager
def alone() -> Iterator[None]:
    """Hold the checkout's build folder; a build that is going on is waited for.

    The lock is the operating system's and goes with its process, however that ends.
    """
    paths.build().mkdir(parents=True, exist_ok=True)
    lock = FileLock(paths.build() / ".building")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        click.echo("another build of this checkout is going on; waiting for it", err=True)
        lock.acquire()
    try:
        sweep_up()
        yield
    finally:
        lock.release()


def sweep_up() -> None:
    """Put back and remove what builds that were killed left behind."""
    from ballbook import placing, strays

    strays.sweep()
    placing.sweep_sockets()
    for folder in (paths.build() / "runs", paths.build()):
        if folder.is_dir():
            placing.sweep(folder)


def fingerprints(only: Sequence[str] = ()) -> dict[str, Fingerprint]:
    """Return what pages depend on, by slug; of all pages when none is named."""
    with freshness.at_once():
        return {slug: freshness.of_page(slug) for slug in only or analyses.slugs()}


def stale(pages: Mapping[str, Fingerprint]) -> dict[str, list[str]]:
    """Return the pages whose runs are stale, each with the reasons."""
    runs = paths.build() / "runs"
    reasons = {slug: now.reasons(runs / slug) for slug, now in pages.items()}
    return {slug: why for slug, why in reasons.items() if why}


def page_job(slug: str) -> pool.Job:
    """Return the job that makes a page."""
    source = analyses.find(slug).path.relative_to(paths.root())
    return pool.Job(slug, make_page, (slug,), seconds_of(slug), str(source))


def seconds_of(name: str) -> float:
    """Return how long a page took when it was last run or recorded, or a guess."""
    import json

    for root in (paths.build() / "runs", paths.data() / "recorded"):
        try:
            file = root / name / "provenance.json"
            return float(json.loads(file.read_text(encoding="utf8"))["seconds"])
        except (OSError, ValueError, KeyError):
            continue
    return 30.0


def run_all(jobs: Sequence[pool.Job], limits: Limits) -> None:
    """Do jobs side by side, saying what became of each.

    Raises
    ------
    RunFailed
        With the summary of what failed.
    """
    if not jobs:
        return
    with sharing(limits, len(jobs)):
        ended = pool.run(
            jobs,
            cores=limits.cores,
            log=paths.build() / "log",
            timeout=limits.timeout,
            server=limits.server,
            told=tell,
        )
    if any(o.failed for o in ended):
        from ballbook.run import RunFailed

        raise RunFailed(pool.summary(ended, len(jobs)))


@contextmanager
def sharing(limits: Limits, jobs: int) -> Iterator[None]:
    """Tell jobs that are started inside what each of so many may take."""
    memory = limits.memory or most_memory() // max(1, min(limits.cores, jobs))
    spare = "1" if jobs < limits.cores else ""
    with environment(**{pool.MEMORY: str(memory), aside.SPARE: spare}):
        yield


def most_memory() -> int:
    """Return four fifths of the machine's memory in megabytes."""
    import psutil

    return int(psutil.virtual_memory().total * 0.8 / 2**20)


def preload(*, pages: bool, book: bool) -> None:
    """Import what every page, and the rendering, need on this side, and use it once."""
    if pages:
        from ballbook import rehearsal

        rehearsal.pages()
    for name in FOR_BOOK if book else ():
        importlib.import_module(name)


def tell(outcome: pool.Outcome) -> None:
    """Say how a job ended."""
    if outcome.failed:
        first = (outcome.said.splitlines() or [""])[0]
        click.echo(f"{outcome.job.name}: failed ({first})", err=True)
    elif outcome.said:
        click.echo(f"{outcome.job.name}: {outcome.said}")
    sys.stdout.flush()


# What the jobs do, also on a cluster.


def make_page(slug: str) -> str:
    """Run an analysis for the book, or use its recorded run where its data cannot be had.

    Returns
    -------
    str
        Which of the two.
    """
    from ballbook import catalog, recorded, run

    target = paths.build() / "runs" / slug
    if target.is_dir() and not (target / "results.json").is_file():
        # Nobody's run: an engine that asked for a file in it made the folder, or it was spoilt.
        shutil.rmtree(target)
    try:
        run.run(slug)
        return "run"
    except catalog.Unavailable as error:
        why = str(error).splitlines()[0]
        recorded.use(slug, target, freshness.of_page(slug))
        return f"recorded run ({why})"


def make_example() -> str:
    """Run the worked example."""
    from ballbook import worked_example

    worked_example.make(paths.build() / "example")
    return "run"


def make_book(parts: Mapping[str, str] | None = None) -> str:
    """Render the book and stamp it.

    Parameters
    ----------
    parts : mapping, optional
        What the book depends on, where that is known (`freshness.of_book`).
    """
    from ballbook import html_book

    # As things were before: what changes meanwhile makes the book stale.
    now = freshness.of_book() if parts is None else Fingerprint(parts)
    freshness.forget(paths.build())
    html_book.render()
    now.stamp(paths.build(), "html", html_book.rendered("html"))
    return ""


def example_is_stale() -> bool:
    """Return whether the worked example must be run again."""
    if not (paths.book() / "worked-example.md").is_file():
        return False
    return bool(freshness.of_example().reasons(paths.build() / "example", "made"))

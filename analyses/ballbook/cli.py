"""The command line: ``ballbook``.

Exit codes: 0 done, 1 the run failed, 2 the input was refused.
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from ballbook import __version__
from ballbook.errors import Failure, Refusal

FAILED, REFUSED = 1, 2


def explained(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the library's own errors into one message and the exit code that fits."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except Refusal as error:
            click.echo(str(error.args[0] if error.args else error), err=True)
            sys.exit(REFUSED)
        except Failure as error:
            click.echo(str(error), err=True)
            sys.exit(FAILED)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            where = f": {error.filename}" if error.filename else ""
            click.echo(f"{error.strerror}{where}", err=True)
            sys.exit(FAILED)

    return wrapper


@contextmanager
def between_builds() -> Iterator[None]:
    """Wait for the end of a build that is going on, and keep the next one waiting."""
    from ballbook.build import alone

    with alone():
        yield


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """An executable evidence book for B-cell acute lymphoblastic leukaemia."""


@main.command("list")
@explained
def list_() -> None:
    """List the analyses, one line each."""
    from ballbook.analyses import find, slugs

    for slug in slugs():
        click.echo(f"{slug:28} {find(slug).meta['finding']}")


@main.command()
@click.argument("analysis")
@explained
def describe(analysis: str) -> None:
    """Show parameters, data, claims and estimate ids of ANALYSIS."""
    from ballbook import claims, recorded
    from ballbook.analyses import find

    found = find(analysis)
    click.echo(f"{found.meta['title']}\n{found.meta['finding']}\n")
    click.echo("Parameters")
    for p in found.parameters:
        limits = f" [{p.range}]" if p.range else ""
        click.echo(f"  {p.name}: {p.type} = {p.default!r}{limits}\n      {p.help}")
    click.echo("\nData\n  " + "\n  ".join(found.meta["data"] or ["published tables only"]))
    click.echo("\nClaims")
    for claim in claims.of_analysis(analysis):
        click.echo(f"  {claim.id}: {claim.statement} [{claim.shown}]")
    if results := recorded.results(analysis):
        click.echo("\nEstimates")
        for e in results["estimates"]:
            click.echo(f"  {e['id']}: {e['label']}")


@main.group()
def data() -> None:
    """Data sets: list, get, verify."""


@data.command("list")
@explained
def data_list() -> None:
    """List the data sets, with tier, licence and whether they are at hand."""
    from ballbook import catalog

    for row in catalog.status():
        size = f"{row.size / 1e6:6.1f} MB"
        click.echo(f"{row.id:24} {row.tier:10} {size}  {row.state:18} {row.licence}")


@data.command("get")
@click.argument("ids", nargs=-1)
@explained
def data_get(ids: tuple[str, ...]) -> None:
    """Get the data sets IDS, or all; say which cannot be had."""
    from ballbook import catalog

    missing = []
    for entry in [catalog.entry(i) for i in ids] or catalog.entries():
        try:
            catalog.get(entry.id)
            click.echo(f"{entry.id}: at hand")
        except catalog.Unavailable as error:
            missing.append(entry.id)
            click.echo(f"{entry.id}: not at hand")
            if ids:
                click.echo(str(error), err=True)
    if missing and not ids:
        click.echo(
            f"{len(missing)} not at hand: their pages will show recorded runs. "
            f"`ballbook data get {missing[0]}` says why."
        )
    if missing and ids:
        sys.exit(FAILED)


@data.command("verify")
@click.argument("ids", nargs=-1)
@explained
def data_verify(ids: tuple[str, ...]) -> None:
    """Check the SHA-256 of the files at hand of IDS, or of all data sets."""
    from ballbook import catalog

    rows = [row for i in ids or [None] for row in catalog.verify(i)]
    for row in rows:
        click.echo(f"{row.state:7} {row.id} {row.name}" + (f" {row.path}" if row.path else ""))
        if row.state == "wrong":
            click.echo(f"        expected {row.expected}\n        found    {row.found}")
    sys.exit(FAILED if any(row.state == "wrong" for row in rows) else 0)


@main.command()
@click.argument("analysis")
@click.option("--cohort", required=True, help="Your cohort: a table or a folder of tables.")
@click.option("--map", "column_map", help="A column map (YAML) that renames and recodes.")
@click.option("-p", "--parameter", multiple=True, metavar="NAME=VALUE", help="A parameter.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@explained
def check(
    analysis: str, cohort: str, column_map: str | None, parameter: tuple[str, ...], as_json: bool
) -> None:
    """Say everything that is wrong with a cohort, or that ANALYSIS would miss in it."""
    from ballbook.analyses import find
    from ballbook.parameters import resolve

    values = resolve(find(analysis).parameters, assignments(parameter))
    # Reading tables takes its time to load: what is refused already does not wait for it.
    from ballbook import needs
    from ballbook.cohort import OF_MAP, InvalidCohort, read_cohort

    try:
        found = read_cohort(cohort, column_map)
    except InvalidCohort as error:
        report = {"analysis": analysis, "accepted": False, "patients": None}
        report |= {"notes": [], "warnings": []}
        if not as_json:
            raise
        click.echo(json.dumps({**report, "errors": [p.as_json() for p in error.problems]}))
        sys.exit(REFUSED)
    match = needs.fit(found, analysis, values)
    mapped = [note for note in found.notes if note.startswith(OF_MAP)]
    assumed = [note for note in found.notes if not note.startswith(OF_MAP)]
    if as_json:
        told = [{"message": note} for note in assumed]
        report = {
            "analysis": analysis,
            "accepted": match.accepted,
            "patients": found.n,
            "errors": [p.as_json() for p in match.errors],
            "notes": [{"message": note} for note in mapped],
            "warnings": [*(p.as_json() for p in match.warnings), *told],
        }
        click.echo(json.dumps(report))
    else:
        for note in mapped:
            click.echo(f"note: {note}")
        for warning in (*assumed, *match.warnings):
            click.echo(f"warning: {warning}")
        for problem in match.errors:
            click.echo(f"error: {problem}", err=True)
        ending = "no error found." if match.accepted else f"{analysis} cannot be run on them."
        dummy = " They are dummies: a run is a method-check." if found.tier == "simulated" else ""
        click.echo(f"{found.n} patients, {ending}{dummy}")
    if not match.accepted:
        sys.exit(REFUSED)


@main.command()
@click.argument("cohort", metavar="F")
@click.option("--map", "column_map", help="A column map (YAML) that renames and recodes.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@explained
def match(cohort: str, column_map: str | None, as_json: bool) -> None:
    """List the analyses that the cohort F can fill, and what it lacks for the others."""
    from ballbook import needs
    from ballbook.cohort import read_cohort

    found = needs.match(read_cohort(cohort, column_map))
    if as_json:
        rows = [
            {
                "analysis": m.analysis,
                "accepted": m.accepted,
                "errors": [p.as_json() for p in m.errors],
                "warnings": [p.as_json() for p in m.warnings],
            }
            for m in found
        ]
        click.echo(json.dumps(rows))
        return
    for m in found:
        click.echo(f"{m.analysis:28} {'can be run' if m.accepted else 'cannot be run'}")
        for p in (*m.errors, *m.warnings):
            click.echo(f"    {'lacks' if p in m.errors else 'would miss'} {p.expected} ({p.mend})")


@main.command("map")
@click.option("--guess", "cohort", metavar="F", required=True, help="The file to propose one for.")
@explained
def map_(cohort: str) -> None:
    """Propose a column map for the file F as YAML; every line says how sure it is."""
    from ballbook import column_map

    proposal = column_map.propose(cohort)
    click.echo(proposal.text(), nl=False)
    for line in column_map.summary(proposal):
        click.echo(line, err=True)


@main.command()
@click.argument("analysis")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for a filled-in example.")
@explained
def template(analysis: str, out: Path | None) -> None:
    """Print the columns of a cohort file for ANALYSIS, or write an example with a dictionary."""
    from ballbook import templates
    from ballbook.analyses import find
    from ballbook.dictionaries import dictionary

    find(analysis)
    if out is not None:
        refuse_full(out)
        for file in templates.write(analysis, out):
            click.echo(str(file))
        click.echo(f"Try it: ballbook check {analysis} --cohort {out}")
        return
    for name in ("patients", "outcomes", "mrd"):
        columns = dictionary(name).columns
        click.echo(f"# {name}.csv\n{','.join(c.name for c in columns)}")
        for c in columns:
            click.echo(f"#   {c.name}: {c.help}")


@main.command()
@click.argument("analysis")
@click.option("--n", type=int, default=200, show_default=True, help="Patients.")
@click.option("--seed", type=int, default=1, show_default=True, help="Same seed, same bytes.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@explained
def dummy(analysis: str, n: int, seed: int, out: Path) -> None:
    """Write a cohort of invented patients for ANALYSIS, to try everything on before real ones."""
    from ballbook import dummy as dummies
    from ballbook.analyses import find

    find(analysis)
    refuse_full(out)
    for file in dummies.write(analysis, out, n=n, seed=seed):
        click.echo(str(file))
    click.echo(f"Try it: ballbook run {analysis} --cohort {out}")


def refuse_full(out: Path) -> None:
    """Refuse a folder that holds something already."""
    from ballbook.run import NotEmpty

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise NotEmpty(f"{out} is not an empty folder; choose another")


def assignments(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return ``k=v`` texts as a dictionary.

    Raises
    ------
    InvalidParameters
        Listing every text without an equals sign and every name given twice.
    """
    from ballbook.parameters import InvalidParameters

    problems = [f"{p!r}: expected name=value" for p in pairs if "=" not in p]
    names = [p.partition("=")[0].strip() for p in pairs if "=" in p]
    problems += [f"{n} is given twice" for n in sorted({n for n in names if names.count(n) > 1})]
    if problems:
        raise InvalidParameters(problems)
    return {n: p.partition("=")[2] for n, p in zip(names, pairs, strict=True)}


@main.command()
@click.argument("analysis")
@click.option(
    "--cohort",
    "cohorts",
    multiple=True,
    metavar="F",
    help="Your cohort: a table or a folder of tables. Several are run one by one and pooled.",
)
@click.option(
    "--map",
    "column_maps",
    multiple=True,
    metavar="F",
    help="A column map (YAML) that renames and recodes: one, or one for each cohort.",
)
@click.option("-p", "--parameter", multiple=True, metavar="NAME=VALUE", help="A parameter.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the outputs.")
@click.option("--min-count", type=int, help="Smallest count shown of your cohort (default 5).")
@explained
def run(
    analysis: str,
    cohorts: tuple[str, ...],
    column_maps: tuple[str, ...],
    parameter: tuple[str, ...],
    out: Path | None,
    min_count: int | None,
) -> None:
    """Run ANALYSIS and write its report, results, figures and tables.

    With several cohorts each gets a folder of its own, beside a report of all of them pooled.
    """
    from ballbook.run import NotCombinable
    from ballbook.run import run as execute

    given: dict[str, Any] = dict(assignments(parameter))
    if min_count is not None:
        given["min_count"] = min_count
    if len(cohorts) > 1:
        from ballbook.combine import run_cohorts

        folder = run_cohorts(analysis, cohorts, parameters=given, out=out, column_maps=column_maps)
    else:
        if len(column_maps) > 1:
            raise NotCombinable([("", f"{len(column_maps)} maps for one cohort: give one")])
        if cohorts:
            given["cohort"] = cohorts[0]
        # A build that is going on renders what it has run, and nothing that came in between.
        held = between_builds() if out is None else None
        folder = execute(
            analysis, parameters=given, out=out, column_map=next(iter(column_maps), None), held=held
        )
    results = json.loads((folder / "results.json").read_text(encoding="utf8"))
    click.echo(f"{results['summary']}\n{folder / 'report.html'}")


@main.command()
@click.argument("chapter")
@click.option("--cohort", required=True, help="Your cohort: a table or a folder of tables.")
@click.option("--map", "column_map", help="A column map (YAML) that renames and recodes.")
@click.option("--course", help="A CSV with one patient's course, drawn at the top.")
@click.option("--min-count", type=int, help="Smallest count shown of your cohort (default 5).")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for all runs.")
@explained
def chain(
    chapter: str,
    cohort: str,
    column_map: str | None,
    course: str | None,
    min_count: int | None,
    out: Path,
) -> None:
    """Run every page of CHAPTER that the cohort can fill, with one page that leads to all."""
    from ballbook.chain import run_chain

    refuse_full(out)
    given = {} if min_count is None else {"min_count": min_count}
    steps = run_chain(chapter, cohort, out, parameters=given, column_map=column_map, course=course)
    for step in steps:
        click.echo(f"{step.analysis}: {step.told}")
    click.echo(str(out / "index.html"))


@main.command()
@click.argument("results", nargs=-1, metavar="R1.json R2.json ...", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the pool.")
@click.option("--json", "as_json", is_flag=True, help="Print the pooled estimates as JSON.")
@explained
def combine(results: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Pool what several groups found with one analysis, from their results.json alone."""
    from ballbook.combine import as_answer
    from ballbook.combine import combine as pool
    from ballbook.run import NotCombinable

    try:
        answer = as_answer(pool(results, out))
    except NotCombinable as error:
        if not as_json:
            raise
        rows = [{"file": file or None, "message": what} for file, what in error.problems]
        click.echo(json.dumps({"accepted": False, "errors": rows}))
        sys.exit(REFUSED)
    if as_json:
        click.echo(json.dumps(answer))
    else:
        click.echo(f"{answer['summary']}\n{answer['report']}")


@main.command()
@click.argument("analysis")
@click.argument("grid", nargs=-1, required=True, metavar="GRID.yml | NAME=VALUE,VALUE...")
@click.option("--cohort", help="Your cohort: a table or a folder of tables.")
@click.option("--map", "column_map", help="A column map (YAML) that renames and recodes.")
@click.option("--min-count", type=int, help="Smallest count shown of your cohort (default 5).")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for all runs.")
@click.option("--reports", is_flag=True, help="Give each run its figures and report.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=1800.0,
    show_default=True,
    help="Seconds after which a run is stopped.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Runs at once (default: the cores).")
@click.option(
    "--points",
    metavar="I:J",
    help="Run these points only, counted from 0, and no "
    "tables: for parts of a sweep that run elsewhere.",
)
@click.option("--collect", is_flag=True, help="Run nothing; join what is there.")
@click.option("--most", type=click.IntRange(min=1), help="Runs a grid may have (100,000).")
@explained
def sweep(analysis: str, grid: tuple[str, ...], **given: Any) -> None:
    """Run ANALYSIS over every combination of the GRID, and join and compare what it gives.

    A sweep that was stopped goes on by the same command: runs that are there are kept. Tables in
    the folder can be read at any time.
    """
    from ballbook import sweep_progress

    sweep_progress.command(analysis, grid, **given)


@main.command()
@click.option("--cores", type=int, default=2, show_default=True, help="Notebooks run at once.")
@click.option("--pages-only", is_flag=True, help="Run the notebooks and render nothing.")
@click.option("--timeout", type=float, default=1800, show_default=True, help="Seconds for a page.")
@click.option("--memory", type=int, help="Megabytes for a page (default: its share of 80%).")
@click.option("--why", is_flag=True, help="Say what is stale and why, and run nothing.")
@explained
def build(cores: int, pages_only: bool, timeout: float, memory: int | None, why: bool) -> None:
    """Run all notebooks that changed and render the book."""
    from ballbook import build as builder

    if why:
        for slug, reasons in builder.stale(builder.fingerprints()).items():
            click.echo(f"{slug}: {', '.join(reasons)}")
        return
    target = "pages" if pages_only else "all"
    home = builder.build(cores=cores, target=target, timeout=timeout, memory=memory)
    if not pages_only:
        click.echo(f"The book is at {home}")


def served(*arguments: str) -> None:
    """Do a command in this process, which a server forked."""
    main(arguments, prog_name="ballbook")


@main.command(hidden=True)
@click.argument("analysis")
@explained
def page(analysis: str) -> None:
    """Run ANALYSIS for the book, or take its recorded run where its data cannot be had."""
    from ballbook.build import make_page

    click.echo(f"{analysis}: {make_page(analysis)}")


@main.command(hidden=True)
@explained
def render() -> None:
    """Render the book from the pages made so far."""
    from ballbook.build import make_book

    make_book()


@main.command(hidden=True)
@click.argument("analyses", nargs=-1)
@explained
def record(analyses: tuple[str, ...]) -> None:
    """Keep the latest runs of ANALYSES, or all, with their verdicts, in data/recorded."""
    from ballbook import ledger, recorded, resources
    from ballbook.analyses import slugs

    frame = ledger.ledger()
    for slug in analyses or slugs():
        click.echo(str(recorded.keep(slug)))
    click.echo(str(resources.keep(analyses or slugs())))
    for change in ledger.keep(frame, analyses or None):
        click.echo(str(change))
    if not analyses:
        from ballbook import worked_example

        for file in worked_example.keep():
            click.echo(str(file))


@main.command(hidden=True)
@explained
def example() -> None:
    """Run the worked example for the book."""
    from ballbook.build import make_example

    make_example()


@main.group(invoke_without_command=True)
@click.option("--format", "form", type=click.Choice(["md", "csv", "json"]), default="md")
@click.pass_context
@explained
def ledger(context: click.Context, form: str) -> None:
    """Print every claim with its verdict from the latest runs."""
    from ballbook.ledger import as_csv, as_json, counts
    from ballbook.ledger import ledger as collect

    if context.invoked_subcommand:
        return
    frame = collect()
    if form == "json":
        click.echo(as_json(frame), nl=False)
    elif form == "csv":
        click.echo(as_csv(frame), nl=False)
    else:
        columns = ["id", "published", "recomputed", "tier", "verdict"]
        judged = frame.loc[frame["verdict"].notna(), columns].fillna("")
        click.echo(counts(frame).to_markdown(index=False))
        click.echo("\n" + judged.to_markdown(index=False, disable_numparse=True))


@ledger.command("diff")
@click.argument("a", type=click.Path(exists=True, path_type=Path))
@click.argument("b", type=click.Path(exists=True, path_type=Path))
@explained
def ledger_diff(a: Path, b: Path) -> None:
    """Print what differs between the ledgers A and B: verdicts, tiers, recomputed values.

    Each is a ledger (CSV or JSON, as `ballbook ledger` prints it or the book offers it), the
    results.json or folder of a run, a folder of runs, or a built book. What only one of them
    holds (the recorded ledger has no recomputed values) is not compared.

    Exit codes: 0 no difference, 1 differences, 2 a file that cannot be read.
    """
    from ballbook.ledger import differences, read

    changes = differences(read(a), read(b))
    for change in changes:
        click.echo(str(change))
    click.echo(f"{len(changes) or 'no'} difference{'' if len(changes) == 1 else 's'}")
    sys.exit(FAILED if changes else 0)


@main.command()
@click.option("--format", "form", type=click.Choice(["md", "csv", "json"]), default="md")
@click.option("--all", "everything", is_flag=True, help="Also what adds up.")
@explained
def audit(form: str, everything: bool) -> None:
    """Print what contradicts itself in the papers, with its arithmetic."""
    from ballbook import contradictions

    frame = contradictions.as_table(contradictions.run())
    if not everything:
        frame = frame[frame["severity"] != "ok"]
    if form == "json":
        click.echo(frame.to_json(orient="records", indent=1))
    elif form == "csv":
        click.echo(frame.to_csv(index=False), nl=False)
    else:
        columns = ["number", "severity", "arithmetic", "reading", "settles"]
        click.echo(frame[columns].to_markdown(index=False))


if __name__ == "__main__":
    main()

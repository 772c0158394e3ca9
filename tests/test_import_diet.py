"""Nobody waits for a package that he does not use: what commands and pages import, as measured.

Everything is looked at in processes of their own, in what they have loaded at the end.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest

from ballbook import analyses, paragraph, text_notebook, warm_server

ROOT = Path(__file__).resolve().parents[1]
# Prints the modules that are loaded, whatever way the process ends.
TELL = """
import atexit, json, sys
def tell():
    print("\\nloaded", json.dumps(sorted(sys.modules)))
atexit.register(tell)
"""
LIGHT = {"platformdirs", "yaml"}
# Modules that commands need before they know what is asked of them, and what drives builds.
LIGHT_MODULES = [
    "analyses", "build", "catalog", "claims", "errors", "freshness", "ledger", "parameters",
    "paths", "placing", "pool", "recorded", "render", "results", "run", "text_notebook",
    "yaml_files",
]  # fmt: skip
LIGHT_COMMANDS = [
    (["--help"], 0),
    (["list"], 0),
    (["describe", "ikzf1-outcome"], 0),
    (["data", "list"], 0),
    (["data", "verify", "chiaretti-2004"], None),
    (["describe", "no-such-page"], 2),
    (["check", "no-such-page", "--cohort", "x.csv"], 2),
    (["run", "no-such-page"], 2),
    (["run", "ikzf1-outcome", "-p", "seed=007"], 2),
    (["sweep", "--help"], 0),
]
# What all pages have: numbers, tables, tests, figures, and what these bring along.
OF_ALL_PAGES = {"PIL", "matplotlib", "numpy", "pandas", "platformdirs", "pyarrow", "scipy", "yaml"}
# What modules that pages do not import may have besides: commands, references, the engine.
OF_OTHERS = {"click", "filelock", "jsonschema", "jupyter_client", "nbformat", "papermill", "pybtex"}


owners_of = cache(packages_distributions)


@cache
def declared() -> frozenset[str]:
    """Top-level names of the packages that the project asks for, the heavy ones among them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    lines = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    asked = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in lines}
    return frozenset(
        module
        for module, owners in owners_of().items()
        if asked & {o.lower().replace("_", "-") for o in owners}
    )


def modules(code: str, *argv: str, ends: int | None = 0) -> set[str]:
    """Return the modules that a process has loaded at its end, with the exit code `ends`."""
    done = subprocess.run(
        [sys.executable, "-c", TELL + code, *argv], capture_output=True, text=True, cwd=ROOT
    )
    assert ends is None or done.returncode == ends, done.stderr
    return set(json.loads(done.stdout.rpartition("\nloaded ")[2]))


def packages(names: Iterable[str]) -> set[str]:
    """Return the packages of others that modules belong to, by their top-level names."""
    # Compiled code and setuptools keep things under names that are no packages.
    known = owners_of().keys() - {"ballbook", "_distutils_hack"}
    return {name.partition(".")[0] for name in names} & known


def loaded(code: str, *argv: str, ends: int | None = 0) -> set[str]:
    """Return the packages of others that a process has loaded at its end."""
    return packages(modules(code, *argv, ends=ends))


CLI = "from ballbook.cli import main; main(sys.argv[1:])"


def test_packages_that_the_project_asks_for_are_known_by_their_modules() -> None:
    heavy = {"scanpy", "anndata", "decoupler", "dask", "sklearn", "statsmodels", "lifelines"}
    assert heavy | {"numpy", "pandas", "scipy", "matplotlib"} <= declared()


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_what_drives_commands_and_builds_imports_nothing_heavy(module: str) -> None:
    allowed = LIGHT | ({"click", "filelock"} if module == "build" else set())
    assert loaded(f"import ballbook.{module}") <= allowed


@pytest.mark.parametrize(("argv", "ends"), LIGHT_COMMANDS, ids=lambda x: str(x))
def test_a_command_that_only_tells_or_refuses_imports_nothing_heavy(
    argv: list[str], ends: int | None
) -> None:
    before = os.times()
    assert loaded(CLI, *argv, ends=ends) <= LIGHT | {"click"}
    after = os.times()
    spent = [t.children_user + t.children_system for t in (before, after)]
    assert spent[1] - spent[0] < 1.0


def test_the_package_itself_imports_nothing() -> None:
    assert loaded("import ballbook") == set()


def test_checking_a_sound_cohort_loads_tables_and_nothing_more(tmp_path: Path) -> None:
    cohort = tmp_path / "dummy"
    loaded(CLI, "dummy", "ikzf1-outcome", "--n", "60", "--out", str(cohort))
    names = modules(CLI, "check", "ikzf1-outcome", "--cohort", str(cohort))
    allowed = LIGHT | {"click", "numpy", "pandas", "pyarrow", "scipy"}
    assert "pandas" in names
    assert packages(names) & declared() <= allowed
    assert not names & {"scipy.sparse", "scipy.stats", "hypothesis", "ballbook.analyses.notebook"}


def test_no_module_of_the_library_imports_what_only_some_functions_need() -> None:
    names = sorted(file.stem for file in (ROOT / "analyses" / "ballbook").glob("*.py"))
    code = "".join(f"import ballbook.{name}\n" for name in names if name != "__init__")
    heavy = packages(modules(code)) & declared() - OF_ALL_PAGES - OF_OTHERS
    assert heavy == set()


# ------------------------------------------------------------------------------------- pages

# Forks one process a page, which runs the imports of the page and tells what it has loaded.
PAGES = """
import json, os, sys
import scipy.optimize, scipy.stats
from ballbook import contingency, cox, datasets, gates, meta_analysis, notebook, own_effects
base, found = sorted(sys.modules), {}
for slug, code in json.load(sys.stdin).items():
    out, into = os.pipe()
    if os.fork() == 0:
        os.close(out)
        exec(code, {})
        with os.fdopen(into, "w") as pipe:
            json.dump(sorted(sys.modules), pipe)
        os._exit(0)
    os.close(into)
    with os.fdopen(out) as pipe:
        found[slug] = json.load(pipe)
    os.wait()
print(json.dumps([base, found]))
"""


def imports_of(slug: str) -> list[ast.Import | ast.ImportFrom]:
    """Return the import statements of a page."""
    page = text_notebook.read(analyses.find(slug).text)
    assert page is not None
    nodes = [n for cell in page.cells for n in ast.walk(ast.parse(cell["source"]))]
    return [n for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom))]


@pytest.fixture(scope="module")
def of_pages() -> dict[str, set[str]]:
    """The modules that each page has loaded after its imports."""
    if not hasattr(os, "fork"):
        pytest.skip("needs a system that forks")
    code = {s: "\n".join(map(ast.unparse, imports_of(s))) for s in analyses.slugs()}
    done = subprocess.run(
        [sys.executable, "-c", PAGES], input=json.dumps(code), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    base, found = json.loads(done.stdout)
    assert packages(base) & declared() <= OF_ALL_PAGES
    return {slug: set(names) for slug, names in found.items()}


@pytest.mark.parametrize("slug", analyses.slugs())
def test_a_page_loads_what_it_names_and_nothing_else(
    slug: str, of_pages: dict[str, set[str]]
) -> None:
    words = (ast.unparse(n).split()[1] for n in imports_of(slug))
    mine = {word.partition(".")[0] for word in words}
    assert packages(of_pages[slug]) & declared() <= OF_ALL_PAGES | mine


def test_a_warm_kernel_has_no_software_loaded_that_a_page_would_then_cite(
    of_pages: dict[str, set[str]],
) -> None:
    code = "import importlib\nfor name in sys.argv[1:]: importlib.import_module(name)"
    warm = loaded(code, *warm_server.PRELOAD)
    for slug, names in of_pages.items():
        assert warm & set(paragraph.NAMED) <= packages(names), slug


def test_who_leaves_a_build_to_a_server_imports_next_to_nothing() -> None:
    found = modules("import ballbook.__main__, ballbook.forked, ballbook.served, ballbook.warm")
    assert not {"click", "subprocess", "tempfile", "ballbook.cli", "ballbook.build"} & found
    assert not {name.partition(".")[0] for name in found} & declared()

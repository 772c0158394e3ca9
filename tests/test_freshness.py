"""What is stale: exactly what a change can alter, by content."""

from __future__ import annotations

import ast
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ballbook import analyses, freshness, paths

ROOT = Path(__file__).resolve().parents[1]
PAGE, OTHER = "ikzf1-outcome", "clone-phylogeny"


def imports(source: str) -> set[str]:
    """Return the modules of the library that a source imports, by Python's own parser."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ballbook":
            of = (node.module or "").split(".")[1:]
            found |= set(of[:1]) if of else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("ballbook.")}
    return {name for name in found if (freshness.LIBRARY / f"{name}.py").is_file()}


@pytest.mark.parametrize("file", sorted(freshness.LIBRARY.glob("*.py")), ids=lambda f: f.stem)
def test_no_import_of_a_module_is_overlooked(file: Path) -> None:
    source = file.read_text(encoding="utf8")
    assert imports(source) <= freshness._imports(source)


@pytest.mark.parametrize("slug", analyses.slugs())
def test_no_import_of_a_page_is_overlooked(slug: str) -> None:
    cells = [c.source for c in analyses.find(slug).notebook.cells if c.cell_type == "code"]
    wanted = imports("\n".join(cells))
    used = freshness.modules_of(analyses.find(slug).path.read_text(encoding="utf8"))
    assert wanted <= set(used)
    # A rule that makes everything depend on everything would pass all other tests.
    assert len(used) < 0.6 * len(list(freshness.LIBRARY.glob("*.py")))


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout that may be changed, whose library is looked at and not imported."""
    for name in ("analyses", "book", "env"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    left_out = shutil.ignore_patterns("recorded", "__pycache__")
    shutil.copytree(ROOT / "data", tmp_path / "data", ignore=left_out)
    monkeypatch.setenv("BALLBOOK_HOME", str(tmp_path))
    monkeypatch.setattr(freshness, "LIBRARY", tmp_path / "analyses" / "ballbook")
    analyses.find.cache_clear()
    yield tmp_path  # type: ignore[misc]
    analyses.find.cache_clear()


def ids() -> dict[str, str]:
    """Return the fingerprints of all pages as files are now."""
    analyses.find.cache_clear()
    return {slug: freshness.of_page(slug).id for slug in analyses.slugs()}


def append(file: str, text: str = "\n# A remark.\n") -> Callable[[Path], None]:
    def change(home: Path) -> None:
        with (home / file).open("a", encoding="utf8") as handle:
            handle.write(text)

    return change


EVERY = set(analyses.slugs())
CHANGES: dict[str, tuple[Callable[[Path], None], Callable[[set[str]], bool]]] = {
    "its notebook": (
        append(f"analyses/bcr_abl1/{PAGE}.md", "\nA remark.\n"),
        lambda changed: changed == {PAGE},
    ),
    "a module that only it uses": (
        append("analyses/ballbook/phylogeny.py"),
        lambda changed: OTHER in changed and PAGE not in changed,
    ),
    "a module that no page uses": (append("analyses/ballbook/speed.py"), lambda c: c == set()),
    "the engine": (append("analyses/ballbook/pool.py"), lambda changed: changed == set()),
    "a new module": (append("analyses/ballbook/unheard_of.py"), lambda changed: changed == set()),
    "a module of all pages": (
        append("analyses/ballbook/notebook.py"),
        lambda changed: changed == EVERY,
    ),
    "the lock": (append("env/lock.txt"), lambda changed: changed == EVERY),
    "claims of one page": (
        append("data/claims/heerema2004.yml"),
        lambda changed: {PAGE} <= changed < EVERY and OTHER not in changed,
    ),
    "a published table": (
        append("data/published/ikzf1_effects.csv", "\n"),
        lambda changed: PAGE in changed and OTHER not in changed,
    ),
    "prose": (append("book/primer.md"), lambda changed: changed == set()),
    "a reference that nobody cites": (
        append("book/references.bib", "\n@misc{nobody1900,\n  title = {Nothing}\n}\n"),
        # An entry ends where the next begins: the last one's text grew by an empty line at most.
        lambda changed: len(changed) < len(EVERY) / 2,
    ),
    "only times": (
        lambda home: [os.utime(p, (1, 1)) for p in home.rglob("*") if p.is_file()] and None,
        lambda changed: changed == set(),
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_page_is_stale_when_and_only_when_something_of_its_own_changed(
    copy: Path, what: str
) -> None:
    change, expected = CHANGES[what]
    before = ids()
    change(copy)
    after = ids()
    assert expected({slug for slug in after if after[slug] != before[slug]})


def test_parameters_cohort_and_map_count_by_content(tmp_path: Path) -> None:
    cohort = tmp_path / "ours.csv"
    cohort.write_text("patient_id\na\n", encoding="utf8")
    given = {"cohort": str(cohort)}
    first = freshness.of_page(PAGE, given)
    assert first.id != freshness.of_page(PAGE).id
    moved = tmp_path / "elsewhere" / "ours.csv"
    moved.parent.mkdir()
    shutil.copy(cohort, moved)
    assert freshness.of_page(PAGE, {"cohort": str(moved)}).id == first.id
    cohort.write_text("patient_id\nb\n", encoding="utf8")
    assert freshness.of_page(PAGE, given).id != first.id
    assert freshness.of_page(PAGE, given | {"seed": 3}).id != freshness.of_page(PAGE, given).id
    now = freshness.of_page(PAGE, given)
    assert freshness.of_page(PAGE, given, cohort).id != now.id


def test_a_stamp_says_why(tmp_path: Path) -> None:
    now = freshness.of_page(PAGE)
    assert now.reasons(tmp_path) == ["never run"]
    (tmp_path / "results.json").write_text("{}", encoding="utf8")
    now.stamp(tmp_path)
    assert now.reasons(tmp_path) == []
    other = freshness.Fingerprint({**now.parts, "modules": "0" * 64})
    assert other.reasons(tmp_path) == ["modules"]
    stamp = tmp_path / now.name
    kept = json.loads(stamp.read_text(encoding="utf8"))
    assert kept.pop("made").keys() == {"results.json"}
    assert kept == dict(now.parts)
    stamp.rename(tmp_path / ".fresh-0000000000000000.json").write_text("{", encoding="utf8")
    assert now.reasons(tmp_path) == ["never run"]
    other.stamp(tmp_path)
    assert [p.name for p in tmp_path.glob(".fresh-*")] == [other.name]


def test_data_that_come_or_go_make_a_page_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    with_data = freshness.of_page(PAGE)
    monkeypatch.setattr(freshness.catalog, "available", lambda id: False)
    without = freshness.of_page(PAGE)
    changed = [k for k in with_data.parts if with_data.parts[k] != without.parts[k]]
    assert changed == (["data"] if analyses.find(PAGE).meta["data"] else [])
    assert paths.data().is_dir()


def test_a_listing_reads_again_what_is_not_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "in/b", "in/c"):
        (tmp_path / name).write_text(name)
    first = freshness.listing(tmp_path)
    assert list(first) == ["a", "in/b", "in/c"]
    assert freshness.listing(tmp_path, "in") == {k: v for k, v in first.items() if k != "a"}
    os.utime(tmp_path / "a", ns=(0, 0))
    (tmp_path / "in" / "b").write_text("longer")
    assert freshness.listing(tmp_path, known=first) == freshness.listing(tmp_path)
    # What looks as it was is believed.
    told = {name: [size, time, "?"] for name, (size, time, _) in first.items()}
    again = freshness.listing(tmp_path, known=told)
    assert [again[name][2] == "?" for name in first] == [False, False, True]


def test_a_module_that_changes_is_seen_after_one_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"
    shutil.copytree(freshness.LIBRARY, library, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(freshness, "LIBRARY", library)
    with freshness.at_once():
        before = freshness.of_page("ikzf1-outcome").id
    with (library / "run.py").open("a") as handle:
        handle.write("# changed\n")
    assert freshness.of_page("ikzf1-outcome").id != before
    with freshness.at_once():
        assert freshness.of_page("ikzf1-outcome").id != before

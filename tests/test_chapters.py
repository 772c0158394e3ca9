"""The overview of a chapter, made from the results of its pages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ballbook import analyses, chapters, paths

PAGES = ["infant-trials", "infant-mrd-dosing", "mrd-consolidation"]


def result(slug: str, number: str) -> dict[str, Any]:
    claim = analyses.find(slug).meta["headline"][0]
    verdict = {
        "claim": claim, "verdict": "consistent", "published": "1", "recomputed": number,
        "tier": "published", "reason": "",
    }  # fmt: skip
    other = verdict | {"claim": f"{claim}-x", "verdict": "not-testable", "tier": None}
    return {
        "summary": f"Summary of {slug} with {number}.", "certainty": f"Sure by {number}.",
        "verdicts": [verdict, other], "estimates": [{"tier": "published"}, {"tier": "open"}],
    }  # fmt: skip


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for i, slug in enumerate(PAGES):
        (tmp_path / slug).mkdir()
        content = json.dumps(result(slug, f"{i}.25"))
        (tmp_path / slug / "results.json").write_text(content, encoding="utf8")
    return tmp_path


def test_pages_stand_in_the_order_of_the_contents() -> None:
    assert chapters.of_chapter("infant") == PAGES
    with pytest.raises(LookupError, match="nowhere"):
        chapters.of_chapter("nowhere")


def test_every_statement_links_to_its_page_and_comes_from_its_results(runs: Path) -> None:
    html = chapters.overview("infant", runs)
    for i, slug in enumerate(PAGES):
        title = analyses.find(slug).meta["title"]
        assert f'<h3><a href="{slug}.html">{title}</a></h3>' in html
        assert f"Summary of {slug} with {i}.25." in html
        assert f"Sure by {i}.25." in html
    assert html.count("bb-tier-published") >= 2 * len(PAGES)
    assert html.count("bb-tier-open") == len(PAGES)
    assert html.count("1&nbsp;<span") == 2 * len(PAGES)


def test_a_missing_run_is_an_error(runs: Path) -> None:
    (runs / PAGES[1] / "results.json").unlink()
    with pytest.raises(FileNotFoundError, match=PAGES[1]):
        chapters.overview("infant", runs)


def test_every_overview_page_includes_its_part_and_types_no_result(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chapters, "overview", lambda chapter, _: f"<p>{chapter}</p>")
    chapters.write_parts(tmp_path, runs)
    pages = list(paths.book().glob("*/index.md"))
    assert pages
    for page in pages:
        name = f"chapter-{page.parent.name}.md"
        text = page.read_text(encoding="utf8")
        assert f"_generated/{name}" in text
        assert f"<p>{page.parent.name}</p>" in (tmp_path / name).read_text(encoding="utf8")
        words = re.sub(r"`[^`]*`|[*]KMT2A[*]|\bMLL-10\b|Interfant-\d+", "", text)
        assert not re.search(r"\d+(\.\d+)?%|\d+\.\d", words)


def test_the_diagram_draws_one_square_for_each_verdict_and_says_all_in_words(runs: Path) -> None:
    html = chapters.evidence("infant", runs)
    for slug in PAGES:
        assert f"{analyses.find(slug).meta['title']}: 1 consistent, 1 not-testable" in html
    assert "Printed numbers (published)" in html and 'role="img"' in html


def test_claims_judged_on_open_data_are_listed_with_those_that_held_first(runs: Path) -> None:
    assert chapters.on_other_patients("infant", runs) == ""
    for slug, word in zip(PAGES, ("underpowered", "consistent", "differs"), strict=True):
        content = result(slug, "7.5")
        content["verdicts"][0] |= {"verdict": word, "tier": "open"}
        (runs / slug / "results.json").write_text(json.dumps(content), encoding="utf8")
    html = chapters.on_other_patients("infant", runs)
    places = [html.index(f"bb-verdict-{w}") for w in ("consistent", "differs", "underpowered")]
    assert places == sorted(places)

"""The ledger: strict about claims and verdicts, comparable, and a page that filters."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from ballbook import analyses, claims, cli, ledger, ledger_page, paths
from ballbook.claims import Claim

ROOT = Path(__file__).resolve().parents[1]
SLUG = "ikzf1-outcome"


def claim(id: str, kind: str = "count", **fields: Any) -> Claim:
    """Return a claim of `SLUG`, as a paper would print it."""
    given = {"printed": "75", "value": 75.0, "analysis": SLUG, "source": "heerema2004"} | fields
    return Claim(id=id, locator="Table 1", statement=f"What {id} says.", kind=kind, **given)


def verdict(id: str, word: str = "reproduced", **fields: Any) -> dict[str, Any]:
    """Return a verdict as results hold it."""
    given = {"published": "75", "recomputed": "75", "tier": "published", "reason": "Rounds to 75."}
    return {"claim": id, "verdict": word, **given, **fields}


def results(*verdicts: dict[str, Any], slug: str = SLUG) -> dict[str, Any]:
    return {slug: {"analysis": slug, "verdicts": list(verdicts)}}


def known(*given: Claim) -> dict[str, Claim]:
    return {c.id: c for c in given}


def untestable(reason: str) -> dict[str, Any]:
    return verdict("a", "not-testable", tier=None, recomputed="not testable", reason=reason)


@pytest.fixture
def frame() -> pd.DataFrame:
    """A small ledger: two verdicts, one claim that cannot be tested, one definition."""
    found, problems = ledger.collect(
        known(
            claim("a"),
            claim("b", "p-value", printed="<0.0001", value=0.0001),
            claim("c", "hazard-ratio", printed="-0.04", value=-0.04, source="hartmann2026"),
            claim("d", "definition", printed=None, value=None, analysis=None),
        ),
        results(
            verdict("a"),
            verdict("b", "differs", published="P <0.0001", recomputed="P = 0.030", tier="open"),
            untestable("No counts. Needed: counts.") | {"claim": "c", "published": "-0.04"},
        ),
    )
    assert problems == []
    return found


# Strictness


@pytest.mark.parametrize(
    ("given", "found", "said"),
    [
        ([claim("a")], results(), "a has no verdict"),
        ([claim("a")], results(verdict("a"), verdict("a")), "a is judged twice"),
        ([claim("a")], results(verdict("a"), verdict("z")), "a verdict on z, which is no claim"),
        ([claim("a")], results(verdict("a"), slug="maturity-age"), f"a belongs to '{SLUG}'"),
        ([claim("a", analysis="unwritten")], results(), "unwritten: no such analysis"),
        ([claim("a", analysis=None)], results(), "no such analysis"),
        ([claim("a")], {SLUG: None}, f"{SLUG}: never run"),
        ([claim("a", "method")], results(verdict("a")), "a is a method and takes no verdict"),
        ([claim("a", printed="76", value=76.0)], results(verdict("a")), "judged as '75', now '76'"),
        ([claim("a")], results(untestable("No counts.")), "not testable, without"),
        ([claim("a")], results(untestable("Needed: counts.")), "not testable, without"),
        ([claim("a")], results(untestable("No counts. Needed: .")), "not testable, without"),
    ],
)
def test_each_mismatch_is_named(
    given: list[Claim], found: dict[str, dict[str, Any] | None], said: str
) -> None:
    problems = ledger.collect(known(*given), found)[1]
    assert any(said in p for p in problems), problems


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([claim("a")], results(verdict("a"))),
        ([claim("a")], results(verdict("a"), verdict("a", "differs", tier="yours"))),
        ([claim("a")], results(untestable("No counts. Needed: counts."))),
        ([claim("a", "citation", analysis=None)], results()),
    ],
)
def test_what_matches_is_let_through(given: list[Claim], found: dict[str, Any]) -> None:
    rows, problems = ledger.collect(known(*given), found)
    assert problems == []
    assert len(rows) == 1


def test_all_problems_are_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "read", lambda: known(claim("a"), claim("b"), claim("c")))
    monkeypatch.setattr(ledger, "run_results", lambda slug: results(verdict("c"))[SLUG])
    monkeypatch.setattr(analyses, "slugs", lambda: [SLUG])
    with pytest.raises(ledger.IncompleteLedger) as caught:
        ledger.ledger()
    assert "a has no verdict" in str(caught.value)
    assert "b has no verdict" in str(caught.value)


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recorded ledger, in a folder of the test's own."""
    file = tmp_path / "recorded" / "ledger.csv"
    monkeypatch.setattr(ledger, "recorded_file", lambda: file)
    return file


def test_a_changed_verdict_stops_and_names_the_remedy(frame: pd.DataFrame, record: Path) -> None:
    with pytest.raises(ledger.ChangedLedger, match="no verdicts are recorded"):
        ledger.check_recorded(frame)
    assert [c.what for c in ledger.keep(frame)] == ["added"] * 3
    ledger.check_recorded(frame)
    changed = frame.copy()
    changed.loc[changed["id"] == "b", "verdict"] = "reproduced"
    with pytest.raises(ledger.ChangedLedger, match="b: differs -> reproduced") as caught:
        ledger.check_recorded(changed)
    assert "make record" in str(caught.value)
    for other in (frame[frame["id"] != "a"], frame.assign(tier="published")):
        with pytest.raises(ledger.ChangedLedger):
            ledger.check_recorded(other)
    ledger.keep(changed)
    ledger.check_recorded(changed)


def test_one_analysis_can_be_recorded_alone(frame: pd.DataFrame, record: Path) -> None:
    ledger.keep(frame)
    moved = frame.copy()
    moved["verdict"] = ["differs", "consistent", "differs", None]
    moved.loc[moved["id"] == "b", "analysis"] = "maturity-age"
    assert [str(c).split()[:2] for c in ledger.keep(moved, ["maturity-age"])] == [
        ["verdict", "b:"],
        ["analysis", "b:"],
    ]
    assert ledger.read(record)["a"]["verdict"] == "reproduced"
    ledger.keep(moved, [SLUG])
    assert ledger.read(record)["a"]["verdict"] == "differs"
    assert record.read_text(encoding="utf8").splitlines()[0] == "id,analysis,verdict,tier"


def test_the_render_checks_before_it_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    from ballbook import html_book

    def refuse(frame: pd.DataFrame) -> None:
        raise ledger.ChangedLedger("changed")

    monkeypatch.setattr(ledger, "ledger", lambda: None)
    monkeypatch.setattr(ledger, "check_recorded", refuse)
    monkeypatch.setattr(html_book, "stage", lambda *args: pytest.fail("staged before the check"))
    done = CliRunner().invoke(cli.main, ["render"])
    assert (done.exit_code, "changed" in done.output) == (1, True)


def test_the_recorded_ledger_is_that_of_the_recorded_runs() -> None:
    assert (
        ledger.differences(
            ledger.read(ledger.recorded_file()), ledger.read(paths.data() / "recorded")
        )
        == []
    )


# Two ledgers


def test_differences_are_told_apart(frame: pd.DataFrame) -> None:
    before, after = ledger.of_frame(frame), ledger.of_frame(frame)
    assert ledger.differences(before, after) == []
    after["a"] = after["a"] | {"recomputed": "74"}
    after["b"] = after["b"] | {"verdict": "consistent"}
    after["e"] = after.pop("c")
    told = [str(c).split() for c in ledger.differences(before, after)]
    assert told == [
        ["recomputed", "a:", "75", "->", "74"],
        ["verdict", "b:", "differs", "->", "consistent"],
        ["removed", "c:", "not-testable", "->", "none"],
        ["added", "e:", "none", "->", "not-testable"],
    ]


def test_every_form_of_a_ledger_reads_the_same(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.loc[frame["id"] == "a", "recomputed"] = "-0.284 (-0.3 to -0.2)"
    (tmp_path / "l.csv").write_text(ledger.as_csv(frame), encoding="utf8")
    (tmp_path / "l.json").write_text(ledger.as_json(frame), encoding="utf8")
    run = tmp_path / "runs" / SLUG
    run.mkdir(parents=True)
    fields = ["verdict", "published", "recomputed", "tier", "reason"]
    rows = [
        {"claim": r["id"]} | {f: r[f] for f in fields}
        for r in ledger.records(frame)
        if r["verdict"]
    ]
    rows.append(verdict("a", "differs", tier="yours"))
    (run / "results.json").write_text(json.dumps({"analysis": SLUG, "verdicts": rows}))
    expected = ledger.of_frame(frame)
    assert expected["a"]["recomputed"] == "-0.284 (-0.3 to -0.2)"
    for form in ("l.csv", "l.json", "runs", f"runs/{SLUG}", f"runs/{SLUG}/results.json", "."):
        assert ledger.read(tmp_path / form) == expected, form
    assert "'-0.284" in (tmp_path / "l.csv").read_text(encoding="utf8")


def test_diff_says_so_by_its_exit_code(frame: pd.DataFrame, tmp_path: Path) -> None:
    a, b, broken = tmp_path / "a.csv", tmp_path / "b.json", tmp_path / "broken.json"
    a.write_text(ledger.as_csv(frame), encoding="utf8")
    b.write_text(ledger.as_json(frame), encoding="utf8")
    broken.write_text('{"verdicts": 3}', encoding="utf8")

    def diff(*files: Path) -> tuple[int, str]:
        done = CliRunner().invoke(cli.main, ["ledger", "diff", *map(str, files)])
        return done.exit_code, done.output

    assert diff(a, b) == (0, "no differences\n")
    frame.loc[frame["id"] == "b", "verdict"] = "reproduced"
    b.write_text(ledger.as_json(frame), encoding="utf8")
    code, said = diff(a, b)
    assert code == 1
    assert said.endswith("b: differs -> reproduced\n1 difference\n")
    for bad in (broken, tmp_path / "absent.csv"):
        assert diff(a, bad)[0] == 2
    (tmp_path / "empty").mkdir()
    assert "no results.json" in diff(a, tmp_path / "empty")[1]


@pytest.mark.parametrize("form", ["json", "csv", "md"])
def test_the_command_prints_the_ledger(
    frame: pd.DataFrame, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "ledger", lambda: frame)
    done = CliRunner().invoke(cli.main, ["ledger", "--format", form])
    assert done.exit_code == 0
    if form == "json":
        rows = json.loads(done.output)
        assert [row["id"] for row in rows] == ["a", "b", "c", "d"]
        assert (rows[3]["verdict"], rows[2]["value"]) == (None, -0.04)
    elif form == "csv":
        assert done.output == ledger.as_csv(frame)
        assert "'-0.04" in done.output
    else:
        assert re.search(r"\| differs +\| +0 \| +1 \| +0 \| +0 \| +1 \|", done.output)
        assert "P <0.0001" in done.output


def test_counts_are_by_verdict_and_tier(frame: pd.DataFrame) -> None:
    table = ledger.counts(frame).set_index("verdict")
    assert table.loc["differs", "open"] == 1
    assert table.loc["not-testable", "none"] == 1
    assert table["all"].sum() == 3


# The page


def test_each_claim_has_its_row_and_leads_to_its_page(frame: pd.DataFrame) -> None:
    text = ledger_page.page(frame)
    assert re.findall(r'<tr id="([\w-]+)"', text) == ["a", "b", "c", "d"]
    for id in "abc":
        assert f'href="bcr_abl1/{SLUG}.html#claim-{id}"' in text
    assert "#claim-d" not in text
    assert "4 claims from 2 papers" in text
    assert "\n\n" not in text[text.index("```{raw}") :]


def test_text_of_a_claim_is_no_markup() -> None:
    rows, _ = ledger.collect(
        known(replace(claim("a"), locator='<i>"p"</i>', statement="<b>x</b>")),
        results(verdict("a", reason="<script>x</script>")),
    )
    text = ledger_page.page(rows)
    assert "<i>" not in text
    assert "<b>" not in text
    assert "<script>" not in text


@pytest.fixture(scope="module")
def tab() -> Iterator[Any]:
    """A page of a browser; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    from test_book import chromium

    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        yield page
        browser.close()


@pytest.fixture
def opened(tab: Any, frame: pd.DataFrame, tmp_path: Path) -> Any:
    """The table of the small ledger, opened from disk."""
    html = ledger_page.page(frame).split("```{raw} html\n")[1].split("\n```")[0]
    static = ROOT / "book" / "_static"
    file = tmp_path / "ledger.html"
    file.write_text(
        f"<!doctype html><meta charset=utf-8><style>{(static / 'ballbook.css').read_text()}</style>"
        f"{html}<script>{(static / 'ballbook.js').read_text()}</script>",
        encoding="utf8",
    )
    tab.address = file.as_uri()
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.goto("about:blank")
    tab.goto(tab.address)
    yield tab
    assert tab.problems == []


def shown(tab: Any) -> list[str]:
    """Return the ids of the rows in view."""
    return list(tab.locator("tbody tr:visible").evaluate_all("rows => rows.map((r) => r.id)"))


@pytest.mark.book
@pytest.mark.parametrize("width", [1280, 375])
def test_filters_narrow_the_table_and_its_address_keeps_them(opened: Any, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 800})
    assert shown(opened) == ["a", "b", "c", "d"]
    opened.get_by_role("combobox", name="Paper").select_option("heerema2004")
    assert shown(opened) == ["a", "b", "d"]
    opened.get_by_role("combobox", name="Data").select_option("open")
    assert shown(opened) == ["b"]
    opened.get_by_label("Words").fill("0.030 WHAT")
    assert shown(opened) == ["b"]
    assert opened.locator("output").inner_text() == "1 of 4 claims"
    address = opened.url
    assert address.endswith("#paper=heerema2004&tier=open&q=0.030+WHAT")
    opened.get_by_role("button", name="Show all").click()
    opened.wait_for_function("!location.hash")
    assert shown(opened) == ["a", "b", "c", "d"]
    opened.goto("about:blank")
    opened.goto(address)
    assert shown(opened) == ["b"]
    assert opened.get_by_label("Words").input_value() == "0.030 WHAT"


@pytest.mark.book
def test_a_count_filters_and_a_second_click_undoes_it(opened: Any) -> None:
    tile = opened.locator("[id='verdict=differs']")
    assert tile.inner_text().split() == ["1", "differs"]
    tile.click()
    assert shown(opened) == ["b"]
    assert tile.get_attribute("aria-pressed") == "true"
    assert opened.url.endswith("#verdict=differs")
    tile.click()
    assert shown(opened) == ["a", "b", "c", "d"]
    opened.locator("[id='tier=none']").click()
    assert shown(opened) == ["c"]


@pytest.mark.book
def test_a_permanent_link_shows_its_claim_whatever_was_filtered(opened: Any) -> None:
    opened.goto(f"{opened.address}#verdict=reproduced")
    assert shown(opened) == ["a"]
    opened.goto(f"{opened.address}#c")
    opened.wait_for_function("document.querySelector('#c').checkVisibility()")
    assert opened.locator("#c:target").is_visible()
    opened.goto(f"{opened.address}#verdict=nonsense&colour=red")
    opened.wait_for_function("document.querySelector('output').value === '4 of 4 claims'")
    assert shown(opened) == ["a", "b", "c", "d"]


@pytest.mark.book
def test_a_filtered_table_sorts(opened: Any) -> None:
    opened.goto(f"{opened.address}#paper=heerema2004")
    opened.locator("th .bb-sort").first.click()
    opened.locator("th .bb-sort").first.click()
    assert shown(opened) == ["d", "b", "a"]


@pytest.mark.book
def test_book_and_ledger_lead_to_each_other(built_book: Path) -> None:
    text = (built_book / "ledger.html").read_text(encoding="utf8")
    rows = json.loads((built_book / "ledger.json").read_text(encoding="utf8"))
    assert (
        set(re.findall(r'<tr id="([\w-]+)"', text))
        == set(claims.read())
        == {row["id"] for row in rows}
    )
    judged = {row["id"]: row["analysis"] for row in rows if row["verdict"]}
    assert len(judged) > 60
    for id, slug in judged.items():
        place = f"{analyses.find(slug).chapter}/{slug}.html"
        assert f'href="{place}#claim-{id}"' in text
        page = (built_book / place).read_text(encoding="utf8")
        assert page.count(f'id="claim-{id}"') == 1, id
        assert f'href="../ledger.html#{id}"' in page, id
    reports = list((built_book.parent / "runs").glob("*/report.html"))
    assert not [r for r in reports if "ledger.html" in r.read_text(encoding="utf8")]


@pytest.mark.book
def test_hundreds_of_claims_filter_at_once(tab: Any, built_book: Path) -> None:
    tab.goto((built_book / "ledger.html").as_uri())
    took = tab.evaluate(
        """() => {
          const start = performance.now();
          const field = document.querySelector(".bb-filters [name=q]");
          field.value = "mrd";
          field.dispatchEvent(new Event("input", {bubbles: true}));
          document.querySelector("tbody").getBoundingClientRect();
          return performance.now() - start;
        }"""
    )
    assert 0 < tab.locator("tbody tr:visible").count() < len(claims.read())
    assert took < 300

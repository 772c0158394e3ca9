"""The rendered book, opened from disk in headless Chromium as a reader opens it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

playwright = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.book

STATIC = Path(__file__).resolve().parents[1] / "book" / "_static"
FINDINGS = (
    "bcr_abl1/ikzf1-outcome.html",
    "kmt2a/maturity-age.html",
    "kmt2a/mrd-decision-tree.html",
    "lineage_switch/lineage-switch-survival.html",
)
LOCAL = ("file:", "data:", "blob:", "about:")

# Contrast of an element's text against the first opaque background behind it.
CONTRAST = """
([selector, most]) => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const luminance = (c) => {
    const [r, g, b] = [c[0], c[1], c[2]].map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const c = rgba(getComputedStyle(e).backgroundColor);
      if (c[3] === 255) return c;
    }
    return rgba("white");
  };
  const shown = (e) => e.textContent.trim() && e.checkVisibility({checkOpacity: true});
  return [...document.querySelectorAll(selector)].filter(shown).slice(0, most).map((e) => {
    const style = getComputedStyle(e);
    const text = e.ownerSVGElement ? style.fill : style.color;
    const [a, b] = [luminance(rgba(text)), luminance(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return [ratio, e.textContent.trim().slice(0, 40)];
  });
}
"""
FACTS = """
() => ({
  hrefs: [...document.querySelectorAll("a[href], link[rel=stylesheet]")].map((e) => e.href),
  sources: [...document.querySelectorAll("[src]")].map((e) => e.src),
  ids: [...document.querySelectorAll("[id], a[name]")].map((e) => e.id || e.name),
  text: document.body.innerText,
  markup: (() => {
    const main = document.querySelector("main")?.cloneNode(true);
    main?.querySelectorAll(".cell_input, .bb-source").forEach((code) => code.remove());
    return main?.textContent ?? "";
  })(),
  silent: [...document.querySelectorAll("figure svg, img")]
    .filter((e) => !(e.getAttribute("aria-label") || e.alt)).map((e) => e.outerHTML.slice(0, 80)),
  figures: document.querySelectorAll("figure.bb-figure svg[role=img]").length,
  formulae: [...document.querySelectorAll("math")].map((e) => e.getAttribute("alttext")),
  title: document.title,
})
"""


@dataclass
class Visit:
    """What was seen on one page."""

    facts: dict[str, Any]
    requests: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    phone_width: int = 0
    overflowing: list[str] = field(default_factory=list)


def chromium() -> str:
    """Return the browser, from Debian's archive where it is missing and may be installed."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
            subprocess.run(["apt-get", "-qq", *command], check=False, capture_output=True)
        if found := shutil.which("chromium"):
            return found
    pytest.skip("needs Chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = chromium()
    with playwright.sync_playwright() as p:
        instance = p.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield instance
        instance.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def visits(browser: Any, built_book: Path) -> dict[str, Visit]:
    """Open every page once, on a screen and then on a phone."""
    seen: dict[str, Visit] = {}
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    for file in sorted(built_book.rglob("*.html")):
        if file.is_relative_to(built_book / "_static"):
            continue
        tab = context.new_page()
        visit = Visit({})
        tab.on("request", lambda r, v=visit: v.requests.append(r.url))
        tab.on("requestfailed", lambda r, v=visit: v.failures.append(f"{r.url}: {r.failure}"))
        tab.on("pageerror", lambda e, v=visit: v.complaints.append(str(e)))
        tab.on(
            "console",
            lambda m, v=visit: v.complaints.append(m.text) if m.type == "error" else None,
        )
        tab.goto(file.as_uri())
        tab.wait_for_load_state("networkidle")
        visit.facts = tab.evaluate(FACTS)
        tab.set_viewport_size({"width": 375, "height": 800})
        visit.phone_width = tab.evaluate("document.documentElement.scrollWidth")
        seen[file.relative_to(built_book).as_posix()] = visit
        tab.close()
    context.close()
    return seen


def test_every_finding_and_guide_has_a_page(visits: dict[str, Visit]) -> None:
    wanted = {"index", "primer", "how-to-read", "how-to-rerun", "how-to-review"}
    wanted |= {"glossary", "references", "data", "search"}
    missing = ({f"{name}.html" for name in wanted} | set(FINDINGS)) - set(visits)
    assert not missing
    assert all(v.facts["title"].strip() for v in visits.values())


def test_no_page_asks_another_host(visits: dict[str, Visit]) -> None:
    asked = {
        name: others
        for name, v in visits.items()
        if (others := [url for url in v.requests if not url.startswith(LOCAL)])
    }
    assert not asked
    assert all(v.requests for v in visits.values())


def test_no_page_complains(visits: dict[str, Visit]) -> None:
    complaints = {n: v.complaints + v.failures for n, v in visits.items()}
    assert not {n: c for n, c in complaints.items() if c}


def test_no_link_anchor_or_image_is_dead(visits: dict[str, Visit], built_book: Path) -> None:
    ids = {(built_book / name).resolve(): set(v.facts["ids"]) for name, v in visits.items()}
    dead = []
    for name, visit in visits.items():
        for url in visit.facts["hrefs"] + visit.facts["sources"]:
            parts = urlsplit(url)
            if parts.scheme != "file":
                continue
            target = Path(unquote(parts.path)).resolve()
            if not target.is_file():
                dead.append(f"{name}: {target.name} is missing")
            elif parts.fragment and unquote(parts.fragment) not in ids.get(target, set()):
                dead.append(f"{name}: {target.name} has no #{parts.fragment}")
            elif not target.is_relative_to(built_book):
                dead.append(f"{name}: {target} lies outside the book")
    assert not dead
    links = [u for v in visits.values() for u in v.facts["hrefs"]]
    assert all(urlsplit(u).scheme in {"file", "https", "mailto"} for u in links if u)


def test_no_page_scrolls_sideways_on_a_phone(visits: dict[str, Visit]) -> None:
    assert not {name: v.phone_width for name, v in visits.items() if v.phone_width > 375}


def test_no_page_holds_a_traceback_or_raw_markup(visits: dict[str, Visit]) -> None:
    signs = re.compile(
        r"Traceback \(most recent call last\)|\{(?:cite|ref|doc|term|eq)(?::\w+)?\}`|\$\$|:::\{"
    )
    found = {n: m.group() for n, v in visits.items() if (m := signs.search(v.facts["markup"]))}
    assert not found


def test_figures_say_what_they_show(visits: dict[str, Visit]) -> None:
    assert not {name: v.facts["silent"] for name, v in visits.items() if v.facts["silent"]}
    assert all(visits[name].facts["figures"] for name in FINDINGS)


def test_formulae_are_drawn_by_the_browser(visits: dict[str, Visit]) -> None:
    assert all(visits[name].facts["formulae"] for name in FINDINGS)
    assert all(all(v.facts["formulae"]) for v in visits.values())
    assert not [n for n, v in visits.items() if any("mathjax" in u.lower() for u in v.requests)]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out(browser: Any, built_book: Path, theme: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=theme)
    tab = context.new_page()
    weak, looked = [], 0
    for name in ("index.html", "how-to-read.html", *FINDINGS):
        tab.goto((built_book / name).as_uri())
        assert tab.evaluate("document.documentElement.dataset.theme") == theme
        for selector, least in (
            (".bd-article :is(p, li, dt, dd, a, h1, h2, td, th, figcaption, summary)", 4.5),
            (".bb-verdict, .bb-tier, .bb-gate, .bb-caption, .bb-download, .bb-recorded", 4.5),
            (".bd-sidebar-primary a, .bd-article pre span, .bb-command", 4.5),
            # Labels in a figure take the colour of what they name, as marks do.
            ("figure svg text", 3.0),
        ):
            for ratio, text in tab.evaluate(CONTRAST, [selector, 150]):
                looked += 1
                if ratio < least:
                    weak.append(f"{name}: {ratio:.2f} < {least} in {text!r}")
    context.close()
    assert looked > 200
    assert not weak, "\n".join(sorted(set(weak))[:30])


def test_search_finds_a_word(page: Any, built_book: Path) -> None:
    page.goto((built_book / "index.html").as_uri())
    page.locator(".search-button__button:visible").first.click()
    page.keyboard.type("lineage switch")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=*")
    # Results appear one by one.
    found = page.locator("#search-results li a[href*='lineage-switch-survival.html']").first
    found.wait_for(timeout=60_000)
    assert found.inner_text()


def test_theme_switch_changes_the_page_and_is_remembered(page: Any, built_book: Path) -> None:
    page.goto((built_book / "index.html").as_uri())
    seen = {}
    for _ in range(3):
        page.locator(".theme-switch-button:visible").first.click()
        theme = page.evaluate("document.documentElement.dataset.theme")
        seen[theme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        if theme == "dark":
            break
    assert seen["dark"] != "rgb(255, 255, 255)"
    page.goto((built_book / FINDINGS[0]).as_uri())
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_tables_of_the_book_sort(page: Any, built_book: Path) -> None:
    sorted_columns = 0
    for name in FINDINGS:
        page.goto((built_book / name).as_uri())
        for table in page.locator("table.bb-sortable:has(.bb-sort)").all():
            numeric = table.locator("tbody tr").first.locator("td[data-value]")
            if not numeric.count() or not table.is_visible():
                continue
            column = numeric.first.evaluate("cell => cell.cellIndex")
            head = table.locator("thead th").nth(column)
            cells = f"tbody tr td:nth-child({column + 1})[data-value]"
            for direction, order in (("ascending", 1), ("descending", -1)):
                head.locator(".bb-sort").click()
                assert head.get_attribute("aria-sort") == direction
                values = table.locator(cells).evaluate_all(
                    "all => all.map((c) => +c.dataset.value)"
                )
                assert values == sorted(values, key=lambda v, o=order: o * v)
            sorted_columns += 1
    assert sorted_columns


def one_table(rows: list[str], classes: str = "bb-sortable") -> str:
    """Return a page with one table of one column."""
    body = "".join(f"<tr><td>{row}</td></tr>" for row in rows)
    return (
        f'<div class="bb-scroll"><table class="{classes}"><thead><tr><th>Column</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f"<script>{(STATIC / 'ballbook.js').read_text(encoding='utf8')}</script>"
    )


@pytest.mark.parametrize(
    ("given", "ascending"),
    [
        (["10", "9", "1,200", "−0.5", "–"], ["−0.5", "9", "10", "1,200", "–"]),
        (["0.040", "1.0e-5", "", "0.50"], ["1.0e-5", "0.040", "0.50", ""]),
        (["2.75 (1.67 to 4.54)", "10.1 (2 to 50)", "0.9 (0.5 to 1.6)"], None),
        (["P = 0.20", "P = 0.012", "P = 3.5e-05"], ["P = 3.5e-05", "P = 0.012", "P = 0.20"]),
        (["pre-B", "AFF1", "item 10", "item 9"], ["AFF1", "item 9", "item 10", "pre-B"]),
    ],
)
def test_sorting_knows_numbers(page: Any, given: list[str], ascending: list[str] | None) -> None:
    page.set_content(one_table(given))
    page.locator(".bb-sort").click()
    shown = page.locator("tbody td").all_inner_texts()
    expected = ascending or sorted(given, key=lambda text: float(text.split()[0]))
    assert shown == expected
    page.locator(".bb-sort").click()
    shown = page.locator("tbody td").all_inner_texts()
    blank = [text for text in expected if text in {"", "–"}]
    assert shown == [text for text in reversed(expected) if text not in {"", "–"}] + blank


def test_a_table_can_be_filtered(page: Any) -> None:
    page.set_content(one_table(["AFF1", "MLLT1", "MLLT3"], "bb-sortable bb-filter"))
    page.locator(".bb-filter-box").fill("mllt")
    assert [t for t in page.locator("tbody tr:visible").all_inner_texts()] == ["MLLT1", "MLLT3"]


def test_a_wide_figure_can_be_seen_whole_on_a_phone(browser: Any, built_book: Path) -> None:
    context = browser.new_context(viewport={"width": 375, "height": 812})
    tab = context.new_page()
    tab.goto((built_book / FINDINGS[0]).as_uri())
    button = tab.locator("figure .bb-whole").first
    box = tab.locator("figure:has(.bb-whole) .bb-scroll").first
    assert box.evaluate("e => e.scrollWidth > e.clientWidth + 1")
    button.click()
    assert box.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    assert button.get_attribute("aria-pressed") == "true"
    context.close()

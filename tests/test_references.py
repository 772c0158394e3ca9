"""Every source that the book names stands in its bibliography."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
CITED = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")


def keys() -> list[str]:
    """Return the keys of the bibliography in file order."""
    text = (ROOT / "book" / "references.bib").read_text(encoding="utf8")
    return re.findall(r"^@\w+\{([^,\s]+),", text, flags=re.M)


def sources() -> list[tuple[str, str]]:
    """Return (file, key) of each source in claims, typed tables, catalogue, prose and notebooks."""
    found = []
    for file in (ROOT / "data" / "claims").glob("*.yml"):
        found.append((file.name, yaml.safe_load(file.read_text(encoding="utf8"))["source"]))
    for file in (ROOT / "data" / "published").glob("*.csv"):
        with file.open(encoding="utf8", newline="") as lines:
            found += [(file.name, r["source"]) for r in csv.DictReader(lines) if r.get("source")]
    catalogue = yaml.safe_load((ROOT / "data" / "catalog.yml").read_text(encoding="utf8"))
    for entry in catalogue["datasets"]:
        found += [(entry["id"], key) for key in entry.get("citation", [])]
    for file in [*(ROOT / "book").glob("*.md"), *(ROOT / "analyses").glob("*/*.md")]:
        for listed in CITED.findall(file.read_text(encoding="utf8")):
            found += [(file.name, key.strip()) for key in listed.split(",")]
    return found


def test_no_key_stands_twice() -> None:
    assert len(keys()) == len(set(keys())) > 100


def test_every_source_is_in_the_bibliography() -> None:
    known = set(keys())
    assert not {pair for pair in sources() if pair[1] not in known}


@pytest.mark.parametrize("field", ["doi", "year"])
def test_details_have_their_form(field: str) -> None:
    form = {"doi": r"10\.\d{4,9}/\S+", "year": r"(19|20)\d\d"}[field]
    text = (ROOT / "book" / "references.bib").read_text(encoding="utf8")
    values = re.findall(rf"^  {field} = \{{(.+?)\}},?$", text, flags=re.M)
    assert values
    assert not [value for value in values if not re.fullmatch(form, value)]

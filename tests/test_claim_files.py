"""The claim files: their form, their completeness and their own words."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from ballbook import claims
from ballbook.claims import Claim

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "data" / "claims"
SCHEMA = json.loads((FOLDER / "claims.schema.json").read_text(encoding="utf8"))
FILES = sorted(FOLDER.glob("*.yml"))
# Claims of each source document in the list that was drawn up when it was first read.
LISTED = {
    "iacobucci-slides": ("iac-", 52),
    "hartmann2026": ("har-", 84),
    "coorens2023": ("coo-", 66),
    "stutterheim2025": ("stu-", 108),
    "mypathologyreport2026": ("mpr-", 22),
}
WORDS_IN_A_ROW = 12


def content(file: Path) -> dict[str, Any]:
    """Return a claim file as it stands."""
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf8"))
    return found


def errors(of: dict[str, Any]) -> list[str]:
    """Return what the schema finds wrong."""
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message}"
        for error in Draft202012Validator(SCHEMA).iter_errors(of)
    ]


def takes_verdict(claim: Claim) -> bool:
    return claim.kind not in claims.WITHOUT_VERDICT


def recomputable(claim: Claim) -> bool:
    """Tell whether what the papers print can judge a claim: a number or a direction to compare."""
    compared = claim.value is not None or claim.kind == "direction"
    return claim.tier == "published" and compared


def runs(text: str) -> set[tuple[str, ...]]:
    """Return every run of `WORDS_IN_A_ROW` words, in lower case without punctuation."""
    words = re.findall(r"[^\W_]+", text.lower())
    return {tuple(words[i : i + WORDS_IN_A_ROW]) for i in range(len(words) - WORDS_IN_A_ROW + 1)}


@pytest.fixture
def shared(shared_data: Path) -> Path:
    """The folder with the source documents and the first list of claims."""
    folder = shared_data.resolve().parent
    if not (folder / "claims" / "claims.yaml").is_file():
        pytest.skip("needs the source documents beside the open data sets")
    return folder


def test_the_schema_is_one_and_knows_the_fields_and_kinds_of_the_code() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    properties = SCHEMA["$defs"]["claim"]["properties"]
    assert set(properties) == {f.name for f in fields(Claim)} - {"source"}
    assert set(properties["kind"]["enum"]) == set(claims.KINDS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_holds_to_the_schema(file: Path) -> None:
    assert errors(content(file)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": "red"}, "colour"),
        ({"kind": "medain"}, "medain"),
        ({"id": "Two Words"}, "Two Words"),
        ({"locator": " "}, "locator"),
        ({"statement": "No full stop"}, "No full stop"),
        ({"printed": 4.8}, "4.8"),
        ({"n": 0}, "minimum"),
        ({"tier": "open data"}, "open data"),
        ({"analysis": None}, "analysis"),
        ({"ci_low": 1.0}, "ci_high"),
        ({"kind": "direction"}, "direction"),
        ({"kind": "survival", "value": 66}, "maximum"),
    ],
)
def test_the_schema_refuses_a_broken_claim(changes: dict[str, Any], said: str) -> None:
    good = {
        "source": "paper2026",
        "claims": [
            {
                "id": "pap-median",
                "locator": "Table 1",
                "statement": "A median.",
                "kind": "median",
                "printed": "4.8",
                "value": 4.8,
                "tier": "published",
                "analysis": "printed-numbers",
            }
        ],
    }
    assert errors(good) == []
    broken = copy.deepcopy(good)
    broken["claims"][0].update(changes)  # type: ignore[attr-defined]
    assert any(said in message for message in errors(broken))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_claims_are_sorted_by_id(file: Path) -> None:
    ids = [row["id"] for row in content(file)["claims"]]
    assert ids == sorted(ids)


def test_each_source_is_in_the_bibliography() -> None:
    text = (ROOT / "book" / "references.bib").read_text(encoding="utf8")
    known = set(re.findall(r"^@\w+\{([^,\s]+),", text, flags=re.M))
    assert {claim.source for claim in claims.read().values()} <= known


def test_each_claim_has_a_place() -> None:
    assert [claim.id for claim in claims.read().values() if not claim.locator.strip()] == []


@pytest.mark.parametrize("source", LISTED)
def test_no_source_document_has_lost_claims(source: str) -> None:
    prefix, least = LISTED[source]
    held = [c for c in claims.read().values() if c.source == source and c.id.startswith(prefix)]
    assert len(held) >= least


def test_each_listed_claim_is_here_whole_or_in_parts(shared: Path) -> None:
    listed = yaml.safe_load((shared / "claims" / "claims.yaml").read_text(encoding="utf8"))
    wanted = [row["id"] for row in listed["claims"] if row["seed"] != "external"]
    assert len(wanted) == sum(n for _, n in LISTED.values())
    known = claims.read()
    absent = [w for w in wanted if w not in known and not any(i.startswith(f"{w}-") for i in known)]
    assert absent == []


def test_values_agree_with_the_first_list(shared: Path) -> None:
    """Both were read from the same page; a difference means that one reader slipped."""
    listed = yaml.safe_load((shared / "claims" / "claims.yaml").read_text(encoding="utf8"))
    known = claims.read()
    compared = 0
    for row in listed["claims"]:
        claim = known.get(row["id"])
        if claim is None or claim.value is None or not isinstance(row.get("value"), int | float):
            continue
        compared += 1
        assert claim.value * claim.scale == pytest.approx(row["value"], rel=1e-3), claim.id
    assert compared > 200


def test_statements_are_in_our_words(shared: Path) -> None:
    seeds = sorted((shared / "seeds").glob("*.txt"))
    assert len(seeds) == len(LISTED)
    printed = set().union(*(runs(seed.read_text(encoding="utf8")) for seed in seeds))
    end = " ".join(seeds[0].read_text(encoding="utf8").split()[-20:])
    assert runs(f"He wrote: {end.upper()}") & printed
    assert [c.id for c in claims.read().values() if runs(c.statement) & printed] == []


def test_a_claim_that_print_cannot_judge_says_what_could() -> None:
    open_ends = [
        claim.id
        for claim in claims.read().values()
        if claim.analysis == "printed-numbers"
        and takes_verdict(claim)
        and not claim.needs
        and not recomputable(claim)
    ]
    assert open_ends == []


def test_a_number_without_a_rule_for_its_print_is_rare() -> None:
    """Words in place of digits never round to anything, so each such claim is here by name."""
    odd = {
        claim.id
        for claim in claims.read().values()
        if takes_verdict(claim)
        and claim.printed
        and claim.value is not None
        and not claims.PRINTED.match(claim.printed)
    }
    assert odd == {
        "stu-eoi-mrd-high-half",
        "stu-relapse-two-thirds",
        "stu-t1-west-difference",
    }


@pytest.mark.parametrize(
    ("value", "printed", "expected"),
    [(1.46e-151, "1.5e-151", True), (1.4e-151, "1.5e-151", False), (1e-20, "1.5e-151", False)],
)
def test_the_smallest_printed_p_value_still_has_digits(
    value: float, printed: str, expected: bool
) -> None:
    assert claims.rounds_to(value, printed) is expected
    slip = Claim("x", "paper", "Table 1", "A thing.", "p-value", printed=printed, value=1e-20)
    assert list(claims.problems_of(slip))

"""Several cohorts: pooled as R pools them, refused where they do not fit, nothing given away."""

from __future__ import annotations

import copy
import hashlib
import html
import itertools
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from golden_cases import read
from hypothesis import given, settings
from hypothesis import strategies as st

from ballbook import claims, combine, pooling, run
from ballbook.combine import safe_name, unique_names
from ballbook.results import Estimate
from ballbook.run import NotCombinable, NotEmpty

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = {"cohort": "(yours)", "min_count": 5, "seed": 1, "own_endpoint": "EFS"}
LABEL = "Your cohort, EFS, IKZF1 deleted v not"


def ratio(
    value: float | None = 2.0, low: float | None = 1.2, high: float | None = 3.4, **changes: Any
) -> Estimate:
    """Return an own hazard ratio as a page records it."""
    known = {"n": 100, "n_events": 40, "id": "own-hr", "label": LABEL, "tier": "yours"}
    return Estimate("hazard-ratio", value, low, high, **{**known, **changes})


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def content(
    name: str, *own: Estimate, judged: Sequence[str] = (), **changes: Any
) -> dict[str, Any]:
    """Return what a run on an own cohort leaves behind; `changes` override its parts."""
    from ballbook.results import as_json

    own = own or (ratio(),)
    given = {
        "analysis": "ikzf1-outcome", "summary": "Words.", "certainty": "Some.",
        "parameters": dict(PARAMETERS),
        "cohort": {"id": name, "tier": "yours", "n": own[0].n, "sha256": [digest(name)]},
        "estimates": [
            as_json(ratio(9.0, 8.0, 10.0, id="efs-hr", label="Papers", tier="published")),
            *map(as_json, own),
        ],
        "gates": [],
        "verdicts": [
            as_json(claims.judge(claims.read()[c], own[0])) for c in judged
        ],
        "provenance": {
            "started": "2026-01-02T03:04:05Z", "seconds": 1.5, "version": "1.0.0",
            "library_sha256": "a" * 64, "notebook_sha256": "b" * 64, "lock_sha256": "c" * 64,
            "data": {}, "seed": 1, "python": "3.11.0", "packages": {},
        },
    }  # fmt: skip
    return {**given, **changes}


def write(folder: Path, name: str, what: Any) -> Path:
    """Write `what` as JSON (text as it is) and return the file."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    text = what if isinstance(what, str) else json.dumps(what)
    file.write_text(text, encoding="utf8", errors="surrogatepass")
    return file


def two(folder: Path, *, judged: Sequence[str] = ("sri-efs-hr",)) -> list[Path]:
    """Write the results of two cohorts."""
    return [
        write(folder, "zurich.json", content("zurich", ratio(2.06, 1.27, 3.36), judged=judged)),
        write(folder, "vienna.json", content("vienna", ratio(1.79, 1.10, 2.91), judged=judged)),
    ]


def read_pool(folder: Path) -> dict[str, Any]:
    """Return the results of a pool, its estimates by id."""
    found = json.loads((folder / "results.json").read_text(encoding="utf8"))
    run.check_results(found)
    found["by_id"] = {e["id"]: e for e in found["estimates"]}
    return dict(found)


def written(folder: Path) -> str:
    """Return all text in a folder, and the names of its files."""
    files = [f for f in folder.rglob("*") if f.is_file()]
    texts = [f.read_text(encoding="utf8") for f in files if f.suffix != ".png"]
    return "\n".join([*texts, *(str(f.relative_to(folder)) for f in files)])


def refused(files: Sequence[Path], out: Path) -> str:
    """Return the message with which files are refused; nothing may be written."""
    with pytest.raises(NotCombinable) as error:
        combine.combine(files, out)
    assert not out.exists()
    assert list(out.parent.glob(".*partial")) == []
    return str(error.value)


def ballbook(*args: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return subprocess.run(
        [sys.executable, "-m", "ballbook.cli", *args],
        cwd=ROOT, capture_output=True, text=True, timeout=240, **kwargs,
    )  # fmt: skip


# ------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize("case", read("combine"))
def test_pools_as_r_does(case: dict[str, Any]) -> None:
    given, want = case["input"], case["expected"]

    def close(number: float) -> Any:
        return pytest.approx(number, rel=case["tolerance"], abs=1e-7)

    if case["estimator"] == "counts":
        rows = [
            Estimate("proportion", k / n, n=n, n_events=k, tier="yours")
            for k, n in zip(given["k"], given["n"], strict=True)
        ]
        found = pooling.pool({str(i): e for i, e in enumerate(rows)})
        assert found.pooled.value == close(want["value"])
        assert found.tau2.value == close(want["tau2"])
        assert (found.pooled.n, found.pooled.n_events) == (sum(given["n"]), sum(given["k"]))
        return
    bounds = zip(given["value"], given["ci_low"], given["ci_high"], strict=True)
    rows = [Estimate(given["kind"], *b, tier="yours") for b in bounds]
    found = pooling.pool({str(i): e for i, e in enumerate(rows)})
    shown = {
        "value": found.pooled.value, "low": found.pooled.ci_low, "high": found.pooled.ci_high,
        "q": found.q.statistic, "q_p": found.q.value, "tau2": found.tau2.value,
        "i2": found.i2.value, "p": found.pooled.p_value,
    }  # fmt: skip
    for name, short in (("normal", "normal"), ("Hartung-Knapp", "hk"), ("common effect", "common")):
        e = found.intervals[name]
        shown |= {f"{short}_low": e.ci_low, f"{short}_high": e.ci_high}
    shown["common"] = found.intervals["common effect"].value
    assert {k: shown[k] for k in want} == {k: close(v) for k, v in want.items()}
    assert ("p" in want) == (found.pooled.p_value is not None)


values = st.floats(0.05, 20)
errors = st.floats(0.05, 1.5)


def of(pairs: Sequence[tuple[float, float]], kind: str = "hazard-ratio") -> dict[str, Estimate]:
    """Return ratios from values and standard errors of their logarithm."""
    z = 1.959963984540054
    return {
        str(i): Estimate(kind, v, v * math.exp(-z * s), v * math.exp(z * s), tier="yours")
        for i, (v, s) in enumerate(pairs)
    }


studies = st.lists(st.tuples(values, errors), min_size=2, max_size=6)


@given(studies, st.randoms())
def test_the_order_of_cohorts_does_not_matter(pairs: Any, random: Any) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)
    a, b = pooling.pool(of(pairs)).pooled, pooling.pool(of(shuffled)).pooled
    for bound in ("value", "ci_low", "ci_high"):
        assert getattr(a, bound) == pytest.approx(getattr(b, bound), rel=1e-5)


@given(values, errors, st.integers(2, 7))
def test_copies_of_one_estimate_give_its_value(value: float, error: float, k: int) -> None:
    found = pooling.pool(of([(value, error)] * k))
    assert found.pooled.value == pytest.approx(value, rel=1e-9)
    assert found.tau2.value == pytest.approx(0, abs=1e-9)
    low, high = found.pooled.ci_low, found.pooled.ci_high
    assert low is not None and high is not None
    width = math.log(high / low)
    assert width == pytest.approx(2 * 1.959963984540054 * error / math.sqrt(k), rel=1e-6)


@given(studies)
def test_a_ratio_turned_round_gives_the_inverse(pairs: Any) -> None:
    a = pooling.pool(of(pairs)).pooled
    b = pooling.pool(of([(1 / v, s) for v, s in pairs])).pooled
    assert a.value == pytest.approx(1 / b.value, rel=1e-5)  # type: ignore[operator]
    assert a.ci_low == pytest.approx(1 / b.ci_high, rel=1e-4)  # type: ignore[operator]


@given(studies)
def test_the_pool_lies_among_its_cohorts_and_is_the_wider_interval(pairs: Any) -> None:
    found = pooling.pool(of(pairs))
    e = found.pooled
    assert e.value is not None and e.ci_low is not None and e.ci_high is not None
    assert min(v for v, _ in pairs) <= e.value * 1.000001
    assert e.value <= max(v for v, _ in pairs) * 1.000001
    for other in (found.intervals["normal"], found.intervals["Hartung-Knapp"]):
        assert other.ci_low is not None and e.ci_low <= other.ci_low * 1.000001
    assert sum(found.weights.values()) == pytest.approx(1)


@given(st.lists(st.tuples(st.floats(0.02, 0.98), st.floats(0.05, 0.9)), min_size=2, max_size=5))
def test_survival_and_incidence_are_mirror_images(pairs: Any) -> None:
    kept = []
    for s, spread in pairs:
        y = math.log(-math.log(s))
        ends = sorted(math.exp(-math.exp(y + d)) for d in (-spread, spread))
        kept.append((s, *ends))
    alive = pooling.pool(
        {str(i): Estimate("survival", *v, tier="yours") for i, v in enumerate(kept)}
    ).pooled
    dead = pooling.pool(
        {
            str(i): Estimate("cumulative-incidence", 1 - s, 1 - high, 1 - low, tier="yours")
            for i, (s, low, high) in enumerate(kept)
        }
    ).pooled
    for e in (alive, dead):
        assert e.ci_low is not None and e.value is not None and e.ci_high is not None
        assert 0 <= e.ci_low <= e.value <= e.ci_high <= 1
        assert e.p_value is None
    assert alive.value == pytest.approx(1 - dead.value, abs=1e-6)  # type: ignore[operator]
    assert alive.ci_low == pytest.approx(1 - dead.ci_high, abs=1e-5)  # type: ignore[operator]


finite = st.floats(allow_nan=False, allow_infinity=False)
anything = st.builds(
    Estimate,
    st.sampled_from(["hazard-ratio", "proportion", "survival", "difference", "median", "auc"]),
    st.none() | finite, st.none() | finite, st.none() | finite,
    n=st.none() | st.integers(0, 10**6), n_events=st.none() | st.integers(0, 10**6),
    tier=st.just("yours"),
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(anything, min_size=2, max_size=4))
def test_any_numbers_give_a_pool_or_a_reason(estimates: list[Estimate]) -> None:
    same = [Estimate(**{**as_dict(e), "kind": estimates[0].kind}) for e in estimates]
    found = pooling.pool({str(i): e for i, e in enumerate(same)})
    for e in (found.pooled, *found.intervals.values()):
        numbers = [v for v in (e.value, e.ci_low, e.ci_high) if v is not None]
        assert all(math.isfinite(v) for v in numbers)
        assert e.value is not None or e.reason
    assert set(found.inside) | set(found.outside) == set(map(str, range(len(same))))


def as_dict(e: Estimate) -> dict[str, Any]:
    return {f: getattr(e, f) for f in e.__dataclass_fields__}


def test_patients_are_added_up_only_where_all_give_their_number() -> None:
    both = pooling.pool({"a": ratio(n=80), "b": ratio(1.5, 1.0, 2.25, n=60)}).pooled
    assert (both.n, both.n_events) == (140, 80)
    kept = pooling.pool({"a": ratio(n=80), "b": ratio(1.5, 1.0, 2.25, n=None)}).pooled
    assert kept.n is None and kept.n_events == 80 and kept.value == both.value


def test_what_cannot_be_pooled_is_named() -> None:
    given = {
        "fine": ratio(),
        "withheld": ratio(None, None, None, reason="withheld: fewer than 5 events"),
        "bare": ratio(2.0, None, None),
        "outside": ratio(2.0, 3.0, 4.0),
        "zero": ratio(0.0, 0.0, 4.0),
    }
    found = pooling.pool(given)
    assert found.pooled.value is None and found.pooled.reason == "fewer than two cohorts give it"
    assert found.outside == {
        "withheld": "withheld: fewer than 5 events", "bare": "no interval",
        "outside": "its value lies outside its interval",
        "zero": "0 lies at the end of the scale",
    }  # fmt: skip
    half = pooling.pool({"a": ratio(), "b": ratio(2.0, 1.0, None)})
    assert half.one_sided == ("b",) and "open on one side" in str(half.pooled.reason)
    assert "a P value" in str(pooling.effect(Estimate("p-value", 0.03)))


@pytest.mark.parametrize(
    "changes", [{"kind": "odds-ratio"}, {"unit": "years"}, {"tier": "simulated"}]
)
def test_different_things_are_never_pooled(changes: dict[str, Any]) -> None:
    other = Estimate(**{**as_dict(ratio()), **changes})
    with pytest.raises(ValueError, match="expected one"):
        pooling.pool({"a": ratio(), "b": other})


# ------------------------------------------------------------------------------ the folder


def test_two_results_are_pooled_and_judged(tmp_path: Path) -> None:
    out = combine.combine(two(tmp_path), tmp_path / "pool")
    found = read_pool(out)
    pooled = found["by_id"]["pooled-own-hr"]
    cases = [case.values[0] for case in read("combine")]
    want = next(c["expected"] for c in cases if c["data"] == "two ratios")
    assert pooled["value"] == pytest.approx(want["value"], rel=1e-6)
    assert pooled["ci_low"] == pytest.approx(want["low"], rel=1e-6)
    assert (pooled["n"], pooled["n_events"], pooled["tier"]) == (200, 80, "yours")
    assert found["cohort"]["n"] == 200
    assert found["cohort"]["sha256"] == sorted(map(digest, ("zurich", "vienna")))
    (verdict,) = found["verdicts"]
    judged = claims.judge(claims.read()["sri-efs-hr"], Estimate(**pooled), note="Two cohorts.")
    assert (verdict["claim"], verdict["verdict"]) == ("sri-efs-hr", judged.verdict)
    assert verdict["verdict"] == "underpowered" and "(0.79 to 4.69)" in verdict["recomputed"]
    # What other groups published is theirs to pool, and stands in each results file already.
    assert not [id for id in found["by_id"] if "efs-hr" in id]
    assert {
        "report.html", "results.json", "provenance.json", "figures/forest-hazard-ratio.svg",
        "figures/forest-hazard-ratio.png", "figures/forest-hazard-ratio.csv", "tables/cohorts.csv",
        "tables/pooled.csv", "tables/heterogeneity.csv",
    } == {f.relative_to(out).as_posix() for f in out.rglob("*") if f.is_file()}  # fmt: skip
    page = (out / "report.html").read_text(encoding="utf8")
    assert "vienna" in page and "Srinivasan" in page and 'class="bb-answer"' in page
    assert not re.search(r'\bsrc=|@import|url\(http|href="http', page)
    assert found["summary"].startswith("EFS, IKZF1 deleted v not, two cohorts pooled: hazard")
    assert len(found["summary"].split()) <= 45 and len(found["certainty"].split()) <= 30
    assert str(tmp_path) not in written(out)


def without_clock(out: Path) -> dict[str, Any]:
    found = read_pool(out)
    for key in ("started", "seconds"):
        del found["provenance"][key]
    return found


def test_the_order_of_files_does_not_matter(tmp_path: Path) -> None:
    files = [
        write(tmp_path, f"{i}/results.json", content(name, ratio(v, v / 2, v * 2, n=n)))
        for i, (name, v, n) in enumerate([("b", 1.5, 40), ("a", 2.5, 60), ("b", 3.5, 80)])
    ]
    # Two cohorts of one name, told apart by their files.
    files[2] = write(
        tmp_path, "2/results.json",
        content("b", ratio(3.5, 1.75, 7, n=80),
                cohort={"id": "b", "tier": "yours", "n": 80, "sha256": [digest("other")]}),
    )  # fmt: skip
    seen = [
        without_clock(combine.combine(order, tmp_path / f"out{i}"))
        for i, order in enumerate(itertools.permutations(files))
    ]
    assert all(one == seen[0] for one in seen)
    assert list(seen[0]["provenance"]["data"]) == ["a", "b", "b-2"]


def test_names_come_from_files_and_are_safe(tmp_path: Path) -> None:
    assert safe_name("../../etc/Pässwd & Söhne") == "etc-passwd-sohne"
    assert safe_name("..") == safe_name("日本") == "cohort"
    assert len(safe_name("a" * 300)) == 40
    assert unique_names(["a", "a", "a-2", "b", "a"]) == ["a", "a-2", "a-2-2", "b", "a-3"]
    first = write(tmp_path, "<b>Kids & =1+1.json", content("x"))
    second = write(tmp_path, "secret-group/results.json", content("y", ratio(1.5, 1, 2.25)))
    found = read_pool(combine.combine([first, second], tmp_path / "pool"))
    assert list(found["provenance"]["data"]) == ["b-kids-1-1", "y"]
    assert "secret-group" not in written(tmp_path / "pool")
    found = read_pool(combine.combine([first, second.parent], tmp_path / "pool"))
    assert list(found["provenance"]["data"]) == ["b-kids-1-1", "secret-group"]


def test_withheld_estimates_are_listed_and_never_pooled(tmp_path: Path) -> None:
    hidden = ratio(None, None, None, n=None, n_events=None, reason="withheld: fewer than 5 events")
    files = [
        *two(tmp_path),
        write(tmp_path, "basel.json", content("basel", hidden)),
        write(tmp_path, "graz.json", content("graz", ratio(4.0, 2.0, 8.0, n=None, n_events=None))),
    ]
    found = read_pool(combine.combine(files, tmp_path / "pool"))
    pooled = found["by_id"]["pooled-own-hr"]
    assert pooled["label"].endswith("three cohorts")
    assert pooled["n"] is None and pooled["n_events"] is None and found["cohort"]["n"] is None
    left = pd.read_csv(tmp_path / "pool/tables/not-pooled.csv")
    assert left["cohort"].tolist() == ["basel"]
    assert left["why"].tolist() == ["withheld: fewer than 5 events"]
    cohorts = pd.read_csv(tmp_path / "pool/tables/cohorts.csv").set_index("cohort")["n"]
    assert cohorts.to_dict() == {
        "basel": "withheld", "graz": "withheld", "vienna": "100", "zurich": "100",
    }  # fmt: skip
    # Adding the cohort that withholds its number changes no sum that is shown.
    assert "basel" not in pd.read_csv(tmp_path / "pool/figures/forest-hazard-ratio.csv")["label"]
    assert not re.search(r"; n = \d", written(tmp_path / "pool"))
    assert "without" in pd.read_csv(tmp_path / "pool/tables/leave-one-out.csv")


def test_nothing_to_pool_is_an_answer_too(tmp_path: Path) -> None:
    hidden = ratio(None, None, None, n=None, reason="withheld: fewer than 5 patients")
    files = [
        write(tmp_path, "a.json", content("a", judged=["sri-efs-hr"])),
        write(tmp_path, "b.json", content("b", hidden)),
    ]
    found = read_pool(combine.combine(files, tmp_path / "pool"))
    assert "no estimate that can be pooled" in found["summary"]
    assert [v["verdict"] for v in found["verdicts"]] == ["not-testable"]
    assert found["by_id"]["pooled-own-hr"]["reason"] == "fewer than two cohorts give it"
    assert list((tmp_path / "pool/figures").iterdir()) == []


def test_every_own_estimate_is_pooled_or_listed(tmp_path: Path) -> None:
    def own(i: int) -> list[Estimate]:
        return [
            ratio(1.5 + i, 1.0 + i, 2.5 + i),
            Estimate("p-value", 0.04, p_value=0.04, id="own-p", label="P", tier="yours"),
            Estimate("median", 20.0 + i, 12.0, None, unit="months", id="own-median",
                     label="Your cohort, survival", tier="yours"),
            Estimate("proportion", 0.2, n=50, n_events=10, id="own-share", label="Share",
                     tier="yours"),
            Estimate("count", 50.0, id="own-n", label="Scored", tier="yours"),
            Estimate(["slope", "mean"][i], 1.0, 0.5, 1.5, id="own-odd", label="Odd", tier="yours"),
            *([Estimate("difference", 1.0, 0.5, 1.5, id="own-one", label="One", tier="yours")]
              if i else []),
        ]  # fmt: skip

    files = [write(tmp_path, f"{n}.json", content(n, *own(i))) for i, n in enumerate("ab")]
    found = read_pool(combine.combine(files, tmp_path / "pool"))
    pooled = {id for id in found["by_id"] if id.startswith("pooled-")}
    assert pooled == {"pooled-own-hr", "pooled-own-median", "pooled-own-share"}
    assert found["by_id"]["pooled-own-share"]["n_events"] == 20
    left = pd.read_csv(tmp_path / "pool/tables/not-pooled.csv")
    assert sorted(left["quantity"].unique()) == ["Odd", "One", "P", "Scored"]
    assert "kinds differ: mean, slope" in left["why"].tolist()
    assert {f.name for f in (tmp_path / "pool/figures").glob("*.svg")} == {
        "forest-hazard-ratio.svg", "forest-median-months.svg", "forest-proportion.svg",
    }  # fmt: skip


NASTY = (
    '<img src=x onerror="alert(1)">', "=HYPERLINK(1)", "$\\frac{1$", "a\u202eb\x00\x1b[31m",
    "x" * 5000, "\ud800", "]]>&lt;", "$x$ costs $5", "\\",
)  # fmt: skip


@pytest.mark.parametrize("text", NASTY)
def test_text_of_a_file_is_only_text(tmp_path: Path, text: str) -> None:
    own = ratio(label=text, unit=text, method=text)
    hidden = Estimate("difference", None, reason=text, id="own-d", label=text, tier="yours")
    gate = {"name": text, "status": "failed", "statistic": None, "threshold": None, "action": text}
    files = []
    for name in "ab":
        what = content(name, own, hidden, summary=text, certainty=text, gates=[gate])
        what["gates"] = what["gates"] if name == "a" else []
        what["provenance"] |= {"started": text, "version": text, "python": text}
        what["cohort"]["id"] = text
        what["verdicts"] = [
            {"claim": text, "verdict": "consistent", "published": text, "recomputed": text,
             "tier": "yours", "reason": text}
        ]  # fmt: skip
        files.append(write(tmp_path, f"{name}/results.json", what))
    out = combine.combine(files, tmp_path / "pool")
    said = written(out)
    shown = [*out.rglob("*.html"), *out.rglob("*.svg")]
    assert not any("<img" in f.read_text(encoding="utf8") for f in shown)
    assert "\x1b" not in said and "\u202e" not in said and "\x00" not in said
    assert "x" * 201 not in said
    for table in out.rglob("*.csv"):
        for row in table.read_text(encoding="utf8").splitlines():
            assert not any(cell.startswith(("=", "+", "@")) for cell in row.split(","))
    assert read_pool(out)["verdicts"] == []


def test_minimum_counts_may_differ_and_none_is_warned_of(tmp_path: Path) -> None:
    what = content("graz")
    what["parameters"]["min_count"] = 0
    what["parameters"]["seed"] = 9
    out = combine.combine([*two(tmp_path), write(tmp_path, "c.json", what)], tmp_path / "pool")
    assert "Small counts are shown" in (out / "report.html").read_text(encoding="utf8")
    assert read_pool(out)["parameters"]["min_count"] == 0


def test_another_version_and_equal_numbers_are_told(tmp_path: Path) -> None:
    other = content("b")
    other["provenance"]["notebook_sha256"] = "d" * 64
    other["cohort"]["sha256"] += [digest("map")]
    first = content("a")
    first["cohort"]["sha256"] += [digest("map")]
    files = [write(tmp_path, "a.json", first), write(tmp_path, "b.json", other)]
    out = combine.combine(files, tmp_path / "pool")
    page = html.unescape((out / "report.html").read_text(encoding="utf8"))
    assert f"different versions of the notebook: {'b' * 12} (a) and {'d' * 12} (b)" in page
    assert "the same estimates to the last digit" in page
    assert "share a file" in page


def test_dummies_are_pooled_as_dummies(tmp_path: Path) -> None:
    files = []
    for name, v in (("a", 1.5), ("b", 2.5)):
        what = content(name, ratio(v, v / 2, v * 2, tier="simulated"), judged=["sri-efs-hr"])
        what["cohort"]["tier"] = "simulated"
        files.append(write(tmp_path, f"{name}.json", what))
    found = read_pool(combine.combine(files, tmp_path / "pool"))
    assert found["by_id"]["pooled-own-hr"]["tier"] == "simulated"
    assert [v["verdict"] for v in found["verdicts"]] == ["method-check"]
    real = write(tmp_path, "real.json", content("real"))
    assert "invented patients" in refused([files[0], real], tmp_path / "mixed")


# ------------------------------------------------------------------------------ refusals


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    what = copy.deepcopy(content("other", ratio(1.5, 1.0, 2.25)))
    change(what)
    return what


def deep() -> str:
    return json.dumps(content("x"))[:-1] + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}"


def with_text(old: str, new: str) -> str:
    text = json.dumps(content("other"))
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("not JSON at all", "not JSON"),
        ("", "not JSON"),
        ("[]", "not a results.json"),
        ("null", "not a results.json"),
        (json.dumps({"analysis": "x"}), "'summary' is a required property"),
        (deep(), "nested too deeply"),
        ('{"a":' * 900 + "1" + "}" * 900, "not a results.json"),
        (" " * 5_000_001, "too large"),
        (with_text('"value": 2.0', '"value": NaN'), "NaN is no number of JSON"),
        (with_text('"value": 2.0', '"value": -Infinity'), "no number of JSON"),
        (with_text('"value": 2.0', '"value": 1e999'), "out of range"),
        (with_text('"value": 2.0', '"value": ' + "9" * 6000), "out of range"),
        (with_text('"value": 2.0', '"value": "2"'), "not of type"),
        (with_text('"n": 100', '"n": -3'), "no number of patients"),
        (with_text('"n": 100', '"n": 1e30'), "no number of patients"),
        (with_text('"ci_level": 0.95', '"ci_level": 95'), "level 95"),
        (with_text('"ci_low": 8.0', '"ci_low": 80.0'), "out of order"),
        (with_text('"id": "own-hr"', '"id": "efs-hr"'), "stands 2 times"),
        (with_text('"id": "own-hr"', '"id": "../hr"'), "does not match"),
        (with_text('"id": "own-hr"', '"id": "own-hr\\n"'), "lower-case words"),
        (with_text('"ikzf1-outcome"', '"../../etc"'), "expected the name of an analysis"),
        (with_text('"ikzf1-outcome"', '"no-such-page"'), "no analysis 'no-such-page'"),
        (with_text('"ikzf1-outcome"', '"maturity-age"'), "is of maturity-age"),
        (changed(lambda c: c["parameters"].update(own_endpoint="OS")),
         "parameter own_endpoint is 'OS', in "),
        (changed(lambda c: c["parameters"].pop("own_endpoint")), "own_endpoint is not given"),
        (changed(lambda c: c["parameters"].update(by_band=True)), "by_band is True, in "),
        (changed(lambda c: c["parameters"].update(own_endpoint=[[1]])), "expected a number"),
        (changed(lambda c: c["parameters"].update(own_endpoint="E\x1bFS")), "do not print"),
        (changed(lambda c: c["parameters"].update({"a b": 1})), "no name of a parameter"),
        (changed(lambda c: c["parameters"].update(cohort="")), "without an own cohort"),
        (changed(lambda c: c["cohort"].update(tier="open")), "without an own cohort"),
        (changed(lambda c: c["cohort"].update(sha256=None)), "no checksum"),
        (changed(lambda c: c["cohort"].update(sha256=[digest("zurich")])), "the same cohort"),
        (changed(lambda c: c["cohort"].update(sha256=[digest("map"), digest("zurich")])),
         "the same cohort"),
        (changed(lambda c: c["provenance"].update(combined=[])), "a combination already"),
        (changed(lambda c: c["provenance"].update(lock_sha256="x")), "lock_sha256"),
        (changed(lambda c: c["estimates"].extend(c["estimates"] * 1500)), "estimates; a run has"),
        (changed(lambda c: c["estimates"].extend(c["estimates"] * 250)), "more than 200 estimates"),
    ],
)  # fmt: skip
def test_absurd_or_foreign_results_are_refused(tmp_path: Path, what: Any, said: str) -> None:
    other = write(tmp_path, "other.json", what)
    message = refused([*two(tmp_path), other], tmp_path / "pool")
    assert (said in message and "other.json" in message) or "no-such-page" in message
    assert all(len(line) < 500 for line in message.split("\n"))


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    files = [
        tmp_path / "absent.json",
        write(tmp_path, "words.json", "words"),
        write(tmp_path, "book.json", changed(lambda c: c["cohort"].update(tier="published"))),
        *two(tmp_path),
        write(tmp_path, "os.json", changed(lambda c: c["parameters"].update(own_endpoint="OS"))),
    ]
    os.mkfifo(tmp_path / "pipe.json")
    message = refused([*files, tmp_path / "pipe.json", tmp_path], tmp_path / "pool")
    for said in (
        "6 problems", "absent.json: no such file", "words.json: not JSON",
        "book.json: is the result", "os.json: parameter own_endpoint is 'OS'",
        "pipe.json: not a file", ": no such file",
    ):  # fmt: skip
        assert said in message
    assert "one file is given" in refused(files[3:4], tmp_path / "pool")
    assert "no file is given" in refused([], tmp_path / "pool")
    assert "the same cohort" in refused([files[3], files[3]], tmp_path / "pool")


def test_equal_numbers_are_equal_parameters(tmp_path: Path) -> None:
    pair = []
    for name, horizon in (("a", 5), ("b", 5.0)):
        what = content(name, ratio(1.5 if name == "a" else 2.0, 1.0, 2.25))
        what["parameters"]["horizon_years"] = horizon
        pair.append(write(tmp_path, f"{name}.json", what))
    assert read_pool(combine.combine(pair, tmp_path / "pool"))["parameters"]["horizon_years"] == 5
    flag = content("c")
    flag["parameters"]["horizon_years"] = True
    one = content("d")
    one["parameters"]["horizon_years"] = 1
    files = [write(tmp_path, "c.json", flag), write(tmp_path, "d.json", one)]
    assert "horizon_years is 1" in refused(files, tmp_path / "other")


@settings(max_examples=60)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=8,
    ),
    st.sampled_from(sorted(content("x"))),
    st.sampled_from(["estimates", "cohort", "parameters", "provenance", "verdicts", "gates", None]),
)
def test_any_json_is_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, what: Any, key: str, inside: str | None
) -> None:
    folder = tmp_path_factory.mktemp("any")
    given = content("x")
    if inside in {"estimates", "verdicts", "gates"}:
        given[inside] = [what]
    elif inside:
        given[inside][next(iter(given[inside]))] = what
    else:
        given[key] = what
    try:
        loaded = combine.load([*two(folder), write(folder, "any.json", json.dumps(given))])
    except NotCombinable as error:
        assert error.problems and "any.json" in str(error)
    else:
        assert len(loaded) == 3


def test_an_earlier_pool_is_replaced_and_other_folders_are_left_alone(tmp_path: Path) -> None:
    files = two(tmp_path / "in")
    out = combine.combine(files, tmp_path / "pool")
    (out / "figures" / "old.txt").write_text("old", encoding="utf8")
    assert not (combine.combine(files, out) / "figures" / "old.txt").exists()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("mine", encoding="utf8")
    with pytest.raises(NotEmpty):
        combine.combine(files, tmp_path / "thesis")
    with pytest.raises(NotEmpty, match="is a file"):
        combine.combine(files, tmp_path / "thesis" / "thesis.txt")
    inside = write(out, "zurich/results.json", content("inside"))
    with pytest.raises(NotCombinable, match="lies in the output folder"):
        combine.combine([inside, files[0]], out)
    assert inside.is_file()


def test_the_command_line_pools_and_refuses(tmp_path: Path) -> None:
    files = list(map(str, two(tmp_path)))
    done = ballbook("combine", *files, "--out", str(tmp_path / "pool"), "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["accepted"] and answer["estimates"][0]["id"] == "pooled-own-hr"
    done = ballbook("combine", files[0], "--out", str(tmp_path / "one"), "--json")
    assert done.returncode == 2 and not json.loads(done.stdout)["accepted"]
    done = ballbook("combine", files[0], str(tmp_path / "no"), "--out", str(tmp_path / "one"))
    assert done.returncode == 2 and "no such file" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "one").exists()


# ------------------------------------------------------------------------------ runs


def patients(name: str, seed: int, harm: float, n: int = 90) -> pd.DataFrame:
    """Return a cohort in which the first third carries the deletion."""
    rng = np.random.default_rng(seed)
    deleted = np.arange(n) < n // 3
    time = rng.exponential(np.where(deleted, 100 / harm, 100.0))
    return pd.DataFrame(
        {"patient_id": [f"SECRET-{name}-{i}" for i in range(n)],
         "ikzf1": np.where(deleted, "del", "wt"),
         "efs_months": np.minimum(time, 60.0).round(2), "efs_event": (time < 60).astype(int)}
    )  # fmt: skip


def test_cohorts_are_checked_before_anything_runs(tmp_path: Path) -> None:
    table = patients("a", 1, 2.0)
    good, bad, again = (tmp_path / f"{n}.csv" for n in ("good", "bad", "again"))
    table.to_csv(good, index=False)
    table.to_csv(again, index=False)
    table.assign(efs_months="soon").drop(columns="ikzf1").to_csv(bad, index=False)

    def run_on(*args: str) -> str:
        done = ballbook("run", "ikzf1-outcome", *args, "--out", str(tmp_path / "out"))
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()
        return done.stderr

    assert "bad.csv, row 2, column efs_months" in run_on(
        "--cohort", str(good), "--cohort", str(bad)
    )
    assert "the same cohort" in run_on("--cohort", str(good), "--cohort", str(again))
    three = ["--cohort", str(good), "--cohort", str(bad), "--cohort", str(again)]
    assert "2 maps for 3 cohorts" in run_on(*three, "--map", "x.yml", "--map", "y.yml")
    assert "2 maps for one cohort" in run_on(*three[:2], "--map", "x.yml", "--map", "y.yml")


@pytest.mark.slow
def test_two_cohorts_run_and_pooled(shared_data: Path, tmp_path: Path) -> None:
    """Maps differ: the second cohort names its columns otherwise."""
    folder = tmp_path / "hidden place"
    folder.mkdir()
    first, second = folder / "Zürich 1.csv", folder / "zurich 1.csv"
    patients("a", 1, 2.6).to_csv(first, index=False)
    patients("b", 2, 2.0).rename(columns={"ikzf1": "the_gene"}).to_csv(second, index=False)
    plain, other = folder / "plain.yml", folder / "other.yml"
    plain.write_text("missing: ['n/a']\n", encoding="utf8")
    other.write_text("columns:\n  the_gene: ikzf1\n", encoding="utf8")
    out = tmp_path / "out"
    done = ballbook(
        "run", "ikzf1-outcome", "--cohort", str(first), "--cohort", str(second),
        "--map", str(plain), "--map", str(other), "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert {p.name for p in out.iterdir()} == {
        "report.html", "results.json", "provenance.json", "figures", "tables", "zurich-1",
        "zurich-1-2",
    }  # fmt: skip
    assert list(tmp_path.glob(".*partial")) == []
    found = read_pool(out)
    each = [read_pool(out / name)["by_id"]["own-hr"] for name in ("zurich-1", "zurich-1-2")]
    pooled = found["by_id"]["pooled-own-hr"]
    error = [math.log(e["ci_high"] / e["ci_low"]) / 2 / 1.959963984540054 for e in each]
    tau2 = found["by_id"]["tau2-own-hr"]["value"]
    weight = 1 / (np.array(error) ** 2 + tau2)
    mean = float((weight * np.log([e["value"] for e in each])).sum() / weight.sum())
    assert math.log(pooled["value"]) == pytest.approx(mean, rel=1e-9)
    assert pooled["n"] == sum(e["n"] for e in each) == 180
    assert {v["claim"] for v in found["verdicts"]} == {"sri-efs-hr", "jia-efs-hr"}
    said = written(out)
    assert "SECRET-" not in said and "hidden place" not in said and str(tmp_path) not in said
    # The same numbers where two groups share their results alone.
    shared = [write(tmp_path, f"{n}.json", (out / n / "results.json").read_text(encoding="utf8"))
              for n in ("zurich-1", "zurich-1-2")]  # fmt: skip
    again = read_pool(combine.combine(shared, tmp_path / "shared"))
    assert again["estimates"] == found["estimates"] and again["verdicts"] == found["verdicts"]

"""Copy-number losses: calls, shares, pairs against R and by enumeration, and the page."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ballbook import claims, cna, datasets, dummy
from ballbook.parameters import InvalidParameters
from ballbook.run import run

SLUG = "cna-landscape"


@pytest.fixture
def r(golden: Any) -> Any:
    return golden("ikzf1plus")


# ------------------------------------------------------------------------------ calls and shares


@pytest.mark.parametrize(
    ("word", "status", "zygosity"),
    [
        ("WT", "wt", None),
        (" wt ", "wt", None),
        ("del ex1-10", "del", None),
        ("hdel ex2", "del", "hom"),
        ("gain", "wt", None),
        ("", None, None),
        (float("nan"), None, None),
        ("n.d.", None, None),
    ],
)
def test_a_word_is_one_call(word: Any, status: str | None, zygosity: str | None) -> None:
    found = [None if isinstance(v, float) else v for v in cna.mlpa_call(word)]
    assert found == [status, zygosity]


def test_readings_of_doubtful_words_can_be_chosen() -> None:
    assert isinstance(cna.mlpa_call("gain", gain_is_kept=False)[0], float)
    assert isinstance(cna.mlpa_call("hdel ex2", hdel="unknown")[1], float)
    assert cna.mlpa_call("hdel ex2", hdel="unknown")[0] == "del"


def test_neighbours_are_kept_only_if_both_are() -> None:
    table = pd.DataFrame({"a": ["del", "wt", "wt", None], "b": ["wt", "wt", None, "del"]})
    assert cna.either(table, "a", "b", "ab")["ab"].fillna("?").tolist() == ["del", "wt", "?", "del"]


def test_untested_patients_are_in_no_denominator() -> None:
    calls = pd.DataFrame({"x": ["del", "wt", None, "wt"], "group": ["a", "a", "b", "b"]})
    found = cna.frequencies(calls, ["x", "y"])
    assert found[["k", "n", "untested"]].to_numpy().tolist() == [[1, 3, 1], [0, 0, 4]]
    assert found["value"].isna().tolist() == [False, True]
    exact = stats.binomtest(1, 3).proportion_ci(method="exact")
    assert [found["ci_low"][0], found["ci_high"][0]] == pytest.approx([exact.low, exact.high])
    by = cna.frequencies(calls, ["x"], calls["group"])
    assert by[["group", "k", "n"]].to_numpy().tolist() == [["a", 1, 2], ["b", 0, 1]]


def test_counts_print_as_their_percentages() -> None:
    counts = datasets.published("cna_counts").dropna(subset=["k"])
    printed = counts.dropna(subset=["printed_pct"])
    assert len(printed) >= 12
    for row in printed.itertuples():
        text = f"{row.printed_pct:g}"
        decimals = len(text.partition(".")[2])
        share = 100 * row.k / row.n
        # A count that was worked out must round to what is printed; one printed beside its
        # percentage may have been cut instead.
        worked_out = "print" in row.k_basis and row.k_basis != "printed"
        reach = (0.5 if worked_out else 1.0) * 10**-decimals
        assert abs(share - row.printed_pct) <= reach + 1e-9, row.id
    left_out = datasets.published("cna_counts").query("role != 'in'")
    assert left_out["why"].notna().all()


def test_no_cohort_counts_twice_in_a_pool() -> None:
    counts = datasets.published("cna_counts").query("gene == 'ikzf1' and role == 'in'")
    assert not counts.duplicated(["study", "ph"]).any()


def test_pooled_shares_are_those_of_glmer(r: Any) -> None:
    counts = datasets.published("cna_counts").query("gene == 'ikzf1' and role == 'in'")
    for key, ph in (("ph", "positive"), ("any", "any")):
        table, expected = counts[counts["ph"] == ph], r["shares"][key]
        fit = cna.pooled_share(table["k"], table["n"], list(table["label"]))
        assert (len(table), table["k"].sum(), table["n"].sum()) == (
            expected["k"], expected["events"], expected["total"],
        )  # fmt: skip
        assert fit.model.pooled.value == pytest.approx(expected["value"], rel=1e-4)
        assert fit.model.tau2.value == pytest.approx(expected["tau2"], rel=5e-3)
        judged, logit = fit.for_verdict, fit.by_logit
        wide = judged.ci_high - judged.ci_low  # type: ignore[operator]
        assert wide >= fit.model.pooled.ci_high - fit.model.pooled.ci_low - 1e-12  # type: ignore[operator]
        assert logit.value is not None and logit.n_events == expected["events"]


def test_a_cohort_without_losses_can_be_pooled() -> None:
    fit = cna.pooled_share([0, 5, 9], [20, 40, 60], ["a", "b", "c"])
    assert fit.by_logit.value is not None and 0 < fit.by_logit.value < 0.3


# ------------------------------------------------------------------------------ pairs


def test_pairs_are_those_of_r(r: Any) -> None:
    for name, expected in r["exact"].items():
        found = cna.stratified_exact(expected["tables"])
        assert found.p_value == pytest.approx(expected["p"], rel=1e-6), name
        for mine, theirs in (
            (found.value, expected.get("value")),
            (found.ci_low, expected.get("low")),
            (found.ci_high, expected.get("high")),
        ):
            # R finds bounds to about four figures.
            assert (mine is None) == (theirs is None), name
            assert mine is None or mine == pytest.approx(theirs, rel=2e-3, abs=1e-9), name


def outcomes(tables: list[list[int]]) -> Counter[int]:
    """Count all ways to give the losses to patients, by how many have both, by enumeration."""
    total: Counter[int] = Counter({0: 1})
    for both, first, second, neither in tables:
        n, a, b = both + first + second + neither, both + first, both + second
        ways: Counter[int] = Counter()
        for who in itertools.combinations(range(n), b):
            ways[sum(i < a for i in who)] += 1
        total = Counter(
            {
                s: sum(total[s - k] * ways[k] for k in ways if s - k in total)
                for s in {i + j for i in total for j in ways}
            }
        )
    return total


@pytest.mark.parametrize(
    "tables",
    [
        [[2, 1, 2, 4]],
        [[2, 1, 1, 4], [1, 2, 1, 3]],
        [[0, 3, 2, 3], [0, 2, 2, 3]],
        [[3, 0, 1, 4], [0, 1, 1, 5]],
    ],
)
def test_p_values_and_odds_ratio_by_enumeration(tables: list[list[int]]) -> None:
    ways, seen = outcomes(tables), sum(t[0] for t in tables)
    of = sum(ways.values())
    p = sum(w for w in ways.values() if w <= ways[seen] * (1 + 1e-7)) / of
    found = cna.stratified_exact(tables)
    assert found.p_value == pytest.approx(p, rel=1e-9)
    least = min(sum(w for w in ways.values() if w <= ways[s] * (1 + 1e-7)) / of for s in ways)
    assert found.statistic == pytest.approx(least, rel=1e-9)
    if found.value:
        psi = found.value
        weight = {s: w * psi**s for s, w in ways.items()}
        mean = sum(s * w for s, w in weight.items()) / sum(weight.values())
        assert mean == pytest.approx(seen, rel=1e-6)


def test_margins_that_allow_one_table_say_nothing() -> None:
    assert cna.stratified_exact([[0, 0, 3, 4]]).value is None
    with pytest.raises(ValueError, match="counts below zero"):
        cna.stratified_exact([[1, -1, 2, 3]])


def test_losses_commoner_in_one_cohort_are_no_pair() -> None:
    """Two losses independent within each cohort look tied when cohorts are thrown together."""
    high = pd.DataFrame({"a": ["del"] * 32 + ["wt"] * 8, "b": (["del"] * 4 + ["wt"]) * 8})
    low = pd.DataFrame({"a": ["del"] * 8 + ["wt"] * 32, "b": (["del"] + ["wt"] * 4) * 8})
    both = pd.concat([high, low], ignore_index=True)
    cohort = pd.Series(["high"] * 40 + ["low"] * 40)
    together = cna.pairs(both, ["a", "b"], pd.Series("all", both.index)).iloc[0]
    apart = cna.pairs(both, ["a", "b"], cohort).iloc[0]
    assert together["p_value"] < 0.01 < 0.5 < apart["p_value"]


def test_corrections_count_only_pairs_that_could_have_been_found() -> None:
    rng = np.random.default_rng(2)
    calls = pd.DataFrame({g: rng.choice(["del", "wt"], 40, p=[0.3, 0.7]) for g in "abc"})
    calls["never"] = "wt"
    found = cna.pairs(calls, [*"abc", "never"], pd.Series("all", calls.index))
    tested = found[found["p_value"].notna()]
    assert len(found) == 6 and len(tested) == 3
    p = tested["p_value"].to_numpy()
    assert p.tolist() == sorted(p)
    holm = np.maximum.accumulate(np.minimum(1, p * [3, 2, 1]))
    assert tested["p_holm"].to_numpy() == pytest.approx(holm)
    for row in tested.itertuples():
        cells = pd.crosstab(calls[row.first], calls[row.second]).loc[["del", "wt"], ["del", "wt"]]
        assert row.p_value == pytest.approx(stats.fisher_exact(cells).pvalue, rel=1e-6)


def test_an_oncoprint_puts_losses_first() -> None:
    calls = pd.DataFrame({"a": ["wt", "del", None, "del"], "b": ["del", "wt", "del", "del"]})
    assert cna.waterfall(calls, ["a", "b"]) == [3, 1, 0, 2]


# ------------------------------------------------------------------------------ the page


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    results = json.loads((folder / "results.json").read_text(encoding="utf8"))
    verdicts = {v["claim"]: v["verdict"] for v in results["verdicts"]}
    return results, {e["id"]: e for e in results["estimates"]}, verdicts


@pytest.fixture(scope="module")
def page(run_of: Callable[[str], Path]) -> Path:
    if not os.environ.get("BALLBOOK_DATA"):
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    return run_of(SLUG)


@pytest.mark.slow
def test_the_page_counts_the_files_again(page: Path, shared_data: Path) -> None:
    results, ours, _ = read(page)
    gse = datasets.load("gse133499").patients
    b_all = gse[gse["lineage"] != "T"]
    words = b_all["ikzf1_published"].dropna().str.lower()
    assert (ours["gse-ikzf1"]["n_events"], ours["gse-ikzf1"]["n"]) == (
        int(words.str.contains("del").sum()), len(words),
    )  # fmt: skip
    dfci = datasets.load("dfci-gse181157").patients
    tested = dfci[(dfci["lineage"] == "B") & dfci["ikzf1"].isin(["del", "wt"])]
    assert ours["dfci-ikzf1"]["value"] == pytest.approx((tested["ikzf1"] == "del").mean())
    patterns = datasets.published("ikzf1_ccri_patterns")
    lost = int(patterns.loc[patterns["ikzf1"] == "del", "n"].sum())
    assert (ours["ccri-ikzf1"]["n_events"], ours["ccri-ikzf1"]["n"]) == (lost, patterns["n"].sum())
    pairs = pd.read_csv(page / "tables" / "pairs.csv")
    assert len(pairs) == math.comb(8, 2)
    holm = pairs["p_holm"].min()
    assert (holm < 0.05) == ("None of 28 pairs" not in results["summary"])


@pytest.mark.slow
def test_the_page_stands_where_r_does(page: Path, r: Any) -> None:
    results, ours, verdicts = read(page)
    for id, key in (("ikzf1-ph-glmm", "ph"), ("ikzf1-any-glmm", "any")):
        assert ours[id]["value"] == pytest.approx(r["shares"][key]["value"], rel=1e-4)
    e = ours["ikzf1-ph"]
    assert verdicts["iac-ikzf1-loss-ph"] == (
        "underpowered" if e["ci_low"] < 0.8 < e["ci_high"] else
        "consistent" if e["ci_low"] > 0.8 else "differs"
    )  # fmt: skip
    wanted = [c.id for c in claims.of_analysis(SLUG) if c.kind not in claims.WITHOUT_VERDICT]
    assert sorted(verdicts) == sorted(wanted)
    assert len(results["summary"].split()) <= 45 and len(results["certainty"].split()) <= 30


@pytest.mark.slow
def test_specifications_hold_the_page_once(page: Path) -> None:
    _, ours, _ = read(page)
    table = pd.read_csv(page / "figures" / "specification-ph.csv")
    chosen = table[table["chosen"]]
    assert len(table) >= 20 and len(chosen) == 1
    assert chosen["value"].iloc[0] == pytest.approx(ours["ikzf1-ph"]["value"], rel=1e-9)


@pytest.mark.slow
def test_a_dummy_cohort_is_counted(page: Path, tmp_path: Path) -> None:
    dummy.write(SLUG, tmp_path / "d", n=300, seed=4)
    out = run(SLUG, parameters={"cohort": str(tmp_path / "d")}, out=tmp_path / "out")
    _, ours, _ = read(out)
    table = pd.read_csv(tmp_path / "d" / "patients.csv", dtype=str, keep_default_na=False)
    lost = (table["ikzf1"] == "del").mean()
    assert ours["own-ikzf1"]["value"] == pytest.approx(lost, rel=5e-3)
    assert ours["own-ikzf1"]["tier"] == "simulated"
    both = table[table["pax5"].isin(["del", "wt"]) & table["ikzf1"].isin(["del", "wt"])]
    cells = pd.crosstab(both["ikzf1"], both["pax5"]).loc[["del", "wt"], ["del", "wt"]]
    exact = stats.fisher_exact(cells).pvalue
    assert ours["own-pair-ikzf1-pax5"]["p_value"] == pytest.approx(exact, rel=6e-3)
    _, before, _ = read(page)
    assert ours["ikzf1-ph"] == before["ikzf1-ph"]
    report = (out / "report.html").read_text(encoding="utf8")
    assert "DUMMY-0" not in report
    assert not (out / "figures" / "oncoprint-own.svg").exists()


@pytest.mark.slow
def test_small_counts_of_an_own_cohort_stay_hidden(page: Path, tmp_path: Path) -> None:
    n = 40
    frame = pd.DataFrame(
        {"patient_id": [f"secret-{i}" for i in range(n)],
         "ikzf1": ["del"] * 3 + ["wt"] * (n - 3), "pax5": ["del"] * 12 + ["wt"] * (n - 12)}
    )  # fmt: skip
    frame.to_csv(tmp_path / "mine.csv", index=False)
    out = run(SLUG, parameters={"cohort": str(tmp_path / "mine.csv")}, out=tmp_path / "out")
    _, ours, _ = read(out)
    assert ours["own-ikzf1"]["value"] is None and "fewer than 5" in ours["own-ikzf1"]["reason"]
    assert ours["own-pair-ikzf1-pax5"]["value"] is None
    assert ours["own-pax5"]["value"] == pytest.approx(0.3)
    assert "secret-" not in (out / "report.html").read_text(encoding="utf8")


@pytest.mark.slow
@pytest.mark.parametrize("given", [{"claimed_share": 1.0}, {"min_count": -1}])
def test_a_parameter_out_of_range_is_refused(given: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(InvalidParameters, match=next(iter(given))):
        run(SLUG, parameters=given, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()

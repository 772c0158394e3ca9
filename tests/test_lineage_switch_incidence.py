"""The page on how often a lineage switch comes, run from beginning to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy import stats

from ballbook import paths
from ballbook.cli import main
from ballbook.run import run

SLUG = "lineage-switch-incidence"
PRINTED = pd.read_csv(paths.data() / "published" / "lineage_switch_incidence.csv").set_index("id")


def results_of(out: Path) -> tuple[dict[str, Any], dict[str, Any], dict[tuple[str, bool], Any]]:
    """Return the results, and estimates and verdicts by name."""
    results = json.loads((out / "results.json").read_text(encoding="utf8"))
    estimates = {e["id"]: e for e in results["estimates"]}
    verdicts = {(v["claim"], v["tier"] == "yours"): v for v in results["verdicts"]}
    return results, estimates, verdicts


@pytest.fixture(scope="module")
def page(run_of: Callable[[str], Path]) -> Path:
    return run_of(SLUG)


def a_cohort(folder: Path, n: int, switch: float) -> Path:
    """Write `n` made-up patients; a share `switch` of events are switches, more with KMT2A-r."""
    rng = np.random.default_rng(31)
    kmt2a = rng.random(n) < 0.4
    share = np.where(kmt2a, 1.7 * switch, 0.5 * switch)
    u = rng.random(n)
    kind = np.where(u < share, "lineage-switch", np.where(u < 0.85, "relapse", "death"))
    time, end = rng.exponential(20, n), rng.uniform(10, 90, n)
    happened = time < end
    frame = pd.DataFrame(
        {
            "patient_id": [f"secret-{i}" for i in range(n)],
            "subtype": np.where(kmt2a, "KMT2A-r", "other"),
            "efs_months": np.minimum(time, end),
            "efs_event": happened.astype(int),
            "efs_event_type": np.where(happened, kind, "none"),
        }
    )
    path = folder / "cohort.csv"
    frame.to_csv(path, index=False)
    return path


def test_typed_rows_are_possible_and_shared_patients_are_named() -> None:
    both = PRINTED.dropna(subset=["switches", "patients"])
    assert len(PRINTED) == 15
    assert (both["switches"] <= both["patients"]).all()
    assert set(PRINTED["patients_shared_with"].dropna()) <= set(PRINTED.index)
    assert PRINTED.loc[PRINTED["of"] == "none", "patients"].isna().all()
    alone = both[(both["independent"] == "yes") & ~both["event"].str.startswith("EARLY")]
    for _, rows in alone.groupby("of"):
        assert not set(rows["patients_shared_with"]) & set(rows.index)


def test_typed_rows_are_those_of_the_literature_table(shared_data: Path) -> None:
    source = shared_data / "clinical" / "lineage-switch-literature" / "incidence.csv"
    theirs = pd.read_csv(source)
    assert len(theirs) == 13
    mine = PRINTED.iloc[:13]
    for ours, given in {"switches": "k_switches", "patients": "n_denominator"}.items():
        same = mine[ours].to_numpy(float), theirs[given].to_numpy(float)
        assert np.array_equal(*same, equal_nan=True), ours


def test_every_count_has_its_exact_interval(page: Path) -> None:
    _, estimates, _ = results_of(page)
    for id, r in PRINTED.dropna(subset=["switches", "patients"]).iterrows():
        e, k, n = estimates[str(id)], r["switches"], r["patients"]
        low = 0.0 if k == 0 else stats.beta.ppf(0.025, k, n - k + 1)
        high = 1.0 if k == n else stats.beta.ppf(0.975, k + 1, n - k)
        assert (e["n_events"], e["n"]) == (k, n)
        assert (e["ci_low"], e["ci_high"]) == pytest.approx((low, high), rel=1e-9)


def test_only_one_denominator_and_independent_cohorts_are_pooled(page: Path) -> None:
    _, estimates, _ = results_of(page)
    model = estimates["relapses-glmm"]
    assert (model["n_events"], model["n"]) == (12 + 5, 166 + 231)
    assert not [id for id in estimates if "glmm" in id and not id.startswith("relapses-")]
    # The likelihood by plain numerical integration.
    grid = np.linspace(-9, 9, 4001)

    def log_likelihood(beta: float, tau: float) -> float:
        p = 1 / (1 + np.exp(-(beta + tau * grid)))
        weight = stats.norm.pdf(grid)
        return float(
            sum(np.log(np.trapezoid(stats.binom.pmf(k, n, p) * weight, grid))
                for k, n in [(12, 166), (5, 231)])
        )  # fmt: skip

    beta = float(np.log(model["value"] / (1 - model["value"])))
    tau = estimates["relapses-glmm-tau2"]["value"] ** 0.5
    best = log_likelihood(beta, tau)
    for db, dt in [(0.05, 0), (-0.05, 0), (0, 0.05), (0, -0.05)]:
        assert log_likelihood(beta + db, tau + dt) < best
    zero = log_likelihood(float(np.log(17 / 380)), 1e-9)
    assert estimates["relapses-heterogeneity"]["value"] == pytest.approx(
        stats.chi2.sf(2 * (best - zero), 1) / 2, rel=1e-3
    )


def test_the_comparison_of_cohorts_is_fishers(page: Path) -> None:
    _, estimates, _ = results_of(page)
    e = estimates["car-v-interfant"]
    assert e["p_value"] == pytest.approx(stats.fisher_exact([[12, 154], [5, 226]])[1], rel=1e-7)
    table = np.array([[5, 0], [30, 11], [4, 6]])
    total = 0.0
    row, hits = table.sum(axis=1), table[:, 0].sum()
    observed = stats.multivariate_hypergeom.pmf(table[:, 0], row, hits)
    for a in range(row[0] + 1):
        for b in range(row[1] + 1):
            c = hits - a - b
            if 0 <= c <= row[2]:
                p = stats.multivariate_hypergeom.pmf([a, b, c], row, hits)
                total += p if p <= observed * (1 + 1e-7) else 0
    assert estimates["early-by-subtype"]["p_value"] == pytest.approx(total, rel=1e-6)


def test_bayes_rule_is_right(page: Path) -> None:
    _, estimates, _ = results_of(page)
    e = estimates["kmt2a-bayes"]
    assert e["value"] == pytest.approx(12 / 420 * 45 / 70 * 231 / 13)
    se = ((1 - 12 / 420) / 12 + (1 - 45 / 70) / 45) ** 0.5
    assert e["ci_high"] == pytest.approx(e["value"] * np.exp(1.959964 * se), rel=1e-6)


def test_verdicts_follow_from_what_is_printed(page: Path) -> None:
    results, estimates, verdicts = results_of(page)
    words = {claim: v["verdict"] for (claim, _), v in verdicts.items()}
    untold = {"ext-novakova-early", "ext-lamble-ls-kmt2a", "ext-leahy-infant-switch"}
    assert {c for c, w in words.items() if w == "not-testable"} == untold
    assert {w for c, w in words.items() if c not in untold} == {"reproduced"}
    assert len(words) == 11
    assert estimates["car-relapsed-count"]["value"] == 166
    assert "12.3" in results["summary"] and len(results["summary"].split()) <= 45
    assert len(results["certainty"].split()) <= 30


def test_silent_cohorts_are_as_many_as_asked_for(page: Path, tmp_path: Path) -> None:
    given = {"silent_cohorts": 2, "silent_size": 100}
    out = run(SLUG, parameters=given, out=tmp_path / "out")
    drawn = pd.read_csv(out / "figures" / "silent-cohorts.csv")
    assert drawn["cohorts"].tolist() == [0, 1, 2]
    assert drawn["crude"].iloc[-1] == pytest.approx(17 / (397 + 200))
    usual = pd.read_csv(page / "figures" / "silent-cohorts.csv")
    assert usual["glmm"].iloc[0] == pytest.approx(drawn["glmm"].iloc[0])


def test_your_switches_are_counted_and_judge_the_claim_on_kmt2a(tmp_path: Path) -> None:
    path = a_cohort(tmp_path, 900, 0.3)
    out = run(SLUG, parameters={"cohort": str(path)}, out=tmp_path / "out")
    results, estimates, verdicts = results_of(out)
    frame = pd.read_csv(path)
    of = frame["efs_event_type"].value_counts()
    e = estimates["own-of-relapses"]
    share = of["lineage-switch"] / (of["lineage-switch"] + of["relapse"])
    assert e["value"] == pytest.approx(share, rel=5e-3)
    assert e["tier"] == "yours"
    assert verdicts["ext-lamble-ls-kmt2a", True]["verdict"] == "consistent"
    assert verdicts["ext-lamble-ls-kmt2a", False]["verdict"] == "not-testable"
    assert 0 < estimates["own-incidence"]["value"] < share
    assert estimates["own-of-relapses-difference"]["value"] is not None
    assert "In your cohort" in results["summary"]
    assert len(results["summary"].split()) <= 45
    for file in out.rglob("*.*"):
        if file.suffix in {".html", ".csv", ".json", ".ipynb", ".svg", ".txt"}:
            assert "secret-" not in file.read_text(encoding="utf8"), file.name


@pytest.mark.parametrize(("n", "switch"), [(12, 0.2), (300, 0.0)])
def test_few_or_no_switches_are_withheld(tmp_path: Path, n: int, switch: float) -> None:
    path = a_cohort(tmp_path, n, switch)
    out = run(SLUG, parameters={"cohort": str(path)}, out=tmp_path / "out")
    _, estimates, verdicts = results_of(out)
    mine = [e for id, e in estimates.items() if id.startswith("own-")]
    assert mine
    assert not [e["id"] for e in mine if e["value"] is not None and "power" not in e["id"]]
    assert ("ext-lamble-ls-kmt2a", True) not in verdicts


def test_a_cohort_without_a_switch_counts_when_counts_may_be_shown(tmp_path: Path) -> None:
    path = a_cohort(tmp_path, 300, 0.0)
    given = {"cohort": str(path), "min_count": 0}
    _, estimates, _ = results_of(run(SLUG, parameters=given, out=tmp_path / "out"))
    e = estimates["own-of-relapses"]
    assert e["value"] == 0
    assert e["ci_high"] == pytest.approx(1 - 0.025 ** (1 / e["n"]))


def test_a_parameter_out_of_range_is_refused() -> None:
    done = CliRunner().invoke(main, ["run", SLUG, "-p", "silent_size=0"])
    assert done.exit_code != 0
    assert "silent_size" in done.output

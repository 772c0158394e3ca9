"""The page on MRD clearance, from its claims to the finished run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import optimize, stats
from statsmodels.miscmodels.ordinal_model import OrderedModel

from ballbook import claims, datasets, maturity, mrd
from ballbook.genesets import GeneSet

SLUG = "mrd-clearance"


def start(out: Path, data: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ballbook.cli", "run", SLUG, "--out", str(out), *more],
        env=os.environ | {"BALLBOOK_DATA": str(data)},
        capture_output=True,
        text=True,
        timeout=600,
    )


def run(out: Path, data: Path, *more: str) -> dict[str, Any]:
    done = start(out, data, "-p", "simulations=20", *more)
    assert done.returncode == 0, done.stderr[-3000:]
    results: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf8"))
    return results


@pytest.fixture(scope="module")
def open_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    data = os.environ.get("BALLBOOK_DATA")
    if not data or not Path(data).is_dir():
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    out = tmp_path_factory.mktemp("clearance") / "run"
    return run(out, Path(data).resolve()), out


def estimates(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {e["id"]: e for e in results["estimates"]}


def fused_cases() -> pd.DataFrame:
    """Return KMT2A-rearranged B-ALL of TARGET with MRD at day 29, straight from the loader."""
    target = datasets.load("target-all-p2")
    p = target.patients
    p = p[mrd.kmt2a_rearranged(p) & (p["lineage"] == "B")]
    rows = target.mrd[target.mrd["timepoint"] == "day 29"]
    return p.merge(rows[["patient_id", "level", "limit_of_detection"]], on="patient_id")


def test_the_paper_defines_no_classes_and_prints_no_odds_ratio() -> None:
    known = claims.read()
    definition = known["har-mrd-fast-slow-definition"]
    assert definition.kind == "definition" and definition.printed is None
    assert not [c for c in known.values() if c.source == "hartmann2026" and c.kind == "odds-ratio"]
    assert known["har-mrd-age-p"].direction == known["har-mrd-aff1-p"].direction == "above"
    assert known["har-mrd-maturity-p"].direction == "below"


@pytest.mark.slow
def test_levels_agree_with_a_likelihood_written_out_here(
    open_run: tuple[dict[str, Any], Path],
) -> None:
    found = estimates(open_run[0])
    cases = fused_cases()
    assert len(cases) == found["target-age"]["n"] == 30
    limit = cases["limit_of_detection"].fillna(1e-4)
    seen = ((cases["level"] > 0) & ~(cases["level"] < cases["limit_of_detection"])).to_numpy()
    y = np.log10(np.where(seen, cases["level"], limit))
    sets = cases["protocol"] + " " + cases["analysis_cohort"]
    large = sets.map(sets.value_counts()) >= 5
    sets = sets.where(large & sets.isin(["AALL0232 DISCOVERY", "AALL0232 VALIDATION"]), "smaller")
    strata = [(sets == s).astype(float) for s in sorted(sets.unique())]
    assert len(strata) == 3
    for id, x in (
        ("target-age", cases["age_years"] / 10),
        ("target-aff1", (cases["fusion_partner"] == "AFF1").astype(float)),
    ):
        X = np.column_stack([*strata, x])

        def loss(theta: np.ndarray, X: np.ndarray = X) -> float:
            mean, scale = X @ theta[:-1], np.exp(theta[-1])
            part = stats.norm.logpdf(y, mean, scale)
            return -float(np.where(seen, part, stats.norm.logcdf(y, mean, scale)).sum())

        best = optimize.minimize(loss, np.r_[-4, -4, -4, 0, 0.5], method="BFGS", tol=1e-10)
        assert found[id]["value"] == pytest.approx(best.x[3], abs=2e-4)

        def null(theta: np.ndarray, X: np.ndarray = X) -> float:
            return loss(np.r_[theta[:3], 0.0, theta[3]], X)

        worst = optimize.minimize(null, np.r_[-4, -4, -4, 0.5], method="BFGS", tol=1e-10)
        p = stats.chi2.sf(2 * (worst.fun - best.fun), 1)
        assert found[id]["p_value"] == pytest.approx(p, abs=1e-4)


@pytest.mark.slow
def test_class_sizes_means_and_odds_agree_with_other_libraries(
    open_run: tuple[dict[str, Any], Path],
) -> None:
    results, out = open_run
    found = estimates(results)
    cases = fused_cases()
    level, limit = cases["level"], cases["limit_of_detection"].fillna(0)
    # Nothing seen by an assay that could not see the cut-off decides nothing.
    known = cases[(level >= 1e-4) | (limit <= 1e-4)]
    fast, slow = (known["level"] < 1e-4), (known["level"] >= 1e-3)
    sizes = pd.read_csv(out / "tables" / "class-sizes.csv").iloc[0]
    middle = len(known) - fast.sum() - slow.sum()
    assert [sizes[k] for k in ("fast", "intermediate", "slow")] == [fast.sum(), middle, slow.sum()]
    ages = [known.loc[m, "age_years"] for m in (fast, ~fast & ~slow, slow)]
    p = stats.f_oneway(*ages).pvalue
    assert found["target-kmt2a-age-anova"]["value"] == pytest.approx(p, rel=1e-9)
    pairs = stats.tukey_hsd(*ages)
    table = pd.read_csv(out / "tables" / "tukey.csv")
    mine = table[table["comparison"] == "TARGET, KMT2A-r: age"].set_index("pair")
    assert mine.loc["slow minus fast", "p_adjusted"] == pytest.approx(pairs.pvalue[0, 2], abs=1e-4)

    dfci = datasets.load("dfci-gse181157")
    high = mrd.at_timepoint(dfci.mrd, "TP1")[1]
    b = dfci.patients[dfci.patients["lineage"] == "B"]
    assert found["dfci-maturity-tp1"]["n"] == int(b["patient_id"].map(high).notna().sum()) == 126
    assert found["dfci-maturity-tp1"]["n_events"] == 36


@pytest.mark.slow
def test_all_b_all_agrees_with_logistic_regression_of_statsmodels(
    open_run: tuple[dict[str, Any], Path],
) -> None:
    found = estimates(open_run[0])["target-all-age-slow"]
    target = datasets.load("target-all-p2")
    p = target.patients[target.patients["lineage"] == "B"]
    rows = target.mrd[target.mrd["timepoint"] == "day 29"]
    d = p.merge(rows[["patient_id", "level", "limit_of_detection"]], on="patient_id")
    decided = (d["level"] >= 1e-4) | ~(d["limit_of_detection"] > 1e-4 * (1 + 1e-9))
    d = d[decided].reset_index(drop=True)
    one = d["analysis_cohort"].isin(["DISCOVERY", "VALIDATION"])
    sets = d["protocol"].fillna("none") + d["analysis_cohort"].where(one, "several")
    X = pd.DataFrame(
        {
            "age": d["age_years"] / 10,
            "white": np.log10(d["wbc_10e9_per_l"]),
            "male": (d["sex"] == "M").astype(float),
            "kmt2a": mrd.kmt2a_rearranged(d).astype(float),
        }
    )
    joined = maturity.join_small(sets, 5)
    X = X.join(pd.get_dummies(joined, drop_first=True).astype(float))
    keep = X.notna().all(axis=1)
    y = (d["level"] >= 1e-3)[keep].astype(float)
    fit = sm.Logit(y, sm.add_constant(X[keep])).fit(disp=0)
    assert found["n"] == int(keep.sum())
    assert found["value"] == pytest.approx(np.exp(fit.params["age"]), rel=1e-6)


@pytest.mark.slow
def test_dfci_at_both_time_points_agrees_with_likelihoods_written_out_here(
    open_run: tuple[dict[str, Any], Path],
) -> None:
    found = estimates(open_run[0])
    dfci = datasets.load("dfci-gse181157")
    p = dfci.patients[dfci.patients["lineage"] == "B"].reset_index(drop=True)
    values = pd.read_csv(open_run[1] / "figures" / "classes.csv")
    high = {t: p[f"mrd_{t.lower()}"].map({"low": 0.0, "high": 1.0}) for t in ("TP1", "TP2")}
    two = (high["TP1"] == 1) & (high["TP2"] == 0)
    slow, fast = high["TP1"].notna() & (high["TP2"] == 1), (high["TP1"] == 0)
    code = np.select([slow, two, fast], [2.0, 1.0, 0.0], default=np.nan)
    sizes = pd.read_csv(open_run[1] / "tables" / "class-sizes.csv").set_index(["rule", "patients"])
    row = sizes.loc[("DFCI: TP1 and TP2, as printed", "all B-ALL")]
    assert [row[k] for k in ("fast", "intermediate", "slow")] == [
        int((code == k).sum()) for k in (0, 1, 2)
    ]
    means = values[values["panel"] == "DFCI, all B-ALL: age"].groupby("class")["value"].mean()
    for k, name in enumerate(("fast", "intermediate", "slow")):
        assert means[name] == pytest.approx(p.loc[code == k, "age_years"].mean(), abs=1e-9)
    ages = [p.loc[code == k, "age_years"].dropna() for k in range(3)]
    assert found["dfci-age-anova"]["value"] == pytest.approx(stats.f_oneway(*ages).pvalue, rel=1e-9)

    # Maturity as other tests check it; here the models are fitted by other code.
    stages = datasets.load("allcatchr-stages")
    reference = maturity.StageReference(
        {k: GeneSet(*genes) for k, genes in stages.sets.items()},
        stages.background,
        stages.cds_length,
    )
    assert dfci.expression is not None and dfci.expression_kind is not None
    table = datasets.with_symbols(dfci.expression, stages)
    score = maturity.maturity(table, dfci.expression_kind, reference, scaling="within-sample-7")
    X = np.column_stack(
        [
            10 * p["patient_id"].map(score["maturity"]),
            p["age_years"] / 10,
            np.log10(p["wbc_10e9_per_l"]),
            p["sex"] == "M",
        ]
    ).astype(float)
    for name, y in (("tp1", high["TP1"]), ("tp2", high["TP2"])):
        known = (y.notna() & np.isfinite(X).all(axis=1)).to_numpy()
        A, b = np.column_stack([np.ones(known.sum()), X[known]]), y[known].to_numpy()

        def loss(theta: np.ndarray, A: np.ndarray = A, b: np.ndarray = b) -> float:
            eta = A @ theta
            w = 1 / (2 + np.exp(eta) + np.exp(-eta))
            penalty = np.linalg.slogdet(A.T @ (A * w[:, None]))[1] / 2
            return -float((b * eta - np.logaddexp(0, eta)).sum() + penalty)

        best = optimize.minimize(loss, np.zeros(5), method="BFGS", tol=1e-12)
        for j, term in ((1, "maturity"), (2, "age"), (3, "white-cells"), (4, "male")):
            id = f"dfci-maturity-{name}-adjusted" if j == 1 else f"dfci-{term}-{name}"
            assert found[id]["n"] == known.sum()
            assert found[id]["value"] == pytest.approx(np.exp(best.x[j]), rel=1e-3)
    known = np.isfinite(code) & np.isfinite(X).all(axis=1)
    ordered = pd.Series(pd.Categorical(code[known], ordered=True))
    model = OrderedModel(ordered, X[known], distr="logit").fit(method="bfgs", disp=0, gtol=1e-8)
    for j, term in ((0, "maturity-class-adjusted"), (1, "age-class"), (2, "white-cells-class")):
        expected = np.exp(model.params.iloc[j])
        assert found[f"dfci-{term}"]["value"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_the_page_says_what_it_can_and_no_more(open_run: tuple[dict[str, Any], Path]) -> None:
    results, out = open_run
    verdicts = {v["claim"]: v["verdict"] for v in results["verdicts"]}
    wanted = {c.id for c in claims.of_analysis(SLUG) if c.kind not in claims.WITHOUT_VERDICT}
    assert set(verdicts) == wanted and len(results["verdicts"]) == len(wanted)
    # Separate slopes are tested for the covariate that is told, and not where cuts would cross.
    status = {g["name"]: g["status"] for g in results["gates"]}
    assert status["Parallel odds, KMT2A-r, AFF1 v rest"] == "not-applicable"
    assert status["Parallel odds, KMT2A-r, age, per 10 years"] == "passed"
    for claim in ("har-mrd-age-p", "har-mrd-aff1-p", "har-mrd-maturity-p", "har-mv-p-wbc"):
        assert verdicts[claim] == "underpowered"
    assert verdicts["har-mv-p-age-infant"] == verdicts["har-mv-p-mllt1"] == "not-testable"
    found = estimates(results)
    # Age goes with MRD in B-ALL as a whole: what fails within KMT2A-r is not the method.
    assert found["target-all-age"]["ci_low"] > 0 and found["target-all-kmt2a"]["ci_low"] > 0
    assert all((e["tier"] == "simulated") == e["id"].startswith("sim-") for e in found.values())
    assert found["sim-all-coverage-interval-regression"]["value"] >= 0.8
    assert found["sim-all-coverage-half-the-limit"]["value"] < 0.5
    failed = {g["name"] for g in results["gates"] if g["status"] == "failed"}
    assert "Separation, TARGET KMT2A-r, four together" in failed
    assert "Sampling not by outcome (AALL0331 Discovery)" in failed
    assert len(results["summary"].split()) <= 45 and len(results["certainty"].split()) <= 30
    specs = pd.read_csv(out / "figures" / "specification-age.csv")
    assert specs["chosen"].sum() == 1 and specs["rule"].nunique() >= 5
    assert specs.loc[specs["patients"] == "KMT2A-r", "ci_low"].min() < 1
    moved = pd.read_csv(out / "tables" / "class-sizes.csv")
    assert moved.loc[moved["patients"] == "KMT2A-r", "slow"].nunique() > 3


@pytest.mark.slow
def test_other_cut_offs_give_other_classes(
    open_run: tuple[dict[str, Any], Path], shared_data: Path, tmp_path: Path
) -> None:
    results = run(tmp_path / "out", shared_data, "-p", "cut=0.001", "-p", "slow_from=0.01")
    one, other = (estimates(r)["target-age-ordinal"]["value"] for r in (open_run[0], results))
    assert one != other
    # Levels need no cut-off.
    assert estimates(results)["target-age"] == estimates(open_run[0])["target-age"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "said"),
    [("slow_from=0.00001", "slow_from"), ("assumed_limit=0", "assumed_limit"), ("cut=2", "cut")],
)
def test_a_parameter_out_of_range_is_refused(
    given: str, said: str, shared_data: Path, tmp_path: Path
) -> None:
    done = start(tmp_path / "out", shared_data, "-p", given)
    assert done.returncode != 0 and said in done.stderr
    assert not (tmp_path / "out").exists()


def own_cohort(n: int = 160) -> pd.DataFrame:
    """Return invented patients in whom age, AFF1 and immaturity slow clearance."""
    rng = np.random.default_rng(7)
    age, maturity = rng.uniform(0.1, 70, n), rng.normal(-0.2, 0.2, n)
    partner = rng.choice(["AFF1", "MLLT1", "MLLT3"], n, p=[0.6, 0.2, 0.2])
    y = -4.6 + 0.02 * age + 0.8 * (partner == "AFF1") - 3 * maturity + rng.normal(0, 1, n)

    def cell(v: float) -> str:
        return "<0.0001" if v < -4 else f"{10 ** min(v, -0.05):.6f}"

    return pd.DataFrame(
        {
            "patient_id": [f"=secret{i}" for i in range(n)],
            "subtype": "KMT2A-r",
            "age_years": age.round(2),
            "wbc_10e9_per_l": (10 ** rng.normal(2, 0.5, n)).round(1),
            "fusion_partner": partner,
            "maturity": maturity.round(4),
            "mrd_day29": [cell(v) for v in y],
            "mrd_day8": [cell(v + 1) for v in y],
        }
    )


@pytest.mark.slow
def test_a_readers_cohort_is_judged_and_no_patient_shown(shared_data: Path, tmp_path: Path) -> None:
    frame = own_cohort()
    file = tmp_path / "own.csv"
    frame.to_csv(file, index=False)
    given = ("--cohort", str(file), "-p", "own_timepoint=day 29")
    results = run(tmp_path / "out", shared_data, *given)
    own = {v["claim"]: v["verdict"] for v in results["verdicts"] if v["tier"] == "yours"}
    assert own == {
        "har-mrd-age-p": "consistent",
        "har-mrd-aff1-p": "consistent",
        "har-mrd-maturity-p": "consistent",
        "har-mv-p-wbc": "underpowered",
    }
    found = estimates(results)
    seen = ~frame["mrd_day29"].str.startswith("<")
    assert found["own-age"]["n_events"] == int(seen.sum())
    assert found["own-age"]["ci_low"] < 0.2 < found["own-age"]["ci_high"]
    assert found["own-maturity"]["ci_high"] < 0 < found["own-aff1"]["ci_low"]
    assert found["own-age-power"]["kind"] == "power"
    assert "interval regression" in (tmp_path / "out" / "methods.txt").read_text(encoding="utf8")
    written = [p for p in (tmp_path / "out").rglob("*") if p.suffix in {".html", ".json", ".csv"}]
    assert written and not any("secret" in p.read_text(encoding="utf8") for p in written)

    two = run(tmp_path / "two", shared_data, *given, "-p", "own_early=day 8")
    assert estimates(two)["own-age"]["value"] == found["own-age"]["value"]
    assert estimates(two)["own-age-class"]["value"] != found["own-age-class"]["value"]


@pytest.mark.slow
def test_a_cohort_too_small_is_withheld(shared_data: Path, tmp_path: Path) -> None:
    file = tmp_path / "few.csv"
    own_cohort().head(4).to_csv(file, index=False)
    results = run(tmp_path / "out", shared_data, "--cohort", str(file))
    own = [e for e in results["estimates"] if e["id"].startswith("own-")]
    assert own and {e["value"] for e in own} == {None} and {e["n"] for e in own} == {None}
    judged = {v["verdict"] for v in results["verdicts"] if v["tier"] == "yours"}
    assert judged == {"not-testable"}


@pytest.mark.slow
def test_a_cohort_without_kmt2a_judges_no_claim(shared_data: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    own_cohort().drop(columns=["subtype", "fusion_partner", "maturity"]).to_csv(file, index=False)
    results = run(tmp_path / "out", shared_data, "--cohort", str(file))
    assert not [v for v in results["verdicts"] if v["tier"] == "yours"]
    found = estimates(results)
    assert found["own-age"]["value"] is not None and "B lineage" in found["own-age"]["label"]
    assert found["own-maturity"]["reason"] == "maturity is not known"

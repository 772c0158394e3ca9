"""Classes of BCR::ABL1 leukaemia: score, chance, unknown arms, and the page."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import shared_folder
from scipy import stats

from ballbook import claims, datasets, dummy
from ballbook import ph_subtypes as ph
from ballbook.parameters import InvalidParameters
from ballbook.run import run
from ballbook.unknown_split import information, splits

SLUG = "ph-subtypes"
QUICK = {"draws": 199}
REFERENCE = pd.Series({"A": 0.1, "B": 0.2, "C": 0.3, "D": 0.4, "E": 0.5})
MODEL = ph.model(
    pd.Series({"intercept": -0.5, "A": 2.0, "C": -1.0, "D": 0.5}), ("lymphoid", "multilineage")
)
COUNTS = pd.DataFrame(
    {"s1": [0, 9, 99, 999, 5, 7], "s2": [99, 9, 0, 0, 9, 7]}, index=[*"ABCDE", "unknown"]
)


# ------------------------------------------------------------------------------ the score


def test_scaling_and_index_by_hand() -> None:
    x = ph.scaled(COUNTS, "counts", REFERENCE)
    assert list(x.index) == [*"ABCDE"]
    assert x["s1"].tolist()[:4] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert x["s1"]["E"] == pytest.approx(math.log10(6) / 3)
    assert x["s2"].tolist() == pytest.approx([1, 0.5, 0, 0, 0.5])
    found = ph.index(x, MODEL, REFERENCE)
    assert found["s1"] == pytest.approx(-0.5 + 0 - 2 / 3 + 0.5)
    assert found["s2"] == pytest.approx(-0.5 + 2.0)
    p = ph.probability(found)
    assert p["s2"] == pytest.approx(1 / (1 + math.exp(-1.5)))


def test_standardising_first_as_the_source_does_changes_nothing() -> None:
    u = np.log10(COUNTS.loc[list("ABCDE")] + 1)
    z = (u - u.mean()) / u.std(ddof=1)
    z = (z - z.min()) / (z.max() - z.min())
    assert ph.scaled(COUNTS, "counts", REFERENCE).to_numpy() == pytest.approx(z.to_numpy())


def test_logarithms_enter_as_they_are_and_a_gene_not_measured_by_its_reference() -> None:
    logs = pd.DataFrame({"s": [2.0, 4.0, 6.0]}, index=["A", "B", "D"])
    x = ph.scaled(logs, "log2", REFERENCE)
    assert x["s"].tolist() == [0, 0.5, 1]
    assert ph.index(x, MODEL, REFERENCE)["s"] == pytest.approx(-0.5 + 0 - 1.0 * 0.3 + 0.5)


def test_what_was_measured_is_counted_by_weight() -> None:
    found = ph.measured(["A", "D", "Z"], MODEL)
    assert (found.genes, found.of) == (2, 3)
    assert found.weight == pytest.approx(2.5 / 3.5)
    full = ph.measured(REFERENCE.index, MODEL)
    assert ph.readable("counts", full) and not ph.readable("log2", full)
    assert not ph.readable("tpm", full) and not ph.readable("counts", found)
    assert ph.overlap(MODEL, ["C"]).weight == pytest.approx(1 / 3.5)
    assert list(MODEL.without(["C"]).coefficients.index) == ["A", "D"]


def test_a_class_needs_a_probability_beyond_the_threshold() -> None:
    p = pd.Series([0.56, 0.55, 0.5, 0.45, 0.44])
    assert ph.classes(p, MODEL).tolist() == [
        "multilineage", "unclear", "unclear", "unclear", "lymphoid",
    ]  # fmt: skip
    assert ph.classes(p, MODEL, 0.5).tolist()[1] == "multilineage"
    for bad in (0.49, 1.0):
        with pytest.raises(ValueError, match="threshold"):
            ph.classes(p, MODEL, bad)


@pytest.mark.parametrize(
    ("table", "kind", "said"),
    [
        (COUNTS.rename(str.lower), "counts", "are these symbols"),
        (COUNTS - 1, "counts", "negative"),
        (COUNTS * 0, "counts", "all genes of a sample are equal"),
        (COUNTS * np.nan, "log2", "no finite number"),
    ],
)
def test_tables_that_cannot_be_scored_are_refused(
    table: pd.DataFrame, kind: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        ph.scaled(table, kind, REFERENCE)


def test_models_that_are_not_whole_are_refused() -> None:
    with pytest.raises(ValueError, match="intercept"):
        ph.model(pd.Series({"A": 1.0}), ("a", "b"))
    with pytest.raises(ValueError, match="one coefficient"):
        ph.model(pd.Series([0.0, 1.0, 2.0], ["intercept", "A", "A"]), ("a", "b"))
    x = ph.scaled(COUNTS, "counts", REFERENCE)
    with pytest.raises(ValueError, match="none of the model's genes"):
        ph.index(x.loc[["B"]], MODEL, REFERENCE)
    with pytest.raises(ValueError, match="no reference"):
        ph.index(x.drop("A"), MODEL, REFERENCE.drop("A"))


def test_a_panel_with_all_genes_agrees_with_itself() -> None:
    x = ph.scaled(COUNTS, "counts", REFERENCE)
    both = ph.panel_agreement(x, MODEL, REFERENCE, [*"ABCDE"])
    assert both["full"].tolist() == pytest.approx(both["panel"].tolist())
    cut = ph.panel_agreement(x, MODEL, REFERENCE, ["A", "B"])
    assert cut["panel"].tolist() != pytest.approx(cut["full"].tolist())


# ------------------------------------------------------------------------------ chance


def samples(n: int = 8, genes: int = 40) -> tuple[pd.DataFrame, ph.ClassModel]:
    rng = np.random.default_rng(4)
    x = pd.DataFrame(rng.random((genes, n)), index=[f"g{i}" for i in range(genes)])
    beta = pd.Series({"intercept": 0.0, "g0": 1.0, "g1": -2.0, "g2": 0.3})
    return x, ph.model(beta, ("a", "b"))


def test_shuffled_weights_agree_with_every_order() -> None:
    x, model = samples()
    y = np.arange(8.0)[::-1] ** 2
    found = ph.shuffled_weights(x, model, y, draws=6000, seed=1)
    beta = model.coefficients.to_numpy()
    every = [
        stats.spearmanr(x.iloc[:3].T.to_numpy() @ np.array(order), y).statistic
        for order in itertools.permutations(beta)
    ]
    assert found.statistic == pytest.approx(every[0])
    share = np.mean(np.abs(every) >= abs(every[0]) - 1e-12)
    assert found.p_value == pytest.approx(share, abs=0.03)
    assert found.value == pytest.approx(np.median(every), abs=0.15)
    assert min(every) - 1e-9 <= found.ci_low <= found.ci_high <= max(every) + 1e-9  # type: ignore[operator]


def test_random_genes_are_seeded_and_leave_out_the_scores_own() -> None:
    x, model = samples()
    x.loc["g0"] = x.loc["g1"] = x.loc["g2"] = np.arange(8.0)
    y = model.coefficients.sum() * np.arange(8.0)
    one = ph.random_genes(x, model, y, draws=300, seed=3)
    assert one.statistic == pytest.approx(1.0)
    assert one == ph.random_genes(x, model, y, draws=300, seed=3)
    assert one.value is not None and abs(one.value) < 0.3 and one.p_value < 0.05  # type: ignore[operator]
    assert ph.random_genes(x.iloc[:4], model, y, draws=9, seed=3).value is None
    assert ph.shuffled_weights(x.iloc[:, :3], model, y[:3], draws=9, seed=3).value is None


# ------------------------------------------------------------------------------ unknown arms


def test_splits_by_hand() -> None:
    of = splits(0.70, 0.61, 91, smallest_arm=5)
    assert list(of.table["first"]) == list(range(5, 87))
    row = of.table.set_index("first").loc[45]
    log_hr = math.log(math.log(0.70) / math.log(0.61))
    var = sum((1 - s) / (n * s * math.log(s) ** 2) for s, n in ((0.70, 45), (0.61, 46)))
    assert row["hazard_ratio"] == pytest.approx(math.exp(log_hr))
    assert row["std_error"] == pytest.approx(math.sqrt(var))
    assert row["p_value"] == pytest.approx(2 * stats.norm.sf(abs(log_hr) / math.sqrt(var)))
    events = 45 * 0.30 + 46 * 0.39
    drift = abs(log_hr) * math.sqrt(45 / 91 * 46 / 91 * events)
    power = stats.norm.cdf(drift - stats.norm.isf(0.025)) + stats.norm.cdf(
        -drift - stats.norm.isf(0.025)
    )
    assert row["power"] == pytest.approx(power)
    assert of.smallest_p.value == of.table[["p_value", "p_difference"]].min().min()
    assert of.hazard_ratio.p_value == of.table["p_value"].min()
    assert of.power.value == of.table["power"].max()


def test_no_test_of_complete_data_passes_the_bound() -> None:
    """Whatever the split, the test of two shares gives no smaller P, on either scale."""
    of = splits(0.70, 0.60, 100, smallest_arm=10)
    rows = of.table.set_index("first")
    for k in (10, 40, 50, 70):
        a, b = round(0.7 * k), round(0.6 * (100 - k))
        z = (a / k - b / (100 - k)) / math.sqrt(0.21 / k + 0.24 / (100 - k))
        assert rows.loc[k, "p_difference"] == pytest.approx(2 * stats.norm.sf(abs(z)))
        assert rows.loc[k, "p_value"] == pytest.approx(rows.loc[k, "p_difference"], abs=0.04)
        assert of.smallest_p.value <= 2 * stats.norm.sf(abs(z))  # type: ignore[operator]


def test_information_is_one_at_the_bound_and_less_beyond() -> None:
    of = splits(0.70, 0.61, 91)
    assert of.smallest_p.value is not None
    assert information(of.smallest_p.value, of).value == pytest.approx(1)
    z = stats.norm.isf(0.265) / stats.norm.isf(of.smallest_p.value / 2)
    assert information(0.53, of).value == pytest.approx(z**2)
    for bad in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match="printed_p"):
            information(bad, of)


def test_splits_refuse_what_has_no_answer() -> None:
    with pytest.raises(ValueError, match="at least 10"):
        splits(0.7, 0.6, 9)
    with pytest.raises(ValueError, match="equal"):
        splits(0.7, 0.7, 91)
    with pytest.raises(ValueError, match="strictly between"):
        splits(1.0, 0.6, 91)


# ------------------------------------------------------------------------------ a cohort


def test_who_is_positive() -> None:
    table = pd.DataFrame(
        {"subtype": ["BCR::ABL1", "other", None, "BCR::ABL1-like"], "bcr_abl1": ["0", "1", None, 0]}
    )
    assert ph.bcr_abl1_positive(table).tolist() == [True, True, False, False]
    assert ph.bcr_abl1_positive(table[["bcr_abl1"]]).tolist() == [False, True, False, False]
    assert not ph.bcr_abl1_positive(pd.DataFrame({"x": [1, 2]})).any()


def test_survival_by_class_withholds_small_classes() -> None:
    rng = np.random.default_rng(8)
    table = pd.DataFrame({"time_months": rng.exponential(20, 60), "event": rng.integers(0, 2, 60)})
    many = pd.Series(np.arange(60) < 25)
    hr, gates = ph.outcome_by_class(table, many, 5)
    assert hr.value is not None and hr.n == 60 and len(gates) == 2
    assert all(g.name.startswith("Your cohort: ") for g in gates)
    few, none = ph.outcome_by_class(table, pd.Series(np.arange(60) < 4), 5)
    assert few.value is None and not none and "fewer than 5 patients" in str(few.reason)
    table["event"] = (np.arange(60) >= 25).astype(int)
    no_events, _ = ph.outcome_by_class(table, many, 0)
    assert no_events.value is None and "no events" in str(no_events.reason)


# ------------------------------------------------------------------------------ the page


def read(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text("utf8"))
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if shared_folder() is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    return read(run(SLUG, parameters=QUICK, out=tmp_path_factory.mktemp("ph") / "run"))


@pytest.fixture
def by_id(results: dict[str, Any]) -> dict[str, Any]:
    return {e["id"]: e for e in results["estimates"]}


def coefficients(folder: Path, name: str) -> dict[str, float]:
    with (folder / "omics/allcatchr/bcrabl1_glmnet_coefficients.csv").open() as lines:
        return {r["term"]: float(r["coef"]) for r in csv.DictReader(lines) if r["model"] == name}


def references(folder: Path) -> dict[str, float]:
    with gzip.open(folder / "omics/allcatchr/ID_conversion.csv.gz", "rt") as lines:
        return {r["symbol"]: float(r["norm_exp"]) for r in csv.DictReader(lines)}


def index_by_hand(
    sample: dict[str, float], beta: dict[str, float], reference: dict[str, float]
) -> float:
    """The score again, one gene at a time, without the library."""
    kept = {g: v for g, v in sample.items() if g in reference}
    low, high = min(kept.values()), max(kept.values())
    total = beta["(Intercept)"]
    for gene, b in beta.items():
        if gene != "(Intercept)":
            total += b * ((kept[gene] - low) / (high - low) if gene in kept else reference[gene])
    return total


@pytest.mark.slow
def test_scores_again_gene_by_gene(by_id: dict[str, Any], shared_data: Path) -> None:
    """ALLSorts from its counts and Chiaretti from its arrays, by other code."""
    beta = coefficients(shared_data, "lymphoid_vs_multilineage")
    reference = references(shared_data)
    counts = pd.read_csv(shared_data / "omics/allsorts/test_counts_20.csv.gz", index_col=0)
    counts = counts if "IKZF1" in counts.index else counts.T
    label = pd.read_csv(shared_data / "omics/allsorts/test_labels.csv", dtype=str)
    ours = list(label.loc[label["label"] == "Ph", "sample"])
    assert len(ours) == 5
    p = []
    for s in ours:
        u = {g: math.log10(v + 1) for g, v in counts[s].items()}
        p.append(1 / (1 + math.exp(-index_by_hand(u, beta, reference))))
    lymphoid = sum(1 - v > 0.55 for v in p)
    assert by_id["allsorts-lymphoid"]["value"] == lymphoid / 5
    assert by_id["allsorts-lymphoid"]["n"] == 5
    cohort = datasets.load("chiaretti-2004")
    assert cohort.expression is not None
    patients = cohort.patients.set_index("patient_id").query("subtype == 'BCR::ABL1'")
    by_patient = pd.Series(
        {s: index_by_hand(cohort.expression[s].to_dict(), beta, reference) for s in patients.index}
    )
    ploidy = patients["ploidy"]
    a, b = by_patient[ploidy == "hyperdiploid"], by_patient[ploidy == "diploid"]
    shifts = np.median(np.subtract.outer(a.to_numpy(), b.to_numpy())) / by_patient.std()
    e = by_id["chiaretti-hyperdiploid"]
    assert e["value"] == pytest.approx(shifts) and e["n"] == len(a) + len(b)
    p_exact = stats.mannwhitneyu(a, b, method="exact").pvalue
    assert e["p_value"] == pytest.approx(p_exact)
    mature = maturity_by_hand(cohort.expression[list(patients.index)])
    rho = stats.spearmanr(by_patient, mature).statistic
    assert by_id["chiaretti-maturity"]["value"] == pytest.approx(rho)
    have = [g for g in beta if g in cohort.expression.index]
    weight = sum(abs(beta[g]) for g in have) / sum(
        abs(b) for g, b in beta.items() if g != "(Intercept)"
    )
    assert by_id["chiaretti-weight"]["value"] == pytest.approx(weight)
    genes = {
        g for parts in datasets.load("allcatchr-stages").sets.values() for p in parts for g in p
    }
    shared = sum(abs(b) for g, b in beta.items() if g in genes)
    total = sum(abs(b) for g, b in beta.items() if g != "(Intercept)")
    assert by_id["shared-weight"]["value"] == pytest.approx(shared / total)


def maturity_by_hand(expression: pd.DataFrame) -> list[float]:
    """Slope of z-scored stage scores, from ranks counted with scipy."""
    known = datasets.load("allcatchr-stages")
    table = expression[expression.index.isin(known.background)]
    found = []
    for s in table:
        rank = pd.Series(stats.rankdata(table[s], method="min"), table.index)
        n = len(rank)
        scores = []
        for up, down in known.sets.values():
            total = 0.0
            for genes, r in ((up, rank), (down, n - rank + 1)):
                inside = r[r.index.isin(genes)]
                k = len(inside)
                low, high = (k + 1) / 2, (2 * n - k + 1) / 2
                total += (inside.mean() - low) / (high - low) - 0.5
            scores.append(total)
        z = stats.zscore(scores, ddof=1)[1:6]
        found.append(float(np.dot([-2, -1, 0, 1, 2], z) / 10))
    return found


@pytest.mark.slow
def test_verdicts_and_what_they_rest_on(results: dict[str, Any], by_id: dict[str, Any]) -> None:
    verdicts = {v["claim"]: v["verdict"] for v in results["verdicts"]}
    wanted = {c.id for c in claims.of_analysis(SLUG) if c.kind not in claims.WITHOUT_VERDICT}
    assert set(verdicts) == wanted and len(results["verdicts"]) == len(wanted)
    assert verdicts["iac-bastian-dfs"] == "underpowered"
    assert verdicts["ext-bastian-dfs3-p"] == "not-testable"
    assert by_id["dfs3-hr"]["value"] == pytest.approx(math.log(0.7) / math.log(0.61))
    reach = stats.norm.isf(0.025) + stats.norm.isf(0.2)
    events = 4 * reach**2 / math.log(by_id["dfs3-hr"]["value"]) ** 2
    assert by_id["dfs3-events"]["value"] == math.ceil(events)
    p = stats.fisher_exact([[18, 0], [3, 13]]).pvalue
    assert by_id["fish-odds"]["p_value"] == pytest.approx(p)
    r, n = (
        [by_id[f"{c}-maturity"][k] for c in ("krali", "chiaretti", "allsorts")]
        for k in ("value", "n")
    )
    assert n == [10, 37, 5] and max(r) < 0
    assert by_id["mean-maturity"]["ci_low"] < np.tanh(np.average(np.arctanh(r), weights=n)) < 0
    assert by_id["krali-monosomy-7"]["value"] is None
    assert len(results["summary"].split()) <= 45 and len(results["certainty"].split()) <= 30


@pytest.fixture
def folder(shared_data: Path, tmp_path: Path) -> Path:
    """A cohort of counts whose patients are nobody's, with names that must not be told."""
    source = tmp_path / "source"
    dummy.write(SLUG, source, n=90, seed=3)
    table = pd.read_csv(source / "patients.csv", dtype=str)
    counts = pd.read_csv(source / "expression.counts.csv", index_col=0)
    names = {p: f"secret-{i}" for i, p in enumerate(table["patient_id"])}
    out = tmp_path / "mine"
    out.mkdir()
    table.assign(patient_id=table["patient_id"].map(names)).to_csv(
        out / "patients.csv", index=False
    )
    counts.rename(columns=names).to_csv(out / "expression.counts.csv")
    return out


@pytest.mark.slow
def test_own_cohort(folder: Path, shared_data: Path, tmp_path: Path) -> None:
    out = run(SLUG, parameters={**QUICK, "cohort": str(folder)}, out=tmp_path / "run")
    found = {e["id"]: e for e in read(out)["estimates"] if e["id"].startswith("own-")}
    assert {e["tier"] for e in found.values()} == {"yours"}
    beta = coefficients(shared_data, "lymphoid_vs_multilineage")
    reference = references(shared_data)
    counts = pd.read_csv(folder / "expression.counts.csv", index_col=0)
    eta = pd.Series(
        {
            s: index_by_hand({g: math.log10(v + 1) for g, v in counts[s].items()}, beta, reference)
            for s in counts
        }
    )
    p = 1 / (1 + np.exp(-eta))
    called = p[(p > 0.55) | (p < 0.45)]
    assert 10 < (called > 0.55).sum() < len(called) - 10
    share = (called > 0.55).sum() / len(p)
    assert found["own-multilineage"]["value"] == pytest.approx(share, rel=6e-3)
    table = pd.read_csv(folder / "patients.csv", dtype=str).set_index("patient_id")
    by_deletion = table["cdkn2a"] == "hom"
    z = (eta - eta.mean()) / eta.std()
    shift = np.median(np.subtract.outer(z[by_deletion].to_numpy(), z[~by_deletion].to_numpy()))
    assert found["own-cdkn2a"]["value"] == pytest.approx(shift, rel=6e-3, abs=6e-3)
    assert found["own-dfs-hr"]["value"] is not None
    report = (out / "report.html").read_text("utf8")
    assert "secret-" not in report and "secret-" not in (out / "results.json").read_text("utf8")
    judged = [v for v in read(out)["verdicts"] if v["tier"] == "yours"]
    assert {v["claim"] for v in judged} == {"ext-bastian-dfs3-p", "ext-bastian-cdkn2a-lymphoid"}


@pytest.mark.slow
def test_own_cohort_without_counts_is_given_no_class(folder: Path, tmp_path: Path) -> None:
    counts = folder / "expression.counts.csv"
    table = pd.read_csv(counts, index_col=0)
    np.log2(table + 1).round(3).to_csv(folder / "expression.log2.csv")
    counts.unlink()
    out = run(SLUG, parameters={**QUICK, "cohort": str(folder)}, out=tmp_path / "run")
    found = {e["id"]: e for e in read(out)["estimates"]}
    assert found["own-maturity"]["value"] is not None
    for id in ("own-multilineage", "own-dfs-hr"):
        assert found[id]["value"] is None and "class" in found[id]["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["few", "none"])
def test_own_cohort_too_small_or_of_another_kind(folder: Path, tmp_path: Path, what: str) -> None:
    table = pd.read_csv(folder / "patients.csv", dtype=str)
    kept = table.index >= (3 if what == "few" else 0)
    table.loc[kept, "subtype"] = "hyperdiploid"
    table.loc[kept, "bcr_abl1"] = "0"
    table.to_csv(folder / "patients.csv", index=False)
    out = run(SLUG, parameters={**QUICK, "cohort": str(folder)}, out=tmp_path / "run")
    found = [e for e in read(out)["estimates"] if e["id"].startswith("own-")]
    assert found and all(e["value"] is None for e in found)
    assert "could not be scored" in (out / "report.html").read_text("utf8")


@pytest.mark.parametrize(
    "bad", [{"threshold": 0.4}, {"threshold": 1.0}, {"draws": 10}, {"smallest_arm": 46}]
)
def test_parameters_out_of_range_are_refused(tmp_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameters, match=next(iter(bad))):
        run(SLUG, parameters=bad, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()

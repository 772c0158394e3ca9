"""Loaders against the derived tables of the mirror, and against the numbers of its SOURCE files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from ballbook import catalog, datasets, paths
from ballbook.cohort import Cohort, dictionary
from ballbook.maturity import STAGES

TARGET = "clinical/target-all-p2-cbioportal"
DEG = "omics/paediatric-all-deg-logcpm"


def same(ours: pd.Series, theirs: pd.Series) -> bool:
    """Whether two columns agree in order, missing values included."""
    a, b = ours.reset_index(drop=True), theirs.reset_index(drop=True)
    if a.dtype == object or b.dtype == object:
        return bool((a.fillna("").astype(str) == b.fillna("").astype(str)).all())
    return bool(np.allclose(a.astype(float), b.astype(float), equal_nan=True))


# --------------------------------------------------------------------- in the repository


def test_chiaretti_counts() -> None:
    c = datasets.load("chiaretti-2004")
    assert c.n == 128 and c.expression is not None and c.expression.shape == (7596, 128)
    assert list(c.expression.columns) == list(c.patients["patient_id"])
    assert c.patients["lineage"].value_counts().to_dict() == {"B": 95, "T": 33}
    b = c.patients[c.patients["lineage"] == "B"]
    counts = b["subtype"].value_counts().to_dict()
    assert counts == {"other": 43, "BCR::ABL1": 37, "KMT2A-r": 10, "TCF3::PBX1": 5}
    assert c.patients["age_years"].median() == 29
    assert (c.patients["age_years"] < 18).sum() == 16
    assert c.expression_kind == "log2" and c.tier == "open"


def test_chiaretti_relapse_after_remission() -> None:
    rows = datasets.load("chiaretti-2004").endpoint("RFS")
    b = rows[rows["lineage"] == "B"]
    assert (len(b), b["event"].sum()) == (66, 49)
    assert (b["subtype"] == "BCR::ABL1").sum() == 17
    assert (b["molecular_biology"] == "NEG").sum() == 34


def test_chiaretti_matches_the_package_as_exported(shared_data: Path) -> None:
    c = datasets.load("chiaretti-2004")
    folder = shared_data / "omics/chiaretti-all"
    pheno = pd.read_csv(folder / "pheno_128.csv", dtype={"sample": str})
    for ours, theirs in [
        ("patient_id", "sample"),
        ("sex", "sex"),
        ("age_years", "age"),
        ("immunophenotype", "BT"),
        ("molecular_biology", "mol.biol"),
        ("remission", "remission"),
        ("remission_detail", "CR"),
        ("fusion_protein", "fusion protein"),
        ("cytogenetics", "citog"),
        ("follow_up", "f.u"),
    ]:
        assert same(c.patients[ours], pheno[theirs]), ours
    probes = pd.read_csv(folder / "rma_log2_12625x128.csv.gz", index_col=0)
    symbol = pd.read_csv(folder / "hgu95av2_probe_symbol.csv", index_col="probe")["current_symbol"]
    named = symbol.dropna()
    best = probes.mean(axis=1)[named.index].groupby(named).idxmax()
    assert c.expression is not None and list(c.expression.index) == sorted(best.index)
    expected = probes.loc[best[c.expression.index]].to_numpy()
    assert np.abs(c.expression.to_numpy() - expected).max() < 0.0011


def test_chiaretti_durations_match_the_dates(shared_data: Path) -> None:
    p = datasets.load("chiaretti-2004").patients
    raw = pd.read_csv(shared_data / "clinical/chiaretti-all-bioconductor/ALL_phenoData.csv")

    def day(column: str) -> pd.Series:
        return pd.to_datetime(raw[column], format="%m/%d/%Y", errors="coerce")

    assert same(
        p["days_diagnosis_to_remission"], (day("date.cr") - day("diagnosis")).dt.days.astype(float)
    )
    assert same(
        p["days_remission_to_last_seen"],
        (day("date last seen") - day("date.cr")).dt.days.astype(float),
    )


def test_snapshot_dictionary_describes_the_snapshot() -> None:
    folder = paths.data() / "snapshots/chiaretti-2004"
    columns = yaml.safe_load((folder / "dictionary.yml").read_text())["columns"]
    table = pd.read_csv(folder / "patients.csv", dtype=str, keep_default_na=False)
    assert [c["name"] for c in columns] == list(table.columns)
    for c in columns:
        if c["type"] == "category":
            assert set(table[c["name"]]) - {""} == set(c["allowed"]), c["name"]


def test_ccri_two_by_two() -> None:
    p = datasets.load("ccri-p2ry8-crlf2").patients
    table = pd.crosstab(p["group"], p["ikzf1"])
    assert table.loc["relapsing"].to_dict() == {"del": 8, "wt": 14}
    assert table.loc["non-relapsing"].to_dict() == {"del": 2, "wt": 28}
    known = p[p["mutation_data"] == "yes"]
    assert (known["group"] == "non-relapsing").sum() == 19
    assert p["patient_id"].is_unique


def test_ccri_matches_the_transcribed_flags(shared_data: Path) -> None:
    flags = pd.read_csv(shared_data / "clinical/ccri-p2ry8-crlf2/patients_cna_flags.csv")
    theirs = flags.groupby(["cohort", "ikzf1_del_dia", "ikzf1_del_rel"], dropna=False).size()
    p = datasets.load("ccri-p2ry8-crlf2").patients
    number = {"del": 1.0, "wt": 0.0}
    ours = (
        p.assign(dia=p["ikzf1"].map(number), rel=p["ikzf1_relapse"].map(number))
        .groupby(["group", "dia", "rel"], dropna=False)
        .size()
    )
    assert sorted(ours.tolist()) == sorted(theirs.tolist())
    assert ours.loc[("relapsing", 0.0, 1.0)] == theirs.loc[("relapsing", 0, 1.0)] == 4


# ------------------------------------------------------------------------------ with the mirror


@pytest.fixture(scope="module")
def loaded() -> dict[str, Cohort]:
    return {}


@pytest.fixture
def load(shared_data: Path, loaded: dict[str, Cohort]):  # type: ignore[no-untyped-def]
    """Load a data set once for all tests of this file."""

    def get(id: str) -> Cohort:
        if id not in loaded:
            loaded[id] = datasets.load(id)
        return loaded[id]

    return get


def test_target_flags_match_the_derived_table(load, shared_data: Path) -> None:  # type: ignore[no-untyped-def]
    p = load("target-all-p2").patients
    derived = pd.read_csv(shared_data / TARGET / "derived_patient_flags.csv")
    for ours, theirs in [
        ("patient_id", "PATIENT_ID"),
        ("protocol", "PROTOCOL"),
        ("analysis_cohort", "analysis_cohorts"),
        ("lineage", "lineage"),
        ("karyotype_available", "kt_available"),
        ("monosomy_7", "kt_m7"),
        ("del_7p", "kt_del7p"),
        ("dic_7p", "kt_dic7p"),
        ("iso_7q", "kt_i7q"),
        ("loss_7p", "kt_7ploss"),
        ("del_7q", "kt_del7q"),
        ("add_7p", "kt_add7p"),
        ("t_9_22_karyotype", "kt_t922"),
        ("kmt2a_partner_karyotype", "kmt2a_partner_from_karyotype"),
    ]:
        assert same(p[ours], derived[theirs]), ours


def test_target_events_match_the_derived_table(load, shared_data: Path) -> None:  # type: ignore[no-untyped-def]
    c = load("target-all-p2")
    derived = pd.read_csv(shared_data / TARGET / "derived_patient_flags.csv").set_index(
        "PATIENT_ID"
    )
    for endpoint, column in [("EFS", "efs_event_derived"), ("OS", "os_event_derived")]:
        rows = c.endpoint(endpoint).set_index("patient_id")
        assert same(rows["event"].astype(float), derived.loc[rows.index, column]), endpoint
        assert len(rows) == 1535


def test_target_counts_of_the_source(load) -> None:  # type: ignore[no-untyped-def]
    c = load("target-all-p2")
    p = c.patients
    assert p["protocol"].value_counts().head(3).to_dict() == {
        "AALL0232": 845,
        "AALL0331": 414,
        "AALL0434": 266,
    }
    b = p[p["lineage"] == "B"]
    assert len(b) == 1278
    assert (b["kmt2a_r"] == 1).sum() == 31
    assert p["mrd_day29"].notna().sum() == 1534 and p["mrd_day29"].max() == 0.878
    assert p["mrd_day8"].notna().sum() == 320
    assert (c.mrd["timepoint"] == "day 29").sum() == 1534
    assert p["age_years"].min() > 1
    assert b["loss_7p"].notna().sum() == 914 and b["loss_7p"].sum() == 35
    timed = c.endpoint("EFS")
    timed = timed[(timed["lineage"] == "B") & (timed["protocol"] == "AALL0232")]
    known = timed[timed["loss_7p"].notna()]
    assert (len(known), known["loss_7p"].sum()) == (588, 28)


def test_target_survival_after_relapse(load) -> None:  # type: ignore[no-untyped-def]
    rows = load("target-all-p2").endpoint("OS after relapse")
    b = rows[rows["lineage"] == "B"]
    assert (len(b), b["event"].sum()) == (305, 184)
    assert (b["months_to_relapse"] < 18).sum() == 88
    assert (b["kmt2a_r"] == 1).sum() == 10
    assert (rows["time_months"] >= 0).all() and (rows["time_months"] == 0).sum() == 3


def test_dfci_matches_the_clinical_table(load, shared_data: Path) -> None:  # type: ignore[no-untyped-def]
    c = load("dfci-gse181157")
    theirs = pd.read_csv(shared_data / DEG / "gse181157_clinical_173.csv", dtype={"DFCI ID": str})
    p = c.patients
    for ours, column in [
        ("patient_id", "DFCI ID"),
        ("sex", "Sex"),
        ("age_years", "Age at Dx (years)"),
        ("wbc_10e9_per_l", "Highest WBC at Dx prior to systemic treatment"),
    ]:
        assert same(p[ours], theirs[column]), ours
    assert same(p["blast_fraction"] * 100, theirs["% blasts"])
    assert p["ikzf1"].value_counts().to_dict() == {"wt": 148, "del": 25}
    assert p["mrd_tp1"].value_counts().to_dict() == {"low": 104, "high": 52}
    assert p["mrd_tp2"].value_counts().to_dict() == {"low": 54, "high": 13}
    assert p["lineage"].value_counts().to_dict() == {"B": 136, "T": 37}
    b = p[p["lineage"] == "B"]
    assert pd.crosstab(b["ikzf1"], b["mrd_tp1"]).loc["del"].to_dict() == {"high": 10, "low": 12}
    ages = p.loc[p["subtype"] == "KMT2A-r", "age_years"].round(1)
    assert sorted(ages) == [1.0, 1.0, 1.3, 13.3, 19.3]


def test_labels_are_joined_as_in_the_mirror(load, shared_data: Path) -> None:  # type: ignore[no-untyped-def]
    load("dfci-gse181157")
    ours = datasets.column_labels()
    theirs = pd.read_csv(shared_data / DEG / "column_labels.csv")
    assert list(ours.columns) == list(theirs.columns)
    for column in theirs.columns:
        assert same(ours[column], theirs[column]), column


@pytest.mark.parametrize(("id", "n"), [("dfci-gse181157", 173), ("krali-2023", 313)])
def test_expression_matches_the_shared_table(load, shared_data: Path, id: str, n: int) -> None:  # type: ignore[no-untyped-def]
    expression = load(id).expression
    theirs = pd.read_csv(shared_data / DEG / "logcpm_2897genes_793samples.csv.gz", index_col=0)
    assert expression.shape == (2897, n)
    assert list(expression.index) == list(theirs.index)
    names = (
        [c for c in theirs.columns if datasets._dfci_sample(c)] if n == 173 else expression.columns
    )
    # The mirror rounds to two decimals.
    assert np.abs(expression.to_numpy() - theirs[names].to_numpy()).max() <= 0.00501


def test_krali_matches_the_clinical_table(load, shared_data: Path) -> None:  # type: ignore[no-untyped-def]
    c = load("krali-2023")
    theirs = pd.read_csv(shared_data / DEG / "krali2023_clinical_1131.csv.gz")
    assert same(c.patients["patient_id"], theirs["public_id"])
    assert same(c.patients["subtype_published"], theirs["Subtype at the end of the study"])
    assert same(c.patients["karyotype"], theirs["Karyotype"])
    expressed = c.patients[c.patients["patient_id"].isin(c.expression.columns)]
    counts = expressed["subtype"].value_counts()
    assert (counts["KMT2A-r"], counts["BCR::ABL1"], counts["T-ALL"]) == (15, 10, 19)
    assert not any(str(name).endswith("_r") for name in c.expression.columns)


def test_gse133499_matches_the_mirror(load, shared_data: Path) -> None:  # type: ignore[no-untyped-def]
    c = load("gse133499")
    folder = shared_data / "omics/geo-gse133499"
    counts = pd.read_csv(folder / "counts_42.csv.gz", index_col=0, keep_default_na=False)
    expected = counts[list(c.patients["patient_id"])]
    assert list(c.expression.index) == list(counts.index)
    assert (c.expression.to_numpy() == expected.to_numpy()).all()
    meta = pd.read_csv(folder / "metadata_38.csv")
    assert same(c.patients["age_years"], meta["Age"])
    assert same(c.patients["lc50_prednisolone"], meta["LC50 Pred (µg/mL)"])
    assert same(c.patients["ikzf1_published"], meta["IKZF1"].replace("#N/A", np.nan))
    assert not [name for name in c.patients if "death" in name.lower()]
    newborn = c.patients.set_index("patient_id").loc["ALL29"]
    assert newborn["age_years"] < 0.01 and newborn["immunophenotype"] == "pro-B"


def test_stage_genes_match_the_mirror(shared_data: Path) -> None:
    genes = datasets.load("allcatchr-stages")
    folder = shared_data / "omics/allcatchr"
    theirs = {}
    for line in (folder / "bstage_gene_sets.gmt").read_text().splitlines():
        name, _, *members = line.split("\t")
        theirs[name] = set(members)
    assert tuple(genes.sets) == STAGES
    for stage, (up, down) in genes.sets.items():
        assert set(up) == theirs[f"{stage}_UP"], stage
        assert set(down) == theirs[f"{stage}_DN"], stage
    background = (folder / "bstage_background_genes.txt").read_text().split()
    assert list(genes.background) == background and len(background) == 16687
    lengths = pd.read_csv(folder / "cds_length.csv.gz", keep_default_na=False)
    assert same(genes.cds_length, lengths.iloc[:, -1])
    assert set(genes.background) <= set(genes.cds_length.index)


def test_symbols_of_the_ensembl_table(load) -> None:  # type: ignore[no-untyped-def]
    genes = datasets.load("allcatchr-stages")
    table = datasets.with_symbols(load("dfci-gse181157").expression, genes)
    background = set(genes.background)
    assert len(background & set(table.index)) == 2650
    found = {s: sum(g in table.index for g in genes.sets[s][0]) for s in STAGES[1:6]}
    assert found == {
        "Pro.B": 48,
        "Pre.B.I": 51,
        "Pre.B.II.Large": 137,
        "Pre.B.II.Small": 35,
        "Immature": 26,
    }


def test_every_cohort_keeps_the_books_columns(load) -> None:  # type: ignore[no-untyped-def]
    for e in catalog.entries():
        c = load(e.id)
        if not isinstance(c, Cohort):
            continue
        assert c.patients["patient_id"].is_unique and c.patients["patient_id"].notna().all()
        assert set(c.patients["lineage"].dropna()) <= {"B", "T"}
        assert set(c.files) == {f.name for f in e.files}
        kinds = {col.name: col for col in dictionary("patients").columns}
        for name in set(kinds) & set(c.patients.columns):
            values = c.patients[name].dropna()
            if kinds[name].type == "deletion":
                assert set(values) <= {"del", "wt"}, (e.id, name)
            if kinds[name].type == "flag":
                assert set(values) <= {0.0, 1.0}, (e.id, name)
            if kinds[name].allowed:
                assert set(values) <= set(kinds[name].allowed), (e.id, name)


def test_pharmacotypes_equal_the_derived_table(shared_data: Path) -> None:
    lee = datasets.load("lee-2023")
    path = shared_data / "omics/lee2023-pharmacotyping/imputed_lc50_805x18x10.csv.gz"
    theirs = pd.read_csv(path)
    assert len(lee.imputations) == 10 and lee.imputations[0].shape == (805, 18)
    for i, part in enumerate(lee.imputations, 1):
        other = theirs[theirs[".imp"] == i].set_index("subject_id")
        ours = part.to_numpy()
        assert np.allclose(ours, other.loc[part.index, part.columns].to_numpy(), atol=6e-6)
    # Twice the highest dose of a range of five tenfold steps lies log10(2) / 5 above its end.
    assert lee.limits.loc["Venetoclax", "above"] == pytest.approx(1 + np.log10(2) / 5)
    assert lee.limits.loc["Venetoclax", "below"] == pytest.approx(-np.log10(2) / 5)
    # A few values lie beyond the one that stands for "below the lowest dose".
    assert lee.limits.loc["Asparaginase", "below"] == pytest.approx(-0.08613531)
    assert lee.imputations[0]["Asparaginase"].min() < -0.2


def test_zurich_reference_and_plate(shared_data: Path) -> None:
    zurich = datasets.load("zurich-drp")
    drugs = pd.read_csv(shared_data / "omics/kispi-drp/drugs.csv").set_index("drug_id")
    typed = datasets.published("zurich_drugs").set_index("drug_id")["drug"]
    assert len(typed) == 18
    assert (drugs.loc[typed.index, "drug_name"] == typed).all()
    statistics = zurich.statistics.pivot(index="drug", columns="metric", values="median")
    assert statistics.shape == (18, 6) and statistics.notna().all(axis=None)
    # The cohort's areas lie between nothing left and no effect.
    assert statistics["norm_logAUC"].between(0, 1).all()
    assert len(zurich.wells) == 240 and (zurich.wells["drug"] == "DMSO").sum() == 12
    assert set(zurich.wells.groupby("drug").size()) == {12}
    highest = zurich.wells.groupby("drug")["dose"].max()
    assert (highest[typed] == drugs.loc[typed.index, "max_assay_conc"].to_numpy()).sum() >= 15


# -------------------------------------------------------------------------------- rules by hand


@pytest.mark.parametrize(
    ("karyotype", "lost"),
    [
        ("45,XX,-7[10]/46,XX[10]", 1),
        ("46,XY,del(7)(p11.2)[5]", 1),
        ("45,XX,dic(7;9)(p11;p11)[18]", 1),
        ("45,XX,dic(9;7)(p13;p11)[18]", 1),
        ("46,XX,i(7)(q10)[20]", 1),
        ("46,XX,idic(7)(p11.2)[9]", 1),
        ("46,XY,del(7)(q22)[20]", 0),
        ("46,XY,add(7)(p22)[20]", 0),
        ("47,XX,+7[10]", 0),
        ("46,XY,-17,+mar[20]", 0),
        ("45,X,-X[10]", 0),
        ("46,XX,t(4;7)(q21;p11)[10]", 0),
        ("46,XX,dic(7;9)(q11;p13)[10]", 0),
    ],
)
def test_loss_of_7p(karyotype: str, lost: int) -> None:
    flags = datasets.karyotype_flags(pd.Series([karyotype, None]))
    assert flags["loss_7p"].iloc[0] == lost
    assert flags.iloc[1].isna().all()


@pytest.mark.parametrize(
    ("karyotype", "partner"),
    [
        ("46,XX,t(4;11)(q21;q23)[20]", "AFF1"),
        ("46,XY,t(3;4;11)(p14;q21;q23)[9]", "AFF1"),
        ("46,XX,t(4;11)(p10;p10)[15]", None),
        ("46,XX,t(11;19)(q23;p13.3)[20]", "MLLT1"),
        ("46,XX,t(9;11)(p22;q23)[20]", "MLLT3"),
        ("46,XX,ins(10;11)(p12;q13q23)[7]", "MLLT10"),
        ("46,XY,del(11)(q23)[12]", None),
    ],
)
def test_kmt2a_partner(karyotype: str, partner: str | None) -> None:
    found = datasets.kmt2a_partner(pd.Series([karyotype])).iloc[0]
    assert (found == partner) if partner else pd.isna(found)


def test_symbols_keep_the_most_expressed_row() -> None:
    genes = datasets.StageGenes(
        id="toy",
        title="toy",
        sets={},
        background=(),
        cds_length=pd.Series(dtype=float),
        identifiers=pd.DataFrame(
            {"symbol": ["A", "A", "B"], "ensembl": ["ENSG1", "ENSG2", "ENSG3"]}
        ),
    )
    table = pd.DataFrame(
        {"P1": [1.0, 5.0, 2.0, 9.0]}, index=["ENSG1.4", "ENSG2.1", "ENSG3", "ENSG9"]
    )
    assert datasets.with_symbols(table, genes)["P1"].to_dict() == {"A": 5.0, "B": 2.0}
    symbols = pd.DataFrame({"P1": [1.0, 2.0]}, index=["A", "B"])
    assert datasets.with_symbols(symbols, genes)["P1"].to_dict() == {"A": 1.0, "B": 2.0}


# ------------------------------------------------------------------------------ published tables


def test_every_published_row_has_a_source_and_a_locator() -> None:
    names = [p.stem for p in sorted((paths.data() / "published").glob("*.csv"))]
    assert names
    for name in names:
        table = datasets.published(name)
        assert table["source"].notna().all() and table["locator"].notna().all(), name


def test_unknown_published_table_lists_the_known() -> None:
    with pytest.raises(FileNotFoundError, match="ikzf1_arms"):
        datasets.published("nothing")


# ------------------------------------------------------------------- Gene Ontology processes


def test_processes_need_no_mirror_and_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BALLBOOK_DATA", raising=False)
    found = datasets.load("go-processes")
    assert len(found.sets) == len(found.names) == 74
    assert found.names["GO:0006325"] == "chromatin organization"
    assert {"EZH2", "DOT1L", "SETD2"} <= set(found.sets["GO:0006325"])
    assert {"MYC", "KIT"} <= set(found.sets["GO:0008283"])
    assert all(list(genes) == sorted(set(genes)) for genes in found.sets.values())
    # A process holds the genes of what lies below it.
    assert set(found.sets["GO:0140014"]) <= set(found.sets["GO:0000278"])


def test_class_models_are_whole(load) -> None:  # type: ignore[no-untyped-def]
    found = load("allcatchr-bcrabl1")
    sizes = {name: len(table) - 1 for name, table in found.coefficients.items()}
    assert sizes == {
        "lymphoid_vs_multilineage": 80, "delHBS1L": 122, "CDKN2A_PAX5": 137,
        "IKZF1": 82, "del7": 91, "hyperdiploid": 40,
    }  # fmt: skip
    assert found.levels["lymphoid_vs_multilineage"] == ("lymphoid", "multilineage")
    assert found.coefficients["lymphoid_vs_multilineage"]["SERPINB1"] == 0.480144656731932
    symbols = set(found.identifiers["symbol"])
    main = found.coefficients["lymphoid_vs_multilineage"].drop("intercept")
    assert set(main.index) <= symbols and found.identifiers["norm_exp"].between(0, 1).all()

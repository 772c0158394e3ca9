"""Loaders: each turns the upstream files of one catalogue entry into a `Cohort`.

A loader reads what the source published, byte for byte, and derives tables in the book's own
columns by rules written here; nothing is edited by hand. Subtypes are renamed to one vocabulary
(`SUBTYPES`), the source's own word staying in ``subtype_published``. Flags are 1.0, 0.0 or NaN.
"""

from __future__ import annotations

import copy
import io
import lzma
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import pandas as pd

from ballbook import catalog, cell_sets, paths
from ballbook.cell_sets import Cells, MassCytometry, Regulons, Trajectories
from ballbook.cohort import DAYS_PER_MONTH, DAYS_PER_YEAR, Cohort

# The source's word for a subtype, in the vocabulary of data/dictionaries/patients.yml.
SUBTYPES: dict[str, str] = {
    # Chiaretti 2004 (molecular biology)
    "ALL1/AF4": "KMT2A-r",
    "BCR/ABL": "BCR::ABL1",
    "E2A/PBX1": "TCF3::PBX1",
    "NEG": "other",
    "NUP-98": "other",
    "p15/p16": "other",
    # TARGET
    "BCR-ABL1": "BCR::ABL1",
    "BCR-ABL": "BCR::ABL1",
    "ETV6-RUNX1": "ETV6::RUNX1",
    "TCF3-PBX1": "TCF3::PBX1",
    "TCF3-HLF": "TCF3::HLF",
    "MLL-Rearranged": "KMT2A-r",
    "Trisomy of both chromosomes 4 and 10": "hyperdiploid",
    "Hyperdiploidy without trisomy of both chromsomes 4 and 10": "hyperdiploid",
    "Hyperdiploid; status of 4 and 10 unknown": "hyperdiploid",
    "Hypodiploid": "hypodiploid",
    "None of the above": "other",
    "None of above": "other",
    # DFCI (predicted from RNA)
    "ETV6-RUNX1_or_like": "ETV6::RUNX1 or like",
    "BCR-ABL1_or_like": "BCR::ABL1 or like",
    "KMT2A-R": "KMT2A-r",
    "DUX4-R": "DUX4-r",
    "ZNF384-R": "ZNF384-r",
    "MEF2D-R": "MEF2D-r",
    "NUTM1-R": "NUTM1-r",
    "PAX5_alteration": "PAX5alt",
    "PAX5_P80R": "PAX5 P80R",
    "Hyperdiploidy": "hyperdiploid",
    "Hypodiploidy": "hypodiploid",
    "Others": "other",
    # Krali 2023
    "HeH": "hyperdiploid",
    "low HeH": "low hyperdiploid",
    "hypodiploidy": "hypodiploid",
    "ALLIUM B-other": "other",
    "low-blast count": "",
    # ALLSorts (St Jude)
    "Ph": "BCR::ABL1",
    "Ph-like": "BCR::ABL1-like",
    "KMT2A Group": "KMT2A-r",
    "ZNF384 Group": "ZNF384-r",
    "DUX4": "DUX4-r",
    "MEF2D": "MEF2D-r",
    "NUTM1": "NUTM1-r",
    "HLF": "TCF3::HLF",
    "High hyperdiploid": "hyperdiploid",
    "Low hyperdiploid": "low hyperdiploid",
    "Low hypodiploid": "hypodiploid",
    "Near haploid": "near haploid",
    "ETV6-RUNX1-like": "ETV6::RUNX1-like",
    # ALLCatchR
    "Ph.pos": "BCR::ABL1",
    "Ph.like": "BCR::ABL1-like",
    "KMT2A": "KMT2A-r",
    "ZNF384": "ZNF384-r",
    "ETV6.RUNX1": "ETV6::RUNX1",
    "ETV6.RUNX1.like": "ETV6::RUNX1-like",
    "TCF3.PBX1": "TCF3::PBX1",
    "TCF3.HLF": "TCF3::HLF",
    "PAX5.alt": "PAX5alt",
    "PAX5.plus": "PAX5 P80R",
    "IKZF1.N159Y": "IKZF1 N159Y",
    "LH.NT": "hypodiploid",
    "NH.HeH": "hyperdiploid",
    "BCL_MYC": "BCL2/MYC",
    "UBTF.ATXN7L3": "CDX2/UBTF",
    "Unassigned": "unassigned",
}

KARYOTYPE_RULES: dict[str, str] = {
    "monosomy_7": r"(?:^|[,/\[\]\s])-7(?=[,/\[\]\s]|$)",
    "del_7p": r"del\(7\)\(p",
    "dic_7p": r"dic\((?:7;[\dXY]+\)\(p|[\dXY]+;7\)\([pq][\d.]*;p)",
    "iso_7q": r"i\(7\)\(q10\)|idic\(7\)\(p",
    "del_7q": r"del\(7\)\(q",
    "add_7p": r"add\(7\)\(p",
    "t_9_22": r"t\(9;22\)",
}
LOSS_7P = ("monosomy_7", "del_7p", "dic_7p", "iso_7q")

# AFF1 lies at 4q21: a t(4;11) through 4q1 or 4p joins something else.
KMT2A_PARTNERS: dict[str, str] = {
    "AFF1": r"t\(4;11\)(?!\((?:q1|p))|t\(\d+;4;11\)",
    "MLLT1": r"t\(11;19\)\(q23;p13(?:\.3)?\)",
    "MLLT3": r"t\(9;11\)\(p2",
    "AFDN": r"t\(6;11\)",
    "MLLT10": r"(?:t|ins)\(10;11\)",
}


def _subtype(published: pd.Series) -> pd.Series:
    """Rename the source's subtypes; a word the vocabulary lacks stays as it is."""
    word = published.str.strip()
    return word.map(lambda s: SUBTYPES.get(s, s) if isinstance(s, str) else s).replace("", np.nan)


def subtype_word(published: str) -> str:
    """Return a source's word for a subtype in the book's vocabulary, or as it is."""
    return SUBTYPES.get(published, published)


def karyotype_flags(karyotype: pd.Series) -> pd.DataFrame:
    """Return what an ISCN text says about chromosome 7 and t(9;22), by text rules.

    Parameters
    ----------
    karyotype : Series of str
        ISCN texts; missing where none was made.

    Returns
    -------
    DataFrame
        1.0, 0.0 or NaN (no karyotype) in the columns of `KARYOTYPE_RULES`, and ``loss_7p``: the
        arm that carries *IKZF1* is visibly lost, by monosomy 7, del(7p), a dicentric that joins
        7p, or an isochromosome 7q. A clone in any cell counts. Focal deletions cannot be seen,
        so this is never *IKZF1* status.
    """
    text = karyotype.fillna("")
    absent = karyotype.isna()
    flags = pd.DataFrame(
        {name: text.str.contains(rule).astype(float) for name, rule in KARYOTYPE_RULES.items()}
    )
    flags["loss_7p"] = flags[list(LOSS_7P)].max(axis=1)
    flags[absent] = np.nan
    return flags


def kmt2a_partner(karyotype: pd.Series) -> pd.Series:
    """Return the *KMT2A* partner that a translocation of 11q in an ISCN text suggests, or NaN.

    It is a suggestion: take it only where a rearrangement was found by another method.
    """
    text = karyotype.fillna("")
    partner: pd.Series[Any] = pd.Series(index=karyotype.index, dtype=object)
    for gene, rule in KMT2A_PARTNERS.items():
        partner[partner.isna() & text.str.contains(rule)] = gene
    return partner


def _cohort(id: str, **tables: Any) -> Cohort:
    e = catalog.entry(id)
    return Cohort(id=e.id, title=e.title, tier=e.tier, files=catalog.hashes(id), **tables)


def _unzip(path: Path, ending: str) -> io.BytesIO:
    """Return the one member of a zip file whose name ends so."""
    with zipfile.ZipFile(path) as z:
        names = [n for n in z.namelist() if n.endswith(ending) and not n.startswith("__MACOSX")]
        if len(names) != 1:
            raise ValueError(f"{path.name} holds {len(names)} files that end with {ending}, not 1")
        return io.BytesIO(z.read(names[0]))


# ------------------------------------------------------------------------- Chiaretti 2004


def chiaretti() -> Cohort:
    """Return Chiaretti 2004: 128 patients, 7,596 genes (log2), relapse after remission.

    The endpoint is ``RFS``, from remission to relapse or last seen; the source has no date of
    death, so deaths in remission are censored where they have a date at all.
    """
    id = "chiaretti-2004"
    raw = pd.read_csv(catalog.fetch(id, "patients"), dtype=str, keep_default_na=False)
    patients = raw.replace("", np.nan)
    for column in ["age_years", "days_diagnosis_to_remission", "days_remission_to_last_seen"]:
        patients[column] = pd.to_numeric(patients[column])
    patients["lineage"] = patients["immunophenotype"].str[0]
    patients["subtype_published"] = patients["molecular_biology"]
    patients["subtype"] = _subtype(patients["molecular_biology"]).where(
        patients["lineage"] == "B", "T-ALL"
    )
    patients["fusion_partner"] = patients["molecular_biology"].map({"ALL1/AF4": "AFF1"})
    seen = patients["days_remission_to_last_seen"].notna() & patients["relapse"].notna()
    followed = patients[seen]
    event = (followed["relapse"] == "yes").astype(int)
    outcomes = pd.DataFrame(
        {
            "patient_id": followed["patient_id"],
            "endpoint": "RFS",
            "time_months": followed["days_remission_to_last_seen"] / DAYS_PER_MONTH,
            "event": event,
            "event_type": event.map({1: "relapse", 0: "none"}),
            "entry_months": np.nan,
        }
    ).reset_index(drop=True)
    expression = pd.read_csv(catalog.fetch(id, "expression"), index_col="gene")
    expression = expression.drop(columns="probe")
    return _cohort(
        id,
        patients=patients,
        outcomes=outcomes,
        expression=expression,
        expression_kind="log2",
        notes=(
            "Microarray: one probe set a gene, the one with the highest mean.",
            "RFS counts from remission to relapse; no deaths are dated.",
        ),
    )


# --------------------------------------------------------------------------------- TARGET

_TARGET_EVENTS = {
    "Relapse": "relapse",
    "Death": "death",
    "Death without Remissio": "death",
    "SMN": "second-malignancy",
    "Induction failure": "induction-failure",
    "Progression": "progression",
    "Censored": "none",
}
_TARGET_STATUS = {
    "kmt2a_r": "MLL_STATUS",
    "bcr_abl1": "BCR_ABL1_STATUS",
    "etv6_runx1": "ETV6_RUNX1_FUSION_STATUS",
    "tcf3_pbx1": "TCF3_PBX1_STATUS",
    "trisomy_4_10": "TRISOMY_4_10",
}
_TARGET_MRD = {
    "day 8": (8, "MRD_PERCENT_DAY_8"),
    "day 29": (29, "MRD_PERCENT_DAY_29"),
    "day 43": (43, "MRD_PERCENT_DAY_43"),
    "end of consolidation": (None, "MRD_END_CONSOLIDATION"),
}


def _cbioportal(path: Path) -> pd.DataFrame:
    """Read a cBioPortal clinical file: four comment lines, then a header."""
    return pd.read_csv(path, sep="\t", skiprows=4, dtype=str)


def _joined(values: pd.Series) -> str:
    """Return the different semicolon-separated words of a group of rows, sorted and joined."""
    words = {w for v in values.dropna() for w in v.split(";")}
    return ";".join(sorted(words))


def target() -> Cohort:
    """Return TARGET ALL phase II: 1,551 patients, outcome, MRD, genetics and karyotype flags.

    Samples are collapsed to patients (their genetic columns agree within a patient).
    Endpoints: ``EFS`` (an event is any first event but censoring), ``OS``, and
    ``OS after relapse`` for those whose first event is a relapse, counted from the relapse, with
    ``entry_months`` 0; ``months_to_relapse`` is in `patients`. Three patients are followed to the
    day of their relapse and no further, so that their time after it is zero.
    """
    id = "target-all-p2"
    raw = _cbioportal(catalog.fetch(id, "patients"))
    samples = _cbioportal(catalog.fetch(id, "samples")).groupby("PATIENT_ID")
    number = {c: pd.to_numeric(raw[c]) for c in ["AGE_IN_DAYS", "WBC", "DAYS_TO_EVENT", "OS_DAYS"]}
    pid = raw["PATIENT_ID"]
    status = {"Positive": 1.0, "Negative": 0.0}
    per_patient = samples.first().reindex(pid).reset_index()
    event_type = raw["FIRST_EVENT"].map(_TARGET_EVENTS).fillna("none")
    if unknown := set(raw["FIRST_EVENT"].dropna()) - set(_TARGET_EVENTS):
        raise ValueError(f"TARGET has first events that no rule names: {sorted(unknown)}")

    flags = karyotype_flags(raw["KARYOTYPE"]).rename(columns={"t_9_22": "t_9_22_karyotype"})
    patients = pd.DataFrame(
        {
            "patient_id": pid,
            "sex": raw["SEX"].map({"Female": "F", "Male": "M"}),
            "age_years": number["AGE_IN_DAYS"] / DAYS_PER_YEAR,
            "wbc_10e9_per_l": number["WBC"],
            "cns": raw["CNS_STATUS"].str.extract(r"CNS ([123])", expand=False).radd("CNS"),
            "protocol": raw["PROTOCOL"],
            "analysis_cohort": samples["ANALYSIS_COHORT"].agg(_joined).reindex(pid).to_numpy(),
            "lineage": per_patient["CELL_OF_ORIGIN"].map(
                {"B-Precursor": "B", "B Cell ALL": "B", "T Cell ALL": "T"}
            ),
        }
    )
    patients["subtype_published"] = per_patient["MOLECULAR_SUBTYPE"]
    patients["subtype"] = _subtype(per_patient["MOLECULAR_SUBTYPE"]).where(
        patients["lineage"] != "T", "T-ALL"
    )
    for name, column in _TARGET_STATUS.items():
        patients[name] = per_patient[column].map(status)
    patients["karyotype"] = raw["KARYOTYPE"]
    patients["karyotype_available"] = raw["KARYOTYPE"].notna().astype(float)
    patients = pd.concat([patients, flags], axis=1)
    patients["kmt2a_partner_karyotype"] = kmt2a_partner(raw["KARYOTYPE"])
    patients["fusion_partner"] = patients["kmt2a_partner_karyotype"].where(patients["kmt2a_r"] == 1)
    for name, column in [("mrd_day8", "DAY_8"), ("mrd_day29", "DAY_29")]:
        patients[name] = pd.to_numeric(raw[f"MRD_PERCENT_{column}"]) / 100
    patients["first_event"] = event_type
    relapsed = event_type == "relapse"
    patients["months_to_relapse"] = (number["DAYS_TO_EVENT"] / DAYS_PER_MONTH).where(relapsed)
    for site in ["marrow", "cns", "testes"]:
        column = {"marrow": "BONE_MARROW"}.get(site, site.upper()) + "_SITE_OF_RELAPSE"
        patients[f"relapse_{site}"] = (
            per_patient[column].map({"Yes": 1.0, "No": 0.0}).where(relapsed)
        )

    death = raw["OS_STATUS"].map({"0:LIVING": 0.0, "1:DECEASED": 1.0})
    death_type = death.map({1.0: "death", 0.0: "none"})
    after = number["OS_DAYS"] - number["DAYS_TO_EVENT"]
    endpoints = {
        "EFS": (number["DAYS_TO_EVENT"], (event_type != "none").astype(float), event_type),
        "OS": (number["OS_DAYS"], death, death_type),
        "OS after relapse": (after.where(relapsed), death, death_type),
    }
    outcomes = pd.concat(
        [
            pd.DataFrame(
                {
                    "patient_id": pid,
                    "endpoint": name,
                    "time_months": time / DAYS_PER_MONTH,
                    "event": event,
                    "event_type": kind,
                    "entry_months": 0.0,
                }
            ).dropna(subset=["time_months", "event"])
            for name, (time, event, kind) in endpoints.items()
        ],
        ignore_index=True,
    ).astype({"event": int})
    return _cohort(
        id,
        patients=patients,
        outcomes=outcomes,
        mrd=_target_mrd(raw),
        notes=(
            "Sampled on events: stratify by protocol and analysis cohort.",
            "No IKZF1 copy number. loss_7p is a cytogenetic surrogate, never IKZF1 status.",
            "For research on childhood cancer, not for developing tools alone.",
        ),
    )


def _target_mrd(raw: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for timepoint, (day, column) in _TARGET_MRD.items():
        rows.append(
            pd.DataFrame(
                {
                    "patient_id": raw["PATIENT_ID"],
                    "timepoint": timepoint,
                    "day": np.nan if day is None else float(day),
                    "level": pd.to_numeric(raw[column]) / 100,
                    "limit_of_detection": pd.to_numeric(raw[f"{column}_SENSITIVITY"]) / 100,
                    "category": np.nan,
                    "method": "flow cytometry",
                }
            ).dropna(subset=["level"])
        )
    return pd.concat(rows, ignore_index=True)


# -------------------------------------------------------------- DFCI, Krali and their table


def _logcpm(id: str) -> pd.DataFrame:
    """Return the shared log-CPM table, 2,897 Ensembl genes by 793 samples."""
    table = pd.read_csv(_unzip(catalog.fetch(id, "expression"), ".csv"), index_col=0)
    table.index.name = "gene"
    return table


def _dfci_clinical() -> pd.DataFrame:
    raw = pd.read_excel(
        catalog.fetch("dfci-gse181157", "clinical"), dtype=str, keep_default_na=False
    )
    raw = raw.loc[:, [c for c in raw.columns if not str(c).startswith("Unnamed")]]
    raw.columns = raw.columns.str.strip()
    return raw[raw["DFCI ID"] != ""].replace("N/A", "").reset_index(drop=True)


def _dfci_sample(column: str) -> str | None:
    """Return the patient of a column such as ``GSM5491718_16.001``, or None."""
    found = re.fullmatch(r"GSM\d+_(\d+)\.(\d+)", column)
    return f"{found[1]}-{found[2]}" if found else None


def dfci() -> Cohort:
    """Return DFCI 16-001: 173 patients, MRD as low or high at two times, IKZF1, expression.

    The source prints MRD as classes, so ``level`` is missing and ``category`` holds the class.
    Expression rows are Ensembl ids (see `with_symbols`). There are no survival times.
    """
    id = "dfci-gse181157"
    raw = _dfci_clinical()
    published = raw["Predicted subtype by RNA-seq"].str.strip()
    mrd_class = {"Low": "low", "High": "high"}
    patients = pd.DataFrame(
        {
            "patient_id": raw["DFCI ID"],
            "sex": raw["Sex"],
            "age_years": pd.to_numeric(raw["Age at Dx (years)"]),
            "wbc_10e9_per_l": pd.to_numeric(raw["Highest WBC at Dx prior to systemic treatment"]),
            "cns": raw["CNS status"].str.replace(" ", ""),
            "protocol": "DFCI 16-001",
            "lineage": np.where(raw["Diagnosis"].str.contains("Pre-T"), "T", "B"),
            "subtype_published": published,
            "subtype": _subtype(published),
            "subtype_conventional": _subtype(raw["Conventional methods subtype"]),
            "ikzf1": raw["IKZF1 deletion"].map({"Positive": "del", "Negative": "wt"}),
            "nci_risk": raw["NCI Risk"].where(raw["NCI Risk"].isin(["SR", "HR"])),
            "final_risk": raw["Final Risk"].replace("Not Available", np.nan),
            "remission": raw["Complete Remission"].map({"Yes": "yes", "No": "no"}),
            "blast_fraction": pd.to_numeric(raw["% blasts"]) / 100,
            "tissue": raw["Tumor source"],
            "fusions": raw["Fusions"].str.strip(),
            "karyotype": raw["Karyotype"].replace("", np.nan),
            "mrd_tp1": raw["TP1 MRD"].map(mrd_class),
            "mrd_tp2": raw["TP2 MRD"].map(mrd_class),
        }
    )
    patients["fusion_partner"] = _partner_from_fusions(patients)
    mrd = pd.concat(
        [
            pd.DataFrame(
                {
                    "patient_id": patients["patient_id"],
                    "timepoint": timepoint,
                    "day": np.nan,
                    "level": np.nan,
                    "limit_of_detection": np.nan,
                    "category": patients[column],
                    "method": np.nan,
                }
            ).dropna(subset=["category"])
            for timepoint, column in [("TP1", "mrd_tp1"), ("TP2", "mrd_tp2")]
        ],
        ignore_index=True,
    )
    table = _logcpm(id)
    columns = {c: p for c in table.columns if (p := _dfci_sample(c)) is not None}
    expression = table[list(columns)].rename(columns=columns)[list(patients["patient_id"])]
    return _cohort(
        id,
        patients=patients,
        mrd=mrd,
        expression=expression,
        expression_kind="logcpm",
        notes=(
            "MRD is printed as low or high only, without its cut-off.",
            "Subtypes are predictions from RNA; some classes join a fusion and its phenocopy.",
            "Expression: 2,897 genes selected against controls, batch-adjusted by a third party.",
        ),
    )


def _partner_from_fusions(patients: pd.DataFrame) -> pd.Series:
    """Return the partner in a fusion text such as ``KMT2A-AFF1`` for KMT2A-rearranged patients."""
    partner = patients["fusions"].str.extract(r"KMT2A[-:]+([A-Z0-9]+)", expand=False)
    return partner.where(patients["subtype"] == "KMT2A-r")


def _krali_clinical() -> pd.DataFrame:
    book = _unzip(catalog.fetch("krali-2023", "clinical"), ".xlsx")
    raw = pd.read_excel(book, header=1, dtype=str, keep_default_na=False)
    raw.columns = raw.columns.str.strip()
    return raw


def krali() -> Cohort:
    """Return Krali 2023: 1,131 patients with genetics, 313 of them with expression.

    Only first samples have expression here; relapse samples are left out. No ages, no outcome.
    """
    id = "krali-2023"
    raw = _krali_clinical()
    published = raw["Subtype at the end of the study"].str.strip()
    patients = pd.DataFrame(
        {
            "patient_id": raw["public_id"],
            "subtype_published": published,
            "subtype": _subtype(published),
            "subtype_at_diagnosis": _subtype(raw["Subtype at ALL diagnosis"]),
            "fusions": raw["Fusions"],
            "mutations": raw["Mutations"],
            "karyotype": raw["Karyotype"].replace("", np.nan),
            "library": raw["library"].replace("", np.nan),
        }
    )
    patients["lineage"] = np.where(raw["Subtype at ALL diagnosis"] == "T-ALL", "T", "B")
    patients["fusion_partner"] = _partner_from_fusions(patients).fillna(
        kmt2a_partner(patients["karyotype"]).where(patients["subtype"] == "KMT2A-r")
    )
    table = _logcpm(id)
    sequenced = [p for p in patients["patient_id"] if p in table.columns]
    return _cohort(
        id,
        patients=patients,
        expression=table[sequenced],
        expression_kind="logcpm",
        notes=(
            "Expression: 2,897 genes selected against controls, batch-adjusted by a third party.",
            "Three library preparations: stratify by library.",
        ),
    )


def column_labels() -> pd.DataFrame:
    """Return the labels of the 793 columns of the shared log-CPM table.

    Returns
    -------
    DataFrame
        ``sample``, ``cohort`` (GEO series), ``subtype`` (the source's word), ``library`` and
        ``age_years``, in the order of the table; blank where neither clinical table has it.
    """
    d = _dfci_clinical().set_index("DFCI ID")
    k = _krali_clinical().set_index("public_id")
    sample = pd.Series(_logcpm("dfci-gse181157").columns, name="sample")
    patient = sample.map(_dfci_sample)
    ours, nordic = patient.isin(d.index), sample.isin(k.index)
    subtype = patient.map(d["Predicted subtype by RNA-seq"])
    return pd.DataFrame(
        {
            "sample": sample,
            "cohort": ours.map({True: "GSE181157"}).fillna(nordic.map({True: "GSE227832"})),
            "subtype": subtype.fillna(sample.map(k["Subtype at the end of the study"])).str.strip(),
            "library": sample.map(k["library"]),
            "age_years": patient.map(d["Age at Dx (years)"]).astype(float),
        }
    )


# ----------------------------------------------------------------------------------- CCRI


def ccri() -> Cohort:
    """Return the CCRI series: one row a patient, made from the counts.

    ``group`` is ``relapsing`` or ``non-relapsing``, ``relapse`` the same as 1.0 or 0.0,
    ``ikzf1`` the deletion at diagnosis, ``ikzf1_relapse`` at relapse (missing without a relapse
    sample), ``mutation_data`` and ``relapse_sample`` yes or no. Identifiers are made up.
    """
    id = "ccri-p2ry8-crlf2"
    counts = pd.read_csv(catalog.fetch(id, "counts"), dtype=str, keep_default_na=False)
    repeats = pd.to_numeric(counts["n"])
    patients = counts.loc[counts.index.repeat(repeats)].drop(columns="n").reset_index(drop=True)
    patients = patients.replace("", np.nan).rename(columns={"ikzf1_diagnosis": "ikzf1"})
    patients.insert(0, "patient_id", [f"ccri-{i + 1:02d}" for i in range(len(patients))])
    patients["relapse"] = (patients["group"] == "relapsing").astype(float)
    patients["lineage"] = "B"
    patients["subtype"] = "P2RY8::CRLF2"
    return _cohort(
        id,
        patients=patients,
        notes=(
            "A case-control series chosen by relapse: odds ratios only.",
            "A patient missing from the authors' list of deletions counts as undeleted.",
        ),
    )


# ------------------------------------------------------------------------------ ALLCatchR


@dataclass(frozen=True)
class StageGenes:
    """Gene sets of normal B-lymphopoiesis.

    Parameters
    ----------
    sets : dict
        Stage to its genes (up, down), in the order of differentiation.
    background : tuple of str
        The genes among which stage genes are ranked.
    cds_length : Series
        Coding length in bases by gene symbol, for TPM.
    identifiers : DataFrame
        ``symbol``, ``ensembl``, ``entrez`` and ``norm_exp`` (mean normalised expression).
    """

    id: str
    title: str
    sets: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
    background: tuple[str, ...]
    cds_length: pd.Series
    identifiers: pd.DataFrame
    files: dict[str, str] = field(default_factory=dict)


def stages() -> StageGenes:
    """Return the ALLCatchR stage gene sets, background, coding lengths and identifiers."""
    import rdata

    from ballbook.maturity import STAGES

    e = catalog.entry("allcatchr-stages")
    r = rdata.read_rda(catalog.fetch(e.id, "sysdata"))
    up, down = r["Genes_upMini"], r["Genes_dnMini"]
    return StageGenes(
        id=e.id,
        title=e.title,
        sets={s: (_words(up[s]), _words(down[s])) for s in STAGES},
        background=_words(r["genesMini"]),
        cds_length=_cds_length(r["cds_length"]),
        identifiers=_identifiers(r["ID_conversion_sex"]),
        files=catalog.hashes(e.id),
    )


@dataclass(frozen=True)
class SubtypeScores:
    """Subtype gene sets, and the samples that a new one is compared with.

    Parameters
    ----------
    sets : dict
        Subtype, in the source's word, to its genes (up, down), in the order of the columns of
        `scores`.
    background : tuple of str
        The genes among which those of the sets are ranked.
    cds_length : Series
        Coding length in bases by gene symbol, for TPM.
    identifiers : DataFrame
        ``symbol``, ``ensembl``, ``entrez`` and ``norm_exp``.
    scores : DataFrame
        One row a training sample, one column a set: scores scaled from 0 to 1 within the sample.
    subtype : Series
        Subtype of each training sample in the book's words, ``unassigned`` where it has none.
    """

    id: str
    title: str
    sets: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
    background: tuple[str, ...]
    cds_length: pd.Series
    identifiers: pd.DataFrame
    scores: pd.DataFrame
    subtype: pd.Series
    files: dict[str, str] = field(default_factory=dict)


def subtypes() -> SubtypeScores:
    """Return the subtype gene sets of ALLCatchR and its 2,294 training samples as scores.

    ``hyperdiploid`` holds near-haploid samples too: ALLCatchR tells them apart in a second step.
    """
    import rdata

    e = catalog.entry("allcatchr-subtypes")
    r = rdata.read_rda(catalog.fetch(e.id, "sysdata"))
    training = r["TotalScore_scaled_training"].reset_index(drop=True)
    scores = training.drop(columns="subtype").rename(columns=str).astype(float)
    up, down = r["Genes_up20"], r["Genes_dn20"]
    identifiers = _identifiers(r["ID_conversion"])
    return SubtypeScores(
        id=e.id,
        title=e.title,
        sets={str(s): (_words(up[s]), _words(down[s])) for s in scores.columns},
        background=tuple(identifiers["symbol"]),
        cds_length=_cds_length(r["cds_length"]),
        identifiers=identifiers,
        scores=scores,
        subtype=_subtype(training["subtype"].astype(str)).rename("subtype"),
        files=catalog.hashes(e.id),
    )


def _words(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(v) for v in values)


def _cds_length(raw: pd.DataFrame) -> pd.Series:
    return pd.Series(
        raw["cds_length"].to_numpy(dtype=float),
        index=pd.Index(raw["gene"].astype(object), name="gene"),
        name="cds_length",
    )


def _identifiers(raw: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "symbol": raw["symbol"].astype(object),
            "ensembl": raw["ensemble_ID"].astype(object),
            "entrez": raw["entrez_ID"].astype(float),
            "norm_exp": raw["norm_exp"].astype(float),
        }
    ).reset_index(drop=True)


def with_symbols(
    expression: pd.DataFrame, genes: StageGenes | SubtypeScores | ClassModels
) -> pd.DataFrame:
    """Return `expression` with gene symbols as its index.

    Rows that are Ensembl ids (a version suffix is ignored) are renamed by `genes`, those without
    a symbol dropped; of rows that share a symbol the one with the highest mean stays. A table
    whose rows are symbols already only loses its duplicates.
    """
    names = pd.Series(expression.index.astype(str), index=expression.index)
    if names.str.startswith("ENSG").mean() > 0.5:
        symbol = genes.identifiers.set_index("ensembl")["symbol"]
        names = names.str.replace(r"\.\d+$", "", regex=True).map(symbol)
    known = names.notna().to_numpy()
    table = expression[known]
    table = table.set_axis(pd.Index(names[known].to_numpy(), name="gene"), axis=0)
    if not table.index.has_duplicates:
        return table
    order = np.argsort(-table.mean(axis=1).to_numpy(), kind="stable")
    first = np.sort(order[~table.index[order].duplicated()])
    return table.iloc[first]


# ------------------------------------------------------------------- Gene Ontology processes


@dataclass(frozen=True)
class Processes:
    """Genes of biological processes.

    Parameters
    ----------
    sets : dict
        Number of the term (``GO:0006325``) to its genes.
    names : dict
        Number to name.
    """

    id: str
    title: str
    sets: dict[str, tuple[str, ...]]
    names: dict[str, str]
    files: dict[str, str] = field(default_factory=dict)


def processes() -> Processes:
    """Return the biological processes of the generic GO slim and two beside it."""
    e = catalog.entry("go-processes")
    with lzma.open(catalog.fetch(e.id, "sets"), "rt", encoding="utf8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    return Processes(
        id=e.id,
        title=e.title,
        sets={number: tuple(genes) for number, _, *genes in rows},
        names={number: name for number, name, *_ in rows},
        files=catalog.hashes(e.id),
    )


# ------------------------------------------------------------------------------ GSE133499


def gse133499() -> Cohort:
    """Return GSE133499: 38 patients, raw counts, glucocorticoid LC50, deletions by MLPA.

    The four cell-line samples are left out and the date of death is never read.
    """
    id = "gse133499"
    raw = pd.read_excel(
        catalog.fetch(id, "clinical"),
        dtype=str,
        usecols=lambda c: c != "Date Death",
        keep_default_na=False,
    ).replace({"#N/A": np.nan, "": np.nan})
    months = pd.to_numeric(raw["Age at diagnosis (months)"])
    ipt = raw["IPT"].str.strip()
    patients = pd.DataFrame(
        {
            "patient_id": raw["Anonym ID"],
            "sex": raw["Sex"].str.upper(),
            "age_years": months / 12,
            "wbc_10e9_per_l": pd.to_numeric(raw["WBC/nL day 0"]),
            "lineage": ipt.map(lambda s: "T" if s == "T" else "B" if isinstance(s, str) else s),
            "immunophenotype": ipt,
            "stage": raw["Disease Stage at Arrival"].str.strip(),
            "protocol": raw["Init therapy/Treatment protocol"],
            "tissue": raw["Material"],
            "karyotype": raw["Karyotype"],
            "etv6_runx1": raw["ETV6-RUNX1 translocation"].map({"ETV6-RUNX1": 1.0, "no": 0.0}),
            "other_alterations": raw["other alterations"],
            "gc_class": raw["GC sensitive/resistant"].str.strip(),
            "lc50_prednisolone": pd.to_numeric(raw["LC50 Pred (µg/mL)"]),
            "lc50_dexamethasone": pd.to_numeric(raw["LC50 Dex (µg/mL)"]),
        }
    )
    stated = raw["other alterations"].fillna(raw["ETV6-RUNX1 translocation"].replace("no", np.nan))
    patients["subtype_published"] = stated
    patients["subtype"] = _subtype(stated).mask(patients["lineage"] == "T", "T-ALL")
    for gene in ["IKZF1", "PAX5", "CDKN2A", "CDKN2B", "BTG1", "EBF1", "ETV6", "RB1", "PAR1"]:
        # The column of the pseudoautosomal region names its genes as well.
        column = next(c for c in raw if str(c).split(" ")[0] == gene)
        patients[gene.lower()] = raw[column].map(_mlpa)
        patients[f"{gene.lower()}_published"] = raw[column]
    table = _sheet_of_counts(_unzip(catalog.fetch(id, "counts"), ".xlsx"))
    return _cohort(
        id,
        patients=patients,
        expression=table[list(patients["patient_id"])],
        expression_kind="counts",
        notes=("Some samples were taken at relapse: see stage.",),
    )


def _sheet_of_counts(book: io.BytesIO) -> pd.DataFrame:
    """Read the one sheet of a workbook of genes by samples, whole numbers only.

    Its million cells take a general reader a quarter of a minute; the bytes are fixed by their
    hash, so their plain layout may be relied on.
    """
    with zipfile.ZipFile(book) as z:
        strings = re.findall(
            r"<si><t[^>]*>([^<]*)</t></si>", z.read("xl/sharedStrings.xml").decode()
        )
        sheet = z.read("xl/worksheets/sheet1.xml")
    cell = re.compile(rb'<c r="[A-Z]+\d+"(?: s="\d+")?(?: t="s")?><v>([^<]*)</v></c>')
    rows = [cell.findall(row) for row in sheet.split(b"</row>")]
    header = [strings[int(v)] for v in rows[0][1:]]
    body = [row for row in rows[1:] if row]
    return pd.DataFrame(
        [[int(float(v)) for v in row[1:]] for row in body],
        index=pd.Index([strings[int(row[0])] for row in body], name="gene"),
        columns=header,
    )


def _mlpa(call: object) -> object:
    """Return wt, del or missing from an MLPA call such as ``del ex1-10`` or ``hdel ex2``.

    A gain is neither a deletion nor a normal gene, so it is missing here.
    """
    if not isinstance(call, str):
        return np.nan
    word = call.strip().lower()
    if word == "wt":
        return "wt"
    return "del" if "del" in word else np.nan


# ------------------------------------------------------------------------- drug response


@dataclass(frozen=True)
class Pharmacotypes:
    """Ex vivo response of many patients to many drugs, as completed several times.

    Parameters
    ----------
    imputations : tuple of DataFrame, patients x drugs
        Log LC50 on each drug's tested range: 0 the lowest, 1 the highest tested dose.
    limits : DataFrame
        By drug the values that stand for "below the lowest dose" (``below``) and "above the
        highest" (``above``); NaN where none is seen.
    """

    id: str
    title: str
    imputations: tuple[pd.DataFrame, ...]
    limits: pd.DataFrame
    files: dict[str, str] = field(default_factory=dict)


def pharmacotypes() -> Pharmacotypes:
    """Return Lee 2023: 805 children, 18 drugs, ten imputations of normalised log LC50.

    Values beyond the tested doses carry one number a drug, below 0 or above 1: the one that most
    patients share, five at least.
    """
    id = "lee-2023"
    raw = pd.read_csv(catalog.fetch(id, "imputed"))
    drugs = sorted(c for c in raw.columns if c not in {".imp", ".id", "subject_id"})
    parts = tuple(
        part.set_index("subject_id")[drugs].rename_axis("patient_id")
        for _, part in raw.groupby(".imp", sort=True)
    )
    ends = {}
    for drug in drugs:
        shared = parts[0][drug].value_counts()
        shared = shared[shared >= 5]
        low, high = shared[shared.index < 0], shared[shared.index > 1]
        ends[drug] = {
            "below": low.idxmax() if len(low) else np.nan,
            "above": high.idxmax() if len(high) else np.nan,
        }
    e = catalog.entry(id)
    return Pharmacotypes(e.id, e.title, parts, pd.DataFrame(ends).T, catalog.hashes(id))


@dataclass(frozen=True)
class DrugReference:
    """What the Zurich platform publishes: percentiles of a cohort, and one plate.

    Parameters
    ----------
    statistics : DataFrame
        ``drug``, ``metric`` and the mean, sd and percentiles of the reference cohort.
    wells : DataFrame
        The example plate: ``sample_id``, ``plate``, ``well``, ``drug``, ``dose`` (nM),
        ``response`` (viable leukaemia cells), ``exclude``.
    """

    id: str
    title: str
    statistics: pd.DataFrame
    wells: pd.DataFrame
    files: dict[str, str] = field(default_factory=dict)


def zurich() -> DrugReference:
    """Return the reference percentiles and the example plate of the Zurich platform.

    Measurements of wells that are on no layout are left out; the reference is the one of its first
    cohort, with drugs named by ``data/published/zurich_drugs.csv``.
    """
    id = "zurich-drp"
    names = published("zurich_drugs").set_index("drug_id")["drug"]
    raw = pd.read_csv(catalog.fetch(id, "reference"))
    raw = raw[raw["cohort_id"] == 1]
    raw.insert(0, "drug", raw["drug_id"].map(names))
    statistics = raw.drop(columns=["cohort_id", "drug_id", "tenant_id", "user_id"])
    layout = pd.read_csv(catalog.fetch(id, "layout"))
    found = pd.read_csv(catalog.fetch(id, "measurement"))
    wells = found.merge(layout, on=["row", "col"], how="inner")
    wells = pd.DataFrame(
        {
            "sample_id": "example",
            "plate": "example",
            "well": wells["row"] + wells["col"].astype(str),
            "drug": wells["drug"],
            "dose": wells["concentration"].astype(float),
            "response": wells["response"].astype(float),
            "exclude": wells["exclude"].astype(int),
        }
    )
    e = catalog.entry(id)
    return DrugReference(
        e.id, e.title, statistics.reset_index(drop=True), wells, catalog.hashes(id)
    )


# ------------------------------------------------------------------------------- ALLSorts


def stjude() -> Cohort:
    """Return the 484 St Jude samples in the 1,003 standardised genes of ALLSorts' map.

    The genes were chosen to tell subtypes apart, and standardised: ranks within a sample mean
    nothing.
    """
    id = "stjude-484"
    samples = pd.read_csv(catalog.fetch(id, "samples"), dtype=str)
    with lzma.open(catalog.fetch(id, "expression"), "rt", encoding="utf8") as lines:
        hundredths = pd.read_csv(lines, index_col="gene")
    patients = pd.DataFrame(
        {
            "patient_id": samples["sample"],
            "lineage": "B",
            "subtype_published": samples["label"],
            "subtype": _subtype(samples["label"]),
        }
    )
    return _cohort(
        id,
        patients=patients,
        expression=hundredths[list(patients["patient_id"])] / 100,
        expression_kind="log2",
        notes=(
            "Genes chosen to tell subtypes apart, BCR::ABL1 and BCR::ABL1-like joined among them.",
            "Standardised by gene: no rank score within a sample.",
        ),
    )


def allsorts() -> Cohort:
    """Return the 20 test samples of ALLSorts: raw counts and four subtypes."""
    id = "allsorts-20"
    labels = pd.read_csv(catalog.fetch(id, "labels"), header=None, dtype=str)
    counts = pd.read_csv(catalog.fetch(id, "counts"), index_col=0).T
    counts.index.name = "gene"
    patients = pd.DataFrame(
        {
            "patient_id": labels[0],
            "lineage": "B",
            "subtype_published": labels[1],
            "subtype": _subtype(labels[1]),
        }
    )
    return _cohort(
        id, patients=patients, expression=counts[list(labels[0])], expression_kind="counts"
    )


# ----------------------------------------------------------------------- ALLCatchR_bcrabl1


@dataclass(frozen=True)
class ClassModels:
    """Logistic models of the expression classes of *BCR::ABL1* leukaemia.

    Parameters
    ----------
    coefficients : dict
        Model (``lymphoid_vs_multilineage``, ``delHBS1L`` ...) to its coefficients by gene symbol,
        the intercept as ``intercept``.
    levels : dict
        Model to its two classes; a positive sum speaks for the second.
    identifiers : DataFrame
        ``symbol``, ``ensembl``, ``entrez`` and ``norm_exp``: the genes among which a sample is
        scaled, and the value that stands for one that was not measured.
    """

    id: str
    title: str
    coefficients: dict[str, pd.Series]
    levels: dict[str, tuple[str, str]]
    identifiers: pd.DataFrame
    files: dict[str, str] = field(default_factory=dict)


def bcrabl1_models() -> ClassModels:
    """Return the six models of ALLCatchR_bcrabl1, with the genes of ALLCatchR for scaling."""
    import rdata

    e = catalog.entry("allcatchr-bcrabl1")
    raw = pd.read_csv(catalog.fetch(e.id, "coefficients"))
    tables = {str(m): t for m, t in raw.groupby("model", sort=False)}
    models = {m: t.set_index("gene")["coefficient"] for m, t in tables.items()}
    levels = {m: (str(t["against"].iloc[0]), str(t["towards"].iloc[0])) for m, t in tables.items()}
    r = rdata.read_rda(catalog.fetch("allcatchr-subtypes", "sysdata"))
    return ClassModels(
        e.id, e.title, models, levels, _identifiers(r["ID_conversion"]), catalog.hashes(e.id)
    )


# Spacer of the signals of each kind of gene (the 12/23 rule of the seven loci).
RSS_SPACERS: dict[tuple[str, str], int] = {
    ("IGH", "V"): 23, ("IGH", "5'D"): 12, ("IGH", "3'D"): 12, ("IGH", "J"): 23,
    ("IGK", "V"): 12, ("IGK", "J"): 23, ("IGL", "V"): 23, ("IGL", "J"): 12,
    ("TRA", "V"): 23, ("TRA", "J"): 12, ("TRG", "V"): 23, ("TRG", "J"): 12,
    ("TRB", "V"): 23, ("TRB", "5'D"): 12, ("TRB", "3'D"): 23, ("TRB", "J"): 12,
    ("TRD", "V"): 23, ("TRD", "5'D"): 12, ("TRD", "3'D"): 23, ("TRD", "J"): 12,
}  # fmt: skip


@dataclass(frozen=True)
class SignalMatrices:
    """Position matrices of recombination signals.

    Parameters
    ----------
    heptamers, nonamers : dict
        (locus, kind of gene) to probabilities of A, C, G, T in the order in which the positions
        follow the cut.
    spacers : dict
        (locus, kind of gene) to 12 or 23.
    """

    id: str
    title: str
    heptamers: dict[tuple[str, str], np.ndarray]
    nonamers: dict[tuple[str, str], np.ndarray]
    spacers: dict[tuple[str, str], int]
    files: dict[str, str] = field(default_factory=dict)

    def mean(self, spacer: int, locus: str = "") -> tuple[np.ndarray, np.ndarray]:
        """Return heptamer and nonamer of a spacer, averaged over genes, each kind counted once.

        Raises
        ------
        ValueError
            Where the locus has no gene with that spacer.
        """
        kinds = [k for k, s in self.spacers.items() if s == spacer and locus in {"", k[0]}]
        if not kinds:
            raise ValueError(f"{locus or 'no locus'} has no signal with a spacer of {spacer}")
        means = [np.mean([m[k] for k in kinds], axis=0) for m in (self.heptamers, self.nonamers)]
        return means[0], means[1]


def recombination_signals() -> SignalMatrices:
    """Return heptamers and nonamers of Digger, in the order in which they follow the cut."""
    e = catalog.entry("digger-rss")
    found: dict[str, dict[tuple[str, str], np.ndarray]] = {"heptamer": {}, "nonamer": {}}
    raw = pd.read_csv(catalog.fetch(e.id, "matrices"))
    for (locus, kind, part), rows in raw.groupby(["locus", "kind", "part"], sort=False):
        p = rows.sort_values("position")[list("ACGT")].to_numpy(float)
        if kind in {"J", "5'D"}:
            p = p[::-1, ::-1]
        found[str(part)][str(locus), str(kind)] = p / p.sum(axis=1, keepdims=True)
    return SignalMatrices(
        e.id, e.title, found["heptamer"], found["nonamer"], RSS_SPACERS, catalog.hashes(e.id)
    )


# --------------------------------------------------------------------------------- by name


@dataclass(frozen=True)
class ReferenceSignatures:
    """Known mutational signatures.

    Parameters
    ----------
    table : DataFrame
        96 channels (``A[C>T]G``, in the order of `mutation_catalogue.CHANNELS`) by signatures; each
        column sums to 1.
    """

    id: str
    title: str
    table: pd.DataFrame
    files: dict[str, str] = field(default_factory=dict)


def cosmic() -> ReferenceSignatures:
    """Return COSMIC's signatures of single-base substitutions, scaled to sum to exactly 1."""
    from ballbook.mutation_catalogue import CHANNELS

    e = catalog.entry("cosmic-sbs")
    raw = pd.read_csv(catalog.fetch(e.id, "signatures"), sep="\t", index_col="Type")
    if set(raw.index) != set(CHANNELS) or len(raw) != len(CHANNELS):
        raise ValueError(f"{e.id}: not the 96 channels")
    table = raw.loc[list(CHANNELS)].rename_axis("channel")
    return ReferenceSignatures(e.id, e.title, table / table.sum(), catalog.hashes(e.id))


Loaded = (
    Cohort
    | StageGenes
    | SubtypeScores
    | ClassModels
    | Pharmacotypes
    | DrugReference
    | Processes
    | SignalMatrices
    | ReferenceSignatures
    | Cells
    | MassCytometry
    | Regulons
    | Trajectories
)
LOADERS: dict[str, Callable[[], Loaded]] = {
    "chiaretti": chiaretti,
    "ccri": ccri,
    "target": target,
    "dfci": dfci,
    "krali": krali,
    "gse133499": gse133499,
    "stages": stages,
    "subtypes": subtypes,
    "bcrabl1_models": bcrabl1_models,
    "stjude": stjude,
    "allsorts": allsorts,
    "pharmacotypes": pharmacotypes,
    "zurich": zurich,
    "processes": processes,
    "recombination_signals": recombination_signals,
    "cosmic": cosmic,
    **cell_sets.LOADERS,
}


@overload
def load(id: Literal["allcatchr-stages"]) -> StageGenes: ...  # type: ignore[overload-overlap]
@overload
def load(id: Literal["allcatchr-subtypes"]) -> SubtypeScores: ...  # type: ignore[overload-overlap]
@overload
def load(id: Literal["allcatchr-bcrabl1"]) -> ClassModels: ...  # type: ignore[overload-overlap]
@overload
def load(id: Literal["lee-2023"]) -> Pharmacotypes: ...  # type: ignore[overload-overlap]
@overload
def load(id: Literal["zurich-drp"]) -> DrugReference: ...  # type: ignore[overload-overlap]
@overload
def load(id: Literal["go-processes"]) -> Processes: ...  # type: ignore[overload-overlap]
@overload
def load(id: Literal["digger-rss"]) -> SignalMatrices: ...  # type: ignore[overload-overlap]
@overload
def load(id: Literal["cosmic-sbs"]) -> ReferenceSignatures: ...  # type: ignore[overload-overlap]
@overload
def load(id: Literal["triana-marrow"]) -> Cells: ...  # type: ignore[overload-overlap]
@overload
def load(id: Literal["good-2018"]) -> MassCytometry: ...  # type: ignore[overload-overlap]
@overload
def load(id: Literal["dorothea-regulons"]) -> Regulons: ...  # type: ignore[overload-overlap]
@overload
def load(id: Literal["palantir-marrow"]) -> Trajectories: ...  # type: ignore[overload-overlap]
@overload
def load(id: str) -> Cohort: ...
def load(id: str) -> Loaded:
    """Return the data set `id` of the catalogue, derived from its upstream files.

    Raises
    ------
    ballbook.catalog.CatalogError
        For an unknown id.
    ballbook.catalog.Unavailable
        Where a file is not on this machine and cannot be downloaded.
    """
    if id in _held:
        return copy.deepcopy(_held[id])
    return LOADERS[catalog.entry(id).loader]()


_held: dict[str, Loaded] = {}


def hold(id: str) -> None:
    """Read the data set `id` once for this process and its forks: `load` then gives copies."""
    _held[id] = LOADERS[catalog.entry(id).loader]()


def published(name: str) -> pd.DataFrame:
    """Return a table typed from papers, ``data/published/<name>.csv``.

    Every row names its ``source`` (a key of ``book/references.bib``) and its ``locator``.

    Raises
    ------
    FileNotFoundError
        For an unknown name, with those that exist.
    ValueError
        Where a row has no source or no locator.
    """
    folder = paths.data() / "published"
    known = {p.stem: p for p in sorted(folder.glob("*.csv"))}
    if name not in known:
        raise FileNotFoundError(
            f"no published table {name!r}; there are {', '.join(known) or 'none'}"
        )
    table = pd.read_csv(known[name])
    for column in ["source", "locator"]:
        if column not in table or table[column].isna().any():
            raise ValueError(f"{known[name].name}: every row needs a {column}")
    return table

"""Loaders of single-cell data: normal marrow, mass cytometry, and regulons.

Like `ballbook.datasets`, of which they are a part (`datasets.load` finds them by name): what the
source published, byte for byte, brought to the book's own columns by rules written here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ballbook import catalog, cell_states, r_table

if TYPE_CHECKING:
    import anndata


@dataclass(frozen=True)
class Cells:
    """Single cells of one source.

    Parameters
    ----------
    data : AnnData, cells x genes
        Raw counts (sparse) in ``X``; ``obs`` holds ``donor``, ``age_group``, ``label`` (the
        source's word) and ``state`` (`ballbook.cell_states`); surface proteins, where measured,
        as raw counts in ``obsm["protein"]`` (a DataFrame).
    """

    id: str
    title: str
    data: anndata.AnnData
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MassCytometry:
    """Protein of single cells by mass cytometry, and the patients of the study.

    Parameters
    ----------
    cells : DataFrame, one row a cell
        ``sample_id`` and one column a marker, raw ion counts.
    patients : DataFrame, one row a sample
        The source's clinical table, as published.
    """

    id: str
    title: str
    cells: pd.DataFrame
    patients: pd.DataFrame
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Regulons:
    """Which transcription factor acts on which gene.

    Parameters
    ----------
    table : DataFrame
        ``source`` (factor), ``target``, ``weight`` (1 activates, -1 represses) and ``confidence``
        (A to E), the columns that decoupler reads.
    """

    id: str
    title: str
    table: pd.DataFrame
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Trajectories:
    """Single cells on the ways from stem cell to their fates, as others reckoned them.

    Parameters
    ----------
    expression : DataFrame, cells x genes
        Scaled log expression: a gene's smallest value is that of cells without a read, but for
        CD79A and CD79B.
    run : Series
        The sequencing run of a cell.
    fates : DataFrame, cells x fates
        Probability of each fate (FateID); rows add to 1.
    places : DataFrame, cells x lineages
        How far along a lineage a cell is (Slingshot), from 0; missing for cells not on it.
    pseudotime : Series
        Distance from the start that Monocle 2 found; its start is lymphoid.
    """

    id: str
    title: str
    expression: pd.DataFrame
    run: pd.Series
    fates: pd.DataFrame
    places: pd.DataFrame
    pseudotime: pd.Series
    files: dict[str, str] = field(default_factory=dict)


def _rda(path: Path) -> dict[str, Any]:
    """Return the objects of an R data file by name."""
    import rdata

    with warnings.catch_warnings():
        # Classes of tibbles and of dates that are read as what they inherit from.
        warnings.simplefilter("ignore")
        return {str(k): v for k, v in rdata.read_rda(path).items()}


def triana() -> Cells:
    """Return 9,663 cells of normal marrow: 422 mRNAs and 97 surface proteins, raw counts.

    Cells are ordered as published; genes and proteins lose the source's prefix.
    """
    import anndata
    import scipy.sparse

    e = catalog.entry("triana-marrow")
    raw = {str(k): v for k, v in _rda(catalog.fetch(e.id, "cells"))["triana_data"].items()}
    rna, protein, obs = raw["rna_raw"], raw["adt_raw"], raw["metadata"]
    names = [str(c) for c in rna.coords["dim_0"].values]
    genes = [str(g).split("_", 1)[1] for g in rna.coords["dim_1"].values]
    data = anndata.AnnData(
        scipy.sparse.csr_matrix(np.asarray(rna.values, dtype=np.float32)),
        obs=pd.DataFrame(
            {
                "donor": pd.Categorical(obs["sample_batch"].astype(str)),
                "age_group": pd.Categorical(obs["sample_class"].astype(str)),
                "label": pd.Categorical(obs["cellType_refined"].astype(str)),
                "state": cell_states.states(obs["cellType_refined"].astype(str)),
            }
        ).set_axis(names),
        var=pd.DataFrame(index=genes),
    )
    data.obsm["protein"] = pd.DataFrame(
        np.asarray(protein.values, dtype=np.float32),
        index=names,
        columns=[str(p).split("_", 1)[1] for p in protein.coords["dim_1"].values],
    )
    return Cells(e.id, e.title, data, catalog.hashes(e.id))


def good() -> MassCytometry:
    """Return 5,000 cells of one healthy donor and one patient, and the 73 rows of patients."""
    e = catalog.entry("good-2018")
    cells = _rda(catalog.fetch(e.id, "cells"))["ddpr_data"].reset_index(drop=True)
    patients = _rda(catalog.fetch(e.id, "patients"))["ddpr_metadata"].reset_index(drop=True)
    cells = cells.rename(columns={"sample_name": "sample_id"})
    return MassCytometry(e.id, e.title, cells, patients, catalog.hashes(e.id))


def dorothea() -> Regulons:
    """Return the human regulons of DoRothEA, all levels of confidence."""
    e = catalog.entry("dorothea-regulons")
    raw = r_table.read_frame(catalog.fetch(e.id, "regulons"), "dorothea_hs")
    table = pd.DataFrame(
        {
            "source": raw["tf"],
            "target": raw["target"],
            "weight": raw["mor"],
            "confidence": raw["confidence"],
        }
    )
    return Regulons(e.id, e.title, table, catalog.hashes(e.id))


# FateID's targets by the marker that its authors gave it: HBB, PF4, IRF8, EBF1, LYZ; Slingshot's
# lineages by the fate of the cells at their ends, which a test looks up.
FATES = {
    "t2": "erythroid",
    "t3": "megakaryocytic",
    "t4": "dendritic",
    "t5": "lymphoid",
    "t6": "monocytic",
}
LINEAGES = {1: "monocytic", 2: "dendritic", 3: "erythroid", 4: "lymphoid"}


def palantir() -> Trajectories:
    """Return 5,780 CD34-positive cells of one marrow: twelve genes, fates and lineages."""
    e = catalog.entry("palantir-marrow")

    def read(name: str) -> pd.DataFrame:
        return pd.read_csv(catalog.fetch(e.id, name), index_col=0)

    expression = read("expression").T.rename_axis("cell")
    cells = expression.index
    places = {
        name: read(f"lineage-{number}")["Trajectory"].reindex(cells)
        for number, name in LINEAGES.items()
    }
    return Trajectories(
        e.id,
        e.title,
        expression,
        pd.Series(cells.str.split("_").str[0], index=cells, name="run"),
        read("fates").rename(columns=FATES).loc[cells],
        pd.DataFrame(places, index=cells),
        read("pseudotime")["Pseudotime"].loc[cells].rename("pseudotime"),
        catalog.hashes(e.id),
    )


LOADERS: dict[str, Callable[[], Any]] = {
    "triana": triana,
    "good": good,
    "dorothea": dorothea,
    "palantir": palantir,
}

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

from ballbook import catalog, cell_states

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
    raw = _rda(catalog.fetch(e.id, "regulons"))["dorothea_hs"]
    table = pd.DataFrame(
        {
            "source": raw["tf"].astype(str),
            "target": raw["target"].astype(str),
            "weight": raw["mor"].astype(float),
            "confidence": raw["confidence"].astype(str),
        }
    ).reset_index(drop=True)
    return Regulons(e.id, e.title, table, catalog.hashes(e.id))


LOADERS: dict[str, Callable[[], Any]] = {"triana": triana, "good": good, "dorothea": dorothea}

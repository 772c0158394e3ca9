"""The states of B-cell development, from stem cell to mature B cell, in their order.

Normal marrow goes on a line of six *states* of the B lineage and a few *branches* that leave it.
The words of a source are brought to this vocabulary here, once, so that maps, mixtures and bulk
leukaemias speak of the same things. Cells whose word says nothing of their place (stroma, blasts,
too few to learn from) are *unplaced* and never part of a reference.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

B_LINEAGE: tuple[str, ...] = ("HSC/MPP", "LMPP", "Pro-B", "Pre-B", "Immature B", "Mature B")
BRANCHES: tuple[str, ...] = (
    "Plasma cell",
    "Myeloid",
    "Dendritic",
    "Erythroid and megakaryocytic",
    "T and NK",
)
STATES: tuple[str, ...] = (*B_LINEAGE, *BRANCHES)

# Triana 2021, refined types; those not listed are unplaced.
TRIANA: dict[str, str] = {
    "HSCs & MPPs": "HSC/MPP",
    "Lymphomyeloid prog": "LMPP",
    "Pro-B cells": "Pro-B",
    "Pre-B cells": "Pre-B",
    "Immature B cells": "Immature B",
    "Mature naive B cells": "Mature B",
    "Nonswitched memory B cells": "Mature B",
    "Class switched memory B cells": "Mature B",
    "CD11c+ memory B cells": "Mature B",
    "Plasma cells": "Plasma cell",
    "Early promyelocytes": "Myeloid",
    "Late promyelocytes": "Myeloid",
    "Myelocytes": "Myeloid",
    "Classical Monocytes": "Myeloid",
    "Non-classical monocytes": "Myeloid",
    "Eosinophil-basophil-mast cell progenitors": "Myeloid",
    "Conventional dendritic cell 1": "Dendritic",
    "Conventional dendritic cell 2": "Dendritic",
    "Plasmacytoid dendritic cell progenitors": "Dendritic",
    "Plasmacytoid dendritic cells": "Dendritic",
    "Early erythroid progenitor": "Erythroid and megakaryocytic",
    "Late erythroid progenitor": "Erythroid and megakaryocytic",
    "Erythro-myeloid progenitors": "Erythroid and megakaryocytic",
    "Aberrant erythroid": "Erythroid and megakaryocytic",
    "Megakaryocyte progenitors": "Erythroid and megakaryocytic",
    "CD56dimCD16+ NK cells": "T and NK",
    "CD56brightCD16- NK cells": "T and NK",
    "NK cell progenitors": "T and NK",
    "NK T cells": "T and NK",
    "CD4+ memory T cells": "T and NK",
    "CD4+ naive T cells": "T and NK",
    "CD4+ cytotoxic T cells": "T and NK",
    "CD69+PD-1+ memory CD4+ T cells": "T and NK",
    "CD8+ naive T cells": "T and NK",
    "CD8+ central memory T cells": "T and NK",
    "CD8+ effector memory T cells": "T and NK",
    "CD8+CD103+ tissue resident memory T cells": "T and NK",
    "GammaDelta T cells": "T and NK",
}


def states(labels: Iterable[str]) -> pd.Categorical:
    """Return the state of each refined type of Triana 2021, in the order of `STATES`.

    Parameters
    ----------
    labels : iterable of str, one a cell

    Returns
    -------
    Categorical
        Ordered as `STATES`; missing for types that are unplaced.
    """
    return pd.Categorical([TRIANA.get(label) for label in labels], categories=list(STATES))


# Genes by which each state is known, of those that a small panel may hold; earliest first.
MARKERS: dict[str, tuple[str, ...]] = {
    "HSC/MPP": ("CRHBP", "CD34", "SPINK2"),
    "LMPP": ("FLT3", "CD44", "SELL"),
    "Pro-B": ("DNTT", "EBF1", "MME"),
    "Pre-B": ("VPREB1", "IGLL1", "VPREB3"),
    "Immature B": ("TCL1A", "CD24", "IGHM"),
    "Mature B": ("MS4A1", "IGHD", "CD27"),
    "Plasma cell": ("JCHAIN", "MZB1", "XBP1"),
    "Myeloid": ("MPO", "LYZ", "CD14"),
    "Dendritic": ("IRF8", "CD1C", "IL3RA"),
    "Erythroid and megakaryocytic": ("HBB", "GYPA", "ITGA2B"),
    "T and NK": ("CD3D", "CD8A", "NKG7"),
}

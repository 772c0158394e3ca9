r"""How far a reference map can be trusted: donors held out, states left out, confidence calibrated.

**Held-out donors.** Each donor's cells are placed by a reference of all other donors, so that what
differs between people is part of the error. A label is right where it is the source's own.

**States left out.** A state is taken from the reference and the cells of a held-out donor are
placed again: which share of that state's cells are called off the map, and which share of the
others is called so in error.

**Integration.** The same neighbours on values with the differences of donors as they are, with each
donor's mean taken away, or after ComBat (Johnson et al., Biostatistics 2007;8:118), which shrinks
the mean and variance of each gene in each donor towards those of all genes. Both use the held-out
donor's cells, though not their labels; neither knows that donors differ in what cells they have.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ballbook import reference_map
from ballbook.clustered_proportion import clustered_proportion
from ballbook.embeddings import principal_components
from ballbook.inputs import Floats
from ballbook.results import Estimate

if TYPE_CHECKING:
    import anndata

Integration = Literal["none", "centred", "combat"]


def held_out_donors(
    cells: anndata.AnnData, *, label: str = "state", donor: str = "donor", **build: Any
) -> pd.DataFrame:
    """Return each cell's place on the map made from the other donors.

    Parameters
    ----------
    cells : AnnData
        Raw counts; cells without a label are left out.
    build : Any
        Passed on to `reference_map.build`; ``pseudotime`` may be a function of the coordinates and
        labels of the reference that returns it, or several by name, each of which gets a column.

    Returns
    -------
    DataFrame
        As `reference_map.Reference.map`, with ``truth`` and ``donor``; in the order of `cells`.
    """
    told = cells[cells.obs[label].notna()]
    donors = told.obs[donor].astype(str).to_numpy()
    given = build.pop("pseudotime", {})
    orders = given if isinstance(given, Mapping) else {"pseudotime": given}
    parts = []
    for name in np.unique(donors):
        of = donors == name
        reference = reference_map.build(told[~of], label, donor, **build)
        near, distance = reference.nearest(reference.project(told[of]))
        found = reference.place(near, distance).set_index(pd.Index(told.obs_names[of]))
        words = np.array(reference.states, dtype=object)[reference.code]
        for column, order in orders.items():
            reference.pseudotime = order(reference.points, words)
            found[column] = reference.place(near, distance)["pseudotime"].to_numpy()
        found["truth"] = told.obs.loc[of, label].astype(str).to_numpy()
        found["donor"] = name
        parts.append(found)
    return pd.concat(parts).loc[told.obs_names]


def accuracy(found: pd.DataFrame, among: ArrayLike | None = None) -> Estimate:
    """Return the share of cells with the right label, with an interval across donors.

    Parameters
    ----------
    found : DataFrame
        ``label``, ``truth`` and ``donor``.
    among : array_like of bool, optional
        Cells that are counted.
    """
    rows = found if among is None else found[np.asarray(among, dtype=bool)]
    right = rows["label"].astype(str) == rows["truth"].astype(str)
    counted = right.groupby(rows["donor"].astype(str)).agg(["sum", "size"])
    return clustered_proportion(counted["sum"], counted["size"])


def calibration(
    found: pd.DataFrame, edges: ArrayLike = (0, 0.5, 0.7, 0.9, 0.99, 1)
) -> pd.DataFrame:
    """Return, by confidence, how often the label is right.

    Parameters
    ----------
    edges : array_like of float
        Confidence above one and up to the next is one row.

    Returns
    -------
    DataFrame
        ``low``, ``high``, ``n``, ``confidence`` (mean), ``value`` (share right), ``ci_low``,
        ``ci_high`` (across donors).
    """
    rows = []
    cut = np.asarray(edges, dtype=float)
    for low, high in pairwise(cut):
        of = ((found["confidence"] > low) & (found["confidence"] <= high)).to_numpy()
        if not of.any():
            continue
        e = accuracy(found, of)
        rows.append(
            {"low": low, "high": high, "n": int(of.sum()),
             "confidence": float(found.loc[of, "confidence"].mean()),
             "value": e.value, "ci_low": e.ci_low, "ci_high": e.ci_high}
        )  # fmt: skip
    return pd.DataFrame(rows)


def calibration_error(table: pd.DataFrame) -> float:
    """Return the mean distance of confidence from the share right, weighted by cells."""
    gap = (table["confidence"] - table["value"]).abs()
    return float((gap * table["n"]).sum() / table["n"].sum())


def without_state(
    cells: anndata.AnnData,
    state: str,
    query: str,
    *,
    label: str = "state",
    donor: str = "donor",
    **build: Any,
) -> dict[str, Any]:
    """Return what becomes of the cells of a state that the reference does not have.

    Parameters
    ----------
    state : str
        Left out of the reference.
    query : str
        Donor whose cells are placed by the reference of the others.

    Returns
    -------
    dict
        ``state``; ``n``, ``off`` (cells of the state, and those off the map); ``n_others``,
        ``off_others``; ``goes_to`` (commonest label of the state's cells).
    """
    told = cells[cells.obs[label].notna()]
    of = (told.obs[donor].astype(str) == query).to_numpy()
    truth = told.obs[label].astype(str).to_numpy()
    reference = reference_map.build(told[~of & (truth != state)], label, donor, **build)
    found = reference.map(told[of])
    foreign = truth[of] == state
    goes = found["label"].astype(str)[foreign].value_counts()
    return {
        "state": state, "n": int(foreign.sum()), "off": int(found["off_map"][foreign].sum()),
        "n_others": int((~foreign).sum()), "off_others": int(found["off_map"][~foreign].sum()),
        "goes_to": str(goes.index[0]) if len(goes) else "",
    }  # fmt: skip


def integrated(values: ArrayLike, donors: ArrayLike, method: Integration) -> Floats:
    """Return values, cells x genes, with the differences of donors dealt with.

    Raises
    ------
    ValueError
        For an unknown method.
    """
    x, names = np.asarray(values, dtype=float), np.asarray(donors).astype(str)
    if method == "none":
        return x
    if method == "centred":
        means = pd.DataFrame(x).groupby(names).transform("mean").to_numpy()
        return np.asarray(x - means + x.mean(axis=0))
    if method != "combat":
        raise ValueError(f"method: expected none, centred or combat, got {method!r}")
    import anndata
    import scanpy

    spread = x.std(axis=0) > 1e-12
    cells = anndata.AnnData(x[:, spread].copy(), obs=pd.DataFrame({"donor": pd.Categorical(names)},
                            index=[str(i) for i in range(len(x))]))  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scanpy.pp.combat(cells, key="donor")
    found = x.copy()
    found[:, spread] = np.asarray(cells.X)
    return found


def neighbours_by_donor(
    values: ArrayLike, labels: ArrayLike, donors: ArrayLike, components: int, neighbours: int
) -> Any:
    """Return for each cell the label that its nearest cells of other donors vote for.

    Principal components are those of all cells, which sees no label.
    """
    points = principal_components(values, components)
    names, words = np.asarray(donors).astype(str), np.asarray(labels).astype(str)
    known, code = np.unique(words, return_inverse=True)
    found = np.empty(len(words), dtype=object)
    for name in np.unique(names):
        of = names == name
        near, _ = reference_map.nearest(points[~of], points[of], neighbours)
        votes = np.zeros((int(of.sum()), len(known)))
        rows = np.arange(len(votes))
        for j in range(neighbours):
            votes[rows, code[~of][near[:, j]]] += 1 + (neighbours - j) / neighbours**3
        found[of] = known[votes.argmax(axis=1)]
    return found.astype(str)

"""Drug response in a reader's cohort: the long table, wide columns, or raw plates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ballbook.dictionaries import dictionary

if TYPE_CHECKING:
    from ballbook.cohort import _Reader, _Table

WIDE = re.compile(r"(?P<metric>drug|lc50)_(?P<drug>[a-z0-9]\w*)")
METRIC = {"drug": "norm_log_auc", "lc50": "lc50_um"}


def read(
    reader: _Reader, tables: Mapping[str, _Table], patients: pd.DataFrame
) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Return drug response (its own table before wide columns) and plates, where given."""
    wells = plates(reader, tables["plates"], patients) if "plates" in tables else None
    if "drug_response" in tables:
        return responses(reader, tables["drug_response"], patients), wells
    return (wide(patients) if "patient_id" in patients else None), wells


def responses(reader: _Reader, table: _Table, patients: pd.DataFrame) -> pd.DataFrame | None:
    """Return ``patient_id, drug, value, metric, limit`` of a table drug_response."""
    read, _ = reader.known(table, dictionary("drug_response"))
    frame = _by_patient(reader, table, read, patients)
    if frame is None:
        return None
    reader.repeated(table, frame, ["patient_id", "drug"])
    negative = (frame["metric"] == "lc50_um") & (frame["value"] <= 0)
    for i in np.flatnonzero(negative.to_numpy()):
        value, mend = f"{frame['value'].iloc[i]:g}", "give a dose; write limit below for less"
        reader.wrong(table.file, "an LC50 above 0", table.numbers[i], "value", value, mend)
    if "limit" not in frame:
        frame["limit"] = None
    return frame[["patient_id", "drug", "value", "metric", "limit"]]


def plates(reader: _Reader, table: _Table, patients: pd.DataFrame) -> pd.DataFrame | None:
    """Return the wells of a table plates, ``patient_id`` first."""
    read, _ = reader.known(table, dictionary("plates"))
    frame = _by_patient(reader, table, read, patients)
    if frame is None:
        return None
    reader.repeated(table, frame, ["patient_id", "plate", "well"])
    if "dose" not in frame:
        mend = "add the dose of each well"
        reader.wrong(table.file, "a column dose", mend=mend)
        return None
    if "exclude" not in frame:
        frame["exclude"] = 0.0
    names = ["patient_id", "plate", "well", "drug", "dose", "response", "exclude"]
    return frame[names]


def wide(patients: pd.DataFrame) -> pd.DataFrame | None:
    """Return the columns ``drug_<name>`` and ``lc50_<name>`` of patients as a long table.

    A column that holds anything but numbers is not one of them. None where there are none.
    """
    parts = []
    for column in patients:
        name = WIDE.fullmatch(str(column))
        if name is None or not pd.api.types.is_numeric_dtype(patients[column]):
            continue
        part = pd.DataFrame(
            {
                "patient_id": patients["patient_id"],
                "drug": name["drug"].replace("_", " "),
                "value": patients[column].astype(float),
                "metric": METRIC[name["metric"]],
                "limit": None,
            }
        )
        parts.append(part.dropna(subset=["value"]))
    found = pd.concat(parts, ignore_index=True) if parts else None
    return None if found is None or found.empty else found


def _by_patient(
    reader: _Reader, table: _Table, frame: pd.DataFrame, patients: pd.DataFrame
) -> pd.DataFrame | None:
    """Return the rows with the sample as patient, or None where a required column is absent."""
    words = dictionary("drug_response" if "value" in frame else "plates")
    if not {c.name for c in words.columns if c.required} <= set(frame.columns):
        return None
    frame = frame.rename(columns={"sample_id": "patient_id"})
    reader.strangers(table, frame, patients)
    return frame

"""A cohort: the tables of one group of patients, read from a catalogue entry or a reader's file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import pandas as pd

from ballbook.results import Tier

ExpressionKind = Literal["counts", "tpm", "log2", "logcpm"]

DAYS_PER_MONTH = 365.25 / 12
DAYS_PER_YEAR = 365.25


@dataclass(frozen=True)
class Cohort:
    """The tables of one cohort, with where they came from.

    Parameters
    ----------
    id, title : str
        Catalogue id (or the name of the reader's file) and a reader's name.
    tier : {"published", "open", "simulated", "yours"}
    patients : DataFrame
        One row a patient, ``patient_id`` unique, columns as in ``data/dictionaries/patients.yml``
        and whatever else the source has.
    outcomes : DataFrame, optional
        One row a patient and endpoint: ``patient_id, endpoint, time_months, event`` (0/1),
        ``event_type``, ``entry_months``.
    mrd : DataFrame, optional
        One row a patient and time point; ``level`` is a fraction (0.0001 is 0.01%).
    expression : DataFrame, optional
        Genes by samples; the column names are patient ids.
    expression_kind : {"counts", "tpm", "log2", "logcpm"}, optional
    files : dict
        sha256 of each file that was read, by name.
    notes : tuple of str
        What a reader must know before believing a number from this cohort.
    """

    id: str
    title: str
    tier: Tier
    patients: pd.DataFrame
    outcomes: pd.DataFrame | None = None
    mrd: pd.DataFrame | None = None
    expression: pd.DataFrame | None = None
    expression_kind: ExpressionKind | None = None
    files: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Number of patients."""
        return len(self.patients)

    def endpoint(self, name: str) -> pd.DataFrame:
        """Return the patients who have endpoint `name`, with its time and event beside them.

        Returns
        -------
        DataFrame
            Columns of `patients` plus ``time_months``, ``event`` (int), ``event_type`` and
            ``entry_months`` where the outcomes have them. Rows without a time or an event are
            left out.

        Raises
        ------
        KeyError
            Where the cohort has no such endpoint, naming those it has.
        """
        if self.outcomes is None:
            raise KeyError(f"{self.id} has no outcomes")
        known = sorted(self.outcomes["endpoint"].unique())
        if name not in known:
            raise KeyError(f"{self.id} has no endpoint {name!r}; it has {', '.join(known)}")
        rows = self.outcomes[self.outcomes["endpoint"] == name].drop(columns="endpoint")
        rows = rows.dropna(subset=["time_months", "event"])
        return self.patients.merge(rows.astype({"event": int}), on="patient_id", how="inner")

    def where(self, keep: pd.Series) -> Cohort:
        """Return the cohort cut down, in all its tables, to the patients for whom `keep` is true.

        Parameters
        ----------
        keep : Series of bool
            Aligned with the rows of `patients`; missing counts as false.
        """
        patients = self.patients[keep.fillna(False).astype(bool)].reset_index(drop=True)
        ids = set(patients["patient_id"])

        def cut(table: pd.DataFrame | None) -> pd.DataFrame | None:
            if table is None:
                return None
            return table[table["patient_id"].isin(ids)].reset_index(drop=True)

        expression = self.expression
        if expression is not None:
            expression = expression.loc[:, [c for c in expression.columns if c in ids]]
        return replace(
            self,
            patients=patients,
            outcomes=cut(self.outcomes),
            mrd=cut(self.mrd),
            expression=expression,
        )

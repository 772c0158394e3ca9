"""The single-cell sources, against what was counted in them independently."""

from __future__ import annotations

from pathlib import Path

import pytest

from ballbook import cell_states, datasets

pytestmark = pytest.mark.usefixtures("shared_data")


def test_marrow_has_counts_proteins_donors_and_states() -> None:
    data = datasets.load("triana-marrow").data
    assert data.shape == (9663, 422)
    assert data.obsm["protein"].shape == (9663, 97)
    assert (data.X.data == data.X.data.round()).all()
    assert data.X.nnz == 1_094_395
    assert data.obs["age_group"].value_counts().to_dict() == {"Young": 5524, "Old": 4139}
    assert data.obs["donor"].nunique() == 6
    count = data.obs["state"].value_counts()
    assert count[list(cell_states.B_LINEAGE)].tolist() == [377, 275, 92, 95, 91, 1581]
    assert data.obs["state"].isna().sum() == 7
    assert list(data.obs["state"].cat.categories) == list(cell_states.STATES)


def test_mass_cytometry_has_two_samples_and_the_clinical_table() -> None:
    study = datasets.load("good-2018")
    assert study.cells["sample_id"].value_counts().tolist() == [2500, 2500]
    assert study.cells.shape == (5000, 21)
    assert study.patients.shape == (73, 12)
    assert study.patients["relapse_status"].value_counts().to_dict() == {"No": 37, "Yes": 24}


def test_regulons_name_factor_target_sign_and_confidence(shared_data: Path) -> None:
    table = datasets.load("dorothea-regulons").table
    assert len(table) == 454_504
    cebpa = table[table["source"] == "CEBPA"]
    assert set(cebpa["weight"]) <= {-1.0, 1.0}
    assert table["confidence"].value_counts().to_dict() == {
        "E": 425_418, "D": 15_863, "C": 6_815, "A": 5_434, "B": 974,
    }  # fmt: skip
    assert len(cebpa) == 147

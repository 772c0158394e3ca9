"""Expression matrices of readers: orientation, kind, and the bare h5ad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ballbook import needs
from ballbook.cohort import Cohort, InvalidCohort, read_cohort
from ballbook.expression_files import detected_kind, samples

IDS = ["P1", "P2", "P3"]
rng = np.random.default_rng(1)
COUNTS = pd.DataFrame(
    rng.integers(0, 5000, (150, 3)), index=[f"GENE{i}" for i in range(150)], columns=IDS
)
TPM = COUNTS / COUNTS.sum() * 1e6
KINDS = {"counts": COUNTS, "tpm": TPM, "log2": np.log2(TPM + 1)}


def folder(path: Path, matrix: pd.DataFrame, name: str = "expression.csv") -> Path:
    (path / "patients.csv").write_text("patient_id\n" + "\n".join(IDS) + "\n", encoding="utf8")
    matrix.rename_axis("gene").to_csv(path / name)
    return path


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("turned", [False, True])
def test_orientation_and_kind_are_seen_and_said(tmp_path: Path, kind: str, turned: bool) -> None:
    matrix = KINDS[kind]
    c = read_cohort(folder(tmp_path, matrix.T if turned else matrix))
    assert c.expression is not None and c.expression_kind == kind
    expected = matrix.astype(float).rename_axis("gene")
    pd.testing.assert_frame_equal(c.expression, expected, check_names=False)
    assert any(f"taken as {kind}, because" in note for note in c.notes)
    assert any("turned round" in note for note in c.notes) == turned


def test_what_cannot_be_told_must_be_declared(tmp_path: Path) -> None:
    odd = TPM * 3
    with pytest.raises(InvalidCohort, match="do not add up to a million"):
        read_cohort(folder(tmp_path, odd))
    assert detected_kind(TPM.to_numpy()[:50])[0] is None
    (tmp_path / "expression.csv").rename(tmp_path / "expression.tpm.csv")
    c = read_cohort(tmp_path)
    assert c.expression_kind == "tpm" and not any("taken as" in n for n in c.notes)


def test_a_declaration_that_the_numbers_contradict(tmp_path: Path) -> None:
    with pytest.raises(InvalidCohort, match="no number above 60 in log2"):
        read_cohort(folder(tmp_path, TPM, "expression.log2.csv"))


def test_bad_cells_of_a_turned_matrix_are_found_where_they_are(tmp_path: Path) -> None:
    matrix = COUNTS.T.astype(object)
    matrix.loc["P2", "GENE7"] = "many"
    with pytest.raises(InvalidCohort) as caught:
        read_cohort(folder(tmp_path, matrix))
    (problem,) = caught.value.problems
    assert (problem.row, problem.column, problem.value) == (3, "GENE7", "many")


def h5ad(path: Path, obs: dict[str, Any], **uns: Any) -> Path:
    import anndata

    data = anndata.AnnData(
        X=TPM.T.to_numpy(),
        obs=pd.DataFrame(obs, index=IDS),
        var=pd.DataFrame(index=TPM.index),
        uns=uns,
    )
    data.write_h5ad(path)
    return path


def test_a_bare_h5ad_is_a_cohort(tmp_path: Path) -> None:
    obs = {"age": [1.5, 3.0, np.nan], "subtype": ["KMT2A-r", "other", "other"]}
    c: Cohort = read_cohort(h5ad(tmp_path / "my.bulk.h5ad", obs))
    assert c.patients["patient_id"].tolist() == IDS and c.expression is not None
    assert c.patients["age_years"].tolist()[:2] == [1.5, 3.0]
    assert c.patients["age_years"].isna().tolist() == [False, False, True]
    assert c.expression_kind == "tpm" and c.expression.shape == (150, 3)
    np.testing.assert_allclose(c.expression.to_numpy(), TPM.to_numpy(), rtol=1e-6)
    assert list(c.files) == ["my.bulk.h5ad"]
    assert needs.fit(c, "maturity-age").accepted
    assert read_cohort(h5ad(tmp_path / "a.h5ad", obs, expression_kind="tpm")).notes


@pytest.mark.parametrize(
    ("obs", "expected"),
    [
        ({"patient": ["A", "A", "B"]}, "one observation a patient"),
        ({"age": ["old", "3", "4"]}, "a number"),
    ],
)
def test_an_h5ad_that_is_refused(tmp_path: Path, obs: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidCohort, match=expected):
        read_cohort(h5ad(tmp_path / "a.h5ad", obs))


def test_bytes_that_are_no_h5ad(tmp_path: Path) -> None:
    (tmp_path / "a.h5ad").write_bytes(b"nothing of the kind")
    with pytest.raises(InvalidCohort, match="an h5ad file"):
        read_cohort(tmp_path / "a.h5ad")


@pytest.mark.parametrize("name", ["counts.csv", "mine.tsv", "mine.csv.gz"])
@pytest.mark.parametrize("in_folder", [False, True])
def test_a_matrix_alone_makes_patients_of_its_samples(
    tmp_path: Path, name: str, in_folder: bool
) -> None:
    if in_folder:
        name = f"expression.{name.partition('.')[2]}"
    sep = "\t" if ".tsv" in name else ","
    COUNTS.rename_axis("Gene").to_csv(tmp_path / name, sep=sep)
    c = read_cohort(tmp_path if in_folder else tmp_path / name)
    assert c.patients["patient_id"].tolist() == IDS
    assert c.expression is not None and c.expression_kind == "counts"
    np.testing.assert_array_equal(c.expression.to_numpy(), COUNTS.to_numpy())
    assert any("nothing is known of its 3 samples" in note for note in c.notes)
    assert needs.fit(c, "expression-map").accepted


def test_a_table_of_patients_is_not_taken_for_a_matrix(tmp_path: Path) -> None:
    table = pd.DataFrame({"patient_id": IDS, "age_years": [1.0, 2.0, 3.0]})
    table.to_csv(tmp_path / "counts.csv")  # its first column has no name
    assert samples(tmp_path / "counts.csv") is None
    COUNTS.to_csv(tmp_path / "mine.csv")
    assert samples(tmp_path / "mine.csv") is None, "nothing says that these are genes"
    (tmp_path / "counts.csv.gz").write_bytes(b"no gzip")
    assert samples(tmp_path / "counts.csv.gz") is None


def test_a_matrix_that_names_a_sample_twice_is_refused(tmp_path: Path) -> None:
    text = COUNTS.rename_axis("gene").to_csv().replace("P3", "P1", 1)
    (tmp_path / "counts.csv").write_text(text, encoding="utf8")
    with pytest.raises(InvalidCohort, match="each patient_id once"):
        read_cohort(tmp_path / "counts.csv")

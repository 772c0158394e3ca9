"""The single-cell sources, against what was counted in them independently."""

from __future__ import annotations

import gzip
import hashlib
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ballbook import catalog, cell_sets, cell_states, datasets, r_table

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


# ------------------------------------------------------------------- reading a table of R fast


@pytest.fixture(scope="module")
def regulons() -> pd.DataFrame:
    return datasets.load("dorothea-regulons").table


@pytest.mark.slow
def test_regulons_are_those_that_rdata_reads(regulons: pd.DataFrame) -> None:
    raw = cell_sets._rda(catalog.fetch("dorothea-regulons", "regulons"))["dorothea_hs"]
    for ours, theirs in {
        "source": "tf", "target": "target", "weight": "mor", "confidence": "confidence",
    }.items():  # fmt: skip
        assert regulons[ours].tolist() == raw[theirs].tolist(), ours


def test_regulons_load_in_a_fraction_of_the_time_that_rdata_takes() -> None:
    path = catalog.fetch("dorothea-regulons", "regulons")
    start = time.process_time()
    r_table.read_frame(path, "dorothea_hs")
    assert time.process_time() - start < 5


@pytest.mark.parametrize(("name", "table"), [("patients", "ddpr_metadata"), ("cells", "ddpr_data")])
def test_other_tables_agree_with_rdata_or_are_refused(name: str, table: str) -> None:
    path = catalog.fetch("good-2018", name)
    theirs = cell_sets._rda(path)[table]
    try:
        ours = r_table.read_frame(path, table)
    except r_table.NotATable as refusal:
        # What a tibble of readr carries besides: a pointer to its problems.
        assert name == "patients" and "an object of type 22" in str(refusal), refusal
        return
    assert list(ours) == list(theirs)
    for column in ours:
        ours_is_missing = ours[column].isna().to_numpy()
        assert (ours_is_missing == theirs[column].isna().to_numpy()).all(), column
        kept = ~ours_is_missing
        assert ours[column][kept].tolist() == theirs[column].reset_index(drop=True)[kept].tolist()


WORDS = "52 44 58 32 0a 58 0a"  # RDX2, X: what R's save writes first


def by_hand(*parts: str) -> bytes:
    return bytes.fromhex("".join(parts).replace(" ", ""))


def word(text: str, flags: str = "00 04 00 09") -> str:
    raw = text.encode("latin-1" if flags == "00 00 40 09" else "utf-8")
    return flags + len(raw).to_bytes(4, "big").hex() + raw.hex()


NAMES = "00 00 04 02" + "00 00 00 01" + word("names")
CLASS = (
    "00 00 04 02" + "00 00 00 01" + word("class") + "00 00 00 10 00 00 00 01" + word("data.frame")
)


def frame(columns: dict[str, str]) -> bytes:
    """What R 4 writes for ``save(d, ascii = FALSE, version = 2)``, byte by byte."""
    n = f"{len(columns):08x}"
    return by_hand(
        WORDS, "00 00 00 02 00 04 02 03 00 02 03 00",
        "00 00 04 02 00 00 00 01", word("d"), "00 00 03 13", n, *columns.values(),
        NAMES, "00 00 00 10", n, *map(word, columns), CLASS, "00 00 00 fe 00 00 00 fe",
    )  # fmt: skip


STRINGS = (
    "00 00 00 10 00 00 00 03" + word("é") + "00 00 00 09 ff ff ff ff" + word("é", "00 00 40 09")
)
LOGICAL = "00 00 00 0a 00 00 00 03 00 00 00 01 80 00 00 00 00 00 00 00"
WHOLE = "00 00 00 0d 00 00 00 03 00 00 00 07 80 00 00 00 ff ff ff ff"
REAL = (
    "00 00 00 0e 00 00 00 03 3f f8 00 00 00 00 00 007f f0 00 00 00 00 07 a2 bf f0 00 00 00 00 00 00"
)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_missing_values_and_encodings_of_a_table_are_kept(pack, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "d.rda"
    path.write_bytes(pack(frame({"text": STRINGS, "is": LOGICAL, "n": WHOLE, "x": REAL})))
    found = r_table.read_frame(path, "d")
    assert list(found) == ["text", "is", "n", "x"]
    assert found["text"].tolist() == ["é", None, "é"]
    assert found["is"].tolist() == [True, pd.NA, False]
    assert found["n"].tolist() == [7, pd.NA, -1]
    assert found["x"].tolist()[::2] == [1.5, -1.0] and np.isnan(found["x"][1])


def test_what_is_no_plain_table_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "d.rda"
    factor = (
        "00 00 03 0d 00 00 00 01 00 00 00 01 00 00 04 02 00 00 00 01"
        + word("levels") + "00 00 00 10 00 00 00 01" + word("a") + "00 00 00 fe"
    )  # fmt: skip
    for content, said in (
        (b"a,b", "no binary file of R's save"),
        (frame({"f": factor}), "a column with levels"),
        (frame({"f": "00 00 00 18 00 00 00 00"}), "an object of type 24"),
    ):
        path.write_bytes(content)
        with pytest.raises(r_table.NotATable, match=said):
            r_table.read_frame(path, "d")
    path.write_bytes(frame({"x": REAL}))
    with pytest.raises(r_table.NotATable, match="no data frame other"):
        r_table.read_frame(path, "other")


# ------------------------------------------------------------------------ one marrow's lineages


def test_lineages_of_marrow_end_in_the_fates_they_are_named_for() -> None:
    marrow = datasets.load("palantir-marrow")
    assert marrow.expression.shape == (5780, 12)
    assert marrow.run.value_counts().to_dict() == {"Run5": 3017, "Run4": 2763}
    assert np.allclose(marrow.fates.sum(axis=1), 1)
    assert marrow.places.notna().sum().to_dict() == {
        "monocytic": 3891, "dendritic": 3353, "erythroid": 2183, "lymphoid": 2590,
    }  # fmt: skip
    for lineage, place in marrow.places.items():
        place = place.dropna()
        last = marrow.fates.loc[place[place >= place.quantile(0.9)].index].mean()
        assert last.idxmax() == lineage
    # The start that Monocle 2 found lies among lymphoid cells, as the catalogue says.
    lymphoid = marrow.fates["lymphoid"] > 0.8
    assert marrow.pseudotime[lymphoid].median() < marrow.pseudotime[~lymphoid].median() / 5
    assert (marrow.expression.loc[lymphoid, ["CD79A", "RAG1"]].mean() > 1).all()


def test_packed_files_of_a_mirror_are_those_of_the_catalogue(shared_data: Path) -> None:
    entry = catalog.entry("palantir-marrow")
    for file in entry.files:
        packed = shared_data / f"{file.path}.gz"
        content = gzip.decompress(packed.read_bytes())
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (file.sha256, file.size)
        assert catalog.fetch(entry.id, file.name).read_bytes() == content

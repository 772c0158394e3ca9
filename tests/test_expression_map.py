"""The expression map: numbers by another route, end to end, and with a reader's cohort."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_samples
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from ballbook import claims, datasets, dummy, figures, run

SLUG = "expression-map"
PH, LIKE = "BCR::ABL1", "BCR::ABL1-like"
QUICK = {"map_seeds": 1}


def results(out: Path) -> Any:
    return json.loads((out / "results.json").read_text(encoding="utf8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from conftest import shared_folder

    if shared_folder() is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    return run.run(SLUG, parameters=QUICK, out=tmp_path_factory.mktemp("map") / "run")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dummy cohort as a reader's own, and the run of it."""
    from conftest import shared_folder

    if shared_folder() is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    folder = tmp_path_factory.mktemp("own")
    dummy.write(SLUG, folder / "cohort", n=180, seed=2)
    given = {**QUICK, "min_count": 0, "cohort": str(folder / "cohort")}
    return folder / "cohort", run.run(SLUG, parameters=given, out=folder / "run")


# --------------------------------------------------------------------------- numbers by another way


def krali() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """B lineage of Krali: 50 components by scikit-learn, subtypes, libraries."""
    c = datasets.load("krali-2023")
    p = c.patients.set_index("patient_id")
    assert c.expression is not None
    p = p[(p["lineage"] == "B") & p["subtype"].notna() & p.index.isin(c.expression.columns)]
    x = PCA(50, svd_solver="full").fit_transform(c.expression[list(p.index)].T.to_numpy(float))
    return x, p["subtype"].to_numpy(str), p["library"].to_numpy(str)


@pytest.mark.slow
def test_the_judged_ratio_is_that_of_counting_neighbours(page: Path) -> None:
    x, y, library = krali()
    rest = y != PH
    index = NearestNeighbors(n_neighbors=10).fit(x[rest]).kneighbors(x[~rest])[1]
    like, batch = y[rest] == LIKE, library[rest]
    usual = pd.Series(like).groupby(batch).transform("mean").to_numpy()
    e = {e["id"]: e for e in results(page)["estimates"]}["krali-near"]
    assert e["value"] == pytest.approx(like[index].sum() / usual[index].sum())
    assert e["n"] == (~rest).sum() == 10
    assert e["p_value"] == pytest.approx(1 / 2001)


@pytest.mark.slow
def test_the_judged_silhouette_is_that_of_scikit_learn(page: Path) -> None:
    x, y, _ = krali()
    e = {e["id"]: e for e in results(page)["estimates"]}["krali-silhouette"]
    assert e["value"] == pytest.approx(silhouette_samples(x, y)[y == PH].mean(), abs=1e-9)


@pytest.mark.slow
def test_the_odds_by_age_are_those_of_statsmodels(page: Path) -> None:
    p = datasets.load("dfci-gse181157").patients
    p = p[(p["lineage"] == "B") & p["subtype"].notna() & p["age_years"].notna()]
    e = {e["id"]: e for e in results(page)["estimates"]}["dfci-age"]
    p = p[p["patient_id"].isin(datasets.load("dfci-gse181157").expression.columns)]  # type: ignore[union-attr]
    fit = sm.Logit(
        (p["subtype"] == "BCR::ABL1 or like").astype(float),
        sm.add_constant(p[["age_years"]].astype(float) / 10),
    ).fit(disp=0)
    assert e["n"] == len(p)
    assert e["value"] == pytest.approx(np.exp(fit.params["age_years"]), rel=1e-5)


@pytest.mark.slow
def test_leaving_one_out_is_that_of_scikit_learn(page: Path) -> None:
    known = datasets.subtypes()
    x, y = known.scores.to_numpy(), known.subtype.to_numpy(str)
    index = NearestNeighbors(n_neighbors=11).fit(x).kneighbors(x)[1]
    # A sample with a twin at distance 0 may come second: it is taken out wherever it stands.
    others = [[j for j in row if j != i][:10] for i, row in enumerate(index)]
    won = []
    for row in others:
        votes = pd.Series(y[row]).value_counts()
        best = set(votes.index[votes == votes.max()])
        won.append(next(y[j] for j in row if y[j] in best))
    labelled = y != "unassigned"
    e = {e["id"]: e for e in results(page)["estimates"]}
    assert e["loo-first"]["n"] == labelled.sum() == 1869
    assert e["loo-first"]["n_events"] == (np.array(won) == y)[labelled].sum()
    plain = KNeighborsClassifier(10).fit(x, y).score(x[labelled], y[labelled])
    assert e["loo-first"]["value"] < plain, "a sample must not vote for itself"


@pytest.mark.slow
def test_every_claim_of_the_page_has_one_verdict(page: Path) -> None:
    told = results(page)
    here = [c.id for c in claims.of_analysis(SLUG)]
    assert sorted(v["claim"] for v in told["verdicts"]) == sorted(here)
    words = {v["claim"]: v["verdict"] for v in told["verdicts"]}
    assert words["ext-beder-train"] == "reproduced"
    assert words["iac-tsne-ph-distinct"] == "underpowered"


@pytest.mark.slow
def test_the_summary_says_what_the_estimates_say(page: Path) -> None:
    told = results(page)
    e = {e["id"]: e for e in told["estimates"]}
    assert f"({e['krali-near']['value']:.1f} times" in told["summary"]
    assert ("oftener than chance" in told["summary"]) == (e["krali-near"]["ci_low"] > 1)
    assert len(told["summary"].split()) <= 45 and len(told["certainty"].split()) <= 30


@pytest.mark.slow
def test_maps_hold_every_sample_once(page: Path) -> None:
    t = pd.read_csv(page / "figures" / "maps.csv")
    sizes = t.groupby(["data", "map"]).size().unstack()
    assert (sizes["t-SNE"] == sizes["UMAP"]).all()
    assert sizes["UMAP"].to_dict() == {
        "St Jude": 484, "ALLCatchR": 2294, "Krali and DFCI": 430, "Chiaretti": 95,
    }  # fmt: skip
    assert t[["x", "y"]].notna().all().all()


# ------------------------------------------------------------------------------------ own cohort


@pytest.mark.slow
def test_an_own_cohort_is_called_counted_and_set_beside(own: tuple[Path, Path]) -> None:
    cohort, out = own
    told = results(out)
    e = {e["id"]: e for e in told["estimates"]}
    patients = pd.read_csv(cohort / "patients.csv")
    assert e["own-called"]["tier"] == "simulated" and e["own-called"]["value"] > 0.3
    assert e["own-agreement"]["value"] > 0.8
    assert e["own-near"]["n"] == (patients["subtype"] == PH).sum()
    either = patients["subtype"].isin([PH, LIKE])
    fit = sm.Logit(
        either.astype(float), sm.add_constant(patients[["age_years"]].astype(float) / 10)
    ).fit(disp=0)
    assert e["own-age"]["value"] == pytest.approx(np.exp(fit.params["age_years"]), rel=1e-3)
    table = pd.read_csv(out / "tables" / "own-calls.csv")
    assert set(table["called"]) >= {PH, LIKE, "any other subtype", "unassigned"}
    assert table["n"].sum() == len(patients)
    sure = table.set_index("called")["n"].drop("unassigned").sum()
    assert e["own-called"]["n_events"] == sure
    tiers = {v["claim"] for v in told["verdicts"] if v["tier"] == "simulated"}
    assert {"iac-ph-phlike-shared-gep", "iac-ph-phlike-shared-gep-age"} <= tiers
    html = (out / "report.html").read_text(encoding="utf8")
    assert not [i for i in patients["patient_id"] if i in html]


@pytest.mark.slow
def test_a_cohort_too_small_says_so_and_runs(shared_data: Path, tmp_path: Path) -> None:
    """Three patients and eight genes: nothing is called, and nobody is counted."""
    folder = tmp_path / "cohort"
    folder.mkdir()
    counts = dummy.shape_expression(SLUG, 3, 1)
    counts.to_csv(folder / "expression.counts.csv")
    pd.DataFrame({"patient_id": counts.columns}).to_csv(folder / "patients.csv", index=False)
    out = run.run(SLUG, parameters={**QUICK, "cohort": str(folder)}, out=tmp_path / "run")
    told = results(out)
    mine = {e["id"]: e for e in told["estimates"] if e["id"].startswith("own-")}
    assert {"own-called", "own-agreement", "own-near", "own-age"} <= set(mine)
    assert all(e["value"] is None for e in mine.values())
    assert "of the genes of the sets were measured" in mine["own-called"]["reason"]
    assert "genes of the sets" in told["summary"]
    assert not (out / "tables" / "own-calls.csv").exists()


@pytest.mark.parametrize(
    "given", [{"neighbours": 1}, {"components": 0}, {"call_share": 0}, {"map_seeds": 11}]
)
def test_a_parameter_out_of_range_is_refused_by_name(
    given: dict[str, float], tmp_path: Path
) -> None:
    name = next(iter(given))
    with pytest.raises(ValueError, match=name):
        run.run(SLUG, parameters=given, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# -------------------------------------------------------------------------------- dots and names


def test_dots_are_one_short_path_at_their_places() -> None:
    import re

    figure, ax = figures.panels(size=(3, 3))
    figures.dots(ax, [[0, 0], [1, 0], [1, 1]], colour=figures.C.blue)
    figures.dots(ax, [], colour=figures.C.orange)
    drawing = figures.svg(figure, "dots")
    (path,) = re.findall(r'<g id="bb-dots-\d+">\s*<path d="([^"]*)"', drawing)
    places = np.array(re.findall(r"M([\d.]+) ([\d.]+)h", path), dtype=float)
    assert len(places) == 3 and len(path) < 3 * 22
    (x0, y0), (x1, y1), (x2, y2) = places
    assert y0 == y1 > y2 and x0 < x1 == x2
    assert "var(--bb-blue" in figures.themed(drawing, "dots", "three dots")


def test_names_stand_apart_and_beside_their_clouds() -> None:
    rng = np.random.default_rng(0)
    words = np.repeat(["one", "two", "wide", "rare"], (40, 40, 40, 2))
    middle = {"one": (0, 0), "two": (8, 8), "wide": (4, 4), "rare": (0, 8)}
    spread = np.where(words == "wide", 9.0, 0.4)[:, None]
    xy = np.array([middle[w] for w in words]) + rng.uniform(-1, 1, (122, 2)) * spread
    figure, ax = figures.panels(size=(4, 4))
    figures.dots(ax, xy, colour=figures.C.grey)
    figure.draw_without_rendering()
    named = figures.name_clouds(ax, xy, words, {"two": figures.C.blue})
    assert named[0] == "two" and "one" in named and not {"wide", "rare"} & set(named)
    boxes = [t.get_window_extent() for t in ax.texts]
    assert not any(a.overlaps(b) for a in boxes for b in boxes if a is not b)
    frame = ax.get_window_extent()
    assert all(frame.x0 <= b.x0 and b.x1 <= frame.x1 for b in boxes)

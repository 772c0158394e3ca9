"""The page on mutational signatures: its numbers, and a reader's own substitutions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from ballbook import datasets, parameters
from ballbook.cohort import InvalidCohort
from ballbook.mutation_catalogue import CHANNELS
from ballbook.run import run

pytestmark = pytest.mark.slow

SLUG = "mutational-signatures"
FOUR = ["SBS1", "SBS5", "SBS18", "SBS87"]
FAST = {"n_sim": 50, "n_boot": 50}
BASES = "ACGT"


def results(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "results.json").read_text(encoding="utf8"))
    found["by_id"] = {e["id"]: e for e in found["estimates"]}
    return dict(found)


@pytest.fixture(scope="module")
def cosmic() -> pd.DataFrame:
    from conftest import shared_folder

    if shared_folder() is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    return datasets.load("cosmic-sbs").table


@pytest.fixture(scope="module")
def page(cosmic: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("page") / "out"
    run(SLUG, parameters=FAST, out=folder)
    return results(folder) | {"folder": folder}


def refit_by_scipy(m: Any, s: Any) -> tuple[Any, float]:
    """Return exposures and log-likelihood by a general optimiser, independent of the library."""

    def minus(e: Any) -> tuple[float, Any]:
        mu = s @ e
        return float((mu - m * np.log(mu)).sum()), s.T @ (1 - m / mu)

    e = np.full(s.shape[1], m.sum() / s.shape[1])
    for _ in range(5):
        e = optimize.minimize(
            minus, e, jac=True, method="L-BFGS-B", bounds=[(1e-9, None)] * s.shape[1],
            options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000},
        ).x  # fmt: skip
    return e, -minus(e)[0]


def test_branches_by_another_optimiser(page: dict[str, Any], cosmic: pd.DataFrame) -> None:
    seed, n, share = 20260219 + 1, 500, 0.25
    parts = np.array([0.25 * (1 - share), 0.65 * (1 - share), 0.10 * (1 - share), share])
    s = cosmic[FOUR].to_numpy()
    p = s @ parts
    m = np.random.default_rng(seed).multinomial(n, p / p.sum(), size=1)[0]
    e, full = refit_by_scipy(m, s)
    _, less = refit_by_scipy(m, s[:, :3])
    found = page["by_id"]
    assert found["branch-shared-sbs87"]["value"] == pytest.approx(e[3] / e.sum(), abs=1e-4)
    statistic = 2 * (full - less)
    assert found["branch-shared-test"]["statistic"] == pytest.approx(statistic, abs=1e-3)
    assert found["branch-shared-test"]["p_value"] == pytest.approx(
        stats.chi2.sf(statistic, 1) / 2, rel=1e-2
    )
    both = max(found[f"branch-{b}-test"]["p_value"] for b in ("shared", "relapse"))
    assert found["split-test"]["value"] == both


def test_sizes_needed_follow_from_the_expected_catalogue(
    page: dict[str, Any], cosmic: pd.DataFrame
) -> None:
    s = cosmic[FOUR].to_numpy()
    for percent in (5, 10, 25):
        share = percent / 100
        parts = np.array([0.25 * (1 - share), 0.65 * (1 - share), 0.10 * (1 - share), share])
        mu = 1e4 * (s @ parts)
        _, less = refit_by_scipy(mu, s[:, :3])
        each = 2 * ((mu * np.log(mu) - mu).sum() - less) / 1e4
        wanted = (stats.norm.isf(0.05) + stats.norm.ppf(0.8)) ** 2 / each
        got = page["by_id"][f"needed-{percent}-percent"]["value"]
        assert got == pytest.approx(np.ceil(wanted), abs=1)


def test_claims_are_judged_by_simulation_only(page: dict[str, Any]) -> None:
    assert {v["claim"]: v["verdict"] for v in page["verdicts"]} == {
        "coo-thiopurine-timing": "method-check"
    }
    assert {e["tier"] for e in page["estimates"]} == {"simulated"}
    assert page["by_id"]["peer-largest-difference"]["value"] < 1
    timing = pd.read_csv(page["folder"] / "tables" / "timing.csv", dtype=str)
    assert timing.loc[0, ["from", "to"]].tolist() == ["0", "24"]
    assert timing.loc[0, "places"] == "during the first treatment"
    assert "during treatment of relapse" in timing.loc[1, "places"]
    assert len(page["summary"].split()) <= 45 and len(page["certainty"].split()) <= 30


def drawn(cosmic: pd.DataFrame, n: int, share: float, seed: int) -> Any:
    parts = np.array([0.25 * (1 - share), 0.65 * (1 - share), 0.10 * (1 - share), share])
    p = cosmic[FOUR].to_numpy() @ parts
    return np.random.default_rng(seed).multinomial(n, p / p.sum())


def test_own_counts_by_branch(cosmic: pd.DataFrame, tmp_path: Path) -> None:
    counts = {
        "trunk": drawn(cosmic, 900, 0.0, 1), "MRN-4711": drawn(cosmic, 900, 0.3, 2),
        "relapse": drawn(cosmic, 900, 0.3, 3), "tiny": drawn(cosmic, 9, 0.3, 4),
    }  # fmt: skip
    path = tmp_path / "mine.csv"
    pd.DataFrame(counts, index=pd.Index(CHANNELS, name="Type")).to_csv(path)
    given = {"cohort": str(path), "own_shared": 2, "own_private": 3, **FAST}
    run(SLUG, parameters=given, out=tmp_path / "out")
    found = results(tmp_path / "out")
    own = found["by_id"]
    assert own["own-1-sbs87"]["value"] < 0.06 < 0.2 < own["own-2-sbs87"]["value"] < 0.4
    e, _ = refit_by_scipy(counts["relapse"], cosmic[FOUR].to_numpy())
    assert own["own-3-sbs87"]["value"] == pytest.approx(e[3] / e.sum(), abs=2e-3)
    assert "own-4-sbs87" not in own
    assert own["own-split-test"]["p_value"] < 1e-6 and own["own-split-test"]["tier"] == "yours"
    verdicts = [(v["claim"], v["verdict"], v["tier"]) for v in found["verdicts"]]
    assert ("coo-thiopurine-timing", "consistent", "yours") in verdicts
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf8")
    assert "they parted while the exposure lasted" in report
    assert "MRN-4711" not in report and "relapse," not in json.dumps(found["parameters"])


def test_own_variants_with_their_genome(cosmic: pd.DataFrame, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    text = "".join(rng.choice(list(BASES), 40_000))
    want = drawn(cosmic, 300, 0.4, 5)
    free = {c: [] for c in CHANNELS}  # type: dict[str, list[int]]
    for i in range(2, len(text) - 2, 3):
        free.setdefault(text[i - 1 : i + 2], []).append(i)
    rows = []
    for channel, k in zip(CHANNELS, want, strict=True):
        spots = free[f"{channel[0]}{channel[2]}{channel[6]}"]
        rows += [("chr1", spots.pop() + 1, channel[2], channel[4]) for _ in range(k)]
    frame = pd.DataFrame(rows, columns=["chrom", "pos", "ref", "alt"]).drop_duplicates()
    frame = frame.drop_duplicates("pos")
    folder = tmp_path / "mine"
    folder.mkdir()
    lines = [text[i : i + 60] for i in range(0, len(text), 60)]
    (folder / "genome.fa").write_text(">chr1\n" + "\n".join(lines) + "\n")
    frame.assign(sample="S1", alt_reads=30, depth=100).to_csv(folder / "variants.csv", index=False)
    frame.assign(branch="shared").to_csv(folder / "sites.csv", index=False)
    run(SLUG, parameters={"cohort": str(folder), **FAST}, out=tmp_path / "out")
    own = results(tmp_path / "out")["by_id"]
    assert own["own-1-sbs87"]["value"] == pytest.approx(0.4, abs=0.12)
    (folder / "genome.fa").write_text(">chr1\n" + "\n".join(reversed(lines)) + "\n")
    with pytest.raises(InvalidCohort, match="genome that the variants were called against"):
        run(SLUG, parameters={"cohort": str(folder), **FAST}, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_own_samples_are_summarised_and_small_cohorts_withheld(
    cosmic: pd.DataFrame, tmp_path: Path
) -> None:
    counts = {f"P{i}": drawn(cosmic, 400, 0.3 if i % 2 else 0.0, i) for i in range(20)}
    frame = pd.DataFrame(counts, index=pd.Index(CHANNELS, name="Type"))
    path = tmp_path / "mine.csv"
    frame.to_csv(path)
    run(SLUG, parameters={"cohort": str(path), **FAST}, out=tmp_path / "a")
    own = results(tmp_path / "a")["by_id"]["own-carrying"]
    assert own["n"] == 20 and 0.45 <= own["value"] <= 0.65
    assert not any(name.startswith("own-1-") for name in results(tmp_path / "a")["by_id"])
    frame.iloc[:, :3].to_csv(path)
    run(SLUG, parameters={"cohort": str(path), **FAST}, out=tmp_path / "b")
    few = results(tmp_path / "b")["by_id"]
    assert few["own-carrying"]["value"] is None and few["own-median-sbs87"]["value"] is None
    (frame.iloc[:, :6] // 50).to_csv(path)
    run(SLUG, parameters={"cohort": str(path), **FAST}, out=tmp_path / "c")
    none = results(tmp_path / "c")["by_id"]
    assert none["own-carrying"]["value"] is None


@pytest.mark.parametrize(
    "wrong",
    [{"alpha": 0.0}, {"least_share": 1.0}, {"branch_size": 10}, {"n_boot": 1}, {"own_shared": -1}],
)
def test_absurd_parameters_are_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(parameters.InvalidParameters, match=next(iter(wrong))):
        run(SLUG, parameters=wrong, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()

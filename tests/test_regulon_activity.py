"""Activity of a factor from its targets: decoupler's scores against a calculation of our own."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ballbook import regulon_activity as ra

RNG = np.random.default_rng(7)
GENES = [f"g{i:02d}" for i in range(40)]
TARGETS = {"g03": 1.0, "g07": 1.0, "g11": -1.0, "g19": 1.0, "g23": 1.0, "g31": -1.0}


@pytest.fixture(scope="module")
def expression() -> pd.DataFrame:
    values = RNG.gamma(2.0, 1.0, size=(8, len(GENES)))
    values[:, 5] = 0.0  # a gene without a read counts among the others
    values[:4, [3, 7, 19, 23]] += 2.0
    return pd.DataFrame(values, columns=GENES, index=[f"P{i}" for i in range(8)])


@pytest.fixture(scope="module")
def regulons() -> pd.DataFrame:
    rows = [("F", t, w, "A") for t, w in TARGETS.items()]
    rows += [("G", g, 1.0, "A") for g in GENES[2:9]]
    rows += [("H", g, -1.0, "B") for g in GENES[12:18]]
    rows += [("F", "absent", 1.0, "A"), ("F", "g39", 1.0, "D")]
    return pd.DataFrame(rows, columns=["source", "target", "weight", "confidence"])


def naive(y: np.ndarray, w: np.ndarray) -> tuple[float, float]:
    """The t statistic of the slope and its P, by the normal equations, one number at a time."""
    n = len(y)
    my, mw = sum(y) / n, sum(w) / n
    sww = sum((a - mw) ** 2 for a in w)
    slope = sum((a - mw) * (b - my) for a, b in zip(w, y, strict=True)) / sww
    left = sum((b - my - slope * (a - mw)) ** 2 for a, b in zip(w, y, strict=True))
    t = slope / np.sqrt(left / (n - 2) / sww)
    return t, 2 * stats.t.sf(abs(t), n - 2)


@pytest.mark.parametrize("signed", [True, False])
def test_ulm_is_the_t_statistic_of_the_slope(
    expression: pd.DataFrame, regulons: pd.DataFrame, signed: bool
) -> None:
    net = ra.network(regulons, signed=signed)
    found = ra.activity(expression, net, "F")
    w = np.array([(TARGETS.get(g, 0.0) if signed else float(g in TARGETS)) for g in GENES])
    expected = [naive(row, w) for row in expression.to_numpy()]
    assert found.score.to_numpy() == pytest.approx([t for t, _ in expected], rel=1e-9)
    assert list(found.score.index) == list(expression.index)
    assert found.targets == tuple(sorted(TARGETS)) and found.genes == 40
    # decoupler's own P, of one factor alone, is the P of that t.
    import decoupler

    _, p = decoupler.mt.ulm(expression, net[net["source"] == "F"], empty=False)
    assert p["F"].to_numpy() == pytest.approx([p for _, p in expected], rel=1e-6)


def test_ulm_without_signs_is_students_t_between_targets_and_others(
    expression: pd.DataFrame, regulons: pd.DataFrame
) -> None:
    found = ra.activity(expression, ra.network(regulons, signed=False), "F").score
    is_target = np.isin(GENES, list(TARGETS))
    for name, row in expression.iterrows():
        t = stats.ttest_ind(row[is_target], row[~is_target]).statistic
        assert found[name] == pytest.approx(t, rel=1e-9)


def test_mlm_is_least_squares_with_all_factors(
    expression: pd.DataFrame, regulons: pd.DataFrame
) -> None:
    net = ra.network(regulons, levels="AB")
    found = ra.activity(expression, net, "F", method="mlm").score
    weights = net.pivot(index="target", columns="source", values="weight").reindex(GENES)
    x = np.column_stack([np.ones(40), weights.fillna(0.0).to_numpy()])
    for name, y in zip(expression.index, expression.to_numpy(), strict=True):
        coef, left, *_ = np.linalg.lstsq(x, y, rcond=None)
        se = np.sqrt(left[0] / (40 - x.shape[1]) * np.linalg.inv(x.T @ x)[1, 1])
        assert found[name] == pytest.approx(coef[1] / se, rel=1e-6)


@pytest.mark.parametrize("method", ra.METHODS)
def test_no_order_matters_and_raised_targets_score_higher(
    expression: pd.DataFrame, regulons: pd.DataFrame, method: ra.Method
) -> None:
    net = ra.network(regulons)
    found = ra.activity(expression, net, "F", method=method).score
    turned = ra.activity(
        expression.iloc[::-1, RNG.permutation(40)],
        net.sample(frac=1, random_state=1),
        "F",
        method=method,
    ).score
    assert turned[found.index].to_numpy() == pytest.approx(found.to_numpy(), rel=1e-9, abs=1e-12)
    assert found.iloc[:4].mean() > found.iloc[4:].mean()


def test_levels_signs_and_left_out_targets_make_the_network(regulons: pd.DataFrame) -> None:
    assert set(ra.network(regulons)["source"]) == {"F", "G"}
    assert set(ra.network(regulons, levels="AB")["source"]) == {"F", "G", "H"}
    assert set(ra.network(regulons, signed=False)["weight"]) == {1.0}
    assert "g03" not in set(ra.network(regulons, without=["g03"])["target"])
    assert ra.shared_targets(ra.network(regulons), "F", ["G"]) == {"g03", "g07"}
    for levels in ("", "AX"):
        with pytest.raises(ValueError, match="letters of ABCDE"):
            ra.network(regulons, levels=levels)
    with pytest.raises(ValueError, match="no pair of factor and target"):
        ra.network(regulons, levels="E")


def test_what_cannot_be_scored_is_said(expression: pd.DataFrame, regulons: pd.DataFrame) -> None:
    net = ra.network(regulons)
    with pytest.raises(ValueError, match="0 targets of X are measured, 5 are needed"):
        ra.activity(expression, net, "X")
    with pytest.raises(ValueError, match="2 targets of F"):
        ra.activity(expression[["g03", "g07", "g01"]], net, "F")
    with pytest.raises(ValueError, match="missing or infinite"):
        ra.activity(expression.mask(expression > 4), net, "F")
    with pytest.raises(ValueError, match="occurs twice"):
        ra.activity(expression[[*GENES, "g01"]], net, "F")
    with pytest.raises(ValueError, match="is none of"):
        ra.activity(expression, net, "F", method="gsea")  # type: ignore[arg-type]


def test_detectable_shift_is_what_simulation_detects() -> None:
    shift = ra.detectable_shift(14, 422)
    rng = np.random.default_rng(1)
    y = rng.normal(size=(4000, 422))
    y[:, :14] += shift
    p = stats.ttest_ind(y[:, :14], y[:, 14:], axis=1).pvalue
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.02)
    assert ra.detectable_shift(140, 20_000) < shift / 2
    with pytest.raises(ValueError, match="nothing to compare"):
        ra.detectable_shift(5, 6)
    with pytest.raises(ValueError, match="between one half and 1"):
        ra.detectable_shift(14, 422, power=0.3)


def test_decoupler_is_imported_on_first_use_only() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import sys, ballbook.regulon_activity;"
         "print('decoupler' in sys.modules or 'numba' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.strip() == "False"

"""Decision trees: the published one at its cut-offs, and the judging of learned ones against R."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballbook.trees import (
    GRID,
    PublishedTree,
    Settings,
    area_under_curve,
    auc,
    auc_influence,
    calibration,
    encode,
    folds,
    learn_tree,
    nested_cv,
    partner_of,
    permutation_test,
    specifications,
    split_stability,
)

TREE = PublishedTree()


def test_a_score_on_a_cut_off_goes_to_the_lower_side() -> None:
    scores = [-0.04, np.nextafter(-0.04, 0), -0.28, np.nextafter(-0.28, 0), -0.2800001]
    got = TREE.predict(scores, ["AFF1"] * 5).tolist()
    assert got == ["intermediate", "fast", "slow", "intermediate", "slow"]
    assert TREE.maturity_group(scores).tolist() == ["middle", "high", "low", "middle", "low"]


def test_mllt1_is_fast_at_any_score_and_mllt10_is_not_mllt1() -> None:
    assert TREE.predict([-0.6, -0.1, 0.3], ["MLLT1"] * 3).tolist() == ["fast"] * 3
    assert TREE.predict([-0.6, -0.1, 0.3], ["MLLT10"] * 3).tolist() == [
        "slow",
        "intermediate",
        "fast",
    ]


def test_what_the_rules_cannot_decide_stays_undecided() -> None:
    got = TREE.predict([-0.5, 0.1, np.nan, np.nan, np.nan], [None, None, "AFF1", "MLLT1", None])
    assert got.isna().tolist() == [True, False, True, False, True]
    assert got[3] == "fast"
    assert TREE.predict([-0.1, 0.1]).isna().tolist() == [True, False]


def test_prediction_keeps_the_index_and_the_order_of_classes() -> None:
    scores = pd.Series([0.1, -0.9], index=["a", "b"])
    got = TREE.predict(scores, ["AFF1", "AFF1"])
    assert got.index.tolist() == ["a", "b"]
    assert got.cat.ordered and got.cat.categories.tolist() == ["fast", "intermediate", "slow"]
    assert (got > "fast").tolist() == [False, True]
    with pytest.raises(ValueError, match="2 scores but 1"):
        TREE.predict(scores, ["AFF1"])


@given(st.floats(-1, 1), st.sampled_from(["AFF1", "MLLT1", "MLLT3", "MLLT10"]))
def test_a_more_mature_score_is_never_predicted_slower(score: float, partner: str) -> None:
    got = TREE.predict([score, score + 0.1], [partner] * 2).cat.codes.tolist()
    assert got[1] <= got[0]


@pytest.mark.parametrize(
    ("text", "gene"),
    [
        ("KMT2A::MLLT1", "MLLT1"),
        ("KMT2A-MLLT3 and PAX5-ZCCHC7", "MLLT3"),
        ("PAX5-ZCCHC7 and KMT2A-MLLT3", "MLLT3"),
        ("AFF1-KMT2A", "AFF1"),
        ("mllt1", "MLLT1"),
        ("MLL-ENL", "MLLT1"),
        ("KMT2A-r", None),
        ("unknown", None),
        ("", None),
        (None, None),
        (float("nan"), None),
    ],
)
def test_partner_of(text: object, gene: str | None) -> None:
    assert partner_of(text) == gene


def test_the_tree_prints_its_rules() -> None:
    assert "maturity > -0.04: fast" in str(TREE)
    assert TREE.rules()["predicted_clearance"].tolist() == ["fast", "fast", "intermediate", "slow"]
    assert "−0.28" in " ".join(TREE.rules()["maturity_score"])


def test_learned_trees_equal_rpart(golden: Any) -> None:
    g = golden("trees")
    data = pd.DataFrame(g["kyphosis"])
    X, y = encode(data[["Age", "Number", "Start"]]), data["Kyphosis"]
    for case in g["trees"]:
        tree = learn_tree(X, y, Settings(None, case["bucket"], case["depth"]))
        nodes = case["nodes"]
        inner = [i for i, v in enumerate(nodes["variable"]) if v != "<leaf>"]
        want = {(nodes["variable"][i], nodes["n"][i], float(nodes["cut"][i])) for i in inner}
        mine = tree.nodes[tree.nodes["column"] != ""]
        assert {(r.column, r.n, round(r.cut, 6)) for r in mine.itertuples()} == want
        leaves = [i for i in range(len(nodes["n"])) if i not in inner]
        assert sorted(zip(tree.leaves["n"], tree.leaves["n_present"], strict=True)) == sorted(
            (nodes["n"][i], nodes["present"][i]) for i in leaves
        )
        assert tree.predict(X).tolist() == case["predicted"]


def test_auc_and_its_variance_equal_proc(golden: Any) -> None:
    g = golden("trees")["roc"]
    y, s = np.array(g["event"]), np.array(g["score"])
    e = area_under_curve(s, y)
    assert e.value == pytest.approx(g["auc"], abs=1e-12)
    assert e.p_value == pytest.approx(g["wilcoxon"], rel=1e-9)
    # DeLong divides each of the two sums by n - 1 where the influence curve divides by n.
    d = auc_influence(s, y)
    parts = [np.sum((d[y == k] * np.mean(y == k)) ** 2) for k in (0, 1)]
    n = [int(np.sum(y == k)) for k in (0, 1)]
    delong = sum(p / (m * (m - 1)) for p, m in zip(parts, n, strict=True))
    assert delong == pytest.approx(g["delong_variance"], rel=1e-9)
    half = 1.959963984540054 * np.sqrt(np.mean(d**2) / y.size)
    assert e.ci_high is not None and e.value is not None
    assert e.ci_high - e.value == pytest.approx(half, rel=1e-12)


def test_calibration_equals_glm(golden: Any) -> None:
    g = golden("trees")
    c = calibration(g["calibration"]["p"], g["roc"]["event"])
    for e, name in ((c.intercept, "intercept"), (c.slope, "slope")):
        assert e.value == pytest.approx(g["calibration"][name], rel=1e-6)
        assert e.ci_high is not None and e.value is not None
        se = (e.ci_high - e.value) / 1.959963984540054
        assert se == pytest.approx(g["calibration"][f"{name}_se"], rel=1e-5)
    assert c.table["n"].sum() == 60
    assert (c.table["ci_low"] <= c.table["observed"]).all()


def signal(n: int = 150, seed: int = 3) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "maturity": rng.normal(size=n),
            "age": rng.uniform(0, 60, n),
            "subtype": rng.choice(["KMT2A-r", "other"], n),
        }
    )
    y = rng.binomial(1, np.where(frame["maturity"] < -0.3, 0.8, 0.15))
    return encode(frame), y


def test_learning_is_reproducible_and_finds_a_strong_split() -> None:
    X, y = signal()
    one, two = (learn_tree(X, y, Settings(4, 7), seed=1) for _ in range(2))
    assert str(one) == str(two)
    assert one.root is not None and one.root[0] == "maturity"
    assert one.root[1] == pytest.approx(-0.3, abs=0.15)
    assert one.leaves["n"].min() >= 7 and len(one.leaves) == 4
    assert one.leaves["n"].sum() == len(y)
    assert one.accuracy(X, y) == np.mean(one.predict(X) == y)
    assert ((one.probabilities(X) > 0) & (one.probabilities(X) < 1)).all()


def test_a_tree_depends_on_order_alone() -> None:
    X, y = signal()
    stretched = X.assign(age=np.exp(X["age"] / 20), maturity=X["maturity"] ** 3)
    one, two = learn_tree(X, y), learn_tree(stretched, y)
    assert one.predict(X).tolist() == two.predict(stretched).tolist()


def test_learn_tree_refuses_missing_values_and_one_class() -> None:
    X, y = signal()
    with pytest.raises(ValueError, match="missing values"):
        learn_tree(X.assign(age=np.nan), y)
    with pytest.raises(ValueError, match="two classes"):
        learn_tree(X, np.zeros(len(X)))
    with pytest.raises(ValueError, match="missing values in age"):
        encode(pd.DataFrame({"age": [1.0, np.nan]}))


def test_folds_are_disjoint_and_even_within_each_class() -> None:
    y = np.array([0] * 73 + [1] * 29)
    part = folds(y, 5, np.random.default_rng(0))
    for c in (0, 1):
        sizes = np.bincount(part[y == c], minlength=5)
        assert sizes.max() - sizes.min() <= 1
    assert np.ptp(np.bincount(part)) <= 1


def test_nested_cv_is_reproducible_and_sees_signal_but_not_noise() -> None:
    X, y = signal()
    one, two = (nested_cv(X, y, repeats=3, seed=5) for _ in range(2))
    assert one.auc == two.auc and np.array_equal(one.predictions, two.predictions)
    assert one.auc.value is not None and one.auc.value > 0.7
    assert one.brier_skill.value is not None and one.brier_skill.value > 0.1
    assert one.choices["times"].sum() == 3 * 5
    other = np.random.default_rng(8).permutation(y)
    noise = nested_cv(X, other, repeats=3, seed=5)
    assert noise.auc.ci_low is not None and noise.auc.ci_high is not None
    assert noise.auc.ci_low < 0.5 < noise.auc.ci_high
    assert learn_tree(X, other, Settings(6, 7)).accuracy(X, other) > np.mean(other == 0)


def test_the_test_part_never_reaches_the_tree() -> None:
    # A column that is the outcome in one fold and noise elsewhere would show a leak.
    X, y = signal()
    rng = np.random.default_rng(5).spawn(1)[0]
    part = folds(np.asarray(y), 5, rng)
    leak = X.assign(leak=np.where(part == 0, y, np.random.default_rng(1).integers(0, 2, len(y))))
    plain = nested_cv(X[["age"]], y, repeats=1, seed=5).predictions[part == 0, 0]
    leaky = nested_cv(leak[["age", "leak"]], y, repeats=1, seed=5).predictions[part == 0, 0]
    assert auc(plain, y[part == 0]) < 0.75 and auc(leaky, y[part == 0]) < 0.75


def test_nested_cv_refuses_what_it_cannot_judge() -> None:
    X, y = signal()
    with pytest.raises(ValueError, match="0 or 1"):
        nested_cv(X, y + 1)
    with pytest.raises(ValueError, match="only one outcome"):
        nested_cv(X, np.ones(len(X)))
    few = np.zeros(len(X), int)
    few[:3] = 1
    with pytest.raises(ValueError, match="3 patients in a class, 5 folds"):
        nested_cv(X, few)


def test_intervals_of_a_fixed_score_cover_its_true_area() -> None:
    rng = np.random.default_rng(11)
    truth = 0.7602499389065233  # area of two normals one standard deviation apart
    covered = 0
    for _ in range(600):
        y = np.r_[np.zeros(80), np.ones(40)]
        e = area_under_curve(rng.normal(y), y)
        assert e.ci_low is not None and e.ci_high is not None
        covered += e.ci_low <= truth <= e.ci_high
    assert 0.92 <= covered / 600 <= 0.975


def test_permutation_p_is_uniform_without_association() -> None:
    from scipy.stats import kstest

    rng = np.random.default_rng(2)
    found = []
    for i in range(100):
        X = pd.DataFrame({"a": rng.normal(size=40), "b": rng.integers(0, 2, 40).astype(float)})
        y = np.r_[np.zeros(26), np.ones(14)].astype(int)
        test = permutation_test(
            X, y, grid=(Settings(3, 5),), k=3, n_permutations=19, seed=int(rng.integers(1e9)) + i
        )
        assert test.estimate.value is not None
        found.append(test.estimate.value)
    assert set(np.round(np.array(found) * 20).astype(int)) <= set(range(1, 21))
    spread = np.array(found) - rng.uniform(0, 1 / 20, len(found))
    assert kstest(spread, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.05) < 0.13


def test_permutation_sees_signal_and_keeps_to_strata() -> None:
    X, y = signal()
    strong = permutation_test(X, y, grid=(Settings(3, 7),), n_permutations=39, seed=0)
    assert strong.estimate.value == pytest.approx(1 / 40)
    # The outcome is the stratum: within strata there is nothing left to shuffle.
    stratum = np.repeat([0, 1], 40)
    frame = pd.DataFrame({"protocol": stratum.astype(float)})
    same = permutation_test(
        frame, stratum, strata=stratum, grid=(Settings(2, 7),), k=2, n_permutations=9, seed=0
    )
    assert same.estimate.value == 1.0


def test_stability_of_a_strong_and_of_an_absent_split() -> None:
    X, y = signal()
    strong = split_stability(X, y, Settings(3, 7), n_boot=100, seed=0)
    first = strong.variables.iloc[0]
    assert first["variable"] == "maturity" and first["first_split"] > 0.95
    assert first["cut_q25"] <= first["cut_median"] <= first["cut_q75"]
    noise = split_stability(
        X, np.random.default_rng(1).permutation(y), Settings(3, 7), n_boot=100, seed=0
    )
    assert noise.variables["first_split"].max() < 0.9
    assert noise.agreement < strong.agreement
    assert noise.variables["first_split"].sum() <= 1 + 1e-12


def test_specifications_cover_the_grid_once() -> None:
    X, y = signal(80)
    rows = list(
        specifications(
            [({"covariates": "all"}, X, y), ({"covariates": "age"}, X[["age"]], y)],
            GRID[:2],
            repeats=1,
        )
    )
    assert len(rows) == 4
    assert {(r["covariates"], r["leaves"]) for r in rows} == {
        (c, g) for c in ("all", "age") for g in (2, 3)
    }
    assert all(0 <= float(str(r["ci_low"])) <= float(str(r["value"])) for r in rows)


def test_trees_draw_themselves() -> None:
    from ballbook import figures

    X, y = signal()
    for draw in (TREE.draw, learn_tree(X, y).draw):
        figure, ax = figures.panels()
        draw(ax)
        words = " ".join(t.get_text() for t in ax.texts)
        assert ("MLLT1" in words) == (draw == TREE.draw)
        assert len(ax.lines) == 6
        assert figure is ax.figure

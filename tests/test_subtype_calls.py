"""Subtype calls: the vote, the two ways to stay unassigned, scores, and accuracy by class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta
from sklearn.neighbors import KNeighborsClassifier

from ballbook import datasets, subtype_calls
from ballbook.genesets import GeneSet
from ballbook.subtype_calls import UNASSIGNED


@pytest.fixture
def training() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(6)
    label = np.repeat(["A", "B", "C"], (30, 30, 8))
    centre = {"A": (0, 0), "B": (3, 0), "C": (0, 3)}
    return rng.normal(size=(68, 2)) * 0.5 + np.array([centre[w] for w in label]), label


def test_the_vote_is_that_of_scikit_learn(training: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = training
    votes = subtype_calls.caller(x, y, k=7, share=0.01)
    new = np.random.default_rng(1).normal(1, 1.2, size=(60, 2))
    told = votes.call(new)
    theirs = KNeighborsClassifier(7).fit(x, y)
    share = theirs.predict_proba(new).max(axis=1)
    np.testing.assert_allclose(told["votes"], share)
    alone = (theirs.predict_proba(new) == share[:, None]).sum(axis=1) == 1
    assert (told["first"].to_numpy()[alone] == theirs.predict(new)[alone]).all()
    assert alone.sum() > 40


def test_a_tie_goes_to_the_class_of_the_nearer_voter() -> None:
    x = np.array([[0.0], [1.0], [2.0], [3.0], [50.0], [51.0], [52.0], [53.0]])
    votes = subtype_calls.caller(x, ["B", "A", "B", "A", "C", "C", "C", "C"], k=4, share=0.5)
    assert votes.call([[-0.4]])["first"].tolist() == ["B"]
    assert votes.call([[3.4]])["first"].tolist() == ["A"]


def test_a_call_needs_votes_and_nearness(training: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = training
    votes = subtype_calls.caller(x, y, k=10, share=0.95)
    told = votes.call(pd.DataFrame([[0, 0], [1.5, 0], [-40, -40]], index=["in", "between", "far"]))
    assert told["call"].tolist()[0] == "A"
    assert told.loc["far", "call"] == UNASSIGNED and told.loc["far", "votes"] == 1
    assert told.loc["far", "distance"] > votes.limit
    assert told.loc["between", "votes"] < 0.95 and told.loc["between", "call"] == UNASSIGNED


def test_leaving_one_out_is_calling_each_by_the_others(
    training: tuple[np.ndarray, np.ndarray],
) -> None:
    x, y = training
    votes = subtype_calls.caller(x, y, k=5)
    left_out = votes.leave_one_out()
    for i in range(0, len(x), 7):
        rest = np.delete(np.arange(len(x)), i)
        one = subtype_calls.Caller(x[rest], y[rest], 5, votes.share, votes.limit).call(x[[i]])
        assert one.iloc[0].to_dict() == left_out.iloc[i].to_dict()


def test_the_limit_is_passed_by_one_training_sample_in_a_hundred() -> None:
    x = np.random.default_rng(3).normal(size=(400, 3))
    votes = subtype_calls.caller(x, np.repeat(["A", "B"], 200))
    assert (votes.leave_one_out()["distance"] > votes.limit).sum() == 4


def test_accuracy_by_class_is_that_of_counting() -> None:
    truth = np.repeat(["A", "B"], (10, 4))
    call = np.array(["A"] * 7 + ["B", "B", UNASSIGNED] + ["B", "B", "B", UNASSIGNED])
    t = subtype_calls.accuracy(pd.DataFrame({"call": call}), truth).set_index("label")
    assert t.loc["A", ["n", "called", "right"]].tolist() == [10, 9, 7]
    assert t.loc["A", "taken_for"] == "B" and t.loc["B", "taken_for"] == ""
    assert t.loc["B", "precision"] == pytest.approx(3 / 5) and t.loc["A", "precision"] == 1
    low, high = beta.ppf(0.025, 7, 4), beta.ppf(0.975, 8, 3)
    assert t.loc["A", ["recall", "ci_low", "ci_high"]].tolist() == pytest.approx([0.7, low, high])


@pytest.mark.parametrize("share", [0, 1.2])
def test_a_share_that_cannot_be_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        subtype_calls.caller(np.eye(12), list("AB") * 6, share=share)


def test_scores_run_from_0_to_1_and_need_genes() -> None:
    genes = [f"G{i}" for i in range(40)]
    sets = {"one": GeneSet(tuple(genes[:5]), tuple(genes[5:8])), "two": GeneSet(tuple(genes[8:13]))}
    values = np.random.default_rng(0).normal(size=(40, 3))
    values[:5] += 9
    table = pd.DataFrame(values, index=genes, columns=list("abc"))
    length = pd.Series(1.0, index=genes)
    scores = subtype_calls.scaled_scores(table, "log2", sets, tuple(genes), length)
    assert scores.min(axis=1).tolist() == [0, 0, 0] and scores.max(axis=1).tolist() == [1, 1, 1]
    assert (scores["one"] == 1).all()
    # Genes outside the background play no part, whatever they say.
    more = pd.concat([table, pd.DataFrame(99.0, index=["ALIEN"], columns=list("abc"))])
    again = subtype_calls.scaled_scores(more, "log2", sets, tuple(genes), length)
    pd.testing.assert_frame_equal(scores, again)
    with pytest.raises(subtype_calls.NotScorable, match="38% of the genes"):
        subtype_calls.scaled_scores(table.iloc[8:], "log2", sets, tuple(genes), length)
    assert subtype_calls.gene_coverage(genes[8:], sets) == pytest.approx(5 / 13)


def test_published_scores_are_scaled_as_ours_are(shared_data: Path) -> None:
    """The package holds the scores of its training samples: 0 and 1 in each, 20 sets."""
    known = datasets.subtypes()
    assert known.scores.shape == (2294, 20) and set(known.sets) == set(known.scores.columns)
    np.testing.assert_allclose(known.scores.min(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(known.scores.max(axis=1), 1, atol=1e-12)


def test_samples_of_another_package_are_called_as_labelled(shared_data: Path) -> None:
    known, new = datasets.subtypes(), datasets.load("allsorts-20")
    sets = {name: GeneSet(*parts) for name, parts in known.sets.items()}
    assert new.expression is not None and new.expression_kind is not None
    scores = subtype_calls.scaled_scores(
        datasets.with_symbols(new.expression, known), new.expression_kind, sets,
        known.background, known.cds_length,
    )  # fmt: skip
    told = subtype_calls.caller(known.scores, known.subtype).call(scores)
    truth = new.patients.set_index("patient_id")["subtype"]
    assert (told["call"] == truth[told.index]).mean() >= 0.95

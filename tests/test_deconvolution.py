"""Deconvolution: exact recovery without noise, what must not move it, and agreement with R."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from ballbook import deconvolution as dc

STATES = ["a", "b", "c", "d"]
seeds = st.integers(0, 2**32 - 1)


def profiles(seed: int, genes: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        rng.lognormal(0, 1.5, (genes, len(STATES))), [f"g{i}" for i in range(genes)], STATES
    )
    return table / table.sum()


def mixtures(signature: pd.DataFrame, seed: int, n: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    truth = pd.DataFrame(rng.dirichlet([0.5] * signature.shape[1], n), columns=signature.columns)
    return signature @ truth.T, truth


@given(seed=seeds, weights=st.sampled_from(["relative", "root", "none"]))
def test_without_noise_recovery_is_exact(seed: int, weights: Any) -> None:
    signature = profiles(seed)
    bulk, truth = mixtures(signature, seed)
    found = dc.deconvolve(bulk, signature, weights=weights)
    np.testing.assert_allclose(found.shares, truth, atol=1e-8)
    np.testing.assert_allclose(found.explained, 1, atol=1e-8)


@given(seed=seeds, scale=st.floats(1e-6, 1e6))
def test_scale_order_and_other_genes_do_not_matter(seed: int, scale: float) -> None:
    signature = profiles(seed)
    bulk, _ = mixtures(signature, seed)
    noisy = bulk * np.random.default_rng(seed).lognormal(0, 0.3, bulk.shape)
    found = dc.deconvolve(noisy, signature).shares
    assert found.sum(axis=1).to_numpy() == pytest.approx(np.ones(len(found)))
    assert (found.to_numpy() >= 0).all()
    rescaled = dc.deconvolve(noisy * scale, signature * 3).shares
    np.testing.assert_allclose(rescaled, found, atol=1e-6)
    turned = dc.deconvolve(noisy.iloc[::-1, ::-1], signature.iloc[::-1, ::-1]).shares
    np.testing.assert_allclose(turned.loc[found.index, found.columns], found, atol=1e-6)
    extra = pd.concat([noisy, pd.DataFrame(9.0, ["other"], noisy.columns)])
    np.testing.assert_allclose(dc.deconvolve(extra, signature).shares, found, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 3.0, 1e6])
def test_support_vectors_do_not_depend_on_the_unit(scale: float) -> None:
    signature = profiles(7, 25)
    bulk, truth = mixtures(signature, 7)
    found = dc.deconvolve(bulk, signature, method="nu-svr").shares
    # A constant that least squares lacks, and a tube without loss: near the truth, not on it.
    assert np.abs(found - truth).to_numpy().max() < 0.1
    rescaled = dc.deconvolve(bulk * scale, signature, method="nu-svr").shares
    np.testing.assert_allclose(rescaled, found, atol=1e-3)


def test_least_squares_equal_scipy_and_r(golden: Any) -> None:
    r = golden("deconvolution")
    a, b = np.array(r["a"]), np.array(r["b"])
    signature = pd.DataFrame(a / a.sum(axis=0))
    bulk = pd.DataFrame({"m": b})
    # Profiles are brought to a sum of 1, so the coefficient of a column grows by its sum.
    share = np.array(r["nnls"]) * a.sum(axis=0)
    found = dc.deconvolve(bulk, signature, weights="none")
    np.testing.assert_allclose(found.shares.loc["m"], share / share.sum(), atol=1e-9)
    explained = 1 - r["deviance"] / (b @ b)
    assert found.explained["m"] == pytest.approx(explained, rel=1e-9)
    weight = dc.gene_weights(signature, "relative")
    left = signature.to_numpy() * weight[:, None]
    peer = optimize.lsq_linear(left, b / b.sum() * weight, (0, np.inf), tol=1e-14).x
    ours = dc.deconvolve(bulk, signature).shares.loc["m"]
    np.testing.assert_allclose(ours, peer / peer.sum(), atol=1e-6)


def test_support_vectors_equal_r(golden: Any) -> None:
    from sklearn.svm import NuSVR

    r = golden("deconvolution")
    a, b = np.array(r["a"]), np.array(r["b"])
    x, y = (a - a.mean()) / a.std(), (b - b.mean()) / b.std()
    for nu, coefficients in zip(dc.NU, r["svr"], strict=True):
        ours = NuSVR(kernel="linear", nu=nu, C=1.0, tol=1e-7).fit(x, y).coef_.ravel()
        np.testing.assert_allclose(ours, coefficients, atol=1e-4)
    kept = [np.maximum(c, 0) for c in np.array(r["svr"])]
    errors = [((x @ (k / k.sum()) - y) ** 2).mean() for k in kept]
    best = kept[int(np.argmin(errors))]
    np.testing.assert_allclose(
        dc._support_vectors(a, b) / dc._support_vectors(a, b).sum(), best / best.sum(), atol=0.01
    )


@given(seed=seeds, base=st.sampled_from([2.0, np.e, 10.0]))
def test_a_log_is_undone_and_is_no_sum(seed: int, base: float) -> None:
    signature = profiles(seed)
    bulk, truth = mixtures(signature, seed)
    logged = np.log(bulk * 1e4 + 1) / np.log(base)
    back = dc.linear(logged, base=base, offset=1)
    np.testing.assert_allclose(dc.deconvolve(back, signature).shares, truth, atol=1e-7)
    assert not np.allclose(dc.deconvolve(logged, signature).shares, truth, atol=0.02)


def test_a_linear_table_is_checked() -> None:
    table = pd.DataFrame({"s": [1.0, -1.0]})
    with pytest.raises(ValueError, match="are they logarithms"):
        dc.linear(table)
    with pytest.raises(ValueError, match="too large for logarithms to base 10"):
        dc.linear(pd.DataFrame({"s": [500.0]}), base=10)
    with pytest.raises(ValueError, match="above 1"):
        dc.linear(table, base=1)
    assert dc.linear(table, base=2)["s"].tolist() == [2, 0.5]


@given(seed=seeds, spread=st.floats(0, 1.5))
@settings(max_examples=30)
def test_matching_undoes_a_platform_when_the_mean_is_known(seed: int, spread: float) -> None:
    """With the true mean, factors of genes leave nothing behind but the floor of the weights."""
    signature = profiles(seed, 60)
    bulk, truth = mixtures(signature, seed, 12)
    factor = np.exp(spread * np.random.default_rng(seed + 1).standard_normal(len(bulk)))
    seen = bulk.mul(factor, axis=0)
    seen = seen / seen.sum()
    known = dc.matched(seen, signature, start=truth.mean())
    error = dc.deconvolve(seen.div(known, axis=0), signature).shares - truth
    plain = dc.deconvolve(seen, signature).shares - truth
    assert np.sqrt((error**2).to_numpy().mean()) <= np.sqrt((plain**2).to_numpy().mean()) + 0.03


@given(seed=seeds)
@settings(max_examples=20)
def test_matching_fits_any_mean_it_is_given(seed: int) -> None:
    """Levels after matching are those that it started from: they are no finding."""
    signature = profiles(seed)
    bulk, _ = mixtures(signature, seed, 8)
    start = np.random.default_rng(seed).dirichlet(np.ones(len(STATES)))
    factor = dc.matched(bulk, signature, start=start)
    mean = (bulk / bulk.sum()).mean(axis=1).to_frame("mean")
    floor = np.quantile(signature.mean(axis=1), 0.1)
    exact = (mean["mean"] + floor) / factor - floor
    np.testing.assert_allclose(exact, signature @ start, atol=1e-12)


def test_what_cannot_be_deconvolved_is_refused_or_missing() -> None:
    signature = profiles(1)
    bulk, _ = mixtures(signature, 1)
    empty = bulk.assign(**{"0": 0.0})
    assert dc.deconvolve(empty, signature).shares.loc["0"].isna().all()
    for wrong, message in (
        (bulk.iloc[:2], "2 genes are shared"),
        (-bulk, "bulk: expected numbers"),
        (bulk.mask(bulk > bulk.median().median()), "bulk: expected numbers"),
        (pd.concat([bulk, bulk.iloc[:1]]), "stands twice"),
    ):
        with pytest.raises(ValueError, match=message):
            dc.deconvolve(wrong, signature)


def test_states_that_cannot_be_told_apart_are_joined() -> None:
    names = ["x", "y", "z"]
    clear = pd.DataFrame(np.eye(3), names, names)
    assert dc.merged(clear) == [("x",), ("y",), ("z",)]
    mixed = pd.DataFrame([[0.4, 0.1, 0.5], [0, 1, 0], [0.2, 0, 0.8]], names, names)
    assert dc.merged(mixed, 0.5) == [("x", "z"), ("y",)]
    assert dc.merged(mixed, 0.3) == [("x",), ("y",), ("z",)]
    assert dc.merged(mixed, 1.01) == [("x", "y", "z")]
    missing = dc.mean_confusion({"one": mixed, "two": clear.iloc[1:]})
    assert missing.loc["x"].tolist() == [0.4, 0.1, 0.5]
    assert missing.loc["z"].tolist() == pytest.approx([0.1, 0, 0.9])


def test_condition_number_of_alike_states_is_large() -> None:
    signature = profiles(2)
    alike = signature.assign(d=signature["a"] * 0.999 + signature["b"] * 0.001)
    assert dc.condition_number(alike) > 50 * dc.condition_number(signature)
    orthogonal = pd.DataFrame(np.eye(4), columns=STATES)
    assert dc.condition_number(orthogonal, "none") == pytest.approx(1)


@given(seed=seeds, bias=st.floats(-0.2, 0.2), slope=st.floats(0.2, 2))
def test_recovery_by_hand(seed: int, bias: float, slope: float) -> None:
    truth = mixtures(profiles(seed), seed, 20)[1]
    table = dc.recovery(truth, truth * slope + bias)
    np.testing.assert_allclose(table["slope"], slope, rtol=1e-6)
    np.testing.assert_allclose(table["correlation"], 1, atol=1e-6)
    error = truth * slope + bias - truth
    np.testing.assert_allclose(table["bias"], error.mean(), atol=1e-12)
    np.testing.assert_allclose(table["rmse"] ** 2, (error**2).mean(), atol=1e-12)
    constant = dc.recovery(truth * 0, truth)
    assert constant["correlation"].isna().all()


def test_limit_of_detection_by_hand() -> None:
    blank = np.arange(100) / 1000  # 95% point 0.09405
    spiked = {0.05: np.full(20, 0.05), 0.1: np.r_[np.full(19, 0.2), 0.0], 0.2: np.full(20, 0.2)}
    limit, least = dc.limit_of_detection(blank, spiked)
    assert limit == pytest.approx(0.09405)
    assert least == 0.1
    spiked[0.1][:3] = 0
    assert dc.limit_of_detection(blank, spiked)[1] == 0.2
    # A share that is found where a larger one is not does not count.
    assert dc.limit_of_detection(blank, {0.1: np.ones(5), 0.2: np.zeros(5)})[1] == np.inf


def test_halves_of_the_genes_agree_on_a_true_mixture() -> None:
    signature = profiles(5, 200)
    bulk, _ = mixtures(signature, 5, 30)
    found = dc.split_halves(bulk, signature, {"ab": ["a", "b"]}, splits=3, seed=1)
    assert found.loc["ab", "reliability"] == pytest.approx(1, abs=0.02)
    again = dc.split_halves(bulk, signature, {"ab": ["a", "b"]}, splits=3, seed=1)
    pd.testing.assert_frame_equal(found, again)
    noise = pd.DataFrame(np.random.default_rng(0).lognormal(0, 1, (200, 60)), signature.index)
    by_chance = dc.split_halves(noise, signature, {"ab": ["a", "b"]}, splits=6, seed=1)
    assert by_chance.loc["ab", "half"] < 0.3


def test_results_do_not_move_with_cores() -> None:
    """Shares are the same to the last digit with one thread and with two."""
    code = (
        "import numpy as np, pandas as pd\n"
        "from ballbook import deconvolution as dc\n"
        "rng = np.random.default_rng(1)\n"
        "s = pd.DataFrame(rng.lognormal(0, 1, (300, 11)))\n"
        "b = pd.DataFrame(rng.lognormal(0, 1, (300, 40)))\n"
        "b = b.div(dc.matched(b, s), axis=0)\n"
        "x = dc.deconvolve(b, s).shares.to_numpy()\n"
        "y = dc.deconvolve(b.iloc[:, :3], s, method='nu-svr').shares.to_numpy()\n"
        "print(x.tobytes().hex(), y.tobytes().hex())"
    )
    seen = set()
    for threads in ("1", "2"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        env = os.environ | dict.fromkeys(names, threads)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        seen.add(done.stdout)
    assert len(seen) == 1

"""Curves, imputations and clusters: their behaviour at the edges (R: tests/test_goldens.py)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from ballbook import clusters, imputation
from ballbook import dose_response as dr

DOSES = np.repeat(10.0 ** np.arange(-1, 5), 2)


# -------------------------------------------------------------------------------- the curve


@pytest.mark.parametrize("slope", [0.05, 0.9, 40.0])
@pytest.mark.parametrize("midpoint", [-6.0, 1.5, 60.0])
def test_the_area_is_the_integral(slope: float, midpoint: float) -> None:
    p = np.array([0.2, 0.97, slope, midpoint])
    expected = integrate.quad(
        lambda x: dr._curve(np.array([x]), p)[0], -1, 4, points=[min(max(midpoint, -1), 4)]
    )[0]
    assert dr.area(p, -1, 4) == pytest.approx(expected, rel=1e-7)


def test_the_curve_is_found_again_whatever_the_unit() -> None:
    rng = np.random.default_rng(2)
    truth = np.array([0.1, 1.0, 1.2, 1.4])
    y = dr._curve(np.log10(DOSES), truth) + rng.normal(0, 0.01, DOSES.size)
    curve = dr.four_parameter(DOSES, y)
    assert np.abs(curve.parameters - truth).max() < 0.1
    micro = dr.four_parameter(DOSES / 1000, y)
    assert micro.midpoint == pytest.approx(curve.midpoint - 3, abs=1e-6)
    assert micro.normalised_area().value == pytest.approx(curve.normalised_area().value, rel=1e-8)


def test_intervals_cover() -> None:
    rng = np.random.default_rng(4)
    truth = np.array([0.15, 1.0, 1.0, 1.6])
    target = dr.area(truth, -1, 4) / 5
    hits = []
    for _ in range(300):
        y = dr._curve(np.log10(DOSES), truth) + rng.normal(0, 0.06, DOSES.size)
        e = dr.four_parameter(DOSES, y, top=1).normalised_area()
        assert e.ci_low is not None and e.ci_high is not None
        hits.append(e.ci_low <= target <= e.ci_high)
    assert 0.91 < np.mean(hits) < 0.985


def test_a_drug_without_effect_has_no_lc50_and_an_area_of_one() -> None:
    rng = np.random.default_rng(5)
    curve = dr.four_parameter(DOSES, 1 + rng.normal(0, 0.02, DOSES.size), top=1)
    lc50 = curve.log_lc50()
    assert lc50.value is None and lc50.ci_low == 4 and lc50.ci_high is None
    assert curve.normalised_area().value == pytest.approx(1, abs=0.03)
    assert "not reached" in str(lc50.reason)


def test_a_drug_that_kills_at_every_dose_has_lc50_below() -> None:
    curve = dr.four_parameter(DOSES, np.full(DOSES.size, 0.02), top=1)
    lc50 = curve.log_lc50()
    assert lc50.value is None and lc50.ci_high == -1 and lc50.ci_low is None


def test_lc50_is_where_half_live_and_ec50_where_half_the_effect_is() -> None:
    y = dr._curve(np.log10(DOSES), np.array([0.3, 1.0, 1.0, 1.0]))
    curve = dr.four_parameter(DOSES, y, top=1)
    lc50 = curve.log_lc50().value
    assert lc50 is not None and curve.response(10**lc50) == pytest.approx(0.5, abs=1e-6)
    assert curve.midpoint == pytest.approx(1.0, abs=1e-6) and lc50 > curve.midpoint + 0.3


def test_absolute_residuals_ignore_a_wild_well() -> None:
    truth = np.array([0.1, 1.0, 1.0, 1.5])
    y = dr._curve(np.log10(DOSES), truth)
    y[5] = 2.5
    squares = dr.four_parameter(DOSES, y, top=1).midpoint
    absolute = dr.four_parameter(DOSES, y, top=1, loss="absolute")
    assert abs(absolute.midpoint - 1.5) < 0.02 < abs(squares - 1.5)
    assert absolute.normalised_area().ci_low is None


def test_a_parameter_on_its_bound_has_no_standard_error() -> None:
    y = np.where(DOSES > 50, 0.02, 1.0)
    curve = dr.four_parameter(DOSES, y, top=1)
    assert "slope" in curve.at_bound and math.isnan(curve.std_errors["slope"])
    assert math.isfinite(curve.std_errors["midpoint"]) or "midpoint" in curve.at_bound


@pytest.mark.parametrize(
    ("dose", "told"),
    [
        ([0.0, 1, 10, 100, 1000], "above 0"),
        ([1.0, 1, 10, 10, 10], "cannot fit"),
        ([1.0, 2], "uneq"),
    ],
)
def test_doses_that_cannot_be_fitted_are_refused(dose: list[float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        dr.four_parameter(dose, [1.0, 0.9, 0.5, 0.2, 0.1])


# ------------------------------------------------------------------------- quality of plates


def test_z_prime_by_hand() -> None:
    e = dr.z_prime([100.0, 110, 90], [10.0, 12, 8])
    assert e.value == pytest.approx(1 - 3 * (10 + 2) / 90)
    assert dr.z_prime([5.0, 5], [5.0, 5]).value is None
    assert dr.z_prime([100.0, 110, 90, 900], [10.0, 12, 8, 9], robust=True).value == pytest.approx(
        1 - 3 * 1.4826 * (10 + 1) / (105 - 9.5), rel=1e-4
    )


def plate(seed: int = 1, **drugs: tuple[float, ...]) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [{"sample_id": "S1", "drug": "DMSO", "dose": 1.0, "response": r}
            for r in rng.normal(1000, 50, 8)]  # fmt: skip
    for drug, p in drugs.items():
        y = 1000 * (dr._curve(np.log10(DOSES), np.array(p)) + rng.normal(0, 0.03, DOSES.size))
        rows += [
            {"sample_id": "S1", "drug": drug, "dose": d, "response": max(v, 0)}
            for d, v in zip(DOSES, y, strict=True)
        ]
    return pd.DataFrame(rows)


def test_plates_are_normalised_fitted_and_checked() -> None:
    wells = plate(kills=(0.05, 1, 1, 1), spares=(1, 1, 1, 1))
    table, curves = dr.plate_curves(wells)
    by = table.set_index("drug")
    assert by.loc["kills", "norm_log_auc"] == pytest.approx(
        dr.area([0.05, 1, 1, 1], -1, 4) / 5, abs=0.04
    )
    assert by.loc["spares", "lc50_bound"] == "above" and by.loc["spares", "log_lc50"] == 4
    assert (table["problems"] == "").all() and set(curves) == {("S1", "kills"), ("S1", "spares")}
    # Cells counted twice over change nothing; an excluded well is not read.
    again, _ = dr.plate_curves(wells.assign(response=2 * wells["response"]))
    assert np.allclose(again["norm_log_auc"], table["norm_log_auc"])
    wild = pd.concat([wells, wells.iloc[[10]].assign(response=1e6)], ignore_index=True)
    wild["exclude"] = [0] * len(wells) + [1]
    assert np.allclose(dr.plate_curves(wild)[0]["norm_log_auc"], table["norm_log_auc"])


def test_swapped_wells_are_noticed() -> None:
    wells = plate(kills=(0.05, 1, 1.5, 1))
    drug = wells["drug"] == "kills"
    low, high = (wells.index[drug & (wells["dose"] == d)] for d in (0.1, 10000.0))
    values = wells["response"].to_numpy().copy()
    values[low], values[high] = values[high].copy(), values[low].copy()
    table, _ = dr.plate_curves(wells.assign(response=values))
    assert "rises by" in table["problems"][0] and "starts at" in table["problems"][0]


def test_a_plate_without_controls_is_refused() -> None:
    wells = plate(kills=(0.05, 1, 1, 1))
    with pytest.raises(ValueError, match="0 wells of vehicle"):
        dr.plate_curves(wells, control="vehicle")
    dead = wells.assign(response=wells["response"].where(wells["drug"] != "DMSO", 0))
    with pytest.raises(ValueError, match="no cells"):
        dr.plate_curves(dead)


# ----------------------------------------------------------------------- imputation, clusters


def test_imputed_values_were_measured_and_measured_values_stay() -> None:
    rng = np.random.default_rng(6)
    data = pd.DataFrame(rng.normal(size=(80, 4)), columns=list("abcd"))
    data["b"] += data["a"]
    whole = data.copy()
    data = data.mask(rng.uniform(size=data.shape) < 0.4)
    done = imputation.chained_equations(data, 4, seed=1)
    for d in done:
        assert d.notna().all(axis=None)
        assert np.allclose(d.where(data.notna()), data, equal_nan=True)
        for name in data:
            assert set(d[name]) <= set(data[name].dropna())
    again = imputation.chained_equations(data, 4, seed=1)
    assert all(a.equals(b) for a, b in zip(done, again, strict=True))
    assert not imputation.chained_equations(data, 1, seed=2)[0].equals(done[0])
    # What was measured is what is the same in all.
    same = imputation.unchanged(done)
    assert same.to_numpy()[data.notna().to_numpy()].all()
    assert same.to_numpy()[data.isna()].mean() < 0.05
    assert whole.shape == same.shape


def test_intervals_over_imputations_cover_where_complete_pairs_mislead() -> None:
    """Half of y is missing, more where x is high, so that the mean of what is seen is wrong."""
    rng = np.random.default_rng(7)
    hits, naive = 0, 0
    for i in range(150):
        x = rng.normal(size=150)
        y = 0.8 * x + rng.normal(0, 0.6, 150)
        seen = rng.uniform(size=150) > stats.norm.cdf(0.5 * x)
        kept = y[seen]
        data = pd.DataFrame({"x": x, "y": np.where(seen, y, np.nan)})
        done = [d["y"].to_numpy() for d in imputation.chained_equations(data, 10, seed=i)]
        pooled = imputation.rubin(
            [d.mean() for d in done], [d.var(ddof=1) / 150 for d in done], df_complete=149
        )
        low, high = pooled.interval()
        hits += low <= 0 <= high
        naive += bool(abs(kept.mean()) < 1.98 * stats.sem(kept))
    assert hits > 0.88 * 150 and naive < 0.35 * 150


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gaps", [0.3, 0.6])
@pytest.mark.parametrize("limit", [-0.6, -1.6])
def test_measured_values_lie_between_the_bounds(limit: float, gaps: float, seed: int) -> None:
    """The lower the limit, the more values are equal there, and the more of them by chance."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(400, 1)) + rng.normal(size=(400, 6))
    whole = pd.DataFrame(np.minimum(latent, limit), columns=list("abcdef"))
    data = whole.mask(rng.uniform(size=whole.shape) < gaps)
    done = imputation.chained_equations(data, 10, seed=seed)
    truth = int(data.notna().to_numpy().sum())
    limits = pd.DataFrame({"above": limit}, index=list("abcdef"))
    e = imputation.measured_count(done, limits)
    assert e.value is not None and e.ci_low is not None and e.ci_high is not None
    assert e.ci_low <= truth < e.ci_high == e.value
    none = imputation.measured_count(done, limits * np.nan)
    assert none.value == none.ci_low == none.ci_high


def test_imputation_refuses_what_it_cannot_do() -> None:
    data = pd.DataFrame({"a": [1.0, 2, 3, 4, 5, 6], "b": [np.nan] * 4 + [1.0, 2.0]})
    with pytest.raises(ValueError, match="too few"):
        imputation.chained_equations(data, seed=1)
    with pytest.raises(ValueError, match="two variables"):
        imputation.chained_equations(data[["a"]], seed=1)
    with pytest.raises(ValueError, match="0 or more"):
        imputation.rubin([1, 2], [1, -1])


def test_rubins_rules_by_hand() -> None:
    p = imputation.rubin([1, 2, 4], [0.4, 0.5, 0.6])
    assert (p.estimate, p.within) == pytest.approx((7 / 3, 0.5))
    assert p.between == pytest.approx(7 / 3)
    assert p.total == pytest.approx(0.5 + 4 / 3 * 7 / 3)
    assert p.share_missing == pytest.approx((4 / 3 * 7 / 3) / p.total)
    assert p.df == pytest.approx(2 / p.share_missing**2)


def test_a_correlation_over_equal_imputations_is_that_of_one() -> None:
    e = imputation.pooled_correlation([0.4, 0.4, 0.4], 50)
    half = stats.t.isf(0.025, imputation.rubin([0.1, 0.1], [1, 1], df_complete=48).df)
    se = math.sqrt((1 + 0.08) / 47)
    assert e.ci_low == pytest.approx(math.tanh(math.atanh(0.4) - half * se))
    wider = imputation.pooled_correlation([0.2, 0.4, 0.6], 50)
    assert wider.ci_high - wider.ci_low > e.ci_high - e.ci_low  # type: ignore[operator]


def test_stability_tells_clusters_from_none() -> None:
    rng = np.random.default_rng(8)
    centres = rng.normal(0, 6, (3, 5))
    apart = np.vstack([c + rng.normal(size=(30, 5)) for c in centres])
    found = clusters.stability(apart, 3, n_boot=20, seed=1)
    assert found.agreement.value > 0.95 and found.jaccard.min() > 0.9  # type: ignore[operator]
    assert found.by_chance.value < found.agreement.value  # type: ignore[operator]
    none = clusters.stability(rng.normal(size=(90, 5)), 3, n_boot=20, seed=1)
    assert abs(none.agreement.value - none.by_chance.value) < 0.2  # type: ignore[operator]
    assert clusters.agreement([found.labels, found.labels[::1]], 90).value == 1
    with pytest.raises(ValueError, match="expected 2 to"):
        clusters.ward(apart, 1)

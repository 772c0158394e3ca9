r"""How well a hazard model predicts: discrimination, calibration at a time, optimism.

**Concordance** (Harrell). Over pairs in which one patient's event came while the other was at risk:
the fraction in which the one with the event had the higher predictor, ties counting half. Only
pairs within a stratum count where strata are given.

**AUC at a time** :math:`t` (cumulative cases, dynamic controls). Cases had their event by
:math:`t`, controls were followed beyond. Those censored before are neither; with :math:`G` the
Kaplan-Meier curve of the censoring times, the others stand in for them by weights:

.. math:: \widehat{AUC}(t)=\frac{\sum_{i:\,T_i\le t,\,\delta_i=1}\sum_{j:\,T_j>t} w_i v_j
    \{1(\eta_i>\eta_j)+\tfrac12 1(\eta_i=\eta_j)\}}{\sum_i\sum_j w_i v_j},\qquad
    w_i=\frac1{G(T_i-)},\; v_j=\frac1{G(t)} .

With strata, :math:`G` and the pairs are those of each stratum, and both sums run over all strata.

**Calibration at** :math:`t`. In the large: :math:`(1-S_{KM}(t))/\overline{(1-\hat S_i(t))}`,
observed over expected. In groups: the mean prediction beside the Kaplan-Meier estimate. Slope: the
Cox coefficient of the predictor itself, 1 where predictions are neither too extreme (below 1) nor
too timid (above 1).

**Optimism** (Harrell). A model is fitted to resampled patients; each measure on the resample, less
the same model's on the real patients, is what fitting to chance gains. Its mean over resamples is
taken off the apparent measure. Patients are drawn within strata.

**Baseline.** The cumulative hazard of one stratum after a Cox fit with Efron's ties,
:math:`\hat H_0(t)=\sum_{t_k\le t}\sum_{l<d_k} (S_{0k}-\frac{l}{d_k}D_{0k})^{-1}` in the notation of
`ballbook.cox`, so that :math:`\hat S_i(t)=\exp(-\hat H_0(t)\,e^{\eta_i})`.

References: Harrell, Lee, Mark, Stat Med 1996;15:361. Uno, Cai, Tian, Wei, J Am Stat Assoc
2007;102:527. Blanche, Dartigues, Jacqmin-Gadda, Stat Med 2013;32:5381. van Houwelingen, Stat Med
2000;19:3401. R: ``survival::concordance``, ``riskRegression::Score`` (AUC, ``cens.model = "km"``),
``rms::validate``, ``survival::survfit(coxph)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ballbook.cox import RiskSets, _concordant_pairs, bootstrap_cox, cox
from ballbook.inputs import as_vector, group_codes
from ballbook.results import Estimate, not_estimable
from ballbook.survival import (
    Bools,
    Floats,
    Ints,
    kaplan_meier,
    normal_quantile,
    survival_data,
)

Codes = npt.NDArray[np.int64]


def _prepared(
    time: Any, event: Any, predictor: Any, strata: Any
) -> tuple[Floats, Bools, Floats, Codes]:
    t, died, _ = survival_data(time, event)
    eta = as_vector(predictor, "predictor", n=len(t))
    codes = np.zeros(len(t), dtype=np.int64)
    if strata is not None:
        codes, _ = group_codes("strata", strata, n=len(t))
    return t, died, eta, codes


# --- discrimination ---------------------------------------------------------------------------


def concordance(
    time: Any, event: Any, predictor: Any, *, strata: Any = None, ci_level: float = 0.95
) -> Estimate:
    """Return Harrell's concordance of a predictor, with an infinitesimal jackknife interval.

    Parameters
    ----------
    time, event : array_like, shape (n,)
    predictor : array_like of float, shape (n,)
        Higher means an earlier event, such as the linear predictor of a Cox model from elsewhere.
    strata : array_like, shape (n,), optional
        Only pairs within a stratum are compared.

    Raises
    ------
    ValueError
        See `ballbook.survival.survival_data`; missing or unequal numbers of values.

    Notes
    -----
    R: ``concordance(Surv(time, event) ~ predictor + strata(s), reverse = TRUE)``.
    """
    t, died, eta, codes = _prepared(time, event, predictor, strata)
    fields: dict[str, Any] = {
        "n": len(t), "n_events": int(died.sum()),
        "method": "Harrell's concordance, infinitesimal jackknife interval",
    }  # fmt: skip
    sets = RiskSets(t, died, None, codes, "efron")
    pairs, agreement = _concordant_pairs(sets, eta[sets.order])
    total = pairs.sum() / 2
    if total == 0:
        return not_estimable("concordance", "no comparable pairs", **fields)
    value = float(agreement.sum() / 2 / total)
    margin = (
        normal_quantile(ci_level) * float(np.sqrt(np.sum((agreement - value * pairs) ** 2))) / total
    )
    return Estimate("concordance", value, value - margin, value + margin, ci_level, **fields)


def _weighted_pairs(
    t: Floats, died: Bools, eta: Floats, codes: Codes, at: float
) -> tuple[float, float]:
    """Return the weight of concordant and of all pairs of a case and a control."""
    agree = whole = 0.0
    for layer in np.unique(codes):
        inside = codes == layer
        time, event, risk = t[inside], died[inside], eta[inside]
        # Censoring at an event's time comes after it: G is read just before the time of a case.
        order = np.argsort(time, kind="stable")
        times, first = np.unique(time[order], return_index=True)
        at_risk = len(time) - first
        events = np.bincount(np.searchsorted(times, time[event]), minlength=len(times))
        lost = np.bincount(np.searchsorted(times, time[~event]), minlength=len(times))
        left = np.maximum(at_risk - events, 1)
        curve = np.concatenate(
            [[1.0], np.cumprod(1 - np.where(at_risk > events, lost / left, 0.0))]
        )
        case, control = event & (time <= at), time > at
        if not case.any() or not control.any():
            continue
        weight = 1 / curve[np.searchsorted(times, time[case], side="left")]
        other = 1 / curve[np.searchsorted(times, at, side="right")]
        rest = np.sort(risk[control])
        below = np.searchsorted(rest, risk[case], side="left")
        through = np.searchsorted(rest, risk[case], side="right")
        agree += other * float(weight @ (below + (through - below) / 2))
        whole += other * float(weight.sum()) * len(rest)
    return agree, whole


def auc_at(
    time: Any,
    event: Any,
    predictor: Any,
    at: float,
    *,
    strata: Any = None,
    n_boot: int = 200,
    seed: int = 0,
    ci_level: float = 0.95,
) -> Estimate:
    """Return the AUC at a time, weighted for censoring, with a bootstrap percentile interval.

    Parameters
    ----------
    time, event, predictor, strata
        As for `concordance`; `at` in the unit of `time`.
    n_boot : int
        Resamples (within strata) for the interval; 0 gives none.

    Raises
    ------
    ValueError
        As for `concordance`.

    Notes
    -----
    R: ``riskRegression::Score(list(x), Surv(time, event) ~ 1, times = at, metrics = "auc",
    cens.model = "km")``, unstratified.
    """
    t, died, eta, codes = _prepared(time, event, predictor, strata)
    # Equal covariates can differ in the last bit of the linear predictor.
    eta = np.round(eta, 10)
    fields: dict[str, Any] = {
        "n": len(t), "n_events": int((died & (t <= at)).sum()), "unit": None,
        "method": f"AUC of cases by {at:g} v controls beyond, weighted for censoring",
    }  # fmt: skip
    agree, whole = _weighted_pairs(t, died, eta, codes, at)
    if whole == 0:
        return not_estimable("auc", "no case or no control at that time", **fields)
    drawn = []
    for rows in resampled(codes, n_boot, seed) if n_boot else []:
        a, w = _weighted_pairs(t[rows], died[rows], eta[rows], codes[rows], at)
        if w:
            drawn.append(a / w)
    if not drawn:
        return Estimate("auc", agree / whole, ci_level=None, **fields)
    low, high = np.quantile(drawn, [(1 - ci_level) / 2, (1 + ci_level) / 2])
    fields["method"] += f", percentile interval of {len(drawn)} resamples"
    return Estimate("auc", agree / whole, float(low), float(high), ci_level, **fields)


def resampled(strata: Any, n_boot: int, seed: int) -> Ints:
    """Return positions of `n_boot` resamples (n_boot, n), drawn with replacement within strata."""
    codes = np.asarray(strata)
    rng = np.random.default_rng(seed)
    out = np.empty((n_boot, len(codes)), dtype=np.int64)
    for layer in np.unique(codes):
        inside = np.flatnonzero(codes == layer)
        out[:, inside] = rng.choice(inside, size=(n_boot, len(inside)))
    return out


# --- optimism ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Optimism:
    """One measure of a model: apparent, and with its optimism taken off.

    Attributes
    ----------
    apparent : Estimate
        On the patients that the model was fitted to.
    corrected : Estimate
        Less the mean optimism; the interval is the apparent one, moved by it.
    optimism : float
    n_boot : int
        Resamples with a finite fit.
    """

    apparent: Estimate
    corrected: Estimate
    optimism: float
    n_boot: int


def optimism(
    time: Any,
    event: Any,
    covariates: pd.DataFrame,
    at: float,
    *,
    strata: Any = None,
    n_boot: int = 200,
    seed: int = 0,
    resamples: Any = None,
) -> dict[str, Optimism]:
    """Return concordance, AUC at a time and calibration slope of a Cox model without optimism.

    Parameters
    ----------
    time, event, covariates, strata
        As for `ballbook.cox.cox`; patients are drawn and compared within strata.
    at : float
        Time of the AUC, in the unit of `time`.
    n_boot : int
        Resamples.
    resamples : (n_boot, n) array_like, optional
        Positions to use as resamples instead of drawing them.

    Returns
    -------
    dict
        ``concordance``, ``auc`` and ``slope``.

    Raises
    ------
    ValueError
        As for `cox`; or where no model can be fitted.

    Notes
    -----
    R: ``rms::validate(cph(..., x = TRUE, y = TRUE), B = n_boot)``, whose Dxy is
    :math:`2C-1`; it draws across strata.
    """
    t, died, _ = survival_data(time, event)
    codes = np.zeros(len(t), dtype=np.int64)
    if strata is not None:
        codes, _ = group_codes("strata", strata, n=len(t))
    fit = cox(t, died, covariates, strata=codes)
    if fit.reasons:
        raise ValueError("; ".join(dict.fromkeys(fit.reasons.values())))
    x = covariates.to_numpy(dtype=float)
    drawn = resampled(codes, n_boot, seed) if resamples is None else np.asarray(resamples)
    coefs = bootstrap_cox(
        t, died, covariates, n_boot=len(drawn), seed=seed, strata=codes, resamples=drawn
    )
    gains: dict[str, list[float]] = {"concordance": [], "auc": [], "slope": []}
    for rows, coef in zip(drawn, coefs, strict=True):
        if not np.isfinite(coef).all():
            continue
        eta = x @ coef
        there = eta[rows]
        for name, measure in (("concordance", _concordance), ("auc", _auc)):
            gain = measure(t[rows], died[rows], there, codes[rows], at) - measure(
                t, died, eta, codes, at
            )
            gains[name].append(gain)
        real = cox(t, died, pd.DataFrame({"eta": eta}), strata=codes).coef[0]
        gains["slope"].append(1.0 - float(real))
    eta = x @ fit.coef
    slope = cox(t, died, pd.DataFrame({"eta": eta}), strata=codes)
    se = float(slope.table["se"].iloc[0])
    z = normal_quantile(0.95)
    apparent = {
        "concordance": concordance(t, died, eta, strata=codes),
        "auc": auc_at(t, died, eta, at, strata=codes, n_boot=n_boot, seed=seed),
        "slope": Estimate(
            "slope", 1.0, 1 - z * se, 1 + z * se, n=len(t), n_events=int(died.sum()),
            method="Cox coefficient of the linear predictor",
        ),
    }  # fmt: skip
    return {name: _corrected(apparent[name], gains[name]) for name in gains}


def _corrected(apparent: Estimate, gains: list[float]) -> Optimism:
    seen = [g for g in gains if np.isfinite(g)]
    if not seen or apparent.value is None:
        nothing = not_estimable(apparent.kind, "no resample could be fitted", n=apparent.n)
        return Optimism(apparent, nothing, float("nan"), 0)
    mean = float(np.mean(seen))
    moved = replace(
        apparent,
        value=apparent.value - mean,
        ci_low=None if apparent.ci_low is None else apparent.ci_low - mean,
        ci_high=None if apparent.ci_high is None else apparent.ci_high - mean,
        method=f"{apparent.method}; less the mean optimism of {len(seen)} bootstrap models",
    )
    return Optimism(apparent, moved, mean, len(seen))


def _concordance(t: Floats, died: Bools, eta: Floats, codes: Codes, at: float) -> float:
    found = concordance(t, died, eta, strata=codes).value
    return float("nan") if found is None else found


def _auc(t: Floats, died: Bools, eta: Floats, codes: Codes, at: float) -> float:
    agree, whole = _weighted_pairs(t, died, np.round(eta, 10), codes, at)
    return agree / whole if whole else float("nan")


# --- prediction and calibration ---------------------------------------------------------------


def baseline_hazard(time: Any, event: Any, predictor: Any, at: float) -> float:
    """Return the cumulative hazard by `at` of a patient whose linear predictor is 0.

    Parameters
    ----------
    time, event, predictor : array_like, shape (n,)
        Of one stratum, with the linear predictor of a fitted model.

    Raises
    ------
    ValueError
        As for `concordance`; or where nobody was followed to `at`.

    Notes
    -----
    R: ``survfit(coxph(...), newdata)`` with Efron's ties, at covariates of zero.
    """
    t, died, eta, _ = _prepared(time, event, predictor, None)
    if t.max() < at:
        raise ValueError(f"nobody was followed to {at:g}")
    weight = np.exp(eta)
    total = 0.0
    for when in np.unique(t[died & (t <= at)]):
        tied = died & (t == when)
        at_risk, falling, d = weight[t >= when].sum(), weight[tied].sum(), int(tied.sum())
        total += float(np.sum(1 / (at_risk - np.arange(d) / d * falling)))
    return total


def predicted_survival(hazard: float | Floats, predictor: Any) -> Floats:
    """Return survival from a baseline cumulative hazard (one, or one a patient) and predictors."""
    return np.exp(-np.asarray(hazard) * np.exp(np.asarray(predictor, dtype=float)))


@dataclass(frozen=True)
class Calibration:
    """Predictions beside what happened, at one time.

    Attributes
    ----------
    observed_expected : Estimate
        Ratio of the observed to the mean predicted risk.
    slope : Estimate
        Cox coefficient of the linear predictor.
    table : DataFrame
        By group of predicted survival, lowest first: ``group, n, events, predicted, observed,
        ci_low, ci_high``.
    """

    observed_expected: Estimate
    slope: Estimate
    table: pd.DataFrame


def calibration_at(
    time: Any,
    event: Any,
    survival: Any,
    predictor: Any,
    at: float,
    *,
    strata: Any = None,
    groups: int = 5,
) -> Calibration:
    """Compare predicted survival at a time with what was observed.

    Parameters
    ----------
    survival, predictor : array_like, shape (n,)
        Predicted survival at `at`, and the linear predictor behind it.
    strata : array_like, optional
        For the slope alone: groups with a baseline hazard each.
    groups : int
        Groups of about equal size by predicted survival.

    Raises
    ------
    ValueError
        As for `concordance`; predictions outside 0 and 1.

    Notes
    -----
    The interval of the ratio takes the observed risk alone as uncertain: that of its logarithm,
    from Greenwood's variance.
    """
    t, died, eta, codes = _prepared(time, event, predictor, strata)
    said = as_vector(survival, "survival", n=len(t))
    if (said < 0).any() or (said > 1).any():
        raise ValueError("survival: expected fractions between 0 and 1")
    fields: dict[str, Any] = {"n": len(t), "n_events": int((died & (t <= at)).sum())}
    curve = kaplan_meier(t, died)
    seen, expected = curve.at(at), float(np.mean(1 - said))
    ratio = not_estimable("risk-ratio", seen.reason or "no event by then", **fields)
    if seen.value is not None and seen.value < 1 and expected > 0:
        risk = 1 - seen.value
        before = curve.table[curve.table["time"] <= at]
        margin = normal_quantile(0.95) * float(before["std_error"].iloc[-1]) / risk
        ratio = Estimate(
            "risk-ratio", risk / expected, risk / expected * float(np.exp(-margin)),
            risk / expected * float(np.exp(margin)), **fields,
            method="observed (Kaplan-Meier) over mean predicted risk, log interval",
        )  # fmt: skip
    slope = not_estimable("slope", "no events, or one predicted value", n=len(t))
    if died.any() and np.ptp(eta) > 0:
        fit = cox(t, died, pd.DataFrame({"eta": eta}), strata=codes)
        row = fit.table.iloc[0]
        if fit.reasons:
            slope = not_estimable("slope", next(iter(fit.reasons.values())), n=len(t))
        else:
            margin = normal_quantile(0.95) * float(row["se"])
            slope = Estimate(
                "slope", float(row["coef"]), float(row["coef"]) - margin,
                float(row["coef"]) + margin, n=len(t), n_events=int(died.sum()),
                method="Cox coefficient of the linear predictor",
            )  # fmt: skip
    return Calibration(ratio, slope, _grouped(t, died, said, at, groups))


def _grouped(t: Floats, died: Bools, said: Floats, at: float, groups: int) -> pd.DataFrame:
    place = pd.qcut(said, groups, labels=False, duplicates="drop")
    rows = []
    for g in sorted(set(place[~pd.isna(place)])):
        inside = place == g
        e = kaplan_meier(t[inside], died[inside]).at(at)
        rows.append(
            {
                "group": int(g) + 1, "n": int(inside.sum()),
                "events": int((died & (t <= at) & inside).sum()),
                "predicted": float(said[inside].mean()), "observed": e.value,
                "ci_low": e.ci_low, "ci_high": e.ci_high,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)

"""Our numbers beside R's: every recorded result of R, computed again here.

``tests/golden/<topic>.R`` wrote ``tests/golden/<topic>.json``: a list of cases, each one call of an
estimator with R's numbers and the relative difference allowed. `compare` computes the same call
with this library, `table` lists all cases for the book, and the tests assert every one.

Some cases use published data sets that are not in the repository. Where the data mirror is absent
their rows come from the last table that was kept (``python -m ballbook.goldens``), and say so.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ballbook import (
    censored_regression,
    clusters,
    competing_risks,
    contingency,
    cox,
    dose_response,
    genesets,
    imputation,
    linear,
    logistic,
    meta_analysis,
    multiplicity,
    ordinal,
    paths,
    power,
    rank_tests,
    survival,
)
from ballbook.results import Estimate

Numbers = dict[str, Any]

TOPICS = {
    "survival": "Survival",
    "cox": "Cox regression",
    "competing_risks": "Competing risks",
    "contingency": "Tables and proportions",
    "logistic": "Logistic regression",
    "ordinal": "Proportional odds",
    "linear": "Linear models",
    "censored_regression": "Values below a limit",
    "rank_tests": "Rank tests",
    "multiplicity": "Multiplicity",
    "meta_analysis": "Meta-analysis",
    "power": "Power",
    "genesets": "Gene-set scores",
    "dose_response": "Dose response, imputation, clusters",
}


@dataclass(frozen=True, slots=True)
class Golden:
    """One call of an estimator, compared.

    Attributes
    ----------
    topic, estimator, data, call, given : str
        File of the case, our function, the data set, the R call, and the arguments that are
        short enough to print.
    numbers : int
        How many numbers of the call were compared.
    quantity : str
        The number that differs most; `ours` and `r` are its two values.
    difference : float
        Its relative difference, :math:`|o - r| / |r|`; below 1e-8 in R the difference is absolute
        in units of 1e-8, because R's own zeros are rounding noise.
    tolerance : float
        Largest relative difference allowed.
    agrees : bool
        Whether every number lies within its tolerance (see `ABSOLUTE`).
    note : str
        Why the tolerance is wider than 1e-6, where it is.
    kept : str
        Date of the kept table that the row was taken from; empty when computed now.
    """

    topic: str
    estimator: str
    data: str
    call: str
    given: str
    numbers: int
    quantity: str
    ours: float | None
    r: float | None
    difference: float
    tolerance: float
    agrees: bool
    note: str = ""
    kept: str = ""


# Numbers that R itself computes with an absolute error, which a relative one cannot express.
ABSOLUTE = {("tukey", "p_adjusted"): 2e-5}


class DataAbsent(LookupError):
    """A published data set is not at hand."""


# --- comparison -------------------------------------------------------------------------------


def folder() -> Path:
    """Return the folder of R's scripts and results."""
    return paths.root() / "tests" / "golden"


def versions(topic: str) -> dict[str, str]:
    """Return the version of R and of the packages that made a topic's results."""
    found = _file(topic)
    if topic == "genesets":
        given = found["versions"]
        return {"R": given["R"].split()[2], "GSVA": given["GSVA"]}
    return {"R": found["R"], **found["packages"]}


@cache
def _file(topic: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder() / f"{topic}.json").read_text(encoding="utf8"))
    return found


def topics() -> list[str]:
    """Return the topics that have results of R."""
    return [topic for topic in TOPICS if (folder() / f"{topic}.json").is_file()]


def cases(topic: str) -> list[dict[str, Any]]:
    """Return the cases of a topic: estimator, data, call, tolerance, input, expected."""
    found = _file(topic)
    return list(_gene_set_cases(found)) if topic == "genesets" else list(found["cases"])


def difference(ours: float | None, r: float | None) -> float:
    """Return the relative difference; infinite where only one of the two has a value."""
    if ours is None or r is None:
        return 0.0 if ours is None and r is None else math.inf
    if ours == r:
        return 0.0
    return abs(ours - r) / max(abs(r), 1e-8)


def compare(topic: str, case: dict[str, Any]) -> Golden:
    """Compute a case with this library and return the comparison.

    Raises
    ------
    DataAbsent
        When the case needs a data set that is not at hand.
    KeyError
        When the library has no such estimator or number.
    """
    ours = ESTIMATORS[topic][case["estimator"]](**case["input"])
    tolerance = float(case["tolerance"])
    pairs = [
        (name if len(theirs) == 1 else f"{name}[{i + 1}]", mine, r, _slack(case["estimator"], name))
        for name, expected in case["expected"].items()
        for theirs in [np.atleast_1d(np.asarray(expected, dtype=object)).tolist()]
        for i, (mine, r) in enumerate(
            zip(np.atleast_1d(np.asarray(ours[name], dtype=object)).tolist(), theirs, strict=True)
        )
    ]
    name, mine, r, _ = max(pairs, key=lambda pair: difference(pair[1], pair[2]))
    return Golden(
        topic=topic,
        estimator=case["estimator"],
        data=case["data"],
        call=case["call"],
        given=_given(case["input"]),
        numbers=len(pairs),
        quantity=name,
        ours=mine,
        r=r,
        difference=difference(mine, r),
        tolerance=tolerance,
        agrees=all(
            difference(o, t) <= tolerance or (slack > 0 and abs(o - t) <= slack)
            for _, o, t, slack in pairs
        ),
        note=case.get("note", ""),
    )


def _given(arguments: dict[str, Any]) -> str:
    """Return the arguments of a case that fit in a table, as text."""
    texts = [
        f"{name} = {json.dumps(value).replace(chr(34), '')}"
        for name, value in arguments.items()
        if name != "set" and isinstance(value, (str, bool, int, float, list))
    ]
    return ", ".join(text for text in texts if len(text) <= 60)


def _slack(estimator: str, quantity: str) -> float:
    return ABSOLUTE.get((estimator, quantity), 0.0)


def goldens(topic: str | None = None) -> Iterator[Golden]:
    """Yield the comparison of every case; kept ones where the data are not at hand.

    Raises
    ------
    DataAbsent
        When a row can be neither computed nor taken from the kept table.
    """
    for name in topics() if topic is None else [topic]:
        for case in cases(name):
            try:
                yield compare(name, case)
            except DataAbsent:
                yield _kept(name, case)


def table() -> pd.DataFrame:
    """Return all comparisons, one row a case, columns as `Golden`."""
    return pd.DataFrame([asdict(g) for g in goldens()])


# --- rows kept for builds without the data ----------------------------------------------------


def kept_file() -> Path:
    """Return the table kept in the repository."""
    return paths.data() / "recorded" / "goldens" / "goldens.csv"


def keep() -> Path:
    """Write the rows that need data outside the repository, with today's date."""
    today = datetime.now(UTC).date().isoformat()
    rows = []
    for topic in topics():
        for case in cases(topic):
            if case["input"].get("set") in MIRRORED or _columns_of_transplants(case["input"]):
                rows.append(asdict(replace(compare(topic, case), kept=today)))
    kept_file().parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(kept_file(), index=False, float_format="%.17g")
    return kept_file()


@cache
def _kept_rows() -> dict[tuple[str, ...], Golden]:
    if not kept_file().is_file():
        return {}
    frame = pd.read_csv(kept_file(), keep_default_na=False, dtype=str)
    found: dict[tuple[str, ...], Golden] = {}
    for row in frame.to_dict("records"):
        numbers = {
            name: float(row[name]) if row[name] else None
            for name in ("ours", "r", "difference", "tolerance")
        }
        other = {"numbers": int(row["numbers"]), "agrees": row["agrees"] == "True"}
        golden = Golden(**(row | numbers | other))  # type: ignore[arg-type]
        found[golden.topic, golden.estimator, golden.data, golden.call, golden.given] = golden
    return found


def _kept(topic: str, case: dict[str, Any]) -> Golden:
    key = (topic, case["estimator"], case["data"], case["call"], _given(case["input"]))
    if key not in _kept_rows():
        raise DataAbsent(f"{' / '.join(key)}: neither the data nor a kept comparison is here")
    return _kept_rows()[key]


# --- data sets --------------------------------------------------------------------------------


def data_set(name: str) -> pd.DataFrame:
    """Return a data set of the survival cases, as tests/golden/survival_sets.R makes it.

    Raises
    ------
    DataAbsent
        For a published set whose file is not in the data mirror.
    """
    if name in PRINTED:
        return PRINTED[name]()
    if name in MIRRORED:
        return MIRRORED[name]()
    hard = json.loads((folder() / "survival_sets.json").read_text(encoding="utf8"))
    return pd.DataFrame(hard[name])


@cache
def _mirror(path: str) -> pd.DataFrame:
    mirror = paths.mirror()
    file = mirror / "clinical" / path if mirror else None
    if file is None or not file.is_file():
        raise DataAbsent(f"{path} is not in the folder that BALLBOOK_DATA names")
    return pd.read_csv(file)


def _six_mp() -> pd.DataFrame:
    """Freireich's trial of 6-mercaptopurine, as Gehan (1965) printed it."""
    treated = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
    seen = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
    placebo = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
    return pd.DataFrame(
        {
            "time": treated + placebo,
            "event": seen + [1] * 21,
            "group": ["6-MP"] * 21 + ["placebo"] * 21,
            "stratum": [1, 2, 3] * 14,
            "placebo": [0] * 21 + [1] * 21,
        }
    )


def _transplants(*, after_platelets: bool = False) -> pd.DataFrame:
    d = _mirror("hsct-textbook-sets/kmsurv_bmt.csv")
    if after_platelets:
        d = d[d["tp"] < d["t2"]]
    frame = pd.DataFrame({"time": d["t2"], "event": d["d3"], "group": d["group"]})
    frame["stratum"] = d["z10"] if after_platelets else d["z9"]
    if after_platelets:
        frame["entry"] = d["tp"]
    frame["g2"], frame["g3"] = (d["group"] == 2).astype(int), (d["group"] == 3).astype(int)
    return frame.join(d[["z1", "z2", "z8", "z10"]])


def _kersey() -> pd.DataFrame:
    d = _mirror("hsct-textbook-sets/smcure_bmt_kersey1987_refractory_all.csv")
    return pd.DataFrame(
        {
            "time": d["Time"],
            "event": d["Status"],
            "group": d["TRT"],
            "stratum": np.arange(1, len(d) + 1) % 2,
            "autologous": d["TRT"],
        }
    )


def _ebmt(*, after_recovery: bool = False) -> pd.DataFrame:
    d = _mirror("ebmt-mstate/ebmt4.csv")
    end = d[["rel", "srv"]].min(axis=1)
    if after_recovery:
        stay = (d["rec.s"] == 1) & (d["rec"] < end)
        d, end = d[stay], end[stay]
    frame = pd.DataFrame(
        {
            "time": end,
            "event": ((d["rel.s"] == 1) | (d["srv.s"] == 1)).astype(int),
            "cause": np.where(d["rel.s"] == 1, 1, 2 * d["srv.s"]),
            "group": d["agecl"],
            "stratum": d["year"],
            "middle": (d["agecl"] == "20-40").astype(int),
            "old": (d["agecl"] == ">40").astype(int),
            "prophylaxis": (d["proph"] == "yes").astype(int),
            "mismatch": (d["match"] == "gender mismatch").astype(int),
        }
    )
    if after_recovery:
        frame["entry"] = d["rec"]
    return frame


def _bmtcrr() -> pd.DataFrame:
    d = _mirror("hsct-textbook-sets/casebase_bmtcrr_all_aml.csv")
    return pd.DataFrame(
        {
            "time": d["ftime"],
            "event": (d["Status"] > 0).astype(int),
            "cause": d["Status"],
            "group": d["D"],
            "phase": d["Phase"],
            "stratum": d["Source"],
            "age": d["Age"],
            "aml": (d["D"] == "AML").astype(int),
            "relapse": (d["Phase"] == "Relapse").astype(int),
            "blood": (d["Source"] == "PB").astype(int),
        }
    )


def _rossi() -> pd.DataFrame:
    from lifelines.datasets import load_rossi

    d = load_rossi()
    frame = d.drop(columns=["week", "arrest"])
    return frame.assign(time=d["week"], event=d["arrest"], group=d["fin"], stratum=d["race"])


# Sets that come with a library or stand in print, and sets that need the data mirror.
PRINTED: dict[str, Callable[[], pd.DataFrame]] = {"6-MP": _six_mp, "Rossi": _rossi}
MIRRORED: dict[str, Callable[[], pd.DataFrame]] = {
    "KMsurv bmt": _transplants,
    "KMsurv bmt after platelets": lambda: _transplants(after_platelets=True),
    "Kersey": _kersey,
    "EBMT": _ebmt,
    "EBMT after recovery": lambda: _ebmt(after_recovery=True),
    "bmtcrr": _bmtcrr,
}


def _columns_of_transplants(given: dict[str, Any]) -> bool:
    """Whether a case names columns of the KMsurv transplants instead of holding values."""
    return any(isinstance(given.get(name), str) for name in ("y", "values"))


def _filled(given: dict[str, Any]) -> dict[str, Any]:
    """Return the input of a case with named columns of the KMsurv transplants filled in."""
    if not _columns_of_transplants(given):
        return given
    frame = _mirror("hsct-textbook-sets/kmsurv_bmt.csv")

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: fill(column) for name, column in value.items()}
        return frame[value].to_numpy()

    data = {name: fill(value) for name, value in given.items() if name in COLUMNS}
    return given | data


COLUMNS = ("y", "X", "values", "groups")


# --- the estimators, called as the cases call them --------------------------------------------


def flat(estimate: Estimate) -> Numbers:
    """Return the numbers of an estimate."""
    names = ("value", "ci_low", "ci_high", "p_value", "statistic", "df")
    return {name: getattr(estimate, name) for name in names}


def _curve(set: str) -> survival.SurvivalCurve:
    d = data_set(set)
    return survival.kaplan_meier(d["time"], d["event"], entry=d.get("entry"))


def _at(set: str, t: float) -> Numbers:
    curve = _curve(set)
    row = np.flatnonzero(curve.table["time"] <= t)
    error = curve.table["std_error"].iloc[row[-1]] if len(row) else 0.0
    return flat(curve.at(t)) | {
        "std_error": float(error) if np.isfinite(error) else None,
        "n_risk": int(curve.number_at_risk([t])[0]),
    }


def _logrank(set: str, stratified: bool = False) -> Numbers:
    d = data_set(set)
    strata = d["stratum"] if stratified else None
    return flat(
        survival.logrank(d["time"], d["event"], d["group"], strata=strata, entry=d.get("entry"))
    )


def _mean_difference(set: str, tau: float, group: str = "group") -> Numbers:
    d = data_set(set)
    return flat(survival.restricted_mean_difference(d["time"], d["event"], d[group], tau))


def _follow_up(set: str) -> Numbers:
    d = data_set(set)
    return flat(survival.median_follow_up(d["time"], d["event"]))


def _names(terms: list[str] | str) -> list[str]:
    return [terms] if isinstance(terms, str) else terms


def _cox(
    set: str, terms: list[str] | str, stratified: bool, model: Any = cox.cox, **options: Any
) -> cox.CoxFit:
    d = data_set(set)
    if options.pop("cluster", False):
        options["cluster"] = np.arange(len(d)) // 2
    strata = d["stratum"] if stratified else None
    found: cox.CoxFit = model(
        d["time"], d["event"], d[_names(terms)], strata=strata, entry=d.get("entry"), **options
    )
    return found


def _hazards(found: cox.HazardModel) -> Numbers:
    each = {
        f"{name}.{row['term']}": row[name]
        for _, row in found.table.iterrows()
        for name in ("coef", "se", "ci_low", "ci_high", "p")
    }
    whole = {
        "likelihood_ratio": found.likelihood_ratio().statistic,
        "wald": found.wald().statistic,
        "log_likelihood": found.log_likelihood,
        "log_likelihood_null": found.log_likelihood_null,
    }
    if isinstance(found, cox.CoxFit):
        whole["score"] = found.score().statistic
    return each | whole


def _zph(set: str, terms: list[str], stratified: bool, transform: cox.Transform) -> Numbers:
    rows = _cox(set, terms, stratified).proportional_hazards(transform).set_index("term")
    return {
        f"{name}.{term}": rows.loc[term, name] for term in rows.index for name in ("chisq", "p")
    }


def _schoenfeld(set: str, terms: list[str], stratified: bool, scaled: bool) -> Numbers:
    found = _cox(set, terms, stratified)
    frame = found.schoenfeld_residuals(scaled=scaled)
    squares = frame[found.terms] ** 2
    trend = squares.mul(frame["time"], axis=0).sum()
    return {f"squares.{t}": squares[t].sum() for t in found.terms} | {
        f"trend.{t}": trend[t] for t in found.terms
    }


def _bootstrap(
    set: str, terms: list[str] | str, stratified: bool, rows: list[list[int]]
) -> Numbers:
    d, names = data_set(set), _names(terms)
    strata = d["stratum"] if stratified else None
    found = cox.bootstrap_cox(
        d["time"], d["event"], d[names], n_boot=len(rows), seed=0, strata=strata, resamples=rows
    )
    return {f"{t}.{i + 1}": found[i, j] for i in range(len(rows)) for j, t in enumerate(names)}


def _incidence(set: str, cause: int, t: float) -> Numbers:
    d = data_set(set)
    curve = competing_risks.cumulative_incidence(d["time"], d["cause"])[cause]
    row = np.flatnonzero(curve.table["time"] <= t)
    error = float(curve.table["std_error"].iloc[row[-1]]) if len(row) else 0.0
    return flat(curve.at(t)) | {"std_error": error}


def _gray(set: str, group: str, of: int) -> Numbers:
    d = data_set(set)
    return flat(competing_risks.gray_test(d["time"], d["cause"], d[group], of))


def _of_cause(model: Callable[..., cox.HazardModel]) -> Callable[..., Numbers]:
    def fitted(set: str, terms: list[str] | str, of: int) -> Numbers:
        d = data_set(set)
        return _hazards(model(d["time"], d["cause"], d[_names(terms)], of))

    return fitted


def _stratified_tables(tables: Any) -> Numbers:
    m = contingency.mantel_haenszel(tables)
    return flat(m.odds_ratio) | {
        "cmh": m.cmh.statistic,
        "cmh_p": m.cmh.p_value,
        "cmh_corrected": m.cmh_corrected.statistic,
        "cmh_corrected_p": m.cmh_corrected.p_value,
        "breslow_day": m.breslow_day_uncorrected.statistic,
        "breslow_day_p": m.breslow_day_uncorrected.p_value,
        "tarone": m.breslow_day.statistic,
        "tarone_p": m.breslow_day.p_value,
    }


def _trend(**given: Any) -> Numbers:
    found = contingency.cochran_armitage(**given)
    return flat(found) | {"chi_squared": (found.statistic or 0.0) ** 2}


def _logistic_model(y: Any, X: Any) -> Numbers:
    fit = logistic.logistic(y, pd.DataFrame(X))
    return {"statistic": fit.likelihood_ratio().statistic, "log_likelihood": fit.log_likelihood}


def _ordinal_model(y: Any, X: Any) -> Numbers:
    fit = ordinal.proportional_odds(y, pd.DataFrame(X))
    return {
        "log_likelihood": fit.log_likelihood,
        "statistic": fit.likelihood_ratio().statistic,
        "alpha": fit.thresholds["alpha"].iloc[0],
    }


def _linear_model(y: Any, X: Any, name: str) -> Numbers:
    fit = linear.linear_model(y, pd.DataFrame(X))
    whole = {"sigma": fit.sigma, "r_squared": fit.r_squared, "f": fit.f_test().statistic}
    return flat(fit.coefficient(name)) | whole


def _tukey(values: Any, groups: Any) -> Numbers:
    rows = linear.tukey(values, groups)
    return {name: rows[name].tolist() for name in rows.columns}


def _interval_fit(
    low: Any, high: Any, X: Any, distribution: censored_regression.Distribution
) -> censored_regression.CensoredFit:
    below = [-math.inf if v is None else v for v in low]
    above = [math.inf if v is None else v for v in high]
    return censored_regression.interval_regression(
        below, above, pd.DataFrame(X), distribution=distribution
    )


def _interval_model(fit: censored_regression.CensoredFit) -> Numbers:
    whole = flat(fit.likelihood_ratio())
    names = ("sigma", "log_sigma_se", "log_likelihood")
    return whole | {name: getattr(fit, name) for name in names}


def _left_censored(level: Any, detected: Any) -> Numbers:
    rows = censored_regression.left_censored_distribution(level, detected)
    return {name: rows[name].tolist() for name in rows.columns}


def _pooled(**given: Any) -> Numbers:
    found = meta_analysis.random_effects(**given)
    return flat(found.pooled) | {
        "tau2": found.tau2.value,
        "tau2_low": found.tau2.ci_low,
        "tau2_high": found.tau2.ci_high,
        "i2": found.i2.value,
        "i2_low": found.i2.ci_low,
        "i2_high": found.i2.ci_high,
        "q": found.q.statistic,
        "q_p": found.q.p_value,
        "prediction_low": found.prediction_interval.ci_low,
        "prediction_high": found.prediction_interval.ci_high,
        "fixed": found.fixed.value,
        "fixed_low": found.fixed.ci_low,
        "fixed_high": found.fixed.ci_high,
        "fixed_p": found.fixed.p_value,
    }


def _rare(**given: Any) -> Numbers:
    found = meta_analysis.rare_counts_glmm(**given)
    return flat(found.pooled) | {"tau2": found.tau2.value, "baseline": found.baseline.value}


def _adjusted(method: Callable[[Any], Any]) -> Callable[..., Numbers]:
    return lambda p: {"adjusted": method(np.atleast_1d(p))}


def _scores(
    method: Callable[[pd.DataFrame, dict[str, genesets.GeneSet]], pd.DataFrame],
) -> Callable[..., Numbers]:
    def scored(expression: pd.DataFrame, sets: dict[str, genesets.GeneSet]) -> Numbers:
        found = method(expression, sets)
        return {
            f"{name}.{sample}": float(found[name][sample])
            for name in sets
            for sample in expression.columns
        }

    return scored


def _gene_set_cases(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the small matrices of genesets.json as cases."""
    small = found["small"]
    two_sided = {
        name: genesets.GeneSet(*(tuple(np.atleast_1d(part)) for part in s.values()))
        for name, s in small["sets"].items()
    }
    up = {name: genesets.GeneSet(s.up) for name, s in two_sided.items()}
    for estimator, which, call, sets in (
        ("singscores", "untied", "the paper's formula, gene by gene", two_sided),
        ("singscores", "tied", "the paper's formula, gene by gene", two_sided),
        ("ssgsea", "untied", "GSVA::gsva(method = 'ssgsea', ssgsea.norm = FALSE)", up),
        ("combined_z", "untied", "GSVA::gsva(method = 'zscore')", up),
    ):
        key = {"singscores": "singscore", "combined_z": "zscore"}.get(estimator, estimator)
        expected = pd.DataFrame(small[f"{key}_{which}"])
        expected.index = pd.Index(small["samples"])
        frame = pd.DataFrame.from_dict(small[which], orient="index", columns=small["samples"])
        yield {
            "estimator": estimator,
            "data": f"40 genes, 6 samples, {'ties' if which == 'tied' else 'no ties'}",
            "call": call,
            "tolerance": 1e-9,
            "input": {"expression": frame, "sets": sets},
            "expected": {
                f"{name}.{sample}": float(expected[name][sample])
                for name in sets
                for sample in small["samples"]
            },
        }


def _on_columns(function: Callable[..., Numbers]) -> Callable[..., Numbers]:
    return lambda **given: function(**_filled(given))


def _curve_of(dose: Any, response: Any, top: float | None = None) -> Numbers:
    curve = dose_response.four_parameter(dose, response, top=top, bounds=dose_response.WIDE)
    values = {n: getattr(curve, n) for n in (*dose_response.PARAMETERS, "residual_error")}
    return values | {f"{name}_se": se for name, se in curve.std_errors.items()}


def _areas(dose: Any, response: Any) -> Numbers:
    curve = dose_response.four_parameter(dose, response, bounds=dose_response.WIDE)
    mean = curve.normalised_area()
    return {
        "area": curve.area().value, "mean": mean.value, "low": mean.ci_low, "high": mean.ci_high,
    }  # fmt: skip


def _lack_of_fit(dose: Any, response: Any) -> Numbers:
    curve = dose_response.four_parameter(dose, response, bounds=dose_response.WIDE)
    return flat(dose_response.lack_of_fit(dose, response, curve))


def _rubin(q: Any, u: Any, df: Any) -> Numbers:
    found = imputation.rubin(q, u, df_complete=math.inf if df is None else df)
    return asdict(found)


def _imputed(**columns: Any) -> pd.DataFrame:
    """Return estimates from each of 200 imputations of x, z and y."""
    data = pd.DataFrame(columns).astype(float)
    rows = [
        {
            "mean": d["y"].mean(), "one_and_mean": 1 + d["y"].mean(),
            "correlation": d["x"].corr(d["y"]), "sd": d["y"].std(),
            "spearman": d["z"].rank().corr(d["y"].rank()),
        }
        for d in imputation.chained_equations(data, 200, seed=1, rounds=10)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _ward(k: int) -> Numbers:
    """Return clusters of iris, numbered by their first member as R does."""
    from sklearn.datasets import load_iris

    x = load_iris().data
    labels = clusters.ward((x - x.mean(axis=0)) / x.std(axis=0, ddof=1), k).tolist()
    first = {label: i for i, label in enumerate(dict.fromkeys(labels), 1)}
    return {"labels": [first[label] for label in labels]}


ESTIMATORS: dict[str, dict[str, Callable[..., Numbers]]] = {
    "survival": {
        "at": _at,
        "quantile": lambda set, q: flat(_curve(set).quantile(q)),
        "restricted_mean": lambda set, tau: flat(_curve(set).restricted_mean(tau)),
        "restricted_mean_difference": _mean_difference,
        "logrank": _logrank,
        "median_follow_up": _follow_up,
    },
    "cox": {
        "cox": lambda **given: _hazards(_cox(**given)),
        "concordance": lambda **given: flat(_cox(**given).concordance()),
        "proportional_hazards": _zph,
        "schoenfeld": _schoenfeld,
        "firth": lambda **given: _hazards(_cox(**given, model=cox.firth_cox)),
        "bootstrap": _bootstrap,
    },
    "competing_risks": {
        "incidence": _incidence,
        "gray": _gray,
        "fine_gray": _of_cause(competing_risks.fine_gray),
        "cause_specific": _of_cause(competing_risks.cause_specific_cox),
    },
    "contingency": {
        "proportion": lambda **given: flat(contingency.proportion(**given)),
        "risk_difference": lambda **given: flat(contingency.risk_difference(**given)),
        "odds_ratio": lambda **given: flat(contingency.odds_ratio(**given)),
        "fisher_exact": lambda **given: flat(contingency.fisher_exact(**given)),
        "chi_squared": lambda **given: flat(contingency.chi_squared(**given)),
        "mantel_haenszel": _stratified_tables,
        "cochran_armitage": _trend,
        "mcnemar": lambda **given: flat(contingency.mcnemar(**given)),
    },
    "logistic": {
        "logistic": _on_columns(
            lambda y, X, name, profile: flat(
                logistic.logistic(y, pd.DataFrame(X)).odds_ratio(name, profile=profile)
            )
        ),
        "firth_logistic": _on_columns(
            lambda y, X, name, profile: flat(
                logistic.firth_logistic(y, pd.DataFrame(X)).odds_ratio(name, profile=profile)
            )
        ),
        "logistic_lr": _on_columns(_logistic_model),
    },
    "ordinal": {
        "proportional_odds": lambda y, X, name: flat(
            ordinal.proportional_odds(y, pd.DataFrame(X)).odds_ratio(name)
        ),
        "ordinal_model": _ordinal_model,
        "parallelism": lambda y, X, method, terms=None: flat(
            ordinal.proportional_odds(y, pd.DataFrame(X)).parallelism(
                method, terms=terms and [terms]
            )
        ),
    },
    "linear": {
        "anova": _on_columns(lambda **given: flat(linear.anova(**given))),
        "tukey": _on_columns(_tukey),
        "linear_model": _on_columns(_linear_model),
    },
    "censored_regression": {
        "interval_regression": lambda name, **given: flat(
            _interval_fit(**given).coefficient(name, profile=False)
        ),
        "interval_model": lambda **given: _interval_model(_interval_fit(**given)),
        "likelihood_ratio": lambda name, **given: flat(_interval_fit(**given).coefficient(name)),
        "profile": lambda name, **given: flat(_interval_fit(**given).coefficient(name)),
        "left_censored_distribution": _left_censored,
    },
    "rank_tests": {
        "mann_whitney": lambda **given: flat(rank_tests.mann_whitney(**given)),
        "kruskal_wallis": lambda **given: flat(rank_tests.kruskal_wallis(**given)),
        "spearman": lambda **given: flat(rank_tests.spearman(**given)),
        "kendall": lambda **given: flat(rank_tests.kendall(**given)),
    },
    "multiplicity": {
        "BH": _adjusted(multiplicity.benjamini_hochberg),
        "holm": _adjusted(multiplicity.holm),
        "bonferroni": _adjusted(multiplicity.bonferroni),
    },
    "meta_analysis": {
        "random_effects": _pooled,
        "subgroup_test": lambda **given: flat(meta_analysis.subgroup_test(**given).test),
        "log_hr_from_ci": lambda **given: meta_analysis.log_hr_from_ci(**given)._asdict(),
        "log_hr_from_p": lambda **given: meta_analysis.log_hr_from_p(**given)._asdict(),
        "log_hr_from_survival_at": lambda **given: meta_analysis.log_hr_from_survival_at(
            **given
        )._asdict(),
        "rare_counts_glmm": _rare,
    },
    "power": {
        "logrank_events": lambda **given: flat(power.logrank_events(**given)),
        "logrank_power": lambda **given: flat(power.logrank_power(**given)),
        "cox_events": lambda **given: flat(power.cox_events(**given)),
        "cox_power": lambda **given: flat(power.cox_power(**given)),
        "two_proportions_power": lambda **given: flat(power.two_proportions_power(**given)),
        "two_proportions_n": lambda **given: flat(power.two_proportions_n(**given)),
        "medians_power": lambda **given: flat(power.medians_power(**given)),
    },
    "genesets": {
        "singscores": _scores(genesets.singscores),
        "ssgsea": _scores(genesets.ssgsea),
        "combined_z": _scores(genesets.combined_z),
    },
    "dose_response": {
        "four_parameter": _curve_of,
        "three_parameter": lambda **given: _curve_of(top=1.0, **given),
        "areas": _areas,
        "lack_of_fit": _lack_of_fit,
        "rubin": _rubin,
        "chained_equations": lambda **given: dict(_imputed(**given).mean().items()),
        "between_imputations": lambda **given: dict(_imputed(**given).std().items()),
        "ward": _ward,
        "adjusted_rand": lambda a, b: {"value": clusters.adjusted_rand(a, b)},
    },
}


def main() -> None:
    """Compute the table and keep the rows that need data outside the repository."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.parse_args()
    print(keep())


if __name__ == "__main__":
    main()

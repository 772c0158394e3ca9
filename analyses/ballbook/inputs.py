"""Checks of what a caller hands to an estimator.

Two rules hold in every method file. Input that is wrong (negative counts, missing values, unequal
lengths) raises `ValueError` with a message that names the argument; rows are never dropped here,
because the number left out belongs on the page. Input that is right but too poor for an answer
(an empty margin, a single group) gives an `Estimate` without a value and with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def as_vector(values: ArrayLike, name: str, *, min_size: int = 1) -> Floats:
    """Return `values` as a one-dimensional array of finite floats.

    Raises
    ------
    ValueError
        If it is not one-dimensional, not numeric, shorter than `min_size`, or holds missing or
        infinite values.
    """
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected numbers, got {_first_odd(values)!r}") from None
    if array.ndim != 1:
        raise ValueError(f"{name}: expected one dimension, got shape {array.shape}")
    if array.size < min_size:
        raise ValueError(f"{name}: expected at least {min_size} value(s), got {array.size}")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise ValueError(
            f"{name}: {bad.size} value(s) missing or not finite, the first at position {bad[0]}; "
            "leave them out visibly before the call"
        )
    return array


def as_binary(values: ArrayLike, name: str) -> Floats:
    """Return `values` as a vector of 0 and 1; other values raise `ValueError`."""
    array = as_vector(values, name)
    odd = np.flatnonzero((array != 0) & (array != 1))
    if odd.size:
        raise ValueError(f"{name}: expected 0 or 1, got {array[odd[0]]:g} at position {odd[0]}")
    return array


def as_count(value: Any, name: str) -> int:
    """Return `value` as a non-negative integer, or raise `ValueError`."""
    return int(as_counts([value], name)[0])


def as_counts(values: ArrayLike, name: str, *, ndim: int = 1) -> NDArray[np.int64]:
    """Return `values` as an array of non-negative integers, or raise `ValueError`."""
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected counts, got {_first_odd(values)!r}") from None
    if array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} dimension(s), got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name}: no counts were given")
    bad = ~np.isfinite(array) | (array < 0) | (array != np.floor(array))
    if bad.any():
        raise ValueError(f"{name}: expected non-negative integers, got {array[bad][0]:g}")
    return array.astype(np.int64)


def as_labels(values: Any, name: str, n: int) -> NDArray[Any]:
    """Return group labels as an object array of length `n`; missing labels raise `ValueError`."""
    series = pd.Series(np.asarray(values, dtype=object))
    if len(series) != n:
        raise ValueError(f"{name}: expected {n} labels, got {len(series)}")
    missing = np.flatnonzero(series.isna().to_numpy())
    if missing.size:
        raise ValueError(
            f"{name}: {missing.size} label(s) missing, the first at position {missing[0]}; "
            "leave them out visibly before the call"
        )
    return series.to_numpy(dtype=object)


def levels_of(values: Any) -> list[Any]:
    """Return the distinct labels in the order of a categorical, else sorted."""
    if isinstance(values, pd.Categorical):
        return list(values.categories)
    if isinstance(values, pd.Series) and isinstance(values.dtype, pd.CategoricalDtype):
        return list(values.cat.categories)
    distinct = set(np.asarray(values, dtype=object).tolist())
    try:
        return sorted(distinct)
    except TypeError:
        return sorted(distinct, key=str)


def as_level(ci_level: float) -> float:
    """Return the confidence level, or raise `ValueError` unless it lies between 0 and 1."""
    if not 0 < ci_level < 1:
        raise ValueError(f"ci_level: expected a fraction between 0 and 1, got {ci_level}")
    return float(ci_level)


def as_p_values(values: ArrayLike, name: str = "p") -> Floats:
    """Return P values as a vector, or raise `ValueError` where one lies outside 0..1."""
    array = as_vector(values, name)
    bad = np.flatnonzero((array < 0) | (array > 1))
    if bad.size:
        raise ValueError(f"{name}: expected 0 to 1, got {array[bad[0]]:g} at position {bad[0]}")
    return array


def as_design(covariates: Any, n: int, name: str = "X") -> pd.DataFrame:
    """Return covariates as a float DataFrame of `n` rows whose columns can be told apart.

    A Series or a one-dimensional array is one covariate. No intercept is expected or added.

    Raises
    ------
    ValueError
        For another number of rows, non-numeric or missing values, repeated names, a constant
        covariate (one value in all rows), or covariates that are linear combinations of others.
    """
    if isinstance(covariates, pd.Series):
        frame = covariates.to_frame(str(covariates.name or "x"))
    elif isinstance(covariates, pd.DataFrame):
        frame = covariates
    else:
        array = np.asarray(covariates)
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2:
            raise ValueError(f"{name}: expected a table, got shape {array.shape}")
        frame = pd.DataFrame(array, columns=[f"x{i + 1}" for i in range(array.shape[1])])
    if len(frame) != n:
        raise ValueError(f"{name}: expected {n} rows, got {len(frame)}")
    if frame.shape[1] == 0:
        raise ValueError(f"{name}: no covariates were given")
    names = [str(c) for c in frame.columns]
    repeated = sorted({c for c in names if names.count(c) > 1})
    if repeated:
        raise ValueError(f"{name}: covariate name(s) given twice: {', '.join(repeated)}")
    columns = {
        c: as_vector(frame.iloc[:, i].to_numpy(), f"{name} {c}") for i, c in enumerate(names)
    }
    out = pd.DataFrame(columns)
    constant = [c for c in names if np.ptp(columns[c]) == 0]
    if constant:
        raise ValueError(f"{name}: constant covariate(s), no effect to estimate: {constant}")
    check_rank(out, name)
    return out


def check_rank(design: pd.DataFrame, name: str = "X") -> None:
    """Raise `ValueError` naming the covariates that the others (and an intercept) determine."""
    values = design.to_numpy(dtype=float)
    centred = values - values.mean(axis=0)
    scaled = centred / np.sqrt((centred**2).sum(axis=0))
    kept: list[int] = []
    dependent: list[str] = []
    basis = np.empty((len(values), 0))
    for j in range(scaled.shape[1]):
        # Twice is enough: a second projection removes what rounding left of the first.
        rest = scaled[:, j] - basis @ (basis.T @ scaled[:, j])
        rest = rest - basis @ (basis.T @ rest)
        size = float(np.linalg.norm(rest))
        if size < 1e-7:
            dependent.append(str(design.columns[j]))
        else:
            kept.append(j)
            basis = np.column_stack([basis, rest / size])
    if dependent:
        raise ValueError(f"{name}: collinear covariate(s), determined by the others: {dependent}")


def same_length(**arrays: Sequence[Any] | NDArray[Any]) -> int:
    """Return the common length of named arrays, or raise `ValueError` with every length."""
    lengths = {name: len(a) for name, a in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise ValueError(f"unequal lengths: {told}")
    return next(iter(lengths.values()))


def _first_odd(values: Any) -> Any:
    for v in np.asarray(values, dtype=object).ravel():
        try:
            float(v)
        except (TypeError, ValueError):
            return v
    return values

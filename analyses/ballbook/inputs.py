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

# Beyond this a sum of squares may not fit into a float.
LARGEST = 1e100


def refuse(name: str, values: Any, bad: NDArray[np.bool_], expected: str) -> None:
    """Raise `ValueError` naming the first of `values` that is `bad`, if there is one."""
    if bad.any():
        where = int(np.flatnonzero(bad)[0])
        value = np.asarray(values)[where]
        raise ValueError(
            f"{name} at position {where} is {value}, expected {expected}"
            f" ({int(bad.sum())} such of {len(bad)})"
        )


def as_vector(values: Any, name: str, *, n: int | None = None, min_size: int = 1) -> Floats:
    """Return `values` as a one-dimensional array of finite floats.

    Raises
    ------
    ValueError
        If it is not one-dimensional, not numeric, not of length `n`, shorter than `min_size`, or
        holds missing or infinite values, or values beyond 1e100, whose squares would be infinite.
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind in "mM":
            raise TypeError
        array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected numbers, got {_first_odd(values)!r}") from None
    if array.ndim != 1:
        raise ValueError(f"{name}: expected one dimension, got shape {array.shape}")
    if n is not None and array.size != n:
        raise ValueError(f"{name} has {array.size} values, expected {n}")
    if array.size < min_size:
        raise ValueError(f"{name}: expected at least {min_size} value(s), got {array.size}")
    refuse(name, array, ~np.isfinite(array), "a finite number")
    if array.size and max(array.max(), -array.min()) > LARGEST:
        refuse(name, array, np.abs(array) > LARGEST, f"a number within {LARGEST:g}")
    return array


def as_number(value: Any, name: str) -> float:
    """Return `value` as a finite float, or raise `ValueError`."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected one number, got {value!r}") from None
    if not np.isfinite(number):
        raise ValueError(f"{name} is {number:g}, expected a finite number")
    return number


def as_binary(values: ArrayLike, name: str) -> Floats:
    """Return `values` as a vector of 0 and 1; other values raise `ValueError`."""
    array = as_vector(values, name)
    refuse(name, array, (array != 0) & (array != 1), "0 or 1")
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
    bad = ~np.isfinite(array) | (array < 0) | (array != np.floor(array)) | (array > 2**53)
    if bad.any():
        raise ValueError(f"{name}: expected non-negative integers, got {array[bad][0]:g}")
    return array.astype(np.int64)


def as_labels(values: Any, name: str, n: int) -> NDArray[Any]:
    """Return group labels as an object array of length `n`; missing labels raise `ValueError`."""
    labels = np.asarray(values, dtype=object)
    if labels.ndim != 1:
        raise ValueError(f"{name}: expected one dimension, got shape {labels.shape}")
    if len(labels) != n:
        raise ValueError(f"{name} has {len(labels)} values, expected {n}")
    refuse(name, labels, pd.isna(labels), "a group")
    return labels


def by_group(values: Any, groups: Any) -> tuple[Floats, dict[str, Floats]]:
    """Return `values` as a vector, and the part of it in each group that has members."""
    y = as_vector(values, "values")
    labels = as_labels(groups, "groups", len(y))
    parts = {str(g): y[labels == g] for g in levels_of(groups)}
    return y, {g: v for g, v in parts.items() if len(v)}


def group_codes(name: str, values: Any, *, n: int) -> tuple[NDArray[np.int64], list[str]]:
    """Return integer codes and labels of a grouping vector.

    Groups are in the order of a categorical's categories, else sorted.

    Raises
    ------
    ValueError
        Wrong length, a missing group, or a category nobody belongs to.
    """
    labels = as_labels(values, name, n)
    series = pd.Series(labels if isinstance(values, list) else values)
    codes: NDArray[np.int64]
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes = np.asarray(series.cat.codes, dtype=np.int64)
        levels = list(series.cat.categories)
        for code, level in enumerate(levels):
            if not (codes == code).any():
                raise ValueError(f"{name} {level!r} is empty: remove the unused category")
    else:
        found, distinct = pd.factorize(series.to_numpy(), sort=True)
        codes, levels = found.astype(np.int64), list(distinct)
    return codes, [str(level) for level in levels]


def class_codes(
    y: Any, levels: Sequence[Any] | None, n: int
) -> tuple[NDArray[np.int64], list[Any]]:
    """Return codes of an ordered outcome, from 0 without gaps, and the levels that somebody has.

    The order is `levels`, else that of a categorical, else sorted.

    Raises
    ------
    ValueError
        For missing values, values not among the levels, and one level only.
    """
    labels = as_labels(y, "y", n)
    order = list(levels) if levels is not None else levels_of(y)
    unknown = sorted({str(v) for v in labels} - {str(v) for v in order})
    if unknown:
        raise ValueError(f"y: value(s) not among the levels: {unknown}")
    present = [v for v in order if (labels == v).any()]
    if len(present) < 2:
        raise ValueError("y: every patient is in the same level; there is nothing to explain")
    position = {v: i for i, v in enumerate(present)}
    return np.array([position[v] for v in labels], dtype=np.int64), present


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
    refuse(name, array, (array < 0) | (array > 1), "0 to 1")
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
    spread = {c: float(np.ptp(columns[c])) for c in names}
    constant = [c for c in names if spread[c] == 0]
    if constant:
        raise ValueError(f"{name}: constant covariate(s), no effect to estimate: {constant}")
    tiny = [c for c in names if spread[c] < 1 / LARGEST]
    if tiny:
        raise ValueError(f"{name}: covariate(s) that vary by less than {1 / LARGEST:g}: {tiny}")
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

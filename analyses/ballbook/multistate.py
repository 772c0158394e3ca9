"""Multi-state models: the probability of being in each state, and the time spent there.

A patient begins in one state (diagnosis, event-free) and moves through others (relapse, lineage
switch) towards the last (death). A Kaplan-Meier curve of one endpoint shows one arrow of that
picture; here are all of them. Competing risks are the case of one step (`competing_risks`), and
survival that of one arrow (`survival`).

Conventions on ties and on time 0 are those of `ballbook.survival`. The judge is R's
``survival::survfit`` with a state for an event.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ballbook.inputs import as_number, as_vector, refuse
from ballbook.results import Estimate, not_estimable
from ballbook.survival import Floats, Ints, merge_near_ties, normal_quantile

AJ_METHOD = "Aalen-Johansen, infinitesimal jackknife, log(-log) interval"
COLUMNS = ["patient_id", "start", "stop", "state", "to"]


def intervals(
    patient_id: Any, entered: pd.DataFrame, end: Any, *, initial: str, entry: Any = None
) -> pd.DataFrame:
    """Return the stays of each patient from the times at which states were entered.

    Parameters
    ----------
    patient_id : (n,) array-like
    entered : DataFrame
        One row a patient, one column a state: the time of entering it, missing where that did not
        happen.
    end : (n,) array-like
        Time to which each patient was followed.
    initial : str
        State in which everyone begins at time 0; not a column of `entered`.
    entry : (n,) array-like, optional
        Time from which each was observed. What was entered by then is where the patient begins.

    Returns
    -------
    DataFrame
        Columns ``patient_id, start, stop, state, to``: a stay in `state` from `start` to `stop`,
        left for `to`; None at the end of follow-up. Of states entered at one time only the last by
        the order of the columns is kept: nobody stays in the others.

    Raises
    ------
    ValueError
        For times that are negative or beyond the end of follow-up, and for an entry that is not
        before the end.
    """
    ids = np.asarray(patient_id, dtype=object)
    last = as_vector(end, "end", n=len(ids))
    late = np.zeros(len(ids)) if entry is None else as_vector(entry, "entry", n=len(ids))
    refuse("entry", late, late < 0, "a time of 0 or later")
    refuse("entry", late, (late > 0) & (late >= last), "a time before the end of follow-up")
    if initial in entered.columns:
        raise ValueError(f"initial: {initial!r} is entered by nobody, all begin there")
    names = [str(c) for c in entered.columns]
    times = entered.to_numpy(dtype=float)
    if times.shape != (len(ids), len(names)):
        raise ValueError(f"entered has {len(times)} rows for {len(ids)} patients")
    rows: list[tuple[Any, float, float, str, str | None]] = []
    for i, who in enumerate(ids):
        known = [(t, name) for t, name in zip(times[i], names, strict=True) if not np.isnan(t)]
        known = sorted(known, key=lambda move: move[0])
        if known and (known[0][0] < 0 or known[-1][0] > last[i]):
            told = ", ".join(f"{name} at {t:g}" for t, name in known)
            raise ValueError(
                f"entered: {told} in row {i + 1}, followed to {last[i]:g}; expected times of 0 or "
                "later, none after the end"
            )
        state, since = initial, float(late[i])
        following = [*(t for t, _ in known), math.inf][1:]
        for (t, name), after in zip(known, following, strict=True):
            if after == t:
                continue
            if t > since or (t == 0 and since == 0):
                rows.append((who, since, float(t), state, name))
                since = float(t)
            state = name
        if last[i] > since or not known:
            rows.append((who, since, float(last[i]), state, None))
    return pd.DataFrame(rows, columns=COLUMNS)


@dataclass(frozen=True)
class StateOccupation:
    """Probabilities of being in each state.

    Attributes
    ----------
    table : DataFrame
        One row per time and state: ``time, state, n_risk`` (in the state just before), ``n_entered,
        n_left, probability, std_error, ci_low, ci_high``. Times are those of all moves and endings.
    transitions : DataFrame
        One row per move seen: ``state, to, n``.
    states : tuple of str
        The first is where everyone begins.
    n : int
        Patients.
    label : str or None
    ci_level : float
        Level of the pointwise intervals.
    """

    table: pd.DataFrame
    transitions: pd.DataFrame
    states: tuple[str, ...]
    n: int
    label: str | None
    ci_level: float
    _stays: _Stays = field(repr=False)
    _end: float = field(repr=False)  # until which somebody who can move is followed

    def entered(self, state: str, by: float = math.inf) -> int:
        """Return how many moves into `state` were seen by the time `by`."""
        rows = self.table[(self.table["state"] == state) & (self.table["time"] <= by)]
        return int(rows["n_entered"].sum())

    def at(self, t: float, unit: str = "months") -> dict[str, Estimate]:
        """Return the probability of each state at `t`, with its log(-log) interval.

        Not estimable beyond the longest follow-up of a patient who could still move. ``n_events``
        counts the moves into the state by `t`, for the first state those out of it.
        """
        t = as_number(t, "t")
        refuse("t", [t], np.array([t < 0]), "a time of 0 or later")
        past = self.table[self.table["time"] <= t]
        found = {}
        for j, name in enumerate(self.states):
            mine = past[past["state"] == name]
            told: dict[str, Any] = {
                "n": self.n, "method": AJ_METHOD, "label": f"{name} at {t:g} {unit}",
                "group": self.label,
            }  # fmt: skip
            if t > self._end:
                reason = f"nobody was followed to {t:g} {unit}; the curves end at {self._end:g}"
                found[name] = not_estimable("probability", reason, **told)
                continue
            p, low, high = float(j == 0), np.nan, np.nan
            if len(mine):
                p, low, high = mine[["probability", "ci_low", "ci_high"]].iloc[-1].astype(float)
            defined = bool(np.isfinite(low))
            moved = int(mine["n_left" if j == 0 else "n_entered"].sum())
            found[name] = Estimate(
                "probability", float(p), float(low) if defined else None,
                float(high) if defined else None, ci_level=self.ci_level, n_events=moved,
                reason=None if defined else "nobody has moved into or out of it yet", **told,
            )  # fmt: skip
        return found

    def mean_time(self, tau: float, unit: str = "months") -> dict[str, Estimate]:
        r"""Return the mean time in each state up to `tau`, :math:`\int_0^\tau \hat p_j(t)\,dt`.

        The standard error is that of the integrated influences; the interval is normal. Not
        estimable where the curves end before `tau`. The times of all states sum to `tau`.
        """
        tau = as_number(tau, "tau")
        refuse("tau", [tau], np.array([tau <= 0]), "a time above 0")
        z, found = normal_quantile(self.ci_level), {}
        mean, se = _recursion(self._stays, len(self.states), tau).mean
        for j, name in enumerate(self.states):
            told: dict[str, Any] = {
                "n": self.n, "unit": unit, "label": f"mean time in {name} up to {tau:g} {unit}",
                "method": "mean of Aalen-Johansen probabilities, infinitesimal jackknife",
                "group": self.label,
            }  # fmt: skip
            if tau > self._end:
                reason = f"the curves end at {self._end:g} {unit}"
                found[name] = not_estimable("mean", reason, **told)
            else:
                found[name] = Estimate(
                    "mean", float(mean[j]), float(mean[j] - z * se[j]), float(mean[j] + z * se[j]),
                    ci_level=self.ci_level, **told,
                )  # fmt: skip
        return found


def _log_log(p: Floats, se: Floats, z: float) -> tuple[Floats, Floats]:
    """Return the log(-log) interval of probabilities; NaN at 0, at 1 and without an error."""
    low, high = np.full(len(p), np.nan), np.full(len(p), np.nan)
    inside = (p > 1e-12) & (p < 1 - 1e-12) & (se > 0)
    f = p[inside]
    spread = z * se[inside] / (f * np.log(f))
    low[inside], high[inside] = f ** np.exp(-spread), f ** np.exp(spread)
    return low, high


def state_occupation(
    stays: pd.DataFrame,
    states: Sequence[str],
    *,
    ci_level: float = 0.95,
    label: str | None = None,
) -> StateOccupation:
    r"""Estimate the probability of each state over time (Aalen-Johansen).

    At each time of a move, :math:`d\hat A_{jk} = d_{jk} / n_j` (moves from :math:`j` to :math:`k`
    among the :math:`n_j` then in :math:`j`), :math:`d\hat A_{jj} = -\sum_k d\hat A_{jk}`, and

    .. math:: \hat p(t) = \hat p(0) \prod_{t_i \le t} \{I + d\hat A(t_i)\}

    with :math:`\hat p(0)` = 1 in the first state. The variance is the infinitesimal jackknife
    :math:`\sum_i U_i(t)^2`, where the influence of patient :math:`i`, :math:`U_i`, follows

    .. math:: U_i(t) = U_i(t-)\{I + d\hat A(t)\}
        + \sum_j \hat p_j(t-) \frac{Y_{ij}(t)}{n_j(t)} \{dN_{ij}(t) - d\hat A_j(t)\}

    (:math:`Y_{ij}`: patient in :math:`j`; :math:`dN_{ij}`, :math:`d\hat A_j`: rows of moves and of
    hazards). It holds whether or not the process is Markov, as the estimate does, if censoring
    depends on nothing.

    Parameters
    ----------
    stays : DataFrame
        As `intervals` returns them. A patient's stays follow each other without a gap.
    states : sequence of str
        All states, the one in which everyone begins first.

    Raises
    ------
    ValueError
        For missing columns, unknown states, a stay that ends before it begins, and stays of a
        patient that overlap, leave a gap, or begin in another state than the one before led to.

    References
    ----------
    Aalen & Johansen (1978), Scand J Stat 5:141; Datta & Satten (2001), Stat Probab Lett 55:403
    (not Markov); Therneau, Crowson & Atkinson, vignette "Multi-state models and competing risks"
    of R's survival (infinitesimal jackknife). R: ``survfit(Surv(start, stop, to) ~ 1, id = id,
    p0 = c(1, 0, ...), conf.type = "log-log")``.
    """
    z = normal_quantile(ci_level)
    names = tuple(str(s) for s in states)
    if len(set(names)) != len(names) or len(names) < 2:
        raise ValueError("states: expected two or more different names")
    checked = _checked(stays, names)
    k = len(names)
    found = _recursion(checked, k)
    p = found.p.ravel()
    low, high = _log_log(p, found.std_error.ravel(), z)
    table = pd.DataFrame(
        {
            "time": np.repeat(found.times, k),
            "state": np.tile(np.array(names, dtype=object), len(found.times)),
            "n_risk": found.n_risk.ravel(),
            "n_entered": found.n_entered.ravel(),
            "n_left": found.n_left.ravel(),
            "probability": p,
            "std_error": found.std_error.ravel(),
            "ci_low": low,
            "ci_high": high,
        }
    )
    here, there, stop = checked.here, checked.there, checked.stop
    seen = pd.DataFrame({"state": here, "to": there})[there >= 0].value_counts().reset_index()
    seen = seen.sort_values(["state", "to"], ignore_index=True)
    transitions = pd.DataFrame(
        {
            "state": [names[j] for j in seen["state"]],
            "to": [names[j] for j in seen["to"]],
            "n": seen["count"].astype(int),
        }
    )
    left = np.unique(here[there >= 0])  # states that somebody leaves
    in_motion = np.isin(here, left) if len(left) else np.ones(len(here), dtype=bool)
    absorbed = len(left) and found.p[-1, left].sum() < 1e-12
    end = math.inf if absorbed else float(stop[in_motion].max())
    return StateOccupation(
        table, transitions, names, int(checked.who.max()) + 1, label, ci_level, checked, end
    )


class _Stays(NamedTuple):
    """Stays as arrays: number of the patient, begin, end, state, next state (-1: none)."""

    who: Ints
    start: Floats
    stop: Floats
    here: Ints
    there: Ints


class _Curves(NamedTuple):
    """Times, and times x states: probability, error, at risk, moves in, moves out; mean times."""

    times: Floats
    p: Floats
    std_error: Floats
    n_risk: Ints
    n_entered: Ints
    n_left: Ints
    mean: tuple[Floats, Floats]  # mean time in each state up to tau, and its error


def _recursion(stays: _Stays, k: int, tau: float = 0.0) -> _Curves:
    who, start, stop, here, there = stays
    n, times = int(who.max()) + 1, np.unique(stop)
    p, influence = np.zeros(k), np.zeros((k, n))
    p[0] = 1.0
    shape = (len(times), k)
    all_p, error = np.empty(shape), np.empty(shape)
    n_risk, n_in, n_out = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    mean, mean_influence, since = np.zeros(k), np.zeros((k, n)), 0.0
    for i, t in enumerate(times):
        width = min(t, tau) - since
        if width > 0:
            mean, mean_influence, since = mean + width * p, mean_influence + width * influence, t
        present = (start < t) & (t <= stop)
        n_risk[i] = np.bincount(here[present], minlength=k)
        moves = present & (stop == t) & (there >= 0)
        if moves.any():
            d = np.zeros((k, k))
            np.add.at(d, (here[moves], there[moves]), 1.0)
            n_in[i], n_out[i] = d.sum(axis=0), d.sum(axis=1)
            at_risk = np.maximum(n_risk[i], 1)
            hazard = d / at_risk[:, None]
            hazard -= np.diag(hazard.sum(axis=1))
            share = p / at_risk
            new = influence + hazard.T @ influence
            inside = present & (n_out[i] > 0)[here]
            new[:, who[inside]] -= (share[:, None] * hazard)[here[inside]].T
            np.add.at(new, (there[moves], who[moves]), share[here[moves]])
            np.add.at(new, (here[moves], who[moves]), -share[here[moves]])
            influence, p = new, p + p @ hazard
        all_p[i], error[i] = p, np.sqrt((influence**2).sum(axis=1))
    if tau > since:
        mean, mean_influence = mean + (tau - since) * p, mean_influence + (tau - since) * influence
    se = np.sqrt((mean_influence**2).sum(axis=1))
    return _Curves(times, all_p, error, n_risk, n_in, n_out, (mean, se))


def _checked(stays: pd.DataFrame, names: tuple[str, ...]) -> _Stays:
    if missing := [c for c in COLUMNS if c not in stays]:
        raise ValueError(f"stays: no column {', '.join(missing)}")
    if stays.empty:
        raise ValueError("stays: expected at least one row")
    frame = stays[COLUMNS].sort_values(["patient_id", "start", "stop"], kind="stable")
    frame = frame.reset_index(drop=True)
    start = as_vector(frame["start"], "start")
    stop = as_vector(frame["stop"], "stop")
    refuse("start", start, start < 0, "a time of 0 or later")
    index = {name: j for j, name in enumerate(names)}
    leaving = frame["to"].notna()
    unknown = {*frame["state"], *frame.loc[leaving, "to"]} - set(names)
    if unknown:
        raise ValueError(f"stays: unknown state {sorted(map(str, unknown))}, expected {names}")
    here = np.array([index[name] for name in frame["state"]], dtype=np.int64)
    there = np.where(leaving, frame["to"].map(index).fillna(-1), -1).astype(np.int64)
    refuse("to", frame["to"].astype(object), here == there, "another state than the one left")
    who = np.asarray(pd.factorize(frame["patient_id"])[0], dtype=np.int64)
    start = np.where(start == 0, -np.inf, start)
    stop, start = merge_near_ties(stop, start)  # type: ignore[assignment]
    refuse("stop", stop, stop <= start, "a stay that ends after it begins")
    same = who[1:] == who[:-1]
    if (same & (start[1:] != stop[:-1])).any() or (same & (here[1:] != there[:-1])).any():
        row = int(np.flatnonzero(same & ((start[1:] != stop[:-1]) | (here[1:] != there[:-1])))[0])
        raise ValueError(
            f"stays: that in row {row + 2} does not begin when and where the patient's last ended"
        )
    return _Stays(who, start, stop, here, there)

"""The data sets of tests/golden/survival_sets.R."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import GOLDEN, shared_folder

GEHAN = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
GEHAN_SEEN = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def load(name: str) -> pd.DataFrame:
    """Return a data set by its name; skips the test when its file is not here."""
    if name in HARD:
        return pd.DataFrame(HARD[name])
    return PUBLISHED[name]()


HARD: dict[str, Any] = json.loads((GOLDEN / "survival_sets.json").read_text(encoding="utf8"))


@cache
def mirror(path: str) -> pd.DataFrame:
    folder = shared_folder()
    if folder is None:
        pytest.skip("needs the open data sets: set BALLBOOK_DATA to a mirror folder")
    return pd.read_csv(folder / "clinical" / path)


def six_mp() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "time": GEHAN + PLACEBO,
            "event": GEHAN_SEEN + [1] * 21,
            "group": ["6-MP"] * 21 + ["placebo"] * 21,
            "stratum": [1, 2, 3] * 14,
            "placebo": [0] * 21 + [1] * 21,
        }
    )


def kmsurv(*, after: bool = False) -> pd.DataFrame:
    d = mirror("hsct-textbook-sets/kmsurv_bmt.csv")
    if after:
        d = d[d["tp"] < d["t2"]]
    frame = pd.DataFrame({"time": d["t2"], "event": d["d3"], "group": d["group"]})
    frame["stratum"] = d["z10"] if after else d["z9"]
    if after:
        frame["entry"] = d["tp"]
    frame["g2"], frame["g3"] = (d["group"] == 2).astype(int), (d["group"] == 3).astype(int)
    return frame.join(d[["z1", "z2", "z8", "z10"]])


def kersey() -> pd.DataFrame:
    d = mirror("hsct-textbook-sets/smcure_bmt_kersey1987_refractory_all.csv")
    return pd.DataFrame(
        {
            "time": d["Time"],
            "event": d["Status"],
            "group": d["TRT"],
            "stratum": np.arange(1, len(d) + 1) % 2,
            "autologous": d["TRT"],
        }
    )


def ebmt(*, after: bool = False) -> pd.DataFrame:
    d = mirror("ebmt-mstate/ebmt4.csv")
    end = d[["rel", "srv"]].min(axis=1)
    if after:
        keep = (d["rec.s"] == 1) & (d["rec"] < end)
        d, end = d[keep], end[keep]
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
    if after:
        frame["entry"] = d["rec"]
    return frame


def bmtcrr() -> pd.DataFrame:
    d = mirror("hsct-textbook-sets/casebase_bmtcrr_all_aml.csv")
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


def rossi() -> pd.DataFrame:
    from lifelines.datasets import load_rossi

    d = load_rossi()
    frame = d.drop(columns=["week", "arrest"])
    return frame.assign(time=d["week"], event=d["arrest"], group=d["fin"], stratum=d["race"])


PUBLISHED = {
    "6-MP": six_mp,
    "KMsurv bmt": kmsurv,
    "KMsurv bmt after platelets": lambda: kmsurv(after=True),
    "Kersey": kersey,
    "EBMT": ebmt,
    "EBMT after recovery": lambda: ebmt(after=True),
    "bmtcrr": bmtcrr,
    "Rossi": rossi,
}

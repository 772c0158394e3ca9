"""The data sets of tests/golden/survival_sets.R, as tests take them."""

from __future__ import annotations

import pandas as pd
import pytest

from ballbook import goldens


def load(name: str) -> pd.DataFrame:
    """Return a data set by its name; skips the test when its file is not here."""
    try:
        return goldens.data_set(name)
    except goldens.DataAbsent as reason:
        pytest.skip(f"needs the open data sets: {reason}")

"""Groups by definitions of IKZF1plus."""

from __future__ import annotations

import pandas as pd
import pytest

from ballbook import ikzf1plus


@pytest.mark.parametrize("definition", list(ikzf1plus.DEFINITIONS.values()), ids=lambda d: d.id)
def test_each_patient_is_in_the_group_that_the_rule_says(definition: ikzf1plus.Definition) -> None:
    genes = ("ikzf1", "pax5", "cdkn2a", "cdkn2b", "par1", "erg")
    calls = pd.DataFrame("wt", index=["none", "alone", "plus", "partner only"], columns=genes)
    calls.loc[["alone", "plus"], "ikzf1"] = "del"
    calls.loc[["plus", "partner only"], "pax5"] = "del"
    assert ikzf1plus.groups(calls, definition).to_dict() == {
        "none": ikzf1plus.WILD_TYPE, "alone": ikzf1plus.ALONE, "plus": ikzf1plus.PLUS,
        "partner only": ikzf1plus.WILD_TYPE,
    }  # fmt: skip
    calls.loc["alone", definition.partners[0]] = None
    assert pd.isna(ikzf1plus.groups(calls, definition)["alone"])
    calls.loc["plus", "erg"] = "del"
    excluded = ikzf1plus.groups(calls, definition)["plus"]
    assert excluded == (ikzf1plus.ALONE if "erg" in definition.unless else ikzf1plus.PLUS)

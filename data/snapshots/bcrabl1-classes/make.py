"""Make the table of this folder from the export of the models (see SOURCE.md).

Run with BALLBOOK_DATA naming the mirror that holds ``omics/allcatchr``.
"""

from pathlib import Path

import pandas as pd

from ballbook import paths


def main() -> None:
    mirror = paths.mirror()
    if mirror is None:
        raise SystemExit("set BALLBOOK_DATA to the mirror that holds omics/allcatchr")
    raw = pd.read_csv(mirror / "omics/allcatchr/bcrabl1_glmnet_coefficients.csv")
    names = {"first_level": "against", "second_level": "towards", "term": "gene"}
    table = raw.rename(columns=names | {"coef": "coefficient"}).replace(
        {"gene": {"(Intercept)": "intercept"}}
    )
    table.to_csv(Path(__file__).parent / "coefficients.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()

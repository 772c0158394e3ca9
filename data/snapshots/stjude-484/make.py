"""Make the files of this folder from the export of ALLSorts' map (see SOURCE.md).

Run with BALLBOOK_DATA naming the mirror that holds ``omics/allsorts``. Values are hundredths of a
standard deviation, so that the file is small.
"""

import lzma
from pathlib import Path

import numpy as np
import pandas as pd

from ballbook import paths


def main() -> None:
    mirror = paths.mirror()
    if mirror is None:
        raise SystemExit("set BALLBOOK_DATA to the mirror that holds omics/allsorts")
    folder, here = mirror / "omics/allsorts", Path(__file__).parent
    values = pd.read_csv(folder / "stjude_484_standardised_1003genes.csv.gz", index_col="sample")
    labels = pd.read_csv(folder / "stjude_484_labels_umap.csv", index_col="sample")["labels"]
    labels.loc[values.index].rename("label").to_csv(here / "samples.csv", lineterminator="\n")
    table = np.rint(100 * values).astype(int).T.rename_axis("gene")
    text = table.to_csv(lineterminator="\n").encode()
    (here / "expression.csv.xz").write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main()

"""Make the table of this folder from the matrices of Digger (see SOURCE.md).

Run with BALLBOOK_DATA naming the mirror that holds ``omics/rss-motifs``.
"""

from pathlib import Path

import pandas as pd

from ballbook import paths
from ballbook.datasets import RSS_SPACERS


def main() -> None:
    mirror = paths.mirror()
    if mirror is None:
        raise SystemExit("set BALLBOOK_DATA to the mirror that holds omics/rss-motifs")
    tables = []
    for locus, kind in RSS_SPACERS:
        for part in ("heptamer", "nonamer"):
            name = f"{locus}_{kind.replace(chr(39), 'p')}-{part.upper()}_prob.csv"
            # The first line is a number that is no probability, the second names the bases.
            table = pd.read_csv(mirror / "omics/rss-motifs/original" / name, skiprows=1)
            table = table[list("ACGT")].set_axis(range(1, len(table) + 1))
            table = table.rename_axis("position").reset_index()
            tables.append(table.assign(locus=locus, kind=kind, part=part))
    columns = ["locus", "kind", "part", "position", *"ACGT"]
    whole = pd.concat(tables)[columns]
    whole.to_csv(Path(__file__).parent / "matrices.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()

"""Make counts.csv: CCRI patients counted by group and by IKZF1 deletion.

The source is a table of 1/0 flags transcribed from lists in the authors' scripts (see SOURCE.md);
only counts are kept here. Run with BALLBOOK_DATA naming the mirror that holds the table.
"""

from pathlib import Path

import pandas as pd

from ballbook import paths

KEYS = ["group", "mutation_data", "relapse_sample", "ikzf1_diagnosis", "ikzf1_relapse"]


def main() -> None:
    mirror = paths.mirror()
    if mirror is None:
        raise SystemExit("set BALLBOOK_DATA to the mirror that holds clinical/ccri-p2ry8-crlf2")
    flags = pd.read_csv(mirror / "clinical/ccri-p2ry8-crlf2/patients_cna_flags.csv", dtype=str)
    yes_no = {"1": "yes", "0": "no"}
    status = {"1": "del", "0": "wt"}
    table = pd.DataFrame(
        {
            "group": flags["cohort"],
            "mutation_data": flags["mutation_data"].map(yes_no),
            "relapse_sample": flags["relapse_sample_available"].map(yes_no),
            "ikzf1_diagnosis": flags["ikzf1_del_dia"].map(status),
            "ikzf1_relapse": flags["ikzf1_del_rel"].map(status).fillna(""),
        }
    )
    counts = table.groupby(KEYS).size().rename("n").reset_index()
    counts.to_csv(Path(__file__).with_name("counts.csv"), index=False, lineterminator="\n")


if __name__ == "__main__":
    main()

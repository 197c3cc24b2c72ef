"""How much better is a method of one comparison than one of another, seed by seed?

    python -m benchmarks.across_runs FOLDER:METHOD FOLDER:METHOD    # such as benchmarks/results/tiny-imagenet:distilled

Both comparisons have to be of the same networks, data, `run.seed` and final training, so that a seed has the same
weights in both; only then are differences within seeds free of what the seed brings.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measuring import as_a_program
from benchmarks.study import differences_sheet
from dp_core.errors import UserError
from search.comparison.statistics import Row
from search.output.tables import read_rows


def main() -> None:
    """Print the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs=2, metavar="FOLDER:METHOD")
    arguments = parser.parse_args()
    print(differences_sheet(joined(arguments.methods), [arguments.methods]).markdown())


def joined(methods: Sequence[str]) -> list[Row]:
    """Return the rows of methods written `folder:method`, each called so."""
    rows: list[Row] = []
    for each in methods:
        folder, _, method = each.rpartition(":")
        if not folder:
            raise UserError(f"A method of a comparison is written folder:method, which {each} is not.")
        found = [row for row in read_rows(Path(folder) / "results.parquet") if row["method"] == method]
        rows += [{**row, "method": each} for row in found]
    return rows


if __name__ == "__main__":
    as_a_program(main)

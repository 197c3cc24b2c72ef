"""Whether one score ranks better than another on the same architectures: differences of Spearman, paired bootstrap.

python -m benchmarks.proxy_differences RUN FIRST SECOND [FIRST SECOND …]

RUN is the folder of a proxy evaluation, or a committed one with `scores.parquet` and `truth.parquet`; the scores are
named as its page names them. Without scores: the pairs that benchmarks/results/proxies/README.md is about, and the mean
accuracies of batch-norm networks with and without recalibration.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.output.tables import read_rows
from search.proxies.significance import advantage
from search.proxies.tables import SCORES, TRUTHS

SOURCES = ("real", "plain-set", "search-set", "random")


def main(arguments: Sequence[str]) -> None:
    """Print a line for each pair."""
    folder, *names = arguments
    truths = read_rows(Path(folder) / "truth.parquet", TRUTHS)
    architectures = [row["architecture"] for row in truths]
    truth = np.array([row["accuracy"] for row in truths], float)
    columns = values_of(Path(folder), architectures)
    for first, second in zip(names[::2], names[1::2], strict=True) if names else usual(columns):
        found = advantage(columns[first], columns[second], truth, seed=0)
        if found is not None:
            print(f"{first} - {second}: {found.mean:+.2f} [{found.low:.2f}, {found.high:.2f}]")
    if not names:
        batch = np.array([" batch " in name for name in architectures])
        for name in columns:
            if batch.any() and name.endswith("@100") and "speed" not in name:
                print(f"{name}, batch norm: {100 * columns[name][batch].mean():.1f} %")


def values_of(folder: Path, architectures: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Return each score's values in the order of the architectures, means over replicates, NaN where there is none."""
    cells: dict[str, dict[str, list[float]]] = {}
    for row in read_rows(folder / "scores.parquet", SCORES):
        if row["value"] is not None:
            cells.setdefault(row["proxy"], {}).setdefault(row["architecture"], []).append(row["value"])
    return {
        name: np.array([float(np.mean(found[label])) if label in found else np.nan for label in architectures])
        for name, found in cells.items()
    }


def usual(columns: dict[str, NDArray[np.float64]]) -> list[tuple[str, str]]:
    """Return the pairs of equal cost, the best against scores without training, and recalibration against none."""
    pairs = []
    for steps in (10, 30, 100):
        named = [f"{source} calibrated@{steps}" for source in SOURCES]
        pairs += [pair for pair in product(named, named) if pair[0] != pair[1]]
        pairs += [(name, name.replace(" calibrated", "")) for name in named]
    others = ("plain-set calibrated@100", "plain-set calibrated@30", "jacob_cov", "nwot")
    pairs += [("real@100", other) for other in others]
    pairs += [("real@100", f"{source} calibrated@100") for source in ("search-set", "random")]
    return [pair for pair in pairs if pair[0] in columns and pair[1] in columns]


if __name__ == "__main__":
    main(sys.argv[1:])

"""What the result rows of `winnow prune` amount to: means over seeds, paired differences, and costs beside IMP's.

A result row is one network × seed × method × target sparsity (the columns of `search.comparison.tables.RESULTS`). All
of it works on whatever rows there are, since a run may be unfinished: a seed that has no test accuracy, because its
mask collapsed or its training diverged, is left out of the means and counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t as student_t

from dp_core.errors import UserError, nearest
from search.output.rows import finite, grouped

Row = Mapping[str, Any]


@dataclass(frozen=True)
class PairedDifference:
    """How much higher a measure, such as the test accuracy, is with one method than with another on the same seeds.

    `mean`, `low` and `high` are differences in the measure's own unit; the 95 % t interval from `low` to `high`
    is None for one seed.
    """

    network: str
    target_sparsity: float
    mean: float
    low: float | None
    high: float | None
    seeds: int


def summarise(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one row per network × method × target sparsity: means over seeds, and how much cheaper than IMP.

    Networks and methods keep the order of `rows`; sparsities ascend. `seeds` counts the rows, `accuracies` those with
    a test accuracy, `collapsed` those whose status is not "finished"; a collapsed seed counts in the mean if it has an
    accuracy. `test_accuracy` is the mean and `test_accuracy_std` the sample standard deviation, None for one seed.
    `sparsity`, `mask_image_gradients`, `mask_seconds`, `mask_processor_seconds`, `error_barrier`, `loss_barrier` and
    `top_eigenvalue` are means over the seeds that have a value (a seed without a ticket has no cost of a mask), None
    where no seed has. `cheaper_in_image_gradients`, `cheaper_in_seconds` and
    `cheaper_in_processor_seconds` are IMP's mean cost of the mask (see `reference_method`) over the method's at the
    same target sparsity: above 1 is cheaper; None without IMP and for a mask that costs nothing.
    """
    summary = []
    for (network,), of_network in grouped(rows, "network").items():
        reference = reference_method(of_network)
        for (method,), of_method in grouped(of_network, "method").items():
            for sparsity, cell in by_sparsity(of_method).items():
                imp = [row for row in of_network if row["method"] == reference and target(row) == sparsity]
                summary.append({"network": network, "method": method, **_summary(cell, sparsity, imp)})
    return summary


def reference_method(rows: Sequence[Row]) -> str | None:
    """Return the name of the IMP that the other methods of one network are compared with, or None if there is none.

    It is the iterative method that prunes by magnitude on real data, from the dense network on, and spends the most
    image-gradients; the first among equals. Controls of other methods and masks pruned further are not IMP.
    """
    imp = [row for row in rows if row["source"] == "real" and row["criterion"] == "magnitude" and _is_from_dense(row)]
    spent = {
        method: max(finite(group, "mask_image_gradients"), default=0.0)
        for (method,), group in grouped(imp, "method").items()
    }
    return max(spent, key=lambda method: spent[method]) if spent else None


def _is_from_dense(row: Row) -> bool:
    return row.get("kind") in (None, "iterative") and row.get("parent") is None


def paired_differences(
    rows: Sequence[Row], method: str, other: str, column: str = "test_accuracy"
) -> list[PairedDifference]:
    """Return how much higher `column` is for `method` than for `other`, by network and sparsity with a common seed.

    Both start from the same weights for the same seed, so differences within seeds are free of what the seed brings.
    The interval is Student's, from the n differences, with n - 1 degrees of freedom. Raises UserError for a method
    that no row has.
    """
    for name in (method, other):
        check_known(name, [row["method"] for row in rows], "method")
    differences = []
    for (network,), of_network in grouped(rows, "network").items():
        for sparsity, cell in by_sparsity(of_network).items():
            first, second = (
                by_seed([row for row in cell if row["method"] == name], column) for name in (method, other)
            )
            found = paired(first, second)
            if found:
                low, high = t_interval(found) or (None, None)
                differences.append(PairedDifference(network, sparsity, fmean(found), low, high, len(found)))
    return differences


def check_known(name: str, known: Sequence[str], what: str) -> None:
    """Raise UserError if no row has the method or family `name`."""
    if name not in known:
        raise UserError(f"The results hold no {what} '{name}'.{nearest(name, known)}")


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> list[float]:
    """Return the differences first - second over the seeds that both have, in the order of the seeds."""
    return [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Return Student's interval of the mean of `values`, or None for fewer than two."""
    if len(values) < 2:
        return None
    quantile = float(student_t.ppf((1 + confidence) / 2, len(values) - 1))
    half = quantile * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def by_seed(rows: Sequence[Row], column: str = "test_accuracy") -> dict[int, float]:
    """Return a measure by seed, of the rows that have it; the rows share method, network and sparsity."""
    return {row["seed"]: row[column] for row in rows if finite([row], column)}


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, or None of nothing."""
    return fmean(values) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation (over n - 1), or None for fewer than two values."""
    return stdev(values) if len(values) > 1 else None


def by_sparsity(rows: Sequence[Row]) -> dict[float, list[Row]]:
    """Return the rows by target sparsity, ascending."""
    return {sparsity: [row for row in rows if target(row) == sparsity] for sparsity in sorted(set(map(target, rows)))}


def target(row: Row) -> float:
    """Return the target sparsity as a key: 1 - 0.8³ and 0.488 are one target, whatever the last bit says."""
    return rounded(float(row["target_sparsity"]))


def rounded(sparsity: float) -> float:
    """Return a sparsity to the six digits by which two are told apart."""
    return round(sparsity, 6)


def _summary(rows: Sequence[Row], sparsity: float, imp: Sequence[Row]) -> dict[str, Any]:
    reached = finite(rows, "test_accuracy")
    costs = {name: mean(finite(rows, f"mask_{name}")) for name in ("image_gradients", "seconds", "processor_seconds")}
    measures = ("error_barrier", "loss_barrier", "top_eigenvalue")
    return {
        **{name: rows[0][name] for name in ("family", "source", "criterion", "steps")},
        "target_sparsity": sparsity,
        "sparsity": mean(finite(rows, "sparsity")),
        **{name: rows[0].get(name) for name in ("prunable_parameters", "parameters")},
        "seeds": len(rows),
        "accuracies": len(reached),
        "collapsed": sum(row["status"] != "finished" for row in rows),
        "test_accuracy": mean(reached),
        "test_accuracy_std": deviation(reached),
        **{f"mask_{name}": cost for name, cost in costs.items()},
        **{f"cheaper_in_{name}": _ratio(mean(finite(imp, f"mask_{name}")), cost) for name, cost in costs.items()},
        **{name: mean(finite(rows, name)) for name in measures},
    }


def _ratio(reference: float | None, cost: float | None) -> float | None:
    return reference / cost if reference is not None and cost else None

"""Families of methods as curves: the test accuracy that each reaches for what its mask costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from search.comparison.statistics import Row, by_seed, mean
from search.output.rows import finite, grouped


@dataclass(frozen=True)
class Budget:
    """What one method of a family reached: test accuracies in [0, 1] by seed, never empty, and its mask's mean cost."""

    method: str
    image_gradients: float
    processor_seconds: float
    accuracies: Mapping[int, float]


def budgets_by_family(rows: Sequence[Row]) -> dict[str, list[Budget]]:
    """Return the budgets of each family, cheapest first, from rows of one network and one target sparsity.

    Costs are means over the seeds with a ticket. Seeds without a test accuracy have no part in the accuracies, and
    methods with such seeds alone are left out. Of a family's methods that cost the
    same image-gradients, such as learning rates that were tried, the one with the highest mean validation accuracy
    stands for the family: choosing by test accuracy would flatter families with many methods.
    """
    families: dict[str, list[Budget]] = {}
    reached = {row["method"] for row in rows if by_seed([row])}
    for (family,), of_family in grouped([row for row in rows if row["method"] in reached], "family").items():
        best: dict[float, tuple[float, Budget]] = {}
        for (method,), group in grouped(of_family, "method").items():
            cost = mean(finite(group, "mask_image_gradients")) or 0.0
            seconds = mean(finite(group, "mask_processor_seconds")) or 0.0
            validation = max(fmean(finite(group, "validation_accuracy") or [-math.inf]), -1.0)
            if cost not in best or validation > best[cost][0]:
                best[cost] = (validation, Budget(method, cost, seconds, by_seed(group)))
        families[family] = [best[cost][1] for cost in sorted(best)]
    return families


def paid(budgets: Sequence[Budget]) -> list[Budget]:
    """Return the budgets that cost image-gradients: those that have a place on a logarithmic axis."""
    return [budget for budget in budgets if budget.image_gradients > 0]


def affordable(budgets: Sequence[Budget], image_gradients: float) -> dict[int, float]:
    """Return the accuracy by seed that a family reaches for at most `image_gradients`, empty if it has none so cheap.

    Between two budgets it is interpolated linearly over the logarithm of the cost, for the seeds of both; beyond the
    dearest it stays as it is, since one may always spend less.
    """
    cheaper = [budget for budget in budgets if budget.image_gradients <= image_gradients]
    dearer = budgets[len(cheaper) :]
    if not cheaper:
        return {}
    low = cheaper[-1]
    if not dearer or low.image_gradients in (0, image_gradients):
        return dict(low.accuracies)
    high = dearer[0]
    share = math.log(image_gradients / low.image_gradients) / math.log(high.image_gradients / low.image_gradients)
    seeds = sorted(low.accuracies.keys() & high.accuracies.keys())
    return {seed: (1 - share) * low.accuracies[seed] + share * high.accuracies[seed] for seed in seeds}

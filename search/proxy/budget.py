"""What a budget buys: screening by a proxy and training its favourites, beside training architectures at random.

Costs may be seconds, image-gradients or FLOPs: nothing here depends on their unit, only on its being one throughout.
Architectures whose truth is not finite are left out everywhere, with their costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.proxy.regret import best_of_top, expected_best, tied_groups

_ROUNDING = 1e-9
"""What the sums of expected values may be off by: far less than any difference of accuracies that counts."""


@dataclass(frozen=True)
class Point:
    """The best truth that is found, `accuracy`, when `k` architectures are trained for `cost` in all."""

    k: int
    cost: float
    accuracy: float


def proxy_then_retrain(
    scores: NDArray[np.float64],
    truth: NDArray[np.float64],
    proxy_costs: NDArray[np.float64],
    truth_costs: NDArray[np.float64],
) -> list[Point]:
    """Return what scoring all N architectures, training the k with the highest scores and keeping the best one gets.

    One point for each k = 1 … N; its cost is that of all N scores and of k trainings. Both the accuracy and the cost
    are exact expectations over the random order of tied scores (the expected cost of some of a tie is their number
    times its mean cost). Architectures without a finite score tie below all others; of these, a cost that is NaN
    counts as nothing.

    Args:
        scores: [N], higher is better.
        truth: [N], of the same architectures, higher is better.
        proxy_costs: [N], of each score.
        truth_costs: [N], of each real training.
    """
    known = np.isfinite(truth)
    scores, truth, truth_costs = scores[known], truth[known], truth_costs[known]
    scored = np.isfinite(scores)
    screening = proxy_costs[known][scored].sum() + np.nansum(proxy_costs[known][~scored])
    each = [np.full(len(group), truth_costs[group].mean()) for group in tied_groups(scores)]
    costs = screening + np.cumsum(np.concatenate([np.zeros(0), *each]))
    return _points(costs, best_of_top(scores, truth))


def random_search(truth: NDArray[np.float64], truth_costs: NDArray[np.float64]) -> list[Point]:
    """Return the expected best truth, and cost, of k architectures drawn without replacement, for k = 1 … N; exact."""
    known = np.isfinite(truth)
    truth, truth_costs = truth[known], truth_costs[known]
    drawn = np.arange(1, len(truth) + 1)
    costs = drawn * (truth_costs.mean() if len(truth) else 0.0)
    return _points(costs, np.array([expected_best(truth, int(k)) for k in drawn]))


def train_everything(truth: NDArray[np.float64], truth_costs: NDArray[np.float64]) -> Point | None:
    """Return what training all architectures costs and finds; None if no truth is finite."""
    known = np.isfinite(truth)
    if not known.any():
        return None
    return Point(int(known.sum()), float(truth_costs[known].sum()), float(truth[known].max()))


def best_at(points: Sequence[Point], cost: float) -> Point | None:
    """Return the point of the highest accuracy that costs at most `cost`, the cheapest of equals; None if none does."""
    return smallest_budget([point for point in points if point.cost <= cost], within=0)


def smallest_budget(points: Sequence[Point], within: float) -> Point | None:
    """Return the cheapest point whose accuracy is at most `within` below the best of the points; None of no points.

    The points of a method end with training everything, so their best is the best of all architectures. `within` is in
    the unit of the accuracy: half a point is 0.005 where accuracies are fractions.
    """
    best = max((point.accuracy for point in points), default=0.0)
    enough = [point for point in points if point.accuracy >= best - within - _ROUNDING]
    return min(enough, key=lambda point: point.cost, default=None)


def _points(costs: NDArray[np.float64], accuracies: NDArray[np.float64]) -> list[Point]:
    pairs = zip(costs.tolist(), accuracies.tolist(), strict=True)
    return [Point(k, cost, accuracy) for k, (cost, accuracy) in enumerate(pairs, start=1)]

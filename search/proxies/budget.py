"""What a budget buys: screening by a proxy and training its favourites, beside training architectures at random.

Costs may be seconds, image-gradients or FLOPs: nothing here depends on their unit, only on its being one throughout.
Architectures whose truth is not finite are left out everywhere, with their costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.proxies.regret import best_of_top, expected_best, tied_groups

_ROUNDING = 1e-9
"""What the sums of expected values may be off by: far less than any difference of accuracies that counts."""


@dataclass(frozen=True)
class Point:
    """The best truth that is found, `accuracy`, when `k` architectures are trained for `cost` in all."""

    k: int
    cost: float
    accuracy: float


@dataclass(frozen=True)
class Hit:
    """How many architectures are expected to be trained until one is good enough, and what that costs in all."""

    trained: float
    cost: float


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
    screening = _screening(scores, proxy_costs[known])
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


def first_hit(
    scores: NDArray[np.float64],
    truth: NDArray[np.float64],
    proxy_costs: NDArray[np.float64],
    truth_costs: NDArray[np.float64],
    within: float,
) -> Hit | None:
    """Return what it takes until an architecture within `within` of the best truth has been trained.

    All N are scored and then trained one by one, the highest score first, until the first such. Trainings and cost are
    exact expectations over the random order of tied scores: of g in a tie with h hits, (g - h) / (h + 1) others come
    before the first. Equal scores for all are the control, architectures trained in random order. Chance is told as
    the expected number of trainings, too, and not as when its expected accuracy is so high: a score's order is a single
    one, and a single order can be lucky.

    Args:
        scores: [N], higher is better.
        truth: [N], of the same architectures, higher is better.
        proxy_costs: [N], of each score.
        truth_costs: [N], of each real training.
        within: in the unit of the truth; half a point is 0.005 where accuracies are fractions.

    Returns:
        None where no truth is finite.
    """
    known = np.isfinite(truth)
    if not known.any():
        return None
    cost = _screening(scores[known], proxy_costs[known])
    scores, truth, truth_costs = scores[known], truth[known], truth_costs[known]
    hits = truth >= truth.max() - within - _ROUNDING
    trained = 0.0
    for group in tied_groups(scores):
        others, wanted = group[~hits[group]], group[hits[group]]
        before = len(others) / (len(wanted) + 1) if len(wanted) else len(others)
        trained += before + (len(wanted) > 0)
        cost += before * truth_costs[others].mean() if len(others) else 0.0
        if len(wanted):
            return Hit(trained, float(cost + truth_costs[wanted].mean()))
    raise AssertionError("the best architecture is a hit")


def _screening(scores: NDArray[np.float64], costs: NDArray[np.float64]) -> float:
    """Return the cost of all scores; of architectures without one, a cost that is NaN counts as nothing."""
    scored = np.isfinite(scores)
    return float(costs[scored].sum() + np.nansum(costs[~scored]))


def _points(costs: NDArray[np.float64], accuracies: NDArray[np.float64]) -> list[Point]:
    pairs = zip(costs.tolist(), accuracies.tolist(), strict=True)
    return [Point(k, cost, accuracy) for k, (cost, accuracy) in enumerate(pairs, start=1)]

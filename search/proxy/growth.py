"""Curves of accuracy against budget for a figure: which ones are worth drawing, and which of their points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from search.proxy.answers import RANDOM_SEARCH, TRAIN_EVERYTHING
from search.proxy.budget import Point

_BEST = 5
_MOST_POINTS = 80


def growth_curves(found: Mapping[str, Sequence[Point]], best: int = _BEST) -> dict[str, list[Point]]:
    """Return the curves of the `best` scores by final area, then those of random search and of training everything.

    Points that cost nothing, which have no place on a logarithmic axis, are left out.
    """
    paid = {name: [point for point in points if point.cost > 0] for name, points in found.items()}
    paid = {name: points for name, points in paid.items() if points}
    if not paid:
        return {}
    controls = {name: paid[name] for name in (RANDOM_SEARCH, TRAIN_EVERYTHING) if name in paid}
    scores = {name: points for name, points in paid.items() if name not in controls}
    costs = [point.cost for points in paid.values() for point in points]
    everything = controls.get(TRAIN_EVERYTHING)
    until = everything[0].cost if everything else max(costs)
    start = controls.get(RANDOM_SEARCH, ())
    untrained = start[0].accuracy if start else 0.0
    areas = {name: area(points, min(costs), until, untrained) for name, points in scores.items()}
    chosen = sorted(areas, key=lambda name: -areas[name])[:best]
    return {name: scores[name] for name in chosen} | controls


def area(points: Sequence[Point], low: float, high: float, untrained: float) -> float:
    """Return the mean accuracy over the logarithm of the budget, from `low` to `high`.

    What a budget buys is the best accuracy of all points that cost no more; `untrained`, that of an architecture taken
    at random, where it buys nothing.
    """
    if not 0 < low < high:
        return untrained
    steps = sorted((max(point.cost, low), point.accuracy) for point in points if point.cost < high)
    edges = np.log([low, *(cost for cost, _ in steps), high])
    heights = np.maximum.accumulate([untrained, *(accuracy for _, accuracy in steps)])
    return float(np.diff(edges) @ heights / math.log(high / low))


def drawn_points(points: Sequence[Point]) -> list[Point]:
    """Return the points, by k, at which something better is found; of many only so many as an eye can tell apart."""
    better: list[Point] = []
    for point in points:
        if not better or point.accuracy > better[-1].accuracy:
            better.append(point)
    if len(better) <= _MOST_POINTS:
        return better
    places = np.linspace(math.log(better[0].cost), math.log(better[-1].cost), _MOST_POINTS)
    nearest = np.searchsorted(np.log([point.cost for point in better]), places - 1e-9)
    return [better[index] for index in dict.fromkeys(nearest.tolist())]

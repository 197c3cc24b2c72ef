"""Curves of accuracy against budget for a figure: which ones are worth drawing, and which of their points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from search.proxies.answers import RANDOM_SEARCH, TRAIN_EVERYTHING
from search.proxies.budget import Point

_MOST_POINTS = 80


def growth_curves(found: Mapping[str, Sequence[Point]], names: Sequence[str]) -> dict[str, list[Point]]:
    """Return the curves of `names`, then those of random search and of training everything.

    Points that cost nothing, which have no place on a logarithmic axis, are left out, and so is a score whose cost is
    not known.
    """
    kept = {name: found[name] for name in (*names, RANDOM_SEARCH, TRAIN_EVERYTHING) if name in found}
    paid = {name: [point for point in points if point.cost > 0] for name, points in kept.items()}
    return {name: points for name, points in paid.items() if points}


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

"""The subsets of architectures within which a proxy is judged too: the truly best, and those of similar size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.output.rank_correlation import MINIMUM_PAIRS

_TOPS = (5, 10, 20)


@dataclass(frozen=True, eq=False)
class Subset:
    """Some of the architectures: a name for people, and their row numbers [n], ascending."""

    name: str
    indices: NDArray[np.intp]


def subsets(truth: NDArray[np.float64], parameters: NDArray[np.int64]) -> list[Subset]:
    """Return the subsets to judge a proxy in; architectures whose truth is not finite are in none.

    First "all"; then "top 5", "top 10", "top 20" and "top 10 %" by the truth, the last rounded up; then the small, the
    medium and the large third by number of parameters, such as "parameters <= 120k", "120k < parameters <= 400k" and
    "parameters > 400k". A top set holds everything that ties with its last member, so it can be larger than it says,
    and does not depend on the order of the rows; equal numbers of parameters are in one bucket, so buckets need not be
    equal thirds. Subsets of fewer than 5 architectures, and those that would hold all of them, are left out. The
    numbers in the names are round ones that split the architectures just as the exact quantiles do.

    Args:
        truth: [N], higher is better.
        parameters: [N], of the same architectures.
    """
    known = np.flatnonzero(np.isfinite(truth))
    parts = [*_tops(truth[known]), *_buckets(parameters[known])] if len(known) else []
    kept = [(name, inside) for name, inside in parts if MINIMUM_PAIRS <= inside.sum() < len(known)]
    return [Subset("all", known), *(Subset(name, known[inside]) for name, inside in kept)]


def _tops(truth: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    descending = np.sort(truth)[::-1]
    sizes = {f"top {size}": size for size in _TOPS} | {"top 10 %": -(-len(truth) // 10)}
    for name, size in sizes.items():
        yield name, truth >= descending[min(size, len(truth)) - 1]


def _buckets(parameters: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    ascending, architectures = np.sort(parameters), len(parameters)
    small, medium = (int(ascending[-(-architectures * third // 3) - 1]) for third in (1, 2))
    first, second = (_short(_round_threshold(value, ascending)) for value in (small, medium))
    yield f"parameters <= {first}", parameters <= small
    yield f"{first} < parameters <= {second}", (small < parameters) & (parameters <= medium)
    yield f"parameters > {second}", parameters > medium


def _round_threshold(value: int, parameters: NDArray[np.int64]) -> int:
    """Return the roundest number, of two digits or more, that separates the same parameter counts as `value` does."""
    others = parameters[parameters > value]
    for digits in range(2, len(str(value))):
        unit = 10 ** (len(str(value)) - digits)
        rounded: int = -(-value // unit) * unit
        if (others > rounded).all():
            return rounded
    return value


def _short(number: int) -> str:
    for unit, suffix in ((10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:.12g}{suffix}"
    return str(number)

"""Non-dominated fronts of vectors that come one by one, sorted only as deep as somebody asks."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from search.output.pareto import Gains, non_dominated


class Fronts:
    """The best vectors in exact non-dominated fronts, the others in a heap from which the next front is drawn.

    A newcomer takes its place in the first front in which nothing dominates it; what it dominates there moves one front
    down, and what that dominates again one (Li et al. 2014, "Efficient non-domination level update").

    Args:
        objectives: number of objectives, M.
    """

    def __init__(self, objectives: int) -> None:
        self._fronts: list[Gains] = []
        self._rest: Gains = np.empty((0, objectives))
        self._known = 0

    def __len__(self) -> int:
        return self._known

    def __getitem__(self, rank: int) -> Gains:
        """Return the vectors [N, M] of a front that is sorted."""
        return self._fronts[rank]

    def rank_of(self, vector: Gains) -> int:
        """Return the front that a vector [M] is in or belongs to; the number of sorted fronts if it is none of them."""
        # What a front dominates, all fronts before it dominate too.
        return bisect_left(
            range(len(self._fronts)), True, key=lambda rank: not _above(self._fronts[rank], vector).any()
        )

    def before(self, rank: int) -> int:
        """Return how many vectors are in the fronts before this one."""
        return sum(len(front) for front in self._fronts[:rank])

    def add(self, vector: Gains) -> None:
        """Take in a vector [M] without NaN."""
        self._known += 1
        moving = vector[np.newaxis]
        for rank in range(self.rank_of(vector), len(self._fronts)):
            front = self._fronts[rank]
            pushed = _below_any(front, moving)
            self._fronts[rank] = np.concatenate([front[~pushed], moving])
            moving = front[pushed]
            if not len(moving):
                return
        self._rest = np.concatenate([self._rest, moving])

    def sort_down_to(self, count: int) -> None:
        """Sort as many fronts as hold the best `count` vectors, and let go of those that are deeper by two."""
        held = self.before(len(self._fronts))
        while held < count and len(self._rest):
            front = non_dominated(self._rest)
            self._fronts.append(self._rest[front])
            self._rest = self._rest[~front]
            held += len(self._fronts[-1])
        # One front more than is needed stays: the line that the last of them crosses goes up and down.
        while len(self._fronts) > 2 and held - len(self._fronts[-1]) - len(self._fronts[-2]) >= count:
            held -= len(self._fronts[-1])
            self._rest = np.concatenate([self._rest, self._fronts.pop()])


def _above(vectors: Gains, vector: Gains) -> NDArray[np.bool_]:
    """Return which of the vectors [N, M] dominate a vector [M]."""
    no_worse = np.ones(len(vectors), dtype=np.bool_)
    better = np.zeros(len(vectors), dtype=np.bool_)
    # An objective at a time: numpy is slow to reduce an axis as short as theirs.
    for column, gain in zip(vectors.T, vector, strict=True):
        no_worse &= column >= gain
        better |= column > gain
    return no_worse & better


def _below_any(vectors: Gains, others: Gains) -> NDArray[np.bool_]:
    """Return which of the vectors [N, M] are dominated by one of `others` [K, M]."""
    below = np.zeros(len(vectors), dtype=np.bool_)
    turned = -vectors
    for other in others:
        below |= _above(turned, -other)
    return below

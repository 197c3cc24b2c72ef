"""A rung of successive halving with several objectives: MO-ASHA (Schmucker et al. 2021, arXiv 2106.12639)."""

from __future__ import annotations

import numpy as np

from search.output.pareto import Gains, epsilon_net_order
from search.study.stopping.fronts import Fronts
from search.study.stopping.rung import places

# A front that the line goes through is ordered anew for every newcomer. Of a larger one, so many vectors, drawn
# evenly, stand for all, so that one costs the same however many trials there are.
_LARGEST_FRONT = 64


class ParetoRung:
    """A rung of several objectives, ranked by non-dominated front and within a front by its ε-net order.

    A newcomer goes on if it, or a vector equal to it, is among the first one in `reduction_factor` of all seen here.
    With one objective that is what `SortedRung` says.
    """

    def __init__(self, objectives: int, reduction_factor: int) -> None:
        self._reduction_factor = reduction_factor
        self._fronts = Fronts(objectives)

    def promising(self, gains: tuple[float, ...]) -> bool:
        """See Rung."""
        vector = np.array(gains, dtype=np.float64)
        self._fronts.add(vector)
        count = places(len(self._fronts), self._reduction_factor)
        self._fronts.sort_down_to(count)
        rank = self._fronts.rank_of(vector)
        left = count - self._fronts.before(rank)
        if left <= 0:
            return False
        front = self._fronts[rank]
        return left >= len(front) or _is_among_first(left, front, vector)


def _is_among_first(count: int, front: Gains, vector: Gains) -> bool:
    """Return whether a vector [M] of a front [N, M] is among the first `count` of its ε-net order."""
    if len(front) > _LARGEST_FRONT:
        drawn = np.linspace(0, len(front) - 1, _LARGEST_FRONT - 1).astype(np.intp)
        count = max(round(count * _LARGEST_FRONT / len(front)), 1)
        front = np.concatenate([front[drawn], vector[np.newaxis]])
    first = front[epsilon_net_order(front, count)]
    return bool((first == vector).all(axis=1).any())

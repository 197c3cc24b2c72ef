"""Several objectives at once: fronts, an order within a front, and the hypervolume that a choice dominates.

Throughout, `gains` is [N, M]: N vectors of M objectives, more of each being better; a NaN is worse than every number.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Stock Optuna's, exact for any number of objectives (WFG: While et al. 2012); private, so Optuna is pinned below 6.
from optuna._hypervolume import compute_hypervolume

Gains = NDArray[np.float64]

# How far beyond the worst of a front the reference lies, as a share of the front's range: at 0 the two ends of the
# front would dominate nothing and never be chosen.
_BEYOND = 0.1


def non_dominated(gains: Gains) -> NDArray[np.bool_]:
    """Return which vectors [N] no other dominates, that is, matches in every objective and beats in one."""
    losses, positions = _sorted_losses(gains)
    return _first_front(losses)[positions]


def non_dominated_ranks(gains: Gains) -> NDArray[np.intp]:
    """Return the front [N] that each vector is in: 0 for the Pareto front, 1 for that of the others, and so on."""
    losses, positions = _sorted_losses(gains)
    ranks = np.zeros(len(losses), dtype=np.intp)
    left = np.arange(len(losses))
    rank = 0
    while left.size:
        front = _first_front(losses[left])
        ranks[left[front]] = rank
        left = left[~front]
        rank += 1
    return ranks[positions]


def epsilon_net_order(gains: Gains, count: int | None = None) -> NDArray[np.intp]:
    """Return the positions of the vectors in an order whose every beginning is spread well over them.

    The best in the first objective comes first, then always the vector farthest from those before it, among equals the
    earlier (Clarkson 2006; EpsNet in Schmucker et al. 2021, arXiv 2106.12639). Distances are Euclidean, each objective
    scaled to the range that the vectors have in it.

    Args:
        gains: the vectors.
        count: how many positions are wanted; None is all.
    """
    vectors = normalised(gains)
    wanted = len(vectors) if count is None else min(count, len(vectors))
    order = np.empty(wanted, dtype=np.intp)
    distance = np.full(len(vectors), np.inf)
    chosen = int(np.argmax(vectors[:, 0])) if len(vectors) else 0
    for place in range(wanted):
        order[place] = chosen
        away = vectors - vectors[chosen]
        np.minimum(distance, np.einsum("nm,nm->n", away, away), out=distance)
        # A copy of a chosen vector is at distance 0, and still goes before the chosen themselves.
        distance[chosen] = -1.0
        chosen = int(np.argmax(distance))
    return order


def hypervolume(gains: Gains, reference: Sequence[float]) -> float:
    """Return the volume between `reference` [M] and the vectors that are better than it in every objective."""
    corner = np.asarray(reference, dtype=np.float64)
    beyond = gains[(gains > corner).all(axis=1)]
    return float(compute_hypervolume(-beyond, -corner)) if len(beyond) else 0.0


def hypervolume_subset(gains: Gains, k: int) -> NDArray[np.intp]:
    """Return the positions of `k` vectors that together dominate a large hypervolume, in the order of their choice.

    Greedy: each choice adds the most to those before it, which is at least 1 - 1/e of what the best `k` dominate
    (Guerreiro et al. 2016). Objectives are scaled to the range of the vectors, and the reference lies a tenth of it
    beyond the worst. Among equals the earlier goes first; copies come when nothing else is left that adds. All
    positions are returned where there are fewer than `k`.
    """
    vectors = normalised(gains) + _BEYOND
    reference = [0.0] * vectors.shape[1]
    chosen: list[int] = []
    reached = 0.0
    # What a vector adds only falls as others are chosen: it needs to be computed anew only when it comes to the top.
    heap = [(-volume, position, 0) for position, volume in enumerate(vectors.prod(axis=1).tolist())]
    heapq.heapify(heap)
    while heap and len(chosen) < k:
        _, position, known = heapq.heappop(heap)
        volume = hypervolume(vectors[[*chosen, position]], reference)
        if known == len(chosen):
            chosen.append(position)
            reached = volume
        else:
            heapq.heappush(heap, (reached - volume, position, len(chosen)))
    return np.array(chosen, dtype=np.intp)


def normalised(gains: Gains) -> Gains:
    """Return the vectors [N, M] with each objective scaled to [0, 1]; infinities are its ends, a NaN is 0.

    An objective in which all are equal is 0.
    """
    finite = np.isfinite(gains)
    low = gains.min(axis=0, where=finite, initial=np.inf)
    high = gains.max(axis=0, where=finite, initial=-np.inf)
    varied = high > low
    scaled = (gains - np.where(varied, low, 0.0)) / np.where(varied, high - low, 1.0)
    scaled = np.where(varied | ~finite, scaled, 0.0)
    return np.clip(np.nan_to_num(scaled, nan=0.0), 0.0, 1.0)


def _sorted_losses(gains: Gains) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the distinct vectors turned so that less is better, sorted, and where each of the given is among them."""
    losses, positions = np.unique(-np.where(np.isnan(gains), -np.inf, gains), axis=0, return_inverse=True)
    return losses, positions.reshape(-1)


def _first_front(losses: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which of distinct, sorted vectors are not dominated: none is by one that comes after it."""
    front = np.zeros(len(losses), dtype=bool)
    if losses.shape[1] <= 2:
        front[:1] = True
        least = np.minimum.accumulate(losses[:, -1])
        front[1:] = least[1:] < least[:-1]
        return front
    left = np.arange(len(losses))
    while left.size:
        first = left[0]
        front[first] = True
        left = left[(losses[left, 1:] < losses[first, 1:]).any(axis=1)]
    return front

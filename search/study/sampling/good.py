"""The trials that a tree-structured Parzen estimator takes for good, kept sorted from trial to trial."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.study._multi_objective import _fast_non_domination_rank
from optuna.trial import FrozenTrial, TrialState

Key: TypeAlias = tuple[int, float, float]
Losses: TypeAlias = NDArray[np.float64]

POOL = 2
"""How many vectors are kept for each good trial of several objectives: those of the best ranks."""


def losses_of(trial: FrozenTrial, directions: Sequence[StudyDirection]) -> tuple[float, ...] | None:
    """Return the values of a trial turned so that less is better; None unless it ended with finite values."""
    if trial.state != TrialState.COMPLETE or not all(math.isfinite(value) for value in trial.values):
        return None
    signs = [-1.0 if direction == StudyDirection.MAXIMIZE else 1.0 for direction in directions]
    return tuple(sign * value for sign, value in zip(signs, trial.values, strict=True))


def rank_key(trial: FrozenTrial, directions: Sequence[StudyDirection]) -> Key:
    """Return what orders trials as Optuna's TPE does, the best first.

    Trials that ended come by their value, then those stopped early, the longest first and then by their last value,
    then those that break constraints, the least broken first. Trials of several objectives that ended are equal here.
    """
    broken = sum(violation for violation in trial.constraints.values() if violation > 0)
    if broken:
        return (2, broken, 0.0)
    losses = losses_of(trial, directions)
    if losses is not None:
        return (0, losses[0] if len(losses) == 1 else 0.0, 0.0)
    if not trial.intermediate_values or len(directions) > 1:
        return (1, 1.0, 0.0)
    step, value = max(trial.intermediate_values.items())
    signed = -value if directions[0] == StudyDirection.MAXIMIZE else value
    return (1, -float(step), math.inf if math.isnan(value) else signed)


@dataclass
class GoodTrials:
    """The best `limit` at most of the trials learnt so far: of several objectives, those of the best ranks.

    One more trial costs a search in a sorted list and, with several objectives, the sorting of `POOL * limit` vectors.
    """

    directions: Sequence[StudyDirection]
    limit: int
    _order: list[tuple[Key, int]] = field(default_factory=list)
    _pool: list[tuple[tuple[float, ...], int]] = field(default_factory=list)
    _fronts: list[int] = field(default_factory=list)

    def learn(self, place: int, trial: FrozenTrial) -> None:
        """Take note of a trial that ended, the one at `place` in the caller's list."""
        key = rank_key(trial, self.directions)
        losses = losses_of(trial, self.directions)
        if len(self.directions) == 1 or key[0] > 0 or losses is None:
            bisect.insort(self._order, (key, place))
            del self._order[self.limit :]
            return
        self._pool.append((losses, place))
        best_first = best_ranks_first(np.array([vector for vector, _ in self._pool]))
        if len(self._pool) > POOL * self.limit:
            self._pool = [self._pool[i] for i in sorted(best_first[:-1])]
            worst = best_first[-1]
            best_first = [i - (i > worst) for i in best_first[:-1]]
        self._fronts = [self._pool[i][1] for i in best_first]

    def best(self, count: int) -> list[int]:
        """Return the places of the best `count` trials, at most `limit`."""
        count = min(count, self.limit)
        ended = self._fronts[:count]
        return ended + [place for _, place in self._order[: count - len(ended)]]


def best_ranks_first(losses: Losses) -> list[int]:
    """Return the indices of vectors [N, M] by non-dominated rank; those of one rank by crowding, the loneliest first.

    Deb et al. 2002, "A fast and elitist multiobjective genetic algorithm: NSGA-II".
    """
    ranks = _fast_non_domination_rank(losses)
    loneliest = -np.sum([_crowding(column, ranks) for column in losses.T], axis=0)
    return [int(i) for i in np.lexsort((np.arange(len(losses)), loneliest, ranks))]


def _crowding(column: Losses, ranks: NDArray[np.int64]) -> Losses:
    """Return how far apart the neighbours of each value within its rank are, over the width of the rank."""
    order = np.lexsort((column, ranks))
    values, fronts = column[order], ranks[order]
    begins = np.concatenate([[True], fronts[1:] != fronts[:-1]])
    ends = np.concatenate([begins[1:], [True]])
    below = np.where(begins, -np.inf, np.roll(values, 1))
    above = np.where(ends, np.inf, np.roll(values, -1))
    width = (values[ends] - values[begins])[np.cumsum(begins) - 1]
    distance = np.zeros(len(column))
    distance[order] = np.where(width > 0, above - below, 0.0) / np.where(width > 0, width, 1.0)
    return distance

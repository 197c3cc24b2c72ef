"""The median rule (Golovin et al. 2017, Vizier): stop what is worse than half of the finished trials were by then."""

from __future__ import annotations

import math
from bisect import insort
from collections import defaultdict

from search.study.stopping.observation import Observation

_Scale = tuple[str | None, str]


class MedianStopping:
    """Compares the best gain of a trial so far with the median of the finished trials at the same round.

    Decides as Optuna's MedianPruner does, for the trials of a source and a fidelity as if they were a study of their
    own: nothing stops before `startup_trials` of them have finished. One objective only.

    Args:
        startup_trials: finished trials before which nothing stops.
        first_round: round after which a trial may first be stopped.
    """

    def __init__(self, startup_trials: int, first_round: int) -> None:
        self._startup_trials = startup_trials
        self._first_round = first_round
        self._observed: defaultdict[int, dict[_Scale, dict[int, float]]] = defaultdict(dict)
        self._finished: defaultdict[_Scale, int] = defaultdict(int)
        self._gains: defaultdict[tuple[_Scale, int], list[float]] = defaultdict(list)

    def hopeless(self, observation: Observation) -> bool:
        """See EarlyStopping."""
        scale = (observation.source, observation.fidelity)
        (gain,) = observation.gains
        own = self._observed[observation.trial].setdefault(scale, {})
        own.setdefault(observation.rung_round, gain)
        if self._finished[scale] < max(self._startup_trials, 1) or observation.rung_round < self._first_round:
            return False
        values = [value for value in own.values() if not math.isnan(value)]
        if not values:
            return True
        return max(values) < _median(self._gains[scale, observation.rung_round])

    def finished(self, trial: int) -> None:
        """See EarlyStopping: from now on the trial is one of those that others are compared with."""
        for scale, own in self._observed.pop(trial, {}).items():
            self._finished[scale] += 1
            for rung_round, gain in own.items():
                if not math.isnan(gain):
                    insort(self._gains[scale, rung_round], gain)


def _median(ordered: list[float]) -> float:
    """Return the median of sorted numbers, NaN if there are none: nothing is less than that."""
    if not ordered:
        return math.nan
    upper = ordered[len(ordered) // 2]
    lower = ordered[(len(ordered) - 1) // 2]
    # In this form it is bit by bit what numpy's percentile gives, and so Optuna's median.
    return upper - (upper - lower) * 0.5

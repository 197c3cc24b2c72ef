"""Successive halving as trials come (ASHA, Li et al. 2020, arXiv 1810.05934): one in so many goes on."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable

from search.study.stopping.observation import Observation
from search.study.stopping.rung import Rung


class SuccessiveHalving:
    """Compares the trials of a source and a fidelity after `first_round` × `reduction_factor`^k of its rounds.

    Decides as Optuna's SuccessiveHalvingPruner does: a trial that skips a point of comparison is compared there when it
    is next seen, and one without a value stops.

    Args:
        first_round: round after which a trial may first be stopped.
        reduction_factor: ratio between one point of comparison and the next.
        new_rung: makes an empty rung.
    """

    def __init__(self, first_round: int, reduction_factor: int, new_rung: Callable[[], Rung]) -> None:
        self._first_round = first_round
        self._reduction_factor = reduction_factor
        self._rungs: defaultdict[Hashable, Rung] = defaultdict(new_rung)
        self._passed: defaultdict[tuple[int, str], int] = defaultdict(int)

    def hopeless(self, observation: Observation) -> bool:
        """See EarlyStopping."""
        climber = (observation.trial, observation.fidelity)
        while observation.rung_round >= self._first_round * self._reduction_factor ** self._passed[climber]:
            if _has_no_value(observation):
                return True
            rung = self._rungs[observation.source, observation.fidelity, self._passed[climber]]
            self._passed[climber] += 1
            if not rung.promising(observation.gains):
                return True
        return False

    def finished(self, trial: int) -> None:
        """Nothing: every trial counts, whatever becomes of it."""


class RungEnds:
    """Compares the trials of a source at the end of a rung of the fidelity ladder.

    Args:
        new_rung: makes an empty rung.
    """

    def __init__(self, new_rung: Callable[[], Rung]) -> None:
        self._rungs: defaultdict[Hashable, Rung] = defaultdict(new_rung)
        self._known: set[tuple[int, str]] = set()

    def hopeless(self, observation: Observation) -> bool:
        """See EarlyStopping; False within a rung."""
        if not observation.rung_done or (observation.trial, observation.fidelity) in self._known:
            return False
        if _has_no_value(observation):
            return True
        self._known.add((observation.trial, observation.fidelity))
        return not self._rungs[observation.source, observation.fidelity].promising(observation.gains)

    def finished(self, trial: int) -> None:
        """Nothing: every trial counts, whatever becomes of it."""


def _has_no_value(observation: Observation) -> bool:
    return any(math.isnan(gain) for gain in observation.gains)

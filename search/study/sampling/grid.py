"""Every candidate of a finite space once, in a random order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, TypeAlias

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.space.values import Stored
from search.study.sampling.kinds import Part

Point: TypeAlias = frozenset[tuple[str, Stored]]


class GridSampler(BaseSampler):
    """Proposes the candidates of a finite conditional space in a random order, none twice until all have been tried.

    The order follows from the run's seed alone, so that a resumed run passes over what its trials have tried, and goes
    on. A trial that is given some of its parameters takes the others from the next candidate, which remains the next.
    """

    def __init__(self, part: Part) -> None:
        self._space = part.space
        self._seed = part.seed
        self._size = int(part.space.size())
        # Only for what is not of the space, which nobody asks for.
        self._random = RandomSampler(seed=part.optuna_seed)
        self._read = 0
        self._open: list[int] = []
        self._tried: dict[Point, int] = {}
        self._round = 0
        self._order = shuffled(self._size, self._seed)
        self._next: dict[str, Stored] | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See BaseSampler."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See BaseSampler."""
        return {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Find the candidate for this trial."""
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        self._open += range(self._read, len(trials))
        self._read = len(trials)
        # The parameters of a trial are written down by the time that the next one is begun.
        begun = [
            number for number in self._open if number != trial.number and trials[number].state != TrialState.WAITING
        ]
        for number in begun:
            point = _point(trials[number].params)
            self._tried[point] = self._tried.get(point, 0) + 1
        self._open = [number for number in self._open if number not in begun]
        while self._next is None or self._tried.get(_point(self._next), 0) > self._round:
            self._next = self._following()

    def _following(self) -> dict[str, Stored]:
        index = next(self._order, None)
        if index is None:
            self._round += 1
            self._order = shuffled(self._size, self._seed + self._round)
            index = next(self._order)
        return self._space.candidate_at(index)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See BaseSampler."""
        if self._next is None or param_name not in self._next:
            return self._random.sample_independent(study, trial, param_name, param_distribution)
        return self._next[param_name]


def shuffled(size: int, seed: int) -> Iterator[int]:
    """Yield 0 to `size - 1` in a random order, in memory for those that have been yielded only.

    Fisher and Yates's shuffle, of which the entries that it has not touched are not kept.
    """
    generator = random.Random(seed)
    moved: dict[int, int] = {}
    for place in range(size):
        drawn = generator.randrange(place, size)
        yield moved.get(drawn, drawn)
        moved[drawn] = moved.pop(place, place)


def _point(params: dict[str, Any]) -> Point:
    # Twelve digits, as 0.1 + 2 × 0.1 is no other step than 0.3.
    rounded = {name: float(f"{v:.12g}") if isinstance(v, float) else v for name, v in params.items()}
    return frozenset(rounded.items())

"""NSGA-II on conditional spaces, whose generations follow from the history alone."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import NSGAIISampler
from optuna.samplers.nsgaii._constraints_evaluation import _constrained_dominates
from optuna.study import Study
from optuna.study._constrained_optimization import _is_constrained_optimization
from optuna.study._multi_objective import _dominates
from optuna.trial import FrozenTrial, TrialState

from search.study.sampling.history import History
from search.study.sampling.kinds import Part

POPULATION = 50
"""Most trials in a generation, Optuna's number."""
GENERATIONS = 10
"""A search of fewer trials has smaller generations, so that it has at least so many of them."""


def nsga2(part: Part) -> NSGAIISampler:
    """Return NSGA-II (Deb et al. 2002) with generations of a tenth of the trials, from 8 to `POPULATION`."""
    population = min(POPULATION, max(8, part.trials // GENERATIONS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return ConditionalNSGAIISampler(population, part.optuna_seed)


class ConditionalNSGAIISampler(NSGAIISampler):
    """Optuna's NSGA-II with a crossover for conditional parameters, and generations that need no bookkeeping.

    Optuna's crosses only parameters that every trial has, and draws the others at random for ever. Here a child takes
    each parameter from one of its parents that has it; one that neither has is drawn at random if it is asked for.

    Generation g is the g-th lot of `population` trials that ended, so that a resumed run goes on where it was, and
    trials of earlier runs count as generations too.
    """

    def __init__(self, population: int, seed: int) -> None:
        super().__init__(population_size=population, seed=seed, child_generation_strategy=self._child)
        self._history = History()
        self._size = population
        self._ended: list[FrozenTrial] = []
        self._looked_at = 0
        self._elite: list[list[FrozenTrial]] = [[]]
        self._space: dict[str, BaseDistribution] = {}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See BaseSampler."""
        self._history.follow(study, trial)
        for learnt in itertools.islice(self._history.learnt, self._looked_at, None):
            if learnt.state == TrialState.COMPLETE:
                self._ended.append(learnt)
                self._space.update({name: d for name, d in learnt.distributions.items() if not d.single()})
        self._looked_at = len(self._history.learnt)
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See BaseSampler."""
        generation = len(self._ended) // self._size
        while len(self._elite) <= generation:
            begin = (len(self._elite) - 1) * self._size
            pool = self._ended[begin : begin + self._size] + self._elite[-1]
            self._elite.append(self._elite_population_selection_strategy(study, pool))
        parents = self._elite[generation]
        return self._child_generation_strategy(study, search_space, parents) if parents else {}

    def _child(self, study: Study, space: dict[str, BaseDistribution], population: list[FrozenTrial]) -> dict[str, Any]:
        rng = self._rng.rng
        first = _parent(study, population, rng)
        second = _parent(study, [trial for trial in population if trial is not first], rng)
        names = [name for name in space if name in first.params or name in second.params]
        child = {}
        for name in names:
            # Each parameter is drawn anew with probability 1 / n, which is what leaving it out comes to.
            if rng.rand() < 1 / len(names):
                continue
            having = [parent for parent in (first, second) if name in parent.params]
            child[name] = having[rng.randint(len(having))].params[name]
        return child


def _parent(study: Study, population: Sequence[FrozenTrial], rng: np.random.RandomState) -> FrozenTrial:
    """Return the better of two trials drawn at random."""
    dominates = _constrained_dominates if _is_constrained_optimization(population) else _dominates
    one, other = population[rng.choice(len(population))], population[rng.choice(len(population))]
    return one if dominates(one, other, study.directions) else other

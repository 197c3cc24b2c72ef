"""A tree-structured Parzen estimator whose suggestions cost the same however many trials there have been."""

from __future__ import annotations

import bisect
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.samplers._tpe.sampler import default_weights
from optuna.search_space.group_decomposed import _SearchSpaceGroup
from optuna.study import Study
from optuna.trial import FrozenTrial

from search.study.sampling.good import GoodTrials
from search.study.sampling.parzen import Box, Floats, Parzen
from search.study.sampling.strata import SourceStudy

GOOD = 25
"""Most trials that the density of good ones is made of: Optuna's limit for one objective, and here for several."""
OTHERS = 100
"""Most trials that the density of the others is made of."""
LATEST = 25
"""How many of these are the latest ones, which Optuna gives full weight; the rest are drawn from all before."""
CANDIDATES = 24
"""Points drawn from the density of good trials, of which the most promising is proposed."""


class BoundedTPESampler(BaseSampler):
    """Optuna's multivariate, grouped TPE (Bergstra et al. 2011) with densities of a bounded number of trials.

    The good trials are the best tenth of all, as in Optuna's, but `GOOD` at most also with several objectives: the
    first fronts, and of the last of them the least crowded. Of the others, the latest and a uniform sample of those
    before stand for all. Trials that are still running count among the others, so that a point that is being tried
    does not attract the next (Optuna's constant liar).

    The history must be the one that every call's study is.
    """

    def __init__(self, history: SourceStudy, seed: int, startup_trials: int, good: int = GOOD, others: int = OTHERS):
        self._history = history
        self._startup = startup_trials
        self._others = others
        self._random = RandomSampler(seed=seed)
        self._rng = np.random.default_rng(seed)
        self._good = GoodTrials(history.directions, good)
        self._points = _Points()
        self._count = 0
        self._sample: list[int] = []
        self._branches = _Branches()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See BaseSampler."""
        for learnt in self._history.learnt[self._count :]:
            self._learn(learnt)
        if self._count < self._startup:
            return {}
        return {name: distribution for box in self._branches.boxes for name, distribution in box.space.items()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See BaseSampler."""
        if not search_space:
            return {}
        best = sorted(self._good.best(-(-self._count // 10)))
        latest = range(max(0, self._count - LATEST), self._count)
        # In the order of time, by which the others are weighted.
        others = sorted({*self._sample, *latest} - set(best))
        running = self._points.rows(self._history.running)
        found: dict[str, Any] = {}
        for box in self._branches.boxes:
            good, other = self._points.of(box, best), self._points.of(box, others, running)
            liked = Parzen(box, good, np.ones(len(good) + 1))
            disliked = Parzen(box, other, np.append(default_weights(len(other)), 1.0))
            candidates = liked.sample(self._rng, CANDIDATES)
            promise = liked.log_density(candidates) - disliked.log_density(candidates)
            found.update(box.external(candidates[int(np.argmax(promise))]))
        return found

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See BaseSampler."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _learn(self, trial: FrozenTrial) -> None:
        self._points.append(trial)
        self._good.learn(self._count, trial)
        self._branches.learn(trial)
        self._draw(self._count - LATEST)
        self._count += 1

    def _draw(self, leaving: int) -> None:
        """Let the trial at place `leaving`, no longer one of the latest, into the uniform sample of those before.

        Vitter 1985, "Random sampling with a reservoir", algorithm R.
        """
        if leaving < 0:
            return
        if len(self._sample) < self._others - LATEST:
            self._sample.append(leaving)
            return
        drawn = int(self._rng.integers(leaving + 1))
        if drawn < len(self._sample):
            del self._sample[drawn]
            bisect.insort(self._sample, leaving)


class _Branches:
    """The parameters that trials have together: a box for each set of them that no trial has had a part of only."""

    def __init__(self) -> None:
        self.boxes: list[Box] = []
        self._groups = _SearchSpaceGroup()
        self._seen: set[frozenset[str]] = set()

    def learn(self, trial: FrozenTrial) -> None:
        branch = frozenset(trial.distributions)
        if branch in self._seen:
            return
        self._seen.add(branch)
        self._groups.add_distributions(trial.distributions)
        varying = [
            # Sorted, as Python's order of a set of names is another in every process.
            {name: space[name] for name in sorted(space) if not space[name].single()}
            for space in self._groups.search_spaces
        ]
        self.boxes = [Box(space) for space in sorted((space for space in varying if space), key=list)]


class _Points:
    """The internal values of trials, a row a trial and a column a parameter; NaN where a trial does not have it."""

    def __init__(self) -> None:
        self._columns: dict[str, int] = {}
        self._rows = np.full((64, 16), np.nan)
        self._count = 0

    def append(self, trial: FrozenTrial) -> None:
        row = self.rows([trial])[0]
        if self._count == len(self._rows):
            self._rows = np.vstack([self._rows, np.full_like(self._rows, np.nan)])
        self._rows[self._count] = row
        self._count += 1

    def rows(self, trials: list[FrozenTrial]) -> Floats:
        """Return the values of trials, [N, columns]."""
        for name in {name for trial in trials for name in trial.params} - self._columns.keys():
            self._columns[name] = len(self._columns)
        if len(self._columns) > self._rows.shape[1]:
            self._rows = np.hstack([self._rows, np.full_like(self._rows, np.nan)])
        found = np.full((len(trials), self._rows.shape[1]), np.nan)
        for row, trial in zip(found, trials, strict=True):
            for name, value in trial.params.items():
                row[self._columns[name]] = trial.distributions[name].to_internal_repr(value)
        return found

    def of(self, box: Box, places: list[int], more: Floats | None = None) -> Floats:
        """Return the points of a box, [N, D], at these places and in further rows: of those that have all of it."""
        columns = [self._columns[name] for name in box.space]
        rows = self._rows[np.ix_(places, columns)]
        if more is not None:
            rows = np.vstack([rows, more[:, columns]])
        found: Floats = rows[~np.isnan(rows).any(axis=1)]
        return found

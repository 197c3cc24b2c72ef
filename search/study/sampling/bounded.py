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
"""Most trials that the density of good ones is made of, as in Optuna's."""
GOOD_OF_SEVERAL = 50
"""The same with several objectives, where they must cover a front; Optuna sets no limit."""
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

    def __init__(
        self,
        history: SourceStudy,
        seed: int,
        startup_trials: int,
        good: int | None = None,
        others: int = OTHERS,
    ) -> None:
        self._history = history
        self._startup = startup_trials
        self._others = others
        self._random = RandomSampler(seed=seed)
        self._rng = np.random.default_rng(seed)
        of_several = len(history.directions) > 1
        self._good = GoodTrials(history.directions, good or (GOOD_OF_SEVERAL if of_several else GOOD))
        self._points = _Points()
        self._count = 0
        self._sample: list[int] = []
        self._branches = _Branches()
        self._best: list[int] = []
        self._rest: list[int] = []
        self._running: Floats = np.empty((0, 0))
        self._drawn: dict[str, Any] = {}
        self._liked: dict[int, Parzen] = {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Learn from the trials that have ended since the last one began."""
        for learnt in self._history.learnt[self._count :]:
            self._learn(learnt)
        best = sorted(self._good.best(-(-self._count // 10)))
        if best != self._best:
            self._best, self._liked = best, {}
        latest = range(max(0, self._count - LATEST), self._count)
        # In the order of time, by which the others are weighted.
        self._rest = sorted({*self._sample, *latest} - set(best))
        self._running = self._points.rows(self._history.running)
        self._drawn = {}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return nothing: parameters are drawn when they are asked for, which those of other branches never are."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See BaseSampler."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the value of a parameter, drawn together with the others that trials have it with."""
        if self._count >= self._startup and param_name not in self._drawn:
            place = self._branches.places.get(param_name)
            # A range that is another than it was is not what the densities are over.
            if place is not None and self._branches.boxes[place].space[param_name] == param_distribution:
                self._drawn.update(self._most_promising(place))
        if param_name in self._drawn:
            return self._drawn[param_name]
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _most_promising(self, place: int) -> dict[str, Any]:
        """Return the candidate whose density among the good trials is highest over that among the others."""
        box = self._branches.boxes[place]
        if place not in self._liked:
            good = self._points.of(box, self._best)
            self._liked[place] = Parzen(box, good, np.ones(len(good) + 1))
        other = self._points.of(box, self._rest, self._running)
        disliked = Parzen(box, other, np.append(default_weights(len(other)), 1.0))
        candidates = self._liked[place].sample(self._rng, CANDIDATES)
        promise = self._liked[place].log_density(candidates) - disliked.log_density(candidates)
        return box.external(candidates[int(np.argmax(promise))])

    def _learn(self, trial: FrozenTrial) -> None:
        self._points.append(trial)
        self._good.learn(self._count, trial)
        if self._branches.learn(trial):
            self._liked = {}
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
    """The parameters that trials have together: a box for each set of them that no trial has had a part of only.

    Attributes:
        boxes: of the parameters that vary.
        places: of the box that a parameter is in.
    """

    def __init__(self) -> None:
        self.boxes: list[Box] = []
        self.places: dict[str, int] = {}
        self._groups = _SearchSpaceGroup()
        self._seen: set[frozenset[str]] = set()

    def learn(self, trial: FrozenTrial) -> bool:
        """Return whether a trial is of a branch that none before was of, so that the boxes are others."""
        branch = frozenset(trial.distributions)
        if branch in self._seen:
            return False
        self._seen.add(branch)
        self._groups.add_distributions(trial.distributions)
        varying = [
            # Sorted, as Python's order of a set of names is another in every process.
            {name: space[name] for name in sorted(space) if not space[name].single()}
            for space in self._groups.search_spaces
        ]
        self.boxes = [Box(space) for space in sorted((space for space in varying if space), key=list)]
        self.places = {name: place for place, box in enumerate(self.boxes) for name in box.space}
        return True


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

"""A tree-structured Parzen estimator whose suggestions cost the same however many trials there have been."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.samplers._tpe.sampler import default_weights
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from search.study.sampling.good import GoodTrials
from search.study.sampling.history import History
from search.study.sampling.observed import Branches, Points
from search.study.sampling.parzen import Floats, Parzen

GOOD = 25
"""Most trials that the density of good ones is made of, as in Optuna's."""
GOOD_OF_SEVERAL = 100
"""The same with several objectives, where they must cover a front; Optuna sets no limit."""
OTHERS = 300
"""Most trials that the density of the others is made of."""
LATEST = 25
"""How many of these are the latest ones, which Optuna gives full weight; the rest are drawn from all before."""
CANDIDATES = 24
"""Points drawn from the density of good trials, of which the most promising is proposed."""


class BoundedTPESampler(BaseSampler):
    """Optuna's multivariate, grouped TPE (Bergstra et al. 2011) with densities of a bounded number of trials.

    The good trials are the best tenth of all, as in Optuna's, but no more than a limit with several objectives either:
    the first fronts, and of the last of them the least crowded. Of the others, the latest and a uniform sample of those
    before stand for all. Trials that are still running count among the others, so that a point that is being tried
    does not attract the next (Optuna's constant liar). What the bounds cost in quality and save in seconds, against
    Optuna's on the whole history, is in benchmarks/results/sampler_quality.md.

    Args:
        directions: of the objectives.
        seed: of all that is drawn.
        startup_trials: trials at random before the densities take over.
        good: most good trials; None is the limit for as many objectives as there are.
        others: most other trials that have ended.
    """

    def __init__(
        self,
        directions: Sequence[StudyDirection],
        seed: int,
        startup_trials: int,
        good: int | None = None,
        others: int = OTHERS,
    ) -> None:
        self._history = History()
        self._startup = startup_trials
        self._others = others
        self._random = RandomSampler(seed=seed)
        self._rng = np.random.default_rng(seed)
        self._good = GoodTrials(directions, good or (GOOD_OF_SEVERAL if len(directions) > 1 else GOOD))
        self._points = Points()
        self._count = 0
        self._sample: list[int] = []
        self._branches = Branches()
        self._best: list[int] = []
        self._rest: list[int] = []
        self._running: Floats = np.empty((0, 0))
        self._drawn: dict[str, Any] = {}
        self._liked: dict[int, Parzen] = {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Learn from the trials that have ended since the last one began."""
        self._history.follow(study, trial)
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

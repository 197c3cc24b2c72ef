"""A quasi-random sequence over a conditional space."""

from __future__ import annotations

import math
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from scipy.stats.qmc import Sobol

from search.space import Constant
from search.study.sampling.kinds import Part


class QuasiRandomSampler(BaseSampler):
    """Sobol's sequence, scrambled, with a coordinate for every parameter of the space, whether it is active or not.

    So conditional parameters too fill their ranges evenly, which Optuna's own quasi-random sampler draws at random. A
    trial takes the point that belongs to its place among the trials of the study: nothing is lost by a resumption.
    """

    def __init__(self, part: Part) -> None:
        names = [parameter.name for parameter in part.space.ordered if not isinstance(parameter, Constant)]
        self._coordinates = {name: place for place, name in enumerate(names)}
        # Always the run's own seed: the sequence goes on by the number of trials in the study.
        self._sequence = Sobol(len(names), scramble=True, rng=part.seed % 2**32)
        self._point: list[float] = []

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Move to the point of this trial."""
        self._sequence.reset()
        if trial.number:  # the sequence does not go forward by nothing
            self._sequence.fast_forward(trial.number)
        self._point = self._sequence.random(1)[0].tolist()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See BaseSampler."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See BaseSampler."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See BaseSampler."""
        return value_at(param_distribution, self._point[self._coordinates[param_name]])


def value_at(distribution: BaseDistribution, place: float) -> Any:
    """Return the value below which lies the share `place`, in [0, 1), of a distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(place * len(distribution.choices))]
    if not isinstance(distribution, IntDistribution | FloatDistribution):
        raise TypeError(f"no values of {distribution} are known")
    low, high, step = float(distribution.low), float(distribution.high), distribution.step
    if isinstance(distribution, IntDistribution) and distribution.log:
        # As wide a stretch for the first and the last whole number as for the others.
        value = math.exp(math.log(low - 0.5) + place * (math.log(high + 0.5) - math.log(low - 0.5)))
        return min(max(round(value), distribution.low), distribution.high)
    if step is None:
        if distribution.log:
            return min(max(math.exp(math.log(low) + place * (math.log(high) - math.log(low))), low), high)
        return low + place * (high - low)
    count = round((high - low) / step) + 1
    return distribution.low + int(place * count) * step

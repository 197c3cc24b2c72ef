"""Sampling and early stopping within each screening source, as if each had a study of its own.

A proxy that trains on real data scores higher than one that trains on as many gradients of ten images a class, whatever
their tickets are worth: proxy accuracies of different sources are not on one scale. Compared with each other, the
sources with the lower scale would lose their trials before anyone knew. So trials take turns over the sources, each is
compared with those of its own source, and the sources meet where they can be compared: in retraining.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

SOURCE = "source"


def source_of(trial: FrozenTrial) -> str | None:
    """Return the source that a trial has or was enqueued with; None where the space has no choice of it."""
    enqueued = trial.system_attrs.get("fixed_params", {})
    source: str | None = enqueued.get(SOURCE, trial.params.get(SOURCE))
    return source


class _SourceStudy(Study):
    """The trials of one source, as a sampler or a pruner asks for them."""

    def __init__(self, study: Study, source: str | None) -> None:
        super().__init__(study.study_name, study._storage, sampler=study.sampler, pruner=study.pruner)
        self._source = source

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        return self._get_trials(deepcopy, states)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        found = super()._get_trials(deepcopy, states, use_cache)
        return [trial for trial in found if source_of(trial) == self._source]


class WithinSourceSampler(BaseSampler):
    """A sampler for each source, made by `factory` from its name (None where the space has no choice of it)."""

    def __init__(self, factory: Callable[[str | None], BaseSampler]) -> None:
        self._factory = factory
        self._samplers: dict[str | None, BaseSampler] = {}

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        source = source_of(trial)
        if source not in self._samplers:
            self._samplers[source] = self._factory(source)
        return self._samplers[source]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See BaseSampler."""
        return self._of(trial).infer_relative_search_space(_SourceStudy(study, source_of(trial)), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See BaseSampler."""
        return self._of(trial).sample_relative(_SourceStudy(study, source_of(trial)), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See BaseSampler."""
        own = _SourceStudy(study, source_of(trial))
        return self._of(trial).sample_independent(own, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """See BaseSampler."""
        self._of(trial).before_trial(_SourceStudy(study, source_of(trial)), trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """See BaseSampler."""
        self._of(trial).after_trial(_SourceStudy(study, source_of(trial)), trial, state, values)


class WithinSourcePruner(BasePruner):
    """Lets `pruner` see only the trials of the source in question."""

    def __init__(self, pruner: BasePruner) -> None:
        self._pruner = pruner

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """See BasePruner."""
        return self._pruner.prune(_SourceStudy(study, source_of(trial)), trial)

"""Sampling within each screening source, as if each had a study of its own.

A proxy that trains on real data scores higher than one that trains on as many gradients of ten images a class, whatever
their tickets are worth: proxy accuracies of different sources are not on one scale. Compared with each other, the
sources with the lower scale would lose their trials before anyone knew. So trials take turns over the sources, each is
compared with those of its own source, and the sources meet where they can be compared: in retraining.
"""

from __future__ import annotations

import bisect
import copy
from collections.abc import Callable, Container, Sequence
from typing import Any, TypeAlias, cast

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

SOURCE = "source"


def source_of(trial: FrozenTrial) -> str | None:
    """Return the source that a trial has or was enqueued with; None where the space has no choice of it."""
    enqueued = trial.system_attrs.get("fixed_params", {})
    source: str | None = enqueued.get(SOURCE, trial.params.get(SOURCE))
    return source


class _OwnAttributes:
    """A storage with attributes of the study that one source has for itself.

    Samplers keep there what they know of a study, such as the parents of a generation: of one source, not of all.
    """

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage
        self._attributes: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._attributes

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._attributes[key] = value


class SourceStudy(Study):
    """The trials of one source, as a sampler asks for them.

    The lists are kept from trial to trial, so that a suggestion costs no look at every trial of the study.

    Attributes:
        numbers: of all its trials, ascending.
        learnt: its COMPLETE and PRUNED trials, in the order in which they were found to have ended.
        running: its trials that have begun and not ended, by number, without the one that is being proposed.
    """

    def __init__(self, study: Study) -> None:
        super().__init__(study.study_name, study._storage, sampler=study.sampler, pruner=study.pruner)
        self._storage = cast(BaseStorage, _OwnAttributes(study._storage))
        self.numbers: list[int] = []
        self.learnt: list[FrozenTrial] = []
        self.running: list[FrozenTrial] = []
        self.snapshot: list[FrozenTrial] = []

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """Return its trials by number, in these states or all."""
        return self._get_trials(deepcopy, states)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        own = [self.snapshot[number] for number in self.numbers]
        found = [trial for trial in own if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found


Factory: TypeAlias = Callable[[str | None, SourceStudy], BaseSampler]
"""Makes the sampler of a source (None where the space has no choice of it) that has this history."""


class _Histories:
    """The trials of a study by source; `follow` takes note of what has happened since it was last called."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._seen = 0
        self._open: list[int] = []
        self.of: dict[str | None, SourceStudy] = {}

    def belongs_to(self, study: Study) -> bool:
        return study._storage is self._study._storage and study._study_id == self._study._study_id

    def history_of(self, trial: FrozenTrial) -> SourceStudy:
        source = source_of(trial)
        if source not in self.of:
            self.of[source] = SourceStudy(self._study)
        return self.of[source]

    def follow(self, current: FrozenTrial) -> None:
        """Read the study; `current` is the trial that is to be proposed."""
        trials = self._study._storage.get_all_trials(self._study._study_id, deepcopy=False)
        self._open.extend(range(self._seen, len(trials)))
        self._seen = len(trials)
        still_open = []
        for history in self.of.values():
            history.running = []
        for number in self._open:
            history = self.history_of(trials[number])
            self._enter(history, number)
            state = trials[number].state
            if state in (TrialState.COMPLETE, TrialState.PRUNED):
                history.learnt.append(trials[number])
            elif not state.is_finished():
                still_open.append(number)
                if state == TrialState.RUNNING and number != current.number:
                    history.running.append(trials[number])
        self._open = still_open
        for history in self.of.values():
            history.snapshot = trials

    def _enter(self, history: SourceStudy, number: int) -> None:
        place = bisect.bisect_left(history.numbers, number)
        if place < len(history.numbers) and history.numbers[place] == number:
            return
        # One that chose its source only while it was being suggested was first entered under no source.
        unknown = self.of.get(None)
        if unknown is not None and history is not unknown and number in unknown.numbers:
            unknown.numbers.remove(number)
        history.numbers.insert(place, number)


class WithinSourceSampler(BaseSampler):
    """A sampler for each source, made by `factory` when the first trial of the source is proposed."""

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._histories: _Histories | None = None
        self._samplers: dict[str | None, BaseSampler] = {}

    def _in(self, study: Study) -> _Histories:
        if self._histories is None or not self._histories.belongs_to(study):
            self._histories = _Histories(study)
            self._samplers = {}
        return self._histories

    def _of(self, study: Study, trial: FrozenTrial) -> tuple[BaseSampler, SourceStudy]:
        history = self._in(study).history_of(trial)
        source = source_of(trial)
        if source not in self._samplers:
            self._samplers[source] = self._factory(source, history)
        return self._samplers[source], history

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See BaseSampler."""
        sampler, history = self._of(study, trial)
        return sampler.infer_relative_search_space(history, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See BaseSampler."""
        sampler, history = self._of(study, trial)
        return sampler.sample_relative(history, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See BaseSampler."""
        sampler, history = self._of(study, trial)
        return sampler.sample_independent(history, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """See BaseSampler."""
        self._in(study).follow(trial)
        sampler, history = self._of(study, trial)
        sampler.before_trial(history, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """See BaseSampler."""
        if self._histories is None:  # a trial of an earlier driver, told before any is proposed
            self._in(study).follow(trial)
        sampler, history = self._of(study, trial)
        sampler.after_trial(history, trial, state, values)

"""The studies that samplers see: one a source, in memory, so that a suggestion never waits for a disk or a database."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from search.space import Space
from search.study.sampling import SOURCE, Part, build_sampler, source_of
from search.study.trials import constraint_key, has_rounds, is_stopped_early


class MemoryStudies:
    """The studies of all sources; see `search.study.sampling.sources` for why they are apart.

    Args:
        sampler: what the config calls it.
        parts: of the search, by source.
        known: trials from before, those of earlier runs first.
    """

    def __init__(self, sampler: str, parts: Mapping[str | None, Part], known: Sequence[FrozenTrial]) -> None:
        self.spaces = {source: part.space for source, part in parts.items()}
        self._studies: dict[str | None, MemoryStudy] = {}
        self._known: dict[int, MemoryTrial] = {}
        for source, part in parts.items():
            places = [place for place, trial in enumerate(known) if source_of(trial) == source]
            own = replace(part, known=[_slim(known[place]) for place in places])
            self._studies[source] = study = MemoryStudy(own.directions, build_sampler(sampler, own), own.known)
            self._known.update(zip(places, study.known, strict=True))

    def known(self, place: int) -> MemoryTrial:
        """Return one of the trials from before, by its place among all of them."""
        return self._known[place]

    def ask(self, source: str | None, fixed: Mapping[str, Any]) -> tuple[MemoryTrial, dict[str, Any]]:
        """Begin a trial of a source; return it and its candidate, nested as the space is.

        The parameters in `fixed` have these (stored) values; the rest is for the sampler.
        """
        return self._studies[source].ask(self.spaces[source], fixed)


class MemoryStudy:
    """An Optuna study in memory that holds parameters, values and constraints, and nothing else of a trial.

    Args:
        directions: of the objectives.
        sampler: draws the proposals.
        known: trials from before.
    """

    def __init__(
        self, directions: Sequence[StudyDirection], sampler: BaseSampler, known: Sequence[FrozenTrial] = ()
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.storage = InMemoryStorage()
        self.study = optuna.create_study(
            storage=self.storage, sampler=sampler, pruner=optuna.pruners.NopPruner(), directions=list(directions)
        )
        self.known = [self._add(trial) for trial in known]

    def ask(self, space: Space, fixed: Mapping[str, Any]) -> tuple[MemoryTrial, dict[str, Any]]:
        """See `MemoryStudies.ask`."""
        enqueued = {"fixed_params": dict(fixed)} if fixed else {}
        begun = self._add(create_trial(state=TrialState.RUNNING, system_attrs=enqueued))
        return begun, space.suggest(Trial(self.study, begun.identifier))

    def _add(self, trial: FrozenTrial) -> MemoryTrial:
        return MemoryTrial(self, self.storage.create_new_trial(self.study._study_id, template_trial=trial))


@dataclass(frozen=True)
class MemoryTrial:
    """A trial of a study in memory."""

    of: MemoryStudy
    identifier: int

    def drawn(self) -> FrozenTrial:
        """Return what has been drawn."""
        return self.of.storage.get_trial(self.identifier)

    def report(self, step: int, value: float) -> None:
        """Tell the value of a round, for samplers that learn from trials that were stopped; of one objective only."""
        self.of.storage.set_trial_intermediate_value(self.identifier, step, value)

    def constrain(self, excess: Mapping[str, float]) -> None:
        """Tell by how much each constraint is broken (above 0) or kept."""
        for name, value in excess.items():
            self.of.storage.set_trial_system_attr(self.identifier, constraint_key(name), value)

    def tell(self, state: TrialState, values: Sequence[float] | None) -> None:
        """End the trial."""
        number = self.of.storage.get_trial_number_from_id(self.identifier)
        self.of.study.tell(number, values, state, skip_if_finished=True)


def _slim(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial without its source and our attributes: storage copies all that it is given.

    One that has collapsed failed, as far as samplers are concerned: as it went far, they would take it for a good one.
    """
    slim = copy.copy(trial)
    slim._user_attrs = {}
    slim.params = {name: value for name, value in trial.params.items() if name != SOURCE}
    slim.distributions = {name: value for name, value in trial.distributions.items() if name != SOURCE}
    if trial.state == TrialState.PRUNED and has_rounds(trial) and not is_stopped_early(trial):
        slim.state, slim.values = TrialState.FAIL, None
    return slim

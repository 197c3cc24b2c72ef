"""The study as samplers see it: in memory, so that a suggestion never waits for a disk or a database."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from search.config.objectives import Objective
from search.study.trials import constraint_key, is_stopped_early, rounds_of


class MemoryStudy:
    """An Optuna study in memory that holds parameters, values and constraints, and nothing else of a trial.

    Args:
        objectives: what is optimised.
        sampler: draws the proposals.
        known: trials from before, in the order of their numbers; those of earlier runs first.
    """

    def __init__(self, objectives: Sequence[Objective], sampler: BaseSampler, known: Sequence[FrozenTrial]) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._several = len(objectives) > 1
        self._storage = InMemoryStorage()
        self._study = optuna.create_study(
            storage=self._storage,
            sampler=sampler,
            pruner=optuna.pruners.NopPruner(),
            directions=[objective.direction for objective in objectives],
        )
        self._identifiers = [
            self._storage.create_new_trial(self._study._study_id, template_trial=_slim(trial)) for trial in known
        ]

    def known(self, position: int) -> int:
        """Return the identifier of one of the trials from before."""
        return self._identifiers[position]

    def ask(self, fixed: Mapping[str, Any], attributes: Mapping[str, Any]) -> Trial:
        """Start a trial in which the parameters in `fixed` have these (stored) values; the rest is for the sampler."""
        template = _running({"fixed_params": dict(fixed)} if fixed else {}, attributes)
        identifier = self._storage.create_new_trial(self._study._study_id, template_trial=template)
        return Trial(self._study, identifier)

    def drawn(self, identifier: int) -> FrozenTrial:
        """Return what has been drawn for a trial."""
        return self._storage.get_trial(identifier)

    def report(self, identifier: int, step: int, value: float) -> None:
        """Tell the value of a round, for samplers that learn from trials that were stopped."""
        if not self._several:
            self._storage.set_trial_intermediate_value(identifier, step, value)

    def constrain(self, identifier: int, excess: Mapping[str, float]) -> None:
        """Tell by how much each constraint is broken (above 0) or kept."""
        for name, value in excess.items():
            self._storage.set_trial_system_attr(identifier, constraint_key(name), value)

    def tell(self, identifier: int, state: TrialState, values: Sequence[float] | None) -> None:
        """End a trial."""
        self._study.tell(self._storage.get_trial_number_from_id(identifier), values, state, skip_if_finished=True)


def _slim(trial: FrozenTrial) -> FrozenTrial:
    """Return the trial without its attributes of ours: storage copies all that it is given.

    One that has collapsed failed, as far as samplers are concerned: as it went far, they would take it for a good one.
    """
    slim = copy.copy(trial)
    slim._user_attrs = {}
    if trial.state == TrialState.PRUNED and rounds_of(trial) and not is_stopped_early(trial):
        slim.state, slim.values = TrialState.FAIL, None
    return slim


def _running(system_attrs: dict[str, Any], user_attrs: Mapping[str, Any]) -> FrozenTrial:
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=datetime.now(),
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs=dict(user_attrs),
        system_attrs=system_attrs,
        intermediate_values={},
    )

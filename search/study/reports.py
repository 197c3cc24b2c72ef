"""Rounds as trials report them: recorded, told to the sampler, and weighed against those of other trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from dp_core.models import ModelSpec
from search.config.objectives import Objective
from search.study.open_trial import OpenTrial
from search.study.stopping import EarlyStopping, Observation
from search.study.storage.store import TrialStore
from search.study.trials import ROUND, STOP, step_of
from trainables.screening.round import Round, finite


class Reports:
    """Takes in rounds; one that is known already changes nothing.

    Args:
        store: the durable record.
        objectives: what is optimised.
        stopping: decides which trials stop early.
        latency: measures the milliseconds of an architecture that a round does not tell; None if nobody asks for them.
    """

    def __init__(
        self,
        store: TrialStore,
        objectives: Sequence[Objective],
        stopping: EarlyStopping,
        latency: Callable[[ModelSpec], float | None] | None,
    ) -> None:
        self._store, self._objectives, self._stopping, self._latency = store, objectives, stopping, latency

    def learn(self, number: int, source: str | None, found: Round) -> bool:
        """Take note of a round that is recorded, or is being; return whether its trial has no promise."""
        return self._stopping.hopeless(
            Observation(
                trial=number,
                source=source,
                fidelity=found.fidelity,
                rung_round=found.rung_round,
                rung_done=found.rung_done,
                gains=tuple(objective.gain(found) for objective in self._objectives),
            )
        )

    def add(self, trial: OpenTrial, found: Round, *, last: bool) -> bool:
        """Record a round; return whether the trial should be stopped for lack of promise, see `StudyRecord.report`."""
        if any(known.round == found.round for known in trial.rounds):
            return found.round in trial.stops
        if self._latency is not None and found.latency_ms is None:
            found = replace(found, latency_ms=self._latency(trial.candidate.model))
        hopeless = self.learn(trial.number, trial.source, found) and not last
        row = finite(found.to_row())
        value, step = self._objectives[0].value(found), step_of(found)
        known_value = value if len(self._objectives) == 1 and math.isfinite(value) else None
        kept = {**row, STOP: True} if hopeless else row
        self._store.keep_round(trial.number, f"{ROUND}{found.round:04d}", kept, step, known_value)
        if known_value is not None:
            trial.seen.report(step, known_value)
        trial.rounds.append(Round.from_row(row))
        trial.stops |= {found.round} if hopeless else set()
        return hopeless

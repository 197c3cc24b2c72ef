"""Ends of trials: recorded, with their values and constraints, and told to the sampler."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optuna.trial import TrialState

from search.config.objectives import Objective
from search.study.constraints import Limits
from search.study.open_trial import OpenTrial
from search.study.storage.store import TrialStore
from search.study.trials import REASON, stopped_early
from trainables import Candidate
from trainables.screening.round import Round


@dataclass(frozen=True)
class End:
    """How a trial ended: its last round, if it had one, and the best value of the (first) objective on its scale.

    The scale is what the last round of a trial like this looks with, such as `distilled-10`.
    """

    number: int
    state: TrialState
    reason: str | None
    candidate: Candidate
    last: Round | None
    objective: str
    scale: str
    best: float | None


class Ends:
    """Records how trials end.

    Args:
        store: the durable record.
        objectives: what is optimised.
        limits: the constraints.
        real_epochs: of the last rung, on real images; 0 without it.
    """

    def __init__(self, store: TrialStore, objectives: Sequence[Objective], limits: Limits, real_epochs: int) -> None:
        self._store, self._objectives, self._limits, self._real_epochs = store, objectives, limits, real_epochs
        self._best: dict[str, float] = {}

    def learn(self, last: Round) -> None:
        """Take note of the last round of a trial that went to its end."""
        objective = self._objectives[0]
        value = objective.value(last)
        best = self._best.get(last.fidelity)
        better: Callable[..., float] = max if objective.maximised else min
        self._best[last.fidelity] = value if best is None else better(best, value)

    def add(self, trial: OpenTrial, state: TrialState, reason: str | None) -> End:
        """Record the end of a trial, see `StudyRecord.finish`."""
        last = trial.rounds[-1] if trial.rounds else None
        values = None
        if state == TrialState.COMPLETE:
            values, wrong = self._values(last)
            if wrong is not None:
                state, reason, values = TrialState.FAIL, wrong, None
        elif state == TrialState.PRUNED and len(self._objectives) == 1 and last is not None:
            value = self._objectives[0].value(last)
            # As Study.tell does it; but a zero-cost score is no value of an objective.
            values = [value] if math.isfinite(value) and last.has_accuracy else None
        whole = last if state == TrialState.COMPLETE else None
        # Of a trial that was not pruned to its end, what is sure.
        candidate, limits = trial.candidate, self._limits
        excess = limits.before(candidate) if whole is None else limits.after(candidate, whole)
        self._store.end(trial.number, state, values, {} if reason is None else {REASON: reason}, excess)
        trial.seen.constrain(excess)
        # What has collapsed has failed, as far as samplers are concerned: see MemoryStudies.
        collapsed = state == TrialState.PRUNED and reason != (stopped_early(last.round) if last else None)
        trial.seen.tell(TrialState.FAIL if collapsed else state, values if state == TrialState.COMPLETE else None)
        if whole is not None:
            self.learn(whole)
        scale, objective = self._scale(candidate), self._objectives[0].name
        return End(trial.number, state, reason, candidate, last, objective, scale, self._best.get(scale))

    def _values(self, last: Round | None) -> tuple[list[float] | None, str | None]:
        """Return the objectives of a last round, or what is wrong with them."""
        if last is None:
            return None, "it ended without a round"
        values = {objective.name: objective.value(last) for objective in self._objectives}
        wrong = [f"its {name} is {value}" for name, value in values.items() if not math.isfinite(value)]
        return list(values.values()), " and ".join(wrong) or None

    def _scale(self, candidate: Candidate) -> str:
        """Return what the last round of a candidate looks with: the last of `LadderPlan.fidelities`."""
        return f"real-epochs-{self._real_epochs}" if self._real_epochs else candidate.data_key

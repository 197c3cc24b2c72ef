"""Spaces and studies that the tests of samplers share."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from typing import Any

from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from search.config.objectives import objectives_of
from search.space import Space
from search.study.memory import MemoryStudies, MemoryTrial
from search.study.sampling import parts_of

CONDITIONAL = {
    "model": {"width": {"choice": [4, 8, 16]}, "depth": {"int": [1, 4]}},
    "sparsity": {"float": [0.5, 0.9]},
    "source": {"choice": ["distilled", "real"]},
    "ipc": {"choice": [1, 10], "when": {"source": "distilled"}},
    "recipe": {
        "optimizer": {"choice": ["sgd", "adam"]},
        "momentum": {"float": [0.1, 0.9], "when": {"recipe.optimizer": "sgd"}},
    },
}
NUMBERS = {
    "x": {"float": [0.0, 1.0]},
    "y": {"float": [1e-3, 1.0], "log": True},
    "n": {"int": [1, 9]},
    "name": "convnet",
}
FINITE = {
    "a": {"choice": ["p", "q", [1, 2]]},
    "b": {"float": [0.1, 0.3], "step": 0.1, "when": {"a": "p"}},
    "c": {"int": [1, 5], "step": 2},
}
"""p with three values of b, q and [1, 2] without; each with three of c: 15 candidates."""


class Searched:
    """The studies of a space by source, with the sampler of a name; trials may be from before."""

    def __init__(
        self,
        name: str,
        space: Space,
        objectives: Sequence[str] = ("score",),
        *,
        seed: int = 0,
        trials: int = 100,
        startup_trials: int = 5,
        known: Sequence[FrozenTrial] = (),
    ) -> None:
        parts = parts_of(space, objectives_of(objectives), trials, seed=seed, startup_trials=startup_trials)
        self._memory = MemoryStudies(name, parts, known)
        self.sources = tuple(parts)
        self._begun: list[tuple[str | None, MemoryTrial]] = []

    def ask(self, source: str | None = None, **fixed: Any) -> MemoryTrial:
        """Return a trial with all its parameters, some of which may be given."""
        trial, _ = self._memory.ask(source, fixed)
        self._begun.append((source, trial))
        return trial

    def params(self, source: str | None = None) -> dict[str, Any]:
        """Return the parameters of another trial."""
        return self.ask(source).drawn().params

    @property
    def trials(self) -> list[FrozenTrial]:
        """All that have been begun, in that order, as the record has them."""
        return [_with_source(trial.drawn(), source) for source, trial in self._begun]

    def sampler(self, source: str | None = None) -> BaseSampler:
        """Return the sampler of a source."""
        return self._memory._studies[source].study.sampler


def _with_source(trial: FrozenTrial, source: str | None) -> FrozenTrial:
    if source is not None:
        trial = copy.deepcopy(trial)
        trial.params = {"source": source, **trial.params}
        trial.distributions = {"source": CategoricalDistribution(["distilled", "real"]), **trial.distributions}
    return trial


def end(trial: MemoryTrial, value: float | list[float]) -> None:
    """Let a trial finish with this value, or these values."""
    trial.tell(TrialState.COMPLETE, value if isinstance(value, list) else [value])


def search(
    study: Searched, trials: int, value: Callable[[dict[str, Any]], float | list[float]], *, pending: int = 4
) -> None:
    """Run trials, of all sources in turn, that end out of order, with some always pending until the end."""
    generator, running = random.Random(0), []
    for number in range(trials):
        running.append(study.ask(study.sources[number % len(study.sources)]))
        if len(running) > pending:
            ended = running.pop(generator.randrange(len(running)))
            end(ended, value(ended.drawn().params))
    for trial in running:
        end(trial, value(trial.drawn().params))

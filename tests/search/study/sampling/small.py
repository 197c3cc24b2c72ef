"""Spaces and studies that the tests of samplers share."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import Trial

from search.config.objectives import objectives_of
from search.space import Space
from search.study.sampling import build_sampler

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


def study_of(
    name: str,
    space: Space,
    objectives: Sequence[str] = ("score",),
    *,
    seed: int = 0,
    trials: int = 100,
    known_trials: int = 0,
    startup_trials: int = 5,
) -> Study:
    """Return a study in memory with the sampler of a name."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    chosen = objectives_of(objectives)
    sampler = build_sampler(
        name,
        space=space,
        objectives=chosen,
        trials=trials,
        known_trials=known_trials,
        seed=seed,
        startup_trials=startup_trials,
    )
    return optuna.create_study(directions=[one.direction for one in chosen], sampler=sampler)


def ask(study: Study, space: Space, source: str | None = None) -> Trial:
    """Return a trial with all its parameters."""
    if source is not None:
        study.enqueue_trial({"source": source})
    trial = study.ask()
    space.suggest(trial)
    return trial


def search(
    study: Study,
    space: Space,
    trials: int,
    value: Callable[[dict[str, Any]], float | list[float]],
    *,
    pending: int = 4,
    sources: Sequence[str | None] = (None,),
) -> None:
    """Run trials that end out of order, with some always pending until the end."""
    generator, running = random.Random(0), []
    for number in range(trials):
        running.append(ask(study, space, sources[number % len(sources)]))
        if len(running) > pending:
            ended = running.pop(generator.randrange(len(running)))
            study.tell(ended, value(ended.params))
    for ended in running:
        study.tell(ended, value(ended.params))

"""How tickets are retrained: by which methods, how often, and what tells those of different recipes apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from search.config.retraining import RetrainSection
from search.output.wording import show
from search.runs.directory import model_name
from trainables.retraining.method import RetrainingMethod


@dataclass(frozen=True)
class RetrainingPlan:
    """How each ticket's network is trained, and how often.

    Args:
        methods: each with its recipe, length included; the first is the one that the score is judged by.
        epochs: of every retraining; each is a step of its trial.
        seeds: retrainings by each method, with the seeds 0 to `seeds` - 1.
    """

    methods: tuple[RetrainingMethod, ...]
    epochs: int
    seeds: int

    @classmethod
    def of(cls, section: RetrainSection) -> RetrainingPlan:
        """Return the plan that a config has; UserError if a method or its recipe has a mistake."""
        return cls(section.methods(), section.epochs, section.seeds)

    @property
    def key(self) -> str:
        """What stands for the first method, see `RetrainingMethod.key`."""
        return self.methods[0].key

    def trainings(self, trial: int) -> list[Retraining]:
        """Return the retrainings of a trial's ticket."""
        return [
            Retraining(model_name(trial, seed, method.key), trial, seed, method)
            for method in self.methods
            for seed in range(self.seeds)
        ]

    def names(self, trial: int) -> list[str]:
        """Return the names of the retrainings of a trial's ticket."""
        return [training.name for training in self.trainings(trial)]


@dataclass(frozen=True)
class Retraining:
    """One training of a ticket's network by a method, with a seed."""

    name: str
    trial: int
    seed: int
    method: RetrainingMethod


def what_differs(settings: Sequence[str]) -> list[str]:
    """Return of each of these recipes, as JSON, the settings that are not the same in all, their lengths aside."""
    recipes = [json.loads(text) for text in settings]
    names = sorted({name for recipe in recipes for name in recipe} - {"epochs"})
    telling = [name for name in names if len({json.dumps(recipe.get(name)) for recipe in recipes}) > 1]
    return [", ".join(f"{name}={show(recipe[name])}" for name in telling if name in recipe) for recipe in recipes]

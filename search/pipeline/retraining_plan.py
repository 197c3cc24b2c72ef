"""How tickets are retrained: the recipe, how often, and what tells retrainings by different recipes apart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dp_core.errors import UserError
from dp_core.files import digest_of_json
from dp_core.training import Recipe
from search.config.models import RetrainSection
from search.output.wording import show
from search.runs.directory import model_name


@dataclass(frozen=True)
class RetrainingPlan:
    """A recipe, its length included, and how many seeds each ticket is retrained with.

    Args:
        recipe: of every retraining.
        epochs: of every retraining; each is a step of its trial.
        seeds: retrainings of each ticket, with the seeds 0 to `seeds` - 1.
    """

    recipe: Recipe
    epochs: int
    seeds: int

    @classmethod
    def of(cls, section: RetrainSection) -> RetrainingPlan:
        """Return the plan that a config has; UserError if its recipe has a mistake."""
        return cls(section.parsed_recipe(), section.epochs, section.seeds)

    @property
    def key(self) -> str:
        """See `recipe_key`."""
        return recipe_key(self.recipe)

    def names(self, trial: int) -> list[str]:
        """Return the names of the retrainings of a trial's ticket."""
        return [model_name(trial, seed, self.key) for seed in range(self.seeds)]


def recipe_key(recipe: Recipe) -> str:
    """Return what stands for a recipe in the names of models: its epochs, and a digest of all its settings.

    A retraining is one ticket, one seed and one recipe. A longer one does not go on from a shorter one: the schedules
    end at their last step, so it begins at the ticket again, and has a name of its own.
    """
    return f"{recipe.epochs:g}epochs-{digest_of_json(recipe.to_dict())[:6]}"


def recipe_in(results: Mapping[str, Any]) -> Recipe | None:
    """Return the recipe that the card of a model says it was trained by, None if it says none that this version has."""
    try:
        return Recipe(**results["recipe"])
    except (KeyError, TypeError, UserError):
        return None


def what_differs(settings: Sequence[str]) -> list[str]:
    """Return of each of these recipes, as JSON, the settings that are not the same in all, their lengths aside."""
    recipes = [json.loads(text) for text in settings]
    names = sorted({name for recipe in recipes for name in recipe} - {"epochs"})
    telling = [name for name in names if len({json.dumps(recipe.get(name)) for recipe in recipes}) > 1]
    return [", ".join(f"{name}={show(recipe[name])}" for name in telling if name in recipe) for recipe in recipes]

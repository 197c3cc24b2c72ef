"""The section `retrain`: how networks are trained on the real training images."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from dp_core.errors import UserError
from dp_core.training import Recipe
from search.config.sections import RECIPE_WITHOUT_LENGTH, Section
from trainables.retraining.method import RetrainingMethod
from trainables.trials.settings import parse_settings


class RealTrainingSection(Section):
    """How tickets are trained on the real training images."""

    epochs: int = Field(default=10, ge=1)
    """Passes over the training images."""
    recipe: Annotated[dict[str, Any], RECIPE_WITHOUT_LENGTH] = Field(default_factory=dict)
    """The recipe: optimizer, learning_rate, momentum, weight_decay, schedule, batch_size, augmentation,
    label_smoothing, precision."""

    def parsed_recipe(self) -> Recipe:
        """Return the recipe; UserError if a setting is none of a recipe's."""
        if "epochs" in self.recipe or "steps" in self.recipe:
            raise UserError("The length of a retraining is 'retrain.epochs', not a key of 'retrain.recipe'.")
        return parse_settings(Recipe, {**self.recipe, "epochs": float(self.epochs)}, "retrain.recipe")


class RetrainSection(RealTrainingSection):
    """How the promoted networks are trained on the real training images, and how often."""

    method: str | dict[str, Any] | tuple[str | dict[str, Any], ...] = "ticket"
    """How they become sparse: `ticket`, with the mask of the screening; `gradual`, pruned while they train; `one_shot`,
    pruned once on the way; `rigl`, sparse from the start, with weights that move. With settings it is a mapping, such
    as `{name: gradual, end: 0.9, criterion: magnitude_layerwise}` or `{name: rigl, criterion: ticket}`, which starts
    from the ticket's mask. Of a list each network is trained by each, from the same weights and at equal
    image-gradients: what has the ticket's mask is trained for as much less as its screening has cost. The first is the
    one that the score is judged by."""
    tune: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Keys of the recipe with several values, such as `{learning_rate: [3e-3, 1e-2]}`: each network is trained with
    every combination, and of each method that of the highest validation accuracy counts."""
    seeds: int = Field(default=1, ge=1)
    """Retrainings of each ticket; they differ in data order and augmentation."""

    def methods(self) -> tuple[RetrainingMethod, ...]:
        """Return the ways in which each network is trained, those of the first method first.

        Raises:
            UserError: a method or a setting of its recipe that is none; nothing to choose from.
        """
        several = self.method if isinstance(self.method, tuple) else (self.method,)
        if not several:
            raise UserError("'retrain.method' is an empty list.")
        recipes = self._recipes()
        found = [RetrainingMethod.parse(recipe, given, "retrain.method") for given in several for recipe in recipes]
        if len(several) > 1:
            found = [replace(method, screening_counts=method.has_ticket_mask) for method in found]
        if len({method.key for method in found}) < len(found):
            raise UserError("'retrain.method' and 'retrain.tune' name the same training more than once.")
        return tuple(found)

    def _recipes(self) -> list[Recipe]:
        for name, values in self.tune.items():
            if name in ("epochs", "steps"):
                raise UserError(f"'retrain.tune.{name}': the length of a retraining is 'retrain.epochs'.")
            if not values:
                raise UserError(f"'retrain.tune.{name}' is an empty list.")
        self.parsed_recipe()
        grid = itertools.product(*self.tune.values())
        given = [{**self.recipe, **dict(zip(self.tune, values, strict=True))} for values in grid]
        length = {"epochs": float(self.epochs)}
        return [parse_settings(Recipe, {**recipe, **length}, "retrain.tune") for recipe in given]

"""The recipes of rounds and of final trainings, with the learning rates that were chosen for them."""

from __future__ import annotations

from dataclasses import replace

from dp_core.training import Recipe
from trainables.laboratory.context import Laboratory
from trainables.laboratory.files import read_result
from trainables.laboratory.method import FINAL


def tuned(lab: Laboratory, network: str, name: str) -> Recipe:
    """Return the recipe of a method's rounds with the learning rate that was chosen for a network."""
    method = lab.methods[network][name]
    return _with_chosen_rate(lab, network, name, method.round_recipe, len(method.learning_rates))


def final_recipe(lab: Laboratory, network: str) -> Recipe:
    """Return the recipe of the final training with the learning rate that was chosen for a network."""
    return _with_chosen_rate(lab, network, FINAL, lab.recipe, len(lab.learning_rates))


def _with_chosen_rate(lab: Laboratory, network: str, name: str, recipe: Recipe, rates: int) -> Recipe:
    if rates == 1:
        return recipe
    found = read_result(lab.files.learning_rate(network, name))
    assert found is not None, "the learning rate has not been chosen"
    return replace(recipe, learning_rate=found["learning_rate"])

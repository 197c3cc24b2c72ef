"""The recipes of rounds and of final trainings, with the learning rates that were chosen for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dp_core.training import Recipe
from trainables.laboratory.context import Laboratory
from trainables.laboratory.files import read_result
from trainables.laboratory.method import FINAL


def tuned(lab: Laboratory, network: str, name: str) -> Recipe:
    """Return the recipe of a method's rounds with the learning rate that was chosen for a network."""
    method = lab.methods[network][name]
    several = len(method.learning_rates) > 1
    return _with_chosen_rate(method.round_recipe, lab.files.learning_rate(network, name) if several else None)


def dense_recipe(lab: Laboratory, network: str) -> Recipe:
    """Return the recipe of the final training with the learning rate that is best for the dense network."""
    several = len(lab.learning_rates) > 1
    return _with_chosen_rate(lab.recipe, lab.files.learning_rate(network, FINAL) if several else None)


def final_recipe(lab: Laboratory, network: str, name: str) -> Recipe:
    """Return the recipe of the final training of a method's tickets, with the learning rate chosen for those."""
    if not lab.rate_of_each or len(lab.learning_rates) == 1 or lab.methods[network][name].kind == "dense":
        return dense_recipe(lab, network)
    return _with_chosen_rate(lab.recipe, lab.files.training_rate(network, name))


def _with_chosen_rate(recipe: Recipe, chosen: Path | None) -> Recipe:
    if chosen is None:
        return recipe
    found = read_result(chosen)
    assert found is not None, "the learning rate has not been chosen"
    return replace(recipe, learning_rate=found["learning_rate"])

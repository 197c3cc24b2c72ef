"""Choosing learning rates on validation images, before any ticket is looked for."""

from __future__ import annotations

from dataclasses import replace

import torch

from dp_core.data.preprocessing import Preprocessing
from dp_core.judging import judge
from dp_core.pruning import Mask
from dp_core.seeds import derive_seed
from dp_core.training import DataSource, Diverged, Recipe, Training
from trainables.laboratory.context import Laboratory
from trainables.laboratory.files import Cell, read_result, write_result
from trainables.laboratory.method import FINAL, Method

# Numbers of cells are 0 and more, so what is tuned on is never what is compared on.
_TUNING = -1


def choose_learning_rate(lab: Laboratory, network: str, name: str, device: torch.device) -> None:
    """Save which learning rate of a method's round, or of the final training, gives the dense network most accuracy.

    Each trains one dense network, on the data that it is for, from weights and in a data order that no ticket has; it
    is scored on all validation images. One that diverges counts as 0.
    """
    path = lab.files.learning_rate(network, name)
    if read_result(path) is not None:
        return
    seed = lab.cell_seed(network, _TUNING)
    if name == FINAL:
        recipe, rates = lab.recipe, lab.learning_rates
        data: DataSource = lab.real_data(device)
        space: Preprocessing = lab.space
    else:
        method = lab.methods[network][name]
        recipe, rates = _recipe(method), method.learning_rates
        data, space = lab.data(method, seed, device)
    scored, calibration = lab.scoring_data(lab.validation, space), lab.calibration(space)
    accuracies: list[float] = []
    for rate in rates:
        model, order = lab.network(network, _TUNING, device), derive_seed(seed, "tuning")
        tried = replace(recipe, learning_rate=rate)
        training = Training(model, data, tried, seed=order, mask=Mask.ones(model, lab.scope))
        try:
            training.run()
            accuracies.append(judge(training.model, scored, calibration, recipe).accuracy)
        except Diverged:
            accuracies.append(0.0)
    best = max(range(len(accuracies)), key=accuracies.__getitem__)  # the first of several that are equal
    told = [{"rate": rate, "accuracy": found} for rate, found in zip(rates, accuracies, strict=True)]
    write_result(path, {"learning_rate": rates[best], "tried": told})


def tuned(lab: Laboratory, cell: Cell) -> tuple[Method, Recipe]:
    """Return a cell's method, and the recipe of its rounds with the learning rate that was chosen."""
    method = lab.method(cell)
    return method, _with_chosen_rate(lab, cell.network, cell.method, _recipe(method), len(method.learning_rates))


def final_recipe(lab: Laboratory, network: str) -> Recipe:
    """Return the recipe of the final training with the learning rate that was chosen for a network."""
    return _with_chosen_rate(lab, network, FINAL, lab.recipe, len(lab.learning_rates))


def _with_chosen_rate(lab: Laboratory, network: str, name: str, recipe: Recipe, rates: int) -> Recipe:
    if rates == 1:
        return recipe
    found = read_result(lab.files.learning_rate(network, name))
    assert found is not None, "the learning rate has not been chosen"
    return replace(recipe, learning_rate=found["learning_rate"])


def _recipe(method: Method) -> Recipe:
    assert method.recipe is not None, "only iterative methods train"
    return method.recipe

"""Choosing a method's learning rate on validation images, before any ticket is looked for."""

from __future__ import annotations

from dataclasses import replace

import torch

from dp_core.pruning import Mask
from dp_core.seeds import derive_seed
from dp_core.training import Diverged, Recipe, Training, evaluate
from trainables.laboratory.context import Laboratory
from trainables.laboratory.files import Cell, read_result, write_result
from trainables.laboratory.method import Method

# Numbers of cells are 0 and more, so what is tuned on is never what is compared on.
_TUNING = -1


def choose_learning_rate(lab: Laboratory, network: str, name: str, device: torch.device) -> None:
    """Save which of a method's learning rates gives the dense network of its first round the best accuracy.

    Each trains one dense network for one round, on the method's own data, from weights and in a data order that no
    ticket has; it is scored on all validation images. One that diverges counts as 0.
    """
    path = lab.files.learning_rate(network, name)
    if read_result(path) is not None:
        return
    method = lab.methods[network][name]
    assert method.recipe is not None, "only iterative methods train"
    seed = lab.cell_seed(network, _TUNING)
    data, space = lab.data(method, seed, device)
    scored = lab.scoring_data(lab.validation, space)
    accuracies: list[float] = []
    for rate in method.learning_rates:
        recipe = replace(method.recipe, learning_rate=rate)
        model, order = lab.network(network, _TUNING, device), derive_seed(seed, "tuning")
        training = Training(model, data, recipe, seed=order, mask=Mask.ones(model, lab.scope))
        try:
            training.run()
            found = evaluate(training.model, scored, precision=recipe.precision, mode=recipe.mode)
            accuracies.append(found.accuracy)
        except Diverged:
            accuracies.append(0.0)
    best = max(range(len(accuracies)), key=accuracies.__getitem__)  # the first of several that are equal
    tried = [{"rate": rate, "accuracy": found} for rate, found in zip(method.learning_rates, accuracies, strict=True)]
    write_result(path, {"learning_rate": method.learning_rates[best], "tried": tried})


def tuned(lab: Laboratory, cell: Cell) -> tuple[Method, Recipe]:
    """Return a cell's method, and its recipe with the learning rate that was chosen."""
    method = lab.method(cell)
    assert method.recipe is not None, "only iterative methods train"
    if len(method.learning_rates) == 1:
        return method, method.recipe
    found = read_result(lab.files.learning_rate(cell.network, cell.method))
    assert found is not None, "the learning rate has not been chosen"
    return method, replace(method.recipe, learning_rate=found["learning_rate"])

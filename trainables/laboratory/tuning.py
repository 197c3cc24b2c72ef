"""Choosing learning rates on validation images, before any ticket is looked for."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dp_core.judging import judge
from dp_core.pruning import Mask
from dp_core.seeds import derive_seed
from dp_core.training import Diverged, Training
from trainables.laboratory.context import Laboratory, Stability
from trainables.laboratory.files import Cell, read_result, write_result
from trainables.laboratory.finding import find_tickets
from trainables.laboratory.method import FINAL
from trainables.laboratory.recipes import final_recipe, tuned
from trainables.laboratory.training import train_ticket

# Numbers of cells are 0 and more, so what is tuned on is never what is compared on.
_TUNING = -1

_NOTHING_ELSE = Stability(barrier_at=(), points=3, eigenvalue_at=(), images=1)


def choose_learning_rate(lab: Laboratory, network: str, name: str, device: torch.device) -> None:
    """Save which learning rate of a method's rounds, or of the final training, is the best on all validation images.

    A rate of rounds is worth what its tickets are worth: for each rate tickets are found and trained, from weights and
    in data orders that none of the comparison has, and the mean accuracy over the method's sparsities decides; a
    sparsity that has no ticket, or one whose training diverges, counts as 0. The accuracy of a dense network after a
    round would be cheaper to have, but it prefers smaller rates than those that find the best tickets
    (benchmarks/results/set_worth.md). A rate of the final training is worth the accuracy of a dense network trained
    with it, 0 if it diverges.
    """
    path = lab.files.learning_rate(network, name)
    if read_result(path) is not None:
        return
    if name == FINAL:
        tried = [{"rate": rate, "accuracy": _of_dense(lab, network, rate, device)} for rate in lab.learning_rates]
    else:
        tried = [_of_tickets(lab, network, name, rate, device) for rate in lab.methods[network][name].learning_rates]
    best = max(tried, key=lambda each: each["accuracy"])  # the first of several that are equal
    write_result(path, {"learning_rate": best["rate"], "tried": tried})
    shutil.rmtree(_folder(lab, network, name), ignore_errors=True)


def _of_dense(lab: Laboratory, network: str, rate: float, device: torch.device) -> float:
    recipe = replace(lab.recipe, learning_rate=rate)
    model, order = lab.network(network, _TUNING, device), derive_seed(lab.cell_seed(network, _TUNING), "tuning")
    training = Training(model, lab.real_data(device), recipe, seed=order, mask=Mask.ones(model, lab.scope))
    try:
        training.run()
    except Diverged:
        return 0.0
    scored, calibration = lab.scoring_data(lab.validation, lab.space), lab.calibration(lab.space)
    return judge(training.model, scored, calibration, recipe).accuracy


def _of_tickets(lab: Laboratory, network: str, name: str, rate: float, device: torch.device) -> dict[str, Any]:
    """Find and train the tickets of a method with `rate`, in a comparison of its own; resumable as any other is."""
    own = _comparison_with(lab, network, name, rate)
    accuracies: list[float] = []
    for each in _line(lab, network, name):
        find_tickets(own, Cell(network, _TUNING, each), device)
    for target in lab.methods[network][name].sparsities:
        cell = Cell(network, _TUNING, name, target)
        found: dict[str, Any] = {}
        if own.files.ticket(cell).exists():
            train_ticket(own, cell, device)
            found = read_result(own.files.training(cell)) or {}
        accuracies.append(found.get("validation_accuracy", 0.0))
    return {"rate": rate, "accuracy": sum(accuracies) / len(accuracies), "accuracies": accuracies}


def _comparison_with(lab: Laboratory, network: str, name: str, rate: float) -> Laboratory:
    """Return a comparison in a folder of its own, in which all rates are chosen and nobody looks at test images."""
    methods = dict(lab.methods[network])
    for each in _line(lab, network, name):
        recipe = replace(methods[each].round_recipe, learning_rate=rate) if each == name else tuned(lab, network, each)
        methods[each] = replace(methods[each], recipe=recipe, learning_rates=(recipe.learning_rate,))
    final = final_recipe(lab, network)
    return replace(
        lab,
        test=lab.validation,
        methods={network: methods},
        recipe=final,
        learning_rates=(final.learning_rate,),
        stability=_NOTHING_ELSE,
        folder=_folder(lab, network, name) / repr(rate),
    )


def _line(lab: Laboratory, network: str, name: str) -> list[str]:
    """Return the methods that a method starts from, the first one first, and itself."""
    parent = lab.methods[network][name].parent
    return [*([] if parent is None else _line(lab, network, parent)), name]


def _folder(lab: Laboratory, network: str, name: str) -> Path:
    return lab.files.state(Cell(network, _TUNING, name), "tuning")

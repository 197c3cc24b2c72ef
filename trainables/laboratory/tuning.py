"""Choosing learning rates on validation images, before any ticket is looked for."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dp_core.judging import judge
from dp_core.pruning import Mask, Ticket
from dp_core.seeds import derive_seed
from dp_core.training import Diverged, Training
from trainables.laboratory.context import Laboratory, Stability
from trainables.laboratory.files import Cell, read_result, write_result
from trainables.laboratory.finding import find_tickets
from trainables.laboratory.method import FINAL
from trainables.laboratory.recipes import dense_recipe, tuned
from trainables.laboratory.training import too_dear, train_ticket

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


def choose_training_rate(lab: Laboratory, network: str, name: str, device: torch.device) -> None:
    """Save which learning rate of the final training is best for the tickets of a method, on all validation images.

    A rate is worth the accuracy of one ticket trained with it, that of the middle one of the method's sparsities (of
    two the higher) or, where that is not there or leaves nothing to train with, of the next lower one, from weights and
    in a data order that none of the comparison has; 0 without a ticket, or if its training diverges.
    """
    path = lab.files.training_rate(network, name)
    if read_result(path) is not None:
        return
    folder = lab.files.state(Cell(network, _TUNING, name), "tuning_training")
    own = _in_a_folder(lab, network, name, folder)
    for each in _line(lab, network, name):
        find_tickets(own, Cell(network, _TUNING, each), device)
    middle = _middle(own, network, name)
    tried = []
    for rate in lab.learning_rates:
        with_rate = replace(own, recipe=replace(lab.recipe, learning_rate=rate), learning_rates=(rate,))
        kept = folder / f"{rate!r}.json"
        accuracy = read_result(kept)
        if accuracy is None:
            accuracy = {"accuracy": _trained(with_rate, Cell(network, _TUNING, name, middle), device)}
            write_result(kept, accuracy)
            shutil.rmtree(folder / "trainings", ignore_errors=True)
        tried.append({"rate": rate, **accuracy})
    best = max(tried, key=lambda each: each["accuracy"])
    write_result(path, {"learning_rate": best["rate"], "tried": tried})
    shutil.rmtree(folder, ignore_errors=True)


def _middle(lab: Laboratory, network: str, name: str) -> float:
    """Return the sparsity whose ticket rates are tried on: the middle one, or the next lower that can be trained."""
    targets = lab.methods[network][name].sparsities
    upwards = targets[: len(targets) // 2 + 1]
    for target in reversed(upwards):
        cell = Cell(network, _TUNING, name, target)
        if lab.files.ticket(cell).exists() and too_dear(lab, cell, Ticket.load(lab.files.ticket(cell))) is None:
            return target
    return upwards[-1]


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
        accuracies.append(_trained(own, Cell(network, _TUNING, name, target), device))
    return {"rate": rate, "accuracy": sum(accuracies) / len(accuracies), "accuracies": accuracies}


def _trained(lab: Laboratory, cell: Cell, device: torch.device) -> float:
    """Train the ticket of a cell and return its validation accuracy, 0 if there is none."""
    found: dict[str, Any] = {}
    if lab.files.ticket(cell).exists():
        train_ticket(lab, cell, device)
        found = read_result(lab.files.training(cell)) or {}
    return float(found.get("validation_accuracy", 0.0))


def _comparison_with(lab: Laboratory, network: str, name: str, rate: float) -> Laboratory:
    """Return a comparison in a folder of its own in which a method's rounds have this learning rate."""
    own = _in_a_folder(lab, network, name, _folder(lab, network, name) / repr(rate))
    method = own.methods[network][name]
    chosen = replace(method, recipe=replace(method.round_recipe, learning_rate=rate), learning_rates=(rate,))
    return replace(own, methods={network: {**own.methods[network], name: chosen}})


def _in_a_folder(lab: Laboratory, network: str, name: str, folder: Path) -> Laboratory:
    """Return a comparison in a folder of its own, in which all rates are chosen and nobody looks at test images."""
    methods = dict(lab.methods[network])
    for each in _line(lab, network, name):
        method = methods[each]
        if method.kind == "iterative" and lab.files.learning_rate(network, each).exists():
            method = replace(method, recipe=tuned(lab, network, each))
        methods[each] = replace(method, learning_rates=method.learning_rates[:1])
    final = dense_recipe(lab, network)
    return replace(
        lab,
        test=lab.validation,
        methods={network: methods},
        recipe=final,
        learning_rates=(final.learning_rate,),
        stability=_NOTHING_ELSE,
        folder=folder,
    )


def _line(lab: Laboratory, network: str, name: str) -> list[str]:
    """Return the methods that a method starts from, the first one first, and itself."""
    parent = lab.methods[network][name].parent
    return [*([] if parent is None else _line(lab, network, parent)), name]


def _folder(lab: Laboratory, network: str, name: str) -> Path:
    return lab.files.state(Cell(network, _TUNING, name), "tuning")

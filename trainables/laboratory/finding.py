"""Finding the tickets of one network, seed and method."""

from __future__ import annotations

import shutil
from typing import Any

import torch
from torch import Tensor

from dp_core.errors import UserError
from dp_core.pruning import Mask, criterion_named, layer_collapse, shuffle_within_layers, training_examples
from dp_core.seeds import derive_seed, generator
from dp_core.training import Training
from trainables.laboratory.context import Laboratory
from trainables.laboratory.files import Cell, read_result, write_result
from trainables.laboratory.recipes import dense_recipe
from trainables.laboratory.rounds import IterativeSearch
from trainables.laboratory.tickets import parent_cell, parent_ticket, save_ticket
from trainables.laboratory.timing import Stopwatch


def find_tickets(lab: Laboratory, cell: Cell, device: torch.device) -> None:
    """Find and save the tickets of `cell`, then its result: rounds, cost of each ticket, and how it ended."""
    if read_result(lab.files.search(cell)) is not None:
        return
    method = lab.method(cell)
    if method.kind == "iterative":
        found = _nothing_to_start_from(lab, cell) or IterativeSearch(lab, cell, device).run()
    elif method.kind in ("reinitialised", "shuffled", "rewound"):
        found = _controls(lab, cell, device)
    elif method.sparse_training is not None and method.parent is not None:
        found = _nothing_to_start_from(lab, cell) or _starts(lab, cell, device)
    else:
        found = _at_initialisation(lab, cell, device)
    write_result(lab.files.search(cell), found)
    shutil.rmtree(lab.files.state(cell, "search"), ignore_errors=True)


def _nothing_to_start_from(lab: Laboratory, cell: Cell) -> dict[str, Any] | None:
    """Return the end of a search whose parent collapsed before the ticket that it starts from; None if there is one."""
    method = lab.method(cell)
    if method.parent is None or method.start_sparsity is None:
        return None
    start = parent_cell(cell, method)
    if lab.files.ticket(Cell(start.network, start.seed, start.method, method.start_sparsity)).exists():
        return None
    parent = read_result(lab.files.search(start))
    assert parent is not None, "the parent's search is not finished"
    reason = f"{start.method}, which it starts from, ended before: {parent['reason']}"
    return {"rounds": [], "tickets": [], "status": parent["status"], "reason": reason, "learning_rate": None}


def _at_initialisation(lab: Laboratory, cell: Cell, device: torch.device) -> dict[str, Any]:
    """Make every mask from the untrained dense network, each by itself.

    Of `dense`, and of what becomes sparse while it trains, it is the one that keeps everything.
    """
    method = lab.method(cell)
    keeps_all = method.kind == "dense" or (method.sparse_training is not None and not method.starts_sparse)
    seed = lab.cell_seed(cell.network, cell.seed)
    model = lab.network(cell.network, cell.seed, device)
    weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    dense = Mask.ones(model, lab.scope)
    costs: list[dict[str, Any]] = []
    status, reason = "finished", None
    shape = lab.train.open().image_shape
    for target in method.sparsities:
        watch, mask, spent = Stopwatch(), dense, 0
        if not keeps_all:
            criterion = criterion_named(method.criterion)
            data: Any = lab.data(method, seed, device)[0] if method.source else lab.real_data(device)
            examples = training_examples(data, derive_seed(seed, "examples"), model)
            try:
                with watch.running():
                    mask = criterion(model, dense, target, generator(seed, "criterion", method.criterion), examples)
            except UserError as error:  # scores that are not finite
                status, reason = "diverged", str(error)
                break
            spent = criterion.image_gradients
        if emptied := layer_collapse(mask, model, shape):
            status, reason = "collapsed", f"at {target:.1%} sparsity, {emptied}"
            break
        cost = {"sparsity": target, "rounds": int(mask is not dense), "image_gradients": spent, **watch.so_far()}
        save_ticket(lab, cell, target, weights, mask, [], cost)
        costs.append(cost)
    return {"rounds": [], "tickets": costs, "status": status, "reason": reason, "learning_rate": None}


def _starts(lab: Laboratory, cell: Cell, device: torch.device) -> dict[str, Any]:
    """Make what a training with a changing mask starts from: untrained weights under masks of the parent's tickets."""
    method = lab.method(cell)
    parent = read_result(lab.files.search(parent_cell(cell, method)))
    assert parent is not None, "the parent's search is not finished"
    model = lab.network(cell.network, cell.seed, device)
    weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    there = {cost["sparsity"]: cost for cost in parent["tickets"]}
    costs: list[dict[str, Any]] = []
    for target in method.sparsities:
        start = target if method.start_sparsity is None else method.start_sparsity
        if start not in there:
            return {**parent, "rounds": [], "tickets": costs, "learning_rate": None}
        ticket, cost = parent_ticket(lab, cell, start), {**there[start], "sparsity": target}
        save_ticket(lab, cell, target, weights, ticket.mask, ticket.history, cost)
        costs.append(cost)
    return {"rounds": [], "tickets": costs, "status": "finished", "reason": None, "learning_rate": None}


def _controls(lab: Laboratory, cell: Cell, device: torch.device) -> dict[str, Any]:
    """Make the controls of the parent's tickets: their masks on other weights, or shuffled inside each layer."""
    method = lab.method(cell)
    seed = lab.cell_seed(cell.network, cell.seed)
    weights, start_step = _weights_of_control(lab, cell, device)
    parent = read_result(lab.files.search(parent_cell(cell, method)))
    assert parent is not None, "the parent's search is not finished"
    costs: list[dict[str, Any]] = []
    for cost in parent["tickets"]:
        ticket = parent_ticket(lab, cell, cost["sparsity"])
        mask, started = ticket.mask, ticket.provenance["start_step"] if weights is None else start_step
        if method.kind == "shuffled":
            mask = shuffle_within_layers(mask, generator(seed, "shuffle", str(cost["sparsity"])))
        found = (ticket.weights if weights is None else weights, mask, ticket.history, cost)
        save_ticket(lab, cell, cost["sparsity"], *found, start_step=started)
        costs.append(cost)
    return {**parent, "rounds": [], "tickets": costs}


def _weights_of_control(lab: Laboratory, cell: Cell, device: torch.device) -> tuple[dict[str, Tensor] | None, int]:
    """Return the weights that a control puts in the place of the parent's, None for those, and the steps they had.

    Those of a `rewound` control are the dense network's after the first steps of its final training, in a data order
    that no ticket is trained in (weight rewinding, Frankle et al. 2020).
    """
    method, start_step = lab.method(cell), 0
    if method.kind == "shuffled":
        return None, start_step
    model = lab.network(cell.network, cell.seed, device, fresh=method.kind == "reinitialised")
    if method.kind == "rewound":
        start_step = method.rewind_step
        order = derive_seed(lab.cell_seed(cell.network, cell.seed), "training", "rewinding")
        recipe, mask = dense_recipe(lab, cell.network), Mask.ones(model, lab.scope)
        Training(model, lab.real_data(device), recipe, seed=order, mask=mask).run(start_step)
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}, start_step

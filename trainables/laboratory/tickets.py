"""Saving the tickets of a comparison with what they have cost, and finding those that a method builds on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dp_core.pruning import Mask, Ticket
from trainables.laboratory.context import Laboratory
from trainables.laboratory.files import Cell
from trainables.laboratory.method import Method


def parent_cell(cell: Cell, method: Method) -> Cell:
    """Return the cell of the method that `method`, of the same network and seed, builds on."""
    assert method.parent is not None
    return Cell(cell.network, cell.seed, method.parent)


def parent_ticket(lab: Laboratory, cell: Cell, sparsity: float | None) -> Ticket:
    """Return the ticket that the method of `cell` builds on."""
    parent = parent_cell(cell, lab.method(cell))
    return Ticket.load(lab.files.ticket(Cell(parent.network, parent.seed, parent.method, sparsity)))


def save_ticket(
    lab: Laboratory,
    cell: Cell,
    target: float,
    weights: Mapping[str, Tensor],
    mask: Mask,
    history: Sequence[Mapping[str, Any]],
    cost: dict[str, Any],
    *,
    start_step: int = 0,
) -> None:
    """Save a ticket of `cell`.

    Its card keeps `cost`, so that who starts from it can count it, and `start_step`, at which its final training begins
    because its weights have had the steps before.
    """
    method, opened = lab.method(cell), lab.train.open()
    used = None if method.set_key is None else lab.sets[method.set_key]
    ticket = Ticket(
        spec=lab.networks[cell.network],
        input_shape=opened.image_shape,
        classes=opened.classes,
        weights=weights,
        mask=mask,
        history=list(history),
        provenance={
            "method": method.facts(),
            "network": cell.network,
            "seed": cell.seed,
            "cost": cost,
            "start_step": start_step,
            "train_digest": lab.train.digest,
            "distiller": None if used is None else dict(used.provenance),
            "torch": torch.__version__,
        },
        scope=lab.scope,
    )
    ticket.save(lab.files.ticket(Cell(cell.network, cell.seed, cell.method, target)))

"""Where the training of a ticket's network begins, and how it goes on, by a method."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from dp_core.errors import UserError
from dp_core.pruning import Mask, Ticket, criterion_named, no_examples
from dp_core.seeds import generator
from dp_core.training import MaskRule, Recipe
from trainables.retraining.method import RetrainingMethod


def beginning(method: RetrainingMethod, ticket: Ticket, seed: int) -> tuple[nn.Module, Mask]:
    """Return the network at the ticket's rewind point, on the CPU, under the mask that the training starts from."""
    mask = ticket.mask
    if not method.has_ticket_mask:
        mask = dense = Mask({name: kept.new_ones(kept.shape) for name, kept in ticket.mask.items()})
        if method.settings is not None and method.settings.starts_sparse:
            criterion, draw = criterion_named(method.criterion), generator(seed, "mask to start from")
            mask = criterion(ticket.build(dense), dense, ticket.mask.sparsity, draw, no_examples)
    return ticket.build(mask), mask


def rule_of(method: RetrainingMethod, ticket: Ticket) -> MaskRule | None:
    """Return how the mask changes on the way to the ticket's sparsity, None if it does not."""
    settings = method.settings
    if settings is None:
        return None
    criterion = criterion_named("magnitude" if settings.starts_sparse else method.criterion)
    return settings.rule(ticket.mask.sparsity, criterion, 0.0)


def recipe_of(method: RetrainingMethod, ticket: Ticket, images: int) -> Recipe:
    """Return the recipe, with as many steps as are left for this ticket's training on so many images.

    Raises:
        UserError: none is left.
    """
    recipe = method.recipe
    if not method.screening_counts:
        return recipe
    total, each = recipe.total_steps(images), recipe.images_per_step(images)
    spent = int(ticket.history[-1]["image_gradients"]) if ticket.history else 0
    steps = total - round(spent / each)
    if steps < 1:
        in_all = total * each
        raise UserError(f"Its screening has cost {spent:,} image-gradients of the {in_all:,} that there are in all.")
    return replace(recipe, steps=steps, epochs=None)

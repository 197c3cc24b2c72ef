"""The parts of a recipe that have a name: loss, optimiser, schedule and augmentation, built in or a user's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp_core.data.augmentation import Augmentation
from dp_core.data.registry import AUGMENTATIONS
from dp_core.errors import UserError
from dp_core.functions import failed, imported_function, is_function_name
from dp_core.training.recipe import CROSS_ENTROPY, Recipe

# Maps logits, float32 [N, classes], and labels, int64 [N] or float [N, classes], to their mean loss.
Loss = Callable[[Tensor, Tensor], Tensor]


def loss_of(recipe: Recipe) -> Loss:
    """Return the recipe's loss; a user's is called as `function(logits, labels)`."""
    if recipe.loss != CROSS_ENTROPY:
        return imported_function(recipe.loss, "The loss")
    smoothing = recipe.label_smoothing
    return lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=smoothing)


def augmentation_of(recipe: Recipe) -> Augmentation:
    """Return the recipe's augmentation; a user's is called as `function(images, generator)`."""
    if is_function_name(recipe.augmentation):
        return imported_function(recipe.augmentation, "The augmentation")
    return AUGMENTATIONS[recipe.augmentation]


def build_optimizer(recipe: Recipe, model: nn.Module, *, capturable: bool = False) -> torch.optim.Optimizer:
    """Return the recipe's optimiser over all of the model's parameters, in one kernel where torch has one.

    A user's function, or a class such as `torch.optim:NAdam`, is called with the parameters and the keywords `lr` and
    `weight_decay`. A built-in one that is to be `capturable` in a CUDA graph has its learning rate as a tensor on the
    device.

    Raises:
        UserError: the user's function raises, or returns no optimiser.
    """
    parameters = list(model.parameters())
    device = parameters[0].device
    if is_function_name(recipe.optimizer):
        return _own_optimizer(recipe, parameters)
    fused = device.type in ("cpu", "cuda") and all(parameter.is_floating_point() for parameter in parameters)
    rate = torch.tensor(recipe.learning_rate, device=device) if capturable else recipe.learning_rate
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, recipe.momentum, weight_decay=recipe.weight_decay, fused=fused)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    capturable = capturable and device.type == "cuda"
    return kind(parameters, rate, weight_decay=recipe.weight_decay, fused=fused, capturable=capturable)


def can_be_recorded(recipe: Recipe) -> bool:
    """Return whether steps may be recorded as CUDA graphs: of a user's loss or optimiser nobody knows."""
    return recipe.loss == CROSS_ENTROPY and not is_function_name(recipe.optimizer)


def _own_optimizer(recipe: Recipe, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    what = f"The optimizer '{recipe.optimizer}'"
    make = imported_function(recipe.optimizer, "The optimizer")
    try:
        made = make(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    except UserError:
        raise
    except Exception as error:  # whatever a user's function may raise
        raise failed(f"{what} cannot be made of parameters, lr and weight_decay", error) from error
    if not isinstance(made, torch.optim.Optimizer):
        raise UserError(f"{what} must be a torch.optim.Optimizer, not {type(made).__name__}.")
    held = {id(parameter) for group in made.param_groups for parameter in group["params"]}
    if held != {id(parameter) for parameter in parameters}:
        raise UserError(f"{what} must be over the parameters that it is given, all of them and no others.")
    return made

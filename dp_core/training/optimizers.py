"""The optimiser of a training."""

from __future__ import annotations

import torch
from torch import nn

from dp_core.training.recipe import Recipe


def build_optimizer(recipe: Recipe, model: nn.Module, *, capturable: bool = False) -> torch.optim.Optimizer:
    """Return the recipe's optimiser over all of the model's parameters, in one kernel where torch has one.

    If it is to be `capturable` in a CUDA graph, its learning rate is a tensor on the device.
    """
    parameters = list(model.parameters())
    device = parameters[0].device
    fused = device.type in ("cpu", "cuda") and all(parameter.is_floating_point() for parameter in parameters)
    rate = torch.tensor(recipe.learning_rate, device=device) if capturable else recipe.learning_rate
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, recipe.momentum, weight_decay=recipe.weight_decay, fused=fused)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    capturable = capturable and device.type == "cuda"
    return kind(parameters, rate, weight_decay=recipe.weight_decay, fused=fused, capturable=capturable)

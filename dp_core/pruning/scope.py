"""Which parameters may be pruned."""

from __future__ import annotations

from torch import nn

from dp_core.errors import UserError


def prunable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the prunable parameters by name, in the model's order: the weights of convolutions and linear layers.

    Biases and norm parameters are never pruned. A weight that two layers share is listed once.

    Raises:
        UserError: the model has no such layer.
    """
    layers = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    owned = {id(module.weight) for module in model.modules() if isinstance(module, layers)}
    found = {name: parameter for name, parameter in model.named_parameters() if id(parameter) in owned}
    if not found:
        raise UserError(f"The model {type(model).__name__} has no convolution or linear layer, so nothing to prune.")
    return found

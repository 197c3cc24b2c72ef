"""Giving torch's lazy layers their weights when a network is built, so that its seed draws them like all others."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from dp_core.errors import UserError

_IMAGES = 2  # a batch norm in training mode takes no single value


def materialise(model: nn.Module, input_shape: tuple[int, int, int]) -> None:
    """Let lazy layers (nn.LazyConv2d, nn.LazyLinear, …) find their input sizes in a forward pass of zeros; in place.

    A network without lazy layers is left alone. Modes and running statistics stay as they were.

    Args:
        model: on the CPU.
        input_shape: channels, height, width of one image.

    Raises:
        UserError: a lazy layer is not part of the forward pass, in evaluation or in training mode.
    """
    if not _waiting(model):
        return
    images = torch.zeros(_IMAGES, *input_shape)
    modes = [(module, module.training) for module in model.modules()]
    with torch.no_grad():
        model.eval()(images)
        if _waiting(model):  # layers that are only there while it trains
            known = [(buffer, buffer.clone()) for buffer in model.buffers() if not is_lazy(buffer)]
            model.train()(images)
            for buffer, value in known:
                buffer.copy_(value)
    for module, training in modes:
        module.training = training
    if left := _waiting(model):
        raise UserError(f"The lazy layer of '{left[0]}' is not used in the model's forward pass, and so has no size.")


def _waiting(model: nn.Module) -> list[str]:
    """Return the names of parameters and buffers that have no size yet."""
    return [name for name, tensor in chain(model.named_parameters(), model.named_buffers()) if is_lazy(tensor)]

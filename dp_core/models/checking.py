"""Seeing that a network takes the images it is built for, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dp_core.errors import UserError

_IMAGES = 2  # one would hide a network that mixes up images and channels


def check_forward(model: nn.Module, spec_label: str, input_shape: tuple[int, int, int], classes: int) -> None:
    """Run two zero images through `model` in evaluation mode, and leave everything as it was.

    Modes, buffers and torch's generator are the same afterwards. The images are made on the model's device, in the
    type of its parameters.

    Args:
        model: maps images [N, C, H, W] to logits [N, classes].
        spec_label: what to call it.
        input_shape: channels, height, width of one image.
        classes: number of logits that there should be.

    Raises:
        UserError: the forward pass fails, or its result is not [2, classes].
    """
    size = "×".join(map(str, input_shape))
    parameter = next(model.parameters(), torch.empty(0))
    images = torch.zeros(_IMAGES, *input_shape, dtype=parameter.dtype, device=parameter.device)
    gpus = [images.get_device()] if images.is_cuda else []
    try:
        with left_as_it_was(model), torch.random.fork_rng(devices=gpus), torch.no_grad():
            logits = model.eval()(images)
    except Exception as error:  # a user's model may raise anything
        raise failure(spec_label, input_shape, error) from error
    found = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if found != [_IMAGES, classes]:
        raise UserError(
            f"The model '{spec_label}' returns {found} for {_IMAGES} images of {size}, not [{_IMAGES}, {classes}]."
        )


def failure(spec_label: str, input_shape: tuple[int, int, int], error: Exception) -> UserError:
    """Return in one sentence that a forward pass raised `error`."""
    first_line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    size = "×".join(map(str, input_shape))
    return UserError(f"The model '{spec_label}' fails on images of {size}: {first_line.rstrip('.')}.")


@contextmanager
def left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Give every module its mode and its buffers back in the end, whatever they were replaced or overwritten by."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(module, dict(module.named_buffers(recurse=False))) for module in model.modules()]
    values = [(buffer, buffer.clone()) for _, owned in buffers for buffer in owned.values()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for module, owned in buffers:
            for name, buffer in owned.items():
                setattr(module, name, buffer)
        with torch.no_grad():
            for buffer, value in values:
                buffer.copy_(value)

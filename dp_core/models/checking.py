"""Seeing that a network takes the images it is built for, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dp_core.errors import UserError, in_one_line

_IMAGES = 2  # one would hide a network that mixes up images and channels


def check_forward(model: nn.Module, spec_label: str, input_shape: tuple[int, int, int], classes: int) -> None:
    """Run two zero images through `model` in evaluation and in training mode, and leave everything as it was.

    Modes, buffers and torch's generator are the same afterwards. The images are made on the model's device, in the
    type of its parameters.

    Args:
        model: maps images [N, C, H, W] to logits [N, classes].
        spec_label: what to call it.
        input_shape: channels, height, width of one image.
        classes: number of logits that there should be.

    Raises:
        UserError: the forward pass fails, or its result is not [2, classes] of real numbers.
    """
    size = "×".join(map(str, input_shape))
    parameter = next(model.parameters(), torch.empty(0))
    images = torch.zeros(_IMAGES, *input_shape, dtype=parameter.real.dtype, device=parameter.device)
    gpus = [images.get_device()] if images.is_cuda else []
    for training, when in ((False, ""), (True, " in training mode")):
        try:
            with left_as_it_was(model), torch.random.fork_rng(devices=gpus), torch.no_grad():
                logits = model.train(training)(images.clone())
        except Exception as error:  # a user's model may raise anything
            raise failure(spec_label, input_shape, error, when) from error
        found = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        if found != [_IMAGES, classes]:
            raise UserError(
                f"The model '{spec_label}' returns {found} for {_IMAGES} images of {size}{when}, "
                f"not [{_IMAGES}, {classes}]."
            )
        if not logits.is_floating_point():
            raise UserError(f"The model '{spec_label}' returns {logits.dtype}{when}, not real numbers.")


def failure(spec_label: str, input_shape: tuple[int, int, int], error: Exception, when: str = "") -> UserError:
    """Return in one sentence that a forward pass raised `error`; `when` follows the size of the images."""
    size = "×".join(map(str, input_shape))
    return UserError(f"The model '{spec_label}' fails on images of {size}{when}: {in_one_line(error)}.")


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

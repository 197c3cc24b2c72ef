"""A model visited at other values of its weights, and put back as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dp_core.errors import UserError, nearest
from dp_core.judging import reestimate_statistics
from dp_core.training.data import TrainingData
from dp_core.training.evaluation import Evaluation, evaluate
from dp_core.training.recipe import Precision

LossSurface = Callable[[Mapping[str, Tensor]], Evaluation]
"""Maps values for some entries of a model's state, by their names there, to loss and accuracy; the other entries stay
as the last call left them."""


@contextmanager
def loss_surface(
    model: nn.Module, data: TrainingData, *, statistics: TrainingData | None, batch_size: int, precision: Precision
) -> Iterator[LossSurface]:
    """Give loss and accuracy on all of `data` as a function of the model's state.

    In the end, after an exception too, parameters, buffers and modes are what they were.

    Args:
        model: is evaluated, in evaluation mode.
        data: with hard labels.
        statistics: images on which running statistics are estimated anew at every call; None leaves them alone.
        batch_size: images a forward pass, of both.
        precision: of the evaluation.

    Raises:
        UserError: soft labels, or a batch size below 1.
    """
    check_data(data, batch_size)
    entries = model.state_dict(keep_vars=True)

    def evaluate_at(values: Mapping[str, Tensor]) -> Evaluation:
        with torch.no_grad():
            for name, value in values.items():
                entries[name].copy_(value)
        if statistics is not None:
            reestimate_statistics(model, statistics, batch_size=batch_size)
        return evaluate(model, data, batch_size=batch_size, precision=precision)

    with unchanged_state(model):
        yield evaluate_at


@contextmanager
def unchanged_state(model: nn.Module) -> Iterator[None]:
    """Put parameters and buffers back to their values in the end; the tensors stay the same objects."""
    saved = [(tensor, tensor.detach().clone()) for tensor in (*model.parameters(), *model.buffers())]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in saved:
                tensor.copy_(value)


def check_data(data: TrainingData, batch_size: int) -> None:
    """Raise UserError for soft labels or batches without images."""
    if data.labels.dim() != 1 or data.labels.is_floating_point():
        raise UserError(
            f"The loss is analysed on images with one class each, not with soft labels {list(data.labels.shape)}."
        )
    if batch_size < 1:
        raise UserError(f"An analysis needs batches of at least 1 image, not {batch_size}.")


def kept_weights(model: nn.Module, mask: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """Return the mask's tensors, bool on the device of their parameters, checked to be for `model`.

    Raises:
        UserError: the model has no parameter of that name and shape.
    """
    parameters = dict(model.named_parameters())
    for name, kept in (mask or {}).items():
        if name not in parameters:
            raise UserError(
                f"This mask is for another model, which has a parameter '{name}'.{nearest(name, parameters)}"
            )
        if kept.shape != parameters[name].shape:
            raise UserError(
                f"This mask is for another model: {name} is {list(parameters[name].shape)} in the model "
                f"and {list(kept.shape)} in the mask."
            )
    return {name: kept.to(parameters[name].device, torch.bool) for name, kept in (mask or {}).items()}

"""A model visited at other values of its weights, and put back as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from dp_core.errors import UserError, nearest
from dp_core.training.data import TrainingData
from dp_core.training.evaluation import Evaluation, evaluate, evaluation_mode
from dp_core.training.precision import Precision

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
            reestimate_statistics(model, statistics, batch_size)
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


def reestimate_statistics(model: nn.Module, data: TrainingData, batch_size: int) -> None:
    """Replace the running statistics of batch (and instance) norms by those of the images of `data`, in place.

    What a weight average or a point between two networks needs (Izmailov et al. 2018, §3.2). Statistics become the
    mean over batches, each weighted by its images, of what the layer sees when it normalises with the batch's own
    statistics. Everything but these layers is in evaluation mode, so no dropout is active. The forward passes are
    those of the plain model in the format of its weights. A model without running statistics stays as it is.
    """
    norms = [module for module in model.modules() if isinstance(module, _NormBase) and module.running_mean is not None]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    device, seen = next(model.parameters()).device, 0
    try:
        with evaluation_mode(model), torch.no_grad(), torch.autocast(device.type, enabled=False):
            for norm in norms:
                norm.reset_running_stats()
                norm.train()
            for images, _ in batches_in_order(data, batch_size, model):
                seen += len(images)
                for norm in norms:  # the share of this batch among all images so far makes a running average exact
                    norm.momentum = len(images) / seen
                model(images)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def batches_in_order(data: TrainingData, batch_size: int, model: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Go through `data` once, in the fewest batches that hold at most `batch_size` images.

    Their sizes differ by one at most: a rest of a single image would have no variance. Yields images [n, C, H, W] in
    the network's space, on the device and in the format of the model's first parameter, and their labels.
    """
    like, pieces = next(model.parameters()), -(-len(data) // batch_size)
    for images, labels in zip(data.images.tensor_split(pieces), data.labels.tensor_split(pieces), strict=True):
        prepared, labels = TrainingData(images, labels, data.preprocessing).to(like.device).batch(slice(None))
        yield prepared.to(like.dtype), labels


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

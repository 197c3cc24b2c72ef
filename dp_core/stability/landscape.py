"""A two-dimensional slice of the loss around a trained network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.pruning import prunable_parameters
from dp_core.seeds import generator
from dp_core.stability.states import kept_weights, loss_surface
from dp_core.training.data import TrainingData
from dp_core.training.recipe import Precision


@dataclass(frozen=True, eq=False)
class LossSlice:
    """Loss and error on a square grid around a network.

    Attributes:
        offsets: ascending and symmetric around 0, in lengths of the filters: at offset 1 a direction has added to
            every filter a vector as long as the filter itself.
        losses: float64 [points, points] on the CPU, mean cross-entropy in nats; entry [i, j] is `offsets[i]` along
            the first direction and `offsets[j]` along the second.
        errors: likewise, the share of images misclassified, in [0, 1].
    """

    offsets: tuple[float, ...]
    losses: Tensor
    errors: Tensor


def loss_slice(
    model: nn.Module,
    data: TrainingData,
    *,
    seed: int,
    extent: float = 1.0,
    points: int = 21,
    mask: Mapping[str, Tensor] | None = None,
    statistics: TrainingData | None = None,
    batch_size: int = 500,
    precision: Precision = "float32",
) -> LossSlice:
    """Evaluate `model` on a grid in the plane of two random filter-normalised directions (Li et al. 2018, §4).

    The two are drawn independently, as in the paper, and not made orthogonal, which would change the lengths of
    filters with few weights left; over k weights their cosine is about 1/√k.

    Args:
        model: the network at the centre, the loss there being exactly what `evaluate` finds; it is in the end what it
            was.
        data: images with hard labels on which loss and error are measured.
        seed: draws the directions.
        extent: largest offset, above 0.
        points: along each direction, odd, so that one is the centre, and at least 3; all of `data` is evaluated
            points² times.
        mask: {parameter name: bool tensor}, True where kept; directions are zero elsewhere. None is the dense network.
        statistics: training images on which the running statistics of batch norms are estimated anew at every point,
            the centre too; None keeps the model's.
        batch_size: images a forward pass.
        precision: of the evaluation.

    Raises:
        UserError: an even number of points or fewer than 3, an extent that is not positive, a mask of another model,
            soft labels, or a batch size below 1.
    """
    if points < 3 or points % 2 == 0:
        raise UserError(f"A slice of the loss needs an odd number of points, of at least 3, not {points}.")
    if not 0 < extent < float("inf"):
        raise UserError(f"A slice of the loss needs an extent above 0, not {extent}.")
    centre = {name: weight.detach().clone() for name, weight in prunable_parameters(model).items()}
    first, second = (filter_normalised_direction(model, seed, axis, mask=mask) for axis in (0, 1))
    offsets = tuple(extent * (2 * index - (points - 1)) / (points - 1) for index in range(points))
    with loss_surface(model, data, statistics=statistics, batch_size=batch_size, precision=precision) as at:
        found = [
            at({name: weight + x * first[name] + y * second[name] for name, weight in centre.items()})
            for x in offsets
            for y in offsets
        ]
    losses = torch.tensor([each.loss for each in found], dtype=torch.float64)
    accuracies = torch.tensor([each.accuracy for each in found], dtype=torch.float64)
    return LossSlice(offsets, losses.view(points, points), 1 - accuracies.view(points, points))


def filter_normalised_direction(
    model: nn.Module, seed: int, axis: int, *, mask: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Return a random direction whose every filter is as long as the model's (Li et al. 2018, Eq. 1).

    d_f ← d_f / ‖d_f‖ · ‖θ_f‖ for every filter f: what stands along the first dimension of a weight, which makes one
    output channel of a convolution or one unit of a linear layer (and takes one input channel of a transposed one).
    Gaussian numbers come from `seed`, `axis` and the parameter's name alone, those that are not kept are set to zero,
    then filters are scaled. Parameters that are not listed have no direction: biases, norm parameters, and all that is
    no weight (see `prunable_parameters`).

    Returns:
        {name of a prunable parameter: tensor of its shape, on its device}.

    Raises:
        UserError: the mask is of another model, or the model has no such layer.
    """
    kept = kept_weights(model, mask)
    direction = {}
    for name, parameter in prunable_parameters(model).items():
        weight = parameter.detach()
        noise = torch.randn(weight.shape, generator=generator(seed, "landscape", axis, name)).to(weight)
        if name in kept:
            noise = noise.masked_fill(~kept[name], 0)
        # A filter without weights has no length to be divided by: 0 / 0.
        lengths = _filter_norms(noise)
        direction[name] = noise * (_filter_norms(weight) / torch.where(lengths > 0, lengths, 1))
    return direction


def _filter_norms(weight: Tensor) -> Tensor:
    """Return the length of every filter of a weight [out, ...], as [out, 1, ...]."""
    norms: Tensor = torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.dim())), keepdim=True)
    return norms

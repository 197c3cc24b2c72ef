"""Linear mode connectivity: what happens on the straight line between two networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dp_core.errors import UserError, nearest
from dp_core.stability.states import loss_surface
from dp_core.training.data import TrainingData
from dp_core.training.recipe import Precision


@dataclass(frozen=True)
class Connectivity:
    """Loss and error on the line from one network to another.

    A barrier is the highest value on the line minus the mean of its two ends (Frankle et al. 2020, §2, "linear
    interpolation instability"). The ends are on the line, so a barrier is never below half their difference, which is
    what it is where the value is nowhere higher than at the worse end; 0 takes two equal ends as well. It is NaN if
    any value is.

    Attributes:
        positions: ascending, 0 being the first network and 1 the other.
        losses: mean cross-entropy in nats at each position.
        errors: share of images misclassified, in [0, 1], at each position.
    """

    positions: tuple[float, ...]
    losses: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def error_barrier(self) -> float:
        """Highest error on the line minus the mean of the ends', in [0, 1]."""
        return _barrier(self.errors)

    @property
    def loss_barrier(self) -> float:
        """Highest loss on the line minus the mean of the ends', in nats, at least 0."""
        return _barrier(self.losses)


def _barrier(values: tuple[float, ...]) -> float:
    return float(np.max(values)) - (values[0] + values[-1]) / 2


def interpolate(
    model: nn.Module,
    one: Mapping[str, Tensor],
    other: Mapping[str, Tensor],
    data: TrainingData,
    *,
    points: int = 11,
    statistics: TrainingData | None = None,
    batch_size: int = 500,
    precision: Precision = "float32",
) -> Connectivity:
    """Evaluate the networks on the straight line from state `one` to state `other`.

    Parameters and floating-point buffers are interpolated, other buffers are the first state's. What is zero in both
    states is zero on the whole line, so two networks of one mask keep it. Both ends go through the same procedure as
    the points between them and are exactly the two states before statistics are estimated.

    Args:
        model: lends its architecture; its own parameters, buffers and modes are in the end what they were.
        one: state dict of the model; may be the model's own.
        other: likewise.
        data: images with hard labels on which loss and error are measured.
        points: equidistant positions, both ends among them, at least 2; Frankle et al. take 30.
        statistics: training images on which the running statistics of batch norms are estimated anew at every point
            (`dp_core.judging.reestimate_statistics`): activations between two networks have less variance
            than those of either, so interpolated statistics show barriers that are not the weights'. None
            interpolates the statistics. Makes no difference to a model that has none.
        batch_size: images a forward pass.
        precision: of the evaluation.

    Raises:
        UserError: fewer than 2 points, a state of another model, soft labels, or a batch size below 1.
    """
    if points < 2:
        raise UserError(f"A line between two networks needs at least 2 points, not {points}.")
    first, second = _own_copy(model, one, "first"), _own_copy(model, other, "second")
    positions = tuple(index / (points - 1) for index in range(points))
    with loss_surface(model, data, statistics=statistics, batch_size=batch_size, precision=precision) as at:
        found = [at(_between(first, second, position)) for position in positions]
    return Connectivity(
        positions, losses=tuple(each.loss for each in found), errors=tuple(1 - each.accuracy for each in found)
    )


def _between(one: Mapping[str, Tensor], other: Mapping[str, Tensor], position: float) -> dict[str, Tensor]:
    # lerp, unlike (1 - t)·a + t·b, gives both ends exactly and two equal values back.
    return {
        name: torch.lerp(value, other[name], position) if value.is_floating_point() else value
        for name, value in one.items()
    }


def _own_copy(model: nn.Module, state: Mapping[str, Tensor], which: str) -> dict[str, Tensor]:
    """Return the tensors of `state`, apart from the model's, on its devices and in its formats."""
    entries = model.state_dict()
    mistake = f"The {which} state is of another model:"
    for name in entries:
        if name not in state:
            raise UserError(f"{mistake} it has no '{name}'.{nearest(name, state)}")
    for name in state:
        if name not in entries:
            raise UserError(f"{mistake} the model to evaluate has no '{name}'.{nearest(name, entries)}")
    tensors = {name: entry for name, entry in entries.items() if isinstance(entry, Tensor)}
    for name, entry in tensors.items():
        if state[name].shape != entry.shape:
            raise UserError(f"{mistake} {name} is {list(state[name].shape)} and in the model {list(entry.shape)}.")
    return {name: state[name].detach().to(entry, copy=True) for name, entry in tensors.items()}

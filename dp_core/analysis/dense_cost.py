"""What can be told of a pruned network's cost before anything is trained: from its architecture alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from dp_core.analysis.cost import _uses_of_each_weight
from dp_core.models import ModelSpec, build
from dp_core.pruning import prunable_parameters

# A norm changes no shape, and without memory it is what takes most of a forward pass's time.
_NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
)


@dataclass(frozen=True)
class DenseCost:
    """An architecture's sizes, from which follows what pruning it to a sparsity leaves; counted as `Cost` counts.

    Attributes:
        parameters: all of them, those that are never pruned included.
        layers: weights of each prunable parameter and how often a forward pass of one image multiplies with each of
            them, the least used first.
    """

    parameters: int
    layers: tuple[tuple[int, int], ...]

    @property
    def weights(self) -> int:
        """Number of prunable weights."""
        return sum(weights for weights, _ in self.layers)

    @property
    def flops(self) -> int:
        """FLOPs of the dense network."""
        return self.least_flops(0.0)

    def weights_kept(self, sparsity: float) -> int:
        """Return how many prunable weights a mask of this sparsity keeps: all but `round(sparsity × weights)`."""
        return self.weights - round(sparsity * self.weights)

    def parameters_left(self, sparsity: float) -> int:
        """Return the parameters left at this sparsity, which do not depend on which weights are pruned."""
        return self.parameters - self.weights + self.weights_kept(sparsity)

    def least_flops(self, sparsity: float) -> int:
        """Return the fewest FLOPs that can remain at this sparsity: with the least used weights kept.

        Masks that keep them are valid but may cut the network, so what pruning leaves is as a rule well above.
        """
        left, flops = self.weights_kept(sparsity), 0
        for weights, uses in self.layers:
            kept = min(left, weights)
            flops += 2 * kept * uses
            left -= kept
        return flops


def dense_cost(spec: ModelSpec, input_shape: tuple[int, int, int], classes: int) -> DenseCost:
    """Return the sizes of an architecture; torch's generators stay as they were.

    It is built without memory for its weights (torch's meta device) where it can be, else in earnest.

    Args:
        spec: the architecture.
        input_shape: channels, height, width of one image.
        classes: number of outputs.

    Raises:
        UserError: it cannot be built, or has nothing to prune.
        Exception: whatever a user's own network raises in its forward pass.
    """
    try:
        with torch.device("meta"):
            model = build(spec, input_shape, classes, seed=0)
        return _counted(model, input_shape)
    except Exception:  # a user's network may need the numbers, which a tensor without memory does not have
        return _counted(build(spec, input_shape, classes, seed=0), input_shape)


def _counted(model: nn.Module, input_shape: tuple[int, int, int]) -> DenseCost:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    sizes = {name: parameter.numel() for name, parameter in prunable_parameters(model).items()}
    if next(model.parameters()).is_meta:
        _leave_out_norms(model)
    uses = _uses_of_each_weight(model, input_shape)
    return DenseCost(
        parameters, tuple(sorted(((sizes[name], uses[name]) for name in sizes), key=lambda layer: layer[1]))
    )


def _leave_out_norms(model: nn.Module) -> None:
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) in _NORMS:  # not those that a user derived, which may do more
                setattr(module, name, nn.Identity())

"""What can be told of a pruned network's cost before anything is trained: from its architecture alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dp_core.models import ModelSpec, check_forward, observe, outline, recorded_products


@dataclass(frozen=True)
class DenseCost:
    """An architecture's sizes, from which follows what pruning it to a sparsity leaves; counted as `Cost` counts.

    Attributes:
        parameters: all of them, those that are never pruned included.
        layers: weights of each prunable parameter and how often a forward pass of one image multiplies with each of
            them, the least used first; a parameter whose parts differ in that is there in parts.
        other_flops: of products without a weight, which no pruning takes away.
    """

    parameters: int
    layers: tuple[tuple[int, int], ...]
    other_flops: int = 0

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
        left, flops = self.weights_kept(sparsity), self.other_flops
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
        UserError: it cannot be built, or its forward pass fails.
    """
    model = outline(spec, input_shape, classes)
    products = recorded_products(model)
    if products is None:
        check_forward(model, spec.label(), input_shape, classes)  # which says what is wrong
        products = observe(model, input_shape)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    layers = [layer for name, uses in products.uses.items() for layer in _by_use(uses, sizes[name])]
    return DenseCost(sum(sizes.values()), tuple(sorted(layers, key=lambda layer: layer[1])), products.other_flops)


def _by_use(uses: int | Tensor, weights: int) -> list[tuple[int, int]]:
    if isinstance(uses, int):
        return [(weights, uses)]
    often, counts = torch.unique(uses, return_counts=True)
    return list(zip(counts.tolist(), often.tolist(), strict=True))

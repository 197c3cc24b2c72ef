"""Magnitude pruning, over the whole network and layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dp_core.pruning.criteria.base import Examples
from dp_core.pruning.criteria.selection import keep_highest, keep_highest_per_layer, parameters_in_scope
from dp_core.pruning.mask import Mask


@dataclass(frozen=True)
class GlobalMagnitude:
    """Remove the weights of smallest magnitude over the whole network (Han et al. 2015; Frankle & Carbin 2019)."""

    image_gradients = 0

    def __call__(
        self, model: nn.Module, mask: Mask, sparsity: float, generator: torch.Generator, examples: Examples
    ) -> Mask:
        """See Criterion."""
        return keep_highest(_magnitudes(model, mask), mask, sparsity)


@dataclass(frozen=True)
class LayerwiseMagnitude:
    """Remove the weights of smallest magnitude of every layer, at the same sparsity in each (Frankle & Carbin 2019).

    The number of weights kept is divided among the layers in proportion to their sizes by largest remainder, so the
    total is exact; a layer that has fewer left than its part keeps those, and none becomes empty before it must.
    """

    image_gradients = 0

    def __call__(
        self, model: nn.Module, mask: Mask, sparsity: float, generator: torch.Generator, examples: Examples
    ) -> Mask:
        """See Criterion."""
        sizes = {name: tensor.numel() for name, tensor in mask.items()}
        return keep_highest_per_layer(_magnitudes(model, mask), mask, sparsity, sizes)


def _magnitudes(model: nn.Module, mask: Mask) -> dict[str, Tensor]:
    return {name: weight.detach().abs() for name, weight in parameters_in_scope(model, mask).items()}

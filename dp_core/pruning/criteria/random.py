"""Random masks: the controls that every other criterion has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dp_core.pruning.criteria.base import Examples
from dp_core.pruning.criteria.selection import keep_highest, keep_highest_per_layer
from dp_core.pruning.mask import Mask


@dataclass(frozen=True)
class UniformRandom:
    """Remove weights drawn uniformly over the whole network: the control at equal sparsity."""

    image_gradients = 0

    def __call__(
        self, model: nn.Module, mask: Mask, sparsity: float, generator: torch.Generator, examples: Examples
    ) -> Mask:
        """See Criterion."""
        return keep_highest(_draws(mask, generator), mask, sparsity)


@dataclass(frozen=True)
class ErdosRenyiKernel:
    """Remove weights at random within layers of Erdős–Rényi-Kernel densities (Evci et al. 2020, RigL).

    The density of a convolution is ε (n_in + n_out + k_h + k_w) / (n_in n_out k_h k_w), that of a linear layer
    ε (n_in + n_out) / (n_in n_out): the sum of the weight's shape over its product, with one ε for the network that
    makes the total exact. Layers whose density would exceed 1 are dense and ε is larger for the rest. Layers that are
    wide keep a smaller part of their weights than narrow ones, which makes this the stronger random control at high
    sparsity.
    """

    image_gradients = 0

    def __call__(
        self, model: nn.Module, mask: Mask, sparsity: float, generator: torch.Generator, examples: Examples
    ) -> Mask:
        """See Criterion."""
        shares = {name: sum(tensor.shape) for name, tensor in mask.items()}  # density × size, up to ε
        return keep_highest_per_layer(_draws(mask, generator), mask, sparsity, shares)


def shuffle_within_layers(mask: Mask, generator: torch.Generator) -> Mask:
    """Return a mask with the same number of weights in every layer, placed at random.

    The stricter random control (Frankle et al. 2021): what a ticket is worth if only its layer-wise densities count.
    """
    return Mask(
        {
            name: tensor.reshape(-1)[torch.randperm(tensor.numel(), generator=generator)].view(tensor.shape)
            for name, tensor in mask.items()
        }
    )


def _draws(mask: Mask, generator: torch.Generator) -> dict[str, Tensor]:
    return {name: torch.rand(tensor.shape, generator=generator) for name, tensor in mask.items()}

"""Pruning criteria: which weights go next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from dp_core.pruning.mask import Mask
from dp_core.pruning.scope import prunable_parameters


class Criterion(Protocol):
    """Chooses the weights to keep. A new one is a class with this method and a line in CRITERIA."""

    def __call__(self, model: nn.Module, mask: Mask, sparsity: float, generator: torch.Generator) -> Mask:
        """Return a mask of `model` with exactly `round(sparsity × prunable weights)` zeros that keeps nothing anew.

        Args:
            model: as trained under `mask`.
            mask: the weights there are now.
            sparsity: fraction of all prunable weights to be zero, in [mask.sparsity, 1).
            generator: for criteria that draw at random.
        """


class GlobalMagnitude:
    """Remove the weights of smallest magnitude over the whole network (Han et al. 2015; Frankle & Carbin 2019)."""

    def __call__(self, model: nn.Module, mask: Mask, sparsity: float, generator: torch.Generator) -> Mask:
        """See Criterion."""
        scores = {name: weight.detach().abs() for name, weight in prunable_parameters(model).items()}
        return keep_highest(scores, mask, sparsity)


class UniformRandom:
    """Remove weights drawn uniformly over the whole network: the control at equal sparsity."""

    def __call__(self, model: nn.Module, mask: Mask, sparsity: float, generator: torch.Generator) -> Mask:
        """See Criterion."""
        scores = {name: torch.rand(tensor.shape, generator=generator) for name, tensor in mask.items()}
        return keep_highest(scores, mask, sparsity)


CRITERIA: Mapping[str, Criterion] = {
    "magnitude": GlobalMagnitude(),
    "random": UniformRandom(),
}


def keep_highest(scores: Mapping[str, Tensor], mask: Mask, sparsity: float) -> Mask:
    """Return the sub-mask of `mask` that keeps the weights of highest score, `round(sparsity × total)` being zero.

    Among equal scores the weight that comes first in the model goes first, so the result is deterministic.

    Raises:
        ValueError: the sparsity is below the mask's or not below 1.
    """
    removed = round(sparsity * mask.total)
    if not mask.total - mask.kept <= removed < mask.total:
        raise ValueError(f"A mask of sparsity {mask.sparsity:.4f} cannot be pruned to {sparsity:.4f}.")
    flat = torch.cat([_comparable(scores[name]) for name in mask])
    keep = torch.cat([tensor.reshape(-1) for tensor in mask.values()])
    left = keep.nonzero().squeeze(1)
    order = torch.argsort(flat[left], stable=True)
    keep[left[order[: removed - (mask.total - mask.kept)]]] = False
    parts = keep.split([tensor.numel() for tensor in mask.values()])
    return Mask({name: part.view(mask[name].shape) for name, part in zip(mask, parts, strict=True)})


def _comparable(scores: Tensor) -> Tensor:
    return scores.detach().cpu().to(torch.promote_types(scores.dtype, torch.float32)).reshape(-1)


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

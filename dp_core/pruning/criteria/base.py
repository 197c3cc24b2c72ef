"""What a pruning criterion is."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from dp_core.pruning.examples import Examples
from dp_core.pruning.mask import Mask

__all__ = ["Criterion", "Examples"]


class Criterion(Protocol):
    """Chooses the weights to keep.

    The names of a mask are the scope: exactly the parameters named there are scored and pruned. A criterion leaves the
    model (weights, buffers, gradients, modes) and torch's global generators as they were, and among weights of equal
    score removes those that come first in the model. Criteria are compared by value (frozen dataclasses), because the
    plans that hold them are.
    """

    @property
    def image_gradients(self) -> int:
        """Number of images that one call passes forward and backward at most; 0 if it looks at weights only."""

    def __call__(
        self, model: nn.Module, mask: Mask, sparsity: float, generator: torch.Generator, examples: Examples
    ) -> Mask:
        """Return a sub-mask of `mask` with exactly `round(sparsity × mask.total)` zeros.

        Args:
            model: as trained under `mask`, or untrained for criteria of pruning at initialisation.
            mask: the weights there are now.
            sparsity: fraction of the weights in scope to be zero, in [mask.sparsity, 1).
            generator: of the CPU, for criteria that draw at random.
            examples: gives training images and their labels; only criteria with image_gradients > 0 call it.

        Raises:
            ValueError: the sparsity is below the mask's or not below 1.
            UserError: the mask is for another model, or what the criterion computes is not finite.
        """

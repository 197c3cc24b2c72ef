"""SNIP: keep the connections that the loss is most sensitive to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from dp_core.errors import UserError
from dp_core.pruning.criteria.base import Examples
from dp_core.pruning.criteria.gradients import exact_arithmetic, finite, masked_copy, training_loss
from dp_core.pruning.criteria.selection import keep_highest, number_kept
from dp_core.pruning.mask import Mask


@dataclass(frozen=True)
class SNIP:
    """Remove the connections of smallest sensitivity |∂L/∂c| = |w ∂L/∂w| (Lee et al. 2019, equation 6).

    c = 1 is a factor on every connection that the mask keeps; L is the cross-entropy of one batch in training mode. The
    paper prunes once, at initialisation; used round by round this is iterative SNIP.

    Args:
        images: number of training images in the batch, at least 1; the paper takes about a hundred.
    """

    images: int = 100

    def __post_init__(self) -> None:
        if self.images < 1:
            raise UserError(f"snip needs at least one image, not {self.images}.")

    @property
    def image_gradients(self) -> int:
        """One pass forward and backward over the batch."""
        return self.images

    def __call__(
        self, model: nn.Module, mask: Mask, sparsity: float, generator: torch.Generator, examples: Examples
    ) -> Mask:
        """See Criterion."""
        number_kept(mask, sparsity)  # an impossible sparsity fails before the work
        copied, weights = masked_copy(model, mask)
        with exact_arithmetic(weights, generator):
            loss = training_loss(copied, examples(self.images))
            gradients = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        scores = {
            name: (w.detach().conj() * g).real.abs() for (name, w), g in zip(weights.items(), gradients, strict=True)
        }
        return keep_highest(finite(scores, "snip"), mask, sparsity)

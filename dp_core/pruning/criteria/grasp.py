"""GraSP: keep the weights that the flow of gradients needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.pruning.criteria.base import Examples
from dp_core.pruning.criteria.gradients import exact_arithmetic, finite, masked_copy, training_loss
from dp_core.pruning.criteria.selection import keep_highest, number_kept
from dp_core.pruning.mask import Mask


@dataclass(frozen=True)
class GraSP:
    """Remove the weights whose loss hurts the gradient norm least (Wang et al. 2020, equation 8).

    Removing weight w changes ‖g‖² by S = -w (H g) to first order, up to a factor of 2, with g and H the gradient and
    Hessian of the loss with respect to the weights that the mask keeps. The weights of *highest* S go: without them the
    gradient norm grows most or shrinks least. This is signed: neither |S| nor the lowest S.

    The loss is the cross-entropy of one batch in training mode, of logits divided by `temperature`: at initialisation
    the softmax is then nearly uniform and H g does not depend on how the last layer happens to be scaled.

    Args:
        images: number of training images in the batch, at least 1; the authors take ten a class.
        temperature: above 0; the authors' 200.
    """

    images: int = 100
    temperature: float = 200.0

    def __post_init__(self) -> None:
        if self.images < 1:
            raise UserError(f"grasp needs at least one image, not {self.images}.")
        if not self.temperature > 0:
            raise UserError(f"grasp needs a temperature above 0, not {self.temperature}.")

    @property
    def image_gradients(self) -> int:
        """Two passes over the batch: differentiating the gradient costs about as much again as the gradient."""
        return 2 * self.images

    def __call__(
        self, model: nn.Module, mask: Mask, sparsity: float, generator: torch.Generator, examples: Examples
    ) -> Mask:
        """See Criterion."""
        number_kept(mask, sparsity)  # an impossible sparsity fails before the work
        copied, weights = masked_copy(model, mask)
        with exact_arithmetic(weights, generator):
            loss = training_loss(copied, examples(self.images), temperature=self.temperature)
            products = hessian_gradient_product(loss, weights, mask)
        scores = {  # -S: the highest stay
            name: (weight.detach().conj() * products[name]).real for name, weight in weights.items()
        }
        return keep_highest(finite(scores, "grasp"), mask, sparsity)


def hessian_gradient_product(loss: Tensor, weights: Mapping[str, Tensor], mask: Mask) -> dict[str, Tensor]:
    """Return H g for the weights that the mask keeps, as if the others did not exist; 0 for those.

    By differentiating g·v at constant v = g (Pearlmutter 1994), so no Hessian is formed.

    Args:
        loss: a scalar with its graph.
        weights: leaves of the graph.
        mask: of the same names and shapes.
    """
    leaves = list(weights.values())
    kept = [mask[name].to(weight.device) for name, weight in weights.items()]
    gradients = torch.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True)
    along = torch.stack([(g * g.detach().conj() * k).real.sum() for g, k in zip(gradients, kept, strict=True)]).sum()
    products = torch.autograd.grad(along, leaves, materialize_grads=True)
    return {name: product * k for name, product, k in zip(weights, products, kept, strict=True)}

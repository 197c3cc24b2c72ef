"""SynFlow: keep the weights that carry the flow from inputs to outputs, without looking at data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from dp_core.errors import UserError
from dp_core.pruning.criteria.base import Examples
from dp_core.pruning.criteria.gradients import exact_arithmetic, finite, masked_copy
from dp_core.pruning.criteria.selection import keep_highest, number_kept
from dp_core.pruning.mask import Mask
from dp_core.pruning.scope import prunable_parameters

_BYPASSED = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm, nn.Sigmoid, nn.Tanh, nn.Hardtanh)


@dataclass(frozen=True)
class SynFlow:
    """Remove the weights of least synaptic flow R, again and again (Tanaka et al. 2020, algorithm 1).

    R = 1ᵀ |W_L| ⋯ |W_1| 1 is the sum of the outputs of the network of absolute weights for an image of ones; the score
    of a weight is |w| ∂R/∂|w|. Scored once, the flow is all but lost at high sparsity, so the density falls from the
    mask's to the target by the same factor in each of `iterations` steps, and every step scores what is left, over
    the whole network. It computes in float64, because R is a product over all layers and leaves the range of float32
    in deep networks.

    R is a sum over paths from the image to the outputs (see `path_network`), and the scores of every layer of a chain
    then sum to R. This is all that protects narrow layers: where weights go one at a time, a chain has no empty layer
    as long as there are as many weights as layers (theorem 3). Steps that take many weights at once, or fewer weights
    than layers, can empty a layer of a chain, and a branch beside another empties whenever it carries little.

    In transformers the class token and the positions are zero, so that all flow comes from the image. Attention mixes
    the tokens with softmax weights, which are positive and let the flow pass, but are no product: queries and keys
    count as far as they shift the mix, by scores that can be zero or negative, and the layers before them no longer
    sum to R (they can exceed it by orders of magnitude). None of the paper's guarantees holds there.

    Args:
        iterations: number of steps, at least 1; the paper's 100.
    """

    iterations: int = 100

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise UserError(f"synflow needs at least one iteration, not {self.iterations}.")

    @property
    def image_gradients(self) -> int:
        """Every iteration passes one image of ones forward and backward."""
        return self.iterations

    def __call__(
        self, model: nn.Module, mask: Mask, sparsity: float, generator: torch.Generator, examples: Examples
    ) -> Mask:
        """See Criterion; of `examples` only the shape of an image counts.

        Raises:
            UserError: also where the network has complex parameters or recurrent layers, see `require_paths`.
        """
        factor = number_kept(mask, sparsity) / mask.kept
        require_paths(model)
        copied, weights = path_network(model, mask)
        images, _ = examples(1)
        ones = torch.ones_like(images[:1], dtype=torch.float64)
        start = mask
        with exact_arithmetic(weights, generator):
            for iteration in range(1, self.iterations + 1):
                wanted = 1 - start.density * factor ** (iteration / self.iterations)
                scores = finite(synaptic_flow(copied, weights, ones), "synflow")
                mask = keep_highest(scores, mask, wanted if iteration < self.iterations else sparsity)
                mask.apply_(copied)
        return mask


def require_paths(model: nn.Module) -> None:
    """Raise UserError if `model` has complex parameters, or recurrent layers, whose states are no sums over paths.

    At the large numbers of a network of absolute weights they are saturated: the flow through them is exactly zero.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_complex():
            raise UserError(f"synflow has no score for networks with complex parameters, such as '{name}'.")
    for name, module in model.named_modules():
        if isinstance(module, nn.RNNBase | nn.RNNCellBase):
            raise UserError(
                f"synflow has no score for recurrent layers, whose gates let no flow of absolute weights pass: "
                f"'{name}' is {type(module).__name__}."
            )


def path_network(model: nn.Module, mask: Mask) -> tuple[nn.Module, dict[str, nn.Parameter]]:
    """Return a copy of `model` whose outputs are sums over paths of products of absolute weights, and its scope.

    Whatever is no path or no factor is left out: every parameter that is no weight (see `prunable_parameters`) is zero
    (biases, class tokens, positions), and norms and bounded activations are the identity. Norms of one constant
    image would make everything zero, or divide the scale away again, and their statistics have nothing to do with
    absolute weights; a bounded activation passes no gradient on at such inputs.

    Args:
        model: left as it is.
        mask: applied to the copy; names the parameters that are returned, those of the copy, which have gradients.
            Weights that it does not name are all there.

    Returns:
        The copy, in float64 and evaluation mode, and its parameters in scope.

    Raises:
        UserError: the mask is for another model.
    """
    copied, weights = masked_copy(model, mask, torch.float64)
    factors = {id(weight) for weight in prunable_parameters(copied).values()}
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.abs_() if id(parameter) in factors else parameter.zero_()
    for module in copied.modules():
        if isinstance(module, _BYPASSED):
            # Not replaced by nn.Identity: containers may look at attributes of theirs.
            module.register_forward_hook(lambda module, inputs, output: inputs[0])
    return copied.eval(), weights


def synaptic_flow(network: nn.Module, weights: Mapping[str, nn.Parameter], images: Tensor) -> dict[str, Tensor]:
    """Return |w| ∂R/∂|w| for every weight, R being the sum of the outputs for `images`, float64 [n, C, H, W]."""
    flow = network(images).sum()
    gradients = torch.autograd.grad(flow, list(weights.values()), materialize_grads=True)
    return {name: w.detach() * g for (name, w), g in zip(weights.items(), gradients, strict=True)}

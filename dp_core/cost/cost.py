"""What a network costs: parameters and floating-point operations, dense and after pruning."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from dp_core.models import observe
from dp_core.pruning import Mask


@dataclass(frozen=True)
class Cost:
    """Cost of one forward pass of one image.

    FLOPs are those of matrix products and convolutions, two for each multiply-accumulate, biases, norms and activations
    not counted: the convention of `torch.utils.flop_counter`. Those without a weight (attention's scores) are counted
    too, and recurrent layers step by step, on every device alike. `flops_remaining` counts only weights that are kept,
    what hardware without support for unstructured sparsity does not realise. `parameters_left` is the weights kept and
    all parameters that are not prunable.
    """

    parameters: int
    parameters_left: int
    flops_dense: int
    flops_remaining: int


class CostModel:
    """Counts a network once, then prices any mask of it.

    Args:
        model: is observed in one forward pass, see `observe`.
        input_shape: channels, height, width of one image.
    """

    def __init__(self, model: nn.Module, input_shape: tuple[int, int, int]) -> None:
        self._parameters = sum(parameter.numel() for parameter in model.parameters())
        self._products = observe(model, input_shape)
        shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        uses = self._products.uses
        self._flops = {name: 2 * multiplications(each, shapes[name].numel()) for name, each in uses.items()}

    def __call__(self, mask: Mask | None = None) -> Cost:
        """Return the cost under `mask`, None being the dense network; what is outside the mask's scope is kept."""
        masked = {} if mask is None else mask
        removed = sum(
            self._flops[name] - 2 * _kept_multiplications(each, masked[name])
            for name, each in self._products.uses.items()
            if name in masked
        )
        dense = self._products.other_flops + sum(self._flops.values())
        return Cost(
            parameters=self._parameters,
            parameters_left=self._parameters - (0 if mask is None else mask.total - mask.kept),
            flops_dense=dense,
            flops_remaining=dense - removed,
        )


def multiplications(uses: int | Tensor, weights: int) -> int:
    """Return how often a forward pass multiplies with any of `weights` weights, each being used so often."""
    return weights * uses if isinstance(uses, int) else int(uses.sum())


def _kept_multiplications(uses: int | Tensor, kept: Tensor) -> int:
    return int(kept.sum()) * uses if isinstance(uses, int) else int(uses[kept].sum())

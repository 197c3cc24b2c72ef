"""What a network costs: parameters and floating-point operations, dense and after pruning."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dp_core.pruning import Mask, prunable_parameters
from dp_core.training.evaluation import evaluation_mode


@dataclass(frozen=True)
class Cost:
    """Cost of one forward pass of one image.

    FLOPs are those of convolutions and linear layers, two for each multiply-accumulate, biases, norms and activations
    not counted: the convention of `torch.utils.flop_counter`. `flops_remaining` counts only weights that are kept,
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
        model: is run forward once, in evaluation mode, on zeros.
        input_shape: channels, height, width of one image.
    """

    def __init__(self, model: nn.Module, input_shape: tuple[int, int, int]) -> None:
        self._parameters = sum(parameter.numel() for parameter in model.parameters())
        self._uses_of_each_weight = _uses_of_each_weight(model, input_shape)
        self._dense = Mask.ones(model)

    def __call__(self, mask: Mask | None = None) -> Cost:
        """Return the cost under `mask`, None being the dense network."""
        mask = self._dense if mask is None else mask
        uses = self._uses_of_each_weight
        return Cost(
            parameters=self._parameters,
            parameters_left=self._parameters - mask.total + mask.kept,
            flops_dense=sum(2 * tensor.numel() * uses[name] for name, tensor in self._dense.items()),
            # What is outside the mask's scope is kept.
            flops_remaining=sum(
                2 * int(mask.get(name, tensor).sum()) * uses[name] for name, tensor in self._dense.items()
            ),
        )


def _uses_of_each_weight(model: nn.Module, input_shape: tuple[int, int, int]) -> dict[str, int]:
    """Return how often a forward pass of one image multiplies with each weight of a prunable parameter.

    That is once for each output position: height × width for a convolution, tokens for a linear layer.
    """
    names = {id(parameter): name for name, parameter in prunable_parameters(model).items()}
    uses = dict.fromkeys(names.values(), 0)

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        channels = output.shape[-1] if isinstance(module, nn.Linear) else output.shape[1]
        uses[names[id(module.weight)]] += output.numel() // channels

    hooks: list[RemovableHandle] = [
        module.register_forward_hook(count)
        for module in model.modules()
        if id(getattr(module, "weight", None)) in names
    ]
    try:
        with evaluation_mode(model), torch.inference_mode():
            model(next(model.parameters()).new_zeros(1, *input_shape))
    finally:
        for hook in hooks:
            hook.remove()
    return uses

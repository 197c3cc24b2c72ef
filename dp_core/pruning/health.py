"""Noticing that a pruned network is dead, so that nobody trains it to the end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dp_core.models import layer_by_layer
from dp_core.pruning.criteria.synflow import path_network
from dp_core.pruning.mask import Mask
from dp_core.pruning.scope import prunable_parameters
from dp_core.training import Evaluation


def layer_collapse(mask: Mask, model: nn.Module, image_shape: tuple[int, int, int]) -> str | None:
    """Return in words which layers have no weight left (layer collapse, Tanaka et al. 2020) if that cuts the network.

    In a chain it always does. Beside a shortcut, or where a layer's output goes nowhere, it need not: the network is
    alive as long as some path of kept weights leads from the image to an output. Only the mask decides, not the values
    of the weights; weights that the mask does not name are kept, and biases are no path.

    Args:
        mask: of the parameters in scope.
        model: the network, with whatever weights; left as it is.
        image_shape: channels, height, width of its images.

    Returns:
        None if every layer has weights, or if the image reaches an output without those that have none.

    Raises:
        UserError: the mask has an empty layer and is for another model.
    """
    empty = mask.empty_layers()
    if not empty or _image_reaches_outputs(model, mask, image_shape):
        return None
    return f"layer collapse: no weight left in {', '.join(empty)}"


def _image_reaches_outputs(model: nn.Module, mask: Mask, image_shape: tuple[int, int, int]) -> bool:
    network, _ = path_network(model, mask)
    weights = prunable_parameters(network).values()
    owned = {id(weight) for weight in weights}
    with torch.no_grad():
        for weight in weights:
            # A kept weight is a path even if it is zero now, or NaN. As a mean over inputs, which saturates no gate.
            weight.fill_(1 / weight[0].numel())
    mask.apply_(network)
    for module in network.modules():
        if id(getattr(module, "weight", None)) in owned:
            # Only whether anything arrives counts; what it is would leave the range of float64 in deep networks.
            module.register_forward_hook(lambda module, inputs, output: (output > 0).to(output.dtype))
    device = next(iter(weights)).device
    with torch.no_grad(), torch.autocast(device.type, enabled=False), layer_by_layer():
        outputs = network(torch.ones(1, *image_shape, dtype=torch.float64, device=device))
    return bool((outputs != 0).any())


def chance(labels: Tensor) -> float:
    """Return the accuracy of always answering the most frequent class of `labels`, int64 [N]."""
    return float(torch.bincount(labels).max()) / len(labels)


def at_chance(found: Evaluation, chance_accuracy: float) -> bool:
    """Return whether a network does no better than one constant answer: one class predicted, or no more accurate."""
    return found.predicted_classes == 1 or found.accuracy <= chance_accuracy

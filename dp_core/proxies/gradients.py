"""The gradient of the loss at initialisation, which several proxies look at."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dp_core.pruning import prunable_parameters
from dp_core.pruning.criteria.gradients import training_loss


def weights_and_gradients(network: nn.Module, batch: tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return each weight W (see `prunable_parameters`) and ∂L/∂W, zeros where the loss does not depend on it.

    L is the mean cross-entropy of the batch in training mode. Biases, parameters of norms, tokens and positions are
    left out, as in the literature.

    Args:
        network: its mode and buffers change.
        batch: images float [n, C, H, W] and labels int64 [n].

    Raises:
        UserError: the network has no such weight.
    """
    weights = list(prunable_parameters(network).values())
    gradients = torch.autograd.grad(training_loss(network, batch), weights, materialize_grads=True)
    return [(weight.detach(), gradient) for weight, gradient in zip(weights, gradients, strict=True)]

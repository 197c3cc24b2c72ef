"""ZiCo: how large and how steady the gradient is from batch to batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dp_core.proxies.base import ProxyInputs
from dp_core.proxies.gradients import weights_and_gradients
from dp_core.proxies.zero_cost import OnBatch, require_at_least
from dp_core.seeds import derive_seed


@dataclass(frozen=True)
class ZiCo(OnBatch):
    """Σ log Σ E|g| / √Var|g| over layers, and in each over its weights (Li et al. 2023, arXiv 2301.11300, equation 15).

    g is the gradient of the cross-entropy of a batch in training mode (see `weights_and_gradients`), and E and Var
    are over batches. Weights whose |g| does not vary are left out, and so are layers of nothing else: a network whose
    output does not depend on the image scores 0, and every layer of more than a few weights adds to that.
    """

    batches: int = 2
    """Batches of training images, at least 2; 2 as in the paper."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(2, self, batches=self.batches)

    @property
    def image_gradients(self) -> int:
        """One pass forward and backward over each batch."""
        return self.batches * self.images

    def value(self, network: nn.Module, inputs: ProxyInputs, seed: int) -> float:
        """Return the sum."""
        batches = (inputs.batch(self.images, derive_seed(seed, "zico", index)) for index in range(self.batches))
        by_batch = [[gradient for _, gradient in weights_and_gradients(network, batch)] for batch in batches]
        return sum(log_steadiness(torch.stack(layer)) for layer in zip(*by_batch, strict=True))


def log_steadiness(gradients: Tensor) -> float:
    """Return log Σ E|g| / √Var|g| of a layer's gradients [batches, …]; 0 if none varies."""
    sizes = gradients.abs().double().flatten(1)
    deviations = sizes.std(0, correction=0)
    varying = deviations != 0  # or not a number, which the sum is then too
    total = (sizes.mean(0)[varying] / deviations[varying]).sum()
    return float(total.log()) if varying.any() else 0.0

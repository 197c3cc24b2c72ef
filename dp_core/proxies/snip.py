"""SNIP: how sensitive the loss is to the weights."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from dp_core.proxies.base import ProxyInputs
from dp_core.proxies.gradients import weights_and_gradients
from dp_core.proxies.zero_cost import OnBatch


@dataclass(frozen=True)
class SNIP(OnBatch):
    """Σ |w ∂L/∂w| over the weights w (see `prunable_parameters`) (Abdelfattah et al. 2021, section 3.1.2).

    L is the cross-entropy of one batch in training mode (see `weights_and_gradients`). A network whose output does not
    depend on the image has the lowest score, 0.

    Args:
        images: see OnBatch.
    """

    def value(self, network: nn.Module, inputs: ProxyInputs, seed: int) -> float:
        """Return the sum."""
        pairs = weights_and_gradients(network, inputs.batch(self.images, seed))
        return sum(float((weight * gradient).abs().sum()) for weight, gradient in pairs)

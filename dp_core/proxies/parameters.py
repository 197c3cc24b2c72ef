"""The number of parameters, the baseline that a proxy has to beat."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from dp_core.proxies.base import ProxyInputs
from dp_core.proxies.zero_cost import ZeroCost


@dataclass(frozen=True)
class Parameters(ZeroCost):
    """The number of all parameters, those of norms and biases included."""

    def value(self, network: nn.Module, inputs: ProxyInputs, seed: int) -> float:
        """Return the number."""
        return float(sum(parameter.numel() for parameter in network.parameters()))

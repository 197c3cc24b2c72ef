"""The floating-point operations of a forward pass, the other baseline that a proxy has to beat."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from dp_core.cost import CostModel
from dp_core.proxies.base import ProxyInputs
from dp_core.proxies.zero_cost import ZeroCost


@dataclass(frozen=True)
class FLOPs(ZeroCost):
    """The floating-point operations of a forward pass of one image, as `CostModel` counts them."""

    @property
    def forward_images(self) -> int:
        """One image of zeros, to see how often each weight is used."""
        return 1

    def value(self, network: nn.Module, inputs: ProxyInputs, seed: int) -> float:
        """Return the number."""
        return float(CostModel(network, inputs.input_shape)().flops_dense)

"""SynFlow: how much flows through the network of absolute weights."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import torch
from torch import nn

from dp_core.proxies.base import ProxyInputs
from dp_core.proxies.zero_cost import ZeroCost
from dp_core.pruning import Mask
from dp_core.pruning.criteria.synflow import path_network, require_paths, synaptic_flow


@dataclass(frozen=True)
class SynFlow(ZeroCost):
    """log Σ |w ∂R/∂w| over all weights w (Abdelfattah et al. 2021, section 3.1.2, after Tanaka et al. 2020).

    R is the sum of the outputs of the network of absolute weights for an image of ones, without norms and biases (see
    `path_network`). The score is computed in float64, and returned as its natural logarithm: it is a product over
    layers, and its rank is the same. A network through which nothing flows has the lowest score,
    log 2⁻¹⁰²² = -708.4.
    """

    @property
    def image_gradients(self) -> int:
        """One image of ones goes forward and backward."""
        return 1

    def value(self, network: nn.Module, inputs: ProxyInputs, seed: int) -> float:
        """Return the logarithm of the sum of the scores.

        Raises:
            UserError: the network has recurrent layers, see `require_paths`.
        """
        require_paths(network)
        paths, weights = path_network(network, Mask.ones(network))
        ones = torch.ones(1, *inputs.input_shape, dtype=torch.float64, device=inputs.device)
        # Without attention no score is negative.
        flow = sum(float(score.abs().sum()) for score in synaptic_flow(paths, weights, ones).values())
        return math.log(max(flow, sys.float_info.min))

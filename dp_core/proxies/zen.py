"""Zen-score: how expressive the network is at Gaussian weights."""

from __future__ import annotations

import math
import statistics
import sys
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from dp_core.proxies.base import ProxyInputs
from dp_core.proxies.zero_cost import ZeroCost, require_at_least, require_positive
from dp_core.pruning import prunable_parameters
from dp_core.seeds import generator

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)
_GLOBAL_POOLINGS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


@dataclass(frozen=True)
class Zen(ZeroCost):
    """log E ‖f(x) - f(x + γ ε)‖₁ + Σ log σ̄ over the batch norms (Lin et al. 2021, algorithm 1).

    x and ε are images of standard Gaussian noise, every weight (see `prunable_parameters`) is drawn from the
    standard Gaussian, biases are 0, and norms neither scale nor shift. ‖·‖₁ is a sum, as in the authors' code, and f is
    the features in training mode: what enters the last global pooling, or else the last linear layer. σ̄² is the mean
    over a batch norm's channels of the variance for x that it divides by, its ε included; this gives back what scale
    the norm takes away. Other norms take it away likewise, but the paper gives nothing back for them: their term is 0,
    and across kinds of norm scores hardly compare. Images of the data set and the network's own initial weights play
    no part.

    A network whose features do not depend on the image has log 2⁻¹⁰²² = -708.4 as its first term.
    """

    images: int = 16
    """Noise images in a batch, at least 2; 16 as in the paper's code."""
    repeats: int = 4
    """How often weights and images are drawn; the score is the mean. The paper's code draws 32 times."""
    mixup: float = 0.01
    """γ, above 0; 0.01 as in the paper's code."""

    def __post_init__(self) -> None:
        require_at_least(2, self, images=self.images)
        require_at_least(1, self, repeats=self.repeats)
        require_positive(self, mixup=self.mixup)

    @property
    def forward_images(self) -> int:
        """Two batches each time: x and x + γ ε."""
        return 2 * self.images * self.repeats

    def value(self, network: nn.Module, inputs: ProxyInputs, seed: int) -> float:
        """Return the mean of the repeats."""
        draw = generator(seed, "zen")
        return statistics.fmean(self._once(network, inputs, draw) for _ in range(self.repeats))

    def _once(self, network: nn.Module, inputs: ProxyInputs, draw: torch.Generator) -> float:
        draw_gaussian_(network, draw)
        x, noise = torch.randn(2, self.images, *inputs.input_shape, generator=draw).to(inputs.device)
        features, log_scale = features_and_scale(network, x)
        disturbed, _ = features_and_scale(network, x + self.mixup * noise)
        change = float((features - disturbed).abs().flatten(1).sum(1).double().mean())
        return math.log(max(change, sys.float_info.min)) + log_scale


def draw_gaussian_(network: nn.Module, draw: torch.Generator) -> None:
    """Draw every weight (see `prunable_parameters`) from N(0, 1), and make biases and norms do nothing."""
    with torch.no_grad():
        for weight in prunable_parameters(network).values():
            weight.copy_(torch.randn(weight.shape, generator=draw))
        for module in network.modules():
            if isinstance(module, _NORMS) and module.weight is not None:
                module.weight.fill_(1)
            for name, parameter in module.named_parameters(recurse=False):
                if "bias" in name:
                    parameter.zero_()


def features_and_scale(network: nn.Module, images: Tensor) -> tuple[Tensor, float]:
    """Return the features of `images`, float [n, …], and the sum of log σ̄ over all batch norms.

    Args:
        network: is put into training mode, and its buffers change.
        images: float [n, C, H, W].
    """
    entered: dict[str, Tensor] = {}
    log_scales: list[float] = []

    def remember(module: nn.Module, entering: tuple[Tensor, ...]) -> None:
        entered["pooling" if isinstance(module, _GLOBAL_POOLINGS) else "linear"] = entering[0]

    def measure(module: nn.Module, entering: tuple[Tensor, ...]) -> None:
        assert isinstance(module, _BatchNorm)
        variances = entering[0].transpose(0, 1).flatten(1).var(1, correction=0)
        log_scales.append(0.5 * math.log(float(variances.mean()) + module.eps))

    hooks = [
        module.register_forward_pre_hook(measure if isinstance(module, _BatchNorm) else remember)
        for module in network.modules()
        if isinstance(module, (_BatchNorm, *_GLOBAL_POOLINGS, nn.Linear))
    ]
    with torch.no_grad():
        logits = network.train()(images)
    for hook in hooks:
        hook.remove()
    return entered.get("pooling", entered.get("linear", logits)), sum(log_scales)

"""NASWOT: how well the pieces of a piecewise linear network tell images apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.proxies.base import ProxyInputs
from dp_core.proxies.zero_cost import OnBatch

# Those that bend at zero, or are centred there.
_ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Softplus,
    nn.Sigmoid,
    nn.Hardsigmoid,
    nn.Tanh,
    nn.Hardtanh,
)


@dataclass(frozen=True)
class NWOT(OnBatch):
    """log |det K|, where K counts the units in the same state for each two images (Mellor et al. 2021, section 3).

    The binary code of an image is the state of every unit of every activation: on, if what enters it is above 0. K is
    the number of units less the Hamming distance of two codes, [n, n] for n images, in training mode. For ReLU and
    leaky ReLU this is the paper's: which linear piece the image is on. For smooth activations, which have no pieces
    (GELU, sigmoid), the sign of their input stands in for it; the paper says nothing of those. Every activation
    that is an `nn.Module` counts, also where its output goes nowhere.

    K is made of whole numbers, so its determinant is 0 or at least 1. If it is singular, as when two images have the
    same code or there are more images than units, the score is 0, the lowest.
    """

    images: int = 128
    """Training images in the batch, at least 2; 128 as in the paper."""

    @property
    def image_gradients(self) -> int:
        """It needs no gradients."""
        return 0

    @property
    def forward_images(self) -> int:
        """One pass forward over the batch."""
        return self.images

    def value(self, network: nn.Module, inputs: ProxyInputs, seed: int) -> float:
        """Return the score.

        Raises:
            UserError: the network has no activation that is a module.
        """
        images, _ = inputs.batch(self.images, seed)
        return log_determinant(agreements(network, images))


def agreements(network: nn.Module, images: Tensor) -> Tensor:
    """Return for each two of n images the number of units that are on for both or off for both; float64 [n, n].

    Args:
        network: is put into training mode, and its buffers change; hooks stay on it.
        images: float [n, C, H, W].

    Raises:
        UserError: the network has no activation that is a module.
    """
    counts = torch.zeros(len(images), len(images), dtype=torch.float64, device=images.device)

    def count(module: nn.Module, entering: tuple[Tensor, ...]) -> None:
        signs = (entering[0] > 0).to(torch.float32).flatten(1).mul_(2).sub_(1)
        # As many agree as (units + agreeing - differing) / 2; sums of ±1 are exact in float32 up to 2²⁴ units.
        counts.add_((signs @ signs.T).double().add_(signs.shape[1]).div_(2))

    activations = [module for module in network.modules() if isinstance(module, _ACTIVATIONS)]
    if not activations:
        raise UserError(
            f"NWOT cannot handle {type(network).__name__}, which has no activation that is a module, such as nn.ReLU."
        )
    for activation in activations:
        activation.register_forward_pre_hook(count)  # before: an activation may work in place
    with torch.no_grad():
        network.train()(images)
    return counts


def log_determinant(matrix: Tensor) -> float:
    """Return log |det| of a symmetric, positive semidefinite matrix of whole numbers; 0 if it is singular."""
    eigenvalues = torch.linalg.eigvalsh(matrix)
    rounding = len(matrix) * torch.finfo(matrix.dtype).eps * float(eigenvalues[-1])
    return float(eigenvalues.log().sum()) if eigenvalues[0] > rounding else 0.0

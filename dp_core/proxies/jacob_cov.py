"""Jacobian covariance: how differently the network answers to different images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dp_core.proxies.base import ProxyInputs
from dp_core.proxies.zero_cost import OnBatch

_K = 1e-5  # the paper's, which keeps the score finite
_NO_VARIANCE = 1e-6  # of a gradient's own size: what is left of a constant in float32


@dataclass(frozen=True)
class JacobCov(OnBatch):
    """-Σ (log(λ + k) + 1 / (λ + k)) over the eigenvalues λ of the images' correlation (arXiv 2006.04647v1).

    What is correlated are the gradients of the sum of all logits with respect to each image of a batch, in training
    mode: with batch norm that sum depends on an image also through the logits of the others. The score is highest,
    about -n for n images, where no two are correlated. An image whose gradient is zero, or the same for every pixel,
    has no correlation, and counts as an eigenvalue of 0; a network whose output does not depend on the image so has
    the lowest score, -n (log k + 1 / k).

    Args:
        images: see OnBatch.
    """

    def value(self, network: nn.Module, inputs: ProxyInputs, seed: int) -> float:
        """Return the score."""
        images, _ = inputs.batch(self.images, seed)
        images.requires_grad_()
        (jacobian,) = torch.autograd.grad(network.train()(images).sum(), images, materialize_grads=True)
        if not jacobian.isfinite().all():
            return math.nan  # of which there are no eigenvalues
        eigenvalues = torch.linalg.eigvalsh(correlation(jacobian.flatten(1).double())).clamp(min=0)
        return -float((torch.log(eigenvalues + _K) + 1 / (eigenvalues + _K)).sum())


def correlation(rows: Tensor) -> Tensor:
    """Return the correlation of each two rows of a matrix [n, d]; [n, n], zero for rows without variance."""
    centred = rows - rows.mean(1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True)
    varying = norms > _NO_VARIANCE * rows.norm(dim=1, keepdim=True)
    units = torch.where(varying, centred / norms.where(varying, torch.ones_like(norms)), 0)
    return units @ units.T

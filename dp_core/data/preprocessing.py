"""The map from pixels in [0, 1] to the space a network sees: per-channel standardisation or ZCA whitening."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dp_core.errors import UserError


@dataclass(frozen=True)
class Standardisation:
    """(pixel - mean) / std for each channel; `mean` and `std` refer to pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise UserError(f"Standardisation needs one mean and one std a channel, not {self.mean} and {self.std}.")
        if not min(self.std) > 0 or not all(map(math.isfinite, (*self.mean, *self.std))):
            raise UserError(f"Standardisation needs a positive std for every channel, not {self.std}.")

    def __call__(self, images: Tensor) -> Tensor:
        """Map float images [N, C, H, W] in [0, 1] to standardised ones of the same shape."""
        _check_images(images, len(self.mean))
        mean, std = (images.new_tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (images - mean) / std

    def inverse(self, images: Tensor) -> Tensor:
        """Map standardised images back to pixels."""
        mean, std = (images.new_tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return images * std + mean


@dataclass(frozen=True, eq=False)
class ZCA:
    """Whitening of whole images, (x - mean) @ matrix, with x the image flattened to D = C·H·W pixels in [0, 1].

    `mean` is [D], `matrix` is [D, D] and symmetric: U (S + eps)^(-1/2) Uᵀ of the pixels' covariance U S Uᵀ
    (Bell & Sejnowski 1997), the space in which trajectory-matched sets are often published. A matrix that `fit` made
    is symmetric to the last bit, so half of it can be stored for the whole.
    """

    mean: Tensor
    matrix: Tensor

    def __post_init__(self) -> None:
        size = self.mean.numel()
        if self.mean.dim() != 1 or tuple(self.matrix.shape) != (size, size):
            raise UserError(
                f"ZCA needs a mean of D numbers and a D×D matrix, not {tuple(self.mean.shape)} "
                f"and {tuple(self.matrix.shape)}."
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Map float images [N, C, H, W] in [0, 1] to whitened ones of the same shape."""
        _check_float(images)
        flat = images.flatten(1)
        if flat.shape[1] != self.mean.numel():
            raise UserError(
                f"This ZCA whitening is for images of {self.mean.numel()} values, "
                f"not for {tuple(images.shape[1:])} = {flat.shape[1]}."
            )
        return ((flat - self.mean.to(flat)) @ self.matrix.to(flat)).view_as(images)

    @staticmethod
    def fit(images: Tensor, eps: float = 0.1) -> ZCA:
        """Fit to float images [N, C, H, W] in [0, 1]; `eps`, above 0, is added to the covariance's eigenvalues."""
        _check_float(images)
        if not eps > 0:
            raise UserError(f"ZCA needs an eps above 0, not {eps}.")
        flat = images.flatten(1).double()
        mean = flat.mean(0)
        centred = flat - mean
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(flat))
        matrix = (vectors * (values.clamp_min(0) + eps).rsqrt()) @ vectors.T
        # Mathematically nothing; but a matrix product sums its two halves in different orders.
        matrix = (matrix + matrix.T) / 2
        return ZCA(mean.float(), matrix.float())


Preprocessing = Standardisation | ZCA


def _check_float(images: Tensor) -> None:
    if not images.is_floating_point():
        raise UserError(f"Preprocessing takes float images in [0, 1], not {images.dtype}.")


def _check_images(images: Tensor, channels: int) -> None:
    _check_float(images)
    if images.dim() != 4 or images.shape[1] != channels:
        raise UserError(
            f"This preprocessing is for images [N, {channels}, H, W], not for a tensor {list(images.shape)}."
        )

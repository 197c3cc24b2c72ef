"""Batched augmentation on the images' own device: flip-and-crop for real data, DSA for distilled data."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# Each takes float images [N, C, H, W] and a CPU generator and returns images of the same shape, differentiably.
Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def identity(images: Tensor, generator: torch.Generator) -> Tensor:
    """Leave the images as they are."""
    return images


def flip_crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip half of the images and shift each by up to an eighth of its sides, zeros coming in; drawn image by image."""
    count, channels, height, width = images.shape
    flipped = torch.rand(count, generator=generator) < 0.5
    reach = height // 8, width // 8
    down, right = (torch.randint(0, 2 * side + 1, (count,), generator=generator) for side in reach)
    flipped, down, right = (_sent(drawn, images.device) for drawn in (flipped, down, right))
    across = torch.arange(width, device=images.device)
    rows = down[:, None] + torch.arange(height, device=images.device)
    columns = right[:, None] + torch.where(flipped[:, None], width - 1 - across, across)
    places = (rows[:, :, None] * (width + 2 * reach[1]) + columns[:, None, :]).view(count, 1, -1)
    padded = F.pad(images, (reach[1], reach[1], reach[0], reach[0])).view(count, channels, -1)
    return padded.gather(2, places.expand(count, channels, -1)).view(images.shape)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a small tensor of the CPU on `device`, without waiting for a GPU."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class _Siamese:
    """Differentiable siamese augmentation, DSA (Zhao & Bilen, ICML 2021): one draw for a whole batch.

    One of six operations is drawn, with one set of parameters for all images; the same seed gives the same draw for
    another batch, which is how real and synthetic images are augmented alike. Strengths are the authors'.
    """

    brightness, saturation, contrast = 1.0, 2.0, 0.5
    crop, cutout, flip = 0.125, 0.5, 0.5
    scale, rotate = 1.2, 15.0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment images [N, C, H, W] with one operation drawn from `generator`."""
        operations: tuple[Augmentation, ...] = (
            self._colour,
            self._crop,
            self._cutout,
            self._flip,
            self._scale,
            self._rotate,
        )
        drawn = int(torch.randint(len(operations), (), generator=generator))
        return operations[drawn](images, generator)

    def _colour(self, images: Tensor, generator: torch.Generator) -> Tensor:
        draws: list[float] = torch.rand(3, generator=generator).tolist()
        brightness, saturation, contrast = draws
        images = images + (brightness - 0.5) * self.brightness
        grey = images.mean(dim=1, keepdim=True)
        images = (images - grey) * (saturation * self.saturation) + grey
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        return (images - mean) * (contrast + self.contrast) + mean

    def _crop(self, images: Tensor, generator: torch.Generator) -> Tensor:
        height, width = images.shape[2:]
        reach = int(height * self.crop + 0.5), int(width * self.crop + 0.5)
        top, left = (int(torch.randint(0, 2 * side + 1, (), generator=generator)) for side in reach)
        padded = F.pad(images, (reach[1], reach[1], reach[0], reach[0]))
        return padded[:, :, top : top + height, left : left + width]

    def _cutout(self, images: Tensor, generator: torch.Generator) -> Tensor:
        height, width = images.shape[2:]
        size = int(height * self.cutout + 0.5), int(width * self.cutout + 0.5)
        # The hole's centre may lie anywhere in the image, so that part of the hole may fall outside it.
        top, left = (
            int(torch.randint(0, side + 1, (), generator=generator)) - hole // 2
            for side, hole in zip((height, width), size, strict=True)
        )
        keep = images.new_ones(1, 1, height, width)
        keep[:, :, max(top, 0) : max(top + size[0], 0), max(left, 0) : max(left + size[1], 0)] = 0
        return images * keep

    def _flip(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return images.flip(3) if torch.rand((), generator=generator) < self.flip else images

    def _scale(self, images: Tensor, generator: torch.Generator) -> Tensor:
        draws: list[float] = torch.rand(2, generator=generator).tolist()
        horizontal, vertical = draws
        low = 1 / self.scale
        return _affine(
            images,
            [[horizontal * (self.scale - low) + low, 0.0, 0.0], [0.0, vertical * (self.scale - low) + low, 0.0]],
        )

    def _rotate(self, images: Tensor, generator: torch.Generator) -> Tensor:
        angle = (torch.rand((), generator=generator).item() - 0.5) * 2 * self.rotate * math.pi / 180
        return _affine(images, [[math.cos(angle), math.sin(-angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]])


def _affine(images: Tensor, matrix: list[list[float]]) -> Tensor:
    theta = _sent(torch.tensor(matrix, dtype=images.dtype), images.device).expand(len(images), 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, align_corners=True)


siamese = _Siamese()

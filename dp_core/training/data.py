"""What a training trains on: all images on one device, and which of them each step takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dp_core.data.preprocessing import Preprocessing
from dp_core.errors import UserError
from dp_core.seeds import generator

# Maps a step, counted from 0, to its float images [batch, C, H, W] in the network's space and their labels.
Batches = Callable[[int], tuple[Tensor, Tensor]]


class DataSource(Protocol):
    """What a training takes its batches from: data on the device, or data that come through it piece by piece."""

    def __len__(self) -> int:
        """Return the number of images of one pass."""
        ...

    def batches(self, batch_size: int, seed: int, device: torch.device) -> Batches:
        """Return the batches of a training, on `device`; each is a function of `seed` and the step alone."""
        ...


def in_network_space(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Scale uint8 images [n, C, H, W] to [0, 1] and preprocess them, on the device that they are on."""
    return preprocessing(images.float().div_(255))


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Images with their labels, and the preprocessing still to be done.

    `images` is uint8 or float [N, C, H, W]: uint8 is scaled to [0, 1] and passed through `preprocessing` batch by
    batch; float images are in the network's space already and `preprocessing` is None. `labels` is int64 [N] or, for
    soft labels, float [N, classes].
    """

    images: Tensor
    labels: Tensor
    preprocessing: Preprocessing | None = None

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels) or not len(self.images):
            raise UserError(f"Training needs as many labels as images, not {len(self.labels)} for {len(self.images)}.")
        if (self.images.dtype == torch.uint8) != (self.preprocessing is not None):
            raise UserError("Images in uint8 need a preprocessing, images in float must have had theirs.")

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Return float images in the network's space and their labels."""
        if isinstance(indices, slice):
            images, labels = self.images[indices], self.labels[indices]
        else:  # copies image by image, where an index would go element by element
            images, labels = self.images.index_select(0, indices), self.labels.index_select(0, indices)
        if self.preprocessing is not None:
            images = in_network_space(images, self.preprocessing)
        return images, labels

    def batches(self, batch_size: int, seed: int, device: torch.device) -> Batches:
        """Return shuffled batches of `batch_size` images (of all, if there are fewer); the data are on `device`."""
        order = BatchOrder(len(self), batch_size, seed, device)
        return lambda step: self.batch(order(step))

    def to(self, device: torch.device) -> TrainingData:
        """Return the same data on `device`."""
        return TrainingData(self.images.to(device), self.labels.to(device), self.preprocessing)


class BatchOrder:
    """The images of each step: shuffled passes over the data set, end to end, cut into batches of equal size.

    A pure function of seed and step, so that a resumed training needs no state; a batch may span two passes, and
    `steps × batch size` is exactly the number of image-gradients computed. A pass is drawn on the CPU, the same for
    every device, and moved to `device` once.
    """

    def __init__(self, images: int, batch_size: int, seed: int, device: torch.device | None = None) -> None:
        self._images = images
        self._batch_size = min(batch_size, images)
        self._seed = seed
        self._device = device or torch.device("cpu")
        self._passes: dict[int, Tensor] = {}

    def __call__(self, step: int) -> Tensor:
        """Return the indices of step `step`, counted from 0; int64 [batch size]."""
        start = step * self._batch_size
        first, last = start // self._images, (start + self._batch_size - 1) // self._images
        self._passes = {number: self._pass(number) for number in {first, last}}
        offset = start - first * self._images
        if first == last:
            return self._passes[first][offset : offset + self._batch_size]
        joined = torch.cat([self._passes[first], self._passes[last]])
        return joined[offset : offset + self._batch_size]

    def _pass(self, number: int) -> Tensor:
        if number in self._passes:
            return self._passes[number]
        if self._batch_size == self._images:  # full batches need no order
            return torch.arange(self._images, device=self._device)
        shuffled = torch.randperm(self._images, generator=generator(self._seed, "pass", number))
        if self._device.type == "cuda":
            return shuffled.pin_memory().to(self._device, non_blocking=True)
        return shuffled

"""Labelled 8-bit images held in memory (or mapped from a file), and the statistics of their channels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dp_core.data.identity import contents_digest, image_digests

_LEVELS = 256  # values of a uint8 pixel
_CHUNK = 1024  # images looked at together when going over a whole data set


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images of one size, each with one class label.

    Attributes:
        images: uint8 [N, C, H, W], values 0 to 255, N ≥ 1. May be mapped from a file: treat it as read-only.
        labels: int64 [N], values 0 to `classes` - 1.
        class_names: one name a class, in label order.
        digest: identifies the contents: equal digests mean equal images and labels in the same order. Computed from
            them unless it is given, which is for readers whose digest follows from the contents as well.

    Raises:
        ValueError: a tensor's dtype or shape, or a label, is not as described.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    digest: str = ""

    def __post_init__(self) -> None:
        """Check dtypes, shapes and the range of the labels; compute the digest if there is none."""
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(f"images must be uint8 [N, C, H, W], not {_describe(self.images)}")
        if self.labels.dtype != torch.int64 or self.labels.ndim != 1:
            raise ValueError(f"labels must be int64 [N], not {_describe(self.labels)}")
        if len(self.images) != len(self.labels) or self.images.numel() == 0:
            raise ValueError(f"{_describe(self.images)} images and {_describe(self.labels)} labels do not match")
        lowest, highest = int(self.labels.min()), int(self.labels.max())
        if lowest < 0 or highest >= self.classes:
            raise ValueError(f"labels span {lowest} to {highest}, but there are {self.classes} class names")
        if not self.digest:
            digests = image_digests(self.images)
            found = contents_digest(self.image_shape, digests, self.labels, self.class_names)
            object.__setattr__(self, "digest", found)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    @property
    def classes(self) -> int:
        """The number of classes, whether or not each has an image."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of every image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def select(self, indices: Sequence[int] | Tensor) -> ImageDataset:
        """Return a copy of the images at `indices` (integers in 0 to N - 1), in that order, repeats allowed.

        The digest follows from this data set's digest and the indices alone.

        Raises:
            IndexError: an index is outside 0 to N - 1.
            TypeError: the indices are not integers (a bool mask, say).
        """
        chosen = torch.as_tensor(indices)
        if chosen.numel() > 0 and (chosen.is_floating_point() or chosen.dtype == torch.bool):
            raise TypeError(f"indices must be integers, not {chosen.dtype}")
        chosen = chosen.to(torch.int64).cpu()
        outside = chosen[(chosen < 0) | (chosen >= len(self))]
        if outside.numel() > 0:
            raise IndexError(f"index {int(outside[0])} is outside 0 to {len(self) - 1}")
        digest = _digest_of_selection(self.digest, chosen)
        return ImageDataset(self.images[chosen], self.labels[chosen], self.class_names, digest)

    def class_indices(self, c: int) -> Tensor:
        """Return the indices of the images of class `c`, int64, ascending.

        Raises:
            IndexError: there is no class `c`.
        """
        if not 0 <= c < self.classes:
            raise IndexError(f"class {c} is outside 0 to {self.classes - 1}")
        return torch.nonzero(self.labels == c).flatten()


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and (population) standard deviation of each channel, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def channel_statistics(dataset: ImageDataset) -> ChannelStatistics:
    """Return mean and standard deviation of each channel over all pixels of all images, scaled to [0, 1].

    Computed from an exact histogram of the 256 pixel values, so the result depends neither on the order of the
    images nor on how they are chunked, and memory stays bounded.
    """
    channels = dataset.image_shape[0]
    counts = np.zeros((channels, _LEVELS), dtype=np.int64)
    for start in range(0, len(dataset), _CHUNK):
        for channel in range(channels):
            pixels = dataset.images[start : start + _CHUNK, channel].flatten()
            counts[channel] += torch.bincount(pixels, minlength=_LEVELS).cpu().numpy()
    values = np.arange(_LEVELS) / (_LEVELS - 1)
    weights = counts / counts.sum(axis=1, keepdims=True)
    mean = weights @ values
    variance = (weights * (values - mean[:, None]) ** 2).sum(axis=1)
    return ChannelStatistics(tuple(mean.tolist()), tuple(np.sqrt(variance).tolist()))


def constant_channels(dataset: ImageDataset) -> dict[int, int]:
    """Return the channels that have one value in all pixels of all images, with that value, 0 to 255."""
    found = {}
    for channel in range(dataset.image_shape[0]):
        value = dataset.images[0, channel, 0, 0]
        chunks = (dataset.images[start : start + _CHUNK, channel] for start in range(0, len(dataset), _CHUNK))
        if all(bool((chunk == value).all()) for chunk in chunks):
            found[channel] = int(value)
    return found


def _digest_of_selection(parent: str, indices: Tensor) -> str:
    digest = hashlib.sha256(f"{parent} select ".encode())
    digest.update(indices.numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"

"""Readers of data sets in blocks, for data that are streamed through memory rather than held in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dp_core.data.dataset import ImageDataset
from dp_core.data.decoding import EncodedImage, common_format, decode_as
from dp_core.data.parquet import read_classes, read_images
from dp_core.data.parquet_shard import read_row_group, row_group_sizes
from dp_core.data.reading import USUAL, Reading
from dp_core.errors import UserError


class BlockReader(Protocol):
    """Labelled images of one size, in blocks that are each quick to read as a whole."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of images in each block, none of them 0."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of every image."""
        ...

    def read(self, block: int) -> tuple[Tensor, Tensor]:
        """Return the images, uint8 [n, C, H, W], and the labels, int64 [n], of a block; treat them as read-only.

        Called from another thread than the one that trains, and from several at a time.
        """
        ...


class MappedBlocks:
    """Runs of `block_size` consecutive images of a data set that lies in a file which is mapped, as our cache's do.

    Args:
        dataset: only the pages that are read of it come to memory, and the system takes them back when it needs them.
        block_size: images of a block, ≥ 1; the last one may be smaller.

    Raises:
        UserError: a block would be empty.
    """

    def __init__(self, dataset: ImageDataset, block_size: int) -> None:
        count = len(dataset)
        if block_size < 1:
            raise UserError(f"Streaming needs blocks of at least one image, not of {block_size}.")
        self._dataset = dataset
        self._parts = [slice(start, min(start + block_size, count)) for start in range(0, count, block_size)]
        self.sizes = tuple(part.stop - part.start for part in self._parts)
        self.image_shape = dataset.image_shape

    def read(self, block: int) -> tuple[Tensor, Tensor]:
        """Return a block; see `BlockReader`."""
        part = self._parts[block]
        return self._dataset.images[part], self._dataset.labels[part]


class ParquetBlocks:
    """The row groups of Parquet shards, decoded to the very images that `parquet_source` decodes them to.

    Labels (8 bytes an image) stay in memory. While a block is read, its encoded images and up to 256 decoded ones are
    there beside it.

    Args:
        shards: in the layout of `dp_core.data.parquet`, one data set's train split, say.
        held_back: rows to leave out, int64 [n], ascending without repeats, counted from 0 over all shards, such as the
            validation split (`split_indices`).
        reading: which columns are read, and what transparent images are laid on.

    Attributes:
        class_names: one name a class, in label order.

    Raises:
        UserError: there is nothing to read, `held_back` is not as described, or a shard is wrong (see `read_classes`);
            later, when a block is read: an image cannot be decoded or is of another size than the first.
    """

    def __init__(self, shards: Sequence[Path], held_back: Tensor | None = None, reading: Reading = USUAL) -> None:
        if not shards:
            raise UserError("Streaming needs at least one Parquet shard.")
        self.class_names, labels = read_classes(shards, reading=reading)
        self._labels = torch.from_numpy(np.concatenate(labels))
        kept = np.ones(len(self._labels), dtype=bool)
        if held_back is not None:
            _check_ascending(held_back, len(kept))
            kept[held_back.numpy()] = False
        self._groups = [group for group in _row_groups(shards, kept) if group.kept.any()]
        if not self._groups:
            raise UserError(f"Streaming {shards[0]} leaves no image: all {len(kept)} are held back.")
        format = common_format(read_images(shards, reading), reading.colour)
        assert format is not None, "there are rows, so there are images"
        self._format, self._reading = format, reading
        self.sizes = tuple(int(group.kept.sum()) for group in self._groups)
        self.image_shape = format.shape

    def read(self, block: int) -> tuple[Tensor, Tensor]:
        """Return a block; see `BlockReader`."""
        group = self._groups[block]
        pixels = np.empty((self.sizes[block], *self.image_shape), dtype=np.uint8)
        filled = 0
        for decoded in decode_as(self._format, group.encoded(self._reading)):
            pixels[filled : filled + len(decoded)] = decoded
            filled += len(decoded)
        labels = self._labels[group.first_row : group.first_row + len(group.kept)]
        return torch.from_numpy(pixels), labels[torch.from_numpy(group.kept)]


@dataclass(frozen=True, eq=False)
class _RowGroup:
    """One row group: `first_row` counts over all shards, `kept` [rows] says which of its rows are read."""

    shard: Path
    number: int
    first_row: int
    kept: npt.NDArray[np.bool_]

    def encoded(self, reading: Reading) -> Iterator[list[EncodedImage]]:
        return read_row_group(self.shard, self.number, self.kept, reading)


def _row_groups(shards: Sequence[Path], kept: npt.NDArray[np.bool_]) -> Iterator[_RowGroup]:
    first = 0
    for shard in shards:
        for number, rows in enumerate(row_group_sizes(shard)):
            yield _RowGroup(shard, number, first, kept[first : first + rows])
            first += rows


def _check_ascending(indices: Tensor, count: int) -> None:
    """Refuse what would read an image twice, or one that is not there."""
    if indices.dtype != torch.int64 or indices.ndim != 1:
        raise UserError(f"Indices of images must be int64 [n], not {indices.dtype} {list(indices.shape)}.")
    if len(indices) and (indices[0] < 0 or indices[-1] >= count or bool((indices.diff() <= 0).any())):
        raise UserError(f"Indices of images must ascend from 0 to {count - 1} at most, without repeats.")

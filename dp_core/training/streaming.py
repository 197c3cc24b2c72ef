"""Training on data that do not fit on the device, or in memory: read in blocks, shuffled in windows of blocks."""

from __future__ import annotations

import math
import weakref
from bisect import bisect_right
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from dp_core.data.preprocessing import Preprocessing
from dp_core.data.streaming import BlockReader
from dp_core.errors import UserError
from dp_core.seeds import generator
from dp_core.training.data import Batches, in_network_space

_LABEL_BYTES = _ORDER_BYTES = 8


@dataclass(frozen=True, eq=False)
class StreamedData:
    """Images that come through memory window by window; a `DataSource`.

    A pass permutes the blocks, joins consecutive ones to windows of at least `window` images (the last window of a
    pass may have fewer), and permutes the images of each window. Images of one block thus stay together within a
    window: where the data are sorted, blocks should be small and windows should hold many of them. Passes follow each
    other end to end and are cut into batches as `BatchOrder` does.

    Attributes:
        reader: where the blocks come from.
        preprocessing: done on the device, batch by batch.
        window: images to shuffle together, ≥ 1.
    """

    reader: BlockReader
    preprocessing: Preprocessing
    window: int

    def __post_init__(self) -> None:
        if self.window < 1:
            raise UserError(f"The window of streamed data must hold at least one image, not {self.window}.")

    def __len__(self) -> int:
        return sum(self.reader.sizes)

    @property
    def largest_window(self) -> int:
        """The most images that a window can have."""
        return min(self.window + max(self.reader.sizes) - 1, len(self))

    def memory_bound(self, batch_size: int) -> int:
        """Return the most bytes of images, labels and their order that a training ever holds outside of the device.

        Two windows (the one in use and the one being read ahead), the block that is being read, and a batch; the
        reader's own needs are not among them.
        """
        images = 2 * self.largest_window + max(self.reader.sizes) + min(batch_size, len(self))
        return images * (math.prod(self.reader.image_shape) + _LABEL_BYTES + _ORDER_BYTES)

    def batches(self, batch_size: int, seed: int, device: torch.device) -> Batches:
        """Return shuffled batches of `batch_size` images (of all, if there are fewer) on `device`.

        Steps that follow each other find their window read ahead, in another thread; any other step reads the windows
        it needs. What a reader raises is raised by the steps that need the block, each time anew. The thread ends when
        the batches are no longer referred to, at the latest with the process, once the window under way is read.
        """
        stream = _Stream(self, min(batch_size, len(self)), seed, device)

        def batch(step: int) -> tuple[Tensor, Tensor]:
            images, labels = stream.batch(step)
            return in_network_space(images, self.preprocessing), labels

        return batch


@dataclass(frozen=True, eq=False)
class _Window:
    """Images uint8 [m, C, H, W] and labels int64 [m] as they were read, and the order [n], n ≤ m, of those in use."""

    images: Tensor
    labels: Tensor
    order: Tensor


class _Buffers:
    """Room for windows, used again: of large pieces that come and go, the C library keeps more and more to itself."""

    def __init__(self, images: int, image_shape: tuple[int, int, int]) -> None:
        self._shape = images, *image_shape
        self._free: list[tuple[Tensor, Tensor]] = []

    def take(self) -> tuple[Tensor, Tensor]:
        if self._free:
            return self._free.pop()
        return torch.empty(self._shape, dtype=torch.uint8), torch.empty(self._shape[0], dtype=torch.int64)

    def give_back(self, window: _Window) -> None:
        self._free.append((window.images, window.labels))


class _Pass:
    """The windows of one pass: the blocks of each and the place of its first image; a function of the seed alone."""

    def __init__(self, data: StreamedData, seed: int, number: int) -> None:
        sizes = data.reader.sizes
        order: list[int] = torch.randperm(len(sizes), generator=generator(seed, "pass", number)).tolist()
        self.blocks: list[list[int]] = []
        self.starts: list[int] = []
        for block, end in zip(order, accumulate(sizes[block] for block in order), strict=True):
            start = end - sizes[block]
            if not self.starts or start - self.starts[-1] >= data.window:
                self.blocks.append([])
                self.starts.append(start)
            self.blocks[-1].append(block)


class _Stream:
    """The batches of one training, still in uint8. Holds one window, and one more that is being read ahead."""

    def __init__(self, data: StreamedData, batch_size: int, seed: int, device: torch.device) -> None:
        self._data = data
        self._images = len(data)
        self._batch_size = batch_size
        self._seed = seed
        self._device = device
        self._buffers = _Buffers(data.largest_window, data.reader.image_shape)
        self._passes: dict[int, _Pass] = {}
        self._used: tuple[int, int] | None = None  # pass and place in it of the window that is in use
        self._window: _Window | None = None
        self._coming: tuple[int, int] | None = None
        self._future: Future[_Window] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read ahead")
        weakref.finalize(self, self._thread.shutdown, wait=False, cancel_futures=True)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the images and labels of a step on the device."""
        pinned = self._device.type == "cuda"
        shape = (self._batch_size, *self._data.reader.image_shape)
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        labels = torch.empty(self._batch_size, dtype=torch.int64, pin_memory=pinned)
        filled = 0
        while filled < self._batch_size:
            filled += self._fill(images[filled:], labels[filled:], step * self._batch_size + filled)
        return images.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)

    def _fill(self, images: Tensor, labels: Tensor, position: int) -> int:
        """Copy what the window with the `position`-th image of the training has for this batch; return how much."""
        number, place = divmod(position, self._images)
        windows = self._pass(number)
        index = bisect_right(windows.starts, place) - 1
        window = self._at(number, index)
        offset = place - windows.starts[index]
        chosen = window.order[offset : offset + len(images)]
        torch.index_select(window.images, 0, chosen, out=images[: len(chosen)])
        torch.index_select(window.labels, 0, chosen, out=labels[: len(chosen)])
        return len(chosen)

    def _at(self, number: int, index: int) -> _Window:
        """Return a window, and see that the next one is read while it is used."""
        if self._window is not None and self._used == (number, index):
            return self._window
        if self._window is not None:  # before anything more is read: there is to be room for two windows
            self._buffers.give_back(self._window)
            self._window = None
        self._window = self._read(number, index)
        self._used = number, index
        last = index + 1 == len(self._pass(number).starts)
        self._ask_for(number + 1 if last else number, 0 if last else index + 1)
        return self._window

    def _read(self, number: int, index: int) -> _Window:
        """Wait for a window; asking for it is left out if that was done before."""
        if self._future is None or self._coming != (number, index):
            self._ask_for(number, index)
        assert self._future is not None
        future, self._future = self._future, None
        return future.result()

    def _ask_for(self, number: int, index: int) -> None:
        if self._future is not None:
            self._future.cancel()
        blocks = self._pass(number).blocks[index]
        draw = generator(self._seed, "window", number, index)
        # Nothing here refers to the stream itself, which may be let go of at any time.
        self._future = self._thread.submit(_read_window, self._data.reader, blocks, draw, self._buffers)
        self._coming = number, index

    def _pass(self, number: int) -> _Pass:
        if number not in self._passes:
            kept = {known: one for known, one in self._passes.items() if abs(known - number) == 1}
            self._passes = kept | {number: _Pass(self._data, self._seed, number)}
        return self._passes[number]


def _read_window(reader: BlockReader, blocks: list[int], draw: torch.Generator, buffers: _Buffers) -> _Window:
    images, labels = buffers.take()
    filled = 0
    for block in blocks:
        part = slice(filled, filled + reader.sizes[block])
        _copy_block(reader, block, images[part], labels[part])
        filled = part.stop
    return _Window(images, labels, torch.randperm(filled, generator=draw))


def _copy_block(reader: BlockReader, block: int, images: Tensor, labels: Tensor) -> None:
    """Fill part of a window; a function of its own, so that a block is let go of before the next one is read."""
    read_images, read_labels = reader.read(block)
    images.copy_(read_images)
    labels.copy_(read_labels)

"""Gradients of a batch that may be too large for the device's memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from dp_core.errors import UserError

Loss = Callable[[Tensor, Tensor], Tensor]


class OneImageTooLarge(UserError):
    """A device's memory does not hold a single image in training."""


class BatchSplitter:
    """Computes the gradients of a batch, in as many parts as the memory needs.

    At first there are `parts`, by default 1: the batch is whole. When the device runs out of memory, it is split into
    twice as many, now and for the steps to come, whose gradients are summed: the same optimiser step (up to rounding),
    but for batch norms, which see the parts, and those of an attempt that failed as well. The first split of a whole
    batch is told in one warning.
    """

    def __init__(self, parts: int = 1) -> None:
        self.parts = parts

    def __call__(self, loss: Loss, start: Callable[[], None], images: Tensor, labels: Tensor) -> Tensor:
        """Add the gradients of the mean loss to the parameters' and return the loss, detached.

        Args:
            loss: maps images and labels to their mean loss.
            start: called before every attempt, to clear gradients and to seed what the network draws.
            images: of the whole batch.
            labels: theirs.

        Raises:
            OneImageTooLarge: a single image does not fit.
        """
        while True:
            start()
            try:
                return self._accumulated(loss, images, labels)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
            self._split(images)

    def _accumulated(self, loss: Loss, images: Tensor, labels: Tensor) -> Tensor:
        parts = min(self.parts, len(images))
        if parts == 1:
            whole = loss(images, labels)
            whole.backward()
            return whole.detach()
        total = torch.zeros((), device=images.device)
        pairs = zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True)
        for part, part_labels in pairs:
            share = loss(part, part_labels) * (len(part) / len(images))
            share.backward()
            total += share.detach()
        return total

    def _split(self, images: Tensor) -> None:
        # Outside the except clause, whose traceback would keep the activations alive.
        if images.is_cuda:
            torch.cuda.empty_cache()
        if self.parts >= len(images):
            shape = "×".join(map(str, images.shape[1:]))
            raise OneImageTooLarge(f"The memory of {images.device} does not hold one image of {shape} in training.")
        if self.parts == 1:
            warnings.warn(
                f"Out of memory with a batch of {len(images)} images on {images.device}: it is split, "
                "which gives the same steps but takes longer.",
                stacklevel=2,
            )
        self.parts = min(2 * self.parts, len(images))


def out_of_memory(error: Exception) -> bool:
    """Return whether `error` says that a device had no memory left; on a CPU torch has no exception of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def in_first_part(parts: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the images and labels of a batch that go through the network first where it is split into `parts`."""
    parts = min(parts, len(images))
    return images.tensor_split(parts)[0], labels.tensor_split(parts)[0]

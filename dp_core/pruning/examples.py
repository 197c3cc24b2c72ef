"""Training images for criteria that look at gradients."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from dp_core.training import DataSource

# Maps n to at most n training images, float [n, C, H, W] in the network's space and on its device, and their labels.
Examples = Callable[[int], tuple[Tensor, Tensor]]


def training_examples(data: DataSource, seed: int, model: nn.Module) -> Examples:
    """Return the images at the start of a pass over `data` that is shuffled by `seed`, on the device of `model`."""
    device = next(model.parameters()).device
    return lambda count: data.batches(count, seed, device)(0)


def no_examples(count: int) -> tuple[Tensor, Tensor]:
    """Stand for the training images of a criterion that needs none, such as magnitude; ValueError if it does."""
    raise ValueError(f"This criterion looks at training images ({count}), and there are none.")

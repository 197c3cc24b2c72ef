"""The AlexNet that Distilled Pruning (arXiv 2307.03364) ran on CIFAR-10."""

from __future__ import annotations

from torch import nn

from dp_core.errors import UserError
from dp_core.models.limits import require_whole


def alexnet(input_shape: tuple[int, int, int], classes: int, *, width: int = 128) -> nn.Module:
    """Build it: five convolutions, three of them pooled, one linear layer, no norm and no dropout.

    On CIFAR-10 it has 1,871,232 convolution and linear weights at the paper's width of 128.

    Args:
        input_shape: channels, height, width; an image of at least 8×8.
        classes: number of logits.
        width: channels of the first convolution; the others have 1.5, 2, 1.5 and 1.5 times as many.

    Raises:
        UserError: an image smaller than 8×8, or a width that is no even number.
    """
    channels, height, wide = input_shape
    if min(height, wide) < 8:
        raise UserError(f"alexnet halves the image three times, which an image of {height}×{wide} does not allow.")
    require_whole("alexnet", width=width)
    if width % 2:
        raise UserError(f"alexnet has layers 1.5 times as wide as its first, so its width must be even, not {width}.")
    middle = width * 3 // 2
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, middle, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(middle, 2 * width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(2 * width, middle, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(middle, middle, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(middle * (height // 8) * (wide // 8), classes),
    )

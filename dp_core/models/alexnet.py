"""The AlexNet that Distilled Pruning (arXiv 2307.03364) ran on CIFAR-10."""

from __future__ import annotations

from torch import nn

from dp_core.errors import UserError


def alexnet(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Build it: five convolutions, three of them pooled, one linear layer, no norm and no dropout.

    On CIFAR-10 it has 1,871,232 convolution and linear weights.

    Raises:
        UserError: an image smaller than 8×8.
    """
    channels, height, width = input_shape
    if min(height, width) < 8:
        raise UserError(f"alexnet halves the image three times, which an image of {height}×{width} does not allow.")
    return nn.Sequential(
        nn.Conv2d(channels, 128, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(128, 192, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(192, 256, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 192, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(192, 192, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(192 * (height // 8) * (width // 8), classes),
    )

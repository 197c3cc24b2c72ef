"""VGG with batch norm (Simonyan & Zisserman 2015, arXiv 1409.1556), in the form that is usual for CIFAR."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dp_core.models.limits import require_whole

# Table 1 of the paper: convolutions between one max-pooling and the next, of 1, 2, 4, 8 and 8 times the width.
_CONVOLUTIONS_OF_A = (1, 1, 2, 2, 2)
_CONVOLUTIONS_OF_D = (2, 2, 3, 3, 3)
_WIDTHS = (1, 2, 4, 8, 8)


def vgg11(input_shape: tuple[int, int, int], classes: int, *, width: int = 64) -> nn.Module:
    """Build configuration A: eight convolutions 3×3 with batch norm and ReLU, five max-poolings, one linear layer.

    One linear layer behind global average pooling stands for the paper's three; CIFAR's 32×32 pixels are then down to
    1×1, so there is nothing to average. Smaller images are pooled less often: never below one pixel a side. On CIFAR-10
    it has 9,231,114 parameters. Initial weights are torch's.

    Args:
        input_shape: channels, height, width; images of any size.
        classes: number of logits.
        width: channels of the first convolution; the last have eight times as many.

    Raises:
        UserError: a width that is no whole number of at least 1.
    """
    return _vgg("vgg11", _CONVOLUTIONS_OF_A, input_shape, classes, width)


def vgg16(input_shape: tuple[int, int, int], classes: int, *, width: int = 64) -> nn.Module:
    """Build configuration D: thirteen convolutions, else as `vgg11`; on CIFAR-10 it has 14,728,266 parameters."""
    return _vgg("vgg16", _CONVOLUTIONS_OF_D, input_shape, classes, width)


def _vgg(
    name: str, convolutions: Sequence[int], input_shape: tuple[int, int, int], classes: int, width: int
) -> nn.Module:
    channels, height, wide = input_shape
    require_whole(name, width=width)
    layers: list[nn.Module] = []
    for count, factor in zip(convolutions, _WIDTHS, strict=True):
        for _ in range(count):
            convolution = nn.Conv2d(channels, factor * width, kernel_size=3, padding=1)
            layers += [convolution, nn.BatchNorm2d(factor * width), nn.ReLU()]
            channels = factor * width
        if min(height, wide) > 1:
            layers.append(nn.MaxPool2d(2))
            height, wide = height // 2, wide // 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))

"""Residual networks of basic blocks (He et al. 2016, arXiv 1512.03385): ResNet-20 of CIFAR and ResNet-18."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn

from dp_core.models.limits import require_known, require_whole

Stem = Literal["auto", "cifar", "imagenet"]


class BasicBlock(nn.Module):
    """Two convolutions 3×3 beside a shortcut, which is the identity wherever the shapes allow it."""

    any_memory_format = True

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *_convolution_and_norm(channels, width, kernel_size=3, stride=stride),
            nn.ReLU(),
            *_convolution_and_norm(width, width, kernel_size=3, stride=1),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(*_convolution_and_norm(channels, width, kernel_size=1, stride=stride))
        self.activation = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, width, ⌈H / stride⌉, ⌈W / stride⌉]."""
        return self.activation(self.residual(images) + self.shortcut(images))  # type: ignore[no-any-return]


def resnet20(input_shape: tuple[int, int, int], classes: int, *, width: int = 16) -> nn.Module:
    """Build the ResNet-20 of section 4.2: three stages of three blocks, of 16, 32 and 64 channels.

    A shortcut that halves the image is a 1×1 convolution with batch norm (the paper's option B), as in the code of the
    lottery-ticket literature; the paper's CIFAR networks had option A, without parameters. On CIFAR-10 it has 272,474
    parameters. Initial weights are torch's; that literature uses `initialisation: kaiming_normal`.

    Args:
        input_shape: channels, height, width; images of any size.
        classes: number of logits.
        width: channels of the first stage, each further stage having twice as many.

    Raises:
        UserError: a width that is no whole number of at least 1.
    """
    require_whole("resnet20", width=width)
    return _residual_network(_cifar_stem(input_shape[0], width), width, (3, 3, 3), classes)


def resnet18(input_shape: tuple[int, int, int], classes: int, *, width: int = 64, stem: Stem = "auto") -> nn.Module:
    """Build a ResNet-18: four stages of two blocks, of 64, 128, 256 and 512 channels (the paper's table 1).

    With the stem of ImageNet (convolution 7×7 of stride 2, max-pooling 3×3 of stride 2) it is the paper's, and on
    1000 classes has 11,689,512 parameters. The stem `cifar`, a convolution 3×3 of stride 1 without pooling, is usual
    for 32×32 images, and for the 64×64 of Tiny-ImageNet in the distillation literature (SRe2L, arXiv 2306.13092).
    Initial weights are torch's.

    Args:
        input_shape: channels, height, width; images of any size.
        classes: number of logits.
        width: channels of the first stage, each further stage having twice as many.
        stem: `cifar`, `imagenet`, or `auto`: `cifar` for images whose shorter side is at most 64, else `imagenet`.

    Raises:
        UserError: a width that is no whole number of at least 1, or an unknown stem.
    """
    require_whole("resnet18", width=width)
    require_known("resnet18", "stem", stem, ("auto", "cifar", "imagenet"))
    channels, *sides = input_shape
    large = stem == "imagenet" or (stem == "auto" and min(sides) > 64)
    first = _imagenet_stem(channels, width) if large else _cifar_stem(channels, width)
    return _residual_network(first, width, (2, 2, 2, 2), classes)


def _residual_network(stem: nn.Sequential, width: int, blocks: tuple[int, ...], classes: int) -> nn.Module:
    """Put stages of `blocks` blocks behind the stem; all but the first halve the image and double the channels."""
    stages: OrderedDict[str, nn.Module] = OrderedDict(stem=stem)
    channels = width
    for stage, count in enumerate(blocks):
        wide = width * 2**stage
        first = BasicBlock(channels, wide, stride=2 if stage else 1)
        stages[f"stage{stage + 1}"] = nn.Sequential(first, *(BasicBlock(wide, wide, 1) for _ in range(count - 1)))
        channels = wide
    pooling = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(OrderedDict(stages, pooling=pooling, classifier=nn.Linear(channels, classes)))


def _cifar_stem(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(*_convolution_and_norm(channels, width, kernel_size=3, stride=1), nn.ReLU())


def _imagenet_stem(channels: int, width: int) -> nn.Sequential:
    convolution_and_norm = _convolution_and_norm(channels, width, kernel_size=7, stride=2)
    return nn.Sequential(*convolution_and_norm, nn.ReLU(), nn.MaxPool2d(kernel_size=3, stride=2, padding=1))


def _convolution_and_norm(channels: int, width: int, *, kernel_size: int, stride: int) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(channels, width, kernel_size, stride, padding=kernel_size // 2, bias=False)
    return convolution, nn.BatchNorm2d(width)

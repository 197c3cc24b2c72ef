"""Networks as users write them, whose code depends on the memory format of what it gets; for images of SHAPE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHAPE = (3, 8, 8)
CLASSES = 5


def block(channels: int, width: int, *, pool: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))


class Own(nn.Module):
    """Two blocks and a linear layer, with whatever a subclass does between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = block(SHAPE[0], 8), block(8, 8)
        self.classifier = nn.Linear(32, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.second(self.between(self.first(images))).flatten(1))

    def between(self, features: Tensor) -> Tensor:
        return features


class Viewed(Own):
    """Flattens by a view, as a hundred tutorials do."""

    def forward(self, images: Tensor) -> Tensor:
        features = self.second(self.first(images))
        return self.classifier(features.view(features.size(0), -1))


class Shuffled(Own):
    """Mixes groups of channels by a view, as ShuffleNet does."""

    def between(self, features: Tensor) -> Tensor:
        count, channels, height, width = features.shape
        grouped = features.view(count, 2, channels // 2, height, width)
        return grouped.transpose(1, 2).contiguous().view(count, channels, height, width)


class Unshuffled(Own):
    """Takes 2×2 pixels apart by a view."""

    def between(self, features: Tensor) -> Tensor:
        count, channels, height, width = features.shape
        apart = features.view(count, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
        return F.interpolate(apart.reshape(count, 4 * channels, height // 2, width // 2)[:, ::4], scale_factor=2.0)


class Strided(Own):
    """Reads memory by strides that it takes for granted."""

    def between(self, features: Tensor) -> Tensor:
        count, channels, height, width = features.shape
        rows = features.as_strided((count, channels * height, width), (channels * height * width, width, 1))
        return rows.flip(1).view_as(features)


class Written(Own):
    """Changes a flattened view in place, which is none of what is no view."""

    def between(self, features: Tensor) -> Tensor:
        features = features + 0
        features.reshape(len(features), -1)[:, ::3] *= -2
        return features


class Standardised(Own):
    """Standardises a convolution's weight through a view (weight standardisation)."""

    def __init__(self) -> None:
        super().__init__()
        self.middle = nn.Conv2d(8, 8, 3, padding=1)

    def between(self, features: Tensor) -> Tensor:
        rows = self.middle.weight.view(8, -1)
        rows = (rows - rows.mean(1, keepdim=True)) / (rows.std(1, keepdim=True) + 1e-5)
        return F.conv2d(features, rows.view_as(self.middle.weight), self.middle.bias, padding=1)


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        return 2 * features

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return (2 * gradient.view(len(gradient), -1)).view(gradient.shape)


class Differentiated(Own):
    """Has a gradient of its own, which views the one that it gets."""

    def between(self, features: Tensor) -> Tensor:
        return _Doubled.apply(features)


class Mixed(Own):
    """One Sequential in which layers of torch, and one of the user's, stand between blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.all = nn.Sequential(
            *self.first, nn.Hardtanh(), *block(8, 8, pool=False), Middle(), *block(8, 8), nn.Tanh()
        )

    def forward(self, images: Tensor) -> Tensor:
        features = self.all(images)
        return self.classifier(features.view(len(features), -1))


class Middle(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features.view(len(features), 2, -1).flip(1).view(features.shape)


class InPlace(Viewed):
    """Changes the images that it is given."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.mul_(3).add_(1))


class ChannelsLast(Viewed):
    """Asks for channels-last memory itself, in two places, and views it as what it then is."""

    def __init__(self) -> None:
        super().__init__()
        self.second.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images.contiguous(memory_format=torch.channels_last))
        pixels = features.permute(0, 2, 3, 1).view(len(features), 16, 8)
        features = self.second(pixels.view(len(features), 4, 4, 8).permute(0, 3, 1, 2).contiguous())
        return self.classifier(features.permute(0, 2, 3, 1).view(len(features), -1))


class Tiny(Own):
    """One channel, and one pixel at the end, of which any memory format is contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = block(3, 1), nn.Sequential(nn.Conv2d(1, 32, 4), nn.ReLU())

    def between(self, features: Tensor) -> Tensor:
        channels, height, width = features.shape[1:]
        expected = (channels * height * width, height * width, width, 1)
        return features if features.stride() == expected else features * 0


OWN: Mapping[str, Callable[[], nn.Module]] = {
    kind.__name__: kind
    for kind in (
        Viewed, Shuffled, Unshuffled, Strided, Written, Standardised, Differentiated, Mixed, InPlace, ChannelsLast,
        Tiny,
    )
}  # fmt: skip


def own(name: str, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return OWN[name]()

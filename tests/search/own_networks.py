"""A module of networks such as a user writes and names in a config, for tests of whole commands."""

from __future__ import annotations

from pathlib import Path

_SOURCE = '''
import sys

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, shape, classes, width):
        super().__init__()
        channels, height, width_ = shape
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        )
        self.classifier = nn.Linear(width * (height // 2) * (width_ // 2), classes)

    def forward(self, images):
        features = self.features(images)
        return self.classifier(features.view(features.size(0), -1))


class Two(Net):
    def forward(self, images):
        logits = super().forward(images)
        return (logits, logits) if self.training else logits


class Backward(Net):
    def forward(self, images):
        logits = super().forward(images).exp()
        logits += 1
        return logits


class Generating(Net):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.numbers = (number for number in range(9))


class Diverging(Net):
    """Comes to nothing only where there are more images than a check takes."""

    def forward(self, images):
        return super().forward(images) * (float("nan") if self.training and len(images) > 2 else 1)


def viewed(shape, classes, *, width=4): return Net(shape, classes, width)
def two(shape, classes, *, width=4): return Two(shape, classes, width)
def backward(shape, classes, *, width=4): return Backward(shape, classes, width)
def generating(shape, classes, *, width=4): return Generating(shape, classes, width)
def diverging(shape, classes, *, width=4): return Diverging(shape, classes, width)
def frozen(shape, classes, *, width=4): return Net(shape, classes, width).requires_grad_(False)
def lazy(shape, classes, *, width=4):
    return nn.Sequential(nn.LazyConv2d(width, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(classes))
def raising(shape, classes, *, width=4): raise KeyError("width\\nand more")
def leaving(shape, classes, *, width=4): sys.exit(3)
'''

# What a command says of each, as the end of its sentence.
REFUSED = {
    "two": "returns tuple for 2 images of 3×8×8 in training mode, not [2, 3].",
    "backward": "by an inplace operation",
    "generating": "cannot be copied: cannot pickle 'generator' object.",
    "frozen": "has no parameter that can be trained.",
    "raising": "cannot be built: KeyError: 'width\\nand more'.",
    "leaving": "cannot be built: SystemExit: 3.",
}


def write_networks(folder: Path) -> None:
    """Write the module `mine` into `folder`."""
    (folder / "mine.py").write_text(_SOURCE)

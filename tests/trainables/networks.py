"""Networks that a user could have written, named in tests as `tests.trainables.networks:function`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class _Fixed(nn.Module):
    """A linear network whose logits are made useless, always or in evaluation mode only."""

    def __init__(self, features: int, classes: int, offset: float, factor_in_evaluation: float) -> None:
        super().__init__()
        self.linear = nn.Linear(features, classes)
        self.offset = offset
        self.factor_in_evaluation = factor_in_evaluation

    def forward(self, images: Tensor) -> Tensor:
        logits = self.linear(images.flatten(1))
        logits = logits + self.offset * torch.eye(logits.shape[1])[0]
        return logits if self.training else logits * self.factor_in_evaluation


def constant(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Answer class 0 whatever the image is."""
    channels, height, width = input_shape
    return _Fixed(channels * height * width, classes, 1e6, 1.0)


def blind_in_evaluation(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Train well, and answer with infinities when evaluated."""
    channels, height, width = input_shape
    return _Fixed(channels * height * width, classes, 0.0, float("inf"))


def diverging_later(input_shape: tuple[int, int, int], classes: int, *, steps: int) -> nn.Module:
    """Train well for so many steps, and answer with infinities from then on."""
    return _Tiring(_Fixed(math.prod(input_shape), classes, 0.0, 1.0), steps)


class _Tiring(nn.Module):
    def __init__(self, model: nn.Module, steps: int) -> None:
        super().__init__()
        self.model = model
        self.left = steps

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.left -= 1
        logits: Tensor = self.model(images)
        return logits * (1.0 if self.left >= 0 else float("inf"))


def forgetful(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Draw at random in every training step."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(input_shape), 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, classes)
    )


def failing_later(input_shape: tuple[int, int, int], classes: int, *, steps: int) -> nn.Module:
    """Train well for so many steps, and raise a ValueError from then on."""
    return _Failing(_Fixed(math.prod(input_shape), classes, 0.0, 1.0), steps)


class _Failing(nn.Module):
    def __init__(self, model: nn.Module, steps: int) -> None:
        super().__init__()
        self.model = model
        self.left = steps

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.left -= 1
        if self.left < 0:
            raise ValueError("this network\nis tired")
        logits: Tensor = self.model(images)
        return logits


def large(
    input_shape: tuple[int, int, int], classes: int, *, training: int = 1000, evaluation: int = 1000
) -> nn.Module:
    """Need all the memory for so many images, in training and in evaluation; more are too many."""
    torch.manual_seed(0)
    return _Large(nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), classes)), training, evaluation)


class _Large(nn.Module):
    def __init__(self, model: nn.Module, training: int, evaluation: int) -> None:
        super().__init__()
        self.model = model
        self.limits = {True: training, False: evaluation}

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.limits[self.training]:
            raise MemoryError(f"{len(images)} images are too many")
        logits: Tensor = self.model(images)
        return logits

"""Parts of a recipe as a user writes them, good ones and bad ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def focal(logits: Tensor, labels: Tensor) -> Tensor:
    losses = F.cross_entropy(logits, labels, reduction="none")
    return ((1 - torch.exp(-losses)) ** 2 * losses).mean()


def no_loss(logits: Tensor, labels: Tensor) -> Tensor:
    raise ValueError("these labels are not to be learned")


def triangle(step: int, total: int) -> float:
    return min(step + 1, total - step) / total


def negative(images: Tensor, generator: torch.Generator) -> Tensor:
    signs = 2 * (torch.rand(len(images), generator=generator) < 0.5).to(images.dtype) - 1
    return images * signs.view(-1, 1, 1, 1)


def noise_of_its_own(images: Tensor, generator: torch.Generator) -> Tensor:
    return images + float(np.random.default_rng().normal())


def heavy_ball(parameters: Iterable[Tensor], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr, momentum=0.95, weight_decay=weight_decay)


def half_of_them(parameters: Iterable[Tensor], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(list(parameters)[::2], lr, weight_decay=weight_decay)


def nothing(parameters: Iterable[Tensor], lr: float, weight_decay: float) -> None:
    return None


class Forgetful(torch.optim.SGD):
    """Keeps its number of steps where `state_dict` does not see it, and makes longer ones the more there were."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        super().__init__(parameters, lr, weight_decay=weight_decay)
        self.steps = 0

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.steps += 1
        for group in self.param_groups:
            group["lr"] *= self.steps
        super().step()

"""An iteration of trajectory matching as published code does it: eager float32, autograd keeps the graph of all steps.

What `trajectory_matching.py` compares the engine with; nothing here imports the engine's distillation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call


@dataclass(frozen=True, eq=False)
class Match:
    """Loss, and its gradients by images float32 [N, C, H, W] and learning rate."""

    loss: float
    images: Tensor
    rate: float


def match(
    model: nn.Module,
    begin: Mapping[str, Tensor],
    goal: Mapping[str, Tensor],
    images: Tensor,
    labels: Tensor,
    rate: float,
    steps: int,
    augment: Callable[[Tensor, int], Tensor],
) -> Match:
    """Take `steps` steps of SGD from `begin` on all images and differentiate the distance to `goal`.

    Args:
        model: in training mode; gives the architecture.
        begin: parameters by name.
        goal: likewise.
        images: float32 [N, C, H, W].
        labels: int64 [N].
        rate: learning rate.
        steps: at least 1.
        augment: maps images and the number of a step, counted from 0, to augmented images.
    """
    images = images.detach().clone().requires_grad_()
    learned = torch.tensor(rate, requires_grad=True)
    names = list(begin)
    current = [begin[name].detach().clone().requires_grad_() for name in names]
    for step in range(steps):
        logits = functional_call(model, dict(zip(names, current, strict=True)), (augment(images, step),))
        gradients = torch.autograd.grad(F.cross_entropy(logits, labels), current, create_graph=True)
        current = [value - learned * gradient for value, gradient in zip(current, gradients, strict=True)]
    distance = torch.stack([(value - goal[name]).square().sum() for name, value in zip(names, current, strict=True)])
    length = torch.stack([(begin[name] - goal[name]).square().sum() for name in names])
    loss = distance.sum() / length.sum()
    by_images, by_rate = torch.autograd.grad(loss, [images, learned])
    return Match(loss.item(), by_images, by_rate.item())

"""A learning rate that is learned beside the images, positive by construction."""

from __future__ import annotations

import math
from typing import Literal

import torch

from dp_core.distillation.broken import Overstepped, smaller

# What one gradient changes the rate by at most: this factor, or one by this.
_FACTOR = 2.0


class LearnedRate:
    """A learning rate α of which the logarithm is optimised.

    MTT goes down along α itself, α ← α − η g with g = dL/dα, where one gradient above α/η makes α negative and its
    training one that climbs. Here log α ← log α − η g/α. To the first order that is the same change of α with the same
    η, and at the authors' settings, where η g is a thousandth of α, the same numbers; but nothing brings α to 0. As α
    falls, g/α has no bound, so that one gradient counts for a factor of 2 at most, less where the schedule or a
    divergence has made steps smaller. SGD's momentum is one of relative changes.

    Adam's steps have the size η whatever the gradient is; they are of η/α here, and of log 2 at most.

    Attributes:
        leaf: log α, a float64 scalar on the CPU, which an optimiser steps on.

    Args:
        start: where α starts, above 0.
        step: η, above 0.
        optimizer: whose steps those of `size` are.
    """

    def __init__(self, start: float, step: float, optimizer: Literal["sgd", "adam"]) -> None:
        self.leaf = torch.tensor(math.log(start), dtype=torch.float64).requires_grad_()
        self._step, self._optimizer = step, optimizer

    @property
    def value(self) -> float:
        """α."""
        return self.leaf.detach().exp().item()

    @property
    def size(self) -> float:
        """The learning rate that the optimiser is to use on `leaf` now, before schedule and divergences."""
        return min(self._step / self.value, math.log(_FACTOR)) if self._optimizer == "adam" else self._step

    def follow(self, gradient: float) -> None:
        """Set the gradient of `leaf` by dL/dα; one that is not finite is left so, to be noticed."""
        relative, most = gradient / self.value, math.log(_FACTOR) / self._step
        bounded = max(-most, min(most, relative)) if math.isfinite(gradient) else gradient
        self.leaf.grad = torch.full_like(self.leaf, bounded)

    def check(self) -> None:
        """Raise Overstepped unless α is in the range of float32."""
        sound = torch.finfo(torch.float32)
        if not sound.tiny <= self.value <= sound.max:
            raise Overstepped(f"the learned rate is {self.value:.3g}", smaller("learned_rate_rate"))

"""What changes a mask while a network trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from dp_core.training.loop import Training


class MaskRule(Protocol):
    """Says, every some steps, which weights there are.

    A rule keeps nothing from one call to the next: what it does follows from the training's weights, gradients, mask,
    seed and step, so that a training is resumed bit for bit from those. Rules are compared by value (frozen
    dataclasses).
    """

    @property
    def uses_gradients(self) -> bool:
        """Whether it looks at the gradients of the step before it, which are dense: those of removed weights, too."""
        ...

    def is_due(self, step: int, total: int) -> bool:
        """Return whether the mask may change after `step` steps, 1 to `total`, of a training of `total`."""
        ...

    def image_gradients(self, step: int, total: int) -> int:
        """Return how many images went forward and backward for its own sake in the first `step` steps."""
        ...

    def __call__(self, training: Training) -> Mapping[str, Tensor]:
        """Return the mask of the steps to come, with the names and shapes of `training.mask`, on any device.

        It is called after the optimiser's step `training.step`, counted from 1; `training.model` has its weights, and
        in `.grad` its gradients, of before the optimiser's step, if `uses_gradients`. Nothing of this is changed.
        """
        ...

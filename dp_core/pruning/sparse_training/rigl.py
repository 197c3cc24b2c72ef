"""RigL: sparse from the first step on, with weights that move to where the gradient wants them (Evci et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dp_core.errors import UserError
from dp_core.pruning.criteria.selection import comparable, highest
from dp_core.pruning.sparse_training.window import UpdateWindow
from dp_core.training import Training


@dataclass(frozen=True)
class RigL:
    """Drops the weights of smallest magnitude and grows those of largest gradient; a `MaskRule`.

    At an update each layer drops the share α/2 (1 + cos(π p)) of its weights, p being how much of the window has
    passed, and gets as many back among those it then does not have, by the magnitude of the loss's gradient there (Evci
    et al. 2020, algorithm 1). Layers keep the number of weights that the mask they start from gives them: one of
    Erdős–Rényi-Kernel densities, a uniform one, or a ticket's. A weight that is dropped and grown at once keeps its
    value. Unlike in the paper the optimiser makes its step at an update, too, as in ITOP's code.

    With many steps between updates and more that change, more weights have been tried when the training ends, which
    at high sparsity is what counts (in-time over-parameterisation, ITOP, Liu et al. 2021).

    Attributes:
        window: when. The paper updates every 100 steps until three quarters of the training.
        alpha: share of a layer's weights that the first update drops, above 0 and below 1; the paper has 0.3.
    """

    window: UpdateWindow
    alpha: float = 0.3

    uses_gradients = True

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UserError(f"RigL drops a share alpha of the weights above 0 and below 1, not {self.alpha:g}.")

    def is_due(self, step: int, total: int) -> bool:
        """See MaskRule."""
        return self.window.is_due(step, total) and self.share_after(step, total) > 0

    def image_gradients(self, step: int, total: int) -> int:
        """None: the gradients are those of the training."""
        return 0

    def share_after(self, step: int, total: int) -> float:
        """Return the share of a layer's weights that an update after `step` steps of `total` drops."""
        if self.window.first(total) == self.window.last(total):
            return self.alpha
        return self.alpha / 2 * (1 + math.cos(math.pi * self.window.progress(step, total)))

    def __call__(self, training: Training) -> Mapping[str, Tensor]:
        """See MaskRule."""
        parameters = dict(training.model.named_parameters())
        share = self.share_after(training.step, training.total_steps)
        moved = {}
        for name, kept in training.mask.items():
            weight = parameters[name].detach()
            gradient = parameters[name].grad
            assert gradient is not None, "a rule that uses gradients is called with them"
            moved[name] = _moved(kept.to(weight.device), weight.abs(), gradient.abs(), share)
        return moved


def _moved(kept: Tensor, magnitudes: Tensor, gradients: Tensor, share: float) -> Tensor:
    """Return the mask of a layer after one update, with as many weights."""
    number = int(kept.sum())
    dropped = min(round(share * number), kept.numel() - number)
    if dropped == 0:
        return kept
    stay = highest(comparable(magnitudes), kept.reshape(-1), number - dropped)
    grown = highest(comparable(gradients), ~stay, dropped)
    return torch.logical_or(stay, grown).view(kept.shape)

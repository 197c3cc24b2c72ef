"""Gradual pruning: a network becomes sparse while it trains (Zhu & Gupta 2017; Gale et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dp_core.errors import UserError
from dp_core.pruning.criteria import Criterion, NOfM
from dp_core.pruning.examples import training_examples
from dp_core.pruning.mask import Mask
from dp_core.pruning.sparse_training.window import UpdateWindow
from dp_core.seeds import derive_seed, generator
from dp_core.training import Training


@dataclass(frozen=True)
class GradualPruning:
    """Removes weights along a cubic schedule; a `MaskRule`.

    After a share p of the window has passed, the sparsity is s_f + (s_i − s_f) (1 − p)³ (Zhu & Gupta 2017, equation 1):
    most weights go early, when there are many that do little. What is removed stays removed. A pattern N:M, which has
    one sparsity, goes through M−1:M, M−2:M, … as the schedule allows them.

    Attributes:
        sparsity: s_f, of the mask after the window, above `initial` and below 1.
        criterion: chooses the weights that are kept, by default magnitudes over the whole network.
        window: when; one of no length prunes in one go.
        initial: s_i, that of the mask that the training starts from, 0 or more.
    """

    sparsity: float
    criterion: Criterion
    window: UpdateWindow
    initial: float = 0.0

    uses_gradients = False

    def __post_init__(self) -> None:
        if not 0 <= self.initial < 1 or not 0 < self.sparsity < 1:
            raise UserError(f"A sparsity is above 0 and below 1, not {self.initial:g} or {self.sparsity:g}.")
        if self.initial >= self.sparsity:
            raise UserError(f"Gradual pruning goes up in sparsity, not from {self.initial:g} to {self.sparsity:g}.")

    def is_due(self, step: int, total: int) -> bool:
        """See MaskRule."""
        return self.window.is_due(step, total)

    def image_gradients(self, step: int, total: int) -> int:
        """See MaskRule."""
        return self.criterion.image_gradients * self.window.updates(step, total)

    def sparsity_after(self, step: int, total: int) -> float:
        """Return the sparsity that the schedule has after `step` steps of `total`."""
        return self.initial + (self.sparsity - self.initial) * self._done(step, total)

    def _done(self, step: int, total: int) -> float:
        """Return the share of the weights to be removed that is gone after `step` steps, from 0 to 1."""
        return 1.0 - (1 - self.window.progress(step, total)) ** 3

    def __call__(self, training: Training) -> Mapping[str, Tensor]:
        """See MaskRule."""
        mask = Mask(training.mask)
        wanted = self.sparsity_after(training.step, training.total_steps)
        criterion = self.criterion
        if isinstance(criterion, NOfM):
            done = self._done(training.step, training.total_steps)
            pattern = criterion.at_most(done * (1 - criterion.kept / criterion.of))
            if pattern is None:
                return mask
            criterion, wanted = pattern, pattern.sparsity(mask)
        if round(wanted * mask.total) <= mask.total - mask.kept:
            return mask
        draw = generator(training.seed, "criterion", training.step)
        examples = training_examples(
            training.data, derive_seed(training.seed, "examples", training.step), training.model
        )
        return criterion(training.model, mask, wanted, draw, examples)


def one_shot(sparsity: float, criterion: Criterion, *, at: float, initial: float = 0.0) -> GradualPruning:
    """Return the rule that trains dense, prunes once after a share `at` of the training, and goes on from there.

    Args:
        sparsity: of the mask from then on.
        criterion: chooses the weights that are kept.
        at: share of the training's steps, above 0 and below 1.
        initial: sparsity of the mask that the training starts from.
    """
    if not 0 < at < 1:
        raise UserError(f"One-shot pruning is done at a share of the training above 0 and below 1, not {at:g}.")
    return GradualPruning(sparsity, criterion, UpdateWindow(at, at, 1), initial)

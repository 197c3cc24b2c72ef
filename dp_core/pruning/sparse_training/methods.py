"""The ways to train a sparse network in one run, by name, with what can be set of each.

The rules themselves are imported when one is asked for, so that a config is read without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from dp_core.errors import UserError
from dp_core.pruning.sparse_training.window import UpdateWindow

if TYPE_CHECKING:
    from dp_core.pruning.criteria import Criterion
    from dp_core.training import MaskRule

SparseMethod = Literal["gradual", "one_shot", "rigl"]


class SparseTraining(Protocol):
    """A way to train a sparse network in one run; a frozen dataclass of its settings."""

    starts_sparse: ClassVar[bool]
    """Whether the mask it starts from is as sparse as the one it ends with; else it is denser."""

    def rule(self, sparsity: float, criterion: Criterion, initial: float) -> MaskRule:
        """Return the rule of a training that ends `sparsity` sparse, from a mask of sparsity `initial`.

        `criterion` chooses what is kept where weights are removed for good.

        Raises:
            UserError: there is no way from `initial` to `sparsity`.
        """
        ...


@dataclass(frozen=True)
class Gradual:
    """Gradual pruning along a cubic schedule (Zhu & Gupta 2017)."""

    begin: float = 0.05
    """Share of the training after which it begins, from 0."""
    end: float = 0.8
    """Share of the training after which the last weights go, from `begin` to 1."""
    every: float = 0.075
    """From one pruning to the next: a share of the training if below 1, else a whole number of steps."""

    starts_sparse: ClassVar[bool] = False

    def __post_init__(self) -> None:
        UpdateWindow(self.begin, self.end, self.every)

    def rule(self, sparsity: float, criterion: Criterion, initial: float) -> MaskRule:
        """See SparseTraining."""
        from dp_core.pruning.sparse_training.gradual import GradualPruning

        return GradualPruning(sparsity, criterion, UpdateWindow(self.begin, self.end, self.every), initial)


@dataclass(frozen=True)
class OneShot:
    """Train dense, prune once by the criterion, and fine-tune."""

    at: float = 0.3
    """Share of the training after which the network is pruned, above 0 and below 1."""

    starts_sparse: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.at < 1:
            raise UserError(
                f"One-shot pruning is done at a share of the training above 0 and below 1, not {self.at:g}."
            )

    def rule(self, sparsity: float, criterion: Criterion, initial: float) -> MaskRule:
        """See SparseTraining."""
        from dp_core.pruning.sparse_training.gradual import one_shot

        return one_shot(sparsity, criterion, at=self.at, initial=initial)


@dataclass(frozen=True)
class SparseRigL:
    """RigL (Evci et al. 2020), sparse from the first step on."""

    alpha: float = 0.3
    """Share of a layer's weights that the first update drops and grows, above 0 and below 1."""
    begin: float = 0.0
    """Share of the training after which the first update is made, from 0."""
    end: float = 0.75
    """Share of the training after which masks stay as they are, from `begin` to 1."""
    every: float = 0.05
    """From one update to the next: a share of the training if below 1, else a whole number of steps; the paper has 100.
    Longer ones (ITOP, Liu et al. 2021: some 1,000) let new weights grow before they are judged."""

    starts_sparse: ClassVar[bool] = True

    def __post_init__(self) -> None:
        UpdateWindow(self.begin, self.end, self.every)
        if not 0 < self.alpha < 1:
            raise UserError(f"RigL drops a share alpha of the weights above 0 and below 1, not {self.alpha:g}.")

    def rule(self, sparsity: float, criterion: Criterion, initial: float) -> MaskRule:
        """See SparseTraining."""
        from dp_core.pruning.sparse_training.rigl import RigL

        return RigL(UpdateWindow(self.begin, self.end, self.every), self.alpha)


SPARSE_TRAININGS: Mapping[str, type[Gradual | OneShot | SparseRigL]] = {
    "gradual": Gradual,
    "one_shot": OneShot,
    "rigl": SparseRigL,
}

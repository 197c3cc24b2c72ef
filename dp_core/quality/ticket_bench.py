"""Where masks are found and tried: one network, its initial weights by seed, and its training on real data."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dp_core.data import ImageDataset
from dp_core.device import default_device
from dp_core.distillation.base import standardisation_of
from dp_core.judging import calibration_images, judge
from dp_core.models import ModelSpec, build
from dp_core.pruning import (
    ErdosRenyiKernel,
    GlobalMagnitude,
    IterativePruning,
    Mask,
    PruningPlan,
    check_sparsity,
    no_examples,
)
from dp_core.seeds import derive_seed, generator
from dp_core.training import Diverged, Recipe, Training, TrainingData

RANDOM_MASK = "random_mask"


class TicketBench:
    """Tickets of one network: global magnitude, rewound to initialisation.

    All tickets of a seed have the same initial weights and the same training on real data, in the standardised space of
    `train`.

    Args:
        train: real images that tickets are trained on.
        validation: real images held back from them.
        spec: the network.
        retraining: how a ticket is trained on them.
    """

    def __init__(self, train: ImageDataset, validation: ImageDataset, spec: ModelSpec, retraining: Recipe) -> None:
        space, device = standardisation_of(train), default_device()
        self.spec, self.retraining, self.classes, self._shape = spec, retraining, train.classes, train.image_shape
        self.real = TrainingData(train.images, train.labels, space).to(device)
        self._validation = TrainingData(validation.images, validation.labels, space)
        self._calibration = calibration_images(train, space)
        self.dense = Mask.ones(self.network(0))

    def check(self, sparsity: float) -> None:
        """Raise UserError unless the network can be as sparse."""
        check_sparsity(sparsity, {name: kept.numel() for name, kept in self.dense.items()})

    def network(self, seed: int) -> nn.Module:
        """Return the network as initialised."""
        made = build(self.spec, self._shape, self.classes, seed=derive_seed(seed, "initial weights"))
        return made.to(default_device())

    def find(
        self, data: TrainingData, recipe: Recipe, sparsities: Sequence[float], seed: int
    ) -> tuple[list[Mask] | None, int]:
        """Find masks by training on `data`, pruning and rewinding in turn.

        Args:
            data: what is trained on.
            recipe: of one round.
            sparsities: that are pruned to, one after the other, rising.
            seed: of initial weights and rounds.

        Returns:
            A mask for each of the sparsities, or None if a training diverges; and the image-gradients spent.
        """
        plan = PruningPlan((0.0, *sparsities), GlobalMagnitude(), recipe)
        pruning = IterativePruning(
            self.network(seed), data.to(default_device()), plan, seed=derive_seed(seed, "finding")
        )
        masks = []
        try:
            for _ in sparsities:
                pruning.run_round()
                masks.append(pruning.prune())
        except Diverged:
            return None, pruning.image_gradients
        return masks, pruning.image_gradients

    def random_mask(self, sparsity: float, seed: int) -> Mask:
        """Draw a mask with the layer densities of Erdős–Rényi-Kernel, the stronger random control."""
        draw = generator(seed, RANDOM_MASK)
        return ErdosRenyiKernel()(self.network(seed), self.dense, sparsity, draw, no_examples)

    def retrained(self, mask: Mask | None, seed: int) -> float:
        """Return the validation accuracy of a ticket trained on real data from initialisation; chance for None."""
        if mask is None:
            return 1 / self.classes
        model = self.network(seed)
        training = Training(model, self.real, self.retraining, seed=derive_seed(seed, "retraining"), mask=mask)
        try:
            training.run()
        except Diverged:
            return 1 / self.classes
        return judge(model, self._validation, self._calibration, self.retraining).accuracy

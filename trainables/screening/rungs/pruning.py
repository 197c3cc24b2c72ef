"""A rung of pruning rounds on one set of images."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from dp_core.cost import CostModel
from dp_core.judging import calibration_images
from dp_core.models import build
from dp_core.pruning import CRITERIA, IterativePruning, PruningPlan, sparsity_schedule
from dp_core.seeds import derive_seed
from dp_core.training import DataSource, TrainingData
from trainables.screening.context import ScreeningContext
from trainables.screening.replicates import Replicates, replicate_seeds
from trainables.screening.rungs.base import FoundTicket, Look
from trainables.trials.candidate import Candidate
from trainables.trials.placement import training_data


class PruningRung:
    """One step a round, from the initial weights of the trial's seed, which are the same on every rung.

    So is everything else that is drawn: what a candidate comes to on a rung does not depend on those below it. The
    ticket is that of the replicate with the highest accuracy on the validation images, of those that have not
    collapsed.

    Args:
        context: of the search.
        candidate: whose images are those of the rung, see `Candidate.rungs`.
        seed: of the trial.
        device: where to train.
        memory_parts: in how many parts a batch is in memory.
    """

    def __init__(
        self, context: ScreeningContext, candidate: Candidate, seed: int, device: torch.device, memory_parts: int
    ) -> None:
        data, validation, calibration = screening_data(context, candidate, device)
        shape, classes = context.train.open().image_shape, len(context.train.class_names)
        plan = PruningPlan(
            sparsities=sparsity_schedule(candidate.sparsity, context.prune_fraction),
            criterion=CRITERIA[context.criterion],
            recipe=candidate.recipe,
            rewind_step=context.rewind_step,
        )
        self._seeds = replicate_seeds(seed, context.replicates)
        models = [build(candidate.model, shape, classes, seed=derive_seed(seed, "weights")) for seed in self._seeds]
        cost = CostModel(models[0], shape)
        prunings = [
            IterativePruning(model.to(device), data, plan, seed=seed, memory_parts=memory_parts)
            for model, seed in zip(models, self._seeds, strict=True)
        ]
        self._steps = candidate.recipe.total_steps(len(data))
        self._replicates = Replicates(
            prunings, context.score, cost, validation, calibration, candidate.recipe, memory_parts
        )

    def step(self) -> Look:
        """Run one round of every replicate."""
        started = time.perf_counter()
        replicates = self._replicates
        replicates.run_round()
        status, reason = replicates.status()
        return Look(
            measures=replicates.measures(),
            predicted_classes=replicates.predicted_classes,
            steps=self._steps,
            status=status,
            reason=reason,
            seconds=time.perf_counter() - started,
            image_gradients=replicates.image_gradients,
        )

    def found(self) -> FoundTicket | None:
        """Return the ticket of the best replicate."""
        index, pruning = self._replicates.best()
        return FoundTicket(index, self._seeds[index], pruning.rewind_weights, pruning.mask)

    def state_dict(self) -> dict[str, Any]:
        """See Rung."""
        return self._replicates.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Rung."""
        self._replicates.load_state_dict(state)


def screening_data(
    context: ScreeningContext, candidate: Candidate, device: torch.device
) -> tuple[DataSource, TrainingData, TrainingData]:
    """Return, for `device`, what the candidate trains on, and in the very same space what it is scored on and with.

    That are the validation images, and the training images for the norms' statistics (see `judge`).
    """
    train, validation = context.train.open(), context.validation.open()
    chosen = None if candidate.source == "real" else context.sets[candidate.data_key]
    space = context.space if chosen is None else chosen.preprocessing
    scored = TrainingData(validation.images, validation.labels, space).to(device)
    calibration = calibration_images(train, space).to(device)
    if chosen is None:
        return training_data(train, space, device, context.stream), scored, calibration
    return TrainingData(*chosen.training_data()).to(device), scored, calibration

"""A rung of a few epochs on real images."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from dp_core.cost import CostModel
from dp_core.judging import calibration_images, divergence_of, judge
from dp_core.models import build
from dp_core.seeds import derive_seed
from dp_core.training import Diverged, Training, TrainingData
from trainables.screening.context import ScreeningContext
from trainables.screening.replicates import scoring_batch
from trainables.screening.round import Measures
from trainables.screening.rungs.base import FoundTicket, Look
from trainables.trials.candidate import Candidate
from trainables.trials.placement import training_data


class RealEpochsRung:
    """One step an epoch: the ticket of the last pruning rung, trained on the real training images.

    Where there are replicates it is the best one's ticket alone, which is also what would be retrained; the rows are
    then of one network. Proxy accuracy, and with it the score, is that on the validation images in the run's space,
    which is the same for all sources. The ticket stays that of the pruning.

    Args:
        context: of the search; its ladder has the epochs and the recipe.
        candidate: the architecture.
        ticket: where the training starts.
        device: where to train.
        memory_parts: in how many parts a batch is in memory.
    """

    def __init__(
        self,
        context: ScreeningContext,
        candidate: Candidate,
        ticket: FoundTicket,
        device: torch.device,
        memory_parts: int,
    ) -> None:
        self._score, self._ticket = context.score, ticket
        self._batch_size = scoring_batch(memory_parts)
        self._epochs, self._epoch = context.ladder.real_epochs, 0
        shape, classes = context.train.open().image_shape, len(context.train.class_names)
        model = build(candidate.model, shape, classes, seed=0)
        self._cost = CostModel(model, shape)(ticket.mask)
        model.load_state_dict(dict(ticket.weights))
        self._training = Training(
            model.to(device),
            training_data(context.train.open(), context.space, device, context.stream),
            replace(context.ladder.recipe, epochs=float(self._epochs), steps=None),
            seed=derive_seed(ticket.seed, "real epochs"),
            mask=ticket.mask,
            memory_parts=memory_parts,
        )
        validation = context.validation.open()
        self._validation = TrainingData(validation.images, validation.labels, context.space).to(device)
        self._calibration = calibration_images(context.train.open(), context.space).to(device)

    def step(self) -> Look:
        """Train one epoch, to the nearest whole step."""
        started = time.perf_counter()
        training = self._training
        self._epoch += 1
        before, divergence = training.step, None
        try:
            training.run(round(training.total_steps * self._epoch / self._epochs) - training.step)
        except Diverged as error:
            divergence = str(error)
        found = judge(training.model, self._validation, self._calibration, training.recipe, batch_size=self._batch_size)
        divergence = divergence or divergence_of(found)
        return Look(
            measures=Measures(
                score=self._score(found.accuracy, self._cost.parameters_left),
                proxy_accuracy=found.accuracy,
                proxy_loss=found.loss,
                sparsity=self._ticket.mask.sparsity,
                density=self._ticket.mask.density,
                prunable_parameters=self._ticket.mask.total,
                parameters=self._cost.parameters,
                parameters_left=self._cost.parameters_left,
                flops_dense=self._cost.flops_dense,
                flops_remaining=self._cost.flops_remaining,
            ),
            predicted_classes=found.predicted_classes,
            steps=training.step - before,
            status="diverged" if divergence else "finished" if training.finished else "running",
            reason=divergence,
            seconds=time.perf_counter() - started,
            image_gradients=training.image_gradients,
        )

    def found(self) -> FoundTicket | None:
        """Return the ticket that it was given."""
        return self._ticket

    def state_dict(self) -> dict[str, Any]:
        """See Rung."""
        return {"training": self._training.state_dict(), "epoch": self._epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Rung."""
        self._training.load_state_dict(state["training"])
        self._epoch = state["epoch"]

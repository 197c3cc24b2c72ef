"""Retraining: a ticket trained on real images as a Tune trial, one step an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dp_core.cost import CostModel
from dp_core.data.preprocessing import Standardisation
from dp_core.data.reading import Stream
from dp_core.judging import calibration_images, judge
from dp_core.pruning import Mask, Ticket
from dp_core.seeds import derive_seed
from dp_core.training import Diverged, Training, TrainingData
from trainables.retraining.beginning import beginning, recipe_of, rule_of
from trainables.retraining.method import RetrainingMethod
from trainables.retraining.trained_model import TrainedModel
from trainables.screening.replicates import scoring_batch
from trainables.trials.contract import Row, Work
from trainables.trials.placement import training_data
from trainables.trials.resilient import ResilientTrial
from trainables.trials.shared_dataset import SharedDataset


@dataclass(frozen=True, eq=False)
class RetrainingContext:
    """What all retrainings of a search share: the three splits, the tickets by trial number, methods by their keys.

    `stream` says when the training images are streamed, see `training_data`; `round_seconds` after how long an epoch is
    taken to hang, and its worker ended (None for never).
    """

    train: SharedDataset
    validation: SharedDataset
    test: SharedDataset
    space: Standardisation
    tickets: Mapping[int, Ticket]
    methods: Mapping[str, RetrainingMethod]
    epochs: int
    seed: int
    threads: int
    stream: Stream
    round_seconds: float | None = None


class RetrainingTrainable(ResilientTrial):
    """One ticket, method and seed: `config["job"]` has `trial`, `method` (its key), `seed` and what to `resume_from`.

    Every step is an epoch and reports loss and validation accuracy. The test images are used once, after the last
    epoch, on the weights the training ends with; the network is saved with the norm statistics it was judged with (see
    `judge`). `status` is `running`, `finished`, `diverged` or `failed` (an exception).
    """

    def job_of(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the job."""
        job: Mapping[str, Any] = config["job"]
        return job

    def make(self, job: Mapping[str, Any], memory_parts: int) -> Work:
        """See ResilientTrial."""
        return Retraining(self._context, job, self._device, memory_parts)


class Retraining:
    """The work of a retraining trial: a network that starts at its ticket's rewind point.

    Args:
        context: of the search.
        job: which ticket and seed.
        device: where to train.
        memory_parts: in how many parts a batch is in memory.
    """

    def __init__(
        self, context: RetrainingContext, job: Mapping[str, Any], device: torch.device, memory_parts: int
    ) -> None:
        self._context = context
        self._trial, self._replicate = int(job["trial"]), int(job["seed"])
        self._ticket = context.tickets[self._trial]
        self._batch_size = scoring_batch(memory_parts)
        self._calibration = calibration_images(context.train.open(), context.space)
        self._method, images = context.methods[job["method"]], context.train.open()
        seed = derive_seed(context.seed, "retraining", self._trial, self._replicate)
        model, mask = beginning(self._method, self._ticket, seed)
        self._training = Training(
            model.to(device),
            training_data(images, context.space, device, context.stream),
            recipe_of(self._method, self._ticket, len(images)),
            seed=seed,
            mask=mask,
            rule=rule_of(self._method, self._ticket),
            memory_parts=memory_parts,
        )

    def advance(self, history: Sequence[Row]) -> dict[str, Any]:
        """Train one epoch."""
        started = time.perf_counter()
        training, epoch = self._training, len(history) + 1
        steps_by_then = round(training.total_steps * epoch / self._context.epochs)
        row: dict[str, Any] = {"epoch": epoch, "status": "running", "reason": None}
        try:
            row["train_loss"] = training.run(steps_by_then - training.step)
        except Diverged as error:
            row |= {"status": "diverged", "reason": str(error), "train_loss": math.nan}
        row["validation_accuracy"] = self._accuracy(self._context.validation)
        row["learning_rate"] = float(training.optimizer.param_groups[0]["lr"])
        if training.finished and row["status"] == "running":
            row |= {"status": "finished", "test_accuracy": self._accuracy(self._context.test)}
        earlier = history[-1]["seconds"] if history else 0.0
        row["seconds"] = earlier + time.perf_counter() - started
        return row

    def _accuracy(self, split: SharedDataset) -> float:
        dataset, context = split.open(), self._context
        data = TrainingData(dataset.images, dataset.labels, context.space)
        found = judge(self._training.model, data, self._calibration, self._method.recipe, batch_size=self._batch_size)
        return found.accuracy

    def state_dict(self) -> dict[str, Any]:
        """See Work."""
        return self._training.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Work."""
        self._training.load_state_dict(state)

    def export(self, folder: Path, history: Sequence[Row]) -> None:
        """Write the trained network."""
        (folder / "model").mkdir()
        self._trained(history).write_into(folder / "model")

    def _trained(self, history: Sequence[Row]) -> TrainedModel:
        last, model, mask = history[-1], self._training.model, Mask(self._training.mask)
        cost = CostModel(self._ticket.build(), self._ticket.input_shape)(mask)
        return TrainedModel(
            spec=self._ticket.spec,
            input_shape=self._ticket.input_shape,
            class_names=self._context.train.class_names,
            space=self._context.space,
            weights={name: value.detach().cpu().clone() for name, value in model.state_dict().items()},
            results={
                "trial": self._trial,
                "seed": self._replicate,
                "test_accuracy": last["test_accuracy"],
                "validation_accuracy": last["validation_accuracy"],
                "sparsity": mask.sparsity,
                "prunable_parameters": mask.total,
                "parameters": cost.parameters,
                "parameters_left": cost.parameters_left,
                "flops_remaining": cost.flops_remaining,
                "image_gradients": self._training.image_gradients,
                "seconds": last["seconds"],
                **self._method.to_dict(),
                "history": [dict(row) for row in history],
            },
        )

"""Retraining: a ticket trained on real images as a Tune trial, one step an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_core.data.preprocessing import Standardisation
from dp_core.pruning import Ticket
from dp_core.seeds import derive_seed
from dp_core.training import Diverged, Recipe, Training, TrainingData, evaluate
from trainables.placement import Stream, training_data
from trainables.replicates import scoring_batch
from trainables.resilient import ResilientTrial
from trainables.shared_dataset import SharedDataset
from trainables.trained_model import TrainedModel


@dataclass(frozen=True, eq=False)
class RetrainingContext:
    """What all retrainings of a search share: the three splits, the tickets by trial number, and how to train.

    `stream` says when the training images are streamed, see `training_data`; `round_seconds` after how long an epoch is
    taken to hang, and its worker ended (None for never).
    """

    train: SharedDataset
    validation: SharedDataset
    test: SharedDataset
    space: Standardisation
    tickets: Mapping[int, Ticket]
    recipe: Recipe
    epochs: int
    seed: int
    threads: int
    stream: Stream
    round_seconds: float | None = None


class RetrainingTrainable(ResilientTrial):
    """One ticket with one seed: `config["job"]` has the `trial` it came from, the `seed`, and what to `resume_from`.

    Every step is an epoch and reports loss and validation accuracy. The test images are used once, after the last
    epoch, on the weights the training ends with. `status` is `running`, `finished`, `diverged` or `failed` (an
    exception).
    """

    _context: RetrainingContext
    _training: Training | None = None

    def job_of(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the job."""
        job: Mapping[str, Any] = config["job"]
        return job

    def begin(self, job: Mapping[str, Any], memory_parts: int) -> None:
        """Build the network at its rewind point."""
        context = self._context
        self._trial, self._replicate = int(job["trial"]), int(job["seed"])
        self._ticket = context.tickets[self._trial]
        self._batch_size = scoring_batch(memory_parts)
        data = training_data(context.train.open(), context.space, self._device, context.stream)
        self._training = Training(
            self._ticket.build().to(self._device),
            data,
            context.recipe,
            seed=derive_seed(context.seed, "retraining", self._trial, self._replicate),
            mask=self._ticket.mask,
            memory_parts=memory_parts,
        )

    def release(self) -> None:
        """Let go of the network and the images."""
        self._training = None

    @property
    def _running(self) -> Training:
        assert self._training is not None, "the trial has failed"
        return self._training

    def advance(self, history: list[dict[str, Any]]) -> dict[str, Any]:
        """Train one epoch."""
        started = time.perf_counter()
        training, epoch = self._running, len(history) + 1
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
        dataset = split.open()
        data = TrainingData(dataset.images, dataset.labels, self._context.space)
        recipe = self._context.recipe
        found = evaluate(
            self._running.model, data, batch_size=self._batch_size, precision=recipe.precision, mode=recipe.mode
        )
        return found.accuracy

    def work_state(self) -> dict[str, Any]:
        """Return the state of the training."""
        return self._running.state_dict()

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        """Take up the training again."""
        self._running.load_state_dict(state)

    def export(self, folder: Path, history: list[dict[str, Any]]) -> None:
        """Write the trained network."""
        (folder / "model").mkdir()
        self._trained(history).write_into(folder / "model")

    def _trained(self, history: list[dict[str, Any]]) -> TrainedModel:
        last, model = history[-1], self._running.model
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
                "sparsity": self._ticket.mask.sparsity,
                "seconds": last["seconds"],
                "recipe": self._context.recipe.to_dict(),
                "history": history,
            },
        )

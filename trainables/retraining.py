"""Retraining: a ticket trained on real images as a Tune trial, one step an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from dp_core.data.preprocessing import Standardisation
from dp_core.pruning import Ticket
from dp_core.seeds import derive_seed
from dp_core.training import Diverged, Recipe, Training, TrainingData, evaluate
from trainables.device import claim_device
from trainables.placement import Stream, training_data
from trainables.resuming import load_state, load_state_from, save_state
from trainables.shared_dataset import SharedDataset
from trainables.trained_model import TrainedModel


@dataclass(frozen=True, eq=False)
class RetrainingContext:
    """What all retrainings of a search share: the three splits, the tickets by trial number, and how to train.

    `stream` says when the training images are streamed, see `training_data`.
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


class RetrainingTrainable(tune.Trainable):
    """One ticket with one seed: `config["job"]` has the `trial` it came from, the `seed`, and what to `resume_from`.

    Every step is an epoch and reports loss and validation accuracy. The test images are used once, after the last
    epoch, on the weights the training ends with.
    """

    def setup(self, config: dict[str, Any], context: RetrainingContext | None = None) -> None:
        """Build the network at its rewind point; `context` is kept for the next ticket of this worker."""
        if context is not None:
            self._context = context
        context, job = self._context, config["job"]
        self._device = claim_device(context.threads)
        self._trial, self._replicate = int(job["trial"]), int(job["seed"])
        self._ticket = context.tickets[self._trial]
        self._seed = derive_seed(context.seed, "retraining", self._trial, self._replicate)
        data = training_data(context.train.open(), context.space, self._device, context.stream)
        model = self._ticket.build().to(self._device)
        self._training = Training(model, data, context.recipe, seed=self._seed, mask=self._ticket.mask)
        self._history: list[dict[str, Any]] = []
        if job.get("resume_from"):
            self._go_on_from(load_state_from(job["resume_from"], self._device))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up the next ticket in the same process."""
        del self._training  # its images make room for the next ones
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch and report it."""
        if self._history and self._history[-1]["status"] != "running":
            return {**self._history[-1], "done": True}
        started = time.perf_counter()
        epoch = len(self._history) + 1
        steps_by_then = round(self._training.total_steps * epoch / self._context.epochs)
        row: dict[str, Any] = {"epoch": epoch, "status": "running", "reason": None}
        try:
            row["train_loss"] = self._training.run(steps_by_then - self._training.step)
        except Diverged as error:
            row |= {"status": "diverged", "reason": str(error), "train_loss": math.nan}
        row["validation_accuracy"] = self._accuracy(self._context.validation)
        row["learning_rate"] = float(self._training.optimizer.param_groups[0]["lr"])
        if self._training.finished and row["status"] == "running":
            row |= {"status": "finished", "test_accuracy": self._accuracy(self._context.test)}
        earlier = self._history[-1]["seconds"] if self._history else 0.0
        row["seconds"] = earlier + time.perf_counter() - started
        self._history.append(row)
        return {**row, "done": row["status"] != "running"}

    def _accuracy(self, split: SharedDataset) -> float:
        dataset = split.open()
        data = TrainingData(dataset.images, dataset.labels, self._context.space)
        recipe = self._context.recipe
        return evaluate(self._training.model, data, precision=recipe.precision, mode=recipe.mode).accuracy

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save everything needed to go on, and the model once it is trained."""
        folder = Path(checkpoint_dir)
        save_state(folder, {"training": self._training.state_dict(), "history": self._history})
        if self._history and self._history[-1]["status"] == "finished":
            (folder / "model").mkdir()
            self._trained().write_into(folder / "model")

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from what `save_checkpoint` wrote into this folder."""
        self._go_on_from(load_state(Path(str(checkpoint)), self._device))

    def _go_on_from(self, state: dict[str, Any]) -> None:
        self._training.load_state_dict(state["training"])
        self._history = state["history"]

    def _trained(self) -> TrainedModel:
        last = self._history[-1]
        return TrainedModel(
            spec=self._ticket.spec,
            input_shape=self._ticket.input_shape,
            class_names=self._context.train.class_names,
            space=self._context.space,
            weights={name: value.detach().cpu().clone() for name, value in self._training.model.state_dict().items()},
            results={
                "trial": self._trial,
                "seed": self._replicate,
                "test_accuracy": last["test_accuracy"],
                "validation_accuracy": last["validation_accuracy"],
                "sparsity": self._ticket.mask.sparsity,
                "seconds": last["seconds"],
                "recipe": self._context.recipe.to_dict(),
                "history": self._history,
            },
        )

"""Screening: distilled pruning of one candidate as a Tune trial, one step a pruning round."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune

from dp_core.analysis import CostModel
from dp_core.data.preprocessing import Standardisation
from dp_core.distillation import DistilledSet
from dp_core.models import build
from dp_core.pruning import CRITERIA, IterativePruning, PruningPlan, Ticket, sparsity_schedule
from dp_core.seeds import derive_seed
from dp_core.training import DataSource, TrainingData
from trainables.candidate import Candidate
from trainables.device import claim_device
from trainables.placement import Stream, training_data
from trainables.replicates import Replicates, replicate_seeds
from trainables.resuming import load_state, load_state_from, save_state
from trainables.score import Score
from trainables.shared_dataset import SharedDataset


@dataclass(frozen=True, eq=False)
class ScreeningContext:
    """What all trials of a search share.

    Attributes:
        train: source of the `real` candidates' images.
        validation: held-back real images that score the proxies.
        sets: distilled sets and random subsets by `Candidate.data_key`.
        space: preprocessing of real images for `real` candidates.
        prune_fraction: share of the remaining weights that a round removes.
        criterion: name in CRITERIA.
        rewind_step: see PruningPlan.
        replicates: how often each candidate is pruned, from other initial weights and with other seeds.
        score: what the search maximises.
        seed: the run's seed; a trial's own follows from it and the trial's number.
        threads: CPU threads of a trial.
        stream: when the images of `real` candidates are streamed, see `training_data`.
    """

    train: SharedDataset
    validation: SharedDataset
    sets: Mapping[str, DistilledSet]
    space: Standardisation
    prune_fraction: float
    criterion: str
    rewind_step: int
    replicates: int
    score: Score
    seed: int
    threads: int
    stream: Stream


class ScreeningTrainable(tune.Trainable):
    """One candidate: `config` has its number in the study (`trial`), the `candidate`, and a checkpoint to go on from.

    Every step trains each replicate under its mask of the round and reports the mean of their proxy accuracies on
    held-back real images, with its standard error. `status` is `running`, `finished` (target sparsity reached; the
    checkpoint then has the ticket), `collapsed` (all replicates have a layer without weights, or predicted the same
    class for every image twice running) or `diverged` (one of them did). The ticket is that of the replicate with the
    highest accuracy on the validation images, of those that have not collapsed.
    """

    def setup(self, config: dict[str, Any], context: ScreeningContext | None = None) -> None:
        """Build the candidate; `context` comes with the first trial of a worker and is kept for the next ones."""
        if context is not None:
            self._context = context
        self._device = claim_device(self._context.threads)
        self._number = int(config["trial"])
        self._candidate = Candidate.parse(config["candidate"], len(self._context.train.class_names))
        self._history: list[dict[str, Any]] = []
        self._prepare()
        if config.get("resume_from"):
            self._go_on_from(load_state_from(config["resume_from"], self._device))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up the next candidate in the same process."""
        del self._replicates  # their images make room for the next ones
        self.setup(new_config)
        return True

    def _prepare(self) -> None:
        context, candidate = self._context, self._candidate
        data, validation = screening_data(context, candidate, self._device)
        self._input_shape = context.train.open().image_shape
        self._classes = len(context.train.class_names)
        plan = PruningPlan(
            sparsities=sparsity_schedule(candidate.sparsity, context.prune_fraction),
            criterion=CRITERIA[context.criterion],
            recipe=candidate.recipe,
            rewind_step=context.rewind_step,
        )
        self._seeds = replicate_seeds(derive_seed(context.seed, "trial", self._number), context.replicates)
        models = [
            build(candidate.model, self._input_shape, self._classes, seed=derive_seed(seed, "weights"))
            for seed in self._seeds
        ]
        cost = CostModel(models[0], self._input_shape)
        prunings = [
            IterativePruning(model.to(self._device), data, plan, seed=seed)
            for model, seed in zip(models, self._seeds, strict=True)
        ]
        self._replicates = Replicates(prunings, cost, validation, candidate.recipe)

    def step(self) -> dict[str, Any]:
        """Run one round and report it."""
        if self._history and self._history[-1]["status"] != "running":
            # Resumed from the checkpoint of a trial whose end nobody heard of: say it again.
            return {**self._history[-1], "done": True}
        started = time.perf_counter()
        self._replicates.run_round()
        row = self._row()
        row["seconds"] = (self._history[-1]["seconds"] if self._history else 0.0) + time.perf_counter() - started
        self._history.append(row)
        return {**row, "done": row["status"] != "running"}

    def _row(self) -> dict[str, Any]:
        measures = self._replicates.measures()
        status, reason = self._replicates.status()
        error, left = measures["proxy_accuracy_sem"], measures["parameters_left"]
        return {
            # A round that diverged does not count as done, but it is the one that this row is about.
            "round": len(self._history) + 1,
            "score": self._context.score(measures["proxy_accuracy"], left),
            # The score is linear in the accuracy.
            "score_sem": None if error is None else self._context.score(error, left),
            **measures,
            "status": status,
            "reason": reason,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save everything needed to go on, and the ticket once there is one."""
        folder = Path(checkpoint_dir)
        save_state(folder, {"replicates": self._replicates.state_dict(), "history": self._history})
        if self._history and self._history[-1]["status"] == "finished":
            (folder / "ticket").mkdir()
            self._ticket().write_into(folder / "ticket")

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from what `save_checkpoint` wrote into this folder."""
        self._go_on_from(load_state(Path(str(checkpoint)), self._device))

    def _go_on_from(self, state: dict[str, Any]) -> None:
        self._replicates.load_state_dict(state["replicates"])
        self._history = state["history"]

    def _ticket(self) -> Ticket:
        candidate, context = self._candidate, self._context
        used = context.sets.get(candidate.data_key)
        index, pruning = self._replicates.best()
        last = self._history[-1]
        return Ticket(
            spec=candidate.model,
            input_shape=self._input_shape,
            classes=self._classes,
            weights={name: value.cpu().clone() for name, value in pruning.rewind_weights.items()},
            mask=pruning.mask,
            history=self._history,
            provenance={
                "trial": self._number,
                "seed": self._seeds[index],
                "replicate": index + 1,
                **{name: last[name] for name in ("replicates", "proxy_accuracy", "proxy_accuracy_sem")},
                "source": candidate.source,
                "images_per_class": candidate.images_per_class,
                "recipe": candidate.recipe.to_dict(),
                "criterion": context.criterion,
                "rewind_step": context.rewind_step,
                "train_digest": context.train.digest,
                "distiller": None if used is None else dict(used.provenance),
                "torch": torch.__version__,
            },
        )


def screening_data(
    context: ScreeningContext, candidate: Candidate, device: torch.device
) -> tuple[DataSource, TrainingData]:
    """Return, for `device`, what the candidate trains on and the validation images in the very same space."""
    validation = context.validation.open()
    if candidate.source == "real":
        scored = TrainingData(validation.images, validation.labels, context.space).to(device)
        return training_data(context.train.open(), context.space, device, context.stream), scored
    chosen = context.sets[candidate.data_key]
    scored = TrainingData(validation.images, validation.labels, chosen.preprocessing).to(device)
    return TrainingData(*chosen.training_data()).to(device), scored

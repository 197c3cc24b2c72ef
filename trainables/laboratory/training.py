"""Training a ticket on real images, and what the comparison wants to know of the result; resumable every minute."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.files import replacing_directory
from dp_core.judging import judge
from dp_core.pruning import Mask, Ticket, at_chance, chance, criterion_named
from dp_core.seeds import derive_seed
from dp_core.stability import interpolate, top_eigenvalue
from dp_core.training import Diverged, Evaluation, MaskRule, Recipe, Training, TrainingData
from trainables.laboratory.context import Laboratory
from trainables.laboratory.files import Cell, read_result, write_result
from trainables.laboratory.recipes import final_recipe
from trainables.laboratory.timing import Stopwatch
from trainables.trials.resuming import load_state_if_sound, save_state

_SAVE_EVERY = 60.0  # seconds
_QUARTERS, _DEAD_AFTER = 4, 3


class Dead(Exception):
    """A training that has been no better than chance for three quarters of its length."""


def train_ticket(lab: Laboratory, cell: Cell, device: torch.device) -> None:
    """Train the ticket of `cell` on real images, test it, measure what the comparison asks for, and save the result.

    A network that is no better than chance on the validation images after each of the first three quarters of its
    training is not trained further: its result has the status `collapsed` and the accuracy that it has.
    """
    path = lab.files.training(cell)
    if read_result(path) is not None:
        return
    ticket = Ticket.load(lab.files.ticket(cell))
    result: dict[str, Any] = {"sparsity": ticket.mask.sparsity, "status": "finished", "reason": None}
    if (reason := too_dear(lab, cell, ticket)) is not None:
        write_result(path, result | {"status": "unaffordable", "reason": reason})
        return
    first = _ResumableTraining(lab, cell, ticket, device, copy=0)
    try:
        try:
            first.run()
        except Dead as error:
            result |= {"status": "collapsed", "reason": str(error)}
        result |= _scores(lab, first)
        densities = first.mask.layer_densities()
        result["layer_densities"] = [{"name": name, "density": value} for name, value in densities.items()]
        result["sparsity"] = first.mask.sparsity
        if result["status"] == "finished":
            result |= _stability(lab, cell, ticket, first, device)
    except Diverged as error:
        result |= {"status": "diverged", "reason": str(error)}
    write_result(path, result)
    for copy in range(2):
        shutil.rmtree(_folder(lab, cell, copy), ignore_errors=True)


class _ResumableTraining:
    """A ticket's training in the data order of `copy`, which is the same for every method."""

    def __init__(self, lab: Laboratory, cell: Cell, ticket: Ticket, device: torch.device, *, copy: int) -> None:
        self._lab, self._folder = lab, _folder(lab, cell, copy)
        seed = derive_seed(lab.cell_seed(cell.network, cell.seed), "training", copy)
        model, data = ticket.build().to(device), lab.real_data(device)
        recipe = _recipe(lab, cell, ticket)
        rule = _rule(lab, cell, ticket)
        self.training = Training(model, data, recipe, seed=seed, mask=ticket.mask, rule=rule)
        self.training.step = ticket.provenance["start_step"]
        self.watch = Stopwatch()
        self._quarters_at_chance = 0
        state = load_state_if_sound(self._folder, device)
        if state is not None:
            self.training.load_state_dict(state["training"])
            self.watch = Stopwatch(**state["watch"])
            self._quarters_at_chance = state["quarters_at_chance"]

    @property
    def mask(self) -> Mask:
        """The weights there are now."""
        return Mask(self.training.mask)

    def run(self) -> None:
        """Train to the end.

        Raises:
            Diverged: the loss became NaN or infinite.
            Dead: the network stays at chance.
        """
        training, saved = self.training, time.monotonic()
        total = training.total_steps
        while training.step < total:
            quarter = _QUARTERS * training.step // total
            ends = -(-(quarter + 1) * total // _QUARTERS)
            with self.watch.running():
                training.run(min(max(1, total // 50), ends - training.step))
            if training.step == ends:
                self._look()
            if time.monotonic() - saved > _SAVE_EVERY or training.step == total:
                self._save()
                saved = time.monotonic()

    def _look(self) -> None:
        scored = self._lab.scoring_data(self._lab.validation, self._lab.space, self._lab.round_images)
        dead = at_chance(score(self._lab, self.training.model, scored), chance(scored.labels))
        self._quarters_at_chance = self._quarters_at_chance + 1 if dead else 0
        if self._quarters_at_chance == _DEAD_AFTER:
            step, total = self.training.step, self.training.total_steps
            raise Dead(f"no better than chance on the validation images by step {step} of {total}")

    def _save(self) -> None:
        state = {"training": self.training.state_dict(), "watch": self.watch.so_far()}
        with replacing_directory(self._folder) as folder:
            save_state(folder, {**state, "quarters_at_chance": self._quarters_at_chance})


def too_dear(lab: Laboratory, cell: Cell, ticket: Ticket) -> str | None:
    """Return why there is nothing left to train a ticket with, where its mask counts; None if there is."""
    left = _steps(lab, cell, ticket) - ticket.provenance["start_step"]
    spent, total = ticket.provenance["cost"]["image_gradients"], _budget(lab, cell)
    return None if left >= 1 else f"its mask has cost {spent:,} image-gradients of the {total:,} that there are in all"


def _budget(lab: Laboratory, cell: Cell) -> int:
    recipe, images = final_recipe(lab, cell.network, cell.method), len(lab.train.open())
    return recipe.total_steps(images) * recipe.images_per_step(images)


def _steps(lab: Laboratory, cell: Cell, ticket: Ticket) -> int:
    """Return at which step the final training of a ticket ends.

    Where masks count that is so much earlier that mask and training take as many image-gradients as a dense network's
    training. Steps that the ticket's weights have had are part of what its mask has cost.
    """
    recipe, images = final_recipe(lab, cell.network, cell.method), len(lab.train.open())
    total = recipe.total_steps(images)
    if not lab.masks_count:
        return total
    cost, start_step = ticket.provenance["cost"]["image_gradients"], ticket.provenance["start_step"]
    return total - round(int(cost) / recipe.images_per_step(images)) + int(start_step)


def _recipe(lab: Laboratory, cell: Cell, ticket: Ticket) -> Recipe:
    recipe, steps = final_recipe(lab, cell.network, cell.method), _steps(lab, cell, ticket)
    return replace(recipe, steps=steps, epochs=None) if lab.masks_count else recipe


def _rule(lab: Laboratory, cell: Cell, ticket: Ticket) -> MaskRule | None:
    """Return how the mask changes in the training of a ticket."""
    method = lab.method(cell)
    if method.sparse_training is None:
        return None
    assert cell.sparsity is not None
    return method.sparse_training.rule(cell.sparsity, criterion_named(method.criterion), ticket.mask.sparsity)


def score(lab: Laboratory, model: nn.Module, data: TrainingData) -> Evaluation:
    """Have `model` judged as the final recipe executes it, see `judge`."""
    return judge(model, data, lab.calibration(lab.space), lab.recipe)


def _scores(lab: Laboratory, trained: _ResumableTraining) -> dict[str, Any]:
    training = trained.training
    splits = (lab.scoring_data(split, lab.space) for split in (lab.validation, lab.test))
    validation, test = (score(lab, training.model, split) for split in splits)
    for name, found in (("validation", validation), ("test", test)):
        if not math.isfinite(found.loss):
            raise Diverged(f"the {name} loss is {found.loss}")
    return {
        "validation_accuracy": validation.accuracy,
        "validation_loss": validation.loss,
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "train_learning_rate": training.recipe.learning_rate,
        "train_image_gradients": training.image_gradients,
        **{f"train_{key}": value for key, value in trained.watch.so_far().items()},
    }


def _stability(
    lab: Laboratory, cell: Cell, ticket: Ticket, trained: _ResumableTraining, device: torch.device
) -> dict[str, Any]:
    """Measure the sharpness of a solution, and the barrier to that of a second training in another data order."""
    wanted, found, model = lab.stability, dict[str, Any](), trained.training.model
    statistics = lab.scoring_data(lab.train, lab.space, wanted.images)
    if cell.sparsity in wanted.eigenvalue_at:
        with suppress(UserError):  # a Hessian that is not finite has no top eigenvalue
            top = top_eigenvalue(model, statistics, mask=trained.mask)
            found |= {"top_eigenvalue": top.value, "eigenvalue_converged": top.converged}
    if cell.sparsity in wanted.barrier_at:
        other = _ResumableTraining(lab, cell, ticket, device, copy=1)
        try:
            other.run()
        except (Diverged, Dead):
            return found  # then there is no second solution, and no barrier to it
        one, two, scored = _state(model), _state(other.training.model), lab.scoring_data(lab.validation, lab.space)
        path = interpolate(model, one, two, scored, points=wanted.points, statistics=statistics)
        if not all(map(math.isfinite, path.losses)):
            return found
        found |= {
            "positions": list(path.positions),
            "path_errors": list(path.errors),
            "path_losses": list(path.losses),
            "error_barrier": path.error_barrier,
            "loss_barrier": path.loss_barrier,
        }
    return found


def _state(model: nn.Module) -> Mapping[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _folder(lab: Laboratory, cell: Cell, copy: int) -> Path:
    return lab.files.state(cell, f"training{copy}")

"""Iterative pruning through all targets of a method; resumable after every round."""

from __future__ import annotations

from typing import Any

import torch

from dp_core.errors import UserError
from dp_core.files import replacing_directory
from dp_core.judging import judge
from dp_core.pruning import (
    IterativePruning,
    Mask,
    NOfM,
    PruningPlan,
    at_chance,
    chance,
    criterion_named,
    layer_collapse,
    schedule_through,
)
from dp_core.seeds import derive_seed
from dp_core.training import Diverged, Recipe
from dp_core.training.network import unchanged_buffers
from trainables.laboratory.context import Laboratory
from trainables.laboratory.files import Cell
from trainables.laboratory.method import Method
from trainables.laboratory.recipes import tuned
from trainables.laboratory.tickets import parent_ticket, save_ticket
from trainables.laboratory.timing import Stopwatch
from trainables.trials.resuming import load_state_if_sound, save_state


class IterativeSearch:
    """Iterative pruning through all targets, a ticket saved at each."""

    def __init__(self, lab: Laboratory, cell: Cell, device: torch.device) -> None:
        self._lab, self._cell, self._device = lab, cell, device
        self._method, recipe = lab.method(cell), tuned(lab, cell.network, cell.method)
        seed = lab.cell_seed(cell.network, cell.seed)
        self._data, space = lab.data(self._method, seed, device)
        start = parent_ticket(lab, cell, self._method.start_sparsity) if self._method.parent else None
        self._plan = _plan(self._method, recipe, lab, None if start is None else start.mask)
        model = lab.network(cell.network, cell.seed, device)
        self._pruning = IterativePruning(
            model, self._data, self._plan, seed=derive_seed(seed, "pruning"), mask=None if start is None else start.mask
        )
        self._earlier = {"image_gradients": 0, "seconds": 0.0, "processor_seconds": 0.0}
        if start is not None:  # what the mask it starts from has cost counts, too
            self._earlier = {key: start.provenance["cost"][key] for key in self._earlier}
        self._scored = lab.scoring_data(lab.validation, space, lab.round_images)
        self._calibration = lab.calibration(space)
        self._chance = chance(self._scored.labels)
        self._watch = Stopwatch()
        self._rounds: list[dict[str, Any]] = []
        self._costs: list[dict[str, Any]] = []
        self._end: tuple[str, str | None] = ("finished", None)
        self._resume()

    def run(self) -> dict[str, Any]:
        """Run the rounds that are left."""
        while self._pruning.rounds_done < len(self._plan.sparsities) - 1 and self._end[0] == "finished":
            self._round()
            self._save()
        found: dict[str, Any] = {
            "rounds": self._rounds,
            "tickets": self._costs,
            "status": self._end[0],
            "reason": self._end[1],
        }
        found["learning_rate"] = self._plan.recipe.learning_rate
        return found

    def _round(self) -> None:
        pruning, recipe = self._pruning, self._plan.recipe
        row: dict[str, Any] = {"round": pruning.rounds_done + 1, "sparsity": pruning.mask.sparsity}
        with self._watch.running():
            try:
                row["train_loss"] = pruning.run_round()
            except Diverged as error:
                self._end = ("diverged", str(error))
                row["train_loss"] = None
        with unchanged_buffers(pruning.model):  # what it is judged with is nothing to make the next mask from
            found = judge(pruning.model, self._scored, self._calibration, recipe)
        dead = at_chance(found, self._chance)
        if dead and self._rounds and self._rounds[-1]["at_chance"] and self._end[0] == "finished":
            self._end = ("collapsed", "no better than chance on the validation images in two rounds running")
        if self._end[0] == "finished":
            self._prune()
        row |= {"validation_accuracy": found.accuracy, "at_chance": dead, "status": self._end[0]}
        row |= {"reason": self._end[1], **self._cost()}
        self._rounds.append(row)
        if self._end[0] == "finished" and self._plan.sparsities[pruning.rounds_done] in self._method.sparsities:
            self._save_ticket(self._plan.sparsities[pruning.rounds_done])

    def _prune(self) -> None:
        pruning, shape = self._pruning, self._lab.train.open().image_shape
        try:
            with self._watch.running():
                mask = pruning.prune()
        except UserError as error:  # scores that are not finite
            self._end = ("diverged", str(error))
            return
        if emptied := layer_collapse(mask, pruning.model, shape):
            self._end = ("collapsed", emptied)

    def _cost(self) -> dict[str, Any]:
        spent = {"image_gradients": self._pruning.image_gradients, **self._watch.so_far()}
        return {key: value + self._earlier[key] for key, value in spent.items()}

    def _save_ticket(self, target: float) -> None:
        cost = {"sparsity": target, "rounds": self._pruning.rounds_done, **self._cost()}
        weights = {name: value.cpu().clone() for name, value in self._pruning.rewind_weights.items()}
        ticket = (weights, self._pruning.mask, self._rounds, cost)
        save_ticket(self._lab, self._cell, target, *ticket, start_step=self._start_step())
        self._costs.append(cost)

    def _start_step(self) -> int:
        """Return the step at which a ticket's final training begins: weights of real images have had some."""
        if self._method.source != "real":
            return 0
        images = len(self._data)
        seen = self._plan.rewind_step * self._plan.recipe.images_per_step(images)
        return round(seen / self._lab.recipe.images_per_step(images))

    def _save(self) -> None:
        state = {
            "pruning": self._pruning.state_dict(),
            "rounds": self._rounds,
            "costs": self._costs,
            "end": list(self._end),
            "watch": self._watch.so_far(),
        }
        with replacing_directory(self._lab.files.state(self._cell, "search")) as folder:
            save_state(folder, state)

    def _resume(self) -> None:
        folder = self._lab.files.state(self._cell, "search")
        state = load_state_if_sound(folder, self._device)
        if state is None:
            return
        self._pruning.load_state_dict(state["pruning"])
        self._rounds, self._costs = state["rounds"], state["costs"]
        self._end = (state["end"][0], state["end"][1])
        self._watch = Stopwatch(**state["watch"])


def _plan(method: Method, recipe: Recipe, lab: Laboratory, start: Mask | None) -> PruningPlan:
    criterion = criterion_named(method.criterion)
    first = 0.0 if start is None else start.sparsity
    if isinstance(criterion, NOfM):  # a pattern has one sparsity, and there is none on the way to it
        sparsities: tuple[float, ...] = (first, *method.sparsities)
    else:
        sparsities = schedule_through(method.sparsities, method.prune_fraction, start=first)
    return PruningPlan(sparsities, criterion, recipe, method.rewind_step, lab.scope)

"""Iterative pruning: train, prune, rewind, and again, one round at a time (Frankle & Carbin 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from dp_core.errors import UserError
from dp_core.pruning.criteria import Criterion
from dp_core.pruning.mask import Mask
from dp_core.seeds import derive_seed, generator
from dp_core.training import DataSource, Recipe, Training


@dataclass(frozen=True)
class PruningPlan:
    """How to prune: sparsity of every round, criterion, the recipe of a round, and where to rewind to.

    `sparsities` starts with 0 (the dense network) and rises. `rewind_step` is the step of the first, dense training
    whose state every later round starts from: 0 is initialisation (lottery-ticket hypothesis), k > 0 is rewinding
    (Frankle et al. 2020).
    """

    sparsities: tuple[float, ...]
    criterion: Criterion
    recipe: Recipe
    rewind_step: int = 0

    def __post_init__(self) -> None:
        rising = all(first <= second for first, second in pairwise(self.sparsities))
        if not self.sparsities or self.sparsities[0] != 0 or not rising or self.sparsities[-1] >= 1:
            raise UserError(f"The sparsities of a plan start with 0 and rise to below 1, not {self.sparsities}.")


class IterativePruning:
    """A network on its way to a ticket.

    Round r trains the network under the mask of sparsity `plan.sparsities[r]`; before that, for r > 0, the criterion
    has made the mask from the weights of round r - 1 and *everything* (weights, biases, norm parameters, buffers,
    optimiser, step) has gone back to the rewind state. The data order differs from round to round and follows from
    `seed` and the round, so `state_dict` is all that a resumed run needs to go on bit for bit.
    """

    def __init__(self, model: nn.Module, data: DataSource, plan: PruningPlan, *, seed: int) -> None:
        if not 0 <= plan.rewind_step < plan.recipe.total_steps(len(data)):
            raise UserError(
                f"Rewinding to step {plan.rewind_step} is not possible in a training of "
                f"{plan.recipe.total_steps(len(data))} steps."
            )
        self.model = model
        self.mask = Mask.ones(model)
        self.rounds_done = 0
        self.image_gradients = 0
        self._data = data
        self._plan = plan
        self._seed = seed
        self._rewind: dict[str, Any] | None = None

    @property
    def finished(self) -> bool:
        """Whether the network has been trained at the last sparsity of the plan."""
        return self.rounds_done == len(self._plan.sparsities)

    @property
    def rewind_weights(self) -> dict[str, torch.Tensor]:
        """Parameters and buffers at the rewind point, which is where a ticket starts. Known after the first round."""
        assert self._rewind is not None, "no round has been run"
        return dict(self._rewind["model"])

    def run_round(self) -> float:
        """Run the next round; return the mean training loss.

        Raises:
            Diverged: the loss became NaN or infinite; there is no going on then but from an earlier state.
        """
        current = self.rounds_done
        if current > 0:
            draw = generator(self._seed, "criterion", current)
            self.mask = self._plan.criterion(self.model, self.mask, self._plan.sparsities[current], draw)
        training = Training(
            self.model, self._data, self._plan.recipe, seed=derive_seed(self._seed, "round", current), mask=self.mask
        )
        if self._rewind is None:
            training.run(self._plan.rewind_step)
            self._rewind = training.state_dict()
        else:
            training.load_state_dict(self._rewind)
        started_at = training.step
        loss = training.run()
        self.image_gradients += (training.step - (started_at if current else 0)) * training.images_per_step
        self.rounds_done += 1
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on after the last finished round."""
        return {
            "model": {name: value.detach().clone() for name, value in self.model.state_dict().items()},
            "mask": dict(self.mask),
            "rewind": self._rewind,
            "rounds_done": self.rounds_done,
            "image_gradients": self.image_gradients,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` returned."""
        mask = Mask(state["mask"])
        mask.check(self.model)
        self.model.load_state_dict(state["model"])
        self.mask = mask
        self._rewind = state["rewind"]
        self.rounds_done = int(state["rounds_done"])
        self.image_gradients = int(state["image_gradients"])

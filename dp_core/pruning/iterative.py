"""Iterative pruning: train, prune, rewind, and again, one round at a time (Frankle & Carbin 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from dp_core.errors import UserError
from dp_core.pruning.criteria import Criterion
from dp_core.pruning.examples import training_examples
from dp_core.pruning.mask import Mask
from dp_core.pruning.scope import Scope
from dp_core.seeds import derive_seed, generator
from dp_core.training import DataSource, Diverged, Population, Recipe, Training


@dataclass(frozen=True)
class PruningPlan:
    """How to prune: sparsity of every round, criterion, the recipe of a round, where to rewind to, and what to prune.

    `sparsities` are fractions of the weights in `scope` and rise; they start with 0 (the dense network), or with the
    sparsity of the mask that a pruning starts from. `rewind_step` is the step of the first training whose state every
    later round starts from: 0 is initialisation (lottery-ticket hypothesis), k > 0 is rewinding (Frankle et al. 2020;
    for an epoch see `Recipe.steps_of_epochs`).
    """

    sparsities: tuple[float, ...]
    criterion: Criterion
    recipe: Recipe
    rewind_step: int = 0
    scope: Scope = field(default_factory=Scope)

    def __post_init__(self) -> None:
        rising = all(first <= second for first, second in pairwise(self.sparsities))
        if not self.sparsities or not (self.sparsities[0] >= 0 and rising and self.sparsities[-1] < 1):
            raise UserError(f"The sparsities of a plan rise from 0 to below 1, which {self.sparsities} do not.")


class IterativePruning:
    """A network on its way to a ticket.

    Round r trains the network under the mask of sparsity `plan.sparsities[r]`; before that, for r > 0, the criterion
    has made the mask from the weights of round r - 1 and *everything* (weights, biases, norm parameters, buffers,
    optimiser, step) has gone back to the rewind state. The data order differs from round to round and follows from
    `seed` and the round, so `state_dict` is all that a resumed run needs to go on bit for bit.

    Args:
        model: trained and pruned in place; on the device of `data`.
        data: what the rounds train on, real, distilled or a subset.
        plan: see there.
        seed: of the data order and of criteria that draw.
        mask: the mask to start from, of sparsity `plan.sparsities[0]`; by default all weights. With a mask that was
            found on distilled data this is the combination of arXiv 2503.17905.
        memory_parts: in how many parts a batch is in memory, see Training.
    """

    def __init__(
        self,
        model: nn.Module,
        data: DataSource,
        plan: PruningPlan,
        *,
        seed: int,
        mask: Mask | None = None,
        memory_parts: int = 1,
    ) -> None:
        if not 0 <= plan.rewind_step < plan.recipe.total_steps(len(data)):
            raise UserError(
                f"Rewinding to step {plan.rewind_step} is not possible in a training of "
                f"{plan.recipe.total_steps(len(data))} steps."
            )
        self.model = model
        self.mask = Mask.ones(model, plan.scope) if mask is None else mask
        self.mask.check(model, plan.scope)
        if self.mask.total - self.mask.kept != round(plan.sparsities[0] * self.mask.total):
            raise UserError(
                f"The first sparsity of a plan is that of the mask it starts from, {self.mask.sparsity:.4f}, "
                f"not {plan.sparsities[0]:.4f}."
            )
        self.rounds_done = 0
        self.image_gradients = 0
        self._mask_of_round = 0
        self._data = data
        self._plan = plan
        self._seed = seed
        self._memory_parts = memory_parts
        self._rewind: dict[str, Any] | None = None

    @property
    def finished(self) -> bool:
        """Whether the network has been trained at the last sparsity of the plan."""
        return self.rounds_done == len(self._plan.sparsities)

    @property
    def rewind_weights(self) -> dict[str, torch.Tensor]:
        """Parameters and buffers at the rewind point, which is where a ticket starts. Known after the first round.

        At initialisation none is masked, whatever mask the pruning started from.
        """
        assert self._rewind is not None, "no round has been run"
        return dict(self._rewind["model"])

    def prune(self) -> Mask:
        """Make the mask of the next round from the weights of the last one, unless it is there; return it.

        `run_round` does this by itself. It is for who wants the last mask of a plan without the training under it.
        """
        while self._mask_of_round < min(self.rounds_done, len(self._plan.sparsities) - 1):
            wanted = self._mask_of_round + 1
            draw = generator(self._seed, "criterion", wanted)
            examples = training_examples(self._data, derive_seed(self._seed, "examples", wanted), self.model)
            criterion = self._plan.criterion
            self.mask = criterion(self.model, self.mask, self._plan.sparsities[wanted], draw, examples)
            self.image_gradients += criterion.image_gradients
            self._mask_of_round = wanted
        return self.mask

    def run_round(self) -> float:
        """Run the next round; return the mean training loss.

        Raises:
            Diverged: the loss became NaN or infinite; there is no going on then but from an earlier state.
        """
        (outcome,) = run_round_together([self])
        if isinstance(outcome, Diverged):
            raise outcome
        return outcome

    def _begin_round(self) -> Training:
        """Prune, and return the round's training, not yet rewound."""
        self.prune()
        seed, parts = derive_seed(self._seed, "round", self.rounds_done), self._memory_parts
        return Training(self.model, self._data, self._plan.recipe, seed=seed, mask=self.mask, memory_parts=parts)

    def _end_round(self, training: Training) -> None:
        done_before = self._plan.rewind_step if self.rounds_done else 0
        self.image_gradients += (training.step - done_before) * training.images_per_step
        self.rounds_done += 1

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on after the last finished round."""
        return {
            "model": _copied(self.model),
            "mask": dict(self.mask),
            "mask_of_round": self._mask_of_round,
            "rewind": self._rewind,
            "rounds_done": self.rounds_done,
            "image_gradients": self.image_gradients,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` returned."""
        mask = Mask(state["mask"])
        mask.check(self.model, self._plan.scope)
        self.model.load_state_dict(state["model"])
        self.mask = mask
        self._mask_of_round = int(state["mask_of_round"])
        self._rewind = state["rewind"]
        self.rounds_done = int(state["rounds_done"])
        self.image_gradients = int(state["image_gradients"])


def run_round_together(prunings: Sequence[IterativePruning]) -> list[float | Diverged]:
    """Run the next round of several prunings as one population; they have the same plan and have come equally far.

    Returns:
        For each the mean training loss, or how it diverged (its round is then not done).
    """
    plan, first_round = prunings[0]._plan, prunings[0].rounds_done == 0
    if any(pruning._plan != plan or pruning.rounds_done != prunings[0].rounds_done for pruning in prunings):
        raise ValueError("Prunings that run together need the same plan and the same number of rounds done.")
    untrained = [_copied(pruning.model) for pruning in prunings] if first_round else []
    trainings = [pruning._begin_round() for pruning in prunings]
    population = Population(trainings)
    until_rewind: list[float | Diverged] = [0.0] * len(prunings)
    if first_round:
        until_rewind = population.run(plan.rewind_step)
        for pruning, training, weights in zip(prunings, trainings, untrained, strict=True):
            pruning._rewind = training.state_dict()
            if plan.rewind_step == 0:
                pruning._rewind["model"] = weights
    else:
        for pruning, training in zip(prunings, trainings, strict=True):
            assert pruning._rewind is not None
            training.load_state_dict(pruning._rewind)
    outcomes = [
        before if isinstance(before, Diverged) else after
        for before, after in zip(until_rewind, population.run(), strict=True)
    ]
    for pruning, training, outcome in zip(prunings, trainings, outcomes, strict=True):
        if not isinstance(outcome, Diverged):
            pruning._end_round(training)
    return outcomes


def _copied(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}

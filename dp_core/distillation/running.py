"""The loop of every distillation that goes by gradients: checkpoints, divergence taken back, the best state kept."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from dp_core.distillation.base import Workspace
from dp_core.distillation.checkpoint import Damaged, load_states, save_state
from dp_core.distillation.synthetic import Synthetic
from dp_core.errors import UserError
from dp_core.training.schedule import Schedule

# A distillation that diverges goes back to its last good state this often, each time with half the step on the images.
ATTEMPTS = 3
SHRINKING = 0.5


class Objective(Protocol):
    """What a distiller minimises.

    Attributes:
        image_gradients: images that went forward and backward through a network so far, of any kind: an image whose
            gradient is differentiated again counts twice.
    """

    image_gradients: int

    def __call__(self, synthetic: Synthetic, iteration: int) -> float:
        """Set the gradients of the leaves of `synthetic` (they are None before) and return the loss.

        Every random draw is a function of the distillation's seed and `iteration`.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of all that goes from one iteration to the next."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state_dict` returned."""


@dataclass(frozen=True)
class Choice:
    """How to choose the state that is kept: the one of the highest `score`, looked at every `every` iterations."""

    score: Callable[[Synthetic], float]
    every: int


@dataclass(frozen=True)
class Outcome:
    """What a distillation ended with; `score` and `iteration` are those of the state that was kept."""

    seconds: float
    image_gradients: int
    losses: tuple[float, ...]
    divergences: int
    iteration: int
    score: float | None


class Running:
    """A distillation on its way.

    Args:
        synthetic: is optimised in place.
        objective: gives the gradients.
        optimizer: over the leaves of `synthetic`; the group named "images" is the one that shrinks after a divergence.
        iterations: in all.
        schedule: of all groups' learning rates.
        choice: None keeps the last state.
        identity: digest of all that decides the result; a checkpoint of another one is refused.
        workspace: where checkpoints are kept.
    """

    def __init__(
        self,
        synthetic: Synthetic,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        iterations: int,
        schedule: Schedule,
        choice: Choice | None,
        identity: str,
        workspace: Workspace,
    ) -> None:
        self._synthetic, self._objective, self._optimizer = synthetic, objective, optimizer
        self._iterations, self._schedule, self._choice = iterations, schedule, choice
        self._identity, self._workspace = identity, workspace
        self._rates = [float(group["lr"]) for group in optimizer.param_groups]
        self._iteration, self._scale, self._divergences = 0, 1.0, 0
        self._losses: list[float] = []
        self._best: dict[str, Any] | None = None
        self._seconds = 0.0

    def run(self, snapshot: Callable[[int], None]) -> Outcome:
        """Go on from the checkpoint, if there is one, to the end; the synthetic data are then those that are kept.

        Args:
            snapshot: is called with the iterations done at every checkpoint.

        Raises:
            UserError: it diverged once more than it may, the checkpoint is another distillation's, or the disk is full.
        """
        self._restore()
        good = self._state()
        clock = time.perf_counter()
        while self._iteration < self._iterations:
            loss = self._step()
            if loss is None:
                self._take_back(good)
                continue
            self._iteration += 1
            self._losses.append(loss)
            self._workspace.progress(self._iteration, self._iterations, loss)
            if self._choice is not None and (self._is_due(self._choice.every)):
                self._choose(self._choice)
            if self._is_due(self._workspace.checkpoint_every):
                self._seconds += time.perf_counter() - clock
                clock = time.perf_counter()
                good = self._state()
                if self._workspace.folder is not None:
                    save_state(self._workspace.folder, good)
                snapshot(self._iteration)
        self._seconds += time.perf_counter() - clock
        kept = self._best or {"iteration": self._iteration, "score": None}
        if self._best is not None:
            self._synthetic.load_state_dict(self._best["synthetic"])
        return Outcome(
            self._seconds,
            self._objective.image_gradients,
            tuple(self._losses),
            self._divergences,
            kept["iteration"],
            kept["score"],
        )

    def _is_due(self, every: int) -> bool:
        return self._iteration % every == 0 or self._iteration == self._iterations

    def _step(self) -> float | None:
        """Do one step on the synthetic data; return its loss, None if something is no longer finite."""
        share = self._schedule(self._iteration, self._iterations)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * share * (self._scale if group["name"] == "images" else 1.0)
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._objective(self._synthetic, self._iteration)
        if not math.isfinite(loss) or not self._synthetic.finite():
            return None
        self._optimizer.step()
        return loss if self._synthetic.finite() else None

    def _take_back(self, good: Mapping[str, Any]) -> None:
        reached, divergences, scale = self._iteration + 1, self._divergences + 1, self._scale * SHRINKING
        if divergences > ATTEMPTS:
            too_large = "image_rate" if self._synthetic.rate is None else "image_rate or learned_rate_rate"
            raise UserError(
                f"The distillation diverged at iteration {reached} for the {divergences}th time, though its steps on "
                f"the images had been halved {ATTEMPTS} times: start with a smaller {too_large}."
            )
        spent = self._objective.image_gradients
        self._load(good)
        self._divergences, self._scale = divergences, scale
        self._objective.image_gradients = spent  # what was taken back has cost them all the same
        self._workspace.say(
            f"diverged at iteration {reached}: back to iteration {self._iteration}, with steps {scale:g} times as large"
        )

    def _choose(self, choice: Choice) -> None:
        score = choice.score(self._synthetic)
        if self._best is None or score > self._best["score"]:
            self._best = {"score": score, "iteration": self._iteration, "synthetic": self._synthetic.state_dict()}

    def _state(self) -> dict[str, Any]:
        return {
            "identity": self._identity,
            "iteration": self._iteration,
            "scale": self._scale,
            "divergences": self._divergences,
            "seconds": self._seconds,
            "losses": list(self._losses),
            "best": copy.deepcopy(self._best),
            "image_gradients": self._objective.image_gradients,
            "synthetic": self._synthetic.state_dict(),
            "optimizer": copy.deepcopy(self._optimizer.state_dict()),
            "objective": self._objective.state_dict(),
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        self._iteration, self._scale = int(state["iteration"]), float(state["scale"])
        self._divergences, self._seconds = int(state["divergences"]), float(state["seconds"])
        self._losses, self._best = list(state["losses"]), copy.deepcopy(state["best"])
        self._objective.image_gradients = int(state["image_gradients"])
        self._synthetic.load_state_dict(state["synthetic"])
        self._optimizer.load_state_dict(copy.deepcopy(dict(state["optimizer"])))
        self._objective.load_state_dict(state["objective"])

    def _restore(self) -> None:
        folder = self._workspace.folder
        if folder is None:
            return
        states = load_states(folder)
        for state in states:
            if isinstance(state, Damaged):
                self._workspace.say(f"{state}, and is not used")
                continue
            if state["identity"] != self._identity:
                raise UserError(
                    f"{folder} holds the checkpoint of another distillation: remove it or use another folder."
                )
            self._load(state)
            self._workspace.say(f"goes on from iteration {self._iteration} of {self._iterations}")
            return
        if states:
            self._workspace.say("starts over: no checkpoint can be used")

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
from dp_core.distillation.broken import Broken, smaller
from dp_core.distillation.checkpoint import load_states, save_state
from dp_core.distillation.identity import Identity
from dp_core.distillation.length import Length
from dp_core.distillation.recovery import SHRINKING, SoundStates
from dp_core.distillation.state_file import Damaged
from dp_core.distillation.synthetic import Synthetic
from dp_core.errors import UserError
from dp_core.training.schedule import Schedule


class Objective(Protocol):
    """What a distiller minimises.

    Attributes:
        image_gradients: images that went forward and backward through a network so far, of any kind: an image whose
            gradient is differentiated again counts twice.
    """

    image_gradients: int

    def __call__(self, synthetic: Synthetic, iteration: int, scale: float) -> float:
        """Set the gradients of the leaves of `synthetic` (they are None before) and return the loss.

        Every random draw is a function of the distillation's seed and `iteration`.

        Args:
            synthetic: what is optimised.
            iteration: counted from 0.
            scale: what the steps of all networks that learn from the synthetic data are multiplied with, up to 1.

        Raises:
            Broken: something is not finite, of which more can be said than that the loss is not.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of all that goes from one iteration to the next."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state_dict` returned."""


# The shares of a budget of time at which states are looked at, unless every so many iterations is asked for. The best
# state is nearly always a late one, as steps become smaller, and looking costs time that steps could have: some forty
# iterations a look, so that nothing is looked at where half of the budget allows few.
_LOOKS = (0.5, 0.75)
_LOOKED_FROM = 500


@dataclass(frozen=True)
class Choice:
    """How to choose the state that is kept: the one of the highest `score`.

    It is looked at every `every` iterations and at the end or, where `every` is None, a few times late in a budget of
    time, unless that has room for few iterations: then the last state is kept.
    """

    score: Callable[[Synthetic], float]
    every: int | None


@dataclass(frozen=True)
class Outcome:
    """What a distillation ended with; `score` and `iteration` are those of the state that was kept.

    `changes` are the step sizes that it had before they were changed, each with the iteration until which it had them.
    """

    seconds: float
    image_gradients: int
    losses: tuple[float, ...]
    divergences: int
    changes: tuple[Mapping[str, Any], ...]
    iteration: int
    score: float | None


class Running:
    """A distillation on its way.

    Where an iteration is not sound, it is taken back with half of all steps (see `SoundStates`).

    Args:
        synthetic: is optimised in place.
        objective: gives the gradients.
        optimizer: over the leaves of `synthetic`, in groups with a `name`.
        sizes: returns the present learning rate of each of these groups by its name, before schedule and halving.
        length: of the whole.
        schedule: of all groups' learning rates.
        choice: None keeps the last state.
        identity: a checkpoint of another one is refused.
        workspace: where checkpoints are kept.
        began: of a budget of time, when it began to be spent in this process, by `time.perf_counter`: what was prepared
            since then is part of it. None is when `run` is called.
    """

    def __init__(
        self,
        synthetic: Synthetic,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        sizes: Callable[[], Mapping[str, float]],
        length: Length,
        schedule: Schedule,
        choice: Choice | None,
        identity: Identity,
        workspace: Workspace,
        began: float | None = None,
    ) -> None:
        self._synthetic, self._objective = synthetic, objective
        self._optimizer, self._sizes = optimizer, sizes
        self._length, self._schedule, self._choice = length, schedule, choice
        self._identity, self._workspace = identity, workspace
        self._iteration, self._scale, self._divergences = 0, 1.0, 0
        self._losses: list[float] = []
        self._changes: list[Mapping[str, Any]] = []
        self._best: dict[str, Any] | None = None
        self._seconds, self._began = 0.0, began
        self._look_seconds = 0.0

    def run(self, snapshot: Callable[[int], None]) -> Outcome:
        """Go on from the checkpoint, if there is one, to the end; the synthetic data are then those that are kept.

        Args:
            snapshot: is called with the iterations done at every checkpoint.

        Raises:
            DistillationDiverged: it diverged once more than it may, or however small its steps.
            UserError: the checkpoint is another distillation's, the disk is full, or a budget of time is over before
                the first iteration is.
        """
        sound = self._restored()
        self._clock = time.perf_counter() if self._began is None else self._began
        over = self._is_over()
        while not over:
            before = self._share()
            try:
                loss = self._step()
            except Broken as broken:
                self._take_back(sound, broken)
                continue
            self._iteration += 1
            self._losses.append(loss)
            self._count_seconds()
            self._check_budget()
            over = self._is_over()
            total = self._iteration if over else self._length.expected(self._iteration, self._seconds)
            self._workspace.progress(self._iteration, total, loss)
            if self._choice is not None and self._is_look_due(self._choice.every, before, over=over):
                self._choose(self._choice)
            if over or self._iteration % self._workspace.checkpoint_every == 0:
                sound.keep(self._saved_state())
                snapshot(self._iteration)
        self._count_seconds()
        kept = self._best or {"iteration": self._iteration, "score": None}
        if self._best is not None:
            self._synthetic.load_state_dict(self._best["synthetic"])
        return Outcome(
            self._seconds,
            self._objective.image_gradients,
            tuple(self._losses),
            self._divergences,
            tuple(self._changes),
            kept["iteration"],
            kept["score"],
        )

    def _is_over(self) -> bool:
        # The last look at the validation images is to fit in, too.
        return self._length.is_over(self._iteration, self._seconds + self._look_seconds)

    def _share(self) -> float:
        return self._length.share(self._iteration, self._seconds)

    def _check_budget(self) -> None:
        """Raise UserError if a budget of time was not enough for one iteration."""
        budget = self._length.seconds
        if self._iteration == 1 and budget is not None and self._seconds > budget:
            raise UserError(
                f"A budget of {budget / 60:g} minutes is less than one iteration takes with what comes before it: "
                f"{self._seconds / 60:.2g} minutes here."
            )

    def _is_look_due(self, every: int | None, before: float, *, over: bool) -> bool:
        if every is not None:
            return over or self._iteration % every == 0
        if over:
            return self._best is not None
        return self._iteration >= _LOOKED_FROM and any(before < look <= self._share() for look in _LOOKS)

    def _step(self) -> float:
        """Do one step on the synthetic data and return its loss; Broken if something is no longer sound."""
        sizes, share = self._sizes(), self._schedule(*self._length.place(self._iteration, self._seconds))
        for group in self._optimizer.param_groups:
            group["lr"] = sizes[group["name"]] * share * self._scale
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._objective(self._synthetic, self._iteration, self._scale)
        if not math.isfinite(loss):
            raise Broken(f"the loss is {loss}", smaller(*self._identity.step_sizes))
        self._synthetic.check_gradients()
        self._optimizer.step()
        self._synthetic.check_values()
        return loss

    def _take_back(self, sound: SoundStates, broken: Broken) -> None:
        reached, divergences, scale = self._iteration + 1, self._divergences + 1, self._scale * SHRINKING
        state, older = sound.go_back(self._iteration, self._scale, broken)
        spent, seconds = self._objective.image_gradients, self._seconds
        self._load(state)
        self._divergences, self._scale = divergences, scale
        # What was taken back has cost them all the same.
        self._objective.image_gradients, self._seconds = spent, seconds
        if older:  # what is on disk has to lead back to it, too
            sound.replace_all(self._saved_state())
        self._workspace.say(
            f"diverged at iteration {reached}, as {broken.reason}: back to iteration {self._iteration}, "
            f"with all steps {scale:g} times as large"
        )

    def _choose(self, choice: Choice) -> None:
        score = choice.score(self._synthetic)
        if self._length.seconds is not None:
            before = self._seconds
            self._count_seconds()
            self._look_seconds = max(self._look_seconds, self._seconds - before)
        if self._best is None or score > self._best["score"]:
            self._best = {"score": score, "iteration": self._iteration, "synthetic": self._synthetic.state_dict()}

    def _count_seconds(self) -> None:
        now = time.perf_counter()
        self._seconds, self._clock = self._seconds + now - self._clock, now

    def _saved_state(self) -> dict[str, Any]:
        """Return the state as it is now, written to disk where checkpoints are kept."""
        self._count_seconds()
        state = self._state()
        if self._workspace.folder is not None:
            save_state(self._workspace.folder, state)
        return state

    def _state(self) -> dict[str, Any]:
        return {
            **self._identity.record(),
            "iteration": self._iteration,
            "scale": self._scale,
            "divergences": self._divergences,
            "changes": list(self._changes),
            "seconds": self._seconds,
            "look_seconds": self._look_seconds,
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
        self._look_seconds = float(state.get("look_seconds", 0.0))  # which states from before budgets lack
        self._losses, self._changes = list(state["losses"]), list(state["changes"])
        self._best = copy.deepcopy(state["best"])
        self._objective.image_gradients = int(state["image_gradients"])
        self._synthetic.load_state_dict(state["synthetic"])
        self._optimizer.load_state_dict(copy.deepcopy(dict(state["optimizer"])))
        self._objective.load_state_dict(state["objective"])

    def _of(self) -> str:
        seconds = self._length.seconds
        if seconds is None:
            return f" of {self._length.iterations}"
        return f", with {max(0.0, seconds - self._seconds) / 60:.1f} of {seconds / 60:g} minutes left"

    def _restored(self) -> SoundStates:
        """Load the newest checkpoint, if there is one; return the states that can be gone back to."""
        folder, begin = self._workspace.folder, self._state()
        found = [] if folder is None else load_states(folder)
        states: list[dict[str, Any]] = []
        for state in found:
            if isinstance(state, Damaged):
                self._workspace.say(f"{state}, and is not used")
            # One that is not older than the newest is of a course that was given up.
            elif not states or state["iteration"] < states[0]["iteration"]:
                states.insert(0, self._identity.adopt(state, str(folder)))
        if found and not states:
            self._workspace.say("starts over: no checkpoint can be used")
        if not states:
            return SoundStates([begin])
        self._load(states[-1])
        self._workspace.say(f"goes on from iteration {self._iteration}{self._of()}")
        return SoundStates([begin, *states] if len(found) == 1 else states)

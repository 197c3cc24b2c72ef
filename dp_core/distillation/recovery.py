"""Where a distillation goes back to when an iteration of it is not sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dp_core.distillation.broken import Broken, Overstepped
from dp_core.errors import UserError

# All steps are halved this often at most.
ATTEMPTS = 3
SHRINKING = 0.5

State = Mapping[str, Any]


class DistillationDiverged(UserError):
    """A distillation diverges however small its steps."""


class SoundStates:
    """The states of the last two checkpoints, which a distillation can go back to.

    Args:
        states: one or two, the older one first; each has its `iteration` and `scale`.
    """

    def __init__(self, states: Sequence[State]) -> None:
        self._states = list(states)

    @property
    def last(self) -> State:
        """The newest."""
        return self._states[-1]

    def keep(self, state: State) -> None:
        """Take in the state of another checkpoint; the one before the last is forgotten."""
        self._states = [self.last, state]

    def replace_all(self, state: State) -> None:
        """Forget all but this one."""
        self._states = [state]

    def go_back(self, iteration: int, scale: float, broken: Broken) -> tuple[State, bool]:
        """Return the state to go on from with smaller steps, and whether it is older than the last.

        A state from which no step leads to what is broken, or from which steps were halved before in vain, may itself
        be the beginning of the end, so that the one before it is taken.

        Args:
            iteration: iterations that had been done when it broke.
            scale: of the steps that led there.
            broken: what happened.

        Raises:
            DistillationDiverged: smaller steps can change nothing, or were tried as often as they may.
        """
        at_once = iteration == self.last["iteration"] and not isinstance(broken, Overstepped)
        older = len(self._states) > 1 and (at_once or scale < self.last["scale"])
        if at_once and not older:
            raise DistillationDiverged(
                f"The distillation cannot do iteration {iteration + 1}, whatever the size of its steps: "
                f"{broken.reason}. Take {broken.advice}."
            )
        if scale <= SHRINKING**ATTEMPTS:
            raise DistillationDiverged(
                f"The distillation diverged again at iteration {iteration + 1}, though all its steps had been halved "
                f"{ATTEMPTS} times: {broken.reason}. Take {broken.advice}."
            )
        return self._states[-2 if older else -1], older

"""How long a distillation goes on: for so many iterations, or for so long."""

from __future__ import annotations

import math
from dataclasses import dataclass

# A share of a budget of time, as the step of a schedule that has so many.
_TICKS = 1_000_000


@dataclass(frozen=True)
class Length:
    """The length of a distillation: `iterations`, or a budget of wall-clock `seconds` in their place.

    With a budget the schedule goes by the share of it that is spent, so that it comes to its end however fast the
    machine is; the set then depends on that, and two runs of one seed give different ones.
    """

    iterations: int
    seconds: float | None = None

    def is_over(self, iteration: int, spent: float) -> bool:
        """Return whether nothing is left after so many iterations and seconds."""
        return iteration >= self.iterations if self.seconds is None else spent >= self.seconds

    def share(self, iteration: int, spent: float) -> float:
        """Return how much of it is over, from 0 to 1."""
        return min(1.0, iteration / self.iterations if self.seconds is None else spent / self.seconds)

    def place(self, iteration: int, spent: float) -> tuple[int, int]:
        """Return where in it one is, as a schedule wants it: step, counted from 0, and steps in all."""
        if self.seconds is None:
            return iteration, self.iterations
        return min(int(self.share(iteration, spent) * _TICKS), _TICKS - 1), _TICKS

    def expected(self, iteration: int, spent: float) -> int:
        """Return how many iterations there will be in all, at the pace so far; at least those that are done."""
        if self.seconds is None:
            return self.iterations
        return max(iteration, math.ceil(iteration / max(self.share(iteration, spent), 1 / _TICKS)))

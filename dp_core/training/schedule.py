"""Learning-rate schedules as pure functions of the step, so that resuming needs no state."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

# Each maps (step counted from 0, total steps) to the share of the peak learning rate.
Schedule = Callable[[int, int], float]

_WARM_UP = 0.2


def constant(step: int, total: int) -> float:
    """Return 1 at every step."""
    return 1.0


def cosine(step: int, total: int) -> float:
    """Fall from 1 at the first step towards 0 after the last along half a cosine (Loshchilov & Hutter 2017)."""
    return 0.5 * (1 + math.cos(math.pi * step / total))


def one_cycle(step: int, total: int) -> float:
    """Rise linearly over the first fifth of the steps, then fall towards 0 along half a cosine (Smith 2018)."""
    warm_up = _WARM_UP * total
    if step < warm_up:
        return (step + 1) / (math.ceil(warm_up) + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (total - warm_up)))


def half_step(step: int, total: int) -> float:
    """Return 1 in the first half of the steps and 0.1 in the second, as dataset distillation evaluates its sets."""
    return 1.0 if step < total / 2 else 0.1


def multi_step(milestones: Sequence[float], decay: float) -> Schedule:
    """Return the schedule that multiplies by `decay` at each of `milestones`, shares of the training's length."""
    return lambda step, total: decay ** sum(step / total >= milestone for milestone in milestones)


SCHEDULES: Mapping[str, Schedule] = {
    "constant": constant,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "half_step": half_step,
}

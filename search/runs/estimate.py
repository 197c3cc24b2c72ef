"""How long a run will take, said before it starts: a little of its work is done, and multiplied.

It is meant to tell minutes from hours. What is not known before is in the range: whether trials are stopped early, how
much trials that run side by side slow one another down, and how many candidates there are like those that were timed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dp_core.data import Splits
from dp_core.distillation import Distiller
from dp_core.distillation.iterative import IterativeDistiller
from search.output.numbers import plural
from search.output.wording import about
from search.runs.timing import distilling_seconds

SECONDS = 1.5
"""How long a distiller is timed, or the candidates of a search."""

_WORTH_TELLING = 0.2  # seconds


@dataclass(frozen=True)
class Phase:
    """A phase of a run, the seconds that it will take, at least and at most, and what that rests on."""

    name: str
    low: float
    high: float
    rests_on: str


@dataclass(frozen=True)
class Estimate:
    """What a run will take; `unknown` names the phases of which nothing can be said."""

    phases: tuple[Phase, ...]
    unknown: tuple[str, ...] = ()

    @property
    def low(self) -> float:
        """Seconds of all phases, at least."""
        return sum(phase.low for phase in self.phases)

    @property
    def high(self) -> float:
        """Seconds of all phases, at most."""
        return sum(phase.high for phase in self.phases)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data: `[least, most]` seconds of each phase and of all, None where a phase is unknown."""
        spans = {phase.name: [round(phase.low, 1), round(phase.high, 1)] for phase in self.phases}
        total = None if self.unknown else [round(self.low, 1), round(self.high, 1)]
        return {**spans, "total": total, "unknown": list(self.unknown)}

    def lines(self) -> Iterator[str]:
        """Yield what is said of it."""
        if not self.phases:
            yield from (f"how long {name} takes is not known before: the time left is told" for name in self.unknown)
            return
        missing = f", and {' and '.join(self.unknown)}, of which nothing is known before" if self.unknown else ""
        yield f"{about(self.low, self.high)} in all{missing}"
        for phase in self.phases:
            yield f"{phase.name} {about(phase.low, phase.high)}: {phase.rests_on}"


def distilling_phases(
    makers: Sequence[tuple[Distiller, int]], splits: Splits, seed: int, within: float
) -> tuple[tuple[Phase, ...], tuple[str, ...]]:
    """Return the phase in which sets are made, by timing some iterations of each, or that nothing is known of it."""
    found = [distilling_seconds(maker, splits, ipc, seed, within / len(makers)) for maker, ipc in makers]
    seconds = [each for each in found if each is not None]
    if len(seconds) < len(makers):
        return (), ("distilling",)
    if sum(seconds) < _WORTH_TELLING:
        return (), ()
    stepping = [maker for maker, _ in makers if isinstance(maker, IterativeDistiller)]
    if len(stepping) == len(makers) and all(maker.minutes is not None for maker in stepping):
        return (Phase("distilling", sum(seconds), sum(seconds), "the minutes that each set may take"),), ()
    judged = any(maker.looks for maker in stepping)
    looks = ", looking at validation images not counted" if judged else ""
    rests_on = f"{plural(len(makers), 'set')}, some iterations of each timed here{looks}"
    return (Phase("distilling", 0.8 * sum(seconds), (2.0 if judged else 1.4) * sum(seconds), rests_on),), ()

"""What early stopping is told of a trial, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Observation:
    """What a round of a trial came to.

    Args:
        trial: number of the trial.
        source: None where the space has no choice of it; trials are compared within one.
        fidelity: what the rung scores by, such as `distilled-10`; observations are compared within one.
        rung_round: round within the rung, from 1.
        rung_done: whether the rung ends here; after the last one the answer does not matter.
        gains: values of the objectives, turned so that more is better; NaN where there is none.
    """

    trial: int
    source: str | None
    fidelity: str
    rung_round: int
    rung_done: bool
    gains: tuple[float, ...]


class EarlyStopping(Protocol):
    """Says which trials are not worth their next round. Its memory is what it was told since it was made."""

    def hopeless(self, observation: Observation) -> bool:
        """Take note of one and return whether the trial should stop; one that is known already changes nothing."""
        ...

    def finished(self, trial: int) -> None:
        """Take note that a trial, all of whose observations are known, went to its last round."""
        ...

"""What early stopping is told of a trial, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Look:
    """What a round of a trial came to.

    Args:
        trial: number of the trial.
        stratum: the source of the trial, None where the space has no choice of it; trials are compared within one.
        fidelity: what the rung looks with, such as `distilled-10`; looks are compared within one.
        rung_round: round within the rung, from 1.
        rung_done: whether the rung ends here; after the last one the answer does not matter.
        gains: values of the objectives, turned so that more is better; NaN where there is none.
    """

    trial: int
    stratum: str | None
    fidelity: str
    rung_round: int
    rung_done: bool
    gains: tuple[float, ...]


class EarlyStopping(Protocol):
    """Says which trials are not worth their next round. Its memory is what it was told since it was made."""

    def hopeless(self, look: Look) -> bool:
        """Take note of a look and return whether the trial should stop; a look known already changes nothing."""
        ...

    def finished(self, trial: int) -> None:
        """Take note that a trial, all of whose looks are known, went to its last round."""
        ...

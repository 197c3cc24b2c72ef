"""The contract of what a trial does, apart from Tune and from all that may go wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

# A row is what a step reports: plain values, with a `status` (see the Trainables) and a `reason` among them.
Row = Mapping[str, Any]


class Work(Protocol):
    """Steps that follow from nothing but how the work was made, so that they can be done again."""

    def advance(self, history: Sequence[Row]) -> dict[str, Any]:
        """Do one step and return its row; `history` has the rows of those before."""

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything needed to go on after the last step."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Bring work that has just been made to a state that `state_dict` returned."""

    def export(self, folder: Path, history: Sequence[Row]) -> None:
        """Write what has come out of work that finished into an existing folder."""

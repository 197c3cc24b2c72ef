"""What is known of a set that is still being made: its checkpoint."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_core.distillation.state_file import plain_state


@dataclass(frozen=True)
class Unfinished:
    """The folder of the checkpoints of one set, which may not be there."""

    folder: Path

    def iteration(self) -> int:
        """Return the iterations that would not have to be done again; 0 without a checkpoint."""
        state = self._state()
        return 0 if state is None else int(state["iteration"])

    def best_score(self) -> float | None:
        """Return the highest validation accuracy so far, from 0 to 1; None if nothing has been looked at."""
        state = self._state()
        best = None if state is None else state["best"]
        return None if best is None else float(best["score"])

    def remove(self) -> None:
        """Remove the folder, and the one around it if no other set has checkpoints there."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()

    def _state(self) -> dict[str, Any] | None:
        return plain_state(self.folder)

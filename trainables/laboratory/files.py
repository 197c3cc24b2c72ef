"""Where a comparison keeps what its jobs have found."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_core.files import write_json


@dataclass(frozen=True)
class Cell:
    """One network, seed and method of a comparison; with a sparsity one ticket of it."""

    network: str
    seed: int
    method: str
    sparsity: float | None = None

    @property
    def name(self) -> str:
        """Return a relative path that is this cell's alone."""
        path = f"{self.network}/seed{self.seed}/{self.method}"
        return path if self.sparsity is None else f"{path}/{100 * self.sparsity:.10g}"


@dataclass(frozen=True)
class ComparisonFiles:
    """Paths in the folder of a comparison. A result that is there is whole: every file is renamed into place."""

    root: Path

    def learning_rate(self, network: str, method: str) -> Path:
        """Return where the learning rate chosen for a method's rounds is."""
        return self.root / "learning_rates" / network / f"{method}.json"

    def training_rate(self, network: str, method: str) -> Path:
        """Return where the learning rate chosen for the final training of a method's tickets is."""
        return self.root / "learning_rates" / network / "final" / f"{method}.json"

    def ticket(self, cell: Cell) -> Path:
        """Return the folder of a ticket."""
        return self.root / "tickets" / cell.name

    def search(self, cell: Cell) -> Path:
        """Return what is known of a finished search for tickets: its rounds, costs and how it ended."""
        return self.root / "searches" / f"{cell.name}.json"

    def training(self, cell: Cell) -> Path:
        """Return the result of a ticket's training."""
        return self.root / "trainings" / f"{cell.name}.json"

    def state(self, cell: Cell, purpose: str) -> Path:
        """Return the state of unfinished work; removed when it is finished."""
        return self.unfinished / f"{cell.name}.{purpose}"

    @property
    def unfinished(self) -> Path:
        """Folder of all such states."""
        return self.root / "unfinished"


def write_result(path: Path, value: dict[str, Any]) -> None:
    """Write a result as JSON, all of it or nothing."""
    write_json(path, value)


def read_result(path: Path) -> dict[str, Any] | None:
    """Return the result at `path`, None if there is none yet."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found

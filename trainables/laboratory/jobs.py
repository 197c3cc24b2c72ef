"""One job of a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainables.laboratory.files import Cell, ComparisonFiles

JobKind = Literal["tune", "tune_training", "find", "train"]


@dataclass(frozen=True)
class Job:
    """What is to be done for a cell.

    `tune` the learning rate of a method's rounds, or `tune_training` that of its final training; `find` its tickets, or
    `train` one of them.
    """

    kind: JobKind
    cell: Cell

    def result(self, files: ComparisonFiles) -> Path:
        """Return the file that is there when the job is done."""
        if self.kind == "tune":
            return files.learning_rate(self.cell.network, self.cell.method)
        if self.kind == "tune_training":
            return files.training_rate(self.cell.network, self.cell.method)
        return files.search(self.cell) if self.kind == "find" else files.training(self.cell)

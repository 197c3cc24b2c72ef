"""One job of a study, and doing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainables.laboratory.context import Laboratory
from trainables.laboratory.files import Cell, StudyFiles
from trainables.laboratory.finding import find_tickets
from trainables.laboratory.training import train_ticket
from trainables.laboratory.tuning import choose_learning_rate
from trainables.trials.device import claim_device

JobKind = Literal["tune", "find", "train"]


@dataclass(frozen=True)
class Job:
    """What is to be done for a cell: `tune` a method's learning rate, `find` its tickets, or `train` one of them."""

    kind: JobKind
    cell: Cell

    def result(self, files: StudyFiles) -> Path:
        """Return the file that is there when the job is done."""
        if self.kind == "tune":
            return files.learning_rate(self.cell.network, self.cell.method)
        return files.search(self.cell) if self.kind == "find" else files.training(self.cell)


def run_job(lab: Laboratory, job: Job) -> None:
    """Do a job in this process, from wherever it stopped."""
    device = claim_device(lab.threads)
    if job.kind == "tune":
        choose_learning_rate(lab, job.cell.network, job.cell.method, device)
    elif job.kind == "find":
        find_tickets(lab, job.cell, device)
    else:
        train_ticket(lab, job.cell, device)

"""What a worker does: one job of a comparison."""

from __future__ import annotations

from trainables.laboratory.context import Laboratory
from trainables.laboratory.finding import find_tickets
from trainables.laboratory.jobs import Job
from trainables.laboratory.training import train_ticket
from trainables.laboratory.tuning import choose_learning_rate, choose_training_rate
from trainables.trials.device import claim_device


def run_job(lab: Laboratory, job: Job) -> None:
    """Do a job in this process, from wherever it stopped."""
    device = claim_device(lab.threads)
    if job.kind == "tune":
        choose_learning_rate(lab, job.cell.network, job.cell.method, device)
    elif job.kind == "tune_training":
        choose_training_rate(lab, job.cell.network, job.cell.method, device)
    elif job.kind == "find":
        find_tickets(lab, job.cell, device)
    else:
        train_ticket(lab, job.cell, device)

"""The jobs of a study that compares ways of pruning: choose a learning rate, find tickets, train them.

Each job writes its result into the study's folder when it is done, and nothing if the result is there already.
"""

from trainables.laboratory.context import Laboratory, Stability
from trainables.laboratory.files import Cell, StudyFiles, read_result
from trainables.laboratory.jobs import Job, JobKind, run_job
from trainables.laboratory.method import FINAL, Kind, Method

__all__ = [
    "FINAL",
    "Cell",
    "Job",
    "JobKind",
    "Kind",
    "Laboratory",
    "Method",
    "Stability",
    "StudyFiles",
    "read_result",
    "run_job",
]

"""Ray Tune Trainables: dp_core as resumable, stoppable trials."""

from trainables.candidate import Candidate
from trainables.retraining import RetrainingContext, RetrainingTrainable
from trainables.score import Score
from trainables.screening import ScreeningContext, ScreeningTrainable
from trainables.shared_dataset import SharedDataset

__all__ = [
    "Candidate",
    "RetrainingContext",
    "RetrainingTrainable",
    "Score",
    "ScreeningContext",
    "ScreeningTrainable",
    "SharedDataset",
]

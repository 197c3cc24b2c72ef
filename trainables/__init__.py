"""Ray Tune Trainables: dp_core as resumable, stoppable trials.

The names are looked up when they are first used: a worker that only simulates trials is there in a third of the time,
and takes a fifth of the memory, that importing PyTorch would cost it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.retraining.trainable import RetrainingContext, RetrainingTrainable
    from trainables.screening.context import ScreeningContext
    from trainables.screening.ladder import LadderPlan
    from trainables.screening.score import Score
    from trainables.screening.simulated import SimulatedTrainable, SimulationContext
    from trainables.screening.trainable import ScreeningTrainable
    from trainables.trials.candidate import Candidate
    from trainables.trials.shared_dataset import SharedDataset

__all__ = [
    "Candidate",
    "LadderPlan",
    "RetrainingContext",
    "RetrainingTrainable",
    "Score",
    "ScreeningContext",
    "ScreeningTrainable",
    "SharedDataset",
    "SimulatedTrainable",
    "SimulationContext",
]

_MODULES = {
    "Candidate": "trials.candidate",
    "LadderPlan": "screening.ladder",
    "RetrainingContext": "retraining.trainable",
    "RetrainingTrainable": "retraining.trainable",
    "Score": "screening.score",
    "ScreeningContext": "screening.context",
    "ScreeningTrainable": "screening.trainable",
    "SharedDataset": "trials.shared_dataset",
    "SimulatedTrainable": "screening.simulated",
    "SimulationContext": "screening.simulated",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

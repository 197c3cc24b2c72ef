"""Ray Tune Trainables: dp_core as resumable, stoppable trials.

The names are looked up when they are first used: a worker that only simulates trials is there in a third of the time,
and takes a fifth of the memory, that importing PyTorch would cost it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.candidate import Candidate
    from trainables.context import ScreeningContext
    from trainables.ladder import LadderPlan
    from trainables.retraining import RetrainingContext, RetrainingTrainable
    from trainables.score import Score
    from trainables.screening import ScreeningTrainable
    from trainables.shared_dataset import SharedDataset
    from trainables.simulated import SimulatedTrainable, SimulationContext

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
    "Candidate": "candidate",
    "LadderPlan": "ladder",
    "RetrainingContext": "retraining",
    "RetrainingTrainable": "retraining",
    "Score": "score",
    "ScreeningContext": "context",
    "ScreeningTrainable": "screening",
    "SharedDataset": "shared_dataset",
    "SimulatedTrainable": "simulated",
    "SimulationContext": "simulated",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

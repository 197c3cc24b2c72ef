"""The training loop, recipes, precision and evaluation."""

from dp_core.training.data import Batches, BatchOrder, DataSource, TrainingData
from dp_core.training.evaluation import Evaluation, evaluate
from dp_core.training.loop import Diverged, Training
from dp_core.training.network import Mode, Network
from dp_core.training.population import Population
from dp_core.training.precision import Precision, uses_bfloat16
from dp_core.training.recipe import Recipe
from dp_core.training.rehearsal import rehearsed
from dp_core.training.streaming import StreamedData

__all__ = [
    "BatchOrder",
    "Batches",
    "DataSource",
    "Diverged",
    "Evaluation",
    "Mode",
    "Network",
    "Population",
    "Precision",
    "Recipe",
    "StreamedData",
    "Training",
    "TrainingData",
    "evaluate",
    "rehearsed",
    "uses_bfloat16",
]

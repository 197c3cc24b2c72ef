"""A plan, a data set and a space small enough to train experts in milliseconds."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import Standardisation
from dp_core.distillation.experts import ExpertBuffer, ExpertPlan
from tests.dp_core.small import random_dataset

SPACE = Standardisation((0.4,), (0.25,))
SMALL = {"name": "convnet", "depth": 1, "width": 4, "norm": "batch"}
OTHER = {"name": "convnet", "depth": 1, "width": 6, "norm": "none"}


def small_plan(**settings: Any) -> ExpertPlan:
    """Return a plan of two experts and three epochs, in a mode and format that give equal bits."""
    exact: dict[str, Any] = {"precision": "float32", "mode": "eager"}
    usual: dict[str, Any] = {"experts": 2, "epochs": 3, "batch_size": 10, "models": (SMALL,), **exact}
    return ExpertPlan(**(usual | settings))


def source() -> ImageDataset:
    """Return 24 images, which batches of 10 do not divide."""
    return random_dataset()


def contents(buffer: ExpertBuffer) -> list[list[dict[str, Tensor]]]:
    """Return the parameters of every expert at every epoch."""
    return [[buffer.parameters(expert, epoch) for epoch in range(buffer.epochs + 1)] for expert in range(len(buffer))]

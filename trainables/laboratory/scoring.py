"""Scoring a network after a training that may have had a few steps only."""

from __future__ import annotations

import torch
from torch import nn

from dp_core.analysis.states import reestimate_statistics, unchanged_state
from dp_core.training import DataSource, Evaluation, Recipe, TrainingData, evaluate

_BATCHES = 10


def score_round(model: nn.Module, data: DataSource, scored: TrainingData, recipe: Recipe) -> Evaluation:
    """Evaluate `model` on `scored` with the BatchNorm statistics of what it was trained on; leaves it as it was.

    After few steps the running statistics still hold much of their initial values (a third after ten steps), with
    which a sound network may answer one class throughout. So they are estimated anew, on ten batches of `data`.
    """
    batches = data.batches(recipe.batch_size, 0, next(model.parameters()).device)
    with unchanged_state(model):
        if any(True for _ in model.buffers()):
            taken = [batches(step) for step in range(min(_BATCHES, -(-len(data) // recipe.batch_size)))]
            images, labels = (torch.cat(parts) for parts in zip(*taken, strict=True))
            reestimate_statistics(model, TrainingData(images, labels), recipe.batch_size)
        return evaluate(model, scored, precision=recipe.precision, mode=recipe.mode)

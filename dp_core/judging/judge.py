"""The one judge: how a network that was trained, however briefly, does on images that were held back."""

from __future__ import annotations

import math

from torch import nn

from dp_core.judging.statistics import reestimate_statistics
from dp_core.training.data import TrainingData
from dp_core.training.evaluation import Evaluation, evaluate
from dp_core.training.recipe import Recipe


def judge(
    model: nn.Module, scored: TrainingData, calibration: TrainingData, recipe: Recipe, *, batch_size: int = 500
) -> Evaluation:
    """Evaluate `model` on `scored`, with its running norm statistics estimated anew on `calibration`.

    Running statistics are averages over some last ten steps of training, and of what the network was trained on. After
    few steps they are half those of initialisation, after training on distilled images they are not those of real
    ones, and in both cases a sound network may answer one class throughout. So no network is judged by them: they
    become the statistics of real training images, whose labels are not used. The network keeps them, so that what is
    saved is what was judged; its weights, and every later step of its training, are not touched. A network without
    running statistics is evaluated as it is.

    Args:
        model: trained; on any device.
        scored: real images with hard labels, held back from training.
        calibration: see `calibration_images`; behind the same preprocessing as `scored`.
        recipe: the network's, whose precision and mode both passes have.
        batch_size: images a forward pass.
    """
    reestimate_statistics(model, calibration, batch_size=batch_size, precision=recipe.precision, mode=recipe.mode)
    return evaluate(model, scored, batch_size=batch_size, precision=recipe.precision, mode=recipe.mode)


def divergence_of(found: Evaluation) -> str | None:
    """Return in words how a network has diverged that only the images it was scored on show it of, None if it has not.

    The training cannot tell: its losses are those of the weights before a step.
    """
    return None if math.isfinite(found.loss) else f"the loss on held-back images is {found.loss}"

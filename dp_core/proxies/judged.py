"""What held-back images say of a network after a short training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from dp_core.analysis.states import reestimate_statistics
from dp_core.data.preprocessing import Preprocessing
from dp_core.proxies.base import ProxyInputs, Stopwatch
from dp_core.seeds import generator
from dp_core.training import Diverged, Evaluation, Recipe, TrainingData, evaluate

# What a training that diverges is worth where worse has no bound. Far below what finite float32 losses can sum to, and
# far enough from the end of float64 that means over replicates, and their squares, stay finite.
WORST = -1e100

_CALIBRATION = 500  # images on which running statistics are estimated anew, in one batch


def evaluate_finite(model: nn.Module, data: TrainingData, recipe: Recipe) -> Evaluation:
    """Evaluate a network as `recipe` has it executed.

    Raises:
        Diverged: its outputs are not finite, which the training cannot tell: its losses are of weights before a step.
    """
    found = evaluate(model, data, precision=recipe.precision, mode=recipe.mode)
    if not math.isfinite(found.loss):
        raise Diverged(f"the loss on {len(data)} images that were held back is {found.loss}")
    return found


@dataclass(frozen=True)
class Judged:
    """What held-back images say of a network, and what it took to ask them."""

    values: Mapping[str, float]
    seconds: tuple[float, float] = (0.0, 0.0)
    forward_images: int = 0

    @staticmethod
    def chance(classes: int) -> Judged:
        """Return what a network is worth that says nothing finite, for nothing."""
        return Judged({"accuracy": 1 / classes, "calibrated": 1 / classes, "loss": WORST})


def judge(
    model: nn.Module,
    held_back: TrainingData,
    recipe: Recipe,
    chance: Judged,
    statistics: TrainingData | None = None,
) -> Judged:
    """Evaluate a network, with its running statistics estimated anew if there are images for that."""
    watch, values = Stopwatch(next(model.parameters()).device), chance.values
    if statistics is not None:
        reestimate_statistics(model, statistics, _CALIBRATION)
    with suppress(Diverged):
        found = evaluate_finite(model, held_back, recipe)
        values = {"accuracy": found.accuracy, "calibrated": found.accuracy, "loss": -found.loss}
    return Judged(values, watch.read(), len(held_back) + (0 if statistics is None else len(statistics)))


def has_running_statistics(model: nn.Module) -> bool:
    """Return whether the network in evaluation mode normalises by statistics that it gathered in training."""
    return any(isinstance(module, _NormBase) and module.running_mean is not None for module in model.modules())


def real_images(inputs: ProxyInputs, preprocessing: Preprocessing, seed: int) -> TrainingData:
    """Return the training images on which statistics are estimated, to go through what a network was trained behind."""
    drawn = torch.randperm(len(inputs.train), generator=generator(seed, "calibration"))[:_CALIBRATION]
    images = TrainingData(inputs.train.images[drawn], inputs.train.labels[drawn], preprocessing)
    return images.to(inputs.device)


def added(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """Return the sum of two readings of a stopwatch."""
    return first[0] + second[0], first[1] + second[1]

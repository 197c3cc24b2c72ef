"""What held-back images say of a network after a short training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from dp_core.judging import divergence_of, judge
from dp_core.proxies.base import Stopwatch
from dp_core.training import Recipe, TrainingData, evaluate

# What a training that diverges is worth where worse has no bound. Far below what finite float32 losses can sum to, and
# far enough from the end of float64 that means over replicates, and their squares, stay finite.
WORST = -1e100


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


def as_trained(model: nn.Module, held_back: TrainingData, recipe: Recipe, chance: Judged) -> Judged:
    """Evaluate a network with the running statistics that its training left; the values of `chance` if not finite."""
    watch = Stopwatch(next(model.parameters()).device)
    found = evaluate(model, held_back, precision=recipe.precision, mode=recipe.mode)
    values = {"accuracy": found.accuracy, "loss": -found.loss}
    values = {name: chance.values[name] for name in values} if divergence_of(found) else values
    return Judged(values, watch.read(), len(held_back))


def calibrated(
    model: nn.Module, held_back: TrainingData, calibration: TrainingData, recipe: Recipe, chance: Judged
) -> Judged:
    """Have a network judged, see `judge`; the value of `chance` if it says nothing finite."""
    watch = Stopwatch(next(model.parameters()).device)
    found = judge(model, held_back, calibration, recipe)
    accuracy = chance.values["calibrated"] if divergence_of(found) else found.accuracy
    return Judged({"calibrated": accuracy}, watch.read(), len(held_back) + len(calibration))


def added(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """Return the sum of two readings of a stopwatch."""
    return first[0] + second[0], first[1] + second[1]

"""Pruning on a distilled set: what is left of an architecture's accuracy as it becomes sparse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dp_core.errors import UserError
from dp_core.judging import divergence_of, gathers_statistics, judge
from dp_core.models import ModelSpec
from dp_core.proxies.base import ProxyInputs, Reading, Stopwatch
from dp_core.proxies.distilled_training import DistilledTraining, set_named
from dp_core.proxies.short_training import Measure, Source, of_set
from dp_core.pruning import GlobalMagnitude, IterativePruning, PruningPlan
from dp_core.seeds import derive_seed
from dp_core.training import Diverged


@dataclass(frozen=True)
class DistilledPruning(DistilledTraining):
    """Iterative magnitude pruning, rewound to initialisation, whose rounds train on a distilled set.

    The readings are `calibrated@s`, the validation accuracy (see `judge`) after the round at sparsity s, and `area`,
    that under the broken line of accuracy against sparsity from the dense network to the last sparsity, divided by its
    width: the mean accuracy over sparsities. From a round that diverges on the accuracy is that of chance. To have one
    accuracy alone takes the rounds up to its sparsity and one evaluation; the area takes all of both.
    """

    steps: tuple[int, ...] = (30,)
    """The steps of every round: one number."""
    measures: tuple[Measure, ...] = ("calibrated",)
    """The accuracy alone that networks are judged by."""
    sparsities: tuple[float, ...] = (0.5, 0.75, 0.875, 0.95)
    """Fractions of the prunable weights that are removed, rising, above 0 and below 1; each is a round."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "sparsities", tuple(self.sparsities))
        rising = all(low < high for low, high in pairwise((0.0, *self.sparsities, 1.0)))
        if not self.sparsities or not rising:
            raise UserError(f"Sparsities rise, above 0 and below 1, which {list(self.sparsities)} do not.")
        if len({*self.keys}) < len(self.keys):
            raise UserError(f"Sparsities differ in their first six digits, which {list(self.sparsities)} do not.")
        if len(self.steps) > 1 or self.measures != ("calibrated",):
            raise UserError("Distilled pruning has one number of steps, that of a round, and measures 'calibrated'.")

    @property
    def keys(self) -> tuple[str, ...]:
        """See Proxy."""
        return (*(f"calibrated@{sparsity:g}" for sparsity in self.sparsities), "area")

    def score(self, spec: ModelSpec, inputs: ProxyInputs, seed: int) -> tuple[Reading, ...]:
        """See Proxy."""
        source = of_set(set_named(self.set, inputs), inputs.device)
        recipe, levels = self.recipe(self.steps[0], source.learning_rate), (0.0, *self.sparsities)
        each = recipe.total_steps(len(source.data)) * recipe.images_per_step(len(source.data))
        rounds = _rounds(spec, inputs, source, PruningPlan(levels, GlobalMagnitude(), recipe), seed)
        accuracies = [done.accuracy for done in rounds] + [1 / inputs.classes] * (len(levels) - len(rounds))
        readings = [
            _reading(key, accuracies[last], rounds[: last + 1], rounds[last : last + 1], each)
            for last, key in enumerate(self.keys[:-1], start=1)
        ]
        return (*readings, _reading(self.keys[-1], _area(levels, accuracies), rounds, rounds, each))


@dataclass(frozen=True)
class _Round:
    """A trained round, with seconds and processor seconds of its training and of its evaluation on `seen` images."""

    accuracy: float
    seen: int
    training: tuple[float, float]
    evaluation: tuple[float, float]


def _rounds(spec: ModelSpec, inputs: ProxyInputs, source: Source, plan: PruningPlan, seed: int) -> list[_Round]:
    """Return the rounds of a plan; after one that diverges there is no going on."""
    held_back = inputs.held_back(source.preprocessing)
    watch = Stopwatch(inputs.device)  # the first round has the network built, too
    pruning = IterativePruning(inputs.network(spec, seed), source.data, plan, seed=derive_seed(seed, "proxy"))
    calibration = inputs.calibration(source.preprocessing)
    seen = len(held_back) + (len(calibration) if gathers_statistics(pruning.model) else 0)
    rounds: list[_Round] = []
    for _ in plan.sparsities:
        try:
            pruning.run_round()
        except Diverged:
            return [*rounds, _Round(1 / inputs.classes, 0, watch.read(), (0.0, 0.0))]
        training, watch = watch.read(), Stopwatch(inputs.device)
        found = judge(pruning.model, held_back, calibration, plan.recipe)
        if divergence_of(found):
            return [*rounds, _Round(1 / inputs.classes, seen, training, watch.read())]
        rounds.append(_Round(found.accuracy, seen, training, watch.read()))
        watch = Stopwatch(inputs.device)
    return rounds


def _reading(key: str, value: float, trained: Sequence[_Round], evaluated: Sequence[_Round], each: int) -> Reading:
    """Return what took the training of some rounds, of `each` so many image-gradients, and the evaluation of others."""
    spent = [done.training for done in trained] + [done.evaluation for done in evaluated]
    seconds, processor_seconds = (sum(parts) for parts in zip(*spent, strict=True))
    return Reading(key, value, seconds, processor_seconds, each * len(trained), sum(done.seen for done in evaluated))


def _area(positions: tuple[float, ...], heights: list[float]) -> float:
    """Return the area under the broken line by the trapezoidal rule, divided by its width."""
    steps = zip(pairwise(positions), pairwise(heights), strict=True)
    area = sum((right - left) * (low + high) / 2 for (left, right), (low, high) in steps)
    return area / (positions[-1] - positions[0])

"""What proxies have in common that train each architecture for a few steps, on whatever images."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from dp_core.data.preprocessing import Preprocessing
from dp_core.distillation import DistilledSet
from dp_core.distillation.judging import LEARNING_RATE
from dp_core.errors import UserError, nearest
from dp_core.judging import gathers_statistics
from dp_core.models import ModelSpec
from dp_core.proxies.base import ProxyInputs, Reading, Stopwatch
from dp_core.proxies.judged import WORST, Judged, added, as_trained, calibrated
from dp_core.seeds import derive_seed
from dp_core.training import Diverged, Recipe, Training, TrainingData

Measure = Literal["accuracy", "calibrated", "loss", "speed", "late_speed"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


@dataclass(frozen=True, eq=False)
class Source:
    """Images to train on, the preprocessing that they have had, and the learning rate that they were made for."""

    data: TrainingData
    preprocessing: Preprocessing
    learning_rate: float | None = None


def of_set(distilled: DistilledSet, device: torch.device) -> Source:
    """Return a distilled set as what is trained on."""
    data = TrainingData(*distilled.training_data()).to(device)
    return Source(data, distilled.preprocessing, distilled.learning_rate)


@dataclass(frozen=True)
class ShortTraining:
    """Settings that all proxies share which train; each length is a training of its own, with its whole schedule.

    The readings of a training of n steps are `<measure>@n`, of these measures:

    - `calibrated`: the accuracy on the validation images as `dp_core.judging.judge` has it everywhere: with the running
      statistics of batch norms estimated anew on real training images. In [0, 1]; that of chance if the training
      diverges, or if its last step leaves a network whose outputs are not finite;
    - `accuracy`: the same with the statistics that the training left, the control of the calibration. A network without
      batch norm has one accuracy;
    - `loss`: minus the mean cross-entropy on them, in nats, of the latter network; -1e100 in these two cases;
    - `speed`: minus the sum of the training losses of all steps, Training Speed Estimation (TSE; Ru et al. 2021, arXiv
      2006.04492, equation 4), which needs no validation images; -1e100 if the training diverges;
    - `late_speed`: the same over the last half of the steps, TSE-E.
    """

    steps: tuple[int, ...] = (100,)
    """Lengths of the trainings in optimiser steps, rising, each at least 1."""
    measures: tuple[Measure, ...] = ("calibrated",)
    """Which readings there are: `calibrated`, the accuracy on held-back images with the batch norms' statistics
    estimated anew on real images, as networks are judged everywhere in Winnow; `accuracy` and `loss`, with those that
    the training left, as its control; `speed` (minus the sum of the training losses) and `late_speed` (the same over
    the last half of the steps)."""
    learning_rate: float | None = None
    """AdamW's peak, above 0; null takes what suits the images: the rate that a distilled set learned, by plain SGD as
    it was made for, else 0.003."""
    schedule: str = "one_cycle"
    """A recipe's schedule, for AdamW; plain SGD at a learned rate keeps it constant."""
    batch_size: int = 100
    """Images a step, at least 1."""
    augmentation: str = "siamese"
    """A recipe's augmentation."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))  # from JSON they come as lists
        object.__setattr__(self, "measures", tuple(self.measures))
        if not self.steps or self.steps[0] < 1 or list(self.steps) != sorted(set(self.steps)):
            raise UserError(f"Numbers of steps rise and are at least 1, which {list(self.steps)} do not.")
        for measure in self.measures:
            if measure not in MEASURES:
                known = ", ".join(MEASURES)
                raise UserError(f"There is no measure '{measure}'.{nearest(measure, MEASURES)} Known: {known}.")
        if not self.measures or len(set(self.measures)) < len(self.measures):
            raise UserError("A trained proxy needs one measure or several different ones.")
        self.recipe(self.steps[0])  # which says what is wrong with the rest

    @property
    def keys(self) -> tuple[str, ...]:
        """See Proxy."""
        return tuple(f"{measure}@{steps}" for steps in self.steps for measure in self.measures)

    def recipe(self, steps: int, learned: float | None = None) -> Recipe:
        """Return the recipe of the training of `steps` steps on images that may bring a learned rate."""
        plain = self.learning_rate is None and learned is not None
        rate = learned if self.learning_rate is None else self.learning_rate
        return Recipe(
            optimizer="sgd" if plain else "adamw",
            learning_rate=LEARNING_RATE if rate is None else rate,
            momentum=0.0 if plain else 0.9,
            weight_decay=0.0 if plain else 5e-4,
            schedule="constant" if plain else self.schedule,
            steps=steps,
            batch_size=self.batch_size,
            augmentation=self.augmentation,
        )

    def check(self, inputs: ProxyInputs) -> None:
        """See Proxy; data that the other proxies can work on suit these."""

    def readings(self, spec: ModelSpec, inputs: ProxyInputs, source: Source, seed: int) -> tuple[Reading, ...]:
        """Train on `source`, once for each length, and return the readings.

        Trainings of all lengths start from the same weights, those that every proxy gets for this seed.
        """
        return tuple(reading for steps in self.steps for reading in self._readings(spec, inputs, source, steps, seed))

    def _readings(
        self,
        spec: ModelSpec,
        inputs: ProxyInputs,
        source: Source,
        steps: int,
        seed: int,
    ) -> list[Reading]:
        held_back = inputs.held_back(source.preprocessing)
        watch = Stopwatch(inputs.device)
        model = inputs.network(spec, seed)
        recipe = self.recipe(steps, source.learning_rate)
        training = Training(model, source.data, recipe, seed=derive_seed(seed, "proxy"), mask=None)
        early, losses = steps // 2, None
        with suppress(Diverged):
            first = training.run(early) * early
            late = training.run() * (steps - early)
            losses = {"speed": -(first + late), "late_speed": -late}
        trained = watch.read()
        judged = chance = Judged.chance(inputs.classes)
        made: dict[str, Reading] = {}

        def add(values: Mapping[str, float], seconds: tuple[float, float], forward_images: int) -> None:
            for measure, value in values.items():
                cost = (seconds[0], seconds[1], training.image_gradients, forward_images)
                made[measure] = Reading(f"{measure}@{steps}", value, *cost)

        add(losses or {"speed": WORST, "late_speed": WORST}, trained, 0)
        if losses is not None and {"accuracy", "loss", "calibrated"} & {*self.measures}:
            judged = as_trained(model, held_back, recipe, chance)
        alone = judged.values["accuracy"]  # which is what the judge says of a network without running statistics
        add({**judged.values, "calibrated": alone}, added(trained, judged.seconds), judged.forward_images)
        if losses is not None and "calibrated" in self.measures and gathers_statistics(model):
            again = calibrated(model, held_back, inputs.calibration(source.preprocessing), recipe, chance)
            add(again.values, added(trained, again.seconds), again.forward_images)
        return [made[measure] for measure in self.measures]

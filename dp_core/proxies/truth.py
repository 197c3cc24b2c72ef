"""What proxies are judged by: the accuracy of an architecture after training on real data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dp_core.errors import UserError
from dp_core.models import ModelSpec, source_digest
from dp_core.source_code import combined, sources_within
from dp_core.training import Recipe

_FORMAT = 2  # rises when the same training would give another result, so that what was kept is not used again


@dataclass(frozen=True)
class RealTraining:
    """One training of one architecture on the real training images.

    Args:
        spec: the architecture.
        recipe: how to train.
        seed: of initial weights, data order and augmentation.
        tested: whether the network is evaluated on the test images, too. Trainings that choose a learning rate are not.
    """

    spec: ModelSpec
    recipe: Recipe
    seed: int
    tested: bool

    def key(self, digests: Mapping[str, str]) -> str:
        """Return a digest of all that the result follows from, where real images go through their standardisation.

        Args:
            digests: of the splits `train`, `validation` and `test`; a training that is not tested is the same without
                the last.
        """
        said: dict[str, Any] = {
            "format": _FORMAT,
            "data": {name: digest for name, digest in digests.items() if self.tested or name != "test"},
            "spec": self.spec.to_dict(),
            "recipe": self.recipe.to_dict(),
            "seed": self.seed,
            "tested": self.tested,
        }
        source = source_digest(self.spec)
        if source is not None:  # a user's own network, which may be changed
            said["source"] = source
        if own := sources_within(self.recipe.to_dict()):  # likewise of a loss, an optimiser, …
            said["recipe_source"] = combined(own)
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class TruthPlan:
    """How the true accuracy of every architecture of a space is found.

    One recipe suits no space: a rate that is right for batch norm stalls or breaks networks without norms. So every
    architecture is first trained with each of the learning rates, for a part of the full length (the schedule made
    shorter with it), and the rate that is best on the validation images is used in full, with `seeds` new seeds.

    Args:
        recipe: the full training; its learning rate is not used.
        learning_rates: to choose from, each above 0; with one there is nothing to be tuned.
        tuning: length of a tuning training as a share of the full one, above 0 and at most 1.
        seeds: full trainings of each architecture, at least 1.
    """

    recipe: Recipe
    learning_rates: tuple[float, ...]
    tuning: float
    seeds: int

    def __post_init__(self) -> None:
        if not self.learning_rates or not min(self.learning_rates) > 0:
            raise UserError(f"The truth needs learning rates above 0, not {list(self.learning_rates)}.")
        if len(set(self.learning_rates)) < len(self.learning_rates):
            raise UserError(f"The truth needs different learning rates, not {list(self.learning_rates)}.")
        if not 0 < self.tuning <= 1 or self.seeds < 1:
            raise UserError(
                "The truth needs a tuning above 0 and at most 1, and at least 1 seed, "
                f"not {self.tuning} and {self.seeds}."
            )

    def tunings(self, spec: ModelSpec, images: int) -> list[RealTraining]:
        """Return the trainings that choose the learning rate, in the order of the rates; none if there is one rate."""
        if len(self.learning_rates) == 1:
            return []
        steps = max(1, round(self.tuning * self.recipe.total_steps(images)))
        return [
            RealTraining(spec, replace(self.recipe, learning_rate=rate, steps=steps, epochs=None), 0, tested=False)
            for rate in self.learning_rates
        ]

    def finals(self, spec: ModelSpec, learning_rate: float) -> list[RealTraining]:
        """Return the full trainings with the chosen rate; their seeds are none of the tuning's."""
        recipe = replace(self.recipe, learning_rate=learning_rate)
        return [RealTraining(spec, recipe, seed, tested=True) for seed in range(1, self.seeds + 1)]

    def chosen(self, found: Sequence[Mapping[str, Any]]) -> float:
        """Return the rate whose tuning is best on the validation images, of equally good ones the lowest.

        Args:
            found: results of all trainings that `tunings` lists, in its order.
        """
        if len(self.learning_rates) == 1:
            return self.learning_rates[0]
        ranked = zip(self.learning_rates, found, strict=True)
        return max(ranked, key=lambda pair: (pair[1]["validation_accuracy"], -pair[0]))[0]

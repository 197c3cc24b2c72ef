"""A pool of architectures, of which a distillation draws one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dp_core.errors import UserError
from dp_core.models import ARCHITECTURES, Families, ModelSpec, build
from dp_core.seeds import derive_seed, generator
from dp_core.training import Recipe, rehearsed

# More networks than this are not all built to see whether they can be; that many drawn ones are.
_CHECKED = 256

_STEP = Recipe(steps=1)  # in the mode and precision that distillation takes where nobody is asked


@dataclass(frozen=True)
class Pool(Families):
    """Families of networks with choices of hyperparameters.

    A draw takes one of the families and one value of each of its choices, all with equal probability. A set that is
    distilled on one network serves others badly; one that met a new network at every iteration serves all of them.
    """

    def draw(self, seed: int, *purpose: str | int) -> ModelSpec:
        """Return the network that `seed` and `purpose` draw, and nothing else decides."""
        draws = generator(seed, "architecture", *purpose)

        def pick(choices: Sequence[Any]) -> Any:
            return choices[int(torch.randint(len(choices), (), generator=draws))]

        family = pick(self.families)
        return ModelSpec.from_dict({name: pick(values) for name, values in family.items()})

    def build(self, image_shape: tuple[int, int, int], classes: int, seed: int, *purpose: str | int) -> nn.Module:
        """Return the drawn network with initial weights of its own."""
        return build(self.draw(seed, *purpose), image_shape, classes, seed=derive_seed(seed, "network", *purpose))

    def check(self, image_shape: tuple[int, int, int], classes: int) -> None:
        """Raise UserError if one of the networks cannot be built for such images, or one of a user's not be trained.

        Of large pools 256 are tried.
        """
        for spec in self._tried():
            ours = spec.name in ARCHITECTURES
            model = build(spec, image_shape, classes, seed=0) if ours else rehearsed(spec, image_shape, classes, _STEP)
            if not any(isinstance(module, nn.Linear) for module in model.modules()):
                raise UserError(f"The network {spec.name} has no linear layer whose input could serve as embedding.")

    def own_specs(self) -> list[ModelSpec]:
        """Return the networks, of those that `check` tries, that are a user's own."""
        return [spec for spec in self._tried() if spec.name not in ARCHITECTURES]

    def _tried(self) -> list[ModelSpec]:
        return self.specs() if self.size <= _CHECKED else [self.draw(0, index) for index in range(_CHECKED)]

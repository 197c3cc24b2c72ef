"""A pool of architectures, of which a distillation draws one at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dp_core.errors import UserError
from dp_core.models import ARCHITECTURES, ModelSpec, build
from dp_core.seeds import derive_seed, generator
from dp_core.training import Recipe, rehearsed

# One family: `name` and hyperparameters, each of them one value or a list of values to draw from.
Family = Mapping[str, Any]
# What a user writes: one family or several.
Architectures = Family | Sequence[Family]

# More networks than this are not all built to see whether they can be; that many drawn ones are.
_CHECKED = 256

_STEP = Recipe(steps=1)  # in the mode and precision that distillation takes where nobody is asked


@dataclass(frozen=True)
class Pool:
    """Families of networks with choices of hyperparameters.

    A draw takes one of the families and one value of each of its choices, all with equal probability. A set that is
    distilled on one network serves others badly; one that met a new network at every iteration serves all of them.
    """

    families: tuple[Mapping[str, tuple[Any, ...]], ...]

    @staticmethod
    def of(architectures: Architectures) -> Pool:
        """Read what a user wrote, such as {"name": "convnet", "norm": ["batch", "none"]}, or a list of such mappings.

        A choice may be written as a list or, as in a search space, as {"choice": list}.

        Raises:
            UserError: it is neither, a family has no name, or a choice is empty.
        """
        families = [architectures] if isinstance(architectures, Mapping) else architectures
        if not isinstance(families, list | tuple) or not families:
            raise UserError(
                f"Architectures are a network (name and hyperparameters) or a list of them, not {architectures}."
            )
        return Pool(tuple(_family(family) for family in families))

    @property
    def size(self) -> int:
        """Number of different networks."""
        return sum(math.prod(len(values) for values in family.values()) for family in self.families)

    def specs(self) -> list[ModelSpec]:
        """Return every network of the pool."""
        return [
            ModelSpec.from_dict(dict(zip(family, values, strict=True)))
            for family in self.families
            for values in itertools.product(*family.values())
        ]

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


def _family(family: Any) -> Mapping[str, tuple[Any, ...]]:
    called = family.get("name") if isinstance(family, Mapping) else None
    if isinstance(called, list | tuple | Mapping):
        raise UserError(f"Each of the architectures has one name, not {called}: several networks are a list of them.")
    if not isinstance(called, str):
        raise UserError(f"Each of the architectures needs a 'name' and hyperparameters: {family} has none.")
    found = {}
    for name in sorted(family, key=str):  # in whatever order they were written, the same is drawn
        value = family[name]
        if isinstance(value, Mapping) and set(value) == {"choice"}:
            value = value["choice"]
        values = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not values:
            raise UserError(f"The choice of '{name}' among the architectures is empty.")
        found[str(name)] = values
    return found

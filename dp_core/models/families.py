"""Families of networks: a name and hyperparameters, each of one value or of several to choose from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from dp_core.errors import UserError
from dp_core.models.spec import ModelSpec

# One family: `name` and hyperparameters, each of them one value or a list of values to choose from.
Family = Mapping[str, Any]
# What a user writes: one family or several.
Architectures = Family | Sequence[Family]


@dataclass(frozen=True)
class Families:
    """Families of networks with choices of hyperparameters."""

    families: tuple[Mapping[str, tuple[Any, ...]], ...]

    @classmethod
    def of(cls, architectures: Architectures) -> Self:
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
        return cls(tuple(_family(family) for family in families))

    @property
    def size(self) -> int:
        """Number of different networks."""
        return sum(math.prod(len(values) for values in family.values()) for family in self.families)

    def specs(self) -> list[ModelSpec]:
        """Return every one of the networks."""
        return [
            ModelSpec.from_dict(dict(zip(family, values, strict=True)))
            for family in self.families
            for values in itertools.product(*family.values())
        ]


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

"""What a search optimises: objectives by name, and the values of a trial's reports for them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trainables.screening.round import Round


@dataclass(frozen=True)
class Objective:
    """One measure of a round and whether more of it is better."""

    name: str
    measure: str
    maximised: bool

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Optuna's word for it."""
        return "maximize" if self.maximised else "minimize"

    def value(self, found: Round) -> float:
        """Return the value of a round, NaN if it has none.

        At a zero-cost rung there is no accuracy yet: the zero-cost score stands for it.
        """
        zero_cost = self.name == "accuracy" and not found.has_accuracy
        value = found.score if zero_cost else getattr(found, self.measure)
        return math.nan if value is None else float(value)

    def gain(self, found: Round) -> float:
        """Return the value of a round turned so that more is better."""
        value = self.value(found)
        return value if self.maximised else -value


# A new objective is a line: a field of rounds, and whether it is maximised.
OBJECTIVES: Mapping[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective("score", "score", True),
        Objective("accuracy", "proxy_accuracy", True),
        Objective("sparsity", "sparsity", True),
        Objective("parameters", "parameters_left", False),
        Objective("flops", "flops_remaining", False),
        Objective("latency", "latency_ms", False),
        Objective("seconds", "seconds", False),
        Objective("image_gradients", "image_gradients", False),
    )
}


def objectives_of(names: Sequence[str]) -> tuple[Objective, ...]:
    """Return the objectives of these names, which are known."""
    return tuple(OBJECTIVES[name] for name in names)

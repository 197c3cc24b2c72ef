"""What simulated trials answer: a formula, or a table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Accuracy in [0, 1] of a candidate after a round (its number, from 1) at the sparsity of that round.
Answer = Callable[[Mapping[str, Any], int, float], float]


def ridge(candidate: Mapping[str, Any], number: int, sparsity: float) -> float:
    """Return a made-up accuracy: more parameters left and a learning rate near 0.03 are better, up to 0.95.

    0.1 + 0.85 · (1 − (left / 1,000)^−0.25) · exp(−log10(learning rate / 0.03)²), and 0.1 below 1,000 parameters left.
    """
    left = max(dense_parameters(candidate) * (1 - sparsity), 1_000)
    rate = float(candidate.get("recipe", {}).get("learning_rate", 0.03))
    return 0.1 + 0.85 * (1 - math.pow(left / 1_000, -0.25)) * math.exp(-math.pow(math.log10(rate / 0.03), 2))


def dense_parameters(candidate: Mapping[str, Any]) -> int:
    """Return the made-up parameter count of a candidate: 3×3 kernels of its model's `width` (32) and `depth` (3)."""
    model = candidate.get("model", {})
    return 9 * int(model.get("width", 32)) ** 2 * int(model.get("depth", 3))


@dataclass(frozen=True)
class Table:
    """An answer by looking up: the accuracy after each round, by `Table.key` of the candidate."""

    curves: Mapping[str, Sequence[float]]

    @staticmethod
    def key(candidate: Mapping[str, Any]) -> str:
        """Return the name of a candidate in a table: its JSON with sorted keys."""
        return json.dumps(candidate, sort_keys=True)

    def __call__(self, candidate: Mapping[str, Any], number: int, sparsity: float) -> float:
        """Return the accuracy of a candidate after a round.

        Raises:
            KeyError: the candidate is not in the table.
            IndexError: its curve has fewer rounds.
        """
        return self.curves[self.key(candidate)][number - 1]


# A new formula is a function and a line.
ANSWERS: Mapping[str, Answer] = {"ridge": ridge}

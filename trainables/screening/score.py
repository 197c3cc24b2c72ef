"""The one number that a search maximises."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """accuracy × (parameters left / target)^exponent, the soft size constraint of MnasNet (Tan et al. 2019, Eq. 2).

    With `exponent` 0 it is the accuracy. With -0.07, MnasNet's value, a network twice as large must be 5 % (relative)
    more accurate to score the same.
    """

    target_parameters: int
    exponent: float

    def __call__(self, accuracy: float, parameters_left: int) -> float:
        """Return the score; `accuracy` in [0, 1]."""
        return accuracy * math.pow(parameters_left / self.target_parameters, self.exponent)

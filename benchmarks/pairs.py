"""Figures that come in pairs: mean differences and Student's intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from scipy.stats import t as student

POINT = 0.01  # of accuracy


def mean_and_std(values: Sequence[float]) -> dict[str, float | None]:
    """Return mean and standard deviation (None of a single value)."""
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else None}


def difference(differences: Sequence[float]) -> dict[str, Any]:
    """Return paired differences, their mean, its 95 % interval, and whether that is within noise."""
    result: dict[str, Any] = {"differences": list(differences), "interval": None, "within_noise": None}
    if len(differences) < 2:
        return result
    mean = statistics.fmean(differences)
    low, high = t_interval(differences)
    return {
        **result,
        "mean_difference": mean,
        "interval": [low, high],
        "contains_0": low <= 0 <= high,
        "below_one_point": abs(mean) < POINT,
        "within_noise": low <= 0 <= high and abs(mean) < POINT,
    }


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return the two-sided Student interval of the mean of at least two values."""
    mean = statistics.fmean(values)
    error = statistics.stdev(values) / math.sqrt(len(values))
    reach = float(student.ppf((1 + confidence) / 2, len(values) - 1)) * error
    return mean - reach, mean + reach

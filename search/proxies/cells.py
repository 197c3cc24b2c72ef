"""The figures of a proxy evaluation as its tables and sentences write them; whatever is absent is a dash."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from search.output.numbers import ABSENT, duration, magnitude

Row = Mapping[str, Any]

COSTS: Mapping[str, str] = {
    "seconds": "Seconds",
    "processor_seconds": "Processor seconds",
    "flops": "FLOPs",
    "image_gradients": "Image-gradients",
}
"""What tables call the units of cost, the one that people feel first."""


def known(value: float | None) -> TypeGuard[float]:
    """Return whether there is a finite number."""
    return value is not None and math.isfinite(value)


def plain(value: float | None) -> str:
    """Return a correlation with two decimals, never as minus zero."""
    return f"{value:z.2f}" if known(value) else ABSENT


def with_interval(row: Row, column: str) -> str:
    """Return `column` with the interval in `<column>_low` and `<column>_high`: 0.72 [0.60, 0.81]."""
    return f"{plain(row[column])}{interval(row, column)}" if known(row[column]) else ABSENT


def difference(row: Row) -> str:
    """Return a score's advantage over the baseline, with its sign: +0.21 [0.05, 0.39]."""
    value = row["advantage"]
    return f"{value:+z.2f}{interval(row, 'advantage')}" if known(value) else ABSENT


def interval(row: Row, column: str) -> str:
    """Return the interval of a column that has one, with a space before it: ` [0.60, 0.81]`."""
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    return f" [{plain(low)}, {plain(high)}]" if known(low) and known(high) else ""


def seconds(value: float | None) -> str:
    """Return seconds to three figures, however few they are."""
    if not known(value):
        return ABSENT
    if value >= 100:
        return f"{value:,.0f}"
    return "<0.001" if 0 < value < 0.001 else f"{value:.3g}"


def cost(value: float | None, unit: str) -> str:
    """Return a cost in words that suit its unit: 1 h 2 min, or 1.87 M."""
    return duration(value) if unit.endswith("seconds") else magnitude(value)

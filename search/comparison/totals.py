"""Accuracy against all that a network has cost: its mask, and its training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Literal

from search.comparison.sheets import sparsity_label
from search.comparison.statistics import Row, by_seed, by_sparsity, deviation
from search.output.panels import Axis, Line, Panel, Style, round_ticks
from search.output.rows import grouped

Unit = Literal["image_gradients", "processor_seconds"]
UNITS: tuple[Unit, ...] = ("image_gradients", "processor_seconds")

_LABELS: Mapping[Unit, str] = {
    "image_gradients": "Image-gradients of mask and training",
    "processor_seconds": "Processor seconds of mask and training",
}


def in_all(row: Row, unit: Unit) -> float | None:
    """Return what a network has cost in all, None where it is not known: without a training there is no such thing."""
    parts = [row.get(f"{part}_{unit}") for part in ("mask", "train")]
    return None if None in parts else sum(float(part) for part in parts if part is not None)


def accuracy_against_total(rows: Sequence[Row], unit: Unit, styles: Callable[[str], Style]) -> list[Panel]:
    """Return one panel a target sparsity above 0, with a line a family over its methods; dense networks are in all.

    Args:
        rows: of one network.
        unit: of the costs, which are means over seeds.
        styles: returns that of a family.
    """
    dense = [row for row in rows if row["target_sparsity"] == 0]
    panels = []
    for sparsity, cell in by_sparsity([row for row in rows if row["target_sparsity"] > 0]).items():
        lines = []
        for (family,), group in grouped([*dense, *cell], "family").items():
            points = sorted(point for of in grouped(group, "method").values() if (point := _point(of, unit)))
            if points:
                places, means, spreads = zip(*points, strict=True)
                known = [None if spread < 0 else spread for spread in spreads]
                lines.append(Line(family, places, means, styles(family), known))
        if lines:
            costs = [cost for line in lines for cost in line.x]
            x = Axis(_LABELS[unit], "log", round_ticks(min(costs), max(costs)))
            title = f"{sparsity_label(sparsity)} sparse"
            panels.append(Panel(title, x, Axis("Test accuracy, %", bounds=(0, 100)), lines, spread="bars", cut=True))
    return panels


def _point(rows: Sequence[Row], unit: Unit) -> tuple[float, float, float] | None:
    """Return mean cost, mean accuracy and deviation (−1: unknown), both in percent; None if nothing was trained."""
    costs = [cost for row in rows if (cost := in_all(row, unit))]
    reached = list(by_seed(rows).values())
    if not costs or not reached:
        return None
    spread = deviation(reached)
    return fmean(costs), 100 * fmean(reached), -1.0 if spread is None else 100 * spread

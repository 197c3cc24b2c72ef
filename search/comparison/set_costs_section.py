"""What masks cost with the making of the distilled set that they were found on, as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from search.comparison.sheets import sparsity_label
from search.comparison.statistics import Row, reference_method, summarise
from search.output.numbers import ABSENT, magnitude, percent
from search.output.rows import finite, grouped
from search.output.sheet import Sheet

MASKS = (1, 10, 100)
"""Masks that share the making of one set, in the columns of the table."""

_UNITS = ("image_gradients", "processor_seconds")
_SET = ("set_image_gradients", "set_seconds")
_CAPTION = (
    "Image-gradients / processor seconds of each mask where so many share the making of one set, whose seconds are "
    "those of the clock on the machine that made it."
)


def set_costs_section(rows: Sequence[Row]) -> str:
    """Return as Markdown what a mask costs at the highest sparsity with its share of making the set.

    There is a line for each method whose set has a known cost, and one for the IMP that they are held against (see
    `reference_method`); the last column is the number of masks from which on all of them with the set are cheaper than
    as many of IMP. Empty if no set has a known cost.
    """
    lines = [line for (network,), group in grouped(rows, "network").items() for line in _lines(str(network), group)]
    headings = ["Network", "Method", "Sparsity", "Accuracy %", "The mask", "The set"]
    shared = [f"With the set,\n{number} mask{'s' if number > 1 else ''}" for number in MASKS]
    headings += [*shared, "Cheaper than\nIMP from"]
    return Sheet(headings, lines, note=_CAPTION).markdown() if lines else ""


def pays_from(cost_of_set: float, mask: float, reference: float) -> int | None:
    """Return the least number n ≥ 1 with n · mask + cost_of_set < n · reference; None if there is none."""
    if mask >= reference:
        return None
    return math.floor(cost_of_set / (reference - mask)) + 1


def _lines(network: str, rows: Sequence[Row]) -> list[list[str]]:
    highest = max(row["target_sparsity"] for row in rows)
    summary = {row["method"]: row for row in summarise(rows) if row["target_sparsity"] == highest}
    reference = summary.get(reference_method(rows) or "")
    imp = None if reference is None else [reference[f"mask_{unit}"] for unit in _UNITS]
    lines = []
    for method, row in summary.items():
        own = [each for each in rows if each["method"] == method]
        of_set = [max(known) for column in _SET if (known := finite(own, column))]
        mask = [row[f"mask_{unit}"] for unit in _UNITS]
        place = [network, method, sparsity_label(highest), percent(row["test_accuracy"]), _both(mask)]
        if row is reference:
            lines.append([*place, *([ABSENT] * (len(MASKS) + 2))])
        elif len(of_set) == len(_SET) and None not in mask:
            shared = [_both([m + s / number for m, s in zip(mask, of_set, strict=True)]) for number in MASKS]
            from_masks = [pays_from(s, m, i) for s, m, i in zip(of_set, mask, imp, strict=True)] if imp else []
            lines.append([*place, _both(of_set), *shared, _masks(from_masks)])
    return lines if any(line[5] != ABSENT for line in lines) else []


def _both(costs: Sequence[float | None]) -> str:
    gradients, seconds = costs
    digits = ",.0f" if seconds is not None and seconds >= 100 else ".3g"
    return f"{magnitude(gradients)} / {ABSENT if seconds is None else format(seconds, digits)}"


def _masks(numbers: Sequence[int | None]) -> str:
    told = [ABSENT if number is None else f"{number:,}" for number in numbers]
    return " / ".join(told) or ABSENT

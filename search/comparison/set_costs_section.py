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
    "Image-gradients / seconds of each mask where so many share the making of one set. Seconds of a mask are the "
    "processor's, those of a set the clock's on the machine that made it. Cheaper than IMP says nothing of accuracy, "
    "and is told of masks that take fewer image-gradients than IMP's."
)


def set_costs_section(rows: Sequence[Row]) -> str:
    """Return as Markdown what masks cost with their share of making the set.

    There is a line for each iterative method whose set has a known cost, no control, and one for the IMP that they are
    held against (see `reference_method`), at the highest sparsity that IMP and one of them have; where there is none,
    at the highest that one of them has. The last column is the number of masks from which on all of them with the set
    are cheaper than as many of IMP. Empty if no set has a known cost.
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
    imp = reference_method(rows)
    with_set = [
        row for row in rows if row.get("set_image_gradients") is not None and row["kind"] in (None, "iterative")
    ]
    found = {(row["method"], row["target_sparsity"]): row for row in summarise(rows)}
    reached = {method: {at for name, at in found if name == method} for method in {row["method"] for row in with_set}}
    common = set().union(*reached.values())
    common = common & {at for name, at in found if name == imp} or common
    if not common:
        return []
    highest = max(common)
    reference = [found.get((imp or "", highest), {}).get(f"mask_{unit}") for unit in _UNITS]
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        row = found.get((method, highest))
        if row is None or (method not in reached and method != imp):
            continue
        mask = [row[f"mask_{unit}"] for unit in _UNITS]
        place = [network, method, sparsity_label(highest), percent(row["test_accuracy"]), _both(mask)]
        if method == imp:
            lines.append([*place, *([ABSENT] * (len(MASKS) + 2))])
        else:
            own = [each for each in with_set if each["method"] == method]
            of_set = [max(finite(own, column), default=None) for column in _SET]
            shared = [_both([_shared(*each, number) for each in zip(mask, of_set, strict=True)]) for number in MASKS]
            lines.append([*place, _both(of_set), *shared, _masks(list(zip(of_set, mask, reference, strict=True)))])
    return lines


def _shared(mask: float | None, of_set: float | None, masks: int) -> float | None:
    return None if mask is None or of_set is None else mask + of_set / masks


def _both(costs: Sequence[float | None]) -> str:
    gradients, seconds = costs
    digits = ",.0f" if seconds is not None and seconds >= 100 else ".3g"
    return f"{magnitude(gradients)} / {ABSENT if seconds is None else format(seconds, digits)}"


def _masks(costs: Sequence[tuple[float | None, float | None, float | None]]) -> str:
    """Return from how many masks on a set pays in each unit, given the costs of set, mask and IMP in each."""
    numbers = [
        None if of_set is None or mask is None or imp is None else pays_from(of_set, mask, imp)
        for of_set, mask, imp in costs
    ]
    if numbers[0] is None:  # seconds of masks of equal length differ by chance
        return ABSENT
    return " / ".join(ABSENT if number is None else f"{number:,}" for number in numbers)

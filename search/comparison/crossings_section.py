"""The crossing points of families of pruning methods as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from search.comparison.budgets import budgets_by_family, paid
from search.comparison.crossings import Crossing, crossings
from search.comparison.sheets import sparsity_label
from search.comparison.statistics import Row, by_sparsity
from search.output.numbers import ABSENT, magnitude
from search.output.rows import grouped
from search.output.sheet import Sheet

FEW_SEEDS = 5
"""Below this many seeds a bootstrap has too few different draws for its interval to be more than a guess."""


def crossings_section(rows: Sequence[Row]) -> str:
    """Return as Markdown the crossings of all pairs of families with two budgets or more; empty if there is none.

    The seeds are those that every budget of both families has; if these are not all of the network's, it says so.
    """
    found = [crossing for pair in _pairs(rows) for crossing in crossings(rows, *pair)]
    if not found:
        return ""
    headings = [
        "Network",
        "Sparsity",
        "Families",
        "Cross at",
        "95 % interval",
        "Draws with a crossing",
        "Seeds",
        "Ahead",
    ]
    seeds = {network: len({row["seed"] for row in group}) for (network,), group in grouped(rows, "network").items()}
    text = Sheet(headings, [_line(crossing, seeds[crossing.network]) for crossing in found]).markdown()
    text += "\nCosts are image-gradients spent on the mask; a crossing counts where the curves cross exactly once.\n"
    few = sorted({crossing.seeds for crossing in found if 1 < crossing.seeds < FEW_SEEDS})
    for number in few:
        # Multisets of n out of n.
        text += f"With {number} seeds a bootstrap has {math.comb(2 * number - 1, number)} different draws only: "
        text += "such intervals and shares are a rough guide.\n"
    return text


def _pairs(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return the pairs of families that have two budgets or more somewhere, in the order of the rows."""
    cells = [cell for group in grouped(rows, "network").values() for cell in by_sparsity(group).values()]
    curved = {name for cell in cells for name, found in budgets_by_family(cell).items() if len(paid(found)) > 1}
    return list(combinations([name for name in dict.fromkeys(row["family"] for row in rows) if name in curved], 2))


def _line(crossing: Crossing, seeds: int) -> list[str]:
    interval = ABSENT if crossing.low is None else f"{magnitude(crossing.low)} to {magnitude(crossing.high)}"
    return [
        crossing.network,
        sparsity_label(crossing.target_sparsity),
        f"{crossing.first}, {crossing.second}",
        magnitude(crossing.image_gradients),
        interval,
        ABSENT if crossing.share is None else f"{100 * crossing.share:.0f} %",
        str(seeds) if crossing.seeds == seeds else f"{crossing.seeds} of {seeds}",
        _reading(crossing),
    ]


def _reading(crossing: Crossing) -> str:
    if crossing.cheapest is None:
        return "no cost in common" if crossing.seeds else "no seed in common"
    span = f"from {magnitude(crossing.cheapest)} to {magnitude(crossing.dearest)}"
    if crossing.ahead is None:
        return f"level {span}"
    if crossing.times == 0:
        return f"{crossing.ahead} {span}"
    above = crossing.second if crossing.ahead == crossing.first else crossing.first
    return (
        f"{crossing.ahead} below, {above} above" if crossing.times == 1 else f"they cross {crossing.times} times {span}"
    )

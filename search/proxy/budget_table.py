"""What budget a score deserves: what it takes with its help to come near to the best architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search.markdown import markdown
from search.proxy.answers import RANDOM_SEARCH, TRAIN_EVERYTHING
from search.proxy.budget import Point, smallest_budget
from search.proxy.cells import COSTS, Row, cost
from search.report.formats import ABSENT, count, percent


def curves(budgets: Sequence[Row], unit: str) -> dict[str, list[Point]]:
    """Return the curves in one unit of cost, in the order of the rows."""
    found: dict[str, list[Point]] = {}
    for row in budgets:
        if row["unit"] == unit:
            found.setdefault(row["proxy"], []).append(Point(row["k"], row["cost"], row["accuracy"]))
    return found


def units(budgets: Sequence[Row]) -> list[str]:
    """Return the units that costs are told in, the one that people feel first."""
    there = {row["unit"] for row in budgets}
    return [unit for unit in COSTS if unit in there]


def budget_table(budgets: Sequence[Row], within: float) -> str:
    """Return a verdict and a table: what it takes to find an architecture `within` (a fraction) of the best.

    One row for each way to choose, the cheapest first by the first unit; "" without rows.
    """
    told = units(budgets)
    if not told:
        return ""
    needed = {unit: _needed(budgets, unit, within) for unit in told}
    first = needed[told[0]]
    lines = []
    for name in sorted(first, key=lambda name: first[name].cost):
        lines.append([name, count(first[name].k), *(_cell(needed[unit], name, unit) for unit in told)])
    headings = ["Chosen by", "Trained", *(COSTS[unit] for unit in told)]
    return f"{_verdict(first, told[0], within)}\n\n{markdown(headings, lines)}"


def _needed(budgets: Sequence[Row], unit: str, within: float) -> dict[str, Point]:
    found = {name: smallest_budget(points, within) for name, points in curves(budgets, unit).items()}
    return {name: point for name, point in found.items() if point is not None}


def _cell(needed: Mapping[str, Point], name: str, unit: str) -> str:
    """Return a cost and its share of that of training everything: 1 h 2 min (12 %)."""
    if name not in needed:
        return ABSENT
    spent = needed[name].cost
    everything = needed.get(TRAIN_EVERYTHING)
    share = f" ({100 * spent / everything.cost:.3g} %)" if everything is not None and everything.cost > 0 else ""
    return f"{cost(spent, unit)}{share}"


def _verdict(needed: Mapping[str, Point], unit: str, within: float) -> str:
    goal = f"an architecture within {percent(within)} points of the best"
    scores = [name for name in needed if name not in (RANDOM_SEARCH, TRAIN_EVERYTHING)]
    if not scores or RANDOM_SEARCH not in needed:
        return f"What it takes to find {goal}:"
    best = min(scores, key=lambda name: needed[name].cost)
    text = (
        f"Finding {goal} takes {_cell(needed, best, unit)} when {best} chooses what is trained, and "
        f"{_cell(needed, RANDOM_SEARCH, unit)} when chance does."
    )
    useless = [name for name in scores if needed[name].cost >= needed[RANDOM_SEARCH].cost]
    return f"{text} No better than chance: {', '.join(useless)}." if useless else text

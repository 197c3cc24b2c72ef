"""What budget a score deserves: what it takes with its help to come near to the best architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search.output.numbers import ABSENT, percent
from search.output.sheet import Sheet
from search.proxies.answers import RANDOM_SEARCH, TRAIN_EVERYTHING
from search.proxies.budget import Point
from search.proxies.cells import COSTS, Row, cost, known


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


def budget_section(hits: Sequence[Row], order: Sequence[str], within: float) -> str:
    """Return a verdict and a table: what it takes to find an architecture `within` (a fraction) of the best.

    Args:
        hits: a row for each way to choose and unit of cost; "" without any.
        order: the scores, that of the highest Spearman first: it is the one that the verdict is about, not the one that
            happens to hit first.
        within: how near to the best accuracy.
    """
    told = units(hits)
    if not told:
        return ""
    found = {(row["proxy"], row["unit"]): row for row in hits}
    names = sorted({row["proxy"] for row in hits}, key=lambda name: found[name, told[0]]["trained"])
    lines = [
        [name, f"{found[name, told[0]]['trained']:.3g}", *(_cell(found, name, unit) for unit in told)] for name in names
    ]
    headings = ["Chosen by", "Trained", *(COSTS[unit] for unit in told)]
    return f"{_verdict(found, order, told[0], within)}\n\n{Sheet(headings, lines).markdown()}"


def _cell(found: Mapping[tuple[str, str], Row], name: str, unit: str) -> str:
    """Return a cost and its share of that of training everything: 1 h 2 min (12 %)."""
    row, everything = found.get((name, unit)), found.get((TRAIN_EVERYTHING, unit))
    if row is None or not known(row["cost"]):
        return ABSENT
    share = ""
    if everything is not None and known(everything["cost"]) and everything["cost"] > 0:
        share = f" ({100 * row['cost'] / everything['cost']:.3g} %)"
    return f"{cost(row['cost'], unit)}{share}"


def _verdict(found: Mapping[tuple[str, str], Row], order: Sequence[str], unit: str, within: float) -> str:
    goal = f"an architecture within {percent(within)} points of the best"
    scores = [name for name in order if (name, unit) in found]
    if not scores or (RANDOM_SEARCH, unit) not in found:
        return f"What it takes to find {goal}:"
    best, chance = scores[0], found[RANDOM_SEARCH, unit]
    trained = found[best, unit]["trained"]
    text = (
        f"Finding {goal} takes {trained:.3g} trainings and {_cell(found, best, unit)} when {best}, "
        f"the score of the highest Spearman, chooses what is trained, and is expected to take {chance['trained']:.3g} "
        f"and {_cell(found, RANDOM_SEARCH, unit)} in random order."
    )
    useless = [name for name in scores if not found[name, unit]["cost"] < chance["cost"]]
    return f"{text} No better than chance: {', '.join(useless)}." if useless else text

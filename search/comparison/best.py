"""Which family of pruning methods to take for a given cost of the mask, and how sure one can be of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from search.comparison.budgets import Budget, affordable, budgets_by_family, paid
from search.comparison.sheets import sparsity_label
from search.comparison.statistics import Row, by_sparsity, paired, t_interval
from search.output.numbers import ABSENT, magnitude, percent
from search.output.rows import grouped
from search.output.sheet import Sheet

SAME_COST = 1.1
"""Budgets that differ by less than this factor are told as one, the dearest of them."""

_CAPTION = (
    "The margin, with its 95 % interval, is that of a best that was chosen after the fact, hence a little flattering. "
    "Between two budgets of a family its accuracy is interpolated over the logarithm of the cost."
)


def best_by_cost(rows: Sequence[Row]) -> str:
    """Return as Markdown, for each network, target sparsity and cost of the mask, the family with the highest mean.

    A family takes part with what it reaches for at most that cost (see `affordable`), so masks that cost nothing
    always do. The margin to the second is the mean difference over the seeds that both have, in percentage points,
    with Student's 95 % interval. Families that lack seeds of the network say so. Empty if nothing was spent.
    """
    lines = []
    for (network,), of_network in grouped(rows, "network").items():
        seeds = len({row["seed"] for row in of_network})
        for sparsity, cell in by_sparsity([row for row in of_network if row["target_sparsity"] > 0]).items():
            families = budgets_by_family(cell)
            for cost in _costs(families.values()):
                reached = {name: affordable(budgets, cost) for name, budgets in families.items()}
                place = [network, sparsity_label(sparsity), magnitude(cost)]
                lines.append([*place, *_ranking({name: found for name, found in reached.items() if found}, seeds)])
    headings = ["Network", "Sparsity", "Image-gradients", "Best", "Accuracy %", "Second", "Margin", "Seeds"]
    return Sheet(headings, lines, note=_CAPTION).markdown() if lines else ""


def _costs(families: Iterable[Sequence[Budget]]) -> list[float]:
    """Return the costs of all families, ascending, each for the ones just below it as well."""
    told: list[list[float]] = []
    for cost in sorted({budget.image_gradients for budgets in families for budget in paid(budgets)}):
        if told and cost < SAME_COST * told[-1][0]:
            told[-1].append(cost)
        else:
            told.append([cost])
    return [together[-1] for together in told]


def _ranking(reached: Mapping[str, Mapping[int, float]], seeds: int) -> list[str]:
    """Return the cells from the best family to the seeds; families without a seed in common have no margin."""
    names = {name: _named(name, len(found), seeds) for name, found in reached.items()}
    means = {name: fmean(found.values()) for name, found in reached.items()}
    best, *others = sorted(means, key=lambda name: -means[name])
    if not others:
        return [names[best], percent(means[best]), ABSENT, ABSENT, str(len(reached[best]))]
    margins = paired(reached[best], reached[others[0]])
    margin = f"{100 * fmean(margins):+.1f}" if margins else ABSENT
    interval = t_interval(margins)
    if interval:
        margin += f" [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"
    return [names[best], percent(means[best]), names[others[0]], margin, str(len(margins))]


def _named(family: str, found: int, seeds: int) -> str:
    return family if found == seeds else f"{family} ({found} of {seeds} seeds)"

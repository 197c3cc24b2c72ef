"""Where two families of pruning methods change places: the cost of a mask at which their accuracies are equal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from search.comparison.budgets import Budget, budgets_by_family, paid
from search.comparison.statistics import Row, by_sparsity, check_known
from search.output.bootstrap import interval, resampled
from search.output.rows import grouped

DRAWS = 2000
"""Bootstrap draws: the ends of a 95 % interval rest on some fifty draws each."""

_LEVEL = 1e-12  # differences of accuracies below this are rounding
_Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Crossing:
    """Where the curves of two families, accuracy over the logarithm of the mask's cost, cross.

    Attributes:
        network: Name of the network.
        target_sparsity: Target sparsity in [0, 1].
        image_gradients: Cost at which the mean curves cross; None unless they cross exactly once.
        low: 2.5th percentile of the crossing over those bootstrap draws that have exactly one; None without a crossing
            or with one seed.
        high: The 97.5th percentile.
        seeds: Seeds that every budget of both families has; nothing else enters.
        share: Share of bootstrap draws, in [0, 1], whose curves cross exactly once; None with fewer than two seeds.
        first: One family.
        second: The other family.
        times: How often the mean curves cross.
        ahead: The family that is ahead below the (first) crossing, or over the whole range where there is none; None
            where the two are level, and where there is nothing to compare.
        cheapest: Lowest cost that both families cover; None if there is no such range or no common seed.
        dearest: Highest such cost.
    """

    network: str
    target_sparsity: float
    image_gradients: float | None
    low: float | None
    high: float | None
    seeds: int
    share: float | None
    first: str
    second: str
    times: int
    ahead: str | None
    cheapest: float | None
    dearest: float | None


def crossings(rows: Sequence[Row], first_family: str, second_family: str) -> list[Crossing]:
    """Return, for each network and target sparsity that both families have masks with a cost for, where they cross.

    Curves are means over seeds at each budget, linear between budgets over the logarithm of the image-gradients, on
    the range of costs that both cover. The uncertainty is the percentile bootstrap over seeds, 2,000 draws from a fixed
    seed; a draw takes the same seeds for both families and every budget, since methods share the initial weights of a
    seed. Raises UserError for a family that no row has.
    """
    for family in (first_family, second_family):
        check_known(family, [row["family"] for row in rows], "family")
    found = []
    for (network,), of_network in grouped(rows, "network").items():
        for sparsity, cell in by_sparsity(of_network).items():
            families = budgets_by_family(cell)
            first, second = (paid(families.get(family, [])) for family in (first_family, second_family))
            if first and second:
                found.append(_crossing(network, sparsity, (first_family, first), (second_family, second)))
    return found


def _crossing(
    network: str, sparsity: float, first: tuple[str, list[Budget]], second: tuple[str, list[Budget]]
) -> Crossing:
    names, curves = (first[0], second[0]), (first[1], second[1])
    seeds = sorted(set.intersection(*(set(budget.accuracies) for curve in curves for budget in curve)))
    costs = _common_costs(*curves)
    if not seeds or not costs.size:
        return Crossing(network, sparsity, None, None, None, len(seeds), None, *names, 0, None, None, None)
    one, other = (np.stack([_curve(curve, seed, costs) for seed in seeds]) for curve in curves)
    gains = one - other  # [seeds, costs]; the curves are linear, so their mean is the mean of the gains
    middle = gains.mean(axis=0)
    places = _turns(costs, middle)
    leads = middle[np.abs(middle) > _LEVEL]
    ahead = names[0 if leads[0] > 0 else 1] if leads.size else None
    low, high, share = _bootstrap(costs, gains)
    once = len(places) == 1
    return Crossing(
        network,
        sparsity,
        math.exp(places[0]) if once else None,
        low if once else None,
        high if once else None,
        len(seeds),
        share,
        *names,
        len(places),
        ahead,
        math.exp(costs[0]),
        math.exp(costs[-1]),
    )


def _common_costs(first: Sequence[Budget], second: Sequence[Budget]) -> _Curve:
    """Return the logarithms of the budgets of both families inside the range that both cover, ascending."""
    logs = [np.log([budget.image_gradients for budget in curve]) for curve in (first, second)]
    low, high = max(log[0] for log in logs), min(log[-1] for log in logs)
    knots: _Curve = np.unique(np.concatenate(logs))
    inside: _Curve = knots[(knots >= low) & (knots <= high)]
    return inside


def _curve(budgets: Sequence[Budget], seed: int, costs: _Curve) -> _Curve:
    logs = np.log([budget.image_gradients for budget in budgets])
    values: _Curve = np.interp(costs, logs, [budget.accuracies[seed] for budget in budgets])
    return values


def _turns(costs: _Curve, gain: _Curve) -> list[float]:
    """Return where a piecewise linear curve changes sign; touching zero is no change, of a level stretch the middle."""
    ahead = np.flatnonzero(np.abs(gain) > _LEVEL)
    places = []
    for left, right in pairwise(ahead):
        if gain[left] * gain[right] > 0:
            continue
        if right == left + 1:
            share = gain[left] / (gain[left] - gain[right])
            places.append(float(costs[left] + share * (costs[right] - costs[left])))
        else:
            places.append(float((costs[left + 1] + costs[right - 1]) / 2))
    return places


def _bootstrap(costs: _Curve, gains: _Curve) -> tuple[float | None, float | None, float | None]:
    """Return the interval of the crossing and the share of draws with exactly one, from gains [seeds, costs]."""
    if len(gains) < 2:
        return None, None, None

    def only_turn(drawn: NDArray[np.int64]) -> _Curve:
        turns = [_turns(costs, gain) for gain in gains[drawn].mean(axis=1)]
        return np.array([places[0] if len(places) == 1 else math.nan for places in turns])

    places = resampled(only_turn, [np.arange(len(gains))], seed=0, resamples=DRAWS)
    share = float(np.isfinite(places).mean())
    if not share:
        return None, None, 0.0
    low, high = interval(places, 0.95)
    return math.exp(low), math.exp(high), share

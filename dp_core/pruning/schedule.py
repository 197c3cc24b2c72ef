"""The sparsities that iterative pruning passes through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from dp_core.errors import UserError


def sparsity_schedule(target: float, fraction: float) -> tuple[float, ...]:
    """Return the sparsity of every round, from the dense network's 0 to exactly `target`.

    Every round removes `fraction` of the weights that are left, the last one as much as is missing:
    0, f, 1 - (1 - f)², …, target. A last step smaller than a tenth of a full one is merged into the one before it.

    Args:
        target: final sparsity, from 0 to below 1.
        fraction: share removed a round, at least 0.001 and below 1.
    """
    _check_reachable(target)
    _check_fraction(fraction)
    sparsities = [0.0]
    while 1 - (1 - sparsities[-1]) * (1 - fraction) < target - 0.1 * fraction * (1 - target):
        sparsities.append(1 - (1 - sparsities[-1]) * (1 - fraction))
    return (*sparsities, target) if target > 0 else (0.0,)


def geometric_schedule(target: float, rounds: int) -> tuple[float, ...]:
    """Return the `rounds` + 1 sparsities from the dense network's 0 to exactly `target`, at equal fractions a round.

    Every round removes 1 - (1 - target)^(1 / rounds) of the weights that are left. A target of 0 needs no round: (0,).

    Args:
        target: final sparsity, from 0 to below 1.
        rounds: number of times that weights are removed, at least 1.
    """
    _check_reachable(target)
    if rounds < 1:
        raise UserError(f"A schedule has at least one round, not {rounds}.")
    return (0.0, *_geometric_steps(0.0, target, rounds)) if target > 0 else (0.0,)


def schedule_through(targets: Sequence[float], fraction: float, *, start: float = 0.0) -> tuple[float, ...]:
    """Return sparsities that rise from `start`, by default the dense network's 0, exactly through every target.

    Between neighbouring targets every round removes the same fraction of the weights that are left, in the number of
    rounds (at least one) for which that is nearest to `fraction`; of two equally near, the fewer rounds.

    Args:
        targets: sparsities from `start` to below 1, rising; a leading `start` is there anyway.
        fraction: share to be removed a round, at least 0.001 and below 1.
        start: sparsity of the mask that is pruned further.
    """
    _check_fraction(fraction)
    _check_reachable(start)
    for target in targets:
        _check_reachable(target)
    if not targets:
        raise UserError("A schedule needs at least one sparsity to pass through.")
    if any(after <= before for before, after in pairwise(targets)):
        raise UserError(f"The sparsities that a schedule passes through must rise, which {list(targets)} do not.")
    if targets[0] < start:
        raise UserError(f"A mask that is {start} sparse cannot be brought to a sparsity of {targets[0]}.")
    schedule = [start]
    for target in targets[targets[0] == start :]:
        rounds = _rounds_between(schedule[-1], target, fraction)
        schedule += _geometric_steps(schedule[-1], target, rounds)
    return tuple(schedule)


def check_sparsity(target: float, layer_sizes: dict[str, int]) -> None:
    """Raise UserError unless a network with these prunable layers can be this sparse with a weight in every layer."""
    _check_reachable(target)
    total = sum(layer_sizes.values())
    left = total - round(target * total)
    if left < len(layer_sizes):
        raise UserError(
            f"A sparsity of {target} leaves {left} of {total} weights, "
            f"too few for one in each of {len(layer_sizes)} layers."
        )


def _check_reachable(sparsity: float) -> None:
    if not 0 <= sparsity < 1:
        raise UserError(f"A sparsity must be from 0 to below 1, not {sparsity}.")


def _check_fraction(fraction: float) -> None:
    if not 0.001 <= fraction < 1:
        raise UserError(f"The fraction pruned a round must be at least 0.001 and below 1, not {fraction}.")


def _rounds_between(start: float, target: float, fraction: float) -> int:
    shrinkage = math.log1p(-target) - math.log1p(-start)
    fewer = max(1, math.floor(shrinkage / math.log1p(-fraction)))
    return min((fewer, fewer + 1), key=lambda rounds: abs(-math.expm1(shrinkage / rounds) - fraction))


def _geometric_steps(start: float, target: float, rounds: int) -> list[float]:
    """Return the sparsities after each round; in logarithms, which are exact near 0 and cannot pass the target."""
    first, last = math.log1p(-start), math.log1p(-target)
    between = [-math.expm1(first + (last - first) * done / rounds) for done in range(1, rounds)]
    return [*between, target]

"""The sparsities that iterative pruning passes through."""

from __future__ import annotations

from dp_core.errors import UserError


def sparsity_schedule(target: float, fraction: float) -> tuple[float, ...]:
    """Return the sparsity of every round, from the dense network's 0 to exactly `target`.

    Every round removes `fraction` of the weights that are left, the last one as much as is missing:
    0, f, 1 - (1 - f)², …, target. A last step smaller than a tenth of a full one is merged into the one before it.

    Args:
        target: final sparsity, from 0 to below 1.
        fraction: share removed a round, at least 0.001 and below 1.
    """
    if not 0 <= target < 1:
        raise UserError(f"A sparsity must be from 0 to below 1, not {target}.")
    if not 0.001 <= fraction < 1:
        raise UserError(f"The fraction pruned a round must be at least 0.001 and below 1, not {fraction}.")
    sparsities = [0.0]
    while 1 - (1 - sparsities[-1]) * (1 - fraction) < target - 0.1 * fraction * (1 - target):
        sparsities.append(1 - (1 - sparsities[-1]) * (1 - fraction))
    return (*sparsities, target) if target > 0 else (0.0,)


def check_sparsity(target: float, layer_sizes: dict[str, int]) -> None:
    """Raise UserError unless a network with these prunable layers can be this sparse with a weight in every layer."""
    if not 0 <= target < 1:
        raise UserError(f"A sparsity must be from 0 to below 1, not {target}.")
    total = sum(layer_sizes.values())
    left = total - round(target * total)
    if left < len(layer_sizes):
        raise UserError(
            f"A sparsity of {target} leaves {left} of {total} weights, "
            f"too few for one in each of {len(layer_sizes)} layers."
        )

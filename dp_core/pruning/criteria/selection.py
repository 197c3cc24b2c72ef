"""From scores to masks: keeping the highest, over the whole network or layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.pruning.mask import Mask


def parameters_in_scope(model: nn.Module, mask: Mask) -> dict[str, nn.Parameter]:
    """Return the parameters of `model` that `mask` names, in the mask's order.

    Raises:
        UserError: one is not there or of another shape.
    """
    parameters = dict(model.named_parameters())
    for name, tensor in mask.items():
        if name not in parameters or parameters[name].shape != tensor.shape:
            raise UserError(f"This mask is for another model: there is no {name} of shape {list(tensor.shape)} in it.")
    return {name: parameters[name] for name in mask}


def number_kept(mask: Mask, sparsity: float) -> int:
    """Return how many weights a sub-mask of this sparsity keeps: all but `round(sparsity × total)`.

    Raises:
        ValueError: the sparsity is below the mask's or not below 1.
    """
    removed = round(sparsity * mask.total)
    if not mask.total - mask.kept <= removed < mask.total:
        raise ValueError(f"A mask of sparsity {mask.sparsity:.4f} cannot be pruned to {sparsity:.4f}.")
    return mask.total - removed


def keep_highest(scores: Mapping[str, Tensor], mask: Mask, sparsity: float) -> Mask:
    """Return the sub-mask of `mask` that keeps the weights of highest score, `round(sparsity × total)` being zero.

    Among equal scores the weight that comes first in the model goes first, so the result is deterministic.

    Args:
        scores: for every parameter of the mask a tensor of its shape, on any device; compared in float32 or wider,
            NaN as infinity.
        mask: the weights there are now.
        sparsity: in [mask.sparsity, 1).

    Raises:
        ValueError: the sparsity is below the mask's or not below 1.
    """
    count = number_kept(mask, sparsity)
    flat = torch.cat([comparable(scores[name]) for name in mask])
    keep = highest(flat, torch.cat([tensor.reshape(-1) for tensor in mask.values()]).to(flat.device), count)
    parts = keep.split([tensor.numel() for tensor in mask.values()])
    return Mask({name: part.view(mask[name].shape) for name, part in zip(mask, parts, strict=True)})


def keep_highest_per_layer(
    scores: Mapping[str, Tensor], mask: Mask, sparsity: float, shares: Mapping[str, int]
) -> Mask:
    """Return the sub-mask of `mask` that keeps the weights of highest score in every layer.

    How many each layer keeps is in proportion to `shares`, as far as it has them; see `apportion`. The total is exact,
    and ties are broken as in `keep_highest`.

    Raises:
        ValueError: the sparsity is below the mask's or not below 1.
    """
    left = [int(tensor.sum()) for tensor in mask.values()]
    counts = apportion(number_kept(mask, sparsity), [shares[name] for name in mask], left)
    kept = {}
    for (name, tensor), count in zip(mask.items(), counts, strict=True):
        flat = comparable(scores[name])
        kept[name] = highest(flat, tensor.reshape(-1).to(flat.device), count).view(tensor.shape)
    return Mask(kept)


def apportion(total: int, shares: Sequence[int], limits: Sequence[int]) -> list[int]:
    """Divide `total` into whole numbers that are in proportion to `shares` and at most `limits`.

    Whoever would get more than its limit gets the limit, and the others what is left in proportion. Fractions are
    rounded by largest remainder, in exact arithmetic; among equal remainders the last is rounded up. Then, while there
    is enough, whoever got nothing but has a limit above 0 gets one from who has most, so that no layer becomes empty
    before it must.

    Args:
        total: from 0 to the sum of `limits`.
        shares: each above 0.
        limits: each 0 or more.

    Returns:
        Counts that sum to `total`.
    """
    exact = _proportional(total, shares, limits)
    counts = [int(quota) for quota in exact]  # rounded down
    by_remainder = sorted(range(len(exact)), key=lambda i: (exact[i] - counts[i], i), reverse=True)
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    for i in reversed(range(len(counts))):
        richest = counts.index(max(counts))
        if counts[i] == 0 < limits[i] and counts[richest] > 1:
            counts[i], counts[richest] = 1, counts[richest] - 1
    return counts


def _proportional(total: int, shares: Sequence[int], limits: Sequence[int]) -> list[Fraction]:
    quotas = [Fraction(limit) for limit in limits]
    below = list(range(len(shares)))
    while True:
        left = total - sum(limits) + sum(limits[i] for i in below)
        scale = Fraction(left, sum(shares[i] for i in below))
        still_below = [i for i in below if scale * shares[i] <= limits[i]]
        if still_below == below:
            break
        below = still_below
    for i in below:
        quotas[i] = scale * shares[i]
    return quotas


def highest(scores: Tensor, keep: Tensor, count: int) -> Tensor:
    """Return of the places `keep`, bool [n], the `count` of highest score, float [n]; of equal ones the last.

    If there are fewer, all of them.
    """
    left = keep.nonzero().squeeze(1)
    kept = keep.clone()
    if count < len(left):
        among = scores[left]
        threshold = among.kthvalue(len(left) - count).values  # in linear time; sorting takes ten times as long
        kept[left[among < threshold]] = False
        kept[left[among == threshold][: int(kept.sum()) - count]] = False
    return kept


def comparable(scores: Tensor) -> Tensor:
    """Return scores as one dimension in float32 or wider, NaN as infinity, so that every two have an order."""
    wide = scores.detach().to(torch.promote_types(scores.dtype, torch.float32)).reshape(-1)
    return wide.nan_to_num(torch.inf, torch.inf, -torch.inf)

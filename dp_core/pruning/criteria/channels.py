"""Whole channels: masks under which a smaller dense network computes the same."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.pruning.criteria.base import Examples
from dp_core.pruning.criteria.channel_groups import ChannelGroup, channel_groups
from dp_core.pruning.criteria.selection import comparable, number_kept, parameters_in_scope
from dp_core.pruning.mask import Mask


@dataclass(frozen=True)
class WholeChannels:
    """Remove the channels whose weights have the smallest mean square (Li et al. 2017; Fang et al. 2023).

    A channel's weights are those that make it, in one layer or, along a residual connection, in several, and those that
    read it; their squares are summed over the channel and divided by their number. The first channel of every group
    that would become empty stays. Unlike of other criteria there are at least as many zeros as asked for: the channel
    that reaches the sparsity goes as a whole. One image is asked for, to follow the network by; nothing is trained on.
    """

    image_gradients = 0

    def __call__(
        self, model: nn.Module, mask: Mask, sparsity: float, generator: torch.Generator, examples: Examples
    ) -> Mask:
        """See Criterion.

        Raises:
            UserError: the channels cannot be followed, or there are not enough of them for this sparsity.
        """
        if mask.total - mask.kept >= round(sparsity * mask.total):
            return mask  # an earlier round has removed a little more than it had to
        wanted = mask.total - number_kept(mask, sparsity)
        groups = channel_groups(model, examples(1)[0])
        order = _order(model, mask, groups)
        fewest, most = 0, len(order)
        densest = _without(mask, groups, order)
        if densest.total - densest.kept < wanted:
            raise UserError(
                f"Whole channels make this network {densest.sparsity:.1%} sparse at most, not {sparsity:.1%}: "
                "one of each has to stay."
            )
        while fewest < most:  # the fewest channels that will do
            middle = (fewest + most) // 2
            found = _without(mask, groups, order[:middle])
            fewest, most = (middle + 1, most) if found.total - found.kept < wanted else (fewest, middle)
        return _without(mask, groups, order[:fewest])

    def most(self, model: nn.Module, mask: Mask, image: Tensor) -> float:
        """Return the highest sparsity there is: with one channel of every group.

        Args:
            model: the network.
            mask: the weights there are now.
            image: one of its images, float [1, C, H, W].
        """
        groups = channel_groups(model, image)
        return _without(mask, groups, _order(model, mask, groups)).sparsity


def _order(model: nn.Module, mask: Mask, groups: list[ChannelGroup]) -> list[tuple[int, int]]:
    """Return (group, channel) in the order in which they go, without the last one of every group."""
    weights = parameters_in_scope(model, mask)
    scores: list[tuple[float, int, int]] = []
    for number, group in enumerate(groups):
        total, count, left = torch.zeros(group.size), torch.zeros(group.size), torch.zeros(group.size)
        for name, dimension, channels in group.places:
            if name in mask:
                belongs = channels >= 0
                square = comparable(weights[name]).cpu().view(mask[name].shape).square() * mask[name]
                others = [each for each in range(square.dim()) if each != dimension]
                sums = square.sum(others) if others else square
                kept = mask[name].float().sum(others) if others else mask[name].float()
                size = torch.full_like(sums, mask[name].numel() / mask[name].shape[dimension])
                for into, values in ((total, sums), (count, size), (left, kept)):
                    into.index_add_(0, channels[belongs], values[belongs])
        score = torch.where(left > 0, total / count.clamp(min=1), -1.0)  # what is gone goes first
        best = int(score.argmax())
        scores += [(float(score[channel]), number, channel) for channel in range(group.size) if channel != best]
    return [(number, channel) for _, number, channel in sorted(scores)]


def _without(mask: Mask, groups: list[ChannelGroup], removed: list[tuple[int, int]]) -> Mask:
    """Return the mask without these channels."""
    gone = [torch.zeros(group.size, dtype=torch.bool) for group in groups]
    for number, channel in removed:
        gone[number][channel] = True
    kept = {name: tensor.clone() for name, tensor in mask.items()}
    for number, group in enumerate(groups):
        for name, dimension, channels in group.places:
            if name in kept:
                stays = ~(gone[number][channels.clamp(min=0)] & (channels >= 0))
                shape = [-1 if each == dimension else 1 for each in range(kept[name].dim())]
                kept[name] &= stays.view(shape)
    return Mask(kept)

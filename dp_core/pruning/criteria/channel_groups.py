"""Which weights a channel consists of: those that make it and those that read it, through whatever lies between."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dp_core.errors import UserError, in_one_line


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels that are made by the same layers, and read by the same.

    A residual connection joins those of all layers that add to it: they can only go together.

    Attributes:
        size: number of channels.
        places: for each weight, by name: the dimension, and for every index along it the channel that it belongs to,
            int64 [n].
    """

    size: int
    places: Sequence[tuple[str, int, Tensor]]


def channel_groups(model: nn.Module, image: Tensor) -> list[ChannelGroup]:
    """Return the channels inside a network, found by torch-pruning's dependency graph (Fang et al. 2023, DepGraph).

    The outputs of the network are none of them. The model is left as it was.

    Args:
        model: the network.
        image: one of its images, float [1, C, H, W].

    Raises:
        UserError: the graph cannot be followed, or the network has no channel between two layers.
    """
    import torch_pruning  # which takes a second to import, and is needed here alone

    copied = copy.deepcopy(model).cpu().float().eval()
    names = {id(parameter): name for name, parameter in copied.named_parameters()}
    try:
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")  # of parameters that are no layer's, which stay as they are
            graph = torch_pruning.DependencyGraph().build_dependency(
                copied, example_inputs=image.detach().cpu().float()[:1], verbose=False
            )
            layers = [nn.modules.conv._ConvNd, nn.Linear]
            found = [_group(group, names) for group in graph.get_all_groups(root_module_types=layers)]
    except Exception as error:  # whatever a user's network makes the tracing raise
        raise UserError(f"The channels of this network cannot be followed: {in_one_line(error)}.") from error
    inside = [group for group in found if group is not None]
    if not inside:
        raise UserError("This network has no channel that could be removed: none lies between two of its layers.")
    return inside


def _group(items: Sequence[Any], names: dict[int, str]) -> ChannelGroup | None:
    """Return a group of the library's in our terms; None if nothing reads it, as it is the network's output."""
    places: list[tuple[str, int, Tensor]] = []
    made, read, size = False, False, 0
    for item in items:
        layer, handler = item.dep.target.module, item.dep.handler.__name__
        if not isinstance(layer, nn.modules.conv._ConvNd | nn.Linear) or id(layer.weight) not in names:
            continue
        weight = layer.weight
        outgoing = handler == "prune_out_channels"
        made, read = made or outgoing, read or not outgoing
        transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
        channels = torch.full((weight.shape[int(outgoing == transposed)],), -1)
        channels[list(item.idxs)] = torch.tensor(list(item.root_idxs))
        places.append((names[id(weight)], int(outgoing == transposed), channels))
        size = max(size, int(channels.max()) + 1)
    return ChannelGroup(size, places) if made and read else None

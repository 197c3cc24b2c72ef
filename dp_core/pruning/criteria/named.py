"""The criterion that a config names, and whether it suits a network."""

from __future__ import annotations

import torch
from torch import nn

from dp_core.errors import UserError
from dp_core.pruning.criteria.base import Criterion
from dp_core.pruning.criteria.channels import WholeChannels
from dp_core.pruning.criteria.n_of_m import NOfM
from dp_core.pruning.criteria.registry import CHANNELS, CRITERIA, PATTERN, check_criterion_name
from dp_core.pruning.criteria.synflow import SynFlow, require_paths
from dp_core.pruning.mask import Mask
from dp_core.pruning.scope import Scope


def criterion_named(name: str) -> Criterion:
    """Return the criterion of a name in CRITERIA, whole `channels`, or that of a pattern such as `2:4`.

    Raises:
        UserError: there is none, or the pattern keeps none or all.
    """
    check_criterion_name(name)
    if name == CHANNELS:
        return WholeChannels()
    pattern = PATTERN.fullmatch(name)
    return CRITERIA[name] if pattern is None else NOfM(int(pattern[1]), int(pattern[2]))


def check_criterion(
    criterion: Criterion, model: nn.Module, image_shape: tuple[int, int, int], scope: Scope, sparsity: float = 0.0
) -> None:
    """See whether a criterion suits a network.

    Args:
        criterion: see there.
        model: the network.
        image_shape: channels, height, width of its images.
        scope: what is prunable.
        sparsity: the highest that it is to reach.

    Raises:
        UserError: the criterion has no score for a kind of layer, or cannot make the network so sparse.
    """
    if isinstance(criterion, SynFlow):
        require_paths(model)
    if isinstance(criterion, WholeChannels):
        most = criterion.most(model, Mask.ones(model, scope), torch.zeros(1, *image_shape))
        if most < sparsity:
            raise UserError(
                f"Whole channels make this network {most:.1%} sparse at most, not {sparsity:.1%}: one of each stays."
            )
    if isinstance(criterion, NOfM):
        dense = Mask.ones(model, scope)
        if criterion.sparsity(dense) == 0:
            raise UserError(
                f"The pattern {criterion.kept}:{criterion.of} fits no layer of this network: none has a multiple of "
                f"{criterion.of} inputs."
            )

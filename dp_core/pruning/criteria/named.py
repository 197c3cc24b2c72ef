"""The criterion that a config names, and whether it suits a network."""

from __future__ import annotations

from torch import nn

from dp_core.pruning.criteria.base import Criterion
from dp_core.pruning.criteria.n_of_m import NOfM
from dp_core.pruning.criteria.registry import CRITERIA, PATTERN, check_criterion_name
from dp_core.pruning.criteria.synflow import SynFlow, require_paths


def criterion_named(name: str) -> Criterion:
    """Return the criterion of a name in CRITERIA, or of a pattern such as `2:4`.

    Raises:
        UserError: there is none, or the pattern keeps none or all.
    """
    check_criterion_name(name)
    pattern = PATTERN.fullmatch(name)
    return CRITERIA[name] if pattern is None else NOfM(int(pattern[1]), int(pattern[2]))


def check_criterion(criterion: Criterion, model: nn.Module) -> None:
    """Raise UserError if the criterion has no score for a kind of layer that `model` has."""
    if isinstance(criterion, SynFlow):
        require_paths(model)

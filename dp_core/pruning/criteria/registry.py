"""The criteria by name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import nn

from dp_core.errors import UserError, nearest
from dp_core.pruning.criteria.base import Criterion
from dp_core.pruning.criteria.grasp import GraSP
from dp_core.pruning.criteria.magnitude import GlobalMagnitude, LayerwiseMagnitude
from dp_core.pruning.criteria.n_of_m import NOfM
from dp_core.pruning.criteria.random import ErdosRenyiKernel, UniformRandom
from dp_core.pruning.criteria.snip import SNIP
from dp_core.pruning.criteria.synflow import SynFlow, require_paths

CRITERIA: Mapping[str, Criterion] = {
    "magnitude": GlobalMagnitude(),
    "magnitude_layerwise": LayerwiseMagnitude(),
    "random": UniformRandom(),
    "random_erk": ErdosRenyiKernel(),
    "snip": SNIP(),
    "grasp": GraSP(),
    "synflow": SynFlow(),
}


def criterion_named(name: str) -> Criterion:
    """Return the criterion of a name in CRITERIA, or of a pattern such as `2:4`.

    Raises:
        UserError: there is none, or the pattern keeps none or all.
    """
    pattern = re.fullmatch(r"([0-9]{1,6}):([0-9]{1,6})", name)
    if pattern:
        return NOfM(int(pattern[1]), int(pattern[2]))
    if name not in CRITERIA:
        raise UserError(
            f"There is no pruning criterion '{name}'.{nearest(name, CRITERIA)} "
            f"Known: {', '.join(CRITERIA)}, and patterns N:M such as 2:4."
        )
    return CRITERIA[name]


def check_criterion(criterion: Criterion, model: nn.Module) -> None:
    """Raise UserError if the criterion has no score for a kind of layer that `model` has."""
    if isinstance(criterion, SynFlow):
        require_paths(model)

"""The criteria by name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dp_core.errors import UserError, nearest
from dp_core.registry import Registry

if TYPE_CHECKING:
    from dp_core.pruning.criteria.base import Criterion

CRITERIA: Registry[Criterion] = Registry(
    {
        "magnitude": "dp_core.pruning.criteria.magnitude:GlobalMagnitude",
        "magnitude_layerwise": "dp_core.pruning.criteria.magnitude:LayerwiseMagnitude",
        "random": "dp_core.pruning.criteria.random:UniformRandom",
        "random_erk": "dp_core.pruning.criteria.random:ErdosRenyiKernel",
        "snip": "dp_core.pruning.criteria.snip:SNIP",
        "grasp": "dp_core.pruning.criteria.grasp:GraSP",
        "synflow": "dp_core.pruning.criteria.synflow:SynFlow",
    },
    made=lambda kind: kind(),
)

PATTERN = re.compile(r"([0-9]{1,6}):([0-9]{1,6})")
"""N:M: of each M weights N are kept."""

CHANNELS = "channels"
"""Whole channels: see `WholeChannels`. Like patterns, it is not exact, as those in CRITERIA are."""


def check_criterion_name(name: str) -> None:
    """Raise UserError unless there is a criterion of this name, or it is `channels` or a pattern such as `2:4`."""
    if name not in CRITERIA and name != CHANNELS and not PATTERN.fullmatch(name):
        raise UserError(
            f"There is no pruning criterion '{name}'.{nearest(name, (*CRITERIA, CHANNELS))} "
            f"Known: {', '.join(CRITERIA)}, {CHANNELS}, and patterns N:M such as 2:4."
        )

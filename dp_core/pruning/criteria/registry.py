"""The criteria by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

"""The proxies by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_core.registry import Registry

if TYPE_CHECKING:
    from dp_core.proxies.base import Proxy

PROXIES: Registry[type[Proxy]] = Registry(
    {
        "parameters": "dp_core.proxies.parameters:Parameters",
        "flops": "dp_core.proxies.flops:FLOPs",
        "synflow": "dp_core.proxies.synflow:SynFlow",
        "snip": "dp_core.proxies.snip:SNIP",
        "grasp": "dp_core.proxies.grasp:GraSP",
        "grad_norm": "dp_core.proxies.grad_norm:GradNorm",
        "jacob_cov": "dp_core.proxies.jacob_cov:JacobCov",
        "nwot": "dp_core.proxies.nwot:NWOT",
        "zen": "dp_core.proxies.zen:Zen",
        "zico": "dp_core.proxies.zico:ZiCo",
        "distilled_training": "dp_core.proxies.distilled_training:DistilledTraining",
        "distilled_pruning": "dp_core.proxies.distilled_pruning:DistilledPruning",
        "real_training": "dp_core.proxies.real_training:RealDataTraining",
        "random_subset": "dp_core.proxies.random_subset:RandomSubset",
        "training_speed": "dp_core.proxies.training_speed:TrainingSpeed",
    }
)

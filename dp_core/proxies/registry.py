"""The proxies by name."""

from __future__ import annotations

from collections.abc import Mapping

from dp_core.proxies.base import Proxy
from dp_core.proxies.distilled_pruning import DistilledPruning
from dp_core.proxies.distilled_training import DistilledTraining
from dp_core.proxies.flops import FLOPs
from dp_core.proxies.grad_norm import GradNorm
from dp_core.proxies.grasp import GraSP
from dp_core.proxies.jacob_cov import JacobCov
from dp_core.proxies.nwot import NWOT
from dp_core.proxies.parameters import Parameters
from dp_core.proxies.random_subset import RandomSubset
from dp_core.proxies.real_training import RealDataTraining
from dp_core.proxies.snip import SNIP
from dp_core.proxies.synflow import SynFlow
from dp_core.proxies.training_speed import TrainingSpeed
from dp_core.proxies.zen import Zen
from dp_core.proxies.zico import ZiCo

PROXIES: Mapping[str, type[Proxy]] = {
    "parameters": Parameters,
    "flops": FLOPs,
    "synflow": SynFlow,
    "snip": SNIP,
    "grasp": GraSP,
    "grad_norm": GradNorm,
    "jacob_cov": JacobCov,
    "nwot": NWOT,
    "zen": Zen,
    "zico": ZiCo,
    "distilled_training": DistilledTraining,
    "distilled_pruning": DistilledPruning,
    "real_training": RealDataTraining,
    "random_subset": RandomSubset,
    "training_speed": TrainingSpeed,
}

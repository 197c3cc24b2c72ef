"""Pruning criteria: which weights go next. The recipe for a new one: a file here and a line in `registry.py`."""

from dp_core.pruning.criteria.base import Criterion, Examples
from dp_core.pruning.criteria.grasp import GraSP
from dp_core.pruning.criteria.magnitude import GlobalMagnitude, LayerwiseMagnitude
from dp_core.pruning.criteria.n_of_m import NOfM
from dp_core.pruning.criteria.named import check_criterion, criterion_named
from dp_core.pruning.criteria.random import ErdosRenyiKernel, UniformRandom, shuffle_within_layers
from dp_core.pruning.criteria.registry import CRITERIA
from dp_core.pruning.criteria.selection import apportion, keep_highest
from dp_core.pruning.criteria.snip import SNIP
from dp_core.pruning.criteria.synflow import SynFlow

__all__ = [
    "CRITERIA",
    "SNIP",
    "Criterion",
    "ErdosRenyiKernel",
    "Examples",
    "GlobalMagnitude",
    "GraSP",
    "LayerwiseMagnitude",
    "NOfM",
    "SynFlow",
    "UniformRandom",
    "apportion",
    "check_criterion",
    "criterion_named",
    "keep_highest",
    "shuffle_within_layers",
]

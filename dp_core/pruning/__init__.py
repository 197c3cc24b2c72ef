"""Masks, criteria, schedules, the iterative pruning loop, and tickets."""

from dp_core.pruning.criteria import (
    CRITERIA,
    SNIP,
    Criterion,
    ErdosRenyiKernel,
    GlobalMagnitude,
    GraSP,
    LayerwiseMagnitude,
    NOfM,
    SynFlow,
    UniformRandom,
    check_criterion,
    criterion_named,
    keep_highest,
    shuffle_within_layers,
)
from dp_core.pruning.examples import Examples, no_examples, training_examples
from dp_core.pruning.health import at_chance, chance, layer_collapse
from dp_core.pruning.iterative import IterativePruning, PruningPlan, run_round_together
from dp_core.pruning.mask import Mask
from dp_core.pruning.schedule import check_sparsity, geometric_schedule, schedule_through, sparsity_schedule
from dp_core.pruning.scope import Scope, prunable_parameters
from dp_core.pruning.ticket import Ticket

__all__ = [
    "CRITERIA",
    "SNIP",
    "Criterion",
    "ErdosRenyiKernel",
    "Examples",
    "GlobalMagnitude",
    "GraSP",
    "IterativePruning",
    "LayerwiseMagnitude",
    "Mask",
    "NOfM",
    "PruningPlan",
    "Scope",
    "SynFlow",
    "Ticket",
    "UniformRandom",
    "at_chance",
    "chance",
    "check_criterion",
    "check_sparsity",
    "criterion_named",
    "geometric_schedule",
    "keep_highest",
    "layer_collapse",
    "no_examples",
    "prunable_parameters",
    "run_round_together",
    "schedule_through",
    "shuffle_within_layers",
    "sparsity_schedule",
    "training_examples",
]

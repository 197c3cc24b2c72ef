"""Masks, criteria, schedules, the iterative pruning loop, and tickets."""

from dp_core.pruning.criteria import CRITERIA, Criterion, keep_highest, shuffle_within_layers
from dp_core.pruning.iterative import IterativePruning, PruningPlan, run_round_together
from dp_core.pruning.mask import Mask
from dp_core.pruning.schedule import check_sparsity, sparsity_schedule
from dp_core.pruning.scope import prunable_parameters
from dp_core.pruning.ticket import Ticket

__all__ = [
    "CRITERIA",
    "Criterion",
    "IterativePruning",
    "Mask",
    "PruningPlan",
    "Ticket",
    "check_sparsity",
    "keep_highest",
    "prunable_parameters",
    "run_round_together",
    "shuffle_within_layers",
    "sparsity_schedule",
]

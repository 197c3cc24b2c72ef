"""Noticing that a pruned network is dead, so that nobody trains it to the end."""

from __future__ import annotations

import torch
from torch import Tensor

from dp_core.pruning.mask import Mask
from dp_core.training import Evaluation


def layer_collapse(mask: Mask) -> str | None:
    """Return in words which layers have no weight left (layer collapse, Tanaka et al. 2020), None if all have some."""
    empty = mask.empty_layers()
    return f"layer collapse: no weight left in {', '.join(empty)}" if empty else None


def chance(labels: Tensor) -> float:
    """Return the accuracy of always answering the most frequent class of `labels`, int64 [N]."""
    return float(torch.bincount(labels).max()) / len(labels)


def at_chance(found: Evaluation, chance_accuracy: float) -> bool:
    """Return whether a network does no better than one constant answer: one class predicted, or no more accurate."""
    return found.predicted_classes == 1 or found.accuracy <= chance_accuracy

"""Why an iteration of a distillation cannot be used."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Broken(Exception):
    """Something of an iteration is not finite, or cannot be stored, by what was there when the iteration began.

    Attributes:
        reason: what it is, as the part of a sentence.
        advice: what may help, such as "a smaller image_rate".
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.reason, self.advice = reason, advice


class Overstepped(Broken):
    """A step of the iteration itself led to it, so that a smaller one may do."""


def smaller(*settings: str) -> str:
    """Return the advice to lower one of some settings."""
    *first, last = settings
    return f"a smaller {', '.join(first)} or {last}" if first else f"a smaller {last}"


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether all values of all tensors are finite; of those of one device in one look."""
    norms = torch._foreach_norm([tensor.detach() for tensor in tensors], float("inf"))
    return bool(torch.stack(list(norms)).isfinite().all())

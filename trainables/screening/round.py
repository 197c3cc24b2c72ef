"""A round: what a trial reports of a step. Rows, tables and curves follow from its fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

# Nothing here imports PyTorch: see trainables.screening.simulated.

_NO_CURVE = {"curve": False}
"""Metadata of a number that is not drawn over rounds, as it counts them."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where on the ladder a round is."""

    round: int = field(metadata=_NO_CURVE)
    """From 1, over all rungs."""
    rung: int = 0
    """Index of the rung, from 0, which is all that there is without a ladder."""
    rung_round: int = field(metadata=_NO_CURVE)
    """From 1, within the rung."""
    fidelity: str
    """What the rung looks with, such as `nwot`, `distilled-10`, `real` or `real-epochs-2`: scores of different ones
    are on different scales."""
    rung_done: bool = False
    """Whether the rung ends with this round."""

    @classmethod
    def after(cls, before: Place | None, rung: int, fidelity: str, rung_done: bool) -> Place:
        """Return the place of the next round of a trial, on this rung; `before` is None for the first."""
        number, rung_round = (0, 0) if before is None else (before.round, before.rung_round * (before.rung == rung))
        return cls(round=number + 1, rung=rung, rung_round=rung_round + 1, fidelity=fidelity, rung_done=rung_done)


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What a look at a candidate's network has shown; score, accuracy and loss are means over its replicates."""

    score: float
    """What the search maximises, see `Score`; at a zero-cost rung the proxy's. NaN for a network that diverged."""
    score_sem: float | None = None
    """Standard error of the score; None for a single replicate."""
    proxy_accuracy: float
    """On held-back real images, in [0, 1]; NaN where there is no trained network, as at a zero-cost rung."""
    proxy_accuracy_sem: float | None = None
    """Standard error of the accuracy; None for a single replicate."""
    proxy_loss: float
    """Cross-entropy on the same images, in nats; NaN where the accuracy is."""
    replicates: int = 1
    """How many networks, which differ in nothing but their seeds."""
    sparsity: float
    """Share of the prunable parameters that are zero, in [0, 1)."""
    density: float
    """1 - sparsity."""
    prunable_parameters: int | None = None
    """How many parameters the sparsity is about; None in runs that did not count them."""
    parameters: int | None = None
    """All parameters of the dense network; None in runs that did not count them."""
    parameters_left: int
    """Parameters that are not zero, those that cannot be pruned among them."""
    flops_dense: int
    """Floating-point operations of the dense network for one image."""
    flops_remaining: int
    """Those of the sparse network, mean over the replicates."""


@dataclass(frozen=True, kw_only=True)
class Round(Measures, Place):  # in this order, as the fields of the last base come first
    """One step of a trial: where it was, what it showed, and what has been spent by then.

    The fields that have a default came with later versions: rows of earlier ones lack them. What may be None is null in
    a table; of a number that may not, NaN says that there is none, in the JSON of a journal None.
    """

    latency_ms: float | None = None
    """Milliseconds of a forward pass, measured by the driver, all candidates on one device; None if nobody asked."""
    steps: int | None = None
    """Steps of the optimiser in this round, each replicate's; None in runs that did not tell them."""
    image_gradients: int
    """Images × steps, forward and backward, by the end of this round, of all replicates."""
    seconds: float
    """By the end of this round, of all replicates."""

    @property
    def has_accuracy(self) -> bool:
        """Whether there is a proxy accuracy; else the score is a zero-cost one, or that of a failure."""
        return not math.isnan(self.proxy_accuracy)

    @classmethod
    def from_row(cls, row: Mapping[str, Any], fidelity: str = "") -> Round:
        """Read a row of a result, a journal or a table; what it has beside the fields does not matter.

        Args:
            row: as this version or an earlier one wrote it.
            fidelity: where the row does not say it.
        """
        told = {"rung_round": row["round"], "fidelity": fidelity, **row}
        values = {name: told[name] for name in _NAMES if name in told}
        return cls(**values | {name: math.nan for name in _NUMBERS if name in values and values[name] is None})

    def to_row(self) -> dict[str, Any]:
        """Return the plain values by name."""
        return dict(vars(self))

    def curves(self) -> dict[str, float]:
        """Return the numbers that are drawn over rounds, by TensorBoard's tag; those that are NaN or None are not."""
        values = ((name, getattr(self, name)) for name in _CURVES)
        return {name: float(value) for name, value in values if value is not None and not math.isnan(value)}


_KINDS = get_type_hints(Round)
_NAMES = tuple(each.name for each in fields(Round))
_NUMBERS = tuple(name for name in _NAMES if _KINDS[name] is float)
_CURVES = tuple(
    each.name for each in fields(Round) if _KINDS[each.name] not in (bool, str) and each.metadata.get("curve", True)
)


def finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as JSON can hold it: NaN and infinities are None."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}

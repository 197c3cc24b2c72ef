"""The contract of rungs: looks at a candidate of one fidelity, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from dp_core.pruning import Mask
from trainables.screening.round import Measures


@dataclass(frozen=True)
class Look:
    """What one step of a rung came to.

    Attributes:
        measures: of the network.
        predicted_classes: how many classes the network predicts on the validation images; None if it is not trained.
        steps: of the optimiser in this step.
        status: `running`, `finished` if the rung is, `collapsed` or `diverged`, see `ScreeningTrainable`.
        reason: of a bad end.
        seconds: that the step took.
        image_gradients: of the rung so far.
    """

    measures: Measures
    predicted_classes: int | None
    steps: int
    status: str
    reason: str | None
    seconds: float
    image_gradients: int


@dataclass(frozen=True, eq=False)
class FoundTicket:
    """What a pruning rung has found: the mask and the rewind weights of its best replicate (index, and seed)."""

    replicate: int
    seed: int
    weights: Mapping[str, Tensor]
    mask: Mask

    def to_state(self) -> dict[str, Any]:
        """Return it as plain data."""
        weights, mask = dict(self.weights), dict(self.mask)
        return {"replicate": self.replicate, "seed": self.seed, "weights": weights, "mask": mask}

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> FoundTicket:
        """Read what `to_state` returned."""
        return FoundTicket(state["replicate"], state["seed"], state["weights"], Mask(state["mask"]))


class Rung(Protocol):
    """One rung that a candidate is on. It is made when the candidate comes to it, and holds its images meanwhile."""

    def step(self) -> Look:
        """Do the next step and report it; there is none after one that is not `running`."""

    def found(self) -> FoundTicket | None:
        """Return the ticket of a rung that has finished, None if it makes none."""

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything needed to go on after the last step."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` returned."""


@dataclass(frozen=True)
class RungPlan:
    """A rung to come: its fidelity, and how it is made once the ticket of those before it is there."""

    fidelity: str
    enter: Callable[[FoundTicket | None], Rung]

"""A candidate on its way up the ladder, of which it is on one rung at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from trainables.screening.context import ScreeningContext
from trainables.screening.ladder import zero_cost_proxy
from trainables.screening.round import Place
from trainables.screening.rungs.base import FoundTicket, Look, Rung, RungPlan
from trainables.screening.rungs.pruning import PruningRung
from trainables.screening.rungs.real_epochs import RealEpochsRung
from trainables.screening.rungs.zero_cost import ZeroCostRung
from trainables.trials.candidate import Candidate


class Climb:
    """Rungs one after the other; a rung is left, and its images with it, as soon as it has finished.

    A bad end on any rung is the end of the climb.
    """

    def __init__(self, rungs: Sequence[RungPlan]) -> None:
        self._rungs = tuple(rungs)
        self._index = 0
        self._rung: Rung | None = None
        self._ticket: FoundTicket | None = None

    @property
    def finished(self) -> bool:
        """Whether the last rung has finished."""
        return self._index == len(self._rungs)

    @property
    def ticket(self) -> FoundTicket:
        """The ticket of the last pruning rung that has finished."""
        assert self._ticket is not None, "no pruning rung has finished"
        return self._ticket

    def step(self, before: Place | None) -> tuple[Place, Look]:
        """Do the next step, on the next rung if the last one has finished; `before` is the place of the last step."""
        index, rung = self._index, self._current()
        look = rung.step()
        if look.status == "finished":
            self._ticket, self._rung = rung.found() or self._ticket, None
            self._index += 1
        return Place.after(before, index, self._rungs[index].fidelity, rung_done=look.status != "running"), look

    def _current(self) -> Rung:
        if self._rung is None:
            self._rung = self._rungs[self._index].enter(self._ticket)
        return self._rung

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything needed to go on after the last step."""
        return {
            "index": self._index,
            "rung": None if self._rung is None else self._rung.state_dict(),
            "ticket": None if self._ticket is None else self._ticket.to_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` returned."""
        self._index, self._rung = state["index"], None
        self._ticket = None if state["ticket"] is None else FoundTicket.from_state(state["ticket"])
        if state["rung"] is not None:
            self._current().load_state_dict(state["rung"])


def rungs_of(
    context: ScreeningContext, candidate: Candidate, seed: int, device: torch.device, memory_parts: int
) -> list[RungPlan]:
    """Return the rungs that a candidate climbs, in the order of `LadderPlan.fidelities`; none is made yet.

    Args:
        context: of the search.
        candidate: that climbs.
        seed: of the trial.
        device: where to compute.
        memory_parts: in how many parts a batch is in memory.
    """
    ladder = context.ladder

    def zero_cost(_: FoundTicket | None) -> Rung:
        assert ladder.zero_cost is not None
        return ZeroCostRung(context, candidate, zero_cost_proxy(ladder.zero_cost), seed, device)

    def pruning(of: Candidate, _: FoundTicket | None) -> Rung:
        return PruningRung(context, of, seed, device, memory_parts)

    def real_epochs(ticket: FoundTicket | None) -> Rung:
        assert ticket is not None
        return RealEpochsRung(context, candidate, ticket, device, memory_parts)

    enters: list[Callable[[FoundTicket | None], Rung]] = [
        *([] if ladder.zero_cost is None else [zero_cost]),
        *(functools.partial(pruning, each) for each in candidate.rungs(ladder.ipc, len(context.train.class_names))),
        *([real_epochs] if ladder.real_epochs else []),
    ]
    return [RungPlan(name, enter) for name, enter in zip(ladder.fidelities(candidate), enters, strict=True)]

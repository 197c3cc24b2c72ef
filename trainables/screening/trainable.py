"""Screening: a candidate that climbs the ladder as a Tune trial, one step a pruning round."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from dp_core.pruning import Ticket
from dp_core.seeds import derive_seed
from trainables.screening.context import ScreeningContext
from trainables.screening.rungs import Climb, Look, Position, rungs_of
from trainables.trials.candidate import Candidate
from trainables.trials.contract import Row, Work
from trainables.trials.resilient import ResilientTrial


class ScreeningTrainable(ResilientTrial):
    """One candidate: `config` has its number in the study (`trial`), the `candidate`, and a checkpoint to go on from.

    Every step is one on a rung of the ladder, without which there is one rung: it trains each replicate under its mask
    of the round and reports the mean of their proxy accuracies on held-back real images, with its standard error.
    `status` is `running`, `finished` (the last rung has; the checkpoint then has the ticket), `collapsed` (all
    replicates have a layer without weights, or predicted the same class for every image twice running), `diverged`
    (one of them did) or `failed` (an exception). What collapses or diverges on a rung does not come to the next.
    """

    # Tune aborts the whole run if a result lacks the metric that the searcher named.
    nothing_yet: ClassVar[Mapping[str, Any]] = {"score": math.nan}

    def make(self, job: Mapping[str, Any], memory_parts: int) -> Work:
        """See ResilientTrial."""
        return Screening(self._context, job, self._device, memory_parts)


class Screening:
    """The work of a screening trial.

    Args:
        context: of the search.
        job: the trial's config.
        device: where to compute.
        memory_parts: in how many parts a batch is in memory.

    Raises:
        UserError: the proposal is no candidate.
    """

    def __init__(
        self, context: ScreeningContext, job: Mapping[str, Any], device: torch.device, memory_parts: int
    ) -> None:
        self._context = context
        self._number = int(job["trial"])
        self._candidate = Candidate.parse(job["candidate"], len(context.train.class_names))
        seed = derive_seed(context.seed, "trial", self._number)
        self._climb = Climb(rungs_of(context, job["candidate"], seed, device, memory_parts))

    def advance(self, history: Sequence[Row]) -> dict[str, Any]:
        """Do the next step of the climb."""
        position, look = self._climb.step()
        return _row(history, position, look, self._climb.finished)

    def state_dict(self) -> dict[str, Any]:
        """See Work."""
        return self._climb.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Work."""
        self._climb.load_state_dict(state)

    def export(self, folder: Path, history: Sequence[Row]) -> None:
        """Write the ticket."""
        (folder / "ticket").mkdir()
        self.ticket(history).write_into(folder / "ticket")

    def ticket(self, history: Sequence[Row]) -> Ticket:
        """Return the ticket of a climb that has finished."""
        candidate, context, found = self._candidate, self._context, self._climb.ticket
        used = context.sets.get(candidate.data_key)
        return Ticket(
            spec=candidate.model,
            input_shape=context.train.open().image_shape,
            classes=len(context.train.class_names),
            weights={name: value.cpu().clone() for name, value in found.weights.items()},
            mask=found.mask,
            history=[_without_nan(row) for row in history],
            provenance={
                "trial": self._number,
                "seed": found.seed,
                "replicate": found.replicate + 1,
                **{name: history[-1][name] for name in ("replicates", "proxy_accuracy", "proxy_accuracy_sem")},
                "source": candidate.source,
                "images_per_class": candidate.images_per_class,
                "recipe": candidate.recipe.to_dict(),
                "criterion": context.criterion,
                "rewind_step": context.rewind_step,
                "train_digest": context.train.digest,
                "distiller": None if used is None else dict(used.provenance),
                "torch": torch.__version__,
            },
        )


def _row(history: Sequence[Row], position: Position, look: Look, top: bool) -> dict[str, Any]:
    """Return what a step reports; `top` says whether it was the last of the climb."""
    last = history[-1] if history else {"rung": -1, "seconds": 0.0}
    below = next((row["image_gradients"] for row in reversed(history) if row["rung"] < position.rung), 0)
    return {
        # A round that diverged does not count as done, but it is the one that this row is about.
        "round": len(history) + 1,
        "rung": position.rung,
        "rung_round": last["rung_round"] + 1 if last["rung"] == position.rung else 1,
        "fidelity": position.fidelity,
        "rung_done": position.rung_done,
        **look.measures,
        "image_gradients": below + look.image_gradients,
        "latency_ms": None,  # the driver's to fill in: it measures all candidates on one device
        "status": "running" if look.status == "finished" and not top else look.status,
        "reason": look.reason,
        "seconds": last["seconds"] + look.seconds,
    }


def _without_nan(row: Row) -> dict[str, Any]:
    """Return the row as JSON can hold it: what an untrained network has no value of is null."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}

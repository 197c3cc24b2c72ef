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
from trainables.screening.round import Place, Round, finite
from trainables.screening.rungs import Climb, Look, rungs_of
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
        self._climb = Climb(rungs_of(context, self._candidate, seed, device, memory_parts))

    def advance(self, history: Sequence[Row]) -> dict[str, Any]:
        """Do the next step of the climb."""
        rounds = [Round.from_row(row) for row in history]
        place, look = self._climb.step(rounds[-1] if rounds else None)
        # A rung that has finished is not the end, unless it is the last.
        status = "running" if look.status == "finished" and not self._climb.finished else look.status
        said = {"predicted_classes": look.predicted_classes, "status": status, "reason": look.reason}
        return {**_round(rounds, place, look).to_row(), **said}

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
            history=[finite(row) for row in history],
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


def _round(before: Sequence[Round], place: Place, look: Look) -> Round:
    """Return what a step comes to, by the rounds before it."""
    below = next((one.image_gradients for one in reversed(before) if one.rung < place.rung), 0)
    return Round(
        **vars(place),
        **vars(look.measures),
        steps=look.steps,
        image_gradients=below + look.image_gradients,
        seconds=(before[-1].seconds if before else 0.0) + look.seconds,
    )

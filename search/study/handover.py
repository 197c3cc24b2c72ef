"""Candidates handed out to be screened, each recorded before it is."""

from __future__ import annotations

from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from dp_core.errors import UserError
from search.space import Space
from search.study.open_trial import OpenTrial
from search.study.proposals import Draw, Proposals
from search.study.storage.store import TrialStore
from search.study.tally import Tally
from search.study.trials import CANDIDATE, POINT, REASON, REJECTED, REPEATS, repeats_trial

MOST_REJECTIONS = 100
"""Proposals in a row that may break a constraint before the run stops."""


class Handover:
    """Hands out first what an earlier driver had begun, under its own numbers, and then what is proposed anew.

    Args:
        store: the durable record.
        space: of the run.
        proposals: draws candidates.
        tally: of the study.
    """

    def __init__(self, store: TrialStore, space: Space, proposals: Proposals, tally: Tally) -> None:
        self._store, self._space, self._proposals, self._tally = store, space, proposals, tally
        self.begun: list[OpenTrial] = []
        """Trials of an earlier driver that are still to be handed out."""

    def next(self) -> OpenTrial | None:
        """Return the next trial, or None when the target number has been handed out.

        Raises:
            UserError: so many proposals in a row broke a constraint that there seems to be nothing else.
        """
        if self.begun:
            return self.begun.pop(0)
        broken: list[str] = []
        while len(broken) < MOST_REJECTIONS:
            if self._tally.asked >= self._tally.target:
                return None
            draw = self._proposals.draw(self._tally.asked)
            number = self._store.add(_recorded(draw, self._space))
            self._proposals.recorded(draw, number)
            self._tally.add("REPEATED" if draw.repeats is not None else "REJECTED" if draw.broken else "RUNNING")
            if draw.repeats is None and draw.broken is None:
                return OpenTrial(number, draw.trial, draw.candidate, draw.params, draw.source)
            broken += [] if draw.broken is None else [draw.broken]
        raise UserError(
            f"The last {MOST_REJECTIONS} proposals all broke a constraint, so the search has nothing left to try: "
            f"the last has {broken[-1]}. Loosen 'search.constraints' or the space."
        )


def _recorded(draw: Draw, space: Space) -> FrozenTrial:
    """Return what the record has of a candidate that was drawn; one that is not to be trained is pruned."""
    params, notes = draw.params, draw.trial.drawn().system_attrs
    distributions = space.distributions(params)
    attributes: dict[str, Any] = {CANDIDATE: dict(draw.candidate.written)}
    if draw.point is not None:
        attributes[POINT] = draw.point
    if draw.repeats is not None:
        attributes |= {REJECTED: True, REPEATS: draw.repeats, REASON: repeats_trial(draw.repeats)}
    elif draw.broken is not None:
        attributes |= {REJECTED: True, REASON: f"rejected before training: {draw.broken}"}
    return create_trial(
        state=TrialState.PRUNED if REJECTED in attributes else TrialState.RUNNING,
        params={name: params[name] for name in distributions},
        distributions=distributions,
        user_attrs=attributes,
        # A sampler's pickled state is nothing that anybody should have to load.
        system_attrs={key: value for key, value in notes.items() if not key.startswith("cma:")},
    )

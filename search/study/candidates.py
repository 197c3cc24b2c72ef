"""Candidates as the study has them."""

from __future__ import annotations

from optuna.trial import FrozenTrial, TrialState

from dp_core.errors import UserError
from search.study.storage.store import TrialStore
from search.study.trials import CANDIDATE, REASON, REJECTED, written_candidate
from trainables import Candidate


def candidate_of(trial: FrozenTrial, classes: int) -> Candidate | None:
    """Return the candidate of a trial, for images of so many classes; None if it has none that this version can read.

    Such are trials that others put into the study.
    """
    try:
        return Candidate.parse(written_candidate(trial), classes)
    except UserError:
        return None


def end_unreadable(store: TrialStore, classes: int) -> None:
    """End the open trials that have no candidate, and so nothing that could be run."""
    for trial in store.trials():
        if not trial.state.is_finished() and candidate_of(trial, classes) is None:
            known = CANDIDATE in trial.user_attrs
            reason = "its candidate cannot be read" if known else "it was not proposed by Winnow"
            store.end(trial.number, TrialState.FAIL, None, {REJECTED: True, REASON: reason}, {})

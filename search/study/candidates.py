"""Candidates as the study has them."""

from __future__ import annotations

from optuna.trial import FrozenTrial

from dp_core.errors import UserError
from search.study.trials import written_candidate
from trainables import Candidate


def candidate_of(trial: FrozenTrial, classes: int) -> Candidate | None:
    """Return the candidate of a trial, for images of so many classes; None if it has none that this version can read.

    Such are trials that others put into the study.
    """
    try:
        return Candidate.parse(written_candidate(trial), classes)
    except UserError:
        return None

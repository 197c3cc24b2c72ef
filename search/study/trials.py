"""What the study keeps of a trial beside its parameters, and how it is read back."""

from __future__ import annotations

from typing import Any

from optuna.trial import FrozenTrial

STUDY = "winnow"
CANDIDATE, REASON, ROUND = "candidate", "reason", "round:"


def rounds_of(trial: FrozenTrial) -> list[dict[str, Any]]:
    """Return the rounds of a trial as they were reported, in order."""
    return [trial.user_attrs[key] for key in sorted(trial.user_attrs) if key.startswith(ROUND)]


def candidate_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return the candidate of a trial."""
    return dict(trial.user_attrs.get(CANDIDATE, {}))


def reason_of(trial: FrozenTrial) -> str | None:
    """Return why a trial ended as it did, if not by reaching its sparsity."""
    return trial.user_attrs.get(REASON)

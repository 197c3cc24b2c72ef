"""What the study keeps of a trial beside its parameters, and how it is read back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from trainables.screening.round import Round
from trainables.trials.source import data_key, screened_on

STUDY = "winnow"
CANDIDATE, REASON, ROUND, REJECTED, POINT = "candidate", "reason", "round:", "rejected", "point"
REPEATS = "repeats"
"""Number of the trial that had the candidate before; a trial that has it is rejected, too."""
STOP = "stop"
"""Key of a round that tells that the trial was to be stopped after it."""

_STOPPED = "stopped early"


def rounds_of(trial: FrozenTrial) -> list[Round]:
    """Return the rounds of a trial as they were reported, in order."""
    return [round_of(trial, trial.user_attrs[key]) for key in _round_keys(trial)]


def round_of(trial: FrozenTrial, row: Mapping[str, Any]) -> Round:
    """Return a round of a trial from a row of the record or of its ticket; those of earlier versions had one rung."""
    return Round.from_row(row, fidelity=data_key(*screened_on(written_candidate(trial))))


def has_rounds(trial: FrozenTrial) -> bool:
    """Return whether a trial has a round."""
    return bool(_round_keys(trial))


def stops_of(trial: FrozenTrial) -> set[int]:
    """Return the numbers of the rounds after which a trial was to be stopped."""
    rows = (trial.user_attrs[key] for key in _round_keys(trial))
    return {row["round"] for row in rows if row.get(STOP)}


def _round_keys(trial: FrozenTrial) -> list[str]:
    return sorted(key for key in trial.user_attrs if key.startswith(ROUND))


def written_candidate(trial: FrozenTrial) -> dict[str, Any]:
    """Return the candidate of a trial as it is written, see `Candidate.written`; {} if it has none."""
    return dict(trial.user_attrs.get(CANDIDATE, {}))


def reason_of(trial: FrozenTrial) -> str | None:
    """Return why a trial ended as it did, if not by reaching its sparsity."""
    return trial.user_attrs.get(REASON)


def is_rejected(trial: FrozenTrial) -> bool:
    """Return whether the candidate was never trained: it broke a constraint or repeats another's."""
    return bool(trial.user_attrs.get(REJECTED))


def repeated_by(trial: FrozenTrial) -> int | None:
    """Return the number of the trial whose candidate this one repeats; None if it has its own."""
    return trial.user_attrs.get(REPEATS)


def repeats_trial(number: int) -> str:
    """Return the reason of a trial whose candidate another has had before."""
    return f"repeats trial {number}"


def state_of(trial: FrozenTrial) -> str:
    """Return Optuna's state, or REPEATED or REJECTED (it broke a constraint) for what was never trained."""
    if repeated_by(trial) is not None:
        return "REPEATED"
    return "REJECTED" if is_rejected(trial) else str(trial.state.name)


def stopped_early(round_number: int) -> str:
    """Return the reason of a trial that was stopped for lack of promise."""
    return f"{_STOPPED} after round {round_number}: others were better"


def is_stopped_early(trial: FrozenTrial) -> bool:
    """Return whether a trial was stopped since others were better; what has collapsed is PRUNED, too."""
    return outcome_of(trial.state, reason_of(trial)) == _STOPPED


def outcome_of(state: TrialState, reason: str | None) -> str:
    """Return what became of a trial: `finished`, `stopped early` (others were better), `collapsed` or `failed`.

    Optuna has one state for what was stopped and what has collapsed. `running` is a trial that has not ended.
    """
    if state == TrialState.PRUNED:
        return _STOPPED if (reason or "").startswith(_STOPPED) else "collapsed"
    return {TrialState.COMPLETE: "finished", TrialState.FAIL: "failed"}.get(state, "running")


def step_of(found: Round) -> int:
    """Return the step at which Optuna keeps the value of a round: it grows along the rungs of the ladder."""
    return 1000 * found.rung + found.rung_round


METRIC_NAMES = "study:metric_names"
"""System attribute in which Optuna keeps the names of a study's objectives (Study.set_metric_names)."""


def scale_of(trial: FrozenTrial) -> str | None:
    """Return what the last round of a trial scored by, such as `distilled-10`; None if there was none.

    Scores and proxy accuracies are on one scale within it, and only there.
    """
    rounds = rounds_of(trial)
    return rounds[-1].fidelity if rounds else None


def constraint_key(name: str) -> str:
    """Return the system attribute in which Optuna keeps by how much a constraint is broken (Trial.set_constraint)."""
    return f"constraints:{name}"
